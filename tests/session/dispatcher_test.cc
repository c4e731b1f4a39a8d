// Goal: each message and problem reaches the one it concerns. Method: two sessions, one dispatched.
#include "session/dispatcher.h"

#include <gtest/gtest.h>

#include "tests/session/link.h"

namespace sealane::session {
namespace {
using namespace testing;
using namespace std::chrono_literals;

constexpr auto kReadWrite = MessageType::kReadWrite;
constexpr auto kOne = MessageType{2};
constexpr auto kTwo = MessageType{3};

class DispatcherTest : public ::testing::Test {
 protected:
  DispatcherTest() : dispatcher_(make_handler(), 1000) {
    nodes_.establish();
    nodes_.b.reading = false;
  }
  Dispatcher::SessionHandler make_handler() {
    return {[this](const SessionEvent& event) {
              if (const auto* closed = std::get_if<Closed>(&event)) closed_ = closed->reason;
            },
            [this](MessageType type, const Error& error) { errors_.emplace_back(type, error); }};
  }
  void run() {
    nodes_.link.run_for(10ms);
    dispatcher_.drain(nodes_.b.session);
  }
  TwoNodes nodes_;
  Dispatcher dispatcher_;
  std::optional<CloseReason> closed_;
  std::vector<std::pair<MessageType, Error>> errors_;
};

TEST_F(DispatcherTest, ChannelsGoToTheirHandlersAndTheRestIsCounted) {
  std::vector<std::string> one;
  dispatcher_.set_handler(kOne, {[&](ByteSpan bytes) -> Result<void, Error> {
                                   one.push_back(to_text(bytes));
                                   return success();
                                 },
                                 {}});
  nodes_.send(nodes_.a, "first", kOne);
  nodes_.send(nodes_.a, "nobody's", kTwo);
  nodes_.send(nodes_.a, "second", kOne);
  run();
  EXPECT_EQ(one, (std::vector<std::string>{"first", "second"}));
  EXPECT_EQ(dispatcher_.dropped(), 1u);
  dispatcher_.remove_handler(kOne);
  nodes_.send(nodes_.a, "third", kOne);
  run();
  EXPECT_EQ(one.size(), 2u);
  EXPECT_EQ(dispatcher_.dropped(), 2u);
}

TEST_F(DispatcherTest, ErrorsGoToTheChannelsHandlerElseToTheSessions) {
  std::vector<std::string> own;
  const auto refuse = [](ByteSpan bytes) -> Result<void, Error> {
    return Error{ErrorKind::kRefused, to_text(bytes)};
  };
  dispatcher_.set_handler(kOne,
                          {refuse, [&](const Error& error) { own.push_back(error.message); }});
  dispatcher_.set_handler(kTwo, {refuse, {}});
  nodes_.send(nodes_.a, "one", kOne);
  nodes_.send(nodes_.a, "two", kTwo);
  run();
  EXPECT_EQ(own, std::vector<std::string>{"one"});
  ASSERT_EQ(errors_.size(), 1u);
  EXPECT_EQ(errors_[0], (std::pair{kTwo, Error{ErrorKind::kRefused, "two"}}));
}

TEST_F(DispatcherTest, TheBytePipeIsMessagesOrAStream) {
  for (const char* text : {"hello ", "", "world", "!"}) nodes_.send(nodes_.a, text);
  run();
  EXPECT_EQ(dispatcher_.readable_bytes(), 12u);
  EXPECT_EQ(dispatcher_.readable_messages(), 4u);
  ByteArray<8> buffer{};
  EXPECT_EQ(dispatcher_.read(buffer), 8u);
  EXPECT_EQ(as_text(buffer), "hello wo");
  EXPECT_EQ(to_text(*dispatcher_.read_message()), "rld");
  EXPECT_EQ(dispatcher_.read(buffer), 1u);
  EXPECT_EQ(dispatcher_.read(buffer), 0u);
  EXPECT_FALSE(dispatcher_.read_message().has_value());
  EXPECT_EQ(dispatcher_.readable_bytes(), 0u);
}

TEST_F(DispatcherTest, AHandlerTakesThePipeAndAnUnreadPipeStops) {
  std::string all;
  dispatcher_.set_handler(kReadWrite, {[&](ByteSpan bytes) -> Result<void, Error> {
                                         all += to_text(bytes);
                                         return success();
                                       },
                                       {}});
  nodes_.send(nodes_.a, "taken");
  run();
  EXPECT_EQ(all, "taken");
  EXPECT_EQ(dispatcher_.readable_messages(), 0u);
  dispatcher_.remove_handler(kReadWrite);
  for (int i = 0; i < 30; ++i) nodes_.send(nodes_.a, std::string(100, 'x'));
  run();
  EXPECT_EQ(dispatcher_.readable_bytes(), 1000u);
  std::size_t read = 0;
  while (const auto message = dispatcher_.read_message()) {
    read += message->size();
    dispatcher_.drain(nodes_.b.session);
  }
  EXPECT_EQ(read, 3000u);
  nodes_.a.session.close(nodes_.link.now());
  run();
  EXPECT_EQ(closed_, CloseReason::kByPeer);
}

}  // namespace
}  // namespace sealane::session
