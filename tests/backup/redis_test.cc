// Goal: what a Redis server holds comes back key by key, is proven equal by digests that do not
// depend on encodings, and nothing that went wrong ends well. Method: real servers, started
// privately by our own throw-away code; fake tools in PATH where a real one cannot be made to
// misbehave.
#include "backup/redis.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <sstream>
#include <thread>

#include "backup/process.h"
#include "backup/rdb.h"
#include "backup/source.h"
#include "base/byte_reader.h"
#include "sealane/store/system.h"

namespace sealane::backup {
namespace {

struct Taken {
  std::vector<StreamDescription> streams;
  std::string content;
  Fingerprint fingerprint;
  std::map<std::string, std::string> properties;
};

std::string empty_rdb() {
  std::string out = "REDIS0010\xff";
  ByteArray<8> checksum{};
  store_integer(MutableByteSpan(checksum), crc64(0, as_bytes(out)), Endian::kLittle);
  return out + to_text(checksum);
}

class Redis : public ::testing::Test {
 protected:
  struct Server {
    TemporaryFolder folder;
    std::unique_ptr<ThrowAway> server;
    std::string socket;
    std::string url() const { return "redis+unix://" + socket; }
  };

  void SetUp() override {
    if (!find_program("redis-server") || !find_program("redis-cli")) {
      GTEST_SKIP() << "redis-server or redis-cli is not installed";
    }
  }

  Result<void, Error> put(const std::string& content, Target& target) {
    SEALANE_TRY(auto stream, target.open_stream({"database", "rdb", ""}));
    ByteSpan rest = as_bytes(content);
    while (!rest.empty()) {
      const std::size_t size = std::min<std::size_t>(rest.size(), 10'007);
      SEALANE_TRY(stream->write(rest.first(size)));
      rest = rest.subspan(size);
    }
    SEALANE_TRY(stream->finish());
    return target.finish();
  }
  std::unique_ptr<Server> start(const std::string& content = empty_rdb()) {
    auto made = std::make_unique<Server>(
        Server{TemporaryFolder::create("sealane-test-", "/tmp").value(), nullptr, ""});
    auto server = make_redis_throw_away({}, made->folder.path(), context_);
    EXPECT_TRUE(server.has_value()) << (server.has_value() ? "" : server.error().message);
    if (!server.has_value()) return nullptr;
    made->server = std::move(server).value();
    const auto done = put(content, made->server->target());
    EXPECT_TRUE(done.has_value()) << (done.has_value() ? "" : done.error().message);
    if (!done.has_value()) return nullptr;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(made->folder.path())) {
      if (entry.is_socket()) made->socket = entry.path().string();
    }
    return made;
  }
  // Redis commands, one per line, by redis-cli's input.
  std::string run(const Server& server, const std::string& commands) {
    ToolCommand command;
    command.program = "redis-cli";
    command.arguments = {"-s", server.socket};
    command.pipe_input = true;
    command.pipe_output = true;
    auto tool = Tool::start(command, nullptr);
    EXPECT_TRUE(tool.has_value());
    EXPECT_TRUE(tool.value()->write(as_bytes(commands + "\n")).has_value());
    tool.value()->close_input();
    std::string text;
    std::array<std::byte, 4096> buffer{};
    for (;;) {
      auto got = tool.value()->read(buffer);
      EXPECT_TRUE(got.has_value()) << (got.has_value() ? "" : got.error().message);
      if (!got.has_value() || got.value() == 0) break;
      text += as_text(ByteSpan(buffer).first(got.value()));
    }
    EXPECT_EQ(text.find("ERR"), std::string::npos) << text;
    while (text.ends_with('\n')) text.pop_back();
    return text;
  }
  Result<Taken, Error> take(const std::string& url) {
    SEALANE_TRY(auto snapshot, open_redis_source(url, context_));
    Taken taken;
    taken.streams = snapshot->streams();
    SEALANE_TRY(auto stream, snapshot->open_stream(0));
    std::array<std::byte, 1000> buffer{};
    for (;;) {
      SEALANE_TRY(const std::size_t got, stream->read(buffer));
      if (got == 0) break;
      taken.content += as_text(ByteSpan(buffer).first(got));
    }
    SEALANE_TRY(auto fingerprint, snapshot->fingerprint());
    taken.fingerprint = *fingerprint;
    taken.properties = snapshot->properties();
    return taken;
  }
  std::string difference_at(const Fingerprint& expected, Target& target) {
    auto found = target.fingerprint();
    if (!found.has_value()) return found.error().message;
    if (!found.value()) return "there is no fingerprint";
    return difference(expected, *found.value()).value_or("");
  }

