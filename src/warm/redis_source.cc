#include "warm/redis_source.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "base/check.h"
#include "crypto/hash.h"
#include "warm/key_commands.h"
#include "warm/string_dump.h"

namespace sealane::warm {
namespace {

constexpr std::string_view kPageSize = "512";    // keys a SCAN is asked for
constexpr std::size_t kPageKeys = 512;           // about what it gives
constexpr std::size_t kGroupKeys = 64;           // values dumped in one transaction, which the
constexpr std::size_t kGroupSize = 4096 * 1024;  // server does without looking at others
constexpr std::size_t kGroupTexts = 640;         // the same of texts, which cost it less
constexpr std::size_t kMostGroups = 4;           // asked for and not taken yet: the server reads
constexpr std::size_t kMostAhead = 8192 * 1024;  // the next ones while we take one
constexpr unsigned kPagesToDump = 16;
constexpr std::size_t kWindowSize = 1024 * 1024;  // of a big key, about
constexpr std::uint64_t kWindowElements = 1000;
constexpr int kWindowTries = 3;  // for a key that changes while it is read
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

// How many keys of a database expire, by an answer to INFO KEYSPACE; a database without keys has no
// line there.
std::optional<std::uint64_t> expiring_keys(std::string_view info, std::uint64_t database) {
  if (!info.starts_with("# Keyspace")) return std::nullopt;
  std::string line = info_field(info, "db" + std::to_string(database));
  if (line.empty()) return 0;
  const std::string_view mark = ",expires=";
  const auto at = line.find(mark);
  if (at == line.npos) return std::nullopt;
  line.erase(0, at + mark.size());
  return number_of<std::uint64_t>(std::string_view(line).substr(0, line.find(',')));
}

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
      pace_(clock, cancel),
      builder_(options.part_size, options.range) {
  SEALANE_CHECK(options.part_size >= kMinPartSize && options.part_size <= kMaxPartSize);
  pace_.set_rate(options.bytes_per_second);
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
  if (options_.on_loading) {
    SEALANE_TRY(link_->wait_until_loaded(options_.on_loading));
  }
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
  // Others that speak the protocol count expiries late, or not at all.
  texts_refused_ = info_field(server.text, "redis_build_id").empty();
  SEALANE_TRY(store_, store_of(*link_, address_.database));
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
  std::string out(kScanCursorMark);
  out += run_id_ + ':' + std::to_string(address_.database) + ':' +
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
  if (behind == kImageCursor) return false;
  if (fields.size() != 6 || !behind.starts_with(kScanCursorMark)) return unusable;
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

void RedisSource::set_rate(std::uint64_t bytes_per_second) { pace_.set_rate(bytes_per_second); }

void RedisSource::interrupt() noexcept {
  pace_.interrupt();
  link_->interrupt();
}

Result<std::optional<Part>, Error> RedisSource::next() {
  for (;;) {
    if (auto part = builder_.take()) {
      {
        const std::lock_guard lock(mutex_);
        progress_.bytes += part->commands.size();
      }
      SEALANE_TRY(pace_.pay(part->commands.size()));
      return part;
    }
    if (ended_) return std::optional<Part>();
    if (window_) {
      SEALANE_TRY(step_window());
      continue;
    }
    if (wanted_ && !wanted_->empty() && listed_.empty()) {
      std::vector<Key> keys;
      while (!wanted_->empty() && keys.size() < kPageKeys) {
        keys.push_back({.name = std::string(as_text(wanted_->back()))});
        wanted_->pop_back();
      }
      const std::uint64_t page = open_page({}, keys.size());
      for (Key& key : keys) key.page = page;
      listed_.push_back(std::move(keys));
    }
    SEALANE_TRY(const bool asked, ask_more());
    if (asked) continue;
    if (!asked_.empty()) {
      SEALANE_TRY(take_answer());
    } else if (!other_.empty()) {
      const Key key = std::move(other_.front());
      other_.pop_front();
      SEALANE_TRY(begin_window(key));
    } else {
      builder_.settle(cursor_text(kEnd));
      builder_.cut();
      ended_ = true;
    }
  }
}

Result<bool, Error> RedisSource::ask_more() {
  // A key that is read in windows waits until nothing is under way.
  if (!other_.empty() && is_windowed(other_.front())) return false;
  const bool room = groups_asked_ < kMostGroups && (groups_asked_ == 0 || size_ahead_ < kMostAhead);
  if (room && !other_.empty()) {
    ask_dumps();
  } else if (room && !small_.empty()) {
    ask_texts();
  } else if (sizes_asked_ == 0 && !listed_.empty() && small_.empty() && other_.empty()) {
    ask_sizes();
  } else if (pages_asked_ == 0 && listed_.empty() && !last_page_read_) {
    ask_page();
  } else {
    return false;
  }
  SEALANE_TRY(link_->flush());
  return true;
}

Result<void, Error> RedisSource::take_answer() {
  Asked asked = std::move(asked_.front());
  asked_.pop_front();
  switch (asked.kind) {
    case Asked::Kind::kPage:
      --pages_asked_;
      return take_page();
    case Asked::Kind::kSizes:
      --sizes_asked_;
      return take_sizes(std::move(asked.keys));
    case Asked::Kind::kTexts:
    case Asked::Kind::kDumps:
      break;
  }
  --groups_asked_;
  size_ahead_ -= asked.size;
  return asked.kind == Asked::Kind::kTexts ? take_texts(std::move(asked)) : take_dumps(asked);
}

// ---- Which keys there are, and how large ----

std::uint64_t RedisSource::open_page(std::string behind, std::size_t keys) {
  pages_.push_back({.behind = std::move(behind), .open = keys});
  return first_page_ + pages_.size() - 1;
}

void RedisSource::close_key(std::uint64_t page) {
  --pages_[static_cast<std::size_t>(page - first_page_)].open;
  settle_pages();
}

// All keys of a page are in the builder: a run may resume behind it.
void RedisSource::settle_pages() {
  while (!pages_.empty() && pages_.front().open == 0) {
    if (!pages_.front().behind.empty()) builder_.settle(cursor_text(pages_.front().behind));
    pages_.pop_front();
    ++first_page_;
  }
}

void RedisSource::ask_page() {
  link_->commands().command({"SCAN", next_cursor_, "COUNT", kPageSize});
  ++pages_asked_;
  asked_.push_back({.kind = Asked::Kind::kPage, .keys = {}});
}

Result<void, Error> RedisSource::take_page() {
  SEALANE_TRY(RedisReply reply, link_->reply());
  if (reply.is_error()) return link_->refusal(reply);
  if (!is_array(reply, 2) || !is_text(reply.items[0])) return odd_answer(*link_, "SCAN");
  next_cursor_ = reply.items[0].text;
  if (!number_of<std::uint64_t>(next_cursor_)) return odd_answer(*link_, "SCAN");
  if (next_cursor_ == "0") last_page_read_ = true;
  std::vector<Key> keys;
  keys.reserve(reply.items[1].items.size());
  std::uint64_t outside = 0;
  for (RedisReply& item : reply.items[1].items) {
    // What an interrupted run of somebody left behind is no data.
    if (item.text.starts_with(kTemporaryPrefix)) continue;
    if (options_.range.whole() || options_.range.contains(token_of(as_bytes(item.text)))) {
      keys.push_back({.name = std::move(item.text)});
    } else {
      ++outside;
    }
  }
  if (pages_to_dump_ > 0) --pages_to_dump_;
  const std::uint64_t page =
      open_page(last_page_read_ ? std::string(kEnd) : next_cursor_, keys.size());
  for (Key& key : keys) key.page = page;
  if (keys.empty()) {
    settle_pages();
  } else {
    listed_.push_back(std::move(keys));
  }
  const std::lock_guard lock(mutex_);
  progress_.out_of_range += outside;
  return success();
}

void RedisSource::ask_sizes() {
  std::vector<Key> keys = std::move(listed_.front());
  listed_.pop_front();
  if (!may_be_big_) {
    sort_out(std::move(keys));
    return;
  }
  for (const Key& key : keys) {
    RespWriter writer = link_->commands();
    writer.begin(3);
    writer.word("MEMORY");
    writer.word("USAGE");
    writer.word(key.name);
  }
  ++sizes_asked_;
  asked_.push_back({.kind = Asked::Kind::kSizes, .keys = std::move(keys)});
}

Result<void, Error> RedisSource::take_sizes(std::vector<Key> keys) {
  for (Key& key : keys) {
    SEALANE_TRY(const RedisReply reply, link_->reply());
    if (reply.is_error()) return link_->refusal(reply);
    if (reply.kind == RedisReply::Kind::kInteger) {
      key.size = static_cast<std::uint64_t>(reply.integer);
    }
  }
  sort_out(std::move(keys));
  return success();
}

void RedisSource::sort_out(std::vector<Key> keys) {
  const bool texts = reads_texts();
  for (Key& key : keys) {
    (texts && key.size <= kSmallText ? small_ : other_).push_back(std::move(key));
  }
}

bool RedisSource::is_windowed(const Key& key) const {
  return options_.portable || key.size > options_.big_key_size;
}

bool RedisSource::reads_texts() const {
  return !texts_refused_ && !options_.portable && pages_to_dump_ == 0 &&
         options_.big_key_size > kSmallText;
}

// ---- Values ----

void RedisSource::ask_expiry(const Key& key) {
  RespWriter writer = link_->commands();
  writer.begin(2);
  writer.word(absolute_expiry_ ? "PEXPIRETIME" : "PTTL");
  writer.word(key.name);
}

Result<RedisReply, Error> RedisSource::take_transaction(std::size_t queued) {
  std::optional<RedisReply> refused;
  for (std::size_t i = 0; i <= queued; ++i) {
    SEALANE_TRY(RedisReply reply, link_->reply());
    if (reply.is_error() && !refused) refused = std::move(reply);
  }
  SEALANE_TRY(RedisReply values, link_->reply());
  if (refused) return std::move(*refused);
  if (!values.is_error() && !is_array(values, queued)) return odd_answer(*link_, "EXEC");
  return values;
}

// Small strings, all with one command; so that no value goes with the expiry of its predecessor,
// the same transaction asks how many keys of the database expire, and for their expiries unless
// none did.
void RedisSource::ask_texts() {
  Asked group{.kind = Asked::Kind::kTexts, .keys = {}};
  while (!small_.empty() && group.keys.size() < kGroupTexts && group.size < kGroupSize) {
    group.size += small_.front().size;
    group.keys.push_back(std::move(small_.front()));
    small_.pop_front();
  }
  group.expiries = expiries_;
  link_->commands().command({"MULTI"});
  link_->commands().command({"INFO", "KEYSPACE"});
  RespWriter writer = link_->commands();
  writer.begin(1 + group.keys.size());
  writer.word("MGET");
  for (const Key& key : group.keys) writer.word(key.name);
  if (group.expiries) {
    for (const Key& key : group.keys) ask_expiry(key);
  }
  link_->commands().command({"EXEC"});
  size_ahead_ += group.size;
  ++groups_asked_;
  asked_.push_back(std::move(group));
}

Result<void, Error> RedisSource::take_texts(Asked asked) {
  std::vector<Key>& keys = asked.keys;
  SEALANE_TRY(const RedisReply done, take_transaction(2 + (asked.expiries ? keys.size() : 0)));
  const auto give_back = [&](std::deque<Key>& to) -> Result<void, Error> {
    for (Key& key : keys) to.push_back(std::move(key));
    return success();
  };
  // Whatever the reason is, DUMP comes to the same.
  const auto expiring =
      done.is_error()
          ? std::nullopt
          : expiring_keys(done.items[0].text, static_cast<std::uint64_t>(address_.database));
  if (!expiring || !is_array(done.items[1], keys.size())) {
    texts_refused_ = true;
    return give_back(other_);
  }
  bool some_expire = *expiring > 0;
  for (std::size_t i = 2; i < done.items.size(); ++i) {
    if (done.items[i].is_error()) return link_->refusal(done.items[i]);
    if (done.items[i].integer >= 0 && !some_expire) {
      expiries_unknown_ = true;  // INFO does not tell the truth
      some_expire = true;
    }
  }
  if (some_expire && !absolute_expiry_) {
    texts_refused_ = true;
    return give_back(other_);
  }
  expiries_ = some_expire || expiries_unknown_;
  if (some_expire && !asked.expiries) return give_back(small_);
  std::uint64_t read = 0;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const RedisReply& text = done.items[1].items[i];
    const std::int64_t expires = asked.expiries ? done.items[2 + i].integer : -1;
    // No string, or gone: its DUMP shows which.
    if (!is_text(text) || expires == -2) {
      other_.push_back(std::move(keys[i]));
      continue;
    }
    add_text(keys[i], as_bytes(text.text), expires);
    close_key(keys[i].page);
    ++read;
  }
  if (read < keys.size() / 2) pages_to_dump_ = kPagesToDump;
  const std::lock_guard lock(mutex_);
  progress_.keys += read;
  return success();
}

void RedisSource::add_text(const Key& key, ByteSpan text, std::int64_t expires) {
  if (expires < 0) {
    scratch_.clear();
    append_create(as_bytes(key.name), text, scratch_);
  } else {
    scratch_.clear();
    begin_restore(as_bytes(key.name), std::max<std::int64_t>(1, expires), scratch_);
    RespWriter writer(scratch_);
    writer.begin_word(string_dump_size(text.size()));
    append_string_dump(text, scratch_);
    writer.end_word();
    writer.word("ABSTTL");
  }
  builder_.add(scratch_, 1);
}

void RedisSource::ask_dumps() {
  Asked group{.kind = Asked::Kind::kDumps, .keys = {}};
  while (!other_.empty() && group.keys.size() < kGroupKeys && group.size < kGroupSize &&
         !is_windowed(other_.front())) {
    group.size += other_.front().size;
    group.keys.push_back(std::move(other_.front()));
    other_.pop_front();
  }
  // One transaction: no value goes with the expiry of its predecessor.
  link_->commands().command({"MULTI"});
  if (!absolute_expiry_) link_->commands().command({"TIME"});
  for (const Key& key : group.keys) {
    RespWriter writer = link_->commands();
    writer.begin(2);
    writer.word("DUMP");
    writer.word(key.name);
    ask_expiry(key);
  }
  link_->commands().command({"EXEC"});
  size_ahead_ += group.size;
  ++groups_asked_;
  asked_.push_back(std::move(group));
}

Result<void, Error> RedisSource::take_dumps(const Asked& asked) {
  SEALANE_TRY(const RedisReply values,
              take_transaction(2 * asked.keys.size() + (absolute_expiry_ ? 0 : 1)));
  if (values.is_error()) return link_->refusal(values);
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
  for (const Key& key : asked.keys) {
    const RedisReply& dump = values.items[at++];
    const RedisReply& expires = values.items[at++];
    if (dump.is_error()) return link_->refusal(dump);
    if (expires.is_error()) return link_->refusal(expires);
    if (!is_text(dump) || expires.integer == -2) {
      ++vanished;
    } else {
      scratch_.clear();
      begin_restore(as_bytes(key.name),
                    expires.integer < 0 ? 0 : std::max<std::int64_t>(1, now + expires.integer),
                    scratch_);
      RespWriter writer(scratch_);
      writer.word(dump.text);
      writer.word("ABSTTL");
      builder_.add(scratch_, 1);
      ++read;
    }
    close_key(key.page);
  }
  const std::lock_guard lock(mutex_);
  progress_.vanished += vanished;
  progress_.keys += read;
  return success();
}

// ---- Big keys: built up under a temporary name, then renamed. ----

Result<void, Error> RedisSource::begin_window(const Key& key) {
  Window window;
  window.temporary = temporary_name(as_bytes(key.name));
  window.key = to_bytes(as_bytes(key.name));
  window.page = key.page;
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
    close_key(window.page);
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
    other_.push_front({.name = std::string(name), .size = 0, .page = window.page});
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
  close_key(window_->page);
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
    close_key(old.page);
    const std::lock_guard lock(mutex_);
    ++progress_.left_out;
    return success();
  }
  SEALANE_TRY(begin_window({.name = std::string(as_text(old.key)), .size = 0, .page = old.page}));
  if (window_) window_->tries = old.tries + 1;
  return success();
}

}  // namespace sealane::warm
