#pragma once
// The 32-byte key of a Backupy chunk stream, as files, variables and arguments hold it.
#include <string>

#include "app/command.h"
#include "seal/chunk_stream.h"

namespace sealane::app {

// 64 hex digits or padded base64, blanks around them allowed. `what` names it in the failure.
Result<seal::DataKey, Error> parse_data_key(std::string_view text, std::string_view what);
// A file as identity::read_secret_file() takes it, with 32 raw bytes, 64 hex digits or base64.
Result<seal::DataKey, Error> load_data_key(Context& context, const std::string& path);
// The decrypt token in such a file, without the blanks behind it; not looked into.
Result<SecretBytes, Error> load_token(Context& context, const std::string& path);

}  // namespace sealane::app
