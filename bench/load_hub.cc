// Load for a message hub: two clients in this process, messages from one to the other, counted, in
// order, where they arrive. The same program is the client of both sides of a comparison. Prints
// one JSON object; bench/compare/hub_messages.py runs it.
//
//   load_hub sealed HOW A.hub A.key B.hub B.key TRUST   `sealane hub serve`, sealed end to end
//   load_hub nats HOW URL CA.pem                        nats-server with TLS
//   load_hub has-nats                                   whether this build can; exit code 0 or 1
//   load_hub legacy HOW A.hub B.hub                     any hub, as legacy clients: RSA blocks
//   load_hub idle HOW PROFILE...                        so many clients of `sealane hub serve`,
//   upgraded,
//                                                       that say nothing until standard input ends
//   load_hub accepted HOW PROFILE...                    `sealane hub serve`: from each client to
//   the
//                                                       next, in the clear; counted is what the hub
//                                                       said it has, which is synced where its
//                                                       queue is durable
//
// HOW: --server PID --size BYTES --count MESSAGES [--rate PER_SECOND]. Without a rate: as many as
// go, and the time from the first to the last. With one: each at its time, and how long it took
// from the call that sent it to the code that received it.
#include <time.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "app/hub_link.h"
#include "base/byte_reader.h"
#include "crypto/rsa_code.h"
#include "sealane/identity/keys.h"
#include "sealane/store/system.h"

#ifdef SEALANE_HAVE_NATS
#include <nats/nats.h>
#endif

namespace sealane {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr seconds kPatience{60};            // without a message
constexpr std::uint64_t kMaxWarmUp = 2000;  // messages before the clock starts
constexpr std::size_t kStampSize = 16;      // of each message: its number, when it was sent

struct Job {
  pid_t server = 0;
  std::size_t size = 128;   // bytes of one message
  std::uint64_t count = 0;  // messages on the clock
  std::uint64_t rate = 0;   // a second; 0: as many as go
  std::vector<std::string> words;
};

[[noreturn]] void fail(const std::string& why) {
  std::fprintf(stderr, "load_hub: %s\n", why.c_str());
  std::_Exit(1);  // threads are in the middle of something
}

SteadyTime now() { return std::chrono::steady_clock::now(); }

double cpu_seconds(clockid_t clock) {
  timespec spent{};
  if (::clock_gettime(clock, &spent) != 0) fail("the server is gone");
  return static_cast<double>(spent.tv_sec) + 1e-9 * static_cast<double>(spent.tv_nsec);
}

// Wall time, and CPU time of this process and of the server's.
class Stopwatch {
 public:
  explicit Stopwatch(pid_t server) {
    if (::clock_getcpuclockid(server, &server_clock_) != 0) fail("no such server");
    start();
  }
  void start() {
    client_ = cpu_seconds(CLOCK_PROCESS_CPUTIME_ID);
    server_ = cpu_seconds(server_clock_);
    begin_ = now();
  }
  nlohmann::json stop(std::uint64_t messages) const {
    const std::chrono::duration<double> wall = now() - begin_;
    return {{"messages", messages},
            {"seconds", wall.count()},
            {"client_cpu_s", cpu_seconds(CLOCK_PROCESS_CPUTIME_ID) - client_},
            {"server_cpu_s", cpu_seconds(server_clock_) - server_}};
  }

