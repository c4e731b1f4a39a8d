// Goal: a file of parts holds exactly what was pushed, or is not there; append-only files of a real
// Redis are read whole, and what is cut or foreign is refused with its place. Method: real
// append-only files, with and without an image; a disk that is full at each call; every cut.
#include "warm/file.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "sealane/store/system.h"
#include "sealane/warm/memory.h"
#include "tests/support/doubles.h"
#include "tests/support/simulated_files.h"
#include "tests/support/warm_redis.h"
#include "warm/redis_sink.h"

namespace sealane::warm {
namespace {

using namespace sealane::testing;  // NOLINT(google-build-using-namespace)

Bytes restore_of(const std::string& key) {
  Bytes out;
  RespWriter(out).command({"RESTORE", key, "0", "some value", "ABSTTL"});
  return out;
}

class WarmFile : public ::testing::Test {
 protected:
  WarmFile() : folder_(backup::TemporaryFolder::create("sealane-file-", "/tmp").value()) {}
  std::string path(const std::string& name) const { return folder_.path() + '/' + name; }
  std::string write(const std::string& name, ByteSpan content) const {
    std::ofstream(path(name), std::ios::binary) << as_text(content);
    return path(name);
  }
  static Result<std::vector<Part>, Error> read(const std::string& file,
                                               std::size_t part_size = 4096,
                                               const PartCursor& behind = {}) {
    FileSourceOptions options;
    options.part_size = part_size;
    SEALANE_TRY(const auto source, FileSource::open(system_files(), file, options));
    if (!behind.empty()) {
      SEALANE_TRY(source->resume(behind));
    }
    std::vector<Part> parts;
    for (;;) {
      SEALANE_TRY(auto part, source->next());
      if (!part) return parts;
      parts.push_back(std::move(*part));
    }
  }
  static Bytes joined(const std::vector<Part>& parts) {
    Bytes out;
    for (const Part& part : parts)
      out.insert(out.end(), part.commands.begin(), part.commands.end());
    return out;
  }

