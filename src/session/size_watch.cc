#include "session/size_watch.h"

#include <algorithm>

#include "base/check.h"

namespace sealane::session {

void SizeWatch::settle(std::size_t size, std::size_t limit, Duration wait, SteadyTime now) {
  SEALANE_CHECK(size <= limit && wait > Duration(0));
  size_ = size;
  limit_ = limit;
  wait_ = std::min(wait, kLongestWait);
  last_look_ = now;
  look_at_.reset();
  end_check(now);
}

void SizeWatch::end_check(SteadyTime now) {
  if (checking_) {
    // Late answers must not be taken for answers to the next ones.
    first_iteration_ = (first_iteration_ + 2 * kCopies) | kFirstIteration;
  }
  checking_ = false;
  check_at_.reset();
  last_check_ = now;
  copies_ = 0;
  small_due_ = false;
  small_answers_.reset();
}

void SizeWatch::on_sent(std::size_t payload_size, SteadyTime now) {
  // A path that does not carry the smallest carries no key exchange either.
  if (payload_size > SizeSearch::kMinSize && !checking_ && !check_at_) {
    check_at_ = std::max(now, last_check_ + kCheckInterval);
  }
  if (size_ < limit_ && !look_at_) look_at_ = std::max(now, last_look_ + look_interval_);
}

std::optional<SizeSearch::Ping> SizeWatch::next_ping(SteadyTime now) {
  if (!checking_) return std::nullopt;
  if (small_due_) {
    small_due_ = false;
    return SizeSearch::Ping{first_iteration_ + 2 * (copies_ - 1) + 1, SizeSearch::kMinSize};
  }
  if (copies_ == kCopies || now < next_copy_) return std::nullopt;
  ++copies_;
  small_due_ = copies_ > 1;
  next_copy_ = now + wait_;
  return SizeSearch::Ping{first_iteration_ + 2 * (copies_ - 1), size_};
}

bool SizeWatch::on_pong(const SizePong& pong, SteadyTime now) {
  if (pong.iteration < kFirstIteration) return false;
  const std::uint32_t place = pong.iteration - first_iteration_;
  if (!checking_ || place >= 2 * copies_) return true;
  if (place % 2 != 0) {
    small_answers_.set(place / 2);
  } else if (pong.size == size_) {
    end_check(now);
  }
  return true;
}

SizeWatch::Finding SizeWatch::on_deadline(SteadyTime now) {
  if (checking_ && copies_ == kCopies && now >= next_copy_) {
    const bool small_ones_arrive = small_answers_.count() >= kSmallAnswers;
    end_check(now);
    if (small_ones_arrive) return Finding::kTooLarge;
  }
  if (checking_) return Finding::kNothing;
  if (check_at_ && now >= *check_at_) {
    check_at_.reset();
    checking_ = true;
    next_copy_ = now;
    return Finding::kNothing;
  }
  if (look_at_ && now >= *look_at_) {
    look_at_.reset();
    last_look_ = now;
    look_interval_ = std::min(2 * look_interval_, kLongestLookAbove);
    return Finding::kLookAbove;
  }
  return Finding::kNothing;
}

std::optional<SteadyTime> SizeWatch::deadline() const {
  if (checking_) return next_copy_;
  if (!check_at_) return look_at_;
  if (!look_at_) return check_at_;
  return std::min(*check_at_, *look_at_);
}

}  // namespace sealane::session
