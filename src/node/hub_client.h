#pragma once
// HubClient: a client of a Backbone hub on this machine, which stays connected: logs in, dials
// again with a back-off, hands in again what the hub has not accepted. One thread of its own.
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "hub/client_connection.h"
#include "sealane/base/network.h"
#include "sealane/base/result.h"
#include "sealane/base/seams.h"

namespace sealane::node {

struct HubClientOptions {
  Address hub;                    // tcp:HOST:PORT; of a name's addresses the first that answers
  hub::ClientOptions connection;  // id, key, pin, trust
  // Asked on this client's thread where trust is kAsk; and told of a new key with kAcceptNew. A
  // false ends it; after a true it is the pinned one. Not called with kStrict.
  std::function<bool(const crypto::Sha256Digest&)> new_key;
  bool reconnect = true;  // after a login that worked once; before, the first failure is the end
  std::chrono::nanoseconds connect_timeout = std::chrono::seconds(20);
  std::chrono::nanoseconds first_pause = std::chrono::milliseconds(200);
  std::chrono::nanoseconds longest_pause = std::chrono::seconds(30);
};

// Of one send(). Grows.
enum class HubTicket : std::uint64_t {};

struct HubOnline {
  hub::Features features;    // empty: a legacy hub
  std::size_t max_data = 0;  // of one send(): in parts, where the hub knows them
};
struct HubOffline {
  Error why;
  bool final = false;  // it will not try again
};
struct HubMessage {
  hub::Incoming message;
};
struct HubSent {  // how far a send() came
  HubTicket ticket{};
  hub::ReceiptKind kind = hub::ReceiptKind::kAccepted;
};
struct HubRefused {  // by the hub, or here, because the hub could not take it
  std::optional<HubTicket> ticket;
  hub::ClientId recipient;
  std::string_view why;  // a clause for a sentence; lives for ever
};
struct HubStates {
  std::vector<hub::ClientState> states;
};
struct HubStatus {
  hub::HubStatusMessage status;
};
using HubClientEvent =
    std::variant<HubOnline, HubOffline, HubMessage, HubSent, HubRefused, HubStates, HubStatus>;

// Thread-safe, but for its destruction.
class HubClient {
 public:
  static constexpr std::size_t kMaxOutbox = 1024;  // messages and parts that no hub has accepted:
                                                   // send() waits for no one, it says that it is
                                                   // full
  static constexpr std::size_t kWindow = 512;      // of them under way; below what a hub remembers
  static constexpr std::size_t kMaxEvents = 1024;  // not taken yet; then nothing more is read

  // `clock` and `random` must outlive it.
  static std::unique_ptr<HubClient> start(Clock& clock, RandomSource& random,
                                          HubClientOptions options);
  virtual ~HubClient() = default;

  // The next event, or nothing by then.
  virtual std::optional<HubClientEvent> next(SteadyTime deadline) = 0;
  // Queues it; HubSent and HubRefused tell the rest, of a message in parts once for all of them. To
  // a legacy hub it goes once and kPassedOn is all there is to know. Nothing: the outbox is full.
  virtual std::optional<HubTicket> send(const hub::ClientId& to, Bytes data) = 0;
  virtual std::size_t waiting() const = 0;  // messages that no hub has accepted; 0 .. kMaxOutbox
  // Has been dealt with, as all that came before it: the hub may forget them.
  virtual void received(hub::DeliveryId id) = 0;
  virtual void ask(const hub::PresenceMessage& request) = 0;  // again after each reconnect
  virtual void ask_status() = 0;
  // STOP, and its answer or some seconds.
  virtual void stop() = 0;

 protected:
  HubClient() = default;
};

// What a stopped connection means to a person. `shown`: the key that the hub showed.
Error to_error(const hub::ClientStopped& stopped, const Address& hub,
               const std::optional<crypto::Sha256Digest>& shown = {});

}  // namespace sealane::node
