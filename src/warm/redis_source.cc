#include "warm/redis_source.h"

#include <poll.h>

#include <algorithm>
#include <charconv>
#include <utility>

#include "base/check.h"
#include "crypto/hash.h"

namespace sealane::warm {
namespace {

constexpr std::string_view kPageSize = "512";     // keys a SCAN is asked for
constexpr std::size_t kGroupKeys = 64;            // values read in one transaction, which the
constexpr std::size_t kGroupSize = 4096 * 1024;   // server does without looking at others
constexpr std::size_t kMostGroups = 4;            // asked for and not taken yet: the server reads
constexpr std::size_t kMostAhead = 8192 * 1024;   // the next ones while we take one
constexpr std::size_t kWindowSize = 1024 * 1024;  // of a big key, about
constexpr std::uint64_t kWindowElements = 1000;
constexpr int kWindowTries = 3;  // for a key that changes while it is read
constexpr std::uint64_t kPayStep = 64 * 1024;
constexpr std::uint64_t kShortestBurst = 64 * 1024;
constexpr int kPayPause = 10;  // milliseconds; so a new rate is felt at once
constexpr std::string_view kCursorMark = "r1";
constexpr std::string_view kEnd = "end";

Error failed(std::string message) { return {ErrorKind::kFailed, std::move(message)}; }

template <class T>
std::optional<T> number_of(std::string_view text) {
  T value{};
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || parsed.ec != std::errc{} || parsed.ptr != text.data() + text.size()) {
    return std::nullopt;
  }
  return value;
}

bool is_text(const RedisReply& reply) { return reply.kind == RedisReply::Kind::kText; }
bool is_array(const RedisReply& reply, std::size_t size) {
  return reply.kind == RedisReply::Kind::kArray && reply.items.size() == size;
}

Error odd_answer(const RedisLink& link, std::string_view to) {
  return failed(link.description() + " answers " + std::string(to) +
                " in a way that no Redis does; is it one?");
}

std::uint64_t burst_of(std::uint64_t rate) { return std::max(rate / 10, kShortestBurst); }

}  // namespace

std::string temporary_name(ByteSpan key) {
  const auto hash = crypto::sha256(key);
  return std::string(kTemporaryPrefix) + to_hex(ByteSpan(hash).first(16));
}

// ---- RedisSource ----

RedisSource::RedisSource(backup::RedisAddress address, const RedisSourceOptions& options,
                         Clock& clock, const flow::Cancellation* cancel)
    : address_(std::move(address)),
      options_(options),
      clock_(clock),
      cancel_(cancel),
      builder_(options.part_size, options.range) {
  SEALANE_CHECK(options.part_size >= kMinPartSize && options.part_size <= kMaxPartSize);
  set_rate(options.bytes_per_second);
}

Result<std::unique_ptr<RedisSource>, Error> RedisSource::open(const backup::RedisAddress& address,
                                                              const RedisSourceOptions& options,
                                                              Clock& clock,
                                                              const flow::Cancellation* cancel) {
  std::unique_ptr<RedisSource> source(new RedisSource(address, options, clock, cancel));
  SEALANE_TRY(source->connect());
  return source;
}

Result<void, Error> RedisSource::connect() {
  SEALANE_TRY(link_, RedisLink::open(address_, cancel_));
  SEALANE_TRY(const RedisReply server, link_->demand({"INFO", "server"}));
  SEALANE_TRY(const RedisReply memory, link_->demand({"INFO", "memory"}));
  SEALANE_TRY(const RedisReply keys, link_->demand({"DBSIZE"}));
  run_id_ = info_field(server.text, "run_id");
  const std::string version = info_field(server.text, "redis_version");
  const auto major = number_of<int>(version.substr(0, version.find('.')));
  if (!major || run_id_.empty()) {
    return odd_answer(*link_, "INFO");
  }
  absolute_expiry_ = *major >= 7;
  stream_details_ = *major >= 7;
  const auto used = number_of<std::uint64_t>(info_field(memory.text, "used_memory"));
  may_be_big_ = !used || *used > options_.big_key_size;
  // Redis 7.2 can read without making the keys look used; older ones say that they cannot.
  SEALANE_TRY(link_->ask({"CLIENT", "NO-TOUCH", "ON"}));
  const std::lock_guard lock(mutex_);
  progress_.total_keys = static_cast<std::uint64_t>(std::max<std::int64_t>(keys.integer, 0));
  builder_.settle(cursor_text("0"));
  return success();
}

