// Goal: a comparison finds exactly what differs, whatever encodings the servers chose, and costs
// what the difference costs; a repair of what it names makes both equal. Method: real servers with
// known drift of every kind; small passes, so that several cover the ring; bytes counted.
#include "warm/compare.h"

#include <gtest/gtest.h>

#include <iostream>
#include <map>

#include "crypto/hash.h"
#include "sealane/store/system.h"
#include "tests/support/doubles.h"
#include "tests/support/warm_redis.h"
#include "warm/file.h"
#include "warm/push.h"
#include "warm/redis_sink.h"

namespace sealane::warm {
namespace {

using namespace sealane::testing;  // NOLINT(google-build-using-namespace)

#ifdef NDEBUG
constexpr int kKeys = 1'000'000;
#else
constexpr int kKeys = 20'000;  // with sanitizers
#endif

class Compare : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!RedisServer::installed()) GTEST_SKIP() << "redis-server or redis-cli is not installed";
  }
  // 100 bytes that a server cannot compress.
  static std::string noise(const std::string& seed) {
    return (to_hex(crypto::sha256(as_bytes(seed))) + to_hex(crypto::sha256(as_bytes(seed + "x"))))
        .substr(0, 100);
  }
  static void copy(const RedisServer& from, Sink& sink) {
    auto source = RedisSource::open(from.address(), {}, system_clock(), nullptr);
    ASSERT_TRUE(source.has_value());
    flow::Cancellation cancel;
    PushCounters counters;
    SeededRandom random(1);
    const auto done =
        push_all(*source.value(), send_to(sink), {}, system_files(), random, cancel, counters);
    ASSERT_TRUE(done.has_value() && done.value().proven());
  }
  Comparison look(const RedisServer& a, const RedisServer& b, CompareOptions options = {}) {
    RedisKeyStore here(a.address(), system_clock(), nullptr);
    RedisKeyStore there(b.address(), system_clock(), nullptr);
    found_.clear();
    options.on_difference = [this](Difference difference, ByteSpan key) {
      found_[to_text(key)] = difference;
    };
    auto result = compare(here, there, options, random_);
    EXPECT_TRUE(result.has_value()) << (result.has_value() ? "" : result.error().message);
    return result.has_value() ? std::move(result).value() : Comparison{};
  }
  static std::uint64_t repair(const RedisServer& from, const RedisServer& to,
                              std::vector<Bytes> keys) {
    auto source = RedisSource::open(from.address(), {}, system_clock(), nullptr);
    EXPECT_TRUE(source.has_value());
    source.value()->read_only(std::move(keys));
    RedisSink sink(to.address(), ApplyMode::kOverwrite, nullptr);
    flow::Cancellation cancel;
    PushCounters counters;
    SeededRandom random(1);
    const auto done =
        push_all(*source.value(), send_to(sink), {}, system_files(), random, cancel, counters);
    EXPECT_TRUE(done.has_value() && done.value().proven());
    return counters.bytes;
  }

  SeededRandom random_{3};
  std::map<std::string, Difference> found_;
};

