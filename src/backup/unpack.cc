#include "backup/unpack.h"

#include <zstd_errors.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <optional>
#include <utility>
#include <vector>

#include "backup/engine.h"

namespace sealane::backup {
namespace {
constexpr int kMaxWindowLog = 27;  // as the stock tool; a frame that asks for more is refused
}  // namespace

Error too_large(const std::string& name, std::uint64_t limit) {
  return {ErrorKind::kVerificationFailed, printable(name) + " holds more than the " +
                                              std::to_string(limit) + " bytes allowed here"};
}

class Unpacker::UnpackLane final : public flow::Lane {
 public:
  explicit UnpackLane(Unpacker& owner)
      : owner_(owner),
        decompressor_(make_decompressor()),
        plain_(owner.plain_pool_.take(owner.halt_)) {}

  Result<bool, Error> take(std::uint64_t /*index*/) override {
    auto item = owner_.ring_.pop(owner_.halt_);
    if (!item) return false;
    item_ = std::move(*item);
    if (item_.kind == Item::Kind::kFailure) return std::move(item_.failure);
    return true;
  }

  Result<void, Error> work(std::uint64_t index) override {
    part_.reset();
    if (item_.kind != Item::Kind::kFrame) return success();
    const std::size_t size =
        ZSTD_decompressDCtx(decompressor_.get(), plain_.bytes().data(), plain_.bytes().size(),
                            item_.block.bytes().data(), item_.size);
    item_.block.release();
    if (ZSTD_isError(size) != 0U) return owner_.damaged(size);
    item_.size = size;
    // Right if all before it are as large, which give() can tell.
    if (owner_.options_.hash_parts && size == kBlockSize) {
      part_.emplace(index * kBlockSize, plain_.bytes().first(size));
    }
    return success();
  }

  Result<void, Error> give(std::uint64_t /*index*/) override {
    if (item_.kind == Item::Kind::kFrame) {
      const bool in_place = part_ && part_->offset() == owner_.emitted_;
      return owner_.emit(plain_.bytes().first(item_.size), in_place ? &*part_ : nullptr);
    }
    auto done = owner_.stream_piece(ByteSpan(item_.block.bytes()).first(item_.size), item_.ends,
                                    plain_.bytes());
    item_.block.release();
    return done;
  }

