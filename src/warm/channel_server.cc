// Receiving parts over the entropy channel: cores, spools, and the sink's threads.
#include <mutex>

#include "base/check.h"
#include "flow/workers.h"
#include "net/real_network.h"
#include "net/sockets.h"
#include "net/stream_driver.h"
#include "warm/channel.h"
#include "warm/spool.h"

namespace sealane::warm {
namespace {

using entropy::Receiver;

// One read: several chunks of the usual size.
constexpr std::size_t kReadSize = 256 * 1024;
// One into the spool: the rest of a block that is smaller is left out.
constexpr std::size_t kLeastRead = 32 * 1024;

entropy::ReceiverPolicy foreign_policy(const entropy::ReceiverPolicy& ours) {
  entropy::ReceiverPolicy out = entropy::ReceiverPolicy::dynomite();
  out.max_snapshot = ours.max_snapshot;
  out.idle_timeout = ours.idle_timeout;
  out.total_timeout = ours.total_timeout;
  return out;
}

std::uint32_t saturated(std::uint64_t count) {
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(count, 0xffffffff));
}

entropy::FailureCause wire_cause(Cause cause) {
  using entropy::FailureCause;
  switch (cause) {
    case Cause::kExists:
    case Cause::kExpired:
      return FailureCause::kNotSaid;
    case Cause::kRefused:
      return FailureCause::kRefused;
    case Cause::kOutOfMemory:
      return FailureCause::kOutOfMemory;
    case Cause::kLoading:
      return FailureCause::kLoading;
    case Cause::kReadOnly:
      return FailureCause::kReadOnly;
    case Cause::kMoved:
      return FailureCause::kMoved;
    case Cause::kPayloadVersion:
      return FailureCause::kPayloadVersion;
    case Cause::kWrongType:
      return FailureCause::kWrongType;
    case Cause::kNoPermission:
      return FailureCause::kNoPermission;
    case Cause::kDiskFull:
      return FailureCause::kDiskFull;
    case Cause::kConnectionLost:
      return FailureCause::kConnectionLost;
    case Cause::kSameStore:
      return FailureCause::kSameStore;
    case Cause::kOther:
      return FailureCause::kOther;
  }
  return FailureCause::kOther;
}

Receiver::Applied applied_of(const ApplyResult& result) {
  Receiver::Applied out;
  out.applied = saturated(result.counts.applied);
  out.skipped = saturated(result.counts.skipped);
  out.failed = saturated(result.counts.failed);
  if (const auto cause = main_cause(result.counts)) out.cause = wire_cause(*cause);
  if (result.counts.failed == 0 && !result.error) {
    out.status = entropy::AckStatus::kApplied;
  } else if (result.counts.applied + result.counts.skipped > 0) {
    out.status = entropy::AckStatus::kPartly;
  } else {
    out.status = entropy::AckStatus::kSinkFailed;
  }
  return out;
}

bool is_loopback(const Address& address) {
  return address.text.starts_with("unix:") || address.text.starts_with("tcp:127.") ||
         address.text.starts_with("tcp:[::1]");
}

}  // namespace

struct ChannelServer::Impl {
  Impl(ServeOptions the_options, Sink& the_sink, FileSystem& the_files, RandomSource& the_random,
       Clock& the_clock)
      : options(std::move(the_options)),
        sink(the_sink),
        files(the_files),
        random(the_random),
        clock(the_clock),
        spool_memory(options.spool_memory),
        memory(std::make_shared<entropy::ReplayMemory>(
            entropy::ReplayMemory::Rules{std::chrono::minutes(10), the_clock.wall_now()})),
        limit(std::make_shared<net::RateLimit>(options.bytes_per_second, net::IoLoop::now())),
        stream_loop(net::make_stream_loop(loop)),
        workers(std::make_unique<flow::Workers>(options.apply_threads)) {
    loop.run([this] { network = net::make_network(loop); });
    driver = std::make_unique<net::StreamDriver>(*stream_loop, *network);
  }
  ~Impl() {
    listener.reset();
    driver.reset();
    sink.interrupt();
    workers.reset();
    // What the workers handed back comes before this.
    loop.run([this] { network.reset(); });
  }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  NetworkResult<void> start();
  class Handler;

  const ServeOptions options;
  Sink& sink;
  FileSystem& files;
  RandomSource& random;
  Clock& clock;
  SpoolMemory spool_memory;
  // ---- the loop's thread ----
  std::shared_ptr<entropy::ReplayMemory> memory;
  std::uint64_t spooled = 0;  // announced by snapshots that are received or wait for the sink
  std::string last_warning;

  std::shared_ptr<net::RateLimit> limit;
  net::IoLoop loop;
  std::unique_ptr<net::StreamLoop> stream_loop;
  std::unique_ptr<Network> network;
  std::unique_ptr<flow::Workers> workers;
  std::unique_ptr<net::StreamDriver> driver;
  std::unique_ptr<net::StreamListener> listener;
};

