#include "backup/engine.h"

#include <zstd.h>

#include <algorithm>
#include <atomic>
#include <optional>
#include <utility>
#include <vector>

#include "backup/unpack.h"
#include "base/check.h"
#include "base/copy_bytes.h"
#include "crypto/hash.h"
#include "flow/block_pool.h"
#include "flow/ordered_stage.h"
#include "flow/thread.h"

namespace sealane::backup {
namespace {

using flow::BlockPool;
using flow::GiveOrder;
using flow::Halt;
using flow::Lane;
using seal::SealError;

// Without compression a block and its sealed form should stay in one core's cache from read to
// write.
constexpr std::size_t kPlainBlockSize = 256 * 1024;
// Read beyond a block to learn whether it is the last; a cache line, so that what follows stays
// aligned.
constexpr std::size_t kLookahead = 64;
// Chunks of one block when frames are tiny; the rest waits for the next block.
constexpr std::size_t kMaxCuts = 4096;
constexpr std::uint64_t kNoIndex = UINT64_MAX;

std::size_t core_count(const EngineOptions& options) {
  return options.threads != 0 ? options.threads : flow::core_count();
}

// A thread that waits for a pipe or a tool leaves its core to one more. Where blocks come from a
// file none waits long, and one too many costs a third of the speed in changes of threads.
std::size_t thread_count(const EngineOptions& options, bool from_file) {
  const std::size_t cores = core_count(options);
  return from_file && cores > 1 ? cores : cores + 1;
}

// Where only the order of writing makes a thread wait, a second lane for each keeps it busy.
std::size_t lane_count(std::size_t threads, bool from_file, bool to_file) {
  return from_file && !to_file ? 2 * threads : threads;
}

void count(flow::FlowCounters* counters, std::atomic<std::uint64_t> flow::FlowCounters::*counter,
           std::uint64_t bytes) {
  if (counters != nullptr) (counters->*counter).fetch_add(bytes, std::memory_order_relaxed);
}

// Size always, the hash if asked.
template <class Hash>
class Digest {
 public:
  explicit Digest(bool hash) {
    if (hash) hash_.emplace();
  }
  void update(ByteSpan data) {
    size_ += data.size();
    if (hash_) hash_->update(data);
  }
  void update(const crypto::Blake3Part& part) {
    size_ += part.size();
    if (hash_) hash_->update(part);
  }
  bool hashes() const { return hash_.has_value(); }
  std::uint64_t size() const { return size_; }
  StreamDigest finish() {
    StreamDigest digest{.size = size_, .hash = {}};
    if constexpr (std::is_same_v<Hash, crypto::Blake3>) {
      if (hash_) hash_->finish(digest.hash);
    } else {
      if (hash_) digest.hash = hash_->finish();
    }
    return digest;
  }

 private:
  std::uint64_t size_ = 0;
  std::optional<Hash> hash_;
};
using PlainDigest = Digest<crypto::Blake3>;
using SealedDigest = Digest<crypto::Sha256>;

Error changed_while_read() {
  return {ErrorKind::kFailed,
          "the input changed while it was read; seal a copy, or read it through a pipe"};
}

// What the lanes of one seal_stream share. Members are touched in the order of take, of give or of
// a turnstile between them, unless they are atomic.
struct SealFlow {
  SealFlow(const seal::StreamSealer& s, flow::ByteSource& i, flow::ByteSink& o, const SealJob& j,
           const EngineOptions& options)
      : sealer(s),
        in(i),
        out(o),
        job(j),
        counters(options.counters),
        plain(j.hash_plain),
        sealed(j.hash_sealed) {}

  // Fills `buffer` unless the source ends, beginning with what was read ahead, and keeps what is
  // beyond `block` for the next. The size of this block; `last` if nothing follows.
  Result<std::size_t, Error> fill(MutableByteSpan buffer, std::size_t block, bool& last) {
    copy_bytes(ByteSpan(ahead).first(ahead_size), buffer.begin());
    std::size_t have = std::exchange(ahead_size, 0);
    while (have < buffer.size()) {
      SEALANE_TRY(const std::size_t got, in.read(buffer.subspan(have)));
      if (got == 0) break;
      have += got;
    }
    last = have <= block;
    ended = last;
    if (last) return have;
    ahead_size = have - block;
    copy_bytes(buffer.subspan(block, ahead_size), ahead.begin());
    return block;
  }

