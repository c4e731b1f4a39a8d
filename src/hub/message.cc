#include "hub/message.h"

#include "base/byte_reader.h"

namespace sealane::hub {
namespace {

constexpr std::uint8_t kC2c = 0x00;
constexpr std::uint8_t kC2s = 0x10;
constexpr std::uint8_t kS2s = 0x20;

struct Encoder {
  ByteWriter out;
  void operator()(const C2cMessage& message) {
    out.u8(kC2c).bytes(message.to.bytes).bytes(message.data);
  }
  void operator()(const C2sMessage& message) { timed(kC2s, message); }
  void operator()(const S2sMessage& message) { timed(kS2s, message); }

 private:
  template <class Timed>
  void timed(std::uint8_t format, const Timed& message) {
    out.u8(static_cast<std::uint8_t>(format | static_cast<std::uint8_t>(message.type)));
    out.u32(message.time).bytes(message.data);
  }
};

// The time and the data behind it. What is there of a short time counts as the whole number.
template <class Timed>
Result<Message, MessageError> read_timed(decltype(Timed::type) type, ByteReader in,
                                         ShortTime short_time) {
  Timed message{.type = type, .time = 0, .data = {}};
  if (const auto whole = in.u32()) {
    message.time = *whole;
    message.data = to_bytes(in.rest());
  } else {
    if (short_time == ShortTime::kRefuse) return MessageError::kTruncated;
    while (const auto byte = in.u8()) message.time = message.time << 8 | *byte;
  }
  return Message{std::move(message)};
}

}  // namespace

Bytes encode(const Message& message) {
  Encoder encoder;
  std::visit(encoder, message);
  return encoder.out.take();
}

Result<Message, MessageError> decode_message(ByteSpan plain, ShortTime short_time) {
  ByteReader in(plain);
  const auto first = in.u8();
  if (!first) return MessageError::kEmpty;
  const auto type = static_cast<std::uint8_t>(*first & 0x0f);
  switch (*first & 0xf0) {
    case kC2c: {
      if (type != 0) return MessageError::kUnknownType;
      const auto to = in.array<ClientId::kSize>();
      if (!to) return MessageError::kTruncated;
      return Message{C2cMessage{.to = {*to}, .data = to_bytes(in.rest())}};
    }
    case kC2s:
      switch (C2sType{type}) {
        case C2sType::kHeartbeat:
        case C2sType::kConfig:
        case C2sType::kStop:
          return read_timed<C2sMessage>(C2sType{type}, in, short_time);
      }
      return MessageError::kUnknownType;
    case kS2s:
      switch (S2sType{type}) {
        case S2sType::kDone:
        case S2sType::kStop:
          return read_timed<S2sMessage>(S2sType{type}, in, short_time);
      }
      return MessageError::kUnknownType;
    default:
      return MessageError::kUnknownFormat;
  }
}

}  // namespace sealane::hub
