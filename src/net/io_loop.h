#pragma once
// IoLoop: one thread that waits for descriptors, timers and tasks; Asio stays in its .cc file.
#include <functional>
#include <memory>

#include "sealane/base/seams.h"

namespace sealane::net {

// Everything handed to it runs on its one thread, never inside the call that handed it over.
class IoLoop {
 public:
  IoLoop();  // starts the thread
  // Ends it. What was posted still runs, here; waits and timers that are not due never call. Not
  // from its own thread, and nobody may post from another meanwhile.
  ~IoLoop();
  IoLoop(const IoLoop&) = delete;
  IoLoop& operator=(const IoLoop&) = delete;

  void post(std::function<void()> task);  // from any thread
  // Runs it and waits for its end; from any thread, its own included.
  void run(const std::function<void()>& task);
  bool on_thread() const;
  static SteadyTime now();

  struct Parts;

  // Waits for one descriptor, which must outlive it and which it makes non-blocking. Only on the
  // loop's thread. A wait is for once; a second one for the same thing replaces nothing: do not.
  class Watch {
   public:
    Watch(IoLoop& loop, int descriptor);
    ~Watch();  // waits that are under way never call back
    // Ready, or broken, which the next call on the descriptor tells.
    void when_readable(std::function<void()> ready);
    void when_writable(std::function<void()> ready);

   private:
    struct State;
    std::shared_ptr<State> state_;
  };

  // Only on the loop's thread.
  class Timer {
   public:
    explicit Timer(IoLoop& loop);
    ~Timer();
    void at(SteadyTime when, std::function<void()> due);  // replaces the earlier one
    void cancel();

   private:
    struct State;
    std::shared_ptr<State> state_;
  };

 private:
  std::unique_ptr<Parts> parts_;
};

}  // namespace sealane::net
