// The entropy sender in front of a peer that says and does anything: every wait ends, nothing is
// taken for an answer that is not signed, and what was sent is what should be. Input: one byte for
// each step (what the peer does), with answers as they come.
#include "base/byte_reader.h"
#include "base/check.h"
#include "entropy/sender.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sealane;
  using namespace sealane::entropy;
  const ByteSpan input = std::as_bytes(std::span(data, size));
  const ClusterSecret secret{ByteArray<32>{}};
  const Bytes plaintext(1000);
  SenderSetup setup;
  setup.buffer_size = 64;
  setup.encrypted = false;
  setup.total = plaintext.size();
  setup.extension.emplace();
  setup.secret = &secret;
  Sender sender(setup, SteadyTime{});
  ChunkEncoder encoder(setup.buffer_size, nullptr);
  Bytes expected = encode_head(setup);
  expected.resize(expected.size() + encoder.encoded_size(plaintext.size()));
  encoder.encode(plaintext, MutableByteSpan(expected).subspan(kNegotiationSize + 1024));

  std::size_t supplied = 0;
  Bytes sent;
  std::optional<Sender::Outcome> outcome;
  SteadyTime now{};
  ByteReader reader(input);
  while (const auto step = reader.u8()) {
    const std::size_t count = *step >> 3U;
    now += std::chrono::milliseconds(*step);
    switch (*step & 7U) {
      case 0:
        if (const std::size_t wanted = sender.claim_plaintext(); wanted > 0 && count % 2 == 1) {
          sender.supply_in_place(ByteSpan(plaintext).subspan(supplied, wanted), now);
          supplied += wanted;
        } else if (wanted > 0) {
          sender.supply(encoder.encode_reusing(sender.take_spent(),
                                               ByteSpan(plaintext).subspan(supplied, wanted)),
                        now);
          supplied += wanted;
        }
        break;
      case 1:
      case 2: {
        std::size_t taken = 0;
        for (const ByteSpan span : sender.next_outputs()) {
          const ByteSpan part = span.first(std::min(span.size(), (count + 1) * 64 - taken));
          sent.insert(sent.end(), part.begin(), part.end());
          taken += part.size();
        }
        if (taken > 0) sender.output_sent(taken, now);
        break;
      }
      case 3:
      case 4:
        if (const auto answer = reader.bytes(std::min(count * 8 + 1, reader.remaining()))) {
          SEALANE_CHECK(sender.receive(*answer, now) <= answer->size());
        }
        break;
      case 5:
        if (count == 0) sender.on_end(now);
        break;
      case 6:
        if (count == 0) sender.on_reset(now);
        break;
      default:
        now += std::chrono::seconds(count);
        sender.on_deadline(now);
        break;
    }
    while (auto event = sender.next_event()) {
      const auto* finished = std::get_if<Sender::Finished>(&*event);
      if (finished == nullptr) continue;
      SEALANE_CHECK(!outcome);
      outcome = finished->outcome;
      if (*outcome == Sender::Outcome::kAcknowledged) {
        // Nobody makes one without the secret; a fuzzer that found it in the corpus has this one.
        SEALANE_CHECK(finished->acknowledgement->snapshot == SnapshotId{});
      }
    }
    SEALANE_CHECK(outcome.has_value() == sender.finished());
    SEALANE_CHECK(sender.finished() == !sender.deadline().has_value());
  }
  SEALANE_CHECK(sent.size() <= expected.size());
  SEALANE_CHECK(std::ranges::equal(sent, ByteSpan(expected).first(sent.size())));
  return 0;
}
