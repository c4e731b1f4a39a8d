// Speed of the session's wire level: sealing and opening packets of one byte, of one Ethernet frame
// and of the default limit, and the replay window.
#include <benchmark/benchmark.h>

#include "base/copy_bytes.h"
#include "session/messages.h"
#include "session/packet.h"
#include "session/replay_window.h"

namespace sealane::session {
namespace {

constexpr SessionId kSender{1, 2};

void payload_sizes(benchmark::internal::Benchmark* benchmark) {
  for (const int size : {1, 1300, 65216}) benchmark->Arg(size);
}

Bytes one_message(std::int64_t size) {
  Bytes packet(kPacketHeaderSize + kMessageHeaderSize + static_cast<std::size_t>(size));
  write_message(MutableByteSpan(packet).subspan(kPacketHeaderSize), MessageType::kReadWrite,
                kConfidential, Bytes(static_cast<std::size_t>(size)));
  return packet;
}

void seal(benchmark::State& state) {
  PacketKey key = PacketKey::session(CipherKey(ByteArray<32>{}), kSender);
  Bytes packet = one_message(state.range(0));
  std::uint64_t id = 0;
  for (auto _ : state) {
    key.seal(PacketId{++id}, {}, packet);
    benchmark::DoNotOptimize(packet.data());
  }
  state.SetBytesProcessed(state.iterations() * state.range(0));
}
BENCHMARK(seal)->Apply(payload_sizes);

// Opening in place spoils the packet, so a copy of it is part of the time.
void copy_and_open(benchmark::State& state) {
  PacketKey key = PacketKey::session(CipherKey(ByteArray<32>{}), kSender);
  Bytes sealed = one_message(state.range(0));
  key.seal(PacketId{7}, {}, sealed);
  Bytes packet(sealed.size());
  for (auto _ : state) {
    copy_bytes(sealed, packet.begin());
    const auto header = key.open_header({}, packet);
    if (!header.has_value() || !key.open_messages(header.value(), packet).has_value()) {
      state.SkipWithError("does not open");
      break;
    }
    benchmark::DoNotOptimize(packet.data());
  }
  state.SetBytesProcessed(state.iterations() * state.range(0));
}
BENCHMARK(copy_and_open)->Apply(payload_sizes);

// A header under another key: what each key costs that is tried in vain.
void try_wrong_key(benchmark::State& state) {
  PacketKey right = PacketKey::session(CipherKey(ByteArray<32>{}), kSender);
  PacketKey wrong = PacketKey::session(CipherKey(ByteArray<32>{std::byte{1}}), kSender);
  Bytes packet = one_message(100);
  right.seal(PacketId{7}, {}, packet);
  for (auto _ : state) benchmark::DoNotOptimize(wrong.open_header({}, packet).has_value());
}
BENCHMARK(try_wrong_key);

void parse(benchmark::State& state) {
  constexpr std::size_t kCount = 6522;  // messages of one byte in a packet of the default limit
  Bytes messages(kCount * (kMessageHeaderSize + 1));
  for (std::size_t i = 0; i < kCount; ++i) {
    write_message(MutableByteSpan(messages).subspan(i * (kMessageHeaderSize + 1)),
                  MessageType::kReadWrite, kConfidential, ByteArray<1>{});
  }
  for (auto _ : state) {
    MessageReader reader(messages);
    while (auto message = reader.next()) benchmark::DoNotOptimize(message->payload.data());
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(kCount));
}
BENCHMARK(parse);

void window_sizes(benchmark::internal::Benchmark* benchmark) {
  for (const int size : {1, 64, 256, 65536, 1048576}) benchmark->Arg(size);
}

void window_forward(benchmark::State& state) {
  ReplayWindow window(state.range(0));
  std::uint64_t id = 0;
  for (auto _ : state) benchmark::DoNotOptimize(window.accept(PacketId{++id}));
}
BENCHMARK(window_forward)->Apply(window_sizes);

void window_leaps(benchmark::State& state) {
  ReplayWindow window(state.range(0));
  std::uint64_t id = 0;
  for (auto _ : state) benchmark::DoNotOptimize(window.accept(PacketId{id += 1000}));
}
BENCHMARK(window_leaps)->Apply(window_sizes);

void window_seen(benchmark::State& state) {
  ReplayWindow window(state.range(0));
  for (std::uint64_t id = 1; id <= 1000; ++id) window.accept(PacketId{id});
  std::uint64_t back = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(window.accept(PacketId{1000 - back}));
    back = (back + 1) % 64;
  }
}
BENCHMARK(window_seen)->Apply(window_sizes);

}  // namespace
}  // namespace sealane::session
