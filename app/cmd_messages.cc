// sealane send, listen, chat: messages and files between clients of a hub.
#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>

#include "app/commands.h"
#include "app/hub_link.h"
#include "app/paths.h"
#include "app/repository.h"
#include "app/streams.h"
#include "backup/process.h"
#include "base/byte_reader.h"
#include "crypto/hash.h"
#include "net/child.h"
#include "node/message_parts.h"
#include "node/parcel.h"
#include "node/seen_messages.h"

namespace sealane::app {
namespace {

using nlohmann::json;
using node::Parcel;
using node::ParcelKind;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr std::uint64_t kMaxTimeout = 24 * 3600;  // seconds
constexpr seconds kLoginTime{30};
constexpr milliseconds kTick{200};

Error usage(std::string message) {
  return {.kind = ErrorKind::kUsage, .message = std::move(message)};
}

constexpr std::size_t kMaxUnsaved = 128;  // messages dealt with, and not noted yet
constexpr milliseconds kSaveDelay{20};    // for more of them: a note costs a disk two syncs
constexpr seconds kLastWords{10};         // chat: for what was said just before the end

// Lines of standard input as they come.
class Lines {
 public:
  // Waits so many milliseconds for more.
  void read(int patience) {
    pollfd entry{.fd = STDIN_FILENO, .events = POLLIN, .revents = 0};
    if (ended_ || ::poll(&entry, 1, patience) <= 0) return;
    std::array<char, 4096> buffer{};
    const ssize_t size = ::read(STDIN_FILENO, buffer.data(), buffer.size());
    if (size > 0) {
      text_.append(buffer.data(), static_cast<std::size_t>(size));
    } else if (size == 0 || errno != EINTR) {
      ended_ = true;
    }
  }
  // Without its line feed. The last one may lack it.
  std::optional<std::string> next() {
    const std::size_t end = text_.find('\n');
    if (end == std::string::npos && (!ended_ || text_.empty())) return std::nullopt;
    std::string line = text_.substr(0, end);
    text_.erase(0, end == std::string::npos ? end : end + 1);
    return line;
  }
  std::size_t waiting() const { return text_.size(); }
  bool at_end() const { return ended_ && text_.empty(); }

 private:
  std::string text_;
  bool ended_ = false;
};

void show_message(Context& context, const HubArrival& arrival, ByteSpan data) {
  context.console.print(printable(arrival.name) + (arrival.sealed ? "" : " (in the clear)") + ": " +
                        printable(as_text(data), data.size() * 4 + 16) + "\n");
  context.console.emit("message", {{"from", hub::to_text(arrival.from)},
                                   {"name", arrival.name},
                                   {"sealed", arrival.sealed},
                                   {"size", data.size()},
                                   {"data_base64", to_base64(data)}});
}

void warn_of_dropped(Context& context, const HubArrival& arrival, std::string_view why) {
  if (why.empty()) return;
  context.console.warn("a message of " + printable(arrival.name) +
                       " in parts is lost: " + std::string(why));
}

void show_presence(Context& context, const HubPresence& presence) {
  context.console.note(printable(presence.name) + (presence.online ? " is online" : " is offline"));
  context.console.emit("presence", {{"client", hub::to_text(presence.client)},
                                    {"name", presence.name},
                                    {"online", presence.online}});
}

// ---- send

struct SendFlags {
  HubLinkFlags link;
  std::string to;
  std::string in = "-";
  std::string text;
  bool plain = false;
  bool lines = false;
  std::uint64_t timeout = 30;
};

class Sender {
 public:
  Sender(Context& context, const SendFlags& flags) : context_(context), flags_(flags) {}

  Result<int, Error> run() {
    if (flags_.timeout == 0 || flags_.timeout > kMaxTimeout) {
      return usage("--timeout is 1 second to a day");
    }
    if (flags_.lines && (flags_.in != "-" || !flags_.text.empty())) {
      return usage("--lines takes standard input; leave out FILE and --text");
    }
    if (flags_.in != "-" && !flags_.text.empty()) {
      return usage("--text goes instead of a FILE; leave out one of them");
    }
    SEALANE_TRY(link_, HubLink::open(context_, flags_.link));
    SEALANE_TRY(to_, link_->resolve(flags_.to));
    const bool plain = flags_.plain || flags_.link.legacy;
    if (!plain && !link_->is_pinned(to_)) {
      return usage("no identity is pinned for " + printable(flags_.to) +
                   "; add its public key to the trust file, or send in the clear with --plain");
    }
    if (!plain && to_ == link_->profile().id) {
      return usage("nothing is sealed to oneself; --plain sends a message round by the hub");
    }
    if (!plain && link_->own_fingerprint().empty()) {
      return usage(
          "sealing needs an identity of this client; make one with 'sealane keygen', or "
          "send in the clear with --plain");
    }
    SEALANE_TRY(link_->wait_online(kLoginTime));
    deadline_ = context_.clock.steady_now() + seconds(flags_.timeout);
    const auto done = plain ? (flags_.lines ? send_plain_lines() : send_plain()) : send_sealed();
    link_->close();
    if (!done.has_value()) return done.error();
    return 0;
  }

