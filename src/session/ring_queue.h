#pragma once
// RingQueue: a queue that keeps its memory, so that a steady flow allocates nothing.
#include <cstddef>
#include <utility>
#include <vector>

#include "base/check.h"

namespace sealane::session {

// Grows by doubling; the caller bounds what it puts in. T is movable and default-constructible.
template <class T>
class RingQueue {
 public:
  bool empty() const { return count_ == 0; }
  std::size_t size() const { return count_; }
  T& front() {
    SEALANE_CHECK(count_ > 0);
    return slots_[first_];
  }
  const T& front() const {
    SEALANE_CHECK(count_ > 0);
    return slots_[first_];
  }
  // REQUIRES: i < size(). 0 is the front.
  T& operator[](std::size_t i) { return slots_[(first_ + i) % slots_.size()]; }
  const T& operator[](std::size_t i) const { return slots_[(first_ + i) % slots_.size()]; }
  void push_back(T value) {
    grow_if_full();
    slots_[(first_ + count_) % slots_.size()] = std::move(value);
    ++count_;
  }
  void push_front(T value) {
    grow_if_full();
    first_ = (first_ + slots_.size() - 1) % slots_.size();
    slots_[first_] = std::move(value);
    ++count_;
  }
  // Gives back what a crowd took that is gone.
  void release_if_empty() {
    if (count_ != 0) return;
    slots_ = std::vector<T>();
    first_ = 0;
  }
  T pop_front() {
    SEALANE_CHECK(count_ > 0);
    T value = std::move(slots_[first_]);
    first_ = (first_ + 1) % slots_.size();
    --count_;
    return value;
  }

 private:
  void grow_if_full() {
    if (count_ < slots_.size()) return;
    std::vector<T> larger(slots_.empty() ? 4 : 2 * slots_.size());
    for (std::size_t i = 0; i < count_; ++i) larger[i] = std::move((*this)[i]);
    slots_ = std::move(larger);
    first_ = 0;
  }
  std::vector<T> slots_;
  std::size_t first_ = 0;
  std::size_t count_ = 0;
};

}  // namespace sealane::session