TEST_F(Compare, EachKindOfDifferenceIsFoundAndNamed) {
  RedisServer here(kDebugCommand);
  RedisServer there(kDebugCommand);
  const auto a = link_to(here);
  const auto b = link_to(there);
  fill_mixed(*a, 0, 3000, "x");
  RedisSink sink(there.address(), ApplyMode::kFillMissing, nullptr);
  copy(here, sink);
  CompareOptions small;
  small.keys_per_pass = 700;
  for (const auto& options : {CompareOptions{}, small}) {
    EXPECT_EQ(look(here, there, options).report.total(), 0U);
  }
  ask(*a, {"SET", "new here", "1"});
  ask(*b, {"SET", "new there", "1"});
  ask(*b, {"HSET", "key:2", "b", "other"});
  ask(*b, {"SADD", "key:1", "more"});
  ask(*b, {"LTRIM", "key:0", "1", "-1"});
  ask(*b, {"ZADD", "key:3", "9", "m"});
  ask(*b, {"DEL", "key:6"});
  ask(*b, {"SET", "key:6", "another kind"});
  ask(*b, {"PERSIST", "key:5"});
  ask(*b, {"PEXPIREAT", "key:13", "4202444800000"});
  const std::map<std::string, Difference> wanted = {
      {"new here", Difference::kOnlyHere}, {"new there", Difference::kOnlyThere},
      {"key:2", Difference::kValue},       {"key:1", Difference::kValue},
      {"key:0", Difference::kValue},       {"key:3", Difference::kValue},
      {"key:6", Difference::kValue},       {"key:5", Difference::kExpiry},
      {"key:13", Difference::kExpiry}};
  for (const auto& options : {CompareOptions{}, small}) {
    const Comparison result = look(here, there, options);
    EXPECT_EQ(found_, wanted);
    EXPECT_EQ(result.report.total(), wanted.size());
    EXPECT_EQ(result.to_send.size(), wanted.size() - 1);
    EXPECT_EQ(result.report.passes, options.keys_per_pass == 700 ? 5U : 1U);
  }
  // Half the ring has about half of them.
  CompareOptions half;
  half.range = {.start = 0, .end = 0x8000'0000};
  look(here, there, half);
  for (const auto& [key, difference] : wanted) {
    EXPECT_EQ(found_.contains(key), half.range.contains(token_of(as_bytes(key)))) << key;
  }
  repair(here, there, look(here, there).to_send);
  look(here, there);
  EXPECT_EQ(found_, (std::map<std::string, Difference>{{"new there", Difference::kOnlyThere}}))
      << "a repair deletes nothing";
}

// A repair compares twice.
TEST_F(Compare, ASecondComparisonOfTheSameStoresCostsWhatTheFirstDid) {
  RedisServer here(kDebugCommand);
  const auto a = link_to(here);
  fill_mixed(*a, 0, 100, "x");
  RedisKeyStore left(here.address(), system_clock(), nullptr);
  RedisKeyStore right(here.address(), system_clock(), nullptr);
  const auto first = compare(left, right, {}, random_);
  const auto second = compare(left, right, {}, random_);
  ASSERT_TRUE(first.has_value() && second.has_value());
  EXPECT_GT(first.value().report.full_copy_bytes, 100U);
  EXPECT_EQ(second.value().report.full_copy_bytes, first.value().report.full_copy_bytes);
}

TEST_F(Compare, EncodingsAndNearExpiriesAreNoDifference) {
  RedisServer here(kDebugCommand);
  RedisServer there({"--hash-max-listpack-entries", "0", "--set-max-intset-entries", "0",
                     "--zset-max-listpack-entries", "0", "--list-max-listpack-size", "1"});
  const auto a = link_to(here);
  const auto b = link_to(there);
  for (RedisLink* const link : {a.get(), b.get()}) {
    ask(*link, {"HSET", "h", "a", "1", "b", "2"});
    ask(*link, {"SADD", "s", "1", "2", "3"});
    ask(*link, {"ZADD", "z", "1", "a", "2.5", "b"});
    ask(*link, {"RPUSH", "l", "1", "2", "x"});
    ask(*link, {"SET", "t", "v"});
  }
  ask(*a, {"PEXPIREAT", "t", "4102444800000"});
  ask(*b, {"PEXPIREAT", "t", "4102444799500"});
  EXPECT_EQ(look(here, there).report.total(), 0U);
  CompareOptions exact;
  exact.ttl_tolerance = std::chrono::milliseconds(100);
  EXPECT_EQ(look(here, there, exact).report.total(), 1U);
  EXPECT_EQ(found_["t"], Difference::kExpiry);
}

TEST_F(Compare, AFileOfPartsIsAStoreToo) {
  RedisServer here(kDebugCommand);
  const auto a = link_to(here);
  fill_mixed(*a, 0, 500, "x");
  const auto folder = backup::TemporaryFolder::create("sealane-compare-", "/tmp").value();
  const std::string path = folder.path() + "/copy.resp";
  auto sink = FileSink::create(system_files(), random_, path);
  ASSERT_TRUE(sink.has_value());
  copy(here, *sink.value());
  ASSERT_TRUE(sink.value()->finish().has_value());
  ask(*a, {"SET", "key:6", "changed"});
  RedisKeyStore live(here.address(), system_clock(), nullptr);
  SourceKeyStore file(path, [&]() -> Result<std::unique_ptr<Source>, Error> {
    SEALANE_TRY(auto source, FileSource::open(system_files(), path, {}));
    return std::unique_ptr<Source>(std::move(source));
  });
  const auto result = compare(live, file, {}, random_);
  ASSERT_TRUE(result.has_value()) << result.error().message;
  EXPECT_EQ(result.value().report.total(), 1U);
  EXPECT_EQ(result.value().to_send, std::vector<Bytes>{to_bytes("key:6")});
}

TEST_F(Compare, OnePercentOfDriftCostsTwoPercentOfACopy) {
  RedisServer here(kDebugCommand);
  RedisServer there(kDebugCommand);
  const auto a = link_to(here);
  const auto b = link_to(there);
  for (RedisLink* const link : {a.get(), b.get()}) {
    for (int i = 0; i < kKeys; ++i) {
      const std::string n = std::to_string(i);
      std::string value = noise(n);
      if (link == b.get() && i % 100 == 7) value[0] ^= 1;
      link->commands().command({"SET", "key:" + n, value});
      if ((i + 1) % 1000 == 0) {
        for (int done = 0; done < 1000; ++done) ASSERT_TRUE(link->reply().has_value());
      }
    }
  }
  const Comparison result = look(here, there);
  const CompareReport& report = result.report;
  EXPECT_EQ(report.differences[static_cast<std::size_t>(Difference::kValue)],
            static_cast<std::uint64_t>(kKeys / 100));
  EXPECT_EQ(report.total(), static_cast<std::uint64_t>(kKeys / 100));
  const std::uint64_t repaired = repair(here, there, result.to_send);
  const std::uint64_t cost = report.reconcile_bytes + repaired;
  std::cout << kKeys << " keys of 100 bytes, 1 % changed: a full copy " << report.full_copy_bytes
            << " bytes; reconciliation " << report.reconcile_bytes << ", repair " << repaired
            << "; together "
            << 100.0 * static_cast<double>(cost) / static_cast<double>(report.full_copy_bytes)
            << " %\n";
  EXPECT_LE(cost, report.full_copy_bytes / 50);
  EXPECT_EQ(look(here, there).report.total(), 0U);
  EXPECT_EQ(digest_of(*a), digest_of(*b));
}

}  // namespace
}  // namespace sealane::warm
