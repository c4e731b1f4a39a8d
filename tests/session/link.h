#pragma once
// Link: sessions joined by a network of our own making, in virtual time. One seed, one run.
#include <functional>
#include <map>
#include <memory>
#include <queue>
#include <random>
#include <string>
#include <vector>

#include "base/check.h"
#include "session/key_schedule.h"
#include "session/session.h"
#include "tests/support/doubles.h"

namespace sealane::session::testing {

using sealane::testing::SeededRandom;

// What the network does to each datagram. Probabilities are 0 to 1.
struct Weather {
  double loss = 0;
  double duplication = 0;
  double corruption = 0;
  std::chrono::nanoseconds delay = std::chrono::milliseconds(1);
  std::chrono::nanoseconds jitter =
      std::chrono::nanoseconds(0);           // beyond it: with jitter comes reordering
  std::size_t path_packet_size = SIZE_MAX;   // larger ones vanish
  std::size_t local_packet_size = SIZE_MAX;  // larger ones are refused at once
};

inline identity::SigningKey make_identity(std::uint64_t seed) {
  SeededRandom random(seed);
  return identity::SigningKey::generate(random, "");
}

// Something with a datagram interface: a session, or a legacy peer's model.
class Endpoint {
 public:
  virtual ~Endpoint() = default;
  virtual void receive(ByteSpan datagram, SteadyTime now) = 0;
  // All that is due; `send` says whether the datagram was small enough to leave.
  virtual void step(SteadyTime now, const std::function<bool(ByteSpan)>& send) = 0;
  virtual std::optional<SteadyTime> deadline() const = 0;
};

// A session with everything it said, and the driving that an adapter does.
class Node final : public Endpoint {
 public:
  Node(Identities identities, Options options, std::uint64_t seed)
      : random(seed),
        session(std::move(identities), std::move(options), random),
        by_sink(seed % 2 != 0) {}

  void start(SteadyTime now, WallTime wall) {
    SEALANE_CHECK(session.start(ids.next(wall, random), now, wall).has_value());
  }
  void receive(ByteSpan datagram, SteadyTime now) override {
    if (!reading) {
      session.receive(PathId{0}, datagram, now);
      return;
    }
    buffer.assign(datagram.begin(), datagram.end());
    session.receive_in_place(PathId{0}, buffer, now);
    take_events();
    session.keep_undelivered();
  }
  void step(SteadyTime now, const std::function<bool(ByteSpan)>& send) override {
    if (const auto at = session.deadline(); at && *at <= now) session.on_deadline(now);
    take_events();
    while (const auto out = session.next_output()) {
      if (send(out->second)) {
        session.output_sent();
      } else {
        session.output_failed(OutputFailure::kTooBig);
      }
      take_events();
    }
  }
  std::optional<SteadyTime> deadline() const override { return session.deadline(); }

  void take_events() {
    if (!reading) return;
    if (by_sink) {
      session.take_messages([this](MessageType type, ByteSpan payload) {
        received.emplace_back(type, to_text(payload));
        return true;
      });
    }
    while (auto event = session.next_event()) {
      if (const auto* message = std::get_if<Received>(&*event)) {
        received.emplace_back(message->type, to_text(message->payload));
      } else if (const auto* changed = std::get_if<StateChanged>(&*event)) {
        states.push_back(changed->state);
      } else if (const auto* problem = std::get_if<Problem>(&*event)) {
        problems.push_back(*problem);
      } else if (const auto* pinned = std::get_if<PeerPinned>(&*event)) {
        pins.push_back(pinned->identity);
      } else if (std::holds_alternative<PeerRestarted>(*event)) {
        ++restarts;
      } else if (const auto* end = std::get_if<Closed>(&*event)) {
        closed = *end;
      }
    }
  }
  bool say(MessageType type, std::string_view text, SteadyTime now) {
    return session.send(type, as_bytes(text), now).has_value();
  }
  bool established() const { return session.state() == SessionState::kEstablished; }
  bool reported(ProblemKind kind) const {
    return std::any_of(problems.begin(), problems.end(),
                       [kind](const Problem& problem) { return problem.kind == kind; });
  }
  std::uint64_t dropped(DropReason reason) const {
    return session.statistics(SteadyTime{}).dropped(reason);
  }

