#include "entropy/sender.h"

#include <algorithm>

#include "base/byte_reader.h"
#include "base/check.h"
#include "base/copy_bytes.h"

namespace sealane::entropy {
namespace {

// Encrypted at once: enough to fill what the hardware does side by side.
constexpr std::size_t kPiecesAtOnce = 64;

// From an address to the next that is aligned.
std::size_t bytes_to_alignment(const std::byte* address) {
  const auto over = reinterpret_cast<std::uintptr_t>(address) % Sender::kAlignment;
  return over == 0 ? 0 : Sender::kAlignment - over;
}

}  // namespace

static_assert(StreamCore<Sender>);

std::string_view describe(SetupError error) {
  switch (error) {
    case SetupError::kHeaderSize:
      return "the header size has to be within 8..1024";
    case SetupError::kBufferSize:
      return "the buffer size has to be a multiple of 16 within 16..5242864";
    case SetupError::kTotal:
      return "one snapshot holds up to 4294967294 bytes; send it in parts";
    case SetupError::kNoRoom:
      return "the header is too small for the signed block; leave its size at 1024";
    case SetupError::kName:
      return "the sender's name has to be at most 64 bytes long";
  }
  SEALANE_CHECK(false);
  return {};
}

Result<void, SetupError> validate(const SenderSetup& setup) {
  SEALANE_CHECK(setup.extension.has_value() == (setup.secret != nullptr));
  if (setup.header_size < kMinHeaderSize || setup.header_size > kMaxHeaderSize) {
    return SetupError::kHeaderSize;
  }
  if (setup.buffer_size < 16 || setup.buffer_size > kMaxSenderBuffer ||
      setup.buffer_size % 16 != 0) {
    return SetupError::kBufferSize;
  }
  if (setup.total > kMaxTotal) return SetupError::kTotal;
  if (setup.extension) {
    if (setup.extension->sender.size() > Extension::kMaxNameSize) return SetupError::kName;
    if (setup.extension->encoded_size() > setup.header_size - 8) return SetupError::kNoRoom;
  }
  return success();
}

Bytes encode_head(const SenderSetup& setup) {
  SEALANE_CHECK(validate(setup).has_value());
  Bytes head(kNegotiationSize + setup.header_size);
  const MutableByteSpan out = head;
  encode(Negotiation{setup.header_size, setup.buffer_size, setup.buffer_size + 16},
         out.first<kNegotiationSize>());
  store_integer(out.subspan(20), static_cast<std::uint32_t>(setup.total));
  store_integer(out.subspan(24), std::uint32_t{setup.encrypted ? 1U : 0U});
  if (setup.extension) {
    encode(*setup.extension, ByteSpan(head).first<kNegotiationSize + 8>(), *setup.secret,
           out.subspan(kNegotiationSize + 8, setup.extension->encoded_size()));
  }
  return head;
}

// ---- chunks -------------------------------------------------------------------------------------

ChunkEncoder::ChunkEncoder(std::uint32_t buffer_size, const ChunkKeys* keys)
    : buffer_size_(buffer_size) {
  SEALANE_CHECK(buffer_size > 0 && buffer_size <= kMaxSenderBuffer);
  if (keys != nullptr) cipher_ = make_aes_cbc(keys->key, keys->iv);
  pieces_.reserve(kPiecesAtOnce);
}
ChunkEncoder::~ChunkEncoder() = default;
ChunkEncoder::ChunkEncoder(ChunkEncoder&&) noexcept = default;

std::size_t ChunkEncoder::encoded_size(std::size_t plaintext_size) const {
  const auto one = [this](std::size_t size) {
    return kChunkLengthSize + (cipher_ ? crypto::AesCbc::padded_size(size) : size);
  };
  const std::size_t rest = plaintext_size % buffer_size_;
  return plaintext_size / buffer_size_ * one(buffer_size_) + (rest > 0 ? one(rest) : 0);
}

void ChunkEncoder::encode(ByteSpan plaintext, MutableByteSpan out) {
  SEALANE_CHECK(out.size() == encoded_size(plaintext.size()));
  while (!plaintext.empty()) {
    const ByteSpan piece = plaintext.first(std::min<std::size_t>(plaintext.size(), buffer_size_));
    plaintext = plaintext.subspan(piece.size());
    const std::size_t size = cipher_ ? crypto::AesCbc::padded_size(piece.size()) : piece.size();
    store_integer(out, static_cast<std::uint32_t>(size));
    const MutableByteSpan payload = out.subspan(kChunkLengthSize, size);
    out = out.subspan(kChunkLengthSize + size);
    if (!cipher_) {
      copy_bytes(piece, payload.begin());
      continue;
    }
    pieces_.push_back({piece, payload});
    if (pieces_.size() < kPiecesAtOnce && !plaintext.empty()) continue;
    cipher_->encrypt(pieces_);
    pieces_.clear();
  }
}

Bytes ChunkEncoder::encode_reusing(Bytes memory, ByteSpan plaintext) {
  memory.resize(encoded_size(plaintext.size()));
  encode(plaintext, MutableByteSpan(memory));
  return memory;
}

// ---- the core -----------------------------------------------------------------------------------

Sender::Sender(SenderSetup setup, SteadyTime now)
    : setup_(std::move(setup)), started_(now), last_progress_(now) {
  queue_.push_back({encode_head(setup_), {}, 0});
  queued_size_ = queue_.front().size();
}

bool Sender::wants_answer() const {
  return setup_.extension && (setup_.extension->flags & Extension::kAcknowledge) != 0;
}

std::size_t Sender::claim_plaintext() {
  if (finished_ || queued_size_ + (claimed_ - supplied_) >= kMaxQueued) return 0;
  const std::size_t buffers = std::max<std::size_t>(kMaxQueued / 4 / setup_.buffer_size, 1);
  const std::size_t size =
      std::min<std::uint64_t>(setup_.total - claimed_, buffers * setup_.buffer_size);
  if (size == 0) return 0;
  claimed_ += size;
  claims_.push_back(size);
  return size;
}

void Sender::supply(Bytes chunks, SteadyTime now) { enqueue({std::move(chunks), {}, 0}, now); }

void Sender::supply_in_place(ByteSpan plaintext, SteadyTime now) {
  SEALANE_CHECK(!setup_.encrypted && !claims_.empty() && plaintext.size() == claims_.front());
  const std::size_t whole = plaintext.size() / setup_.buffer_size;
  const std::size_t rest = plaintext.size() % setup_.buffer_size;
  Bytes lengths = take_spent();
  lengths.resize(kChunkLengthSize * (whole + (rest > 0 ? 1 : 0)));
  MutableByteSpan out = lengths;
  for (std::size_t i = 0; i < whole; ++i, out = out.subspan(kChunkLengthSize)) {
    store_integer(out, setup_.buffer_size);
  }
  if (rest > 0) store_integer(out, static_cast<std::uint32_t>(rest));
  enqueue({std::move(lengths), plaintext, 0}, now);
}

void Sender::enqueue(Queued queued, SteadyTime now) {
  SEALANE_CHECK(!claims_.empty());
  queued.plaintext = claims_.front();
  claims_.pop_front();
  supplied_ += queued.plaintext;
  if (finished_) return;
  // While the source was slow, nobody could take output.
  if (queue_.empty()) last_progress_ = now;
  queued_size_ += queued.size();
  queue_.push_back(std::move(queued));
}

// What lies in one place from byte `at` of it on.
ByteSpan Sender::output_of(const Queued& queued, std::size_t at) const {
  if (queued.in_place.empty()) return ByteSpan(queued.bytes).subspan(at);
  const std::size_t chunk = at / (kChunkLengthSize + setup_.buffer_size);
  const std::size_t in_chunk = at % (kChunkLengthSize + setup_.buffer_size);
  if (in_chunk < kChunkLengthSize) {
    return ByteSpan(queued.bytes)
        .subspan(kChunkLengthSize * chunk + in_chunk, kChunkLengthSize - in_chunk);
  }
  const ByteSpan payload = queued.in_place.subspan(chunk * setup_.buffer_size);
  return payload.first(std::min<std::size_t>(payload.size(), setup_.buffer_size))
      .subspan(in_chunk - kChunkLengthSize);
}

Bytes Sender::take_spent() {
  if (spent_.empty()) return {};
  Bytes out = std::move(spent_.back());
  spent_.pop_back();
  return out;
}

ByteSpan Sender::next_output() const {
  if (finished_ || queue_.empty()) return {};
  return output_of(queue_.front(), front_sent_);
}

std::span<const ByteSpan> Sender::next_outputs() {
  outputs_.clear();
  if (finished_) return outputs_;
  std::size_t at = front_sent_;
  for (const Queued& queued : queue_) {
    const bool aligns = !queued.in_place.empty() && setup_.buffer_size >= kAlignFrom;
    for (; at < queued.size(); at += outputs_.back().size()) {
      if (outputs_.size() == kMaxSpans) return outputs_;
      const ByteSpan next = output_of(queued, at);
      if (aligns && next.size() > kAlignment && !outputs_.empty()) {
        const ByteSpan before = next.first(bytes_to_alignment(next.data()));
        if (!before.empty()) outputs_.push_back(before);
        return outputs_;
      }
      outputs_.push_back(next);
    }
    at = 0;
  }
  return outputs_;
}

void Sender::output_sent(std::size_t size, SteadyTime now) {
  if (finished_) return;
  SEALANE_CHECK(!queue_.empty());
  last_progress_ = now;
  front_sent_ += size;
  while (!queue_.empty() && front_sent_ >= queue_.front().size()) {
    front_sent_ -= queue_.front().size();
    queued_size_ -= queue_.front().size();
    plaintext_sent_ += queue_.front().plaintext;
    if (claimed_ < setup_.total) spent_.push_back(std::move(queue_.front().bytes));
    queue_.pop_front();
  }
  SEALANE_CHECK(front_sent_ == 0 || !queue_.empty());
  if (!queue_.empty() || supplied_ < setup_.total) return;
  output_ended_ = true;
  events_.emplace_back(OutputEnd{});
}

std::size_t Sender::receive(ByteSpan bytes, SteadyTime now) {
  if (finished_) return 0;
  // Nobody who speaks the foreign dialect says anything; what is not asked for is dropped.
  if (!wants_answer()) return bytes.size();
  last_progress_ = now;
  const std::size_t size = std::min(bytes.size(), Acknowledgement::kEncodedSize - answer_.size());
  answer_.insert(answer_.end(), bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size));
  if (answer_.size() < Acknowledgement::kEncodedSize) return size;
  auto decoded =
      decode_acknowledgement(ByteSpan(answer_).first<Acknowledgement::kEncodedSize>(),
                             *setup_.secret, setup_.extension->snapshot, setup_.extension->part);
  if (decoded.has_value()) {
    finish(Outcome::kAcknowledged, decoded.value());
  } else {
    finish(Outcome::kBadAnswer);
  }
  return size;
}

