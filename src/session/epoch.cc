#include "session/epoch.h"

#include <algorithm>

#include "base/byte_reader.h"

namespace sealane::session {

namespace {

std::uint64_t mark_of(const crypto::X25519Public& key) {
  return load<std::uint64_t>(ByteSpan(key).first<8>());
}

}  // namespace

bool Epoch::is_replaced(const crypto::X25519Public& key) const {
  return std::find(replaced_.begin(), replaced_.end(), mark_of(key)) != replaced_.end();
}

void Epoch::remember_replaced(const crypto::X25519Public& key) {
  if (replaced_.size() < kReplacedKeys) {
    replaced_.push_back(mark_of(key));
  } else {
    replaced_[replaced_count_ % kReplacedKeys] = mark_of(key);
  }
  ++replaced_count_;
}

bool Epoch::may_follow(const KeyOrder& order) const {
  if (!newest_) return true;
  const KeyOrder& last = newest_->order;
  if (!order.number || !last.number) return order.packet > last.packet;
  const int ahead = (*order.number - *last.number + kKeyNumbers) % kKeyNumbers;
  return ahead == 1 || (ahead == 0 && !newest_used_);
}

bool Epoch::derive(const OwnKey& own, const crypto::X25519Public& peer, const PskKeys* psk) {
  auto key = derive_cipher_key(own.private_key, peer, psk);
  if (!key.has_value()) return false;
  PacketKey receiving = PacketKey::session(key.value(), id_);
  pairs_.push_back({own.generation, peer, std::move(key.value()), std::move(receiving)});
  return true;
}

Epoch::KeyNews Epoch::take_key(const crypto::X25519Public& key, const KeyOrder& order,
                               const KeyExchangeBody& body, bool is_answer, const OwnKeys& own,
                               const PskKeys* psk, SteadyTime now) {
  if (newest_ && newest_->public_key == key) {
    (is_answer ? newest_->answer : newest_->request) = body;
    return KeyNews::kSame;
  }
  if (is_before(key) || is_replaced(key)) return KeyNews::kReplaced;
  if (!may_follow(order)) return KeyNews::kReplaced;
  // Before anything is changed: does it leave a secret?
  if (own.newest() != nullptr) {
    if (!derive_cipher_key(own.newest()->private_key, key, psk).has_value()) {
      return KeyNews::kLowOrder;
    }
  }
  if (newest_ && before_ && order.number && order.number == newest_->order.number) {
    // It takes the place of one that never was; the one before may still be in use.
    remember_replaced(newest_->public_key);
  } else {
    if (before_) remember_replaced(before_->public_key);
    before_ = newest_;
  }
  newest_.emplace();
  newest_used_ = false;
  newest_->public_key = key;
  newest_->received = now;
  newest_->order = order;
  (is_answer ? newest_->answer : newest_->request) = body;
  wipe_before_at.reset();
  answers = 0;
  warned_of_old_key = false;
  refresh(own, psk);
  return KeyNews::kNew;
}

bool Epoch::knows_body(const KeyExchangeBody& body) const {
  for (const auto* key : {&newest_, &before_}) {
    if (*key && ((*key)->request == body || (*key)->answer == body)) return true;
  }
  return false;
}

bool Epoch::first_sight(PacketId key_exchange_packet) {
  const auto end =
      recent_.begin() + static_cast<std::ptrdiff_t>(std::min(recent_count_, kRecentPackets));
  if (std::find(recent_.begin(), end, key_exchange_packet) != end) return false;
  recent_[recent_count_++ % kRecentPackets] = key_exchange_packet;
  return true;
}

void Epoch::refresh(const OwnKeys& own, const PskKeys* psk) {
  std::erase_if(pairs_, [&](const Pair& pair) {
    const bool peer_held = (newest_ && newest_->public_key == pair.peer) || is_before(pair.peer);
    return !peer_held || own.find(pair.own) == nullptr;
  });
  last_pair_ = 0;
  for (const OwnKey* mine : {own.newest(), own.before()}) {
    for (const auto* theirs : {&newest_, &before_}) {
      if (mine == nullptr || !*theirs) continue;
      if (cipher_key((*theirs)->public_key, mine->generation) != nullptr) continue;
      derive(*mine, (*theirs)->public_key, psk);
    }
  }
  if (sending_ && own.find(sending_own_) == nullptr) sending_.reset();
}

void Epoch::wipe_before() {
  wipe_before_at.reset();
  if (!before_) return;
  remember_replaced(before_->public_key);
  std::erase_if(pairs_, [&](const Pair& pair) { return pair.peer == before_->public_key; });
  before_.reset();
  last_pair_ = 0;
}

Epoch::OpenResult Epoch::open(MutableByteSpan packet, PacketIdMask mask, Opened& opened) {
  const auto id = read_packet_id(packet, mask);
  if (!id.has_value()) return OpenResult::kNoKey;
  for (std::size_t i = 0; i < pairs_.size(); ++i) {
    // The one that worked last, then the others in order.
    const std::size_t index = i == 0 ? last_pair_ : i - (i <= last_pair_ ? 1 : 0);
    Pair& pair = pairs_[index];
    const auto header = pair.receiving.open_header(mask, packet);
    if (!header.has_value()) {
      if (header.error() == PacketError::kLengthMismatch) return OpenResult::kDamaged;
      continue;
    }
    if (!window_.would_accept(id.value())) return OpenResult::kReplayed;
    const auto messages = pair.receiving.open_messages(header.value(), packet);
    if (!messages.has_value()) return OpenResult::kDamaged;
    window_.accept(id.value());
    if (newest_->public_key == pair.peer) {
      newest_used_ = true;
      if (newest_->order.packet > id.value()) newest_->order.packet = id.value();
    }
    last_pair_ = index;
    opened.id = id.value();
    opened.messages = packet.subspan(kPacketHeaderSize);
    opened.own = pair.own;
    opened.peer = pair.peer;
    return OpenResult::kOpened;
  }
  return OpenResult::kNoKey;
}

std::optional<std::uint32_t> Epoch::peek_length(
    std::span<const std::byte, kPacketHeaderSize> header, PacketIdMask mask) {
  for (std::size_t i = 0; i < pairs_.size(); ++i) {
    const std::size_t index = i == 0 ? last_pair_ : i - (i <= last_pair_ ? 1 : 0);
    const auto opened = pairs_[index].receiving.peek_header(mask, header);
    if (opened.has_value()) return opened.value().length();
  }
  return std::nullopt;
}

PacketKey* Epoch::sending(Generation own, const SessionId& own_id) {
  if (!newest_) return nullptr;
  if (sending_ && sending_own_ == own && sending_peer_ == newest_->public_key) return &*sending_;
  const CipherKey* key = cipher_key(newest_->public_key, own);
  if (key == nullptr) return nullptr;
  sending_.emplace(PacketKey::session(*key, own_id));
  sending_own_ = own;
  sending_peer_ = newest_->public_key;
  return &*sending_;
}

const CipherKey* Epoch::cipher_key(const crypto::X25519Public& peer, Generation own) const {
  for (const Pair& pair : pairs_) {
    if (pair.own == own && pair.peer == peer) return &pair.cipher_key;
  }
  return nullptr;
}

}  // namespace sealane::session