  SeededRandom random;
  SessionIdSource ids;
  Session session;
  const bool by_sink;  // messages are taken by take_messages(); else they are events
  Bytes buffer;
  bool reading = true;
  std::vector<std::pair<MessageType, std::string>> received;
  std::vector<SessionState> states;
  std::vector<Problem> problems;
  std::vector<crypto::Ed25519Public> pins;
  int restarts = 0;
  std::optional<Closed> closed;
};

// The network between named places; each place holds an endpoint and is joined to one other place.
class Link {
 public:
  explicit Link(std::uint64_t seed) : engine_(seed) {}

  SteadyTime now() const { return now_; }
  WallTime wall() const { return wall_ + (now_ - SteadyTime{}); }
  void jump_wall(std::chrono::nanoseconds step) { wall_ += step; }

  void place(int at, Endpoint* endpoint) { endpoints_[at] = endpoint; }
  void remove(int at) { endpoints_.erase(at); }
  void join(int a, int b) {
    peer_of_[a] = b;
    peer_of_[b] = a;
  }
  // Sees each datagram on its way: may change it, drop it (false), or send others.
  using Tap = std::function<bool(int from, Bytes& datagram)>;
  void tap(Tap tap) { tap_ = std::move(tap); }
  void deliver(int to, Bytes datagram,
               std::chrono::nanoseconds after = std::chrono::nanoseconds(0)) {
    flying_.push({now_ + after, next_++, to, std::move(datagram)});
  }

  Weather weather;

  // Runs until nothing happens before `until`, or `done` says so. Ends at `until` otherwise.
  bool run_until(SteadyTime until, const std::function<bool()>& done = {}) {
    for (;;) {
      for (auto& [at, endpoint] : std::map<int, Endpoint*>(endpoints_)) {
        endpoint->step(now_, [this, at = at](ByteSpan datagram) { return send(at, datagram); });
      }
      if (done && done()) return true;
      SteadyTime next = until;
      if (!flying_.empty()) next = std::min(next, flying_.top().at);
      for (auto& [at, endpoint] : endpoints_) {
        if (const auto deadline = endpoint->deadline()) next = std::min(next, *deadline);
      }
      // A deadline that is over and not served would turn for ever.
      idle_turns_ = next <= now_ ? idle_turns_ + 1 : 0;
      SEALANE_CHECK(idle_turns_ < 10000);
      if (next >= until && (flying_.empty() || flying_.top().at > until)) {
        now_ = until;
        return false;
      }
      now_ = std::max(now_, next);
      while (!flying_.empty() && flying_.top().at <= now_) {
        const Flying datagram = flying_.top();
        flying_.pop();
        const auto endpoint = endpoints_.find(datagram.to);
        if (endpoint != endpoints_.end()) endpoint->second->receive(datagram.datagram, now_);
      }
    }
  }
  bool run_for(std::chrono::nanoseconds time, const std::function<bool()>& done = {}) {
    return run_until(now_ + time, done);
  }
  std::uint64_t draw(std::uint64_t below) { return engine_() % below; }
  bool chance(double probability) {
    return probability > 0 && static_cast<double>(engine_() >> 11) * 0x1p-53 < probability;
  }

