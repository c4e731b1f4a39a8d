#pragma once
// KeyStore: what a comparison looks at: keys with a digest of their values that does not depend on
// how a server stores them. A Redis, or a file of parts.
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "backup/rdb.h"
#include "sealane/warm/source.h"
#include "warm/redis_source.h"

namespace sealane::warm {

struct KeyDigest {
  Bytes key;
  backup::RdbDigest value;   // of key, kind and value; equal for equal data in any encoding
  std::int64_t expires = 0;  // Unix time in milliseconds; 0: never
};

// The digest of what RESTORE takes; nothing if that is damaged or of a newer server.
std::optional<backup::RdbDigest> digest_of_dump(ByteSpan key, ByteSpan dump);

class KeyStore {
 public:
  // An error ends the walk.
  using Visit = std::function<Result<void, Error>(KeyDigest key)>;
  using VisitName = std::function<Result<void, Error>(ByteSpan name)>;
  virtual ~KeyStore() = default;
  virtual std::string description() const = 0;
  virtual Result<std::uint64_t, Error> key_count() = 0;  // about
  // Every key with a token in the range; keys written meanwhile may come twice or not at all.
  virtual Result<void, Error> each(TokenRange range, const Visit& visit) = 0;
  virtual Result<void, Error> each_name(TokenRange range, const VisitName& visit) = 0;
  // Those of the keys that are there.
  virtual Result<void, Error> look_up(std::vector<Bytes> keys, const Visit& visit) = 0;
  // Bytes of the commands that each() saw: what a full copy sends.
  virtual std::uint64_t bytes_seen() const = 0;
  virtual void set_rate(std::uint64_t bytes_per_second) = 0;
};

class RedisKeyStore final : public KeyStore {
 public:
  RedisKeyStore(backup::RedisAddress address, Clock& clock, const flow::Cancellation* cancel)
      : address_(std::move(address)), clock_(clock), cancel_(cancel) {}
  std::string description() const override { return address_.description; }
  Result<std::uint64_t, Error> key_count() override;
  Result<void, Error> each(TokenRange range, const Visit& visit) override;
  Result<void, Error> each_name(TokenRange range, const VisitName& visit) override;
  Result<void, Error> look_up(std::vector<Bytes> keys, const Visit& visit) override;
  std::uint64_t bytes_seen() const override { return bytes_; }
  void set_rate(std::uint64_t bytes_per_second) override { rate_ = bytes_per_second; }
  // As of RedisSourceOptions.
  void on_loading(backup::OnLoading tell) { on_loading_ = std::move(tell); }

 private:
  Result<std::unique_ptr<RedisLink>, Error> open() const;
  Result<void, Error> walk(RedisSource& source, const Visit& visit) const;
  RedisSourceOptions options(TokenRange range) const;
  backup::RedisAddress address_;
  Clock& clock_;
  const flow::Cancellation* cancel_;
  std::uint64_t bytes_ = 0;
  std::uint64_t rate_ = 0;
  backup::OnLoading on_loading_;
};

// A source that can be opened again and again, made of RESTORE and SET NX commands only.
class SourceKeyStore final : public KeyStore {
 public:
  using Open = std::function<Result<std::unique_ptr<Source>, Error>()>;
  SourceKeyStore(std::string description, Open open)
      : description_(std::move(description)), open_(std::move(open)) {}
  std::string description() const override { return description_; }
  Result<std::uint64_t, Error> key_count() override;
  Result<void, Error> each(TokenRange range, const Visit& visit) override;
  Result<void, Error> each_name(TokenRange range, const VisitName& visit) override;
  Result<void, Error> look_up(std::vector<Bytes> keys, const Visit& visit) override;
  std::uint64_t bytes_seen() const override { return bytes_; }
  void set_rate(std::uint64_t) override {}

 private:
  std::string description_;
  Open open_;
  std::uint64_t bytes_ = 0;
};

}  // namespace sealane::warm
