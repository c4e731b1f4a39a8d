#include "hub/config.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "base/check.h"
#include "base/copy_bytes.h"

namespace sealane::hub {
namespace {

using nlohmann::ordered_json;
using std::chrono::milliseconds;

constexpr std::string_view kInterval = "heartbeat_interval";
constexpr std::string_view kIntervalMisspelt = "heartbeat_intervall";
constexpr std::string_view kTimeout = "heartbeat_timeout";
constexpr std::string_view kTimeoutMisspelt = "heartbeat_timout";
constexpr std::string_view kVersion = "bb_ext";
constexpr std::string_view kFeatures = "bb_feat";
constexpr std::string_view kShare = "bb_share";
constexpr std::string_view kProof = "bb_proof";
constexpr std::size_t kMaxProofSize = 1024;  // of a 4096-bit key: 512

struct FeatureName {
  Feature feature;
  std::string_view name;
};
constexpr FeatureName kFeatureNames[] = {
    {Feature::kAead, "aead"},    {Feature::kFrom, "from"},         {Feature::kErrors, "err"},
    {Feature::kReceipts, "ack"}, {Feature::kPresence, "presence"}, {Feature::kQueue, "queue"},
    {Feature::kGroups, "group"}, {Feature::kParts, "frag"},        {Feature::kPing, "ping"},
};

std::string seconds_text(milliseconds time) {
  const auto count = time.count();
  std::string text = std::to_string(count / 1000);
  if (count % 1000 != 0) {
    const std::string fraction = std::to_string(1000 + count % 1000).substr(1);
    text += '.' + fraction.substr(0, fraction.find_last_not_of('0') + 1);
  }
  return text;
}

std::optional<milliseconds> read_seconds(const ordered_json& value) {
  if (!value.is_number()) return std::nullopt;
  const double seconds = value.get<double>();
  if (!(seconds >= 0) || seconds > std::chrono::duration<double>(Config::kMaxTime).count()) {
    return std::nullopt;
  }
  return milliseconds(std::llround(seconds * 1000));
}

// The text of a member, as bytes.
std::optional<Bytes> read_base64(const ordered_json& value, std::size_t limit) {
  const auto* text = value.get_ptr<const std::string*>();
  auto bytes = text == nullptr ? std::nullopt : from_base64(*text);
  if (!bytes || bytes->size() > limit) return std::nullopt;
  return bytes;
}

bool is_ours(std::string_view name) {
  return name == kInterval || name == kIntervalMisspelt || name == kTimeout ||
         name == kTimeoutMisspelt || name == kVersion || name == kFeatures || name == kShare ||
         name == kProof;
}

// Takes one of our members; false if its value is not what its name says.
bool read_member(Config& config, std::string_view name, const ordered_json& value) {
  if (name == kInterval || name == kTimeout || name == kIntervalMisspelt ||
      name == kTimeoutMisspelt) {
    const auto time = read_seconds(value);
    auto& field = name == kInterval || name == kIntervalMisspelt ? config.heartbeat_interval
                                                                 : config.heartbeat_timeout;
    const bool misspelt = name == kIntervalMisspelt || name == kTimeoutMisspelt;
    if (!misspelt || !field) field = time;
    return time.has_value();
  }
  if (name == kVersion) {
    if (!value.is_number_unsigned()) return false;
    config.extension_version = value.get<std::uint64_t>();
    return true;
  }
  if (name == kFeatures) {
    const auto* text = value.get_ptr<const std::string*>();
    if (text != nullptr) config.features = parse_features(*text);
    return text != nullptr;
  }
  if (name == kShare) {
    const auto bytes = read_base64(value, 32);
    if (!bytes || bytes->size() != 32) return false;
    config.share.emplace();
    copy_bytes(*bytes, config.share->begin());
    return true;
  }
  auto proof = read_base64(value, kMaxProofSize);
  if (proof) config.proof = std::move(*proof);
  return proof.has_value();
}

}  // namespace

std::string to_text(Features features) {
  std::string text;
  for (const auto& [feature, name] : kFeatureNames) {
    if (!features.has(feature)) continue;
    if (!text.empty()) text += ',';
    text += name;
  }
  return text;
}

Features parse_features(std::string_view names) {
  Features found;
  while (!names.empty()) {
    const std::string_view word = names.substr(0, names.find(','));
    names.remove_prefix(std::min(names.size(), word.size() + 1));
    for (const auto& [feature, name] : kFeatureNames) {
      if (name == word) found = found | Features{feature};
    }
  }
  return found;
}

std::string encode(const Config& config) {
  std::string out;
  const auto add = [&](std::string_view name, std::string_view value) {
    out += out.empty() ? "{" : ", ";
    out += ordered_json(name).dump(-1, ' ', true);
    out += ": ";
    out += value;
  };
  const auto add_text = [&](std::string_view name, const std::string& value) {
    add(name, '"' + value + '"');
  };
  if (config.heartbeat_timeout) {
    add(kTimeout, seconds_text(*config.heartbeat_timeout));
    add(kTimeoutMisspelt, seconds_text(*config.heartbeat_timeout));
  }
  if (config.heartbeat_interval) add(kInterval, seconds_text(*config.heartbeat_interval));
  if (config.extension_version != 0) add(kVersion, std::to_string(config.extension_version));
  if (!config.features.empty()) add_text(kFeatures, to_text(config.features));
  if (config.share) add_text(kShare, to_base64(*config.share));
  if (!config.proof.empty()) add_text(kProof, to_base64(config.proof));
  for (const auto& [name, value] : config.others) add(name, value);
  return out.empty() ? "{}" : out + "}";
}

Result<Config, ConfigError> decode_config(std::string_view json) {
  if (json.size() > Config::kMaxSize) return ConfigError::kTooLarge;
  bool too_deep = false;
  std::vector<std::string> names;
  const auto look = [&](int depth, ordered_json::parse_event_t event, ordered_json& value) {
    if (depth > static_cast<int>(Config::kMaxDepth)) too_deep = true;
    if (depth == 1 && event == ordered_json::parse_event_t::key) {
      names.push_back(value.get<std::string>());
    }
    return !too_deep;
  };
  const ordered_json tree = ordered_json::parse(json.begin(), json.end(), look, false);
  if (too_deep) return ConfigError::kTooLarge;
  if (tree.is_discarded()) return ConfigError::kNotJson;
  if (!tree.is_object()) return ConfigError::kNotAnObject;
  std::ranges::sort(names);
  if (std::ranges::adjacent_find(names) != names.end()) return ConfigError::kDuplicate;
  Config config;
  for (const auto& [name, value] : tree.items()) {
    if (!is_ours(name)) {
      config.others.emplace_back(name, value.dump(-1, ' ', true));
    } else if (!read_member(config, name, value)) {
      return ConfigError::kBadValue;
    }
  }
  return config;
}

}  // namespace sealane::hub
