// BLAKE3 as in the paper of 2020-01-09. Chunks of 1024 bytes are the leaves of a binary tree; whole
// subtrees are hashed side by side where the CPU can (blake3_lanes.cc).
#include <bit>
#include <optional>

#include "base/byte_reader.h"
#include "base/check.h"
#include "base/copy_bytes.h"
#include "crypto/blake3_core.h"
#include "crypto/hash.h"
#include "sealane/base/secret.h"

namespace sealane::crypto {
namespace blake3_core {
namespace {

// Chunks that are hashed together: enough for the parents above them to fill the lanes too.
constexpr std::size_t kMaxSubtreeChunks = 128;
// A tree of 2^64 bytes has chunks 54 levels deep; one more waits unmerged.
constexpr std::size_t kMaxStack = 55;

// Inlined by force: g++ 12 calls it, with the state in memory, and that takes twice as long.
[[gnu::always_inline]] inline void mix(BlockWords& v, std::size_t a, std::size_t b, std::size_t c,
                                       std::size_t d, std::uint32_t x, std::uint32_t y) {
  v[a] += v[b] + x;
  v[d] = std::rotr(v[d] ^ v[a], 16);
  v[c] += v[d];
  v[b] = std::rotr(v[b] ^ v[c], 12);
  v[a] += v[b] + y;
  v[d] = std::rotr(v[d] ^ v[a], 8);
  v[c] += v[d];
  v[b] = std::rotr(v[b] ^ v[c], 7);
}

// Everything that goes into one compression. The root's is kept, since its output has any length.
struct Node {
  ChainingValue input;
  BlockWords block;
  std::uint64_t counter;
  std::uint32_t size;
  std::uint32_t flags;

