#pragma once
// FileSource, FileSink: a warm copy in a file: the commands of parts, one after the other, as
// `redis-cli --pipe` takes them. The source also reads append-only files: commands, behind an RDB
// image or not.
#include <deque>
#include <memory>
#include <mutex>
#include <optional>

#include "backup/rdb.h"
#include "flow/stream.h"
#include "sealane/base/seams.h"
#include "sealane/warm/sink.h"
#include "warm/part_builder.h"
#include "warm/resp.h"

namespace sealane::warm {

struct FileSourceOptions {
  std::size_t part_size = kDefaultPartSize;
  TokenRange range;
};

// Memory: one part, and the largest value. Keys of databases other than 0 are an error: a part has
// none. A file that ends inside a command is an error too; what stands before was handed out.
class FileSource final : public Source, private backup::RdbHandler {
 public:
  static Result<std::unique_ptr<FileSource>, Error> open(FileSystem& files, const std::string& path,
                                                         const FileSourceOptions& options);
  std::string description() const override { return path_; }
  Result<bool, Error> resume(const PartCursor& behind) override;
  Result<std::optional<Part>, Error> next() override;
  Progress progress() const override;

 private:
  FileSource(std::string path, const FileSourceOptions& options)
      : path_(std::move(path)), options_(options), builder_(options.part_size, options.range) {}
  bool on_key(const backup::RdbKey& key) override;
  bool on_function(ByteSpan) override { return true; }  // no key; not part of a warm copy
  Result<void, Error> read_block();
  Result<void, Error> take_image(ByteSpan data);
  Result<void, Error> take_commands();
  Result<void, Error> finish();
  Error unusable(std::string_view why) const;
  PartCursor cursor_text(std::uint64_t offset) const;

  std::string path_;
  FileSourceOptions options_;
  std::unique_ptr<File> file_;
  std::uint64_t size_ = 0;
  std::uint64_t offset_ = 0;         // of the next byte to read
  std::uint64_t commands_from_ = 0;  // where the splitter began
  std::optional<backup::RdbReader> image_;
  bool image_refused_ = false;
  RespSplitter splitter_{kMaxCommandSize, RespSplitter::Notes::kSkip};
  Bytes transaction_;  // a MULTI until its EXEC
  std::uint64_t transaction_commands_ = 0;
  PartBuilder builder_;
  Bytes scratch_;
  Bytes buffer_;
  bool ended_ = false;
  mutable std::mutex mutex_;
  Progress progress_;
};

// Appends whole parts. The file appears with finish(), synced. What was written of a part that
// fails is cut off again, and the next one may be taken: a disk that is full for a while costs what
// came meanwhile. Thread-safe.
class FileSink final : public Sink {
 public:
  static Result<std::unique_ptr<FileSink>, Error> create(FileSystem& files, RandomSource& random,
                                                         const std::string& path);
  ~FileSink() override;
  std::string description() const override { return path_; }
  ApplyResult apply(const PartInfo& part, PartContent& content) override;
  // An error, too, if parts came and all failed: then there is no file.
  Result<void, Error> finish();
  // A part could not be cut off: nothing more is taken, and finish() says why.
  bool broken() const;

 private:
  FileSink(FileSystem& files, std::string path) : files_(files), path_(std::move(path)) {}
  // Behind the whole parts; gives where it ends.
  Result<std::uint64_t, Error> write(PartContent& content, ApplyCounts& counts, Cause& cause);
  FileSystem& files_;
  std::string path_;
  std::string temporary_;  // empty once it is gone
  mutable std::mutex mutex_;
  std::unique_ptr<File> file_;
  std::uint64_t size_ = 0;  // of whole parts
  std::optional<Error> last_failure_;
  std::optional<Error> broken_;
  Cause broken_by_ = Cause::kOther;
};

}  // namespace sealane::warm
