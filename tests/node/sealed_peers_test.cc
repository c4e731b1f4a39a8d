// Goal: what two clients seal to each other arrives once, in order, and small messages share
// datagrams only while the hub is busy. Method: both ends in memory; a hub that takes datagrams
// when the test says so; the number of datagrams is counted.
#include "node/sealed_peers.h"

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "node/hub_profile.h"
#include "tests/support/doubles.h"

namespace sealane::node {
namespace {

constexpr auto kLater = std::chrono::milliseconds(1);

struct End {
  End(testing::ManualClock& the_clock, RandomSource& random)
      : clock(the_clock),
        key(std::make_shared<const identity::SigningKey>(
            identity::SigningKey::generate(random, "test"))),
        id(client_id_of(key->public_key())),
        sealed(
            key,
            [this](const hub::ClientId& peer) -> std::optional<crypto::Ed25519Public> {
              const auto found = pinned.find(peer);
              return found == pinned.end() ? std::nullopt : std::optional(found->second);
            },
            clock, random) {}
  void pin(const End& other) { pinned.emplace(other.id, other.key->public_key()); }
  bool say(const End& to, std::string_view text) {
    return sealed.send(to.id, as_bytes(text), clock.steady_now());
  }
  std::vector<std::string> heard() {
    std::vector<std::string> texts;
    while (auto event = sealed.next_event()) {
      if (const auto* message = std::get_if<SealedPeers::Message>(&*event)) {
        texts.push_back(to_text(message->data));
      } else if (std::holds_alternative<SealedPeers::Ended>(*event)) {
        ended = true;
      }
    }
    return texts;
  }

  testing::ManualClock& clock;
  std::shared_ptr<const identity::SigningKey> key;
  hub::ClientId id;
  std::map<hub::ClientId, crypto::Ed25519Public> pinned;
  SealedPeers sealed;
  bool ended = false;
};

class SealedPeersTest : public ::testing::Test {
 protected:
  SealedPeersTest() {
    a_.pin(b_);
    b_.pin(a_);
  }
  // What one end has ready goes to the other; how many datagrams that were.
  int carry(End& from, End& to) {
    int count = 0;
    while (auto output = from.sealed.next_output()) {
      EXPECT_EQ(output->first, to.id);
      EXPECT_TRUE(SealedPeers::is_sealed(output->second));
      EXPECT_TRUE(to.sealed.receive(from.id, output->second, clock_.steady_now()));
      ++count;
    }
    return count;
  }
  void settle() {
    while (carry(a_, b_) + carry(b_, a_) > 0) clock_.advance(kLater);
  }
  void establish() {
    ASSERT_TRUE(a_.say(b_, "first"));
    a_.sealed.flush();
    settle();
    ASSERT_EQ(b_.heard(), (std::vector<std::string>{"first"}));
    a_.heard();
  }

