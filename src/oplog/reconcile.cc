#include "oplog/reconcile.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/byte_reader.h"
#include "base/check.h"
#include "base/copy_bytes.h"
#include "crypto/hash.h"

namespace sealane::oplog {
namespace {

// First byte of each message.
enum class Type : std::uint8_t {
  kGetSummary = 1,
  kSummary,
  kGetChildren,
  kChildren,
  kGetTags,
  kTags,
  kGetItems,
  kItems,
};
constexpr std::uint8_t kVersion = 1;
constexpr std::size_t kTagSize = 4;
constexpr unsigned kBits = 4;  // of an item per level

// 7 bits a byte, low ones first, the shortest form only.
void put_varint(ByteWriter& out, std::uint64_t value) {
  while (value >= 0x80) {
    out.u8(static_cast<std::uint8_t>(value | 0x80));
    value >>= 7;
  }
  out.u8(static_cast<std::uint8_t>(value));
}

std::optional<std::uint64_t> get_varint(ByteReader& in) {
  std::uint64_t value = 0;
  for (unsigned shift = 0; shift < 64; shift += 7) {
    const auto byte = in.u8();
    if (!byte) return std::nullopt;
    const std::uint64_t bits = *byte & 0x7fU;
    if (shift == 63 && bits > 1) return std::nullopt;
    value |= bits << shift;
    if ((*byte & 0x80) == 0) {
      if (bits == 0 && shift > 0) return std::nullopt;
      return value;
    }
  }
  return std::nullopt;
}

std::uint64_t prefix_of(const Item& item) { return load<std::uint64_t>(item); }
std::uint64_t path_at(std::uint64_t prefix, unsigned depth) {
  return depth == 0 ? 0 : prefix >> (64 - kBits * depth);
}

// Node ids of one depth, ascending, as differences.
template <class Range, class Path>
void put_paths(ByteWriter& out, const Range& nodes, Path path) {
  std::uint64_t last = 0;
  for (const auto& node : nodes) {
    put_varint(out, path(node) - last);
    last = path(node);
  }
}

std::uint32_t tag_of(std::uint64_t mix) { return static_cast<std::uint32_t>(mix >> 32); }

}  // namespace

std::string_view describe(ReconcileError error) {
  switch (error) {
    case ReconcileError::kMalformed:
      return "the peer's message is malformed";
    case ReconcileError::kVersion:
      return "the peer speaks another version";
    case ReconcileError::kLimits:
      return "the peer asks for or sends more than a message may hold";
    case ReconcileError::kUnexpected:
      return "the peer answers what was not asked";
    case ReconcileError::kSetChanged:
      return "the peer's set changed meanwhile";
    case ReconcileError::kMismatch:
      return "the difference found does not explain the sums";
  }
  return "reconciliation failed";
}

// ---- ReconcileSet ----

ReconcileSet::ReconcileSet(std::vector<Item> items, std::span<const std::byte, 32> seed) {
  copy_bytes(seed, seed_.begin());
  std::ranges::sort(items);
  items.erase(std::unique(items.begin(), items.end()), items.end());
  members_.reserve(items.size());
  for (const Item& item : items) {
    const ItemSum one = sum_of(item);
    sum_.add(one);
    members_.push_back({item, one.lanes[0]});
  }
}

ItemSum ReconcileSet::sum_of(const Item& item) const {
  crypto::Blake3 hash{std::span<const std::byte, 32>(seed_)};
  hash.update(item);
  ByteArray<32> out;
  hash.finish(out);
  ItemSum sum;
  for (std::size_t i = 0; i < sum.lanes.size(); ++i) {
    sum.lanes[i] = load<std::uint64_t>(ByteSpan(out).subspan(8 * i));
  }
  return sum;
}

std::span<const ReconcileSet::Member> ReconcileSet::members_of(const Node& node) const {
  const auto path = [&](const Member& member) {
    return path_at(prefix_of(member.item), node.depth);
  };
  const auto begin = std::ranges::lower_bound(members_, node.path, {}, path);
  const auto end = std::ranges::upper_bound(begin, members_.end(), node.path, {}, path);
  return {begin, end};
}

// A node's fingerprint: the low 40 bits of the sum of its members' keyed hashes.
static std::uint64_t fingerprint_of(auto members) {
  std::uint64_t sum = 0;
  for (const auto& member : members) sum += member.mix;
  return sum & 0xff'ffff'ffffULL;
}

Result<Bytes, ReconcileError> ReconcileSet::answer(ByteSpan request) const {
  if (request.size() > kMaxReconcileMessage) return ReconcileError::kLimits;
  ByteReader in(request);
  const auto type = in.u8();
  if (!type) return ReconcileError::kMalformed;
  ByteWriter out;
  // Every request but the first names the set it means, so that a set rebuilt meanwhile shows.
  const auto same_set = [&] {
    const auto size = get_varint(in);
    const auto sum = in.u64();
    return size && sum && *size == members_.size() && *sum == sum_.lanes[0];
  };
  if (*type == static_cast<std::uint8_t>(Type::kGetSummary)) {
    const auto version = in.u8();
    if (!version || !in.empty()) return ReconcileError::kMalformed;
    if (*version != kVersion) return ReconcileError::kVersion;
    out.u8(static_cast<std::uint8_t>(Type::kSummary));
    put_varint(out, members_.size());
    for (const std::uint64_t lane : sum_.lanes) out.u64(lane);
    return out.take();
  }
  if (*type != static_cast<std::uint8_t>(Type::kGetChildren) &&
      *type != static_cast<std::uint8_t>(Type::kGetTags) &&
      *type != static_cast<std::uint8_t>(Type::kGetItems)) {
    return ReconcileError::kMalformed;
  }
  if (!same_set()) return ReconcileError::kSetChanged;
  out.u8(static_cast<std::uint8_t>(*type + 1));
  const bool items = *type == static_cast<std::uint8_t>(Type::kGetItems);
  const bool tags = *type == static_cast<std::uint8_t>(Type::kGetTags);
  std::size_t nodes = 0;
  std::uint64_t given = 0;
  // Groups of nodes of one depth: depth, count, paths (with an index each, for items).
  while (!in.empty()) {
    const auto depth = in.u8();
    const auto count = get_varint(in);
    if (!depth || !count || *count == 0) return ReconcileError::kMalformed;
    if (*depth > (items || tags ? kMaxDepth : kMaxDepth - 1)) return ReconcileError::kMalformed;
    const std::size_t limit = items ? kMaxItemsPerRequest : kMaxNodesPerRequest * kFanout;
    if (*count > limit - nodes) return ReconcileError::kLimits;
    if (!items && !tags && *count > kMaxNodesPerRequest - nodes) return ReconcileError::kLimits;
    nodes += static_cast<std::size_t>(*count);
    std::uint64_t path = 0;
    for (std::uint64_t i = 0; i < *count; ++i) {
      const auto step = get_varint(in);
      const std::uint64_t most = (std::uint64_t{1} << (kBits * *depth)) - 1;
      if (!step || *step > most - path || (*step == 0 && i > 0 && !items)) {
        return ReconcileError::kMalformed;
      }
      path += *step;
      const Node node{*depth, path};
      const auto members = members_of(node);
      if (items) {
        const auto index = get_varint(in);
        if (!index || *index >= members.size()) return ReconcileError::kMalformed;
        out.bytes(members[static_cast<std::size_t>(*index)].item);
      } else if (tags) {
        given += members.size();
        // One node may be longer than the limit, if it cannot be split.
        if (given > kMaxListedPerRequest && nodes > 1) return ReconcileError::kLimits;
        if (members.size() * kTagSize > kMaxReconcileMessage - 64) return ReconcileError::kLimits;
        put_varint(out, members.size());
        for (const Member& member : members) out.u32(tag_of(member.mix));
      } else {
        for (std::uint64_t child = 0; child < kFanout; ++child) {
          const auto inside = members_of({*depth + 1U, path * kFanout + child});
          put_varint(out, inside.size());
          if (inside.empty()) continue;
          const std::uint64_t fingerprint = fingerprint_of(inside);
          out.u8(static_cast<std::uint8_t>(fingerprint >> 32));
          out.u32(static_cast<std::uint32_t>(fingerprint));
        }
      }
    }
  }
  return out.take();
}

// ---- Reconciler ----

std::optional<Bytes> Reconciler::next_request() {
  SEALANE_CHECK(asked_ == Asked::kNothing);
  if (done_ || failed_) return std::nullopt;
  ByteWriter out;
  if (!begun_) {
    begun_ = true;
    asked_ = Asked::kSummary;
    out.u8(static_cast<std::uint8_t>(Type::kGetSummary)).u8(kVersion);
    bytes_ += out.view().size();
    return out.take();
  }
  const auto begin = [&](Type type) {
    out.u8(static_cast<std::uint8_t>(type));
    put_varint(out, peer_size_);
    out.u64(peer_sum_.lanes[0]);
  };
  // Writes what was chosen in groups of one depth. REQUIRES: sorted by depth and path.
  const auto groups = [&](const auto& chosen, auto node_of, auto index_of) {
    for (std::size_t at = 0; at < chosen.size();) {
      std::size_t end = at;
      while (end < chosen.size() && node_of(chosen[end]).depth == node_of(chosen[at]).depth) ++end;
      out.u8(static_cast<std::uint8_t>(node_of(chosen[at]).depth));
      put_varint(out, end - at);
      std::uint64_t last = 0;
      for (; at < end; ++at) {
        put_varint(out, node_of(chosen[at]).path - last);
        last = node_of(chosen[at]).path;
        index_of(chosen[at]);
      }
    }
  };
  const auto by_place = [](const Node& a, const Node& b) {
    return a.depth != b.depth ? a.depth < b.depth : a.path < b.path;
  };
  if (!to_split_.empty()) {
    asked_ = Asked::kChildren;
    asked_nodes_.clear();
    while (!to_split_.empty() && asked_nodes_.size() < kMaxNodesPerRequest) {
      asked_nodes_.push_back(to_split_.front());
      to_split_.pop_front();
    }
    std::ranges::sort(asked_nodes_, by_place);
    begin(Type::kGetChildren);
    groups(
        asked_nodes_, [](const Node& node) { return node; }, [](const Node&) {});
  } else if (!to_list_.empty()) {
    asked_ = Asked::kTags;
    asked_lists_.clear();
    std::uint64_t listed = 0;
    while (!to_list_.empty()) {
      listed += to_list_.front().count;
      if (!asked_lists_.empty() && listed > kMaxListedPerRequest) break;
      asked_lists_.push_back(to_list_.front());
      to_list_.pop_front();
    }
    std::ranges::sort(asked_lists_, by_place, &Listed::node);
    begin(Type::kGetTags);
    groups(
        asked_lists_, [](const Listed& one) { return one.node; }, [](const Listed&) {});
  } else if (!to_fetch_.empty()) {
    asked_ = Asked::kItems;
    asked_items_.clear();
    while (!to_fetch_.empty() && asked_items_.size() < kMaxItemsPerRequest) {
      asked_items_.push_back(to_fetch_.front());
      to_fetch_.pop_front();
    }
    std::ranges::stable_sort(asked_items_, by_place, &Wanted::node);
    begin(Type::kGetItems);
    groups(
        asked_items_, [](const Wanted& one) { return one.node; },
        [&](const Wanted& one) { put_varint(out, one.index); });
  } else {
    return std::nullopt;
  }
  bytes_ += out.view().size();
  return out.take();
}

Result<void, ReconcileError> Reconciler::on_answer(ByteSpan answer) {
  const auto fail = [this](ReconcileError error) {
    failed_ = true;
    return error;
  };
  if (asked_ == Asked::kNothing || failed_) return fail(ReconcileError::kUnexpected);
  if (answer.size() > kMaxReconcileMessage || ++rounds_ > kMaxRounds) {
    return fail(ReconcileError::kLimits);
  }
  bytes_ += answer.size();
  const Asked asked = std::exchange(asked_, Asked::kNothing);
  ByteReader in(answer);
  const auto type = in.u8();
  const auto wanted = static_cast<std::uint8_t>(asked) * 2;  // kSummary, kChildren, …
  if (!type || *type != wanted) return fail(ReconcileError::kUnexpected);
  Result<void, ReconcileError> taken = success();
  switch (asked) {
    case Asked::kSummary:
      taken = take_summary(in.rest());
      break;
    case Asked::kChildren:
      taken = take_children(in.rest());
      break;
    case Asked::kTags:
      taken = take_tags(in.rest());
      break;
    case Asked::kItems:
      taken = take_items(in.rest());
      break;
    case Asked::kNothing:
      break;
  }
  if (!taken.has_value()) return fail(taken.error());
  if (to_split_.empty() && to_list_.empty() && to_fetch_.empty()) {
    if (auto checked = check(); !checked.has_value()) return fail(checked.error());
    done_ = true;
  }
  return success();
}

Result<void, ReconcileError> Reconciler::take_summary(ByteSpan answer) {
  ByteReader in(answer);
  const auto size = get_varint(in);
  if (!size) return ReconcileError::kMalformed;
  peer_size_ = *size;
  for (std::uint64_t& lane : peer_sum_.lanes) {
    const auto value = in.u64();
    if (!value) return ReconcileError::kMalformed;
    lane = *value;
  }
  if (!in.empty()) return ReconcileError::kMalformed;
  if (peer_size_ == own_.size() && peer_sum_ == own_.sum()) return success();
  const Node root;
  if (peer_size_ == 0) {
    add_all(root);
  } else if (peer_size_ <= kListBelow) {
    to_list_.push_back({root, peer_size_});
  } else {
    to_split_.push_back(root);
  }
  return success();
}

// Everything we have there is missing at the peer.
void Reconciler::add_all(const Node& node) {
  for (const auto& member : own_.members_of(node)) only_here_.push_back(member.item);
}

Result<void, ReconcileError> Reconciler::take_children(ByteSpan answer) {
  ByteReader in(answer);
  for (const Node& node : asked_nodes_) {
    for (std::uint64_t child = 0; child < kFanout; ++child) {
      const Node inner{node.depth + 1, node.path * kFanout + child};
      const auto count = get_varint(in);
      if (!count || *count > peer_size_) return ReconcileError::kMalformed;
      if (*count == 0) {
        add_all(inner);
        continue;
      }
      const auto high = in.u8();
      const auto low = in.u32();
      if (!high || !low) return ReconcileError::kMalformed;
      const std::uint64_t fingerprint = std::uint64_t{*high} << 32 | *low;
      const auto own = own_.members_of(inner);
      if (own.size() == *count && fingerprint_of(own) == fingerprint) continue;
      if (*count <= kListBelow || inner.depth == kMaxDepth) {
        to_list_.push_back({inner, *count});
      } else {
        to_split_.push_back(inner);
      }
    }
  }
  if (to_split_.size() + to_list_.size() > kMaxQueuedNodes) return ReconcileError::kLimits;
  return in.empty() ? Result<void, ReconcileError>(success()) : ReconcileError::kMalformed;
}

Result<void, ReconcileError> Reconciler::take_tags(ByteSpan answer) {
  ByteReader in(answer);
  std::vector<std::uint32_t> theirs;
  std::vector<std::uint32_t> ours;
  for (const Listed& listed : asked_lists_) {
    const auto count = get_varint(in);
    if (!count || *count != listed.count) return ReconcileError::kSetChanged;
    if (*count > in.remaining() / kTagSize) return ReconcileError::kMalformed;
    const auto own = own_.members_of(listed.node);
    theirs.clear();
    ours.clear();
    for (std::uint64_t i = 0; i < *count; ++i) theirs.push_back(*in.u32());
    for (const auto& member : own) ours.push_back(tag_of(member.mix));
    std::vector<std::uint32_t> sorted_theirs = theirs;
    std::ranges::sort(sorted_theirs);
    std::vector<std::uint32_t> sorted_ours = ours;
    std::ranges::sort(sorted_ours);
    for (std::size_t i = 0; i < own.size(); ++i) {
      if (!std::ranges::binary_search(sorted_theirs, ours[i])) only_here_.push_back(own[i].item);
    }
    for (std::size_t i = 0; i < theirs.size(); ++i) {
      if (!std::ranges::binary_search(sorted_ours, theirs[i])) {
        to_fetch_.push_back({listed.node, static_cast<std::uint32_t>(i)});
      }
    }
  }
  if (to_fetch_.size() + only_there_.size() > kMaxDifference) return ReconcileError::kLimits;
  return in.empty() ? Result<void, ReconcileError>(success()) : ReconcileError::kMalformed;
}

Result<void, ReconcileError> Reconciler::take_items(ByteSpan answer) {
  ByteReader in(answer);
  for (const Wanted& wanted : asked_items_) {
    const auto item = in.array<32>();
    if (!item) return ReconcileError::kMalformed;
    if (path_at(prefix_of(*item), wanted.node.depth) != wanted.node.path) {
      return ReconcileError::kMalformed;
    }
    only_there_.push_back(*item);
  }
  return in.empty() ? Result<void, ReconcileError>(success()) : ReconcileError::kMalformed;
}

// Our set without what only we have, with what only they have, must add up to theirs: so no
// collision of a short fingerprint or tag can hide a difference.
Result<void, ReconcileError> Reconciler::check() {
  // A false tag makes us fetch what we have: then it differs on no side.
  std::ranges::sort(only_here_);
  std::ranges::sort(only_there_);
  std::vector<Item> both;
  std::ranges::set_intersection(only_here_, only_there_, std::back_inserter(both));
  const auto is_both = [&](const Item& item) { return std::ranges::binary_search(both, item); };
  std::erase_if(only_here_, is_both);
  std::erase_if(only_there_, is_both);
  ItemSum sum = own_.sum();
  for (const Item& item : only_here_) sum.subtract(own_.sum_of(item));
  for (const Item& item : only_there_) sum.add(own_.sum_of(item));
  const std::uint64_t size = own_.size() - only_here_.size() + only_there_.size();
  if (size != peer_size_ || sum != peer_sum_) return ReconcileError::kMismatch;
  return success();
}

}  // namespace sealane::oplog
