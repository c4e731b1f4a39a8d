// repo init, repo copy.
#include <filesystem>
#include <nlohmann/json.hpp>

#include "app/commands.h"
#include "app/keys.h"
#include "app/repository.h"

namespace sealane::app {

Command repo_init_command() {
  auto path = std::make_shared<std::string>();
  return {
      .name = "repo init",
      .summary = "make an empty repository",
      .description =
          "A repository is a directory. Whoever can write to it can delete from it (trusted "
          "storage), but\n"
          "cannot read, change or replace a backup unnoticed.",
      .examples = {"sealane repo init /srv/vault"},
      .options = {},
      .arguments = {{.name = "DIR",
                     .help = "A directory that is missing or empty",
                     .variable = path.get(),
                     .required = true,
                     .completes = Completes::kDirectory}},
      .run = [path](Context& context) -> Result<int, Error> {
        SEALANE_TRY(const auto repository,
                    store::DirectoryRepository::init(seams_of(context), *path));
        context.console.print("Made repository " + repository.id() + " in " + printable(*path) +
                              "\n");
        context.console.emit("repo_init", {{"id", repository.id()}, {"path", *path}});
        return 0;
      },
  };
}

Command repo_copy_command() {
  struct Flags {
    RepositoryFlags repository;
    std::string from;
    std::string to;
  };
  auto flags = std::make_shared<Flags>();
  std::vector<Option> options;
  flags->repository.add_to(options);
  std::erase_if(options, [](const Option& option) { return option.names == "--repo"; });
  return {
      .name = "repo copy",
      .summary = "copy what is not there yet to another directory",
      .description =
          "Copies snapshots and proofs as they are and checks every signature and hash on the way. "
          "The copy\n"
          "has the same repository id. A copy that was interrupted goes on where it stopped.",
      .examples = {"sealane repo copy /srv/vault /mnt/usb/vault"},
      .options = std::move(options),
      .arguments = {{.name = "FROM",
                     .help = "The repository to read",
                     .variable = &flags->from,
                     .required = true,
                     .completes = Completes::kDirectory},
                    {.name = "TO",
                     .help = "The directory to bring up to date",
                     .variable = &flags->to,
                     .required = true,
                     .completes = Completes::kDirectory}},
      .run = [flags](Context& context) -> Result<int, Error> {
        flags->repository.path = flags->from;
        SEALANE_TRY(auto repository, open_repository(context, flags->repository));
        SEALANE_TRY(const auto trust,
                    load_trust(context, flags->repository.trust_file, flags->repository.host_keys,
                               flags->repository.identity_path()));
        std::error_code other;
        if (std::filesystem::equivalent(flags->from, flags->to, other)) {
          return Error{
              .kind = ErrorKind::kUsage,
              .message = printable(flags->to) +
                         " is the repository itself, no copy of it; name another directory"};
        }
        std::atomic<std::uint64_t> done{0};
        auto progress = std::make_unique<Progress>(context.console, "copying", [&done] {
          return Progress::Sample{.done = done, .total = {}};
        });
        const auto report = repository.copy_to(flags->to, trust.keys().empty() ? nullptr : &trust,
                                               [&](std::uint64_t bytes) {
                                                 done += bytes;
                                                 return !context.cancel.cancelled();
                                               });
        progress.reset();
        if (!report.has_value()) return report.error();
        const store::CopyReport& copy = report.value();
        for (const store::Problem& problem : copy.problems) context.console.error(problem.error);
        context.console.print("Copied " + counted(copy.copied, "snapshot") + " (" +
                              format_bytes(copy.bytes) + ") and " + counted(copy.proofs, "proof") +
                              "; already there: " + std::to_string(copy.skipped) + "\n");
        context.console.emit("repo_copy", {{"copied", copy.copied},
                                           {"skipped", copy.skipped},
                                           {"proofs", copy.proofs},
                                           {"bytes", copy.bytes},
                                           {"problems", copy.problems.size()}});
        return copy.problems.empty() ? 0 : exit_code(copy.problems.front().error.kind);
      },
  };
}

}  // namespace sealane::app
