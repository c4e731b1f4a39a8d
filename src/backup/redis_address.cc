#include "backup/redis_address.h"

#include <charconv>
#include <utility>

#include "backup/source.h"
#include "backup/url.h"

namespace sealane::backup {
namespace {

constexpr std::uint64_t kMostDatabases = 1'000'000;  // nobody numbers them higher

Error usage(std::string message) { return {ErrorKind::kUsage, std::move(message)}; }

bool read_database(std::string_view text, std::uint64_t& out) {
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), out);
  return !text.empty() && parsed.ec == std::errc{} && parsed.ptr == text.data() + text.size() &&
         out < kMostDatabases;
}

}  // namespace

Result<RedisAddress, Error> parse_redis_url(const std::string& text) {
  SEALANE_TRY(auto url, parse_url(text));
  RedisAddress address;
  address.description = redacted_url(text);
  if (url.scheme == "redis") {
    address.host = url.host.empty() ? "127.0.0.1" : url.host;
    address.port = url.port.value_or(6379);
    if (url.path.size() > 1 && !read_database(url.path.substr(1), address.database)) {
      return usage("behind a Redis server's URL may stand the number of a database, nothing else");
    }
  } else if (url.scheme == "redis+unix" || url.scheme == "unix") {
    if (!url.host.empty() || url.path.size() < 2) {
      return usage("the URL of a Redis socket has the form redis+unix:///path/to/socket");
    }
    if (url.path.size() > kMaxSocketPath) return usage("the socket's path is too long");
    address.socket = url.path;
  } else {
    return usage("the URL of a Redis server starts with redis:// or redis+unix://");
  }
  for (const auto& [key, value] : url.query) {
    if (key != "db" || !read_database(value, address.database)) {
      return usage("the URL's parameter \"" + printable(key, 60) +
                   "\" is not known; only db=NUMBER is");
    }
  }
  if (!url.user.empty() && !url.password) {
    return usage("the URL names a user of Redis but no password");
  }
  address.user = url.user;
  if (url.password) {
    address.password = std::make_shared<const SecretBytes>(std::move(*url.password));
  }
  return address;
}

}  // namespace sealane::backup
