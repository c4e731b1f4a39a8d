#include "backup/pax.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "base/check.h"
#include "base/copy_bytes.h"
#include "base/utf8.h"

namespace sealane::backup {
namespace {

// POSIX.1-2001, ustar interchange format: offset and size of each field.
struct Field {
  std::size_t offset;
  std::size_t size;
};
constexpr Field kName{0, 100};
constexpr Field kMode{100, 8};
constexpr Field kUid{108, 8};
constexpr Field kGid{116, 8};
constexpr Field kSize{124, 12};
constexpr Field kMtime{136, 12};
constexpr Field kChecksum{148, 8};
constexpr std::size_t kType = 156;
constexpr Field kLinkName{157, 100};
constexpr Field kMagic{257, 8};
constexpr Field kUserName{265, 32};
constexpr Field kGroupName{297, 32};
constexpr Field kMajor{329, 8};
constexpr Field kMinor{337, 8};
constexpr Field kPrefix{345, 155};
constexpr std::string_view kMagicText("ustar\00000", 8);

constexpr std::string_view kXattrPrefix = "SCHILY.xattr.";
constexpr std::size_t kMaxMapLine = 20;  // digits of 2^64
constexpr std::uint32_t kMaxOctal7 = 07777777;
constexpr std::uint64_t kMaxOctal11 = 077777777777;
constexpr std::uint32_t kNoId = 0xffffffff;  // (uid_t)-1 means "leave it" to chown
constexpr std::uint32_t kBillion = 1'000'000'000;
constexpr std::int64_t kMaxSeconds = INT64_MAX / 2;  // either way; no calendar gets there

char type_flag(EntryType type) {
  switch (type) {
    case EntryType::kFile:
      return '0';
    case EntryType::kHardLink:
      return '1';
    case EntryType::kSymlink:
      return '2';
    case EntryType::kCharacterDevice:
      return '3';
    case EntryType::kBlockDevice:
      return '4';
    case EntryType::kDirectory:
      return '5';
    case EntryType::kFifo:
      return '6';
  }
  SEALANE_CHECK(false);
}

std::optional<EntryType> type_of(char flag) {
  if (flag == '\0' || flag == '7') return EntryType::kFile;  // as POSIX tells those without them
  if (flag < '0' || flag > '6') return std::nullopt;
  return static_cast<EntryType>(flag - '0');
}

bool is_plain(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return c >= 0x20 && c < 0x7f; });
}

// ---- Out

void put_text(Bytes& header, Field field, std::string_view text) {
  const auto bytes = as_bytes(text.substr(0, field.size));
  copy_bytes(bytes, header.begin() + static_cast<std::ptrdiff_t>(field.offset));
}

// Octal digits and a final NUL. REQUIRES: it fits.
void put_octal(Bytes& header, Field field, std::uint64_t value) {
  for (std::size_t i = field.size - 1; i-- > 0;) {
    header[field.offset + i] = static_cast<std::byte>('0' + (value & 7));
    value >>= 3;
  }
  SEALANE_CHECK(value == 0);
}

std::uint64_t checksum(ByteSpan header) {
  std::uint64_t sum = kChecksum.size * ' ';
  for (std::size_t i = 0; i < header.size(); ++i) {
    if (i - kChecksum.offset >= kChecksum.size) sum += std::to_integer<std::uint64_t>(header[i]);
  }
  return sum;
}

void seal_header(Bytes& header) {
  put_text(header, kMagic, kMagicText);
  put_octal(header, {kChecksum.offset, 7}, checksum(header));
  header[kChecksum.offset + 7] = std::byte{' '};
}

// "LENGTH KEY=VALUE\n", where LENGTH counts itself.
void put_record(std::string& out, std::string_view key, std::string_view value) {
  const std::size_t rest = key.size() + value.size() + 3;
  std::size_t length = rest;
  for (std::size_t next = rest + std::to_string(length).size(); next != length;
       next = rest + std::to_string(length).size()) {
    length = next;
  }
  out += std::to_string(length);
  out += ' ';
  out += key;
  out += '=';
  out += value;
  out += '\n';
}

