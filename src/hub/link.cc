#include "hub/link.h"

#include "base/check.h"

namespace sealane::hub {

template <class Work>
void Link::start(Work work, JobPurpose purpose) {
  new_jobs_.push_back(Job{.number = JobNumber{next_number_++}, .work = std::move(work)});
  under_way_.push_back(purpose);
}

void Link::open(std::shared_ptr<const crypto::RsaPrivateKey> key, Bytes cipher) {
  ++opening_;
  start(DecryptJob{.key = std::move(key), .cipher = std::move(cipher)}, JobPurpose::kOpen);
}
void Link::sign(std::shared_ptr<const crypto::RsaPrivateKey> key, Bytes message) {
  start(SignJob{.key = std::move(key), .message = std::move(message)}, JobPurpose::kSign);
}
void Link::verify(VerifyJob job) { start(std::move(job), JobPurpose::kVerify); }

std::optional<Job> Link::next_job() {
  if (new_jobs_.empty()) return std::nullopt;
  Job job = std::move(new_jobs_.front());
  new_jobs_.pop_front();
  return job;
}

std::optional<Link::Done> Link::job_done(JobResult result) {
  SEALANE_CHECK(!under_way_.empty() && result.number == JobNumber{next_done_});
  ++next_done_;
  const JobPurpose purpose = under_way_.front();
  under_way_.pop_front();
  if (purpose == JobPurpose::kOpen) --opening_;
  if (purpose != JobPurpose::kOutput) return Done{purpose, std::move(result.outcome)};
  // Output may have been dropped meanwhile.
  const auto waiting = std::ranges::find(pending_, false, &Pending::ready);
  if (waiting == pending_.end()) return std::nullopt;
  SEALANE_CHECK(result.outcome.has_value());  // encrypting cannot fail
  waiting->frame = encode_frame(result.outcome.value());
  waiting->ready = true;
  flush();
  return std::nullopt;
}

void Link::put_clear(ByteSpan payload) {
  Bytes frame = encode_frame(payload);
  const std::size_t size = frame.size();
  append({.ready = true, .size = size, .frame = std::move(frame), .mark = std::nullopt});
}

void Link::put(std::initializer_list<ByteSpan> pieces, std::optional<DeliveryId> mark) {
  if (!sealer_) {
    Bytes plain;
    for (const ByteSpan piece : pieces) plain.insert(plain.end(), piece.begin(), piece.end());
    SEALANE_CHECK(peer_key_ && plain.size() <= max_plain_size(peer_key_->size()));
    const std::size_t size = kFrameHeaderSize + encrypted_size(plain.size(), peer_key_->size());
    append({.ready = false, .size = size, .frame = {}, .mark = mark});
    start(EncryptJob{.key = peer_key_, .plain = std::move(plain)}, JobPurpose::kOutput);
    return;
  }
  if (!pending_.empty() || pace_) {
    Bytes frame;
    sealer_->seal(pieces, frame);
    const std::size_t size = frame.size();
    append({.ready = true, .size = size, .frame = std::move(frame), .mark = mark});
    return;
  }
  const std::size_t before = buffer_.size();
  sealer_->seal(pieces, buffer_);
  ready_size_ += buffer_.size() - before;
  total_ready_ += buffer_.size() - before;
  ++frames_out_;
  if (mark) marks_.push_back({.end = total_ready_, .id = *mark});
}

void Link::append(Pending frame) {
  pending_size_ += frame.size;
  pending_.push_back(std::move(frame));
  flush();
}

void Link::flush() {
  while (!pending_.empty() && pending_.front().ready) {
    Pending& front = pending_.front();
    pending_size_ -= front.size;
    ready_size_ += front.frame.size();
    total_ready_ += front.frame.size();
    ++frames_out_;
    if (front.mark) marks_.push_back({.end = total_ready_, .id = *front.mark});
    if (pace_) {
      frames_.push_back(std::move(front.frame));
    } else {
      buffer_.insert(buffer_.end(), front.frame.begin(), front.frame.end());
    }
    pending_.pop_front();
  }
}

ByteSpan Link::next_output() const {
  return ByteSpan(frames_.empty() ? buffer_ : frames_.front()).subspan(sent_of_front_);
}

void Link::output_sent(std::size_t size) {
  SEALANE_CHECK(size <= next_output().size());
  sent_of_front_ += size;
  ready_size_ -= size;
  total_sent_ += size;
  if (!next_output().empty()) {
    if (frames_.empty() && sent_of_front_ >= kMaxSentKept) {
      buffer_.erase(buffer_.begin(), buffer_.begin() + static_cast<std::ptrdiff_t>(sent_of_front_));
      sent_of_front_ = 0;
    }
    return;
  }
  sent_of_front_ = 0;
  if (!frames_.empty()) {
    frames_.pop_front();
  } else if (buffer_.capacity() > kIdleCapacity) {
    buffer_ = Bytes();
  } else {
    buffer_.clear();
  }
}

std::optional<DeliveryId> Link::next_left() {
  if (marks_.empty() || marks_.front().end > total_sent_) return std::nullopt;
  const DeliveryId id = marks_.front().id;
  marks_.pop_front();
  return id;
}

void Link::drop_output() {
  pending_.clear();
  pending_size_ = 0;
  frames_.clear();
  buffer_ = Bytes();
  sent_of_front_ = 0;
  ready_size_ = 0;
  marks_.clear();
}

}  // namespace sealane::hub
