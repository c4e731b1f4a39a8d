#include "seal/age_header.h"

#include <algorithm>
#include <optional>

#include "base/copy_bytes.h"
#include "seal/age.h"

namespace sealane::seal {
namespace {

constexpr std::string_view kVersionLine = "age-encryption.org/v1\n";
constexpr std::string_view kStanzaStart = "-> ";
constexpr std::string_view kEndStart = "---";
constexpr std::size_t kColumns = 64;
constexpr std::size_t kMacTextSize = 43;  // of 32 bytes
constexpr std::size_t kFirstRead = 256;   // enough for one recipient

std::optional<Bytes> from_raw_base64(std::string_view text) {
  return from_base64(text, Base64Alphabet::kStandard, Base64Padding::kUnpadded);
}
std::string to_raw_base64(ByteSpan bytes) {
  return to_base64(bytes, Base64Alphabet::kStandard, Base64Padding::kUnpadded);
}

// The arguments of a stanza's first line, which starts with "-> ". Nothing for an empty argument
// or a character that is not printable ASCII.
std::optional<std::vector<std::string>> split_arguments(std::string_view line) {
  line.remove_prefix(kStanzaStart.size());
  std::vector<std::string> arguments;
  for (;;) {
    const std::size_t space = std::min(line.find(' '), line.size());
    const std::string_view argument = line.substr(0, space);
    const bool printable =
        std::ranges::all_of(argument, [](char c) { return c >= 0x21 && c <= 0x7e; });
    if (argument.empty() || !printable) return std::nullopt;
    arguments.emplace_back(argument);
    if (space == line.size()) return arguments;
    line.remove_prefix(space + 1);
  }
}

// Cuts lines off the bytes at hand.
class LineReader {
 public:
  explicit LineReader(std::string_view text) : text_(text) {}
  // Without its LF; nothing when the LF is not there yet.
  std::optional<std::string_view> next() {
    const std::size_t end = text_.find('\n', position_);
    if (end == std::string_view::npos) return std::nullopt;
    const std::string_view line = text_.substr(position_, end - position_);
    position_ = end + 1;
    return line;
  }
  std::size_t position() const { return position_; }
  std::string_view rest() const { return text_.substr(position_); }

 private:
  std::string_view text_;
  std::size_t position_ = 0;
};

// Can these bytes, which have no LF yet, still become a line of this kind?
bool may_become(std::string_view part, std::string_view prefix) {
  return part.substr(0, prefix.size()) == prefix.substr(0, part.size());
}

}  // namespace

Result<std::variant<BytesNeeded, AgeHeader>, SealError> parse_age_header(ByteSpan start,
                                                                         bool at_end) {
  using Step = std::variant<BytesNeeded, AgeHeader>;
  const std::string_view text = as_text(start.first(std::min(start.size(), kMaxAgeHeaderSize)));
  // Asking for twice as much each time keeps the work linear however small the reads are.
  const auto more = [&]() -> Result<Step, SealError> {
    if (start.size() >= kMaxAgeHeaderSize) return SealError::kHeaderTooLarge;
    if (at_end) return SealError::kTruncated;
    const std::size_t wanted = std::max(kFirstRead, start.size() * 2);
    return Step(BytesNeeded{std::min(wanted, kMaxAgeHeaderSize)});
  };

  if (!may_become(text, kVersionLine)) return SealError::kNotThisFormat;
  if (text.size() < kVersionLine.size()) return more();
  LineReader lines(text.substr(kVersionLine.size()));
  AgeHeader header;
  for (;;) {
    const std::size_t line_start = kVersionLine.size() + lines.position();
    const auto line = lines.next();
    if (!line) {
      const bool possible =
          may_become(lines.rest(), kStanzaStart) || may_become(lines.rest(), kEndStart);
      if (!possible) return SealError::kHeaderMalformed;
      return more();
    }
    if (line->starts_with(kEndStart)) {
      if (header.stanzas.empty()) return SealError::kHeaderMalformed;
      if (line->size() != kEndStart.size() + 1 + kMacTextSize || (*line)[kEndStart.size()] != ' ') {
        return SealError::kHeaderMalformed;
      }
      const auto mac = from_raw_base64(line->substr(kEndStart.size() + 1));
      if (!mac || mac->size() != header.mac.size()) return SealError::kHeaderMalformed;
      copy_bytes(*mac, header.mac.begin());
      header.mac_input_size = line_start + kEndStart.size();
      header.size = kVersionLine.size() + lines.position();
      return Step(std::move(header));
    }
    if (!line->starts_with(kStanzaStart)) return SealError::kHeaderMalformed;
    if (header.stanzas.size() == kMaxAgeStanzas) return SealError::kHeaderTooLarge;
    auto arguments = split_arguments(*line);
    if (!arguments) return SealError::kHeaderMalformed;
    AgeStanza stanza{.arguments = std::move(*arguments), .body = {}};
    for (;;) {
      const auto body_line = lines.next();
      if (!body_line) {
        if (lines.rest().size() > kColumns) return SealError::kHeaderMalformed;
        return more();
      }
      if (body_line->size() > kColumns) return SealError::kHeaderMalformed;
      const auto bytes = from_raw_base64(*body_line);
      if (!bytes) return SealError::kHeaderMalformed;
      stanza.body.insert(stanza.body.end(), bytes->begin(), bytes->end());
      if (body_line->size() < kColumns) break;
    }
    header.stanzas.push_back(std::move(stanza));
  }
}

std::string encode_age_header_start(const std::vector<AgeStanza>& stanzas) {
  std::string out(kVersionLine);
  for (const AgeStanza& stanza : stanzas) {
    out += "->";
    for (const std::string& argument : stanza.arguments) {
      out += ' ';
      out += argument;
    }
    out += '\n';
    const std::string body = to_raw_base64(stanza.body);
    for (std::size_t at = 0; at < body.size(); at += kColumns) {
      out += std::string_view(body).substr(at, kColumns);
      out += '\n';
    }
    if (body.size() % kColumns == 0) out += '\n';  // the body ends with a line that is not full
  }
  out += kEndStart;
  return out;
}

std::string encode_age_header_end(ByteSpan mac) { return ' ' + to_raw_base64(mac) + '\n'; }

}  // namespace sealane::seal
