#pragma once
// For the tests of keys: test data, a throw-away directory, and stock programs run without a shell.
#include <string>
#include <string_view>
#include <vector>

#include "sealane/base/bytes.h"

namespace sealane::testing {

std::string read_text(const std::string& path);  // fails the test when it cannot
void write_text(const std::string& path, std::string_view text, unsigned mode = 0600);
std::string identity_data(std::string_view name);  // a file of tests/data/identity

class TempDirectory {
 public:
  TempDirectory();
  ~TempDirectory();
  TempDirectory(const TempDirectory&) = delete;
  TempDirectory& operator=(const TempDirectory&) = delete;
  std::string operator/(std::string_view name) const { return path_ + "/" + std::string(name); }

 private:
  std::string path_;
};

bool tool_exists(const std::string& name);  // in PATH

struct ToolResult {
  int status = -1;     // exit status, -1 when a signal ended it
  std::string output;  // stdout, then stderr
  std::string stdout_text;
};
// `arguments[0]` is looked up in PATH. Environment: PATH and `environment`, in UTC.
ToolResult run_tool(const std::vector<std::string>& arguments, std::string_view input = {},
                    const std::vector<std::string>& environment = {});

}  // namespace sealane::testing

// Skips the test, by name, where the program is not installed.
#define SEALANE_NEEDS_TOOL(name) \
  if (!::sealane::testing::tool_exists(name)) GTEST_SKIP() << (name) << " is not installed"
