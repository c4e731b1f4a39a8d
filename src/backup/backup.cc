#include <algorithm>
#include <filesystem>

#include "backup/engine.h"
#include "backup/operations.h"
#include "backup/url.h"
#include "base/copy_bytes.h"
#include "crypto/hash.h"
#include "repo/names.h"
#include "seal/age.h"

namespace sealane::backup {
namespace {

constexpr auto kKeptKeysLifetime = std::chrono::hours(1);

// Appends to the snapshot that is being written.
class ObjectSink final : public flow::ByteSink {
 public:
  explicit ObjectSink(store::SnapshotWriter& writer) : writer_(writer) {}
  Result<void, Error> write(ByteSpan data) override { return writer_.append(data); }

 private:
  store::SnapshotWriter& writer_;
};

// Bytes that are in memory already.
class MemorySource final : public flow::ByteSource {
 public:
  explicit MemorySource(ByteSpan rest) : rest_(rest) {}
  Result<std::size_t, Error> read(MutableByteSpan out) override {
    const std::size_t size = std::min(out.size(), rest_.size());
    copy_bytes(rest_.first(size), out.begin());
    rest_ = rest_.subspan(size);
    return size;
  }

 private:
  ByteSpan rest_;
};

class Backup {
 public:
  Backup(store::DirectoryRepository& repository, const BackupRequest& request,
         DriverContext& context, const Observer& observer)
      : repository_(repository), request_(request), context_(context), observer_(observer) {}

  Result<BackupResult, Error> run() {
    const SteadyTime start = context_.clock.steady_now();
    SEALANE_TRY(check_recipients());
    SEALANE_TRY(writer_,
                repository_.begin(request_.host->public_key(), request_.plan, request_.seen));
    if (request_.keep_keys) {
      result_.keys.emplace();
      result_.keys->expires = start + kKeptKeysLifetime;
    }
    result_.details.started = now();
    observer_.stage(
        {.name = "opening " + redacted_url(request_.source), .counters = nullptr, .total = {}});
    SEALANE_TRY(const auto source, open_source(request_.source, context_));
    source->set_fingerprint_level(request_.fingerprint_level);
    for (std::size_t i = 0; i < source->streams().size(); ++i) {
      SEALANE_TRY(dump(*source, i));
    }
    SEALANE_TRY(describe(*source));
    SEALANE_TRY(seal_details());
    SEALANE_TRY(result_.snapshot, writer_->commit(*request_.host, request_.host_name, now()));
    for (const repo::ObjectRecord& object : result_.snapshot.objects)
      result_.stored_size += object.size;
    result_.seconds = std::chrono::duration<double>(context_.clock.steady_now() - start).count();
    return std::move(result_);
  }

 private:
  WallTime now() const {
    return std::chrono::floor<std::chrono::seconds>(context_.clock.wall_now());
  }

  // A host that can open its own backups gives them to whoever takes the host.
  Result<void, Error> check_recipients() const {
    const identity::Recipient own = identity::SshRecipient{request_.host->public_key()};
    if (!request_.self_readable &&
        std::ranges::find(request_.recipients, own) != request_.recipients.end()) {
      return Error{.kind = ErrorKind::kUsage,
                   .message =
                       "one recipient is this host's own identity, so whoever takes the host could "
                       "read its backups; use a recovery key, or say --self-readable"};
    }
    return success();
  }

  Result<std::unique_ptr<seal::StreamSealer>, Error> make_sealer(const std::string& file) {
    std::unique_ptr<seal::FileKey> file_key;
    auto sealer = seal::make_age_sealer({.recipients = request_.recipients}, context_.random,
                                        request_.keep_keys ? &file_key : nullptr);
    if (!sealer.has_value()) return seal_failure(sealer.error(), file);
    if (file_key) {
      result_.keys->file_keys.emplace(file, crypto::LockedSecret(file_key->expose()));
    }
    return std::move(sealer).value();
  }

  Result<void, Error> dump(SourceSnapshot& source, std::size_t index) {
    const StreamDescription& stream = source.streams()[index];
    const std::string file = repo::stream_file(index, stream.name);
    SEALANE_TRY(const auto sealer, make_sealer(file));
    flow::FlowCounters counters;
    observer_.stage({.name = "backing up " + stream.name,
                     .counters = &counters,
                     .total = index == 0 ? source.estimated_size() : std::nullopt});
    // A dump takes as long as its server needs, and we have less to do than that. But on a machine
    // that is full before it begins, who gives way gives way to strangers.
    const auto precedence = source.is_made_by_others() && !flow::cores_are_taken()
                                ? flow::Precedence::kOthersFirst
                                : flow::Precedence::kEqual;
    // The counters die with this call; the observer must let go of them first.
    const auto report = [&]() -> Result<SealReport, Error> {
      SEALANE_TRY(const auto dump, source.open_stream(index));
      SEALANE_TRY(writer_->begin_object(file));
      ObjectSink sink(*writer_);
      return seal_stream(*sealer, *dump, sink,
                         {.compress = true,
                          .compression_level = request_.compression_level,
                          .hash_plain = true,
                          .hash_sealed = true},
                         {.threads = request_.threads,
                          .precedence = precedence,
                          .cancel = &context_.cancel,
                          .counters = &counters});
    }();
    observer_.stage({.name = "", .counters = nullptr, .total = {}});
    if (!report.has_value()) return report.error();
    SEALANE_TRY(writer_->finish_object(report.value().sealed.hash));
    result_.details.streams.push_back({.name = stream.name,
                                       .format = stream.format,
                                       .hint = stream.hint,
                                       .plain_size = report.value().plain.size,
                                       .plain_blake3 = report.value().plain.hash});
    return success();
  }