  Result<void, Error> write(ByteSpan data) {
    sealed.update(data);
    SEALANE_TRY(out.write(data));
    count(counters, &flow::FlowCounters::sealed_bytes, data.size());
    return success();
  }

  const seal::StreamSealer& sealer;
  flow::ByteSource& in;
  flow::ByteSink& out;
  const SealJob& job;
  flow::FlowCounters* counters;
  ByteArray<kLookahead> ahead{};
  std::size_t ahead_size = 0;
  bool ended = false;
  PlainDigest plain;
  SealedDigest sealed;
  std::uint64_t packed_size = 0;

  // Positional ends only.
  flow::PositionalSource* read_from = nullptr;
  flow::PositionalSink* write_to = nullptr;
  std::atomic<std::uint64_t> last_index{kNoIndex};  // of the block that met the end
  std::atomic<std::uint64_t> data_index{0};         // the highest that found data
  std::atomic<std::uint64_t> plain_total{0};
};

// Seals `plaintext` chunk by chunk to the front of `out`; the size written. Every chunk but one
// that is `last` is full.
std::size_t seal_chunks(const seal::StreamSealer& sealer, seal::StreamSealer::Worker& worker,
                        std::uint64_t first_index, bool last, ByteSpan plaintext,
                        MutableByteSpan out) {
  const std::size_t chunk_size = sealer.chunk_size();
  std::size_t done = 0;
  std::size_t at = 0;
  for (std::uint64_t index = first_index; at < plaintext.size() || index == first_index; ++index) {
    const auto chunk = plaintext.subspan(at, std::min(chunk_size, plaintext.size() - at));
    const std::size_t sealed = chunk.size() + sealer.chunk_overhead();
    at += chunk.size();
    worker.seal(index, last && at == plaintext.size(), chunk, out.subspan(done, sealed));
    done += sealed;
  }
  return done;
}

std::size_t sealed_size(const seal::StreamSealer& sealer, std::size_t plain) {
  const std::size_t chunks = (plain + sealer.chunk_size() - 1) / sealer.chunk_size();
  return plain + std::max<std::size_t>(chunks, 1) * sealer.chunk_overhead();
}

// read → seal → write; a block is a whole number of chunks.
class SealLane final : public Lane {
 public:
  SealLane(SealFlow& shared, const Halt& halt, BlockPool& plain_pool, BlockPool& sealed_pool,
           std::size_t block)
      : flow_(shared),
        worker_(shared.sealer.make_worker()),
        plain_(plain_pool.take(halt)),
        sealed_(sealed_pool.take(halt)),
        block_(block) {}

  Result<bool, Error> take(std::uint64_t /*index*/) override {
    if (flow_.read_from != nullptr) return flow_.last_index.load() == kNoIndex;
    if (flow_.ended) return false;
    SEALANE_TRY(size_, flow_.fill(plain_.bytes().first(block_ + kLookahead), block_, last_));
    flow_.plain.update(plain_.bytes().first(size_));
    count(flow_.counters, &flow::FlowCounters::plain_bytes, size_);
    return true;
  }

  Result<void, Error> work(std::uint64_t index) override {
    sealed_size_ = 0;
    failure_.reset();
    if (flow_.read_from != nullptr) {
      auto read = read_at(index);
      if (!read.has_value()) {
        if (flow_.write_to != nullptr) return read;
        failure_ = std::move(read).error();
        return success();
      }
    }
    const bool nothing = size_ == 0 && (index > 0 || !flow_.sealer.seals_empty());
    if (nothing) return success();
    const std::uint64_t chunks = block_ / flow_.sealer.chunk_size();
    sealed_size_ = seal_chunks(flow_.sealer, *worker_, index * chunks, last_,
                               plain_.bytes().first(size_), sealed_.bytes());
    if (flow_.write_to == nullptr) return success();
    const std::uint64_t offset =
        flow_.sealer.header().size() + index * (block_ + chunks * flow_.sealer.chunk_overhead());
    SEALANE_TRY(flow_.write_to->write_at(offset, sealed_.bytes().first(sealed_size_)));
    count(flow_.counters, &flow::FlowCounters::sealed_bytes, sealed_size_);
    return success();
  }

