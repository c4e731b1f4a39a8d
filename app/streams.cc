#include "app/streams.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <utility>

namespace sealane::app {
namespace {

Error usage(std::string message) {
  return {.kind = ErrorKind::kUsage, .message = std::move(message)};
}

Error open_error(const std::string& path) {
  return to_error(FileError{.code = errno, .operation = "open", .path = path});
}

FileIdentity identity_of(const struct stat& status) {
  return {.device = status.st_dev, .inode = status.st_ino};
}

}  // namespace

Result<void, Error> keep_keys(const std::string& output, const std::vector<std::string>& keys) {
  struct stat there {};
  if (output == "-" || ::stat(output.c_str(), &there) != 0) return success();
  for (const std::string& key : keys) {
    struct stat status {};
    if (::stat(key.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) continue;
    if (identity_of(status) == identity_of(there)) {
      return usage(printable(output) +
                   " holds a key or recipients that this command reads, and is not replaced; "
                   "name another output");
    }
  }
  return success();
}

Result<Input, Error> Input::open(Context& context, const std::string& path) {
  Input input;
  struct stat status {};
  if (path == "-") {
    input.name_ = "standard input";
    if (::fstat(STDIN_FILENO, &status) == 0 && S_ISREG(status.st_mode)) {
      input.identity_ = identity_of(status);
    }
    input.source_ =
        std::make_unique<flow::DescriptorSource>(STDIN_FILENO, input.name_, &context.cancel);
    return input;
  }
  input.name_ = path;
  if (::stat(path.c_str(), &status) != 0) return open_error(path);
  if (S_ISDIR(status.st_mode)) return usage(printable(path) + " is a directory");
  if (S_ISREG(status.st_mode)) {
    input.identity_ = identity_of(status);
    input.size_ = static_cast<std::uint64_t>(status.st_size);
    auto file = context.files.open(path, OpenMode::kRead);
    if (!file.has_value()) return to_error(file.error());
    input.file_ = std::move(file).value();
    input.source_ = std::make_unique<flow::FileSource>(*input.file_);
    return input;
  }
  input.descriptor_ = flow::OwnedDescriptor(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY));
  if (!input.descriptor_.valid()) return open_error(path);
  input.source_ =
      std::make_unique<flow::DescriptorSource>(input.descriptor_.get(), path, &context.cancel);
  return input;
}

Result<Output, Error> Output::create(Context& context, const std::string& path, const Input& input,
                                     Existing existing) {
  Output output;
  output.files_ = &context.files;
  struct stat status {};
  if (path == "-") {
    output.name_ = "standard output";
    if (::fstat(STDOUT_FILENO, &status) == 0 && S_ISREG(status.st_mode) &&
        input.identity_ == identity_of(status)) {
      return usage("input and standard output are the same file");
    }
    output.sink_ =
        std::make_unique<flow::DescriptorSink>(STDOUT_FILENO, output.name_, &context.cancel);
    return output;
  }
  output.name_ = path;
  const bool exists = ::stat(path.c_str(), &status) == 0;
  if (exists && S_ISDIR(status.st_mode)) return usage(printable(path) + " is a directory");
  if (exists && !S_ISREG(status.st_mode)) {
    output.descriptor_ =
        flow::OwnedDescriptor(::open(path.c_str(), O_WRONLY | O_CLOEXEC | O_NOCTTY));
    if (!output.descriptor_.valid()) return open_error(path);
    output.sink_ =
        std::make_unique<flow::DescriptorSink>(output.descriptor_.get(), path, &context.cancel);
    return output;
  }
  if (exists && input.identity_ == identity_of(status)) {
    return usage("input and output are the same file: " + printable(path));
  }
  if (exists && existing == Existing::kRefuse) {
    return usage(printable(path) + " exists; remove it, or use --force to replace it");
  }
  output.path_ = path;
  if (exists) {
    std::error_code failed;
    const auto target = std::filesystem::canonical(path, failed);
    if (!failed) output.path_ = target.string();
    output.rename_mode_ = RenameMode::kReplace;
  }
  ByteArray<8> suffix;
  context.random.fill(suffix);
  const std::string temporary =
      join_path(parent_path(output.path_),
                ".tmp-" + base_name(output.path_).substr(0, 200) + "-" + to_hex(suffix));
  auto file = context.files.open(temporary, OpenMode::kCreateExclusive, 0600);
  if (!file.has_value()) {
    FileError error = file.error();
    error.path = output.path_;  // nobody knows the temporary
    return to_error(error);
  }
  output.temporary_ = temporary;
  output.file_ = std::move(file).value();
  output.sink_ = std::make_unique<flow::FileSink>(*output.file_);
  return output;
}

Output::~Output() {
  if (file_ != nullptr && !temporary_.empty()) static_cast<void>(files_->remove(temporary_));
}

Result<void, Error> Output::commit() {
  if (file_ == nullptr) return success();
  if (const auto synced = file_->sync(); !synced.has_value()) return to_error(synced.error());
  const auto renamed = files_->rename(temporary_, path_, rename_mode_);
  if (!renamed.has_value()) {
    if (renamed.error().code == EEXIST) {
      return usage(printable(path_) + " exists; remove it, or use --force to replace it");
    }
    return to_error(renamed.error());
  }
  temporary_.clear();
  const auto kept = files_->sync_directory(parent_path(path_));
  if (!kept.has_value()) return to_error(kept.error());
  return success();
}

}  // namespace sealane::app
