// Goal: the reader of RDB files finds the end, refuses every damage, allocates nothing on a claim,
// and digests equal data alike in every encoding. Method: files built here, piece by piece;
// redis_test.cc compares with what real servers write.
#include "backup/rdb.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <map>

#include "base/byte_reader.h"

namespace sealane::backup {
namespace {

struct Found {
  RdbDigest digest;
  std::uint64_t database = 0;
  std::optional<std::int64_t> expires;
  std::string value;
  friend bool operator==(const Found&, const Found&) = default;
};
struct Collector final : RdbHandler {
  std::map<std::string, Found> keys;
  std::vector<std::string> functions;
  bool on_key(const RdbKey& key) override {
    keys[to_text(key.key)] = {key.digest, key.database, key.expires, to_text(key.value)};
    return true;
  }
  bool on_function(ByteSpan library) override {
    functions.push_back(to_text(library));
    return true;
  }
};

std::string byte(int value) { return std::string(1, static_cast<char>(value)); }
template <class T>
std::string little(T value) {
  ByteArray<sizeof(T)> out{};
  store_integer(MutableByteSpan(out), value, Endian::kLittle);
  return to_text(out);
}
std::string length(std::uint64_t value) {
  if (value < 64) return byte(static_cast<int>(value));
  if (value < 16384)
    return byte(0x40 | static_cast<int>(value >> 8)) + byte(static_cast<int>(value & 0xff));
  ByteArray<8> out{};
  store_integer(MutableByteSpan(out), value);
  return byte(0x81) + to_text(out);
}
std::string text(const std::string& value) { return length(value.size()) + value; }
std::string entry(int type, const std::string& key, const std::string& value) {
  return byte(type) + text(key) + value;
}
std::string file(const std::string& body, const std::string& version = "0010") {
  std::string out = "REDIS" + version + body + byte(0xff);
  return out + little(crc64(0, as_bytes(out)));
}

// Elements of a ziplist: integers as such, the rest as text.
std::string ziplist(const std::vector<std::string>& elements) {
  std::string entries;
  std::size_t previous = 0;
  for (const auto& element : elements) {
    std::string one = previous < 254 ? byte(static_cast<int>(previous))
                                     : byte(0xfe) + little(static_cast<std::uint32_t>(previous));
    if (element == "7") {
      one += byte(0xf8);
    } else if (element == "-5") {
      one += byte(0xfe) + byte(-5);
    } else if (element == "1000") {
      one += byte(0xc0) + little(std::uint16_t{1000});
    } else if (element == "-70000") {
      one += byte(0xf0) + little(static_cast<std::uint32_t>(-70000)).substr(0, 3);
    } else if (element == "9000000000") {
      one += byte(0xe0) + little(std::uint64_t{9000000000});
    } else if (element.size() < 64) {
      one += byte(static_cast<int>(element.size())) + element;
    } else if (element.size() < 16384) {
      one += byte(0x40 | static_cast<int>(element.size() >> 8)) +
             byte(static_cast<int>(element.size() & 0xff)) + element;
    } else {
      ByteArray<4> size{};
      store_integer(MutableByteSpan(size), static_cast<std::uint32_t>(element.size()));
      one += byte(0x80) + to_text(size) + element;
    }
    previous = one.size();
    entries += one;
  }
  const auto total = static_cast<std::uint32_t>(10 + entries.size() + 1);
  return text(little(total) + little(std::uint32_t{10}) +
              little(static_cast<std::uint16_t>(elements.size())) + entries + byte(0xff));
}
std::string listpack(const std::vector<std::string>& elements) {
  std::string entries;
  for (const auto& element : elements) {
    std::string one;
    if (element == "7") {
      one = byte(7);
    } else if (element == "-5") {
      one = byte(0xdf) + byte(0xfb);
    } else if (element == "1000") {
      one = byte(0xc3) + byte(0xe8);
    } else if (element == "-70000") {
      one = byte(0xf2) + little(static_cast<std::uint32_t>(-70000)).substr(0, 3);
    } else if (element == "9000000000") {
      one = byte(0xf4) + little(std::uint64_t{9000000000});
    } else if (element.size() < 64) {
      one = byte(0x80 | static_cast<int>(element.size())) + element;
    } else if (element.size() < 4096) {
      one = byte(0xe0 | static_cast<int>(element.size() >> 8)) +
            byte(static_cast<int>(element.size() & 0xff)) + element;
    } else {
      one = byte(0xf0) + little(static_cast<std::uint32_t>(element.size())) + element;
    }
    const std::size_t size = one.size();
    entries += one + std::string(size < 128 ? 1 : size < 16383 ? 2 : 3, '\x01');
  }
  const auto total = static_cast<std::uint32_t>(6 + entries.size() + 1);
  return text(little(total) + little(static_cast<std::uint16_t>(elements.size())) + entries +
              byte(0xff));
}

const std::vector<std::string> kElements = {"a",
                                            "7",
                                            "-5",
                                            "1000",
                                            "-70000",
                                            "9000000000",
                                            "",
                                            std::string(300, 'x'),
                                            std::string(20000, 'y')};

std::string each(const std::vector<std::string>& elements) {
  std::string out;
  for (const auto& element : elements) out += text(element);
  return out;
}

Result<Collector, RdbError> read(const std::string& content, bool keep = false) {
  Collector collector;
  RdbReader reader(collector, keep);
  SEALANE_TRY(reader.feed(as_bytes(content)));
  SEALANE_TRY(reader.finish());
  EXPECT_EQ(reader.size() + reader.trailing(), content.size());
  return collector;
}
RdbDigest digest(int type, const std::string& value) {
  auto found = read(file(entry(type, "k", value)));
  EXPECT_TRUE(found.has_value()) << type;
  return found.has_value() ? found.value().keys.at("k").digest : RdbDigest{};
}

TEST(Rdb, Crc64IsRedis) {
  // The check value that redis/src/crc64.c names.
  EXPECT_EQ(crc64(0, as_bytes("123456789")), 0xe9c6d914c4b8d9caU);
  const std::string data(1000, 'q');
  for (std::size_t cut = 0; cut < 20; ++cut) {
    EXPECT_EQ(crc64(crc64(0, as_bytes(data.substr(0, cut))), as_bytes(data.substr(cut))),
              crc64(0, as_bytes(data)));
  }
}

TEST(Rdb, LzfUnpacksAndIsBounded) {
  // "ab", then ten bytes from two back: length 8 + 2, distance 2.
  const std::string packed = byte(1) + "ab" + byte(0xe0) + byte(1) + byte(1);
  EXPECT_EQ(to_text(lzf_decompress(as_bytes(packed), 12).value()), "abababababab");
  EXPECT_FALSE(lzf_decompress(as_bytes(packed), 11).has_value());
  EXPECT_FALSE(lzf_decompress(as_bytes(packed), 13).has_value());
  for (std::size_t cut = 0; cut < packed.size(); ++cut) {
    EXPECT_FALSE(lzf_decompress(as_bytes(packed.substr(0, cut)), 12).has_value()) << cut;
  }
  EXPECT_FALSE(lzf_decompress(as_bytes(byte(0) + "a" + byte(0x20) + byte(5)), 4).has_value())
      << "from before the beginning";
}

TEST(Rdb, StringsDigestAlikeInEveryEncoding) {
  const RdbDigest plain = digest(0, text("1000"));
  EXPECT_EQ(digest(0, byte(0xc1) + little(std::uint16_t{1000})), plain);
  EXPECT_EQ(digest(0, byte(0xc2) + little(std::uint32_t{1000})), plain);
  EXPECT_NE(digest(0, text("1001")), plain);
  EXPECT_EQ(digest(0, byte(0xc0) + byte(-5)), digest(0, text("-5")));
  const std::string packed = byte(1) + "ab" + byte(0xe0) + byte(1) + byte(1);
  EXPECT_EQ(digest(0, byte(0xc3) + length(packed.size()) + length(12) + packed),
            digest(0, text("abababababab")));
}

TEST(Rdb, ListsDigestAlikeInEveryEncoding) {
  const std::string count = length(kElements.size());
  const RdbDigest plain = digest(1, count + each(kElements));
  EXPECT_EQ(digest(10, ziplist(kElements)), plain);
  const std::vector<std::string> head(kElements.begin(), kElements.begin() + 4);
  const std::vector<std::string> tail(kElements.begin() + 4, kElements.end());
  EXPECT_EQ(digest(14, length(2) + ziplist(head) + ziplist(tail)), plain);
  EXPECT_EQ(digest(18, length(1) + byte(2) + listpack(kElements)), plain);
  std::string nodes = length(2 + tail.size()) + byte(2) + listpack(head) + byte(2) + listpack({});
  for (const auto& element : tail) nodes += byte(1) + text(element);
  EXPECT_EQ(digest(18, nodes), plain);
  auto swapped = kElements;
  std::swap(swapped[0], swapped[1]);
  EXPECT_NE(digest(1, count + each(swapped)), plain) << "a list has an order";
}

TEST(Rdb, SetsDigestAlikeInEveryEncodingAndOrder) {
  const std::vector<std::string> numbers = {"7", "-5", "1000"};
  const RdbDigest plain = digest(2, length(3) + each(numbers));
  EXPECT_EQ(digest(2, length(3) + each({"1000", "7", "-5"})), plain);
  EXPECT_EQ(digest(20, listpack(numbers)), plain);
  EXPECT_EQ(digest(11, text(little(std::uint32_t{2}) + little(std::uint32_t{3}) +
                            little(static_cast<std::uint16_t>(-5)) + little(std::uint16_t{7}) +
                            little(std::uint16_t{1000}))),
            plain);
  EXPECT_NE(digest(2, length(2) + each({"7", "-5"})), plain);
  EXPECT_NE(digest(1, length(3) + each(numbers)), plain) << "a list is no set";
}

TEST(Rdb, HashesDigestAlikeInEveryEncodingAndOrder) {
  const std::vector<std::string> pairs = {"a", "7", "b", "text", "-5", "1000"};
  const RdbDigest plain = digest(4, length(3) + each(pairs));
  EXPECT_EQ(digest(4, length(3) + each({"b", "text", "a", "7", "-5", "1000"})), plain);
  EXPECT_EQ(digest(13, ziplist(pairs)), plain);
  EXPECT_EQ(digest(16, listpack(pairs)), plain);
  EXPECT_NE(digest(4, length(3) + each({"a", "text", "b", "7", "-5", "1000"})), plain);
  EXPECT_FALSE(read(file(entry(16, "k", listpack({"a", "b", "c"})))).has_value());
}

TEST(Rdb, SortedSetsDigestAlikeInEveryEncodingAndOrder) {
  const auto binary = [](double score) { return little(std::bit_cast<std::uint64_t>(score)); };
  const RdbDigest plain = digest(5, length(3) + text("a") + binary(1.5) + text("b") + binary(-5) +
                                        text("c") + binary(-HUGE_VAL));
  EXPECT_EQ(digest(5, length(3) + text("c") + binary(-HUGE_VAL) + text("a") + binary(1.5) +
                          text("b") + binary(-5)),
            plain);
  EXPECT_EQ(digest(3, length(3) + text("a") + byte(3) + "1.5" + text("b") + byte(2) + "-5" +
                          text("c") + byte(255)),
            plain);
  EXPECT_EQ(digest(12, ziplist({"a", "1.5", "b", "-5", "c", "-inf"})), plain);
  EXPECT_EQ(digest(17, listpack({"a", "1.5", "b", "-5", "c", "-inf"})), plain);
  EXPECT_NE(digest(17, listpack({"a", "1.5", "b", "-5", "c", "inf"})), plain);
  EXPECT_FALSE(read(file(entry(17, "k", listpack({"a", "many"})))).has_value());
}

// A stream with one node, one group with one pending entry, one consumer that owns it.
std::string stream(int type) {
  const std::string id(16, '\x01');
  std::string out = length(1) + text(id) + listpack({"7", "a"}) + length(1) + length(5) + length(6);
  if (type >= 19) out += each({}) + length(1) + length(2) + length(3) + length(4) + length(5);
  out += length(1) + text("group") + length(5) + length(6);
  if (type >= 19) out += length(9);
  out += length(1) + id + std::string(8, '\x02') + length(3);
  out += length(1) + text("consumer") + std::string(8, '\x03');
  if (type >= 21) out += std::string(8, '\x04');
  return out + length(1) + id;
}

TEST(Rdb, StreamsDigestAlikeAcrossVersions) {
  const RdbDigest old = digest(15, stream(15));
  EXPECT_EQ(digest(19, stream(19)), old);
  EXPECT_EQ(digest(21, stream(21)), old);
  std::string other = stream(15);
  other[other.find("consumer")] = 'C';
  EXPECT_NE(digest(15, other), old);
}

std::string everything() {
  return file(
      byte(0xfa) + text("redis-ver") + text("7.0.15") + byte(0xf5) + text("#!lua name=x") +
      byte(0xfe) + length(0) + byte(0xfb) + length(3) + length(1) + byte(0xfc) +
      little(std::uint64_t{1700000000123}) + byte(0xf8) + length(100) +
      entry(0, "string", byte(0xc1) + little(std::uint16_t{1000})) + byte(0xfd) +
      little(std::uint32_t{1700000000}) + byte(0xf9) + byte(200) +
      entry(16, "hash", listpack({"a", "7", "b", "x"})) +
      entry(18, "list", length(2) + byte(2) + listpack({"a", "1000"}) + byte(1) + text("z")) +
      entry(19, "stream", stream(19)) +
      entry(7, "module",
            length(12345) + length(2) + length(9) + length(3) + "ffff" + length(4) + "dddddddd" +
                length(5) + text("m") + length(0)) +
      byte(0xfe) + length(70) + entry(2, "set", length(2) + each({"p", "q"})) +
      entry(5, "zset", length(1) + text("m") + std::string(8, '\0')) +
      entry(4, "empty", length(0)));
}

TEST(Rdb, ReadsKeysExpiriesDatabasesAndFunctions) {
  const auto found = read(everything(), true);
  ASSERT_TRUE(found.has_value()) << describe(found.error());
  const auto& keys = found.value().keys;
  EXPECT_EQ(keys.size(), 8u);
  EXPECT_EQ(found.value().functions, std::vector<std::string>{"#!lua name=x"});
  EXPECT_EQ(keys.at("string").expires, 1700000000123);
  EXPECT_EQ(keys.at("string").value, byte(0xc1) + little(std::uint16_t{1000}));
  EXPECT_EQ(keys.at("hash").expires, 1700000000000);
  EXPECT_EQ(keys.at("list").expires, std::nullopt);
  EXPECT_EQ(keys.at("list").value,
            length(2) + byte(2) + listpack({"a", "1000"}) + byte(1) + text("z"));
  EXPECT_EQ(keys.at("list").database, 0u);
  EXPECT_EQ(keys.at("set").database, 70u);
  EXPECT_NE(keys.at("string").digest, digest(0, text("1000"))) << "key and expiry count";
}

TEST(Rdb, AnyCutGivesTheSameKeys) {
  const std::string content = everything();
  const auto whole = read(content, true);
  ASSERT_TRUE(whole.has_value());
  for (std::size_t cut = 0; cut <= content.size(); ++cut) {
    Collector collector;
    RdbReader reader(collector, true);
    ASSERT_TRUE(reader.feed(as_bytes(content.substr(0, cut))).has_value()) << cut;
    EXPECT_EQ(reader.done(), cut == content.size());
    EXPECT_EQ(reader.finish().has_value(), cut == content.size()) << "truncated at " << cut;
    ASSERT_TRUE(reader.feed(as_bytes(content.substr(cut) + "behind")).has_value()) << cut;
    ASSERT_TRUE(reader.finish().has_value()) << cut;
    EXPECT_EQ(reader.size(), content.size());
    EXPECT_EQ(reader.trailing(), 6u);
    EXPECT_TRUE(collector.keys == whole.value().keys) << cut;
  }
}

TEST(Rdb, EveryFlippedBitIsFound) {
  const std::string content = everything();
  for (std::size_t at = 0; at < content.size(); ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string damaged = content;
      damaged[at] = static_cast<char>(damaged[at] ^ (1 << bit));
      EXPECT_FALSE(read(damaged).has_value()) << at << " " << bit;
    }
  }
}

TEST(Rdb, ClaimsAllocateNothing) {
  const std::string huge = byte(0x81) + std::string(8, '\x7f');
  for (const auto& body :
       {entry(2, "k", huge), entry(1, "k", huge), entry(4, "k", huge), entry(5, "k", huge),
        entry(18, "k", huge), entry(19, "k", huge), entry(7, "k", length(1) + length(1))}) {
    Collector collector;
    RdbReader reader(collector);
    ASSERT_TRUE(reader.feed(as_bytes("REDIS0010" + body)).has_value());
    EXPECT_EQ(reader.finish().error(), RdbError::kTruncated);
  }
  EXPECT_EQ(read("REDIS0010" + entry(0, "k", huge)).error(), RdbError::kLimits);
  EXPECT_EQ(
      read("REDIS0010" + entry(0, "k", byte(0xc3) + length(3) + length(1000000) + "abc")).error(),
      RdbError::kMalformed)
      << "no three bytes unpack to a million";
}

TEST(Rdb, SaysWhatIsWrong) {
  EXPECT_EQ(read("").error(), RdbError::kNotRdb);
  EXPECT_EQ(read("SQLite format 3").error(), RdbError::kNotRdb);
  EXPECT_EQ(read("REDISabcd").error(), RdbError::kNotRdb);
  EXPECT_EQ(read(file("", "0012")).error(), RdbError::kNewer);
  EXPECT_EQ(read(file(entry(24, "k", ""))).error(), RdbError::kNewer);
  EXPECT_EQ(read(file(entry(10, "k", text("short")))).error(), RdbError::kMalformed);
  std::string wrong = file("");
  wrong.back() = static_cast<char>(wrong.back() ^ 1);
  EXPECT_EQ(read(wrong).error(), RdbError::kChecksum);
  EXPECT_EQ(read("REDIS0010" + byte(0xff) + std::string(4, '\0')).error(), RdbError::kTruncated);
  // A server told to write no checksum writes zeros.
  Collector collector;
  RdbReader reader(collector);
  ASSERT_TRUE(reader.feed(as_bytes("REDIS0010" + byte(0xff) + std::string(8, '\0'))).has_value());
  EXPECT_TRUE(reader.finish().has_value());
  EXPECT_FALSE(reader.has_checksum());
}

// ---- Copying: values as they stand ----

struct Copied {
  std::uint64_t database = 0;
  std::optional<std::int64_t> expires;
  int type = 0;
  bool too_large = false;
  std::string value;
  friend bool operator==(const Copied&, const Copied&) = default;
};
struct Copier final : RdbHandler {
  std::map<std::string, Copied> keys;
  std::vector<std::string> unwanted;
  std::string passed_over;  // a key that is not wanted
  bool wants(const RdbKey& key) override {
    EXPECT_TRUE(key.value.empty());
    if (to_text(key.key) != passed_over) return true;
    unwanted.push_back(to_text(key.key));
    return false;
  }
  bool on_key(const RdbKey& key) override {
    keys[to_text(key.key)] = {key.database, key.expires, key.type, key.too_large,
                              to_text(key.value)};
    return true;
  }
  bool on_function(ByteSpan) override {
    ADD_FAILURE() << "functions are not copied";
    return false;
  }
};
constexpr std::size_t kLargest = 100'000;

// Fed `step` bytes at a time.
Result<Copier, RdbError> copy(const std::string& content, std::size_t largest = kLargest,
                              std::size_t step = SIZE_MAX, const std::string& passed_over = {}) {
  Copier copier;
  copier.passed_over = passed_over;
  RdbReader reader(copier, RdbCopying{.largest_value = largest});
  for (std::size_t at = 0; at < content.size(); at += std::min(step, content.size() - at)) {
    SEALANE_TRY(reader.feed(as_bytes(content.substr(at, step))));
  }
  SEALANE_TRY(reader.finish());
  EXPECT_EQ(reader.size() + reader.trailing(), content.size());
  return copier;
}

// Every type that has a value, and all that stands between keys.
std::map<std::string, std::pair<int, std::string>> every_type() {
  const auto binary = [](double score) { return little(std::bit_cast<std::uint64_t>(score)); };
  const std::vector<std::string> pairs = {"a", "7", "b", "text"};
  const std::string packed = byte(1) + "ab" + byte(0xe0) + byte(1) + byte(1);
  return {
      {"text", {0, text("plain")}},
      {"long", {0, text(std::string(20'000, 't'))}},
      {"int8", {0, byte(0xc0) + byte(-5)}},
      {"int16", {0, byte(0xc1) + little(std::uint16_t{1000})}},
      {"int32", {0, byte(0xc2) + little(std::uint32_t{100'000})}},
      {"lzf", {0, byte(0xc3) + length(packed.size()) + length(12) + packed}},
      {"list", {1, length(kElements.size()) + each(kElements)}},
      {"set", {2, length(2) + each({"p", "q"})}},
      {"zset text",
       {3, length(3) + text("a") + byte(3) + "1.5" + text("b") + byte(2) + "-5" + text("c") +
               byte(255)}},
      {"hash", {4, length(2) + each(pairs)}},
      {"no fields", {4, length(0)}},
      {"zset", {5, length(2) + text("a") + binary(1.5) + text("b") + binary(-5)}},
      {"module",
       {7, length(12345) + length(1) + length(5) + length(2) + length(9) + length(3) + "ffff" +
               length(4) + "dddddddd" + length(5) + text("m") + length(0)}},
      {"zipmap", {9, text(byte(1) + byte(1) + "k" + byte(1) + byte(0) + "v" + byte(0xff))}},
      {"list ziplist", {10, ziplist(kElements)}},
      {"intset",
       {11, text(little(std::uint32_t{2}) + little(std::uint32_t{1}) + little(std::uint16_t{7}))}},
      {"zset ziplist", {12, ziplist({"a", "1.5"})}},
      {"hash ziplist", {13, ziplist(pairs)}},
      {"quicklist", {14, length(2) + ziplist({"a"}) + ziplist({"b"})}},
      {"stream", {15, stream(15)}},
      {"hash listpack", {16, listpack(pairs)}},
      {"zset listpack", {17, listpack({"a", "1.5"})}},
      {"quicklist 2", {18, length(2) + byte(2) + listpack({"a"}) + byte(1) + text("z")}},
      {"stream 2", {19, stream(19)}},
      {"set listpack", {20, listpack({"a", "b"})}},
      {"stream 3", {21, stream(21)}},
      {"hash expiring",
       {24, std::string(8, '\x01') + length(2) + length(0) + each({"a", "7"}) + length(500) +
                each({"b", "text"})}},
      {"hash listpack expiring", {25, std::string(8, '\x01') + listpack({"a", "7", "500"})}},
  };
}
std::string every_type_file() {
  std::string body = byte(0xfa) + text("redis-ver") + byte(0xc0) + byte(7) + byte(0xf5) +
                     text("#!lua name=x") + byte(0xf7) + length(12345) + length(2) + length(1) +
                     length(5) + text("saved") + length(0) + byte(0xfe) + length(0) + byte(0xfb) +
                     length(3) + length(1) + byte(0xf4) + length(1) + length(2) + length(0);
  for (const auto& [key, value] : every_type()) {
    if (value.first % 2 == 0) body += byte(0xfc) + little(std::uint64_t{1700000000123});
    if (value.first % 3 == 0) body += byte(0xf8) + length(100);
    if (value.first % 3 == 1) body += byte(0xf9) + byte(200);
    body += entry(value.first, key, value.second);
  }
  body += byte(0xfe) + length(9) + entry(0, "elsewhere", text("x"));
  return file(body, "0012");
}

TEST(RdbCopy, KeepsEveryTypeAsItStands) {
  const auto found = copy(every_type_file());
  ASSERT_TRUE(found.has_value()) << describe(found.error());
  const auto& keys = found.value().keys;
  EXPECT_EQ(keys.size(), every_type().size() + 1);
  for (const auto& [key, value] : every_type()) {
    SCOPED_TRACE(key);
    const Copied& one = keys.at(key);
    EXPECT_EQ(one.type, value.first);
    EXPECT_TRUE(one.value == value.second);
    EXPECT_EQ(one.expires.has_value(), value.first % 2 == 0);
    EXPECT_FALSE(one.too_large);
  }
  EXPECT_EQ(keys.at("elsewhere").database, 9U);
  EXPECT_FALSE(keys.at("elsewhere").expires) << "an expiry is of one key";
}

// Valkey went its own way at type 22.
TEST(RdbCopy, ReadsAValkey) {
  const std::string timed = length(2) + text("a") + text("7") + std::string(8, '\xff') + text("b") +
                            text("text") + little(std::uint64_t{1'795'914'181'517});
  const auto file_of = [](const std::string& body, const std::string& version) {
    std::string out = "VALKEY" + version + body + byte(0xff);
    return out + little(crc64(0, as_bytes(out)));
  };
  const std::string notes = byte(0xfa) + text("valkey-ver") + text("9.0.0") + byte(0xf5) +
                            text("#!lua name=x") + byte(0xfe) + length(0) + byte(0xfb) + length(3) +
                            length(1) + byte(0xf4) + length(1) + length(2) + length(0);
  const std::string content = file_of(
      notes + entry(0, "text", text("v")) + byte(0xfc) + little(std::uint64_t{1700000000123}) +
          entry(22, "timed", timed) + entry(20, "set", listpack({"a"})),
      "080");
  for (const std::size_t step : {std::size_t{1}, std::size_t{7}, std::size_t{SIZE_MAX}}) {
    const auto found = copy(content, kLargest, step);
    ASSERT_TRUE(found.has_value()) << describe(found.error());
    EXPECT_EQ(found.value().keys.size(), 3U);
    EXPECT_EQ(found.value().keys.at("timed").type, 22);
    EXPECT_TRUE(found.value().keys.at("timed").value == timed);
    EXPECT_TRUE(found.value().keys.at("timed").expires);
    EXPECT_TRUE(copy(content, 20, step).value().keys.at("timed").too_large);
  }
  for (const int type : {23, 24, 25, 243}) {
    EXPECT_EQ(copy(file_of(entry(type, "k", timed), "080")).error(), RdbError::kNewer) << type;
  }
  EXPECT_EQ(copy(file_of("", "081")).error(), RdbError::kNewer);
  EXPECT_EQ(copy(file_of("", "079")).error(), RdbError::kNewer);
  EXPECT_EQ(copy("VALKEX080").error(), RdbError::kNotRdb);
  EXPECT_EQ(copy("REDIS0080" + byte(0xff)).error(), RdbError::kNewer);
  EXPECT_EQ(read(file_of("", "080")).error(), RdbError::kNewer) << "it has no digest";
}

// So that servers older than the source take what they know.
TEST(RdbCopy, ADumpIsNoNewerThanItsType) {
  const auto version_of = [](int type, int file_version) {
    Bytes out;
    const std::string value = text("v");
    const RdbKey key{.version = file_version,
                     .key = {},
                     .expires = {},
                     .type = static_cast<std::uint8_t>(type),
                     .value = as_bytes(value),
                     .digest = {}};
    append_dump(key, out);
    EXPECT_EQ(out.size(), dump_size(key));
    return std::to_integer<int>(out[out.size() - 10]);
  };
  EXPECT_EQ(version_of(0, 80), 9);
  EXPECT_EQ(version_of(15, 12), 9);
  EXPECT_EQ(version_of(16, 12), 10);
  EXPECT_EQ(version_of(19, 11), 10);
  EXPECT_EQ(version_of(21, 12), 11);
  EXPECT_EQ(version_of(22, 80), 80);
  EXPECT_EQ(version_of(25, 12), 12);
  EXPECT_EQ(version_of(7, 12), 12) << "a module's";
  EXPECT_EQ(version_of(0, 6), 6);
}

TEST(RdbCopy, AnyCutGivesTheSameKeys) {
  const std::string content = every_type_file();
  const auto whole = copy(content);
  ASSERT_TRUE(whole.has_value());
  for (const std::size_t step : {1U, 2U, 3U, 7U, 64U, 1000U, 4096U}) {
    const auto cut = copy(content, kLargest, step);
    ASSERT_TRUE(cut.has_value()) << step;
    EXPECT_TRUE(cut.value().keys == whole.value().keys) << step;
  }
  for (std::size_t cut = 0; cut < content.size(); ++cut) {
    // Inside the long text all cuts are alike.
    if (cut % 97 != 0 && content.substr(cut, 40) == std::string(40, content[cut])) continue;
    Copier copier;
    RdbReader reader(copier, RdbCopying{.largest_value = kLargest});
    ASSERT_TRUE(reader.feed(as_bytes(content.substr(0, cut))).has_value()) << cut;
    EXPECT_EQ(reader.finish().has_value(), false) << cut;
    ASSERT_TRUE(reader.feed(as_bytes(content.substr(cut))).has_value()) << cut;
    ASSERT_TRUE(reader.finish().has_value()) << cut;
    EXPECT_TRUE(copier.keys == whole.value().keys) << cut;
  }
}

TEST(RdbCopy, EachKeyThatIsNotWantedIsPassedOver) {
  const std::string content = every_type_file();
  for (const auto& [key, value] : every_type()) {
    SCOPED_TRACE(key);
    for (const std::size_t step : {std::size_t{5}, std::size_t{SIZE_MAX}}) {
      const auto found = copy(content, kLargest, step, key);
      ASSERT_TRUE(found.has_value());
      EXPECT_EQ(found.value().unwanted, std::vector<std::string>{key});
      EXPECT_EQ(found.value().keys.size(), every_type().size());
      EXPECT_FALSE(found.value().keys.contains(key));
    }
  }
}

TEST(RdbCopy, ValuesThatAreTooLargeAreNamedButNotHeld) {
  const std::string content = every_type_file();
  for (const std::size_t largest : {24U, 40U, 1000U, 19'000U}) {
    for (const std::size_t step : {std::size_t{1}, std::size_t{100}, std::size_t{SIZE_MAX}}) {
      const auto found = copy(content, largest, step);
      ASSERT_TRUE(found.has_value()) << largest;
      for (const auto& [key, value] : every_type()) {
        SCOPED_TRACE(key);
        const Copied& one = found.value().keys.at(key);
        EXPECT_EQ(one.too_large, value.second.size() > largest);
        EXPECT_TRUE(one.value == (one.too_large ? "" : value.second));
        EXPECT_EQ(one.expires.has_value(), value.first % 2 == 0);
      }
    }
  }
  // A name cannot be passed over.
  EXPECT_EQ(copy(content, 10).error(), RdbError::kLimits);
}

TEST(RdbCopy, EveryFlippedBitIsFound) {
  const std::string content =
      file(byte(0xf7) + length(1) + length(2) + length(1) + length(0) + byte(0xfc) +
           little(std::uint64_t{1700000000123}) + entry(0, "text", text("plain")) +
           entry(24, "hash", std::string(8, '\x01') + length(1) + length(9) + each({"a", "7"})) +
           entry(3, "zset", length(1) + text("a") + byte(3) + "1.5"));
  ASSERT_TRUE(copy(content).has_value());
  for (std::size_t at = 0; at < content.size(); ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string damaged = content;
      damaged[at] = static_cast<char>(damaged[at] ^ (1 << bit));
      EXPECT_FALSE(copy(damaged).has_value()) << at << " " << bit;
    }
  }
}

TEST(RdbCopy, ClaimsAllocateNothing) {
  const std::string huge = byte(0x81) + std::string(8, '\x7f');
  for (const auto& body :
       {entry(1, "k", huge), entry(2, "k", huge), entry(3, "k", huge), entry(5, "k", huge),
        entry(18, "k", huge), entry(19, "k", length(1)), entry(24, "k", std::string(8, 'x') + huge),
        entry(7, "k", length(1) + length(1)), byte(0xf7) + huge, byte(0xf4) + huge,
        // A string as large as a server takes: what is there of it is passed over.
        entry(0, "k", byte(0x80) + byte(0x20) + std::string(3, '\0') + "abc"),
        byte(0xfa) + text("note") + byte(0x80) + byte(0x1f) + std::string(3, '\x7f')}) {
    Copier copier;
    RdbReader reader(copier, RdbCopying{.largest_value = kLargest});
    ASSERT_TRUE(reader.feed(as_bytes("REDIS0012" + body)).has_value());
    EXPECT_EQ(reader.finish().error(), RdbError::kTruncated);
  }
  // What claims more elements than can be.
  EXPECT_EQ(copy("REDIS0012" + entry(4, "k", byte(0x81) + std::string(8, '\xff'))).error(),
            RdbError::kMalformed);
  EXPECT_EQ(copy("REDIS0012" + entry(15, "k", byte(0x81) + std::string(8, '\xff'))).error(),
            RdbError::kMalformed);
  EXPECT_EQ(copy("REDIS0012" + entry(0, "k", huge)).error(), RdbError::kLimits);
  EXPECT_EQ(copy("REDIS0012" + byte(0) + huge).error(), RdbError::kLimits);
  EXPECT_EQ(
      copy("REDIS0012" + entry(0, "k", byte(0xc3) + length(3) + length(1'000'000) + "abc")).error(),
      RdbError::kMalformed);
  EXPECT_EQ(copy("REDIS0012" + entry(18, "k", length(1) + length(3) + text("x"))).error(),
            RdbError::kMalformed);
  EXPECT_EQ(copy("REDIS0012" + entry(7, "k", length(1) + length(6))).error(), RdbError::kMalformed);
}

TEST(RdbCopy, WhatIsUnknownIsRefused) {
  for (const int type : {6, 8, 22, 23, 26, 100, 246}) {
    EXPECT_EQ(copy(file(entry(type, "k", text("v")), "0012")).error(), RdbError::kNewer) << type;
  }
  EXPECT_EQ(copy(file("", "0013")).error(), RdbError::kNewer);
  EXPECT_TRUE(copy(file("", "0012")).has_value());
}

TEST(RdbCopy, TextsAreUnpacked) {
  const auto text_of = [](const std::string& value, std::size_t largest = 1000) {
    Bytes scratch;
    const auto found = RdbReader::text_of(as_bytes(value), largest, scratch);
    return found ? std::optional(to_text(*found)) : std::nullopt;
  };
  EXPECT_EQ(text_of(text("plain")), "plain");
  EXPECT_EQ(text_of(text("")), "");
  EXPECT_EQ(text_of(text(std::string(1000, 'x'))), std::string(1000, 'x'));
  EXPECT_EQ(text_of(text(std::string(1001, 'x'))), std::nullopt);
  EXPECT_EQ(text_of(byte(0xc0) + byte(-5)), "-5");
  EXPECT_EQ(text_of(byte(0xc1) + little(std::uint16_t{1000})), "1000");
  EXPECT_EQ(text_of(byte(0xc2) + little(static_cast<std::uint32_t>(-100'000))), "-100000");
  const std::string packed = byte(1) + "ab" + byte(0xe0) + byte(1) + byte(1);
  const std::string lzf = byte(0xc3) + length(packed.size()) + length(12) + packed;
  EXPECT_EQ(text_of(lzf), "abababababab");
  EXPECT_EQ(text_of(lzf, 11), std::nullopt);
  for (const std::string& bad :
       {std::string(), text("plain") + "x", byte(0xc4), lzf.substr(0, lzf.size() - 1), lzf + "x",
        byte(0xc0), byte(0x82), length(500) + "short"}) {
    EXPECT_EQ(text_of(bad), std::nullopt);
  }
}

}  // namespace
}  // namespace sealane::backup
