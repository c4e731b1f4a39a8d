// What source.h and sink.h promise beside their interfaces: tokens, parts, counts.
#include <algorithm>
#include <tuple>

#include "base/byte_reader.h"
#include "crypto/hash.h"
#include "sealane/warm/sink.h"
#include "sealane/warm/source.h"

namespace sealane::warm {

std::uint32_t token_of(ByteSpan key) {
  constexpr std::uint32_t kMultiplier = 0x5bd1e995;
  const auto size = static_cast<std::uint32_t>(key.size());
  std::uint32_t hash = (0xdeadbeefU * size) ^ size;
  while (key.size() >= 4) {
    auto block = load<std::uint32_t>(key, Endian::kLittle) * kMultiplier;
    block = (block ^ (block >> 24)) * kMultiplier;
    hash = (hash * kMultiplier) ^ block;
    key = key.subspan(4);
  }
  if (!key.empty()) {
    for (std::size_t i = 0; i < key.size(); ++i) {
      hash ^= std::to_integer<std::uint32_t>(key[i]) << (8 * i);
    }
    hash *= kMultiplier;
  }
  hash = (hash ^ (hash >> 13)) * kMultiplier;
  return hash ^ (hash >> 15);
}

Part make_part(Bytes commands, std::uint64_t keys, std::uint64_t command_count) {
  Part part;
  part.digest = crypto::sha256(commands);
  part.commands = std::move(commands);
  part.keys = keys;
  part.command_count = command_count;
  return part;
}

std::string_view cause_name(Cause cause) {
  switch (cause) {
    case Cause::kExists:
      return "exists";
    case Cause::kExpired:
      return "expired";
    case Cause::kRefused:
      return "refused";
    case Cause::kOutOfMemory:
      return "out_of_memory";
    case Cause::kLoading:
      return "loading";
    case Cause::kReadOnly:
      return "read_only";
    case Cause::kMoved:
      return "moved";
    case Cause::kPayloadVersion:
      return "payload_version";
    case Cause::kWrongType:
      return "wrong_type";
    case Cause::kNoPermission:
      return "no_permission";
    case Cause::kDiskFull:
      return "disk_full";
    case Cause::kConnectionLost:
      return "connection_lost";
    case Cause::kOther:
      return "other";
    case Cause::kSameStore:
      return "same_store";
  }
  return "other";
}

std::string_view advice_for(Cause cause) {
  switch (cause) {
    case Cause::kExists:
    case Cause::kExpired:
      return {};
    case Cause::kRefused:
      return "the part holds commands that a warm copy never needs; do not trust its sender";
    case Cause::kOutOfMemory:
      return "raise maxmemory there, then push again";
    case Cause::kLoading:
      return "wait until the server has loaded its data, then push again";
    case Cause::kReadOnly:
      return "it is a replica: write to its master, or make it one";
    case Cause::kMoved:
      return "it is a node of a cluster, which takes only the keys of its slots, and a warm copy "
             "is "
             "of one server: use one without cluster-enabled";
    case Cause::kPayloadVersion:
      return "the source is a newer Redis: upgrade the target, or push with --portable";
    case Cause::kWrongType:
      return "a key of another type is there: push with --mode overwrite";
    case Cause::kNoPermission:
      return "the user needs +restore +set +msetnx +mset +del +unlink +pexpireat +rename +renamenx "
             "+ping, and for large keys +append +setrange +rpush +ltrim +sadd +hset +zadd +xadd "
             "+xsetid";
    case Cause::kDiskFull:
      return "free some space there, then push again";
    case Cause::kConnectionLost:
      return "look at the server's log, then push again: it resumes";
    case Cause::kOther:
      return "look at the server's log";
    case Cause::kSameStore:
      return "name another database to write to";
  }
  return {};
}

bool is_same_store(const StoreId& a, const StoreId& b) {
  constexpr std::size_t kHalf = std::tuple_size_v<StoreId> / 2;
  const ByteArray<kHalf> unknown{};
  const auto same = [&](std::size_t at) {
    const ByteSpan half = ByteSpan(a).subspan(at, kHalf);
    return std::ranges::equal(half, ByteSpan(b).subspan(at, kHalf)) &&
           !std::ranges::equal(half, unknown);
  };
  return same(0) || same(kHalf);
}

std::optional<Cause> main_cause(const ApplyCounts& counts) {
  std::optional<Cause> found;
  std::uint64_t most = 0;
  for (std::size_t i = 0; i < counts.causes.size(); ++i) {
    const auto cause = static_cast<Cause>(i);
    if (is_skip(cause) || counts.causes[i] <= most) continue;
    most = counts.causes[i];
    found = cause;
  }
  return found;
}

void ApplyCounts::add(const ApplyCounts& more) {
  commands += more.commands;
  applied += more.applied;
  skipped += more.skipped;
  failed += more.failed;
  for (std::size_t i = 0; i < causes.size(); ++i) causes[i] += more.causes[i];
}

void ApplyCounts::count(Cause cause, std::uint64_t commands_of_it) {
  commands += commands_of_it;
  (is_skip(cause) ? skipped : failed) += commands_of_it;
  causes[static_cast<std::size_t>(cause)] += commands_of_it;
}

}  // namespace sealane::warm
