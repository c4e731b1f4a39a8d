#pragma once
// Names that become parts of paths. What passes here can neither leave its folder nor hide in it.
#include <optional>
#include <string>
#include <string_view>

#include "sealane/crypto/curve.h"

namespace sealane::repo {

inline constexpr std::size_t kMaxName = 64;
inline constexpr std::size_t kMaxStreams = 4095;                   // of one snapshot
inline constexpr std::uint64_t kMaxSeq = 9'999'999'999;            // 10 digits
inline constexpr std::uint64_t kMaxObjectSize = (1ull << 53) - 1;  // exact in every JSON reader
inline constexpr std::string_view kDetailsFile = "details.age";

// [a-z0-9._-]{1,64}, starting with a letter or digit, without "..": plans and streams.
bool valid_name(std::string_view name);
// The nearest valid name, for what people call things: "Shop DB" → "shop-db". "x" if nothing is
// left.
std::string to_name(std::string_view text);

std::string stream_file(std::size_t index, std::string_view name);  // "0-database.zst.age"
// The name in `file` if it is the stream file of `index`.
std::optional<std::string> stream_name(std::string_view file, std::size_t index);

std::string seq_directory(std::uint64_t seq);  // "0000000007"
// 1 .. kMaxSeq, exactly as seq_directory writes it.
std::optional<std::uint64_t> parse_seq_directory(std::string_view text);

// Lower-case hex SHA-256 of the key's wire form: the digits of its OpenSSH fingerprint in hex,
// since base64 may hold a slash.
std::string key_id(const crypto::Ed25519Public& key);
bool is_fingerprint(std::string_view text);    // "SHA256:" and 43 base64 digits
bool is_hex_digest(std::string_view text);     // 64 digits, lower case
bool is_repository_id(std::string_view text);  // 32 digits, lower case

}  // namespace sealane::repo
