#include "node/hub_server.h"

#include <condition_variable>
#include <future>
#include <list>
#include <mutex>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "base/check.h"
#include "flow/thread.h"
#include "flow/workers.h"
#include "net/io_loop.h"
#include "net/real_network.h"
#include "net/sockets.h"
#include "net/stream_driver.h"
#include "node/hub_control.h"
#include "store/mailbox_store.h"

namespace sealane::node {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr int kLastBatches = 4;               // before the end; a disk that fails is not waited for
constexpr std::size_t kReadSize = 64 * 1024;  // per connection; memory once it was filled
constexpr std::size_t kOutputHigh = 64 * 1024;        // then nothing more is fetched for a client
constexpr milliseconds kPaceInterval{1};              // between two looks at an unconfirmed frame
constexpr int kBriefJobs = 4;                         // of a peer's step; the others go to workers
constexpr std::uint64_t kMaxAuditFile = 64ULL << 20;  // then it becomes audit.log.1
constexpr std::size_t kMaxAuditWaiting = 4 << 20;     // bytes for the disk; more is counted as lost

class Server;

// One connection.
class Peer final : public net::CoreHandler<hub::HubConnection> {
 public:
  Peer(Server& server, std::shared_ptr<const hub::HubOptions> options, RandomSource& random,
       SteadyTime now, WallTime wall, Address address)
      : CoreHandler(std::move(options), random, now, wall),
        server_(server),
        address_(std::move(address)) {}

  void on_open(net::StreamConnection& connection, SteadyTime now) override;
  void after_step(SteadyTime now) override;
  ByteSpan next_output() override;
  std::optional<SteadyTime> deadline() const override;
  void on_deadline(SteadyTime now) override;
  void on_closed(const NetworkError& why, SteadyTime now) override;

  // The mailbox has something for it.
  void more() {
    more_ = true;
    connection().wake();
  }
  void end(std::string_view reason, SteadyTime now) {
    core().stop(reason, now);
    connection().wake();
  }
  void give_up() { connection().abort(); }
  void configure(const hub::Config& config, SteadyTime now) {
    core().configure(config, now);
    connection().wake();
  }
  bool upgraded() const { return upgraded_; }
  void add_to(HubReport::Discarded& discarded) const {
    const hub::HubCounters& counters = core().counters();
    discarded.undecodable += counters.undecodable;
    discarded.out_of_scope += counters.out_of_scope;
    discarded.clear += counters.clear;
  }
  std::list<Peer*>::iterator unproven;  // its place, while it has proven nothing
  bool proven = false;

 private:
  void on_event(hub::HubEvent event, SteadyTime now) override;
  void fetch(SteadyTime now);
  bool give(const mailbox::Item& item, SteadyTime now);

  Server& server_;
  const Address address_;
  std::optional<mailbox::SessionId> session_;
  std::optional<mailbox::Item> held_;  // did not fit; goes first
  mutable std::optional<SteadyTime> look_again_;
  int brief_jobs_ = 0;  // of this step
  bool ready_ = false;
  bool upgraded_ = false;
  bool more_ = false;
  bool stopped_ = false;
};

class Server final : public HubServer {
 public:
  Server(const Seams& seams, HubState state, HubSettings settings, Warn warn)
      : seams_(seams),
        state_(std::move(state)),
        settings_(std::move(settings)),
        warn_(std::move(warn)),
        started_(seams.clock.wall_now()),
        stream_loop_(net::make_stream_loop(loop_)) {}

  ~Server() override { shut_down(seconds(3)); }

