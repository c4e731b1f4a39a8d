#include "hub/client_connection.h"

#include <utility>

#include "base/byte_reader.h"
#include "base/check.h"
#include "hub/challenge.h"
#include "hub/connection_parts.h"

namespace sealane::hub {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr seconds kDefaultInterval{30};  // of a hub that announces none
constexpr seconds kMinInterval{1};       // whatever it announces
constexpr seconds kDuplicateTime{1};     // from CONFIG to FIN of a hub that knows the id already
constexpr seconds kOfflineTime{5};       // from C2C to the STOP that means "recipient offline"
constexpr std::string_view kHandlerStopping = "handler stopping";  // a Python hub's every STOP
constexpr std::string_view kOurContexts = "sealane-";              // what our signatures begin with

enum class State : std::uint8_t {
  kChallenge = 1,  // waits for it
  kTrust,          // waits for trust_hub()
  kSigning,
  kConfig,      // the response is out; waits for CONFIG
  kConfigOpen,  // what came instead or as such is being opened
  kAnswering,   // signs its answer
  kReady,       // the answer is out; waits for the first sealed frame
  kOpen,
  kClosing,   // STOP is out; waits for the hub's
  kStopping,  // waits for the jobs of its last output
  kStopped,
};

using Parts = ConnectionParts<State, ClientEvent, ClientStopped>;

}  // namespace

std::string_view describe(ClientStop reason) {
  switch (reason) {
    case ClientStop::kByHub:
      return "the hub stopped";
    case ClientStop::kRequested:
      return "stopped here";
    case ClientStop::kEnd:
      return "the connection ended without a word";
    case ClientStop::kLoginTimeout:
      return "the hub did not log us in in time";
    case ClientStop::kLoginRefused:
      return "the hub refused the login: the id is unknown, or its key is another";
    case ClientStop::kAlreadyConnected:
      return "the hub has a connection of this id already";
    case ClientStop::kRecipientOffline:
      return "the hub stopped after a message: its recipient is offline";
    case ClientStop::kPinMismatch:
      return "the hub shows another key than the pinned one";
    case ClientStop::kHubNotTrusted:
      return "the hub's key is not pinned";
    case ClientStop::kInterception:
      return "somebody is between us and the hub: its challenge names another key";
    case ClientStop::kBadChallenge:
      return "what the hub asks to sign is no challenge";
    case ClientStop::kNotSealane:
      return "the hub is pinned as Sealane, and is not";
    case ClientStop::kUpgradeFailed:
      return "the upgrade of the connection failed";
    case ClientStop::kBadFrame:
      return "a frame did not open";
    case ClientStop::kSilent:
      return "the hub is silent";
  }
  return "unknown";
}

std::string_view describe(SendError error) {
  switch (error) {
    case SendError::kNotOpen:
      return "the connection is not open";
    case SendError::kBusy:
      return "the hub does not read fast enough";
    case SendError::kTooLarge:
      return "the message is too large for this connection";
    case SendError::kEmpty:
      return "a message without data would disconnect its recipient at this hub";
    case SendError::kNoFeature:
      return "the hub does not know receipts or parts";
  }
  return "unknown";
}

std::optional<std::string> problem_with(const ClientOptions& options) {
  if (!options.key) return "it has no key";
  auto limits =
      problem_with_limits({options.login_timeout, options.stop_timeout, options.silence_limit,
                           options.heartbeat_cap.value_or(seconds(1))},
                          options.send_queue_limit, options.legacy_data_limit);
  if (limits) return limits;
  if (!options.features.has(Feature::kAead) && options.hub_kind == HubKind::kSealane) {
    return "a Sealane hub needs the upgrade";
  }
  return std::nullopt;
}

struct ClientConnection::Impl : Parts {
  Impl(ClientOptions how, RandomSource& randomness, SteadyTime at, WallTime wall_at)
      : Parts(State::kChallenge, at, wall_at, how.pace_legacy),
        options(std::move(how)),
        random(randomness) {}

  Impl& at(SteadyTime time) {
    now = time;
    return *this;
  }
  bool upgraded() const { return opener.has_value() && state != State::kReady; }
  bool open() const { return state == State::kOpen; }

