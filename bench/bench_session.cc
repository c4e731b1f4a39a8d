// Core to core in memory: what a message costs from send() until the other side has it, both ends
// on one thread. The allocation counter covers both.
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <new>

#include "base/copy_bytes.h"
#include "session/session.h"

namespace {
std::uint64_t allocations = 0;  // one thread
}

// NOLINTBEGIN(misc-new-delete-overloads): both forms of each are here
// Not inlined: g++ would see free() beside operator new and take them for mismatched.
[[gnu::noinline]] void* operator new(std::size_t size) {
  ++allocations;
  if (void* memory = std::malloc(size)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
// NOLINTEND(misc-new-delete-overloads)

namespace {

using namespace sealane;
using namespace sealane::session;

class SeededBytes final : public RandomSource {
 public:
  void fill(MutableByteSpan out) override {
    for (std::byte& byte : out)
      byte = static_cast<std::byte>(
          (state_ = state_ * 6364136223846793005u + 1442695040888963407u) >> 56);
  }

 private:
  std::uint64_t state_ = 1;
};

struct Ends {
  explicit Ends(const Options& options)
      : own_a(std::make_shared<const identity::SigningKey>(
            identity::SigningKey::generate(random, ""))),
        own_b(std::make_shared<const identity::SigningKey>(
            identity::SigningKey::generate(random, ""))),
        a({own_a, own_b->public_key()}, options, random),
        b({own_b, own_a->public_key()}, options, random) {
    SessionIdSource ids;
    const WallTime wall{std::chrono::hours(500'000)};
    if (!a.start(ids.next(wall, random), now, wall).has_value() ||
        !b.start(ids.next(wall, random), now, wall).has_value()) {
      std::abort();
    }
    while (a.state() != SessionState::kEstablished || b.state() != SessionState::kEstablished) {
      carry(a, b);
      carry(b, a);
    }
  }
  // Each packet goes through one buffer, as a socket would carry it.
  std::uint64_t carry(Session& from, Session& to) {
    std::uint64_t messages = 0;
    while (const auto out = from.next_output()) {
      buffer.resize(out->second.size());
      copy_bytes(out->second, buffer.begin());
      from.output_sent();
      to.receive_in_place(PathId{0}, buffer, now);
      to.take_messages([&](MessageType, ByteSpan payload) {
        benchmark::DoNotOptimize(payload.data());
        ++messages;
        return true;
      });
    }
    while (from.next_event()) {
    }
    while (to.next_event()) {
    }
    return messages;
  }
  SeededBytes random;
  SteadyTime now{};
  std::shared_ptr<const identity::SigningKey> own_a;
  std::shared_ptr<const identity::SigningKey> own_b;
  Session a;
  Session b;
  Bytes buffer;
};

void delivered(benchmark::State& state) {
  const auto size = static_cast<std::size_t>(state.range(0));
  Options options;
  options.payload_size_limit = static_cast<std::size_t>(state.range(1));
  options.lossy = false;
  Ends ends(options);
  const Bytes payload(size, std::byte{7});
  std::uint64_t sent = 0;
  std::uint64_t arrived = 0;
  const auto flush = [&] {
    ends.a.flush();
    arrived += ends.carry(ends.a, ends.b);
  };
  // A round fills one packet.
  const std::size_t per_round = std::max<std::size_t>(
      1, (ends.a.packet_size() - kPacketHeaderSize) / (size + kMessageHeaderSize));
  const auto round = [&] {
    for (std::size_t i = 0; i < per_round; ++i) {
      if (!ends.a.send(MessageType::kReadWrite, payload, ends.now).has_value()) std::abort();
    }
    sent += per_round;
    flush();
  };
  for (int i = 0; i < 100; ++i) round();
  sent = arrived = 0;
  const std::uint64_t before = allocations;
  for (auto _ : state) round();
  const std::uint64_t made = allocations - before;
  if (arrived != sent) state.SkipWithError("messages were lost");
  state.SetItemsProcessed(static_cast<std::int64_t>(arrived));
  state.SetBytesProcessed(static_cast<std::int64_t>(arrived * size));
  state.counters["ns_per_message"] =
      benchmark::Counter(static_cast<double>(arrived) * 1e-9,
                         benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
  state.counters["allocations_per_message"] =
      static_cast<double>(made) / static_cast<double>(arrived);
}
BENCHMARK(delivered)
    ->ArgNames({"size", "limit"})
    ->Args({1, 65216})
    ->Args({16, 65216})
    ->Args({1024, 65216})
    ->Args({1300, 1400})
    ->Args({64000, 65216})
    ->UseRealTime();

}  // namespace
