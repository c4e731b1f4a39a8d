#include "backup/process.h"

#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <filesystem>
#include <system_error>
#include <thread>

#include "base/check.h"
#include "base/limits.h"

extern char** environ;

namespace sealane::backup {
namespace {

constexpr int kPipeSize = 1024 * 1024;  // fewer switches between the tool and us
// A tool that streams writes, or reads, 4 KiB at a time. Were we woken by each of those, both would
// wait for each other; so after a wait the pipe gets this long to fill, or to drain. At 1 GB/s it
// would take twice as long.
constexpr std::chrono::microseconds kGatherTime{500};
constexpr std::size_t kStreams = 64 * 1024;  // bytes one way that make it a stream
constexpr int kStopGraceMilliseconds = 2000;
constexpr std::size_t kComplaintSize = 600;  // of a tool's words in one of our sentences

Error failed(std::string message) { return {ErrorKind::kFailed, std::move(message)}; }

Error system_failure(const std::string& what) { return failed(what + ": " + std::strerror(errno)); }

void close_quietly(int& fd) {
  if (fd >= 0) ::close(fd);
  fd = -1;
}

// Both ends, above the standard descriptors, so that dup2 in the child never meets them.
struct Pipe {
  std::array<int, 2> ends{-1, -1};
  ~Pipe() {
    for (int& end : ends) close_quietly(end);
  }
  bool open() {
    if (::pipe2(ends.data(), O_CLOEXEC) < 0) return false;
    for (int& end : ends) {
      if (end > 2) continue;
      const int moved = ::fcntl(end, F_DUPFD_CLOEXEC, 3);
      if (moved < 0) return false;
      ::close(end);
      end = moved;
    }
    return true;
  }
  void enlarge() { ::fcntl(ends[0], F_SETPIPE_SZ, kPipeSize); }  // a wish: the kernel has limits
  int take(std::size_t index) { return std::exchange(ends[index], -1); }
};

void set_non_blocking(int fd) { ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK); }

// NUL-terminated strings for exec; those of the environment may hold a secret.
class StringArray {
 public:
  ~StringArray() {
    for (auto& text : texts_) cleanse(std::as_writable_bytes(std::span(text)));
  }
  void add(std::string text) { texts_.push_back(std::move(text)); }
  char** get() {
    pointers_.clear();
    for (auto& text : texts_) pointers_.push_back(text.data());
    pointers_.push_back(nullptr);
    return pointers_.data();
  }

