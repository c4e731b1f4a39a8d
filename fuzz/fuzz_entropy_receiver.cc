// The entropy receiver behind arbitrary bytes: the first byte chooses policy and cut, the rest is
// the stream. Whole and in pieces give the same, whether memory is lent or not; what is accepted
// has the announced size; memory stays bounded.
#include <optional>

#include "base/byte_reader.h"
#include "base/check.h"
#include "entropy/receiver.h"

namespace {

using namespace sealane;
using namespace sealane::entropy;

struct Outcome {
  Bytes plaintext;
  bool complete = false;
  std::optional<Reason> refused;
  Bytes answer;
  friend bool operator==(const Outcome&, const Outcome&) = default;
};

constexpr std::string_view kKey = "entropy-test-key";
constexpr std::string_view kIv = "entropy-test-iv0";

Outcome play(ByteSpan stream, unsigned choice, std::size_t piece, std::size_t lent_size) {
  const ChunkKeys keys =
      make_chunk_keys(KeyBytes(as_bytes(kKey).first<16>()), KeyBytes(as_bytes(kIv).first<16>()));
  ReplayMemory memory({});
  Receiver::Setup setup;
  if ((choice & 1U) != 0) setup.policy = ReceiverPolicy::dynomite();
  if ((choice & 2U) != 0) setup.policy.require_authenticated = false;
  if ((choice & 4U) != 0) setup.secrets.emplace_back(ByteArray<32>{});
  setup.policy.max_snapshot = 1 << 20;
  setup.keys = &keys;
  setup.memory = &memory;
  setup.wall = WallTime{} + std::chrono::seconds(1000);
  Receiver receiver(std::move(setup), SteadyTime{});
  Outcome out;
  std::uint32_t total = 0;
  const auto drain = [&] {
    while (auto event = receiver.next_event()) {
      if (const auto* header = std::get_if<Receiver::Header>(&*event)) {
        total = header->total;
      } else if (const auto* plaintext = std::get_if<Receiver::Plaintext>(&*event)) {
        out.plaintext.insert(out.plaintext.end(), plaintext->bytes.begin(), plaintext->bytes.end());
      } else if (const auto* refused = std::get_if<Receiver::Refused>(&*event)) {
        SEALANE_CHECK(!out.complete && !out.refused);
        out.refused = refused->reason;
        SEALANE_CHECK(!receiver.why(refused->reason).empty());
      } else {
        SEALANE_CHECK(!out.complete && !out.refused);
        out.complete = true;
      }
    }
    const ByteSpan output = receiver.next_output();
    out.answer.insert(out.answer.end(), output.begin(), output.end());
    receiver.output_sent(output.size());
  };
  while (!stream.empty() && receiver.wants_input()) {
    Bytes lent(lent_size);
    receiver.lend(lent);
    const std::size_t taken =
        receiver.receive(stream.first(std::min(piece, stream.size())), SteadyTime{});
    SEALANE_CHECK(taken > 0 || !receiver.wants_input());
    stream = stream.subspan(taken);
    drain();
  }
  receiver.on_end(SteadyTime{});
  drain();
  SEALANE_CHECK(out.complete != out.refused.has_value());
  SEALANE_CHECK(!out.complete || out.plaintext.size() == total);
  SEALANE_CHECK(receiver.memory() <= std::size_t{3} * kMaxCipherSize);
  if (out.complete) receiver.applied({}, SteadyTime{});
  drain();
  SEALANE_CHECK(out.answer.empty() || out.answer.size() == Acknowledgement::kEncodedSize);
  if (!out.complete) out.plaintext.clear();  // how much of it came depends on the cut
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const ByteSpan input = std::as_bytes(std::span(data, size));
  const auto choice = std::to_integer<unsigned>(input[0]);
  const ByteSpan stream = input.subspan(1);
  const Outcome whole = play(stream, choice, stream.size() + 1, 0);
  SEALANE_CHECK(whole == play(stream, choice, 1 + choice / 8, 0));
  SEALANE_CHECK(whole == play(stream, choice, stream.size() + 1, std::size_t{16} * choice));
  return 0;
}
