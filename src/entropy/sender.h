#pragma once
// Sender: one snapshot, or one part of a series, over one connection of the unified dialect. Rules:
// docs/protocol/entropy.md, sections 3 and 6.
#include <deque>
#include <memory>
#include <optional>
#include <variant>

#include "base/core.h"
#include "crypto/aes_cbc.h"
#include "entropy/extension.h"
#include "entropy/wire.h"

namespace sealane::entropy {

// The largest that the foreign receiver takes: its cipher size is 16 more.
inline constexpr std::uint32_t kMaxSenderBuffer = kMaxCipherSize - 16;
// What the foreign sender uses when it is told nothing.
inline constexpr std::uint32_t kDefaultBuffer = 16 * 1024;
// Ours, of what is not encrypted: the kernel copies long pieces faster. With the beginning of the
// next it fits into Sender::kMaxQueued.
inline constexpr std::uint32_t kPlainBuffer = 1008 * 1024;

struct SenderSetup {
  std::uint32_t header_size = kMaxHeaderSize;  // 8..1024
  std::uint32_t buffer_size = kDefaultBuffer;  // 16..kMaxSenderBuffer, a multiple of 16
  bool encrypted = true;
  std::uint64_t total = 0;  // plaintext bytes, known before the first is sent; up to kMaxTotal
  // Both or neither. The digest must be that of the plaintext.
  std::optional<Extension> extension;
  const ClusterSecret* secret = nullptr;                             // must outlive the sender
  std::chrono::nanoseconds idle_timeout = std::chrono::seconds(30);  // output that nobody takes
  std::chrono::nanoseconds total_timeout = std::chrono::hours(1);    // the peer's sink included
};
enum class SetupError : std::uint8_t {
  kHeaderSize = 1,
  kBufferSize,
  kTotal,
  kNoRoom,  // the extension block does not fit into that header
  kName,    // of the sender: too long
};
std::string_view describe(SetupError error);  // a sentence, without a full stop
Result<void, SetupError> validate(const SenderSetup& setup);

// Makes chunks of plaintext. Not thread-safe: one per thread. The same bytes whoever makes them.
class ChunkEncoder {
 public:
  // `keys` null: plain. REQUIRES: a valid buffer size.
  ChunkEncoder(std::uint32_t buffer_size, const ChunkKeys* keys);
  ~ChunkEncoder();
  ChunkEncoder(ChunkEncoder&&) noexcept;
  std::size_t encoded_size(std::size_t plaintext_size) const;
  // Lengths and payloads of all its chunks. REQUIRES: whole buffers, but for the snapshot's last
  // piece; `out` has encoded_size() bytes and does not overlap.
  void encode(ByteSpan plaintext, MutableByteSpan out);
  // The same into memory that may have been used before.
  Bytes encode_reusing(Bytes memory, ByteSpan plaintext);

 private:
  std::uint32_t buffer_size_;
  std::unique_ptr<crypto::AesCbc> cipher_;
  std::vector<crypto::AesCbc::Piece> pieces_;
};

// Not thread-safe. A core of stream shape (base/core.h). Memory: kMaxQueued bytes of chunks, and
// the piece that is supplied beyond.
class Sender {
 public:
  // Bounds what waits for the connection, or is being made.
  static constexpr std::size_t kMaxQueued = 1024 * 1024;
  static constexpr std::size_t kMaxSpans = 256;
  // Chunks in place from this size on leave aligned, see next_outputs().
  static constexpr std::size_t kAlignFrom = 256 * 1024;
  static constexpr std::size_t kAlignment = 64;  // bytes: a CPU's cache line

  enum class Outcome : std::uint8_t {
    kAcknowledged = 1,  // the peer proved what it says; see the status
    kUnknown,           // taken and closed in order, without a word: the foreign engine, which says
                        // no more whether it applied it, failed to decrypt it, or lost it
    kReset,             // not taken, for certain
    kClosedEarly,       // closed before it had all
    kBadAnswer,         // something else than an answer to this part came
    kIdleTimeout,
    kTotalTimeout,
  };
  struct OutputEnd {};  // everything has left: time for FIN
  struct Finished {     // final; what is not sent yet need not be
    Outcome outcome = Outcome::kUnknown;
    std::optional<Acknowledgement> acknowledgement;  // of kAcknowledged
  };
  using Event = std::variant<OutputEnd, Finished>;

  // REQUIRES: validate(setup).
  Sender(SenderSetup setup, SteadyTime now);

  // Plaintext bytes that should be supplied next, 0: none now. Whole buffers, or the rest. Each
  // call claims another piece, which is then to come by supply(); so pieces may be made into chunks
  // elsewhere, side by side.
  std::size_t claim_plaintext();
  // Chunks of the oldest piece that was claimed, by ChunkEncoder. REQUIRES: in that order.
  void supply(Bytes chunks, SteadyTime now);
  // The same where nothing is encrypted: the plaintext leaves from where it lies. It must stay
  // until the sender has finished, or goes.
  void supply_in_place(ByteSpan plaintext, SteadyTime now);
  // Memory of chunks that have left, to make others in; empty if there is none. What is new costs
  // more than copying into it does: each page is a fault.
  Bytes take_spent();

  // ---- stream core ----
  std::size_t receive(ByteSpan bytes, SteadyTime now);
  // `confirmed`: all output given out had reached the peer before its end came.
  void on_end(SteadyTime now, bool confirmed = true);
  void on_reset(SteadyTime now);
  ByteSpan next_output() const;
  // All that is there, up to kMaxSpans places of memory; where large chunks lie in place, up to an
  // address in each that is a multiple of kAlignment. A UNIX socket begins new memory with each
  // call, and the kernel copies a tenth faster where both sides of a copy are aligned alike. Valid
  // until the next call of anything.
  std::span<const ByteSpan> next_outputs();
  void output_sent(std::size_t size, SteadyTime now);
  void output_sent(std::size_t size) { output_sent(size, last_progress_); }
  std::optional<Event> next_event();
  std::optional<SteadyTime> deadline() const;
  void on_deadline(SteadyTime now);
  bool wants_input() const { return !finished_; }

  bool finished() const { return finished_; }
  std::uint64_t sent() const { return plaintext_sent_; }  // plaintext whose chunks have left

 private:
  struct Queued {
    Bytes bytes;        // the head, chunks, or the lengths of chunks in place
    ByteSpan in_place;  // their plaintext
    std::size_t plaintext = 0;
    std::size_t size() const { return bytes.size() + in_place.size(); }
  };
  ByteSpan output_of(const Queued& queued, std::size_t at) const;
  void enqueue(Queued queued, SteadyTime now);
  bool wants_answer() const;
  void finish(Outcome outcome, std::optional<Acknowledgement> acknowledgement = std::nullopt);

  const SenderSetup setup_;
  const SteadyTime started_;
  SteadyTime last_progress_;
  std::deque<Queued> queue_;  // the head first
  std::size_t queued_size_ = 0;
  std::size_t front_sent_ = 0;
  std::vector<ByteSpan> outputs_;
  std::vector<Bytes> spent_;        // no more than were queued
  std::deque<std::size_t> claims_;  // pieces that are being made
  std::uint64_t claimed_ = 0;
  std::uint64_t supplied_ = 0;
  std::uint64_t plaintext_sent_ = 0;
  bool output_ended_ = false;
  bool finished_ = false;
  Bytes answer_;
  std::deque<Event> events_;
};

// The first 20 + H bytes. REQUIRES: validate(setup).
Bytes encode_head(const SenderSetup& setup);

}  // namespace sealane::entropy
