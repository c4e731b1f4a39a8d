#include <algorithm>

#include "backup/operations.h"
#include "backup/sealed_object.h"
#include "base/limits.h"
#include "repo/names.h"

namespace sealane::backup {
namespace {

using store::DirectoryRepository;
using store::SnapshotInfo;

Error damaged(const SnapshotInfo& snapshot, const std::string& what) {
  return {.kind = ErrorKind::kVerificationFailed,
          .message = "snapshot " + snapshot.id.substr(0, 12) + ": " + what};
}

// Keeps what is written, up to a limit.
class MemorySink final : public flow::ByteSink {
 public:
  explicit MemorySink(std::size_t limit) : limit_(limit) {}
  Result<void, Error> write(ByteSpan data) override {
    if (data.size() > limit_ - content_.size()) {
      return Error{.kind = ErrorKind::kVerificationFailed,
                   .message = "it is larger than it may be"};
    }
    content_.insert(content_.end(), data.begin(), data.end());
    return success();
  }
  const Bytes& content() const { return content_; }

 private:
  std::size_t limit_;
  Bytes content_;
};

class NullSink final : public flow::ByteSink {
 public:
  Result<void, Error> write(ByteSpan) override { return success(); }
};

Result<void, Error> check_not_forgotten(const SnapshotInfo& snapshot) {
  if (!snapshot.forgotten) return success();
  return Error{.kind = ErrorKind::kFailed,
               .message = "snapshot " + snapshot.id.substr(0, 12) +
                          " was forgotten: its objects are deleted, only its commit is kept"};
}

// One stream to a sink, compared with what the details say of it: those are an object whose hash
// was signed, and they have the hash of what is in the stream. That of the stream as it lies there
// would tell no more of it; `verify` compares it.
Result<void, Error> open_into(DirectoryRepository& repository, const SnapshotInfo& snapshot,
                              const repo::Details& details, std::size_t index,
                              const OpeningKeys& keys, flow::ByteSink& out, ObjectJob job,
                              DriverContext& context, const Observer& observer,
                              const std::string& verb) {
  const repo::StreamDetails& stream = details.streams[index];
  flow::FlowCounters counters;
  job.counters = &counters;
  job.max_plain_size = stream.plain_size;
  observer.stage(
      {.name = verb + " " + stream.name, .counters = &counters, .total = stream.plain_size});
  const auto opened = open_object_stream(
      repository, snapshot, repo::stream_file(index, stream.name), keys, out, job, context);
  // The counters die with this call; the observer must let go of them first.
  observer.stage({.name = "", .counters = nullptr, .total = {}});
  if (!opened.has_value()) return opened.error();
  if (opened.value().size != stream.plain_size || opened.value().hash != stream.plain_blake3) {
    return damaged(snapshot, "stream " + stream.name + " is not what its details say");
  }
  return success();
}

}  // namespace

Result<repo::Details, Error> read_details(DirectoryRepository& repository,
                                          const SnapshotInfo& snapshot, const OpeningKeys& keys,
                                          DriverContext& context) {
  SEALANE_TRY(check_not_forgotten(snapshot));
  MemorySink sink(limits::kDetailsSize);
  const std::string file(repo::kDetailsFile);
  SEALANE_TRY(open_object_stream(repository, snapshot, file, keys, sink,
                                 {.decompress = false,
                                  .hash_sealed = true,
                                  .max_plain_size = limits::kDetailsSize,
                                  .threads = 1},
                                 context));
  auto details = repo::decode_details(as_text(sink.content()));
  if (!details.has_value()) {
    return damaged(snapshot, "cannot read its details: " + repo::describe(details.error()));
  }
  // The details are sealed, not signed; the signed commit says which objects there are.
  const auto& streams = details.value().streams;
  bool same = streams.size() + 1 == snapshot.objects.size();
  for (std::size_t i = 0; same && i < streams.size(); ++i) {
    same = snapshot.objects[i].file == repo::stream_file(i, streams[i].name);
  }
  if (!same) return damaged(snapshot, "its details speak of other streams than its commit");
  return std::move(details).value();
}

Result<void, Error> check_objects(DirectoryRepository& repository, const SnapshotInfo& snapshot,
                                  DriverContext& context, const Observer& observer) {
  SEALANE_TRY(check_not_forgotten(snapshot));
  std::uint64_t total = 0;
  for (const repo::ObjectRecord& object : snapshot.objects) total += object.size;
  flow::FlowCounters counters;
  observer.stage(
      {.name = "checking hashes", .counters = &counters, .total = total, .total_is_sealed = true});
  auto checked = [&]() -> Result<void, Error> {
    for (const repo::ObjectRecord& object : snapshot.objects) {
      SEALANE_TRY(repository.verify_object(snapshot, object.file, [&](std::uint64_t bytes) {
        counters.sealed_bytes.fetch_add(bytes, std::memory_order_relaxed);
        return !context.cancel.cancelled();
      }));
    }
    return success();
  }();
  observer.stage({.name = "", .counters = nullptr, .total = {}});
  return checked;
}

Result<repo::Details, Error> check_contents(DirectoryRepository& repository,
                                            const SnapshotInfo& snapshot, const OpeningKeys& keys,
                                            unsigned threads, DriverContext& context,
                                            const Observer& observer) {
  SEALANE_TRY(auto details, read_details(repository, snapshot, keys, context));
  NullSink sink;
  for (std::size_t i = 0; i < details.streams.size(); ++i) {
    SEALANE_TRY(open_into(repository, snapshot, details, i, keys, sink,
                          {.hash_sealed = true, .threads = threads}, context, observer, "opening"));
  }
  return details;
}

Result<RestoreResult, Error> run_restore(DirectoryRepository& repository,
                                         const SnapshotInfo& snapshot, const OpeningKeys& keys,
                                         Target& target, const RestoreRequest& request,
                                         DriverContext& context, const Observer& observer) {
  const SteadyTime start = context.clock.steady_now();
  RestoreResult result;
  SEALANE_TRY(result.details, read_details(repository, snapshot, keys, context));
  for (const repo::StreamDetails& stream : result.details.streams) {
    if (target.takes(stream.format)) continue;
    return Error{.kind = ErrorKind::kUsage,
                 .message = "snapshot " + snapshot.id.substr(0, 12) + " is one of " +
                            printable(result.details.source) + " (" + printable(stream.format) +
                            "), which cannot be restored there; name a target of its kind, or a "
                            "file with -o; nothing was changed"};
  }
  SEALANE_TRY(const bool empty, target.is_empty());
  if (!empty && !request.overwrite) {
    return Error{
        .kind = ErrorKind::kUsage,
        .message =
            "the target is not empty; name another, or say --overwrite to replace what is there"};
  }
  if (!empty) {
    SEALANE_TRY(const auto misfit, target.misfit(result.details.properties));
    if (misfit) {
      return Error{.kind = ErrorKind::kUsage,
                   .message = *misfit +
                              ", so what is there is not removed; restore to an empty target of "
                              "its version, and here if that was right"};
    }
  }
  const bool check_first = request.check_first && !target.appears_at_once();
  if (check_first) {
    SEALANE_TRY(check_objects(repository, snapshot, context, observer));
  }
  if (!empty) {
    SEALANE_TRY(target.clear());
  }
  const auto& expected = result.details.fingerprint;
  if (request.compare && expected) target.expect_fingerprint(expected->level);
  const auto soundness = result.details.properties.find(kSoundness);
  if (!request.recheck && soundness != result.details.properties.end() &&
      soundness->second == kSound) {
    target.expect_sound();
  }
  const auto filled = [&]() -> Result<void, Error> {
    for (std::size_t i = 0; i < result.details.streams.size(); ++i) {
      const repo::StreamDetails& stream = result.details.streams[i];
      SEALANE_TRY(
          const auto sink,
          target.open_stream({.name = stream.name, .format = stream.format, .hint = stream.hint}));
      SEALANE_TRY(
          open_into(repository, snapshot, result.details, i, keys, *sink,
                    {.hash_sealed = request.recheck && !check_first, .threads = request.threads},
                    context, observer, "restoring"));
      SEALANE_TRY(sink->finish());
      result.plain_size += stream.plain_size;
    }
    return target.finish();
  }();
  if (!filled.has_value()) {
    Error error = filled.error();
    if (target.fills_in_place()) {
      error.message +=
          "; the target may hold a part of the data now: when the cause is mended, restore again "
          "with --overwrite";
    }
    return error;
  }
  for (const std::string& warning : target.warnings()) observer.warning(warning);
  if (request.compare && expected) {
    observer.stage({.name = "comparing with the fingerprint", .counters = nullptr, .total = {}});
    SEALANE_TRY(result.found, target.fingerprint());
    if (result.found) {
      const auto differs = difference(*expected, *result.found);
      result.equal = !differs.has_value();
      result.difference = differs.value_or("");
    }
  }
  result.seconds = std::chrono::duration<double>(context.clock.steady_now() - start).count();
  return result;
}

Result<repo::Details, Error> restore_stream(DirectoryRepository& repository,
                                            const SnapshotInfo& snapshot, const OpeningKeys& keys,
                                            const std::string& stream, flow::ByteSink& out,
                                            bool check_first, unsigned threads,
                                            DriverContext& context, const Observer& observer) {
  SEALANE_TRY(auto details, read_details(repository, snapshot, keys, context));
  std::size_t index = 0;
  if (!stream.empty()) {
    const auto found = std::ranges::find(details.streams, stream, &repo::StreamDetails::name);
    index = static_cast<std::size_t>(found - details.streams.begin());
  }
  if (index == details.streams.size() || (stream.empty() && details.streams.size() != 1)) {
    std::string names;
    for (const repo::StreamDetails& each : details.streams)
      names += (names.empty() ? "" : ", ") + each.name;
    return Error{.kind = ErrorKind::kUsage,
                 .message = "name one of the streams of this snapshot with --only: " + names};
  }
  if (check_first) {
    SEALANE_TRY(check_objects(repository, snapshot, context, observer));
  }
  SEALANE_TRY(open_into(repository, snapshot, details, index, keys, out, {.threads = threads},
                        context, observer, "restoring"));
  return details;
}

}  // namespace sealane::backup
