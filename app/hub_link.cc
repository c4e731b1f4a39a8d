#include "app/hub_link.h"

#include <algorithm>
#include <cerrno>

#include "app/keys.h"
#include "app/paths.h"
#include "app/prompt.h"
#include "app/repository.h"
#include "base/check.h"
#include "crypto/hash.h"
#include "flow/descriptor.h"
#include "node/hub_state.h"

namespace sealane::app {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kSlice{100};  // how late Ctrl-C may be noticed
constexpr std::chrono::seconds kCloseTime{3};

Error usage(std::string message) {
  return {.kind = ErrorKind::kUsage, .message = std::move(message)};
}

}  // namespace

void HubLinkFlags::add_to(std::vector<Option>& options) {
  options.push_back({.names = "--hub",
                     .value_name = "FILE",
                     .help = "The file that 'sealane hub enrol' made for this client",
                     .variable = &hub,
                     .environment = "SEALANE_HUB",
                     .completes = Completes::kFile});
  options.push_back({.names = "--trust-hub",
                     .value_name = "HOW",
                     .help = "A hub whose key is not pinned: strict refuses it, accept-new takes "
                             "and pins it, ask asks",
                     .variable = &trust_hub,
                     .choices = {"strict", "accept-new", "ask"}});
  options.push_back({.names = "--trust",
                     .value_name = "FILE",
                     .help = "Pinned identities of other clients; $SEALANE_HOME/trusted_keys when "
                             "missing",
                     .variable = &trust,
                     .environment = "SEALANE_TRUST",
                     .completes = Completes::kFile});
  options.push_back({.names = "--identity",
                     .value_name = "FILE",
                     .help = "This client's identity; $SEALANE_HOME/identity when missing",
                     .variable = &identity,
                     .completes = Completes::kFile});
  options.push_back({.names = "--passphrase-file",
                     .value_name = "FILE",
                     .help = "Open an encrypted identity with the first line of this file",
                     .variable = &passphrase_file,
                     .completes = Completes::kFile});
  options.push_back({.names = "--legacy-hub",
                     .help = "The hub is the Python one: no upgrade, no sender, no receipts",
                     .variable = &legacy});
}

Result<std::unique_ptr<HubLink>, Error> HubLink::open(Context& context, const HubLinkFlags& flags) {
  std::unique_ptr<HubLink> link(new HubLink(context));
  const std::string path = flags.hub.empty() ? home_path("hub") : flags.hub;
  SEALANE_TRY(const SecretBytes content, identity::read_private_file(context.files, path));
  auto profile = node::parse_profile(content.expose());
  if (!profile.has_value()) {
    return usage(printable(path) + " is no hub file: " + profile.error() +
                 "; make one with 'sealane hub enrol' on the hub");
  }
  link->profile_ = std::move(profile).value();

  SEALANE_TRY(const auto trust, load_trust(context, flags.trust, {}, {}));
  for (const identity::TrustedKey& key : trust.keys()) {
    if (!trust.may_sign(key.key, "sealane-hub@v1", context.clock.wall_now())) continue;
    link->pinned_.emplace(node::client_id_of(key.key), std::pair(key.names.front(), key.key));
  }
  const std::string own_path = flags.identity.empty() ? home_path("identity") : flags.identity;
  const auto there = context.files.status(own_path);
  if (there.has_value()) {
    SEALANE_TRY(auto own, load_signing_key(context, own_path, flags.passphrase_file));
    link->own_ = std::make_shared<const identity::SigningKey>(std::move(own));
  } else if (!flags.identity.empty() || there.error().code != ENOENT) {
    return to_error(there.error());
  }
  link->sealed_ = std::make_unique<node::SealedPeers>(
      link->own_,
      [self = link.get()](const hub::ClientId& id) -> std::optional<crypto::Ed25519Public> {
        // Who has no identity of its own, or another address than it, cannot seal.
        if (!self->own_ || node::client_id_of(self->own_->public_key()) != self->profile_.id) {
          return std::nullopt;
        }
        const auto found = self->pinned_.find(id);
        return found == self->pinned_.end() ? std::nullopt : std::optional(found->second.second);
      },
      context.clock, context.random);

  node::HubClientOptions options;
  options.hub = link->profile_.hub;
  options.connection.id = link->profile_.id;
  options.connection.key = link->profile_.key;
  options.connection.hub_kind = flags.legacy ? hub::HubKind::kLegacy : hub::HubKind::kSealane;
  options.connection.pin = link->profile_.fingerprint;
  const std::string pin_path = home_path("hub_pins");
  if (!options.connection.pin) {
    SEALANE_TRY(const auto pins, node::HubPins::load(context.files, pin_path));
    options.connection.pin = pins.find(options.hub);
  }
  options.connection.trust = flags.trust_hub == "ask"          ? hub::HubTrust::kAsk
                             : flags.trust_hub == "accept-new" ? hub::HubTrust::kAcceptNew
                                                               : hub::HubTrust::kStrict;
  options.new_key = [&context, pin_path, address = options.hub,
                     ask = flags.trust_hub == "ask"](const crypto::Sha256Digest& digest) {
    const std::string text = node::fingerprint_text(digest);
    if (ask && !confirm("The hub at " + printable(address.text) + " has the key " + text +
                        ". Trust it? (yes/no) ")) {
      return false;
    }
    const auto save = [&]() -> Result<void, Error> {
      SEALANE_TRY(make_home_directory(context));
      SEALANE_TRY(auto pins, node::HubPins::load(context.files, pin_path));
      return pins.add(context.files, context.random, address, digest);
    };
    const auto saved = save();
    if (!saved.has_value()) {
      context.console.error(saved.error());
      return false;
    }
    context.console.note("pinned the hub at " + printable(address.text) + ": " + text);
    return true;
  };
  const auto wrong = hub::problem_with(options.connection);
  if (wrong) return usage("this hub file cannot be used: " + *wrong);
  link->client_ = node::HubClient::start(context.clock, context.random, std::move(options));
  return link;
}