// Seconds with a decimal fraction; -0.5 is {-1, 500000000}.
std::string time_text(std::int64_t seconds, std::uint32_t nanoseconds) {
  std::string text;
  auto whole = static_cast<std::uint64_t>(seconds);
  if (seconds < 0) {
    text = "-";
    whole = ~whole + 1;
    if (nanoseconds > 0) {
      --whole;
      nanoseconds = kBillion - nanoseconds;
    }
  }
  text += std::to_string(whole);
  if (nanoseconds > 0) {
    std::string fraction = std::to_string(nanoseconds);
    fraction.insert(0, 9 - fraction.size(), '0');
    fraction.erase(fraction.find_last_not_of('0') + 1);
    text += '.' + fraction;
  }
  return text;
}

// GNU tar writes '=' in an attribute's name as %3D and '%' as %25.
std::string xattr_key(std::string_view name) {
  std::string key(kXattrPrefix);
  for (const char c : name) {
    if (c == '=') {
      key += "%3D";
    } else if (c == '%') {
      key += "%25";
    } else {
      key += c;
    }
  }
  return key;
}
std::optional<std::string> xattr_name(std::string_view key) {
  std::string name;
  for (std::size_t i = 0; i < key.size(); ++i) {
    if (key[i] != '%') {
      name += key[i];
      continue;
    }
    const std::string_view code = key.substr(i, 3);
    if (code == "%3D") {
      name += '=';
    } else if (code == "%25") {
      name += '%';
    } else {
      return std::nullopt;
    }
    i += 2;
  }
  return name;
}

std::string map_text(const std::vector<Extent>& extents) {
  std::string text = std::to_string(extents.size()) + '\n';
  for (const Extent& extent : extents) {
    text += std::to_string(extent.offset) + '\n' + std::to_string(extent.size) + '\n';
  }
  text.resize(text.size() + pax_padding(text.size()));
  return text;
}

std::uint64_t sum_of(const std::vector<Extent>& extents) {
  std::uint64_t sum = 0;
  for (const Extent& extent : extents) sum += extent.size;
  return sum;
}

std::string_view last_component(std::string_view path) {
  return path.substr(path.rfind('/') + 1);  // npos + 1 is 0
}

// ---- In

std::string_view text_of(ByteSpan header, Field field) {
  const std::string_view text = as_text(header.subspan(field.offset, field.size));
  return text.substr(0, text.find('\0'));
}

// Digits of `base`, then only NUL and spaces. An empty field is 0.
std::optional<std::uint64_t> number_of(ByteSpan header, Field field) {
  std::string_view text = as_text(header.subspan(field.offset, field.size));
  while (text.starts_with(' ')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == '\0' || text.back() == ' ')) text.remove_suffix(1);
  if (text.empty()) return 0;
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, 8);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<std::uint64_t> decimal(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, 10);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

struct Time {
  std::int64_t seconds = 0;
  std::uint32_t nanoseconds = 0;
};
std::optional<Time> time_of(std::string_view text) {
  const bool negative = text.starts_with('-');
  if (negative) text.remove_prefix(1);
  const auto dot = text.find('.');
  const auto whole = decimal(text.substr(0, dot));
  if (!whole || *whole >= std::uint64_t{kMaxSeconds}) return std::nullopt;
  Time time{static_cast<std::int64_t>(*whole), 0};
  if (dot != std::string_view::npos) {
    std::string_view fraction = text.substr(dot + 1);
    if (fraction.empty() ||
        !std::ranges::all_of(fraction, [](char c) { return c >= '0' && c <= '9'; })) {
      return std::nullopt;
    }
    std::string nine(fraction.substr(0, 9));
    nine.resize(9, '0');
    time.nanoseconds = static_cast<std::uint32_t>(*decimal(nine));
  }
  if (negative) {
    time.seconds = -time.seconds;
    if (time.nanoseconds > 0) {
      --time.seconds;
      time.nanoseconds = kBillion - time.nanoseconds;
    }
  }
  if (time.seconds <= -kMaxSeconds) return std::nullopt;
  return time;
}

