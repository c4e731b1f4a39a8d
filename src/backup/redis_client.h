#pragma once
// What source, target and throw-away server of Redis share: the connection, the dump that is
// checked as it streams, and what its keys add up to.
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "backup/process.h"
#include "backup/rdb.h"
#include "backup/source.h"

namespace sealane::backup {

// Where and as whom. The password goes by the child's environment, never by its arguments.
class RedisConnection {
 public:
  static Result<RedisConnection, Error> from_url(const std::string& url);
  static RedisConnection local(const std::string& socket);  // a private server

  // redis-cli with these arguments behind those that connect it.
  ToolCommand command(std::vector<std::string> arguments) const;
  // What it prints for one Redis command. An answer that begins with neither `expected` is an
  // error: redis-cli ends with status 0 even when the server refuses.
  Result<std::string, Error> ask(std::vector<std::string> words, const std::string& expected,
                                 flow::Cancellation& cancel) const;
  // At most kLoadingPatience. Success, too, where the server does not say whether it loads: it is
  // asked other things next.
  Result<void, Error> wait_until_loaded(DriverContext& context) const;
  const std::string& description() const { return description_; }  // without secrets

 private:
  RedisConnection() = default;
  std::string description_;
  std::vector<std::string> arguments_;
  std::shared_ptr<const SecretBytes> secret_;
};

// What the keys of an RDB file add up to. Keys with an expiry go away by themselves, so a
// comparison with what a server has later needs to know which: see expired_until().
class RedisTally final : public RdbHandler {
 public:
  struct Sum {
    std::uint64_t count = 0;
    RdbDigest digest;
  };
  using Sums = std::map<std::uint64_t, Sum>;
  static constexpr std::size_t kMaxRemembered = 1'000'000;  // keys that expire within the horizon
  static constexpr std::int64_t kHorizon = 24 * 3600 * std::int64_t{1000};  // a restore's duration

  // Counts all keys. `now`: Unix time in milliseconds, from which expiries are remembered.
  explicit RedisTally(std::int64_t now) : now_(now) {}
  // Counts only keys that do not expire before `later_than`.
  static RedisTally of_those_expiring_after(std::int64_t later_than);

  bool on_key(const RdbKey& key) override;
  bool on_function(ByteSpan library) override;

  const Sums& databases() const { return databases_; }
  // The sums of the keys that expire up to `time`; nothing if that was not remembered.
  std::optional<Sums> expired_until(std::int64_t time) const;
  void add(const Sums& more);
  Fingerprint fingerprint() const;

 private:
  struct Remembered {
    std::int64_t expires = 0;
    std::uint64_t database = 0;
    RdbDigest digest;
  };
  std::int64_t now_ = 0;
  std::optional<std::int64_t> later_than_;
  Sums databases_;
  Sum functions_;
  Sums expired_;  // by now_
  std::vector<Remembered> expiring_;
  bool forgot_ = false;
};

// All keys of a running server as an RDB file, by `redis-cli --rdb`. Ends well only behind a
// complete file with a right checksum. The tally belongs to the caller and must live as long.
Result<std::unique_ptr<DumpStream>, Error> open_redis_dump(const RedisConnection& connection,
                                                           RedisTally& tally,
                                                           flow::Cancellation& cancel);
// The fingerprint of what a server has, of which `restored` was put there: keys that expired since
// are taken from `restored`. Nothing if too many did.
Result<std::optional<Fingerprint>, Error> redis_fingerprint(const RedisConnection& connection,
                                                            const RedisTally* restored,
                                                            FingerprintLevel level,
                                                            DriverContext& context);
std::int64_t unix_milliseconds(const Clock& clock);

}  // namespace sealane::backup
