#pragma once
// SeenMessages: what a client of a hub has dealt with, over its starts. A hub gives again what it
// was not told of; so each message is noted here first, and acknowledged after that.
//
// One line a message: its id and the hub's time for it in milliseconds, both decimal. Both, because
// a hub whose queue was lost begins with ids that were there before.
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>

#include "hub/ids.h"
#include "sealane/base/result.h"
#include "sealane/base/seams.h"

namespace sealane::node {

class SeenMessages {
 public:
  // The latest ones. More than a hub gives without an answer
  // (mailbox::Options::in_flight_messages).
  static constexpr std::size_t kKept = 1024;
  static constexpr std::size_t kMaxFileSize = 64 * 1024;  // bounds reading: 42 bytes a line

  static Result<SeenMessages, Error> load(FileSystem& files, const std::string& path);  // or none
  // The file's content; nothing if it is none. Of more than kKept lines the latest are taken.
  static std::optional<SeenMessages> parse(std::string_view text);
  std::string format() const;
  bool contains(hub::DeliveryId id, WallTime accepted_at) const;
  void add(hub::DeliveryId id, WallTime accepted_at);
  // On the disk when it returns.
  Result<void, Error> save(FileSystem& files, RandomSource& random) const;

 private:
  struct Entry {
    hub::DeliveryId id{};
    std::uint64_t time_ms = 0;
    friend bool operator==(const Entry&, const Entry&) = default;
  };
  void note(Entry entry);
  std::string path_;
  std::deque<Entry> entries_;  // oldest first
};

}  // namespace sealane::node
