#pragma once
// Both ends of a connection in memory: people with the recorded keys, ends that answer their own
// jobs and questions, and a pump between them.
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "hub/client_connection.h"
#include "hub/hub_connection.h"
#include "tests/support/doubles.h"

namespace sealane::hub::testing {

using sealane::testing::SeededRandom;

inline constexpr WallTime kWall{std::chrono::seconds(1'700'000'000)};

struct Person {
  ClientId id;
  std::shared_ptr<const crypto::RsaPrivateKey> key;
  std::shared_ptr<const crypto::RsaPublicKey> public_key;
};
// Of the capture: "server", "A", "B", "stranger" (whose id the hub does not know).
const Person& person(const std::string& name);
ClientId id_of(const std::string& name);  // "A", "B", "unknown-id", "unknown-recipient-target"

// A stand-in for RSA that costs nothing: blocks of the same sizes, which open with the right key
// only and show damage. Anybody who has the public key can make them, as with RSA.
JobResult run_cheap(const Job& job);
using Runner = std::function<JobResult(const Job&)>;

std::shared_ptr<HubOptions> hub_options();
ClientOptions client_options(const std::string& name, HubKind kind = HubKind::kAny);

struct HubEnd {
  explicit HubEnd(std::shared_ptr<const HubOptions> options, SteadyTime at = {},
                  std::uint64_t seed = 1)
      : random(seed), now(at), core(std::move(options), random, at, kWall) {}
  // Runs the jobs, answers what the core asks, and keeps the other events.
  void settle();
  template <class T>
  std::vector<T> all() const {
    std::vector<T> found;
    for (const HubEvent& event : events) {
      if (const auto* one = std::get_if<T>(&event)) found.push_back(*one);
    }
    return found;
  }
  std::optional<HubStop> stopped() const {
    const auto ends = all<HubStopped>();
    return ends.empty() ? std::nullopt : std::optional(ends.back().reason);
  }

  SeededRandom random;
  SteadyTime now;
  HubConnection core;
  Runner runner = run_cheap;
  std::map<ClientId, ClientKind> listed = {{id_of("A"), ClientKind::kSealane},
                                           {id_of("B"), ClientKind::kSealane}};
  bool admits = true;  // at once
  std::uint64_t highest_ref = 0;
  std::vector<HubEvent> events;
};

struct ClientEnd {
  explicit ClientEnd(ClientOptions options, SteadyTime at = {}, std::uint64_t seed = 2)
      : random(seed), now(at), core(std::move(options), random, at, kWall) {}
  void settle();
  template <class T>
  std::vector<T> all() const {
    std::vector<T> found;
    for (const ClientEvent& event : events) {
      if (const auto* one = std::get_if<T>(&event)) found.push_back(*one);
    }
    return found;
  }
  std::optional<ClientStop> stopped() const {
    const auto ends = all<ClientStopped>();
    return ends.empty() ? std::nullopt : std::optional(ends.back().reason);
  }

  SeededRandom random;
  SteadyTime now;
  ClientConnection core;
  Runner runner = run_cheap;
  std::vector<ClientEvent> events;
};

// All output of an end, taken as if it had been sent.
template <class End>
Bytes take_output(End& end) {
  Bytes out;
  end.settle();
  for (ByteSpan next = end.core.next_output(); !next.empty(); next = end.core.next_output()) {
    out.insert(out.end(), next.begin(), next.end());
    end.core.output_sent(next.size());
  }
  end.settle();
  return out;
}
// Hands bytes in by pieces of at most `cut`; returns what was not taken.
template <class End>
std::size_t give(End& end, ByteSpan bytes, std::size_t cut = 65536) {
  while (!bytes.empty() && end.core.wants_input()) {
    const std::size_t taken = end.core.receive(bytes.first(std::min(cut, bytes.size())), end.now);
    bytes = bytes.subspan(taken);
    end.settle();
    if (taken == 0) break;
  }
  return bytes.size();
}
// Cuts whole frames out of what an end sent.
std::vector<Bytes> frames_of(ByteSpan stream);

// Moves bytes both ways until nothing moves. Both at one time.
void pump(HubEnd& hub, ClientEnd& client, std::size_t cut = 65536);
// Both ends, pumped: what a login gives.
struct Pair {
  Pair(std::shared_ptr<const HubOptions> how, ClientOptions who, std::size_t cut = 65536,
       const Runner& runner = run_cheap);
  Pair(std::shared_ptr<const HubOptions> how, ClientOptions who, ClientKind kind);
  void go(std::size_t cut = 65536) { pump(hub, client, cut); }
  // Moves time on in both, step by step, through all deadlines.
  void pass(std::chrono::nanoseconds time);
  HubEnd hub;
  ClientEnd client;
};

Bytes content_of(std::string_view data, bool sealed = false);

}  // namespace sealane::hub::testing
