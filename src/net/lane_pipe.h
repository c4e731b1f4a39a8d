#pragma once
// One input and one output across a lane: as a stream with half-close and confirmation between
// Sealane ends, as the bare byte pipe to a legacy peer, or as datagrams.
#include <atomic>
#include <functional>

#include "flow/stream.h"
#include "net/stream_mux.h"
#include "sealane/net/lane.h"

namespace sealane::net {

struct PipeCounters {
  std::atomic<std::uint64_t> sent{0};      // bytes of our input
  std::atomic<std::uint64_t> received{0};  // bytes of our output
  std::atomic<std::uint64_t> messages_sent{0};
  std::atomic<std::uint64_t> messages_received{0};
};

struct PipeEnds {
  flow::ByteSource& input;
  flow::ByteSink& output;
  std::function<Result<void, Error>()> commit;  // the output, when all of it has come
  const flow::Cancellation& cancel;
  PipeCounters& counters;
};

// Until both directions have ended and both sides confirmed that what they got is in its place.
// The lane is closed in the end, whatever happened.
Result<void, Error> run_stream_pipe(Lane& lane, MuxSide side, const PipeEnds& ends);

// A legacy peer has no word for the end of one direction: when our input ends, or the peer closes,
// all of it ends; what was on its way from the peer may be lost then. An input that is empty from
// the start does not count: then the peer's end is waited for.
Result<void, Error> run_plain_pipe(Lane& lane, const PipeEnds& ends);

// Each line of the input, without its line feed, is one message; each message that comes is written
// with a line feed. What the network loses is lost. Ends when both inputs have, or with the lane.
// kUsage for a line longer than lane.payload_size() - 1.
inline constexpr Channel kDatagramChannel{1};
Result<void, Error> run_datagram_pipe(Lane& lane, const PipeEnds& ends);

}  // namespace sealane::net
