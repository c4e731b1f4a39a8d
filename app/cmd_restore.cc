#include <unistd.h>

#include <algorithm>

#include <nlohmann/json.hpp>

#include "app/commands.h"
#include "app/keys.h"
#include "app/paths.h"
#include "app/repository.h"
#include "app/streams.h"
#include "backup/url.h"
#include "flow/descriptor.h"
#include "flow/file_stream.h"
#include "store/atomic_file.h"

namespace sealane::app {
namespace {

struct Flags {
  RepositoryFlags repository;
  std::string snapshot;
  std::vector<std::string> keys;
  std::string to;
  std::string output;
  std::string only;
  bool overwrite = false;
  bool stream = false;
  bool no_compare = false;
  std::uint64_t threads = 0;
};

std::vector<std::string> files_to_keep(const Flags& flags) {
  std::vector<std::string> files = flags.keys;
  files.insert(files.end(),
               {flags.repository.passphrase_file, flags.repository.trust_file,
                flags.repository.identity_path(), home_path("trusted_keys"), home_path("heads")});
  return files;
}

// What a snapshot never had is missing from the most exact restore.
void warn_of_unreadable(Context& context, const repo::Details& details) {
  if (details.unreadable_count == 0) return;
  std::string first;
  if (!details.unreadable.empty()) first = ", the first " + printable(details.unreadable[0].path);
  context.console.warn("this snapshot lacks what could not be read when it was made: " +
                       std::to_string(details.unreadable_count) + " of the source" + first);
}

Result<int, Error> to_file(Context& context, const Flags& flags,
                           store::DirectoryRepository& repository,
                           const store::SnapshotInfo& snapshot, const backup::OpeningKeys& keys) {
  auto drivers = driver_context(context);
  StageDisplay display(context.console);
  const bool standard = flags.output == "-";
  std::unique_ptr<store::AtomicFile> file;
  std::unique_ptr<flow::ByteSink> sink;
  if (standard) {
    if (::isatty(STDOUT_FILENO) == 1) {
      return Error{
          .kind = ErrorKind::kUsage,
          .message = "will not write a dump to a terminal; redirect it, or name a file with -o"};
    }
    sink =
        std::make_unique<flow::DescriptorSink>(STDOUT_FILENO, "standard output", &context.cancel);
  } else {
    SEALANE_TRY(keep_keys(flags.output, files_to_keep(flags)));
    if (!flags.overwrite && context.files.status(flags.output).has_value()) {
      return Error{.kind = ErrorKind::kUsage,
                   .message = printable(flags.output) +
                              " exists already; name another file, or say --overwrite to replace "
                              "it"};
    }
    SEALANE_TRY(file, store::AtomicFile::create(
                          context.files, context.random, flags.output,
                          flags.overwrite ? store::Overwrite::kAllow : store::Overwrite::kRefuse));
    sink = std::make_unique<flow::FileSink>(file->file());
  }
  // A file appears when its hashes were right, so they are computed on the way to it.
  const bool check_first = standard && !flags.stream;
  SEALANE_TRY(
      const auto details,
      backup::restore_stream(repository, snapshot, keys, flags.only, *sink, check_first,
                             static_cast<unsigned>(flags.threads), drivers, display.observer()));
  if (file) {
    SEALANE_TRY(file->commit());
  }
  const auto restored = std::ranges::find(details.streams, flags.only, &repo::StreamDetails::name);
  std::string hint =
      restored == details.streams.end() ? details.streams.front().hint : restored->hint;
  // What only copies has nothing left to do.
  if (hint.starts_with("cat")) hint.clear();
  if (!hint.empty() && !standard) hint += " < " + printable(flags.output);
  context.console.note("Restored snapshot " + short_id(snapshot.id) + " to " +
                       (standard ? "standard output" : printable(flags.output)) +
                       (hint.empty() ? "" : "; next: " + hint));
  warn_of_unreadable(context, details);
  context.console.emit("restore", {{"snapshot", snapshot.id}, {"output", flags.output}});
  return 0;
}

Result<int, Error> to_target(Context& context, const Flags& flags,
                             store::DirectoryRepository& repository,
                             const store::SnapshotInfo& snapshot, const backup::OpeningKeys& keys) {
  auto drivers = driver_context(context);
  StageDisplay display(context.console);
  SEALANE_TRY(const auto target, backup::open_target(flags.to, drivers));
  const auto observer = display.observer();
  SEALANE_TRY(const auto result,
              backup::run_restore(repository, snapshot, keys, *target,
                                  {.overwrite = flags.overwrite,
                                   .check_first = !flags.stream,
                                   .compare = !flags.no_compare,
                                   .threads = static_cast<unsigned>(flags.threads)},
                                  drivers, observer));
  observer.stage({.name = "", .counters = nullptr, .total = {}});
  std::string verdict = "not compared";
  if (result.equal)
    verdict = *result.equal ? "equal to its fingerprint" : "DIFFERENT from its fingerprint";
  context.console.print("Restored snapshot " + short_id(snapshot.id) + " (" + snapshot.plan + " #" +
                        std::to_string(snapshot.seq) + ") to " + backup::redacted_url(flags.to) +
                        ": " + format_bytes(result.plain_size) + ", " +
                        format_duration(result.seconds) + ", " + verdict + "\n");
  warn_of_unreadable(context, result.details);
  nlohmann::json message{{"snapshot", snapshot.id},
                         {"to", backup::redacted_url(flags.to)},
                         {"plain_bytes", result.plain_size},
                         {"seconds", result.seconds}};
  if (result.equal) message["equal"] = *result.equal;
  context.console.emit("restore", std::move(message));
  if (result.equal && !*result.equal) {
    return Error{
        .kind = ErrorKind::kVerificationFailed,
        .message = "what was restored differs from the source at its moment: " + result.difference};
  }
  return 0;
}

Result<int, Error> run(Context& context, Flags& flags) {
  if (flags.to.empty() == flags.output.empty()) {
    return Error{.kind = ErrorKind::kUsage,
                 .message =
                     "say where to: --to URL for a database or folder, or -o FILE ('-' for "
                     "standard output)"};
  }
  context.console.data_on_stdout = flags.output == "-";
  if (!flags.to.empty() && !flags.only.empty()) {
    return Error{.kind = ErrorKind::kUsage,
                 .message = "--only chooses what -o writes; --to takes a snapshot as a whole"};
  }
  if (flags.to.empty() && flags.no_compare) {
    return Error{
        .kind = ErrorKind::kUsage,
        .message = "--no-compare belongs to --to; what -o writes is compared with nothing"};
  }
  SEALANE_TRY(auto repository, open_repository(context, flags.repository));
  SEALANE_TRY(const auto keys,
              load_opening_keys(context, flags.keys, flags.repository.passphrase_file));
  if (backup::url_scheme(flags.to) == "sqlite") {
    SEALANE_TRY(const std::string file, backup::local_path(flags.to));
    SEALANE_TRY(keep_keys(file, files_to_keep(flags)));
  }
  SEALANE_TRY(const auto trust,
              load_trust(context, flags.repository.trust_file, flags.repository.host_keys,
                         flags.repository.identity_path()));
  SEALANE_TRY(const auto snapshot, repository.find(flags.snapshot, &trust));
  const backup::OpeningKeys opening{.identities = keys, .kept = nullptr};
  return flags.to.empty() ? to_file(context, flags, repository, snapshot, opening)
                          : to_target(context, flags, repository, snapshot, opening);
}

}  // namespace

Command restore_command() {
  auto flags = std::make_shared<Flags>();
  std::vector<Option> options{
      opening_key_option(flags->keys),
      {.names = "--to",
       .value_name = "URL",
       .help = "Restore into sqlite:/FILE, postgresql://…, redis://… or file:/DIR",
       .variable = &flags->to},
      {.names = "-o,--output",
       .value_name = "FILE",
       .help = "Write the dump as it is, for the database's own tools; '-' is standard output",
       .variable = &flags->output,
       .completes = Completes::kFile},
      {.names = "--only",
       .value_name = "STREAM",
       .help = "With -o: which stream, where a snapshot has several",
       .variable = &flags->only},
      {.names = "--overwrite",
       .value_name = "",
       .help = "Replace a target that is not empty",
       .variable = &flags->overwrite},
      {.names = "--stream",
       .value_name = "",
       .help = "Do not hash the objects first: one pass, but damage shows only when a server or "
               "folder is half-filled, or a pipe has its bytes; a file is always read once",
       .variable = &flags->stream},
      {.names = "--no-compare",
       .value_name = "",
       .help = "With --to: do not read the result again to compare it with the fingerprint",
       .variable = &flags->no_compare},
      opening_threads_option(flags->threads),
  };
  flags->repository.add_to(options);
  return {
      .name = "restore",
      .summary = "restore a snapshot into a database, a folder or a file",
      .description =
          "Checks the signature against the pinned keys, and every object's hash before a database "
          "or folder is\n"
          "touched, or on the way to a file, which appears only when all is right. What was\n"
          "restored is compared with the fingerprint of the source (exit code 30 if it differs). "
          "On a new machine\n"
          "pin the host that made the backup with --host-key or --trust.",
      .examples =
          {"sealane restore --repo /srv/vault -i recovery.key latest:shop --to postgresql:///shop",
           "sealane restore -i recovery.key 3f9a -o - --only database | pg_restore -d shop"},
      .options = std::move(options),
      .arguments = {{.name = "SNAPSHOT",
                     .help = "An id or unique prefix, latest, latest:PLAN, latest:HOST/PLAN",
                     .variable = &flags->snapshot,
                     .required = true,
                     .completes = Completes::kNothing}},
      .run = [flags](Context& context) { return run(context, *flags); },
  };
}

}  // namespace sealane::app
