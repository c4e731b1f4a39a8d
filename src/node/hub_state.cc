#include "node/hub_state.h"

#include <algorithm>
#include <cerrno>

#include "base/copy_bytes.h"
#include "sealane/identity/keys.h"

namespace sealane::node {
namespace {

constexpr std::string_view kNameField = "name: ";
constexpr std::string_view kKindField = "kind: ";
constexpr std::string_view kClients = "clients";

}  // namespace

bool is_client_name(std::string_view name) {
  return !name.empty() && name.size() <= kMaxClientName &&
         std::ranges::all_of(name, [](char c) { return c > ' ' && c < 0x7f; });
}

std::string fingerprint_text(const crypto::Sha256Digest& digest) {
  return "SHA256:" + to_base64(digest, Base64Alphabet::kStandard, Base64Padding::kUnpadded);
}

std::optional<crypto::Sha256Digest> parse_fingerprint(std::string_view text) {
  if (!text.starts_with("SHA256:")) return std::nullopt;
  const auto bytes =
      from_base64(text.substr(7), Base64Alphabet::kStandard, Base64Padding::kUnpadded);
  crypto::Sha256Digest digest{};
  if (!bytes || bytes->size() != digest.size()) return std::nullopt;
  copy_bytes(*bytes, digest.begin());
  return digest;
}

std::string format_client_file(const HubClientRecord& record) {
  std::string text(kNameField);
  text += record.name + '\n';
  text += kKindField;
  text += record.kind == hub::ClientKind::kSealane ? "sealane\n" : "legacy\n";
  return text + record.key->to_pem();
}

Result<HubClientRecord, std::string> parse_client_file(const hub::ClientId& id, ByteSpan content) {
  HubClientRecord record{.id = id, .name = hub::to_file_name(id), .key = nullptr};
  std::string_view text = as_text(content);
  while (!text.empty() && !text.starts_with("-----")) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.starts_with(kNameField)) {
      record.name = line.substr(kNameField.size());
      if (!is_client_name(record.name)) return std::string("its name is not 1 to 64 plain letters");
    } else if (line.starts_with(kKindField)) {
      const std::string_view kind = line.substr(kKindField.size());
      if (kind != "sealane" && kind != "legacy") return std::string("its kind is unknown");
      record.kind = kind == "sealane" ? hub::ClientKind::kSealane : hub::ClientKind::kLegacy;
    } else if (!line.empty()) {
      return std::string("it has a line that is no field and no key");
    }
  }
  const auto key = crypto::RsaPublicKey::from_pem(content);
  if (!key.has_value()) return std::string(crypto::describe(key.error()));
  record.key = std::make_shared<const crypto::RsaPublicKey>(key.value());
  return record;
}

Result<HubState, Error> HubState::open(FileSystem& files, RandomSource& random,
                                       const std::string& directory) {
  HubState state(files, random, directory);
  for (const std::string& folder : {directory, state.path(kClients)}) {
    const auto made = files.create_directory(folder, 0700);
    if (!made.has_value() && made.error().code != EEXIST) return to_error(made.error());
  }
  const std::string key_path = state.path("key.pem");
  if (!files.status(key_path).has_value()) {
    const auto key = crypto::RsaPrivateKey::generate();
    SEALANE_TRY(identity::write_private_file(files, key_path, key.to_pem()));
    state.created_ = true;
  }
  SEALANE_TRY(const SecretBytes text, identity::read_private_file(files, key_path));
  auto key = crypto::RsaPrivateKey::from_pem(text.expose());
  if (!key.has_value()) {
    return Error{ErrorKind::kFailed, printable(key_path) + " is not the hub's key: " +
                                         std::string(crypto::describe(key.error()))};
  }
  state.key_ = std::make_shared<const crypto::RsaPrivateKey>(std::move(key).value());
  return state;
}

Result<HubState, Error> HubState::open_existing(FileSystem& files, RandomSource& random,
                                                const std::string& directory) {
  const std::string key_path = join_path(directory, "key.pem");
  const auto there = files.status(key_path);
  if (there.has_value()) return open(files, random, directory);
  if (there.error().code != ENOENT && there.error().code != ENOTDIR) return to_error(there.error());
  return Error{ErrorKind::kUsage, printable(directory) +
                                      " holds no hub; name its directory with --state, or make one "
                                      "with 'sealane hub serve'"};
}

Result<std::unique_ptr<FileLock>, Error> HubState::lock() const {
  auto held = files_->lock(path("queue.lock"));
  if (held.has_value()) return std::move(held).value();
  if (held.error().code == EWOULDBLOCK) {
    return Error{ErrorKind::kLocked,
                 printable(directory_) + " is in use by a hub or another command"};
  }
  return to_error(held.error());
}

Result<std::vector<HubClientRecord>, Error> HubState::clients() const {
  const std::string folder = path(kClients);
  const auto entries = files_->list(folder);
  if (!entries.has_value()) return to_error(entries.error());
  std::vector<HubClientRecord> records;
  for (const DirectoryEntry& entry : entries.value()) {
    const std::string file = join_path(folder, entry.name);
    if (entry.name.starts_with('.')) continue;  // a temporary of a crash
    const auto id = hub::parse_client_id(entry.name);
    if (!id || entry.name != hub::to_file_name(*id)) {
      return Error{ErrorKind::kFailed,
                   printable(file) + " is not named by a client's id; move it away"};
    }
    const auto content = read_file(*files_, file, kMaxClientFile);
    if (!content.has_value()) return to_error(content.error());
    auto record = parse_client_file(*id, content.value());
    if (!record.has_value()) {
      return Error{ErrorKind::kFailed, printable(file) + " is no client: " + record.error()};
    }
    records.push_back(std::move(record).value());
  }
  return records;
}

Result<void, Error> HubState::add(const HubClientRecord& record) const {
  SEALANE_TRY(const auto known, clients());
  for (const HubClientRecord& other : known) {
    if (other.id == record.id) {
      return Error{ErrorKind::kUsage, "a client with the id " + hub::to_text(record.id) +
                                          " is known already; remove it first"};
    }
    if (other.name == record.name) {
      return Error{ErrorKind::kUsage,
                   "a client named " + record.name + " is known already; remove it first"};
    }
  }
  const std::string file = join_path(path(kClients), hub::to_file_name(record.id));
  const std::string text = format_client_file(record);
  const auto written = replace_file(*files_, *random_, file, as_bytes(text), 0600);
  if (!written.has_value()) return to_error(written.error());
  return success();
}

Result<void, Error> HubState::remove(const hub::ClientId& id) const {
  const std::string folder = path(kClients);
  const auto removed = files_->remove(join_path(folder, hub::to_file_name(id)));
  if (!removed.has_value()) {
    if (removed.error().code == ENOENT) {
      return Error{ErrorKind::kUsage, "no client has the id " + hub::to_text(id)};
    }
    return to_error(removed.error());
  }
  const auto synced = files_->sync_directory(folder);
  if (!synced.has_value()) return to_error(synced.error());
  return success();
}

}  // namespace sealane::node
