#include "warm/key_store.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <set>

#include "base/byte_reader.h"
#include "warm/string_dump.h"

namespace sealane::warm {
namespace {

constexpr std::size_t kDumpTail = 10;  // version, CRC-64
constexpr std::string_view kNamesPage = "5000";

Error failed(std::string message) { return {ErrorKind::kFailed, std::move(message)}; }

class OneKey final : public backup::RdbHandler {
 public:
  bool on_key(const backup::RdbKey& key) override {
    digest = key.digest;
    return true;
  }
  bool on_function(ByteSpan) override { return false; }
  std::optional<backup::RdbDigest> digest;
};

// The keys of one part, each with its digest where asked for.
Result<void, Error> walk_part(
    const Part& part, const std::string& where,
    const std::function<Result<void, Error>(ByteSpan key, std::int64_t expires, ByteSpan dump)>&
        visit) {
  RespSplitter splitter;
  splitter.feed(part.commands);
  Bytes made;
  for (;;) {
    const auto command = splitter.next();
    if (!command.has_value()) {
      return failed(where + " is unusable: " + std::string(describe(command.error())));
    }
    if (!command.value()) return success();
    const auto& words = command.value()->words;
    if (words.size() == 4 && as_text(words[0]) == "SET" && as_text(words[3]) == "NX") {
      made.clear();
      append_string_dump(words[2], made);
      SEALANE_TRY(visit(words[1], 0, made));
      continue;
    }
    if (words.size() < 5 || as_text(words[0]) != "RESTORE") {
      return failed(where + " has a " + printable(as_text(words[0]), 30) +
                    "; only keys that were written whole, as RESTORE or SET NX, can be compared");
    }
    std::int64_t expires = 0;
    const std::string_view text = as_text(words[2]);
    if (std::from_chars(text.data(), text.data() + text.size(), expires).ec != std::errc{}) {
      return failed(where + " has a RESTORE without a time");
    }
    SEALANE_TRY(visit(words[1], expires, words[3]));
  }
}

Result<void, Error> visit_digest(const std::string& where, const KeyStore::Visit& visit,
                                 ByteSpan key, std::int64_t expires, ByteSpan dump) {
  const auto digest = digest_of_dump(key, dump);
  if (!digest) {
    return failed("the value of " + printable(as_text(key), 60) + " in " + where +
                  " cannot be read; it is damaged, or of a newer Redis than this program knows");
  }
  return visit({to_bytes(key), *digest, expires});
}

}  // namespace

std::optional<backup::RdbDigest> digest_of_dump(ByteSpan key, ByteSpan dump) {
  if (dump.size() < 1 + kDumpTail || key.size() > 0xffff'ffffU) return std::nullopt;
  const ByteSpan body = dump.first(dump.size() - kDumpTail);
  const auto version = load<std::uint16_t>(dump.last(kDumpTail), Endian::kLittle);
  const auto checksum = load<std::uint64_t>(dump.last(8), Endian::kLittle);
  if (version == 0 || version > backup::RdbReader::kNewestVersion) return std::nullopt;
  if (backup::crc64(0, dump.first(dump.size() - 8)) != checksum) return std::nullopt;
  // An RDB file of this one key, without checksum.
  std::array<char, 10> magic{'R', 'E', 'D', 'I', 'S', '0', '0', '0', '0'};
  magic[7] = static_cast<char>('0' + version / 10);
  magic[8] = static_cast<char>('0' + version % 10);
  ByteWriter head;
  head.text({magic.data(), 9}).bytes(body.first(1)).u8(0x80);
  head.u32(static_cast<std::uint32_t>(key.size())).bytes(key);
  OneKey found;
  backup::RdbReader reader(found);
  ByteArray<9> end{std::byte{0xff}};
  if (!reader.feed(head.view()).has_value() || !reader.feed(body.subspan(1)).has_value() ||
      !reader.feed(end).has_value() || !reader.finish().has_value()) {
    return std::nullopt;
  }
  return found.digest;
}

// ---- Redis ----

RedisSourceOptions RedisKeyStore::options(TokenRange range) const {
  RedisSourceOptions options;
  options.part_size = 4 * 1024 * 1024;
  options.big_key_size = backup::RdbReader::kMaxValueSize;  // compared whole, like all others
  options.range = range;
  options.bytes_per_second = rate_;
  options.on_loading = on_loading_;
  return options;
}

Result<std::unique_ptr<RedisLink>, Error> RedisKeyStore::open() const {
  if (!on_loading_) return RedisLink::open(address_, cancel_);
  return RedisLink::open_loaded(address_, cancel_, on_loading_);
}

Result<std::uint64_t, Error> RedisKeyStore::key_count() {
  SEALANE_TRY(const auto link, open());
  SEALANE_TRY(const RedisReply size, link->demand({"DBSIZE"}));
  return static_cast<std::uint64_t>(std::max<std::int64_t>(size.integer, 0));
}

Result<void, Error> RedisKeyStore::walk(RedisSource& source, const Visit& visit) const {
  for (;;) {
    SEALANE_TRY(const auto part, source.next());
    if (!part) return success();
    SEALANE_TRY(
        walk_part(*part, description(), [&](ByteSpan key, std::int64_t expires, ByteSpan dump) {
          return visit_digest(description(), visit, key, expires, dump);
        }));
  }
}

Result<void, Error> RedisKeyStore::each(TokenRange range, const Visit& visit) {
  SEALANE_TRY(const auto source, RedisSource::open(address_, options(range), clock_, cancel_));
  auto walked = walk(*source, visit);
  bytes_ += source->progress().bytes;
  return walked;
}

Result<void, Error> RedisKeyStore::look_up(std::vector<Bytes> keys, const Visit& visit) {
  SEALANE_TRY(const auto source, RedisSource::open(address_, options({}), clock_, cancel_));
  source->read_only(std::move(keys));
  return walk(*source, visit);
}

Result<void, Error> RedisKeyStore::each_name(TokenRange range, const VisitName& visit) {
  SEALANE_TRY(const auto link, open());
  std::string cursor = "0";
  do {
    SEALANE_TRY(const RedisReply reply, link->demand({"SCAN", cursor, "COUNT", kNamesPage}));
    if (reply.items.size() != 2)
      return failed(description() + " does not answer SCAN as Redis does");
    cursor = reply.items[0].text;
    for (const RedisReply& name : reply.items[1].items) {
      if (name.text.starts_with(kTemporaryPrefix)) continue;
      if (range.contains(token_of(as_bytes(name.text)))) {
        SEALANE_TRY(visit(as_bytes(name.text)));
      }
    }
  } while (cursor != "0");
  return success();
}

// ---- Anything that yields RESTORE commands ----

Result<std::uint64_t, Error> SourceKeyStore::key_count() {
  std::uint64_t count = 0;
  SEALANE_TRY(each_name({}, [&](ByteSpan) -> Result<void, Error> {
    ++count;
    return success();
  }));
  return count;
}

Result<void, Error> SourceKeyStore::each(TokenRange range, const Visit& visit) {
  SEALANE_TRY(const auto source, open_());
  for (;;) {
    SEALANE_TRY(const auto part, source->next());
    if (!part) return success();
    SEALANE_TRY(
        walk_part(*part, description_,
                  [&](ByteSpan key, std::int64_t expires, ByteSpan dump) -> Result<void, Error> {
                    if (!range.contains(token_of(key))) return success();
                    bytes_ += key.size() + dump.size();
                    return visit_digest(description_, visit, key, expires, dump);
                  }));
  }
}

Result<void, Error> SourceKeyStore::each_name(TokenRange range, const VisitName& visit) {
  SEALANE_TRY(const auto source, open_());
  for (;;) {
    SEALANE_TRY(const auto part, source->next());
    if (!part) return success();
    SEALANE_TRY(walk_part(*part, description_,
                          [&](ByteSpan key, std::int64_t, ByteSpan) -> Result<void, Error> {
                            return range.contains(token_of(key)) ? visit(key) : success();
                          }));
  }
}

Result<void, Error> SourceKeyStore::look_up(std::vector<Bytes> keys, const Visit& visit) {
  const std::set<Bytes> wanted(std::make_move_iterator(keys.begin()),
                               std::make_move_iterator(keys.end()));
  SEALANE_TRY(const auto source, open_());
  for (;;) {
    SEALANE_TRY(const auto part, source->next());
    if (!part) return success();
    SEALANE_TRY(
        walk_part(*part, description_,
                  [&](ByteSpan key, std::int64_t expires, ByteSpan dump) -> Result<void, Error> {
                    if (!wanted.contains(to_bytes(key))) return success();
                    return visit_digest(description_, visit, key, expires, dump);
                  }));
  }
}

}  // namespace sealane::warm
