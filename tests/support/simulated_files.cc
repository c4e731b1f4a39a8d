#include "tests/support/simulated_files.h"

#include <cerrno>
#include <optional>

#include "base/copy_bytes.h"

namespace sealane::testing {

struct SimulatedFiles::Node {
  using Entries = std::map<std::string, std::shared_ptr<Node>>;
  FileType type = FileType::kRegular;
  std::uint32_t mode = 0600;
  std::uint64_t inode = 0;
  Bytes data, synced_data;          // of a file
  Entries entries, synced_entries;  // of a folder
};

struct SimulatedFiles::Disk {
  mutable std::mutex mutex;
  std::shared_ptr<Node> root;
  std::uint64_t generation = 0;  // restarts; open files of an older one are dead
  std::uint64_t next_inode = 1;
  std::uint64_t calls = 0;
  std::map<std::string, std::uint64_t> by_kind;
  std::set<std::uint64_t> changing;
  std::optional<std::uint64_t> fail_at;
  int fail_code = EIO;
  std::optional<std::uint64_t> stop_at;
  bool stopped = false;
  std::optional<std::uint64_t> space_left;
  std::set<std::string> locks;

  std::shared_ptr<Node> make(FileType type, std::uint32_t mode) {
    auto node = std::make_shared<Node>();
    node->type = type;
    node->mode = mode;
    node->inode = next_inode++;
    return node;
  }

  // 0, or the errno with which this call fails.
  int enter(const char* kind) {
    if (stopped) return EIO;
    const std::uint64_t number = calls++;
    ++by_kind[kind];
    const std::string_view name = kind;
    if (name != "read" && name != "stat" && name != "list" && name != "open")
      changing.insert(number);
    if (stop_at == number) {
      stopped = true;
      return EIO;
    }
    return fail_at == number ? fail_code : 0;
  }

  static std::vector<std::string> split(const std::string& path) {
    std::vector<std::string> parts;
    std::string part;
    for (const char c : path + "/") {
      if (c != '/') {
        part += c;
      } else if (!part.empty() && part != ".") {
        parts.push_back(std::move(part));
        part.clear();
      } else {
        part.clear();
      }
    }
    return parts;
  }

  struct Place {
    std::shared_ptr<Node> folder;  // null for the root itself
    std::string name;
    std::shared_ptr<Node> node;  // null if there is none
  };
  // The folder that holds the last part of `path`, or the errno.
  Result<Place, int> find(const std::string& path) const {
    const auto parts = split(path);
    if (parts.empty()) return Place{nullptr, "", root};
    std::shared_ptr<Node> folder = root;
    for (std::size_t i = 0; i + 1 < parts.size(); ++i) {
      const auto next = folder->entries.find(parts[i]);
      if (next == folder->entries.end()) return ENOENT;
      folder = next->second;
      if (folder->type != FileType::kDirectory) return ENOTDIR;
    }
    const auto found = folder->entries.find(parts.back());
    return Place{folder, parts.back(), found == folder->entries.end() ? nullptr : found->second};
  }
};

class SimulatedFiles::OpenFile final : public File {
 public:
  OpenFile(std::shared_ptr<Disk> disk, std::shared_ptr<Node> node, std::string path, OpenMode mode)
      : disk_(std::move(disk)),
        node_(std::move(node)),
        path_(std::move(path)),
        mode_(mode),
        generation_(disk_->generation) {}