 private:
  Result<Bytes, Error> whole_input(std::size_t limit) {
    if (!flags_.text.empty()) return to_bytes(flags_.text);
    SEALANE_TRY(Input input, Input::open(context_, flags_.in));
    Bytes data;
    Bytes buffer(64 * 1024);
    for (;;) {
      SEALANE_TRY(const std::size_t size, input.source().read(buffer));
      if (size == 0) return data;
      data.insert(data.end(), buffer.begin(), buffer.begin() + static_cast<std::ptrdiff_t>(size));
      if (data.size() > limit) {
        return Error{ErrorKind::kRefused,
                     input.name() + " is too large for one message in the clear, which is " +
                         format_bytes(limit) + " at most here" +
                         (flags_.link.legacy ? "" : "; a file goes sealed, in any size")};
      }
    }
  }

  Result<void, Error> send_plain() {
    SEALANE_TRY(Bytes data, whole_input(link_->max_plain()));
    const std::size_t size = data.size();
    const auto ticket = link_->send_plain(to_, std::move(data));
    for (;;) {
      const auto event = link_->next(deadline_);
      if (context_.cancel.cancelled()) return flow::interrupted();
      if (!event) return late("the hub did not say that it has it");
      if (const auto* sent = std::get_if<node::HubSent>(&*event)) {
        if (sent->ticket != ticket) continue;
        report(sent->kind == hub::ReceiptKind::kPassedOn ? "written" : "accepted", size, false);
        return success();
      }
      if (const auto* refused = std::get_if<node::HubRefused>(&*event)) {
        return Error{ErrorKind::kRefused,
                     "not delivered to " + printable(flags_.to) + ": " + std::string(refused->why)};
      }
      SEALANE_TRY(check_gone(*event));
    }
  }

  // Each line is a message. Many are under way at a time; the hub's word for each is reported.
  Result<void, Error> send_plain_lines() {
    Lines lines;
    std::optional<std::string> line;
    std::uint64_t number = 0;  // of the line read last
    std::map<node::HubTicket, std::pair<std::uint64_t, std::size_t>> sent;
    for (;;) {
      while (line || (line = lines.next())) {
        if (line->size() > link_->max_plain()) return usage("a line is too large for one message");
        const std::size_t size = line->size();
        const auto ticket = link_->send_plain(to_, to_bytes(*line));
        if (!ticket) break;  // the outbox is full
        sent.emplace(*ticket, std::pair(++number, size));
        line.reset();
      }
      if (lines.waiting() > link_->max_plain()) return usage("a line is too large for one message");
      if (!line && lines.at_end() && sent.empty()) return success();
      const SteadyTime now = context_.clock.steady_now();
      if (sent.empty()) deadline_ = now + seconds(flags_.timeout);  // it waits for us
      const auto event =
          link_->next(std::min(deadline_, now + milliseconds(sent.empty() ? 0 : 20)));
      if (context_.cancel.cancelled()) return flow::interrupted();
      if (!line) lines.read(sent.empty() ? 20 : 0);
      if (!event) {
        if (context_.clock.steady_now() >= deadline_)
          return late("the hub did not say that it has it");
        continue;
      }
      if (const auto* told = std::get_if<node::HubSent>(&*event)) {
        const auto at = sent.find(told->ticket);
        if (at == sent.end()) continue;
        report(told->kind == hub::ReceiptKind::kPassedOn ? "written" : "accepted",
               at->second.second, false, at->second.first);
        sent.erase(at);
        deadline_ = context_.clock.steady_now() + seconds(flags_.timeout);
      } else if (const auto* refused = std::get_if<node::HubRefused>(&*event)) {
        std::string which;
        if (refused->ticket && sent.contains(*refused->ticket)) {
          which = "line " + std::to_string(sent.at(*refused->ticket).first) + " was ";
        }
        return Error{ErrorKind::kRefused, which + "not delivered to " + printable(flags_.to) +
                                              ": " + std::string(refused->why)};
      } else {
        SEALANE_TRY(check_gone(*event));
      }
    }
  }

