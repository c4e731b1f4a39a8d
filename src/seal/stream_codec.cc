#include "seal/stream_codec.h"

#include "base/check.h"

namespace sealane::seal {

std::string_view describe(SealError error) {
  switch (error) {
    case SealError::kNotThisFormat:
      return "it is not a sealed file that this version knows (age v1, Backupy chunk stream v1)";
    case SealError::kHeaderMalformed:
      return "its header is malformed";
    case SealError::kHeaderTooLarge:
      return "its header is larger than the limit";
    case SealError::kNoMatchingKey:
      return "none of the given keys opens it";
    case SealError::kPassphraseNeeded:
      return "it was sealed with a passphrase, and none was given";
    case SealError::kWrongPassphrase:
      return "the passphrase is wrong";
    case SealError::kWorkFactorTooHigh:
      return "its passphrase work factor is higher than this machine may compute";
    case SealError::kBadRecipient:
      return "a recipient's public key is not a usable key";
    case SealError::kHeaderMac:
      return "its header was changed after it was sealed";
    case SealError::kArmor:
      return "its armor is malformed";
    case SealError::kTruncated:
      return "the data ends too early (truncated)";
    case SealError::kNotAuthentic:
      return "a chunk is damaged, moved, or sealed under another key";
    case SealError::kLastChunk:
      return "it was cut short (truncated) inside a chunk, or its end is damaged or followed by "
             "other data";
    case SealError::kFrameTooSmall:
      return "a frame is shorter than any frame can be (damaged)";
    case SealError::kFrameTooLarge:
      return "a frame is longer than the format allows (damaged, or another format)";
    case SealError::kNoncanonical:
      return "its chunks are not cut as a writer cuts them (rearranged?)";
    case SealError::kTrailingData:
      return "there is data after its end";
  }
  SEALANE_CHECK(false && "unknown SealError");
}

}  // namespace sealane::seal
