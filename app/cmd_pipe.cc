// sealane pipe listen|dial: an encrypted session as a pipe, for a file, a program or ports.
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "app/commands.h"
#include "app/paths.h"
#include "app/pipe_peer.h"
#include "app/streams.h"
#include "base/backoff.h"
#include "flow/ticker.h"
#include "net/child.h"
#include "net/forwarder.h"
#include "net/lane_pipe.h"

namespace sealane::app {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr std::uint64_t kDialTimeout = 20;  // seconds; also of one silent renewal of keys
constexpr std::uint64_t kMaxTimeout = 24 * 3600;
constexpr milliseconds kSlice{100};  // how late Ctrl-C may be noticed
constexpr seconds kReadyExtra{2};    // the session's own timeout says more than ours

enum class Side : std::uint8_t { kListen, kDial };

struct PipeFlags {
  std::string url;
  PeerFlags peer;
  std::string in = "-";
  std::string out = "-";
  bool force = false;
  std::vector<std::string> forwards;
  std::vector<std::string> allowed;
  bool datagrams = false;
  bool reconnect = false;
  bool stats = false;
  std::uint64_t stats_every = 5;
  std::uint64_t timeout = 0;  // 0: kDialTimeout, or none where we listen
};

Error usage(std::string message) {
  return {.kind = ErrorKind::kUsage, .message = std::move(message)};
}

SteadyTime now_plus(std::chrono::nanoseconds time) {
  return std::chrono::steady_clock::now() + time;
}

std::string rate(std::uint64_t bytes, double time) {
  const double value = time > 0 ? static_cast<double>(bytes) / time : 0.0;
  return format_bytes(static_cast<std::uint64_t>(value)) + "/s";
}

double seconds_of(std::chrono::nanoseconds time) {
  return std::chrono::duration<double>(time).count();
}

// An established lane, and what must live as long.
struct Connected {
  std::optional<net::Child> child;
  std::unique_ptr<net::Lane> lane;
};

class PipeRun {
 public:
  PipeRun(Context& context, const PipeFlags& flags, Side side)
      : context_(context),
        console_(context.console),
        flags_(flags),
        side_(side),
        host_(context.clock, context.random),
        start_(std::chrono::steady_clock::now()) {}

  Result<int, Error> run() {
    SEALANE_TRY(check_flags());
    console_.data_on_stdout = on_standard_streams() || (!forwarding() && flags_.out == "-");
    if (forwarding()) return run_forward();
    SEALANE_TRY(Input input, Input::open(context_, flags_.in));
    std::vector<std::string> keys = flags_.peer.pins;
    keys.insert(keys.end(), {flags_.peer.identity_path(), flags_.peer.passphrase_file,
                             flags_.peer.psk_file, flags_.peer.trust, home_path("trusted_keys")});
    SEALANE_TRY(keep_keys(flags_.out, keys));
    const auto existing = flags_.force ? Output::Existing::kReplace : Output::Existing::kRefuse;
    SEALANE_TRY(Output output, Output::create(context_, flags_.out, input, existing));
    SEALANE_TRY(prepare());
    SEALANE_TRY(Connected connected, connect_patiently());
    listener_.reset();  // one peer: others need not wait for their turn
    return transfer(connected, input, output);
  }

 private:
  bool forwarding() const { return !flags_.forwards.empty() || !flags_.allowed.empty(); }
  bool on_standard_streams() const { return flags_.url == "-"; }
  bool lossy() const { return flags_.url.starts_with("udp:"); }
  bool is_exec() const { return flags_.url.starts_with("exec:"); }
  net::MuxSide mux_side() const {
    return side_ == Side::kDial ? net::MuxSide::kDialer : net::MuxSide::kListener;
  }
  seconds patience() const { return seconds(flags_.timeout == 0 ? kDialTimeout : flags_.timeout); }

