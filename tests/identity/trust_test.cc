// Goal: the trust file says exactly what it grants; what is unclear is an error with its line.
// Method: a table of good and bad lines, rights asked one by one, parse(format()) equal.
#include "sealane/identity/trust.h"

#include <gtest/gtest.h>

namespace sealane::identity {
namespace {

using namespace std::chrono_literals;

crypto::Ed25519Public key_number(unsigned char number) {
  crypto::Ed25519Public key;
  key.bytes.fill(std::byte{number});
  return key;
}
std::string key_text(unsigned char number) {
  return format_public_key_line({.key = key_number(number), .comment = {}});
}
TrustStore store_of(const std::string& text) {
  auto store = TrustStore::parse(text);
  EXPECT_TRUE(store.has_value()) << text << ": " << describe(store.error());
  return std::move(store.value());
}
std::string reason_of(const std::string& options) {
  const auto store = TrustStore::parse("shop " + options + " " + key_text(1));
  return store.has_value() ? "" : store.error().reason;
}

const WallTime kNow = from_rfc3339("2026-11-20T12:00:00Z").value();

TEST(TrustStore, ReadsAllParts) {
  const TrustStore store = store_of(
      "# our hosts\n\n"
      "shop,shop.example rights=\"repo:append(plan:shop,!plan:secret) log:read(*)\","
      "namespaces=\"sealane-commit@v1,sealane-proof@v1\",valid-after=\"20260101\","
      "valid-before=\"202701021530\" " +
      key_text(1) + " the shop's own host\r\n" + "vault\t" + key_text(2) + "\n");
  ASSERT_EQ(store.keys().size(), 2u);
  const TrustedKey& shop = store.keys()[0];
  EXPECT_EQ(shop.names, (std::vector<std::string>{"shop", "shop.example"}));
  EXPECT_EQ(shop.key, key_number(1));
  ASSERT_EQ(shop.rights.size(), 2u);
  EXPECT_EQ(shop.rights[0],
            (Right{.name = "repo:append", .scopes = {"plan:shop", "!plan:secret"}}));
  EXPECT_EQ(shop.rights[1], (Right{.name = "log:read", .scopes = {"*"}}));
  EXPECT_EQ(shop.namespaces, (std::vector<std::string>{"sealane-commit@v1", "sealane-proof@v1"}));
  EXPECT_EQ(to_rfc3339(shop.valid_after.value()), "2026-01-01T00:00:00Z");
  EXPECT_EQ(to_rfc3339(shop.valid_before.value()), "2027-01-02T15:30:00Z");
  EXPECT_EQ(shop.comment, "the shop's own host");
  EXPECT_EQ(store.find(key_number(2)), &store.keys()[1]);
  EXPECT_EQ(store.find(key_number(3)), nullptr);
}

TEST(TrustStore, FormatsWhatItParses) {
  const std::string text =
      "shop,b@c rights=\"repo:append() mail:send:vault(*) relay:hub-1(repo:a,!plan:b)\","
      "namespaces=\"x\",valid-after=\"20260101000000Z\",valid-before=\"22611231235959Z\" " +
      key_text(1) + " comment\nvault " + key_text(2) + "\n";
  const TrustStore store = store_of(text);
  EXPECT_EQ(store.format(), text);
  EXPECT_EQ(store_of(store.format()).keys(), store.keys());
}

TEST(TrustStore, RefusesWithTheLineAndAReason) {
  const auto fails_at = [](const std::string& text) {
    const auto store = TrustStore::parse(text);
    return store.has_value() ? 999 : store.error().line;
  };
  EXPECT_EQ(fails_at("a " + key_text(1) + "\n#\nb " + key_text(1) + "\n"), 3u);  // twice
  EXPECT_EQ(fails_at("\nlonely"), 2u);
  EXPECT_EQ(fails_at("shop ssh-rsa AAAA"), 1u);
  EXPECT_EQ(fails_at("shop ssh-ed25519 AAAA"), 1u);
  EXPECT_EQ(fails_at("*.example " + key_text(1)), 1u);
  EXPECT_EQ(fails_at("a,,b " + key_text(1)), 1u);
  EXPECT_EQ(fails_at("!a " + key_text(1)), 1u);
  EXPECT_EQ(fails_at(std::string(200, 'a') + " " + key_text(1)), 1u);
  EXPECT_EQ(fails_at("a " + key_text(1) + std::string(5000, 'c')), 1u);
  EXPECT_EQ(fails_at(std::string(TrustStore::kMaxFileSize + 1, '\n')), 0u);
  EXPECT_NE(describe(TrustStore::parse(key_text(1) + " shop").error()).find("in front of it"),
            std::string::npos)
      << "a public key file as it is";
  EXPECT_EQ(describe(TrustStore::parse("shop ssh-rsa AAAA").error()),
            "line 1: its key: its type is not taken: only OpenSSH Ed25519 and age X25519 keys are");
}

TEST(TrustStore, RefusesUnclearOptions) {
  EXPECT_EQ(reason_of("rights=\"repo:append(*)\""), "");
  for (const std::string options : {"cert-authority",
                                    "rights",
                                    "rights=repo:append(*)",
                                    "rights=\"",
                                    "rights=\"\"",
                                    "rights=\"repo:append\"",
                                    "rights=\"repo:write(*)\"",
                                    "rights=\"repo:append(shop)\"",
                                    "rights=\"repo:append(plan:)\"",
                                    "rights=\"repo:append(plan:a*)\"",
                                    "rights=\"repo:append(*,)\"",
                                    "rights=\"repo:append(*) \"",
                                    "rights=\" repo:append(*)\"",
                                    "rights=\"repo:append(*)  log:read(*)\"",
                                    "rights=\"repo:append(*)log:read(*)\"",
                                    "rights=\"repo:append(plan:a) repo:append(!plan:a)\"",
                                    "rights=\"repo:append)(\"",
                                    "rights=\"mail:send:(*)\"",
                                    "rights=\"mail:send(*)\"",
                                    "rights=\"relay:*(*)\"",
                                    "rights=\"repo:append(!!plan:a)\"",
                                    "Rights=\"repo:append(*)\"",
                                    "rights=\"repo:append(*)\",rights=\"log:read(*)\"",
                                    "namespaces=\"\"",
                                    "namespaces=\"a,\"",
                                    "namespaces=\"a*\"",
                                    "namespaces=\"a\"x",
                                    "namespaces=\"a\",",
                                    "namespaces=\"a\" ,",
                                    "valid-after=\"\"",
                                    "valid-after=\"2026\"",
                                    "valid-after=\"2026-01-01\"",
                                    "valid-after=\"20260230\"",
                                    "valid-after=\"20261301\"",
                                    "valid-after=\"202601012400\"",
                                    "valid-after=\"202601012360\"",
                                    "valid-after=\"20260101235960\"",
                                    "valid-after=\"2026010112\"",
                                    "valid-after=\"20260101ZZ\"",
                                    "valid-after=\"19691231\"",
                                    "valid-after=\"22620101\"",
                                    "valid-after=\"20260101\",valid-before=\"20260101\""}) {
    EXPECT_NE(reason_of(options), "") << options;
  }
  EXPECT_EQ(reason_of("rights=\"repo:write(*)\""), "there is no right \"repo:write\"");
  EXPECT_EQ(reason_of("cert-authority"), "it has an unknown option \"cert-authority\"");
}

TEST(TrustStore, GrantsOnlyWhatAScopeIncludes) {
  const TrustStore store = store_of(
      "a rights=\"repo:append(plan:shop,repo:main) repo:read(*,!plan:secret) repo:forget() "
      "log:append(!plan:x) log:read(!*,*) relay:hub(*)\" " +
      key_text(1) + "\nb " + key_text(2));
  const auto allows = [&](std::string_view right, std::string_view scope) {
    return store.allows(key_number(1), right, scope, kNow);
  };
  EXPECT_TRUE(allows("repo:append", "plan:shop"));
  EXPECT_TRUE(allows("repo:append", "repo:main"));
  EXPECT_FALSE(allows("repo:append", "plan:main"));
  EXPECT_FALSE(allows("repo:append", "plan:shop2"));
  EXPECT_FALSE(allows("repo:append", ""));
  EXPECT_TRUE(allows("repo:read", "plan:shop"));
  EXPECT_FALSE(allows("repo:read", "plan:secret"));  // an exclusion wins over *
  EXPECT_FALSE(allows("repo:forget", "plan:shop"));  // no scopes, no grant
  EXPECT_FALSE(allows("log:append", "plan:y"));      // an exclusion alone grants nothing
  EXPECT_FALSE(allows("log:read", "plan:y"));
  EXPECT_TRUE(allows("relay:hub", "plan:y"));
  EXPECT_FALSE(allows("relay:hub2", "plan:y"));
  EXPECT_FALSE(allows("config:read", "plan:y"));
  EXPECT_FALSE(store.allows(key_number(2), "repo:append", "plan:shop", kNow));
  EXPECT_FALSE(store.allows(key_number(3), "repo:append", "plan:shop", kNow));
}

TEST(TrustStore, IsValidBetweenItsTimesEndsIncluded) {
  const TrustStore store = store_of(
      "a rights=\"repo:read(*)\",valid-after=\"20261120120000\",valid-before=\"20261120120010Z\" " +
      key_text(1));
  for (const auto& [offset, valid] : std::vector<std::pair<std::chrono::nanoseconds, bool>>{
           {-1ns, false}, {0s, true}, {10s, true}, {10s + 999ms, true}, {11s, false}}) {
    EXPECT_EQ(store.allows(key_number(1), "repo:read", "plan:a", kNow + offset), valid)
        << offset.count();
    EXPECT_EQ(store.may_sign(key_number(1), "n", kNow + offset), valid) << offset.count();
  }
}

TEST(TrustStore, RestrictsNamespaces) {
  const TrustStore store =
      store_of("a namespaces=\"one,two\" " + key_text(1) + "\nb " + key_text(2));
  EXPECT_TRUE(store.may_sign(key_number(1), "one", kNow));
  EXPECT_TRUE(store.may_sign(key_number(1), "two", kNow));
  EXPECT_FALSE(store.may_sign(key_number(1), "three", kNow));
  EXPECT_TRUE(store.may_sign(key_number(2), "three", kNow));
  EXPECT_FALSE(store.may_sign(key_number(3), "one", kNow));
}

TEST(TrustStore, AddsAndReplaces) {
  TrustStore store;
  TrustedKey entry;
  entry.key = key_number(1);
  EXPECT_EQ(TrustStore::problem_with(entry), "it has no name");
  entry.names = {"shop"};
  EXPECT_EQ(TrustStore::problem_with(entry), std::nullopt);
  store.add(entry);
  entry.names = {"shop2"};
  entry.rights = {{.name = "log:read", .scopes = {"*"}}};
  store.add(entry);
  ASSERT_EQ(store.keys().size(), 1u);
  EXPECT_EQ(store.keys()[0], entry);
  EXPECT_EQ(store_of(store.format()).keys(), store.keys());

  entry.valid_after = kNow + 1ns;
  EXPECT_EQ(TrustStore::problem_with(entry), "its times are not whole seconds");
  entry.valid_after.reset();
  entry.comment = " blank";
  EXPECT_NE(TrustStore::problem_with(entry), std::nullopt);
  entry.comment = "two\nlines";
  EXPECT_NE(TrustStore::problem_with(entry), std::nullopt);
}

}  // namespace
}  // namespace sealane::identity
