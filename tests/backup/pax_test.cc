// Goal: headers say exactly what the entry says, and the reader refuses whatever leads outside or
// blows up. Method: round trips of entries at every limit, archives cut at every byte, forged
// headers.
#include "backup/pax.h"

#include <gtest/gtest.h>

namespace sealane::backup {
namespace {

// Every event of an archive fed in pieces of `step`; the first error ends it.
struct Trace {
  std::vector<PaxEntry> entries;
  std::vector<std::string> contents;  // of files, holes as zeros
  bool end = false;
  std::optional<PaxError> error;
  friend bool operator==(const Trace&, const Trace&) = default;
};

Trace read(ByteSpan archive, std::size_t step = SIZE_MAX) {
  PaxReader reader;
  Trace trace;
  while (!archive.empty()) {
    ByteSpan piece = archive.first(std::min(step, archive.size()));
    archive = archive.subspan(piece.size());
    for (;;) {
      auto event = reader.next(piece);
      if (!event) {
        trace.error = event.error();
        return trace;
      }
      if (std::holds_alternative<PaxReader::NeedInput>(event.value())) break;
      if (auto* entry = std::get_if<PaxEntry>(&event.value())) {
        if (entry->type == EntryType::kFile && entry->size < 1'000'000) {
          trace.contents.emplace_back(entry->size, '\0');
        }
        trace.entries.push_back(std::move(*entry));
      } else if (const auto* content = std::get_if<PaxReader::Content>(&event.value())) {
        trace.contents.back().replace(content->offset, content->bytes.size(),
                                      as_text(content->bytes));
      } else if (std::holds_alternative<PaxReader::ArchiveEnd>(event.value())) {
        trace.end = true;
      }
    }
  }
  if (const auto end = reader.finish(); !end) trace.error = end.error();
  return trace;
}

void append(Bytes& archive, const PaxEntry& entry, std::string_view content = {}) {
  const Bytes header = encode_pax_header(entry);
  archive.insert(archive.end(), header.begin(), header.end());
  EXPECT_EQ(content.size(), pax_content_size(entry));
  const ByteSpan bytes = as_bytes(content);
  archive.insert(archive.end(), bytes.begin(), bytes.end());
  archive.resize(archive.size() + pax_padding(content.size()));
}
void append_end(Bytes& archive) { archive.resize(archive.size() + kPaxEndSize); }

PaxEntry file(std::string path, std::uint64_t size = 0) {
  PaxEntry entry;
  entry.path = std::move(path);
  entry.mode = 0644;
  entry.size = size;
  return entry;
}

TEST(Pax, EntriesAtEveryLimitRoundTrip) {
  std::vector<PaxEntry> entries;
  const auto add = [&](auto change) {
    PaxEntry entry = file("name");
    change(entry);
    ASSERT_TRUE(is_valid(entry)) << entries.size();
    entries.push_back(std::move(entry));
  };
  const std::string name255(255, 'n');
  std::string longest;
  for (std::size_t i = 0; i < kPaxMaxDepth; ++i) longest += (i == 0 ? "" : "/") + name255;
  add([](auto&) {});
  add([](auto& e) { e.path = std::string(100, 'a'); });
  add([](auto& e) { e.path = std::string(101, 'a'); });
  add([](auto& e) { e.path = "sp ace/\xff\xfe\n=\x01/ä"; });
  add([&](auto& e) { e.path = longest; });
  add([](auto& e) {
    e.type = EntryType::kDirectory;
    e.path = "";
  });
  add([](auto& e) {
    e.type = EntryType::kDirectory;
    e.path = "a/b";
    e.mode = 07777;
  });
  add([](auto& e) {
    e.uid = 0xfffffffe;
    e.gid = 2097152;
    e.user = std::string(255, 'u');
    e.group = "gröup";
  });
  add([](auto& e) { e.user = std::string(31, 'u'); });
  add([](auto& e) { e.user = std::string(32, 'u'); });
  for (const auto& [seconds, nanoseconds] : {std::pair<std::int64_t, std::uint32_t>{0, 0},
                                             {0, 1},
                                             {1, 999'999'999},
                                             {-1, 0},
                                             {-1, 500'000'000},
                                             {-2, 1},
                                             {8589934591, 0},
                                             {8589934592, 0},
                                             {INT64_MAX / 2 - 1, 1},
                                             {-INT64_MAX / 2 + 1, 1},
                                             {100, 120'000'000}}) {
    add([s = seconds, n = nanoseconds](auto& e) {
      e.mtime_seconds = s;
      e.mtime_nanoseconds = n;
    });
  }
  for (const std::uint64_t size :
       {0ull, 1ull, 8589934591ull, 8589934592ull, kPaxMaxFileSize + 0ull}) {
    add([size](auto& e) { e.size = size; });
  }
  add([](auto& e) {
    e.type = EntryType::kSymlink;
    e.link_target = "../../anywhere";
  });
  add([](auto& e) {
    e.type = EntryType::kSymlink;
    e.link_target = std::string(kPaxMaxLink, '\xff');
  });
  add([](auto& e) {
    e.type = EntryType::kHardLink;
    e.link_target = std::string(200, 'x') + "/y";
  });
  add([](auto& e) {
    e.type = EntryType::kBlockDevice;
    e.device_major = 07777777;
    e.device_minor = 1;
  });
  add([](auto& e) { e.type = EntryType::kFifo; });
  add([](auto& e) {
    e.xattrs = {{"user.a=b%c", std::string("\0\n 9 x=y\n", 9)}, {"user.empty", ""}};
  });
  add([](auto& e) {
    e.size = 1'000'000'000'000;
    e.path = std::string(150, 'p') + "/q";
    e.extents = {{{0, 10}, {4096, 1}, {999'999'999'999, 1}}};
  });
  add([](auto& e) {
    e.size = 5000;
    e.extents = {{{5000, 0}}};
  });
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const Bytes header = encode_pax_header(entries[i]);
    EXPECT_EQ(header.size() % kPaxBlock, 0u);
    const Trace trace = read(header);
    ASSERT_EQ(trace.entries.size(), 1u) << i;
    EXPECT_EQ(trace.entries[0], entries[i]) << i;
  }
}

TEST(Pax, InvalidEntriesAreKnown) {
  const auto bad = [](auto change) {
    PaxEntry entry = file("name");
    change(entry);
    return !is_valid(entry);
  };
  for (const char* path : {"", "/a", "a/", "a//b", ".", "..", "a/..", "../a", "a/./b", "./a"}) {
    EXPECT_TRUE(bad([&](auto& e) { e.path = path; })) << path;
  }
  EXPECT_TRUE(bad([](auto& e) { e.path = std::string("a\0b", 3); }));
  EXPECT_TRUE(bad([](auto& e) { e.path = std::string(256, 'a'); }));
  EXPECT_TRUE(bad([](auto& e) { e.mode = 010000; }));
  EXPECT_TRUE(bad([](auto& e) { e.uid = 0xffffffff; }));
  EXPECT_TRUE(bad([](auto& e) { e.mtime_nanoseconds = 1'000'000'000; }));
  EXPECT_TRUE(bad([](auto& e) { e.link_target = "x"; }));
  EXPECT_TRUE(bad([](auto& e) { e.type = EntryType::kSymlink; }));
  EXPECT_TRUE(bad([](auto& e) { e.extents = {{{0, 1}}}; }));  // beyond its size
  EXPECT_TRUE(bad([](auto& e) {
    e.size = 10;
    e.extents = {{{5, 2}, {0, 2}}};
  }));
  EXPECT_TRUE(bad([](auto& e) { e.xattrs = {{"user.x", std::string(kPaxMaxXattrBytes, 'x')}}; }));
}

Bytes sample() {
  Bytes archive;
  PaxEntry root = file("");
  root.type = EntryType::kDirectory;
  append(archive, root);
  PaxEntry small = file("small", 5);
  small.mtime_nanoseconds = 5;
  small.xattrs = {{"user.k", "v"}};
  append(archive, small, "hello");
  append(archive, file("empty"));
  append(archive, file("block", 512), std::string(512, 'b'));
  PaxEntry sparse = file("sparse", 3000);
  sparse.extents = {{{100, 3}, {600, 600}, {3000, 0}}};
  append(archive, sparse, "abc" + std::string(600, 'd'));
  PaxEntry link = file("link");
  link.type = EntryType::kHardLink;
  link.link_target = "small";
  append(archive, link);
  append_end(archive);
  return archive;
}

TEST(Pax, AnyCutGivesTheSame) {
  const Bytes archive = sample();
  const Trace whole = read(archive);
  ASSERT_FALSE(whole.error);
  EXPECT_TRUE(whole.end);
  ASSERT_EQ(whole.entries.size(), 6u);
  EXPECT_EQ(whole.contents[0], "hello");
  EXPECT_EQ(whole.contents[3].substr(99, 5), std::string("\0abc\0", 5));
  for (const std::size_t step : {1u, 2u, 3u, 511u, 512u, 513u, 1000u}) {
    EXPECT_EQ(read(archive, step), whole) << step;
  }
}

TEST(Pax, CutShortAnywhereIsAnError) {
  const Bytes archive = sample();
  for (std::size_t size = 1; size < archive.size(); ++size) {
    const Trace trace = read(ByteSpan(archive).first(size));
    ASSERT_EQ(trace.error, PaxError::kTruncated) << size;
  }
}

TEST(Pax, OnlyZerosFollowTheEnd) {
  Bytes archive = sample();
  archive.resize(archive.size() + 9000);
  EXPECT_FALSE(read(archive).error);
  archive.back() = std::byte{1};
  EXPECT_EQ(read(archive).error, PaxError::kTrailing);
  EXPECT_EQ(read(archive, 1).error, PaxError::kTrailing);
}

// ---- Forged: any field, with a checksum that fits.

void set(Bytes& archive, std::size_t offset, std::string_view text) {
  std::ranges::copy(as_bytes(text), archive.begin() + static_cast<std::ptrdiff_t>(offset));
}
void fix_checksum(Bytes& archive, std::size_t header = 0) {
  set(archive, header + 148, "        ");
  unsigned sum = 0;
  for (std::size_t i = 0; i < 512; ++i) sum += std::to_integer<unsigned>(archive[header + i]);
  char text[9];
  std::snprintf(text, sizeof text, "%06o", sum);
  set(archive, header + 148, std::string_view(text, 7));
}
std::optional<PaxError> forged(std::size_t offset, std::string_view text) {
  Bytes archive = encode_pax_header(file("name"));
  set(archive, offset, text);
  fix_checksum(archive);
  append_end(archive);
  const Trace trace = read(archive);
  return trace.error;
}
std::optional<PaxError> with_records(std::string_view records, char type = '0') {
  Bytes archive = encode_pax_header(file("x"));
  char size[13];
  std::snprintf(size, sizeof size, "%011zo", records.size());
  set(archive, 124, std::string_view(size, 12));
  archive[156] = std::byte{'x'};
  fix_checksum(archive);
  const ByteSpan body = as_bytes(records);
  archive.insert(archive.end(), body.begin(), body.end());
  archive.resize(archive.size() + pax_padding(body.size()));
  Bytes next = encode_pax_header(file("name"));
  next[156] = static_cast<std::byte>(type);
  fix_checksum(next);
  archive.insert(archive.end(), next.begin(), next.end());
  append_end(archive);
  return read(archive).error;
}

TEST(Pax, ForgedHeadersAreRefused) {
  EXPECT_FALSE(forged(0, "other"));
  for (const std::string_view path :
       {"/etc/passwd", "../up", "a/../../up", "a//b", "..", ".", "a/."}) {
    EXPECT_EQ(forged(0, std::string(path) + std::string(5, '\0')), PaxError::kPath) << path;
  }
  EXPECT_EQ(forged(345, "/root"), PaxError::kPath);  // the prefix field
  EXPECT_EQ(forged(345, ".."), PaxError::kPath);
  EXPECT_EQ(forged(257, "ustar  "), PaxError::kHeader);  // old GNU format
  for (const char type : {'g', 'L', 'K', 'S', 'V', 'M', 'D', 'Z'}) {
    EXPECT_EQ(forged(156, std::string(1, type)), PaxError::kHeader) << type;
  }
  EXPECT_EQ(forged(100, "00x0644"), PaxError::kHeader);
  EXPECT_EQ(forged(124, "\x80"), PaxError::kHeader);  // base 256
  EXPECT_EQ(forged(124, "-0000000001"), PaxError::kHeader);
  EXPECT_EQ(forged(156, "5"), std::nullopt);
  Bytes flipped = encode_pax_header(file("name"));
  flipped[3] ^= std::byte{1};
  EXPECT_EQ(read(flipped).error, PaxError::kHeader);
  Bytes link = encode_pax_header(file("name"));
  for (const std::string_view target : {"/etc/passwd", "../x", ""}) {
    set(link, 156, "1");
    set(link, 157, std::string(target) + '\0');
    fix_checksum(link);
    EXPECT_EQ(read(link).error, PaxError::kPath) << target;
  }
  Bytes folder = encode_pax_header(file("name", 5));  // a folder with content
  set(folder, 156, "5");
  fix_checksum(folder);
  EXPECT_EQ(read(folder).error, PaxError::kHeader);
}

TEST(Pax, ForgedRecordsAreRefused) {
  EXPECT_EQ(with_records("12 path=abc\n"), std::nullopt);
  EXPECT_EQ(with_records("11 atime=1\n11 ctime=1\n"), std::nullopt);
  EXPECT_EQ(with_records("15 path=../abc\n"), PaxError::kPath);
  EXPECT_EQ(with_records("13 path=/abc\n"), PaxError::kPath);
  EXPECT_EQ(with_records(std::string("12 path=a\0c\n", 12)), PaxError::kExtendedHeader);
  for (const std::string_view bad :
       {"11 path=abc\n", "13 path=abc\n", "99999999 path=abc\n", "0 path=abc\n", " 12 path=abc\n",
        "12path=abc\n", "x", "12 path=abcx", "7 path\n", "5 =a\n", "-1 a=b\n",
        "12 path=abc\n12 path=abd\n", "18446744073709551628 path=abc\n", "12 mtime=1.\n",
        "12 mtime=1e\n", "30 mtime=99999999999999999999\n", "11 size=-1\n", "9 uid=x\n"}) {
    EXPECT_EQ(with_records(bad), PaxError::kExtendedHeader) << bad;
  }
  EXPECT_EQ(with_records("18 uid=4294967295\n"), PaxError::kLimit);
  EXPECT_EQ(with_records("28 size=9223372036854775808\n"), PaxError::kLimit);
  std::string many;
  for (std::size_t i = 0; i <= kPaxMaxXattrs; ++i)
    many += "29 SCHILY.xattr.user." + std::to_string(10000 + i) + "=\n";
  EXPECT_EQ(with_records(many), PaxError::kExtendedHeader);  // the lengths are wrong by one
  std::string good;
  for (std::size_t i = 0; i <= kPaxMaxXattrs; ++i)
    good += "28 SCHILY.xattr.user." + std::to_string(10000 + i) + "=\n";
  EXPECT_EQ(with_records(good), PaxError::kLimit);
  EXPECT_EQ(with_records("22 SCHILY.xattr.%41=x\n"), PaxError::kExtendedHeader);
  Bytes huge = encode_pax_header(file("x"));
  set(huge, 124, "77777777777");
  huge[156] = std::byte{'x'};
  fix_checksum(huge);
  EXPECT_EQ(read(huge).error, PaxError::kLimit);  // before a byte of it is kept
  Bytes lone = encode_pax_header(file("x"));      // an extended header of nothing
  huge[124] = std::byte{'0'};
  set(lone, 156, "x");
  fix_checksum(lone);
  append_end(lone);
  EXPECT_EQ(read(lone).error, PaxError::kHeader);
}

// A sparse file of `real_size` whose stored part is `stored`, map included.
std::optional<PaxError> sparse(
    std::string_view stored, std::string_view real_size = "1000",
    std::string_view version = "22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n") {
  std::string records(version);
  std::string record = " GNU.sparse.realsize=" + std::string(real_size) + "\n";
  records += std::to_string(record.size() + 2) + record;
  Bytes archive = encode_pax_header(file("x"));
  char size[13];
  std::snprintf(size, sizeof size, "%011zo", records.size());
  set(archive, 124, std::string_view(size, 12));
  archive[156] = std::byte{'x'};
  fix_checksum(archive);
  const ByteSpan body = as_bytes(records);
  archive.insert(archive.end(), body.begin(), body.end());
  archive.resize(archive.size() + pax_padding(body.size()));
  Bytes next = encode_pax_header(file("name", stored.size()));
  archive.insert(archive.end(), next.begin(), next.end());
  const ByteSpan content = as_bytes(stored);
  archive.insert(archive.end(), content.begin(), content.end());
  archive.resize(archive.size() + pax_padding(content.size()));
  append_end(archive);
  const Trace trace = read(archive);
  EXPECT_EQ(read(archive, 1), trace);
  return trace.error;
}
std::string map_block(std::string text, std::string_view content = {}) {
  text.resize(text.size() + pax_padding(text.size()));
  return text + std::string(content);
}

TEST(Pax, SparseMapsMustFit) {
  EXPECT_EQ(sparse(map_block("1\n10\n3\n", "abc")), std::nullopt);
  EXPECT_EQ(sparse(map_block("0\n")), std::nullopt);
  EXPECT_EQ(sparse(map_block("1\n1000\n0\n")), std::nullopt);
  for (const std::string& bad :
       {map_block("1\n10\n4\n", "abc"), map_block("1\n10\n2\n", "abc"),
        map_block("1\n998\n3\n", "abc"), map_block("2\n10\n2\n11\n1\n", "abc"),
        map_block("2\n10\n2\n5\n1\n", "abc"), map_block("1\n-1\n3\n", "abc"),
        map_block("1\n18446744073709551615\n3\n", "abc"),
        map_block("1\n99999999999999999999\n3\n", "abc"),
        map_block("1\n3\n18446744073709551615\n", "abc"), map_block("x"), map_block("\n\n"),
        std::string(), std::string("1\n"), std::string("1\n10\n3\nabc"),
        map_block("2\n10\n3\n", "abc")}) {
    EXPECT_EQ(sparse(bad), PaxError::kSparse) << bad.substr(0, 30);
  }
  EXPECT_EQ(sparse(map_block("262145\n")), PaxError::kLimit);
  EXPECT_EQ(sparse(map_block("18446744073709551615\n")), PaxError::kLimit);
  EXPECT_EQ(sparse(map_block("0\n"), "9223372036854775808"), PaxError::kLimit);
  EXPECT_EQ(sparse(map_block("0\n"), "9223372036854775807"),
            std::nullopt);  // all hole: costs nothing
  EXPECT_EQ(sparse(map_block("0\n"), "1000", "22 GNU.sparse.major=0\n22 GNU.sparse.minor=1\n"),
            PaxError::kSparse);
}

}  // namespace
}  // namespace sealane::backup
