// Goal: a core of stream shape behaves over the driver as it does alone, whatever the network does,
// and nothing a peer does holds the driver. Method: an echo core with a bounded output, first over
// the simulated network (seeded cuts, stalls, virtual time), then over real sockets, where the peer
// is a plain socket of the test.
#include "net/stream_driver.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cctype>
#include <condition_variable>
#include <deque>
#include <future>
#include <random>
#include <variant>

#include "net/real_network.h"
#include "net/sockets.h"
#include "tests/support/stream_loop.h"

namespace sealane::net {
namespace {

using namespace std::chrono_literals;
using testing::EventLoop;
using testing::SimulatedNetwork;
using testing::SimulatedStreamLoop;

// Letters in, capitals out, until the peer's end. Takes no input while much output waits.
class Echo {
 public:
  struct Ended {};
  struct Silent {};  // nothing came for kIdle
  using Event = std::variant<Ended, Silent>;
  static constexpr std::size_t kMaxOutput = 1000;
  static constexpr auto kIdle = 30s;

  std::size_t receive(ByteSpan bytes, SteadyTime now) {
    deadline_ = now + kIdle;
    std::size_t taken = 0;
    for (; taken < bytes.size() && wants_input(); ++taken) {
      output_.push_back(
          static_cast<std::byte>(std::toupper(std::to_integer<unsigned char>(bytes[taken]))));
    }
    return taken;
  }
  void on_end(SteadyTime) {
    deadline_.reset();
    event_ = Ended{};
  }
  ByteSpan next_output() const { return output_; }
  void output_sent(std::size_t size) {
    output_.erase(output_.begin(), output_.begin() + static_cast<std::ptrdiff_t>(size));
  }
  bool wants_input() const { return output_.size() < kMaxOutput; }
  std::optional<Event> next_event() { return std::exchange(event_, std::nullopt); }
  std::optional<SteadyTime> deadline() const { return deadline_; }
  void on_deadline(SteadyTime) {
    deadline_.reset();
    event_ = Silent{};
  }

 private:
  Bytes output_;
  std::optional<Event> event_;
  std::optional<SteadyTime> deadline_;
};
static_assert(StreamCore<Echo>);

// What became of a connection; the test waits for it. Thread-safe.
class Fate {
 public:
  void closed(const NetworkError& why) {
    const std::lock_guard lock(mutex_);
    why_ = why.code;
    changed_.notify_all();
  }
  void note(char what) {
    const std::lock_guard lock(mutex_);
    notes_ += what;
    changed_.notify_all();
  }
  std::optional<NetworkErrorCode> code() const {
    const std::lock_guard lock(mutex_);
    return why_;
  }
  std::string notes() const {
    const std::lock_guard lock(mutex_);
    return notes_;
  }
  NetworkErrorCode wait() {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, 60s, [this] { return why_.has_value(); }));
    return why_.value_or(NetworkErrorCode::kTimedOut);
  }
  bool wait_for_notes(const std::string& notes) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, 60s, [&] { return notes_ == notes; });
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<NetworkErrorCode> why_;
  std::string notes_;
};

class EchoHandler final : public CoreHandler<Echo> {
 public:
  explicit EchoHandler(std::shared_ptr<Fate> fate) : fate_(std::move(fate)) {}
  void on_event(Echo::Event event, SteadyTime) override {
    if (std::holds_alternative<Echo::Ended>(event)) {
      fate_->note('e');
      connection().finish_output();
    } else {
      fate_->note('s');
      connection().close();
    }
  }
  void on_closed(const NetworkError& why, SteadyTime) override { fate_->closed(why); }

 private:
  std::shared_ptr<Fate> fate_;
};

// Sends a text, half-closes, keeps what comes back.
class Talker final : public StreamHandler {
 public:
  Talker(std::string text, std::shared_ptr<Fate> fate, std::string& heard, bool finish = true)
      : text_(std::move(text)), fate_(std::move(fate)), heard_(heard), finish_(finish) {}
  std::size_t receive(ByteSpan bytes, SteadyTime) override {
    heard_ += as_text(bytes);
    return bytes.size();
  }
  void on_end(SteadyTime) override { fate_->note('e'); }
  ByteSpan next_output() override { return as_bytes(text_).subspan(sent_); }
  void output_sent(std::size_t size) override { sent_ += size; }
  std::optional<SteadyTime> deadline() const override { return std::nullopt; }
  void on_deadline(SteadyTime) override {}
  bool wants_input() const override { return true; }
  void on_open(StreamConnection& connection, SteadyTime) override {
    if (finish_) connection.finish_output();
  }
  void after_step(SteadyTime) override {}
  void on_closed(const NetworkError& why, SteadyTime) override { fate_->closed(why); }

