#include <algorithm>

#include "base/byte_reader.h"
#include "base/check.h"
#include "session/session_impl.h"

namespace sealane::session {
namespace {

constexpr std::uint8_t kCloseVersion = 1;
// Where nobody answers and packets get lost, so many copies of a new key count as arrived.
constexpr std::uint32_t kUnansweredCopies = 3;

ByteArray<9> encode_liveness(LivenessKind kind, std::uint64_t token) {
  ByteArray<9> out{};
  out[0] = static_cast<std::byte>(kind);
  store_integer(MutableByteSpan(out).subspan(1), token, Endian::kLittle);
  return out;
}

}  // namespace

std::optional<std::pair<PathId, ByteSpan>> Session::Impl::next_output() {
  if (!output.active) {
    if (!open_for_input()) return std::nullopt;
    if (!choose_output()) {
      progress();
      return std::nullopt;
    }
    output.active = true;
  }
  return std::pair<PathId, ByteSpan>(output.to, output.packet);
}

bool Session::Impl::choose_output() {
  if (choose_key_exchange()) return true;
  for (auto& epoch : epochs) {
    if (choose_extension(*epoch)) return true;
  }
  if (can_send()) {
    if (choose_negotiation()) return true;
    if (choose_data()) return true;
  }
  if (state != SessionState::kClosing) return false;
  // Nothing is left to flush, or nothing can be: what waits for a peer has until close_until.
  const bool flushed = outbox.empty() && outbox.open_empty();
  if (!flushed && !(close_until && now >= *close_until)) return false;
  Epoch* epoch = current();
  if (close_messages_left > 0 && epoch != nullptr && epoch->sealane && epoch->bound() &&
      can_send()) {
    --close_messages_left;
    const ByteArray<1> body{std::byte{kCloseVersion}};
    seal_control(*epoch, *epoch->proven, kCloseMessage, body);
    return true;
  }
  finish(CloseReason::kRequested);
  return false;
}

// ---- key exchange -------------------------------------------------------------------------------

bool Session::Impl::choose_key_exchange() {
  while (!answers_due.empty()) {
    const AnswerDue answer = answers_due.front();
    answers_due.erase(answers_due.begin());
    if (find_epoch(answer.epoch) == nullptr) continue;
    seal_key_exchange(answer.to, own->newest()->answer);
    return true;
  }
  if (request_also_to) {
    const PathId to = *request_also_to;
    request_also_to.reset();
    if (to != path || !request_due) {
      seal_key_exchange(to, own->newest()->request);
      return true;
    }
  }
  if (!request_due) return false;
  request_due = false;
  next_request = now + options.retry_interval;
  ++copies_of_newest;
  ++requests_of_newest;
  seal_key_exchange(path, own->newest()->request);
  Epoch* epoch = current();
  if (options.answers_mode == AnswersMode::kDisabled && epoch != nullptr && !epoch->sealane &&
      copies_of_newest >= (options.lossy ? kUnansweredCopies : 1)) {
    own_key_proven(*epoch, own->newest()->generation);
  }
  return true;
}

void Session::Impl::seal_key_exchange(PathId to, ByteSpan body) {
  scratch.resize(kPacketHeaderSize + kMessageHeaderSize + body.size());
  write_message(MutableByteSpan(scratch).subspan(kPacketHeaderSize), MessageType::kKeyExchange, 0,
                body);
  output.to = to;
  output.kind = OutputKind::kKeyExchange;
  output.packet = scratch;
  non_session.seal(take_packet_id(), mask(), output.packet);
}

// ---- between Sealane ends -----------------------------------------------------------------------

// A Sealane peer keeps what it cannot open yet, so nothing has to be proven before.
std::optional<Generation> Session::Impl::sending_generation(const Epoch& epoch) const {
  if (epoch.proven && own->find(*epoch.proven) != nullptr) return epoch.proven;
  if (epoch.sealane) return own->newest()->generation;
  return std::nullopt;
}

Binding Session::Impl::make_binding(const Epoch& epoch, BindingRole role) const {
  if (role == BindingRole::kReply) {
    return {role, epoch.proposal->receiver_body, epoch.proposal->sender_body};
  }
  const OwnKey* mine = own->find(*sending_generation(epoch));
  const PeerKey& theirs = *epoch.newest();
  return {role, mine->request, theirs.request ? *theirs.request : *theirs.answer};
}

bool Session::Impl::choose_extension(Epoch& epoch) {
  if (!epoch.sealane) return false;
  const auto own_generation = sending_generation(epoch);
  if (!own_generation || epoch.sending(*own_generation, own_id) == nullptr) return false;
  if (!epoch.bound() && epoch.next_proposal && now >= *epoch.next_proposal) {
    epoch.next_proposal = now + options.retry_interval;
    epoch.confirmation_due = false;
    epoch.proposal = make_binding(epoch, BindingRole::kProposal);
    seal_control(epoch, *own_generation, kBindingMessage,
                 encode(*epoch.proposal, identities.own->seed()));
    return true;
  }
  if (epoch.reply_due) {
    epoch.reply_due = false;
    epoch.confirmation_due = false;
    seal_control(epoch, *own_generation, kBindingMessage,
                 encode(make_binding(epoch, BindingRole::kReply), identities.own->seed()));
    return true;
  }
  if (epoch.confirmation_due) {
    epoch.confirmation_due = false;
    seal_control(epoch, *own_generation, kLivenessMessage,
                 encode_liveness(LivenessKind::kConfirmation, 0));
    return true;
  }
  if (&epoch != current() || !ready(epoch) || state == SessionState::kClosing) return false;
  if (liveness_reply) {
    const auto body = encode_liveness(LivenessKind::kReply, *liveness_reply);
    liveness_reply.reset();
    seal_control(epoch, *own_generation, kLivenessMessage, body);
    return true;
  }
  if (next_keepalive && (now >= *next_keepalive || (probe_at && now >= *probe_at))) {
    next_keepalive = now + *options.keepalive;
    keepalive_sent = now;
    probe_at.reset();
    // Where nothing is lost a peer that restarts ends the connection; there silence only means that
    // its application does not read.
    if (options.lossy && !silent && !silence_at) silence_at = now + 2 * options.retry_interval;
    seal_control(epoch, *own_generation, kLivenessMessage,
                 encode_liveness(LivenessKind::kRequest, ++keepalive_token));
    return true;
  }
  return false;
}

void Session::Impl::seal_control(Epoch& epoch, Generation own_generation, MessageType type,
                                 ByteSpan payload, OutputKind kind) {
  scratch.resize(kPacketHeaderSize + kMessageHeaderSize + payload.size());
  write_message(MutableByteSpan(scratch).subspan(kPacketHeaderSize), type, kConfidential, payload);
  output.to = path;
  output.kind = kind;
  output.packet = scratch;
  PacketKey* key = epoch.sending(own_generation, own_id);
  SEALANE_CHECK(key != nullptr);
  key->seal(take_packet_id(), mask(), output.packet);
}

// ---- packet size --------------------------------------------------------------------------------

bool Session::Impl::can_send() const {
  const Epoch* epoch = current();
  return epoch != nullptr && epoch->newest() != nullptr && ready(*epoch) &&
         own->find(*epoch->proven) != nullptr && !hold_until;
}

bool Session::Impl::choose_negotiation() {
  Epoch& epoch = *current();
  if (!pongs_due.empty()) {
    const Bytes pong = std::move(pongs_due.front());
    pongs_due.erase(pongs_due.begin());
    pong_bytes_due -= pong.size();
    seal_control(epoch, *epoch.proven, MessageType::kNegotiation, pong);
    return true;
  }
  if (!search || state == SessionState::kClosing) return false;
  auto ping = search->next_ping(now);
  if (!ping && watch && state == SessionState::kEstablished) ping = watch->next_ping(now);
  if (ping) {
    Bytes payload(ping->size);
    encode_ping(ping->iteration, payload);
    seal_control(epoch, *epoch.proven, MessageType::kNegotiation, payload, OutputKind::kPing);
    return true;
  }
  if (const auto control = search->next_control(now)) {
    ByteArray<SizeControl::kEncodedSize> payload{};
    encode(*control, payload);
    seal_control(epoch, *epoch.proven, MessageType::kNegotiation, payload);
    return true;
  }
  return false;
}

// ---- the user's messages ------------------------------------------------------------------------

bool Session::Impl::choose_data() {
  const bool flushing = state == SessionState::kClosing && was_established;
  if (state != SessionState::kEstablished && !flushing) return false;
  if (outbox.empty()) return false;
  Epoch& epoch = *current();
  PacketKey* key = epoch.sending(*epoch.proven, own_id);
  if (key == nullptr) return false;
  for (;;) {
    auto packet = outbox.take(*this);
    if (!packet) return false;
    if (packet->batch.empty()) {
      // All that was in it could not be sent.
      if (packet->completes) sent_ticket = packet->ticket;
      outbox.recycle(std::move(packet->batch));
      continue;
    }
    output.data = std::move(*packet);
    break;
  }
  output.to = path;
  output.kind = OutputKind::kData;
  output.packet = output.data.batch.packet();
  output.epoch = epoch.id();
  output.own = *epoch.proven;
  output.peer = epoch.newest()->public_key;
  key->seal(take_packet_id(), mask(), output.packet);
  return true;
}

std::optional<std::uint64_t> Session::Impl::next_chain(std::uint64_t total) {
  if (!options.fragment) return std::nullopt;
  return chains.next_chain(total);
}

void Session::Impl::on_unsendable(MessageType type) { report(ProblemKind::kMessageTooBig, type); }

void Session::Impl::output_sent() {
  SEALANE_CHECK(output.active);
  output.active = false;
  last_traffic = now;
  if (!idle_at) idle_at = now + kIdleTime;
  ++statistics.packets_sent;
  statistics.bytes_sent += output.packet.size();
  if (output.kind != OutputKind::kData) return;
  if (options.lossy && next_keepalive && !probe_at && !silence_at && !silent) {
    probe_at = now + 2 * options.retry_interval;
  }
  bytes_under_key += output.packet.size();
  if (bytes_under_key >= options.key_update_bytes) {
    bytes_under_key = 0;
    begin_renewal();
  }
  statistics.messages_sent += output.data.batch.message_count();
  statistics.payload_bytes_sent += output.data.batch.payload_bytes();
  if (watch) watch->on_sent(output.packet.size() - kPacketOverhead, now);
  if (output.data.completes) sent_ticket = output.data.ticket;
  outbox.recycle(std::move(output.data.batch));
}

void Session::Impl::output_failed(OutputFailure failure) {
  SEALANE_CHECK(output.active);
  output.active = false;
  const std::size_t size = output.packet.size();
  const bool too_big = failure == OutputFailure::kTooBig;
  switch (output.kind) {
    case OutputKind::kPing:
      if (too_big) packet_too_big(size);
      return;
    case OutputKind::kKeyExchange:
    case OutputKind::kControl:
      report(ProblemKind::kTransport);
      return;
    case OutputKind::kData:
      break;
  }
  const Epoch* epoch = find_epoch(output.epoch);
  const CipherKey* cipher_key = epoch ? epoch->cipher_key(output.peer, output.own) : nullptr;
  if (too_big && size > Options::kMinPayloadSize + kPacketOverhead && cipher_key != nullptr) {
    // It never left, so it may be opened again and go in smaller ones, under other ids.
    PacketKey key = PacketKey::session(*cipher_key, own_id);
    const auto header = key.open_header(mask(), output.packet);
    SEALANE_CHECK(header.has_value());
    SEALANE_CHECK(key.open_messages(header.value(), output.packet).has_value());
    outbox.put_back(std::move(output.data));
    packet_too_big(size);
    return;
  }
  report(ProblemKind::kMessageUnsent);
  if (output.data.completes) sent_ticket = output.data.ticket;
  outbox.recycle(std::move(output.data.batch));
}

void Session::Impl::packet_too_big(std::size_t size) {
  if (size <= kPacketOverhead) return;
  const std::size_t too_big = size - kPacketOverhead;
  if (!search) return;
  if (state == SessionState::kEstablished && too_big <= payload_size) {
    search_below(too_big);
  } else if (search->searching()) {
    search->on_too_big(too_big, now);
  }
  progress();
}

// The path carries less than it did. What waits is sent when its new size is known.
void Session::Impl::search_below(std::size_t payload) {
  looking_above = false;
  search->restart(payload - 1, now);
  set_state(SessionState::kNegotiation);
}

}  // namespace sealane::session
