#pragma once
// Result and Error: how an operation ends.
//
// Result: a value or a typed reason. Boost.Outcome behind one header, so that it can become
// std::expected. Use only has_value(), value(), error(), success() and the TRY macros below.
#include <boost/outcome/basic_result.hpp>
#include <boost/outcome/policy/terminate.hpp>
#include <boost/outcome/success_failure.hpp>
#include <boost/outcome/try.hpp>
#include <cstdint>
#include <string>
#include <string_view>

namespace sealane {

// [[nodiscard]] as a type. Reading value() of a failure, or error() of a success, ends the program.
template <class T, class E>
using Result = boost::outcome_v2::basic_result<T, E, boost::outcome_v2::policy::terminate>;

using boost::outcome_v2::failure;
using boost::outcome_v2::success;

// Error: how a whole operation failed, for the person who asked for it. Formats and cores have
// closed enums of their own; from the file system upwards a failure is one of these.
//
// The kinds a caller can act on. Values are the exit codes of the program: stable, documented.
enum class ErrorKind : std::uint8_t {
  kFailed = 1,               // anything without a code of its own; trying again may help
  kUsage = 2,                // the request itself is wrong; nothing was changed
  kSourceUnreadable = 3,     // done, but part of the source could not be read
  kRepositoryMissing = 10,   // no repository there
  kLocked = 11,              // somebody else is writing
  kWrongKey = 12,            // none of the given keys opens it
  kRefused = 20,             // a peer or a right says no
  kPinMismatch = 21,         // signed or answered by a key we did not pin
  kVerificationFailed = 30,  // damaged, forged, truncated, rolled back or forked
  kInterrupted = 130,        // asked to stop; nothing half-done is left
};

// One clear sentence that names the thing (file, host, object) and, where it helps, what to do.
// It never contains a secret. Untrusted text in it is printable (see printable()).
struct Error {
  ErrorKind kind = ErrorKind::kFailed;
  std::string message;
  friend bool operator==(const Error&, const Error&) = default;
};

inline int exit_code(ErrorKind kind) { return static_cast<int>(kind); }

// Untrusted text made safe for a terminal: control bytes and invalid UTF-8 become \xNN; cut to
// `limit` bytes with "…".
std::string printable(std::string_view text, std::size_t limit = 200);

}  // namespace sealane

// SEALANE_TRY(auto value, expression); or SEALANE_TRY(expression); returns the error to the caller.
#define SEALANE_TRY(...) BOOST_OUTCOME_TRY(__VA_ARGS__)
// The same inside a coroutine.
#define SEALANE_CO_TRY(...) BOOST_OUTCOME_CO_TRY(__VA_ARGS__)
