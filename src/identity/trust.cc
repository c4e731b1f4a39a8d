// The trust file. Format: docs/protocol/trust-file.md.
#include "sealane/identity/trust.h"

#include <algorithm>
#include <array>
#include <map>

#include "base/check.h"
#include "base/limits.h"
#include "identity/ssh_format.h"

namespace sealane::identity {
namespace {

using std::chrono::seconds;

constexpr std::size_t kMaxNameSize = 128;  // of a peer, plan, repository or namespace
constexpr std::size_t kMaxListSize = 256;  // names, rights, scopes, namespaces of one key
constexpr std::size_t kMaxLineSize = 4096;

// Rights without a parameter; the others end in an id: "mail:send:ID", "relay:ID".
constexpr std::array<std::string_view, 7> kPlainRights = {
    "repo:append", "repo:read",   "repo:forget",   "log:append",
    "log:read",    "config:read", "config:propose"};
constexpr std::array<std::string_view, 2> kRightsWithId = {"mail:send:", "relay:"};
constexpr std::array<std::string_view, 2> kScopeKinds = {"plan:", "repo:"};

template <class T>
using Parsed = Result<T, std::string>;  // or why not: a clause

std::string quoted(std::string_view text) { return "\"" + printable(text, 60) + "\""; }

bool is_word(std::string_view text, std::string_view forbidden) {
  return !text.empty() && text.size() <= kMaxNameSize && std::ranges::all_of(text, [&](char c) {
    return c > ' ' && c <= '~' && forbidden.find(c) == std::string_view::npos;
  });
}
// Names of peers: nothing that OpenSSH takes for a pattern, a list, a comment or a quotation.
bool is_peer_name(std::string_view name) { return is_word(name, ",\"*?!#="); }
bool is_namespace(std::string_view name) { return is_word(name, ",\"*?!"); }
// Names inside rights: plans, repositories, ids.
bool is_scoped_name(std::string_view name) { return is_word(name, ",\"*?!()"); }

bool is_right_name(std::string_view name) {
  if (std::ranges::find(kPlainRights, name) != kPlainRights.end()) return true;
  return std::ranges::any_of(kRightsWithId, [&](std::string_view start) {
    return name.starts_with(start) && is_scoped_name(name.substr(start.size()));
  });
}
bool is_scope(std::string_view scope) {
  if (scope.starts_with('!')) scope.remove_prefix(1);
  if (scope == "*") return true;
  return std::ranges::any_of(kScopeKinds, [&](std::string_view kind) {
    return scope.starts_with(kind) && is_scoped_name(scope.substr(kind.size()));
  });
}

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  for (;;) {
    const std::size_t end = text.find(separator);
    parts.emplace_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}
std::string join(const std::vector<std::string>& parts, char separator) {
  std::string text;
  for (const std::string& part : parts) {
    if (!text.empty()) text += separator;
    text += part;
  }
  return text;
}

Parsed<std::vector<Right>> parse_rights(std::string_view text) {
  std::vector<Right> rights;
  while (!text.empty()) {
    const std::size_t open = text.find('(');
    const std::size_t close = text.find(')');
    if (open == std::string_view::npos || close == std::string_view::npos || close < open) {
      return "a right needs its scopes, as in repo:append(plan:shop) or log:read(*)";
    }
    Right right{.name = std::string(text.substr(0, open)), .scopes = {}};
    const std::string_view scopes = text.substr(open + 1, close - open - 1);
    if (!scopes.empty()) right.scopes = split(scopes, ',');
    rights.push_back(std::move(right));
    text.remove_prefix(close + 1);
    if (text.empty()) break;
    if (!text.starts_with(' ') || text.size() == 1) return "one blank stands between two rights";
    text.remove_prefix(1);
  }
  if (rights.empty()) return "rights is empty: leave it out to grant none";
  return rights;
}

std::optional<int> digits(std::string_view text) {
  int value = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return std::nullopt;
    value = value * 10 + (c - '0');
  }
  return value;
}

// YYYYMMDD, YYYYMMDDHHMM or YYYYMMDDHHMMSS, then Z or nothing.
Parsed<WallTime> parse_time(std::string_view text) {
  const std::string wrong =
      quoted(text) + " is no time: write YYYYMMDD or YYYYMMDDHHMM[SS], in UTC";
  if (text.ends_with('Z')) text.remove_suffix(1);
  if (text.size() != 8 && text.size() != 12 && text.size() != 14) return wrong;
  const auto field = [&](std::size_t at, std::size_t size) {
    return at < text.size() ? digits(text.substr(at, size)) : std::optional<int>(0);
  };
  const auto year = field(0, 4);
  const auto month = field(4, 2);
  const auto day = field(6, 2);
  const auto hour = field(8, 2);
  const auto minute = field(10, 2);
  const auto second = field(12, 2);
  if (!year || !month || !day || !hour || !minute || !second) return wrong;
  const std::chrono::year_month_day date{std::chrono::year(*year),
                                         std::chrono::month(static_cast<unsigned>(*month)),
                                         std::chrono::day(static_cast<unsigned>(*day))};
  // The range of WallTime, which counts nanoseconds.
  if (!date.ok() || *year < 1970 || *year > 2261) return wrong;
  if (*hour > 23 || *minute > 59 || *second > 59) return wrong;
  return WallTime(std::chrono::sys_days(date)) + std::chrono::hours(*hour) +
         std::chrono::minutes(*minute) + seconds(*second);
}

std::string format_time(WallTime time) {
  std::string text;  // 2026-11-20T13:54:00Z without its punctuation
  for (const char c : to_rfc3339(time)) {
    if (c != '-' && c != ':' && c != 'T') text += c;
  }
  return text;
}

// `text`: keyword="value",… A value holds no quotation mark.
Parsed<std::map<std::string, std::string>> parse_options(std::string_view text) {
  std::map<std::string, std::string> options;
  for (;;) {
    const std::size_t equals = text.find('=');
    const std::string_view keyword = text.substr(0, equals);
    constexpr std::array<std::string_view, 4> kKnown = {"rights", "namespaces", "valid-after",
                                                        "valid-before"};
    if (std::ranges::find(kKnown, keyword) == kKnown.end()) {
      return "it has an unknown option " + quoted(keyword);
    }
    if (equals == std::string_view::npos || !text.substr(equals + 1).starts_with('"')) {
      return std::string(keyword) + " needs a value in quotation marks";
    }
    const std::size_t start = equals + 2;
    const std::size_t end = text.find('"', start);
    if (end == std::string_view::npos)
      return std::string(keyword) + " has no closing quotation mark";
    const auto value = text.substr(start, end - start);
    if (!options.emplace(keyword, value).second)
      return std::string(keyword) + " stands there twice";
    text.remove_prefix(end + 1);
    if (text.empty()) return options;
    if (!text.starts_with(',')) return "a comma without blanks stands between two options";
    text.remove_prefix(1);
  }
}

// Where the options end: the first blank outside quotation marks.
std::size_t options_size(std::string_view text) {
  bool inside = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '"') inside = !inside;
    if (!inside && (text[i] == ' ' || text[i] == '\t')) return i;
  }
  return text.size();
}

