#include "seal/armor.h"

#include <algorithm>

namespace sealane::seal {
namespace {

constexpr std::string_view kBeginLine = "-----BEGIN AGE ENCRYPTED FILE-----";
constexpr std::string_view kEndLine = "-----END AGE ENCRYPTED FILE-----";
constexpr std::size_t kColumns = 64;
constexpr std::size_t kLineBytes = kColumns / 4 * 3;

constexpr bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

}  // namespace

void ArmorEncoder::begin(std::string& out) {
  if (started_) return;
  started_ = true;
  out += kBeginLine;
  out += '\n';
}

void ArmorEncoder::update(ByteSpan data, std::string& out) {
  begin(out);
  out.reserve(out.size() + (pending_.size() + data.size()) / kLineBytes * (kColumns + 1));
  const auto line = [&](ByteSpan bytes) {
    out += to_base64(bytes);
    out += '\n';
  };
  if (!pending_.empty()) {
    const std::size_t taken = std::min(kLineBytes - pending_.size(), data.size());
    pending_.insert(pending_.end(), data.begin(),
                    data.begin() + static_cast<std::ptrdiff_t>(taken));
    data = data.subspan(taken);
    if (pending_.size() < kLineBytes) return;
    line(pending_);
    pending_.clear();
  }
  for (; data.size() >= kLineBytes; data = data.subspan(kLineBytes)) line(data.first(kLineBytes));
  pending_.assign(data.begin(), data.end());
}

void ArmorEncoder::finish(std::string& out) {
  begin(out);
  if (!pending_.empty()) {
    out += to_base64(pending_);
    out += '\n';
    pending_.clear();
  }
  out += kEndLine;
  out += '\n';
}

Result<void, SealError> ArmorDecoder::blanks(ByteSpan text) {
  const std::string_view view = as_text(text);
  if (!std::ranges::all_of(view, is_blank)) return SealError::kTrailingData;
  blanks_ += view.size();
  if (blanks_ > kMaxArmorBlanks) return SealError::kTrailingData;
  return success();
}

Result<void, SealError> ArmorDecoder::line(Bytes& out) {
  std::string_view text = line_;
  if (text.ends_with('\r')) text.remove_suffix(1);
  switch (state_) {
    case State::kBefore:
      if (std::ranges::all_of(text, is_blank)) {
        blanks_ += line_.size() + 1;
        if (blanks_ > kMaxArmorBlanks) return SealError::kArmor;
      } else {
        if (text != kBeginLine) return SealError::kArmor;
        state_ = State::kBody;
      }
      break;
    case State::kBody:
      // An age file is never empty, so its armor has at least one line.
      if (any_body_ && text == kEndLine) {
        state_ = State::kAfter;
        blanks_ = 0;
      } else {
        const auto bytes = from_base64(text);
        if (!bytes || bytes->empty() || text.size() > kColumns) return SealError::kArmor;
        out.insert(out.end(), bytes->begin(), bytes->end());
        any_body_ = true;
        if (bytes->size() < kLineBytes) state_ = State::kEndLine;
      }
      break;
    case State::kEndLine:
      if (text != kEndLine) return SealError::kArmor;
      state_ = State::kAfter;
      blanks_ = 0;
      break;
    case State::kAfter:
      break;
  }
  line_.clear();
  return success();
}

Result<void, SealError> ArmorDecoder::update(ByteSpan text, Bytes& out) {
  const auto step = [&]() -> Result<void, SealError> {
    std::string_view rest = as_text(text);
    while (!rest.empty()) {
      if (state_ == State::kAfter) return blanks(as_bytes(rest));
      const std::size_t end = rest.find('\n');
      line_ += rest.substr(0, end);
      // Before the first line, blanks may be longer than a line; else this bounds what is kept.
      const std::size_t limit = state_ == State::kBefore ? kMaxArmorBlanks : kColumns + 1;
      if (line_.size() > limit) return SealError::kArmor;
      if (end == std::string_view::npos) return success();
      rest.remove_prefix(end + 1);
      SEALANE_TRY(line(out));
    }
    return success();
  };
  if (error_) return *error_;
  auto result = step();
  if (!result.has_value()) error_ = result.error();
  return result;
}

Result<void, SealError> ArmorDecoder::finish() {
  if (error_) return *error_;
  // The end line may be the file's last bytes, without LF; no other line may.
  std::string_view text = line_;
  if (text.ends_with('\r')) text.remove_suffix(1);
  const bool may_end = state_ == State::kEndLine || (state_ == State::kBody && any_body_);
  if (may_end && text == kEndLine) {
    state_ = State::kAfter;
    line_.clear();
  }
  if (state_ != State::kAfter) return SealError::kTruncated;
  return success();
}

bool looks_armored(ByteSpan start) {
  std::string_view text = as_text(start);
  const std::size_t first = std::min(text.find_first_not_of(" \t\r\n"), text.size());
  if (first > kMaxArmorBlanks) return false;
  return text.substr(first).starts_with(kBeginLine);
}

}  // namespace sealane::seal
