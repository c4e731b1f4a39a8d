#pragma once
// What both sides of a connection have in common around their Link: time, frames that come in,
// events, and how it ends. Private to hub_connection.cc and client_connection.cc.
#include <chrono>
#include <cstdint>
#include <deque>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "hub/extension.h"
#include "hub/frame.h"
#include "hub/link.h"
#include "hub/message.h"
#include "sealane/base/seams.h"

namespace sealane::hub {

// What is wrong with limits that both sides have, as a clause for a sentence.
std::optional<std::string> problem_with_limits(
    std::initializer_list<std::chrono::nanoseconds> times, std::size_t send_queue,
    std::size_t legacy_data);

// REQUIRES: State has kStopping (waits for the jobs of its last output) and kStopped; Event holds
// Job and Stopped; Stopped has a reason and a text.
template <class State, class Event, class Stopped>
struct ConnectionParts {
  using StopReason = decltype(Stopped::reason);
  static constexpr std::chrono::seconds kDrainTime{2};  // for output that is left after the end

  ConnectionParts(State first, SteadyTime at, WallTime wall_at, bool paced)
      : now(at), start(at), wall_start(wall_at), link(paced), state(first) {}

  WallTime wall() const { return wall_start + (now - start); }
  std::uint32_t timestamp() const { return static_cast<std::uint32_t>(to_ms(wall()) / 1000); }
  bool stopped() const { return state == State::kStopping || state == State::kStopped; }

  // One C2S message, as plaintext.
  Bytes c2s(C2sType type, std::string_view data) const {
    return encode(Message{C2sMessage{.type = type, .time = timestamp(), .data = to_bytes(data)}});
  }
  // Data of one C2C that the peer's key, and a peer that reads a frame with one call, can take.
  template <class Options>
  std::size_t max_legacy_data(const Options& options) const {
    const std::size_t fits = max_plain_size(link.peer_key()->size()) - C2cMessage::kHeaderSize;
    return options.pace_legacy ? std::min(fits, options.legacy_data_limit) : fits;
  }

  // More than `limit` bytes wait already; takes_again() tells when to come back.
  bool is_busy(std::size_t limit) {
    if (link.output_size() < limit) return false;
    wants_writable = true;
    return true;
  }
  bool takes_again(std::size_t limit) {
    if (!wants_writable || link.output_size() >= limit / 2) return false;
    wants_writable = false;
    return true;
  }

  std::optional<Event> next_event() {
    if (auto job = link.next_job()) return std::move(*job);
    if (events.empty()) return std::nullopt;
    Event event = std::move(events.front());
    events.pop_front();
    return event;
  }

  // False: it has stopped already.
  bool begin_stop(StopReason reason) {
    if (stopped()) return false;
    stop_reason = reason;
    state = State::kStopping;
    return true;
  }
  // True, once: all output is there, so this is the end.
  bool end_stop() {
    if (link.output_pending()) return false;
    state = State::kStopped;
    opener.reset();
    drain_until = now + kDrainTime;
    events.push_back(Stopped{.reason = stop_reason, .text = std::move(stop_text)});
    return true;
  }
  // Of the two last states.
  std::optional<SteadyTime> drain_deadline() const {
    const bool drains = state == State::kStopped && link.output_size() > 0;
    return drains ? std::optional(drain_until) : std::nullopt;
  }

  SteadyTime now;
  const SteadyTime start;
  const WallTime wall_start;
  FrameSplitter splitter;
  Link link;
  std::optional<SealedFrames> opener;  // of the peer's frames, once upgraded
  std::deque<Event> events;
  State state;
  bool ended = false;  // the peer has ended its stream
  bool wants_writable = false;
  SteadyTime drain_until;
  StopReason stop_reason{};
  std::string stop_text;
};

}  // namespace sealane::hub