 private:
  Unpacker& owner_;
  Decompressor decompressor_;
  flow::BlockPool::Block plain_;
  Item item_;
  std::optional<crypto::Blake3Part> part_;
};

Unpacker::Decompressor Unpacker::make_decompressor() {
  Decompressor made(ZSTD_createDCtx());
  if (!made) throw std::bad_alloc();
  ZSTD_DCtx_setParameter(made.get(), ZSTD_d_windowLogMax, kMaxWindowLog);
  return made;
}

// One packed block is being filled, one waits in the ring, and each lane may hold one.
Unpacker::Unpacker(Options options, flow::Halt& halt, Sink sink)
    : options_(std::move(options)),
      halt_(halt),
      sink_(std::move(sink)),
      packed_pool_(ZSTD_compressBound(kBlockSize), std::max<std::size_t>(options_.lanes, 1) + 4),
      plain_pool_(kBlockSize, std::max<std::size_t>(options_.lanes, 1)),
      ring_(3),
      stream_(make_decompressor()) {}

Unpacker::~Unpacker() = default;

bool Unpacker::feed(ByteSpan packed) {
  while (!packed.empty()) {
    auto next = scanner_.next(packed);
    if (!next.has_value()) {
      const bool magic = next.error() == FrameError::kNotZstd;
      fail({ErrorKind::kVerificationFailed,
            "cannot decompress " + printable(options_.name) +
                (magic ? ": what is inside is not zstd data" : ": the zstd data is damaged")});
      return false;
    }
    const auto& piece = next.value();
    const auto part = packed.first(piece.size);
    packed = packed.subspan(piece.size);
    if (piece.kind == FrameScanner::Kind::kFrame && !append(part, piece.starts, piece.ends))
      return false;
  }
  return true;
}

bool Unpacker::append(ByteSpan part, bool starts, bool ends) {
  while (!part.empty()) {
    if (!block_) {
      block_ = packed_pool_.take(halt_);
      if (!block_) return false;
      filled_ = 0;
      block_starts_frame_ = starts;
    }
    starts = false;
    const std::size_t size = std::min(part.size(), block_.bytes().size() - filled_);
    // All of the packed stream passes here, and g++ makes a loop over bytes of std::ranges::copy.
    std::memcpy(block_.bytes().subspan(filled_).data(), part.data(), size);
    filled_ += size;
    part = part.subspan(size);
    if (!part.empty() && !push_block(Item::Kind::kPiece, false)) return false;
  }
  if (!ends) return true;
  const auto content = scanner_.content_size();
  const bool whole = block_starts_frame_ && content && *content <= kBlockSize;
  return push_block(whole ? Item::Kind::kFrame : Item::Kind::kPiece, true);
}

bool Unpacker::push_block(Item::Kind kind, bool ends) {
  return ring_.push({.kind = kind,
                     .block = std::move(block_),
                     .size = std::exchange(filled_, 0),
                     .ends = ends,
                     .failure = {}},
                    halt_);
}

void Unpacker::fail(Error error) {
  if (std::exchange(ended_, true)) return;
  if (block_ && !push_block(Item::Kind::kPiece, false)) return;
  ring_.push({.kind = Item::Kind::kFailure,
              .block = {},
              .size = 0,
              .ends = false,
              .failure = std::move(error)},
             halt_);
}

void Unpacker::end() {
  if (!scanner_.at_boundary())
    fail({ErrorKind::kVerificationFailed,
          "cannot decompress " + printable(options_.name) + ": the zstd data ends too early"});
  block_.release();
  ring_.close();
}

void Unpacker::run() {
  std::vector<std::unique_ptr<flow::Lane>> lanes;
  for (std::size_t i = 0; i < std::max<std::size_t>(options_.lanes, 1); ++i)
    lanes.push_back(std::make_unique<UnpackLane>(*this));
  flow::run_ordered(lanes, flow::GiveOrder::kOrdered, halt_);
}

Result<void, Error> Unpacker::emit(ByteSpan data, const crypto::Blake3Part* part) {
  if (data.empty()) return success();
  if (options_.max_size - emitted_ < data.size())
    return too_large(options_.name, options_.max_size);
  emitted_ += data.size();
  return sink_(data, part);
}

Result<void, Error> Unpacker::stream_piece(ByteSpan packed, bool ends, MutableByteSpan buffer) {
  ZSTD_inBuffer in{packed.data(), packed.size(), 0};
  for (;;) {
    ZSTD_outBuffer out{buffer.data(), buffer.size(), 0};
    const std::size_t left = ZSTD_decompressStream(stream_.get(), &out, &in);
    SEALANE_TRY(emit(ByteSpan(buffer).first(out.pos)));
    if (ZSTD_isError(left) != 0U) return damaged(left);
    if (in.pos < in.size) {
      if (left != 0) continue;
      return damaged(0);  // the frame ended before its framing says
    }
    if (left == 0) return success();
    if (out.pos == out.size) continue;  // there may be more where this came from
    return ends ? Result<void, Error>(damaged(0)) : success();
  }
}

Error Unpacker::damaged(std::size_t zstd_code) const {
  std::string message = "cannot decompress " + printable(options_.name) + ": ";
  switch (ZSTD_getErrorCode(zstd_code)) {
    case ZSTD_error_frameParameter_windowTooLarge:
      message += "the zstd data needs a window above 128 MiB";
      break;
    case ZSTD_error_dictionary_wrong:
      message += "the zstd data needs a dictionary";
      break;
    case ZSTD_error_memory_allocation:
      return {ErrorKind::kFailed, message + "the machine has no memory left"};
    default:
      message += "the zstd data is damaged";
  }
  return {ErrorKind::kVerificationFailed, std::move(message)};
}

}  // namespace sealane::backup
