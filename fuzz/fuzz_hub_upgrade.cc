// Whole connections behind a null cipher: the first byte chooses the side and what the other side
// is listed as, the rest is what the other side sends. Every signature verifies, so that the input
// gets as far as the upgrade; sealed frames it cannot make.
#include <deque>

#include "base/check.h"
#include "hub/client_connection.h"
#include "hub/hub_connection.h"

namespace {

using namespace sealane;
using namespace sealane::hub;

class Counting final : public RandomSource {
 public:
  void fill(MutableByteSpan out) override {
    for (std::byte& byte : out) byte = static_cast<std::byte>(++next_ * 37);
  }

 private:
  unsigned next_ = 0;
};

JobResult run_null(const Job& job) {
  JobResult result{.number = job.number, .outcome = Bytes()};
  if (const auto* open = std::get_if<DecryptJob>(&job.work)) result.outcome = open->cipher;
  if (const auto* seal = std::get_if<EncryptJob>(&job.work)) result.outcome = seal->plain;
  if (std::holds_alternative<SignJob>(job.work)) result.outcome = Bytes(256);
  return result;
}

const std::shared_ptr<const crypto::RsaPrivateKey>& own_key() {
  static const auto key =
      std::make_shared<const crypto::RsaPrivateKey>(crypto::RsaPrivateKey::generate());
  return key;
}

// Feeds the input in uneven pieces; `answer` sees every event but jobs.
template <class Core, class Last, class Answer>
void drive(Core& core, ByteSpan input, const Answer& answer) {
  bool over = false;
  SteadyTime now{};
  const auto settle = [&] {
    std::deque<Job> jobs;
    for (;;) {
      while (auto event = core.next_event()) {
        SEALANE_CHECK(!over);  // the last event is the last
        if (auto* job = std::get_if<Job>(&*event)) {
          jobs.push_back(std::move(*job));
        } else {
          over = std::holds_alternative<Last>(*event);
          answer(*event, now);
        }
      }
      if (jobs.empty()) return;
      core.job_done(run_null(jobs.front()), now);
      jobs.pop_front();
    }
  };
  settle();
  for (std::size_t piece = 1; !input.empty(); piece = piece * 7 % 1021) {
    if (!core.wants_input()) {
      if (!core.deadline()) break;
      now = std::max(now, *core.deadline());
      core.on_deadline(now);
      settle();
      if (!core.wants_input()) break;
    }
    const std::size_t taken = core.receive(input.first(std::min(piece, input.size())), now);
    input = input.subspan(taken);
    settle();
    core.output_sent(core.next_output().size());
    settle();
  }
  core.on_end(now);
  settle();
  for (int i = 0; i < 100 && !over; ++i) {
    SEALANE_CHECK(core.deadline());
    now = std::max(now, *core.deadline());
    core.on_deadline(now);
    settle();
  }
  SEALANE_CHECK(over);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const ByteSpan input = std::as_bytes(std::span(data + 1, size - 1));
  Counting random;
  if ((data[0] & 1) == 0) {
    static const auto options = [] {
      auto made = std::make_shared<HubOptions>();
      made->key = own_key();
      made->key_pem = made->key->public_key().to_pem();
      made->challenge_size = 82;
      return made;
    }();
    static const auto peer = std::make_shared<const crypto::RsaPublicKey>(own_key()->public_key());
    HubConnection core(options, random, {}, {});
    const ClientKind kind = (data[0] & 2) == 0 ? ClientKind::kLegacy : ClientKind::kSealane;
    drive<HubConnection, HubStopped>(core, input, [&](const HubEvent& event, SteadyTime now) {
      if (std::holds_alternative<LookUp>(event)) core.known(peer, kind, now);
      if (std::holds_alternative<Login>(event)) core.admit(0, now);
    });
  } else {
    ClientOptions options;
    options.key = own_key();
    options.trust = HubTrust::kAcceptNew;
    options.hub_kind = static_cast<HubKind>(1 + (data[0] >> 1) % 3);
    ClientConnection core(options, random, {}, {});
    drive<ClientConnection, ClientStopped>(core, input, [](const ClientEvent&, SteadyTime) {});
  }
  return 0;
}
