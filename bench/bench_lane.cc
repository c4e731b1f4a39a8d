// Lanes over sockets of this machine, in the shape of the Go library's own benchmarks: two ends in
// one process, handshake and close inside the clock, one message an iteration. Counted is what the
// receiver was given, not what the sender accepted.
//   sync    write, wait until it is sent, read at the other end
//   async   append; the receiver's handler counts
//   raw     the same bytes over the bare socket, one write and one read each; raw_async and raw_udp
//           do not wait for the reader
//   idle    what a session costs that nobody uses: resident memory, both ends
#include <benchmark/benchmark.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include "flow/thread.h"
#include "sealane/net/lane.h"
#include "sealane/store/system.h"

namespace sealane::net {
namespace {

std::shared_ptr<const identity::SigningKey> make_identity() {
  return std::make_shared<const identity::SigningKey>(
      identity::SigningKey::generate(system_random(), ""));
}

struct Pair {
  LaneHost sending{system_clock(), system_random()};
  LaneHost receiving{system_clock(), system_random()};
  std::string directory;
  std::unique_ptr<LaneListener> listener;
  std::unique_ptr<Lane> from;
  std::unique_ptr<Lane> to;

  Pair(const std::string& kind, std::size_t limit, bool legacy = false) {
    const auto a = make_identity();
    const auto b = make_identity();
    LaneOptions options;
    options.payload_size_limit = limit;
    options.negotiate = false;
    if (legacy) options.peer_code = PeerCode::kLegacy;
    Address at{"udp:127.0.0.1:0"};
    if (kind != "udp") {
      std::string name = "/tmp/sealane-bench-XXXXXX";
      directory = ::mkdtemp(name.data());
      at.text = kind + ":" + directory + "/s";
    }
    options.identity = b;
    options.peer = a->public_key();
    listener = std::move(receiving.listen(at, options).value());
    options.identity = a;
    options.peer = b->public_key();
    from = std::move(sending.dial(listener->local(), options).value());
    to = std::move(listener->accept().value());
    if (!from->wait_established().has_value()) std::abort();
  }
  ~Pair() {
    from.reset();
    to.reset();
    listener.reset();
    if (!directory.empty()) ::rmdir(directory.c_str());
  }
};

void count(benchmark::State& state) {
  state.SetBytesProcessed(state.iterations() * state.range(0));
  state.SetItemsProcessed(state.iterations());
}

void sync(benchmark::State& state, const std::string& kind) {
  Pair pair(kind, 0);
  const Bytes message(static_cast<std::size_t>(state.range(0)), std::byte{7});
  Bytes got(message.size());
  for (auto _ : state) {
    if (!pair.from->write(message).has_value()) std::abort();
    for (std::size_t at = 0; at < got.size();) {
      const auto size = pair.to->read(MutableByteSpan(got).subspan(at));
      if (!size.has_value() || size.value() == 0) std::abort();
      at += size.value();
    }
  }
  count(state);
}
BENCHMARK_CAPTURE(sync, seqpacket, "seqpacket")
    ->Arg(1)
    ->Arg(16)
    ->Arg(1024)
    ->Arg(32000)
    ->Arg(64000)
    ->UseRealTime();

void raw_sync(benchmark::State& state) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends) != 0) std::abort();
  Bytes message(static_cast<std::size_t>(state.range(0)));
  std::atomic<std::uint64_t> got{0};
  {
    const flow::Thread reader([&] {
      Bytes buffer(message.size());
      while (::recv(ends[1], buffer.data(), buffer.size(), 0) > 0) {
        got.fetch_add(1);
        got.notify_one();
      }
    });
    std::uint64_t sent = 0;
    for (auto _ : state) {
      if (::send(ends[0], message.data(), message.size(), 0) < 0) std::abort();
      ++sent;
      for (std::uint64_t seen = got.load(); seen < sent; seen = got.load()) got.wait(seen);
    }
    ::shutdown(ends[0], SHUT_RDWR);
  }
  ::close(ends[0]);
  ::close(ends[1]);
  count(state);
}
BENCHMARK(raw_sync)->Arg(1)->Arg(64000)->UseRealTime();

// Counts at the reader, as async() does.
void raw_flood(benchmark::State& state, int from, int to, bool lossy) {
  const Bytes message(static_cast<std::size_t>(state.range(0)), std::byte{7});
  std::atomic<std::uint64_t> got{0};
  std::uint64_t sent = 0;
  {
    const flow::Thread reader([&] {
      Bytes buffer(message.size() + 1);
      std::uint64_t count = 0;
      while (::recv(to, buffer.data(), buffer.size(), 0) > 1) {
        got.store(++count, std::memory_order_release);
      }
    });
    for (auto _ : state) {
      const std::uint64_t total = 200'000 / (1 + message.size() / 100);
      for (std::uint64_t n = 0; n < total; ++n) {
        if (::send(from, message.data(), message.size(), 0) < 0) std::abort();
      }
      sent += total;
      while (!lossy && got.load(std::memory_order_acquire) < sent) ::usleep(50);
    }
    if (lossy) ::usleep(50'000);
    ::send(from, message.data(), 1, 0);  // the end
  }
  const auto count = static_cast<std::int64_t>(got.load());
  state.SetBytesProcessed(count * state.range(0));
  state.SetItemsProcessed(count);
  state.counters["lost"] = static_cast<double>(sent) - static_cast<double>(count);
}

void raw_async(benchmark::State& state) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends) != 0) std::abort();
  raw_flood(state, ends[0], ends[1], false);
  ::close(ends[0]);
  ::close(ends[1]);
}
BENCHMARK(raw_async)->Arg(1)->Arg(64000)->UseRealTime();

