// Goal: what is sent over a lane arrives, unaltered and in order, over each kind of connection,
// from any thread, and every wait ends. Method: two hosts in one process over real sockets.
#include "sealane/net/lane.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <condition_variable>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <mutex>
#include <numeric>
#include <random>
#include <vector>

#include "flow/thread.h"
#include "sealane/store/system.h"
#include "tests/support/doubles.h"

namespace sealane::net {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

SteadyTime in(std::chrono::nanoseconds time) { return std::chrono::steady_clock::now() + time; }
// Sanitizers on a busy machine are slow; nothing here waits that long when it works.
SteadyTime soon() { return in(seconds(30)); }

std::shared_ptr<const identity::SigningKey> make_identity(std::uint64_t seed) {
  testing::SeededRandom random(seed);
  return std::make_shared<const identity::SigningKey>(identity::SigningKey::generate(random, ""));
}

struct Ends {
  std::shared_ptr<const identity::SigningKey> a = make_identity(1);
  std::shared_ptr<const identity::SigningKey> b = make_identity(2);
  LaneOptions options(bool first) const {
    LaneOptions out;
    out.identity = first ? a : b;
    out.peer = (first ? b : a)->public_key();
    out.retry_interval = milliseconds(200);
    out.key_exchange_timeout = seconds(20);
    return out;
  }
};

class TempDirectory {
 public:
  TempDirectory() {
    std::string name = "/tmp/sealane-lane-XXXXXX";
    path_ = ::mkdtemp(name.data());
  }
  ~TempDirectory() {
    static_cast<void>(::unlink((path_ + "/s").c_str()));
    static_cast<void>(::rmdir(path_.c_str()));
  }
  std::string operator/(std::string_view name) const { return path_ + "/" + std::string(name); }

 private:
  std::string path_;
};

// A host for each end, and two lanes that are joined.
struct Joined {
  LaneHost host_a{system_clock(), system_random()};
  LaneHost host_b{system_clock(), system_random()};
  TempDirectory directory;
  std::unique_ptr<LaneListener> listener;
  std::unique_ptr<Lane> a;
  std::unique_ptr<Lane> b;

  // Kinds: tcp, tcp6, udp, udp6, unix, seqpacket, pair (a socket pair), pipes.
  void join(const std::string& kind, const LaneOptions& of_a, const LaneOptions& of_b) {
    if (kind == "pair") {
      int ends[2];
      ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
      adopt(ends[0], ends[0], ends[1], ends[1], of_a, of_b);
    } else if (kind == "pipes") {
      int there[2];
      int back[2];
      ASSERT_EQ(::pipe2(there, O_CLOEXEC), 0);
      ASSERT_EQ(::pipe2(back, O_CLOEXEC), 0);
      adopt(back[0], there[1], there[0], back[1], of_a, of_b);
    } else {
      auto listening = host_b.listen(address(kind), of_b);
      ASSERT_TRUE(listening.has_value()) << listening.error().message;
      listener = std::move(listening.value());
      auto dialled = host_a.dial(listener->local(), of_a, soon());
      ASSERT_TRUE(dialled.has_value()) << dialled.error().message;
      a = std::move(dialled.value());
      auto accepted = listener->accept(soon());
      ASSERT_TRUE(accepted.has_value()) << accepted.error().message;
      b = std::move(accepted.value());
    }
    const auto a_up = a->wait_established(soon());
    ASSERT_TRUE(a_up.has_value()) << a_up.error().message;
    const auto b_up = b->wait_established(soon());
    ASSERT_TRUE(b_up.has_value()) << b_up.error().message;
  }
  void adopt(int a_in, int a_out, int b_in, int b_out, const LaneOptions& of_a,
             const LaneOptions& of_b) {
    a = std::move(host_a.adopt(a_in, a_out, of_a).value());
    b = std::move(host_b.adopt(b_in, b_out, of_b).value());
    ::close(a_in);
    if (a_out != a_in) ::close(a_out);
    ::close(b_in);
    if (b_out != b_in) ::close(b_out);
  }
  Address address(const std::string& kind) {
    if (kind == "tcp") return {"tcp:127.0.0.1:0"};
    if (kind == "tcp6") return {"tcp:[::1]:0"};
    if (kind == "udp") return {"udp:127.0.0.1:0"};
    if (kind == "udp6") return {"udp:[::1]:0"};
    return {kind + ":" + (directory / "s")};
  }
};

bool is_lossy(const std::string& kind) { return kind.starts_with("udp"); }

Bytes pattern(std::size_t size, std::size_t seed = 0) {
  Bytes out(size);
  for (std::size_t i = 0; i < size; ++i) out[i] = static_cast<std::byte>(i * 7 + i / 256 + seed);
  return out;
}

Bytes read_exactly(Lane& lane, std::size_t size) {
  Bytes out(size);
  std::size_t at = 0;
  while (at < size) {
    const auto got = lane.read(MutableByteSpan(out).subspan(at), soon());
    if (!got.has_value() || got.value() == 0) {
      ADD_FAILURE() << (got.has_value() ? "closed" : got.error().message) << " after " << at;
      break;
    }
    at += got.value();
  }
  out.resize(at);
  return out;
}

class LaneOver : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    std::signal(SIGPIPE, SIG_IGN);
    if (std::string_view(GetParam()).ends_with("6")) {
      const int probe = ::socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
      sockaddr_in6 loopback{};
      loopback.sin6_family = AF_INET6;
      loopback.sin6_addr = in6addr_loopback;
      const bool there = probe >= 0 && ::bind(probe, reinterpret_cast<const sockaddr*>(&loopback),
                                              sizeof loopback) == 0;
      if (probe >= 0) ::close(probe);
      if (!there) GTEST_SKIP() << "no IPv6 here";
    }
  }
};
INSTANTIATE_TEST_SUITE_P(Kinds, LaneOver,
                         ::testing::Values("seqpacket", "unix", "tcp", "tcp6", "udp", "udp6",
                                           "pair", "pipes"),
                         [](const auto& param) { return std::string(param.param); });

