#include "hub/hub_connection.h"

#include <utility>

#include "base/check.h"
#include "base/token_bucket.h"
#include "hub/challenge.h"
#include "hub/connection_parts.h"

namespace sealane::hub {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr seconds kIdleMargin{5};               // heartbeats come up to a second late, and travel
constexpr seconds kMinLegacyIdleLimit{35};      // the Python client's own interval is 30 to 31 s
constexpr std::size_t kOwnSettingsSize = 1024;  // of the settings that every CONFIG has, at most
constexpr std::string_view kGoodbye = "goodbye";
constexpr std::string_view kBadFrameText = "bad frame";
constexpr std::string_view kIdleText = "nothing came for too long";
constexpr std::string_view kUpgradeText = "this client must upgrade";

enum class State : std::uint8_t {
  kChallenged = 1,  // waits for the response
  kOpening,         // the response is being opened
  kLookUp,          // waits for known() or unknown()
  kVerifying,
  kProven,     // waits for admit() or refuse()
  kFirst,      // CONFIG is out; the next frame is an answer to it, or the client is legacy
  kFirstOpen,  // that frame is being opened
  kFirstVerify,
  kOpen,
  kStopping,  // waits for the jobs of its last output
  kStopped,
};

using Parts = ConnectionParts<State, HubEvent, HubStopped>;

}  // namespace

std::string_view describe(HubStop reason) {
  switch (reason) {
    case HubStop::kByClient:
      return "the client stopped";
    case HubStop::kRequested:
      return "stopped by the hub";
    case HubStop::kRefused:
      return "refused by the hub";
    case HubStop::kEnd:
      return "the connection ended without a word";
    case HubStop::kLoginTimeout:
      return "no login in time";
    case HubStop::kLoginFailed:
      return "the login failed";
    case HubStop::kUpgradeTimeout:
      return "the client did not upgrade in time";
    case HubStop::kUpgradeFailed:
      return "the upgrade failed";
    case HubStop::kIdle:
      return "nothing came within the idle limit";
    case HubStop::kBadFrame:
      return "a frame did not open";
    case HubStop::kStalled:
      return "the client does not read";
  }
  return "unknown";
}

std::optional<std::string> problem_with(const HubOptions& options) {
  using Limits = HubOptions;
  if (!options.key) return "it has no key";
  const auto shown = crypto::RsaPublicKey::from_pem(as_bytes(options.key_pem));
  if (!shown.has_value() || !(shown.value() == options.key->public_key())) {
    return "the key that it shows is not its own";
  }
  if (options.challenge_size < Limits::kMinChallenge ||
      options.challenge_size > Limits::kMaxChallenge ||
      2 + options.key_pem.size() + options.challenge_size > kMaxPayloadSize) {
    return "the challenge size must be 82 to 60000 bytes";
  }
  auto limits = problem_with_limits(
      {options.login_timeout, options.upgrade_timeout, options.heartbeat_interval,
       options.heartbeat_timeout, options.idle_limit.value_or(seconds(1)), options.stall_limit},
      options.send_queue_limit, options.legacy_data_limit);
  if (limits) return limits;
  if (options.frames_burst == 0) return "the burst of frames is zero";
  // What the others are is checked by reading back what clients will read.
  Config config;
  config.others = options.other_settings;
  const std::string text = encode(config);
  const auto read = decode_config(text);
  if (!read.has_value()) return "the other settings are not JSON, or too large";
  if (read.value().others.size() != options.other_settings.size()) {
    return "the other settings hold a name of ours";
  }
  if (text.size() + kOwnSettingsSize > Config::kMaxSize) return "the other settings are too large";
  return std::nullopt;
}