void RedisSource::read_only(std::vector<Bytes> keys) {
  {
    const std::lock_guard lock(mutex_);
    progress_.total_keys = keys.size();
  }
  wanted_ = std::move(keys);
  last_page_read_ = true;
}

// r1:RUN-ID:DATABASE:RANGE:CURSOR:INDEX. The server's run id changes with the seed of its hash
// table, without which a cursor means nothing.
PartCursor RedisSource::cursor_text(std::string_view cursor) const {
  std::string out(kCursorMark);
  out += ':' + run_id_ + ':' + std::to_string(address_.database) + ':' +
         std::to_string(options_.range.start) + '-' + std::to_string(options_.range.end) + ':';
  return (out += cursor) += ':' + std::to_string(builder_.next_index());
}

Result<bool, Error> RedisSource::resume(const PartCursor& behind) {
  const Error unusable{
      ErrorKind::kUsage,
      "the place to resume was not written by a Redis source: " + printable(behind, 80)};
  std::vector<std::string> fields{{}};
  for (const char c : behind) {
    if (c == ':') {
      fields.emplace_back();
    } else {
      fields.back() += c;
    }
  }
  if (fields.size() != 6 || fields[0] != kCursorMark) return unusable;
  const auto index = number_of<std::uint32_t>(fields[5]);
  if (!index || (fields[4] != kEnd && !number_of<std::uint64_t>(fields[4]))) return unusable;
  builder_.start_at(*index);
  const std::string again = cursor_text(fields[4]);
  if (again != behind) {
    builder_.start_at(0);
    builder_.settle(cursor_text("0"));
    return false;
  }
  builder_.settle(behind);
  if (fields[4] == kEnd) {
    last_page_read_ = true;
  } else {
    next_cursor_ = fields[4];
  }
  return true;
}

Source::Progress RedisSource::progress() const {
  const std::lock_guard lock(mutex_);
  return progress_;
}

void RedisSource::set_rate(std::uint64_t bytes_per_second) {
  const std::lock_guard lock(mutex_);
  if (bytes_per_second == 0) {
    bucket_.reset();
  } else {
    bucket_.emplace(bytes_per_second, burst_of(bytes_per_second), clock_.steady_now());
  }
}

void RedisSource::interrupt() noexcept {
  interrupted_.cancel();
  link_->interrupt();
}

Result<void, Error> RedisSource::pay(std::uint64_t bytes) {
  {
    const std::lock_guard lock(mutex_);
    progress_.bytes += bytes;
  }
  while (bytes > 0) {
    const std::uint64_t step = std::min(bytes, kPayStep);
    {
      const std::lock_guard lock(mutex_);
      if (!bucket_) return success();
      if (bucket_->try_take(step, clock_.steady_now())) {
        bytes -= step;
        continue;
      }
    }
    pollfd wake[2] = {{interrupted_.descriptor(), POLLIN, 0},
                      {cancel_ != nullptr ? cancel_->descriptor() : -1, POLLIN, 0}};
    static_cast<void>(::poll(wake, 2, kPayPause));
    if (wake[0].revents != 0 || wake[1].revents != 0) return flow::interrupted();
  }
  return success();
}

