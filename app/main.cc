#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <exception>
#include <string_view>

#include "app/command_line.h"
#include "crypto/rsa_code.h"
#include "sealane/store/system.h"

namespace {

sealane::flow::Cancellation* cancellation = nullptr;

std::atomic<std::int64_t> first_stop_second = 0;
static_assert(std::atomic<std::int64_t>::is_always_lock_free, "used by a signal handler");

// A second signal means that the first did not help. But not at once: timeout(1) sends two, one to
// us and one to our group, and whoever is in a hurry presses Ctrl-C twice; the first needs a moment
// to remove what is half-done.
extern "C" void on_stop_signal(int /*signal*/) {
  constexpr std::int64_t kPatienceSeconds = 2;
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  if (!cancellation->cancelled()) {
    first_stop_second = now.tv_sec;
    cancellation->cancel();
  } else if (now.tv_sec - first_stop_second >= kPatienceSeconds) {
    ::_exit(sealane::exit_code(sealane::ErrorKind::kInterrupted));
  }
}

extern "C" void on_progress_signal(int /*signal*/) { sealane::app::request_progress_now(); }

void install_signal_handlers() {
  struct sigaction action {};
  action.sa_handler = on_stop_signal;
  sigemptyset(&action.sa_mask);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) sigaction(signal, &action, nullptr);
  action.sa_handler = on_progress_signal;
  action.sa_flags = SA_RESTART;
  sigaction(SIGUSR1, &action, nullptr);
  // A reader that went away is an error of that write, with its own sentence.
  action.sa_handler = SIG_IGN;
  sigaction(SIGPIPE, &action, nullptr);
}

// Those that run for long, and take RSA blocks from legacy clients and hubs.
bool computes_much_rsa(int argc, char** argv) {
  const std::string_view first = argc > 1 ? argv[1] : "";
  const std::string_view second = argc > 2 ? argv[2] : "";
  return (first == "hub" && second == "serve") || first == "listen" || first == "chat";
}

// Where the loader calls it: before all constructors, those of libraries included.
void before_libraries(int argc, char** argv, char** environment) {
  if (computes_much_rsa(argc, argv)) sealane::crypto::prefer_avx2_rsa(environment);
}
[[gnu::section(".preinit_array"),
  gnu::used]] void (*before_libraries_entry)(int, char**, char**) = before_libraries;

}  // namespace

int main(int argc, char** argv) {
  try {
    sealane::flow::Cancellation cancel;
    cancellation = &cancel;
    install_signal_handlers();
    sealane::app::Console console;
    sealane::app::Context context{console, sealane::system_files(), sealane::system_clock(),
                                  sealane::system_random(), cancel};
    auto commands = sealane::app::all_commands();
    return sealane::app::run_command_line(argc, argv, commands, context);
  } catch (const std::exception& error) {
    // The machine gave up: memory, threads, descriptors.
    std::fprintf(stderr, "sealane: out of a resource of this machine: %s\n", error.what());
    return 1;
  }
}
