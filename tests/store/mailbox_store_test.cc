// Goal: what the queue has acknowledged survives every failure, full disk, crash and power loss at
// every call of the file-system seam, and a batch is there whole or not at all. Method: a script of
// batches against a simulated disk that stops at call 0, 1, 2 … until the script no longer reaches
// that call; then the store is opened again and compared with a model.
#include "store/mailbox_store.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <map>

#include "tests/support/simulated_files.h"

namespace sealane::store {
namespace {

using mailbox::ClientId;
using mailbox::Message;
using mailbox::MessageId;
using mailbox::RefWindow;
using mailbox::SenderRef;
using mailbox::StoreBatch;

constexpr const char* kPath = "/queue.db";

ClientId id_of(std::uint8_t number) {
  ClientId id;
  id.bytes[0] = std::byte{number};
  return id;
}

Message message(std::uint64_t id, std::size_t size = 100) {
  return {
      .id = MessageId{id},
      .sender = id_of(1),
      .recipient = id_of(2),
      .group = id % 2 == 0 ? std::optional(id_of(9)) : std::nullopt,
      .ref = id % 3 == 0 ? std::nullopt : std::optional(SenderRef{UINT64_MAX - id}),
      .accepted_at = WallTime(std::chrono::seconds(1'700'000'000)) + std::chrono::nanoseconds(id),
      .lifetime = std::chrono::hours(1),
      .data = std::make_shared<const Bytes>(size, static_cast<std::byte>(id))};
}

struct Model {
  std::map<MessageId, Message> messages;
  std::map<ClientId, RefWindow> windows;
  void apply(const StoreBatch& batch) {
    for (const ClientId& client : batch.forgotten) windows.erase(client);
    for (const Message& added : batch.added) messages[added.id] = added;
    for (const MessageId id : batch.removed) messages.erase(id);
    for (const auto& [client, window] : batch.windows) windows[client] = window;
  }
  bool equals(const mailbox::StoredState& state) const {
    if (state.messages.size() != messages.size() || state.windows.size() != windows.size()) {
      return false;
    }
    auto at = messages.begin();
    for (const Message& found : state.messages) {
      const Message& want = (at++)->second;
      if (found.id != want.id || found.sender != want.sender || found.group != want.group ||
          found.recipient != want.recipient || found.ref != want.ref ||
          found.accepted_at != want.accepted_at || found.lifetime != want.lifetime ||
          *found.data != *want.data) {
        return false;
      }
    }
    for (const auto& [client, window] : state.windows) {
      const auto want = windows.find(client);
      if (want == windows.end() || want->second != window) return false;
    }
    return true;
  }
};

// The script: batches of all kinds, also ones that make the log grow and be checkpointed.
std::vector<StoreBatch> script(std::uint64_t first) {
  std::vector<StoreBatch> batches;
  for (std::uint64_t number = 0; number < 6; ++number) {
    StoreBatch batch{.number = number + 1};
    RefWindow window;
    window.take(SenderRef{number + 1});
    for (std::uint64_t i = 0; i < 5; ++i) {
      batch.added.push_back(message(first + number * 10 + i, number == 2 ? 20'000 : 100));
    }
    if (number > 0) batch.removed = {MessageId{first + number * 10 - 10}, MessageId{first - 1}};
    batch.windows = {{id_of(1), window}};
    if (number == 4) batch.forgotten = {id_of(1)}, batch.windows.clear();
    batches.push_back(std::move(batch));
  }
  return batches;
}

std::uint64_t first_of(MailboxStore& store) { return static_cast<std::uint64_t>(store.first_id()); }

TEST(MailboxStoreTest, KeepsWhatItWasGivenOverStarts) {
  testing::SimulatedFiles files;
  Model model;
  MessageId first{};
  for (int start = 0; start < 3; ++start) {
    auto store = MailboxStore::open(files, kPath);
    ASSERT_TRUE(store.has_value()) << store.error().message;
    EXPECT_GT(store.value()->first_id(), first);
    first = store.value()->first_id();
    const auto state = store.value()->load();
    ASSERT_TRUE(state.has_value()) << state.error().message;
    EXPECT_TRUE(model.equals(state.value()));
    for (const StoreBatch& batch : script(first_of(*store.value()))) {
      const auto done = store.value()->commit(batch);
      ASSERT_TRUE(done.has_value()) << done.error().message;
      model.apply(batch);
    }
  }
  EXPECT_EQ(files.status(kPath).value().mode & 0777, 0600u);
}

TEST(MailboxStoreTest, SurvivesAStopAtEveryCall) {
  std::uint64_t in_doubt_kept = 0;
  std::uint64_t in_doubt_lost = 0;
  bool reached = true;
  for (std::uint64_t stop = 0; reached; ++stop) {
    for (std::uint64_t seed = 0; seed < 3; ++seed) {  // 0: the process dies; else the power goes
      SCOPED_TRACE("stop at call " + std::to_string(stop) + ", seed " + std::to_string(seed));
      testing::SimulatedFiles files;
      files.stop_at_call(stop);
      Model acknowledged;
      std::optional<Model> in_doubt;
      std::uint64_t last_first = 0;
      {
        auto store = MailboxStore::open(files, kPath);
        if (store.has_value()) {
          last_first = first_of(*store.value());
          for (const StoreBatch& batch : script(last_first)) {
            if (!store.value()->commit(batch).has_value()) {
              in_doubt = acknowledged;
              in_doubt->apply(batch);
              break;
            }
            acknowledged.apply(batch);
          }
        }
      }
      reached = files.stopped();
      if (seed == 0) {
        files.restart_process();
      } else {
        files.restart_after_power_loss(seed);
      }
      auto again = MailboxStore::open(files, kPath);
      ASSERT_TRUE(again.has_value()) << again.error().message;
      EXPECT_GT(first_of(*again.value()), last_first);
      const auto state = again.value()->load();
      ASSERT_TRUE(state.has_value()) << state.error().message;
      const bool kept = in_doubt && in_doubt->equals(state.value());
      ASSERT_TRUE(kept || acknowledged.equals(state.value()));
      if (in_doubt) ++(kept ? in_doubt_kept : in_doubt_lost);
      StoreBatch more{.number = 100, .added = {message(first_of(*again.value()) + 50)}};
      EXPECT_TRUE(again.value()->commit(more).has_value());
    }
  }
  EXPECT_GT(in_doubt_lost, 0u);
}

TEST(MailboxStoreTest, OneFailedCallFailsOneBatchAtMost) {
  testing::SimulatedFiles files;
  {
    auto store = MailboxStore::open(files, kPath);
    ASSERT_TRUE(store.has_value());
  }
  bool reached = true;
  for (std::uint64_t number = 0; reached; ++number) {
    for (const int code : {EIO, ENOSPC}) {
      SCOPED_TRACE("call " + std::to_string(number) + ", errno " + std::to_string(code));
      auto store = MailboxStore::open(files, kPath);
      ASSERT_TRUE(store.has_value()) << store.error().message;
      Model model;
      const auto state = store.value()->load();
      ASSERT_TRUE(state.has_value());
      for (const Message& found : state.value().messages) model.messages[found.id] = found;
      for (const auto& [client, window] : state.value().windows) model.windows[client] = window;
      files.reset_count();
      files.fail_call(number, code);
      std::optional<Model> in_doubt;
      for (const StoreBatch& batch : script(first_of(*store.value()))) {
        const Model before = model;
        model.apply(batch);
        if (!store.value()->commit(batch).has_value()) {
          in_doubt = model;
          model = before;
          break;
        }
      }
      reached = files.call_count() > number;
      files.clear_faults();
      const auto after = store.value()->load();
      ASSERT_TRUE(after.has_value()) << after.error().message;
      EXPECT_TRUE(model.equals(after.value()));  // a refused batch left nothing
    }
  }
}

TEST(MailboxStoreTest, AFullDiskRefusesAndLosesNothing) {
  testing::SimulatedFiles files;
  auto store = MailboxStore::open(files, kPath);
  ASSERT_TRUE(store.has_value());
  files.limit_space(400'000);
  Model model;
  std::uint64_t id = first_of(*store.value());
  std::optional<Error> refused;
  for (int i = 0; i < 100 && !refused; ++i) {
    StoreBatch batch{.number = 1, .added = {message(id++, 20'000)}};
    const auto done = store.value()->commit(batch);
    if (done.has_value()) {
      model.apply(batch);
    } else {
      refused = done.error();
    }
  }
  ASSERT_TRUE(refused);
  EXPECT_NE(refused->message.find("free some space"), std::string::npos) << refused->message;
  EXPECT_GT(model.messages.size(), 3u);
  EXPECT_TRUE(model.equals(store.value()->load().value()));
  files.limit_space(UINT64_MAX);
  StoreBatch batch{.number = 2, .added = {message(id)}};
  EXPECT_TRUE(store.value()->commit(batch).has_value());  // it goes on
  store.value().reset();
  auto again = MailboxStore::open(files, kPath);
  ASSERT_TRUE(again.has_value());
  model.apply(batch);
  EXPECT_TRUE(model.equals(again.value()->load().value()));
}

TEST(MailboxStoreTest, BelievesNoTimeThatCouldNotBeComputedWith) {
  const std::chrono::nanoseconds longest = mailbox::Options::kMaxLifetime;
  struct Row {
    WallTime accepted_at;
    std::chrono::nanoseconds lifetime;
    bool good;
  };
  for (const Row& row : {Row{WallTime(), longest, true}, Row{WallTime::max(), longest, true},
                         Row{WallTime::min(), longest, true},  // becomes 1970
                         Row{WallTime(), std::chrono::nanoseconds(-1), false},
                         Row{WallTime(), longest + std::chrono::nanoseconds(1), false},
                         Row{WallTime(), std::chrono::nanoseconds::max(), false},
                         Row{WallTime(), std::chrono::nanoseconds::min(), false}}) {
    SCOPED_TRACE(row.lifetime.count());
    testing::SimulatedFiles files;
    auto store = MailboxStore::open(files, kPath);
    ASSERT_TRUE(store.has_value());
    Message one = message(first_of(*store.value()));
    one.accepted_at = row.accepted_at;
    one.lifetime = row.lifetime;
    ASSERT_TRUE(store.value()->commit({.number = 1, .added = {one}}).has_value());
    auto state = store.value()->load();
    ASSERT_EQ(state.has_value(), row.good);
    if (!row.good) {
      EXPECT_EQ(state.error().kind, ErrorKind::kVerificationFailed);
      continue;
    }
    EXPECT_GE(state.value().messages.at(0).accepted_at, WallTime());
    const WallTime wall = WallTime() + std::chrono::hours(24 * 365 * 50);
    mailbox::Mailbox box({}, store.value()->first_id(), SteadyTime(), wall);
    ASSERT_TRUE(box.add_client(one.recipient, {}, SteadyTime(), wall));
    box.restore(std::move(state).value(), SteadyTime(), wall);
    box.on_deadline(SteadyTime() + std::chrono::hours(1));
    // What was accepted "in the future" has a whole lifetime; the others are over.
    EXPECT_EQ(box.totals().queued_messages, row.accepted_at == WallTime::max() ? 1u : 0u);
  }
}

TEST(MailboxStoreTest, RefusesAForeignFile) {
  testing::SimulatedFiles files;
  ASSERT_TRUE(write_new_file(files, kPath, as_bytes(std::string(5000, 'x'))).has_value());
  const auto store = MailboxStore::open(files, kPath);
  ASSERT_FALSE(store.has_value());
  EXPECT_EQ(store.error().kind, ErrorKind::kVerificationFailed);
}

}  // namespace
}  // namespace sealane::store
