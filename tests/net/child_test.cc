// Goal: words are cut as a shell cuts them; a program's end is seen, and none is left behind.
#include "net/child.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <chrono>

namespace sealane::net {
namespace {

using Words = std::vector<std::string>;

TEST(SplitWords, LikeAShell) {
  EXPECT_EQ(split_words(""), Words{});
  EXPECT_EQ(split_words("  a \t b\n"), (Words{"a", "b"}));
  EXPECT_EQ(split_words("ssh 'a b' \"c d\""), (Words{"ssh", "a b", "c d"}));
  EXPECT_EQ(split_words("a'b'\"c\"d"), Words{"abcd"});
  EXPECT_EQ(split_words("''"), Words{""});
  EXPECT_EQ(split_words(R"(a\ b "\"\\\n" '\')"), (Words{"a b", "\"\\\\n", "\\"}));
  EXPECT_EQ(split_words("$HOME *;|"), (Words{"$HOME", "*;|"}));
  EXPECT_EQ(split_words("a\\"), Words{"a\\"});
  EXPECT_FALSE(split_words("a 'b"));
  EXPECT_FALSE(split_words("a \"b'"));
}

TEST(Child, ItsStreamsAreThePipes) {
  auto child = Child::start({"cat"});
  ASSERT_TRUE(child.has_value());
  ASSERT_EQ(::write(child.value().input(), "hello", 5), 5);
  std::array<char, 16> got{};
  EXPECT_EQ(::read(child.value().output(), got.data(), got.size()), 5);
  EXPECT_STREQ(got.data(), "hello");
}

TEST(Child, OneThatDoesNotListenIsStopped) {
  const auto start = std::chrono::steady_clock::now();
  {
    const auto child = Child::start({"sleep", "60"});
    ASSERT_TRUE(child.has_value());
  }
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(30));
}

TEST(Child, OneThatIsNotThere) {
  const auto child = Child::start({"/no/such/program"});
  ASSERT_FALSE(child.has_value());
  EXPECT_NE(child.error().message.find("/no/such/program"), std::string::npos);
}

}  // namespace
}  // namespace sealane::net
