#include "warm/spool.h"

#include <algorithm>

namespace sealane::warm {

Result<void, Error> Spool::open_file() {
  ByteArray<16> name{};
  random_.fill(name);
  const std::string path = join_path(folder_, ".sealane-spool-" + to_hex(name));
  auto file = files_.open(path, OpenMode::kCreateExclusive);
  if (!file.has_value()) return to_error(file.error());
  const auto removed = files_.remove(path);
  if (!removed.has_value()) return to_error(removed.error());
  file_ = std::move(file.value());
  return success();
}

Result<void, Error> Spool::write(ByteSpan data) {
  if (size_ < kInMemory) {
    const ByteSpan kept = data.first(std::min<std::size_t>(data.size(), kInMemory - size_));
    memory_.insert(memory_.end(), kept.begin(), kept.end());
    size_ += kept.size();
    data = data.subspan(kept.size());
  }
  if (data.empty()) return success();
  if (!file_) {
    SEALANE_TRY(open_file());
  }
  const auto written = file_->write(data);
  if (!written.has_value()) return to_error(written.error());
  size_ += data.size();
  return success();
}

Result<std::size_t, Error> Spool::Content::read(MutableByteSpan out) {
  const std::uint64_t left = spool_.size_ - at_;
  if (left == 0 || out.empty()) return std::size_t{0};
  if (at_ < spool_.memory_.size()) {
    const ByteSpan rest = ByteSpan(spool_.memory_).subspan(at_);
    const std::size_t size = std::min(rest.size(), out.size());
    std::copy_n(rest.begin(), size, out.begin());
    at_ += size;
    return size;
  }
  const auto got = spool_.file_->read_at(at_ - spool_.memory_.size(),
                                         out.first(std::min<std::uint64_t>(out.size(), left)));
  if (!got.has_value()) return to_error(got.error());
  if (got.value() == 0) {
    return Error{ErrorKind::kFailed, "the spool file ended before what was written to it"};
  }
  at_ += got.value();
  return got.value();
}

}  // namespace sealane::warm
