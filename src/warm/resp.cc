#include "warm/resp.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include "base/check.h"
#include "base/copy_bytes.h"

namespace sealane::warm {
namespace {

constexpr std::size_t kLongestLine = 16;  // mark, digits, CR LF of any length within the limits
constexpr std::size_t kLongestNote = 1024;
constexpr std::size_t kCompactAbove = 64 * 1024;
// Copied at a time to complete a command that was cut, where its size is not known yet.
constexpr std::size_t kCompleteBy = 1024;

}  // namespace

std::string_view describe(RespError error) {
  switch (error) {
    case RespError::kNotACommand:
      return "it is no sequence of Redis commands";
    case RespError::kTooManyWords:
      return "a command in it has too many words";
    case RespError::kTooLong:
      return "a command in it is too long";
    case RespError::kTruncated:
      return "it is cut inside a command";
  }
  return "it is damaged";
}

void RespSplitter::feed(ByteSpan data) {
  if (begin_ > kCompactAbove && begin_ > buffer_.size() / 2) {
    buffer_.erase(buffer_.begin(), buffer_.begin() + static_cast<std::ptrdiff_t>(begin_));
    begin_ = 0;
  }
  buffer_.insert(buffer_.end(), data.begin(), data.end());
}

void RespSplitter::lend(ByteSpan data) {
  SEALANE_CHECK(lent_.empty());
  lent_ = data;
  lent_at_ = 0;
  in_lent_ = buffered() == 0 && !in_command_;
  if (in_lent_) begin_ = 0;
}

Result<std::optional<RespCommand>, RespError> RespSplitter::next() {
  if (lent_.empty()) return cut();
  if (std::exchange(from_buffer_, false)) {
    // What is left of the buffer was copied from here.
    begin_ = lent_at_ - buffered();
    in_lent_ = true;
  }
  for (;;) {
    SEALANE_TRY(const auto command, cut());
    if (command) {
      from_buffer_ = !in_lent_;
      return command;
    }
    if (in_lent_) {
      const ByteSpan begun = lent_.subspan(begin_);
      buffer_.assign(begun.begin(), begun.end());
      begin_ = 0;
      in_lent_ = false;
      lent_ = {};
      return command;
    }
    const ByteSpan rest = lent_.subspan(lent_at_);
    if (rest.empty()) {
      lent_ = {};
      return command;
    }
    const ByteSpan more = rest.first(std::min(rest.size(), std::max(wanted(), kCompleteBy)));
    buffer_.insert(buffer_.end(), more.begin(), more.end());
    lent_at_ += more.size();
  }
}

namespace {

// The value of "$7\r\n" or "$42\r\n", as nearly all lines are; nothing: look more closely.
std::optional<std::uint64_t> short_line(char mark, std::string_view text) {
  const auto digit = [](char c) { return c >= '0' && c <= '9'; };
  if (text.size() < 5 || text[0] != mark || !digit(text[1])) return std::nullopt;
  const auto first = static_cast<std::uint64_t>(text[1] - '0');
  if (text[2] == '\r' && text[3] == '\n') return first;
  if (first == 0 || !digit(text[2]) || text[3] != '\r' || text[4] != '\n') return std::nullopt;
  return 10 * first + static_cast<std::uint64_t>(text[2] - '0');
}

}  // namespace

// A line "*12\r\n": canonical decimal. Nothing: the line is not complete.
Result<std::optional<std::uint64_t>, RespError> RespSplitter::length_line(char mark,
                                                                          std::uint64_t limit) {
  const ByteSpan rest = input().subspan(begin_ + at_);
  if (rest.empty()) return std::optional<std::uint64_t>();
  if (const auto value =
          short_line(mark, as_text(rest.first(std::min<std::size_t>(rest.size(), 5))));
      value && *value <= limit) {
    at_ += std::size_t{4} + (*value < 10 ? 0U : 1U);
    return value;
  }
  const std::string_view text = as_text(rest.first(std::min(rest.size(), kLongestLine)));
  if (text.front() != mark) return RespError::kNotACommand;
  const auto end = text.find('\r');
  const std::string_view digits = text.substr(1, end == text.npos ? text.npos : end - 1);
  if (!std::ranges::all_of(digits, [](char c) { return c >= '0' && c <= '9'; })) {
    return RespError::kNotACommand;
  }
  if (end == text.npos || end + 1 >= text.size()) {
    if (text.size() >= kLongestLine) return RespError::kNotACommand;
    return std::optional<std::uint64_t>();
  }
  std::uint64_t value = 0;
  const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (parsed.ec != std::errc{} || text[end + 1] != '\n' ||
      (digits.size() > 1 && digits[0] == '0')) {
    return RespError::kNotACommand;
  }
  if (value > limit) return mark == '*' ? RespError::kTooManyWords : RespError::kTooLong;
  at_ += end + 2;
  return std::optional(value);
}

// True: one was passed over. False: here is none, or it is not complete.
Result<bool, RespError> RespSplitter::skip_note() {
  const std::string_view rest = as_text(input().subspan(begin_));
  if (notes_ != Notes::kSkip || !rest.starts_with('#')) return false;
  const auto end = rest.substr(0, kLongestNote).find('\n');
  if (end == rest.npos) {
    if (rest.size() >= kLongestNote) return RespError::kNotACommand;
    return false;
  }
  begin_ += end + 1;
  consumed_ += end + 1;
  return true;
}

namespace {

bool ends_line(std::string_view text, std::size_t at) {
  return text[at] == '\r' && text[at + 1] == '\n';
}

// The word that stands at `at`, which moves behind it. Nothing: it has 1000 bytes or more, is not
// there as a whole, or is none.
std::optional<std::string_view> short_word(std::string_view text, std::size_t& at) {
  constexpr std::size_t kLeastWord = 6;  // "$0", line end, text, line end
  const auto digit = [text](std::size_t place) { return static_cast<unsigned>(text[place]) - '0'; };
  if (text.size() - at < kLeastWord || text[at] != '$') return std::nullopt;
  std::size_t size = digit(at + 1);
  if (size > 9) return std::nullopt;
  at += 2;
  for (int more = 0; more < 2 && size > 0 && digit(at) <= 9; ++more) {
    size = 10 * size + digit(at++);
  }
  if (!ends_line(text, at)) return std::nullopt;
  at += 2;
  if (text.size() - at < size + 2 || !ends_line(text, at + size)) return std::nullopt;
  at += size + 2;
  return text.substr(at - size - 2, size);
}

}  // namespace

// Nearly all commands are there as a whole, with a few short words: one pass cuts those. Nothing:
// look more closely.
std::optional<RespCommand> RespSplitter::next_short() {
  const ByteSpan rest = input().subspan(begin_);
  const std::string_view text = as_text(rest);
  if (text.size() < 4 || text[0] != '*' || !ends_line(text, 2)) return std::nullopt;
  const unsigned count = static_cast<unsigned>(text[1]) - '0';
  if (count > 9) return std::nullopt;
  std::size_t at = 4;
  given_.clear();
  for (unsigned left = count; left > 0; --left) {
    const auto word = short_word(text, at);
    if (!word) return std::nullopt;
    given_.push_back(as_bytes(*word));
  }
  if (given_.empty() || at > limit_) return std::nullopt;
  begin_ += at;
  consumed_ += at;
  wanted_ = 0;
  return RespCommand{.whole = rest.first(at), .words = given_};
}

std::optional<ByteSpan> RespSplitter::next_like(std::string_view head, std::size_t words,
                                                std::string_view tail) {
  if (error_ || in_command_) return std::nullopt;
  // What began in an earlier piece is for next() to complete, and to leave behind.
  if (from_buffer_ || (!lent_.empty() && !in_lent_)) return std::nullopt;
  const ByteSpan rest = input().subspan(begin_);
  const std::string_view text = as_text(rest);
  if (!text.starts_with(head)) return std::nullopt;
  std::size_t at = head.size();
  for (; words > 0; --words) {
    if (!short_word(text, at)) return std::nullopt;
  }
  const std::size_t size = at + tail.size();
  if (!text.substr(at).starts_with(tail) || size > limit_) return std::nullopt;
  begin_ += size;
  consumed_ += size;
  wanted_ = 0;
  return rest.subspan(head.size(), at - head.size());
}

Result<std::optional<RespCommand>, RespError> RespSplitter::cut() {
  if (error_) return *error_;
  const auto fail = [this](RespError error) {
    error_ = error;
    return error;
  };
  if (buffered() < wanted_) return std::optional<RespCommand>();
  if (!in_command_) {
    if (auto command = next_short()) return command;
    for (bool skipped = true; skipped;) {
      const auto note = skip_note();
      if (!note.has_value()) return fail(note.error());
      skipped = note.value();
    }
    at_ = 0;
    words_.clear();
    if (notes_ == Notes::kSkip && buffered() > 0 && input()[begin_] == std::byte{'#'}) {
      return std::optional<RespCommand>();
    }
    const auto count = length_line('*', kMaxCommandWords);
    if (!count.has_value()) return fail(count.error());
    if (!count.value()) return std::optional<RespCommand>();
    if (*count.value() == 0) return fail(RespError::kNotACommand);
    words_left_ = *count.value();
    in_command_ = true;
  }
  while (words_left_ > 0) {
    if (!word_size_) {
      const auto size = length_line('$', limit_);
      if (!size.has_value()) return fail(size.error());
      if (!size.value()) return std::optional<RespCommand>();
      word_size_ = static_cast<std::size_t>(*size.value());
      if (*word_size_ + at_ > limit_) return fail(RespError::kTooLong);
    }
    if (buffered() < at_ + *word_size_ + 2) {
      wanted_ = at_ + *word_size_ + 2;
      return std::optional<RespCommand>();
    }
    const std::byte* const end = input().data() + begin_ + at_ + *word_size_;
    if (end[0] != std::byte{'\r'} || end[1] != std::byte{'\n'}) {
      return fail(RespError::kNotACommand);
    }
    words_.push_back({at_, *word_size_});
    at_ += *word_size_ + 2;
    word_size_.reset();
    --words_left_;
  }
  RespCommand command;
  command.whole = input().subspan(begin_, at_);
  given_.clear();
  for (const Range& word : words_) {
    given_.push_back(command.whole.subspan(word.offset, word.size));
  }
  command.words = given_;
  begin_ += at_;
  consumed_ += at_;
  at_ = 0;
  wanted_ = 0;
  in_command_ = false;
  return std::optional(command);
}

Result<void, RespError> RespSplitter::finish() const {
  if (error_) return *error_;
  const bool more = !in_lent_ && lent_at_ < lent_.size();
  if (in_command_ || buffered() > 0 || more) return RespError::kTruncated;
  return success();
}

namespace {

constexpr std::size_t kLongestHead = 24;

std::size_t write_head(char mark, std::uint64_t value, std::array<char, kLongestHead>& text) {
  text[0] = mark;
  char* const end = std::to_chars(text.data() + 1, text.data() + 22, value).ptr;
  end[0] = '\r';
  end[1] = '\n';
  return static_cast<std::size_t>(end + 2 - text.data());
}

}  // namespace

std::size_t word_size(std::size_t text_size) {
  std::size_t digits = 1;
  for (std::size_t rest = text_size; rest > 9; rest /= 10) ++digits;
  return 1 + digits + 2 + text_size + 2;
}

MutableByteSpan::iterator write_word(ByteSpan text, MutableByteSpan::iterator to) {
  std::array<char, kLongestHead> head;
  const std::size_t head_size = write_head('$', text.size(), head);
  to = copy_bytes(std::as_bytes(std::span(head.data(), head_size)), to);
  to = copy_bytes(text, to);
  return copy_bytes(as_bytes(std::string_view("\r\n")), to);
}

void RespWriter::line(char mark, std::uint64_t value) {
  std::array<char, kLongestHead> text;
  const auto bytes = std::as_bytes(std::span(text.data(), write_head(mark, value, text)));
  out_.insert(out_.end(), bytes.begin(), bytes.end());
}

void RespWriter::begin(std::size_t words) { line('*', words); }

// Once for each word of millions of keys, so memory is looked for once.
void RespWriter::word(ByteSpan data) {
  const std::size_t size = word_size(data.size());
  out_.resize(out_.size() + size);
  write_word(data, MutableByteSpan(out_).last(size).begin());
}

void RespWriter::end_word() {
  out_.push_back(std::byte{'\r'});
  out_.push_back(std::byte{'\n'});
}

void RespWriter::number(std::int64_t value) { word(std::to_string(value)); }

void RespWriter::command(std::initializer_list<std::string_view> words) {
  begin(words.size());
  for (const std::string_view one : words) word(one);
}

}  // namespace sealane::warm
