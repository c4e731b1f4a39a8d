#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/check.h"
#include "sealane/base/secret.h"

namespace sealane {

void check_failed(const char* condition, const char* file, int line) {
  std::fprintf(stderr, "sealane: internal error: %s does not hold (%s:%d). Please report this.\n",
               condition, file, line);
  std::abort();
}

void cleanse(MutableByteSpan bytes) {
  if (!bytes.empty()) explicit_bzero(bytes.data(), bytes.size());
}

}  // namespace sealane
