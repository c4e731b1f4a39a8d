// Any cut of a stream gives the same commands; what was read, written again, is the same bytes.
#include <algorithm>

#include "base/check.h"
#include "warm/resp.h"

namespace {

using namespace sealane;
using namespace sealane::warm;

constexpr std::string_view kHead = "*4\r\n$3\r\nSET\r\n";
constexpr std::string_view kTail = "$2\r\nNX\r\n";

void append(Bytes& out, ByteSpan more) { out.insert(out.end(), more.begin(), more.end()); }

// `likes`: creations of strings are looked for first. `lend`: the pieces are lent, not fed.
Bytes read_all(ByteSpan input, std::size_t step, bool likes, std::optional<RespError>& error,
               bool lend = false) {
  RespSplitter splitter(1024 * 1024);
  Bytes again;
  for (;;) {
    const auto pair = likes ? splitter.next_like(kHead, 2, kTail) : std::nullopt;
    if (pair) {
      append(again, as_bytes(kHead));
      append(again, *pair);
      append(again, as_bytes(kTail));
      continue;
    }
    const auto command = splitter.next();
    if (!command.has_value()) {
      error = command.error();
      return again;
    }
    if (command.value()) {
      RespWriter writer(again);
      writer.begin(command.value()->words.size());
      for (const ByteSpan word : command.value()->words) writer.word(word);
      continue;
    }
    if (input.empty()) break;
    const std::size_t size = std::min(step, input.size());
    lend ? splitter.lend(input.first(size)) : splitter.feed(input.first(size));
    input = input.subspan(size);
  }
  SEALANE_CHECK(splitter.consumed() == again.size());
  if (const auto whole = splitter.finish(); !whole.has_value()) error = whole.error();
  return again;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  const ByteSpan input = std::as_bytes(std::span(data, size));
  std::optional<RespError> error;
  std::optional<RespError> slow_error;
  const Bytes whole = read_all(input, size + 1, false, error);
  const Bytes slow = read_all(input, 3, false, slow_error);
  SEALANE_CHECK(whole == slow);
  SEALANE_CHECK(error == slow_error);
  for (const std::size_t step : {std::size_t{3}, size / 2 + 1}) {
    std::optional<RespError> lent_error;
    SEALANE_CHECK(whole == read_all(input, step, true, lent_error, true));
    SEALANE_CHECK(error == lent_error);
  }
  std::optional<RespError> like_error;
  SEALANE_CHECK(read_all(input, size + 1, true, like_error) == whole);
  SEALANE_CHECK(error == like_error);
  SEALANE_CHECK(std::ranges::equal(whole, input.first(whole.size())));
  return 0;
}