  Result<void, Error> check_flags() const {
    const bool known = std::ranges::any_of(
        std::initializer_list<std::string_view>{"unix:", "seqpacket:", "tcp:", "udp:", "exec:"},
        [this](std::string_view scheme) { return flags_.url.starts_with(scheme); });
    if (!known && !on_standard_streams()) {
      return usage(printable(flags_.url) +
                   " is no address; write unix:PATH, seqpacket:PATH, tcp:HOST:PORT, "
                   "udp:HOST:PORT, exec:COMMAND or -");
    }
    if (flags_.timeout > kMaxTimeout) return usage("--timeout is more than a day");
    if (flags_.stats_every == 0 || flags_.stats_every > kMaxTimeout) {
      return usage("--stats-every is 1 second to a day");
    }
    if (flags_.datagrams && forwarding()) {
      return usage("--datagrams sends messages, which may be lost; streams are not forwarded so");
    }
    if (lossy() && !flags_.datagrams) {
      return usage(
          "over udp: packets may be lost, and a stream must not lose any; use tcp:, or "
          "--datagrams to send each line as a message that may be lost");
    }
    if (forwarding() && flags_.peer.peer == "legacy") {
      return usage("a legacy peer knows no streams; forwarding needs Sealane on both sides");
    }
    if (forwarding() && (flags_.in != "-" || flags_.out != "-")) {
      return usage("--in and --out belong to a plain pipe, --forward and --allow to ports");
    }
    if (on_standard_streams() && !forwarding() && (flags_.in == "-" || flags_.out == "-")) {
      return usage(
          "with - the connection takes standard input and output, so the data needs --in "
          "and --out (/dev/null where there is none), or --forward");
    }
    if (flags_.reconnect && (on_standard_streams() || (side_ == Side::kListen && !forwarding()))) {
      return usage("--reconnect dials again, or lets a forwarding listener take the next peer");
    }
    return success();
  }

  // What is the same for every try.
  Result<void, Error> prepare() {
    SEALANE_TRY(auto peers, PipePeers::load(context_, flags_.peer));
    peers_.emplace(std::move(peers));
    options_ = peers_->lane_options(lossy());
    options_.key_exchange_timeout = patience();
    if (side_ == Side::kDial || on_standard_streams() || is_exec()) return success();
    SEALANE_TRY(listener_, host_.listen({flags_.url}, options_));
    const std::string at = listener_->local().text;
    console_.note("listening at " + printable(at) + " as " + peers_->own_fingerprint());
    console_.emit("pipe_listening", {{"address", at}, {"fingerprint", peers_->own_fingerprint()}});
    return success();
  }

  // ---- connecting ----

  Result<Connected, Error> connect() {
    if (listener_) return accept();
    Connected connected;
    if (on_standard_streams()) {
      for (const int descriptor : {STDIN_FILENO, STDOUT_FILENO})
        make_socket_non_blocking(descriptor);
      SEALANE_TRY(connected.lane, host_.adopt(STDIN_FILENO, STDOUT_FILENO, options_));
    } else if (is_exec()) {
      const auto words = net::split_words(std::string_view(flags_.url).substr(5));
      if (!words || words->empty()) {
        return usage("exec: needs a command, with its quotes closed");
      }
      SEALANE_TRY(auto child, net::Child::start(*words));
      connected.child.emplace(std::move(child));
      SEALANE_TRY(connected.lane,
                  host_.adopt(connected.child->output(), connected.child->input(), options_));
      connected.child->release_pipes();
    } else {
      SEALANE_TRY(connected.lane, host_.dial({flags_.url}, options_, now_plus(patience())));
    }
    SEALANE_TRY(wait_established(*connected.lane));
    const auto known = peers_->check(context_, *connected.lane);
    if (!known.has_value()) {
      refuse(*connected.lane);
      return known.error();
    }
    return connected;
  }

