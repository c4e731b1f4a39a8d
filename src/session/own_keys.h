#pragma once
// OwnKeys: our exchange keys of one session, the newest and the one before. Format:
// docs/protocol/session.md, "Key exchange".
#include <cstdint>
#include <optional>

#include "sealane/base/seams.h"
#include "sealane/crypto/curve.h"
#include "session/binding.h"
#include "session/messages.h"

namespace sealane::session {

enum class Generation : std::uint64_t {};  // of own keys, from 1

// One own exchange key with the messages that carry it, signed once.
struct OwnKey {
  Generation generation{};
  crypto::X25519Private private_key;
  crypto::X25519Public public_key{};
  SteadyTime created{};
  KeyExchangeBody request{};
  KeyExchangeBody answer{};
};

class OwnKeys {
 public:
  // `prototype`: session, identity, answers mode and flags of every message.
  OwnKeys(const KeyExchangeMessage& prototype, const crypto::Ed25519Seed& seed)
      : prototype_(prototype), seed_(seed.duplicate()) {}

  // A new newest key; the newest so far becomes the one before, which is wiped.
  const OwnKey& renew(RandomSource& random, SteadyTime now);
  const OwnKey* newest() const { return newest_ ? &*newest_ : nullptr; }
  const OwnKey* before() const { return before_ ? &*before_ : nullptr; }
  const OwnKey* find(Generation generation) const;
  // The key whose request or answer this is, byte by byte.
  const OwnKey* find_by_body(const KeyExchangeBody& body) const;
  void wipe_before() { before_.reset(); }

 private:
  KeyExchangeMessage prototype_;
  crypto::Ed25519Seed seed_;
  std::optional<OwnKey> newest_;
  std::optional<OwnKey> before_;
  std::uint64_t generations_ = 0;
};

}  // namespace sealane::session
