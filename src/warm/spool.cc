#include "warm/spool.h"

#include <algorithm>

#include "base/copy_bytes.h"

namespace sealane::warm {

SpoolMemory::Block SpoolMemory::take() {
  const std::lock_guard lock(mutex_);
  if (taken_ == max_blocks_) return nullptr;
  ++taken_;
  if (kept_.empty()) return std::make_unique_for_overwrite<std::byte[]>(kBlockSize);
  Block out = std::move(kept_.back());
  kept_.pop_back();
  return out;
}

void SpoolMemory::give_back(Block block) {
  const std::lock_guard lock(mutex_);
  --taken_;
  if (kept_.size() < kMaxKept) kept_.push_back(std::move(block));
}

Spool::~Spool() {
  for (SpoolMemory::Block& block : blocks_) memory_.give_back(std::move(block));
}

// A file without a name: it goes away with us.
Result<std::unique_ptr<File>, Error> Spool::make_file(FileSystem& files, RandomSource& random,
                                                      const std::string& folder) {
  ByteArray<16> name{};
  random.fill(name);
  const std::string path = join_path(folder, ".sealane-spool-" + to_hex(name));
  auto file = files.open(path, OpenMode::kCreateExclusive);
  if (!file.has_value()) return to_error(file.error());
  const auto removed = files.remove(path);
  if (!removed.has_value()) return to_error(removed.error());
  return std::move(file.value());
}

Result<void, Error> Spool::check_folder(FileSystem& files, RandomSource& random,
                                        const std::string& folder) {
  SEALANE_TRY(make_file(files, random, folder));
  return success();
}

Result<void, Error> Spool::write(ByteSpan data) {
  while (!data.empty() && !file_) {
    if (size_ == room_in_blocks()) {
      SpoolMemory::Block block = memory_.take();
      if (!block) break;
      blocks_.push_back(std::move(block));
    }
    const ByteSpan kept =
        data.first(std::min<std::uint64_t>(data.size(), room_in_blocks() - size_));
    copy_bytes(kept, blocks_.back().get() + size_ % SpoolMemory::kBlockSize);
    size_ += kept.size();
    data = data.subspan(kept.size());
  }
  if (data.empty()) return success();
  if (!file_) {
    SEALANE_TRY(file_, make_file(files_, random_, folder_));
  }
  const auto written = file_->write(data);
  if (!written.has_value()) return to_error(written.error());
  size_ += data.size();
  return success();
}

Result<std::size_t, Error> Spool::Content::read(MutableByteSpan out) {
  const std::uint64_t left = spool_.size_ - at_;
  if (left == 0 || out.empty()) return std::size_t{0};
  if (at_ < spool_.room_in_blocks()) {
    const std::uint64_t block = at_ / SpoolMemory::kBlockSize;
    const std::uint64_t begin = at_ % SpoolMemory::kBlockSize;
    const auto size = static_cast<std::size_t>(
        std::min<std::uint64_t>({SpoolMemory::kBlockSize - begin, left, out.size()}));
    copy_bytes(ByteSpan(spool_.blocks_[block].get() + begin, size), out.begin());
    at_ += size;
    return size;
  }
  const auto got = spool_.file_->read_at(at_ - spool_.room_in_blocks(),
                                         out.first(std::min<std::uint64_t>(out.size(), left)));
  if (!got.has_value()) return to_error(got.error());
  if (got.value() == 0) {
    return Error{ErrorKind::kFailed, "the spool file ended before what was written to it"};
  }
  at_ += got.value();
  return got.value();
}

}  // namespace sealane::warm