  static void make_socket_non_blocking(int descriptor) {
    struct stat status {};
    if (::fstat(descriptor, &status) != 0 || !S_ISSOCK(status.st_mode)) return;
    static_cast<void>(::fcntl(descriptor, F_SETFL, ::fcntl(descriptor, F_GETFL) | O_NONBLOCK));
  }

  static void refuse(net::Lane& lane) {
    lane.close();
    static_cast<void>(lane.wait_closed(now_plus(seconds(1))));
  }

  Result<Connected, Error> accept() {
    const bool limited = flags_.timeout != 0;
    const SteadyTime deadline = now_plus(patience());
    std::optional<Error> last;
    for (;;) {
      if (context_.cancel.cancelled()) return flow::interrupted();
      if (limited && std::chrono::steady_clock::now() >= deadline) {
        if (last) return *last;
        return Error{ErrorKind::kFailed,
                     "no peer came to " + printable(flags_.url) + " within " +
                         std::to_string(patience().count()) +
                         " s that could start a session; check that it dials this address, has "
                         "the same pre-shared key and pins " +
                         peers_->own_fingerprint()};
      }
      auto lane = listener_->accept(now_plus(kSlice));
      if (!lane.has_value()) continue;
      const auto known = peers_->check(context_, *lane.value());
      if (known.has_value()) {
        return Connected{.child = std::nullopt, .lane = std::move(lane).value()};
      }
      // Whoever may dial must not be able to end the listener.
      console_.warn("refused a peer: " + known.error().message);
      last = known.error();
      refuse(*lane.value());
    }
  }

  Result<void, Error> wait_established(net::Lane& lane) {
    const SteadyTime deadline = now_plus(patience() + kReadyExtra);
    for (;;) {
      if (lane.wait_established(now_plus(kSlice)).has_value()) return success();
      if (context_.cancel.cancelled()) return flow::interrupted();
      if (lane.state() == net::LaneState::kClosed) {
        const std::string why = lane.close_reason();
        const auto key = lane.peer_identity();
        // It was there for a moment, so the other side has said no; but perhaps we do too.
        if (key && !options_.peer && (why.empty() || why.find("closed") != std::string::npos)) {
          SEALANE_TRY(peers_->check(context_, lane));
          return Error{ErrorKind::kRefused,
                       identity::fingerprint(*key) + " at " + printable(flags_.url) +
                           " ended the session at once; it may not have pinned " +
                           peers_->own_fingerprint()};
        }
        return no_session(why);
      }
      if (std::chrono::steady_clock::now() >= deadline) return no_session("it does not answer");
    }
  }

  Error no_session(const std::string& why) const {
    const bool identity = why.find("another identity") != std::string::npos;
    const bool psk = why.find("pre-shared key") != std::string::npos;
    std::string text = "no session with " + printable(flags_.url) +
                       (why.empty() ? std::string() : ": " + printable(why));
    if (identity) return {ErrorKind::kPinMismatch, text + "; pinned is " + peers_->pinned_text()};
    if (psk) return {ErrorKind::kWrongKey, text};
    text += "; check that 'sealane pipe' runs there, that both sides ";
    text += peers_->has_psk() ? "have the same pre-shared key" : "use no pre-shared key";
    text += ", and that the other side pins " + peers_->own_fingerprint();
    return {ErrorKind::kFailed, text};
  }

  // Again and again, where asked.
  Result<Connected, Error> connect_patiently() {
    for (;;) {
      auto connected = connect();
      if (connected.has_value()) {
        backoff_.reset();
        established(*connected.value().lane);
        return connected;
      }
      if (!may_retry(connected.error())) return connected.error();
      SEALANE_TRY(pause(connected.error()));
    }
  }

  bool may_retry(const Error& error) const {
    return flags_.reconnect && (error.kind == ErrorKind::kFailed);
  }

