#include "crypto/aes_cbc_ipsec_mb.h"

#ifdef SEALANE_HAVE_IPSEC_MB
#include <intel-ipsec-mb.h>

#include <array>
#include <new>

#include "base/copy_bytes.h"

namespace sealane::crypto {
namespace {

constexpr IMB_ARCH kNone = IMB_ARCH_NONE;

// The newest code whose registers this kernel saves, which the library itself does not ask.
IMB_ARCH best_architecture() {
  static const IMB_ARCH chosen = [] {
    if (__builtin_cpu_supports("avx512f")) return IMB_ARCH_AVX512;
    if (__builtin_cpu_supports("avx2")) return IMB_ARCH_AVX2;
    return kNone;
  }();
  return chosen;
}

IMB_MGR* make_manager() {
  IMB_MGR* made = alloc_mb_mgr(0);
  if (made == nullptr) return nullptr;
  if (best_architecture() == IMB_ARCH_AVX512) {
    init_mb_mgr_avx512(made);
  } else {
    init_mb_mgr_avx2(made);
  }
  if (imb_get_errno(made) == 0 && (made->features & IMB_FEATURE_AESNI) != 0) return made;
  free_mb_mgr(made);
  return nullptr;
}

class IpsecMbAesCbc final : public AesCbc {
 public:
  IpsecMbAesCbc(const AesCbcKey& key, const AesCbcIv& iv)
      : manager_(make_manager()), iv_(iv.duplicate()) {
    if (manager_ == nullptr) throw std::bad_alloc();
    IMB_AES_KEYEXP_128(manager_, as_uchar(ByteSpan(key.expose())), keys_.seal.data(),
                       keys_.open.data());
  }
  ~IpsecMbAesCbc() override {
    cleanse(std::as_writable_bytes(std::span(&keys_, 1)));
    // What the lanes were working on last.
    cleanse(MutableByteSpan(reinterpret_cast<std::byte*>(manager_), sizeof(IMB_MGR)));
    free_mb_mgr(manager_);
  }
  IpsecMbAesCbc(const IpsecMbAesCbc&) = delete;
  IpsecMbAesCbc& operator=(const IpsecMbAesCbc&) = delete;

  void encrypt(std::span<const Piece> pieces) override {
    check_cbc_pieces(pieces);
    while (!pieces.empty()) {
      const std::size_t count = std::min<std::size_t>(pieces.size(), kBurst);
      encrypt_burst(pieces.first(count));
      pieces = pieces.subspan(count);
    }
  }

  Opened decrypt(ByteSpan ciphertext, MutableByteSpan out) override {
    check_cbc_sizes(ciphertext, out);
    ByteArray<kBlockSize> from;  // copied: in place, the ciphertext goes
    copy_bytes(iv_.expose(), from.begin());
    for (std::size_t at = 0; at < ciphertext.size(); at += kJobLimit) {
      const std::size_t size = std::min(kJobLimit, ciphertext.size() - at);
      ByteArray<kBlockSize> next;
      copy_bytes(ciphertext.subspan(at + size - kBlockSize, kBlockSize), next.begin());
      set(0, as_uchar(ciphertext) + at, as_uchar(out) + at, size, as_uchar(ByteSpan(from)));
      run(1, IMB_DIR_DECRYPT);
      from = next;
    }
    return remove_padding(out);
  }

 private:
  static constexpr std::size_t kBurst = IMB_MAX_BURST_SIZE;
  // The library counts a job's bytes with 16 bits; this many whole blocks fit.
  static constexpr std::size_t kJobLimit = 65520;

  // All bodies side by side, then all last blocks, each of which goes on from its body's end: so no
  // piece is copied.
  void encrypt_burst(std::span<const Piece> pieces) {
    std::size_t at = 0;
    for (bool more = true; more; at += kJobLimit) {
      std::size_t jobs = 0;
      more = false;
      for (const Piece& piece : pieces) {
        const std::size_t body = body_of(piece);
        if (body <= at) continue;
        const std::size_t size = std::min(kJobLimit, body - at);
        more = more || body > at + size;
        auto* out = as_uchar(piece.out) + at;
        set(jobs++, as_uchar(piece.plaintext) + at, out, size, at == 0 ? iv() : out - kBlockSize);
      }
      if (jobs > 0) run(jobs, IMB_DIR_ENCRYPT);
    }
    for (std::size_t i = 0; i < pieces.size(); ++i) {
      const Piece& piece = pieces[i];
      const std::size_t body = body_of(piece);
      last_[i] = last_cbc_block(piece.plaintext);
      auto* out = as_uchar(piece.out) + body;
      set(i, as_uchar(ByteSpan(last_[i])), out, kBlockSize, body == 0 ? iv() : out - kBlockSize);
    }
    run(pieces.size(), IMB_DIR_ENCRYPT);
    cleanse(std::as_writable_bytes(std::span(last_)));
  }
  static std::size_t body_of(const Piece& piece) {
    return piece.plaintext.size() / kBlockSize * kBlockSize;
  }
  const unsigned char* iv() const { return as_uchar(ByteSpan(iv_.expose())); }

  void set(std::size_t index, const unsigned char* in, unsigned char* out, std::size_t size,
           const unsigned char* from) {
    IMB_JOB& job = jobs_[index];
    job.enc_keys = keys_.seal.data();
    job.dec_keys = keys_.open.data();
    job.key_len_in_bytes = IMB_KEY_128_BYTES;
    job.src = in;
    job.dst = out;
    job.cipher_start_src_offset_in_bytes = 0;
    job.msg_len_to_cipher_in_bytes = size;
    job.iv = from;
    job.iv_len_in_bytes = kBlockSize;
  }
  void run(std::size_t count, IMB_CIPHER_DIRECTION direction) {
    SEALANE_CHECK(IMB_SUBMIT_CIPHER_BURST(manager_, jobs_.data(), static_cast<std::uint32_t>(count),
                                          IMB_CIPHER_CBC, direction, IMB_KEY_128_BYTES) == count);
  }

  struct Keys {
    alignas(64) std::array<std::uint32_t, 4 * 11> seal{};
    alignas(64) std::array<std::uint32_t, 4 * 11> open{};
  };
  IMB_MGR* manager_;
  Keys keys_;
  AesCbcIv iv_;
  std::array<IMB_JOB, kBurst> jobs_{};
  std::array<ByteArray<kBlockSize>, kBurst> last_{};
};

}  // namespace

bool cbc_ipsec_mb_available() {
  static const bool available = [] {
    if (best_architecture() == kNone) return false;
    IMB_MGR* made = make_manager();
    if (made != nullptr) free_mb_mgr(made);
    return made != nullptr;
  }();
  return available;
}

std::unique_ptr<AesCbc> make_ipsec_mb_aes_cbc(const AesCbcKey& key, const AesCbcIv& iv) {
  SEALANE_CHECK(cbc_ipsec_mb_available());
  return std::make_unique<IpsecMbAesCbc>(key, iv);
}

}  // namespace sealane::crypto

#else

namespace sealane::crypto {

bool cbc_ipsec_mb_available() { return false; }

std::unique_ptr<AesCbc> make_ipsec_mb_aes_cbc(const AesCbcKey&, const AesCbcIv&) {
  SEALANE_CHECK(cbc_ipsec_mb_available());
  return nullptr;
}

}  // namespace sealane::crypto

#endif
