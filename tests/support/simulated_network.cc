#include "tests/support/simulated_network.h"

#include <algorithm>
#include <deque>
#include <optional>
#include <random>
#include <set>
#include <string_view>
#include <vector>

#include "base/check.h"

namespace sealane::testing {

EventLoop::~EventLoop() {
  closing_ = true;  // a connection that dies with its event wants to say so
  events_.clear();
}

void EventLoop::at(SteadyTime when, std::function<void()> event) {
  if (closing_) return;
  events_.emplace(std::pair(std::max(when, now_), next_++), std::move(event));
}

bool EventLoop::run_one() {
  if (events_.empty()) return false;
  auto first = events_.extract(events_.begin());
  now_ = first.key().first;
  first.mapped()();
  return true;
}

void EventLoop::run(std::size_t limit) {
  for (std::size_t count = 0; run_one(); ++count) SEALANE_CHECK(count < limit);
}

void EventLoop::run_until(SteadyTime end) {
  while (!events_.empty() && events_.begin()->first.first <= end) run_one();
  now_ = std::max(now_, end);
}

namespace {

using HostPair = std::pair<std::string, std::string>;
HostPair host_pair(const std::string& a, const std::string& b) { return std::minmax(a, b); }

NetworkError network_error(NetworkErrorCode code, std::string_view detail) {
  return {.code = code, .detail = std::string(detail)};
}

struct ParsedAddress {
  std::string scheme;
  std::string host;
  unsigned port = 0;
};
std::optional<ParsedAddress> parse_address(const Address& address) {
  const auto first = address.text.find(':');
  const auto last = address.text.rfind(':');
  if (first == std::string::npos || first == last) return std::nullopt;
  ParsedAddress out{.scheme = address.text.substr(0, first),
                    .host = address.text.substr(first + 1, last - first - 1)};
  for (const char c : address.text.substr(last + 1)) {
    if (c < '0' || c > '9') return std::nullopt;
    out.port = out.port * 10 + static_cast<unsigned>(c - '0');
    if (out.port > 65535) return std::nullopt;
  }
  return out;
}

// One end of a connection. What it sent and the other end has not yet received is in `wire`, in
// order; each arrival event takes the front.
struct End {
  std::string host;
  Address remote;
  std::string remote_host;
  std::weak_ptr<End> other;
  bool open = true;  // its Connection lives
  bool reset = false;

  std::deque<std::byte> received;
  bool end_received = false;
  MutableByteSpan read_buffer;
  std::function<void(NetworkResult<std::size_t>)> read_done;

  std::deque<std::optional<Bytes>> wire;  // nothing: the end
  SteadyTime last_arrival{};
  std::size_t unread = 0;  // sent, and not read by the other side
  ByteSpan write_rest;
  std::function<void(NetworkResult<void>)> write_done;
  bool end_wanted = false;
  bool end_sent = false;
};

struct Waiting {  // a connection that nobody accepted yet
  std::shared_ptr<End> end;
};
struct ListenerState {
  std::string key;
  Address local;
  std::string host;
  std::deque<Waiting> backlog;
  std::function<void(NetworkResult<std::unique_ptr<Connection>>)> accept_done;
};

struct SocketState {
  std::string host;
  Address local;
  std::deque<std::pair<Bytes, Address>> queue;
  MutableByteSpan buffer;
  std::function<void(NetworkResult<DatagramSocket::Received>)> done;
};

}  // namespace

struct SimulatedNetwork::State : std::enable_shared_from_this<SimulatedNetwork::State> {
  State(EventLoop& event_loop, std::uint64_t seed) : loop(event_loop), engine(seed) {}

  EventLoop& loop;
  std::mt19937_64 engine;
  std::map<HostPair, LinkOptions> links;
  std::set<HostPair> partitions;
  std::set<std::string> hosts;
  std::map<std::string, std::weak_ptr<ListenerState>> listeners;
  std::map<std::string, std::weak_ptr<SocketState>> sockets;
  std::vector<std::weak_ptr<End>> ends;
  std::multimap<HostPair, std::function<void()>> held;  // arrivals that wait for heal()
  unsigned next_port = 49152;
  Counters counters;
  std::uint64_t trace = 0xcbf29ce484222325;

