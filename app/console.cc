#include "app/console.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>

namespace sealane::app {
namespace {

using std::chrono::steady_clock;

std::atomic<bool> progress_wanted{false};
static_assert(std::atomic<bool>::is_always_lock_free);

bool write_all(std::FILE* stream, std::string_view text) {
  return std::fwrite(text.data(), 1, text.size(), stream) == text.size() &&
         std::fflush(stream) == 0;
}

std::size_t display_width(std::string_view text) {
  return static_cast<std::size_t>(std::ranges::count_if(
      text, [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

std::string format(const char* pattern, auto... values) {
  char text[128];
  const int size = std::snprintf(text, sizeof text, pattern, values...);
  return std::string(text, static_cast<std::size_t>(std::min(size, 127)));
}

}  // namespace

Console::Console() : terminal_(::isatty(STDERR_FILENO) == 1) {
  const char* no_color = std::getenv("NO_COLOR");
  color_ = terminal_ && (no_color == nullptr || *no_color == '\0');
}

void Console::clear_locked() {
  if (!line_shown_) return;
  write_all(stderr, "\r\x1b[K");
  line_shown_ = false;
}

void Console::write_result_locked(std::string_view text) {
  if (!write_all(data_on_stdout ? stderr : stdout, text)) result_lost_ = true;
}

void Console::print(std::string_view text) {
  if (json) return;
  const std::lock_guard lock(mutex_);
  clear_locked();
  write_result_locked(text);
}

void Console::note(std::string_view text) {
  if (json || quiet) return;
  const std::lock_guard lock(mutex_);
  clear_locked();
  write_all(stderr, std::string(text) + "\n");
}

void Console::warn(std::string_view text) {
  if (json) return emit("warning", {{"message", text}});
  const std::lock_guard lock(mutex_);
  clear_locked();
  write_all(stderr, "sealane: warning: " + std::string(text) + "\n");
}

void Console::error(const Error& error) {
  if (json) {
    return emit("error", {{"kind", kind_name(error.kind)},
                          {"exit_code", exit_code(error.kind)},
                          {"message", error.message}});
  }
  const std::lock_guard lock(mutex_);
  clear_locked();
  const char* start = color_ ? "\x1b[1;31msealane:\x1b[0m " : "sealane: ";
  write_all(stderr, start + error.message + "\n");
}

void Console::emit(std::string_view message_type, nlohmann::json message) {
  if (!json) return;
  message["message_type"] = message_type;
  message["schema"] = kJsonSchema;
  // Names and reasons may hold any bytes; JSON may not.
  const std::string line =
      message.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  const std::lock_guard lock(mutex_);
  write_result_locked(line);
}

void Console::show_progress_line(std::string_view line) {
  const std::lock_guard lock(mutex_);
  write_all(stderr, "\r\x1b[K" + std::string(line));
  line_shown_ = true;
}

void Console::clear_progress_line() {
  const std::lock_guard lock(mutex_);
  clear_locked();
}

Progress::Progress(Console& console, std::string stage, std::function<Sample()> sample)
    : console_(console),
      stage_(std::move(stage)),
      sample_(std::move(sample)),
      start_(steady_clock::now()),
      last_line_(start_) {
  if (console_.quiet) return;
  ticker_ = std::make_unique<flow::Ticker>(std::chrono::milliseconds(250), [this] { tick(); });
}

Progress::~Progress() {
  ticker_.reset();
  console_.clear_progress_line();
}

void Progress::tick() {
  const auto now = steady_clock::now();
  const bool asked = progress_wanted.exchange(false);
  const auto pause = console_.json ? std::chrono::seconds(1) : std::chrono::seconds(5);
  const bool line_due = asked || now - last_line_ >= pause;
  const bool bar = console_.stderr_is_terminal() && !console_.json;
  if (!bar && !line_due) return;
  const Sample sample = sample_();
  const double seconds = std::chrono::duration<double>(now - start_).count();
  const double rate = static_cast<double>(sample.done) / std::max(seconds, 0.001);
  std::optional<double> eta;
  if (sample.total && rate > 0 && *sample.total >= sample.done) {
    eta = static_cast<double>(*sample.total - sample.done) / rate;
  }
  if (console_.json) {
    last_line_ = now;
    nlohmann::json message{{"stage", stage_},
                           {"bytes_done", sample.done},
                           {"bytes_per_second", rate},
                           {"seconds", seconds}};
    if (sample.total) message["bytes_total"] = *sample.total;
    if (eta) message["eta_seconds"] = *eta;
    if (sample.keys) message["keys_done"] = *sample.keys;
    return console_.emit("progress", std::move(message));
  }
  std::string line = stage_ + "  " + format_bytes(sample.done);
  if (sample.total && *sample.total > 0) {
    // An estimate may be too low; a bar never claims to be done before it is.
    const auto percent = std::min<std::uint64_t>(99, sample.done * 100 / *sample.total);
    const auto filled = static_cast<std::size_t>(percent / 5);
    line = stage_ + "  [" + std::string(filled, '#') + std::string(20 - filled, '.') + "] " +
           std::to_string(percent) + "%  " + format_bytes(sample.done) + " of about " +
           format_bytes(*sample.total);
  }
  if (sample.keys) line += "  " + counted(*sample.keys, "key");
  // Of what has no bytes, or none yet, only the time is known.
  if (sample.done == 0 && !sample.total) {
    line = stage_ + "  " + format_duration(seconds);
  } else {
    line += "  " + format_bytes(static_cast<std::uint64_t>(rate)) + "/s";
  }
  if (eta && sample.done < *sample.total) line += "  " + format_duration(*eta) + " left";
  if (bar) {
    console_.show_progress_line(line);
    if (asked) console_.note(line);
  } else {
    last_line_ = now;
    console_.note(line);
  }
}

void request_progress_now() noexcept { progress_wanted.store(true); }

std::string format_bytes(std::uint64_t bytes) {
  if (bytes < 1024) return std::to_string(bytes) + " B";
  static constexpr const char* kUnits[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  double value = static_cast<double>(bytes) / 1024;
  std::size_t unit = 0;
  while (value >= 1024 && unit + 1 < std::size(kUnits)) {
    value /= 1024;
    ++unit;
  }
  return format("%.2f %s", value, kUnits[unit]);
}

std::string counted(std::uint64_t count, std::string_view noun) {
  std::string out = std::to_string(count) + " ";
  out += noun;
  if (count != 1) out += 's';
  return out;
}

std::string format_duration(double seconds) {
  if (seconds < 1) return format("%.0f ms", seconds * 1000);
  if (seconds < 60) return format("%.1f s", seconds);
  const auto whole = static_cast<unsigned long>(seconds);
  if (whole < 3600) return format("%lu min %02lu s", whole / 60, whole % 60);
  return format("%lu h %02lu min", whole / 3600, whole / 60 % 60);
}

std::string_view kind_name(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kFailed:
      return "failed";
    case ErrorKind::kUsage:
      return "usage";
    case ErrorKind::kSourceUnreadable:
      return "source_unreadable";
    case ErrorKind::kRepositoryMissing:
      return "repository_missing";
    case ErrorKind::kLocked:
      return "locked";
    case ErrorKind::kWrongKey:
      return "wrong_key";
    case ErrorKind::kRefused:
      return "refused";
    case ErrorKind::kPinMismatch:
      return "pin_mismatch";
    case ErrorKind::kVerificationFailed:
      return "verification_failed";
    case ErrorKind::kInterrupted:
      return "interrupted";
  }
  return "failed";
}

std::string Table::text() const {
  std::vector<std::size_t> widths;
  for (const auto& row : rows_) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t i = 0; i < row.size(); ++i)
      widths[i] = std::max(widths[i], display_width(row[i]));
  }
  std::string out;
  for (const auto& row : rows_) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      line += row[i];
      if (i + 1 < row.size()) line.append(widths[i] - display_width(row[i]) + 2, ' ');
    }
    out += line + "\n";
  }
  return out;
}

}  // namespace sealane::app
