#include "repo/details.h"

#include "base/limits.h"
#include "repo/json.h"
#include "repo/names.h"

namespace sealane::repo {
namespace {

constexpr JsonLimits kLimits{
    .size = limits::kDetailsSize,
    .values = 4 * Fingerprint::kMaxItems + 3 * Details::kMaxUnreadable + 6 * kMaxStreams + 1024};
constexpr std::uint64_t kMaxNumber = (1ull << 53) - 1;  // exact in every JSON reader

bool is_digest_or_empty(std::string_view text) { return text.empty() || is_hex_digest(text); }

Result<StreamDetails, DocumentError> read_stream(const JsonValue& value) {
  SEALANE_TRY(FieldReader reader,
              FieldReader::open(value, {"name", "format", "hint", "plain_size", "plain_blake3"}));
  StreamDetails stream;
  SEALANE_TRY(stream.name, reader.matching(valid_name));
  SEALANE_TRY(stream.format, reader.matching(valid_name));
  SEALANE_TRY(stream.hint, reader.text(Details::kMaxText));
  SEALANE_TRY(stream.plain_size, reader.number(0, kMaxNumber));
  SEALANE_TRY(stream.plain_blake3, reader.digest());
  return stream;
}

Result<Fingerprint, DocumentError> read_fingerprint(const JsonValue& value) {
  SEALANE_TRY(FieldReader reader, FieldReader::open(value, {"kind", "level", "digest", "items"}));
  Fingerprint fingerprint;
  SEALANE_TRY(fingerprint.kind, reader.matching(valid_name));
  SEALANE_TRY(const std::string level, reader.text(16));
  if (level == name_of(FingerprintLevel::kStructure)) {
    fingerprint.level = FingerprintLevel::kStructure;
  } else if (level == name_of(FingerprintLevel::kContent)) {
    fingerprint.level = FingerprintLevel::kContent;
  } else {
    return reader.bad_value();
  }
  SEALANE_TRY(fingerprint.digest, reader.matching(is_hex_digest));
  SEALANE_TRY(const auto* items, reader.array(Fingerprint::kMaxItems));
  fingerprint.items.reserve(items->size());
  for (const JsonValue& item : *items) {
    SEALANE_TRY(FieldReader fields, FieldReader::open(item, {"name", "count", "digest"}));
    Fingerprint::Item read;
    SEALANE_TRY(read.name, fields.text(Details::kMaxText));
    SEALANE_TRY(read.count, fields.number(0, kMaxNumber));
    SEALANE_TRY(read.digest, fields.matching(is_digest_or_empty));
    fingerprint.items.push_back(std::move(read));
  }
  return fingerprint;
}

Result<Details, DocumentError> read_details(FieldReader& reader) {
  Details details;
  SEALANE_TRY(details.source, reader.text(Details::kMaxText));
  SEALANE_TRY(details.kind, reader.matching(valid_name));
  SEALANE_TRY(details.tool, reader.text(Details::kMaxText));
  SEALANE_TRY(details.sealane, reader.text(Details::kMaxText));
  SEALANE_TRY(details.started, reader.time());
  SEALANE_TRY(details.finished, reader.time());
  SEALANE_TRY(details.exit_status, reader.number(0, 255));
  SEALANE_TRY(const auto* streams, reader.array(kMaxStreams));
  for (const JsonValue& stream : *streams) {
    SEALANE_TRY(auto read, read_stream(stream));
    details.streams.push_back(std::move(read));
  }
  if (reader.is_null()) {
    reader.any();
  } else {
    SEALANE_TRY(details.fingerprint, read_fingerprint(reader.any()));
  }
  SEALANE_TRY(details.unreadable_count, reader.number(0, kMaxNumber));
  SEALANE_TRY(const auto* unreadable, reader.array(Details::kMaxUnreadable));
  if (unreadable->size() > details.unreadable_count) return reader.bad_value();
  for (const JsonValue& value : *unreadable) {
    SEALANE_TRY(FieldReader fields, FieldReader::open(value, {"path", "reason"}));
    UnreadableDetails read;
    SEALANE_TRY(read.path, fields.text(Details::kMaxText));
    SEALANE_TRY(read.reason, fields.text(Details::kMaxText));
    details.unreadable.push_back(std::move(read));
  }
  SEALANE_TRY(const auto* properties, reader.object(Details::kMaxProperties));
  for (const JsonMember& member : *properties) {
    const auto key = unescape_text(member.key);
    const auto* text = std::get_if<std::string>(&member.value.value);
    const auto value = text == nullptr ? std::nullopt : unescape_text(*text);
    if (!key || !value || key->size() > kMaxName || value->size() > Details::kMaxText) {
      return reader.bad_value();
    }
    details.properties[*key] = *value;
  }
  return details;
}

}  // namespace

std::string encode(const Details& details) {
  JsonWriter writer;
  writer.key("format").number(kFormat);
  writer.key("source").text(details.source);
  writer.key("kind").plain(details.kind);
  writer.key("tool").text(details.tool);
  writer.key("sealane").text(details.sealane);
  writer.key("started").time(details.started);
  writer.key("finished").time(details.finished);
  writer.key("exit_status").number(details.exit_status);
  writer.key("streams").begin_array();
  for (const StreamDetails& stream : details.streams) {
    writer.begin_object(JsonWriter::Layout::kInline);
    writer.key("name").plain(stream.name);
    writer.key("format").plain(stream.format);
    writer.key("hint").text(stream.hint);
    writer.key("plain_size").number(stream.plain_size);
    writer.key("plain_blake3").digest(stream.plain_blake3);
    writer.end();
  }
  writer.end();
  writer.key("fingerprint");
  if (details.fingerprint) {
    const Fingerprint& fingerprint = *details.fingerprint;
    writer.begin_object();
    writer.key("kind").plain(fingerprint.kind);
    writer.key("level").plain(name_of(fingerprint.level));
    writer.key("digest").plain(fingerprint.digest);
    writer.key("items").begin_array();
    for (const Fingerprint::Item& item : fingerprint.items) {
      writer.begin_object(JsonWriter::Layout::kInline);
      writer.key("name").text(item.name);
      writer.key("count").number(item.count);
      writer.key("digest").plain(item.digest);
      writer.end();
    }
    writer.end();
    writer.end();
  } else {
    writer.null();
  }
  writer.key("unreadable_count").number(details.unreadable_count);
  writer.key("unreadable").begin_array();
  for (const UnreadableDetails& unreadable : details.unreadable) {
    writer.begin_object(JsonWriter::Layout::kInline);
    writer.key("path").text(unreadable.path);
    writer.key("reason").text(unreadable.reason);
    writer.end();
  }
  writer.end();
  writer.key("properties").begin_object();
  for (const auto& [key, value] : details.properties) writer.key(escape_text(key)).text(value);
  writer.end();
  return writer.finish();
}

Result<Details, DocumentError> decode_details(std::string_view text) {
  return decode_document<Details>(
      text, kLimits,
      {"format", "source", "kind", "tool", "sealane", "started", "finished", "exit_status",
       "streams", "fingerprint", "unreadable_count", "unreadable", "properties"},
      read_details, encode);
}

Result<void, DocumentError> check(const Details& details) {
  SEALANE_TRY(decode_details(encode(details)));
  return success();
}

}  // namespace sealane::repo
