#pragma once
// What the warm commands share: flags that name stores, ranges and keys, and what they mean.
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "app/command.h"
#include "warm/channel.h"
#include "warm/push.h"
#include "warm/redis_sink.h"
#include "warm/redis_source.h"
#include "warm/replica_source.h"

namespace sealane::app {

// Keys of the channel.
struct ChannelFlags {
  std::string key_file;
  std::string iv_file;
  std::vector<std::string> secret_files;
  bool allow_sample_key = false;
  void add_to(std::vector<Option>& options);
  warm::ChannelKeyFiles files() const;
};

// An option, and whether it was given another value than it has when it is missing.
struct Given {
  std::string_view option;
  bool given = false;
};
// An option that does nothing here was given: "--bind WHY". Nothing that is asked for is passed
// over in silence.
Result<void, Error> refuse_given(std::initializer_list<Given> options, std::string_view why);

// How a source is read.
struct SourceFlags {
  static constexpr std::uint64_t kUnset = UINT64_MAX;
  std::uint64_t part_size = kUnset;  // MiB
  std::uint64_t big_key = kUnset;    // MiB
  std::string range;
  bool portable = false;
  bool as_replica = false;
  std::uint64_t rate = 0;  // bytes a second
  std::string rate_file;
  void add_to(std::vector<Option>& options);
  Result<warm::RedisSourceOptions, Error> options() const;
  // The same, and that none was given which the source at `place` has no use for.
  Result<warm::RedisSourceOptions, Error> options_for(const std::string& place) const;
  bool any_given() const;
  // The same, with what is best for parts that go to `to` where nothing else was told.
  SourceFlags towards(const std::string& to) const;
  // Parts under way where nothing else is told.
  unsigned parallel() const {
    return as_replica ? warm::kReplicaParallel : warm::PushPlan{}.parallel;
  }
};

// "START-END" in decimal; empty: the whole ring.
Result<warm::TokenRange, Error> parse_token_range(const std::string& text);
Result<warm::ApplyMode, Error> parse_apply_mode(const std::string& text);
// Whether a place is a Redis: redis:// or redis+unix://.
bool is_redis_url(const std::string& place);
// A Redis by its URL, else a file.
Result<std::unique_ptr<warm::Source>, Error> open_warm_source(Context& context,
                                                              const std::string& place,
                                                              const SourceFlags& flags);

}  // namespace sealane::app
