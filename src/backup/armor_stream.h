#pragma once
// Armor on a stream's way in and out: text on the outside, the age file inside.
#include <string>

#include "flow/stream.h"
#include "seal/armor.h"

namespace sealane::backup {

// Gives the bytes inside of armored text. Never positional.
class ArmorSource final : public flow::ByteSource {
 public:
  // `start`: text that was read from `text` already. `name` for messages. `text` outlives it.
  ArmorSource(ByteSpan start, flow::ByteSource& text, std::string name);
  Result<std::size_t, Error> read(MutableByteSpan out) override;
  void interrupt() noexcept override { text_.interrupt(); }

 private:
  Result<void, Error> decode(ByteSpan text);
  flow::ByteSource& text_;
  std::string name_;
  seal::ArmorDecoder decoder_;
  Bytes buffer_;  // text as it was read
  Bytes start_;   // to be decoded first
  Bytes data_;    // decoded and not yet given
  std::size_t given_ = 0;
  bool ended_ = false;
};

// Writes what it gets as armored text.
class ArmorSink final : public flow::ByteSink {
 public:
  explicit ArmorSink(flow::ByteSink& text) : text_(text) {}
  Result<void, Error> write(ByteSpan data) override;
  Result<void, Error> finish();  // after the last byte
  void interrupt() noexcept override { text_.interrupt(); }

 private:
  flow::ByteSink& text_;
  seal::ArmorEncoder encoder_;
  std::string buffer_;
};

}  // namespace sealane::backup
