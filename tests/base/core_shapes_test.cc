// Goal: the three shapes of base/core.h fit real protocols and one way of driving them. Method: the
// smallest core of each shape that still has output limits, deadlines and events, driven by one
// generic driver over the simulated network.
#include <gtest/gtest.h>

#include <cctype>
#include <deque>
#include <string>
#include <variant>
#include <vector>

#include "base/byte_reader.h"
#include "base/core.h"
#include "tests/support/simulated_network.h"

namespace sealane {
namespace {
using namespace std::chrono_literals;
using testing::EventLoop;
using testing::SimulatedNetwork;

struct Echoed {
  std::string text;
};
struct Idle {};  // nothing came for a while
struct Ended {};
using EchoEvent = std::variant<Echoed, Idle, Ended>;

// What the three cores share: their events and the deadline for the next input.
class EchoBase {
 public:
  using Event = EchoEvent;
  static constexpr std::chrono::nanoseconds kIdle = 30s;

  std::optional<Event> next_event() {
    if (events_.empty()) return std::nullopt;
    Event event = std::move(events_.front());
    events_.pop_front();
    return event;
  }
  std::optional<SteadyTime> deadline() const { return deadline_; }
  void on_deadline(SteadyTime now) {
    if (!deadline_ || now < *deadline_) return;
    deadline_.reset();
    events_.emplace_back(Idle{});
  }

 protected:
  void heard(SteadyTime now) { deadline_ = now + kIdle; }
  void ended() {
    deadline_.reset();
    events_.emplace_back(Ended{});
  }
  std::string echo(ByteSpan bytes) {
    std::string text = to_text(bytes);
    events_.emplace_back(Echoed{text});
    for (char& c : text) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    return text;
  }

 private:
  std::deque<Event> events_;
  std::optional<SteadyTime> deadline_;
};

// Lines in, the same lines in capitals out. Stops taking input while much output waits.
class LineEcho : public EchoBase {
 public:
  static constexpr std::size_t kMaxOutput = 64;
  std::size_t receive(ByteSpan bytes, SteadyTime now) {
    heard(now);
    std::size_t taken = 0;
    while (taken < bytes.size() && wants_input()) {
      line_.push_back(bytes[taken++]);
      if (line_.back() != std::byte{'\n'}) continue;
      const std::string answer = echo(line_);
      output_.insert(output_.end(), as_bytes(answer).begin(), as_bytes(answer).end());
      line_.clear();
    }
    return taken;
  }
  void on_end(SteadyTime) { ended(); }
  ByteSpan next_output() const { return output_; }
  void output_sent(std::size_t size) {
    output_.erase(output_.begin(), output_.begin() + static_cast<std::ptrdiff_t>(size));
  }
  bool wants_input() const { return output_.size() < kMaxOutput; }

 private:
  Bytes line_;
  Bytes output_;
};

class DatagramEcho : public EchoBase {
 public:
  using Source = Address;
  void receive(const Address& from, ByteSpan datagram, SteadyTime now) {
    heard(now);
    output_.emplace_back(from, to_bytes(echo(datagram)));
  }
  std::optional<std::pair<Address, ByteSpan>> next_output() const {
    if (output_.empty()) return std::nullopt;
    return std::pair<Address, ByteSpan>(output_.front());
  }
  void output_sent() { output_.pop_front(); }
  void output_failed(OutputFailure) { output_.pop_front(); }
  bool wants_input() const { return output_.empty(); }

 private:
  std::deque<std::pair<Address, Bytes>> output_;
};

class MessageEcho : public EchoBase {
 public:
  void receive(ByteSpan message, SteadyTime now) {
    heard(now);
    output_.push_back(to_bytes(echo(message)));
  }
  void on_end(SteadyTime) { ended(); }
  std::optional<Bytes> next_output() {
    if (output_.empty()) return std::nullopt;
    Bytes out = std::move(output_.front());
    output_.pop_front();
    return out;
  }
  bool wants_input() const { return output_.empty(); }

