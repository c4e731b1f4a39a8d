#pragma once
// Where the tests find their data. The paths are compiled into one file alone, so that what ccache
// keeps of all others serves every checkout.
#include <string>
#include <string_view>

namespace sealane::testing {

std::string data_path(std::string_view name);  // of tests/data
std::string shared_vectors();                  // the folder beside the checkout

}  // namespace sealane::testing
