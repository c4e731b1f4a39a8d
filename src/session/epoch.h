#pragma once
// Epoch: one life of the peer, from our side: its session id, its exchange keys, what opens its
// packets, and which of our keys it is known to have. A restarted peer is a new epoch beside the
// old one until a packet opens under it. Format: docs/protocol/session.md, "Restart".
#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "sealane/base/seams.h"
#include "session/binding.h"
#include "session/key_schedule.h"
#include "session/own_keys.h"
#include "session/packet.h"
#include "session/replay_window.h"

namespace sealane::session {

// Which of two keys is the newer one, when the messages that brought them may have changed
// places. A Sealane peer signs a number that grows; of a legacy one there is only the packet's
// id, which is not authentic without a PSK, and is put right by the first packet under the key.
struct KeyOrder {
  std::optional<std::uint8_t> number;  // modulo kKeyNumbers
  PacketId packet{};
};

// A key of the peer, with the messages that brought it, as they came.
struct PeerKey {
  crypto::X25519Public public_key{};
  SteadyTime received{};
  KeyOrder order;
  std::optional<KeyExchangeBody> request;
  std::optional<KeyExchangeBody> answer;
};

class Epoch {
 public:
  static constexpr std::size_t kMaxPairs = 4;  // two own keys by two of the peer
  // Remembered by eight bytes each, so that none comes back from a recording: eleven days of
  // renewals every minute, 128 KiB.
  static constexpr std::size_t kReplacedKeys = 16 * 1024;
  static constexpr std::size_t kRecentPackets = 32;  // of key exchange packets, against doubles

  enum class KeyNews : std::uint8_t {
    kSame = 1,  // the newest, again
    kNew,
    kReplaced,  // the one before or an older one, also one never seen: changes nothing
    kLowOrder,  // no secret comes of it: changes nothing
  };
  struct Opened {
    PacketId id{};
    MutableByteSpan messages;  // in the packet's buffer
    Generation own{};          // the pair of keys that opened it
    crypto::X25519Public peer{};
  };
  enum class OpenResult : std::uint8_t { kOpened = 1, kNoKey, kDamaged, kReplayed };

  Epoch(const SessionId& id, std::int64_t window, SteadyTime now)
      : id_(id), created_(now), window_(window) {}

  const SessionId& id() const { return id_; }
  SteadyTime created() const { return created_; }

  // What a key would be, without changing anything.
  bool is_replaced(const crypto::X25519Public& key) const;
  bool is_before(const crypto::X25519Public& key) const {
    return before_ && before_->public_key == key;
  }
  const PeerKey* newest() const { return newest_ ? &*newest_ : nullptr; }
  // Whether a key of that place can be the next one. A Sealane peer counts one up, and only once
  // we have shown to have its newest key; what else is said to be newer is a recording from
  // before the numbers went round. One that got in so never opens a packet, and gives way.
  bool may_follow(const KeyOrder& order) const;
  // The verified message `body` brought `key`.
  KeyNews take_key(const crypto::X25519Public& key, const KeyOrder& order,
                   const KeyExchangeBody& body, bool is_answer, const OwnKeys& own,
                   const PskKeys* psk, SteadyTime now);
  // Exactly this message was verified before.
  bool knows_body(const KeyExchangeBody& body) const;
  // True once per packet id, as far as it is remembered.
  bool first_sight(PacketId key_exchange_packet);

  // Own keys came or went: derive what is missing, wipe what has no own key any more.
  void refresh(const OwnKeys& own, const PskKeys* psk);
  // Forgets the peer's key before the newest and what opened under it.
  void wipe_before();

  // Tries all keys, the last that worked first, headers only. kReplayed and kDamaged are of a
  // packet that is authentic so far. On kOpened the id is taken in the window.
  OpenResult open(MutableByteSpan packet, PacketIdMask mask, Opened& opened);

  // What the header says that one of the keys opens: the size of the messages behind it.
  std::optional<std::uint32_t> peek_length(std::span<const std::byte, kPacketHeaderSize> header,
                                           PacketIdMask mask);

  // The key to send under: our `own` with the peer's newest. Null while there is none.
  PacketKey* sending(Generation own, const SessionId& own_id);
  // Of a pair, while both its halves are held.
  const CipherKey* cipher_key(const crypto::X25519Public& peer, Generation own) const;

  // Our newest key that the peer has shown to have.
  std::optional<Generation> proven;
  bool live = false;     // a packet opened under it
  bool sealane = false;  // announced
  std::optional<ExporterSecret> exporter;
  bool bound() const { return exporter.has_value(); }
  bool has_before() const { return before_.has_value(); }
  std::optional<SteadyTime> wipe_before_at;
  Opened opened_last;  // its messages may be gone
  PacketId highest_packet{};
  bool answered = false;  // a message of it came after a rival appeared
  // Answers to the same request are spaced.
  std::uint32_t answers = 0;
  SteadyTime last_answer{};
  bool warned_of_old_key = false;

  // Binding: what we said last, and what holds.
  std::optional<Binding> proposal;          // ours, or the peer's that we accepted
  std::optional<PacketId> proposal_packet;  // of the peer's
  std::optional<SteadyTime> next_proposal;  // ours is due
  bool reply_due = false;
  bool confirmation_due = false;  // a packet, so that the peer sees that we have its key

 private:
  struct Pair {
    Generation own{};
    crypto::X25519Public peer{};
    CipherKey cipher_key;
    PacketKey receiving;
  };
  bool derive(const OwnKey& own, const crypto::X25519Public& peer, const PskKeys* psk);
  void remember_replaced(const crypto::X25519Public& key);

  SessionId id_;
  SteadyTime created_;
  ReplayWindow window_;
  std::optional<PeerKey> newest_;
  std::optional<PeerKey> before_;
  bool newest_used_ = false;  // a packet opened under it
  std::vector<std::uint64_t> replaced_;
  std::size_t replaced_count_ = 0;
  std::array<PacketId, kRecentPackets> recent_{};
  std::size_t recent_count_ = 0;
  std::vector<Pair> pairs_;  // at most kMaxPairs
  std::size_t last_pair_ = 0;
  std::optional<PacketKey> sending_;
  Generation sending_own_{};
  crypto::X25519Public sending_peer_{};
};

}  // namespace sealane::session
