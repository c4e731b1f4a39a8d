#include "mailbox/ref_window.h"

#include "base/byte_reader.h"
#include "base/check.h"

namespace sealane::mailbox {

RefWindow::Seen RefWindow::look_up(SenderRef ref) const {
  const auto value = static_cast<std::uint64_t>(ref);
  if (value == 0) return Seen::kTooOld;  // 0 marks an empty window
  if (value > highest_) return Seen::kNew;
  const std::uint64_t back = highest_ - value;
  if (back >= kSpan) return Seen::kTooOld;
  return bit(back) ? Seen::kTaken : Seen::kNew;
}

void RefWindow::slide(std::uint64_t by) {
  if (by >= kSpan) {
    words_.fill(0);
    return;
  }
  const std::size_t whole = by / 64;
  const std::size_t part = by % 64;
  for (std::size_t i = kWords; i-- > 0;) {
    std::uint64_t word = i >= whole ? words_[i - whole] << part : 0;
    if (part != 0 && i > whole) word |= words_[i - whole - 1] >> (64 - part);
    words_[i] = word;
  }
}

void RefWindow::take(SenderRef ref) {
  SEALANE_CHECK(look_up(ref) == Seen::kNew);
  const auto value = static_cast<std::uint64_t>(ref);
  if (value > highest_) {
    slide(value - highest_);
    highest_ = value;
  }
  const std::uint64_t back = highest_ - value;
  words_[back / 64] |= std::uint64_t{1} << (back % 64);
}

void RefWindow::give_back(SenderRef ref) {
  if (look_up(ref) != Seen::kTaken) return;
  const std::uint64_t back = highest_ - static_cast<std::uint64_t>(ref);
  words_[back / 64] &= ~(std::uint64_t{1} << (back % 64));
}

void RefWindow::encode(std::span<std::byte, kEncodedSize> out) const {
  store_integer(out.first(8), highest_);
  for (std::size_t i = 0; i < kWords; ++i) {
    store_integer(out.subspan(8 + 8 * i, 8), words_[i], Endian::kLittle);
  }
}

std::optional<RefWindow> RefWindow::decode(std::span<const std::byte, kEncodedSize> in) {
  RefWindow window;
  window.highest_ = load<std::uint64_t>(in.first(8));
  for (std::size_t i = 0; i < kWords; ++i) {
    window.words_[i] = load<std::uint64_t>(in.subspan(8 + 8 * i, 8), Endian::kLittle);
  }
  if (window.highest_ == 0) return window == RefWindow() ? std::optional(window) : std::nullopt;
  for (std::uint64_t back = window.highest_; back < kSpan; ++back) {
    if (window.bit(back)) return std::nullopt;  // a number of 0 or below
  }
  return window;
}

}  // namespace sealane::mailbox
