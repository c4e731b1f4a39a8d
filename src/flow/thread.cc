#include "flow/thread.h"

#include <pthread.h>

#include <algorithm>
#include <csignal>

namespace sealane::flow {
namespace {

// A new thread inherits the mask of its maker.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  sigset_t before_{};
};

}  // namespace

unsigned core_count() { return std::max(1U, std::thread::hardware_concurrency()); }

Thread::Thread(std::function<void()> body) {
  const SignalsBlocked blocked;
  thread_ = std::thread(std::move(body));
}

}  // namespace sealane::flow