 private:
  std::deque<Bytes> output_;
};

static_assert(StreamCore<LineEcho> && !DatagramCore<LineEcho> && !MessageCore<LineEcho>);
static_assert(DatagramCore<DatagramEcho> && !StreamCore<DatagramEcho> &&
              !MessageCore<DatagramEcho>);
static_assert(MessageCore<MessageEcho> && !StreamCore<MessageEcho> && !DatagramCore<MessageEcho>);
static_assert(!Core<EchoBase>, "a core says when it wants input");

// A transport that keeps messages apart: a length and the message, over a connection.
class MessageTransport {
 public:
  explicit MessageTransport(std::unique_ptr<Connection> connection)
      : connection_(std::move(connection)) {}
  void receive(std::function<void(std::optional<Bytes>)> done) {
    ByteReader reader(pending_);
    if (const auto message = reader.u32_prefixed(1024)) {
      Bytes copy = to_bytes(*message);
      pending_ = to_bytes(reader.rest());
      done(std::move(copy));
      return;
    }
    connection_->read(buffer_, [this, done = std::move(done)](auto result) {
      if (!result.has_value()) return done(std::nullopt);
      pending_.insert(pending_.end(), buffer_.begin(),
                      buffer_.begin() + static_cast<std::ptrdiff_t>(result.value()));
      receive(done);
    });
  }
  void send(ByteSpan message, std::function<void()> done) {
    out_ = ByteWriter().u32_prefixed(message).take();
    connection_->write(out_, [done = std::move(done)](auto) { done(); });
  }
  void shutdown() { connection_->shutdown_write(); }

 private:
  std::unique_ptr<Connection> connection_;
  ByteArray<100> buffer_{};
  Bytes pending_;
  Bytes out_;
};

template <class C>
struct TransportOf;
template <StreamCore C>
struct TransportOf<C> {
  using Type = std::unique_ptr<Connection>;
};
template <DatagramCore C>
struct TransportOf<C> {
  using Type = std::unique_ptr<DatagramSocket>;
};
template <MessageCore C>
struct TransportOf<C> {
  using Type = std::unique_ptr<MessageTransport>;
};

// Drives a core of any shape: drains events and output after every input, waits for its deadline,
// and reads only while it wants input. The order of these steps is the same for all; only how bytes
// come and go differs.
template <Core C>
class Driver {
 public:
  using Transport = typename TransportOf<C>::Type;
  Driver(EventLoop& loop, Transport transport) : loop_(loop), transport_(std::move(transport)) {
    step();
  }

  std::vector<typename C::Event> events;
  C core;

 private:
  void step() {
    while (auto event = core.next_event()) events.push_back(std::move(*event));
    drain_output();
    if (!reading_ && !ended_ && core.wants_input()) read();
    if (core.deadline() != armed_) {
      armed_ = core.deadline();
      if (armed_) loop_.at(*armed_, [this] { on_timer(); });
    }
  }
  void on_timer() {
    if (!armed_ || loop_.steady_now() < *armed_) return;  // it was moved
    core.on_deadline(loop_.steady_now());
    step();
  }

  void drain_output() {
    if constexpr (StreamCore<C>) {
      if (writing_ || core.next_output().empty()) return;
      writing_ = true;
      out_ = to_bytes(core.next_output());
      core.output_sent(out_.size());
      transport_->write(out_, [this](auto) { wrote(); });
    } else if constexpr (MessageCore<C>) {
      if (writing_) return;
      const auto message = core.next_output();
      if (!message) return;
      writing_ = true;
      transport_->send(*message, [this] { wrote(); });
    } else {
      while (auto datagram = core.next_output()) {
        EXPECT_TRUE(transport_->send(datagram->first, datagram->second).has_value());
        core.output_sent();
      }
    }
  }
  void wrote() {
    writing_ = false;
    step();
  }

  void read() {
    if constexpr (StreamCore<C>) {
      if (!rest_.empty()) {  // offered before, not taken then
        const std::size_t taken = core.receive(rest_, loop_.steady_now());
        rest_.erase(rest_.begin(), rest_.begin() + static_cast<std::ptrdiff_t>(taken));
        return step();
      }
      reading_ = true;
      transport_->read(buffer_, [this](auto result) {
        reading_ = false;
        if (!result.has_value()) return end();
        rest_ = to_bytes(ByteSpan(buffer_).first(result.value()));
        step();
      });
    } else if constexpr (MessageCore<C>) {
      reading_ = true;
      transport_->receive([this](std::optional<Bytes> message) {
        reading_ = false;
        if (!message) return end();
        core.receive(*message, loop_.steady_now());
        step();
      });
    } else {
      reading_ = true;
      transport_->receive(buffer_, [this](auto result) {
        reading_ = false;
        if (!result.has_value()) return;
        core.receive(result.value().from, ByteSpan(buffer_).first(result.value().size),
                     loop_.steady_now());
        step();
      });
    }
  }
  void end() {
    ended_ = true;
    if constexpr (!DatagramCore<C>) core.on_end(loop_.steady_now());
    step();
  }

