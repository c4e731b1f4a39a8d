// Goal: what a loading server says of itself is read, whatever it leaves out, and said in one
// sentence. Method: answers to INFO PERSISTENCE as servers give them, and worse ones.
#include "backup/redis_loading.h"

#include <gtest/gtest.h>

namespace sealane::backup {
namespace {

std::string said(const std::string& fields) {
  return describe(loading_of("redis://h", "# Persistence\r\nloading:1\r\n" + fields));
}

TEST(RedisLoading, IsTold) {
  EXPECT_TRUE(is_loading("# Persistence\r\nloading:1\r\nasync_loading:0\r\n"));
  EXPECT_FALSE(is_loading("# Persistence\r\nloading:0\r\nasync_loading:1\r\n"));
  EXPECT_FALSE(is_loading(""));
}

TEST(RedisLoading, SaysHowFarItIs) {
  const std::string end = "; waiting until it has, an hour at most";
  EXPECT_EQ(said("loading_loaded_perc:35.20\r\nloading_eta_seconds:40\r\n"),
            "redis://h is loading its file (35 %, about 40 s more)" + end);
  EXPECT_EQ(said("loading_loaded_perc:99.80\r\nloading_eta_seconds:1\r\n"),
            "redis://h is loading its file (100 %)" + end);
  EXPECT_EQ(said("loading_eta_seconds:7\r\n"),
            "redis://h is loading its file (about 7 s more)" + end);
  EXPECT_EQ(said(""), "redis://h is loading its file" + end);
  for (const char* const odd : {"nan", "inf", "-1", "101", "1e99", "x", ""}) {
    EXPECT_EQ(said("loading_loaded_perc:" + std::string(odd) + "\r\nloading_eta_seconds:-3\r\n"),
              "redis://h is loading its file" + end)
        << odd;
  }
}

}  // namespace
}  // namespace sealane::backup
