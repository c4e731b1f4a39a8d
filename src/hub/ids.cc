#include "hub/ids.h"

namespace sealane::hub {

ClientId make_client_id(RandomSource& random) {
  ClientId id;
  random.fill(id.bytes);
  id.bytes[6] = (id.bytes[6] & std::byte{0x0f}) | std::byte{0x40};  // version 4
  id.bytes[8] = (id.bytes[8] & std::byte{0x3f}) | std::byte{0x80};  // the RFC's variant
  return id;
}

std::string to_file_name(const ClientId& id) { return to_hex(id.bytes); }

}  // namespace sealane::hub
