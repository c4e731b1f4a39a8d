// Reassembly behind arbitrary fragments: within its limits, and what is complete is of one chain.
#include "base/byte_reader.h"
#include "base/check.h"
#include "session/fragments.h"

// Input: for each fragment a byte each of chain, start and total (in units of 16), size of the
// piece.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sealane;
  using namespace sealane::session;
  constexpr ReassemblyLimits kLimits{.max_message_size = 3000,
                                     .max_chains = 4,
                                     .max_bytes = 6000,
                                     .max_age = std::chrono::seconds(9)};
  Reassembler reassembler(kLimits);
  SteadyTime now{};
  ByteReader reader(std::as_bytes(std::span(data, size)));
  for (;;) {
    const auto step = reader.array<4>();
    if (!step) return 0;
    const auto number = [&step](std::size_t i) {
      return std::to_integer<std::uint64_t>((*step)[i]);
    };
    ByteWriter payload;
    payload.integer(number(0) % 8, Endian::kLittle)
        .integer(16 * number(1), Endian::kLittle)
        .integer(16 * number(2), Endian::kLittle)
        .bytes(Bytes(number(3), (*step)[0]));
    const Bytes bytes = payload.take();
    const auto fragment = parse_fragment(bytes);
    if (!fragment.has_value()) {
      now += std::chrono::seconds(1);
      reassembler.expire(now);
      continue;
    }
    const FragmentHeader& header = fragment.value().header;
    const auto added = reassembler.add(MessageType::kReadWrite, fragment.value(), now);
    SEALANE_CHECK(reassembler.chain_count() <= kLimits.max_chains);
    SEALANE_CHECK(reassembler.buffered_bytes() <= kLimits.max_bytes);
    if (added.outcome == FragmentOutcome::kComplete) {
      SEALANE_CHECK(added.message.size() == header.total);
      SEALANE_CHECK(std::ranges::all_of(added.message, [&](std::byte b) {
        return (std::to_integer<unsigned>(b) % 8) == header.chain;
      }));
    }
  }
}
