// A whole session behind arbitrary bytes: a script of datagrams (raw, or made to pass as plain
// packets or as the peer's), time, traffic and life. Whatever comes, it neither crashes nor hangs,
// delivers nothing that the peer did not send, and its queues keep their limits.
#include <cstdint>

#include "base/byte_reader.h"
#include "base/check.h"
#include "tests/session/link.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sealane;
  using namespace sealane::session;
  using namespace sealane::session::testing;
  ByteReader script(std::as_bytes(std::span(data, size)));
  const std::uint8_t shape = script.u8().value_or(0);
  Options options;
  options.lossy = (shape & 1) != 0;
  options.negotiate = (shape & 2) != 0;
  options.fragment = (shape & 4) != 0;
  options.accept_plain_fragments = (shape & 8) != 0;
  options.payload_size_limit = 1000;
  options.peer_kind = (shape & 16) != 0 ? PeerKind::kLegacy : PeerKind::kAny;
  options.receive_queue_limit = 64 * 1024;
  options.keepalive = std::chrono::seconds(1);
  TwoNodes nodes(options);
  nodes.start();
  if ((shape & 32) != 0) nodes.link.run_for(std::chrono::seconds(3));
  std::uint64_t sent = 0;
  for (int steps = 0; steps < 64 && !script.empty(); ++steps) {
    const std::uint8_t what = *script.u8();
    const std::size_t length = script.u8().value_or(0);
    const ByteSpan bytes = *script.bytes(std::min(length, script.remaining()));
    switch (what % 8) {
      case 0:
        nodes.link.deliver(0, to_bytes(bytes));
        break;
      case 1:
        nodes.link.deliver(0,
                           plain_packet(PacketId{1 + what / 8u}, MessageType::kKeyExchange, bytes));
        break;
      case 2:
        if (bytes.size() >= 4) {
          nodes.link.deliver(
              0, plain_packet(PacketId{1 + what / 8u}, MessageType{load<std::uint32_t>(bytes)},
                              bytes.subspan(4), what / 64));
        }
        break;
      case 3:
        nodes.link.run_for(std::chrono::milliseconds(length * length));
        break;
      case 4:
        if (nodes.say_from_b(bytes)) ++sent;
        break;
      case 5:
        nodes.a.reading = (what & 8) != 0;
        break;
      case 6:
        nodes.a.session.packet_too_big(length * 5);
        break;
      default:
        if (what == 7) nodes.a.session.close(nodes.link.now());
        if (what == 15) nodes.a.session.renew_key(nodes.link.now());
        if (what == 23 && nodes.a.session.pause(nodes.link.now()).has_value()) {
          nodes.link.run_for(std::chrono::seconds(1));
          SEALANE_CHECK(nodes.a.session.resume(nodes.link.now()).has_value());
        }
    }
    nodes.link.run_for(std::chrono::milliseconds(1));
  }
  nodes.a.reading = true;
  nodes.link.run_for(std::chrono::seconds(1));
  if ((shape & 8) == 0) SEALANE_CHECK(nodes.a.received.size() <= sent);
  SEALANE_CHECK(nodes.a.session.queued_bytes() <= options.send_queue_limit);
  return 0;
}
