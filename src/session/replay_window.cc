#include "session/replay_window.h"

#include <bit>

#include "base/check.h"

namespace sealane::session {

ReplayWindow::ReplayWindow(std::int64_t size) : checks_(size >= 0) {
  SEALANE_CHECK(size <= kMaxSize);
  if (size == 0) size = kDefaultSize;
  if (size <= 1) return;
  const std::uint64_t word_count = (static_cast<std::uint64_t>(size) + 63) / 64;
  size_ = 64 * word_count;
  words_.resize(std::bit_ceil(word_count + 1));
  word_mask_ = words_.size() - 1;
}

bool ReplayWindow::would_accept(PacketId packet_id) const {
  const auto id = static_cast<std::uint64_t>(packet_id);
  if (!checks_ || id > latest_) return true;
  if (id == latest_ || latest_ - id >= size_) return false;
  return ((words_[(id / 64) & word_mask_] >> (id % 64)) & 1) == 0;
}

bool ReplayWindow::accept(PacketId packet_id) {
  if (!would_accept(packet_id)) return false;
  const auto id = static_cast<std::uint64_t>(packet_id);
  if (size_ == 0) {
    latest_ = std::max(latest_, id);
    return true;
  }
  if (id > latest_) {
    const std::uint64_t steps = std::min<std::uint64_t>(id / 64 - latest_ / 64, words_.size());
    for (std::uint64_t step = 0; step < steps; ++step) word_of(id - 64 * step) = 0;
    latest_ = id;
  }
  word_of(id) |= std::uint64_t{1} << (id % 64);
  return true;
}

}  // namespace sealane::session
