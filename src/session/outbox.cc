#include "session/outbox.h"

#include <algorithm>

#include "session/fragments.h"

namespace sealane::session {

MessageBatch Outbox::fresh() {
  if (free_.empty()) {
    MessageBatch batch(capacity_);
    batch.reset(packet_size_);
    return batch;
  }
  MessageBatch batch = std::move(free_.back());
  free_.pop_back();
  batch.reset(packet_size_);
  return batch;
}

void Outbox::recycle(MessageBatch batch) {
  // An oversized one is not worth keeping.
  if (batch.capacity() == capacity_ &&
      free_.size() < std::max(kIdleBuffers, kIdleBytes / capacity_)) {
    free_.push_back(std::move(batch));
  }
}

void Outbox::push(MessageBatch batch) {
  queued_bytes_ += batch.packet_size();
  queue_.push_back({std::move(batch), next_ticket_++, true});
}

void Outbox::ensure_open() {
  if (open_.capacity() == 0) open_ = fresh();
}

void Outbox::close_open() {
  if (open_.empty()) return;
  push(std::move(open_));
  open_ = MessageBatch();
}

std::uint64_t Outbox::add_oversized(MessageType type, ByteSpan payload) {
  close_open();
  MessageBatch batch(kPacketHeaderSize + kMessageHeaderSize + payload.size());
  SEALANE_CHECK(batch.append(type, payload));
  push(std::move(batch));
  return last_closed_ticket();
}

std::uint64_t Outbox::add_batch(MessageBatch& batch) {
  close_open();
  MessageBatch full = std::exchange(batch, fresh());
  push(std::move(full));
  return last_closed_ticket();
}

std::uint64_t Outbox::queued_messages() const {
  std::uint64_t count = open_.message_count();
  for (std::size_t i = 0; i < queue_.size(); ++i) count += queue_[i].batch.message_count();
  return count;
}

std::optional<Outbox::Packet> Outbox::take(Cutter& cutter) {
  while (!queue_.empty()) {
    Packet packet = queue_.pop_front();
    queued_bytes_ -= packet.batch.packet_size();
    // An empty one is what is left of a message that could not be cut: only its ticket.
    if (packet.batch.packet_size() <= packet_size_) return packet;
    cut(std::move(packet), cutter);
  }
  return std::nullopt;
}

void Outbox::put_back(Packet packet) {
  queued_bytes_ += packet.batch.packet_size();
  queue_.push_front(std::move(packet));
}

namespace {

// What is to be cut, as one piece. A piece of an earlier cut, which has not been sent, stays in its
// chain: all cuts are at multiples of 64 bytes, which is what an older receiver needs.
std::optional<Fragment> fragment_of(const Message& message, Outbox::Cutter& cutter) {
  if ((message.flags & kFragmented) != 0) {
    const auto piece = parse_fragment(message.payload);
    SEALANE_CHECK(piece.has_value());  // we made it
    return piece.value();
  }
  const auto chain = cutter.next_chain(message.payload.size());
  if (!chain) return std::nullopt;
  return Fragment{{*chain, 0, message.payload.size()}, message.payload};
}

}  // namespace

// Puts the same messages in smaller packets to the front of the queue, in order.
void Outbox::cut(Packet whole, Cutter& cutter) {
  std::vector<MessageBatch> pieces;
  pieces.push_back(fresh());
  MessageReader reader(whole.batch.messages());
  const std::size_t payload_size = packet_size_ - kPacketHeaderSize - kMessageHeaderSize;
  while (const auto message = reader.next()) {
    if ((message->flags & kFragmented) == 0) {
      if (pieces.back().append(message->type, message->payload)) continue;
      if (message->payload.size() <= payload_size) {
        pieces.push_back(fresh());
        SEALANE_CHECK(pieces.back().append(message->type, message->payload));
        continue;
      }
    }
    const auto step = piece_size(payload_size);
    const auto whole_of = step ? fragment_of(*message, cutter) : std::nullopt;
    if (!whole_of) {
      cutter.on_unsendable(message->type);
      continue;
    }
    const auto& [header, bytes] = *whole_of;
    for (std::size_t at = 0; at < bytes.size(); at += *step) {
      if (!pieces.back().empty()) pieces.push_back(fresh());
      const ByteSpan rest = bytes.subspan(at);
      pieces.back().append_fragment(message->type, {header.chain, header.start + at, header.total},
                                    rest.first(std::min(*step, rest.size())));
    }
    pieces.push_back(fresh());
  }
  if (pieces.size() > 1 && pieces.back().empty()) pieces.pop_back();
  for (std::size_t i = pieces.size(); i-- > 0;) {
    const bool last = i + 1 == pieces.size();
    put_back({std::move(pieces[i]), whole.ticket, last && whole.completes});
  }
  recycle(std::move(whole.batch));
}

void Outbox::drop_all() {
  while (!queue_.empty()) queue_.pop_front();
  open_ = MessageBatch();
  queued_bytes_ = 0;
}

}  // namespace sealane::session
