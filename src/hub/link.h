#pragma once
// Link: what both sides of a connection share. Frames out in the order in which they were put,
// although some wait for a job; jobs and their outcomes in order; what has left.
#include <deque>
#include <initializer_list>
#include <memory>
#include <optional>

#include "hub/extension.h"
#include "hub/frame.h"
#include "hub/jobs.h"
#include "hub/upgrade.h"
#include "sealane/base/bytes.h"

namespace sealane::hub {

// What a job was for.
enum class JobPurpose : std::uint8_t { kOutput = 1, kOpen, kSign, kVerify };

// Not thread-safe: part of one connection.
class Link {
 public:
  struct Done {
    JobPurpose purpose = JobPurpose::kOpen;
    JobOutcome outcome = crypto::RsaError::kRefused;
  };

  // Paced: each frame is output of its own.
  explicit Link(bool paced) : pace_(paced) {}

  // ---- jobs ----
  void open(std::shared_ptr<const crypto::RsaPrivateKey> key, Bytes cipher);
  void sign(std::shared_ptr<const crypto::RsaPrivateKey> key, Bytes message);
  void verify(VerifyJob job);
  std::optional<Job> next_job();
  // Nothing: it was one of output. REQUIRES: the number is the next one.
  std::optional<Done> job_done(JobResult result);
  std::size_t jobs() const { return under_way_.size(); }
  std::size_t opening() const { return opening_; }  // of those, how many open input

  // ---- output ----
  void put_clear(ByteSpan payload);
  // One message, in pieces: sealed once seal() was called, else encrypted to the peer's key. `mark`
  // comes out of next_left() once it has left. REQUIRES: it fits.
  void put(std::initializer_list<ByteSpan> pieces, std::optional<DeliveryId> mark = std::nullopt);
  void set_peer_key(std::shared_ptr<const crypto::RsaPublicKey> key) { peer_key_ = std::move(key); }
  const std::shared_ptr<const crypto::RsaPublicKey>& peer_key() const { return peer_key_; }
  void seal(SealedFrames frames) { sealer_.emplace(std::move(frames)); }
  bool sealed() const { return sealer_.has_value(); }
  void stop_pacing() { pace_ = false; }
  bool paced() const { return !frames_.empty(); }
  ByteSpan next_output() const;
  void output_sent(std::size_t size);
  std::optional<DeliveryId> next_left();
  std::size_t output_size() const { return ready_size_ + pending_size_; }
  bool output_pending() const { return !pending_.empty(); }  // jobs of output are under way
  void drop_output();
  std::uint64_t frames_out() const { return frames_out_; }

 private:
  // A frame that waits for its job, or for one before it.
  struct Pending {
    bool ready = false;
    std::size_t size = 0;  // of the frame
    Bytes frame;
    std::optional<DeliveryId> mark;
  };
  struct Mark {
    std::uint64_t end = 0;  // of its frame, in all output
    DeliveryId id{};
  };
  static constexpr std::size_t kIdleCapacity = 4096;      // kept of a drained buffer
  static constexpr std::size_t kMaxSentKept = 64 * 1024;  // before what has left is cut off

  template <class Work>
  void start(Work work, JobPurpose purpose);
  void flush();
  void append(Pending frame);

  std::deque<JobPurpose> under_way_;
  std::deque<Job> new_jobs_;
  std::uint64_t next_number_ = 0;
  std::uint64_t next_done_ = 0;
  std::size_t opening_ = 0;

  std::shared_ptr<const crypto::RsaPublicKey> peer_key_;
  std::optional<SealedFrames> sealer_;
  bool pace_;
  std::deque<Pending> pending_;
  std::size_t pending_size_ = 0;
  std::deque<Bytes> frames_;  // paced: one by one, all of them before buffer_
  Bytes buffer_;
  std::size_t sent_of_front_ = 0;  // of frames_.front(), or of buffer_
  std::size_t ready_size_ = 0;
  std::uint64_t total_ready_ = 0;
  std::uint64_t total_sent_ = 0;
  std::uint64_t frames_out_ = 0;
  std::deque<Mark> marks_;
};

}  // namespace sealane::hub
