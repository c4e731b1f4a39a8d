#pragma once
// The entropy channel with its I/O: Pusher sends parts to a peer, ChannelServer takes them and
// hands them to a sink. Protocol: docs/protocol/entropy.md.
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "entropy/receiver.h"
#include "entropy/sender.h"
#include "flow/stream.h"
#include "sealane/base/network.h"
#include "sealane/warm/sink.h"
#include "sealane/warm/source.h"
#include "warm/channel_keys.h"

namespace sealane::warm {

inline constexpr std::uint16_t kEntropyPort = 8105;
// "HOST:PORT", "[…]:PORT", "HOST" with a number for it (then kEntropyPort) or "unix:PATH", as an
// address; nothing if it is none of these.
std::optional<Address> channel_address(std::string_view text);

// ---- sending ------------------------------------------------------------------------------------

struct PushOptions {
  Address to;                   // of a name's addresses the first that answers, at each connection
  std::optional<Address> from;  // tcp:HOST:0
  bool encrypt = true;
  // The peer is a foreign engine: nothing is signed, no answer is waited for, and what became of a
  // part stays unknown.
  bool foreign = false;
  std::uint32_t header_size = entropy::kMaxHeaderSize;
  // Of a chunk. Missing: entropy::kDefaultBuffer, or kPlainBuffer where nothing is encrypted.
  std::optional<std::uint32_t> buffer_size;
  std::string name;  // of this side, at most 64 bytes
  std::chrono::nanoseconds connect_timeout = std::chrono::seconds(5);
  std::chrono::nanoseconds idle_timeout = std::chrono::seconds(30);
  std::chrono::nanoseconds total_timeout = std::chrono::hours(1);
  std::uint64_t bytes_per_second = 0;  // 0: no limit
  // A sentence that a person should see. Called by push(), by one thread at a time.
  std::function<void(const std::string&)> on_warning = [](const std::string&) {};
};

enum class PushVerdict : std::uint8_t {
  kApplied = 1,  // all of it, for certain
  kPartly,       // some commands failed there
  kRefused,      // nothing was applied
  kBusy,         // nothing was applied; later
  kSinkFailed,   // how much was applied is not known; it may be sent again
  kUnknown,      // taken without a word: applied, or not, or lost
};

struct PushReport {
  PushVerdict verdict = PushVerdict::kUnknown;
  entropy::Refusal refusal = entropy::Refusal::kNotSaid;  // of kRefused
  std::uint32_t applied = 0;                              // commands, as the peer counted
  std::uint32_t skipped = 0;
  std::uint32_t failed = 0;
  entropy::FailureCause cause = entropy::FailureCause::kNotSaid;  // of kPartly, kSinkFailed
};

// Of all parts of one snapshot.
struct Series {
  entropy::SnapshotId snapshot{};  // random
  std::optional<std::uint32_t> part_count;
  std::optional<StoreId> store;  // that its parts are read from
};

// Thread-safe: several parts may be under way at once, each on a connection of its own.
class Pusher {
 public:
  // kUsage: options or keys that do not fit together.
  static Result<std::unique_ptr<Pusher>, Error> create(PushOptions options, ChannelKeys keys,
                                                       Clock& clock);
  ~Pusher();  // no push() may be under way

  // Sends one part and waits for what becomes of it. An error: it was not taken for certain, or the
  // answer came from somebody without the secret; sending it again is safe. `cancel` may be null.
  // A peer that refuses a part as stale says its time. From then on parts carry that time, so the
  // next try is good, however wrong this host's clock is.
  Result<PushReport, Error> push(const Part& part, const Series& series,
                                 const flow::Cancellation* cancel);
  void set_rate(std::uint64_t bytes_per_second);  // of all parts together; 0: no limit
  std::uint64_t bytes_sent() const;               // plaintext that left, of parts under way too

 private:
  struct Impl;
  explicit Pusher(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// ---- receiving ----------------------------------------------------------------------------------

// What became of one connection.
struct Intake {
  Address peer;
  bool authenticated = false;
  PartInfo part;  // as far as it was told
  std::optional<entropy::Reason> refused;
  std::string why;                    // a sentence, of a refusal
  std::optional<ApplyResult> result;  // of what was applied
};

struct ServeOptions {
  Address listen;
  // Of all peers but those below. Where there are no secrets, require_authenticated refuses all.
  entropy::ReceiverPolicy policy;
  // Hosts (numbers) that are foreign engines, and what those may do.
  std::vector<std::string> foreign_hosts;
  bool foreign_unix = false;  // the same for who comes over the UNIX socket
  ChannelKeyFiles key_files;  // read anew for each connection, so they can be changed
  std::string spool_folder = "/tmp";
  std::uint64_t max_spool = std::uint64_t{8} << 30;  // bytes of all snapshots that wait;
  std::size_t spool_memory = std::size_t{64} << 20;  // so many in memory, the rest on disk
  std::size_t max_connections = 16;
  std::size_t max_per_source = 4;      // one push uses up to three
  std::size_t apply_threads = 2;       // parts that the sink works on at once
  std::uint64_t bytes_per_second = 0;  // of all connections together; 0: no limit
  // Called on a thread of the server's, once a connection, one at a time. Not for long.
  std::function<void(const Intake&)> on_intake = [](const Intake&) {};
  // A sentence that a person should see; the same.
  std::function<void(const std::string&)> on_warning = [](const std::string&) {};
};

// Takes snapshots until it is destroyed, many at once; a silent peer delays nobody. What is whole
// and verified goes to the sink, on threads of its own.
class ChannelServer {
 public:
  // All must outlive it. kUsage: options that do not fit together; key files that cannot be used.
  static Result<std::unique_ptr<ChannelServer>, Error> listen(ServeOptions options, Sink& sink,
                                                              FileSystem& files,
                                                              RandomSource& random, Clock& clock);
  // Ends all connections, interrupts the sink, and waits for it.
  ~ChannelServer();
  Address local() const;

 private:
  struct Impl;
  explicit ChannelServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace sealane::warm
