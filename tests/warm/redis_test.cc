// Goal: what a Redis holds arrives in another one: every type, exact expiries, nothing lost,
// nothing brought back; every answer counted; each way a server says no has its cause. Method: real
// servers, started privately; parts go straight from source to sink, and both stores are compared
// by the servers' own digests.
#include <gtest/gtest.h>

#include <chrono>
#include <map>
#include <random>
#include <thread>

#include "sealane/store/system.h"
#include "sealane/warm/memory.h"
#include "tests/support/doubles.h"
#include "tests/support/redis_server.h"
#include "tests/support/warm_redis.h"
#include "warm/key_store.h"
#include "warm/redis_sink.h"
#include "warm/redis_source.h"
#include "warm/string_dump.h"

namespace sealane::warm {
namespace {

using testing::expiries;
using testing::fill_all_types;
using testing::RedisServer;

const std::vector<std::string> kDebug = {"--enable-debug-command", "yes"};

class Redis : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!RedisServer::installed()) GTEST_SKIP() << "redis-server or redis-cli is not installed";
  }

  static std::unique_ptr<RedisLink> link(const RedisServer& server) {
    auto opened = RedisLink::open(server.address(), nullptr);
    EXPECT_TRUE(opened.has_value()) << (opened.has_value() ? "" : opened.error().message);
    return std::move(opened).value();
  }
  static RedisReply ask(RedisLink& link, std::initializer_list<std::string_view> words) {
    auto reply = link.ask(words);
    EXPECT_TRUE(reply.has_value()) << (reply.has_value() ? "" : reply.error().message);
    EXPECT_FALSE(reply.value().is_error()) << reply.value().text;
    return std::move(reply).value();
  }
  std::unique_ptr<RedisSource> source(const RedisServer& server, RedisSourceOptions options = {}) {
    auto opened = RedisSource::open(server.address(), options, system_clock(), nullptr);
    EXPECT_TRUE(opened.has_value()) << (opened.has_value() ? "" : opened.error().message);
    return std::move(opened).value();
  }
  // Text that a server cannot compress.
  static std::string noise(std::size_t size, std::uint64_t seed) {
    std::mt19937_64 engine(seed);
    std::string out(size, ' ');
    for (char& c : out) c = static_cast<char>('!' + engine() % 90);
    return out;
  }
  static PartInfo info(std::uint64_t size) {
    PartInfo part;
    part.size = size;
    return part;
  }
  // All parts of `from` into `sink`.
  static ApplyCounts copy(Source& from, Sink& sink, std::size_t* parts = nullptr) {
    ApplyCounts counts;
    for (;;) {
      auto part = from.next();
      EXPECT_TRUE(part.has_value()) << (part.has_value() ? "" : part.error().message);
      if (!part.has_value() || !part.value()) return counts;
      MemoryContent content(part.value()->commands);
      const ApplyResult result = sink.apply(info(part.value()->commands.size()), content);
      EXPECT_FALSE(result.error) << result.error->message;
      counts.add(result.counts);
      if (parts != nullptr) ++*parts;
    }
  }
  static ApplyResult apply(Sink& sink, ByteSpan commands) {
    MemoryContent content(commands);
    return sink.apply(info(commands.size()), content);
  }
  static Bytes one(std::initializer_list<std::string_view> words) {
    Bytes out;
    RespWriter(out).command(words);
    return out;
  }
  static std::string digest(RedisLink& link) { return ask(link, {"DEBUG", "DIGEST"}).text; }

  // How often a server ran a command.
  static std::int64_t calls(RedisLink& link, const std::string& command) {
    const std::string line =
        info_field(ask(link, {"INFO", "commandstats"}).text, "cmdstat_" + command);
    return line.empty() ? 0 : std::stoll(line.substr(std::string("calls=").size()));
  }
  static void fill_texts(RedisLink& to, int count) {
    for (int i = 0; i < count; ++i) {
      const std::string text =
          i % 5 == 0 ? std::to_string(i - count / 2)
                     : noise(static_cast<std::size_t>(i % 700), static_cast<std::uint64_t>(i));
      to.commands().command({"SET", "text" + std::to_string(i), text});
    }
    for (int i = 0; i < count; ++i) ASSERT_TRUE(to.reply().has_value());
  }
  static backup::RedisAddress as_user(const RedisServer& server, const std::string& user) {
    backup::RedisAddress address = server.address();
    address.user = user;
    address.password = std::make_shared<const SecretBytes>(std::string_view("secret"));
    return address;
  }
};

