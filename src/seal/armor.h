#pragma once
// age armor: strict PEM-like text around an age file, 64 columns. Streaming, any cut.
#include "seal/stream_codec.h"

namespace sealane::seal {

class ArmorEncoder {
 public:
  void update(ByteSpan data, std::string& out);  // appends text
  void finish(std::string& out);

 private:
  Bytes pending_;
  bool started_ = false;
};

// White space before the first line and after the last is allowed (at most 1024 bytes each), nothing
// else is. Lines end with LF or CRLF.
class ArmorDecoder {
 public:
  Result<void, SealError> update(ByteSpan text, Bytes& out);  // appends data
  Result<void, SealError> finish();                           // kTruncated without an end line

 private:
  enum class State : std::uint8_t { kBefore, kBody, kLastLine, kAfter };
  Result<void, SealError> line(std::string_view text, Bytes& out);
  State state_ = State::kBefore;
  std::string line_;
  std::size_t blanks_ = 0;
};
bool looks_armored(ByteSpan start);

}  // namespace sealane::seal
