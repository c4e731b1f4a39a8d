#pragma once
// HubConnection: the hub's side of one connection, without I/O, clock or threads. A stream core
// (base/core.h). Format and rules: docs/protocol/hub.md.
//
// Life: construct: the challenge is output. The client's response gives LookUp; answer with known()
// or unknown(). A proven client gives Login; register its route, then admit(), or refuse(). Then
// Ready, and messages both ways, until Stopped, which is the last event: close after the output.
//
// Jobs: each Job event must come back by job_done(), in the order of the numbers.
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/core.h"
#include "hub/config.h"
#include "hub/extension.h"
#include "hub/ids.h"
#include "hub/jobs.h"
#include "hub/message.h"
#include "sealane/base/bytes.h"
#include "sealane/base/result.h"
#include "sealane/base/seams.h"

namespace sealane::hub {

// What a client is listed as. It decides what is accepted of it before an upgrade.
enum class ClientKind : std::uint8_t {
  kSealane = 1,  // must upgrade: clear frames of it, which anybody can forge, are never taken
  kLegacy,       // may upgrade; until it does, it is served as the Python client
};

// Shared by the connections of a hub; immutable.
struct HubOptions {
  using Duration = std::chrono::nanoseconds;
  // The hub's key. Required.
  std::shared_ptr<const crypto::RsaPrivateKey> key;
  std::string key_pem;  // its public half as PEM, sent in the challenge; key->public_key().to_pem()

  std::size_t challenge_size = kDefaultChallenge;          // bytes; kMinChallenge .. kMaxChallenge
  bool bound_challenge = true;                             // its data name the hub's key
  bool offer_upgrade = true;                               // bb_ext in CONFIG
  Features features = kAllFeatures;                        // offered; kAead is always among them
  Duration login_timeout = std::chrono::seconds(10);       // from accept to a proven client
  Duration upgrade_timeout = std::chrono::seconds(10);     // of a kSealane client, from CONFIG
  Duration heartbeat_interval = std::chrono::seconds(20);  // announced
  Duration heartbeat_timeout = std::chrono::seconds(60);   // announced
  // Unset: max(heartbeat_timeout, interval + 5 s), of legacy clients at least 35 s.
  std::optional<Duration> idle_limit;
  std::vector<std::pair<std::string, std::string>> other_settings;  // CONFIG members, JSON text
  crypto::PssSalt pss_verify = crypto::PssSalt::kAny;
  ShortTime short_time = ShortTime::kExtend;
  bool stop_on_bad_frame = true;              // tell a client whose frame does not open; then close
  bool pace_legacy = true;                    // see paced()
  std::size_t legacy_data_limit = 8 * 1024;   // of one C2C to a legacy client that reads once
  std::size_t send_queue_limit = 256 * 1024;  // bytes of output; deliver() is kBusy above it
  std::uint64_t frames_per_second = 0;        // of one client; 0: no limit. More is left unread
  std::uint64_t frames_burst = 1000;
  Duration stall_limit = std::chrono::seconds(30);  // output that does not move at all

