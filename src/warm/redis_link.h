#pragma once
// RedisLink: one connection to a Redis server, for commands in long pipelines. The only place that
// sees hiredis, whose reader cuts the answers.
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "backup/redis_address.h"
#include "backup/redis_loading.h"
#include "flow/descriptor.h"
#include "flow/stream.h"
#include "sealane/base/bytes.h"
#include "sealane/base/result.h"
#include "sealane/base/seams.h"
#include "sealane/warm/source.h"
#include "warm/resp.h"

struct redisReader;

namespace sealane::warm {

inline constexpr std::size_t kMaxReplyItems = 4 * 1024 * 1024;  // of one array of an answer
inline constexpr std::chrono::seconds kConnectTimeout{10};
inline constexpr std::chrono::seconds kAnswerTimeout{60};  // a big value takes a server long

// One answer. Move-only in spirit: texts may be as large as a value.
struct RedisReply {
  enum class Kind : std::uint8_t { kStatus, kError, kInteger, kText, kNil, kArray };
  Kind kind = Kind::kNil;
  std::int64_t integer = 0;
  std::string text;  // of a status, an error, a text
  std::vector<RedisReply> items;

  bool is_error() const { return kind == Kind::kError; }
  bool is_error(std::string_view code) const { return is_error() && text.starts_with(code); }
};

// Blocking; one thread at a time, but interrupt(). Every wait ends by a deadline, by `cancel`
// (which may be null) and by interrupt(). An error is final: what was sent and not answered may or
// may not have been done.
class RedisLink {
 public:
  // Connects, logs in (a password of the URL, else of REDISCLI_AUTH), selects the database. A
  // server that is loading its file lets in, too.
  static Result<std::unique_ptr<RedisLink>, Error> open(const backup::RedisAddress& address,
                                                        const flow::Cancellation* cancel);
  // The same, and wait_until_loaded().
  static Result<std::unique_ptr<RedisLink>, Error> open_loaded(const backup::RedisAddress& address,
                                                               const flow::Cancellation* cancel,
                                                               const backup::OnLoading& on_loading);
  ~RedisLink();
  RedisLink(const RedisLink&) = delete;
  RedisLink& operator=(const RedisLink&) = delete;

  // Commands to send. They leave with flush(), or when reply() has to wait.
  RespWriter commands() { return RespWriter(output_); }
  void append(ByteSpan written) {  // commands, or the rest of one, that were written elsewhere
    output_.insert(output_.end(), written.begin(), written.end());
  }
  std::size_t queued() const { return output_.size() - sent_; }
  Result<void, Error> flush();
  // The next answer, in the order of the commands.
  Result<RedisReply, Error> reply();
  // One command and its answer. Nothing else may be under way.
  Result<RedisReply, Error> ask(std::initializer_list<std::string_view> words);
  // The same where an error answer is our failure too: "redis://h answers: …".
  Result<RedisReply, Error> demand(std::initializer_list<std::string_view> words);
  // For a command whose answer is no RESP, once those before it were read: what comes next of it, 1
  // to out.size() bytes. From then on reply() is over.
  Result<std::size_t, Error> read_raw(MutableByteSpan out);

  // Whether the server answered so when it was asked last: it takes no commands yet.
  bool loading() const { return loading_; }
  // REQUIRES: nothing is under way. kFailed if `patience` is over.
  Result<void, Error> wait_until_loaded(
      const backup::OnLoading& on_loading,
      std::chrono::nanoseconds patience = backup::kLoadingPatience);

  const std::string& description() const { return description_; }
  Error refusal(const RedisReply& reply) const;
  void interrupt() noexcept { interrupted_.cancel(); }

 private:
  explicit RedisLink(const flow::Cancellation* cancel) : cancel_(cancel) {}
  Result<void, Error> connect(const backup::RedisAddress& address);
  Result<void, Error> log_in(const backup::RedisAddress& address);
  Result<void, Error> connect_to(int family, const void* to, std::size_t size);
  // Until the socket is ready for one of `events`.
  Result<short, Error> wait(short events, SteadyTime deadline) const;
  // The same, but 0 if it is not by then.
  Result<short, Error> wait_until(SteadyTime end, short events) const;
  Result<void, Error> receive();
  Result<void, Error> send_some();
  Error lost(std::string_view why) const;

  struct ReaderDeleter {
    void operator()(redisReader* reader) const;
  };
  const flow::Cancellation* cancel_;
  flow::Cancellation interrupted_;
  std::string description_;
  bool has_password_ = false;
  bool loading_ = false;
  flow::OwnedDescriptor socket_;
  RedisReply root_;  // being read; before the reader, which may clear it when it goes
  std::unique_ptr<redisReader, ReaderDeleter> reader_;
  Bytes output_;
  std::size_t sent_ = 0;
  Bytes input_;                // as large as answers ask for
  std::size_t read_size_ = 0;  // of it, next time
};

using backup::info_field;

// Of that database, as the server says which it is; nothing where it does not. Nothing else
// may be under way.
Result<std::optional<StoreId>, Error> store_of(RedisLink& link, std::uint64_t database);

}  // namespace sealane::warm
