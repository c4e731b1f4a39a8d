#pragma once
// HubSettings: how a hub is run, from a TOML file or flags. docs/hub.md lists every key.
#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "hub/hub_connection.h"
#include "mailbox/mailbox.h"
#include "sealane/base/network.h"
#include "sealane/base/result.h"

namespace sealane::node {

struct HubGroup {
  std::string name;
  mailbox::ClientId address;
  mailbox::GroupPolicy policy;
};

// What one client may do, and see. Names of clients and groups, or ids.
struct HubRights {
  std::string client;
  std::optional<std::vector<std::string>> send_to;  // missing: to anyone; empty: to nobody
  bool sees_presence = true;
};

struct HubSettings {
  static constexpr std::size_t kMaxFileSize = 1 << 20;  // bounds parsing
  std::string listen = "tcp:0.0.0.0:4000";
  // Of each connection; its key comes from the state directory.
  hub::HubOptions connection;
  mailbox::Options mailbox;
  // Connections that have not proven who they are. One more pushes out the oldest of them, so that
  // silent ones keep nobody out.
  std::size_t max_unproven = 256;
  std::size_t max_connections = 20'000;  // of all kinds; bounds descriptors
  bool log_messages = false;             // each message in the audit log: who, to whom, how large
  std::vector<HubGroup> groups;
  std::vector<HubRights> rights;  // who is not named here may send to anyone and see everybody
};

// A TCP address in numbers, or a UNIX socket.
bool can_listen(const Address& address);
inline constexpr std::string_view kListenAddressForm =
    "where a hub listens is tcp:HOST:PORT, HOST in numbers, or unix:PATH";

// The reason is one sentence with the line. Unknown keys are errors, except in [client], whose
// members travel to the clients.
Result<HubSettings, Error> parse_hub_settings(std::string_view text, const std::string& name);

}  // namespace sealane::node
