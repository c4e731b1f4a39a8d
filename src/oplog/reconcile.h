#pragma once
// Reconciliation: two peers find out which of their items differ, at a cost that follows the
// difference and not the sets. One side asks (Reconciler), the other answers (ReconcileSet) and
// remembers nothing between requests. Protocol: docs/protocol/reconcile.md.
#include <array>
#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <vector>

#include "sealane/base/bytes.h"
#include "sealane/base/result.h"

namespace sealane::oplog {

// What stands for an entry, a key with its value, …: equal things have equal items, others do not.
// The bytes must look random (hashes): items are found by their first bits.
using Item = ByteArray<32>;

// 256 bits that are added in four lanes: the sum over a set does not depend on order, and members
// come and go at the price of an addition.
struct ItemSum {
  std::array<std::uint64_t, 4> lanes{};
  void add(const ItemSum& other) {
    for (std::size_t i = 0; i < lanes.size(); ++i) lanes[i] += other.lanes[i];
  }
  void subtract(const ItemSum& other) {
    for (std::size_t i = 0; i < lanes.size(); ++i) lanes[i] -= other.lanes[i];
  }
  friend bool operator==(const ItemSum&, const ItemSum&) = default;
};

enum class ReconcileError : std::uint8_t {
  kMalformed = 1,  // not what the protocol says
  kVersion,
  kLimits,      // more than one message may ask for or hold
  kUnexpected,  // no answer to what was asked
  kSetChanged,  // the peer's set is another one than at the start
  kMismatch,    // the difference found does not explain the sums; start again with another seed
};
std::string_view describe(ReconcileError error);  // a clause

// Sixteen children per node, by four bits of the item a level.
inline constexpr std::size_t kFanout = 16;
inline constexpr unsigned kMaxDepth = 15;                    // 60 bits; deeper nodes are listed
inline constexpr std::size_t kMaxNodesPerRequest = 4096;     // bounds an answer to 1 MiB
inline constexpr std::size_t kMaxListedPerRequest = 65'536;  // items of listed nodes: 256 KiB
inline constexpr std::size_t kMaxItemsPerRequest = 16'384;   // whole items: 512 KiB
inline constexpr std::size_t kMaxReconcileMessage = 2 * 1024 * 1024;
inline constexpr std::size_t kListBelow = 24;  // a node of so few items is listed, not split
// What the asking side keeps of the peer's word: places still to look at, and differences.
inline constexpr std::size_t kMaxQueuedNodes = 4 * 1024 * 1024;
inline constexpr std::size_t kMaxDifference = 16 * 1024 * 1024;
// Rounds (request and answer) that a run may take before it is given up as hostile: one per level
// and kind, and one more for each bunch of differences.
inline constexpr std::uint64_t kMaxRounds = 100'000;

// A set of items under a seed. Immutable; thread-safe. Memory: 40 bytes per item.
class ReconcileSet {
 public:
  // Sorts, drops duplicates. The seed is secret to all but the two peers, so that nobody can choose
  // items whose sums or tags collide.
  ReconcileSet(std::vector<Item> items, std::span<const std::byte, 32> seed);

  std::size_t size() const { return members_.size(); }
  const ItemSum& sum() const { return sum_; }
  // The answer to one request of a peer that uses the same seed.
  Result<Bytes, ReconcileError> answer(ByteSpan request) const;

 private:
  friend class Reconciler;
  struct Member {
    Item item;
    std::uint64_t mix = 0;  // a keyed hash of it
  };
  struct Node {
    unsigned depth = 0;      // levels below the root
    std::uint64_t path = 0;  // the first 4·depth bits of its items
    friend bool operator==(const Node&, const Node&) = default;
  };
  std::span<const Member> members_of(const Node& node) const;
  ItemSum sum_of(const Item& item) const;

  ByteArray<32> seed_;
  std::vector<Member> members_;
  ItemSum sum_;
};

// The asking side. Not thread-safe. Errors are final.
class Reconciler {
 public:
  // `own` must outlive it.
  explicit Reconciler(const ReconcileSet& own) : own_(own) {}

  // The next request to send; nothing when the difference is known.
  std::optional<Bytes> next_request();
  Result<void, ReconcileError> on_answer(ByteSpan answer);

  bool done() const { return done_; }
  // Once done(): items that only we have, and that only the peer has.
  const std::vector<Item>& only_here() const { return only_here_; }
  const std::vector<Item>& only_there() const { return only_there_; }
  std::uint64_t peer_size() const { return peer_size_; }
  std::uint64_t rounds() const { return rounds_; }
  std::uint64_t bytes() const { return bytes_; }  // of all requests and answers

 private:
  using Node = ReconcileSet::Node;
  struct Listed {
    Node node;
    std::uint64_t count = 0;  // of the peer
  };
  struct Wanted {
    Node node;
    std::uint32_t index = 0;  // of the item in the peer's node
  };
  enum class Asked : std::uint8_t { kNothing, kSummary, kChildren, kTags, kItems };

  Result<void, ReconcileError> take_summary(ByteSpan answer);
  Result<void, ReconcileError> take_children(ByteSpan answer);
  Result<void, ReconcileError> take_tags(ByteSpan answer);
  Result<void, ReconcileError> take_items(ByteSpan answer);
  Result<void, ReconcileError> check();
  void add_all(const Node& node);

  const ReconcileSet& own_;
  Asked asked_ = Asked::kNothing;
  bool begun_ = false;
  bool done_ = false;
  bool failed_ = false;
  std::uint64_t peer_size_ = 0;
  ItemSum peer_sum_;
  std::uint64_t rounds_ = 0;
  std::uint64_t bytes_ = 0;
  std::deque<Node> to_split_;
  std::deque<Listed> to_list_;
  std::deque<Wanted> to_fetch_;
  std::vector<Node> asked_nodes_;
  std::vector<Listed> asked_lists_;
  std::vector<Wanted> asked_items_;
  std::vector<Item> only_here_;
  std::vector<Item> only_there_;
};

}  // namespace sealane::oplog