 private:
  std::deque<std::string> texts_;  // never moves them, which could leave copies behind
  std::vector<char*> pointers_;
};

bool is_unset(const ToolCommand& command, std::string_view entry) {
  const std::string_view name = entry.substr(0, entry.find('='));
  if (name.starts_with("SEALANE_") || name == "LC_ALL" || name == "LANGUAGE") return true;
  if (name == command.secret_variable) return true;
  for (const auto& prefix : command.unset_prefixes) {
    if (name.starts_with(prefix)) return true;
  }
  return std::ranges::any_of(command.environment,
                             [&](const auto& added) { return added.first == name; });
}

void fill_environment(const ToolCommand& command, StringArray& out) {
  for (char** entry = environ; *entry != nullptr; ++entry) {
    if (!is_unset(command, *entry)) out.add(*entry);
  }
  out.add("LC_ALL=C");
  for (const auto& [name, value] : command.environment) out.add(name + '=' + value);
  if (!command.secret_variable.empty() && command.secret != nullptr) {
    std::string entry;  // whole at once: growing would leave copies behind
    entry.reserve(command.secret_variable.size() + 1 + command.secret->size());
    entry.append(command.secret_variable).append("=").append(command.secret->expose_text());
    out.add(std::move(entry));
  }
}

// What the child needs, prepared before fork(): after it only async-signal-safe calls are allowed.
struct ChildPlan {
  const char* path = nullptr;
  char** arguments = nullptr;
  char** environment = nullptr;
  std::array<int, 3> standard{-1, -1, -1};
  int report = -1;  // an errno goes here when exec fails
  pid_t parent = -1;
  const ToolCommand* command = nullptr;
};

[[noreturn]] void give_up(int report) {
  const int code = errno;
  [[maybe_unused]] const auto written = ::write(report, &code, sizeof code);
  ::_exit(127);
}

[[noreturn]] void run_child(const ChildPlan& plan) {
  // A session of its own is a process group of its own, without a terminal.
  if (::setsid() < 0) give_up(plan.report);
  const auto& user = plan.command->user;
  if (user && (::setgroups(0, nullptr) < 0 || ::setresgid(user->gid, user->gid, user->gid) < 0 ||
               ::setresuid(user->uid, user->uid, user->uid) < 0)) {
    give_up(plan.report);
  }
  // After the change of user, which forgets it.
  if (::prctl(PR_SET_PDEATHSIG, plan.command->parent_death_signal) < 0) give_up(plan.report);
  if (::getppid() != plan.parent) ::_exit(127);  // the parent died before it was set
  if (plan.command->leave_directory && ::chdir("/") < 0) give_up(plan.report);
  for (int fd = 0; fd < 3; ++fd) {
    if (::dup2(plan.standard[static_cast<std::size_t>(fd)], fd) < 0) give_up(plan.report);
  }
  // Ours are close-on-exec; this is for descriptors of libraries. An old kernel lacks it.
  ::close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
  for (const int signal : {SIGPIPE, SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGCHLD, SIGUSR1, SIGUSR2}) {
    ::signal(signal, SIG_DFL);
  }
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::execve(plan.path, plan.arguments, plan.environment);
  give_up(plan.report);
}

// write(2) that never raises SIGPIPE in this process, whatever its handler.
ssize_t write_without_signal(int fd, ByteSpan data) {
  sigset_t pipe_signal;
  sigset_t before;
  sigset_t pending;
  ::sigemptyset(&pipe_signal);
  ::sigaddset(&pipe_signal, SIGPIPE);
  ::sigpending(&pending);
  const bool was_pending = ::sigismember(&pending, SIGPIPE) == 1;
  ::pthread_sigmask(SIG_BLOCK, &pipe_signal, &before);
  const ssize_t put = ::write(fd, data.data(), data.size());
  const int code = errno;
  if (put < 0 && code == EPIPE && !was_pending) {
    const timespec at_once{};
    ::sigtimedwait(&pipe_signal, nullptr, &at_once);
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  errno = code;
  return put;
}

std::string without_secret(std::string text, const SecretBytes* secret) {
  if (secret == nullptr || secret->empty()) return text;
  const std::string_view value = secret->expose_text();
  for (std::size_t at = 0; (at = text.find(value, at)) != std::string::npos;) {
    text.replace(at, value.size(), "***");
    at += 3;
  }
  return text;
}

std::string name_of(const std::string& program) {
  return program.substr(program.rfind('/') == std::string::npos ? 0 : program.rfind('/') + 1);
}

}  // namespace

std::optional<std::string> find_program(const std::string& program) {
  const auto executable = [](const std::string& path) {
    struct stat status {};
    return ::stat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode) &&
           ::access(path.c_str(), X_OK) == 0;
  };
  if (program.find('/') != std::string::npos) {
    return executable(program) ? std::optional(program) : std::nullopt;
  }
  const char* variable = std::getenv("PATH");
  std::string_view rest = variable != nullptr ? variable : "/usr/local/bin:/usr/bin:/bin";
  for (;;) {
    const auto end = rest.find(':');
    const std::string_view folder = rest.substr(0, end);
    // An empty entry means the current folder, where nothing should be run from.
    if (folder.starts_with('/')) {
      const std::string path = std::string(folder) + '/' + program;
      if (executable(path)) return path;
    }
    if (end == std::string_view::npos) return std::nullopt;
    rest.remove_prefix(end + 1);
  }
}

Error missing_tool(const std::string& program, const std::string& package) {
  return failed(name_of(program) + " is not installed: install the Debian package " + package);
}

