// Any cut of an RDB file gives the same keys, digests and verdict; values kept, copied or not. What
// can be digested can be copied, and is copied as it is kept.
#include <algorithm>
#include <vector>

#include "backup/rdb.h"
#include "base/check.h"

namespace {

using namespace sealane;

struct Collector final : backup::RdbHandler {
  std::vector<backup::RdbDigest> digests;
  std::vector<Bytes> dumps;
  std::uint64_t functions = 0;
  bool on_key(const backup::RdbKey& key) override {
    digests.push_back(key.digest);
    append_dump(key, dumps.emplace_back(to_bytes(key.key)));
    return true;
  }
  bool on_function(ByteSpan) override {
    ++functions;
    return true;
  }
};

// Some keys are passed over, some values are too large.
struct Copier final : backup::RdbHandler {
  std::vector<Bytes> keys;
  bool everything = false;
  bool wants(const backup::RdbKey& key) override { return everything || key.key.size() % 5 != 4; }
  bool on_key(const backup::RdbKey& key) override {
    SEALANE_CHECK(!key.too_large || key.value.empty());
    Bytes& all = keys.emplace_back(to_bytes(key.key));
    if (!key.too_large) append_dump(key, all);
    return true;
  }
  bool on_function(ByteSpan) override { return false; }
};

bool copy(ByteSpan input, std::size_t largest, bool in_pieces, Copier& copier) {
  backup::RdbReader reader(copier, backup::RdbCopying{.largest_value = largest});
  for (std::size_t at = 0; at < input.size();) {
    const std::size_t step = std::min(input.size() - at, in_pieces ? 1 + at % 13 : input.size());
    if (!reader.feed(input.subspan(at, step)).has_value()) return false;
    at += step;
  }
  return reader.finish().has_value();
}

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
  for (const std::size_t largest : {std::size_t{64}, std::size_t{1} << 24}) {
    Copier once;
    Copier again;
    const bool copied = copy(input, largest, false, once);
    SEALANE_CHECK(copied == copy(input, largest, true, again));
    SEALANE_CHECK(once.keys == again.keys);
  }
  Copier all;
  all.everything = true;
  const bool copied = copy(input, backup::RdbReader::kMaxValueSize, false, all);
  if (good) SEALANE_CHECK(copied && all.keys == pieces.dumps);
  return 0;
}
