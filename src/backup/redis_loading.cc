#include "backup/redis_loading.h"

#include <charconv>
#include <cmath>

namespace sealane::backup {
namespace {

template <class T>
std::optional<T> number_in(std::string_view info, std::string_view name) {
  const std::string text = info_field(info, name);
  T value{};
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || parsed.ec != std::errc{} || parsed.ptr != text.data() + text.size()) {
    return std::nullopt;
  }
  return value;
}

}  // namespace

std::string info_field(std::string_view info, std::string_view name) {
  const std::string wanted = "\n" + std::string(name) + ":";
  const auto at = info.find(wanted);
  if (at == info.npos) return {};
  const auto start = at + wanted.size();
  return std::string(info.substr(start, info.find_first_of("\r\n", start) - start));
}

bool is_loading(std::string_view info) { return info_field(info, "loading") == "1"; }

RedisLoading loading_of(std::string server, std::string_view info) {
  RedisLoading out{.server = std::move(server), .percent = {}, .eta_seconds = {}};
  out.percent = number_in<double>(info, "loading_loaded_perc");
  if (out.percent && !(*out.percent >= 0 && *out.percent <= 100)) out.percent.reset();
  out.eta_seconds = number_in<std::uint64_t>(info, "loading_eta_seconds");
  return out;
}

std::string describe(const RedisLoading& loading) {
  std::string how_far;
  if (loading.percent) how_far = std::to_string(std::lround(*loading.percent)) + " %";
  if (loading.eta_seconds && *loading.eta_seconds > 1) {
    how_far += std::string(how_far.empty() ? "" : ", ") + "about " +
               std::to_string(*loading.eta_seconds) + " s more";
  }
  if (!how_far.empty()) how_far = " (" + how_far + ")";
  return loading.server + " is loading its file" + how_far +
         "; waiting until it has, an hour at most";
}

Error still_loading(const std::string& server) {
  return {ErrorKind::kFailed, server +
                                  " has been loading its file for an hour; wait until it has, and "
                                  "try again"};
}

}  // namespace sealane::backup