 private:
  clockid_t server_clock_{};
  SteadyTime begin_;
  double client_ = 0;
  double server_ = 0;
};

// What arrived. take() on one thread, the rest on another.
class Tally {
 public:
  explicit Tally(const Job& job) : size_(job.size), keeps_times_(job.rate > 0) {}
  void take(ByteSpan message) {
    const auto number = count_.load(std::memory_order_relaxed);
    if (message.size() != size_ || load<std::uint64_t>(message.first(8)) != number) {
      fail("message " + std::to_string(number) + " is missing, or cut");
    }
    if (keeps_times_) {
      const auto sent = load<std::uint64_t>(message.subspan(8, 8));
      const auto arrived = static_cast<std::uint64_t>(now().time_since_epoch().count());
      times_.push_back(static_cast<double>(arrived - sent) * 1e-3);
    }
    count_.store(number + 1, std::memory_order_release);
    if (number + 1 == wanted_.load()) {
      const std::lock_guard lock(mutex_);
      changed_.notify_all();
    }
  }
  std::uint64_t count() const { return count_.load(std::memory_order_acquire); }
  // Until so many arrived, or that time.
  void wait(std::uint64_t count, SteadyTime until) {
    wanted_ = count;
    std::unique_lock lock(mutex_);
    changed_.wait_until(lock, until, [&] { return this->count() >= count; });
  }
  // Microseconds, of all behind the first `skipped`.
  nlohmann::json latency(std::uint64_t skipped) {
    times_.erase(times_.begin(), times_.begin() + static_cast<std::ptrdiff_t>(skipped));
    std::ranges::sort(times_);
    return {{"p50", times_[times_.size() / 2]}, {"p99", times_[times_.size() * 99 / 100]}};
  }

