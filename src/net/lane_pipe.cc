#include "net/lane_pipe.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <optional>

#include "flow/descriptor.h"
#include "flow/halt.h"
#include "flow/thread.h"
#include "net/stream_link.h"

namespace sealane::net {
namespace {

constexpr std::size_t kPieceSize = 128 * 1024;
constexpr std::size_t kDatagramQueue = 1024 * 1024;  // bytes that wait for a slow output
constexpr std::chrono::milliseconds kRepeat{200};    // of a word that may be lost
constexpr std::chrono::seconds kClosePatience{3};

// The first byte of a message on kDatagramChannel.
enum class Word : std::uint8_t { kHere = 1, kData = 2, kEnd = 3 };

SteadyTime steady_now() { return std::chrono::steady_clock::now(); }

void close_lane(Lane& lane) {
  lane.close();
  static_cast<void>(lane.wait_closed(steady_now() + kClosePatience));
}

// The first failure of the threads of one pipe.
struct Verdict {
  std::mutex mutex;
  std::optional<Error> error;
  void fail(Error why) {
    const std::lock_guard hold(mutex);
    if (!error) error = std::move(why);
  }
  bool failed() {
    const std::lock_guard hold(mutex);
    return error.has_value();
  }
};

Error stopped_by_peer(ResetReason reason) {
  return {ErrorKind::kFailed, "the other side gave up: " + std::string(describe(reason))};
}

// ---- the stream between Sealane ends ------------------------------------------------------------

class StreamPipe {
 public:
  StreamPipe(Lane& lane, MuxSide side, const PipeEnds& ends)
      : ends_(ends),
        link_(
            lane, {.side = side, .mode = MuxMode::kPipe},
            [this](const StreamMux::Event& event) { on_event(event); }, [] {}) {}

  Result<void, Error> run() {
    Result<void, Error> result = success();
    {
      const flow::Thread sender([this] { send_input(); });
      result = write_output();
      if (!result.has_value()) {
        ends_.input.interrupt();
        const auto hold = link_.lock();
        stopped_ = true;
        // Who was merely stopped says so, by the goodbye.
        if (result.error().kind != ErrorKind::kInterrupted) {
          link_.mux().reset(StreamMux::kPipeStream, ResetReason::kCut);
        }
        link_.wake();
      }
    }
    link_.close();
    return result;
  }

 private:
  void on_event(const StreamMux::Event& event) {
    if (const auto* data = std::get_if<StreamMux::Data>(&event)) {
      incoming_.insert(incoming_.end(), data->bytes.begin(), data->bytes.end());
    } else if (std::holds_alternative<StreamMux::Ended>(event)) {
      peer_ended_ = true;
    } else if (std::holds_alternative<StreamMux::Done>(event)) {
      peer_done_ = true;
    } else if (const auto* reset = std::get_if<StreamMux::Reset>(&event)) {
      if (!failure_) failure_ = stopped_by_peer(reset->reason);
    }
  }

  // Whether to go on; under the lock.
  bool going() const { return !stopped_ && !failure_ && !link_.ended(); }

  void send_input() {
    Bytes piece(kPieceSize);
    for (;;) {
      const auto got = ends_.input.read(piece);
      auto hold = link_.lock();
      if (!got.has_value()) {
        if (!failure_) failure_ = got.error();
        link_.wake();
        return;
      }
      ByteSpan rest = ByteSpan(piece).first(got.value());
      if (rest.empty()) {
        link_.mux().finish(StreamMux::kPipeStream);
        input_sent_ = true;
        link_.wake();
        return;
      }
      while (!rest.empty()) {
        if (!going()) return;
        const std::size_t taken = link_.mux().send(StreamMux::kPipeStream, rest);
        rest = rest.subspan(taken);
        ends_.counters.sent += taken;
        if (taken != 0) {
          link_.wake();
        } else {
          link_.wait(hold);
        }
      }
    }
  }

  Result<void, Error> write_output() {
    bool committed = false;
    for (;;) {
      Bytes piece;
      {
        auto hold = link_.lock();
        while (incoming_.empty() && going() && !(peer_ended_ && !committed) &&
               !(committed && peer_done_ && input_sent_)) {
          if (ends_.cancel.cancelled()) return flow::interrupted();
          link_.wait(hold);
        }
        if (failure_) return *failure_;
        piece.swap(incoming_);
        if (piece.empty() && committed && peer_done_ && input_sent_) return success();
        if (piece.empty() && !peer_ended_) return ended_early();
        if (piece.empty() && committed) return ended_early();
      }
      if (ends_.cancel.cancelled()) return flow::interrupted();
      if (!piece.empty()) {
        SEALANE_TRY(ends_.output.write(piece));
        ends_.counters.received += piece.size();
        const auto hold = link_.lock();
        link_.mux().consumed(StreamMux::kPipeStream, piece.size());
        link_.wake();
        continue;
      }
      SEALANE_TRY(ends_.commit());
      committed = true;
      const auto hold = link_.lock();
      link_.mux().done(StreamMux::kPipeStream);
      link_.wake();
    }
  }

