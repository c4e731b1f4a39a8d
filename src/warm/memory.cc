#include "sealane/warm/memory.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "warm/resp.h"

namespace sealane::warm {

MemorySource::MemorySource(std::vector<Part> parts) : parts_(std::move(parts)) {
  for (std::size_t i = 0; i < parts_.size(); ++i) {
    parts_[i].index = static_cast<std::uint32_t>(i);
    parts_[i].count = static_cast<std::uint32_t>(parts_.size());
    parts_[i].behind = std::to_string(i + 1);
  }
}

Result<bool, Error> MemorySource::resume(const PartCursor& behind) {
  std::size_t at = 0;
  const char* const end = behind.data() + behind.size();
  const auto parsed = std::from_chars(behind.data(), end, at);
  const std::lock_guard lock(mutex_);
  if (parsed.ec != std::errc{} || parsed.ptr != end || at > parts_.size()) {
    return Error{ErrorKind::kUsage, "no place to resume: " + printable(behind, 60)};
  }
  at_ = at;
  return true;
}

Result<std::optional<Part>, Error> MemorySource::next() {
  const std::lock_guard lock(mutex_);
  if (at_ == parts_.size()) return std::optional<Part>();
  return std::optional(parts_[at_++]);
}

Source::Progress MemorySource::progress() const {
  const std::lock_guard lock(mutex_);
  Progress progress;
  std::uint64_t total = 0;
  for (std::size_t i = 0; i < parts_.size(); ++i) {
    total += parts_[i].keys;
    if (i >= at_) continue;
    progress.keys += parts_[i].keys;
    progress.bytes += parts_[i].commands.size();
  }
  progress.total_keys = total;
  return progress;
}

ApplyResult MemorySink::apply(const PartInfo& part, PartContent& content) {
  ApplyResult result;
  const auto stop = [&](Cause cause, std::string message) {
    result.counts = {};
    result.counts.count(cause);
    result.error = Error{ErrorKind::kFailed, std::move(message)};
    return result;
  };
  Kept kept{.info = part, .commands = {}};
  RespSplitter splitter;
  for (;;) {
    const auto got = content.next();
    if (!got.has_value()) return stop(Cause::kOther, got.error().message);
    const ByteSpan data = got.value();
    if (data.empty()) break;
    {
      const std::lock_guard lock(mutex_);
      if (data.size() > limit_ - std::min(limit_, size_ + kept.commands.size())) {
        return stop(Cause::kOutOfMemory, "the memory of this warm copy is full");
      }
    }
    kept.commands.insert(kept.commands.end(), data.begin(), data.end());
    splitter.lend(data);
    for (;;) {
      const auto command = splitter.next();
      if (!command.has_value()) {
        return stop(Cause::kRefused,
                    "the part is unusable: " + std::string(describe(command.error())));
      }
      if (!command.value()) break;
      ++result.counts.commands;
      ++result.counts.applied;
    }
  }
  if (const auto whole = splitter.finish(); !whole.has_value()) {
    return stop(Cause::kRefused, "the part is unusable: " + std::string(describe(whole.error())));
  }
  const std::lock_guard lock(mutex_);
  size_ += kept.commands.size();
  if (!kept.commands.empty()) kept_.push_back(std::move(kept));
  return result;
}

std::vector<MemorySink::Kept> MemorySink::take() {
  const std::lock_guard lock(mutex_);
  size_ = 0;
  return std::exchange(kept_, {});
}

}  // namespace sealane::warm