  FileResult<std::size_t> read(MutableByteSpan out) override {
    const std::lock_guard lock(disk_->mutex);
    if (const int code = enter("read")) return FileError{code, "read", path_};
    const std::size_t got = copy_out(position_, out);
    position_ += got;
    return got;
  }
  FileResult<std::size_t> read_at(std::uint64_t offset, MutableByteSpan out) override {
    const std::lock_guard lock(disk_->mutex);
    if (const int code = enter("read")) return FileError{code, "read", path_};
    return copy_out(offset, out);
  }
  FileResult<void> write(ByteSpan data) override {
    const std::lock_guard lock(disk_->mutex);
    const std::uint64_t at = mode_ == OpenMode::kAppendOrCreate ? node_->data.size() : position_;
    position_ = at + data.size();
    return put(at, data);
  }
  FileResult<void> write_at(std::uint64_t offset, ByteSpan data) override {
    const std::lock_guard lock(disk_->mutex);
    return put(offset, data);
  }
  FileResult<void> truncate(std::uint64_t size) override {
    const std::lock_guard lock(disk_->mutex);
    if (const int code = enter("truncate")) return FileError{code, "truncate", path_};
    if (disk_->space_left && size < node_->data.size()) {
      *disk_->space_left += node_->data.size() - size;
    }
    node_->data.resize(static_cast<std::size_t>(size));
    return success();
  }
  FileResult<void> sync() override {
    const std::lock_guard lock(disk_->mutex);
    if (const int code = enter("fsync")) return FileError{code, "fsync", path_};
    node_->synced_data = node_->data;
    return success();
  }
  FileResult<FileStatus> status() override {
    const std::lock_guard lock(disk_->mutex);
    if (const int code = enter("stat")) return FileError{code, "stat", path_};
    return FileStatus{.type = node_->type,
                      .size = node_->data.size(),
                      .mode = node_->mode,
                      .owner = 0,
                      .device = 1,
                      .inode = node_->inode};
  }

 private:
  int enter(const char* kind) {
    const int code = disk_->enter(kind);
    return generation_ == disk_->generation ? code : EIO;
  }
  std::size_t copy_out(std::uint64_t offset, MutableByteSpan out) const {
    constexpr std::size_t kMost = 60'000;  // a reader must not rely on getting all it asks for
    if (offset >= node_->data.size()) return 0;
    const std::size_t size =
        std::min({out.size(), node_->data.size() - static_cast<std::size_t>(offset), kMost});
    std::copy_n(node_->data.begin() + static_cast<std::ptrdiff_t>(offset), size, out.begin());
    return size;
  }
  FileResult<void> put(std::uint64_t offset, ByteSpan data) {
    if (generation_ != disk_->generation) return FileError{EIO, "write", path_};
    const bool dead = disk_->stopped;
    int code = disk_->enter("write");
    if (dead || mode_ == OpenMode::kRead || mode_ == OpenMode::kReadRegular)
      return FileError{dead ? EIO : EBADF, "write", path_};
    if (code != 0) data = data.first(data.size() / 2);
    if (disk_->space_left) {
      const std::uint64_t end = std::max<std::uint64_t>(node_->data.size(), offset + data.size());
      const std::uint64_t growth = end - node_->data.size();
      if (growth > *disk_->space_left) {
        data = data.first(data.size() - static_cast<std::size_t>(growth - *disk_->space_left));
        code = ENOSPC;
      }
      *disk_->space_left -= std::min(growth, *disk_->space_left);
    }
    if (node_->data.size() < offset + data.size()) node_->data.resize(offset + data.size());
    copy_bytes(data, node_->data.begin() + static_cast<std::ptrdiff_t>(offset));
    if (code != 0) return FileError{code, "write", path_};
    return success();
  }

  std::shared_ptr<Disk> disk_;
  std::shared_ptr<Node> node_;
  std::string path_;
  OpenMode mode_;
  std::uint64_t generation_;
  std::uint64_t position_ = 0;
};

class SimulatedFiles::HeldLock final : public FileLock {
 public:
  HeldLock(std::shared_ptr<Disk> disk, std::string path)
      : disk_(std::move(disk)), path_(std::move(path)), generation_(disk_->generation) {}
  ~HeldLock() override {
    const std::lock_guard lock(disk_->mutex);
    if (generation_ == disk_->generation) disk_->locks.erase(path_);
  }
  HeldLock(const HeldLock&) = delete;
  HeldLock& operator=(const HeldLock&) = delete;

