#pragma once
// Who we are on a lane, and whom we talk to: identity, pins, pre-shared key, as flags name them.
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "app/command.h"
#include "sealane/identity/trust.h"
#include "sealane/net/lane.h"

namespace sealane::app {

struct PeerFlags {
  std::string identity;
  std::string passphrase_file;
  std::vector<std::string> pins;
  std::string trust;
  bool accept_new = false;
  std::string save_as;
  std::string psk_file;
  std::string peer = "sealane";
  std::string identity_path() const;
};

// Our key, the keys we would talk to, and what a lane is told about them.
class PipePeers {
 public:
  // Makes the identity on first use and says so. kUsage when nobody is pinned.
  static Result<PipePeers, Error> load(Context& context, const PeerFlags& flags);

  // `lossy`: over UDP, where a stranger's packet must not take a pinned peer's place: a single pin
  // is enforced from the first packet.
  net::LaneOptions lane_options(bool lossy) const;
  // Of an established lane, before anything is sent or read. kPinMismatch names both fingerprints.
  // A new key is shown and, where asked, saved.
  Result<void, Error> check(Context& context, const net::Lane& lane) const;
  std::string name_of(const crypto::Ed25519Public& key) const;  // as pinned; may be empty
  std::string own_fingerprint() const { return identity::fingerprint(own_->public_key()); }
  std::string pinned_text() const;  // fingerprints, for a sentence
  bool has_psk() const { return psk_ != nullptr; }

 private:
  struct Pin {
    crypto::Ed25519Public key{};
    std::string name;
  };
  Result<void, Error> load_pins(Context& context);
  Result<void, Error> save(Context& context, const crypto::Ed25519Public& key) const;

  PeerFlags flags_;
  std::shared_ptr<const identity::SigningKey> own_;
  std::vector<Pin> pins_;
  std::shared_ptr<const SecretBytes> psk_;
};

}  // namespace sealane::app
