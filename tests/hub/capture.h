#pragma once
// The recorded sessions of the Python hub and client (tests/data/backbone/README.md), read.
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "hub/ids.h"
#include "sealane/base/bytes.h"

namespace sealane::hub::testing {

struct CapturedFrame {
  bool to_hub = false;
  bool end = false;  // FIN
  std::string kind;
  Bytes wire;
  Bytes plain;
};
struct CapturedSession {
  std::string name;
  std::string client_key;
  std::vector<CapturedFrame> frames;
};
struct Decoded {
  Bytes input;
  std::string result;
  std::optional<ClientId> recipient;
  std::optional<std::uint32_t> time;
  Bytes payload;
};
struct Capture {
  std::map<std::string, std::string> private_pems;
  std::map<std::string, std::string> public_pems;
  std::map<std::string, ClientId> ids;
  std::vector<CapturedSession> sessions;
  std::map<std::string, Bytes> encoded;  // by what it is
  std::vector<Decoded> decoded;
  std::vector<std::pair<Bytes, Bytes>> encrypted_to_a;  // plain, cipher
};
const Capture& capture();

}  // namespace sealane::hub::testing
