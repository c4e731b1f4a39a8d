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
  bool all = false;
  std::vector<std::string> keys;
};

std::string state_text(const Console& console, const store::SnapshotInfo& snapshot) {
  if (snapshot.forgotten) return "forgotten";
  if (!snapshot.proven) return "stored";
  const std::string text = "proven " + local_time(*snapshot.proven_at);
  return console.color() ? "\x1b[32m" + text + "\x1b[0m" : text;
}

Result<int, Error> run(Context& context, Flags& flags) {
  SEALANE_TRY(auto repository, open_repository(context, flags.repository));
  SEALANE_TRY(const auto trust,
              load_trust(context, flags.repository.trust_file, flags.repository.host_keys,
                         flags.repository.identity_path()));
  SEALANE_TRY(const auto keys,
              load_opening_keys(context, flags.keys, flags.repository.passphrase_file));
  const identity::TrustStore* pins = trust.keys().empty() ? nullptr : &trust;
  if (pins == nullptr) {
    context.console.warn(
        "no key is pinned: signatures are checked against the keys that the repository "
        "itself names; pin hosts with --trust or --host-key");
  }
  SEALANE_TRY(const auto listing, repository.list(pins));
  SEALANE_TRY(const auto seen, load_heads(context));
  std::vector<store::Problem> problems = listing.problems;
  for (store::Problem& problem : store::check_heads(repository.id(), listing, seen)) {
    problems.push_back(std::move(problem));
  }

  if (problems.empty()) {
    SEALANE_TRY(check_selection(listing, flags.plan, flags.host));
  }
  const bool details_wanted = !keys.empty();
  Table table(details_wanted
                  ? std::vector<std::string>{"ID", "TIME", "PLAN", "#", "SOURCE", "ROWS", "RAW",
                                             "STORED", "TOOK", "STATE"}
                  : std::vector<std::string>{"ID", "TIME", "HOST", "PLAN", "#", "STORED", "STATE"});
  auto drivers = driver_context(context);
  int code = 0;
  UnpinnedProvers unpinned;
  for (const store::SnapshotInfo& snapshot : listing.snapshots) {
    if (!flags.plan.empty() && snapshot.plan != flags.plan) continue;
    if (!flags.host.empty() && snapshot.host != flags.host && snapshot.host_name != flags.host)
      continue;
    if (snapshot.forgotten && !flags.all) continue;
    unpinned.add(snapshot);
    nlohmann::json message = to_json(snapshot);
    std::vector<std::string> row{short_id(snapshot.id), local_time(snapshot.host_time)};
    const std::string seq = std::to_string(snapshot.seq);
    if (!details_wanted) {
      row.insert(row.end(),
                 {printable(snapshot.host_name, 24), snapshot.plan, seq,
                  format_bytes(stored_size(snapshot)), state_text(context.console, snapshot)});
    } else if (snapshot.forgotten) {
      row.insert(row.end(), {snapshot.plan, seq, "", "", "", "", "", "forgotten"});
    } else {
      const auto details = backup::read_details(repository, snapshot,
                                                {.identities = keys, .kept = nullptr}, drivers);
      if (!details.has_value()) {
        context.console.error(details.error());
        code = exit_code(details.error().kind);
        continue;
      }
      std::uint64_t plain = 0;
      for (const auto& stream : details.value().streams) plain += stream.plain_size;
      const auto& fingerprint = details.value().fingerprint;
      const double took =
          std::chrono::duration<double>(details.value().finished - details.value().started).count();
      row.insert(row.end(), {snapshot.plan, seq, shorten(details.value().source, 40),
                             fingerprint ? std::to_string(total_count(*fingerprint)) : "-",
                             format_bytes(plain), format_bytes(stored_size(snapshot)),
                             took < 1 ? "< 1 s" : format_duration(took),
                             state_text(context.console, snapshot)});
      message["source"] = details.value().source;
      message["kind"] = details.value().kind;
      message["tool"] = details.value().tool;
      message["plain_bytes"] = plain;
      message["exit_status"] = details.value().exit_status;
      if (fingerprint) {
        message["fingerprint"] = {{"level", repo::name_of(fingerprint->level)},
                                  {"digest", fingerprint->digest},
                                  {"count", total_count(*fingerprint)}};
      }
    }
    table.add(std::move(row));
    context.console.emit("snapshot", std::move(message));
  }
  context.console.print(table.text());
  unpinned.warn(context.console);
  for (const store::Problem& problem : problems) {
    context.console.error(problem.error);
    code = exit_code(problem.error.kind);
  }
  if (problems.empty()) {
    SEALANE_TRY(remember_heads(context, store::heads_of(repository.id(), listing)));
  }
  return code;
}

}  // namespace

Command snapshots_command() {
  auto flags = std::make_shared<Flags>();
  std::vector<Option> options{
      {.names = "--plan", .value_name = "NAME", .help = "Only this plan", .variable = &flags->plan},
      {.names = "--host",
       .value_name = "HOST",
       .help = "Only this host (its name or fingerprint)",
       .variable = &flags->host},
      {.names = "-a,--all",
       .value_name = "",
       .help = "Forgotten ones too",
       .variable = &flags->all},
      {.names = "-i,--open-with",
       .value_name = "KEY",
       .help = "Open the details with this key: source, rows, raw size",
       .variable = &flags->keys,
       .completes = Completes::kFile},
  };
  flags->repository.add_to(options);
  return {
      .name = "snapshots",
      .summary = "list snapshots and whether they are proven",
      .description =
          "States: stored (signed and complete), proven (restored and equal to the source at its "
          "moment),\n"
          "forgotten (objects deleted by retention, the commit kept).",
      .examples = {"sealane snapshots --repo /srv/vault",
                   "sealane snapshots -i recovery.key --plan shop --json"},
      .options = std::move(options),
      .arguments = {},
      .run = [flags](Context& context) { return run(context, *flags); },
  };
}

}  // namespace sealane::app
