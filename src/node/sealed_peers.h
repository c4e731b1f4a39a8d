#pragma once
// SealedPeers: end-to-end sessions with other clients of a hub: the datagrams of the session core
// as the data of hub messages, so that the hub routes what it cannot read. docs/hub.md, "Sealed".
//
//   offset  size  field
//        0     5  mark  00 53 4C 45 01; what does not begin so is a message in the clear
//        5  rest  one datagram (docs/protocol/session.md), of one message or of many
#include <chrono>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "hub/ids.h"
#include "sealane/base/seams.h"
#include "sealane/identity/keys.h"
#include "session/session.h"

namespace sealane::node {

// Not thread-safe.
class SealedPeers {
 public:
  static constexpr ByteArray<5> kMark = {std::byte{0}, std::byte{0x53}, std::byte{0x4c},
                                         std::byte{0x45}, std::byte{1}};
  static constexpr std::size_t kMaxPayload = 32'000;  // of one message; fits a frame of the hub
  static constexpr std::size_t kMaxPeers = 1'000;     // sessions at a time; bounds memory
  static constexpr std::chrono::milliseconds kGatherTime{10};

  struct Message {
    hub::ClientId from;
    Bytes data;
  };
  struct Established {
    hub::ClientId peer;
  };
  struct Ended {
    hub::ClientId peer;
    std::string why;
  };
  using Event = std::variant<Message, Established, Ended>;
  // The identity that was pinned for that id, if any.
  using Pin = std::function<std::optional<crypto::Ed25519Public>(const hub::ClientId&)>;

  // The seams must outlive it.
  SealedPeers(std::shared_ptr<const identity::SigningKey> own, Pin pin, Clock& clock,
              RandomSource& random);
  static bool is_sealed(ByteSpan data) {
    return data.size() >= kMark.size() && std::ranges::equal(data.first(kMark.size()), kMark);
  }

  // REQUIRES: is_sealed(data). False: nobody is pinned for that id, or there are too many.
  bool receive(const hub::ClientId& from, ByteSpan data, SteadyTime now);
  // Opens a session where there is none. Joins what waits for the next datagram to that peer.
  // False: nobody is pinned, or the queue is full.
  bool send(const hub::ClientId& to, ByteSpan message, SteadyTime now);  // REQUIRES: kMaxPayload
  bool wants(const hub::ClientId& to) const;                             // send() would take more
  void close(const hub::ClientId& peer, SteadyTime now);
  // Closes all sessions, and opens none any more: whatever a peer says now, a last copy of its own
  // goodbye too, is none to answer.
  void close_all(SteadyTime now);
  bool idle() const;  // every session is closed, and all output was taken

  // What was sent goes with the next datagrams, however little it is. Called only while the hub is
  // ready for more, it makes datagrams as large as the hub is busy; without it one leaves when it
  // is full, or after kGatherTime.
  void flush();
  // The next datagram for the hub; sealed by this call, so taken when it can go. Peers take turns.
  std::optional<std::pair<hub::ClientId, Bytes>> next_output();
  std::optional<Event> next_event();
  std::optional<SteadyTime> deadline() const;
  void on_deadline(SteadyTime now);

 private:
  struct Peer {
    std::unique_ptr<session::Session> session;
    bool gathering = false;  // is in gathering_
    bool talking = false;    // is in talking_
  };
  Peer* open(const hub::ClientId& id, SteadyTime now);
  void changed(const hub::ClientId& id, Peer& peer);
  bool take_events(const hub::ClientId& id, Peer& peer);

  std::shared_ptr<const identity::SigningKey> own_;
  Pin pin_;
  Clock& clock_;
  RandomSource& random_;
  session::SessionIdSource ids_;
  std::map<hub::ClientId, Peer> peers_;
  std::vector<hub::ClientId> gathering_;  // were sent something since flush(); each once
  std::deque<hub::ClientId> talking_;     // may have output; each once
  std::deque<Event> events_;
  bool closing_ = false;
};

}  // namespace sealane::node
