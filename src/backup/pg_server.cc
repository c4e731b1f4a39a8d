// The private PostgreSQL server of a drill.
#include <fcntl.h>
#include <locale.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <system_error>

#include "backup/pg_client.h"
#include "backup/pg_target.h"
#include "backup/postgresql.h"

namespace sealane::backup {
namespace {

constexpr int kStartSteps = 3000;  // of 20 ms
constexpr int kStepMilliseconds = 20;
constexpr std::size_t kMaxSocketFolder = 80;  // sockaddr_un takes 107 bytes, the name needs some

Error failed(std::string message) { return {ErrorKind::kFailed, std::move(message)}; }

std::string property(const std::map<std::string, std::string>& properties,
                     const std::string& name) {
  const auto found = properties.find(name);
  return found == properties.end() ? std::string() : found->second;
}

// Where a server of at least version `needed` is installed; the closest, whose tools write and read
// what the source's did.
Result<std::string, Error> find_server(int needed) {
  std::optional<int> best;
  std::string folder;
  for (const auto& [version, programs] : pg_installed_versions()) {
    if (version < needed || (best && *best <= version)) continue;
    if (!find_program(programs + "/postgres") || !find_program(programs + "/initdb")) continue;
    best = version;
    folder = programs;
  }
  if (!best) {
    return failed("no PostgreSQL server of version " + pg_version_text(needed) +
                  " or newer is installed here: install the Debian package postgresql-" +
                  pg_version_text(needed));
  }
  return folder;
}

// Whether any user may pass through all folders of this absolute path.
bool all_can_reach(std::filesystem::path path) {
  for (;;) {
    struct stat status {};
    if (::stat(path.c_str(), &status) < 0 || (status.st_mode & S_IXOTH) == 0) return false;
    if (path == path.root_path()) return true;
    path = path.parent_path();
  }
}

class PgServer final : public ThrowAway {
 public:
  explicit PgServer(DriverContext& context) : context_(context) {}

  Result<void, Error> start(const std::map<std::string, std::string>& properties,
                            const std::string& directory) {
    int needed = 0;
    const std::string number = property(properties, "server_version_num");
    int parsed = 0;
    if (std::from_chars(number.data(), number.data() + number.size(), parsed).ec == std::errc{}) {
      needed = pg_version_of_server(parsed);
    }
    needed = std::max(needed, pg_version_of_tool(property(properties, "tool")).value_or(0));
    SEALANE_TRY(programs_, find_server(needed));
    SEALANE_TRY(make_folders(directory));

    // Roles of the backup may be granted by the source's first superuser: it gets the same name.
    superuser_ = property(properties, "superuser");
    if (superuser_.empty() || superuser_.starts_with("pg_")) superuser_ = "postgres";
    SEALANE_TRY(initialize(properties));
    SEALANE_TRY(launch());
    SEALANE_TRY(auto session,
                PgSession::open(PgConnection::local(sockets(), superuser_, "postgres", programs_),
                                context_.cancel));
    SEALANE_TRY(check_extensions(*session, property(properties, "extensions")));
    SEALANE_TRY(session->execute("CREATE DATABASE sealane TEMPLATE template0"));
    SEALANE_TRY(version_, session->value("SELECT pg_catalog.current_setting('server_version')"));
    version_.resize(std::min(version_.find(' '), version_.size()));
    target_ = make_pg_target(PgConnection::local(sockets(), superuser_, "sealane", programs_),
                             PgStatistics::kLeave, context_);
    return success();
  }

  Target& target() override { return *target_; }
  std::string description() const override {
    return "PostgreSQL " + version_ + " started for this drill";
  }

 private:
  std::string data() const { return folder_->path() + "/data"; }
  std::string log() const { return folder_->path() + "/log"; }
  std::string sockets() const { return socket_folder_ ? socket_folder_->path() : folder_->path(); }

  ToolCommand command(const std::string& program) const {
    ToolCommand command;
    command.program = programs_ + "/" + program;
    command.package = "postgresql";
    command.unset_prefixes = {"PG"};
    command.environment = {{"TZ", "UTC"}};
    command.user = user_;
    command.leave_directory = true;
    return command;
  }

  // PostgreSQL refuses to run as root, and its own user must reach its folder.
  Result<void, Error> make_folders(const std::string& directory) {
    std::error_code error;
    const std::string parent =
        std::filesystem::absolute(directory, error).lexically_normal().string();
    if (error) return failed("cannot find the folder " + printable(directory));
    if (::geteuid() == 0) {
      const passwd* entry = ::getpwnam("postgres");
      if (entry == nullptr) entry = ::getpwnam("nobody");
      if (entry == nullptr) {
        return failed("PostgreSQL does not run as root, and there is no user postgres or nobody");
      }
      user_ = ToolCommand::User{entry->pw_uid, entry->pw_gid};
      // Passing through is all it needs; what lies inside keeps its own mode.
      struct stat status {};
      if (::stat(parent.c_str(), &status) == 0 && status.st_uid == 0 &&
          all_can_reach(std::filesystem::path(parent).parent_path())) {
        ::chmod(parent.c_str(), (status.st_mode & 07777) | S_IXOTH);
      }
    }
    if (user_ && !all_can_reach(parent)) {
      return failed("PostgreSQL, which does not run as root, cannot reach " + printable(parent) +
                    ": name a folder with --work-dir that every user may pass through");
    }
    SEALANE_TRY(auto folder, TemporaryFolder::create("sealane-postgresql-", parent));
    folder_.emplace(std::move(folder));
    SEALANE_TRY(give_away(folder_->path()));
    if (folder_->path().size() > kMaxSocketFolder) {
      SEALANE_TRY(auto sockets, TemporaryFolder::create("sealane-pg-", "/tmp"));
      socket_folder_.emplace(std::move(sockets));
      SEALANE_TRY(give_away(socket_folder_->path()));
    }
    return success();
  }
  Result<void, Error> give_away(const std::string& path) const {
    if (user_ && ::chown(path.c_str(), user_->uid, user_->gid) < 0) {
      return failed("cannot give " + path + " to the user of PostgreSQL");
    }
    return success();
  }

