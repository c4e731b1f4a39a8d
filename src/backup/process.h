#pragma once
// Tool: another program, run without a shell. Its output and input are streams; its failure is
// ours: no stream of a tool that failed, or was killed, ever ends well.
#include <sys/types.h>

#include <csignal>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "flow/stream.h"
#include "sealane/base/result.h"
#include "sealane/base/secret.h"

namespace sealane::backup {

// How to run a tool.
struct ToolCommand {
  std::string program;                 // a name, looked up in PATH, or a path with a slash
  std::string package;                 // the Debian package to name when it is missing
  std::vector<std::string> arguments;  // without the name; never a secret: others can read them

  // The child gets our environment without SEALANE_* and the variables whose names start with one
  // of `unset_prefixes`, then LC_ALL=C (messages that we can read), then `environment`.
  std::vector<std::string> unset_prefixes;
  std::vector<std::pair<std::string, std::string>> environment;
  // Set in the child's environment, which only its user can read, and blanked out of its messages.
  std::string secret_variable;  // empty: only blanked out
  std::shared_ptr<const SecretBytes> secret;

  bool pipe_input = false;  // else /dev/null
  // Its status alone says whether it did what it should: it need not read what it is given.
  bool may_ignore_input = false;
  bool pipe_output = false;  // else /dev/null
  // Bytes that it shall gather before it writes them, if it writes by way of stdio, which gathers
  // 4096 for a pipe. A wish: needs stdbuf of coreutils. 0: as it likes.
  std::size_t output_buffer = 0;
  std::string error_file;  // appended to instead of our pipe: for servers, which nobody listens to

  // Runs as this user, without supplementary groups. Only root may ask for it.
  struct User {
    uid_t uid = 0;
    gid_t gid = 0;
  };
  std::optional<User> user;
  bool leave_directory = false;  // start in "/"
  int stop_signal = SIGTERM;     // asks it to end; SIGKILL follows
  int parent_death_signal = SIGKILL;
};

// A running tool, in a session of its own (it can ask no terminal for a password, and Ctrl-C
// reaches only us). Blocking; one thread at a time. The tool dies with the thread that started it,
// so that thread must outlive it. The destructor stops the tool and all it started.
class Tool final : public flow::ByteSource, public flow::ByteSink {
 public:
  // `cancel` may be null; else it wakes every wait below, which then fails with kInterrupted.
  static Result<std::unique_ptr<Tool>, Error> start(const ToolCommand& command,
                                                    flow::Cancellation* cancel);
  ~Tool() override;
  Tool(const Tool&) = delete;
  Tool& operator=(const Tool&) = delete;

  // From the tool's output. 0: it closed its output and ended with status 0.
  Result<std::size_t, Error> read(MutableByteSpan out) override;
  // To the tool's input. A tool that ended early, or reads no more, is an error; one that may
  // ignore its input is given the rest no more, and read() and finish() tell how it ended.
  Result<void, Error> write(ByteSpan data) override;
  // From any thread: a read or write that waits stops the tool and fails.
  void interrupt() noexcept override { interruption_.cancel(); }
  // Tells the tool that no more input comes.
  void close_input();
  // Closes the input, waits for the end, discards unread output. Fails unless the status is 0.
  Result<void, Error> finish();
  // Whether it has ended, without waiting.
  bool ended();
  // What it complained about: "pg_dump failed with status 1: …". For a tool that misbehaved
  // otherwise, too. Waits for its end (after closing the input), so that all was said.
  Error failure();
  // TERM, two seconds, KILL. Nothing if it ended already.
  void stop();

  pid_t pid() const { return pid_; }

 private:
  Tool() = default;
  // Waits for one of: output readable, input writable, the end, more error output. Reads the
  // latter.
  enum class Want : std::uint8_t { kOutput, kInput, kEnd };
  Result<void, Error> wait_for(Want want);
  Result<void, Error> reap();  // waits
  bool reap_now();             // after it ended
  Result<void, Error> input_refused();
  void read_errors();
  std::string complaint() const;
  bool asked_to_stop() const;
  Error interrupted() const;

  std::string name_;
  std::shared_ptr<const SecretBytes> secret_;
  flow::Cancellation* cancel_ = nullptr;
  flow::Cancellation interruption_;  // of this tool alone
  pid_t pid_ = -1;
  int process_ = -1;  // pidfd: readable once it ended
  int input_ = -1;
  int output_ = -1;
  int errors_ = -1;
  int stop_signal_ = SIGTERM;
  bool may_ignore_input_ = false;
  bool reaped_ = false;
  bool stopped_ = false;    // by us
  int status_ = 0;          // of waitpid
  std::size_t flowed_ = 0;  // bytes read since something was written to it
  std::string error_tail_;
};

// Runs a tool that says something short. kFailed if it says more than `limit` bytes.
Result<std::string, Error> run_tool(ToolCommand command, flow::Cancellation* cancel,
                                    std::size_t limit = 1024 * 1024);

// The path that execvp would take, or nothing.
std::optional<std::string> find_program(const std::string& program);
// "psql is not installed: install the Debian package postgresql-client".
Error missing_tool(const std::string& program, const std::string& package);

// A new private folder (mode 0700) of a random name below `parent`, or below $TMPDIR, else /tmp;
// removed with all it holds by the destructor.
class TemporaryFolder {
 public:
  static Result<TemporaryFolder, Error> create(const std::string& prefix,
                                               const std::string& parent = {});
  TemporaryFolder(TemporaryFolder&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  TemporaryFolder& operator=(TemporaryFolder&& other) noexcept;
  ~TemporaryFolder();
  const std::string& path() const { return path_; }
  // A new file of mode 0600.
  Result<std::string, Error> write_file(const std::string& name, ByteSpan content) const;

 private:
  explicit TemporaryFolder(std::string path) : path_(std::move(path)) {}
  void remove();
  std::string path_;
};

// A pause that ends early, with kInterrupted, when somebody cancels.
Result<void, Error> pause(flow::Cancellation& cancel, int milliseconds);

}  // namespace sealane::backup
