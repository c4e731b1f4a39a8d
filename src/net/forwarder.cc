#include "net/forwarder.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "net/resolve.h"
#include "net/stream_link.h"

namespace sealane::net {
namespace {

constexpr std::size_t kPieceSize = 64 * 1024;
constexpr int kTick = 250;  // milliseconds: how late a connect deadline may be noticed

Error usage(const std::string& message) { return {ErrorKind::kUsage, message}; }

bool is_stream(const Address& address) {
  const bool scheme = address.text.starts_with("tcp:") || address.text.starts_with("unix:");
  return scheme && is_address(address);
}

}  // namespace

Result<ForwardRule, Error> parse_forward_rule(std::string_view text) {
  // A path may hold "=": the last one before a scheme cuts.
  std::size_t cut = std::string_view::npos;
  for (const std::string_view scheme : {"=tcp:", "=unix:"}) {
    const std::size_t at = text.rfind(scheme);
    if (at != std::string_view::npos && (cut == std::string_view::npos || at > cut)) cut = at;
  }
  if (cut == std::string_view::npos) {
    return usage(printable(text) +
                 " is no forward; write LOCAL=REMOTE, each tcp:HOST:PORT or unix:PATH");
  }
  ForwardRule rule{.local = {std::string(text.substr(0, cut))},
                   .target = std::string(text.substr(cut + 1))};
  for (const std::string& address : {rule.local.text, rule.target}) {
    if (!is_stream({address})) {
      return usage(printable(address) +
                   " is no address to forward; write tcp:HOST:PORT or unix:PATH");
    }
  }
  if (rule.target.size() > StreamMux::kMaxTargetSize) return usage("the target is too long");
  return rule;
}

Result<std::unique_ptr<Forwarder>, Error> Forwarder::create(
    const std::vector<ForwardRule>& rules, const std::vector<std::string>& allowed,
    std::function<void(const StreamReport&)> on_stream) {
  std::unique_ptr<Forwarder> forwarder(new Forwarder);
  forwarder->on_stream_ = std::move(on_stream);
  for (const std::string& target : allowed) {
    if (!is_stream({target})) {
      return usage(printable(target) + " cannot be allowed; write tcp:HOST:PORT or unix:PATH");
    }
    SEALANE_TRY(const auto endpoints, resolve({target}));
    forwarder->allowed_.emplace(target, endpoints.front());
  }
  for (const ForwardRule& rule : rules) {
    SEALANE_TRY(const auto endpoints, resolve(rule.local));
    const Endpoint& endpoint = endpoints.front();
    auto descriptor = start_listen(endpoint);
    if (!descriptor.has_value()) return to_error(descriptor.error(), rule.local);
    const Address local = format_endpoint(endpoint.kind, local_address(descriptor.value().get()));
    forwarder->listeners_.push_back({std::move(descriptor.value()), local, rule.target});
  }
  return forwarder;
}

Forwarder::~Forwarder() {
  for (const Listening& listening : listeners_) {
    constexpr std::string_view kUnix = "unix:";
    if (!listening.local.text.starts_with(kUnix)) continue;
    static_cast<void>(::unlink(listening.local.text.c_str() + kUnix.size()));
  }
}

std::vector<Address> Forwarder::listening() const {
  std::vector<Address> out;
  for (const Listening& listening : listeners_) out.push_back(listening.local);
  return out;
}

// ---- one lane -----------------------------------------------------------------------------------

class Forwarder::Run {
 public:
  Run(Forwarder& owner, Lane& lane, MuxSide side, const flow::Cancellation& cancel)
      : owner_(owner),
        cancel_(cancel),
        event_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
        link_(
            lane, {.side = side, .mode = MuxMode::kForward, .window = kWindow},
            [this](const StreamMux::Event& event) { on_event(event); }, [this] { signal(); }) {}

  Result<void, Error> run() {
    Result<void, Error> result = success();
    for (;;) {
      prepare();
      if (::poll(polled_.data(), static_cast<nfds_t>(polled_.size()), kTick) < 0 &&
          errno != EINTR) {
        result = Error{ErrorKind::kFailed, "waiting for connections failed"};
        break;
      }
      if (cancel_.cancelled()) {
        result = flow::interrupted();
        break;
      }
      if (const auto over = turn()) {
        result = *over;
        break;
      }
    }
    {
      const auto hold = link_.lock();
      while (!connections_.empty()) {
        const StreamId id = connections_.begin()->first;
        link_.mux().reset(id, ResetReason::kCut);
        report(id, "the session ended");
      }
      link_.wake();
    }
    publish();
    link_.close();
    return result;
  }

