#pragma once
// MailboxStore: what a mailbox keeps on the disk. Format: docs/protocol/mailbox.md.
#include <memory>
#include <string>

#include "mailbox/mailbox.h"
#include "sealane/base/result.h"
#include "sealane/base/seams.h"

namespace sealane::store {

// Not thread-safe: one thread at a time. Nobody else may open the same file.
class MailboxStore {
 public:
  static constexpr std::string_view kFileName = "queue.db";
  static constexpr std::size_t kMaxDataSize = 64 << 20;  // of one message that is read back

  // Opens or makes `path`, and counts one more start of it, synced. kVerificationFailed: the file
  // is none of ours, or damaged. `files` must outlive it.
  static Result<std::unique_ptr<MailboxStore>, Error> open(FileSystem& files,
                                                           const std::string& path);
  virtual ~MailboxStore() = default;
  // Above every id of earlier starts.
  virtual mailbox::MessageId first_id() const = 0;
  virtual Result<mailbox::StoredState, Error> load() = 0;
  // All of it is on the disk when it returns, or none of it.
  virtual Result<void, Error> commit(const mailbox::StoreBatch& batch) = 0;
};

}  // namespace sealane::store
