// sealane warm serve: takes parts into a Redis or a file, and pushes its own store to peers again
// and again.
#include <poll.h>

#include <map>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>

#include "app/commands.h"
#include "app/rate_watch.h"
#include "app/repository.h"
#include "app/warm_flags.h"
#include "flow/thread.h"
#include "net/sockets.h"
#include "warm/file.h"
#include "warm/metrics.h"
#include "warm/peer_link.h"
#include "warm/push.h"
#include "warm/rounds.h"

namespace sealane::app {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr std::uint64_t kLongestInterval = 7 * 24 * 3600;
constexpr std::uint64_t kMostPeers = 64;  // each round in progress has a thread and parts in memory
constexpr milliseconds kSlice{200};       // how late a finished round may be noticed

struct ServeFlags {
  std::string listen;
  std::string into;
  std::string mode = "fill-missing";
  bool flush = false;
  ChannelFlags keys;
  std::vector<std::string> dynomites;
  bool dynomite_unix = false;
  bool accept_plaintext = false;
  std::uint64_t max_snapshot = 4096;  // MiB
  std::uint64_t idle_timeout = 30;
  std::uint64_t total_timeout = 3600;
  std::uint64_t max_connections = 16;
  std::uint64_t max_per_source = 4;
  std::string spool = "/tmp";
  std::uint64_t receive_rate = 0;

  std::string from;
  std::vector<std::string> peers;
  SourceFlags source;
  bool plain = false;
  std::uint64_t interval = 300;
  std::uint64_t jitter = 10;
  std::string metrics;
};

Error usage(std::string message) { return {ErrorKind::kUsage, std::move(message)}; }

class ServeRun {
 public:
  ServeRun(Context& context, const ServeFlags& flags) : context_(context), flags_(flags) {}

  Result<int, Error> run() {
    SEALANE_TRY(check_flags());
    SEALANE_TRY(write_metrics(nullptr));
    SEALANE_TRY(auto server, listen());
    if (!flags_.peers.empty()) {
      SEALANE_TRY(push_rounds());
    } else {
      const bool looks = !flags_.metrics.empty() || file_ != nullptr;
      while (!over()) {
        wait(looks ? static_cast<int>(kSlice.count()) : -1);
        keep_metrics(nullptr);
      }
    }
    server.reset();  // nothing more comes in
    return finish();
  }

 private:
  Result<void, Error> check_flags() const {
    const ServeFlags missing;
    if (flags_.listen.empty() != flags_.into.empty()) {
      return usage("--listen and --into belong together: where parts come in, and where they go");
    }
    if (flags_.from.empty() != flags_.peers.empty()) {
      return usage("--from and --peer belong together: what is pushed, and to whom");
    }
    if (flags_.listen.empty() && flags_.peers.empty()) {
      return usage(
          "nothing to do: --listen ADDRESS --into STORE takes parts, --from STORE --peer "
          "ADDRESS pushes them");
    }
    if (flags_.listen.empty()) {
      SEALANE_TRY(
          refuse_given({{"--mode", flags_.mode != missing.mode},
                        {"--flush", flags_.flush},
                        {"--dynomite", !flags_.dynomites.empty()},
                        {"--dynomite-unix", flags_.dynomite_unix},
                        {"--accept-plaintext", flags_.accept_plaintext},
                        {"--max-snapshot", flags_.max_snapshot != missing.max_snapshot},
                        {"--idle-timeout", flags_.idle_timeout != missing.idle_timeout},
                        {"--total-timeout", flags_.total_timeout != missing.total_timeout},
                        {"--max-connections", flags_.max_connections != missing.max_connections},
                        {"--max-per-source", flags_.max_per_source != missing.max_per_source},
                        {"--spool", flags_.spool != missing.spool},
                        {"--receive-rate", flags_.receive_rate > 0}},
                       "is about what comes in; it needs --listen and --into"));
    } else if (!is_redis_url(flags_.into)) {
      SEALANE_TRY(refuse_given({{"--mode", flags_.mode != missing.mode}, {"--flush", flags_.flush}},
                               "belongs to a Redis; a file keeps what comes"));
    }
    if (flags_.peers.empty()) {
      if (flags_.source.any_given()) {
        return usage(
            "--part-size, --big-key, --range, --rate, --rate-file, --portable and --as-replica are "
            "about what is pushed; they need --from and --peer");
      }
      SEALANE_TRY(refuse_given({{"--plain", flags_.plain},
                                {"--interval", flags_.interval != missing.interval},
                                {"--jitter", flags_.jitter != missing.jitter}},
                               "is about what is pushed; it needs --from and --peer"));
    } else {
      SEALANE_TRY(flags_.source.options_for(flags_.from));
    }
    if (flags_.plain && flags_.listen.empty()) {
      SEALANE_TRY(refuse_given({{"--key-file", !flags_.keys.key_file.empty()},
                                {"--iv-file", !flags_.keys.iv_file.empty()}},
                               "encrypts, and --plain does not; leave out one of them"));
    }
    if (flags_.peers.size() > kMostPeers) return usage("at most 64 peers are pushed to");
    if (flags_.interval == 0 || flags_.interval > kLongestInterval) {
      return usage("--interval is 1 second to a week");
    }
    if (flags_.jitter > 50) return usage("--jitter is 0 to 50 percent");
    if (flags_.max_snapshot == 0 || flags_.max_snapshot > 4096) {
      return usage("--max-snapshot is 1 to 4096 MiB");
    }
    return success();
  }

