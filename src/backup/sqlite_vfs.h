#pragma once
// SQLite VFS shims. PageTap and PageSink turn the backup API into a stream. The API copies pages 2,
// 3, … in order and writes page 1 last; a stream needs page 1 first. So the page tap learns page 1
// from the source as SQLite reads it, the page sink takes the copied pages, and both page ones are
// compared at the end. Nothing is stored: memory is a few pages.
#include <sqlite3.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "sealane/base/bytes.h"

namespace sealane::backup {

// Passes everything through to SQLite's default VFS, and keeps the last page 1 that was read: from
// the database, or from its write-ahead log. Databases are read in larger pieces where their pages
// are asked for in order, or against it: SQLite itself makes a call of the system for each page.
// With any `PRAGMA mmap_size` but 0 it is lent the pages instead of copying them; nothing is
// mapped. Memory: 512 KiB a connection. Must outlive connections opened with name().
class PageTap {
 public:
  PageTap();
  ~PageTap();
  PageTap(const PageTap&) = delete;
  PageTap& operator=(const PageTap&) = delete;
  const char* name() const { return name_.c_str(); }
  ByteSpan page_one() const { return page_one_; }

  // For the VFS functions: a successful read of the database, or of its log.
  void read_database(std::int64_t offset, ByteSpan data);
  void read_log(sqlite3_file& log, std::int64_t offset, ByteSpan data);

 private:
  std::string name_;
  sqlite3_vfs vfs_{};
  Bytes page_one_;
};

// A database that takes pages in ascending order and keeps none. Must outlive its connection.
class PageSink {
 public:
  // Why a write was refused.
  enum class Fault : std::uint8_t { kNone, kNotAPage, kOrder };

  // `first_page` goes out before the second; REQUIRES: its size is a page size. `page_count`: the
  // first page included. `lock_page`: the page that SQLite never uses and the backup API skips.
  PageSink(Bytes first_page, std::uint32_t page_count, std::uint32_t lock_page);
  ~PageSink();
  PageSink(const PageSink&) = delete;
  PageSink& operator=(const PageSink&) = delete;
  const char* name() const { return name_.c_str(); }

  // Bytes that are ready to leave; take() says how many were used.
  ByteSpan ready() const { return ByteSpan(ready_).subspan(taken_); }
  void take(std::size_t size);
  Fault fault() const { return fault_; }

  // After the copy was committed: true if every page came, and page 1 is what went out but for the
  // counters that each commit renews. Adds what is left to ready().
  bool complete();

  // For the VFS functions.
  bool write(std::int64_t offset, ByteSpan data);
  bool truncate(std::int64_t size);
  std::int64_t size() const { return size_; }

 private:
  void append(ByteSpan page);
  std::string name_;
  sqlite3_vfs vfs_{};
  Bytes first_page_;
  Bytes committed_first_page_;
  std::uint32_t page_count_;
  std::uint32_t lock_page_;
  std::uint32_t next_page_ = 2;
  std::int64_t size_ = 0;
  Bytes ready_;
  std::size_t taken_ = 0;
  Fault fault_ = Fault::kNone;
};

}  // namespace sealane::backup
