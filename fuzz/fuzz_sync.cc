// What answers SYNC: any cut gives the same keys and the same verdict.
#include <algorithm>
#include <vector>

#include "base/check.h"
#include "warm/sync_reader.h"

namespace {

using namespace sealane;

struct Copier final : backup::RdbHandler {
  std::vector<Bytes> keys;
  bool on_key(const backup::RdbKey& key) override {
    keys.push_back(to_bytes(key.key));
    if (!key.too_large) append_dump(key, keys.back());
    return true;
  }
  bool on_function(ByteSpan) override { return false; }
};

// 0: not at its end; 1: done; else the fault.
int read(ByteSpan input, bool in_pieces, Copier& copier) {
  warm::SyncReader reader(copier, backup::RdbCopying{.largest_value = 64});
  for (std::size_t at = 0; at < input.size();) {
    const std::size_t step = std::min(input.size() - at, in_pieces ? 1 + at % 13 : input.size());
    const auto fed = reader.feed(input.subspan(at, step));
    if (!fed.has_value()) return 10 + static_cast<int>(fed.error().fault);
    at += step;
  }
  return reader.done() ? 1 : 0;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  const ByteSpan input = std::as_bytes(std::span(data, size));
  Copier whole;
  Copier pieces;
  const int verdict = read(input, false, whole);
  SEALANE_CHECK(verdict == read(input, true, pieces));
  SEALANE_CHECK(whole.keys == pieces.keys);
  return 0;
}
