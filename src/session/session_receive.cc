#include <algorithm>

#include "base/byte_reader.h"
#include "base/check.h"
#include "base/copy_bytes.h"
#include "session/session_impl.h"

namespace sealane::session {
namespace {

// Of kLivenessMessage: u8 kind, u64 token (little-endian).
constexpr std::size_t kLivenessSize = 9;

bool is_users(MessageType type) {
  return type == MessageType::kReadWrite || channel_of(type).has_value();
}

}  // namespace

// ---- packets ------------------------------------------------------------------------------------

void Session::Impl::receive(PathId from, MutableByteSpan datagram) {
  if (!open_for_input()) return drop(DropReason::kNotOpen);
  if (datagram.size() < kPacketHeaderSize) {
    drop(DropReason::kTooShort);
    return undecryptable(from, {});
  }
  if (datagram.size() > payload_limit + kPacketOverhead) return drop(DropReason::kTooBig);
  last_traffic = now;
  if (open_session_packet(from, datagram, !lent_by_caller)) return;
  const auto header = non_session.open_header(mask(), datagram);
  if (!header.has_value()) return undecryptable(from, datagram);
  const auto messages = non_session.open_messages(header.value(), datagram);
  if (!messages.has_value()) return drop(DropReason::kDamaged);
  handle_plain_messages(from, header.value().id(), messages.value());
  retry_parked();
  progress();
}

// False: no key opens it, and it is as it was.
bool Session::Impl::open_session_packet(PathId from, MutableByteSpan datagram, bool keep) {
  for (auto& epoch : epochs) {
    Epoch::Opened opened;
    switch (epoch->open(datagram, mask(), opened)) {
      case Epoch::OpenResult::kNoKey:
        continue;
      case Epoch::OpenResult::kDamaged:
        drop(DropReason::kDamaged);
        return true;
      case Epoch::OpenResult::kReplayed:
        drop(DropReason::kReplayed);
        return true;
      case Epoch::OpenResult::kOpened:
        ++statistics.packets_received;
        statistics.bytes_received += datagram.size();
        handle_opened(*epoch, opened, from, keep);
        return true;
    }
  }
  return false;
}

void Session::Impl::handle_opened(Epoch& epoch, const Epoch::Opened& opened, PathId from,
                                  bool keep) {
  statistics.undecryptable_in_row = 0;
  epoch.live = true;
  epoch.opened_last = opened;
  if (opened.id > epoch.highest_packet) {
    epoch.highest_packet = opened.id;
    path = from;
  }
  own_key_proven(epoch, opened.own);
  if (epoch.newest()->public_key == opened.peer && !epoch.wipe_before_at && epoch.has_before()) {
    epoch.wipe_before_at = now + options.old_key_lifetime;
  }
  if (&epoch != current()) {
    for (std::size_t i = 1; i < epochs.size(); ++i) {
      if (epochs[i].get() == &epoch) {
        promote(i);
        break;
      }
    }
  } else {
    epoch.answered = true;
  }
  heard();
  progress();
  // What is ours is dealt with at once, whether or not somebody takes the user's messages behind
  // it. (Such messages travel alone; one behind the user's is dealt with in its turn.)
  ByteSpan rest = opened.messages;
  const SessionId id = epoch.id();
  while (!rest.empty()) {
    ByteSpan behind = rest;
    const auto message = take_message(behind);
    if (!message || (is_users(message->type) && (message->flags & kFragmented) == 0)) break;
    if ((message->flags & kFragmented) != 0 && (!inbox.empty() || must_wait(id))) break;
    rest = behind;
    const auto whole = handle_internal(id, *message);
    if (state == SessionState::kClosed) return;
    if (!whole) continue;
    // A fragment came last: the message waits like any other.
    scratch_message.resize(kMessageHeaderSize + whole->payload.size());
    write_message(scratch_message, whole->type, kConfidential, whole->payload);
    inbox.lend(id, scratch_message);
    inbox.keep_lent();
  }
  if (rest.empty()) return;
  if (inbox.lent()) inbox.keep_lent();
  inbox.lend(id, rest);
  lent_in_place = !keep;
  if (keep_now || must_wait(id)) keep_lent();
}

void Session::Impl::keep_lent() {
  if (!inbox.lent()) return;
  if (options.overflow == Overflow::kDrop && inbox_full()) {
    inbox.drop_lent();
    return drop(DropReason::kQueueFull);
  }
  inbox.keep_lent();
}

void Session::Impl::undecryptable(PathId from, ByteSpan datagram) {
  const std::uint32_t in_row = ++statistics.undecryptable_in_row;
  if (!datagram.empty()) {
    // Perhaps its key is still under way.
    if (parking.add(datagram, from, now + 2 * options.retry_interval, parking_limit())) {
      ++statistics.parked;
    } else {
      drop(DropReason::kParkLimit);
    }
  }
  if (options.report_after_undecryptable != 0 && in_row >= options.report_after_undecryptable) {
    report(ProblemKind::kUndecryptable);
  }
  if (options.close_after_undecryptable != 0 && in_row >= options.close_after_undecryptable) {
    finish(CloseReason::kUndecryptable);
  }
}

void Session::Impl::retry_parked() {
  if (!new_key) return;
  new_key = false;
  keep_now = true;
  for (std::size_t left = parking.count(); left > 0 && open_for_input(); --left) {
    auto packet = parking.take();
    if (!packet) break;
    if (open_session_packet(packet->from, packet->datagram, true)) {
      ++statistics.parked_opened;
    } else {
      parking.put_back(std::move(*packet));
    }
  }
  keep_now = false;
}

// Anybody can make such a packet, so only what proves itself is looked at.
void Session::Impl::handle_plain_messages(PathId from, PacketId id, ByteSpan messages) {
  MessageReader reader(messages);
  while (const auto message = reader.next()) {
    if (message->type == MessageType::kKeyExchange && (message->flags & kFragmented) == 0) {
      handle_key_exchange(from, id, message->payload);
      if (!open_for_input()) return;
      continue;
    }
    const Epoch* epoch = current();
    const bool legacy_fragment = options.accept_plain_fragments && epoch != nullptr &&
                                 !must_bind(*epoch) && epoch->proven && is_users(message->type) &&
                                 (message->flags & kFragmented) != 0;
    if (!legacy_fragment) {
      drop(DropReason::kNotKeyExchange);
      continue;
    }
    if (const auto whole = handle_internal(epoch->id(), *message)) {
      scratch_message.resize(kMessageHeaderSize + whole->payload.size());
      write_message(scratch_message, whole->type, kConfidential, whole->payload);
      if (inbox.lent()) inbox.keep_lent();
      inbox.lend(epoch->id(), scratch_message);
      keep_lent();
    }
  }
  if (reader.truncated()) drop(DropReason::kTruncated);
}

// ---- key exchange -------------------------------------------------------------------------------

bool Session::Impl::take_verify_token(PathId from, bool known_session) {
  // The session id of the peer is not known to strangers who do not see its packets, so they cannot
  // use up what it needs.
  if (known_session) return known_total->try_take(1, now);
  auto source = std::find_if(sources.begin(), sources.end(),
                             [from](const SourceLimit& entry) { return entry.path == from; });
  if (source == sources.end()) {
    if (sources.size() >= kMaxSources) {
      source = std::min_element(
          sources.begin(), sources.end(),
          [](const SourceLimit& a, const SourceLimit& b) { return a.used < b.used; });
      sources.erase(source);
    }
    sources.push_back({from, TokenBucket(options.verify_rate, options.verify_rate, now), now});
    source = sources.end() - 1;
  }
  source->used = now;
  return source->bucket.try_take(1, now) && stranger_total->try_take(1, now);
}

namespace {

KeyOrder key_order(const Epoch& epoch, const KeyExchangeMessage& message, PacketId id) {
  KeyOrder order{{}, id};
  if (epoch.sealane && (message.flags & kSealaneFlag) != 0) {
    order.number = static_cast<std::uint8_t>(message.flags >> kKeyNumberShift);
  }
  return order;
}

}  // namespace

// The cheap questions first; no state changes before the signature holds.
bool Session::Impl::accept_unknown(PathId from, PacketId id, const UnverifiedKeyExchange& message,
                                   const Epoch* epoch) {
  const KeyExchangeMessage& claimed = message.claimed;
  const auto refuse = [this](DropReason reason, std::optional<ProblemKind> problem = {}) {
    drop(reason);
    if (problem) report(*problem);
    return false;
  };
  const std::uint64_t created_at = claimed.session.created_at;
  if (created_at <= options.minimum_created_at) return refuse(DropReason::kOldSession);
  // While the current one has not shown to be alive it may be a recording itself.
  if (epoch == nullptr && current() != nullptr && current()->live &&
      created_at <= current()->id().created_at) {
    return refuse(DropReason::kOldSession);
  }
  const bool new_key_of_known = epoch != nullptr && epoch->newest() != nullptr &&
                                epoch->newest()->public_key != claimed.exchange_key;
  if (new_key_of_known &&
      (!epoch->may_follow(key_order(*epoch, claimed, id)) ||
       epoch->is_before(claimed.exchange_key) || epoch->is_replaced(claimed.exchange_key))) {
    return refuse(DropReason::kOldKey);
  }
  if (!take_verify_token(from, epoch != nullptr)) return refuse(DropReason::kVerifyLimit);
  ++statistics.signatures_checked;
  if (!verify(message, peer_identity.value_or(claimed.identity)).has_value()) {
    return refuse(DropReason::kBadSignature, ProblemKind::kBadSignature);
  }
  if (claimed.answers_mode != options.answers_mode) {
    return refuse(DropReason::kAnswersMode, ProblemKind::kAnswersMode);
  }
  const bool announced = (claimed.flags & kSealaneFlag) != 0;
  if (options.peer_kind == PeerKind::kSealane && !announced) {
    return refuse(DropReason::kNotSealane, ProblemKind::kPeerNotSealane);
  }
  if (epoch != nullptr && announce && epoch->sealane != announced) {
    return refuse(DropReason::kNotSealane, ProblemKind::kPeerNotSealane);
  }
  if (options.max_clock_difference && epoch == nullptr) {
    const auto wall = started_wall + (now - started);
    const auto created = WallTime(std::chrono::nanoseconds(static_cast<std::int64_t>(created_at)));
    const auto difference = created > wall ? created - wall : wall - created;
    // Beyond 2262 the difference overflows: far enough.
    if (created_at > static_cast<std::uint64_t>(INT64_MAX) || difference.count() < 0 ||
        difference > *options.max_clock_difference) {
      report(ProblemKind::kClockDifference);
      if (options.refuse_clock_difference) return refuse(DropReason::kClockDifference);
    }
  }
  return true;
}

void Session::Impl::handle_key_exchange(PathId from, PacketId id, ByteSpan payload) {
  const auto parsed = parse_key_exchange(payload);
  if (!parsed.has_value()) {
    return drop(parsed.error() == KeyExchangeError::kUnknownMode ? DropReason::kAnswersMode
                                                                 : DropReason::kKeyExchange);
  }
  const KeyExchangeMessage& claimed = parsed.value().claimed;
  if (claimed.session == own_id || claimed.exchange_key == own->newest()->public_key ||
      (own->before() != nullptr && claimed.exchange_key == own->before()->public_key)) {
    return drop(DropReason::kReflected);
  }
  if (peer_identity && claimed.identity != *peer_identity) {
    drop(DropReason::kWrongIdentity);
    return report(ProblemKind::kWrongIdentity);
  }
  KeyExchangeBody body;
  copy_bytes(payload.first<KeyExchangeMessage::kEncodedSize>(), body.begin());

  Epoch* epoch = find_epoch(claimed.session);
  const bool known = epoch != nullptr && epoch->knows_body(body);
  if (!known && !accept_unknown(from, id, parsed.value(), epoch)) return;
  std::unique_ptr<Epoch> fresh;
  if (epoch == nullptr) {
    fresh = std::make_unique<Epoch>(claimed.session, options.replay_window, now);
    fresh->sealane = announce && (claimed.flags & kSealaneFlag) != 0;
    epoch = fresh.get();
  }
  const bool first_key = epoch->newest() == nullptr;
  switch (epoch->take_key(claimed.exchange_key, key_order(*epoch, claimed, id), body,
                          claimed.is_answer(), *own, psk(), now)) {
    case Epoch::KeyNews::kLowOrder:
      drop(DropReason::kLowOrderKey);
      return report(ProblemKind::kLowOrderKey);
    case Epoch::KeyNews::kReplaced:
      return drop(DropReason::kOldKey);
    case Epoch::KeyNews::kNew:
      new_key = true;
      if (!first_key) ++statistics.peer_renewals;
      break;
    case Epoch::KeyNews::kSame:
      if (!claimed.is_answer() && !epoch->warned_of_old_key &&
          now > epoch->newest()->received + 2 * options.key_update_interval) {
        epoch->warned_of_old_key = true;
        report(ProblemKind::kKeyNotRenewed);
      }
      break;
  }
  if (!peer_identity) {
    peer_identity = claimed.identity;
    add_event(PeerPinned{claimed.identity});
  }
  if (fresh) {
    if (epochs.size() >= kMaxEpochs) drop_rival(1);
    epochs.push_back(std::move(fresh));
    if (epochs.size() > 1) {
      new_rival(*epoch, from);
    } else {
      path = from;
      if (must_bind(*epoch)) unbound_since = std::min(unbound_since.value_or(now), now);
    }
    if (is_proposer(*epoch)) epoch->next_proposal = now;
  }
  epoch->answered = true;
  const bool doubled = !epoch->first_sight(id);
  if (claimed.is_answer()) {
    if (!doubled) handle_answer(*epoch, id);
  } else {
    queue_answer(*epoch, from);
  }
  if (options.answers_mode == AnswersMode::kDisabled && !epoch->sealane) {
    // Nobody answers in this mode. Where nothing is lost the peer has what was sent before; else a
    // few copies must do, and one goes out now that somebody is there.
    if (options.lossy && first_key) {
      request_now();
    } else if (!options.lossy && copies_of_newest > 0) {
      own_key_proven(*epoch, own->newest()->generation);
    }
  }
}

// A legacy peer's answer is all the proof there is that it has our newest key. An answer names no
// question, so none that may belong to an older question counts.
void Session::Impl::handle_answer(Epoch& epoch, PacketId /*id*/) {
  if (epoch.sealane) return;  // it sends a packet under the new key
  if (requests_of_older > 0 && now < last_older_request + options.retry_interval) {
    --requests_of_older;
    return;
  }
  requests_of_older = 0;
  if (copies_of_newest == 0) return;
  if (requests_of_newest > 0) --requests_of_newest;
  own_key_proven(epoch, own->newest()->generation);
}

void Session::Impl::queue_answer(Epoch& epoch, PathId to) {
  // The first few at once, since answers get lost too; then as often as the peer should ask.
  if (epoch.answers >= kFreeAnswers && now < epoch.last_answer + options.retry_interval / 2) {
    return drop(DropReason::kAnswerLimit);
  }
  if (epoch.sealane) epoch.confirmation_due = true;
  ++epoch.answers;
  epoch.last_answer = now;
  if (options.answers_mode == AnswersMode::kDisabled) {
    // Nobody answers in this mode; but one who asks may have started again and not know our key.
    if (epoch.proven != own->newest()->generation) request_also_to = to;
    return;
  }
  if (answers_due.size() >= kMaxAnswersDue) return drop(DropReason::kAnswerLimit);
  answers_due.push_back({epoch.id(), to});
}

// ---- messages -----------------------------------------------------------------------------------

std::optional<Message> Session::Impl::handle_internal(const SessionId& from,
                                                      const Message& message) {
  if ((message.flags & kFragmented) != 0 && is_users(message.type)) {
    const auto fragment = parse_fragment(message.payload);
    if (!fragment.has_value()) {
      drop(DropReason::kFragment);
      report(ProblemKind::kFragmentDropped, message.type);
      return std::nullopt;
    }
    auto added = reassembler.add(message.type, fragment.value(), now);
    if (added.outcome == FragmentOutcome::kStored) return std::nullopt;
    if (added.outcome == FragmentOutcome::kComplete) {
      assembled = std::move(added.message);
      return Message{message.type, kConfidential, assembled};
    }
    drop(DropReason::kFragment);
    if (added.outcome != FragmentOutcome::kDuplicate) {
      report(ProblemKind::kFragmentDropped, message.type);
    }
    return std::nullopt;
  }
  Epoch* epoch = current();
  // Of a life of the peer that is over, or in pieces, which none of these ever is.
  if (epoch == nullptr || epoch->id() != from || (message.flags & kFragmented) != 0) {
    drop(DropReason::kUnknownType);
    return std::nullopt;
  }
  if (message.type == MessageType::kNegotiation) {
    handle_negotiation(*epoch, message.payload);
  } else if (epoch->sealane && message.type == kBindingMessage) {
    handle_binding(*epoch, message.payload);
  } else if (epoch->sealane && message.type == kLivenessMessage) {
    handle_liveness(*epoch, message.payload);
  } else if (epoch->sealane && message.type == kCloseMessage && epoch->bound()) {
    finish(CloseReason::kByPeer);
  } else {
    drop(DropReason::kUnknownType);
  }
  return std::nullopt;
}

void Session::Impl::handle_negotiation(Epoch& epoch, ByteSpan payload) {
  const auto parsed = parse_negotiation(payload);
  if (!parsed.has_value()) {
    drop(DropReason::kNegotiation);
    return report(ProblemKind::kSizeMessage);
  }
  // Asked before we are ready: the peer asks again.
  if (!search || must_wait(epoch.id())) return drop(DropReason::kNegotiation);
  if (const auto* control = std::get_if<SizeControl>(&parsed.value())) {
    search->on_control(*control, now);
    // What is not sent yet would reach a legacy peer too late.
    if (control->end && !epoch.sealane) {
      pongs_due.clear();
      pong_bytes_due = 0;
    }
  } else if (const auto* pong = std::get_if<SizePong>(&parsed.value())) {
    if (!watch || !watch->on_pong(*pong, now)) search->on_pong(*pong, now);
  } else if (pongs_due.size() < kMaxPongsDue &&
             (pongs_due.empty() || pong_bytes_due + payload.size() <= kMaxPongBytes) &&
             search->on_ping(now, !epoch.sealane)) {
    pongs_due.push_back(to_bytes(payload));
    pong_bytes_due += payload.size();
    make_pong(pongs_due.back());
  } else {
    drop(DropReason::kNegotiation);
  }
  progress();
}

bool Session::Impl::is_proposer(const Epoch& epoch) const {
  if (!epoch.sealane) return false;
  const SessionId& peer = epoch.id();
  return own_id.created_at != peer.created_at ? own_id.created_at < peer.created_at
                                              : own_id.random < peer.random;
}

void Session::Impl::handle_binding(Epoch& epoch, ByteSpan payload) {
  const auto refuse = [this] {
    drop(DropReason::kBinding);
    report(ProblemKind::kBindingRefused);
  };
  const auto parsed = parse_binding(payload);
  if (!parsed.has_value()) return refuse();
  const Binding& claimed = parsed.value().claimed;
  const bool proposer = is_proposer(epoch);
  if ((claimed.role == BindingRole::kProposal) == proposer) return refuse();
  if (proposer && epoch.bound()) return;  // a reply again
  // Late: the peer has proposed again since, and counts on that one.
  if (!proposer && epoch.proposal_packet && epoch.opened_last.id < *epoch.proposal_packet) return;
  // The receiver's body must be one of ours, the sender's one that it signed for this session, and
  // both of the very pair of keys that opened this packet. So nobody in between has other keys
  // with each of us, and nobody's name stands on a key that is another's.
  const OwnKey* mine = own->find_by_body(claimed.receiver_body);
  const auto theirs = parse_key_exchange(claimed.sender_body);
  if (mine == nullptr || !theirs.has_value() || mine->generation != epoch.opened_last.own ||
      theirs.value().claimed.exchange_key != epoch.opened_last.peer ||
      theirs.value().claimed.session != epoch.id() ||
      (theirs.value().claimed.flags & kSealaneFlag) == 0 || !peer_identity) {
    return refuse();
  }
  if (proposer) {
    // A reply names the bodies of our latest proposal, the other way round.
    if (!epoch.proposal || epoch.proposal->sender_body != claimed.receiver_body ||
        epoch.proposal->receiver_body != claimed.sender_body) {
      return;
    }
  } else if (epoch.proposal == claimed) {
    // Nothing is checked again, but a reply is signed.
    if (!take_verify_token(path, true)) return drop(DropReason::kVerifyLimit);
    epoch.proposal_packet = epoch.opened_last.id;
    epoch.reply_due = true;
    return;
  }
  if (!take_verify_token(path, true)) return drop(DropReason::kVerifyLimit);
  statistics.signatures_checked += 2;
  if (!verify(theirs.value(), *peer_identity).has_value() || !verify(parsed.value()).has_value()) {
    return refuse();
  }
  const CipherKey* key = epoch.cipher_key(epoch.opened_last.peer, epoch.opened_last.own);
  if (key == nullptr) return refuse();
  if (!proposer) {
    epoch.proposal = claimed;
    epoch.proposal_packet = epoch.opened_last.id;
    epoch.reply_due = true;
  }
  epoch.exporter.emplace(derive_exporter_secret(*key, *epoch.proposal));
  progress();
}

void Session::Impl::handle_liveness(Epoch& /*epoch*/, ByteSpan payload) {
  if (payload.size() != kLivenessSize) return drop(DropReason::kUnknownType);
  const auto token = load<std::uint64_t>(payload.subspan(1), Endian::kLittle);
  switch (LivenessKind{std::to_integer<std::uint8_t>(payload[0])}) {
    case LivenessKind::kRequest:
      liveness_reply = token;
      return;
    case LivenessKind::kReply:
      if (!keepalive_sent || token != keepalive_token) return;
      note_round_trip(now - *keepalive_sent);
      keepalive_sent.reset();
      return;
    case LivenessKind::kConfirmation:
      return;  // that it opened was all
  }
  drop(DropReason::kUnknownType);
}

void Session::Impl::note_round_trip(std::chrono::nanoseconds trip) {
  statistics.round_trip = statistics.round_trip ? (7 * *statistics.round_trip + trip) / 8 : trip;
}

std::optional<Received> Session::Impl::next_message() {
  while (!inbox.empty()) {
    if (delivery_blocked && must_wait(inbox.next_from())) return std::nullopt;
    const auto next = inbox.take();
    if (next->truncated) {
      drop(DropReason::kTruncated);
      report(ProblemKind::kMessagesTruncated);
      continue;
    }
    std::optional<Message> message = next->message;
    if (!is_users(message->type) || (message->flags & kFragmented) != 0) {
      message =
          state == SessionState::kClosed ? std::nullopt : handle_internal(next->from, *message);
      if (!message) continue;
    }
    count_message(message->payload.size());
    return Received{message->type, message->payload};
  }
  return std::nullopt;
}

void Session::Impl::count_message(std::size_t payload_bytes) {
  ++statistics.messages_received;
  statistics.payload_bytes_received += payload_bytes;
  if (state == SessionState::kNegotiation && search) {
    search->on_user_message(now);
    progress();
  }
  if (statistics.messages_received == options.close_after_messages) {
    finish(CloseReason::kMessageCount);
  }
}

void Session::Impl::take_messages(MessageSink sink, void* target) {
  for (;;) {
    // Nearly all messages come this way: they lie in the packet that has just been opened, and are
    // neither ours nor in pieces. The sink may change everything, so nothing is kept across it.
    const auto is_plain = [](const Message& next) {
      return is_users(next.type) && (next.flags & kFragmented) == 0;
    };
    Message plain;
    while (!delivery_blocked && inbox.take_lent_if(is_plain, plain)) {
      count_message(plain.payload.size());
      if (!sink(target, plain.type, plain.payload)) return;
    }
    const auto message = next_message();
    if (!message || !sink(target, message->type, message->payload)) return;
  }
}

}  // namespace sealane::session
