#pragma once
// Outbox: the user's messages on their way into packets: the open packet, the closed ones that
// wait, and the buffers they lie in.
#include <cstdint>
#include <optional>
#include <vector>

#include "session/message_batch.h"
#include "session/ring_queue.h"

namespace sealane::session {

class Outbox {
 public:
  struct Packet {
    MessageBatch batch;
    std::uint64_t ticket = 0;
    bool completes = true;  // the last packet of its ticket
  };
  // How messages that are larger than a packet are cut.
  class Cutter {
   public:
    virtual ~Cutter() = default;
    // The chain id for a message of `total` bytes; nothing: it cannot be sent in fragments.
    virtual std::optional<std::uint64_t> next_chain(std::uint64_t total) = 0;
    virtual void on_unsendable(MessageType type) = 0;  // it is left out
  };

  // `capacity`: the largest packet. `limit`: bytes that may wait in closed packets.
  Outbox(std::size_t capacity, std::size_t limit)
      : capacity_(capacity), limit_(limit), packet_size_(capacity) {}

  // Into the open packet. False: it does not fit there.
  bool append(MessageType type, ByteSpan payload) { return open_.append(type, payload); }
  bool open_empty() const { return open_.empty(); }
  std::uint64_t open_ticket() const { return next_ticket_; }
  // Room for one more packet of `size` beside the open one. An empty queue always has room.
  bool has_room(std::size_t size) const {
    return queue_.empty() || queued_bytes_ + open_size() + size <= limit_;
  }
  // Queues the open packet, if there is something in it, and opens a new one.
  void close_open();
  // Opens one if none is open.
  void ensure_open();
  // A message too large for a packet: waits whole, and is cut when it leaves.
  std::uint64_t add_oversized(MessageType type, ByteSpan payload);
  // Takes the content and leaves an empty batch.
  std::uint64_t add_batch(MessageBatch& batch);
  MessageBatch new_batch() const { return MessageBatch(capacity_); }

  // Later packets are at most this large. REQUIRES: at most the capacity.
  void set_packet_size(std::size_t size) {
    packet_size_ = size;
    if (open_.capacity() != 0 && open_.empty()) open_.reset(size);
  }

  bool empty() const { return queue_.empty(); }
  std::size_t queued_bytes() const { return queued_bytes_ + open_size(); }
  std::uint64_t queued_messages() const;
  // The next packet to send, cut to the packet size first; nothing when none waits.
  std::optional<Packet> take(Cutter& cutter);
  // Back to the front: it was not sent. Its messages must be as they were before sealing.
  void put_back(Packet packet);
  void recycle(MessageBatch batch);
  void drop_all();
  void release_idle() { free_.clear(); }
  bool holds_idle() const { return !free_.empty(); }
  std::uint64_t last_closed_ticket() const { return next_ticket_ - 1; }

 private:
  // Kept for reuse: enough for what leaves with one call.
  static constexpr std::size_t kIdleBuffers = 4;
  static constexpr std::size_t kIdleBytes = 128 * 1024;
  std::size_t open_size() const { return open_.empty() ? 0 : open_.packet_size(); }
  MessageBatch fresh();
  void push(MessageBatch batch);
  void cut(Packet whole, Cutter& cutter);

  std::size_t capacity_;
  std::size_t limit_;
  std::size_t packet_size_;
  MessageBatch open_;
  RingQueue<Packet> queue_;
  std::vector<MessageBatch> free_;
  std::size_t queued_bytes_ = 0;
  std::uint64_t next_ticket_ = 1;
};

}  // namespace sealane::session