  void note(std::uint64_t what) {
    const auto now = static_cast<std::uint64_t>(loop.steady_now().time_since_epoch().count());
    for (const std::uint64_t value : {now, what}) trace = (trace ^ value) * 0x100000001b3;
  }
  std::uint64_t below(std::uint64_t bound) { return bound == 0 ? 0 : engine() % bound; }
  bool chance(double probability) {
    return static_cast<double>(engine() >> 11) * 0x1p-53 < probability;
  }
  LinkOptions link(const std::string& a, const std::string& b) const {
    const auto found = links.find(host_pair(a, b));
    return found == links.end() ? LinkOptions{} : found->second;
  }
  bool partitioned(const std::string& a, const std::string& b) const {
    return partitions.contains(host_pair(a, b));
  }
  std::chrono::nanoseconds delay(const LinkOptions& link) {
    const auto width = static_cast<std::uint64_t>((link.delay_max - link.delay_min).count());
    return link.delay_min + std::chrono::nanoseconds(below(width + 1));
  }

  template <class T>
  void complete(std::function<void(NetworkResult<T>)>& done, NetworkResult<T> result) {
    auto shared = std::make_shared<NetworkResult<T>>(std::move(result));
    loop.post([done = std::exchange(done, nullptr), shared] { done(std::move(*shared)); });
  }

  // ---- Streams ----

  void pump_read(End& end) {
    if (!end.read_done) return;
    if (!end.received.empty()) {
      const std::size_t size = std::min(end.received.size(), end.read_buffer.size());
      std::copy_n(end.received.begin(), size, end.read_buffer.begin());
      end.received.erase(end.received.begin(),
                         end.received.begin() + static_cast<std::ptrdiff_t>(size));
      complete<std::size_t>(end.read_done, size);
      if (const auto other = end.other.lock()) {
        other->unread -= size;
        pump_write(*other);
      }
    } else if (end.reset) {
      complete<std::size_t>(end.read_done, network_error(NetworkErrorCode::kReset, "reset"));
    } else if (end.end_received) {
      complete<std::size_t>(end.read_done, network_error(NetworkErrorCode::kClosed, "closed"));
    }
  }

  void send(End& end, const std::shared_ptr<End>& other, std::optional<Bytes> segment) {
    const LinkOptions options = link(end.host, end.remote_host);
    end.last_arrival = std::max(end.last_arrival, loop.steady_now() + delay(options));
    if (segment) end.unread += segment->size();
    end.wire.push_back(std::move(segment));
    ++counters.segments;
    // The sender's end stays alive with what it sent, also after its Connection died.
    loop.at(end.last_arrival, [self = shared_from_this(), from = other->other.lock(), to = other] {
      self->arrive(from, to);
    });
  }

  void arrive(const std::shared_ptr<End>& from, const std::shared_ptr<End>& to) {
    if (from->wire.empty()) return;  // a reset overtook it
    if (partitioned(from->host, to->host)) {
      held.emplace(host_pair(from->host, to->host),
                   [self = shared_from_this(), from, to] { self->arrive(from, to); });
      return;
    }
    auto segment = std::move(from->wire.front());
    from->wire.pop_front();
    note(segment ? segment->size() : 1u << 20);
    if (!to->open) {
      if (segment) reset(*from);  // nobody is there to take it
      return;
    }
    if (segment) {
      to->received.insert(to->received.end(), segment->begin(), segment->end());
    } else {
      to->end_received = true;
    }
    pump_read(*to);
  }

  void pump_write(End& end) {
    if (end.end_sent) return;
    const auto other = end.other.lock();
    if (end.reset || !other) {
      if (end.write_done) {
        complete<void>(end.write_done, network_error(NetworkErrorCode::kReset, "reset"));
      }
      return;
    }
    const std::size_t max_segment = link(end.host, end.remote_host).max_segment;
    while (!end.write_rest.empty() && end.unread < kWindow) {
      const std::size_t most = std::min({max_segment, end.write_rest.size(), kWindow - end.unread});
      const std::size_t size = 1 + below(most);
      send(end, other, to_bytes(end.write_rest.first(size)));
      end.write_rest = end.write_rest.subspan(size);
    }
    if (!end.write_rest.empty()) return;
    if (end.write_done) complete<void>(end.write_done, success());
    if (end.end_wanted) {
      end.end_sent = true;
      send(end, other, std::nullopt);
    }
  }

