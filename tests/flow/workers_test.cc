// Goal: every task runs, once, also those still queued at the end; several run at a time.
#include "flow/workers.h"

#include <gtest/gtest.h>

#include <atomic>
#include <latch>

namespace sealane::flow {
namespace {

TEST(Workers, RunEveryTaskOnceAlsoThoseLeftAtTheEnd) {
  std::vector<std::atomic<int>> ran(1000);
  {
    Workers workers(3);
    for (auto& slot : ran) workers.add([&slot] { ++slot; });
  }
  for (const auto& slot : ran) EXPECT_EQ(slot, 1);
}

TEST(Workers, WorkSideBySide) {
  Workers workers(2);  // the second thread is made when it is needed
  std::latch both(2);  // with one thread alone this never ends
  std::latch done(2);
  for (int i = 0; i < 2; ++i) {
    workers.add([&] {
      both.arrive_and_wait();
      done.count_down();
    });
  }
  done.wait();
}

TEST(Workers, ATaskMayAddAnother) {
  std::atomic<int> ran{0};
  {
    Workers workers(1);
    std::latch added(1);
    workers.add([&] {
      workers.add([&] { ++ran; });
      added.count_down();
    });
    added.wait();
  }
  EXPECT_EQ(ran, 1);
}

}  // namespace
}  // namespace sealane::flow
