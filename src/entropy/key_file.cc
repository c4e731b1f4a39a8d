#include "entropy/key_file.h"

#include <algorithm>
#include <array>

#include "base/check.h"
#include "base/copy_bytes.h"
#include "base/utf8.h"
#include "crypto/hash.h"

namespace sealane::entropy {
namespace {

constexpr std::string_view kBegin = "-----BEGIN";
constexpr std::string_view kEnd = "-----END";
constexpr std::string_view kHexForm = "hex:";
constexpr std::string_view kBase64Form = "base64:";
constexpr std::size_t kKeySize = KeyBytes::kSize;

// What the foreign engine trims around the lines of an armored block: Unicode's white space.
constexpr std::array<std::string_view, 25> kBlanks = {" ",
                                                      "\t",
                                                      "\n",
                                                      "\v",
                                                      "\f",
                                                      "\r",
                                                      "\xc2\x85",
                                                      "\xc2\xa0",
                                                      "\xe1\x9a\x80",
                                                      "\xe2\x80\x80",
                                                      "\xe2\x80\x81",
                                                      "\xe2\x80\x82",
                                                      "\xe2\x80\x83",
                                                      "\xe2\x80\x84",
                                                      "\xe2\x80\x85",
                                                      "\xe2\x80\x86",
                                                      "\xe2\x80\x87",
                                                      "\xe2\x80\x88",
                                                      "\xe2\x80\x89",
                                                      "\xe2\x80\x8a",
                                                      "\xe2\x80\xa8",
                                                      "\xe2\x80\xa9",
                                                      "\xe2\x80\xaf",
                                                      "\xe2\x81\x9f",
                                                      "\xe3\x80\x80"};

std::string_view trim_start(std::string_view text) {
  for (bool again = true; again;) {
    again = false;
    for (const std::string_view blank : kBlanks) {
      if (!text.starts_with(blank)) continue;
      text.remove_prefix(blank.size());
      again = true;
    }
  }
  return text;
}
std::string_view trim(std::string_view text) {
  text = trim_start(text);
  for (bool again = true; again;) {
    again = false;
    for (const std::string_view blank : kBlanks) {
      if (!text.ends_with(blank)) continue;
      text.remove_suffix(blank.size());
      again = true;
    }
  }
  return text;
}

std::string_view without_line_end(std::string_view text) {
  while (!text.empty() && std::string_view("\r\n \t").find(text.back()) != text.npos) {
    text.remove_suffix(1);
  }
  return text;
}

// Cuts the next line off `text`.
std::string_view take_line(std::string_view& text) {
  const std::size_t end = text.find('\n');
  const std::string_view line = text.substr(0, end);
  text = end == text.npos ? std::string_view() : text.substr(end + 1);
  return line;
}

// Padded or not, as the foreign engine tells them apart: by whether there is a '='.
Result<SecretBytes, KeyFileError> decode_base64(std::string_view text) {
  auto decoded =
      from_base64(text, Base64Alphabet::kStandard,
                  text.find('=') == text.npos ? Base64Padding::kUnpadded : Base64Padding::kPadded);
  if (!decoded) return KeyFileError::kBadBase64;
  SecretBytes out{ByteSpan(*decoded)};
  cleanse(*decoded);
  return out;
}

struct Material {
  SecretBytes bytes;
  std::vector<KeyWarning> warnings;
};

Result<Material, KeyFileError> read_armored(std::string_view text) {
  while (!text.empty()) {
    const std::string_view label = trim_start(take_line(text));
    if (!label.starts_with(kBegin)) continue;
    SecretBytes body(text.size());
    std::size_t size = 0;
    while (!text.empty()) {
      const std::string_view line = trim(take_line(text));
      if (line.starts_with(kEnd)) {
        body.truncate(size);
        SEALANE_TRY(auto decoded, decode_base64(body.expose_text()));
        Material out{std::move(decoded), {}};
        if (label.find("PRIVATE KEY") != label.npos) {
          out.warnings.push_back(KeyWarning::kPrivateKey);
        }
        return out;
      }
      copy_bytes(as_bytes(line), body.fill().begin() + static_cast<std::ptrdiff_t>(size));
      size += line.size();
    }
    return KeyFileError::kNoEnd;
  }
  return KeyFileError::kNoBegin;
}

Result<SecretBytes, KeyFileError> read_sized(std::string_view form, std::string_view digits,
                                             std::size_t wanted) {
  if (form == kBase64Form) {
    SEALANE_TRY(auto decoded, decode_base64(digits));
    if (decoded.size() != wanted) return KeyFileError::kWrongSize;
    return decoded;
  }
  auto decoded = from_hex(digits);
  if (!decoded) return KeyFileError::kBadHex;
  SecretBytes out{ByteSpan(*decoded)};
  cleanse(*decoded);
  if (out.size() != wanted) return KeyFileError::kWrongSize;
  return out;
}

bool is_hex_digit(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

Result<Material, KeyFileError> read_material(std::string_view text) {
  if (text.find(kBegin) != text.npos) return read_armored(text);
  const std::string_view content = without_line_end(text);
  for (const std::string_view form : {kHexForm, kBase64Form}) {
    if (!content.starts_with(form)) continue;
    SEALANE_TRY(auto bytes, read_sized(form, content.substr(form.size()), kKeySize));
    return Material{std::move(bytes), {}};
  }
  Material out{SecretBytes(content), {}};
  if (std::ranges::all_of(content, is_hex_digit)) {
    out.warnings.push_back(KeyWarning::kHexDigits);
  }
  return out;
}

}  // namespace

std::string_view describe(KeyFileError error) {
  switch (error) {
    case KeyFileError::kNotText:
      return "it is not text; write the bytes as hex: and 32 digits";
    case KeyFileError::kTooShort:
      return "it holds fewer than 16 bytes of key material";
    case KeyFileError::kNoBegin:
      return "its -----BEGIN line does not begin with it";
    case KeyFileError::kNoEnd:
      return "its -----END line is missing";
    case KeyFileError::kBadBase64:
      return "what it holds is not base64";
    case KeyFileError::kBadHex:
      return "what follows hex: is not hexadecimal";
    case KeyFileError::kWrongSize:
      return "it does not hold the number of bytes that is wanted: 16 for a key or an IV, 32 for a "
             "cluster's secret";
    case KeyFileError::kTooLong:
      return "it is longer than any key file";
    case KeyFileError::kSample:
      return "it holds the sample that ships with the original engine, which everybody knows; make "
             "a key of your own";
  }
  SEALANE_CHECK(false);
  return {};
}

std::string_view describe(KeyWarning warning) {
  switch (warning) {
    case KeyWarning::kSample:
      return "it is the sample that ships with the original engine, which everybody knows";
    case KeyWarning::kPrivateKey:
      return "it is a private key, whose first 16 bytes are the same as of all of its kind: no "
             "secret at all";
    case KeyWarning::kHexDigits:
      return "its hexadecimal digits are taken as letters, and only the first 16: half of the "
             "secret is missing; write hex: before them on both sides";
    case KeyWarning::kTruncated:
      return "only its first 16 bytes count";
    case KeyWarning::kSameAsIv:
      return "key and IV are the same, which gives the key away to who guesses a first block";
  }
  SEALANE_CHECK(false);
  return {};
}

Result<ParsedKey, KeyFileError> parse_key_file(ByteSpan content, bool allow_sample) {
  if (content.size() > kMaxKeyFileSize) return KeyFileError::kTooLong;
  if (!is_utf8(as_text(content))) return KeyFileError::kNotText;
  SEALANE_TRY(auto material, read_material(as_text(content)));
  const ByteSpan bytes = material.bytes.expose();
  if (bytes.size() < kKeySize) return KeyFileError::kTooShort;
  const ByteSpan used = bytes.first(kKeySize);
  if (crypto::constant_time_equal(used, as_bytes(kSampleKey))) {
    if (!allow_sample) return KeyFileError::kSample;
    material.warnings.push_back(KeyWarning::kSample);
  } else if (bytes.size() > kKeySize) {
    material.warnings.push_back(KeyWarning::kTruncated);
  }
  return ParsedKey{KeyBytes(used.first<kKeySize>()), std::move(material.warnings)};
}

ChunkKeys make_chunk_keys(const KeyBytes& key, const KeyBytes& iv) {
  return {crypto::AesCbcKey(key.expose()), crypto::AesCbcIv(iv.expose())};
}

bool same_key_and_iv(const KeyBytes& key, const KeyBytes& iv) {
  return crypto::constant_time_equal(key.expose(), iv.expose());
}

Result<ClusterSecret, KeyFileError> parse_secret_file(ByteSpan content) {
  if (content.size() > kMaxKeyFileSize) return KeyFileError::kTooLong;
  const std::string_view text = without_line_end(as_text(content));
  for (const std::string_view form : {kHexForm, kBase64Form}) {
    if (!text.starts_with(form)) continue;
    SEALANE_TRY(auto bytes, read_sized(form, text.substr(form.size()), ClusterSecret::kSize));
    return ClusterSecret(bytes.expose().first<ClusterSecret::kSize>());
  }
  return KeyFileError::kBadHex;
}

}  // namespace sealane::entropy