Result<std::optional<Part>, Error> RedisSource::next() {
  for (;;) {
    if (auto part = builder_.take()) {
      SEALANE_TRY(pay(part->commands.size()));
      return part;
    }
    if (ended_) return std::optional<Part>();
    if (window_) {
      SEALANE_TRY(step_window());
    } else if (may_ask_group()) {
      SEALANE_TRY(ask_group());
    } else if (!groups_.empty()) {
      if (page_.empty() && !last_page_read_ && !page_asked_) {
        SEALANE_TRY(ask_page());
      }
      SEALANE_TRY(take_group());
    } else if (!page_.empty()) {
      Key key = std::move(page_.front());
      page_.pop_front();
      SEALANE_TRY(begin_window(std::move(key.name)));
    } else if (wanted_ && !wanted_->empty()) {
      std::vector<Key> keys;
      while (!wanted_->empty() && keys.size() < 512) {
        keys.push_back({.name = std::move(wanted_->back())});
        wanted_->pop_back();
      }
      SEALANE_TRY(read_sizes(keys));
    } else if (!last_page_read_) {
      settle();
      if (!page_asked_) {
        SEALANE_TRY(ask_page());
      }
      SEALANE_TRY(take_page());
    } else {
      builder_.settle(cursor_text(kEnd));
      builder_.cut();
      ended_ = true;
    }
  }
}

// All that was listed so far is in the builder: a run may resume at the next page.
void RedisSource::settle() { builder_.settle(cursor_text(next_cursor_)); }

Result<void, Error> RedisSource::ask_page() {
  link_->commands().command({"SCAN", next_cursor_, "COUNT", kPageSize});
  page_asked_ = true;
  return link_->flush();
}

Result<void, Error> RedisSource::take_page() {
  page_asked_ = false;
  SEALANE_TRY(RedisReply reply, link_->reply());
  if (reply.is_error()) return link_->refusal(reply);
  if (!is_array(reply, 2) || !is_text(reply.items[0])) return odd_answer(*link_, "SCAN");
  next_cursor_ = reply.items[0].text;
  if (!number_of<std::uint64_t>(next_cursor_)) return odd_answer(*link_, "SCAN");
  if (next_cursor_ == "0") last_page_read_ = true;
  std::vector<Key> keys;
  std::uint64_t outside = 0;
  for (const RedisReply& item : reply.items[1].items) {
    const ByteSpan name = as_bytes(item.text);
    // What an interrupted run of somebody left behind is no data.
    if (item.text.starts_with(kTemporaryPrefix)) continue;
    if (options_.range.contains(token_of(name))) {
      keys.push_back({.name = to_bytes(name)});
    } else {
      ++outside;
    }
  }
  {
    const std::lock_guard lock(mutex_);
    progress_.out_of_range += outside;
  }
  return read_sizes(keys);
}

Result<void, Error> RedisSource::read_sizes(std::vector<Key>& keys) {
  if (may_be_big_) {
    for (const Key& key : keys) {
      RespWriter writer = link_->commands();
      writer.begin(3);
      writer.word("MEMORY");
      writer.word("USAGE");
      writer.word(key.name);
    }
    for (Key& key : keys) {
      SEALANE_TRY(const RedisReply reply, link_->reply());
      if (reply.is_error()) return link_->refusal(reply);
      if (reply.kind == RedisReply::Kind::kInteger) {
        key.size = static_cast<std::uint64_t>(reply.integer);
      }
    }
  }
  for (Key& key : keys) page_.push_back(std::move(key));
  return success();
}

// The next values of the page: a big one alone, others together.
bool RedisSource::may_ask_group() const {
  return !page_.empty() && !options_.portable && page_.front().size <= options_.big_key_size &&
         groups_.size() < kMostGroups && (groups_.empty() || size_ahead_ < kMostAhead);
}

Result<void, Error> RedisSource::ask_group() {
  Group group;
  while (!page_.empty() && group.keys.size() < kGroupKeys && group.size < kGroupSize &&
         page_.front().size <= options_.big_key_size) {
    group.size += page_.front().size;
    group.keys.push_back(std::move(page_.front()));
    page_.pop_front();
  }
  // One transaction: no value goes with the expiry of its predecessor.
  link_->commands().command({"MULTI"});
  if (!absolute_expiry_) link_->commands().command({"TIME"});
  for (const Key& key : group.keys) {
    RespWriter writer = link_->commands();
    writer.begin(2);
    writer.word("DUMP");
    writer.word(key.name);
    writer.begin(2);
    writer.word(absolute_expiry_ ? "PEXPIRETIME" : "PTTL");
    writer.word(key.name);
  }
  link_->commands().command({"EXEC"});
  size_ahead_ += group.size;
  groups_.push_back(std::move(group));
  return link_->flush();
}

