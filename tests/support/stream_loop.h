#pragma once
// The simulated event loop as a stream driver's loop.
#include <memory>

#include "net/stream_driver.h"
#include "tests/support/simulated_network.h"

namespace sealane::testing {

class SimulatedStreamLoop final : public net::StreamLoop {
 public:
  explicit SimulatedStreamLoop(EventLoop& loop) : loop_(loop) {}
  void post(std::function<void()> task) override { loop_.post(std::move(task)); }
  void run(const std::function<void()>& task) override { task(); }
  SteadyTime now() const override { return loop_.steady_now(); }
  std::unique_ptr<Timer> make_timer() override { return std::make_unique<SimulatedTimer>(loop_); }

 private:
  class SimulatedTimer final : public Timer {
   public:
    explicit SimulatedTimer(EventLoop& loop) : loop_(loop) {}
    ~SimulatedTimer() override { cancel(); }
    void at(SteadyTime when, std::function<void()> due) override {
      const std::uint64_t turn = ++*turn_;
      loop_.at(when, [turn, newest = turn_, due = std::move(due)] {
        if (*newest == turn) due();
      });
    }
    void cancel() override { ++*turn_; }

   private:
    EventLoop& loop_;
    std::shared_ptr<std::uint64_t> turn_ = std::make_shared<std::uint64_t>(0);
  };
  EventLoop& loop_;
};

}  // namespace sealane::testing