  Result<void, Error> begin() {
    SEALANE_TRY(lock_, state_.lock());
    settings_.connection.key = state_.key();
    settings_.connection.key_pem = state_.key()->public_key().to_pem();
    SEALANE_TRY(check(settings_));
    options_ = std::make_shared<const hub::HubOptions>(settings_.connection);
    counts_.started = started_;
    SEALANE_TRY(auto records, state_.clients());
    mailbox::MessageId first{std::uint64_t{hub::to_ms(started_)} << 20};
    mailbox::StoredState stored;
    if (durable()) {
      SEALANE_TRY(store_, store::MailboxStore::open(seams_.files,
                                                    state_.path(store::MailboxStore::kFileName)));
      first = store_->first_id();
      SEALANE_TRY(stored, store_->load());
    }
    const SteadyTime now = seams_.clock.steady_now();
    mailbox_.emplace(settings_.mailbox, first, now, started_);
    for (HubClientRecord& record : records) {
      const hub::ClientId id = record.id;
      if (!mailbox_->add_client(id, {}, now, started_)) {
        return Error{ErrorKind::kUsage, "there are more clients than max_clients in the settings"};
      }
      records_.emplace(id, std::move(record));
    }
    while (mailbox_->next_event()) {  // that they were added, which nobody did now
    }
    mailbox_->restore(std::move(stored), now, started_);
    SEALANE_TRY(set_groups(settings_));
    set_rights(now);
    loop_.run([this] {
      // Whoever waits for a private RSA step of the workers waits for this thread first.
      static_cast<void>(flow::ask_for_short_slices());
      network_ = net::make_network(loop_);
      timer_ = stream_loop_->make_timer();
    });
    driver_.emplace(*stream_loop_, *network_, &rsa_workers_);
    const Address at{settings_.listen};
    net::StreamListenOptions listen;
    listen.stream.read_size = kReadSize;
    listen.stream.linger = seconds(1);
    listen.max_connections = settings_.max_connections;
    listen.max_per_source = settings_.max_connections;
    auto listener =
        driver_->listen(at, listen, [this](const Address& peer) { return accept(peer); });
    if (!listener.has_value()) return net::to_error(listener.error(), at);
    listener_ = std::move(listener).value();
    const Address control_at{"unix:" + state_.path("control.sock")};
    auto control = driver_->listen(control_at, control_limits(),
                                   [this](const Address&) { return make_control(*this); });
    if (!control.has_value()) return net::to_error(control.error(), control_at);
    control_ = std::move(control).value();
    loop_.run([this] { after_mailbox(); });
    return success();
  }

  Address local() const override { return listener_->local(); }
  void stop(std::chrono::nanoseconds patience) override { shut_down(patience); }

  HubReport report() override {
    HubReport report;
    loop_.run([&] {
      report = counts_;
      report.totals = mailbox_->totals();
      report.counters = mailbox_->counters();
      report.connections = peers_.size();
      for (const Peer* peer : peers_) peer->add_to(report.discarded);
      report.accepted = listener_ ? listener_->counters().accepted.load() : 0;
    });
    report.listening = local();
    report.started = started_;
    report.fingerprint = fingerprint_text(state_.key()->public_key().fingerprint());
    return report;
  }

  std::vector<HubClientReport> clients() override {
    std::vector<HubClientReport> all;
    loop_.run([&] {
      for (const auto& [id, record] : records_) {
        HubClientReport report{.record = record, .status = {}};
        if (const auto status = mailbox_->status_of(id)) report.status = *status;
        const auto peer = by_client_.find(id);
        report.upgraded = peer != by_client_.end() && peer->second->upgraded();
        all.push_back(std::move(report));
      }
    });
    return all;
  }

  Result<void, Error> add_client(HubClientRecord record) override {
    SEALANE_TRY(state_.add(record));
    Result<void, Error> result = success();
    loop_.run([&] {
      const SteadyTime now = stream_loop_->now();
      if (mailbox_->add_client(record.id, {}, now, seams_.clock.wall_now())) {
        records_.insert_or_assign(record.id, record);
        set_rights(now);  // the settings may have named it before
      } else if (std::ranges::find(settings_.groups, record.id, &HubGroup::address) !=
                 settings_.groups.end()) {
        result = Error{ErrorKind::kUsage, "a group of the settings has this id"};
      } else {
        result = Error{ErrorKind::kUsage, "there is no room for one more client (max_clients)"};
      }
      after_mailbox();
    });
    if (!result.has_value()) static_cast<void>(state_.remove(record.id));
    return result;
  }

  Result<void, Error> remove_client(const hub::ClientId& id) override {
    SEALANE_TRY(state_.remove(id));
    loop_.run([&] {
      mailbox_->remove_client(id, seams_.clock.wall_now());
      records_.erase(id);
      after_mailbox();
    });
    return success();
  }

