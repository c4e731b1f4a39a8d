#include "tests/hub/kit.h"

#include "base/byte_reader.h"
#include "hub/frame.h"
#include "tests/hub/capture.h"

namespace sealane::hub::testing {
namespace {

constexpr std::size_t kTagSize = 8;  // of a stand-in block: whose it is
constexpr std::size_t kSumSize = 8;  // and whether it is damaged
constexpr std::size_t kHeadSize = kTagSize + kSumSize + 2;

std::uint64_t sum_of(ByteSpan bytes) {
  std::uint64_t sum = 14695981039346656037u;
  for (const std::byte byte : bytes)
    sum = (sum ^ std::to_integer<std::uint64_t>(byte)) * 1099511628211u;
  return sum;
}

// tag, sum, size, plain, zeros
Bytes cheap_block(const crypto::RsaPublicKey& key, ByteSpan plain) {
  Bytes block(key.size());
  const MutableByteSpan out(block);
  const crypto::Sha256Digest owner = key.fingerprint();
  std::ranges::copy(ByteSpan(owner).first(kTagSize), out.begin());
  store_integer(out.subspan(kTagSize + kSumSize), static_cast<std::uint16_t>(plain.size()));
  std::ranges::copy(plain, out.begin() + kHeadSize);
  store_integer(out.subspan(kTagSize), sum_of(out.subspan(kTagSize + kSumSize)));
  return block;
}
std::optional<Bytes> open_cheap_block(const crypto::RsaPublicKey& key, ByteSpan block) {
  const crypto::Sha256Digest owner = key.fingerprint();
  if (!std::ranges::equal(ByteSpan(owner).first(kTagSize), block.first(kTagSize)) ||
      load<std::uint64_t>(block.subspan(kTagSize)) != sum_of(block.subspan(kTagSize + kSumSize))) {
    return std::nullopt;
  }
  const auto size = load<std::uint16_t>(block.subspan(kTagSize + kSumSize));
  return to_bytes(block.subspan(kHeadSize, size));
}
Bytes cheap_signature(const crypto::RsaPublicKey& key, ByteSpan message) {
  Bytes signature(key.size());
  Bytes input = to_bytes(key.fingerprint());
  input.insert(input.end(), message.begin(), message.end());
  store_integer(signature, sum_of(input));
  return signature;
}

struct Cheap {
  JobOutcome operator()(const DecryptJob& job) const {
    Bytes plain;
    const std::size_t size = job.key->size();
    if (job.cipher.size() % size != 0) return crypto::RsaError::kRefused;
    for (std::size_t at = 0; at < job.cipher.size(); at += size) {
      const auto block =
          open_cheap_block(job.key->public_key(), ByteSpan(job.cipher).subspan(at, size));
      if (!block) return crypto::RsaError::kRefused;
      plain.insert(plain.end(), block->begin(), block->end());
    }
    return plain;
  }
  JobOutcome operator()(const EncryptJob& job) const {
    Bytes cipher;
    for (std::size_t at = 0; at < job.plain.size(); at += kPlainBlockSize) {
      const ByteSpan rest = ByteSpan(job.plain).subspan(at);
      const Bytes block = cheap_block(*job.key, rest.first(std::min(rest.size(), kPlainBlockSize)));
      cipher.insert(cipher.end(), block.begin(), block.end());
    }
    return cipher;
  }
  JobOutcome operator()(const SignJob& job) const {
    return cheap_signature(job.key->public_key(), job.message);
  }
  JobOutcome operator()(const VerifyJob& job) const {
    if (job.signature != cheap_signature(*job.key, job.message)) return crypto::RsaError::kRefused;
    return Bytes();
  }
};

}  // namespace

const Person& person(const std::string& name) {
  static const std::map<std::string, Person> people = [] {
    std::map<std::string, Person> all;
    for (const char* who : {"server", "A", "B", "stranger"}) {
      const auto key = std::make_shared<const crypto::RsaPrivateKey>(
          crypto::RsaPrivateKey::from_pem(as_bytes(capture().private_pems.at(who))).value());
      const auto id = capture().ids.find(who == std::string("stranger") ? "unknown-id" : who);
      all[who] = {.id = id == capture().ids.end() ? ClientId{} : id->second,
                  .key = key,
                  .public_key = std::make_shared<const crypto::RsaPublicKey>(key->public_key())};
    }
    return all;
  }();
  return people.at(name);
}

ClientId id_of(const std::string& name) { return capture().ids.at(name); }

JobResult run_cheap(const Job& job) {
  return JobResult{.number = job.number, .outcome = std::visit(Cheap{}, job.work)};
}

std::shared_ptr<HubOptions> hub_options() {
  auto options = std::make_shared<HubOptions>();
  options->key = person("server").key;
  options->key_pem = options->key->public_key().to_pem();
  return options;
}

ClientOptions client_options(const std::string& name, HubKind kind) {
  ClientOptions options;
  options.id = person(name).id;
  options.key = person(name).key;
  options.hub_kind = kind;
  options.pin = person("server").public_key->fingerprint();
  return options;
}

void HubEnd::settle() {
  std::vector<Job> jobs;
  for (;;) {
    while (auto event = core.next_event()) {
      if (auto* job = std::get_if<Job>(&*event)) {
        jobs.push_back(std::move(*job));
      } else if (const auto* who = std::get_if<LookUp>(&*event)) {
        const auto found = listed.find(who->id);
        if (found == listed.end()) {
          core.unknown(now);
        } else {
          core.known(person(found->first == id_of("A") ? "A" : "B").public_key, found->second, now);
        }
      } else {
        if (admits && std::holds_alternative<Login>(*event)) core.admit(highest_ref, now);
        events.push_back(std::move(*event));
      }
    }
    if (jobs.empty()) return;
    for (const Job& job : std::exchange(jobs, {})) core.job_done(runner(job), now);
  }
}

void ClientEnd::settle() {
  std::vector<Job> jobs;
  for (;;) {
    while (auto event = core.next_event()) {
      if (auto* job = std::get_if<Job>(&*event)) {
        jobs.push_back(std::move(*job));
      } else {
        events.push_back(std::move(*event));
      }
    }
    if (jobs.empty()) return;
    for (const Job& job : std::exchange(jobs, {})) core.job_done(runner(job), now);
  }
}

std::vector<Bytes> frames_of(ByteSpan stream) {
  std::vector<Bytes> frames;
  while (stream.size() >= kFrameHeaderSize) {
    const std::size_t size = kFrameHeaderSize + load<std::uint16_t>(stream);
    if (size > stream.size()) break;
    frames.push_back(to_bytes(stream.first(size)));
    stream = stream.subspan(size);
  }
  return frames;
}

void pump(HubEnd& hub, ClientEnd& client, std::size_t cut) {
  for (;;) {
    const Bytes down = take_output(hub);
    give(client, down, cut);
    const Bytes up = take_output(client);
    give(hub, up, cut);
    if (down.empty() && up.empty()) return;
  }
}

Pair::Pair(std::shared_ptr<const HubOptions> how, ClientOptions who, std::size_t cut,
           const Runner& runner)
    : hub(std::move(how)), client(std::move(who)) {
  hub.runner = client.runner = runner;
  go(cut);
}
Pair::Pair(std::shared_ptr<const HubOptions> how, ClientOptions who, ClientKind kind)
    : hub(std::move(how)), client(std::move(who)) {
  for (auto& entry : hub.listed) entry.second = kind;
  go();
}

void Pair::pass(std::chrono::nanoseconds time) {
  const SteadyTime end = hub.now + time;
  for (;;) {
    SteadyTime next = end;
    for (const auto& due : {hub.core.deadline(), client.core.deadline()}) {
      if (due) next = std::min(next, std::max(*due, hub.now));
    }
    hub.now = client.now = next;
    if (hub.core.deadline() && *hub.core.deadline() <= next) hub.core.on_deadline(next);
    if (client.core.deadline() && *client.core.deadline() <= next) client.core.on_deadline(next);
    go();
    if (next == end) return;
  }
}

Bytes content_of(std::string_view data, bool sealed) {
  return encode(Content{.part = {}, .sealed = sealed, .data = sealane::to_bytes(data)});
}

}  // namespace sealane::hub::testing
