#pragma once
// Holders for what functions of base return as plain strings and bytes, where it is secret here.
#include <string>

#include "sealane/base/bytes.h"
#include "sealane/base/secret.h"

namespace sealane::identity {

// Made in place from a returned value (WipedText text{to_base64(…)}), never moved, wiped at the
// end.
struct WipedText {
  std::string text;
  explicit WipedText(std::string value) : text(std::move(value)) {}
  WipedText(const WipedText&) = delete;
  WipedText& operator=(const WipedText&) = delete;
  ~WipedText() { cleanse(std::as_writable_bytes(std::span(text.data(), text.size()))); }
};
struct WipedBytes {
  Bytes bytes;
  explicit WipedBytes(Bytes value) : bytes(std::move(value)) {}
  WipedBytes(const WipedBytes&) = delete;
  WipedBytes& operator=(const WipedBytes&) = delete;
  ~WipedBytes() { cleanse(bytes); }
};

}  // namespace sealane::identity
