#include "app/pipe_peer.h"

#include <algorithm>
#include <cerrno>

#include "app/keys.h"
#include "app/paths.h"
#include "base/limits.h"

namespace sealane::app {
namespace {

// Of a key that the trust file limits to some purposes.
constexpr std::string_view kLaneNamespace = "sealane-lane@v1";
constexpr std::size_t kPinsInSentence = 3;

Error usage(std::string message) {
  return {.kind = ErrorKind::kUsage, .message = std::move(message)};
}

bool exists(Context& context, const std::string& path) {
  const auto status = context.files.status(path);
  return status.has_value() || status.error().code != ENOENT;
}

std::string trust_path(const PeerFlags& flags) {
  return flags.trust.empty() ? home_path("trusted_keys") : flags.trust;
}

Result<identity::SigningKey, Error> load_identity(Context& context, const PeerFlags& flags) {
  const std::string path = flags.identity_path();
  if (!exists(context, path)) {
    auto key = identity::SigningKey::generate(context.random, host_name());
    const auto written = write_identity(context, path, key, nullptr);
    if (written.has_value()) {
      context.console.note("made a new identity: " + printable(path) + ", " +
                           identity::fingerprint(key.public_key()) + "; give " +
                           printable(path + ".pub") + " to the other side");
      return key;
    }
    // Somebody else may have been quicker.
    if (!exists(context, path)) return written.error();
  }
  SEALANE_TRY(const auto text, identity::read_private_file(context.files, path));
  if (text.expose_text().find("BEGIN ED25519 PRIVATE KEY") != std::string_view::npos) {
    auto key = identity::parse_pem_private_key(text.expose_text());
    if (key.has_value()) return std::move(key).value();
    return usage(printable(path) + ": " + std::string(identity::describe(key.error())));
  }
  return load_signing_key(context, path, flags.passphrase_file);
}

}  // namespace

std::string PeerFlags::identity_path() const {
  return identity.empty() ? home_path("identity") : identity;
}

Result<PipePeers, Error> PipePeers::load(Context& context, const PeerFlags& flags) {
  PipePeers peers;
  peers.flags_ = flags;
  if (!flags.save_as.empty() && !flags.accept_new) {
    return usage("--save-as keeps the key that --accept-new takes; give both");
  }
  if (!flags.psk_file.empty()) {
    SEALANE_TRY(auto psk, identity::read_secret_file(
                              context.files, flags.psk_file,
                              {.what = "pre-shared key", .max_size = limits::kKeyFileSize}));
    if (psk.empty()) return usage(printable(flags.psk_file) + " is empty: that is no secret");
    peers.psk_ = std::make_shared<const SecretBytes>(std::move(psk));
  }
  SEALANE_TRY(auto own, load_identity(context, flags));
  peers.own_ = std::make_shared<const identity::SigningKey>(std::move(own));
  SEALANE_TRY(peers.load_pins(context));
  if (peers.pins_.empty() && !flags.accept_new) {
    return usage(
        "no key of the other side is known: pin it with --pin KEY (its .pub file), add "
        "it to " +
        printable(trust_path(flags)) + ", or take the first that comes with --accept-new");
  }
  return peers;
}

Result<void, Error> PipePeers::load_pins(Context& context) {
  SEALANE_TRY(const auto store, load_trust(context, flags_.trust, {}, home_path("identity")));
  const WallTime now = context.clock.wall_now();
  for (const std::string& pin : flags_.pins) {
    if (!pin.starts_with("SHA256:")) {
      SEALANE_TRY(const auto key, load_peer_key(context, pin));
      const identity::TrustedKey* known = store.find(key);
      pins_.push_back({key, known == nullptr ? std::string() : known->names.front()});
      continue;
    }
    const auto found = std::ranges::find_if(
        store.keys(), [&](const auto& one) { return identity::fingerprint(one.key) == pin; });
    if (found == store.keys().end()) {
      return usage("no key in " + printable(trust_path(flags_)) + " has the fingerprint " +
                   printable(pin) + "; pin it by its .pub file");
    }
    pins_.push_back({found->key, found->names.front()});
  }
  if (!flags_.pins.empty()) return success();
  for (const identity::TrustedKey& one : store.keys()) {
    if (one.key == own_->public_key()) continue;
    if (!store.may_sign(one.key, kLaneNamespace, now)) continue;
    pins_.push_back({one.key, one.names.front()});
  }
  return success();
}

net::LaneOptions PipePeers::lane_options(bool lossy) const {
  net::LaneOptions options;
  options.identity = own_;
  options.psk = psk_;
  // A line that fitted when the pipe began still goes when the path has become smaller.
  options.fragment = lossy;
  if (flags_.peer == "any") {
    options.peer_code = net::PeerCode::kAny;
  } else {
    options.peer_code = flags_.peer == "legacy" ? net::PeerCode::kLegacy : net::PeerCode::kSealane;
  }
  if (lossy && pins_.size() == 1 && !flags_.accept_new) {
    options.peer = pins_.front().key;
  } else {
    // Compared by check(), which can then say who it was.
    options.trust_on_first_use = true;
  }
  return options;
}

std::string PipePeers::name_of(const crypto::Ed25519Public& key) const {
  const auto found = std::ranges::find(pins_, key, &Pin::key);
  return found == pins_.end() ? std::string() : found->name;
}

std::string PipePeers::pinned_text() const {
  std::string text;
  for (std::size_t i = 0; i < pins_.size() && i < kPinsInSentence; ++i) {
    text += (i == 0 ? "" : ", ") + identity::fingerprint(pins_[i].key);
  }
  if (pins_.size() > kPinsInSentence) {
    text += " and " + std::to_string(pins_.size() - kPinsInSentence) + " more";
  }
  return text;
}

Result<void, Error> PipePeers::check(Context& context, const net::Lane& lane) const {
  const auto key = lane.peer_identity();
  if (!key) return Error{ErrorKind::kFailed, "the peer named no identity"};
  if (std::ranges::find(pins_, *key, &Pin::key) != pins_.end()) return success();
  const std::string mark = identity::fingerprint(*key);
  if (!flags_.accept_new) {
    return Error{ErrorKind::kPinMismatch, "the other side is " + mark + ", but pinned is " +
                                              pinned_text() +
                                              "; if it has a new key, ask its owner and pin that"};
  }
  context.console.warn("accepted an unknown key on first use: " + mark +
                       "; compare it with 'sealane id' on the other side");
  if (flags_.save_as.empty()) return success();
  return save(context, *key);
}

Result<void, Error> PipePeers::save(Context& context, const crypto::Ed25519Public& key) const {
  const std::string path = trust_path(flags_);
  const identity::TrustedKey entry{.names = {flags_.save_as},
                                   .key = key,
                                   .rights = {},
                                   .namespaces = {},
                                   .valid_after = {},
                                   .valid_before = {},
                                   .comment = {}};
  if (const auto problem = identity::TrustStore::problem_with(entry)) {
    return usage("the key cannot be saved as " + printable(flags_.save_as) + ": " + *problem);
  }
  identity::TrustStore line;
  line.add(entry);
  std::string text;
  if (exists(context, path)) {
    const auto content = read_file(context.files, path, limits::kRecipientFileSize);
    if (!content.has_value()) return to_error(content.error());
    text = to_text(content.value());
    if (!text.empty() && !text.ends_with('\n')) text += '\n';
  }
  text += line.format();
  const auto written = replace_file(context.files, context.random, path, as_bytes(text), 0600);
  if (!written.has_value()) return to_error(written.error());
  context.console.note("saved as " + printable(flags_.save_as) + " in " + printable(path));
  return success();
}

}  // namespace sealane::app