  BlockWords compress() const {
    BlockWords v = {input[0],
                    input[1],
                    input[2],
                    input[3],
                    input[4],
                    input[5],
                    input[6],
                    input[7],
                    kIv[0],
                    kIv[1],
                    kIv[2],
                    kIv[3],
                    static_cast<std::uint32_t>(counter),
                    static_cast<std::uint32_t>(counter >> 32),
                    size,
                    flags};
#pragma GCC unroll 7
    for (const auto& s : kSchedule.word) {
      mix(v, 0, 4, 8, 12, block[s[0]], block[s[1]]);
      mix(v, 1, 5, 9, 13, block[s[2]], block[s[3]]);
      mix(v, 2, 6, 10, 14, block[s[4]], block[s[5]]);
      mix(v, 3, 7, 11, 15, block[s[6]], block[s[7]]);
      mix(v, 0, 5, 10, 15, block[s[8]], block[s[9]]);
      mix(v, 1, 6, 11, 12, block[s[10]], block[s[11]]);
      mix(v, 2, 7, 8, 13, block[s[12]], block[s[13]]);
      mix(v, 3, 4, 9, 14, block[s[14]], block[s[15]]);
    }
    for (std::size_t i = 0; i < 8; ++i) {
      v[i] ^= v[i + 8];
      v[i + 8] ^= input[i];
    }
    return v;
  }
  ChainingValue chaining_value() const {
    const BlockWords words = compress();
    ChainingValue out;
    std::copy_n(words.begin(), out.size(), out.begin());
    return out;
  }
};

BlockWords load_block(const std::byte* bytes) {
  BlockWords words;
  for (std::size_t i = 0; i < words.size(); ++i) {
    words[i] = load<std::uint32_t>(ByteSpan(bytes + 4 * i, 4), Endian::kLittle);
  }
  return words;
}
template <std::size_t N>
std::array<std::uint32_t, N> load_words(std::span<const std::byte, 4 * N> bytes) {
  std::array<std::uint32_t, N> words;
  for (std::size_t i = 0; i < N; ++i) {
    words[i] = load<std::uint32_t>(bytes.subspan(4 * i, 4), Endian::kLittle);
  }
  return words;
}

Node parent(const ChainingValue& left, const ChainingValue& right, const ChainingValue& key,
            std::uint32_t flags) {
  Node node{key, {}, 0, kBlockSize, flags | kParent};
  std::ranges::copy(left, node.block.begin());
  std::ranges::copy(right, node.block.begin() + 8);
  return node;
}

// The lanes' code over any number of messages that lie one after the other.
void run_all(LaneInput input, const std::byte* messages, std::size_t count,
             std::span<const LaneCode> code, std::byte* out) {
  const std::size_t message_size = input.block_count * kBlockSize;
  std::array<const std::byte*, 16> pointers;
  input.messages = pointers.data();
  while (count > 0) {
    while (!code.empty() && code.front().lanes > count) code = code.subspan(1);
    const std::size_t lanes = code.empty() ? 1 : code.front().lanes;
    for (std::size_t i = 0; i < lanes; ++i) pointers[i] = messages + i * message_size;
    if (code.empty()) {
      run_one_lane(input, out);
    } else {
      code.front().run(input, out);
    }
    if (input.counting) input.counter += lanes;
    messages += lanes * message_size;
    out += lanes * 32;
    count -= lanes;
  }
}

}  // namespace

void run_one_lane(const LaneInput& input, std::byte* out) {
  Node node{{}, {}, input.counter, kBlockSize, 0};
  std::copy_n(input.key, 8, node.input.begin());
  for (std::size_t block = 0; block < input.block_count; ++block) {
    node.block = load_block(input.messages[0] + block * kBlockSize);
    node.flags = input.flags;
    if (block == 0) node.flags |= input.first_flags;
    if (block + 1 == input.block_count) node.flags |= input.last_flags;
    node.input = node.chaining_value();
  }
  for (std::size_t i = 0; i < 8; ++i) {
    store_integer(MutableByteSpan(out + 4 * i, 4), node.input[i], Endian::kLittle);
  }
}

namespace {

constexpr ChainingValue kHashKey = {kIv[0], kIv[1], kIv[2], kIv[3], kIv[4], kIv[5], kIv[6], kIv[7]};

using Pair = std::array<ChainingValue, 2>;

// The values of both halves of a whole tree of 2, 4, … or kMaxSubtreeChunks chunks.
Pair small_subtree(const std::byte* chunks, std::size_t count, std::uint64_t first_chunk,
                   const ChainingValue& key, std::uint32_t flags) {
  const std::span<const LaneCode> code = available_lane_code();
  std::array<ByteArray<kMaxSubtreeChunks * 32>, 2> values;
  LaneInput input{nullptr, kBlocksPerChunk, key.data(),  first_chunk,
                  true,    flags,           kChunkStart, kChunkEnd};
  run_all(input, chunks, count, code, values[0].data());
  std::size_t from = 0;
  input = {nullptr, 1, key.data(), 0, false, flags | kParent, 0, 0};
  for (std::size_t left = count; left > 2; left /= 2) {
    run_all(input, values[from].data(), left / 2, code, values[1 - from].data());
    from = 1 - from;
  }
  const std::span<const std::byte, 64> top = std::span(values[from]).first<64>();
  const Pair pair = {load_words<8>(top.first<32>()), load_words<8>(top.last<32>())};
  for (auto& bytes : values) cleanse(MutableByteSpan(bytes).first(32 * count));
  return pair;
}

// The same of any power of two from 2 on.
Pair subtree(const std::byte* chunks, std::size_t count, std::uint64_t first_chunk,
             const ChainingValue& key, std::uint32_t flags) {
  if (count <= kMaxSubtreeChunks) return small_subtree(chunks, count, first_chunk, key, flags);
  const std::size_t half = count / 2;
  const auto value = [&](std::size_t skip) {
    const Pair pair = subtree(chunks + skip * kChunkSize, half, first_chunk + skip, key, flags);
    return parent(pair[0], pair[1], key, flags).chaining_value();
  };
  return {value(0), value(half)};
}

class Hasher {
 public:
  Hasher(const ChainingValue& key, std::uint32_t flags) : key_(key), flags_(flags), chain_(key) {}
  Hasher(const Hasher&) = delete;
  Hasher& operator=(const Hasher&) = delete;
  ~Hasher() { cleanse(std::as_writable_bytes(std::span(this, 1))); }

  void update(ByteSpan input) {
    if (chunk_size() > 0) {
      fill_chunk(input);
      if (input.empty()) return;
      finish_chunk();
    }
    while (input.size() > kChunkSize) {
      const std::size_t chunk_count = next_subtree(input.size());
      if (chunk_count == 1) {
        // Not the last: more input follows, so this is no root.
        fill_chunk(input);
        finish_chunk();
      } else {
        add_subtree(input.data(), chunk_count);
        input = input.subspan(chunk_count * kChunkSize);
      }
    }
    if (input.empty()) return;
    merge_before(chunk_number_);
    fill_chunk(input);
  }

