// Goal: what a person writes as a forward is taken or refused with a sentence. What it carries is
// tested with the program, by tests/app/pipe_test.py.
#include "net/forwarder.h"

#include <gtest/gtest.h>

namespace sealane::net {
namespace {

TEST(ForwardRule, Parsed) {
  const auto rule = parse_forward_rule("tcp:127.0.0.1:8080=unix:/run/web=1.sock");
  ASSERT_TRUE(rule.has_value());
  EXPECT_EQ(rule.value().local.text, "tcp:127.0.0.1:8080");
  EXPECT_EQ(rule.value().target, "unix:/run/web=1.sock");
  const auto odd = parse_forward_rule("unix:/a=b=tcp:[::1]:80");
  ASSERT_TRUE(odd.has_value());
  EXPECT_EQ(odd.value().local.text, "unix:/a=b");
}

TEST(ForwardRule, Refused) {
  for (const char* text :
       {"", "=", "tcp:127.0.0.1:1", "tcp:127.0.0.1:1=", "=tcp:127.0.0.1:1", "tcp:1=tcp:127.0.0.1:1",
        "tcp:127.0.0.1:1=udp:127.0.0.1:1", "udp:127.0.0.1:1=tcp:127.0.0.1:1",
        "tcp:127.0.0.1:1=tcp:no name:80", "seqpacket:/a=tcp:127.0.0.1:1"}) {
    const auto rule = parse_forward_rule(text);
    ASSERT_FALSE(rule.has_value()) << text;
    EXPECT_EQ(rule.error().kind, ErrorKind::kUsage) << text;
  }
}

TEST(Forwarder, AnAddressInUseIsNamed) {
  const auto first = Forwarder::create({{{"tcp:127.0.0.1:0"}, "unix:/x"}}, {}, {});
  ASSERT_TRUE(first.has_value());
  const Address at = first.value()->listening().at(0);
  EXPECT_NE(at.text, "tcp:127.0.0.1:0");
  const auto second = Forwarder::create({{at, "unix:/x"}}, {}, {});
  ASSERT_FALSE(second.has_value());
  EXPECT_NE(second.error().message.find(at.text), std::string::npos);
  const auto bad = Forwarder::create({}, {"udp:127.0.0.1:1"}, {});
  ASSERT_FALSE(bad.has_value());
  EXPECT_EQ(bad.error().kind, ErrorKind::kUsage);
}

}  // namespace
}  // namespace sealane::net