Result<std::unique_ptr<Tool>, Error> Tool::start(const ToolCommand& command,
                                                 flow::Cancellation* cancel) {
  const auto path = find_program(command.program);
  if (!path) return missing_tool(command.program, command.package);
  if (cancel != nullptr && cancel->cancelled()) {
    return Error{ErrorKind::kInterrupted, "stopped before " + name_of(*path) + " was started"};
  }

  std::unique_ptr<Tool> tool(new Tool);
  tool->name_ = name_of(*path);
  tool->secret_ = command.secret;
  tool->cancel_ = cancel;
  tool->stop_signal_ = command.stop_signal;
  tool->may_ignore_input_ = command.may_ignore_input;
  const std::string what = "cannot run " + tool->name_;

  Pipe input;
  Pipe output;
  Pipe errors;
  Pipe report;
  if (!errors.open() || !report.open()) return system_failure(what);
  if (command.pipe_input) {
    if (!input.open()) return system_failure(what);
    input.enlarge();
    set_non_blocking(input.ends[1]);
  } else {
    input.ends[0] = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  }
  if (command.pipe_output) {
    if (!output.open()) return system_failure(what);
    output.enlarge();
    set_non_blocking(output.ends[0]);
  } else {
    output.ends[1] = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
  }
  set_non_blocking(errors.ends[0]);
  if (!command.error_file.empty()) {
    close_quietly(errors.ends[1]);
    errors.ends[1] = ::open(command.error_file.c_str(),
                            O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
  }
  if (input.ends[0] < 0 || output.ends[1] < 0 || errors.ends[1] < 0) return system_failure(what);

  StringArray arguments;
  const auto buffering = command.output_buffer > 0 ? find_program("stdbuf") : std::nullopt;
  if (buffering) {
    for (const std::string& argument :
         {std::string("stdbuf"), "--output=" + std::to_string(command.output_buffer), *path}) {
      arguments.add(argument);
    }
  } else {
    arguments.add(command.program);  // as given: a tool may look for others beside itself
  }
  for (const auto& argument : command.arguments) arguments.add(argument);
  StringArray environment;
  fill_environment(command, environment);

  ChildPlan plan{.path = (buffering ? *buffering : *path).c_str(),
                 .arguments = arguments.get(),
                 .environment = environment.get(),
                 .standard = {input.ends[0], output.ends[1], errors.ends[1]},
                 .report = report.ends[1],
                 .parent = ::getpid(),
                 .command = &command};
  // No handler of ours may run in the child before exec.
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  const pid_t pid = ::fork();
  if (pid == 0) run_child(plan);
  const int fork_code = errno;
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (pid < 0) {
    errno = fork_code;
    return system_failure(what);
  }
  tool->pid_ = pid;
  close_quietly(report.ends[1]);
  int code = 0;
  ssize_t got = 0;
  do {
    got = ::read(report.ends[0], &code, sizeof code);  // until exec closes it
  } while (got < 0 && errno == EINTR);
  // glibc 2.36 declares pidfd_open without C linkage.
  tool->process_ = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
  if (tool->process_ < 0) {
    const Error error = system_failure(what);
    ::kill(-pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
    tool->reaped_ = true;
    return error;
  }
  if (got > 0) {
    errno = code;
    return system_failure(what);
  }
  if (command.pipe_input) tool->input_ = input.take(1);
  if (command.pipe_output) tool->output_ = output.take(0);
  if (command.error_file.empty()) tool->errors_ = errors.take(0);
  return tool;
}

Tool::~Tool() {
  stop();
  for (int* fd : {&process_, &input_, &output_, &errors_}) close_quietly(*fd);
}

bool Tool::asked_to_stop() const {
  return interruption_.cancelled() || (cancel_ != nullptr && cancel_->cancelled());
}

Error Tool::interrupted() const {
  return {ErrorKind::kInterrupted, "stopped while " + name_ + " was running"};
}

void Tool::read_errors() {
  std::array<char, 4096> buffer{};
  while (errors_ >= 0) {
    const ssize_t got = ::read(errors_, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) {
      close_quietly(errors_);
      return;
    }
    error_tail_.append(buffer.data(), static_cast<std::size_t>(got));
    if (error_tail_.size() > limits::kToolErrorOutput) {
      error_tail_.erase(0, error_tail_.size() - limits::kToolErrorOutput);
    }
  }
}

Result<void, Error> Tool::wait_for(Want want) {
  for (;;) {
    // A negative descriptor is skipped by poll.
    std::array<pollfd, 5> waits{};
    waits[0] = {cancel_ != nullptr ? cancel_->descriptor() : -1, POLLIN, 0};
    waits[1] = {errors_, POLLIN, 0};
    waits[2] = {want == Want::kOutput ? output_ : -1, POLLIN, 0};
    if (want == Want::kInput) waits[2] = {input_, POLLOUT, 0};
    waits[3] = {want == Want::kOutput ? -1 : process_, POLLIN, 0};
    waits[4] = {interruption_.descriptor(), POLLIN, 0};
    if (::poll(waits.data(), waits.size(), -1) < 0 && errno != EINTR) {
      return system_failure("cannot wait for " + name_);
    }
    if (waits[1].revents != 0) read_errors();
    if (waits[0].revents != 0 || waits[4].revents != 0) {
      stop();
      return interrupted();
    }
    if (waits[2].revents != 0 || waits[3].revents != 0) return success();
  }
}

bool Tool::reap_now() {
  if (reaped_) return true;
  siginfo_t info{};
  // Looks first without reaping: while the leader is a zombie, its group's number is not used
  // again.
  if (::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT) < 0 ||
      info.si_pid == 0) {
    return false;
  }
  ::kill(-pid_, SIGKILL);  // what it left behind
  while (::waitpid(pid_, &status_, 0) < 0 && errno == EINTR) {
  }
  reaped_ = true;
  read_errors();
  return true;
}

bool Tool::ended() { return reap_now(); }

Result<void, Error> Tool::reap() {
  while (!reap_now()) {
    SEALANE_TRY(wait_for(Want::kEnd));
  }
  return success();
}

void Tool::stop() {
  if (pid_ < 0 || reap_now()) return;
  stopped_ = true;
  ::kill(-pid_, stop_signal_);
  const auto deadline =
      std::chrono::steady_clock::now() + std::chrono::milliseconds(kStopGraceMilliseconds);
  pollfd wait{process_, POLLIN, 0};
  for (;;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - std::chrono::steady_clock::now());
    if (left.count() <= 0) break;
    read_errors();
    if (::poll(&wait, 1, static_cast<int>(left.count())) > 0) break;
  }
  ::kill(-pid_, SIGKILL);
  while (::waitpid(pid_, &status_, 0) < 0 && errno == EINTR) {
  }
  reaped_ = true;
}

