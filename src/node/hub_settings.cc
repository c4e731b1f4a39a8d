#include "node/hub_settings.h"

// An assertion of it strikes where a table's name begins with a character that no name has, in
// front of the code that refuses that with a message. A mistake in a file must not end a hub.
#define TOML_ASSERT(expression) static_assert(true)
#include <toml++/toml.h>
#include <nlohmann/json.hpp>
#include <set>

#include "base/utf8.h"
#include "net/sockets.h"
#include "sealane/base/bytes.h"

namespace sealane::node {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr std::size_t kMaxSendTo = 1000;  // of one client; bounds what a change costs
constexpr std::int64_t kMaxSeconds = 365LL * 24 * 3600;  // longer times mean nothing

// Reads the members of one table and remembers which there were.
class Reader {
 public:
  Reader(const toml::table& table, std::string file) : table_(table), file_(std::move(file)) {}

  Error wrong(const toml::node& node, const std::string& what) const {
    return {ErrorKind::kUsage,
            file_ + ", line " + std::to_string(node.source().begin.line) + ": " + what};
  }
  Error wrong_key(std::string_view key, const std::string& what) const {
    return wrong(*table_.get(key), std::string(key) + ' ' + what);
  }
  const toml::node* find(std::string_view key) {
    seen_.insert(std::string(key));
    return table_.get(key);
  }
  Result<bool, Error> number(std::string_view key, std::int64_t low, std::int64_t high,
                             std::int64_t& out) {
    const toml::node* node = find(key);
    if (node == nullptr) return false;
    const auto value = node->value_exact<std::int64_t>();
    if (!value || *value < low || *value > high) {
      return wrong_key(key, "must be a whole number from " + std::to_string(low) + " to " +
                                std::to_string(high));
    }
    out = *value;
    return true;
  }
  template <class T>
  Result<void, Error> count(std::string_view key, std::int64_t low, std::int64_t high, T& out) {
    std::int64_t value = 0;
    SEALANE_TRY(const bool there, number(key, low, high, value));
    if (there) out = static_cast<T>(value);
    return success();
  }
  // Seconds, with or without a fraction.
  Result<bool, Error> time(std::string_view key, std::chrono::nanoseconds& out) {
    const toml::node* node = find(key);
    if (node == nullptr) return false;
    const auto value = node->value<double>();
    if (!node->is_number() || !value || !(*value >= 0.001) ||
        *value > static_cast<double>(kMaxSeconds)) {
      return wrong_key(key, "must be a number of seconds above 0 and at most a year");
    }
    out = milliseconds(static_cast<std::int64_t>(*value * 1000.0));
    return true;
  }
  Result<void, Error> flag(std::string_view key, bool& out) {
    const toml::node* node = find(key);
    if (node == nullptr) return success();
    const auto value = node->value_exact<bool>();
    if (!value) return wrong_key(key, "must be true or false");
    out = *value;
    return success();
  }
  Result<std::optional<std::string>, Error> text(std::string_view key) {
    const toml::node* node = find(key);
    if (node == nullptr) return std::optional<std::string>();
    const auto value = node->value_exact<std::string>();
    if (!value) return wrong_key(key, "must be a text in quotes");
    return value;
  }
  template <class T>
  Result<void, Error> choice(std::string_view key,
                             std::initializer_list<std::pair<std::string_view, T>> names, T& out) {
    SEALANE_TRY(const auto value, text(key));
    if (!value) return success();
    std::string all;
    for (const auto& [name, meaning] : names) {
      if (*value == name) {
        out = meaning;
        return success();
      }
      all += (all.empty() ? "" : ", ") + std::string(name);
    }
    return wrong_key(key, "must be one of: " + all);
  }
  Result<void, Error> no_others() const {
    for (const auto& [key, node] : table_) {
      if (seen_.contains(std::string(key.str()))) continue;
      return wrong(node, "unknown key " + printable(key.str()) + "; see docs/hub.md for the keys");
    }
    return success();
  }
  const toml::table& table() const { return table_; }
  const std::set<std::string>& seen() const { return seen_; }