  void reset(End& end) {
    if (end.reset) return;
    end.reset = true;
    end.received.clear();
    end.wire.clear();
    pump_read(end);
    if (end.write_done) {
      complete<void>(end.write_done, network_error(NetworkErrorCode::kReset, "reset"));
    }
  }

  // ---- Datagrams ----

  void deliver(const std::string& from_host, const Address& from, const Address& to,
               const Bytes& datagram) {
    const auto found = sockets.find(to.text);
    const auto socket = found == sockets.end() ? nullptr : found->second.lock();
    if (!socket || partitioned(from_host, socket->host) ||
        socket->queue.size() >= kDatagramBacklog) {
      ++counters.datagrams_lost;
      return;
    }
    ++counters.datagrams_delivered;
    note(datagram.size());
    socket->queue.emplace_back(datagram, from);
    pump_receive(*socket);
  }

  void pump_receive(SocketState& socket) {
    if (!socket.done || socket.queue.empty()) return;
    const auto [datagram, from] = std::move(socket.queue.front());
    socket.queue.pop_front();
    const std::size_t size = std::min(datagram.size(), socket.buffer.size());  // as recvfrom(2)
    std::copy_n(datagram.begin(), size, socket.buffer.begin());
    complete<DatagramSocket::Received>(socket.done,
                                       DatagramSocket::Received{.size = size, .from = from});
  }
};

namespace {

using State = SimulatedNetwork::State;

class SimulatedConnection final : public Connection {
 public:
  SimulatedConnection(std::shared_ptr<State> state, std::shared_ptr<End> end)
      : state_(std::move(state)), end_(std::move(end)) {}
  ~SimulatedConnection() override {
    const auto cancelled = network_error(NetworkErrorCode::kCancelled, "destroyed");
    if (end_->read_done) state_->complete<std::size_t>(end_->read_done, cancelled);
    if (end_->write_done) state_->complete<void>(end_->write_done, cancelled);
    end_->open = false;
    end_->write_rest = {};
    const auto other = end_->other.lock();
    if (other && !end_->received.empty()) {
      state_->reset(*other);  // as TCP answers when what arrived was never read
    } else {
      shutdown_write();
    }
  }
  void read(MutableByteSpan buffer, std::function<void(NetworkResult<std::size_t>)> done) override {
    SEALANE_CHECK(!end_->read_done && !buffer.empty());
    end_->read_buffer = buffer;
    end_->read_done = std::move(done);
    state_->pump_read(*end_);
  }
  void write(ByteSpan data, std::function<void(NetworkResult<void>)> done) override {
    SEALANE_CHECK(!end_->write_done && !end_->end_wanted);
    end_->write_rest = data;
    end_->write_done = std::move(done);
    state_->pump_write(*end_);
  }
  void shutdown_write() override {
    end_->end_wanted = true;
    state_->pump_write(*end_);
  }
  Address peer() const override { return end_->remote; }

 private:
  std::shared_ptr<State> state_;
  std::shared_ptr<End> end_;
};

class SimulatedListener final : public Listener {
 public:
  SimulatedListener(std::shared_ptr<State> state, std::shared_ptr<ListenerState> listener)
      : state_(std::move(state)), listener_(std::move(listener)) {}
  ~SimulatedListener() override {
    state_->listeners.erase(listener_->key);
    if (listener_->accept_done) {
      state_->complete<std::unique_ptr<Connection>>(
          listener_->accept_done, network_error(NetworkErrorCode::kCancelled, "destroyed"));
    }
    for (const Waiting& waiting : listener_->backlog) {
      if (const auto other = waiting.end->other.lock()) state_->reset(*other);
    }
  }
  void accept(std::function<void(NetworkResult<std::unique_ptr<Connection>>)> done) override {
    SEALANE_CHECK(!listener_->accept_done);
    listener_->accept_done = std::move(done);
    pump(state_, *listener_);
  }
  Address local() const override { return listener_->local; }

  static void pump(const std::shared_ptr<State>& state, ListenerState& listener) {
    if (!listener.accept_done || listener.backlog.empty()) return;
    auto end = std::move(listener.backlog.front().end);
    listener.backlog.pop_front();
    state->complete<std::unique_ptr<Connection>>(
        listener.accept_done, std::make_unique<SimulatedConnection>(state, std::move(end)));
  }

