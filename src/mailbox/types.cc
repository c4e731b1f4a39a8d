#include "mailbox/types.h"

#include "base/copy_bytes.h"

namespace sealane::mailbox {

std::string to_text(const ClientId& id) { return to_hex(id.bytes); }

std::optional<ClientId> parse_client_id(std::string_view text) {
  constexpr std::size_t kDashed = 36;
  std::string digits;
  if (text.size() == kDashed) {
    for (std::size_t i = 0; i < text.size(); ++i) {
      const bool dash = i == 8 || i == 13 || i == 18 || i == 23;
      if (dash != (text[i] == '-')) return std::nullopt;
      if (!dash) digits += text[i];
    }
  } else {
    digits = text;
  }
  if (digits.size() != 2 * ClientId::kSize) return std::nullopt;
  const auto bytes = from_hex(digits);
  if (!bytes) return std::nullopt;
  ClientId id;
  copy_bytes(*bytes, id.bytes.begin());
  return id;
}

std::string_view describe(Refusal refusal) {
  switch (refusal) {
    case Refusal::kUnknown:
      return "nobody has that address";
    case Refusal::kOffline:
      return "the recipient is offline and nothing is kept for it";
    case Refusal::kQueueFull:
      return "the recipient's queue is full";
    case Refusal::kDenied:
      return "the sender may not send there";
    case Refusal::kTooLarge:
      return "it is larger than the recipient can be given";
    case Refusal::kStorage:
      return "the hub cannot store it";
    case Refusal::kExpired:
      return "it was not fetched in time";
    case Refusal::kStaleRef:
      return "its number is too old";
  }
  return "unknown reason";
}

std::string_view describe(EndReason reason) {
  switch (reason) {
    case EndReason::kReplaced:
      return "replaced";
    case EndReason::kRemoved:
      return "removed";
    case EndReason::kSlow:
      return "too slow";
  }
  return "unknown reason";
}

std::string_view describe(AuditKind kind) {
  switch (kind) {
    case AuditKind::kClientAdded:
      return "client_added";
    case AuditKind::kClientRemoved:
      return "client_removed";
    case AuditKind::kOnline:
      return "online";
    case AuditKind::kOffline:
      return "offline";
    case AuditKind::kReplaced:
      return "replaced";
    case AuditKind::kRefusedLogin:
      return "refused_login";
    case AuditKind::kRefused:
      return "refused";
    case AuditKind::kExpired:
      return "expired";
    case AuditKind::kStoreFailed:
      return "store_failed";
  }
  return "unknown";
}

}  // namespace sealane::mailbox
