// sealane warm push: all keys of a store to a peer, another Redis, or a file.
#include <memory>
#include <nlohmann/json.hpp>

#include "app/commands.h"
#include "app/paths.h"
#include "app/rate_watch.h"
#include "app/repository.h"
#include "app/warm_flags.h"
#include "crypto/hash.h"
#include "warm/file.h"
#include "warm/parts_ahead.h"
#include "warm/peer_link.h"
#include "warm/push.h"

namespace sealane::app {
namespace {

// An image is read ahead of what is sent. Of its parts three are under way, one is made in memory
// that grows, and what they are made of and sent through takes as much again: with all of that it
// stays below 128 MiB.
constexpr std::size_t kImageMemory = std::size_t{96} * 1024 * 1024;
constexpr std::size_t kPartsElsewhere = 8;

struct PushFlags {
  std::string from;
  std::string to;
  SourceFlags source;
  ChannelFlags keys;
  std::string peer_kind = "sealane";
  std::string bind;
  bool plain = false;
  std::uint64_t header_size = entropy::kMaxHeaderSize;
  std::uint64_t buffer_size = SourceFlags::kUnset;
  std::uint64_t connect_timeout = 5;  // seconds
  std::uint64_t idle_timeout = 30;
  std::uint64_t total_timeout = 3600;
  std::string mode = "fill-missing";
  bool flush = false;
  std::uint64_t parallel = SourceFlags::kUnset;
  std::string journal;
  bool start_over = false;
};

Error usage(std::string message) { return {ErrorKind::kUsage, std::move(message)}; }

class PushRun {
 public:
  PushRun(Context& context, const PushFlags& flags) : context_(context), flags_(flags) {}

  Result<int, Error> run() {
    if (flags_.parallel != SourceFlags::kUnset &&
        (flags_.parallel == 0 || flags_.parallel > warm::kMaxParallel)) {
      return usage("--parallel is 1 to " + std::to_string(warm::kMaxParallel));
    }
    SEALANE_TRY(flags_.source.options_for(flags_.from));
    SEALANE_TRY(const warm::SendPart send, open_target());
    SEALANE_TRY(auto source,
                open_warm_source(context_, flags_.from, flags_.source.towards(flags_.to)));
    if (peer_ != nullptr) peer_->set_store(source->store());
    if (flags_.source.as_replica) {
      source = std::make_unique<warm::PartsAhead>(std::move(source), kImageMemory, kPartsElsewhere);
    }
    SEALANE_TRY(const auto watch, RateWatch::start(context_, flags_.source.rate_file, *source));
    SEALANE_TRY(warm::PushPlan plan, make_plan(source->description()));
    if (flags_.flush) {  // only now, when all that can be known to be wrong was looked at
      SEALANE_TRY(redis_->flush());
    }
    const auto start = context_.clock.steady_now();
    const auto result = [&] {
      const Progress progress(context_.console, "push", [&] { return sample(*source); });
      return warm::push_all(*source, send, plan, context_.files, context_.random, context_.cancel,
                            counters_);
    }();
    const std::chrono::duration<double> time = context_.clock.steady_now() - start;
    if (!result.has_value()) return cut(result.error(), time.count());
    if (file_ != nullptr && result.value().proven()) {
      SEALANE_TRY(file_->finish());
    }
    return tell(result.value(), time.count());
  }

