// Packets: an input is opened under each class, and, as messages, sealed and opened again. The
// messages that come out are read, and written back to the same bytes.
#include "base/check.h"
#include "session/key_schedule.h"
#include "session/messages.h"

namespace {

using namespace sealane;
using namespace sealane::session;

void read_messages(ByteSpan messages) {
  MessageReader reader(messages);
  Bytes written(messages.size());
  std::size_t at = 0;
  while (const auto message = reader.next()) {
    at += write_message(MutableByteSpan(written).subspan(at), message->type, message->flags,
                        message->payload);
    if ((message->flags & kFragmented) != 0) {
      const auto fragment = parse_fragment(message->payload);
      if (fragment.has_value()) {
        const FragmentHeader& header = fragment.value().header;
        SEALANE_CHECK(header.start + fragment.value().piece.size() <= header.total);
      }
    }
  }
  SEALANE_CHECK(reader.truncated() ? at < messages.size() : at == messages.size());
  SEALANE_CHECK(std::ranges::equal(ByteSpan(written).first(at), messages.first(at)));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const ByteSpan input = std::as_bytes(std::span(data, size));
  static const PskKeys psk(as_bytes("a pre-shared key"));
  PacketKey keys[] = {PacketKey::plain(), PacketKey::aux(psk.aux_key()),
                      PacketKey::session(CipherKey(psk.cipher_key_mask()), {1, 2})};
  for (PacketKey& key : keys) {
    for (const PacketIdMask mask : {PacketIdMask{}, psk.packet_id_mask()}) {
      Bytes packet = to_bytes(input);
      const auto header = key.open_header(mask, packet);
      if (!header.has_value()) continue;
      const auto messages = key.open_messages(header.value(), packet);
      if (messages.has_value()) read_messages(messages.value());
    }
    Bytes packet(kPacketHeaderSize);
    packet.insert(packet.end(), input.begin(), input.end());
    key.seal(PacketId{size + 1}, psk.packet_id_mask(), packet);
    const auto header = key.open_header(psk.packet_id_mask(), packet);
    SEALANE_CHECK(header.has_value() && header.value().id() == PacketId{size + 1});
    const auto messages = key.open_messages(header.value(), packet);
    SEALANE_CHECK(messages.has_value() && std::ranges::equal(messages.value(), input));
  }
  read_messages(input);
  return 0;
}
