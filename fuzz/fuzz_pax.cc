// Archives: any cut gives the same events, nothing decoded is beyond the limits, and what was
// decoded survives encoding and decoding again.
#include <cstdint>
#include <cstdlib>

#include "backup/pax.h"

namespace {

using namespace sealane;
using namespace sealane::backup;

struct Trace {
  std::vector<PaxEntry> entries;
  std::string content;  // with offsets, merged over cuts
  std::uint64_t content_end = 0;
  int files = 0;
  int ends = 0;
  int error = 0;
};

Trace run(ByteSpan archive, std::size_t step) {
  PaxReader reader;
  Trace trace;
  while (!archive.empty() && trace.error == 0) {
    ByteSpan piece = archive.first(std::min(step, archive.size()));
    archive = archive.subspan(piece.size());
    for (;;) {
      auto event = reader.next(piece);
      if (!event) {
        trace.error = static_cast<int>(event.error());
        break;
      }
      if (std::holds_alternative<PaxReader::NeedInput>(event.value())) {
        if (!piece.empty()) abort();
        break;
      }
      if (auto* entry = std::get_if<PaxEntry>(&event.value())) {
        if (!is_valid(*entry)) abort();
        trace.entries.push_back(std::move(*entry));
        trace.content_end = 0;
      } else if (const auto* content = std::get_if<PaxReader::Content>(&event.value())) {
        const PaxEntry& file = trace.entries.back();
        if (content->bytes.empty() || content->offset < trace.content_end) abort();
        trace.content_end = content->offset + content->bytes.size();
        if (trace.content_end > file.size) abort();
        trace.content += as_text(content->bytes);
      } else if (std::holds_alternative<PaxReader::FileEnd>(event.value())) {
        ++trace.files;
      } else {
        ++trace.ends;
      }
    }
  }
  if (trace.error == 0 && !reader.finish()) trace.error = static_cast<int>(reader.finish().error());
  return trace;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const ByteSpan archive(reinterpret_cast<const std::byte*>(data), size);
  const Trace whole = run(archive, size + 1);
  for (const std::size_t step : {std::size_t{1}, std::size_t{7}, std::size_t{512}}) {
    const Trace cut = run(archive, step);
    if (cut.entries != whole.entries || cut.content != whole.content || cut.files != whole.files ||
        cut.ends != whole.ends || cut.error != whole.error) {
      abort();
    }
  }
  for (const PaxEntry& entry : whole.entries) {
    const Trace again = run(encode_pax_header(entry), SIZE_MAX);
    if (again.entries.size() != 1 || again.entries[0] != entry) abort();
  }
  return 0;
}