Parsed<TrustedKey> parse_line(std::string_view line) {
  TrustedKey entry;
  const std::size_t names_size = line.find_first_of(" \t");
  if (names_size == std::string_view::npos) return "a key is missing after the names";
  // A public key file as it is.
  if (parse_public_key_line(line).has_value())
    return "it starts with the key: write in front of it whose it is (NAME ssh-ed25519 …)";
  entry.names = split(line.substr(0, names_size), ',');
  line = trimmed(line.substr(names_size));

  const std::string_view word = line.substr(0, line.find_first_of(" \t"));
  const bool has_options = unknown_key_type(word) == KeyError::kNotAKey;
  if (has_options) {
    const std::string_view text = line.substr(0, options_size(line));
    SEALANE_TRY(auto options, parse_options(text));
    line = trimmed(line.substr(text.size()));
    if (options.contains("rights")) {
      SEALANE_TRY(entry.rights, parse_rights(options.at("rights")));
    }
    if (options.contains("namespaces")) entry.namespaces = split(options.at("namespaces"), ',');
    if (options.contains("valid-after")) {
      SEALANE_TRY(entry.valid_after, parse_time(options.at("valid-after")));
    }
    if (options.contains("valid-before")) {
      SEALANE_TRY(entry.valid_before, parse_time(options.at("valid-before")));
    }
  }
  auto key = parse_public_key_line(line);
  if (!key.has_value()) return "its key: " + std::string(describe(key.error()));
  entry.key = key.value().key;
  entry.comment = std::move(key.value().comment);
  if (auto problem = TrustStore::problem_with(entry)) return std::move(*problem);
  return entry;
}

std::string format_line(const TrustedKey& entry) {
  std::vector<std::string> options;
  const auto option = [&](std::string_view keyword, const std::string& value) {
    options.push_back(std::string(keyword) + "=\"" + value + '"');
  };
  if (!entry.rights.empty()) {
    std::vector<std::string> rights;
    for (const Right& right : entry.rights) {
      rights.push_back(right.name + '(' + join(right.scopes, ',') + ')');
    }
    option("rights", join(rights, ' '));
  }
  if (!entry.namespaces.empty()) option("namespaces", join(entry.namespaces, ','));
  if (entry.valid_after) option("valid-after", format_time(*entry.valid_after));
  if (entry.valid_before) option("valid-before", format_time(*entry.valid_before));

  std::string line = join(entry.names, ',') + ' ';
  if (!options.empty()) line += join(options, ',') + ' ';
  return line + format_public_key_line({.key = entry.key, .comment = entry.comment}) + '\n';
}

bool valid_at(const TrustedKey& entry, WallTime at) {
  // OpenSSH compares whole seconds and lets both ends in.
  const auto second = std::chrono::floor<seconds>(at);
  return (!entry.valid_after || second >= *entry.valid_after) &&
         (!entry.valid_before || second <= *entry.valid_before);
}

