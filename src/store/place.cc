#include "store/place.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <thread>

#include "base/check.h"
#include "repo/names.h"

namespace sealane::store {
namespace {

constexpr std::size_t kBlock = 1024 * 1024;
constexpr std::size_t kMaxNote = 1024;

// Who we are, for whoever finds the lock held.
std::string holder_note(WallTime now) {
  std::array<char, 256> host{};
  if (::gethostname(host.data(), host.size() - 1) != 0) host[0] = '\0';
  return "process " + std::to_string(::getpid()) + " on " + printable(host.data(), 100) +
         " since " + to_rfc3339(now);
}

}  // namespace

std::string chain_directory(const std::string& key_id, const std::string& plan) {
  return "hosts/" + key_id + "/" + plan;
}

std::string fingerprint_of(const std::string& key_id) {
  const auto digest = from_hex(key_id);
  SEALANE_CHECK(digest && digest->size() == 32);
  return "SHA256:" + to_base64(*digest, Base64Alphabet::kStandard, Base64Padding::kUnpadded);
}

std::string random_name(RandomSource& random, std::string_view prefix) {
  ByteArray<8> suffix;
  random.fill(suffix);
  return std::string(prefix) + to_hex(suffix);
}

Error verification_failed(std::string message) {
  return {.kind = ErrorKind::kVerificationFailed, .message = std::move(message)};
}

FileResult<void> ensure_directory(FileSystem& files, const std::string& path) {
  auto made = files.create_directory(path);
  if (!made.has_value() && made.error().code != EEXIST) return made;
  return files.sync_directory(parent_path(path));
}

FileResult<void> publish_file(Seams seams, const std::string& path, ByteSpan content) {
  const std::string directory = parent_path(path);
  const std::string temporary = join_path(directory, random_name(seams.random, kTemporaryPrefix));
  SEALANE_TRY(write_new_file(seams.files, temporary, content));
  auto renamed = seams.files.rename(temporary, path, RenameMode::kNoReplace);
  if (!renamed.has_value()) {
    // The first failure is the one to report.
    static_cast<void>(seams.files.remove(temporary));
    return renamed;
  }
  return seams.files.sync_directory(directory);
}

FileResult<void> remove_entry(FileSystem& files, const std::string& path, FileType type) {
  if (type != FileType::kDirectory) return files.remove(path);
  SEALANE_TRY(const auto entries, files.list(path));
  for (const DirectoryEntry& entry : entries) {
    SEALANE_TRY(files.remove(join_path(path, entry.name)));
  }
  return files.remove_directory(path);
}

FileResult<void> remove_left_overs(FileSystem& files, const std::string& directory) {
  const auto entries = files.list(directory);
  if (!entries.has_value()) {
    if (entries.error().code == ENOENT) return success();
    return entries.error();
  }
  for (const DirectoryEntry& entry : entries.value()) {
    if (!entry.name.starts_with(kTemporaryPrefix)) continue;
    SEALANE_TRY(remove_entry(files, join_path(directory, entry.name), entry.type));
  }
  return success();
}

Result<std::unique_ptr<FileLock>, Error> lock_chain(const RepositoryPlace& place,
                                                    const std::string& key_id,
                                                    const std::string& plan) {
  FileSystem& files = place.seams.files;
  const std::string chain = key_id + "." + plan;
  const std::string note = place.absolute("locks/who." + chain);
  auto lock = files.lock(place.absolute("locks/" + chain));
  if (!lock.has_value()) {
    if (lock.error().code != EWOULDBLOCK) return to_error(lock.error());
    const auto who = read_file(files, note, kMaxNote, OpenMode::kReadRegular);
    return Error{ErrorKind::kLocked,
                 "plan " + plan + " of host " + fingerprint_of(key_id) + " in repository " +
                     printable(place.path) + " is in use by " +
                     (who.has_value() ? printable(as_text(who.value())) : "another process") +
                     "; try again when it has finished"};
  }
  // Only a courtesy to others: that it cannot be written is no reason to fail.
  static_cast<void>(files.remove(note));
  if (auto file = files.open(note, OpenMode::kCreateExclusive); file.has_value()) {
    const std::string text = holder_note(place.seams.clock.wall_now());
    static_cast<void>(file.value()->write(as_bytes(text)));
  }
  return std::move(lock.value());
}

Result<std::unique_ptr<FileLock>, Error> lock_shortly(FileSystem& files, const std::string& path) {
  constexpr int kTries = 500;
  for (int i = 0;; ++i) {
    auto lock = files.lock(path);
    if (lock.has_value()) return std::move(lock.value());
    if (lock.error().code != EWOULDBLOCK) return to_error(lock.error());
    if (i == kTries) {
      return Error{ErrorKind::kLocked,
                   "another process holds " + printable(path) + "; try again when it has finished"};
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

Result<std::uint64_t, Error> for_each_block(
    File& file, std::uint64_t expected_size,
    const std::function<Result<void, Error>(ByteSpan)>& use) {
  Bytes block(static_cast<std::size_t>(std::clamp<std::uint64_t>(expected_size, 1, kBlock)));
  std::uint64_t size = 0;
  for (;;) {
    const auto got = file.read(block);
    if (!got.has_value()) return to_error(got.error());
    if (got.value() == 0) return size;
    size += got.value();
    SEALANE_TRY(use(ByteSpan(block).first(got.value())));
  }
}

}  // namespace sealane::store
