#pragma once
// What the tests of a repository share: keys, seams, snapshots of small objects.
#include <string>
#include <utility>
#include <vector>

#include "crypto/hash.h"
#include "repo/names.h"
#include "sealane/store/repository.h"
#include "tests/support/doubles.h"
#include "tests/support/simulated_files.h"

namespace sealane::store {

inline identity::SigningKey test_key(unsigned char first = 1) {
  ByteArray<32> seed{};
  seed[0] = std::byte{first};
  return {crypto::Ed25519Seed(seed), "test"};
}

// `namespaces` empty: all.
inline identity::TrustedKey trusted(const identity::SigningKey& key, const std::string& name,
                                    std::vector<identity::Right> rights = {},
                                    std::vector<std::string> namespaces = {}) {
  return {.names = {name},
          .key = key.public_key(),
          .rights = std::move(rights),
          .namespaces = std::move(namespaces),
          .valid_after = {},
          .valid_before = {},
          .comment = {}};
}

using Objects = std::vector<std::pair<std::string, std::string>>;  // file, content

inline Objects some_objects(const std::string& salt, std::size_t size = 3000) {
  std::string big;
  while (big.size() < size) big += "row " + std::to_string(big.size()) + " of " + salt + "\n";
  return {{"0-database.zst.age", big},
          {"1-roles.zst.age", "roles of " + salt},
          {"details.age", "details of " + salt}};
}

inline Result<SnapshotInfo, Error> write_snapshot(DirectoryRepository& repository,
                                                  const identity::SigningKey& host,
                                                  const std::string& plan, const Objects& objects,
                                                  const std::vector<SeenHead>& seen = {}) {
  SEALANE_TRY(auto writer, repository.begin(host.public_key(), plan, seen));
  for (const auto& [file, content] : objects) {
    SEALANE_TRY(writer->begin_object(file));
    // In two pieces, as a pipeline would.
    const ByteSpan bytes = as_bytes(content);
    SEALANE_TRY(writer->append(bytes.first(bytes.size() / 2)));
    SEALANE_TRY(writer->append(bytes.subspan(bytes.size() / 2)));
    SEALANE_TRY(writer->finish_object(crypto::sha256(bytes)));
  }
  return writer->commit(host, "shop.example", from_rfc3339("2026-11-20T13:00:00Z").value());
}

inline std::string content_of(DirectoryRepository& repository, const SnapshotInfo& snapshot,
                              const std::string& file) {
  auto opened = repository.open_object(snapshot, file);
  if (!opened.has_value()) return "cannot open: " + opened.error().message;
  std::string content;
  Bytes block(1000);
  for (;;) {
    const auto got = opened.value()->read(block);
    if (!got.has_value()) return "cannot read";
    if (got.value() == 0) return content;
    content += as_text(ByteSpan(block).first(got.value()));
  }
}

// A disk in memory with an empty folder /vault/r for a repository.
struct World {
  testing::SimulatedFiles files;
  testing::ManualClock clock{from_rfc3339("2026-11-20T14:00:00Z").value()};
  testing::SeededRandom random{7};
  Seams seams{files, clock, random};
  World() {
    for (const char* folder : {"/vault", "/state"}) {
      static_cast<void>(files.create_directory(folder).has_value());
    }
    static_cast<void>(files.sync_directory("/").has_value());
  }
};

}  // namespace sealane::store