  Result<void, Error> pause(const Error& why) {
    const auto time = std::chrono::ceil<milliseconds>(backoff_.next(context_.random));
    console_.warn(why.message + "; trying again in " + format_duration(seconds_of(time)));
    pollfd waiting{context_.cancel.descriptor(), POLLIN, 0};
    static_cast<void>(::poll(&waiting, 1, static_cast<int>(time.count())));
    if (context_.cancel.cancelled()) return flow::interrupted();
    ++reconnects_;
    return success();
  }

  void established(const net::Lane& lane) {
    const auto key = lane.peer_identity();
    peer_fingerprint_ = key ? identity::fingerprint(*key) : std::string();
    peer_name_ = key ? peers_->name_of(*key) : std::string();
    sealane_ = lane.peer_is_sealane();
    const std::string name = peer_name_.empty() ? "" : printable(peer_name_) + ", ";
    console_.note("session with " + name + peer_fingerprint_ + " at " +
                  printable(lane.peer_address().text) +
                  (sealane_ ? "" : " (legacy: weaker, its identity is not bound to the session)") +
                  (peers_->has_psk() ? ", with a pre-shared key" : ""));
    console_.emit("pipe_established", {{"address", lane.peer_address().text},
                                       {"fingerprint", peer_fingerprint_},
                                       {"name", peer_name_},
                                       {"protocol", sealane_ ? "sealane" : "legacy"},
                                       {"psk", peers_->has_psk()}});
  }

  // ---- statistics ----

  // While it lives, tells of a lane that outlives it.
  class Stats {
   public:
    Stats(PipeRun& run, const net::Lane& lane) : run_(run), lane_(lane) {
      if (!run.flags_.stats) return;
      ticker_.emplace(std::chrono::duration_cast<milliseconds>(seconds(run.flags_.stats_every)),
                      [this] { tell(); });
    }

   private:
    void tell() {
      const net::LaneStatistics now = lane_.statistics();
      const auto every = static_cast<double>(run_.flags_.stats_every);
      const std::uint64_t sent = now.payload_bytes_sent - last_.payload_bytes_sent;
      const std::uint64_t received = now.payload_bytes_received - last_.payload_bytes_received;
      last_ = now;
      nlohmann::json message = fields_of(now);
      message["sent_per_second"] = static_cast<double>(sent) / every;
      message["received_per_second"] = static_cast<double>(received) / every;
      run_.console_.emit("pipe_stats", message);
      std::string text = "sent " + format_bytes(now.payload_bytes_sent) + " (" + rate(sent, every) +
                         "), received " + format_bytes(now.payload_bytes_received) + " (" +
                         rate(received, every) + "), dropped " +
                         std::to_string(now.packets_dropped) + drops_of(now);
      if (now.round_trip) text += ", round trip " + format_duration(seconds_of(*now.round_trip));
      if (now.key_age) text += ", key age " + format_duration(seconds_of(*now.key_age));
      if (now.black_holes > 0) {
        text += ", path became smaller " + std::to_string(now.black_holes) + " times";
      }
      run_.console_.note(text);
    }

    PipeRun& run_;
    const net::Lane& lane_;
    net::LaneStatistics last_;
    std::optional<flow::Ticker> ticker_;
  };

  // " (replayed 2, damaged 1)", or nothing.
  static std::string drops_of(const net::LaneStatistics& lane) {
    std::string text;
    for (const auto& [reason, count] : lane.drops) {
      std::string name(reason);
      std::ranges::replace(name, '_', ' ');
      text += (text.empty() ? "" : ", ") + name + " " + std::to_string(count);
    }
    return text.empty() ? text : " (" + text + ")";
  }

  static nlohmann::json fields_of(const net::LaneStatistics& lane) {
    nlohmann::json out = {
        {"packets_sent", lane.packets_sent},          {"packets_received", lane.packets_received},
        {"packets_dropped", lane.packets_dropped},    {"wire_bytes_sent", lane.bytes_sent},
        {"wire_bytes_received", lane.bytes_received}, {"key_renewals", lane.key_renewals}};
    out["drops"] = nlohmann::json::object();
    for (const auto& [reason, count] : lane.drops) out["drops"][std::string(reason)] = count;
    if (lane.round_trip) out["round_trip_seconds"] = seconds_of(*lane.round_trip);
    if (lane.key_age) out["key_age_seconds"] = seconds_of(*lane.key_age);
    if (lane.black_holes > 0) out["black_holes"] = lane.black_holes;
    return out;
  }

