// Goal: the simulated network keeps the contract of network.h and its own promises, so that what is
// tested on it is tested on a network. Method: virtual time, many seeds.
#include "tests/support/simulated_network.h"

#include <gtest/gtest.h>

#include <optional>
#include <random>
#include <set>
#include <vector>

namespace sealane::testing {
namespace {
using namespace std::chrono_literals;

Bytes pattern(std::size_t size, std::uint64_t seed) {
  std::mt19937_64 engine(seed);
  Bytes out(size);
  for (std::byte& byte : out) byte = static_cast<std::byte>(engine());
  return out;
}

// Reads to the end; remembers how it ended.
struct Collector {
  explicit Collector(Connection& connection) : connection_(connection) { next(); }
  void next() {
    connection_.read(buffer_, [this](NetworkResult<std::size_t> result) {
      if (!result.has_value()) {
        ended = result.error().code;
        return;
      }
      EXPECT_GT(result.value(), 0u);
      EXPECT_LE(result.value(), buffer_.size());
      received.insert(received.end(), buffer_.begin(),
                      buffer_.begin() + static_cast<std::ptrdiff_t>(result.value()));
      ++reads;
      next();
    });
  }
  Bytes received;
  std::size_t reads = 0;
  std::optional<NetworkErrorCode> ended;