 private:
  const std::size_t size_;
  const bool keeps_times_;
  std::atomic<std::uint64_t> count_ = 0;
  std::atomic<std::uint64_t> wanted_ = 0;
  std::vector<double> times_;
  std::mutex mutex_;
  std::condition_variable changed_;
};

// One side's way to send. On one thread.
class Sender {
 public:
  virtual ~Sender() = default;
  virtual void send(ByteSpan message) = 0;  // waits while there is no room
  virtual void wait(SteadyTime until) = 0;  // does what it has to do meanwhile
  virtual void flush() = 0;
};

void send_some(const Job& job, std::uint64_t from, std::uint64_t count, Sender& sender,
               Tally& tally) {
  Bytes message(job.size, std::byte{0x5a});
  const SteadyTime start = now();
  for (std::uint64_t i = 0; i < count; ++i) {
    if (job.rate > 0) {
      const SteadyTime due = start + std::chrono::nanoseconds(i * 1'000'000'000 / job.rate);
      while (now() < due) sender.wait(due);
    }
    store_integer(message, from + i);
    store_integer(MutableByteSpan(message).subspan(8),
                  static_cast<std::uint64_t>(now().time_since_epoch().count()));
    sender.send(message);
  }
  sender.flush();
  std::uint64_t arrived = tally.count();
  for (SteadyTime deadline = now() + kPatience; arrived < from + count;) {
    sender.wait(now() + milliseconds(5));
    tally.wait(from + count, now());
    if (tally.count() > arrived) deadline = now() + kPatience;
    arrived = tally.count();
    if (now() >= deadline) fail("only " + std::to_string(arrived) + " messages arrived");
  }
}

nlohmann::json run(const Job& job, Sender& sender, Tally& tally) {
  const std::uint64_t first = std::min(kMaxWarmUp, job.count);
  send_some(job, 0, first, sender, tally);
  Stopwatch watch(job.server);
  send_some(job, first, job.count, sender, tally);
  nlohmann::json result = watch.stop(job.count);
  if (job.rate > 0) result["latency_us"] = tally.latency(first);
  return result;
}

// ---- ours ---------------------------------------------------------------------------------------

struct Surroundings {
  app::Console console;
  flow::Cancellation cancel;
  app::Context context{console, system_files(), system_clock(), system_random(), cancel};
};

std::unique_ptr<app::HubLink> open_link(Surroundings& around, const std::string& profile,
                                        const std::string& identity, const std::string& trust,
                                        bool legacy = false) {
  app::HubLinkFlags flags;
  flags.legacy = legacy;
  flags.hub = profile;
  flags.identity = identity;
  flags.trust = trust;
  auto link = app::HubLink::open(around.context, flags);
  if (!link.has_value()) fail(link.error().message);
  const auto online = link.value()->wait_online(seconds(20));
  if (!online.has_value()) fail(online.error().message);
  return std::move(link).value();
}

// What no run has room for.
void refuse_trouble(const app::HubLinkEvent& event) {
  if (const auto* offline = std::get_if<node::HubOffline>(&event)) fail(offline->why.message);
  if (const auto* refused = std::get_if<node::HubRefused>(&event)) fail(std::string(refused->why));
  if (const auto* ended = std::get_if<app::HubSealedEnd>(&event)) fail(ended->why);
}

class SealedSender final : public Sender {
 public:
  SealedSender(app::HubLink& link, const hub::ClientId& to) : link_(link), to_(to) {}
  void send(ByteSpan message) override {
    const SteadyTime deadline = now() + kPatience;
    while (!link_.wants_sealed(to_) || !link_.send_sealed(to_, message)) {
      if (now() >= deadline) fail("no room for a message");
      wait(now() + milliseconds(100));
    }
  }
  void wait(SteadyTime until) override {
    if (const auto event = link_.next(until)) refuse_trouble(*event);
  }
  void flush() override {}  // it never holds back what nothing is in front of

 private:
  app::HubLink& link_;
  hub::ClientId to_;
};

class LegacySender final : public Sender {
 public:
  // A legacy hub loses frames that come in pieces, so nobody may fill a socket.
  static constexpr std::uint64_t kUnderWay = 32;
  LegacySender(app::HubLink& link, const hub::ClientId& to, Tally& tally)
      : link_(link), to_(to), tally_(tally) {}
  void send(ByteSpan message) override {
    const SteadyTime deadline = now() + kPatience;
    while (sent_ - tally_.count() >= kUnderWay || !link_.send_plain(to_, to_bytes(message))) {
      if (now() >= deadline) fail("no room for a message");
      wait(now());
      tally_.wait(sent_ + 1 - kUnderWay, now() + milliseconds(100));
    }
    ++sent_;
  }
  void wait(SteadyTime until) override {
    if (const auto event = link_.next(until)) refuse_trouble(*event);
  }
  void flush() override {}

 private:
  app::HubLink& link_;
  hub::ClientId to_;
  Tally& tally_;
  std::uint64_t sent_ = 0;
};

// Takes what comes to `b` while `sender` sends.
nlohmann::json run_pair(const Job& job, Sender& sender, app::HubLink& b, bool sealed,
                        Tally& tally) {
  std::atomic<bool> over = false;
  std::thread receiving([&] {
    while (!over) {
      const auto event = b.next(now() + milliseconds(50));
      if (!event) continue;
      if (const auto* arrival = std::get_if<app::HubArrival>(&*event)) {
        if (arrival->sealed != sealed) fail("a message came in another form than it was sent");
        tally.take(arrival->data);
      } else if (!over) {
        refuse_trouble(*event);
      }
    }
  });
  nlohmann::json result = run(job, sender, tally);
  over = true;
  receiving.join();
  return result;
}

nlohmann::json run_sealed(const Job& job) {
  if (job.words.size() != 5) fail("sealed needs two hub files, two identities, a trust file");
  const std::string& trust = job.words[4];
  Surroundings around;
  Tally tally(job);
  const auto b = open_link(around, job.words[2], job.words[3], trust);
  const auto a = open_link(around, job.words[0], job.words[1], trust);
  SealedSender sender(*a, b->profile().id);
  nlohmann::json result = run_pair(job, sender, *b, true, tally);
  a->close();
  b->close();
  return result;
}

nlohmann::json run_legacy(const Job& job) {
  if (job.words.size() != 2) fail("legacy needs two hub files");
  Surroundings around;
  Tally tally(job);
  const auto b = open_link(around, job.words[1], {}, "/dev/null", true);
  const auto a = open_link(around, job.words[0], {}, "/dev/null", true);
  LegacySender sender(*a, b->profile().id, tally);
  nlohmann::json result = run_pair(job, sender, *b, false, tally);
  a->close();
  b->close();
  return result;
}

nlohmann::json run_accepted(const Job& job) {
  const std::size_t clients = job.words.size();
  if (clients < 2) fail("accepted needs two hub files or more");
  constexpr std::uint64_t kUnderWay = 64;  // of each client
  Surroundings around;
  std::vector<std::unique_ptr<app::HubLink>> links;
  for (const std::string& profile : job.words) {
    links.push_back(open_link(around, profile, {}, "/dev/null"));
  }
  const std::uint64_t each = job.count / clients;
  std::atomic<std::uint64_t> accepted = 0;
  std::atomic<std::uint64_t> arrived = 0;
  std::atomic<bool> over = false;
  Stopwatch watch(job.server);
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < clients; ++i) {
    threads.emplace_back([&, i] {
      app::HubLink& link = *links[i];
      const hub::ClientId to = links[(i + 1) % clients]->profile().id;
      const Bytes message(job.size, std::byte{0x5a});
      std::uint64_t sent = 0;
      std::uint64_t answered = 0;
      while (!over) {
        while (sent < each && sent - answered < kUnderWay && link.send_plain(to, message)) ++sent;
        const auto event = link.next(now() + milliseconds(50));
        if (!event) continue;
        if (const auto* told = std::get_if<node::HubSent>(&*event)) {
          if (told->kind != hub::ReceiptKind::kAccepted) continue;
          ++answered;
          ++accepted;
        } else if (const auto* arrival = std::get_if<app::HubArrival>(&*event)) {
          link.received(*arrival->id);
          ++arrived;
        } else if (!over) {
          refuse_trouble(*event);
        }
      }
    });
  }
  const std::uint64_t all = each * clients;
  for (SteadyTime deadline = now() + kPatience; accepted < all;) {
    if (now() >= deadline) fail("only " + std::to_string(accepted) + " messages were accepted");
    std::this_thread::sleep_for(milliseconds(1));
  }
  nlohmann::json result = watch.stop(all);
  for (SteadyTime deadline = now() + kPatience; arrived < all;) {
    if (now() >= deadline) fail("only " + std::to_string(arrived) + " messages arrived");
    std::this_thread::sleep_for(milliseconds(1));
  }
  over = true;
  for (std::thread& thread : threads) thread.join();
  for (const auto& link : links) link->close();
  return result;
}

// Says "online" when all are; their heartbeats go on by themselves.
nlohmann::json run_idle(const Job& job) {
  Surroundings around;
  std::vector<std::unique_ptr<app::HubLink>> links;
  for (const std::string& profile : job.words) {
    links.push_back(open_link(around, profile, {}, "/dev/null"));
    if (!links.back()->upgraded()) fail(profile + " was not upgraded");
  }
  std::puts("online");
  std::fflush(stdout);
  while (std::getchar() != EOF) {
  }
  for (const auto& link : links) {
    while (const auto event = link->next(now())) refuse_trouble(*event);
  }
  return {{"clients", links.size()}};
}

// ---- nats-server --------------------------------------------------------------------------------

#ifdef SEALANE_HAVE_NATS

void check(natsStatus status, const char* what) {
  if (status != NATS_OK) fail(std::string(what) + ": " + natsStatus_GetText(status));
}

class NatsClient {
 public:
  NatsClient(const Job& job) {
    check(natsOptions_Create(&options_), "options");
    check(natsOptions_SetURL(options_, job.words[0].c_str()), "address");
    check(natsOptions_SetSecure(options_, true), "TLS");
    check(natsOptions_LoadCATrustedCertificates(options_, job.words[1].c_str()), "certificate");
    check(natsOptions_SetExpectedHostname(options_, "localhost"), "name");
    // Where each message counts by itself none waits for others.
    check(natsOptions_SetSendAsap(options_, job.rate > 0), "sending at once");
    check(natsConnection_Connect(&connection_, options_), "connect");
  }
  NatsClient(const NatsClient&) = delete;
  NatsClient& operator=(const NatsClient&) = delete;
  ~NatsClient() {
    natsConnection_Destroy(connection_);
    natsOptions_Destroy(options_);
  }
  natsConnection* get() { return connection_; }

