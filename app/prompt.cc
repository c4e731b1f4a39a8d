#include "app/prompt.h"

#include <fcntl.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>

#include "base/limits.h"
#include "flow/descriptor.h"
#include "sealane/identity/keys.h"

namespace sealane::app {
namespace {

Error usage(std::string message) {
  return {.kind = ErrorKind::kUsage, .message = std::move(message)};
}

// No echo while it lives.
class SilentTerminal {
 public:
  explicit SilentTerminal(int fd) : fd_(fd) {
    if (::tcgetattr(fd_, &old_) != 0) return;
    termios silent = old_;
    silent.c_lflag &= ~static_cast<tcflag_t>(ECHO);
    changed_ = ::tcsetattr(fd_, TCSAFLUSH, &silent) == 0;
  }
  ~SilentTerminal() {
    if (changed_) ::tcsetattr(fd_, TCSAFLUSH, &old_);
  }
  SilentTerminal(const SilentTerminal&) = delete;
  SilentTerminal& operator=(const SilentTerminal&) = delete;

 private:
  int fd_;
  termios old_{};
  bool changed_ = false;
};

Result<SecretBytes, Error> ask_once(int terminal, const std::string& label) {
  const std::string text = label + ": ";
  const SilentTerminal silent(terminal);
  if (::write(terminal, text.data(), text.size()) < 0) return usage("the terminal went away");
  SecretBytes line(limits::kPassphraseSize);
  std::size_t size = 0;
  for (;;) {
    std::byte c{};
    const ssize_t got = ::read(terminal, &c, 1);
    if (got < 0) return flow::interrupted();  // only a signal ends this wait
    if (got == 0 || c == std::byte{'\n'}) break;
    if (size == line.size()) return usage("the passphrase is longer than 1024 bytes");
    line.fill()[size++] = c;
  }
  // The line feed that was typed was not shown.
  [[maybe_unused]] const auto shown = ::write(terminal, "\n", 1);
  line.truncate(size);
  if (line.empty()) return usage("the passphrase is empty");
  return line;
}

}  // namespace

Result<SecretBytes, Error> prompt_passphrase(const std::string& label, Ask ask) {
  const flow::OwnedDescriptor terminal(::open("/dev/tty", O_RDWR | O_CLOEXEC));
  if (!terminal.valid()) {
    return usage("there is no terminal to ask for the passphrase; use --passphrase-file");
  }
  SEALANE_TRY(auto first, ask_once(terminal.get(), label));
  if (ask == Ask::kTwice) {
    SEALANE_TRY(const auto second, ask_once(terminal.get(), label + " (again)"));
    if (first.expose_text() != second.expose_text()) return usage("the two passphrases differ");
  }
  return first;
}

bool confirm(const std::string& question) {
  const flow::OwnedDescriptor terminal(::open("/dev/tty", O_RDWR | O_CLOEXEC));
  if (!terminal.valid() || ::write(terminal.get(), question.data(), question.size()) < 0) {
    return false;
  }
  std::string line;
  char c = 0;
  while (::read(terminal.get(), &c, 1) == 1 && c != '\n' && line.size() < 16) line += c;
  return line == "yes";
}

Result<SecretBytes, Error> read_passphrase_file(FileSystem& files, const std::string& path) {
  SEALANE_TRY(auto content,
              identity::read_secret_file(
                  files, path, {.what = "passphrase file", .max_size = limits::kKeyFileSize}));
  std::size_t end = content.expose_text().find('\n');
  if (end == std::string_view::npos) end = content.size();
  if (end > 0 && content.expose_text()[end - 1] == '\r') --end;
  if (end == 0)
    return usage("the passphrase file " + printable(path) + " starts with an empty line");
  if (end > limits::kPassphraseSize) {
    return usage("the first line of " + printable(path) + " is longer than 1024 bytes");
  }
  content.truncate(end);
  return content;
}

}  // namespace sealane::app
