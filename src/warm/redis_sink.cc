#include "warm/redis_sink.h"

#include <algorithm>
#include <deque>
#include <optional>
#include <utility>

#include "base/check.h"
#include "warm/redis_source.h"

namespace sealane::warm {
namespace {

constexpr std::size_t kSendAt = 64 * 1024;  // bytes for which a system call pays

// Strings without an expiry are written many at a time.
constexpr std::size_t kBatchKeys = 64;
constexpr std::size_t kBatchBytes = 32 * 1024;  // of larger ones a command each costs nothing
constexpr std::size_t kSinglesAfter = 1024;  // commands before the next batch, where keys are there

Error failed(std::string message) { return {ErrorKind::kFailed, std::move(message)}; }

enum class Kind : std::uint8_t {
  kRestore,   // creates a whole key: RESTORE key ms value ABSTTL [REPLACE]
  kWriter,    // adds to or changes the key it names
  kRename,    // makes a temporary key the real one
  kOpen,      // MULTI
  kClose,     // EXEC
  kCreate,    // creates a string: SET key text NX
  kBatch,     // several kCreate in one MSETNX or MSET
  kHarmless,  // PING, SELECT 0: nothing to count
};

struct Rule {
  std::string_view name;
  Kind kind;
  std::size_t fewest_words;
};

// Everything a warm copy ever needs. The first word behind the name is the key.
constexpr Rule kAllowed[] = {
    {"RESTORE", Kind::kRestore, 5}, {"DEL", Kind::kWriter, 2},       {"UNLINK", Kind::kWriter, 2},
    {"SET", Kind::kWriter, 3},      {"SETRANGE", Kind::kWriter, 4},  {"APPEND", Kind::kWriter, 3},
    {"RPUSH", Kind::kWriter, 3},    {"LTRIM", Kind::kWriter, 4},     {"SADD", Kind::kWriter, 3},
    {"ZADD", Kind::kWriter, 4},     {"HSET", Kind::kWriter, 4},      {"HMSET", Kind::kWriter, 4},
    {"XADD", Kind::kWriter, 5},     {"XSETID", Kind::kWriter, 3},    {"XGROUP", Kind::kWriter, 4},
    {"XCLAIM", Kind::kWriter, 6},   {"PEXPIREAT", Kind::kWriter, 3}, {"RENAME", Kind::kRename, 3},
    {"MULTI", Kind::kOpen, 1},      {"EXEC", Kind::kClose, 1},       {"PING", Kind::kHarmless, 1},
    {"SELECT", Kind::kHarmless, 2},
};
constexpr Rule kCreateRule{"SET", Kind::kCreate, 4};
// A command of it, but for key and text, which stand together between these. Any that comes has as
// many bytes around them: RespSplitter takes no number with a zero in front.
constexpr std::string_view kCreateHead = "*4\r\n$3\r\nSET\r\n";
constexpr std::string_view kSetHead = "*3\r\n$3\r\nSET\r\n";
constexpr std::string_view kCreateTail = "$2\r\nNX\r\n";

bool same_word(ByteSpan word, std::string_view upper) {
  return std::ranges::equal(as_text(word), upper, [](char c, char wanted) {
    return (c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c) == wanted;
  });
}

const Rule* rule_of(const RespCommand& command) {
  if (command.words.size() == 4 && same_word(command.words[0], "SET") &&
      same_word(command.words[3], "NX")) {
    return &kCreateRule;
  }
  for (const Rule& rule : kAllowed) {
    if (same_word(command.words[0], rule.name)) return &rule;
  }
  return nullptr;
}

// After these every further command would fail the same way.
bool is_lasting(Cause cause) {
  return cause == Cause::kOutOfMemory || cause == Cause::kLoading || cause == Cause::kReadOnly ||
         cause == Cause::kNoPermission || cause == Cause::kDiskFull ||
         cause == Cause::kConnectionLost || cause == Cause::kRefused;
}

// One part on its way into one server.
class Application {
 public:
  Application(RedisLink& link, ApplyMode mode) : link_(link), mode_(mode) {}

  ApplyResult run(PartContent& content) {
    if (auto done = feed(content); !done.has_value()) stop(Cause::kOther, done.error());
    if (!stopped_ && open_) {
      stop(Cause::kRefused, failed("the part ends inside a transaction; nothing of that was done"));
      result_.counts.count(Cause::kRefused, inside_.size());
    }
    end_batch();
    drain(0);
    ping();
    if (result_.counts.failed > 0 && !result_.error) {
      result_.error =
          failed(link_.description() + " did not take " + std::to_string(result_.counts.failed) +
                 " of " + std::to_string(result_.counts.commands) + " commands: " + first_failure_);
    }
    return std::move(result_);
  }

