#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <exception>

#include "app/command_line.h"
#include "sealane/store/system.h"

namespace {

sealane::flow::Cancellation* cancellation = nullptr;

extern "C" void on_stop_signal(int /*signal*/) {
  // The second signal means that the first did not help.
  if (cancellation->cancelled()) ::_exit(sealane::exit_code(sealane::ErrorKind::kInterrupted));
  cancellation->cancel();
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
