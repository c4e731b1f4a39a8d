// What the machinery costs without any work in it: an item through the ordered stage, a block from
// the pool and back, a value through a ring.
#include <benchmark/benchmark.h>

#include "flow/block_pool.h"
#include "flow/ordered_stage.h"
#include "flow/ring.h"
#include "flow/thread.h"

namespace {

using namespace sealane;
using namespace sealane::flow;

constexpr std::uint64_t kItems = 20000;

// Works for about `spins` steps on each item; counts what it gave.
class SpinningLane final : public Lane {
 public:
  SpinningLane(std::uint64_t items, std::uint64_t spins) : items_(items), spins_(spins) {}
  Result<bool, Error> take(std::uint64_t index) override { return index < items_; }
  Result<void, Error> work(std::uint64_t index) override {
    std::uint64_t value = index;
    for (std::uint64_t i = 0; i < spins_; ++i) benchmark::DoNotOptimize(value = value * 3 + 1);
    return success();
  }
  Result<void, Error> give(std::uint64_t /*index*/) override { return success(); }

 private:
  std::uint64_t items_;
  std::uint64_t spins_;
};

void ordered_stage(benchmark::State& state) {
  std::vector<std::unique_ptr<Lane>> lanes;
  for (std::int64_t i = 0; i < state.range(0); ++i)
    lanes.push_back(
        std::make_unique<SpinningLane>(kItems, static_cast<std::uint64_t>(state.range(1))));
  for (auto _ : state) {
    Halt halt;
    run_ordered(lanes, GiveOrder::kOrdered, halt);
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(kItems));
}
// Lanes; work per item: none, about 10 us, about 100 us (a block of 256 KiB).
BENCHMARK(ordered_stage)
    ->ArgNames({"lanes", "spins"})
    ->ArgsProduct({{1, 2, 3}, {0, 10'000, 100'000}})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

void block_pool(benchmark::State& state) {
  static BlockPool pool(4096, 8);
  const Halt halt;
  for (auto _ : state) benchmark::DoNotOptimize(pool.take(halt));
}
BENCHMARK(block_pool)->Threads(1)->Threads(2);

void ring(benchmark::State& state) {
  for (auto _ : state) {
    const Halt halt;
    Ring<std::uint64_t> values(8);
    Thread writer([&] {
      for (std::uint64_t i = 0; i < kItems; ++i) values.push(i, halt);
      values.close();
    });
    while (const auto value = values.pop(halt)) benchmark::DoNotOptimize(*value);
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(kItems));
}
BENCHMARK(ring)->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace
