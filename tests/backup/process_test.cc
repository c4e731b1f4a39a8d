// Goal: a tool that failed, was killed or was cancelled never looks finished; nothing it says or is
// told leaks; nothing of it stays behind. Method: real children, mostly /bin/sh.
#include "backup/process.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <sstream>
#include <thread>

#include "base/limits.h"

namespace sealane::backup {
namespace {

ToolCommand shell(const std::string& script) {
  ToolCommand command;
  command.program = "sh";
  command.package = "dash";
  command.arguments = {"-c", script};
  return command;
}

std::unique_ptr<Tool> start(const ToolCommand& command, flow::Cancellation* cancel = nullptr) {
  auto tool = Tool::start(command, cancel);
  EXPECT_TRUE(tool.has_value()) << (tool.has_value() ? "" : tool.error().message);
  return std::move(tool).value();
}

Result<std::string, Error> read_all(Tool& tool) {
  std::string text;
  std::array<std::byte, 700> buffer{};
  for (;;) {
    SEALANE_TRY(const std::size_t got, tool.read(buffer));
    if (got == 0) return text;
    text += as_text(ByteSpan(buffer).first(got));
  }
}

bool exists(pid_t pid) { return ::kill(pid, 0) == 0; }

TEST(Process, GivesTheOutputAndItsEnd) {
  auto command = shell("printf 'a\\0b'; echo noise >&2");
  const auto text = run_tool(command, nullptr);
  ASSERT_TRUE(text.has_value()) << text.error().message;
  EXPECT_EQ(text.value(), std::string("a\0b", 3));
}

TEST(Process, FailureIsNeverAnEnd) {
  auto command = shell("echo data; echo 'disk on fire' >&2; exit 3");
  command.pipe_output = true;
  auto tool = start(command);
  const auto text = read_all(*tool);
  ASSERT_FALSE(text.has_value());
  EXPECT_EQ(text.error().message, "sh failed with status 3: disk on fire");
  std::array<std::byte, 8> buffer{};
  EXPECT_FALSE(tool->read(buffer).has_value()) << "asking again must not help";
}

TEST(Process, KilledInTheMiddleIsNeverAnEnd) {
  auto command = shell("echo data; kill -9 $$");
  command.pipe_output = true;
  auto tool = start(command);
  const auto text = read_all(*tool);
  ASSERT_FALSE(text.has_value());
  EXPECT_EQ(text.error().message, "sh was killed by signal 9");
}

TEST(Process, OutputClosedEarlyStillWaitsForTheStatus) {
  auto command = shell("exec >&-; sleep 0.2; exit 1");
  command.pipe_output = true;
  auto tool = start(command);
  EXPECT_FALSE(read_all(*tool).has_value());
}

TEST(Process, MegabytesOfComplaintsDoNotBlockAndStayBounded) {
  auto command = shell(
      "i=0; while [ $i -lt 3000 ]; do printf '%1000s\\n' x >&2; i=$((i+1)); done; "
      "echo done; echo last words >&2; exit 1");
  command.pipe_output = true;
  auto tool = start(command);
  const auto text = read_all(*tool);
  ASSERT_FALSE(text.has_value());
  EXPECT_TRUE(text.error().message.ends_with("last words")) << text.error().message;
  EXPECT_LT(text.error().message.size(), 3000u);
}

TEST(Process, WritesMegabytesAndChecksTheStatus) {
  auto command = shell("test \"$(wc -c)\" = 3000000");
  command.pipe_input = true;
  auto tool = start(command);
  const Bytes data(1000000, std::byte{'x'});
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(tool->write(data).has_value());
  const auto done = tool->finish();
  EXPECT_TRUE(done.has_value()) << done.error().message;
}

TEST(Process, WritingToAToolThatEndedIsAnErrorAndNoSignal) {
  auto command = shell("exit 0");
  command.pipe_input = true;
  auto tool = start(command);
  const Bytes data(4000000, std::byte{'x'});
  const auto written = tool->write(data);
  ASSERT_FALSE(written.has_value());
  EXPECT_EQ(written.error().message, "sh ended too early");
}

TEST(Process, AToolMayIgnoreItsInputAndIsJudgedByItsStatus) {
  const Bytes data(4000000, std::byte{'x'});
  for (const char* script : {"exit 0", "exec 0<&-; sleep 0.2", "head -c 10 >/dev/null"}) {
    auto command = shell(script);
    command.pipe_input = true;
    command.may_ignore_input = true;
    auto tool = start(command);
    EXPECT_TRUE(tool->write(data).has_value()) << script;
    EXPECT_TRUE(tool->finish().has_value()) << script;
  }
  auto command = shell("exit 3");
  command.pipe_input = true;
  command.may_ignore_input = true;
  auto tool = start(command);
  ASSERT_TRUE(tool->write(data).has_value());
  const auto done = tool->finish();
  ASSERT_FALSE(done.has_value());
  EXPECT_EQ(done.error().message, "sh failed with status 3");
}

TEST(Process, MissingToolNamesThePackage) {
  ToolCommand command;
  command.program = "pg_dump_that_is_not_there";
  command.package = "postgresql-client";
  const auto tool = Tool::start(command, nullptr);
  ASSERT_FALSE(tool.has_value());
  EXPECT_EQ(tool.error().message,
            "pg_dump_that_is_not_there is not installed: install the Debian package "
            "postgresql-client");
}

TEST(Process, WhatExecRefusesIsAnError) {
  auto folder = TemporaryFolder::create("sealane-test-");
  ASSERT_TRUE(folder.has_value());
  const auto path = folder.value().write_file("tool", as_bytes("\x7f"
                                                               "ELF, but not really"));
  ASSERT_TRUE(path.has_value());
  ASSERT_EQ(::chmod(path.value().c_str(), 0700), 0);
  ToolCommand command;
  command.program = path.value();
  const auto tool = Tool::start(command, nullptr);
  ASSERT_FALSE(tool.has_value());
  EXPECT_EQ(tool.error().message, "cannot run tool: Exec format error");
}

TEST(Process, CancellationWakesTheReaderAndEndsTheWholeGroup) {
  flow::Cancellation cancel;
  auto command = shell("sleep 1000 & echo $!; wait");
  command.pipe_output = true;
  auto tool = start(command, &cancel);
  std::array<std::byte, 64> buffer{};
  const auto first = tool->read(buffer);
  ASSERT_TRUE(first.has_value());
  const pid_t sleeper = std::stoi(to_text(ByteSpan(buffer).first(first.value())));
  ASSERT_TRUE(exists(sleeper));
  std::thread other([&] { cancel.cancel(); });
  const auto next = tool->read(buffer);
  other.join();
  ASSERT_FALSE(next.has_value());
  EXPECT_EQ(next.error().kind, ErrorKind::kInterrupted);
  EXPECT_FALSE(exists(tool->pid()));
  // The sleeper's new parent reaps it when it gets to it; it is a zombie at most.
  for (int i = 0; i < 200 && exists(sleeper); ++i) {
    std::ifstream status("/proc/" + std::to_string(sleeper) + "/stat");
    std::string line;
    std::getline(status, line);
    if (line.find(") Z ") != std::string::npos) break;
    ASSERT_LT(i, 199) << line;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

TEST(Process, InterruptionOfOneToolWakesItAlone) {
  flow::Cancellation cancel;
  auto waits = shell("sleep 1000");
  waits.pipe_output = true;
  auto tool = start(waits, &cancel);
  auto takes = shell("sleep 1000");
  takes.pipe_input = true;
  auto sink = start(takes, &cancel);
  std::thread other([&] {
    tool->interrupt();
    sink->interrupt();
  });
  std::array<std::byte, 64> buffer{};
  EXPECT_FALSE(tool->read(buffer).has_value());
  EXPECT_FALSE(sink->write(Bytes(4'000'000)).has_value());
  other.join();
  EXPECT_FALSE(exists(tool->pid()));
  EXPECT_FALSE(exists(sink->pid()));
  EXPECT_FALSE(cancel.cancelled());
}

TEST(Process, DestructorKillsWhatIgnoresTerm) {
  auto command = shell("trap '' TERM; echo ready; while :; do sleep 1000; done");
  command.pipe_output = true;
  auto tool = start(command);
  std::array<std::byte, 64> buffer{};
  ASSERT_TRUE(tool->read(buffer).has_value());
  const pid_t pid = tool->pid();
  tool.reset();
  EXPECT_FALSE(exists(pid));
}

TEST(Process, SecretGoesByTheEnvironmentAndIsBlankedOutOfComplaints) {
  const std::string password = "correct horse battery";
  auto command =
      shell("echo \"$TOOL_PASSWORD is wrong\" >&2; tr '\\0' ' ' </proc/$$/cmdline; exit 1");
  command.secret_variable = "TOOL_PASSWORD";
  command.secret = std::make_shared<const SecretBytes>(std::string_view(password));
  command.pipe_output = true;
  auto tool = start(command);
  std::array<std::byte, 4096> buffer{};
  const auto line = tool->read(buffer);
  ASSERT_TRUE(line.has_value());
  EXPECT_EQ(to_text(ByteSpan(buffer).first(line.value())).find(password), std::string::npos);
  const auto end = tool->read(buffer);
  ASSERT_FALSE(end.has_value());
  EXPECT_EQ(end.error().message, "sh failed with status 1: *** is wrong");
}

TEST(Process, EnvironmentIsAddedAndTakenAway) {
  ::setenv("SEALANE_TEST_SECRET", "x", 1);
  ::setenv("PGTESTVARIABLE", "x", 1);
  ::setenv("KEPT_FOR_TEST", "kept", 1);
  auto command =
      shell("echo \"[$SEALANE_TEST_SECRET][$PGTESTVARIABLE][$KEPT_FOR_TEST][$ADDED][$LC_ALL]\"");
  command.unset_prefixes = {"PG"};
  command.environment = {{"ADDED", "added"}};
  const auto text = run_tool(command, nullptr);
  ::unsetenv("SEALANE_TEST_SECRET");
  ::unsetenv("PGTESTVARIABLE");
  ::unsetenv("KEPT_FOR_TEST");
  ASSERT_TRUE(text.has_value());
  EXPECT_EQ(text.value(), "[][][kept][added][C]\n");
}

TEST(Process, GathersItsOutputWhereStdbufIsInstalled) {
  ToolCommand command;
  command.program = "env";
  command.output_buffer = 65536;
  auto text = run_tool(command, nullptr);
  ASSERT_TRUE(text.has_value()) << text.error().message;
  EXPECT_NE(text.value().find("_STDBUF_O=65536\n"), std::string::npos) << text.value();
  EXPECT_NE(text.value().find("LC_ALL=C\n"), std::string::npos) << text.value();
  command.program = "sh";  // still the one that is named, and judged
  command.arguments = {"-c", "seq 1 100000; echo 'disk on fire' >&2; exit 3"};
  command.pipe_output = true;
  const auto tool = start(command);
  text = read_all(*tool);
  ASSERT_FALSE(text.has_value());
  EXPECT_EQ(text.error().message, "sh failed with status 3: disk on fire");
  command.program = "no_such_tool_at_all";
  command.package = "nothing";
  const auto missing = Tool::start(command, nullptr);
  ASSERT_FALSE(missing.has_value());
  EXPECT_EQ(missing.error().message,
            "no_such_tool_at_all is not installed: install the Debian package nothing");
}

TEST(Process, RunsWithoutStdbufToo) {
  const auto folder = TemporaryFolder::create("sealane-test-");
  ASSERT_TRUE(folder.has_value());
  const auto shell_path = find_program("sh");
  ASSERT_TRUE(shell_path);
  ASSERT_EQ(::symlink(shell_path->c_str(), (folder.value().path() + "/sh").c_str()), 0);
  const std::string before = std::getenv("PATH");
  ::setenv("PATH", folder.value().path().c_str(), 1);
  auto command = shell("echo \"$0 [$_STDBUF_O]\"");
  command.output_buffer = 65536;
  const auto text = run_tool(command, nullptr);
  ::setenv("PATH", before.c_str(), 1);
  ASSERT_TRUE(text.has_value()) << text.error().message;
  EXPECT_EQ(text.value(), "sh []\n");
}

TEST(Process, NoDescriptorAndNoTerminalIsInherited) {
  // A careless library's descriptor, without close-on-exec.
  const int leaked = ::open("/dev/null", O_RDONLY);
  // Without a pipe: a shell that makes one may still hold it when it is looked at.
  auto text =
      run_tool(shell("ls /proc/$$/fd; (: </dev/tty) 2>/dev/null || echo no terminal"), nullptr);
  ::close(leaked);
  ASSERT_TRUE(text.has_value());
  std::ranges::replace(text.value(), '\n', ' ');
  EXPECT_TRUE(text.value().starts_with("0 1 2 ")) << text.value();
  EXPECT_EQ(text.value().find(" " + std::to_string(leaked) + " "), std::string::npos);
  EXPECT_TRUE(text.value().ends_with("no terminal ")) << text.value();
}

TEST(Process, ChildDiesWithUs) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe(ends.data()), 0);
  const pid_t middle = ::fork();
  if (middle == 0) {
    auto command = shell("sleep 1000");
    auto tool = Tool::start(command, nullptr);
    const pid_t pid = tool.has_value() ? tool.value()->pid() : 0;
    if (::write(ends[1], &pid, sizeof pid) != sizeof pid) ::_exit(2);
    ::_exit(0);  // without any destructor, as after kill -9
  }
  pid_t grandchild = 0;
  ASSERT_EQ(::read(ends[0], &grandchild, sizeof grandchild), ssize_t{sizeof grandchild});
  int status = 0;
  ASSERT_EQ(::waitpid(middle, &status, 0), middle);
  ::close(ends[0]);
  ::close(ends[1]);
  ASSERT_GT(grandchild, 0);
  bool gone = false;
  for (int i = 0; i < 500 && !gone; ++i) {
    std::ifstream stat("/proc/" + std::to_string(grandchild) + "/stat");
    std::string line;
    gone = !std::getline(stat, line) || line.find(") Z ") != std::string::npos;
    if (!gone) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_TRUE(gone);
}

TEST(Process, TemporaryFolderIsPrivateAndGoes) {
  std::string path;
  {
    auto folder = TemporaryFolder::create("sealane-test-");
    ASSERT_TRUE(folder.has_value());
    path = folder.value().path();
    const auto file = folder.value().write_file("secret", as_bytes("x"));
    ASSERT_TRUE(file.has_value());
    struct stat status {};
    ASSERT_EQ(::stat(path.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777, 0700u);
    ASSERT_EQ(::stat(file.value().c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777, 0600u);
    EXPECT_FALSE(folder.value().write_file("secret", as_bytes("y")).has_value());
  }
  struct stat status {};
  EXPECT_NE(::stat(path.c_str(), &status), 0);
}

}  // namespace
}  // namespace sealane::backup
