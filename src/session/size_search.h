#pragma once
// SizeSearch: how large a packet may be. Format and rules: docs/protocol/session.md, "Packet size".
// A binary search with resends that always ends, and the other side's questions answered so that a
// legacy peer neither waits for ever nor dies.
#include <array>
#include <chrono>
#include <cstdint>
#include <optional>

#include "sealane/base/seams.h"
#include "session/messages.h"

namespace sealane::session {

// "Size" is that of a whole negotiation payload, which is what fits in one message of one packet.
// Not thread-safe. `now` never goes back.
class SizeSearch {
 public:
  using Duration = std::chrono::nanoseconds;
  static constexpr std::size_t kMinSize = 147;  // smaller is not looked for
  static constexpr std::size_t kPrecision = 3;  // the search ends this close to the truth
  static constexpr int kCopies = 3;             // of each question and of the end message
  static constexpr Duration kMinWait = std::chrono::milliseconds(10);  // beside 3 round trips

  struct Settings {
    std::size_t limit = 0;          // at least kMinSize
    Duration first_wait{};          // for an answer, while the round trip is unknown
    Duration timeout{};             // of the whole search; then the best found is the result
    std::optional<Duration> quiet;  // of the peer after our end; then it counts as finished
  };
  struct Ping {
    std::uint32_t iteration = 0;  // names this copy
    std::size_t size = 0;
  };

  // With search off the result is the limit at once, and only the peer's questions are answered.
  SizeSearch(const Settings& settings, bool search, SteadyTime now);

  // A question to send now. Ask again until nothing comes.
  std::optional<Ping> next_ping(SteadyTime now);
  // An end message to send now. Never to a peer that has not asked (a legacy one would hang), and
  // not before its answers are surely with it.
  std::optional<SizeControl> next_control(SteadyTime now);

  // Of the peer. True: answer it. Not after its end message: a legacy peer would crash.
  bool on_ping(SteadyTime now, bool peer_is_legacy);
  void on_pong(const SizePong& pong, SteadyTime now);
  void on_control(const SizeControl& control, SteadyTime now);
  void on_user_message(SteadyTime now);  // so the peer has finished
  // The path, or our own end of it, does not carry a message of `size`.
  void on_too_big(std::size_t size, SteadyTime now);

  // Looks again, up to `limit` only, from nothing known. The peer's part is over and stays over.
  void restart(std::size_t limit, SteadyTime now);
  // Looks above size(), up to `limit`, while that stays in use: it only grows. Where the path has
  // not grown that takes two sizes' questions. REQUIRES: !searching().
  void look_above(std::size_t limit, SteadyTime now);

  bool searching() const { return !own_done_; }
  // Both sides are finished, or time is up. Control messages may still be due.
  bool done() const { return own_done_ && peer_done_ && !(must_end() && end_copies_ == 0); }
  // kMinSize .. limit; the best known so far until done().
  std::size_t size() const;
  std::optional<Duration> round_trip() const { return round_trip_; }
  // What an answer may take, generously: three of the longest round trips; or the first wait.
  Duration patience() const;
  std::optional<SteadyTime> deadline() const;
  void on_deadline(SteadyTime now);

 private:
  bool must_end() const { return peer_asked_ && (search_ || peer_ended_); }
  Duration wait() const;
  void ask(std::size_t size, SteadyTime now);
  void advance(SteadyTime now);
  void finish_own(SteadyTime now);

  Settings settings_;
  bool search_;
  SteadyTime started_;
  std::size_t low_ = 0;                   // the largest size that has come back
  std::size_t high_ = 0;                  // does not fit, or is above the limit
  std::size_t above_ = 0;                 // of look_above(): where it began
  std::optional<Duration> round_trip_;    // the shortest
  std::optional<Duration> longest_trip_;  // what an answer of ours may take, twice

  // The question under way: copies of one size, and at the start of the smallest one too.
  std::size_t asked_size_ = 0;
  int copies_left_ = 0;
  bool ask_smallest_ = false;
  SteadyTime next_copy_{};
  std::uint32_t iteration_ = 0;
  static constexpr std::size_t kRemembered = 8;
  struct Asked {
    std::uint32_t iteration = 0;
    SteadyTime at{};
  };
  std::array<Asked, kRemembered> asked_{};  // for round-trip times

  bool own_done_ = false;
  SteadyTime own_done_at_{};
  bool peer_done_ = false;
  bool peer_asked_ = false;
  bool peer_ended_ = false;
  std::uint32_t peer_largest_ = 0;
  SteadyTime last_heard_{};  // the last question of the peer, which we answered
  int end_copies_ = 0;
  SteadyTime next_end_{};
};

}  // namespace sealane::session
