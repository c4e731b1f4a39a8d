#include "node/seen_messages.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <optional>

#include "hub/extension.h"

namespace sealane::node {
namespace {

// Takes a whole number and `end` off the front.
std::optional<std::uint64_t> take_number(std::string_view& text, char end) {
  std::uint64_t number = 0;
  const auto [next, wrong] = std::from_chars(text.data(), text.data() + text.size(), number);
  const auto size = static_cast<std::size_t>(next - text.data());
  if (wrong != std::errc() || size >= text.size() || text[size] != end) return std::nullopt;
  text.remove_prefix(size + 1);
  return number;
}

}  // namespace

std::optional<SeenMessages> SeenMessages::parse(std::string_view text) {
  SeenMessages seen;
  while (!text.empty()) {
    const auto id = take_number(text, ' ');
    const auto time = id ? take_number(text, '\n') : std::nullopt;
    if (!time) return std::nullopt;
    seen.note({hub::DeliveryId{*id}, *time});
  }
  return seen;
}

std::string SeenMessages::format() const {
  std::string text;
  for (const Entry& entry : entries_) {
    text += std::to_string(static_cast<std::uint64_t>(entry.id)) + ' ' +
            std::to_string(entry.time_ms) + '\n';
  }
  return text;
}

Result<SeenMessages, Error> SeenMessages::load(FileSystem& files, const std::string& path) {
  const auto content = read_file(files, path, kMaxFileSize);
  const bool first = !content.has_value() && content.error().code == ENOENT;
  if (!content.has_value() && !first) return to_error(content.error());
  auto seen = first ? std::optional(SeenMessages()) : parse(as_text(content.value()));
  if (!seen) {
    return Error{ErrorKind::kFailed,
                 printable(path) + " is damaged; remove it, and messages may come twice"};
  }
  seen->path_ = path;
  return *std::move(seen);
}

bool SeenMessages::contains(hub::DeliveryId id, WallTime accepted_at) const {
  return std::ranges::find(entries_, Entry{id, hub::to_ms(accepted_at)}) != entries_.end();
}

void SeenMessages::add(hub::DeliveryId id, WallTime accepted_at) {
  note({id, hub::to_ms(accepted_at)});
}

void SeenMessages::note(Entry entry) {
  entries_.push_back(entry);
  if (entries_.size() > kKept) entries_.pop_front();
}

Result<void, Error> SeenMessages::save(FileSystem& files, RandomSource& random) const {
  const auto written = replace_file(files, random, path_, as_bytes(format()), 0600);
  if (!written.has_value()) return to_error(written.error());
  return success();
}

}  // namespace sealane::node
