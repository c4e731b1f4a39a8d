#pragma once
// Vectors of tests/data: records of `key = value` lines, separated by blank lines; # begins a
// comment.
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "sealane/base/bytes.h"

namespace sealane::testing {

class VectorRecord {
 public:
  bool has(std::string_view key) const { return values_.contains(key); }
  const std::string& text(std::string_view key) const;  // as it stands; a test failure when absent
  Bytes bytes(std::string_view key) const;              // hex, or text in double quotes
  std::uint64_t number(std::string_view key) const;
  template <std::size_t N>
  ByteArray<N> array(std::string_view key) const {
    ByteArray<N> out{};
    copy_exact(key, out);
    return out;
  }

 private:
  friend std::vector<VectorRecord> read_vector_file(const std::string& name);
  void copy_exact(std::string_view key, MutableByteSpan out) const;
  std::map<std::string, std::string, std::less<>> values_;
};

// Reads tests/data/<name>. A missing file, a line without '=' or a key twice in a record throws,
// and so fails the test.
std::vector<VectorRecord> read_vector_file(const std::string& name);

}  // namespace sealane::testing
