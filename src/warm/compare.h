#pragma once
// Comparison of two stores: which keys are only here, only there, or different; and the repair,
// which sends what differs. What the two sides tell each other about their keys is what the
// protocol of docs/protocol/reconcile.md sends, and is counted in bytes.
#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "sealane/base/seams.h"
#include "sealane/warm/sink.h"
#include "warm/key_store.h"

namespace sealane::warm {

enum class Difference : std::uint8_t { kOnlyHere = 0, kOnlyThere, kValue, kExpiry };
std::string_view difference_name(Difference difference);  // "only_here", …

// Keys whose digests are in memory at a time; bounds it to about 60 MiB. More keys are looked at in
// several passes, each over a part of the ring of tokens.
inline constexpr std::uint64_t kKeysPerPass = 512 * 1024;

struct CompareOptions {
  TokenRange range;
  std::chrono::milliseconds ttl_tolerance{1000};  // expiries that close are equal
  std::uint64_t keys_per_pass = kKeysPerPass;
  // Called with each difference that was confirmed. The key's bytes live until it returns.
  std::function<void(Difference, ByteSpan key)> on_difference = [](Difference, ByteSpan) {};
};

struct CompareReport {
  std::uint64_t keys_here = 0;
  std::uint64_t keys_there = 0;
  std::array<std::uint64_t, 4> differences{};  // by Difference
  std::uint64_t unconfirmed =
      0;  // differed at first, but not when looked at again: written meanwhile
  std::uint64_t passes = 0;
  std::uint64_t rounds = 0;
  std::uint64_t reconcile_bytes = 0;  // both ways
  std::uint64_t full_copy_bytes = 0;  // of all commands that a full copy would send

  std::uint64_t total() const {
    return differences[0] + differences[1] + differences[2] + differences[3];
  }
};

struct Comparison {
  CompareReport report;
  std::vector<Bytes> to_send;  // keys that are only here, or different
};

// Keys that differ are looked at again, up to three times, so that writes in between count only if
// they last. `random` makes the secret seed of the reconciliation.
Result<Comparison, Error> compare(KeyStore& here, KeyStore& there, const CompareOptions& options,
                                  RandomSource& random);

}  // namespace sealane::warm