struct HubConnection::Impl : Parts {
  Impl(std::shared_ptr<const HubOptions> how, RandomSource& randomness, SteadyTime at,
       WallTime wall_at)
      : Parts(State::kChallenged, at, wall_at, how->pace_legacy),
        options(std::move(how)),
        random(randomness),
        interval(options->heartbeat_interval) {
    SEALANE_CHECK(!options->key_pem.empty() && options->key);
    if (options->frames_per_second > 0) {
      bucket.emplace(options->frames_per_second, options->frames_burst, now);
    }
    last_input = last_output = now;
    Challenge challenge{.key = to_bytes(options->key_pem), .data = {}};
    if (options->bound_challenge) {
      BoundChallenge bound;
      // It offers, and each client's listing says whether it requires.
      bound.flags = options->offer_upgrade ? BoundChallenge::kOffers : 0;
      bound.key_hash = crypto::sha256(challenge.key);
      bound.time_ms = to_ms(wall());
      random.fill(bound.nonce);
      challenge.data = encode(bound, options->challenge_size, random);
    } else {
      challenge.data.resize(options->challenge_size);
      random.fill(challenge.data);
    }
    challenge_payload = encode(challenge);
    link.put_clear(challenge_payload);
  }

  Impl& at(SteadyTime time) {
    now = time;
    return *this;
  }
  ByteSpan challenge_data() const {
    return ByteSpan(challenge_payload).subspan(2 + options->key_pem.size());
  }
  bool proven() const { return id.has_value(); }
  bool ready() const {
    return (state == State::kFirst || state == State::kFirstOpen || state == State::kFirstVerify ||
            state == State::kOpen) &&
           (kind == ClientKind::kLegacy || link.sealed());
  }

  // ---- input ----
  std::size_t receive(ByteSpan bytes) {
    std::size_t taken = 0;
    while (taken < bytes.size() && wants_input()) {
      if (stopped()) return bytes.size();
      taken += splitter.feed(bytes.subspan(taken));
      if (state == State::kChallenged && splitter.payload_size().value_or(0) > login_limit()) {
        finish(HubStop::kLoginFailed);
        return bytes.size();
      }
      if (auto payload = splitter.next()) on_frame(std::move(*payload));
    }
    return taken;
  }

  std::size_t login_limit() const { return kMaxLoginBlocks * options->key->size(); }

  void on_frame(Bytes payload) {
    ++counters.frames_in;
    if (bucket) {
      const SteadyTime next = bucket->take(1, now);
      if (next > now) paused_until = std::max(paused_until.value_or(next), next);
    }
    if (payload.empty()) {
      ++counters.zero_frames;
      // The Python hub takes it as a sign of life; of a sealed connection it proves nothing.
      if (proven() && !link.sealed()) last_input = now;
      return;
    }
    switch (state) {
      case State::kChallenged:
        state = State::kOpening;
        link.open(options->key, std::move(payload));
        return;
      case State::kFirst:
        state = State::kFirstOpen;
        link.open(options->key, std::move(payload));
        return;
      case State::kOpen:
        if (!opener) {
          last_input = now;
          link.open(options->key, std::move(payload));
          return;
        }
        if (auto plain = opener->open(std::move(payload))) {
          last_input = now;
          on_plain(*plain);
        } else {
          bad_frame();
        }
        return;
      default:
        SEALANE_CHECK(false);  // no input is taken in the other states
    }
  }

  bool wants_input() const {
    if (ended || paused_until || events.size() >= kMaxEvents) return false;
    switch (state) {
      case State::kChallenged:
      case State::kFirst:
      case State::kStopping:
      case State::kStopped:
        return true;
      case State::kOpen:
        return link.opening() < kMaxJobs && link.output_size() < input_stop();
      default:
        return false;
    }
  }
  // Answers to a client that asks and does not read would pile up.
  std::size_t input_stop() const { return 2 * options->send_queue_limit; }

  void on_end() {
    if (ended) return;
    ended = true;
    switch (state) {
      case State::kStopping:
      case State::kStopped:
        return;
      case State::kFirstOpen:
      case State::kFirstVerify:
      case State::kOpen:
        if (link.opening() > 0) return;  // what came before the end counts
        break;
      default:
        break;
    }
    finish(HubStop::kEnd);
  }