 private:
  Connection& connection_;
  ByteArray<4096> buffer_{};
};

struct World {
  explicit World(std::uint64_t seed) : network(loop, seed) {
    network.host("shop");
    network.host("vault");
  }
  // Both ends of a connection from shop to vault.
  std::pair<std::unique_ptr<Connection>, std::unique_ptr<Connection>> connection() {
    std::unique_ptr<Connection> client;
    std::unique_ptr<Connection> server;
    auto listener = network.host("vault").listen({"tcp:vault:0"});
    EXPECT_TRUE(listener.has_value());
    listener.value()->accept([&](auto result) { server = std::move(result.value()); });
    network.host("shop").connect(listener.value()->local(), loop.steady_now() + 10s,
                                 [&](auto result) { client = std::move(result.value()); });
    loop.run();
    EXPECT_TRUE(client && server);
    return {std::move(client), std::move(server)};
  }
  std::optional<NetworkErrorCode> connect_error(const std::string& to,
                                                std::chrono::nanoseconds patience = 5s) {
    std::optional<NetworkErrorCode> code;
    network.host("shop").connect({to}, loop.steady_now() + patience, [&](auto result) {
      if (!result.has_value()) code = result.error().code;
    });
    EXPECT_FALSE(code) << "called inside connect()";
    loop.run();
    return code;
  }
  EventLoop loop;
  SimulatedNetwork network;
};

TEST(EventLoop, RunsInOrderOfTimeThenOfArrival) {
  EventLoop loop;
  std::string order;
  loop.at(SteadyTime{2s}, [&] { order += "c"; });
  loop.at(SteadyTime{1s}, [&] {
    order += "a";
    loop.at(SteadyTime{0s}, [&] { order += "b"; });  // the past is now
  });
  loop.at(SteadyTime{2s}, [&] { order += "d"; });
  loop.at(SteadyTime{9s}, [&] { order += "e"; });
  loop.run_until(SteadyTime{5s});
  EXPECT_EQ(order, "abcd");
  EXPECT_EQ(loop.steady_now(), SteadyTime{5s});
  loop.run();
  EXPECT_EQ(order, "abcde");
  EXPECT_EQ(loop.wall_now(), WallTime{9s});
}

TEST(SimulatedStream, DeliversAllBytesInOrderInManyCuts) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    World world(seed);
    world.network.set_link("shop", "vault", {.max_segment = 1 + seed * 37});
    auto [client, server] = world.connection();
    const Bytes sent = pattern(300'000, seed);
    Collector collector(*server);
    bool written = false;
    client->write(sent, [&](NetworkResult<void> result) {
      EXPECT_TRUE(result.has_value());
      written = true;
    });
    EXPECT_FALSE(written) << "called inside write()";
    world.loop.run();
    EXPECT_TRUE(written);
    EXPECT_EQ(collector.received, sent) << "seed " << seed;
    EXPECT_GT(collector.reads, 300'000u / 4096) << "seed " << seed;
    EXPECT_FALSE(collector.ended);
    client->shutdown_write();
    world.loop.run();
    EXPECT_EQ(collector.ended, NetworkErrorCode::kClosed);
  }
}

TEST(SimulatedStream, AWriterWaitsForAReader) {
  World world(1);
  auto [client, server] = world.connection();
  const Bytes sent = pattern(SimulatedNetwork::kWindow * 3, 1);
  bool written = false;
  client->write(sent, [&](NetworkResult<void>) { written = true; });
  world.loop.run();
  EXPECT_FALSE(written) << "the window is full";
  Collector collector(*server);
  world.loop.run();
  EXPECT_TRUE(written);
  EXPECT_EQ(collector.received, sent);
}

TEST(SimulatedStream, HalfCloseLeavesTheOtherDirectionOpen) {
  World world(1);
  auto [client, server] = world.connection();
  client->shutdown_write();
  Collector request(*server);
  Collector answer(*client);
  world.loop.run();
  EXPECT_EQ(request.ended, NetworkErrorCode::kClosed);
  server->write(as_bytes("still here"), [](NetworkResult<void>) {});
  world.loop.run();
  EXPECT_EQ(as_text(answer.received), "still here");
  server.reset();
  world.loop.run();
  EXPECT_EQ(answer.ended, NetworkErrorCode::kClosed);
}

TEST(SimulatedStream, WritingToSomebodyWhoLeftIsAReset) {
  World world(1);
  auto [client, server] = world.connection();
  server.reset();
  world.loop.run();
  std::optional<NetworkErrorCode> code;
  const Bytes much = pattern(SimulatedNetwork::kWindow * 2, 1);
  client->write(much, [&](NetworkResult<void> result) {
    code = result.has_value() ? std::nullopt : std::optional(result.error().code);
  });
  world.loop.run();
  EXPECT_EQ(code, NetworkErrorCode::kReset);
}

TEST(SimulatedStream, LeavingWithUnreadDataResetsTheWriter) {
  World world(1);
  auto [client, server] = world.connection();
  std::optional<NetworkErrorCode> code;
  const Bytes much = pattern(SimulatedNetwork::kWindow * 2, 1);
  client->write(much, [&](NetworkResult<void> result) {
    if (!result.has_value()) code = result.error().code;
  });
  world.loop.run();
  server.reset();
  world.loop.run();
  EXPECT_EQ(code, NetworkErrorCode::kReset);
}

TEST(SimulatedStream, ACutResetsBothSidesAndLosesWhatWasUnderWay) {
  World world(3);
  auto [client, server] = world.connection();
  Collector at_client(*client);
  Collector at_server(*server);
  client->write(as_bytes("lost"), [](NetworkResult<void>) {});
  world.network.cut("vault", "shop");
  world.loop.run();
  EXPECT_EQ(at_client.ended, NetworkErrorCode::kReset);
  EXPECT_EQ(at_server.ended, NetworkErrorCode::kReset);
  EXPECT_TRUE(at_server.received.empty());
}

TEST(SimulatedStream, APartitionHoldsTheStreamUntilItHeals) {
  World world(4);
  auto [client, server] = world.connection();
  Collector collector(*server);
  world.network.partition("shop", "vault");
  const Bytes sent = pattern(20'000, 4);
  client->write(sent, [](NetworkResult<void>) {});
  world.loop.run();
  EXPECT_TRUE(collector.received.empty());
  world.network.heal("shop", "vault");
  world.loop.run();
  EXPECT_EQ(collector.received, sent);
}

TEST(SimulatedStream, DestructionCancelsWhatIsUnderWay) {
  World world(5);
  auto [client, server] = world.connection();
  std::optional<NetworkErrorCode> read;
  std::optional<NetworkErrorCode> written;
  ByteArray<16> buffer{};
  const Bytes much = pattern(SimulatedNetwork::kWindow * 2, 5);
  client->read(buffer, [&](auto result) { read = result.error().code; });
  client->write(much, [&](auto result) { written = result.error().code; });
  client.reset();
  EXPECT_FALSE(read || written) << "called inside the destructor";
  world.loop.run();
  EXPECT_EQ(read, NetworkErrorCode::kCancelled);
  EXPECT_EQ(written, NetworkErrorCode::kCancelled);

  auto listener = world.network.host("vault").listen({"tcp:vault:7"});
  std::optional<NetworkErrorCode> accepted;
  listener.value()->accept([&](auto result) { accepted = result.error().code; });
  listener.value().reset();
  world.loop.run();
  EXPECT_EQ(accepted, NetworkErrorCode::kCancelled);

  auto socket = world.network.host("vault").bind({"udp:vault:7"});
  std::optional<NetworkErrorCode> received;
  socket.value()->receive(buffer, [&](auto result) { received = result.error().code; });
  socket.value().reset();
  world.loop.run();
  EXPECT_EQ(received, NetworkErrorCode::kCancelled);
}

TEST(SimulatedConnect, SaysWhyNot) {
  World world(6);
  EXPECT_EQ(world.connect_error("tcp:vault:9"), NetworkErrorCode::kRefused);
  EXPECT_EQ(world.connect_error("tcp:nowhere:9"), NetworkErrorCode::kUnreachable);
  EXPECT_EQ(world.connect_error("tcp:vault"), NetworkErrorCode::kUnreachable);
  EXPECT_EQ(world.connect_error("unix:/run/none"), NetworkErrorCode::kRefused);
  const SteadyTime before = world.loop.steady_now();
  EXPECT_EQ(world.connect_error("tcp:vault:9", 10us), NetworkErrorCode::kTimedOut);
  world.network.partition("shop", "vault");
  EXPECT_EQ(world.connect_error("tcp:vault:9", 3s), NetworkErrorCode::kTimedOut);
  EXPECT_EQ(world.loop.steady_now(), before + 10us + 3s) << "at the deadline, not later";
}

TEST(SimulatedConnect, AnAddressHasOneOwnerAtATime) {
  World world(7);
  Network& vault = world.network.host("vault");
  auto first = vault.listen({"tcp:vault:7000"});
  ASSERT_TRUE(first.has_value());
  EXPECT_EQ(vault.listen({"tcp:vault:7000"}).error().code, NetworkErrorCode::kAddressInUse);
  EXPECT_EQ(vault.listen({"tcp:shop:7000"}).error().code, NetworkErrorCode::kUnreachable);
  first.value().reset();
  EXPECT_TRUE(vault.listen({"tcp:vault:7000"}).has_value());
  auto one = vault.listen({"tcp:vault:0"});
  auto two = vault.listen({"tcp:vault:0"});
  EXPECT_NE(one.value()->local(), two.value()->local());
}

TEST(SimulatedConnect, UnixSocketsStayInsideTheirHost) {
  World world(8);
  auto listener = world.network.host("vault").listen({"unix:/run/sealane"});
  EXPECT_EQ(world.connect_error("unix:/run/sealane"), NetworkErrorCode::kRefused);
  bool connected = false;
  world.network.host("vault").connect({"unix:/run/sealane"}, SteadyTime{60s},
                                      [&](auto result) { connected = result.has_value(); });
  world.loop.run();
  EXPECT_TRUE(connected);
}

TEST(SimulatedConnect, AFullBacklogRefuses) {
  World world(9);
  auto listener = world.network.host("vault").listen({"tcp:vault:7000"});
  std::vector<std::unique_ptr<Connection>> open;
  std::size_t refused = 0;
  for (std::size_t i = 0; i < SimulatedNetwork::kBacklog + 3; ++i) {
    world.network.host("shop").connect({"tcp:vault:7000"}, SteadyTime{60s}, [&](auto result) {
      if (result.has_value()) {
        open.push_back(std::move(result.value()));
      } else {
        EXPECT_EQ(result.error().code, NetworkErrorCode::kRefused);
        ++refused;
      }
    });
  }
  world.loop.run();
  EXPECT_EQ(refused, 3u);
  Collector collector(*open.front());
  listener.value().reset();
  world.loop.run();
  EXPECT_EQ(collector.ended, NetworkErrorCode::kReset) << "nobody will ever accept it";
}

// Sends `count` numbered datagrams from shop to vault; the numbers in the order of arrival.
struct DatagramRun {
  DatagramRun(std::uint64_t seed, const LinkOptions& link, std::uint32_t count) : world(seed) {
    world.network.set_link("shop", "vault", link);
    auto from = world.network.host("shop").bind({"udp:shop:0"});
    auto to = world.network.host("vault").bind({"udp:vault:7"});
    receive(*to.value(), from.value()->local());
    for (std::uint32_t i = 0; i < count; ++i) {
      world.loop.at(SteadyTime{i * 100us}, [&from, i] {
        ByteArray<4> number{};
        for (std::size_t at = 0; at < 4; ++at) number[at] = static_cast<std::byte>(i >> (8 * at));
        EXPECT_TRUE(from.value()->send({"udp:vault:7"}, number).has_value());
      });
    }
    world.loop.run();
  }
  void receive(DatagramSocket& socket, const Address& sender) {
    socket.receive(buffer, [this, &socket, sender](auto result) {
      if (!result.has_value()) return;
      EXPECT_EQ(result.value().size, 4u);
      EXPECT_EQ(result.value().from, sender);
      std::uint32_t number = 0;
      for (std::size_t at = 0; at < 4; ++at) {
        number |= std::to_integer<std::uint32_t>(buffer[at]) << (8 * at);
      }
      arrived.push_back(number);
      receive(socket, sender);
    });
  }
  World world;
  ByteArray<64> buffer{};
  std::vector<std::uint32_t> arrived;
};

TEST(SimulatedDatagrams, AGoodLinkLosesNothing) {
  const DatagramRun run(1, {.delay_min = 1ms, .delay_max = 1ms}, 1000);
  ASSERT_EQ(run.arrived.size(), 1000u);
  EXPECT_TRUE(std::ranges::is_sorted(run.arrived));
}

TEST(SimulatedDatagrams, ABadLinkLosesDoublesAndReorders) {
  const DatagramRun run(2, {.delay_max = 200us, .loss = 0.2, .duplication = 0.1, .reordering = 0.1},
                        5000);
  const auto& counters = run.world.network.counters();
  EXPECT_EQ(counters.datagrams_sent, 5000u);
  EXPECT_NEAR(static_cast<double>(counters.datagrams_lost), 1000, 120);
  EXPECT_NEAR(static_cast<double>(counters.datagrams_duplicated), 400, 80);
  EXPECT_EQ(run.arrived.size(), counters.datagrams_delivered);
  EXPECT_EQ(counters.datagrams_delivered,
            counters.datagrams_sent - counters.datagrams_lost + counters.datagrams_duplicated);
  EXPECT_FALSE(std::ranges::is_sorted(run.arrived));
  EXPECT_LT(std::set(run.arrived.begin(), run.arrived.end()).size(), run.arrived.size());
}

TEST(SimulatedDatagrams, APartitionAndAFullQueueLoseThem) {
  World world(3);
  auto from = world.network.host("shop").bind({"udp:shop:0"});
  auto to = world.network.host("vault").bind({"udp:vault:7"});
  world.network.partition("shop", "vault");
  EXPECT_TRUE(from.value()->send({"udp:vault:7"}, as_bytes("gone")).has_value());
  world.loop.run();
  EXPECT_EQ(world.network.counters().datagrams_lost, 1u);
  world.network.heal("shop", "vault");
  for (std::size_t i = 0; i < SimulatedNetwork::kDatagramBacklog + 5; ++i) {
    EXPECT_TRUE(from.value()->send({"udp:vault:7"}, as_bytes("kept")).has_value());
  }
  world.loop.run();
  EXPECT_EQ(world.network.counters().datagrams_lost, 6u);
  ByteArray<2> small{};
  std::size_t size = 0;
  to.value()->receive(small, [&](auto result) { size = result.value().size; });
  world.loop.run();
  EXPECT_EQ(as_text(small), "ke") << "what does not fit is cut off";
  EXPECT_EQ(size, 2u);
  EXPECT_FALSE(from.value()->send({"udp:vault:7"}, Bytes(65508)).has_value());
  EXPECT_FALSE(from.value()->send({"udp:nowhere:7"}, as_bytes("x")).has_value());
}

TEST(SimulatedNetwork, TheSameSeedGivesTheSameRun) {
  const LinkOptions link{.loss = 0.1, .duplication = 0.1, .reordering = 0.2};
  const DatagramRun one(42, link, 500);
  const DatagramRun two(42, link, 500);
  const DatagramRun other(43, link, 500);
  EXPECT_EQ(one.arrived, two.arrived);
  EXPECT_EQ(one.world.network.trace(), two.world.network.trace());
  EXPECT_NE(one.world.network.trace(), other.world.network.trace());
}

TEST(SimulatedNetwork, ConnectionsMayOutliveItAndTheirEvents) {
  EventLoop loop;
  std::unique_ptr<Connection> client;
  std::unique_ptr<Listener> listener;
  {
    SimulatedNetwork network(loop, 1);
    listener = std::move(network.host("vault").listen({"tcp:vault:1"}).value());
    listener->accept([](auto) { FAIL() << "the loop ended before"; });
    network.host("vault").connect({"tcp:vault:1"}, SteadyTime{10s},
                                  [&](auto result) { client = std::move(result.value()); });
    while (!client) ASSERT_TRUE(loop.run_one());
  }
  client->write(as_bytes("x"), [](auto) {});
}

}  // namespace
}  // namespace sealane::testing
