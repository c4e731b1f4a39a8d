// Goal: the seams of a warm copy hold what their headers say.
// Method: tokens against values of an independent implementation; ranges on a small ring; the RESP
// splitter with every cut and every kind of damage; memory source and sink against each other.
#include "sealane/warm/memory.h"

#include <gtest/gtest.h>

#include "warm/resp.h"

namespace sealane::warm {
namespace {

Bytes commands_of(std::initializer_list<std::initializer_list<std::string_view>> commands) {
  Bytes out;
  RespWriter writer(out);
  for (const auto& command : commands) writer.command(command);
  return out;
}

TEST(Token, EqualsAnIndependentImplementation) {
  EXPECT_EQ(token_of(as_bytes("")), 0U);
  EXPECT_EQ(token_of(as_bytes("a")), 1262581116U);
  EXPECT_EQ(token_of(as_bytes("ab")), 3820310011U);
  EXPECT_EQ(token_of(as_bytes("abc")), 2064434216U);
  EXPECT_EQ(token_of(as_bytes("abcd")), 4016735919U);
  EXPECT_EQ(token_of(as_bytes("user:1000")), 2384768711U);
  EXPECT_EQ(token_of(as_bytes("\xff\xfe\xfd")), 3269769215U);
}

TEST(StoreId, OneHalfThatIsKnownIsEnough) {
  const auto id = [](unsigned server, unsigned history) {
    StoreId out{};
    out[7] = static_cast<std::byte>(server);
    out[8] = static_cast<std::byte>(history);
    return out;
  };
  EXPECT_TRUE(is_same_store(id(1, 2), id(1, 2)));
  EXPECT_TRUE(is_same_store(id(1, 2), id(1, 3)));
  EXPECT_TRUE(is_same_store(id(1, 2), id(3, 2)));
  EXPECT_TRUE(is_same_store(id(0, 2), id(0, 2)));
  EXPECT_FALSE(is_same_store(id(1, 2), id(2, 1)));
  EXPECT_FALSE(is_same_store(id(1, 0), id(2, 0)));
  EXPECT_FALSE(is_same_store(id(0, 1), id(0, 2)));
  EXPECT_FALSE(is_same_store(id(0, 0), id(0, 0)));
}

TEST(TokenRange, ExcludesItsStartAndIncludesItsEndAlsoOverTheTop) {
  const TokenRange plain{.start = 10, .end = 20};
  EXPECT_FALSE(plain.contains(10));
  EXPECT_TRUE(plain.contains(11));
  EXPECT_TRUE(plain.contains(20));
  EXPECT_FALSE(plain.contains(21));
  const TokenRange over{.start = 20, .end = 10};
  EXPECT_TRUE(over.contains(0));
  EXPECT_TRUE(over.contains(10));
  EXPECT_FALSE(over.contains(11));
  EXPECT_FALSE(over.contains(20));
  EXPECT_TRUE(over.contains(0xffffffffU));
  EXPECT_TRUE((TokenRange{.start = 7, .end = 7}.contains(7)));
}

TEST(RespSplitter, AnyCutGivesTheSameCommands) {
  const Bytes stream = commands_of({{"SET", "a", "1\r\n$"}, {"PING"}, {"DEL", "", "b"}});
  for (std::size_t cut = 0; cut <= stream.size(); ++cut) {
    RespSplitter splitter;
    std::vector<std::vector<std::string>> found;
    Bytes whole;
    const auto take = [&] {
      for (;;) {
        auto command = splitter.next();
        ASSERT_TRUE(command.has_value());
        if (!command.value()) return;
        std::vector<std::string> words;
        for (const ByteSpan word : command.value()->words) words.push_back(to_text(word));
        found.push_back(words);
        whole.insert(whole.end(), command.value()->whole.begin(), command.value()->whole.end());
      }
    };
    splitter.feed(ByteSpan(stream).first(cut));
    take();
    const bool at_border = splitter.finish().has_value();
    EXPECT_EQ(at_border, splitter.consumed() == cut) << cut;
    splitter.feed(ByteSpan(stream).subspan(cut));
    take();
    EXPECT_TRUE(splitter.finish().has_value());
    EXPECT_EQ(found, (std::vector<std::vector<std::string>>{
                         {"SET", "a", "1\r\n$"}, {"PING"}, {"DEL", "", "b"}}));
    EXPECT_EQ(whole, stream);
  }
}

TEST(RespSplitter, AStreamThatIsLentGivesTheSameAsOneThatIsFedByteByByte) {
  Bytes stream;
  RespWriter writer(stream);
  for (const std::size_t words : {1U, 9U, 10U}) {  // some that one pass cuts, and some that none
    for (const std::size_t size : {0U, 9U, 10U, 99U, 100U, 999U, 1000U}) {
      writer.begin(words);
      for (std::size_t i = 0; i < words; ++i) writer.word(std::string(size, '$'));
    }
  }
  for (const std::size_t missing : {0U, 1U, 2U, 3U}) {
    const ByteSpan given = ByteSpan(stream).first(stream.size() - missing);
    RespSplitter lent;
    lent.lend(given);
    RespSplitter fed;
    std::size_t count = 0;
    for (const std::byte& one : given) {
      fed.feed(ByteSpan(&one, 1));
      const auto command = fed.next();
      ASSERT_TRUE(command.has_value());
      if (!command.value()) continue;
      ++count;
      const auto same = lent.next();
      ASSERT_TRUE(same.has_value() && same.value());
      EXPECT_EQ(to_text(same.value()->whole), to_text(command.value()->whole));
      ASSERT_EQ(same.value()->words.size(), command.value()->words.size());
      for (std::size_t i = 0; i < same.value()->words.size(); ++i) {
        EXPECT_EQ(to_text(same.value()->words[i]), to_text(command.value()->words[i]));
      }
    }
    EXPECT_EQ(count, missing == 0 ? 21U : 20U);
    EXPECT_FALSE(lent.next().value());
    EXPECT_EQ(lent.consumed(), fed.consumed());
    EXPECT_EQ(lent.finish().has_value(), missing == 0);
  }
}

TEST(RespSplitter, CutsWhatIsLikeTheExpectedAndLeavesTheRestToNext) {
  constexpr std::string_view kHead = "*4\r\n$3\r\nSET\r\n";
  constexpr std::string_view kTail = "$2\r\nNX\r\n";
  const auto set = [](const std::string& key, const std::string& text, const std::string& how) {
    return commands_of({{"SET", key, text, how}});
  };
  for (const std::size_t size : {0U, 9U, 10U, 999U}) {
    const std::string text(size, '$');
    Bytes stream = set("k", text, "NX");
    const Bytes one = stream;
    stream.insert(stream.end(), one.begin(), one.end());
    for (std::size_t cut = 0; cut <= one.size(); ++cut) {
      RespSplitter splitter;
      splitter.feed(ByteSpan(stream).first(cut));
      const auto pair = splitter.next_like(kHead, 2, kTail);
      ASSERT_EQ(pair.has_value(), cut == one.size()) << cut;
      if (pair) {
        EXPECT_EQ(to_text(*pair), "$1\r\nk\r\n$" + std::to_string(size) + "\r\n" + text + "\r\n");
      }
      EXPECT_EQ(splitter.consumed(), pair ? one.size() : 0);
      if (!pair && cut < one.size()) {
        EXPECT_FALSE(splitter.next().value());
      }
      splitter.feed(ByteSpan(stream).subspan(cut));
      std::size_t more = 0;  // a command that was begun is one for next()
      while (splitter.next_like(kHead, 2, kTail) || splitter.next().value()) ++more;
      EXPECT_EQ(more, pair ? 1U : 2U);
      EXPECT_EQ(splitter.consumed(), stream.size());
      EXPECT_TRUE(splitter.finish().has_value());
    }
  }
  for (const Bytes& other :
       {set("k", std::string(1000, 'x'), "NX"), set("k", "v", "XX"), set("k", "v", "nx"),
        commands_of({{"set", "k", "v", "NX"}}), commands_of({{"SET", "k", "v"}})}) {
    RespSplitter splitter;
    splitter.lend(other);
    EXPECT_FALSE(splitter.next_like(kHead, 2, kTail));
    EXPECT_EQ(splitter.consumed(), 0U);
    EXPECT_TRUE(splitter.next().value());
  }
  const Bytes command = set("k", "v", "NX");
  RespSplitter limited(command.size() - 1);
  limited.lend(command);
  EXPECT_FALSE(limited.next_like(kHead, 2, kTail));
}

TEST(RespSplitter, AStreamThatIsLentInPiecesGivesTheSameAsOneThatIsLentWhole) {
  Bytes stream;
  RespWriter writer(stream);
  for (const std::size_t words : {1U, 3U, 10U}) {
    for (const std::size_t size : {0U, 1U, 9U, 100U, 3000U}) {
      writer.begin(words);
      for (std::size_t i = 0; i < words; ++i) writer.word(std::string(size, '$'));
    }
  }
  const auto all_of = [&stream](std::size_t missing, std::size_t first, std::size_t piece) {
    ByteSpan rest = ByteSpan(stream).first(stream.size() - missing);
    RespSplitter splitter;
    std::vector<std::string> found;
    for (std::size_t size = first; !rest.empty(); size = piece) {
      // A copy that goes away: a command must not point to what was lent before.
      const Bytes lent = to_bytes(rest.first(std::min(size, rest.size())));
      rest = rest.subspan(lent.size());
      splitter.lend(lent);
      while (const auto command = splitter.next().value()) {
        found.push_back(to_text(command->whole));
        std::string words;
        for (const ByteSpan word : command->words) words += to_text(word) + ",";
        found.push_back(words);
      }
    }
    EXPECT_EQ(splitter.finish().has_value(), missing == 0);
    found.push_back(std::to_string(splitter.consumed()));
    return found;
  };
  for (const std::size_t missing : {0U, 1U, 3000U}) {
    const auto whole = all_of(missing, stream.size(), stream.size());
    ASSERT_EQ(whole.size(), missing == 0 ? 31U : 29U);
    for (const std::size_t piece : {1U, 2U, 7U, 100U, 1023U, 1025U, 4096U, 50'000U}) {
      EXPECT_EQ(all_of(missing, piece, piece), whole) << piece;
    }
    for (std::size_t first = 1; first < 1500; ++first) {
      ASSERT_EQ(all_of(missing, first, stream.size()), whole) << first;
    }
  }
}

TEST(RespSplitter, ItsLimitIsTheSameForShortCommands) {
  const Bytes command = commands_of({{"SET", "key", "value"}});
  RespSplitter enough(command.size());
  enough.lend(command);
  EXPECT_TRUE(enough.next().value());
  RespSplitter less(command.size() - 4);
  less.lend(command);
  EXPECT_EQ(less.next().error(), RespError::kTooLong);
}

TEST(RespSplitter, RefusesWhatIsNoCommandBeforeItTakesMemory) {
  const std::pair<std::string, RespError> cases[] = {
      {"PING\r\n", RespError::kNotACommand},
      {"*0\r\n", RespError::kNotACommand},
      {"*-1\r\n", RespError::kNotACommand},
      {"*01\r\n", RespError::kNotACommand},
      {"*1\n$4\r\nPING\r\n", RespError::kNotACommand},
      {"*1\r\n$-1\r\n", RespError::kNotACommand},
      {"*1\r\n:4\r\n", RespError::kNotACommand},
      {"*1\r\n$4\r\nPINGx\n", RespError::kNotACommand},
      {"*\r\n", RespError::kNotACommand},
      {"*9999999999999999999999\r\n", RespError::kNotACommand},
      {"*1048577\r\n", RespError::kTooManyWords},
      {"*1\r\n$536870913\r\n", RespError::kTooLong},
      {"*2\r\n$1\r\na\r\n$536870912\r\n", RespError::kTooLong},
      {"*1\r\n$99999999999\r\n", RespError::kTooLong},
  };
  for (const auto& [text, error] : cases) {
    RespSplitter splitter;
    splitter.feed(as_bytes(text));
    const auto command = splitter.next();
    ASSERT_FALSE(command.has_value()) << text;
    EXPECT_EQ(command.error(), error) << text;
    EXPECT_EQ(splitter.next().error(), error) << "errors are final";
    EXPECT_EQ(splitter.finish().error(), error);
  }
}

TEST(Memory, PartsArriveWholeAndResume) {
  std::vector<Part> parts;
  parts.push_back(make_part(commands_of({{"DEL", "a"}, {"DEL", "b"}}), 2, 2));
  parts.push_back(make_part(commands_of({{"DEL", "c"}}), 1, 1));
  MemorySource source(parts);
  MemorySink sink;
  auto first = source.next();
  ASSERT_TRUE(first.has_value() && first.value());
  EXPECT_EQ(first.value()->count, 2U);
  MemorySource again(parts);
  ASSERT_TRUE(again.resume(first.value()->behind).value());
  auto second = again.next();
  ASSERT_TRUE(second.has_value() && second.value());
  EXPECT_EQ(second.value()->commands, parts[1].commands);
  EXPECT_FALSE(again.next().value());
  EXPECT_EQ(again.resume("x").error().kind, ErrorKind::kUsage);
  EXPECT_EQ(again.resume("3").error().kind, ErrorKind::kUsage);
  MemoryContent content(first.value()->commands);
  const ApplyResult result = sink.apply({}, content);
  EXPECT_EQ(result.counts.applied, 2U);
  EXPECT_FALSE(result.error);
  const auto kept = sink.take();
  ASSERT_EQ(kept.size(), 1U);
  EXPECT_EQ(kept[0].commands, parts[0].commands);
}

TEST(Memory, KeepsNothingOfWhatIsCutOrTooMuch) {
  MemorySink sink(30);
  const Bytes whole = commands_of({{"DEL", "a"}});
  MemoryContent cut(ByteSpan(whole).first(whole.size() - 1));
  const ApplyResult result = sink.apply({}, cut);
  EXPECT_EQ(result.counts.failed, 1U);
  ASSERT_TRUE(result.error);
  EXPECT_NE(result.error->message.find("cut inside a command"), std::string::npos);
  MemoryContent fits(whole);
  EXPECT_FALSE(sink.apply({}, fits).error);
  MemoryContent more(whole);
  const ApplyResult full = sink.apply({}, more);
  EXPECT_EQ(full.counts.causes[static_cast<std::size_t>(Cause::kOutOfMemory)], 1U);
  EXPECT_EQ(sink.take().size(), 1U);
}

}  // namespace
}  // namespace sealane::warm
