// sealane hub: a message hub, and who may use it.
#include <poll.h>
#include <sys/resource.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <nlohmann/json.hpp>

#include "app/commands.h"
#include "app/keys.h"
#include "app/paths.h"
#include "app/repository.h"
#include "node/hub_control.h"
#include "node/hub_profile.h"
#include "node/hub_server.h"

namespace sealane::app {
namespace {

using nlohmann::json;

constexpr int kLookInterval = 2000;  // milliseconds between two looks at the settings file

Error usage(std::string message) {
  return {.kind = ErrorKind::kUsage, .message = std::move(message)};
}

struct StateFlags {
  std::string directory;
  void add_to(std::vector<Option>& options) {
    options.push_back({.names = "--state",
                       .value_name = "DIR",
                       .help = "The hub's directory; $SEALANE_HOME/hub.d when missing",
                       .variable = &directory,
                       .environment = "SEALANE_HUB_STATE",
                       .completes = Completes::kDirectory});
  }
  std::string path() const { return directory.empty() ? home_path("hub.d") : directory; }
};

Result<node::HubState, Error> open_state(Context& context, const StateFlags& flags) {
  if (flags.directory.empty()) {
    SEALANE_TRY(make_home_directory(context));
  }
  return node::HubState::open(context.files, context.random, flags.path());
}

// Of a hub that is there: asking about one must not make it.
Result<node::HubState, Error> open_existing(Context& context, const StateFlags& flags) {
  return node::HubState::open_existing(context.files, context.random, flags.path());
}

Result<std::optional<json>, Error> ask_running(const node::HubState& state, const json& request) {
  return node::ask_control(state.path("control.sock"), request);
}

// ---- serve

struct ServeFlags {
  StateFlags state;
  std::string config;
  std::string listen;
};

Result<std::string, Error> read_settings(Context& context, const ServeFlags& flags) {
  if (flags.config.empty()) return std::string();
  const auto content = read_file(context.files, flags.config, node::HubSettings::kMaxFileSize);
  if (!content.has_value()) return to_error(content.error());
  return to_text(content.value());
}

Result<node::HubSettings, Error> parse_settings(const std::string& text, const ServeFlags& flags) {
  SEALANE_TRY(auto settings, node::parse_hub_settings(text, printable(flags.config)));
  if (flags.listen.empty()) return settings;
  if (!node::can_listen({flags.listen})) {
    return usage("--listen " + printable(flags.listen) + ": " +
                 std::string(node::kListenAddressForm));
  }
  settings.listen = flags.listen;
  return settings;
}

// A connection is a descriptor, and the usual limit of 1024 is a desktop's.
void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  static_cast<void>(::setrlimit(RLIMIT_NOFILE, &limit));
}

Result<int, Error> serve(Context& context, const ServeFlags& flags) {
  raise_descriptor_limit();
  // What is compared with the file later is what was taken, however soon it changed.
  SEALANE_TRY(std::string taken_text, read_settings(context, flags));
  SEALANE_TRY(auto settings, parse_settings(taken_text, flags));
  SEALANE_TRY(auto state, open_state(context, flags.state));
  const bool created = state.created();
  SEALANE_TRY(const auto server,
              node::HubServer::start({context.files, context.clock, context.random},
                                     std::move(state), std::move(settings),
                                     [&](const std::string& what) { context.console.warn(what); }));
  const node::HubReport report = server->report();
  context.console.note("listening at " + report.listening.text + " with the key " +
                       report.fingerprint);
  if (created || report.totals.clients == 0) {
    context.console.note(
        "for each client: sealane hub enrol NAME --address tcp:HOST:PORT --out NAME.hub; then "
        "there: sealane listen --hub NAME.hub");
  }
  context.console.emit("hub_listening", {{"address", report.listening.text},
                                         {"fingerprint", report.fingerprint},
                                         {"clients", report.totals.clients}});
  while (!context.cancel.cancelled()) {
    pollfd entry{.fd = context.cancel.descriptor(), .events = POLLIN, .revents = 0};
    ::poll(&entry, 1, kLookInterval);
    if (flags.config.empty() || context.cancel.cancelled()) continue;
    auto text = read_settings(context, flags);
    // Empty or not there: an editor is at work on it.
    if (!text.has_value() || text.value().empty() || text.value() == taken_text) continue;
    taken_text = std::move(text).value();
    auto next = parse_settings(taken_text, flags);
    const auto taken = next.has_value() ? server->configure(std::move(next).value())
                                        : Result<void, Error>(next.error());
    if (taken.has_value()) {
      context.console.note("took the new settings of " + printable(flags.config));
      context.console.emit("hub_settings", {{"file", flags.config}});
    } else {
      context.console.warn("the old settings stay: " + taken.error().message);
    }
  }
  server->stop();
  context.console.note("stopped");
  return 0;
}

// ---- enrol

struct EnrolFlags {
  StateFlags state;
  std::string name;
  std::string address;
  std::string out;
  std::string identity;
  std::string public_key;
  std::string id;
  std::string import;
  bool legacy = false;
};

// With the hub that runs, or alone under its lock.
Result<void, Error> add_client(const node::HubState& state, const node::HubClientRecord& record) {
  SEALANE_TRY(const auto answer, ask_running(state, {{"command", "add"},
                                                     {"client", hub::to_text(record.id)},
                                                     {"file", node::format_client_file(record)}}));
  if (answer) return success();
  SEALANE_TRY(const auto lock, state.lock());
  return state.add(record);
}

// The directory of the Python project: .server, or the one that holds it.
Result<int, Error> import_python(Context& context, const EnrolFlags& flags) {
  std::string folder = flags.import;
  const std::string inner = join_path(folder, ".server");
  if (context.files.status(inner).has_value()) folder = inner;
  // Its key first, so that its clients find the hub that they know.
  const std::string own = join_path(flags.state.path(), "key.pem");
  const std::string theirs = join_path(folder, "key.pem");
  if (!context.files.status(own).has_value() && context.files.status(theirs).has_value()) {
    const auto content = read_file(context.files, theirs, crypto::kMaxRsaPemSize);
    if (!content.has_value()) return to_error(content.error());
    const auto key = crypto::RsaPrivateKey::from_pem(content.value());
    if (!key.has_value()) {
      return usage(printable(theirs) +
                   " is no key of a hub: " + std::string(crypto::describe(key.error())));
    }
    const auto made = context.files.create_directory(flags.state.path(), 0700);
    if (!made.has_value() && made.error().code != EEXIST) return to_error(made.error());
    SEALANE_TRY(identity::write_private_file(context.files, own, key.value().to_pem()));
  }
  SEALANE_TRY(const auto state, open_state(context, flags.state));
  const std::string clients = join_path(folder, ".clients");
  const auto entries = context.files.list(clients);
  if (!entries.has_value()) return to_error(entries.error());
  // Those that an earlier try took over stay, so that one that was cut can be made again.
  SEALANE_TRY(const auto known, state.clients());
  std::size_t count = 0;
  std::size_t before = 0;
  for (const DirectoryEntry& entry : entries.value()) {
    const std::string file = join_path(clients, entry.name);
    const auto id = hub::parse_client_id(entry.name);
    if (!id) return usage(printable(file) + " is not named by a client's id");
    const auto content = read_file(context.files, file, node::HubState::kMaxClientFile);
    if (!content.has_value()) return to_error(content.error());
    auto record = node::parse_client_file(*id, content.value());
    if (!record.has_value()) return usage(printable(file) + " is no client: " + record.error());
    const auto same = std::ranges::find(known, *id, &node::HubClientRecord::id);
    if (same != known.end() && *same->key == *record.value().key) {
      ++before;
      continue;
    }
    record.value().kind = hub::ClientKind::kLegacy;
    SEALANE_TRY(add_client(state, record.value()));
    ++count;
  }
  context.console.print("Imported " + std::to_string(count) + " legacy clients" +
                        (before > 0 ? ", " + std::to_string(before) + " were here already" : "") +
                        "; the hub's key is " +
                        node::fingerprint_text(state.key()->public_key().fingerprint()) + "\n");
  context.console.emit("hub_import", {{"clients", count}});
  return 0;
}

Result<int, Error> enrol(Context& context, const EnrolFlags& flags) {
  if (!flags.import.empty()) {
    if (!flags.name.empty() || !flags.out.empty() || !flags.address.empty() ||
        !flags.identity.empty() || !flags.public_key.empty() || !flags.id.empty() || flags.legacy) {
      return usage(
          "--import takes the clients as they are, all legacy: it goes with --state alone");
    }
    return import_python(context, flags);
  }
  if (!node::is_client_name(flags.name)) {
    return usage("a client needs a NAME of 1 to 64 letters without blanks");
  }
  if (!flags.id.empty() && !flags.identity.empty()) {
    return usage("--identity decides the id; leave out --id");
  }
  node::HubClientRecord record{
      .id = {},
      .name = flags.name,
      .kind = flags.legacy ? hub::ClientKind::kLegacy : hub::ClientKind::kSealane,
      .key = nullptr};
  if (!flags.identity.empty()) {
    SEALANE_TRY(const auto identity, load_peer_key(context, flags.identity));
    record.id = node::client_id_of(identity);
  } else if (!flags.id.empty()) {
    const auto id = hub::parse_client_id(flags.id);
    if (!id) return usage(printable(flags.id) + " is no id: 32 hex digits or a UUID");
    record.id = *id;
  } else {
    record.id = hub::make_client_id(context.random);
  }
  if (!flags.public_key.empty()) {
    if (!flags.out.empty() || !flags.address.empty()) {
      return usage("with --public-key the client has its key: no --out, no --address");
    }
  } else if (flags.out.empty() || flags.address.empty()) {
    return usage("--out says where the client's private file goes, --address where it dials");
  } else if (!node::is_hub_address({flags.address})) {
    return usage(printable(flags.address) +
                 " is no address of a hub: " + std::string(node::kHubAddressForm));
  }
  SEALANE_TRY(const auto state, open_state(context, flags.state));
  if (state.created()) {
    context.console.note("made a new hub in " + printable(flags.state.path()) + " with the key " +
                         node::fingerprint_text(state.key()->public_key().fingerprint()));
  }
  std::optional<node::HubProfile> profile;
  if (!flags.public_key.empty()) {
    const auto content = read_file(context.files, flags.public_key, crypto::kMaxRsaPemSize);
    if (!content.has_value()) return to_error(content.error());
    const auto key = crypto::RsaPublicKey::from_pem(content.value());
    if (!key.has_value()) {
      return usage(printable(flags.public_key) + ": " + std::string(crypto::describe(key.error())));
    }
    record.key = std::make_shared<const crypto::RsaPublicKey>(key.value());
  } else {
    auto key = std::make_shared<const crypto::RsaPrivateKey>(crypto::RsaPrivateKey::generate());
    record.key = std::make_shared<const crypto::RsaPublicKey>(key->public_key());
    profile = node::HubProfile{.hub = {flags.address},
                               .fingerprint = state.key()->public_key().fingerprint(),
                               .id = record.id,
                               .name = record.name,
                               .key = std::move(key)};
    SEALANE_TRY(
        identity::write_private_file(context.files, flags.out, node::format_profile(*profile)));
  }
  const auto added = add_client(state, record);
  if (!added.has_value()) {
    if (profile) static_cast<void>(context.files.remove(flags.out));
    return added.error();
  }
  context.console.print(hub::to_text(record.id) + "\n");
  context.console.note(
      "enrolled " + record.name +
      (profile ? "; move " + printable(flags.out) + " to it, and keep no copy" : std::string()));
  context.console.emit(
      "hub_client_added",
      {{"id", hub::to_text(record.id)}, {"name", record.name}, {"file", flags.out}});
  return 0;
}

// ---- clients, remove, export, status

Result<json, Error> list_clients(const node::HubState& state, bool& running) {
  SEALANE_TRY(const auto answer, ask_running(state, {{"command", "clients"}}));
  running = answer.has_value();
  if (answer) return answer->at("clients");
  SEALANE_TRY(auto records, state.clients());
  json list = json::array();
  for (node::HubClientRecord& record : records) {
    list.push_back(node::to_json(node::HubClientReport{.record = std::move(record), .status = {}}));
    for (const char* live : {"online", "upgraded", "since", "queued_messages", "queued_bytes",
                             "sent", "received", "refused"}) {
      list.back().erase(live);
    }
  }
  return list;
}

Result<int, Error> show_clients(Context& context, const StateFlags& flags) {
  SEALANE_TRY(const auto state, open_existing(context, flags));
  bool running = false;
  SEALANE_TRY(const json list, list_clients(state, running));
  Table table({"NAME", "ID", "KIND", "STATE", "SINCE", "WAITING"});
  for (const json& client : list) {
    table.add({client.at("name").get<std::string>(), client.at("id").get<std::string>(),
               client.at("kind").get<std::string>(),
               !running                            ? "-"
               : !client.at("online").get<bool>()  ? "offline"
               : client.at("upgraded").get<bool>() ? "online, sealed link"
                                                   : "online",
               running ? client.at("since").get<std::string>() : "-",
               running ? std::to_string(client.at("queued_messages").get<std::uint64_t>()) : "-"});
    context.console.emit("hub_client", client);
  }
  context.console.print(table.text());
  if (!running) context.console.note("no hub runs here; this is what its directory says");
  return 0;
}

// By name or id.
Result<json, Error> find_client(const node::HubState& state, const std::string& wanted) {
  bool running = false;
  SEALANE_TRY(const json list, list_clients(state, running));
  const auto id = hub::parse_client_id(wanted);
  for (const json& client : list) {
    if (client.at("name") == wanted || (id && client.at("id") == hub::to_text(*id))) return client;
  }
  return usage("no client is named " + printable(wanted) + "; see 'sealane hub clients'");
}

Result<int, Error> remove(Context& context, const StateFlags& flags, const std::string& wanted) {
  SEALANE_TRY(const auto state, open_existing(context, flags));
  SEALANE_TRY(const json client, find_client(state, wanted));
  const std::string id = client.at("id").get<std::string>();
  SEALANE_TRY(const auto answer, ask_running(state, {{"command", "remove"}, {"client", id}}));
  if (!answer) {
    SEALANE_TRY(const auto lock, state.lock());
    SEALANE_TRY(state.remove(*hub::parse_client_id(id)));
  }
  const std::string name = client.at("name").get<std::string>();
  context.console.note("removed " + name + "; its connection and its waiting messages are gone");
  context.console.emit("hub_client_removed", {{"id", id}, {"name", name}});
  return 0;
}

// The directory that the Python hub reads.
Result<int, Error> export_python(Context& context, const StateFlags& flags,
                                 const std::string& target) {
  SEALANE_TRY(const auto state, open_existing(context, flags));
  SEALANE_TRY(const auto records, state.clients());
  const std::string folder = join_path(target, ".server");
  const std::string clients = join_path(folder, ".clients");
  for (const std::string& each : {target, folder, clients}) {
    const auto made = context.files.create_directory(each, 0700);
    if (!made.has_value() && made.error().code != EEXIST) return to_error(made.error());
  }
  SEALANE_TRY(identity::write_private_file(context.files, join_path(folder, "key.pem"),
                                           state.key()->to_pem()));
  for (const node::HubClientRecord& record : records) {
    const auto written =
        write_new_file(context.files, join_path(clients, hub::to_file_name(record.id)),
                       as_bytes(record.key->to_pem()), 0600);
    if (!written.has_value()) return to_error(written.error());
  }
  context.console.print("Wrote the key and " + counted(records.size(), "client") + " to " +
                        printable(folder) + "\n");
  context.console.emit("hub_export", {{"clients", records.size()}, {"path", folder}});
  return 0;
}

Result<int, Error> show_status(Context& context, const StateFlags& flags) {
  SEALANE_TRY(const auto state, open_existing(context, flags));
  SEALANE_TRY(auto answer, ask_running(state, {{"command", "status"}}));
  if (!answer) {
    return Error{ErrorKind::kFailed, "no hub runs in " + printable(flags.path()) +
                                         "; start one with 'sealane hub serve'"};
  }
  answer->erase("ok");
  std::string text;
  for (const auto& [key, value] : answer->items()) {
    text += key + ": " + (value.is_string() ? value.get<std::string>() : value.dump()) + '\n';
  }
  context.console.print(text);
  context.console.emit("hub_status", *answer);
  return 0;
}

}  // namespace

