#pragma once
// The real clock, randomness and files of this machine: what main() passes where tests pass
// doubles. All are thread-safe and live for ever.
#include "sealane/base/seams.h"

namespace sealane {

Clock& system_clock();
RandomSource& system_random();  // getrandom(2)
FileSystem& system_files();     // POSIX, close-on-exec everywhere

}  // namespace sealane
