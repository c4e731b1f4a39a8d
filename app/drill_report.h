#pragma once
// How a drill's result is shown; used by drill and by backup --drill.
#include "app/repository.h"

namespace sealane::app {

// Prints it and emits "drill"; whether the snapshot is proven.
bool report_drill(Context& context, const store::SnapshotInfo& snapshot,
                  const backup::DrillResult& drill);

}  // namespace sealane::app
