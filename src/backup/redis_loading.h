#pragma once
// RedisLoading: a server that reads its file at its start lets clients in and answers nearly all of
// them with LOADING. After a crash that takes as long as the file is large, so it is waited for.
// What a driver that runs redis-cli and a client of our own share.
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "sealane/base/result.h"

namespace sealane::backup {

inline constexpr std::chrono::hours kLoadingPatience{1};
// Between two looks: at first, and at most.
inline constexpr std::chrono::milliseconds kFirstLoadingPause{50};
inline constexpr std::chrono::milliseconds kLongestLoadingPause{1000};

struct RedisLoading {
  std::string server;                        // without secrets
  std::optional<double> percent;             // of the file, where the server says it
  std::optional<std::uint64_t> eta_seconds;  // by the server's own estimate
};
// Told once, when somebody has to wait; may be empty.
using OnLoading = std::function<void(const RedisLoading&)>;

// The value of "NAME:…" in an answer to INFO; empty if it is not there.
std::string info_field(std::string_view info, std::string_view name);
// Whether the server loads, by its answer to INFO PERSISTENCE.
bool is_loading(std::string_view info);
RedisLoading loading_of(std::string server, std::string_view info);
// "redis://h is loading its file (35 %, about 40 s more); waiting until it has, an hour at most"
std::string describe(const RedisLoading& loading);
Error still_loading(const std::string& server);  // after that hour

}  // namespace sealane::backup
