#include "node/parcel.h"

#include <cerrno>

#include "base/byte_reader.h"
#include "base/check.h"

namespace sealane::node {
namespace {

constexpr std::size_t kReadSize = 1 << 20;
constexpr int kMaxNames = 10'000;  // of one name, before we give up

bool is_plain_name(std::string_view name) {
  if (name.empty() || name.size() > ParcelBox::kMaxNameSize || name.front() == '.') return false;
  return std::ranges::all_of(
      name, [](char c) { return c != '/' && static_cast<unsigned char>(c) >= ' ' && c != 0x7f; });
}

}  // namespace

Bytes encode(const Parcel& parcel) {
  SEALANE_CHECK(parcel.data.size() <= Parcel::kMaxData);
  ByteWriter writer;
  writer.u8(static_cast<std::uint8_t>(parcel.kind)).u64(parcel.number).u64(parcel.offset);
  return writer.bytes(parcel.data).take();
}

std::optional<Parcel> decode_parcel(ByteSpan bytes) {
  ByteReader reader(bytes);
  const auto kind = reader.u8();
  const auto number = reader.u64();
  const auto offset = reader.u64();
  if (!kind || !number || !offset || reader.remaining() > Parcel::kMaxData) return std::nullopt;
  if (*kind < 1 || *kind > static_cast<std::uint8_t>(ParcelKind::kDone)) return std::nullopt;
  return Parcel{.kind = static_cast<ParcelKind>(*kind),
                .number = *number,
                .offset = *offset,
                .data = to_bytes(reader.rest())};
}

std::uint64_t parcel_number(RandomSource& random) {
  ByteArray<8> bytes;
  random.fill(bytes);
  return load<std::uint64_t>(bytes);
}

Result<ParcelBox::Outcome, Error> ParcelBox::start(const Key& key, const Parcel& parcel) {
  crypto::Sha256Digest expected{};
  const auto done = finished_.find(key);
  if (done != finished_.end()) {  // its DONE was lost on the way
    return Outcome{.answer = Parcel{.kind = ParcelKind::kDone, .number = key.second, .offset = 1}};
  }
  if (parcel.data.size() < expected.size()) {
    return Error{ErrorKind::kFailed, "a sender offered a file without hash"};
  }
  std::copy_n(parcel.data.begin(), expected.size(), expected.begin());
  const std::string name = to_text(ByteSpan(parcel.data).subspan(expected.size()));
  if (!is_plain_name(name)) {
    return Error{ErrorKind::kRefused,
                 "a sender offered a file whose name is not plain: " + printable(name)};
  }
  open_.erase(key);
  if (open_.size() >= kMaxOpen) open_.erase(open_.begin());
  Open open;
  open.name = name;
  open.size = parcel.offset;
  open.expected = expected;
  open.part = join_path(directory_,
                        '.' + name + '.' + key.first + '.' + std::to_string(key.second) + ".part");
  auto file = files_.open(open.part, OpenMode::kReadWrite);
  if (!file.has_value() && file.error().code == ENOENT) {
    file = files_.open(open.part, OpenMode::kCreateExclusive, 0600);
  }
  if (!file.has_value()) return to_error(file.error());
  open.file = std::move(file).value();
  // What an earlier try left counts; its hash goes on from there.
  Bytes buffer(kReadSize);
  while (open.at < open.size) {
    const std::size_t want =
        static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), open.size - open.at));
    const auto got = open.file->read_at(open.at, MutableByteSpan(buffer).first(want));
    if (!got.has_value()) return to_error(got.error());
    if (got.value() == 0) break;
    open.hash.update(ByteSpan(buffer).first(got.value()));
    open.at += got.value();
  }
  open.told = open.at;
  const bool whole = open.at == open.size;
  const std::uint64_t at = open.at;
  open_.emplace(key, std::move(open));
  if (whole) return finish(key);
  return Outcome{.answer = Parcel{.kind = ParcelKind::kAt, .number = key.second, .offset = at}};
}

Result<ParcelBox::Outcome, Error> ParcelBox::finish(const Key& key) {
  auto node = open_.extract(key);
  Open& open = node.mapped();
  if (open.hash.finish() != open.expected) {
    static_cast<void>(files_.remove(open.part));
    return Error{ErrorKind::kVerificationFailed,
                 "the file " + printable(open.name) + " came damaged; it must be sent again"};
  }
  const auto synced = open.file->sync();
  if (!synced.has_value()) return to_error(synced.error());
  for (int number = 1; number <= kMaxNames; ++number) {
    const std::string path =
        join_path(directory_, number == 1 ? open.name : open.name + '.' + std::to_string(number));
    const auto renamed = files_.rename(open.part, path, RenameMode::kNoReplace);
    if (!renamed.has_value() && renamed.error().code == EEXIST) continue;
    if (!renamed.has_value()) return to_error(renamed.error());
    const auto kept = files_.sync_directory(directory_);
    if (!kept.has_value()) return to_error(kept.error());
    if (finished_.size() >= kMaxOpen) finished_.erase(finished_.begin());
    finished_.emplace(key, path);
    return Outcome{.answer = Parcel{.kind = ParcelKind::kDone, .number = key.second, .offset = 1},
                   .finished = path};
  }
  return Error{ErrorKind::kFailed, "too many files are named " + printable(open.name)};
}

Result<ParcelBox::Outcome, Error> ParcelBox::take(const std::string& sender, const Parcel& parcel) {
  const Key key{sender, parcel.number};
  if (parcel.kind == ParcelKind::kFile) return start(key, parcel);
  SEALANE_CHECK(parcel.kind == ParcelKind::kData);
  const auto found = open_.find(key);
  if (found == open_.end()) return Outcome{};  // of a file that was given up
  Open& open = found->second;
  if (parcel.offset != open.at || parcel.data.size() > open.size - open.at) {
    open_.erase(found);
    return Error{ErrorKind::kFailed, "a sender sent bytes that do not fit its file"};
  }
  const auto written = open.file->write_at(open.at, parcel.data);
  if (!written.has_value()) {
    open_.erase(found);
    return to_error(written.error());
  }
  open.hash.update(parcel.data);
  open.at += parcel.data.size();
  if (open.at == open.size) return finish(key);
  if (open.at - open.told < kAckSize) return Outcome{};
  open.told = open.at;
  return Outcome{.answer =
                     Parcel{.kind = ParcelKind::kAt, .number = key.second, .offset = open.at}};
}

}  // namespace sealane::node