  // Likewise, sealed: one after the other.
  Result<void, Error> send_sealed_lines() {
    Lines lines;
    for (std::uint64_t number = 1;;) {
      while (const auto line = lines.next()) {
        if (line->size() > Parcel::kMaxData) return usage("a line is longer than a message may be");
        deadline_ = context_.clock.steady_now() + seconds(flags_.timeout);
        SEALANE_TRY(send_text(node::parcel_number(context_.random), as_bytes(*line), number++));
      }
      if (lines.at_end()) return success();
      if (lines.waiting() > Parcel::kMaxData)
        return usage("a line is longer than a message may be");
      lines.read(20);
      if (const auto event = link_->next(context_.clock.steady_now())) {
        SEALANE_TRY(check_gone(*event));
      }
      if (context_.cancel.cancelled()) return flow::interrupted();
    }
  }

  Result<void, Error> send_sealed() {
    link_->watch({to_});
    SEALANE_TRY(wait_present());
    if (flags_.lines) return send_sealed_lines();
    const auto number = node::parcel_number(context_.random);
    if (!flags_.text.empty() || flags_.in == "-") {
      if (flags_.text.empty()) {
        SEALANE_TRY(Input input, Input::open(context_, flags_.in));
        Bytes data(Parcel::kMaxData + 1);
        std::size_t filled = 0;
        for (;;) {
          SEALANE_TRY(const std::size_t got,
                      input.source().read(MutableByteSpan(data).subspan(filled)));
          filled += got;
          if (got == 0 || filled == data.size()) break;
        }
        data.resize(filled);
        if (filled > Parcel::kMaxData) {
          return usage("standard input is larger than one message; send a file by its name");
        }
        return send_text(number, data);
      }
      if (flags_.text.size() > Parcel::kMaxData) return usage("the text is too long; send a file");
      return send_text(number, as_bytes(flags_.text));
    }
    return send_file();
  }

  Result<void, Error> send_text(std::uint64_t number, ByteSpan data,
                                std::optional<std::uint64_t> line = std::nullopt) {
    const Bytes parcel =
        node::encode({.kind = ParcelKind::kText, .number = number, .data = to_bytes(data)});
    if (!link_->send_sealed(to_, parcel)) return Error{ErrorKind::kFailed, "the session is closed"};
    SEALANE_TRY(const Parcel answer, wait_answer(number, {ParcelKind::kDone}));
    if (answer.offset != 1) return refused();
    report("received", data.size(), true, line);
    return success();
  }

  Result<void, Error> send_file() {
    auto file = context_.files.open(flags_.in, OpenMode::kRead);
    if (!file.has_value()) return to_error(file.error());
    const auto status = file.value()->status();
    if (!status.has_value()) return to_error(status.error());
    const std::uint64_t size = status.value().size;
    const std::string name = base_name(flags_.in);
    // The hash is what the receiver must reach; and the number, so that the same file goes on where
    // an earlier try was cut.
    crypto::Sha256 hash;
    Bytes buffer(1 << 20);
    for (std::uint64_t at = 0; at < size;) {
      const auto got = file.value()->read_at(at, buffer);
      if (!got.has_value()) return to_error(got.error());
      if (got.value() == 0) break;
      hash.update(ByteSpan(buffer).first(got.value()));
      at += got.value();
      if (context_.cancel.cancelled()) return flow::interrupted();
    }
    const crypto::Sha256Digest digest = hash.finish();
    const auto number = load<std::uint64_t>(ByteSpan(digest).first(8));
    Bytes offer = to_bytes(digest);
    offer.insert(offer.end(), as_bytes(name).begin(), as_bytes(name).end());
    link_->send_sealed(
        to_,
        node::encode({.kind = ParcelKind::kFile, .number = number, .offset = size, .data = offer}));
    SEALANE_TRY(const Parcel start, wait_answer(number, {ParcelKind::kAt, ParcelKind::kDone}));
    if (start.kind == ParcelKind::kDone)
      return start.offset == 1 ? finish_file(size) : file_refused();
    std::uint64_t sent = std::min(start.offset, size);
    std::uint64_t confirmed = sent;
    if (sent > 0) context_.console.note("going on at " + format_bytes(sent));
    std::atomic<std::uint64_t> done{sent};
    Progress progress(context_.console, "sending",
                      [&done, size] { return Progress::Sample{.done = done, .total = size}; });
    Bytes piece(Parcel::kMaxData);
    for (;;) {
      while (sent < size && sent - confirmed < Parcel::kWindow && link_->wants_sealed(to_)) {
        const auto got = file.value()->read_at(sent, piece);
        if (!got.has_value()) return to_error(got.error());
        if (got.value() == 0) {
          return Error{ErrorKind::kSourceUnreadable, printable(flags_.in) + " became shorter"};
        }
        Parcel part{.kind = ParcelKind::kData, .number = number, .offset = sent};
        part.data.assign(piece.begin(), piece.begin() + static_cast<std::ptrdiff_t>(got.value()));
        if (!link_->send_sealed(to_, node::encode(part))) break;
        sent += got.value();
        done = sent;
      }
      SEALANE_TRY(const Parcel answer, wait_answer(number, {ParcelKind::kAt, ParcelKind::kDone}));
      if (answer.kind == ParcelKind::kDone)
        return answer.offset == 1 ? finish_file(size) : file_refused();
      confirmed = std::max(confirmed, std::min(answer.offset, sent));
      deadline_ = context_.clock.steady_now() + seconds(flags_.timeout);
    }
  }

