#pragma once
// FingerprintBuilder: items in, one comparable Fingerprint out. Encoding:
// docs/protocol/fingerprint.md.
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "backup/source.h"
#include "crypto/hash.h"

namespace sealane::backup {

// More items are folded into one, so that the details of a snapshot stay small and memory flat.
inline constexpr std::size_t kMaxFingerprintItems = 4096;
static_assert(kMaxFingerprintItems <= Fingerprint::kMaxItems);
inline constexpr std::size_t kMaxFingerprintNameSize = 1024;  // longer names: a prefix and a hash

// Takes any number of items in constant memory. Both sides of a comparison must add in the same
// order: ascending by raw name. Not thread-safe.
class FingerprintBuilder {
 public:
  FingerprintBuilder(std::string kind, FingerprintLevel level);
  // `name`: any bytes; made printable, so that it fits in JSON and on a terminal.
  void add(std::string_view name, std::uint64_t count, std::string digest);
  Fingerprint finish();  // once

 private:
  Fingerprint result_;
  crypto::Sha256 folded_;
  std::uint64_t folded_items_ = 0;
  std::uint64_t folded_count_ = 0;
};

// Of items in any order.
Fingerprint make_fingerprint(std::string kind, FingerprintLevel level,
                             std::vector<Fingerprint::Item> items);

// The same, without what `level` does not compare.
Fingerprint at_level(Fingerprint fingerprint, FingerprintLevel level);

// What Fingerprint::digest must be for the other fields. A decoder of stored fingerprints checks
// it.
std::string fingerprint_digest(const Fingerprint& fingerprint);

// Injective: control bytes, invalid UTF-8 and backslashes become \xNN.
std::string item_name(std::string_view raw);

}  // namespace sealane::backup
