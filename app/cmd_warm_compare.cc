// sealane warm compare: what differs between two stores, and the repair of it.
#include <memory>
#include <nlohmann/json.hpp>

#include "app/commands.h"
#include "app/repository.h"
#include "app/warm_flags.h"
#include "warm/compare.h"
#include "warm/file.h"
#include "warm/push.h"

namespace sealane::app {
namespace {

constexpr std::uint64_t kShownKeys = 10;  // without --verbose

struct CompareFlags {
  std::string here;
  std::string there;
  std::string range;
  std::uint64_t tolerance = 1000;  // milliseconds
  std::uint64_t rate = 0;
  bool repair = false;
  bool dry_run = false;
};

Error usage(std::string message) { return {ErrorKind::kUsage, std::move(message)}; }

class CompareRun {
 public:
  CompareRun(Context& context, const CompareFlags& flags) : context_(context), flags_(flags) {}

  Result<int, Error> run() {
    if (flags_.tolerance == 0) return usage("--ttl-tolerance is at least 1 millisecond");
    if (flags_.repair && !is_redis_url(flags_.there)) {
      return usage("--repair writes to B, which must be a Redis");
    }
    if (flags_.dry_run && !flags_.repair) {
      return usage("--dry-run shows what --repair would send; without --repair nothing is written");
    }
    if (flags_.repair && !is_redis_url(flags_.here)) {
      return usage(
          "--repair reads keys from A, which must be a Redis; use sealane warm push for a file");
    }
    if (!is_redis_url(flags_.here) && !is_redis_url(flags_.there)) {
      SEALANE_TRY(refuse_given({{"--rate", flags_.rate > 0}},
                               "spares a Redis that is read; files need none"));
    }
    options_.ttl_tolerance = std::chrono::milliseconds(flags_.tolerance);
    SEALANE_TRY(options_.range, parse_token_range(flags_.range));
    SEALANE_TRY(const auto here, open(flags_.here));
    SEALANE_TRY(const auto there, open(flags_.there));
    options_.on_difference = [this](warm::Difference what, ByteSpan key) { tell(what, key); };
    SEALANE_TRY(warm::Comparison first, warm::compare(*here, *there, options_, context_.random));
    if (shown_ > kShownKeys && context_.console.verbose == 0) {
      context_.console.note("… and " + std::to_string(shown_ - kShownKeys) +
                            " more; -v shows them all");
    }
    print(first.report);
    if (!flags_.repair || flags_.dry_run || first.to_send.empty()) {
      if (flags_.repair) {
        context_.console.note((flags_.dry_run ? "would send " : "sent ") +
                              counted(first.to_send.size(), "key"));
      }
      return verdict(first.report, nlohmann::json::object());
    }
    return repair(*here, *there, std::move(first));
  }

 private:
  Result<std::unique_ptr<warm::KeyStore>, Error> open(const std::string& place) {
    if (is_redis_url(place)) {
      SEALANE_TRY(auto address, backup::parse_redis_url(place));
      auto store = std::make_unique<warm::RedisKeyStore>(std::move(address), context_.clock,
                                                         &context_.cancel);
      store->set_rate(flags_.rate);
      store->on_loading(loading_teller(context_));
      return std::unique_ptr<warm::KeyStore>(std::move(store));
    }
    return std::unique_ptr<warm::KeyStore>(std::make_unique<warm::SourceKeyStore>(
        place, [this, place]() -> Result<std::unique_ptr<warm::Source>, Error> {
          SEALANE_TRY(auto source, warm::FileSource::open(context_.files, place, {}));
          return std::unique_ptr<warm::Source>(std::move(source));
        }));
  }

  void tell(warm::Difference what, ByteSpan key) {
    const std::string name = printable(as_text(key));
    context_.console.emit("warm_difference",
                          {{"key", name}, {"difference", std::string(difference_name(what))}});
    if (++shown_ > kShownKeys && context_.console.verbose == 0) return;
    context_.console.note(std::string(difference_name(what)) + "  " + name);
  }

  void print(const warm::CompareReport& report) {
    const auto& found = report.differences;
    context_.console.print(
        "A has " + counted(report.keys_here, "key") + ", B " + std::to_string(report.keys_there) +
        ": " + std::to_string(found[0]) + " only in A, " + std::to_string(found[1]) +
        " only in B, " + std::to_string(found[2]) + " with another value, " +
        std::to_string(found[3]) + " with another expiry\n" + "compared with " +
        format_bytes(report.reconcile_bytes) + " in " + counted(report.rounds, "round") +
        "; a full copy is " + format_bytes(report.full_copy_bytes) + "\n");
  }

