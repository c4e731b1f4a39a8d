// Answers messages of one peer over an encrypted session, with plain callbacks and no thread of its
// own: what comes on channel 1 goes back in capitals through the byte pipe. See lane_client.
//
//   lane_server ADDRESS KEY PEER     ADDRESS: tcp:HOST:PORT, udp:HOST:PORT, unix:PATH,
//   seqpacket:PATH
//                                    KEY: our OpenSSH Ed25519 private key, mode 0600
//                                    PEER: the .pub file of the only one we talk to
//
// Prints the address that it listens at, and ends with the peer. Uses only installed headers.
#include <cctype>
#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <string>

#include "sealane/base/seams.h"
#include "sealane/identity/keys.h"
#include "sealane/net/lane.h"
#include "sealane/store/system.h"

namespace {

using namespace sealane;

constexpr std::size_t kMaxKeyFile = 64 * 1024;

int fail(const std::string& message) {
  std::fprintf(stderr, "lane_server: %s\n", message.c_str());
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

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) return fail("usage: lane_server ADDRESS KEY PEER");
  auto options = load_keys(argv[2], argv[3]);
  if (!options.has_value()) return fail(options.error().message);

  std::mutex mutex;
  std::condition_variable changed;
  bool over = false;
  // Handlers run on the host's thread. They are set before anything can come.
  options.value().prepare = [&](net::Lane& lane) {
    lane.set_handler(net::Channel{1}, [&lane](ByteSpan message) {
      std::string answer = to_text(message);
      for (char& letter : answer) letter = static_cast<char>(std::toupper(letter & 0xff));
      // In a handler nothing waits; here the peer waits for each answer, so there is room.
      const auto taken = lane.try_write(as_bytes(answer));
      if (!taken.has_value()) std::fprintf(stderr, "%s\n", taken.error().message.c_str());
      lane.flush();
    });
    // Who came and did not prove to be our peer does not end us.
    const auto established = std::make_shared<bool>(false);
    lane.set_event_handler([&, established](const net::LaneEvent& event) {
      if (!event.text.empty()) std::fprintf(stderr, "%s\n", event.text.c_str());
      if (event.kind == net::LaneEventKind::kEstablished) {
        *established = true;
        // Both ends, and nobody else, can compute it: to bind another protocol to this session.
        ByteArray<16> shared{};
        if (lane.export_key("example", {}, shared).has_value()) {
          std::fprintf(stderr, "shared %s\n", to_hex(shared).c_str());
        }
      }
      if (event.kind != net::LaneEventKind::kClosed || !*established) return;
      const std::lock_guard lock(mutex);
      over = true;
      changed.notify_all();
    });
  };

  net::LaneHost host(system_clock(), system_random());
  auto listener = host.listen({argv[1]}, options.value());
  if (!listener.has_value()) return fail(listener.error().message);
  std::printf("%s\n", listener.value()->local().text.c_str());
  std::fflush(stdout);

  std::unique_ptr<net::Lane> lane;  // lives as long as we talk
  listener.value()->when_accepted([&](Result<std::unique_ptr<net::Lane>, Error> accepted) {
    if (accepted.has_value()) lane = std::move(accepted).value();
  });
  std::unique_lock lock(mutex);
  changed.wait(lock, [&] { return over; });
  lock.unlock();
  listener.value().reset();
  return 0;
}
