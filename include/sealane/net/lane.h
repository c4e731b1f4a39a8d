#pragma once
// Lane: an encrypted session with one peer over a connection of this machine: UNIX SEQPACKET, UNIX
// and TCP streams, UDP, pipes. Format: docs/protocol/session.md.
//
//   LaneHost host(system_clock(), system_random());
//   auto lane = host.dial({"tcp:192.0.2.7:4200"}, options, deadline);
//   lane.value()->write(bytes, deadline);          // the byte pipe
//   lane.value()->send(Channel{7}, bytes);         // a message, merged with others
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

#include "sealane/base/bytes.h"
#include "sealane/base/clock.h"
#include "sealane/base/error.h"
#include "sealane/base/network.h"
#include "sealane/base/random.h"
#include "sealane/base/result.h"
#include "sealane/base/secret.h"
#include "sealane/identity/keys.h"

namespace sealane::net {

enum class Channel : std::uint32_t {};
inline constexpr Channel kMaxChannel{0xffffffeb};

// The packet that a message went into. They leave in this order.
enum class LaneTicket : std::uint64_t {};

enum class PeerCode : std::uint8_t {
  kAny = 1,  // whatever it announces
  kSealane,  // pinned: identities are bound to the keys, or there is no session
  kLegacy,   // the Go library: nothing is announced, no extension used
};

// Both sides must agree on psk, payload_size_limit and negotiate. Sizes are of bytes.
struct LaneOptions {
  using Duration = std::chrono::nanoseconds;
  std::shared_ptr<const identity::SigningKey> identity;  // ours; required
  std::optional<crypto::Ed25519Public> peer;             // the only one that is talked to
  bool trust_on_first_use = false;                       // required where `peer` is not set
  PeerCode peer_code = PeerCode::kAny;
  std::shared_ptr<const SecretBytes> psk;  // of high entropy; an empty one is a PSK too
  std::size_t payload_size_limit = 0;      // 0: 65216, or 1392 over UDP
  std::optional<bool> negotiate;           // the packet size; unset: over UDP
  bool fragment = false;                   // cut messages that are larger than a packet
  std::size_t max_message_size = 65536;    // of those
  bool accept_plain_fragments = false;     // of a legacy peer; anybody can forge them
  std::int64_t replay_window = 0;          // packets; 0: 256, 1: ids must grow, below 0: none
  Duration send_delay = std::chrono::microseconds(50);  // 0: each send() leaves at once
  Duration key_update_interval = std::chrono::seconds(60);
  Duration retry_interval = std::chrono::seconds(1);
  Duration key_exchange_timeout = std::chrono::seconds(60);
  Duration close_timeout = std::chrono::seconds(5);
  std::size_t send_queue_limit = 512 * 1024;      // then send() waits
  std::size_t receive_queue_limit = 1024 * 1024;  // then reading stops, or over UDP drops
};

enum class LaneState : std::uint8_t { kConnecting = 1, kEstablished, kClosing, kClosed };

struct LaneStatistics {
  std::uint64_t packets_sent = 0;
  std::uint64_t packets_received = 0;  // authentic ones
  std::uint64_t bytes_sent = 0;        // of packets
  std::uint64_t bytes_received = 0;
  std::uint64_t messages_sent = 0;
  std::uint64_t messages_received = 0;
  std::uint64_t payload_bytes_sent = 0;
  std::uint64_t payload_bytes_received = 0;
  std::uint64_t packets_dropped = 0;  // for any reason
  std::uint64_t packets_replayed = 0;
  std::uint64_t packets_undecryptable = 0;
  std::uint64_t key_renewals = 0;  // ours
  std::uint64_t peer_restarts = 0;
  std::optional<std::chrono::nanoseconds> round_trip;
  std::optional<std::chrono::nanoseconds> key_age;
};

inline constexpr SteadyTime kNoDeadline = SteadyTime::max();

// Thread-safe, but for its destruction. Waiting calls end with their deadline (kFailed) and when
// the lane closes. Handlers run on the host's thread, one at a time; inside one, calls of its own
// lane never wait: where they would have to, send() and write() fail with kFailed.
class Lane {
 public:
  // Given a message; the bytes are valid during the call.
  using Handler = std::function<void(ByteSpan)>;

  ~Lane();  // as abort(); waits until no handler runs. Not inside a handler.
  Lane(const Lane&) = delete;
  Lane& operator=(const Lane&) = delete;