  // ---- input ----
  std::size_t receive(ByteSpan bytes) {
    std::size_t taken = 0;
    while (taken < bytes.size() && wants_input()) {
      if (stopped()) return bytes.size();
      taken += splitter.feed(bytes.subspan(taken));
      if (auto payload = splitter.next()) on_frame(std::move(*payload));
    }
    return taken;
  }
  bool wants_input() const {
    if (ended || events.size() >= kMaxEvents) return false;
    switch (state) {
      case State::kChallenge:
      case State::kConfig:
      case State::kStopping:
      case State::kStopped:
        return true;
      case State::kReady:
        return link.opening() == 0;
      case State::kOpen:
      case State::kClosing:
        return link.opening() < kMaxJobs && link.output_size() < 2 * options.send_queue_limit;
      default:
        return false;
    }
  }

  void on_frame(Bytes payload) {
    ++counters.frames_in;
    if (payload.empty()) {
      ++counters.zero_frames;
      return;
    }
    switch (state) {
      case State::kChallenge:
        on_challenge(std::move(payload));
        return;
      case State::kConfig:
        state = State::kConfigOpen;
        link.open(options.key, std::move(payload));
        return;
      case State::kReady:
        on_first_sealed(std::move(payload));
        return;
      case State::kOpen:
      case State::kClosing:
        if (!opener) {
          last_input = now;
          link.open(options.key, std::move(payload));
        } else if (const auto plain = opener->open(std::move(payload))) {
          last_input = now;
          asked = false;
          on_plain(*plain, true);
        } else {
          say_stop(ClientStop::kBadFrame);
        }
        return;
      default:
        SEALANE_CHECK(false);  // no input is taken in the other states
    }
  }

  void on_end() {
    if (ended) return;
    ended = true;
    if (stopped()) return;
    if (link.opening() > 0) return;  // what came before the end counts
    finish_end();
  }
  void finish_end() {
    switch (state) {
      case State::kClosing:
        return finish(ClientStop::kRequested);
      case State::kOpen:
        if (!upgraded() && now - config_at < kDuplicateTime && counters.messages_in == 0) {
          return finish(ClientStop::kAlreadyConnected);
        }
        return finish(ClientStop::kEnd);
      case State::kChallenge:
      case State::kAnswering:
      case State::kReady:
        return finish(ClientStop::kEnd);
      default:
        return finish(ClientStop::kLoginRefused);
    }
  }

  // ---- login ----
  void on_challenge(Bytes payload) {
    challenge_payload = std::move(payload);
    auto challenge = decode_challenge(challenge_payload);
    if (!challenge) return finish(ClientStop::kBadChallenge);
    const auto key = crypto::RsaPublicKey::from_pem(challenge->key);
    if (!key.has_value()) return finish(ClientStop::kBadChallenge);
    challenge_data = std::move(challenge->data);
    const auto bound = decode_bound_challenge(challenge_data);
    if (bound && bound->key_hash != crypto::sha256(challenge->key)) {
      return finish(ClientStop::kInterception);
    }
    const crypto::Sha256Digest fingerprint = key.value().fingerprint();
    if (options.pin && *options.pin != fingerprint) return finish(ClientStop::kPinMismatch);
    if (!bound && options.hub_kind == HubKind::kSealane) return finish(ClientStop::kNotSealane);
    if (!may_sign(challenge_data, bound.has_value())) return finish(ClientStop::kBadChallenge);
    hub_is_bound = bound.has_value();
    hub_offers = bound && (bound->flags & BoundChallenge::kOffers) != 0;
    link.set_peer_key(std::make_shared<crypto::RsaPublicKey>(key.value()));
    const bool pinned = options.pin.has_value();
    const bool asks = !pinned && options.trust == HubTrust::kAsk;
    events.push_back(HubOffered{
        .fingerprint = fingerprint, .pinned = pinned, .asks = asks, .bound = hub_is_bound});
    if (asks) {
      state = State::kTrust;
    } else if (pinned || options.trust == HubTrust::kAcceptNew) {
      sign_challenge();
    } else {
      finish(ClientStop::kHubNotTrusted);
    }
  }

  // A hub could have us sign what it likes, and use it elsewhere: so only what is a challenge.
  bool may_sign(ByteSpan data, bool bound) const {
    if (bound) return true;
    return !has_bound_magic(data) && data.size() >= options.min_challenge &&
           !as_text(data).starts_with(kOurContexts);
  }

  void sign_challenge() {
    state = State::kSigning;
    link.sign(options.key, std::exchange(challenge_data, {}));
  }

