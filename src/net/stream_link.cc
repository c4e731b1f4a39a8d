#include "net/stream_link.h"

#include "flow/halt.h"

namespace sealane::net {
namespace {

constexpr std::size_t kReadSize = 256 * 1024;
constexpr std::chrono::seconds kClosePatience{3};

}  // namespace

Error lane_ended(const Lane& lane) {
  const std::string why = lane.close_reason();
  return {ErrorKind::kFailed,
          "the session with the peer ended" + (why.empty() ? std::string() : ": " + why)};
}

StreamLink::StreamLink(Lane& lane, const LinkOptions& options,
                       std::function<void(const StreamMux::Event&)> on_event,
                       std::function<void()> on_change)
    : lane_(lane),
      on_event_(std::move(on_event)),
      on_change_(std::move(on_change)),
      mux_(options.side, options.mode, options.window),
      hello_deadline_(std::chrono::steady_clock::now() + options.hello_timeout) {
  reader_ = std::make_unique<flow::Thread>([this] { read_loop(); });
  writer_ = std::make_unique<flow::Thread>([this] { write_loop(); });
}

StreamLink::~StreamLink() {
  {
    const Lock hold(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  lane_.abort();
  reader_.reset();
  writer_.reset();
}

void StreamLink::wait(Lock& lock) {
  changed_.wait_for(lock, flow::kHaltPoll);
  check_hello();
}

void StreamLink::check_hello() {
  if (mux_.ready() || ended_ || std::chrono::steady_clock::now() < hello_deadline_) return;
  ended_ = {ErrorKind::kFailed,
            "the peer proved itself but does not answer on the pipe; it may be busy with another"};
  changed_.notify_all();
}

void StreamLink::end(Error error) {
  {
    const Lock hold(mutex_);
    if (!ended_) ended_ = std::move(error);
    if (!mux_.ready() && ended_->kind == ErrorKind::kFailed && !failed_) {
      ended_ = {ErrorKind::kRefused,
                ended_->message +
                    "; it came to no first word: the other side may not have pinned this node's "
                    "key ('sealane id' prints it)"};
    }
    changed_.notify_all();
  }
  on_change_();
}

void StreamLink::read_loop() {
  Bytes buffer(kReadSize);
  for (;;) {
    const auto got = lane_.read(buffer);
    if (!got.has_value()) return end(got.error());
    if (got.value() == 0) return end(lane_ended(lane_));
    {
      Lock hold(mutex_);
      mux_.receive(ByteSpan(buffer).first(got.value()), SteadyTime{});
      while (const auto event = mux_.next_event()) {
        if (const auto* failed = std::get_if<StreamMux::Failed>(&*event)) {
          failed_ = true;
          hold.unlock();
          end({ErrorKind::kFailed,
               "what the peer says is no pipe: " + std::string(describe(failed->error))});
          hold.lock();
          // Our own first words still leave, so that the peer can tell as much.
          changed_.wait_for(hold, kClosePatience, [this] { return writer_gone_; });
          lane_.close();
          return;
        }
        if (std::holds_alternative<StreamMux::Goodbye>(*event)) goodbye_came_ = true;
        on_event_(*event);
      }
      changed_.notify_all();
      while (!mux_.wants_input() && !stopping_ && !ended_ && !writer_gone_) changed_.wait(hold);
      if (stopping_) return;
    }
    on_change_();
  }
}

void StreamLink::write_loop() {
  while (write_more()) {
  }
  const Lock hold(mutex_);
  writer_gone_ = true;
  changed_.notify_all();
}

bool StreamLink::write_more() {
  Bytes bytes;
  {
    Lock hold(mutex_);
    writer_idle_ = true;
    changed_.notify_all();
    while (mux_.next_output().empty() && !stopping_ && !ended_) changed_.wait(hold);
    writer_idle_ = false;
    if (stopping_ || mux_.next_output().empty()) return false;
    bytes = to_bytes(mux_.next_output());
    mux_.output_sent(bytes.size());
    changed_.notify_all();
  }
  on_change_();
  // Whatever is added while this one is on its way goes with the next.
  if (lane_.write(bytes).has_value()) return true;
  // The reader says why, after it has read what the peer said last.
  lane_.close();
  return false;
}

void StreamLink::close() {
  {
    Lock hold(mutex_);
    if (!ended_) mux_.goodbye();
    changed_.notify_all();
    changed_.wait_for(hold, kClosePatience, [this] {
      return writer_gone_ || (writer_idle_ && mux_.next_output().empty());
    });
  }
  lane_.close();
  static_cast<void>(lane_.wait_closed(std::chrono::steady_clock::now() + kClosePatience));
}

}  // namespace sealane::net