std::string Tool::complaint() const {
  // Its last lines, as one.
  std::string text = without_secret(error_tail_, secret_.get());
  std::string line;
  for (const char c : text) {
    if (c != '\n') {
      line += c == '\t' || c == '\r' ? ' ' : c;
    } else if (!line.empty() && !line.ends_with(' ')) {
      line += ' ';
    }
  }
  while (line.ends_with(' ') || line.ends_with('.')) line.pop_back();
  if (line.size() > kComplaintSize) line = "…" + line.substr(line.size() - kComplaintSize);
  return printable(line, 4 * kComplaintSize);
}

Error Tool::failure() {
  close_quietly(input_);
  close_quietly(output_);  // else it might wait for us to read
  if (auto ended = reap(); !ended.has_value()) return ended.error();
  std::string message = name_;
  if (stopped_) {
    message += " was stopped";
  } else if (WIFSIGNALED(status_)) {
    message += " was killed by signal " + std::to_string(WTERMSIG(status_));
  } else if (WEXITSTATUS(status_) != 0) {
    message += " failed with status " + std::to_string(WEXITSTATUS(status_));
  } else {
    message += " ended too early";
  }
  if (const std::string words = complaint(); !words.empty()) message += ": " + words;
  return failed(std::move(message));
}

Result<std::size_t, Error> Tool::read(MutableByteSpan out) {
  SEALANE_CHECK(!out.empty());
  while (output_ >= 0) {
    const ssize_t got = ::read(output_, out.data(), out.size());
    if (got > 0) {
      flowed_ += static_cast<std::size_t>(got);
      // A cancelled run stops here even when the tool never makes it wait.
      if (asked_to_stop()) {
        stop();
        return interrupted();
      }
      return static_cast<std::size_t>(got);
    }
    if (got == 0) {
      close_quietly(output_);
    } else if (errno == EAGAIN) {
      SEALANE_TRY(wait_for(Want::kOutput));
      if (flowed_ >= kStreams) std::this_thread::sleep_for(kGatherTime);
    } else if (errno != EINTR) {
      return system_failure("cannot read from " + name_);
    }
  }
  // Its output has ended; whether well, only its status can say.
  close_quietly(input_);
  SEALANE_TRY(reap());
  if (stopped_ || status_ != 0) return failure();
  return std::size_t{0};
}

