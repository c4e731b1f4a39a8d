// Sends each line of its input to lane_server over an encrypted session and prints the answers,
// written as one coroutine.
//
//   lane_client ADDRESS KEY PEER     as for lane_server; ADDRESS with a numeric HOST
//
// Uses only installed headers.
#include <cstdio>
#include <iostream>
#include <string>

#include "sealane/base/seams.h"
#include "sealane/identity/keys.h"
#include "sealane/net/lane_task.h"
#include "sealane/store/system.h"

namespace {

using namespace sealane;

constexpr std::size_t kMaxKeyFile = 64 * 1024;
constexpr std::chrono::seconds kPatience{20};

int fail(const std::string& message) {
  std::fprintf(stderr, "lane_client: %s\n", message.c_str());
  return 1;
}

Result<net::LaneOptions, Error> load_keys(const std::string& own, const std::string& peer) {
  net::LaneOptions options;
  SEALANE_TRY(auto text, identity::read_private_file(system_files(), own));
  auto key = identity::parse_private_key(text.expose_text());
  if (!key.has_value()) {
    return Error{ErrorKind::kUsage, own + ": " + std::string(describe(key.error()))};
  }
  options.identity = std::make_shared<const identity::SigningKey>(std::move(key).value());
  const auto line = read_file(system_files(), peer, kMaxKeyFile);
  if (!line.has_value()) return to_error(line.error());
  const auto known = identity::parse_peer_key(to_text(line.value()));
  if (!known.has_value()) {
    return Error{ErrorKind::kUsage, peer + ": " + std::string(describe(known.error()))};
  }
  options.peer = known.value();
  options.peer_code = net::PeerCode::kSealane;
  return options;
}

SteadyTime deadline() { return std::chrono::steady_clock::now() + kPatience; }

net::Task<Result<void, Error>> talk(net::LaneHost& host, Address to, net::LaneOptions options) {
  SEALANE_CO_TRY(const auto lane, co_await net::dial(host, to, options, deadline()));
  SEALANE_CO_TRY(co_await net::established(*lane, deadline()));
  ByteArray<16> shared{};
  SEALANE_CO_TRY(lane->export_key("example", {}, shared));
  std::fprintf(stderr, "shared %s\n", to_hex(shared).c_str());

  Bytes buffer(64 * 1024);
  std::string line;
  // Reading the terminal holds up the host's thread, which has nothing else to do here.
  while (std::getline(std::cin, line)) {
    if (line.empty()) continue;
    SEALANE_CO_TRY(co_await net::send(*lane, net::Channel{1}, as_bytes(line), deadline()));
    std::string answer;
    while (answer.size() < line.size()) {
      SEALANE_CO_TRY(const auto size, co_await net::read(*lane, buffer, deadline()));
      if (size == 0) co_return Error{ErrorKind::kFailed, "the server has gone"};
      answer += to_text(ByteSpan(buffer).first(size));
    }
    std::printf("%s\n", answer.c_str());
  }
  lane->close();
  co_return co_await net::closed(*lane, deadline());
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) return fail("usage: lane_client ADDRESS KEY PEER");
  auto options = load_keys(argv[2], argv[3]);
  if (!options.has_value()) return fail(options.error().message);
  net::LaneHost host(system_clock(), system_random());
  const auto result = net::run(host, talk(host, {argv[1]}, std::move(options).value()));
  return result.has_value() ? 0 : fail(result.error().message);
}