HubLink::~HubLink() = default;

std::string HubLink::own_fingerprint() const {
  return own_ ? identity::fingerprint(own_->public_key()) : std::string();
}

std::string HubLink::state_path(const std::string& kind) const {
  const auto hub = crypto::sha256(as_bytes(profile_.hub.text));
  return home_path(kind + '-' + hub::to_file_name(profile_.id) + '-' +
                   to_hex(ByteSpan(hub).first(4)));
}

Result<hub::ClientId, Error> HubLink::resolve(const std::string& name) const {
  if (const auto id = hub::parse_client_id(name)) return *id;
  for (const auto& [id, pin] : pinned_) {
    if (pin.first == name) return id;
  }
  return usage("nobody named " + printable(name) +
               " is pinned: add the identity to the trust file, or name the client's id");
}

std::string HubLink::name_of(const hub::ClientId& id) const {
  const auto found = pinned_.find(id);
  if (found != pinned_.end()) return found->second.first;
  return id == profile_.id ? profile_.name : hub::to_text(id);
}

void HubLink::take(node::HubClientEvent event, SteadyTime now) {
  if (auto* message = std::get_if<node::HubMessage>(&event)) {
    hub::Incoming& incoming = message->message;
    if (incoming.id) unanswered_.emplace_back(*incoming.id, false);
    if (incoming.sender && node::SealedPeers::is_sealed(incoming.data)) {
      sealed_->receive(*incoming.sender, incoming.data, now);
      if (incoming.id) received(*incoming.id);
      if (unanswered_.size() >= kMaxUnanswered) {
        events_.emplace_back(
            node::HubOffline{.why = {ErrorKind::kFailed,
                                     "messages in the clear wait for this client, in front of the "
                                     "others; take them with 'sealane listen' first"},
                             .final = true});
      }
      return;
    }
    events_.emplace_back(HubArrival{.from = incoming.sender.value_or(hub::ClientId{}),
                                    .name = incoming.sender ? name_of(*incoming.sender) : "unknown",
                                    .sealed = false,
                                    .data = std::move(incoming.data),
                                    .id = incoming.id,
                                    .accepted_at = incoming.accepted_at,
                                    .part = incoming.part});
  } else if (auto* states = std::get_if<node::HubStates>(&event)) {
    for (const hub::ClientState& state : states->states) {
      events_.emplace_back(HubPresence{state.client, name_of(state.client), state.online});
    }
  } else if (const auto* online = std::get_if<node::HubOnline>(&event)) {
    upgraded_ = !online->features.empty();
    max_plain_ = online->max_data;
    events_.emplace_back(*online);
  } else if (auto* offline = std::get_if<node::HubOffline>(&event)) {
    events_.emplace_back(std::move(*offline));
  } else if (const auto* sent = std::get_if<node::HubSent>(&event)) {
    events_.emplace_back(*sent);
  } else if (const auto* refused = std::get_if<node::HubRefused>(&event)) {
    events_.emplace_back(*refused);
  } else if (const auto* status = std::get_if<node::HubStatus>(&event)) {
    events_.emplace_back(*status);
  }
}