Command hub_serve_command() {
  auto flags = std::make_shared<ServeFlags>();
  std::vector<Option> options;
  flags->state.add_to(options);
  options.push_back({.names = "--config",
                     .value_name = "FILE",
                     .help = "Settings, TOML; most act at once when the file changes",
                     .variable = &flags->config,
                     .completes = Completes::kFile});
  options.push_back({.names = "--listen",
                     .value_name = "ADDRESS",
                     .help = "tcp:HOST:PORT; wins over the settings; tcp:0.0.0.0:4000 when missing",
                     .variable = &flags->listen});
  return {
      .name = "hub serve",
      .summary = "run a message hub that Backbone clients can use",
      .description =
          "Routes messages between clients that log in by key, keeps them for who is away, and "
          "tells who is there. Speaks Backbone exactly; with Sealane clients the connection is "
          "upgraded and messages are sealed end to end. The first start makes the hub's key. "
          "docs/hub.md lists the settings.",
      .examples = {"sealane hub serve --state /var/lib/sealane-hub --config hub.toml"},
      .options = std::move(options),
      .arguments = {},
      .run = [flags](Context& context) { return serve(context, *flags); },
  };
}

Command hub_enrol_command() {
  auto flags = std::make_shared<EnrolFlags>();
  std::vector<Option> options;
  flags->state.add_to(options);
  options.push_back({.names = "--address",
                     .value_name = "ADDRESS",
                     .help = "Where the client dials this hub: tcp:HOST:PORT",
                     .variable = &flags->address});
  options.push_back({.names = "--out",
                     .value_name = "FILE",
                     .help = "The client's private file, made with mode 0600",
                     .variable = &flags->out,
                     .completes = Completes::kFile});
  options.push_back({.names = "--identity",
                     .value_name = "KEY",
                     .help = "The client's Ed25519 identity (a .pub file or its line); needed for "
                             "sealing end to end",
                     .variable = &flags->identity,
                     .completes = Completes::kFile});
  options.push_back({.names = "--id",
                     .value_name = "ID",
                     .help = "A UUID or 32 hex digits; a random one when missing",
                     .variable = &flags->id});
  options.push_back({.names = "--public-key",
                     .value_name = "FILE",
                     .help = "The client has an RSA key already: its public half, PEM",
                     .variable = &flags->public_key,
                     .completes = Completes::kFile});
  options.push_back({.names = "--legacy",
                     .help = "A Python client: served without upgrade, which others can forge",
                     .variable = &flags->legacy});
  options.push_back({.names = "--import",
                     .value_name = "DIR",
                     .help = "Take over key and clients of the Python hub's .server directory",
                     .variable = &flags->import,
                     .completes = Completes::kDirectory});
  return {
      .name = "hub enrol",
      .summary = "let one more client into a hub",
      .description =
          "Makes an id and a key for the client, and one private file with all that it needs. "
          "Prints the id. Acts at once on a hub that runs.",
      .examples = {"sealane hub enrol shop --identity shop.pub --address tcp:192.0.2.7:4000 --out "
                   "shop.hub",
                   "sealane hub enrol --import ~/backbone/.server"},
      .options = std::move(options),
      .arguments = {{.name = "NAME",
                     .help = "How the client is called here",
                     .variable = &flags->name,
                     .completes = Completes::kNothing}},
      .run = [flags](Context& context) { return enrol(context, *flags); },
  };
}

