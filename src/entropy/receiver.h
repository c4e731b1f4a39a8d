#pragma once
// Receiver: one connection of the unified dialect, from its first byte to the answer. Rules:
// docs/protocol/entropy.md, sections 4 and 6.
//
// What decrypts and what does not look the same from outside. Once chunks are encrypted, what the
// core does until FIN depends on lengths that everybody on the way saw, never on what they decrypt
// to: a bad padding, an empty chunk, a size that does not fit are noted, the rest is read and
// decrypted all the same, and the verdict falls at the end, once, with the same answer for all of
// them. So nobody can ask it whether a forged block had good padding.
#include <deque>
#include <memory>
#include <optional>
#include <variant>

#include "base/core.h"
#include "crypto/aes_cbc.h"
#include "crypto/hash.h"
#include "entropy/extension.h"
#include "entropy/replay.h"
#include "entropy/wire.h"

namespace sealane::entropy {

// What one pinned peer may do. The defaults are ours; dynomite() is what the foreign engine takes,
// each allowance a weakness by name.
struct ReceiverPolicy {
  bool require_authenticated = true;  // a valid extension block
  bool allow_plaintext = false;       // the flag on the wire decides (W2)
  bool allow_empty_chunks = false;    // up to kMaxEmptyChunks of them
  bool allow_reset_as_end = false;    // a reset after the last byte counts as FIN
  bool ignore_bad_block = false;      // what begins as an extension block and is none
  std::uint64_t max_snapshot = kMaxTotal;
  std::chrono::nanoseconds idle_timeout = std::chrono::seconds(30);  // without a byte
  std::chrono::nanoseconds total_timeout = std::chrono::hours(1);    // the sink's work included

  static ReceiverPolicy dynomite() {
    return {.require_authenticated = false,
            .allow_plaintext = true,
            .allow_empty_chunks = true,
            .allow_reset_as_end = true,
            .ignore_bad_block = true};
  }
};

// Not thread-safe. A core of stream shape (base/core.h). Memory: one chunk (at most 5 MiB, as its
// bytes arrive, never by its announced length) and kPlainBuffer, or what is lent instead.
class Receiver {
 public:
  // Bounds the work that a peer with allow_empty_chunks can ask for without progress.
  static constexpr std::uint64_t kMaxEmptyChunks = 1024;
  static constexpr std::size_t kPlainBuffer = 256 * 1024;
  static constexpr std::size_t kMaxPieces = 64;  // of plain chunks, that one receive() gives

  struct Header {
    Negotiation negotiation;
    std::uint32_t total = 0;
    bool encrypted = false;
    std::optional<Extension> extension;  // authentic
  };
  // Plaintext in order, not verified yet: only for a place where nobody looks before Complete. It
  // lies in what was lent, in the bytes that were received, or in memory of the core's.
  struct Plaintext {
    ByteSpan bytes;  // valid until the next call of receive()
  };
  // All is there and verified. The caller applies it, unless it is empty, and calls applied().
  struct Complete {};
  // Final; nothing of it may be applied. Perhaps output is left: the answer to a peer that signed.
  struct Refused {
    Reason reason = Reason::kBadMagic;
  };
  using Event = std::variant<Header, Plaintext, Complete, Refused>;

  // `keys` may be null: then encrypted snapshots are refused. `memory`, null without secrets, must
  // outlive it. `wall` is the time at `now`.
  struct Setup {
    ReceiverPolicy policy;
    const ChunkKeys* keys = nullptr;     // read by the constructor only
    std::vector<ClusterSecret> secrets;  // the newest first; any of them is taken
    ReplayMemory* memory = nullptr;
    WallTime wall{};
  };
  Receiver(Setup setup, SteadyTime now);
  ~Receiver();
  Receiver(const Receiver&) = delete;
  Receiver& operator=(const Receiver&) = delete;

  // Where the next receive() may put what it decrypts: saves the caller a copy. Chunks that do not
  // fit as a whole go elsewhere.
  void lend(MutableByteSpan room) { lent_ = room; }