void raw_udp(benchmark::State& state) {
  int ends[2];
  sockaddr_in address[2] = {};
  for (int i = 0; i < 2; ++i) {
    ends[i] = ::socket(AF_INET, SOCK_DGRAM, 0);
    address[i].sin_family = AF_INET;
    address[i].sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address[i];
    constexpr int kBuffer = 1 << 20;  // as the sessions' sockets have
    ::setsockopt(ends[i], SOL_SOCKET, SO_RCVBUF, &kBuffer, sizeof kBuffer);
    if (::bind(ends[i], reinterpret_cast<sockaddr*>(&address[i]), size) != 0 ||
        ::getsockname(ends[i], reinterpret_cast<sockaddr*>(&address[i]), &size) != 0) {
      std::abort();
    }
  }
  if (::connect(ends[0], reinterpret_cast<sockaddr*>(&address[1]), sizeof address[1]) != 0) {
    std::abort();
  }
  raw_flood(state, ends[0], ends[1], true);
  ::close(ends[0]);
  ::close(ends[1]);
}
BENCHMARK(raw_udp)->Arg(1300)->UseRealTime();

// `producers` threads share the iterations. UDP loses what the receiver does not take in time; what
// is lost is not counted.
void async(benchmark::State& state, const std::string& kind, std::size_t limit,
           std::size_t producers) {
  std::atomic<std::uint64_t> delivered{0};
  const Bytes message(static_cast<std::size_t>(state.range(0)), std::byte{7});
  Pair pair(kind, limit);
  std::uint64_t counted = 0;  // the receiver's thread only
  pair.to->set_handler(Channel{0}, [&](ByteSpan) {
    ++counted;
    delivered.store(counted, std::memory_order_release);
  });
  std::uint64_t sent = 0;
  for (auto _ : state) {
    const std::uint64_t total = 200'000 / (1 + message.size() / 100) * producers;
    {
      std::vector<flow::Thread> threads;
      for (std::size_t i = 0; i < producers; ++i) {
        threads.emplace_back([&] {
          for (std::uint64_t n = 0; n < total / producers; ++n) {
            if (!pair.from->send(Channel{0}, message).has_value()) std::abort();
          }
        });
      }
    }
    sent += total;
    pair.from->flush();
    if (kind == "udp") continue;
    while (delivered.load(std::memory_order_acquire) < sent) ::usleep(50);
  }
  if (kind == "udp") ::usleep(50'000);
  const auto got = static_cast<std::int64_t>(delivered.load());
  state.SetBytesProcessed(got * state.range(0));
  state.SetItemsProcessed(got);
  state.counters["ns_per_message"] = benchmark::Counter(
      static_cast<double>(got) * 1e-9, benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
  state.counters["lost"] = static_cast<double>(sent) - static_cast<double>(got);
}
BENCHMARK_CAPTURE(async, seqpacket, "seqpacket", 0, 1)
    ->Arg(1)
    ->Arg(16)
    ->Arg(1024)
    ->Arg(32000)
    ->Arg(64000)
    ->UseRealTime();
BENCHMARK_CAPTURE(async, seqpacket_four_producers, "seqpacket", 0, 4)->Arg(1)->UseRealTime();
BENCHMARK_CAPTURE(async, seqpacket_limit_1347, "seqpacket", 1347, 1)->Arg(1300)->UseRealTime();
BENCHMARK_CAPTURE(async, udp_limit_1347, "udp", 1347, 1)->Arg(1300)->UseRealTime();
BENCHMARK_CAPTURE(async, unix_stream, "unix", 0, 1)->Arg(64000)->UseRealTime();

std::size_t resident_bytes() {
  std::ifstream file("/proc/self/statm");
  std::size_t total = 0;
  std::size_t resident = 0;
  file >> total >> resident;
  return resident * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

// Both ends are here, so a node with one end of each has half of it.
void idle_sessions(benchmark::State& state) {
  constexpr std::size_t kSessions = 1000;
  for (auto _ : state) {
    LaneHost sending(system_clock(), system_random());
    LaneHost receiving(system_clock(), system_random());
    const auto a = make_identity();
    const auto b = make_identity();
    LaneOptions options;
    std::string directory = "/tmp/sealane-bench-XXXXXX";
    directory = ::mkdtemp(directory.data());
    options.identity = b;
    options.peer = a->public_key();
    auto listener = std::move(receiving.listen({"seqpacket:" + directory + "/s"}, options).value());
    options.identity = a;
    options.peer = b->public_key();
    const std::size_t before = resident_bytes();
    std::vector<std::unique_ptr<Lane>> lanes;
    for (std::size_t i = 0; i < kSessions; ++i) {
      lanes.push_back(std::move(sending.dial(listener->local(), options).value()));
      lanes.push_back(std::move(listener->accept().value()));
      if (!lanes[2 * i]->wait_established().has_value()) std::abort();
      // It has been used, and gives back what that took after a second.
      if (!lanes[2 * i]->send(Channel{0}, Bytes(1000)).has_value()) std::abort();
      lanes[2 * i]->flush();
    }
    ::usleep(2'500'000);
    const std::size_t after = resident_bytes();
    state.counters["bytes_per_session"] =
        static_cast<double>(after - before) / static_cast<double>(lanes.size());
    lanes.clear();
    listener.reset();
    ::rmdir(directory.c_str());
  }
}
BENCHMARK(idle_sessions)->Iterations(1)->UseRealTime();

}  // namespace
}  // namespace sealane::net
