// Goal: a block says which store its part was read from, and whoever does not know of that sees a
// longer name. Blocks on the wire: receiver_test.cc, sender_test.cc.
#include "entropy/extension.h"

#include <gtest/gtest.h>

namespace sealane::entropy {
namespace {

StoreId store_with(unsigned first) {
  StoreId out{};
  out[0] = static_cast<std::byte>(first);
  return out;
}

TEST(Extension, TheStoreStandsBehindTheName) {
  for (const std::size_t size : {0U, 1U, 26U, 27U, 64U}) {
    Extension block;
    block.sender = std::string(size, 'n');
    EXPECT_EQ(block.store(), std::nullopt);
    EXPECT_EQ(block.name(), block.sender);
    block.set_store(store_with(0xab));
    EXPECT_EQ(block.store(), store_with(0xab));
    EXPECT_EQ(block.name(), std::string(std::min(size, std::size_t{26}), 'n'));
    EXPECT_LE(block.sender.size(), Extension::kMaxNameSize);
    EXPECT_TRUE(block.sender.ends_with("store:ab000000000000000000000000000000"));
  }
}

TEST(Extension, ANameThatOnlyLooksLikeItIsAName) {
  Extension block;
  block.set_store(store_with(1));
  const std::string good = block.sender;
  const std::string others[] = {good.substr(1),
                                good.substr(0, good.size() - 1),
                                good + "0",
                                "store;" + good.substr(6),
                                good.substr(0, good.size() - 1) + "g",
                                ""};
  for (const std::string& other : others) {
    block.sender = other;
    EXPECT_EQ(block.store(), std::nullopt) << other;
    EXPECT_EQ(block.name(), other);
  }
  block.sender = good;
  EXPECT_EQ(block.name(), "");
  block.flags &= ~Extension::kStore;
  EXPECT_EQ(block.store(), std::nullopt);
  EXPECT_EQ(block.name(), good);
}

}  // namespace
}  // namespace sealane::entropy
