// Goal: a spool gives back what was written to it, wherever that lies: in place, moved, copied, in
// the file. Method: pieces of all sizes at seeded places of the room, against a plain copy.
#include "warm/spool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "base/copy_bytes.h"
#include "tests/entropy/support.h"
#include "tests/support/doubles.h"
#include "tests/support/simulated_files.h"

namespace sealane::warm {
namespace {

constexpr std::size_t kBlock = SpoolMemory::kBlockSize;

Bytes content_of(Spool& spool, std::size_t* pieces = nullptr) {
  Bytes out;
  Spool::Content content(spool);
  for (;;) {
    const ByteSpan piece = content.next().value();
    if (piece.empty()) return out;
    if (pieces != nullptr) ++*pieces;
    out.insert(out.end(), piece.begin(), piece.end());
  }
}

struct Disk {
  Disk() { EXPECT_TRUE(files.create_directory("/spool").has_value()); }
  sealane::testing::SimulatedFiles files;
  sealane::testing::SeededRandom random{1};
};

TEST(Spool, GivesBackWhatWasWrittenWhereverItLies) {
  const Bytes source = entropy::testing::random_bytes(2 * kBlock, 3);
  for (unsigned seed = 0; seed < 40; ++seed) {
    std::mt19937_64 engine(seed);
    const auto below = [&engine](std::size_t limit) { return engine() % limit; };
    Disk disk;
    SpoolMemory memory(4 * kBlock);
    Spool spool(disk.files, disk.random, memory, "/spool");
    Bytes expected;
    while (expected.size() < 6 * kBlock) {
      const MutableByteSpan room = spool.room(1 + below(2) * below(kBlock));
      // As a read does: all of it, with what is no content in between.
      const std::size_t read = room.empty() ? 0 : 1 + below(room.size());
      copy_bytes(ByteSpan(source).subspan(below(kBlock), read), room.begin());
      for (std::size_t at = 0; at < read;) {
        at += std::min<std::size_t>(read - at, below(2) * below(10));
        const std::size_t most = below(2) == 0 ? 100 : 100'000;
        const ByteSpan piece = ByteSpan(room).subspan(at, std::min(read - at, 1 + below(most)));
        expected.insert(expected.end(), piece.begin(), piece.end());
        ASSERT_TRUE(spool.write(piece).has_value());
        at += piece.size();
      }
      if (below(2) == 0 || read == 0) {
        const ByteSpan other =
            ByteSpan(source).subspan(below(kBlock), below(below(2) * kBlock + 99));
        expected.insert(expected.end(), other.begin(), other.end());
        ASSERT_TRUE(spool.write(other).has_value());
      }
    }
    EXPECT_EQ(spool.size(), expected.size());
    EXPECT_TRUE(content_of(spool) == expected) << seed;
  }
}

TEST(Spool, KeepsInPlaceWhatLiesInItsRoom) {
  Disk disk;
  SpoolMemory memory(2 * kBlock);
  Spool spool(disk.files, disk.random, memory, "/spool");
  const MutableByteSpan room = spool.room(kBlock);
  ASSERT_EQ(room.size(), kBlock);
  ASSERT_TRUE(spool.write(room.subspan(4, 5000)).has_value());
  ASSERT_TRUE(spool.write(room.subspan(5008, 5000)).has_value());
  const MutableByteSpan next = spool.room(1);
  EXPECT_EQ(next.data(), room.data() + 10'008);
  Spool::Content content(spool);
  EXPECT_EQ(content.next().value().data(), room.data() + 4);
  EXPECT_EQ(content.next().value().data(), room.data() + 5008);
  EXPECT_TRUE(content.next().value().empty());
  // What is left of the block is too little: the next one, and then there is none.
  const MutableByteSpan second = spool.room(kBlock);
  EXPECT_EQ(second.size(), kBlock);
  ASSERT_TRUE(spool.write(second.first(1)).has_value());
  EXPECT_TRUE(spool.room(kBlock).empty());
}

TEST(Spool, TinyPiecesDoNotMakeItsListLong) {
  Disk disk;
  SpoolMemory memory(4 * kBlock);
  Spool spool(disk.files, disk.random, memory, "/spool");
  Bytes expected;
  const MutableByteSpan room = spool.room(kBlock);
  std::ranges::copy(entropy::testing::random_bytes(kBlock, 5), room.begin());
  for (std::size_t at = 4; at < kBlock; at += 5) {
    expected.push_back(room[at]);
    ASSERT_TRUE(spool.write(room.subspan(at, 1)).has_value());
  }
  std::size_t pieces = 0;
  EXPECT_TRUE(content_of(spool, &pieces) == expected);
  EXPECT_EQ(pieces, 1U);
}

}  // namespace
}  // namespace sealane::warm
