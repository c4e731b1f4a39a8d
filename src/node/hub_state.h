#pragma once
// HubState: a hub's directory: its key, who is known, and a lock. docs/hub.md, "Files".
//
//   key.pem        the hub's private key (PKCS#1, 0600); made at the first start
//   clients/HEX    one file per client, named by its id: lines `name: …` and `kind: sealane|legacy`
//                  (both may be missing: a legacy client named by its id), then its public key, PEM
//   queue.db       messages that wait (mailbox.md); queue.lock; control.sock; audit.log
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "crypto/rsa.h"
#include "hub/hub_connection.h"
#include "hub/ids.h"
#include "sealane/base/result.h"
#include "sealane/base/seams.h"

namespace sealane::node {

struct HubClientRecord {
  hub::ClientId id;
  std::string name;  // printable ASCII without blanks, 1 .. kMaxNameSize
  hub::ClientKind kind = hub::ClientKind::kLegacy;
  std::shared_ptr<const crypto::RsaPublicKey> key;
};
inline constexpr std::size_t kMaxClientName = 64;
bool is_client_name(std::string_view name);

std::string format_client_file(const HubClientRecord& record);
// A clause why it is none. `id`: from the file's name.
Result<HubClientRecord, std::string> parse_client_file(const hub::ClientId& id, ByteSpan content);

class HubState {
 public:
  static constexpr std::size_t kMaxClientFile = 32 * 1024;

  // Makes the directory (0700) and the key where they are missing. `created`: the key is new.
  static Result<HubState, Error> open(FileSystem& files, RandomSource& random,
                                      const std::string& directory);
  // Makes nothing. kUsage: there is no hub.
  static Result<HubState, Error> open_existing(FileSystem& files, RandomSource& random,
                                               const std::string& directory);
  bool created() const { return created_; }
  const std::shared_ptr<const crypto::RsaPrivateKey>& key() const { return key_; }
  std::string path(std::string_view name) const { return join_path(directory_, name); }

  // Held by a hub that runs, and by commands that change things without it. kLocked.
  Result<std::unique_ptr<FileLock>, Error> lock() const;
  // A file that is none of a client is an error that names it.
  Result<std::vector<HubClientRecord>, Error> clients() const;
  // kUsage: that id is known, or the name is.
  Result<void, Error> add(const HubClientRecord& record) const;
  Result<void, Error> remove(const hub::ClientId& id) const;  // kUsage: not known

 private:
  HubState(FileSystem& files, RandomSource& random, std::string directory)
      : files_(&files), random_(&random), directory_(std::move(directory)) {}
  FileSystem* files_;
  RandomSource* random_;
  std::string directory_;
  bool created_ = false;
  std::shared_ptr<const crypto::RsaPrivateKey> key_;
};

// "SHA256:" and unpadded base64, as OpenSSH writes fingerprints.
std::string fingerprint_text(const crypto::Sha256Digest& digest);
std::optional<crypto::Sha256Digest> parse_fingerprint(std::string_view text);

}  // namespace sealane::node