// Without "./" in front and '/' behind. Nothing if it could lead anywhere but below the root.
std::optional<std::string> normalised(std::string_view path, bool directory) {
  if (path.find('\0') != std::string_view::npos || path.size() > kPaxMaxPath) return std::nullopt;
  if (path == "." && directory) return std::string();
  if (path.starts_with("./")) path.remove_prefix(2);
  if (directory && path.ends_with('/')) path.remove_suffix(1);
  if (path.empty()) return directory ? std::optional(std::string()) : std::nullopt;
  std::size_t depth = 0;
  for (std::size_t start = 0; start <= path.size();) {
    const std::size_t end = std::min(path.find('/', start), path.size());
    const std::string_view name = path.substr(start, end - start);
    if (name.empty() || name == "." || name == ".." || name.size() > kPaxMaxName)
      return std::nullopt;
    if (++depth > kPaxMaxDepth) return std::nullopt;
    start = end + 1;
  }
  return std::string(path);
}

bool are_extents_valid(const std::vector<Extent>& extents, std::uint64_t size) {
  if (extents.size() > kPaxMaxExtents) return false;
  std::uint64_t at = 0;
  for (const Extent& extent : extents) {
    if (extent.offset < at || extent.offset > size || extent.size > size - extent.offset)
      return false;
    at = extent.offset + extent.size;
  }
  return true;
}

bool are_xattrs_valid(const std::map<std::string, std::string>& xattrs) {
  if (xattrs.size() > kPaxMaxXattrs) return false;
  std::size_t total = 0;
  for (const auto& [name, value] : xattrs) {
    if (name.empty() || name.size() > kPaxMaxName || name.find('\0') != std::string::npos)
      return false;
    total += name.size() + value.size();
    if (total > kPaxMaxXattrBytes) return false;
  }
  return true;
}

// The records that change the header of the next entry.
constexpr std::array<std::string_view, 12> kKnownRecords = {"path",
                                                            "linkpath",
                                                            "size",
                                                            "uid",
                                                            "gid",
                                                            "uname",
                                                            "gname",
                                                            "mtime",
                                                            "GNU.sparse.major",
                                                            "GNU.sparse.minor",
                                                            "GNU.sparse.name",
                                                            "GNU.sparse.realsize"};

}  // namespace

std::string_view name_of(PaxError error) {
  switch (error) {
    case PaxError::kHeader:
      return "the archive has something else where a pax header must be";
    case PaxError::kExtendedHeader:
      return "an extended header of the archive is malformed";
    case PaxError::kPath:
      return "the archive has a path that leads outside or is too long";
    case PaxError::kLimit:
      return "the archive has an entry beyond the limits";
    case PaxError::kSparse:
      return "the archive has a sparse file whose map does not fit";
    case PaxError::kTruncated:
      return "the archive ends early";
    case PaxError::kTrailing:
      return "the archive goes on after its end";
  }
  SEALANE_CHECK(false);
}

bool is_valid(const PaxEntry& entry) {
  const bool directory = entry.type == EntryType::kDirectory;
  if (normalised(entry.path, directory) != entry.path) return false;
  if (entry.mode > 07777 || entry.uid == kNoId || entry.gid == kNoId) return false;
  if (entry.user.size() > kPaxMaxName || entry.group.size() > kPaxMaxName) return false;
  if (entry.user.find('\0') != std::string::npos || entry.group.find('\0') != std::string::npos) {
    return false;
  }
  if (entry.mtime_nanoseconds >= kBillion || entry.mtime_seconds <= -kMaxSeconds ||
      entry.mtime_seconds >= kMaxSeconds) {
    return false;
  }
  if (entry.type != EntryType::kFile && (entry.size != 0 || entry.extents)) return false;
  if (entry.size > kPaxMaxFileSize) return false;
  if (entry.extents && !are_extents_valid(*entry.extents, entry.size)) return false;
  switch (entry.type) {
    case EntryType::kHardLink:
      if (normalised(entry.link_target, false) != entry.link_target) return false;
      break;
    case EntryType::kSymlink:
      if (entry.link_target.empty() || entry.link_target.size() > kPaxMaxLink ||
          entry.link_target.find('\0') != std::string::npos) {
        return false;
      }
      break;
    default:
      if (!entry.link_target.empty()) return false;
  }
  const bool device =
      entry.type == EntryType::kCharacterDevice || entry.type == EntryType::kBlockDevice;
  if (!device && (entry.device_major != 0 || entry.device_minor != 0)) return false;
  if (entry.device_major > kMaxOctal7 || entry.device_minor > kMaxOctal7) return false;
  return are_xattrs_valid(entry.xattrs);
}

