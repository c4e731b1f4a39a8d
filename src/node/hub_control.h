#pragma once
// The control socket of a hub that runs: one JSON object a line, a request and its answer, for
// commands on the same machine. Who may open the state directory may use it.
//
//   {"command":"status"}  {"command":"clients"}  {"command":"remove","client":"ID"}
//   {"command":"add","client":"ID","file":"what stands in clients/ID"}
// Answers: {"ok":true,…} or {"ok":false,"kind":exit code,"message":"…"}.
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "net/stream_driver.h"
#include "node/hub_server.h"

namespace sealane::node {

net::StreamListenOptions control_limits();
std::unique_ptr<net::StreamHandler> make_control(HubServer& server);

// Asks the hub behind `socket`. Nothing: no hub runs there.
Result<std::optional<nlohmann::json>, Error> ask_control(const std::string& socket,
                                                         const nlohmann::json& request);

// What `status` and `clients` answer, and commands without a hub too; docs/json.md.
nlohmann::json to_json(const HubReport& report);
nlohmann::json to_json(const HubClientReport& report);

}  // namespace sealane::node
