#include "sealane/repo/records.h"

namespace sealane::repo {

std::string_view name_of(FingerprintLevel level) {
  return level == FingerprintLevel::kStructure ? "structure" : "content";
}

std::string_view name_of(ProofOutcome outcome) {
  switch (outcome) {
    case ProofOutcome::kEqual:
      return "equal";
    case ProofOutcome::kDifferent:
      return "different";
    case ProofOutcome::kNotRestorable:
      break;
  }
  return "not-restorable";
}

std::string_view name_of(KeepReason reason) {
  switch (reason) {
    case KeepReason::kNewest:
      return "newest";
    case KeepReason::kLastProven:
      return "last proven";
    case KeepReason::kLast:
      return "last";
    case KeepReason::kHourly:
      return "hourly";
    case KeepReason::kDaily:
      return "daily";
    case KeepReason::kWeekly:
      return "weekly";
    case KeepReason::kMonthly:
      return "monthly";
    case KeepReason::kYearly:
      return "yearly";
    case KeepReason::kNoRule:
      break;
  }
  return "no rule";
}

}  // namespace sealane::repo