  // All before this one was read by now: a read that failed behind the end means nothing, and were
  // it reported, the sink would have had a whole stream and an error.
  Result<void, Error> give(std::uint64_t index) override {
    if (failure_ && flow_.last_index.load() >= index) return *failure_;
    return sealed_size_ == 0 ? success() : flow_.write(sealed_.bytes().first(sealed_size_));
  }

 private:
  // Every block below the last is full and every one above is empty, or the file changed meanwhile.
  Result<void, Error> read_at(std::uint64_t index) {
    SEALANE_TRY(
        const std::size_t got,
        flow_.read_from->read_at(index * block_, plain_.bytes().first(block_ + kLookahead)));
    last_ = got <= block_;
    size_ = std::min(got, block_);
    if (size_ > 0) {
      std::uint64_t seen = flow_.data_index.load();
      while (seen < index && !flow_.data_index.compare_exchange_weak(seen, index)) {
      }
      flow_.plain_total.fetch_add(size_);
      count(flow_.counters, &flow::FlowCounters::plain_bytes, size_);
    }
    if (last_) {
      std::uint64_t known = flow_.last_index.load();
      while (known > index && !flow_.last_index.compare_exchange_weak(known, index)) {
      }
    }
    return success();
  }

  SealFlow& flow_;
  std::unique_ptr<seal::StreamSealer::Worker> worker_;
  BlockPool::Block plain_;
  BlockPool::Block sealed_;
  const std::size_t block_;
  std::size_t size_ = 0;
  std::size_t sealed_size_ = 0;
  bool last_ = false;
  std::optional<Error> failure_;  // of a read, until it is known whether it matters
};

struct FreeCompressor {
  void operator()(ZSTD_CCtx* context) const { ZSTD_freeCCtx(context); }
};

// Between compression and sealing the packed stream is cut into chunks anew: a lane gets what the
// one before could not fill a chunk with, and leaves its own remainder.
struct Repack {
  explicit Repack(std::size_t lanes, std::size_t chunk_size) : turn(lanes), remainder(chunk_size) {}
  flow::Turnstile turn;
  Bytes remainder;
  std::size_t remainder_size = 0;
  std::uint64_t next_chunk = 0;
};

// read → zstd → seal → write
class PackingLane final : public Lane {
 public:
  PackingLane(SealFlow& shared, Repack& repack, const Halt& halt, BlockPool& pool)
      : flow_(shared),
        repack_(repack),
        halt_(halt),
        worker_(shared.sealer.make_worker()),
        plain_(pool.take(halt)),
        packed_(pool.take(halt)),
        compressor_(ZSTD_createCCtx()) {
    if (!compressor_) throw std::bad_alloc();
    const int level = std::clamp(shared.job.compression_level, ZSTD_minCLevel(), ZSTD_maxCLevel());
    ZSTD_CCtx_setParameter(compressor_.get(), ZSTD_c_compressionLevel, level);
    ZSTD_CCtx_setParameter(compressor_.get(), ZSTD_c_checksumFlag, 1);
  }
  // Room in each of its blocks: a remainder and a block that did not shrink, and that sealed.
  static std::size_t buffer_size(const seal::StreamSealer& sealer) {
    return sealed_size(sealer, sealer.chunk_size() + ZSTD_compressBound(kBlockSize));
  }

  Result<bool, Error> take(std::uint64_t /*index*/) override {
    if (flow_.ended) return false;
    SEALANE_TRY(size_,
                flow_.fill(plain_.bytes().first(kBlockSize + kLookahead), kBlockSize, last_));
    count(flow_.counters, &flow::FlowCounters::plain_bytes, size_);
    return true;
  }

