#include "crypto/aead_vaes.h"

#include "base/check.h"

// Instructions of AES and carry-less products take no longer for one value than for another, and
// nothing here branches on or indexes by key, plaintext or hash: constant time by construction.
#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>

#include <array>
#include <cstring>

// On functions, not on the file: an inline function of a header compiled for this CPU could be the
// copy that the linker keeps for all.
#define SEALANE_VAES __attribute__((target("avx2,aes,vaes,pclmul,vpclmulqdq")))
#define SEALANE_VAES_INLINE \
  __attribute__((target("avx2,aes,vaes,pclmul,vpclmulqdq"), always_inline)) inline

namespace sealane::crypto {
namespace {

constexpr std::size_t kBlock = 16;  // bytes
constexpr std::size_t kRounds = 14;
constexpr std::size_t kGroupBlocks = 16;  // in flight at once: two a register, eight registers
constexpr std::size_t kGroup = kGroupBlocks * kBlock;
constexpr std::size_t kPairs = kGroupBlocks / 2;

using Block = __m128i;
using Pair = __m256i;

SEALANE_VAES_INLINE Block load_block(const std::byte* at) {
  return _mm_loadu_si128(reinterpret_cast<const Block*>(at));
}
SEALANE_VAES_INLINE void store_block(std::byte* at, Block block) {
  _mm_storeu_si128(reinterpret_cast<Block*>(at), block);
}
SEALANE_VAES_INLINE Pair load_pair(const std::byte* at) {
  return _mm256_loadu_si256(reinterpret_cast<const Pair*>(at));
}
SEALANE_VAES_INLINE void store_pair(std::byte* at, Pair pair) {
  _mm256_storeu_si256(reinterpret_cast<Pair*>(at), pair);
}
SEALANE_VAES_INLINE Pair both(Block block) { return _mm256_broadcastsi128_si256(block); }

SEALANE_VAES_INLINE Block reversed(Block block) {
  return _mm_shuffle_epi8(block,
                          _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
}
SEALANE_VAES_INLINE Pair reversed(Pair pair) {
  return _mm256_shuffle_epi8(
      pair, both(_mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)));
}

// --- AES-256 (FIPS 197) ---

struct KeySchedule {
  alignas(32) std::array<std::byte, (kRounds + 1) * kBlock> bytes;
  SEALANE_VAES_INLINE Block round(std::size_t index) const {
    return load_block(bytes.data() + index * kBlock);
  }
};

// Words w[i] ^= w[i-1] within one round key, the first of them `turned` in.
SEALANE_VAES_INLINE Block next_round_key(Block before, Block turned) {
  before = _mm_xor_si128(before, _mm_slli_si128(before, 4));
  before = _mm_xor_si128(before, _mm_slli_si128(before, 8));
  return _mm_xor_si128(before, turned);
}

template <int kConstant>
SEALANE_VAES_INLINE void expand_two(KeySchedule& keys, std::size_t index, Block& even, Block& odd) {
  even = next_round_key(even, _mm_shuffle_epi32(_mm_aeskeygenassist_si128(odd, kConstant), 0xff));
  store_block(keys.bytes.data() + index * kBlock, even);
  if (index == kRounds) return;
  odd = next_round_key(odd, _mm_shuffle_epi32(_mm_aeskeygenassist_si128(even, 0), 0xaa));
  store_block(keys.bytes.data() + (index + 1) * kBlock, odd);
}

SEALANE_VAES void expand_key(std::span<const std::byte, kAeadKeySize> key, KeySchedule& keys) {
  Block even = load_block(key.data());
  Block odd = load_block(key.data() + kBlock);
  store_block(keys.bytes.data(), even);
  store_block(keys.bytes.data() + kBlock, odd);
  expand_two<0x01>(keys, 2, even, odd);
  expand_two<0x02>(keys, 4, even, odd);
  expand_two<0x04>(keys, 6, even, odd);
  expand_two<0x08>(keys, 8, even, odd);
  expand_two<0x10>(keys, 10, even, odd);
  expand_two<0x20>(keys, 12, even, odd);
  expand_two<0x40>(keys, 14, even, odd);
}

SEALANE_VAES_INLINE Block encrypt(const KeySchedule& keys, Block block) {
  block = _mm_xor_si128(block, keys.round(0));
  for (std::size_t i = 1; i < kRounds; ++i) block = _mm_aesenc_si128(block, keys.round(i));
  return _mm_aesenclast_si128(block, keys.round(kRounds));
}

// --- GHASH (SP 800-38D, 6.4) ---
// A block is read as a polynomial over GF(2) with its bits in reverse, so after reversing its bytes
// the first coefficient is the top bit. A carry-less product of two such is one bit short; the
// constant factor is therefore kept multiplied by x, which makes up for it.

// x^128 + x^127 + x^126 + x^121 + 1, reversed as the blocks are; bit 128 is left out.
SEALANE_VAES_INLINE Block modulus() {
  return _mm_set_epi64x(static_cast<long long>(0xc200000000000000ULL), 1);
}

// factor * x modulo the polynomial.
SEALANE_VAES_INLINE Block times_x(Block factor) {
  const Block words_up = _mm_shuffle_epi32(_mm_srai_epi32(factor, 31), 0xff);  // all ones: top bit
  const Block carried = _mm_slli_si128(_mm_srli_epi64(factor, 63), 8);
  const Block doubled = _mm_or_si128(_mm_slli_epi64(factor, 1), carried);
  return _mm_xor_si128(doubled, _mm_and_si128(words_up, modulus()));
}

// A sum of products before it is reduced: low + middle * 2^64 + high * 2^128.
struct Product {
  Block low, middle, high;
};

SEALANE_VAES_INLINE Block reduce(const Product& sum) {
  // The low 64 bits are cleared by a multiple of the polynomial, twice.
  const Block first = _mm_clmulepi64_si128(modulus(), sum.low, 0x01);
  const Block middle =
      _mm_xor_si128(_mm_xor_si128(sum.middle, _mm_shuffle_epi32(sum.low, 0x4e)), first);
  const Block second = _mm_clmulepi64_si128(modulus(), middle, 0x01);
  return _mm_xor_si128(_mm_xor_si128(sum.high, _mm_shuffle_epi32(middle, 0x4e)), second);
}

SEALANE_VAES_INLINE Block multiply(Block value, Block factor) {
  const Block middle = _mm_xor_si128(_mm_clmulepi64_si128(value, factor, 0x01),
                                     _mm_clmulepi64_si128(value, factor, 0x10));
  return reduce({_mm_clmulepi64_si128(value, factor, 0x00), middle,
                 _mm_clmulepi64_si128(value, factor, 0x11)});
}

struct PairProduct {
  Pair low, middle, high;