 private:
  struct Connection {
    flow::OwnedDescriptor descriptor;
    StreamReport report;
    bool connecting = false;
    SteadyTime deadline{};
    bool read_over = false;   // our socket's input has ended, and the peer knows
    bool write_over = false;  // the peer's input has ended
    bool shut = false;        // and our socket knows
    Bytes waiting;            // from the peer, for our socket: below twice the window
    std::size_t written = 0;  // of it
  };
  struct Polled {
    StreamId id{};
    std::size_t listener = 0;
  };

  void signal() {
    const std::uint64_t one = 1;
    [[maybe_unused]] const auto put = ::write(event_.get(), &one, sizeof one);
  }

  // ---- on the link's reading thread, under its lock ----

  void on_event(const StreamMux::Event& event) {
    if (const auto* opened = std::get_if<StreamMux::Opened>(&event)) {
      connect(*opened);
    } else if (const auto* data = std::get_if<StreamMux::Data>(&event)) {
      const auto found = connections_.find(data->id);
      if (found == connections_.end()) return;
      Bytes& waiting = found->second.waiting;
      waiting.insert(waiting.end(), data->bytes.begin(), data->bytes.end());
    } else if (const auto* ended = std::get_if<StreamMux::Ended>(&event)) {
      const auto found = connections_.find(ended->id);
      if (found != connections_.end()) found->second.write_over = true;
    } else if (const auto* reset = std::get_if<StreamMux::Reset>(&event)) {
      if (!connections_.contains(reset->id)) return;
      report(reset->id, std::string(describe(reset->reason)));
    }
  }

  void connect(const StreamMux::Opened& opened) {
    StreamReport failed;
    failed.target = opened.target;
    const auto refuse = [&](ResetReason reason, std::string problem) {
      link_.mux().reset(opened.id, reason);
      failed.problem = std::move(problem);
      reports_.push_back(std::move(failed));
    };
    const auto allowed = owner_.allowed_.find(opened.target);
    if (allowed == owner_.allowed_.end()) {
      return refuse(ResetReason::kNotAllowed, "refused: it is not allowed here (--allow)");
    }
    auto descriptor = start_connect(allowed->second);
    if (!descriptor.has_value()) {
      return refuse(ResetReason::kUnreachable,
                    to_error(descriptor.error(), {opened.target}).message);
    }
    Connection& connection = connections_[opened.id];
    connection.descriptor = std::move(descriptor.value());
    connection.report.target = opened.target;
    connection.connecting = true;
    connection.deadline = std::chrono::steady_clock::now() + kConnectTimeout;
  }

  // ---- on the thread that runs ----

  void prepare() {
    const auto hold = link_.lock();
    polled_.assign({{event_.get(), POLLIN, 0}, {cancel_.descriptor(), POLLIN, 0}});
    entries_.assign(2, {});
    const StreamMux& mux = link_.mux();
    for (std::size_t i = 0; mux.ready() && i < owner_.listeners_.size(); ++i) {
      if (own_streams_ >= StreamMux::kMaxStreams) break;
      polled_.push_back({owner_.listeners_[i].descriptor.get(), POLLIN, 0});
      entries_.push_back({.listener = i});
    }
    for (const auto& [id, connection] : connections_) {
      short wanted = 0;
      if (connection.connecting || connection.written < connection.waiting.size()) {
        wanted |= POLLOUT;
      }
      if (!connection.connecting && !connection.read_over && mux.sendable(id) != 0) {
        wanted |= POLLIN;
      }
      if (wanted == 0) continue;  // else a closed one would wake us for nothing
      polled_.push_back({connection.descriptor.get(), wanted, 0});
      entries_.push_back({.id = id});
    }
  }

  // Nothing: go on.
  std::optional<Result<void, Error>> turn() {
    {
      const auto hold = link_.lock();
      std::uint64_t count = 0;
      [[maybe_unused]] const auto got = ::read(event_.get(), &count, sizeof count);
      for (std::size_t i = 2; i < polled_.size(); ++i) {
        const Polled& entry = entries_[i];
        if (polled_[i].revents == 0) continue;
        if (entry.id == StreamId{0}) {
          accept(owner_.listeners_[entry.listener]);
        } else if (connections_.contains(entry.id)) {
          serve(entry.id, polled_[i].revents);
        }
      }
      tidy();
      link_.wake();
      link_.check_hello();
      if (link_.said_goodbye()) return Result<void, Error>(success());
      if (link_.ended()) return Result<void, Error>(*link_.ended());
    }
    publish();
    return std::nullopt;
  }

  void accept(const Listening& listening) {
    while (own_streams_ < StreamMux::kMaxStreams) {
      std::optional<SocketAddress> from;
      auto accepted = accept_one(listening.descriptor.get(), from);
      if (!accepted.has_value()) return;  // none, or out of descriptors: asked again
      const auto id = link_.mux().open(listening.target);
      if (!id) return;
      ++own_streams_;
      Connection& connection = connections_[*id];
      connection.descriptor = std::move(accepted.value());
      connection.report.target = listening.target;
      connection.report.opened_here = true;
    }
  }