class ChannelServer::Impl::Handler final : public net::StreamHandler {
 public:
  Handler(Impl& server, const Address& peer, Receiver::Setup setup)
      : work_(std::make_shared<Work>(server, peer, std::move(setup))) {}

  std::size_t receive(ByteSpan bytes, SteadyTime now) override {
    if (work_->keeps(true)) core().lend(work_->spool.room(1));
    return core().receive(bytes, now);
  }
  MutableByteSpan input_room() override {
    return work_->keeps(false) ? work_->spool.room(kLeastRead) : MutableByteSpan();
  }
  void on_end(SteadyTime now) override { core().on_end(now); }
  ByteSpan next_output() override { return core().next_output(); }
  void output_sent(std::size_t size) override { core().output_sent(size); }
  std::optional<SteadyTime> deadline() const override { return work_->core.deadline(); }
  void on_deadline(SteadyTime now) override { core().on_deadline(now); }
  bool wants_input() const override { return work_->core.wants_input(); }
  void on_open(net::StreamConnection& connection, SteadyTime) override {
    work_->connection = &connection;
  }
  void after_step(SteadyTime) override {
    while (auto event = core().next_event()) {
      if (const auto* header = std::get_if<Receiver::Header>(&*event)) {
        work_->begin(*header);
      } else if (const auto* plaintext = std::get_if<Receiver::Plaintext>(&*event)) {
        work_->keep(plaintext->bytes);
      } else if (const auto* refused = std::get_if<Receiver::Refused>(&*event)) {
        Work::refuse(work_, refused->reason);
      } else {
        Work::apply(work_);
      }
    }
  }
  void on_closed(const NetworkError& why, SteadyTime now) override {
    work_->connection = nullptr;
    if (why.code == NetworkErrorCode::kReset) core().on_reset(now);
    after_step(now);
  }

 private:
  // What is received. It outlives the connection while the sink works on it; the core stays with
  // it, because it knows which part is in hand. On the loop's thread, but for the sink's reading.
  struct Work {
    Work(Impl& the_server, const Address& peer, Receiver::Setup setup)
        : server(the_server),
          memory(server.memory),
          core(std::move(setup), net::IoLoop::now()),
          spool(server.files, server.random, server.spool_memory, server.options.spool_folder) {
      intake.peer = peer;
    }
    ~Work() { server.spooled -= reserved; }
    Work(const Work&) = delete;
    Work& operator=(const Work&) = delete;

    void begin(const Receiver::Header& header) {
      intake.authenticated = core.authenticated();
      intake.part.size = header.total;
      if (header.extension) {
        intake.part.digest = header.extension->digest;
        intake.part.snapshot = header.extension->snapshot;
        intake.part.index = header.extension->part;
        intake.part.count = header.extension->parts;
        intake.part.range = {header.extension->range_start, header.extension->range_end};
        intake.part.sender = printable(header.extension->name());
        intake.part.store = header.extension->store();
      }
      if (header.total > server.options.max_spool - server.spooled) {
        return core.give_up(entropy::Reason::kBusy);
      }
      reserved = header.total;
      server.spooled += reserved;
      encrypted = header.encrypted;
    }
    // Whether what comes goes to the spool: nobody gets memory of it before that.
    bool keeps(bool of_encrypted) const {
      return encrypted == of_encrypted && !broken && core.wants_input();
    }
    void keep(ByteSpan plaintext) {
      if (broken) return;
      const auto kept = spool.write(plaintext);
      if (kept.has_value()) return;
      broken = true;
      server.options.on_warning(kept.error().message);
      core.give_up(entropy::Reason::kSpoolFailed);
    }
    static void refuse(const std::shared_ptr<Work>& work, entropy::Reason reason) {
      // A foreign sender learns of a refusal by the reset that unread input makes; one who signed
      // gets an answer.
      if (work->connection != nullptr && work->core.answers()) work->connection->close();
      if (work->connection != nullptr && !work->core.answers()) work->connection->abort();
      Impl& to = work->server;
      if (work->applying) {
        // Too late for the sink: its result is reported when it comes.
        to.options.on_warning("the sink is still at work on a part of " +
                              printable(work->intake.peer.text) + ", longer than a part may take");
        return;
      }
      work->intake.refused = reason;
      work->intake.why = work->core.why(reason);
      // After the connection is closed: how long a report takes is nothing for the peer to see.
      to.loop.post([work] { work->server.options.on_intake(work->intake); });
    }
    static void apply(const std::shared_ptr<Work>& work) {
      // A stranger learns nothing from when we close: neither whether it decrypted nor how long the
      // sink took.
      if (!work->core.answers() && work->connection != nullptr) work->connection->abort();
      if (work->intake.part.size == 0) return finish(work, {});
      work->applying = true;
      work->server.workers->add([work = std::shared_ptr<Work>(work)]() mutable {
        Spool::Content content(work->spool);
        ApplyResult result = work->server.sink.apply(work->intake.part, content);
        net::IoLoop& back = work->server.loop;
        back.post([work = std::move(work), result = std::move(result)]() mutable {
          work->applying = false;
          finish(work, std::move(result));
        });
      });
    }
    static void finish(const std::shared_ptr<Work>& work, ApplyResult result) {
      work->core.applied(applied_of(result), net::IoLoop::now());
      work->intake.result = std::move(result);
      work->server.options.on_intake(work->intake);
      if (work->connection != nullptr) work->connection->close();
    }

