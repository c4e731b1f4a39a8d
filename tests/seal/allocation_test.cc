// Goal: sealing and opening a chunk costs no allocation, so the flow's speed does not depend on the
// allocator. Method: operator new of this program counts.
#include <gtest/gtest.h>

#include <cstdlib>
#include <new>

#include "seal/age.h"
#include "seal/chunk_stream.h"
#include "tests/seal/driver.h"

namespace {
std::size_t allocations = 0;
}

// Not inlined: g++ 12 would see a new that is freed by free().
[[gnu::noinline]] void* operator new(std::size_t size) {
  ++allocations;
  if (void* memory = std::malloc(size)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

namespace sealane::seal {
namespace {

void expect_no_allocation(const StreamSealer& sealer, StreamOpener& opener) {
  const Bytes plaintext = testing::pattern(0, sealer.chunk_size());
  Bytes sealed(plaintext.size() + sealer.chunk_overhead());
  Bytes opened(plaintext.size());
  const auto seal_worker = sealer.make_worker();
  const auto open_worker = opener.make_worker();
  const SealedChunk chunk{.size = sealed.size(), .plaintext_size = opened.size()};
  const std::size_t before = allocations;
  for (std::uint64_t index = 0; index < 3; ++index) {
    seal_worker->seal(index, false, plaintext, sealed);
    EXPECT_TRUE(open_worker->open(index, chunk, sealed, opened).has_value());
  }
  EXPECT_EQ(allocations, before);
  EXPECT_EQ(opened, plaintext);
}

TEST(Allocation, NoneInAChunkOfEitherFormat) {
  testing::ScriptedRandom random;
  const auto identity = identity::AgeIdentity::generate(random);
  const std::vector<identity::Recipient> recipients = {
      identity::AgeRecipient{identity.public_key()}};
  std::unique_ptr<FileKey> file_key;
  const auto age = make_age_sealer({.recipients = recipients}, random, &file_key);
  const auto age_opener =
      make_age_opener(age.value()->header(), {.keys = {}, .file_key = file_key.get()});
  expect_no_allocation(*age.value(), *age_opener.value());

  const ByteArray<32> raw{};
  const DataKey key(raw);
  const auto chunks = make_chunk_stream_sealer(key, random);
  const auto chunk_opener = make_chunk_stream_opener(key, ChunkStreamMode::kStrict);
  expect_no_allocation(*chunks, *chunk_opener);
}

}  // namespace
}  // namespace sealane::seal
