#pragma once
// Forwarder: connections accepted here go as streams across a lane to targets on the other side,
// and the other way round, to targets that are on our list.
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "flow/descriptor.h"
#include "flow/stream.h"
#include "net/sockets.h"
#include "net/stream_mux.h"
#include "sealane/net/lane.h"

namespace sealane::net {

struct ForwardRule {
  Address local;       // tcp:HOST:PORT or unix:PATH: listened at
  std::string target;  // named to the other side, which must allow exactly this text
};
// "LOCAL=REMOTE". kUsage.
Result<ForwardRule, Error> parse_forward_rule(std::string_view text);

// One connection, when it is over.
struct StreamReport {
  std::string target;
  bool opened_here = false;
  std::uint64_t bytes_sent = 0;  // across the lane
  std::uint64_t bytes_received = 0;
  std::string problem;  // why it ended early; empty when both directions ended
};

// One thread at a time. Listens as long as it lives, also while there is no lane: connections wait
// in the kernel's queue then.
class Forwarder {
 public:
  static constexpr std::uint32_t kWindow = 256 * 1024;  // of one stream, one direction
  static constexpr std::chrono::seconds kConnectTimeout{10};

  // `allowed`: tcp:HOST:PORT or unix:PATH; names are looked up here, once. kUsage, or an address in
  // use.
  static Result<std::unique_ptr<Forwarder>, Error> create(
      const std::vector<ForwardRule>& rules, const std::vector<std::string>& allowed,
      std::function<void(const StreamReport&)> on_stream);
  ~Forwarder();
  Forwarder(const Forwarder&) = delete;
  Forwarder& operator=(const Forwarder&) = delete;

  std::vector<Address> listening() const;  // with the ports that the kernel chose
  // Until the peer says goodbye (success), the lane breaks (kFailed), or it is cancelled
  // (kInterrupted). Connections that are open then are cut.
  Result<void, Error> run(Lane& lane, MuxSide side, const flow::Cancellation& cancel);

 private:
  struct Listening {
    flow::OwnedDescriptor descriptor;
    Address local;
    std::string target;
  };
  class Run;

  Forwarder() = default;
  std::vector<Listening> listeners_;
  std::map<std::string, Endpoint, std::less<>> allowed_;  // by the peer's text for it
  std::function<void(const StreamReport&)> on_stream_;
};

}  // namespace sealane::net
