#include "net/stream_mux.h"

#include <algorithm>

#include "base/byte_reader.h"
#include "base/check.h"

namespace sealane::net {
namespace {

enum FrameType : std::uint8_t {
  kHello = 1,    // version u8, mode u8, 0 u16, window u32
  kOpen = 2,     // target, 1 .. kMaxTargetSize bytes
  kAccept = 3,   // nothing
  kData = 4,     // 1 .. kMaxDataSize bytes
  kCredit = 5,   // bytes u32, at least 1
  kEnd = 6,      // nothing
  kDone = 7,     // nothing
  kReset = 8,    // reason u8
  kGoodbye = 9,  // nothing
};

struct PayloadSize {
  std::size_t least;
  std::size_t most;
};

std::optional<PayloadSize> payload_size(std::uint8_t type) {
  switch (type) {
    case kHello:
      return PayloadSize{8, 8};
    case kOpen:
      return PayloadSize{1, StreamMux::kMaxTargetSize};
    case kData:
      return PayloadSize{1, StreamMux::kMaxDataSize};
    case kCredit:
      return PayloadSize{4, 4};
    case kReset:
      return PayloadSize{1, 1};
    case kAccept:
    case kEnd:
    case kDone:
    case kGoodbye:
      return PayloadSize{0, 0};
    default:
      return std::nullopt;
  }
}

bool is_of_mode(std::uint8_t type, MuxMode mode) {
  if (type == kOpen || type == kAccept) return mode == MuxMode::kForward;
  if (type == kDone) return mode == MuxMode::kPipe;
  return true;
}

}  // namespace

std::string_view describe(ResetReason reason) {
  switch (reason) {
    case ResetReason::kCut:
      return "its connection broke";
    case ResetReason::kNotAllowed:
      return "the other side does not allow this target (--allow)";
    case ResetReason::kUnreachable:
      return "the target could not be reached from the other side";
    case ResetReason::kTooMany:
      return "too many streams are open";
  }
  return "unknown";
}

std::string_view describe(MuxError error) {
  switch (error) {
    case MuxError::kNotHello:
      return "it did not start as a pipe; start 'sealane pipe' there too";
    case MuxError::kVersion:
      return "it speaks another version of the pipe protocol";
    case MuxError::kMode:
      return "one side forwards streams and the other does not; give --forward or --allow on both "
             "or on none";
    case MuxError::kUnknownFrame:
      return "it sent a frame of an unknown kind";
    case MuxError::kSize:
      return "it sent a frame of an impossible size";
    case MuxError::kUnknownStream:
      return "it named a stream that is not there";
    case MuxError::kState:
      return "it sent a frame after the end of its stream";
    case MuxError::kWindow:
      return "it sent more than its credit allows";
  }
  return "unknown";
}

StreamMux::StreamMux(MuxSide side, MuxMode mode, std::uint32_t window)
    : mode_(mode),
      window_(window),
      next_own_(side == MuxSide::kDialer ? 1 : 2),
      next_peer_(side == MuxSide::kDialer ? 2 : 1) {
  SEALANE_CHECK(window >= kMinWindow && window <= kMaxWindow);
  ByteArray<8> payload{};
  payload[0] = std::byte{kVersion};
  payload[1] = static_cast<std::byte>(mode);
  store_integer(MutableByteSpan(payload).subspan(4), window);
  put(kHello, StreamId{0}, payload);
  if (mode_ == MuxMode::kPipe) {
    streams_[kPipeStream] = {.answered = true, .receive_credit = window_};
    peer_count_ = 1;
  }
}

// ---- streams ------------------------------------------------------------------------------------

bool StreamMux::is_ours(StreamId id) const {
  return static_cast<std::uint32_t>(id) % 2 == next_own_ % 2;
}

bool StreamMux::was_used(StreamId id) const {
  const auto number = static_cast<std::uint32_t>(id);
  if (mode_ == MuxMode::kPipe) return id == kPipeStream;
  return number != 0 && number < (is_ours(id) ? next_own_ : next_peer_);
}

std::optional<StreamId> StreamMux::open(std::string_view target) {
  SEALANE_CHECK(mode_ == MuxMode::kForward);
  SEALANE_CHECK(!target.empty() && target.size() <= kMaxTargetSize);
  if (own_count_ >= kMaxStreams || next_own_ > UINT32_MAX - 2) return std::nullopt;
  const StreamId id{next_own_};
  next_own_ += 2;
  ++own_count_;
  streams_[id] = {.ours = true, .send_credit = peer_window_.value_or(0), .receive_credit = window_};
  put(kOpen, id, as_bytes(target));
  return id;
}

void StreamMux::accept(StreamId id) {
  const auto found = streams_.find(id);
  if (found == streams_.end() || found->second.answered) return;
  found->second.answered = true;
  put(kAccept, id, {});
}

std::size_t StreamMux::sendable(StreamId id) const {
  const auto found = streams_.find(id);
  if (found == streams_.end() || found->second.local_end || failed_) return 0;
  const std::size_t size = output_size();
  const std::size_t room = size < kOutputLimit ? kOutputLimit - size : 0;
  return std::min<std::size_t>(found->second.send_credit, room);
}

std::size_t StreamMux::send(StreamId id, ByteSpan bytes) {
  const std::size_t size = std::min(bytes.size(), sendable(id));
  bytes = bytes.first(size);
  while (!bytes.empty()) {
    const ByteSpan piece = bytes.first(std::min(bytes.size(), kMaxDataSize));
    put(kData, id, piece);
    bytes = bytes.subspan(piece.size());
  }
  if (size != 0) streams_[id].send_credit -= static_cast<std::uint32_t>(size);
  return size;
}

void StreamMux::finish(StreamId id) {
  const auto found = streams_.find(id);
  if (found == streams_.end() || found->second.local_end) return;
  found->second.local_end = true;
  put(kEnd, id, {});
  forget_if_over(found);
}

void StreamMux::done(StreamId id) {
  SEALANE_CHECK(mode_ == MuxMode::kPipe);
  const auto found = streams_.find(id);
  if (found == streams_.end() || found->second.done_sent) return;
  SEALANE_CHECK(found->second.remote_end);
  found->second.done_sent = true;
  put(kDone, id, {});
}

void StreamMux::consumed(StreamId id, std::size_t size) {
  const auto found = streams_.find(id);
  if (found == streams_.end()) return;
  Stream& stream = found->second;
  SEALANE_CHECK(size <= window_ - stream.receive_credit - stream.consumed);
  stream.consumed += static_cast<std::uint32_t>(size);
  // Not for each byte: a quarter of the window is worth a frame.
  if (stream.remote_end || stream.consumed < window_ / 4) return;
  ByteArray<4> payload;
  store_integer(payload, stream.consumed);
  put(kCredit, id, payload);
  stream.receive_credit += stream.consumed;
  stream.consumed = 0;
}

void StreamMux::reset(StreamId id, ResetReason reason) {
  const auto found = streams_.find(id);
  if (found == streams_.end()) return;
  --(found->second.ours ? own_count_ : peer_count_);
  streams_.erase(found);
  put(kReset, id, ByteArray<1>{static_cast<std::byte>(reason)});
}

void StreamMux::goodbye() { put(kGoodbye, StreamId{0}, {}); }

void StreamMux::forget_if_over(Streams::iterator entry) {
  if (mode_ == MuxMode::kPipe || !entry->second.local_end || !entry->second.remote_end) return;
  --(entry->second.ours ? own_count_ : peer_count_);
  streams_.erase(entry);
}

// ---- output -------------------------------------------------------------------------------------

void StreamMux::put(std::uint8_t type, StreamId id, ByteSpan payload) {
  if (output_begin_ == output_.size()) {
    output_.clear();
    output_begin_ = 0;
  }
  ByteArray<kHeaderSize> header{};
  header[0] = std::byte{type};
  const MutableByteSpan fields = header;
  store_integer(fields.subspan(2), static_cast<std::uint16_t>(payload.size()));
  store_integer(fields.subspan(4), static_cast<std::uint32_t>(id));
  output_.insert(output_.end(), header.begin(), header.end());
  output_.insert(output_.end(), payload.begin(), payload.end());
}

void StreamMux::output_sent(std::size_t size) {
  SEALANE_CHECK(size <= output_size());
  output_begin_ += size;
  // Moving what is left costs less than what was sent.
  if (output_begin_ <= output_.size() / 2) return;
  output_.erase(output_.begin(), output_.begin() + static_cast<std::ptrdiff_t>(output_begin_));
  output_begin_ = 0;
}

// ---- input --------------------------------------------------------------------------------------

std::size_t StreamMux::receive(ByteSpan bytes, SteadyTime /*now*/) {
  if (failed_) return bytes.size();  // nobody reads them any more
  input_.erase(input_.begin(), input_.begin() + static_cast<std::ptrdiff_t>(input_begin_));
  input_begin_ = 0;
  input_.insert(input_.end(), bytes.begin(), bytes.end());
  return bytes.size();
}

void StreamMux::on_end(SteadyTime /*now*/) {}

std::optional<StreamMux::Event> StreamMux::fail(MuxError error) {
  failed_ = true;
  return Failed{error};
}

std::optional<MuxError> StreamMux::check(const Header& header) {
  if (!peer_window_ && header.type != kHello) return MuxError::kNotHello;
  const auto sizes = payload_size(header.type);
  if (!sizes || !is_of_mode(header.type, mode_)) return MuxError::kUnknownFrame;
  if (header.size < sizes->least || header.size > sizes->most) return MuxError::kSize;
  const bool of_a_stream = header.type != kHello && header.type != kGoodbye;
  if (!of_a_stream) return header.id == StreamId{0} ? std::nullopt : std::optional(MuxError::kSize);
  if (header.type != kOpen && !was_used(header.id)) return MuxError::kUnknownStream;
  return std::nullopt;
}

std::optional<StreamMux::Event> StreamMux::next_event() {
  while (!failed_) {
    if (data_left_ != 0) {
      if (input_size() == 0) return std::nullopt;
      if (auto event = take_data()) return event;
      continue;
    }
    const ByteSpan rest = ByteSpan(input_).subspan(input_begin_);
    if (rest.size() < kHeaderSize) return std::nullopt;
    const Header header{.type = std::to_integer<std::uint8_t>(rest[0]),
                        .size = load<std::uint16_t>(rest.subspan(2)),
                        .id = StreamId{load<std::uint32_t>(rest.subspan(4))}};
    if (const auto error = check(header)) return fail(*error);
    if (rest[1] != std::byte{0}) return fail(MuxError::kUnknownFrame);
    if (header.type == kData) {
      input_begin_ += kHeaderSize;
      data_left_ = header.size;
      data_stream_ = header.id;
      const auto found = streams_.find(header.id);
      if (found == streams_.end()) continue;
      if (found->second.remote_end) return fail(MuxError::kState);
      if (header.size > found->second.receive_credit) return fail(MuxError::kWindow);
      found->second.receive_credit -= header.size;
      continue;
    }
    if (rest.size() < kHeaderSize + header.size) return std::nullopt;
    input_begin_ += kHeaderSize + header.size;
    if (auto event = take(header, rest.subspan(kHeaderSize, header.size))) return event;
  }
  return std::nullopt;
}

std::optional<StreamMux::Event> StreamMux::take_data() {
  const std::size_t size = std::min(data_left_, input_size());
  const ByteSpan piece = ByteSpan(input_).subspan(input_begin_, size);
  input_begin_ += size;
  data_left_ -= size;
  // What was under way when we reset the stream.
  if (!streams_.contains(data_stream_)) return std::nullopt;
  return Data{data_stream_, piece};
}

std::optional<StreamMux::Event> StreamMux::take(const Header& header, ByteSpan payload) {
  if (header.type == kHello) return take_hello(payload);
  if (header.type == kGoodbye) return Goodbye{};
  if (header.type == kOpen) return take_open(header.id, payload);
  const auto found = streams_.find(header.id);
  if (found == streams_.end()) return std::nullopt;  // it was on its way when we reset it
  Stream& stream = found->second;
  switch (header.type) {
    case kAccept:
      if (!stream.ours || stream.answered) return fail(MuxError::kState);
      stream.answered = true;
      return Accepted{header.id};
    case kCredit: {
      const auto more = load<std::uint32_t>(payload);
      if (more == 0) return fail(MuxError::kSize);
      if (more > kMaxWindow - stream.send_credit) return fail(MuxError::kWindow);
      stream.send_credit += more;
      return std::nullopt;
    }
    case kEnd:
      if (stream.remote_end) return fail(MuxError::kState);
      stream.remote_end = true;
      forget_if_over(found);
      return Ended{header.id};
    case kDone:
      if (!stream.local_end || stream.done_came) return fail(MuxError::kState);
      stream.done_came = true;
      return Done{header.id};
    default:
      break;
  }
  const auto reason = std::to_integer<std::uint8_t>(payload[0]);
  if (reason < static_cast<std::uint8_t>(ResetReason::kCut) ||
      reason > static_cast<std::uint8_t>(ResetReason::kTooMany)) {
    return fail(MuxError::kUnknownFrame);
  }
  --(stream.ours ? own_count_ : peer_count_);
  streams_.erase(found);
  return Reset{header.id, ResetReason{reason}};
}

std::optional<StreamMux::Event> StreamMux::take_hello(ByteSpan payload) {
  if (peer_window_) return fail(MuxError::kState);
  if (payload[0] != std::byte{kVersion}) return fail(MuxError::kVersion);
  if (payload[1] != static_cast<std::byte>(mode_)) return fail(MuxError::kMode);
  const auto window = load<std::uint32_t>(payload.subspan(4));
  if (load<std::uint16_t>(payload.subspan(2)) != 0) return fail(MuxError::kUnknownFrame);
  if (window < kMinWindow || window > kMaxWindow) return fail(MuxError::kWindow);
  peer_window_ = window;
  for (auto& [id, stream] : streams_) stream.send_credit = window;
  return Ready{};
}

std::optional<StreamMux::Event> StreamMux::take_open(StreamId id, ByteSpan payload) {
  const auto number = static_cast<std::uint32_t>(id);
  if (is_ours(id) || number != next_peer_ || number > UINT32_MAX - 2) {
    return fail(MuxError::kUnknownStream);
  }
  next_peer_ += 2;
  if (peer_count_ >= kMaxStreams) {
    put(kReset, id, ByteArray<1>{static_cast<std::byte>(ResetReason::kTooMany)});
    return std::nullopt;
  }
  ++peer_count_;
  streams_[id] = {.send_credit = *peer_window_, .receive_credit = window_};
  return Opened{id, to_text(payload)};
}

}  // namespace sealane::net
