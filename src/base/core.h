#pragma once
// Core shapes: how a protocol without I/O looks to the adapters that drive it. A core takes bytes,
// events and `now`, and returns bytes, events and the next deadline. It owns no socket, clock or
// thread. The adapter stops reading while wants_input() is false, and always drains next_output()
// before it waits; so output is bounded by what one receive() may produce.
#include <concepts>
#include <cstdint>
#include <optional>
#include <utility>

#include "sealane/base/bytes.h"
#include "sealane/base/seams.h"

namespace sealane {

// What all three shapes share. Event is the core's own variant; a job (RSA, scrypt, bulk work) is
// an event too, and its result comes back by a method of the core, in order.
template <class C>
concept Core = requires(C core, const C& view, SteadyTime now) {
  typename C::Event;
  { core.next_event() } -> std::same_as<std::optional<typename C::Event>>;
  { view.deadline() } -> std::same_as<std::optional<SteadyTime>>;  // when to call on_deadline
  {core.on_deadline(now)};
  { view.wants_input() } -> std::same_as<bool>;
};

// Bytes in any cut give the same events. receive() returns how many bytes it took; the rest is
// offered again once wants_input() is true. on_end() tells that the peer will send no more.
template <class C>
concept StreamCore = Core<C> && requires(C core, ByteSpan bytes, SteadyTime now) {
  { core.receive(bytes, now) } -> std::same_as<std::size_t>;
  {core.on_end(now)};
  { core.next_output() } -> std::same_as<ByteSpan>;  // empty: nothing to send
  {core.output_sent(std::size_t{})};                 // how much of it went out
};

// Why a datagram did not leave. A transport that is merely busy is no failure: the adapter keeps
// the datagram and offers it again before it asks for the next one.
enum class OutputFailure : std::uint8_t {
  kTooBig = 1,  // larger than the path carries (EMSGSIZE)
  kLost,        // anything else; as if the network had dropped it
};

// Whole datagrams that may be lost, doubled or reordered. Source is the core's address type. A
// datagram of next_output() belongs to the core: it is valid until the next call, so nothing is
// allocated for it. After each one the adapter says what became of it.
template <class C>
concept DatagramCore = Core<C> && requires(C core, ByteSpan datagram, SteadyTime now) {
  typename C::Source;
  {core.receive(std::declval<typename C::Source>(), datagram, now)};
  { core.next_output() } -> std::same_as<std::optional<std::pair<typename C::Source, ByteSpan>>>;
  {core.output_sent()};
  {core.output_failed(OutputFailure::kLost)};
};

// Whole messages, in order, exactly once, of a transport that frames them (WebSocket, HTTP/2).
template <class C>
concept MessageCore = Core<C> && requires(C core, ByteSpan message, SteadyTime now) {
  {core.receive(message, now)};
  {core.on_end(now)};
  { core.next_output() } -> std::same_as<std::optional<Bytes>>;
};

}  // namespace sealane
