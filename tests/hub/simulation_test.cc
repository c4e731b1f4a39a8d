// Goal: whatever clients, jobs and networks do, what the hub says of a message is true: each
// arrives as it was sent, from whom it was sent, in order, never twice on one connection; a client
// that misbehaves harms nobody else; and once the weather is good all is well. Method: a hub and
// 100 clients (ours and legacy ones) in virtual time; a seed draws cuts, delays, lost connections,
// damage, injected frames, silent peers, slow readers and jobs that finish late.
// SEALANE_HUB_SEED=N runs one seed alone, SEALANE_HUB_SEEDS=N the first N.
#include <gtest/gtest.h>

#include <cstdlib>
#include <deque>
#include <random>
#include <set>

#include "hub/frame.h"
#include "tests/hub/kit.h"

namespace sealane::hub {
namespace {

using namespace testing;
using namespace std::chrono_literals;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr std::uint64_t kSeeds = 20;
#else
constexpr std::uint64_t kSeeds = 1'000;
#endif
constexpr std::size_t kClients = 100;
constexpr int kSteps = 30;

// That the weather was bad enough: each of these must have happened.
struct Seen {
  std::uint64_t delivered = 0;
  std::uint64_t cut = 0;
  std::uint64_t damaged = 0;
  std::uint64_t injected = 0;
  std::uint64_t upgrades = 0;
  std::uint64_t idle = 0;
  std::uint64_t busy = 0;
};

ClientId numbered(std::size_t i) {
  ClientId id;
  id.bytes[0] = std::byte{0xaa};
  id.bytes[15] = static_cast<std::byte>(i);
  return id;
}

class World {
 public:
  explicit World(std::uint64_t seed)
      : draws_(seed), random_(seed), options_(hub_options()), places_(kClients) {
    options_->challenge_size = 82;  // less to copy
    options_->send_queue_limit = 70'000;
  }

