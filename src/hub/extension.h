#pragma once
// Extension messages: what Sealane ends say to each other beyond Backbone, in sealed frames only.
// Format 3 of the first byte. Format: docs/protocol/hub.md, "Extension messages". Big-endian.
//
//   SEND      30  to 16, ref 8, content            client: a message; ref 0: no receipts
//   MESSAGE   31  id 8, time 8, sender 16, flags 1, [group 16], content
//                                                  hub: the message; flags bit 0: through a group
//   RECEIVED  32  id 8                             client: has that one and all before it
//   RECEIPT   33  kind 1, ref 8, recipient 16      hub: how far a message came
//   REFUSAL   34  reason 1, ref 8, recipient 16    hub: why it goes no further; ref 0: none
//   PRESENCE  35  action 1, n x (id 16)            client: asks about others
//   STATES    36  n x (id 16, online 1, since 8)   hub: how they are
//   QUERY     37                                   client: asks about the hub
//   HUB       38  started 8, known 4, online 4, queued 8     hub: how it is
//   PING      39  token 8                          either: answer at once
//   PONG      3A  token 8                          either: with the same token
//   READY     3B  highest ref 8, limit 4           hub: first sealed frame
//
// Times are milliseconds since 1970.
//
// Content: what the hub keeps and passes on without looking into it.
//   offset  size  field
//        0     1  flags  bit 0: a part; bit 1: the sender's connection was sealed (the hub's word)
//        1   [16] whole 8, index 4, count 4: only of a part
//           rest  data
#include <cstdint>
#include <optional>
#include <string_view>
#include <variant>
#include <vector>

#include "hub/ids.h"
#include "sealane/base/bytes.h"
#include "sealane/base/result.h"
#include "sealane/base/seams.h"

namespace sealane::hub {

std::uint64_t to_ms(WallTime time);  // since 1970; 0 before
// Times beyond what a WallTime holds are as late as it can say.
WallTime from_ms(std::uint64_t ms);

// One part of a message that is larger than a frame.
struct Part {
  static constexpr std::size_t kEncodedSize = 16;
  static constexpr std::uint32_t kMaxCount = 4096;  // bounds a recipient's table
  std::uint64_t whole = 0;                          // the same for all parts; the first one's ref
  std::uint32_t index = 0;                          // below count
  std::uint32_t count = 0;                          // 1 .. kMaxCount
  friend bool operator==(const Part&, const Part&) = default;
};
struct Content {
  std::optional<Part> part;
  bool sealed = false;  // what was said in clear frames may have been said by somebody else
  Bytes data;
  friend bool operator==(const Content&, const Content&) = default;
};
Bytes encode(const Content& content);
std::optional<Content> decode_content(ByteSpan bytes);  // nothing: flags that are unknown, cut
// The same without a copy of the data, which begin at `size`.
struct ContentHead {
  std::optional<Part> part;
  bool sealed = false;
  std::size_t size = 0;
};
std::optional<ContentHead> decode_content_head(ByteSpan bytes);
// REQUIRES: decode_content_head(content).
void set_sealed(MutableByteSpan content, bool sealed);

struct SendMessage {
  ClientId to;
  std::optional<SenderRef> ref;
  Bytes content;
  static constexpr std::size_t kHeaderSize = 1 + 16 + 8;
  friend bool operator==(const SendMessage&, const SendMessage&) = default;
};
struct DeliveryMessage {
  DeliveryId id{};
  std::uint64_t time_ms = 0;  // when the hub took it
  ClientId sender;
  std::optional<ClientId> group;  // the address that it was sent to, where that is a group
  Bytes content;
  static constexpr std::size_t kMaxHeaderSize = 1 + 8 + 8 + 16 + 1 + 16;
  friend bool operator==(const DeliveryMessage&, const DeliveryMessage&) = default;
};
struct ReceivedMessage {
  DeliveryId id{};
  friend bool operator==(const ReceivedMessage&, const ReceivedMessage&) = default;
};
using mailbox::ReceiptKind;  // its numbers are those of the wire
struct ReceiptMessage {
  ReceiptKind kind = ReceiptKind::kAccepted;
  SenderRef ref{};
  ClientId recipient;
  friend bool operator==(const ReceiptMessage&, const ReceiptMessage&) = default;
};
using RefusalReason = mailbox::Refusal;  // likewise
struct RefusalMessage {
  RefusalReason reason = RefusalReason::kUnknown;
  std::optional<SenderRef> ref;
  ClientId recipient;
  friend bool operator==(const RefusalMessage&, const RefusalMessage&) = default;
};
enum class PresenceAction : std::uint8_t {
  kList = 1,   // once: how everybody is
  kSubscribe,  // to the ids: how they are, and every change
  kSubscribeAll,
  kUnsubscribe,  // from all
};
struct PresenceMessage {
  static constexpr std::size_t kMaxIds = 1000;  // bounds one subscription
  PresenceAction action = PresenceAction::kList;
  std::vector<ClientId> ids;  // of kSubscribe only
  friend bool operator==(const PresenceMessage&, const PresenceMessage&) = default;
};
struct ClientState {
  static constexpr std::size_t kEncodedSize = 16 + 1 + 8;
  ClientId client;
  bool online = false;
  std::uint64_t since_ms = 0;
  friend bool operator==(const ClientState&, const ClientState&) = default;
};
struct StatesMessage {
  static constexpr std::size_t kMaxStates = 2000;  // fits a frame
  std::vector<ClientState> states;
  friend bool operator==(const StatesMessage&, const StatesMessage&) = default;
};
struct QueryMessage {
  friend bool operator==(const QueryMessage&, const QueryMessage&) = default;
};
struct HubStatusMessage {
  std::uint64_t started_ms = 0;
  std::uint32_t known = 0;
  std::uint32_t online = 0;
  std::uint64_t queued = 0;  // messages
  friend bool operator==(const HubStatusMessage&, const HubStatusMessage&) = default;
};
struct PingMessage {
  std::uint64_t token = 0;
  friend bool operator==(const PingMessage&, const PingMessage&) = default;
};
struct PongMessage {
  std::uint64_t token = 0;
  friend bool operator==(const PongMessage&, const PongMessage&) = default;
};
struct ReadyMessage {
  std::uint64_t highest_ref = 0;  // that the hub ever took of this client; 0: none
  std::uint32_t limit = 0;        // largest content of one SEND
  friend bool operator==(const ReadyMessage&, const ReadyMessage&) = default;
};
using ExtensionMessage = std::variant<SendMessage, DeliveryMessage, ReceivedMessage, ReceiptMessage,
                                      RefusalMessage, PresenceMessage, StatesMessage, QueryMessage,
                                      HubStatusMessage, PingMessage, PongMessage, ReadyMessage>;

enum class ExtensionError : std::uint8_t { kUnknownType = 1, kMalformed };

inline bool is_extension(ByteSpan plain) {
  return !plain.empty() && (plain[0] & std::byte{0xf0}) == std::byte{0x30};
}
Bytes encode(const ExtensionMessage& message);
// Accepts exactly what encode() writes. REQUIRES: is_extension(plain).
Result<ExtensionMessage, ExtensionError> decode_extension(ByteSpan plain);

}  // namespace sealane::hub
