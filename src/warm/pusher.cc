// Sending parts over the entropy channel: the core, its driver, and who waits.
#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <mutex>

#include "base/check.h"
#include "crypto/aes_cbc.h"
#include "flow/halt.h"
#include "flow/thread.h"
#include "net/real_network.h"
#include "net/resolve.h"
#include "net/sockets.h"
#include "net/stream_driver.h"
#include "warm/channel.h"

namespace sealane::warm {
namespace {

using entropy::Sender;
using std::chrono::milliseconds;

// Chunks from this size on are sent from where they lie; smaller ones are copied together.
constexpr std::size_t kWorthASpan = 4096;

// Where pieces are encrypted side by side, that takes about as long as to send them. On two cores,
// of which the peer may be the other, waking a worker for each costs more than it brings.
bool worth_workers() {
  return flow::core_count() > 2 ||
         !crypto::aes_cbc_engine_available(crypto::AesCbcEngine::kIpsecMb);
}

// Makers of chunks, each used by one thread at a time; making one costs more than a chunk.
class Encoders {
 public:
  Encoders(std::uint32_t buffer_size, const entropy::ChunkKeys* keys)
      : buffer_size_(buffer_size), keys_(keys) {}
  Bytes encode(ByteSpan plaintext, Bytes memory) {
    std::unique_ptr<entropy::ChunkEncoder> encoder = take();
    Bytes chunks = encoder->encode_reusing(std::move(memory), plaintext);
    const std::lock_guard lock(mutex_);
    idle_.push_back(std::move(encoder));
    return chunks;
  }

 private:
  std::unique_ptr<entropy::ChunkEncoder> take() {
    {
      const std::lock_guard lock(mutex_);
      if (!idle_.empty()) {
        auto out = std::move(idle_.back());
        idle_.pop_back();
        return out;
      }
    }
    return std::make_unique<entropy::ChunkEncoder>(buffer_size_, keys_);
  }
  const std::uint32_t buffer_size_;
  const entropy::ChunkKeys* keys_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<entropy::ChunkEncoder>> idle_;  // as many as threads
};

// Where push() waits. The part's bytes are read by jobs, which may outlive the connection.
struct Waiting {
  std::mutex mutex;
  std::condition_variable changed;
  bool closed = false;
  bool opened = false;  // before that, so another address may answer
  std::size_t readers = 0;
  std::optional<Sender::Finished> finished;
  NetworkError why;

  void read(int change) {
    const std::lock_guard lock(mutex);
    readers = change > 0 ? readers + 1 : readers - 1;
    changed.notify_all();
  }
};

class PushHandler final : public net::StreamHandler {
 public:
  PushHandler(const entropy::SenderSetup& setup, ByteSpan content,
              std::shared_ptr<Encoders> encoders, std::shared_ptr<Waiting> waiting,
              std::atomic<std::uint64_t>& sent, SteadyTime now)
      : core_(setup, now),
        encrypted_(setup.encrypted),
        with_workers_(encrypted_ && worth_workers()),
        in_place_(!encrypted_ && setup.buffer_size >= kWorthASpan),
        content_(content),
        encoders_(std::move(encoders)),
        waiting_(std::move(waiting)),
        sent_(sent) {}

  std::size_t receive(ByteSpan bytes, SteadyTime now) override { return core_.receive(bytes, now); }
  // A peer's FIN confirms all that came before it, so what is unconfirmed then was not taken: on
  // TCP an orderly end hides the reset behind it. Our own FIN counts one.
  void on_end(SteadyTime now) override {
    core_.on_end(now, connection_ == nullptr || connection_->unconfirmed() <= 1);
  }
  ByteSpan next_output() override { return core_.next_output(); }
  std::span<const ByteSpan> next_outputs() override { return core_.next_outputs(); }
  void output_sent(std::size_t size) override {
    const std::uint64_t before = core_.sent();
    core_.output_sent(size, net::IoLoop::now());
    sent_ += core_.sent() - before;
  }
  std::optional<SteadyTime> deadline() const override { return core_.deadline(); }
  void on_deadline(SteadyTime now) override { core_.on_deadline(now); }
  bool wants_input() const override { return core_.wants_input(); }
  void on_open(net::StreamConnection& connection, SteadyTime) override {
    connection_ = &connection;
  }