 private:
  std::shared_ptr<State> state_;
  std::shared_ptr<ListenerState> listener_;
};

class SimulatedSocket final : public DatagramSocket {
 public:
  SimulatedSocket(std::shared_ptr<State> state, std::shared_ptr<SocketState> socket)
      : state_(std::move(state)), socket_(std::move(socket)) {}
  ~SimulatedSocket() override {
    state_->sockets.erase(socket_->local.text);
    if (socket_->done) {
      state_->complete<Received>(socket_->done,
                                 network_error(NetworkErrorCode::kCancelled, "destroyed"));
    }
  }
  void receive(MutableByteSpan buffer, std::function<void(NetworkResult<Received>)> done) override {
    SEALANE_CHECK(!socket_->done);
    socket_->buffer = buffer;
    socket_->done = std::move(done);
    state_->pump_receive(*socket_);
  }
  NetworkResult<void> send(const Address& to, ByteSpan datagram) override {
    const auto target = parse_address(to);
    if (!target || target->scheme != "udp" || !state_->hosts.contains(target->host)) {
      return network_error(NetworkErrorCode::kUnreachable, "no host at " + to.text);
    }
    if (datagram.size() > SimulatedNetwork::kMaxDatagram) {
      return network_error(NetworkErrorCode::kUnreachable, "larger than a datagram can be");
    }
    ++state_->counters.datagrams_sent;
    const LinkOptions link = state_->link(socket_->host, target->host);
    if (state_->chance(link.loss)) {
      ++state_->counters.datagrams_lost;
      return success();
    }
    int copies = 1;
    if (state_->chance(link.duplication)) {
      ++state_->counters.datagrams_duplicated;
      copies = 2;
    }
    for (; copies > 0; --copies) {
      auto delay = state_->delay(link);
      if (state_->chance(link.reordering)) {
        delay += std::chrono::nanoseconds(
            state_->below(static_cast<std::uint64_t>(10 * link.delay_max.count())));
      }
      state_->loop.at(state_->loop.steady_now() + delay,
                      [state = state_, host = socket_->host, from = socket_->local, to,
                       copy = to_bytes(datagram)] { state->deliver(host, from, to, copy); });
    }
    return success();
  }
  Address local() const override { return socket_->local; }

 private:
  std::shared_ptr<State> state_;
  std::shared_ptr<SocketState> socket_;
};

class HostNetwork final : public Network {
 public:
  HostNetwork(std::shared_ptr<State> state, std::string name)
      : state_(std::move(state)), name_(std::move(name)) {}

  void connect(const Address& to, SteadyTime deadline,
               std::function<void(NetworkResult<std::unique_ptr<Connection>>)> done) override {
    const auto target = parse_address(to);
    const std::string host = is_local(to) ? name_ : target ? target->host : "";
    if (!state_->hosts.contains(host) || (!is_local(to) && target->scheme != "tcp")) {
      state_->complete<std::unique_ptr<Connection>>(
          done, network_error(NetworkErrorCode::kUnreachable, "no host at " + to.text));
      return;
    }
    // There and back again: asked now, answered after a round trip.
    const LinkOptions link = state_->link(name_, host);
    const SteadyTime answer = state_->loop.steady_now() + state_->delay(link) + state_->delay(link);
    auto shared = std::make_shared<decltype(done)>(std::move(done));
    state_->loop.at(std::min(answer, deadline),
                    [state = state_, from = name_, host, to, key = key(to), deadline,
                     in_time = answer <= deadline, shared] {
                      if (in_time && !state->partitioned(from, host)) {
                        finish_connect(state, from, host, to, key, *shared);
                        return;
                      }
                      state->loop.at(deadline, [state, shared] {
                        state->complete<std::unique_ptr<Connection>>(
                            *shared, network_error(NetworkErrorCode::kTimedOut, "no answer"));
                      });
                    });
  }

  NetworkResult<std::unique_ptr<Listener>> listen(const Address& at) override {
    SEALANE_TRY(auto local, claim(at, "tcp"));
    auto listener = std::make_shared<ListenerState>();
    listener->key = key(local);
    listener->local = local;
    listener->host = name_;
    if (!state_->listeners.emplace(listener->key, listener).second) {
      return network_error(NetworkErrorCode::kAddressInUse, local.text + " is in use");
    }
    return std::make_unique<SimulatedListener>(state_, listener);
  }

