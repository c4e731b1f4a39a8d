#pragma once
// TrustStore: which keys we pinned, under which names, with which rights.
//
// A file like OpenSSH's allowed_signers, one key per line:
//   NAME[,NAME…] [options] ssh-ed25519 AAAA… [comment]
// options, separated by commas without blanks:
//   rights="repo:append(plan:shop,!plan:secret) log:read(*)"   none when missing
//   namespaces="sealane-commit@v1,…"                            all when missing
//   valid-after="YYYYMMDD[HHMM[SS]][Z]"  valid-before="…"      always UTC, with or without Z
// Blank lines and lines that start with # are skipped. docs/protocol/trust-file.md.
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "sealane/base/seams.h"
#include "sealane/identity/keys.h"

namespace sealane::identity {

// One right with its scopes: "repo:append(plan:shop,!plan:secret)". "*" matches all; an exclusion
// (!) wins; an empty list of scopes grants nothing.
struct Right {
  std::string name;                 // "repo:append", "log:read", "mail:send:ID", …
  std::vector<std::string> scopes;  // "*", "plan:NAME", "repo:NAME", "!…"
  friend bool operator==(const Right&, const Right&) = default;
};

struct TrustedKey {
  std::vector<std::string> names;  // at least one: who it is, for people
  crypto::Ed25519Public key;
  std::vector<Right> rights;             // each right once
  std::vector<std::string> namespaces;   // empty: all
  std::optional<WallTime> valid_after;   // whole seconds; that second is in
  std::optional<WallTime> valid_before;  // likewise, as OpenSSH does it
  std::string comment;
  friend bool operator==(const TrustedKey&, const TrustedKey&) = default;
};

// "line 3: it names no right: repo:write". `line` counts from 1; 0 is the file as a whole.
struct TrustFileError {
  std::size_t line = 0;
  std::string reason;  // a clause, safe to print
};
std::string describe(const TrustFileError& error);

class TrustStore {
 public:
  static constexpr std::size_t kMaxKeys = 4096;
  static constexpr std::size_t kMaxFileSize = 16 * 1024 * 1024;
  // Strict: an unknown option, right or scope is an error with its line.
  static Result<TrustStore, TrustFileError> parse(std::string_view text);
  std::string format() const;  // parse(format()) gives the same store
  // Nothing, or why parse() would not take it: a clause for a sentence.
  static std::optional<std::string> problem_with(const TrustedKey& key);
  // Replaces the entry of the same key. REQUIRES: no problem_with(key), room below kMaxKeys.
  void add(TrustedKey key);
  const std::vector<TrustedKey>& keys() const { return keys_; }
  const TrustedKey* find(const crypto::Ed25519Public& key) const;
  // Pinned, valid at `at`, and allowed to sign in `name_space`.
  bool may_sign(const crypto::Ed25519Public& key, std::string_view name_space, WallTime at) const;
  // Whether `key` has `right` for the thing named `scope` ("plan:shop"), at that time. A thing that
  // is both in a plan and in a repository needs a yes for each.
  bool allows(const crypto::Ed25519Public& key, std::string_view right, std::string_view scope,
              WallTime at) const;

 private:
  std::vector<TrustedKey> keys_;
};

}  // namespace sealane::identity
