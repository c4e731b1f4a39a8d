#include <nlohmann/json.hpp>

#include "app/commands.h"
#include "app/keys.h"
#include "app/repository.h"

namespace sealane::app {
namespace {

struct Flags {
  RepositoryFlags repository;
  std::uint64_t last = 0;
  std::uint64_t hourly = 0;
  std::uint64_t daily = 0;
  std::uint64_t weekly = 0;
  std::uint64_t monthly = 0;
  std::uint64_t yearly = 0;
  std::string plan;
  std::string host;
  bool dry_run = false;
};

Result<int, Error> run(Context& context, Flags& flags) {
  SEALANE_TRY(auto repository, open_repository(context, flags.repository));
  SEALANE_TRY(const auto key, load_signing_key(context, flags.repository.identity_path(),
                                               flags.repository.passphrase_file));
  SEALANE_TRY(const auto trust,
              load_trust(context, flags.repository.trust_file, flags.repository.host_keys,
                         flags.repository.identity_path()));
  const auto count = [](std::uint64_t value) {
    return static_cast<std::uint32_t>(std::min<std::uint64_t>(value, UINT32_MAX));
  };
  SEALANE_TRY(const auto report, repository.forget(key, &trust,
                                                   {.rules = {.last = count(flags.last),
                                                              .hourly = count(flags.hourly),
                                                              .daily = count(flags.daily),
                                                              .weekly = count(flags.weekly),
                                                              .monthly = count(flags.monthly),
                                                              .yearly = count(flags.yearly)},
                                                    .plan = flags.plan,
                                                    .host = flags.host,
                                                    .dry_run = flags.dry_run}));
  if (report.decisions.empty() && report.problems.empty() &&
      !(flags.plan.empty() && flags.host.empty())) {
    return nothing_selected(flags.plan, flags.host);
  }
  Table table({"ID", "RECEIVED", "HOST", "PLAN", "#", "DECISION"});
  std::uint64_t forgotten = 0;
  UnpinnedProvers unpinned;
  for (const auto& decision : report.decisions) {
    unpinned.add(decision.snapshot);
    std::string text;
    nlohmann::json reasons = nlohmann::json::array();
    for (const repo::KeepReason reason : decision.keep) {
      text += (text.empty() ? "keep: " : ", ") + std::string(repo::name_of(reason));
      reasons.push_back(repo::name_of(reason));
    }
    if (decision.keep.empty()) {
      ++forgotten;
      text = flags.dry_run ? "would forget" : "forgotten";
    }
    table.add({short_id(decision.snapshot.id), local_time(decision.snapshot.received),
               printable(decision.snapshot.host_name, 24), decision.snapshot.plan,
               std::to_string(decision.snapshot.seq), text});
    context.console.emit("forget_decision", {{"snapshot", decision.snapshot.id},
                                             {"plan", decision.snapshot.plan},
                                             {"seq", decision.snapshot.seq},
                                             {"forget", decision.keep.empty()},
                                             {"keep", std::move(reasons)}});
  }
  context.console.print(table.text());
  context.console.print((flags.dry_run ? "Would forget " : "Forgot ") +
                        counted(forgotten, "snapshot") + ", " + format_bytes(report.freed_bytes) +
                        "\n");
  context.console.emit("forget", {{"dry_run", flags.dry_run},
                                  {"forgotten", forgotten},
                                  {"freed_bytes", report.freed_bytes},
                                  {"unpinned_provers", unpinned.fingerprints()},
                                  {"problems", report.problems.size()}});
  unpinned.warn(context.console);
  for (const store::Problem& problem : report.problems) context.console.error(problem.error);
  return report.problems.empty() ? 0 : exit_code(report.problems.front().error.kind);
}

}  // namespace

Command forget_command() {
  auto flags = std::make_shared<Flags>();
  const auto keep = [](const char* name, const char* what, std::uint64_t* variable) {
    return Option{.names = name, .value_name = "N", .help = what, .variable = variable};
  };
  std::vector<Option> options{
      keep("--keep-last", "Keep the newest N", &flags->last),
      keep("--keep-hourly", "Keep the newest of each of the last N hours that have one",
           &flags->hourly),
      keep("--keep-daily", "The same for days", &flags->daily),
      keep("--keep-weekly", "The same for weeks", &flags->weekly),
      keep("--keep-monthly", "The same for months", &flags->monthly),
      keep("--keep-yearly", "The same for years", &flags->yearly),
      {.names = "--plan", .value_name = "NAME", .help = "Only this plan", .variable = &flags->plan},
      {.names = "--host",
       .value_name = "HOST",
       .help = "Only this host (its name or fingerprint)",
       .variable = &flags->host},
      {.names = "-n,--dry-run",
       .value_name = "",
       .help = "Say what would be forgotten, and why the rest is kept",
       .variable = &flags->dry_run},
  };
  flags->repository.add_to(options);
  return {
      .name = "forget",
      .summary = "delete old snapshots by rules",
      .description =
          "Counts by the time of receipt, in UTC. Never forgets the newest of a chain nor the last "
          "proven one. The\n"
          "objects are deleted; the signed commits stay, with a signed record of who forgot them.",
      .examples = {"sealane forget --repo /srv/vault --keep-daily 7 --keep-monthly 12 --dry-run"},
      .options = std::move(options),
      .arguments = {},
      .run = [flags](Context& context) { return run(context, *flags); },
  };
}

}  // namespace sealane::app