  Error ended_early() const {
    if (link_.said_goodbye()) {
      return {ErrorKind::kFailed, "the other side was stopped before everything was transferred"};
    }
    return *link_.ended();
  }

  const PipeEnds& ends_;
  // Under the link's lock.
  Bytes incoming_;  // at most the window
  bool peer_ended_ = false;
  bool peer_done_ = false;
  bool input_sent_ = false;
  bool stopped_ = false;
  std::optional<Error> failure_;
  StreamLink link_;  // last: its threads end first
};

}  // namespace

Result<void, Error> run_stream_pipe(Lane& lane, MuxSide side, const PipeEnds& ends) {
  return StreamPipe(lane, side, ends).run();
}

// ---- the bare byte pipe -------------------------------------------------------------------------

Result<void, Error> run_plain_pipe(Lane& lane, const PipeEnds& ends) {
  Verdict verdict;
  std::atomic<bool> over{false};
  {
    const flow::Thread sender([&] {
      Bytes piece(kPieceSize);
      bool any = false;
      for (;;) {
        const auto got = ends.input.read(piece);
        if (over) return;
        if (!got.has_value()) {
          verdict.fail(got.error());
          return lane.abort();
        }
        if (got.value() == 0) break;
        any = true;
        const auto written = lane.write(ByteSpan(piece).first(got.value()));
        if (!written.has_value()) return;  // the reader says why the lane ended
        ends.counters.sent += got.value();
      }
      if (any) close_lane(lane);  // an empty input is none
    });
    Bytes piece(kPieceSize);
    while (!verdict.failed()) {
      const auto got = lane.read(piece, steady_now() + kRepeat);
      if (ends.cancel.cancelled()) {
        verdict.fail(flow::interrupted());
      } else if (!got.has_value()) {
        if (lane.state() == LaneState::kClosed) break;
      } else if (got.value() == 0) {
        break;
      } else {
        const auto written = ends.output.write(ByteSpan(piece).first(got.value()));
        if (!written.has_value()) {
          verdict.fail(written.error());
        } else {
          ends.counters.received += got.value();
        }
      }
    }
    over = true;
    ends.input.interrupt();
    close_lane(lane);
  }
  if (verdict.error) return *verdict.error;
  return ends.commit();
}

// ---- datagrams ----------------------------------------------------------------------------------

namespace {

class DatagramPipe {
 public:
  DatagramPipe(Lane& lane, const PipeEnds& ends)
      : lane_(lane), ends_(ends), framed_(lane.peer_is_sealane()), most_(lane.payload_size() - 1) {}

  Result<void, Error> run() {
    const auto handler = [this](ByteSpan message) { on_message(message); };
    if (framed_) {
      lane_.set_handler(kDatagramChannel, handler);
    } else {
      lane_.set_pipe_handler(handler);
      peer_here_ = true;  // it has no word for it
    }
    {
      const flow::Thread sender([this] { send_lines(); });
      write_messages();
      over_ = true;
      ends_.input.interrupt();
      changed_.notify_all();
    }
    close_lane(lane_);
    if (framed_) {
      lane_.set_handler(kDatagramChannel, {});
    } else {
      lane_.set_pipe_handler({});
    }
    if (verdict_.error) return *verdict_.error;
    return ends_.commit();
  }

 private:
  using Lock = std::unique_lock<std::mutex>;

  void on_message(ByteSpan message) {
    const Lock hold(mutex_);
    changed_.notify_all();
    Word word = Word::kData;
    if (framed_) {
      if (message.empty()) return;
      word = Word{std::to_integer<std::uint8_t>(message[0])};
      message = message.subspan(1);
      peer_here_ = true;
    }
    if (word == Word::kEnd) peer_ended_ = true;
    if (word != Word::kData) return;
    if (queue_.size() + message.size() + 1 > kDatagramQueue) return;  // lost, as on the way
    queue_.insert(queue_.end(), message.begin(), message.end());
    queue_.push_back(std::byte{'\n'});
    ++ends_.counters.messages_received;
  }

