// BLAKE3 for eight messages side by side on AVX2. The compression function is written out in
// assembly: its sixteen state vectors are all the registers that there are, and what g++ moves to
// memory costs a fifth of the time.
#include "crypto/blake3_core.h"

#if defined(__x86_64__)

#include <immintrin.h>

namespace sealane::crypto::blake3_core {
namespace {

#define SEALANE_AVX2 __attribute__((always_inline, target("avx2"))) inline

// One for each lane.
using Words = __m256i;

// What rotates whole bytes within words: by 16 bits, then by 8.
alignas(32) constexpr unsigned char kRotations[2][32] = {
    {2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13,
     2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13},
    {1, 2, 3, 0, 5, 6, 7, 4, 9, 10, 11, 8, 13, 14, 15, 12,
     1, 2, 3, 0, 5, 6, 7, 4, 9, 10, 11, 8, 13, 14, 15, 12}};

// clang-format off
// NOLINTBEGIN(readability-identifier-naming): short names, or the table of rounds is none

// Word i of the state is register i. Word 8 is in memory wherever a rotation needs a register for
// what it shifts out.
#define TWO(name, from, to) name " " from ", %%ymm" #to ", %%ymm" #to "\n\t"
#define ADD(i, j) TWO("vpaddd", "%%ymm" #j, i)
#define XOR(i, j) TWO("vpxor", "%%ymm" #j, i)
#define OR(i, j) TWO("vpor", "%%ymm" #j, i)
#define ADD_MESSAGE(i, m) TWO("vpaddd", "32*" #m "(%[message])", i)
#define TURN_BYTES(i, which) TWO("vpshufb", "32*" #which "(%[rotations])", i)
#define TURN(i, right, left)                                                                      \
  "vpsrld $" #right ", %%ymm" #i ", %%ymm8\n\t" TWO("vpslld", "$" #left, i) OR(i, 8)
#define SUM_TO_8(i) "vpaddd (%[spilled]), %%ymm" #i ", %%ymm8\n\t"
#define SPILL_8 "vmovdqa %%ymm8, (%[spilled])\n\t"

// The same half of four steps (the paper, 2.2, calls one G) on columns or diagonals a, b, c, d with
// message words m. The first step is the one whose c is word 8.
#define HALF_MIX(bytes, right, left, a0, b0, d0, m0, a1, b1, c1, d1, m1, a2, b2, c2, d2, m2,      \
                 a3, b3, c3, d3, m3)                                                              \
  ADD_MESSAGE(a0, m0) ADD_MESSAGE(a1, m1) ADD_MESSAGE(a2, m2) ADD_MESSAGE(a3, m3)                 \
  ADD(a0, b0) ADD(a1, b1) ADD(a2, b2) ADD(a3, b3)                                                 \
  XOR(d0, a0) XOR(d1, a1) XOR(d2, a2) XOR(d3, a3)                                                 \
  TURN_BYTES(d0, bytes) TURN_BYTES(d1, bytes) TURN_BYTES(d2, bytes) TURN_BYTES(d3, bytes)         \
  SUM_TO_8(d0) ADD(c1, d1) ADD(c2, d2) ADD(c3, d3)                                                \
  XOR(b0, 8) XOR(b1, c1) XOR(b2, c2) XOR(b3, c3)                                                  \
  SPILL_8                                                                                         \
  TURN(b0, right, left) TURN(b1, right, left) TURN(b2, right, left) TURN(b3, right, left)

// With the words of the message in the order in which this round takes them.
#define ROUND(m0, m1, m2, m3, m4, m5, m6, m7, m8, m9, m10, m11, m12, m13, m14, m15)               \
  HALF_MIX(0, 12, 20, 0, 4, 12, m0, 1, 5, 9, 13, m2, 2, 6, 10, 14, m4, 3, 7, 11, 15, m6)          \
  HALF_MIX(1, 7, 25, 0, 4, 12, m1, 1, 5, 9, 13, m3, 2, 6, 10, 14, m5, 3, 7, 11, 15, m7)           \
  HALF_MIX(0, 12, 20, 2, 7, 13, m12, 0, 5, 10, 15, m8, 1, 6, 11, 12, m10, 3, 4, 9, 14, m14)       \
  HALF_MIX(1, 7, 25, 2, 7, 13, m13, 0, 5, 10, 15, m9, 1, 6, 11, 12, m11, 3, 4, 9, 14, m15)

#define LOAD(i, from, place) "vmovdqa 32*" #place "(%[" #from "]), %%ymm" #i "\n\t"
#define FINISH(i, other) XOR(i, other) "vmovdqa %%ymm" #i ", 32*" #i "(%[chain])\n\t"

// NOLINTEND(readability-identifier-naming)

// `tail`: the words 8 to 15 that the state begins with.
SEALANE_AVX2 void compress(Words (&chain)[8], const Words (&message)[16], const Words (&tail)[8]) {
  Words spilled = tail[0];
  asm volatile(
      LOAD(0, chain, 0) LOAD(1, chain, 1) LOAD(2, chain, 2) LOAD(3, chain, 3)
      LOAD(4, chain, 4) LOAD(5, chain, 5) LOAD(6, chain, 6) LOAD(7, chain, 7)
      LOAD(8, tail, 0) LOAD(9, tail, 1) LOAD(10, tail, 2) LOAD(11, tail, 3)
      LOAD(12, tail, 4) LOAD(13, tail, 5) LOAD(14, tail, 6) LOAD(15, tail, 7)
      ROUND(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
      ROUND(2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
      ROUND(3, 4, 10, 12, 13, 2, 7, 14, 6, 5, 9, 0, 11, 15, 8, 1)
      ROUND(10, 7, 12, 9, 14, 3, 13, 15, 4, 0, 11, 2, 5, 8, 1, 6)
      ROUND(12, 13, 9, 11, 15, 10, 14, 8, 7, 2, 5, 3, 0, 1, 6, 4)
      ROUND(9, 14, 11, 5, 8, 12, 15, 1, 13, 3, 0, 10, 2, 6, 4, 7)
      ROUND(11, 15, 5, 0, 1, 9, 8, 6, 14, 10, 2, 12, 3, 4, 7, 13)
      LOAD(8, spilled, 0)
      FINISH(0, 8) FINISH(1, 9) FINISH(2, 10) FINISH(3, 11)
      FINISH(4, 12) FINISH(5, 13) FINISH(6, 14) FINISH(7, 15)
      :
      : [chain] "r"(chain), [message] "r"(message), [tail] "r"(tail), [spilled] "r"(&spilled),
        [rotations] "r"(kRotations)
      : "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",
        "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
}
// clang-format on

// Four words at `offset` of eight messages, each message's in its lane.
SEALANE_AVX2 void load_words(const std::byte* const* messages, std::size_t offset, Words* out) {
  Words rows[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    rows[i] = _mm256_loadu2_m128i(reinterpret_cast<const __m128i*>(messages[i + 4] + offset),
                                  reinterpret_cast<const __m128i*>(messages[i] + offset));
  }
  const Words low_01 = _mm256_unpacklo_epi32(rows[0], rows[1]);
  const Words high_01 = _mm256_unpackhi_epi32(rows[0], rows[1]);
  const Words low_23 = _mm256_unpacklo_epi32(rows[2], rows[3]);
  const Words high_23 = _mm256_unpackhi_epi32(rows[2], rows[3]);
  out[0] = _mm256_unpacklo_epi64(low_01, low_23);
  out[1] = _mm256_unpackhi_epi64(low_01, low_23);
  out[2] = _mm256_unpacklo_epi64(high_01, high_23);
  out[3] = _mm256_unpackhi_epi64(high_01, high_23);
}

SEALANE_AVX2 Words everywhere(std::uint32_t word) {
  return _mm256_set1_epi32(static_cast<int>(word));
}

}  // namespace

__attribute__((target("avx2"))) void run_avx2(const LaneInput& input, std::byte* out) {
  constexpr unsigned kLanes = 8;
  Words chain[8];
  for (int i = 0; i < 8; ++i) chain[i] = everywhere(input.key[i]);
  alignas(32) std::uint32_t low[kLanes];
  alignas(32) std::uint32_t high[kLanes];
  for (unsigned lane = 0; lane < kLanes; ++lane) {
    const std::uint64_t counter = input.counter + (input.counting ? lane : 0);
    low[lane] = static_cast<std::uint32_t>(counter);
    high[lane] = static_cast<std::uint32_t>(counter >> 32);
  }
  Words tail[8];
  for (int i = 0; i < 4; ++i) tail[i] = everywhere(kIv[i]);
  tail[4] = _mm256_load_si256(reinterpret_cast<const Words*>(low));
  tail[5] = _mm256_load_si256(reinterpret_cast<const Words*>(high));
  tail[6] = everywhere(kBlockSize);
  for (std::size_t block = 0; block < input.block_count; ++block) {
    std::uint32_t flags = input.flags;
    if (block == 0) flags |= input.first_flags;
    if (block + 1 == input.block_count) flags |= input.last_flags;
    tail[7] = everywhere(flags);
    Words message[16];
#pragma GCC unroll 4
    for (std::size_t i = 0; i < 16; i += 4) {
      load_words(input.messages, block * kBlockSize + 4 * i, message + i);
    }
    compress(chain, message, tail);
  }
  // Back to one message after the other: a transposition is its own inverse.
  alignas(32) std::byte rows[kLanes][32];
  const std::byte* columns[kLanes];
  for (unsigned i = 0; i < kLanes; ++i) {
    _mm256_store_si256(reinterpret_cast<Words*>(rows[i]), chain[i]);
    columns[i] = rows[i];
  }
  for (unsigned i = 0; i < kLanes; i += 4) {
    Words turned[4];
    load_words(columns, 4 * i, turned);
    for (unsigned j = 0; j < 4; ++j) {
      _mm256_storeu_si256(reinterpret_cast<Words*>(out + 32 * (i + j)), turned[j]);
    }
  }
}

}  // namespace sealane::crypto::blake3_core

#endif
