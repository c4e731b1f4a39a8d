#pragma once
// Sealed files, age format (docs/protocol/age.md): what `sealane seal` and `sealane open` do to one
// file. All cores work on it; memory stays below 64 MiB at any size.
#include <cstdint>
#include <span>
#include <string>

#include "sealane/base/result.h"
#include "sealane/base/seams.h"
#include "sealane/base/secret.h"
#include "sealane/identity/keys.h"

namespace sealane::backup {

struct SealedFileReport {
  std::uint64_t plain_size = 0;   // bytes
  std::uint64_t sealed_size = 0;  // bytes of the binary form, header included
};

// Recipients (1 to about 650), or a passphrase, never both: else kUsage.
struct SealTo {
  std::span<const identity::Recipient> recipients = {};
  const SecretBytes* passphrase = nullptr;
  bool armor = false;  // as text
};

// Seals the regular file `in` into `out`, which appears with mode 0600, whole and synced, or not at
// all; an existing `out` is refused. Blocking; thread-safe as far as `files` and `random` are.
Result<SealedFileReport, Error> seal_file(FileSystem& files, RandomSource& random,
                                          const std::string& in, const std::string& out,
                                          const SealTo& to);

// Whatever fits may be given; at least one key, or a passphrase: else kUsage.
struct OpenWith {
  std::span<const identity::OpeningKey> keys = {};
  const SecretBytes* passphrase = nullptr;
};

// Opens what seal_file() or age sealed, armored or not. `out` appears only when every chunk and the
// end were verified. kWrongKey: none of the keys fits; kVerificationFailed: damaged, cut short or
// no age file. Who sealed it stays unknown.
Result<SealedFileReport, Error> open_file(FileSystem& files, RandomSource& random,
                                          const std::string& in, const std::string& out,
                                          const OpenWith& with);

}  // namespace sealane::backup
