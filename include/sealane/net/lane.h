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
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "sealane/base/bytes.h"
#include "sealane/base/network.h"
#include "sealane/base/result.h"
#include "sealane/base/seams.h"
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

// How a request for a key exchange is answered.
enum class KeyAnswers : std::uint8_t {
  kWaitFor = 1,  // the library's default
  kSend,         // sent, and not waited for
  kNone,
};

class Lane;

// Both sides must agree on psk, key_answers, payload_size_limit and negotiate. Sizes are of bytes.
struct LaneOptions {
  using Duration = std::chrono::nanoseconds;
  std::shared_ptr<const identity::SigningKey> identity;  // ours; required
  std::optional<crypto::Ed25519Public> peer;             // the only one that is talked to
  bool trust_on_first_use = false;                       // required where `peer` is not set
  PeerCode peer_code = PeerCode::kAny;
  std::shared_ptr<const SecretBytes> psk;  // of high entropy; an empty one is a PSK too
  KeyAnswers key_answers = KeyAnswers::kWaitFor;
  std::size_t payload_size_limit = 0;    // 0: 65216, or 1392 over UDP
  std::optional<bool> negotiate;         // the packet size; unset: over UDP
  bool fragment = false;                 // cut messages that are larger than a packet
  std::size_t max_message_size = 65536;  // of those
  bool accept_plain_fragments = false;   // of a legacy peer; anybody can forge them
  std::int64_t replay_window = 0;        // packets; 0: 256, 1: ids must grow, below 0: none
  Duration send_delay = std::chrono::microseconds(50);  // 0: each send() leaves at once
  Duration key_update_interval = std::chrono::seconds(60);
  std::uint64_t key_update_bytes = std::uint64_t{64} << 30;  // sent under one key
  Duration retry_interval = std::chrono::seconds(1);
  Duration key_exchange_timeout = std::chrono::seconds(60);
  Duration close_timeout = std::chrono::seconds(5);
  // Between Sealane ends: how often the peer is asked whether it is there; unset: never. One that
  // does not say so is taken for restarted or gone.
  std::optional<Duration> keepalive = std::chrono::seconds(5);
  std::size_t send_queue_limit = 512 * 1024;      // then send() waits
  std::size_t receive_queue_limit = 1024 * 1024;  // then reading stops, or over UDP drops

  // Called with each lane, also with those of a listener, before anything of it is delivered: the
  // place for its handlers. By a listener on the host's thread.
  std::function<void(Lane&)> prepare;
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
  std::uint64_t black_holes = 0;  // how often large packets vanished while small ones arrived
  std::optional<std::chrono::nanoseconds> round_trip;
  std::optional<std::chrono::nanoseconds> key_age;
  // What was dropped and why: names as in docs/protocol/session.md, only those above 0.
  std::vector<std::pair<std::string_view, std::uint64_t>> drops;
};

enum class LaneEventKind : std::uint8_t {
  kEstablished = 1,  // again after each kPeerRestarted, and when a smaller packet size was found
  kPeerPinned,       // on first use: Lane::peer_identity()
  kPeerRestarted,    // the peer lives again under other keys; what it had not read is lost
  kProblem,          // something is wrong; the lane lives on. Each kind at most once a second
  kHandlerFailed,    // what a channel's handler returned
  kClosed,           // the last one; no text where close() or abort() was asked for
};
struct LaneEvent {
  LaneEventKind kind = LaneEventKind::kProblem;
  std::optional<Channel> channel;  // that it concerns, if one
  std::string text;                // a sentence; may be empty
};

inline constexpr SteadyTime kNoDeadline = SteadyTime::max();

// Thread-safe, but for its destruction. Waiting calls end with their deadline (kFailed) and when
// the lane closes. Handlers run on the host's thread, one at a time; inside one, calls of its own
// lane never wait: where they would have to, send() and write() fail with kFailed. So do those of
// any other lane; and what is not a message to send should be asked of lanes of the same host only,
// since the other host's thread may be asking the same of this one.
class Lane {
 public:
  // Given a message; the bytes are valid during the call.
  using Handler = std::function<void(ByteSpan)>;
  // The same with errors. What `on_message` returns, and each problem that concerns the channel,
  // goes to `on_error`; where that is empty, to the event handler.
  struct ChannelHandler {
    std::function<Result<void, Error>(ByteSpan)> on_message;
    std::function<void(const Error&)> on_error;
  };
  using EventHandler = std::function<void(const LaneEvent&)>;
  // How something ended that was waited for without a thread.
  using Done = std::function<void(Result<void, Error>)>;

  ~Lane();  // as abort(); waits until no handler runs. Not inside a handler.
  Lane(const Lane&) = delete;
  Lane& operator=(const Lane&) = delete;

  LaneState state() const;
  // Until the peer has proven itself. The error says why it did not.
  Result<void, Error> wait_established(SteadyTime deadline = kNoDeadline);

