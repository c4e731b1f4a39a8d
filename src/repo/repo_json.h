#pragma once
// repo.json: that a folder is a repository, and which. Not signed: every commit names the id.
#include "repo/document.h"
#include "sealane/base/seams.h"

namespace sealane::repo {

struct RepositoryDocument {
  static constexpr std::size_t kMaxSize = 4096;
  std::string id;  // 32 hex digits
  WallTime created{};
  friend bool operator==(const RepositoryDocument&, const RepositoryDocument&) = default;
};
std::string encode(const RepositoryDocument& document);  // REQUIRES: is_repository_id(id)
// kNewerFormat whatever else a later format may hold.
Result<RepositoryDocument, DocumentError> decode_repository(std::string_view text);

}  // namespace sealane::repo