TEST_P(LaneOver, BytesBothWays) {
  const Ends ends;
  Joined joined;
  ASSERT_NO_FATAL_FAILURE(joined.join(GetParam(), ends.options(true), ends.options(false)));
  EXPECT_EQ(joined.a->peer_identity(), ends.b->public_key());
  EXPECT_EQ(joined.b->peer_identity(), ends.a->public_key());
  for (const std::size_t size : {std::size_t{1}, std::size_t{1000}, std::size_t{20000}}) {
    const Bytes data = pattern(size);
    ASSERT_TRUE(joined.a->write(data, soon()).has_value());
    EXPECT_EQ(read_exactly(*joined.b, size), data);
    ASSERT_TRUE(joined.b->write(data, soon()).has_value());
    EXPECT_EQ(read_exactly(*joined.a, size), data);
  }
  ByteArray<32> key_a{};
  ByteArray<32> key_b{};
  ASSERT_TRUE(joined.a->export_key("test", {}, key_a).has_value());
  ASSERT_TRUE(joined.b->export_key("test", {}, key_b).has_value());
  EXPECT_EQ(key_a, key_b);
}

TEST_P(LaneOver, ManyMessagesOfAllSizesFromFourThreads) {
  const Ends ends;
  Joined joined;
  ASSERT_NO_FATAL_FAILURE(joined.join(GetParam(), ends.options(true), ends.options(false)));
  constexpr std::size_t kThreads = 4;
  const std::size_t count = is_lossy(GetParam()) ? 200 : 3000;
  struct Heard {
    std::mutex mutex;
    std::condition_variable changed;
    std::vector<std::vector<std::uint32_t>> numbers{kThreads};
    std::size_t total = 0;
    bool damaged = false;
  } heard;
  for (std::uint32_t thread = 0; thread < kThreads; ++thread) {
    joined.b->set_handler(Channel{thread}, [&heard, thread](ByteSpan message) {
      std::uint32_t number = 0;
      std::memcpy(&number, message.data(), sizeof number);
      const std::lock_guard lock(heard.mutex);
      if (!std::ranges::equal(message.subspan(4), pattern(message.size() - 4, number))) {
        heard.damaged = true;
      }
      heard.numbers[thread].push_back(number);
      ++heard.total;
      heard.changed.notify_all();
    });
  }
  {
    std::vector<flow::Thread> threads;
    for (std::uint32_t thread = 0; thread < kThreads; ++thread) {
      threads.emplace_back([&joined, thread, count] {
        std::mt19937 random(thread);
        for (std::uint32_t number = 0; number < count; ++number) {
          const std::size_t size = random() % 20 == 0 ? random() % 1300 : random() % 40;
          Bytes message(4);
          std::memcpy(message.data(), &number, sizeof number);
          const Bytes rest = pattern(size, number);
          message.insert(message.end(), rest.begin(), rest.end());
          const auto sent = joined.a->send(Channel{thread}, message, soon());
          ASSERT_TRUE(sent.has_value()) << sent.error().message;
          if (number % 500 == 0) {
            ASSERT_TRUE(joined.a->wait_sent(sent.value(), soon()).has_value());
          }
        }
      });
    }
  }
  std::unique_lock lock(heard.mutex);
  const bool all =
      heard.changed.wait_until(lock, soon(), [&] { return heard.total == kThreads * count; });
  EXPECT_TRUE(all) << heard.total;
  EXPECT_FALSE(heard.damaged);
  for (const auto& numbers : heard.numbers) {
    EXPECT_TRUE(std::ranges::is_sorted(numbers));
  }
  lock.unlock();
  for (std::uint32_t thread = 0; thread < kThreads; ++thread) {
    joined.b->set_handler(Channel{thread}, {});
  }
  joined.b.reset();
}

TEST_P(LaneOver, CloseFlushesWhatWasSent) {
  const Ends ends;
  Joined joined;
  ASSERT_NO_FATAL_FAILURE(joined.join(GetParam(), ends.options(true), ends.options(false)));
  const Bytes data = pattern(5000);
  ASSERT_TRUE(joined.a->write_later(data, soon()).has_value());
  joined.a->close();
  EXPECT_EQ(read_exactly(*joined.b, data.size()), data);
  ByteArray<1> more{};
  const auto end = joined.b->read(more, soon());
  ASSERT_TRUE(end.has_value()) << end.error().message;
  EXPECT_EQ(end.value(), 0u);
  EXPECT_TRUE(joined.a->wait_closed(soon()).has_value());
  EXPECT_TRUE(joined.b->wait_closed(soon()).has_value());
  EXPECT_FALSE(joined.a->send(Channel{1}, data).has_value());
}

class LosslessOver : public LaneOver {};
INSTANTIATE_TEST_SUITE_P(Kinds, LosslessOver,
                         ::testing::Values("seqpacket", "unix", "tcp", "pair", "pipes"),
                         [](const auto& param) { return std::string(param.param); });

