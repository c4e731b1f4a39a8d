#pragma once
// StreamMux: byte streams over one ordered, reliable byte pipe, with half-close, flow control by
// credits, and resets. Format: docs/protocol/pipe.md. No sockets, clock or threads in here.
//
// A frame, big-endian:
//
//   offset  size  field
//        0     1  type          FrameType
//        1     1  reserved      0
//        2     2  size          bytes that follow, n; for data 1 .. kMaxDataSize
//        4     4  stream        0 in hello and goodbye
//        8     n  payload
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "base/core.h"
#include "sealane/base/bytes.h"

namespace sealane::net {

enum class StreamId : std::uint32_t {};

enum class MuxMode : std::uint8_t {
  kPipe = 1,     // one stream, kPipeStream, there from the start; its end is confirmed by done
  kForward = 2,  // streams are opened to named targets, by either side
};
enum class MuxSide : std::uint8_t { kDialer, kListener };

// Why a stream ended early, told to the peer.
enum class ResetReason : std::uint8_t {
  kCut = 1,      // its connection or file broke
  kNotAllowed,   // the target is not on the list of the other side
  kUnreachable,  // the target did not answer
  kTooMany,      // streams
};
std::string_view describe(ResetReason reason);  // a clause

// What a peer did that ends the whole pipe.
enum class MuxError : std::uint8_t {
  kNotHello = 1,   // the first frame is another: not our protocol
  kVersion,        // of the hello
  kMode,           // one side pipes, the other forwards
  kUnknownFrame,   // a type that is not there in this mode, or a reserved byte that is not 0
  kSize,           // of a payload, outside the limits of its frame
  kUnknownStream,  // an id that was never opened, or one opened out of order
  kState,          // a frame after the end of its stream, or an answer that nobody waits for
  kWindow,         // more data, or more credit, than allowed
};
std::string_view describe(MuxError error);  // a clause

// Not thread-safe.
class StreamMux {
 public:
  static constexpr std::size_t kHeaderSize = 8;
  static constexpr std::uint8_t kVersion = 1;
  static constexpr std::size_t kMaxDataSize = 32 * 1024;
  static constexpr std::size_t kMaxTargetSize = 256;
  static constexpr std::size_t kMaxStreams = 256;          // at once, opened by one side
  static constexpr std::uint32_t kMinWindow = 1024;        // of the hello
  static constexpr std::uint32_t kMaxWindow = 1 << 24;     // credit in one hand: bounds our memory
  static constexpr std::size_t kOutputLimit = 512 * 1024;  // then data waits, input too
  static constexpr StreamId kPipeStream{1};

  // ---- events; spans are valid until the next call of next_event() or receive() ----
  struct Ready {};  // the peer's hello fits
  struct Opened {   // by the peer; answer with accept() or reset(). Data may come before that
    StreamId id;
    std::string target;  // untrusted: see printable()
  };
  struct Accepted {
    StreamId id;
  };
  struct Data {  // say consumed() when it has been passed on
    StreamId id;
    ByteSpan bytes;
  };
  struct Ended {  // the peer sends no more on it
    StreamId id;
  };
  struct Done {  // all that we sent arrived at its place
    StreamId id;
  };
  struct Reset {  // gone, both ways
    StreamId id;
    ResetReason reason;
  };
  struct Goodbye {};  // the peer ends the pipe in order
  struct Failed {     // final
    MuxError error;
  };
  using Event = std::variant<Ready, Opened, Accepted, Data, Ended, Done, Reset, Goodbye, Failed>;

  // REQUIRES: kMinWindow <= window <= kMaxWindow: what the peer may send ahead on each stream.
  StreamMux(MuxSide side, MuxMode mode, std::uint32_t window);

  // ---- streams; all but open() ignore ids of streams that are gone ----
  // Nothing: kMaxStreams are open. REQUIRES: 1 <= target.size() <= kMaxTargetSize, kForward.
  std::optional<StreamId> open(std::string_view target);
  void accept(StreamId id);
  // How much send() would take now.
  std::size_t sendable(StreamId id) const;
  // Takes the first bytes, as many as credit and output allow. REQUIRES: not finish()ed.
  std::size_t send(StreamId id, ByteSpan bytes);
  void finish(StreamId id);  // we send no more on it
  void done(StreamId id);    // REQUIRES: kPipe, the peer ended it
  void consumed(StreamId id, std::size_t size);
  void reset(StreamId id, ResetReason reason);
  bool exists(StreamId id) const { return streams_.contains(id); }
  std::size_t stream_count() const { return streams_.size(); }
  bool ready() const { return peer_window_.has_value(); }
  void goodbye();

  // ---- StreamCore ----
  std::size_t receive(ByteSpan bytes, SteadyTime now);
  void on_end(SteadyTime now);
  std::optional<Event> next_event();
  ByteSpan next_output() const { return ByteSpan(output_).subspan(output_begin_); }
  void output_sent(std::size_t size);
  // Data that waits for its stream's owner is bounded by the windows; this bounds answers.
  bool wants_input() const { return !failed_ && output_size() < kOutputLimit; }
  std::optional<SteadyTime> deadline() const { return std::nullopt; }
  void on_deadline(SteadyTime) {}

 private:
  struct Stream {
    bool ours = false;
    bool answered = false;  // accept was sent or came
    bool local_end = false;
    bool remote_end = false;
    bool done_sent = false;
    bool done_came = false;
    std::uint32_t send_credit = 0;
    std::uint32_t receive_credit = 0;  // what the peer may still send
    std::uint32_t consumed = 0;        // not granted again yet
  };
  struct Header {
    std::uint8_t type = 0;
    std::uint16_t size = 0;
    StreamId id{};
  };
  using Streams = std::map<StreamId, Stream>;

  std::size_t output_size() const { return output_.size() - output_begin_; }
  std::size_t input_size() const { return input_.size() - input_begin_; }
  void put(std::uint8_t type, StreamId id, ByteSpan payload);
  std::optional<Event> fail(MuxError error);
  std::optional<MuxError> check(const Header& header);
  std::optional<Event> take(const Header& header, ByteSpan payload);
  std::optional<Event> take_hello(ByteSpan payload);
  std::optional<Event> take_open(StreamId id, ByteSpan payload);
  std::optional<Event> take_data();
  bool was_used(StreamId id) const;
  bool is_ours(StreamId id) const;
  void forget_if_over(Streams::iterator entry);

  MuxMode mode_;
  std::uint32_t window_;
  std::optional<std::uint32_t> peer_window_;
  Streams streams_;
  std::size_t own_count_ = 0;
  std::size_t peer_count_ = 0;
  std::uint32_t next_own_;
  std::uint32_t next_peer_;
  bool failed_ = false;
  Bytes input_;
  std::size_t input_begin_ = 0;
  std::size_t data_left_ = 0;  // of the data frame that is being read
  StreamId data_stream_{};
  Bytes output_;
  std::size_t output_begin_ = 0;
};

}  // namespace sealane::net
