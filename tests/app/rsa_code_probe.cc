// Preloaded into the program: what OpenSSL took from its environment when it was loaded, and what
// the program has of it when it ends, as one JSON object in the file that PROBE_FILE names. For
// rsa_code_test.py.
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

// Of <openssl/crypto.h>, which only src/crypto includes.
extern "C" const char* OPENSSL_info(int what);

namespace {

constexpr int kCpuSettings = 1008;  // OPENSSL_INFO_CPU_SETTINGS

// As a library may, whose constructor runs before the program's.
[[gnu::constructor]] void when_loaded() {
  if (std::getenv("PROBE_MOVES") != nullptr) ::setenv("MOVED", "1", 1);
}

[[gnu::destructor]] void when_it_ends() {
  const char* file = std::getenv("PROBE_FILE");
  if (file == nullptr) return;
  std::vector<std::string> variables;
  for (char** at = environ; *at != nullptr; ++at) variables.emplace_back(*at);
  std::ostringstream words;
  words << std::ifstream("/proc/self/cmdline").rdbuf();
  std::ofstream(file) << nlohmann::json{
      {"openssl", OPENSSL_info(kCpuSettings)},
      {"words", words.str()},
      {"environment", variables},
      {"zen3", __builtin_cpu_is("znver3") != 0 && __builtin_cpu_supports("avx512ifma") == 0}};
}

}  // namespace
