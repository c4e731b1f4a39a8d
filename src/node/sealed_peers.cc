#include "node/sealed_peers.h"

namespace sealane::node {
namespace {

const session::MessageType kChannel = session::channel_type(session::ChannelId{7});
constexpr std::size_t kQueueLimit = 512 * 1024;  // unsent, of one session

}  // namespace

SealedPeers::SealedPeers(std::shared_ptr<const identity::SigningKey> own, Pin pin, Clock& clock,
                         RandomSource& random)
    : own_(std::move(own)), pin_(std::move(pin)), clock_(clock), random_(random) {}

session::Session* SealedPeers::open(const hub::ClientId& peer, SteadyTime now) {
  const auto found = sessions_.find(peer);
  if (found != sessions_.end()) return found->second.get();
  const auto pinned = pin_(peer);
  if (!pinned || sessions_.size() >= kMaxPeers) return nullptr;
  session::Options options;
  options.payload_size_limit = kMaxPayload;
  options.peer_kind = session::PeerKind::kSealane;
  options.negotiate = false;
  options.send_queue_limit = kQueueLimit;
  options.send_delay = std::chrono::nanoseconds(0);
  // A hub keeps no connection alive for two clients that have nothing to say.
  options.keepalive.reset();
  options.key_update_interval = std::chrono::hours(1);
  auto session = std::make_unique<session::Session>(
      session::Identities{.own = own_, .peer = pinned}, options, random_);
  const WallTime wall = clock_.wall_now();
  static_cast<void>(session->start(ids_.next(wall, random_), now, wall));
  session::Session* const made = session.get();
  sessions_.emplace(peer, std::move(session));
  return made;
}

bool SealedPeers::receive(const hub::ClientId& from, ByteSpan data, SteadyTime now) {
  session::Session* const session = open(from, now);
  if (session == nullptr) return false;
  session->receive(session::PathId{0}, data.subspan(kMark.size()), now);
  drain(from, *session);
  return true;
}

bool SealedPeers::send(const hub::ClientId& to, ByteSpan message, SteadyTime now) {
  session::Session* const session = open(to, now);
  if (session == nullptr) return false;
  const bool taken = session->send(kChannel, message, now).has_value();
  drain(to, *session);
  return taken;
}

bool SealedPeers::wants(const hub::ClientId& to) const {
  const auto found = sessions_.find(to);
  return found == sessions_.end() || found->second->queued_bytes() + 2 * kMaxPayload < kQueueLimit;
}

void SealedPeers::close(const hub::ClientId& peer, SteadyTime now) {
  const auto found = sessions_.find(peer);
  if (found == sessions_.end()) return;
  found->second->close(now);
  drain(peer, *found->second);
}

bool SealedPeers::idle() const { return sessions_.empty() && output_.empty(); }

void SealedPeers::drain(const hub::ClientId& peer, session::Session& session) {
  bool ended = false;
  const auto take_events = [&] {
    while (auto event = session.next_event()) {
      if (const auto* received = std::get_if<session::Received>(&*event)) {
        if (received->type == kChannel) {
          events_.emplace_back(Message{peer, to_bytes(received->payload)});
        }
      } else if (const auto* changed = std::get_if<session::StateChanged>(&*event)) {
        if (changed->state == session::SessionState::kEstablished) {
          events_.emplace_back(Established{peer});
        }
      } else if (const auto* closed = std::get_if<session::Closed>(&*event)) {
        ended = true;
        events_.emplace_back(Ended{peer, std::string(describe(closed->reason))});
      }
    }
  };
  take_events();
  while (const auto output = session.next_output()) {
    Bytes data(kMark.begin(), kMark.end());
    data.insert(data.end(), output->second.begin(), output->second.end());
    output_.emplace_back(peer, std::move(data));
    session.output_sent();
  }
  take_events();
  if (ended) sessions_.erase(peer);
}

std::optional<std::pair<hub::ClientId, Bytes>> SealedPeers::next_output() {
  if (output_.empty()) return std::nullopt;
  auto output = std::move(output_.front());
  output_.pop_front();
  return output;
}

std::optional<SealedPeers::Event> SealedPeers::next_event() {
  if (events_.empty()) return std::nullopt;
  Event event = std::move(events_.front());
  events_.pop_front();
  return event;
}

std::optional<SteadyTime> SealedPeers::deadline() const {
  std::optional<SteadyTime> next;
  for (const auto& [peer, session] : sessions_) {
    const auto due = session->deadline();
    if (due && (!next || *due < *next)) next = due;
  }
  return next;
}

void SealedPeers::on_deadline(SteadyTime now) {
  std::vector<hub::ClientId> due;
  for (const auto& [peer, session] : sessions_) {
    if (session->deadline() && *session->deadline() <= now) due.push_back(peer);
  }
  for (const hub::ClientId& peer : due) {
    session::Session& session = *sessions_.at(peer);
    session.on_deadline(now);
    drain(peer, session);
  }
}

}  // namespace sealane::node
