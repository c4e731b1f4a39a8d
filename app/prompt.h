#pragma once
// Passphrases from a person or a file, never from argv; and questions to a person.
#include <string>

#include "sealane/base/result.h"
#include "sealane/base/seams.h"
#include "sealane/base/secret.h"

namespace sealane::app {

enum class Ask : std::uint8_t { kOnce, kTwice };

// On the controlling terminal, without echo. Without a terminal: kUsage that names
// --passphrase-file.
Result<SecretBytes, Error> prompt_passphrase(const std::string& label, Ask ask);
// The first line of the file, without its end. Refused: empty, above limits::kPassphraseSize, a
// file that others can reach (identity::read_secret_file).
Result<SecretBytes, Error> read_passphrase_file(FileSystem& files, const std::string& path);

// A question on the controlling terminal: true for "yes" alone. Without a terminal: false.
bool confirm(const std::string& question);

}  // namespace sealane::app