  Result<void, Error> finish_file(std::uint64_t size) {
    report("received", size, true);
    return success();
  }

  Error refused(std::string_view hint = {}) const {
    return {ErrorKind::kRefused, printable(flags_.to) + " did not take it" + std::string(hint)};
  }
  Error file_refused() const {
    return refused("; 'sealane listen' there needs --files DIR, and room in it; it says why");
  }
  Error late(const std::string& what) const {
    return {ErrorKind::kFailed, what + " within " + std::to_string(flags_.timeout) + " s"};
  }

  Result<void, Error> check_gone(const HubLinkEvent& event) const {
    if (const auto* offline = std::get_if<node::HubOffline>(&event)) {
      if (offline->final) return offline->why;
    } else if (const auto* ended = std::get_if<HubSealedEnd>(&event)) {
      if (ended->peer == to_) {
        return Error{ErrorKind::kFailed,
                     "the session with " + printable(flags_.to) + " ended: " + ended->why};
      }
    }
    return success();
  }

  Result<void, Error> wait_present() {
    for (;;) {
      const auto event = link_->next(deadline_);
      if (context_.cancel.cancelled()) return flow::interrupted();
      if (!event) {
        return late(printable(flags_.to) +
                    " did not come online (--plain leaves a message with the hub, unsealed)");
      }
      if (const auto* presence = std::get_if<HubPresence>(&*event)) {
        if (presence->client == to_ && presence->online) return success();
      } else if (const auto* no = std::get_if<node::HubRefused>(&*event)) {
        return Error{ErrorKind::kRefused, printable(flags_.to) + ": " + std::string(no->why)};
      }
      SEALANE_TRY(check_gone(*event));
    }
  }

  Result<Parcel, Error> wait_answer(std::uint64_t number, std::vector<ParcelKind> kinds) {
    for (;;) {
      const auto event = link_->next(deadline_);
      if (context_.cancel.cancelled()) return flow::interrupted();
      if (!event) return late(printable(flags_.to) + " did not answer");
      if (const auto* arrival = std::get_if<HubArrival>(&*event)) {
        if (!arrival->sealed || arrival->from != to_) continue;
        const auto parcel = node::decode_parcel(arrival->data);
        if (!parcel || parcel->number != number) continue;
        if (std::ranges::find(kinds, parcel->kind) != kinds.end()) return *parcel;
        continue;
      }
      SEALANE_TRY(check_gone(*event));
    }
  }

  void report(const std::string& how, std::uint64_t size, bool sealed,
              std::optional<std::uint64_t> line = std::nullopt) {
    if (!line) {
      context_.console.note(how + " by " + (how == "received" ? printable(flags_.to) : "the hub") +
                            ": " + format_bytes(size) +
                            (sealed ? ", sealed end to end" : ", in the clear"));
    }
    json message = {
        {"to", hub::to_text(to_)}, {"receipt", how}, {"size", size}, {"sealed", sealed}};
    if (line) message["line"] = *line;
    context_.console.emit("message_sent", std::move(message));
  }

  Context& context_;
  const SendFlags& flags_;
  std::unique_ptr<HubLink> link_;
  hub::ClientId to_;
  SteadyTime deadline_{};
};

// ---- listen

struct ListenFlags {
  HubLinkFlags link;
  std::string exec;
  std::string files;
  bool presence = false;
  std::uint64_t count = 0;
};

class ListenRun {
 public:
  ListenRun(Context& context, const ListenFlags& flags) : context_(context), flags_(flags) {}

