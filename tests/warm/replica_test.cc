// Goal: the image that a Redis gives to a replica arrives in another one as if each key had been
// asked for; what cannot be read, or stops, is an error with a way out. Method: real servers, whose
// own digests are compared; and one that sends what no real server would.
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <map>
#include <thread>

#include "base/byte_reader.h"
#include "sealane/store/system.h"
#include "sealane/warm/memory.h"
#include "tests/support/redis_server.h"
#include "tests/support/warm_redis.h"
#include "warm/redis_sink.h"
#include "warm/replica_source.h"

namespace sealane::warm {
namespace {

using std::chrono::milliseconds;
using testing::ask;
using testing::digest_of;
using testing::expiries;
using testing::link_to;
using testing::RedisServer;

std::vector<std::string> options_with(std::vector<std::string> more = {}) {
  std::vector<std::string> out = {"--enable-debug-command", "yes", "--repl-diskless-sync-delay",
                                  "0"};
  out.insert(out.end(), more.begin(), more.end());
  return out;
}

class Replica : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!RedisServer::installed()) GTEST_SKIP() << "redis-server or redis-cli is not installed";
  }
  static std::unique_ptr<ReplicaSource> source(const backup::RedisAddress& address,
                                               const RedisSourceOptions& options = {},
                                               const flow::Cancellation* cancel = nullptr) {
    auto opened = ReplicaSource::open(address, options, system_clock(), cancel);
    EXPECT_TRUE(opened.has_value()) << (opened.has_value() ? "" : opened.error().message);
    return std::move(opened).value();
  }
  struct Copied {
    ApplyCounts counts;
    std::size_t parts = 0;
    std::uint64_t keys = 0;
    std::optional<Error> error;
  };
  // All parts of `from` into `sink`.
  static Copied copy(Source& from, Sink* sink = nullptr) {
    Copied copied;
    for (;;) {
      auto part = from.next();
      if (!part.has_value()) {
        copied.error = part.error();
        return copied;
      }
      if (!part.value()) return copied;
      EXPECT_EQ(part.value()->index, copied.parts);
      EXPECT_EQ(part.value()->behind, kImageCursor);
      ++copied.parts;
      copied.keys += part.value()->keys;
      if (sink == nullptr) continue;
      PartInfo info;
      info.size = part.value()->commands.size();
      MemoryContent content(part.value()->commands);
      const ApplyResult result = sink->apply(info, content);
      EXPECT_FALSE(result.error) << result.error->message;
      copied.counts.add(result.counts);
    }
  }
  static Copied copy_well(Source& from, Sink* sink = nullptr) {
    Copied copied = copy(from, sink);
    EXPECT_FALSE(copied.error) << copied.error->message;
    EXPECT_EQ(copied.counts.failed, 0U);
    return copied;
  }
};