  Result<void, Error> work(std::uint64_t index) override {
    std::optional<crypto::Blake3Part> part;
    if (flow_.plain.hashes() && size_ == kBlockSize) {
      part.emplace(index * kBlockSize, plain_.bytes().first(size_));
    }
    // The remainder of the block before goes in front.
    const std::size_t chunk_size = flow_.sealer.chunk_size();
    const auto room = packed_.bytes().subspan(chunk_size);
    const std::size_t packed =
        ZSTD_compress2(compressor_.get(), room.data(), room.size(), plain_.bytes().data(), size_);
    if (ZSTD_isError(packed) != 0U)
      return Error{ErrorKind::kFailed,
                   std::string("zstd cannot compress: ") + ZSTD_getErrorName(packed)};

    if (!repack_.turn.enter(index, halt_)) return success();  // give() will not be called either
    if (part) {
      flow_.plain.update(*part);
    } else {
      flow_.plain.update(plain_.bytes().first(size_));
    }
    flow_.packed_size += packed;
    const std::size_t before = repack_.remainder_size;
    copy_bytes(ByteSpan(repack_.remainder).first(before),
               packed_.bytes().subspan(chunk_size - before).begin());
    auto stream = ByteSpan(packed_.bytes()).subspan(chunk_size - before, before + packed);
    if (!last_) {
      repack_.remainder_size = stream.size() % chunk_size;
      copy_bytes(stream.last(repack_.remainder_size), repack_.remainder.begin());
      stream = stream.first(stream.size() - repack_.remainder_size);
    }
    const std::uint64_t first_chunk = repack_.next_chunk;
    repack_.next_chunk += (stream.size() + chunk_size - 1) / chunk_size;
    repack_.turn.leave();
    count(flow_.counters, &flow::FlowCounters::packed_bytes, packed);

    // A frame is never empty, so the last block always has bytes for the last chunk.
    sealed_size_ = stream.empty() ? 0
                                  : seal_chunks(flow_.sealer, *worker_, first_chunk, last_, stream,
                                                plain_.bytes());
    return success();
  }

  Result<void, Error> give(std::uint64_t /*index*/) override {
    return sealed_size_ == 0 ? success() : flow_.write(plain_.bytes().first(sealed_size_));
  }

 private:
  SealFlow& flow_;
  Repack& repack_;
  const Halt& halt_;
  std::unique_ptr<seal::StreamSealer::Worker> worker_;
  BlockPool::Block plain_;  // then its sealed form
  BlockPool::Block packed_;
  std::unique_ptr<ZSTD_CCtx, FreeCompressor> compressor_;
  std::size_t size_ = 0;
  std::size_t sealed_size_ = 0;
  bool last_ = false;
};

// What the lanes of one open_stream share. Members are touched in the order of cutting, or of give,
// unless they are atomic.
struct OpenFlow {
  OpenFlow(seal::StreamOpener& o, ByteSpan f, flow::ByteSource& i, flow::ByteSink& s,
           const OpenJob& j, flow::FlowCounters* c, std::size_t block, std::size_t lanes)
      : opener(o),
        first(f),
        in(i),
        out(s),
        job(j),
        counters(c),
        capacity(block + kLookahead),
        cut_turn(lanes),
        carry(capacity),
        sealed(j.hash_sealed),
        plain(j.hash_plain) {
    sealed.update(j.header);
  }

  Error failure(SealError error) const { return seal_failure(error, job.name); }

  // In order: more bytes; 0 at the end.
  Result<std::size_t, Error> read(MutableByteSpan buffer) {
    if (first.empty()) return in.read(buffer);
    const std::size_t size = std::min(first.size(), buffer.size());
    copy_bytes(first.first(size), buffer.begin());
    first = first.subspan(size);
    return size;
  }
  // At any place of the stream behind the header.
  Result<std::size_t, Error> read_at(std::uint64_t offset, MutableByteSpan buffer) const {
    std::size_t have = 0;
    if (offset < first.size()) {
      have = std::min(first.size() - static_cast<std::size_t>(offset), buffer.size());
      copy_bytes(first.subspan(static_cast<std::size_t>(offset), have), buffer.begin());
    }
    if (have == buffer.size()) return have;
    SEALANE_TRY(const std::size_t got,
                read_from->read_at(offset + have - first.size(), buffer.subspan(have)));
    return have + got;
  }