TEST_F(Redis, EveryTypeAndExpiryArrives) {
  RedisServer here(kDebug);
  RedisServer there(kDebug);
  const auto a = link(here);
  const auto b = link(there);
  fill_all_types(*a);
  struct Case {
    const char* name;
    RedisSourceOptions options;
  };
  RedisSourceOptions windows;
  windows.big_key_size = 20'000;
  windows.part_size = 16'384;
  RedisSourceOptions small;
  small.part_size = kMinPartSize;
  for (const Case& one :
       {Case{"whole", {}}, Case{"windows", windows}, Case{"small parts", small}}) {
    SCOPED_TRACE(one.name);
    ask(*b, {"FLUSHALL"});
    const auto from = source(here, one.options);
    RedisSink sink(there.address(), ApplyMode::kFillMissing, nullptr);
    std::size_t parts = 0;
    const ApplyCounts counts = copy(*from, sink, &parts);
    EXPECT_EQ(counts.failed, 0U);
    EXPECT_EQ(counts.commands, counts.applied + counts.skipped);
    EXPECT_EQ(digest(*a), digest(*b));
    EXPECT_EQ(expiries(*a), expiries(*b));
    EXPECT_EQ(from->progress().keys, 20U);
    EXPECT_EQ(from->progress().left_out, 0U);
    if (one.options.part_size == kMinPartSize) {
      EXPECT_GT(parts, 5U);
    }
    // Again it changes nothing: no list grows, no key is written.
    const auto again = source(here, one.options);
    const ApplyCounts second = copy(*again, sink);
    EXPECT_EQ(second.failed, 0U);
    EXPECT_GE(second.causes[static_cast<std::size_t>(Cause::kExists)], 20U);
    EXPECT_EQ(digest(*a), digest(*b));
    EXPECT_EQ(expiries(*a), expiries(*b));
  }
}

TEST_F(Redis, PortableCommandsBuildTheSameValues) {
  RedisServer here(kDebug);
  RedisServer there(kDebug);
  const auto a = link(here);
  const auto b = link(there);
  fill_all_types(*a);
  RedisSourceOptions options;
  options.portable = true;
  const auto from = source(here, options);
  RedisSink sink(there.address(), ApplyMode::kFillMissing, nullptr);
  const ApplyCounts counts = copy(*from, sink);
  EXPECT_EQ(counts.failed, 0U);
  EXPECT_EQ(from->progress().left_out, 1U) << "consumer groups exist in a DUMP only";
  ask(*a, {"DEL", "groups"});
  EXPECT_EQ(digest(*a), digest(*b));
  EXPECT_EQ(expiries(*a), expiries(*b));
}

TEST_F(Redis, FillMissingChangesNothingThatIsThereAndOverwriteDoes) {
  RedisServer here(kDebug);
  RedisServer there(kDebug);
  const auto a = link(here);
  const auto b = link(there);
  ask(*a, {"SET", "k", "old"});
  ask(*a, {"SET", "other", "1"});
  ask(*b, {"SET", "k", "newer"});
  ask(*b, {"RPUSH", "mine", "1"});
  for (const std::size_t big : {std::size_t{1} << 20, std::size_t{1}}) {
    RedisSourceOptions options;
    options.big_key_size = big;
    RedisSink gentle(there.address(), ApplyMode::kFillMissing, nullptr);
    const ApplyCounts counts = copy(*source(here, options), gentle);
    EXPECT_EQ(counts.failed, 0U);
    EXPECT_GE(counts.skipped, 1U);
    EXPECT_EQ(ask(*b, {"GET", "k"}).text, "newer");
    EXPECT_EQ(ask(*b, {"GET", "other"}).text, "1");
    EXPECT_EQ(ask(*b, {"DBSIZE"}).integer, 3) << "nothing temporary stays";
  }
  RedisSink harsh(there.address(), ApplyMode::kOverwrite, nullptr);
  EXPECT_EQ(copy(*source(here), harsh).skipped, 0U);
  EXPECT_EQ(ask(*b, {"GET", "k"}).text, "old");
  EXPECT_EQ(ask(*b, {"LLEN", "mine"}).integer, 1);
  EXPECT_TRUE(harsh.flush().has_value());
  EXPECT_EQ(ask(*b, {"DBSIZE"}).integer, 0);
}

