#include "hub/extension.h"

#include <algorithm>
#include <chrono>

#include "base/byte_reader.h"

namespace sealane::hub {
namespace {

using std::chrono::milliseconds;

enum class Type : std::uint8_t {
  kSend = 0x30,
  kDelivery,
  kReceived,
  kReceipt,
  kRefusal,
  kPresence,
  kStates,
  kQuery,
  kHub,
  kPing,
  kPong,
  kReady,
};
constexpr std::uint8_t kPartFlag = 1;
constexpr std::uint8_t kSealedFlag = 2;
constexpr std::uint8_t kGroupFlag = 1;

struct Encoder {
  ByteWriter out;
  void operator()(const SendMessage& message) {
    type(Type::kSend).bytes(message.to.bytes);
    reference(message.ref).bytes(message.content);
  }
  void operator()(const DeliveryMessage& message) {
    type(Type::kDelivery).u64(static_cast<std::uint64_t>(message.id)).u64(message.time_ms);
    out.bytes(message.sender.bytes).u8(message.group ? kGroupFlag : 0);
    if (message.group) out.bytes(message.group->bytes);
    out.bytes(message.content);
  }
  void operator()(const ReceivedMessage& message) {
    type(Type::kReceived).u64(static_cast<std::uint64_t>(message.id));
  }
  void operator()(const ReceiptMessage& message) {
    type(Type::kReceipt).u8(static_cast<std::uint8_t>(message.kind));
    reference(message.ref).bytes(message.recipient.bytes);
  }
  void operator()(const RefusalMessage& message) {
    type(Type::kRefusal).u8(static_cast<std::uint8_t>(message.reason));
    reference(message.ref).bytes(message.recipient.bytes);
  }
  void operator()(const PresenceMessage& message) {
    SEALANE_CHECK(message.ids.size() <= PresenceMessage::kMaxIds);
    type(Type::kPresence).u8(static_cast<std::uint8_t>(message.action));
    for (const ClientId& id : message.ids) out.bytes(id.bytes);
  }
  void operator()(const StatesMessage& message) {
    SEALANE_CHECK(message.states.size() <= StatesMessage::kMaxStates);
    type(Type::kStates);
    for (const ClientState& state : message.states) {
      out.bytes(state.client.bytes).u8(state.online ? 1 : 0).u64(state.since_ms);
    }
  }
  void operator()(const QueryMessage&) { type(Type::kQuery); }
  void operator()(const HubStatusMessage& message) {
    type(Type::kHub).u64(message.started_ms).u32(message.known).u32(message.online);
    out.u64(message.queued);
  }
  void operator()(const PingMessage& message) { type(Type::kPing).u64(message.token); }
  void operator()(const PongMessage& message) { type(Type::kPong).u64(message.token); }
  void operator()(const ReadyMessage& message) {
    type(Type::kReady).u64(message.highest_ref).u32(message.limit);
  }

 private:
  ByteWriter& type(Type value) { return out.u8(static_cast<std::uint8_t>(value)); }
  ByteWriter& reference(std::optional<SenderRef> ref) {
    return out.u64(ref ? static_cast<std::uint64_t>(*ref) : 0);
  }
};

// Takes fields in order; after one that is missing, ok() is false and the values mean nothing.
class Fields {
 public:
  explicit Fields(ByteSpan bytes) : in_(bytes) {}
  template <class T>
  T number() {
    return take(in_.integer<T>());
  }
  ClientId client() { return ClientId{take(in_.array<ClientId::kSize>())}; }
  std::optional<SenderRef> reference() {
    const auto value = number<std::uint64_t>();
    return value == 0 ? std::nullopt : std::optional(SenderRef{value});
  }
  // An enumeration whose values are 1 to `last`.
  template <class E>
  E choice(E last) {
    const auto value = number<std::uint8_t>();
    if (value < 1 || value > static_cast<std::uint8_t>(last)) ok_ = false;
    return static_cast<E>(value);
  }
  bool flag() {
    const auto value = number<std::uint8_t>();
    if (value > 1) ok_ = false;
    return value == 1;
  }
  Bytes rest() { return to_bytes(*in_.bytes(in_.remaining())); }
  bool ok() const { return ok_; }
  bool more() const { return ok_ && !in_.empty(); }
  bool whole() const { return ok_ && in_.empty(); }
  void refuse() { ok_ = false; }