 private:
  struct Sent {
    Kind kind = Kind::kHarmless;
    std::size_t size = 0;
    bool queued = false;       // by a MULTI before it
    std::vector<Kind> inside;  // of an EXEC
    Bytes pairs;               // of a batch: its keys and texts, as words
    std::vector<std::size_t> ends;
  };
  static Sent sent_of(Kind kind, std::size_t size) {
    Sent sent;
    sent.kind = kind;
    sent.size = size;
    return sent;
  }

  Result<void, Error> feed(PartContent& content) {
    RespSplitter splitter;
    for (;;) {
      SEALANE_TRY(const ByteSpan data, content.next());
      if (data.empty()) break;
      splitter.lend(data);
      if (!take_commands(splitter)) return success();
    }
    if (auto whole = splitter.finish(); !whole.has_value()) refuse(whole.error());
    return success();
  }

  // False: there is something that is no command.
  bool take_commands(RespSplitter& splitter) {
    for (;;) {
      // In a store of small strings all commands are of this kind, and each costs as much as it is
      // looked at.
      if (const auto pair = splitter.next_like(kCreateHead, 2, kCreateTail)) {
        take_create(*pair);
        continue;
      }
      const auto command = splitter.next();
      if (!command.has_value()) {
        refuse(command.error());
        return false;
      }
      if (!command.value()) return true;
      take(*command.value());
    }
  }

  void refuse(RespError error) {
    stop(Cause::kRefused, failed("the part is unusable: " + std::string(describe(error))));
    result_.counts.count(Cause::kRefused);
  }

  // From here on nothing is sent; what follows counts as failed for this cause.
  void stop(Cause cause, Error error) {
    if (stopped_) return;
    stopped_ = cause;
    result_.error = std::move(error);
  }

  void take(const RespCommand& command) {
    if (stopped_) {
      result_.counts.count(*stopped_);
      return;
    }
    const Rule* const rule = rule_of(command);
    if (rule == nullptr || !allowed(*rule, command)) {
      result_.counts.count(Cause::kRefused);
      stop(Cause::kRefused, refusal(command, rule != nullptr));
      return;
    }
    send(*rule, command);
    keep_window();
  }

  void take_create(ByteSpan pair) {
    if (stopped_) {
      result_.counts.count(*stopped_);
      return;
    }
    create(pair);
    keep_window();
  }

  void keep_window() {
    if (pending_.size() >= kWindowCommands || pending_bytes_ >= kWindowBytes) {
      drain(pending_.size() / 2);
    } else if (link_.queued() >= kSendAt) {
      if (auto sent = link_.flush(); !sent.has_value()) lose(sent.error());
    }
  }

  bool allowed(const Rule& rule, const RespCommand& command) const {
    const auto& words = command.words;
    if (words.size() < rule.fewest_words) return false;
    switch (rule.kind) {
      case Kind::kRestore:
        return same_word(words[4], "ABSTTL") &&
               (words.size() == 5 || (words.size() == 6 && same_word(words[5], "REPLACE")));
      case Kind::kWriter: {
        // A key that is there must stay as it is; one that is being built up may change.
        if (mode_ == ApplyMode::kOverwrite) return true;
        const bool both = same_word(words[0], "DEL") || same_word(words[0], "UNLINK");
        return (!both || words.size() == 2) && is_temporary(words[1]);
      }
      case Kind::kRename:
        return words.size() == 3 && is_temporary(words[1]) && !is_temporary(words[2]);
      case Kind::kOpen:
        return words.size() == 1 && !open_ && mode_ == ApplyMode::kOverwrite;
      case Kind::kClose:
        return words.size() == 1 && open_;
      case Kind::kCreate:
        return true;
      case Kind::kBatch:
        break;
      case Kind::kHarmless:
        return same_word(words[0], "PING") || (words.size() == 2 && as_text(words[1]) == "0");
    }
    return false;
  }

  static bool is_temporary(ByteSpan key) { return as_text(key).starts_with(kTemporaryPrefix); }

  Error refusal(const RespCommand& command, bool known) const {
    const std::string name = printable(as_text(command.words[0]), 40);
    if (known && mode_ == ApplyMode::kFillMissing) {
      return failed("the part has a " + name +
                    " that could change a key that is there: refused. If its sender may do that, "
                    "use --mode overwrite");
    }
    return failed("the part has a command that no warm copy needs: " + name +
                  "; refused. Do not trust its sender");
  }

