#include <algorithm>

#include "base/byte_reader.h"
#include "base/check.h"
#include "session/session_impl.h"

namespace sealane::session {
namespace {

constexpr std::size_t kDefaultPayloadSize = 65216;
constexpr std::size_t kDefaultLossyPayloadSize = 1392;
constexpr int kCloseCopies = 3;  // where packets get lost

void earlier(std::optional<SteadyTime>& next, std::optional<SteadyTime> at) {
  if (at) next = next ? std::min(*next, *at) : *at;
}

}  // namespace

Session::Impl::Impl(Identities who, Options how, RandomSource& randomness)
    : identities(std::move(who)),
      options(std::move(how)),
      random(randomness),
      payload_limit(options.payload_size_limit != 0 ? options.payload_size_limit
                    : options.lossy                 ? kDefaultLossyPayloadSize
                                                    : kDefaultPayloadSize),
      payload_size(payload_limit),
      non_session(psk() != nullptr ? PacketKey::aux(psk()->aux_key()) : PacketKey::plain()),
      peer_identity(identities.peer),
      reassembler({.max_message_size = options.max_message_size}),
      outbox(payload_limit + kPacketOverhead, options.send_queue_limit) {
  announce = options.peer_kind != PeerKind::kLegacy && payload_limit >= kMinBoundPayloadSize;
  if (psk() != nullptr) packet_id_mask = psk()->packet_id_mask();
  if (!options.negotiate) options.negotiate = options.lossy;
  if (!options.overflow) options.overflow = options.lossy ? Overflow::kDrop : Overflow::kWait;
}

void Session::Impl::start(const SessionId& id, SteadyTime at, WallTime wall, PathId from) {
  now = started = at;
  started_wall = wall;
  own_id = id;
  path = from;
  if (psk() != nullptr) {
    // The key for other than session packets is the same in each session, and so would its
    // keystream be if ids began at 1 again: a start that does not repeat, far from the end.
    ByteArray<8> bytes;
    random.fill(bytes);
    next_packet_id = (load<std::uint64_t>(bytes) >> 2) + 1;
  }
  KeyExchangeMessage prototype;
  prototype.session = own_id;
  prototype.identity = identities.own->public_key();
  prototype.answers_mode = options.answers_mode;
  if (announce) prototype.flags = kSealaneFlag;
  own.emplace(prototype, identities.own->seed());
  own->renew(random, now);
  stranger_total.emplace(4 * std::uint64_t{options.verify_rate},
                         4 * std::uint64_t{options.verify_rate}, now);
  known_total.emplace(options.verify_rate, options.verify_rate, now);
  pending_since = now;
  unbound_since = now;
  next_renewal = now + options.key_update_interval;
  request_now();
  set_state(SessionState::kKeyExchange);
}

void Session::Impl::set_state(SessionState next) {
  if (state == next) return;
  state = next;
  add_event(StateChanged{next});
}

void Session::Impl::report(ProblemKind kind, MessageType type) {
  // What cannot be opened often follows from something else, which says more.
  if (kind != ProblemKind::kUndecryptable || !last_problem) last_problem = kind;
  auto& reported = problem_reported[static_cast<std::size_t>(kind)];
  if ((reported && now < *reported + kProblemSpacing) || events.size() >= kMaxEvents) {
    ++statistics.problems_unreported;
    return;
  }
  reported = now;
  add_event(Problem{kind, type});
}

bool Session::Impl::own_key_pending() const {
  const Epoch* epoch = current();
  return epoch == nullptr || epoch->proven != own->newest()->generation;
}

void Session::Impl::request_now() {
  request_due = true;
  next_request = now;
}

// ---- states -------------------------------------------------------------------------------------

void Session::Impl::progress() {
  Epoch* epoch = current();
  delivery_blocked = epoch != nullptr && must_bind(*epoch) && !epoch->bound();
  if (epoch != nullptr && (!must_bind(*epoch) || epoch->bound())) unbound_since.reset();
  if (epoch != nullptr && ready(*epoch)) was_ready = true;
  if (state == SessionState::kKeyExchange && epoch != nullptr && ready(*epoch)) {
    const SizeSearch::Settings settings{.limit = payload_limit,
                                        .first_wait = std::min<Options::Duration>(
                                            options.retry_interval, std::chrono::milliseconds(250)),
                                        .timeout = options.negotiation_timeout,
                                        .quiet = options.negotiation_quiet};
    search.emplace(settings, *options.negotiate, now);
    if (search->done()) {
      establish();
    } else {
      set_state(SessionState::kNegotiation);
    }
  }
  if (state == SessionState::kNegotiation && search && search->done()) establish();
  if (state == SessionState::kEstablished && search) follow_search();
  // What was queued may still leave; sizes are not looked for any more.
  if (state == SessionState::kClosing && epoch != nullptr && ready(*epoch)) was_established = true;
}

void Session::Impl::establish() {
  payload_size = std::min(search->size(), payload_limit);
  outbox.set_packet_size(payload_size + kPacketOverhead);
  if (options.lossy && *options.negotiate) {
    if (!watch) watch.emplace();
    settle_watch();
  }
  was_established = true;
  last_problem.reset();
  if (options.keepalive && current()->sealane) next_keepalive = now + *options.keepalive;
  set_state(SessionState::kEstablished);
}

void Session::Impl::follow_search() {
  const std::size_t found = std::min(search->size(), payload_limit);
  const bool other = found != payload_size;
  if (other) {
    payload_size = found;
    outbox.set_packet_size(payload_size + kPacketOverhead);
  }
  if (watch && (other || looking_above) && !search->searching()) settle_watch();
}

void Session::Impl::settle_watch() {
  looking_above = false;
  watch->settle(payload_size, payload_limit, search->patience(), now);
}

// ---- own keys -----------------------------------------------------------------------------------

void Session::Impl::begin_renewal() {
  renewal_due = false;
  // An unproven one is being sent again already; two unproven ones would push out the proven.
  if (own_key_pending()) return;
  // Answers to older requests that may still be under way would be taken for answers to this one.
  if (requests_of_newest > 0) {
    requests_of_older += requests_of_newest;
    last_older_request = now;
  }
  requests_of_newest = 0;
  copies_of_newest = 0;
  own->renew(random, now);
  wipe_own_at.reset();
  for (auto& epoch : epochs) epoch->refresh(*own, psk());
  bytes_under_key = 0;
  ++statistics.own_renewals;
  if (!silent) pending_since = now;  // else the time of its silence runs on
  request_now();
}

// `own` was shown by the peer to be there: send under it from now on.
void Session::Impl::own_key_proven(Epoch& epoch, Generation generation) {
  if (epoch.proven && *epoch.proven >= generation) return;
  epoch.proven = generation;
  if (&epoch == current() && generation == own->newest()->generation) {
    newest_key_proven();
  }
}

void Session::Impl::newest_key_proven() {
  pending_since.reset();
  request_due = false;
  if (own->before() != nullptr) wipe_own_at = now + options.old_key_lifetime;
}

// ---- epochs -------------------------------------------------------------------------------------

Epoch* Session::Impl::find_epoch(const SessionId& session) {
  for (auto& epoch : epochs) {
    if (epoch->id() == session) return epoch.get();
  }
  return nullptr;
}

// A signed message of another session id: the peer has started again, or somebody repeats what it
// once said to a third. Only a packet under the new keys tells, or an old peer that keeps silent.
void Session::Impl::new_rival(Epoch& rival, PathId from) {
  current()->answered = false;
  request_also_to = from;
  request_now();
  const auto spent_end =
      spent_rivals.begin() + static_cast<std::ptrdiff_t>(std::min(spent_rival_count, kSpentRivals));
  const bool spent = std::find(spent_rivals.begin(), spent_end, rival.id()) != spent_end;
  // A legacy peer would die of a packet that it cannot open, so nothing is sent until this is
  // settled; but each rival may hold us up only once.
  if (!spent && !(rival.sealane && current()->sealane)) {
    hold_until = now + 2 * options.retry_interval;
  }
}

void Session::Impl::settle_rivals() {
  hold_until.reset();
  for (std::size_t i = epochs.size(); i-- > 1;) {
    Epoch& rival = *epochs[i];
    if (rival.live || now < rival.created() + 2 * options.retry_interval) continue;
    if (rival.proven && !current()->answered && !must_bind(rival)) {
      promote(i);
      return;
    }
    if (!rival.sealane || now >= rival.created() + options.key_exchange_timeout) drop_rival(i);
  }
}

void Session::Impl::drop_rival(std::size_t index) {
  spent_rivals[spent_rival_count++ % kSpentRivals] = epochs[index]->id();
  epochs.erase(epochs.begin() + static_cast<std::ptrdiff_t>(index));
}

void Session::Impl::promote(std::size_t index) {
  const bool restarted = was_established || epochs.front()->live;
  std::swap(epochs.front(), epochs[index]);
  Epoch& fresh = *epochs.front();
  hold_until.reset();
  // What is left of the other lives has no more to say once this one has shown to be alive.
  if (fresh.live) {
    for (std::size_t i = 1; i < epochs.size(); ++i) {
      const Epoch& old = *epochs[i];
      if (must_bind(old) && !old.bound()) inbox.drop_from(old.id());
    }
    epochs.erase(epochs.begin() + 1, epochs.end());
  }
  chains = ChainPlanner();
  reassembler = Reassembler({.max_message_size = options.max_message_size});
  search.reset();
  watch.reset();
  looking_above = false;
  pongs_due.clear();
  pong_bytes_due = 0;
  forget_liveness();
  liveness_reply.reset();
  next_keepalive.reset();
  requests_of_older += requests_of_newest;
  requests_of_newest = 0;
  last_older_request = now;
  if (fresh.proven != own->newest()->generation) {
    pending_since = now;
    request_now();
  } else {
    newest_key_proven();
  }
  if (must_bind(fresh) && !fresh.bound()) unbound_since = now;
  if (restarted) {
    ++statistics.restarts;
    add_event(PeerRestarted{fresh.id()});
  }
  if (state == SessionState::kNegotiation || state == SessionState::kEstablished) {
    set_state(SessionState::kKeyExchange);
  }
}

// ---- liveness -----------------------------------------------------------------------------------

void Session::Impl::forget_liveness() {
  keepalive_sent.reset();
  probe_at.reset();
  silence_at.reset();
  silent = false;
}

void Session::Impl::heard() {
  probe_at.reset();
  silence_at.reset();
  if (!silent) return;
  silent = false;
  if (own_key_pending()) {
    pending_since = now;
    return;
  }
  pending_since.reset();
  request_due = false;
}

// ---- the end ------------------------------------------------------------------------------------

void Session::Impl::begin_close() {
  close_until = now + options.close_timeout;
  close_messages_left = options.lossy ? kCloseCopies : 1;
  set_state(SessionState::kClosing);
  progress();
}

void Session::Impl::resumed(SteadyTime at) {
  now = std::max(now, at);
  // The peer could not answer while the transport was somebody else's.
  if (pending_since) pending_since = now;
  if (unbound_since) unbound_since = now;
  probe_at.reset();
  silence_at.reset();
  if (watch && !search->searching()) settle_watch();
}

CloseReason Session::Impl::timeout_reason() const {
  const Epoch* epoch = current();
  if (epoch != nullptr && must_bind(*epoch) && !epoch->bound() && epoch->proven) {
    return CloseReason::kNotBound;
  }
  if (last_problem == ProblemKind::kPeerNotSealane) return CloseReason::kNotSealane;
  return CloseReason::kKeyExchangeTimeout;
}

void Session::Impl::finish(CloseReason reason) {
  if (state == SessionState::kClosed) return;
  std::uint64_t unsent = outbox.queued_messages();
  if (output.active && output.kind == OutputKind::kData)
    unsent += output.data.batch.message_count();
  closed = Closed{reason, last_problem, unsent};
  if (reason == CloseReason::kRequested) inbox.drop_all();
  outbox.drop_all();
  output = Output();
  parking.clear();
  own.reset();  // wiped
  // What was received before the end may still be taken, which needs no key.
  if (Epoch* epoch = current(); epoch != nullptr && must_bind(*epoch) && !epoch->bound()) {
    inbox.drop_all();
  }
  set_state(SessionState::kClosed);
}

// ---- timers -------------------------------------------------------------------------------------

std::optional<SteadyTime> Session::Impl::deadline() const {
  if (state == SessionState::kNew) return std::nullopt;
  if (unseen_events) return now;
  if (state == SessionState::kClosed) return std::nullopt;
  std::optional<SteadyTime> next;
  if (state == SessionState::kPaused) return next;
  if (state != SessionState::kClosing) {
    earlier(next, next_renewal);
    earlier(next, unbound_since ? std::optional(*unbound_since + options.key_exchange_timeout)
                                : std::nullopt);
  }
  if (own_key_pending() || silent) earlier(next, next_request);
  if (pending_since) earlier(next, *pending_since + options.key_exchange_timeout);
  earlier(next, wipe_own_at);
  earlier(next, hold_until);
  for (const auto& epoch : epochs) {
    earlier(next, epoch->wipe_before_at);
    if (!epoch->bound()) earlier(next, epoch->next_proposal);
    if (epoch.get() != current() && epoch->sealane) {
      earlier(next, epoch->created() + options.key_exchange_timeout);
    }
  }
  earlier(next, parking.deadline());
  earlier(next, reassembler.deadline());
  if (!outbox.open_empty() && was_established) earlier(next, open_until);
  // What cannot be sent now is not waited for: it would be due for ever.
  if (search && !hold_until && state != SessionState::kClosing) earlier(next, search->deadline());
  if (state != SessionState::kClosing) earlier(next, next_keepalive);
  if (state == SessionState::kEstablished) {
    earlier(next, probe_at);
    earlier(next, silence_at);
    if (watch && !hold_until && !looking_above) earlier(next, watch->deadline());
  }
  earlier(next, close_until);
  earlier(next, idle_at);
  return next;
}

void Session::Impl::on_deadline(SteadyTime at) {
  now = std::max(now, at);
  unseen_events = false;
  if (!open_for_input()) return;
  if (close_until && now >= *close_until) return finish(CloseReason::kRequested);
  if (pending_since && now >= *pending_since + options.key_exchange_timeout) {
    return finish(timeout_reason());
  }
  if (unbound_since && now >= *unbound_since + options.key_exchange_timeout) {
    return finish(timeout_reason());
  }
  if (silence_at && now >= *silence_at && state == SessionState::kEstablished) {
    // Not there, or started again and without our key: then our request is what it can open.
    silence_at.reset();
    silent = true;
    ++statistics.silences;
    if (!pending_since) pending_since = now;
    request_now();
  }
  if ((own_key_pending() || silent) && now >= next_request && !request_due) {
    ++statistics.key_exchange_retries;
    request_due = true;
  }
  if (state != SessionState::kClosing && now >= next_renewal) {
    // A fixed rhythm from the start; what was missed while nobody called is not made up for.
    while (next_renewal <= now) next_renewal += options.key_update_interval;
    renewal_due = true;
  }
  if (renewal_due) begin_renewal();
  if (wipe_own_at && now >= *wipe_own_at) {
    wipe_own_at.reset();
    own->wipe_before();
    for (auto& epoch : epochs) epoch->refresh(*own, psk());
  }
  if (hold_until && now >= *hold_until) settle_rivals();
  for (std::size_t i = epochs.size(); i-- > 0;) {
    Epoch& epoch = *epochs[i];
    if (epoch.wipe_before_at && now >= *epoch.wipe_before_at) epoch.wipe_before();
    if (i > 0 && epoch.sealane && now >= epoch.created() + options.key_exchange_timeout) {
      drop_rival(i);
    }
  }
  drop(DropReason::kUndecryptable, parking.expire(now));
  reassembler.expire(now);
  if (open_until && now >= *open_until) {
    open_until.reset();
    outbox.close_open();
  }
  if (search) search->on_deadline(now);
  if (watch && state == SessionState::kEstablished && !hold_until && !looking_above) {
    switch (watch->on_deadline(now)) {
      case SizeWatch::Finding::kNothing:
        break;
      case SizeWatch::Finding::kTooLarge:
        ++statistics.black_holes;
        report(ProblemKind::kLargePacketsLost);
        search_below(payload_size);
        break;
      case SizeWatch::Finding::kLookAbove:
        looking_above = true;
        search->look_above(payload_limit, now);
        break;
    }
  }
  if (idle_at && now >= *idle_at) {
    idle_at.reset();
    if (last_traffic + kIdleTime > now) {
      idle_at = last_traffic + kIdleTime;
    } else {
      release_idle();
    }
  }
  progress();
}

void Session::Impl::release_idle() {
  outbox.release_idle();
  inbox.release_idle();
  if (!output.active) Bytes().swap(scratch);
  if (!inbox.lent()) {
    Bytes().swap(copy);
    Bytes().swap(scratch_message);
  }
}

}  // namespace sealane::session