Result<void, Error> Tool::write(ByteSpan data) {
  flowed_ = 0;  // what it says now may be an answer
  while (!data.empty()) {
    if (input_ < 0 || stopped_) return failure();
    const ssize_t put = write_without_signal(input_, data);
    if (put >= 0) {
      data = data.subspan(static_cast<std::size_t>(put));
    } else if (errno == EAGAIN) {
      SEALANE_TRY(wait_for(Want::kInput));
      if (reap_now()) return input_refused();
      std::this_thread::sleep_for(kGatherTime);  // the pipe was full
    } else if (errno == EPIPE) {
      return input_refused();
    } else if (errno != EINTR) {
      return system_failure("cannot write to " + name_);
    }
  }
  return success();
}

Result<void, Error> Tool::input_refused() {
  if (!may_ignore_input_) return failure();
  close_quietly(input_);
  return success();
}

void Tool::close_input() { close_quietly(input_); }

Result<void, Error> Tool::finish() {
  close_quietly(input_);
  if (output_ >= 0) {
    std::array<std::byte, 4096> unread{};
    for (;;) {
      SEALANE_TRY(const std::size_t got, read(unread));
      if (got == 0) return success();
    }
  }
  SEALANE_TRY(reap());
  if (stopped_ || status_ != 0) return failure();
  return success();
}

Result<std::string, Error> run_tool(ToolCommand command, flow::Cancellation* cancel,
                                    std::size_t limit) {
  command.pipe_output = true;
  SEALANE_TRY(auto tool, Tool::start(command, cancel));
  std::string text;
  std::array<std::byte, 4096> buffer{};
  for (;;) {
    SEALANE_TRY(const std::size_t got, tool->read(buffer));
    if (got == 0) return text;
    if (got > limit - text.size()) {
      return failed(name_of(command.program) + " says more than it should");
    }
    text += as_text(ByteSpan(buffer).first(got));
  }
}

Result<TemporaryFolder, Error> TemporaryFolder::create(const std::string& prefix,
                                                       const std::string& parent) {
  std::string base = parent;
  if (base.empty()) {
    const char* variable = std::getenv("TMPDIR");
    base = variable != nullptr && *variable == '/' ? variable : "/tmp";
  }
  std::string path = base + "/" + prefix + "XXXXXX";
  if (::mkdtemp(path.data()) == nullptr) {
    return system_failure("cannot create a folder in " + printable(base));
  }
  return TemporaryFolder(std::move(path));
}

TemporaryFolder& TemporaryFolder::operator=(TemporaryFolder&& other) noexcept {
  if (this != &other) {
    remove();
    path_ = std::exchange(other.path_, {});
  }
  return *this;
}

TemporaryFolder::~TemporaryFolder() { remove(); }

void TemporaryFolder::remove() {
  if (path_.empty()) return;
  std::error_code ignored;  // nobody is left to be told; the folder's mode keeps others out
  std::filesystem::remove_all(path_, ignored);
  path_.clear();
}

Result<std::string, Error> TemporaryFolder::write_file(const std::string& name,
                                                       ByteSpan content) const {
  std::string path = path_ + "/" + name;
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) return system_failure("cannot create " + path);
  while (!content.empty()) {
    const ssize_t put = ::write(fd, content.data(), content.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) {
      const Error error = system_failure("cannot write " + path);
      ::close(fd);
      return error;
    }
    content = content.subspan(static_cast<std::size_t>(put));
  }
  ::close(fd);
  return path;
}

Result<void, Error> pause(flow::Cancellation& cancel, int milliseconds) {
  pollfd wait{cancel.descriptor(), POLLIN, 0};
  const int ready = ::poll(&wait, 1, milliseconds);
  if (ready > 0) return Error{ErrorKind::kInterrupted, "stopped"};
  return success();
}

}  // namespace sealane::backup