  Result<void, Error> configure(HubSettings next) override {
    next.connection.key = settings_.connection.key;
    next.connection.key_pem = settings_.connection.key_pem;
    SEALANE_TRY(check(next));
    const auto fixed = [](const HubSettings& s) {
      return std::tuple(s.listen, s.mailbox.offline, s.max_connections);
    };
    if (fixed(next) != fixed(settings_)) {
      return Error{ErrorKind::kUsage,
                   "listen, port, queue and max_connections are changed by a restart only"};
    }
    Result<void, Error> result = success();
    loop_.run([&] {
      result = set_groups(next);
      if (!result.has_value()) return;
      const SteadyTime now = stream_loop_->now();
      mailbox_->set_options(next.mailbox, now);
      settings_ = std::move(next);
      set_rights(now);
      options_ = std::make_shared<const hub::HubOptions>(settings_.connection);
      hub::Config config;
      config.heartbeat_interval =
          std::chrono::ceil<milliseconds>(settings_.connection.heartbeat_interval);
      config.heartbeat_timeout =
          std::chrono::ceil<milliseconds>(settings_.connection.heartbeat_timeout);
      // A nested member would stop a Python client half-way: those come with a login only.
      for (const auto& member : settings_.connection.other_settings) {
        if (!member.second.starts_with('{')) config.others.push_back(member);
      }
      for (const auto& [id, peer] : by_client_) peer->configure(config, now);
      after_mailbox();
    });
    return result;
  }

  // ---- for peers; on the loop's thread ----
  Clock& clock() const { return seams_.clock; }
  mailbox::Mailbox& mailbox() { return *mailbox_; }
  HubReport& counts() { return counts_; }
  bool durable() const { return settings_.mailbox.offline == mailbox::OfflinePolicy::kDurable; }
  bool logs_messages() const { return settings_.log_messages; }
  const HubClientRecord* find(const hub::ClientId& id) const {
    const auto found = records_.find(id);
    return found == records_.end() ? nullptr : &found->second;
  }

  void opened(Peer& peer) {
    peers_.insert(&peer);
    peer.unproven = unproven_.insert(unproven_.end(), &peer);
    if (unproven_.size() > settings_.max_unproven) {
      ++counts_.pushed_out;
      Peer* const oldest = unproven_.front();
      unproven_.pop_front();
      oldest->proven = true;  // no longer in the list
      oldest->give_up();
    }
  }
  void proved(Peer& peer) {
    if (!peer.proven) unproven_.erase(peer.unproven);
    peer.proven = true;
  }
  void routed(const hub::ClientId& id, mailbox::SessionId session, Peer& peer) {
    by_session_[static_cast<std::uint64_t>(session)] = &peer;
    by_client_[id] = &peer;
  }
  void closed(Peer& peer, const std::optional<hub::ClientId>& id,
              std::optional<mailbox::SessionId> session) {
    proved(peer);
    peers_.erase(&peer);
    if (session) {
      by_session_.erase(static_cast<std::uint64_t>(*session));
      mailbox_->disconnect(*session, seams_.clock.wall_now());
    }
    if (id) {
      const auto at = by_client_.find(*id);
      if (at != by_client_.end() && at->second == &peer) by_client_.erase(at);
    }
    after_mailbox();
    const std::lock_guard lock(empty_mutex_);
    empty_ = peers_.empty();
    empty_changed_.notify_all();
  }