 private:
  template <class T>
  T take(const std::optional<T>& value) {
    if (!value) ok_ = false;
    return value.value_or(T{});
  }
  ByteReader in_;
  bool ok_ = true;
};

std::optional<ExtensionMessage> read(Type type, Fields& in) {
  switch (type) {
    case Type::kSend: {
      SendMessage message{.to = in.client(), .ref = in.reference(), .content = {}};
      message.content = in.rest();
      return message;
    }
    case Type::kDelivery: {
      DeliveryMessage message;
      message.id = DeliveryId{in.number<std::uint64_t>()};
      message.time_ms = in.number<std::uint64_t>();
      message.sender = in.client();
      if (in.flag()) message.group = in.client();
      message.content = in.rest();
      return message;
    }
    case Type::kReceived:
      return ReceivedMessage{DeliveryId{in.number<std::uint64_t>()}};
    case Type::kReceipt: {
      ReceiptMessage message;
      message.kind = in.choice(ReceiptKind::kPassedOn);
      const auto ref = in.reference();
      if (!ref) in.refuse();
      message.ref = ref.value_or(SenderRef{});
      message.recipient = in.client();
      return message;
    }
    case Type::kRefusal: {
      RefusalMessage message;
      message.reason = in.choice(RefusalReason::kStaleRef);
      message.ref = in.reference();
      message.recipient = in.client();
      return message;
    }
    case Type::kPresence: {
      PresenceMessage message;
      message.action = in.choice(PresenceAction::kUnsubscribe);
      while (in.more() && message.ids.size() < PresenceMessage::kMaxIds) {
        message.ids.push_back(in.client());
      }
      if (message.ids.empty() == (message.action == PresenceAction::kSubscribe)) in.refuse();
      return message;
    }
    case Type::kStates: {
      StatesMessage message;
      while (in.more() && message.states.size() < StatesMessage::kMaxStates) {
        ClientState state{.client = in.client(), .online = in.flag(), .since_ms = 0};
        state.since_ms = in.number<std::uint64_t>();
        message.states.push_back(state);
      }
      return message;
    }
    case Type::kQuery:
      return QueryMessage{};
    case Type::kHub: {
      HubStatusMessage message;
      message.started_ms = in.number<std::uint64_t>();
      message.known = in.number<std::uint32_t>();
      message.online = in.number<std::uint32_t>();
      message.queued = in.number<std::uint64_t>();
      return message;
    }
    case Type::kPing:
      return PingMessage{in.number<std::uint64_t>()};
    case Type::kPong:
      return PongMessage{in.number<std::uint64_t>()};
    case Type::kReady: {
      ReadyMessage message{.highest_ref = in.number<std::uint64_t>(), .limit = 0};
      message.limit = in.number<std::uint32_t>();
      return message;
    }
  }
  return std::nullopt;
}

}  // namespace

std::uint64_t to_ms(WallTime time) {
  const auto count = std::chrono::duration_cast<milliseconds>(time.time_since_epoch()).count();
  return count < 0 ? 0 : static_cast<std::uint64_t>(count);
}
WallTime from_ms(std::uint64_t ms) {
  constexpr auto kMax =
      std::chrono::duration_cast<milliseconds>(WallTime::max().time_since_epoch()).count();
  const auto count = std::min<std::uint64_t>(ms, static_cast<std::uint64_t>(kMax));
  return WallTime(milliseconds(static_cast<std::int64_t>(count)));
}

Bytes encode(const Content& content) {
  ByteWriter out;
  const unsigned flags = (content.part ? kPartFlag : 0u) | (content.sealed ? kSealedFlag : 0u);
  out.u8(static_cast<std::uint8_t>(flags));
  if (content.part) out.u64(content.part->whole).u32(content.part->index).u32(content.part->count);
  out.bytes(content.data);
  return out.take();
}

std::optional<ContentHead> decode_content_head(ByteSpan bytes) {
  Fields in(bytes);
  const auto flags = in.number<std::uint8_t>();
  if ((flags & ~(kPartFlag | kSealedFlag)) != 0) in.refuse();
  ContentHead head{.part = {}, .sealed = (flags & kSealedFlag) != 0, .size = 1};
  if ((flags & kPartFlag) != 0) {
    Part part;
    part.whole = in.number<std::uint64_t>();
    part.index = in.number<std::uint32_t>();
    part.count = in.number<std::uint32_t>();
    if (part.count > Part::kMaxCount || part.index >= part.count) in.refuse();
    head.part = part;
    head.size += Part::kEncodedSize;
  }
  if (!in.ok()) return std::nullopt;
  return head;
}

std::optional<Content> decode_content(ByteSpan bytes) {
  const auto head = decode_content_head(bytes);
  if (!head) return std::nullopt;
  return Content{
      .part = head->part, .sealed = head->sealed, .data = to_bytes(bytes.subspan(head->size))};
}

void set_sealed(MutableByteSpan content, bool sealed) {
  constexpr std::byte kFlag{kSealedFlag};
  content[0] = sealed ? content[0] | kFlag : content[0] & ~kFlag;
}

Bytes encode(const ExtensionMessage& message) {
  Encoder encoder;
  std::visit(encoder, message);
  return encoder.out.take();
}

Result<ExtensionMessage, ExtensionError> decode_extension(ByteSpan plain) {
  SEALANE_CHECK(is_extension(plain));
  Fields in(plain.subspan(1));
  auto message = read(Type{std::to_integer<std::uint8_t>(plain[0])}, in);
  if (!message) return ExtensionError::kUnknownType;
  if (!in.whole()) return ExtensionError::kMalformed;
  return std::move(*message);
}

}  // namespace sealane::hub
