#pragma once
// Result: a value or a typed reason. Boost.Outcome behind one header, so that it can become
// std::expected. Use only has_value(), value(), error(), success() and the TRY macros below.
#include <boost/outcome/basic_result.hpp>
#include <boost/outcome/policy/terminate.hpp>
#include <boost/outcome/success_failure.hpp>
#include <boost/outcome/try.hpp>

namespace sealane {

// [[nodiscard]] as a type. Reading value() of a failure, or error() of a success, ends the program.
template <class T, class E>
using Result = boost::outcome_v2::basic_result<T, E, boost::outcome_v2::policy::terminate>;

using boost::outcome_v2::failure;
using boost::outcome_v2::success;

}  // namespace sealane

// SEALANE_TRY(auto value, expression); or SEALANE_TRY(expression); returns the error to the caller.
#define SEALANE_TRY(...) BOOST_OUTCOME_TRY(__VA_ARGS__)
// The same inside a coroutine.
#define SEALANE_CO_TRY(...) BOOST_OUTCOME_CO_TRY(__VA_ARGS__)
