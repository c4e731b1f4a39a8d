// Goal: a URL reaches its driver, and anything else is told what can be written. Method: table.
#include <fcntl.h>
#include <unistd.h>

#include "backup/raw.h"
#include "driver_support.h"

namespace sealane::backup {
namespace {

using Drivers = DriverTest;

TEST_F(Drivers, UnknownSchemesListTheKnownOnes) {
  for (const char* url : {"oracle://user:hunter2@h/x", "/srv/data", "", "C:\\x"}) {
    const auto source = open_source(url, context_);
    ASSERT_FALSE(source) << url;
    EXPECT_EQ(source.error().kind, ErrorKind::kUsage);
    EXPECT_NE(source.error().message.find("sqlite:/path"), std::string::npos);
    EXPECT_NE(source.error().message.find("stdin:NAME"), std::string::npos);
    EXPECT_EQ(source.error().message.find("hunter2"), std::string::npos);
    const auto target = open_target(url, context_);
    ASSERT_FALSE(target) << url;
    EXPECT_EQ(target.error().message.find("stdin:"), std::string::npos);
  }
  EXPECT_EQ(make_throw_away("stdin", {}, folder_, context_).error().kind, ErrorKind::kUsage);
}

TEST_F(Drivers, StandardInputIsOneStreamWithoutFingerprint) {
  write_file(path("in"), "some bytes");
  const int fd = ::open(path("in").c_str(), O_RDONLY | O_CLOEXEC);
  auto source = open_raw_source("dump-1.sql", fd, context_);
  ASSERT_TRUE(source) << source.error().message;
  EXPECT_EQ(source.value()->streams()[0].name, "dump-1.sql");
  EXPECT_EQ(to_text(dump(*source.value()).value()), "some bytes");
  EXPECT_FALSE(source.value()->fingerprint().value());
  ::close(fd);
  for (const char* bad : {"", "UP", "a/b", ".x", "a b"}) {
    EXPECT_FALSE(open_raw_source(bad, 0, context_)) << bad;
  }
  EXPECT_FALSE(open_raw_source(std::string(65, 'a'), 0, context_));
}

TEST_F(Drivers, RawTargetAppearsWholeOrNotAtAll) {
  const StreamDescription stream{.name = "x", .format = "raw", .hint = ""};
  {
    auto target = open_raw_target(path("out"), context_).value();
    EXPECT_TRUE(target->is_empty().value());
    auto sink = target->open_stream(stream).value();
    ASSERT_TRUE(sink->write(as_bytes("half")));
  }
  EXPECT_TRUE(names(folder_).empty());
  {
    auto target = open_raw_target(path("out"), context_).value();
    auto sink = target->open_stream(stream).value();
    ASSERT_TRUE(sink->write(as_bytes("whole")));
    ASSERT_TRUE(sink->finish());
    EXPECT_FALSE(target->open_stream(stream));  // a second one has no place
    ASSERT_TRUE(target->finish());
  }
  EXPECT_EQ(read_file(path("out")), "whole");
  auto target = open_raw_target(path("out"), context_).value();
  EXPECT_FALSE(target->is_empty().value());
  EXPECT_FALSE(target->open_stream(stream));
  ASSERT_TRUE(target->clear());
  auto sink = target->open_stream(stream).value();
  ASSERT_TRUE(sink->write(as_bytes("new")));
  EXPECT_EQ(read_file(path("out")), "whole");
  ASSERT_TRUE(sink->finish());
  ASSERT_TRUE(target->finish());
  EXPECT_EQ(read_file(path("out")), "new");
}

}  // namespace
}  // namespace sealane::backup
