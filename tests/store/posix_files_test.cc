// Goal: the real files keep the contract that the simulated ones promise to the rest. Method: a
// folder of this machine; a second process for the lock; a timer that interrupts system calls.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <random>

#include "crypto/hash.h"
#include "sealane/store/repository.h"
#include "sealane/store/system.h"
#include "tests/store/repository_support.h"

namespace sealane::store {
namespace {

using ::testing::ElementsAre;

class PosixFiles : public ::testing::Test {
 protected:
  PosixFiles() {
    char path[] = "/tmp/sealane-files-XXXXXX";
    root_ = ::mkdtemp(path);
  }
  ~PosixFiles() override {
    const std::string command = "rm -rf '" + root_ + "'";
    EXPECT_EQ(std::system(command.c_str()), 0);
  }
  std::string in(const std::string& name) { return root_ + "/" + name; }
  std::string read(const std::string& name) {
    const auto content = read_file(files_, in(name), 1 << 20);
    return content.has_value() ? to_text(content.value())
                               : "errno " + std::to_string(content.error().code);
  }

  FileSystem& files_ = system_files();
  std::string root_;
};

TEST_F(PosixFiles, CreatesExclusively) {
  ASSERT_TRUE(write_new_file(files_, in("a"), as_bytes("one"), 0640).has_value());
  const auto again = write_new_file(files_, in("a"), as_bytes("two"));
  ASSERT_FALSE(again.has_value());
  EXPECT_EQ(again.error().code, EEXIST);
  EXPECT_EQ(again.error().operation, "create");
  EXPECT_EQ(read("a"), "one") << "a failed create leaves the old file";
  // A symlink that points nowhere is something too: nothing is created through it.
  ASSERT_EQ(::symlink("elsewhere", in("link").c_str()), 0);
  EXPECT_EQ(files_.open(in("link"), OpenMode::kCreateExclusive).error().code, EEXIST);
  const auto status = files_.status(in("a")).value();
  EXPECT_EQ(status.size, 3u);
  EXPECT_EQ(status.mode & 0137u, 0u) << "at most the permissions asked for";
  EXPECT_EQ(status.owner, ::getuid());
  EXPECT_EQ(files_.status(in("link")).value().type, FileType::kSymlink);
}

TEST_F(PosixFiles, OpensAsAsked) {
  for (const OpenMode mode : {OpenMode::kRead, OpenMode::kReadWrite}) {
    EXPECT_EQ(files_.open(in("none"), mode).error().code, ENOENT);
  }
  for (const char* text : {"one ", "two"}) {
    auto file = files_.open(in("log"), OpenMode::kAppendOrCreate);
    ASSERT_TRUE(file.has_value());
    ASSERT_TRUE(file.value()->write(as_bytes(text)).has_value());
  }
  EXPECT_EQ(read("log"), "one two");
  auto file = files_.open(in("log"), OpenMode::kReadWrite).value();
  ASSERT_TRUE(file->write_at(4, as_bytes("TWO and three")).has_value());
  Bytes part(3);
  EXPECT_EQ(file->read_at(4, part).value(), 3u);
  EXPECT_EQ(as_text(part), "TWO");
  EXPECT_EQ(file->read_at(1000, part).value(), 0u) << "behind the end";
  EXPECT_TRUE(file->sync().has_value());
  EXPECT_EQ(file->status().value().size, 17u);
  EXPECT_FALSE(files_.open(in("log"), OpenMode::kRead).value()->write(as_bytes("x")).has_value());
  EXPECT_EQ(read_file(files_, in("log"), 16).error().code, EFBIG);
}

// What somebody else may have put into a repository neither hangs a reader nor leads it elsewhere.
TEST_F(PosixFiles, OpensNothingButRegularFilesIfAsked) {
  ASSERT_TRUE(write_new_file(files_, in("file"), as_bytes("text")).has_value());
  ASSERT_EQ(::symlink("file", in("link").c_str()), 0);
  ASSERT_EQ(::symlink("/dev/zero", in("zero").c_str()), 0);
  ASSERT_EQ(::mkfifo(in("pipe").c_str(), 0600), 0);
  ASSERT_EQ(::mkdir(in("folder").c_str(), 0700), 0);
  EXPECT_EQ(read_file(files_, in("file"), 10, OpenMode::kReadRegular).value(), to_bytes("text"));
  for (const char* name : {"link", "zero", "pipe", "folder", "/dev/zero"}) {
    const std::string path = *name == '/' ? name : in(name);
    const auto opened = files_.open(path, OpenMode::kReadRegular);
    ASSERT_FALSE(opened.has_value()) << name;
    EXPECT_EQ(opened.error().code, EMEDIUMTYPE) << name;
    EXPECT_NE(to_error(opened.error()).message.find("regular file"), std::string::npos);
  }
  EXPECT_EQ(files_.open(in("none"), OpenMode::kReadRegular).error().code, ENOENT);
}

TEST_F(PosixFiles, RenamesWithAndWithoutReplacing) {
  ASSERT_TRUE(write_new_file(files_, in("a"), as_bytes("a")).has_value());
  ASSERT_TRUE(write_new_file(files_, in("b"), as_bytes("b")).has_value());
  EXPECT_EQ(files_.rename(in("a"), in("b"), RenameMode::kNoReplace).error().code, EEXIST);
  EXPECT_EQ(read("a") + read("b"), "ab");
  EXPECT_TRUE(files_.rename(in("a"), in("b"), RenameMode::kReplace).has_value());
  EXPECT_EQ(read("b"), "a");
  for (const char* folder : {"from", "to"}) {
    ASSERT_TRUE(files_.create_directory(in(folder)).has_value());
  }
  EXPECT_EQ(files_.rename(in("from"), in("to"), RenameMode::kNoReplace).error().code, EEXIST)
      << "also an empty folder stays";
  EXPECT_TRUE(files_.rename(in("from"), in("new"), RenameMode::kNoReplace).has_value());
  ASSERT_TRUE(replace_file(files_, system_random(), in("b"), as_bytes("new")).has_value());
  EXPECT_EQ(read("b"), "new");
}

TEST_F(PosixFiles, ListsSortedAndRemoves) {
  ASSERT_TRUE(files_.create_directory(in("c")).has_value());
  EXPECT_EQ(files_.create_directory(in("c")).error().code, EEXIST);
  EXPECT_EQ(files_.create_directory(in("x/y")).error().code, ENOENT);
  for (const char* name : {"b", "a", ".hidden"}) {
    ASSERT_TRUE(write_new_file(files_, in(name), {}).has_value());
  }
  std::vector<std::string> names;
  const auto entries = files_.list(root_);
  ASSERT_TRUE(entries.has_value());
  for (const DirectoryEntry& entry : entries.value()) {
    names.push_back(entry.name);
    EXPECT_EQ(entry.type, entry.name == "c" ? FileType::kDirectory : FileType::kRegular);
  }
  EXPECT_THAT(names, ElementsAre(".hidden", "a", "b", "c"));
  EXPECT_EQ(files_.list(in("none")).error().code, ENOENT);
  EXPECT_FALSE(files_.remove(in("c")).has_value()) << "a folder is no file";
  EXPECT_EQ(files_.remove_directory(in("a")).error().code, ENOTDIR);
  ASSERT_TRUE(write_new_file(files_, in("c/d"), {}).has_value());
  EXPECT_EQ(files_.remove_directory(in("c")).error().code, ENOTEMPTY);
  EXPECT_TRUE(files_.remove(in("c/d")).has_value());
  EXPECT_TRUE(files_.remove_directory(in("c")).has_value());
  EXPECT_EQ(files_.remove(in("c/d")).error().code, ENOENT);
  EXPECT_TRUE(files_.sync_directory(root_).has_value());
  EXPECT_FALSE(files_.sync_directory(in("a")).has_value());
}

TEST_F(PosixFiles, LocksBetweenProcessesUntilTheHolderDies) {
  int ready[2];
  int stop[2];
  ASSERT_EQ(::pipe(ready), 0);
  ASSERT_EQ(::pipe(stop), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const auto held = files_.lock(in("lock"));
    const char answer = held.has_value() ? 'y' : 'n';
    if (::write(ready[1], &answer, 1) != 1) ::_exit(1);
    char unused;
    [[maybe_unused]] const ssize_t got =
        ::read(stop[0], &unused, 1);  // returns at the latest when we are gone
    ::_exit(0);                       // without a destructor: the kernel lets the lock go
  }
  char answer = 0;
  ASSERT_EQ(::read(ready[0], &answer, 1), 1);
  EXPECT_EQ(answer, 'y');
  const auto refused = files_.lock(in("lock"));
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, EWOULDBLOCK);
  ASSERT_EQ(::write(stop[1], "x", 1), 1);
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  auto held = files_.lock(in("lock"));
  ASSERT_TRUE(held.has_value());
  EXPECT_EQ(files_.lock(in("lock")).error().code, EWOULDBLOCK) << "in one process too";
  held.value().reset();
  EXPECT_TRUE(files_.lock(in("lock")).has_value());
  for (const int fd : {ready[0], ready[1], stop[0], stop[1]}) ::close(fd);
}

TEST_F(PosixFiles, ASignalInterruptsNothing) {
  struct sigaction action {};
  action.sa_handler = [](int) {};  // without SA_RESTART
  struct sigaction old {};
  ASSERT_EQ(::sigaction(SIGALRM, &action, &old), 0);
  const struct itimerval often {
    {0, 500}, { 0, 500 }
  };
  const struct itimerval never {};
  ASSERT_EQ(::setitimer(ITIMER_REAL, &often, nullptr), 0);
  // A pipe of which the other end is slow: reads and writes block and are interrupted.
  int fds[2];
  ASSERT_EQ(::pipe(fds), 0);
  const std::string fd_path = "/proc/self/fd/";
  auto reader = files_.open(fd_path + std::to_string(fds[0]), OpenMode::kRead);
  auto writer = files_.open(fd_path + std::to_string(fds[1]), OpenMode::kReadWrite);
  ASSERT_TRUE(reader.has_value() && writer.has_value());
  const pid_t child = ::fork();
  if (child == 0) {
    ::close(fds[0]);
    ::setitimer(ITIMER_REAL, &often, nullptr);  // a child starts without its parent's timer
    const auto written = writer.value()->write(Bytes(300'000, std::byte{7}));
    ::_exit(written.has_value() ? 0 : 1);
  }
  writer.value().reset();
  ::close(fds[1]);
  std::uint64_t total = 0;
  Bytes block(5000);
  while (total < 300'000) {
    ::usleep(200);
    const auto got = reader.value()->read(block);
    ASSERT_TRUE(got.has_value()) << got.error().code;
    ASSERT_GT(got.value(), 0u);
    total += got.value();
  }
  int status = 1;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  EXPECT_EQ(status, 0);
  EXPECT_EQ(total, 300'000u);
  auto file = files_.open(in("f"), OpenMode::kCreateExclusive).value();
  for (int i = 0; i < 200; ++i) {
    ASSERT_TRUE(file->write(Bytes(10'000, std::byte{1})).has_value());
    ASSERT_TRUE(i % 50 != 0 || file->sync().has_value());
  }
  ASSERT_EQ(::setitimer(ITIMER_REAL, &never, nullptr), 0);
  ASSERT_EQ(::sigaction(SIGALRM, &old, nullptr), 0);
  EXPECT_EQ(file->status().value().size, 2'000'000u);
  ::close(fds[0]);
}

TEST_F(PosixFiles, HoldARepository) {
  const Seams seams{files_, system_clock(), system_random()};
  const identity::SigningKey host = test_key();
  auto repository = DirectoryRepository::init(seams, in("r"));
  ASSERT_TRUE(repository.has_value()) << repository.error().message;
  for (const char* salt : {"1", "2"}) {
    const auto info =
        write_snapshot(repository.value(), host, "shop", some_objects(salt, 3'000'000));
    ASSERT_TRUE(info.has_value()) << info.error().message;
  }
  const auto report = repository.value().copy_to(in("copy"), nullptr);
  ASSERT_TRUE(report.has_value()) << report.error().message;
  EXPECT_EQ(report.value().copied, 2u);
  auto copy = DirectoryRepository::open(seams, in("copy")).value();
  const auto verified = copy.verify(
      {.trust = nullptr, .seen = {}, .plan = {}, .host = {}, .progress = {}, .open = {}});
  EXPECT_EQ(verified.value().objects, 6u);
  EXPECT_TRUE(verified.value().problems.empty());
}

// The real thing once more: a writer killed at any moment. What it has acknowledged is there.
TEST_F(PosixFiles, KeepWhatAKilledWriterAcknowledged) {
  const Seams seams{files_, system_clock(), system_random()};
  const identity::SigningKey host = test_key();
  auto repository = DirectoryRepository::init(seams, in("r"));
  ASSERT_TRUE(repository.has_value());
  std::uint64_t acknowledged = 0;
  std::mt19937 engine(7);
  std::uniform_int_distribution<int> moment(0, 60'000);  // microseconds
  for (int round = 0; round < 40; ++round) {
    int ready[2];
    ASSERT_EQ(::pipe(ready), 0);
    const pid_t child = ::fork();
    if (child == 0) {
      for (;;) {
        auto there = DirectoryRepository::open(seams, in("r"));
        if (!there.has_value()) ::_exit(1);
        const auto info = write_snapshot(there.value(), host, "shop", some_objects("x", 20'000));
        if (!info.has_value()) ::_exit(2);
        if (::write(ready[1], "x", 1) != 1) ::_exit(3);
      }
    }
    ::close(ready[1]);
    char unused;
    // Now and then not before a snapshot is there: on a slow machine none may be in that time.
    if (round % 4 == 3) {
      ASSERT_EQ(::read(ready[0], &unused, 1), 1);
      ++acknowledged;
    }
    ::usleep(static_cast<useconds_t>(moment(engine)));
    ASSERT_EQ(::kill(child, SIGKILL), 0);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status)) << "exit status " << WEXITSTATUS(status);
    while (::read(ready[0], &unused, 1) == 1) ++acknowledged;
    ::close(ready[0]);
    const auto listing = repository.value().list(nullptr);
    ASSERT_TRUE(listing.has_value());
    EXPECT_TRUE(listing.value().problems.empty());
    ASSERT_GE(listing.value().snapshots.size(), acknowledged);
    acknowledged = listing.value().snapshots.size();
  }
  const auto verified = repository.value().verify({});
  ASSERT_TRUE(verified.has_value());
  EXPECT_TRUE(verified.value().problems.empty());
  EXPECT_GT(verified.value().snapshots, 0u);
}

}  // namespace
}  // namespace sealane::store