  void tell_end(const net::LaneStatistics& lane, bool ok) {
    const double time = seconds_of(std::chrono::steady_clock::now() - start_);
    nlohmann::json message = fields_of(lane);
    message["complete"] = ok;
    message["fingerprint"] = peer_fingerprint_;
    message["protocol"] = sealane_ ? "sealane" : "legacy";
    message["bytes_sent"] = counters_.sent.load();
    message["bytes_received"] = counters_.received.load();
    message["messages_sent"] = counters_.messages_sent.load();
    message["messages_received"] = counters_.messages_received.load();
    message["streams"] = streams_;
    message["reconnects"] = reconnects_;
    message["seconds"] = time;
    console_.emit("pipe", message);
    if (console_.verbose == 0 && !flags_.stats) return;
    console_.note("sent " + format_bytes(counters_.sent) + ", received " +
                  format_bytes(counters_.received) + " in " + format_duration(time) + "; " +
                  std::to_string(lane.packets_dropped) + " packets dropped" + drops_of(lane) +
                  ", " + std::to_string(lane.key_renewals) + " keys renewed");
  }

  // ---- work ----

  Result<int, Error> transfer(Connected& connected, Input& input, Output& output) {
    net::Lane& lane = *connected.lane;
    const net::PipeEnds ends{.input = input.source(),
                             .output = output.sink(),
                             .commit = [&output] { return output.commit(); },
                             .cancel = context_.cancel,
                             .counters = counters_};
    const auto result = [&]() -> Result<void, Error> {
      const Stats stats(*this, lane);
      std::optional<Progress> progress;
      if (input.size() || output.is_file()) {
        progress.emplace(console_, "pipe", [&] {
          return Progress::Sample{.done = input.size() ? counters_.sent : counters_.received,
                                  .total = input.size()};
        });
      }
      if (flags_.datagrams) return net::run_datagram_pipe(lane, ends);
      if (lane.peer_is_sealane()) return net::run_stream_pipe(lane, mux_side(), ends);
      return net::run_plain_pipe(lane, ends);
    }();
    tell_end(lane.statistics(), result.has_value());
    if (!result.has_value()) return result.error();
    return 0;
  }

  Result<int, Error> run_forward() {
    std::vector<net::ForwardRule> rules;
    for (const std::string& text : flags_.forwards) {
      SEALANE_TRY(auto rule, net::parse_forward_rule(text));
      rules.push_back(std::move(rule));
    }
    SEALANE_TRY(const auto forwarder,
                net::Forwarder::create(rules, flags_.allowed,
                                       [this](const net::StreamReport& one) { tell_stream(one); }));
    SEALANE_TRY(prepare());
    const auto listening = forwarder->listening();
    for (std::size_t i = 0; i < listening.size(); ++i) {
      console_.note("forwarding " + printable(listening[i].text) + " to " +
                    printable(rules[i].target));
      console_.emit("pipe_forwarding",
                    {{"address", listening[i].text}, {"target", rules[i].target}});
    }
    for (;;) {
      SEALANE_TRY(const Connected connected, connect_patiently());
      net::Lane& lane = *connected.lane;
      const auto result = [&]() -> Result<void, Error> {
        const Stats stats(*this, lane);
        if (!lane.peer_is_sealane()) {
          return Error{ErrorKind::kRefused,
                       "a legacy peer knows no streams; forwarding needs Sealane on both sides"};
        }
        return forwarder->run(lane, mux_side(), context_.cancel);
      }();
      tell_end(lane.statistics(), result.has_value());
      if (!flags_.reconnect) {
        if (!result.has_value()) return result.error();
        console_.note("the other side has ended the session");
        return 0;
      }
      const Error why = result.has_value()
                            ? Error{ErrorKind::kFailed, "the other side has ended the session"}
                            : result.error();
      if (!may_retry(why)) return why;
      if (listener_) {
        console_.warn(why.message + "; waiting for the next peer");
      } else {
        SEALANE_TRY(pause(why));
      }
    }
  }

