// Goal: lanes from coroutines and from plain callbacks do what the calls that wait do, each wait
// ends exactly once, and none needs a thread. Method: an echo server and its clients on one host,
// slow readers, deadlines, closes and destructions in the middle of a wait.
#include "sealane/net/lane_task.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <atomic>

#include "sealane/store/system.h"
#include "tests/support/doubles.h"

namespace sealane::net {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

SteadyTime in(std::chrono::nanoseconds time) { return std::chrono::steady_clock::now() + time; }
SteadyTime soon() { return in(seconds(30)); }

class LaneTask : public ::testing::Test {
 protected:
  LaneTask() { directory_ = ::mkdtemp(directory_.data()); }
  ~LaneTask() override { static_cast<void>(::rmdir(directory_.c_str())); }

  LaneOptions options(bool first) const {
    LaneOptions out;
    out.identity = first ? a_ : b_;
    out.peer = (first ? b_ : a_)->public_key();
    return out;
  }
  std::unique_ptr<LaneListener> listen() {
    return std::move(host_.listen({"unix:" + directory_ + "/s"}, options(false)).value());
  }
  static std::shared_ptr<const identity::SigningKey> make(std::uint64_t seed) {
    testing::SeededRandom random(seed);
    return std::make_shared<const identity::SigningKey>(identity::SigningKey::generate(random, ""));
  }

