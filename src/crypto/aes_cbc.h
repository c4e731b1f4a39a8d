#pragma once
// AES-128-CBC with PKCS#7 padding (NIST SP 800-38A, RFC 5652 6.3), for a foreign format whose
// pieces all start from one IV. It authenticates nothing: who only has this can be fooled, and a
// reader that shows which of its failures was the padding gives the plaintext away.
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "sealane/base/bytes.h"
#include "sealane/base/secret.h"

namespace sealane::crypto {

using AesCbcKey = Secret<struct AesCbcKeyTag, 16>;
using AesCbcIv = Secret<struct AesCbcIvTag, 16>;

// Which code does it. kIpsecMb encrypts several pieces at once, which one core can do many times
// faster than one after the other; it needs a build and a CPU that have it.
// SEALANE_CPU=generic in the environment forces kOpenSsl.
enum class AesCbcEngine : std::uint8_t { kAutomatic, kOpenSsl, kIpsecMb };
bool aes_cbc_engine_available(AesCbcEngine engine);

// One key and one IV, which every piece starts from. Not thread-safe: one per thread.
class AesCbc {
 public:
  static constexpr std::size_t kBlockSize = 16;
  // Padding always adds: 0 becomes 16, 16 becomes 32. REQUIRES: size <= kPieceLimit.
  static constexpr std::size_t padded_size(std::size_t size) {
    return kBlockSize * (size / kBlockSize + 1);
  }
  static constexpr std::size_t kPieceLimit = std::size_t{1} << 30;

  // The two must not overlap.
  struct Piece {
    ByteSpan plaintext;
    MutableByteSpan out;  // REQUIRES: padded_size(plaintext.size()) bytes
  };
  // What is left of a piece without its padding; `size` is 0 where the padding is none.
  struct Opened {
    std::size_t size = 0;
    bool padding_good = false;
  };

  virtual ~AesCbc() = default;
  // Pieces that do not depend on each other; the more and the more even, the faster.
  virtual void encrypt(std::span<const Piece> pieces) = 0;
  // Writes ciphertext.size() bytes, of which the first Opened::size are plaintext. Takes the same
  // time for good padding and bad: the verdict is computed without a branch, and it is the caller
  // who must not show it early. In place allowed. REQUIRES: equal sizes, a multiple of the block
  // above 0 and at most kPieceLimit.
  virtual Opened decrypt(ByteSpan ciphertext, MutableByteSpan out) = 0;
};

// REQUIRES: aes_cbc_engine_available(engine).
std::unique_ptr<AesCbc> make_aes_cbc(const AesCbcKey& key, const AesCbcIv& iv,
                                     AesCbcEngine engine = AesCbcEngine::kAutomatic);

}  // namespace sealane::crypto
