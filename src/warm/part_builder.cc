#include "warm/part_builder.h"

#include <algorithm>

namespace sealane::warm {
namespace {

constexpr std::size_t kHashStep = 64 * 1024;  // stays in a CPU's own cache until it is hashed

}  // namespace

// What was added and not hashed yet, if it is so much.
void PartBuilder::hash_from(std::size_t least) {
  if (commands_.size() - hashed_ < least) return;
  hash_.update(ByteSpan(commands_).subspan(hashed_));
  hashed_ = commands_.size();
}

void PartBuilder::begin(std::size_t size, std::uint64_t keys, std::uint64_t commands) {
  if (!commands_.empty() && commands_.size() + size > part_size_) cut();
  if (commands_.empty()) {
    part_continues_ = continues_;
    if (commands_.capacity() < part_size_) commands_ = std::exchange(spare_, {});
    commands_.reserve(std::max(size, part_size_));
  }
  hash_from(kHashStep);
  bytes_ += size;
  keys_ += keys;
  command_count_ += commands;
}

void PartBuilder::add(ByteSpan command, std::uint64_t keys, std::uint64_t commands) {
  begin(command.size(), keys, commands);
  commands_.insert(commands_.end(), command.begin(), command.end());
}

MutableByteSpan PartBuilder::add_sized(std::size_t size, std::uint64_t keys,
                                       std::uint64_t commands) {
  begin(size, keys, commands);
  commands_.resize(commands_.size() + size);
  return MutableByteSpan(commands_).last(size);
}

void PartBuilder::reuse(Bytes memory) {
  // A part of one large command is no measure for those to come.
  if (memory.capacity() < part_size_ || memory.capacity() / 2 > part_size_) return;
  memory.clear();
  spare_ = std::move(memory);
}

void PartBuilder::cut() {
  if (commands_.empty()) return;
  hash_from(0);
  hashed_ = 0;
  Part part;
  part.commands = std::exchange(commands_, {});
  part.digest = hash_.finish();
  part.keys = std::exchange(keys_, 0);
  part.command_count = std::exchange(command_count_, 0);
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
