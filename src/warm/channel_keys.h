#pragma once
// Keys of the entropy channel, from the files that a person names.
#include <optional>
#include <string>
#include <vector>

#include "entropy/key_file.h"
#include "sealane/base/result.h"
#include "sealane/base/seams.h"

namespace sealane::warm {

struct ChannelKeyFiles {
  std::string key;  // both or neither
  std::string iv;
  std::vector<std::string> secrets;  // of the cluster, the newest first; at most kMaxSecrets
  bool allow_sample = false;         // the key that ships with the original engine

  // The one in use, and the one before: more would only keep leaked ones alive.
  static constexpr std::size_t kMaxSecrets = 2;
};

struct ChannelKeys {
  std::optional<entropy::ChunkKeys> chunk;  // of key and IV
  std::vector<entropy::ClusterSecret> secrets;
  std::vector<std::string> warnings;  // sentences for a person, each naming its file
};

// A file that cannot be used is kUsage with the reason; a secret file that others can read kFailed
// (identity::read_secret_file); a key or IV file that others can read is warned of.
Result<ChannelKeys, Error> load_channel_keys(FileSystem& files, const ChannelKeyFiles& names);

}  // namespace sealane::warm
