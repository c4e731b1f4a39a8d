// Goal: a private key or other secret is read only where nobody else can reach it, and written so.
// Method: real files with every kind of wrong mode and type; a file system that fails at step N.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <filesystem>

#include "base/limits.h"
#include "sealane/identity/keys.h"
#include "sealane/store/system.h"
#include "tests/identity/tools.h"

namespace sealane::identity {
namespace {

using testing::read_text;
using testing::TempDirectory;
using testing::write_text;

std::string refusal(const std::string& path) {
  const auto content = read_private_file(system_files(), path);
  return content.has_value() ? "" : content.error().message;
}

TEST(PrivateFile, IsWrittenForItsOwnerOnlyAndReadBack) {
  const TempDirectory temp;
  const std::string path = temp / "key";
  const mode_t old = ::umask(0);
  const auto written = write_private_file(system_files(), path, SecretBytes(std::string_view("k")));
  ::umask(old);
  ASSERT_TRUE(written.has_value()) << written.error().message;
  EXPECT_EQ(system_files().status(path).value().mode, 0600u);
  EXPECT_EQ(read_private_file(system_files(), path).value().expose_text(), "k");
}

TEST(PrivateFile, IsNeverOverwritten) {
  const TempDirectory temp;
  const std::string path = temp / "key";
  write_text(path, "old");
  const auto written = write_private_file(system_files(), path, SecretBytes(std::string_view("k")));
  ASSERT_FALSE(written.has_value());
  EXPECT_NE(written.error().message.find("exists already"), std::string::npos);
  EXPECT_EQ(read_text(path), "old");
}

TEST(PrivateFile, IsRefusedWhenOthersCanReachIt) {
  const TempDirectory temp;
  const std::string path = temp / "key";
  for (const unsigned mode : {0640u, 0604u, 0620u, 0602u, 0610u, 0601u, 0777u}) {
    write_text(path, "k", mode);
    EXPECT_NE(refusal(path).find("`chmod 600 " + path + "`"), std::string::npos) << mode;
  }
  for (const unsigned mode : {0600u, 0400u}) {
    write_text(path, "k", mode);
    EXPECT_EQ(refusal(path), "") << mode;
    ASSERT_EQ(::chmod(path.c_str(), 0600), 0);
  }
}

TEST(PrivateFile, IsRefusedWhenAnotherOwnsIt) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can give a file away";
  const TempDirectory temp;
  write_text(temp / "key", "k");
  ASSERT_EQ(::chown((temp / "key").c_str(), 65534, 65534), 0);
  EXPECT_NE(refusal(temp / "key").find("another user"), std::string::npos);
}

TEST(PrivateFile, IsARegularFileOrALinkToOne) {
  const TempDirectory temp;
  EXPECT_NE(refusal(temp / "missing").find("No such file"), std::string::npos);
  EXPECT_NE(refusal(temp / "."), "");
  ASSERT_EQ(::mkfifo((temp / "pipe").c_str(), 0600), 0);
  EXPECT_NE(refusal(temp / "pipe").find("not a regular file"), std::string::npos);
  write_text(temp / "key", "k");
  std::filesystem::create_symlink(temp / "key", temp / "link");
  EXPECT_EQ(refusal(temp / "link"), "");
  ASSERT_EQ(::chmod((temp / "key").c_str(), 0644), 0);
  EXPECT_NE(refusal(temp / "link").find("chmod 600"), std::string::npos);
}

TEST(PrivateFile, HasALimit) {
  const TempDirectory temp;
  write_text(temp / "key", std::string(limits::kKeyFileSize, 'k'));
  EXPECT_EQ(refusal(temp / "key"), "");
  write_text(temp / "key", std::string(limits::kKeyFileSize + 1, 'k'));
  EXPECT_NE(refusal(temp / "key").find("too large"), std::string::npos);
}

std::string secret_refusal(const std::string& path) {
  const auto content =
      read_secret_file(system_files(), path, {.what = "passphrase file", .max_size = 1000});
  return content.has_value() ? "" : content.error().message;
}

TEST(SecretFile, IsReadUnderTheRulesOfAPrivateKey) {
  const TempDirectory temp;
  const std::string path = temp / "secret";
  for (const unsigned mode : {0640u, 0604u, 0620u, 0602u, 0610u, 0601u, 0777u}) {
    write_text(path, "s", mode);
    const std::string said = secret_refusal(path);
    EXPECT_NE(said.find("the passphrase file " + path), std::string::npos) << said;
    EXPECT_NE(said.find("`chmod 600 " + path + "`"), std::string::npos) << said;
  }
  ASSERT_EQ(::chmod(path.c_str(), 0400), 0);
  EXPECT_EQ(secret_refusal(path), "");
  std::filesystem::create_symlink(path, temp / "link");
  EXPECT_EQ(secret_refusal(temp / "link"), "");
  ASSERT_EQ(::chmod(path.c_str(), 0644), 0);
  EXPECT_NE(secret_refusal(temp / "link").find("chmod 600"), std::string::npos);
  EXPECT_NE(secret_refusal(temp / "missing").find("No such file"), std::string::npos);
  EXPECT_NE(secret_refusal(temp / "."), "");
  if (::geteuid() != 0) return;  // only root can give a file away
  ASSERT_EQ(::chmod(path.c_str(), 0600), 0);
  ASSERT_EQ(::chown(path.c_str(), 65534, 65534), 0);
  EXPECT_NE(secret_refusal(path).find("another user"), std::string::npos);
}

TEST(SecretFile, MayBeAPipe) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe(ends.data()), 0);
  ASSERT_EQ(::write(ends[1], "correct horse", 13), 13);
  ::close(ends[1]);
  const auto content = read_secret_file(system_files(), "/dev/fd/" + std::to_string(ends[0]),
                                        {.what = "passphrase file", .max_size = 1000});
  ::close(ends[0]);
  ASSERT_TRUE(content.has_value()) << content.error().message;
  EXPECT_EQ(content.value().expose_text(), "correct horse");
}

