#pragma once
// What a repository says about snapshots, as values: objects, fingerprints, proofs, retention. The
// documents that carry them: src/repo, docs/protocol/repository.md.
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "sealane/base/bytes.h"
#include "sealane/base/seams.h"

namespace sealane::repo {

// One sealed file of a snapshot.
struct ObjectRecord {
  std::string file;  // "0-database.zst.age", last "details.age"
  std::uint64_t size = 0;
  ByteArray<32> sha256{};
  friend bool operator==(const ObjectRecord&, const ObjectRecord&) = default;
};

// What a data set looked like: compared after a drill. Equal fingerprints of the same level mean
// equal structure (kStructure: names, counts) or equal content (kContent: also every value).
enum class FingerprintLevel : std::uint8_t { kStructure = 1, kContent };
struct Fingerprint {
  static constexpr std::size_t kMaxItems = 65536;  // bounds the details document
  struct Item {
    std::string name;         // "public.orders", "db0", "etc/passwd"; any bytes
    std::uint64_t count = 0;  // rows, keys, bytes
    std::string digest;       // lower-case hex; empty at level kStructure
    friend bool operator==(const Item&, const Item&) = default;
  };
  std::string kind;  // "postgresql", "sqlite", "redis", "file", "stdin"
  FingerprintLevel level = FingerprintLevel::kContent;
  std::vector<Item> items;  // sorted by name; at most kMaxItems, then folded into one
  std::string digest;       // over all of the above, lower-case hex SHA-256
  friend bool operator==(const Fingerprint&, const Fingerprint&) = default;
};

enum class ProofOutcome : std::uint8_t {
  kEqual = 1,      // restored, and the fingerprints are equal: the snapshot is proven
  kDifferent,      // restored, and they differ
  kNotRestorable,  // it could not be restored
};
std::string_view name_of(FingerprintLevel level);  // "structure", "content"
std::string_view name_of(ProofOutcome outcome);    // "equal", "different", "not-restorable"

// The result of one drill. Only kEqual proves.
struct Proof {
  std::string snapshot;     // id
  std::string prover;       // fingerprint "SHA256:…" of the signing key
  std::string prover_name;  // as the prover calls itself
  WallTime time{};
  FingerprintLevel level = FingerprintLevel::kStructure;
  ProofOutcome outcome = ProofOutcome::kNotRestorable;
  std::string target;       // "PostgreSQL 15.18 started for this drill"
  std::string fingerprint;  // digest of what was found, lower-case hex; empty if there is none
  friend bool operator==(const Proof&, const Proof&) = default;
};

// How long a chain is kept. Each count says for how many of the newest hours, days, … that have a
// snapshot the newest one is kept; `last` counts snapshots. By receive time, in UTC; weeks start on
// Monday. No rule at all keeps everything.
struct RetentionRules {
  std::uint32_t last = 0;
  std::uint32_t hourly = 0;
  std::uint32_t daily = 0;
  std::uint32_t weekly = 0;
  std::uint32_t monthly = 0;
  std::uint32_t yearly = 0;
  bool empty() const {
    return last == 0 && hourly == 0 && daily == 0 && weekly == 0 && monthly == 0 && yearly == 0;
  }
};
enum class KeepReason : std::uint8_t {
  kNewest = 1,  // of its chain: always kept
  kLastProven,  // always kept
  kLast,
  kHourly,
  kDaily,
  kWeekly,
  kMonthly,
  kYearly,
  kNoRule,
};
std::string_view name_of(KeepReason reason);  // "newest", "last proven", "last", "hourly", …

}  // namespace sealane::repo
