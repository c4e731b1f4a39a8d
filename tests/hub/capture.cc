#include "tests/hub/capture.h"
#include "tests/support/data_path.h"

#include <fstream>
#include <nlohmann/json.hpp>

namespace sealane::hub::testing {
namespace {

using nlohmann::json;

Bytes hex_of(const json& object, const char* key) {
  return from_hex(object.at(key).get<std::string>()).value();
}

Capture read() {
  std::ifstream file(sealane::testing::data_path("backbone/capture.json"));
  const json content = json::parse(file);
  Capture capture;
  for (const auto& [name, key] : content.at("keys").items()) {
    capture.private_pems[name] = key.at("private_pem").get<std::string>();
    capture.public_pems[name] = key.at("public_pem").get<std::string>();
  }
  for (const auto& [name, id] : content.at("ids").items()) {
    capture.ids[name] = parse_client_id(id.get<std::string>()).value();
  }
  for (const json& session : content.at("sessions")) {
    CapturedSession read{
        .name = session.at("name"), .client_key = session.at("client_key"), .frames = {}};
    for (const json& frame : session.at("frames")) {
      CapturedFrame one;
      one.to_hub = frame.at("dir") == "c2s";
      one.end = frame.contains("event");
      if (!one.end) {
        one.kind = frame.at("kind");
        one.wire = hex_of(frame, "wire");
        if (frame.contains("plain")) one.plain = hex_of(frame, "plain");
      }
      read.frames.push_back(std::move(one));
    }
    capture.sessions.push_back(std::move(read));
  }
  for (const json& row : content.at("codec").at("encode")) {
    capture.encoded[row.at("what").get<std::string>()] = hex_of(row, "hex");
  }
  for (const json& row : content.at("codec").at("decode")) {
    Decoded decoded{.input = hex_of(row, "hex"),
                    .result = row.at("result"),
                    .recipient = {},
                    .time = {},
                    .payload = {}};
    if (row.contains("recipient")) {
      decoded.recipient = parse_client_id(row.at("recipient").get<std::string>());
    }
    if (row.contains("timestamp")) decoded.time = row.at("timestamp").get<std::uint32_t>();
    if (row.contains("payload") && row.at("payload").is_string()) {
      decoded.payload = hex_of(row, "payload");
    }
    capture.decoded.push_back(std::move(decoded));
  }
  for (const json& row : content.at("crypto").at("encrypt_to_A")) {
    capture.encrypted_to_a.emplace_back(hex_of(row, "plain"), hex_of(row, "cipher"));
  }
  return capture;
}

}  // namespace

const Capture& capture() {
  static const Capture read_once = read();
  return read_once;
}

}  // namespace sealane::hub::testing
