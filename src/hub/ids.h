#pragma once
// Who, and which message. On the wire a client id is a UUID in RFC 4122 byte order, of any version;
// all zeros is an id as any other. Clients, numbers and messages are the mailbox's.
#include <string>

#include "mailbox/types.h"
#include "sealane/base/seams.h"

namespace sealane::hub {

using mailbox::ClientId;
using mailbox::parse_client_id;
using mailbox::to_text;
// 1 or higher; 0 on the wire is "none".
using mailbox::SenderRef;
// The hub's number of a message.
using DeliveryId = mailbox::MessageId;

ClientId make_client_id(RandomSource& random);  // UUID version 4
std::string to_file_name(const ClientId& id);   // 32 lower-case hex digits

}  // namespace sealane::hub
