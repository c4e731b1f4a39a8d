// Goal: what was sealed opens to the same bytes on every road through the engine, only verified
// bytes come out, in order, and every failure ends it cleanly. Method: toy formats, sources and
// sinks in memory that fail at each call in turn; all roads must agree byte for byte.
#include "backup/engine.h"

#include <gtest/gtest.h>
#include <zstd.h>

#include <thread>

#include "count_allocations.h"
#include "crypto/hash.h"
#include "fake_codec.h"
#include "memory_streams.h"

namespace sealane::backup {
namespace {

using testing::compressible_bytes;
using testing::FakeOpener;
using testing::FakeSealer;
using testing::FakeShape;
using testing::MemorySink;
using testing::MemorySource;
using testing::random_bytes;
using testing::same_bytes;

constexpr std::size_t kChunk = 64 * 1024;
constexpr std::size_t kStrideHeader = 4;

// One way through the engine.
struct Road {
  bool positional_source = false;
  bool positional_sink = false;
  unsigned threads = 2;
};
const std::vector<Road> kRoads = {
    {false, false, 1}, {false, false, 3}, {true, false, 2}, {false, true, 2}, {true, true, 3}};

std::vector<std::size_t> sizes() {
  constexpr std::size_t kBlock = 256 * 1024;  // of the engine, without compression
  return {0,
          1,
          kChunk - 1,
          kChunk,
          kChunk + 1,
          kBlock - 1,
          kBlock,
          kBlock + 1,
          kBlock + 63,
          kBlock + 64,
          kBlock + 65,
          2 * kBlock,
          kBlockSize,
          kBlockSize + 1,
          kBlockSize - 1,
          2 * kBlockSize,
          2 * kBlockSize + 12345};
}

Result<SealReport, Error> seal_on(const Road& road, FakeShape shape, ByteSpan plain,
                                  MemorySink& sink, const SealJob& job = {}) {
  MemorySource source(plain);
  source.is_positional = road.positional_source;
  source.short_reads = !road.positional_source;
  sink.is_positional = road.positional_sink;
  return seal_stream(FakeSealer(shape, kChunk), source, sink, job, {.threads = road.threads});
}

Bytes sealed_bytes(FakeShape shape, ByteSpan plain, const SealJob& job = {}) {
  MemorySink sink;
  EXPECT_TRUE(seal_on(kRoads[0], shape, plain, sink, job).has_value());
  return std::move(sink.content);
}

// `sealed`: with its header, of which the engine gets a part of the rest as `first`.
Result<OpenReport, Error> open_on(const Road& road, FakeShape shape, ByteSpan sealed,
                                  MemorySink& sink, OpenJob job = {}) {
  const std::size_t header = shape == FakeShape::kStride ? kStrideHeader : 0;
  const std::size_t first = std::min<std::size_t>(sealed.size() - header, 100);
  FakeOpener opener(shape, kChunk);
  MemorySource source(sealed.subspan(header + first));
  source.is_positional = road.positional_source;
  source.short_reads = !road.positional_source;
  sink.is_positional = road.positional_sink;
  job.header = sealed.first(header);
  return open_stream(opener, sealed.subspan(header, first), source, sink, job,
                     {.threads = road.threads});
}

// The plain definition of both toy formats, to compare with.
Bytes sealed_by_hand(FakeShape shape, ByteSpan plain) {
  const FakeSealer sealer(shape, kChunk);
  const auto worker = sealer.make_worker();
  Bytes out = to_bytes(sealer.header());
  std::uint64_t index = 0;
  for (std::size_t at = 0; at < plain.size() || (at == 0 && sealer.seals_empty()); at += kChunk) {
    const auto chunk = plain.subspan(at, std::min(kChunk, plain.size() - at));
    Bytes sealed(chunk.size() + sealer.chunk_overhead());
    worker->seal(index++, at + chunk.size() == plain.size(), chunk, sealed);
    out.insert(out.end(), sealed.begin(), sealed.end());
  }
  const auto trailer = sealer.trailer();
  out.insert(out.end(), trailer.begin(), trailer.end());
  return out;
}

class BothShapes : public ::testing::TestWithParam<FakeShape> {};
INSTANTIATE_TEST_SUITE_P(Engine, BothShapes,
                         ::testing::Values(FakeShape::kStride, FakeShape::kFramed));

TEST_P(BothShapes, AllRoadsGiveTheSameBytes) {
  for (const std::size_t size : sizes()) {
    const Bytes plain = random_bytes(size, 1);
    const Bytes expected = sealed_by_hand(GetParam(), plain);
    for (const Road& road : kRoads) {
      MemorySink sealed;
      const auto report = seal_on(road, GetParam(), plain, sealed);
      ASSERT_TRUE(report.has_value()) << report.error().message;
      ASSERT_TRUE(same_bytes(sealed.content, expected)) << size;
      EXPECT_EQ(report.value().plain.size, size);
      EXPECT_EQ(report.value().packed_size, size);
      EXPECT_EQ(report.value().sealed.size, expected.size());
      MemorySink opened;
      const auto back = open_on(road, GetParam(), expected, opened);
      ASSERT_TRUE(back.has_value()) << back.error().message << " at " << size;
      ASSERT_TRUE(same_bytes(opened.content, plain)) << size;
      EXPECT_EQ(back.value().plain.size, size);
      EXPECT_EQ(back.value().sealed.size, expected.size());
      EXPECT_FALSE(back.value().trailing_data);
    }
  }
}

TEST_P(BothShapes, CompressedStreamsAreZstdFramesOfABlockEach) {
  for (const std::size_t size :
       {std::size_t{0}, std::size_t{1}, kBlockSize, kBlockSize + 1, 2 * kBlockSize + 5}) {
    for (const Bytes& plain : {compressible_bytes(size, 2), random_bytes(size, 2)}) {
      const SealJob job{.compress = true, .hash_plain = true, .hash_sealed = true};
      const Bytes sealed = sealed_bytes(GetParam(), plain, job);
      for (const Road& road : kRoads) {
        MemorySink again;
        const auto report = seal_on(road, GetParam(), plain, again, job);
        ASSERT_TRUE(report.has_value());
        ASSERT_TRUE(same_bytes(again.content, sealed)) << "the same whatever the threads";
        EXPECT_EQ(report.value().plain.hash, crypto::blake3(plain));
        EXPECT_EQ(report.value().sealed.hash, crypto::sha256(sealed));
        EXPECT_EQ(report.value().sealed.size, sealed.size());
        MemorySink opened;
        const auto back = open_on(road, GetParam(), sealed, opened,
                                  {.decompress = true, .hash_sealed = true, .hash_plain = true});
        ASSERT_TRUE(back.has_value()) << back.error().message;
        ASSERT_TRUE(same_bytes(opened.content, plain));
        EXPECT_EQ(back.value().plain.hash, crypto::blake3(plain));
        EXPECT_EQ(back.value().sealed.hash, crypto::sha256(sealed));
        EXPECT_EQ(back.value().sealed.size, sealed.size());

        MemorySink packed;
        ASSERT_TRUE(open_on(road, GetParam(), sealed, packed).has_value());
        EXPECT_EQ(packed.content.size(), report.value().packed_size);
        std::size_t frames = 0;
        for (std::size_t at = 0; at < packed.content.size(); ++frames)
          at += ZSTD_findFrameCompressedSize(&packed.content[at], packed.content.size() - at);
        EXPECT_EQ(frames, std::max<std::size_t>((size + kBlockSize - 1) / kBlockSize, 1));
      }
    }
  }
}

TEST_P(BothShapes, HashesAreThoseOfTheWholeStream) {
  const Bytes plain = random_bytes(1'000'000, 3);
  const Bytes sealed = sealed_by_hand(GetParam(), plain);
  for (const Road& road : kRoads) {
    MemorySink sink;
    const auto report =
        seal_on(road, GetParam(), plain, sink, {.hash_plain = true, .hash_sealed = true});
    EXPECT_EQ(report.value().plain.hash, crypto::blake3(plain));
    EXPECT_EQ(report.value().sealed.hash, crypto::sha256(sealed));
    MemorySink opened;
    const auto back =
        open_on(road, GetParam(), sealed, opened, {.hash_sealed = true, .hash_plain = true});
    EXPECT_EQ(back.value().plain.hash, crypto::blake3(plain));
    EXPECT_EQ(back.value().sealed.hash, crypto::sha256(sealed));
  }
}

TEST(Engine, ShortFramesOpenOnEveryRoad) {
  // A framed stream that no sealer of ours writes: frames of all sizes, empty ones too, so that
  // what a positional reader foretells is wrong from the second block on, or only late.
  for (const std::size_t full_frames : {std::size_t{0}, std::size_t{9}}) {
    const FakeSealer sealer(FakeShape::kFramed, kChunk);
    const auto worker = sealer.make_worker();
    const Bytes plain = random_bytes(3'000'000, 4);
    Bytes sealed;
    std::minstd_rand random(5);
    std::uint64_t index = 0;
    for (std::size_t at = 0; at < plain.size(); ++index) {
      std::size_t size = random() % 4 == 0 ? random() % kChunk : random() % 50;
      if (index < full_frames) size = kChunk;
      size = std::min(size, plain.size() - at);
      Bytes frame(size + sealer.chunk_overhead());
      worker->seal(index, false, ByteSpan(plain).subspan(at, size), frame);
      sealed.insert(sealed.end(), frame.begin(), frame.end());
      at += size;
    }
    sealed.insert(sealed.end(), 4, std::byte{0});
    for (const Road& road : kRoads) {
      MemorySink opened;
      const auto back = open_on(road, FakeShape::kFramed, sealed, opened);
      ASSERT_TRUE(back.has_value()) << back.error().message;
      EXPECT_TRUE(opened.content == plain);
      EXPECT_EQ(back.value().sealed.size, sealed.size());
    }
  }
}

bool is_prefix(ByteSpan part, ByteSpan whole) {
  return part.size() <= whole.size() && same_bytes(part, whole.first(part.size()));
}

TEST_P(BothShapes, ATruncatedStreamGivesWhatWasWholeAndFails) {
  const Bytes plain = random_bytes(700'000, 6);
  const Bytes sealed = sealed_by_hand(GetParam(), plain);
  std::minstd_rand random(8);
  std::vector<std::size_t> cuts = {kStrideHeader, kStrideHeader + 1, sealed.size() - 1,
                                   sealed.size() - 4, sealed.size() - 5};
  for (int i = 0; i < 20; ++i)
    cuts.push_back(kStrideHeader + random() % (sealed.size() - kStrideHeader));
  for (const std::size_t cut : cuts)
    for (const Road& road : kRoads) {
      MemorySink opened;
      const auto back = open_on(road, GetParam(), ByteSpan(sealed).first(cut), opened);
      ASSERT_FALSE(back.has_value()) << cut;
      EXPECT_EQ(back.error().kind, ErrorKind::kVerificationFailed);
      if (road.positional_sink) continue;  // nobody looks there before the end
      const std::size_t header = GetParam() == FakeShape::kStride ? kStrideHeader : 0;
      const std::size_t chunk = kChunk + FakeSealer(GetParam(), kChunk).chunk_overhead();
      const std::size_t whole = std::min((cut - header) / chunk * kChunk, plain.size());
      // Of the framed shape the last, short chunk may be whole too, with the end marker missing.
      const bool all = GetParam() == FakeShape::kFramed && cut >= sealed.size() - 4;
      EXPECT_EQ(opened.content.size(), all ? plain.size() : whole) << cut;
      EXPECT_TRUE(is_prefix(opened.content, plain));
    }
}

TEST_P(BothShapes, AFlippedByteGivesAllChunksBeforeItAndFails) {
  const Bytes plain = random_bytes(700'000, 7);
  const Bytes good = sealed_by_hand(GetParam(), plain);
  const FakeSealer sealer(GetParam(), kChunk);
  for (std::size_t chunk = 0; chunk * kChunk < plain.size(); ++chunk) {
    Bytes sealed = good;
    const std::size_t start = sealer.header().size() + chunk * (kChunk + sealer.chunk_overhead());
    sealed[start + 20] ^= std::byte{1};
    for (const Road& road : kRoads) {
      MemorySink opened;
      const auto back = open_on(road, GetParam(), sealed, opened);
      ASSERT_FALSE(back.has_value());
      EXPECT_EQ(back.error(), seal_failure(seal::SealError::kNotAuthentic, "the input"));
      if (road.positional_sink) continue;  // nobody looks there before the end
      EXPECT_TRUE(std::ranges::equal(opened.content, ByteSpan(plain).first(chunk * kChunk)));
    }
  }
}

TEST(Engine, AFirstChunkThatDoesNotOpenMayMeanTheKey) {
  Bytes sealed = sealed_by_hand(FakeShape::kFramed, random_bytes(200'000, 9));
  sealed[10] ^= std::byte{1};
  MemorySink sink;
  const auto back =
      open_on(kRoads[0], FakeShape::kFramed, sealed, sink, {.name = "x.enc", .key_unproven = true});
  ASSERT_FALSE(back.has_value());
  EXPECT_EQ(back.error().kind, ErrorKind::kWrongKey);
  EXPECT_TRUE(sink.content.empty());
}

TEST(Engine, TrailingDataIsRefusedOrReported) {
  const Bytes plain = random_bytes(500'000, 10);
  for (const std::size_t size : {std::size_t{500'000}, kChunk * 4, std::size_t{0}}) {
    Bytes sealed = sealed_by_hand(FakeShape::kFramed, ByteSpan(plain).first(size));
    sealed.push_back(std::byte{0});
    for (const Road& road : kRoads) {
      MemorySink refused;
      const auto no = open_on(road, FakeShape::kFramed, sealed, refused);
      ASSERT_FALSE(no.has_value());
      EXPECT_EQ(no.error(), seal_failure(seal::SealError::kTrailingData, "the input"));
      MemorySink taken;
      const auto yes = open_on(road, FakeShape::kFramed, sealed, taken, {.refuse_trailing = false});
      ASSERT_TRUE(yes.has_value());
      EXPECT_TRUE(yes.value().trailing_data);
      EXPECT_EQ(yes.value().sealed.size, sealed.size() - 1);
      EXPECT_TRUE(std::ranges::equal(taken.content, ByteSpan(plain).first(size)));
    }
  }
}

// Runs `attempt` with a fault at call 0, 1, 2 … until it succeeds; returns how many calls failed.
template <class Attempt>
std::uint64_t fail_at_each_call(Attempt attempt) {
  for (std::uint64_t call = 0;; ++call) {
    if (attempt(call)) return call;
    if (call > 1000) return call;
  }
}

TEST_P(BothShapes, ASourceMayFailAtEachRead) {
  const Bytes all = compressible_bytes(5'000'000, 12);
  for (const bool compress : {false, true})
    for (const Road& road : kRoads) {
      const ByteSpan plain = ByteSpan(all).first(compress ? all.size() : 1'000'000);
      const Bytes sealed = sealed_bytes(GetParam(), plain, {.compress = compress});
      const auto seals = fail_at_each_call([&](std::uint64_t call) {
        MemorySource source(plain);
        source.is_positional = road.positional_source;
        source.fails_at = call;
        MemorySink sink;
        sink.is_positional = road.positional_sink;
        const auto report = seal_stream(FakeSealer(GetParam(), kChunk), source, sink,
                                        {.compress = compress}, {.threads = road.threads});
        if (report.has_value()) return true;
        EXPECT_EQ(report.error().message, "the source failed");
        // Out of order the last block may be there and one before it not.
        if (!road.positional_sink) {
          EXPECT_TRUE(is_prefix(sink.content, sealed));
          EXPECT_LT(sink.content.size(), sealed.size());
        }
        return false;
      });
      EXPECT_GT(seals, 2U);
      const auto opens = fail_at_each_call([&](std::uint64_t call) {
        const std::size_t header = GetParam() == FakeShape::kStride ? kStrideHeader : 0;
        FakeOpener opener(GetParam(), kChunk);
        MemorySource source(ByteSpan(sealed).subspan(header));
        source.is_positional = road.positional_source;
        source.fails_at = call;
        MemorySink sink;
        sink.is_positional = road.positional_sink;
        const auto report = open_stream(opener, {}, source, sink, {.decompress = compress},
                                        {.threads = road.threads});
        if (report.has_value()) return true;
        EXPECT_EQ(report.error().message, "the source failed");
        EXPECT_TRUE(road.positional_sink || is_prefix(sink.content, plain));
        return false;
      });
      EXPECT_GT(opens, 2U);
    }
}

TEST_P(BothShapes, ASinkMayFailAtEachWrite) {
  const Bytes all = compressible_bytes(5'000'000, 13);
  for (const bool compress : {false, true})
    for (const Road& road : kRoads) {
      const ByteSpan plain = ByteSpan(all).first(compress ? all.size() : 1'000'000);
      const Bytes sealed = sealed_bytes(GetParam(), plain, {.compress = compress});
      const auto seals = fail_at_each_call([&](std::uint64_t call) {
        MemorySink sink;
        sink.fails_at = call;
        const auto report = seal_on(road, GetParam(), plain, sink, {.compress = compress});
        if (report.has_value()) return true;
        EXPECT_EQ(report.error().message, "the sink failed");
        EXPECT_TRUE(road.positional_sink || is_prefix(sink.content, sealed));
        return false;
      });
      EXPECT_GT(seals, 2U);
      const auto opens = fail_at_each_call([&](std::uint64_t call) {
        MemorySink sink;
        sink.fails_at = call;
        const auto report = open_on(road, GetParam(), sealed, sink, {.decompress = compress});
        if (report.has_value()) return true;
        EXPECT_EQ(report.error().message, "the sink failed");
        EXPECT_TRUE(road.positional_sink || is_prefix(sink.content, plain));
        return false;
      });
      EXPECT_GE(opens, 2U);
    }
}

TEST_P(BothShapes, CancellationAtAnyPointEndsIt) {
  const Bytes plain = compressible_bytes(5'000'000, 14);
  std::minstd_rand random(15);
  for (int round = 0; round < 24; ++round) {
    const bool compress = round % 2 == 0;
    const bool at_sink = random() % 2 == 0;
    const Road& road = kRoads[random() % kRoads.size()];
    const Bytes sealed = sealed_bytes(GetParam(), plain, {.compress = compress});
    const std::uint64_t when = random() % 4;
    std::atomic<std::uint64_t> calls{0};
    flow::Cancellation cancel;
    const auto maybe_cancel = [&] {
      if (calls++ == when) cancel.cancel();
    };
    const std::size_t header = GetParam() == FakeShape::kStride ? kStrideHeader : 0;
    const bool seals = random() % 2 == 0;
    FakeOpener opener(GetParam(), kChunk);
    MemorySource source(seals ? ByteSpan(plain) : ByteSpan(sealed).subspan(header));
    source.is_positional = road.positional_source;
    MemorySink sink;
    sink.is_positional = road.positional_sink;
    (at_sink ? sink.before_write : source.before_read) = maybe_cancel;
    const EngineOptions options{.threads = road.threads, .cancel = &cancel};
    const auto kind = [](const auto& report) {
      return report.has_value() ? std::optional<ErrorKind>() : report.error().kind;
    };
    const auto ended =
        seals ? kind(seal_stream(FakeSealer(GetParam(), kChunk), source, sink,
                                 {.compress = compress}, options))
              : kind(open_stream(opener, {}, source, sink, {.decompress = compress}, options));
    if (!cancel.cancelled()) {  // it had ended before that call
      EXPECT_FALSE(ended.has_value());
      continue;
    }
    ASSERT_TRUE(ended == ErrorKind::kInterrupted) << round;
    EXPECT_TRUE(road.positional_sink || is_prefix(sink.content, seals ? sealed : plain));
  }
}

TEST(Engine, AChangingFileIsNotSealed) {
  // Grows while it is read: a block that looked last is followed by data.
  class Growing final : public flow::ByteSource, public flow::PositionalSource {
   public:
    Result<std::size_t, Error> read(MutableByteSpan) override { return std::size_t{0}; }
    Result<std::size_t, Error> read_at(std::uint64_t offset, MutableByteSpan out) override {
      const std::uint64_t call = calls_++;
      if (offset > 0 && call == 1) {
        while (calls_ < 3) std::this_thread::yield();
        return out.size() / 2;
      }
      return offset == 0 ? out.size() : 10;
    }
    PositionalSource* positional() override { return this; }

   private:
    std::atomic<std::uint64_t> calls_{0};
  };
  Growing source;
  MemorySink sink;
  const auto report =
      seal_stream(FakeSealer(FakeShape::kStride, kChunk), source, sink, {}, {.threads = 3});
  ASSERT_FALSE(report.has_value());
  EXPECT_NE(report.error().message.find("changed while it was read"), std::string::npos);
}

// --- zstd streams that others made

Bytes zstd_stream(ByteSpan plain, bool content_size, int window_log = 0) {
  ZSTD_CCtx* context = ZSTD_createCCtx();
  ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1);
  ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, content_size ? 1 : 0);
  if (window_log > 27) ZSTD_CCtx_setParameter(context, ZSTD_c_enableLongDistanceMatching, 1);
  if (window_log > 0) ZSTD_CCtx_setParameter(context, ZSTD_c_windowLog, window_log);
  Bytes out(ZSTD_compressBound(plain.size()) + 100);
  ZSTD_outBuffer to{out.data(), out.size(), 0};
  // In parts, so that the compressor does not know the whole size.
  ZSTD_inBuffer from{plain.data(), plain.size() / 2, 0};
  if (!content_size) ZSTD_compressStream2(context, &to, &from, ZSTD_e_flush);
  from.size = plain.size();
  EXPECT_EQ(ZSTD_compressStream2(context, &to, &from, ZSTD_e_end), 0U);
  ZSTD_freeCCtx(context);
  out.resize(to.pos);
  return out;
}

Bytes skippable(std::size_t size) {
  Bytes frame = {std::byte{0x5E}, std::byte{0x2A}, std::byte{0x4D}, std::byte{0x18}};
  for (int i = 0; i < 4; ++i) frame.push_back(static_cast<std::byte>(size >> (8 * i)));
  frame.insert(frame.end(), size, std::byte{0xEE});
  return frame;
}

void append(Bytes& to, const Bytes& more) { to.insert(to.end(), more.begin(), more.end()); }

Result<OpenReport, Error> unzstd_on(const Road& road, ByteSpan packed, MemorySink& sink,
                                    std::uint64_t limit = UINT64_MAX) {
  const Bytes sealed = sealed_by_hand(FakeShape::kStride, packed);
  return open_on(road, FakeShape::kStride, sealed, sink,
                 {.decompress = true, .hash_plain = true, .max_plain_size = limit});
}

TEST(EngineZstd, AnyValidStreamOpens) {
  const Bytes small = compressible_bytes(100'000, 20);
  const Bytes large = compressible_bytes(20'000'000, 21);
  const Bytes noise = random_bytes(9'000'000, 22);
  const Bytes block = compressible_bytes(kBlockSize, 23);  // where ours has its blocks, and not
  Bytes packed = skippable(0);
  Bytes expected;
  for (const Bytes& frame :
       {zstd_stream(block, true), zstd_stream(block, true), zstd_stream(small, true),
        skippable(100'000), zstd_stream(block, true), zstd_stream(large, false),
        zstd_stream(small, false), zstd_stream({}, true), zstd_stream(noise, true),
        zstd_stream(small, true), skippable(3)})
    append(packed, frame);
  for (const Bytes& part : {block, block, small, block, large, small, noise, small})
    append(expected, part);
  for (const Road& road : kRoads) {
    MemorySink sink;
    const auto back = unzstd_on(road, packed, sink);
    ASSERT_TRUE(back.has_value()) << back.error().message;
    EXPECT_TRUE(same_bytes(sink.content, expected));
    EXPECT_EQ(back.value().plain.hash, crypto::blake3(expected));
  }
}

TEST(EngineZstd, NoBytesAreAnEmptyStream) {
  MemorySink sink;
  ASSERT_TRUE(unzstd_on(kRoads[1], {}, sink).has_value());
  EXPECT_TRUE(sink.content.empty());
}

TEST(EngineZstd, CutsAndDamageFailBehindWhatWasWhole) {
  const Bytes first = compressible_bytes(kBlockSize, 23);
  const Bytes frame = zstd_stream(first, true);
  for (const bool content_size : {true, false}) {
    const Bytes second = zstd_stream(compressible_bytes(300'000, 24), content_size);
    for (std::size_t cut = 1; cut < second.size(); cut += 1 + second.size() / 23) {
      Bytes packed = frame;
      append(packed, Bytes(second.begin(), second.begin() + static_cast<std::ptrdiff_t>(cut)));
      MemorySink sink;
      const auto back = unzstd_on(kRoads[1], packed, sink);
      ASSERT_FALSE(back.has_value()) << cut;
      EXPECT_EQ(back.error().kind, ErrorKind::kVerificationFailed);
      EXPECT_NE(back.error().message.find("ends too early"), std::string::npos)
          << back.error().message;
      EXPECT_TRUE(is_prefix(first, sink.content));
    }
    for (std::size_t at = 0; at < second.size(); at += 1 + second.size() / 23) {
      Bytes packed = frame;
      append(packed, second);
      packed[frame.size() + at] ^= std::byte{0x10};
      MemorySink sink;
      const auto back = unzstd_on(kRoads[1], packed, sink);
      ASSERT_FALSE(back.has_value()) << at;
      EXPECT_EQ(back.error().kind, ErrorKind::kVerificationFailed);
      EXPECT_TRUE(is_prefix(first, sink.content));
    }
  }
}

TEST(EngineZstd, GarbageFailsPromptly) {
  const Bytes sealed = sealed_by_hand(FakeShape::kStride, random_bytes(30'000'000, 25));
  FakeOpener opener(FakeShape::kStride, kChunk);
  MemorySource source(ByteSpan(sealed).subspan(kStrideHeader));
  MemorySink sink;
  const auto back = open_stream(opener, {}, source, sink, {.decompress = true}, {.threads = 2});
  ASSERT_FALSE(back.has_value());
  EXPECT_NE(back.error().message.find("not zstd"), std::string::npos);
  EXPECT_LT(source.calls, 20U) << "without reading on to the end";
  EXPECT_TRUE(sink.content.empty());
}

TEST(EngineZstd, ABombEndsAtTheLimit) {
  const Bytes zeros(40'000'000);
  for (const bool content_size : {true, false}) {
    const Bytes packed = zstd_stream(zeros, content_size);
    MemorySink sink;
    const auto back = unzstd_on(kRoads[1], packed, sink, 10'000'000);
    ASSERT_FALSE(back.has_value());
    EXPECT_EQ(back.error().kind, ErrorKind::kVerificationFailed);
    EXPECT_LE(sink.content.size(), 10'000'000U);
  }
}

TEST(EngineZstd, AWindowAboveTheLimitIsRefused) {
  // Only the header matters: a frame that asks for a window of 2^28 bytes.
  Bytes packed = {std::byte{0x28}, std::byte{0xB5}, std::byte{0x2F},
                  std::byte{0xFD}, std::byte{0x00}, std::byte{(28 - 10) << 3}};
  for (const int byte : {1, 0, 0}) packed.push_back(static_cast<std::byte>(byte));
  MemorySink sink;
  const auto back = unzstd_on(kRoads[1], packed, sink);
  ASSERT_FALSE(back.has_value());
  EXPECT_NE(back.error().message.find("128 MiB"), std::string::npos) << back.error().message;
  packed[5] = std::byte{(27 - 10) << 3};
  EXPECT_TRUE(unzstd_on(kRoads[1], packed, sink).has_value());
}

TEST(Engine, TheLimitHoldsWithoutCompressionToo) {
  const Bytes sealed = sealed_by_hand(FakeShape::kStride, random_bytes(1'000'000, 26));
  for (const Road& road : kRoads) {
    MemorySink sink;
    const auto back = open_on(road, FakeShape::kStride, sealed, sink, {.max_plain_size = 999'999});
    ASSERT_FALSE(back.has_value());
    EXPECT_EQ(back.error().kind, ErrorKind::kVerificationFailed);
    MemorySink all;
    EXPECT_TRUE(
        open_on(road, FakeShape::kStride, sealed, all, {.max_plain_size = 1'000'000}).has_value());
  }
}

TEST(Engine, CountersTellTheSizes) {
  const Bytes plain = compressible_bytes(6'000'000, 27);
  for (const bool compress : {false, true}) {
    flow::FlowCounters counters;
    MemorySource source(plain);
    MemorySink sealed;
    const auto report = seal_stream(FakeSealer(FakeShape::kStride, kChunk), source, sealed,
                                    {.compress = compress}, {.threads = 2, .counters = &counters});
    EXPECT_EQ(counters.plain_bytes, plain.size());
    EXPECT_EQ(counters.packed_bytes, report.value().packed_size);
    EXPECT_EQ(counters.sealed_bytes, sealed.content.size());
    flow::FlowCounters back;
    FakeOpener opener(FakeShape::kStride, kChunk);
    MemorySource from(ByteSpan(sealed.content).subspan(kStrideHeader));
    MemorySink opened;
    ASSERT_TRUE(open_stream(opener, {}, from, opened, {.decompress = compress},
                            {.threads = 2, .counters = &back})
                    .has_value());
    EXPECT_EQ(back.plain_bytes, plain.size());
    EXPECT_EQ(back.packed_bytes, report.value().packed_size);
    EXPECT_EQ(back.sealed_bytes, sealed.content.size() - kStrideHeader);
  }
}

// A sink that keeps nothing, so that what is counted is the engine's.
class NullSink final : public flow::ByteSink {
 public:
  std::uint64_t calls = 0;
  Result<void, Error> write(ByteSpan) override {
    ++calls;
    return success();
  }
};

TEST(SteadyState, NeitherAllocationsNorCallsGrowWithTheChunks) {
  const Bytes plain = compressible_bytes(48'000'000, 28);
  for (const bool compress : {false, true}) {
    const auto run = [&](std::size_t size, std::uint64_t& reads, std::uint64_t& writes) {
      MemorySource source(ByteSpan(plain).first(size));
      NullSink sink;
      const std::uint64_t before = testing::allocation_count();
      EXPECT_TRUE(seal_stream(FakeSealer(FakeShape::kStride, kChunk), source, sink,
                              {.compress = compress}, {.threads = 2})
                      .has_value());
      reads = source.calls;
      writes = sink.calls;
      return testing::allocation_count() - before;
    };
    std::uint64_t reads = 0;
    std::uint64_t writes = 0;
    const auto few = run(16'000'000, reads, writes);
    const auto many = run(48'000'000, reads, writes);
    EXPECT_EQ(few, many);
    const std::size_t block = compress ? kBlockSize : 256 * 1024;
    EXPECT_LE(reads, plain.size() / block + 2);
    EXPECT_LE(writes, plain.size() / block + 2);

    const auto open = [&](std::size_t size) {
      const Bytes sealed =
          sealed_bytes(FakeShape::kStride, ByteSpan(plain).first(size), {.compress = compress});
      FakeOpener opener(FakeShape::kStride, kChunk);
      MemorySource source(ByteSpan(sealed).subspan(kStrideHeader));
      NullSink sink;
      const std::uint64_t before = testing::allocation_count();
      EXPECT_TRUE(open_stream(opener, {}, source, sink, {.decompress = compress}, {.threads = 2})
                      .has_value());
      return testing::allocation_count() - before;
    };
    EXPECT_EQ(open(16'000'000), open(48'000'000));
  }
}

TEST(Engine, SealFailuresCarryTheKindThatFits) {
  EXPECT_EQ(seal_failure(seal::SealError::kNoMatchingKey, "x").kind, ErrorKind::kWrongKey);
  EXPECT_EQ(seal_failure(seal::SealError::kWrongPassphrase, "x").kind, ErrorKind::kWrongKey);
  EXPECT_EQ(seal_failure(seal::SealError::kPassphraseNeeded, "x").kind, ErrorKind::kWrongKey);
  EXPECT_EQ(seal_failure(seal::SealError::kTruncated, "x").kind, ErrorKind::kVerificationFailed);
  EXPECT_EQ(seal_failure(seal::SealError::kWorkFactorTooHigh, "x").kind,
            ErrorKind::kVerificationFailed);
  EXPECT_EQ(seal_failure(seal::SealError::kTruncated, "a\nb").message.find('\n'),
            std::string::npos);
}

}  // namespace
}  // namespace sealane::backup
