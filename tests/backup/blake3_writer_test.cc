// Goal: the hash is that of all bytes in order, wherever they are cut and on whichever thread they
// are hashed. Method: sizes around every border, pieces of every kind, against the hash of the
// whole.
#include "backup/blake3_writer.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace sealane::backup {
namespace {

Bytes numbered(std::size_t size) {
  Bytes out(size);
  std::uint32_t state = 1;
  for (std::byte& byte : out) {
    state = state * 1664525 + 1013904223;
    byte = static_cast<std::byte>(state >> 24);
  }
  return out;
}

void write_in_pieces(Blake3Writer& writer, ByteSpan data, std::size_t piece) {
  while (!data.empty()) {
    const ByteSpan part = data.first(std::min(piece, data.size()));
    writer.write(part);
    data = data.subspan(part.size());
  }
}

TEST(Blake3Writer, IsTheHashOfTheWhole) {
  constexpr std::size_t kAlone = Blake3Writer::kAloneSize;
  constexpr std::size_t kBlock = 256 * 1024;
  const Bytes data = numbered(kAlone + 9 * kBlock + 1);
  for (const std::size_t size :
       {std::size_t{0}, std::size_t{1}, std::size_t{32767}, std::size_t{32768}, std::size_t{32769},
        kAlone - 1, kAlone, kAlone + 1, kAlone + kBlock - 1, kAlone + kBlock, kAlone + kBlock + 1,
        data.size()}) {
    const ByteSpan whole = ByteSpan(data).first(size);
    const auto expected = crypto::blake3(whole);
    for (const std::size_t piece : {std::size_t{9}, std::size_t{1000}, std::size_t{32768},
                                    std::size_t{300'001}, std::size_t{8} << 20}) {
      Blake3Writer writer;
      write_in_pieces(writer, whole, piece);
      EXPECT_EQ(writer.finish(), expected) << size << " bytes in pieces of " << piece;
    }
  }
}

TEST(Blake3Writer, MayBeDroppedHalfWay) {
  const Bytes data = numbered(Blake3Writer::kAloneSize + 3'000'000);
  for (const std::size_t size : {std::size_t{5}, Blake3Writer::kAloneSize, data.size()}) {
    Blake3Writer writer;
    write_in_pieces(writer, ByteSpan(data).first(size), 700);
  }
}

TEST(Blake3Writer, ManyAtOnceKeepApart) {
  const Bytes data = numbered(Blake3Writer::kAloneSize + 1'500'000);
  Blake3Writer all;
  Blake3Writer reversed;
  Bytes backwards(data.rbegin(), data.rend());
  for (std::size_t i = 0; i < data.size(); i += 500) {
    const std::size_t size = std::min<std::size_t>(500, data.size() - i);
    all.write(ByteSpan(data).subspan(i, size));
    reversed.write(ByteSpan(backwards).subspan(i, size));
  }
  EXPECT_EQ(all.finish(), crypto::blake3(data));
  EXPECT_EQ(reversed.finish(), crypto::blake3(backwards));
}

}  // namespace
}  // namespace sealane::backup
