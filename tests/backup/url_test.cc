// Goal: a URL means one thing or is refused, and no password leaves it. Method: tables.
#include "backup/url.h"

#include <gtest/gtest.h>

#include "backup/source.h"

namespace sealane::backup {
namespace {

TEST(Url, TakesItApart) {
  const auto url = parse_url(
      "PostgreSQL://sh%40p:s3cr%2Ft%3a:@db1.example:5433/shop%20db?sslmode=require&host=/run/x");
  ASSERT_TRUE(url) << url.error().message;
  EXPECT_EQ(url.value().scheme, "postgresql");
  EXPECT_EQ(url.value().user, "sh@p");
  ASSERT_TRUE(url.value().password);
  EXPECT_EQ(url.value().password->expose_text(), "s3cr/t::");
  EXPECT_EQ(url.value().host, "db1.example");
  EXPECT_EQ(url.value().port, 5433);
  EXPECT_EQ(url.value().path, "/shop db");
  EXPECT_EQ(url.value().parameter("sslmode"), "require");
  EXPECT_EQ(url.value().parameter("host"), "/run/x");
  EXPECT_FALSE(url.value().parameter("port"));
}

TEST(Url, HostForms) {
  const struct {
    const char* text;
    const char* host;
    int port;
  } cases[] = {{"redis://localhost", "localhost", 0},
               {"redis://127.0.0.1:6379/0", "127.0.0.1", 6379},
               {"redis://[::1]:6380/0", "::1", 6380},
               {"redis://[::1]", "::1", 0},
               {"postgresql://%2Frun%2Fpostgresql/shop", "/run/postgresql", 0},
               {"postgresql:///shop", "", 0},
               {"postgresql://u@/shop", "", 0}};
  for (const auto& c : cases) {
    const auto url = parse_url(c.text);
    ASSERT_TRUE(url) << c.text;
    EXPECT_EQ(url.value().host, c.host) << c.text;
    EXPECT_EQ(url.value().port.value_or(0), c.port) << c.text;
    EXPECT_FALSE(url.value().password) << c.text;
  }
}

TEST(Url, RefusesWhatIsAmbiguous) {
  const std::string bad[] = {"",
                             "shop",
                             "://x",
                             "1a://x",
                             "redis:x",
                             "redis:/x",
                             "redis://h:0",
                             "redis://h:65536",
                             "redis://h:",
                             "redis://h:1x",
                             "redis://h#f",
                             "redis://h/%",
                             "redis://h/%4",
                             "redis://h/%zz",
                             "redis://h/%00",
                             "redis://u:p/w@h/0",
                             "redis://u:p?w@h/0",
                             "redis://a@b@c/",
                             "redis://[::1",
                             "redis://[h]",
                             "redis://[::1]x",
                             "redis://h/a b",
                             "redis://h/\n",
                             "redis://h?x",
                             "redis://h?=1",
                             "redis://h?a=b&&",
                             "redis://h,i",
                             std::string("redis://h\0x", 11),
                             "redis://" + std::string(kMaxUrlSize, 'a')};
  for (const auto& text : bad) {
    const auto url = parse_url(text);
    ASSERT_FALSE(url) << text;
    EXPECT_EQ(url.error().kind, ErrorKind::kUsage);
    EXPECT_EQ(url.error().message.find("p/w"), std::string::npos) << "the error repeats a password";
  }
}

TEST(Url, RedactedNeverShowsASecret) {
  const std::pair<const char*, const char*> cases[] = {
      {"postgresql://shop:hunter2@db1:5432/shop", "postgresql://shop@db1:5432/shop"},
      {"postgresql://db1/shop?password=hunter2&sslmode=require",
       "postgresql://db1/shop?sslmode=require"},
      {"redis://:hunter2@[::1]:6379/0", "redis://[::1]:6379/0"},
      {"postgresql://shop:hunt/er2@db1/shop", "postgresql:…"},
      {"postgresql://shop:1/hunter2@db1/shop", "postgresql:…"},
      {"mysql:hunter2", "mysql:…"},
      {"postgresql://%2Frun%2Fpg/shop", "postgresql://%2Frun%2Fpg/shop"},
      {"sqlite:/var/shop.db", "sqlite:/var/shop.db"},
      {"sqlite:/a\x1b[31m", "sqlite:/a\\x1b[31m"},
      {"file:/srv/50%", "file:/srv/50%"}};
  for (const auto& [url, shown] : cases) EXPECT_EQ(redacted_url(url), shown);
}

TEST(Url, LocalPathsAreTakenAsTheyAre) {
  const std::pair<const char*, const char*> good[] = {{"sqlite:/a/100%.db", "/a/100%.db"},
                                                      {"sqlite:rel?x#y", "rel?x#y"},
                                                      {"file:///srv", "/srv"},
                                                      {"file:/a%20b", "/a%20b"},
                                                      {"stdin:NAME", "NAME"},
                                                      {"file:file:x", "file:x"}};
  for (const auto& [url, path] : good) {
    const auto got = local_path(url);
    ASSERT_TRUE(got) << url;
    EXPECT_EQ(got.value(), path);
  }
  for (const std::string& bad : {std::string("sqlite:"), std::string("file://host/x"),
                                 std::string("file://"), std::string("file:/a\0b", 9)}) {
    ASSERT_FALSE(local_path(bad)) << bad;
    EXPECT_EQ(local_path(bad).error().kind, ErrorKind::kUsage);
  }
}

}  // namespace
}  // namespace sealane::backup