Result<void, Error> RedisSource::take_group() {
  const Group taken = std::move(groups_.front());
  groups_.pop_front();
  size_ahead_ -= taken.size;
  const std::vector<Key>& group = taken.keys;
  const std::size_t queued = 2 * group.size() + (absolute_expiry_ ? 0 : 1);
  std::optional<RedisReply> refused;
  for (std::size_t i = 0; i <= queued; ++i) {
    SEALANE_TRY(RedisReply reply, link_->reply());
    if (reply.is_error() && !refused) refused = std::move(reply);
  }
  SEALANE_TRY(const RedisReply values, link_->reply());
  if (refused) return link_->refusal(*refused);
  if (values.is_error()) return link_->refusal(values);
  if (!is_array(values, queued)) return odd_answer(*link_, "EXEC");
  std::size_t at = 0;
  std::int64_t now = 0;
  if (!absolute_expiry_) {
    const RedisReply& time = values.items[at++];
    if (!is_array(time, 2)) return odd_answer(*link_, "TIME");
    const auto seconds = number_of<std::int64_t>(time.items[0].text);
    const auto microseconds = number_of<std::int64_t>(time.items[1].text);
    if (!seconds || !microseconds) return odd_answer(*link_, "TIME");
    now = *seconds * 1000 + *microseconds / 1000;
  }
  std::uint64_t vanished = 0;
  std::uint64_t read = 0;
  for (const Key& key : group) {
    const RedisReply& dump = values.items[at++];
    const RedisReply& expires = values.items[at++];
    if (dump.is_error()) return link_->refusal(dump);
    if (expires.is_error()) return link_->refusal(expires);
    if (!is_text(dump) || expires.integer == -2) {
      ++vanished;
      continue;
    }
    add_value(key, dump.text,
              expires.integer < 0 ? 0 : std::max<std::int64_t>(1, now + expires.integer));
    ++read;
  }
  const std::lock_guard lock(mutex_);
  progress_.vanished += vanished;
  progress_.keys += read;
  return success();
}

void RedisSource::add_value(const Key& key, const std::string& dump, std::int64_t expires) {
  scratch_.clear();
  RespWriter writer(scratch_);
  writer.begin(5);
  writer.word("RESTORE");
  writer.word(key.name);
  writer.number(expires);
  writer.word(dump);
  writer.word("ABSTTL");
  builder_.add(scratch_, 1);
}

// ---- Big keys: built up under a temporary name, then renamed. ----

Result<void, Error> RedisSource::begin_window(Bytes key) {
  Window window;
  window.temporary = temporary_name(key);
  window.key = std::move(key);
  const std::string_view name = as_text(window.key);
  // From here until the end any change of the key is noticed.
  SEALANE_TRY(link_->demand({"WATCH", name}));
  SEALANE_TRY(const RedisReply type, link_->demand({"TYPE", name}));
  window.type = type.text;
  std::string_view size_command;
  if (window.type == "string") size_command = "STRLEN";
  if (window.type == "list") size_command = "LLEN";
  if (window.type == "hash") size_command = "HLEN";
  if (window.type == "set") size_command = "SCARD";
  if (window.type == "zset") size_command = "ZCARD";
  if (window.type == "stream") size_command = "XLEN";
  const auto give_up = [&](bool vanished) -> Result<void, Error> {
    SEALANE_TRY(link_->demand({"UNWATCH"}));
    const std::lock_guard lock(mutex_);
    ++(vanished ? progress_.vanished : progress_.left_out);
    return success();
  };
  if (window.type == "none") return give_up(true);
  bool whole = size_command.empty();
  if (window.type == "stream") {
    SEALANE_TRY(const RedisReply groups, link_->demand({"XINFO", "GROUPS", name}));
    whole = !groups.items.empty();
  }
  if (whole) {
    // Consumer groups and the types of modules exist in a DUMP only.
    if (options_.portable) return give_up(false);
    SEALANE_TRY(link_->demand({"UNWATCH"}));
    builder_.cut();
    page_.push_front({.name = std::move(window.key), .size = 0});
    return success();
  }
  SEALANE_TRY(const RedisReply length, link_->demand({size_command, name}));
  SEALANE_TRY(const RedisReply usage, link_->demand({"MEMORY", "USAGE", name}));
  window.length = static_cast<std::uint64_t>(std::max<std::int64_t>(length.integer, 0));
  const auto bytes = static_cast<std::uint64_t>(std::max<std::int64_t>(usage.integer, 1));
  if (window.type == "string") {
    window.count = kWindowSize;
  } else {
    const std::uint64_t each =
        std::max<std::uint64_t>(1, bytes / std::max<std::uint64_t>(1, window.length));
    window.count = std::clamp<std::uint64_t>(kWindowSize / each, 1, kWindowElements);
  }
  if (window.type == "stream") window.cursor.clear();
  if (!options_.portable) builder_.cut();
  window_ = std::move(window);
  return success();
}

