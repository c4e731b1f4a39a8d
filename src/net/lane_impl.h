#pragma once
// The parts of a Lane; see sealane/net/lane.h for what it promises.
//
// Two locks. `batch_mutex` is for producers: held for an append, no longer. `core_mutex` is for
// the session and its transport: whoever holds it drives them, the loop's thread or a producer
// that sends directly. Order: core_mutex, then batch_mutex. Input, timers and handlers belong to
// the loop's thread alone.
#include <atomic>
#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "net/datagram_transport.h"
#include "net/io_loop.h"
#include "net/packet_transport.h"
#include "sealane/net/lane.h"
#include "session/reframer.h"
#include "session/ring_queue.h"
#include "session/session.h"

namespace sealane::net {

class Lingering;

// What all lanes of a host share.
struct LaneHost::Impl {
  Impl(Clock& wall_clock, RandomSource& randomness) : clock(wall_clock), random(randomness) {}
  Clock& clock;
  RandomSource& random;
  session::SessionIdSource ids;
  ReceiveArena arena;  // the loop's thread only
  // Closed connections that wait for the peer's end, oldest first; the loop's thread only.
  static constexpr std::size_t kMaxLingering = 256;
  std::deque<std::weak_ptr<Lingering>> lingering;
  IoLoop loop;  // last: its thread ends before the rest goes
};

struct Lane::Impl : std::enable_shared_from_this<Lane::Impl> {
  using Lock = std::unique_lock<std::mutex>;

  Impl(LaneHost::Impl& owner, session::Identities who, const session::Options& how);

  // On the loop's thread, once. `transport` may be read by somebody else, who calls deliver().
  void start(std::unique_ptr<PacketTransport> over);
  // On the loop's thread, any number, then after_input().
  void deliver(MutableByteSpan packet, SteadyTime now);
  void after_input();
  void lose_transport(std::string reason);
  session::Reframer make_reframer();

  // ---- producers ----
  // kLater: it leaves with the next flush, which is planned here. kNow: the caller pushes.
  enum class Leave : std::uint8_t { kLater = 1, kNow };
  // The short way, where there is room in what is being filled; kNoTicket: send() has to see to it.
  // (Not an optional: g++ 12 would pass each ticket through memory.)
  static constexpr LaneTicket kNoTicket{0};
  LaneTicket append(session::MessageType type, ByteSpan payload, Leave leave);
  Result<std::optional<LaneTicket>, Error> send(session::MessageType type, ByteSpan payload,
                                                Leave leave, bool may_wait, SteadyTime deadline);
  Result<LaneTicket, Error> write(ByteSpan bytes, Leave leave, SteadyTime deadline);
  Result<LaneTicket, Error> send_large(session::MessageType type, ByteSpan payload, bool may_wait,
                                       SteadyTime deadline);
  // Gives what is being filled to the session and the transport, in this thread. False: somebody
  // else drives, and this thread must not wait for it.
  bool push_now() { return push(Amount::kAll); }
  // kBurst: the transport waits for as much as it can send at once, or for the next flush.
  enum class Amount : std::uint8_t { kAll = 1, kBurst };
  bool push(Amount amount);
  Result<void, Error> wait_for(Lock& lock, SteadyTime deadline, const std::function<bool()>& done);
  bool waiting_forbidden() const;
  bool driving() const {
    return driver.load(std::memory_order_relaxed) == std::this_thread::get_id();
  }
  // With batch_mutex: somebody may wait for what has just changed.
  void wake();
  void add_wait(std::function<bool()> met, bool closed_is_met, Done done, SteadyTime deadline);
  void check_waits();  // on the loop's thread

  // ---- with core_mutex ----
  class Core;      // holds it, or knows that this thread does
  bool collect();  // whether it took something
  void drive();
  void send_output();
  void publish();
  void arm_writable();
  void rearm_timer();
  void take_events();
  void take_event(const session::SessionEvent& event);
  void update_state();
  void dispatch(session::MessageType type, ByteSpan payload);
  void tell(const LaneEvent& event);
  void tell_problem(std::optional<Channel> channel, LaneEventKind kind, Error error);
  void close_when_collected();
  void finish(std::string reason);

