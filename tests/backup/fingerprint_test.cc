// Goal: equal fingerprints mean equal items, and a difference is a clause that names the first one.
// Method: change one field at a time.
#include "backup/fingerprint.h"

#include <gtest/gtest.h>

namespace sealane::backup {
namespace {

Fingerprint sample() {
  return make_fingerprint("postgresql", FingerprintLevel::kContent,
                          {{"public.orders", 11, "aa"}, {"public.customers", 3, "bb"}});
}

TEST(Fingerprint, SortsAndComparesEqual) {
  const Fingerprint a = sample();
  const Fingerprint b =
      make_fingerprint("postgresql", FingerprintLevel::kContent,
                       {{"public.customers", 3, "bb"}, {"public.orders", 11, "aa"}});
  EXPECT_EQ(a, b);
  EXPECT_EQ(a.items.front().name, "public.customers");
  EXPECT_EQ(a.digest.size(), 64u);
  EXPECT_EQ(a.digest, fingerprint_digest(a));
  EXPECT_FALSE(difference(a, b));
}

TEST(Fingerprint, DigestIsTheDocumentedOne) {
  // sha256 of: 00000016 "sealane-fingerprint-v1" 00000006 "sqlite" 02 0000000000000001
  //            00000001 "t" 0000000000000002 00000002 "ab"; made with sha256sum.
  const Fingerprint f = make_fingerprint("sqlite", FingerprintLevel::kContent, {{"t", 2, "ab"}});
  EXPECT_EQ(f.digest, "25de97dbf4d24817d230f804087e41e559dc5a8e2b81952526b45caffc0218a8");
}

TEST(Fingerprint, NamesTheDifference) {
  const auto changed = [](auto change) {
    std::vector<Fingerprint::Item> items = {{"public.orders", 11, "aa"},
                                            {"public.customers", 3, "bb"}};
    change(items);
    const Fingerprint other = make_fingerprint("postgresql", FingerprintLevel::kContent, items);
    EXPECT_NE(other.digest, sample().digest);
    return difference(sample(), other).value_or("equal");
  };
  EXPECT_EQ(changed([](auto& items) { items[0].count = 10; }),
            "table public.orders has 10 rows, not 11");
  EXPECT_EQ(changed([](auto& items) { items[0].digest = "ab"; }),
            "table public.orders has other content in its 11 rows");
  EXPECT_EQ(changed([](auto& items) { items.pop_back(); }), "table public.customers is missing");
  EXPECT_EQ(changed([](auto& items) {
              items.push_back({"public.x", 0, ""});
            }),
            "table public.x was not there before");
  Fingerprint other = sample();
  other.kind = "redis";
  EXPECT_EQ(difference(sample(), other), "it is redis, not postgresql");
  other = sample();
  other.level = FingerprintLevel::kStructure;
  EXPECT_EQ(difference(sample(), other), "it was compared by structure, not by content");
  other = sample();
  other.digest = "00";
  EXPECT_TRUE(difference(sample(), other));
}

TEST(Fingerprint, FieldsCannotRunIntoEachOther) {
  const auto digest = [](std::string name, std::string hash) {
    return make_fingerprint("sqlite", FingerprintLevel::kContent, {{name, 1, hash}}).digest;
  };
  EXPECT_NE(digest("ab", "c"), digest("a", "bc"));
}

TEST(Fingerprint, AtALowerLevelOnlyNamesAndCountsDiffer) {
  const auto print = [](std::uint64_t count, const char* digest) {
    return at_level(make_fingerprint("sqlite", FingerprintLevel::kContent, {{"t", count, digest}}),
                    FingerprintLevel::kStructure);
  };
  EXPECT_EQ(print(1, "aa").level, FingerprintLevel::kStructure);
  EXPECT_EQ(print(1, "aa").digest, fingerprint_digest(print(1, "aa")));
  EXPECT_FALSE(difference(print(1, "aa"), print(1, "bb")));
  EXPECT_TRUE(difference(print(1, "aa"), print(2, "aa")));
  const auto content = make_fingerprint("sqlite", FingerprintLevel::kContent, {{"t", 1, "aa"}});
  EXPECT_EQ(at_level(content, FingerprintLevel::kContent), content);
  EXPECT_EQ(at_level(print(1, "aa"), FingerprintLevel::kContent), print(1, "aa"))
      << "what is not known cannot be raised";
  EXPECT_TRUE(difference(content, print(1, "aa")));
}

TEST(Fingerprint, FoldsWhatIsTooMuchAndStillSeesIt) {
  const auto build = [](std::size_t count, std::size_t changed) {
    FingerprintBuilder builder("file", FingerprintLevel::kContent);
    for (std::size_t i = 0; i < count; ++i) {
      builder.add("f" + std::to_string(100000 + i), 1, i == changed ? "ff" : "00");
    }
    return builder.finish();
  };
  EXPECT_EQ(build(kMaxFingerprintItems - 1, 0).items.size(), kMaxFingerprintItems - 1);
  const Fingerprint many = build(3 * kMaxFingerprintItems, 0);
  EXPECT_EQ(many.items.size(), kMaxFingerprintItems);
  EXPECT_FALSE(difference(many, build(3 * kMaxFingerprintItems, 0)));
  const auto found =
      difference(many, build(3 * kMaxFingerprintItems, 3 * kMaxFingerprintItems - 1));
  ASSERT_TRUE(found);
  EXPECT_NE(found->find("more)"), std::string::npos);
  EXPECT_TRUE(difference(many, build(3 * kMaxFingerprintItems + 1, 0)));
}

TEST(Fingerprint, NamesArePrintableAndDistinct) {
  EXPECT_EQ(item_name("plain/ä"), "plain/ä");
  EXPECT_EQ(item_name("a\xff\n"), "a\\xff\\x0a");
  EXPECT_EQ(item_name("a\\xff"), "a\\x5cxff");
  EXPECT_NE(item_name("\xff"), item_name("\\xff"));
  const std::string longer(5000, 'x');
  EXPECT_LE(item_name(longer).size(), kMaxFingerprintNameSize);
  EXPECT_NE(item_name(longer), item_name(longer + 'y'));
}

}  // namespace
}  // namespace sealane::backup