  void after_step(SteadyTime now) override {
    if (connection_ != nullptr) supply(now);
    while (auto event = core_.next_event()) {
      if (auto* finished = std::get_if<Sender::Finished>(&*event)) {
        finished_ = *finished;
        if (connection_ != nullptr) connection_->close();
      } else if (connection_ != nullptr) {
        connection_->finish_output();
      }
    }
  }

  void on_closed(const NetworkError& why, SteadyTime now) override {
    const bool opened = connection_ != nullptr;
    connection_ = nullptr;
    if (opened && why.code != NetworkErrorCode::kCancelled) {
      core_.on_reset(now);
      after_step(now);
    }
    const std::lock_guard lock(waiting_->mutex);
    waiting_->closed = true;
    waiting_->opened = opened;
    waiting_->finished = finished_;
    waiting_->why = why;
    waiting_->changed.notify_all();
  }

 private:
  void supply(SteadyTime now) {
    while (const std::size_t size = core_.claim_plaintext()) {
      const ByteSpan piece = content_.subspan(at_, size);
      at_ += size;
      if (in_place_) {
        core_.supply_in_place(piece, now);
        continue;
      }
      if (!with_workers_) {
        core_.supply(encoders_->encode(piece, core_.take_spent()), now);
        // One piece, then it is sent while it lies in the cache; the next step comes at once.
        if (encrypted_) return;
        continue;
      }
      waiting_->read(+1);
      auto chunks = std::make_shared<Bytes>(core_.take_spent());
      connection_->run_job([this, piece, chunks, encoders = encoders_, waiting = waiting_] {
        *chunks = encoders->encode(piece, std::move(*chunks));
        waiting->read(-1);
        return [this, chunks] { core_.supply(std::move(*chunks), net::IoLoop::now()); };
      });
    }
  }

