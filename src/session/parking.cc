#include "session/parking.h"

#include <algorithm>

namespace sealane::session {

bool Parking::add(ByteSpan datagram, PathId from, SteadyTime until, std::size_t limit) {
  if (packets_.size() >= kMaxPackets ||
      bytes_ + datagram.size() + kPacketOverhead > std::min(limit, kMaxBytes)) {
    return false;
  }
  put_back({to_bytes(datagram), from, until});
  return true;
}

std::optional<Parking::Packet> Parking::take() {
  if (packets_.empty()) return std::nullopt;
  Packet packet = packets_.pop_front();
  bytes_ -= packet.datagram.size() + kPacketOverhead;
  return packet;
}

void Parking::put_back(Packet packet) {
  bytes_ += packet.datagram.size() + kPacketOverhead;
  packets_.push_back(std::move(packet));
}

std::size_t Parking::expire(SteadyTime now) {
  std::size_t dropped = 0;
  // All wait equally long, so the oldest is at the front.
  while (!packets_.empty() && packets_.front().until <= now) {
    take();
    ++dropped;
  }
  return dropped;
}

std::optional<SteadyTime> Parking::deadline() const {
  if (packets_.empty()) return std::nullopt;
  return packets_.front().until;
}

void Parking::clear() {
  while (take()) {
  }
}

}  // namespace sealane::session