 private:
  const std::string text_;
  std::size_t sent_ = 0;
  std::shared_ptr<Fate> fate_;
  std::string& heard_;
  bool finish_;
};

std::string letters(std::size_t size, std::uint64_t seed) {
  std::mt19937_64 engine(seed);
  std::string out(size, 'a');
  for (char& c : out) c = static_cast<char>('a' + engine() % 26);
  return out;
}
std::string capitals(std::string text) {
  for (char& c : text) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return text;
}

// ---- simulated ----------------------------------------------------------------------------------

struct Simulation {
  explicit Simulation(std::uint64_t seed, StreamListenOptions options = {})
      : network(loop, seed),
        stream_loop(loop),
        server(stream_loop, network.host("server")),
        client(stream_loop, network.host("client")) {
    network.set_link("client", "server", {.max_segment = 1 + seed * 997 % 1460});
    listener = std::move(
        server
            .listen({"tcp:server:1"}, std::move(options),
                    [this](const Address&) { return std::make_unique<EchoHandler>(server_fate); })
            .value());
  }
  StreamHandle talk(const std::string& text, bool finish = true, StreamOptions options = {}) {
    return client.dial({"tcp:server:1"}, loop.steady_now() + 10s, std::move(options),
                       std::make_unique<Talker>(text, client_fate, heard, finish));
  }
  EventLoop loop;
  SimulatedNetwork network;
  SimulatedStreamLoop stream_loop;
  std::shared_ptr<Fate> server_fate = std::make_shared<Fate>();
  std::shared_ptr<Fate> client_fate = std::make_shared<Fate>();
  std::string heard;
  StreamDriver server;
  StreamDriver client;
  std::unique_ptr<StreamListener> listener;
};

TEST(StreamDriver, BytesInAnyCutsAndBothEndsInOrder) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    Simulation sim(seed);
    const std::string text = letters(seed * 997, seed);
    sim.talk(text);
    sim.loop.run();
    EXPECT_EQ(sim.heard, capitals(text)) << "seed " << seed;
    EXPECT_EQ(sim.server_fate->notes(), "e") << "seed " << seed;
    EXPECT_EQ(sim.client_fate->notes(), "e") << "seed " << seed;
    EXPECT_EQ(sim.server_fate->code(), NetworkErrorCode::kClosed);
    EXPECT_EQ(sim.client_fate->code(), NetworkErrorCode::kClosed);
  }
}

// Keeps what it gets where it was read to, in rooms of its own; now and then it has none.
class Keeper final : public StreamHandler {
 public:
  explicit Keeper(std::shared_ptr<Fate> fate) : fate_(std::move(fate)) {}
  std::size_t receive(ByteSpan bytes, SteadyTime) override {
    const bool in_room = !rooms_.empty() && bytes.data() >= rooms_.back().data() &&
                         bytes.data() < rooms_.back().data() + rooms_.back().size();
    EXPECT_EQ(in_room, given_);
    const std::size_t taken = (bytes.size() + 1) / 2;  // the rest is offered again, where it lies
    text_ += as_text(bytes.first(taken));
    return taken;
  }
  void on_end(SteadyTime) override { fate_->note(text_ == capitals(text_) ? 'e' : 'x'); }
  ByteSpan next_output() override { return {}; }
  void output_sent(std::size_t) override {}
  std::optional<SteadyTime> deadline() const override { return std::nullopt; }
  void on_deadline(SteadyTime) override {}
  bool wants_input() const override { return true; }
  MutableByteSpan input_room() override {
    given_ = ++asked_ % 3 != 0;
    if (!given_) return {};
    rooms_.emplace_back(asked_ % 2 == 0 ? 7 : 100);
    return rooms_.back();
  }
  void on_open(StreamConnection& connection, SteadyTime) override { connection.finish_output(); }
  void after_step(SteadyTime) override {}
  void on_closed(const NetworkError& why, SteadyTime) override {
    fate_->note(static_cast<char>('0' + text_.size() % 10));
    fate_->closed(why);
  }

