#include "app/data_key.h"

#include "base/limits.h"
#include "sealane/identity/keys.h"

namespace sealane::app {
namespace {

constexpr std::size_t kHexSize = 2 * seal::DataKey::kSize;
constexpr std::string_view kBlanks = " \t\r\n";

std::string_view trimmed(std::string_view text) {
  const std::size_t first = text.find_first_not_of(kBlanks);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlanks) + 1 - first);
}

}  // namespace

Result<seal::DataKey, Error> parse_data_key(std::string_view text, std::string_view what) {
  text = trimmed(text);
  auto bytes = text.size() == kHexSize ? from_hex(text) : from_base64(text);
  if (!bytes || bytes->size() != seal::DataKey::kSize) {
    if (bytes) cleanse(*bytes);
    return Error{.kind = ErrorKind::kUsage,
                 .message = std::string(what) + " is not a 32-byte key in hex or base64"};
  }
  seal::DataKey key(ByteSpan(*bytes).first<seal::DataKey::kSize>());
  cleanse(*bytes);
  return key;
}

Result<seal::DataKey, Error> load_data_key(Context& context, const std::string& path) {
  SEALANE_TRY(const SecretBytes content,
              identity::read_secret_file(context.files, path,
                                         {.what = "key file", .max_size = limits::kKeyFileSize}));
  if (content.size() == seal::DataKey::kSize) {
    return seal::DataKey(content.expose().first<seal::DataKey::kSize>());
  }
  return parse_data_key(content.expose_text(), printable(path));
}

Result<SecretBytes, Error> load_token(Context& context, const std::string& path) {
  SEALANE_TRY(auto content,
              identity::read_secret_file(
                  context.files, path, {.what = "token file", .max_size = limits::kTokenFileSize}));
  content.truncate(content.expose_text().find_last_not_of(kBlanks) + 1);
  return content;
}

}  // namespace sealane::app