  // A part of `chunk_count` chunks that was hashed elsewhere, from chunk `first` on.
  void update(const Pair& values, std::uint64_t first, std::uint64_t chunk_count) {
    SEALANE_CHECK(flags_ == 0 && key_ == kHashKey);  // parts are of the plain hash
    if (chunk_size() == kChunkSize) finish_chunk();
    SEALANE_CHECK(chunk_size() == 0 && chunk_number_ == first);
    push_pair(values, chunk_count);
  }

  void finish(MutableByteSpan out, std::uint64_t offset) const {
    Node root = root_node();
    root.flags |= kRoot;
    root.counter = offset / kBlockSize;
    std::size_t skip = offset % kBlockSize;
    ByteArray<kBlockSize> bytes;
    while (!out.empty()) {
      const BlockWords words = root.compress();
      for (std::size_t i = 0; i < words.size(); ++i) {
        store_integer(MutableByteSpan(bytes).subspan(4 * i, 4), words[i], Endian::kLittle);
      }
      const std::size_t taken = std::min(out.size(), kBlockSize - skip);
      copy_bytes(ByteSpan(bytes).subspan(skip, taken), out.begin());
      out = out.subspan(taken);
      skip = 0;
      ++root.counter;
    }
    cleanse(bytes);
    cleanse(std::as_writable_bytes(std::span(&root, 1)));
  }

 private:
  std::size_t chunk_size() const { return blocks_done_ * kBlockSize + buffer_size_; }

  // The largest whole subtree that may begin at the present chunk: a power of two that divides the
  // chunk's number, within the input.
  std::size_t next_subtree(std::size_t input_size) const {
    std::size_t count = std::bit_floor(std::min(input_size / kChunkSize, kMaxSubtreeChunks));
    while ((chunk_number_ & (count - 1)) != 0) count /= 2;
    return count;
  }

  // Takes what fits in the chunk. Its last block stays in the buffer, since only the end of input
  // tells whether it is the root's.
  void fill_chunk(ByteSpan& input) {
    ByteSpan part = input.first(std::min(input.size(), kChunkSize - chunk_size()));
    input = input.subspan(part.size());
    while (!part.empty()) {
      if (buffer_size_ == kBlockSize) {
        Node node = chunk_node();
        chain_ = node.chaining_value();
        ++blocks_done_;
        buffer_size_ = 0;
        buffer_.fill(std::byte{0});
      }
      const std::size_t taken = std::min(part.size(), kBlockSize - buffer_size_);
      copy_bytes(part.first(taken), buffer_.begin() + static_cast<std::ptrdiff_t>(buffer_size_));
      buffer_size_ += taken;
      part = part.subspan(taken);
    }
  }

  Node chunk_node() const {
    std::uint32_t flags = flags_ | (blocks_done_ == 0 ? kChunkStart : 0u);
    return {chain_, load_block(buffer_.data()), chunk_number_,
            static_cast<std::uint32_t>(buffer_size_), flags};
  }

  void finish_chunk() {
    SEALANE_CHECK(chunk_size() == kChunkSize);
    Node node = chunk_node();
    node.flags |= kChunkEnd;
    push(node.chaining_value(), chunk_number_);
    ++chunk_number_;
    chain_ = key_;
    blocks_done_ = 0;
    buffer_size_ = 0;
    buffer_.fill(std::byte{0});
  }

  // Only the two topmost values are pushed: when nothing follows, their parent is the root or on
  // the way to it.
  void add_subtree(const std::byte* chunks, std::size_t count) {
    push_pair(subtree(chunks, count, chunk_number_, key_, flags_), count);
  }
  void push_pair(const Pair& values, std::uint64_t chunk_count) {
    push(values[0], chunk_number_);
    push(values[1], chunk_number_ + chunk_count / 2);
    chunk_number_ += chunk_count;
  }

  // Once it is known that `chunk` exists, the whole trees before it are merged: one is left for
  // each bit of its number. Not earlier, since the last parent might be the root.
  void merge_before(std::uint64_t chunk) {
    while (stack_size_ > static_cast<std::size_t>(std::popcount(chunk))) {
      const ChainingValue merged =
          parent(stack_[stack_size_ - 2], stack_[stack_size_ - 1], key_, flags_).chaining_value();
      --stack_size_;
      stack_[stack_size_ - 1] = merged;
    }
  }

