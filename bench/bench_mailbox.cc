// The mailbox and its durable queue without a network: 64 senders that number their messages, each
// with up to 64 under way, to recipients who are away. An item is a message that was accepted: its
// transaction is synced.
#include <benchmark/benchmark.h>
#include <stdlib.h>

#include "mailbox/mailbox.h"
#include "sealane/store/system.h"
#include "store/mailbox_store.h"

namespace sealane {
namespace {

constexpr std::size_t kSenders = 64;
constexpr std::size_t kUnderWay = 64;  // of each sender

mailbox::ClientId id_of(std::size_t number) {
  mailbox::ClientId id;
  id.bytes[15] = static_cast<std::byte>(number);
  return id;
}

void durable_accept(benchmark::State& state) {
  char folder[] = "/var/tmp/sealane-bench-XXXXXX";
  if (::mkdtemp(folder) == nullptr) return state.SkipWithError("no temporary folder");
  const std::string path = std::string(folder) + "/queue.db";
  auto store = store::MailboxStore::open(system_files(), path);
  if (!store.has_value()) return state.SkipWithError(store.error().message.c_str());
  const SteadyTime now = system_clock().steady_now();
  const WallTime wall = system_clock().wall_now();
  mailbox::Options options;
  options.offline = mailbox::OfflinePolicy::kDurable;
  options.client_queue_messages = SIZE_MAX;
  options.client_queue_bytes = options.total_queue_bytes = std::size_t{8} << 30;
  mailbox::Mailbox hub(options, store.value()->first_id(), now, wall);
  std::vector<mailbox::SessionId> senders;
  for (std::size_t i = 0; i < 2 * kSenders; ++i) hub.add_client(id_of(i), {}, now, wall);
  for (std::size_t i = 0; i < kSenders; ++i) {
    senders.push_back(
        hub.connect(id_of(i), {.acknowledges = true, .notices = true}, now, wall).value());
  }
  const auto data =
      std::make_shared<const Bytes>(static_cast<std::size_t>(state.range(0)), std::byte{7});
  std::uint64_t ref = 0;
  std::int64_t accepted = 0;
  for (auto _ : state) {
    for (std::size_t i = 0; i < kUnderWay; ++i) {
      ++ref;
      for (std::size_t sender = 0; sender < kSenders; ++sender) {
        hub.submit(senders[sender],
                   {.to = id_of(kSenders + sender), .ref = mailbox::SenderRef{ref}, .data = data},
                   now, wall);
      }
    }
    const auto batch = hub.next_batch(now);
    const bool good = store.value()->commit(*batch).has_value();
    hub.batch_done(batch->number, good, now);
    for (const mailbox::SessionId sender : senders) {
      while (const auto item = hub.next_item(sender)) {
        accepted += std::holds_alternative<mailbox::Receipt>(*item) ? 1 : 0;
      }
    }
    while (hub.next_event()) {
    }
  }
  state.SetItemsProcessed(accepted);
  store.value().reset();
  for (const char* name : {"/queue.db", "/queue.db-wal"}) {
    static_cast<void>(system_files().remove(folder + std::string(name)));
  }
  static_cast<void>(system_files().remove_directory(folder));
}
BENCHMARK(durable_accept)->Arg(128)->Arg(16 * 1024)->UseRealTime();

}  // namespace
}  // namespace sealane
