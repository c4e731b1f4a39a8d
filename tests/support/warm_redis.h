#pragma once
// What the tests with a real Redis share: links that must work, and stores that are filled.
#include <gtest/gtest.h>

#include <map>

#include "tests/support/redis_server.h"
#include "warm/redis_link.h"

namespace sealane::testing {

inline const std::vector<std::string> kDebugCommand = {"--enable-debug-command", "yes"};

inline std::unique_ptr<warm::RedisLink> link_to(const RedisServer& server) {
  auto opened = warm::RedisLink::open(server.address(), nullptr);
  EXPECT_TRUE(opened.has_value()) << (opened.has_value() ? "" : opened.error().message);
  return std::move(opened).value();
}

inline warm::RedisReply ask(warm::RedisLink& link, std::initializer_list<std::string_view> words) {
  auto reply = link.ask(words);
  EXPECT_TRUE(reply.has_value()) << (reply.has_value() ? "" : reply.error().message);
  EXPECT_FALSE(reply.value().is_error()) << reply.value().text;
  return std::move(reply).value();
}

// The server's own digest of all keys, values and types; not of expiries.
inline std::string digest_of(warm::RedisLink& link) { return ask(link, {"DEBUG", "DIGEST"}).text; }

// Key to exact expiry.
inline std::map<std::string, std::int64_t> expiries(warm::RedisLink& link) {
  std::map<std::string, std::int64_t> out;
  for (const warm::RedisReply& key : ask(link, {"KEYS", "*"}).items) {
    out[key.text] = ask(link, {"PEXPIRETIME", key.text}).integer;
  }
  return out;
}

// 20 keys: every type, small and large, with and without expiries.
inline void fill_all_types(warm::RedisLink& to) {
  ask(to, {"SET", "text", "hello"});
  ask(to, {"SET", "empty", ""});
  ask(to, {"SET", "number", "12345"});
  ask(to, {"SET", std::string_view("bin\0\r\n\xff", 7), std::string_view("\0\r\n$1\r\n\xff", 8)});
  ask(to, {"SETBIT", "bits", "100000", "1"});
  ask(to, {"PFADD", "hll", "a", "b", "c"});
  ask(to, {"RPUSH", "list", "a", "b", "a", "", "c"});
  ask(to, {"SADD", "numbers", "1", "2", "3"});
  ask(to, {"SADD", "set", "x", "y", ""});
  ask(to, {"HSET", "hash", "f", "v", "", "empty name"});
  ask(to, {"ZADD", "zset", "1.5", "a", "-inf", "b", "3.0000000000000004", "c", "inf", "d"});
  ask(to, {"XADD", "stream", "5-1", "f", "v"});
  ask(to, {"XADD", "stream", "7-0", "g", "w", "h", ""});
  ask(to, {"XDEL", "stream", "5-1"});
  ask(to, {"XADD", "groups", "1-1", "f", "v"});
  ask(to, {"XGROUP", "CREATE", "groups", "g", "0"});
  ask(to, {"XREADGROUP", "GROUP", "g", "c", "STREAMS", "groups", ">"});
  ask(to, {"XADD", "drained", "9-9", "f", "v"});
  ask(to, {"XDEL", "drained", "9-9"});
  for (int i = 0; i < 3000; ++i) {
    const std::string n = std::to_string(i);
    to.commands().command({"HSET", "bighash", "field" + n, std::string(40, 'v') + n});
    to.commands().command({"SADD", "bigset", "member-of-the-set-" + n});
    to.commands().command({"ZADD", "bigzset", n + ".25", "member" + n});
    to.commands().command({"RPUSH", "biglist", "element-of-the-list-" + n});
    to.commands().command({"XADD", "bigstream", std::to_string(i + 1) + "-1", "f", n});
  }
  for (int i = 0; i < 5 * 3000; ++i) ASSERT_TRUE(to.reply().has_value());
  ask(to, {"SET", "bigtext", std::string(300'000, 'x')});
  const std::int64_t later = 4'102'444'800'123;
  for (const char* const key : {"text", "hash", "bighash", "bigtext", "biglist", "stream"}) {
    ask(to, {"PEXPIREAT", key, std::to_string(later)});
  }
}

// `count` keys of all types with and without expiries, some written again with `round`.
inline void fill_mixed(warm::RedisLink& link, int from, int count, const std::string& round) {
  constexpr int kAtOnce = 1000;
  for (int i = 0; i < count; ++i) {
    const std::string n = std::to_string(from + i);
    const std::string key = "key:" + n;
    switch ((from + i) % 8) {
      case 0:
        link.commands().command({"RPUSH", key, n, "x", round});
        break;
      case 1:
        link.commands().command({"SADD", key, n, "y", round});
        break;
      case 2:
        link.commands().command({"HSET", key, "a", n, "b", round});
        break;
      case 3:
        link.commands().command({"ZADD", key, n, "m", "2.5", round});
        break;
      case 4:
        link.commands().command({"XADD", key, n + "-1", "f", round});
        break;
      case 5:
        link.commands().command(
            {"SET", key, n + round, "PXAT",
             "4102444800" + n.substr(0, 3).insert(0, 3 - std::min<std::size_t>(3, n.size()), '1')});
        break;
      default:
        link.commands().command({"SET", key, "value of " + n + " " + round});
        break;
    }
    if ((i + 1) % kAtOnce == 0 || i + 1 == count) {
      for (int done = i / kAtOnce * kAtOnce; done <= i; ++done) {
        const auto reply = link.reply();
        ASSERT_TRUE(reply.has_value());
        ASSERT_FALSE(reply.value().is_error()) << reply.value().text;
      }
    }
  }
}

}  // namespace sealane::testing
