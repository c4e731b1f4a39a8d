// Seals a file to a new recovery key and opens it again; age opens it too.
//
//   seal_file FILE     writes FILE.key (mode 0600), FILE.age and FILE.opened; refuses to overwrite
//
// Uses only installed headers.
#include <cstdio>
#include <string>

#include "sealane/backup/sealed_file.h"
#include "sealane/identity/keys.h"
#include "sealane/store/system.h"

namespace {

using namespace sealane;

Result<backup::SealedFileReport, Error> seal_and_open(const std::string& file) {
  FileSystem& files = system_files();
  identity::AgeIdentity key = identity::AgeIdentity::generate(system_random());
  const identity::Recipient recipient = identity::AgeRecipient{key.public_key()};
  SEALANE_TRY(identity::write_private_file(files, file + ".key", key.format()));

  SEALANE_TRY(backup::seal_file(files, system_random(), file, file + ".age",
                                {.recipients = std::span(&recipient, 1)}));

  const identity::OpeningKey opening(std::move(key));
  return backup::open_file(files, system_random(), file + ".age", file + ".opened",
                           {.keys = std::span(&opening, 1)});
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: seal_file FILE\n");
    return 2;
  }
  const auto opened = seal_and_open(argv[1]);
  if (!opened.has_value()) {
    std::fprintf(stderr, "seal_file: %s\n", opened.error().message.c_str());
    return 1;
  }
  std::printf("%llu bytes, sealed as %llu\n",
              static_cast<unsigned long long>(opened.value().plain_size),
              static_cast<unsigned long long>(opened.value().sealed_size));
  return 0;
}
