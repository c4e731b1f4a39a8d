#pragma once
// Url: the strict form SCHEME://[USER[:PASSWORD]@]HOST[:PORT][/PATH][?KEY=VALUE[&…]] of RFC 3986,
// which names servers. Local sources (sqlite:, file:, stdin:) are no Urls: see local_path().
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "sealane/base/result.h"
#include "sealane/base/secret.h"

namespace sealane::backup {

inline constexpr std::size_t kMaxUrlSize = 4096;  // a command line, not a document

// Percent-decoded parts; none contains a NUL byte. "scheme:///path" has an empty host.
struct Url {
  std::string scheme;  // lower case
  std::string user;
  std::optional<SecretBytes> password;
  std::string
      host;  // name, address (IPv6 without brackets), or a folder of sockets: "/run/postgresql"
  std::optional<std::uint16_t> port;
  std::string path;  // empty, or with its leading slash
  std::vector<std::pair<std::string, std::string>> query;

  // The value of the last `key`, as most servers' own clients read it.
  std::optional<std::string_view> parameter(std::string_view key) const;
};

// kUsage, with a sentence that never repeats the URL, because it may hold a password. Refuses what
// would hide one: an unescaped '@' after the host, a fragment, control bytes, "%00".
Result<Url, Error> parse_url(std::string_view text);

// "sqlite" of "sqlite:/path", "postgresql" of "postgresql://…", in lower case; empty if there is
// none.
std::string url_scheme(std::string_view url);

// What follows "SCHEME:", byte for byte: nothing is percent-decoded, so every file name can be
// typed.
// "///path" is "/path"; kUsage for an empty path, "//host/path" and NUL bytes.
Result<std::string, Error> local_path(std::string_view url);

// Letters, digits and -._~ stay, slashes too; the rest becomes %XX.
std::string percent_encode_path(std::string_view path);

}  // namespace sealane::backup
