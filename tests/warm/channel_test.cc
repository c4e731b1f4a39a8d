// Goal: parts travel over real sockets into a sink, once and whole; what a peer must not do it
// cannot; nothing is applied that is not verified; every refusal is said on both sides. Method:
// Pusher and ChannelServer in one process, over TCP and UNIX sockets; foreign and hostile peers are
// plain sockets of the test that send recorded or made streams.
#include "warm/channel.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <condition_variable>
#include <fstream>
#include <future>
#include <mutex>

#include "crypto/hash.h"
#include "flow/workers.h"
#include "net/sockets.h"
#include "sealane/store/system.h"
#include "sealane/warm/memory.h"
#include "tests/entropy/support.h"
#include "tests/support/data_path.h"
#include "tests/support/doubles.h"
#include "tests/support/simulated_files.h"
#include "warm/peer_link.h"
#include "warm/resp.h"
#include "warm/spool.h"

namespace sealane::warm {
namespace {

using namespace std::chrono_literals;
using entropy::Reason;

Part part_of(std::size_t commands, std::size_t value_size, std::uint32_t index = 0) {
  Bytes bytes;
  for (std::size_t i = 0; i < commands; ++i) {
    RespWriter(bytes).command({"SET", "key" + std::to_string(i), std::string(value_size, 'v')});
  }
  Part out = make_part(std::move(bytes), commands, commands);
  out.index = index;
  return out;
}

// Collects what the server reports. Thread-safe.
class Intakes {
 public:
  void add(const Intake& intake) {
    const std::lock_guard lock(mutex_);
    all_.push_back(intake);
    changed_.notify_all();
  }
  // The next one.
  Intake next() {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, 120s, [this] { return at_ < all_.size(); }));
    return at_ < all_.size() ? all_[at_++] : Intake{};
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Intake> all_;
  std::size_t at_ = 0;
};

class Channel : public ::testing::TestWithParam<const char*> {
 protected:
  Channel() {
    std::string name = "/tmp/sealane-channel-XXXXXX";
    folder_ = ::mkdtemp(name.data());
    write("key", "sixteen letters!");
    write("iv", "other letters 16");
    write("secret", "hex:" + std::string(64, '5'));
    write("old", "hex:" + std::string(64, '4'));
    serve_.listen = {std::string(GetParam()) == "tcp" ? "tcp:127.0.0.1:0"
                                                      : "unix:" + folder_ + "/socket"};
    serve_.key_files = {path("key"), path("iv"), {path("secret"), path("old")}, false};
    serve_.spool_folder = folder_;
    serve_.spool_memory = std::size_t{1} << 20;  // so that larger parts use the disk
    serve_.on_intake = [this](const Intake& intake) { intakes_.add(intake); };
    serve_.max_per_source = 16;
  }
  ~Channel() override {
    server_.reset();
    for (const char* name : {"key", "iv", "secret", "old", "other"}) {
      static_cast<void>(::unlink(path(name).c_str()));
    }
    EXPECT_EQ(::rmdir(folder_.c_str()), 0) << "something is left in the spool folder";
  }
  std::string path(const std::string& name) const { return folder_ + "/" + name; }
  void write(const std::string& name, const std::string& content) {
    std::ofstream(path(name), std::ios::trunc) << content;
    ::chmod(path(name).c_str(), 0600);
  }
  void start() {
    auto made =
        ChannelServer::listen(serve_, sink_, system_files(), system_random(), system_clock());
    ASSERT_TRUE(made.has_value()) << made.error().message;
    server_ = std::move(made.value());
    push_.to = server_->local();
  }
  std::unique_ptr<Pusher> pusher(std::vector<std::string> secrets = {"secret"}) {
    ChannelKeyFiles names{path("key"), path("iv"), {}, false};
    for (const std::string& name : secrets) names.secrets.push_back(path(name));
    auto keys = load_channel_keys(system_files(), names);
    EXPECT_TRUE(keys.has_value());
    auto made = Pusher::create(push_, std::move(keys.value()), system_clock());
    EXPECT_TRUE(made.has_value());
    return std::move(made.value());
  }
  Series series(char which = 'a') const {
    Series out;
    out.snapshot.fill(static_cast<std::byte>(which));
    return out;
  }
  // A foreign peer's socket.
  flow::OwnedDescriptor connect() const {
    const net::Endpoint to = *net::parse_endpoint(server_->local());
    flow::OwnedDescriptor out(
        ::socket(to.address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(::connect(out.get(), to.address.get(), to.address.size), 0);
    return out;
  }
  static void send(const flow::OwnedDescriptor& socket, ByteSpan bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = ::send(socket.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) return;
      bytes = bytes.subspan(static_cast<std::size_t>(sent));
    }
  }
  // 0: an end; -1: a reset.
  static ssize_t read_end(const flow::OwnedDescriptor& socket) {
    char byte = 0;
    return ::recv(socket.get(), &byte, 1, 0);
  }
  Bytes foreign_stream(ByteSpan content, bool encrypted = true) const {
    entropy::SenderSetup setup;
    setup.encrypted = encrypted;
    return entropy::testing::encode_stream(
        setup, content, entropy::testing::keys_of("sixteen letters!", "other letters 16"));
  }

  std::string folder_;
  MemorySink sink_;
  Intakes intakes_;
  ServeOptions serve_;
  PushOptions push_;
  std::unique_ptr<ChannelServer> server_;
};
INSTANTIATE_TEST_SUITE_P(Kinds, Channel, ::testing::Values("tcp", "unix"),
                         [](const auto& param) { return std::string(param.param); });

TEST_P(Channel, APartArrivesAndIsAnswered) {
  start();
  push_.name = "shop";
  const Part part = part_of(1000, 100, 7);
  const auto report = pusher()->push(part, series(), nullptr);
  ASSERT_TRUE(report.has_value()) << report.error().message;
  EXPECT_EQ(report.value().verdict, PushVerdict::kApplied);
  EXPECT_EQ(report.value().applied, 1000u);
  const Intake intake = intakes_.next();
  EXPECT_TRUE(intake.authenticated);
  EXPECT_EQ(intake.part.sender, "shop");
  EXPECT_EQ(intake.part.index, 7u);
  ASSERT_TRUE(intake.result);
  const auto kept = sink_.take();
  ASSERT_EQ(kept.size(), 1u);
  EXPECT_EQ(kept[0].commands, part.commands);
}

TEST_P(Channel, APeerMayHaveAName) {
  start();
  const std::string port = push_.to.text.substr(push_.to.text.rfind(':') + 1);
  push_.to = {"tcp:nobody.invalid:1"};
  const auto unknown = pusher()->push(part_of(10, 10, 1), series(), nullptr);
  ASSERT_FALSE(unknown.has_value());
  EXPECT_NE(unknown.error().message.find("nobody.invalid"), std::string::npos)
      << unknown.error().message;
  if (std::string(GetParam()) != "tcp") return;
  push_.to = {"tcp:LOCALHOST:" + port};  // in capitals it is looked up
  const auto report = pusher()->push(part_of(10, 10, 1), series(), nullptr);
  ASSERT_TRUE(report.has_value()) << report.error().message;
  EXPECT_EQ(report.value().verdict, PushVerdict::kApplied);
}

TEST_P(Channel, ALargePartGoesThroughTheSpoolAndManyAtOnceDoNotMix) {
  serve_.policy.allow_plaintext = true;
  start();
  const auto encrypted = pusher();
  push_.encrypt = false;
  const auto plain = pusher();
  std::vector<Part> parts;
  for (std::uint32_t i = 0; i < 4; ++i) parts.push_back(part_of(100 + i, 40'000, i));
  {
    flow::Workers side_by_side(4);
    for (const Part& part : parts) {
      side_by_side.add([&, this] {
        const auto& pusher = part.index % 2 == 0 ? encrypted : plain;
        const auto report = pusher->push(part, series(), nullptr);
        ASSERT_TRUE(report.has_value()) << report.error().message;
        EXPECT_EQ(report.value().verdict, PushVerdict::kApplied);
      });
    }
  }
  EXPECT_GT(encrypted->bytes_sent(), parts[0].commands.size());
  auto kept = sink_.take();
  ASSERT_EQ(kept.size(), 4u);
  for (const auto& one : kept) EXPECT_EQ(one.commands, parts[one.info.index].commands);
}

TEST_P(Channel, TheSamePartTwiceIsAppliedOnceAndAnEmptyOneNever) {
  start();
  const auto sender = pusher();
  const Part part = part_of(10, 10);
  for (int i = 0; i < 3; ++i) {
    const auto report = sender->push(part, series(), nullptr);
    ASSERT_TRUE(report.has_value());
    EXPECT_EQ(report.value().verdict, PushVerdict::kApplied);
    EXPECT_EQ(report.value().applied, 10u) << "the first answer";
  }
  EXPECT_EQ(sink_.take().size(), 1u);
  const auto empty = sender->push(make_part({}, 0, 0), series('b'), nullptr);
  ASSERT_TRUE(empty.has_value());
  EXPECT_EQ(empty.value().verdict, PushVerdict::kApplied);
  EXPECT_TRUE(sink_.take().empty());
}

// Fails each part as a store that cannot take it.
class FailingSink final : public Sink {
 public:
  std::string description() const override { return "a store that fails"; }
  ApplyResult apply(const PartInfo&, PartContent&) override {
    ApplyResult result;
    for (int i = 0; i < 3; ++i) result.counts.count(cause);
    result.counts.count(Cause::kWrongType);  // not what most have in common
    result.counts.count(Cause::kExists, some_taken ? 9 : 0);
    result.error = Error{ErrorKind::kFailed, "no"};
    return result;
  }
  Cause cause = Cause::kOther;
  bool some_taken = false;
};

TEST_P(Channel, WhyASinkFailedIsSaidAtTheOtherEnd) {
  FailingSink sink;
  auto made = ChannelServer::listen(serve_, sink, system_files(), system_random(), system_clock());
  ASSERT_TRUE(made.has_value());
  push_.to = made.value()->local();
  auto keys = load_channel_keys(system_files(), {path("key"), path("iv"), {path("secret")}, false});
  const auto link =
      PeerLink::open(push_, std::move(keys.value()), system_clock(), system_random(), nullptr)
          .value();
  const SendPart send = link->sender();
  for (std::size_t i = 0; i < kCauseCount; ++i) {
    sink.cause = static_cast<Cause>(i);
    if (is_skip(sink.cause)) continue;
    SCOPED_TRACE(cause_name(sink.cause));
    for (const bool some : {false, true}) {
      sink.some_taken = some;
      const auto outcome = send(part_of(10, 10, static_cast<std::uint32_t>(i)));
      ASSERT_TRUE(outcome.has_value());
      // Another try would end the same way.
      const PartFate none = sink.cause == Cause::kSameStore ? PartFate::kRefused : PartFate::kLater;
      EXPECT_EQ(outcome.value().fate, some ? PartFate::kPartly : none);
      EXPECT_EQ(outcome.value().cause, cause_name(sink.cause));
      EXPECT_EQ(outcome.value().why.find("its log says why"), std::string::npos);
    }
    if (sink.cause == Cause::kDiskFull) {
      sink.some_taken = false;
      EXPECT_NE(send(part_of(10, 10, 77)).value().why.find("its disk is full"), std::string::npos);
    }
  }
}

TEST_P(Channel, ASinkThatFailsIsSaidAndThePartMayComeAgain) {
  start();
  Part broken = make_part(to_bytes("this is no command\r\n"), 1, 1);
  const auto sender = pusher();
  for (int i = 0; i < 2; ++i) {
    const auto report = sender->push(broken, series(), nullptr);
    ASSERT_TRUE(report.has_value());
    EXPECT_EQ(report.value().verdict, PushVerdict::kSinkFailed);
    EXPECT_EQ(report.value().cause, entropy::FailureCause::kRefused);
  }
  EXPECT_TRUE(sink_.take().empty());
}

TEST_P(Channel, AnotherSecretIsRefusedBothWays) {
  write("other", "hex:" + std::string(64, '7'));
  start();
  const auto refused = pusher({"other"})->push(part_of(3, 3), series(), nullptr);
  // It did not sign, so it gets no answer: a reset, or where all was read already, an end.
  if (refused.has_value()) {
    EXPECT_EQ(refused.value().verdict, PushVerdict::kUnknown);
  }
  EXPECT_EQ(intakes_.next().refused, Reason::kUnauthenticated);
  // The secret before the last one still counts, for a rotation.
  const auto old = pusher({"old"})->push(part_of(3, 3), series(), nullptr);
  ASSERT_TRUE(old.has_value());
  EXPECT_EQ(old.value().verdict, PushVerdict::kApplied);
  EXPECT_EQ(sink_.take().size(), 1u);
}

// As after a restart: what it had begun may be lost.
TEST_P(Channel, WhoAnsweredBeforeAndEndsWithoutAWordIsTriedAgain) {
  start();
  auto keys = load_channel_keys(system_files(), {path("key"), path("iv"), {path("secret")}, false});
  ASSERT_TRUE(keys.has_value());
  auto link =
      PeerLink::open(push_, std::move(keys.value()), system_clock(), system_random(), nullptr);
  ASSERT_TRUE(link.has_value());
  const SendPart send = link.value()->sender();
  const auto fate_of = [&](std::size_t values, std::uint32_t index) {
    const auto outcome = send(part_of(values, 500, index));
    EXPECT_TRUE(outcome.has_value());
    return outcome.has_value() ? outcome.value().fate : PartFate::kRefused;
  };
  EXPECT_EQ(fate_of(3, 0), PartFate::kApplied);
  EXPECT_FALSE(intakes_.next().refused);
  write("secret", "hex:" + std::string(64, '7'));  // now it takes nothing and says nothing
  for (const std::size_t values : {std::size_t{3}, std::size_t{20'000}}) {
    EXPECT_EQ(fate_of(values, 1), PartFate::kLater);
    EXPECT_EQ(intakes_.next().refused, Reason::kUnauthenticated);
  }
  write("secret", "hex:" + std::string(64, '5'));
  EXPECT_EQ(fate_of(3, 1), PartFate::kApplied);
}

// A receiver takes nothing that was made before it started, nor ten minutes off its clock.
TEST_P(Channel, AClockThatIsWrongCostsOneTry) {
  start();
  for (const auto off : {-5s, -7200s, 7200s}) {
    SCOPED_TRACE(off.count());
    std::vector<std::string> warnings;
    push_.on_warning = [&](const std::string& text) { warnings.push_back(text); };
    auto keys =
        load_channel_keys(system_files(), {path("key"), path("iv"), {path("secret")}, false});
    ASSERT_TRUE(keys.has_value());
    testing::ManualClock clock(system_clock().wall_now() + off);
    auto link = PeerLink::open(push_, std::move(keys.value()), clock, system_random(), nullptr);
    ASSERT_TRUE(link.has_value());
    const SendPart send = link.value()->sender();
    for (std::uint32_t index = 0; index < 3; ++index) {
      auto outcome = send(part_of(3, 3, index));
      ASSERT_TRUE(outcome.has_value());
      if (index == 0) {
        EXPECT_EQ(outcome.value().fate, PartFate::kLater);
        outcome = send(part_of(3, 3, index));
        ASSERT_TRUE(outcome.has_value());
      }
      EXPECT_EQ(outcome.value().fate, PartFate::kApplied) << outcome.value().why;
    }
    ASSERT_EQ(warnings.size(), 1U);
    EXPECT_NE(warnings[0].find(off.count() < 0 ? " s behind that of" : " s ahead of that of"),
              std::string::npos)
        << warnings[0];
  }
}

TEST_P(Channel, ARefusalNamesTheWayOut) {
  serve_.key_files.key.clear();
  serve_.key_files.iv.clear();
  serve_.policy.allow_plaintext = true;
  serve_.policy.max_snapshot = 1000;
  start();
  const auto why = [this](bool encrypt, std::size_t commands) {
    push_.encrypt = encrypt;
    auto keys =
        load_channel_keys(system_files(), {path("key"), path("iv"), {path("secret")}, false});
    auto link =
        PeerLink::open(push_, std::move(keys.value()), system_clock(), system_random(), nullptr);
    const auto outcome = link.value()->sender()(part_of(commands, 10));
    EXPECT_TRUE(outcome.has_value());
    EXPECT_EQ(outcome.value().fate, PartFate::kRefused);
    return outcome.value().why;
  };
  EXPECT_NE(why(true, 3).find("nothing to decrypt with"), std::string::npos);
  EXPECT_NE(why(false, 300).find("--part-size"), std::string::npos);
  server_.reset();
  serve_.policy.allow_plaintext = false;
  serve_.key_files.key = path("key");
  serve_.key_files.iv = path("iv");
  start();
  EXPECT_NE(why(false, 3).find("takes nothing in clear"), std::string::npos);
}

// Whoever came first has all connections that one host may have.
TEST_P(Channel, WhoFindsNoPlaceTriesAgainAndThenSaysRefused) {
  serve_.max_per_source = 1;
  serve_.max_connections = 1;
  start();
  auto taken = std::optional(connect());
  auto keys = load_channel_keys(system_files(), {path("key"), path("iv"), {path("secret")}, false});
  auto link =
      PeerLink::open(push_, std::move(keys.value()), system_clock(), system_random(), nullptr);
  const SendPart send = link.value()->sender();
  for (const std::size_t commands : {std::size_t{3}, std::size_t{100'000}}) {
    const auto outcome = send(part_of(commands, 100));
    ASSERT_TRUE(outcome.has_value()) << outcome.error().message;
    EXPECT_EQ(outcome.value().fate, PartFate::kLater);
    EXPECT_EQ(outcome.value().kind, ErrorKind::kRefused);
  }
  taken.reset();
  PartFate fate = PartFate::kLater;
  for (int i = 0; i < 500 && fate == PartFate::kLater; ++i) {
    std::this_thread::sleep_for(10ms);
    fate = send(part_of(3, 3)).value().fate;
  }
  EXPECT_EQ(fate, PartFate::kApplied);
}

TEST_P(Channel, KeysChangeBetweenTwoConnections) {
  start();
  const auto sender = pusher();
  const auto before = sender->push(part_of(3, 3), series('a'), nullptr);
  ASSERT_TRUE(before.has_value());
  EXPECT_EQ(before.value().verdict, PushVerdict::kApplied);
  write("key", "letters sixteen!");
  const auto wrong = sender->push(part_of(3, 3), series('b'), nullptr);
  ASSERT_TRUE(wrong.has_value()) << "it signed, so it is answered";
  EXPECT_EQ(wrong.value().verdict, PushVerdict::kRefused);
  const auto after = pusher()->push(part_of(3, 3), series('b'), nullptr);
  ASSERT_TRUE(after.has_value());
  EXPECT_EQ(after.value().verdict, PushVerdict::kApplied);
}

TEST_P(Channel, PlaintextIsRefusedWhateverTheWireSays) {
  start();
  push_.encrypt = false;
  const auto report = pusher()->push(part_of(3, 3), series(), nullptr);
  ASSERT_TRUE(report.has_value());
  EXPECT_EQ(report.value().verdict, PushVerdict::kRefused);
  EXPECT_EQ(intakes_.next().refused, Reason::kPlaintextRefused);
  EXPECT_TRUE(sink_.take().empty());
}

TEST_P(Channel, AForeignPeerIsTakenOnlyWhereItIsPinned) {
  const Part part = part_of(5, 50);
  for (const bool pinned : {false, true}) {
    serve_.foreign_unix = pinned;
    serve_.foreign_hosts = {pinned ? "127.0.0.1" : "127.0.0.9"};
    server_.reset();
    start();
    const auto socket = connect();
    send(socket, foreign_stream(part.commands));
    ::shutdown(socket.get(), SHUT_WR);
    const Intake intake = intakes_.next();
    EXPECT_FALSE(intake.authenticated);
    EXPECT_EQ(intake.refused.has_value(), !pinned);
    EXPECT_EQ(sink_.take().size(), pinned ? 1u : 0u);
    if (pinned) {
      EXPECT_EQ(read_end(socket), 0) << "never a byte";
    }
  }
}

// What the driver of the foreign engine sends every five minutes.
TEST_P(Channel, TheForeignEnginesEmptySnapshotChangesNothing) {
  serve_.foreign_unix = true;
  serve_.foreign_hosts = {"127.0.0.1"};
  start();
  const auto socket = connect();
  send(socket, foreign_stream({}));
  ::shutdown(socket.get(), SHUT_WR);
  const Intake intake = intakes_.next();
  EXPECT_FALSE(intake.refused);
  EXPECT_EQ(intake.part.size, 0u);
  EXPECT_TRUE(sink_.take().empty());
}

TEST_P(Channel, ToAForeignPeerTheResultIsUnknownOrARefusal) {
  serve_.foreign_unix = true;
  serve_.foreign_hosts = {"127.0.0.1"};
  start();
  push_.foreign = true;
  const auto taken = pusher()->push(part_of(5, 50), series(), nullptr);
  ASSERT_TRUE(taken.has_value()) << taken.error().message;
  EXPECT_EQ(taken.value().verdict, PushVerdict::kUnknown);
  EXPECT_FALSE(intakes_.next().authenticated);
  serve_.foreign_unix = false;
  serve_.foreign_hosts.clear();
  server_.reset();
  start();
  const auto refused = pusher()->push(part_of(2000, 5000), series(), nullptr);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(intakes_.next().refused, Reason::kUnauthenticated);
}

TEST_P(Channel, ASilentPeerDelaysNobodyAndIsClosedInTime) {
  serve_.policy.idle_timeout = 1s;
  start();
  const auto silent = connect();
  const Part part = part_of(10, 10);
  const auto half = connect();
  send(half, ByteSpan(foreign_stream(part.commands)).first(500));
  const auto report = pusher()->push(part, series(), nullptr);
  ASSERT_TRUE(report.has_value());
  EXPECT_EQ(report.value().verdict, PushVerdict::kApplied);
  EXPECT_EQ(read_end(silent), 0);
  EXPECT_LE(read_end(half), 0);
  int idle = 0;
  for (int i = 0; i < 3; ++i) {
    if (intakes_.next().refused == Reason::kIdleTimeout) ++idle;
  }
  EXPECT_EQ(idle, 2);
}

TEST_P(Channel, AResetAfterTheLastByteAppliesNothing) {
  serve_.policy.require_authenticated = false;
  start();
  {
    const auto socket = connect();
    send(socket, foreign_stream(part_of(5, 50).commands));
    // Not before all of it was read, or the reset would overtake it.
    std::this_thread::sleep_for(50ms);
    const linger now{1, 0};
    ::setsockopt(socket.get(), SOL_SOCKET, SO_LINGER, &now, sizeof now);
    if (std::string(GetParam()) == "unix") {
      // A UNIX socket is reset by input that its owner did not read; nobody writes to this one, so
      // closing is an end.
      ::shutdown(socket.get(), SHUT_WR);
    }
  }
  const Intake intake = intakes_.next();
  if (std::string(GetParam()) == "unix") {
    EXPECT_TRUE(intake.result);
    return;
  }
  EXPECT_EQ(intake.refused, Reason::kResetBeforeEof);
  EXPECT_TRUE(sink_.take().empty());
}

TEST_P(Channel, HostileStreamsAreRefusedAndTheServerGoesOn) {
  serve_.foreign_unix = true;
  serve_.foreign_hosts = {"127.0.0.1"};
  start();
  const std::string captures = testing::data_path("entropy/captures/");
  for (const auto& [name, reason] : std::vector<std::pair<std::string, Reason>>{
           {"magic_c_decimal", Reason::kBadMagic},
           {"total_len_fffffffe_no_data", Reason::kEofInChunkLength},
           {"chunk_len_ffffffff", Reason::kChunkExceedsCipherSize},
           {"trailing_one_byte", Reason::kTrailingBytes}}) {
    std::ifstream file(captures + name + ".bin", std::ios::binary);
    const std::string stream{std::istreambuf_iterator<char>(file), {}};
    const auto socket = connect();
    send(socket, as_bytes(stream));
    ::shutdown(socket.get(), SHUT_WR);
    const Intake intake = intakes_.next();
    EXPECT_EQ(intake.refused, reason) << name;
    EXPECT_FALSE(intake.why.empty());
  }
  const auto report = pusher()->push(part_of(3, 3), series(), nullptr);
  EXPECT_TRUE(report.has_value());
}

TEST_P(Channel, WhatDoesNotFitTheSpoolHasToWait) {
  serve_.max_spool = 1000;
  start();
  const auto sender = pusher();
  const auto large = sender->push(part_of(100, 100), series(), nullptr);
  ASSERT_TRUE(large.has_value());
  EXPECT_EQ(large.value().verdict, PushVerdict::kBusy);
  const auto small = sender->push(part_of(3, 3), series('b'), nullptr);
  ASSERT_TRUE(small.has_value());
  EXPECT_EQ(small.value().verdict, PushVerdict::kApplied);
}

TEST_P(Channel, ASpoolThatCannotBeWrittenIsSaid) {
  serve_.spool_folder = folder_ + "/nowhere";
  ASSERT_EQ(::mkdir(serve_.spool_folder.c_str(), 0700), 0);
  std::mutex mutex;
  std::vector<std::string> warnings;
  serve_.on_warning = [&](const std::string& text) {
    const std::lock_guard lock(mutex);
    warnings.push_back(text);
  };
  start();
  ASSERT_EQ(::rmdir(serve_.spool_folder.c_str()), 0);
  const auto report = pusher()->push(part_of(100, 40'000), series(), nullptr);
  ASSERT_TRUE(report.has_value()) << report.error().message;
  EXPECT_EQ(report.value().verdict, PushVerdict::kSinkFailed);
  EXPECT_EQ(report.value().cause, entropy::FailureCause::kSpool);
  EXPECT_EQ(intakes_.next().refused, Reason::kSpoolFailed);
  const std::lock_guard lock(mutex);
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_NE(warnings[0].find("nowhere"), std::string::npos);
}

TEST_P(Channel, NobodyThereIsSaidAndAPushCanBeGivenUp) {
  start();
  server_.reset();
  const auto nobody = pusher()->push(part_of(3, 3), series(), nullptr);
  ASSERT_FALSE(nobody.has_value());
  EXPECT_NE(nobody.error().message.find("nobody listens"), std::string::npos);
  // A peer that takes the connection and does nothing.
  auto listener = net::start_listen(*net::parse_endpoint(push_.to));
  ASSERT_TRUE(listener.has_value());
  flow::Cancellation cancel;
  flow::Workers canceller(1);
  canceller.add([&cancel] {
    std::this_thread::sleep_for(50ms);
    cancel.cancel();
  });
  const auto given_up = pusher()->push(part_of(3000, 10'000), series(), &cancel);
  ASSERT_FALSE(given_up.has_value());
  EXPECT_EQ(given_up.error().kind, ErrorKind::kInterrupted);
  if (std::string(GetParam()) == "unix") ::unlink(push_.to.text.c_str() + 5);
}

// All of the part may be in the kernel by then; it is not for that at the peer.
TEST_P(Channel, WhoEndsBeforeAllHasArrivedTookNothing) {
  start();
  server_.reset();
  const auto listener = net::start_listen(*net::parse_endpoint(push_.to));
  ASSERT_TRUE(listener.has_value());
  const int room = 4096;
  ::setsockopt(listener.value().get(), SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
  for (const bool foreign : {false, true}) {
    push_.foreign = foreign;
    flow::Workers peer(1);
    std::promise<void> pushed;
    peer.add([&] {
      pollfd ready{listener.value().get(), POLLIN, 0};
      EXPECT_EQ(::poll(&ready, 1, -1), 1);
      const flow::OwnedDescriptor taken(::accept(listener.value().get(), nullptr, nullptr));
      std::this_thread::sleep_for(20ms);
      ::shutdown(taken.get(), SHUT_WR);
      pushed.get_future().wait();
    });
    const auto report = pusher()->push(part_of(500, 100), series(), nullptr);
    pushed.set_value();
    ASSERT_FALSE(report.has_value());
    EXPECT_EQ(report.error().kind, ErrorKind::kRefused) << report.error().message;
  }
  if (std::string(GetParam()) == "unix") ::unlink(push_.to.text.c_str() + 5);
}

TEST_P(Channel, SetUpsThatDoNotFitAreRefused) {
  const auto serve_error = [this] {
    const auto made =
        ChannelServer::listen(serve_, sink_, system_files(), system_random(), system_clock());
    return made.has_value() ? std::string() : made.error().message;
  };
  const ServeOptions good = serve_;
  EXPECT_EQ(serve_error(), "");
  serve_.listen = {"nowhere"};
  EXPECT_NE(serve_error().find("HOST:PORT"), std::string::npos);
  serve_ = good;
  serve_.key_files.iv.clear();
  EXPECT_NE(serve_error().find("both"), std::string::npos);
  serve_ = good;
  serve_.key_files.secrets.clear();
  EXPECT_NE(serve_error().find("secret"), std::string::npos);
  serve_ = good;
  serve_.spool_folder = folder_ + "/nowhere";
  EXPECT_NE(serve_error().find("nowhere"), std::string::npos);
  serve_ = good;
  serve_.foreign_hosts = {"host.example"};
  EXPECT_NE(serve_error().find("number"), std::string::npos);
  write("other", "0123456789012345");
  serve_ = good;
  serve_.key_files.key = path("other");
  EXPECT_NE(serve_error().find("sample"), std::string::npos);
  serve_ = good;
  start();
  push_.header_size = 100;
  auto keys = load_channel_keys(system_files(), good.key_files);
  const auto made = Pusher::create(push_, std::move(keys.value()), system_clock());
  ASSERT_FALSE(made.has_value());
  EXPECT_EQ(made.error().kind, ErrorKind::kUsage);
}

TEST(ChannelAddress, HostsPortsAndPaths) {
  const auto text = [](std::string_view given) {
    const auto address = channel_address(given);
    return address ? address->text : "none";
  };
  EXPECT_EQ(text("10.1.2.3:99"), "tcp:10.1.2.3:99");
  EXPECT_EQ(text("10.1.2.3"), "tcp:10.1.2.3:8105");
  EXPECT_EQ(text("[::1]:99"), "tcp:[::1]:99");
  EXPECT_EQ(text("[::1]"), "tcp:[::1]:8105");
  EXPECT_EQ(text("unix:/run/x"), "unix:/run/x");
  EXPECT_EQ(text("vault.example:99"), "tcp:vault.example:99");
  EXPECT_EQ(text("vault.example"), "none") << "a file, or a name without its port";
  EXPECT_EQ(text("-x:99"), "none");
  EXPECT_EQ(text(""), "none");
}

TEST(ChannelKeyFilesOnDisk, OpenSecretsAreRefusedAndOpenKeysWarnedOf) {
  std::string name = "/tmp/sealane-keys-XXXXXX";
  const std::string folder = ::mkdtemp(name.data());
  const auto write = [&](const std::string& file, const std::string& content, mode_t mode) {
    std::ofstream(folder + "/" + file) << content;
    ::chmod((folder + "/" + file).c_str(), mode);
    return folder + "/" + file;
  };
  const std::string good = write("good", "sixteen letters!", 0600);
  const std::string open = write("open", "sixteen letters!", 0644);
  const std::string secret = write("secret", "hex:" + std::string(64, '5'), 0600);
  const std::string leaked = write("leaked", "hex:" + std::string(64, '5'), 0640);
  const auto both = load_channel_keys(system_files(), {good, good, {secret}, false});
  ASSERT_TRUE(both.has_value()) << both.error().message;
  ASSERT_EQ(both.value().warnings.size(), 1u);
  EXPECT_NE(both.value().warnings[0].find("same"), std::string::npos);
  EXPECT_EQ(both.value().secrets.size(), 1u);
  for (const ChannelKeyFiles& names :
       {ChannelKeyFiles{open, good, {}, false}, ChannelKeyFiles{good, open, {}, false}}) {
    const auto warned = load_channel_keys(system_files(), names);
    ASSERT_TRUE(warned.has_value()) << warned.error().message;
    ASSERT_EQ(warned.value().warnings.size(), 2u);
    EXPECT_NE(warned.value().warnings[0].find("chmod 600"), std::string::npos);
  }
  const auto refused = load_channel_keys(system_files(), {{}, {}, {secret, leaked}, false});
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().kind, ErrorKind::kFailed);
  EXPECT_NE(refused.error().message.find("chmod 600"), std::string::npos);
  const auto missing = load_channel_keys(system_files(), {folder + "/none", good, {}, false});
  ASSERT_FALSE(missing.has_value());
  for (const std::string& file : {good, open, secret, leaked}) ::unlink(file.c_str());
  ::rmdir(folder.c_str());
}

// A disk that fails at its Nth call, for every N until nothing fails.
TEST(SpoolOnABadDisk, SaysSoAndLeavesNothing) {
  for (int failing = 0;; ++failing) {
    ASSERT_LT(failing, 100);
    sealane::testing::SimulatedFiles files;
    ASSERT_TRUE(files.create_directory("/spool").has_value());
    files.reset_count();
    files.fail_call(static_cast<std::uint64_t>(failing), ENOSPC);
    sealane::testing::SeededRandom random(1);
    SpoolMemory memory(1024 * 1024);  // the rest goes to the disk
    Spool spool(files, random, memory, "/spool");
    const Bytes data = entropy::testing::random_bytes(300'000, 7);
    bool failed = false;
    for (int i = 0; i < 4 && !failed; ++i) failed = !spool.write(data).has_value();
    Bytes back;
    Spool::Content content(spool);
    while (!failed) {
      const auto got = content.next();
      failed = !got.has_value();
      if (failed || got.value().empty()) break;
      back.insert(back.end(), got.value().begin(), got.value().end());
    }
    if (failed) continue;
    ASSERT_EQ(back.size(), 4 * data.size());
    for (std::size_t i = 0; i < 4; ++i) {
      EXPECT_TRUE(std::ranges::equal(ByteSpan(back).subspan(i * data.size(), data.size()), data));
    }
    files.clear_faults();
    EXPECT_EQ(files.all_paths(), (std::vector<std::string>{"/spool/"}));
    return;
  }
}

}  // namespace
}  // namespace sealane::warm
