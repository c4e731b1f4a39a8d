#include "warm/part_builder.h"

#include <algorithm>

namespace sealane::warm {

void PartBuilder::add(ByteSpan command, std::uint64_t keys, std::uint64_t commands) {
  if (!commands_.empty() && commands_.size() + command.size() > part_size_) cut();
  if (commands_.empty()) {
    part_continues_ = continues_;
    commands_.reserve(std::max(command.size(), part_size_));
  }
  commands_.insert(commands_.end(), command.begin(), command.end());
  bytes_ += command.size();
  keys_ += keys;
  command_count_ += commands;
}

void PartBuilder::cut() {
  if (commands_.empty()) return;
  Part part = make_part(std::exchange(commands_, {}), std::exchange(keys_, 0),
                        std::exchange(command_count_, 0));
  part.index = index_++;
  part.range = range_;
  part.continues = part_continues_;
  part.behind = behind_;
  ready_.push_back(std::move(part));
}

std::optional<Part> PartBuilder::take() {
  if (ready_.empty()) return std::nullopt;
  Part part = std::move(ready_.front());
  ready_.pop_front();
  return part;
}

}  // namespace sealane::warm