 private:
  struct Flying {
    SteadyTime at;
    std::uint64_t order;
    int to;
    Bytes datagram;
    bool operator<(const Flying& other) const {
      return at != other.at ? at > other.at : order > other.order;
    }
  };
  bool send(int from, ByteSpan datagram) {
    if (datagram.size() > weather.local_packet_size) return false;
    Bytes copy = to_bytes(datagram);
    if (tap_ && !tap_(from, copy)) return true;
    if (copy.size() > weather.path_packet_size) return true;
    const int copies = chance(weather.duplication) ? 2 : 1;
    for (int i = 0; i < copies; ++i) {
      if (chance(weather.loss)) continue;
      Bytes arriving = copy;
      if (chance(weather.corruption) && !arriving.empty()) {
        arriving[draw(arriving.size())] ^= static_cast<std::byte>(1 + draw(255));
      }
      auto delay = weather.delay;
      if (weather.jitter.count() > 0) {
        delay += std::chrono::nanoseconds(draw(static_cast<std::uint64_t>(weather.jitter.count())));
      }
      deliver(peer_of_[from], std::move(arriving), delay);
    }
    return true;
  }

  std::mt19937_64 engine_;
  SteadyTime now_{std::chrono::hours(1)};
  WallTime wall_{std::chrono::hours(24 * 365 * 50)};
  std::map<int, Endpoint*> endpoints_;
  std::map<int, int> peer_of_;
  Tap tap_;
  std::priority_queue<Flying> flying_;
  std::uint64_t next_ = 0;
  int idle_turns_ = 0;
};

inline std::shared_ptr<const identity::SigningKey> shared_identity(std::uint64_t seed) {
  return std::make_shared<const identity::SigningKey>(make_identity(seed));
}

// A packet that anybody can make.
inline Bytes plain_packet(PacketId id, MessageType type, ByteSpan payload, std::uint8_t flags = 0) {
  Bytes packet(kPacketHeaderSize + kMessageHeaderSize + payload.size());
  write_message(MutableByteSpan(packet).subspan(kPacketHeaderSize), type, flags, payload);
  PacketKey::plain().seal(id, PacketIdMask{}, packet);
  return packet;
}

// The key exchange message in a plain packet, if it is one.
inline std::optional<KeyExchangeMessage> key_exchange_in(ByteSpan datagram) {
  Bytes packet = to_bytes(datagram);
  PacketKey key = PacketKey::plain();
  const auto header = key.open_header(PacketIdMask{}, packet);
  if (!header.has_value()) return std::nullopt;
  const auto messages = key.open_messages(header.value(), packet);
  if (!messages.has_value()) return std::nullopt;
  const auto message = MessageReader(messages.value()).next();
  if (!message || message->type != MessageType::kKeyExchange) return std::nullopt;
  const auto parsed = parse_key_exchange(message->payload);
  if (!parsed.has_value()) return std::nullopt;
  return parsed.value().claimed;
}

// Two nodes that know each other: places 0 and 1.
struct TwoNodes {
  explicit TwoNodes(const Options& options = {}, std::uint64_t seed = 1)
      : TwoNodes(options, options, seed) {}
  TwoNodes(const Options& options_a, const Options& options_b, std::uint64_t seed)
      : link(seed),
        identity_a(shared_identity(100)),
        identity_b(shared_identity(200)),
        a({identity_a, identity_b->public_key()}, options_a, seed * 2 + 1),
        b({identity_b, identity_a->public_key()}, options_b, seed * 2 + 2) {
    link.join(0, 1);
    link.place(0, &a);
    link.place(1, &b);
  }
  void start() {
    a.start(link.now(), link.wall());
    b.start(link.now(), link.wall());
  }
  bool establish(std::chrono::nanoseconds within = std::chrono::seconds(10)) {
    start();
    return link.run_for(within, [this] { return a.established() && b.established(); });
  }
  bool send(Node& from, std::string_view text, MessageType type = MessageType::kReadWrite) {
    return from.say(type, text, link.now());
  }
  bool say_from_b(ByteSpan payload) {
    return b.session.send(MessageType::kReadWrite, payload, link.now()).has_value();
  }
  Link link;
  std::shared_ptr<const identity::SigningKey> identity_a;
  std::shared_ptr<const identity::SigningKey> identity_b;
  Node a;
  Node b;
};

}  // namespace sealane::session::testing