    Impl& server;
    const std::shared_ptr<entropy::ReplayMemory> memory;  // the core's
    Receiver core;
    Spool spool;
    Intake intake;
    std::uint64_t reserved = 0;
    std::optional<bool> encrypted;  // none before an accepted header
    net::StreamConnection* connection = nullptr;
    bool broken = false;
    bool applying = false;
  };

  Receiver& core() { return work_->core; }
  std::shared_ptr<Work> work_;
};

NetworkResult<void> ChannelServer::Impl::start() {
  net::StreamListenOptions listen;
  listen.max_connections = options.max_connections;
  listen.max_per_source = options.max_per_source;
  listen.stream.read_size = kReadSize;
  listen.stream.receive_limit = limit;
  auto made = driver->listen(
      options.listen, listen, [this](const Address& peer) -> std::unique_ptr<net::StreamHandler> {
        Receiver::Setup setup;
        setup.policy = options.policy;
        const bool foreign =
            peer.text.starts_with("unix:")
                ? options.foreign_unix
                : std::ranges::any_of(options.foreign_hosts, [&peer](const std::string& host) {
                    return peer.text.starts_with("tcp:" + host + ":");
                  });
        if (foreign) setup.policy = foreign_policy(options.policy);
        auto keys = load_channel_keys(files, options.key_files);
        if (!keys.has_value()) {
          // As before a rotation went wrong nothing works, and it is said why.
          options.on_warning(keys.error().message);
          return nullptr;
        }
        if (keys.value().chunk) setup.keys = &*keys.value().chunk;
        setup.secrets = std::move(keys.value().secrets);
        setup.memory = memory.get();
        setup.wall = clock.wall_now();
        return std::make_unique<Handler>(*this, peer, std::move(setup));
      });
  if (!made.has_value()) return made.error();
  listener = std::move(made.value());
  return success();
}

ChannelServer::ChannelServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ChannelServer::~ChannelServer() = default;
Address ChannelServer::local() const { return impl_->listener->local(); }

Result<std::unique_ptr<ChannelServer>, Error> ChannelServer::listen(ServeOptions options,
                                                                    Sink& sink, FileSystem& files,
                                                                    RandomSource& random,
                                                                    Clock& clock) {
  const auto endpoint = net::parse_endpoint(options.listen);
  if (!endpoint ||
      (endpoint->kind != net::SocketKind::kTcp && endpoint->kind != net::SocketKind::kUnixStream)) {
    return Error{ErrorKind::kUsage, printable(options.listen.text) +
                                        " is no address; write HOST:PORT, HOST as a number, or "
                                        "unix:PATH"};
  }
  if (options.apply_threads == 0 || options.max_connections == 0 || options.max_per_source == 0) {
    return Error{ErrorKind::kUsage, "limits of connections and threads have to be above 0"};
  }
  for (const std::string& host : options.foreign_hosts) {
    if (!net::parse_endpoint({"tcp:" + host + ":0"})) {
      return Error{ErrorKind::kUsage,
                   printable(host) + " is no host of a foreign peer; write it as a number"};
    }
  }
  SEALANE_TRY(const auto keys, load_channel_keys(files, options.key_files));
  for (const std::string& warning : keys.warnings) options.on_warning(warning);
  SEALANE_TRY(Spool::check_folder(files, random, options.spool_folder));
  if (keys.secrets.empty() && options.policy.require_authenticated &&
      options.foreign_hosts.empty() && !options.foreign_unix) {
    return Error{ErrorKind::kUsage,
                 "without the cluster's secret nobody could push anything; name a secret file, or "
                 "the foreign peers"};
  }
  if (!is_loopback(options.listen) && !options.policy.require_authenticated) {
    options.on_warning("whoever reaches " + printable(options.listen.text) +
                       " can push anything; name a secret file and ask for signatures");
  }
  auto impl = std::make_unique<Impl>(std::move(options), sink, files, random, clock);
  const auto started = impl->start();
  if (!started.has_value()) return net::to_error(started.error(), impl->options.listen);
  return std::unique_ptr<ChannelServer>(new ChannelServer(std::move(impl)));
}

}  // namespace sealane::warm
