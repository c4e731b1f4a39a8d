#include "flow/file_stream.h"

namespace sealane::flow {

Result<std::size_t, Error> FileSource::read(MutableByteSpan out) {
  auto got = file_.read(out);
  if (!got.has_value()) return to_error(got.error());
  start_ += got.value();
  return got.value();
}

Result<std::size_t, Error> FileSource::read_at(std::uint64_t offset, MutableByteSpan out) {
  std::size_t done = 0;
  while (done < out.size()) {
    auto got = file_.read_at(start_ + offset + done, out.subspan(done));
    if (!got.has_value()) return to_error(got.error());
    if (got.value() == 0) break;
    done += got.value();
  }
  return done;
}

Result<void, Error> FileSink::write(ByteSpan data) {
  auto done = file_.write(data);
  if (!done.has_value()) return to_error(done.error());
  start_ += data.size();
  return success();
}

Result<void, Error> FileSink::write_at(std::uint64_t offset, ByteSpan data) {
  auto done = file_.write_at(start_ + offset, data);
  if (!done.has_value()) return to_error(done.error());
  return success();
}

}  // namespace sealane::flow