 private:
  natsOptions* options_ = nullptr;
  natsConnection* connection_ = nullptr;
};

class NatsSender final : public Sender {
 public:
  explicit NatsSender(natsConnection* connection) : connection_(connection) {}
  void send(ByteSpan message) override {
    check(natsConnection_Publish(connection_, "load", message.data(),
                                 static_cast<int>(message.size())),
          "publish");
  }
  void wait(SteadyTime until) override { std::this_thread::sleep_until(until); }
  void flush() override { check(natsConnection_Flush(connection_), "flush"); }

 private:
  natsConnection* connection_;
};

constexpr bool kHasNats = true;

nlohmann::json run_nats(const Job& job) {
  if (job.words.size() != 2) fail("nats needs an address and a certificate");
  Tally tally(job);
  NatsClient publisher(job);
  NatsClient subscriber(job);
  natsSubscription* subscription = nullptr;
  check(natsConnection_Subscribe(
            &subscription, subscriber.get(), "load",
            [](natsConnection*, natsSubscription*, natsMsg* message, void* tally_of) {
              static_cast<Tally*>(tally_of)->take(as_bytes(
                  std::string_view(natsMsg_GetData(message),
                                   static_cast<std::size_t>(natsMsg_GetDataLength(message)))));
              natsMsg_Destroy(message);
            },
            &tally),
        "subscribe");
  check(natsSubscription_SetPendingLimits(subscription, -1, -1), "limits");
  check(natsConnection_Flush(subscriber.get()), "subscribe");
  NatsSender sender(publisher.get());
  nlohmann::json result = run(job, sender, tally);
  natsSubscription_Destroy(subscription);
  return result;
}

#else

constexpr bool kHasNats = false;

nlohmann::json run_nats(const Job&) { fail("this build has no libnats-dev"); }

#endif

// ---- the command line ---------------------------------------------------------------------------

template <class T>
T number_of(const std::string& text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) fail(text + " is no number");
  return value;
}

