// Goal: two sets find exactly their difference, at a cost that follows it, whatever a peer answers.
// Method: random sets with random drift against std::set arithmetic (property); a simulated peer
// whose messages are cut, flipped, replayed, or whose set changes under way (simulation, seeded);
// bytes and rounds counted for a million items.
#include "oplog/reconcile.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace sealane::oplog {
namespace {

using Engine = std::mt19937_64;

ByteArray<32> random_block(Engine& engine) {
  ByteArray<32> out{};
  for (std::size_t i = 0; i < out.size(); i += 8) {
    std::uint64_t value = engine();
    for (std::size_t j = 0; j < 8; ++j, value >>= 8)
      out[i + j] = static_cast<std::byte>(value & 0xff);
  }
  return out;
}

std::vector<Item> random_items(Engine& engine, std::size_t count) {
  std::vector<Item> out(count);
  for (Item& item : out) item = random_block(engine);
  return out;
}

Result<void, ReconcileError> run(Reconciler& reconciler, const ReconcileSet& peer) {
  while (auto request = reconciler.next_request()) {
    SEALANE_TRY(const Bytes answer, peer.answer(*request));
    SEALANE_TRY(reconciler.on_answer(answer));
  }
  return success();
}

std::vector<Item> sorted(std::vector<Item> items) {
  std::ranges::sort(items);
  return items;
}
std::vector<Item> minus(const std::vector<Item>& a, const std::vector<Item>& b) {
  std::vector<Item> out;
  std::ranges::set_difference(a, b, std::back_inserter(out));
  return out;
}

void expect_difference(const std::vector<Item>& a, const std::vector<Item>& b, Engine& engine) {
  const auto seed = random_block(engine);
  const ReconcileSet here(a, seed);
  const ReconcileSet there(b, seed);
  Reconciler reconciler(here);
  const auto result = run(reconciler, there);
  ASSERT_TRUE(result.has_value()) << describe(result.error());
  EXPECT_TRUE(reconciler.done());
  EXPECT_EQ(sorted(reconciler.only_here()), minus(sorted(a), sorted(b)));
  EXPECT_EQ(sorted(reconciler.only_there()), minus(sorted(b), sorted(a)));
}

TEST(Reconcile, FindsExactlyTheDifferenceOfRandomSets) {
  Engine engine(1);
  for (const std::size_t common : {0U, 1U, 5U, 24U, 25U, 400U, 5000U}) {
    for (const std::size_t here : {0U, 1U, 30U, 700U}) {
      for (const std::size_t there : {0U, 1U, 30U, 700U}) {
        SCOPED_TRACE(::testing::Message() << common << ' ' << here << ' ' << there);
        auto a = random_items(engine, common);
        auto b = a;
        const auto more_a = random_items(engine, here);
        const auto more_b = random_items(engine, there);
        a.insert(a.end(), more_a.begin(), more_a.end());
        b.insert(b.end(), more_b.begin(), more_b.end());
        std::ranges::shuffle(b, engine);
        expect_difference(a, b, engine);
      }
    }
  }
}

// Keys with two values lie side by side; hashes of a clumsy user share long prefixes.
TEST(Reconcile, ItemsThatShareLongPrefixesAreFoundToo) {
  Engine engine(2);
  std::vector<Item> a;
  std::vector<Item> b;
  for (int group = 0; group < 20; ++group) {
    const Item prefix = random_block(engine);
    for (int i = 0; i < 60; ++i) {
      Item item = random_block(engine);
      std::copy_n(prefix.begin(), group % 2 == 0 ? 16 : 6, item.begin());
      if (i % 3 != 0) a.push_back(item);
      if (i % 3 != 1) b.push_back(item);
    }
  }
  expect_difference(a, b, engine);
}

TEST(Reconcile, DuplicatesCountOnce) {
  Engine engine(3);
  auto a = random_items(engine, 100);
  a.insert(a.end(), a.begin(), a.begin() + 50);
  EXPECT_EQ(ReconcileSet(a, random_block(engine)).size(), 100U);
}

TEST(Reconcile, CostFollowsTheDifference) {
  Engine engine(4);
  const std::size_t count = 100'000;
  auto a = random_items(engine, count);
  const auto seed = random_block(engine);
  const ReconcileSet here(a, seed);
  {
    Reconciler reconciler(here);
    ASSERT_TRUE(run(reconciler, here).has_value());
    EXPECT_EQ(reconciler.rounds(), 1U);
    EXPECT_LT(reconciler.bytes(), 64U);
  }
  for (const std::size_t changed : {std::size_t{1}, std::size_t{10}, count / 100}) {
    auto b = a;
    for (std::size_t i = 0; i < changed; ++i) {
      Item& item = b[i * (count / changed)];
      const Item other = random_block(engine);
      std::copy_n(other.begin(), 16, item.begin() + 16);  // another value of that key
    }
    const ReconcileSet there(b, seed);
    Reconciler reconciler(here);
    ASSERT_TRUE(run(reconciler, there).has_value());
    EXPECT_EQ(reconciler.only_here().size(), changed);
    EXPECT_EQ(reconciler.only_there().size(), changed);
    EXPECT_LE(reconciler.rounds(), 10U) << changed;
    EXPECT_LT(reconciler.bytes(), changed == 1 ? 1200U : changed * 1000) << changed;
    if (changed > 100) {
      EXPECT_LT(reconciler.bytes(), changed * 170) << "bytes per difference when there are many";
    }
  }
}

// Whatever comes back, the asking side ends: with the truth or with an error, never with a wrong
// difference.
TEST(ReconcileSimulation, AHostilePeerCannotMakeItWrong) {
  for (std::uint64_t seed_number = 1; seed_number <= 150; ++seed_number) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed_number);
    Engine engine(seed_number);
    auto a = random_items(engine, 1000);
    auto b = std::vector<Item>(a.begin() + 20, a.end());
    const auto more = random_items(engine, 30);
    b.insert(b.end(), more.begin(), more.end());
    const auto seed = random_block(engine);
    const ReconcileSet here(a, seed);
    const ReconcileSet there(b, seed);
    const ReconcileSet changed(std::vector<Item>(b.begin() + 1, b.end()), seed);
    Reconciler reconciler(here);
    Bytes last;
    bool honest = true;
    int steps = 0;
    for (; steps < 1000; ++steps) {
      const auto request = reconciler.next_request();
      if (!request) break;
      const bool other = engine() % 12 == 0;
      auto answer = (other ? changed : there).answer(*request);
      honest = honest && !other;
      if (!answer.has_value()) {
        EXPECT_FALSE(honest);
        break;
      }
      Bytes bytes = std::move(answer).value();
      const auto kind = engine() % 10;
      if (kind == 0 && !bytes.empty()) {
        bytes[engine() % bytes.size()] ^= static_cast<std::byte>(1U << (engine() % 8));
        honest = false;
      } else if (kind == 1) {
        bytes.resize(engine() % (bytes.size() + 1));
        honest = false;
      } else if (kind == 2) {
        bytes.push_back(std::byte{0});
        honest = false;
      } else if (kind == 3 && !last.empty()) {
        bytes = last;
        honest = false;
      }
      last = bytes;
      if (!reconciler.on_answer(bytes).has_value()) {
        EXPECT_FALSE(honest);
        EXPECT_FALSE(reconciler.next_request()) << "errors are final";
        break;
      }
    }
    EXPECT_LT(steps, 1000);
    if (!reconciler.done()) continue;
    // A summary of the changed set throughout is as good as honest.
    const auto found = sorted(reconciler.only_there());
    const auto of_b = minus(sorted(b), sorted(a));
    const auto of_changed = minus(sorted(std::vector<Item>(b.begin() + 1, b.end())), sorted(a));
    EXPECT_TRUE(found == of_b || found == of_changed);
  }
}

