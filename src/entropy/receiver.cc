#include "entropy/receiver.h"

#include <algorithm>

#include "base/byte_reader.h"
#include "base/check.h"
#include "base/copy_bytes.h"

namespace sealane::entropy {
namespace {

constexpr std::size_t kBlock = crypto::AesCbc::kBlockSize;

// Of what the snapshot header alone decides. Never of what came behind it.
Refusal refusal_of(Reason reason) {
  switch (reason) {
    case Reason::kStale:
      return Refusal::kStale;
    case Reason::kPlaintextRefused:
      return Refusal::kPlaintext;
    case Reason::kQuota:
      return Refusal::kQuota;
    case Reason::kNoKey:
      return Refusal::kNoKey;
    default:
      return Refusal::kNotSaid;
  }
}

}  // namespace

static_assert(StreamCore<Receiver>);

Receiver::Receiver(Setup setup, SteadyTime now)
    : setup_(std::move(setup)), started_(now), last_input_(now) {
  SEALANE_CHECK(setup_.secrets.empty() || setup_.memory != nullptr);
  if (setup_.keys != nullptr) cipher_ = make_aes_cbc(setup_.keys->key, setup_.keys->iv);
  setup_.keys = nullptr;
}

Receiver::~Receiver() {
  if (begun_) setup_.memory->abandon(*begun_);
}

bool Receiver::wants_input() const {
  return state_ != State::kComplete && state_ != State::kOver && events_.empty();
}

std::optional<Receiver::Event> Receiver::next_event() {
  if (events_.empty()) return std::nullopt;
  Event event = std::move(events_.front());
  events_.pop_front();
  return event;
}

void Receiver::output_sent(std::size_t size) {
  SEALANE_CHECK(size <= output_.size() - output_sent_);
  output_sent_ += size;
}

// ---- input --------------------------------------------------------------------------------------

// The next `wanted` bytes once they are there, from `in` where they are whole; else keeps what came
// and gives nothing. They are valid until the next call.
ByteSpan Receiver::gather(ByteSpan& in, std::size_t wanted) {
  if (gathered_.empty() && in.size() >= wanted) {
    const ByteSpan whole = in.first(wanted);
    in = in.subspan(wanted);
    return whole;
  }
  const std::size_t size = std::min(in.size(), wanted - gathered_.size());
  // By what came, and never beyond what is wanted.
  if (gathered_.capacity() < gathered_.size() + size) {
    gathered_.reserve(std::clamp(2 * gathered_.capacity(), gathered_.size() + size, wanted));
  }
  gathered_.insert(gathered_.end(), in.begin(), in.begin() + static_cast<std::ptrdiff_t>(size));
  in = in.subspan(size);
  return gathered_.size() == wanted ? ByteSpan(gathered_) : ByteSpan();
}

std::size_t Receiver::receive(ByteSpan bytes, SteadyTime now) {
  if (!wants_input() || bytes.empty()) {
    lent_ = {};
    return 0;
  }
  last_input_ = now;
  plaintext_ = nullptr;
  plain_size_ = 0;
  sealed_size_ = 0;
  ByteSpan in = bytes;
  bool go_on = true;
  while (go_on && !in.empty()) {
    switch (state_) {
      case State::kNegotiation:
        if (const ByteSpan whole = gather(in, kNegotiationSize); !whole.empty()) {
          copy_bytes(whole, bound_.begin());
          gathered_.clear();
          on_negotiation();
        }
        break;
      case State::kSnapshotHeader:
        if (const ByteSpan whole = gather(in, negotiation_.header_size); !whole.empty()) {
          if (gathered_.empty()) gathered_ = to_bytes(whole);
          on_snapshot_header(now);
          gathered_.clear();
          go_on = events_.empty();  // the caller may not want what follows
        }
        break;
      case State::kChunkLength: {
        // Only encrypted ones come here when all is there: see after_chunk().
        if (done()) note(Reason::kTrailingBytes);
        const ByteSpan whole = gather(in, kChunkLengthSize);
        if (whole.empty()) break;
        const auto length = load<std::uint32_t>(whole);
        gathered_.clear();
        on_chunk_length(length);
        break;
      }
      case State::kChunk:
        go_on = header_->encrypted ? on_sealed_chunk(in) : on_plain_chunk(in);
        break;
      case State::kEnd:
        refuse(Reason::kTrailingBytes);
        break;
      case State::kComplete:
      case State::kOver:
        go_on = false;
        break;
    }
  }
  if (plain_size_ > 0) events_.push_front(Plaintext{ByteSpan(plaintext_, plain_size_)});
  lent_ = {};
  return bytes.size() - in.size();
}

void Receiver::on_negotiation() {
  const auto decoded = decode_negotiation(
      std::span<const std::byte, kNegotiationSize>(bound_.data(), kNegotiationSize));
  if (!decoded.has_value()) return refuse(decoded.error());
  negotiation_ = decoded.value();
  state_ = State::kSnapshotHeader;
}

void Receiver::on_snapshot_header(SteadyTime now) {
  const ByteSpan whole = gathered_;
  copy_bytes(whole.first(8), bound_.begin() + kNegotiationSize);
  const auto total = load<std::uint32_t>(whole.first(4));
  const auto flag = load<std::uint32_t>(whole.subspan(4, 4));
  if (flag > 1) return refuse(Reason::kBadEncryptFlag);
  const bool encrypted = flag == 1;
  Header header{negotiation_, total, encrypted, std::nullopt};
  bool forged = false;
  if (!setup_.secrets.empty()) {
    std::size_t used = 0;
    auto extension = decode_extension(whole.subspan(8), bound_, setup_.secrets, &used);
    if (extension.has_value()) {
      header.extension = std::move(extension.value());
      secret_ = used;
    } else {
      // It begins as ours does: a wrong secret or a forgery, no foreign engine.
      forged = extension.error() != ExtensionError::kAbsent && !setup_.policy.ignore_bad_block;
    }
  }
  const bool is_signed = header.extension.has_value();
  if (is_signed) header_ = header;  // so that a refusal is answered
  if (encrypted && !cipher_) return refuse(Reason::kNoKey);
  if (total > kMaxTotal) return refuse(Reason::kTotalLenTooLarge);
  if (forged || (!is_signed && setup_.policy.require_authenticated)) {
    return refuse(Reason::kUnauthenticated);
  }
  header_ = std::move(header);
  if (!encrypted && !setup_.policy.allow_plaintext) return refuse(Reason::kPlaintextRefused);
  if (total > setup_.policy.max_snapshot) return refuse(Reason::kQuota);

  if (header_->extension) {
    const Extension& extension = *header_->extension;
    const ReplayMemory::Key key{extension.snapshot, extension.part};
    switch (setup_.memory->begin(key, extension.created_ms, wall(now))) {
      case ReplayMemory::Verdict::kNew:
        begun_ = key;
        digest_.emplace();
        break;
      case ReplayMemory::Verdict::kStale:
        return refuse(Reason::kStale);
      case ReplayMemory::Verdict::kInProgress:
      case ReplayMemory::Verdict::kFull:
        return refuse(Reason::kBusy);
      case ReplayMemory::Verdict::kDone:
        return refuse(Reason::kReplayed);
    }
  }
  events_.emplace_back(*header_);
  after_chunk();
}

// Encrypted ones go on until FIN, whatever they hold.
void Receiver::after_chunk() {
  state_ = done() && !header_->encrypted ? State::kEnd : State::kChunkLength;
}

void Receiver::on_chunk_length(std::uint32_t length) {
  if (length == 0) return refuse(Reason::kZeroChunk);
  if (length > negotiation_.cipher_size) return refuse(Reason::kChunkExceedsCipherSize);
  chunk_size_ = length;
  chunk_left_ = length;
  state_ = State::kChunk;
}

// False once there is enough to look at.
bool Receiver::on_plain_chunk(ByteSpan& in) {
  const ByteSpan piece = in.first(std::min<std::size_t>(in.size(), chunk_left_));
  in = in.subspan(piece.size());
  chunk_left_ -= static_cast<std::uint32_t>(piece.size());
  // A chunk that does not fit is read to its end: the foreign engine sees an early FIN first.
  const bool fits = chunk_size_ <= header_->total - received_;
  if (fits && !piece.empty()) {
    if (digest_) digest_->update(piece);
    events_.emplace_back(Plaintext{piece});
  }
  if (chunk_left_ > 0) return true;
  if (!fits) {
    refuse(Reason::kOvershootTotalLen);
    return false;
  }
  received_ += chunk_size_;
  after_chunk();
  return events_.size() < kMaxPieces;
}

bool Receiver::on_sealed_chunk(ByteSpan& in) {
  // One event is one piece of memory, so what was lent ends it.
  if (in_lent() && lent_.size() - sealed_size_ < chunk_size_) return false;
  const ByteSpan whole = gather(in, chunk_size_);
  if (whole.empty()) return true;
  if (chunk_size_ % kBlock != 0) {
    refuse(Reason::kCiphertextNotBlockMultiple);
    return false;
  }
  open_chunk(whole);
  gathered_.clear();
  // Ends that the lengths alone prove wrong need not be waited for.
  const std::uint64_t empty_ones = setup_.policy.allow_empty_chunks ? 0 : 1;
  at_least_ += std::max<std::uint64_t>(chunk_size_ - kBlock, empty_ones);
  ++chunks_;
  if (at_least_ > header_->total || chunks_ > header_->total + kMaxEmptyChunks) {
    refuse(at_least_ > header_->total ? Reason::kOvershootTotalLen : Reason::kNoProgressChunk);
    return false;
  }
  after_chunk();
  // As many chunks as fit make one event, but for one that did not fit into what was lent.
  return sealed_size_ < kPlainBuffer && (in_lent() || lent_.empty());
}

MutableByteSpan Receiver::room_for(std::size_t sealed_size) {
  if (sealed_size_ == 0 && lent_.size() >= sealed_size) plaintext_ = lent_.data();
  if (!in_lent()) {
    if (plain_.size() < sealed_size_ + sealed_size) plain_.resize(sealed_size_ + sealed_size);
    plaintext_ = plain_.data();
  }
  sealed_size_ += sealed_size;
  return {plaintext_ + plain_size_, sealed_size};
}

// The same work whatever it finds.
void Receiver::open_chunk(ByteSpan sealed) {
  const MutableByteSpan room = room_for(sealed.size());
  const crypto::AesCbc::Opened opened = cipher_->decrypt(sealed, room);
  // What does not count is hashed and handed on too: it will not be applied.
  std::size_t size = opened.size;
  if (!opened.padding_good) {
    note(Reason::kBadPadding);
    size = sealed.size() - kBlock;
  } else if (size == 0 && !setup_.policy.allow_empty_chunks) {
    note(Reason::kNoProgressChunk);
  } else if (size > header_->total - received_) {
    note(Reason::kOvershootTotalLen);
  }
  const std::size_t counts = std::min<std::uint64_t>(size, header_->total - received_);
  received_ += counts;
  if (digest_) digest_->update(room.first(counts));
  plain_size_ += counts;
}

// ---- ends ---------------------------------------------------------------------------------------

void Receiver::note(Reason reason) {
  if (!noted_) noted_ = reason;
}

void Receiver::on_end(SteadyTime) {
  switch (state_) {
    case State::kNegotiation:
      return refuse(Reason::kEofInNegotiation);
    case State::kSnapshotHeader:
      return refuse(Reason::kEofInSnapshotHeader);
    case State::kChunk:
      return refuse(Reason::kEofInChunkPayload);
    case State::kChunkLength:
      if (!noted_ && (!done() || !gathered_.empty())) return refuse(Reason::kEofInChunkLength);
      return complete();
    case State::kEnd:
      return complete();
    case State::kComplete:
    case State::kOver:
      return;
  }
}

void Receiver::on_reset(SteadyTime now) {
  if (state_ == State::kComplete || state_ == State::kOver) return;
  if (setup_.policy.allow_reset_as_end) return on_end(now);
  refuse(Reason::kResetBeforeEof);
}

void Receiver::complete() {
  if (digest_ && !crypto::constant_time_equal(digest_->finish(), header_->extension->digest)) {
    note(Reason::kDigestMismatch);
  }
  if (noted_) return refuse(*noted_);
  state_ = State::kComplete;
  events_.emplace_back(Complete{});
}

void Receiver::refuse(Reason reason) {
  // The first failure in the order of the stream is the one to name.
  if (noted_) reason = *noted_;
  if (begun_ && state_ != State::kComplete) {
    setup_.memory->abandon(*begun_);  // it may come again at once
    begun_.reset();
  }
  state_ = State::kOver;
  events_.emplace_back(Refused{reason});
  if (!answers()) return;
  const Extension& extension = *header_->extension;
  if (reason == Reason::kReplayed) {
    return answer(*setup_.memory->answer({extension.snapshot, extension.part}));
  }
  const auto time = std::chrono::floor<std::chrono::milliseconds>(wall(last_input_));
  Acknowledgement out = Acknowledgement::refused(
      refusal_of(reason), static_cast<std::uint64_t>(time.time_since_epoch().count()));
  if (reason == Reason::kBusy) out.status = AckStatus::kBusy;
  if (reason == Reason::kSpoolFailed) {
    out.status = AckStatus::kSinkFailed;
    out.cause = static_cast<std::uint8_t>(FailureCause::kSpool);
  }
  answer(out);
}

void Receiver::give_up(Reason reason) {
  if (state_ != State::kOver) refuse(reason);
}

bool Receiver::answers() const {
  return authenticated() && (header_->extension->flags & Extension::kAcknowledge) != 0;
}

void Receiver::answer(const Acknowledgement& acknowledgement) {
  Acknowledgement out = acknowledgement;
  out.snapshot = header_->extension->snapshot;
  out.part = header_->extension->part;
  // Who does not ask for it takes it for a status that does not exist.
  if ((header_->extension->flags & Extension::kCauses) == 0) out.cause = 0;
  output_.resize(Acknowledgement::kEncodedSize);
  encode(out, setup_.secrets[*secret_],
         std::span<std::byte, Acknowledgement::kEncodedSize>(output_));
}

void Receiver::applied(const Applied& result, SteadyTime now) {
  SEALANE_CHECK(state_ == State::kComplete || state_ == State::kOver);
  Acknowledgement out;
  out.status = result.status;
  out.applied = result.applied;
  out.skipped = result.skipped;
  out.failed = result.failed;
  if (Acknowledgement::may_have_cause(out.status)) {
    out.cause = static_cast<std::uint8_t>(result.cause);
  }
  if (begun_) {
    // Anything less may come again, and should.
    out.snapshot = begun_->snapshot;
    out.part = begun_->part;
    if (result.status == AckStatus::kApplied) {
      setup_.memory->finish(*begun_, out, wall(now));
    } else {
      setup_.memory->abandon(*begun_);
    }
    begun_.reset();
  }
  if (state_ == State::kOver) return;  // too late: the answer was given
  state_ = State::kOver;
  if (answers()) answer(out);
}

// ---- time ---------------------------------------------------------------------------------------

std::optional<SteadyTime> Receiver::deadline() const {
  if (state_ == State::kOver) return std::nullopt;
  const SteadyTime total = started_ + setup_.policy.total_timeout;
  if (state_ == State::kComplete) return total;
  return std::min(total, last_input_ + setup_.policy.idle_timeout);
}

void Receiver::on_deadline(SteadyTime now) {
  const auto due = deadline();
  if (!due || now < *due) return;
  const Reason reason =
      now >= started_ + setup_.policy.total_timeout ? Reason::kTotalTimeout : Reason::kIdleTimeout;
  if (state_ != State::kComplete) return refuse(reason);
  // The sink takes too long, and how far it came is not known.
  state_ = State::kOver;
  events_.emplace_back(Refused{reason});
  Acknowledgement out;
  out.status = AckStatus::kSinkFailed;
  out.cause = static_cast<std::uint8_t>(FailureCause::kTimeout);
  if (answers()) answer(out);
}

std::string_view Receiver::why(Reason reason) const {
  if (reason == Reason::kBadMagic) {
    if (const auto request = c_dialect_request(ByteSpan(bound_).first(kNegotiationSize))) {
      return *request;
    }
  }
  return describe(reason);
}

}  // namespace sealane::entropy
