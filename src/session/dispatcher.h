#pragma once
// Dispatcher: a session's events to whom they concern: a channel's messages and problems to its
// handler, the byte pipe to read(), all the rest to the session's own handler.
#include <cstdint>
#include <functional>
#include <optional>
#include <unordered_map>

#include "sealane/base/error.h"
#include "session/ring_queue.h"
#include "session/session.h"

namespace sealane::session {

// Not thread-safe. Handlers run inside drain(), and may send, but not drain or change handlers.
class Dispatcher {
 public:
  struct Handler {
    // The bytes are valid during the call only. What it returns as an error goes to on_error.
    std::function<Result<void, Error>(ByteSpan)> on_message;
    // A problem that names this channel, or the error above. May be empty: then to the session's.
    std::function<void(const Error&)> on_error;
  };
  struct SessionHandler {
    std::function<void(const SessionEvent&)> on_event;  // never Received; may be empty
    // Of a channel without on_error. May be empty.
    std::function<void(MessageType, const Error&)> on_error;
  };
  // `read_limit`: bytes that wait for read() and read_message(); drain() stops above.
  explicit Dispatcher(SessionHandler handler, std::size_t read_limit = 1024 * 1024)
      : handler_(std::move(handler)), read_limit_(read_limit) {}

  // One for kReadWrite takes the bytes away from read(). REQUIRES: a type of the user's.
  void set_handler(MessageType type, Handler handler);
  void remove_handler(MessageType type);

  // Takes all events and messages. A message of a channel without a handler is dropped and counted.
  // Stops early where the byte pipe is not read; call it again then.
  void drain(Session& session);

  // The next whole message of the byte pipe.
  std::optional<Bytes> read_message();
  // The byte pipe as a stream: fills as much of `out` as there is; what is left of a message waits.
  // Empty messages are no bytes.
  std::size_t read(MutableByteSpan out);
  std::size_t readable_bytes() const { return readable_; }
  std::size_t readable_messages() const { return messages_.size(); }
  std::uint64_t dropped() const { return dropped_; }

 private:
  void deliver(const Received& message);
  void problem(MessageType type, const Error& error);

  SessionHandler handler_;
  std::size_t read_limit_;
  std::unordered_map<MessageType, Handler> handlers_;
  // The last one used: traffic comes in runs of one channel.
  MessageType last_type_ = MessageType::kUndefined;
  Handler* last_ = nullptr;
  RingQueue<Bytes> messages_;
  std::size_t taken_of_first_ = 0;
  std::size_t readable_ = 0;
  std::uint64_t dropped_ = 0;
};

}  // namespace sealane::session