TEST(SecretFile, HasALimit) {
  const TempDirectory temp;
  write_text(temp / "secret", std::string(1000, 's'));
  EXPECT_EQ(secret_refusal(temp / "secret"), "");
  write_text(temp / "secret", std::string(1001, 's'));
  EXPECT_NE(secret_refusal(temp / "secret").find("too large"), std::string::npos);
  EXPECT_NE(secret_refusal("/dev/zero").find("too large"), std::string::npos);
}

// The real file system until its N-th call that changes something, which fails.
class FailingFiles final : public FileSystem {
 public:
  explicit FailingFiles(int fail_at) : left_(fail_at) {}
  FileResult<std::unique_ptr<File>> open(const std::string& path, OpenMode mode,
                                         std::uint32_t permissions) override {
    if (fails()) return FileError{EIO, "create", path};
    auto file = system_files().open(path, mode, permissions);
    if (!file.has_value()) return file.error();
    return std::unique_ptr<File>(std::make_unique<FailingFile>(*this, std::move(file.value())));
  }
  FileResult<FileStatus> status(const std::string& path) override {
    return system_files().status(path);
  }
  FileResult<std::vector<DirectoryEntry>> list(const std::string& path) override {
    return system_files().list(path);
  }
  FileResult<void> create_directory(const std::string& path, std::uint32_t mode) override {
    return system_files().create_directory(path, mode);
  }
  FileResult<void> rename(const std::string& from, const std::string& to, RenameMode m) override {
    return system_files().rename(from, to, m);
  }
  FileResult<void> remove(const std::string& path) override { return system_files().remove(path); }
  FileResult<void> remove_directory(const std::string& path) override {
    return system_files().remove_directory(path);
  }
  FileResult<void> sync_directory(const std::string& path) override {
    if (fails()) return FileError{EIO, "fsync", path};
    return system_files().sync_directory(path);
  }
  FileResult<std::unique_ptr<FileLock>> lock(const std::string& path) override {
    return system_files().lock(path);
  }
  bool fails() { return left_-- == 0; }

 private:
  class FailingFile final : public File {
   public:
    FailingFile(FailingFiles& owner, std::unique_ptr<File> file)
        : owner_(owner), file_(std::move(file)) {}
    FileResult<std::size_t> read(MutableByteSpan out) override { return file_->read(out); }
    FileResult<std::size_t> read_at(std::uint64_t at, MutableByteSpan out) override {
      return file_->read_at(at, out);
    }
    FileResult<void> write(ByteSpan data) override {
      if (owner_.fails()) return FileError{ENOSPC, "write", "key"};
      return file_->write(data);
    }
    FileResult<void> write_at(std::uint64_t at, ByteSpan data) override {
      return file_->write_at(at, data);
    }
    FileResult<void> truncate(std::uint64_t size) override { return file_->truncate(size); }
    FileResult<void> sync() override {
      if (owner_.fails()) return FileError{EIO, "fsync", "key"};
      return file_->sync();
    }
    FileResult<FileStatus> status() override { return file_->status(); }

   private:
    FailingFiles& owner_;
    std::unique_ptr<File> file_;
  };
  int left_;
};

TEST(PrivateFile, AFailedWriteLeavesNothing) {
  const TempDirectory temp;
  for (int step = 0;; ++step) {
    FailingFiles files(step);
    const auto written =
        write_private_file(files, temp / "key", SecretBytes(std::string_view("k")));
    if (written.has_value()) {
      EXPECT_EQ(step, 4);  // create, write, sync, sync of the directory
      EXPECT_EQ(read_text(temp / "key"), "k");
      return;
    }
    EXPECT_EQ(written.error().kind, ErrorKind::kFailed);
    EXPECT_FALSE(std::filesystem::exists(temp / "key")) << step;
  }
}

}  // namespace
}  // namespace sealane::identity
