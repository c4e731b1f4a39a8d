#pragma once
// SEALANE_CHECK: a broken invariant of our own code ends the program, in release builds too. Never
// for input: what a peer, disk or user may do is a Result.
namespace sealane {
[[noreturn]] void check_failed(const char* condition, const char* file, int line);
}  // namespace sealane

#define SEALANE_CHECK(condition)                               \
  do {                                                         \
    if (!(condition)) [[unlikely]]                             \
      ::sealane::check_failed(#condition, __FILE__, __LINE__); \
  } while (false)
