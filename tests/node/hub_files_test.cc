// Goal: settings, client files, profiles and parcels are read as documented, and what they never
// are is refused with the place named. Method: round trips, each mistake alone, cut at every byte.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <functional>
#include <iterator>

#include "node/hub_profile.h"
#include "node/hub_settings.h"
#include "node/hub_state.h"
#include "node/parcel.h"
#include "node/seen_messages.h"
#include "tests/support/data_path.h"
#include "tests/support/doubles.h"
#include "tests/support/simulated_files.h"

namespace sealane::node {
namespace {

using std::chrono::seconds;

// A test key, known to everybody: making one costs seconds in an instrumented build.
crypto::RsaPrivateKey known_key() {
  std::ifstream file(testing::data_path("backbone/pkcs8.pem"));
  const std::string pem{std::istreambuf_iterator<char>(file), {}};
  return crypto::RsaPrivateKey::from_pem(as_bytes(pem)).value();
}

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

// Each setting of the Python project, in each spelling that its code or README has, one by one:
// what it does to the hub, and what clients are then told.
TEST(HubSettingsTest, EveryPythonSettingInEverySpelling) {
  const HubSettings plain = settings_of("");
  struct Row {
    const char* text;
    std::function<bool(const HubSettings&)> acts;
    const char* told;  // in CONFIG
  };
  const auto interval = [](const HubSettings& s) {
    return s.connection.heartbeat_interval == seconds(7);
  };
  const auto timeout = [](const HubSettings& s) {
    return s.connection.heartbeat_timeout == seconds(7);
  };
  const std::vector<Row> rows = {
      {"port = 4001", [](const auto& s) { return s.listen == "tcp:0.0.0.0:4001"; }, nullptr},
      {"challenge_size = 900", [](const auto& s) { return s.connection.challenge_size == 900; },
       nullptr},
      {"[client]\nheartbeat_interval = 7", interval, "\"heartbeat_interval\": 7"},
      {"[client]\nheartbeat_intervall = 7", interval, "\"heartbeat_interval\": 7"},
      {"[client]\nheartbeat_timeout = 7", timeout, "\"heartbeat_timeout\": 7"},
      {"[client]\nheartbeat_timout = 7", timeout, "\"heartbeat_timout\": 7"},
      {"[client]\nheartbeat_timeout = 7", timeout, "\"heartbeat_timout\": 7"},  // both are told
      {"[client]\nmotto = \"hi\"",
       [](const auto& s) { return s.connection.other_settings.size() == 1; }, "\"motto\": \"hi\""},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.text);
    EXPECT_FALSE(row.acts(plain));
    const HubSettings settings = settings_of(row.text);
    EXPECT_TRUE(row.acts(settings));
    if (row.told == nullptr) continue;
    hub::Config config;
    config.heartbeat_interval = std::chrono::duration_cast<std::chrono::milliseconds>(
        settings.connection.heartbeat_interval);
    config.heartbeat_timeout = std::chrono::duration_cast<std::chrono::milliseconds>(
        settings.connection.heartbeat_timeout);
    config.others = settings.connection.other_settings;
    EXPECT_NE(encode(config).find(row.told), std::string::npos) << encode(config);
  }
  EXPECT_EQ(plain.listen, "tcp:0.0.0.0:4000");
  EXPECT_EQ(plain.connection.challenge_size, 2048u);
}

TEST(HubSettingsTest, RightsNameWhoMaySendWhere) {
  const HubSettings settings = settings_of(
      "[rights.shop]\nsend_to = [\"prover\", \"ops\"]\n[rights.guest]\nsend_to = []\n"
      "sees_presence = false\n[rights.other]\n");
  ASSERT_EQ(settings.rights.size(), 3u);
  const auto of = [&](const std::string& name) {
    return *std::ranges::find(settings.rights, name, &HubRights::client);
  };
  EXPECT_EQ(of("shop").send_to, (std::vector<std::string>{"prover", "ops"}));
  EXPECT_TRUE(of("shop").sees_presence);
  EXPECT_EQ(of("guest").send_to, std::vector<std::string>());
  EXPECT_FALSE(of("guest").sees_presence);
  EXPECT_FALSE(of("other").send_to);
  EXPECT_NE(mistake_in("[rights.a]\nsend_to = \"b\"").find("line 2"), std::string::npos);
  EXPECT_NE(mistake_in("[rights.a]\nsend_to = [1]").find("line 2"), std::string::npos);
  EXPECT_NE(mistake_in("[rights.a]\nsend = []").find("line 2: unknown key"), std::string::npos);
  EXPECT_NE(mistake_in("[rights]\na = 1").find("line 2"), std::string::npos);
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
  for (const char* wrong : {"udp:127.0.0.1:1", "tcp:hub:1", "tcp:127.0.0.1", "seqpacket:/s", "x"}) {
    EXPECT_NE(mistake_in("listen = \"" + std::string(wrong) + "\"").find("line 1: listen is wrong"),
              std::string::npos)
        << wrong;
  }
  for (const char* good : {"tcp:[::1]:0", "tcp:127.0.0.1:4000", "unix:/run/hub"}) {
    EXPECT_EQ(settings_of("listen = \"" + std::string(good) + "\"").listen, good);
  }
  EXPECT_NE(mistake_in("[group.a]\nid = \"11111111111141118111111111111111\"\nmembers = []\n"
                       "[group.b]\nid = \"11111111-1111-4111-8111-111111111111\"\nmembers = []\n")
                .find("line 4: another group has this id"),
            std::string::npos);
  EXPECT_NE(mistake_in("[client]\nheartbeat_interval = \"30\"").find("line 2"), std::string::npos);
  EXPECT_NE(mistake_in("[client]\nheartbeat_interval = 0").find("line 2"), std::string::npos);
  EXPECT_NE(mistake_in("[hub]\nlogin_timeout = 1e300").find("line 2"), std::string::npos);
  EXPECT_NE(mistake_in("[client]\nday = 2020-01-01").find("line 2"), std::string::npos);
  EXPECT_NE(mistake_in("[group.a]\nmembers = []").find("id"), std::string::npos);
  EXPECT_NE(mistake_in("= = =").find("line 1"), std::string::npos);
  EXPECT_NE(mistake_in("\n[~hub]\n").find("line 2"), std::string::npos);
  // Beyond ASCII, where toml++ alone runs into what it takes for unreachable: a sentence each time.
  for (const char* text :
       {"\n\xC3\xA9 = 1", "\nport\xEF\xBB\xBD = 1", "#\xC3\xA9\n\xC3\xA9",
        "a = \"\xC3\xA9\\\"\"\n\xC3\xA9", "a = '''\n''''\xC3\xA9", "a = \"\n\xC3\xA9",
        "a = \"\"\"\\\n\"\"\"\xC3\xA9", "\xEF\xBB\xBF\n\xEF\xBB\xBF", "a = \"\"\nb = 4x'\xC3\xA9",
        "#'\na 'b' = [ 'x' '\xC3\xA9", "a = \"\"\"x\\\n \xC3\xA9\"\"\"",
        "\na = \"\"\"\\\xC3\xA9\"\"\"", "\npo=5['[\xCE\xA8W\xEF\xAB\xBF"}) {
    const std::string mistake = mistake_in(text);
    EXPECT_TRUE(mistake.starts_with("hub.toml, line ")) << mistake;
    EXPECT_EQ(mistake.find("zbyte"), std::string::npos) << mistake;
  }
  EXPECT_NE(mistake_in("\n\xC3\xA9 = 1").find("line 2: unknown key \xC3\xA9;"), std::string::npos);
  EXPECT_NE(mistake_in("\na = '\xC3'").find("line 2: is not UTF-8"), std::string::npos);
  EXPECT_NE(mistake_in("[client]\n\"\xC3\xA9\" = 1\n\"\\u00e9\" = 2").find("two keys of one name"),
            std::string::npos);
  // In strings and comments they are fine; what is wrong there is the name.
  for (const char* text : {"#\xC3\xA9\na = \"\xC3\xA9\\\"\xC3\xA9\"", "\na = '\xC3\xA9\\'",
                           "\na = \"\"\"\xC3\xA9\"\xC3\xA9\"\"\"\"\"", "\na = '''\xC3\xA9'''"}) {
    const std::string mistake = mistake_in(text);
    EXPECT_NE(mistake.find("line 2: unknown key a"), std::string::npos) << mistake;
  }
  EXPECT_NE(mistake_in("[hub]\nqueue_bytes = 10\nqueue_total_bytes = 9").find("queue_bytes"),
            std::string::npos);
  EXPECT_NE(mistake_in("client = 1").find("table"), std::string::npos);
}

TEST(HubSettingsTest, TextsAreWhatTheyWereBeyondAscii) {
  // The second holds the word that would stand for other bytes, the third makes it by an escape.
  const HubSettings settings = settings_of(
      "\xEF\xBB\xBF# gr\xC3\xB6\xC3\x9F"
      "er\n[client]\n"
      "\"\xC3\xA9t\xC3\xA9\" = [\"\xF0\x9F\x9A\xA2 \xC3\xA9\"]\n"
      "second = 'zbyte0xc3zbyte0xa9 \xC3\xA9'\nthird = \"\\u007abyte1xc3\"\n"
      "[rights.\"K\xC3\xB6ln\"]\nsend_to = ['\xC3\xBC']\n");
  const auto& others = settings.connection.other_settings;
  const auto value = [&](const std::string& key) {
    const auto found = std::ranges::find(others, key, &std::pair<std::string, std::string>::first);
    return found == others.end() ? std::string() : found->second;
  };
  EXPECT_EQ(value("\xC3\xA9t\xC3\xA9"), "[\"\xF0\x9F\x9A\xA2 \xC3\xA9\"]");
  EXPECT_EQ(value("second"), "\"zbyte0xc3zbyte0xa9 \xC3\xA9\"");
  EXPECT_EQ(value("third"), "\"zbyte1xc3\"");
  ASSERT_EQ(settings.rights.size(), 1u);
  EXPECT_EQ(settings.rights[0].client, "K\xC3\xB6ln");
  EXPECT_EQ(settings.rights[0].send_to, std::vector<std::string>{"\xC3\xBC"});
}

TEST(HubStateTest, KeepsClientsAndItsKeyPrivately) {
  testing::SimulatedFiles files;
  testing::SeededRandom random(1);
  // Looking makes nothing.
  ASSERT_FALSE(HubState::open_existing(files, random, "/hub").has_value());
  EXPECT_FALSE(files.status("/hub").has_value());
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
  EXPECT_TRUE(HubState::open_existing(files, random, "/hub").has_value());
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
  const auto key = known_key();
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
  profile.key = std::make_shared<const crypto::RsaPrivateKey>(known_key());
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

TEST(SeenMessagesTest, AreKeptOverStartsAndBounded) {
  testing::SimulatedFiles files;
  testing::SeededRandom random(1);
  const WallTime time(seconds(1'700'000'000));
  const auto id = [](std::uint64_t number) { return hub::DeliveryId{number}; };
  auto seen = SeenMessages::load(files, "/seen");
  ASSERT_TRUE(seen.has_value());
  for (std::uint64_t i = 0; i < SeenMessages::kKept + 10; ++i) {
    seen.value().add(id(UINT64_MAX - i), time + std::chrono::milliseconds(i));
  }
  ASSERT_TRUE(seen.value().save(files, random).has_value());
  EXPECT_LE(files.status("/seen").value().size, SeenMessages::kMaxFileSize);
  const auto again = SeenMessages::load(files, "/seen");
  ASSERT_TRUE(again.has_value()) << again.error().message;
  EXPECT_FALSE(again.value().contains(id(UINT64_MAX), time));  // long ago
  EXPECT_TRUE(again.value().contains(id(UINT64_MAX - 10), time + std::chrono::milliseconds(10)));
  // The same number of a hub that lost its queue is another message.
  EXPECT_FALSE(again.value().contains(id(UINT64_MAX - 10), time + std::chrono::milliseconds(11)));
  for (const char* bad : {"1", "1 2", "x 2\n", "1 2 3\n", "1  2\n", "-1 2\n", "\n",
                          "99999999999999999999 1\n", "1 2\n\n"}) {
    ASSERT_TRUE(replace_file(files, random, "/seen", as_bytes(bad), 0600).has_value());
    const auto damaged = SeenMessages::load(files, "/seen");
    ASSERT_FALSE(damaged.has_value()) << bad;
    EXPECT_NE(damaged.error().message.find("damaged"), std::string::npos);
  }
}

TEST(SeenMessagesTest, ACutInsideALineIsNoticedAndOneBehindItKeepsWhatStandsBefore) {
  const std::string whole = "18446744073709551615 1700000000000\n7 1700000000001\n";
  for (std::size_t size = 0; size <= whole.size(); ++size) {
    const std::string cut = whole.substr(0, size);
    const auto seen = SeenMessages::parse(cut);
    ASSERT_EQ(seen.has_value(), cut.empty() || cut.back() == '\n') << size;
    if (seen) {
      EXPECT_EQ(seen->format(), cut);
    }
  }
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
    const std::string data = to_text(digest) + name;
    return {
        .kind = ParcelKind::kFile, .number = 5, .offset = content.size(), .data = to_bytes(data)};
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
