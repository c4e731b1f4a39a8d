#include "warm/channel.h"

#include "base/check.h"
#include "net/resolve.h"
#include "net/sockets.h"

namespace sealane::warm {

std::optional<Address> channel_address(std::string_view text) {
  Address out{std::string(text)};
  if (text.starts_with("unix:")) {
    return net::parse_endpoint(out) ? std::optional(out) : std::nullopt;
  }
  out.text.insert(0, "tcp:");
  const std::size_t colon = out.text.rfind(':');
  const bool has_port = colon != 3 && out.text.back() != ']';
  if (!has_port) out.text += ":" + std::to_string(kEntropyPort);
  // A name needs its port: what looks like one may be a file without a slash.
  const bool known = net::parse_endpoint(out) || (has_port && net::is_address(out));
  return known ? std::optional(out) : std::nullopt;
}

}  // namespace sealane::warm
