#include "repo/commit.h"

#include "base/check.h"
#include "base/limits.h"
#include "repo/json.h"
#include "repo/names.h"

namespace sealane::repo {
namespace {

// A stream takes one object and three values.
constexpr JsonLimits kLimits{.size = limits::kCommitSize, .values = 4 * (kMaxStreams + 1) + 64};

Result<ObjectRecord, DocumentError> read_object(const JsonValue& value, std::size_t index,
                                                bool last) {
  SEALANE_TRY(FieldReader reader, FieldReader::open(value, {"file", "size", "sha256"}));
  ObjectRecord object;
  SEALANE_TRY(object.file, reader.text(2 * kMaxName));
  // The streams are numbered in order and the details come last: so no name comes twice.
  if (last ? object.file != kDetailsFile : !stream_name(object.file, index)) {
    return reader.bad_value();
  }
  SEALANE_TRY(object.size, reader.number(0, kMaxObjectSize));
  SEALANE_TRY(object.sha256, reader.digest());
  return object;
}

Result<Commit, DocumentError> read_commit(FieldReader& reader) {
  Commit commit;
  SEALANE_TRY(commit.repository, reader.matching(is_repository_id));
  SEALANE_TRY(commit.host, reader.matching(is_fingerprint));
  SEALANE_TRY(commit.host_name, reader.text(Commit::kMaxHostName));
  if (commit.host_name.empty()) return reader.bad_value();
  SEALANE_TRY(commit.plan, reader.matching(valid_name));
  SEALANE_TRY(commit.seq, reader.number(1, kMaxSeq));
  SEALANE_TRY(commit.previous, reader.matching([](std::string_view text) {
    return text.empty() || is_hex_digest(text);
  }));
  if (commit.previous.empty() != (commit.seq == 1)) return reader.bad_value();
  SEALANE_TRY(commit.host_time, reader.time());
  SEALANE_TRY(const auto* objects, reader.array(kMaxStreams + 1));
  if (objects->empty()) return reader.bad_value();
  commit.objects.reserve(objects->size());
  for (std::size_t i = 0; i < objects->size(); ++i) {
    SEALANE_TRY(auto object, read_object((*objects)[i], i, i + 1 == objects->size()));
    commit.objects.push_back(std::move(object));
  }
  return commit;
}

}  // namespace

std::string encode(const Commit& commit) {
  JsonWriter writer;
  writer.key("format").number(kFormat);
  writer.key("repository").plain(commit.repository);
  writer.key("host").plain(commit.host);
  writer.key("host_name").text(commit.host_name);
  writer.key("plan").plain(commit.plan);
  writer.key("seq").number(commit.seq);
  writer.key("previous").plain(commit.previous);
  writer.key("host_time").time(commit.host_time);
  writer.key("objects").begin_array();
  for (const ObjectRecord& object : commit.objects) {
    writer.begin_object(JsonWriter::Layout::kInline);
    writer.key("file").plain(object.file);
    writer.key("size").number(object.size);
    writer.key("sha256").digest(object.sha256);
    writer.end();
  }
  writer.end();
  return writer.finish();
}

Result<Commit, DocumentError> decode_commit(std::string_view text) {
  return decode_document<Commit>(text, kLimits,
                                 {"format", "repository", "host", "host_name", "plan", "seq",
                                  "previous", "host_time", "objects"},
                                 read_commit, encode);
}

Result<void, DocumentError> check(const Commit& commit) {
  SEALANE_TRY(decode_commit(encode(commit)));
  return success();
}

std::string sign_commit(const Commit& commit, const identity::SigningKey& key) {
  SEALANE_CHECK(check(commit).has_value());
  SEALANE_CHECK(commit.host == identity::fingerprint(key.public_key()));
  return append_signature(encode(commit), key, kCommitNamespace);
}

Result<SignedCommit, DocumentError> open_commit(std::string_view document) {
  if (document.size() > limits::kCommitSize) return DocumentError{DocumentFault::kTooLarge, {}};
  SEALANE_TRY(const SignedText parts, split_signed(document));
  SEALANE_TRY(auto commit, decode_commit(parts.text));
  SEALANE_TRY(const auto signer, check_signature(parts, kCommitNamespace));
  if (identity::fingerprint(signer) != commit.host) {
    return DocumentError{DocumentFault::kWrongSigner, {}};
  }
  return SignedCommit{.commit = std::move(commit), .id = text_id(parts.text), .signer = signer};
}

}  // namespace sealane::repo