 private:
  Result<warm::SendPart, Error> open_target() {
    SEALANE_TRY(const warm::ApplyMode mode, parse_apply_mode(flags_.mode));
    if (is_redis_url(flags_.to)) {
      SEALANE_TRY(refuse_channel_flags());
      SEALANE_TRY(auto address, backup::parse_redis_url(flags_.to));
      redis_ = std::make_unique<warm::RedisSink>(std::move(address), mode, &context_.cancel);
      redis_->on_loading(loading_teller(context_));
      SEALANE_TRY(redis_->check());
      if (is_redis_url(flags_.from)) {
        SEALANE_TRY(const auto from, backup::parse_redis_url(flags_.from));
        SEALANE_TRY(const bool same, redis_->is_same_store(from));
        if (same) {
          return usage("--from and --to are the same database of the same Redis; nothing was done");
        }
      }
      return warm::send_to(*redis_);
    }
    if (flags_.flush || mode != warm::ApplyMode::kFillMissing) {
      return usage(
          "--mode and --flush belong to a Redis that is written here; a peer decides for "
          "itself, by its own flags");
    }
    const auto address = warm::channel_address(flags_.to);
    if (!address) {
      if (flags_.to.find('/') == flags_.to.npos) {
        return usage(printable(flags_.to) +
                     " is no place to push to; write HOST:PORT, unix:PATH, "
                     "redis://…, or the path of a file with a slash");
      }
      SEALANE_TRY(refuse_channel_flags());
      SEALANE_TRY(refuse_given(
          {{"--journal", !flags_.journal.empty()}, {"--start-over", flags_.start_over}},
          "is about going on after a cut; a file is always written from its start"));
      SEALANE_TRY(file_, warm::FileSink::create(context_.files, context_.random, flags_.to));
      // A file that lacks one is not kept, so nothing is read behind it.
      return [send = warm::send_to(*file_)](
                 const warm::Part& part) -> Result<warm::PartOutcome, Error> {
        SEALANE_TRY(warm::PartOutcome outcome, send(part));
        if (outcome.fate != warm::PartFate::kApplied) {
          return Error{ErrorKind::kFailed, outcome.why};
        }
        return outcome;
      };
    }
    if (flags_.peer_kind == "dynomite") {
      SEALANE_TRY(refuse_given({{"--secret-file", !flags_.keys.secret_files.empty()}},
                               "signs parts for a sealane; a dynomite knows nothing of it"));
    }
    if (flags_.plain) {
      SEALANE_TRY(refuse_given({{"--key-file", !flags_.keys.key_file.empty()},
                                {"--iv-file", !flags_.keys.iv_file.empty()}},
                               "encrypts, and --plain does not; leave out one of them"));
    }
    SEALANE_TRY(auto keys, warm::load_channel_keys(context_.files, flags_.keys.files()));
    for (const std::string& warning : keys.warnings) context_.console.warn(warning);
    warm::PushOptions options;
    options.to = *address;
    if (!flags_.bind.empty()) options.from = Address{"tcp:" + flags_.bind + ":0"};
    options.encrypt = !flags_.plain;
    options.on_warning = [this](const std::string& text) { context_.console.warn(text); };
    options.foreign = flags_.peer_kind == "dynomite";
    options.header_size =
        static_cast<std::uint32_t>(std::min<std::uint64_t>(flags_.header_size, 1 << 30));
    if (flags_.buffer_size != SourceFlags::kUnset) {
      options.buffer_size =
          static_cast<std::uint32_t>(std::min<std::uint64_t>(flags_.buffer_size, 1 << 30));
    }
    options.connect_timeout = std::chrono::seconds(flags_.connect_timeout);
    options.idle_timeout = std::chrono::seconds(flags_.idle_timeout);
    options.total_timeout = std::chrono::seconds(flags_.total_timeout);
    SEALANE_TRY(peer_, warm::PeerLink::open(options, std::move(keys), context_.clock,
                                            context_.random, &context_.cancel));
    return peer_->sender();
  }

  Result<void, Error> refuse_channel_flags() const {
    const PushFlags missing;
    return refuse_given({{"--secret-file", !flags_.keys.secret_files.empty()},
                         {"--key-file", !flags_.keys.key_file.empty()},
                         {"--iv-file", !flags_.keys.iv_file.empty()},
                         {"--allow-sample-key", flags_.keys.allow_sample_key},
                         {"--peer", flags_.peer_kind != missing.peer_kind},
                         {"--plain", flags_.plain},
                         {"--bind", !flags_.bind.empty()},
                         {"--header-size", flags_.header_size != missing.header_size},
                         {"--buffer-size", flags_.buffer_size != missing.buffer_size},
                         {"--connect-timeout", flags_.connect_timeout != missing.connect_timeout},
                         {"--idle-timeout", flags_.idle_timeout != missing.idle_timeout},
                         {"--total-timeout", flags_.total_timeout != missing.total_timeout}},
                        "belongs to the channel to a peer (HOST:PORT or unix:PATH); here none is "
                        "used");
  }