  // Hands out what the mailbox has to tell, and gives the disk its work.
  void after_mailbox() {
    const SteadyTime now = stream_loop_->now();
    while (auto event = mailbox_->next_event()) {
      if (const auto* ready = std::get_if<mailbox::SessionReady>(&*event)) {
        const auto peer = by_session_.find(static_cast<std::uint64_t>(ready->session));
        if (peer != by_session_.end()) peer->second->more();
      } else if (const auto* ended = std::get_if<mailbox::SessionEnded>(&*event)) {
        const auto peer = by_session_.find(static_cast<std::uint64_t>(ended->session));
        if (peer != by_session_.end()) peer->second->end(describe(ended->reason), now);
      } else {
        const auto& entry = std::get<mailbox::Audit>(*event);
        nlohmann::json line = {{"event", describe(entry.kind)}, {"client", text_of(entry.client)}};
        if (entry.recipient) line["recipient"] = text_of(*entry.recipient);
        if (entry.refusal) line["reason"] = describe(*entry.refusal);
        audit(std::move(line));
      }
    }
    if (store_) {
      if (auto batch = mailbox_->next_batch(now)) {
        disk_.add([this, batch = std::move(*batch)] {
          const auto done = store_->commit(batch);
          if (!done.has_value()) warn_(done.error().message);
          loop_.post([this, number = batch.number, good = done.has_value()] {
            mailbox_->batch_done(number, good, stream_loop_->now());
            after_mailbox();
          });
        });
      }
    }
    arm();
  }

  std::string text_of(const mailbox::ClientId& id) const {
    const auto* record = find(id);
    return record == nullptr ? mailbox::to_text(id) : record->name;
  }

  void audit(nlohmann::json entry) {
    entry["time"] = to_rfc3339(seams_.clock.wall_now());
    std::string line = entry.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace) + '\n';
    const std::lock_guard lock(audit_mutex_);
    if (audit_waiting_.size() + line.size() > kMaxAuditWaiting) {
      ++audit_lost_;
      return;
    }
    const bool first = audit_waiting_.empty();
    audit_waiting_ += line;
    if (first) disk_.add([this] { write_audit(); });
  }

 private:
  Result<void, Error> check(const HubSettings& settings) const {
    const auto wrong = hub::problem_with(settings.connection);
    if (wrong) return Error{ErrorKind::kUsage, "the hub's settings do not work: " + *wrong};
    return success();
  }

  // All of them or, after an error, none.
  Result<void, Error> set_groups(const HubSettings& settings) {
    if (settings.groups.size() > mailbox::Mailbox::kMaxGroups) {
      return Error{ErrorKind::kUsage, "there are more groups than a hub holds: " +
                                          std::to_string(mailbox::Mailbox::kMaxGroups)};
    }
    for (const HubGroup& group : settings.groups) {
      if (records_.contains(group.address)) {
        return Error{ErrorKind::kUsage, "the group " + printable(group.name) +
                                            " has the id of the client " + text_of(group.address)};
      }
    }
    for (const HubGroup& old : settings_.groups) mailbox_->remove_group(old.address);
    for (const HubGroup& group : settings.groups) {
      SEALANE_CHECK(mailbox_->set_group(group.address, group.policy));
    }
    return success();
  }

  // A client, by its name or id, or a group.
  std::optional<hub::ClientId> address_of(const std::string& name) const {
    for (const auto& [id, record] : records_) {
      if (record.name == name) return id;
    }
    for (const HubGroup& group : settings_.groups) {
      if (group.name == name) return group.address;
    }
    return hub::parse_client_id(name);
  }

  // Whoever is named and not known has none of the rights meant for him; the others keep theirs.
  void set_rights(SteadyTime now) {
    std::map<hub::ClientId, mailbox::ClientPolicy> policies;
    for (const HubRights& rights : settings_.rights) {
      const auto client = address_of(rights.client);
      if (!client || !records_.contains(*client)) {
        warn_("the settings give rights to " + printable(rights.client) + ", whom nobody enrolled");
        continue;
      }
      mailbox::ClientPolicy policy{.send_to_anyone = !rights.send_to,
                                   .sees_presence = rights.sees_presence};
      for (const std::string& name : rights.send_to.value_or(std::vector<std::string>())) {
        const auto to = address_of(name);
        if (to) {
          policy.send_to.insert(*to);
        } else {
          warn_("the rights of " + printable(rights.client) + " name " + printable(name) +
                ", who is no client and no group");
        }
      }
      policies[*client] = std::move(policy);
    }
    for (const auto& [id, record] : records_) {
      const auto policy = policies.find(id);
      mailbox_->add_client(id, policy == policies.end() ? mailbox::ClientPolicy() : policy->second,
                           now, seams_.clock.wall_now());
    }
  }

