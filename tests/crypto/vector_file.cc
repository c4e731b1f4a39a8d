#include "tests/crypto/vector_file.h"
#include "tests/support/data_path.h"

#include <fstream>
#include <stdexcept>

namespace sealane::testing {
namespace {

std::string trimmed(const std::string& text) {
  const std::size_t first = text.find_first_not_of(" \t");
  if (first == std::string::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

}  // namespace

const std::string& VectorRecord::text(std::string_view key) const {
  const auto found = values_.find(key);
  if (found == values_.end()) throw std::runtime_error("vector without " + std::string(key));
  return found->second;
}

Bytes VectorRecord::bytes(std::string_view key) const {
  const std::string& value = text(key);
  if (value.size() >= 2 && value.front() == '"' && value.back() == '"') {
    return to_bytes(std::string_view(value).substr(1, value.size() - 2));
  }
  auto decoded = from_hex(value);
  if (!decoded) throw std::runtime_error("not hex: " + value);
  return std::move(*decoded);
}

std::uint64_t VectorRecord::number(std::string_view key) const { return std::stoull(text(key)); }

void VectorRecord::copy_exact(std::string_view key, MutableByteSpan out) const {
  const Bytes value = bytes(key);
  if (value.size() != out.size()) throw std::runtime_error("wrong size: " + std::string(key));
  std::ranges::copy(value, out.begin());
}

std::vector<VectorRecord> read_vector_file(const std::string& name) {
  std::ifstream file(testing::data_path(name));
  if (!file) throw std::runtime_error("no file " + name);
  std::vector<VectorRecord> records;
  VectorRecord record;
  std::string line;
  const auto close_record = [&] {
    if (!record.values_.empty()) records.push_back(std::move(record));
    record = {};
  };
  while (std::getline(file, line)) {
    if (line.starts_with('#')) continue;
    if (line.empty()) {
      close_record();
      continue;
    }
    const std::size_t equals = line.find('=');
    if (equals == std::string::npos) throw std::runtime_error("no '=' in: " + line);
    const auto added =
        record.values_.emplace(trimmed(line.substr(0, equals)), trimmed(line.substr(equals + 1)));
    if (!added.second) throw std::runtime_error("twice: " + line);
  }
  close_record();
  return records;
}

}  // namespace sealane::testing