 private:
  const toml::table& table_;
  std::string file_;
  std::set<std::string> seen_;
};

// As JSON text, for CONFIG; nothing for what JSON has not.
std::optional<nlohmann::json> to_json(const toml::node& node) {
  if (const auto* table = node.as_table()) {
    nlohmann::json object = nlohmann::json::object();
    for (const auto& [key, member] : *table) {
      auto value = to_json(member);
      if (!value) return std::nullopt;
      object[std::string(key.str())] = std::move(*value);
    }
    return object;
  }
  if (const auto* array = node.as_array()) {
    nlohmann::json list = nlohmann::json::array();
    for (const auto& element : *array) {
      auto value = to_json(element);
      if (!value) return std::nullopt;
      list.push_back(std::move(*value));
    }
    return list;
  }
  if (const auto value = node.value_exact<std::string>()) return *value;
  if (const auto value = node.value_exact<bool>()) return *value;
  if (const auto value = node.value_exact<std::int64_t>()) return *value;
  if (const auto value = node.value_exact<double>()) return *value;
  return std::nullopt;
}

Result<void, Error> read_client(const toml::table& table, const std::string& name,
                                HubSettings& settings) {
  Reader reader(table, name);
  auto& connection = settings.connection;
  // Both spellings of each; the right one wins.
  SEALANE_TRY(reader.time("heartbeat_intervall", connection.heartbeat_interval));
  SEALANE_TRY(reader.time("heartbeat_interval", connection.heartbeat_interval));
  SEALANE_TRY(reader.time("heartbeat_timout", connection.heartbeat_timeout));
  SEALANE_TRY(reader.time("heartbeat_timeout", connection.heartbeat_timeout));
  for (const auto& [key, node] : table) {
    if (reader.seen().contains(std::string(key.str()))) continue;
    const auto value = to_json(node);
    if (!value) return reader.wrong(node, "JSON, which clients get, has no such value");
    connection.other_settings.emplace_back(std::string(key.str()), value->dump());
  }
  return success();
}

Result<void, Error> read_hub(const toml::table& table, const std::string& name,
                             HubSettings& settings) {
  Reader reader(table, name);
  auto& connection = settings.connection;
  auto& mailbox = settings.mailbox;
  constexpr std::int64_t kMaxBytes = std::int64_t{1} << 40;
  SEALANE_TRY(reader.choice<mailbox::OfflinePolicy>("queue",
                                                    {{"durable", mailbox::OfflinePolicy::kDurable},
                                                     {"memory", mailbox::OfflinePolicy::kMemory},
                                                     {"off", mailbox::OfflinePolicy::kRefuse}},
                                                    mailbox.offline));
  SEALANE_TRY(reader.count("queue_messages", 1, 10'000'000, mailbox.client_queue_messages));
  SEALANE_TRY(reader.count("queue_bytes", 1, kMaxBytes, mailbox.client_queue_bytes));
  SEALANE_TRY(reader.count("queue_total_bytes", 1, kMaxBytes, mailbox.total_queue_bytes));
  std::chrono::nanoseconds time{};
  SEALANE_TRY(const bool lifetime, reader.time("queue_lifetime", time));
  if (lifetime) mailbox.lifetime = std::chrono::ceil<seconds>(time);
  SEALANE_TRY(
      reader.choice<mailbox::DuplicatePolicy>("duplicate_login",
                                              {{"takeover", mailbox::DuplicatePolicy::kTakeover},
                                               {"refuse", mailbox::DuplicatePolicy::kRefuse}},
                                              mailbox.duplicate));
  SEALANE_TRY(reader.count("max_clients", 1, 10'000'000, mailbox.max_clients));
  SEALANE_TRY(reader.count("messages_per_second", 0, 10'000'000, mailbox.messages.per_second));
  mailbox.messages.burst = std::max<std::uint64_t>(mailbox.messages.per_second, 1);
  SEALANE_TRY(reader.count("bytes_per_second", 0, kMaxBytes, mailbox.bytes.per_second));
  mailbox.bytes.burst = std::max<std::uint64_t>(mailbox.bytes.per_second, 1);
  SEALANE_TRY(reader.count("frames_per_second", 0, 10'000'000, connection.frames_per_second));
  SEALANE_TRY(const bool idle, reader.time("idle_limit", time));
  if (idle) connection.idle_limit = time;
  SEALANE_TRY(reader.time("login_timeout", connection.login_timeout));
  SEALANE_TRY(reader.time("stall_limit", connection.stall_limit));
  SEALANE_TRY(reader.count("max_unproven", 1, 100'000, settings.max_unproven));
  SEALANE_TRY(reader.count("max_connections", 2, 1'000'000, settings.max_connections));
  SEALANE_TRY(reader.flag("bound_challenge", connection.bound_challenge));
  SEALANE_TRY(reader.flag("offer_upgrade", connection.offer_upgrade));
  SEALANE_TRY(reader.flag("pace_legacy", connection.pace_legacy));
  SEALANE_TRY(reader.count("legacy_data_limit", 1, 48'433, connection.legacy_data_limit));
  SEALANE_TRY(reader.flag("log_messages", settings.log_messages));
  SEALANE_TRY(reader.choice<crypto::PssSalt>(
      "pss_verify", {{"automatic", crypto::PssSalt::kAny}, {"maximum", crypto::PssSalt::kMaximum}},
      connection.pss_verify));
  SEALANE_TRY(reader.choice<hub::ShortTime>(
      "short_timestamp", {{"extend", hub::ShortTime::kExtend}, {"refuse", hub::ShortTime::kRefuse}},
      connection.short_time));
  SEALANE_TRY(reader.choice<bool>("bad_ciphertext", {{"stop", true}, {"close", false}},
                                  connection.stop_on_bad_frame));
  return reader.no_others();
}

Result<void, Error> read_group(const toml::table& table, const std::string& name,
                               const std::string& group_name, HubSettings& settings) {
  Reader reader(table, name);
  HubGroup group{.name = group_name, .address = {}, .policy = {}};
  SEALANE_TRY(const auto id, reader.text("id"));
  const auto address = id ? mailbox::parse_client_id(*id) : std::nullopt;
  if (!address) return reader.wrong(table, "a group needs an id: 32 hex digits or a UUID");
  group.address = *address;
  if (std::ranges::find(settings.groups, group.address, &HubGroup::address) !=
      settings.groups.end()) {
    return reader.wrong(table, "another group has this id");
  }
  SEALANE_TRY(reader.flag("members_only", group.policy.members_only));
  const toml::node* members = reader.find("members");
  if (members == nullptr || !members->is_array()) {
    return reader.wrong(table, "a group needs members: a list of ids");
  }
  for (const auto& element : *members->as_array()) {
    const auto text = element.value_exact<std::string>();
    const auto member = text ? mailbox::parse_client_id(*text) : std::nullopt;
    if (!member) return reader.wrong(element, "a member is 32 hex digits or a UUID");
    group.policy.members.insert(*member);
  }
  if (group.policy.members.size() > mailbox::Mailbox::kMaxGroupMembers) {
    return reader.wrong(*members, "a group has at most 1000 members");
  }
  settings.groups.push_back(std::move(group));
  return reader.no_others();
}

Result<void, Error> read_rights(const toml::table& table, const std::string& name,
                                const std::string& client, HubSettings& settings) {
  Reader reader(table, name);
  HubRights rights{.client = client, .send_to = {}};
  SEALANE_TRY(reader.flag("sees_presence", rights.sees_presence));
  if (const toml::node* list = reader.find("send_to")) {
    if (!list->is_array()) return reader.wrong(*list, "send_to is a list of names or ids");
    rights.send_to.emplace();
    for (const auto& element : *list->as_array()) {
      const auto text = element.value_exact<std::string>();
      if (!text) return reader.wrong(element, "send_to is a list of names or ids");
      rights.send_to->push_back(*text);
    }
    if (rights.send_to->size() > kMaxSendTo) {
      return reader.wrong(*list, "send_to names at most 1000; make a group");
    }
  }
  settings.rights.push_back(std::move(rights));
  return reader.no_others();
}

// A text that toml++ may see. Version 3.3 runs into what it takes for unreachable on the way to
// some messages about characters beyond ASCII, so it gets none: each of their bytes is a word that
// the text does not hold and two hex digits. Keys and strings are turned back in what it read.
class AsciiForm {
 public:
  // REQUIRES: UTF-8.
  explicit AsciiForm(std::string_view text) {
    constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
    if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
    // It begins with no letter of an escape, and no part of it is both its beginning and its end:
    // so what stands around it changes nothing.
    for (int number = 0; word_.empty() || text.find(word_) != std::string_view::npos; ++number) {
      word_ = "zbyte" + std::to_string(number) + 'x';
    }
    for (const char c : text) {
      const auto byte = static_cast<std::byte>(c);
      if (byte < std::byte{0x80}) {
        text_ += c;
      } else {
        text_.append(word_).append(to_hex(ByteSpan(&byte, 1)));
      }
    }
  }
  const std::string& text() const { return text_; }

  std::string restored(std::string_view text) const {
    std::string out;
    std::string_view rest = text;
    for (;;) {
      const auto at = rest.find(word_);
      if (at == std::string_view::npos) break;
      const auto byte = from_hex(rest.substr(at + word_.size(), 2));
      if (!byte || byte->size() != 1) break;
      out.append(rest.substr(0, at)).append(as_text(*byte));
      rest.remove_prefix(at + word_.size() + 2);
    }
    out.append(rest);
    // Escapes may have made the word anew.
    return is_utf8(out) ? out : std::string(text);
  }
  // Of a whole tree. False: two keys of a table are one.
  bool restore(toml::node& node) const {
    if (auto* value = node.as_string()) {
      **value = restored(value->get());
    } else if (auto* array = node.as_array()) {
      for (auto& element : *array) {
        if (!restore(element)) return false;
      }
    } else if (auto* table = node.as_table()) {
      std::vector<toml::key> changed;
      for (auto&& [key, member] : *table) {
        if (!restore(member)) return false;
        if (key.str().find(word_) != std::string_view::npos) changed.push_back(key);
      }
      for (const toml::key& key : changed) {
        const toml::key name(restored(key.str()), key.source());
        if (name.str() == key.str()) continue;
        if (table->contains(name.str())) return false;
        table->get(key.str())->visit([&](auto& member) { table->insert(name, std::move(member)); });
        table->erase(key.str());
      }
    }
    return true;
  }

 private:
  std::string word_;
  std::string text_;
};

// The line of the first byte that is not part of UTF-8.
std::optional<std::size_t> broken_line(std::string_view text) {
  for (std::size_t line = 1; !is_utf8(text); ++line) {
    const auto end = text.find('\n');
    if (!is_utf8(text.substr(0, end))) return line;
    text.remove_prefix(end + 1);
  }
  return std::nullopt;
}

}  // namespace

bool can_listen(const Address& address) {
  const auto endpoint = net::parse_endpoint(address);
  return endpoint && (endpoint->kind == net::SocketKind::kTcp ||
                      endpoint->kind == net::SocketKind::kUnixStream);
}

Result<HubSettings, Error> parse_hub_settings(std::string_view text, const std::string& name) {
  if (text.size() > HubSettings::kMaxFileSize) {
    return Error{ErrorKind::kUsage, name + " is too large for a settings file"};
  }
  if (const auto line = broken_line(text)) {
    return Error{ErrorKind::kUsage, name + ", line " + std::to_string(*line) + ": is not UTF-8"};
  }
  const AsciiForm form(text);
  toml::table root;
  try {
    root = toml::parse(form.text(), name);
  } catch (const toml::parse_error& error) {
    return Error{ErrorKind::kUsage, name + ", line " + std::to_string(error.source().begin.line) +
                                        ": " + printable(form.restored(error.description()))};
  }
  if (!form.restore(root)) {
    return Error{ErrorKind::kUsage, name + " has two keys of one name in a table"};
  }
  HubSettings settings;
  settings.mailbox.offline = mailbox::OfflinePolicy::kDurable;
  Reader reader(root, name);
  SEALANE_TRY(const auto listen, reader.text("listen"));
  std::int64_t port = 0;
  SEALANE_TRY(const bool has_port, reader.number("port", 0, 65535, port));
  if (listen && has_port)
    return reader.wrong_key("port", "and listen say the same thing; keep one");
  if (listen && !can_listen({*listen})) {
    return reader.wrong_key("listen", "is wrong: " + std::string(kListenAddressForm));
  }
  if (listen) settings.listen = *listen;
  if (has_port) settings.listen = "tcp:0.0.0.0:" + std::to_string(port);
  SEALANE_TRY(reader.count("challenge_size",
                           static_cast<std::int64_t>(hub::HubOptions::kMinChallenge),
                           static_cast<std::int64_t>(hub::HubOptions::kMaxChallenge),
                           settings.connection.challenge_size));
  const auto section = [&](std::string_view key) -> Result<const toml::table*, Error> {
    const toml::node* node = reader.find(key);
    if (node == nullptr) return static_cast<const toml::table*>(nullptr);
    if (!node->is_table()) return reader.wrong_key(key, "must be a table");
    return node->as_table();
  };
  SEALANE_TRY(const toml::table* client, section("client"));
  if (client != nullptr) {
    SEALANE_TRY(read_client(*client, name, settings));
  }
  SEALANE_TRY(const toml::table* hub, section("hub"));
  if (hub != nullptr) {
    SEALANE_TRY(read_hub(*hub, name, settings));
  }
  SEALANE_TRY(const toml::table* groups, section("group"));
  if (groups != nullptr) {
    for (const auto& [key, node] : *groups) {
      if (!node.is_table()) return reader.wrong(node, "a group is a table");
      SEALANE_TRY(read_group(*node.as_table(), name, std::string(key.str()), settings));
    }
  }
  SEALANE_TRY(const toml::table* rights, section("rights"));
  if (rights != nullptr) {
    for (const auto& [key, node] : *rights) {
      if (!node.is_table()) return reader.wrong(node, "the rights of a client are a table");
      SEALANE_TRY(read_rights(*node.as_table(), name, std::string(key.str()), settings));
    }
  }
  SEALANE_TRY(reader.no_others());
  if (mailbox::Mailbox::check(settings.mailbox)) {
    return Error{ErrorKind::kUsage,
                 name + ": one client's queue_bytes must not be above queue_total_bytes"};
  }
  return settings;
}

}  // namespace sealane::node
