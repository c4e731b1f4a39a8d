#pragma once
// Private to this folder: the compression function of BLAKE3 and what its wide forms share.
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace sealane::crypto::blake3_core {

inline constexpr std::size_t kBlockSize = 64;
inline constexpr std::size_t kChunkSize = 1024;
inline constexpr std::size_t kBlocksPerChunk = kChunkSize / kBlockSize;

using ChainingValue = std::array<std::uint32_t, 8>;
using BlockWords = std::array<std::uint32_t, 16>;

// The paper, 2.2, tables 1 to 3. Plain arrays: the wide code may call nothing of the library.
inline constexpr std::uint32_t kIv[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                         0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
enum Flag : std::uint32_t {
  kChunkStart = 1,
  kChunkEnd = 2,
  kParent = 4,
  kRoot = 8,
  kKeyedHash = 16,
  kDeriveKeyContext = 32,
  kDeriveKeyMaterial = 64,
};

// Which message word each step of each round takes: the permutation, applied again and again.
struct Schedule {
  unsigned char word[7][16];
};
constexpr Schedule make_schedule() {
  constexpr unsigned char kPermutation[16] = {2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8};
  Schedule schedule{};
  for (unsigned char i = 0; i < 16; ++i) schedule.word[0][i] = i;
  for (int round = 1; round < 7; ++round) {
    for (int i = 0; i < 16; ++i) {
      schedule.word[round][i] = schedule.word[round - 1][kPermutation[i]];
    }
  }
  return schedule;
}
inline constexpr Schedule kSchedule = make_schedule();

// One message of whole blocks in each lane: chunks (16 blocks) or parents (1 block).
struct LaneInput {
  const std::byte* const* messages;  // one for each lane
  std::size_t block_count;
  const std::uint32_t* key;   // 8 words
  std::uint64_t counter;      // of the first lane
  bool counting;              // chunks count up by lane, parents do not
  std::uint32_t flags;        // of every block,
  std::uint32_t first_flags;  // of the first one besides,
  std::uint32_t last_flags;   // of the last one besides
};
// Code for so many messages at once; writes lanes * 32 bytes.
struct LaneCode {
  std::size_t lanes;
  void (*run)(const LaneInput& input, std::byte* out);
};
// What this CPU has, widest first; nothing when SEALANE_CPU=generic.
std::span<const LaneCode> available_lane_code();
// The same for eight messages. REQUIRES: x86-64 with AVX2.
void run_avx2(const LaneInput& input, std::byte* out);
// For one message, on every CPU.
void run_one_lane(const LaneInput& input, std::byte* out);

}  // namespace sealane::crypto::blake3_core