  SEALANE_VAES_INLINE static PairProduct of(Pair value, Pair factor) {
    return {_mm256_clmulepi64_epi128(value, factor, 0x00),
            _mm256_xor_si256(_mm256_clmulepi64_epi128(value, factor, 0x01),
                             _mm256_clmulepi64_epi128(value, factor, 0x10)),
            _mm256_clmulepi64_epi128(value, factor, 0x11)};
  }
  SEALANE_VAES_INLINE void add(Pair value, Pair factor) {
    const PairProduct more = of(value, factor);
    low = _mm256_xor_si256(low, more.low);
    middle = _mm256_xor_si256(middle, more.middle);
    high = _mm256_xor_si256(high, more.high);
  }
  SEALANE_VAES_INLINE static Block folded(Pair pair) {
    return _mm_xor_si128(_mm256_castsi256_si128(pair), _mm256_extracti128_si256(pair, 1));
  }
  SEALANE_VAES_INLINE Block reduced() const {
    return reduce({folded(low), folded(middle), folded(high)});
  }
};

// H^16, H^15 ... H, each times x: the factors of the blocks of a group in their order.
struct HashPowers {
  alignas(32) std::array<std::byte, kGroup> bytes;
  // The factors from that of the block on which is the `left`th from the end.
  SEALANE_VAES_INLINE const std::byte* from(std::size_t left) const {
    return bytes.data() + (kGroupBlocks - left) * kBlock;
  }
};

SEALANE_VAES void compute_powers(const KeySchedule& keys, HashPowers& powers) {
  const Block first = times_x(reversed(encrypt(keys, _mm_setzero_si128())));
  Block power = first;
  for (std::size_t left = 1;; ++left) {
    store_block(powers.bytes.data() + (kGroupBlocks - left) * kBlock, power);
    if (left == kGroupBlocks) return;
    power = multiply(power, first);
  }
}

// Hashes 1 to 16 whole blocks. An odd one out is hashed behind a block of zeros, which adds
// nothing.
SEALANE_VAES_INLINE Block absorb(const HashPowers& powers, Block hash, const std::byte* data,
                                 std::size_t blocks) {
  const bool odd = blocks % 2 != 0;
  const Pair first =
      odd ? _mm256_set_m128i(_mm_xor_si128(reversed(load_block(data)), hash), _mm_setzero_si128())
          : _mm256_xor_si256(reversed(load_pair(data)), _mm256_zextsi128_si256(hash));
  data += odd ? kBlock : 2 * kBlock;
  std::size_t left = odd ? blocks + 1 : blocks;
  PairProduct sum = PairProduct::of(first, load_pair(powers.from(left)));
  for (left -= 2; left != 0; left -= 2, data += 2 * kBlock)
    sum.add(reversed(load_pair(data)), load_pair(powers.from(left)));
  return sum.reduced();
}

// Hashes data of any length, with zeros up to a whole block.
SEALANE_VAES_INLINE Block absorb_padded(const HashPowers& powers, Block hash, ByteSpan data) {
  for (; data.size() >= kGroup; data = data.subspan(kGroup))
    hash = absorb(powers, hash, data.data(), kGroupBlocks);
  if (const std::size_t blocks = data.size() / kBlock; blocks != 0) {
    hash = absorb(powers, hash, data.data(), blocks);
    data = data.subspan(blocks * kBlock);
  }
  if (data.empty()) return hash;
  std::array<std::byte, kBlock> last{};
  std::memcpy(last.data(), data.data(), data.size());
  return absorb(powers, hash, last.data(), 1);
}

// --- A group of the counter mode, with a group of the hash in the gaps between its rounds ---

// The keystream of 16 blocks, XORed over `in`. `counter`: the first two counter blocks, reversed;
// moved on. With kHash the group at `hashed` goes into `hash`; it is read before `out` is written.
template <bool kHash>
SEALANE_VAES_INLINE void crypt_group(const KeySchedule& keys, const HashPowers& powers,
                                     Pair& counter, const std::byte* in, std::byte* out,
                                     const std::byte* hashed, Block& hash) {
  Pair block[kPairs];
  const Pair first_key = both(keys.round(0));
#pragma GCC unroll 8
  for (std::size_t i = 0; i < kPairs; ++i) {
    block[i] = _mm256_xor_si256(reversed(counter), first_key);
    counter = _mm256_add_epi32(counter, both(_mm_set_epi32(0, 0, 0, 2)));
  }
  PairProduct sum;
#pragma GCC unroll 13
  for (std::size_t round = 1; round < kRounds; ++round) {
    const Pair key = both(keys.round(round));
#pragma GCC unroll 8
    for (std::size_t i = 0; i < kPairs; ++i) block[i] = _mm256_aesenc_epi128(block[i], key);
    if constexpr (kHash) {
      if (round == 1) {
        sum = PairProduct::of(
            _mm256_xor_si256(reversed(load_pair(hashed)), _mm256_zextsi128_si256(hash)),
            load_pair(powers.from(kGroupBlocks)));
      } else if (round <= kPairs) {
        const std::size_t offset = (round - 1) * 2;
        sum.add(reversed(load_pair(hashed + offset * kBlock)),
                load_pair(powers.from(kGroupBlocks - offset)));
      } else if (round == kPairs + 1) {
        hash = sum.reduced();
      }
    }
  }
  const Pair last_key = both(keys.round(kRounds));
#pragma GCC unroll 8
  for (std::size_t i = 0; i < kPairs; ++i) {
    const Pair text = load_pair(in + i * 2 * kBlock);
    store_pair(out + i * 2 * kBlock,
               _mm256_aesenclast_epi128(block[i], _mm256_xor_si256(last_key, text)));
  }
}

enum class Direction { kSeal, kOpen };

// Both directions: what is hashed is the ciphertext, which is the output or the input. Returns the
// tag. `in` and `out` have one size and are the same bytes or do not overlap.
template <Direction kDirection>
SEALANE_VAES Block crypt(const KeySchedule& keys, const HashPowers& powers, const AeadNonce& nonce,
                         ByteSpan associated_data, ByteSpan in, std::byte* out) {
  constexpr bool kSeal = kDirection == Direction::kSeal;
  alignas(32) std::array<std::byte, kGroup> last;

  Block hash = absorb_padded(powers, _mm_setzero_si128(), associated_data);
  std::memcpy(last.data(), nonce.data(), nonce.size());
  const std::array<std::byte, 4> one{std::byte{0}, std::byte{0}, std::byte{0}, std::byte{1}};
  std::memcpy(last.data() + nonce.size(), one.data(), one.size());
  const Block start = load_block(last.data());
  const Block mask = encrypt(keys, start);
  Pair counter = _mm256_add_epi32(both(reversed(start)), _mm256_set_epi32(0, 0, 0, 2, 0, 0, 0, 1));

  const std::byte* from = in.data();
  std::size_t left = in.size();
  if constexpr (kSeal) {
    // A group behind: its ciphertext has to be there first.
    if (left >= kGroup) {
      crypt_group<false>(keys, powers, counter, from, out, nullptr, hash);
      for (from += kGroup, out += kGroup, left -= kGroup; left >= kGroup;
           from += kGroup, out += kGroup, left -= kGroup)
        crypt_group<true>(keys, powers, counter, from, out, out - kGroup, hash);
      hash = absorb(powers, hash, out - kGroup, kGroupBlocks);
    }
  } else {
    for (; left >= kGroup; from += kGroup, out += kGroup, left -= kGroup)
      crypt_group<true>(keys, powers, counter, from, out, from, hash);
  }
  if (left != 0) {
    const std::size_t blocks = (left + kBlock - 1) / kBlock;
    last.fill(std::byte{0});
    std::memcpy(last.data(), from, left);
    if constexpr (!kSeal) hash = absorb(powers, hash, last.data(), blocks);
    crypt_group<false>(keys, powers, counter, last.data(), last.data(), nullptr, hash);
    std::memcpy(out, last.data(), left);
    if constexpr (kSeal) {
      std::memset(last.data() + left, 0, blocks * kBlock - left);
      hash = absorb(powers, hash, last.data(), blocks);
    }
    cleanse(last);
  }
  const std::uint64_t associated_bits = associated_data.size() * 8;
  const std::uint64_t text_bits = in.size() * 8;
  const Block sizes = _mm_set_epi64x(static_cast<std::int64_t>(associated_bits),
                                     static_cast<std::int64_t>(text_bits));
  hash = multiply(_mm_xor_si128(hash, sizes), load_block(powers.from(1)));
  return _mm_xor_si128(reversed(hash), mask);
}

class VaesGcm final : public Aead {
 public:
  explicit VaesGcm(const AeadKey& key) {
    expand_key(key.expose(), keys_);
    compute_powers(keys_, powers_);
  }
  VaesGcm(const VaesGcm&) = default;
  VaesGcm& operator=(const VaesGcm&) = delete;
  ~VaesGcm() override {
    cleanse(keys_.bytes);
    cleanse(powers_.bytes);
  }

