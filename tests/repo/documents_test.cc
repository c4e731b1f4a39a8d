// Goal: every document has exactly one encoding and hostile ones are refused with a reason. Method:
// round trips, tables of changes to a good text, cuts at every byte, stock ssh-keygen.
#include <gtest/gtest.h>

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "base/limits.h"
#include "repo/commit.h"
#include "repo/details.h"
#include "repo/json.h"
#include "repo/names.h"
#include "repo/proof.h"
#include "repo/repo_json.h"

namespace sealane::repo {
namespace {

constexpr const char* kRepository = "0123456789abcdef0123456789abcdef";

identity::SigningKey test_key(unsigned char first = 1) {
  ByteArray<32> seed{};
  seed[0] = std::byte{first};
  return {crypto::Ed25519Seed(seed), "test"};
}

WallTime at(std::string_view text) { return from_rfc3339(text).value(); }

Commit good_commit() {
  ByteArray<32> digest{};
  digest[31] = std::byte{0xab};
  return {.repository = kRepository,
          .host = identity::fingerprint(test_key().public_key()),
          .host_name = "shop.example",
          .plan = "shop",
          .seq = 2,
          .previous = std::string(64, 'a'),
          .host_time = at("2026-11-20T13:54:00Z"),
          .objects = {{"0-database.zst.age", 123, digest},
                      {"1-roles.zst.age", 0, {}},
                      {"details.age", kMaxObjectSize, {}}}};
}

Details good_details() {
  return {.source = "postgresql://shop@db1:5432/shop",
          .kind = "postgresql",
          .tool = "pg_dump (PostgreSQL) 15.18",
          .sealane = "0.1.0",
          .started = at("2026-11-20T13:54:00Z"),
          .finished = at("2026-11-20T13:55:00Z"),
          .exit_status = 3,
          .streams = {{"database", "pg_dump-custom", "pg_restore -d DATABASE", 4711, {}}},
          .fingerprint = Fingerprint{.kind = "postgresql",
                                     .level = FingerprintLevel::kContent,
                                     .items = {{"public.orders", 10, std::string(64, '0')},
                                               {std::string("a\\b\xff\x1b\"\n\0", 8), 1, ""}},
                                     .digest = std::string(64, 'f')},
          .unreadable_count = 7,
          .unreadable = {{"/srv/\xc3", "Permission denied"}},
          .properties = {{"server", "15.18"}, {"weird \\ key", "\x7fvalue"}}};
}

Proof good_proof() {
  return {.snapshot = std::string(64, 'b'),
          .prover = identity::fingerprint(test_key().public_key()),
          .prover_name = "prüfer",
          .time = at("2026-11-20T14:00:00Z"),
          .level = FingerprintLevel::kContent,
          .outcome = ProofOutcome::kEqual,
          .target = "PostgreSQL 15.18 started for this drill",
          .fingerprint = std::string(64, 'f')};
}

ForgottenRecord good_record() {
  return {.repository = kRepository,
          .host = identity::fingerprint(test_key(2).public_key()),
          .plan = "shop",
          .seq = 2,
          .snapshot = std::string(64, 'b'),
          .by = identity::fingerprint(test_key().public_key()),
          .time = at("2026-11-20T14:00:00Z")};
}

std::string replaced(std::string text, std::string_view from, std::string_view to) {
  const std::size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

TEST(Commit, LooksAsDocumented) {
  EXPECT_EQ(encode(good_commit()), R"({
  "format": 1,
  "repository": "0123456789abcdef0123456789abcdef",
  "host": ")" + good_commit().host +
                                       R"(",
  "host_name": "shop.example",
  "plan": "shop",
  "seq": 2,
  "previous": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
  "host_time": "2026-11-20T13:54:00Z",
  "objects": [
    {"file": "0-database.zst.age", "size": 123, "sha256": "00000000000000000000000000000000000000000000000000000000000000ab"},
    {"file": "1-roles.zst.age", "size": 0, "sha256": "0000000000000000000000000000000000000000000000000000000000000000"},
    {"file": "details.age", "size": 9007199254740991, "sha256": "0000000000000000000000000000000000000000000000000000000000000000"}
  ]
}
)");
}

TEST(Documents, RoundTrip) {
  const auto commit = decode_commit(encode(good_commit()));
  ASSERT_TRUE(commit.has_value()) << describe(commit.error());
  EXPECT_EQ(commit.value(), good_commit());
  Commit loud = good_commit();
  loud.host_name = "quo\"te \\ \xff \x1b[31m";
  ASSERT_TRUE(check(loud).has_value());
  EXPECT_EQ(decode_commit(encode(loud)).value(), loud);
  EXPECT_EQ(encode(loud).find('\x1b'), std::string::npos) << "safe to print";

  const auto details = decode_details(encode(good_details()));
  ASSERT_TRUE(details.has_value()) << describe(details.error());
  EXPECT_EQ(details.value(), good_details());
  Details plain;
  plain.kind = "stdin";
  EXPECT_EQ(decode_details(encode(plain)).value(), plain) << encode(plain);

  const ProofDocument proof{kRepository, good_proof()};
  EXPECT_EQ(decode_proof(encode(proof)).value(), proof);
  EXPECT_EQ(decode_forgotten(encode(good_record())).value(), good_record());
  const RepositoryDocument repository{kRepository, at("2026-11-20T14:00:00Z")};
  EXPECT_EQ(decode_repository(encode(repository)).value(), repository);
}

TEST(Commit, RefusesEveryOtherFormWithItsReason) {
  const std::string good = encode(good_commit());
  struct Case {
    std::string text;
    DocumentFault fault;
    const char* field;
  };
  const std::string depth(100'000, '[');
  const Case cases[] = {
      {"", DocumentFault::kNotJson, ""},
      {"null", DocumentFault::kBadValue, ""},
      {"[]", DocumentFault::kBadValue, ""},
      {good + " ", DocumentFault::kNotCanonical, ""},
      {good + "{}", DocumentFault::kNotJson, ""},
      {"\xef\xbb\xbf" + good, DocumentFault::kNotCanonical, ""},
      {replaced(good, "  \"seq\"", "\"seq\""), DocumentFault::kNotCanonical, ""},
      {replaced(good, "\"plan\"", "\"colour\": \"red\",\n  \"plan\""), DocumentFault::kUnknownField,
       "colour"},
      {replaced(good, "\"plan\": \"shop\",\n  ", ""), DocumentFault::kMissingField, "plan"},
      {replaced(good, "\"plan\": \"shop\",\n  \"seq\": 2", "\"seq\": 2,\n  \"plan\": \"shop\""),
       DocumentFault::kNotCanonical, ""},
      {replaced(good, "\"plan\"", "\"seq\": 1,\n  \"plan\""), DocumentFault::kDuplicateField,
       "seq"},
      {replaced(good, "\"format\": 1", "\"format\": 2"), DocumentFault::kNewerFormat, "format"},
      {replaced(good, "\"format\": 1", "\"format\": 2, \"colour\": true"),
       DocumentFault::kNewerFormat, "format"},
      {replaced(good, "\"format\": 1", "\"format\": 0"), DocumentFault::kBadValue, "format"},
      {replaced(good, "\"format\": 1", "\"format\": \"1\""), DocumentFault::kBadValue, "format"},
      {replaced(good, "\"plan\": \"shop\"", "\"plan\": \"../x\""), DocumentFault::kBadValue,
       "plan"},
      {replaced(good, "\"plan\": \"shop\"", "\"plan\": \"a..b\""), DocumentFault::kBadValue,
       "plan"},
      {replaced(good, "\"plan\": \"shop\"", "\"plan\": \".tmp-x\""), DocumentFault::kBadValue,
       "plan"},
      {replaced(good, "\"plan\": \"shop\"", "\"plan\": \"Shop\""), DocumentFault::kBadValue,
       "plan"},
      {replaced(good, "\"plan\": \"shop\"", "\"plan\": \"\\u0073hop\""),
       DocumentFault::kNotCanonical, ""},
      {replaced(good, "\"plan\": \"shop\"", "\"plan\": null"), DocumentFault::kBadValue, "plan"},
      {replaced(good, "\"plan\": \"shop\"", "\"plan\": true"), DocumentFault::kBadValue, "plan"},
      {replaced(good, "\"seq\": 2", "\"seq\": 2.0"), DocumentFault::kNumber, "seq"},
      {replaced(good, "\"seq\": 2", "\"seq\": -2"), DocumentFault::kNumber, "seq"},
      {replaced(good, "\"seq\": 2", "\"seq\": 2e0"), DocumentFault::kNumber, "seq"},
      {replaced(good, "\"seq\": 2", "\"seq\": 1e999999999"), DocumentFault::kNumber, "seq"},
      {replaced(good, "\"seq\": 2", "\"seq\": " + std::string(5000, '9')), DocumentFault::kNumber,
       "seq"},
      {replaced(good, "\"seq\": 2", "\"seq\": 99999999999"), DocumentFault::kBadValue, "seq"},
      {replaced(good, "\"seq\": 2", "\"seq\": 0"), DocumentFault::kBadValue, "seq"},
      {replaced(good, "\"seq\": 2", "\"seq\": 1"), DocumentFault::kBadValue, "previous"},
      {replaced(good, "\"seq\": 2", "\"seq\": 02"), DocumentFault::kNotJson, ""},
      {replaced(good, std::string(64, 'a'), std::string(64, 'A')), DocumentFault::kBadValue,
       "previous"},
      {replaced(good, std::string(64, 'a'), ""), DocumentFault::kBadValue, "previous"},
      {replaced(good, "T13:54", "T25:54"), DocumentFault::kBadValue, "host_time"},
      {replaced(good, "shop.example", "shop\xff"), DocumentFault::kNotJson, ""},
      {replaced(good, "shop.example", "\\u0007"), DocumentFault::kBadValue, "host_name"},
      {replaced(good, "shop.example", "\\ud800"), DocumentFault::kNotJson, ""},
      {replaced(good, "shop.example", "\\\\x41"), DocumentFault::kBadValue, "host_name"},
      {replaced(good, "shop.example", ""), DocumentFault::kBadValue, "host_name"},
      {replaced(good, "shop.example", std::string(256, 'x')), DocumentFault::kBadValue,
       "host_name"},
      {replaced(good, "SHA256:", "MD5:"), DocumentFault::kBadValue, "host"},
      {replaced(good, "0-database.zst.age", "../../etc/passwd"), DocumentFault::kBadValue, "file"},
      {replaced(good, "0-database.zst.age", "1-database.zst.age"), DocumentFault::kBadValue,
       "file"},
      {replaced(good, "0-database.zst.age", "0-data/base.zst.age"), DocumentFault::kBadValue,
       "file"},
      {replaced(good, "details.age", "2-x.zst.age"), DocumentFault::kBadValue, "file"},
      {replaced(good, "9007199254740991", "9007199254740992"), DocumentFault::kBadValue, "size"},
      {replaced(good, "9007199254740991", "18446744073709551616"), DocumentFault::kNumber, "size"},
      {replaced(good, "00ab", "0Xab"), DocumentFault::kBadValue, "sha256"},
      {depth, DocumentFault::kNotJson, ""},
      {"{\"a\":" + depth, DocumentFault::kNotJson, ""},
      {std::string(limits::kCommitSize + 1, ' '), DocumentFault::kTooLarge, ""},
  };
  for (const Case& c : cases) {
    const auto decoded = decode_commit(c.text);
    ASSERT_FALSE(decoded.has_value()) << c.text.substr(0, 2000);
    EXPECT_EQ(decoded.error().fault, c.fault) << describe(decoded.error()) << "\n"
                                              << c.text.substr(0, 2000);
    EXPECT_EQ(decoded.error().field, c.field) << c.text.substr(0, 2000);
  }
}

TEST(Commit, BoundsTheNumberOfValues) {
  std::string many = "[0";
  for (int i = 0; i < 100'000; ++i) many += ",0";
  EXPECT_EQ(decode_commit(many + "]").error().fault, DocumentFault::kNotJson);
  std::string keys = "{";
  for (int i = 0; i < 1000; ++i) keys += "\"k" + std::to_string(i) + "\":0,";
  EXPECT_EQ(decode_commit(keys + "\"z\":0}").error().fault, DocumentFault::kTooLarge);

  Commit largest = good_commit();
  largest.objects.clear();
  for (std::size_t i = 0; i < kMaxStreams; ++i) {
    largest.objects.push_back({stream_file(i, "s"), kMaxObjectSize, {}});
  }
  largest.objects.push_back({std::string(kDetailsFile), 1, {}});
  EXPECT_TRUE(check(largest).has_value()) << describe(check(largest).error());
}

TEST(Documents, AreRefusedWhenCutAnywhere) {
  const std::string commit = sign_commit(good_commit(), test_key());
  ASSERT_TRUE(open_commit(commit).has_value());
  // Without its last line feed the armour may still be read; the signed text is whole then.
  for (std::size_t size = 0; size + 1 < commit.size(); ++size) {
    EXPECT_FALSE(open_commit(std::string_view(commit).substr(0, size)).has_value()) << size;
  }
  const std::string details = encode(good_details());
  for (std::size_t size = 0; size < details.size(); ++size) {
    EXPECT_FALSE(decode_details(std::string_view(details).substr(0, size)).has_value()) << size;
  }
}

TEST(Documents, AreRefusedWhenABitOfTheSignedTextFlips) {
  const std::string commit = sign_commit(good_commit(), test_key());
  const std::size_t end = commit.find(kSignatureLine);
  for (std::size_t i = 0; i < end; ++i) {
    std::string flipped = commit;
    flipped[i] = static_cast<char>(flipped[i] ^ 1);
    EXPECT_FALSE(open_commit(flipped).has_value()) << i;
  }
}

TEST(Documents, SignaturesHoldForOnePurposeAndOneKey) {
  const std::string commit = sign_commit(good_commit(), test_key());
  const auto opened = open_commit(commit);
  ASSERT_TRUE(opened.has_value()) << describe(opened.error());
  EXPECT_EQ(opened.value().commit, good_commit());
  EXPECT_EQ(opened.value().signer, test_key().public_key());
  EXPECT_EQ(opened.value().id, text_id(encode(good_commit())));

  const std::string text = encode(good_commit());
  const auto fault = [](const std::string& document) {
    return open_commit(document).error().fault;
  };
  EXPECT_EQ(fault(text), DocumentFault::kNoSignature);
  EXPECT_EQ(fault(text + std::string(kSignatureLine) + "\n"), DocumentFault::kBadSignature);
  EXPECT_EQ(fault(append_signature(text, test_key(), kProofNamespace)),
            DocumentFault::kBadSignature)
      << "made for another purpose";
  EXPECT_EQ(fault(append_signature(text, test_key(9), kCommitNamespace)),
            DocumentFault::kWrongSigner);

  const ProofDocument proof{kRepository, good_proof()};
  EXPECT_EQ(open_proof(sign_proof(proof, test_key())).value().document, proof);
  EXPECT_EQ(open_proof(append_signature(encode(proof), test_key(9), kProofNamespace)).error().fault,
            DocumentFault::kWrongSigner);
  const std::string record = sign_forgotten(good_record(), test_key());
  EXPECT_EQ(open_forgotten(record).value().record, good_record());
  EXPECT_EQ(open_forgotten(append_signature(encode(good_record()), test_key(9), kForgetNamespace))
                .error()
                .fault,
            DocumentFault::kWrongSigner);
  EXPECT_EQ(open_forgotten(append_signature(encode(good_record()), test_key(), kProofNamespace))
                .error()
                .fault,
            DocumentFault::kBadSignature);
}

TEST(Details, KeepTheirLimits) {
  Details details = good_details();
  details.unreadable_count = 0;
  EXPECT_EQ(check(details).error(), (DocumentError{DocumentFault::kBadValue, "unreadable"}));
  details = good_details();
  details.fingerprint->items.resize(Fingerprint::kMaxItems + 1);
  EXPECT_EQ(check(details).error().fault, DocumentFault::kBadValue);
  details.fingerprint->items.resize(Fingerprint::kMaxItems);
  EXPECT_TRUE(check(details).has_value()) << describe(check(details).error());
  details.source = std::string(Details::kMaxText + 1, 'x');
  EXPECT_EQ(check(details).error(), (DocumentError{DocumentFault::kBadValue, "source"}));
  const std::string text = encode(good_details());
  EXPECT_EQ(decode_details(replaced(text, "\"content\"", "\"both\"")).error(),
            (DocumentError{DocumentFault::kBadValue, "level"}));
  EXPECT_EQ(decode_details(replaced(text, "\"server\": \"15.18\"", "\"server\": 15")).error(),
            (DocumentError{DocumentFault::kBadValue, "properties"}));
}

TEST(RepositoryDocument, TellsALaterFormatFromDamage) {
  EXPECT_EQ(decode_repository(R"({"format": 2, "shape": {"deep": [true, 1.5]}})").error().fault,
            DocumentFault::kNewerFormat);
  EXPECT_EQ(decode_repository(R"({"id": "x"})").error(),
            (DocumentError{DocumentFault::kMissingField, "format"}));
  EXPECT_EQ(decode_repository(std::string(5000, ' ')).error().fault, DocumentFault::kTooLarge);
}

TEST(Documents, EveryFaultHasASentence) {
  for (int fault = 1; fault <= static_cast<int>(DocumentFault::kWrongSigner); ++fault) {
    const std::string text = describe({static_cast<DocumentFault>(fault), "name"});
    EXPECT_GT(text.size(), 10u);
    EXPECT_NE(text, "it cannot be read");
  }
}

TEST(Names, NeitherLeaveNorHide) {
  for (const char* good : {"a", "0", "shop", "shop-db_2.old", "a.b"}) EXPECT_TRUE(valid_name(good));
  for (const char* bad : {"", ".", "..", ".a", "-a", "_a", "a..b", "a/b", "A", "a b", "ä", "a\n"}) {
    EXPECT_FALSE(valid_name(bad)) << bad;
  }
  EXPECT_TRUE(valid_name(std::string(64, 'a')));
  EXPECT_FALSE(valid_name(std::string(65, 'a')));
  for (const char* text : {"", "Shop DB", "../../etc", "ÄÖÜ", "a..b", "-x-", "...", "x."}) {
    EXPECT_TRUE(valid_name(to_name(text))) << text << " → " << to_name(text);
  }
  EXPECT_EQ(to_name("Shop DB"), "shop-db");
  EXPECT_EQ(to_name(""), "x");
  EXPECT_TRUE(valid_name(to_name(std::string(200, 'Z'))));
  EXPECT_EQ(stream_file(3, "roles"), "3-roles.zst.age");
  EXPECT_EQ(stream_name("3-roles.zst.age", 3), "roles");
  for (const char* bad : {"2-roles.zst.age", "03-roles.zst.age", "3-.zst.age", "3-roles.age",
                          "3-.zst.age", "3-a/b.zst.age", "3.zst.age"}) {
    EXPECT_FALSE(stream_name(bad, 3)) << bad;
  }
  EXPECT_EQ(seq_directory(7), "0000000007");
  EXPECT_EQ(parse_seq_directory("0000000007"), 7u);
  EXPECT_EQ(parse_seq_directory("9999999999"), kMaxSeq);
  for (const char* bad :
       {"0000000000", "7", "00000000007", "-000000007", "000000000x", " 000000007"}) {
    EXPECT_FALSE(parse_seq_directory(bad)) << bad;
  }
}

TEST(Text, EscapesAnyBytesOneWay) {
  for (int byte = 0; byte < 256; ++byte) {
    const std::string bytes = std::string("x") + static_cast<char>(byte) + "y";
    EXPECT_EQ(unescape_text(escape_text(bytes)), bytes) << byte;
  }
  EXPECT_EQ(escape_text("a\\b\xff"), "a\\\\b\\xff");
  for (const char* bad : {"\\", "\\x", "\\x4", "\\x41", "\\xFF", "\\n", "\x01", "a\\"}) {
    EXPECT_FALSE(unescape_text(bad)) << bad;
  }
}

// Who has only stock tools can check a snapshot: docs/protocol/repository.md says how.
TEST(Commit, StockSshKeygenChecksTheSignature) {
  if (std::system("command -v ssh-keygen > /dev/null") != 0) GTEST_SKIP() << "no ssh-keygen here";
  const auto folder =
      std::filesystem::temp_directory_path() / ("sealane-commit-" + std::to_string(::getpid()));
  std::filesystem::create_directory(folder);
  const auto write = [&](const char* name, std::string_view text) {
    std::ofstream(folder / name, std::ios::binary) << text;
  };
  const identity::SigningKey key = test_key();
  write("commit", sign_commit(good_commit(), key));
  write("allowed_signers",
        "shop " + identity::format_public_key_line({key.public_key(), ""}) + "\n");
  const std::string split = "cd '" + folder.string() +
                            "' && sed '/^-----BEGIN SSH SIGNATURE-----$/,$d' commit > json && "
                            "sed -n '/^-----BEGIN SSH SIGNATURE-----$/,$p' commit > sig && ";
  const std::string verify =
      "ssh-keygen -Y verify -f allowed_signers -I shop -n sealane-commit@v1 -s sig < json > log "
      "2>&1";
  EXPECT_EQ(std::system((split + verify).c_str()), 0);
  EXPECT_NE(std::system((split + "sed -i 's/\"seq\": 2/\"seq\": 3/' json && " + verify).c_str()), 0)
      << "a changed commit";
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace sealane::repo
