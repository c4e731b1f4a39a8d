#pragma once
// RedisSource: a live Redis as parts, by SCAN and pipelined DUMP. Memory: one part, one page of
// keys, one group of values, one window of a big key. How keys become commands, and what a resumed
// run repeats: docs/protocol/warm.md.
#include <atomic>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/token_bucket.h"
#include "sealane/base/clock.h"
#include "sealane/warm/source.h"
#include "warm/part_builder.h"
#include "warm/redis_link.h"

namespace sealane::warm {

struct RedisSourceOptions {
  std::size_t part_size = kDefaultPartSize;
  // Keys that take more memory than this are read in windows, built up beside and renamed.
  std::size_t big_key_size = std::size_t{32} * 1024 * 1024;
  TokenRange range;
  // Values as the commands of their type, not as DUMP: for a target that is an older Redis.
  bool portable = false;
  std::uint64_t bytes_per_second = 0;  // 0: no limit
};

// What a key under construction is called on the target. Targets accept writers for such keys only,
// unless they overwrite.
inline constexpr std::string_view kTemporaryPrefix = "sealane-warm-temporary:";
std::string temporary_name(ByteSpan key);

class RedisSource final : public Source {
 public:
  // Connects, and looks what the server can do. `cancel` may be null.
  static Result<std::unique_ptr<RedisSource>, Error> open(const backup::RedisAddress& address,
                                                          const RedisSourceOptions& options,
                                                          Clock& clock,
                                                          const flow::Cancellation* cancel);
  std::string description() const override { return address_.description; }
  Result<bool, Error> resume(const PartCursor& behind) override;
  Result<std::optional<Part>, Error> next() override;
  Progress progress() const override;
  void set_rate(std::uint64_t bytes_per_second) override;
  void interrupt() noexcept override;

  // Only these keys, complete, in any order: for repairs. Instead of the SCAN; before next().
  void read_only(std::vector<Bytes> keys);

 private:
  RedisSource(backup::RedisAddress address, const RedisSourceOptions& options, Clock& clock,
              const flow::Cancellation* cancel);
  struct Key {
    Bytes name;
    std::uint64_t size = 0;  // in memory, about
  };
  // Keys whose values are read in one transaction.
  struct Group {
    std::vector<Key> keys;
    std::uint64_t size = 0;  // as far as it is known
  };
  // A key that is read in windows.
  struct Window {
    Bytes key;
    std::string temporary;
    std::string type;
    std::string cursor = "0";  // of the SCAN family; the last id of a stream
    std::uint64_t offset = 0;  // of strings and lists
    std::uint64_t length = 0;
    std::uint64_t count = 1;  // elements a step
    int tries = 0;
    bool begun = false;
  };

  Result<void, Error> connect();
  // Pages and groups are asked for ahead of time; their answers come in that order. Nothing else
  // may be asked while any is under way.
  Result<void, Error> ask_page();
  Result<void, Error> take_page();
  Result<void, Error> read_sizes(std::vector<Key>& keys);
  bool may_ask_group() const;
  Result<void, Error> ask_group();
  Result<void, Error> take_group();
  void add_value(const Key& key, const std::string& dump, std::int64_t expires);
  Result<void, Error> begin_window(Bytes key);
  Result<void, Error> step_window();
  Result<bool, Error> copy_elements(Bytes& command);  // true: that was the last
  Result<bool, Error> copy_stream(Bytes& command);
  Result<void, Error> end_window();
  Result<void, Error> drop_window();
  Result<void, Error> pay(std::uint64_t bytes);
  PartCursor cursor_text(std::string_view cursor) const;
  void settle();

  backup::RedisAddress address_;
  RedisSourceOptions options_;
  Clock& clock_;
  const flow::Cancellation* cancel_;
  flow::Cancellation interrupted_;
  std::unique_ptr<RedisLink> link_;
  bool absolute_expiry_ = false;  // PEXPIRETIME: Redis 7
  bool stream_details_ = false;   // XSETID with what was added and deleted: Redis 7
  std::string run_id_;
  bool may_be_big_ = true;

  std::optional<std::vector<Bytes>> wanted_;  // read_only()
  std::string next_cursor_ = "0";
  bool last_page_read_ = false;
  bool page_asked_ = false;
  std::deque<Key> page_;
  std::deque<Group> groups_;      // asked for
  std::uint64_t size_ahead_ = 0;  // of them
  std::optional<Window> window_;
  PartBuilder builder_;
  bool ended_ = false;
  Bytes scratch_;

  mutable std::mutex mutex_;  // of what other threads look at
  Progress progress_;
  std::optional<TokenBucket> bucket_;
};

}  // namespace sealane::warm
