#pragma once
// RateWatch: a file that says how many bytes a second a source may read, looked at again while it
// runs.
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "app/command.h"
#include "flow/thread.h"
#include "sealane/warm/source.h"

namespace sealane::app {

class RateWatch {
 public:
  // Sets the source's rate; an empty path: nothing does. `source` must outlive what it returns.
  // kUsage: the file cannot be read, or holds no number.
  static Result<std::unique_ptr<RateWatch>, Error> start(Context& context, const std::string& path,
                                                         warm::Source& source);
  ~RateWatch();
  RateWatch(const RateWatch&) = delete;
  RateWatch& operator=(const RateWatch&) = delete;

 private:
  RateWatch(Context& context, std::string path, warm::Source& source, std::uint64_t rate);
  void watch();

  Context& context_;
  const std::string path_;
  warm::Source& source_;
  std::uint64_t rate_;  // the thread's
  bool warned_ = false;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool over_ = false;
  std::optional<flow::Thread> thread_;
};

}  // namespace sealane::app
