#include "warm/channel_keys.h"

#include "sealane/identity/keys.h"

namespace sealane::warm {
namespace {

constexpr identity::SecretFile kSecret{
    .what = "secret file", .max_size = entropy::kMaxKeyFileSize, .warnings = nullptr};

Error unusable(const std::string& path, entropy::KeyFileError error) {
  return {ErrorKind::kUsage,
          printable(path) + " is no key: " + std::string(entropy::describe(error))};
}

Result<entropy::KeyBytes, Error> load_key(FileSystem& files, const std::string& path,
                                          bool allow_sample, std::vector<std::string>& warnings) {
  // Dynomite's own file, which its user reads too.
  SEALANE_TRY(const auto content, identity::read_secret_file(files, path,
                                                             {.what = "key file",
                                                              .max_size = entropy::kMaxKeyFileSize,
                                                              .warnings = &warnings}));
  auto parsed = entropy::parse_key_file(content.expose(), allow_sample);
  if (!parsed.has_value()) return unusable(path, parsed.error());
  for (const entropy::KeyWarning warning : parsed.value().warnings) {
    warnings.push_back(printable(path) + ": " + std::string(entropy::describe(warning)));
  }
  return std::move(parsed.value().bytes);
}

}  // namespace

Result<ChannelKeys, Error> load_channel_keys(FileSystem& files, const ChannelKeyFiles& names) {
  ChannelKeys out;
  if (names.key.empty() != names.iv.empty()) {
    return Error{ErrorKind::kUsage, "a key file and an IV file go together; name both"};
  }
  if (names.allow_sample && names.key.empty()) {
    return Error{ErrorKind::kUsage, "the sample key is allowed, but no key file is named"};
  }
  if (!names.key.empty()) {
    SEALANE_TRY(const auto key, load_key(files, names.key, names.allow_sample, out.warnings));
    SEALANE_TRY(const auto iv, load_key(files, names.iv, names.allow_sample, out.warnings));
    if (entropy::same_key_and_iv(key, iv)) {
      out.warnings.push_back(printable(names.key) + ": " +
                             std::string(entropy::describe(entropy::KeyWarning::kSameAsIv)));
    }
    out.chunk = entropy::make_chunk_keys(key, iv);
  }
  if (names.secrets.size() > ChannelKeyFiles::kMaxSecrets) {
    return Error{ErrorKind::kUsage, "at most two secret files: the one in use and the one before"};
  }
  for (const std::string& path : names.secrets) {
    SEALANE_TRY(const auto content, identity::read_secret_file(files, path, kSecret));
    auto parsed = entropy::parse_secret_file(content.expose());
    if (!parsed.has_value()) return unusable(path, parsed.error());
    out.secrets.push_back(std::move(parsed.value()));
  }
  return out;
}

}  // namespace sealane::warm
