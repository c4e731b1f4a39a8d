#pragma once
// The published vectors of the session's wire format, as JSON; and the values in them as ours.
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "sealane/base/bytes.h"
#include "session/packet.h"
#include "tests/support/data_path.h"

namespace sealane::session {

inline const nlohmann::json& vectors() {
  static const nlohmann::json loaded = nlohmann::json::parse(
      std::ifstream(sealane::testing::data_path("session/secureio_vectors.json")));
  return loaded;
}

inline Bytes hex(const nlohmann::json& value) { return from_hex(value.get<std::string>()).value(); }
template <std::size_t N>
ByteArray<N> hex_array(const nlohmann::json& value) {
  const Bytes bytes = hex(value);
  ByteArray<N> out{};
  if (bytes.size() == N) std::ranges::copy(bytes, out.begin());
  return out;
}

inline CipherKey cipher_key(const nlohmann::json& value) { return CipherKey(hex_array<32>(value)); }
inline AuxCipherKey aux_key(const nlohmann::json& value) {
  return AuxCipherKey(hex_array<32>(value));
}
inline SessionId session_id_of(const std::string& side) {
  const auto& entry = vectors()["sides"][side == "A" ? 0 : 1];
  return decode_session_id(hex_array<16>(entry["session_id"]["bytes"]));
}
inline PacketId packet_id(const nlohmann::json& value) {
  return PacketId{value.is_string() ? std::stoull(value.get<std::string>())
                                    : value.get<std::uint64_t>()};
}

}  // namespace sealane::session
