#pragma once
// ClientConnection: a client's side of one connection, without I/O, clock or threads. A stream core
// (base/core.h). Format and rules: docs/protocol/hub.md.
//
// Life: construct; the hub's challenge gives HubOffered, to be answered by trust_hub() where the
// pin says so; then the login; ClientReady; messages both ways; ClientStopped, the last event.
// Jobs as in hub_connection.h.
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

// What the hub is known to be. It decides which rules are mandatory.
enum class HubKind : std::uint8_t {
  kSealane = 1,  // bound challenge and upgrade, or nothing
  kAny,          // whatever it offers; a bound challenge is checked, an upgrade is taken
  kLegacy,       // as the Python client: extensions are not used
};

// What to do with the key that a hub shows.
enum class HubTrust : std::uint8_t {
  kStrict = 1,  // only the pinned one
  kAcceptNew,   // without a pin: take it, and tell
  kAsk,         // without a pin: HubOffered waits for trust_hub()
};

struct ClientOptions {
  using Duration = std::chrono::nanoseconds;
  ClientId id;
  std::shared_ptr<const crypto::RsaPrivateKey> key;  // of this hub alone. Required
  HubKind hub_kind = HubKind::kAny;
  HubTrust trust = HubTrust::kStrict;
  std::optional<crypto::Sha256Digest> pin;  // of the hub's key: RsaPublicKey::fingerprint()
  Features features = kAllFeatures;         // accepted
  Duration login_timeout = std::chrono::seconds(20);  // a Python hub logs in one at a time
  // At most between two frames to a legacy hub, which gives up after 30 s whatever it announced.
  // Unset: as announced.
  std::optional<Duration> heartbeat_cap = std::chrono::seconds(10);
  Duration stop_timeout = std::chrono::seconds(2);  // from STOP to the hub's answer
  // Nothing from an upgraded hub for so long: dead. It is asked (PING) at half of it.
  Duration silence_limit = std::chrono::seconds(60);
  ShortTime short_time = ShortTime::kExtend;
  bool allow_empty = false;  // C2C without data to a legacy hub: it disconnects the recipient
  bool pace_legacy = true;   // see HubConnection::paced()
  std::size_t legacy_data_limit = 8 * 1024;  // of one C2C to a hub that reads once
  // Of challenges without magic: shorter ones could be foreseen. Python hubs send 2048, or 1024.
  std::size_t min_challenge = 32;
  std::size_t send_queue_limit = 1024 * 1024;  // bytes of output; send() is kBusy above it
};
std::optional<std::string> problem_with(const ClientOptions& options);

enum class ClientStop : std::uint8_t {
  kByHub = 1,  // STOP, with its reason
  kRequested,  // stop() here, and the hub answered or was given time to
  kEnd,        // FIN without STOP
  kLoginTimeout,
  kLoginRefused,      // the hub closed, or said STOP, instead of CONFIG
  kAlreadyConnected,  // CONFIG, then FIN at once: a Python hub has a session of that id
  kRecipientOffline,  // STOP soon after a C2C: a Python hub's way to say so
  kPinMismatch,       // another key than the pinned one
  kHubNotTrusted,     // no pin, and nobody said yes
  kInterception,      // the bound challenge names another key than the one that was offered
  kBadChallenge,      // no key, too short, or data that a client must not sign
  kNotSealane,        // hub_kind is kSealane, and it is not
  kUpgradeFailed,     // its upgraded frames do not open
  kBadFrame,          // what does not open, or a size that cannot be
  kSilent,            // nothing within silence_limit
};
std::string_view describe(ClientStop reason);