  Result<std::unique_ptr<warm::ChannelServer>, Error> listen() {
    if (flags_.listen.empty()) return std::unique_ptr<warm::ChannelServer>();
    const auto address = warm::channel_address(flags_.listen);
    if (!address || !net::parse_endpoint(*address)) {
      return usage(
          printable(flags_.listen) +
          " is no address to listen at; write HOST:PORT with a numeric host, or unix:PATH");
    }
    SEALANE_TRY(const warm::ApplyMode mode, parse_apply_mode(flags_.mode));
    warm::Sink* sink = nullptr;
    if (is_redis_url(flags_.into)) {
      SEALANE_TRY(auto to, backup::parse_redis_url(flags_.into));
      redis_ = std::make_unique<warm::RedisSink>(std::move(to), mode, &context_.cancel);
      redis_->on_loading(loading_teller(context_));
      SEALANE_TRY(redis_->check());
      if (flags_.flush) redis_->flush_before_first_part();
      sink = redis_.get();
    } else {
      SEALANE_TRY(file_, warm::FileSink::create(context_.files, context_.random, flags_.into));
      sink = file_.get();
    }
    warm::ServeOptions options;
    options.listen = *address;
    options.policy.allow_plaintext = flags_.accept_plaintext;
    options.policy.max_snapshot =
        std::min<std::uint64_t>(flags_.max_snapshot << 20, options.policy.max_snapshot);
    options.policy.idle_timeout = seconds(flags_.idle_timeout);
    options.policy.total_timeout = seconds(flags_.total_timeout);
    options.foreign_hosts = flags_.dynomites;
    options.foreign_unix = flags_.dynomite_unix;
    options.key_files = flags_.keys.files();
    options.spool_folder = flags_.spool;
    options.max_connections = flags_.max_connections;
    options.max_per_source = flags_.max_per_source;
    options.bytes_per_second = flags_.receive_rate;
    options.on_intake = [this](const warm::Intake& intake) { tell(intake); };
    options.on_warning = [this](const std::string& text) { context_.console.warn(text); };
    SEALANE_TRY(auto server, warm::ChannelServer::listen(std::move(options), *sink, context_.files,
                                                         context_.random, context_.clock));
    const std::string at = server->local().text;
    context_.console.note("taking parts at " + printable(at) + " into " +
                          printable(sink->description()));
    context_.console.emit("warm_serving", {{"address", at}, {"into", sink->description()}});
    return server;
  }

