#include "backup/url.h"

#include <algorithm>
#include <array>

#include "backup/source.h"

namespace sealane::backup {
namespace {

Error usage(std::string message) { return {ErrorKind::kUsage, std::move(message)}; }

bool is_alpha(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_unreserved(char c) {
  return is_alpha(c) || is_digit(c) || c == '-' || c == '.' || c == '_' || c == '~';
}
char to_lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

std::optional<unsigned> hex_value(char c) {
  if (is_digit(c)) return static_cast<unsigned>(c - '0');
  c = to_lower(c);
  if (c >= 'a' && c <= 'f') return static_cast<unsigned>(c - 'a') + 10;
  return std::nullopt;
}

// Decodes %XX. Other bytes stand for themselves if they are unreserved or in `allowed`.
std::optional<std::string> decode(std::string_view text, std::string_view allowed) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '%') {
      if (text.size() - i < 3) return std::nullopt;
      const auto high = hex_value(text[i + 1]);
      const auto low = hex_value(text[i + 2]);
      if (!high || !low || (*high == 0 && *low == 0)) return std::nullopt;
      out.push_back(static_cast<char>(*high * 16 + *low));
      i += 2;
    } else if (is_unreserved(c) || allowed.find(c) != std::string_view::npos) {
      out.push_back(c);
    } else {
      return std::nullopt;
    }
  }
  return out;
}

constexpr std::string_view kSubDelimiters = "!$&'()*+,;=";

std::optional<std::uint16_t> parse_port(std::string_view text) {
  if (text.empty() || text.size() > 5 || !std::ranges::all_of(text, is_digit)) return std::nullopt;
  unsigned value = 0;
  for (const char c : text) value = value * 10 + static_cast<unsigned>(c - '0');
  if (value == 0 || value > 65535) return std::nullopt;
  return static_cast<std::uint16_t>(value);
}

// HOST[:PORT], where HOST may be [IPv6].
Result<void, Error> parse_host(std::string_view text, Url& url) {
  std::string_view port;
  bool has_port = false;
  if (text.starts_with('[')) {
    const auto end = text.find(']');
    if (end == std::string_view::npos) return usage("the address in the URL lacks its ']'");
    const std::string_view address = text.substr(1, end - 1);
    const auto is_address_byte = [](char c) { return hex_value(c) || c == ':' || c == '.'; };
    if (address.find(':') == std::string_view::npos ||
        !std::ranges::all_of(address, is_address_byte)) {
      return usage("the address in the URL's brackets is not an IPv6 address");
    }
    url.host = address;
    text.remove_prefix(end + 1);
    if (!text.empty()) {
      if (text[0] != ':') return usage("only a port may follow the URL's ']'");
      has_port = true;
      port = text.substr(1);
    }
  } else {
    const auto colon = text.find(':');
    has_port = colon != std::string_view::npos;
    if (has_port) port = text.substr(colon + 1);
    const auto host = decode(text.substr(0, colon), "");
    if (!host) return usage("the host name in the URL has a character that must be written as %XX");
    url.host = *host;
  }
  if (has_port) {
    url.port = parse_port(port);
    if (!url.port) {
      return usage(
          "the port in the URL is not a number from 1 to 65535 (in a password, write ':', "
          "'/', '@', '?' and '#' as %3A, %2F, %40, %3F and %23)");
    }
  }
  return success();
}

Result<void, Error> parse_query(std::string_view text, Url& url) {
  while (!text.empty()) {
    const auto end = text.find('&');
    const std::string_view pair = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    const auto equals = pair.find('=');
    if (equals == std::string_view::npos || equals == 0) {
      return usage("a parameter after the URL's '?' is not of the form KEY=VALUE");
    }
    const auto key = decode(pair.substr(0, equals), "");
    const auto value = decode(pair.substr(equals + 1), "!$'()*,;:/");
    if (!key || !value) {
      return usage("a parameter after the URL's '?' has a character that must be written as %XX");
    }
    url.query.emplace_back(*key, *value);
  }
  return success();
}

bool is_local(std::string_view scheme) {
  return scheme == "sqlite" || scheme == "file" || scheme == "stdin";
}

}  // namespace

std::optional<std::string_view> Url::parameter(std::string_view key) const {
  for (auto it = query.rbegin(); it != query.rend(); ++it) {
    if (it->first == key) return it->second;
  }
  return std::nullopt;
}

std::string url_scheme(std::string_view url) {
  const auto colon = url.find(':');
  if (colon == std::string_view::npos || colon == 0 || !is_alpha(url[0])) return {};
  std::string scheme;
  for (const char c : url.substr(0, colon)) {
    if (!is_alpha(c) && !is_digit(c) && c != '+' && c != '-' && c != '.') return {};
    scheme.push_back(to_lower(c));
  }
  return scheme;
}

