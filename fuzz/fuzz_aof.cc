// A file that claims to be parts or an append-only file gives whole commands or an error, the same
// ones when it is resumed behind any part.
#include <sys/mman.h>
#include <unistd.h>

#include "base/check.h"
#include "flow/descriptor.h"
#include "sealane/store/system.h"
#include "warm/file.h"

namespace {

using namespace sealane;
using namespace sealane::warm;

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  const flow::OwnedDescriptor memory(::memfd_create("aof", MFD_CLOEXEC));
  SEALANE_CHECK(::write(memory.get(), data, size) == static_cast<ssize_t>(size));
  const std::string path = "/proc/self/fd/" + std::to_string(memory.get());
  FileSourceOptions options;
  options.part_size = kMinPartSize;
  auto source = FileSource::open(system_files(), path, options);
  if (!source.has_value()) return 0;
  PartCursor behind;
  for (;;) {
    auto part = source.value()->next();
    if (!part.has_value() || !part.value()) break;
    RespSplitter splitter;
    splitter.feed(part.value()->commands);
    std::uint64_t commands = 0;
    for (;;) {
      const auto command = splitter.next();
      SEALANE_CHECK(command.has_value());
      if (!command.value()) break;
      ++commands;
    }
    SEALANE_CHECK(splitter.finish().has_value());
    SEALANE_CHECK(commands == part.value()->command_count);
    behind = part.value()->behind;
  }
  if (behind.empty()) return 0;
  auto again = FileSource::open(system_files(), path, options);
  SEALANE_CHECK(again.has_value() && again.value()->resume(behind).value());
  for (;;) {
    auto part = again.value()->next();
    if (!part.has_value() || !part.value()) return 0;
  }
}
