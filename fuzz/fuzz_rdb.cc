// Any cut of an RDB file gives the same keys, digests and verdict; values kept or not.
#include <algorithm>
#include <vector>

#include "backup/rdb.h"
#include "base/check.h"

namespace {

using namespace sealane;

struct Collector final : backup::RdbHandler {
  std::vector<backup::RdbDigest> digests;
  std::uint64_t functions = 0;
  bool on_key(const backup::RdbKey& key) override {
    digests.push_back(key.digest);
    return true;
  }
  bool on_function(ByteSpan) override {
    ++functions;
    return true;
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  const ByteSpan input = std::as_bytes(std::span(data, size));
  Collector whole;
  backup::RdbReader reader(whole);
  const bool fed = reader.feed(input).has_value();
  const bool good = fed && reader.finish().has_value();
  Collector pieces;
  backup::RdbReader slow(pieces, true);
  bool slow_fed = true;
  for (std::size_t at = 0; at < size && slow_fed;) {
    const std::size_t step = std::min<std::size_t>(size - at, 1 + at % 11);
    slow_fed = slow.feed(input.subspan(at, step)).has_value();
    at += step;
  }
  SEALANE_CHECK(slow_fed == fed);
  SEALANE_CHECK((slow_fed && slow.finish().has_value()) == good);
  SEALANE_CHECK(whole.digests == pieces.digests);
  SEALANE_CHECK(whole.functions == pieces.functions);
  if (good) SEALANE_CHECK(reader.size() == slow.size());
  return 0;
}
