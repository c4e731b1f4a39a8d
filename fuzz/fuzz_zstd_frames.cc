// FrameScanner: any cut of a stream gives the same frames, pieces never run over the input, and
// where zstd itself takes a whole frame, both agree on its size.
#include <zstd.h>

#include <vector>

#include "backup/zstd_frames.h"
#include "base/check.h"

namespace {

using sealane::ByteSpan;
using sealane::backup::FrameScanner;

struct Outcome {
  std::vector<std::size_t> ends;  // offsets behind each whole frame
  bool failed = false;
  bool at_boundary = false;
  friend bool operator==(const Outcome&, const Outcome&) = default;
};

Outcome scan(ByteSpan stream, std::size_t cut) {
  Outcome outcome;
  FrameScanner scanner;
  std::size_t at = 0;
  while (at < stream.size() && !outcome.failed) {
    auto part = stream.subspan(at, std::min(cut, stream.size() - at));
    while (!part.empty()) {
      const auto piece = scanner.next(part);
      if (!piece.has_value()) {
        outcome.failed = true;
        break;
      }
      SEALANE_CHECK(piece.value().size > 0 && piece.value().size <= part.size());
      SEALANE_CHECK(piece.value().ends || piece.value().size == part.size());
      SEALANE_CHECK(piece.value().ends == scanner.at_boundary());
      at += piece.value().size;
      part = part.subspan(piece.value().size);
      if (piece.value().ends) outcome.ends.push_back(at);
    }
  }
  outcome.at_boundary = !outcome.failed && scanner.at_boundary();
  return outcome;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  const auto stream = std::as_bytes(std::span(data, size));
  const Outcome whole = scan(stream, size);
  SEALANE_CHECK(whole == scan(stream, 1));
  SEALANE_CHECK(whole == scan(stream, 7));
  std::size_t at = 0;
  for (const std::size_t end : whole.ends) {
    const std::size_t known = ZSTD_findFrameCompressedSize(data + at, size - at);
    SEALANE_CHECK(ZSTD_isError(known) != 0U || known == end - at);
    at = end;
  }
  return 0;
}
