// Goal: the sender writes what its set-up says, in any portions the connection takes; judges every
// way in which a peer can end or answer; and waits for nothing without a limit. Method: the core
// alone, the peer played by the test.
#include "entropy/sender.h"

#include <gtest/gtest.h>

#include "base/byte_reader.h"
#include "tests/entropy/support.h"

namespace sealane::entropy {
namespace {

using namespace std::chrono_literals;
using Outcome = Sender::Outcome;

struct Made {
  explicit Made(std::size_t size, bool with_extension = true)
      : plaintext(testing::rule_plaintext(size)),
        keys(testing::test_keys()),
        secret(testing::test_secret()) {
    setup.buffer_size = 64;
    setup.total = size;
    if (with_extension) {
      setup.extension = testing::test_extension(plaintext);
      setup.extension->part = 3;
      setup.secret = &secret;
    }
    encoder.emplace(setup.buffer_size, &keys);
    sender.emplace(setup, SteadyTime{});
  }
  // Supplies what is wanted.
  void supply(SteadyTime now = {}) {
    while (const std::size_t size = sender->claim_plaintext()) {
      sender->supply(
          encoder->encode_reusing(sender->take_spent(), ByteSpan(plaintext).subspan(at, size)),
          now);
      at += size;
    }
  }
  // Takes at most `limit` bytes of output.
  std::size_t take(std::size_t limit, SteadyTime now = {}) {
    const ByteSpan out = sender->next_output();
    const std::size_t size = std::min(limit, out.size());
    stream.insert(stream.end(), out.begin(), out.begin() + static_cast<std::ptrdiff_t>(size));
    if (size > 0) sender->output_sent(size, now);
    while (auto event = sender->next_event()) {
      if (std::holds_alternative<Sender::OutputEnd>(*event)) {
        ended = true;
      } else {
        finished = std::get<Sender::Finished>(*event);
      }
    }
    return size;
  }
  void send_all() {
    do {
      supply();
    } while (take(1000) > 0);
  }
  Bytes answer(const Acknowledgement& what, char which = 's') const {
    Bytes out(Acknowledgement::kEncodedSize);
    encode(what, testing::test_secret(which),
           std::span<std::byte, Acknowledgement::kEncodedSize>(out));
    return out;
  }
  Acknowledgement good() const {
    return {AckStatus::kPartly, setup.extension->snapshot, 3, 10, 5, 1};
  }
  std::optional<Outcome> outcome() {
    take(0);
    return finished ? std::optional(finished->outcome) : std::nullopt;
  }

