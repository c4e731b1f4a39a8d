#include "warm/string_dump.h"

#include "backup/rdb.h"
#include "base/byte_reader.h"
#include "base/check.h"

namespace sealane::warm {
namespace {

constexpr std::size_t kTail = 10;  // version, CRC-64
constexpr std::uint8_t kString = 0;

std::size_t length_size(std::size_t size) {
  if (size < 1U << 6) return 1;
  return size < 1U << 14 ? 2 : 5;
}

}  // namespace

std::size_t string_dump_size(std::size_t text_size) {
  return 1 + length_size(text_size) + text_size + kTail;
}

void append_string_dump(ByteSpan text, Bytes& out) {
  SEALANE_CHECK(text.size() <= 0xffff'ffffU);
  std::array<std::byte, 6> head{std::byte{kString}};
  const auto size = static_cast<std::uint32_t>(text.size());
  const std::size_t head_size = 1 + length_size(size);
  if (head_size == 2) {
    head[1] = static_cast<std::byte>(size);
  } else if (head_size == 3) {
    head[1] = static_cast<std::byte>(0x40U | size >> 8);
    head[2] = static_cast<std::byte>(size);
  } else {
    head[1] = std::byte{0x80};
    store_integer(MutableByteSpan(head).subspan(2), size);
  }
  const ByteSpan front = ByteSpan(head).first(head_size);
  std::array<std::byte, kTail> tail{};
  store_integer(tail, kStringDumpVersion, Endian::kLittle);
  const std::uint64_t crc =
      backup::crc64(backup::crc64(backup::crc64(0, front), text), ByteSpan(tail).first(2));
  store_integer(MutableByteSpan(tail).subspan(2), crc, Endian::kLittle);
  out.insert(out.end(), front.begin(), front.end());
  out.insert(out.end(), text.begin(), text.end());
  out.insert(out.end(), tail.begin(), tail.end());
}

}  // namespace sealane::warm