  // ---- stream core ----
  std::size_t receive(ByteSpan bytes, SteadyTime now);
  void on_end(SteadyTime now);
  void on_reset(SteadyTime now);  // the connection was cut, as told apart from FIN
  ByteSpan next_output() const { return ByteSpan(output_).subspan(output_sent_); }
  void output_sent(std::size_t size);
  std::optional<Event> next_event();
  std::optional<SteadyTime> deadline() const;
  void on_deadline(SteadyTime now);
  bool wants_input() const;

  // The caller cannot go on: kBusy, kSpoolFailed. Nothing if it is over already.
  void give_up(Reason reason);

  // What became of Complete. REQUIRES: once, after that event. Makes the answer, if one is wanted.
  struct Applied {
    AckStatus status = AckStatus::kApplied;
    std::uint32_t applied = 0;
    std::uint32_t skipped = 0;
    std::uint32_t failed = 0;
    FailureCause cause = FailureCause::kNotSaid;  // of kPartly, kSinkFailed
  };
  void applied(const Applied& result, SteadyTime now);

  // Whether somebody who signed waits for the answer. If not, the connection should be closed at
  // Complete as at Refused, so that a stranger cannot tell the two apart.
  bool answers() const;
  bool authenticated() const { return header_ && header_->extension.has_value(); }
  bool over() const { return state_ == State::kOver; }
  // What its buffers hold now, in bytes of memory.
  std::size_t memory() const {
    return gathered_.capacity() + plain_.capacity() + output_.capacity();
  }
  // A sentence for a person, of a refusal; names a foreign dialect where it is one.
  std::string_view why(Reason reason) const;

 private:
  enum class State : std::uint8_t {
    kNegotiation,
    kSnapshotHeader,
    kChunkLength,
    kChunk,
    kEnd,       // plain, all is there: only FIN may come
    kComplete,  // waits for applied()
    kOver,
  };
  ByteSpan gather(ByteSpan& in, std::size_t wanted);
  void on_negotiation();
  void on_snapshot_header(SteadyTime now);
  void on_chunk_length(std::uint32_t length);
  bool on_plain_chunk(ByteSpan& in);
  bool on_sealed_chunk(ByteSpan& in);
  bool in_lent() const { return plaintext_ != nullptr && plaintext_ == lent_.data(); }
  MutableByteSpan room_for(std::size_t sealed_size);
  void open_chunk(ByteSpan sealed);
  bool done() const { return header_ && received_ == header_->total; }
  void after_chunk();
  void note(Reason reason);
  void refuse(Reason reason);
  void complete();
  void answer(const Acknowledgement& acknowledgement);
  WallTime wall(SteadyTime now) const { return setup_.wall + (now - started_); }

  Setup setup_;
  const SteadyTime started_;
  std::unique_ptr<crypto::AesCbc> cipher_;
  State state_ = State::kNegotiation;
  std::deque<Event> events_;
  SteadyTime last_input_;

  Bytes gathered_;  // of a header, a length or an encrypted chunk that came in pieces
  ByteArray<kNegotiationSize + 8> bound_{};
  Negotiation negotiation_;
  std::optional<Header> header_;
  std::optional<std::size_t> secret_;  // which signed
  std::optional<ReplayMemory::Key> begun_;
  std::optional<Reason> noted_;  // the first failure in the order of the stream

  std::uint32_t chunk_size_ = 0;
  std::uint32_t chunk_left_ = 0;  // of a plain one
  std::uint64_t received_ = 0;    // plaintext
  std::uint64_t at_least_ = 0;    // plaintext that the chunks must hold, by their lengths alone
  std::uint64_t chunks_ = 0;
  std::optional<crypto::Sha256> digest_;
  // Of the event that is being made. What goes where depends on lengths alone.
  MutableByteSpan lent_;
  Bytes plain_;                     // used where nothing fits into lent_
  std::byte* plaintext_ = nullptr;  // in one of them
  std::size_t plain_size_ = 0;
  std::size_t sealed_size_ = 0;

  Bytes output_;
  std::size_t output_sent_ = 0;
};

}  // namespace sealane::entropy
