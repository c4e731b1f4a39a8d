// Any cut of an archive gives the same sequences, the same sums of rows and the same verdict, and
// it is whole or not.
#include <algorithm>

#include "backup/pg_archive.h"
#include "backup/pg_rows.h"
#include "base/check.h"

namespace {

using namespace sealane;

// The tables of tests/data/postgresql/dump-15.bin, which is in the corpus.
backup::ArchiveRows wanted(backup::FingerprintLevel level) {
  constexpr unsigned kInteger = 23;
  constexpr unsigned kText = 25;
  constexpr unsigned kNumeric = 1700;
  backup::PgRelation orders;
  orders.schema = "public";
  orders.name = "orders";
  orders.quoted = "public.orders";
  orders.columns = {{"id", kInteger}, {"name", kText}, {"total", kNumeric}};
  backup::PgRelation empty = orders;
  empty.name = "empty_one";
  empty.quoted = "public.empty_one";
  empty.columns = {{"i", kInteger}};
  return {{orders, empty}, level};
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  const ByteSpan input = std::as_bytes(std::span(data, size));
  for (const auto level :
       {backup::FingerprintLevel::kContent, backup::FingerprintLevel::kStructure}) {
    backup::ArchiveRows whole_rows = wanted(level);
    backup::ArchiveReader whole(&whole_rows);
    const auto verdict = whole.feed(input);
    backup::ArchiveRows piece_rows = wanted(level);
    backup::ArchiveReader pieces(&piece_rows);
    auto last = Result<void, backup::ArchiveError>(success());
    for (std::size_t at = 0; at < size && last.has_value();) {
      const std::size_t step = std::min<std::size_t>(size - at, 1 + at % 7);
      last = pieces.feed(input.subspan(at, step));
      at += step;
    }
    SEALANE_CHECK(verdict.has_value() == last.has_value());
    if (!verdict.has_value()) continue;
    SEALANE_CHECK(whole.complete() == pieces.complete());
    SEALANE_CHECK(whole.finish().has_value() == pieces.finish().has_value());
    SEALANE_CHECK(whole.sequences() == pieces.sequences());
    for (std::size_t i = 0; i < whole_rows.tables().size(); ++i) {
      SEALANE_CHECK(whole_rows.sums(i) == piece_rows.sums(i));
    }
  }
  return 0;
}
