#include "session/own_keys.h"

#include <utility>

namespace sealane::session {

const OwnKey& OwnKeys::renew(RandomSource& random, SteadyTime now) {
  if (newest_) before_.emplace(std::move(*newest_));
  crypto::X25519Private private_key = crypto::x25519_generate(random);
  KeyExchangeMessage message = prototype_;
  message.exchange_key = crypto::x25519_public(private_key);
  ++generations_;
  if ((message.flags & kSealaneFlag) != 0) {
    message.flags |= static_cast<std::uint8_t>((generations_ % kKeyNumbers) << kKeyNumberShift);
  }
  newest_.emplace(OwnKey{Generation{generations_},
                         std::move(private_key),
                         message.exchange_key,
                         now,
                         encode(message, seed_),
                         {}});
  message.flags |= KeyExchangeMessage::kAnswer;
  newest_->answer = encode(message, seed_);
  return *newest_;
}

const OwnKey* OwnKeys::find(Generation generation) const {
  if (newest_ && newest_->generation == generation) return &*newest_;
  if (before_ && before_->generation == generation) return &*before_;
  return nullptr;
}

const OwnKey* OwnKeys::find_by_body(const KeyExchangeBody& body) const {
  for (const auto* key : {newest(), before()}) {
    if (key != nullptr && (key->request == body || key->answer == body)) return key;
  }
  return nullptr;
}

}  // namespace sealane::session