  Bytes plaintext;
  ChunkKeys keys;
  ClusterSecret secret;
  SenderSetup setup;
  std::optional<ChunkEncoder> encoder;
  std::optional<Sender> sender;
  std::size_t at = 0;
  Bytes stream;
  bool ended = false;
  std::optional<Sender::Finished> finished;
};

TEST(Sender, WritesTheSameStreamInAnyPortions) {
  for (const std::size_t size : {0UL, 1UL, 63UL, 64UL, 65UL, 128UL, 1000UL}) {
    for (const std::size_t portion : {1UL, 7UL, 100'000UL}) {
      Made made(size);
      for (;;) {
        made.supply();
        EXPECT_FALSE(made.finished);
        if (made.take(portion) == 0) break;
      }
      EXPECT_TRUE(made.ended);
      EXPECT_EQ(made.stream, testing::encode_stream(made.setup, made.plaintext, made.keys));
      EXPECT_EQ(made.sender->sent(), size);
    }
  }
}

TEST(Sender, WhatLeavesFromWhereItLiesIsTheSameStreamInAnyPortions) {
  for (const std::size_t size : {0UL, 1UL, 63UL, 64UL, 65UL, 128UL, 1000UL, 300'000UL}) {
    for (const std::size_t portion : {1UL, 3UL, 67UL, 100'000UL}) {
      if (portion < 60 && size > 1000) continue;
      const Bytes plaintext = testing::rule_plaintext(size);
      SenderSetup setup;
      setup.buffer_size = 64;
      setup.encrypted = false;
      setup.total = size;
      Sender sender(setup, SteadyTime{});
      Bytes stream;
      std::size_t at = 0;
      int ends = 0;
      for (;;) {
        while (const std::size_t wanted = sender.claim_plaintext()) {
          sender.supply_in_place(ByteSpan(plaintext).subspan(at, wanted), {});
          at += wanted;
        }
        const auto spans = sender.next_outputs();
        if (spans.empty()) break;
        ASSERT_LE(spans.size(), Sender::kMaxSpans);
        ASSERT_EQ(spans.front().data(), sender.next_output().data());
        ASSERT_EQ(spans.front().size(), sender.next_output().size());
        std::size_t taken = 0;
        for (const ByteSpan span : spans) {
          const ByteSpan part = span.first(std::min(span.size(), portion - taken));
          stream.insert(stream.end(), part.begin(), part.end());
          taken += part.size();
        }
        sender.output_sent(taken, {});
        while (auto event = sender.next_event()) {
          ends += std::holds_alternative<Sender::OutputEnd>(*event) ? 1 : 0;
        }
      }
      EXPECT_EQ(ends, 1);
      EXPECT_EQ(sender.sent(), size);
      ASSERT_EQ(stream, testing::encode_stream(setup, plaintext, testing::test_keys()));
    }
  }
}

TEST(Sender, LargeChunksInPlaceLeaveFromAlignedMemory) {
  const Bytes memory = testing::rule_plaintext(3 * Sender::kAlignFrom + 1000);
  for (std::size_t begin = 0; begin < 130; begin += 13) {
    for (const std::size_t at_most : {std::size_t{10'000'000}, std::size_t{100'000}}) {
      const ByteSpan plaintext = ByteSpan(memory).subspan(begin, memory.size() - 130);
      SenderSetup setup;
      setup.buffer_size = Sender::kAlignFrom;
      setup.encrypted = false;
      setup.total = plaintext.size();
      Sender sender(setup, SteadyTime{});
      std::size_t at = 0;
      Bytes stream;
      std::size_t aligned = 0;
      for (;;) {
        while (const std::size_t wanted = sender.claim_plaintext()) {
          sender.supply_in_place(plaintext.subspan(at, wanted), {});
          at += wanted;
        }
        const auto spans = sender.next_outputs();
        if (spans.empty()) break;
        // What a kernel leaves over is a multiple of the alignment, too.
        const std::size_t most = at_most / Sender::kAlignment * Sender::kAlignment;
        if (reinterpret_cast<std::uintptr_t>(spans.front().data()) % Sender::kAlignment == 0) {
          aligned += std::min(spans.front().size(), most);
        }
        std::size_t taken = 0;
        for (const ByteSpan span : spans) {
          const ByteSpan part = span.first(std::min(span.size(), most - taken));
          stream.insert(stream.end(), part.begin(), part.end());
          taken += part.size();
        }
        sender.output_sent(taken, {});
      }
      ASSERT_EQ(stream, testing::encode_stream(setup, plaintext, testing::test_keys()));
      // Of three full chunks all but what comes before the first such address of each.
      EXPECT_GE(aligned, 3 * (Sender::kAlignFrom - Sender::kAlignment));
    }
  }
}

TEST(Sender, WantsNoMoreThanItsLimitAhead) {
  Made made(10'000'000);
  made.supply();
  EXPECT_LE(made.at, Sender::kMaxQueued);
  EXPECT_GE(made.at, Sender::kMaxQueued / 4);
  EXPECT_EQ(made.sender->claim_plaintext(), 0u);
  std::size_t most = 0;
  while (made.take(50'000) > 0) {
    const std::size_t before = made.at;
    made.supply();
    most = std::max(most, made.at - before);
  }
  EXPECT_EQ(made.at, made.plaintext.size());
  EXPECT_LE(most, Sender::kMaxQueued);
}

TEST(Sender, ChunksAreTheSameWhoeverMakesThem) {
  const ChunkKeys keys = testing::test_keys();
  const Bytes plaintext = testing::random_bytes(200 * 64 + 5, 1);
  ChunkEncoder one(64, &keys);
  Bytes whole(one.encoded_size(plaintext.size()));
  one.encode(plaintext, whole);
  Bytes parts;
  for (std::size_t at = 0; at < plaintext.size(); at += 128) {
    ChunkEncoder another(64, &keys);
    const ByteSpan piece =
        ByteSpan(plaintext).subspan(at, std::min<std::size_t>(128, plaintext.size() - at));
    Bytes chunks(another.encoded_size(piece.size()));
    another.encode(piece, chunks);
    parts.insert(parts.end(), chunks.begin(), chunks.end());
  }
  EXPECT_EQ(parts, whole);
}

// The same stream, made the plain way: one chunk after the other, by OpenSSL.
Bytes reference_stream(const SenderSetup& setup, ByteSpan plaintext, const ChunkKeys& keys) {
  const auto cipher = make_aes_cbc(keys.key, keys.iv, crypto::AesCbcEngine::kOpenSsl);
  ByteWriter out;
  out.u32(0x64640001).u32(1).u32(setup.header_size).u32(setup.buffer_size);
  out.u32(setup.buffer_size + 16).u32(static_cast<std::uint32_t>(plaintext.size()));
  out.u32(setup.encrypted ? 1 : 0).bytes(Bytes(setup.header_size - 8));
  while (!plaintext.empty()) {
    const ByteSpan piece =
        plaintext.first(std::min<std::size_t>(plaintext.size(), setup.buffer_size));
    plaintext = plaintext.subspan(piece.size());
    if (!setup.encrypted) {
      out.u32_prefixed(piece);
      continue;
    }
    Bytes sealed(crypto::AesCbc::padded_size(piece.size()));
    const crypto::AesCbc::Piece one{piece, sealed};
    cipher->encrypt(std::span(&one, 1));
    out.u32_prefixed(sealed);
  }
  return out.take();
}

TEST(Sender, StreamsAreThoseOfAPlainMakerAtEverySizeThatMatters) {
  const ChunkKeys keys = testing::test_keys();
  for (const std::uint32_t buffer : {16U, 32U, 256U, 16384U, kMaxSenderBuffer}) {
    std::vector<std::size_t> sizes = {buffer - 1U, buffer, buffer + 1U, 2U * buffer};
    if (buffer <= 256) {
      for (std::size_t size = 0; size <= 64; ++size) sizes.push_back(size);
      for (std::uint64_t i = 0; i < 10; ++i) {
        sizes.push_back(std::to_integer<std::size_t>(testing::random_bytes(1, i)[0]) * 37);
      }
    }
    for (const std::size_t size : sizes) {
      const Bytes plaintext = testing::random_bytes(size, size);
      for (const std::uint32_t header : {8U, 64U, 1024U}) {
        if (buffer == kMaxSenderBuffer && header != 64U) continue;
        for (const bool encrypted : {false, true}) {
          SenderSetup setup;
          setup.header_size = header;
          setup.buffer_size = buffer;
          setup.encrypted = encrypted;
          ASSERT_EQ(testing::encode_stream(setup, plaintext, keys),
                    reference_stream(setup, plaintext, keys))
              << buffer << " " << size << " " << header << " " << encrypted;
        }
      }
    }
  }
}

TEST(Sender, TakesTheAnswerInAnyCuts) {
  for (const std::size_t piece : {1UL, 13UL, 64UL, 100UL}) {
    Made made(100);
    made.send_all();
    const Bytes kept = made.answer(made.good());
    ByteSpan rest = kept;
    while (!rest.empty() && made.sender->wants_input()) {
      EXPECT_FALSE(made.outcome());
      rest = rest.subspan(made.sender->receive(rest.first(std::min(piece, rest.size())), {}));
    }
    ASSERT_EQ(made.outcome(), Outcome::kAcknowledged);
    EXPECT_EQ(*made.finished->acknowledgement, made.good());
    made.sender->on_end({});
    EXPECT_EQ(made.outcome(), Outcome::kAcknowledged);
  }
}

TEST(Sender, AnEarlyAnswerEndsTheSending) {
  Made made(10'000'000);
  made.supply();
  while (made.take(100'000) > 0) {
  }
  const std::size_t piece = made.sender->claim_plaintext();
  ASSERT_GT(piece, 0u);
  Acknowledgement busy = made.good();
  busy.status = AckStatus::kBusy;
  made.sender->receive(made.answer(busy), {});
  EXPECT_EQ(made.outcome(), Outcome::kAcknowledged);
  EXPECT_TRUE(made.sender->next_output().empty());
  EXPECT_EQ(made.sender->claim_plaintext(), 0u);
  made.sender->supply(Bytes(made.encoder->encoded_size(piece)),
                      {});  // what was under way is dropped
  EXPECT_TRUE(made.sender->next_output().empty());
}

TEST(Sender, AnswersOfOthersAreNone) {
  const auto outcome_of = [](const std::function<Bytes(const Made&)>& make) {
    Made made(100);
    made.send_all();
    made.sender->receive(make(made), {});
    return made.outcome();
  };
  EXPECT_EQ(outcome_of([](const Made& made) { return made.answer(made.good(), 'x'); }),
            Outcome::kBadAnswer);
  EXPECT_EQ(outcome_of([](const Made& made) {
              Acknowledgement other = made.good();
              other.part = 4;
              return made.answer(other);
            }),
            Outcome::kBadAnswer);
  EXPECT_EQ(outcome_of([](const Made& made) {
              Acknowledgement other = made.good();
              other.snapshot[0] ^= std::byte{1};
              return made.answer(other);
            }),
            Outcome::kBadAnswer);
  Made made(100);
  const Bytes good = made.answer(made.good());
  for (std::size_t at = 0; at < good.size(); ++at) {
    EXPECT_EQ(outcome_of([&](const Made&) {
                Bytes damaged = good;
                damaged[at] ^= std::byte{1};
                return damaged;
              }),
              Outcome::kBadAnswer)
        << at;
  }
}

TEST(Sender, WhatAnEndMeansDependsOnWhatWasSent) {
  Made early(10'000'000);
  early.supply();
  early.take(1000);
  early.sender->on_end({});
  EXPECT_EQ(early.outcome(), Outcome::kClosedEarly);

  Made silent(100);
  silent.send_all();
  silent.sender->on_end({});
  EXPECT_EQ(silent.outcome(), Outcome::kUnknown);

  Made unread(100);
  unread.send_all();
  unread.sender->on_end({}, false);
  EXPECT_EQ(unread.outcome(), Outcome::kClosedEarly);

  Made reset(100);
  reset.send_all();
  reset.sender->on_reset({});
  EXPECT_EQ(reset.outcome(), Outcome::kReset);

  Made half(100);
  half.send_all();
  half.sender->receive(ByteSpan(half.answer(half.good())).first(63), {});
  half.sender->on_end({});
  EXPECT_EQ(half.outcome(), Outcome::kBadAnswer);
}

// A foreign receiver says nothing; if one did, it is not an answer of ours.
TEST(Sender, WhereNoAnswerIsAskedForNoneIsRead) {
  Made made(100, false);
  made.send_all();
  EXPECT_EQ(made.sender->receive(Bytes(500), {}), 500u);
  EXPECT_FALSE(made.outcome());
  made.sender->on_end({});
  EXPECT_EQ(made.outcome(), Outcome::kUnknown);
}

TEST(Sender, EveryWaitEnds) {
  Made stuck(10'000'000);
  stuck.supply();
  stuck.take(1000, SteadyTime{5s});
  EXPECT_EQ(stuck.sender->deadline(), SteadyTime{35s});
  stuck.sender->on_deadline(SteadyTime{34s});
  EXPECT_FALSE(stuck.outcome());
  stuck.sender->on_deadline(SteadyTime{35s});
  EXPECT_EQ(stuck.outcome(), Outcome::kIdleTimeout);
  EXPECT_FALSE(stuck.sender->deadline());

  // A slow source is nobody's idleness.
  Made slow(1000);
  slow.take(100'000, SteadyTime{1s});
  EXPECT_EQ(slow.sender->deadline(), SteadyTime{1h});
  slow.supply(SteadyTime{60s});
  EXPECT_EQ(slow.sender->deadline(), SteadyTime{90s});

  Made waiting(100);
  waiting.send_all();
  EXPECT_EQ(waiting.sender->deadline(), SteadyTime{1h}) << "the peer's sink may take its time";
  waiting.sender->on_deadline(SteadyTime{1h});
  EXPECT_EQ(waiting.outcome(), Outcome::kTotalTimeout);
}

TEST(Sender, ASetUpThatCannotBeSentIsRefused) {
  const auto error_of = [](const std::function<void(SenderSetup&)>& change) {
    SenderSetup setup;
    change(setup);
    const auto result = validate(setup);
    return result.has_value() ? std::optional<SetupError>() : result.error();
  };
  EXPECT_FALSE(error_of([](SenderSetup&) {}));
  for (const std::uint32_t size : {8U, 1024U}) {
    EXPECT_FALSE(error_of([&](SenderSetup& setup) { setup.header_size = size; }));
  }
  for (const std::uint32_t size : {0U, 7U, 1025U}) {
    EXPECT_EQ(error_of([&](SenderSetup& setup) { setup.header_size = size; }),
              SetupError::kHeaderSize);
  }
  EXPECT_FALSE(error_of([](SenderSetup& setup) { setup.buffer_size = kMaxSenderBuffer; }));
  for (const std::uint32_t size : {0U, 15U, 17U, 5'242'880U, 0xfffffff0U}) {
    EXPECT_EQ(error_of([&](SenderSetup& setup) { setup.buffer_size = size; }),
              SetupError::kBufferSize);
  }
  EXPECT_FALSE(error_of([](SenderSetup& setup) { setup.total = kMaxTotal; }));
  for (const std::uint64_t total : {0xffffffffULL, 0x100000000ULL}) {
    EXPECT_EQ(error_of([&](SenderSetup& setup) { setup.total = total; }), SetupError::kTotal);
  }
  const ClusterSecret secret = testing::test_secret();
  EXPECT_EQ(error_of([&](SenderSetup& setup) {
              setup.extension.emplace();
              setup.secret = &secret;
              setup.header_size = 124;
            }),
            SetupError::kNoRoom);
  EXPECT_FALSE(error_of([&](SenderSetup& setup) {
    setup.extension.emplace();
    setup.secret = &secret;
    setup.header_size = 125;
  }));
  EXPECT_EQ(error_of([&](SenderSetup& setup) {
              setup.extension.emplace();
              setup.extension->sender = std::string(65, 'n');
              setup.secret = &secret;
            }),
            SetupError::kName);
}

}  // namespace
}  // namespace sealane::entropy
