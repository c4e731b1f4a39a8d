#pragma once
// Private to this folder: AES-128-CBC by libipsec-mb, and what both engines share.
#include <memory>

#include "base/check.h"
#include "base/copy_bytes.h"
#include "crypto/aes_cbc.h"

namespace sealane::crypto {

inline void check_cbc_pieces(std::span<const AesCbc::Piece> pieces) {
  for (const AesCbc::Piece& piece : pieces) {
    SEALANE_CHECK(piece.plaintext.size() <= AesCbc::kPieceLimit);
    SEALANE_CHECK(piece.out.size() == AesCbc::padded_size(piece.plaintext.size()));
  }
}
inline void check_cbc_sizes(ByteSpan ciphertext, MutableByteSpan out) {
  SEALANE_CHECK(ciphertext.size() == out.size() && !ciphertext.empty());
  SEALANE_CHECK(ciphertext.size() <= AesCbc::kPieceLimit &&
                ciphertext.size() % AesCbc::kBlockSize == 0);
}
// The last block of a piece: what is left of the plaintext, then the padding.
inline ByteArray<AesCbc::kBlockSize> last_cbc_block(ByteSpan plaintext) {
  const ByteSpan tail = plaintext.last(plaintext.size() % AesCbc::kBlockSize);
  ByteArray<AesCbc::kBlockSize> block;
  block.fill(static_cast<std::byte>(AesCbc::kBlockSize - tail.size()));
  copy_bytes(tail, block.begin());
  return block;
}
// Without a branch or an address that depends on the bytes. REQUIRES: not empty, whole blocks.
AesCbc::Opened remove_padding(ByteSpan padded);

// Whether this build has the library and this CPU has AES instructions.
bool cbc_ipsec_mb_available();
// REQUIRES: cbc_ipsec_mb_available()
std::unique_ptr<AesCbc> make_ipsec_mb_aes_cbc(const AesCbcKey& key, const AesCbcIv& iv);

}  // namespace sealane::crypto
