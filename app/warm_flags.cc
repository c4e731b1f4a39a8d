#include "app/warm_flags.h"

#include <charconv>

#include "app/repository.h"
#include "warm/file.h"

namespace sealane::app {
namespace {

Error usage(std::string message) { return {ErrorKind::kUsage, std::move(message)}; }

std::optional<std::uint32_t> token(std::string_view text) {
  std::uint32_t value = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || parsed.ec != std::errc{} || parsed.ptr != text.data() + text.size()) {
    return std::nullopt;
  }
  return value;
}

}  // namespace

void ChannelFlags::add_to(std::vector<Option>& options) {
  for (Option& option : std::vector<Option>{
           {.names = "--secret-file",
  .value_name = "FILE",
  .help = "The 32 byte secret of the cluster: parts are signed and answered, the only way "
          "to know that they arrived; twice while it changes, the new one first",
  .variable = &secret_files,
  .completes = Completes::kFile},
           {.names = "--key-file",
           .value_name = "FILE",
           .help = "AES-128 key of the channel (recon_key_file of a Dynomite)",
           .variable = &key_file,
           .completes = Completes::kFile},
           {.names = "--iv-file",
           .value_name = "FILE",
           .help = "IV of the channel (recon_iv_file)",
           .variable = &iv_file,
           .completes = Completes::kFile},
           {.names = "--allow-sample-key",
           .help = "Take the key that ships with Dynomite, which everybody has",
           .variable = &allow_sample_key},
       }) {
    options.push_back(std::move(option));
  }
}

warm::ChannelKeyFiles ChannelFlags::files() const {
  warm::ChannelKeyFiles out;
  out.key = key_file;
  out.iv = iv_file;
  out.secrets = secret_files;
  out.allow_sample = allow_sample_key;
  return out;
}

void SourceFlags::add_to(std::vector<Option>& options) {
  for (Option& option : std::vector<Option>{
           {.names = "--part-size",
  .value_name = "MIB",
  .help = "Size of a part: what a cut costs, and what each of two takes of memory; 32 "
          "when missing, 8 to a unix: socket, 4 with --as-replica",
  .variable = &part_size},
           {.names = "--big-key",
           .value_name = "MIB",
           .help = "Of a Redis: build keys above this size up in pieces, and rename them when they "
                   "are whole; 32 when missing, 4 with --as-replica",
           .variable = &big_key},
           {.names = "--range",
           .value_name = "START-END",
           .help = "Only keys whose token (Dynomite's murmur of the key) is above START and not "
                   "above END",
           .variable = &range},
           {.names = "--rate",
           .value_name = "BYTES",
           .help = "Read at most BYTES a second; no limit when missing",
           .variable = &rate},
           {.names = "--rate-file",
           .value_name = "FILE",
           .help = "The same, but FILE says it, and is looked at again while it runs: write "
                   "another number to go faster or slower, 0 for no limit",
           .variable = &rate_file,
           .completes = Completes::kFile},
           {.names = "--portable",
           .help = "Send the commands of each type instead of DUMP: for an older Redis",
           .variable = &portable},
           {.names = "--as-replica",
           .help = "Read the image that the Redis gives to a new replica, not each key: of one "
                   "moment, and faster. The server forks; a run that was cut starts over",
           .variable = &as_replica},
       }) {
    options.push_back(std::move(option));
  }
}

Result<warm::RedisSourceOptions, Error> SourceFlags::options() const {
  warm::RedisSourceOptions out;
  std::uint64_t size = part_size;
  if (size == kUnset) size = (as_replica ? warm::kReplicaPartSize : warm::kDefaultPartSize) >> 20;
  if (size == 0 || size > warm::kMaxPartSize >> 20) return usage("--part-size is 1 to 1024 MiB");
  std::uint64_t big = big_key;
  if (big == kUnset) {
    big =
        as_replica ? warm::kReplicaBigKeySize >> 20 : warm::RedisSourceOptions{}.big_key_size >> 20;
  }
  if (big == 0 || big > 512) return usage("--big-key is 1 to 512 MiB");
  out.part_size = static_cast<std::size_t>(size) << 20;
  out.big_key_size = static_cast<std::size_t>(big) << 20;
  if (as_replica && portable) {
    return usage("--as-replica gives values as DUMP does, so it does not go with --portable");
  }
  SEALANE_TRY(out.range, parse_token_range(range));
  if (rate > 0 && !rate_file.empty()) return usage("--rate-file says the rate; leave out --rate");
  out.portable = portable;
  out.bytes_per_second = rate;
  return out;
}

