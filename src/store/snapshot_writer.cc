#include "store/snapshot_writer.h"

#include <cerrno>
#include <chrono>

#include "base/check.h"
#include "repo/commit.h"
#include "repo/names.h"
#include "store/view.h"

namespace sealane::store {

Result<std::unique_ptr<DirectoryWriter>, Error> DirectoryWriter::start(
    const RepositoryPlace& place, Link link, std::unique_ptr<FileLock> lock) {
  const std::string directory = join_path(place.absolute(chain_directory(link.key_id, link.plan)),
                                          random_name(place.seams.random, kTemporaryPrefix));
  const auto made = place.seams.files.create_directory(directory);
  if (!made.has_value()) return to_error(made.error());
  return std::unique_ptr<DirectoryWriter>(
      new DirectoryWriter(place, std::move(link), std::move(lock), directory));
}

DirectoryWriter::~DirectoryWriter() {
  if (renamed_) return;
  file_.reset();
  // What cannot be removed now, the next holder of the lock removes.
  static_cast<void>(remove_entry(place_.seams.files, directory_, FileType::kDirectory));
}

Result<void, Error> DirectoryWriter::begin_object(const std::string& file) {
  SEALANE_CHECK(!file_ && !renamed_);
  const bool after_details = !objects_.empty() && objects_.back().file == repo::kDetailsFile;
  const bool known = file == repo::kDetailsFile || (objects_.size() < repo::kMaxStreams &&
                                                    repo::stream_name(file, objects_.size()));
  if (after_details || !known) {
    return Error{ErrorKind::kUsage, "a snapshot cannot take the object " + printable(file) +
                                        " as number " + std::to_string(objects_.size())};
  }
  auto opened = place_.seams.files.open(join_path(directory_, file), OpenMode::kCreateExclusive);
  if (!opened.has_value()) return to_error(opened.error());
  file_ = std::move(opened.value());
  objects_.push_back({.file = file, .size = 0, .sha256 = {}});
  return success();
}

Result<void, Error> DirectoryWriter::append(ByteSpan data) {
  SEALANE_CHECK(file_ != nullptr);
  const auto written = file_->write(data);
  if (!written.has_value()) return to_error(written.error());
  objects_.back().size += data.size();
  return success();
}

Result<void, Error> DirectoryWriter::finish_object(const ByteArray<32>& sha256) {
  SEALANE_CHECK(file_ != nullptr);
  ObjectRecord& object = objects_.back();
  object.sha256 = sha256;
  const auto synced = file_->sync();
  if (!synced.has_value()) return to_error(synced.error());
  const auto status = file_->status();
  if (!status.has_value()) return to_error(status.error());
  if (status.value().size != object.size) {
    return Error{ErrorKind::kFailed, printable(join_path(directory_, object.file)) + " has " +
                                         std::to_string(status.value().size) + " bytes, though " +
                                         std::to_string(object.size) +
                                         " were written: something else writes there"};
  }
  file_.reset();
  return success();
}

Result<SnapshotInfo, Error> DirectoryWriter::commit(const identity::SigningKey& host,
                                                    const std::string& host_name,
                                                    WallTime host_time) {
  SEALANE_CHECK(!file_ && !renamed_);
  SEALANE_CHECK(!objects_.empty() && objects_.back().file == repo::kDetailsFile);
  SEALANE_CHECK(repo::key_id(host.public_key()) == link_.key_id);
  FileSystem& files = place_.seams.files;
  repo::Commit commit{.repository = place_.id,
                      .host = identity::fingerprint(host.public_key()),
                      .host_name = host_name,
                      .plan = link_.plan,
                      .seq = link_.seq,
                      .previous = link_.previous,
                      .host_time = std::chrono::floor<std::chrono::seconds>(host_time),
                      .objects = objects_};
  if (const auto fits = repo::check(commit); !fits.has_value()) {
    return Error{ErrorKind::kUsage, "this snapshot cannot be committed: " + describe(fits.error())};
  }
  const WallTime received = std::chrono::floor<std::chrono::seconds>(place_.seams.clock.wall_now());
  const std::string document = repo::sign_commit(commit, host);
  const std::string id = repo::text_id(repo::encode(commit));
  SnapshotInfo info = to_snapshot(
      {.commit = std::move(commit), .id = id, .signer = host.public_key()}, link_.key_id);
  info.received = received;

  const std::string parent = parent_path(directory_);
  const auto publish = [&]() -> FileResult<void> {
    SEALANE_TRY(write_new_file(files, join_path(directory_, kReceivedFile),
                               as_bytes(to_rfc3339(received) + "\n")));
    SEALANE_TRY(write_new_file(files, join_path(directory_, kCommitFile), as_bytes(document)));
    SEALANE_TRY(files.sync_directory(directory_));
    SEALANE_TRY(files.rename(directory_, place_.absolute(info.directory), RenameMode::kNoReplace));
    renamed_ = true;
    return files.sync_directory(parent);
  };
  const auto published = publish();
  if (!published.has_value()) return to_error(published.error());
  return info;
}

}  // namespace sealane::store
