#include "node/sealed_peers.h"

namespace sealane::node {
namespace {

const session::MessageType kChannel = session::channel_type(session::ChannelId{7});
constexpr std::size_t kQueueLimit = 512 * 1024;  // unsent, of one session

}  // namespace

SealedPeers::SealedPeers(std::shared_ptr<const identity::SigningKey> own, Pin pin, Clock& clock,
                         RandomSource& random)
    : own_(std::move(own)), pin_(std::move(pin)), clock_(clock), random_(random) {}

SealedPeers::Peer* SealedPeers::open(const hub::ClientId& id, SteadyTime now) {
  const auto found = peers_.find(id);
  if (found != peers_.end()) return &found->second;
  const auto pinned = pin_(id);
  if (closing_ || !pinned || peers_.size() >= kMaxPeers) return nullptr;
  session::Options options;
  options.payload_size_limit = kMaxPayload;
  options.peer_kind = session::PeerKind::kSealane;
  options.negotiate = false;
  options.send_queue_limit = kQueueLimit;
  options.send_delay = kGatherTime;
  // A hub keeps no connection alive for two clients that have nothing to say.
  options.keepalive.reset();
  options.key_update_interval = std::chrono::hours(1);
  auto session = std::make_unique<session::Session>(
      session::Identities{.own = own_, .peer = pinned}, options, random_);
  const WallTime wall = clock_.wall_now();
  static_cast<void>(session->start(ids_.next(wall, random_), now, wall));
  return &peers_.emplace(id, Peer{.session = std::move(session)}).first->second;
}

bool SealedPeers::receive(const hub::ClientId& from, ByteSpan data, SteadyTime now) {
  Peer* const peer = open(from, now);
  if (peer == nullptr) return false;
  peer->session->receive(session::PathId{0}, data.subspan(kMark.size()), now);
  changed(from, *peer);
  return true;
}

bool SealedPeers::send(const hub::ClientId& to, ByteSpan message, SteadyTime now) {
  Peer* const peer = open(to, now);
  if (peer == nullptr) return false;
  const bool taken = peer->session->send(kChannel, message, now).has_value();
  if (!std::exchange(peer->gathering, true)) gathering_.push_back(to);
  changed(to, *peer);
  return taken;
}

bool SealedPeers::wants(const hub::ClientId& to) const {
  const auto found = peers_.find(to);
  return found == peers_.end() ||
         found->second.session->queued_bytes() + 2 * kMaxPayload < kQueueLimit;
}

void SealedPeers::close(const hub::ClientId& id, SteadyTime now) {
  const auto found = peers_.find(id);
  if (found == peers_.end()) return;
  found->second.session->close(now);
  changed(id, found->second);
}

void SealedPeers::close_all(SteadyTime now) {
  closing_ = true;
  std::vector<hub::ClientId> all;
  for (const auto& [id, peer] : peers_) all.push_back(id);
  for (const hub::ClientId& id : all) close(id, now);
}

bool SealedPeers::idle() const { return peers_.empty(); }

void SealedPeers::flush() {
  for (const hub::ClientId& id : std::exchange(gathering_, {})) {
    Peer& peer = peers_.at(id);
    peer.gathering = false;
    peer.session->flush();
    changed(id, peer);
  }
}

// `peer` may be gone afterwards.
void SealedPeers::changed(const hub::ClientId& id, Peer& peer) {
  if (!peer.talking) {
    peer.talking = true;
    talking_.push_back(id);
  }
  take_events(id, peer);
}

// False: it was the end, and `peer` is gone.
bool SealedPeers::take_events(const hub::ClientId& id, Peer& peer) {
  while (auto event = peer.session->next_event()) {
    if (const auto* received = std::get_if<session::Received>(&*event)) {
      if (received->type == kChannel) {
        events_.emplace_back(Message{id, to_bytes(received->payload)});
      }
    } else if (const auto* state = std::get_if<session::StateChanged>(&*event)) {
      if (state->state == session::SessionState::kEstablished) {
        events_.emplace_back(Established{id});
      }
    } else if (const auto* closed = std::get_if<session::Closed>(&*event)) {
      events_.emplace_back(Ended{id, std::string(describe(closed->reason))});
      peers_.erase(id);  // its last event; a closed session has no output
      std::erase(gathering_, id);
      std::erase(talking_, id);
      return false;
    }
  }
  return true;
}

std::optional<std::pair<hub::ClientId, Bytes>> SealedPeers::next_output() {
  while (!talking_.empty()) {
    const hub::ClientId id = talking_.front();
    talking_.pop_front();
    const auto found = peers_.find(id);
    if (found == peers_.end()) continue;
    Peer& peer = found->second;
    std::optional<std::pair<hub::ClientId, Bytes>> result;
    if (const auto output = peer.session->next_output()) {
      Bytes data;
      data.reserve(kMark.size() + output->second.size());
      data.insert(data.end(), kMark.begin(), kMark.end());
      data.insert(data.end(), output->second.begin(), output->second.end());
      peer.session->output_sent();
      result.emplace(id, std::move(data));
      talking_.push_back(id);
    } else {
      peer.talking = false;
    }
    // Without output it may have become established, which makes some.
    const std::size_t before = events_.size();
    if (take_events(id, peer) && !result && events_.size() > before) changed(id, peer);
    if (result) return result;
  }
  return std::nullopt;
}

std::optional<SealedPeers::Event> SealedPeers::next_event() {
  if (events_.empty()) return std::nullopt;
  Event event = std::move(events_.front());
  events_.pop_front();
  return event;
}

std::optional<SteadyTime> SealedPeers::deadline() const {
  std::optional<SteadyTime> next;
  for (const auto& [id, peer] : peers_) {
    const auto due = peer.session->deadline();
    if (due && (!next || *due < *next)) next = due;
  }
  return next;
}

void SealedPeers::on_deadline(SteadyTime now) {
  std::vector<hub::ClientId> due;
  for (const auto& [id, peer] : peers_) {
    if (peer.session->deadline() && *peer.session->deadline() <= now) due.push_back(id);
  }
  for (const hub::ClientId& id : due) {
    Peer& peer = peers_.at(id);
    peer.session->on_deadline(now);
    changed(id, peer);
  }
}

}  // namespace sealane::node
