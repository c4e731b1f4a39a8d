#pragma once
// What the tests with a real Redis share: links that must work, and stores that are filled.
#include <gtest/gtest.h>

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
