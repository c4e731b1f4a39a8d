// Goal: limits, order of checks, time, ends and policies of the receiver; what it takes is exactly
// what was sent; what does not decrypt does not show. Method: streams of our sender, damaged in
// named ways; time by hand; for the last, what is seen from outside is recorded and compared.
#include "entropy/receiver.h"

#include <gtest/gtest.h>

#include <set>
#include <tuple>

#include "base/byte_reader.h"
#include "tests/entropy/support.h"

namespace sealane::entropy {
namespace {

using namespace std::chrono_literals;
using testing::End;
using testing::Received;

ReceiverPolicy lenient() {
  ReceiverPolicy out;
  out.require_authenticated = false;
  out.allow_plaintext = true;
  return out;
}

struct Made {
  explicit Made(ReceiverPolicy policy, bool with_secret = false,
                ReplayMemory::Rules rules = {.window = 10min, .started = WallTime{}})
      : keys(testing::test_keys()), memory(rules) {
    Receiver::Setup setup;
    setup.policy = policy;
    setup.keys = &keys;
    if (with_secret) setup.secrets.push_back(testing::test_secret());
    setup.memory = &memory;
    setup.wall = testing::kTestWall;
    receiver = std::make_unique<Receiver>(std::move(setup), SteadyTime{});
  }
  ChunkKeys keys;
  ReplayMemory memory;
  std::unique_ptr<Receiver> receiver;
};

Received run(const ReceiverPolicy& policy, ByteSpan stream, End end = End::kFin) {
  Made made(policy);
  return testing::run(*made.receiver, stream, testing::in_pieces(stream.size() + 1), end);
}
std::string outcome(const Received& got) {
  if (got.complete) return "complete";
  return got.refused ? std::string(reason_name(*got.refused)) : "open";
}

SenderSetup small(bool encrypted) {
  SenderSetup setup;
  setup.header_size = 16;
  setup.buffer_size = 32;
  setup.encrypted = encrypted;
  return setup;
}
Bytes stream_of(std::size_t size, bool encrypted = true) {
  return testing::encode_stream(small(encrypted), testing::rule_plaintext(size),
                                testing::test_keys());
}
Bytes with_field(Bytes stream, std::size_t offset, std::uint32_t value) {
  store_integer(MutableByteSpan(stream).subspan(offset), value);
  return stream;
}

TEST(Receiver, TheFirstFieldThatIsWrongNamesTheReason) {
  struct Field {
    std::size_t offset;
    std::uint32_t wrong;
    Reason reason;
  };
  const std::vector<Field> fields = {{0, 1, Reason::kBadMagic},
                                     {4, 2, Reason::kBadCommand},
                                     {8, 7, Reason::kHeaderSizeRange},
                                     {12, 0, Reason::kBufferSizeRange},
                                     {16, 0, Reason::kCipherSizeRange},
                                     {24, 2, Reason::kBadEncryptFlag},
                                     {20, 0xffffffff, Reason::kTotalLenTooLarge},
                                     {36, 0, Reason::kZeroChunk}};
  for (std::size_t i = 0; i < fields.size(); ++i) {
    for (std::size_t j = i; j < fields.size(); ++j) {
      Bytes stream = with_field(stream_of(40, false), fields[i].offset, fields[i].wrong);
      stream = with_field(stream, fields[j].offset, fields[j].wrong);
      EXPECT_EQ(outcome(run(lenient(), stream)), reason_name(fields[i].reason)) << i << " " << j;
    }
  }
}

TEST(Receiver, TakesEveryFieldUpToItsLimits) {
  const Bytes good = stream_of(1, false);
  for (const auto& [offset, low, high] :
       std::vector<std::tuple<std::size_t, std::uint32_t, std::uint32_t>>{
           {12, 1, kMaxBufferSize}, {16, 1, kMaxCipherSize}}) {
    EXPECT_EQ(outcome(run(lenient(), with_field(good, offset, low))), "complete");
    EXPECT_EQ(outcome(run(lenient(), with_field(good, offset, high))), "complete");
    EXPECT_NE(outcome(run(lenient(), with_field(good, offset, low - 1))), "complete");
    EXPECT_NE(outcome(run(lenient(), with_field(good, offset, high + 1))), "complete");
  }
  for (const std::uint32_t size : {kMinHeaderSize, kMaxHeaderSize}) {
    SenderSetup setup = small(false);
    setup.header_size = size;
    const Bytes stream =
        testing::encode_stream(setup, testing::rule_plaintext(5), testing::test_keys());
    EXPECT_EQ(stream.size(), 20 + size + 4 + 5);
    EXPECT_EQ(outcome(run(lenient(), stream)), "complete");
  }
  EXPECT_EQ(outcome(run(lenient(), with_field(good, 20, kMaxTotal))), "eof_in_chunk_length");
}

TEST(Receiver, AnnouncedSizesAllocateNothing) {
  for (const bool encrypted : {false, true}) {
    Made made(lenient());
    Bytes stream = with_field(stream_of(40, encrypted), 20, kMaxTotal);
    stream = with_field(stream, 16, kMaxCipherSize);
    stream = with_field(stream, 36, kMaxCipherSize);
    stream.resize(36 + 4 + 10);
    const Received got = testing::run(*made.receiver, stream, testing::in_pieces(1), End::kNone);
    EXPECT_EQ(outcome(got), "open");
    EXPECT_LE(made.receiver->memory(), 2 * Receiver::kPlainBuffer);
    // Nor does it grow by what arrived and went.
    const Bytes more(1000);
    Received rest;
    for (int i = 0; i < 2000; ++i) {
      testing::feed(*made.receiver, more, testing::in_pieces(1000), rest);
      rest.plaintext.clear();
    }
    EXPECT_LE(made.receiver->memory(), std::size_t{2} * (kMaxCipherSize + Receiver::kPlainBuffer));
  }
  EXPECT_EQ(outcome(run(lenient(), with_field(stream_of(40), 36, 0xffffffff))),
            "chunk_exceeds_cipher_size");
}

TEST(Receiver, EveryTruncationIsRefusedAndEveryCutIsTheSame) {
  for (const bool encrypted : {false, true}) {
    const Bytes stream = stream_of(70, encrypted);
    for (std::size_t size = 0; size < stream.size(); ++size) {
      const Received got = run(lenient(), ByteSpan(stream).first(size));
      EXPECT_FALSE(got.complete) << size;
      EXPECT_TRUE(got.refused) << size;
      Made made(lenient());
      Received whole;
      testing::feed(*made.receiver, ByteSpan(stream).first(size), testing::in_pieces(size + 1),
                    whole);
      testing::feed(*made.receiver, ByteSpan(stream).subspan(size),
                    testing::in_pieces(stream.size()), whole);
      made.receiver->on_end({});
      testing::collect(*made.receiver, whole);
      EXPECT_TRUE(whole.complete) << size;
      EXPECT_EQ(whole.plaintext, testing::rule_plaintext(70)) << size;
    }
  }
}

TEST(Receiver, WhatIsSentArrivesWhateverTheSizesAndCuts) {
  std::mt19937_64 engine(7);
  for (int round = 0; round < 60; ++round) {
    SenderSetup setup;
    const std::array<std::uint32_t, 5> buffers{16, 32, 256, 16384, 100 * 16};
    const std::array<std::uint32_t, 3> headers{8, 64, 1024};
    setup.buffer_size = buffers.at(engine() % buffers.size());
    setup.header_size = headers.at(engine() % headers.size());
    setup.encrypted = engine() % 2 == 0;
    std::size_t size = engine() % (4 * setup.buffer_size + 2);
    if (round < 20) size = setup.buffer_size * (engine() % 3) + engine() % 3;
    size = std::min<std::size_t>(size, 100'000);
    const Bytes plaintext = testing::random_bytes(size, engine());
    const Bytes stream = testing::encode_stream(setup, plaintext, testing::test_keys());
    Made made(lenient());
    const Received got = testing::run(*made.receiver, stream, testing::at_random(engine()));
    ASSERT_TRUE(got.complete) << "round " << round;
    ASSERT_EQ(got.plaintext, plaintext) << "round " << round;
    ASSERT_TRUE(got.output.empty()) << "a foreign sender expects no word";
  }
}

TEST(Receiver, WhereMemoryIsLentItDecryptsIntoThat) {
  std::mt19937_64 engine(8);
  for (int round = 0; round < 60; ++round) {
    SenderSetup setup;
    const std::array<std::uint32_t, 3> buffers{16, 256, 16384};
    setup.buffer_size = buffers.at(engine() % buffers.size());
    const Bytes plaintext = testing::random_bytes(engine() % (8 * setup.buffer_size), engine());
    Bytes stream = testing::encode_stream(setup, plaintext, testing::test_keys());
    // Whatever fails, it fails alike.
    if (round % 3 == 0) stream[engine() % stream.size()] ^= std::byte{1};
    Made lent(lenient());
    Made other(lenient());
    const auto cut = testing::at_random(engine());
    Received got;
    std::size_t in_room = 0;
    // Memory as of a spool: what was written stays, the next is behind it.
    Bytes room(engine() % 2 == 0 ? 4 * stream.size() : engine() % 1000);
    std::size_t filled = 0;
    ByteSpan rest = stream;
    while (!rest.empty() && lent.receiver->wants_input()) {
      lent.receiver->lend(MutableByteSpan(room).subspan(filled));
      rest = rest.subspan(lent.receiver->receive(rest.first(cut(rest.size())), {}));
      while (auto event = lent.receiver->next_event()) {
        if (const auto* plain = std::get_if<Receiver::Plaintext>(&*event)) {
          got.plaintext.insert(got.plaintext.end(), plain->bytes.begin(), plain->bytes.end());
          if (plain->bytes.data() != room.data() + filled) continue;
          filled += plain->bytes.size();
          in_room += plain->bytes.size();
        } else if (const auto* refused = std::get_if<Receiver::Refused>(&*event)) {
          got.refused = refused->reason;
        }
      }
    }
    lent.receiver->on_end({});
    testing::collect(*lent.receiver, got);
    const Received expected = testing::run(*other.receiver, stream, cut);
    ASSERT_EQ(outcome(got), outcome(expected)) << round;
    if (!got.complete) continue;
    ASSERT_EQ(got.plaintext, expected.plaintext) << round;
    if (room.size() < stream.size()) continue;
    ASSERT_EQ(in_room, plaintext.size()) << round;
    ASSERT_LE(lent.receiver->memory(), std::max(setup.buffer_size + 16, setup.header_size));
  }
}

TEST(Receiver, TheLargestBufferPassesBothSides) {
  SenderSetup setup;
  setup.buffer_size = kMaxSenderBuffer;
  const Bytes plaintext = testing::random_bytes(kMaxSenderBuffer + 5, 3);
  const Bytes stream = testing::encode_stream(setup, plaintext, testing::test_keys());
  Made made(lenient());
  const Received got = testing::run(*made.receiver, stream, testing::in_pieces(64 * 1024));
  EXPECT_TRUE(got.complete);
  EXPECT_EQ(got.plaintext, plaintext);
}

TEST(Receiver, PoliciesRefuseBeforeAnythingIsTaken) {
  ReceiverPolicy policy = lenient();
  policy.allow_plaintext = false;
  EXPECT_EQ(outcome(run(policy, stream_of(40, false))), "plaintext_refused");
  EXPECT_EQ(outcome(run(policy, stream_of(40, true))), "complete");
  policy = lenient();
  policy.max_snapshot = 39;
  EXPECT_EQ(outcome(run(policy, stream_of(39))), "complete");
  EXPECT_EQ(outcome(run(policy, stream_of(40))), "quota");
  EXPECT_EQ(outcome(run({}, stream_of(40))), "unauthenticated");
  Receiver keyless(
      {.policy = lenient(), .keys = nullptr, .secrets = {}, .memory = nullptr, .wall = {}}, {});
  EXPECT_EQ(outcome(testing::run(keyless, stream_of(40), testing::in_pieces(1))), "no_key");
}

TEST(Receiver, EmptyChunksAreRefusedOrBounded) {
  Bytes stream = stream_of(16);  // one full chunk of 32 bytes
  ByteArray<16> nothing{};
  const auto cipher = make_aes_cbc(testing::test_keys().key, testing::test_keys().iv);
  const crypto::AesCbc::Piece piece{{}, nothing};
  cipher->encrypt(std::span(&piece, 1));
  const auto with_empty = [&](std::size_t count) {
    Bytes out(stream.begin(), stream.begin() + 36);
    for (std::size_t i = 0; i < count; ++i) {
      const Bytes length = ByteWriter().u32(16).take();
      out.insert(out.end(), length.begin(), length.end());
      out.insert(out.end(), nothing.begin(), nothing.end());
    }
    out.insert(out.end(), stream.begin() + 36, stream.end());
    return out;
  };
  EXPECT_EQ(outcome(run(lenient(), with_empty(1))), "no_progress_chunk");
  EXPECT_EQ(outcome(run(ReceiverPolicy::dynomite(), with_empty(1000))), "complete");
  EXPECT_EQ(outcome(run(ReceiverPolicy::dynomite(), with_empty(2000))), "no_progress_chunk");
}

TEST(Receiver, AResetIsNoEnd) {
  for (const bool encrypted : {false, true}) {
    const Bytes stream = stream_of(40, encrypted);
    EXPECT_EQ(outcome(run(lenient(), stream, End::kReset)), "reset_before_eof");
    // The foreign engine takes it for an end; only a peer that is pinned as that may.
    EXPECT_EQ(outcome(run(ReceiverPolicy::dynomite(), stream, End::kReset)), "complete");
    EXPECT_EQ(outcome(run(ReceiverPolicy::dynomite(), ByteSpan(stream).first(stream.size() - 1),
                          End::kReset)),
              "eof_in_chunk_payload");
  }
}

TEST(Receiver, EveryStateHasADeadline) {
  const Bytes stream = stream_of(40);
  for (std::size_t size = 0; size <= stream.size(); ++size) {
    Made made(lenient());
    Received got;
    testing::feed(*made.receiver, ByteSpan(stream).first(size), testing::in_pieces(1), got,
                  SteadyTime{1s});
    ASSERT_TRUE(made.receiver->deadline()) << size;
    EXPECT_EQ(*made.receiver->deadline(), SteadyTime{size == 0 ? 30s : 31s}) << size;
    made.receiver->on_deadline(SteadyTime{29s});
    testing::collect(*made.receiver, got);
    EXPECT_EQ(outcome(got), "open") << size;
    made.receiver->on_deadline(SteadyTime{31s});
    testing::collect(*made.receiver, got);
    EXPECT_EQ(outcome(got), "idle_timeout") << size;
    EXPECT_FALSE(made.receiver->deadline());
    EXPECT_FALSE(made.receiver->wants_input());
  }
}

TEST(Receiver, ADribbleIsTakenUntilTheTotalTimeIsOver) {
  const Bytes stream = stream_of(40);
  for (const auto& [pause, expected] :
       std::vector<std::pair<std::chrono::nanoseconds, std::string>>{{20s, "complete"},
                                                                     {29s, "total_timeout"}}) {
    ReceiverPolicy policy = lenient();
    policy.total_timeout = 27s * stream.size();
    Made made(policy);
    Received got;
    SteadyTime now{};
    for (const std::byte& b : stream) {
      now += pause;
      if (const auto due = made.receiver->deadline(); due && *due <= now) {
        made.receiver->on_deadline(now);
      }
      testing::feed(*made.receiver, ByteSpan(&b, 1), testing::in_pieces(1), got, now);
      testing::collect(*made.receiver, got);
    }
    made.receiver->on_end(now);
    testing::collect(*made.receiver, got);
    EXPECT_EQ(outcome(got), expected);
  }
}

TEST(Receiver, ASinkThatTakesTooLongIsReported) {
  Made made(lenient());
  Received got = testing::run(*made.receiver, stream_of(40), testing::in_pieces(100));
  ASSERT_TRUE(got.complete);
  EXPECT_EQ(made.receiver->deadline(), SteadyTime{} + 1h);
  made.receiver->on_deadline(SteadyTime{} + 1h);
  testing::collect(*made.receiver, got);
  EXPECT_EQ(got.refused, Reason::kTotalTimeout);
  made.receiver->applied({}, SteadyTime{} + 2h);  // the sink ends at last
  EXPECT_TRUE(made.receiver->over());
}

// ---- what does not decrypt does not show --------------------------------------------------------

// Everything a peer could observe: what is taken of each piece, whether input is wanted, when the
// deadline lies, what is said, and whether it is over.
std::string observe(ByteSpan stream, bool with_fin) {
  Made made(lenient());
  std::string out;
  const auto look = [&] {
    Received got;
    testing::collect(*made.receiver, got);
    out += made.receiver->wants_input() ? "w" : "-";
    out += made.receiver->over() ? "O" : ".";
    out += std::to_string(got.output.size());
    const auto due = made.receiver->deadline();
    out += due ? std::to_string(due->time_since_epoch().count()) : "none";
    out += "\n";
  };
  for (std::size_t i = 0; i < stream.size(); ++i) {
    out += std::to_string(made.receiver->receive(stream.subspan(i, 1), SteadyTime{} + i * 1ms));
    look();
  }
  if (with_fin) {
    made.receiver->on_end(SteadyTime{10s});
    look();
  }
  return out;
}

TEST(Receiver, FailuresOfDecryptionLookLikeSuccessUntilTheEndAndLikeEachOtherThere) {
  // Three chunks of 32, 32 and 16 bytes of ciphertext. What is changed: the total, and bytes of
  // the ciphertext that change padding, content or length.
  const Bytes good = stream_of(32 + 0 + 16 + 8);
  const std::string seen = observe(good, false);
  const std::string seen_at_end = observe(good, true);
  std::optional<std::string> failure;
  int failures = 0;
  std::set<std::string> reasons;
  for (const std::size_t at : {good.size() - 1, good.size() - 17, good.size() - 25}) {
    for (unsigned flip = 1; flip < 256; ++flip) {
      Bytes stream = good;
      stream[at] ^= static_cast<std::byte>(flip);
      ASSERT_EQ(observe(stream, false), seen) << at << " " << flip;
      const Received got = run(lenient(), stream);
      reasons.insert(outcome(got));
      if (got.complete) continue;  // the padding is good by chance, or only content changed
      ++failures;
      const std::string now = observe(stream, true);
      if (!failure) failure = now;
      ASSERT_EQ(now, *failure) << at << " " << flip << ": " << outcome(got);
    }
  }
  EXPECT_GT(failures, 200);
  EXPECT_NE(*failure, seen_at_end);
  EXPECT_TRUE(reasons.contains("bad_padding"));

  // The padding oracle's classic: one chunk, a large total, the connection kept open. And its
  // finer sister: a total that one length of padding reaches, and a byte behind it.
  std::set<std::string> classic;
  std::set<std::string> finer;
  for (unsigned flip = 0; flip < 256; ++flip) {
    Bytes stream = with_field(stream_of(31), 20, 1'000'000);
    stream[stream.size() - 17] ^= static_cast<std::byte>(flip);
    classic.insert(observe(stream, false));
    stream = with_field(stream, 20, 31);
    stream.push_back(std::byte{1});
    finer.insert(observe(stream, false));
  }
  EXPECT_EQ(classic.size(), 1u);
  EXPECT_EQ(finer.size(), 1u);
}

TEST(Receiver, WhatFailedToDecryptIsDecryptedToTheEnd) {
  Bytes stream = stream_of(320);        // ten chunks
  stream[36 + 4 + 47] ^= std::byte{1};  // the first one's padding
  Made made(lenient());
  const Received got = testing::run(*made.receiver, stream, testing::in_pieces(100));
  EXPECT_EQ(outcome(got), "bad_padding");
  EXPECT_GE(got.plaintext.size(), 319u - 16) << "the rest was not worked on";
}

// ---- the extension block ------------------------------------------------------------------------

struct Signed {
  explicit Signed(std::size_t size, bool encrypted = true, char secret = 's')
      : plaintext(testing::rule_plaintext(size)),
        keys(testing::test_keys()),
        cluster(testing::test_secret(secret)) {
    setup.encrypted = encrypted;
    setup.buffer_size = 32;
    setup.extension = testing::test_extension(plaintext);
    setup.secret = &cluster;
  }
  Bytes stream() const { return testing::encode_stream(setup, plaintext, keys); }
  Bytes plaintext;
  ChunkKeys keys;
  ClusterSecret cluster;
  SenderSetup setup;
};

AckStatus status_of(const Signed& sent, const Bytes& output) {
  const auto decoded =
      decode_acknowledgement(ByteSpan(output).first<Acknowledgement::kEncodedSize>(), sent.cluster,
                             sent.setup.extension->snapshot, sent.setup.extension->part);
  EXPECT_TRUE(decoded.has_value());
  return decoded.has_value() ? decoded.value().status : AckStatus::kRefused;
}

TEST(Receiver, ASignedSnapshotIsTakenAndAnswered) {
  const Signed sent(100);
  Made made({}, true);
  Received got = testing::run(*made.receiver, sent.stream(), testing::in_pieces(50));
  ASSERT_TRUE(got.complete) << outcome(got);
  ASSERT_TRUE(got.header && got.header->extension);
  EXPECT_EQ(*got.header->extension, *sent.setup.extension);
  EXPECT_TRUE(got.output.empty());
  EXPECT_TRUE(made.receiver->answers());
  made.receiver->applied({AckStatus::kApplied, 7, 2, 0}, {});
  testing::collect(*made.receiver, got);
  ASSERT_EQ(got.output.size(), Acknowledgement::kEncodedSize);
  const auto answer =
      decode_acknowledgement(ByteSpan(got.output).first<Acknowledgement::kEncodedSize>(),
                             sent.cluster, sent.setup.extension->snapshot, 0);
  ASSERT_TRUE(answer.has_value());
  EXPECT_EQ(answer.value().applied, 7u);
  EXPECT_EQ(answer.value().skipped, 2u);
}

TEST(ReplayMemory, IsFullUntilWhatIsTooOldToComeAgainIsForgotten) {
  ReplayMemory memory({.window = 10min, .started = testing::kTestWall});
  const auto ms = [](WallTime time) {
    return static_cast<std::uint64_t>(
        std::chrono::floor<std::chrono::milliseconds>(time.time_since_epoch()).count());
  };
  const WallTime start = testing::kTestWall;
  const auto key = [](std::size_t part) {
    return ReplayMemory::Key{{}, static_cast<std::uint32_t>(part)};
  };
  using Verdict = ReplayMemory::Verdict;
  for (std::size_t i = 0; i < ReplayMemory::kCapacity; ++i) {
    ASSERT_EQ(memory.begin(key(i), ms(start), start), Verdict::kNew);
    if (i > 0) memory.finish(key(i), {}, start);  // the first one stays under way
  }
  const std::size_t next = ReplayMemory::kCapacity;
  EXPECT_EQ(memory.begin(key(next), ms(start), start), Verdict::kFull);
  const WallTime edge = start + 20min;
  EXPECT_EQ(memory.begin(key(next), ms(edge), edge), Verdict::kFull);
  EXPECT_EQ(memory.begin(key(1), ms(edge), edge), Verdict::kDone) << "all are remembered";
  const WallTime later = edge + 1ms;
  EXPECT_EQ(memory.begin(key(next), ms(later), later), Verdict::kNew);
  EXPECT_EQ(memory.size(), 2u);
  EXPECT_EQ(memory.begin(key(0), ms(later), later), Verdict::kInProgress);
  EXPECT_EQ(memory.begin(key(1), ms(start), later), Verdict::kStale) << "too old to come again";
}

TEST(Receiver, ARepeatedPartGetsItsFirstAnswerAndIsNotAppliedAgain) {
  const Signed sent(100);
  ReplayMemory memory({.window = 10min, .started = {}});
  const ChunkKeys keys = testing::test_keys();
  const auto make = [&] {
    Receiver::Setup setup;
    setup.keys = &keys;
    setup.secrets.push_back(testing::test_secret());
    setup.memory = &memory;
    setup.wall = testing::kTestWall;
    return std::make_unique<Receiver>(std::move(setup), SteadyTime{});
  };
  // Cut in the middle: may come again.
  auto first = make();
  EXPECT_EQ(outcome(testing::run(*first, ByteSpan(sent.stream()).first(1100),
                                 testing::in_pieces(1000), End::kReset)),
            "reset_before_eof");
  // Another copy while one is under way has to wait.
  auto second = make();
  Received got;
  testing::feed(*second, ByteSpan(sent.stream()).first(1044), testing::in_pieces(2000), got);
  EXPECT_TRUE(got.header) << outcome(got) << ": the first one is still there";
  first.reset();
  auto busy = make();
  got = testing::run(*busy, sent.stream(), testing::in_pieces(2000));
  EXPECT_EQ(outcome(got), "busy");
  EXPECT_EQ(status_of(sent, got.output), AckStatus::kBusy);
  second.reset();
  auto third = make();
  got = testing::run(*third, sent.stream(), testing::in_pieces(2000));
  ASSERT_TRUE(got.complete);
  third->applied({AckStatus::kApplied, 5, 0, 0}, {});
  auto fourth = make();
  got = testing::run(*fourth, sent.stream(), testing::in_pieces(2000));
  EXPECT_EQ(outcome(got), "replayed");
  EXPECT_EQ(status_of(sent, got.output), AckStatus::kApplied);
}

TEST(Receiver, ASinkThatFailedMayGetThePartAgain) {
  const Signed sent(100);
  Made made({}, true);
  ASSERT_TRUE(testing::run(*made.receiver, sent.stream(), testing::in_pieces(2000)).complete);
  made.receiver->applied({AckStatus::kSinkFailed, 0, 0, 0}, {});
  EXPECT_EQ(made.memory.size(), 0u);
}

Acknowledgement answer_of(const Signed& sent, const Bytes& output) {
  return decode_acknowledgement(std::span<const std::byte, Acknowledgement::kEncodedSize>(output),
                                testing::test_secret(), sent.setup.extension->snapshot,
                                sent.setup.extension->part)
      .value();
}

TEST(Receiver, WhyTheSinkFailedIsSaidToWhoAsksForIt) {
  for (const bool asks : {false, true}) {
    Signed sent(100);
    if (asks) sent.setup.extension->flags |= Extension::kCauses;
    for (const AckStatus status :
         {AckStatus::kApplied, AckStatus::kPartly, AckStatus::kSinkFailed}) {
      Made made({}, true);
      Received got = testing::run(*made.receiver, sent.stream(), testing::in_pieces(2000));
      made.receiver->applied({status, 3, 0, 1, FailureCause::kDiskFull}, {});
      testing::collect(*made.receiver, got);
      const Acknowledgement said = answer_of(sent, got.output);
      EXPECT_EQ(said.status, status);
      EXPECT_EQ(said.failed, 1U);
      const bool may = asks && status != AckStatus::kApplied;
      EXPECT_EQ(said.failure_cause(), may ? FailureCause::kDiskFull : FailureCause::kNotSaid);
    }
    // What fails before the sink has it, and a sink that is too slow.
    Made full({}, true);
    Received got;
    testing::feed(*full.receiver, ByteSpan(sent.stream()).first(1044), testing::in_pieces(2000),
                  got);
    full.receiver->give_up(Reason::kSpoolFailed);
    testing::collect(*full.receiver, got);
    EXPECT_EQ(answer_of(sent, got.output).status, AckStatus::kSinkFailed);
    EXPECT_EQ(answer_of(sent, got.output).failure_cause(),
              asks ? FailureCause::kSpool : FailureCause::kNotSaid);
    Made slow({}, true);
    got = testing::run(*slow.receiver, sent.stream(), testing::in_pieces(2000));
    slow.receiver->on_deadline(SteadyTime{} + 1h);
    testing::collect(*slow.receiver, got);
    EXPECT_EQ(answer_of(sent, got.output).failure_cause(),
              asks ? FailureCause::kTimeout : FailureCause::kNotSaid);
  }
}

TEST(Receiver, CausesStandWhereTheFormatSays) {
  // By an independent maker: HMAC-SHA-256 and HKDF of Python's standard library.
  const std::string_view kText =
      "454e5841000107042a0000000000000000000000000000000000000000000000000000010000000314e1954c56f3"
      "6d82cad1d314f0f0e5f860b9e08fea425810";
  Acknowledgement said{.status = AckStatus::kSinkFailed, .part = 3, .failed = 1, .cause = 7};
  said.snapshot[0] = std::byte{42};
  EXPECT_EQ(said.failure_cause(), FailureCause::kDiskFull);
  ByteArray<Acknowledgement::kEncodedSize> out{};
  encode(said, testing::test_secret(), out);
  EXPECT_EQ(to_hex(out), kText);
  const auto decode = [&] {
    return decode_acknowledgement(out, testing::test_secret(), said.snapshot, said.part);
  };
  EXPECT_EQ(decode().value(), said);
  // One of a version to come.
  said.cause = 200;
  encode(said, testing::test_secret(), out);
  EXPECT_EQ(decode().value(), said);
  EXPECT_EQ(said.failure_cause(), FailureCause::kOther);
  // Nobody writes one where nothing failed.
  out[7] = std::byte{0};
  EXPECT_EQ(decode().error(), AckError::kMalformed);
  for (int i = 1; i <= static_cast<int>(kLastFailureCause); ++i) {
    EXPECT_FALSE(cause_name(static_cast<FailureCause>(i)).empty());
  }
  EXPECT_TRUE(cause_name(FailureCause::kNotSaid).empty());
}

TEST(Receiver, DamagedSignedSnapshotsAreRefusedWithOneAnswer) {
  const Signed sent(100);
  const Bytes good = sent.stream();
  std::set<Bytes> answers;
  std::set<std::string> reasons;
  for (std::size_t at = 1044; at < good.size(); at += 3) {
    Bytes stream = good;
    stream[at] ^= std::byte{0x10};
    Made made({}, true);
    const Received got = testing::run(*made.receiver, stream, testing::in_pieces(2000));
    ASSERT_FALSE(got.complete) << at;
    reasons.insert(outcome(got));
    answers.insert(got.output);
    EXPECT_EQ(status_of(sent, got.output), AckStatus::kRefused);
  }
  // Reordering, too: two full chunks change places.
  Bytes swapped = good;
  std::swap_ranges(swapped.begin() + 1044, swapped.begin() + 1044 + 52,
                   swapped.begin() + 1044 + 52);
  Made made({}, true);
  EXPECT_EQ(outcome(testing::run(*made.receiver, swapped, testing::in_pieces(2000))),
            "digest_mismatch");
  EXPECT_EQ(answers.size(), 1u);
  EXPECT_TRUE(reasons.contains("bad_padding") && reasons.contains("digest_mismatch"));
}

TEST(Receiver, EveryBitOfTheSignedHeaderCounts) {
  const Signed sent(100);
  const Bytes good = sent.stream();
  const std::size_t end = 28 + sent.setup.extension->encoded_size();
  for (std::size_t at = 0; at < end; ++at) {
    Bytes stream = good;
    stream[at] ^= std::byte{0x01};
    Made made({}, true);
    const Received got = testing::run(*made.receiver, stream, testing::in_pieces(2000));
    EXPECT_FALSE(got.complete) << at;
    EXPECT_TRUE(got.plaintext.empty()) << at;
    if (at >= 28) {
      EXPECT_EQ(outcome(got), "unauthenticated") << at;
    }
  }
  // Behind the block nothing counts.
  Bytes stream = good;
  stream[end] ^= std::byte{1};
  Made made({}, true);
  EXPECT_TRUE(testing::run(*made.receiver, stream, testing::in_pieces(2000)).complete);
}

TEST(Receiver, ABlockThatIsOnlyAlmostOneIsNoForeignSender) {
  const Signed sent(100, true, 'x');  // of another cluster
  ReceiverPolicy policy = lenient();
  Made made(policy, true);
  EXPECT_EQ(outcome(testing::run(*made.receiver, sent.stream(), testing::in_pieces(2000))),
            "unauthenticated");
  // Where a peer is pinned as the foreign engine, what stands there is nobody's business.
  Made pinned(ReceiverPolicy::dynomite(), true);
  const Received got = testing::run(*pinned.receiver, sent.stream(), testing::in_pieces(2000));
  EXPECT_TRUE(got.complete);
  EXPECT_FALSE(pinned.receiver->authenticated());
  EXPECT_TRUE(got.output.empty());
  // A later version may mean anything: as if it were not there.
  Bytes later = sent.stream();
  later[28 + 5] = std::byte{2};
  Made unknown(policy, true);
  EXPECT_TRUE(testing::run(*unknown.receiver, later, testing::in_pieces(2000)).complete);
  Made required({}, true);
  EXPECT_EQ(outcome(testing::run(*required.receiver, later, testing::in_pieces(2000))),
            "unauthenticated");
}

TEST(Receiver, EitherOfTwoSecretsIsTaken) {
  for (const char which : {'s', 't'}) {
    const Signed sent(10, true, which);
    const ChunkKeys keys = testing::test_keys();
    ReplayMemory memory({});
    Receiver::Setup setup;
    setup.keys = &keys;
    setup.secrets.push_back(testing::test_secret('s'));
    setup.secrets.push_back(testing::test_secret('t'));
    setup.memory = &memory;
    setup.wall = testing::kTestWall;
    Receiver receiver(std::move(setup), SteadyTime{});
    Received got = testing::run(receiver, sent.stream(), testing::in_pieces(2000));
    ASSERT_TRUE(got.complete);
    receiver.applied({}, {});
    testing::collect(receiver, got);
    EXPECT_EQ(status_of(sent, got.output), AckStatus::kApplied);
  }
}

// What the header alone decides is said to who signed it; nothing of what a part decrypts to is.
TEST(Receiver, ARefusalSaysWhyWhereNothingWasDecrypted) {
  const auto refusal = [](bool encrypted, const ReceiverPolicy& policy, bool has_key,
                          std::chrono::nanoseconds late) {
    const Signed sent(10, encrypted);
    Receiver::Setup setup;
    const ChunkKeys keys = testing::test_keys();
    ReplayMemory memory({.window = 10min, .started = {}});
    setup.policy = policy;
    if (has_key) setup.keys = &keys;
    setup.secrets.push_back(testing::test_secret());
    setup.memory = &memory;
    setup.wall = testing::kTestWall + late;
    Receiver receiver(std::move(setup), SteadyTime{});
    const Received got = testing::run(receiver, sent.stream(), testing::in_pieces(2000));
    return decode_acknowledgement(
               std::span<const std::byte, Acknowledgement::kEncodedSize>(got.output),
               testing::test_secret(), sent.setup.extension->snapshot, sent.setup.extension->part)
        .value();
  };
  const auto stale = refusal(true, {}, true, 11min);
  EXPECT_EQ(stale.refusal(), Refusal::kStale);
  EXPECT_EQ(stale.time_ms(), 1'000'000U + 11 * 60'000U);
  EXPECT_EQ(refusal(false, {}, true, 0min).refusal(), Refusal::kPlaintext);
  EXPECT_EQ(refusal(true, {.max_snapshot = 5}, true, 0min).refusal(), Refusal::kQuota);
  EXPECT_EQ(refusal(true, {}, false, 0min).refusal(), Refusal::kNoKey);
  // What another version says is no reason that we know.
  Acknowledgement newer = Acknowledgement::refused(static_cast<Refusal>(5), 7);
  EXPECT_EQ(newer.refusal(), Refusal::kNotSaid);
  newer = {.status = AckStatus::kApplied, .applied = 1};
  EXPECT_EQ(newer.refusal(), Refusal::kNotSaid) << "a count";
  // Beyond 32 bits of milliseconds.
  EXPECT_EQ(Acknowledgement::refused(Refusal::kStale, 1'795'914'181'517).time_ms(),
            1'795'914'181'517U);
}

TEST(Receiver, OldAndEarlyRecordingsAreStale) {
  const auto at = [](std::int64_t minutes, WallTime started) {
    Signed sent(10);
    sent.setup.extension->created_ms =
        static_cast<std::uint64_t>(1'000'000 + minutes * 60'000 + 1'200'000);
    Receiver::Setup setup;
    const ChunkKeys keys = testing::test_keys();
    ReplayMemory memory({.window = 10min, .started = started});
    setup.keys = &keys;
    setup.secrets.push_back(testing::test_secret());
    setup.memory = &memory;
    setup.wall = testing::kTestWall + 20min;
    Receiver receiver(std::move(setup), SteadyTime{});
    return outcome(testing::run(receiver, sent.stream(), testing::in_pieces(2000)));
  };
  EXPECT_EQ(at(0, {}), "complete");
  EXPECT_EQ(at(-10, {}), "complete");
  EXPECT_EQ(at(10, {}), "complete");
  EXPECT_EQ(at(-11, {}), "stale");
  EXPECT_EQ(at(11, {}), "stale");
  EXPECT_EQ(at(-1, testing::kTestWall + 20min), "stale") << "made before this side started";
  EXPECT_EQ(at(0, testing::kTestWall + 20min + 999us), "complete") << "in the same millisecond";
  EXPECT_EQ(at(0, testing::kTestWall + 20min + 1ms), "stale");
}

}  // namespace
}  // namespace sealane::entropy