Result<void, Error> RedisSource::step_window() {
  Window& window = *window_;
  if (!window.begun) {
    scratch_.clear();
    RespWriter(scratch_).command({"DEL", window.temporary});
    builder_.add(scratch_, 0);
    builder_.set_continues(true);
    window.begun = true;
  }
  scratch_.clear();
  SEALANE_TRY(const bool last,
              window.type == "stream" ? copy_stream(scratch_) : copy_elements(scratch_));
  RespSplitter splitter;  // what was copied is one or two commands
  splitter.feed(scratch_);
  for (;;) {
    auto command = splitter.next();
    SEALANE_CHECK(command.has_value());
    if (!command.value()) break;
    builder_.add(command.value()->whole, 0);
  }
  if (last) return end_window();
  return success();
}

Result<bool, Error> RedisSource::copy_elements(Bytes& command) {
  Window& window = *window_;
  const std::string_view name = as_text(window.key);
  const std::string count = std::to_string(window.count);
  RespWriter out(command);
  if (window.type == "string" || window.type == "list") {
    const bool list = window.type == "list";
    const std::string from = std::to_string(window.offset);
    const std::string to = std::to_string(window.offset + window.count - 1);
    SEALANE_TRY(const RedisReply reply,
                link_->demand({list ? "LRANGE" : "GETRANGE", name, from, to}));
    if (list) {
      if (reply.items.empty()) return true;
      // Applied again, the list must not grow again.
      if (window.offset > 0) {
        out.command({"LTRIM", window.temporary, "0", std::to_string(window.offset - 1)});
      }
      out.begin(2 + reply.items.size());
      out.word("RPUSH");
      out.word(window.temporary);
      for (const RedisReply& item : reply.items) out.word(item.text);
      window.offset += reply.items.size();
    } else {
      if (window.offset == 0) {
        out.command({"SET", window.temporary, reply.text});
      } else {
        out.command({"SETRANGE", window.temporary, from, reply.text});
      }
      window.offset += reply.text.size();
    }
    return window.offset >= window.length || (!list && reply.text.empty());
  }
  std::string_view scan = "SSCAN";
  std::string_view write = "SADD";
  if (window.type == "hash") scan = "HSCAN", write = "HSET";
  if (window.type == "zset") scan = "ZSCAN", write = "ZADD";
  SEALANE_TRY(const RedisReply reply, link_->demand({scan, name, window.cursor, "COUNT", count}));
  if (!is_array(reply, 2)) return odd_answer(*link_, scan);
  const auto& items = reply.items[1].items;
  if (!items.empty()) {
    out.begin(2 + items.size());
    out.word(write);
    out.word(window.temporary);
    if (window.type == "zset") {
      for (std::size_t i = 0; i + 1 < items.size(); i += 2) {
        out.word(items[i + 1].text);
        out.word(items[i].text);
      }
    } else {
      for (const RedisReply& item : items) out.word(item.text);
    }
  }
  window.cursor = reply.items[0].text;
  return window.cursor == "0";
}

