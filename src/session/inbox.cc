#include "session/inbox.h"

#include <algorithm>

namespace sealane::session {

void Inbox::lend(const SessionId& from, ByteSpan messages) {
  SEALANE_CHECK(lent_.empty());
  lent_ = messages;
  lent_from_ = from;
}

void Inbox::keep_lent() {
  if (lent_.empty()) return;
  Kept kept;
  if (!free_.empty()) {
    kept.storage = std::move(free_.back());
    free_.pop_back();
  }
  kept.storage.assign(lent_.begin(), lent_.end());
  kept.end = lent_.size();
  kept.from = lent_from_;
  kept_bytes_ += kept.end + kKeptOverhead;
  queue_.push_back(std::move(kept));
  lent_ = {};
}

void Inbox::drop_from(const SessionId& from) {
  if (lent_from_ == from) lent_ = {};
  for (std::size_t i = queue_.size(); i > 0; --i) {
    Kept kept = queue_.pop_front();
    if (kept.from == from) {
      kept_bytes_ -= kept.end + kKeptOverhead;
    } else {
      queue_.push_back(std::move(kept));
    }
  }
}

void Inbox::drop_all() {
  lent_ = {};
  while (!queue_.empty()) queue_.pop_front();
  kept_bytes_ = 0;
}

std::optional<Inbox::Next> Inbox::take() {
  if (queue_.empty()) {
    if (lent_.empty()) return std::nullopt;
    if (const auto message = take_message(lent_)) return Next{*message, lent_from_, false};
    lent_ = {};
    return Next{{}, lent_from_, true};
  }
  Kept& kept = queue_.front();
  ByteSpan rest = ByteSpan(kept.storage).subspan(kept.at, kept.end - kept.at);
  const auto message = take_message(rest);
  Next next{message.value_or(Message{}), kept.from, !message.has_value()};
  kept.at = message ? kept.end - rest.size() : kept.end;
  if (kept.at == kept.end) {
    // The message lies in it until the next call.
    Kept done = queue_.pop_front();
    kept_bytes_ -= done.end + kKeptOverhead;
    if (finished_.capacity() != 0 && free_.size() < kIdleBuffers)
      free_.push_back(std::move(finished_));
    finished_ = std::move(done.storage);
  }
  return next;
}

void Inbox::release_idle() {
  free_.clear();
  free_.shrink_to_fit();
  queue_.release_if_empty();
}

}  // namespace sealane::session
