// Goal: our hub and our client carry on the recorded conversations of the Python hub and client,
// whichever way the bytes are cut. Method: the recorded frames of one side are given to ours, with
// real RSA; randomness is the recorded challenge; what ours sends is opened with the recorded keys
// and compared with what the other side sent then.
#include <gtest/gtest.h>

#include "hub/challenge.h"
#include "hub/frame.h"
#include "tests/hub/capture.h"
#include "tests/hub/kit.h"

namespace sealane::hub {
namespace {

using namespace testing;
using namespace std::chrono_literals;

constexpr std::size_t kCuts[] = {1, 2, 3, 255, 256, 257, 1448, 65536};

// Gives the recorded challenge data instead of random ones.
class Scripted final : public RandomSource {
 public:
  explicit Scripted(ByteSpan data) : data_(data) {}
  void fill(MutableByteSpan out) override {
    ASSERT_EQ(out.size(), data_.size());
    std::ranges::copy(data_, out.begin());
  }

 private:
  ByteSpan data_;
};

Bytes open_as(const std::string& who, ByteSpan payload) {
  const JobResult result =
      run(Job{.number = {},
              .work = DecryptJob{.key = person(who).key, .cipher = sealane::to_bytes(payload)}});
  return result.outcome.has_value() ? result.outcome.value() : to_bytes("does not open");
}

struct Replay {
  std::vector<Bytes> sent;  // frames
  std::vector<HubEvent> events;
};

// The recorded client talks to our hub.
Replay replay_to_hub(const CapturedSession& session, std::size_t cut) {
  const auto challenge = decode_challenge(ByteSpan(session.frames[0].wire).subspan(2));
  auto options = hub_options();
  options->bound_challenge = false;
  options->offer_upgrade = false;
  options->heartbeat_timeout = 600s;
  options->heartbeat_interval = 2s;
  Scripted random(challenge->data);
  HubConnection core(options, random, {}, kWall);
  Replay replay;
  Bytes out;
  const auto settle = [&] {
    while (auto event = core.next_event()) {
      if (const auto* job = std::get_if<Job>(&*event)) {
        core.job_done(run(*job), {});
        continue;
      }
      if (const auto* who = std::get_if<LookUp>(&*event)) {
        if (who->id == id_of("A") || who->id == id_of("B")) {
          core.known(person(who->id == id_of("A") ? "A" : "B").public_key, ClientKind::kLegacy, {});
        } else {
          core.unknown({});
        }
      } else if (std::holds_alternative<Login>(*event)) {
        core.admit(0, {});
      } else if (const auto* message = std::get_if<Submitted>(&*event)) {
        if (message->to == *core.client()) {  // loopback
          EXPECT_TRUE(core.deliver({.id = DeliveryId{1},
                                    .sender = message->to,
                                    .group = {},
                                    .accepted_at = kWall,
                                    .content = message->content},
                                   {})
                          .has_value());
        }
      }
      replay.events.push_back(std::move(*event));
    }
    for (ByteSpan next = core.next_output(); !next.empty(); next = core.next_output()) {
      EXPECT_EQ(core.paced(), true);
      EXPECT_EQ(frames_of(next).size(), 1u);
      EXPECT_EQ(frames_of(next)[0].size(), next.size());
      replay.sent.push_back(to_bytes(next));
      core.output_sent(next.size());
    }
  };
  settle();
  for (const CapturedFrame& frame : session.frames) {
    if (!frame.to_hub) continue;
    if (frame.end) {
      core.on_end({});
      settle();
      continue;
    }
    for (ByteSpan rest = frame.wire; !rest.empty();) {
      const std::size_t taken = core.receive(rest.first(std::min(cut, rest.size())), {});
      rest = rest.subspan(taken);
      settle();
      if (taken == 0) break;
    }
  }
  settle();
  return replay;
}

template <class T>
std::vector<T> only(const std::vector<HubEvent>& events) {
  std::vector<T> found;
  for (const HubEvent& event : events) {
    if (const auto* one = std::get_if<T>(&event)) found.push_back(*one);
  }
  return found;
}

TEST(Capture, OurHubTalksWithTheRecordedClients) {
  ASSERT_EQ(capture().sessions.size(), 6u);
  for (const CapturedSession& session : capture().sessions) {
    for (const std::size_t cut : kCuts) {
      if (cut < 255 && session.name != "A") continue;  // the same states again
      SCOPED_TRACE(session.name + " in pieces of " + std::to_string(cut));
      const Replay replay = replay_to_hub(session, cut);
      // The challenge is the recorded one, byte for byte.
      EXPECT_EQ(replay.sent[0], session.frames[0].wire);
      if (session.name == "unknown-id" || session.name == "wrong-key") {
        EXPECT_EQ(replay.sent.size(), 1u);
        EXPECT_EQ(only<HubStopped>(replay.events).at(0).reason, HubStop::kLoginFailed);
        continue;
      }
      ASSERT_GE(replay.sent.size(), 2u);
      const auto config =
          decode_message(open_as(session.client_key, ByteSpan(replay.sent[1]).subspan(2)));
      ASSERT_TRUE(config.has_value());
      EXPECT_EQ(std::get<C2sMessage>(config.value()).type, C2sType::kConfig);
      EXPECT_EQ(as_text(std::get<C2sMessage>(config.value()).data),
                R"({"heartbeat_timeout": 600, "heartbeat_timout": 600, "heartbeat_interval": 2})");
      std::vector<Bytes> expected;
      for (const CapturedFrame& frame : session.frames) {
        if (frame.to_hub && frame.kind == "C2C") expected.push_back(frame.plain);
      }
      std::vector<Bytes> seen;
      for (const Submitted& message : only<Submitted>(replay.events)) {
        EXPECT_FALSE(message.ref);
        const auto content = decode_content(message.content);
        EXPECT_FALSE(content->sealed);
        seen.push_back(encode(Message{C2cMessage{.to = message.to, .data = content->data}}));
      }
      EXPECT_EQ(seen, expected);
      if (session.name == "A") {
        // Loopback, and the answer to its STOP.
        ASSERT_EQ(replay.sent.size(), 4u);
        EXPECT_EQ(open_as("A", ByteSpan(replay.sent[2]).subspan(2)), expected[1]);
        const auto stop = decode_message(open_as("A", ByteSpan(replay.sent[3]).subspan(2)));
        EXPECT_EQ(std::get<C2sMessage>(stop.value()).type, C2sType::kStop);
        EXPECT_EQ(only<HubStopped>(replay.events).at(0).reason, HubStop::kByClient);
      }
    }
  }
}

TEST(Capture, OurClientTalksWithTheRecordedHub) {
  for (const CapturedSession& session : capture().sessions) {
    for (const std::size_t cut : kCuts) {
      if (cut < 255 && session.name != "B") continue;
      SCOPED_TRACE(session.name + " in pieces of " + std::to_string(cut));
      ClientOptions options =
          client_options(session.client_key == "stranger" ? "A" : session.client_key);
      ClientEnd client(options);
      client.runner = &run;
      std::vector<Bytes> messages;
      std::vector<Bytes> sent;
      bool asked = false;
      for (const CapturedFrame& frame : session.frames) {
        if (frame.to_hub) {
          // Ours says what the recorded client said then.
          if (frame.kind == "C2C" && client.core.counters().messages_out == messages.size()) {
            const auto c2c = std::get<C2cMessage>(decode_message(frame.plain).value());
            EXPECT_TRUE(
                client.core.send({.to = c2c.to, .ref = {}, .part = {}, .data = c2c.data}, {})
                    .has_value());
            messages.push_back(frame.plain);
          } else if (frame.kind == "STOP") {
            client.core.stop({});
            asked = true;
          }
        } else if (frame.end) {
          client.core.on_end({});
        } else {
          EXPECT_EQ(give(client, frame.wire, cut), 0u);
        }
        for (const Bytes& one : frames_of(take_output(client))) sent.push_back(one);
      }
      // The response: the id, and a signature over the recorded challenge.
      const auto response = decode_response(open_as("server", ByteSpan(sent.at(0)).subspan(2)));
      EXPECT_EQ(response->id, options.id);
      EXPECT_EQ(sent[0].size(), 514u);
      const auto challenge = decode_challenge(ByteSpan(session.frames[0].wire).subspan(2));
      EXPECT_TRUE(options.key->public_key()
                      .verify(challenge->data, response->signature, crypto::PssSalt::kMaximum)
                      .has_value());
      for (std::size_t i = 0; i < messages.size(); ++i) {
        EXPECT_EQ(open_as("server", ByteSpan(sent.at(i + 1)).subspan(2)), messages[i]);
      }
      std::vector<Bytes> expected;
      for (const CapturedFrame& frame : session.frames) {
        if (!frame.to_hub && frame.kind == "C2C") expected.push_back(frame.plain);
      }
      std::vector<Bytes> seen;
      for (const Incoming& message : client.all<Incoming>()) {
        EXPECT_FALSE(message.sender || message.id || message.sealed);
        seen.push_back(encode(Message{C2cMessage{.to = options.id, .data = message.data}}));
      }
      EXPECT_EQ(seen, expected);
      const std::map<std::string, ClientStop> ends = {
          {"A", ClientStop::kRequested},
          {"B", ClientStop::kRecipientOffline},  // time stands still here: STOP soon after C2C
          {"dup-B", ClientStop::kAlreadyConnected},
          {"unknown-id", ClientStop::kLoginRefused},
          {"wrong-key", ClientStop::kLoginRefused},
          {"unknown-recipient", ClientStop::kRecipientOffline}};
      EXPECT_EQ(client.stopped(), ends.at(session.name));
      EXPECT_EQ(asked, session.name == "A");
    }
  }
}

// With the stand-in for RSA: a whole session, each direction cut in two at every byte.
TEST(Capture, EveryCutInTwo) {
  const auto with_cut = [](std::size_t hub_cut, std::size_t client_cut) {
    HubEnd hub(hub_options());
    for (auto& entry : hub.listed) entry.second = ClientKind::kLegacy;
    ClientEnd client(client_options("A", HubKind::kLegacy));
    std::size_t to_hub = 0;
    std::size_t to_client = 0;
    const auto move = [](auto& end, const Bytes& bytes, std::size_t& total, std::size_t cut) {
      // The byte before the cut ends a piece of its own.
      const std::size_t first = cut > total ? std::min(bytes.size(), cut - total) : 0;
      EXPECT_EQ(give(end, ByteSpan(bytes).first(first)), 0u);
      EXPECT_EQ(give(end, ByteSpan(bytes).subspan(first)), 0u);
      total += bytes.size();
    };
    bool said = false;
    for (int round = 0; round < 6; ++round) {
      move(client, take_output(hub), to_client, client_cut);
      if (!said && !client.all<ClientReady>().empty()) {
        said = true;
        EXPECT_TRUE(
            client.core
                .send({.to = id_of("B"), .ref = {}, .part = {}, .data = as_bytes("hello")}, {})
                .has_value());
        client.core.stop({});
      }
      move(hub, take_output(client), to_hub, hub_cut);
    }
    EXPECT_EQ(hub.all<Submitted>().size(), 1u);
    EXPECT_EQ(hub.stopped(), HubStop::kByClient);
    EXPECT_EQ(client.stopped(), ClientStop::kRequested);
    return std::pair(to_hub, to_client);
  };
  const auto [to_hub, to_client] = with_cut(0, 0);
  for (std::size_t cut = 1; cut < std::max(to_hub, to_client); ++cut) {
    with_cut(std::min(cut, to_hub), std::min(cut, to_client));
    if (HasFailure()) FAIL() << "cut at " << cut;
  }
}

}  // namespace
}  // namespace sealane::hub