  LaneState state() const;
  // Until the peer has proven itself. The error says why it did not.
  Result<void, Error> wait_established(SteadyTime deadline = kNoDeadline);

  // ---- messages ----
  // Appends it to the packet that is being filled, which leaves when it is full or after
  // send_delay. Waits while the queue is full. Before the lane is established messages are queued.
  Result<LaneTicket, Error> send(Channel channel, ByteSpan message,
                                 SteadyTime deadline = kNoDeadline);
  // Without waiting: nothing where send() would wait.
  Result<std::optional<LaneTicket>, Error> try_send(Channel channel, ByteSpan message);
  // That packet, and all before it, have been given to the kernel or are lost with the lane.
  bool is_sent(LaneTicket ticket) const;
  Result<void, Error> wait_sent(LaneTicket ticket, SteadyTime deadline = kNoDeadline);
  void flush();  // what is being filled leaves now
  // Set before messages of that channel are expected: those without a handler are dropped. An empty
  // function removes it.
  void set_handler(Channel channel, Handler handler);

  // ---- the byte pipe ----
  // Sent at once, in this thread where that is possible. Any size.
  Result<void, Error> write(ByteSpan bytes, SteadyTime deadline = kNoDeadline);
  // Merged like send(); in messages of at most one packet.
  Result<LaneTicket, Error> write_later(ByteSpan bytes, SteadyTime deadline = kNoDeadline);
  // 1 .. out.size() bytes as they come, or 0: the lane is closed and all has been read.
  Result<std::size_t, Error> read(MutableByteSpan out, SteadyTime deadline = kNoDeadline);
  // Takes the pipe's messages away from read(). Set before any is expected.
  void set_pipe_handler(Handler handler);

  // ---- life ----
  void close();  // flushes, tells a Sealane peer, ends; see wait_closed()
  void abort();  // at once
  Result<void, Error> wait_closed(SteadyTime deadline = kNoDeadline);
  // Once it is closed: why. Empty while it is not, and where close() was asked for.
  std::string close_reason() const;

  // ---- information ----
  LaneStatistics statistics() const;
  std::optional<crypto::Ed25519Public> peer_identity() const;
  bool peer_is_sealane() const;
  std::size_t payload_size() const;  // what fits in one packet now
  Address peer_address() const;
  // Key bytes that both ends and nobody else can compute, bound to both identities. Only between
  // Sealane ends, once established. REQUIRES: out.size() <= 8160.
  Result<void, Error> export_key(std::string_view label, ByteSpan context,
                                 MutableByteSpan out) const;

  struct Impl;
  explicit Lane(std::shared_ptr<Impl> impl);  // by LaneHost

 private:
  std::shared_ptr<Impl> impl_;
};

// Thread-safe, but for its destruction.
class LaneListener {
 public:
  static constexpr std::size_t kMaxConnecting = 256;  // peers that have not proven themselves
  static constexpr std::size_t kMaxWaiting = 64;      // established, not accepted yet

  virtual ~LaneListener() = default;  // lanes that were accepted live on, those over UDP too
  // The next lane that is established.
  virtual Result<std::unique_ptr<Lane>, Error> accept(SteadyTime deadline = kNoDeadline) = 0;
  virtual Address local() const = 0;
};

// One thread for any number of lanes, which must not outlive it.
class LaneHost {
 public:
  LaneHost(Clock& clock, RandomSource& random);  // must outlive it
  ~LaneHost();
  LaneHost(const LaneHost&) = delete;
  LaneHost& operator=(const LaneHost&) = delete;

  // Addresses: tcp:HOST:PORT, udp:HOST:PORT, unix:PATH, seqpacket:PATH; HOST is a numeric address.
  // Waits for the connection, not for the session: see Lane::wait_established().
  Result<std::unique_ptr<Lane>, Error> dial(const Address& to, const LaneOptions& options,
                                            SteadyTime deadline = kNoDeadline);
  Result<std::unique_ptr<LaneListener>, Error> listen(const Address& at,
                                                      const LaneOptions& options);
  // Over what is connected already: pipes, standard input and output (two descriptors), or one for
  // both directions (equal numbers). Takes copies of them; the caller's stay open. With pipes the
  // process must ignore SIGPIPE.
  Result<std::unique_ptr<Lane>, Error> adopt(int read_descriptor, int write_descriptor,
                                             const LaneOptions& options);

  struct Impl;

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace sealane::net