  // ---- jobs ----
  void job_done(JobResult result) {
    const auto done = link.job_done(std::move(result));
    if (!done) {
      if (state == State::kStopping) finish_when_written();
      return;
    }
    const JobOutcome& outcome = done->outcome;
    switch (state) {
      case State::kOpening:
        on_response(outcome);
        break;
      case State::kVerifying:
        if (!outcome.has_value() || !peer_known) return finish(HubStop::kLoginFailed);
        state = State::kProven;
        id = claimed;
        last_input = now;
        events.push_back(Login{claimed});
        break;
      case State::kFirstOpen:
        on_first(outcome);
        break;
      case State::kFirstVerify:
        on_proof(outcome);
        break;
      case State::kOpen:
        on_opened(outcome);
        break;
      default:
        return;  // it stopped meanwhile
    }
    if (ended && link.opening() == 0 && state != State::kFirstVerify) finish(HubStop::kEnd);
  }

  void on_response(const JobOutcome& outcome) {
    auto response = outcome.has_value() ? decode_response(outcome.value()) : std::nullopt;
    if (!response) return finish(HubStop::kLoginFailed);
    response_plain = outcome.value();
    signature = std::move(response->signature);
    claimed = response->id;
    state = State::kLookUp;
    events.push_back(LookUp{claimed});
  }

  void on_first(const JobOutcome& outcome) {
    const bool zero = outcome.has_value() && outcome.value().empty();
    std::optional<Config> answer;
    if (outcome.has_value() && options->offer_upgrade) answer = read_answer(outcome.value());
    if (answer && begin_upgrade(*answer)) return;
    if (kind == ClientKind::kSealane) return refuse_clear();
    if (zero) {  // ignored, so that it was not the first one
      ++counters.zero_frames;
      state = State::kFirst;
      return;
    }
    state = State::kOpen;
    forget_login();
    on_opened(outcome);
  }

  // Anybody can make clear frames, so they neither count nor end the connection.
  void refuse_clear() {
    ++counters.clear;
    state = State::kFirst;
    if (counters.clear >= kMaxAnswers) say_stop(kUpgradeText, HubStop::kUpgradeFailed);
  }

  static std::optional<Config> read_answer(ByteSpan plain) {
    const auto message = decode_message(plain);
    const auto* config = message.has_value() ? std::get_if<C2sMessage>(&message.value()) : nullptr;
    if (config == nullptr || config->type != C2sType::kConfig) return std::nullopt;
    auto answer = decode_config(as_text(config->data));
    if (!answer.has_value() || answer.value().extension_version != kExtensionVersion ||
        !answer.value().features.has(Feature::kAead) || !answer.value().share ||
        answer.value().proof.empty()) {
      return std::nullopt;
    }
    return std::move(answer.value());
  }

  bool begin_upgrade(Config& answer) {
    const auto secret = crypto::x25519(*share_private, *answer.share);
    if (!secret.has_value()) return false;
    accepted = answer.features & offered();
    transcript = hash(UpgradeTranscript{.challenge = challenge_payload,
                                        .response = response_plain,
                                        .config = config_plain,
                                        .client_share = *answer.share,
                                        .accepted = answer.features});
    keys.emplace(derive_keys(secret.value(), transcript));
    state = State::kFirstVerify;
    link.verify({.key = link.peer_key(),
                 .message = proof_message(transcript),
                 .signature = std::move(answer.proof),
                 .salt = options->pss_verify});
    return true;
  }

  void on_proof(const JobOutcome& outcome) {
    if (!outcome.has_value()) {
      keys.reset();
      if (kind == ClientKind::kSealane) return refuse_clear();
      // As a CONFIG that means nothing to us: dropped.
      ++counters.out_of_scope;
      state = State::kOpen;
      forget_login();
      return;
    }
    last_input = now;
    state = State::kOpen;
    features = accepted;
    opener.emplace(std::move(keys->client));
    link.seal(std::move(keys->hub));
    link.stop_pacing();
    forget_login();
    put(encode(ExtensionMessage{ReadyMessage{.highest_ref = highest_ref, .limit = kMaxContent}}));
    events.push_back(Ready{.features = features, .max_content = max_content()});
  }