bool whole_seconds(const std::optional<WallTime>& time) {
  return !time || std::chrono::floor<seconds>(*time) == *time;
}

}  // namespace

std::string describe(const TrustFileError& error) {
  return error.line == 0 ? error.reason
                         : "line " + std::to_string(error.line) + ": " + error.reason;
}

std::optional<std::string> TrustStore::problem_with(const TrustedKey& key) {
  if (key.names.empty()) return "it has no name";
  if (key.names.size() > kMaxListSize || key.rights.size() > kMaxListSize ||
      key.namespaces.size() > kMaxListSize) {
    return "it has too many names, rights or namespaces";
  }
  for (const std::string& name : key.names) {
    if (!is_peer_name(name)) return quoted(name) + " is no name of a peer";
  }
  for (std::size_t i = 0; i < key.rights.size(); ++i) {
    const Right& right = key.rights[i];
    if (!is_right_name(right.name)) return "there is no right " + quoted(right.name);
    const auto same = [&](const Right& other) { return other.name == right.name; };
    if (std::any_of(key.rights.begin(), key.rights.begin() + static_cast<std::ptrdiff_t>(i),
                    same)) {
      return "the right " + right.name + " stands there twice: put its scopes together";
    }
    if (right.scopes.size() > kMaxListSize)
      return "the right " + right.name + " has too many scopes";
    for (const std::string& scope : right.scopes) {
      if (!is_scope(scope)) {
        return quoted(scope) + " is no scope: *, plan:NAME or repo:NAME, excluded by a ! before it";
      }
    }
  }
  for (const std::string& name : key.namespaces) {
    if (!is_namespace(name)) return quoted(name) + " is no namespace of signatures";
  }
  if (!whole_seconds(key.valid_after) || !whole_seconds(key.valid_before)) {
    return "its times are not whole seconds";
  }
  if (key.valid_after && key.valid_before && *key.valid_after >= *key.valid_before) {
    return "it is never valid: valid-before is not later than valid-after";
  }
  if (!is_valid_comment(key.comment) || trimmed(key.comment) != key.comment) {
    return "its comment is too long, begins or ends with a blank, or holds control characters";
  }
  if (format_line(key).size() > kMaxLineSize) return "its line is too long";
  return std::nullopt;
}

Result<TrustStore, TrustFileError> TrustStore::parse(std::string_view text) {
  if (text.size() > kMaxFileSize) return TrustFileError{0, "it is too large for a trust file"};
  TrustStore store;
  std::map<crypto::Ed25519Public, std::size_t> lines;
  std::size_t number = 0;
  while (const auto raw = next_line(text)) {
    ++number;
    const std::string_view line = trimmed(*raw);
    if (line.empty() || line.starts_with('#')) continue;
    if (line.size() > kMaxLineSize) return TrustFileError{number, "it is too long"};
    if (lines.size() == kMaxKeys) return TrustFileError{number, "there are too many keys"};
    auto entry = parse_line(line);
    if (!entry.has_value()) return TrustFileError{number, std::move(entry.error())};
    const auto [known, is_new] = lines.emplace(entry.value().key, number);
    if (!is_new) {
      return TrustFileError{number, "its key is that of line " + std::to_string(known->second) +
                                        ": put both lines together"};
    }
    store.keys_.push_back(std::move(entry.value()));
  }
  return store;
}

std::string TrustStore::format() const {
  std::string text;
  for (const TrustedKey& entry : keys_) text += format_line(entry);
  return text;
}

void TrustStore::add(TrustedKey key) {
  SEALANE_CHECK(!problem_with(key));
  const auto known = std::ranges::find(keys_, key.key, &TrustedKey::key);
  if (known != keys_.end()) {
    *known = std::move(key);
    return;
  }
  SEALANE_CHECK(keys_.size() < kMaxKeys);
  keys_.push_back(std::move(key));
}

const TrustedKey* TrustStore::find(const crypto::Ed25519Public& key) const {
  const auto found = std::ranges::find(keys_, key, &TrustedKey::key);
  return found == keys_.end() ? nullptr : &*found;
}

bool TrustStore::may_sign(const crypto::Ed25519Public& key, std::string_view name_space,
                          WallTime at) const {
  const TrustedKey* entry = find(key);
  if (entry == nullptr || !valid_at(*entry, at)) return false;
  return entry->namespaces.empty() ||
         std::ranges::find(entry->namespaces, name_space) != entry->namespaces.end();
}

bool TrustStore::allows(const crypto::Ed25519Public& key, std::string_view right,
                        std::string_view scope, WallTime at) const {
  const TrustedKey* entry = find(key);
  if (entry == nullptr || !valid_at(*entry, at)) return false;
  const auto held = std::ranges::find(entry->rights, right, &Right::name);
  if (held == entry->rights.end()) return false;
  bool included = false;
  for (const std::string_view pattern : held->scopes) {
    const bool excludes = pattern.starts_with('!');
    const std::string_view thing = excludes ? pattern.substr(1) : pattern;
    if (thing != "*" && thing != scope) continue;
    if (excludes) return false;
    included = true;
  }
  return included;
}

}  // namespace sealane::identity