  backup::TemporaryFolder folder_;
  SeededRandom random_{1};
};

TEST_F(WarmFile, HoldsWhatWasPushedAndResumesBehindAnyPart) {
  Bytes all;
  {
    auto sink = FileSink::create(system_files(), random_, path("copy"));
    ASSERT_TRUE(sink.has_value());
    for (int i = 0; i < 500; ++i) {
      const Bytes part = restore_of("key" + std::to_string(i));
      MemoryContent content(part);
      EXPECT_EQ(sink.value()->apply({}, content).counts.applied, 1U);
      all.insert(all.end(), part.begin(), part.end());
    }
    EXPECT_FALSE(std::filesystem::exists(path("copy"))) << "not before its end";
    ASSERT_TRUE(sink.value()->finish().has_value());
  }
  const auto parts = read(path("copy"));
  ASSERT_TRUE(parts.has_value()) << parts.error().message;
  EXPECT_GT(parts.value().size(), 5U);
  EXPECT_EQ(joined(parts.value()), all);
  for (std::size_t i = 0; i < parts.value().size(); ++i) {
    const auto rest = read(path("copy"), 4096, parts.value()[i].behind);
    ASSERT_TRUE(rest.has_value()) << rest.error().message;
    Bytes again;
    for (std::size_t j = 0; j <= i; ++j) {
      const Bytes& one = parts.value()[j].commands;
      again.insert(again.end(), one.begin(), one.end());
    }
    const Bytes more = joined(rest.value());
    again.insert(again.end(), more.begin(), more.end());
    EXPECT_EQ(again, all);
  }
  EXPECT_EQ(read(path("copy"), 4096, "f1:1:x:0").error().kind, ErrorKind::kUsage);
  EXPECT_EQ(FileSink::create(system_files(), random_, path("copy")).error().kind,
            ErrorKind::kUsage);
}

TEST_F(WarmFile, EveryCutIsRefusedWithItsPlace) {
  Bytes all = restore_of("a");
  const std::size_t border = all.size();
  const Bytes second = restore_of("b");
  all.insert(all.end(), second.begin(), second.end());
  for (std::size_t cut = 0; cut <= all.size(); ++cut) {
    const auto parts = read(write("cut", ByteSpan(all).first(cut)));
    if (cut == 0 || cut == border || cut == all.size()) {
      EXPECT_TRUE(parts.has_value()) << cut;
      continue;
    }
    ASSERT_FALSE(parts.has_value()) << cut;
    const std::string where = cut > border ? std::to_string(border) : "0";
    EXPECT_TRUE(parts.error().message.ends_with("byte " + where)) << parts.error().message;
  }
}

TEST_F(WarmFile, AFullDiskCostsThePartsThatDidNotFitAlone) {
  SimulatedFiles disk;
  auto sink = FileSink::create(disk, random_, "/copy").value();
  const auto give = [&](std::uint32_t index, const Bytes& part) {
    PartInfo info;
    info.index = index;
    MemoryContent content(part);
    return sink->apply(info, content);
  };
  const Bytes small = restore_of("a");
  Bytes large;
  while (large.size() < 600'000) RespWriter(large).command({"SET", "k", std::string(50'000, 'v')});
  disk.limit_space(400'000);
  EXPECT_FALSE(give(0, small).error);
  for (int i = 0; i < 2; ++i) {
    const ApplyResult full = give(1, large);
    ASSERT_TRUE(full.error);
    EXPECT_EQ(main_cause(full.counts), Cause::kDiskFull);
    EXPECT_EQ(full.counts.applied, 0U);
    // Nothing of it takes space: what fits is taken behind the part before.
    EXPECT_FALSE(give(static_cast<std::uint32_t>(2 + i), small).error);
  }
  // What is no part leaves nothing either.
  EXPECT_EQ(main_cause(give(9, to_bytes("no command\r\n")).counts), Cause::kRefused);
  EXPECT_FALSE(give(9, small).error);
  EXPECT_FALSE(sink->broken());
  EXPECT_TRUE(sink->finish().has_value());
  Bytes expected;
  for (int i = 0; i < 4; ++i) expected.insert(expected.end(), small.begin(), small.end());
  EXPECT_EQ(read_file(disk, "/copy", 10'000).value(), expected);
}

TEST_F(WarmFile, WhereAllPartsFailedThereIsNoFile) {
  SimulatedFiles disk;
  auto sink = FileSink::create(disk, random_, "/copy").value();
  disk.limit_space(3);
  const Bytes part = restore_of("a");
  MemoryContent content(part);
  EXPECT_TRUE(sink->apply({}, content).error);
  const auto finished = sink->finish();
  ASSERT_FALSE(finished.has_value());
  EXPECT_NE(finished.error().message.find("No space left"), std::string::npos);
  sink.reset();
  EXPECT_TRUE(disk.list("/").value().empty());
}

TEST_F(WarmFile, WhatCannotBeCutOffIsTheEnd) {
  SimulatedFiles disk;
  auto sink = FileSink::create(disk, random_, "/copy").value();
  const Bytes part = restore_of("a");
  MemoryContent first(part);
  EXPECT_FALSE(sink->apply({}, first).error);
  disk.limit_space(10);
  disk.fail_call(disk.call_count() + 1, EIO);  // what comes behind the write
  for (int i = 0; i < 2; ++i) {
    MemoryContent again(part);
    const ApplyResult result = sink->apply({}, again);
    EXPECT_TRUE(sink->broken());
    ASSERT_TRUE(result.error);
    EXPECT_NE(result.error->message.find("cannot be cut off again"), std::string::npos);
    EXPECT_EQ(main_cause(result.counts), Cause::kDiskFull);
  }
  const auto finished = sink->finish();
  ASSERT_FALSE(finished.has_value());
  EXPECT_NE(finished.error().message.find("cannot be cut off again"), std::string::npos);
  sink.reset();
  EXPECT_TRUE(disk.list("/").value().empty());
}

TEST_F(WarmFile, AFullDiskLeavesNothing) {
  int whole = 0;
  int refused = 0;
  for (std::uint64_t call = 0; call < 12; ++call) {
    SCOPED_TRACE(::testing::Message() << "call " << call);
    SimulatedFiles disk;
    SeededRandom random(call);
    disk.fail_call(call, ENOSPC);
    bool finished = false;
    bool applied = false;
    const Bytes part = restore_of("a");
    {
      auto sink = FileSink::create(disk, random, "/copy");
      if (sink.has_value()) {
        MemoryContent content(part);
        const ApplyResult result = sink.value()->apply({}, content);
        applied = !result.error;
        if (result.error) {
          ++refused;
          EXPECT_EQ(result.counts.causes[static_cast<std::size_t>(Cause::kDiskFull)], 1U);
          EXPECT_EQ(result.counts.applied, 0U);
        }
        finished = sink.value()->finish().has_value();
      }
    }
    disk.clear_faults();
    const auto there = read_file(disk, "/copy", 1000);
    if (finished) {
      ++whole;
      EXPECT_TRUE(applied);
      ASSERT_TRUE(there.has_value());
      EXPECT_EQ(there.value(), part);
    } else if (there.has_value()) {
      EXPECT_EQ(there.value(), part) << "whole, if the failure came behind the rename";
    }
    const auto names = disk.list("/");
    ASSERT_TRUE(names.has_value());
    EXPECT_LE(names.value().size(), 1U) << "no temporary stays";
  }
  EXPECT_GT(whole, 0);
  EXPECT_GT(refused, 0);
}

TEST_F(WarmFile, ReadsTheAppendOnlyFilesOfARealServer) {
  if (!RedisServer::installed()) GTEST_SKIP() << "redis-server or redis-cli is not installed";
  for (const char* const image : {"yes", "no"}) {
    SCOPED_TRACE(image);
    RedisServer here({"--appendonly", "yes", "--aof-use-rdb-preamble", image,
                      "--aof-timestamp-enabled", "yes", "--enable-debug-command", "yes"});
    RedisServer there(kDebugCommand);
    const auto a = link_to(here);
    const auto b = link_to(there);
    fill_mixed(*a, 0, 800, "x");
    ask(*a, {"BGREWRITEAOF"});
    std::string info;
    do {
      info = ask(*a, {"INFO", "persistence"}).text;
    } while (info_field(info, "aof_rewrite_in_progress") != "0" ||
             info_field(info, "aof_rewrite_scheduled") != "0");
    std::string base;
    for (const auto& entry :
         std::filesystem::directory_iterator(here.folder() + "/appendonlydir")) {
      if (entry.path().string().find(".base.") != std::string::npos) base = entry.path();
    }
    const auto parts = read(base, 65'536);
    ASSERT_TRUE(parts.has_value()) << parts.error().message;
    RedisSink sink(there.address(), ApplyMode::kOverwrite, nullptr);
    for (const Part& part : parts.value()) {
      MemoryContent content(part.commands);
      PartInfo info_of_part;
      info_of_part.size = part.commands.size();
      const ApplyResult result = sink.apply(info_of_part, content);
      EXPECT_FALSE(result.error) << result.error->message;
    }
    EXPECT_EQ(digest_of(*a), digest_of(*b));
  }
}

TEST_F(WarmFile, RefusesWhatIsOfAnotherDatabaseOrNoCommands) {
  Bytes other;
  RespWriter(other).command({"SELECT", "3"});
  EXPECT_NE(read(write("db", other)).error().message.find("database other than 0"),
            std::string::npos);
  EXPECT_NE(read(write("text", as_bytes("hello\n"))).error().message.find("no sequence of Redis"),
            std::string::npos);
  EXPECT_NE(
      read(write("image", as_bytes("REDIS0011garbage"))).error().message.find("cannot be used"),
      std::string::npos);
  EXPECT_EQ(read(folder_.path()).error().kind, ErrorKind::kUsage);
  Bytes open;
  RespWriter(open).command({"MULTI"});
  RespWriter(open).command({"SET", "a", "1"});
  EXPECT_NE(read(write("open", open)).error().message.find("transaction"), std::string::npos);
}

}  // namespace
}  // namespace sealane::warm
