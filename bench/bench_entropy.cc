// The entropy channel into memory, beside what one core needs for the encryption alone.
//   one_core     AES-128-CBC by OpenSSL, 16 KiB chunks one after the other, nothing else
//   bare_socket  what a UNIX socket itself does: parts of zeros that are sent, read and looked at,
//   in
//                two threads, with nothing in between
//   cores        sender and receiver core in one thread: chunks are made, cut, opened, copied
//   channel      Pusher to ChannelServer over a UNIX socket, each with its threads; the spool
//                lies in memory (/dev/shm) and the sink reads all of it
// `foreign` is the bare dialect; `signed` adds the digest, twice: SHA-256 bounds it.
#include <benchmark/benchmark.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>

#include "base/copy_bytes.h"
#include "crypto/hash.h"
#include "entropy/receiver.h"
#include "entropy/sender.h"
#include "sealane/store/system.h"
#include "warm/channel.h"
#include "warm/part_builder.h"

namespace sealane::warm {
namespace {

constexpr std::size_t kPartSize = kDefaultPartSize;  // as `warm push` makes them for other hosts

entropy::ChunkKeys bench_keys() {
  const ByteArray<16> bytes{std::byte{7}};
  return entropy::make_chunk_keys(entropy::KeyBytes(bytes), entropy::KeyBytes(bytes));
}

void count_bytes(benchmark::State& state, std::size_t part_size = kPartSize) {
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(part_size));
}

void one_core(benchmark::State& state) {
  const entropy::ChunkKeys keys = bench_keys();
  const auto cipher = crypto::make_aes_cbc(keys.key, keys.iv, crypto::AesCbcEngine::kOpenSsl);
  const Bytes plaintext(16 * 1024);
  Bytes out(crypto::AesCbc::padded_size(plaintext.size()));
  const crypto::AesCbc::Piece piece{plaintext, out};
  for (auto _ : state) {
    for (std::size_t at = 0; at < kPartSize; at += plaintext.size()) {
      cipher->encrypt(std::span(&piece, 1));
      benchmark::DoNotOptimize(out.data());
    }
  }
  count_bytes(state);
}
BENCHMARK(one_core)->UseRealTime();

void cores(benchmark::State& state, bool encrypted) {
  const entropy::ChunkKeys keys = bench_keys();
  const Bytes plaintext(kPartSize);
  Bytes memory(kPartSize);
  for (auto _ : state) {
    entropy::SenderSetup setup;
    setup.encrypted = encrypted;
    setup.total = plaintext.size();
    entropy::Sender sender(setup, {});
    entropy::ChunkEncoder encoder(setup.buffer_size, encrypted ? &keys : nullptr);
    entropy::Receiver receiver({.policy = entropy::ReceiverPolicy::dynomite(),
                                .keys = &keys,
                                .secrets = {},
                                .memory = nullptr,
                                .wall = {}},
                               {});
    std::size_t from = 0;
    std::size_t to = 0;
    bool complete = false;
    const auto drain = [&] {
      while (auto event = receiver.next_event()) {
        if (const auto* got = std::get_if<entropy::Receiver::Plaintext>(&*event)) {
          copy_bytes(got->bytes, memory.begin() + static_cast<std::ptrdiff_t>(to));
          to += got->bytes.size();
        } else {
          complete = complete || std::holds_alternative<entropy::Receiver::Complete>(*event);
        }
      }
    };
    for (ByteSpan out = sender.next_output(); !out.empty(); out = sender.next_output()) {
      while (!out.empty()) {
        const std::size_t taken = receiver.receive(out, {});
        out = out.subspan(taken);
        drain();  // before the bytes go that its events point to
        sender.output_sent(taken);
      }
      while (const std::size_t size = sender.claim_plaintext()) {
        sender.supply(
            encoder.encode_reusing(sender.take_spent(), ByteSpan(plaintext).subspan(from, size)),
            {});
        from += size;
      }
    }
    receiver.on_end({});
    drain();
    if (!complete || to != kPartSize) state.SkipWithError("not all arrived");
    benchmark::DoNotOptimize(memory.data());
  }
  count_bytes(state);
}
BENCHMARK_CAPTURE(cores, plain, false)->UseRealTime();
BENCHMARK_CAPTURE(cores, aes, true)->UseRealTime();

std::uint64_t sum_of_words(ByteSpan bytes) {
  std::uint64_t sum = 0;
  for (; bytes.size() >= sizeof sum; bytes = bytes.subspan(sizeof sum)) {
    std::uint64_t word = 0;
    std::memcpy(&word, bytes.data(), sizeof word);
    sum += word;
  }
  return sum;
}

constexpr std::size_t kPiece = std::size_t{1} << 20;
constexpr std::size_t kRead = std::size_t{256} << 10;

// The calling thread reads, as a server would, and asks the other one for a part with a byte.
void bare_socket(benchmark::State& state, std::size_t part_size) {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_STREAM, 0, ends.data()) != 0) {
    state.SkipWithError("no socket");
    return;
  }
  const int buffer = kPiece;
  static_cast<void>(::setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer));
  std::thread sender([part_size, socket = ends[0]] {
    const Bytes content(part_size);
    for (char wanted = 0; ::recv(socket, &wanted, 1, 0) == 1;) {
      for (ByteSpan rest = content; !rest.empty();) {
        const ssize_t sent =
            ::send(socket, rest.data(), std::min(rest.size(), kPiece), MSG_NOSIGNAL);
        if (sent <= 0) return;
        rest = rest.subspan(static_cast<std::size_t>(sent));
      }
    }
  });
  Bytes memory(part_size);
  for (auto _ : state) {
    if (::send(ends[1], "", 1, MSG_NOSIGNAL) != 1) state.SkipWithError("not asked");
    for (MutableByteSpan rest = memory; !rest.empty();) {
      const ssize_t got = ::recv(ends[1], rest.data(), std::min(rest.size(), kRead), 0);
      if (got <= 0) {
        state.SkipWithError("not all arrived");
        break;
      }
      rest = rest.subspan(static_cast<std::size_t>(got));
    }
    benchmark::DoNotOptimize(sum_of_words(memory));
  }
  ::close(ends[1]);
  sender.join();
  ::close(ends[0]);
  count_bytes(state, part_size);
}
BENCHMARK_CAPTURE(bare_socket, parts, kPartSize)->UseRealTime();
BENCHMARK_CAPTURE(bare_socket, local_parts, kLocalPartSize)->UseRealTime();