  Result<int, Error> run() {
    if (!flags_.exec.empty()) {
      const auto words = net::split_words(flags_.exec);
      if (!words || words->empty()) return usage("--exec needs a command, with its quotes closed");
      command_ = *words;
    }
    if (!flags_.files.empty()) {
      SEALANE_TRY(make_files_directory());
    }
    SEALANE_TRY(link_, HubLink::open(context_, flags_.link));
    SEALANE_TRY(link_->wait_online(kLoginTime));
    tell_online();
    if (flags_.presence) link_->watch({});
    if (!flags_.files.empty()) {
      box_ = std::make_unique<node::ParcelBox>(context_.files, flags_.files);
    }
    SEALANE_TRY(make_home_directory(context_));
    SEALANE_TRY(seen_, node::SeenMessages::load(context_.files, link_->state_path("hub_seen")));
    parts_.emplace(context_.files, link_->state_path("hub_parts"));
    while (!context_.cancel.cancelled() && (flags_.count == 0 || taken_ < flags_.count)) {
      const auto event = link_->next(unsaved_.empty() ? context_.clock.steady_now() + kTick
                                                      : unsaved_since_ + kSaveDelay);
      if (unsaved_.size() >= kMaxUnsaved ||
          context_.clock.steady_now() >= unsaved_since_ + kSaveDelay) {
        SEALANE_TRY(acknowledge());
      }
      if (!event) continue;
      if (const auto* arrival = std::get_if<HubArrival>(&*event)) {
        SEALANE_TRY(take(*arrival));
      } else if (const auto* offline = std::get_if<node::HubOffline>(&*event)) {
        if (offline->final) return offline->why;
        context_.console.warn("offline: " + offline->why.message + "; trying again");
      } else if (std::holds_alternative<node::HubOnline>(*event)) {
        tell_online();
      } else if (const auto* presence = std::get_if<HubPresence>(&*event)) {
        show_presence(context_, *presence);
      } else if (const auto* status = std::get_if<node::HubStatus>(&*event)) {
        tell_status(status->status);
      }
    }
    SEALANE_TRY(acknowledge());
    link_->close();
    return 0;
  }

 private:
  // For the owner alone, as it is others who choose what comes.
  Result<void, Error> make_files_directory() const {
    const std::string& path = flags_.files;
    auto made = context_.files.create_directory(path, 0700);
    if (!made.has_value() && made.error().code == ENOENT) {
      return usage(printable(path) + " cannot be made for files: the directory it would lie in, " +
                   printable(parent_path(path)) + ", is missing; make that first");
    }
    if (!made.has_value() && made.error().code != EEXIST) return to_error(made.error());
    if (made.has_value()) {
      context_.console.note("made " + printable(path) + " for files");
      return success();
    }
    const auto there = context_.files.status(path);
    if (!there.has_value()) return to_error(there.error());
    if (there.value().type != FileType::kDirectory) {
      return usage(printable(path) + " is no directory for files");
    }
    return success();
  }

  // What was dealt with is noted before the hub forgets it, so that it never comes twice.
  Result<void, Error> acknowledge() {
    if (unsaved_.empty()) return success();
    SEALANE_TRY(parts_->sync());
    SEALANE_TRY(seen_.save(context_.files, context_.random));
    for (const hub::DeliveryId id : unsaved_) link_->received(id);
    unsaved_.clear();
    for (const hub::ClientId& sender : std::exchange(joined_, {})) {
      SEALANE_TRY(parts_->finished(sender));
    }
    return success();
  }

  void tell_online() {
    context_.console.note("online at " + printable(link_->profile().hub.text) + " as " +
                          hub::to_text(link_->profile().id));
    context_.console.emit("hub_online", {{"address", link_->profile().hub.text},
                                         {"id", hub::to_text(link_->profile().id)},
                                         {"upgraded", link_->upgraded()}});
    if (flags_.presence) link_->ask_status();
  }
  void tell_status(const hub::HubStatusMessage& status) {
    context_.console.note("the hub knows " + counted(status.known, "client") +
                          "; online: " + std::to_string(status.online) +
                          ", waiting: " + counted(status.queued, "message"));
    context_.console.emit("hub_state", {{"started", to_rfc3339(hub::from_ms(status.started_ms))},
                                        {"clients", status.known},
                                        {"online", status.online},
                                        {"queued_messages", status.queued}});
  }

  void owe(hub::DeliveryId id) {
    if (unsaved_.empty()) unsaved_since_ = context_.clock.steady_now();
    unsaved_.push_back(id);
  }

