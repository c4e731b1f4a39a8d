// Goal: the receiver gives every recorded stream the verdict of the real engine where a peer is
// pinned as that, and our own verdict elsewhere; the sender writes what the engine writes; key
// files mean what they mean there. Method: the vectors of tests/data/entropy, made by an
// independent script and checked against the real receiver; each whole, byte by byte, in sevens and
// in random pieces.
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "tests/entropy/support.h"
#include "tests/support/data_path.h"

namespace sealane::entropy {
namespace {

using nlohmann::json;

const std::string kFolder = sealane::testing::data_path("entropy/");

const json& manifest() {
  static const json content = json::parse(std::ifstream(kFolder + "manifest.json"));
  return content;
}
Bytes read_capture(const json& entry) {
  std::ifstream file(kFolder + entry.at("file").get<std::string>(), std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  EXPECT_EQ(text.size(), entry.at("bytes").get<std::size_t>());
  EXPECT_EQ(to_hex(crypto::sha256(as_bytes(text))), entry.at("sha256").get<std::string>());
  return to_bytes(text);
}
ChunkKeys keys_of(const json& entry) {
  const Bytes key = *from_hex(entry.at("receiver_key_hex").get<std::string>());
  const Bytes iv = *from_hex(entry.at("receiver_iv_hex").get<std::string>());
  return testing::keys_of(as_text(key), as_text(iv));
}

std::vector<std::pair<std::string, testing::Cutter>> cuts(std::size_t size) {
  return {{"whole", testing::in_pieces(size + 1)},
          {"by 1", testing::in_pieces(1)},
          {"by 7", testing::in_pieces(7)},
          {"random 1", testing::at_random(1)},
          {"random 2", testing::at_random(2)}};
}

testing::Received receive(const json& entry, ByteSpan stream, const ReceiverPolicy& policy,
                          const testing::Cutter& cut) {
  const ChunkKeys keys = keys_of(entry);
  Receiver receiver({.policy = policy, .keys = &keys, .secrets = {}, .memory = nullptr, .wall = {}},
                    {});
  return testing::run(receiver, stream, cut);
}

void expect_verdict(const testing::Received& got, const json& verdict) {
  if (verdict.at("outcome") == "accept") {
    ASSERT_TRUE(got.complete);
    EXPECT_EQ(got.plaintext.size(), verdict.at("sink_len").get<std::size_t>());
    EXPECT_EQ(to_hex(crypto::sha256(got.plaintext)), verdict.at("sink_sha256").get<std::string>());
    return;
  }
  ASSERT_FALSE(got.complete);
  ASSERT_TRUE(got.refused);
  EXPECT_EQ(reason_name(*got.refused), verdict.at("reason").get<std::string>());
  EXPECT_EQ(class_name(reason_class(*got.refused)), verdict.at("class").get<std::string>());
}

TEST(Captures, EachGetsItsVerdictInEveryCut) {
  int baseline = 0;
  int strict = 0;
  for (const json& entry : manifest().at("vectors")) {
    if (entry.at("dialect") != "unified") continue;
    const Bytes stream = read_capture(entry);
    ReceiverPolicy ours;
    ours.require_authenticated = false;
    ours.allow_plaintext = entry.at("receiver_allow_plaintext").get<bool>();
    for (const auto& [name, cut] : cuts(stream.size())) {
      SCOPED_TRACE(entry.at("name").get<std::string>() + ", " + name);
      expect_verdict(receive(entry, stream, ReceiverPolicy::dynomite(), cut), entry.at("baseline"));
      expect_verdict(receive(entry, stream, ours, cut), entry.at("strict"));
    }
    ++baseline;
    ++strict;
  }
  EXPECT_EQ(baseline, 94);
  EXPECT_EQ(strict, 94);
}

TEST(Captures, NoneIsAcceptedWhereSignaturesAreAskedFor) {
  int unauthenticated = 0;
  for (const json& entry : manifest().at("vectors")) {
    if (entry.at("dialect") != "unified") continue;
    SCOPED_TRACE(entry.at("name").get<std::string>());
    const auto got = receive(entry, read_capture(entry), {}, testing::in_pieces(1000));
    EXPECT_FALSE(got.complete);
    EXPECT_TRUE(got.plaintext.empty());
    ASSERT_TRUE(got.refused);
    const bool is = *got.refused == Reason::kUnauthenticated;
    if (entry.at("group") == "weakness" || entry.at("strict").at("outcome") == "accept") {
      EXPECT_TRUE(is) << reason_name(*got.refused);
    }
    unauthenticated += is ? 1 : 0;
  }
  EXPECT_GT(unauthenticated, 50);
}

TEST(Captures, TheOriginalDialectIsRefusedByItsName) {
  int count = 0;
  for (const json& entry : manifest().at("vectors")) {
    if (entry.at("dialect") == "unified") continue;
    const Bytes stream = read_capture(entry);
    for (const auto& [name, cut] : cuts(stream.size())) {
      SCOPED_TRACE(entry.at("name").get<std::string>() + ", " + name);
      const auto got = receive(entry, stream, ReceiverPolicy::dynomite(), cut);
      EXPECT_FALSE(got.complete);
      ASSERT_TRUE(got.refused);
      // One that is shorter than 20 bytes ends before it can be told.
      EXPECT_EQ(*got.refused, stream.size() < 20 ? Reason::kEofInNegotiation : Reason::kBadMagic);
      if (stream.size() >= 20) {
        EXPECT_NE(got.why.find("original C dialect"), got.why.npos);
      }
    }
    ++count;
  }
  EXPECT_EQ(count, 25);
}

// Regular ones only: those with irregular chunks or strange sizes are nobody's sender's.
TEST(Captures, TheSenderWritesTheSameBytes) {
  const std::vector<std::string> regular = {"aes_small_readable", "plain_small_readable",
                                            "aes_buf256_hdr64",   "plain_buf32_hdr64",
                                            "header_size_8",      "aes_sample_key"};
  int count = 0;
  for (const json& entry : manifest().at("vectors")) {
    if (entry.at("group") != "valid" &&
        std::ranges::count(regular, entry.at("name").get<std::string>()) == 0) {
      continue;
    }
    SCOPED_TRACE(entry.at("name").get<std::string>());
    const Bytes stream = read_capture(entry);
    const auto head = decode_negotiation(ByteSpan(stream).first<kNegotiationSize>());
    ASSERT_TRUE(head.has_value());
    SenderSetup setup;
    setup.header_size = head.value().header_size;
    setup.buffer_size = head.value().buffer_size;
    setup.encrypted = stream[27] == std::byte{1};
    const Bytes plaintext =
        testing::rule_plaintext(entry.at("baseline").at("sink_len").get<std::size_t>());
    EXPECT_EQ(to_hex(crypto::sha256(plaintext)),
              entry.at("baseline").at("sink_sha256").get<std::string>());
    EXPECT_EQ(testing::encode_stream(setup, plaintext, keys_of(entry)), stream);
    ++count;
  }
  EXPECT_EQ(count, 22);
}

TEST(KeyFiles, MeanWhatTheyMeanToTheForeignEngine) {
  int count = 0;
  for (const json& entry : manifest().at("keyfiles")) {
    SCOPED_TRACE(entry.at("name").get<std::string>());
    const Bytes content = *from_hex(entry.at("content_hex").get<std::string>());
    const auto parsed = parse_key_file(content, true);
    const json& expected = entry.at("expect");
    if (expected.at("outcome") == "accept") {
      ASSERT_TRUE(parsed.has_value());
      EXPECT_EQ(to_hex(parsed.value().bytes.expose()), expected.at("bytes_hex").get<std::string>());
    } else {
      ASSERT_FALSE(parsed.has_value());
      EXPECT_EQ(parsed.error() == KeyFileError::kNotText, expected.at("class") == "io");
    }
    ++count;
  }
  EXPECT_EQ(count, 22);
}

}  // namespace
}  // namespace sealane::entropy