TEST_F(Replica, EveryTypeAndExpiryArrives) {
  struct Case {
    const char* name;
    std::vector<std::string> options;
  };
  RedisServer there(options_with());
  const auto b = link_to(there);
  RedisSourceOptions big;
  big.big_key_size = 20'000;
  big.part_size = 16'384;
  RedisSourceOptions small;
  small.part_size = kMinPartSize;
  for (const Case& one :
       {Case{"diskless", {"--repl-diskless-sync", "yes"}},
        Case{"disk", {"--repl-diskless-sync", "no"}},
        Case{"disk, plain",
             {"--repl-diskless-sync", "no", "--rdbcompression", "no", "--rdbchecksum", "no"}},
        Case{"plain",
             {"--repl-diskless-sync", "yes", "--rdbcompression", "no", "--rdbchecksum", "no"}}}) {
    SCOPED_TRACE(one.name);
    RedisServer here(options_with(one.options));
    const auto a = link_to(here);
    testing::fill_all_types(*a);
    ask(*a, {"FUNCTION", "LOAD",
             "#!lua name=x\nredis.register_function('f', function() return 1 end)"});
    for (const RedisSourceOptions& options : {RedisSourceOptions{}, big, small}) {
      ask(*b, {"FLUSHALL"});
      const auto from = source(here.address(), options);
      EXPECT_EQ(from->progress().total_keys, 20U);
      RedisSink sink(there.address(), ApplyMode::kFillMissing, nullptr);
      const Copied copied = copy_well(*from, &sink);
      EXPECT_EQ(copied.keys, 20U);
      EXPECT_EQ(digest_of(*a), digest_of(*b));
      EXPECT_EQ(expiries(*a), expiries(*b));
      EXPECT_EQ(from->progress().keys, 20U);
      EXPECT_EQ(from->progress().left_out, 0U);
      if (options.part_size < kDefaultPartSize) {
        EXPECT_GT(copied.parts, 5U);
      }
      // Again it changes nothing.
      const auto again = source(here.address(), options);
      const Copied second = copy_well(*again, &sink);
      EXPECT_GE(second.counts.causes[static_cast<std::size_t>(Cause::kExists)], 20U);
      EXPECT_EQ(digest_of(*a), digest_of(*b));
      EXPECT_EQ(expiries(*a), expiries(*b));
    }
    EXPECT_EQ(info_field(ask(*a, {"INFO", "replication"}).text, "connected_slaves"), "0");
  }
}

TEST_F(Replica, SmallTextsTravelManyAtATimeHoweverTheyWereStored) {
  RedisServer here(options_with());
  RedisServer there(options_with());
  const auto a = link_to(here);
  const auto b = link_to(there);
  for (int i = 0; i < 1000; ++i) {
    const std::string n = std::to_string(i);
    a->commands().command({"SET", "number" + n, n});
    a->commands().command({"SET", n, "text " + n});
    a->commands().command({"SET", "packed" + n, std::string(900, 'x') + n});
  }
  for (int i = 0; i < 3000; ++i) ASSERT_FALSE(a->reply().value().is_error());
  for (const auto mode : {ApplyMode::kFillMissing, ApplyMode::kOverwrite}) {
    ask(*b, {"FLUSHALL"});
    ask(*b, {"CONFIG", "RESETSTAT"});
    RedisSink sink(there.address(), mode, nullptr);
    EXPECT_EQ(copy_well(*source(here.address()), &sink).counts.applied, 3000U);
    EXPECT_EQ(digest_of(*a), digest_of(*b));
    EXPECT_EQ(ask(*b, {"INFO", "commandstats"}).text.find("cmdstat_restore:"), std::string::npos);
  }
}

TEST_F(Replica, OneDatabaseAndRangeIsCopied) {
  RedisServer here(options_with());
  RedisServer there(options_with());
  const auto a = link_to(here);
  testing::fill_mixed(*a, 0, 800, "zero");
  ask(*a, {"SELECT", "3"});
  testing::fill_mixed(*a, 0, 500, "three");
  backup::RedisAddress from = here.address();
  backup::RedisAddress to = there.address();
  from.database = 3;
  to.database = 2;
  const auto b = link_to(there);
  ask(*b, {"SELECT", "2"});
  std::uint64_t inside = 0;
  for (const TokenRange range :
       {TokenRange{.start = 0, .end = 1U << 31}, TokenRange{.start = 1U << 31, .end = 0}}) {
    RedisSourceOptions options;
    options.range = range;
    const auto one = source(from, options);
    EXPECT_EQ(one->progress().total_keys, 500U);
    RedisSink sink(to, ApplyMode::kFillMissing, nullptr);
    copy_well(*one, &sink);
    EXPECT_EQ(one->progress().keys + one->progress().out_of_range, 500U);
    EXPECT_GT(one->progress().out_of_range, 100U);
    inside += one->progress().keys;
  }
  EXPECT_EQ(inside, 500U);
  EXPECT_EQ(ask(*b, {"DBSIZE"}).integer, 500);
  EXPECT_EQ(info_field(ask(*b, {"INFO", "keyspace"}).text, "db0"), "");
  EXPECT_EQ(expiries(*a), expiries(*b));
  // DEBUG DIGEST counts the number of the database, so both go to the same.
  ask(*b, {"SWAPDB", "2", "3"});
  ask(*a, {"SELECT", "0"});
  ask(*a, {"FLUSHDB"});
  EXPECT_EQ(digest_of(*a), digest_of(*b));
}

