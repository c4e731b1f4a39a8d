#include "crypto/crc64.h"

#include <array>
#include <bit>
#include <cstring>

#include "crypto/cpu.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace sealane::crypto {
namespace {

constexpr std::uint64_t kPolynomial = 0x95ac9329ac4bc9b5;  // reflected

constexpr std::uint64_t times_x(std::uint64_t value) {
  return (value >> 1) ^ ((value & 1) != 0 ? kPolynomial : 0);
}

struct Tables {
  std::array<std::array<std::uint64_t, 256>, 8> t{};
};
constexpr Tables make_tables() {
  Tables tables;
  for (std::uint64_t i = 0; i < 256; ++i) {
    std::uint64_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = times_x(crc);
    tables.t[0][i] = crc;
  }
  for (std::size_t i = 0; i < 256; ++i) {
    for (std::size_t k = 1; k < 8; ++k) {
      tables.t[k][i] = tables.t[0][tables.t[k - 1][i] & 0xff] ^ (tables.t[k - 1][i] >> 8);
    }
  }
  return tables;
}
constexpr Tables kTables = make_tables();

}  // namespace

std::uint64_t crc64_by_table(std::uint64_t crc, ByteSpan data) {
  const unsigned char* at = as_uchar(data);
  std::size_t left = data.size();
  const auto& t = kTables.t;
  for (; left >= 8; left -= 8, at += 8) {
    // Written out: compilers neither unroll this nor make one load of it at -O2.
    std::uint64_t word = 0;
    std::memcpy(&word, at, sizeof word);
    if constexpr (std::endian::native == std::endian::big) word = __builtin_bswap64(word);
    crc ^= word;
    crc = t[7][crc & 0xff] ^ t[6][crc >> 8 & 0xff] ^ t[5][crc >> 16 & 0xff] ^
          t[4][crc >> 24 & 0xff] ^ t[3][crc >> 32 & 0xff] ^ t[2][crc >> 40 & 0xff] ^
          t[1][crc >> 48 & 0xff] ^ t[0][crc >> 56];
  }
  for (; left > 0; --left, ++at) crc = t[0][(crc ^ *at) & 0xff] ^ (crc >> 8);
  return crc;
}

#if defined(__x86_64__)

// With carry-less products, as Gopal and others of Intel describe it ("Fast CRC Computation for
// Generic Polynomials Using PCLMULQDQ Instruction", 2009): 128 bits that stand D bits before the
// end of what was read are replaced by fewer that leave the same remainder there.
#define SEALANE_PCLMUL __attribute__((target("pclmul")))
#define SEALANE_PCLMUL_INLINE __attribute__((target("pclmul"), always_inline)) inline

namespace {

constexpr std::size_t kLane = 16;                   // bytes
constexpr std::size_t kLanes = 4;                   // that do not wait for each other
constexpr std::size_t kLeast = 4 * kLanes * kLane;  // below, the table is as fast

// x^power modulo the polynomial, reflected.
constexpr std::uint64_t x_to(unsigned power) {
  std::uint64_t value = std::uint64_t{1} << 63;
  for (; power > 0; --power) value = times_x(value);
  return value;
}
// The product of two reflected values of 64 bits stands one bit too high in 128: hence one less.
// The first half of a lane stands 64 bits before the second.
constexpr std::array<std::uint64_t, 2> factors_for(unsigned bits) {
  return {x_to(bits + 64 - 1), x_to(bits - 1)};
}
constexpr auto kOverAll = factors_for(8 * kLanes * kLane);
constexpr auto kOverOne = factors_for(8 * kLane);

SEALANE_PCLMUL_INLINE __m128i load_lane(const void* at) {
  return _mm_loadu_si128(static_cast<const __m128i*>(at));
}
SEALANE_PCLMUL_INLINE __m128i fold(__m128i lane, __m128i factors, __m128i onto) {
  return _mm_xor_si128(onto, _mm_xor_si128(_mm_clmulepi64_si128(lane, factors, 0x00),
                                           _mm_clmulepi64_si128(lane, factors, 0x11)));
}

// REQUIRES: data.size() >= kLeast.
SEALANE_PCLMUL std::uint64_t crc64_by_products(std::uint64_t crc, ByteSpan data) {
  constexpr std::size_t kStep = kLanes * kLane;
  const __m128i over_all = load_lane(kOverAll.data());
  const __m128i over_one = load_lane(kOverOne.data());
  const std::byte* at = data.data();
  __m128i a = _mm_xor_si128(load_lane(at), _mm_set_epi64x(0, static_cast<long long>(crc)));
  __m128i b = load_lane(at + kLane);
  __m128i c = load_lane(at + 2 * kLane);
  __m128i d = load_lane(at + 3 * kLane);
  std::size_t left = data.size() - kStep;
  at += kStep;
  for (; left >= kStep; left -= kStep, at += kStep) {
    a = fold(a, over_all, load_lane(at));
    b = fold(b, over_all, load_lane(at + kLane));
    c = fold(c, over_all, load_lane(at + 2 * kLane));
    d = fold(d, over_all, load_lane(at + 3 * kLane));
  }
  const __m128i all = fold(fold(fold(a, over_one, b), over_one, c), over_one, d);
  ByteArray<kLane> rest{};
  _mm_storeu_si128(reinterpret_cast<__m128i*>(rest.data()), all);
  return crc64_by_table(crc64_by_table(0, rest), data.last(left));
}

}  // namespace

std::uint64_t crc64(std::uint64_t crc, ByteSpan data) {
  static const bool products = __builtin_cpu_supports("pclmul") && !generic_cpu_forced();
  if (products && data.size() >= kLeast) return crc64_by_products(crc, data);
  return crc64_by_table(crc, data);
}

#else

std::uint64_t crc64(std::uint64_t crc, ByteSpan data) { return crc64_by_table(crc, data); }

#endif

}  // namespace sealane::crypto
