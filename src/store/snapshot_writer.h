#pragma once
// DirectoryWriter: the SnapshotWriter of a directory. One folder ".tmp-…" beside the snapshots.
#include "store/place.h"

namespace sealane::store {

class DirectoryWriter final : public SnapshotWriter {
 public:
  struct Link {  // where in which chain
    std::string key_id;
    std::string plan;
    std::uint64_t seq = 0;
    std::string previous;
  };
  // Makes the folder. `lock` is the chain's.
  static Result<std::unique_ptr<DirectoryWriter>, Error> start(const RepositoryPlace& place,
                                                               Link link,
                                                               std::unique_ptr<FileLock> lock);
  ~DirectoryWriter() override;
  DirectoryWriter(const DirectoryWriter&) = delete;
  DirectoryWriter& operator=(const DirectoryWriter&) = delete;

  std::uint64_t seq() const override { return link_.seq; }
  std::string previous() const override { return link_.previous; }
  Result<void, Error> begin_object(const std::string& file) override;
  Result<void, Error> append(ByteSpan data) override;
  Result<void, Error> finish_object(const ByteArray<32>& sha256) override;
  Result<SnapshotInfo, Error> commit(const identity::SigningKey& host, const std::string& host_name,
                                     WallTime host_time) override;

 private:
  DirectoryWriter(const RepositoryPlace& place, Link link, std::unique_ptr<FileLock> lock,
                  std::string directory)
      : place_(place),
        link_(std::move(link)),
        lock_(std::move(lock)),
        directory_(std::move(directory)) {}

  RepositoryPlace place_;
  Link link_;
  std::unique_ptr<FileLock> lock_;
  std::string directory_;  // the temporary one, absolute
  std::vector<ObjectRecord> objects_;
  std::unique_ptr<File> file_;  // of objects_.back(), while it is written
  bool renamed_ = false;
};

}  // namespace sealane::store
