#pragma once
// ReplayWindow: which packet ids of one sender have been seen. Format: docs/protocol/session.md,
// "Replay window". Exact for jumps of any size.
#include <cstdint>
#include <vector>

#include "session/packet.h"

namespace sealane::session {

class ReplayWindow {
 public:
  static constexpr std::int64_t kDefaultSize = 256;
  static constexpr std::int64_t kMaxSize = std::int64_t{1} << 24;  // bounds memory: 2 to 4 MiB

  // 0: kDefaultSize. 1: ids must grow. 2 and more: that many ids behind the newest are told apart,
  // rounded up to a multiple of 64. Below 0: nothing is checked. REQUIRES: size <= kMaxSize.
  explicit ReplayWindow(std::int64_t size = 0);

  // Whether the id is new. Changes nothing: for the look before a packet is decrypted.
  bool would_accept(PacketId id) const;
  // The same, and takes note of it: after the packet has proven authentic.
  bool accept(PacketId id);
  PacketId latest() const { return PacketId{latest_}; }  // 0: none yet

 private:
  std::uint64_t& word_of(std::uint64_t id) { return words_[(id / 64) & word_mask_]; }

  bool checks_ = true;
  std::uint64_t size_ = 0;  // ids; 0: they must grow
  std::uint64_t latest_ = 0;
  // Bit id % 64 of word (id / 64) modulo their number, which is a power of two and more than size_
  // / 64: so all ids in the window have bits of their own. Words ahead of the newest are cleared on
  // the way, never shifted.
  std::uint64_t word_mask_ = 0;
  std::vector<std::uint64_t> words_;
};

}  // namespace sealane::session
