// Goal: settings, client files, profiles and parcels are read as documented, and what they never
// are is refused with the place named. Method: round trips, each mistake alone, cut at every byte.
#include <gtest/gtest.h>

#include "node/hub_profile.h"
#include "node/hub_settings.h"
#include "node/hub_state.h"
#include "node/parcel.h"
#include "tests/support/doubles.h"
#include "tests/support/simulated_files.h"

namespace sealane::node {
namespace {

using std::chrono::seconds;

HubSettings settings_of(std::string_view text) {
  auto settings = parse_hub_settings(text, "hub.toml");
  EXPECT_TRUE(settings.has_value()) << settings.error().message;
  return std::move(settings).value();
}
std::string mistake_in(std::string_view text) {
  const auto settings = parse_hub_settings(text, "hub.toml");
  EXPECT_FALSE(settings.has_value());
  return settings.has_value() ? std::string() : settings.error().message;
}

TEST(HubSettingsTest, BothSpellingsAreRead) {
  const HubSettings wrong =
      settings_of("[client]\nheartbeat_intervall = 7\nheartbeat_timout = 70\n");
  EXPECT_EQ(wrong.connection.heartbeat_interval, seconds(7));
  EXPECT_EQ(wrong.connection.heartbeat_timeout, seconds(70));
  const HubSettings both =
      settings_of("[client]\nheartbeat_interval = 8.5\nheartbeat_intervall = 7\nmotto = \"hi\"\n");
  EXPECT_EQ(both.connection.heartbeat_interval, std::chrono::milliseconds(8500));
  ASSERT_EQ(both.connection.other_settings.size(), 1u);
  EXPECT_EQ(both.connection.other_settings[0],
            (std::pair<std::string, std::string>("motto", "\"hi\"")));
  EXPECT_EQ(settings_of("port = 4001\nchallenge_size = 900\n").listen, "tcp:0.0.0.0:4001");
  EXPECT_EQ(settings_of("").mailbox.offline, mailbox::OfflinePolicy::kDurable);
}

TEST(HubSettingsTest, GroupsHaveMembers) {
  const HubSettings settings = settings_of(
      "[group.ops]\nid = \"11111111-1111-4111-8111-111111111111\"\n"
      "members = [\"22222222222242228222222222222222\"]\nmembers_only = false\n");
  ASSERT_EQ(settings.groups.size(), 1u);
  EXPECT_EQ(settings.groups[0].name, "ops");
  EXPECT_EQ(settings.groups[0].policy.members.size(), 1u);
  EXPECT_FALSE(settings.groups[0].policy.members_only);
}

TEST(HubSettingsTest, MistakesAreNamedWithTheirLine) {
  EXPECT_NE(mistake_in("\ncolour = 1\n").find("hub.toml, line 2: unknown key colour"),
            std::string::npos);
  EXPECT_NE(mistake_in("[hub]\n\nqueue = \"paper\"\n").find("line 3"), std::string::npos);
  EXPECT_NE(mistake_in("port = 70000").find("line 1"), std::string::npos);
  EXPECT_NE(mistake_in("port = 1\nlisten = \"tcp:0.0.0.0:1\"").find("same thing"),
            std::string::npos);
  EXPECT_NE(mistake_in("[client]\nheartbeat_interval = \"30\"").find("line 2"), std::string::npos);
  EXPECT_NE(mistake_in("[client]\nheartbeat_interval = 0").find("line 2"), std::string::npos);
  EXPECT_NE(mistake_in("[hub]\nlogin_timeout = 1e300").find("line 2"), std::string::npos);
  EXPECT_NE(mistake_in("[client]\nday = 2020-01-01").find("line 2"), std::string::npos);
  EXPECT_NE(mistake_in("[group.a]\nmembers = []").find("id"), std::string::npos);
  EXPECT_NE(mistake_in("= = =").find("line 1"), std::string::npos);
  EXPECT_NE(mistake_in("[hub]\nqueue_bytes = 10\nqueue_total_bytes = 9").find("queue_bytes"),
            std::string::npos);
  EXPECT_NE(mistake_in("client = 1").find("table"), std::string::npos);
}

TEST(HubStateTest, KeepsClientsAndItsKeyPrivately) {
  testing::SimulatedFiles files;
  testing::SeededRandom random(1);
  auto state = HubState::open(files, random, "/hub");
  ASSERT_TRUE(state.has_value()) << state.error().message;
  EXPECT_TRUE(state.value().created());
  HubClientRecord record{
      .id = {}, .name = "shop", .kind = hub::ClientKind::kSealane, .key = nullptr};
  record.key = std::make_shared<const crypto::RsaPublicKey>(state.value().key()->public_key());
  ASSERT_TRUE(state.value().add(record).has_value());
  EXPECT_FALSE(state.value().add(record).has_value());
  record.id.bytes[0] = std::byte{1};
  EXPECT_FALSE(state.value().add(record).has_value());  // the name is taken
  auto again = HubState::open(files, random, "/hub");
  ASSERT_TRUE(again.has_value());
  EXPECT_FALSE(again.value().created());
  const auto clients = again.value().clients();
  ASSERT_TRUE(clients.has_value());
  ASSERT_EQ(clients.value().size(), 1u);
  EXPECT_EQ(clients.value()[0].name, "shop");
  EXPECT_EQ(clients.value()[0].kind, hub::ClientKind::kSealane);
  EXPECT_EQ(files.status("/hub/key.pem").value().mode & 0777, 0600u);
  const auto lock = again.value().lock();
  ASSERT_TRUE(lock.has_value());
  EXPECT_EQ(state.value().lock().error().kind, ErrorKind::kLocked);
  EXPECT_TRUE(again.value().remove(hub::ClientId{}).has_value());
  EXPECT_FALSE(again.value().remove(hub::ClientId{}).has_value());
}

TEST(HubStateTest, APythonFileIsALegacyClientNamedByItsId) {
  const auto key = crypto::RsaPrivateKey::generate();
  const hub::ClientId id{};
  const std::string pem = key.public_key().to_pem();
  const auto record = parse_client_file(id, as_bytes(pem));
  ASSERT_TRUE(record.has_value()) << record.error();
  EXPECT_EQ(record.value().name, hub::to_file_name(id));
  EXPECT_EQ(record.value().kind, hub::ClientKind::kLegacy);
  for (const char* bad : {"colour: red\n", "name: a b\n", "kind: other\n", "name: \n"}) {
    EXPECT_FALSE(parse_client_file(id, as_bytes(bad + pem)).has_value()) << bad;
  }
}

TEST(HubProfileTest, GoesBothWays) {
  HubProfile profile{
      .hub = {"tcp:192.0.2.7:4000"}, .fingerprint = {}, .id = {}, .name = "shop", .key = nullptr};
  profile.key = std::make_shared<const crypto::RsaPrivateKey>(crypto::RsaPrivateKey::generate());
  profile.fingerprint = profile.key->public_key().fingerprint();
  const SecretBytes text = format_profile(profile);
  const auto back = parse_profile(text.expose());
  ASSERT_TRUE(back.has_value()) << back.error();
  EXPECT_EQ(back.value().hub, profile.hub);
  EXPECT_EQ(back.value().fingerprint, profile.fingerprint);
  EXPECT_EQ(back.value().id, profile.id);
  EXPECT_EQ(back.value().key->public_key(), profile.key->public_key());
  for (std::size_t size = 0; size < text.size() - 40; size += 7) {
    EXPECT_FALSE(parse_profile(text.expose().first(size)).has_value()) << size;
  }
}

TEST(HubProfileTest, PinsAreKeptAndMistakesNamed) {
  testing::SimulatedFiles files;
  testing::SeededRandom random(1);
  auto pins = HubPins::load(files, "/pins");
  ASSERT_TRUE(pins.has_value());
  crypto::Sha256Digest digest{};
  digest[3] = std::byte{7};
  ASSERT_TRUE(pins.value().add(files, random, {"tcp:a:1"}, digest).has_value());
  const auto again = HubPins::load(files, "/pins");
  ASSERT_TRUE(again.has_value());
  EXPECT_EQ(again.value().find({"tcp:a:1"}), digest);
  EXPECT_FALSE(again.value().find({"tcp:a:2"}));
  ASSERT_TRUE(
      replace_file(files, random, "/pins", as_bytes("# all\ntcp:a:1 MD5:00\n"), 0600).has_value());
  const auto bad = HubPins::load(files, "/pins");
  ASSERT_FALSE(bad.has_value());
  EXPECT_NE(bad.error().message.find("line 2"), std::string::npos);
}

TEST(ParcelTest, GoesBothWaysAndIsCutNowhere) {
  const Parcel parcel{.kind = ParcelKind::kData, .number = 7, .offset = 9, .data = to_bytes("abc")};
  const Bytes bytes = encode(parcel);
  EXPECT_EQ(decode_parcel(bytes), parcel);
  for (std::size_t size = 0; size < Parcel::kHeaderSize; ++size) {
    EXPECT_FALSE(decode_parcel(ByteSpan(bytes).first(size))) << size;
  }
  Bytes bad = bytes;
  bad[0] = std::byte{6};
  EXPECT_FALSE(decode_parcel(bad));
  bad.resize(Parcel::kHeaderSize + Parcel::kMaxData + 1);
  bad[0] = std::byte{1};
  EXPECT_FALSE(decode_parcel(bad));
}

class ParcelBoxTest : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(files.create_directory("/in").has_value()); }
  Parcel offer(const std::string& content, const std::string& name) {
    const crypto::Sha256Digest digest = crypto::sha256(as_bytes(content));
    Parcel parcel{
        .kind = ParcelKind::kFile, .number = 5, .offset = content.size(), .data = to_bytes(digest)};
    parcel.data.insert(parcel.data.end(), as_bytes(name).begin(), as_bytes(name).end());
    return parcel;
  }
  static Parcel piece(const std::string& content, std::uint64_t at, std::size_t size) {
    return {.kind = ParcelKind::kData,
            .number = 5,
            .offset = at,
            .data = to_bytes(content.substr(at, size))};
  }
  testing::SimulatedFiles files;
  ParcelBox box{files, "/in"};
};