  void serve(StreamId id, short happened) {
    Connection& connection = connections_.at(id);
    if (connection.connecting) {
      const auto outcome = connect_outcome(connection.descriptor.get());
      if (!outcome.has_value()) return give_up(id, ResetReason::kUnreachable, "it does not answer");
      connection.connecting = false;
      link_.mux().accept(id);
    }
    if ((happened & (POLLOUT | POLLERR)) != 0 && !write_out(id, connection)) return;
    if ((happened & (POLLIN | POLLHUP | POLLERR)) != 0) read_in(id, connection);
  }

  // False: the connection is gone.
  bool write_out(StreamId id, Connection& connection) {
    while (connection.written < connection.waiting.size()) {
      const ByteSpan rest = ByteSpan(connection.waiting).subspan(connection.written);
      const ssize_t put = ::send(connection.descriptor.get(), rest.data(), rest.size(),
                                 MSG_NOSIGNAL | MSG_DONTWAIT);
      if (put < 0 && errno == EINTR) continue;
      if (put < 0 && errno == EAGAIN) break;
      if (put < 0) {
        give_up(id, ResetReason::kCut, "its connection broke");
        return false;
      }
      connection.written += static_cast<std::size_t>(put);
      connection.report.bytes_received += static_cast<std::uint64_t>(put);
      link_.mux().consumed(id, static_cast<std::size_t>(put));
    }
    // Also where it is never drained: it stays below twice the window.
    if (connection.written == connection.waiting.size() || connection.written >= kWindow) {
      connection.waiting.erase(
          connection.waiting.begin(),
          connection.waiting.begin() + static_cast<std::ptrdiff_t>(connection.written));
      connection.written = 0;
    }
    return true;
  }

  void read_in(StreamId id, Connection& connection) {
    std::array<std::byte, kPieceSize> piece;  // NOLINT: filled by recv
    while (!connection.read_over) {
      const std::size_t room = std::min(piece.size(), link_.mux().sendable(id));
      if (room == 0) return;
      const ssize_t got = ::recv(connection.descriptor.get(), piece.data(), room, MSG_DONTWAIT);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0 && errno == EAGAIN) return;
      if (got < 0) return give_up(id, ResetReason::kCut, "its connection broke");
      if (got == 0) {
        connection.read_over = true;
        link_.mux().finish(id);
        return;
      }
      const auto size = static_cast<std::size_t>(got);
      link_.mux().send(id, ByteSpan(piece).first(size));
      connection.report.bytes_sent += size;
      if (size < room) return;
    }
  }

  void give_up(StreamId id, ResetReason reason, std::string problem) {
    link_.mux().reset(id, reason);
    report(id, std::move(problem));
  }

  // Ends that have been reached, and deadlines.
  void tidy() {
    const SteadyTime now = std::chrono::steady_clock::now();
    for (auto entry = connections_.begin(); entry != connections_.end();) {
      const StreamId id = entry->first;
      Connection& connection = entry->second;
      ++entry;  // the calls below may remove this one
      if (connection.connecting) {
        if (now >= connection.deadline) {
          give_up(id, ResetReason::kUnreachable, "it does not answer");
        }
        continue;
      }
      if (connection.write_over && connection.waiting.empty() && !connection.shut) {
        connection.shut = true;
        static_cast<void>(::shutdown(connection.descriptor.get(), SHUT_WR));
      }
      if (connection.shut && connection.read_over) report(id, {});
    }
  }

  void report(StreamId id, std::string problem) {
    const auto found = connections_.find(id);
    found->second.report.problem = std::move(problem);
    if (!found->second.report.problem.empty()) {
      // Nobody takes a cut for an end.
      const linger at_once{.l_onoff = 1, .l_linger = 0};
      static_cast<void>(::setsockopt(found->second.descriptor.get(), SOL_SOCKET, SO_LINGER,
                                     &at_once, sizeof at_once));
    }
    if (found->second.report.opened_here) --own_streams_;
    reports_.push_back(std::move(found->second.report));
    connections_.erase(found);
  }

  void publish() {
    std::vector<StreamReport> reports;
    {
      const auto hold = link_.lock();
      reports.swap(reports_);
    }
    for (const StreamReport& one : reports) owner_.on_stream_(one);
  }

  Forwarder& owner_;
  const flow::Cancellation& cancel_;
  flow::OwnedDescriptor event_;
  std::vector<pollfd> polled_;
  std::vector<Polled> entries_;
  // Under the link's lock.
  std::map<StreamId, Connection> connections_;
  std::size_t own_streams_ = 0;
  std::vector<StreamReport> reports_;
  StreamLink link_;  // last: its threads end first
};

Result<void, Error> Forwarder::run(Lane& lane, MuxSide side, const flow::Cancellation& cancel) {
  return Run(*this, lane, side, cancel).run();
}

}  // namespace sealane::net