  Result<void, Error> initialize(const std::map<std::string, std::string>& properties) {
    std::string encoding = property(properties, "encoding");
    if (encoding.empty()) encoding = "UTF8";
    // The source's locale where this machine has it: text ranges and partitions may depend on it.
    std::string locale = property(properties, "locale");
    const locale_t found =
        locale.empty() ? locale_t{} : ::newlocale(LC_ALL_MASK, locale.c_str(), locale_t{});
    if (found != locale_t{}) {
      ::freelocale(found);
    } else {
      locale = encoding == "UTF8" ? "C.UTF-8" : "C";
    }
    ToolCommand command = this->command("initdb");
    command.arguments = {"--pgdata=" + data(),     "--username=" + superuser_,
                         "--auth-local=trust",     "--auth-host=reject",
                         "--encoding=" + encoding, "--locale=" + locale,
                         "--no-instructions",      "--no-sync"};
    SEALANE_TRY(run_tool(std::move(command), &context_.cancel));
    return success();
  }

  Result<void, Error> launch() {
    ToolCommand command = this->command("postgres");
    command.arguments = {"-D", data(), "-k", sockets()};
    // Only our socket; nothing of it outlives the drill, so nothing needs to be durable.
    for (const char* setting :
         {"listen_addresses=", "port=5432", "unix_socket_permissions=0700", "fsync=off",
          "synchronous_commit=off", "full_page_writes=off", "wal_level=minimal",
          "max_wal_senders=0", "autovacuum=off", "max_connections=20",
          "max_locks_per_transaction=1024", "max_wal_size=1GB", "logging_collector=off",
          "log_destination=stderr", "shared_preload_libraries="}) {
      command.arguments.emplace_back("-c");
      command.arguments.emplace_back(setting);
    }
    command.error_file = log();
    command.stop_signal = SIGQUIT;  // at once: nothing is worth a checkpoint
    command.parent_death_signal = SIGQUIT;
    SEALANE_TRY(server_, Tool::start(command, &context_.cancel));
    for (int step = 0; step < kStartSteps; ++step) {
      if (server_->ended()) break;
      if (is_ready()) return success();
      SEALANE_TRY(pause(context_.cancel, kStepMilliseconds));
    }
    return failed("the PostgreSQL server of the drill did not start: " + last_words());
  }
  // As pg_ctl finds out: the eighth line of its pid file.
  bool is_ready() const {
    std::ifstream file(data() + "/postmaster.pid");
    std::string line;
    for (int i = 0; i < 8; ++i) {
      if (!std::getline(file, line)) return false;
    }
    return line.starts_with("ready");
  }
  std::string last_words() const {
    std::ifstream file(log());
    std::string line;
    std::string last = "it said nothing";
    while (std::getline(file, line)) {
      if (!line.empty()) last = line;
    }
    return printable(last);
  }

  static Result<void, Error> check_extensions(PgSession& session, const std::string& wanted) {
    SEALANE_TRY(const auto lines,
                session.lines("SELECT name FROM pg_catalog.pg_available_extensions"));
    std::string rest = wanted;  // "hstore 1.8, plpgsql 1.0"
    while (!rest.empty()) {
      const auto comma = std::min(rest.find(", "), rest.size());
      const std::string name = rest.substr(0, std::min(rest.find(' '), comma));
      rest.erase(0, std::min(comma + 2, rest.size()));
      if (std::ranges::find(lines, name) == lines.end()) {
        return failed("the database needs the extension " + printable(name) +
                      ", which is not installed here: install its Debian package, often "
                      "postgresql-contrib or postgresql-VERSION-NAME");
      }
    }
    return success();
  }

  DriverContext& context_;
  std::string programs_;
  std::string superuser_;
  std::string version_;
  std::optional<ToolCommand::User> user_;
  // Destroyed in the order: target, server, folders.
  std::optional<TemporaryFolder> folder_;
  std::optional<TemporaryFolder> socket_folder_;
  std::unique_ptr<Tool> server_;
  std::unique_ptr<Target> target_;
};

}  // namespace

Result<std::unique_ptr<ThrowAway>, Error> make_postgresql_throw_away(
    const std::map<std::string, std::string>& properties, const std::string& directory,
    DriverContext& context) {
  auto server = std::make_unique<PgServer>(context);
  SEALANE_TRY(server->start(properties, directory));
  return std::unique_ptr<ThrowAway>(std::move(server));
}

}  // namespace sealane::backup