 private:
  std::shared_ptr<Fate> fate_;
  std::deque<Bytes> rooms_;
  bool given_ = false;
  unsigned asked_ = 0;
  std::string text_;
};

TEST(StreamDriver, AHandlerMayHaveItsInputReadToWhereItKeepsIt) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    Simulation sim(seed);
    auto fate = std::make_shared<Fate>();
    const auto listener = sim.server.listen(
        {"tcp:server:2"}, {}, [&fate](const Address&) { return std::make_unique<Keeper>(fate); });
    sim.client.dial(
        {"tcp:server:2"}, sim.loop.steady_now() + 10s, {},
        std::make_unique<Talker>(capitals(letters(seed * 997, seed)), sim.client_fate, sim.heard));
    sim.loop.run();
    EXPECT_EQ(fate->notes(), "e" + std::to_string(seed * 997 % 10)) << seed;
    EXPECT_EQ(fate->code(), NetworkErrorCode::kClosed) << seed;
  }
}

// Offers its text in many spans, of all sizes.
class Scatterer final : public StreamHandler {
 public:
  explicit Scatterer(std::string text) : text_(std::move(text)) {}
  std::size_t receive(ByteSpan bytes, SteadyTime) override { return bytes.size(); }
  void on_end(SteadyTime) override {}
  ByteSpan next_output() override { return as_bytes(text_).subspan(sent_); }
  std::span<const ByteSpan> next_outputs() override {
    spans_.clear();
    ByteSpan rest = next_output();
    for (std::size_t size = 1; !rest.empty() && spans_.size() < 1000; size = size * 7 % 10'007) {
      spans_.push_back(rest.first(std::min(size, rest.size())));
      rest = rest.subspan(spans_.back().size());
    }
    return spans_;
  }
  void output_sent(std::size_t size) override { sent_ += size; }
  std::optional<SteadyTime> deadline() const override { return std::nullopt; }
  void on_deadline(SteadyTime) override {}
  bool wants_input() const override { return true; }
  void on_open(StreamConnection& connection, SteadyTime) override { connection.finish_output(); }
  void after_step(SteadyTime) override {}
  void on_closed(const NetworkError&, SteadyTime) override {}

 private:
  const std::string text_;
  std::size_t sent_ = 0;
  std::vector<ByteSpan> spans_;
};

TEST(StreamDriver, OutputInManyPlacesArrivesAsOne) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    Simulation sim(seed);
    const std::string text = letters(seed * 9973, seed);
    const auto listener = sim.server.listen({"tcp:server:2"}, {}, [&text](const Address&) {
      return std::make_unique<Scatterer>(text);
    });
    sim.client.dial({"tcp:server:2"}, sim.loop.steady_now() + 10s, {},
                    std::make_unique<Talker>("", sim.client_fate, sim.heard));
    sim.loop.run();
    EXPECT_EQ(sim.heard, text) << seed;
  }
}

TEST(StreamDriver, ACutIsToldApartFromAnEnd) {
  int cuts = 0;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    Simulation sim(seed);
    const std::string text = letters(500'000, seed);
    sim.talk(text);
    sim.loop.run_until(sim.loop.steady_now() + std::chrono::milliseconds(6 + seed % 10));
    if (sim.server_fate->notes() == "e") continue;  // all of it had arrived
    ++cuts;
    sim.network.cut("client", "server");
    sim.loop.run();
    ASSERT_TRUE(sim.client_fate->code()) << "seed " << seed;
    EXPECT_EQ(sim.client_fate->code(), NetworkErrorCode::kReset) << "seed " << seed;
    EXPECT_EQ(sim.server_fate->code(), NetworkErrorCode::kReset) << "seed " << seed;
    EXPECT_EQ(sim.server_fate->notes(), "") << "no end was told, seed " << seed;
    EXPECT_TRUE(capitals(text).starts_with(sim.heard)) << "seed " << seed;
  }
  EXPECT_GT(cuts, 8);
}