  seal::StreamOpener& opener;
  ByteSpan first;
  flow::ByteSource& in;
  flow::ByteSink& out;
  const OpenJob& job;
  flow::FlowCounters* counters;
  const std::size_t capacity;
  Unpacker* unpacker = nullptr;
  flow::PositionalSource* read_from = nullptr;
  flow::PositionalSink* write_to = nullptr;

  flow::Turnstile cut_turn;    // positional source only
  std::uint64_t position = 0;  // sealed bytes cut so far
  bool in_step = true;         // all chunks so far were full, so offsets can be foretold
  Bytes carry;                 // cut by nobody yet
  std::size_t carry_size = 0;
  std::uint64_t next_chunk = 0;
  std::uint64_t plain_offset = 0;
  bool trailing = false;
  std::atomic<bool> done{false};  // nothing more to cut

  SealedDigest sealed;
  PlainDigest plain;                          // with an unpacker it counts there
  std::atomic<std::uint64_t> plain_total{0};  // written out of order
  std::uint64_t sealed_total = 0;             // as `position`, plus the header
  bool failed = false;                        // a failure has been handed to the unpacker
};

// read → cut → open → write
class OpenLane final : public Lane {
 public:
  OpenLane(OpenFlow& shared, const Halt& halt, BlockPool& sealed_pool, BlockPool& plain_pool)
      : flow_(shared),
        halt_(halt),
        worker_(shared.opener.make_worker()),
        sealed_(sealed_pool.take(halt)),
        plain_(plain_pool.take(halt)) {
    cuts_.reserve(kMaxCuts);
  }

  Result<bool, Error> take(std::uint64_t /*index*/) override {
    reset();
    if (flow_.done) return false;
    if (flow_.read_from != nullptr) return true;
    const auto buffer = sealed_.bytes().first(flow_.capacity);
    copy_bytes(ByteSpan(flow_.carry).first(flow_.carry_size), buffer.begin());
    have_ = std::exchange(flow_.carry_size, 0);
    while (have_ < buffer.size() && !at_end_) {
      SEALANE_TRY(const std::size_t got, flow_.read(buffer.subspan(have_)));
      have_ += got;
      at_end_ = got == 0;
    }
    SEALANE_TRY(cut(kMaxCuts));
    if (!flow_.done) {
      const auto rest = buffer.first(have_).subspan(consumed_);
      copy_bytes(rest, flow_.carry.begin());
      flow_.carry_size = rest.size();
    }
    return true;
  }

  Result<void, Error> work(std::uint64_t index) override {
    if (flow_.read_from != nullptr) {
      SEALANE_TRY(const bool go_on, read_and_cut(index));
      if (!go_on) return success();
    }
    for (const Cut& each : cuts_) {
      const auto out = plain_.bytes().subspan(opened_, each.chunk.plaintext_size);
      const auto opened =
          worker_->open(first_chunk_ + static_cast<std::uint64_t>(&each - cuts_.data()), each.chunk,
                        ByteSpan(sealed_.bytes()).subspan(each.at, each.chunk.size), out);
      if (!opened.has_value()) {
        const bool first = first_chunk_ == 0 && &each == cuts_.data();
        failure_ = first && flow_.job.key_unproven && opened.error() == SealError::kNotAuthentic
                       ? wrong_key()
                       : flow_.failure(opened.error());
        break;
      }
      opened_ += out.size();
    }
    if (flow_.write_to == nullptr) return success();
    if (failure_) return *failure_;
    if (flow_.job.max_plain_size < plain_offset_ + opened_)
      return too_large(flow_.job.name, flow_.job.max_plain_size);
    SEALANE_TRY(flow_.write_to->write_at(plain_offset_, plain_.bytes().first(opened_)));
    flow_.plain_total.fetch_add(opened_);
    count_opened();
    count(flow_.counters, &flow::FlowCounters::plain_bytes, opened_);
    return success();
  }