  // ---- messages ----
  // Appends it to the packet that is being filled, which leaves when it is full (small packets:
  // when there are enough for one call of the kernel) or after send_delay. Waits while the queue is
  // full. Before the lane is established messages are queued.
  Result<LaneTicket, Error> send(Channel channel, ByteSpan message,
                                 SteadyTime deadline = kNoDeadline);
  // Without waiting: nothing where send() would wait.
  Result<std::optional<LaneTicket>, Error> try_send(Channel channel, ByteSpan message);
  // That packet, and all before it, have been given to the kernel or are lost with the lane.
  bool is_sent(LaneTicket ticket) const;
  Result<void, Error> wait_sent(LaneTicket ticket, SteadyTime deadline = kNoDeadline);
  void flush();  // what is being filled leaves now
  // Set before messages of that channel are expected (LaneOptions::prepare): those without a
  // handler are dropped. An empty function removes it.
  void set_handler(Channel channel, Handler handler);
  void set_channel_handler(Channel channel, ChannelHandler handler);
  void set_event_handler(EventHandler handler);

  // ---- the byte pipe ----
  // Sent at once, in this thread where that is possible. Any size.
  Result<void, Error> write(ByteSpan bytes, SteadyTime deadline = kNoDeadline);
  // Merged like send(); in messages of at most one packet.
  Result<LaneTicket, Error> write_later(ByteSpan bytes, SteadyTime deadline = kNoDeadline);
  // At most payload_size() bytes, merged, without waiting: nothing where it would have to.
  Result<std::optional<LaneTicket>, Error> try_write(ByteSpan bytes);
  // 1 .. out.size() bytes as they come, or 0: the lane is closed and all has been read.
  Result<std::size_t, Error> read(MutableByteSpan out, SteadyTime deadline = kNoDeadline);
  // Takes the pipe's messages away from read(). Set before any is expected.
  void set_pipe_handler(Handler handler);

  // ---- waiting without a thread ----
  // `done` is called once, on the host's thread and never inside this call: when it is so, with an
  // error when the deadline is over, the lane closes or it is destroyed. At most kMaxWaits at once.
  static constexpr std::size_t kMaxWaits = 1024;
  void when_established(Done done, SteadyTime deadline = kNoDeadline);
  void when_sent(LaneTicket ticket, Done done, SteadyTime deadline = kNoDeadline);
  void when_writable(Done done, SteadyTime deadline = kNoDeadline);  // try_send() is worth a try
  void when_readable(Done done, SteadyTime deadline = kNoDeadline);  // read() will not wait
  void when_closed(Done done, SteadyTime deadline = kNoDeadline);

  // ---- life ----
  void renew_key();  // as if its time had come
  void close();      // flushes, tells a Sealane peer, ends; see wait_closed()
  void abort();      // at once
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
  // Peers that have not proven themselves. One more, and the oldest of them is given up: so who
  // only comes and stays silent keeps nobody out.
  static constexpr std::size_t kMaxConnecting = 256;
  static constexpr std::size_t kMaxWaiting = 64;  // established, not accepted yet
  // What is kept of all that connect together, in bytes: what no key opens yet, and what waits for
  // the peer's proof. Beside it each has the packet that is being read.
  static constexpr std::size_t kMaxUnprovenBytes = 32 * 1024 * 1024;

  virtual ~LaneListener() = default;  // as cancel(); lanes that were accepted live on
  // The next lane that is established.
  virtual Result<std::unique_ptr<Lane>, Error> accept(SteadyTime deadline = kNoDeadline) = 0;
  // The same without a thread: `done` is called once, on the host's thread. One at a time.
  using Accepted = std::function<void(Result<std::unique_ptr<Lane>, Error>)>;
  virtual void when_accepted(Accepted done, SteadyTime deadline = kNoDeadline) = 0;
  // accept() and when_accepted() that wait, or come later, fail. For another thread.
  virtual void cancel() = 0;
  virtual Address local() const = 0;
};

// One thread for any number of lanes, which must not outlive it.
class LaneHost {
 public:
  LaneHost(Clock& clock, RandomSource& random);  // must outlive it
  ~LaneHost();
  LaneHost(const LaneHost&) = delete;
  LaneHost& operator=(const LaneHost&) = delete;

  // Addresses: tcp:HOST:PORT, udp:HOST:PORT, unix:PATH, seqpacket:PATH; HOST is a name, which this
  // machine's resolver is asked for, or a numeric address, of IPv6 in brackets. Waits for the
  // connection, not for the session: see Lane::wait_established(). Of several addresses over TCP
  // the first that answers is taken, over UDP the first that has a route.
  Result<std::unique_ptr<Lane>, Error> dial(const Address& to, const LaneOptions& options,
                                            SteadyTime deadline = kNoDeadline);
  // The same without a thread, of a numeric address or a path: nobody is asked for names. `done` is
  // called once, on the host's thread.
  using Dialed = std::function<void(Result<std::unique_ptr<Lane>, Error>)>;
  void when_dialed(const Address& to, const LaneOptions& options, Dialed done,
                   SteadyTime deadline = kNoDeadline);
  Result<std::unique_ptr<LaneListener>, Error> listen(const Address& at,
                                                      const LaneOptions& options);
  // Over what is connected already: pipes, standard input and output (two descriptors), or one for
  // both directions (equal numbers). Takes copies of them; the caller's stay open. With pipes the
  // process must ignore SIGPIPE.
  Result<std::unique_ptr<Lane>, Error> adopt(int read_descriptor, int write_descriptor,
                                             const LaneOptions& options);

  // Runs it on the host's thread, soon and not inside this call. What has not run when the host
  // ends never runs.
  void post(std::function<void()> task);

  struct Impl;

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace sealane::net
