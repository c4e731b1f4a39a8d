#include "app/rate_watch.h"

#include <charconv>
#include <chrono>

namespace sealane::app {
namespace {

constexpr std::chrono::milliseconds kLookAgain{500};
constexpr std::size_t kMaxFileSize = 64;  // a number and a line feed

Result<std::uint64_t, Error> read_rate(Context& context, const std::string& path) {
  const auto content = read_file(context.files, path, kMaxFileSize);
  if (!content.has_value()) {
    return Error{ErrorKind::kUsage, "cannot read the rate: " + to_error(content.error()).message};
  }
  std::string_view text = as_text(content.value());
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.remove_suffix(1);
  std::uint64_t rate = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), rate);
  if (text.empty() || parsed.ec != std::errc{} || parsed.ptr != text.data() + text.size()) {
    return Error{ErrorKind::kUsage,
                 printable(path) + " holds no rate; write bytes a second, 0 for no limit"};
  }
  return rate;
}

}  // namespace

Result<std::unique_ptr<RateWatch>, Error> RateWatch::start(Context& context,
                                                           const std::string& path,
                                                           warm::Source& source) {
  if (path.empty()) return std::unique_ptr<RateWatch>();
  SEALANE_TRY(const std::uint64_t rate, read_rate(context, path));
  source.set_rate(rate);
  return std::unique_ptr<RateWatch>(new RateWatch(context, path, source, rate));
}

RateWatch::RateWatch(Context& context, std::string path, warm::Source& source, std::uint64_t rate)
    : context_(context), path_(std::move(path)), source_(source), rate_(rate) {
  thread_.emplace([this] { watch(); });
}

RateWatch::~RateWatch() {
  {
    const std::lock_guard lock(mutex_);
    over_ = true;
  }
  changed_.notify_all();
}

void RateWatch::watch() {
  std::unique_lock lock(mutex_);
  while (!changed_.wait_for(lock, kLookAgain, [this] { return over_; })) {
    const auto rate = read_rate(context_, path_);
    if (!rate.has_value()) {
      // An editor may be about to write it; the rate stays.
      if (!std::exchange(warned_, true)) context_.console.warn(rate.error().message);
      continue;
    }
    warned_ = false;
    if (rate.value() == rate_) continue;
    rate_ = rate.value();
    source_.set_rate(rate_);
    context_.console.note(rate_ == 0 ? "reading without a limit"
                                     : "reading at most " + format_bytes(rate_) + " a second");
  }
}

}  // namespace sealane::app