  static constexpr std::size_t kDefaultChallenge = 2048;
  static constexpr std::size_t kMinChallenge = 82;      // a bound one
  static constexpr std::size_t kMaxChallenge = 60'000;  // fits a frame with any key
};
// What is wrong with them, as a clause for a sentence; nothing if all is well.
std::optional<std::string> problem_with(const HubOptions& options);

enum class HubStop : std::uint8_t {
  kByClient = 1,    // STOP
  kRequested,       // stop() here
  kRefused,         // refuse() here
  kEnd,             // FIN without STOP
  kLoginTimeout,    // nothing, or not all of a response, in time
  kLoginFailed,     // unknown id, wrong signature, anything but a response: they look alike
  kUpgradeTimeout,  // a kSealane client without a valid answer
  kUpgradeFailed,   // an answer that does not verify
  kIdle,            // nothing came within the idle limit
  kBadFrame,        // what does not open: damaged, forged, replayed
  kStalled,         // it reads nothing of what waits for it
};
std::string_view describe(HubStop reason);

struct LookUp {  // who is that? known() or unknown()
  ClientId id;
};
struct Login {  // proven; admit() or refuse()
  ClientId id;
};
struct Ready {                  // takes messages from now on
  Features features;            // empty: not upgraded
  std::size_t max_content = 0;  // of one deliver(), in bytes of content
};
struct Submitted {  // a message of the client
  ClientId to;
  std::optional<SenderRef> ref;
  Bytes content;  // encoded Content
};
struct Acknowledged {  // the client has that one and all before it (Feature::kReceipts)
  DeliveryId id{};
};
struct HandedOver {  // has left towards a client that does not acknowledge
  DeliveryId id{};
};
struct PresenceAsked {
  PresenceMessage request;
};
struct StatusAsked {};
struct Writable {};  // deliver() was kBusy; try again
struct HubStopped {
  HubStop reason = HubStop::kRequested;
  std::string text;  // the client's reason with kByClient; untrusted
};
using HubEvent = std::variant<Job, LookUp, Login, Ready, Submitted, Acknowledged, HandedOver,
                              PresenceAsked, StatusAsked, Writable, HubStopped>;

enum class DeliverError : std::uint8_t {
  kNotOpen = 1,  // not ready yet, or stopping
  kBusy,         // the client does not read fast enough; Writable follows
  kTooLarge,     // more than its key, or a legacy client, carries
};

struct HubCounters {
  std::uint64_t frames_in = 0;
  std::uint64_t frames_out = 0;
  std::uint64_t messages_in = 0;   // Submitted
  std::uint64_t messages_out = 0;  // deliver()
  std::uint64_t zero_frames = 0;
  // Discarded, never answered:
  std::uint64_t undecodable = 0;   // no message of ours, or a format or type that is unknown
  std::uint64_t out_of_scope = 0;  // decodable, and not for this direction, state or feature
  std::uint64_t clear = 0;         // clear frames of a kSealane client before its upgrade
};

// Not thread-safe: one strand. `now` never goes back.
class HubConnection {
 public:
  using Event = HubEvent;
  static constexpr std::size_t kMaxJobs = 16;        // under way; bounds memory: input waits
  static constexpr std::size_t kMaxLoginBlocks = 8;  // RSA work for who has proven nothing
  static constexpr std::size_t kMaxAnswers = 8;      // of a kSealane client: bounds forged ones
  static constexpr std::size_t kMaxEvents = 256;     // waiting; input waits

  // `options` and `random` must outlive it. `wall` is the time for what is sent; only `now` moves
  // deadlines. REQUIRES: !problem_with(options).
  HubConnection(std::shared_ptr<const HubOptions> options, RandomSource& random, SteadyTime now,
                WallTime wall);
  ~HubConnection();
  HubConnection(HubConnection&&) noexcept;
  HubConnection& operator=(HubConnection&&) = delete;

  // ---- the core's shape ----
  std::size_t receive(ByteSpan bytes, SteadyTime now);
  void on_end(SteadyTime now);
  ByteSpan next_output();
  void output_sent(std::size_t size);
  std::optional<Event> next_event();
  std::optional<SteadyTime> deadline() const;
  void on_deadline(SteadyTime now);
  bool wants_input() const;
  // REQUIRES: the number is the next one.
  void job_done(JobResult result, SteadyTime now);

  // The Python peer reads a frame with one call and is lost when only part of it is there. While
  // this is true next_output() is one whole frame, and must be written in one call, and only while
  // the kernel holds nothing unacknowledged (SIOCOUTQ is 0).
  bool paced() const;

  // ---- answers ----
  // To LookUp. An unknown id costs the same work as a wrong signature.
  void known(std::shared_ptr<const crypto::RsaPublicKey> key, ClientKind kind, SteadyTime now);
  void unknown(SteadyTime now);
  // To Login. `highest_ref`: see ReadyMessage. Sends CONFIG: the route must be there before.
  void admit(std::uint64_t highest_ref, SteadyTime now);
  void refuse(std::string_view reason, SteadyTime now);  // STOP instead of CONFIG

  // ---- after Ready ----
  struct Delivery {
    DeliveryId id{};
    ClientId sender;
    std::optional<ClientId> group;
    WallTime accepted_at{};
    ByteSpan content;  // encoded Content
  };
  Result<void, DeliverError> deliver(const Delivery& delivery, SteadyTime now);
  // False: the client has no such feature, or is not ready; nothing was sent.
  bool tell(const ReceiptMessage& receipt, SteadyTime now);
  bool tell(const RefusalMessage& refusal, SteadyTime now);
  bool tell(const StatesMessage& states, SteadyTime now);  // REQUIRES: at most kMaxStates
  bool tell(const HubStatusMessage& status, SteadyTime now);
  // New announced times, and settings; flat members only, as legacy clients need it. False: not
  // ready; nothing was sent.
  bool configure(const Config& config, SteadyTime now);
  // The gateway slows a client down: nothing is read of it until then.
  void pause_input(SteadyTime until);
  // STOP, then the end. In any state; before a proven login without a frame.
  void stop(std::string_view reason, SteadyTime now);

  const HubCounters& counters() const;
  std::optional<ClientId> client() const;  // once proven
  std::size_t output_size() const;         // bytes that wait

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};
static_assert(StreamCore<HubConnection>);

}  // namespace sealane::hub