std::uint64_t pax_content_size(const PaxEntry& entry) {
  return entry.extents ? sum_of(*entry.extents) : entry.size;
}

Bytes encode_pax_header(const PaxEntry& entry) {
  SEALANE_CHECK(is_valid(entry));
  std::string path = entry.path;
  if (entry.type == EntryType::kDirectory) path = path.empty() ? "./" : path + '/';
  std::string map;
  if (entry.extents) map = map_text(*entry.extents);
  const std::uint64_t stored = map.size() + pax_content_size(entry);

  std::string records;
  bool utf8 = true;
  const auto text_record = [&](std::string_view key, std::string_view value) {
    put_record(records, key, value);
    utf8 = utf8 && is_utf8(value);
  };
  if (entry.extents) {
    put_record(records, "GNU.sparse.major", "1");
    put_record(records, "GNU.sparse.minor", "0");
    text_record("GNU.sparse.name", path);
    put_record(records, "GNU.sparse.realsize", std::to_string(entry.size));
    path = "GNUSparseFile.0/" + std::string(last_component(path));  // for tars that do not know
  } else if (path.size() > kName.size || !is_plain(path)) {
    text_record("path", path);
  }
  if (entry.link_target.size() > kLinkName.size || !is_plain(entry.link_target)) {
    text_record("linkpath", entry.link_target);
  }
  if (stored > kMaxOctal11) put_record(records, "size", std::to_string(stored));
  if (entry.uid > kMaxOctal7) put_record(records, "uid", std::to_string(entry.uid));
  if (entry.gid > kMaxOctal7) put_record(records, "gid", std::to_string(entry.gid));
  if (entry.user.size() >= kUserName.size || !is_plain(entry.user))
    text_record("uname", entry.user);
  if (entry.group.size() >= kGroupName.size || !is_plain(entry.group)) {
    text_record("gname", entry.group);
  }
  const bool plain_time = entry.mtime_nanoseconds == 0 && entry.mtime_seconds >= 0 &&
                          static_cast<std::uint64_t>(entry.mtime_seconds) <= kMaxOctal11;
  if (!plain_time) {
    put_record(records, "mtime", time_text(entry.mtime_seconds, entry.mtime_nanoseconds));
  }
  for (const auto& [name, value] : entry.xattrs) put_record(records, xattr_key(name), value);
  if (!utf8) {
    std::string charset;  // comes first, since it says how to read the others
    put_record(charset, "hdrcharset", "BINARY");
    records.insert(0, charset);
  }

  Bytes out;
  if (!records.empty()) {
    Bytes header(kPaxBlock);
    put_text(header, kName, "PaxHeaders.0/" + std::string(last_component(entry.path)));
    put_octal(header, kMode, 0644);
    put_octal(header, kUid, 0);
    put_octal(header, kGid, 0);
    put_octal(header, kSize, records.size());
    put_octal(header, kMtime, 0);
    header[kType] = std::byte{'x'};
    seal_header(header);
    out = std::move(header);
    const ByteSpan body = as_bytes(records);
    out.insert(out.end(), body.begin(), body.end());
    out.resize(out.size() + pax_padding(out.size()));
  }
  Bytes header(kPaxBlock);
  put_text(header, kName, path);
  put_octal(header, kMode, entry.mode);
  put_octal(header, kUid, entry.uid > kMaxOctal7 ? 0 : entry.uid);
  put_octal(header, kGid, entry.gid > kMaxOctal7 ? 0 : entry.gid);
  put_octal(header, kSize, stored > kMaxOctal11 ? 0 : stored);
  put_octal(header, kMtime, plain_time ? static_cast<std::uint64_t>(entry.mtime_seconds) : 0);
  header[kType] = static_cast<std::byte>(type_flag(entry.type));
  put_text(header, kLinkName, entry.link_target);
  put_text(header, {kUserName.offset, kUserName.size - 1}, entry.user);
  put_text(header, {kGroupName.offset, kGroupName.size - 1}, entry.group);
  put_octal(header, kMajor, entry.device_major);
  put_octal(header, kMinor, entry.device_minor);
  seal_header(header);
  out.insert(out.end(), header.begin(), header.end());
  const ByteSpan map_bytes = as_bytes(map);
  out.insert(out.end(), map_bytes.begin(), map_bytes.end());
  return out;
}

