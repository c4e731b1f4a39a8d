// Signs a file as `ssh-keygen -Y sign -n example` does, and checks what it signed.
//
//   sign_file KEY FILE     KEY: an OpenSSH Ed25519 private key, mode 0600; made when missing
//
// Writes FILE.sig. Uses only installed headers.
#include <cstdio>
#include <string>

#include "sealane/base/seams.h"
#include "sealane/identity/keys.h"
#include "sealane/store/system.h"

namespace {

using namespace sealane;

constexpr std::string_view kNamespace = "example";
constexpr std::size_t kMaxFileSize = 64 * 1024 * 1024;  // it is held in memory

int fail(const std::string& message) {
  std::fprintf(stderr, "sign_file: %s\n", message.c_str());
  return 1;
}

Result<identity::SigningKey, Error> load_or_make_key(const std::string& path) {
  FileSystem& files = system_files();
  if (!files.status(path).has_value()) {
    auto key = identity::SigningKey::generate(system_random(), "sign_file example");
    SEALANE_TRY(identity::write_private_file(files, path,
                                             identity::format_private_key(key, system_random())));
    return key;
  }
  SEALANE_TRY(auto text, identity::read_private_file(files, path));
  auto key = identity::parse_private_key(text.expose_text());
  if (key.has_value()) return std::move(key).value();
  return Error{.kind = ErrorKind::kUsage,
               .message = path + ": " + std::string(identity::describe(key.error()))};
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return fail("usage: sign_file KEY FILE");
  const std::string file = argv[2];
  const auto key = load_or_make_key(argv[1]);
  if (!key.has_value()) return fail(key.error().message);
  const auto content = read_file(system_files(), file, kMaxFileSize);
  if (!content.has_value()) return fail(to_error(content.error()).message);

  const std::string signature = identity::sign(key.value(), kNamespace, content.value());
  const auto written =
      replace_file(system_files(), system_random(), file + ".sig", as_bytes(signature), 0644);
  if (!written.has_value()) return fail(to_error(written.error()).message);

  const auto signer = identity::verify(signature, kNamespace, content.value());
  if (!signer.has_value()) return fail(std::string(identity::describe(signer.error())));
  Bytes changed = content.value();
  changed.push_back(std::byte{0});
  if (identity::verify(signature, kNamespace, changed).has_value()) {
    return fail("a changed file passed");
  }
  std::printf("%s.sig by %s\n", file.c_str(), identity::fingerprint(signer.value()).c_str());
  return 0;
}
