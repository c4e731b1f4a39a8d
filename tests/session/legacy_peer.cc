#include "tests/session/legacy_peer.h"

#include <cmath>

#include "base/byte_reader.h"

namespace sealane::session::testing {
using namespace std::chrono_literals;

LegacyPeer::LegacyPeer(const identity::SigningKey& identity, const crypto::Ed25519Public& remote,
                       LegacyOptions options, std::uint64_t seed)
    : random_(seed),
      identity_(identity),
      remote_identity_(remote),
      options_(std::move(options)),
      non_session_(options_.psk ? PacketKey::aux(options_.psk->aux_key()) : PacketKey::plain()) {
  if (options_.psk) mask_ = options_.psk->packet_id_mask();
  established_payload = options_.payload_size_limit;
}

void LegacyPeer::start(SteadyTime now, WallTime wall) {
  ByteArray<8> bytes;
  random_.fill(bytes);
  id_ = {static_cast<std::uint64_t>(wall.time_since_epoch().count()), load<std::uint64_t>(bytes)};
  new_key();
  send_key_exchange(false);
  pending_since_ = now;
  next_retry_ = now + options_.retry_interval;
  next_renewal_ = now + options_.update_interval;
}

void LegacyPeer::new_key() {
  if (own_next_) own_prev_.emplace(std::move(*own_next_));
  crypto::X25519Private key = crypto::x25519_generate(random_);
  const crypto::X25519Public public_key = crypto::x25519_public(key);
  own_next_.emplace(KeyPair{std::move(key), public_key});
  acknowledged_ = false;
  install_keys();  // and used at once: before the peer can have it
}

void LegacyPeer::install_keys() {
  if (!own_next_ || !remote_next_ || !remote_id_) return;
  receiving_.clear();
  const std::array<const KeyPair*, 2> own = {&*own_next_, own_prev_ ? &*own_prev_ : nullptr};
  const std::array<const crypto::X25519Public*, 2> remote = {
      &*remote_next_, remote_prev_ ? &*remote_prev_ : nullptr};
  for (const auto* mine : own) {
    for (const auto* theirs : remote) {
      if (mine == nullptr || theirs == nullptr) continue;
      const auto key = derive_cipher_key(mine->private_key, *theirs, options_.psk.get());
      if (!key.has_value()) return die("panic: low-order key");
      receiving_.push_back(PacketKey::session(key.value(), *remote_id_));
      if (mine == own[0] && theirs == remote[0]) {
        sending_.emplace(PacketKey::session(key.value(), id_));
      }
    }
  }
}

void LegacyPeer::send_plain(MessageType type, ByteSpan payload, std::uint8_t flags) {
  Bytes packet(kPacketHeaderSize + kMessageHeaderSize + payload.size());
  write_message(MutableByteSpan(packet).subspan(kPacketHeaderSize), type, flags, payload);
  non_session_.seal(PacketId{++counter_}, mask_, packet);
  out_.push_back(std::move(packet));
}

void LegacyPeer::send_session(MessageType type, ByteSpan payload, std::uint8_t flags) {
  Bytes packet(kPacketHeaderSize + kMessageHeaderSize + payload.size());
  write_message(MutableByteSpan(packet).subspan(kPacketHeaderSize), type, flags, payload);
  sending_->seal(PacketId{++counter_}, mask_, packet);
  out_.push_back(std::move(packet));
}

void LegacyPeer::send_key_exchange(bool answer) {
  KeyExchangeMessage message;
  message.session = id_;
  message.identity = identity_.public_key();
  message.exchange_key = own_next_->public_key;
  message.answers_mode = options_.mode;
  message.flags = answer ? KeyExchangeMessage::kAnswer : 0;
  send_plain(MessageType::kKeyExchange, encode(message, identity_.seed()), 0);
}

bool LegacyPeer::window_accepts(std::uint64_t id) {
  const auto shift = [this](std::uint64_t by) {
    if (by > 64) {  // its defect: everything is forgotten
      window_.fill(false);
      return;
    }
    for (std::size_t i = window_.size(); i-- > 0;) window_[i] = i >= by && window_[i - by];
  };
  if (id > latest_) {
    shift(id - latest_);
    window_[0] = true;
    latest_ = id;
    return true;
  }
  const std::uint64_t back = latest_ - id;
  if (back == 0 || back >= window_.size() || window_[back]) return false;
  window_[back] = true;
  return true;
}

void LegacyPeer::receive(ByteSpan datagram, SteadyTime now) {
  if (!death.empty()) return;
  if (datagram.size() >= kPacketHeaderSize) ++counter_;
  if (datagram.size() > options_.payload_size_limit + Session::kPacketOverhead) {
    return die("a packet above the limit");
  }
  Bytes packet = to_bytes(datagram);
  std::optional<OpenedHeader> header;
  PacketKey* key = nullptr;
  for (auto& candidate : receiving_) {
    auto opened = candidate.open_header(mask_, packet);
    if (!opened.has_value()) continue;
    header.emplace(std::move(opened.value()));
    key = &candidate;
    break;
  }
  if (key == nullptr) {
    auto opened = non_session_.open_header(mask_, packet);
    if (!opened.has_value()) return die("an undecryptable packet");
    header.emplace(std::move(opened.value()));
    key = &non_session_;
  }
  const auto messages = key->open_messages(*header, packet);
  if (!messages.has_value()) return die("a damaged packet");
  const auto id = static_cast<std::uint64_t>(header->id());
  if (id == 0) return die("packet id 0");
  if (!window_accepts(id)) {
    ++replays;
    return;
  }
  MessageReader reader(messages.value());
  std::vector<Message> all;
  while (const auto message = reader.next()) all.push_back(*message);
  for (const Message& message : all) {
    if (!death.empty()) return;
    handle(message, now, all.size() == 1);
  }
}

void LegacyPeer::handle(const Message& message, SteadyTime now, bool alone) {
  if ((message.flags & kFragmented) != 0) return handle_fragment(message, alone);
  if (message.type == MessageType::kKeyExchange) return handle_key_exchange(message.payload, now);
  if (message.type == MessageType::kNegotiation) return handle_negotiation(message.payload, now);
  if (message.type == MessageType::kReadWrite || channel_of(message.type)) {
    received.emplace_back(message.type, to_text(message.payload));
    return;
  }
  // Dropped silently by the real one; but we promise not to send any.
  die("a message of an extension");
}

void LegacyPeer::handle_key_exchange(ByteSpan payload, SteadyTime now) {
  const auto parsed = parse_key_exchange(payload);
  if (!parsed.has_value()) return;
  const auto& claimed = parsed.value().claimed;
  if (!verify(parsed.value(), remote_identity_).has_value()) return;
  if (claimed.answers_mode != options_.mode) return die("answers mode");
  if (claimed.exchange_key == crypto::X25519Public{}) return die("zero key");
  if (!remote_id_) remote_id_ = claimed.session;
  if (remote_next_ != claimed.exchange_key) {
    remote_prev_ = remote_next_;
    remote_next_ = claimed.exchange_key;
    install_keys();
  }
  if (claimed.is_answer() || options_.mode != AnswersMode::kAnswerAndWait) {
    acknowledged_ = true;
    if (!success_) first_success(now);
  }
  if (!claimed.is_answer() && options_.mode != AnswersMode::kDisabled) send_key_exchange(true);
}

void LegacyPeer::ask(std::size_t size) {
  Bytes ping(size);
  encode_ping(iteration_, ping);
  send_session(MessageType::kNegotiation, ping);
}

void LegacyPeer::first_success(SteadyTime now) {
  success_ = true;
  if (!options_.negotiate) {
    own_finished_ = remote_finished_ = true;
    established = true;
    return;
  }
  probing_ = true;
  min_ = 147;
  max_ = options_.payload_size_limit;
  start_round(now);
}

void LegacyPeer::start_round(SteadyTime now) {
  if (max_ - min_ <= 3) return finish_probing(true);
  const double step = static_cast<double>(max_ - min_) / 3.0;
  step_plus_one_ = static_cast<std::size_t>(std::floor(step + 1));
  rounds.emplace_back();
  for (int i = 3; i >= 0; --i) {
    const auto size = min_ + static_cast<std::size_t>(std::floor(0.999 + step * i));
    rounds.back().sizes.push_back(size);
    Bytes ping(size);
    encode_ping(iteration_, ping);
    for (int copy = 0; copy < 3; ++copy) send_session(MessageType::kNegotiation, ping);
  }
  largest_pong_ = 0;
  round_started_ = now;
  collect_until_.reset();
}

void LegacyPeer::end_round(SteadyTime now) {
  collect_until_.reset();
  rounds.back().largest_pong = largest_pong_;
  const std::size_t new_min = largest_pong_;
  std::size_t new_max = new_min + step_plus_one_;
  if (new_min == min_ || new_min == options_.payload_size_limit) return finish_probing(true);
  ++iteration_;
  min_ = new_min;
  max_ = new_max >= max_ ? new_max * 2 : new_max + 1;
  max_ = std::min(max_, options_.payload_size_limit);
  if (iteration_ >= 4) return finish_probing(false);
  start_round(now);
}

void LegacyPeer::finish_probing(bool with_end) {
  probing_ = false;
  own_finished_ = true;
  if (with_end) {
    sent_end = true;
    ByteArray<SizeControl::kEncodedSize> payload{};
    encode(SizeControl{static_cast<std::uint32_t>(own_largest), true}, payload);
    for (int copy = 0; copy < 3; ++copy) send_session(MessageType::kNegotiation, payload);
  }
  maybe_established();
}

void LegacyPeer::maybe_established() {
  if (!own_finished_ || !remote_finished_ || established) return;
  established_payload = std::min<std::size_t>(own_largest, remote_largest_);
  established = true;
}

void LegacyPeer::handle_negotiation(ByteSpan payload, SteadyTime now) {
  const auto parsed = parse_negotiation(payload);
  if (!parsed.has_value()) return;
  if (std::holds_alternative<SizePing>(parsed.value())) {
    Bytes pong = to_bytes(payload);
    make_pong(pong);
    if (sending_) send_session(MessageType::kNegotiation, pong);
    return;
  }
  if (const auto* control = std::get_if<SizeControl>(&parsed.value())) {
    remote_largest_ = control->largest;
    if (!control->end) return;
    if (!options_.negotiate) return die("hang: an end message, negotiation is off");
    if (rounds.empty()) return die("hang: an end message before its first question");
    remote_finished_ = true;
    return maybe_established();
  }
  const auto& pong = std::get<SizePong>(parsed.value());
  if (own_finished_ && remote_finished_) return die("panic: a pong after the end");
  own_largest = std::max(own_largest, pong.size);
  ByteArray<SizeControl::kEncodedSize> control{};
  encode(SizeControl{static_cast<std::uint32_t>(own_largest), false}, control);
  send_session(MessageType::kNegotiation, control);
  if (!probing_) return;
  largest_pong_ = std::max(largest_pong_, pong.size);
  if (!collect_until_) collect_until_ = now + 3 * (now - round_started_) + 1ms;
}

void LegacyPeer::handle_fragment(const Message& message, bool alone) {
  if (!alone) return die("lost messages: a fragment that is not alone");
  ByteReader reader(message.payload);
  const auto chain = reader.integer<std::uint64_t>(Endian::kLittle);
  const auto start = reader.integer<std::uint64_t>(Endian::kLittle);
  const auto total = reader.integer<std::uint64_t>(Endian::kLittle);
  if (!total) return;
  const ByteSpan piece = reader.rest();
  if (*total == 0) return die("panic: total 0");
  if (*start + piece.size() < *start) return die("panic: overflow");
  Slot& slot = slots_[*chain % 8];
  if (*chain > highest_chain_) {
    for (Slot& each : slots_) {
      if (each.total != 0 && !each.complete) die("lost message: two chains at once");
      each.total = 0;
      each.complete = false;
    }
    highest_chain_ = *chain;
  } else if (*chain + 8 < highest_chain_) {
    return;
  }
  if (slot.complete) return die("panic: a piece of a finished chain");
  if (slot.total == 0) {
    if (*total > options_.max_message_size) return;
    slot.total = *total;
    slot.buffer = std::max<std::size_t>(slot.buffer, *total);
    slot.data.resize(slot.buffer);
    slot.seen.assign(*total, false);
  }
  if (*start + piece.size() > slot.total) return;
  if (piece.size() < 64 && *start + piece.size() != slot.total) return die("a short piece");
  for (std::size_t i = 0; i < piece.size(); ++i) {
    if (slot.seen[*start + i]) return die("panic: a piece twice");
    slot.seen[*start + i] = true;
    slot.data[*start + i] = piece[i];
  }
  if (std::all_of(slot.seen.begin(), slot.seen.end(), [](bool seen) { return seen; })) {
    slot.complete = true;
    received.emplace_back(message.type, to_text(slot.data));  // stale tail and all
  }
}

void LegacyPeer::step(SteadyTime now, const std::function<bool(ByteSpan)>& send) {
  if (!death.empty()) return;
  if (!acknowledged_) {
    if (now >= pending_since_ + options_.timeout) return die("key exchange timeout");
    if (now >= next_retry_) {
      next_retry_ = now + options_.retry_interval;
      send_key_exchange(false);
    }
  }
  if (now >= next_renewal_) {
    next_renewal_ += options_.update_interval;
    if (acknowledged_) {
      new_key();
      ++renewals;
      pending_since_ = now;
    }
    next_retry_ = now + options_.retry_interval;
    send_key_exchange(false);
  }
  if (probing_ && collect_until_ && now >= *collect_until_) end_round(now);
  if (probing_ && !collect_until_ && now >= round_started_ + 60s) die("negotiation timeout");
  if (established) {
    for (auto& [type, text] : to_write) {
      const ByteSpan payload = as_bytes(text);
      if (payload.size() <= established_payload) {
        send_session(type, payload);
        continue;
      }
      const std::size_t step = established_payload - FragmentHeader::kEncodedSize;
      ++own_chain_;
      for (std::size_t at = 0; at < payload.size(); at += step) {
        const ByteSpan rest = payload.subspan(at);
        const ByteSpan piece = rest.first(std::min(step, rest.size()));
        Bytes fragment(FragmentHeader::kEncodedSize + piece.size());
        encode(FragmentHeader{own_chain_, at, payload.size()},
               MutableByteSpan(fragment).first<FragmentHeader::kEncodedSize>());
        std::ranges::copy(piece, fragment.begin() + FragmentHeader::kEncodedSize);
        if (options_.fragments_in_the_clear) {
          send_plain(type, fragment, kFragmented);
        } else {
          send_session(type, fragment, kConfidential | kFragmented);
        }
      }
    }
    to_write.clear();
  }
  for (const Bytes& packet : out_) {
    if (!send(packet)) die("message too long");
  }
  out_.clear();
}

std::optional<SteadyTime> LegacyPeer::deadline() const {
  if (!death.empty() || !own_next_) return std::nullopt;
  SteadyTime next = next_renewal_;
  if (!acknowledged_) next = std::min({next, next_retry_, pending_since_ + options_.timeout});
  if (probing_) next = std::min(next, collect_until_.value_or(round_started_ + 60s));
  return next;
}

}  // namespace sealane::session::testing