  std::unique_ptr<net::StreamHandler> accept(const Address& peer) {
    if (ending_) return nullptr;
    return std::make_unique<Peer>(*this, options_, seams_.random, stream_loop_->now(),
                                  seams_.clock.wall_now(), peer);
  }

  void arm() {
    const auto next = mailbox_->deadline();
    // One that is due earlier stays: it looks again.
    if (!next || !timer_ || (armed_ && *armed_ <= *next)) return;
    armed_ = next;
    timer_->at(*next, [this] {
      armed_.reset();
      mailbox_->on_deadline(stream_loop_->now());
      after_mailbox();
    });
  }

  void write_audit() {
    std::string lines;
    std::uint64_t lost = 0;
    {
      const std::lock_guard lock(audit_mutex_);
      lines.swap(audit_waiting_);
      lost = std::exchange(audit_lost_, 0);
    }
    if (lost > 0) lines += R"({"event":"audit_lost","count":)" + std::to_string(lost) + "}\n";
    const std::string path = state_.path("audit.log");
    const auto status = seams_.files.status(path);
    if (status.has_value() && status.value().size > kMaxAuditFile) {
      static_cast<void>(seams_.files.rename(path, path + ".1", RenameMode::kReplace));
    }
    auto file = seams_.files.open(path, OpenMode::kAppendOrCreate, 0600);
    const auto written =
        file.has_value() ? file.value()->write(as_bytes(lines)) : FileResult<void>(file.error());
    if (!written.has_value() && !audit_warned_) warn_(to_error(written.error()).message);
    audit_warned_ = !written.has_value();
  }

  void shut_down(std::chrono::nanoseconds patience) {
    if (!driver_) return;
    control_.reset();
    if (listener_) {
      loop_.run([this] {
        ending_ = true;
        const SteadyTime now = stream_loop_->now();
        for (Peer* peer : peers_) peer->end("the hub stops", now);
        const std::lock_guard lock(empty_mutex_);
        empty_ = peers_.empty();
      });
      std::unique_lock lock(empty_mutex_);
      empty_changed_.wait_for(lock, patience, [this] { return empty_; });
      lock.unlock();
      listener_.reset();
    }
    driver_.reset();
    // What the connections left for the disk: the batch under way, and what gathered behind it.
    for (int i = 0; store_ && i < kLastBatches; ++i) {
      std::promise<void> done;
      disk_.add([&done] { done.set_value(); });
      done.get_future().wait();
      loop_.run([this] { after_mailbox(); });
    }
    loop_.run([this] {
      timer_.reset();
      network_.reset();
    });
  }

  const Seams seams_;
  const HubState state_;
  HubSettings settings_;
  const Warn warn_;
  const WallTime started_;
  std::unique_ptr<FileLock> lock_;
  std::shared_ptr<const hub::HubOptions> options_;
  std::unique_ptr<store::MailboxStore> store_;  // used on disk_'s thread once it runs

  // The loop's thread:
  std::optional<mailbox::Mailbox> mailbox_;
  std::map<hub::ClientId, HubClientRecord> records_;
  std::set<Peer*> peers_;
  std::list<Peer*> unproven_;  // oldest first
  std::unordered_map<std::uint64_t, Peer*> by_session_;
  std::map<hub::ClientId, Peer*> by_client_;
  HubReport counts_;
  std::optional<SteadyTime> armed_;  // of timer_
  bool ending_ = false;

  std::mutex audit_mutex_;
  std::string audit_waiting_;
  std::uint64_t audit_lost_ = 0;
  bool audit_warned_ = false;  // disk_'s thread
  std::mutex empty_mutex_;
  std::condition_variable empty_changed_;
  bool empty_ = true;

  net::IoLoop loop_;
  std::unique_ptr<net::StreamLoop> stream_loop_;
  std::unique_ptr<Network> network_;
  std::unique_ptr<net::StreamLoop::Timer> timer_;
  flow::Workers disk_{1};
  flow::Workers rsa_workers_{flow::core_count()};
  std::optional<net::StreamDriver> driver_;
  std::unique_ptr<net::StreamListener> listener_;
  std::unique_ptr<net::StreamListener> control_;
};

