#pragma once
// HubProfile: what a client of a hub has in one private file, made by `sealane hub enrol`:
//
//   hub: tcp:192.0.2.7:4000
//   fingerprint: SHA256:…          of the hub's key; may be missing (then the pin file decides)
//   id: 11111111-1111-4111-8111-111111111111
//   name: shop
//   -----BEGIN RSA PRIVATE KEY-----
//   …
#include <memory>
#include <optional>
#include <string>

#include "crypto/rsa.h"
#include "hub/ids.h"
#include "sealane/base/network.h"
#include "sealane/base/result.h"
#include "sealane/base/seams.h"
#include "sealane/base/secret.h"
#include "sealane/crypto/curve.h"

namespace sealane::node {

struct HubProfile {
  Address hub;
  std::optional<crypto::Sha256Digest> fingerprint;
  hub::ClientId id;
  std::string name;
  std::shared_ptr<const crypto::RsaPrivateKey> key;
};
SecretBytes format_profile(const HubProfile& profile);
// Where a client can dial a hub: a TCP address, also by name, or a UNIX socket.
bool is_hub_address(const Address& address);
inline constexpr std::string_view kHubAddressForm = "write tcp:HOST:PORT or unix:PATH";
Result<HubProfile, std::string> parse_profile(ByteSpan content);  // a clause why it is none

// The id of a client that seals end to end: 16 bytes of SHA-256 over "sealane hub client" and its
// Ed25519 identity, as a UUID of version 8. So whoever pinned the identity knows the address, and
// nobody else's messages can bear it.
hub::ClientId client_id_of(const crypto::Ed25519Public& identity);

// Keys of hubs that were seen, one a line: "tcp:192.0.2.7:4000 SHA256:…".
class HubPins {
 public:
  static constexpr std::size_t kMaxFileSize = 1 << 20;
  static Result<HubPins, Error> load(FileSystem& files, const std::string& path);  // may be missing
  std::optional<crypto::Sha256Digest> find(const Address& hub) const;
  Result<void, Error> add(FileSystem& files, RandomSource& random, const Address& hub,
                          const crypto::Sha256Digest& fingerprint);

 private:
  std::string path_;
  std::vector<std::pair<std::string, crypto::Sha256Digest>> pins_;
};

}  // namespace sealane::node
