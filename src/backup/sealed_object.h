#pragma once
// SealedObject: one age object of a repository, opened with the keys at hand.
#include <memory>
#include <string>

#include "backup/engine.h"
#include "backup/operations.h"

namespace sealane::backup {

struct ObjectJob {
  bool decompress = true;
  bool hash_sealed = false;  // compare the object's SHA-256 with the commit at the end
  std::uint64_t max_plain_size = UINT64_MAX;  // what its details promise; more is refused
  unsigned threads = 0;
  flow::FlowCounters* counters = nullptr;
};

// Opens `file` of a snapshot and writes its plaintext. Returns the plaintext's size and hash, to
// be compared with the details. kWrongKey if no key fits; kVerificationFailed for what is damaged.
Result<StreamDigest, Error> open_object_stream(store::DirectoryRepository& repository,
                                               const store::SnapshotInfo& snapshot,
                                               const std::string& file, const OpeningKeys& keys,
                                               flow::ByteSink& out, const ObjectJob& job,
                                               DriverContext& context);

}  // namespace sealane::backup