  void tell(const warm::Intake& intake) {
    nlohmann::json message = {{"peer", intake.peer.text},
                              {"authenticated", intake.authenticated},
                              {"bytes", intake.part.size},
                              {"part", intake.part.index},
                              {"sender", printable(intake.part.sender)}};
    // Who comes over a UNIX socket has no address.
    std::string text =
        (intake.peer.text == "unix:" ? "a local peer" : printable(intake.peer.text)) + ": ";
    const std::lock_guard lock(mutex_);
    news_ = true;
    if (intake.refused) {
      ++intake_.refused;
      message["refused"] = std::string(reason_name(*intake.refused));
      message["why"] = printable(intake.why);
      text += "refused: " + printable(intake.why);
    }
    if (intake.result) {
      const warm::ApplyCounts& counts = intake.result->counts;
      ++intake_.parts;
      intake_.bytes += intake.part.size;
      intake_.counts.add(counts);
      message["applied"] = counts.applied;
      message["skipped"] = counts.skipped;
      message["failed"] = counts.failed;
      text += "part " + std::to_string(intake.part.index) + ", " + format_bytes(intake.part.size) +
              ": " + std::to_string(counts.applied) + " applied, " +
              std::to_string(counts.skipped) + " skipped, " + std::to_string(counts.failed) +
              " failed";
      if (intake.result->error) {
        ++failed_parts_;
        message["why"] = intake.result->error->message;
        text += ": " + intake.result->error->message;
      }
    }
    context_.console.emit("warm_intake", std::move(message));
    if (intake.refused || (intake.result && intake.result->error)) {
      context_.console.warn(text);
    } else {
      context_.console.note(text);
    }
  }

  // ---- pushing again and again ----

  struct Finished {
    std::size_t peer = 0;
    warm::Rounds::Outcome outcome;
    std::string why;
  };

  Result<void, Error> push_rounds() {
    for (const std::string& peer : flags_.peers) {
      if (!warm::channel_address(peer)) {
        return usage(printable(peer) + " is no peer; write HOST:PORT or unix:PATH");
      }
    }
    warm::Rounds rounds(flags_.peers,
                        {.interval = seconds(flags_.interval),
                         .jitter_percent = static_cast<unsigned>(flags_.jitter)},
                        context_.random, context_.clock.steady_now());
    SEALANE_TRY(write_metrics(&rounds));
    std::map<std::size_t, flow::Thread> running;
    while (!over()) {
      while (const auto peer = rounds.take_due(context_.clock.steady_now())) {
        running.erase(*peer);
        running.emplace(*peer, flow::Thread([this, peer = *peer] { push_round(peer); }));
      }
      wait(static_cast<int>(kSlice.count()));
      for (const Finished& one : take_finished()) {
        rounds.finished(one.peer, one.outcome, context_.clock.steady_now());
        tell(rounds, one);
      }
      keep_metrics(&rounds);
    }
    context_.cancel.cancel();  // rounds in progress end too
    return success();
  }

  void push_round(std::size_t peer) {
    Finished done{.peer = peer, .outcome = {}, .why = {}};
    warm::PushCounters counters;
    const auto result = push_once(flags_.peers[peer], counters);
    done.outcome.bytes = counters.bytes;
    if (!result.has_value()) {
      done.why = result.error().message;
    } else {
      done.outcome.keys = result.value().keys;
      done.outcome.good = result.value().proven();
      done.why = result.value().unproven;
    }
    const std::lock_guard lock(mutex_);
    finished_.push_back(std::move(done));
  }

  Result<warm::PushSummary, Error> push_once(const std::string& peer,
                                             warm::PushCounters& counters) {
    SEALANE_TRY(auto keys, warm::load_channel_keys(context_.files, flags_.keys.files()));
    warm::PushOptions options;
    options.to = *warm::channel_address(peer);
    options.encrypt = !flags_.plain;
    options.on_warning = [this](const std::string& text) { context_.console.warn(text); };
    SEALANE_TRY(const auto link, warm::PeerLink::open(options, std::move(keys), context_.clock,
                                                      context_.random, &context_.cancel));
    SEALANE_TRY(const auto source,
                open_warm_source(context_, flags_.from, flags_.source.towards(peer)));
    link->set_store(source->store());
    SEALANE_TRY(const auto watch, RateWatch::start(context_, flags_.source.rate_file, *source));
    return warm::push_all(*source, link->sender(),
                          {.parallel = flags_.source.parallel(), .tries = 2, .journal = {}},
                          context_.files, context_.random, context_.cancel, counters);
  }