TEST_F(Redis, SmallTextsTravelManyAtATime) {
  RedisServer here(kDebug);
  RedisServer there(kDebug);
  const auto a = link(here);
  const auto b = link(there);
  fill_texts(*a, 3000);
  RedisSourceOptions sized;  // so small that the server is asked how large each key is
  sized.big_key_size = 20'000;
  for (const RedisSourceOptions& options : {RedisSourceOptions{}, sized}) {
    for (const auto mode : {ApplyMode::kFillMissing, ApplyMode::kOverwrite}) {
      ask(*b, {"FLUSHALL"});
      ask(*a, {"CONFIG", "RESETSTAT"});
      ask(*b, {"CONFIG", "RESETSTAT"});
      RedisSink sink(there.address(), mode, nullptr);
      const auto from = source(here, options);
      const ApplyCounts counts = copy(*from, sink);
      EXPECT_EQ(counts.applied, 3000U);
      EXPECT_EQ(from->progress().keys, 3000U);
      EXPECT_EQ(digest(*a), digest(*b));
      EXPECT_EQ(calls(*a, "dump"), 0);
      EXPECT_LE(calls(*a, "mget"), 20);
      EXPECT_LE(calls(*a, "pexpiretime"), 640) << "no key expires, and INFO says so";
      EXPECT_LE(calls(*b, mode == ApplyMode::kFillMissing ? "msetnx" : "mset"), 60);
      EXPECT_EQ(calls(*b, "set"), 0);
    }
  }
}

TEST_F(Redis, ATextGoesWithItsExpiry) {
  RedisServer here(kDebug);
  RedisServer there(kDebug);
  const auto a = link(here);
  const auto b = link(there);
  fill_texts(*a, 3000);
  for (int i = 0; i < 3000; i += 3) {
    ask(*a, {"PEXPIREAT", "text" + std::to_string(i), std::to_string(4'102'444'800'000 + i)});
  }
  RedisSink sink(there.address(), ApplyMode::kFillMissing, nullptr);
  EXPECT_EQ(copy(*source(here), sink).applied, 3000U);
  EXPECT_EQ(digest(*a), digest(*b));
  EXPECT_EQ(expiries(*a), expiries(*b));

  // Keys get an expiry when the first ones were read without.
  ask(*b, {"FLUSHALL"});
  for (int i = 0; i < 3000; i += 3) ask(*a, {"PERSIST", "text" + std::to_string(i)});
  RedisSourceOptions options;
  options.part_size = kMinPartSize;
  const auto from = source(here, options);
  auto first = from->next();
  ASSERT_TRUE(first.has_value() && first.value());
  EXPECT_FALSE(apply(sink, first.value()->commands).error);
  for (int i = 0; i < 3000; ++i) {
    ask(*a, {"PEXPIREAT", "text" + std::to_string(i), std::to_string(4'102'444'800'000 + i)});
  }
  copy(*from, sink);
  EXPECT_EQ(ask(*b, {"DBSIZE"}).integer, 3000);
  std::size_t with = 0;
  const auto expected = expiries(*a);
  for (const auto& [key, expires] : expiries(*b)) {
    if (expires < 0) continue;
    ++with;
    EXPECT_EQ(expires, expected.at(key));
  }
  EXPECT_GT(with, 500U);
}

