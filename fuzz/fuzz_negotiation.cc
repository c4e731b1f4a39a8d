// Negotiation messages: a ping that is answered is understood as its pong, a control message is
// written back to the same bytes.
#include "base/check.h"
#include "session/messages.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sealane;
  using namespace sealane::session;
  const ByteSpan input = std::as_bytes(std::span(data, size));
  const auto parsed = parse_negotiation(input);
  if (!parsed.has_value()) return 0;
  if (const auto* control = std::get_if<SizeControl>(&parsed.value())) {
    ByteArray<SizeControl::kEncodedSize> written{};
    encode(*control, written);
    SEALANE_CHECK(std::get<SizeControl>(parse_negotiation(written).value()) == *control);
    SEALANE_CHECK(std::ranges::equal(ByteSpan(written).first(5), input.first(5)));
    return 0;
  }
  const auto* pong = std::get_if<SizePong>(&parsed.value());
  const std::uint32_t iteration =
      pong != nullptr ? pong->iteration : std::get<SizePing>(parsed.value()).iteration;
  Bytes probe(size);
  encode_ping(iteration, probe);
  make_pong(probe);
  SEALANE_CHECK(
      (std::get<SizePong>(parse_negotiation(probe).value()) == SizePong{iteration, size}));
  return 0;
}
