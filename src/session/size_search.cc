#include "session/size_search.h"

#include <algorithm>

#include "base/check.h"

namespace sealane::session {

SizeSearch::SizeSearch(const Settings& settings, bool search, SteadyTime now)
    : settings_(settings), search_(search), started_(now), high_(settings.limit + 1) {
  SEALANE_CHECK(settings.limit >= kMinSize);
  last_heard_ = now;
  if (search_) {
    ask_smallest_ = settings_.limit > kMinSize;
    ask(settings_.limit, now);
  } else {
    low_ = settings_.limit;
    own_done_ = peer_done_ = true;
    own_done_at_ = now;
  }
}

// While the round trip is unknown a lost copy costs the first wait; later three round trips.
SizeSearch::Duration SizeSearch::wait() const {
  if (!round_trip_) return settings_.first_wait;
  return std::min(settings_.first_wait, 3 * *round_trip_ + kMinWait);
}
SizeSearch::Duration SizeSearch::patience() const {
  return longest_trip_ ? 3 * *longest_trip_ + kMinWait : settings_.first_wait;
}

void SizeSearch::ask(std::size_t size, SteadyTime now) {
  asked_size_ = size;
  copies_left_ = kCopies;
  next_copy_ = now;
}

std::optional<SizeSearch::Ping> SizeSearch::next_ping(SteadyTime now) {
  if (own_done_) return std::nullopt;
  std::size_t size = asked_size_;
  if (ask_smallest_) {
    ask_smallest_ = false;
    size = kMinSize;
  } else {
    if (copies_left_ == 0 || now < next_copy_) return std::nullopt;
    --copies_left_;
    next_copy_ = now + wait();
    // Until anything has come back, the smallest goes along: it tells a small path from a dead one.
    ask_smallest_ = low_ == 0 && size > kMinSize && copies_left_ > 0 && copies_left_ < kCopies - 1;
  }
  ++iteration_;
  asked_[iteration_ % kRemembered] = {iteration_, now};
  return Ping{iteration_, size};
}

std::optional<SizeControl> SizeSearch::next_control(SteadyTime now) {
  if (!own_done_ || !must_end() || end_copies_ == kCopies) return std::nullopt;
  if (end_copies_ == 0) {
    // Answers that are still under way must reach the peer before it stops listening for them.
    if (now < last_heard_ + patience()) return std::nullopt;
  } else if (now < next_end_) {
    return std::nullopt;
  }
  ++end_copies_;
  next_end_ = now + patience();
  return SizeControl{static_cast<std::uint32_t>(std::max(low_, kMinSize)), true};
}

bool SizeSearch::on_ping(SteadyTime now, bool peer_is_legacy) {
  if (peer_ended_ && peer_is_legacy) return false;
  peer_asked_ = true;
  last_heard_ = now;
  return true;
}

void SizeSearch::on_pong(const SizePong& pong, SteadyTime now) {
  const Asked& asked = asked_[pong.iteration % kRemembered];
  if (asked.iteration == pong.iteration && asked.iteration != 0) {
    const Duration trip = now - asked.at;
    round_trip_ = round_trip_ ? std::min(*round_trip_, trip) : trip;
    longest_trip_ = longest_trip_ ? std::max(*longest_trip_, trip) : trip;
  }
  if (own_done_ || pong.size > settings_.limit || pong.size <= low_) return;
  low_ = pong.size;
  // A size that was given up came back after all: what lies above it is open again.
  if (low_ >= high_) high_ = settings_.limit + 1;
  if (asked_size_ <= low_ || asked_size_ >= high_ || copies_left_ == 0) advance(now);
}

void SizeSearch::on_control(const SizeControl& control, SteadyTime now) {
  // It only grows with the peer, so a smaller one was overtaken on its way.
  peer_largest_ = std::max(peer_largest_, control.largest);
  if (!control.end) return;
  peer_ended_ = true;
  peer_done_ = true;
  last_heard_ = now;
}

void SizeSearch::on_user_message(SteadyTime /*now*/) { peer_done_ = true; }

void SizeSearch::on_too_big(std::size_t size, SteadyTime now) {
  if (size <= low_) {
    // What fitted before does not any more.
    low_ = 0;
    high_ = std::max(size, kMinSize + 1);
    if (own_done_) return;
  }
  high_ = std::min(high_, std::max(size, kMinSize + 1));
  if (!own_done_ && asked_size_ >= high_) advance(now);
}

void SizeSearch::restart(std::size_t limit, SteadyTime now) {
  settings_.limit = std::max(limit, kMinSize);
  low_ = 0;
  high_ = settings_.limit + 1;
  started_ = now;
  own_done_ = false;
  search_ = true;
  above_ = 0;
  peer_largest_ = 0;
  ask_smallest_ = settings_.limit > kMinSize;
  // Copies of the end message that are still due stay due: a legacy peer waits for one for ever.
  peer_done_ = true;
  ask(settings_.limit, now);
}

void SizeSearch::look_above(std::size_t limit, SteadyTime now) {
  SEALANE_CHECK(own_done_);
  low_ = above_ = size();
  if (limit <= low_) return;
  settings_.limit = limit;
  high_ = limit + 1;
  started_ = now;
  own_done_ = false;
  peer_largest_ = 0;  // what comes back now is newer than what it said
  ask(limit, now);
}

// Chooses the next size; ends where nothing is left to find out.
void SizeSearch::advance(SteadyTime now) {
  if (high_ <= kMinSize + 1 || (low_ != 0 && high_ - low_ <= kPrecision)) return finish_own(now);
  std::size_t size = low_ == 0 ? kMinSize : low_ + (high_ - low_) / 2;
  // The limit does not fit: most likely nothing above what was known does, so that is asked first.
  if (above_ != 0 && low_ == above_) size = low_ + kPrecision;
  ask(size, now);
  ask_smallest_ = false;
}

void SizeSearch::finish_own(SteadyTime now) {
  own_done_ = true;
  own_done_at_ = now;
  ask_smallest_ = false;
  copies_left_ = 0;
}

std::size_t SizeSearch::size() const {
  std::size_t size = low_;
  if (peer_largest_ != 0) size = std::min<std::size_t>(size, peer_largest_);
  return std::max(size, kMinSize);
}

std::optional<SteadyTime> SizeSearch::deadline() const {
  if (!own_done_) {
    const SteadyTime end = started_ + settings_.timeout;
    return std::min(next_copy_, end);
  }
  std::optional<SteadyTime> next;
  const auto earlier = [&next](SteadyTime at) { next = next ? std::min(*next, at) : at; };
  if (must_end() && end_copies_ < kCopies) {
    if (end_copies_ > 0) {
      earlier(next_end_);
    } else {
      earlier(last_heard_ + patience());
    }
  }
  if (!peer_done_) {
    earlier(started_ + settings_.timeout);
    if (settings_.quiet) earlier(std::max(own_done_at_, last_heard_) + *settings_.quiet);
  }
  return next;
}

void SizeSearch::on_deadline(SteadyTime now) {
  const bool out_of_time = now >= started_ + settings_.timeout;
  if (!own_done_) {
    if (out_of_time) {
      finish_own(now);
    } else if (copies_left_ == 0 && now >= next_copy_) {
      high_ = std::min(high_, asked_size_);
      if (asked_size_ == kMinSize) {
        // Not even the smallest came back: nothing can be learnt here before the time is up.
        ask(kMinSize, now);
        high_ = settings_.limit + 1;
      } else {
        advance(now);
      }
    }
  }
  if (own_done_ && !peer_done_) {
    if (out_of_time ||
        (settings_.quiet && now >= std::max(own_done_at_, last_heard_) + *settings_.quiet)) {
      peer_done_ = true;
    }
  }
}

}  // namespace sealane::session
