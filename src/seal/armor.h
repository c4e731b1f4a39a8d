#pragma once
// age armor: strict PEM-like text around an age file, 64 columns. Streaming, any cut.
// docs/protocol/age.md, section 4.
#include <optional>
#include <string>

#include "seal/stream_codec.h"

namespace sealane::seal {

inline constexpr std::size_t kMaxArmorBlanks = 1024;  // white space before and after, each

class ArmorEncoder {
 public:
  void update(ByteSpan data, std::string& out);  // appends text
  void finish(std::string& out);

 private:
  void begin(std::string& out);
  Bytes pending_;  // less than a line's worth
  bool started_ = false;
};

// White space before the first line and after the last is allowed, nothing else is. Lines end with
// LF or CRLF; the last one may lack it. One value, one encoding apart from these. Errors are final.
class ArmorDecoder {
 public:
  // Appends data. kArmor; kTrailingData for more than white space after the end line.
  Result<void, SealError> update(ByteSpan text, Bytes& out);
  // kTruncated without an end line.
  Result<void, SealError> finish();

 private:
  enum class State : std::uint8_t { kBefore, kBody, kEndLine, kAfter };
  Result<void, SealError> line(Bytes& out);  // takes line_
  Result<void, SealError> blanks(ByteSpan text);
  State state_ = State::kBefore;
  bool any_body_ = false;
  std::string line_;  // so far, without its LF
  std::size_t blanks_ = 0;
  std::optional<SealError> error_;
};

// Does this begin with the begin line, after white space? Offer kMaxArmorBlanks + 64 bytes, or all.
bool looks_armored(ByteSpan start);

}  // namespace sealane::seal
