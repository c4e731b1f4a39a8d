#pragma once
// Console: everything the program says. Data goes to stdout, talk to stderr; with --json, messages
// are JSON lines (docs/json.md) on stdout, or on stderr when stdout carries data.
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "flow/ticker.h"
#include "sealane/base/result.h"

namespace sealane::app {

inline constexpr int kJsonSchema = 1;  // only ever grows by new fields and message types

// Thread-safe.
class Console {
 public:
  bool json = false;
  bool quiet = false;
  int verbose = 0;
  bool data_on_stdout = false;  // set before the first message when stdout carries data

  Console();
  bool stderr_is_terminal() const { return terminal_; }
  // Result text or messages could not be written: a disk is full, or the reader went away.
  bool result_lost() const { return result_lost_; }
  bool color() const { return color_; }  // a terminal, and NO_COLOR not set

  // Result text of a command, on stdout; nothing with --json.
  void print(std::string_view text);
  // Talk on stderr: not with --quiet or --json.
  void note(std::string_view text);
  // Talk on stderr, also with --quiet; with --json a message of type "warning".
  void warn(std::string_view text);
  // "sealane: …" on stderr, or a message of type "error".
  void error(const Error& error);
  // One JSON line, with schema and message_type added; nothing without --json.
  void emit(std::string_view message_type, nlohmann::json message);

  // Replaces the progress line of a terminal; cleared before other talk.
  void show_progress_line(std::string_view line);
  void clear_progress_line();

 private:
  void clear_locked();
  void write_result_locked(std::string_view text);
  std::mutex mutex_;
  std::atomic<bool> result_lost_ = false;
  bool terminal_ = false;
  bool color_ = false;
  bool line_shown_ = false;
};

// Progress of one stage at a time. On a terminal a bar, redrawn four times a second; else a line
// every five seconds; with --json messages of type "progress" every second; SIGUSR1 prints it at
// once.
class Progress {
 public:
  struct Sample {
    std::uint64_t done = 0;
    std::optional<std::uint64_t> total;
    std::optional<std::uint64_t> keys = {};  // of a store; shown beside the bytes
  };
  // `sample` is called on another thread until *this is destroyed.
  Progress(Console& console, std::string stage, std::function<Sample()> sample);
  ~Progress();

 private:
  void tick();
  Console& console_;
  std::string stage_;
  std::function<Sample()> sample_;
  std::chrono::steady_clock::time_point start_;
  std::chrono::steady_clock::time_point last_line_;
  std::unique_ptr<flow::Ticker> ticker_;
};

void request_progress_now() noexcept;  // async-signal-safe: the SIGUSR1 handler

std::string format_bytes(std::uint64_t bytes);  // "1.50 GiB"
std::string format_duration(double seconds);    // "850 ms", "12.3 s", "4 min 05 s", "2 h 10 min"
std::string_view kind_name(ErrorKind kind);     // "wrong_key": the "kind" of a JSON error
// "1 key", "2 keys". `noun`: one whose plural is made with an s.
std::string counted(std::uint64_t count, std::string_view noun);

// Columns under a header, padded by display width.
class Table {
 public:
  explicit Table(std::vector<std::string> header) { add(std::move(header)); }
  void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  std::string text() const;

 private:
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace sealane::app