Result<warm::RedisSourceOptions, Error> SourceFlags::options_for(const std::string& place) const {
  if (!is_redis_url(place)) {
    SEALANE_TRY(refuse_given({{"--portable", portable}, {"--as-replica", as_replica}},
                             "reads from a Redis, not from a file"));
    SEALANE_TRY(refuse_given({{"--rate", rate > 0}, {"--rate-file", !rate_file.empty()}},
                             "spares a Redis that is read; a file needs none"));
    SEALANE_TRY(refuse_given({{"--big-key", big_key != kUnset}},
                             "says how a Redis is read; the keys of a file are in pieces already, "
                             "or are not"));
  }
  return options();
}

SourceFlags SourceFlags::towards(const std::string& to) const {
  SourceFlags out = *this;
  if (part_size == kUnset && !as_replica && to.starts_with("unix:")) {
    out.part_size = warm::kLocalPartSize >> 20;
  }
  return out;
}

bool SourceFlags::any_given() const {
  return part_size != kUnset || big_key != kUnset || !range.empty() || portable || as_replica ||
         rate > 0 || !rate_file.empty();
}

Result<void, Error> refuse_given(std::initializer_list<Given> options, std::string_view why) {
  for (const Given& one : options) {
    if (one.given) return usage(std::string(one.option) + " " + std::string(why));
  }
  return success();
}

Result<warm::TokenRange, Error> parse_token_range(const std::string& text) {
  if (text.empty()) return warm::TokenRange{};
  const auto dash = text.find('-');
  const auto start = token(std::string_view(text).substr(0, dash));
  const auto end =
      dash == text.npos ? std::nullopt : token(std::string_view(text).substr(dash + 1));
  if (!start || !end || *start == *end) {
    return usage(printable(text, 40) +
                 " is no range of tokens; write START-END, two different numbers below 4294967296");
  }
  return warm::TokenRange{.start = *start, .end = *end};
}

Result<warm::ApplyMode, Error> parse_apply_mode(const std::string& text) {
  if (text == "fill-missing") return warm::ApplyMode::kFillMissing;
  if (text == "overwrite") return warm::ApplyMode::kOverwrite;
  return usage("--mode is fill-missing or overwrite");
}

bool is_redis_url(const std::string& place) {
  return place.starts_with("redis://") || place.starts_with("redis+unix://");
}

Result<std::unique_ptr<warm::Source>, Error> open_warm_source(Context& context,
                                                              const std::string& place,
                                                              const SourceFlags& flags) {
  SEALANE_TRY(warm::RedisSourceOptions options, flags.options_for(place));
  if (is_redis_url(place)) {
    options.on_loading = loading_teller(context);
    SEALANE_TRY(const auto address, backup::parse_redis_url(place));
    if (flags.as_replica) {
      SEALANE_TRY(auto source,
                  warm::ReplicaSource::open(address, options, context.clock, &context.cancel));
      return std::unique_ptr<warm::Source>(std::move(source));
    }
    SEALANE_TRY(auto source,
                warm::RedisSource::open(address, options, context.clock, &context.cancel));
    return std::unique_ptr<warm::Source>(std::move(source));
  }
  SEALANE_TRY(auto source,
              warm::FileSource::open(context.files, place,
                                     {.part_size = options.part_size, .range = options.range}));
  return std::unique_ptr<warm::Source>(std::move(source));
}

}  // namespace sealane::app
