#pragma once
// ReplicaSource: a Redis as of one moment: the image that it gives to a new replica (SYNC), read
// as it streams by. It costs the server a fork and less work than to be asked for each key. Memory:
// one part, the largest key that is not a big one, and the names of the big ones. What becomes of
// each key: docs/protocol/warm.md.
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "backup/rdb.h"
#include "sealane/base/seams.h"
#include "sealane/warm/source.h"
#include "warm/part_builder.h"
#include "warm/read_pace.h"
#include "warm/redis_link.h"
#include "warm/redis_source.h"
#include "warm/sync_reader.h"

namespace sealane::warm {

// Big keys are not held while the image passes: their names are, and a RedisSource reads them
// afterwards, as they are then.
inline constexpr std::size_t kMaxBigKeys = 100'000;
inline constexpr std::size_t kMaxBigKeyNames = 16 * 1024 * 1024;  // bytes of them

// A server gives up who reads nothing for its repl-timeout, a minute: while all parts under way
// wait for the other side. So they are small.
inline constexpr std::size_t kReplicaPartSize = std::size_t{4} * 1024 * 1024;
// An image that is not read keeps the server's child waiting: while two are sent, one is read.
inline constexpr unsigned kReplicaParallel = 3;
// A value is held where it arrives, in its command, in its part and where that is sent.
inline constexpr std::size_t kReplicaBigKeySize = std::size_t{4} * 1024 * 1024;

class ReplicaSource final : public Source, private backup::RdbHandler {
 public:
  // Connects, and looks whether the server answers; it forks with the first next(). `cancel` may be
  // null. REQUIRES: not options.portable.
  static Result<std::unique_ptr<ReplicaSource>, Error> open(const backup::RedisAddress& address,
                                                            const RedisSourceOptions& options,
                                                            Clock& clock,
                                                            const flow::Cancellation* cancel);
  std::string description() const override { return address_.description; }
  std::optional<StoreId> store() const override { return store_; }
  // Always false: an image cannot be had again.
  Result<bool, Error> resume(const PartCursor& behind) override;
  Result<std::optional<Part>, Error> next() override;
  void reuse(Bytes&& memory) override { builder_.reuse(std::move(memory)); }
  Progress progress() const override;
  void set_rate(std::uint64_t bytes_per_second) override;
  void interrupt() noexcept override;

 private:
  ReplicaSource(backup::RedisAddress address, const RedisSourceOptions& options, Clock& clock,
                const flow::Cancellation* cancel);
  Result<void, Error> connect();
  Result<void, Error> read_image();
  Result<void, Error> end_image();
  Result<std::optional<Part>, Error> next_big();
  bool wants(const backup::RdbKey& key) override;
  bool on_key(const backup::RdbKey& key) override;
  bool on_function(ByteSpan) override { return true; }
  Error cut(const Error& why) const;
  Error failure_of(const SyncError& error) const;

  const backup::RedisAddress address_;
  const RedisSourceOptions options_;
  Clock& clock_;
  const flow::Cancellation* cancel_;
  ReadPace pace_;
  std::optional<StoreId> store_;
  std::unique_ptr<RedisLink> link_;
  std::int64_t server_ahead_ = 0;  // milliseconds of the server's clock before our steady one
  std::int64_t now_ = 0;           // Unix time of the server in milliseconds, about
  SyncReader sync_;
  bool asked_ = false;  // SYNC was sent
  Bytes buffer_;
  Bytes scratch_;
  Bytes unpacked_;
  PartBuilder builder_;
  std::uint64_t paid_ = 0;  // of builder_.bytes()
  bool ended_ = false;

  std::vector<Bytes> big_keys_;
  std::size_t big_key_names_ = 0;  // bytes
  std::uint32_t image_parts_ = 0;

  Progress seen_;             // by the thread that reads
  mutable std::mutex mutex_;  // of what other threads look at
  Progress progress_;         // what was seen, some keys ago
  std::unique_ptr<RedisSource> big_;
  bool interrupted_ = false;
};

}  // namespace sealane::warm