  testing::SeededRandom random_{1};
  testing::ManualClock clock_{WallTime(std::chrono::hours(24))};
  End a_{clock_, random_};
  End b_{clock_, random_};
};

TEST_F(SealedPeersTest, WhatIsSentWhileTheHubIsBusySharesADatagram) {
  establish();
  std::vector<std::string> all;
  for (int i = 0; i < 100; ++i) {
    all.push_back("message " + std::to_string(i));
    ASSERT_TRUE(a_.say(b_, all.back()));
    ASSERT_EQ(carry(a_, b_), 0) << "nothing is full, and nobody said that the hub is ready";
  }
  a_.sealed.flush();
  EXPECT_EQ(carry(a_, b_), 1);
  EXPECT_EQ(b_.heard(), all);
}

TEST_F(SealedPeersTest, AFlushAfterEachMessageSendsEachAlone) {
  establish();
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(a_.say(b_, "alone"));
    a_.sealed.flush();
    EXPECT_EQ(carry(a_, b_), 1);
  }
  EXPECT_EQ(b_.heard().size(), 3u);
  a_.sealed.flush();
  EXPECT_EQ(carry(a_, b_), 0);
}

TEST_F(SealedPeersTest, AFullDatagramDoesNotWait) {
  establish();
  const std::string half(SealedPeers::kMaxPayload / 2 + 1, 'x');
  ASSERT_TRUE(a_.say(b_, half));
  EXPECT_EQ(carry(a_, b_), 0);
  ASSERT_TRUE(a_.say(b_, half));  // does not fit beside it
  EXPECT_EQ(carry(a_, b_), 1);
  a_.sealed.flush();
  EXPECT_EQ(carry(a_, b_), 1);
  EXPECT_EQ(b_.heard(), (std::vector<std::string>{half, half}));
}

TEST_F(SealedPeersTest, WithoutAFlushItGoesAfterAWhile) {
  establish();
  ASSERT_TRUE(a_.say(b_, "late"));
  EXPECT_EQ(carry(a_, b_), 0);
  ASSERT_TRUE(a_.sealed.deadline());
  EXPECT_LE(*a_.sealed.deadline(), clock_.steady_now() + SealedPeers::kGatherTime);
  clock_.advance(SealedPeers::kGatherTime);
  a_.sealed.on_deadline(clock_.steady_now());
  EXPECT_EQ(carry(a_, b_), 1);
  EXPECT_EQ(b_.heard(), (std::vector<std::string>{"late"}));
}

TEST_F(SealedPeersTest, CloseSendsWhatGathered) {
  establish();
  ASSERT_TRUE(a_.say(b_, "last"));
  a_.sealed.close(b_.id, clock_.steady_now());
  settle();
  EXPECT_EQ(b_.heard(), (std::vector<std::string>{"last"}));
  a_.heard();
  EXPECT_TRUE(a_.ended);
  EXPECT_TRUE(b_.ended);
  EXPECT_TRUE(a_.sealed.idle());
  EXPECT_TRUE(b_.sealed.idle());
  ASSERT_TRUE(a_.say(b_, "first"));  // a session of its own
  a_.sealed.flush();
  settle();
  EXPECT_EQ(b_.heard(), (std::vector<std::string>{"first"}));
}

TEST_F(SealedPeersTest, WhoEndsAnswersNobody) {
  establish();
  ASSERT_TRUE(a_.say(b_, "last"));
  a_.sealed.close_all(clock_.steady_now());
  // Both say goodbye at the same time. What of it comes late, and twice, begins nothing again.
  b_.sealed.close(a_.id, clock_.steady_now());
  std::vector<Bytes> late;
  while (auto output = b_.sealed.next_output()) late.push_back(std::move(output->second));
  ASSERT_FALSE(late.empty());
  while (a_.sealed.next_output()) {
  }
  a_.heard();
  EXPECT_TRUE(a_.ended);
  EXPECT_TRUE(a_.sealed.idle());
  for (int copy = 0; copy < 2; ++copy) {
    EXPECT_FALSE(a_.sealed.receive(b_.id, late[0], clock_.steady_now()));
  }
  EXPECT_TRUE(a_.sealed.idle());
  EXPECT_FALSE(a_.sealed.next_output());
  EXPECT_FALSE(a_.sealed.deadline());
}

TEST_F(SealedPeersTest, PeersTakeTurns) {
  End c(clock_, random_);
  a_.pin(c);
  c.pin(a_);
  const std::string large(SealedPeers::kMaxPayload, 'x');
  ASSERT_TRUE(a_.say(b_, large));
  ASSERT_TRUE(a_.say(c, large));
  std::map<hub::ClientId, End*> ends = {{a_.id, &a_}, {b_.id, &b_}, {c.id, &c}};
  std::vector<hub::ClientId> order;
  for (bool moved = true; moved;) {
    moved = false;
    a_.sealed.flush();
    for (End* from : {&a_, &b_, &c}) {
      while (auto output = from->sealed.next_output()) {
        ends.at(output->first)->sealed.receive(from->id, output->second, clock_.steady_now());
        moved = true;
      }
    }
  }
  for (int i = 0; i < 4; ++i) {
    ASSERT_TRUE(a_.say(b_, large));
    ASSERT_TRUE(a_.say(c, large));
  }
  a_.sealed.flush();
  while (auto output = a_.sealed.next_output()) order.push_back(output->first);
  ASSERT_EQ(order.size(), 8u);
  for (std::size_t i = 1; i < order.size(); ++i) EXPECT_NE(order[i], order[i - 1]);
}

TEST_F(SealedPeersTest, NobodyPinnedNothingSent) {
  End stranger(clock_, random_);
  EXPECT_FALSE(a_.say(stranger, "hello"));
  a_.sealed.flush();
  EXPECT_FALSE(a_.sealed.next_output());
  EXPECT_TRUE(a_.sealed.idle());
}

}  // namespace
}  // namespace sealane::node
