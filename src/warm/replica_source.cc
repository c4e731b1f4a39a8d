#include "warm/replica_source.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "base/check.h"
#include "warm/key_commands.h"

namespace sealane::warm {
namespace {

constexpr std::size_t kReadSize = 256 * 1024;
constexpr std::size_t kLeastRead = 4096;
constexpr std::size_t kKeepScratch = 1024 * 1024;  // memory that stays for the next command
constexpr std::string_view kAdvice = "; push without --as-replica";

Error failed(std::string message) { return {ErrorKind::kFailed, std::move(message)}; }

// Of the answer to TIME, in milliseconds.
std::optional<std::int64_t> milliseconds_of(const RedisReply& time) {
  if (time.kind != RedisReply::Kind::kArray || time.items.size() != 2) return std::nullopt;
  std::int64_t parts[2] = {};
  for (std::size_t i = 0; i < 2; ++i) {
    const std::string& text = time.items[i].text;
    const auto parsed = std::from_chars(text.data(), text.data() + text.size(), parts[i]);
    if (text.empty() || parsed.ec != std::errc{}) return std::nullopt;
  }
  if (parts[0] < 0 || parts[0] > INT64_MAX / 2000) return std::nullopt;
  return parts[0] * 1000 + parts[1] / 1000;
}

std::int64_t steady_milliseconds(Clock& clock) {
  return std::chrono::floor<std::chrono::milliseconds>(clock.steady_now().time_since_epoch())
      .count();
}

}  // namespace

ReplicaSource::ReplicaSource(backup::RedisAddress address, const RedisSourceOptions& options,
                             Clock& clock, const flow::Cancellation* cancel)
    : address_(std::move(address)),
      options_(options),
      clock_(clock),
      cancel_(cancel),
      pace_(clock, cancel),
      sync_(*this, {.largest_value = options.big_key_size}),
      buffer_(kReadSize),
      builder_(options.part_size, options.range) {
  SEALANE_CHECK(options.part_size >= kMinPartSize && options.part_size <= kMaxPartSize);
  SEALANE_CHECK(!options.portable);
  pace_.set_rate(options.bytes_per_second);
  builder_.settle(PartCursor(kImageCursor));
}

Result<std::unique_ptr<ReplicaSource>, Error> ReplicaSource::open(
    const backup::RedisAddress& address, const RedisSourceOptions& options, Clock& clock,
    const flow::Cancellation* cancel) {
  std::unique_ptr<ReplicaSource> source(new ReplicaSource(address, options, clock, cancel));
  SEALANE_TRY(source->connect());
  return source;
}

Result<void, Error> ReplicaSource::connect() {
  SEALANE_TRY(link_, RedisLink::open(address_, cancel_));
  if (options_.on_loading) {
    SEALANE_TRY(link_->wait_until_loaded(options_.on_loading));
  }
  SEALANE_TRY(const RedisReply keys, link_->demand({"DBSIZE"}));
  SEALANE_TRY(const RedisReply time, link_->demand({"TIME"}));
  const auto now = milliseconds_of(time);
  if (keys.kind != RedisReply::Kind::kInteger || !now) {
    return failed(link_->description() + " answers in a way that no Redis does; is it one?");
  }
  SEALANE_TRY(store_, store_of(*link_, address_.database));
  server_ahead_ = *now - steady_milliseconds(clock_);
  seen_.total_keys = static_cast<std::uint64_t>(std::max<std::int64_t>(keys.integer, 0));
  const std::lock_guard lock(mutex_);
  progress_ = seen_;
  return success();
}

Result<bool, Error> ReplicaSource::resume(const PartCursor& behind) {
  if (behind == kImageCursor || behind.starts_with(kScanCursorMark)) return false;
  return Error{ErrorKind::kUsage,
               "the place to resume was not written by a Redis source: " + printable(behind, 80)};
}

Source::Progress ReplicaSource::progress() const {
  const std::lock_guard lock(mutex_);
  Progress all = progress_;
  if (big_ != nullptr) {
    const Progress more = big_->progress();
    all.keys += more.keys;
    all.vanished += more.vanished;
    all.left_out += more.left_out;
    all.bytes += more.bytes;
  }
  return all;
}

void ReplicaSource::set_rate(std::uint64_t bytes_per_second) {
  pace_.set_rate(bytes_per_second);
  const std::lock_guard lock(mutex_);
  if (big_ != nullptr) big_->set_rate(bytes_per_second);
}

void ReplicaSource::interrupt() noexcept {
  pace_.interrupt();
  const std::lock_guard lock(mutex_);
  interrupted_ = true;
  if (link_ != nullptr) link_->interrupt();
  if (big_ != nullptr) big_->interrupt();
}

Result<std::optional<Part>, Error> ReplicaSource::next() {
  for (;;) {
    if (auto part = builder_.take()) {
      ++image_parts_;
      return part;
    }
    if (big_ != nullptr) return next_big();
    if (ended_) return std::optional<Part>();
    SEALANE_TRY(read_image());
  }
}

// ---- The image ----

Result<void, Error> ReplicaSource::read_image() {
  if (!std::exchange(asked_, true)) {
    // Servers that do not know these answer with an error, and do without: a file of a known size;
    // what is written meanwhile behind it.
    SEALANE_TRY(link_->ask({"REPLCONF", "rdb-only", "1"}));
    SEALANE_TRY(link_->ask({"REPLCONF", "capa", "eof"}));
    // Else a Valkey would have to leave the expiries of fields out.
    SEALANE_TRY(link_->ask({"REPLCONF", "version", "9.0.0"}));
    link_->commands().command({"SYNC"});
  }
  // A slow reader reads little and often: the server gives up who reads nothing for a while.
  std::size_t size = buffer_.size();
  if (const std::uint64_t rate = pace_.rate(); rate > 0 && rate < size) {
    size = std::max(kLeastRead, static_cast<std::size_t>(rate));
  }
  const auto got = link_->read_raw(MutableByteSpan(buffer_).first(size));
  if (!got.has_value()) return cut(got.error());
  now_ = steady_milliseconds(clock_) + server_ahead_;
  const auto fed = sync_.feed(ByteSpan(buffer_).first(got.value()));
  const std::uint64_t made = builder_.bytes() - std::exchange(paid_, builder_.bytes());
  seen_.bytes += made;
  {
    const std::lock_guard lock(mutex_);
    progress_ = seen_;
  }
  if (!fed.has_value()) return failure_of(fed.error());
  SEALANE_TRY(pace_.pay(made));
  if (sync_.done()) return end_image();
  return success();
}

bool ReplicaSource::wants(const backup::RdbKey& key) {
  if (key.database != address_.database) return false;
  // What an interrupted run of somebody left behind is no data.
  if (as_text(key.key).starts_with(kTemporaryPrefix)) return false;
  if (!options_.range.whole() && !options_.range.contains(token_of(key.key))) {
    ++seen_.out_of_range;
    return false;
  }
  if (key.expires && *key.expires <= now_) {
    ++seen_.vanished;
    return false;
  }
  return true;
}

bool ReplicaSource::on_key(const backup::RdbKey& key) {
  if (key.too_large) {
    big_key_names_ += key.key.size();
    if (big_keys_.size() == kMaxBigKeys || big_key_names_ > kMaxBigKeyNames) return false;
    big_keys_.push_back(to_bytes(key.key));
    return true;
  }
  ++seen_.keys;
  constexpr std::uint8_t kString = 0;
  if (key.type == kString && !key.expires) {
    if (const auto text = backup::RdbReader::text_of(key.value, kSmallText, unpacked_)) {
      write_create(key.key, *text, builder_.add_sized(create_size(key.key, *text), 1));
      return true;
    }
  }
  scratch_.clear();
  append_restore(key, scratch_);
  builder_.add(scratch_, 1);
  if (scratch_.capacity() > kKeepScratch) scratch_ = Bytes();
  return true;
}

Error ReplicaSource::cut(const Error& why) const {
  if (why.kind != ErrorKind::kFailed || !sync_.begun()) return why;
  return failed(why.message +
                ". The image is not complete; what was copied of it stays, and pushing again is "
                "harmless. A server gives up a replica that reads nothing for its repl-timeout: if "
                "the other side is slow, use a smaller --part-size or push without --as-replica");
}

Error ReplicaSource::failure_of(const SyncError& error) const {
  const std::string who = link_->description();
  switch (error.fault) {
    case SyncFault::kRefused: {
      RedisReply answer{.kind = RedisReply::Kind::kError, .text = error.answer, .items = {}};
      Error refusal = link_->refusal(answer);
      refusal.message += answer.is_error("NOPERM")
                             ? ". The user needs +sync and +replconf; or push without --as-replica"
                             : std::string(kAdvice);
      return refusal;
    }
    case SyncFault::kNoSync:
      return failed(who + " does not answer SYNC as a Redis does" + std::string(kAdvice));
    case SyncFault::kEnd:
      return failed("the image of " + who + " does not end where it says" + std::string(kAdvice));
    case SyncFault::kFile:
      break;
  }
  switch (error.rdb) {
    case backup::RdbError::kNewer: {
      const int version = sync_.file().version();
      const bool begun = sync_.file().size() > 0;  // so the version is known
      return failed("the image of " + who + " (RDB version " + std::to_string(version) +
                    ") has something of a newer server that is not known here" +
                    (begun ? "; what was copied before it is good and stays" : "") +
                    std::string(kAdvice));
    }
    case backup::RdbError::kLimits:
      return failed("the image of " + who +
                    " has a string above 512 MiB, or a name above --big-key" +
                    std::string(kAdvice));
    case backup::RdbError::kRefused:
      return failed(who + " has more than " + std::to_string(kMaxBigKeys) +
                    " keys above --big-key, or their names are too long; use a larger --big-key or "
                    "push without --as-replica");
    case backup::RdbError::kChecksum:
      return failed("the image of " + who +
                    " came damaged: its checksum is wrong. What was copied of it may be damaged "
                    "too: compare (sealane warm compare), and look at memory and network");
    default:
      return failed("the image of " + who + " cannot be read: " +
                    std::string(backup::describe(error.rdb)) + std::string(kAdvice));
  }
}

Result<void, Error> ReplicaSource::end_image() {
  builder_.cut();
  ended_ = true;
  {
    // Else the server may keep what is written from now on for us.
    const std::lock_guard lock(mutex_);
    link_.reset();
  }
  if (big_keys_.empty()) return success();
  RedisSourceOptions options = options_;
  options.bytes_per_second = pace_.rate();
  options.on_loading = {};  // one that was started again is not the server of the image
  SEALANE_TRY(auto big, RedisSource::open(address_, options, clock_, cancel_));
  big->read_only(std::exchange(big_keys_, {}));
  const std::lock_guard lock(mutex_);
  big_ = std::move(big);
  if (interrupted_) big_->interrupt();
  return success();
}

// ---- What was too large ----

Result<std::optional<Part>, Error> ReplicaSource::next_big() {
  SEALANE_TRY(auto part, big_->next());
  if (part) {
    part->index += image_parts_;
    part->behind = kImageCursor;
  }
  return part;
}

}  // namespace sealane::warm