// Looks at every byte: one word after the other, where it lies.
class ReadingSink final : public Sink {
 public:
  std::string description() const override { return "memory"; }
  ApplyResult apply(const PartInfo& part, PartContent& content) override {
    ApplyResult out;
    std::uint64_t size = 0;
    std::uint64_t sum = 0;
    for (;;) {
      const auto got = content.next();
      if (!got.has_value() || got.value().empty()) break;
      size += got.value().size();
      sum += sum_of_words(got.value());
    }
    benchmark::DoNotOptimize(sum);
    out.counts.count(Cause::kOther, size == part.size ? 0 : 1);
    out.counts.applied = 1;
    return out;
  }
};

struct Ends {
  Ends(bool encrypted, bool is_signed) {
    std::string name = "/dev/shm/sealane-bench-XXXXXX";
    folder = ::mkdtemp(name.data());
    write("key", "sixteen letters!");
    write("iv", "other letters 16");
    write("secret", "hex:" + std::string(64, '5'));
    ServeOptions serve;
    serve.listen = {"unix:" + folder + "/socket"};
    serve.key_files = {folder + "/key", folder + "/iv", {folder + "/secret"}, false};
    serve.policy.allow_plaintext = true;
    serve.foreign_unix = !is_signed;
    serve.spool_folder = folder;
    server = std::move(
        ChannelServer::listen(serve, sink, system_files(), system_random(), system_clock())
            .value());
    PushOptions push;
    push.to = server->local();
    push.encrypt = encrypted;
    push.foreign = !is_signed;
    pusher = std::move(
        Pusher::create(push, std::move(load_channel_keys(system_files(), serve.key_files).value()),
                       system_clock())
            .value());
  }
  ~Ends() {
    pusher.reset();
    server.reset();
    for (const char* file : {"key", "iv", "secret"}) {
      static_cast<void>(::unlink((folder + "/" + file).c_str()));
    }
    static_cast<void>(::rmdir(folder.c_str()));
  }
  Ends(const Ends&) = delete;
  Ends& operator=(const Ends&) = delete;
  void write(const std::string& file, const std::string& content) const {
    const std::string path = folder + "/" + file;
    static_cast<void>(write_new_file(system_files(), path, as_bytes(content), 0600));
  }
  std::string folder;
  ReadingSink sink;
  std::unique_ptr<ChannelServer> server;
  std::unique_ptr<Pusher> pusher;
};

void channel(benchmark::State& state, bool encrypted, bool is_signed,
             std::size_t part_size = kPartSize) {
  Ends ends(encrypted, is_signed);
  Part part = make_part(Bytes(part_size), 1, 1);
  Series series;
  for (auto _ : state) {
    ++part.index;  // another one, or it would be answered from memory
    const auto report = ends.pusher->push(part, series, nullptr);
    const PushVerdict wanted = is_signed ? PushVerdict::kApplied : PushVerdict::kUnknown;
    if (!report.has_value() || report.value().verdict != wanted) {
      state.SkipWithError("not taken");
      return;
    }
  }
  count_bytes(state, part_size);
}
BENCHMARK_CAPTURE(channel, plain_foreign, false, false)->UseRealTime();
BENCHMARK_CAPTURE(channel, plain_foreign_local, false, false, kLocalPartSize)->UseRealTime();
BENCHMARK_CAPTURE(channel, aes_foreign, true, false)->UseRealTime();
BENCHMARK_CAPTURE(channel, aes_foreign_local, true, false, kLocalPartSize)->UseRealTime();
BENCHMARK_CAPTURE(channel, plain_signed, false, true)->UseRealTime();
BENCHMARK_CAPTURE(channel, aes_signed, true, true)->UseRealTime();

}  // namespace
}  // namespace sealane::warm
