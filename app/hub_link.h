#pragma once
// What send, listen and chat share: flags, the hub file, pins, contacts, and one loop over the hub
// and the sealed sessions behind it.
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "app/command.h"
#include "node/hub_client.h"
#include "node/hub_profile.h"
#include "node/sealed_peers.h"
#include "sealane/identity/trust.h"

namespace sealane::app {

struct HubLinkFlags {
  std::string hub;  // the file of `hub enrol`
  std::string trust_hub = "strict";
  std::string trust;  // pinned identities
  std::string identity;
  std::string passphrase_file;
  bool legacy = false;
  void add_to(std::vector<Option>& options);
};

// Something that came from another client.
struct HubArrival {
  hub::ClientId from;
  std::string name;     // as pinned; else the id; "unknown" on the legacy wire
  bool sealed = false;  // end to end, by the pinned identity
  Bytes data;
  std::optional<hub::DeliveryId> id;    // of a message in the clear: to be acknowledged
  std::optional<WallTime> accepted_at;  // likewise, by the hub
  std::optional<hub::Part> part;        // of a message in the clear that comes in parts
};
struct HubPresence {
  hub::ClientId client;
  std::string name;
  bool online = false;
};
struct HubSealedEnd {
  hub::ClientId peer;
  std::string why;
};
using HubLinkEvent =
    std::variant<HubArrival, HubPresence, HubSealedEnd, node::HubOnline, node::HubOffline,
                 node::HubSent, node::HubRefused, node::HubStatus>;

class HubLink {
 public:
  static Result<std::unique_ptr<HubLink>, Error> open(Context& context, const HubLinkFlags& flags);
  ~HubLink();

  // A name of the pinned identities, or an id.
  Result<hub::ClientId, Error> resolve(const std::string& name) const;
  std::string name_of(const hub::ClientId& id) const;
  bool is_pinned(const hub::ClientId& id) const { return pinned_.contains(id); }
  bool upgraded() const { return upgraded_; }
  std::size_t max_plain() const { return max_plain_; }  // of one message in the clear, once online
  const node::HubProfile& profile() const { return profile_; }
  std::string own_fingerprint() const;
  // Of this client at this hub: the name of a file, or of a directory, where it keeps something.
  std::string state_path(const std::string& kind) const;

  // Until one comes, the deadline passes or the command is cancelled; sealed sessions go on.
  std::optional<HubLinkEvent> next(SteadyTime deadline);
  // Until the hub let us in.
  Result<void, Error> wait_online(std::chrono::nanoseconds patience);
  void watch(const std::vector<hub::ClientId>& clients);  // presence of those, or of everybody
  void ask_status() { client_->ask_status(); }            // node::HubStatus follows
  // In the clear; nothing: try again after next().
  std::optional<node::HubTicket> send_plain(const hub::ClientId& to, Bytes data);
  bool send_sealed(const hub::ClientId& to, ByteSpan data);
  bool wants_sealed(const hub::ClientId& to) const { return sealed_->wants(to); }
  // The message has been dealt with. The hub is told once all before it are, too: its word for one
  // is a word for all.
  void received(hub::DeliveryId id);
  // Ends sealed sessions with a word, then the connection.
  void close();

 private:
  explicit HubLink(Context& context) : context_(context) {}
  // So many wait for received() and the hub gives no more: then whoever does not take them ends.
  static constexpr std::size_t kMaxUnanswered = 200;
  // Datagrams that the hub has not accepted. Below the first number one leaves at once, so that a
  // message alone never waits; from there only full ones do, so that many small messages cost few
  // datagrams. At the last number they wait until half of them are gone, and then go together,
  // which saves the hub and both threads here a wake-up for each.
  static constexpr std::size_t kFewUnderWay = 2;
  static constexpr std::size_t kMostUnderWay = 32;
  void pump(SteadyTime now);
  void take(node::HubClientEvent event, SteadyTime now);

  Context& context_;
  node::HubProfile profile_;
  std::map<hub::ClientId, std::pair<std::string, crypto::Ed25519Public>> pinned_;
  std::shared_ptr<const identity::SigningKey> own_;
  std::unique_ptr<node::SealedPeers> sealed_;
  std::unique_ptr<node::HubClient> client_;
  std::deque<HubLinkEvent> events_;
  std::deque<std::pair<hub::DeliveryId, bool>> unanswered_;  // as they came; dealt with
  bool upgraded_ = false;
  std::size_t max_plain_ = 0;
  bool draining_ = false;  // kMostUnderWay was reached, and not yet half of it
};

}  // namespace sealane::app
