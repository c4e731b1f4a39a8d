#include "backup/armor_stream.h"

#include <algorithm>

#include "backup/engine.h"
#include "base/copy_bytes.h"

namespace sealane::backup {
namespace {
constexpr std::size_t kTextBlockSize = 64 * 1024;
}  // namespace

ArmorSource::ArmorSource(ByteSpan start, flow::ByteSource& text, std::string name)
    : text_(text), name_(std::move(name)), buffer_(kTextBlockSize), start_(to_bytes(start)) {}

Result<void, Error> ArmorSource::decode(ByteSpan text) {
  data_.clear();
  given_ = 0;
  const auto decoded = decoder_.update(text, data_);
  if (!decoded.has_value()) return seal_failure(decoded.error(), name_);
  return success();
}

Result<std::size_t, Error> ArmorSource::read(MutableByteSpan out) {
  if (!start_.empty()) {
    SEALANE_TRY(decode(start_));
    start_.clear();
  }
  while (given_ == data_.size()) {
    if (ended_) return std::size_t{0};
    SEALANE_TRY(const std::size_t got, text_.read(buffer_));
    if (got == 0) {
      const auto finished = decoder_.finish();
      if (!finished.has_value()) return seal_failure(finished.error(), name_);
      ended_ = true;
    }
    SEALANE_TRY(decode(ByteSpan(buffer_).first(got)));
  }
  const auto part = ByteSpan(data_).subspan(given_, std::min(out.size(), data_.size() - given_));
  copy_bytes(part, out.begin());
  given_ += part.size();
  return part.size();
}

Result<void, Error> ArmorSink::write(ByteSpan data) {
  buffer_.clear();
  encoder_.update(data, buffer_);
  return buffer_.empty() ? success() : text_.write(as_bytes(buffer_));
}

Result<void, Error> ArmorSink::finish() {
  buffer_.clear();
  encoder_.finish(buffer_);
  return text_.write(as_bytes(buffer_));
}

}  // namespace sealane::backup