  void forget_login() {
    keys.reset();
    share_private.reset();
    challenge_payload = Bytes();
    response_plain = Bytes();
    config_plain = Bytes();
    signature = Bytes();
  }

  void on_opened(const JobOutcome& outcome) {
    if (!outcome.has_value()) return bad_frame();
    if (outcome.value().empty()) {
      ++counters.zero_frames;
      return;
    }
    on_plain(outcome.value());
  }

  void bad_frame() {
    if (!options->stop_on_bad_frame) return finish(HubStop::kBadFrame);
    say_stop(kBadFrameText, HubStop::kBadFrame);
  }

  // ---- messages ----
  void on_plain(ByteSpan plain) {
    if (is_extension(plain) && opener) return on_extension(plain);
    auto message = decode_message(plain, options->short_time);
    if (!message.has_value()) {
      ++counters.undecodable;
    } else if (auto* c2c = std::get_if<C2cMessage>(&message.value())) {
      submit(c2c->to, std::nullopt,
             encode(Content{.part = {}, .sealed = false, .data = std::move(c2c->data)}));
    } else if (auto* c2s = std::get_if<C2sMessage>(&message.value())) {
      on_c2s(*c2s);
    } else {
      ++counters.out_of_scope;
    }
  }

  void on_c2s(const C2sMessage& message) {
    switch (message.type) {
      case C2sType::kHeartbeat:
        return;
      case C2sType::kConfig:
        ++counters.out_of_scope;
        return;
      case C2sType::kStop:
        stop_text = sealane::to_text(message.data);
        say_stop(kGoodbye, HubStop::kByClient);
        return;
    }
  }

  void submit(const ClientId& to, std::optional<SenderRef> ref, Bytes content) {
    set_sealed(content, link.sealed());
    ++counters.messages_in;
    events.push_back(Submitted{.to = to, .ref = ref, .content = std::move(content)});
  }

  void on_extension(ByteSpan plain) {
    auto decoded = decode_extension(plain);
    if (!decoded.has_value()) {
      ++counters.undecodable;
      return;
    }
    ExtensionMessage& message = decoded.value();
    if (auto* send = std::get_if<SendMessage>(&message)) {
      const auto head = decode_content_head(send->content);
      if (!head || (head->part && !features.has(Feature::kParts))) {
        ++counters.undecodable;
        return;
      }
      const bool receipts = features.has(Feature::kReceipts) || features.has(Feature::kErrors);
      submit(send->to, receipts ? send->ref : std::nullopt, std::move(send->content));
    } else if (const auto* received = std::get_if<ReceivedMessage>(&message);
               received != nullptr && features.has(Feature::kReceipts)) {
      events.push_back(Acknowledged{received->id});
    } else if (auto* presence = std::get_if<PresenceMessage>(&message);
               presence != nullptr && features.has(Feature::kPresence)) {
      events.push_back(PresenceAsked{std::move(*presence)});
    } else if (std::holds_alternative<QueryMessage>(message) && features.has(Feature::kPing)) {
      events.push_back(StatusAsked{});
    } else if (const auto* ping = std::get_if<PingMessage>(&message);
               ping != nullptr && features.has(Feature::kPing)) {
      put(encode(ExtensionMessage{PongMessage{ping->token}}));
    } else {
      ++counters.out_of_scope;
    }
  }

  // ---- output ----
  void put(ByteSpan plain) { put({plain}, std::nullopt); }
  void put(std::initializer_list<ByteSpan> pieces, std::optional<DeliveryId> mark) {
    if (link.output_size() == 0) {  // from now on it must move
      last_output = now;
      output_moved = false;
    }
    link.put(pieces, mark);
  }
  void put_c2s(C2sType type, std::string_view data) { put(c2s(type, data)); }

