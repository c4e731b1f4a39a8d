#include "node/hub_control.h"

#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <nlohmann/json.hpp>

#include "net/sockets.h"

namespace sealane::node {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxRequest = 64 * 1024;        // a client's file, escaped
constexpr std::size_t kMaxAnswer = 64 * 1024 * 1024;  // all clients of a large hub
constexpr std::chrono::seconds kRequestTime{10};      // from accept to the end of the request
constexpr std::chrono::seconds kAnswerTime{30};

json refusal(const Error& error) {
  return {{"ok", false}, {"kind", exit_code(error.kind)}, {"message", error.message}};
}
Error bad_request() { return {ErrorKind::kUsage, "the hub does not know this request"}; }

std::string text_member(const json& request, const char* name) {
  const auto found = request.find(name);
  return found != request.end() && found->is_string() ? found->get<std::string>() : std::string();
}

json answer(HubServer& server, const std::string& line) {
  const json request = json::parse(line, nullptr, false);
  if (!request.is_object()) return refusal(bad_request());
  const std::string command = text_member(request, "command");
  if (command == "status") {
    json result = to_json(server.report());
    result["ok"] = true;
    return result;
  }
  if (command == "clients") {
    json list = json::array();
    for (const HubClientReport& client : server.clients()) list.push_back(to_json(client));
    return {{"ok", true}, {"clients", std::move(list)}};
  }
  const auto id = hub::parse_client_id(text_member(request, "client"));
  if (!id) return refusal(bad_request());
  Result<void, Error> done = success();
  if (command == "add") {
    auto record = parse_client_file(*id, as_bytes(text_member(request, "file")));
    if (!record.has_value()) return refusal({ErrorKind::kUsage, record.error()});
    done = server.add_client(std::move(record).value());
  } else if (command == "remove") {
    done = server.remove_client(*id);
  } else {
    return refusal(bad_request());
  }
  return done.has_value() ? json{{"ok", true}} : refusal(done.error());
}

class Control final : public net::StreamHandler {
 public:
  explicit Control(HubServer& server) : server_(server) {}
  void on_open(net::StreamConnection& connection, SteadyTime now) override {
    connection_ = &connection;
    deadline_ = now + kRequestTime;
  }
  std::size_t receive(ByteSpan bytes, SteadyTime) override {
    const std::string_view text = as_text(bytes);
    const std::size_t end = text.find('\n');
    line_ += text.substr(0, end);
    if (line_.size() > kMaxRequest) connection_->abort();
    if (end != std::string_view::npos && !asked_) {
      asked_ = true;
      deadline_.reset();
      // Not on the loop's thread: it may write files.
      connection_->run_job([this, line = line_] {
        auto reply = std::make_shared<std::string>(answer(server_, line).dump() + '\n');
        return [this, reply] { output_ = std::move(*reply); };
      });
    }
    return bytes.size();
  }
  void on_end(SteadyTime) override {
    if (!asked_) connection_->abort();
  }
  ByteSpan next_output() override { return as_bytes(output_).subspan(sent_); }
  void output_sent(std::size_t size) override {
    sent_ += size;
    if (sent_ == output_.size()) connection_->close();
  }
  std::optional<SteadyTime> deadline() const override { return deadline_; }
  void on_deadline(SteadyTime) override {
    deadline_.reset();
    connection_->abort();
  }
  bool wants_input() const override { return !asked_; }
  void after_step(SteadyTime) override {}
  void on_closed(const NetworkError&, SteadyTime) override {}

 private:
  HubServer& server_;
  net::StreamConnection* connection_ = nullptr;
  std::optional<SteadyTime> deadline_;
  std::string line_;
  std::string output_;
  std::size_t sent_ = 0;
  bool asked_ = false;
};

bool wait_for(int descriptor, short events, SteadyTime deadline) {
  const auto left = deadline - std::chrono::steady_clock::now();
  const auto wait = std::chrono::ceil<std::chrono::milliseconds>(left).count();
  if (wait <= 0) return false;
  pollfd entry{.fd = descriptor, .events = events, .revents = 0};
  return ::poll(&entry, 1, static_cast<int>(wait)) > 0 || errno == EINTR;
}

}  // namespace

net::StreamListenOptions control_limits() {
  net::StreamListenOptions options;
  options.max_connections = 16;  // commands of this machine
  options.stream.read_size = 4096;
  return options;
}

std::unique_ptr<net::StreamHandler> make_control(HubServer& server) {
  return std::make_unique<Control>(server);
}