TEST_F(Redis, WhereTextsAreRefusedEachKeyIsDumpedAndRestored) {
  RedisServer here(kDebug);
  RedisServer there(kDebug);
  const auto a = link(here);
  const auto b = link(there);
  fill_texts(*a, 1500);
  ask(*a, {"HSET", "hash", "f", "v"});
  for (const char* const lacking : {"-mget", "-mget -msetnx", "-msetnx -mset"}) {
    for (const auto mode : {ApplyMode::kFillMissing, ApplyMode::kOverwrite}) {
      SCOPED_TRACE(lacking);
      for (RedisLink* const server : {a.get(), b.get()}) {
        server->commands().command({"ACL", "SETUSER", "copy", "reset"});
        RespWriter writer = server->commands();
        std::vector<std::string> words = {"ACL", "SETUSER", "copy", "on", ">secret", "~*", "+@all"};
        std::string rest = lacking;
        while (!rest.empty()) {
          const auto end = std::min(rest.find(' '), rest.size());
          words.push_back(rest.substr(0, end));
          rest.erase(0, end + 1);
        }
        writer.begin(words.size());
        for (const std::string& word : words) writer.word(word);
        ASSERT_FALSE(server->reply().value().is_error());
        ASSERT_FALSE(server->reply().value().is_error());
      }
      ask(*b, {"FLUSHALL"});
      auto from = RedisSource::open(as_user(here, "copy"), {}, system_clock(), nullptr);
      ASSERT_TRUE(from.has_value());
      RedisSink sink(as_user(there, "copy"), mode, nullptr);
      const ApplyCounts counts = copy(*from.value(), sink);
      EXPECT_EQ(counts.applied, 1501U);
      EXPECT_EQ(from.value()->progress().keys, 1501U);
      EXPECT_EQ(digest(*a), digest(*b));
    }
  }
}

TEST_F(Redis, NewTextsAreCountedKeyByKeyAndKeepTheirOrder) {
  RedisServer there(kDebug);
  const auto b = link(there);
  Bytes commands;
  for (int i = 0; i < 200; ++i) {
    RespWriter(commands).command({"SET", "k" + std::to_string(i), "new", "NX"});
  }
  RedisSink gentle(there.address(), ApplyMode::kFillMissing, nullptr);
  ask(*b, {"RPUSH", "k70", "a list"});
  ask(*b, {"SET", "k150", "old", "EX", "1000"});
  ApplyResult result = apply(gentle, commands);
  EXPECT_FALSE(result.error);
  EXPECT_EQ(result.counts.commands, 200U);
  EXPECT_EQ(result.counts.applied, 198U);
  EXPECT_EQ(result.counts.causes[static_cast<std::size_t>(Cause::kExists)], 2U);
  EXPECT_EQ(ask(*b, {"GET", "k150"}).text, "old");
  EXPECT_EQ(ask(*b, {"DBSIZE"}).integer, 200);
  RedisSink harsh(there.address(), ApplyMode::kOverwrite, nullptr);
  EXPECT_EQ(apply(harsh, commands).counts.applied, 200U);
  EXPECT_EQ(ask(*b, {"GET", "k70"}).text, "new");
  EXPECT_EQ(ask(*b, {"GET", "k150"}).text, "new");
  EXPECT_EQ(ask(*b, {"TTL", "k150"}).integer, -1);

  const std::string dump = ask(*b, {"DUMP", "k1"}).text;
  commands = one({"SET", "a", "1", "NX"});
  RespWriter writer(commands);
  writer.command({"SET", "b", "1", "NX"});
  writer.command({"RESTORE", "a", "0", dump, "ABSTTL"});
  writer.command({"SET", "b", "2", "NX"});
  writer.command({"DEL", "b"});
  writer.command({"MULTI"});
  writer.command({"SET", "c", "1", "NX"});
  writer.command({"EXEC"});
  writer.command({"set", "d", "1", "nx"});
  result = apply(harsh, commands);
  EXPECT_FALSE(result.error);
  EXPECT_EQ(result.counts.applied, 9U);
  EXPECT_EQ(ask(*b, {"GET", "a"}).text, "new");
  EXPECT_EQ(ask(*b, {"EXISTS", "b"}).integer, 0);
  EXPECT_EQ(ask(*b, {"MGET", "c", "d"}).items[1].text, "1");

  RedisServer full({"--maxmemory", "1"});
  RedisSink no_room(full.address(), ApplyMode::kFillMissing, nullptr);
  result = apply(no_room, commands = one({"SET", "a", "1", "NX"}));
  EXPECT_EQ(result.counts.causes[static_cast<std::size_t>(Cause::kOutOfMemory)], 1U);
}