Result<Url, Error> parse_url(std::string_view text) {
  if (text.size() > kMaxUrlSize) return usage("the URL is longer than 4096 bytes");
  Url url;
  url.scheme = url_scheme(text);
  if (url.scheme.empty())
    return usage("the URL does not start with a scheme such as postgresql://");
  text.remove_prefix(url.scheme.size() + 1);
  if (!text.starts_with("//"))
    return usage("\"//\" must follow \"" + url.scheme + ":\" in the URL");
  text.remove_prefix(2);
  if (text.find('#') != std::string_view::npos) {
    return usage("the URL has a '#'; inside a password or name write it as %23");
  }

  const auto authority_end = std::min(text.find_first_of("/?"), text.size());
  std::string_view authority = text.substr(0, authority_end);
  text.remove_prefix(authority_end);
  // A password with an unescaped '/' or '?' would end the authority early and show up behind it.
  if (text.find('@') != std::string_view::npos) {
    return usage(
        "the URL has an '@' after its host; write '@', '/' and '?' inside a name or password "
        "as %40, %2F and %3F");
  }
  if (const auto at = authority.find('@'); at != std::string_view::npos) {
    const std::string_view user_info = authority.substr(0, at);
    authority.remove_prefix(at + 1);
    const auto colon = user_info.find(':');
    const auto user = decode(user_info.substr(0, colon), kSubDelimiters);
    if (!user) return usage("the user in the URL has a character that must be written as %XX");
    url.user = *user;
    if (colon != std::string_view::npos) {
      auto password = decode(user_info.substr(colon + 1), std::string(kSubDelimiters) + ':');
      if (!password) {
        return usage("the password in the URL has a character that must be written as %XX");
      }
      url.password.emplace(*password);
      cleanse(std::as_writable_bytes(std::span(*password)));
    }
  }
  SEALANE_TRY(parse_host(authority, url));

  const auto query_start = text.find('?');
  const auto path = decode(text.substr(0, query_start), std::string(kSubDelimiters) + ":/");
  if (!path) return usage("the path in the URL has a character that must be written as %XX");
  url.path = *path;
  if (query_start != std::string_view::npos) {
    SEALANE_TRY(parse_query(text.substr(query_start + 1), url));
  }
  return url;
}

Result<std::string, Error> local_path(std::string_view url) {
  const std::string scheme = url_scheme(url);
  std::string_view path = url.substr(scheme.empty() ? 0 : scheme.size() + 1);
  if (path.find('\0') != std::string_view::npos) return usage("the path has a NUL byte");
  if (path.starts_with("//")) {
    if (path.size() < 3 || path[2] != '/') {
      return usage("\"" + scheme + ":\" names a path of this machine, not of another host: write " +
                   scheme + ":/path");
    }
    path.remove_prefix(2);
  }
  if (path.empty()) return usage("nothing follows \"" + scheme + ":\"");
  return std::string(path);
}

std::string percent_encode_path(std::string_view path) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  std::string out;
  for (const char c : path) {
    if (is_unreserved(c) || c == '/') {
      out.push_back(c);
    } else {
      const auto byte = static_cast<unsigned char>(c);
      out.push_back('%');
      out.push_back(kDigits[byte >> 4]);
      out.push_back(kDigits[byte & 15]);
    }
  }
  return out;
}

std::string redacted_url(std::string_view text) {
  const std::string scheme = url_scheme(text);
  if (scheme.empty() || is_local(scheme)) return printable(text, kMaxUrlSize);
  const auto url = parse_url(text);
  if (!url) return scheme + ":…";  // where its secret stands is anybody's guess
  // Parameters known to hold no secret; a driver's others may.
  constexpr std::array<std::string_view, 6> kHarmless = {"host", "port", "dbname",
                                                         "user", "db",   "sslmode"};
  std::string out = scheme + "://";
  if (!url.value().user.empty()) out += percent_encode_path(url.value().user) + '@';
  const std::string& host = url.value().host;
  if (host.find(':') != std::string::npos) {
    out += '[' + host + ']';
  } else if (host.starts_with('/')) {
    for (const char c : percent_encode_path(host)) {
      if (c == '/') {
        out += "%2F";
      } else {
        out += c;
      }
    }
  } else {
    out += percent_encode_path(host);
  }
  if (url.value().port) out += ':' + std::to_string(*url.value().port);
  out += percent_encode_path(url.value().path);
  char separator = '?';
  for (const auto& [key, value] : url.value().query) {
    if (std::ranges::find(kHarmless, key) == kHarmless.end()) continue;
    out += separator + key + '=' + percent_encode_path(value);
    separator = '&';
  }
  return out;
}

}  // namespace sealane::backup
