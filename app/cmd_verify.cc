#include <nlohmann/json.hpp>

#include "app/commands.h"
#include "app/keys.h"
#include "app/repository.h"

namespace sealane::app {
namespace {

struct Flags {
  RepositoryFlags repository;
  std::string plan;
  std::string host;
  bool open = false;
  std::vector<std::string> keys;
  std::uint64_t threads = 0;
};

bool selected(const Flags& flags, const store::SnapshotInfo& snapshot) {
  if (!flags.plan.empty() && snapshot.plan != flags.plan) return false;
  return flags.host.empty() || snapshot.host == flags.host || snapshot.host_name == flags.host;
}

nlohmann::json to_json(const store::Problem& problem) {
  return {{"kind", kind_name(problem.error.kind)},
          {"message", problem.error.message},
          {"where", problem.where}};
}

Result<int, Error> run(Context& context, Flags& flags) {
  if (flags.open != !flags.keys.empty()) {
    return Error{.kind = ErrorKind::kUsage,
                 .message = "--open reads every chunk and needs a key: --open -i KEY"};
  }
  SEALANE_TRY(auto repository, open_repository(context, flags.repository));
  SEALANE_TRY(const auto keys,
              load_opening_keys(context, flags.keys, flags.repository.passphrase_file));
  SEALANE_TRY(const auto trust,
              load_trust(context, flags.repository.trust_file, flags.repository.host_keys,
                         flags.repository.identity_path()));
  const identity::TrustStore* pins = trust.keys().empty() ? nullptr : &trust;
  if (pins == nullptr) {
    context.console.warn(
        "no key is pinned: signatures are checked against the keys that the repository "
        "itself names; pin hosts with --trust or --host-key");
  }
  store::VerifyOptions options;
  options.trust = pins;
  options.plan = flags.plan;
  options.host = flags.host;
  SEALANE_TRY(options.seen, load_heads(context));
  SEALANE_TRY(const auto listing, repository.list(pins));
  SEALANE_TRY(check_selection(listing, flags.plan, flags.host));
  std::uint64_t opened = 0;
  auto drivers = driver_context(context);
  Result<store::VerifyReport, Error> verified = [&] {
    if (flags.open) {
      StageDisplay display(context.console);
      const auto observer = display.observer();
      options.open = [&](const store::SnapshotInfo& snapshot) -> Result<void, Error> {
        SEALANE_TRY(
            backup::check_contents(repository, snapshot, {.identities = keys, .kept = nullptr},
                                   static_cast<unsigned>(flags.threads), drivers, observer));
        ++opened;
        return success();
      };
      return repository.verify(options);
    }
    std::uint64_t total = 0;
    for (const auto& snapshot : listing.snapshots)
      total += snapshot.forgotten ? 0 : stored_size(snapshot);
    std::atomic<std::uint64_t> done{0};
    options.progress = [&](std::uint64_t bytes) {
      done += bytes;
      return !context.cancel.cancelled();
    };
    const Progress progress(context.console, "verifying", [&done, total] {
      return Progress::Sample{.done = done, .total = total};
    });
    return repository.verify(options);
  }();
  if (!verified.has_value()) return verified.error();
  const store::VerifyReport& report = verified.value();
  const std::vector<store::Problem>& problems = report.problems;
  for (const store::Problem& problem : problems) context.console.error(problem.error);
  UnpinnedProvers unpinned;
  for (const auto& snapshot : listing.snapshots) {
    if (selected(flags, snapshot)) unpinned.add(snapshot);
  }
  unpinned.warn(context.console);
  nlohmann::json json_problems = nlohmann::json::array();
  for (const store::Problem& problem : problems) json_problems.push_back(to_json(problem));
  context.console.emit("verify", {{"snapshots", report.snapshots},
                                  {"objects", report.objects},
                                  {"bytes", report.bytes},
                                  {"opened_snapshots", opened},
                                  {"pinned", pins != nullptr},
                                  {"unpinned_provers", unpinned.fingerprints()},
                                  {"problems", std::move(json_problems)}});
  if (!problems.empty()) {
    context.console.print(std::to_string(problems.size()) + " of the checks failed\n");
    return exit_code(problems.front().error.kind);
  }
  context.console.print("Verified " + counted(report.snapshots, "snapshot") + ", " +
                        counted(report.objects, "object") + ", " + format_bytes(report.bytes) +
                        ": signatures, chains and hashes are right" +
                        (flags.open ? ", and every chunk opens\n" : "\n"));
  // A look at part of the repository says nothing about the heads of the rest.
  if (flags.plan.empty() && flags.host.empty()) {
    SEALANE_TRY(remember_heads(context, store::heads_of(repository.id(), listing)));
  }
  return 0;
}

}  // namespace

Command verify_command() {
  auto flags = std::make_shared<Flags>();
  std::vector<Option> options{
      {.names = "--open",
       .value_name = "",
       .help = "Also open every chunk, with -i",
       .variable = &flags->open},
      {.names = "-i,--open-with",
       .value_name = "KEY",
       .help = "Key file for --open; may be repeated",
       .variable = &flags->keys,
       .completes = Completes::kFile},
      {.names = "--plan", .value_name = "NAME", .help = "Only this plan", .variable = &flags->plan},
      {.names = "--host",
       .value_name = "HOST",
       .help = "Only this host (its name or fingerprint)",
       .variable = &flags->host},
      {.names = "--threads",
       .value_name = "N",
       .help = "With --open: threads (default: one per core)",
       .variable = &flags->threads,
       .max = kMaxThreads},
  };
  flags->repository.add_to(options);
  return {
      .name = "verify",
      .summary = "check signatures, chains and hashes; no key needed",
      .description =
          "Reads every object and compares it with its signed commit, and the chains of commits "
          "with what this\n"
          "machine has seen before. Exit code 30 and the name of each damaged object otherwise.",
      .examples = {"sealane verify --repo /srv/vault",
                   "sealane verify --repo /srv/vault --open -i recovery.key"},
      .options = std::move(options),
      .arguments = {},
      .run = [flags](Context& context) { return run(context, *flags); },
  };
}

}  // namespace sealane::app