  flow::Cancellation cancel_;
  DriverContext context_{system_files(), system_clock(), system_random(), cancel_};
};

std::string many_keys() {
  std::ostringstream out;
  out << "SET string \"a\\x00b \\xff\"\nSET number 12345678901\nSET empty \"\"\n"
      << "SET \"key with \\\"quotes\\\" \\n and ö\" x\n";
  out << "SET long " << std::string(100'000, 'l') << "\n";
  for (int i = 0; i < 300; ++i) {
    out << "RPUSH list:long " << i << " text" << i << "\nHSET hash:long f" << i << " " << i * i
        << "\nSADD set:long m" << i << "\nSADD intset:long " << i * 1000 << "\nZADD zset:long "
        << i * 0.37 << " z" << i << "\nXADD stream 1-" << i + 1 << " field value" << i << " n " << i
        << "\n";
  }
  out << "RPUSH list a -5 7000000000 \"\"\nHSET hash f v g -1\nSADD set a b 3\nSADD intset 1 -2 "
         "300000000000\n"
      << "ZADD zset 1.5 a -inf b +inf c 3 d 1e300 e\nRPUSH nodes " << std::string(20'000, 'n')
      << " b\n"
      << "XGROUP CREATE stream group 0\nXREADGROUP GROUP group alice COUNT 5 STREAMS stream >\n"
      << "XACK stream group 1-1\nXDEL stream 1-7\nPFADD hll a b c d\nSETBIT bits 1000 1\nGEOADD "
         "geo 13.36 38.11 here\n"
      << "SET forever x EX 100000\nSET session y PX 300000000\n"
      << "FUNCTION LOAD \"#!lua name=lib\\nredis.register_function('f', function() return 1 "
         "end)\"\n"
      << "SELECT 3\nSET other 1\nSELECT 15\nRPUSH last 1 2 3\n";
  return out.str();
}

TEST_F(Redis, EveryTypeComesBackInADrillAndInARunningServer) {
  auto source = start();
  ASSERT_NE(source, nullptr);
  run(*source, many_keys());
  auto taken = take(source->url());
  ASSERT_TRUE(taken.has_value()) << taken.error().message;
  EXPECT_TRUE(taken.value().content.starts_with("REDIS00"));
  EXPECT_EQ(taken.value().properties.at("server").substr(0, 1), "7");
  const auto& items = taken.value().fingerprint.items;
  ASSERT_EQ(items.size(), 4u);
  EXPECT_EQ(items[0].name, "(functions)");
  EXPECT_EQ(items[1].name, "db0");
  EXPECT_EQ(items[1].count, 22u);
  EXPECT_EQ(items[2].name, "db15");
  EXPECT_EQ(items[3].count, 1u);
  // Exactly the file: a stock server loads it, and nothing of the transfer's end mark is left.
  auto drill = start(taken.value().content);
  ASSERT_NE(drill, nullptr);
  EXPECT_EQ(difference_at(taken.value().fingerprint, drill->server->target()), "");

  auto running = start();
  ASSERT_NE(running, nullptr);
  // Encodings that the source does not use.
  run(*running,
      "CONFIG SET hash-max-listpack-entries 0\nCONFIG SET zset-max-listpack-entries 0\n"
      "CONFIG SET set-max-intset-entries 0\nCONFIG SET list-max-listpack-size 1\nCONFIG SET "
      "rdbcompression no\n"
      "CONFIG SET stream-node-max-entries 3");
  auto target = open_redis_target(running->url(), context_);
  ASSERT_TRUE(target.has_value()) << target.error().message;
  EXPECT_TRUE(target.value()->is_empty().value());
  const auto done = put(taken.value().content, *target.value());
  ASSERT_TRUE(done.has_value()) << done.error().message;
  EXPECT_FALSE(target.value()->is_empty().value());
  EXPECT_EQ(difference_at(taken.value().fingerprint, *target.value()), "");
  EXPECT_EQ(run(*running, "HGET hash g\nLRANGE list 0 -1\nOBJECT ENCODING hash"),
            "-1\na\n-5\n7000000000\n\nhashtable");
  // Again, into what is there: every key is refused, and that is no success.
  const auto again = put(taken.value().content, *target.value());
  ASSERT_FALSE(again.has_value());
  EXPECT_NE(again.error().message.find("did not take all keys"), std::string::npos)
      << again.error().message;
  ASSERT_TRUE(target.value()->clear().has_value());
  EXPECT_TRUE(target.value()->is_empty().value());
  EXPECT_EQ(run(*running, "FUNCTION LIST"), "");
}

TEST_F(Redis, OneChangedValueIsSeen) {
  auto server = start();
  ASSERT_NE(server, nullptr);
  run(*server, many_keys() + "SELECT 0\n");
  const auto print = [&] { return take(server->url()).value().fingerprint; };
  const auto before = print();
  EXPECT_EQ(difference(before, print()), std::nullopt);
  for (const auto& [change, undo] : std::vector<std::pair<std::string, std::string>>{
           {"HSET hash:long f7 changed", "HSET hash:long f7 49"},
           {"LSET list 0 b", "LSET list 0 a"},
           {"ZADD zset 1.6 a", "ZADD zset 1.5 a"},
           {"SREM set b", "SADD set b"},
           {"SET number 1", "SET number 12345678901"},
           {"PERSIST forever", "DEL forever"}}) {
    run(*server, change);
    EXPECT_NE(difference(before, print()), std::nullopt) << change;
    run(*server, undo);
    if (change.starts_with("PERSIST")) break;
    EXPECT_EQ(difference(before, print()), std::nullopt) << undo;
  }
}

TEST_F(Redis, KeysThatExpireMeanwhileAreNoDifference) {
  auto source = start();
  ASSERT_NE(source, nullptr);
  run(*source, "SET stays x\nSET soon y PX 4000\nSET later z EX 1000");
  auto taken = take(source->url());
  ASSERT_TRUE(taken.has_value());
  EXPECT_EQ(taken.value().fingerprint.items[0].count, 3u);
  std::this_thread::sleep_for(std::chrono::milliseconds(4100));
  auto drill = start(taken.value().content);
  ASSERT_NE(drill, nullptr);
  EXPECT_EQ(run(*drill, "DBSIZE"), "2");
  EXPECT_EQ(difference_at(taken.value().fingerprint, drill->server->target()), "");
  run(*drill, "DEL later");
  EXPECT_NE(difference_at(taken.value().fingerprint, drill->server->target()), "");
}

TEST_F(Redis, MomentHoldsWhileOthersWrite) {
  auto source = start();
  ASSERT_NE(source, nullptr);
  std::ostringstream keys;
  for (int i = 0; i < 20'000; ++i) keys << "SET key" << i << " " << i << "\n";
  run(*source, keys.str());
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    for (int i = 0; !stop; ++i)
      run(*source, "SET key" + std::to_string(i % 20'000) + " changed\nINCR n");
  });
  auto taken = take(source->url());
  stop = true;
  writer.join();
  ASSERT_TRUE(taken.has_value()) << taken.error().message;
  auto drill = start(taken.value().content);
  ASSERT_NE(drill, nullptr);
  EXPECT_EQ(difference_at(taken.value().fingerprint, drill->server->target()), "");
}

TEST_F(Redis, ServerWithFewerDatabasesIsRefusedBeforeKeysGoWrong) {
  auto source = start();
  ASSERT_NE(source, nullptr);
  std::string content = "REDIS0010\xfe\x28";  // database 40
  content += std::string("\x00\x01k\x01v\xff", 6);
  ByteArray<8> checksum{};
  store_integer(MutableByteSpan(checksum), crc64(0, as_bytes(content)), Endian::kLittle);
  content += to_text(checksum);
  auto target = open_redis_target(source->url(), context_);
  ASSERT_TRUE(target.has_value());
  const auto done = put(content, *target.value());
  ASSERT_FALSE(done.has_value());
  EXPECT_NE(done.error().message.find("DB index is out of range"), std::string::npos)
      << done.error().message;
  EXPECT_EQ(run(*source, "DBSIZE"), "0");
}

TEST_F(Redis, DataOfANewerReleaseIsAMisfit) {
  auto server = start();
  ASSERT_NE(server, nullptr);
  auto target = open_redis_target(server->url(), context_);
  ASSERT_TRUE(target.has_value());
  const auto misfit = [&](const std::string& source) {
    const auto found = target.value()->misfit({{"server", source}});
    EXPECT_TRUE(found.has_value());
    return found.has_value() ? found.value().value_or("") : "error";
  };
  EXPECT_NE(misfit("99.0.1").find("older than the 99.0.1 of the snapshot"), std::string::npos);
  EXPECT_NE(misfit("7.99.0").find("older than"), std::string::npos);
  EXPECT_EQ(misfit("2.8.24"), "");
  EXPECT_EQ(misfit(""), "");
  EXPECT_FALSE(target.value()->misfit({}).value());
}

TEST_F(Redis, PasswordsWorkAndAreNeverVisible) {
  auto server = start();
  ASSERT_NE(server, nullptr);
  run(*server,
      "CONFIG SET rdbcompression no\nSETRANGE large 3000000 x\nACL SETUSER backup on >hidden-word "
      "~* &* +@all\nCONFIG SET requirepass other-word");
  const std::string with = "redis+unix://backup:hidden-word@" + server->socket;
  auto snapshot = open_redis_source(with, context_);
  ASSERT_TRUE(snapshot.has_value()) << snapshot.error().message;
  auto stream = snapshot.value()->open_stream(0);
  ASSERT_TRUE(stream.has_value());
  // The dump is larger than a pipe, so the tool waits for us.
  std::string seen;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    std::ifstream file(entry.path() / "cmdline");
    std::stringstream text;
    text << file.rdbuf();
    seen += text.str();
  }
  EXPECT_NE(seen.find("--rdb"), std::string::npos) << "the dump was not running when we looked";
  EXPECT_EQ(seen.find("hidden-word"), std::string::npos);
  stream.value().reset();
  EXPECT_TRUE(take("redis+unix://:other-word@" + server->socket).has_value());

  for (const std::string& url : {"redis+unix://:wrong-word@" + server->socket, server->url()}) {
    const auto refused = open_redis_source(url, context_);
    ASSERT_FALSE(refused.has_value());
    EXPECT_NE(refused.error().message.find("NOAUTH"), std::string::npos) << refused.error().message;
    EXPECT_EQ(refused.error().message.find("wrong-word"), std::string::npos);
    EXPECT_FALSE(open_redis_target(url, context_).has_value());
  }
}

TEST_F(Redis, WhatCannotBeReachedSaysSo) {
  const auto down = open_redis_source("redis://127.0.0.1:1", context_);
  ASSERT_FALSE(down.has_value());
  EXPECT_NE(down.error().message.find("Connection refused"), std::string::npos)
      << down.error().message;
  const auto socket = open_redis_source("unix:///nonexistent/socket", context_);
  ASSERT_FALSE(socket.has_value());
  EXPECT_NE(socket.error().message.find("No such file"), std::string::npos)
      << socket.error().message;
  for (const char* url : {"redis://h/3", "redis://h?timeout=3", "redis+unix://host/path",
                          "redis+unix://", "redis://user@h"}) {
    const auto wrong = open_redis_source(url, context_);
    ASSERT_FALSE(wrong.has_value()) << url;
    EXPECT_EQ(wrong.error().kind, ErrorKind::kUsage) << url;
  }
}

TEST_F(Redis, DamagedFileNeverBecomesAServer) {
  auto source = start();
  ASSERT_NE(source, nullptr);
  run(*source, many_keys());
  const auto taken = take(source->url());
  ASSERT_TRUE(taken.has_value());
  std::string flipped = taken.value().content;
  flipped[flipped.size() / 2] = static_cast<char>(flipped[flipped.size() / 2] ^ 1);
  for (const std::string& content :
       {flipped, taken.value().content.substr(0, taken.value().content.size() - 1),
        taken.value().content + "x", std::string()}) {
    auto folder = TemporaryFolder::create("sealane-test-", "/tmp");
    ASSERT_TRUE(folder.has_value());
    auto server = make_redis_throw_away({}, folder.value().path(), context_);
    ASSERT_TRUE(server.has_value());
    EXPECT_FALSE(put(content, server.value()->target()).has_value());
  }
}

// Puts a fake redis-cli before the real one, which it can still run.
class FakeTool {
 public:
  explicit FakeTool(const std::string& script)
      : folder_(TemporaryFolder::create("sealane-test-").value()) {
    const std::string real = *find_program("redis-cli");
    const auto file = folder_.write_file(
        "redis-cli", as_bytes("#!/bin/sh\nreal='" + real + "'\n" + script + "\n"));
    ::chmod(file.value().c_str(), 0755);
    const char* path = std::getenv("PATH");
    old_path_ = path != nullptr ? path : "";
    ::setenv("PATH", (folder_.path() + ":" + old_path_).c_str(), 1);
  }
  ~FakeTool() { ::setenv("PATH", old_path_.c_str(), 1); }

 private:
  TemporaryFolder folder_;
  std::string old_path_;
};

TEST_F(Redis, DumpThatDiesInTheMiddleNeverEnds) {
  auto server = start();
  ASSERT_NE(server, nullptr);
  run(*server, many_keys());
  const std::string otherwise = "case \"$*\" in *--rdb*) ;; *) exec \"$real\" \"$@\";; esac\n";
  for (const char* script :
       {"\"$real\" \"$@\" 2>/dev/null | head -c 5000; kill -9 $$",
        "\"$real\" \"$@\" 2>/dev/null | head -c 5000; exit 0",
        "\"$real\" \"$@\" 2>/dev/null; exit 1", "\"$real\" \"$@\" 2>/dev/null; echo more",
        "\"$real\" \"$@\" 2>/dev/null | tr b c", "echo NOAUTH", "exit 0"}) {
    const FakeTool fake(otherwise + script);
    EXPECT_FALSE(take(server->url()).has_value()) << script;
  }
}

TEST_F(Redis, RepliesThatAreMissingAreAnError) {
  auto source = start();
  ASSERT_NE(source, nullptr);
  run(*source, "SET a 1\nSET b 2");
  const auto taken = take(source->url());
  ASSERT_TRUE(taken.has_value());
  auto target = open_redis_target(source->url(), context_);
  ASSERT_TRUE(target.has_value());
  const FakeTool fake(
      "case \"$*\" in *--pipe*) cat >/dev/null; echo 'errors: 0, replies: 1';; *) exec \"$real\" "
      "\"$@\";; esac");
  const auto done = put(taken.value().content, *target.value());
  ASSERT_FALSE(done.has_value());
  EXPECT_NE(done.error().message.find("did not answer every command"), std::string::npos)
      << done.error().message;
}

TEST_F(Redis, MissingToolNamesThePackage) {
  const char* path = std::getenv("PATH");
  const std::string old = path != nullptr ? path : "";
  ::setenv("PATH", "/nonexistent", 1);
  const auto source = open_redis_source("redis://127.0.0.1", context_);
  const auto server = make_redis_throw_away({}, "/tmp", context_);
  ::setenv("PATH", old.c_str(), 1);
  ASSERT_FALSE(source.has_value());
  EXPECT_EQ(source.error().message,
            "redis-cli is not installed: install the Debian package redis-tools");
  ASSERT_FALSE(server.has_value());
  EXPECT_EQ(server.error().message,
            "redis-server is not installed: install the Debian package redis-server");
}

TEST_F(Redis, ThrowAwayLeavesNothing) {
  auto server = start();
  ASSERT_NE(server, nullptr);
  EXPECT_TRUE(server->server->description().starts_with("Redis ")) << server->server->description();
  const std::string info = run(*server, "INFO server");
  const auto at = info.find("process_id:");
  ASSERT_NE(at, std::string::npos);
  const pid_t pid = std::stoi(info.substr(at + 11));
  ASSERT_GT(pid, 0);
  server->server.reset();
  EXPECT_NE(::kill(pid, 0), 0);
  EXPECT_TRUE(std::filesystem::is_empty(server->folder.path()));
}

}  // namespace
}  // namespace sealane::backup
