// Goal: the seam's promises over real sockets. Method: both ends on one loop; each callback lands
// in a box that the test waits for.
#include "net/real_network.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <functional>
#include <future>

namespace sealane::net {
namespace {

using std::chrono::seconds;

template <class T>
T wait_for(std::future<T> future) {
  EXPECT_EQ(future.wait_for(seconds(30)), std::future_status::ready);
  return future.get();
}

// Runs `start` on the loop, which hands its callback the result.
template <class T>
T ask(IoLoop& loop, const std::function<void(std::function<void(T)>)>& start) {
  auto box = std::make_shared<std::promise<T>>();
  auto future = box->get_future();
  loop.run([&] { start([box](T value) { box->set_value(std::move(value)); }); });
  return wait_for(std::move(future));
}

using Connected = NetworkResult<std::unique_ptr<Connection>>;
using Size = NetworkResult<std::size_t>;
using Done = NetworkResult<void>;

class RealNetworkOver : public ::testing::TestWithParam<const char*> {
 protected:
  RealNetworkOver() {
    std::string name = "/tmp/sealane-net-XXXXXX";
    directory_ = ::mkdtemp(name.data());
    loop_.run([this] { network_ = make_network(loop_); });
  }
  ~RealNetworkOver() override {
    loop_.run([this] {
      near_.reset();
      far_.reset();
      listener_.reset();
      network_.reset();
    });
    static_cast<void>(::rmdir(directory_.c_str()));
  }
  void join() {
    const std::string kind = GetParam();
    const Address at{kind == "tcp" ? "tcp:127.0.0.1:0" : kind + ":" + directory_ + "/s"};
    loop_.run([&] { listener_ = std::move(network_->listen(at).value()); });
    auto accepted = std::make_shared<std::promise<Connected>>();
    auto future = accepted->get_future();
    loop_.run(
        [&] { listener_->accept([accepted](Connected c) { accepted->set_value(std::move(c)); }); });
    near_ = std::move(ask<Connected>(loop_, [&](auto done) {
                        network_->connect(listener_->local(), IoLoop::now() + seconds(30), done);
                      }).value());
    far_ = std::move(wait_for(std::move(future)).value());
  }

  std::string directory_;
  IoLoop loop_;
  std::unique_ptr<Network> network_;
  std::unique_ptr<Listener> listener_;
  std::unique_ptr<Connection> near_;
  std::unique_ptr<Connection> far_;
};
INSTANTIATE_TEST_SUITE_P(Kinds, RealNetworkOver, ::testing::Values("tcp", "unix", "seqpacket"),
                         [](const auto& param) { return std::string(param.param); });

TEST_P(RealNetworkOver, BytesAndTheEnd) {
  join();
  const Bytes data(5000, std::byte{3});
  EXPECT_TRUE(ask<Done>(loop_, [&](auto done) { near_->write(data, done); }).has_value());
  Bytes got(5000);
  std::size_t at = 0;
  while (at < got.size()) {
    const auto size =
        ask<Size>(loop_, [&](auto done) { far_->read(MutableByteSpan(got).subspan(at), done); });
    ASSERT_TRUE(size.has_value());
    at += size.value();
  }
  EXPECT_EQ(got, data);
  loop_.run([&] { near_->shutdown_write(); });
  const auto end = ask<Size>(loop_, [&](auto done) { far_->read(got, done); });
  ASSERT_FALSE(end.has_value());
  EXPECT_EQ(end.error().code, NetworkErrorCode::kClosed);
}

TEST_P(RealNetworkOver, ALargeWriteWaitsForItsReader) {
  if (std::string_view(GetParam()) == "seqpacket") GTEST_SKIP() << "one write is one packet";
  join();
  const Bytes data(8 << 20, std::byte{5});
  auto written = std::make_shared<std::promise<Done>>();
  auto future = written->get_future();
  loop_.run([&] { near_->write(data, [written](Done d) { written->set_value(d); }); });
  Bytes buffer(1 << 16);
  std::size_t total = 0;
  while (total < data.size()) {
    const auto size = ask<Size>(loop_, [&](auto done) { far_->read(buffer, done); });
    ASSERT_TRUE(size.has_value());
    total += size.value();
  }
  EXPECT_TRUE(wait_for(std::move(future)).has_value());
}

TEST_P(RealNetworkOver, DestructionCancels) {
  join();
  Bytes buffer(10);
  auto read = std::make_shared<std::promise<Size>>();
  auto accepted = std::make_shared<std::promise<Connected>>();
  auto read_future = read->get_future();
  auto accept_future = accepted->get_future();
  loop_.run([&] {
    near_->read(buffer, [read](Size s) { read->set_value(s); });
    listener_->accept([accepted](Connected c) { accepted->set_value(std::move(c)); });
    near_.reset();
    listener_.reset();
  });
  EXPECT_EQ(wait_for(std::move(read_future)).error().code, NetworkErrorCode::kCancelled);
  EXPECT_EQ(wait_for(std::move(accept_future)).error().code, NetworkErrorCode::kCancelled);
}

TEST_P(RealNetworkOver, NobodyThereAndInUse) {
  join();
  const Address at = listener_->local();
  loop_.run([&] {
    EXPECT_EQ(network_->listen(at).error().code, NetworkErrorCode::kAddressInUse);
    EXPECT_FALSE(network_->bind(at).has_value());
    EXPECT_FALSE(network_->listen({"nothing"}).has_value());
    listener_.reset();
  });
  const auto refused = ask<Connected>(
      loop_, [&](auto done) { network_->connect(at, IoLoop::now() + seconds(30), done); });
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, NetworkErrorCode::kRefused);
  EXPECT_FALSE(ask<Connected>(loop_, [&](auto done) {
                 network_->connect({"udp:127.0.0.1:1"}, SteadyTime::max(), done);
               }).has_value());
}

TEST(RealDatagrams, ThereAndBack) {
  IoLoop loop;
  std::unique_ptr<Network> network;
  std::unique_ptr<DatagramSocket> a;
  std::unique_ptr<DatagramSocket> b;
  loop.run([&] {
    network = make_network(loop);
    a = std::move(network->bind({"udp:127.0.0.1:0"}).value());
    b = std::move(network->bind({"udp:127.0.0.1:0"}).value());
  });
  using Got = NetworkResult<DatagramSocket::Received>;
  Bytes buffer(100);
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{100}}) {
    const auto got = ask<Got>(loop, [&](auto done) {
      b->receive(buffer, done);
      EXPECT_TRUE(a->send(b->local(), Bytes(size, std::byte{9})).has_value());
    });
    ASSERT_TRUE(got.has_value());
    EXPECT_EQ(got.value().size, size);
    EXPECT_EQ(got.value().from, a->local());
  }
  loop.run([&] {
    EXPECT_FALSE(a->send({"udp:127.0.0.1:1"}, Bytes(70'000)).has_value());
    EXPECT_FALSE(a->send({"tcp:127.0.0.1:1"}, {}).has_value());
    a.reset();
    b.reset();
    network.reset();
  });
}

}  // namespace
}  // namespace sealane::net
