#pragma once
// What a mailbox talks about: clients, messages, receipts, notices. Nothing here belongs to a wire
// format; gateways translate.
#include <array>
#include <chrono>
#include <compare>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "sealane/base/bytes.h"
#include "sealane/base/seams.h"

namespace sealane::mailbox {

// An address: of one client, or of a group. Which bytes they are is the gateway's affair.
struct ClientId {
  static constexpr std::size_t kSize = 16;
  ByteArray<kSize> bytes{};
  friend bool operator==(const ClientId&, const ClientId&) = default;
  friend auto operator<=>(const ClientId&, const ClientId&) = default;
};
std::string to_text(const ClientId& id);  // 8-4-4-4-12 lower-case hex digits
// That, or 32 hex digits, either case.
std::optional<ClientId> parse_client_id(std::string_view text);

// Grows with every message of a mailbox, over all its starts. The recipient who remembers the
// highest one it took can tell what comes a second time.
enum class MessageId : std::uint64_t {};
// A sender's own number of a message; grows with every message of that sender. Giving one asks for
// receipts, and makes a message that is handed in twice arrive once.
enum class SenderRef : std::uint64_t {};
enum class SessionId : std::uint64_t {};

struct Message {
  MessageId id{};
  ClientId sender = {};
  ClientId recipient = {};
  std::optional<ClientId> group = {};  // the address that it was sent to, where that is a group
  std::optional<SenderRef> ref = {};
  WallTime accepted_at = {};
  std::chrono::nanoseconds lifetime{};     // in the queue, from accepted_at
  std::shared_ptr<const Bytes> data = {};  // never null; shared by the copies of a group
};

// Why a message was not taken, or did not arrive. Gateways send these numbers.
enum class Refusal : std::uint8_t {
  kUnknown = 1,  // nobody has that address
  kOffline,      // known, away, and nothing is kept for it
  kQueueFull,    // the recipient's queue, or all queues together
  kDenied,       // the sender has no right to
  kTooLarge,     // above the limit, or more than the recipient's connection carries
  kStorage,      // the queue's disk took it not; nothing was kept
  kExpired,      // it waited for its whole lifetime
  kStaleRef,     // its number is too old to tell whether it came before
};
std::string_view describe(Refusal refusal);  // a clause for a sentence
std::string_view name_of(Refusal refusal);   // for counters: "queue_full"

// Gateways send these numbers.
enum class ReceiptKind : std::uint8_t {
  kAccepted = 1,  // the hub has it; with a durable queue it is on the disk
  kReceived,      // the recipient has acknowledged it
  kPassedOn,      // written to a recipient that does not acknowledge
};

// What a session is given, in this order of preference.
struct Receipt {
  ReceiptKind kind = ReceiptKind::kAccepted;
  SenderRef ref{};
  ClientId recipient;  // of kAccepted: the address that it was sent to
};
struct ErrorNotice {
  Refusal refusal = Refusal::kUnknown;
  std::optional<SenderRef> ref = {};
  ClientId recipient = {};
};
struct PresenceNotice {
  ClientId client;
  bool online = false;
  WallTime since;  // of the last change; the mailbox's start if there was none
};
using Item = std::variant<Receipt, ErrorNotice, PresenceNotice, Message>;

enum class EndReason : std::uint8_t {
  kReplaced = 1,  // the same client came again
  kRemoved,       // the client is no longer known
  kSlow,          // it does not read what it asked for
};
std::string_view describe(EndReason reason);

enum class AuditKind : std::uint8_t {
  kClientAdded = 1,
  kClientRemoved,
  kOnline,
  kOffline,
  kReplaced,      // a second login of one client
  kRefusedLogin,  // a second login, refused
  kRefused,       // a message; the reason stands beside it
  kExpired,       // a message
  kStoreFailed,   // the disk of the queue
};
std::string_view describe(AuditKind kind);

}  // namespace sealane::mailbox
