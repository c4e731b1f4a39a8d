#pragma once
// ReplayMemory: which parts of which snapshots were received, so that each is applied once: a
// repeated one gets its first answer again, and an old recording gets nothing.
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <utility>

#include "entropy/extension.h"
#include "sealane/base/seams.h"

namespace sealane::entropy {

// Not thread-safe. Only authenticated parts come here, so nobody else can fill it.
class ReplayMemory {
 public:
  // Bounds the memory (some 8 MiB). Full of entries that still matter, new parts have to wait.
  static constexpr std::size_t kCapacity = 65536;

  // How far a part's time of making may lie from ours, either way; it must be after `started` too,
  // because what was received before is not remembered.
  struct Rules {
    std::chrono::nanoseconds window = std::chrono::minutes(10);
    WallTime started{};
  };
  explicit ReplayMemory(Rules rules) : rules_(rules) {}

  struct Key {
    SnapshotId snapshot{};
    std::uint32_t part = 0;
    friend auto operator<=>(const Key&, const Key&) = default;
  };
  enum class Verdict : std::uint8_t {
    kNew = 1,  // begun: finish() or abandon() must follow
    kStale,
    kInProgress,
    kDone,  // answer() has what was said then
    kFull,
  };
  Verdict begin(const Key& key, std::uint64_t created_ms, WallTime now);
  void finish(const Key& key, const Acknowledgement& answer, WallTime now);
  void abandon(const Key& key);  // may begin anew
  std::optional<Acknowledgement> answer(const Key& key) const;
  std::size_t size() const { return entries_.size(); }

 private:
  struct Entry {
    std::optional<Acknowledgement> answer;  // none yet: in progress
    WallTime forget_after{};                // of one with an answer
  };
  void forget_old(WallTime now);
  Rules rules_;
  std::map<Key, Entry> entries_;
};

}  // namespace sealane::entropy