TEST_F(Replica, OverwriteReplacesWhatIsThere) {
  RedisServer here(options_with());
  RedisServer there(options_with());
  const auto a = link_to(here);
  const auto b = link_to(there);
  testing::fill_all_types(*a);
  testing::fill_all_types(*b);
  ask(*b, {"SET", "text", "other"});
  ask(*b, {"RPUSH", "biglist", "one more"});
  ask(*b, {"DEL", "hash"});
  RedisSourceOptions options;
  options.big_key_size = 20'000;
  RedisSink gentle(there.address(), ApplyMode::kFillMissing, nullptr);
  copy_well(*source(here.address(), options), &gentle);
  EXPECT_EQ(ask(*b, {"GET", "text"}).text, "other");
  RedisSink harsh(there.address(), ApplyMode::kOverwrite, nullptr);
  EXPECT_EQ(copy_well(*source(here.address(), options), &harsh).counts.skipped, 0U);
  EXPECT_EQ(digest_of(*a), digest_of(*b));
  EXPECT_EQ(expiries(*a), expiries(*b));
}

TEST_F(Replica, WhatIsNoDataIsLeftOut) {
  RedisServer here(options_with());
  const auto a = link_to(here);
  ask(*a, {"DEBUG", "SET-ACTIVE-EXPIRE", "0"});
  ask(*a, {"SET", "gone", "x", "PX", "1"});
  ask(*a, {"SET", "stays", "x"});
  ask(*a, {"SET", std::string(kTemporaryPrefix) + "abc", "x"});
  std::this_thread::sleep_for(milliseconds(20));
  const auto from = source(here.address());
  EXPECT_EQ(copy_well(*from).keys, 1U);
  EXPECT_EQ(from->progress().vanished, 1U);
  EXPECT_EQ(from->progress().keys, 1U);
}