bool PaxReader::collect(ByteSpan& input, std::size_t size) {
  const std::size_t take = std::min(size - block_.size(), input.size());
  block_.insert(block_.end(), input.begin(), input.begin() + static_cast<std::ptrdiff_t>(take));
  input = input.subspan(take);
  return block_.size() == size;
}

Result<PaxReader::Event, PaxError> PaxReader::next(ByteSpan& input) {
  for (;;) {
    if (to_skip_ > 0) {
      const auto skip = static_cast<std::size_t>(std::min<std::uint64_t>(to_skip_, input.size()));
      input = input.subspan(skip);
      to_skip_ -= skip;
      if (to_skip_ > 0) return Event(NeedInput{});
    }
    switch (state_) {
      case State::kHeader: {
        if (!collect(input, kPaxBlock)) return Event(NeedInput{});
        const bool zero =
            std::ranges::all_of(block_, [](std::byte b) { return b == std::byte{0}; });
        if (zero) {
          block_.clear();
          if (records_) return PaxError::kHeader;  // an extended header of nothing
          if (++zero_blocks_ < 2) continue;
          state_ = State::kAfterEnd;
          return Event(ArchiveEnd{});
        }
        if (zero_blocks_ > 0) return PaxError::kHeader;
        SEALANE_TRY(auto entry, on_header());
        block_.clear();
        if (entry) return Event(std::move(*entry));
        continue;
      }
      case State::kExtended: {
        if (!collect(input, extended_size_)) return Event(NeedInput{});
        SEALANE_TRY(on_extended());
        block_.clear();
        to_skip_ = pax_padding(extended_size_);
        state_ = State::kHeader;
        continue;
      }
      case State::kMap: {
        SEALANE_TRY(const bool complete, read_map(input));
        if (!complete) return Event(NeedInput{});
        state_ = State::kContent;
        return Event(std::move(sparse_));
      }
      case State::kContent: {
        while (extent_ < extents_.size() && extent_done_ == extents_[extent_].size) {
          ++extent_;
          extent_done_ = 0;
        }
        if (extent_ == extents_.size()) {
          to_skip_ = pax_padding(stored_);
          state_ = State::kHeader;
          return Event(FileEnd{});
        }
        if (input.empty()) return Event(NeedInput{});
        const Extent& extent = extents_[extent_];
        const auto size = static_cast<std::size_t>(
            std::min<std::uint64_t>(extent.size - extent_done_, input.size()));
        const Content content{extent.offset + extent_done_, input.first(size)};
        input = input.subspan(size);
        extent_done_ += size;
        return Event(content);
      }
      case State::kAfterEnd:
        for (const std::byte b : input) {
          if (b != std::byte{0}) return PaxError::kTrailing;
        }
        input = {};
        return Event(NeedInput{});
    }
  }
}

Result<void, PaxError> PaxReader::finish() const {
  if (state_ != State::kAfterEnd) return PaxError::kTruncated;
  return success();
}