  std::unique_ptr<Aead> clone() const override { return std::make_unique<VaesGcm>(*this); }

 private:
  SEALANE_VAES void encrypt(const AeadNonce& nonce, ByteSpan associated_data, ByteSpan plaintext,
                            MutableByteSpan out) override {
    store_block(
        out.data() + plaintext.size(),
        crypt<Direction::kSeal>(keys_, powers_, nonce, associated_data, plaintext, out.data()));
  }

  SEALANE_VAES bool decrypt(const AeadNonce& nonce, ByteSpan associated_data, ByteSpan ciphertext,
                            const AeadTag& given, MutableByteSpan out) override {
    AeadTag expected;
    store_block(expected.data(), crypt<Direction::kOpen>(keys_, powers_, nonce, associated_data,
                                                         ciphertext, out.data()));
    return same_tag(expected, given);
  }

  KeySchedule keys_;
  HashPowers powers_;
};

}  // namespace

bool vaes_available() {
  static const bool available = [] {
    constexpr unsigned kVaes = 1U << 9;
    constexpr unsigned kVpclmulqdq = 1U << 10;
    unsigned a = 0, b = 0, c = 0, d = 0;
    // "avx2" also means that the kernel saves the 256-bit registers.
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("aes") &&
           __builtin_cpu_supports("pclmul") && __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 &&
           (c & kVaes) != 0 && (c & kVpclmulqdq) != 0;
  }();
  return available;
}

std::unique_ptr<Aead> make_vaes_gcm(const AeadKey& key) {
  SEALANE_CHECK(vaes_available());
  return std::make_unique<VaesGcm>(key);
}

}  // namespace sealane::crypto

#else

namespace sealane::crypto {

bool vaes_available() { return false; }

std::unique_ptr<Aead> make_vaes_gcm(const AeadKey&) {
  SEALANE_CHECK(vaes_available());
  return nullptr;
}

}  // namespace sealane::crypto

#endif
