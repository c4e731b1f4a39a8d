#pragma once
// EventLoop, SimulatedNetwork: hosts, connections and datagrams in one thread and virtual time. The
// same seed gives the same run, so a failure is replayed by the seed that it printed.
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "sealane/base/network.h"
#include "sealane/base/seams.h"

namespace sealane::testing {

// Events run in the order of their time; of equal times, in the order they were added. Time stands
// still while an event runs. Not thread-safe.
class EventLoop final : public Clock {
 public:
  explicit EventLoop(WallTime start = {}) : start_(start) {}
  ~EventLoop() override;  // what is left never runs
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;
  WallTime wall_now() const override { return start_ + now_.time_since_epoch(); }
  SteadyTime steady_now() const override { return now_; }

  void post(std::function<void()> event) { at(now_, std::move(event)); }
  void at(SteadyTime when, std::function<void()> event);  // a time in the past means now
  bool run_one();                                         // false: nothing is left
  // Until nothing is left. More than `limit` events are a livelock, and end the program.
  void run(std::size_t limit = 10'000'000);
  // Everything due up to `end`; then it is `end`.
  void run_until(SteadyTime end);

 private:
  WallTime start_;
  SteadyTime now_{};
  std::uint64_t next_ = 0;
  bool closing_ = false;
  std::map<std::pair<SteadyTime, std::uint64_t>, std::function<void()>> events_;
};

// How bytes travel between two hosts, both ways. Delays are drawn evenly between the two bounds.
struct LinkOptions {
  std::chrono::nanoseconds delay_min = std::chrono::microseconds(100);
  std::chrono::nanoseconds delay_max = std::chrono::milliseconds(2);
  std::size_t max_segment = 1460;  // a stream arrives in pieces of 1..max_segment bytes
  double loss = 0;                 // of datagrams, as are the two below; 0..1
  double duplication = 0;
  double reordering = 0;  // held back by up to ten times delay_max
};

// Addresses are tcp:HOST:PORT, udp:HOST:PORT (port 0: the next free one) and, inside one host,
// unix:PATH. Connections may outlive it.
class SimulatedNetwork {
 public:
  // Sent and not yet read by the peer, per direction: a write beyond it waits.
  static constexpr std::size_t kWindow = 64 * 1024;
  static constexpr std::size_t kMaxDatagram = 65507;
  static constexpr std::size_t kBacklog = 64;           // connections nobody accepted yet
  static constexpr std::size_t kDatagramBacklog = 256;  // more are dropped, as a kernel does

  // `loop` must outlive it and everything made by it.
  SimulatedNetwork(EventLoop& loop, std::uint64_t seed);
  ~SimulatedNetwork();

  // The network as seen from that host; made on first use, lives as long as *this.
  Network& host(const std::string& name);

  void set_link(const std::string& a, const std::string& b, LinkOptions options);
  // Nothing passes between the two: datagrams are lost, connecting times out, what streams carry
  // waits until heal().
  void partition(const std::string& a, const std::string& b);
  void heal(const std::string& a, const std::string& b);
  // Every connection between the two is reset, on both sides; what was under way is lost.
  void cut(const std::string& a, const std::string& b);

  struct Counters {
    std::uint64_t segments = 0;
    std::uint64_t datagrams_sent = 0;
    std::uint64_t datagrams_lost = 0;  // by chance, partition, no receiver or full queue
    std::uint64_t datagrams_duplicated = 0;
    std::uint64_t datagrams_delivered = 0;
  };
  const Counters& counters() const;
  // A hash over everything that happened, with its time: equal for equal runs.
  std::uint64_t trace() const;

  struct State;

 private:
  std::shared_ptr<State> state_;
  std::map<std::string, std::unique_ptr<Network>> hosts_;
};

}  // namespace sealane::testing