  // One journal per source, target and share of the keys.
  Result<warm::PushPlan, Error> make_plan(const std::string& from) {
    warm::PushPlan plan{.parallel = flags_.parallel == SourceFlags::kUnset
                                        ? flags_.source.parallel()
                                        : static_cast<unsigned>(flags_.parallel),
                        .journal = flags_.journal,
                        .start_over = flags_.start_over || flags_.flush || file_ != nullptr};
    if (plan.journal.empty() && file_ == nullptr) {
      SEALANE_TRY(make_home_directory(context_));
      const std::string folder = home_path("warm");
      const auto made = context_.files.create_directory(folder, 0700);
      if (!made.has_value() && made.error().code != EEXIST) return to_error(made.error());
      const std::string name = from + '\n' + flags_.to + '\n' + flags_.source.range + '\n' +
                               flags_.mode + (flags_.source.portable ? "\nportable" : "") +
                               (flags_.source.as_replica ? "\nas-replica" : "");
      plan.journal = join_path(folder, to_hex(crypto::sha256(as_bytes(name))).substr(0, 32));
    }
    return plan;
  }

  Progress::Sample sample(const warm::Source& source) const {
    const auto read = source.progress();
    Progress::Sample sample{.done = counters_.bytes, .total = std::nullopt, .keys = read.keys};
    const std::uint64_t seen = read.keys + read.out_of_range + read.vanished;
    if (read.total_keys && seen > 0) {
      // As if the keys not seen yet were like those that were.
      sample.total = static_cast<std::uint64_t>(
          static_cast<double>(read.bytes) * static_cast<double>(std::max(*read.total_keys, seen)) /
          static_cast<double>(seen));
    }
    return sample;
  }

  // What arrived before stays, but in a file.
  Error cut(Error why, double seconds) {
    if (file_ != nullptr) return why;
    const warm::PushSummary& sum = counters_.before_error;
    report(sum, seconds, "cut");
    if (why.kind == ErrorKind::kInterrupted) why.message = "interrupted";
    why.message += sum.parts == 0 ? "; no part had arrived whole until then"
                                  : "; until then " + counted(sum.keys, "key") + " in " +
                                        counted(sum.parts, "part") + " had arrived";
    why.message += flags_.source.as_replica ? ". Pushing again is harmless"
                                            : ". Pushing again goes on behind what arrived";
    return why;
  }

  void report(const warm::PushSummary& sum, double seconds, const std::string& verdict) {
    nlohmann::json causes = nlohmann::json::object();
    for (std::size_t i = 0; i < sum.counts.causes.size(); ++i) {
      if (sum.counts.causes[i] == 0) continue;
      causes[std::string(cause_name(static_cast<warm::Cause>(i)))] = sum.counts.causes[i];
    }
    context_.console.emit("warm_push", {{"keys", sum.keys},
                                        {"parts", sum.parts},
                                        {"bytes", sum.bytes},
                                        {"commands", sum.counts.commands},
                                        {"applied", sum.counts.applied},
                                        {"skipped", sum.counts.skipped},
                                        {"failed", sum.counts.failed},
                                        {"causes", causes},
                                        {"cause", sum.cause},
                                        {"unknown_parts", sum.unknown_parts},
                                        {"vanished", sum.source.vanished},
                                        {"left_out", sum.source.left_out},
                                        {"out_of_range", sum.source.out_of_range},
                                        {"retries", sum.retries},
                                        {"resumed", sum.resumed},
                                        {"digest", to_hex(sum.digest)},
                                        {"seconds", seconds},
                                        {"verdict", verdict}});
  }

  Result<int, Error> tell(const warm::PushSummary& sum, double seconds) {
    report(sum, seconds, sum.proven() ? "complete" : "unproven");
    std::string text = "pushed " + counted(sum.keys, "key") + " in " + counted(sum.parts, "part") +
                       ", " + format_bytes(sum.bytes) + ", in " + format_duration(seconds) +
                       (sum.resumed ? ", resumed" : "") + "\n";
    if (sum.unknown_parts < sum.parts || sum.parts == 0) {
      text += counted(sum.counts.applied, "command") + " applied, " +
              std::to_string(sum.counts.skipped) + " skipped, " +
              std::to_string(sum.counts.failed) + " failed\n";
    }
    context_.console.print(text);
    if (sum.proven()) return 0;
    const auto kind = sum.counts.failed > 0 ? ErrorKind::kFailed : ErrorKind::kVerificationFailed;
    return Error{kind, "it is not certain that the other side has all: " + sum.unproven};
  }