  std::string directory_ = "/tmp/sealane-task-XXXXXX";
  std::shared_ptr<const identity::SigningKey> a_ = make(1);
  std::shared_ptr<const identity::SigningKey> b_ = make(2);
  LaneHost host_{system_clock(), system_random()};
};

Task<void> echo(std::unique_ptr<Lane> lane) {
  Bytes buffer(20'000);
  for (;;) {
    const auto size = co_await read(*lane, buffer);
    if (!size.has_value() || size.value() == 0) co_return;
    const auto back = co_await write(*lane, ByteSpan(buffer).first(size.value()));
    if (!back.has_value()) co_return;
  }
}

Task<Result<std::size_t, Error>> ask(LaneHost& host, Address at, LaneOptions options,
                                     std::size_t size) {
  SEALANE_CO_TRY(const auto lane, co_await dial(host, at, options, soon()));
  SEALANE_CO_TRY(co_await established(*lane, soon()));
  Bytes question(size);
  for (std::size_t i = 0; i < size; ++i) question[i] = static_cast<std::byte>(i * 31 + size);
  SEALANE_CO_TRY(co_await write(*lane, question, soon()));
  Bytes answer(size);
  std::size_t got = 0;
  while (got < size) {
    SEALANE_CO_TRY(const auto more,
                   co_await read(*lane, MutableByteSpan(answer).subspan(got), soon()));
    if (more == 0) break;
    got += more;
  }
  if (answer != question) co_return Error{ErrorKind::kFailed, "another answer"};
  lane->close();
  SEALANE_CO_TRY(co_await closed(*lane, soon()));
  co_return got;
}

TEST_F(LaneTask, EchoServerAndClientsOnOneThread) {
  auto listener = listen();
  std::atomic<int> ended{0};
  const auto serve = [](LaneHost& host, LaneListener& from, std::atomic<int>& count) -> Task<void> {
    for (;;) {
      auto lane = co_await accept(from);
      if (!lane.has_value()) co_return;
      spawn(host, echo(std::move(lane.value())), [&count] { ++count; });
    }
  };
  std::atomic<bool> served{false};
  spawn(host_, serve(host_, *listener, ended), [&] { served = true; });
  for (const std::size_t size : {1u, 1000u, 300'000u, 3'000'000u}) {
    const auto got = run(host_, ask(host_, listener->local(), options(true), size));
    ASSERT_TRUE(got.has_value()) << got.error().message;
    EXPECT_EQ(got.value(), size);
  }
  while (ended.load() < 4) ::usleep(1000);
  listener->cancel();
  while (!served.load()) ::usleep(1000);
}

TEST_F(LaneTask, AFullQueueIsWaitedFor) {
  auto listener = listen();
  auto a = std::move(host_.dial(listener->local(), options(true), soon()).value());
  LaneHost other(system_clock(), system_random());
  auto b = std::move(listener->accept(soon()).value());
  std::atomic<std::uint64_t> got{0};
  const auto fill = [](Lane& lane) -> Task<Result<std::size_t, Error>> {
    const Bytes message(1000, std::byte{3});
    for (std::size_t i = 0; i < 20'000; ++i) {
      SEALANE_CO_TRY(co_await send(lane, Channel{3}, message, soon()));
    }
    lane.flush();
    co_return std::size_t{20'000};
  };
  b->set_handler(Channel{3}, [&](ByteSpan message) { got += message.size(); });
  const auto sent_all = run(host_, fill(*a));
  ASSERT_TRUE(sent_all.has_value()) << sent_all.error().message;
  while (got.load() < 20'000'000) ::usleep(1000);
  EXPECT_EQ(got.load(), 20'000'000u);
}

TEST_F(LaneTask, EachWaitEndsOnceWhateverHappens) {
  auto listener = listen();
  auto a = std::move(host_.dial(listener->local(), options(true), soon()).value());
  auto b = std::move(listener->accept(soon()).value());
  std::atomic<int> errors{0};
  std::atomic<int> successes{0};
  const auto done = [&](Result<void, Error> result) {
    ++(result.has_value() ? successes : errors);
  };
  a->when_established(done);
  a->when_writable(done);
  a->when_readable(done, in(milliseconds(20)));  // nothing comes: its deadline
  while (successes + errors < 3) ::usleep(1000);
  EXPECT_EQ(successes, 2);
  a->when_readable(done);
  a->when_closed(done);
  a->when_sent(LaneTicket{1'000'000}, done);
  b->close();
  while (successes + errors < 6) ::usleep(1000);
  EXPECT_EQ(successes, 4);  // the end can be read, and it is closed
  EXPECT_EQ(errors, 2);
  a->when_established(done);
  while (errors < 3) ::usleep(1000);
  // Destroyed in the middle of a wait.
  auto c = std::move(host_.dial(listener->local(), options(true), soon()).value());
  ASSERT_TRUE(c->wait_established(soon()).has_value());
  c->when_sent(LaneTicket{1'000'000}, done);
  c.reset();
  EXPECT_EQ(errors, 4);
  EXPECT_EQ(successes, 4);
}

TEST_F(LaneTask, ThereIsALimitToWaiting) {
  auto listener = listen();
  auto a = std::move(host_.dial(listener->local(), options(true), soon()).value());
  std::atomic<std::size_t> ended{0};
  for (std::size_t i = 0; i < Lane::kMaxWaits + 1; ++i) {
    a->when_closed([&](const Result<void, Error>&) { ++ended; });
  }
  while (ended < 1) ::usleep(1000);
  EXPECT_EQ(ended, 1u);
  a.reset();
  EXPECT_EQ(ended, Lane::kMaxWaits + 1);
}

TEST_F(LaneTask, DialingFailsWithTheReason) {
  const auto try_it = [](LaneHost& host, Address at, LaneOptions how) -> Task<ErrorKind> {
    const auto lane = co_await dial(host, std::move(at), std::move(how), soon());
    co_return lane.has_value() ? ErrorKind{0} : lane.error().kind;
  };
  EXPECT_EQ(run(host_, try_it(host_, {"unix:" + directory_ + "/nobody"}, options(true))),
            ErrorKind::kFailed);
  EXPECT_EQ(run(host_, try_it(host_, {"tcp:a.name:1"}, options(true))), ErrorKind::kUsage);
  EXPECT_EQ(run(host_, try_it(host_, {"unix:" + directory_ + "/x"}, LaneOptions{})),
            ErrorKind::kUsage);
}

TEST_F(LaneTask, AcceptingEndsByItsDeadlineAndWithTheListener) {
  auto listener = listen();
  std::atomic<int> ended{0};
  const auto done = [&](const Result<std::unique_ptr<Lane>, Error>& lane) {
    EXPECT_FALSE(lane.has_value());
    ++ended;
  };
  listener->when_accepted(done, in(milliseconds(10)));
  while (ended < 1) ::usleep(1000);
  listener->when_accepted(done);
  listener->when_accepted(done);  // one at a time
  while (ended < 2) ::usleep(1000);
  listener.reset();
  EXPECT_EQ(ended, 3);
}

}  // namespace
}  // namespace sealane::net
