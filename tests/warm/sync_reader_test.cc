// Goal: what a server sends to a replica ends well only where it says that it ends; every cut of it
// reads the same, and whatever else comes has a name. Method: streams made by hand.
#include "warm/sync_reader.h"

#include <gtest/gtest.h>

#include "base/byte_reader.h"

namespace sealane::warm {
namespace {

using backup::RdbError;

struct Names final : backup::RdbHandler {
  std::vector<std::string> keys;
  bool refuses = false;
  bool on_key(const backup::RdbKey& key) override {
    keys.push_back(to_text(key.key));
    return !refuses;
  }
  bool on_function(ByteSpan) override { return false; }
};

std::string text(const std::string& value) {
  return std::string(1, static_cast<char>(value.size())) + value;
}
std::string file(bool checksum = true) {
  std::string out = "REDIS0010\xfe" + std::string(1, '\0');
  for (const char* const key : {"a", "b", "c"}) out += std::string(1, '\0') + text(key) + text("v");
  out += '\xff';
  ByteArray<8> crc{};
  if (checksum) store_integer(crc, backup::crc64(0, as_bytes(out)), Endian::kLittle);
  return out + to_text(crc);
}
const std::string kMark = "0123456789abcdef0123456789abcdef01234567";
std::string marked(const std::string& content, const std::string& mark = kMark) {
  return "\n\n$EOF:" + kMark + "\r\n" + content + mark;
}
std::string sized(const std::string& content, std::size_t size) {
  return "\n$" + std::to_string(size) + "\r\n" + content;
}

struct Verdict {
  bool done = false;
  std::optional<SyncError> error;
  std::vector<std::string> keys;
};
Verdict read(const std::string& stream, std::size_t step = SIZE_MAX, bool refuses = false) {
  Names names;
  names.refuses = refuses;
  SyncReader reader(names, {.largest_value = 1000});
  Verdict verdict;
  for (std::size_t at = 0; at < stream.size() && !verdict.error; at += step) {
    const auto fed = reader.feed(as_bytes(stream.substr(at, step)));
    if (!fed.has_value()) verdict.error = fed.error();
    if (step == SIZE_MAX) break;
  }
  verdict.done = reader.done();
  verdict.keys = names.keys;
  return verdict;
}

TEST(SyncReader, ReadsBothFormsInAnyCut) {
  const std::vector<std::string> all = {"a", "b", "c"};
  for (const bool checksum : {true, false}) {
    const std::string content = file(checksum);
    for (const std::string& stream :
         {marked(content), sized(content, content.size()),
          // Without rdb-only a server goes on with what was written meanwhile.
          sized(content, content.size()) + "*1\r\n$4\r\nPING\r\n", marked(content) + "more"}) {
      for (const std::size_t step : {1U, 2U, 5U, 33U, 1000U}) {
        const Verdict verdict = read(stream, step);
        EXPECT_TRUE(verdict.done && !verdict.error) << step;
        EXPECT_EQ(verdict.keys, all);
      }
    }
    for (const std::string& stream : {marked(content), sized(content, content.size())}) {
      for (std::size_t cut = 0; cut < stream.size(); ++cut) {
        Names names;
        SyncReader reader(names, {.largest_value = 1000});
        ASSERT_TRUE(reader.feed(as_bytes(stream.substr(0, cut))).has_value()) << cut;
        EXPECT_FALSE(reader.done()) << cut;
        EXPECT_EQ(reader.begun(), cut >= stream.find("REDIS") && cut < stream.find(kMark, 10))
            << cut;
        ASSERT_TRUE(reader.feed(as_bytes(stream.substr(cut))).has_value()) << cut;
        EXPECT_TRUE(reader.done()) << cut;
        EXPECT_EQ(names.keys, all);
      }
    }
  }
}

TEST(SyncReader, SaysWhatIsWrong) {
  const auto fault = [](const std::string& stream) {
    const Verdict verdict = read(stream);
    EXPECT_FALSE(verdict.done);
    const Verdict again = read(stream, 1);
    EXPECT_EQ(verdict.error.has_value(), again.error.has_value());
    if (verdict.error && again.error) {
      EXPECT_EQ(verdict.error->fault, again.error->fault);
      EXPECT_EQ(verdict.error->answer, again.error->answer);
    }
    return verdict.error ? verdict.error->fault : SyncFault{};
  };
  EXPECT_EQ(fault("-NOPERM no\r\n"), SyncFault::kRefused);
  EXPECT_EQ(read("\n-NOPERM no\r\n").error->answer, "NOPERM no");
  for (const std::string& stream :
       {std::string("+OK\r\n"), std::string("-ERR no line end\n"), std::string("$\r\n"),
        std::string("$12x\r\n"), std::string("$-1\r\n"), std::string("$99999999999999999999\r\n"),
        std::string("$EOF:short\r\n"), "$EOF:" + kMark + "x\r\n", "$EOF:" + kMark + "\n",
        std::string("HTTP/1.1 400 Bad Request\r\n"), std::string(SyncReader::kMaxLine + 1, '-')}) {
    EXPECT_EQ(fault(stream), SyncFault::kNoSync) << stream;
  }
  const std::string content = file();
  EXPECT_EQ(fault(marked(content, kMark.substr(1) + "x")), SyncFault::kEnd);
  EXPECT_EQ(fault(sized(content + "x", content.size() + 1)), SyncFault::kEnd);
  EXPECT_EQ(fault(sized(content, content.size() - 1)), SyncFault::kFile);
  EXPECT_EQ(read(sized(content, content.size() - 1)).error->rdb, RdbError::kTruncated);
  EXPECT_EQ(fault("$0\r\n"), SyncFault::kFile);
  std::string damaged = content;
  damaged[content.find("\xff")] ^= 1;
  EXPECT_EQ(fault(marked(damaged)), SyncFault::kFile);
  damaged = content;
  damaged.back() = static_cast<char>(damaged.back() ^ 1);
  EXPECT_EQ(read(marked(damaged)).error->rdb, RdbError::kChecksum);
  const Verdict refused = read(marked(content), SIZE_MAX, true);
  ASSERT_TRUE(refused.error);
  EXPECT_EQ(refused.error->rdb, RdbError::kRefused);
  EXPECT_EQ(refused.keys.size(), 1U);
}

}  // namespace
}  // namespace sealane::warm
