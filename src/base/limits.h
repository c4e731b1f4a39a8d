#pragma once
// Limits that more than one folder needs; a limit of one decoder stands beside it.
#include <cstddef>
#include <cstdint>

namespace sealane::limits {

inline constexpr std::size_t kKeyFileSize = 64 * 1024;  // bounds reading an "-i" or "-R" file
inline constexpr std::size_t kRecipientFileSize = 1024 * 1024;
inline constexpr std::size_t kTokenFileSize = 64 * 1024;
inline constexpr std::size_t kPassphraseSize = 1024;     // bounds scrypt and bcrypt input
inline constexpr std::size_t kCommitSize = 1024 * 1024;  // a commit is read before it is trusted
inline constexpr std::size_t kDetailsSize =
    16 * 1024 * 1024;  // opened details, zstd bombs included
inline constexpr std::size_t kProofSize = 1024 * 1024;
inline constexpr std::size_t kToolErrorOutput = 16 * 1024;  // kept tail of a tool's stderr

}  // namespace sealane::limits