Result<std::optional<json>, Error> ask_control(const std::string& socket, const json& request) {
  const Address address{"unix:" + socket};
  const Error broken{ErrorKind::kFailed, "the hub at " + printable(socket) + " does not answer"};
  const auto endpoint = net::parse_endpoint(address);
  if (!endpoint) {
    return Error{ErrorKind::kUsage, printable(socket) + " is too long for a socket's path"};
  }
  const auto connected = net::start_connect(*endpoint);
  if (!connected.has_value()) {
    if (connected.error().code == NetworkErrorCode::kRefused ||
        connected.error().code == NetworkErrorCode::kUnreachable) {
      return std::optional<json>();
    }
    return net::to_error(connected.error(), address);
  }
  const int descriptor = connected.value().get();
  const SteadyTime deadline = std::chrono::steady_clock::now() + kAnswerTime;
  const std::string line = request.dump() + '\n';
  for (std::size_t sent = 0; sent < line.size();) {
    if (!wait_for(descriptor, POLLOUT, deadline)) return broken;
    const ssize_t size =
        ::send(descriptor, line.data() + sent, line.size() - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (size > 0) sent += static_cast<std::size_t>(size);
    if (size < 0 && (errno == ECONNREFUSED || errno == ENOENT)) return std::optional<json>();
    if (size < 0 && errno != EAGAIN && errno != EINTR) return broken;
  }
  std::string text;
  std::array<char, 16 * 1024> buffer{};
  while (text.empty() || text.back() != '\n') {
    if (!wait_for(descriptor, POLLIN, deadline) || text.size() > kMaxAnswer) return broken;
    const ssize_t size = ::recv(descriptor, buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (size == 0) return broken;
    if (size > 0) text.append(buffer.data(), static_cast<std::size_t>(size));
    if (size < 0 && errno != EAGAIN && errno != EINTR) return broken;
  }
  json result = json::parse(text, nullptr, false);
  if (!result.is_object()) return broken;
  if (!result.value("ok", false)) {
    return Error{static_cast<ErrorKind>(result.value("kind", 1)),
                 printable(result.value("message", std::string()), 1000)};
  }
  return std::optional(std::move(result));
}

json to_json(const HubReport& report) {
  std::uint64_t refused = 0;
  json refused_by = json::object();
  for (std::size_t i = 1; i < report.counters.refused.size(); ++i) {
    refused += report.counters.refused[i];
    refused_by[std::string(mailbox::name_of(static_cast<mailbox::Refusal>(i)))] =
        report.counters.refused[i];
  }
  const HubReport::Discarded& discarded = report.discarded;
  return {{"listening", report.listening.text},
          {"fingerprint", report.fingerprint},
          {"started", to_rfc3339(report.started)},
          {"clients", report.totals.clients},
          {"groups", report.totals.groups},
          {"online", report.totals.online},
          {"queued_messages", report.totals.queued_messages},
          {"queued_bytes", report.totals.queued_bytes},
          {"connections", report.connections},
          {"accepted_connections", report.accepted},
          {"logins", report.logins},
          {"failed_logins", report.failed_logins},
          {"pushed_out", report.pushed_out},
          {"bad_frames", report.bad_frames},
          {"discarded_frames", discarded.undecodable + discarded.out_of_scope + discarded.clear},
          {"discarded_frames_by",
           {{"undecodable", discarded.undecodable},
            {"out_of_scope", discarded.out_of_scope},
            {"clear", discarded.clear}}},
          {"messages_submitted", report.counters.submitted},
          {"messages_accepted", report.counters.accepted},
          {"messages_delivered", report.counters.delivered},
          {"messages_given_again", report.counters.given_again},
          {"messages_refused", refused},
          {"messages_refused_by", std::move(refused_by)},
          {"messages_expired", report.counters.expired},
          {"messages_repeated", report.counters.duplicates},
          {"messages_slowed", report.counters.slowed},
          {"takeovers", report.counters.takeovers},
          {"store_failures", report.counters.store_failures}};
}

json to_json(const HubClientReport& report) {
  return {{"id", hub::to_text(report.record.id)},
          {"name", report.record.name},
          {"kind", report.record.kind == hub::ClientKind::kSealane ? "sealane" : "legacy"},
          {"key", fingerprint_text(report.record.key->fingerprint())},
          {"online", report.status.online},
          {"upgraded", report.upgraded},
          {"since", to_rfc3339(report.status.since)},
          {"queued_messages", report.status.queued_messages},
          {"queued_bytes", report.status.queued_bytes},
          {"sent", report.status.sent},
          {"received", report.status.received},
          {"refused", report.status.refused}};
}

}  // namespace sealane::node