  void on_signed(const JobOutcome& outcome) {
    SEALANE_CHECK(outcome.has_value());  // signing cannot fail
    if (state == State::kAnswering) return send_answer(outcome.value());
    response_plain = encode(Response{.id = options.id, .signature = outcome.value()});
    put(response_plain);
    state = State::kConfig;
  }

  // The hub's first word after the response.
  void on_config(const JobOutcome& outcome) {
    if (!outcome.has_value()) return finish(ClientStop::kBadFrame);
    const auto message = decode_message(outcome.value(), options.short_time);
    const auto* c2s = message.has_value() ? std::get_if<C2sMessage>(&message.value()) : nullptr;
    if (c2s == nullptr || c2s->type != C2sType::kConfig) {
      if (c2s != nullptr && c2s->type == C2sType::kStop) stop_text = sealane::to_text(c2s->data);
      return finish(ClientStop::kLoginRefused);
    }
    config_at = last_input = last_sent = now;
    const auto config = decode_config(as_text(c2s->data));
    const bool offers = config.has_value() && take_config(config.value());
    if (offers && options.hub_kind != HubKind::kLegacy && options.features.has(Feature::kAead)) {
      return begin_upgrade(config.value(), outcome.value());
    }
    // Its challenge, which nobody can alter, said that it offers: somebody took it away.
    if (hub_offers && options.hub_kind != HubKind::kLegacy &&
        options.features.has(Feature::kAead)) {
      return finish(ClientStop::kUpgradeFailed);
    }
    if (options.hub_kind == HubKind::kSealane) return finish(ClientStop::kNotSealane);
    state = State::kOpen;
    forget_login();
    events.push_back(
        ClientReady{.features = {}, .highest_ref = 0, .max_data = max_legacy_data(options)});
  }

  // True: it offers the upgrade.
  bool take_config(const Config& config) {
    if (config.heartbeat_interval) {
      interval = std::max<ClientOptions::Duration>(*config.heartbeat_interval, kMinInterval);
    }
    return config.extension_version >= kExtensionVersion && config.share &&
           config.features.has(Feature::kAead);
  }

  void begin_upgrade(const Config& config, ByteSpan config_plain) {
    const crypto::X25519Private own = crypto::x25519_generate(random);
    const auto secret = crypto::x25519(own, *config.share);
    if (!secret.has_value()) return finish(ClientStop::kUpgradeFailed);
    own_share = crypto::x25519_public(own);
    features = config.features & options.features;
    const crypto::Sha256Digest transcript = hash(UpgradeTranscript{.challenge = challenge_payload,
                                                                   .response = response_plain,
                                                                   .config = config_plain,
                                                                   .client_share = own_share,
                                                                   .accepted = features});
    keys.emplace(derive_keys(secret.value(), transcript));
    state = State::kAnswering;
    link.sign(options.key, proof_message(transcript));
  }

  void send_answer(const Bytes& proof) {
    Config answer;
    answer.extension_version = kExtensionVersion;
    answer.features = features;
    answer.share = own_share;
    answer.proof = proof;
    put_c2s(C2sType::kConfig, encode(answer));
    // Everything after it is sealed; and nothing is sent before the hub has shown its keys.
    opener.emplace(std::move(keys->hub));
    link.seal(std::move(keys->client));
    link.stop_pacing();
    forget_login();
    state = State::kReady;
  }

  void on_first_sealed(Bytes payload) {
    if (const auto plain = opener->open(payload)) {
      last_input = now;
      const auto message =
          is_extension(*plain)
              ? decode_extension(*plain)
              : Result<ExtensionMessage, ExtensionError>(ExtensionError::kUnknownType);
      const auto* ready =
          message.has_value() ? std::get_if<ReadyMessage>(&message.value()) : nullptr;
      if (ready == nullptr) return finish(ClientStop::kUpgradeFailed);
      state = State::kOpen;
      max_content =
          std::min<std::size_t>(ready->limit, kMaxSealedPlainSize - SendMessage::kHeaderSize);
      events.push_back(ClientReady{.features = features,
                                   .highest_ref = ready->highest_ref,
                                   .max_data = max_content > 0 ? max_content - 1 : 0});
      return;
    }
    // A hub that lists us as legacy may have sent something before it saw our answer; so may
    // anybody. Taken as what it is, where the hub is not pinned as Sealane.
    if (options.hub_kind == HubKind::kSealane) {
      ++counters.clear;
      return;
    }
    link.open(options.key, std::move(payload));
  }

