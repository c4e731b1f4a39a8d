#include "node/hub_profile.h"

#include <cerrno>

#include "base/copy_bytes.h"
#include "crypto/hash.h"
#include "net/resolve.h"
#include "node/hub_state.h"

namespace sealane::node {

SecretBytes format_profile(const HubProfile& profile) {
  std::string head = "hub: " + profile.hub.text + '\n';
  if (profile.fingerprint) head += "fingerprint: " + fingerprint_text(*profile.fingerprint) + '\n';
  head += "id: " + hub::to_text(profile.id) + '\n';
  head += "name: " + profile.name + '\n';
  const SecretBytes key = profile.key->to_pem();
  SecretBytes whole(head.size() + key.size());
  copy_bytes(as_bytes(head), whole.fill().begin());
  copy_bytes(key.expose(), whole.fill().begin() + static_cast<std::ptrdiff_t>(head.size()));
  return whole;
}

bool is_hub_address(const Address& address) {
  return (address.text.starts_with("tcp:") || address.text.starts_with("unix:")) &&
         net::is_address(address);
}

Result<HubProfile, std::string> parse_profile(ByteSpan content) {
  HubProfile profile{.hub = {}, .fingerprint = {}, .id = {}, .name = {}, .key = nullptr};
  bool has_id = false;
  std::string_view text = as_text(content);
  while (!text.empty() && !text.starts_with("-----")) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const std::size_t colon = line.find(": ");
    if (line.empty()) continue;
    if (colon == std::string_view::npos) return std::string("it has a line that is no field");
    const std::string_view name = line.substr(0, colon);
    const std::string_view value = line.substr(colon + 2);
    if (name == "hub") {
      profile.hub.text = value;
      if (!is_hub_address(profile.hub)) {
        return "its hub " + printable(value) + " is no address; " + std::string(kHubAddressForm);
      }
    } else if (name == "fingerprint") {
      profile.fingerprint = parse_fingerprint(value);
      if (!profile.fingerprint) return std::string("its fingerprint is none");
    } else if (name == "id") {
      const auto id = hub::parse_client_id(value);
      if (!id) return std::string("its id is none");
      profile.id = *id;
      has_id = true;
    } else if (name == "name") {
      if (!is_client_name(value)) return std::string("its name is not 1 to 64 plain letters");
      profile.name = value;
    } else {
      return "it has the unknown field " + printable(name);
    }
  }
  if (profile.hub.text.empty() || !has_id) return std::string("it lacks the hub or the id");
  auto key = crypto::RsaPrivateKey::from_pem(content);
  if (!key.has_value()) return std::string(crypto::describe(key.error()));
  profile.key = std::make_shared<const crypto::RsaPrivateKey>(std::move(key).value());
  return profile;
}

hub::ClientId client_id_of(const crypto::Ed25519Public& identity) {
  Bytes input = to_bytes("sealane hub client");
  input.insert(input.end(), identity.bytes.begin(), identity.bytes.end());
  const crypto::Sha256Digest digest = crypto::sha256(input);
  hub::ClientId id;
  std::copy_n(digest.begin(), hub::ClientId::kSize, id.bytes.begin());
  id.bytes[6] = (id.bytes[6] & std::byte{0x0f}) | std::byte{0x80};  // version 8
  id.bytes[8] = (id.bytes[8] & std::byte{0x3f}) | std::byte{0x80};  // variant of RFC 9562
  return id;
}

Result<HubPins, Error> HubPins::load(FileSystem& files, const std::string& path) {
  HubPins pins;
  pins.path_ = path;
  const auto content = read_file(files, path, kMaxFileSize);
  if (!content.has_value()) {
    if (content.error().code == ENOENT) return pins;
    return to_error(content.error());
  }
  std::string_view text = as_text(content.value());
  for (std::size_t number = 1; !text.empty(); ++number) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.empty() || line.starts_with('#')) continue;
    const std::size_t blank = line.find(' ');
    const auto digest =
        blank == std::string_view::npos ? std::nullopt : parse_fingerprint(line.substr(blank + 1));
    if (!digest) {
      return Error{ErrorKind::kUsage, printable(path) + ", line " + std::to_string(number) +
                                          ": it is not a hub's address and fingerprint"};
    }
    pins.pins_.emplace_back(std::string(line.substr(0, blank)), *digest);
  }
  return pins;
}

std::optional<crypto::Sha256Digest> HubPins::find(const Address& hub) const {
  for (const auto& [address, digest] : pins_) {
    if (address == hub.text) return digest;
  }
  return std::nullopt;
}

Result<void, Error> HubPins::add(FileSystem& files, RandomSource& random, const Address& hub,
                                 const crypto::Sha256Digest& fingerprint) {
  pins_.emplace_back(hub.text, fingerprint);
  std::string text;
  for (const auto& [address, digest] : pins_) {
    text += address + ' ' + fingerprint_text(digest) + '\n';
  }
  const auto written = replace_file(files, random, path_, as_bytes(text), 0600);
  if (!written.has_value()) return to_error(written.error());
  return success();
}

}  // namespace sealane::node
