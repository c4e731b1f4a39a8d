// Frames: any cut of the input gives the same payloads, and they are the input.
#include "base/check.h"
#include "hub/frame.h"

namespace {

using namespace sealane;

std::vector<Bytes> split(ByteSpan input, std::size_t step) {
  hub::FrameSplitter splitter;
  std::vector<Bytes> payloads;
  while (!input.empty()) {
    ByteSpan piece = input.first(std::min(step, input.size()));
    input = input.subspan(piece.size());
    while (!piece.empty()) {
      piece = piece.subspan(splitter.feed(piece));
      if (auto payload = splitter.next()) payloads.push_back(std::move(*payload));
    }
  }
  return payloads;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const ByteSpan input = std::as_bytes(std::span(data, size));
  const std::vector<Bytes> whole = split(input, size + 1);
  for (const std::size_t step : {1u, 2u, 3u, 255u}) SEALANE_CHECK(split(input, step) == whole);
  Bytes again;
  for (const Bytes& payload : whole) {
    const Bytes frame = hub::encode_frame(payload);
    again.insert(again.end(), frame.begin(), frame.end());
  }
  SEALANE_CHECK(again.size() <= size && std::ranges::equal(again, input.first(again.size())));
  return 0;
}
