#include "backup/sealed_object.h"

#include <algorithm>

#include "base/check.h"
#include "crypto/hash.h"
#include "seal/age.h"

namespace sealane::backup {
namespace {

// The object's bytes from its first, hashed on the way where the commit is yet to be compared.
class ObjectSource final : public flow::ByteSource {
 public:
  ObjectSource(File& file, bool hash) : file_(file), hash_(hash) {}
  Result<std::size_t, Error> read(MutableByteSpan out) override {
    const auto got = file_.read(out);
    if (!got.has_value()) return to_error(got.error());
    if (hash_) sha256_.update(out.first(got.value()));
    return got.value();
  }
  crypto::Sha256Digest digest() { return sha256_.finish(); }

 private:
  File& file_;
  bool hash_;
  crypto::Sha256 sha256_;
};

// At least the age header from the start of `source`; what follows it belongs to the payload.
Result<Bytes, Error> read_header(flow::ByteSource& source, const std::string& name,
                                 std::size_t& header_size) {
  Bytes start;
  bool at_end = false;
  std::size_t wanted = 4096;
  for (;;) {
    while (start.size() < wanted && !at_end) {
      const std::size_t at = start.size();
      start.resize(wanted);
      SEALANE_TRY(const std::size_t got, source.read(MutableByteSpan(start).subspan(at)));
      start.resize(at + got);
      at_end = got == 0;
    }
    const auto step = seal::age_header_size(start, at_end);
    if (!step.has_value()) return seal_failure(step.error(), name);
    if (const auto* size = std::get_if<std::size_t>(&step.value())) {
      header_size = *size;
      return start;
    }
    wanted = std::max(start.size() + 1,
                      static_cast<std::size_t>(std::get<seal::BytesNeeded>(step.value())));
  }
}

}  // namespace

Result<StreamDigest, Error> open_object_stream(store::DirectoryRepository& repository,
                                               const store::SnapshotInfo& snapshot,
                                               const std::string& file, const OpeningKeys& keys,
                                               flow::ByteSink& out, const ObjectJob& job,
                                               DriverContext& context) {
  const std::string name = snapshot.directory + "/" + file;
  const auto record = std::ranges::find(snapshot.objects, file, &repo::ObjectRecord::file);
  SEALANE_CHECK(record != snapshot.objects.end());
  SEALANE_TRY(const auto object, repository.open_object(snapshot, file));
  ObjectSource source(*object, job.hash_sealed);
  std::size_t header_size = 0;
  SEALANE_TRY(const Bytes start, read_header(source, name, header_size));

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
  auto opener = seal::make_age_opener(ByteSpan(start).first(header_size), options);
  if (!opener.has_value()) return seal_failure(opener.error(), name);

  auto report = open_stream(
      *opener.value(), ByteSpan(start).subspan(header_size), source, out,
      {.decompress = job.decompress, .hash_plain = true, .max_plain_size = job.max_plain_size},
      {.threads = job.threads, .cancel = &context.cancel, .counters = job.counters});
  if (!report.has_value()) {
    Error error = report.error();
    if (error.kind == ErrorKind::kVerificationFailed)
      error.message = printable(name) + ": " + error.message;
    return error;
  }
  if (job.hash_sealed && source.digest() != record->sha256) {
    return Error{.kind = ErrorKind::kVerificationFailed,
                 .message = printable(name) + " is not what its commit says: the SHA-256 differs"};
  }
  return report.value().plain;
}

}  // namespace sealane::backup