  Result<void, Error> describe(SourceSnapshot& source) {
    repo::Details& details = result_.details;
    observer_.stage({.name = "taking the fingerprint", .counters = nullptr, .total = {}});
    SEALANE_TRY(details.fingerprint, source.fingerprint());
    details.source = redacted_url(request_.source);
    details.kind = source_kind(request_.source);
    details.sealane = SEALANE_VERSION;
    details.properties = source.properties();
    if (const auto tool = details.properties.find("tool"); tool != details.properties.end()) {
      details.tool = tool->second;
    }
    const UnreadableParts unreadable = source.unreadable();
    details.unreadable_count = unreadable.count;
    for (const Unreadable& item : unreadable.named) {
      if (details.unreadable.size() == repo::Details::kMaxUnreadable) break;
      details.unreadable.push_back({.path = item.path, .reason = item.reason});
    }
    const auto warnings = source.warnings();
    for (const std::string& warning : warnings) observer_.warning(warning);
    details.exit_status = unreadable.count == 0 && warnings.empty() ? 0 : 3;
    details.finished = now();
    if (const auto fit = repo::check(details); !fit.has_value()) {
      return Error{.kind = ErrorKind::kFailed,
                   .message = "cannot describe this snapshot: " + repo::describe(fit.error())};
    }
    return success();
  }

  Result<void, Error> seal_details() {
    const std::string text = repo::encode(result_.details);
    const std::string file(repo::kDetailsFile);
    SEALANE_TRY(const auto sealer, make_sealer(file));
    SEALANE_TRY(writer_->begin_object(file));
    MemorySource source(as_bytes(text));
    ObjectSink sink(*writer_);
    SEALANE_TRY(const auto report,
                seal_stream(*sealer, source, sink, {.hash_sealed = true},
                            {.threads = 1, .cancel = &context_.cancel, .counters = nullptr}));
    return writer_->finish_object(report.sealed.hash);
  }

  store::DirectoryRepository& repository_;
  const BackupRequest& request_;
  DriverContext& context_;
  const Observer& observer_;
  std::unique_ptr<store::SnapshotWriter> writer_;
  BackupResult result_;
};

// What tells one source from all others, whoever reads it: the place without user and password.
std::string place_of(std::string_view text) {
  const std::string kind = source_kind(text);
  if (kind == "sqlite" || kind == "file") {
    const auto path = local_path(text);
    std::error_code error;
    const std::filesystem::path absolute =
        path ? std::filesystem::absolute(path.value(), error) : std::filesystem::path();
    if (path && !error) {
      std::string normal = absolute.lexically_normal().string();
      while (normal.size() > 1 && normal.ends_with('/')) normal.pop_back();
      return kind + '\n' + normal;
    }
  } else if (const auto url = parse_url(text); url.has_value()) {
    const Url& at = url.value();
    const std::string port = at.port ? std::to_string(*at.port) : "";
    const std::string path = at.path.empty() ? at.path : at.path.substr(1);
    return kind + '\n' + std::string(at.parameter("host").value_or(at.host)) + '\n' +
           std::string(at.parameter("port").value_or(port)) + '\n' +
           std::string(at.parameter("dbname").value_or(path));
  }
  return kind + '\n' + std::string(text);
}

}  // namespace

std::string source_kind(std::string_view url) {
  std::string scheme = url_scheme(url);
  if (scheme == "postgres") return "postgresql";
  if (scheme.starts_with("redis") || scheme == "unix") return "redis";
  return scheme;
}

std::string short_plan(std::string_view url) {
  const std::string kind = source_kind(url);
  std::string plain = redacted_url(url);
  plain = plain.substr(0, plain.find('?'));
  std::string label = base_name(plain.substr(std::min(plain.find(':') + 1, plain.size())));
  const auto dot = label.rfind('.');
  if ((kind == "sqlite" || kind == "file") && dot != std::string::npos && dot > 0)
    label.resize(dot);
  return repo::to_name(label.empty() ? kind : kind + "-" + label);
}

std::string default_plan(std::string_view url) {
  constexpr std::size_t kHashDigits = 8;
  std::string name = short_plan(url);
  if (source_kind(url) == "stdin") return name;
  name.resize(std::min(name.size(), repo::kMaxName - kHashDigits - 1));
  return name + '-' + to_hex(crypto::sha256(as_bytes(place_of(url)))).substr(0, kHashDigits);
}

Result<BackupResult, Error> run_backup(store::DirectoryRepository& repository,
                                       const BackupRequest& request, DriverContext& context,
                                       const Observer& observer) {
  return Backup(repository, request, context, observer).run();
}

}  // namespace sealane::backup
