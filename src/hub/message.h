#pragma once
// Messages: what a frame holds once it is open. Format: docs/protocol/hub.md, "Messages". The first
// byte is format << 4 | type; integers are big-endian.
//
//   C2C   00  recipient 16  data                  client to client, through the hub
//   C2S   10  time 4  data                        HEARTBEAT
//         11  time 4  JSON                        CONFIG
//         1F  time 4  reason                      STOP
//   S2S   2E, 2F  time 4  data                    DONE, STOP: never meant for a connection
//   3x                                            between Sealane ends; see extension.h
#include <cstdint>
#include <optional>
#include <string_view>
#include <variant>

#include "hub/ids.h"
#include "sealane/base/bytes.h"
#include "sealane/base/result.h"

namespace sealane::hub {

enum class C2sType : std::uint8_t { kHeartbeat = 0, kConfig = 1, kStop = 15 };
enum class S2sType : std::uint8_t { kDone = 14, kStop = 15 };

struct C2cMessage {
  static constexpr std::size_t kHeaderSize = 1 + ClientId::kSize;
  ClientId to;
  Bytes data;  // may be empty
  friend bool operator==(const C2cMessage&, const C2cMessage&) = default;
};
struct C2sMessage {
  static constexpr std::size_t kHeaderSize = 1 + 4;
  C2sType type = C2sType::kHeartbeat;
  std::uint32_t time = 0;  // the sender's clock, seconds since 1970; nobody checks it
  Bytes data;
  friend bool operator==(const C2sMessage&, const C2sMessage&) = default;
};
struct S2sMessage {
  S2sType type = S2sType::kDone;
  std::uint32_t time = 0;
  Bytes data;
  friend bool operator==(const S2sMessage&, const S2sMessage&) = default;
};
using Message = std::variant<C2cMessage, C2sMessage, S2sMessage>;

enum class MessageError : std::uint8_t {
  kEmpty = 1,
  kUnknownFormat,  // 3 to 15: for extensions
  kUnknownType,
  kTruncated,  // a recipient, or a time in strict reading, that is cut
};

// How much of a time must be there. The Python peer reads what is left as a shorter number.
enum class ShortTime : std::uint8_t { kExtend = 1, kRefuse };

Bytes encode(const Message& message);
Result<Message, MessageError> decode_message(ByteSpan plain,
                                             ShortTime short_time = ShortTime::kExtend);

}  // namespace sealane::hub