  Sender core_;
  const bool encrypted_;
  const bool with_workers_;
  const bool in_place_;
  const ByteSpan content_;
  std::size_t at_ = 0;
  std::shared_ptr<Encoders> encoders_;
  std::shared_ptr<Waiting> waiting_;
  std::atomic<std::uint64_t>& sent_;
  net::StreamConnection* connection_ = nullptr;
  std::optional<Sender::Finished> finished_;
};

PushVerdict verdict_of(entropy::AckStatus status) {
  switch (status) {
    case entropy::AckStatus::kApplied:
      return PushVerdict::kApplied;
    case entropy::AckStatus::kPartly:
      return PushVerdict::kPartly;
    case entropy::AckStatus::kRefused:
      return PushVerdict::kRefused;
    case entropy::AckStatus::kBusy:
      return PushVerdict::kBusy;
    case entropy::AckStatus::kSinkFailed:
      return PushVerdict::kSinkFailed;
  }
  SEALANE_CHECK(false);
  return PushVerdict::kUnknown;
}

Result<PushReport, Error> report_of(const Sender::Finished& finished, const Address& to) {
  const std::string name = printable(to.text);
  switch (finished.outcome) {
    case Sender::Outcome::kAcknowledged: {
      const entropy::Acknowledgement& said = *finished.acknowledgement;
      if (said.status == entropy::AckStatus::kRefused) {
        return PushReport{.verdict = PushVerdict::kRefused, .refusal = said.refusal()};
      }
      return PushReport{.verdict = verdict_of(said.status),
                        .applied = said.applied,
                        .skipped = said.skipped,
                        .failed = said.failed,
                        .cause = said.failure_cause()};
    }
    case Sender::Outcome::kUnknown:
      return PushReport{};
    case Sender::Outcome::kReset:
      return Error{ErrorKind::kRefused,
                   name +
                       " broke off and took nothing; it refuses what it cannot read or is not "
                       "allowed to take, or the network failed"};
    case Sender::Outcome::kClosedEarly:
      return Error{ErrorKind::kRefused,
                   name +
                       " closed the connection before it had everything, so it took nothing; see "
                       "its log, its keys and its limits"};
    case Sender::Outcome::kBadAnswer:
      return Error{ErrorKind::kPinMismatch, "what answered at " + name +
                                                " does not have the cluster's secret; nothing is "
                                                "known of what became of the part"};
    case Sender::Outcome::kIdleTimeout:
      return Error{ErrorKind::kFailed, name + " stopped reading in the middle of a part"};
    case Sender::Outcome::kTotalTimeout:
      return Error{ErrorKind::kFailed, name + " did not finish a part in the time that it has"};
  }
  SEALANE_CHECK(false);
  return PushReport{};
}

std::uint32_t buffer_size_of(const PushOptions& options) {
  return options.buffer_size.value_or(options.encrypt ? entropy::kDefaultBuffer
                                                      : entropy::kPlainBuffer);
}

}  // namespace

struct Pusher::Impl {
  Impl(PushOptions the_options, ChannelKeys the_keys, Clock& the_clock)
      : options(std::move(the_options)),
        keys(std::move(the_keys)),
        clock(the_clock),
        limit(std::make_shared<net::RateLimit>(options.bytes_per_second, net::IoLoop::now())),
        encoders(std::make_shared<Encoders>(buffer_size_of(options),
                                            options.encrypt ? &*keys.chunk : nullptr)),
        stream_loop(net::make_stream_loop(loop)) {
    loop.run([this] { network = net::make_network(loop, {.dial_from = options.from}); });
    driver = std::make_unique<net::StreamDriver>(*stream_loop, *network, &workers);
  }
  ~Impl() {
    driver.reset();
    loop.run([this] { network.reset(); });
  }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  entropy::SenderSetup setup_of(const Part& part, const Series& series) const {
    entropy::SenderSetup setup;
    setup.header_size = options.header_size;
    setup.buffer_size = buffer_size_of(options);
    setup.encrypted = options.encrypt;
    setup.total = part.commands.size();
    setup.idle_timeout = options.idle_timeout;
    setup.total_timeout = options.total_timeout;
    if (options.foreign || keys.secrets.empty()) return setup;
    entropy::Extension& extension = setup.extension.emplace();
    extension.flags = entropy::Extension::kAcknowledge | entropy::Extension::kIdempotent |
                      entropy::Extension::kSeries | entropy::Extension::kCauses;
    extension.snapshot = series.snapshot;
    const auto now = std::chrono::floor<milliseconds>(clock.wall_now().time_since_epoch());
    extension.created_ms =
        static_cast<std::uint64_t>(std::max<std::int64_t>(0, now.count() + clock_behind_ms.load()));
    extension.part = part.index;
    extension.parts = series.part_count.value_or(0);
    extension.range_start = part.range.start;
    extension.range_end = part.range.end;
    extension.digest = part.digest;
    extension.sender = options.name;
    if (series.store) extension.set_store(*series.store);
    setup.secret = &keys.secrets.front();
    return setup;
  }

  // One connection, to its end.
  std::shared_ptr<Waiting> push_to(const net::Endpoint& endpoint, const entropy::SenderSetup& setup,
                                   const Part& part, const flow::Cancellation* cancel) {
    auto waiting = std::make_shared<Waiting>();
    const SteadyTime now = net::IoLoop::now();
    net::StreamOptions how;
    how.send_limit = limit;
    const Address address{net::format_endpoint(endpoint.kind, endpoint.address)};
    const net::StreamHandle handle = driver->dial(
        address, now + options.connect_timeout, std::move(how),
        std::make_unique<PushHandler>(setup, part.commands, encoders, waiting, sent, now));
    std::unique_lock lock(waiting->mutex);
    bool cancelled = false;
    while (!waiting->closed || waiting->readers > 0) {
      waiting->changed.wait_for(lock, flow::kHaltPoll);
      if (!cancelled && cancel != nullptr && cancel->cancelled()) {
        cancelled = true;
        handle.abort();
      }
    }
    return waiting;
  }

