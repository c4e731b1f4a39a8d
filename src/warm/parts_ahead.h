#pragma once
// PartsAhead: a source read by a thread of its own, so that neither waits for the other where now
// the reading is slower and now the sending. A Redis that grows its table takes a third of what it
// takes before and after; and the sooner an image is read, the sooner the server's fork is gone.
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "flow/thread.h"
#include "sealane/warm/source.h"

namespace sealane::warm {

// Reading begins with the first next(). The destructor interrupts it.
class PartsAhead final : public Source {
 public:
  // Parts wait here, and memory of parts that are done with, as long as they and `elsewhere` more
  // as large as the last fit into `memory` bytes: those being made and sent. One part waits
  // whatever its size.
  PartsAhead(std::unique_ptr<Source> source, std::size_t memory, std::size_t elsewhere)
      : source_(std::move(source)), memory_(memory), elsewhere_(elsewhere) {}
  ~PartsAhead() override;
  PartsAhead(const PartsAhead&) = delete;
  PartsAhead& operator=(const PartsAhead&) = delete;

  std::string description() const override { return source_->description(); }
  std::optional<StoreId> store() const override { return source_->store(); }
  Result<bool, Error> resume(const PartCursor& behind) override;
  // After interrupt(): what waits here is still handed out, then comes the error.
  Result<std::optional<Part>, Error> next() override;
  void reuse(Bytes&& memory) override;
  Progress progress() const override { return source_->progress(); }  // of what was read
  void set_rate(std::uint64_t bytes_per_second) override { source_->set_rate(bytes_per_second); }
  void interrupt() noexcept override;

 private:
  void read();
  // Memory for the next part, perhaps of none; nothing once interrupted.
  std::optional<Bytes> wait_for_room();
  bool fits(std::size_t size) const { return held_ + size + elsewhere_ * last_ <= memory_; }

  const std::unique_ptr<Source> source_;
  const std::size_t memory_;
  const std::size_t elsewhere_;

  std::mutex mutex_;  // of all below
  std::condition_variable changed_;
  std::deque<Part> ready_;
  std::vector<Bytes> spare_;
  std::size_t held_ = 0;  // bytes of both
  std::size_t last_ = 0;  // bytes of the part read last
  bool ended_ = false;
  std::optional<Error> error_;
  bool interrupted_ = false;

  std::optional<flow::Thread> reader_;  // last: it ends before what it uses
};

}  // namespace sealane::warm
