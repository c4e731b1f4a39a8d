// Goal: each rule of the mailbox, alone. Method: one mailbox, a hand that plays gateway and store,
// and a clock that moves when told.
#include "mailbox/mailbox.h"

#include <gtest/gtest.h>

#include "mailbox/ref_window.h"
#include "tests/support/doubles.h"

namespace sealane::mailbox {
namespace {

using std::chrono::hours;
using std::chrono::seconds;

ClientId id_of(std::uint8_t number) {
  ClientId id;
  id.bytes[15] = std::byte{number};
  return id;
}
const ClientId kAlice = id_of(1);
const ClientId kBob = id_of(2);
const ClientId kCarol = id_of(3);
const ClientId kStranger = id_of(99);
const ClientId kGroup = id_of(200);
constexpr Capabilities kFull{.acknowledges = true, .notices = true};
constexpr Capabilities kLegacy{};

class MailboxTest : public ::testing::Test {
 protected:
  void start(Options options = {}) {
    mailbox.emplace(options, MessageId{1000}, clock.steady_now(), clock.wall_now());
    for (const ClientId& client : {kAlice, kBob, kCarol}) add(client);
  }
  void add(const ClientId& client, ClientPolicy policy = {}) {
    ASSERT_TRUE(
        mailbox->add_client(client, std::move(policy), clock.steady_now(), clock.wall_now()));
  }
  SessionId connect(const ClientId& client, Capabilities capabilities = kFull) {
    const auto session =
        mailbox->connect(client, capabilities, clock.steady_now(), clock.wall_now());
    EXPECT_TRUE(session.has_value());
    return session.value();
  }
  Submitted submit(SessionId from, const ClientId& to, std::string_view text,
                   std::optional<std::uint64_t> ref = std::nullopt) {
    return mailbox->submit(from,
                           {.to = to,
                            .ref = ref ? std::optional(SenderRef{*ref}) : std::nullopt,
                            .data = std::make_shared<const Bytes>(to_bytes(text))},
                           clock.steady_now(), clock.wall_now());
  }
  void disconnect(SessionId session) { mailbox->disconnect(session, clock.wall_now()); }
  // One commit; the batch that it was.
  std::optional<StoreBatch> commit(bool success = true) {
    auto batch = mailbox->next_batch(clock.steady_now());
    if (batch) mailbox->batch_done(batch->number, success, clock.steady_now());
    return batch;
  }
  // All that a session is told, as words; messages are not acknowledged.
  std::string told(SessionId session) {
    std::string words;
    while (auto item = mailbox->next_item(session)) {
      if (!words.empty()) words += ' ';
      if (const auto* message = std::get_if<Message>(&*item)) {
        words += std::string(as_text(*message->data));
        last = message->id;
      } else if (const auto* receipt = std::get_if<Receipt>(&*item)) {
        const char* kinds[] = {"?", "accepted", "received", "passed"};
        words += kinds[static_cast<int>(receipt->kind)];
        words += std::to_string(static_cast<std::uint64_t>(receipt->ref));
      } else if (const auto* error = std::get_if<ErrorNotice>(&*item)) {
        words += "error" + std::to_string(static_cast<int>(error->refusal));
      } else if (const auto* presence = std::get_if<PresenceNotice>(&*item)) {
        words += std::to_string(std::to_integer<int>(presence->client.bytes[15])) +
                 (presence->online ? "+" : "-");
      }
    }
    return words;
  }
  std::vector<EndReason> ended() {
    std::vector<EndReason> reasons;
    while (auto event = mailbox->next_event()) {
      if (const auto* end = std::get_if<SessionEnded>(&*event)) reasons.push_back(end->reason);
    }
    return reasons;
  }
  std::uint64_t refused(Refusal why) {
    return mailbox->counters().refused[static_cast<std::size_t>(why)];
  }
  testing::ManualClock clock{WallTime(hours(24 * 365 * 56))};
  std::optional<Mailbox> mailbox;
  MessageId last{};
};

TEST_F(MailboxTest, IdsAreTextBothWays) {
  EXPECT_EQ(to_text(kAlice), "00000000-0000-0000-0000-000000000001");
  EXPECT_EQ(parse_client_id("00000000000000000000000000000001"), kAlice);
  EXPECT_EQ(parse_client_id("00000000-0000-0000-0000-000000000001"), kAlice);
  for (const char* bad :
       {"", "1", "0000000000000000000000000000000g", "00000000-00000000-0000-0000-000000000001",
        "000000000000000000000000000000010"}) {
    EXPECT_FALSE(parse_client_id(bad)) << bad;
  }
}

TEST_F(MailboxTest, MessagesArriveInOrderAndReceiptsComeBack) {
  start();
  const SessionId alice = connect(kAlice);
  const SessionId bob = connect(kBob);
  submit(alice, kBob, "one", 1);
  submit(alice, kBob, "two", 2);
  EXPECT_EQ(told(bob), "one two");
  EXPECT_EQ(told(alice), "accepted1 accepted2");
  EXPECT_TRUE(mailbox->acknowledge(bob, last));  // and what came before it
  EXPECT_EQ(told(alice), "received1 received2");
  EXPECT_EQ(mailbox->totals().queued_messages, 0u);
  EXPECT_FALSE(mailbox->acknowledge(bob, last));          // once
  EXPECT_FALSE(mailbox->acknowledge(bob, MessageId{7}));  // never given
}

TEST_F(MailboxTest, AMessageToOneselfComesBack) {
  start();
  const SessionId alice = connect(kAlice);
  submit(alice, kAlice, "echo");
  EXPECT_EQ(told(alice), "echo");
}

TEST_F(MailboxTest, WhatWasNotAcknowledgedIsGivenAgain) {
  start();
  const SessionId alice = connect(kAlice);
  SessionId bob = connect(kBob);
  submit(alice, kBob, "one", 1);
  EXPECT_EQ(told(bob), "one");
  disconnect(bob);
  submit(alice, kBob, "two", 2);
  bob = connect(kBob);
  EXPECT_EQ(told(bob), "one two");
  EXPECT_EQ(mailbox->counters().given_again, 1u);
}

TEST_F(MailboxTest, LegacyClientsAreGivenOnceAndTellNobody) {
  start();
  const SessionId alice = connect(kAlice);
  const SessionId bob = connect(kBob, kLegacy);
  submit(alice, kBob, "one", 1);
  EXPECT_EQ(told(bob), "one");
  EXPECT_TRUE(mailbox->handed_over(bob, last));
  EXPECT_EQ(told(alice), "accepted1 passed1");
  submit(bob, kStranger, "x");
  EXPECT_EQ(told(bob), "");
  EXPECT_EQ(refused(Refusal::kUnknown), 1u);
}

// What the gateway cannot hand over is neither delivered nor does it settle what is under way.
TEST_F(MailboxTest, WhatCannotBeHandedOverIsRefusedAlone) {
  start();
  const SessionId alice = connect(kAlice);
  const SessionId bob = connect(kBob);
  submit(alice, kBob, "one", 1);
  submit(alice, kBob, "two", 2);
  submit(alice, kBob, "three", 3);
  EXPECT_EQ(told(alice), "accepted1 accepted2 accepted3");
  std::vector<MessageId> ids;
  while (const auto item = mailbox->next_item(bob)) ids.push_back(std::get<Message>(*item).id);
  ASSERT_EQ(ids.size(), 3u);
  EXPECT_TRUE(mailbox->undeliverable(bob, ids[1]));
  EXPECT_FALSE(mailbox->undeliverable(bob, ids[1]));
  EXPECT_EQ(told(alice), "error5");
  EXPECT_EQ(mailbox->totals().queued_messages, 2u);
  EXPECT_TRUE(mailbox->acknowledge(bob, ids[2]));
  EXPECT_EQ(told(alice), "received1 received3");
  EXPECT_EQ(mailbox->totals().queued_messages, 0u);
  EXPECT_EQ(mailbox->totals().queued_bytes, 0u);
  EXPECT_EQ(mailbox->counters().delivered, 2u);
}

TEST_F(MailboxTest, ANumberThatWasTakenIsAcceptedAgainAndDeliveredOnce) {
  start();
  SessionId alice = connect(kAlice);
  const SessionId bob = connect(kBob);
  submit(alice, kBob, "one", 1);
  disconnect(alice);
  alice = connect(kAlice);
  EXPECT_EQ(mailbox->highest_ref(alice), 1u);
  submit(alice, kBob, "one", 1);
  EXPECT_EQ(told(alice), "accepted1");
  EXPECT_EQ(told(bob), "one");
  submit(alice, kBob, "far", 5000);
  submit(alice, kBob, "late", 1);
  EXPECT_EQ(told(alice), "accepted5000 error8");
}

TEST_F(MailboxTest, RefusalsNameTheReasonAndHurtNobody) {
  start({.offline = OfflinePolicy::kRefuse, .max_message_size = 10});
  const SessionId alice = connect(kAlice);
  EXPECT_EQ(submit(alice, kStranger, "x", 1).refusal, Refusal::kUnknown);
  EXPECT_EQ(submit(alice, kBob, "x", 2).refusal, Refusal::kOffline);
  EXPECT_EQ(submit(alice, kAlice, "more than ten", 3).refusal, Refusal::kTooLarge);
  EXPECT_EQ(told(alice), "error1 error2 error5");
  const SessionId bob = connect(kBob);
  EXPECT_FALSE(submit(alice, kBob, "x", 2).refusal);  // the number is still free
  EXPECT_EQ(told(bob), "x");
  EXPECT_EQ(told(alice), "accepted2");
  EXPECT_TRUE(ended().empty());
}

TEST_F(MailboxTest, RightsArePerRecipient) {
  start();
  add(kAlice, {.send_to_anyone = false, .send_to = {kBob}, .sees_presence = false});
  const SessionId alice = connect(kAlice);
  EXPECT_FALSE(submit(alice, kBob, "x").refusal);
  EXPECT_EQ(submit(alice, kCarol, "x").refusal, Refusal::kDenied);
  EXPECT_EQ(submit(alice, kStranger, "x").refusal, Refusal::kUnknown);
  told(alice);
  mailbox->list_presence(alice);
  EXPECT_EQ(told(alice), "error4");
  mailbox->subscribe_all(alice);
  EXPECT_EQ(told(alice), "error4");
  connect(kCarol);
  EXPECT_EQ(told(alice), "");
}

TEST_F(MailboxTest, QueuesAreBoundedPerClientAndInTotal) {
  start({.client_queue_messages = 3, .client_queue_bytes = 100, .total_queue_bytes = 150});
  const SessionId alice = connect(kAlice);
  for (int i = 0; i < 3; ++i) EXPECT_FALSE(submit(alice, kBob, "x").refusal);
  EXPECT_EQ(submit(alice, kBob, "x").refusal, Refusal::kQueueFull);
  EXPECT_FALSE(submit(alice, kCarol, std::string(90, 'y')).refusal);
  EXPECT_EQ(submit(alice, kCarol, std::string(11, 'y')).refusal, Refusal::kQueueFull);
  EXPECT_EQ(submit(alice, kAlice, std::string(60, 'y')).refusal, Refusal::kQueueFull);
  EXPECT_FALSE(submit(alice, kAlice, std::string(50, 'y')).refusal);
  EXPECT_EQ(mailbox->totals().queued_bytes, 143u);
}

TEST_F(MailboxTest, ASlowRecipientDelaysNobody) {
  start({.client_queue_messages = 5});
  const SessionId alice = connect(kAlice);
  const SessionId bob = connect(kBob);
  const SessionId carol = connect(kCarol);
  for (int i = 0; i < 20; ++i) submit(alice, kBob, "b");  // bob fetches nothing
  submit(alice, kCarol, "c");
  EXPECT_EQ(told(carol), "c");
  EXPECT_EQ(refused(Refusal::kQueueFull), 15u);
  EXPECT_EQ(told(bob), "b b b b b");
}

TEST_F(MailboxTest, OnlySoMuchIsUnderWay) {
  start({.in_flight_messages = 2, .in_flight_bytes = 10});
  const SessionId alice = connect(kAlice);
  const SessionId bob = connect(kBob);
  for (const char* text : {"1", "2", "3", "12345678", "90", "more than the window"}) {
    submit(alice, kBob, text);
  }
  EXPECT_EQ(told(bob), "1 2");
  mailbox->acknowledge(bob, last);
  EXPECT_EQ(told(bob), "3 12345678");
  mailbox->acknowledge(bob, last);
  EXPECT_EQ(told(bob), "90");
  mailbox->acknowledge(bob, last);
  EXPECT_EQ(told(bob), "more than the window");  // alone, or it would never go
}

TEST_F(MailboxTest, WhatAConnectionCannotCarryIsRefusedOrDroppedWithANotice) {
  start();
  const SessionId alice = connect(kAlice);
  submit(alice, kBob, "longer than four", 1);
  submit(alice, kBob, "four", 2);
  EXPECT_EQ(told(alice), "accepted1 accepted2");
  const SessionId bob = connect(kBob, {.acknowledges = true, .notices = true, .max_size = 4});
  EXPECT_EQ(told(bob), "four");
  EXPECT_EQ(told(alice), "error5");
  EXPECT_EQ(submit(alice, kBob, "fiver", 3).refusal, Refusal::kTooLarge);
}

TEST_F(MailboxTest, MessagesExpireByTheSteadyClockAlone) {
  start({.lifetime = seconds(100)});
  const SessionId alice = connect(kAlice);
  submit(alice, kBob, "x", 1);
  EXPECT_EQ(told(alice), "accepted1");
  clock.jump_wall(hours(24 * 365));
  mailbox->on_deadline(clock.steady_now());
  clock.advance(seconds(99));
  mailbox->on_deadline(clock.steady_now());
  EXPECT_EQ(mailbox->totals().queued_messages, 1u);
  clock.jump_wall(-hours(24 * 365 * 2));
  ASSERT_TRUE(mailbox->deadline());
  clock.advance(Mailbox::kSweepInterval);
  mailbox->on_deadline(clock.steady_now());
  EXPECT_EQ(mailbox->totals().queued_messages, 0u);
  EXPECT_EQ(told(alice), "error7");
  EXPECT_EQ(mailbox->counters().expired, 1u);
  EXPECT_FALSE(mailbox->deadline());
}

TEST_F(MailboxTest, ABurstOfExpiryDoesNotEndTheSender) {
  start({.lifetime = seconds(1)});
  const SessionId alice = connect(kAlice);
  for (int i = 0; i < 10'000; ++i) submit(alice, kBob, "x");
  told(alice);
  while (mailbox->totals().queued_messages > 0) {
    clock.advance(Mailbox::kSweepInterval);
    mailbox->on_deadline(clock.steady_now());
    told(alice);
  }
  EXPECT_EQ(mailbox->counters().expired, 10'000u);
  EXPECT_TRUE(ended().empty());
}

TEST_F(MailboxTest, TheSecondLoginTakesOver) {
  start();
  const SessionId first = connect(kBob);
  ended();
  const SessionId second = connect(kBob);
  EXPECT_EQ(ended(), std::vector{EndReason::kReplaced});
  const SessionId alice = connect(kAlice);
  submit(alice, kBob, "x");
  EXPECT_EQ(told(first), "");
  EXPECT_EQ(told(second), "x");
  disconnect(first);  // late news of the gateway: the second one stays
  EXPECT_TRUE(mailbox->status_of(kBob)->online);
}

TEST_F(MailboxTest, TwoMachinesWithOneKeyDoNotPushEachOtherOutForEver) {
  start();
  connect(kBob);
  int taken = 0;
  for (int i = 0; i < 100; ++i) {
    const auto next = mailbox->connect(kBob, kFull, clock.steady_now(), clock.wall_now());
    taken += next.has_value() ? 1 : 0;
    if (!next.has_value()) {
      EXPECT_EQ(next.error(), ConnectError::kDuplicate);
    }
  }
  EXPECT_EQ(taken, static_cast<int>(Mailbox::kTakeoverBurst));
}

TEST_F(MailboxTest, OrTheSecondLoginIsRefused) {
  start({.duplicate = DuplicatePolicy::kRefuse});
  const SessionId first = connect(kBob);
  const auto second = mailbox->connect(kBob, kFull, clock.steady_now(), clock.wall_now());
  ASSERT_FALSE(second.has_value());
  EXPECT_EQ(second.error(), ConnectError::kDuplicate);
  EXPECT_TRUE(ended().empty());
  disconnect(first);
  connect(kBob);
  const auto stranger = mailbox->connect(kStranger, kFull, clock.steady_now(), clock.wall_now());
  EXPECT_EQ(stranger.error(), ConnectError::kUnknown);
}

TEST_F(MailboxTest, PresenceIsListedSubscribedAndCoalesced) {
  start();
  const SessionId alice = connect(kAlice);
  SessionId bob = connect(kBob);
  mailbox->list_presence(alice);
  EXPECT_EQ(told(alice), "2+ 3-");
  disconnect(bob);
  EXPECT_EQ(told(alice), "");  // a list is once
  ASSERT_TRUE(mailbox->subscribe(alice, {kBob}));
  EXPECT_EQ(told(alice), "2-");
  for (int i = 0; i < 50; ++i) {
    bob = connect(kBob);
    disconnect(bob);
  }
  bob = connect(kBob);
  connect(kCarol);
  EXPECT_EQ(told(alice), "2+");
  mailbox->unsubscribe(alice);
  disconnect(bob);
  EXPECT_EQ(told(alice), "");
  mailbox->subscribe_all(alice);
  EXPECT_EQ(told(alice), "2- 3+");
  connect(kBob);
  EXPECT_EQ(told(alice), "2+");
  std::vector<ClientId> many;
  for (std::size_t i = 0; i <= Mailbox::kMaxSubscriptions; ++i) {
    ClientId id;
    id.bytes[0] = static_cast<std::byte>(i >> 8);
    id.bytes[1] = static_cast<std::byte>(i);
    many.push_back(id);
  }
  EXPECT_FALSE(mailbox->subscribe(alice, many));
}

TEST_F(MailboxTest, PresenceSaysSinceWhen) {
  start();
  const SessionId alice = connect(kAlice);
  clock.advance(seconds(10));
  const WallTime then = clock.wall_now();
  connect(kBob);
  clock.advance(seconds(10));
  ASSERT_TRUE(mailbox->subscribe(alice, {kBob}));
  const auto item = mailbox->next_item(alice);
  ASSERT_TRUE(item && std::holds_alternative<PresenceNotice>(*item));
  EXPECT_EQ(std::get<PresenceNotice>(*item).since, then);
}

TEST_F(MailboxTest, AGroupFansOut) {
  start();
  ASSERT_TRUE(mailbox->set_group(kGroup, {.members = {kAlice, kBob, kCarol}}));
  EXPECT_FALSE(mailbox->set_group(kBob, {}));  // an address is one thing
  const SessionId alice = connect(kAlice);
  const SessionId bob = connect(kBob);
  submit(alice, kGroup, "all", 1);
  EXPECT_EQ(told(bob), "all");
  EXPECT_EQ(told(alice), "accepted1");
  const SessionId carol = connect(kCarol);
  const auto item = mailbox->next_item(carol);
  ASSERT_TRUE(item && std::holds_alternative<Message>(*item));
  EXPECT_EQ(std::get<Message>(*item).group, kGroup);
  EXPECT_EQ(std::get<Message>(*item).sender, kAlice);
  add(id_of(4));
  const SessionId outsider = connect(id_of(4));
  EXPECT_EQ(submit(outsider, kGroup, "me too").refusal, Refusal::kDenied);
  ASSERT_TRUE(mailbox->set_group(kGroup, {.members = {kBob}, .members_only = false}));
  EXPECT_FALSE(submit(outsider, kGroup, "me too").refusal);
  EXPECT_TRUE(mailbox->remove_group(kGroup));
  EXPECT_EQ(submit(alice, kGroup, "all").refusal, Refusal::kUnknown);
}

TEST_F(MailboxTest, ARateSlowsOnlyItsSender) {
  start({.messages = {.per_second = 10, .burst = 5}});
  const SessionId alice = connect(kAlice);
  const SessionId bob = connect(kBob);
  std::optional<SteadyTime> pause;
  for (int i = 0; i < 6; ++i) pause = submit(alice, kBob, "x").pause_until;
  ASSERT_TRUE(pause);
  EXPECT_GT(*pause, clock.steady_now());
  EXPECT_FALSE(submit(bob, kAlice, "y").pause_until);
  EXPECT_EQ(mailbox->status_of(kBob)->queued_messages, 6u);  // nothing is lost by it
  EXPECT_EQ(mailbox->counters().slowed, 1u);
  mailbox->set_options({}, clock.steady_now());
  EXPECT_FALSE(submit(alice, kBob, "x").pause_until);
}

TEST_F(MailboxTest, WhoDoesNotReadItsNoticesIsEnded) {
  start();
  const SessionId alice = connect(kAlice);
  for (std::size_t i = 0; i <= Mailbox::kMaxNotices; ++i) submit(alice, kStranger, "x");
  EXPECT_EQ(ended(), std::vector{EndReason::kSlow});
  EXPECT_EQ(told(alice), "");
}

TEST_F(MailboxTest, ARemovedClientIsGoneAtOnce) {
  start({.offline = OfflinePolicy::kDurable});
  const SessionId alice = connect(kAlice);
  const SessionId bob = connect(kBob);
  submit(alice, kBob, "x", 1);
  commit();
  ended();
  EXPECT_TRUE(mailbox->remove_client(kBob, clock.wall_now()));
  EXPECT_EQ(ended(), std::vector{EndReason::kRemoved});
  EXPECT_FALSE(mailbox->remove_client(kBob, clock.wall_now()));
  EXPECT_EQ(told(bob), "");
  EXPECT_EQ(mailbox->totals().queued_bytes, 0u);
  const auto batch = commit();
  ASSERT_TRUE(batch);
  EXPECT_EQ(batch->removed.size(), 1u);
  EXPECT_EQ(batch->forgotten, std::vector{kBob});
  EXPECT_EQ(submit(alice, kBob, "x", 2).refusal, Refusal::kUnknown);
}

TEST_F(MailboxTest, TheNumberOfClientsIsLimited) {
  start({.max_clients = 3});
  EXPECT_FALSE(mailbox->add_client(id_of(50), {}, clock.steady_now(), clock.wall_now()));
  EXPECT_TRUE(mailbox->remove_client(kCarol, clock.wall_now()));
  EXPECT_TRUE(mailbox->add_client(id_of(50), {}, clock.steady_now(), clock.wall_now()));
}

// ---- the store

TEST_F(MailboxTest, AcceptedMeansStored) {
  start({.offline = OfflinePolicy::kDurable});
  const SessionId alice = connect(kAlice);
  const SessionId bob = connect(kBob);
  submit(alice, kBob, "one", 1);
  EXPECT_EQ(told(alice), "");
  EXPECT_EQ(told(bob), "");
  auto batch = mailbox->next_batch(clock.steady_now());
  ASSERT_TRUE(batch);
  EXPECT_EQ(batch->added.size(), 1u);
  EXPECT_EQ(batch->windows.size(), 1u);
  submit(alice, kBob, "two", 2);  // while the disk works
  submit(alice, kBob, "three", 3);
  EXPECT_FALSE(mailbox->next_batch(clock.steady_now()));
  mailbox->batch_done(batch->number, true, clock.steady_now());
  EXPECT_EQ(told(alice), "accepted1");
  EXPECT_EQ(told(bob), "one");
  batch = commit();
  EXPECT_EQ(batch->added.size(), 2u);  // one commit for both
  EXPECT_EQ(told(alice), "accepted2 accepted3");
  EXPECT_EQ(told(bob), "two three");
  mailbox->acknowledge(bob, last);
  EXPECT_EQ(commit()->removed.size(), 3u);
  EXPECT_FALSE(mailbox->next_batch(clock.steady_now()));
}

TEST_F(MailboxTest, WithoutANumberAMessageToSomebodyOnlineDoesNotTouchTheDisk) {
  start({.offline = OfflinePolicy::kDurable});
  const SessionId alice = connect(kAlice);
  const SessionId bob = connect(kBob);
  submit(alice, kBob, "fast");
  EXPECT_EQ(told(bob), "fast");
  EXPECT_FALSE(mailbox->next_batch(clock.steady_now()));
  disconnect(bob);  // it was not acknowledged: now it is kept
  EXPECT_EQ(commit()->added.size(), 1u);
  submit(alice, kBob, "kept");
  EXPECT_EQ(commit()->added.size(), 1u);
}

TEST_F(MailboxTest, NothingOvertakesWhatWaitsForTheDisk) {
  start({.offline = OfflinePolicy::kDurable});
  const SessionId alice = connect(kAlice);
  const SessionId bob = connect(kBob);
  submit(alice, kBob, "first", 1);
  submit(alice, kBob, "second");
  EXPECT_EQ(told(bob), "");
  commit();
  EXPECT_EQ(told(bob), "first second");
}

TEST_F(MailboxTest, AFailedDiskRefusesAndLosesNothingThatWasAccepted) {
  start({.offline = OfflinePolicy::kDurable});
  const SessionId alice = connect(kAlice);
  submit(alice, kBob, "one", 1);
  commit();
  submit(alice, kBob, "two", 2);
  commit(false);
  EXPECT_EQ(told(alice), "accepted1 error6");
  EXPECT_EQ(mailbox->counters().store_failures, 1u);
  const SessionId bob = connect(kBob);
  EXPECT_EQ(told(bob), "one");
  mailbox->acknowledge(bob, last);
  EXPECT_EQ(told(alice), "received1");
  EXPECT_FALSE(mailbox->next_batch(clock.steady_now()));  // not in a hot loop
  EXPECT_TRUE(mailbox->deadline());
  clock.advance(Mailbox::kStoreRetry);
  submit(alice, kBob, "two", 2);  // the number is free again
  EXPECT_EQ(commit()->removed.size(), 1u);
  EXPECT_EQ(told(alice), "accepted2");
  EXPECT_EQ(told(bob), "two");
}

TEST_F(MailboxTest, ASecondCopyIsAnsweredAfterTheFirstIsStored) {
  start({.offline = OfflinePolicy::kDurable});
  SessionId alice = connect(kAlice);
  submit(alice, kBob, "one", 1);
  auto batch = mailbox->next_batch(clock.steady_now());
  disconnect(alice);
  alice = connect(kAlice);
  submit(alice, kBob, "one", 1);
  EXPECT_EQ(told(alice), "");
  mailbox->batch_done(batch->number, false, clock.steady_now());
  EXPECT_EQ(told(alice), "error6");
  clock.advance(Mailbox::kStoreRetry);
  commit();
  EXPECT_EQ(told(alice), "");  // not accepted: the first failed
  EXPECT_EQ(mailbox->totals().queued_messages, 0u);
}

TEST_F(MailboxTest, ARestartGoesOnWhereTheStoreWas) {
  start({.offline = OfflinePolicy::kDurable, .lifetime = seconds(100)});
  SessionId alice = connect(kAlice);
  submit(alice, kBob, "one", 1);
  submit(alice, kCarol, "two", 2);
  const auto batch = commit();
  StoredState state{.messages = batch->added, .windows = batch->windows};
  mailbox.emplace(Options{.offline = OfflinePolicy::kDurable}, MessageId{5000}, clock.steady_now(),
                  clock.wall_now());
  add(kAlice);
  add(kBob);
  clock.advance(seconds(90));
  mailbox->restore(std::move(state), clock.steady_now(), clock.wall_now());
  EXPECT_EQ(commit()->removed.size(), 1u);  // carol is not known any more
  alice = connect(kAlice);
  EXPECT_EQ(mailbox->highest_ref(alice), 2u);
  submit(alice, kBob, "one", 1);
  submit(alice, kBob, "three", 3);
  commit();
  EXPECT_EQ(told(alice), "accepted1 accepted3");
  clock.advance(seconds(10));
  mailbox->on_deadline(clock.steady_now());
  const SessionId bob = connect(kBob);
  EXPECT_EQ(told(bob), "three");
  EXPECT_GE(last, MessageId{5000});
  EXPECT_EQ(told(alice), "error7");
}

TEST_F(MailboxTest, AuditsNameWhatHappened) {
  start();
  const SessionId alice = connect(kAlice);
  submit(alice, kStranger, "secret words");
  disconnect(alice);
  std::vector<AuditKind> kinds;
  while (auto event = mailbox->next_event()) {
    if (const auto* audit = std::get_if<Audit>(&*event)) kinds.push_back(audit->kind);
  }
  EXPECT_EQ(kinds,
            (std::vector{AuditKind::kClientAdded, AuditKind::kClientAdded, AuditKind::kClientAdded,
                         AuditKind::kOnline, AuditKind::kRefused, AuditKind::kOffline}));
}

TEST(MailboxOptions, AreChecked) {
  EXPECT_FALSE(Mailbox::check({}));
  EXPECT_EQ(Mailbox::check({.client_queue_messages = 0}), OptionsError::kLimit);
  EXPECT_EQ(Mailbox::check({.total_queue_bytes = 1}), OptionsError::kLimit);
  EXPECT_EQ(Mailbox::check({.lifetime = seconds(0)}), OptionsError::kLifetime);
  EXPECT_EQ(Mailbox::check({.lifetime = Options::kMaxLifetime + seconds(1)}),
            OptionsError::kLifetime);
  EXPECT_EQ(Mailbox::check({.bytes = {.per_second = 1, .burst = 0}}), OptionsError::kRate);
}

// ---- the window, against a set that forgets nothing

TEST(RefWindowTest, AgreesWithASet) {
  std::mt19937_64 draw(7);
  for (int round = 0; round < 50; ++round) {
    RefWindow window;
    std::set<std::uint64_t> taken;
    std::uint64_t top = 0;
    for (int step = 0; step < 2000; ++step) {
      const std::uint64_t spread = step % 100 == 0 ? 3000 : 40;
      const std::uint64_t low = top > 1100 ? top - 1100 : 0;
      const std::uint64_t ref = low + draw() % (top - low + spread);
      const auto seen = window.look_up(SenderRef{ref});
      if (ref == 0 || (ref <= top && top - ref >= RefWindow::kSpan)) {
        ASSERT_EQ(seen, RefWindow::Seen::kTooOld) << ref;
        continue;
      }
      ASSERT_EQ(seen == RefWindow::Seen::kTaken, taken.contains(ref)) << ref;
      if (seen == RefWindow::Seen::kTaken) {
        if (draw() % 4 == 0) {
          window.give_back(SenderRef{ref});
          taken.erase(ref);
        }
        continue;
      }
      window.take(SenderRef{ref});
      taken.insert(ref);
      top = std::max(top, ref);
    }
    ByteArray<RefWindow::kEncodedSize> bytes;
    window.encode(bytes);
    EXPECT_EQ(RefWindow::decode(bytes), window);
  }
}

TEST(RefWindowTest, RefusesWhatItNeverWrites) {
  ByteArray<RefWindow::kEncodedSize> bytes{};
  EXPECT_EQ(RefWindow::decode(bytes), RefWindow());
  bytes[8] = std::byte{1};
  EXPECT_FALSE(RefWindow::decode(bytes));  // taken, but nothing was
  bytes[7] = std::byte{3};
  EXPECT_TRUE(RefWindow::decode(bytes));
  bytes[8] = std::byte{0b1001};  // number 0
  EXPECT_FALSE(RefWindow::decode(bytes));
}

}  // namespace
}  // namespace sealane::mailbox
