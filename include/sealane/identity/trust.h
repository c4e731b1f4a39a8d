#pragma once
// TrustStore: which keys we pinned, under which names, with which rights.
//
// A file like OpenSSH's allowed_signers, one key per line:
//   NAME[,NAME…] [options] ssh-ed25519 AAAA… [comment]
// options, separated by commas without blanks:
//   rights="repo:append(plan:shop,!plan:secret) log:read(*)"   none when missing
//   namespaces="sealane-commit@v1,…"                            all when missing
//   valid-after="YYYYMMDD[HHMM[SS]][Z]"  valid-before="…"
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "sealane/base/clock.h"
#include "sealane/identity/keys.h"

namespace sealane::identity {

// One right with its scopes: "repo:append(plan:shop,!plan:secret)". "*" matches all; an exclusion
// (!) wins; an empty list of scopes grants nothing.
struct Right {
  std::string name;                 // "repo:append", "log:read", "mail:send:ID", …
  std::vector<std::string> scopes;  // "*", "plan:NAME", "repo:NAME", "!…"
};

struct TrustedKey {
  std::vector<std::string> names;
  crypto::Ed25519Public key;
  std::vector<Right> rights;
  std::vector<std::string> namespaces;
  std::optional<WallTime> valid_after;
  std::optional<WallTime> valid_before;
  std::string comment;
};

struct TrustFileError {
  std::size_t line = 0;
  std::string reason;
};

class TrustStore {
 public:
  static constexpr std::size_t kMaxKeys = 4096;
  // Strict: an unknown option, right or scope is an error with its line.
  static Result<TrustStore, TrustFileError> parse(std::string_view text);
  std::string format() const;  // parse(format()) gives the same store
  void add(TrustedKey key);
  const std::vector<TrustedKey>& keys() const { return keys_; }
  const TrustedKey* find(const crypto::Ed25519Public& key) const;
  // Pinned, valid at `at`, and allowed to sign in `name_space`.
  bool may_sign(const crypto::Ed25519Public& key, std::string_view name_space, WallTime at) const;
  // Whether `key` has `right` for the thing named `scope` ("plan:shop"), at that time.
  bool allows(const crypto::Ed25519Public& key, std::string_view right, std::string_view scope,
              WallTime at) const;

 private:
  std::vector<TrustedKey> keys_;
};

}  // namespace sealane::identity
