#pragma once
// PeerLink: the entropy channel as the place that a push sends its parts to.
#include <atomic>
#include <memory>

#include "sealane/base/seams.h"
#include "warm/channel.h"
#include "warm/push.h"

namespace sealane::warm {

class PeerLink {
 public:
  // Draws the id of the snapshot that all its parts belong to. `cancel` may be null.
  static Result<std::unique_ptr<PeerLink>, Error> open(PushOptions options, ChannelKeys keys,
                                                       Clock& clock, RandomSource& random,
                                                       const flow::Cancellation* cancel);
  // Before the first part: what they are read from, so that the peer does not write to that.
  void set_store(const std::optional<StoreId>& store) { series_.store = store; }
  // Must not be used longer than *this. Thread-safe.
  SendPart sender();
  std::uint64_t bytes_sent() const { return pusher_->bytes_sent(); }

 private:
  PeerLink(std::unique_ptr<Pusher> pusher, std::string peer, const flow::Cancellation* cancel)
      : pusher_(std::move(pusher)), peer_(std::move(peer)), cancel_(cancel) {}
  Result<PartOutcome, Error> send(const Part& part);
  std::string why_refused(entropy::Refusal refusal) const;
  std::unique_ptr<Pusher> pusher_;
  std::string peer_;
  Series series_;
  const flow::Cancellation* cancel_;
  std::atomic<bool> answers_{false};  // it did so far
};

}  // namespace sealane::warm