void Peer::on_open(net::StreamConnection& connection, SteadyTime now) {
  CoreHandler::on_open(connection, now);
  // A crash of the hub must not look like silence: a Python client would spin for ever.
  connection.reset_unless_finished();
  server_.opened(*this);
}

ByteSpan Peer::next_output() {
  if (opened() && core().paced() && connection().unconfirmed() > 0) {
    if (!look_again_) look_again_ = server_.clock().steady_now() + kPaceInterval;
    return {};
  }
  return core().next_output();
}

std::optional<SteadyTime> Peer::deadline() const {
  auto next = core().deadline();
  if (look_again_ && (!next || *look_again_ < *next)) next = look_again_;
  return next;
}

void Peer::on_deadline(SteadyTime now) {
  if (look_again_ && *look_again_ <= now) look_again_.reset();
  if (const auto due = core().deadline(); due && *due <= now) core().on_deadline(now);
}

void Peer::after_step(SteadyTime now) {
  brief_jobs_ = 0;
  CoreHandler::after_step(now);
  if (ready_ && (more_ || held_)) fetch(now);
  if (stopped_ && core().output_size() == 0) connection().close();
}

void Peer::fetch(SteadyTime now) {
  while (core().output_size() < kOutputHigh) {
    if (!held_) {
      held_ = server_.mailbox().next_item(*session_);
      if (!held_) {
        more_ = false;
        break;
      }
    }
    if (!give(*held_, now)) return;
    held_.reset();
  }
  CoreHandler::after_step(now);  // jobs that it made
}

// False: it does not fit now.
bool Peer::give(const mailbox::Item& item, SteadyTime now) {
  if (const auto* message = std::get_if<mailbox::Message>(&item)) {
    const auto given = core().deliver({.id = message->id,
                                       .sender = message->sender,
                                       .group = message->group,
                                       .accepted_at = message->accepted_at,
                                       .content = *message->data},
                                      now);
    if (given.has_value()) return true;
    if (given.error() != hub::DeliverError::kTooLarge) return false;
    // The mailbox knows the limit of this session; what it does not know is whether the client
    // takes parts.
    server_.mailbox().undeliverable(*session_, message->id);
    server_.after_mailbox();
    return true;
  }
  if (const auto* receipt = std::get_if<mailbox::Receipt>(&item)) {
    core().tell(hub::ReceiptMessage{receipt->kind, receipt->ref, receipt->recipient}, now);
  } else if (const auto* error = std::get_if<mailbox::ErrorNotice>(&item)) {
    core().tell(hub::RefusalMessage{error->refusal, error->ref, error->recipient}, now);
  } else if (const auto* presence = std::get_if<mailbox::PresenceNotice>(&item)) {
    hub::StatesMessage states;
    states.states.push_back({presence->client, presence->online, hub::to_ms(presence->since)});
    core().tell(states, now);
  }
  return true;
}