TEST_F(Redis, AServerTakesTheDumpsThatWeMakeOfTexts) {
  RedisServer server;
  const auto to = link(server);
  for (const std::size_t size : {0U, 1U, 63U, 64U, 16'383U, 16'384U, 300'000U}) {
    const std::string text = noise(size, size);
    Bytes dump;
    append_string_dump(as_bytes(text), dump);
    EXPECT_EQ(dump.size(), string_dump_size(size));
    ask(*to, {"RESTORE", "k", "0", as_text(dump), "REPLACE"});
    EXPECT_EQ(ask(*to, {"GET", "k"}).text, text);
    const auto ours = digest_of_dump(as_bytes(std::string_view("k")), dump);
    const std::string theirs = ask(*to, {"DUMP", "k"}).text;
    ASSERT_TRUE(ours.has_value());
    EXPECT_EQ(*ours, *digest_of_dump(as_bytes(std::string_view("k")), as_bytes(theirs)));
  }
}

TEST_F(Redis, ARangeOfTokensIsACompleteShareOfTheKeys) {
  RedisServer here;
  const auto a = link(here);
  for (int i = 0; i < 2000; ++i) {
    const std::string n = std::to_string(i);
    a->commands().command({"SET", "key" + n, n});
  }
  for (int i = 0; i < 2000; ++i) ASSERT_TRUE(a->reply().has_value());
  std::uint64_t keys = 0;
  std::uint64_t outside = 0;
  for (const TokenRange range : {TokenRange{0, 0x5555'5555}, TokenRange{0x5555'5555, 0xaaaa'aaaa},
                                 TokenRange{0xaaaa'aaaa, 0}}) {
    RedisSourceOptions options;
    options.range = range;
    const auto from = source(here, options);
    MemorySink sink;
    copy(*from, sink);
    for (const auto& kept : sink.take()) {
      RespSplitter splitter;
      splitter.feed(kept.commands);
      while (const auto command = splitter.next().value()) {
        EXPECT_TRUE(range.contains(token_of(command->words[1])));
      }
    }
    keys += from->progress().keys;
    outside += from->progress().out_of_range;
    EXPECT_GT(from->progress().keys, 400U);
  }
  EXPECT_EQ(keys, 2000U);
  EXPECT_EQ(outside, 4000U);
}

TEST_F(Redis, ResumesBehindAnyPartAndStartsAgainAfterARestart) {
  RedisServer here(kDebug);
  const auto a = link(here);
  for (int i = 0; i < 3000; ++i) {
    a->commands().command({"SET", "key" + std::to_string(i), std::string(100, 'v')});
  }
  for (int i = 0; i < 3000; ++i) ASSERT_TRUE(a->reply().has_value());
  RedisSourceOptions options;
  options.part_size = 20'000;
  std::vector<Part> parts;
  {
    const auto from = source(here, options);
    while (auto part = from->next().value()) parts.push_back(std::move(*part));
  }
  ASSERT_GT(parts.size(), 5U);
  RedisServer there(kDebug);
  const auto b = link(there);
  for (std::size_t cut = 0; cut < parts.size(); ++cut) {
    ask(*b, {"FLUSHALL"});
    RedisSink sink(there.address(), ApplyMode::kFillMissing, nullptr);
    for (std::size_t i = 0; i <= cut; ++i) {
      EXPECT_FALSE(apply(sink, parts[i].commands).error);
      EXPECT_EQ(parts[i].index, i);
    }
    const auto rest = source(here, options);
    ASSERT_TRUE(rest->resume(parts[cut].behind).value());
    copy(*rest, sink);
    EXPECT_EQ(digest(*a), digest(*b)) << cut;
  }
  // The same where pages hold keys that are read in other ways, which end at other times.
  for (int i = 0; i < 300; ++i) {
    const std::string n = std::to_string(i);
    ask(*a, {"HSET", "hash" + n, "field", n});
    if (i % 30 == 0) ask(*a, {"SET", "large" + n, noise(50'000, static_cast<std::uint64_t>(i))});
    if (i % 7 == 0) ask(*a, {"PEXPIREAT", "key" + n, "4102444800123"});
  }
  RedisSourceOptions windows = options;
  windows.big_key_size = 20'000;
  std::vector<Part> mixed;
  {
    const auto from = source(here, windows);
    while (auto part = from->next().value()) mixed.push_back(std::move(*part));
  }
  for (std::size_t cut = 0; cut < mixed.size(); cut += 3) {
    if (cut + 1 < mixed.size() && mixed[cut + 1].continues) continue;
    ask(*b, {"FLUSHALL"});
    RedisSink sink(there.address(), ApplyMode::kFillMissing, nullptr);
    for (std::size_t i = 0; i <= cut; ++i) EXPECT_FALSE(apply(sink, mixed[i].commands).error);
    const auto rest = source(here, windows);
    ASSERT_TRUE(rest->resume(mixed[cut].behind).value());
    copy(*rest, sink);
    EXPECT_EQ(digest(*a), digest(*b)) << cut;
  }
  const auto other = source(here, options);
  EXPECT_EQ(other->resume("nonsense").error().kind, ErrorKind::kUsage);
  ask(*a, {"SAVE"});
  here.kill();
  here.start();
  const auto after = source(here, options);
  EXPECT_FALSE(after->resume(parts[2].behind).value()) << "a cursor dies with its server";
  EXPECT_EQ(after->next().value()->index, 0U);
}

TEST_F(Redis, EachRefusalHasItsCause) {
  RedisServer here(kDebug);
  const auto a = link(here);
  ask(*a, {"RPUSH", "k", std::string(1000, 'x')});
  const Bytes restore = source(here)->next().value()->commands;
  const auto cause = [](const ApplyResult& result, Cause wanted) {
    EXPECT_EQ(result.counts.causes[static_cast<std::size_t>(wanted)], result.counts.failed);
    EXPECT_EQ(result.counts.failed, 1U);
    return result.error ? result.error->message : std::string("no error");
  };
  {
    RedisServer full({"--maxmemory", "1"});
    RedisSink sink(full.address(), ApplyMode::kFillMissing, nullptr);
    EXPECT_NE(cause(apply(sink, restore), Cause::kOutOfMemory).find("maxmemory"),
              std::string::npos);
  }
  {
    RedisServer replica({"--replicaof", "127.0.0.1", "1"});
    RedisSink sink(replica.address(), ApplyMode::kFillMissing, nullptr);
    EXPECT_NE(cause(apply(sink, restore), Cause::kReadOnly).find("master"), std::string::npos);
  }
  {
    RedisServer cluster({"--cluster-enabled", "yes"});
    RedisSink sink(cluster.address(), ApplyMode::kFillMissing, nullptr);
    EXPECT_NE(cause(apply(sink, restore), Cause::kMoved).find("cluster"), std::string::npos);
  }
  {
    RedisServer closed({"--requirepass", "secret"});
    RedisSink sink(closed.address(), ApplyMode::kFillMissing, nullptr);
    const ApplyResult result = apply(sink, restore);
    ASSERT_TRUE(result.error);
    EXPECT_NE(result.error->message.find("REDISCLI_AUTH"), std::string::npos);
    backup::RedisAddress address = closed.address();
    address.password = std::make_shared<const SecretBytes>(std::string_view("secret"));
    RedisSink open(address, ApplyMode::kFillMissing, nullptr);
    EXPECT_EQ(apply(open, restore).counts.applied, 1U);
  }
  {
    RedisServer there;
    RedisSink sink(there.address(), ApplyMode::kFillMissing, nullptr);
    Bytes damaged = restore;
    damaged[damaged.size() - 20] ^= std::byte{1};
    EXPECT_NE(cause(apply(sink, damaged), Cause::kPayloadVersion).find("--portable"),
              std::string::npos);
    RedisSink harsh(there.address(), ApplyMode::kOverwrite, nullptr);
    const auto b = link(there);
    ask(*b, {"SET", "text", "1"});
    cause(apply(harsh, one({"RPUSH", "text", "1"})), Cause::kWrongType);
    there.kill();
    const ApplyResult gone = apply(sink, restore);
    ASSERT_TRUE(gone.error);
    EXPECT_NE(gone.error->message.find("is a Redis server running there?"), std::string::npos);
  }
}

TEST_F(Redis, SendsNothingThatIsNotAllowed) {
  RedisServer there(kDebug);
  const auto b = link(there);
  ask(*b, {"SET", "k", "v"});
  const std::string before = digest(*b);
  const std::vector<Bytes> never = {
      one({"FLUSHALL"}),
      one({"CONFIG", "SET", "dir", "/tmp"}),
      one({"EVAL", "return 1", "0"}),
      one({"MIGRATE", "h", "1", "k", "0", "1"}),
      one({"SELECT", "1"}),
      one({"RENAME", "k", "l"}),
      one({"RESTORE", "k", "0", "x"}),
      one({"RESTORE", "k", "0", "x", "REPLACE"}),
      one({"MULTI"}),
      one({"EXEC"}),
      to_bytes("PING\r\n"),
      to_bytes("*1\r\n$4\r\nPIN"),
  };
  const std::vector<Bytes> not_gently = {
      one({"DEL", "k"}),
      one({"SET", "k", "w"}),
      one({"PEXPIREAT", "k", "1"}),
      one({"UNLINK", std::string(kTemporaryPrefix) + "1", "k"}),
  };
  for (const auto mode : {ApplyMode::kFillMissing, ApplyMode::kOverwrite}) {
    RedisSink sink(there.address(), mode, nullptr);
    auto cases = never;
    if (mode == ApplyMode::kFillMissing)
      cases.insert(cases.end(), not_gently.begin(), not_gently.end());
    for (const Bytes& bad : cases) {
      SCOPED_TRACE(to_text(bad));
      Bytes commands = bad;
      RespWriter(commands).command({"RESTORE", "later", "0", "x", "ABSTTL"});
      const ApplyResult result = apply(sink, commands);
      ASSERT_TRUE(result.error);
      EXPECT_GE(result.counts.failed, 1U);
      EXPECT_EQ(result.counts.causes[static_cast<std::size_t>(Cause::kRefused)],
                result.counts.failed);
      EXPECT_EQ(digest(*b), before);
    }
  }
}

TEST_F(Redis, TransactionsAreCountedByWhatTheirEndSays) {
  RedisServer there;
  const auto b = link(there);
  ask(*b, {"SET", "text", "1"});
  RedisSink sink(there.address(), ApplyMode::kOverwrite, nullptr);
  Bytes commands = one({"MULTI"});
  RespWriter writer(commands);
  writer.command({"DEL", "l"});
  writer.command({"RPUSH", "l", "a"});
  writer.command({"RPUSH", "text", "a"});
  writer.command({"EXEC"});
  writer.command({"SET", "after", "1"});
  const ApplyResult result = apply(sink, commands);
  EXPECT_EQ(result.counts.commands, 6U);
  EXPECT_EQ(result.counts.failed, 1U);
  EXPECT_EQ(result.counts.causes[static_cast<std::size_t>(Cause::kWrongType)], 1U);
  EXPECT_EQ(ask(*b, {"GET", "after"}).text, "1");
}

// Whoever writes while keys are listed: what was there all the time arrives.
TEST_F(Redis, WritersOnBothSidesLoseNothing) {
  RedisServer here(kDebug);
  RedisServer there(kDebug);
  const auto a = link(here);
  const auto b = link(there);
  for (int i = 0; i < 5000; ++i) a->commands().command({"SET", "stable" + std::to_string(i), "v"});
  for (int i = 0; i < 5000; ++i) ASSERT_TRUE(a->reply().has_value());
  ask(*a, {"SADD", "busy", "start"});
  std::atomic<bool> stop = false;
  const auto writer = [&stop](const RedisServer& server, const std::string& prefix) {
    const auto own = link(server);
    for (int i = 0; !stop; ++i) {
      const std::string key = prefix + std::to_string(i % 500);
      own->commands().command({"SET", key, std::to_string(i)});
      own->commands().command({"DEL", prefix + std::to_string((i + 250) % 500)});
      own->commands().command({"SADD", "busy", std::to_string(i)});
      for (int n = 0; n < 3; ++n) {
        if (!own->reply().has_value()) return;
      }
    }
  };
  std::thread first([&] { writer(here, "moving-a"); });
  std::thread second([&] { writer(there, "moving-b"); });
  RedisSourceOptions options;
  options.part_size = 50'000;
  const auto from = source(here, options);
  RedisSink sink(there.address(), ApplyMode::kFillMissing, nullptr);
  const ApplyCounts counts = copy(*from, sink);
  stop = true;
  first.join();
  second.join();
  EXPECT_EQ(counts.failed, 0U);
  for (int i = 0; i < 5000; ++i) {
    ASSERT_EQ(ask(*b, {"EXISTS", "stable" + std::to_string(i)}).integer, 1) << i;
  }
}

TEST_F(Redis, AServerThatDiesIsAClearErrorOnEitherSide) {
  RedisServer here;
  RedisServer there;
  const auto a = link(here);
  for (int i = 0; i < 2000; ++i)
    a->commands().command({"SET", "k" + std::to_string(i), std::string(200, 'v')});
  for (int i = 0; i < 2000; ++i) ASSERT_TRUE(a->reply().has_value());
  RedisSourceOptions options;
  options.part_size = 100'000;
  const auto from = source(here, options);
  auto part = from->next();
  ASSERT_TRUE(part.has_value());
  RedisSink sink(there.address(), ApplyMode::kFillMissing, nullptr);
  // Dies while the part is read.
  class Killer final : public PartContent {
   public:
    Killer(ByteSpan bytes, RedisServer& server) : rest_(bytes), server_(server) {}
    Result<ByteSpan, Error> next() override {
      if (++reads_ == 3) server_.kill();
      const ByteSpan piece = rest_.first(std::min<std::size_t>(rest_.size(), 20'000));
      rest_ = rest_.subspan(piece.size());
      return piece;
    }

   private:
    ByteSpan rest_;
    RedisServer& server_;
    int reads_ = 0;
  };
  Killer content(part.value()->commands, there);
  const ApplyResult result = sink.apply(info(1), content);
  ASSERT_TRUE(result.error);
  EXPECT_NE(result.error->message.find("pushing again is harmless"), std::string::npos)
      << result.error->message;
  EXPECT_GT(result.counts.causes[static_cast<std::size_t>(Cause::kConnectionLost)], 0U);
  EXPECT_EQ(result.counts.commands, part.value()->command_count);
  here.kill();
  Result<void, Error> end = success();
  for (;;) {
    auto next = from->next();
    if (next.has_value() && next.value()) continue;
    ASSERT_FALSE(next.has_value()) << "an end after a crash would be a loss";
    EXPECT_NE(next.error().message.find("was lost"), std::string::npos);
    break;
  }
}

TEST_F(Redis, TheRateCanChangeWhileItRuns) {
  RedisServer here;
  const auto a = link(here);
  for (int i = 0; i < 300; ++i) {
    ask(*a, {"SET", "k" + std::to_string(i), noise(2000, static_cast<std::uint64_t>(i))});
  }
  testing::ManualClock clock{WallTime{}};
  RedisSourceOptions options;
  options.part_size = 100'000;
  options.bytes_per_second = 1000;  // 65,536 at once, then 100 seconds a part
  auto opened = RedisSource::open(here.address(), options, clock, nullptr);
  ASSERT_TRUE(opened.has_value());
  RedisSource& from = *opened.value();
  std::atomic<int> parts = 0;
  std::thread reader([&] {
    while (true) {
      auto part = from.next();
      if (!part.has_value() || !part.value()) return;
      ++parts;
    }
  });
  while (from.progress().bytes == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_EQ(parts, 0) << "time stands still, so the first part is not paid";
  from.set_rate(0);
  reader.join();
  EXPECT_GT(parts, 4);
}

TEST_F(Redis, AWaitCanBeInterrupted) {
  RedisServer here;
  const auto a = link(here);
  for (int i = 0; i < 100; ++i) {
    ask(*a, {"SET", "k" + std::to_string(i), noise(2000, static_cast<std::uint64_t>(i))});
  }
  testing::ManualClock clock{WallTime{}};
  RedisSourceOptions options;
  options.part_size = 100'000;
  options.bytes_per_second = 1;
  auto opened = RedisSource::open(here.address(), options, clock, nullptr);
  ASSERT_TRUE(opened.has_value());
  std::thread stopper([&] {
    while (opened.value()->progress().bytes == 0) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    opened.value()->interrupt();
  });
  const auto part = opened.value()->next();
  stopper.join();
  ASSERT_FALSE(part.has_value());
  EXPECT_EQ(part.error().kind, ErrorKind::kInterrupted);
}

}  // namespace
}  // namespace sealane::warm