// A header without an extended one in front is an entry of its own.
Result<std::optional<PaxEntry>, PaxError> PaxReader::on_header() {
  const ByteSpan header = block_;
  if (as_text(header.subspan(kMagic.offset, kMagic.size)) != kMagicText) return PaxError::kHeader;
  if (number_of(header, kChecksum) != checksum(header)) return PaxError::kHeader;
  const auto mode = number_of(header, kMode);
  const auto uid = number_of(header, kUid);
  const auto gid = number_of(header, kGid);
  const auto size = number_of(header, kSize);
  const auto mtime = number_of(header, kMtime);
  const auto major = number_of(header, kMajor);
  const auto minor = number_of(header, kMinor);
  if (!mode || !uid || !gid || !size || !mtime || !major || !minor) return PaxError::kHeader;

  const char flag = static_cast<char>(header[kType]);
  if (flag == 'x') {
    if (records_) return PaxError::kExtendedHeader;
    if (*size > kPaxMaxHeader) return PaxError::kLimit;
    extended_size_ = static_cast<std::size_t>(*size);
    state_ = State::kExtended;
    return std::optional<PaxEntry>();
  }
  const auto type = type_of(flag);
  if (!type) return PaxError::kHeader;

  Records records;
  if (records_) records = std::move(*records_);
  records_.reset();
  const auto text = [&](std::string_view key, std::string otherwise) {
    const auto it = records.find(key);
    return it == records.end() ? std::move(otherwise) : it->second;
  };
  bool numbers_fit = true;
  const auto number = [&](std::string_view key, std::uint64_t otherwise) {
    const auto it = records.find(key);
    if (it == records.end()) return otherwise;
    const auto value = decimal(it->second);
    numbers_fit = numbers_fit && value;
    return value.value_or(0);
  };

  PaxEntry entry;
  entry.type = *type;
  entry.mode = static_cast<std::uint32_t>(*mode & 07777);
  const std::uint64_t real_uid = number("uid", *uid);
  const std::uint64_t real_gid = number("gid", *gid);
  stored_ = number("size", *size);
  const std::uint64_t real_size = number("GNU.sparse.realsize", 0);
  if (!numbers_fit) return PaxError::kExtendedHeader;
  if (real_uid >= kNoId || real_gid >= kNoId || stored_ > kPaxMaxFileSize ||
      real_size > kPaxMaxFileSize) {
    return PaxError::kLimit;
  }
  entry.uid = static_cast<std::uint32_t>(real_uid);
  entry.gid = static_cast<std::uint32_t>(real_gid);
  entry.user = text("uname", std::string(text_of(header, kUserName)));
  entry.group = text("gname", std::string(text_of(header, kGroupName)));
  entry.mtime_seconds = static_cast<std::int64_t>(*mtime);
  if (const auto it = records.find("mtime"); it != records.end()) {
    const auto time = time_of(it->second);
    if (!time) return PaxError::kExtendedHeader;
    entry.mtime_seconds = time->seconds;
    entry.mtime_nanoseconds = time->nanoseconds;
  }

  std::string path(text_of(header, kName));
  if (const std::string_view prefix = text_of(header, kPrefix); !prefix.empty()) {
    path = std::string(prefix) + '/' + path;
  }
  path = text("path", std::move(path));
  const bool sparse = records.contains("GNU.sparse.major") ||
                      records.contains("GNU.sparse.minor") || records.contains("GNU.sparse.name") ||
                      records.contains("GNU.sparse.realsize");
  if (sparse) {
    if (text("GNU.sparse.major", "") != "1" || text("GNU.sparse.minor", "") != "0" ||
        !records.contains("GNU.sparse.realsize") || entry.type != EntryType::kFile) {
      return PaxError::kSparse;
    }
    path = text("GNU.sparse.name", std::move(path));
  }
  const auto clean = normalised(path, entry.type == EntryType::kDirectory);
  if (!clean) return PaxError::kPath;
  entry.path = *clean;

  const std::string link = text("linkpath", std::string(text_of(header, kLinkName)));
  if (entry.type == EntryType::kHardLink) {
    const auto target = normalised(link, false);
    if (!target) return PaxError::kPath;
    entry.link_target = *target;
  } else if (entry.type == EntryType::kSymlink) {
    if (link.empty() || link.size() > kPaxMaxLink || link.find('\0') != std::string::npos) {
      return PaxError::kPath;
    }
    entry.link_target = link;
  }
  if (entry.type == EntryType::kCharacterDevice || entry.type == EntryType::kBlockDevice) {
    if (*major > kMaxOctal7 || *minor > kMaxOctal7) return PaxError::kLimit;
    entry.device_major = static_cast<std::uint32_t>(*major);
    entry.device_minor = static_cast<std::uint32_t>(*minor);
  }
  for (const auto& [key, value] : records) {
    if (!key.starts_with(kXattrPrefix)) continue;
    const auto name = xattr_name(std::string_view(key).substr(kXattrPrefix.size()));
    if (!name) return PaxError::kExtendedHeader;
    entry.xattrs.emplace(*name, value);
  }
  if (!are_xattrs_valid(entry.xattrs) || entry.user.size() > kPaxMaxName ||
      entry.group.size() > kPaxMaxName) {
    return PaxError::kLimit;
  }

  if (entry.type != EntryType::kFile) {
    if (stored_ != 0) return PaxError::kHeader;
    return std::optional(std::move(entry));
  }
  left_ = stored_;
  extent_ = 0;
  extent_done_ = 0;
  if (sparse) {
    entry.size = real_size;
    sparse_ = std::move(entry);
    map_.clear();
    map_counted_ = false;
    digits_.clear();
    state_ = State::kMap;
    return std::optional<PaxEntry>();
  }
  entry.size = stored_;
  extents_.assign(1, Extent{0, stored_});
  state_ = State::kContent;
  return std::optional(std::move(entry));
}

