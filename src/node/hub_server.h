#pragma once
// HubServer: a Backbone hub on this machine: connections, their logins, and the mailbox behind
// them. Format and rules: docs/protocol/hub.md; running one: docs/hub.md.
//
// Threads: one loop for all connections and the mailbox; workers for RSA, in the order of each
// connection; one more worker for the queue's disk and the audit log. No call waits for a client.
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "node/hub_settings.h"
#include "node/hub_state.h"
#include "sealane/base/network.h"
#include "sealane/base/seams.h"

namespace sealane::node {

struct HubReport {
  Address listening;
  std::string fingerprint;
  WallTime started;
  mailbox::Totals totals;
  mailbox::Counters counters;
  std::uint64_t connections = 0;  // open, proven or not
  std::uint64_t accepted = 0;     // connections since the start
  std::uint64_t logins = 0;
  std::uint64_t failed_logins = 0;  // wrong id or key, or too late
  std::uint64_t pushed_out = 0;     // silent ones, for newer connections
  std::uint64_t bad_frames = 0;
  struct Discarded {  // frames that nobody answers
    std::uint64_t undecodable = 0;
    std::uint64_t out_of_scope = 0;
    std::uint64_t clear = 0;  // which anybody could have forged
  } discarded;
};
struct HubClientReport {
  HubClientRecord record;
  mailbox::ClientStatus status;
  bool upgraded = false;
};

// Thread-safe, but for its destruction.
class HubServer {
 public:
  struct Seams {
    FileSystem& files;
    Clock& clock;
    RandomSource& random;
  };
  // What went wrong while it runs, for the person who runs it. On any of its threads.
  using Warn = std::function<void(const std::string&)>;

  // Takes the lock of `state`, reads its clients and queue, and listens. The seams must outlive it.
  static Result<std::unique_ptr<HubServer>, Error> start(const Seams& seams, HubState state,
                                                         HubSettings settings, Warn warn);
  virtual ~HubServer() = default;  // as stop()
  virtual Address local() const = 0;
  // Says STOP to everybody, and ends once they are gone, or after `patience`.
  virtual void stop(std::chrono::nanoseconds patience = std::chrono::seconds(3)) = 0;

  virtual HubReport report() = 0;
  virtual std::vector<HubClientReport> clients() = 0;
  // At once, and on the disk when it returns.
  virtual Result<void, Error> add_client(HubClientRecord record) = 0;
  virtual Result<void, Error> remove_client(const hub::ClientId& id) = 0;
  // Rates, limits, groups, and what CONFIG says, of connections that are open too. What needs a
  // restart is named in the error (listen, queue, max_connections): nothing was changed then.
  virtual Result<void, Error> configure(HubSettings settings) = 0;
};

}  // namespace sealane::node
