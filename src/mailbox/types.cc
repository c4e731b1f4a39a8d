#include "mailbox/types.h"

#include "base/copy_bytes.h"

namespace sealane::mailbox {

namespace {

// Bytes before each dash of the long form.
constexpr std::size_t kDashes[] = {4, 6, 8, 10};

}  // namespace

std::string to_text(const ClientId& id) {
  std::string text = to_hex(id.bytes);
  for (std::size_t i = std::size(kDashes); i > 0; --i) text.insert(2 * kDashes[i - 1], 1, '-');
  return text;
}

std::optional<ClientId> parse_client_id(std::string_view text) {
  constexpr std::size_t kDigits = 2 * ClientId::kSize;
  std::string digits(text);
  if (digits.size() == kDigits + std::size(kDashes)) {
    for (const std::size_t dash : kDashes) {
      if (digits[2 * dash] != '-') return std::nullopt;
      digits.erase(2 * dash, 1);
    }
  }
  const auto bytes = digits.size() == kDigits ? from_hex(digits) : std::nullopt;
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

std::string_view name_of(Refusal refusal) {
  switch (refusal) {
    case Refusal::kUnknown:
      return "unknown";
    case Refusal::kOffline:
      return "offline";
    case Refusal::kQueueFull:
      return "queue_full";
    case Refusal::kDenied:
      return "denied";
    case Refusal::kTooLarge:
      return "too_large";
    case Refusal::kStorage:
      return "storage";
    case Refusal::kExpired:
      return "expired";
    case Refusal::kStaleRef:
      return "stale_number";
  }
  return "other";
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
