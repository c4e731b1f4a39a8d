#include "warm/sync_reader.h"

#include <algorithm>
#include <charconv>

namespace sealane::warm {
namespace {

constexpr std::string_view kEndMark = "$EOF:";

SyncError fault(SyncFault what) { return {.fault = what}; }

}  // namespace

Result<void, SyncError> SyncReader::feed(ByteSpan data) {
  while (state_ == State::kLine && !data.empty()) {
    const char c = static_cast<char>(data.front());
    data = data.subspan(1);
    if (c != '\n') {
      if (line_.size() == kMaxLine) return fault(SyncFault::kNoSync);
      line_ += c;
    } else if (!line_.empty()) {  // else it only says that the server is there
      SEALANE_TRY(take_line());
    }
  }
  if (data.empty()) return success();
  if (state_ == State::kFile) return feed_file(data);
  if (state_ == State::kMark) return feed_mark(data);
  return success();
}

Result<void, SyncError> SyncReader::take_line() {
  const bool whole = line_.ends_with('\r');
  const std::string_view line = std::string_view(line_).substr(0, line_.size() - (whole ? 1 : 0));
  if (whole && line.starts_with('-')) {
    return SyncError{.fault = SyncFault::kRefused, .answer = std::string(line.substr(1))};
  }
  if (!whole || !line.starts_with('$')) return fault(SyncFault::kNoSync);
  if (line.starts_with(kEndMark)) {
    mark_ = line.substr(kEndMark.size());
    if (mark_.size() != kMarkSize) return fault(SyncFault::kNoSync);
  } else {
    const char* const end = line.data() + line.size();
    const auto parsed = std::from_chars(line.data() + 1, end, size_left_);
    if (parsed.ec != std::errc{} || parsed.ptr != end) return fault(SyncFault::kNoSync);
  }
  state_ = State::kFile;
  if (mark_.empty() && size_left_ == 0) {
    return SyncError{.fault = SyncFault::kFile, .rdb = backup::RdbError::kTruncated};
  }
  return success();
}

Result<void, SyncError> SyncReader::feed_file(ByteSpan data) {
  const bool sized = mark_.empty();
  if (sized) {
    data = data.first(static_cast<std::size_t>(std::min<std::uint64_t>(data.size(), size_left_)));
    size_left_ -= data.size();
  }
  if (auto fed = file_.feed(data); !fed.has_value()) {
    return SyncError{.fault = SyncFault::kFile, .rdb = fed.error()};
  }
  if (!sized && file_.done()) {
    state_ = State::kMark;
    return feed_mark(data.last(static_cast<std::size_t>(file_.trailing())));
  }
  if (!sized) return success();
  if (file_.trailing() > 0 || (file_.done() && size_left_ > 0)) return fault(SyncFault::kEnd);
  if (file_.done()) {
    state_ = State::kDone;
  } else if (size_left_ == 0) {
    return SyncError{.fault = SyncFault::kFile, .rdb = backup::RdbError::kTruncated};
  }
  return success();
}

Result<void, SyncError> SyncReader::feed_mark(ByteSpan data) {
  const std::size_t size = std::min(data.size(), kMarkSize - mark_read_);
  if (as_text(data.first(size)) != std::string_view(mark_).substr(mark_read_, size)) {
    return fault(SyncFault::kEnd);
  }
  mark_read_ += size;
  if (mark_read_ == kMarkSize) state_ = State::kDone;
  return success();
}

}  // namespace sealane::warm