void Sender::on_end(SteadyTime, bool confirmed) {
  if (finished_) return;
  if (!answer_.empty()) return finish(Outcome::kBadAnswer);
  finish(output_ended_ && confirmed ? Outcome::kUnknown : Outcome::kClosedEarly);
}

void Sender::on_reset(SteadyTime) {
  if (!finished_) finish(Outcome::kReset);
}

std::optional<Sender::Event> Sender::next_event() {
  if (events_.empty()) return std::nullopt;
  const Event event = events_.front();
  events_.pop_front();
  return event;
}

std::optional<SteadyTime> Sender::deadline() const {
  if (finished_) return std::nullopt;
  const SteadyTime total = started_ + setup_.total_timeout;
  if (queue_.empty()) return total;
  return std::min(total, last_progress_ + setup_.idle_timeout);
}

void Sender::on_deadline(SteadyTime now) {
  const auto due = deadline();
  if (!due || now < *due) return;
  finish(now >= started_ + setup_.total_timeout ? Outcome::kTotalTimeout : Outcome::kIdleTimeout);
}

void Sender::finish(Outcome outcome, std::optional<Acknowledgement> acknowledgement) {
  finished_ = true;
  queue_.clear();
  queued_size_ = 0;
  front_sent_ = 0;
  events_.emplace_back(Finished{outcome, acknowledgement});
}

}  // namespace sealane::entropy