TEST_F(ParcelBoxTest, AFileGoesOnWhereItWasCut) {
  const std::string content(20'000, 'x');
  auto start = box.take("s", offer(content, "a"));
  ASSERT_TRUE(start.has_value()) << start.error().message;
  EXPECT_EQ(start.value().answer->offset, 0u);
  ASSERT_TRUE(box.take("s", piece(content, 0, 5000)).has_value());
  ParcelBox later(files, "/in");
  start = later.take("s", offer(content, "a"));
  ASSERT_TRUE(start.has_value());
  EXPECT_EQ(start.value().answer->offset, 5000u);
  const auto done = later.take("s", piece(content, 5000, 15'000));
  ASSERT_TRUE(done.has_value()) << done.error().message;
  EXPECT_EQ(done.value().finished, "/in/a");
  EXPECT_EQ(done.value().answer->kind, ParcelKind::kDone);
  EXPECT_EQ(to_text(read_file(files, "/in/a", 100'000).value()), content);
  EXPECT_EQ(later.take("s", offer(content, "a")).value().answer->kind, ParcelKind::kDone);  // once
  EXPECT_EQ(files.list("/in").value().size(), 1u);
}

TEST_F(ParcelBoxTest, NothingIsReplacedAndNoNameLeadsOut) {
  const std::string content = "abc";
  ASSERT_TRUE(write_new_file(files, "/in/a", as_bytes("mine")).has_value());
  ASSERT_TRUE(box.take("s", offer(content, "a")).has_value());
  EXPECT_EQ(box.take("s", piece(content, 0, 3)).value().finished, "/in/a.2");
  for (const std::string& name : {std::string("../b"), std::string(".b"), std::string(),
                                  std::string("a\nb"), std::string(200, 'a')}) {
    Parcel parcel = offer(content, name);
    parcel.number = 6;
    EXPECT_FALSE(box.take("s", parcel).has_value()) << name;
  }
}

TEST_F(ParcelBoxTest, WhatDoesNotFitIsNeverAFile) {
  const std::string content = "abcdef";
  ASSERT_TRUE(box.take("s", offer(content, "a")).has_value());
  EXPECT_FALSE(box.take("s", piece(content, 1, 2)).has_value());  // a gap
  ASSERT_TRUE(box.take("s", offer(content, "a")).has_value());
  const auto damaged = box.take("s", piece("abcdeX", 0, 6));
  ASSERT_FALSE(damaged.has_value());
  EXPECT_EQ(damaged.error().kind, ErrorKind::kVerificationFailed);
  EXPECT_TRUE(files.list("/in").value().empty());
}

}  // namespace
}  // namespace sealane::node