  // SET of a new key, as our mode wants it.
  void write_create(ByteSpan pair) {
    const bool gently = mode_ == ApplyMode::kFillMissing;
    link_.append(as_bytes(gently ? kCreateHead : kSetHead));
    link_.append(pair);
    if (gently) link_.append(as_bytes(kCreateTail));
  }

  // `pair`: key and text, as words.
  void create(ByteSpan pair) {
    if (open_ || !batches_ || singles_ > 0 || pair.size() > kBatchBytes) {
      if (singles_ > 0) --singles_;
      if (mode_ == ApplyMode::kOverwrite) end_batch();
      Sent sent = sent_of(Kind::kCreate, pair.size());
      sent.queued = open_;
      if (open_) inside_.push_back(Kind::kCreate);
      write_create(pair);
      expect(std::move(sent));
      return;
    }
    batch_.pairs.insert(batch_.pairs.end(), pair.begin(), pair.end());
    batch_.ends.push_back(batch_.pairs.size());
    if (batch_.ends.size() == kBatchKeys || batch_.pairs.size() >= kBatchBytes) end_batch();
  }

  // MSETNX does all or nothing, so it leaves alone what is there.
  void end_batch() {
    if (batch_.ends.empty()) return;
    Sent batch = std::move(batch_);
    batch_ = {};
    if (!spare_batches_.empty()) {
      batch_ = std::move(spare_batches_.back());
      spare_batches_.pop_back();
      batch_.pairs.clear();
      batch_.ends.clear();
    }
    batch.kind = Kind::kBatch;
    batch.size = batch.pairs.size();
    RespWriter out = link_.commands();
    out.begin(1 + 2 * batch.ends.size());
    out.word(mode_ == ApplyMode::kOverwrite ? "MSET" : "MSETNX");
    link_.append(batch.pairs);
    ++batches_pending_;
    expect(std::move(batch));
    // Until the first is answered it is not known whether the server takes such commands.
    if (!std::exchange(batches_tried_, true)) drain(0);
  }

  void judge_batch(Sent& sent, const RedisReply& reply) {
    --batches_pending_;
    const bool nothing = reply.kind == RedisReply::Kind::kInteger && reply.integer == 0;
    if (!nothing && !reply.is_error()) {
      result_.counts.commands += sent.ends.size();
      result_.counts.applied += sent.ends.size();
      spare_batches_.push_back(std::move(sent));
      return;
    }
    if (stopped_ && *stopped_ != Cause::kRefused) {
      return result_.counts.count(*stopped_, sent.ends.size());
    }
    // One by one each key has an answer of its own.
    if (nothing) singles_ = kSinglesAfter;
    if (!nothing) batches_ = false;
    std::size_t begin = 0;
    for (const std::size_t end : sent.ends) {
      write_create(ByteSpan(sent.pairs).subspan(begin, end - begin));
      expect(sent_of(Kind::kCreate, end - begin));
      begin = end;
    }
  }

  void send(const Rule& rule, const RespCommand& command) {
    if (rule.kind == Kind::kCreate) {
      return create(command.whole.subspan(
          kCreateHead.size(), command.whole.size() - kCreateHead.size() - kCreateTail.size()));
    }
    // Commands of one key keep their order; which of two captures of a missing key comes first does
    // not matter.
    if (rule.kind != Kind::kRestore || mode_ == ApplyMode::kOverwrite) end_batch();
    if (rule.kind != Kind::kRestore && batches_pending_ > 0) drain(0);
    Sent sent = sent_of(rule.kind, command.whole.size());
    RespWriter out = link_.commands();
    switch (rule.kind) {
      case Kind::kCreate:
      case Kind::kBatch:
        return;
      case Kind::kRestore:
        out.begin(mode_ == ApplyMode::kOverwrite ? 6 : 5);
        for (std::size_t i = 0; i < 5; ++i) out.word(command.words[i]);
        if (mode_ == ApplyMode::kOverwrite) out.word("REPLACE");
        break;
      case Kind::kRename:
        out.begin(3);
        out.word(mode_ == ApplyMode::kOverwrite ? "RENAME" : "RENAMENX");
        out.word(command.words[1]);
        out.word(command.words[2]);
        break;
      case Kind::kHarmless:  // asks for nothing that is not so already
        ++result_.counts.commands;
        ++result_.counts.applied;
        return;
      case Kind::kOpen:
        open_ = true;
        [[fallthrough]];
      case Kind::kClose:
      case Kind::kWriter:
        out.begin(command.words.size());
        for (const ByteSpan word : command.words) out.word(word);
        break;
    }
    if (rule.kind == Kind::kClose) {
      open_ = false;
      sent.inside = std::exchange(inside_, {});
    } else if (open_ && rule.kind != Kind::kOpen) {
      sent.queued = true;
      inside_.push_back(rule.kind);
    }
    expect(std::move(sent));
    if (rule.kind == Kind::kRename && mode_ == ApplyMode::kFillMissing) {
      // What was built up for a key that is there already goes away again.
      out.begin(2);
      out.word("UNLINK");
      out.word(command.words[1]);
      expect(sent_of(Kind::kHarmless, 0));
    }
  }

