#pragma once
// RESP, as parts hold it: commands as arrays of bulk strings. The splitter reads what a stranger
// sent, so all its limits are checked before memory is taken; the writer makes what it reads.
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "sealane/base/bytes.h"
#include "sealane/base/result.h"

namespace sealane::warm {

enum class RespError : std::uint8_t {
  kNotACommand = 1,  // something else than *N, $N and line ends where they belong
  kTooManyWords,
  kTooLong,    // a word or the whole command
  kTruncated,  // the content ends inside a command
};
std::string_view describe(RespError error);  // a clause: "it is cut inside a command"

// Limits of one command. A value as large as a part may hold is one word of it.
inline constexpr std::size_t kMaxCommandWords = 1024 * 1024;  // bounds the table of words
inline constexpr std::size_t kMaxCommandSize = std::size_t{512} * 1024 * 1024;  // and its memory

// A command: its words, and all of it as it was received. The spans live until the next call.
struct RespCommand {
  ByteSpan whole;
  std::span<const ByteSpan> words;  // at least one
};

// Cuts a byte stream into commands. Any cut of the stream gives the same commands. Errors are
// final. Memory: the largest command, and what was fed beyond it. Not thread-safe.
// With kSkip, lines that begin with '#' between commands are passed over: append-only files have
// such.
class RespSplitter {
 public:
  enum class Notes : std::uint8_t { kRefuse, kSkip };
  explicit RespSplitter(std::size_t max_command_size = kMaxCommandSize,
                        Notes notes = Notes::kRefuse)
      : limit_(max_command_size), notes_(notes) {}
  void feed(ByteSpan data);
  // Instead of feed(), for all of a stream: only a command that `data` cuts is copied. It must stay
  // until next() has given nothing. REQUIRES: it has, or this is the first.
  void lend(ByteSpan data);
  // The next whole command, or nothing until more is fed.
  Result<std::optional<RespCommand>, RespError> next();
  // For a command that comes millions of times: if the next one is `head`, so many words and
  // `tail`, its bytes between these. Nothing: next() looks more closely. REQUIRES: head and tail
  // make a command of it.
  std::optional<ByteSpan> next_like(std::string_view head, std::size_t words,
                                    std::string_view tail);
  // After the last byte: kTruncated if a command was begun.
  Result<void, RespError> finish() const;
  std::uint64_t consumed() const { return consumed_; }  // bytes of whole commands and notes so far
  // How many bytes at least are missing, where it is known: reading less makes no sense.
  std::size_t wanted() const { return wanted_ > buffered() ? wanted_ - buffered() : 0; }

 private:
  struct Range {
    std::size_t offset = 0;  // from the command's start
    std::size_t size = 0;
  };
  ByteSpan input() const { return in_lent_ ? lent_ : ByteSpan(buffer_); }
  Result<std::optional<RespCommand>, RespError> cut();
  std::size_t buffered() const { return input().size() - begin_; }
  std::optional<RespCommand> next_short();
  Result<std::optional<std::uint64_t>, RespError> length_line(char mark, std::uint64_t limit);

  Result<bool, RespError> skip_note();

  std::size_t limit_;
  Notes notes_;
  Bytes buffer_;
  ByteSpan lent_;
  bool in_lent_ = false;      // begin_ is a place in lent_; else in buffer_,
  std::size_t lent_at_ = 0;   // to which so much of lent_ was copied
  bool from_buffer_ = false;  // the last command was
  std::size_t begin_ = 0;     // of the command under way
  std::size_t at_ = 0;        // of what was not understood yet, from begin_
  std::size_t wanted_ = 0;    // bytes from begin_ before another try makes sense
  std::uint64_t words_left_ = 0;
  bool in_command_ = false;
  std::optional<std::size_t> word_size_;
  std::vector<Range> words_;
  std::vector<ByteSpan> given_;  // the words of the last command
  std::uint64_t consumed_ = 0;
  std::optional<RespError> error_;
};

// A word as commands hold it, for whoever knows how much is to come.
std::size_t word_size(std::size_t text_size);
MutableByteSpan::iterator write_word(ByteSpan text, MutableByteSpan::iterator to);  // its end

// Appends commands to a buffer.
class RespWriter {
 public:
  explicit RespWriter(Bytes& out) : out_(out) {}
  void begin(std::size_t words);  // exactly so many word()s follow
  void word(ByteSpan data);
  void word(std::string_view text) { word(as_bytes(text)); }
  // A word of exactly `size` bytes, which whoever calls puts behind begin_word() himself.
  void begin_word(std::size_t size) { line('$', size); }
  void end_word();
  void number(std::int64_t value);
  void command(std::initializer_list<std::string_view> words);

 private:
  void line(char mark, std::uint64_t value);
  Bytes& out_;
};

}  // namespace sealane::warm