  std::string run() {
    for (std::size_t i = 0; i < kClients; ++i) places_[i].legacy = i % 3 != 0;
    for (int step = 0; step < kSteps && fault_.empty(); ++step) {
      weather_ = step < 3 * kSteps / 4;
      act();
      now_ += std::chrono::milliseconds(draw(weather_ && draw(40) == 0 ? 50'000 : 200));
      move();
    }
    if (fault_.empty()) heal();
    return fault_;
  }
  Seen seen;

 private:
  // One client, its connection as both ends see it, and what is on its way.
  struct Link {
    std::unique_ptr<HubConnection> hub;
    std::unique_ptr<ClientConnection> client;
    std::deque<Job> hub_jobs;
    std::deque<Job> client_jobs;
    Bytes to_hub;
    Bytes to_client;
    bool hub_ready = false;
    bool client_ready = false;
    bool hub_gone = false;  // stopped: what is left is drained
    bool client_gone = false;
    bool hostile = false;         // something of it was damaged or injected
    bool deaf = false;            // the client's side reads nothing
    std::uint64_t sent = 0;       // numbers of messages, per connection
    std::uint64_t taken = 0;      // by the hub
    std::set<std::uint64_t> got;  // deliveries
    std::uint64_t last_got = 0;
  };
  struct Place {
    bool legacy = false;
    std::unique_ptr<Link> link;
  };

  std::uint64_t draw(std::uint64_t bound) { return draws_() % bound; }
  void fail(const std::string& what) {
    if (fault_.empty()) fault_ = what;
  }

  void connect(std::size_t i) {
    Place& place = places_[i];
    place.link = std::make_unique<Link>();
    place.link->hub = std::make_unique<HubConnection>(options_, random_, now_, kWall);
    ClientOptions who = client_options("A", place.legacy ? HubKind::kLegacy : HubKind::kSealane);
    who.id = numbered(i);
    place.link->client = std::make_unique<ClientConnection>(std::move(who), random_, now_, kWall);
  }

  void act() {
    for (int i = 0; i < 40; ++i) {
      const std::size_t at = draw(kClients);
      if (!places_[at].link) connect(at);
      Link& link = *places_[at].link;
      if (link.client_ready && !link.client_gone && draw(2) == 0) send(at, link);
      if (!weather_) continue;
      if (draw(60) == 0)
        cut(at);
      else if (draw(80) == 0)
        damage(link);
      else if (draw(80) == 0)
        inject(link);
      else if (draw(60) == 0)
        link.deaf = !link.deaf;
    }
  }

  // Who, on which connection, its number, to whom: so that whoever gets it can check it.
  std::string text_of(std::size_t from, std::uint64_t number, std::size_t to) const {
    std::string text =
        std::to_string(from) + ":" + std::to_string(number) + ":" + std::to_string(to) + ":";
    return text + std::string(number % 7 == 0 ? 5'000 : number % 50, 'x');
  }
  void send(std::size_t from, Link& link) {
    const std::size_t to = draw(kClients);
    const std::string text = text_of(from, link.sent + 1, to);
    const auto sent = link.client->send(
        {.to = numbered(to), .ref = {}, .part = {}, .data = as_bytes(text)}, now_);
    if (sent.has_value()) ++link.sent;
  }

  void cut(std::size_t at) {
    ++seen.cut;
    Link& link = *places_[at].link;
    if (draw(2) == 0) {  // seen by the hub as the end
      link.hub->on_end(now_);
      settle_hub(at, link, true);
    }
    places_[at].link.reset();
  }
  void damage(Link& link) {
    Bytes& pipe = draw(2) == 0 ? link.to_hub : link.to_client;
    if (pipe.empty()) return;
    ++seen.damaged;
    link.hostile = true;
    pipe[draw(pipe.size())] ^= std::byte{0x20};
  }
  // Only between frames do forged ones do more than damage does.
  void inject(Link& link) {
    if (!link.hub_ready || !link.to_hub.empty()) return;
    ++seen.injected;
    link.hostile = true;
    const Bytes plain = encode(Message{C2cMessage{.to = numbered(1), .data = to_bytes("forged")}});
    const JobResult sealed = run_cheap(
        Job{.number = {}, .work = EncryptJob{.key = person("server").public_key, .plain = plain}});
    const Bytes frame = encode_frame(sealed.outcome.value());
    link.to_hub.insert(link.to_hub.end(), frame.begin(), frame.end());
  }

  template <class Core>
  void carry(Core& core, Bytes& from, std::size_t most) {
    std::size_t taken = 0;
    while (taken < from.size() && taken < most && core.wants_input()) {
      const std::size_t piece = std::min<std::size_t>(1 + draw(1500), from.size() - taken);
      taken += core.receive(ByteSpan(from).subspan(taken, piece), now_);
    }
    from.erase(from.begin(), from.begin() + static_cast<std::ptrdiff_t>(taken));
  }
  template <class Core>
  void collect(Core& core, Bytes& pipe) {
    while (pipe.size() < 100'000 && !core.next_output().empty()) {
      const ByteSpan out = core.next_output();
      const std::size_t size = std::min<std::size_t>(out.size(), 1 + draw(20'000));
      pipe.insert(pipe.end(), out.begin(), out.begin() + static_cast<std::ptrdiff_t>(size));
      core.output_sent(size);
    }
  }
  template <class Core>
  void due(Core& core) {
    if (const auto when = core.deadline(); when && *when <= now_) core.on_deadline(now_);
  }

  void move() {
    for (int round = 0; round < (weather_ ? 3 : 12) && fault_.empty(); ++round) {
      for (std::size_t at = 0; at < kClients; ++at) {
        if (!places_[at].link) continue;
        Link& link = *places_[at].link;
        due(*link.hub);
        due(*link.client);
        carry(*link.hub, link.to_hub, weather_ ? draw(5'000) : 1 << 20);
        settle_hub(at, link, !weather_);
        if (!link.deaf || !weather_) {
          collect(*link.hub, link.to_client);
          carry(*link.client, link.to_client, weather_ ? draw(5'000) : 1 << 20);
        }
        settle_client(at, link, !weather_);
        collect(*link.client, link.to_hub);
        if (link.hub_gone || link.client_gone) {
          // The hub's last words may still arrive; then it is over.
          if (!link.hub_gone) {
            link.hub->on_end(now_);
            settle_hub(at, link, true);
          }
          places_[at].link.reset();
        }
      }
    }
  }

  template <class Core>
  void work(Core& core, std::deque<Job>& jobs, bool all) {
    while (!jobs.empty() && (all || draw(3) != 0)) {
      const JobResult result = run_cheap(jobs.front());
      jobs.pop_front();
      core.job_done(result, now_);
    }
  }

  void settle_hub(std::size_t at, Link& link, bool all) {
    do {
      while (auto event = link.hub->next_event()) on_hub(at, link, *event);
      work(*link.hub, link.hub_jobs, all);
    } while (all && !link.hub_jobs.empty());
    while (auto event = link.hub->next_event()) on_hub(at, link, *event);
  }
  void on_hub(std::size_t at, Link& link, HubEvent& event) {
    if (link.hub_gone) return fail("an event after the last one");
    if (auto* job = std::get_if<Job>(&event)) {
      link.hub_jobs.push_back(std::move(*job));
    } else if (const auto* who = std::get_if<LookUp>(&event)) {
      if (who->id == numbered(at)) {
        link.hub->known(person("A").public_key,
                        places_[at].legacy ? ClientKind::kLegacy : ClientKind::kSealane, now_);
      } else {
        link.hub->unknown(now_);
      }
    } else if (std::holds_alternative<Login>(event)) {
      link.hub->admit(0, now_);
    } else if (const auto* ready = std::get_if<Ready>(&event)) {
      link.hub_ready = true;
      if (!ready->features.empty()) ++seen.upgrades;
      if (ready->features.empty() != places_[at].legacy) fail("a wrong kind of Ready");
    } else if (const auto* message = std::get_if<Submitted>(&event)) {
      route(at, link, *message);
    } else if (const auto* stopped = std::get_if<HubStopped>(&event)) {
      link.hub_gone = true;
      if (stopped->reason == HubStop::kIdle || stopped->reason == HubStop::kStalled) ++seen.idle;
      if (stopped->reason == HubStop::kBadFrame && !link.hostile) fail("a good frame did not open");
    }
  }

  void route(std::size_t from, Link& link, const Submitted& message) {
    const auto content = decode_content(message.content);
    if (!content) return fail("content of the hub's own making does not decode");
    const std::string text = sealane::to_text(content->data);
    if (text == "forged") {
      if (!places_[from].legacy) fail("a forged message was taken for a Sealane client's");
      return;
    }
    ++link.taken;
    const auto to = std::to_integer<std::size_t>(message.to.bytes[15]);
    // Nothing is lost or moved within a connection, so the numbers have no gaps.
    if (text != text_of(from, link.taken, to))
      return fail("not what was sent: " + text.substr(0, 40));
    if (to >= kClients || !places_[to].link) return;
    Link& other = *places_[to].link;
    if (!other.hub_ready || other.hub_gone) return;
    const auto given = other.hub->deliver({.id = DeliveryId{++deliveries_},
                                           .sender = numbered(from),
                                           .group = {},
                                           .accepted_at = kWall,
                                           .content = message.content},
                                          now_);
    if (!given.has_value() && given.error() == DeliverError::kBusy) ++seen.busy;
    if (!given.has_value() && given.error() == DeliverError::kTooLarge) fail("too large");
  }

  void settle_client(std::size_t at, Link& link, bool all) {
    do {
      while (auto event = link.client->next_event()) on_client(at, link, *event);
      work(*link.client, link.client_jobs, all);
    } while (all && !link.client_jobs.empty());
    while (auto event = link.client->next_event()) on_client(at, link, *event);
  }
  void on_client(std::size_t at, Link& link, ClientEvent& event) {
    if (link.client_gone) return fail("an event after the client's last one");
    if (auto* job = std::get_if<Job>(&event)) {
      link.client_jobs.push_back(std::move(*job));
    } else if (std::holds_alternative<ClientReady>(event)) {
      link.client_ready = true;
    } else if (const auto* incoming = std::get_if<Incoming>(&event)) {
      const std::string text = sealane::to_text(incoming->data);
      const std::size_t from = std::stoul(text);
      const std::size_t colon = text.find(':');
      const std::uint64_t number = std::stoull(text.substr(colon + 1));
      if (text != text_of(from, number, at)) return fail("damaged, or not for this client");
      ++seen.delivered;
      if (places_[at].legacy) return;
      if (incoming->sender != numbered(from)) fail("the hub names another sender");
      if (incoming->sealed == places_[from].legacy)
        fail("the hub vouches for the wrong connection");
      const auto id = static_cast<std::uint64_t>(*incoming->id);
      if (id <= link.last_got) fail("twice, or out of order");
      link.last_got = id;
      link.client->received(*incoming->id, now_);
    } else if (const auto* stopped = std::get_if<ClientStopped>(&event)) {
      link.client_gone = true;
      if (stopped->reason == ClientStop::kBadFrame && !link.hostile) fail("a client's frame");
    }
  }

  // In good weather everybody comes in, and a message to each arrives.
  void heal() {
    weather_ = false;
    for (std::size_t i = 0; i < kClients; ++i) connect(i);
    for (int i = 0; i < 6 && fault_.empty(); ++i) move();
    const std::uint64_t before = seen.delivered;
    for (std::size_t i = 0; i < kClients && fault_.empty(); ++i) {
      Link& link = *places_[i].link;
      if (!link.client_ready || !link.hub_ready) return fail("not ready in good weather");
      const std::string text = text_of(i, ++link.sent, (i + 1) % kClients);
      if (!link.client
               ->send({.to = numbered((i + 1) % kClients),
                       .ref = {},
                       .part = {},
                       .data = as_bytes(text)},
                      now_)
               .has_value()) {
        fail("cannot send in good weather");
      }
    }
    for (int i = 0; i < 4 && fault_.empty(); ++i) move();
    if (seen.delivered - before != kClients) fail("not all arrived in good weather");
  }

  std::mt19937_64 draws_;
  SeededRandom random_;
  std::shared_ptr<HubOptions> options_;
  SteadyTime now_{};
  std::vector<Place> places_;
  bool weather_ = true;
  std::uint64_t deliveries_ = 0;
  std::string fault_;
};

TEST(HubSimulation, AHundredClientsInBadWeather) {
  std::uint64_t first = 1;
  std::uint64_t last = kSeeds;
  if (const char* one = std::getenv("SEALANE_HUB_SEED")) first = last = std::stoull(one);
  if (const char* count = std::getenv("SEALANE_HUB_SEEDS")) last = std::stoull(count);
  Seen total;
  for (std::uint64_t seed = first; seed <= last; ++seed) {
    World world(seed);
    const std::string fault = world.run();
    ASSERT_EQ(fault, "") << "SEALANE_HUB_SEED=" << seed;
    total.delivered += world.seen.delivered;
    total.cut += world.seen.cut;
    total.damaged += world.seen.damaged;
    total.injected += world.seen.injected;
    total.upgrades += world.seen.upgrades;
    total.idle += world.seen.idle;
    total.busy += world.seen.busy;
  }
  if (last - first < 10) return;
  EXPECT_GT(total.delivered, 100 * (last - first));
  EXPECT_GT(total.cut, 0u);
  EXPECT_GT(total.damaged, 0u);
  EXPECT_GT(total.injected, 0u);
  EXPECT_GT(total.upgrades, 0u);
  EXPECT_GT(total.idle, 0u);
}

}  // namespace
}  // namespace sealane::hub
