#include <unistd.h>

#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "app/commands.h"
#include "app/drill_report.h"
#include "app/keys.h"
#include "app/repository.h"
#include "backup/url.h"
#include "repo/names.h"

namespace sealane::app {
namespace {

struct Flags {
  RepositoryFlags repository;
  std::vector<std::string> sources;
  std::string plan;
  std::vector<std::string> recipients;
  std::vector<std::string> recipient_files;
  std::string host_name;
  bool self_readable = false;
  bool drill = false;
  std::string work_directory;
  std::uint64_t level = 3;
  std::string fingerprint = "content";
  std::uint64_t threads = 0;
};

// One chain per source: with one source the plan's own name, with several "PLAN.KIND", and
// "PLAN.KIND-NAME" where a kind appears twice. Without a plan each source names its own.
Result<std::vector<std::string>, Error> plan_names(const Flags& flags) {
  std::map<std::string, int> kinds;
  for (const std::string& source : flags.sources) ++kinds[backup::source_kind(source)];
  std::vector<std::string> names;
  for (const std::string& source : flags.sources) {
    const std::string kind = backup::source_kind(source);
    if (flags.plan.empty()) {
      names.push_back(backup::default_plan(source));
    } else if (flags.sources.size() == 1) {
      names.push_back(flags.plan);
    } else {
      names.push_back(flags.plan + "." + (kinds[kind] == 1 ? kind : backup::short_plan(source)));
    }
    if (!repo::valid_name(names.back())) {
      return Error{
          .kind = ErrorKind::kUsage,
          .message = "'" + printable(names.back()) +
                     "' cannot name a plan: take lower-case letters, digits, '.', '_' and '-', at "
                     "most 64, starting with a letter or digit"};
    }
  }
  if (std::set<std::string>(names.begin(), names.end()).size() != names.size()) {
    return Error{
        .kind = ErrorKind::kUsage,
        .message =
            "two of the sources would be kept under the same plan name; back them up by two "
            "commands with a --plan each"};
  }
  return names;
}

void report(Context& context, const std::string& source, const backup::BackupResult& result) {
  const repo::Details& details = result.details;
  std::uint64_t plain = 0;
  nlohmann::json streams = nlohmann::json::array();
  for (const repo::StreamDetails& stream : details.streams) {
    plain += stream.plain_size;
    streams.push_back(
        {{"name", stream.name}, {"format", stream.format}, {"bytes", stream.plain_size}});
  }
  nlohmann::json unreadable = nlohmann::json::array();
  for (const repo::UnreadableDetails& item : details.unreadable) {
    unreadable.push_back({{"path", item.path}, {"reason", item.reason}});
    context.console.warn("could not read " + printable(item.path) + ": " + item.reason);
  }
  if (details.unreadable_count > details.unreadable.size()) {
    context.console.warn("and " +
                         std::to_string(details.unreadable_count - details.unreadable.size()) +
                         " more could not be read");
  }
  std::string text = "Backed up " + backup::redacted_url(source) + " as " + result.snapshot.plan +
                     " #" + std::to_string(result.snapshot.seq) + ", snapshot " +
                     short_id(result.snapshot.id) + ": " + format_bytes(plain) + " in " +
                     format_bytes(result.stored_size) + ", " + format_duration(result.seconds) +
                     "\n";
  context.console.print(text);
  nlohmann::json message{{"source", details.source},
                         {"snapshot", to_json(result.snapshot)},
                         {"streams", std::move(streams)},
                         {"plain_bytes", plain},
                         {"stored_bytes", result.stored_size},
                         {"seconds", result.seconds},
                         {"unreadable_count", details.unreadable_count},
                         {"unreadable", std::move(unreadable)}};
  if (details.fingerprint) {
    message["fingerprint"] = {{"kind", details.fingerprint->kind},
                              {"level", repo::name_of(details.fingerprint->level)},
                              {"digest", details.fingerprint->digest},
                              {"items", details.fingerprint->items.size()},
                              {"count", total_count(*details.fingerprint)}};
  }
  context.console.emit("backup", std::move(message));
}

Result<int, Error> back_up_one(Context& context, const Flags& flags, const std::string& source,
                               const std::string& plan, const identity::SigningKey& host,
                               const std::vector<identity::Recipient>& recipients,
                               store::DirectoryRepository& repository) {
  SEALANE_TRY(const auto seen, load_heads(context));
  auto drivers = driver_context(context);
  StageDisplay display(context.console);
  SEALANE_TRY(const auto result,
              backup::run_backup(repository,
                                 {.source = source,
                                  .plan = plan,
                                  .recipients = recipients,
                                  .host = &host,
                                  .host_name = flags.host_name,
                                  .self_readable = flags.self_readable,
                                  .keep_keys = flags.drill,
                                  .seen = seen,
                                  .compression_level = static_cast<int>(flags.level),
                                  .fingerprint_level = flags.fingerprint == "content"
                                                           ? repo::FingerprintLevel::kContent
                                                           : repo::FingerprintLevel::kStructure,
                                  .threads = static_cast<unsigned>(flags.threads)},
                                 drivers, display.observer()));
  // The snapshot is safe; that it is remembered only helps to see a roll-back later.
  const auto remembered =
      remember_heads(context, {store::head_of(repository.id(), result.snapshot)});
  if (!remembered.has_value()) context.console.warn(remembered.error().message);
  report(context, source, result);
  int code = static_cast<int>(result.details.exit_status);
  if (flags.drill) {
    if (!result.details.fingerprint) {
      context.console.warn("no drill for " + result.details.source +
                           ": it has no fingerprint to compare with");
      return code;
    }
    for (const auto& [file, key] : result.keys->file_keys) {
      if (!key.locked()) {
        context.console.warn(
            "the file keys could not be locked in memory (raise 'ulimit -l'); they may "
            "reach the swap until the drill ends");
        break;
      }
    }
    SEALANE_TRY(const auto work, WorkDirectory::create(context, flags.work_directory));
    SEALANE_TRY(
        const auto drill,
        backup::run_drill(repository, result.snapshot, {.identities = {}, .kept = &*result.keys},
                          host, work->path(), static_cast<unsigned>(flags.threads), drivers,
                          display.observer()));
    if (!report_drill(context, result.snapshot, drill))
      code = exit_code(ErrorKind::kVerificationFailed);
  }
  return code;
}

Result<int, Error> run(Context& context, Flags& flags) {
  SEALANE_TRY(const auto plans, plan_names(flags));
  if (!flags.drill && !flags.work_directory.empty()) {
    return Error{.kind = ErrorKind::kUsage, .message = "--work-dir belongs to --drill"};
  }
  SEALANE_TRY(auto repository, open_repository(context, flags.repository));
  SEALANE_TRY(const auto recipients,
              load_recipients(context, flags.recipients, flags.recipient_files));
  SEALANE_TRY(const auto host, load_signing_key(context, flags.repository.identity_path(),
                                                flags.repository.passphrase_file));
  if (flags.host_name.empty()) {
    char name[256] = {};
    flags.host_name =
        ::gethostname(name, sizeof name - 1) == 0 && name[0] != '\0' ? name : "unnamed";
  }
  // Before hours of work, not after them.
  if (flags.drill) {
    SEALANE_TRY(const auto usable, WorkDirectory::create(context, flags.work_directory));
  }
  // One source that fails must not keep the others from being saved.
  int code = 0;
  for (std::size_t i = 0; i < flags.sources.size(); ++i) {
    const auto result =
        back_up_one(context, flags, flags.sources[i], plans[i], host, recipients, repository);
    if (result.has_value()) {
      if (code == 0) code = result.value();
      continue;
    }
    Error error = result.error();
    const bool interrupted = error.kind == ErrorKind::kInterrupted;
    if (flags.sources.size() == 1 || interrupted) return error;
    error.message = plans[i] + ": " + error.message;
    context.console.error(error);
    if (code == 0 || code == exit_code(ErrorKind::kSourceUnreadable)) code = exit_code(error.kind);
  }
  return code;
}

}  // namespace

Command backup_command() {
  auto flags = std::make_shared<Flags>();
  std::vector<Option> options{
      {.names = "-s,--source",
       .value_name = "URL",
       .help = "What to back up: sqlite:/FILE, postgresql://…, redis://…, file:/DIR, stdin:NAME; "
               "may be repeated",
       .variable = &flags->sources,
       .required = true},
      {.names = "--plan",
       .value_name = "NAME",
       .help = "The chain of snapshots it belongs to; with several sources NAME.KIND for each "
               "(default: a name of its own for each source)",
       .variable = &flags->plan,
       .environment = "SEALANE_PLAN"},
      {.names = "-r,--recipient",
       .value_name = "RECIPIENT",
       .help = "Seal to age1… or 'ssh-ed25519 …'; may be repeated, two are advised",
       .variable = &flags->recipients},
      {.names = "-R,--recipients-file",
       .value_name = "FILE",
       .help = "Seal to all recipients of a file; may be repeated",
       .variable = &flags->recipient_files,
       .completes = Completes::kFile},
      {.names = "--drill",
       .value_name = "",
       .help = "Afterwards restore into a throw-away target, compare, write a proof",
       .variable = &flags->drill},
      {.names = "--work-dir",
       .value_name = "DIR",
       .help = "With --drill: where to make its throw-away target (default: $TMPDIR or /tmp)",
       .variable = &flags->work_directory,
       .completes = Completes::kDirectory},
      {.names = "--host-name",
       .value_name = "NAME",
       .help = "What the commit calls this host (default: its host name)",
       .variable = &flags->host_name,
       .environment = "SEALANE_HOST_NAME"},
      {.names = "--self-readable",
       .value_name = "",
       .help = "Allow this host's own key among the recipients",
       .variable = &flags->self_readable},
      {.names = "--fingerprint",
       .value_name = "LEVEL",
       .help = "What a drill can compare: content (every value) or structure (names and counts; "
               "less work, and it sees less)",
       .variable = &flags->fingerprint,
       .choices = {"content", "structure"}},
      {.names = "--level",
       .value_name = "N",
       .help = "zstd level (default: 3)",
       .variable = &flags->level,
       .choices = {"1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15",
                   "16", "17", "18", "19"}},
      {.names = "--threads",
       .value_name = "N",
       .help = "Threads that compress and seal (default: one per core)",
       .variable = &flags->threads,
       .max = kMaxThreads},
  };
  flags->repository.add_to(options);
  return {
      .name = "backup",
      .summary = "back up databases and files, sealed to recipients",
      .description =
          "Each source becomes one snapshot of one moment, with a fingerprint taken in that "
          "moment. This host\n"
          "needs no key that opens it. It is acknowledged when it would survive a power loss.",
      .examples =
          {"sealane backup --repo /srv/vault --source postgresql://shop@localhost/shop -r age1…",
           "sealane backup --plan night --source sqlite:/srv/app.db --source file:/etc -R "
           "recovery.txt "
           "--drill"},
      .options = std::move(options),
      .arguments = {},
      .run = [flags](Context& context) { return run(context, *flags); },
  };
}

}  // namespace sealane::app
