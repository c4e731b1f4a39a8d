#include "backup/raw.h"

#include <algorithm>
#include <cerrno>

#include "base/check.h"
#include "flow/descriptor.h"
#include "store/atomic_file.h"

namespace sealane::backup {
namespace {

constexpr std::size_t kMaxStreamName = 64;

class RawSource final : public SourceSnapshot {
 public:
  RawSource(const std::string& name, int fd, DriverContext& context)
      : streams_{{.name = name, .format = "raw", .hint = "cat"}},
        fd_(fd),
        cancel_(context.cancel) {}

  const std::vector<StreamDescription>& streams() const override { return streams_; }
  Result<std::unique_ptr<DumpStream>, Error> open_stream(std::size_t index) override {
    SEALANE_CHECK(index == 0);
    return std::unique_ptr<DumpStream>(
        std::make_unique<flow::DescriptorSource>(fd_, "standard input", &cancel_));
  }
  Result<std::optional<Fingerprint>, Error> fingerprint() override {
    return std::optional<Fingerprint>();
  }
  std::map<std::string, std::string> properties() const override { return {}; }

 private:
  std::vector<StreamDescription> streams_;
  int fd_;
  flow::Cancellation& cancel_;
};

class RawTarget final : public Target {
 public:
  RawTarget(std::string path, DriverContext& context) : path_(std::move(path)), context_(context) {}

  bool takes(std::string_view) const override { return true; }
  Result<bool, Error> is_empty() override {
    const auto status = context_.files.status(path_);
    if (status.has_value()) return false;
    if (status.error().code == ENOENT) return true;
    return to_error(status.error());
  }
  Result<void, Error> clear() override {
    overwrite_ = store::Overwrite::kAllow;
    return success();
  }
  Result<std::unique_ptr<Stream>, Error> open_stream(const StreamDescription& stream) override {
    if (file_) {
      return Error{ErrorKind::kUsage, "the snapshot has more than one stream; restore \"" +
                                          printable(stream.name) + "\" to a file of its own"};
    }
    SEALANE_TRY(file_,
                store::AtomicFile::create(context_.files, context_.random, path_, overwrite_));
    return std::unique_ptr<Stream>(std::make_unique<RawStream>(*file_));
  }
  Result<void, Error> finish() override {
    SEALANE_CHECK(file_ != nullptr);
    return file_->commit();
  }
  Result<std::optional<Fingerprint>, Error> fingerprint() override {
    return std::optional<Fingerprint>();
  }

 private:
  class RawStream final : public Stream {
   public:
    explicit RawStream(store::AtomicFile& file) : file_(file) {}
    Result<void, Error> write(ByteSpan data) override {
      const auto written = file_.file().write(data);
      if (!written.has_value()) return to_error(written.error());
      return success();
    }
    Result<void, Error> finish() override { return success(); }

   private:
    store::AtomicFile& file_;
  };

  std::string path_;
  DriverContext context_;
  store::Overwrite overwrite_ = store::Overwrite::kRefuse;
  std::unique_ptr<store::AtomicFile> file_;
};

bool is_stream_name(std::string_view name) {
  const auto fits = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
  };
  return !name.empty() && name.size() <= kMaxStreamName && name[0] != '.' &&
         std::ranges::all_of(name, fits);
}

}  // namespace

Result<std::unique_ptr<SourceSnapshot>, Error> open_raw_source(const std::string& name, int fd,
                                                               DriverContext& context) {
  if (!is_stream_name(name)) {
    return Error{ErrorKind::kUsage,
                 "the name after \"stdin:\" may have 1 to 64 of a-z, 0-9, '.', '_' and '-', and no "
                 "'.' in front"};
  }
  return std::unique_ptr<SourceSnapshot>(std::make_unique<RawSource>(name, fd, context));
}

Result<std::unique_ptr<Target>, Error> open_raw_target(const std::string& path,
                                                       DriverContext& context) {
  return std::unique_ptr<Target>(std::make_unique<RawTarget>(path, context));
}

}  // namespace sealane::backup