  Context& context_;
  const PushFlags& flags_;
  std::unique_ptr<warm::RedisSink> redis_;
  std::unique_ptr<warm::FileSink> file_;
  std::unique_ptr<warm::PeerLink> peer_;
  warm::PushCounters counters_;
};

}  // namespace

Command warm_push_command() {
  const auto flags = std::make_shared<PushFlags>();
  std::vector<Option> options = {
      {.names = "--from",
       .value_name = "STORE",
       .help = "What to read: redis://…, redis+unix:///PATH, or a file of parts or an append-only "
               "file",
       .variable = &flags->from,
       .required = true},
      {.names = "--to",
       .value_name = "PLACE",
       .help = "HOST:PORT or unix:PATH of sealane warm serve; or redis://…, or a new file",
       .variable = &flags->to,
       .required = true},
  };
  flags->keys.add_to(options);
  flags->source.add_to(options);
  for (Option& option : std::vector<Option>{
           {.names = "--mode",
  .value_name = "MODE",
  .help = "For a redis:// target: keep keys that are there (fill-missing), or overwrite "
          "them",
  .variable = &flags->mode,
  .choices = {"fill-missing", "overwrite"}},
           {.names = "--flush",
           .help = "For a redis:// target: delete all its keys first",
           .variable = &flags->flush},
           {.names = "--parallel",
           .value_name = "N",
           .help = "Parts under way at once; 2 when missing, 3 with --as-replica",
           .variable = &flags->parallel},
           {.names = "--start-over",
           .help = "Do not resume behind what an earlier, cut run delivered",
           .variable = &flags->start_over},
           {.names = "--journal",
           .value_name = "FILE",
           .help = "Keep how far it came in FILE instead of below $SEALANE_HOME",
           .variable = &flags->journal,
           .completes = Completes::kFile},
           {.names = "--peer",
           .value_name = "KIND",
           .help = "What listens there: sealane, or dynomite, which never says what became of it",
           .variable = &flags->peer_kind,
           .choices = {"sealane", "dynomite"}},
           {.names = "--plain",
           .help = "Do not encrypt the channel; for a peer on this host or behind a lane",
           .variable = &flags->plain},
           {.names = "--bind",
           .value_name = "HOST",
           .help = "Connect from this address of ours",
           .variable = &flags->bind},
           {.names = "--header-size",
           .value_name = "BYTES",
           .help = "Of the channel, 8 to 1024; 1024 when missing",
           .variable = &flags->header_size},
           {.names = "--buffer-size",
           .value_name = "BYTES",
           .help = "Chunk size of the channel; when missing 16384, or 1032192 with --plain",
           .variable = &flags->buffer_size},
           {.names = "--connect-timeout",
           .value_name = "SECONDS",
           .help = "5 when missing",
           .variable = &flags->connect_timeout},
           {.names = "--idle-timeout",
           .value_name = "SECONDS",
           .help = "How long the peer may be silent while a part travels; 30 when missing",
           .variable = &flags->idle_timeout},
           {.names = "--total-timeout",
           .value_name = "SECONDS",
           .help = "Of one part, until it is applied; 3600 when missing",
           .variable = &flags->total_timeout},
       }) {
    options.push_back(std::move(option));
  }
  return {
      .name = "warm push",
      .summary = "copy all keys of a Redis to a peer, while it takes writes",
      .description =
          "Reads the store in parts, each complete in itself, and sends them. A part that was cut "
          "is "
          "sent again; a run that was cut goes on where it stopped. Keys that are there already "
          "stay "
          "as they are, unless the other side overwrites. Nothing is deleted, but with --flush."
          "\n\n"
          "The exit code is 0 only if the other side has confirmed every command; 30 if that is "
          "not "
          "certain, 1 if some failed. What was written meanwhile, sealane warm compare shows.",
      .examples = {"sealane warm push --from redis://127.0.0.1 --to 192.0.2.7:8105 --secret-file "
                   "cluster.secret --plain",
                   "sealane warm push --from redis://shop --to redis://vault --mode overwrite"},
      .options = std::move(options),
      .arguments = {},
      .run = [flags](Context& context) { return PushRun(context, *flags).run(); },
  };
}

}  // namespace sealane::app
