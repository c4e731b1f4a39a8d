#include "warm/key_commands.h"

#include "warm/resp.h"

namespace sealane::warm {

void append_create(ByteSpan key, ByteSpan text, Bytes& out) {
  // What is the same for millions of keys is written as a whole.
  constexpr std::string_view kHead = "*4\r\n$3\r\nSET\r\n";
  constexpr std::string_view kTail = "$2\r\nNX\r\n";
  const auto put = [&out](ByteSpan part) { out.insert(out.end(), part.begin(), part.end()); };
  put(as_bytes(kHead));
  RespWriter writer(out);
  writer.word(key);
  writer.word(text);
  put(as_bytes(kTail));
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
