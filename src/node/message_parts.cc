#include "node/message_parts.h"

#include <algorithm>
#include <cerrno>

#include "base/byte_reader.h"
#include "crypto/hash.h"

namespace sealane::node {
namespace {

constexpr std::size_t kCheckSize = 8;
constexpr std::size_t kHeaderSize = 8 + 4 + 4 + 4 + kCheckSize;
// A message in the smallest parts that its size allows.
constexpr std::size_t kMaxFile = MessageParts::kMaxMessage + hub::Part::kMaxCount * kHeaderSize + 1;

}  // namespace

Bytes encode_part(const hub::Part& part, ByteSpan data) {
  ByteWriter fields;
  fields.u64(part.whole)
      .u32(part.index)
      .u32(part.count)
      .u32(static_cast<std::uint32_t>(data.size()));
  Bytes out = fields.take();
  crypto::Sha256 hash;
  hash.update(out);
  hash.update(data);
  const crypto::Sha256Digest digest = hash.finish();
  out.insert(out.end(), digest.begin(), digest.begin() + kCheckSize);
  out.insert(out.end(), data.begin(), data.end());
  return out;
}

PartRun parse_parts(ByteSpan file) {
  PartRun run;
  ByteReader reader(file);
  while (!run.complete()) {
    const auto whole = reader.u64();
    const auto index = reader.u32();
    const auto count = reader.u32();
    const auto size = reader.u32();
    const auto check = reader.bytes(kCheckSize);
    const auto data = check ? reader.bytes(*size) : std::nullopt;
    if (!data || *index != run.next || *index >= *count || *count > hub::Part::kMaxCount) break;
    if (run.next > 0 && (*whole != run.whole || *count != run.count)) break;
    if (data->size() > MessageParts::kMaxMessage - run.data.size()) break;
    const hub::Part part{.whole = *whole, .index = *index, .count = *count};
    const ByteSpan record = file.subspan(run.end, kHeaderSize + data->size());
    if (!std::ranges::equal(encode_part(part, *data), record)) break;
    run.whole = *whole;
    run.count = *count;
    run.next += 1;
    run.data.insert(run.data.end(), data->begin(), data->end());
    run.end += record.size();
  }
  return run;
}

std::string MessageParts::path_of(const hub::ClientId& sender) const {
  return join_path(directory_, hub::to_file_name(sender));
}

Result<void, Error> MessageParts::load() {
  if (loaded_) return success();
  const auto listed = files_.list(directory_);
  if (!listed.has_value() && listed.error().code != ENOENT) return to_error(listed.error());
  if (listed.has_value()) {
    for (const DirectoryEntry& entry : listed.value()) {
      const auto sender = hub::parse_client_id(entry.name);
      if (!sender || coming_.contains(*sender)) continue;
      const auto content = read_file(files_, path_of(*sender), kMaxFile);
      if (!content.has_value()) return to_error(content.error());
      auto file = files_.open(path_of(*sender), OpenMode::kReadWrite);
      if (!file.has_value()) return to_error(file.error());
      const Place place =
          coming_.emplace(*sender, Coming{std::move(file).value(), parse_parts(content.value())})
              .first;
      held_ += place->second.run.data.size();
      if (place->second.run.count == 0) {
        SEALANE_TRY(forget(place));
      }
    }
  }
  loaded_ = true;
  return success();
}

Result<void, Error> MessageParts::create(const hub::ClientId& sender) {
  const auto made = files_.create_directory(directory_, 0700);
  if (!made.has_value() && made.error().code != EEXIST) return to_error(made.error());
  auto file = files_.open(path_of(sender), OpenMode::kCreateExclusive, 0600);
  if (!file.has_value()) return to_error(file.error());
  coming_.emplace(sender, Coming{std::move(file).value(), {}});
  new_names_ = true;
  return success();
}

Result<void, Error> MessageParts::forget(Place place) {
  const auto gone = files_.remove(path_of(place->first));
  if (!gone.has_value() && gone.error().code != ENOENT) return to_error(gone.error());
  held_ -= place->second.run.data.size();
  coming_.erase(place);
  return success();
}

Result<MessageParts::Outcome, Error> MessageParts::take(const hub::ClientId& sender,
                                                        const hub::Part& part, ByteSpan data) {
  SEALANE_TRY(load());
  Outcome outcome;
  Place place = coming_.find(sender);
  const bool same = place != coming_.end() && place->second.run.whole == part.whole &&
                    place->second.run.count == part.count;
  if (same && part.index < place->second.run.next) {  // again
    if (place->second.run.complete() && part.index + 1 == part.count) {
      outcome.message = place->second.run.data;
    }
    return outcome;
  }
  if (!same || part.index > place->second.run.next) {
    if (place != coming_.end()) {
      if (!place->second.run.complete()) outcome.dropped = "the rest of it never came";
      SEALANE_TRY(forget(place));
    }
    if (part.index > 0) return outcome;  // of one that was given up
    if (coming_.size() >= kMaxSenders) {
      outcome.dropped = "too many others are coming";
      return outcome;
    }
    SEALANE_TRY(create(sender));
    place = coming_.find(sender);
    place->second.run.whole = part.whole;
    place->second.run.count = part.count;
  }
  Coming& coming = place->second;
  if (data.size() > kMaxMessage - coming.run.data.size() || held_ + data.size() > kMaxHeld) {
    SEALANE_TRY(forget(place));
    outcome.dropped = "it is too large";
    return outcome;
  }
  const Bytes record = encode_part(part, data);
  const auto written = coming.file->write_at(coming.run.end, record);
  if (!written.has_value()) {
    if (coming.run.next == 0) {
      SEALANE_TRY(forget(place));
    }
    return to_error(written.error());
  }
  coming.dirty = true;
  coming.run.next += 1;
  coming.run.end += record.size();
  coming.run.data.insert(coming.run.data.end(), data.begin(), data.end());
  held_ += data.size();
  if (coming.run.complete()) outcome.message = coming.run.data;
  return outcome;
}

Result<void, Error> MessageParts::sync() {
  for (auto& [sender, coming] : coming_) {
    if (!coming.dirty) continue;
    const auto synced = coming.file->sync();
    if (!synced.has_value()) return to_error(synced.error());
    coming.dirty = false;
  }
  if (!new_names_) return success();
  for (const std::string& folder : {directory_, parent_path(directory_)}) {
    const auto synced = files_.sync_directory(folder);
    if (!synced.has_value()) return to_error(synced.error());
  }
  new_names_ = false;
  return success();
}

Result<void, Error> MessageParts::finished(const hub::ClientId& sender) {
  SEALANE_TRY(load());
  const Place place = coming_.find(sender);
  return place == coming_.end() ? success() : forget(place);
}

}  // namespace sealane::node
