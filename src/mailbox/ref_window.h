#pragma once
// RefWindow: which of a sender's latest message numbers were taken, so that one that is handed in
// again after a cut connection is recognised.
#include <array>
#include <cstdint>
#include <optional>

#include "mailbox/types.h"

namespace sealane::mailbox {

// As stored: docs/protocol/mailbox.md.
//
//   offset  size  field
//        0     8  highest  big-endian; 0: nothing was taken
//        8   128  taken    bit i (of byte i / 8, least significant first) stands for number
//                          highest - i; none is set for a number below 1
class RefWindow {
 public:
  static constexpr std::size_t kSpan = 1024;  // numbers that are remembered; bounds memory
  static constexpr std::size_t kEncodedSize = 8 + kSpan / 8;

  enum class Seen : std::uint8_t { kNew = 1, kTaken, kTooOld };
  Seen look_up(SenderRef ref) const;
  void take(SenderRef ref);  // REQUIRES: look_up(ref) is kNew
  // It was not taken after all. The window stays where it is: what fell out of it stays too old.
  void give_back(SenderRef ref);
  std::uint64_t highest() const { return highest_; }

  void encode(std::span<std::byte, kEncodedSize> out) const;
  // Accepts exactly what encode() writes.
  static std::optional<RefWindow> decode(std::span<const std::byte, kEncodedSize> in);
  friend bool operator==(const RefWindow&, const RefWindow&) = default;

 private:
  static constexpr std::size_t kWords = kSpan / 64;
  bool bit(std::uint64_t back) const { return (words_[back / 64] >> (back % 64) & 1) != 0; }
  void slide(std::uint64_t by);
  std::uint64_t highest_ = 0;
  std::array<std::uint64_t, kWords> words_{};
};

}  // namespace sealane::mailbox