  EventLoop& loop_;
  Transport transport_;
  ByteArray<512> buffer_{};
  Bytes rest_;
  Bytes out_;
  bool reading_ = false;
  bool writing_ = false;
  bool ended_ = false;
  std::optional<SteadyTime> armed_;
};

std::string kinds(const std::vector<EchoEvent>& events) {
  std::string out;
  for (const EchoEvent& event : events) out += "eiE"[event.index()];
  return out;
}

struct Pair {
  explicit Pair(EventLoop& loop, std::uint64_t seed) : network(loop, seed) {
    network.host("client");
    network.set_link("client", "server", {.max_segment = 7});
    auto listener = network.host("server").listen({"tcp:server:1"});
    listener.value()->accept([&](auto result) { server = std::move(result.value()); });
    network.host("client").connect({"tcp:server:1"}, SteadyTime{10s},
                                   [&](auto result) { client = std::move(result.value()); });
    while (!client || !server) EXPECT_TRUE(loop.run_one());
  }
  SimulatedNetwork network;
  std::unique_ptr<Connection> client;
  std::unique_ptr<Connection> server;
};

TEST(CoreShapes, AStreamCoreAnswersInAnyCutsAndIsNotFloodedByItsPeer) {
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    EventLoop loop;
    Pair pair(loop, seed);
    Driver<LineEcho> driver(loop, std::move(pair.server));
    std::string request;
    std::string expected;
    for (int i = 0; i < 500; ++i) {
      request += "line " + std::to_string(i) + "\n";
      expected += "LINE " + std::to_string(i) + "\n";
    }
    pair.client->write(as_bytes(request), [](auto) {});
    loop.run_until(loop.steady_now() + 1s);
    EXPECT_LT(driver.core.next_output().size(), LineEcho::kMaxOutput + 16);
    std::string answer;
    ByteArray<300> buffer{};
    std::function<void()> read = [&] {
      pair.client->read(buffer, [&](auto result) {
        if (!result.has_value()) return;
        answer += as_text(ByteSpan(buffer).first(result.value()));
        read();
      });
    };
    read();
    pair.client->shutdown_write();
    loop.run();
    EXPECT_EQ(answer, expected) << "seed " << seed;
    EXPECT_EQ(kinds(driver.events), std::string(500, 'e') + "E") << "seed " << seed;
  }
}

TEST(CoreShapes, TheDeadlineMovesWithEachInputAndFiresOnce) {
  EventLoop loop;
  Pair pair(loop, 1);
  Driver<LineEcho> driver(loop, std::move(pair.server));
  EXPECT_FALSE(driver.core.deadline());
  for (int i = 0; i < 3; ++i) {
    pair.client->write(as_bytes("x\n"), [](auto) {});
    loop.run_until(loop.steady_now() + 20s);
  }
  EXPECT_EQ(kinds(driver.events), "eee");
  loop.run();
  EXPECT_EQ(kinds(driver.events), "eeei");
}

TEST(CoreShapes, ADatagramCoreAnswersWhomItHeard) {
  EventLoop loop;
  SimulatedNetwork network(loop, 1);
  network.host("client");
  auto bound = network.host("server").bind({"udp:server:1"});
  Driver<DatagramEcho> driver(loop, std::move(bound.value()));
  std::vector<std::string> answers(3);
  std::vector<std::unique_ptr<DatagramSocket>> clients;
  std::vector<ByteArray<64>> buffers(3);
  for (std::size_t i = 0; i < 3; ++i) {
    clients.push_back(std::move(network.host("client").bind({"udp:client:0"}).value()));
    clients[i]->receive(buffers[i], [&, i](auto result) {
      answers[i] = as_text(ByteSpan(buffers[i]).first(result.value().size));
    });
    const std::string text = "hello " + std::to_string(i);
    ASSERT_TRUE(clients[i]->send({"udp:server:1"}, as_bytes(text)).has_value());
  }
  loop.run();
  EXPECT_EQ(answers, (std::vector<std::string>{"HELLO 0", "HELLO 1", "HELLO 2"}));
  EXPECT_EQ(kinds(driver.events), "eeei");
}

TEST(CoreShapes, AMessageCoreGetsWholeMessagesAndTheEnd) {
  EventLoop loop;
  Pair pair(loop, 1);
  Driver<MessageEcho> driver(loop, std::make_unique<MessageTransport>(std::move(pair.server)));
  MessageTransport client(std::move(pair.client));
  std::vector<std::string> answers;
  std::function<void()> receive = [&] {
    client.receive([&](std::optional<Bytes> message) {
      if (!message) return;
      answers.push_back(to_text(*message));
      receive();
    });
  };
  receive();
  const std::vector<std::string> requests = {"one", "", std::string(300, 'a')};
  std::function<void(std::size_t)> send = [&](std::size_t i) {
    if (i == requests.size()) return client.shutdown();
    client.send(as_bytes(requests[i]), [&, i] { send(i + 1); });
  };
  send(0);
  loop.run();
  EXPECT_EQ(answers, (std::vector<std::string>{"ONE", "", std::string(300, 'A')}));
  EXPECT_EQ(kinds(driver.events), "eeeE");
}

}  // namespace
}  // namespace sealane