Command hub_clients_command() {
  auto flags = std::make_shared<StateFlags>();
  std::vector<Option> options;
  flags->add_to(options);
  return {
      .name = "hub clients",
      .summary = "list a hub's clients and whether they are there",
      .description = "",
      .examples = {"sealane hub clients --json"},
      .options = std::move(options),
      .arguments = {},
      .run = [flags](Context& context) { return show_clients(context, *flags); },
  };
}

Command hub_remove_command() {
  struct Flags {
    StateFlags state;
    std::string client;
  };
  auto flags = std::make_shared<Flags>();
  std::vector<Option> options;
  flags->state.add_to(options);
  return {
      .name = "hub remove",
      .summary = "shut a client out, at once",
      .description = "Ends its connection and drops the messages that wait for it.",
      .examples = {"sealane hub remove shop"},
      .options = std::move(options),
      .arguments = {{.name = "CLIENT",
                     .help = "Its name or id",
                     .variable = &flags->client,
                     .required = true,
                     .completes = Completes::kNothing}},
      .run = [flags](Context& context) { return remove(context, flags->state, flags->client); },
  };
}

Command hub_export_command() {
  struct Flags {
    StateFlags state;
    std::string target;
  };
  auto flags = std::make_shared<Flags>();
  std::vector<Option> options;
  flags->state.add_to(options);
  return {
      .name = "hub export",
      .summary = "write a hub's key and clients as the Python hub reads them",
      .description = "Makes DIR/.server with key.pem and .clients; replaces no file.",
      .examples = {"sealane hub export /srv/backbone"},
      .options = std::move(options),
      .arguments = {{.name = "DIR",
                     .help = "The directory that gets .server",
                     .variable = &flags->target,
                     .required = true,
                     .completes = Completes::kDirectory}},
      .run =
          [flags](Context& context) { return export_python(context, flags->state, flags->target); },
  };
}

Command hub_status_command() {
  auto flags = std::make_shared<StateFlags>();
  std::vector<Option> options;
  flags->add_to(options);
  return {
      .name = "hub status",
      .summary = "what a hub that runs has done so far",
      .description = "",
      .examples = {"sealane hub status --json"},
      .options = std::move(options),
      .arguments = {},
      .run = [flags](Context& context) { return show_status(context, *flags); },
  };
}

}  // namespace sealane::app