void HubLink::received(hub::DeliveryId id) {
  const auto at = std::ranges::find(unanswered_, id, &std::pair<hub::DeliveryId, bool>::first);
  if (at != unanswered_.end()) at->second = true;
  std::optional<hub::DeliveryId> last;
  for (; !unanswered_.empty() && unanswered_.front().second; unanswered_.pop_front()) {
    last = unanswered_.front().first;
  }
  if (last) client_->received(*last);
}

void HubLink::pump(SteadyTime now) {
  if (const auto due = sealed_->deadline(); due && *due <= now) sealed_->on_deadline(now);
  std::size_t under_way = client_->waiting();
  if (under_way < kFewUnderWay) sealed_->flush();
  if (under_way >= kMostUnderWay) draining_ = true;  // messages in the clear count, too
  if (under_way <= kMostUnderWay / 2) draining_ = false;
  while (!draining_) {
    auto output = sealed_->next_output();
    if (!output) break;
    SEALANE_CHECK(client_->send(output->first, std::move(output->second)));  // so few always fit
    draining_ = ++under_way >= kMostUnderWay;
  }
  while (auto event = sealed_->next_event()) {
    if (auto* message = std::get_if<node::SealedPeers::Message>(&*event)) {
      events_.emplace_back(HubArrival{.from = message->from,
                                      .name = name_of(message->from),
                                      .sealed = true,
                                      .data = std::move(message->data),
                                      .id = {},
                                      .accepted_at = {},
                                      .part = {}});
    } else if (auto* ended = std::get_if<node::SealedPeers::Ended>(&*event)) {
      events_.emplace_back(HubSealedEnd{ended->peer, std::move(ended->why)});
    }
  }
}

std::optional<HubLinkEvent> HubLink::next(SteadyTime deadline) {
  for (;;) {
    if (!events_.empty()) {
      HubLinkEvent event = std::move(events_.front());
      events_.pop_front();
      return event;
    }
    const SteadyTime now = context_.clock.steady_now();
    pump(now);
    if (!events_.empty()) continue;
    if (now >= deadline || context_.cancel.cancelled()) return std::nullopt;
    SteadyTime until = std::min(deadline, now + kSlice);
    if (const auto due = sealed_->deadline()) until = std::min(until, *due);
    if (auto event = client_->next(until)) take(std::move(*event), context_.clock.steady_now());
  }
}

Result<void, Error> HubLink::wait_online(std::chrono::nanoseconds patience) {
  const SteadyTime deadline = context_.clock.steady_now() + patience;
  std::optional<Error> last;
  for (;;) {
    const auto event = next(deadline);
    if (context_.cancel.cancelled()) return flow::interrupted();
    if (!event) {
      if (last) return *last;
      return Error{ErrorKind::kFailed,
                   "the hub at " + printable(profile_.hub.text) + " did not answer in time"};
    }
    if (std::holds_alternative<node::HubOnline>(*event)) return success();
    if (const auto* offline = std::get_if<node::HubOffline>(&*event)) {
      last = offline->why;
      if (offline->final) return offline->why;
    }
  }
}

void HubLink::watch(const std::vector<hub::ClientId>& clients) {
  client_->ask({.action = clients.empty() ? hub::PresenceAction::kSubscribeAll
                                          : hub::PresenceAction::kSubscribe,
                .ids = clients});
}

std::optional<node::HubTicket> HubLink::send_plain(const hub::ClientId& to, Bytes data) {
  return client_->send(to, std::move(data));
}

bool HubLink::send_sealed(const hub::ClientId& to, ByteSpan data) {
  const SteadyTime now = context_.clock.steady_now();
  const bool taken = sealed_->send(to, data, now);
  pump(now);
  return taken;
}

void HubLink::close() {
  const SteadyTime deadline = context_.clock.steady_now() + kCloseTime;
  if (upgraded_) {
    sealed_->close_all(context_.clock.steady_now());
    for (;;) {
      pump(context_.clock.steady_now());
      events_.clear();
      if (sealed_->idle() || context_.clock.steady_now() >= deadline) break;
      if (auto event = client_->next(context_.clock.steady_now() + milliseconds(20))) {
        take(std::move(*event), context_.clock.steady_now());
      }
    }
  }
  client_->stop();
}

}  // namespace sealane::app