  Features offered() const { return options->features | Features{Feature::kAead}; }

  void admit(std::uint64_t highest) {
    SEALANE_CHECK(state == State::kProven);
    highest_ref = highest;
    Config config = announced();
    if (options->offer_upgrade) {
      share_private.emplace(crypto::x25519_generate(random));
      config.extension_version = kExtensionVersion;
      config.features = offered();
      config.share = crypto::x25519_public(*share_private);
    }
    config.others = options->other_settings;
    config_plain = c2s(C2sType::kConfig, encode(config));
    put(config_plain);
    admitted_at = last_input = now;
    state = State::kFirst;
    if (kind == ClientKind::kLegacy) {
      events.push_back(Ready{.features = {}, .max_content = max_content()});
    }
  }

  Config announced() const {
    Config config;
    config.heartbeat_interval = std::chrono::duration_cast<milliseconds>(interval);
    config.heartbeat_timeout = std::chrono::duration_cast<milliseconds>(options->heartbeat_timeout);
    return config;
  }

  std::size_t max_content() const {
    if (features.has(Feature::kFrom)) return kMaxContent;
    const std::size_t data =
        link.sealed() ? kMaxSealedPlainSize - C2cMessage::kHeaderSize : max_legacy_data(*options);
    return data + 1;  // with the flags
  }
  static constexpr std::size_t kMaxContent = kMaxSealedPlainSize - DeliveryMessage::kMaxHeaderSize;

  Result<void, DeliverError> deliver(const Delivery& delivery) {
    if (!ready()) return DeliverError::kNotOpen;
    if (is_busy(options->send_queue_limit)) return DeliverError::kBusy;
    if (delivery.content.size() > max_content()) return DeliverError::kTooLarge;
    const std::optional<DeliveryId> mark =
        features.has(Feature::kReceipts) ? std::nullopt : std::optional(delivery.id);
    if (features.has(Feature::kFrom)) {
      const auto head = decode_content_head(delivery.content);
      if (!head || (head->part && !features.has(Feature::kParts))) return DeliverError::kTooLarge;
      // The content, which comes last, goes from the queue into the frame.
      const Bytes first = encode(ExtensionMessage{
          DeliveryMessage{.id = delivery.id,
                          .time_ms = to_ms(delivery.accepted_at),
                          .sender = delivery.sender,
                          .group = features.has(Feature::kGroups) ? delivery.group : std::nullopt,
                          .content = {}}});
      put({first, delivery.content}, mark);
    } else {
      auto content = decode_content(delivery.content);
      // A part means nothing on a wire without them.
      if (!content || content->part || content->data.size() + 1 > max_content()) {
        return DeliverError::kTooLarge;
      }
      put({encode(Message{C2cMessage{.to = *id, .data = std::move(content->data)}})}, mark);
    }
    ++counters.messages_out;
    return success();
  }

  bool tell(Feature feature, const ExtensionMessage& message) {
    if (!ready() || !features.has(feature)) return false;
    put(encode(message));
    return true;
  }

  bool configure(const Config& config) {
    if (!ready()) return false;
    Config told = config;
    if (config.heartbeat_interval) interval = *config.heartbeat_interval;
    if (config.heartbeat_timeout) timeout = *config.heartbeat_timeout;
    put_c2s(C2sType::kConfig, encode(told));
    return true;
  }

  // ---- the end ----
  // Without a word.
  void finish(HubStop reason) {
    if (!begin_stop(reason)) return;
    if (!proven()) link.drop_output();
    finish_when_written();
  }
  // With STOP. Only a proven client has a key that it could be encrypted to.
  void say_stop(std::string_view text, HubStop reason) {
    if (stopped()) return;
    if (proven()) put_c2s(C2sType::kStop, text);
    finish(reason);
  }
  void finish_when_written() {
    if (end_stop()) forget_login();
  }