Result<bool, Error> RedisSource::copy_stream(Bytes& command) {
  Window& window = *window_;
  const std::string_view name = as_text(window.key);
  const std::string from = window.cursor.empty() ? "-" : "(" + window.cursor;
  SEALANE_TRY(const RedisReply reply,
              link_->demand({"XRANGE", name, from, "+", "COUNT", std::to_string(window.count)}));
  RespWriter out(command);
  for (const RedisReply& entry : reply.items) {
    if (!is_array(entry, 2)) return odd_answer(*link_, "XRANGE");
    out.begin(3 + entry.items[1].items.size());
    out.word("XADD");
    out.word(window.temporary);
    out.word(entry.items[0].text);
    for (const RedisReply& field : entry.items[1].items) out.word(field.text);
    window.cursor = entry.items[0].text;
  }
  if (reply.items.size() >= window.count) return false;
  SEALANE_TRY(const RedisReply info, link_->demand({"XINFO", "STREAM", name}));
  const auto field = [&](std::string_view wanted) {
    for (std::size_t i = 0; i + 1 < info.items.size(); i += 2) {
      const RedisReply& value = info.items[i + 1];
      if (info.items[i].text != wanted) continue;
      return value.kind == RedisReply::Kind::kInteger ? std::to_string(value.integer) : value.text;
    }
    return std::string();
  };
  const std::string last = field("last-generated-id");
  if (last.empty()) return odd_answer(*link_, "XINFO");
  if (window.cursor.empty()) {
    // An empty stream exists; the smallest id that the next command can follow.
    out.command({"XADD", window.temporary, "MAXLEN", "0", last == "0-0" ? "0-1" : last, "x", "x"});
  }
  if (stream_details_) {
    out.command({"XSETID", window.temporary, last, "ENTRIESADDED", field("entries-added"),
                 "MAXDELETEDID", field("max-deleted-entry-id")});
  } else {
    out.command({"XSETID", window.temporary, last});
  }
  return true;
}

// Unchanged since its begin? Then it may appear.
Result<void, Error> RedisSource::end_window() {
  const std::string_view name = as_text(window_->key);
  link_->commands().command({"MULTI"});
  link_->commands().command({"TIME"});
  link_->commands().command({absolute_expiry_ ? "PEXPIRETIME" : "PTTL", name});
  link_->commands().command({"EXEC"});
  for (int i = 0; i < 3; ++i) {
    SEALANE_TRY(const RedisReply reply, link_->reply());
    if (reply.is_error()) return link_->refusal(reply);
  }
  SEALANE_TRY(const RedisReply reply, link_->reply());
  if (reply.is_error()) return link_->refusal(reply);
  if (reply.kind == RedisReply::Kind::kNil) return drop_window();
  if (!is_array(reply, 2) || !is_array(reply.items[0], 2)) return odd_answer(*link_, "EXEC");
  std::int64_t expires = reply.items[1].integer;
  if (expires == -2) return drop_window();
  if (expires >= 0 && !absolute_expiry_) {
    const auto seconds = number_of<std::int64_t>(reply.items[0].items[0].text);
    const auto microseconds = number_of<std::int64_t>(reply.items[0].items[1].text);
    if (!seconds || !microseconds) return odd_answer(*link_, "TIME");
    expires += *seconds * 1000 + *microseconds / 1000;
  }
  if (expires >= 0) {
    scratch_.clear();
    RespWriter(scratch_).command({"PEXPIREAT", window_->temporary, std::to_string(expires)});
    builder_.add(scratch_, 0);
  }
  scratch_.clear();
  RespWriter(scratch_).command({"RENAME", window_->temporary, name});
  builder_.add(scratch_, 1);
  if (!options_.portable) builder_.cut();
  builder_.set_continues(false);
  window_.reset();
  const std::lock_guard lock(mutex_);
  ++progress_.keys;
  return success();
}

// The key changed or went away while it was read: again from its start, a few times.
Result<void, Error> RedisSource::drop_window() {
  Window old = std::move(*window_);
  window_.reset();
  builder_.set_continues(false);
  scratch_.clear();
  RespWriter(scratch_).command({"DEL", old.temporary});
  builder_.add(scratch_, 0);
  if (old.tries + 1 >= kWindowTries) {
    const std::lock_guard lock(mutex_);
    ++progress_.left_out;
    return success();
  }
  SEALANE_TRY(begin_window(std::move(old.key)));
  if (window_) window_->tries = old.tries + 1;
  return success();
}

}  // namespace sealane::warm
