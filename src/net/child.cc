#include "net/child.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <system_error>
#include <utility>

namespace sealane::net {
namespace {

constexpr int kPatience = 1000;  // milliseconds, for each way to end
constexpr int kStep = 10;

struct Pipe {
  flow::OwnedDescriptor read;
  flow::OwnedDescriptor write;
};

std::optional<Pipe> make_pipe() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return std::nullopt;
  return Pipe{flow::OwnedDescriptor(ends[0]), flow::OwnedDescriptor(ends[1])};
}

Error cannot_run(const std::string& program, int code) {
  return {ErrorKind::kFailed,
          "cannot run " + printable(program) + ": " + std::generic_category().message(code)};
}

}  // namespace

std::optional<std::vector<std::string>> split_words(std::string_view text) {
  std::vector<std::string> words;
  std::optional<std::string> word;
  char quote = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quote == 0 && (c == ' ' || c == '\t' || c == '\n')) {
      if (word) words.push_back(*std::exchange(word, std::nullopt));
      continue;
    }
    if (!word) word.emplace();
    if (c == quote || (quote == 0 && (c == '\'' || c == '"'))) {
      quote = quote == 0 ? c : '\0';
    } else if (c == '\\' && quote != '\'' && i + 1 < text.size() &&
               (quote == 0 || text[i + 1] == '"' || text[i + 1] == '\\')) {
      ++i;
      word->push_back(text[i]);
    } else {
      word->push_back(c);
    }
  }
  if (quote != 0) return std::nullopt;
  if (word) words.push_back(*word);
  return words;
}

Result<Child, Error> Child::start(const std::vector<std::string>& words) {
  auto input = make_pipe();
  auto output = make_pipe();
  if (!input || !output) return cannot_run(words[0], errno);
  std::vector<std::string> copy = words;
  std::vector<char*> arguments;
  arguments.reserve(copy.size() + 1);
  for (std::string& word : copy) arguments.push_back(word.data());
  arguments.push_back(nullptr);

  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawnattr_init(&attributes);
  ::posix_spawn_file_actions_adddup2(&actions, input->read.get(), STDIN_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, output->write.get(), STDOUT_FILENO);
  // What we ignore, it does not.
  sigset_t defaults;
  sigset_t none;
  ::sigemptyset(&defaults);
  ::sigaddset(&defaults, SIGPIPE);
  ::sigemptyset(&none);
  ::posix_spawnattr_setsigdefault(&attributes, &defaults);
  ::posix_spawnattr_setsigmask(&attributes, &none);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
  pid_t pid = -1;
  const int code =
      ::posix_spawnp(&pid, arguments[0], &actions, &attributes, arguments.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  ::posix_spawnattr_destroy(&attributes);
  if (code != 0) return cannot_run(words[0], code);
  return Child(pid, std::move(output->read), std::move(input->write));
}

Child::Child(Child&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)),
      output_(std::move(other.output_)),
      input_(std::move(other.input_)) {}

void Child::release_pipes() {
  input_.reset();
  output_.reset();
}

bool Child::reap_within(int milliseconds) const {
  for (int waited = 0;; waited += kStep) {
    const pid_t done = ::waitpid(pid_, nullptr, WNOHANG);
    if (done == pid_ || (done < 0 && errno == ECHILD)) return true;
    if (waited >= milliseconds) return false;
    static_cast<void>(::poll(nullptr, 0, kStep));
  }
}

Child::~Child() {
  if (pid_ < 0) return;
  release_pipes();
  if (reap_within(kPatience)) return;
  ::kill(pid_, SIGTERM);
  if (reap_within(kPatience)) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

}  // namespace sealane::net