 private:
  std::shared_ptr<Disk> disk_;
  std::string path_;
  std::uint64_t generation_;
};

SimulatedFiles::SimulatedFiles() : disk_(std::make_shared<Disk>()) {
  disk_->root = disk_->make(FileType::kDirectory, 0700);
}
SimulatedFiles::~SimulatedFiles() = default;

void SimulatedFiles::fail_call(std::uint64_t number, int code) {
  const std::lock_guard lock(disk_->mutex);
  disk_->fail_at = number;
  disk_->fail_code = code;
}
void SimulatedFiles::stop_at_call(std::uint64_t number) {
  const std::lock_guard lock(disk_->mutex);
  disk_->stop_at = number;
}
void SimulatedFiles::clear_faults() {
  const std::lock_guard lock(disk_->mutex);
  disk_->fail_at.reset();
  disk_->stop_at.reset();
  disk_->space_left.reset();
}
void SimulatedFiles::reset_count() {
  const std::lock_guard lock(disk_->mutex);
  disk_->calls = 0;
  disk_->by_kind.clear();
  disk_->changing.clear();
}
std::uint64_t SimulatedFiles::call_count() const {
  const std::lock_guard lock(disk_->mutex);
  return disk_->calls;
}
std::map<std::string, std::uint64_t> SimulatedFiles::calls_by_kind() const {
  const std::lock_guard lock(disk_->mutex);
  return disk_->by_kind;
}
std::set<std::uint64_t> SimulatedFiles::changing_calls() const {
  const std::lock_guard lock(disk_->mutex);
  return disk_->changing;
}
bool SimulatedFiles::stopped() const {
  const std::lock_guard lock(disk_->mutex);
  return disk_->stopped;
}
void SimulatedFiles::limit_space(std::uint64_t bytes) {
  const std::lock_guard lock(disk_->mutex);
  disk_->space_left = bytes;
}

void SimulatedFiles::restart_process() {
  clear_faults();
  const std::lock_guard lock(disk_->mutex);
  ++disk_->generation;
  disk_->stopped = false;
  disk_->calls = 0;
  disk_->by_kind.clear();
  disk_->changing.clear();
  disk_->locks.clear();
}

void SimulatedFiles::restart_after_power_loss(std::uint64_t seed) {
  {
    const std::lock_guard lock(disk_->mutex);
    std::mt19937_64 random(seed);
    enum class Fate { kLost, kKept, kTorn };
    const auto fate = [&] {
      // Two seeds in four treat everything alike; the others choose each time.
      if (seed % 4 == 0) return Fate::kLost;
      if (seed % 4 == 1) return Fate::kKept;
      return static_cast<Fate>(random() % 3);
    };
    const auto torn = [&](const Bytes& before, const Bytes& after) {
      // The size may be new and the content old, new or nothing, by blocks.
      constexpr std::size_t kBlock = 512;
      Bytes out(random() % 2 == 0 ? after.size() : random() % (after.size() + 1));
      for (std::size_t at = 0; at < out.size(); at += kBlock) {
        const std::uint64_t which = random() % 3;
        const Bytes& from = which == 0 ? before : after;
        for (std::size_t i = at; i < std::min(at + kBlock, out.size()); ++i) {
          out[i] = which == 2 || i >= from.size() ? std::byte{0} : from[i];
        }
      }
      return out;
    };

    struct Link {
      Node* folder;
      std::string name;
      bool settled;
    };
    std::map<Node*, std::vector<Link>> links;
    std::set<Node*> seen;
    std::vector<std::shared_ptr<Node>> todo{disk_->root};
    while (!todo.empty()) {
      const auto node = todo.back();
      todo.pop_back();
      if (!seen.insert(node.get()).second) continue;
      if (node->type != FileType::kDirectory) {
        if (node->data != node->synced_data) {
          switch (fate()) {
            case Fate::kLost:
              node->data = node->synced_data;
              break;
            case Fate::kKept:
              break;
            case Fate::kTorn:
              node->data = torn(node->synced_data, node->data);
              break;
          }
        }
        node->synced_data = node->data;
        continue;
      }
      Node::Entries chosen;
      Node::Entries names = node->entries;
      names.insert(node->synced_entries.begin(), node->synced_entries.end());
      for (const auto& [name, unused] : names) {
        const auto look = [&name = name](const Node::Entries& entries) {
          const auto at = entries.find(name);
          return at == entries.end() ? nullptr : at->second;
        };
        const auto before = look(node->synced_entries);
        const auto after = look(node->entries);
        const auto taken = before == after || fate() != Fate::kLost ? after : before;
        if (taken == nullptr) continue;
        chosen[name] = taken;
        links[taken.get()].push_back({node.get(), name, before == after});
        todo.push_back(taken);
      }
      node->entries = chosen;
    }
    // A folder has one name: a rename that is half on the disk is undone or done by the journal.
    for (auto& [node, names] : links) {
      if (node->type != FileType::kDirectory || names.size() < 2) continue;
      std::size_t keep = random() % names.size();
      for (std::size_t i = 0; i < names.size(); ++i) {
        if (names[i].settled) keep = i;
      }
      for (std::size_t i = 0; i < names.size(); ++i) {
        if (i != keep) names[i].folder->entries.erase(names[i].name);
      }
    }
    for (Node* node : seen) node->synced_entries = node->entries;
  }
  restart_process();
}

std::vector<std::string> SimulatedFiles::all_paths() const {
  const std::lock_guard lock(disk_->mutex);
  std::vector<std::string> paths;
  const auto walk = [&](const auto& self, const Node& folder, const std::string& prefix) -> void {
    for (const auto& [name, node] : folder.entries) {
      const bool is_folder = node->type == FileType::kDirectory;
      const std::string path = prefix + name + (is_folder ? "/" : "");
      paths.push_back(path);
      if (is_folder) self(self, *node, path);
    }
  };
  walk(walk, *disk_->root, "/");
  std::ranges::sort(paths);
  return paths;
}

FileResult<std::unique_ptr<File>> SimulatedFiles::open(const std::string& path, OpenMode mode,
                                                       std::uint32_t permissions) {
  const std::lock_guard lock(disk_->mutex);
  const char* kind = mode == OpenMode::kCreateExclusive  ? "create"
                     : mode == OpenMode::kAppendOrCreate ? "append"
                                                         : "open";
  if (const int code = disk_->enter(kind)) return FileError{code, kind, path};
  const auto place = disk_->find(path);
  if (!place.has_value()) return FileError{place.error(), kind, path};
  auto node = place.value().node;
  if (node != nullptr && mode == OpenMode::kCreateExclusive) return FileError{EEXIST, kind, path};
  if (node != nullptr && node->type == FileType::kDirectory) return FileError{EISDIR, kind, path};
  if (node == nullptr) {
    if (mode == OpenMode::kRead || mode == OpenMode::kReadRegular || mode == OpenMode::kReadWrite) {
      return FileError{ENOENT, kind, path};
    }
    node = disk_->make(FileType::kRegular, permissions);
    place.value().folder->entries[place.value().name] = node;
  }
  return std::unique_ptr<File>(std::make_unique<OpenFile>(disk_, node, path, mode));
}

FileResult<FileStatus> SimulatedFiles::status(const std::string& path) {
  const std::lock_guard lock(disk_->mutex);
  if (const int code = disk_->enter("stat")) return FileError{code, "stat", path};
  const auto place = disk_->find(path);
  if (!place.has_value()) return FileError{place.error(), "stat", path};
  const auto& node = place.value().node;
  if (node == nullptr) return FileError{ENOENT, "stat", path};
  return FileStatus{.type = node->type,
                    .size = node->data.size(),
                    .mode = node->mode,
                    .owner = 0,
                    .device = 1,
                    .inode = node->inode};
}

FileResult<std::vector<DirectoryEntry>> SimulatedFiles::list(const std::string& path) {
  const std::lock_guard lock(disk_->mutex);
  if (const int code = disk_->enter("list")) return FileError{code, "list", path};
  const auto place = disk_->find(path);
  if (!place.has_value()) return FileError{place.error(), "list", path};
  const auto& node = place.value().node;
  if (node == nullptr) return FileError{ENOENT, "list", path};
  if (node->type != FileType::kDirectory) return FileError{ENOTDIR, "list", path};
  std::vector<DirectoryEntry> entries;
  for (const auto& [name, entry] : node->entries) entries.push_back({name, entry->type});
  return entries;
}

FileResult<void> SimulatedFiles::create_directory(const std::string& path,
                                                  std::uint32_t permissions) {
  const std::lock_guard lock(disk_->mutex);
  if (const int code = disk_->enter("mkdir")) return FileError{code, "create", path};
  const auto place = disk_->find(path);
  if (!place.has_value()) return FileError{place.error(), "create", path};
  if (place.value().node != nullptr) return FileError{EEXIST, "create", path};
  place.value().folder->entries[place.value().name] =
      disk_->make(FileType::kDirectory, permissions);
  return success();
}

FileResult<void> SimulatedFiles::rename(const std::string& from, const std::string& to,
                                        RenameMode mode) {
  const std::lock_guard lock(disk_->mutex);
  if (const int code = disk_->enter("rename")) return FileError{code, "rename", to};
  const auto source = disk_->find(from);
  if (!source.has_value()) return FileError{source.error(), "rename", to};
  const auto target = disk_->find(to);
  if (!target.has_value()) return FileError{target.error(), "rename", to};
  const auto node = source.value().node;
  if (node == nullptr) return FileError{ENOENT, "rename", to};
  if (const auto& there = target.value().node) {
    if (mode == RenameMode::kNoReplace) return FileError{EEXIST, "rename", to};
    if (there->type == FileType::kDirectory) {
      if (node->type != FileType::kDirectory) return FileError{EISDIR, "rename", to};
      if (!there->entries.empty()) return FileError{ENOTEMPTY, "rename", to};
    } else if (node->type == FileType::kDirectory) {
      return FileError{ENOTDIR, "rename", to};
    }
  }
  source.value().folder->entries.erase(source.value().name);
  target.value().folder->entries[target.value().name] = node;
  return success();
}

FileResult<void> SimulatedFiles::remove(const std::string& path) {
  const std::lock_guard lock(disk_->mutex);
  if (const int code = disk_->enter("unlink")) return FileError{code, "remove", path};
  const auto place = disk_->find(path);
  if (!place.has_value()) return FileError{place.error(), "remove", path};
  if (place.value().node == nullptr) return FileError{ENOENT, "remove", path};
  if (place.value().node->type == FileType::kDirectory) return FileError{EISDIR, "remove", path};
  place.value().folder->entries.erase(place.value().name);
  return success();
}

FileResult<void> SimulatedFiles::remove_directory(const std::string& path) {
  const std::lock_guard lock(disk_->mutex);
  if (const int code = disk_->enter("rmdir")) return FileError{code, "remove", path};
  const auto place = disk_->find(path);
  if (!place.has_value()) return FileError{place.error(), "remove", path};
  const auto& node = place.value().node;
  if (node == nullptr) return FileError{ENOENT, "remove", path};
  if (node->type != FileType::kDirectory) return FileError{ENOTDIR, "remove", path};
  if (!node->entries.empty()) return FileError{ENOTEMPTY, "remove", path};
  place.value().folder->entries.erase(place.value().name);
  return success();
}

FileResult<void> SimulatedFiles::sync_directory(const std::string& path) {
  const std::lock_guard lock(disk_->mutex);
  if (const int code = disk_->enter("fsyncdir")) return FileError{code, "fsync", path};
  const auto place = disk_->find(path);
  if (!place.has_value()) return FileError{place.error(), "open", path};
  const auto& node = place.value().node;
  if (node == nullptr) return FileError{ENOENT, "open", path};
  if (node->type != FileType::kDirectory) return FileError{ENOTDIR, "open", path};
  node->synced_entries = node->entries;
  return success();
}

FileResult<std::unique_ptr<FileLock>> SimulatedFiles::lock(const std::string& path) {
  const std::lock_guard lock(disk_->mutex);
  if (const int code = disk_->enter("lock")) return FileError{code, "lock", path};
  const auto place = disk_->find(path);
  if (!place.has_value()) return FileError{place.error(), "lock", path};
  if (place.value().node == nullptr) {
    place.value().folder->entries[place.value().name] = disk_->make(FileType::kRegular, 0600);
  }
  if (!disk_->locks.insert(path).second) return FileError{EWOULDBLOCK, "lock", path};
  return std::unique_ptr<FileLock>(std::make_unique<HeldLock>(disk_, path));
}

}  // namespace sealane::testing
