#include "repo/repo_json.h"

#include "repo/json.h"
#include "repo/names.h"

namespace sealane::repo {

std::string encode(const RepositoryDocument& document) {
  JsonWriter writer;
  writer.key("format").number(kFormat);
  writer.key("id").plain(document.id);
  writer.key("created").time(document.created);
  return writer.finish();
}

Result<RepositoryDocument, DocumentError> decode_repository(std::string_view text) {
  constexpr JsonLimits kLimits{.size = RepositoryDocument::kMaxSize, .values = 16};
  return decode_document<RepositoryDocument>(
      text, kLimits, {"format", "id", "created"},
      [](FieldReader& reader) -> Result<RepositoryDocument, DocumentError> {
        RepositoryDocument document;
        SEALANE_TRY(document.id, reader.matching(is_repository_id));
        SEALANE_TRY(document.created, reader.time());
        return document;
      },
      encode);
}

}  // namespace sealane::repo
