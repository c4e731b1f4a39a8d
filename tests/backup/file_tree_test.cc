// Goal: a folder comes back as it was, whatever it holds; a hostile archive touches nothing
// outside. Method: trees with everything Linux has, GNU tar as the other side both ways, forged
// archives, kills at any moment.
#include "backup/file_tree.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <csignal>
#include <random>
#include <thread>

#include "backup/pax.h"
#include "backup/tree_reader.h"
#include "driver_support.h"

namespace sealane::backup {
namespace {

namespace fs = std::filesystem;

constexpr uid_t kNobody = 65534;

class FileTree : public DriverTest {
 protected:
  void SetUp() override {
    fs::create_directory(from_);
    fs::permissions(folder_, fs::perms(0755));  // for those who run as somebody else
  }

  void at_time(const std::string& where, time_t seconds, long nanoseconds) const {
    const timespec times[2] = {{seconds, 0}, {seconds, nanoseconds}};
    ASSERT_EQ(::utimensat(AT_FDCWD, where.c_str(), times, AT_SYMLINK_NOFOLLOW), 0);
  }
  void write_at(const std::string& where, off_t offset, std::string_view text) const {
    const int fd = ::open(where.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    ASSERT_EQ(::pwrite(fd, text.data(), text.size(), offset), static_cast<ssize_t>(text.size()));
    ::close(fd);
  }
  static std::uint64_t blocks(const std::string& where) {
    struct stat status {};
    EXPECT_EQ(::stat(where.c_str(), &status), 0) << where;
    return static_cast<std::uint64_t>(status.st_blocks) * 512;
  }

  // Everything an ordinary user may make; GNU tar can restore all of it.
  void make_tree() const {
    const std::string at = from_ + '/';
    write_file(at + "empty", "");
    for (const std::size_t size : {1u, 511u, 512u, 513u, 4096u, 100'000u}) {
      std::string content(size, 'x');
      for (std::size_t i = 0; i < size; ++i) content[i] = static_cast<char>(i * 7 + i / 251);
      write_file(at + "size-" + std::to_string(size), content);
    }
    write_file(at + std::string(255, 'n'), "longest name");
    write_file(at + "sp ace\n\\ \"quoted\" ä", "odd");
    write_file(at + "not-utf8-\xff\xfe", "odd");
    std::string deep = at + "deep";
    fs::create_directory(deep);
    for (int i = 0; i < 20; ++i) {
      deep += "/folder-number-" + std::to_string(i);
      fs::create_directory(deep);
      write_file(deep + "/file", deep);
    }
    fs::create_directory(at + "a");
    write_file(at + "a-b", "sorted before a/x, after a");
    write_file(at + "a/x", "x");
    fs::create_directory(at + "empty-folder");
    fs::create_symlink("../nowhere", at + "dangling");
    fs::create_symlink("a/x", at + "link");
    fs::create_symlink(std::string(300, 'l'), at + "long-link");
    fs::create_directory_symlink("/etc", at + "link-to-etc");
    write_file(at + "hard-1", "two names");
    fs::create_hard_link(at + "hard-1", at + "a/hard-2");
    fs::create_hard_link(at + "hard-1", at + "z-hard-3");
    ASSERT_EQ(::mkfifo((at + "pipe").c_str(), 0640), 0);
    // Sparse: hole in front, between and behind; nothing but a hole; larger than 8 GiB.
    write_at(at + "sparse", 1'000'000, "middle");
    write_at(at + "sparse", 3'000'000, "end");
    ASSERT_EQ(::truncate((at + "sparse").c_str(), 5'000'001), 0);
    write_file(at + "hole", "");
    ASSERT_EQ(::truncate((at + "hole").c_str(), 777'777), 0);
    write_at(at + "huge", 9'000'000'000, "beyond 8 GiB");
    fs::permissions(at + "size-1", fs::perms(0400));
    fs::permissions(at + "size-511", fs::perms(04751));
    fs::permissions(at + "empty-folder", fs::perms(01777));
    ASSERT_EQ(::setxattr((at + "size-512").c_str(), "user.note", "a\0b\n", 4, 0), 0);
    ASSERT_EQ(::setxattr((at + "a").c_str(), "user.folder", "", 0, 0), 0);
    at_time(at + "size-512", 1'700'000'000, 123'456'789);
    at_time(at + "size-513", -5, 500'000'000);
    at_time(at + "dangling", 1'000'000'000, 1);
    at_time(at + "deep/folder-number-0", 946'684'800, 0);
    at_time(at + "a", 12'345'678'901, 5);  // beyond 11 octal digits
    at_time(from_, 1'234'567'890, 987'654'321);
  }

  std::unique_ptr<SourceSnapshot> source(const std::string& where) {
    auto result = open_file_source(where, context_);
    EXPECT_TRUE(result) << result.error().message;
    return std::move(result).value();
  }
  Bytes archive_of(SourceSnapshot& source) {
    auto bytes = dump(source);
    EXPECT_TRUE(bytes) << bytes.error().message;
    return std::move(bytes).value();
  }
  Fingerprint fingerprint(const std::string& where) {
    auto snapshot = source(where);
    auto stream = snapshot->open_stream(0);
    Bytes block(1 << 20);
    while (stream.value()->read(block).value() > 0) {
    }
    return *snapshot->fingerprint().value();
  }
  Result<void, Error> extract(ByteSpan archive, const std::string& to, bool overwrite = false,
                              std::size_t step = 65'537) {
    auto target = open_file_target(to, context_).value();
    if (overwrite) {
      SEALANE_TRY(target->clear());
    }
    const StreamDescription stream{.name = "files", .format = "pax", .hint = ""};
    SEALANE_TRY(auto sink, target->open_stream(stream));
    while (!archive.empty()) {
      const auto piece = archive.first(std::min(step, archive.size()));
      SEALANE_TRY(sink->write(piece));
      archive = archive.subspan(piece.size());
    }
    SEALANE_TRY(sink->finish());
    return target->finish();
  }
  static int run(const std::string& command) { return std::system(command.c_str()); }

  std::string from_ = path("from");
  std::string to_ = path("to");
};

TEST_F(FileTree, ComesBackAsItWas) {
  make_tree();
  const bool devices = ::mknod(path("from/null").c_str(), S_IFCHR | 0666, makedev(1, 3)) == 0;
  if (devices) {
    ASSERT_EQ(::chown(path("from/hard-1").c_str(), 1234, 3'000'000), 0);
    ASSERT_EQ(::lchown(path("from/link").c_str(), 1235, 1236), 0);
  }
  at_time(from_, 1'234'567'890, 987'654'321);
  auto snapshot = source(from_);
  auto stream = snapshot->open_stream(0).value();
  auto target = open_file_target(to_, context_).value();
  EXPECT_TRUE(target->is_empty().value());
  auto sink = target->open_stream(snapshot->streams()[0]).value();
  std::uint64_t size = 0;
  for (Bytes block(300'001);;) {
    const auto got = stream->read(block);
    ASSERT_TRUE(got) << got.error().message;
    if (got.value() == 0) break;
    size += got.value();
    const auto put = sink->write(ByteSpan(block).first(got.value()));
    ASSERT_TRUE(put) << put.error().message;
  }
  EXPECT_LT(size, 400'000u);  // holes cost nothing
  ASSERT_TRUE(sink->finish());
  ASSERT_TRUE(target->finish());
  EXPECT_TRUE(snapshot->unreadable().named.empty());
  const auto expected = snapshot->fingerprint().value();
  const auto found = target->fingerprint().value();
  EXPECT_EQ(difference(*expected, *found).value_or("equal"), "equal");
  EXPECT_EQ(expected->kind, "file");

  EXPECT_EQ(read_file(to_ + "/size-100000"), read_file(from_ + "/size-100000"));
  EXPECT_EQ(fs::read_symlink(to_ + "/long-link"), std::string(300, 'l'));
  EXPECT_TRUE(fs::equivalent(to_ + "/hard-1", to_ + "/a/hard-2"));
  EXPECT_TRUE(fs::equivalent(to_ + "/hard-1", to_ + "/z-hard-3"));
  EXPECT_LT(blocks(to_ + "/huge"), 100'000u);
  EXPECT_LT(blocks(to_ + "/sparse"), 100'000u);
  EXPECT_EQ(fs::file_size(to_ + "/sparse"), 5'000'001u);
  struct stat status {};
  ASSERT_EQ(::stat(to_.c_str(), &status), 0);
  EXPECT_EQ(status.st_mtim.tv_nsec, 987'654'321);
  char value[8];
  EXPECT_EQ(::getxattr((to_ + "/size-512").c_str(), "user.note", value, sizeof value), 4);
  if (devices) {
    ASSERT_EQ(::lstat((to_ + "/link").c_str(), &status), 0);
    EXPECT_EQ(status.st_uid, 1235u);
    ASSERT_EQ(::stat((to_ + "/null").c_str(), &status), 0);
    EXPECT_TRUE(S_ISCHR(status.st_mode));
    EXPECT_EQ(status.st_rdev, makedev(1, 3));
  }
}

TEST_F(FileTree, SameTreeSameBytesWhateverTheCut) {
  make_tree();
  const Bytes first = archive_of(*source(from_));
  auto again = source(from_);
  auto stream = again->open_stream(0).value();
  EXPECT_EQ(drain(*stream, 777).value(), first);
  // Paths are sorted by their bytes, a folder's with its slash.
  std::vector<std::string> paths;
  PaxReader reader;
  ByteSpan rest = first;
  for (;;) {
    auto event = reader.next(rest);
    ASSERT_TRUE(event);
    if (std::holds_alternative<PaxReader::NeedInput>(event.value())) break;
    if (const auto* entry = std::get_if<PaxEntry>(&event.value())) {
      paths.push_back(entry->path +
                      (entry->type == EntryType::kDirectory && !entry->path.empty() ? "/" : ""));
    }
  }
  EXPECT_TRUE(std::ranges::is_sorted(paths));
  EXPECT_EQ(paths.size(), 67u);
}

TEST_F(FileTree, GnuTarRestoresOurs) {
  make_tree();
  auto snapshot = source(from_);
  const Bytes archive = archive_of(*snapshot);
  write_file(path("ours.tar"), as_text(archive));
  fs::create_directory(to_);
  ASSERT_EQ(run("tar --warning=no-timestamp --xattrs --xattrs-include='*' --numeric-owner -xpf " +
                path("ours.tar") + " -C " + to_ + " > " + path("log") + " 2>&1"),
            0)
      << read_file(path("log"));
  // POSIX wants this record in front of names that are not UTF-8; GNU tar needs none, and says so.
  EXPECT_EQ(read_file(path("log")), "tar: Ignoring unknown extended header keyword 'hdrcharset'\n");
  EXPECT_EQ(difference(*snapshot->fingerprint().value(), fingerprint(to_)).value_or("equal"),
            "equal");
  EXPECT_LT(blocks(to_ + "/huge"), 100'000u);
}

TEST_F(FileTree, WeRestoreGnuTars) {
  make_tree();
  for (const char* options :
       {"--format=pax --sparse --xattrs --xattrs-include='*'",
        "--format=pax --sparse --sort=name --xattrs --xattrs-include='*' --numeric-owner"}) {
    ASSERT_EQ(
        run("tar " + std::string(options) + " -C " + from_ + " -cf " + path("gnu.tar") + " ."), 0);
    const std::string archive = read_file(path("gnu.tar"));
    const auto result = extract(as_bytes(archive), to_, fs::exists(to_));
    ASSERT_TRUE(result) << result.error().message;
    EXPECT_EQ(difference(fingerprint(from_), fingerprint(to_)).value_or("equal"), "equal")
        << options;
  }
}

TEST_F(FileTree, OneFileIsATreeOfOne) {
  write_file(path("single"), "content");
  auto snapshot = source(path("single"));
  const Bytes archive = archive_of(*snapshot);
  ASSERT_TRUE(extract(archive, to_));
  EXPECT_EQ(read_file(to_ + "/single"), "content");
  auto drill = make_throw_away("file", {}, folder_, context_);
  ASSERT_TRUE(drill) << drill.error().message;
  ASSERT_TRUE(restore(*snapshot, archive, drill.value()->target()));
  EXPECT_FALSE(
      difference(*snapshot->fingerprint().value(), *drill.value()->target().fingerprint().value()));
}

TEST_F(FileTree, FingerprintSeesEveryKindOfChange) {
  const auto tree = [&](const std::string& where, auto change) {
    fs::remove_all(where);
    fs::create_directory(where);
    write_file(where + "/f", "content");
    fs::create_symlink("f", where + "/l");
    ASSERT_EQ(::setxattr((where + "/f").c_str(), "user.a", "1", 1, 0), 0);
    write_at(where + "/s", 1'000'000, "x");
    for (const char* name : {"/f", "/l", "/s"}) at_time(where + name, 1000, 1);
    change(where);
    at_time(where, 1000, 1);
  };
  tree(from_, [](const std::string&) {});
  const Fingerprint original = fingerprint(from_);
  const auto changed = [&](auto change) {
    tree(to_, change);
    return difference(original, fingerprint(to_)).value_or("equal");
  };
  EXPECT_EQ(changed([](const std::string&) {}), "equal");
  EXPECT_EQ(changed([&](const std::string& t) {
              write_file(t + "/f", "Content");
              at_time(t + "/f", 1000, 1);
            }),
            "entry f has other content in its 7 bytes");
  EXPECT_EQ(changed([&](const std::string& t) {
              write_file(t + "/f", "content!");
              at_time(t + "/f", 1000, 1);
            }),
            "entry f has 8 bytes, not 7");
  EXPECT_NE(changed([&](const std::string& t) { at_time(t + "/f", 1000, 2); }), "equal");
  EXPECT_NE(changed([&](const std::string& t) { at_time(t + "/l", 1000, 2); }), "equal");
  EXPECT_NE(changed([](const std::string& t) { fs::permissions(t + "/f", fs::perms(0600)); }),
            "equal");
  EXPECT_NE(
      changed([](const std::string& t) { ::setxattr((t + "/f").c_str(), "user.a", "2", 1, 0); }),
      "equal");
  EXPECT_EQ(changed([](const std::string& t) { fs::rename(t + "/f", t + "/g"); }),
            "entry f is missing");
  EXPECT_EQ(changed([&](const std::string& t) { write_file(t + "/g", ""); }),
            "entry g was not there before");
  EXPECT_NE(changed([&](const std::string& t) {
              fs::remove(t + "/l");
              fs::create_symlink("g", t + "/l");
              at_time(t + "/l", 1000, 1);
            }),
            "equal");
  if (::geteuid() == 0) {
    EXPECT_NE(
        changed([](const std::string& t) { EXPECT_EQ(::chown((t + "/f").c_str(), 5, 0), 0); }),
        "equal");
  }
  // Holes are no content: written out in full, the file is the same.
  EXPECT_EQ(changed([&](const std::string& t) {
              fs::remove(t + "/s");
              write_file(t + "/s", std::string(1'000'000, '\0') + "x");
              at_time(t + "/s", 1000, 1);
            }),
            "equal");
  EXPECT_NE(changed([&](const std::string& t) {
              fs::remove(t + "/s");
              write_file(t + "/s", std::string(999'999, '\0') + "x" + '\0');
              at_time(t + "/s", 1000, 1);
            }),
            "equal");
}

TEST(ContentHash, DoesNotDependOnCutsOrHoles) {
  std::string content(20'000, '\0');
  content[5] = 'a';
  content.replace(8000, 5000, std::string(5000, 'b'));
  const auto hash = [&](std::size_t step, bool skip_zeros) {
    ContentHash result;
    for (std::size_t i = 0; i < content.size(); i += step) {
      const std::string piece = content.substr(i, step);
      if (skip_zeros && piece.find_first_not_of('\0') == std::string::npos) continue;
      result.write(i, as_bytes(piece));
    }
    return result.finish();
  };
  const auto expected = hash(20'000, false);
  for (const std::size_t step : {1u, 3u, 1000u, 4096u, 4097u, 8192u}) {
    EXPECT_EQ(hash(step, false), expected) << step;
    EXPECT_EQ(hash(step, true), expected) << step;
  }
  content[5] = 'c';
  EXPECT_NE(hash(20'000, false), expected);
}

TEST_F(FileTree, WhatCannotBeReadIsNamedAndTheRestIsThere) {
  write_file(from_ + "/good", "good");
  write_file(from_ + "/secret", "secret");
  fs::create_directory(from_ + "/closed");
  write_file(from_ + "/closed/inside", "x");
  fs::permissions(from_ + "/secret", fs::perms(0));
  fs::permissions(from_ + "/closed", fs::perms(0));
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string name = path("from/socket");
  ASSERT_LT(name.size(), sizeof address.sun_path);
  std::ranges::copy(name, address.sun_path);
  ASSERT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ::close(fd);

  const bool root = ::geteuid() == 0;
  ASSERT_EQ(root ? ::seteuid(kNobody) : 0, 0);  // root may read everything
  auto snapshot = source(from_);
  const Bytes archive = archive_of(*snapshot);
  ASSERT_EQ(root ? ::seteuid(0) : 0, 0);
  std::map<std::string, std::string> named;
  for (const auto& [where, reason] : snapshot->unreadable().named) named.emplace(where, reason);
  EXPECT_EQ(named, (std::map<std::string, std::string>{{"closed", "Permission denied"},
                                                       {"secret", "Permission denied"}}));
  EXPECT_EQ(snapshot->properties().at("sockets_left_out"), "1");
  ASSERT_TRUE(extract(archive, to_));
  EXPECT_EQ(names(to_), (std::vector<std::string>{"closed", "good"}));
  fs::permissions(from_ + "/closed", fs::perms(0700));
}

TEST_F(FileTree, AllThatCannotBeReadIsCountedAndTheFirstAreNamed) {
  const std::size_t count = kMaxNamedUnreadable + 3;
  for (std::size_t i = 0; i < count; ++i) {
    const std::string file = from_ + "/" + std::to_string(i);
    write_file(file, "x");
    ASSERT_EQ(::chmod(file.c_str(), 0), 0);
  }
  const bool root = ::geteuid() == 0;
  ASSERT_EQ(root ? ::seteuid(kNobody) : 0, 0);  // root may read everything
  auto snapshot = source(from_);
  archive_of(*snapshot);
  ASSERT_EQ(root ? ::seteuid(0) : 0, 0);
  EXPECT_EQ(snapshot->unreadable().count, count);
  EXPECT_EQ(snapshot->unreadable().named.size(), kMaxNamedUnreadable);
  EXPECT_EQ(snapshot->unreadable().named.back().reason, "Permission denied");
}

// A folder or a file with more attributes than an archive may hold is left out by itself: an
// archive that has its content or its second name all the same could not be restored at all.
TEST_F(FileTree, WhatIsBeyondTheLimitsTakesNothingElseWithIt) {
  const std::string from = "/dev/shm/" + fs::path(folder_).filename().string();
  fs::create_directory(from);
  fs::create_directory(from + "/folder");
  write_file(from + "/folder/inside", "x");
  write_file(from + "/good", "good");
  write_file(from + "/one", "two names");
  fs::create_hard_link(from + "/one", from + "/two");
  const std::string value(60'000, 'v');
  bool possible = true;
  for (std::size_t i = 0; i * value.size() < kPaxMaxXattrBytes; ++i) {
    for (const char* name : {"/folder", "/one"})
      possible =
          possible && ::setxattr((from + name).c_str(), ("user." + std::to_string(i)).c_str(),
                                 value.data(), value.size(), 0) == 0;
  }
  auto snapshot = source(from);
  const auto archive = dump(*snapshot);
  fs::remove_all(from);
  if (!possible) GTEST_SKIP() << "/dev/shm takes no large attributes here";
  ASSERT_TRUE(archive);
  std::vector<std::string> named;
  for (const auto& [where, reason] : snapshot->unreadable().named) named.push_back(where);
  EXPECT_EQ(named, (std::vector<std::string>{"folder", "one", "two"}));
  ASSERT_TRUE(extract(archive.value(), to_));
  EXPECT_EQ(names(to_), (std::vector<std::string>{"good"}));
}

TEST_F(FileTree, FilesThatChangeMeanwhileKeepTheirSizeInTheArchive) {
  const std::string big(3'000'000, 'b');
  for (const char* name : {"/1-shrinks", "/2-grows", "/3-stays"}) write_file(from_ + name, big);
  auto snapshot = source(from_);
  auto stream = snapshot->open_stream(0).value();
  Bytes archive;
  int calls = 0;
  for (Bytes block(1'000'000);; ++calls) {
    if (calls == 1) fs::resize_file(from_ + "/1-shrinks", 1'200'000);
    if (calls == 4) write_at(from_ + "/2-grows", 3'000'000, "more");
    const auto got = stream->read(block);
    ASSERT_TRUE(got) << got.error().message;
    if (got.value() == 0) break;
    archive.insert(archive.end(), block.begin(), block.begin() + static_cast<long>(got.value()));
  }
  const auto unreadable = snapshot->unreadable().named;
  ASSERT_EQ(unreadable.size(), 2u);
  EXPECT_EQ(unreadable[0].path, "1-shrinks");
  EXPECT_NE(unreadable[0].reason.find("shorter"), std::string::npos);
  EXPECT_EQ(unreadable[1].path, "2-grows");
  EXPECT_NE(unreadable[1].reason.find("changed"), std::string::npos);
  ASSERT_TRUE(extract(archive, to_));
  EXPECT_EQ(read_file(to_ + "/1-shrinks"), big.substr(0, 1'200'000) + std::string(1'800'000, '\0'));
  EXPECT_EQ(read_file(to_ + "/2-grows"), big);
  // What was stored is what the fingerprint says.
  EXPECT_FALSE(difference(*snapshot->fingerprint().value(), fingerprint(to_)));
}

TEST_F(FileTree, MountPointsAreNamedNotCrossed) {
  struct stat outer {
  }, inner{};
  if (::stat("/dev", &outer) != 0 || ::stat("/dev/pts", &inner) != 0 ||
      outer.st_dev == inner.st_dev) {
    GTEST_SKIP() << "/dev/pts is not a mount point here";
  }
  const auto has = [](const Fingerprint& print, std::string_view prefix) {
    return std::ranges::any_of(print.items,
                               [&](const auto& item) { return item.name.starts_with(prefix); });
  };
  auto snapshot = source("/dev");
  archive_of(*snapshot);
  EXPECT_NE(snapshot->properties().at("mount_points_not_crossed").find("pts"), std::string::npos);
  const Fingerprint print = *snapshot->fingerprint().value();
  EXPECT_TRUE(has(print, "pts"));
  EXPECT_FALSE(has(print, "pts/"));
  auto all = open_file_source("/dev", context_, {.cross_mount_points = true}).value();
  ASSERT_TRUE(dump(*all));
  EXPECT_TRUE(has(*all->fingerprint().value(), "pts/"));
}

TEST_F(FileTree, AnUnprivilegedUserCanProveATreeOfOthers) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root to make files of others";
  write_file(from_ + "/a", "a");
  fs::create_directory(from_ + "/b");
  write_file(from_ + "/b/c", "c");
  ASSERT_EQ(::chown((from_ + "/a").c_str(), 1000, 1001), 0);
  ASSERT_EQ(::chown((from_ + "/b").c_str(), 2000, 2001), 0);
  auto snapshot = source(from_);
  const Bytes archive = archive_of(*snapshot);
  fs::create_directory(path("drills"));
  ASSERT_EQ(::chown(path("drills").c_str(), kNobody, kNobody), 0);
  ASSERT_EQ(::setegid(kNobody), 0);
  ASSERT_EQ(::seteuid(kNobody), 0);
  std::optional<std::string> found;
  {
    auto drill = make_throw_away("file", {}, path("drills"), context_);
    const auto restored = restore(*snapshot, archive, drill.value()->target());
    EXPECT_TRUE(restored) << restored.error().message;
    found = difference(*snapshot->fingerprint().value(),
                       *drill.value()->target().fingerprint().value());
  }
  EXPECT_TRUE(names(path("drills")).empty());
  ASSERT_EQ(::seteuid(0), 0);
  ASSERT_EQ(::setegid(0), 0);
  EXPECT_EQ(found.value_or("equal"), "equal");
}

// ---- Target

TEST_F(FileTree, TargetReplacesOnlyWhenToldAndOnlyAtTheEnd) {
  write_file(from_ + "/new", "new");
  const Bytes archive = archive_of(*source(from_));
  fs::create_directories(to_ + "/sub");
  write_file(to_ + "/sub/old", "old");
  fs::permissions(to_ + "/sub", fs::perms(0500));

  auto target = open_file_target(to_, context_).value();
  EXPECT_FALSE(target->is_empty().value());
  EXPECT_EQ(extract(archive, to_).error().kind, ErrorKind::kUsage);
  {
    ASSERT_TRUE(target->clear());
    const StreamDescription stream{.name = "files", .format = "pax", .hint = ""};
    auto sink = target->open_stream(stream).value();
    ASSERT_TRUE(sink->write(archive));
    EXPECT_EQ(read_file(to_ + "/sub/old"), "old");
    ASSERT_TRUE(sink->finish());
    const auto finished = target->finish();
    ASSERT_TRUE(finished) << finished.error().message;
  }
  EXPECT_EQ(names(to_), (std::vector<std::string>{"new"}));
  EXPECT_EQ(names(folder_),
            (std::vector<std::string>{"from", "to"}));  // nothing of the old is left

  fs::remove_all(to_);
  fs::create_directory(to_);  // an empty folder may be replaced without asking
  EXPECT_TRUE(open_file_target(to_ + "/", context_).value()->is_empty().value());
  ASSERT_TRUE(extract(archive, to_ + "/"));
  EXPECT_EQ(names(to_), (std::vector<std::string>{"new"}));

  write_file(path("plain"), "a file is in the way");
  EXPECT_EQ(extract(archive, path("plain")).error().kind, ErrorKind::kUsage);
  ASSERT_TRUE(extract(archive, path("plain"), true));
  EXPECT_EQ(names(path("plain")), (std::vector<std::string>{"new"}));
  EXPECT_FALSE(open_file_target(to_, context_)
                   .value()
                   ->open_stream({.name = "x", .format = "rdb", .hint = ""}));
}

TEST_F(FileTree, APlaceThatCannotBeTakenIsRefusedBeforeAnythingIsWritten) {
  for (const std::string place : {"/dev", "/proc/", ".", "..", "/"}) {
    const auto target = open_file_target(place, context_);
    ASSERT_FALSE(target) << place;
    EXPECT_EQ(target.error().kind, ErrorKind::kUsage);
    EXPECT_NE(target.error().message.find("restored"), std::string::npos) << "where to instead";
  }
  EXPECT_EQ(open_file_target("/dev/null", context_).error().kind, ErrorKind::kUsage);
}

TEST_F(FileTree, KilledAtAnyMomentTheOldOrTheNewFolderIsWhole) {
  for (int i = 0; i < 200; ++i)
    write_file(from_ + "/new-" + std::to_string(i), std::string(2000, 'n'));
  const Bytes archive = archive_of(*source(from_));
  fs::create_directory(to_);
  for (int i = 0; i < 50; ++i) write_file(to_ + "/old-" + std::to_string(i), "old");
  const Fingerprint fresh = fingerprint(from_);
  const Fingerprint old = fingerprint(to_);
  std::mt19937 random(7);
  int kept = 0;
  for (int round = 0; round < 30; ++round) {
    const pid_t child = ::fork();
    if (child == 0) {
      const auto result = extract(archive, to_, true);
      ::_exit(result ? 0 : 1);
    }
    // Later in each round; the first comes before anybody could be done.
    std::this_thread::sleep_for(
        std::chrono::microseconds(1300U * static_cast<unsigned>(round) + random() % 1000));
    ::kill(child, SIGKILL);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    const Fingerprint now = fingerprint(to_);
    const bool is_old = !difference(old, now);
    ASSERT_TRUE(is_old || !difference(fresh, now)) << "round " << round;
    if (is_old) {
      ++kept;
    } else {  // put the old one back
      fs::remove_all(to_);
      fs::create_directory(to_);
      for (int i = 0; i < 50; ++i) write_file(to_ + "/old-" + std::to_string(i), "old");
      break;  // its times are others now
    }
  }
  EXPECT_GT(kept, 0);
}

// ---- Hostile archives

class HostileArchive : public FileTree {
 protected:
  void add(PaxEntry entry, std::string_view content = {}) {
    entry.size = entry.type == EntryType::kFile ? content.size() : 0;
    entry.mode = entry.type == EntryType::kDirectory ? 0755 : 0644;
    if (::geteuid() != 0) entry.uid = ::getuid();
    Bytes header = encode_pax_header(entry);
    archive_.insert(archive_.end(), header.begin(), header.end());
    const ByteSpan bytes = as_bytes(content);
    archive_.insert(archive_.end(), bytes.begin(), bytes.end());
    archive_.resize(archive_.size() + pax_padding(content.size()));
  }
  void add(EntryType type, const std::string& where, const std::string& link = {},
           std::string_view content = {}) {
    PaxEntry entry;
    entry.type = type;
    entry.path = where;
    entry.link_target = link;
    add(entry, content);
  }
  // Extracts; it must fail and leave everything around as it was.
  Error refused() {
    write_file(path("precious"), "precious");
    Bytes all = archive_;
    all.resize(all.size() + kPaxEndSize);
    const auto result = extract(all, to_);
    archive_.clear();
    EXPECT_EQ(names(folder_), (std::vector<std::string>{"from", "precious"}));
    EXPECT_EQ(read_file(path("precious")), "precious");
    EXPECT_TRUE(names(from_).empty());
    return result ? Error{ErrorKind::kFailed, "it was accepted"} : result.error();
  }
  Bytes archive_;
};

TEST_F(HostileArchive, NothingIsWrittenThroughALink) {
  add(EntryType::kSymlink, "out", from_);
  add(EntryType::kFile, "out/evil", "", "evil");
  EXPECT_NE(refused().message.find("right inside of its folder"), std::string::npos);

  add(EntryType::kDirectory, "d");
  add(EntryType::kSymlink, "d/out", from_);
  add(EntryType::kFile, "d/out/evil", "", "evil");
  EXPECT_NE(refused().message.find("right inside of its folder"), std::string::npos);

  add(EntryType::kSymlink, "precious", path("precious"));  // a link, then a file of the same name
  add(EntryType::kFile, "precious", "", "evil");
  EXPECT_NE(refused().message.find("File exists"), std::string::npos);

  add(EntryType::kDirectory, "d");  // a folder replaced by a link
  add(EntryType::kSymlink, "d", from_);
  EXPECT_NE(refused().message.find("File exists"), std::string::npos);

  add(EntryType::kSymlink, "d", from_);  // the same the other way round
  add(EntryType::kDirectory, "d");
  add(EntryType::kFile, "d/evil", "", "evil");
  EXPECT_NE(refused().message.find("File exists"), std::string::npos);
}

TEST_F(HostileArchive, HardLinksReachOnlyFilesOfTheArchive) {
  add(EntryType::kSymlink, "out", folder_);
  add(EntryType::kHardLink, "evil", "out/precious");
  EXPECT_NE(refused().message.find("Not a directory"), std::string::npos);

  add(EntryType::kSymlink, "out", path("precious"));
  add(EntryType::kHardLink, "evil", "out");  // a second name of a link is no file
  EXPECT_EQ(refused().kind, ErrorKind::kVerificationFailed);

  add(EntryType::kHardLink, "evil", "missing");
  EXPECT_NE(refused().message.find("No such file"), std::string::npos);

  add(EntryType::kDirectory, "d");
  add(EntryType::kHardLink, "evil", "d");
  EXPECT_EQ(refused().kind, ErrorKind::kVerificationFailed);

  add(EntryType::kFile, "a", "", "a");  // a hard link, then the name again
  add(EntryType::kHardLink, "b", "a");
  add(EntryType::kFile, "b", "", "evil");
  EXPECT_NE(refused().message.find("File exists"), std::string::npos);
}

TEST_F(HostileArchive, OrderAndPlacesAreChecked) {
  add(EntryType::kFile, "missing/file", "", "x");
  EXPECT_EQ(refused().kind, ErrorKind::kVerificationFailed);
  add(EntryType::kDirectory, "a");
  add(EntryType::kDirectory, "b");
  add(EntryType::kFile, "a/late", "", "x");  // a is closed already
  EXPECT_EQ(refused().kind, ErrorKind::kVerificationFailed);
  add(EntryType::kDirectory, "");
  add(EntryType::kDirectory, "");
  EXPECT_EQ(refused().kind, ErrorKind::kVerificationFailed);
  // Paths that encode() refuses: written over a harmless one, with a checksum that fits.
  for (const std::string_view evil : {"../precious", "/precious__", "d/../../pre"}) {
    add(EntryType::kFile, "aaaaaaaaaaa", "", "evil");
    std::ranges::copy(as_bytes(evil), archive_.begin());
    unsigned sum = 8 * ' ';
    for (std::size_t i = 0; i < 512; ++i) {
      if (i < 148 || i >= 156) sum += std::to_integer<unsigned>(archive_[i]);
    }
    char text[8];
    std::snprintf(text, sizeof text, "%06o", sum);
    std::ranges::copy(as_bytes(std::string_view(text, 7)), archive_.begin() + 148);
    const Error error = refused();
    EXPECT_EQ(error.kind, ErrorKind::kVerificationFailed) << evil;
    EXPECT_NE(error.message.find("leads outside"), std::string::npos) << error.message;
  }
}

TEST_F(HostileArchive, BombsCostNothing) {
  PaxEntry bomb;
  bomb.path = "bomb";
  bomb.mode = 0644;
  bomb.size = kPaxMaxFileSize;
  bomb.extents.emplace();
  archive_ = encode_pax_header(bomb);
  EXPECT_NE(refused().message.find("File too large"), std::string::npos);
  Bytes half = encode_pax_header([] {
    PaxEntry entry;
    entry.path = "f";
    entry.size = 1'000'000;
    return entry;
  }());
  archive_ = half;  // ends in the middle of the file
  EXPECT_EQ(refused().kind, ErrorKind::kVerificationFailed);
}

TEST_F(HostileArchive, CutAtEveryBlockLeavesNothing) {
  write_file(from_ + "/f", std::string(3000, 'x'));
  fs::create_directory(from_ + "/d");
  write_file(from_ + "/d/g", "g");
  const Bytes whole = archive_of(*source(from_));
  fs::remove_all(from_);
  fs::create_directory(from_);
  for (std::size_t size = 0; size + 512 < whole.size(); size += 512) {
    const auto result = extract(ByteSpan(whole).first(size), to_);
    ASSERT_FALSE(result) << size;
    EXPECT_EQ(result.error().kind, ErrorKind::kVerificationFailed);
    ASSERT_EQ(names(folder_), (std::vector<std::string>{"from"})) << size;
  }
}

}  // namespace
}  // namespace sealane::backup