Result<void, PaxError> PaxReader::on_extended() {
  Records records;
  std::string_view rest = as_text(block_);
  while (!rest.empty()) {
    const auto space = rest.substr(0, 8).find(' ');
    if (space == std::string_view::npos) return PaxError::kExtendedHeader;
    const auto length = decimal(rest.substr(0, space));
    if (!length || *length > rest.size() || *length < space + 4) return PaxError::kExtendedHeader;
    const std::string_view record =
        rest.substr(space + 1, static_cast<std::size_t>(*length) - space - 1);
    rest.remove_prefix(static_cast<std::size_t>(*length));
    const auto equals = record.find('=');
    if (record.back() != '\n' || equals == std::string_view::npos || equals == 0) {
      return PaxError::kExtendedHeader;
    }
    const std::string_view key = record.substr(0, equals);
    const std::string_view value = record.substr(equals + 1, record.size() - equals - 2);
    if (records.size() == kPaxMaxRecords) return PaxError::kLimit;
    if (!key.starts_with(kXattrPrefix)) {
      // Anything else (atime, comment, other vendors') does not change what is restored.
      if (std::ranges::find(kKnownRecords, key) == kKnownRecords.end()) continue;
      if (value.find('\0') != std::string_view::npos) return PaxError::kExtendedHeader;
    }
    if (!records.emplace(key, value).second) return PaxError::kExtendedHeader;  // said twice
  }
  records_ = std::move(records);
  return success();
}

// GNU.sparse 1.0: decimal lines (count, then offset and size of each extent), filled to a block.
Result<bool, PaxError> PaxReader::read_map(ByteSpan& input) {
  while (!map_counted_ || map_left_ > 0) {
    if (input.empty()) return false;
    if (left_ == 0) return PaxError::kSparse;
    const char c = static_cast<char>(input.front());
    input = input.subspan(1);
    --left_;
    if (c != '\n') {
      if (c < '0' || c > '9' || digits_.size() == kMaxMapLine) return PaxError::kSparse;
      digits_ += c;
      continue;
    }
    const auto value = decimal(digits_);
    if (!value) return PaxError::kSparse;
    digits_.clear();
    if (map_counted_) {
      map_.push_back(*value);
      --map_left_;
    } else {
      if (*value > kPaxMaxExtents) return PaxError::kLimit;
      map_left_ = 2 * *value;
      map_counted_ = true;
    }
  }
  const std::uint64_t padding = pax_padding(stored_ - left_);
  if (left_ < padding) return PaxError::kSparse;
  left_ -= padding;
  to_skip_ = padding;
  extents_.clear();
  for (std::size_t i = 0; i < map_.size(); i += 2) extents_.push_back({map_[i], map_[i + 1]});
  if (!are_extents_valid(extents_, sparse_.size) || sum_of(extents_) != left_) {
    return PaxError::kSparse;
  }
  sparse_.extents = extents_;
  return true;
}

}  // namespace sealane::backup