TEST_F(Replica, BigKeysAreThoseOfTheTimeAfterTheImage) {
  RedisServer here(options_with());
  RedisServer there(options_with());
  const auto a = link_to(here);
  const auto b = link_to(there);
  for (int i = 0; i < 300; ++i) {
    ask(*a, {"SET", "small" + std::to_string(i), std::string(100, 's')});
  }
  // Not compressible to nothing.
  std::string noise(300'000, ' ');
  std::uint64_t state = 1;
  for (char& c : noise) {
    state = state * 6364136223846793005U + 1442695040888963407U;
    c = static_cast<char>(state >> 56);
  }
  for (const char* const key : {"big", "removed", "changed"}) ask(*a, {"SET", key, noise});
  RedisSourceOptions options;
  options.big_key_size = 100'000;
  options.part_size = kMinPartSize;
  const auto from = source(here.address(), options);
  RedisSink sink(there.address(), ApplyMode::kFillMissing, nullptr);
  auto first = from->next();
  ASSERT_TRUE(first.has_value() && first.value());
  ask(*a, {"DEL", "removed"});
  ask(*a, {"SET", "changed", noise + "more"});
  ask(*a, {"SET", "small299", "changed"});
  for (auto part = std::move(first);; part = from->next()) {
    ASSERT_TRUE(part.has_value()) << part.error().message;
    if (!part.value()) break;
    PartInfo info;
    info.size = part.value()->commands.size();
    MemoryContent content(part.value()->commands);
    EXPECT_FALSE(sink.apply(info, content).error);
  }
  EXPECT_EQ(from->progress().vanished, 1U);
  EXPECT_EQ(ask(*b, {"DBSIZE"}).integer, 302);
  EXPECT_EQ(ask(*b, {"GET", "changed"}).text, noise + "more");
  EXPECT_EQ(ask(*b, {"GET", "small299"}).text, std::string(100, 's')) << "of the image";
}

TEST_F(Replica, RatesHold) {
  RedisServer here(options_with());
  const auto a = link_to(here);
  for (int i = 0; i < 3000; ++i) {
    a->commands().command({"SET", "k" + std::to_string(i), std::string(200, 'x')});
  }
  for (int i = 0; i < 3000; ++i) ASSERT_FALSE(a->reply().value().is_error());
  RedisSourceOptions options;
  options.bytes_per_second = 1'000'000;
  const auto from = source(here.address(), options);
  const auto start = std::chrono::steady_clock::now();
  copy_well(*from);
  const auto bytes = from->progress().bytes;
  EXPECT_GT(bytes, 700'000U);
  EXPECT_GE(std::chrono::steady_clock::now() - start, milliseconds(400));
  // Raised while it waits.
  options.bytes_per_second = 1000;
  const auto slow = source(here.address(), options);
  std::thread later([&] {
    std::this_thread::sleep_for(milliseconds(200));
    slow->set_rate(0);
  });
  copy_well(*slow);
  later.join();
  EXPECT_LE(std::chrono::steady_clock::now() - start, std::chrono::seconds(60));
}

TEST_F(Replica, WaitsEndByInterruptionAndCancellation) {
  RedisServer here({"--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "60"});
  flow::Cancellation cancel;
  for (const bool by_cancel : {false, true}) {
    const auto from = source(here.address(), {}, &cancel);
    std::thread later([&] {
      std::this_thread::sleep_for(milliseconds(100));
      if (by_cancel) {
        cancel.cancel();
      } else {
        from->interrupt();
      }
    });
    const Copied copied = copy(*from);
    later.join();
    ASSERT_TRUE(copied.error);
    EXPECT_EQ(copied.error->kind, ErrorKind::kInterrupted);
  }
}

TEST_F(Replica, ACutRunStartsOver) {
  RedisServer here(options_with());
  const auto from = source(here.address());
  auto resumed = from->resume(std::string(kImageCursor));
  ASSERT_TRUE(resumed.has_value());
  EXPECT_FALSE(resumed.value());
  auto scan = RedisSource::open(here.address(), {}, system_clock(), nullptr);
  ASSERT_TRUE(scan.has_value());
  resumed = scan.value()->resume(std::string(kImageCursor));
  ASSERT_TRUE(resumed.has_value());
  EXPECT_FALSE(resumed.value()) << "and so does one without --as-replica behind it";
  resumed = from->resume("r1:abc:0:0-0:17:3");
  ASSERT_TRUE(resumed.has_value());
  EXPECT_FALSE(resumed.value());
  EXPECT_EQ(from->resume("f1:1:2:3").error().kind, ErrorKind::kUsage);
}

TEST_F(Replica, WhoMayNotSyncIsToldSo) {
  RedisServer here(options_with());
  const auto a = link_to(here);
  ask(*a, {"ACL", "SETUSER", "copy", "on", ">secret", "~*", "+@all", "-sync"});
  backup::RedisAddress address = here.address();
  address.user = "copy";
  address.password = std::make_shared<const SecretBytes>(std::string_view("secret"));
  const Copied copied = copy(*source(address));
  ASSERT_TRUE(copied.error);
  EXPECT_NE(copied.error->message.find("NOPERM"), std::string::npos) << copied.error->message;
  EXPECT_NE(copied.error->message.find("+sync"), std::string::npos) << copied.error->message;
  // Without REPLCONF it goes on, as with an old server.
  ask(*a, {"ACL", "SETUSER", "copy", "on", ">secret", "~*", "+@all", "-replconf", "+sync"});
  ask(*a, {"SET", "k", "v"});
  EXPECT_EQ(copy_well(*source(address)).keys, 1U);
}

// ---- A server that sends what no real one would ----

constexpr const char* kLoadingInfo =
    "# Persistence\r\nloading:1\r\nloading_loaded_perc:35.20\r\nloading_eta_seconds:40\r\n";
std::string sized(const std::string& content) {
  return "$" + std::to_string(content.size()) + "\r\n" + content;
}

class OddServer {
 public:
  std::atomic<int> loading_pings{0};  // so many are answered with LOADING

  // Answers SYNC with `sync`, then closes, or says nothing more.
  OddServer(std::string sync, bool closes) : sync_(std::move(sync)), closes_(closes) {
    path_ = folder_.path() + "/s";
    sockaddr_un to{};
    to.sun_family = AF_UNIX;
    std::ranges::copy(path_, to.sun_path);
    listener_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    EXPECT_EQ(::bind(listener_, reinterpret_cast<sockaddr*>(&to), sizeof to), 0);
    EXPECT_EQ(::listen(listener_, 4), 0);
    thread_ = std::thread([this] { serve(); });
  }
  ~OddServer() {
    stop();
    ::close(listener_);
  }
  void stop() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
  }
  backup::RedisAddress address() const {
    return backup::parse_redis_url("redis+unix://" + path_).value();
  }

 private:
  bool wait(int socket) const {
    pollfd ready{socket, POLLIN, 0};
    while (!stop_) {
      if (::poll(&ready, 1, 10) > 0) return true;
    }
    return false;
  }
  void serve() {
    while (wait(listener_)) {
      const int peer = ::accept(listener_, nullptr, nullptr);
      RespSplitter splitter;
      ByteArray<4096> buffer{};
      for (bool open = true; open && wait(peer);) {
        const ssize_t got = ::recv(peer, buffer.data(), buffer.size(), 0);
        if (got <= 0) break;
        splitter.feed(ByteSpan(buffer).first(static_cast<std::size_t>(got)));
        for (auto command = splitter.next(); open && command.value(); command = splitter.next()) {
          const std::string word = to_text(command.value()->words[0]);
          std::string answer = "+OK\r\n";
          if (word == "DBSIZE") answer = ":3\r\n";
          if (word == "PING" && loading_pings > 0) {
            --loading_pings;
            answer = "-LOADING Redis is loading the dataset in memory\r\n";
          }
          if (word == "INFO") answer = sized(kLoadingInfo) + "\r\n";
          if (word == "TIME") answer = "*2\r\n$10\r\n1700000000\r\n$1\r\n0\r\n";
          if (word == "SYNC") answer = sync_;
          send_all(peer, answer);
          open = word != "SYNC" || !closes_;
        }
      }
      ::close(peer);
    }
  }
  void send_all(int peer, std::string_view rest) const {
    while (!rest.empty() && !stop_) {
      const ssize_t put = ::send(peer, rest.data(), rest.size(), MSG_NOSIGNAL);
      if (put <= 0) return;
      rest.remove_prefix(static_cast<std::size_t>(put));
    }
  }

  backup::TemporaryFolder folder_ =
      std::move(backup::TemporaryFolder::create("sealane-odd-", "/tmp")).value();
  std::string path_;
  std::string sync_;
  bool closes_;
  int listener_ = -1;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

std::string rdb_text(const std::string& value) {
  EXPECT_LT(value.size(), 64U);
  return std::string(1, static_cast<char>(value.size())) + value;
}
std::string rdb_file(const std::string& keys) {
  std::string out = "REDIS0010" + keys + '\xff';
  ByteArray<8> crc{};
  store_integer(crc, backup::crc64(0, as_bytes(out)), Endian::kLittle);
  return out + to_text(crc);
}

TEST_F(Replica, AServerThatLoadsIsWaitedForAndSaidOnce) {
  OddServer server("", true);
  std::vector<backup::RedisLoading> told;
  const backup::OnLoading tell = [&told](const backup::RedisLoading& loading) {
    told.push_back(loading);
  };
  server.loading_pings = 4;
  const auto link = RedisLink::open_loaded(server.address(), nullptr, tell);
  ASSERT_TRUE(link.has_value()) << link.error().message;
  EXPECT_FALSE(link.value()->loading());
  ASSERT_EQ(told.size(), 1U);
  EXPECT_EQ(told[0].percent, 35.2);
  EXPECT_EQ(told[0].eta_seconds, 40U);
  EXPECT_NE(describe(told[0]).find(" is loading its file (35 %, about 40 s more); waiting"),
            std::string::npos)
      << describe(told[0]);
}

TEST_F(Replica, AServerThatLoadsIsNotWaitedForForEver) {
  OddServer server("", true);
  server.loading_pings = 1'000'000;
  {
    const auto link = RedisLink::open(server.address(), nullptr);
    ASSERT_TRUE(link.has_value());
    EXPECT_TRUE(link.value()->loading());
    const auto over = link.value()->wait_until_loaded({}, std::chrono::milliseconds(120));
    ASSERT_FALSE(over.has_value());
    EXPECT_EQ(over.error().kind, ErrorKind::kFailed);
    link.value()->interrupt();
    const auto stopped = link.value()->wait_until_loaded({});
    ASSERT_FALSE(stopped.has_value());
    EXPECT_EQ(stopped.error().kind, ErrorKind::kInterrupted);
  }
  // Nor one that ends.
  std::thread ends([&server] {
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    server.stop();
  });
  const auto link = RedisLink::open_loaded(server.address(), nullptr, {});
  ends.join();
  ASSERT_FALSE(link.has_value());
  EXPECT_NE(link.error().message.find("was lost"), std::string::npos) << link.error().message;
}

TEST_F(Replica, WhatNoRedisSendsIsAnErrorWithAWayOut) {
  const std::string key = std::string(1, '\0') + rdb_text("k") + rdb_text("v");
  const std::string whole = sized(rdb_file(key));
  const auto error_of = [](const std::string& sync, bool closes = true) {
    OddServer server(sync, closes);
    const auto from = source(server.address());
    const Copied copied = copy(*from);
    EXPECT_TRUE(copied.error) << sync;
    EXPECT_EQ(copied.parts, 0U) << "what may be damaged and is still here is not handed out";
    return copied.error ? copied.error->message : std::string();
  };
  const auto says = [](const std::string& message, std::string_view what) {
    EXPECT_NE(message.find(what), std::string::npos) << message;
  };
  says(error_of("-LOADING Redis is loading\r\n"), "LOADING");
  says(error_of("-ERR unknown command 'SYNC'\r\n"), "push without --as-replica");
  says(error_of("-NOMASTERLINK Can't SYNC\r\n"), "NOMASTERLINK");
  says(error_of("+OK\r\n"), "does not answer SYNC");
  says(error_of("\n\n"), "was lost");
  says(error_of(whole.substr(0, whole.size() - 20)), "pushing again is harmless");
  says(error_of(whole.substr(0, whole.size() - 20)), "repl-timeout");
  says(error_of("$20\r\nREDIS0010" + std::string(100, 'x')), "push without --as-replica");
  says(error_of(sized(rdb_file(std::string(1, '\x1a') + rdb_text("k") + rdb_text("v")))),
       "newer server");
  says(error_of(sized(rdb_file(std::string(1, '\0') + rdb_text("k") + "\x81\x7f\x7f\x7f\x7f")) +
                std::string(100, 'x')),
       "512 MiB");
  std::string damaged = whole;
  damaged.back() = static_cast<char>(damaged.back() ^ 1);
  says(error_of(damaged), "checksum is wrong");
  says(error_of("$EOF:" + std::string(40, 'a') + "\r\n" + rdb_file(key) + std::string(40, 'b')),
       "does not end where it says");
}

TEST_F(Replica, NewerServersAreReadAsFarAsTheyAreKnown) {
  const auto image = [](std::string head, const std::string& keys) {
    std::string out = std::move(head) + keys + '\xff';
    ByteArray<8> crc{};
    store_integer(crc, backup::crc64(0, as_bytes(out)), Endian::kLittle);
    return out + to_text(crc);
  };
  const auto entry = [](char type, const std::string& key, const std::string& value) {
    return std::string(1, type) + rdb_text(key) + value;
  };
  const std::string timed = std::string(1, '\x01') + rdb_text("field") + rdb_text("value") +
                            std::string(7, '\x01') + '\0';
  // A Valkey 9, without a disk, and a Redis 8, with one.
  const std::string mark(40, 'm');
  for (const bool valkey : {true, false}) {
    const std::string keys = entry('\0', "text", rdb_text("v")) + '\xfc' + std::string(7, '\x7f') +
                             '\0' + entry('\0', "expires", rdb_text("v")) +
                             (valkey ? entry('\x16', "timed", timed) : std::string());
    OddServer server(valkey ? "$EOF:" + mark + "\r\n" + image("VALKEY080", keys) + mark
                            : sized(image("REDIS0012", keys)),
                     false);
    const auto from = source(server.address());
    const auto part = from->next();
    ASSERT_TRUE(part.has_value()) << part.error().message;
    ASSERT_TRUE(part.value());
    EXPECT_EQ(part.value()->keys, valkey ? 3U : 2U);
    RespSplitter splitter;
    splitter.feed(part.value()->commands);
    std::map<std::string, std::string> dumps;
    for (auto command = splitter.next(); command.value(); command = splitter.next()) {
      const auto& words = command.value()->words;
      if (to_text(words[0]) == "RESTORE") dumps[to_text(words[1])] = to_text(words[3]);
    }
    // Versions: what a Redis 5 takes, and what only a Valkey 9 does.
    EXPECT_EQ(dumps.at("expires")[dumps.at("expires").size() - 10], 9);
    if (valkey) {
      EXPECT_EQ(dumps.at("timed")[dumps.at("timed").size() - 10], 80);
      EXPECT_TRUE(dumps.at("timed").starts_with('\x16' + timed));
    }
  }
  // What is not known ends the run, and what came before is told to be good.
  const auto error_of = [](const std::string& sync) {
    OddServer server(sync, true);
    const Copied copied = copy(*source(server.address()));
    EXPECT_TRUE(copied.error);
    return copied.error ? copied.error->message : std::string();
  };
  EXPECT_NE(error_of(sized(image("REDIS0013", ""))).find("RDB version 13"), std::string::npos);
  EXPECT_NE(error_of(sized(image("VALKEY081", ""))).find("RDB version 81"), std::string::npos);
  const std::string unknown = error_of(
      sized(image("REDIS0012", entry('\0', "text", rdb_text("v")) + entry('\x16', "k", timed))));
  EXPECT_NE(unknown.find("what was copied before it is good and stays"), std::string::npos)
      << unknown;
}

TEST_F(Replica, NamesOfBigKeysAreBounded) {
  std::string keys;
  for (std::size_t i = 0; i <= kMaxBigKeys; ++i) {
    keys += std::string(1, '\0') + rdb_text(std::to_string(i)) + rdb_text(std::string(60, 'x'));
  }
  RedisSourceOptions options;
  options.big_key_size = 50;
  OddServer server(sized(rdb_file(keys)), false);
  const Copied copied = copy(*source(server.address(), options));
  ASSERT_TRUE(copied.error);
  EXPECT_NE(copied.error->message.find("larger --big-key"), std::string::npos)
      << copied.error->message;
}

}  // namespace
}  // namespace sealane::warm
