#pragma once
// ClientId, SenderRef, DeliveryId: who, and which message.
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "sealane/base/bytes.h"
#include "sealane/base/random.h"

namespace sealane::hub {

// 16 bytes: a UUID in RFC 4122 byte order, of any version; all zeros is an id as any other.
struct ClientId {
  static constexpr std::size_t kSize = 16;
  ByteArray<kSize> bytes{};
  friend auto operator<=>(const ClientId&, const ClientId&) = default;
};
ClientId make_client_id(RandomSource& random);  // UUID version 4
std::string to_file_name(const ClientId& id);   // 32 lower-case hex digits
std::string to_text(const ClientId& id);        // 8-4-4-4-12 lower-case hex digits
// Accepts both forms, either case.
std::optional<ClientId> parse_client_id(std::string_view text);

// A sender's own number of a message; grows with every message of that sender, over all its
// connections. 1 or higher; 0 on the wire is "none". It asks for receipts, and lets the hub tell
// what comes a second time.
enum class SenderRef : std::uint64_t {};
// The hub's number of a message; grows with every message of the hub, over all its starts.
enum class DeliveryId : std::uint64_t {};

}  // namespace sealane::hub