TEST(StreamDriver, TheCoresDeadlineMovesWithItsInputAndEndsASilentPeer) {
  Simulation sim(3);
  const StreamHandle handle = sim.talk("one", false);
  sim.loop.run_until(SteadyTime{} + 20s);
  EXPECT_EQ(sim.heard, "ONE");
  sim.loop.run_until(SteadyTime{} + 29s);
  EXPECT_EQ(sim.server_fate->notes(), "");
  sim.loop.run();
  EXPECT_EQ(sim.server_fate->notes(), "s");
  EXPECT_EQ(sim.server_fate->code(), NetworkErrorCode::kClosed);
  EXPECT_EQ(sim.client_fate->notes(), "e") << "close() says FIN";
  EXPECT_LT(sim.loop.steady_now(), SteadyTime{} + 40s) << "lingering is bounded";
  EXPECT_FALSE(sim.client_fate->code()) << "its own direction is open";
  handle.abort();
  sim.loop.run();
  EXPECT_EQ(sim.client_fate->code(), NetworkErrorCode::kCancelled);
}

// Counts the timers that come due.
class CountingLoop final : public StreamLoop {
 public:
  explicit CountingLoop(EventLoop& loop) : inner_(loop) {}
  void post(std::function<void()> task) override { inner_.post(std::move(task)); }
  void run(const std::function<void()>& task) override { inner_.run(task); }
  SteadyTime now() const override { return inner_.now(); }
  std::unique_ptr<Timer> make_timer() override {
    return std::make_unique<CountingTimer>(inner_.make_timer(), count);
  }
  int count = 0;

 private:
  class CountingTimer final : public Timer {
   public:
    CountingTimer(std::unique_ptr<Timer> inner, int& count)
        : inner_(std::move(inner)), count_(count) {}
    void at(SteadyTime when, std::function<void()> due) override {
      inner_->at(when, [this, due = std::move(due)] {
        ++count_;
        due();
      });
    }
    void cancel() override { inner_->cancel(); }

   private:
    std::unique_ptr<Timer> inner_;
    int& count_;
  };
  SimulatedStreamLoop inner_;
};

TEST(StreamDriver, AConnectionThatIsAliveWakesNobody) {
  EventLoop loop;
  SimulatedNetwork network(loop, 1);
  CountingLoop counting(loop);
  StreamDriver server(counting, network.host("server"));
  const auto fate = std::make_shared<Fate>();
  const auto listener =
      std::move(server
                    .listen({"tcp:server:1"}, {},
                            [&](const Address&) { return std::make_unique<EchoHandler>(fate); })
                    .value());
  std::unique_ptr<Connection> client;
  network.host("client").connect({"tcp:server:1"}, SteadyTime{10s},
                                 [&](auto made) { client = std::move(made.value()); });
  loop.run_until(SteadyTime{} + 1s);
  const Bytes word = to_bytes(as_bytes(std::string_view("a")));
  for (int i = 0; i < 20; ++i) {
    client->write(word, [](auto) {});
    loop.run_until(loop.steady_now() + 25s);
  }
  EXPECT_EQ(counting.count, 0);
  EXPECT_EQ(fate->notes(), "");
  loop.run_until(loop.steady_now() + 4s);
  EXPECT_EQ(fate->notes(), "") << "not too early";
  loop.run_until(loop.steady_now() + 2s);
  EXPECT_EQ(fate->notes(), "s") << "nor too late";
  EXPECT_EQ(counting.count, 1);
}

TEST(StreamDriver, APeerThatDoesNotReadStopsTheInputNotTheMemory) {
  Simulation sim(5);
  // The client's side of a connection, never read from.
  std::unique_ptr<Connection> mute;
  sim.network.host("client").connect({"tcp:server:1"}, SteadyTime{10s},
                                     [&](auto made) { mute = std::move(made.value()); });
  sim.loop.run_until(SteadyTime{} + 1s);
  const std::string text = letters(1'000'000, 5);
  bool written = false;
  mute->write(as_bytes(text), [&](auto) { written = true; });
  sim.loop.run_until(SteadyTime{} + 20s);
  EXPECT_FALSE(written) << "somebody took a million bytes nobody read the echo of";
}

TEST(StreamDriver, NobodyThereAndTooLate) {
  Simulation sim(1);
  sim.listener.reset();
  sim.talk("x");
  sim.loop.run();
  EXPECT_EQ(sim.client_fate->code(), NetworkErrorCode::kRefused);
  sim.network.partition("client", "server");
  sim.client_fate = std::make_shared<Fate>();
  sim.talk("x");
  sim.loop.run();
  EXPECT_EQ(sim.client_fate->code(), NetworkErrorCode::kTimedOut);
}

