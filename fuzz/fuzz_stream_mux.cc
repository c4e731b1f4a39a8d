// The stream multiplexer behind arbitrary bytes: bounded, the same for every cut, and what it
// answers another one understands.
#include "base/check.h"
#include "net/stream_mux.h"

namespace {

using namespace sealane;
using namespace sealane::net;

constexpr std::uint32_t kWindow = 4096;

struct Outcome {
  std::size_t data = 0;
  std::size_t opened = 0;
  std::size_t others = 0;
  Bytes answers;
  friend bool operator==(const Outcome&, const Outcome&) = default;
};

Outcome play(MuxMode mode, ByteSpan input, std::size_t piece) {
  StreamMux mux(MuxSide::kListener, mode, kWindow);
  Outcome out;
  while (!input.empty()) {
    const ByteSpan part = input.first(std::min(piece, input.size()));
    input = input.subspan(part.size());
    mux.receive(part, SteadyTime{});
    while (const auto event = mux.next_event()) {
      if (const auto* data = std::get_if<StreamMux::Data>(&*event)) {
        out.data += data->bytes.size();
      } else if (const auto* opened = std::get_if<StreamMux::Opened>(&*event)) {
        ++out.opened;
        SEALANE_CHECK(opened->target.size() <= StreamMux::kMaxTargetSize);
        mux.accept(opened->id);
      } else if (const auto* ended = std::get_if<StreamMux::Ended>(&*event)) {
        ++out.others;
        mux.finish(ended->id);
      } else {
        ++out.others;
      }
      SEALANE_CHECK(mux.stream_count() <= StreamMux::kMaxStreams);
    }
  }
  out.answers = to_bytes(mux.next_output());
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const ByteSpan input = std::as_bytes(std::span(data, size));
  for (const MuxMode mode : {MuxMode::kPipe, MuxMode::kForward}) {
    const Outcome whole = play(mode, input, size + 1);
    const std::size_t piece = size == 0 ? 1 : 1 + std::to_integer<std::size_t>(input[size - 1]);
    const Outcome pieces = play(mode, input, piece);
    SEALANE_CHECK(whole == pieces);
    StreamMux reader(MuxSide::kDialer, mode, kWindow);
    reader.receive(whole.answers, SteadyTime{});
    const auto first = reader.next_event();
    SEALANE_CHECK(first && std::holds_alternative<StreamMux::Ready>(*first));
  }
  return 0;
}
