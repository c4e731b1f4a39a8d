#include "backup/sealed_object.h"

#include <algorithm>

#include "backup/sealed_input.h"
#include "base/check.h"
#include "flow/file_stream.h"
#include "seal/age.h"

namespace sealane::backup {
Result<StreamDigest, Error> open_object_stream(store::DirectoryRepository& repository,
                                               const store::SnapshotInfo& snapshot,
                                               const std::string& file, const OpeningKeys& keys,
                                               flow::ByteSink& out, const ObjectJob& job,
                                               DriverContext& context) {
  const std::string name = snapshot.directory + "/" + file;
  const auto record = std::ranges::find(snapshot.objects, file, &repo::ObjectRecord::file);
  SEALANE_CHECK(record != snapshot.objects.end());
  SEALANE_TRY(const auto object, repository.open_object(snapshot, file));
  flow::FileSource source(*object);
  SealedInput sealed(source, name);
  SEALANE_TRY(const SealedFormat format, sealed.detect());
  if (format != SealedFormat::kAge || sealed.armored())
    return seal_failure(seal::SealError::kNotThisFormat, name);
  SEALANE_TRY(const ByteSpan header, sealed.age_header());

  seal::AgeOpenOptions options;
  options.keys = keys.identities;
  std::unique_ptr<seal::FileKey> file_key;
  if (keys.kept != nullptr) {
    const auto kept = keys.kept->file_keys.find(file);
    if (kept == keys.kept->file_keys.end() || context.clock.steady_now() >= keys.kept->expires) {
      return Error{
          .kind = ErrorKind::kWrongKey,
          .message = "the key of " + printable(name) + " is not kept any more; open it with -i"};
    }
    file_key = std::make_unique<seal::FileKey>(kept->second.expose().first<seal::FileKey::kSize>());
    options.file_key = file_key.get();
  }
  auto opener = seal::make_age_opener(header, options);
  if (!opener.has_value()) return seal_failure(opener.error(), name);

  auto report =
      open_stream(*opener.value(), sealed.first(), sealed.source(), out,
                  {.name = name,
                   .header = header,
                   .decompress = job.decompress,
                   .hash_sealed = job.hash_sealed,
                   .hash_plain = true,
                   .max_plain_size = job.max_plain_size},
                  {.threads = job.threads, .cancel = &context.cancel, .counters = job.counters});
  if (!report.has_value()) return report.error();
  if (job.hash_sealed && report.value().sealed.hash != record->sha256) {
    return Error{.kind = ErrorKind::kVerificationFailed,
                 .message = printable(name) + " is not what its commit says: the SHA-256 differs"};
  }
  return report.value().plain;
}

}  // namespace sealane::backup
