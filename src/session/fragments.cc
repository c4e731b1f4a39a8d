#include "session/fragments.h"

#include <algorithm>

#include "base/check.h"
#include "base/copy_bytes.h"

namespace sealane::session {
namespace {

constexpr std::size_t kPieceUnit = 64;

}  // namespace

void Reassembler::give_up(std::size_t index) {
  buffered_ -= chains_[index].message.size();
  ++lost_;
  chains_.erase(chains_.begin() + static_cast<std::ptrdiff_t>(index));
}

bool Reassembler::merge(Chain& chain, const Fragment& fragment) {
  const std::uint64_t begin = fragment.header.start;
  const std::uint64_t end = begin + fragment.piece.size();
  // The runs that touch the piece become one with it; holes between them are what is new.
  const auto first = std::ranges::lower_bound(chain.runs, begin, {}, &Run::end);
  auto last = first;
  bool anything_new = false;
  std::uint64_t filled = begin;
  const auto take = [&](std::uint64_t from, std::uint64_t to) {
    if (from >= to) return;
    const ByteSpan bytes = fragment.piece.subspan(from - begin, to - from);
    copy_bytes(bytes, chain.message.begin() + static_cast<std::ptrdiff_t>(from));
    anything_new = true;
  };
  Run merged{begin, end};
  for (; last != chain.runs.end() && last->begin <= end; ++last) {
    take(filled, std::min(last->begin, end));
    filled = std::max(filled, last->end);
    merged = {std::min(merged.begin, last->begin), std::max(merged.end, last->end)};
  }
  take(filled, end);
  if (!anything_new) return false;
  if (first == last) {
    chain.runs.insert(first, merged);
  } else {
    *first = merged;
    chain.runs.erase(first + 1, last);
  }
  return true;
}

Reassembler::Added Reassembler::add(MessageType type, const Fragment& fragment, SteadyTime now) {
  const FragmentHeader& header = fragment.header;
  SEALANE_CHECK(!fragment.piece.empty() && header.start < header.total &&
                fragment.piece.size() <= header.total - header.start);
  if (header.total > limits_.max_message_size) return {FragmentOutcome::kTooLarge, {}};
  const std::size_t remembered = std::min(complete_count_, kRememberedChains);
  const auto known = std::span(complete_).first(remembered);
  if (std::ranges::find(known, std::pair(type, header.chain)) != known.end()) {
    return {FragmentOutcome::kDuplicate, {}};
  }
  auto chain = std::ranges::find_if(
      chains_, [&](const Chain& c) { return c.type == type && c.id == header.chain; });
  if (chain == chains_.end()) {
    while (!chains_.empty() &&
           (chains_.size() >= limits_.max_chains || buffered_ + header.total > limits_.max_bytes)) {
      give_up(0);
    }
    chains_.push_back({type, header.chain, now, Bytes(header.total), {}});
    buffered_ += header.total;
    chain = chains_.end() - 1;
  } else if (chain->message.size() != header.total) {
    return {FragmentOutcome::kTotalChanged, {}};
  }
  if (!merge(*chain, fragment)) return {FragmentOutcome::kDuplicate, {}};
  const Run& front = chain->runs.front();
  if (front.begin == 0 && front.end == header.total) {
    Bytes message = std::move(chain->message);
    buffered_ -= message.size();
    chains_.erase(chain);
    complete_[complete_count_++ % kRememberedChains] = {type, header.chain};
    return {FragmentOutcome::kComplete, std::move(message)};
  }
  if (chain->runs.size() > kMaxRuns) {
    give_up(static_cast<std::size_t>(chain - chains_.begin()));
    return {FragmentOutcome::kTooManyPieces, {}};
  }
  return {FragmentOutcome::kStored, {}};
}

void Reassembler::expire(SteadyTime now) {
  while (!chains_.empty() && now - chains_.front().since >= limits_.max_age) give_up(0);
}

std::optional<SteadyTime> Reassembler::deadline() const {
  if (chains_.empty()) return std::nullopt;
  return chains_.front().since + limits_.max_age;
}

std::optional<std::size_t> piece_size(std::size_t payload_size) {
  if (payload_size < FragmentHeader::kEncodedSize + kPieceUnit) return std::nullopt;
  return (payload_size - FragmentHeader::kEncodedSize) / kPieceUnit * kPieceUnit;
}

std::optional<std::uint64_t> ChainPlanner::next_chain(std::uint64_t total) {
  SEALANE_CHECK(total > 0);
  std::optional<std::uint64_t> best;
  for (std::uint64_t step = 1; step <= slots_.size(); ++step) {
    const std::uint64_t held = slots_[(last_ + step) % slots_.size()];
    if (held <= total && (!best || held > slots_[*best % slots_.size()])) best = last_ + step;
  }
  if (!best) return std::nullopt;
  slots_[*best % slots_.size()] = total;
  last_ = *best;
  return best;
}

}  // namespace sealane::session