  void tell_stream(const net::StreamReport& one) {
    ++streams_;
    counters_.sent += one.bytes_sent;
    counters_.received += one.bytes_received;
    console_.emit("pipe_stream", {{"target", one.target},
                                  {"opened_here", one.opened_here},
                                  {"bytes_sent", one.bytes_sent},
                                  {"bytes_received", one.bytes_received},
                                  {"problem", printable(one.problem)}});
    const std::string what = "stream to " + printable(one.target) + ": ";
    if (!one.problem.empty()) {
      console_.note(what + printable(one.problem));
    } else if (console_.verbose > 0) {
      console_.note(what + "sent " + format_bytes(one.bytes_sent) + ", received " +
                    format_bytes(one.bytes_received));
    }
  }

  Context& context_;
  Console& console_;
  const PipeFlags& flags_;
  const Side side_;
  net::LaneHost host_;
  const SteadyTime start_;
  std::optional<PipePeers> peers_;
  net::LaneOptions options_;
  std::unique_ptr<net::LaneListener> listener_;
  Backoff backoff_{milliseconds(500), seconds(30)};
  net::PipeCounters counters_;
  std::string peer_fingerprint_;
  std::string peer_name_;
  bool sealane_ = false;
  std::uint64_t streams_ = 0;
  std::uint64_t reconnects_ = 0;
};

std::vector<Option> peer_options(PeerFlags& peer) {
  return {
      {.names = "--pin",
       .value_name = "KEY",
       .help = "Talk to this key alone: a .pub file, an OpenSSH line, or the SHA256: fingerprint "
               "of a trusted key; may be repeated",
       .variable = &peer.pins,
       .completes = Completes::kFile},
      {.names = "--trust",
       .value_name = "FILE",
       .help = "Without --pin: talk to any key in FILE instead of $SEALANE_HOME/trusted_keys",
       .variable = &peer.trust,
       .completes = Completes::kFile},
      {.names = "--accept-new",
       .help = "Take an unknown key on first use, and print its fingerprint",
       .variable = &peer.accept_new},
      {.names = "--save-as",
       .value_name = "NAME",
       .help = "Write the key that --accept-new took into the trust file",
       .variable = &peer.save_as},
      {.names = "--identity",
       .value_name = "FILE",
       .help = "Our key; made on first use. $SEALANE_HOME/identity when missing",
       .variable = &peer.identity,
       .completes = Completes::kFile},
      {.names = "--passphrase-file",
       .value_name = "FILE",
       .help = "Open an encrypted identity with the first line of FILE",
       .variable = &peer.passphrase_file,
       .completes = Completes::kFile},
      {.names = "--psk-file",
       .value_name = "FILE",
       .help = "Mix the bytes of FILE (mode 0600) into the keys; the same on both sides",
       .variable = &peer.psk_file,
       .completes = Completes::kFile},
      {.names = "--peer",
       .value_name = "KIND",
       .help = "What the other side is: sealane, legacy for the secureio library, or any",
       .variable = &peer.peer,
       .choices = {"sealane", "legacy", "any"}},
  };
}

std::vector<Option> pipe_options(PipeFlags& flags) {
  std::vector<Option> options = {
      {.names = "-i,--in",
       .value_name = "FILE",
       .help = "Send FILE; - is standard input, as without this flag",
       .variable = &flags.in,
       .completes = Completes::kFile},
      {.names = "-o,--out",
       .value_name = "FILE",
       .help = "Write what comes to FILE, which appears when it is whole",
       .variable = &flags.out,
       .completes = Completes::kFile},
      {.names = "-f,--force",
       .help = "Replace the file of --out if it exists",
       .variable = &flags.force},
      {.names = "-L,--forward",
       .value_name = "LOCAL=REMOTE",
       .help = "Listen at LOCAL and connect each caller to REMOTE on the other side; may be "
               "repeated",
       .variable = &flags.forwards},
      {.names = "--allow",
       .value_name = "REMOTE",
       .help = "Let the other side connect to REMOTE here; may be repeated, nothing is allowed "
               "without",
       .variable = &flags.allowed},
      {.names = "--datagrams",
       .help = "Send each line of the input as a message; what the network loses is lost",
       .variable = &flags.datagrams},
  };
  for (Option& option : peer_options(flags.peer)) options.push_back(std::move(option));
  for (Option& option : std::vector<Option>{
           {.names = "--timeout",
  .value_name = "SECONDS",
  .help = "Give up when the other side is silent for so long (20 when dialing; a "
          "listener waits without end)",
  .variable = &flags.timeout},
           {.names = "--reconnect",
           .help = "Dial again, with growing pauses; a forwarding listener takes the next peer",
           .variable = &flags.reconnect},
           {.names = "--stats",
           .help = "Print rates, round trip, drops and the age of the key on standard error",
           .variable = &flags.stats},
           {.names = "--stats-every",
           .value_name = "SECONDS",
           .help = "How often --stats prints; 5 when missing",
           .variable = &flags.stats_every},
       }) {
    options.push_back(std::move(option));
  }
  return options;
}

constexpr const char* kDescription =
    "An encrypted session with one pinned peer over any connection. URL is tcp:HOST:PORT, "
    "udp:HOST:PORT, unix:PATH, seqpacket:PATH, exec:COMMAND (a program, without a shell, whose "
    "standard input and output are the connection; quotes and backslashes as in a shell), or - "
    "(our own standard input and output are). HOST is a name or an address, of IPv6 in brackets."
    "\n\n"
    "Standard input goes to the peer, what it sends to standard output. The end of one direction "
    "leaves the other open; the exit code is 0 only when both sides have confirmed that everything "
    "is in its place. With --forward and --allow the session carries connections instead: each "
    "side connects only to what its own --allow names.\n\n"
    "A side without a pinned key of the other refuses to start; see --pin and --accept-new.";

Command pipe_command(Side side) {
  const auto flags = std::make_shared<PipeFlags>();
  const bool listen = side == Side::kListen;
  return {
      .name = listen ? "pipe listen" : "pipe dial",
      .summary = listen ? "wait for a peer and open an encrypted pipe"
                        : "connect to a peer and open an encrypted pipe",
      .description = kDescription,
      .examples =
          listen
              ? std::vector<std::string>{"sealane pipe listen tcp:0.0.0.0:4200 --pin laptop.pub "
                                         "-o photos.tar",
                                         "sealane pipe listen unix:/run/sealane/web.sock --pin "
                                         "laptop.pub --allow tcp:127.0.0.1:80"}
              : std::vector<std::string>{"tar c photos | sealane pipe dial tcp:192.0.2.7:4200 "
                                         "--pin nas.pub",
                                         "sealane pipe dial 'exec:ssh nas sealane pipe listen -' "
                                         "--pin nas.pub -L tcp:127.0.0.1:8080=tcp:127.0.0.1:80"},
      .options = pipe_options(*flags),
      .arguments = {{.name = "URL",
                     .help = "Where to meet the other side",
                     .variable = &flags->url,
                     .required = true,
                     .completes = Completes::kNothing}},
      .run = [flags, side](Context& context) { return PipeRun(context, *flags, side).run(); },
  };
}

}  // namespace

Command pipe_listen_command() { return pipe_command(Side::kListen); }
Command pipe_dial_command() { return pipe_command(Side::kDial); }

}  // namespace sealane::app