  void push(const ChainingValue& value, std::uint64_t first_chunk) {
    merge_before(first_chunk);
    SEALANE_CHECK(stack_size_ < kMaxStack);
    stack_[stack_size_++] = value;
  }

  Node root_node() const {
    std::size_t left = stack_size_;
    std::optional<Node> node;
    if (chunk_size() > 0 || left == 0) {
      node = chunk_node();
      node->flags |= kChunkEnd;
    } else {
      node = parent(stack_[left - 2], stack_[left - 1], key_, flags_);
      left -= 2;
    }
    while (left > 0) {
      --left;
      node = parent(stack_[left], node->chaining_value(), key_, flags_);
    }
    return *node;
  }

  ChainingValue key_;
  std::uint32_t flags_;
  // The chunk under way.
  ChainingValue chain_;
  std::uint64_t chunk_number_ = 0;
  std::size_t blocks_done_ = 0;
  std::size_t buffer_size_ = 0;
  ByteArray<kBlockSize> buffer_{};
  // Values of finished subtrees, left to right.
  std::size_t stack_size_ = 0;
  std::array<ChainingValue, kMaxStack> stack_;
};

}  // namespace
}  // namespace blake3_core

using blake3_core::Hasher;

struct Blake3::State {
  State(const blake3_core::ChainingValue& key, std::uint32_t flags) : hasher(key, flags) {}
  Hasher hasher;
};

Blake3::Blake3() : state_(std::make_unique<State>(blake3_core::kHashKey, 0)) {}
Blake3::Blake3(std::span<const std::byte, 32> key)
    : state_(std::make_unique<State>(blake3_core::load_words<8>(key), blake3_core::kKeyedHash)) {}
Blake3::Blake3(std::unique_ptr<State> state) : state_(std::move(state)) {}
Blake3::~Blake3() = default;
Blake3::Blake3(Blake3&&) noexcept = default;
Blake3& Blake3::operator=(Blake3&&) noexcept = default;

Blake3 Blake3::derive_key(std::string_view context) {
  Hasher hasher(blake3_core::kHashKey, blake3_core::kDeriveKeyContext);
  hasher.update(as_bytes(context));
  Blake3Digest key;
  hasher.finish(key, 0);
  return Blake3(
      std::make_unique<State>(blake3_core::load_words<8>(key), blake3_core::kDeriveKeyMaterial));
}

void Blake3::update(ByteSpan data) { state_->hasher.update(data); }
void Blake3::update(const Blake3Part& part) {
  state_->hasher.update(part.halves_, part.offset_ / blake3_core::kChunkSize,
                        part.size_ / blake3_core::kChunkSize);
}
void Blake3::finish(MutableByteSpan out, std::uint64_t offset) const {
  state_->hasher.finish(out, offset);
}

Blake3Part::Blake3Part(std::uint64_t offset, ByteSpan data) : offset_(offset), size_(data.size()) {
  SEALANE_CHECK(data.size() >= kMinSize && std::has_single_bit(data.size()) &&
                offset % data.size() == 0);
  halves_ = blake3_core::subtree(data.data(), data.size() / blake3_core::kChunkSize,
                                 offset / blake3_core::kChunkSize, blake3_core::kHashKey, 0);
}

Blake3Digest blake3(ByteSpan data) {
  if (data.size() <= blake3_core::kBlockSize) {  // one compression; many keys are made this way
    ByteArray<blake3_core::kBlockSize> block{};
    copy_bytes(data, block.begin());
    blake3_core::Node node{blake3_core::kHashKey, blake3_core::load_block(block.data()), 0,
                           static_cast<std::uint32_t>(data.size()),
                           blake3_core::kChunkStart | blake3_core::kChunkEnd | blake3_core::kRoot};
    blake3_core::ChainingValue words = node.chaining_value();
    Blake3Digest digest;
    for (std::size_t i = 0; i < words.size(); ++i) {
      store_integer(MutableByteSpan(digest).subspan(4 * i, 4), words[i], Endian::kLittle);
    }
    cleanse(block);
    cleanse(std::as_writable_bytes(std::span(&node, 1)));
    cleanse(std::as_writable_bytes(std::span(words)));
    return digest;
  }
  Hasher hasher(blake3_core::kHashKey, 0);
  hasher.update(data);
  Blake3Digest digest;
  hasher.finish(digest, 0);
  return digest;
}

}  // namespace sealane::crypto