  void expect(Sent sent) {
    pending_bytes_ += sent.size;
    pending_.push_back(std::move(sent));
  }

  // Reads answers until at most `left` are missing.
  void drain(std::size_t left) {
    while (pending_.size() > left) {
      auto reply = link_.reply();
      if (!reply.has_value()) return lose(reply.error());
      Sent sent = std::move(pending_.front());
      pending_.pop_front();
      pending_bytes_ -= sent.size;
      judge(sent, reply.value());
    }
  }

  // What had no answer yet may or may not have been done.
  void lose(const Error& error) {
    lost_ = true;
    for (const Sent& sent : pending_) {
      if (sent.kind == Kind::kHarmless) continue;
      result_.counts.count(Cause::kConnectionLost, std::max<std::size_t>(1, sent.ends.size()));
    }
    pending_.clear();
    Error why = error;
    if (why.kind == ErrorKind::kInterrupted) {
      why.message =
          "interrupted in the middle of a part; what was applied of it stays, and pushing it again "
          "is harmless";
    } else if (why.kind == ErrorKind::kFailed) {
      why.message += ". What was under way may or may not be there; pushing again is harmless";
    }
    stop(Cause::kConnectionLost, std::move(why));
  }

  void judge(Sent& sent, const RedisReply& reply) {
    if (sent.kind == Kind::kHarmless) return;
    if (sent.kind == Kind::kBatch) return judge_batch(sent, reply);
    if (sent.kind == Kind::kClose) {
      count_applied(reply, sent.kind);
      for (std::size_t i = 0; i < sent.inside.size(); ++i) {
        const bool there = reply.kind == RedisReply::Kind::kArray && i < reply.items.size();
        count_applied(there ? reply.items[i] : reply, sent.inside[i]);
      }
      return;
    }
    if (sent.queued && !reply.is_error()) return;  // counted with its EXEC
    if (sent.queued) {
      // The transaction will not happen; EXEC says so for all of it.
      note(cause_of(reply.text), reply.text);
      return;
    }
    count_applied(reply, sent.kind);
  }

  void count_applied(const RedisReply& reply, Kind kind) {
    if (!reply.is_error()) {
      const bool kept = (kind == Kind::kRename && reply.kind == RedisReply::Kind::kInteger &&
                         reply.integer == 0) ||
                        (kind == Kind::kCreate && reply.kind == RedisReply::Kind::kNil);
      if (kept) {
        result_.counts.count(Cause::kExists);
      } else {
        ++result_.counts.commands;
        ++result_.counts.applied;
      }
      return;
    }
    Cause cause = cause_of(reply.text);
    // Its expiry was set before, and has passed.
    if (kind == Kind::kRename && reply.text.find("no such key") != std::string::npos) {
      cause = Cause::kExpired;
    }
    result_.counts.count(cause);
    note(cause, reply.text);
  }

  void note(Cause cause, std::string_view answer) {
    if (is_skip(cause)) return;
    // Most of its sentences end with a full stop, and ours goes on.
    const std::string_view text = answer.substr(0, answer.size() - (answer.ends_with('.') ? 1 : 0));
    const std::string why = printable(text, 120) + "; " + std::string(advice_for(cause));
    if (first_failure_.empty()) first_failure_ = why;
    if (is_lasting(cause)) stop(cause, failed(link_.description() + " answers: " + why));
  }

  // Everything was processed when this is answered.
  void ping() {
    if (lost_) return;
    link_.commands().command({"PING"});
    const auto reply = link_.reply();
    if (!reply.has_value()) return lose(reply.error());
    if (reply.value().is_error()) note(cause_of(reply.value().text), reply.value().text);
  }

