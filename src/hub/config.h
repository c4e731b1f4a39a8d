#pragma once
// CONFIG: the hub's settings as a client gets them, JSON in a CONFIG message, and the keys in it by
// which two Sealane ends find each other. Format: docs/protocol/hub.md, "CONFIG".
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "sealane/base/bytes.h"
#include "sealane/base/result.h"
#include "sealane/crypto/curve.h"

namespace sealane::hub {

// What both ends may use once the connection is upgraded. Names as in `bb_feat`.
enum class Feature : std::uint16_t {
  kAead = 1,           // "aead": the upgrade itself; nothing else goes without it
  kFrom = 1 << 1,      // "from": messages bear their sender, by the hub's word
  kErrors = 1 << 2,    // "err": why a message did not arrive
  kReceipts = 1 << 3,  // "ack": both ways: that the hub has it, that the recipient has it
  kPresence = 1 << 4,  // "presence"
  kQueue = 1 << 5,     // "queue": the hub keeps messages for who is away
  kGroups = 1 << 6,    // "group": the hub has groups; a message says through which it came
  kParts = 1 << 7,     // "frag": messages larger than a frame travel in parts
  kPing = 1 << 8,      // "ping": probes with an echo, and the hub's status
};
class Features {
 public:
  constexpr Features() = default;
  constexpr Features(std::initializer_list<Feature> list) {
    for (const Feature feature : list) bits_ |= static_cast<std::uint16_t>(feature);
  }
  constexpr bool has(Feature feature) const {
    return (bits_ & static_cast<std::uint16_t>(feature)) != 0;
  }
  constexpr bool empty() const { return bits_ == 0; }
  constexpr Features operator&(Features other) const {
    Features both;
    both.bits_ = bits_ & other.bits_;
    return both;
  }
  constexpr Features operator|(Features other) const {
    Features either;
    either.bits_ = bits_ | other.bits_;
    return either;
  }
  constexpr Features without(Feature feature) const {
    Features rest = *this;
    rest.bits_ &= static_cast<std::uint16_t>(~static_cast<std::uint16_t>(feature));
    return rest;
  }
  friend constexpr bool operator==(Features, Features) = default;

 private:
  std::uint16_t bits_ = 0;
};
inline constexpr Features kAllFeatures = {Feature::kAead,     Feature::kFrom,     Feature::kErrors,
                                          Feature::kReceipts, Feature::kPresence, Feature::kQueue,
                                          Feature::kGroups,   Feature::kParts,    Feature::kPing};
std::string to_text(Features features);           // "aead,from": in the order above
Features parse_features(std::string_view names);  // unknown names are skipped

inline constexpr std::uint64_t kExtensionVersion = 1;  // bb_ext

// Of the hub. Members of the JSON object, in this order; Python's layout (a blank after : and ,).
struct Config {
  static constexpr std::size_t kMaxSize = 16 * 1024;  // bounds parsing
  static constexpr std::size_t kMaxDepth = 16;        // likewise
  // Longer ones mean nothing, and would overflow.
  static constexpr std::chrono::hours kMaxTime{24 * 365};
  std::optional<std::chrono::milliseconds> heartbeat_interval;
  std::optional<std::chrono::milliseconds> heartbeat_timeout;
  std::uint64_t extension_version = 0;        // bb_ext; 0: absent
  Features features;                          // bb_feat
  std::optional<crypto::X25519Public> share;  // bb_share, base64
  Bytes proof;  // bb_proof, base64: the client's signature; empty: absent
  // Members with any other name, as JSON text; they travel as they are.
  std::vector<std::pair<std::string, std::string>> others;
  friend bool operator==(const Config&, const Config&) = default;
};
enum class ConfigError : std::uint8_t {
  kTooLarge = 1,
  kNotJson,
  kNotAnObject,
  kDuplicate,  // a member twice
  kBadValue,   // one of ours that is no number, no text, negative, or not what its name says
};

// Writes heartbeat_interval and both spellings of the time-out; whole seconds as integers.
std::string encode(const Config& config);
// Reads heartbeat_interval, heartbeat_intervall, heartbeat_timeout and heartbeat_timout, the first
// of each two before the other; integers and fractions.
Result<Config, ConfigError> decode_config(std::string_view json);

}  // namespace sealane::hub
