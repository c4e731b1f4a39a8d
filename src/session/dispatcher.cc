#include "session/dispatcher.h"

#include <algorithm>

#include "base/check.h"

namespace sealane::session {

void Dispatcher::set_handler(MessageType type, Handler handler) {
  SEALANE_CHECK(type == MessageType::kReadWrite || channel_of(type));
  SEALANE_CHECK(handler.on_message != nullptr);
  last_ = nullptr;
  handlers_[type] = std::move(handler);
}

void Dispatcher::remove_handler(MessageType type) {
  last_ = nullptr;
  handlers_.erase(type);
}

void Dispatcher::drain(Session& session) {
  for (;;) {
    // The byte pipe waits for its reader, and so does what comes after; the session itself does
    // not.
    if (readable_ >= read_limit_) return;
    if (const auto message = session.next_message()) {
      deliver(*message);
      continue;
    }
    const auto event = session.next_event();
    if (!event) return;
    if (const auto* message = std::get_if<Received>(&*event)) {
      deliver(*message);
    } else if (const auto* found = std::get_if<Problem>(&*event);
               found != nullptr && found->type != MessageType::kUndefined) {
      problem(found->type, {ErrorKind::kFailed, std::string(describe(found->kind))});
    } else if (handler_.on_event) {
      handler_.on_event(*event);
    }
  }
}

void Dispatcher::deliver(const Received& message) {
  if (last_ == nullptr || last_type_ != message.type) {
    const auto found = handlers_.find(message.type);
    last_ = found == handlers_.end() ? nullptr : &found->second;
    last_type_ = message.type;
  }
  if (last_ != nullptr) {
    const auto result = last_->on_message(message.payload);
    if (!result.has_value()) problem(message.type, result.error());
  } else if (message.type == MessageType::kReadWrite) {
    readable_ += message.payload.size();
    messages_.push_back(to_bytes(message.payload));
  } else {
    ++dropped_;
  }
}

void Dispatcher::problem(MessageType type, const Error& error) {
  const auto found = handlers_.find(type);
  if (found != handlers_.end() && found->second.on_error) {
    found->second.on_error(error);
  } else if (handler_.on_error) {
    handler_.on_error(type, error);
  }
}

std::optional<Bytes> Dispatcher::read_message() {
  if (messages_.empty()) return std::nullopt;
  Bytes message = messages_.pop_front();
  message.erase(message.begin(), message.begin() + static_cast<std::ptrdiff_t>(taken_of_first_));
  taken_of_first_ = 0;
  readable_ -= message.size();
  return message;
}

std::size_t Dispatcher::read(MutableByteSpan out) {
  std::size_t done = 0;
  while (!messages_.empty() && done < out.size()) {
    const ByteSpan rest = ByteSpan(messages_.front()).subspan(taken_of_first_);
    const std::size_t count = std::min(rest.size(), out.size() - done);
    std::ranges::copy(rest.first(count), out.begin() + static_cast<std::ptrdiff_t>(done));
    done += count;
    taken_of_first_ += count;
    if (taken_of_first_ < messages_.front().size()) break;
    messages_.pop_front();
    taken_of_first_ = 0;
  }
  readable_ -= done;
  return done;
}

}  // namespace sealane::session