  // ---- time ----
  HubOptions::Duration idle_limit() const {
    if (options->idle_limit) return *options->idle_limit;
    const HubOptions::Duration limit =
        std::max<HubOptions::Duration>(timeout_announced(), interval + kIdleMargin);
    return link.sealed() ? limit : std::max<HubOptions::Duration>(limit, kMinLegacyIdleLimit);
  }
  HubOptions::Duration timeout_announced() const {
    return timeout.value_or(options->heartbeat_timeout);
  }
  std::optional<SteadyTime> state_deadline() const {
    switch (state) {
      case State::kStopped:
      case State::kStopping:
        return drain_deadline();
      case State::kFirst:
      case State::kFirstOpen:
      case State::kFirstVerify:
        if (kind == ClientKind::kSealane) return admitted_at + options->upgrade_timeout;
        return last_input + idle_limit();
      case State::kOpen:
        return last_input + idle_limit();
      default:
        return start + options->login_timeout;
    }
  }
  std::optional<SteadyTime> stall_deadline() const {
    if (state == State::kStopped || link.next_output().empty()) return std::nullopt;
    return last_output + options->stall_limit;
  }
  std::optional<SteadyTime> deadline() const {
    std::optional<SteadyTime> first = state_deadline();
    for (const auto& other : {stall_deadline(), paused_until}) {
      if (other && (!first || *other < *first)) first = other;
    }
    return first;
  }
  void on_deadline() {
    if (paused_until && now >= *paused_until) paused_until.reset();
    if (const auto stalled = stall_deadline(); stalled && now >= *stalled) {
      if (!std::exchange(output_moved, false)) {
        link.drop_output();
        return finish(HubStop::kStalled);
      }
      last_output = now;
    }
    const auto due = state_deadline();
    if (!due || now < *due) return;
    switch (state) {
      case State::kStopped:
        link.drop_output();
        return;
      case State::kFirst:
      case State::kFirstOpen:
      case State::kFirstVerify:
        if (kind == ClientKind::kSealane) {
          return say_stop(kUpgradeText, HubStop::kUpgradeTimeout);
        }
        return say_stop(kIdleText, HubStop::kIdle);
      case State::kOpen:
        return say_stop(kIdleText, HubStop::kIdle);
      default:
        return finish(HubStop::kLoginTimeout);
    }
  }

  void output_sent(std::size_t size) {
    link.output_sent(size);
    if (size > 0) output_moved = true;
    while (const auto left = link.next_left()) events.push_back(HandedOver{*left});
    if (!stopped() && takes_again(options->send_queue_limit)) events.push_back(Writable{});
  }

  const std::shared_ptr<const HubOptions> options;
  RandomSource& random;
  HubCounters counters;

  // Of the login; empty afterwards.
  Bytes challenge_payload;
  Bytes response_plain;
  Bytes config_plain;
  Bytes signature;
  std::optional<crypto::X25519Private> share_private;
  crypto::Sha256Digest transcript{};
  std::optional<UpgradeKeys> keys;
  Features accepted;

  ClientId claimed;
  std::optional<ClientId> id;  // proven
  bool peer_known = false;
  ClientKind kind = ClientKind::kSealane;
  Features features;
  std::uint64_t highest_ref = 0;

  HubOptions::Duration interval;
  std::optional<HubOptions::Duration> timeout;
  std::optional<TokenBucket> bucket;
  std::optional<SteadyTime> paused_until;
  SteadyTime last_input;
  SteadyTime last_output;
  SteadyTime admitted_at;
  bool output_moved = false;  // since last_output
};

HubConnection::HubConnection(std::shared_ptr<const HubOptions> options, RandomSource& random,
                             SteadyTime now, WallTime wall)
    : impl_(std::make_unique<Impl>(std::move(options), random, now, wall)) {}
HubConnection::~HubConnection() = default;
HubConnection::HubConnection(HubConnection&&) noexcept = default;