  // ---- on the loop's thread ----
  void on_readable();
  void on_writable();
  void on_timer();
  void wait_readable();
  void post(void (Impl::*task)());  // from any thread
  void plan_flush();
  void flush_due();

  LaneHost::Impl& host;
  const LaneOptions::Duration send_delay;
  const LaneOptions::Duration close_timeout;
  const std::size_t receive_limit;

  // ---- batch_mutex ----
  mutable std::mutex batch_mutex;
  std::condition_variable changed;
  std::uint32_t waiters = 0;
  struct Wait {
    std::function<bool()> met;  // asked under the lock
    bool closed_is_met = false;
    Done done;
    SteadyTime deadline;
  };
  std::vector<Wait> waits;
  bool waits_posted = false;
  bool batch_full = false;  // the last try to send found no room
  session::MessageBatch batch;
  std::uint64_t batch_ticket = 1;
  bool flush_planned = false;
  bool open = true;  // takes messages
  LaneState state = LaneState::kConnecting;
  std::string closed_why;
  // The byte pipe's input: [pipe_begin, pipe_begin + pipe_size) of a ring.
  Bytes pipe;
  std::size_t pipe_begin = 0;
  std::size_t pipe_size = 0;
  std::atomic<bool> input_waits{false};  // for room in the pipe; written under the lock

  std::atomic<std::uint64_t> sent{0};
  std::atomic<bool> transport_full{false};
  std::atomic<std::size_t> payload_size{0};  // the session's, for those who do not hold it

  // ---- core_mutex ----
  mutable std::mutex core_mutex;
  std::atomic<std::thread::id> driver{};
  session::Session core;
  std::unique_ptr<PacketTransport> transport;
  Address peer_address;
  struct Pending {
    std::uint64_t lane = 0;
    std::uint64_t core = 0;
  };
  session::RingQueue<Pending> pending;
  std::optional<std::string> transport_lost;
  bool write_lost = false;             // nothing can be sent any more; what has come is still read
  bool close_wanted = false;           // once all that was sent is in the session's queue,
  std::optional<SteadyTime> close_by;  // or at this time
  std::optional<SteadyTime> armed;
  session::SessionState seen_state = session::SessionState::kNew;  // by update_state()

  // ---- the loop's thread ----
  std::unique_ptr<IoLoop::Watch> read_watch;
  std::unique_ptr<IoLoop::Watch> write_watch;  // where the two descriptors differ
  std::unique_ptr<IoLoop::Timer> timer;
  std::unique_ptr<IoLoop::Timer> flush_timer;
  std::unique_ptr<IoLoop::Timer> wait_timer;
  bool reading = false;      // a wait is under way
  bool read_posted = false;  // or the next turn is
  bool writing = false;
  // Of a listener: what it wants to know, and how to wait for its socket.
  std::function<void()> on_established;
  std::function<void()> on_closed;
  std::function<void()> when_writable;

  std::mutex handlers_mutex;
  struct Handlers {
    Handler plain;  // or
    ChannelHandler checked;
  };
  std::map<std::uint32_t, std::shared_ptr<const Handlers>> handlers;  // by message type
  std::shared_ptr<const EventHandler> event_handler;
  void set_handlers(session::MessageType type, std::shared_ptr<const Handlers> next);
  std::uint64_t handlers_version = 1;
  // The last one looked up, for the loop's thread.
  std::uint32_t cached_type = 0;
  std::shared_ptr<const Handlers> cached_handler;
  std::uint64_t cached_version = 0;
  std::atomic<std::uint64_t> published_version{1};
};

Result<std::shared_ptr<Lane::Impl>, Error> make_lane(LaneHost::Impl& host,
                                                     const LaneOptions& options, bool lossy);
std::size_t max_packet_of(const Lane::Impl& lane);

Result<std::unique_ptr<LaneListener>, Error> make_listener(LaneHost::Impl& host, const Address& at,
                                                           const LaneOptions& options);

}  // namespace sealane::net
