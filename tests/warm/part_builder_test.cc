// Goal: commands become parts that hold whole commands and no more than asked for, in whichever way
// they are added. Method: the same commands added, and written in place; memory given back.
#include "warm/part_builder.h"

#include <gtest/gtest.h>

#include "base/copy_bytes.h"
#include "crypto/hash.h"
#include "warm/key_commands.h"
#include "warm/resp.h"

namespace sealane::warm {
namespace {

constexpr std::size_t kSize = 4096;

std::vector<Part> all(PartBuilder& builder) {
  builder.cut();
  std::vector<Part> out;
  while (auto part = builder.take()) out.push_back(std::move(*part));
  return out;
}

TEST(PartBuilder, WrittenInPlaceGivesTheSamePartsAsAdded) {
  PartBuilder added(kSize, {});
  PartBuilder written(kSize, {});
  for (std::size_t size = 0; size < 1100; size += 7) {
    const std::string key = "key:" + std::to_string(size);
    const std::string text(size, 'x');
    Bytes command;
    append_create(as_bytes(key), as_bytes(text), command);
    Bytes plain;
    RespWriter(plain).command({"SET", key, text, "NX"});
    ASSERT_EQ(command, plain);
    added.add(command, 1);
    write_create(as_bytes(key), as_bytes(text),
                 written.add_sized(create_size(as_bytes(key), as_bytes(text)), 1));
  }
  EXPECT_EQ(added.bytes(), written.bytes());
  const auto one = all(added);
  const auto other = all(written);
  ASSERT_EQ(one.size(), other.size());
  ASSERT_GT(one.size(), 10U);
  for (std::size_t i = 0; i < one.size(); ++i) {
    EXPECT_EQ(one[i].commands, other[i].commands);
    EXPECT_EQ(one[i].digest, other[i].digest);
    EXPECT_EQ(one[i].keys, other[i].keys);
    EXPECT_LE(one[i].commands.size(), kSize);
  }
}

TEST(PartBuilder, TheDigestIsOfTheCommandsHoweverManyAndLarge) {
  PartBuilder builder(std::size_t{1024} * 1024, {});
  for (std::size_t i = 0; i < 3000; ++i) {
    // Now and then one larger than what is hashed at a time, and than a part.
    const std::size_t size = i % 1000 == 500 ? 2'000'000 : i % 100 == 50 ? 70'000 : i;
    builder.add(Bytes(size, static_cast<std::byte>(i)), 1);
  }
  const auto parts = all(builder);
  ASSERT_GT(parts.size(), 6U);
  for (const Part& part : parts) EXPECT_EQ(part.digest, crypto::sha256(part.commands));
}

TEST(PartBuilder, TakesMemoryOfAPartButNotOfAHugeOne) {
  PartBuilder builder(kSize, {});
  Bytes memory(kSize, std::byte{1});
  const std::byte* const where = memory.data();
  builder.reuse(std::move(memory));
  builder.add(as_bytes("a"), 1);
  builder.reuse(Bytes(3 * kSize));
  builder.reuse(Bytes());
  builder.cut();
  builder.add(as_bytes("b"), 1);
  const auto parts = all(builder);
  ASSERT_EQ(parts.size(), 2U);
  EXPECT_EQ(parts[0].commands.data(), where);
  EXPECT_EQ(to_text(parts[0].commands), "a");
  EXPECT_EQ(to_text(parts[1].commands), "b");
  EXPECT_LT(parts[1].commands.capacity(), 2 * kSize);
}

}  // namespace
}  // namespace sealane::warm