  void forget_login() {
    keys.reset();
    challenge_payload = Bytes();
    response_plain = Bytes();
  }

  // ---- jobs ----
  void job_done(JobResult result) {
    const auto done = link.job_done(std::move(result));
    if (!done) {
      if (state == State::kStopping) finish_when_written();
      return;
    }
    if (stopped()) return;
    switch (state) {
      case State::kSigning:
      case State::kAnswering:
        on_signed(done->outcome);
        break;
      case State::kConfigOpen:
        on_config(done->outcome);
        break;
      case State::kReady:
        // It may be forged: what does not open is nothing.
        if (done->outcome.has_value()) {
          on_plain(done->outcome.value(), false);
        } else {
          ++counters.clear;
        }
        break;
      default:
        if (!done->outcome.has_value()) {
          say_stop(ClientStop::kBadFrame);
        } else {
          on_plain(done->outcome.value(), false);
        }
    }
    if (ended && !stopped() && link.opening() == 0) finish_end();
  }

  // ---- messages ----
  void on_plain(ByteSpan plain, bool sealed) {
    if (plain.empty()) {
      ++counters.zero_frames;
      return;
    }
    if (sealed && is_extension(plain)) return on_extension(plain);
    auto message = decode_message(plain, options.short_time);
    if (!message.has_value()) {
      ++counters.undecodable;
    } else if (auto* c2c = std::get_if<C2cMessage>(&message.value())) {
      if (c2c->to != options.id) {
        ++counters.out_of_scope;
        return;
      }
      Incoming incoming;
      incoming.data = std::move(c2c->data);
      deliver(std::move(incoming));
    } else if (auto* c2s = std::get_if<C2sMessage>(&message.value())) {
      on_c2s(*c2s, sealed);
    } else {
      ++counters.out_of_scope;
    }
  }

  void deliver(Incoming incoming) {
    if (state == State::kClosing) return;  // nobody takes it any more
    ++counters.messages_in;
    events.push_back(std::move(incoming));
  }

  void on_c2s(const C2sMessage& message, bool sealed) {
    if (state == State::kReady) {  // forged ones must neither stop nor set anything
      ++counters.clear;
      return;
    }
    switch (message.type) {
      case C2sType::kHeartbeat:
        return;
      case C2sType::kConfig: {
        auto config = decode_config(as_text(message.data));
        if (!config.has_value()) {
          ++counters.undecodable;
          return;
        }
        take_config(config.value());
        events.push_back(ConfigTold{std::move(config.value())});
        return;
      }
      case C2sType::kStop:
        stop_text = sealane::to_text(message.data);
        if (state == State::kClosing) return finish(ClientStop::kRequested);
        if (!sealed && stop_text == kHandlerStopping && c2c_at && now - *c2c_at < kOfflineTime) {
          return finish(ClientStop::kRecipientOffline);
        }
        return finish(ClientStop::kByHub);
    }
  }

  void on_extension(ByteSpan plain) {
    auto decoded = decode_extension(plain);
    if (!decoded.has_value()) {
      ++counters.undecodable;
      return;
    }
    ExtensionMessage& message = decoded.value();
    if (auto* delivery = std::get_if<DeliveryMessage>(&message);
        delivery != nullptr && features.has(Feature::kFrom)) {
      on_delivery(*delivery);
    } else if (auto* receipt = std::get_if<ReceiptMessage>(&message);
               receipt != nullptr && features.has(Feature::kReceipts)) {
      events.push_back(Receipt{*receipt});
    } else if (auto* refusal = std::get_if<RefusalMessage>(&message);
               refusal != nullptr && features.has(Feature::kErrors)) {
      events.push_back(Refused{*refusal});
    } else if (auto* states = std::get_if<StatesMessage>(&message);
               states != nullptr && features.has(Feature::kPresence)) {
      events.push_back(StatesTold{std::move(states->states)});
    } else if (auto* status = std::get_if<HubStatusMessage>(&message);
               status != nullptr && features.has(Feature::kPing)) {
      events.push_back(HubStatusTold{*status});
    } else if (auto* ping = std::get_if<PingMessage>(&message);
               ping != nullptr && features.has(Feature::kPing)) {
      if (state != State::kClosing) put(encode(ExtensionMessage{PongMessage{ping->token}}));
    } else if (auto* pong = std::get_if<PongMessage>(&message);
               pong != nullptr && ping_token && pong->token == *ping_token) {
      ping_token.reset();
      events.push_back(Ponged{now - ping_at});
    } else {
      ++counters.out_of_scope;
    }
  }