TEST(Reconcile, RequestsBeyondTheLimitsAreRefused) {
  Engine engine(5);
  const ReconcileSet set(random_items(engine, 50), random_block(engine));
  const auto error = [&](std::initializer_list<int> bytes) {
    Bytes request;
    for (const int byte : bytes) request.push_back(static_cast<std::byte>(byte));
    const auto answer = set.answer(request);
    return answer.has_value() ? std::optional<ReconcileError>() : answer.error();
  };
  EXPECT_EQ(error({}), ReconcileError::kMalformed);
  EXPECT_EQ(error({1}), ReconcileError::kMalformed);
  EXPECT_EQ(error({1, 2}), ReconcileError::kVersion);
  EXPECT_EQ(error({1, 1, 0}), ReconcileError::kMalformed);
  EXPECT_EQ(error({2}), ReconcileError::kMalformed) << "an answer is no request";
  EXPECT_EQ(error({9}), ReconcileError::kMalformed);
  EXPECT_EQ(error({3, 50, 0, 0, 0, 0, 0, 0, 0, 0}), ReconcileError::kSetChanged);
  // The same set named: its size and the first lane of its sum.
  Bytes named{std::byte{0}, std::byte{50}};
  for (int shift = 56; shift >= 0; shift -= 8) {
    named.push_back(static_cast<std::byte>((set.sum().lanes[0] >> shift) & 0xff));
  }
  const auto error_of = [&](int type, std::initializer_list<int> groups) {
    Bytes request = named;
    request[0] = static_cast<std::byte>(type);
    for (const int byte : groups) request.push_back(static_cast<std::byte>(byte));
    const auto answer = set.answer(request);
    return answer.has_value() ? std::optional<ReconcileError>() : answer.error();
  };
  EXPECT_EQ(error_of(3, {0, 1, 0}), std::nullopt);
  EXPECT_EQ(error_of(3, {0, 1, 1}), ReconcileError::kMalformed) << "the root has one path";
  EXPECT_EQ(error_of(3, {0, 0}), ReconcileError::kMalformed);
  EXPECT_EQ(error_of(3, {15, 1, 0}), ReconcileError::kMalformed) << "nothing lies below";
  EXPECT_EQ(error_of(5, {15, 1, 0}), std::nullopt);
  EXPECT_EQ(error_of(5, {16, 1, 0}), ReconcileError::kMalformed);
  EXPECT_EQ(error_of(3, {1, 2, 3, 0}), ReconcileError::kMalformed) << "no node twice";
  EXPECT_EQ(error_of(3, {1, 2, 3, 13}), ReconcileError::kMalformed) << "beyond the last";
  EXPECT_EQ(error_of(3, {1, 0x81, 0x20, 0}), ReconcileError::kLimits) << "4097 nodes";
  EXPECT_EQ(error_of(3, {1, 0x80, 0x00, 0}), ReconcileError::kMalformed) << "no short form";
  EXPECT_EQ(error_of(7, {0, 1, 0, 49}), std::nullopt);
  EXPECT_EQ(error_of(7, {0, 1, 0, 50}), ReconcileError::kMalformed) << "no such item";
}

}  // namespace
}  // namespace sealane::oplog