  Result<int, Error> repair(warm::KeyStore& here, warm::KeyStore& there, warm::Comparison first) {
    SEALANE_TRY(const auto from, backup::parse_redis_url(flags_.here));
    SEALANE_TRY(const auto to, backup::parse_redis_url(flags_.there));
    warm::RedisSourceOptions options;
    options.bytes_per_second = flags_.rate;
    options.on_loading = loading_teller(context_);
    SEALANE_TRY(const auto source,
                warm::RedisSource::open(from, options, context_.clock, &context_.cancel));
    const std::uint64_t keys = first.to_send.size();
    source->read_only(std::move(first.to_send));
    warm::RedisSink sink(to, warm::ApplyMode::kOverwrite, &context_.cancel);
    sink.on_loading(loading_teller(context_));
    warm::PushCounters counters;
    SEALANE_TRY(const warm::PushSummary sent,
                warm::push_all(*source, warm::send_to(sink), {}, context_.files, context_.random,
                               context_.cancel, counters));
    if (sent.counts.failed > 0) return Error{ErrorKind::kFailed, sent.unproven};
    context_.console.print("sent " + counted(keys, "key") + ", " + format_bytes(sent.bytes) + "\n");
    // Only another look proves it.
    options_.on_difference = [](warm::Difference, ByteSpan) {};
    SEALANE_TRY(const warm::Comparison second,
                warm::compare(here, there, options_, context_.random));
    print(second.report);
    return verdict(
        second.report,
        {{"keys_sent", keys}, {"bytes_sent", sent.bytes}, {"before", found(first.report)}});
  }

  static nlohmann::json found(const warm::CompareReport& report) {
    nlohmann::json out = {{"keys_here", report.keys_here},
                          {"keys_there", report.keys_there},
                          {"unconfirmed", report.unconfirmed},
                          {"passes", report.passes},
                          {"rounds", report.rounds},
                          {"reconcile_bytes", report.reconcile_bytes},
                          {"full_copy_bytes", report.full_copy_bytes}};
    for (std::size_t i = 0; i < report.differences.size(); ++i) {
      out[std::string(difference_name(static_cast<warm::Difference>(i)))] = report.differences[i];
    }
    return out;
  }

  // `repaired`: what was sent, and what was found before it was.
  Result<int, Error> verdict(const warm::CompareReport& report, const nlohmann::json& repaired) {
    const bool equal = report.total() == 0;
    nlohmann::json message = found(report);
    message["keys_sent"] = 0;
    message["bytes_sent"] = 0;
    message["before"] = nullptr;
    message["dry_run"] = flags_.dry_run;
    message["equal"] = equal;
    message.update(repaired);
    context_.console.emit("warm_compare", std::move(message));
    if (equal) {
      context_.console.print("equal\n");
      return 0;
    }
    std::string advice;
    if (report.differences[1] > 0) {
      advice =
          "; keys that only B has are never deleted: look at them, and delete them there if "
          "they should be gone";
    } else if (!flags_.repair) {
      advice = "; --repair sends A's keys to B";
    }
    return Error{ErrorKind::kVerificationFailed,
                 "the stores differ in " + counted(report.total(), "key") + advice};
  }

  Context& context_;
  const CompareFlags& flags_;
  warm::CompareOptions options_;
  std::uint64_t shown_ = 0;
};

}  // namespace

Command warm_compare_command() {
  const auto flags = std::make_shared<CompareFlags>();
  return {
      .name = "warm compare",
      .summary = "find the keys in which two Redis stores differ, and repair them",
      .description =
          "Compares every key of A with B: type, value (whatever its encoding) and expiry. A and B "
          "are redis://[:PASSWORD@]HOST[:PORT][/DATABASE], redis+unix:///PATH, or a file of parts "
          "that sealane warm push wrote. Keys that differ are looked at again, so writes in "
          "between do not count. The exit code is 0 only if both are equal, 30 if they differ.\n\n"
          "--repair sends the keys that B lacks or has with another value; it overwrites, and "
          "deletes nothing. --dry-run shows what would be sent.",
      .examples = {"sealane warm compare redis://shop redis://vault",
                   "sealane warm compare redis://shop redis://vault --repair --dry-run"},
      .options = {{.names = "--repair",
                   .help = "Send the keys in which B differs from A, then compare again",
                   .variable = &flags->repair},
                  {.names = "--dry-run",
                   .help = "With --repair: write nothing",
                   .variable = &flags->dry_run},
                  {.names = "--range",
                   .value_name = "START-END",
                   .help = "Only keys whose token is above START and not above END",
                   .variable = &flags->range},
                  {.names = "--ttl-tolerance",
                   .value_name = "MS",
                   .help =
                       "Expiries that differ by so many milliseconds are equal; 1000 when missing",
                   .variable = &flags->tolerance},
                  {.names = "--rate",
                   .value_name = "BYTES",
                   .help = "Read at most BYTES a second from each; no limit when missing",
                   .variable = &flags->rate}},
      .arguments = {{.name = "A",
                     .help = "The store that is right",
                     .variable = &flags->here,
                     .required = true,
                     .completes = Completes::kNothing},
                    {.name = "B",
                     .help = "The store that is compared with it",
                     .variable = &flags->there,
                     .required = true,
                     .completes = Completes::kNothing}},
      .run = [flags](Context& context) { return CompareRun(context, *flags).run(); },
  };
}

}  // namespace sealane::app