  void on_delivery(DeliveryMessage& delivery) {
    const auto head = decode_content_head(delivery.content);
    if (!head) {
      ++counters.undecodable;
      return;
    }
    Incoming incoming;
    incoming.id = delivery.id;
    incoming.sender = delivery.sender;
    incoming.group = delivery.group;
    incoming.accepted_at = from_ms(delivery.time_ms);
    incoming.sealed = head->sealed;
    incoming.part = head->part;
    incoming.data = to_bytes(ByteSpan(delivery.content).subspan(head->size));
    deliver(std::move(incoming));
  }

  // ---- output ----
  void put(ByteSpan plain) { put(std::initializer_list<ByteSpan>{plain}); }
  void put(std::initializer_list<ByteSpan> pieces) {
    last_sent = now;
    link.put(pieces);
  }
  void put_c2s(C2sType type, std::string_view data) { put(c2s(type, data)); }

  Result<void, SendError> send(const Outgoing& message) {
    if (!open() || ended) return SendError::kNotOpen;
    if (is_busy(options.send_queue_limit)) return SendError::kBusy;
    if ((message.part && !features.has(Feature::kParts)) ||
        (message.ref && !features.has(Feature::kReceipts) && !features.has(Feature::kErrors))) {
      return SendError::kNoFeature;
    }
    if (upgraded()) {
      Bytes head = encode(Content{.part = message.part, .sealed = false, .data = {}});
      if (head.size() + message.data.size() > max_content) return SendError::kTooLarge;
      const Bytes first = encode(ExtensionMessage{
          SendMessage{.to = message.to, .ref = message.ref, .content = std::move(head)}});
      put({first, message.data});
    } else {
      if (message.data.empty() && !options.allow_empty) return SendError::kEmpty;
      if (message.data.size() > max_legacy_data(options)) return SendError::kTooLarge;
      put(encode(Message{C2cMessage{.to = message.to, .data = sealane::to_bytes(message.data)}}));
      c2c_at = now;
    }
    ++counters.messages_out;
    return success();
  }

  bool say(Feature feature, const ExtensionMessage& message) {
    if (!open() || !features.has(feature)) return false;
    put(encode(message));
    return true;
  }
  bool ping() {
    ByteArray<8> token;
    random.fill(token);
    const std::uint64_t value = load<std::uint64_t>(token);
    if (!say(Feature::kPing, PingMessage{value})) return false;
    ping_token = value;
    ping_at = now;
    return true;
  }

  // ---- the end ----
  void finish(ClientStop reason) {
    if (begin_stop(reason)) finish_when_written();
  }
  void say_stop(ClientStop reason) {
    if (stopped()) return;
    put_c2s(C2sType::kStop, {});
    finish(reason);
  }
  void finish_when_written() {
    if (end_stop()) forget_login();
  }
  void stop() {
    if (stopped() || state == State::kClosing) return;
    if (state != State::kOpen) return finish(ClientStop::kRequested);
    put_c2s(C2sType::kStop, {});
    state = State::kClosing;
    closing_until = now + options.stop_timeout;
  }

  // ---- time ----
  ClientOptions::Duration heartbeat_interval() const {
    const auto announced = interval.value_or(kDefaultInterval);
    if (upgraded() || !options.heartbeat_cap) return announced;
    return std::min(announced, *options.heartbeat_cap);
  }
  std::optional<SteadyTime> deadline() const {
    switch (state) {
      case State::kStopped:
      case State::kStopping:
        return drain_deadline();
      case State::kClosing:
        return closing_until;
      case State::kOpen: {
        SteadyTime first = last_sent + heartbeat_interval();
        if (probes()) {
          first = std::min(first, last_input + options.silence_limit / (asked ? 1 : 2));
        }
        return first;
      }
      default:
        return start + options.login_timeout;
    }
  }
  bool probes() const { return features.has(Feature::kPing); }

