#include "warm/file.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <utility>

#include "base/check.h"
#include "warm/key_commands.h"

namespace sealane::warm {
namespace {

constexpr std::size_t kBlockSize = 256 * 1024;
constexpr std::string_view kImageMark = "REDIS";

Error failed(std::string message) { return {ErrorKind::kFailed, std::move(message)}; }

bool is_word(ByteSpan word, std::string_view upper) {
  return std::ranges::equal(as_text(word), upper, [](char c, char wanted) {
    return (c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c) == wanted;
  });
}

}  // namespace

// ---- FileSource ----

Result<std::unique_ptr<FileSource>, Error> FileSource::open(FileSystem& files,
                                                            const std::string& path,
                                                            const FileSourceOptions& options) {
  SEALANE_CHECK(options.part_size >= kMinPartSize && options.part_size <= kMaxPartSize);
  std::unique_ptr<FileSource> source(new FileSource(path, options));
  auto file = files.open(path, OpenMode::kRead);
  if (!file.has_value()) return to_error(file.error());
  source->file_ = std::move(file).value();
  const auto status = source->file_->status();
  if (!status.has_value()) return to_error(status.error());
  if (status.value().type == FileType::kDirectory) {
    return Error{ErrorKind::kUsage,
                 path +
                     " is a folder; name one of its files (of a Redis 7 the .base.rdb or "
                     ".base.aof, then each .incr.aof)"};
  }
  source->size_ = status.value().size;
  ByteArray<5> mark{};
  const auto got = source->file_->read_at(0, mark);
  if (!got.has_value()) return to_error(got.error());
  if (got.value() == mark.size() && as_text(mark) == kImageMark) {
    backup::RdbHandler& keys = *source;
    source->image_.emplace(keys, true);
  }
  source->buffer_.resize(kBlockSize);
  source->builder_.settle(source->cursor_text(0));
  return source;
}

PartCursor FileSource::cursor_text(std::uint64_t offset) const {
  return "f1:" + std::to_string(size_) + ':' + std::to_string(offset) + ':' +
         std::to_string(builder_.next_index());
}

Result<bool, Error> FileSource::resume(const PartCursor& behind) {
  std::array<std::uint64_t, 3> fields{};
  const char* at = behind.data() + std::min<std::size_t>(behind.size(), 2);
  const char* const end = behind.data() + behind.size();
  bool good = behind.starts_with("f1:");
  for (std::uint64_t& field : fields) {
    if (!good || at == end || *at != ':') {
      good = false;
      break;
    }
    const auto parsed = std::from_chars(at + 1, end, field);
    good = parsed.ec == std::errc{};
    at = parsed.ptr;
  }
  if (!good || at != end || fields[2] > 0xffff'ffffU) {
    return Error{ErrorKind::kUsage,
                 "the place to resume was not written by a file source: " + printable(behind, 80)};
  }
  if (fields[0] != size_ || fields[1] > size_) return false;
  if (fields[1] > 0) {
    image_.reset();
    offset_ = fields[1];
    commands_from_ = fields[1];
  }
  builder_.start_at(static_cast<std::uint32_t>(fields[2]));
  builder_.settle(behind);
  return true;
}

Source::Progress FileSource::progress() const {
  const std::lock_guard lock(mutex_);
  return progress_;
}

Error FileSource::unusable(std::string_view why) const {
  return failed(path_ + " cannot be used: " + std::string(why));
}

Result<std::optional<Part>, Error> FileSource::next() {
  for (;;) {
    if (auto part = builder_.take()) {
      const std::lock_guard lock(mutex_);
      progress_.bytes += part->commands.size();
      return part;
    }
    if (ended_) return std::optional<Part>();
    SEALANE_TRY(read_block());
  }
}

Result<void, Error> FileSource::read_block() {
  const auto got = file_->read_at(offset_, buffer_);
  if (!got.has_value()) return to_error(got.error());
  if (got.value() == 0) return finish();
  offset_ += got.value();
  const ByteSpan data = ByteSpan(buffer_).first(got.value());
  if (image_) return take_image(data);
  splitter_.feed(data);
  return take_commands();
}

Result<void, Error> FileSource::take_image(ByteSpan data) {
  if (auto fed = image_->feed(data); !fed.has_value()) {
    if (image_refused_) {
      return unusable("it has keys of a database other than 0; a warm copy is of one database");
    }
    return unusable(describe(fed.error()));
  }
  if (!image_->done()) return success();
  const auto behind = static_cast<std::size_t>(image_->trailing());
  commands_from_ = offset_ - behind;
  image_.reset();
  builder_.settle(cursor_text(commands_from_));
  splitter_.feed(data.last(behind));
  return take_commands();
}

bool FileSource::on_key(const backup::RdbKey& key) {
  if (key.database != 0) {
    image_refused_ = true;
    return false;
  }
  const bool inside = options_.range.contains(token_of(key.key));
  {
    const std::lock_guard lock(mutex_);
    ++(inside ? progress_.keys : progress_.out_of_range);
  }
  if (!inside) return true;
  scratch_.clear();
  append_restore(key, scratch_);
  builder_.add(scratch_, 1);
  return true;
}

Result<void, Error> FileSource::take_commands() {
  for (;;) {
    auto next = splitter_.next();
    if (!next.has_value()) {
      return unusable(std::string(describe(next.error())) + ", near byte " +
                      std::to_string(commands_from_ + splitter_.consumed()));
    }
    if (!next.value()) return success();
    const RespCommand& command = *next.value();
    if (is_word(command.words[0], "SELECT")) {
      if (command.words.size() == 2 && as_text(command.words[1]) == "0") continue;
      return unusable("it has keys of a database other than 0; a warm copy is of one database");
    }
    const bool has_key = command.words.size() > 1;
    if (has_key && !options_.range.contains(token_of(command.words[1]))) {
      const std::lock_guard lock(mutex_);
      ++progress_.out_of_range;
      continue;
    }
    const bool opens = is_word(command.words[0], "MULTI");
    const bool creates = is_word(command.words[0], "SET") && command.words.size() == 4 &&
                         is_word(command.words[3], "NX");
    const std::uint64_t whole_key = creates || is_word(command.words[0], "RESTORE") ? 1 : 0;
    if (opens || transaction_commands_ > 0) {
      if (transaction_.size() + command.whole.size() > kMaxPartSize) {
        return unusable("it has a transaction that is larger than a part may be");
      }
      transaction_.insert(transaction_.end(), command.whole.begin(), command.whole.end());
      ++transaction_commands_;
      if (!is_word(command.words[0], "EXEC")) continue;
      builder_.add(transaction_, 0, transaction_commands_);
      transaction_.clear();
      transaction_commands_ = 0;
    } else {
      builder_.add(command.whole, whole_key);
    }
    {
      const std::lock_guard lock(mutex_);
      progress_.keys += whole_key;
    }
    builder_.settle(cursor_text(commands_from_ + splitter_.consumed()));
  }
}

Result<void, Error> FileSource::finish() {
  if (image_) {
    const auto whole = image_->finish();
    return unusable(describe(whole.has_value() ? backup::RdbError::kTruncated : whole.error()));
  }
  const auto whole = splitter_.finish();
  if (!whole.has_value() || transaction_commands_ > 0) {
    builder_.cut();  // what is whole stays good
    return unusable("it ends inside a command or transaction; whole commands end at byte " +
                    std::to_string(commands_from_ + splitter_.consumed()));
  }
  builder_.cut();
  ended_ = true;
  return success();
}

// ---- FileSink ----

Result<std::unique_ptr<FileSink>, Error> FileSink::create(FileSystem& files, RandomSource& random,
                                                          const std::string& path) {
  if (files.status(path).has_value()) {
    return Error{ErrorKind::kUsage, path + " is there already; name a new file"};
  }
  ByteArray<8> suffix{};
  random.fill(suffix);
  std::unique_ptr<FileSink> sink(new FileSink(files, path));
  const std::string temporary = path + ".tmp-" + to_hex(suffix);
  auto file = files.open(temporary, OpenMode::kCreateExclusive, 0600);
  if (!file.has_value()) return to_error(file.error());
  sink->file_ = std::move(file).value();
  sink->temporary_ = temporary;
  return sink;
}

FileSink::~FileSink() {
  file_.reset();
  if (!temporary_.empty()) static_cast<void>(files_.remove(temporary_));
}

Result<std::uint64_t, Error> FileSink::write(PartContent& content, ApplyCounts& counts,
                                             Cause& cause) {
  RespSplitter splitter;
  std::uint64_t end = size_;
  const auto refuse = [&](RespError error) {
    cause = Cause::kRefused;
    return failed("the part is unusable: " + std::string(describe(error)));
  };
  for (;;) {
    SEALANE_TRY(const ByteSpan data, content.next());
    if (data.empty()) break;
    splitter.lend(data);
    for (;;) {
      const auto command = splitter.next();
      if (!command.has_value()) return refuse(command.error());
      if (!command.value()) break;
      ++counts.commands;
      ++counts.applied;
    }
    if (auto written = file_->write_at(end, data); !written.has_value()) {
      const int code = written.error().code;
      if (code == ENOSPC || code == EDQUOT) cause = Cause::kDiskFull;
      return to_error(written.error());
    }
    end += data.size();
  }
  if (auto whole = splitter.finish(); !whole.has_value()) return refuse(whole.error());
  return end;
}

ApplyResult FileSink::apply(const PartInfo&, PartContent& content) {
  const std::lock_guard lock(mutex_);
  ApplyResult result;
  Cause cause = broken_by_;
  if (!broken_) {
    auto end = write(content, result.counts, cause);
    if (end.has_value()) {
      size_ = end.value();
      return result;
    }
    result.error = end.error();
    // Half a part in the file makes it worthless.
    if (auto cut = file_->truncate(size_); !cut.has_value()) {
      broken_by_ = cause;
      broken_ =
          failed(end.error().message + " What was written of the part cannot be cut off again (" +
                 to_error(cut.error()).message + "), so nothing more can be kept in " + path_);
    }
  }
  if (broken_) result.error = broken_;
  last_failure_ = result.error;
  result.counts = {};
  result.counts.count(cause);
  return result;
}

bool FileSink::broken() const {
  const std::lock_guard lock(mutex_);
  return broken_.has_value();
}

Result<void, Error> FileSink::finish() {
  const std::lock_guard lock(mutex_);
  if (broken_) return *broken_;
  if (size_ == 0 && last_failure_) return *last_failure_;
  if (auto synced = file_->sync(); !synced.has_value()) return to_error(synced.error());
  file_.reset();
  if (auto moved = files_.rename(temporary_, path_, RenameMode::kNoReplace); !moved.has_value()) {
    return to_error(moved.error());
  }
  temporary_.clear();
  if (auto synced = files_.sync_directory(parent_path(path_)); !synced.has_value()) {
    return to_error(synced.error());
  }
  return success();
}

}  // namespace sealane::warm