  void tell(const warm::Rounds& rounds, const Finished& one) {
    const warm::PeerCounters& peer = rounds.counters(one.peer);
    const double time = std::chrono::duration<double>(peer.last_duration).count();
    context_.console.emit("warm_round", {{"peer", rounds.name(one.peer)},
                                         {"good", one.outcome.good},
                                         {"keys", one.outcome.keys},
                                         {"bytes", one.outcome.bytes},
                                         {"seconds", time},
                                         {"rounds", peer.rounds},
                                         {"failures", peer.failures},
                                         {"failures_in_a_row", peer.failures_in_a_row},
                                         {"why", one.why}});
    const std::string name = printable(rounds.name(one.peer));
    if (one.outcome.good) {
      context_.console.note("pushed " + counted(one.outcome.keys, "key") + " to " + name + " in " +
                            format_duration(time));
    } else {
      context_.console.warn("round to " + name + " failed (" +
                            std::to_string(peer.failures_in_a_row) + " in a row): " + one.why);
    }
  }

  // Asked to stop, or nothing more can be taken. Looked at every kSlice, so the answer to the part
  // that could not be cut off has had time to leave.
  bool over() const { return context_.cancel.cancelled() || (file_ != nullptr && file_->broken()); }
  void wait(int patience) const {
    pollfd wake{context_.cancel.descriptor(), POLLIN, 0};
    static_cast<void>(::poll(&wake, 1, patience));
  }
  std::vector<Finished> take_finished() {
    const std::lock_guard lock(mutex_);
    if (!finished_.empty()) news_ = true;
    return std::exchange(finished_, {});
  }

  // ---- metrics ----

  Result<void, Error> write_metrics(const warm::Rounds* rounds) {
    if (flags_.metrics.empty()) return success();
    warm::IntakeTotals intake;
    {
      const std::lock_guard lock(mutex_);
      news_ = false;
      intake = intake_;
    }
    const std::string text = warm::format_metrics(intake, rounds, context_.clock.steady_now(),
                                                  context_.clock.wall_now());
    auto done = replace_file(context_.files, context_.random, flags_.metrics, as_bytes(text));
    if (!done.has_value()) return to_error(done.error());
    return success();
  }
  // Where something happened. A disk that is full for a while stops nothing.
  void keep_metrics(const warm::Rounds* rounds) {
    {
      const std::lock_guard lock(mutex_);
      if (!news_) return;
    }
    const auto done = write_metrics(rounds);
    if (done.has_value()) {
      metrics_failed_ = false;
    } else if (!std::exchange(metrics_failed_, true)) {
      context_.console.warn("cannot write the metrics: " + done.error().message);
    }
  }

  // Asked to stop, which is how this command ends well.
  Result<int, Error> finish() {
    Result<void, Error> kept = success();
    if (file_ != nullptr && intake_.parts > 0) kept = file_->finish();
    if (file_ != nullptr && kept.has_value() && failed_parts_ > 0) {
      context_.console.warn(std::to_string(failed_parts_) +
                            " times a part failed; if they did not come again, " +
                            printable(flags_.into) + " lacks them. Who pushed them was told");
    }
    context_.console.emit("warm_serve", {{"parts", intake_.parts},
                                         {"refused", intake_.refused},
                                         {"commands", intake_.counts.commands},
                                         {"applied", intake_.counts.applied},
                                         {"skipped", intake_.counts.skipped},
                                         {"failed", intake_.counts.failed}});
    SEALANE_TRY(kept);
    return 0;
  }

  Context& context_;
  const ServeFlags& flags_;
  std::unique_ptr<warm::RedisSink> redis_;
  std::unique_ptr<warm::FileSink> file_;
  bool metrics_failed_ = false;
  std::mutex mutex_;  // of all below
  warm::IntakeTotals intake_;
  std::uint64_t failed_parts_ = 0;
  std::vector<Finished> finished_;
  bool news_ = false;  // since the metrics were written
};

}  // namespace