void Peer::on_event(hub::HubEvent event, SteadyTime now) {
  mailbox::Mailbox& mailbox = server_.mailbox();
  const WallTime wall = server_.clock().wall_now();
  if (auto* job = std::get_if<hub::Job>(&event)) {
    // Outcomes must stay in order, so only where none is awaited.
    if (brief_jobs_ < kBriefJobs && connection().jobs() == 0 && hub::is_brief(*job)) {
      ++brief_jobs_;
      return core().job_done(hub::run(*job), now);
    }
    connection().run_job([this, work = std::make_shared<hub::Job>(std::move(*job))] {
      auto result = std::make_shared<hub::JobResult>(hub::run(*work));
      return [this, result] { core().job_done(std::move(*result), server_.clock().steady_now()); };
    });
  } else if (const auto* look_up = std::get_if<hub::LookUp>(&event)) {
    const HubClientRecord* record = server_.find(look_up->id);
    if (record == nullptr) {
      core().unknown(now);
    } else {
      core().known(record->key, record->kind, now);
    }
  } else if (const auto* login = std::get_if<hub::Login>(&event)) {
    server_.proved(*this);
    const auto session = mailbox.connect(login->id, {}, now, wall);
    if (!session.has_value()) {
      core().refuse(
          session.error() == mailbox::ConnectError::kDuplicate ? "already connected" : "removed",
          now);
    } else {
      ++server_.counts().logins;
      session_ = session.value();
      server_.routed(login->id, *session_, *this);
      core().admit(mailbox.highest_ref(*session_), now);
    }
    server_.after_mailbox();
  } else if (const auto* ready = std::get_if<hub::Ready>(&event)) {
    ready_ = true;
    upgraded_ = !ready->features.empty();
    mailbox.set_capabilities(*session_,
                             {.acknowledges = ready->features.has(hub::Feature::kReceipts),
                              .notices = upgraded_,
                              .max_size = ready->max_content});
    server_.after_mailbox();
  } else if (auto* submitted = std::get_if<hub::Submitted>(&event)) {
    const std::size_t size = submitted->content.size();
    const auto outcome =
        mailbox.submit(*session_,
                       {.to = submitted->to,
                        .ref = submitted->ref,
                        .data = std::make_shared<const Bytes>(std::move(submitted->content))},
                       now, wall);
    if (outcome.pause_until) core().pause_input(*outcome.pause_until);
    if (server_.logs_messages() && !outcome.refusal) {
      server_.audit({{"event", "message"},
                     {"client", server_.text_of(*core().client())},
                     {"recipient", server_.text_of(submitted->to)},
                     {"size", size}});
    }
    server_.after_mailbox();
  } else if (const auto* acknowledged = std::get_if<hub::Acknowledged>(&event)) {
    mailbox.acknowledge(*session_, acknowledged->id);
    server_.after_mailbox();
  } else if (const auto* handed = std::get_if<hub::HandedOver>(&event)) {
    mailbox.handed_over(*session_, handed->id);
    server_.after_mailbox();
  } else if (const auto* asked = std::get_if<hub::PresenceAsked>(&event)) {
    switch (asked->request.action) {
      case hub::PresenceAction::kList:
        mailbox.list_presence(*session_);
        break;
      case hub::PresenceAction::kSubscribeAll:
        mailbox.subscribe_all(*session_);
        break;
      case hub::PresenceAction::kUnsubscribe:
        mailbox.unsubscribe(*session_);
        break;
      case hub::PresenceAction::kSubscribe: {
        if (!mailbox.subscribe(*session_, asked->request.ids)) {
          core().tell(hub::RefusalMessage{hub::RefusalReason::kDenied, std::nullopt, {}}, now);
        }
      }
    }
    server_.after_mailbox();
  } else if (std::holds_alternative<hub::StatusAsked>(event)) {
    const mailbox::Totals totals = mailbox.totals();
    core().tell(
        hub::HubStatusMessage{hub::to_ms(server_.counts().started),
                              static_cast<std::uint32_t>(totals.clients),
                              static_cast<std::uint32_t>(totals.online), totals.queued_messages},
        now);
  } else if (const auto* stopped = std::get_if<hub::HubStopped>(&event)) {
    stopped_ = true;
    const bool before_login = !session_;
    if (before_login) ++server_.counts().failed_logins;
    if (stopped->reason == hub::HubStop::kBadFrame) ++server_.counts().bad_frames;
    nlohmann::json line = {{"event", before_login ? "failed_login" : "connection_ended"},
                           {"address", address_.text},
                           {"reason", describe(stopped->reason)}};
    if (const auto id = core().client()) line["client"] = server_.text_of(*id);
    server_.audit(std::move(line));
  }
}

void Peer::on_closed(const NetworkError&, SteadyTime) {
  add_to(server_.counts().discarded);
  if (opened()) server_.closed(*this, core().client(), std::exchange(session_, std::nullopt));
}

}  // namespace

Result<std::unique_ptr<HubServer>, Error> HubServer::start(const Seams& seams, HubState state,
                                                           HubSettings settings, Warn warn) {
  auto server =
      std::make_unique<Server>(seams, std::move(state), std::move(settings), std::move(warn));
  SEALANE_TRY(server->begin());
  return std::unique_ptr<HubServer>(std::move(server));
}

}  // namespace sealane::node