TEST(StreamDriver, CapsCloseWhatComesBeyondAndForgetWhatIsGone) {
  Simulation sim(1, {.stream = {}, .max_connections = 3, .max_per_source = 2});
  std::vector<StreamHandle> held;
  held.push_back(sim.talk("a", false));
  held.push_back(sim.talk("b", false));
  sim.loop.run_until(sim.loop.steady_now() + 1s);
  EXPECT_EQ(sim.listener->counters().accepted, 2u);
  const auto over = std::make_shared<Fate>();
  std::string heard;
  sim.client.dial({"tcp:server:1"}, SteadyTime{10s}, {},
                  std::make_unique<Talker>("c", over, heard));
  sim.loop.run_until(sim.loop.steady_now() + 1s);
  EXPECT_TRUE(over->code()) << "beyond what one source may hold";
  EXPECT_EQ(heard, "");
  EXPECT_EQ(sim.listener->counters().over_limit, 1u);
  held[0].abort();
  sim.loop.run_until(sim.loop.steady_now() + 1s);
  sim.heard.clear();
  sim.talk("d", false);
  sim.loop.run_until(sim.loop.steady_now() + 1s);
  EXPECT_EQ(sim.heard, "D");
  // Another source still gets in, a second one does not: three in all.
  StreamDriver other(sim.stream_loop, sim.network.host("other"));
  std::string others;
  const auto fate = std::make_shared<Fate>();
  for (int i = 0; i < 2; ++i) {
    other.dial({"tcp:server:1"}, SteadyTime{10s}, {},
               std::make_unique<Talker>("e", fate, others, false));
    sim.loop.run_until(sim.loop.steady_now() + 1s);
  }
  EXPECT_EQ(others, "E");
  EXPECT_EQ(sim.listener->counters().over_limit, 2u);
}

