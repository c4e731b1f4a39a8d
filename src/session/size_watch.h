#pragma once
// SizeWatch: whether packets of the size that was found still get through, once they are in use.
// Rules: docs/protocol/session.md, "Packet size"; the ideas are those of RFC 8899 and RFC 4821. A
// path that begins to swallow large packets without a word is known by questions of that size that
// stay unanswered while small ones are answered.
#include <bitset>
#include <chrono>
#include <cstdint>
#include <optional>

#include "sealane/base/seams.h"
#include "session/messages.h"
#include "session/size_search.h"

namespace sealane::session {

// Asks nothing while no packet leaves that a smaller path could swallow. "Size" is that of a whole
// payload, as in SizeSearch. Not thread-safe. `now` never goes back.
class SizeWatch {
 public:
  using Duration = std::chrono::nanoseconds;
  // From the end of one check, or of a search, to the next check; so the traffic that it adds is
  // bounded.
  static constexpr Duration kCheckInterval = std::chrono::seconds(5);
  // Of the size in use, none of which comes back. Beside each but the first goes a small one.
  static constexpr std::uint32_t kCopies = 4;
  // So many of the small ones must come back, or it is no path for large packets but none at all,
  // or a peer that answers nothing.
  static constexpr std::size_t kSmallAnswers = 2;
  static constexpr Duration kLongestWait = std::chrono::seconds(1);  // between two copies
  // From the end of a search to the next look for a larger size; doubled each time.
  static constexpr Duration kFirstLookAbove = std::chrono::seconds(30);
  static constexpr Duration kLongestLookAbove = std::chrono::seconds(600);
  // Its questions bear this number or a higher one, those of SizeSearch a lower one.
  static constexpr std::uint32_t kFirstIteration = std::uint32_t{1} << 31;

  enum class Finding : std::uint8_t {
    kNothing = 1,
    kTooLarge,   // what is in use does not get through: a search below it is due
    kLookAbove,  // a search above it is due, while it stays in use
  };

  // A search has ended, and `size` of at most `limit` is in use. `wait`: for an answer, above 0;
  // cut to kLongestWait. A check under way is given up.
  void settle(std::size_t size, std::size_t limit, Duration wait, SteadyTime now);
  // A packet with the user's messages left.
  void on_sent(std::size_t payload_size, SteadyTime now);
  // A question to send now. Ask again until nothing comes.
  std::optional<SizeSearch::Ping> next_ping(SteadyTime now);
  // False: it answers no question of this watch.
  bool on_pong(const SizePong& pong, SteadyTime now);
  Finding on_deadline(SteadyTime now);
  std::optional<SteadyTime> deadline() const;

 private:
  void end_check(SteadyTime now);

  std::size_t size_ = 0;
  std::size_t limit_ = 0;
  Duration wait_{};

  std::optional<SteadyTime> check_at_;
  SteadyTime last_check_{};
  // The check under way.
  bool checking_ = false;
  std::uint32_t first_iteration_ =
      kFirstIteration;  // copy i of the size: + 2i; the small: + 2i + 1
  std::uint32_t copies_ = 0;
  bool small_due_ = false;
  SteadyTime next_copy_{};
  std::bitset<kCopies> small_answers_;

  std::optional<SteadyTime> look_at_;
  SteadyTime last_look_{};
  Duration look_interval_ = kFirstLookAbove;
};

}  // namespace sealane::session