  RedisLink& link_;
  ApplyMode mode_;
  ApplyResult result_;
  std::string first_failure_;
  std::optional<Cause> stopped_;
  bool lost_ = false;
  bool open_ = false;  // inside MULTI
  std::vector<Kind> inside_;
  Sent batch_;                       // being filled
  std::vector<Sent> spare_batches_;  // that were answered: their memory
  bool batches_ = true;
  bool batches_tried_ = false;
  std::size_t batches_pending_ = 0;
  std::size_t singles_ = 0;
  std::deque<Sent> pending_;
  std::size_t pending_bytes_ = 0;
};

}  // namespace

Cause cause_of(std::string_view answer) {
  const auto starts = [answer](std::string_view code) { return answer.starts_with(code); };
  const auto has = [answer](std::string_view text) { return answer.find(text) != answer.npos; };
  if (starts("BUSYKEY")) return Cause::kExists;
  // A part that is applied again adds entries that are there.
  if (has("equal or smaller than the target stream top item")) return Cause::kExists;
  if (starts("OOM")) return Cause::kOutOfMemory;
  if (starts("LOADING")) return Cause::kLoading;
  if (starts("READONLY")) return Cause::kReadOnly;
  if (starts("MOVED") || starts("ASK ") || starts("CROSSSLOT") || starts("CLUSTERDOWN")) {
    return Cause::kMoved;
  }
  if (has("DUMP payload version") || has("Bad data format")) return Cause::kPayloadVersion;
  if (starts("WRONGTYPE")) return Cause::kWrongType;
  if (starts("NOAUTH") || starts("NOPERM") || starts("WRONGPASS")) return Cause::kNoPermission;
  if (starts("MISCONF")) return Cause::kDiskFull;
  return Cause::kOther;
}

Result<void, Error> RedisSink::check() const {
  SEALANE_TRY(RedisLink::open_loaded(address_, cancel_, on_loading_));
  return success();
}

Result<bool, Error> RedisSink::is_same_store(const backup::RedisAddress& other) const {
  std::optional<StoreId> ids[2];
  const backup::RedisAddress* const addresses[2] = {&address_, &other};
  for (std::size_t i = 0; i < 2; ++i) {
    SEALANE_TRY(const auto link, RedisLink::open(*addresses[i], cancel_));
    SEALANE_TRY(ids[i], store_of(*link, addresses[i]->database));
  }
  return ids[0] && ids[1] && warm::is_same_store(*ids[0], *ids[1]);
}

Result<void, Error> RedisSink::flush() const {
  SEALANE_TRY(const auto link, RedisLink::open_loaded(address_, cancel_, on_loading_));
  SEALANE_TRY(link->demand({"FLUSHDB"}));
  return success();
}

// What comes before the commands of a part. `cause`: of an error.
Result<void, Error> RedisSink::make_ready(RedisLink& link, const PartInfo& part, Cause& cause) {
  if (!link.loading()) told_loading_ = false;
  auto loaded = link.wait_until_loaded([this](const backup::RedisLoading& loading) {
    if (!told_loading_.exchange(true) && on_loading_) on_loading_(loading);
  });
  cause = link.loading() ? Cause::kLoading : Cause::kConnectionLost;
  if (!loaded.has_value()) return loaded;
  if (part.store) {
    SEALANE_TRY(const auto ours, store_of(link, address_.database));
    if (ours && warm::is_same_store(*ours, *part.store)) {
      cause = Cause::kSameStore;
      return Error{ErrorKind::kRefused,
                   address_.description +
                       " is what the sender reads, or its replica, so nothing was emptied or "
                       "changed; " +
                       std::string(advice_for(cause))};
    }
  }
  const std::lock_guard lock(flushing_);
  if (!flush_first_) return success();
  SEALANE_TRY(const RedisReply flushed, link.ask({"FLUSHDB"}));
  cause = cause_of(flushed.text);
  if (flushed.is_error()) return link.refusal(flushed);
  flush_first_ = false;
  return success();
}

ApplyResult RedisSink::apply(const PartInfo& part, PartContent& content) {
  if (part.size == 0) return {};
  auto link = RedisLink::open(address_, cancel_);
  if (!link.has_value()) {
    ApplyResult result;
    result.counts.count(Cause::kConnectionLost);
    result.error = link.error();
    return result;
  }
  RedisLink& opened = *link.value();
  {
    const std::lock_guard lock(mutex_);
    links_.push_back(&opened);
    if (interrupted_) opened.interrupt();
  }
  ApplyResult result;
  Cause cause = Cause::kOther;
  if (auto ready = make_ready(opened, part, cause); ready.has_value()) {
    result = Application(opened, mode_).run(content);
  } else {
    result.counts.count(cause);
    result.error = ready.error();
  }
  const std::lock_guard lock(mutex_);
  std::erase(links_, &opened);
  return result;
}

void RedisSink::interrupt() noexcept {
  const std::lock_guard lock(mutex_);
  interrupted_ = true;
  for (RedisLink* const link : links_) link->interrupt();
}

}  // namespace sealane::warm
