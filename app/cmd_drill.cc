#include <algorithm>
#include <nlohmann/json.hpp>

#include "app/commands.h"
#include "app/drill_report.h"
#include "app/keys.h"

namespace sealane::app {
namespace {

struct Flags {
  RepositoryFlags repository;
  std::vector<std::string> snapshots;
  std::vector<std::string> keys;
  bool all = false;
  std::string plan;
  std::string work_directory;
  std::uint64_t threads = 0;
};

Result<int, Error> run(Context& context, Flags& flags) {
  if (flags.all && !flags.snapshots.empty()) {
    return Error{.kind = ErrorKind::kUsage,
                 .message = "--all and named snapshots exclude each other"};
  }
  if (!flags.plan.empty() && !flags.snapshots.empty()) {
    return Error{.kind = ErrorKind::kUsage,
                 .message = "--plan and named snapshots exclude each other: name latest:PLAN"};
  }
  SEALANE_TRY(auto repository, open_repository(context, flags.repository));
  SEALANE_TRY(const auto keys,
              load_opening_keys(context, flags.keys, flags.repository.passphrase_file));
  SEALANE_TRY(const auto prover, load_signing_key(context, flags.repository.identity_path(),
                                                  flags.repository.passphrase_file));
  SEALANE_TRY(const auto trust,
              load_trust(context, flags.repository.trust_file, flags.repository.host_keys,
                         flags.repository.identity_path()));
  std::vector<store::SnapshotInfo> chosen;
  int code = 0;
  if (flags.all) {
    SEALANE_TRY(const auto listing, repository.list(&trust));
    SEALANE_TRY(check_selection(listing, flags.plan, {}));
    for (const store::Problem& problem : listing.problems) {
      context.console.error(problem.error);
      code = exit_code(problem.error.kind);
    }
    std::ranges::copy_if(listing.snapshots, std::back_inserter(chosen), [&](const auto& snapshot) {
      return !snapshot.forgotten && !snapshot.proven &&
             (flags.plan.empty() || snapshot.plan == flags.plan);
    });
    if (chosen.empty() && code == 0) {
      context.console.note(listing.snapshots.empty() ? "there is no snapshot yet"
                                                     : "every snapshot is proven already");
    }
  } else {
    if (flags.snapshots.empty())
      flags.snapshots.push_back(flags.plan.empty() ? "latest" : "latest:" + flags.plan);
    for (const std::string& name : flags.snapshots) {
      SEALANE_TRY(auto snapshot, repository.find(name, &trust));
      chosen.push_back(std::move(snapshot));
    }
  }
  auto drivers = driver_context(context);
  for (const store::SnapshotInfo& snapshot : chosen) {
    SEALANE_TRY(const auto work, WorkDirectory::create(context, flags.work_directory));
    StageDisplay display(context.console);
    const auto drill = backup::run_drill(
        repository, snapshot, {.identities = keys, .kept = nullptr}, prover, work->path(),
        static_cast<unsigned>(flags.threads), drivers, display.observer());
    if (drill.has_value()) {
      if (!report_drill(context, snapshot, drill.value()))
        code = exit_code(ErrorKind::kVerificationFailed);
      continue;
    }
    if ((chosen.size() == 1 && !flags.all) || drill.error().kind == ErrorKind::kInterrupted)
      return drill.error();
    if (flags.all) {
      // What nobody can ever prove must not make every night's run fail.
      const auto details = backup::read_details(repository, snapshot,
                                                {.identities = keys, .kept = nullptr}, drivers);
      if (details.has_value() && !details.value().fingerprint) {
        context.console.warn(drill.error().message);
        continue;
      }
    }
    Error error = drill.error();
    error.message = snapshot.plan + " #" + std::to_string(snapshot.seq) + ": " + error.message;
    context.console.error(error);
    if (code == 0) code = exit_code(error.kind);
  }
  return code;
}

}  // namespace

bool report_drill(Context& context, const store::SnapshotInfo& snapshot,
                  const backup::DrillResult& drill) {
  const bool proven = drill.proof.outcome == repo::ProofOutcome::kEqual;
  const std::string what =
      snapshot.plan + " #" + std::to_string(snapshot.seq) + ", snapshot " + short_id(snapshot.id);
  if (proven) {
    const char* green = context.console.color() ? "\x1b[32m" : "";
    const char* off = context.console.color() ? "\x1b[0m" : "";
    context.console.print(green + std::string("Proven") + off + ": " + what + ", " +
                          std::string(repo::name_of(drill.proof.level)) + " equal, in " +
                          drill.target + ", " + format_duration(drill.seconds) + "\n");
  } else {
    context.console.error({.kind = ErrorKind::kVerificationFailed,
                           .message = what + " is NOT proven (" +
                                      std::string(repo::name_of(drill.proof.outcome)) +
                                      "): " + drill.difference});
  }
  context.console.emit("drill", {{"snapshot", snapshot.id},
                                 {"plan", snapshot.plan},
                                 {"seq", snapshot.seq},
                                 {"proven", proven},
                                 {"outcome", repo::name_of(drill.proof.outcome)},
                                 {"level", repo::name_of(drill.proof.level)},
                                 {"prover", drill.proof.prover},
                                 {"target", drill.target},
                                 {"difference", drill.difference},
                                 {"seconds", drill.seconds}});
  return proven;
}

Command drill_command() {
  auto flags = std::make_shared<Flags>();
  std::vector<Option> options{
      opening_key_option(flags->keys),
      {.names = "--all",
       .value_name = "",
       .help = "Every snapshot that is not proven yet; one of stdin: cannot be, which is said",
       .variable = &flags->all},
      {.names = "--plan", .value_name = "NAME", .help = "Only this plan", .variable = &flags->plan},
      {.names = "--work-dir",
       .value_name = "DIR",
       .help = "Where to make the throw-away target (default: $TMPDIR or /tmp)",
       .variable = &flags->work_directory,
       .completes = Completes::kDirectory},
      opening_threads_option(flags->threads),
  };
  flags->repository.add_to(options);
  return {
      .name = "drill",
      .summary = "prove a backup by restoring it into a throw-away target",
      .description =
          "Starts a private server or folder, restores into it, compares it with the fingerprint "
          "that was taken\n"
          "with the backup, removes it, and adds a signed proof to the repository. Needs the "
          "server's own\n"
          "programs (postgresql, redis-server) on this machine, none for SQLite and files.",
      .examples = {"sealane drill --repo /srv/vault -i recovery.key latest:shop",
                   "sealane drill --repo /srv/vault -i recovery.key --all"},
      .options = std::move(options),
      .arguments = {{.name = "SNAPSHOT",
                     .help = "Ids or unique prefixes, latest, latest:PLAN (default: latest)",
                     .variable = &flags->snapshots,
                     .required = false,
                     .completes = Completes::kNothing}},
      .run = [flags](Context& context) { return run(context, *flags); },
  };
}

}  // namespace sealane::app
