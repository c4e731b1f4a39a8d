#pragma once
// RowEncoder: rows of typed values as bytes; docs/protocol/fingerprint.md, section 3, has the
// table.
#include <sqlite3.h>

#include <bit>
#include <cstdint>

#include "base/byte_reader.h"
#include "sealane/base/bytes.h"

namespace sealane::backup {

// To `out`, by its write(ByteSpan), in small pieces.
template <typename Out>
class RowEncoder {
 public:
  // `utf8`: text is stored so; others are converted. `out` must outlive this.
  RowEncoder(Out& out, bool utf8) : out_(&out), utf8_(utf8) {}
  // `value` is good until the statement moves on.
  void add(sqlite3_value* value) {
    switch (sqlite3_value_type(value)) {
      case SQLITE_NULL:
        return put(Tag::kNull);
      case SQLITE_INTEGER:
        return put(Tag::kInteger, static_cast<std::uint64_t>(sqlite3_value_int64(value)));
      case SQLITE_FLOAT:
        return put(Tag::kReal, std::bit_cast<std::uint64_t>(sqlite3_value_double(value)));
      case SQLITE_TEXT: {
        // Its bytes as they lie there, where nothing is to be converted.
        const void* text = utf8_ ? sqlite3_value_blob(value) : sqlite3_value_text(value);
        return put(Tag::kText, text, sqlite3_value_bytes(value));
      }
      default: {
        const void* blob = sqlite3_value_blob(value);
        return put(Tag::kBlob, blob, sqlite3_value_bytes(value));
      }
    }
  }

 private:
  enum class Tag : std::uint8_t { kNull, kInteger, kReal, kText, kBlob };

  void put(Tag tag) {
    const auto byte = static_cast<std::byte>(tag);
    out_->write(ByteSpan(&byte, 1));
  }
  void put(Tag tag, std::uint64_t number) {
    ByteArray<9> encoded;
    encoded[0] = static_cast<std::byte>(tag);
    store_integer(MutableByteSpan(encoded).subspan(1), number);
    out_->write(encoded);
  }
  void put(Tag tag, const void* data, int size) {
    const auto count = data == nullptr ? 0 : static_cast<std::size_t>(size);
    put(tag, count);
    out_->write({static_cast<const std::byte*>(data), count});
  }

  Out* out_;
  bool utf8_;
};

}  // namespace sealane::backup