nlohmann::json run_words(const std::vector<std::string>& words) {
  Job job;
  for (std::size_t i = 1; i < words.size(); ++i) {
    const bool has_value = i + 1 < words.size();
    if (words[i] == "--server" && has_value) {
      job.server = number_of<pid_t>(words[++i]);
    } else if (words[i] == "--size" && has_value) {
      job.size = number_of<std::size_t>(words[++i]);
    } else if (words[i] == "--count" && has_value) {
      job.count = number_of<std::uint64_t>(words[++i]);
    } else if (words[i] == "--rate" && has_value) {
      job.rate = number_of<std::uint64_t>(words[++i]);
    } else {
      job.words.push_back(words[i]);
    }
  }
  if (job.count == 0 || job.size < kStampSize) fail("--count and --size (16 or more) are needed");
  if (words.empty()) fail("sealed, nats, legacy, idle or accepted?");
  if (words[0] == "sealed") return run_sealed(job);
  if (words[0] == "nats") return run_nats(job);
  if (words[0] == "legacy") return run_legacy(job);
  if (words[0] == "idle") return run_idle(job);
  if (words[0] == "accepted") return run_accepted(job);
  fail("sealed, nats, legacy, idle or accepted?");
}

// As the program does for its own long-lived clients; not where libnats computes.
void before_libraries(int argc, char** argv, char** environment) {
  if (argc > 1 && std::string_view(argv[1]) == "legacy") crypto::prefer_avx2_rsa(environment);
}
[[gnu::section(".preinit_array"),
  gnu::used]] void (*before_libraries_entry)(int, char**, char**) = before_libraries;

}  // namespace
}  // namespace sealane

int main(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  if (words == std::vector<std::string>{"has-nats"}) return sealane::kHasNats ? 0 : 1;
  std::printf("%s\n", sealane::run_words(words).dump().c_str());
}