  Result<void, Error> take_plain(const HubArrival& arrival) {
    const WallTime accepted_at = arrival.accepted_at.value_or(WallTime());
    if (arrival.id && seen_.contains(*arrival.id, accepted_at)) {
      link_->received(*arrival.id);  // dealt with before the last start
      return success();
    }
    std::optional<Bytes> joined;
    if (arrival.part) {
      // The file of one that was dealt with makes room only once that is noted.
      if (std::ranges::find(joined_, arrival.from) != joined_.end()) {
        SEALANE_TRY(acknowledge());
      }
      SEALANE_TRY(auto outcome, parts_->take(arrival.from, *arrival.part, arrival.data));
      warn_of_dropped(context_, arrival, outcome.dropped);
      if (!outcome.message) {
        if (arrival.id) owe(*arrival.id);
        return success();
      }
      joined = std::move(outcome.message);
    }
    if (!show(arrival, joined ? *joined : arrival.data)) {
      SEALANE_TRY(acknowledge());
      return Error{ErrorKind::kFailed,
                   "the command failed for a message; it comes again at the next start"};
    }
    if (joined) joined_.push_back(arrival.from);
    if (arrival.id) {
      owe(*arrival.id);
      seen_.add(*arrival.id, accepted_at);
    }
    ++taken_;
    return success();
  }

  Result<void, Error> take(const HubArrival& arrival) {
    if (!arrival.sealed) return take_plain(arrival);
    const auto parcel = node::decode_parcel(arrival.data);
    if (!parcel) return success();
    switch (parcel->kind) {
      case ParcelKind::kText: {
        const bool dealt = show(arrival, parcel->data);
        answer(arrival.from,
               {.kind = ParcelKind::kDone, .number = parcel->number, .offset = dealt ? 1U : 0U});
        if (dealt) ++taken_;
        return success();
      }
      case ParcelKind::kFile:
      case ParcelKind::kData: {
        if (!box_) {
          answer(arrival.from, {.kind = ParcelKind::kDone, .number = parcel->number});
          return success();
        }
        const auto outcome = box_->take(hub::to_file_name(arrival.from), *parcel);
        if (!outcome.has_value()) {
          context_.console.error(outcome.error());
          answer(arrival.from, {.kind = ParcelKind::kDone, .number = parcel->number});
          return success();
        }
        if (outcome.value().answer) answer(arrival.from, *outcome.value().answer);
        if (outcome.value().finished) {
          ++taken_;
          const std::string& path = *outcome.value().finished;
          context_.console.print(arrival.name + ": file " + printable(path) + "\n");
          context_.console.emit(
              "file_received",
              {{"from", hub::to_text(arrival.from)}, {"name", arrival.name}, {"path", path}});
        }
        return success();
      }
      case ParcelKind::kAt:
      case ParcelKind::kDone:
        return success();
    }
    return success();
  }

  void answer(const hub::ClientId& to, const Parcel& parcel) {
    link_->send_sealed(to, node::encode(parcel));
  }

  // False: the program failed.
  bool show(const HubArrival& arrival, ByteSpan data) {
    if (!command_.empty()) {
      backup::ToolCommand tool{.program = command_.front(),
                               .package = {},
                               .arguments = {command_.begin() + 1, command_.end()},
                               .unset_prefixes = {},
                               .environment = {{"MESSAGE_FROM", hub::to_text(arrival.from)},
                                               {"MESSAGE_NAME", arrival.name},
                                               {"MESSAGE_SEALED", arrival.sealed ? "1" : "0"}},
                               .secret_variable = {},
                               .secret = nullptr,
                               .pipe_input = true,
                               .may_ignore_input = true,
                               .pipe_output = true,
                               .error_file = {},
                               .user = {}};
      auto started = backup::Tool::start(tool, &context_.cancel);
      Result<void, Error> done = started.has_value() ? run_tool(*started.value(), data)
                                                     : Result<void, Error>(started.error());
      if (!done.has_value()) context_.console.error(done.error());
      return done.has_value();
    }
    show_message(context_, arrival, data);
    return true;
  }

  Result<void, Error> run_tool(backup::Tool& tool, ByteSpan data) {
    SEALANE_TRY(tool.write(data));
    tool.close_input();
    Bytes buffer(16 * 1024);
    for (;;) {
      SEALANE_TRY(const std::size_t size, tool.read(buffer));
      if (size == 0) return success();
      context_.console.print(as_text(ByteSpan(buffer).first(size)));
    }
  }

  Context& context_;
  const ListenFlags& flags_;
  std::vector<std::string> command_;
  std::unique_ptr<HubLink> link_;
  std::unique_ptr<node::ParcelBox> box_;
  node::SeenMessages seen_;
  std::optional<node::MessageParts> parts_;
  std::vector<hub::ClientId> joined_;     // whose messages in parts were dealt with, since the last
                                          // acknowledge()
  std::vector<hub::DeliveryId> unsaved_;  // dealt with; the hub was not told
  SteadyTime unsaved_since_{};            // of the first of them
  std::uint64_t taken_ = 0;
};

// ---- chat

struct ChatFlags {
  HubLinkFlags link;
  std::string to;
};

class Chat {
 public:
  Chat(Context& context, const ChatFlags& flags) : context_(context), flags_(flags) {}