  NetworkResult<std::unique_ptr<DatagramSocket>> bind(const Address& at) override {
    SEALANE_TRY(auto local, claim(at, "udp"));
    auto socket = std::make_shared<SocketState>();
    socket->host = name_;
    socket->local = local;
    if (!state_->sockets.emplace(local.text, socket).second) {
      return network_error(NetworkErrorCode::kAddressInUse, local.text + " is in use");
    }
    return std::make_unique<SimulatedSocket>(state_, socket);
  }

 private:
  static bool is_local(const Address& address) { return address.text.starts_with("unix:"); }
  std::string key(const Address& address) const {
    return is_local(address) ? name_ + "|" + address.text : address.text;
  }

  // The address with its port chosen, if this host may have it.
  NetworkResult<Address> claim(const Address& at, std::string_view scheme) {
    if (is_local(at) && scheme == "tcp") return at;
    const auto wanted = parse_address(at);
    if (!wanted || wanted->scheme != scheme || wanted->host != name_) {
      return network_error(NetworkErrorCode::kUnreachable,
                           at.text + " is not an address of " + name_);
    }
    if (wanted->port != 0) return at;
    return Address{std::string(scheme) + ":" + name_ + ":" + std::to_string(state_->next_port++)};
  }

  static void finish_connect(
      const std::shared_ptr<State>& state, const std::string& from, const std::string& host,
      const Address& to, const std::string& key,
      std::function<void(NetworkResult<std::unique_ptr<Connection>>)>& done) {
    const auto found = state->listeners.find(key);
    const auto listener = found == state->listeners.end() ? nullptr : found->second.lock();
    if (!listener || listener->backlog.size() >= SimulatedNetwork::kBacklog) {
      state->complete<std::unique_ptr<Connection>>(
          done, network_error(NetworkErrorCode::kRefused, "nobody listens at " + to.text));
      return;
    }
    auto ours = std::make_shared<End>();
    auto theirs = std::make_shared<End>();
    ours->host = theirs->remote_host = from;
    theirs->host = ours->remote_host = host;
    ours->remote = to;
    theirs->remote =
        is_local(to) ? to : Address{"tcp:" + from + ":" + std::to_string(state->next_port++)};
    ours->other = theirs;
    theirs->other = ours;
    state->ends.push_back(ours);
    state->ends.push_back(theirs);
    state->complete<std::unique_ptr<Connection>>(
        done, std::make_unique<SimulatedConnection>(state, std::move(ours)));
    listener->backlog.push_back({std::move(theirs)});
    SimulatedListener::pump(state, *listener);
  }

  std::shared_ptr<State> state_;
  std::string name_;
};

}  // namespace

SimulatedNetwork::SimulatedNetwork(EventLoop& loop, std::uint64_t seed)
    : state_(std::make_shared<State>(loop, seed)) {}
SimulatedNetwork::~SimulatedNetwork() = default;

Network& SimulatedNetwork::host(const std::string& name) {
  auto& network = hosts_[name];
  if (!network) {
    state_->hosts.insert(name);
    network = std::make_unique<HostNetwork>(state_, name);
  }
  return *network;
}

void SimulatedNetwork::set_link(const std::string& a, const std::string& b, LinkOptions options) {
  SEALANE_CHECK(options.max_segment > 0 && options.delay_min <= options.delay_max);
  state_->links[host_pair(a, b)] = options;
}

void SimulatedNetwork::partition(const std::string& a, const std::string& b) {
  state_->partitions.insert(host_pair(a, b));
}

void SimulatedNetwork::heal(const std::string& a, const std::string& b) {
  const HostPair pair = host_pair(a, b);
  state_->partitions.erase(pair);
  const auto [first, last] = state_->held.equal_range(pair);
  for (auto held = first; held != last; ++held) state_->loop.post(std::move(held->second));
  state_->held.erase(first, last);
}

void SimulatedNetwork::cut(const std::string& a, const std::string& b) {
  const HostPair pair = host_pair(a, b);
  std::erase_if(state_->ends, [](const auto& end) { return end.expired(); });
  for (const auto& weak : state_->ends) {
    const auto end = weak.lock();
    if (end && host_pair(end->host, end->remote_host) == pair) state_->reset(*end);
  }
}

const SimulatedNetwork::Counters& SimulatedNetwork::counters() const { return state_->counters; }
std::uint64_t SimulatedNetwork::trace() const { return state_->trace; }

}  // namespace sealane::testing