struct HubOffered {
  crypto::Sha256Digest fingerprint{};
  bool pinned = false;  // the pinned one; else new
  bool asks = false;    // waits for trust_hub()
  bool bound = false;   // its challenge says that it is a Sealane hub
};
struct ClientReady {
  Features features;              // empty: a legacy hub, or not upgraded
  std::uint64_t highest_ref = 0;  // that the hub ever took of this client; with kReceipts
  std::size_t max_data = 0;       // of one send() that is not cut into parts
};
struct Incoming {
  std::optional<DeliveryId> id;    // of an upgraded hub; received() expects it
  std::optional<ClientId> sender;  // by the hub's word; nobody's on the legacy wire
  std::optional<ClientId> group;
  std::optional<WallTime> accepted_at;
  bool sealed = false;  // both connections were; otherwise somebody else may have said it
  std::optional<Part> part;
  Bytes data;
};
struct Receipt {
  ReceiptMessage receipt;
};
struct Refused {
  RefusalMessage refusal;
};
struct StatesTold {
  std::vector<ClientState> states;
};
struct HubStatusTold {
  HubStatusMessage status;
};
struct ConfigTold {  // the hub's settings changed
  Config config;
};
struct Ponged {
  std::chrono::nanoseconds round_trip{};
};
struct ClientWritable {};  // send() was kBusy; try again
struct ClientStopped {
  ClientStop reason = ClientStop::kRequested;
  std::string text;  // the hub's reason with kByHub and kLoginRefused; untrusted
};
using ClientEvent =
    std::variant<Job, HubOffered, ClientReady, Incoming, Receipt, Refused, StatesTold,
                 HubStatusTold, ConfigTold, Ponged, ClientWritable, ClientStopped>;

enum class SendError : std::uint8_t {
  kNotOpen = 1,
  kBusy,       // ClientWritable follows
  kTooLarge,   // more than one frame carries; cut it into parts where the hub knows them
  kEmpty,      // to a legacy hub: its recipient would be disconnected
  kNoFeature,  // a part, or a ref, and the hub does not know them
};
std::string_view describe(SendError error);

struct ClientCounters {
  std::uint64_t frames_in = 0;
  std::uint64_t frames_out = 0;
  std::uint64_t messages_in = 0;
  std::uint64_t messages_out = 0;
  std::uint64_t zero_frames = 0;
  std::uint64_t undecodable = 0;
  std::uint64_t out_of_scope = 0;
  std::uint64_t clear = 0;  // clear frames of a hub that must be, or is, upgraded
};

// Not thread-safe: one strand. `now` never goes back.
class ClientConnection {
 public:
  using Event = ClientEvent;
  static constexpr std::size_t kMaxJobs = 16;     // under way; bounds memory: input waits
  static constexpr std::size_t kMaxEvents = 256;  // waiting; input waits

  // REQUIRES: !problem_with(options).
  ClientConnection(ClientOptions options, RandomSource& random, SteadyTime now, WallTime wall);
  ~ClientConnection();
  ClientConnection(ClientConnection&&) noexcept;
  ClientConnection& operator=(ClientConnection&&) = delete;

  std::size_t receive(ByteSpan bytes, SteadyTime now);
  void on_end(SteadyTime now);
  ByteSpan next_output();
  void output_sent(std::size_t size);
  std::optional<Event> next_event();
  std::optional<SteadyTime> deadline() const;
  void on_deadline(SteadyTime now);
  bool wants_input() const;
  void job_done(JobResult result, SteadyTime now);
  bool paced() const;

  void trust_hub(bool yes, SteadyTime now);  // REQUIRES: HubOffered::asks

  struct Outgoing {
    ClientId to;
    std::optional<SenderRef> ref;  // REQUIRES: above every one before
    std::optional<Part> part;
    ByteSpan data;
  };
  Result<void, SendError> send(const Outgoing& message, SteadyTime now);
  // Has that one and all before it, so that the hub may forget them.
  bool received(DeliveryId id, SteadyTime now);
  bool ask(const PresenceMessage& request, SteadyTime now);  // REQUIRES: at most kMaxIds
  bool ask_status(SteadyTime now);
  bool ping(SteadyTime now);
  void stop(SteadyTime now);  // STOP, its answer, the end

  const ClientCounters& counters() const;
  std::size_t output_size() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};
static_assert(StreamCore<ClientConnection>);

}  // namespace sealane::hub
