// Goal: a client that sends rubbish costs the hub a bounded amount and nobody else anything.
// Method: good messages of every kind, mutated by a seed, go in as frames that open (the RSA step
// is the identity, so that all decoders are reached), a million of them in the optimized build;
// another client of the same hub goes on talking meanwhile.
#include <gtest/gtest.h>

#include <random>

#include "hub/frame.h"
#include "tests/hub/capture.h"
#include "tests/hub/kit.h"

namespace sealane::hub {
namespace {

using namespace testing;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr std::size_t kFrames = 20'000;
#else
constexpr std::size_t kFrames = 1'000'000;
#endif

// Only the login is checked; afterwards what comes is what it says.
JobResult run_open(const Job& job) {
  if (const auto* open = std::get_if<DecryptJob>(&job.work)) {
    JobResult honest = run_cheap(job);
    if (honest.outcome.has_value()) return honest;
    return JobResult{.number = job.number, .outcome = open->cipher};
  }
  return run_cheap(job);
}

std::vector<Bytes> seeds() {
  std::vector<Bytes> all;
  for (const auto& [what, bytes] : capture().encoded) all.push_back(bytes);
  for (const auto& row : capture().decoded) {
    if (!row.input.empty()) all.push_back(row.input);
  }
  Config answer;
  answer.extension_version = 1;
  answer.features = kAllFeatures;
  answer.share.emplace();
  answer.share->fill(std::byte{9});
  answer.proof = Bytes(256, std::byte{3});
  all.push_back(encode(
      Message{C2sMessage{.type = C2sType::kConfig, .time = 1, .data = to_bytes(encode(answer))}}));
  all.push_back(encode(ExtensionMessage{
      SendMessage{.to = id_of("B"), .ref = SenderRef{1}, .content = content_of("x")}}));
  return all;
}

TEST(Mutation, RubbishHarmsNobody) {
  std::mt19937_64 draws(1);
  const auto draw = [&](std::uint64_t bound) { return draws() % bound; };
  const std::vector<Bytes> good = seeds();
  const auto options = hub_options();
  Pair other(options, client_options("B", HubKind::kSealane));
  ASSERT_EQ(other.hub.all<Ready>().size(), 1u);
  std::size_t said = 0;
  std::size_t connections = 0;
  std::size_t most_output = 0;
  std::unique_ptr<HubEnd> hub;
  for (std::size_t i = 0; i < kFrames; ++i) {
    if (!hub) {
      hub = std::make_unique<HubEnd>(options, SteadyTime{}, i);
      hub->listed[id_of("A")] = draw(4) == 0 ? ClientKind::kSealane : ClientKind::kLegacy;
      ClientEnd client(client_options("A", HubKind::kAny));
      give(client, take_output(*hub));
      give(*hub, take_output(client));
      take_output(*hub);
      ASSERT_EQ(hub->all<Login>().size(), 1u);
      hub->runner = &run_open;
      ++connections;
    }
    Bytes frame = good[draw(good.size())];
    for (std::uint64_t times = draw(4); times > 0 && !frame.empty(); --times) {
      const std::size_t at = draw(frame.size());
      switch (draw(4)) {
        case 0:
          frame[at] ^= static_cast<std::byte>(1u << draw(8));
          break;
        case 1:
          frame[at] = static_cast<std::byte>(draw(256));
          break;
        case 2:
          frame.resize(at);
          break;
        default:
          frame.insert(frame.begin() + static_cast<std::ptrdiff_t>(at), draw(64), std::byte{0xff});
      }
    }
    // Most of what would be a good STOP is not, or there would be more logins than frames.
    if (!frame.empty() && frame[0] == std::byte{0x1f} && draw(50) != 0) frame[0] = std::byte{0x10};
    give(*hub, encode_frame(frame));
    most_output = std::max(most_output, take_output(*hub).size());
    if (i % 1000 == 0) {
      ASSERT_TRUE(
          other.client.core
              .send({.to = id_of("A"), .ref = {}, .part = {}, .data = as_bytes("still here")},
                    other.client.now)
              .has_value());
      other.go();
      ASSERT_EQ(other.hub.all<Submitted>().size(), ++said);
    }
    const bool over = hub->stopped().has_value() || hub->core.counters().frames_in > 2'000;
    hub->events.clear();
    if (over) hub.reset();
  }
  EXPECT_GT(connections, kFrames / 2'500);
  EXPECT_LE(most_output, 2u * (2 + 256));
}

}  // namespace
}  // namespace sealane::hub
