// Goal: memory is bounded by the pool and the ring, values keep their order, and everybody who
// waits wakes when the flow ends. Method: real threads with seeded delays; a slow reader behind a
// fast writer.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <random>
#include <thread>

#include "flow/block_pool.h"
#include "flow/ring.h"
#include "flow/thread.h"

namespace sealane::flow {
namespace {

TEST(BlockPool, HandsOutItsBlocksAndNoMore) {
  Halt halt;
  BlockPool pool(10000, 3);
  std::vector<BlockPool::Block> blocks;
  for (int i = 0; i < 3; ++i) {
    blocks.push_back(pool.take(halt));
    ASSERT_TRUE(blocks.back());
    EXPECT_EQ(blocks.back().bytes().size(), 10000U);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(blocks.back().bytes().data()) % 4096, 0U);
    std::ranges::fill(blocks.back().bytes(), static_cast<std::byte>(i));
  }
  EXPECT_EQ(pool.free_count(), 0U);
  for (int i = 0; i < 3; ++i)  // they do not overlap
    EXPECT_EQ(blocks[static_cast<std::size_t>(i)].bytes().back(), static_cast<std::byte>(i));
  const std::byte* const last = blocks[1].bytes().data();
  blocks[0].release();
  blocks[1].release();
  EXPECT_FALSE(blocks[1]);
  EXPECT_EQ(pool.free_count(), 2U);
  EXPECT_EQ(pool.take(halt).bytes().data(), last) << "the block used last comes first";
}

TEST(BlockPool, ATakerWaitsForABlock) {
  Halt halt;
  BlockPool pool(1, 1);
  auto only = pool.take(halt);
  std::atomic<bool> got{false};
  Thread taker([&] {
    const auto block = pool.take(halt);
    got = static_cast<bool>(block);
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(30));
  EXPECT_FALSE(got);
  only.release();
  taker.join();
  EXPECT_TRUE(got);
}

TEST(BlockPool, ATakerWakesWhenTheFlowEnds) {
  Cancellation cancel;
  Halt halt(&cancel);
  BlockPool pool(1, 1);
  const auto only = pool.take(halt);
  Thread taker([&] { EXPECT_FALSE(pool.take(halt)); });
  cancel.cancel();
  taker.join();
}

TEST(Ring, KeepsOrderAndBackPressure) {
  constexpr int kItems = 2000;
  Halt halt;
  BlockPool pool(64, 4);
  struct Item {
    int number = 0;
    BlockPool::Block block = {};
  };
  Ring<Item> ring(2);
  std::atomic<int> ahead{0};  // pushed and not yet popped, seen by the writer
  int most_ahead = 0;
  Thread writer([&] {
    for (int i = 0; i < kItems; ++i) {
      EXPECT_TRUE(ring.push({i, pool.take(halt)}, halt));
      most_ahead = std::max(most_ahead, ++ahead);
    }
    ring.close();
  });
  std::minstd_rand random(7);
  int next = 0;
  while (const auto item = ring.pop(halt)) {
    ASSERT_EQ(item->number, next++);
    if (random() % 100 == 0) std::this_thread::sleep_for(std::chrono::microseconds(200));
    --ahead;
  }
  writer.join();
  EXPECT_EQ(next, kItems);
  EXPECT_LE(most_ahead, 3) << "two in the ring and one at the reader";
  EXPECT_EQ(pool.free_count(), 4U);
}

TEST(Ring, ManyWritersAndReadersLoseNothing) {
  Halt halt;
  Ring<int> ring(3);
  std::atomic<long> sum{0};
  {
    std::vector<Thread> readers;
    for (int r = 0; r < 3; ++r)
      readers.emplace_back([&] {
        while (const auto value = ring.pop(halt)) sum += *value;
      });
    {
      std::vector<Thread> writers;
      for (int w = 0; w < 3; ++w)
        writers.emplace_back([&] {
          for (int i = 1; i <= 500; ++i) EXPECT_TRUE(ring.push(i, halt));
        });
    }
    ring.close();
  }
  EXPECT_EQ(sum, 3L * 500 * 501 / 2);
}

TEST(Ring, BothSidesWakeWhenTheFlowEnds) {
  Halt halt;
  Ring<int> full(1);
  Ring<int> empty(1);
  ASSERT_TRUE(full.push(1, halt));
  Thread writer([&] { EXPECT_FALSE(full.push(2, halt)); });
  Thread reader([&] { EXPECT_FALSE(empty.pop(halt).has_value()); });
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  halt.fail({ErrorKind::kFailed, "elsewhere"});
  writer.join();
  reader.join();
  EXPECT_FALSE(full.pop(halt).has_value()) << "what is left does not matter any more";
}

TEST(Thread, RunsWithAllSignalsBlocked) {
  sigset_t mask;
  sigemptyset(&mask);
  Thread([&] { pthread_sigmask(SIG_SETMASK, nullptr, &mask); }).join();
  EXPECT_EQ(sigismember(&mask, SIGINT), 1);
  EXPECT_EQ(sigismember(&mask, SIGTERM), 1);
}

}  // namespace
}  // namespace sealane::flow