  Result<int, Error> run() {
    SEALANE_TRY(link_, HubLink::open(context_, flags_.link));
    SEALANE_TRY(to_, link_->resolve(flags_.to));
    if (!link_->is_pinned(to_)) {
      return usage("no identity is pinned for " + printable(flags_.to) +
                   "; add its public key to the trust file");
    }
    SEALANE_TRY(link_->wait_online(kLoginTime));
    parts_.emplace(context_.files, link_->state_path("hub_parts"));
    link_->watch({to_});
    context_.console.note("a line is a message to " + printable(flags_.to) + "; end with Ctrl-D");
    Lines lines;
    std::optional<SteadyTime> last;  // when the unconfirmed ones are given up
    while (!context_.cancel.cancelled()) {
      while (const auto event = link_->next(context_.clock.steady_now() + milliseconds(20))) {
        SEALANE_TRY(take(*event));
      }
      if (!present_) continue;  // nothing is read before it is known whether anybody hears it
      lines.read(0);
      // An offline one takes none, which each line is told.
      while (!*present_ || link_->wants_sealed(to_)) {
        const auto line = lines.next();
        if (!line) break;
        say(*line);
      }
      if (lines.waiting() > Parcel::kMaxData) {
        return usage("a line is longer than a message may be");
      }
      if (!lines.at_end()) continue;
      const SteadyTime now = context_.clock.steady_now();
      if (!last) last = now + kLastWords;
      if (unconfirmed_.empty() || now >= *last) break;
    }
    link_->close();
    lost_ += unconfirmed_.size();
    if (lost_ > 0) {
      return Error{ErrorKind::kFailed,
                   printable(flags_.to) + " did not get " + counted(lost_, "line")};
    }
    return 0;
  }

 private:
  Result<void, Error> take(const HubLinkEvent& event) {
    if (const auto* presence = std::get_if<HubPresence>(&event)) {
      if (presence->client != to_) return success();
      present_ = presence->online;
      show_presence(context_, *presence);
    } else if (const auto* arrival = std::get_if<HubArrival>(&event)) {
      return hear(*arrival);
    } else if (const auto* refused = std::get_if<node::HubRefused>(&event)) {
      if (!refused->ticket) {  // of the presence
        return Error{ErrorKind::kRefused, printable(flags_.to) + ": " + std::string(refused->why)};
      }
    } else if (const auto* ended = std::get_if<HubSealedEnd>(&event)) {
      if (ended->peer == to_ && !unconfirmed_.empty()) {
        context_.console.warn(std::to_string(unconfirmed_.size()) +
                              " lines were not confirmed: " + ended->why);
        lost_ += unconfirmed_.size();
        unconfirmed_.clear();
      }
    } else if (const auto* offline = std::get_if<node::HubOffline>(&event)) {
      if (offline->final) return offline->why;
      context_.console.warn("offline: " + offline->why.message + "; trying again");
    }
    return success();
  }

  Result<void, Error> hear_plain(const HubArrival& arrival) {
    if (!arrival.part) {
      show_message(context_, arrival, arrival.data);
      if (arrival.id) link_->received(*arrival.id);
      return success();
    }
    SEALANE_TRY(make_home_directory(context_));
    SEALANE_TRY(const auto outcome, parts_->take(arrival.from, *arrival.part, arrival.data));
    warn_of_dropped(context_, arrival, outcome.dropped);
    if (outcome.message) {
      show_message(context_, arrival, *outcome.message);
      if (arrival.id) link_->received(*arrival.id);
      return parts_->finished(arrival.from);
    }
    SEALANE_TRY(parts_->sync());
    if (arrival.id) link_->received(*arrival.id);
    return success();
  }

  Result<void, Error> hear(const HubArrival& arrival) {
    if (!arrival.sealed) return hear_plain(arrival);
    const auto parcel = node::decode_parcel(arrival.data);
    if (!parcel) return success();
    if (parcel->kind == ParcelKind::kDone && arrival.from == to_) {
      if (unconfirmed_.erase(parcel->number) > 0 && parcel->offset != 1) {
        context_.console.warn(printable(flags_.to) + " did not take a line");
        ++lost_;
      }
      return success();
    }
    const bool text = parcel->kind == ParcelKind::kText;
    if (text) show_message(context_, arrival, parcel->data);
    if (text || parcel->kind == ParcelKind::kFile) {
      link_->send_sealed(arrival.from, node::encode({.kind = ParcelKind::kDone,
                                                     .number = parcel->number,
                                                     .offset = text ? 1U : 0U}));
    }
    return success();
  }

