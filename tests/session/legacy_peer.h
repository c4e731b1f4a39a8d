#pragma once
// LegacyPeer: a model of the Go library's session, with what it does wrong, as far as a peer can
// notice. It dies where that one closes, panics or hangs; `death` says of what. So a test that ends
// with a living legacy peer has kept to the rules.
#include <array>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "session/key_schedule.h"
#include "session/messages.h"
#include "session/packet.h"
#include "tests/session/link.h"

namespace sealane::session::testing {

struct LegacyOptions {
  AnswersMode mode = AnswersMode::kAnswerAndWait;
  std::shared_ptr<const PskKeys> psk = nullptr;
  std::size_t payload_size_limit = 65216;
  bool negotiate = false;
  std::chrono::nanoseconds update_interval = std::chrono::seconds(60);
  std::chrono::nanoseconds retry_interval = std::chrono::seconds(1);
  std::chrono::nanoseconds timeout = std::chrono::seconds(60);
  std::size_t max_message_size = 65536;
  bool fragments_in_the_clear = true;
};

class LegacyPeer final : public Endpoint {
 public:
  LegacyPeer(const identity::SigningKey& identity, const crypto::Ed25519Public& remote,
             LegacyOptions options, std::uint64_t seed);

  void start(SteadyTime now, WallTime wall);
  void receive(ByteSpan datagram, SteadyTime now) override;
  void step(SteadyTime now, const std::function<bool(ByteSpan)>& send) override;
  std::optional<SteadyTime> deadline() const override;

  // Queues; sent when established, one packet each, cut into fragments where too large.
  void write(std::string text, MessageType type = MessageType::kReadWrite) {
    to_write.emplace_back(type, std::move(text));
  }

  // Asks for an answer of that size, now. REQUIRES: it has a key.
  void ask(std::size_t size);

  std::string death;  // empty: alive
  bool established = false;
  std::vector<std::pair<MessageType, std::string>> received;
  std::vector<std::pair<MessageType, std::string>> to_write;
  std::uint64_t replays = 0;
  std::uint64_t renewals = 0;
  struct Round {
    std::vector<std::size_t> sizes;
    std::size_t largest_pong = 0;
  };
  std::vector<Round> rounds;
  std::size_t own_largest = 0;
  std::size_t established_payload = 0;
  bool sent_end = false;

 private:
  struct KeyPair {
    crypto::X25519Private private_key;
    crypto::X25519Public public_key{};
  };
  struct Slot {
    std::size_t buffer = 0;  // longest message it has held
    Bytes data;
    std::uint64_t total = 0;
    std::vector<bool> seen;
    bool complete = false;
  };
  void die(std::string why) {
    if (death.empty()) death = std::move(why);
  }
  void new_key();
  void send_key_exchange(bool answer);
  void install_keys();
  void handle(const Message& message, SteadyTime now, bool alone);
  void handle_key_exchange(ByteSpan payload, SteadyTime now);
  void handle_fragment(const Message& message, bool alone);
  void handle_negotiation(ByteSpan payload, SteadyTime now);
  void first_success(SteadyTime now);
  void start_round(SteadyTime now);
  void end_round(SteadyTime now);
  void finish_probing(bool with_end);
  void maybe_established();
  void send_session(MessageType type, ByteSpan payload, std::uint8_t flags = kConfidential);
  void send_plain(MessageType type, ByteSpan payload, std::uint8_t flags);
  bool window_accepts(std::uint64_t id);

  SeededRandom random_;
  const identity::SigningKey& identity_;
  crypto::Ed25519Public remote_identity_;
  LegacyOptions options_;
  SessionId id_;
  std::optional<SessionId> remote_id_;
  std::uint64_t counter_ = 0;  // of packets, in and out
  PacketIdMask mask_{};
  PacketKey non_session_;
  std::optional<KeyPair> own_next_;
  std::optional<KeyPair> own_prev_;
  std::optional<crypto::X25519Public> remote_next_;
  std::optional<crypto::X25519Public> remote_prev_;
  std::vector<PacketKey> receiving_;
  std::optional<PacketKey> sending_;
  bool acknowledged_ = false;
  bool success_ = false;
  SteadyTime pending_since_{};
  SteadyTime next_retry_{};
  SteadyTime next_renewal_{};
  std::vector<Bytes> out_;
  std::uint64_t latest_ = 0;
  std::array<bool, 256> window_{};
  std::array<Slot, 8> slots_{};
  std::uint64_t highest_chain_ = 0;
  std::uint64_t own_chain_ = 0;

  // Negotiation.
  bool probing_ = false;
  bool own_finished_ = false;
  bool remote_finished_ = false;
  std::size_t min_ = 147;
  std::size_t max_ = 0;
  std::uint32_t iteration_ = 0;
  std::size_t step_plus_one_ = 0;
  std::size_t largest_pong_ = 0;
  SteadyTime round_started_{};
  std::optional<SteadyTime> collect_until_;
  std::uint32_t remote_largest_ = 0;
};

}  // namespace sealane::session::testing
