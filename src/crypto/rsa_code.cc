#include "crypto/rsa_code.h"

#include <unistd.h>  // tells which C library this is

#include <string_view>

namespace sealane::crypto {

#if defined(__x86_64__) && defined(__GLIBC__)

namespace {

// Clears one bit of what OpenSSL knows of the CPU: ADX.
char setting[] = "OPENSSL_ia32cap=:~0x80000";

// What shells, service managers and containers set, and constructors do not ask for.
constexpr std::string_view kStandIns[] = {
    "_=", "PWD=", "SHLVL=", "LOGNAME=", "INVOCATION_ID=", "HOSTNAME="};

char* stood_in_for = nullptr;  // the variable whose place it has meanwhile

// Zen 4 and later have AVX512-IFMA, which OpenSSL prefers to both codes.
bool avx2_is_faster() {
  __builtin_cpu_init();
  return __builtin_cpu_is("znver3") != 0 && __builtin_cpu_supports("avx2") != 0 &&
         __builtin_cpu_supports("avx512ifma") == 0;
}

// The first of the program's constructors. A library that was loaded before may have moved the
// environment, with all that was in it.
[[gnu::constructor(101)]] void put_back() {
  if (stood_in_for == nullptr) return;
  for (char** at = environ; at != nullptr && *at != nullptr; ++at) {
    if (*at == setting) *at = stood_in_for;
  }
  stood_in_for = nullptr;
}

}  // namespace

void prefer_avx2_rsa(char** environment) {
  if (!avx2_is_faster()) return;
  char** place = nullptr;
  for (char** at = environment; *at != nullptr; ++at) {
    const std::string_view variable = *at;
    if (variable.starts_with("OPENSSL_ia32cap=") || variable == "SEALANE_CPU=generic") return;
    for (const std::string_view name : kStandIns) {
      if (variable.starts_with(name)) place = at;
    }
  }
  if (place == nullptr) return;
  stood_in_for = *place;
  *place = setting;
}

#else

void prefer_avx2_rsa(char** /*environment*/) {}

#endif

}  // namespace sealane::crypto