  Result<void, Error> give(std::uint64_t /*index*/) override {
    if (flow_.failed) return success();
    flow_.sealed.update(ByteSpan(sealed_.bytes()).first(consumed_));
    const auto plaintext = ByteSpan(plain_.bytes()).first(opened_);
    count_opened();
    if (flow_.unpacker == nullptr) {
      if (flow_.job.max_plain_size - flow_.plain.size() < plaintext.size())
        return too_large(flow_.job.name, flow_.job.max_plain_size);
      flow_.plain.update(plaintext);
      if (!plaintext.empty()) {
        SEALANE_TRY(flow_.out.write(plaintext));
      }
      count(flow_.counters, &flow::FlowCounters::plain_bytes, opened_);
      return failure_ ? Result<void, Error>(*failure_) : success();
    }
    // What was fed before a failure is still on its way: the unpacker reports it in its order.
    const bool going_on = flow_.unpacker->feed(plaintext);
    if (failure_ && going_on) flow_.unpacker->fail(*failure_);
    if (failure_ || !going_on) {
      flow_.failed = true;
      flow_.done = true;
    }
    return success();
  }

 private:
  struct Cut {
    std::size_t at;
    seal::SealedChunk chunk;
  };

  void reset() {
    cuts_.clear();
    failure_.reset();
    have_ = consumed_ = opened_ = 0;
    at_end_ = false;
  }

  Error wrong_key() const {
    return {ErrorKind::kWrongKey, "cannot open " + printable(flow_.job.name) +
                                      ": the key is wrong, or the data is damaged from its start"};
  }

  void count_opened() const {
    count(flow_.counters, &flow::FlowCounters::sealed_bytes, consumed_);
    count(flow_.counters, &flow::FlowCounters::packed_bytes, opened_);
  }

  // False: the stream has ended before this block. The read runs ahead of the cut: as long as all
  // chunks are full, block `index` begins at a known place. Where that turns out wrong, it is read
  // again from where the cut stands, by this and all later blocks in turn.
  Result<bool, Error> read_and_cut(std::uint64_t index) {
    const auto buffer = sealed_.bytes().first(flow_.capacity);
    const std::size_t block = flow_.capacity - kLookahead;
    const std::uint64_t guess = index * block;
    auto got = flow_.read_at(guess, buffer);
    if (!flow_.cut_turn.enter(index, halt_)) return false;
    auto cut_done = [&]() -> Result<bool, Error> {
      if (flow_.done) return false;
      if (!flow_.in_step || flow_.position != guess) {
        flow_.in_step = false;
        got = flow_.read_at(flow_.position, buffer);
      }
      if (!got.has_value()) return std::move(got).error();
      have_ = got.value();
      at_end_ = have_ < buffer.size();
      SEALANE_TRY(cut(flow_.in_step ? block / flow_.opener.max_sealed_size() : kMaxCuts));
      return true;
    }();
    if (!cut_done.has_value()) flow_.done = true;
    flow_.cut_turn.leave();
    return cut_done;
  }

  // In order. Takes at most `most` chunks off the front of what was read.
  Result<void, Error> cut(std::size_t most) {
    const auto bytes = ByteSpan(sealed_.bytes()).first(have_);
    first_chunk_ = flow_.next_chunk;
    plain_offset_ = flow_.plain_offset;
    while (cuts_.size() < most) {
      const auto rest = bytes.subspan(consumed_);
      auto step = flow_.opener.next(rest, at_end_);
      if (!step.has_value()) {
        failure_ = flow_.failure(step.error());
        flow_.done = true;
        break;
      }
      if (const auto* chunk = std::get_if<seal::SealedChunk>(&step.value())) {
        cuts_.push_back({consumed_, *chunk});
        consumed_ += chunk->size;
        flow_.plain_offset += chunk->plaintext_size;
        continue;
      }
      if (const auto* end = std::get_if<seal::StreamEnd>(&step.value())) {
        consumed_ += end->size;
        flow_.done = true;
        SEALANE_TRY(flow_.trailing, anything_after());
        if (flow_.trailing && flow_.job.refuse_trailing)
          failure_ = flow_.failure(SealError::kTrailingData);
        break;
      }
      // A codec that asks for more than the longest chunk and a byte, or more than there is, is
      // wrong.
      SEALANE_CHECK(!at_end_ && !(cuts_.empty() && have_ == flow_.capacity));
      break;
    }
    flow_.next_chunk += cuts_.size();
    flow_.position += consumed_;
    return success();
  }

