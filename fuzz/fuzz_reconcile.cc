// A responder answers or refuses any request within its limits; an asking side takes any answers
// and ends with an error or with a difference that explains the sums.
#include <algorithm>

#include "base/check.h"
#include "crypto/hash.h"
#include "oplog/reconcile.h"

namespace {

using namespace sealane;
using namespace sealane::oplog;

std::vector<Item> items(unsigned from, unsigned to) {
  std::vector<Item> out;
  for (unsigned i = from; i < to; ++i) {
    const ByteArray<2> number{static_cast<std::byte>(i >> 8), static_cast<std::byte>(i & 0xff)};
    out.push_back(crypto::sha256(number));
  }
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  const ByteSpan input = std::as_bytes(std::span(data, size));
  const ByteArray<32> seed{std::byte{7}};
  static const ReconcileSet here(items(0, 300), seed);
  static const ReconcileSet there(items(10, 320), seed);
  if (const auto answer = here.answer(input); answer.has_value()) {
    SEALANE_CHECK(answer.value().size() <= kMaxReconcileMessage);
  }
  // Answers of the input, each with its length in front; then honest ones.
  Reconciler reconciler(here);
  ByteSpan rest = input;
  while (auto request = reconciler.next_request()) {
    Bytes answer;
    if (rest.empty()) {
      const auto honest = there.answer(*request);
      if (!honest.has_value()) return 0;
      answer = honest.value();
    } else {
      const auto length =
          std::min<std::size_t>(std::to_integer<std::size_t>(rest[0]), rest.size() - 1);
      answer.assign(rest.begin() + 1, rest.begin() + 1 + static_cast<std::ptrdiff_t>(length));
      rest = rest.subspan(1 + length);
    }
    if (!reconciler.on_answer(answer).has_value()) return 0;
  }
  return 0;
}
