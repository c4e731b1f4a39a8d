// Goal: chunk stream v1, byte for byte. Method: the independent vectors of tests/data/chunkstream
// in both reader modes and at several read sizes; the writer replays their nonces.
#include "seal/chunk_stream.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "crypto/hash.h"
#include "tests/seal/driver.h"
#include "tests/support/data_path.h"

namespace sealane::seal {
namespace {

using nlohmann::json;
using testing::open_all;
using testing::pattern;
using testing::ScriptedRandom;
using testing::seal_all;

const std::string kVectors = testing::data_path("chunkstream/");

Bytes read_all(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file.is_open()) << path;
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  return to_bytes(text);
}

DataKey key_from(const json& vector) {
  const Bytes bytes = from_hex(vector["key_hex"].get<std::string>()).value();
  return DataKey(std::span(bytes).first<32>());
}

std::string class_of(const std::optional<SealError>& error, bool trailing, bool strict) {
  if (!error) return trailing && strict ? "trailing_data" : "ok";
  switch (*error) {
    case SealError::kTruncated:
      return "truncated";
    case SealError::kNotAuthentic:
      return "auth_failed";
    case SealError::kFrameTooSmall:
      return "frame_too_small";
    case SealError::kFrameTooLarge:
      return "frame_too_large";
    case SealError::kNoncanonical:
      return "noncanonical";
    default:
      return std::string(describe(*error));
  }
}

TEST(ChunkStream, OpensOrRefusesEveryVectorAsTheManifestSays) {
  const Bytes manifest_text = read_all(kVectors + "manifest.json");
  const json manifest = json::parse(as_text(manifest_text));
  std::size_t count = 0;
  for (const json& vector : manifest["vectors"]) {
    SCOPED_TRACE(vector["name"].get<std::string>());
    const Bytes sealed = read_all(kVectors + vector["file"].get<std::string>());
    ASSERT_EQ(sealed.size(), vector["bytes"].get<std::size_t>());
    const DataKey key = key_from(vector);
    for (const std::size_t read_size : {std::size_t{1}, std::size_t{4096}, std::size_t{1} << 30}) {
      if (read_size == 1 && sealed.size() > 100000) continue;
      auto opener = make_chunk_stream_opener(key, ChunkStreamMode::kCompatible);
      const auto opened = open_all(*opener, sealed, read_size);
      EXPECT_EQ(class_of(opened.error, opened.consumed < sealed.size(), false),
                vector["expect"].get<std::string>());
      EXPECT_EQ(opened.plaintext.size(), vector["plaintext"]["length"].get<std::size_t>());
      EXPECT_EQ(to_hex(crypto::sha256(opened.plaintext)),
                vector["plaintext"]["sha256"].get<std::string>());
      if (!opened.error) {
        EXPECT_EQ(opened.consumed, vector["ciphertext"]["consumed_bytes"].get<std::size_t>());
        EXPECT_EQ(to_hex(crypto::sha256(ByteSpan(sealed).first(opened.consumed))),
                  vector["ciphertext"]["sha256_of_consumed"].get<std::string>());
      }
      auto strict_opener = make_chunk_stream_opener(key, ChunkStreamMode::kStrict);
      const auto strict = open_all(*strict_opener, sealed, read_size);
      EXPECT_EQ(class_of(strict.error, strict.consumed < sealed.size(), true),
                vector["expect_strict"].get<std::string>());
    }
    ++count;
  }
  EXPECT_EQ(count, 41u);
}

TEST(ChunkStream, WritesTheCanonicalVectorsByteForByte) {
  const Bytes manifest_text = read_all(kVectors + "manifest.json");
  const json manifest = json::parse(as_text(manifest_text));
  std::size_t count = 0;
  for (const json& vector : manifest["vectors"]) {
    if (!vector["canonical"].get<bool>()) continue;
    SCOPED_TRACE(vector["name"].get<std::string>());
    const Bytes expected = read_all(kVectors + vector["file"].get<std::string>());
    const DataKey key = key_from(vector);
    auto opener = make_chunk_stream_opener(key, ChunkStreamMode::kStrict);
    const auto opened = open_all(*opener, expected, expected.size());
    ASSERT_FALSE(opened.error);
    Bytes nonces;
    for (const json& frame : vector["frames"]) {
      const Bytes nonce = from_hex(frame["nonce_hex"].get<std::string>()).value();
      nonces.insert(nonces.end(), nonce.begin(), nonce.end());
    }
    ScriptedRandom random(nonces);
    const auto sealer = make_chunk_stream_sealer(key, random);
    EXPECT_EQ(seal_all(*sealer, opened.plaintext), expected);
    ++count;
  }
  EXPECT_EQ(count, 12u);
}

TEST(ChunkStream, SizeFormulaHoldsAndStrictReaderAcceptsWhatWeWrite) {
  ScriptedRandom random;
  const ByteArray<32> raw{};
  const DataKey key(raw);
  const std::size_t frame = kChunkStreamFrameSize;
  for (const std::size_t size :
       {std::size_t{0}, std::size_t{1}, frame - 1, frame, frame + 1, 2 * frame, 2 * frame + 1234}) {
    const Bytes plaintext = pattern(3, size);
    const auto sealer = make_chunk_stream_sealer(key, random);
    const Bytes sealed = seal_all(*sealer, plaintext);
    EXPECT_EQ(sealed.size(), size + 32 * ((size + frame - 1) / frame) + 4);
    auto opener = make_chunk_stream_opener(key, ChunkStreamMode::kStrict);
    const auto opened = open_all(*opener, sealed, 65536);
    EXPECT_FALSE(opened.error);
    EXPECT_EQ(opened.consumed, sealed.size());
    EXPECT_EQ(opened.plaintext, plaintext);
  }
}

TEST(ChunkStream, EveryCutAndEveryFlippedBitOfASmallStreamIsRefused) {
  ScriptedRandom random;
  const ByteArray<32> raw{};
  const DataKey key(raw);
  const auto sealer = make_chunk_stream_sealer(key, random);
  const Bytes sealed = seal_all(*sealer, pattern(0, 20));
  for (std::size_t size = 0; size < sealed.size(); ++size) {
    auto opener = make_chunk_stream_opener(key, ChunkStreamMode::kCompatible);
    EXPECT_EQ(open_all(*opener, ByteSpan(sealed).first(size), 7).error, SealError::kTruncated);
  }
  // The end marker is not authenticated: flips there are found because no frame follows.
  for (std::size_t bit = 0; bit < sealed.size() * 8; ++bit) {
    Bytes damaged = sealed;
    damaged[bit / 8] ^= static_cast<std::byte>(1u << (bit % 8));
    auto opener = make_chunk_stream_opener(key, ChunkStreamMode::kCompatible);
    EXPECT_TRUE(open_all(*opener, damaged, 64).error) << bit;
  }
}

}  // namespace
}  // namespace sealane::seal
