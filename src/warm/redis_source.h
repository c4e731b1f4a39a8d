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

#include "sealane/base/seams.h"
#include "sealane/warm/source.h"
#include "warm/part_builder.h"
#include "warm/read_pace.h"
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
  // A server that is loading its file is waited for where there is somebody to tell; else open()
  // fails.
  backup::OnLoading on_loading = {};
};

// What a key under construction is called on the target. Targets accept writers for such keys only,
// unless they overwrite.
inline constexpr std::string_view kTemporaryPrefix = "sealane-warm-temporary:";
std::string temporary_name(ByteSpan key);

inline constexpr std::string_view kScanCursorMark = "r1:";  // a RedisSource's cursor begins with it
// The cursor of what a ReplicaSource gives: no run can go on behind it.
inline constexpr std::string_view kImageCursor = "i1:image";

class RedisSource final : public Source {
 public:
  // Connects, and looks what the server can do. `cancel` may be null.
  static Result<std::unique_ptr<RedisSource>, Error> open(const backup::RedisAddress& address,
                                                          const RedisSourceOptions& options,
                                                          Clock& clock,
                                                          const flow::Cancellation* cancel);
  std::string description() const override { return address_.description; }
  std::optional<StoreId> store() const override { return store_; }
  Result<bool, Error> resume(const PartCursor& behind) override;
  Result<std::optional<Part>, Error> next() override;
  void reuse(Bytes&& memory) override { builder_.reuse(std::move(memory)); }
  Progress progress() const override;
  void set_rate(std::uint64_t bytes_per_second) override;
  void interrupt() noexcept override;

  // Only these keys, complete, in any order: for repairs. Instead of the SCAN; before next().
  void read_only(std::vector<Bytes> keys);

 private:
  RedisSource(backup::RedisAddress address, const RedisSourceOptions& options, Clock& clock,
              const flow::Cancellation* cancel);
  struct Key {
    std::string name;
    std::uint64_t size = 0;  // in memory, about
    std::uint64_t page = 0;
  };
  // What the server was asked for, in the order in which it answers.
  struct Asked {
    enum class Kind : std::uint8_t {
      kPage,   // SCAN
      kSizes,  // MEMORY USAGE of each key
      kTexts,  // a transaction: MGET, and expiries if some key of the database has one
      kDumps,  // a transaction: DUMP and expiry of each key
    };
    Kind kind = Kind::kPage;
    std::vector<Key> keys;
    std::uint64_t size = 0;  // of the values, as far as it is known
    bool expiries = false;   // kTexts
  };
  // Keys that were listed together; when all of them are in the builder, a run may resume there.
  struct Page {
    std::string behind;  // the cursor after it; empty: none
    std::uint64_t open = 0;
  };
  // A key that is read in windows.
  struct Window {
    Bytes key;
    std::uint64_t page = 0;
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
  // Pages, sizes and values are asked for ahead of time. Nothing else may be asked while any is
  // under way.
  Result<bool, Error> ask_more();  // false: no more may be asked for now
  Result<void, Error> take_answer();
  void ask_page();
  Result<void, Error> take_page();
  void ask_sizes();
  Result<void, Error> take_sizes(std::vector<Key> keys);
  void sort_out(std::vector<Key> keys);
  bool is_windowed(const Key& key) const;
  bool reads_texts() const;
  void ask_texts();
  Result<void, Error> take_texts(Asked asked);
  void add_text(const Key& key, ByteSpan text, std::int64_t expires);
  void ask_dumps();
  Result<void, Error> take_dumps(const Asked& asked);
  // The answer to EXEC, once those to the `queued` commands before it were read.
  Result<RedisReply, Error> take_transaction(std::size_t queued);
  void ask_expiry(const Key& key);
  std::uint64_t open_page(std::string behind, std::size_t keys);
  void close_key(std::uint64_t page);
  void settle_pages();
  Result<void, Error> begin_window(const Key& key);
  Result<void, Error> step_window();
  Result<bool, Error> copy_elements(Bytes& command);  // true: that was the last
  Result<bool, Error> copy_stream(Bytes& command);
  Result<void, Error> end_window();
  Result<void, Error> drop_window();
  PartCursor cursor_text(std::string_view cursor) const;

  backup::RedisAddress address_;
  RedisSourceOptions options_;
  Clock& clock_;
  const flow::Cancellation* cancel_;
  ReadPace pace_;
  std::unique_ptr<RedisLink> link_;
  bool absolute_expiry_ = false;  // PEXPIRETIME: Redis 7
  bool stream_details_ = false;   // XSETID with what was added and deleted: Redis 7
  std::string run_id_;
  std::optional<StoreId> store_;
  bool may_be_big_ = true;

  std::optional<std::vector<Bytes>> wanted_;  // read_only()
  std::string next_cursor_ = "0";
  bool last_page_read_ = false;
  std::deque<Page> pages_;  // that are not complete
  std::uint64_t first_page_ = 0;
  std::deque<Asked> asked_;
  std::size_t pages_asked_ = 0;  // of them, of each kind
  std::size_t sizes_asked_ = 0;
  std::size_t groups_asked_ = 0;
  std::uint64_t size_ahead_ = 0;
  std::deque<std::vector<Key>> listed_;  // not looked at yet
  std::deque<Key> small_;                // perhaps texts
  std::deque<Key> other_;                // to be dumped, or read in windows
  // Whether texts are read with their expiries; the first ones are, to see that INFO tells the
  // truth about how many keys have one.
  bool expiries_ = true;
  bool texts_refused_ = false;  // by the server: every value is dumped
  bool expiries_unknown_ = false;
  unsigned pages_to_dump_ = 0;  // before texts are tried again where few were found
  std::optional<Window> window_;
  PartBuilder builder_;
  bool ended_ = false;
  Bytes scratch_;

  mutable std::mutex mutex_;  // of what other threads look at
  Progress progress_;
};

}  // namespace sealane::warm