  void on_deadline() {
    const auto due = deadline();
    if (!due || now < *due) return;
    switch (state) {
      case State::kStopped:
        link.drop_output();
        return;
      case State::kClosing:
        return finish(ClientStop::kRequested);
      case State::kOpen:
        if (probes() && now >= last_input + options.silence_limit) {
          return say_stop(ClientStop::kSilent);
        }
        if (probes() && !asked && now >= last_input + options.silence_limit / 2) {
          asked = true;
          ping();
        }
        if (now >= last_sent + heartbeat_interval()) put_c2s(C2sType::kHeartbeat, {});
        return;
      default:
        return finish(ClientStop::kLoginTimeout);
    }
  }

  void output_sent(std::size_t size) {
    link.output_sent(size);
    if (open() && takes_again(options.send_queue_limit)) events.push_back(ClientWritable{});
  }
  const ClientOptions options;
  RandomSource& random;
  ClientCounters counters;

  // Of the login; empty afterwards.
  Bytes challenge_payload;
  Bytes challenge_data;
  Bytes response_plain;
  crypto::X25519Public own_share{};
  std::optional<UpgradeKeys> keys;
  bool hub_is_bound = false;
  bool hub_offers = false;

  Features features;  // accepted; in force once the hub has shown its keys
  std::size_t max_content = 0;

  std::optional<ClientOptions::Duration> interval;
  SteadyTime config_at;
  SteadyTime last_input;
  SteadyTime last_sent;
  std::optional<SteadyTime> c2c_at;
  std::optional<std::uint64_t> ping_token;
  SteadyTime ping_at;
  bool asked = false;  // whether the silent hub is there
  SteadyTime closing_until;
};

ClientConnection::ClientConnection(ClientOptions options, RandomSource& random, SteadyTime now,
                                   WallTime wall) {
  SEALANE_CHECK(!problem_with(options));
  impl_ = std::make_unique<Impl>(std::move(options), random, now, wall);
}
ClientConnection::~ClientConnection() = default;
ClientConnection::ClientConnection(ClientConnection&&) noexcept = default;

std::size_t ClientConnection::receive(ByteSpan bytes, SteadyTime now) {
  return impl_->at(now).receive(bytes);
}
void ClientConnection::on_end(SteadyTime now) { impl_->at(now).on_end(); }
ByteSpan ClientConnection::next_output() { return impl_->link.next_output(); }
void ClientConnection::output_sent(std::size_t size) { impl_->output_sent(size); }
std::optional<ClientConnection::Event> ClientConnection::next_event() {
  return impl_->next_event();
}
std::optional<SteadyTime> ClientConnection::deadline() const { return impl_->deadline(); }
void ClientConnection::on_deadline(SteadyTime now) { impl_->at(now).on_deadline(); }
bool ClientConnection::wants_input() const { return impl_->wants_input(); }
void ClientConnection::job_done(JobResult result, SteadyTime now) {
  impl_->at(now).job_done(std::move(result));
}
bool ClientConnection::paced() const { return impl_->link.paced(); }

void ClientConnection::trust_hub(bool yes, SteadyTime now) {
  impl_->at(now);
  if (impl_->state != State::kTrust) return;  // it stopped meanwhile
  if (yes) {
    impl_->sign_challenge();
  } else {
    impl_->finish(ClientStop::kHubNotTrusted);
  }
}
Result<void, SendError> ClientConnection::send(const Outgoing& message, SteadyTime now) {
  return impl_->at(now).send(message);
}
bool ClientConnection::received(DeliveryId id, SteadyTime now) {
  return impl_->at(now).say(Feature::kReceipts, ReceivedMessage{id});
}
bool ClientConnection::ask(const PresenceMessage& request, SteadyTime now) {
  return impl_->at(now).say(Feature::kPresence, request);
}
bool ClientConnection::ask_status(SteadyTime now) {
  return impl_->at(now).say(Feature::kPing, QueryMessage{});
}
bool ClientConnection::ping(SteadyTime now) { return impl_->at(now).ping(); }
void ClientConnection::stop(SteadyTime now) { impl_->at(now).stop(); }

const ClientCounters& ClientConnection::counters() const {
  impl_->counters.frames_out = impl_->link.frames_out();
  return impl_->counters;
}
std::size_t ClientConnection::output_size() const { return impl_->link.output_size(); }

}  // namespace sealane::hub
