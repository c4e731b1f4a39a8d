#include "app/repository.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "app/paths.h"
#include "backup/tree_writer.h"
#include "flow/descriptor.h"

namespace sealane::app {

void RepositoryFlags::add_to(std::vector<Option>& options) {
  options.push_back({.names = "--repo",
                     .value_name = "DIR",
                     .help = "The repository",
                     .variable = &path,
                     .environment = "SEALANE_REPO",
                     .completes = Completes::kDirectory});
  options.push_back({.names = "--trust",
                     .value_name = "FILE",
                     .help = "Pinned keys (default: trusted_keys beside the identity)",
                     .variable = &trust_file,
                     .environment = "SEALANE_TRUST",
                     .completes = Completes::kFile});
  options.push_back(
      {.names = "--host-key",
       .value_name = "KEY",
       .help = "Pin one more host: a .pub file or a line 'ssh-ed25519 …'; may be repeated",
       .variable = &host_keys,
       .completes = Completes::kFile});
  options.push_back({.names = "--identity",
                     .value_name = "FILE",
                     .help = "The signing key of this node (default: identity in $SEALANE_HOME)",
                     .variable = &identity,
                     .environment = "SEALANE_IDENTITY",
                     .completes = Completes::kFile});
  options.push_back({.names = "--passphrase-file",
                     .value_name = "FILE",
                     .help = "Passphrase of an encrypted key, instead of asking for it",
                     .variable = &passphrase_file,
                     .environment = "SEALANE_PASSPHRASE_FILE",
                     .completes = Completes::kFile});
}

std::string RepositoryFlags::identity_path() const {
  return identity.empty() ? home_path("identity") : identity;
}

store::Seams seams_of(Context& context) { return {context.files, context.clock, context.random}; }

backup::DriverContext driver_context(Context& context) {
  return {.files = context.files,
          .clock = context.clock,
          .random = context.random,
          .cancel = context.cancel,
          .on_loading = loading_teller(context)};
}

backup::OnLoading loading_teller(Context& context) {
  return [&context](const backup::RedisLoading& loading) {
    context.console.note(describe(loading));
    nlohmann::json message = {{"server", loading.server}};
    if (loading.percent) message["percent"] = *loading.percent;
    if (loading.eta_seconds) message["eta_seconds"] = *loading.eta_seconds;
    context.console.emit("redis_loading", std::move(message));
  };
}

Option opening_key_option(std::vector<std::string>& keys) {
  return {.names = "-i,--open-with",
          .value_name = "KEY",
          .help = "Key file that opens it (age identity or OpenSSH private key); may be repeated",
          .variable = &keys,
          .required = true,
          .completes = Completes::kFile};
}

Option opening_threads_option(std::uint64_t& threads) {
  return {.names = "--threads",
          .value_name = "N",
          .help = "Threads that open and decompress (default: one per core)",
          .variable = &threads,
          .max = kMaxThreads};
}

Result<store::DirectoryRepository, Error> open_repository(Context& context,
                                                          const RepositoryFlags& flags) {
  if (flags.path.empty()) {
    return Error{.kind = ErrorKind::kUsage,
                 .message = "which repository? Name it with --repo DIR or in SEALANE_REPO"};
  }
  return store::DirectoryRepository::open(seams_of(context), flags.path);
}

Error nothing_selected(const std::string& plan, const std::string& host) {
  return {.kind = ErrorKind::kUsage,
          .message = "there is no snapshot" +
                     (plan.empty() ? "" : " of a plan " + printable(plan)) +
                     (host.empty() ? "" : " of a host " + printable(host)) +
                     "; `sealane snapshots` lists what is there"};
}

Result<void, Error> check_selection(const store::DirectoryRepository::Listing& listing,
                                    const std::string& plan, const std::string& host) {
  if (plan.empty() && host.empty()) return success();
  const bool found = std::ranges::any_of(listing.snapshots, [&](const auto& snapshot) {
    return (plan.empty() || snapshot.plan == plan) &&
           (host.empty() || snapshot.host == host || snapshot.host_name == host);
  });
  if (found) return success();
  if (!listing.problems.empty()) return listing.problems.front().error;
  return nothing_selected(plan, host);
}

Result<void, Error> make_home_directory(Context& context) {
  // Parents as well: ~/.config may be missing on a fresh machine.
  std::string path = home_directory();
  std::vector<std::string> missing;
  while (!context.files.status(path).has_value()) {
    missing.push_back(path);
    if (path == parent_path(path)) break;
    path = parent_path(path);
  }
  while (!missing.empty()) {
    const auto made = context.files.create_directory(missing.back(), 0700);
    if (!made.has_value() && made.error().code != EEXIST) return to_error(made.error());
    missing.pop_back();
  }
  return success();
}

Result<std::vector<store::SeenHead>, Error> load_heads(Context& context) {
  return store::HeadMemory(context.files, context.random, home_path("heads")).load();
}

Result<void, Error> remember_heads(Context& context, const std::vector<store::SeenHead>& heads) {
  if (heads.empty()) return success();
  SEALANE_TRY(make_home_directory(context));
  return store::HeadMemory(context.files, context.random, home_path("heads")).remember(heads);
}

backup::Observer StageDisplay::observer() {
  backup::Observer observer;
  observer.stage = [this](const backup::Stage& stage) {
    progress_.reset();
    if (stage.name.empty()) return;
    progress_ = std::make_unique<Progress>(
        console_, stage.name,
        [counters = stage.counters, total = stage.total, sealed = stage.total_is_sealed] {
          Progress::Sample sample{.done = 0, .total = total};
          if (counters != nullptr)
            sample.done = sealed ? counters->sealed_bytes : counters->plain_bytes;
          return sample;
        });
  };
  observer.warning = [this](const std::string& text) { console_.warn(text); };
  return observer;
}

namespace {

constexpr std::string_view kWorkPrefix = "sealane-drill-";
constexpr std::string_view kWorkLock = "lock";  // held while the drill runs

// A drill that was killed could not remove what it had restored, which is plain text. The next one
// does: its folder is ours, and nobody holds the lock in it.
void remove_left_overs(FileSystem& files, const std::string& base) {
  const auto entries = files.list(base);
  const flow::OwnedDescriptor parent(::open(base.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!entries.has_value() || !parent.valid()) return;
  for (const DirectoryEntry& entry : entries.value()) {
    if (entry.type != FileType::kDirectory || !entry.name.starts_with(kWorkPrefix)) continue;
    const std::string path = join_path(base, entry.name);
    const auto status = files.status(path);
    if (!status.has_value() || status.value().owner != ::geteuid()) continue;
    const auto lock = files.lock(join_path(path, kWorkLock));
    // What cannot be removed now is left for the next time.
    if (lock.has_value()) static_cast<void>(backup::remove_tree(parent.get(), entry.name));
  }
}

}  // namespace

Result<std::unique_ptr<WorkDirectory>, Error> WorkDirectory::create(Context& context,
                                                                    const std::string& parent) {
  std::string base = parent;
  if (base.empty()) {
    const char* temporary = std::getenv("TMPDIR");
    base = temporary != nullptr && *temporary != '\0' ? temporary : "/tmp";
  }
  // The servers of a drill do not run in our working directory.
  std::error_code failed;
  base = std::filesystem::absolute(base, failed).string();
  if (failed) return to_error(FileError{failed.value(), "find", parent});
  remove_left_overs(context.files, base);
  constexpr int kTries = 10;
  for (int i = 1;; ++i) {
    ByteArray<8> suffix;
    context.random.fill(suffix);
    std::string path = join_path(base, std::string(kWorkPrefix) + to_hex(suffix));
    // Others may pass through but not look: a database server may run as a user of its own.
    const auto made = context.files.create_directory(path, 0711);
    if (!made.has_value()) return to_error(made.error());
    auto lock = context.files.lock(join_path(path, kWorkLock));
    if (lock.has_value()) {
      return std::unique_ptr<WorkDirectory>(
          new WorkDirectory(context.files, std::move(path), std::move(lock).value()));
    }
    // Another drill that was just starting took it for a left-over.
    static_cast<void>(context.files.remove_directory(path));
    const bool taken = lock.error().code == EWOULDBLOCK || lock.error().code == ENOENT;
    if (!taken || i == kTries) return to_error(lock.error());
  }
}

WorkDirectory::~WorkDirectory() {
  // The throw-away target has removed what it made.
  static_cast<void>(files_.remove(join_path(path_, kWorkLock)));
  static_cast<void>(files_.remove_directory(path_));
}

void UnpinnedProvers::add(const store::SnapshotInfo& snapshot) {
  for (const std::string& prover : snapshot.unpinned_provers) ++snapshots_of_[prover];
}

void UnpinnedProvers::warn(Console& console) const {
  std::size_t named = 0;
  for (const auto& [prover, count] : snapshots_of_) {
    if (named++ == kMaxNamed) {
      return console.warn("and proofs by " + std::to_string(snapshots_of_.size() - kMaxNamed) +
                          " more keys");
    }
    console.warn(
        (count == 1 ? "a snapshot has a proof" : std::to_string(count) + " snapshots have proofs") +
        " by " + prover +
        " that counts for nothing: this key is not pinned, or may not sign proofs; if you "
        "know the prover, pin its public key with --host-key or in the trust file");
  }
}

nlohmann::json UnpinnedProvers::fingerprints() const {
  nlohmann::json list = nlohmann::json::array();
  for (const auto& [prover, count] : snapshots_of_) list.push_back(prover);
  return list;
}

std::string short_id(const std::string& snapshot_id) { return snapshot_id.substr(0, 12); }

std::string local_time(WallTime time) {
  const std::time_t seconds = std::chrono::system_clock::to_time_t(
      std::chrono::time_point_cast<std::chrono::system_clock::duration>(time));
  std::tm parts{};
  ::localtime_r(&seconds, &parts);
  char text[32];
  const std::size_t size = std::strftime(text, sizeof text, "%Y-%m-%d %H:%M", &parts);
  return std::string(text, size);
}

std::string shorten(std::string_view text, std::size_t width) {
  std::string shown = printable(text, 4096);
  if (shown.size() <= width) return shown;
  return "…" + shown.substr(shown.size() - width + 1);
}

std::uint64_t stored_size(const store::SnapshotInfo& snapshot) {
  std::uint64_t size = 0;
  for (const repo::ObjectRecord& object : snapshot.objects) size += object.size;
  return size;
}

std::uint64_t total_count(const repo::Fingerprint& fingerprint) {
  std::uint64_t count = 0;
  for (const auto& item : fingerprint.items) count += item.count;
  return count;
}

nlohmann::json to_json(const store::SnapshotInfo& snapshot) {
  nlohmann::json objects = nlohmann::json::array();
  for (const repo::ObjectRecord& object : snapshot.objects) {
    objects.push_back(
        {{"file", object.file}, {"size", object.size}, {"sha256", to_hex(object.sha256)}});
  }
  nlohmann::json json{{"id", snapshot.id},
                      {"directory", snapshot.directory},
                      {"host", snapshot.host},
                      {"host_name", snapshot.host_name},
                      {"plan", snapshot.plan},
                      {"seq", snapshot.seq},
                      {"previous", snapshot.previous},
                      {"host_time", to_rfc3339(snapshot.host_time)},
                      {"received", to_rfc3339(snapshot.received)},
                      {"stored_bytes", stored_size(snapshot)},
                      {"state", snapshot.forgotten ? "forgotten"
                                : snapshot.proven  ? "proven"
                                                   : "stored"},
                      {"objects", std::move(objects)}};
  if (snapshot.proven_at) json["proven_at"] = to_rfc3339(*snapshot.proven_at);
  if (snapshot.proven_level) json["proven_level"] = repo::name_of(*snapshot.proven_level);
  if (!snapshot.unpinned_provers.empty()) json["unpinned_provers"] = snapshot.unpinned_provers;
  if (snapshot.forgotten_at) json["forgotten_at"] = to_rfc3339(*snapshot.forgotten_at);
  return json;
}

}  // namespace sealane::app
