#include "sealane/backup/sealed_file.h"

#include "backup/armor_stream.h"
#include "backup/engine.h"
#include "backup/sealed_input.h"
#include "flow/file_stream.h"
#include "seal/age.h"
#include "store/atomic_file.h"

namespace sealane::backup {
namespace {

Error usage(std::string message) {
  return {.kind = ErrorKind::kUsage, .message = std::move(message)};
}

Result<std::unique_ptr<File>, Error> open_input(FileSystem& files, const std::string& path) {
  const auto status = files.status(path);
  if (!status.has_value()) return to_error(status.error());
  if (status.value().type != FileType::kRegular)
    return usage(printable(path) + " is no regular file");
  auto file = files.open(path, OpenMode::kRead);
  if (!file.has_value()) return to_error(file.error());
  return std::move(file).value();
}

}  // namespace

Result<SealedFileReport, Error> seal_file(FileSystem& files, RandomSource& random,
                                          const std::string& in, const std::string& out,
                                          const SealTo& to) {
  if (to.recipients.empty() == (to.passphrase == nullptr))
    return usage("seal to recipients, or under a passphrase");
  const auto sealer =
      seal::make_age_sealer({.recipients = to.recipients, .passphrase = to.passphrase}, random);
  if (!sealer.has_value())
    return usage("cannot seal: " + std::string(seal::describe(sealer.error())));
  SEALANE_TRY(const auto input, open_input(files, in));
  SEALANE_TRY(const auto output,
              store::AtomicFile::create(files, random, out, store::Overwrite::kRefuse));
  flow::FileSource source(*input);
  flow::FileSink file(output->file());
  ArmorSink armor(file);
  flow::ByteSink& sink = to.armor ? static_cast<flow::ByteSink&>(armor) : file;
  SEALANE_TRY(const SealReport report, seal_stream(*sealer.value(), source, sink, {}, {}));
  if (to.armor) {
    SEALANE_TRY(armor.finish());
  }
  SEALANE_TRY(output->commit());
  return SealedFileReport{.plain_size = report.plain.size, .sealed_size = report.sealed.size};
}

Result<SealedFileReport, Error> open_file(FileSystem& files, RandomSource& random,
                                          const std::string& in, const std::string& out,
                                          const OpenWith& with) {
  if (with.keys.empty() && with.passphrase == nullptr)
    return usage("opening " + printable(in) + " takes a key or a passphrase");
  SEALANE_TRY(const auto input, open_input(files, in));
  flow::FileSource source(*input);
  SealedInput sealed(source, in);
  SEALANE_TRY(const SealedFormat format, sealed.detect());
  if (format != SealedFormat::kAge) return seal_failure(seal::SealError::kNotThisFormat, in);
  SEALANE_TRY(const ByteSpan header, sealed.age_header());
  const auto opener =
      seal::make_age_opener(header, {.keys = with.keys, .passphrase = with.passphrase});
  if (!opener.has_value()) return seal_failure(opener.error(), in);
  SEALANE_TRY(const auto output,
              store::AtomicFile::create(files, random, out, store::Overwrite::kRefuse));
  flow::FileSink sink(output->file());
  OpenJob job;
  job.name = in;
  job.header = header;
  SEALANE_TRY(const OpenReport report,
              open_stream(*opener.value(), sealed.first(), sealed.source(), sink, job, {}));
  SEALANE_TRY(output->commit());
  return SealedFileReport{.plain_size = report.plain.size, .sealed_size = report.sealed.size};
}

}  // namespace sealane::backup