Command warm_serve_command() {
  const auto flags = std::make_shared<ServeFlags>();
  std::vector<Option> options = {
      {.names = "--listen",
       .value_name = "ADDRESS",
       .help = "Take parts at HOST:PORT (8105 when the port is missing) or unix:PATH",
       .variable = &flags->listen},
      {.names = "--into",
       .value_name = "STORE",
       .help = "Where they go: redis://…, redis+unix:///PATH, or a new file",
       .variable = &flags->into},
      {.names = "--mode",
       .value_name = "MODE",
       .help = "Keep keys that are there (fill-missing), or overwrite them",
       .variable = &flags->mode,
       .choices = {"fill-missing", "overwrite"}},
      {.names = "--flush",
       .help = "Delete all keys of the Redis once, when the first part is there to be applied",
       .variable = &flags->flush},
  };
  flags->keys.add_to(options);
  for (Option& option : std::vector<Option>{
           {.names = "--dynomite",
  .value_name = "HOST",
  .help = "Take unsigned snapshots from this address: anybody who can send from it can "
          "write keys; may be repeated",
  .variable = &flags->dynomites},
           {.names = "--dynomite-unix",
           .help = "The same for whoever can open the UNIX socket",
           .variable = &flags->dynomite_unix},
           {.names = "--accept-plaintext",
           .help = "Take signed parts that are not encrypted",
           .variable = &flags->accept_plaintext},
           {.names = "--max-snapshot",
           .value_name = "MIB",
           .help = "Refuse larger parts; 4096 when missing",
           .variable = &flags->max_snapshot},
           {.names = "--idle-timeout",
           .value_name = "SECONDS",
           .help = "How long a peer may be silent; 30 when missing",
           .variable = &flags->idle_timeout},
           {.names = "--total-timeout",
           .value_name = "SECONDS",
           .help = "How long a part may take; 3600 when missing",
           .variable = &flags->total_timeout},
           {.names = "--max-connections",
           .value_name = "N",
           .help = "At once; 16 when missing",
           .variable = &flags->max_connections},
           {.names = "--max-per-source",
           .value_name = "N",
           .help = "At once from one address; 4 when missing. A push uses up to three",
           .variable = &flags->max_per_source},
           {.names = "--spool",
           .value_name = "DIR",
           .help = "Where parts wait until they are whole and verified; /tmp when missing",
           .variable = &flags->spool,
           .completes = Completes::kDirectory},
           {.names = "--receive-rate",
           .value_name = "BYTES",
           .help = "Receive at most BYTES a second; no limit when missing",
           .variable = &flags->receive_rate},
           {.names = "--from",
           .value_name = "STORE",
           .help = "Push this store to each --peer, again and again",
           .variable = &flags->from},
           {.names = "--peer",
           .value_name = "ADDRESS",
           .help = "HOST:PORT or unix:PATH of another sealane warm serve; may be repeated",
           .variable = &flags->peers},
           {.names = "--interval",
           .value_name = "SECONDS",
           .help = "Between the rounds of one peer; 300 when missing",
           .variable = &flags->interval},
           {.names = "--jitter",
           .value_name = "PERCENT",
           .help = "Of the interval, either way; 10 when missing",
           .variable = &flags->jitter},
           {.names = "--metrics",
           .value_name = "FILE",
           .help = "Keep counters in FILE, as Prometheus reads them (textfile collector)",
           .variable = &flags->metrics,
           .completes = Completes::kFile},
           {.names = "--plain", .help = "Do not encrypt what is pushed", .variable = &flags->plain},
       }) {
    options.push_back(std::move(option));
  }
  flags->source.add_to(options);
  return {
      .name = "warm serve",
      .summary = "take copies of a Redis from peers, and push to them in rounds",
      .description =
          "Takes parts until it is stopped (Ctrl-C, SIGTERM; exit code 0). A part is applied after "
          "it "
          "arrived whole and its signature was checked; each is answered. Only commands that a "
          "copy "
          "needs reach the Redis. One that is loading its file is waited for, an hour at most. "
          "Without --secret-file nothing is taken, except from a "
          "--dynomite.\n\n"
          "With --from and --peer it also pushes a store of its own to peers, each in rounds: a "
          "peer that is down is tried again with growing pauses and delays nobody.",
      .examples =
          {"sealane warm serve --listen 192.0.2.7:8105 --into redis://127.0.0.1 --secret-file "
           "cluster.secret --accept-plaintext",
           "sealane warm serve --from redis://127.0.0.1 --peer 192.0.2.7:8105 --plain "
           "--secret-file cluster.secret"},
      .options = std::move(options),
      .arguments = {},
      .run = [flags](Context& context) { return ServeRun(context, *flags).run(); },
  };
}

}  // namespace sealane::app