std::size_t HubConnection::receive(ByteSpan bytes, SteadyTime now) {
  return impl_->at(now).receive(bytes);
}
void HubConnection::on_end(SteadyTime now) { impl_->at(now).on_end(); }
ByteSpan HubConnection::next_output() { return impl_->link.next_output(); }
void HubConnection::output_sent(std::size_t size) { impl_->output_sent(size); }
std::optional<HubConnection::Event> HubConnection::next_event() { return impl_->next_event(); }
std::optional<SteadyTime> HubConnection::deadline() const { return impl_->deadline(); }
void HubConnection::on_deadline(SteadyTime now) { impl_->at(now).on_deadline(); }
bool HubConnection::wants_input() const { return impl_->wants_input(); }
void HubConnection::job_done(JobResult result, SteadyTime now) {
  impl_->at(now).job_done(std::move(result));
}
bool HubConnection::paced() const { return impl_->link.paced(); }

void HubConnection::known(std::shared_ptr<const crypto::RsaPublicKey> key, ClientKind kind,
                          SteadyTime now) {
  Impl& self = impl_->at(now);
  if (self.state != State::kLookUp) return;  // it stopped meanwhile
  self.kind = kind;
  if (kind == ClientKind::kSealane) self.link.stop_pacing();
  self.peer_known = true;
  self.link.set_peer_key(key);
  self.state = State::kVerifying;
  self.link.verify({.key = std::move(key),
                    .message = to_bytes(self.challenge_data()),
                    .signature = std::move(self.signature),
                    .salt = self.options->pss_verify});
}
void HubConnection::unknown(SteadyTime now) {
  Impl& self = impl_->at(now);
  if (self.state != State::kLookUp) return;
  // Its outcome does not matter; its time does.
  self.state = State::kVerifying;
  self.link.verify({.key = std::make_shared<crypto::RsaPublicKey>(self.options->key->public_key()),
                    .message = to_bytes(self.challenge_data()),
                    .signature = std::move(self.signature),
                    .salt = self.options->pss_verify});
}
void HubConnection::admit(std::uint64_t highest_ref, SteadyTime now) {
  if (impl_->at(now).state == State::kProven) impl_->admit(highest_ref);
}
void HubConnection::refuse(std::string_view reason, SteadyTime now) {
  if (impl_->at(now).state == State::kProven) impl_->say_stop(reason, HubStop::kRefused);
}

Result<void, DeliverError> HubConnection::deliver(const Delivery& delivery, SteadyTime now) {
  return impl_->at(now).deliver(delivery);
}
bool HubConnection::tell(const ReceiptMessage& receipt, SteadyTime now) {
  return impl_->at(now).tell(Feature::kReceipts, receipt);
}
bool HubConnection::tell(const RefusalMessage& refusal, SteadyTime now) {
  return impl_->at(now).tell(Feature::kErrors, refusal);
}
bool HubConnection::tell(const StatesMessage& states, SteadyTime now) {
  return impl_->at(now).tell(Feature::kPresence, states);
}
bool HubConnection::tell(const HubStatusMessage& status, SteadyTime now) {
  return impl_->at(now).tell(Feature::kPing, status);
}
bool HubConnection::configure(const Config& config, SteadyTime now) {
  return impl_->at(now).configure(config);
}
void HubConnection::pause_input(SteadyTime until) {
  impl_->paused_until = std::max(impl_->paused_until.value_or(until), until);
}
void HubConnection::stop(std::string_view reason, SteadyTime now) {
  impl_->at(now).say_stop(reason, HubStop::kRequested);
}

const HubCounters& HubConnection::counters() const {
  impl_->counters.frames_out = impl_->link.frames_out();
  return impl_->counters;
}
std::optional<ClientId> HubConnection::client() const { return impl_->id; }
std::size_t HubConnection::output_size() const { return impl_->link.output_size(); }

}  // namespace sealane::hub