  void say(Word word) {
    static_cast<void>(lane_.send(kDatagramChannel, ByteArray<1>{static_cast<std::byte>(word)},
                                 steady_now() + kRepeat));
  }

  bool send_line(ByteSpan line) {
    // The byte pipe would cut what has become too large, and a cut line is two.
    const std::size_t most = framed_ ? most_ : std::min(most_, lane_.payload_size() - 1);
    if (line.size() > most) {
      verdict_.fail({ErrorKind::kUsage, "a line of the input is " + std::to_string(line.size()) +
                                            " bytes long, but a message can have " +
                                            std::to_string(most)});
      return false;
    }
    Bytes message;
    if (framed_) message.push_back(static_cast<std::byte>(Word::kData));
    message.insert(message.end(), line.begin(), line.end());
    Result<void, Error> sent = success();
    if (!framed_) {
      sent = lane_.write(message);
    } else if (const auto ticket = lane_.send(kDatagramChannel, message); !ticket.has_value()) {
      sent = ticket.error();
    }
    if (!sent.has_value()) {
      // Why a lane ended, the reader says.
      if (lane_.state() != LaneState::kClosed) verdict_.fail(sent.error());
      return false;
    }
    ends_.counters.sent += line.size();
    ++ends_.counters.messages_sent;
    return true;
  }

  void send_lines() {
    wait_for_peer();
    Bytes buffer(kPieceSize);
    Bytes line;
    while (!over_) {
      const auto got = ends_.input.read(buffer);
      if (over_) return;
      if (!got.has_value()) return verdict_.fail(got.error());
      ByteSpan rest = ByteSpan(buffer).first(got.value());
      if (rest.empty()) break;
      while (!rest.empty()) {
        const auto end = std::ranges::find(rest, std::byte{'\n'});
        const auto size = static_cast<std::size_t>(end - rest.begin());
        line.insert(line.end(), rest.begin(), end);
        rest = rest.subspan(size);
        if (rest.empty() && line.size() < kDatagramQueue) break;  // goes on with the next piece
        if (!rest.empty()) rest = rest.subspan(1);
        if (!send_line(line)) return;
        line.clear();
      }
    }
    if (!line.empty() && !send_line(line)) return;
    lane_.flush();
    input_ended_ = true;
    changed_.notify_all();
  }

  // A handler that is not there yet drops what comes; so nobody sends before the other has spoken.
  void wait_for_peer() {
    Lock hold(mutex_);
    while (!over_) {
      const bool here = peer_here_;
      if (framed_) {
        hold.unlock();
        say(Word::kHere);
        hold.lock();
      }
      if (here) return;
      changed_.wait_for(hold, kRepeat);
    }
  }

  void write_messages() {
    auto last_word = steady_now();
    int farewells = 0;
    while (!verdict_.failed()) {
      Bytes piece;
      bool both_ended = false;
      {
        Lock hold(mutex_);
        if (queue_.empty()) changed_.wait_for(hold, flow::kHaltPoll);
        piece.swap(queue_);
        both_ended = input_ended_ && (peer_ended_ || !framed_);
      }
      if (ends_.cancel.cancelled()) return verdict_.fail(flow::interrupted());
      if (!piece.empty()) {
        if (const auto put = ends_.output.write(piece); !put.has_value()) {
          return verdict_.fail(put.error());
        }
        ends_.counters.received += piece.size();
        continue;
      }
      if (lane_.state() == LaneState::kClosed) {
        // The other side has seen both ends, or went away.
        if (peer_ended_ || input_ended_ || lane_.close_reason().empty()) return;
        return verdict_.fail(lane_ended(lane_));
      }
      if (!framed_) {
        if (both_ended && ends_.counters.messages_sent != 0) return;  // an empty input is none
        continue;
      }
      if (input_ended_ && steady_now() - last_word > kRepeat / 4) {
        say(Word::kEnd);
        last_word = steady_now();
        // Both have ended: a few more, because the other may have missed the first.
        if (both_ended && ++farewells > 3) return;
      }
    }
  }

  Lane& lane_;
  const PipeEnds& ends_;
  const bool framed_;
  const std::size_t most_;  // bytes of a line
  Verdict verdict_;
  std::mutex mutex_;
  std::condition_variable changed_;
  Bytes queue_;
  bool peer_here_ = false;
  std::atomic<bool> peer_ended_{false};
  std::atomic<bool> input_ended_{false};
  std::atomic<bool> over_{false};
};

}  // namespace

Result<void, Error> run_datagram_pipe(Lane& lane, const PipeEnds& ends) {
  return DatagramPipe(lane, ends).run();
}

}  // namespace sealane::net
