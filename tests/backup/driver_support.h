#pragma once
// What the driver tests share: a folder of their own, the outside of a driver, and the whole road
// from a source to a target without sealing.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "backup/source.h"
#include "sealane/store/system.h"

namespace sealane::backup {

class DriverTest : public ::testing::Test {
 protected:
  DriverTest() {
    std::string pattern = ::testing::TempDir() + "sealane-XXXXXX";
    folder_ = ::mkdtemp(pattern.data());
  }
  ~DriverTest() override {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }
  std::string path(std::string_view name) const { return folder_ + '/' + std::string(name); }
  void write_file(const std::string& where, std::string_view content) const {
    std::ofstream(where, std::ios::binary) << content;
  }
  std::string read_file(const std::string& where) const {
    std::ifstream in(where, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  std::vector<std::string> names(const std::string& where) const {
    std::vector<std::string> out;
    for (const auto& entry : std::filesystem::directory_iterator(where)) {
      out.push_back(entry.path().filename());
    }
    std::sort(out.begin(), out.end());
    return out;
  }

  flow::Cancellation cancel_;
  DriverContext context_{system_files(), system_clock(), system_random(), cancel_};
  std::string folder_;
};

// Everything of a stream, read in pieces of `step`.
inline Result<Bytes, Error> drain(DumpStream& stream, std::size_t step = 100'000) {
  Bytes all;
  for (;;) {
    const std::size_t at = all.size();
    all.resize(at + step);
    SEALANE_TRY(const std::size_t got, stream.read(MutableByteSpan(all).subspan(at)));
    all.resize(at + got);
    if (got == 0) return all;
  }
}

inline Result<Bytes, Error> dump(SourceSnapshot& source, std::size_t index = 0) {
  SEALANE_TRY(auto stream, source.open_stream(index));
  return drain(*stream);
}

inline Result<void, Error> restore(const SourceSnapshot& source, ByteSpan data, Target& target,
                                   std::size_t step = 65'537) {
  SEALANE_TRY(auto stream, target.open_stream(source.streams()[0]));
  while (!data.empty()) {
    const std::size_t size = std::min(step, data.size());
    SEALANE_TRY(stream->write(data.first(size)));
    data = data.subspan(size);
  }
  SEALANE_TRY(stream->finish());
  return target.finish();
}

}  // namespace sealane::backup
