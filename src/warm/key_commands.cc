#include "warm/key_commands.h"

#include "base/check.h"
#include "base/copy_bytes.h"
#include "warm/resp.h"

namespace sealane::warm {

namespace {

// What is the same for millions of keys is written as a whole.
constexpr std::string_view kCreateHead = "*4\r\n$3\r\nSET\r\n";
constexpr std::string_view kCreateTail = "$2\r\nNX\r\n";

}  // namespace

std::size_t create_size(ByteSpan key, ByteSpan text) {
  return kCreateHead.size() + word_size(key.size()) + word_size(text.size()) + kCreateTail.size();
}

void write_create(ByteSpan key, ByteSpan text, MutableByteSpan out) {
  auto to = copy_bytes(as_bytes(kCreateHead), out.begin());
  to = write_word(text, write_word(key, to));
  to = copy_bytes(as_bytes(kCreateTail), to);
  SEALANE_CHECK(to == out.end());
}

void append_create(ByteSpan key, ByteSpan text, Bytes& out) {
  const std::size_t size = create_size(key, text);
  out.resize(out.size() + size);
  write_create(key, text, MutableByteSpan(out).last(size));
}

void begin_restore(ByteSpan key, std::int64_t expires, Bytes& out) {
  RespWriter writer(out);
  writer.begin(5);
  writer.word("RESTORE");
  writer.word(key);
  writer.number(expires);
}

void append_restore(const backup::RdbKey& key, Bytes& out) {
  constexpr std::size_t kAround = 128;  // more than what stands around key and dump
  out.reserve(out.size() + key.key.size() + dump_size(key) + kAround);
  begin_restore(key.key, key.expires.value_or(0), out);
  RespWriter writer(out);
  writer.begin_word(dump_size(key));
  append_dump(key, out);
  writer.end_word();
  writer.word("ABSTTL");
}

}  // namespace sealane::warm