TEST_P(LosslessOver, ASlowReaderSlowsTheWriterAndLosesNothing) {
  const Ends ends;
  Joined joined;
  LaneOptions small = ends.options(true);
  small.send_queue_limit = 140 * 1024;
  LaneOptions reader = ends.options(false);
  reader.receive_queue_limit = 70 * 1024;
  ASSERT_NO_FATAL_FAILURE(joined.join(GetParam(), small, reader));
  constexpr std::size_t kTotal = 24 << 20;  // more than all buffers between the two
  const Bytes data = pattern(kTotal);
  // Without a reader the writer comes to a halt, in bounded memory.
  const auto halted = joined.a->write(data, in(milliseconds(300)));
  ASSERT_FALSE(halted.has_value());
  const std::uint64_t accepted =
      joined.a->statistics().payload_bytes_sent;  // at least what is under way
  EXPECT_LT(accepted, kTotal);
  // How much went in before the deadline is unknown, but what comes out is a prefix, and all that
  // follows comes too.
  const flow::Thread writer([&] {
    const auto rest = joined.a->write(Bytes(1, std::byte{0xee}), soon());
    EXPECT_TRUE(rest.has_value());
    joined.a->close();
  });
  Bytes got;
  Bytes buffer(100'000);
  for (;;) {
    const auto size = joined.b->read(buffer, soon());
    ASSERT_TRUE(size.has_value()) << size.error().message;
    if (size.value() == 0) break;
    got.insert(got.end(), buffer.begin(),
               buffer.begin() + static_cast<std::ptrdiff_t>(size.value()));
  }
  ASSERT_FALSE(got.empty());
  EXPECT_EQ(got.back(), std::byte{0xee});
  got.pop_back();
  ASSERT_LE(got.size(), kTotal);
  EXPECT_TRUE(std::ranges::equal(got, ByteSpan(data).first(got.size())));
}

// A kernel cuts the other side off when a socket is closed with unread input.
TEST_P(LosslessOver, ClosingWithUnreadInputLosesNothing) {
  const Ends ends;
  Joined joined;
  LaneOptions deaf = ends.options(true);
  deaf.receive_queue_limit = 1000;
  LaneOptions slow = ends.options(false);
  slow.receive_queue_limit = 1000;
  ASSERT_NO_FATAL_FAILURE(joined.join(GetParam(), deaf, slow));
  // Nobody reads this: it fills what lies between.
  static_cast<void>(joined.b->write(pattern(8 << 20), in(milliseconds(200))));
  const Bytes last_words = pattern(120'000, 3);
  ASSERT_TRUE(joined.a->write_later(last_words, soon()).has_value());
  joined.a->close();
  ::usleep(50'000);
  EXPECT_EQ(read_exactly(*joined.b, last_words.size()), last_words);
}

TEST_P(LosslessOver, ALostConnectionEndsTheLaneAfterWhatCame) {
  const Ends ends;
  Joined joined;
  ASSERT_NO_FATAL_FAILURE(joined.join(GetParam(), ends.options(true), ends.options(false)));
  const Bytes data = pattern(3000);
  ASSERT_TRUE(joined.a->write(data, soon()).has_value());
  joined.a.reset();  // abort: without a word
  EXPECT_EQ(read_exactly(*joined.b, data.size()), data);
  ByteArray<1> more{};
  EXPECT_EQ(joined.b->read(more, soon()).value(), 0u);
  EXPECT_FALSE(joined.b->close_reason().empty());
}

TEST(Lane, WithPskOverUdpAndWithAnother) {
  const Ends ends;
  LaneOptions of_a = ends.options(true);
  LaneOptions of_b = ends.options(false);
  of_a.psk = std::make_shared<const SecretBytes>(std::string_view("one secret of both"));
  of_b.psk = of_a.psk;
  Joined joined;
  ASSERT_NO_FATAL_FAILURE(joined.join("udp", of_a, of_b));
  ASSERT_TRUE(joined.a->write(pattern(100), soon()).has_value());
  EXPECT_EQ(read_exactly(*joined.b, 100), pattern(100));

  LaneOptions wrong = ends.options(true);
  wrong.psk = std::make_shared<const SecretBytes>(std::string_view("another secret"));
  wrong.key_exchange_timeout = milliseconds(700);
  const auto other = joined.host_a.dial(joined.listener->local(), wrong, soon());
  ASSERT_TRUE(other.has_value());
  const auto up = other.value()->wait_established(soon());
  ASSERT_FALSE(up.has_value());
}

TEST(Lane, ARestartedServerIsFoundByTheClientsNextRequest) {
  const Ends ends;
  LaneOptions of_a = ends.options(true);
  of_a.key_update_interval = milliseconds(500);
  LaneHost host_a(system_clock(), system_random());
  LaneHost host_b(system_clock(), system_random());
  auto listener = std::move(host_b.listen({"udp:127.0.0.1:0"}, ends.options(false)).value());
  const Address at = listener->local();
  auto a = std::move(host_a.dial(at, of_a, soon()).value());
  auto b = std::move(listener->accept(soon()).value());
  ASSERT_TRUE(a->write(pattern(10), soon()).has_value());
  EXPECT_EQ(read_exactly(*b, 10), pattern(10));
  b.reset();
  listener.reset();
  auto again = host_b.listen(at, ends.options(false));
  ASSERT_TRUE(again.has_value()) << again.error().message;
  auto reborn = again.value()->accept(soon());
  ASSERT_TRUE(reborn.has_value()) << reborn.error().message;
  // What was on its way at that moment may be lost; what is sent from now on is not.
  while (a->statistics().peer_restarts == 0) ::usleep(1000);
  EXPECT_EQ(a->state(), LaneState::kEstablished);
  ASSERT_TRUE(a->write(pattern(30), soon()).has_value());
  EXPECT_EQ(read_exactly(*reborn.value(), 30), pattern(30));
  ASSERT_TRUE(reborn.value()->write(pattern(20), soon()).has_value());
  EXPECT_EQ(read_exactly(*a, 20), pattern(20));
}

TEST(Lane, ARestartedServerIsFoundWithinSecondsAlsoByWhoOnlyListens) {
  for (const bool client_talks : {true, false}) {
    const Ends ends;
    LaneHost host_a(system_clock(), system_random());
    LaneHost host_b(system_clock(), system_random());
    LaneOptions of_a = ends.options(true);
    of_a.keepalive = seconds(1);
    auto listener = std::move(host_b.listen({"udp:127.0.0.1:0"}, ends.options(false)).value());
    const Address at = listener->local();
    auto a = std::move(host_a.dial(at, of_a, soon()).value());
    ASSERT_TRUE(listener->accept(soon()).has_value());  // and gone, without a word
    listener.reset();
    auto again = std::move(host_b.listen(at, ends.options(false)).value());
    std::unique_ptr<Lane> reborn;
    while (!reborn) {
      if (client_talks) {
        ASSERT_TRUE(a->send(Channel{1}, pattern(10), soon()).has_value());
      }
      auto accepted = again->accept(in(milliseconds(50)));
      if (accepted.has_value()) reborn = std::move(accepted.value());
    }
    while (a->statistics().peer_restarts == 0) ::usleep(1000);
    EXPECT_EQ(a->statistics().key_renewals, 0u);  // a minute has not gone by
    ASSERT_TRUE(reborn->write(pattern(20), soon()).has_value());
    EXPECT_EQ(read_exactly(*a, 20), pattern(20));
  }
}

// A place between two ends of UDP, which can be closed: then the kernel tells who sends there, by
// ICMP, that nobody listens; and opened again.
class UdpRelay {
 public:
  explicit UdpRelay(const Address& server) {
    server_.sin_family = AF_INET;
    server_.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const std::size_t colon = server.text.rfind(':');
    server_.sin_port = htons(static_cast<std::uint16_t>(std::stoi(server.text.substr(colon + 1))));
    back_ = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    EXPECT_EQ(::connect(back_, reinterpret_cast<const sockaddr*>(&server_), sizeof server_), 0);
    open();
  }
  ~UdpRelay() {
    close();
    ::close(back_);
  }
  void open() {
    front_ = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    sockaddr_in here{};
    here.sin_family = AF_INET;
    here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    here.sin_port = port_;
    ASSERT_EQ(::bind(front_, reinterpret_cast<const sockaddr*>(&here), sizeof here), 0);
    socklen_t size = sizeof here;
    ASSERT_EQ(::getsockname(front_, reinterpret_cast<sockaddr*>(&here), &size), 0);
    port_ = here.sin_port;
    over_ = false;
    thread_ = std::make_unique<flow::Thread>([this] { pass_on(); });
  }
  void close() {
    over_ = true;
    thread_->join();
    ::close(front_);
  }
  Address address() const { return {"udp:127.0.0.1:" + std::to_string(ntohs(port_))}; }
  // Larger datagrams vanish from now on, both ways.
  void swallow_above(std::size_t size) { largest_ = static_cast<ssize_t>(size); }

 private:
  void pass_on() {
    Bytes buffer(64 * 1024);
    while (!over_) {
      std::array<pollfd, 2> both = {pollfd{front_, POLLIN, 0}, pollfd{back_, POLLIN, 0}};
      if (::poll(both.data(), both.size(), 10) <= 0) continue;
      sockaddr_in from{};
      socklen_t from_size = sizeof from;
      ssize_t size = ::recvfrom(front_, buffer.data(), buffer.size(), MSG_DONTWAIT,
                                reinterpret_cast<sockaddr*>(&from), &from_size);
      if (size >= 0) client_ = from;
      if (size >= 0 && size <= largest_) {
        static_cast<void>(::send(back_, buffer.data(), static_cast<std::size_t>(size), 0));
      }
      size = ::recv(back_, buffer.data(), buffer.size(), MSG_DONTWAIT);
      if (size >= 0 && size <= largest_) {
        static_cast<void>(::sendto(front_, buffer.data(), static_cast<std::size_t>(size), 0,
                                   reinterpret_cast<const sockaddr*>(&client_), sizeof client_));
      }
    }
  }

  sockaddr_in server_{};
  sockaddr_in client_{};
  in_port_t port_ = 0;
  int front_ = -1;
  int back_ = -1;
  std::atomic<bool> over_{false};
  std::atomic<ssize_t> largest_{64 * 1024};
  std::unique_ptr<flow::Thread> thread_;
};

TEST(Lane, APathThatSwallowsLargePacketsIsNoticedAndUsed) {
  const Ends ends;
  LaneHost host_a(system_clock(), system_random());
  LaneHost host_b(system_clock(), system_random());
  std::mutex mutex;
  std::vector<Bytes> heard;
  const auto count = [&] {
    const std::lock_guard lock(mutex);
    return heard.size();
  };
  LaneOptions of_b = ends.options(false);
  of_b.prepare = [&](Lane& lane) {
    lane.set_handler(Channel{1}, [&](ByteSpan message) {
      const std::lock_guard lock(mutex);
      heard.push_back(to_bytes(message));
    });
  };
  LaneOptions of_a = ends.options(true);
  of_a.fragment = true;
  auto listener = std::move(host_b.listen({"udp:127.0.0.1:0"}, of_b).value());
  UdpRelay relay(listener->local());
  auto a = std::move(host_a.dial(relay.address(), of_a, soon()).value());
  auto b = std::move(listener->accept(soon()).value());
  ASSERT_TRUE(a->wait_established(soon()).has_value());
  ASSERT_EQ(a->payload_size(), 1392u);
  relay.swallow_above(900);
  for (const SteadyTime end = soon(); count() == 0;) {
    ASSERT_LT(in(seconds(0)), end);
    ASSERT_TRUE(a->send(Channel{1}, pattern(1300), soon()).has_value());
    a->flush();
    ::usleep(20'000);
  }
  EXPECT_LE(a->payload_size(), 900u - 53);
  EXPECT_GE(a->payload_size(), 900u - 53 - 3);
  EXPECT_EQ(a->statistics().black_holes, 1u);
  const std::lock_guard lock(mutex);
  EXPECT_EQ(heard[0], pattern(1300));
}

TEST(Lane, APortThatIsUnreachableForAWhileEndsNothing) {
  const Ends ends;
  std::atomic<bool> heard_a{false};  // outlive the lanes, whose handlers write to them
  std::atomic<bool> heard_b{false};
  LaneHost host_a(system_clock(), system_random());
  LaneHost host_b(system_clock(), system_random());
  auto listener = std::move(host_b.listen({"udp:127.0.0.1:0"}, ends.options(false)).value());
  UdpRelay relay(listener->local());
  auto a = std::move(host_a.dial(relay.address(), ends.options(true), soon()).value());
  auto b = std::move(listener->accept(soon()).value());
  ASSERT_TRUE(a->write(pattern(10), soon()).has_value());
  EXPECT_EQ(read_exactly(*b, 10), pattern(10));

  relay.close();
  // The kernel's word comes to a read or to the next write: single ones and bursts.
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(a->write(pattern(20), soon()).has_value());
    ASSERT_TRUE(a->write(pattern(20'000), soon()).has_value());
    ::usleep(5000);
  }
  EXPECT_EQ(a->state(), LaneState::kEstablished) << a->close_reason();
  relay.open();

  // Packets of one call may arrive or not; a message says whether the way is free again.
  a->set_handler(Channel{1}, [&](ByteSpan) { heard_a = true; });
  b->set_handler(Channel{1}, [&](ByteSpan) { heard_b = true; });
  for (const SteadyTime end = soon(); !(heard_a && heard_b);) {
    ASSERT_LT(in(seconds(0)), end);
    ASSERT_TRUE(a->send(Channel{1}, pattern(10), soon()).has_value());
    ASSERT_TRUE(b->send(Channel{1}, pattern(10), soon()).has_value());
    ::usleep(5000);
  }
  // It is the same session.
  EXPECT_EQ(a->statistics().peer_restarts, 0u);
  EXPECT_EQ(b->statistics().peer_restarts, 0u);
}

TEST(Lane, ErrorsGoToTheChannelsHandlerElseToTheEventHandler) {
  const Ends ends;
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<std::string> told;
  const auto tell = [&](std::string what) {
    const std::lock_guard lock(mutex);
    told.push_back(std::move(what));
    changed.notify_all();
  };
  const auto failing = [](ByteSpan message) -> Result<void, Error> {
    if (message.empty()) return success();
    return Error{ErrorKind::kFailed, "no " + to_text(message)};
  };
  LaneOptions of_b = ends.options(false);
  of_b.peer.reset();
  of_b.trust_on_first_use = true;
  of_b.prepare = [&](Lane& lane) {
    lane.set_channel_handler(
        Channel{1}, {.on_message = failing,
                     .on_error = [&](const Error& error) { tell("channel: " + error.message); }});
    lane.set_channel_handler(Channel{2}, {.on_message = failing, .on_error = {}});
    lane.set_event_handler([&](const LaneEvent& event) {
      std::string text = std::to_string(static_cast<int>(event.kind));
      if (event.channel) text += " on " + std::to_string(static_cast<unsigned>(*event.channel));
      tell(event.text.empty() ? text : text + ": " + event.text);
    });
  };
  Joined joined;
  ASSERT_NO_FATAL_FAILURE(joined.join("unix", ends.options(true), of_b));
  ASSERT_TRUE(joined.a->send(Channel{1}, as_bytes("one"), soon()).has_value());
  ASSERT_TRUE(joined.a->send(Channel{1}, {}, soon()).has_value());
  ASSERT_TRUE(joined.a->send(Channel{2}, as_bytes("two"), soon()).has_value());
  joined.a->close();
  ASSERT_TRUE(joined.b->wait_closed(soon()).has_value());
  std::unique_lock lock(mutex);
  const std::vector<std::string> expected = {"2: " + identity::fingerprint(ends.a->public_key()),
                                             "1", "channel: no one", "5 on 2: no two",
                                             "6: closed by the peer"};
  EXPECT_TRUE(changed.wait_until(lock, soon(), [&] { return told.size() >= expected.size(); }));
  EXPECT_EQ(told, expected);
}

TEST(Lane, HandlersOfTwoHostsMaySendToEachOther) {
  const Ends ends;
  // Two lanes in opposite directions: each host's handler sends on the other host's lane.
  Joined left;
  Joined right;
  ASSERT_NO_FATAL_FAILURE(left.join("unix", ends.options(true), ends.options(false)));
  ASSERT_NO_FATAL_FAILURE(right.join("unix", ends.options(true), ends.options(false)));
  std::atomic<std::uint64_t> seen{0};
  const auto forward = [&seen](Lane& to) {
    return [&seen, &to](ByteSpan message) {
      seen.fetch_add(1);
      static_cast<void>(to.try_send(Channel{1}, message));
      to.flush();
    };
  };
  left.b->set_handler(Channel{1}, forward(*right.b));
  right.b->set_handler(Channel{1}, forward(*left.b));
  left.a->set_handler(Channel{1}, [](ByteSpan) {});
  right.a->set_handler(Channel{1}, [](ByteSpan) {});
  for (int i = 0; i < 3000; ++i) {
    for (Lane* lane : {left.a.get(), right.a.get()}) {
      ASSERT_TRUE(lane->send(Channel{1}, pattern(300), soon()).has_value());
      lane->flush();
    }
  }
  const SteadyTime end = soon();
  while (seen.load() < 6000 && std::chrono::steady_clock::now() < end) ::usleep(1000);
  EXPECT_EQ(seen.load(), 6000u);
  left.b->set_handler(Channel{1}, Lane::Handler());
  right.b->set_handler(Channel{1}, Lane::Handler());
}

TEST(Lane, SilentConnectionsKeepNobodyOut) {
  const Ends ends;
  LaneHost host(system_clock(), system_random());
  TempDirectory directory;
  LaneOptions of_b = ends.options(false);
  of_b.key_exchange_timeout = seconds(300);
  auto listener = std::move(host.listen({"unix:" + (directory / "s")}, of_b).value());
  std::vector<int> silent;
  const std::string path = directory / "s";
  for (std::size_t i = 0; i < LaneListener::kMaxConnecting + 20; ++i) {
    silent.push_back(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un to{};
    to.sun_family = AF_UNIX;
    path.copy(to.sun_path, sizeof to.sun_path - 1);
    ASSERT_EQ(::connect(silent.back(), reinterpret_cast<const sockaddr*>(&to), sizeof to), 0);
  }
  LaneHost other(system_clock(), system_random());
  // While the kernel's queue is full it says that nobody is there.
  auto dialled = other.dial(listener->local(), ends.options(true), soon());
  while (!dialled.has_value()) {
    ::usleep(1000);
    dialled = other.dial(listener->local(), ends.options(true), soon());
  }
  const std::unique_ptr<Lane> lane = std::move(dialled.value());
  const auto up = lane->wait_established(soon());
  EXPECT_TRUE(up.has_value()) << up.error().message;
  EXPECT_TRUE(listener->accept(soon()).has_value());
  for (const int one : silent) ::close(one);
}

TEST(Lane, AStrangerIsCutOffSoon) {
  const Ends ends;
  LaneHost host(system_clock(), system_random());
  TempDirectory directory;
  auto listener =
      std::move(host.listen({"unix:" + (directory / "s")}, ends.options(false)).value());
  const int stranger = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const std::string path = directory / "s";
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  path.copy(to.sun_path, sizeof to.sun_path - 1);
  ASSERT_EQ(::connect(stranger, reinterpret_cast<const sockaddr*>(&to), sizeof to), 0);
  const Bytes junk(64 * 1024, std::byte{0x33});
  static_cast<void>(::send(stranger, junk.data(), junk.size(), MSG_NOSIGNAL));
  // The key exchange would be given up after 20 s only.
  std::array<std::byte, 1024> got{};
  while (::recv(stranger, got.data(), got.size(), 0) > 0) {
  }
  ::close(stranger);
}

std::size_t open_descriptors() {
  return static_cast<std::size_t>(std::distance(
      std::filesystem::directory_iterator("/proc/self/fd"), std::filesystem::directory_iterator()));
}

// Who is cut off and does not close keeps a descriptor of ours for a while; not any number of them.
TEST(Lane, PeersThatAreCutOffAndDoNotCloseDoNotUseUpDescriptors) {
#if defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "each stranger costs a key exchange, which takes too long here to tell";
#endif
  const Ends ends;
  TempDirectory directory;
  LaneHost host(system_clock(), system_random());
  auto listener =
      std::move(host.listen({"unix:" + (directory / "s")}, ends.options(false)).value());
  const std::size_t before = open_descriptors();
  constexpr std::size_t kStrangers = 380;
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  std::strcpy(to.sun_path, (directory / "s").c_str());
  std::vector<int> strangers;
  const SteadyTime began = in(seconds(0));
  const Bytes junk(8192, std::byte{7});
  for (std::size_t i = 0; i < kStrangers; ++i) {
    const int stranger = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ASSERT_GE(stranger, 0);
    strangers.push_back(stranger);
    ASSERT_EQ(::connect(stranger, reinterpret_cast<const sockaddr*>(&to), sizeof to), 0);
    static_cast<void>(::send(stranger, junk.data(), junk.size(), MSG_NOSIGNAL));
  }
  // Each of them is told the end.
  for (const int stranger : strangers) {
    std::array<std::byte, 4096> rest{};
    while (::recv(stranger, rest.data(), rest.size(), 0) > 0) {
    }
  }
  const bool in_time = in(seconds(0)) < began + seconds(3);
  // The oldest give way before their time of five seconds is over.
  while (in_time && open_descriptors() > before + kStrangers + 256) {
    ASSERT_LT(in(seconds(0)), began + milliseconds(4500));
    ::usleep(1000);
  }
  for (const int stranger : strangers) ::close(stranger);
  if (!in_time) GTEST_SKIP() << "too slow here to tell";
}

// Connecting is cheaper than being connected to: a crowd must not keep the others' turn away.
TEST(Lane, ACrowdAtTheDoorKeepsNobodyWaiting) {
  const Ends ends;
  TempDirectory directory;
  LaneHost host(system_clock(), system_random());
  constexpr std::size_t kCrowd = 100;
  std::atomic<std::size_t> taken{0};
  std::atomic<std::size_t> taken_before_the_others_turn{0};
  LaneOptions options = ends.options(false);
  options.prepare = [&](Lane&) {
    if (++taken == 1) host.post([&] { taken_before_the_others_turn = taken.load(); });
  };
  auto listener = std::move(host.listen({"unix:" + (directory / "s")}, options).value());
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  std::strcpy(to.sun_path, (directory / "s").c_str());
  std::vector<int> crowd;
  std::atomic<bool> go{false};
  host.post([&] {
    while (!go) ::usleep(100);
  });
  for (std::size_t i = 0; i < kCrowd; ++i) {
    crowd.push_back(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    ASSERT_EQ(::connect(crowd.back(), reinterpret_cast<const sockaddr*>(&to), sizeof to), 0);
  }
  go = true;
  for (const SteadyTime end = soon(); taken < kCrowd; ::usleep(1000)) {
    ASSERT_LT(in(seconds(0)), end);
  }
  EXPECT_GT(taken_before_the_others_turn.load(), 0u);
  EXPECT_LE(taken_before_the_others_turn.load(), 16u);
  listener.reset();
  for (const int one : crowd) ::close(one);
}

TEST(Lane, AcceptingCanBeGivenUp) {
  const Ends ends;
  LaneHost host(system_clock(), system_random());
  auto listener = std::move(host.listen({"udp:127.0.0.1:0"}, ends.options(false)).value());
  const flow::Thread waiting([&] {
    const auto accepted = listener->accept();
    ASSERT_FALSE(accepted.has_value());
    EXPECT_EQ(accepted.error().kind, ErrorKind::kInterrupted);
  });
  ::usleep(20'000);
  listener->cancel();
}

TEST(Lane, NamesAreLookedUp) {
  const Ends ends;
  LaneHost host(system_clock(), system_random());
  auto listener = std::move(host.listen({"tcp:localhost:0"}, ends.options(false)).value());
  EXPECT_TRUE(listener->local().text.starts_with("tcp:127.0.0.1:"));
  for (const char* wrong : {"tcp:no such host:1", "tcp:1.2.3:1", "tcp:1.2.3.4.5:1", "tcp::1",
                            "tcp:-x:1", "tcp:host:65536", "tcp:host:", "tcp:[host]:1", "udp:1"}) {
    const auto lane = host.dial({wrong}, ends.options(true), soon());
    ASSERT_FALSE(lane.has_value()) << wrong;
    EXPECT_EQ(lane.error().kind, ErrorKind::kUsage) << wrong;
  }
  // RFC 6761: never a machine's name.
  const auto lane = host.dial({"tcp:nobody.invalid:1"}, ends.options(true), soon());
  ASSERT_FALSE(lane.has_value());
  EXPECT_EQ(lane.error().kind, ErrorKind::kFailed);
  EXPECT_NE(lane.error().message.find("nobody.invalid"), std::string::npos);
}

TEST(Lane, DropsAreCountedByReason) {
  const Ends ends;
  Joined joined;
  ASSERT_NO_FATAL_FAILURE(joined.join("udp", ends.options(true), ends.options(false)));
  joined.a->renew_key();
  while (joined.a->statistics().key_renewals == 0) ::usleep(1000);
  const LaneStatistics statistics = joined.b->statistics();
  std::uint64_t sum = 0;
  for (const auto& [name, count] : statistics.drops) {
    EXPECT_GT(count, 0u) << name;
    sum += count;
  }
  EXPECT_EQ(sum, statistics.packets_dropped);
}

TEST(Lane, AWrongIdentitySaysSo) {
  const Ends ends;
  LaneOptions stranger = ends.options(true);
  stranger.identity = make_identity(99);
  stranger.key_exchange_timeout = milliseconds(700);
  LaneHost host(system_clock(), system_random());
  auto listener = host.listen({"tcp:127.0.0.1:0"}, ends.options(false));
  ASSERT_TRUE(listener.has_value());
  auto lane = host.dial(listener.value()->local(), stranger, soon());
  ASSERT_TRUE(lane.has_value());
  EXPECT_FALSE(lane.value()->wait_established(soon()).has_value());
  EXPECT_FALSE(listener.value()->accept(in(milliseconds(50))).has_value());
}

TEST(Lane, ManyPeersOnOneUdpSocket) {
  const Ends ends;
  LaneOptions any = ends.options(false);
  any.peer.reset();
  any.trust_on_first_use = true;
  LaneHost server(system_clock(), system_random());
  LaneHost clients(system_clock(), system_random());
  auto listener = server.listen({"udp:127.0.0.1:0"}, any);
  ASSERT_TRUE(listener.has_value()) << listener.error().message;
  constexpr std::size_t kPeers = 12;
  std::vector<std::unique_ptr<Lane>> dialled;
  std::vector<std::unique_ptr<Lane>> accepted;
  for (std::size_t i = 0; i < kPeers; ++i) {
    LaneOptions options = ends.options(true);
    options.identity = make_identity(100 + i);
    auto lane = clients.dial(listener.value()->local(), options, soon());
    ASSERT_TRUE(lane.has_value());
    dialled.push_back(std::move(lane.value()));
  }
  for (std::size_t i = 0; i < kPeers; ++i) {
    auto lane = listener.value()->accept(soon());
    ASSERT_TRUE(lane.has_value()) << lane.error().message;
    accepted.push_back(std::move(lane.value()));
  }
  // The listener may go; its lanes live on.
  listener.value().reset();
  for (std::size_t i = 0; i < kPeers; ++i) {
    ASSERT_TRUE(dialled[i]->wait_established(soon()).has_value());
    ASSERT_TRUE(dialled[i]->write(pattern(64, i), soon()).has_value());
  }
  for (std::size_t i = 0; i < kPeers; ++i) {
    const auto identity = accepted[i]->peer_identity();
    std::size_t who = kPeers;
    for (std::size_t j = 0; j < kPeers; ++j) {
      if (identity == make_identity(100 + j)->public_key()) who = j;
    }
    ASSERT_LT(who, kPeers);
    EXPECT_EQ(read_exactly(*accepted[i], 64), pattern(64, who));
  }
}

TEST(Lane, EchoInsideAHandler) {
  const Ends ends;
  Joined joined;
  ASSERT_NO_FATAL_FAILURE(joined.join("seqpacket", ends.options(true), ends.options(false)));
  joined.b->set_handler(Channel{5}, [&](ByteSpan message) {
    EXPECT_TRUE(joined.b->send(Channel{6}, message).has_value());
  });
  std::mutex mutex;
  std::condition_variable changed;
  std::size_t count = 0;
  joined.a->set_handler(Channel{6}, [&](ByteSpan message) {
    const std::lock_guard lock(mutex);
    EXPECT_EQ(message.size(), count);
    ++count;
    changed.notify_all();
  });
  for (std::size_t i = 0; i < 200; ++i) {
    ASSERT_TRUE(joined.a->send(Channel{5}, pattern(i), soon()).has_value());
  }
  std::unique_lock lock(mutex);
  EXPECT_TRUE(changed.wait_until(lock, soon(), [&] { return count == 200; }));
  lock.unlock();
  joined.a->set_handler(Channel{6}, {});
  joined.a.reset();
  joined.b.reset();
}

TEST(Lane, WithoutMergingEachMessageLeavesAtOnce) {
  const Ends ends;
  LaneOptions direct = ends.options(true);
  direct.send_delay = std::chrono::nanoseconds(0);
  Joined joined;
  ASSERT_NO_FATAL_FAILURE(joined.join("seqpacket", direct, ends.options(false)));
  const std::uint64_t before = joined.a->statistics().packets_sent;
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(joined.a->send(Channel{1}, pattern(10), soon()).has_value());
  }
  EXPECT_GE(joined.a->statistics().packets_sent, before + 10);
}

TEST(Lane, SmallPacketsLeaveSeveralAtOnceAndTheLastOnesSoon) {
  const Ends ends;
  LaneOptions small = ends.options(true);
  LaneOptions other = ends.options(false);
  for (LaneOptions* options : {&small, &other}) {
    options->payload_size_limit = 1347;
    options->negotiate = false;
  }
  std::atomic<int> count{0};
  other.prepare = [&](Lane& lane) {
    lane.set_handler(Channel{1}, [&](ByteSpan) {
      ++count;
      count.notify_all();
    });
  };
  Joined joined;
  ASSERT_NO_FATAL_FAILURE(joined.join("seqpacket", small, other));
  // One to a packet; less than a burst at the end, so it is the timer that sends them.
  std::optional<LaneTicket> last;
  for (int i = 0; i < 100; ++i) {
    const auto ticket = joined.a->send(Channel{1}, pattern(1300), soon());
    ASSERT_TRUE(ticket.has_value());
    last = ticket.value();
  }
  ASSERT_TRUE(joined.a->wait_sent(*last, soon()).has_value());
  for (int seen = count; seen < 100; seen = count) count.wait(seen);
  EXPECT_EQ(count, 100);
}

TEST(Lane, LargeMessagesInFragments) {
  const Ends ends;
  LaneOptions of_a = ends.options(true);
  LaneOptions of_b = ends.options(false);
  for (LaneOptions* options : {&of_a, &of_b}) {
    options->payload_size_limit = 1000;
    options->fragment = true;
    options->max_message_size = 200'000;
  }
  Joined joined;
  ASSERT_NO_FATAL_FAILURE(joined.join("tcp", of_a, of_b));
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<Bytes> got;
  joined.b->set_handler(Channel{1}, [&](ByteSpan message) {
    const std::lock_guard lock(mutex);
    got.push_back(to_bytes(message));
    changed.notify_all();
  });
  for (const std::size_t size : {std::size_t{100'000}, std::size_t{10}, std::size_t{150'000}}) {
    ASSERT_TRUE(joined.a->send(Channel{1}, pattern(size), soon()).has_value());
  }
  EXPECT_FALSE(joined.a->send(Channel{1}, Bytes(200'001)).has_value());
  std::unique_lock lock(mutex);
  ASSERT_TRUE(changed.wait_until(lock, soon(), [&] { return got.size() == 3; }));
  EXPECT_EQ(got[0], pattern(100'000));
  EXPECT_EQ(got[1], pattern(10));
  EXPECT_EQ(got[2], pattern(150'000));
  lock.unlock();
  joined.b.reset();
}

TEST(Lane, Mistakes) {
  const Ends ends;
  LaneHost host(system_clock(), system_random());
  EXPECT_EQ(host.dial({"http://x"}, ends.options(true)).error().kind, ErrorKind::kUsage);
  EXPECT_EQ(host.dial({"tcp:127.0.0.1:99999"}, ends.options(true)).error().kind, ErrorKind::kUsage);
  EXPECT_EQ(host.dial({"unix:"}, ends.options(true)).error().kind, ErrorKind::kUsage);
  EXPECT_FALSE(host.dial({"unix:/nonexistent/s"}, ends.options(true)).has_value());
  EXPECT_FALSE(host.dial({"tcp:127.0.0.1:1"}, ends.options(true), soon()).has_value());
  LaneOptions nobody = ends.options(true);
  nobody.peer.reset();
  EXPECT_EQ(host.dial({"udp:127.0.0.1:9"}, nobody).error().kind, ErrorKind::kUsage);
  EXPECT_EQ(host.listen({"udp:127.0.0.1:0"}, nobody).error().kind, ErrorKind::kUsage);
  EXPECT_EQ(host.adopt(-1, -1, ends.options(true)).error().kind, ErrorKind::kUsage);
  auto listener = host.listen({"tcp:127.0.0.1:0"}, ends.options(false));
  ASSERT_TRUE(listener.has_value());
  const auto again = host.listen(listener.value()->local(), ends.options(false));
  ASSERT_FALSE(again.has_value());
  EXPECT_NE(again.error().message.find("in use"), std::string::npos) << again.error().message;
  EXPECT_FALSE(listener.value()->accept(in(milliseconds(20))).has_value());
}

TEST(Lane, ASocketFileOfADeadProcessIsReplaced) {
  const Ends ends;
  const TempDirectory directory;
  const Address at{"seqpacket:" + (directory / "s")};
  LaneHost host(system_clock(), system_random());
  {
    const int left = ::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, (directory / "s").c_str(), (directory / "s").size());
    ASSERT_EQ(::bind(left, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    ::close(left);
  }
  auto first = host.listen(at, ends.options(false));
  ASSERT_TRUE(first.has_value()) << first.error().message;
  EXPECT_FALSE(host.listen(at, ends.options(false)).has_value());
}

TEST(Lane, NobodyAnswersOverUdp) {
  const Ends ends;
  LaneOptions options = ends.options(true);
  options.key_exchange_timeout = milliseconds(500);
  LaneHost host(system_clock(), system_random());
  auto lane = host.dial({"udp:127.0.0.1:9"}, options);
  ASSERT_TRUE(lane.has_value());
  EXPECT_FALSE(lane.value()->wait_established(in(milliseconds(50))).has_value());
  const auto up = lane.value()->wait_established(soon());
  ASSERT_FALSE(up.has_value());
  EXPECT_EQ(lane.value()->state(), LaneState::kClosed);
}

TEST(Lane, JunkOnASharedUdpSocketMakesNoPeersAndEndsNothing) {
  const Ends ends;
  Joined joined;
  ASSERT_NO_FATAL_FAILURE(joined.join("udp", ends.options(true), ends.options(false)));
  const int stranger = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const std::string text = joined.listener->local().text;
  to.sin_port = htons(static_cast<std::uint16_t>(std::stoi(text.substr(text.rfind(':') + 1))));
  std::mt19937 random(1);
  for (int i = 0; i < 2000; ++i) {
    Bytes junk(random() % 300);
    for (std::byte& b : junk) b = static_cast<std::byte>(random());
    ::sendto(stranger, junk.data(), junk.size(), 0, reinterpret_cast<const sockaddr*>(&to),
             sizeof to);
  }
  ::close(stranger);
  ASSERT_TRUE(joined.a->write(pattern(500), soon()).has_value());
  EXPECT_EQ(read_exactly(*joined.b, 500), pattern(500));
  EXPECT_FALSE(joined.listener->accept(in(milliseconds(20))).has_value());
}

}  // namespace
}  // namespace sealane::net
