// Goal: no id twice, none refused that is new and in the window. Method: the vectors; then a model
// (a set and a subtraction) against random walks with jumps of every size.
#include "session/replay_window.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

#include "tests/session/vectors.h"

namespace sealane::session {
namespace {

TEST(ReplayWindow, Vectors) {
  for (const auto& entry : vectors()["replay"]) {
    const std::int64_t bits = entry["storage_size"];
    SCOPED_TRACE(entry["name"].get<std::string>() + ", " + std::to_string(bits));
    ReplayWindow window(bits == 0 ? 1 : bits);  // no bits at all: ids must grow
    for (std::size_t i = 0; i < entry["ids"].size(); ++i) {
      const PacketId id = packet_id(entry["ids"][i]);
      const bool expected = entry["correct"][i];
      EXPECT_EQ(window.would_accept(id), expected) << i;
      EXPECT_EQ(window.accept(id), expected) << i;
      if (static_cast<std::uint64_t>(id) != 0) {
        EXPECT_FALSE(window.accept(id)) << i;
      }
    }
  }
}

struct Model {
  std::uint64_t size;
  std::uint64_t latest = 0;
  std::set<std::uint64_t> seen;
  bool accept(std::uint64_t id) {
    if (id <= latest && (latest - id >= size || id == latest)) return false;
    if (!seen.insert(id).second) return false;
    latest = std::max(latest, id);
    return true;
  }
};

class ReplayWindowSizes : public ::testing::TestWithParam<std::int64_t> {};

TEST_P(ReplayWindowSizes, AgreesWithTheModel) {
  const auto bits = static_cast<std::uint64_t>((GetParam() == 0 ? 256 : GetParam()) + 63) / 64 * 64;
  for (const std::uint64_t start :
       {2 * bits, std::uint64_t{1} << 62, ~std::uint64_t{0} - (std::uint64_t{1} << 30)}) {
    std::mt19937_64 random(start + bits);
    ReplayWindow window(GetParam());
    Model model{GetParam() == 1 ? 0 : bits, 0, {}};
    std::uint64_t around = start;
    int taken = 0;
    for (int i = 0; i < 10000; ++i) {
      if (random() % 8 == 0) around += random() % (2 * bits + 130);
      const std::uint64_t id = around - random() % (bits + bits / 4 + 2);
      const bool fresh = model.accept(id);
      ASSERT_EQ(window.would_accept(PacketId{id}), fresh) << i;
      ASSERT_EQ(window.accept(PacketId{id}), fresh) << i;
      taken += fresh ? 1 : 0;
    }
    EXPECT_GT(taken, 100);
    EXPECT_EQ(window.latest(), PacketId{model.latest});
  }
}
INSTANTIATE_TEST_SUITE_P(Sizes, ReplayWindowSizes,
                         ::testing::Values(0, 1, 2, 64, 65, 128, 256, 1000, 4096));

TEST(ReplayWindow, UncheckedTakesAll) {
  ReplayWindow window(-1);
  for (const std::uint64_t id : {5u, 5u, 1u, 0u}) EXPECT_TRUE(window.accept(PacketId{id}));
}

TEST(ReplayWindow, StrictGrowth) {
  ReplayWindow window(1);
  EXPECT_FALSE(window.accept(PacketId{0}));
  EXPECT_TRUE(window.accept(PacketId{5}));
  EXPECT_FALSE(window.accept(PacketId{5}));
  EXPECT_FALSE(window.accept(PacketId{4}));
  EXPECT_TRUE(window.accept(PacketId{~std::uint64_t{0}}));
  EXPECT_FALSE(window.accept(PacketId{6}));
}

TEST(ReplayWindow, AJumpOverTheWholeRingForgetsNothingOfTheNewWindow) {
  ReplayWindow window(256);
  EXPECT_TRUE(window.accept(PacketId{100}));
  EXPECT_TRUE(window.accept(PacketId{165}));
  EXPECT_FALSE(window.accept(PacketId{100}));  // a jump over 64 does not forget
  EXPECT_TRUE(window.accept(PacketId{1'000'000}));
  for (std::uint64_t id = 1'000'000 - 255; id < 1'000'000; ++id) {
    EXPECT_TRUE(window.accept(PacketId{id}));
  }
  for (std::uint64_t id = 1'000'000 - 300; id <= 1'000'000; ++id) {
    EXPECT_FALSE(window.accept(PacketId{id}));
  }
}

}  // namespace
}  // namespace sealane::session
