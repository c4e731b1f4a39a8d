// Goal: keys as the format says. Method: the vectors, seen from both sides; low-order keys.
#include "session/key_schedule.h"

#include <gtest/gtest.h>

#include "tests/session/vectors.h"

namespace sealane::session {
namespace {

TEST(PskKeys, Vectors) {
  for (const auto& entry : vectors()["psk"]) {
    SCOPED_TRACE(entry["name"].get<std::string>());
    const PskKeys keys(hex(entry["psk"]));
    EXPECT_EQ(to_hex(keys.cipher_key_mask()), entry["cipher_key_xor"]);
    EXPECT_EQ(to_hex(keys.aux_key().expose()), entry["aux_cipher_key"]);
    ByteArray<8> mask{};
    for (std::size_t i = 0; i < mask.size(); ++i) {
      mask[i] =
          static_cast<std::byte>(static_cast<std::uint64_t>(keys.packet_id_mask()) >> (8 * i));
    }
    EXPECT_EQ(to_hex(mask), entry["packet_id_mask"]);
  }
}

TEST(CipherKeys, Vectors) {
  const auto side = [](std::size_t i) -> const nlohmann::json& {
    return vectors()["sides"][i]["x25519"];
  };
  for (const auto& entry : vectors()["cipher_keys"]) {
    SCOPED_TRACE(entry["psk"].get<std::string>());
    std::optional<PskKeys> psk;
    for (const auto& known : vectors()["psk"]) {
      if (known["name"] == entry["psk"] || known["psk"] == entry["psk"])
        psk.emplace(hex(known["psk"]));
    }
    ASSERT_EQ(psk.has_value(), entry["psk"] != "none");
    for (std::size_t own = 0; own < 2; ++own) {
      const auto& keys = entry[own == 0 ? "A" : "B"];
      const auto derive = [&](std::size_t own_generation, std::size_t remote_generation) {
        const crypto::X25519Private secret(
            hex_array<32>(side(own)[own_generation]["private_clamped"]));
        EXPECT_EQ(to_hex(crypto::x25519_public(secret)), side(own)[own_generation]["public"]);
        auto key =
            derive_cipher_key(secret, hex_array<32>(side(1 - own)[remote_generation]["public"]),
                              psk ? &*psk : nullptr);
        return to_hex(key.value().expose());
      };
      // Index 0 is the previous pair of a side, 1 the next one.
      EXPECT_EQ(derive(1, 1), keys["recent_both"]);
      EXPECT_EQ(derive(1, 0), keys["recent_local"]);
      EXPECT_EQ(derive(0, 1), keys["recent_remote"]);
      EXPECT_EQ(derive(0, 0), keys["previous"]);
    }
  }
}

TEST(CipherKeys, LowOrderKeysAreRefused) {
  const crypto::X25519Private own(
      hex_array<32>(vectors()["sides"][0]["x25519"][0]["private_clamped"]));
  const PskKeys psk(as_bytes("a pre-shared key"));
  // RFC 7748's curve has these u-coordinates of order 1, 2, 4 and 8, and their unreduced twins.
  for (const char* low : {
           "0000000000000000000000000000000000000000000000000000000000000000",
           "0100000000000000000000000000000000000000000000000000000000000000",
           "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
           "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
           "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
           "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
           "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
       }) {
    const auto peer = hex_array<32>(low);
    EXPECT_EQ(derive_cipher_key(own, peer, nullptr).error(), crypto::CurveError::kLowOrder) << low;
    EXPECT_EQ(derive_cipher_key(own, peer, &psk).error(), crypto::CurveError::kLowOrder) << low;
  }
}

}  // namespace
}  // namespace sealane::session
