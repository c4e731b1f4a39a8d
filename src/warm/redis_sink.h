#pragma once
// RedisSink: applies parts to a live Redis. Only commands of an allow-list are sent, a bounded
// number at a time, and every answer is read and counted. See docs/protocol/warm.md.
#include <atomic>
#include <memory>
#include <mutex>
#include <string>

#include "sealane/warm/sink.h"
#include "warm/redis_link.h"

namespace sealane::warm {

enum class ApplyMode : std::uint8_t {
  kFillMissing,  // a key that is there stays as it is
  kOverwrite,    // a key that is there is replaced
};

// What may be under way without an answer: bounds what a cut leaves unknown.
inline constexpr std::size_t kWindowCommands = 1024;
inline constexpr std::size_t kWindowBytes = 1024 * 1024;

// Thread-safe: each part has a connection of its own.
class RedisSink final : public Sink {
 public:
  // `cancel` may be null.
  RedisSink(backup::RedisAddress address, ApplyMode mode, const flow::Cancellation* cancel)
      : address_(std::move(address)), mode_(mode), cancel_(cancel) {}

  std::string description() const override { return address_.description; }
  // Before all else. Told when a server that loads its file is waited for: by check(), and where
  // it was started again between two parts.
  void on_loading(backup::OnLoading tell) { on_loading_ = std::move(tell); }
  // Whether the server is there and takes us; an error says what to do.
  Result<void, Error> check() const;
  // Whether that is the database we write to, or a replica of it, under whatever address. False
  // where a server does not say which it is.
  Result<bool, Error> is_same_store(const backup::RedisAddress& other) const;
  // Removes all keys of the database. Only when a person asked for it.
  Result<void, Error> flush() const;
  // The same, but when the first part is there to be applied: until then nothing is lost.
  void flush_before_first_part() { flush_first_ = true; }
  // A part that says it was read from the database that we write to is not applied.
  ApplyResult apply(const PartInfo& part, PartContent& content) override;
  void interrupt() noexcept override;

 private:
  backup::RedisAddress address_;
  ApplyMode mode_;
  const flow::Cancellation* cancel_;
  Result<void, Error> make_ready(RedisLink& link, const PartInfo& part, Cause& cause);
  backup::OnLoading on_loading_;
  std::atomic<bool> told_loading_{false};  // and not loaded since
  std::mutex flushing_;                    // no part is applied meanwhile
  bool flush_first_ = false;
  std::mutex mutex_;
  std::vector<RedisLink*> links_;  // of parts being applied
  bool interrupted_ = false;
};

// Which cause an error answer of Redis has.
Cause cause_of(std::string_view error_answer);

}  // namespace sealane::warm
