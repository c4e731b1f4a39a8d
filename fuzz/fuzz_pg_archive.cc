// Any cut of an archive gives the same sequences and the same verdict, and it is whole or not.
#include <algorithm>

#include "backup/pg_archive.h"
#include "base/check.h"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  using namespace sealane;
  using backup::ArchiveReader;
  const ByteSpan input = std::as_bytes(std::span(data, size));
  ArchiveReader whole;
  const auto verdict = whole.feed(input);
  ArchiveReader pieces;
  auto last = Result<void, backup::ArchiveError>(success());
  for (std::size_t at = 0; at < size && last.has_value();) {
    const std::size_t step = std::min<std::size_t>(size - at, 1 + at % 7);
    last = pieces.feed(input.subspan(at, step));
    at += step;
  }
  SEALANE_CHECK(verdict.has_value() == last.has_value());
  if (verdict.has_value()) {
    SEALANE_CHECK(whole.complete() == pieces.complete());
    SEALANE_CHECK(whole.finish().has_value() == pieces.finish().has_value());
    SEALANE_CHECK(whole.sequences() == pieces.sequences());
  }
  return 0;
}
