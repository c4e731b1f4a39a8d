// What a hub and its clients read from files and from each other's sealed sessions: a client's
// file, a hub file, settings, a parcel, what was seen, parts of a message. The first byte chooses.
#include "base/check.h"
#include "node/hub_profile.h"
#include "node/hub_settings.h"
#include "node/hub_state.h"
#include "node/message_parts.h"
#include "node/parcel.h"
#include "node/seen_messages.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sealane;
  using namespace sealane::node;
  if (size == 0) return 0;
  const ByteSpan input = std::as_bytes(std::span(data + 1, size - 1));
  switch (data[0] % 6) {
    case 0:
      if (const auto record = parse_client_file({}, input); record.has_value()) {
        const std::string text = format_client_file(record.value());
        const auto again = parse_client_file({}, as_bytes(text));
        SEALANE_CHECK(again.has_value() && format_client_file(again.value()) == text);
      }
      break;
    case 1:
      if (const auto profile = parse_profile(input); profile.has_value()) {
        const auto again = parse_profile(format_profile(profile.value()).expose());
        SEALANE_CHECK(again.has_value() && again.value().id == profile.value().id);
      }
      break;
    case 2:
      static_cast<void>(parse_hub_settings(as_text(input), "hub.toml"));
      break;
    case 3:
      if (const auto parcel = decode_parcel(input)) {
        SEALANE_CHECK(std::ranges::equal(encode(*parcel), input));
      }
      break;
    case 4:
      if (const auto seen = SeenMessages::parse(as_text(input))) {
        const std::string text = seen->format();
        const auto again = SeenMessages::parse(text);
        SEALANE_CHECK(again && again->format() == text);
      }
      break;
    default: {
      const PartRun run = parse_parts(input);
      SEALANE_CHECK(run.end <= input.size() && run.next <= run.count);
      SEALANE_CHECK(run.data.size() <= MessageParts::kMaxMessage);
      // What counts is read again, and alone.
      const PartRun again = parse_parts(input.first(run.end));
      SEALANE_CHECK(again.data == run.data && again.next == run.next && again.whole == run.whole);
    }
  }
  return 0;
}