  void say(const std::string& line) {
    if (line.empty()) return;
    const auto number = node::parcel_number(context_.random);
    const bool sent =
        *present_ && line.size() <= Parcel::kMaxData &&
        link_->send_sealed(
            to_,
            node::encode({.kind = ParcelKind::kText, .number = number, .data = to_bytes(line)}));
    if (sent) {
      unconfirmed_.insert(number);
    } else {
      ++lost_;
      context_.console.warn(printable(flags_.to) +
                            (*present_ ? " does not keep up" : " is offline") + ": not sent");
    }
  }

  Context& context_;
  const ChatFlags& flags_;
  std::unique_ptr<HubLink> link_;
  hub::ClientId to_;
  std::optional<node::MessageParts> parts_;
  std::optional<bool> present_;          // nothing: the hub has not said it yet
  std::set<std::uint64_t> unconfirmed_;  // numbers of lines
  std::size_t lost_ = 0;                 // lines that did not arrive
};

}  // namespace

Command send_command() {
  auto flags = std::make_shared<SendFlags>();
  std::vector<Option> options;
  flags->link.add_to(options);
  options.push_back({.names = "--text",
                     .value_name = "TEXT",
                     .help = "This text instead of a file",
                     .variable = &flags->text});
  options.push_back({.names = "--plain",
                     .help = "In the clear: the hub can read it, and keeps it for who is away",
                     .variable = &flags->plain});
  options.push_back({.names = "--lines",
                     .help = "Each line of standard input is a message, as it comes",
                     .variable = &flags->lines});
  options.push_back({.names = "--timeout",
                     .value_name = "SECONDS",
                     .help = "For the other side to come and to confirm; 30 when missing",
                     .variable = &flags->timeout});
  return {
      .name = "send",
      .summary = "send a message or a file through a hub, sealed end to end",
      .description =
          "TO is a name of the pinned identities, or a client's id. Standard input and --text go "
          "as one message, a file of any size by its name: it appears there whole, and goes on "
          "where it was cut when it is sent again. Done means that the other side has it.",
      .examples = {"echo backup done | sealane send prover", "sealane send prover dump.age"},
      .options = std::move(options),
      .arguments = {{.name = "TO",
                     .help = "Who gets it",
                     .variable = &flags->to,
                     .required = true,
                     .completes = Completes::kNothing},
                    {.name = "FILE",
                     .help = "The file, or - for one message from standard input",
                     .variable = &flags->in}},
      .run = [flags](Context& context) { return Sender(context, *flags).run(); },
  };
}

Command listen_command() {
  auto flags = std::make_shared<ListenFlags>();
  std::vector<Option> options;
  flags->link.add_to(options);
  options.push_back({.names = "--exec",
                     .value_name = "COMMAND",
                     .help = "Run it for each message, without a shell (sh -c '…' is one), on its "
                             "standard input; who sent it is in "
                             "MESSAGE_FROM, MESSAGE_NAME and MESSAGE_SEALED",
                     .variable = &flags->exec});
  options.push_back({.names = "--files",
                     .value_name = "DIR",
                     .help = "Take files of pinned senders into this directory, which is made if "
                             "it is missing",
                     .variable = &flags->files,
                     .completes = Completes::kDirectory});
  options.push_back({.names = "--presence",
                     .help = "Also tell who is there, and who comes and goes",
                     .variable = &flags->presence});
  options.push_back({.names = "--count",
                     .value_name = "N",
                     .help = "End after so many messages and files",
                     .variable = &flags->count});
  return {
      .name = "listen",
      .summary = "print the messages that come through a hub, or run a command for each",
      .description =
          "Stays connected, and dials again when it must. A message counts as received when it was "
          "printed, or the command ended with status 0.",
      .examples = {"sealane listen --hub prover.hub --exec 'logger -t sealane'",
                   "sealane listen --files /srv/inbox --json"},
      .options = std::move(options),
      .arguments = {},
      .run = [flags](Context& context) { return ListenRun(context, *flags).run(); },
  };
}

Command chat_command() {
  auto flags = std::make_shared<ChatFlags>();
  std::vector<Option> options;
  flags->link.add_to(options);
  return {
      .name = "chat",
      .summary = "talk to another client of a hub, line by line, sealed end to end",
      .description = "Shows when the other side comes and goes.",
      .examples = {"sealane chat prover"},
      .options = std::move(options),
      .arguments = {{.name = "TO",
                     .help = "A name of the pinned identities, or a client's id",
                     .variable = &flags->to,
                     .required = true,
                     .completes = Completes::kNothing}},
      .run = [flags](Context& context) { return Chat(context, *flags).run(); },
  };
}

}  // namespace sealane::app
