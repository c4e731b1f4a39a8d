#include "warm/key_commands.h"

#include "warm/resp.h"

namespace sealane::warm {

void append_create(ByteSpan key, ByteSpan text, Bytes& out) {
  RespWriter writer(out);
  writer.begin(4);
  writer.word("SET");
  writer.word(key);
  writer.word(text);
  writer.word("NX");
}

void begin_restore(ByteSpan key, std::int64_t expires, Bytes& out) {
  RespWriter writer(out);
  writer.begin(5);
  writer.word("RESTORE");
  writer.word(key);
  writer.number(expires);
}

void append_restore(const backup::RdbKey& key, Bytes& out) {
  begin_restore(key.key, key.expires.value_or(0), out);
  RespWriter writer(out);
  writer.begin_word(dump_size(key));
  append_dump(key, out);
  writer.end_word();
  writer.word("ABSTTL");
}

}  // namespace sealane::warm
