#include "warm/spool.h"

#include <algorithm>
#include <cstring>
#include <functional>

#include "base/check.h"
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

MutableByteSpan Spool::room(std::size_t least) {
  SEALANE_CHECK(least > 0 && least <= SpoolMemory::kBlockSize);
  if (file_) return {};
  if (SpoolMemory::kBlockSize - filled_ < least) {
    SpoolMemory::Block block = memory_.take();
    if (!block) return {};
    blocks_.push_back(std::move(block));
    filled_ = 0;
  }
  return {blocks_.back().get() + filled_, SpoolMemory::kBlockSize - filled_};
}

bool Spool::in_room(ByteSpan data) const {
  if (blocks_.empty() || file_) return false;
  const std::less_equal<const std::byte*> not_behind;  // unlike <=, it orders any two
  const std::byte* const block = blocks_.back().get();
  return not_behind(block + filled_, data.data()) &&
         not_behind(data.data() + data.size(), block + SpoolMemory::kBlockSize);
}

void Spool::keep(ByteSpan data) {
  std::byte* const free = blocks_.back().get() + filled_;
  if (data.data() != free && data.size() < kWorthASpan) {
    std::memmove(free, data.data(), data.size());
    data = {free, data.size()};
  }
  const bool goes_on = filled_ > 0 && !pieces_.empty() && data.data() == free;
  if (goes_on) {
    pieces_.back() = {pieces_.back().data(), pieces_.back().size() + data.size()};
  } else {
    pieces_.push_back(data);
  }
  filled_ += static_cast<std::size_t>(data.data() - free) + data.size();
  size_ += data.size();
}

Result<void, Error> Spool::write(ByteSpan data) {
  if (data.empty()) return success();
  if (in_room(data)) {
    keep(data);
    return success();
  }
  while (!data.empty()) {
    const MutableByteSpan to = room(1);
    if (to.empty()) break;
    const ByteSpan part = data.first(std::min(data.size(), to.size()));
    copy_bytes(part, to.begin());
    keep(to.first(part.size()));
    data = data.subspan(part.size());
  }
  if (data.empty()) return success();
  if (!file_) {
    SEALANE_TRY(file_, make_file(files_, random_, folder_));
  }
  const auto written = file_->write(data);
  if (!written.has_value()) return to_error(written.error());
  size_ += data.size();
  file_size_ += data.size();
  return success();
}

Result<ByteSpan, Error> Spool::Content::next() {
  if (given_ < spool_.pieces_.size()) return spool_.pieces_[given_++];
  const std::uint64_t left = spool_.file_size_ - file_at_;
  if (left == 0) return ByteSpan();
  buffer_.resize(std::min<std::uint64_t>(left, kReadSize));
  const auto got = spool_.file_->read_at(file_at_, buffer_);
  if (!got.has_value()) return to_error(got.error());
  if (got.value() == 0) {
    return Error{ErrorKind::kFailed, "the spool file ended before what was written to it"};
  }
  file_at_ += got.value();
  return ByteSpan(buffer_).first(got.value());
}

}  // namespace sealane::warm
