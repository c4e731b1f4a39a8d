#pragma once
// Details: what a snapshot holds, for those who can open it. Lies in details.age, sealed like the
// streams, not compressed. Format: docs/protocol/repository.md, section 4.
#include <map>

#include "repo/document.h"
#include "sealane/repo/records.h"

namespace sealane::repo {

struct StreamDetails {
  std::string name;    // as in the file's name
  std::string format;  // "pg_dump-custom", "sql", "sqlite3", "rdb", "pax", "raw"
  std::string hint;    // the stock command that restores it: "pg_restore -d DATABASE"
  std::uint64_t plain_size = 0;
  ByteArray<32> plain_blake3{};
  friend bool operator==(const StreamDetails&, const StreamDetails&) = default;
};
struct UnreadableDetails {
  std::string path;  // any bytes
  std::string reason;
  friend bool operator==(const UnreadableDetails&, const UnreadableDetails&) = default;
};

struct Details {
  static constexpr std::size_t kMaxText = 4096;  // of one text field
  static constexpr std::size_t kMaxProperties = 256;
  static constexpr std::size_t kMaxUnreadable = 10'000;  // named ones; the count tells of all
  std::string source;                                    // URL without secrets
  std::string kind;     // "postgresql", …: which driver restores it
  std::string tool;     // "pg_dump (PostgreSQL) 15.18"
  std::string sealane;  // version of the writer
  WallTime started{};   // whole seconds, host clock
  WallTime finished{};
  std::uint64_t exit_status = 0;  // of the backup: 0, or 3: the source was unreadable in part, or
                                  // damaged
  std::vector<StreamDetails> streams;
  std::optional<Fingerprint> fingerprint;
  std::uint64_t unreadable_count = 0;
  std::vector<UnreadableDetails> unreadable;  // the first of them
  std::map<std::string, std::string> properties;
  friend bool operator==(const Details&, const Details&) = default;
};

Result<void, DocumentError> check(const Details& details);
// REQUIRES: check(details).
std::string encode(const Details& details);
// Accepts exactly what encode() writes. At most limits::kDetailsSize.
Result<Details, DocumentError> decode_details(std::string_view text);

}  // namespace sealane::repo
