#pragma once
// Input, Output: where a command reads and writes one stream: a file, a pipe, a device, or "-".
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "app/command.h"
#include "flow/descriptor.h"
#include "flow/file_stream.h"

namespace sealane::app {

// Which file it is, however it is called.
struct FileIdentity {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  friend bool operator==(const FileIdentity&, const FileIdentity&) = default;
};

// kUsage if `output` is one of the files in `keys`, however it is called, so that no --force costs
// what opens the rest. Empty names and "-" are no files.
Result<void, Error> keep_keys(const std::string& output, const std::vector<std::string>& keys);

class Input {
 public:
  // "-" is standard input. Symbolic links are followed.
  static Result<Input, Error> open(Context& context, const std::string& path);
  flow::ByteSource& source() { return *source_; }
  const std::string& name() const { return name_; }            // for messages
  std::optional<std::uint64_t> size() const { return size_; }  // of a regular file

 private:
  friend class Output;
  std::string name_;
  std::optional<FileIdentity> identity_;  // of a regular file
  std::optional<std::uint64_t> size_;
  std::unique_ptr<File> file_;
  flow::OwnedDescriptor descriptor_;
  std::unique_ptr<flow::ByteSource> source_;
};

// A regular file appears whole or not at all: until commit() all goes to a temporary beside it,
// which the destructor removes. "-", pipes and devices are written as the data comes.
class Output {
 public:
  enum class Existing : std::uint8_t { kRefuse, kReplace };
  // Refuses an existing file, unless told, and always the file that `input` reads. A symbolic link
  // is followed: its target is what appears.
  static Result<Output, Error> create(Context& context, const std::string& path, const Input& input,
                                      Existing existing);
  Output(Output&&) noexcept = default;
  Output& operator=(Output&&) = delete;
  ~Output();
  flow::ByteSink& sink() { return *sink_; }
  const std::string& name() const { return name_; }
  bool is_file() const { return file_ != nullptr; }
  // Synced and renamed; survives a power loss. Nothing to do for a pipe.
  Result<void, Error> commit();

 private:
  Output() = default;
  FileSystem* files_ = nullptr;
  std::string name_;
  std::string path_;
  std::string temporary_;  // empty once it is gone
  RenameMode rename_mode_ = RenameMode::kNoReplace;
  std::unique_ptr<File> file_;
  flow::OwnedDescriptor descriptor_;
  std::unique_ptr<flow::ByteSink> sink_;
};

}  // namespace sealane::app