  // The peer refused what was made at `created_ms` by the clock that parts carry.
  void learn_time(std::uint64_t created_ms, std::uint64_t peer_ms) {
    constexpr auto kFar = static_cast<std::uint64_t>(INT64_MAX / 4);
    const auto now = std::chrono::floor<milliseconds>(clock.wall_now().time_since_epoch()).count();
    if (peer_ms > kFar || created_ms > kFar || now < 0) return;
    const std::lock_guard lock(learning);
    // Another part may have learnt it meanwhile.
    const std::int64_t known = clock_behind_ms.load();
    const auto behind = static_cast<std::int64_t>(peer_ms) - now;
    clock_behind_ms = behind;
    constexpr std::int64_t kWorthTelling = 1000;
    if (std::abs(behind) < kWorthTelling || std::abs(behind - known) < kWorthTelling) return;
    options.on_warning("this host's clock is " + std::to_string(std::abs(behind) / 1000) + " s " +
                       (behind > 0 ? "behind" : "ahead of") + " that of " +
                       printable(options.to.text) +
                       ", so parts carry its time; set the clocks, as expiries are points in time");
  }

  const PushOptions options;
  const ChannelKeys keys;
  Clock& clock;
  std::atomic<std::int64_t> clock_behind_ms{0};  // of the peer's, as it said
  std::mutex learning;
  std::shared_ptr<net::RateLimit> limit;
  std::shared_ptr<Encoders> encoders;
  std::atomic<std::uint64_t> sent{0};
  net::IoLoop loop;
  std::unique_ptr<net::StreamLoop> stream_loop;
  std::unique_ptr<Network> network;
  flow::Workers workers{std::max(1U, flow::core_count())};
  std::unique_ptr<net::StreamDriver> driver;
};

Pusher::Pusher(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Pusher::~Pusher() = default;

Result<std::unique_ptr<Pusher>, Error> Pusher::create(PushOptions options, ChannelKeys keys,
                                                      Clock& clock) {
  const std::string& to = options.to.text;
  if (!net::is_address(options.to) || !(to.starts_with("tcp:") || to.starts_with("unix:"))) {
    return Error{ErrorKind::kUsage,
                 printable(to) + " is no address; write HOST:PORT, or unix:PATH"};
  }
  if (options.encrypt && !keys.chunk) {
    return Error{ErrorKind::kUsage,
                 "encryption needs a key file and an IV file; name both, or say that the snapshot "
                 "may be sent in clear"};
  }
  entropy::SenderSetup probe;
  probe.header_size = options.header_size;
  probe.buffer_size = buffer_size_of(options);
  if (!options.foreign && !keys.secrets.empty()) {
    probe.extension.emplace().sender = options.name;
    probe.secret = &keys.secrets.front();
  }
  const auto valid = entropy::validate(probe);
  if (!valid.has_value()) {
    return Error{ErrorKind::kUsage, std::string(entropy::describe(valid.error()))};
  }
  return std::unique_ptr<Pusher>(
      new Pusher(std::make_unique<Impl>(std::move(options), std::move(keys), clock)));
}

Result<PushReport, Error> Pusher::push(const Part& part, const Series& series,
                                       const flow::Cancellation* cancel) {
  const entropy::SenderSetup setup = impl_->setup_of(part, series);
  if (const auto valid = entropy::validate(setup); !valid.has_value()) {
    return Error{ErrorKind::kUsage, std::string(entropy::describe(valid.error()))};
  }
  // A name is looked up each time: what it stands for may change between two parts.
  SEALANE_TRY(const auto endpoints, net::resolve(impl_->options.to));
  NetworkError why;
  for (const net::Endpoint& endpoint : endpoints) {
    const auto waiting = impl_->push_to(endpoint, setup, part, cancel);
    if (waiting->finished) {
      const auto& said = waiting->finished->acknowledgement;
      if (said && said->refusal() == entropy::Refusal::kStale) {
        impl_->learn_time(setup.extension->created_ms, said->time_ms());
      }
      return report_of(*waiting->finished, impl_->options.to);
    }
    why = waiting->why;
    if (waiting->opened || why.code == NetworkErrorCode::kCancelled) break;
  }
  return net::to_error(why, impl_->options.to);
}

void Pusher::set_rate(std::uint64_t bytes_per_second) {
  impl_->limit->set(bytes_per_second, net::IoLoop::now());
}
std::uint64_t Pusher::bytes_sent() const { return impl_->sent; }

}  // namespace sealane::warm
