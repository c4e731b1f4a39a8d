#pragma once
// Parking: packets that no key opens yet. Data may overtake the key exchange that brings its key.
#include <cstdint>
#include <optional>

#include "sealane/base/bytes.h"
#include "sealane/base/seams.h"
#include "session/ring_queue.h"

namespace sealane::session {

enum class PathId : std::uint32_t;

class Parking {
 public:
  static constexpr std::size_t kMaxPackets = 64;
  static constexpr std::size_t kMaxBytes = 1024 * 1024;  // junk must not fill the memory
  static constexpr std::size_t kPacketOverhead = 128;    // of one: its place and its block
  struct Packet {
    Bytes datagram;
    PathId from{};
    SteadyTime until{};
  };
  // False: there is no room. `limit`: of bytes(), at most kMaxBytes.
  bool add(ByteSpan datagram, PathId from, SteadyTime until, std::size_t limit);
  // All that are here now, oldest first; what still opens under no key is added again.
  std::optional<Packet> take();
  void put_back(Packet packet);
  std::size_t count() const { return packets_.size(); }
  // What they take, their book-keeping included.
  std::size_t bytes() const { return bytes_; }
  // How many were dropped because their time is over.
  std::size_t expire(SteadyTime now);
  std::optional<SteadyTime> deadline() const;
  void clear();

 private:
  RingQueue<Packet> packets_;
  std::size_t bytes_ = 0;
};

}  // namespace sealane::session