TEST(StreamDriver, RatesHoldBothWaysAndChangeLive) {
  Simulation sim(1);
  const auto limit = std::make_shared<RateLimit>(100'000, SteadyTime{});
  StreamOptions options;
  options.send_limit = limit;
  const std::string text = letters(1'064'000, 1);  // the first 64 KiB are the burst
  sim.talk(text, true, options);
  sim.loop.run_until(SteadyTime{} + 4s);
  EXPECT_LT(sim.heard.size(), 65'536u + 4 * 100'000 + 65'536);
  EXPECT_GT(sim.heard.size(), 300'000u);
  limit->set(RateLimit::kUnlimited, sim.loop.steady_now());
  sim.loop.run_until(SteadyTime{} + 7s);
  EXPECT_EQ(sim.heard.size(), text.size());

  options.send_limit.reset();
  options.receive_limit = std::make_shared<RateLimit>(100'000, sim.loop.steady_now());
  sim.heard.clear();
  const SteadyTime start = sim.loop.steady_now();
  sim.talk(text, true, options);
  sim.loop.run();
  EXPECT_EQ(sim.heard, capitals(text));
  EXPECT_GT(sim.loop.steady_now() - start, 9s);
}

TEST(StreamDriver, TheEndOfADriverEndsItsConnections) {
  Simulation sim(1);
  const auto fate = std::make_shared<Fate>();
  std::string heard;
  StreamHandle handle;
  {
    StreamDriver driver(sim.stream_loop, sim.network.host("client"));
    handle = driver.dial({"tcp:server:1"}, SteadyTime{10s}, {},
                         std::make_unique<Talker>("x", fate, heard, false));
    sim.loop.run_until(sim.loop.steady_now() + 1s);
    EXPECT_EQ(heard, "X");
  }
  EXPECT_EQ(fate->code(), NetworkErrorCode::kCancelled);
  handle.post([](StreamHandler&) { FAIL() << "it is gone"; });
  handle.abort();
  sim.loop.run_until(sim.loop.steady_now() + 1s);
}

// ---- real sockets -------------------------------------------------------------------------------

class StreamDriverOver : public ::testing::TestWithParam<const char*> {
 protected:
  StreamDriverOver() : loop_(make_stream_loop(io_)), workers_(3) {
    std::string name = "/tmp/sealane-driver-XXXXXX";
    directory_ = ::mkdtemp(name.data());
    io_.run([this] { network_ = make_network(io_); });
    driver_ = std::make_unique<StreamDriver>(*loop_, *network_, &workers_);
  }
  ~StreamDriverOver() override {
    listener_.reset();
    driver_.reset();
    io_.run([this] { network_.reset(); });
    static_cast<void>(::rmdir(directory_.c_str()));
  }
  void listen(StreamDriver::Factory factory, StreamListenOptions options = {}) {
    const std::string kind = GetParam();
    const Address at{kind == "tcp" ? "tcp:127.0.0.1:0" : "unix:" + directory_ + "/s"};
    listener_ = std::move(driver_->listen(at, std::move(options), std::move(factory)).value());
  }
  void listen_echo(StreamListenOptions options = {}) {
    listen([this](const Address&) { return std::make_unique<EchoHandler>(fate_); },
           std::move(options));
  }
  // A plain blocking socket that is connected to the listener.
  flow::OwnedDescriptor connect() const {
    const Endpoint to = *parse_endpoint(listener_->local());
    flow::OwnedDescriptor out(
        ::socket(to.address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(::connect(out.get(), to.address.get(), to.address.size), 0);
    return out;
  }
  static void send(const flow::OwnedDescriptor& socket, const std::string& text) {
    EXPECT_EQ(::send(socket.get(), text.data(), text.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(text.size()));
  }
  static std::string read(const flow::OwnedDescriptor& socket, std::size_t size) {
    std::string out(size, '\0');
    std::size_t at = 0;
    while (at < size) {
      const ssize_t got = ::recv(socket.get(), out.data() + at, size - at, 0);
      if (got <= 0) break;
      at += static_cast<std::size_t>(got);
    }
    out.resize(at);
    return out;
  }

  std::string directory_;
  IoLoop io_;
  std::unique_ptr<StreamLoop> loop_;
  flow::Workers workers_;
  std::unique_ptr<Network> network_;
  std::unique_ptr<StreamDriver> driver_;
  std::unique_ptr<StreamListener> listener_;
  std::shared_ptr<Fate> fate_ = std::make_shared<Fate>();
};
INSTANTIATE_TEST_SUITE_P(Kinds, StreamDriverOver, ::testing::Values("tcp", "unix"),
                         [](const auto& param) { return std::string(param.param); });

TEST_P(StreamDriverOver, ManyConnectionsAtOnce) {
  listen_echo({.stream = {}, .max_connections = 64, .max_per_source = 64});
  std::vector<std::string> heard(20);
  std::vector<std::shared_ptr<Fate>> fates;
  for (std::size_t i = 0; i < heard.size(); ++i) {
    fates.push_back(std::make_shared<Fate>());
    driver_->dial(listener_->local(), loop_->now() + 60s, {},
                  std::make_unique<Talker>(letters(100'000 + i, i), fates.back(), heard[i]));
  }
  for (std::size_t i = 0; i < heard.size(); ++i) {
    EXPECT_EQ(fates[i]->wait(), NetworkErrorCode::kClosed);
    EXPECT_EQ(heard[i], capitals(letters(100'000 + i, i)));
  }
}

TEST_P(StreamDriverOver, HalfCloseThenTheAnswer) {
  listen_echo();
  const auto socket = connect();
  send(socket, "half");
  ::shutdown(socket.get(), SHUT_WR);
  EXPECT_EQ(read(socket, 100), "HALF");  // and then the end
  EXPECT_EQ(fate_->wait(), NetworkErrorCode::kClosed);
  EXPECT_EQ(fate_->notes(), "e");
}

TEST_P(StreamDriverOver, OutputInManyPlacesArrivesAsOne) {
  const std::string text = letters(8'000'000, 1);
  listen([&text](const Address&) { return std::make_unique<Scatterer>(text); });
  const auto socket = connect();
  EXPECT_TRUE(read(socket, text.size() + 1) == text);
}

TEST_P(StreamDriverOver, AResetIsNoEnd) {
  listen_echo();
  {
    const auto socket = connect();
    send(socket, "abc");
    EXPECT_EQ(read(socket, 1), "A");
    // Closing with unread input, or with this option, resets.
    const linger now{1, 0};
    ::setsockopt(socket.get(), SOL_SOCKET, SO_LINGER, &now, sizeof now);
  }
  EXPECT_EQ(fate_->wait(), NetworkErrorCode::kReset);
  EXPECT_EQ(fate_->notes(), "");
}

// Says a word at once and closes, though the peer has sent what nobody reads.
class Refuser final : public StreamHandler {
 public:
  explicit Refuser(std::shared_ptr<Fate> fate) : fate_(std::move(fate)) {}
  std::size_t receive(ByteSpan bytes, SteadyTime) override {
    text_ = "refused";
    connection_->close();
    return std::min<std::size_t>(bytes.size(), 1);
  }
  void on_end(SteadyTime) override {}
  ByteSpan next_output() override { return as_bytes(text_); }
  void output_sent(std::size_t size) override { text_ = text_.substr(size); }
  std::optional<SteadyTime> deadline() const override { return std::nullopt; }
  void on_deadline(SteadyTime) override {}
  bool wants_input() const override { return true; }
  void on_open(StreamConnection& connection, SteadyTime) override { connection_ = &connection; }
  void after_step(SteadyTime) override {}
  void on_closed(const NetworkError& why, SteadyTime) override { fate_->closed(why); }

 private:
  std::shared_ptr<Fate> fate_;
  StreamConnection* connection_ = nullptr;
  std::string_view text_;
};

// Asks for the end at every step.
class Insister final : public StreamHandler {
 public:
  explicit Insister(std::shared_ptr<Fate> fate) : fate_(std::move(fate)) {}
  std::size_t receive(ByteSpan bytes, SteadyTime) override { return bytes.size(); }
  void on_end(SteadyTime) override {}
  ByteSpan next_output() override { return {}; }
  void output_sent(std::size_t) override {}
  std::optional<SteadyTime> deadline() const override { return std::nullopt; }
  void on_deadline(SteadyTime) override {}
  bool wants_input() const override { return true; }
  void on_open(StreamConnection& connection, SteadyTime) override { connection_ = &connection; }
  void after_step(SteadyTime) override {
    ++steps_;
    connection_->finish_output();
    connection_->close();
  }
  void on_closed(const NetworkError& why, SteadyTime) override {
    EXPECT_LT(steps_, 100);
    fate_->closed(why);
  }

 private:
  std::shared_ptr<Fate> fate_;
  StreamConnection* connection_ = nullptr;
  int steps_ = 0;
};

TEST_P(StreamDriverOver, AskingForTheEndTwiceIsAskingOnce) {
  StreamListenOptions options;
  options.stream.linger = 60s;
  listen([this](const Address&) { return std::make_unique<Insister>(fate_); }, options);
  const auto socket = connect();
  EXPECT_EQ(read(socket, 1), "");
  ::shutdown(socket.get(), SHUT_WR);
  EXPECT_EQ(fate_->wait(), NetworkErrorCode::kClosed);
}

TEST_P(StreamDriverOver, TheLastWordArrivesThoughInputIsLeftUnread) {
  StreamListenOptions options;
  options.stream.linger = 60s;
  listen([this](const Address&) { return std::make_unique<Refuser>(fate_); }, options);
  const auto socket = connect();
  const std::string much = letters(3'000'000, 1);
  send(socket, much);  // all of it is taken: the other side reads and drops it
  EXPECT_EQ(read(socket, 100), "refused");
  ::shutdown(socket.get(), SHUT_WR);
  EXPECT_EQ(fate_->wait(), NetworkErrorCode::kClosed);
}

TEST_P(StreamDriverOver, AcceptingSurvivesALackOfDescriptors) {
#if defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "the sanitizer's check of types needs descriptors itself";
#endif
  listen_echo();
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  const auto socket = connect();
  send(socket, "x");
  EXPECT_EQ(read(socket, 1), "X");
  std::vector<flow::OwnedDescriptor> waiting;
  flow::OwnedDescriptor next(::socket(parse_endpoint(listener_->local())->address.storage.ss_family,
                                      SOCK_STREAM | SOCK_CLOEXEC, 0));
  rlimit none = before;
  none.rlim_cur = static_cast<rlim_t>(next.get());  // no new descriptor fits
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  const Endpoint to = *parse_endpoint(listener_->local());
  ASSERT_EQ(::connect(next.get(), to.address.get(), to.address.size), 0);
  while (listener_->counters().errors < 2) std::this_thread::sleep_for(1ms);
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  send(next, "y");
  EXPECT_EQ(read(next, 1), "Y");
}

TEST_P(StreamDriverOver, OtherThreadsReachAConnectionByItsHandle) {
  listen_echo();
  std::string heard;
  const auto fate = std::make_shared<Fate>();
  const StreamHandle handle = driver_->dial(listener_->local(), loop_->now() + 60s, {},
                                            std::make_unique<Talker>("", fate, heard, false));
  std::promise<void> ran;
  handle.post([&](StreamHandler&) { ran.set_value(); });
  ran.get_future().wait();
  handle.abort();
  EXPECT_EQ(fate->wait(), NetworkErrorCode::kCancelled);
  handle.post([](StreamHandler&) { FAIL() << "it is gone"; });
}

// Every byte is a job that takes its time; the answers come in order all the same.
class Worker final : public StreamHandler {
 public:
  Worker(std::shared_ptr<Fate> fate, std::size_t limit) : fate_(std::move(fate)), limit_(limit) {}
  std::size_t receive(ByteSpan bytes, SteadyTime) override {
    const auto letter = std::to_integer<char>(bytes[0]);
    connection_->run_job([this, letter]() -> std::function<void()> {
      // The earlier, the longer.
      std::this_thread::sleep_for(std::chrono::microseconds(('z' - letter) * 100));
      return [this, letter] { out_ += static_cast<char>(std::toupper(letter)); };
    });
    most_ = std::max(most_, connection_->jobs());
    return 1;
  }
  void on_end(SteadyTime) override { connection_->finish_output(); }
  ByteSpan next_output() override {
    // The end of output is asked for at the peer's; jobs may still add some.
    return as_bytes(out_).subspan(sent_);
  }
  void output_sent(std::size_t size) override { sent_ += size; }
  std::optional<SteadyTime> deadline() const override { return std::nullopt; }
  void on_deadline(SteadyTime) override {}
  bool wants_input() const override { return true; }
  void on_open(StreamConnection& connection, SteadyTime) override { connection_ = &connection; }
  void after_step(SteadyTime) override {}
  void on_closed(const NetworkError& why, SteadyTime) override {
    EXPECT_LE(most_, limit_);
    fate_->closed(why);
  }

 private:
  std::shared_ptr<Fate> fate_;
  StreamConnection* connection_ = nullptr;
  const std::size_t limit_;
  std::string out_;
  std::size_t sent_ = 0;
  std::size_t most_ = 0;
};

TEST_P(StreamDriverOver, JobsComeBackInOrderAndBoundTheInput) {
  StreamListenOptions options;
  options.stream.max_jobs = 4;
  listen([this](const Address&) { return std::make_unique<Worker>(fate_, 4); }, options);
  const auto socket = connect();
  const std::string text = "abcdefghijklmnopqrstuvwxyz";
  send(socket, text);
  ::shutdown(socket.get(), SHUT_WR);
  EXPECT_EQ(read(socket, 100), capitals(text));
  EXPECT_EQ(fate_->wait(), NetworkErrorCode::kClosed);
}

TEST_P(StreamDriverOver, ADriverWaitsForJobsButTakesNoResultAfterwards) {
  listen([this](const Address&) { return std::make_unique<Worker>(fate_, 16); });
  const auto socket = connect();
  send(socket, "aaaaaaaaaaaaaaaa");
  read(socket, 1);
  listener_.reset();
  driver_.reset();
  EXPECT_EQ(fate_->wait(), NetworkErrorCode::kCancelled);
}

TEST(StreamDriverFrom, ConnectionsLeaveFromTheGivenAddress) {
  IoLoop io;
  const auto loop = make_stream_loop(io);
  std::unique_ptr<Network> network;
  io.run([&] { network = make_network(io, {.dial_from = Address{"tcp:127.0.0.2:0"}}); });
  {
    StreamDriver driver(*loop, *network);
    std::promise<std::string> peer;
    auto listener = driver.listen({"tcp:127.0.0.1:0"}, {}, [&](const Address& from) {
      peer.set_value(from.text);
      return std::make_unique<EchoHandler>(std::make_shared<Fate>());
    });
    std::string heard;
    const auto fate = std::make_shared<Fate>();
    driver.dial(listener.value()->local(), loop->now() + 60s, {},
                std::make_unique<Talker>("from", fate, heard));
    EXPECT_EQ(fate->wait(), NetworkErrorCode::kClosed);
    EXPECT_EQ(heard, "FROM");
    EXPECT_TRUE(peer.get_future().get().starts_with("tcp:127.0.0.2:"));
  }
  io.run([&] { network.reset(); });
}

}  // namespace
}  // namespace sealane::net
