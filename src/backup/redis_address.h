#pragma once
// RedisAddress: which server a redis:// URL means, and as whom. What a driver that runs redis-cli
// and a client of our own share.
#include <cstdint>
#include <memory>
#include <string>

#include "sealane/base/result.h"
#include "sealane/base/secret.h"

namespace sealane::backup {

inline constexpr std::size_t kMaxSocketPath = 107;  // what sockaddr_un takes

struct RedisAddress {
  std::string description;  // without secrets
  std::string host;         // empty if `socket` is set
  std::uint16_t port = 6379;
  std::string socket;  // path of a UNIX socket
  std::string user;    // empty: the default user
  std::shared_ptr<const SecretBytes> password;
  std::uint64_t database = 0;
};

// redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE], redis+unix:///PATH and unix:///PATH, each with
// ?db=DATABASE. kUsage, without repeating the URL.
Result<RedisAddress, Error> parse_redis_url(const std::string& text);

}  // namespace sealane::backup