  Result<bool, Error> anything_after() {
    if (have_ > consumed_) return true;
    if (at_end_) return false;
    ByteArray<1> probe{};
    if (flow_.read_from != nullptr) {
      SEALANE_TRY(const std::size_t got, flow_.read_at(flow_.position + consumed_, probe));
      return got > 0;
    }
    SEALANE_TRY(const std::size_t got, flow_.read(probe));
    return got > 0;
  }

  OpenFlow& flow_;
  const Halt& halt_;
  std::unique_ptr<seal::StreamOpener::Worker> worker_;
  BlockPool::Block sealed_;
  BlockPool::Block plain_;
  std::vector<Cut> cuts_;
  std::optional<Error> failure_;  // after the plaintext that was opened
  std::size_t have_ = 0;          // bytes in sealed_
  std::size_t consumed_ = 0;      // of them, cut here
  std::size_t opened_ = 0;        // bytes in plain_
  bool at_end_ = false;
  std::uint64_t first_chunk_ = 0;
  std::uint64_t plain_offset_ = 0;
};

}  // namespace

Result<SealReport, Error> seal_stream(const seal::StreamSealer& sealer, flow::ByteSource& in,
                                      flow::ByteSink& out, const SealJob& job,
                                      const EngineOptions& options) {
  SealFlow shared(sealer, in, out, job, options);
  Halt halt(options.cancel, [&] {
    in.interrupt();
    out.interrupt();
  });
  if (!job.compress && !job.hash_plain) shared.read_from = in.positional();
  if (!job.compress && !job.hash_sealed) shared.write_to = out.positional();
  const std::size_t threads = thread_count(options, shared.read_from != nullptr);
  const std::size_t lanes =
      lane_count(threads, shared.read_from != nullptr, shared.write_to != nullptr);

  if (shared.write_to != nullptr) {
    SEALANE_TRY(shared.write_to->write_at(0, sealer.header()));
    count(options.counters, &flow::FlowCounters::sealed_bytes, sealer.header().size());
  } else if (!sealer.header().empty()) {
    SEALANE_TRY(shared.write(sealer.header()));
  }

  std::vector<std::unique_ptr<Lane>> all;
  all.reserve(lanes);
  if (job.compress) {
    BlockPool pool(PackingLane::buffer_size(sealer), 2 * lanes);
    Repack repack(lanes, sealer.chunk_size());
    for (std::size_t i = 0; i < lanes; ++i)
      all.push_back(std::make_unique<PackingLane>(shared, repack, halt, pool));
    flow::run_ordered(all, GiveOrder::kOrdered, halt, options.precedence, threads);
    all.clear();
  } else {
    const std::size_t chunks = std::max<std::size_t>(kPlainBlockSize / sealer.chunk_size(), 1);
    const std::size_t block = chunks * sealer.chunk_size();
    BlockPool plain_pool(block + kLookahead, lanes);
    BlockPool sealed_pool(sealed_size(sealer, block), lanes);
    for (std::size_t i = 0; i < lanes; ++i)
      all.push_back(std::make_unique<SealLane>(shared, halt, plain_pool, sealed_pool, block));
    flow::run_ordered(all, shared.write_to == nullptr ? GiveOrder::kOrdered : GiveOrder::kNone,
                      halt, options.precedence, threads);
    all.clear();
  }
  SEALANE_TRY(halt.result());

  SealReport report;
  if (shared.read_from != nullptr) {
    if (shared.data_index > shared.last_index) return changed_while_read();
    report.plain.size = shared.plain_total;
  } else {
    report.plain = shared.plain.finish();
  }
  if (!job.compress) {
    shared.packed_size = report.plain.size;
    count(options.counters, &flow::FlowCounters::packed_bytes, shared.packed_size);
  }
  report.packed_size = shared.packed_size;

  if (shared.write_to != nullptr) {
    std::uint64_t size = sealer.header().size();
    if (report.plain.size > 0 || sealer.seals_empty()) {
      const std::uint64_t chunks =
          std::max<std::uint64_t>(report.plain.size / sealer.chunk_size() +
                                      (report.plain.size % sealer.chunk_size() != 0 ? 1 : 0),
                                  1);
      size += report.plain.size + chunks * sealer.chunk_overhead();
    }
    if (!sealer.trailer().empty()) {
      SEALANE_TRY(shared.write_to->write_at(size, sealer.trailer()));
      count(options.counters, &flow::FlowCounters::sealed_bytes, sealer.trailer().size());
    }
    report.sealed.size = size + sealer.trailer().size();
  } else {
    if (!sealer.trailer().empty()) {
      SEALANE_TRY(shared.write(sealer.trailer()));
    }
    report.sealed = shared.sealed.finish();
  }
  return report;
}

Result<OpenReport, Error> open_stream(seal::StreamOpener& opener, ByteSpan first,
                                      flow::ByteSource& in, flow::ByteSink& out, const OpenJob& job,
                                      const EngineOptions& options) {
  flow::PositionalSource* const read_from = in.positional();
  const bool to_file = !job.decompress && !job.hash_plain && !job.hash_sealed;
  flow::PositionalSink* const write_to = to_file ? out.positional() : nullptr;
  const std::size_t threads = thread_count(options, read_from != nullptr);
  const std::size_t lanes = lane_count(threads, read_from != nullptr, write_to != nullptr);
  const std::size_t chunks =
      std::max<std::size_t>(kPlainBlockSize / opener.max_plaintext_size(), 1);
  const std::size_t block = chunks * opener.max_sealed_size();
  OpenFlow shared(opener, first, in, out, job, options.counters, block, lanes);
  Halt halt(options.cancel, [&] {
    in.interrupt();
    out.interrupt();
  });
  shared.read_from = read_from;
  shared.write_to = write_to;

  BlockPool sealed_pool(shared.capacity, lanes);
  BlockPool plain_pool(shared.capacity, lanes);
  std::vector<std::unique_ptr<Lane>> all;
  all.reserve(lanes);
  for (std::size_t i = 0; i < lanes; ++i)
    all.push_back(std::make_unique<OpenLane>(shared, halt, sealed_pool, plain_pool));

  OpenReport report;
  if (job.decompress) {
    PlainDigest plain(job.hash_plain);
    Unpacker unpacker({.name = job.name,
                       .max_size = job.max_plain_size,
                       .lanes = core_count(options),
                       .hash_parts = job.hash_plain},
                      halt,
                      [&](ByteSpan data, const crypto::Blake3Part* part) -> Result<void, Error> {
                        if (part != nullptr) {
                          plain.update(*part);
                        } else {
                          plain.update(data);
                        }
                        SEALANE_TRY(out.write(data));
                        count(options.counters, &flow::FlowCounters::plain_bytes, data.size());
                        return success();
                      });
    shared.unpacker = &unpacker;
    {
      flow::Thread opening([&] {
        flow::run_ordered(all, GiveOrder::kOrdered, halt, flow::Precedence::kEqual, threads);
        unpacker.end();
      });
      unpacker.run();
    }
    SEALANE_TRY(halt.result());
    report.plain = plain.finish();
  } else {
    flow::run_ordered(all, shared.write_to == nullptr ? GiveOrder::kOrdered : GiveOrder::kNone,
                      halt, flow::Precedence::kEqual, threads);
    SEALANE_TRY(halt.result());
    report.plain = shared.plain.finish();
    if (shared.write_to != nullptr) report.plain.size = shared.plain_total;
  }
  report.sealed = shared.sealed.finish();
  report.sealed.size = job.header.size() + shared.position;
  report.trailing_data = shared.trailing;
  return report;
}

Error seal_failure(SealError error, std::string_view name) {
  const bool key = error == SealError::kNoMatchingKey || error == SealError::kWrongPassphrase ||
                   error == SealError::kPassphraseNeeded;
  std::string message = "cannot open ";
  message += printable(name);
  message += ": ";
  message += seal::describe(error);
  return {key ? ErrorKind::kWrongKey : ErrorKind::kVerificationFailed, std::move(message)};
}

}  // namespace sealane::backup
