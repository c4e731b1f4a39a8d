#include "backup/sealed_input.h"

#include "backup/engine.h"
#include "seal/age.h"
#include "seal/chunk_stream.h"

namespace sealane::backup {
namespace {

constexpr std::string_view kAgeMagic = "age-encryption.org/";
constexpr std::size_t kDetectSize = seal::kMaxArmorBlanks + 64;  // as looks_armored() wants

bool looks_like_chunk_stream(ByteSpan start) {
  if (start.size() < 4) return false;
  std::uint32_t length = 0;
  for (const std::byte byte : start.first(4))
    length = length << 8 | std::to_integer<std::uint32_t>(byte);
  return length == 0 ||
         (length >= seal::kChunkStreamMinLength && length <= seal::kChunkStreamMaxLength);
}

}  // namespace

SealedInput::SealedInput(flow::ByteSource& source, std::string name)
    : source_(source), name_(std::move(name)) {}

Result<void, Error> SealedInput::read_up_to(std::size_t size) {
  std::size_t have = start_.size();
  if (have >= size) return success();
  start_.resize(size);
  while (have < size && !at_end_) {
    const auto got = source().read(MutableByteSpan(start_).subspan(have));
    if (!got.has_value()) return got.error();
    have += got.value();
    at_end_ = got.value() == 0;
  }
  start_.resize(have);
  return success();
}

Result<SealedFormat, Error> SealedInput::detect() {
  SEALANE_TRY(read_up_to(kDetectSize));
  if (seal::looks_armored(start_)) {
    armor_ = std::make_unique<ArmorSource>(start_, source_, name_);
    start_.clear();
    at_end_ = false;
    SEALANE_TRY(read_up_to(kAgeMagic.size()));
  }
  if (as_text(start_).starts_with(kAgeMagic)) return SealedFormat::kAge;
  if (!armored() && looks_like_chunk_stream(start_)) return SealedFormat::kChunkStream;
  return SealedFormat::kUnknown;
}

Result<ByteSpan, Error> SealedInput::age_header() {
  for (;;) {
    const auto step = seal::age_header_size(start_, at_end_);
    if (!step.has_value()) return seal_failure(step.error(), name_);
    if (const auto* size = std::get_if<std::size_t>(&step.value())) {
      header_size_ = *size;
      return ByteSpan(start_).first(header_size_);
    }
    SEALANE_TRY(read_up_to(static_cast<std::size_t>(std::get<seal::BytesNeeded>(step.value()))));
  }
}

}  // namespace sealane::backup
