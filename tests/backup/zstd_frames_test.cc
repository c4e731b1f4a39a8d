// Goal: frames are found in any cut, and what is not zstd is refused at once. Method: streams that
// zstd made, fed whole and byte by byte; headers made by hand for what zstd does not write.
#include "backup/zstd_frames.h"

#include <gtest/gtest.h>
#include <zstd.h>

#include "memory_streams.h"

namespace sealane::backup {
namespace {

Bytes frame(ByteSpan plain, bool checksum, bool content_size) {
  ZSTD_CCtx* context = ZSTD_createCCtx();
  ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, checksum ? 1 : 0);
  ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, content_size ? 1 : 0);
  Bytes out(ZSTD_compressBound(plain.size()));
  out.resize(ZSTD_compress2(context, out.data(), out.size(), plain.data(), plain.size()));
  ZSTD_freeCCtx(context);
  return out;
}

TEST(FrameScanner, FindsTheEndsInAnyCut) {
  for (const std::size_t size : {0U, 1U, 300U, 70'000U, 300'000U})
    for (const bool checksum : {false, true})
      for (const bool content_size : {false, true}) {
        const Bytes plain = testing::random_bytes(size, 1);
        const Bytes one = frame(plain, checksum, content_size);
        Bytes stream = one;
        stream.insert(stream.end(), one.begin(), one.end());
        for (const std::size_t cut : {std::size_t{1}, std::size_t{5}, stream.size()}) {
          FrameScanner scanner;
          std::vector<std::size_t> ends;
          std::size_t at = 0;
          while (at < stream.size()) {
            const auto piece =
                scanner.next(ByteSpan(stream).subspan(at, std::min(cut, stream.size() - at)));
            ASSERT_TRUE(piece.has_value());
            EXPECT_EQ(piece.value().starts, at == 0 || at == one.size());
            at += piece.value().size;
            if (!piece.value().ends) continue;
            ends.push_back(at);
            EXPECT_EQ(scanner.content_size(),
                      content_size ? std::optional<std::uint64_t>(size) : std::nullopt);
          }
          EXPECT_EQ(ends, (std::vector<std::size_t>{one.size(), stream.size()}));
          EXPECT_TRUE(scanner.at_boundary());
        }
        FrameScanner scanner;
        EXPECT_FALSE(scanner.next(ByteSpan(one).first(one.size() - 1)).value().ends);
        EXPECT_FALSE(scanner.at_boundary());
      }
}

TEST(FrameScanner, RefusesWhatIsNotZstd) {
  FrameScanner garbage;
  EXPECT_EQ(garbage.next(as_bytes("PGDMP")).error(), FrameError::kNotZstd);

  Bytes reserved_bit = frame(as_bytes("abc"), true, true);
  reserved_bit[4] |= std::byte{0x08};
  FrameScanner bit;
  EXPECT_EQ(bit.next(reserved_bit).error(), FrameError::kMalformed);

  // Descriptor 0, a window byte, then a block header.
  const auto with_block = [](std::uint32_t header) {
    Bytes bytes = {std::byte{0x28}, std::byte{0xB5}, std::byte{0x2F},
                   std::byte{0xFD}, std::byte{0},    std::byte{0}};
    for (int i = 0; i < 3; ++i) bytes.push_back(static_cast<std::byte>(header >> (8 * i)));
    return bytes;
  };
  FrameScanner reserved_type;
  EXPECT_EQ(reserved_type.next(with_block(3U << 1 | 1)).error(), FrameError::kMalformed);
  FrameScanner too_large;
  EXPECT_EQ(too_large.next(with_block((FrameScanner::kMaxBlockSize + 1) << 3)).error(),
            FrameError::kMalformed);
  FrameScanner largest;
  EXPECT_TRUE(largest.next(with_block(FrameScanner::kMaxBlockSize << 3)).has_value());
}

TEST(FrameScanner, SkippableFramesAreTold) {
  const Bytes skippable = {std::byte{0x50}, std::byte{0x2A}, std::byte{0x4D}, std::byte{0x18},
                           std::byte{2},    std::byte{0},    std::byte{0},    std::byte{0},
                           std::byte{9},    std::byte{9}};
  FrameScanner scanner;
  const auto piece = scanner.next(skippable).value();
  EXPECT_EQ(piece.kind, FrameScanner::Kind::kSkippable);
  EXPECT_TRUE(piece.ends);
  EXPECT_EQ(piece.size, skippable.size());
}

}  // namespace
}  // namespace sealane::backup
