#pragma once
// Large messages in pieces: reassembly, and the plan for sending them. Format:
// docs/protocol/session.md, "Fragments".
#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "sealane/base/bytes.h"
#include "sealane/base/seams.h"
#include "session/messages.h"

namespace sealane::session {

struct ReassemblyLimits {
  std::size_t max_message_size = 65536;
  std::size_t max_chains = 8;  // under way at once; one more displaces the oldest
  // Of all chains; more displaces the oldest ones too. One message is always allowed.
  std::size_t max_bytes = 1 << 20;
  std::chrono::nanoseconds max_age = std::chrono::seconds(30);  // since the first piece
};

enum class FragmentOutcome : std::uint8_t {
  kStored = 1,
  kComplete,
  kDuplicate,      // brings nothing new, or its message is already complete
  kTooLarge,       // total above max_message_size
  kTotalChanged,   // an earlier piece of the chain said otherwise
  kTooManyPieces,  // more than kMaxRuns holes: the chain is given up
};

// Puts pieces together, in any order, exactly: a message is complete when each of its bytes has
// come. Where pieces overlap the first one counts. Not thread-safe.
class Reassembler {
 public:
  static constexpr std::size_t kMaxRuns = 2048;         // bounds the work for one piece
  static constexpr std::size_t kRememberedChains = 64;  // complete ones, to know late duplicates

  explicit Reassembler(const ReassemblyLimits& limits) : limits_(limits) {
    limits_.max_bytes = std::max(limits_.max_bytes, limits_.max_message_size);
  }

  struct Added {
    FragmentOutcome outcome;
    Bytes message;  // with kComplete
  };
  // `fragment` comes from parse_fragment(), which proved that it lies inside its total.
  Added add(MessageType type, const Fragment& fragment, SteadyTime now);
  // Gives up what is older than max_age.
  void expire(SteadyTime now);
  std::optional<SteadyTime> deadline() const;  // of the oldest chain

  std::size_t chain_count() const { return chains_.size(); }
  std::size_t buffered_bytes() const { return buffered_; }
  std::uint64_t lost_messages() const { return lost_; }  // displaced, too old, or given up

 private:
  struct Run {
    std::uint64_t begin;
    std::uint64_t end;
  };
  struct Chain {
    MessageType type;
    std::uint64_t id;
    SteadyTime since;
    Bytes message;
    std::vector<Run> runs;  // what has come: sorted, apart from each other
  };
  void give_up(std::size_t index);
  static bool merge(Chain& chain, const Fragment& fragment);  // false: nothing new

  ReassemblyLimits limits_;
  std::vector<Chain> chains_;  // oldest first
  std::size_t buffered_ = 0;
  std::uint64_t lost_ = 0;
  std::array<std::pair<MessageType, std::uint64_t>, kRememberedChains> complete_{};
  std::size_t complete_count_ = 0;
};

// The bytes of a message that one packet of `payload_size` carries as a fragment: a multiple of 64,
// which an older receiver's book-keeping needs. Nothing: the packets are too small to cut anything.
std::optional<std::size_t> piece_size(std::size_t payload_size);

// Chooses chain ids. An older receiver keeps one buffer for each of `slot_count` slots (id modulo
// slot_count), never shrinks it and delivers all of it: so a message must only go into a slot that
// has not held a longer one. Skips ids to get there, and spends the slot that fits best, so that
// short ones stay for short messages.
class ChainPlanner {
 public:
  static constexpr std::size_t kSlotCount = 8;  // of an older receiver with its defaults
  explicit ChainPlanner(std::size_t slot_count = kSlotCount) : slots_(slot_count) {}
  // The id for a message of `total` bytes, larger than all before. Nothing: each slot has held a
  // longer message, there is no safe way to send this one. REQUIRES: total > 0.
  std::optional<std::uint64_t> next_chain(std::uint64_t total);

 private:
  std::vector<std::uint64_t> slots_;  // the longest message each has held
  std::uint64_t last_ = 0;
};

}  // namespace sealane::session
