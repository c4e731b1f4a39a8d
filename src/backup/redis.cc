#include "backup/redis.h"

#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <fstream>
#include <functional>
#include <utility>

#include "backup/fingerprint.h"
#include "backup/redis_address.h"
#include "backup/redis_client.h"
#include "backup/redis_loading.h"
#include "base/byte_reader.h"
#include "base/copy_bytes.h"

namespace sealane::backup {
namespace {

constexpr std::size_t kChunkSize = 256 * 1024;
// Behind a file of unknown size the server sends this mark; redis-cli passes it on to a pipe.
constexpr std::size_t kEndMarkSize = 40;
constexpr std::int64_t kDumpDelay = 60'000;  // milliseconds until a server takes its moment
constexpr int kStartSteps = 72'000;          // of 50 ms: an hour, for a file that loads slowly
constexpr int kStepMilliseconds = 50;

constexpr std::string_view kFormat = "rdb";

Error usage(std::string message) { return {ErrorKind::kUsage, std::move(message)}; }
Error failed(std::string message) { return {ErrorKind::kFailed, std::move(message)}; }

std::string first_line(const std::string& text) {
  return printable(text.substr(0, text.find_first_of("\r\n")));
}

Error rdb_failure(const std::string& what, RdbError error) {
  return failed(what + ": " + std::string(describe(error)));
}

// A dump as redis-cli writes it, cut where the file ends.
class RedisDump final : public DumpStream {
 public:
  RedisDump(std::unique_ptr<Tool> tool, std::string where, RedisTally& tally)
      : tool_(std::move(tool)), where_(std::move(where)), reader_(tally), buffer_(kChunkSize) {}

  Result<std::size_t, Error> read(MutableByteSpan out) override {
    for (;;) {
      const auto ready = static_cast<std::size_t>(sure() - passed_);
      if (ready > 0) {
        const std::size_t count = std::min(ready, out.size());
        copy_bytes(ByteSpan(buffer_).subspan(begin_, count), out.begin());
        begin_ += count;
        passed_ += count;
        return count;
      }
      if (ended_) return std::size_t{0};
      SEALANE_TRY(fill());
    }
  }

  void interrupt() noexcept override { tool_->interrupt(); }

 private:
  // How many bytes of the stream belong to the file for certain.
  std::uint64_t sure() const {
    if (reader_.done()) return reader_.size();
    return received_ > kEndMarkSize ? received_ - kEndMarkSize : 0;
  }
  Result<void, Error> fill() {
    std::copy(buffer_.begin() + static_cast<std::ptrdiff_t>(begin_),
              buffer_.begin() + static_cast<std::ptrdiff_t>(end_), buffer_.begin());
    end_ -= begin_;
    begin_ = 0;
    const MutableByteSpan space = MutableByteSpan(buffer_).subspan(end_);
    auto got = tool_->read(space);
    if (!got.has_value()) return got.error();
    if (got.value() == 0) return finish();
    received_ += got.value();
    end_ += got.value();
    if (auto read = reader_.feed(space.first(got.value())); !read.has_value()) {
      return rdb_failure("the dump of " + where_ + " is unusable", read.error());
    }
    if (reader_.trailing() > kEndMarkSize) {
      return failed("the dump of " + where_ + " has data behind its end");
    }
    return success();
  }
  Result<void, Error> finish() {
    if (auto whole = reader_.finish(); !whole.has_value()) {
      return rdb_failure("the dump of " + where_ + " is unusable", whole.error());
    }
    const std::string_view mark = as_text(ByteSpan(buffer_).subspan(begin_, end_ - begin_));
    const bool is_mark = mark.size() == kEndMarkSize && std::ranges::all_of(mark, [](char c) {
                           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
                         });
    if (!mark.empty() && !is_mark)
      return failed("the dump of " + where_ + " has data behind its end");
    ended_ = true;
    return success();
  }

  std::unique_ptr<Tool> tool_;
  std::string where_;
  RdbReader reader_;
  Bytes buffer_;
  std::size_t begin_ = 0;  // of what was received and not passed on
  std::size_t end_ = 0;
  std::uint64_t received_ = 0;
  std::uint64_t passed_ = 0;
  bool ended_ = false;
};

class RedisSnapshot final : public SourceSnapshot {
 public:
  RedisSnapshot(RedisConnection connection, DriverContext& context)
      : connection_(std::move(connection)),
        context_(context),
        tally_(unix_milliseconds(context.clock)) {}

  Result<void, Error> open() {
    ToolCommand version = connection_.command({});
    version.arguments = {"--version"};
    SEALANE_TRY(const auto tool, run_tool(std::move(version), &context_.cancel));
    SEALANE_TRY(connection_.wait_until_loaded(context_));
    SEALANE_TRY(const auto server,
                connection_.ask({"INFO", "server"}, "# Server", context_.cancel));
    SEALANE_TRY(const auto memory,
                connection_.ask({"INFO", "memory"}, "# Memory", context_.cancel));
    properties_["tool"] = first_line(tool);
    properties_["server"] = printable(info_field(server, "redis_version"));
    const std::string used = info_field(memory, "used_memory");
    std::uint64_t bytes = 0;
    if (std::from_chars(used.data(), used.data() + used.size(), bytes).ec == std::errc{}) {
      size_ = bytes;
    }
    return success();
  }
  const std::vector<StreamDescription>& streams() const override { return streams_; }
  Result<std::unique_ptr<DumpStream>, Error> open_stream(std::size_t index) override {
    if (index != 0) return failed("there is no such stream");
    tally_ = RedisTally(unix_milliseconds(context_.clock));
    return open_redis_dump(connection_, tally_, context_.cancel);
  }
  Result<std::optional<Fingerprint>, Error> fingerprint() override {
    return std::optional(at_level(tally_.fingerprint(), level_));
  }
  std::optional<std::uint64_t> estimated_size() const override { return size_; }
  std::map<std::string, std::string> properties() const override { return properties_; }

 private:
  RedisConnection connection_;
  DriverContext& context_;
  RedisTally tally_;
  std::vector<StreamDescription> streams_ = {
      {"database", std::string(kFormat),
       "stop redis-server, save it as dump.rdb in its folder, start it again"}};
  std::map<std::string, std::string> properties_;
  std::optional<std::uint64_t> size_;
};

Result<void, Error> check_stream(const StreamDescription& stream) {
  if (stream.format == kFormat) return success();
  return usage("the snapshot's stream " + printable(stream.name) + " (" + printable(stream.format) +
               ") cannot be restored into Redis");
}

// Turns the keys of an RDB file into RESTORE commands: its payload is the value as it stands in the
// file, the file's version and a CRC-64. So no server is needed in between, and nothing is decoded.
class RestoreCommands final : public RdbHandler {
 public:
  RestoreCommands(RedisTally& tally, std::function<Result<void, Error>(std::uint64_t)> select)
      : tally_(tally), check_database_(std::move(select)) {}

  bool on_key(const RdbKey& key) override {
    if (!selected_ || *selected_ != key.database) {
      if (auto there = check_database_(key.database); !there.has_value()) {
        error_ = there.error();
        return false;
      }
      selected_ = key.database;
      begin(2);
      word(as_bytes("SELECT"));
      word(as_bytes(std::to_string(key.database)));
    }
    begin(5);
    word(as_bytes("RESTORE"));
    word(key.key);
    word(as_bytes(std::to_string(key.expires.value_or(0))));
    text("$" + std::to_string(dump_size(key)) + "\r\n");
    append_dump(key, out_);
    text("\r\n");
    word(as_bytes("ABSTTL"));
    return tally_.on_key(key);
  }
  bool on_function(ByteSpan library) override {
    begin(3);
    word(as_bytes("FUNCTION"));
    word(as_bytes("LOAD"));
    word(library);
    return tally_.on_function(library);
  }
  Bytes take() { return std::exchange(out_, {}); }
  std::uint64_t commands() const { return commands_; }
  const std::optional<Error>& error() const { return error_; }

 private:
  void begin(std::size_t words) {
    ++commands_;
    text("*" + std::to_string(words) + "\r\n");
  }
  void word(ByteSpan data) {
    text("$" + std::to_string(data.size()) + "\r\n");
    bytes(data);
    text("\r\n");
  }
  void text(std::string_view data) { bytes(as_bytes(data)); }
  void bytes(ByteSpan data) { out_.insert(out_.end(), data.begin(), data.end()); }

  RedisTally& tally_;
  std::function<Result<void, Error>(std::uint64_t)> check_database_;
  std::optional<std::uint64_t> selected_;
  std::optional<Error> error_;
  std::uint64_t commands_ = 0;
  Bytes out_;
};

// "7.0.15" as {7, 0}: releases differ in the versions of what they dump, patches do not.
std::pair<int, int> release_of(std::string_view version) {
  std::pair<int, int> out{0, 0};
  const char* end = version.data() + version.size();
  const auto [dot, code] = std::from_chars(version.data(), end, out.first);
  if (code == std::errc{} && dot != end) std::from_chars(dot + 1, end, out.second);
  return out;
}

class RedisTarget final : public Target {
 public:
  RedisTarget(RedisConnection connection, DriverContext& context)
      : connection_(std::move(connection)), context_(context) {}

  bool takes(std::string_view format) const override { return format == kFormat; }
  bool fills_in_place() const override { return true; }
  Result<std::optional<std::string>, Error> misfit(
      const std::map<std::string, std::string>& properties) override {
    const auto source = properties.find("server");
    SEALANE_TRY(const auto server,
                connection_.ask({"INFO", "server"}, "# Server", context_.cancel));
    const std::string target = info_field(server, "redis_version");
    if (source == properties.end() || release_of(target) >= release_of(source->second)) {
      return std::optional<std::string>();
    }
    return std::optional("the target is Redis " + printable(target) + ", older than the " +
                         printable(source->second) + " of the snapshot");
  }
  Result<bool, Error> is_empty() override {
    SEALANE_TRY(const auto info,
                connection_.ask({"INFO", "keyspace"}, "# Keyspace", context_.cancel));
    return info.find("\ndb") == std::string::npos;
  }
  Result<void, Error> clear() override {
    SEALANE_TRY(connection_.ask({"FLUSHALL"}, "OK", context_.cancel));
    // Servers before 7.0 have no functions.
    SEALANE_TRY(const auto server,
                connection_.ask({"INFO", "server"}, "# Server", context_.cancel));
    const std::string version = info_field(server, "redis_version");
    int major = 0;
    std::from_chars(version.data(), version.data() + version.size(), major);
    if (major >= 7) {
      SEALANE_TRY(connection_.ask({"FUNCTION", "FLUSH"}, "OK", context_.cancel));
    }
    return success();
  }
  Result<std::unique_ptr<Stream>, Error> open_stream(const StreamDescription& stream) override {
    SEALANE_TRY(check_stream(stream));
    restored_.emplace(unix_milliseconds(context_.clock));
    ToolCommand command = connection_.command({"--pipe", "--pipe-timeout", "0"});
    command.pipe_input = true;
    command.pipe_output = true;
    SEALANE_TRY(auto tool, Tool::start(command, &context_.cancel));
    return std::unique_ptr<Stream>(
        std::make_unique<ReplaySink>(std::move(tool), connection_, *restored_, context_.cancel));
  }
  Result<void, Error> finish() override { return success(); }
  Result<std::optional<Fingerprint>, Error> fingerprint() override {
    return redis_fingerprint(connection_, restored_ ? &*restored_ : nullptr, level_, context_);
  }

 private:
  class ReplaySink final : public Stream {
   public:
    ReplaySink(std::unique_ptr<Tool> tool, const RedisConnection& connection, RedisTally& tally,
               flow::Cancellation& cancel)
        : tool_(std::move(tool)),
          where_(connection.description()),
          commands_(
              tally,
              [connection, &cancel](std::uint64_t database) -> Result<void, Error> {
                // A server with fewer databases would put the keys into the one before.
                SEALANE_TRY(connection.ask({"SELECT", std::to_string(database)}, "OK", cancel));
                return success();
              }),
          reader_(commands_, true) {}

    Result<void, Error> write(ByteSpan data) override {
      while (!data.empty()) {
        const std::size_t size = std::min(data.size(), kChunkSize);
        SEALANE_TRY(feed(data.first(size)));
        data = data.subspan(size);
      }
      return success();
    }
    Result<void, Error> finish() override {
      if (auto whole = reader_.finish(); !whole.has_value()) {
        return rdb_failure("the file to restore is unusable", whole.error());
      }
      if (reader_.trailing() > 0) return failed("the file to restore has data behind its end");
      // The tool says how many replies it read, also how many were errors, and then fails.
      tool_->close_input();
      std::string said;
      ByteArray<4096> buffer{};
      for (;;) {
        auto got = tool_->read(buffer);
        if (!got.has_value()) {
          if (got.error().kind != ErrorKind::kFailed) return got.error();
          return failed(where_ + " did not take all keys: " + got.error().message);
        }
        if (got.value() == 0) break;
        said += as_text(ByteSpan(buffer).first(got.value()));
      }
      const std::string wanted = "errors: 0, replies: " + std::to_string(commands_.commands());
      if (said.find(wanted + "\n") == std::string::npos) {
        return failed(where_ + " did not answer every command of the restore");
      }
      return success();
    }

    void interrupt() noexcept override { tool_->interrupt(); }

   private:
    Result<void, Error> feed(ByteSpan data) {
      auto read = reader_.feed(data);
      if (!read.has_value()) {
        if (commands_.error()) return *commands_.error();
        return rdb_failure("the file to restore is unusable", read.error());
      }
      return tool_->write(commands_.take());
    }
    std::unique_ptr<Tool> tool_;
    std::string where_;
    RestoreCommands commands_;
    RdbReader reader_;
  };

  RedisConnection connection_;
  DriverContext& context_;
  std::optional<RedisTally> restored_;
};

// A server of ours, started from the restored file.
class RedisServer final : public ThrowAway, public Target {
 public:
  explicit RedisServer(DriverContext& context) : context_(context) {}

  Result<void, Error> prepare(const std::string& directory) {
    if (!find_program("redis-server")) return missing_tool("redis-server", "redis-server");
    if (!find_program("redis-cli")) return missing_tool("redis-cli", "redis-tools");
    ToolCommand version;
    version.program = "redis-server";
    version.arguments = {"--version"};
    SEALANE_TRY(const auto line, run_tool(std::move(version), &context_.cancel));
    if (const auto at = line.find("v="); at != std::string::npos) {
      version_ = printable(line.substr(at + 2, line.find(' ', at) - at - 2));
    }
    SEALANE_TRY(auto folder, TemporaryFolder::create("sealane-redis-", directory));
    folder_.emplace(std::move(folder));
    if (folder_->path().size() > kMaxSocketPath - 2) {
      SEALANE_TRY(auto sockets, TemporaryFolder::create("sealane-redis-", "/tmp"));
      socket_folder_.emplace(std::move(sockets));
    }
    return success();
  }

  Target& target() override { return *this; }
  std::string description() const override {
    return "Redis " + version_ + " started for this drill";
  }

  bool takes(std::string_view format) const override { return format == kFormat; }
  Result<bool, Error> is_empty() override { return server_ == nullptr; }
  Result<void, Error> clear() override {
    server_.reset();
    return success();
  }
  Result<std::unique_ptr<Stream>, Error> open_stream(const StreamDescription& stream) override {
    SEALANE_TRY(check_stream(stream));
    restored_.emplace(unix_milliseconds(context_.clock));
    auto file =
        context_.files.open(folder_->path() + "/dump.rdb", OpenMode::kCreateExclusive, 0600);
    if (!file.has_value()) return to_error(file.error());
    return std::unique_ptr<Stream>(std::make_unique<FileSink>(std::move(file).value(), *restored_));
  }
  Result<void, Error> finish() override {
    SEALANE_TRY(start());
    return wait_until_loaded();
  }
  Result<std::optional<Fingerprint>, Error> fingerprint() override {
    return redis_fingerprint(RedisConnection::local(socket()), restored_ ? &*restored_ : nullptr,
                             level_, context_);
  }

 private:
  class FileSink final : public Stream {
   public:
    FileSink(std::unique_ptr<File> file, RedisTally& tally)
        : file_(std::move(file)), reader_(tally) {}
    Result<void, Error> write(ByteSpan data) override {
      if (auto read = reader_.feed(data); !read.has_value()) {
        return rdb_failure("the restored file is unusable", read.error());
      }
      if (auto written = file_->write(data); !written.has_value()) return to_error(written.error());
      return success();
    }
    Result<void, Error> finish() override {
      if (auto whole = reader_.finish(); !whole.has_value()) {
        return rdb_failure("the restored file is unusable", whole.error());
      }
      if (reader_.trailing() > 0) return failed("the restored file has data behind its end");
      return success();
    }

   private:
    std::unique_ptr<File> file_;
    RdbReader reader_;
  };

  std::string socket() const {
    return (socket_folder_ ? socket_folder_->path() : folder_->path()) + "/s";
  }
  static std::string quoted(const std::string& path) {
    std::string out = "\"";
    for (const char c : path) {
      if (c == '"' || c == '\\') out += '\\';
      out += c;
    }
    return out + '"';
  }
  Result<void, Error> start() {
    if (!restored_) return failed("nothing was restored for the Redis server of the drill");
    const auto& databases = restored_->databases();
    const std::uint64_t highest = databases.empty() ? 0 : databases.rbegin()->first;
    if (highest > 1'000'000) return failed("the file has a database number above a million");
    const std::string config =
        "port 0\nunixsocket " + quoted(socket()) + "\nunixsocketperm 700\ndir " +
        quoted(folder_->path()) + "\ndbfilename dump.rdb\nsave \"\"\nappendonly no\nlogfile " +
        quoted(log()) + "\ndaemonize no\nrepl-diskless-sync-delay 0\ndatabases " +
        std::to_string(std::max<std::uint64_t>(16, highest + 1)) + "\n";
    SEALANE_TRY(const auto path, folder_->write_file("redis.conf", as_bytes(config)));
    ToolCommand command;
    command.program = "redis-server";
    command.package = "redis-server";
    command.arguments = {path};
    command.leave_directory = true;
    command.error_file = folder_->path() + "/errors";
    command.stop_signal = SIGKILL;  // nothing of it is worth saving
    SEALANE_TRY(server_, Tool::start(command, &context_.cancel));
    return success();
  }
  Result<void, Error> wait_until_loaded() {
    for (int step = 0; step < kStartSteps; ++step) {
      if (server_->ended()) break;
      struct stat status {};
      if (::stat(socket().c_str(), &status) == 0) {
        ToolCommand ping = RedisConnection::local(socket()).command({"PING"});
        const auto answer = run_tool(std::move(ping), &context_.cancel);
        if (answer.has_value() && answer.value() == "PONG\n") return success();
      }
      SEALANE_TRY(pause(context_.cancel, kStepMilliseconds));
    }
    return failed("the Redis server of the drill did not load the restored file: " + last_words());
  }
  std::string log() const { return folder_->path() + "/log"; }
  std::string last_words() const {
    std::ifstream file(log());
    std::string line;
    std::string last = "it said nothing";
    while (std::getline(file, line)) {
      if (!line.empty()) last = line;
    }
    return printable(last);
  }

  DriverContext& context_;
  std::optional<RedisTally> restored_;
  std::string version_ = "of an unknown version";
  // Destroyed in the order: server, folders.
  std::optional<TemporaryFolder> folder_;
  std::optional<TemporaryFolder> socket_folder_;
  std::unique_ptr<Tool> server_;
};

}  // namespace

std::int64_t unix_milliseconds(const Clock& clock) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(clock.wall_now().time_since_epoch())
      .count();
}

Result<RedisConnection, Error> RedisConnection::from_url(const std::string& text) {
  SEALANE_TRY(RedisAddress address, parse_redis_url(text));
  if (address.database != 0) {
    return usage("a backup of Redis is of all its databases: leave out the number in the URL");
  }
  RedisConnection connection;
  connection.description_ = std::move(address.description);
  if (address.socket.empty()) {
    connection.arguments_ = {"-h", address.host, "-p", std::to_string(address.port)};
  } else {
    connection.arguments_ = {"-s", address.socket};
  }
  if (!address.user.empty()) {
    connection.arguments_.insert(connection.arguments_.end(), {"--user", address.user});
  }
  connection.secret_ = std::move(address.password);
  return connection;
}

RedisConnection RedisConnection::local(const std::string& socket) {
  RedisConnection connection;
  connection.description_ = "the server started for this drill";
  connection.arguments_ = {"-s", socket};
  return connection;
}

ToolCommand RedisConnection::command(std::vector<std::string> arguments) const {
  ToolCommand command;
  command.program = "redis-cli";
  command.package = "redis-tools";
  command.arguments = arguments_;
  command.arguments.insert(command.arguments.end(), arguments.begin(), arguments.end());
  // Without a password of the URL's, the environment's own must not go to a private server.
  if (secret_ != nullptr || description_.find("://") == std::string::npos) {
    command.unset_prefixes = {"REDISCLI_"};
  }
  if (secret_ != nullptr) {
    command.secret_variable = "REDISCLI_AUTH";
    command.secret = secret_;
  }
  return command;
}

Result<std::string, Error> RedisConnection::ask(std::vector<std::string> words,
                                                const std::string& expected,
                                                flow::Cancellation& cancel) const {
  auto answer = run_tool(command(std::move(words)), &cancel);
  if (!answer.has_value()) {
    if (answer.error().kind != ErrorKind::kFailed) return answer;
    const std::string& why = answer.error().message;
    const bool nobody = why.find("Could not connect") != std::string::npos;
    return failed(description_ + ": " + why + (nobody ? "; is a Redis server running there?" : ""));
  }
  if (!answer.value().starts_with(expected)) {
    std::string advice;
    if (answer.value().starts_with("NOAUTH")) {
      advice =
          secret_ != nullptr
              ? " The URL's user or password was refused."
              : " It wants a password: in the URL (redis://:PASSWORD@HOST) or in REDISCLI_AUTH.";
    }
    return failed(description_ + " answers: " + first_line(answer.value()) + advice);
  }
  return answer;
}

Result<void, Error> RedisConnection::wait_until_loaded(DriverContext& context) const {
  const SteadyTime end = context.clock.steady_now() + kLoadingPatience;
  auto time = kFirstLoadingPause;
  for (bool told = false;; told = true) {
    const auto info = ask({"INFO", "persistence"}, "# Persistence", context.cancel);
    if (!info.has_value()) {
      if (info.error().kind != ErrorKind::kFailed) return info.error();
      return success();
    }
    if (!is_loading(info.value())) return success();
    if (context.clock.steady_now() >= end) return still_loading(description_);
    if (!told && context.on_loading) context.on_loading(loading_of(description_, info.value()));
    SEALANE_TRY(pause(context.cancel, static_cast<int>(time.count())));
    time = std::min(2 * time, kLongestLoadingPause);
  }
}

RedisTally RedisTally::of_those_expiring_after(std::int64_t later_than) {
  RedisTally tally(0);
  tally.later_than_ = later_than;
  return tally;
}

bool RedisTally::on_key(const RdbKey& key) {
  if (key.expires && later_than_ && *key.expires <= *later_than_) return true;
  const auto add_to = [&](Sums& sums) {
    Sum& sum = sums[key.database];
    ++sum.count;
    sum.digest.add(key.digest);
  };
  add_to(databases_);
  if (key.expires && !later_than_) {
    if (*key.expires <= now_) {
      add_to(expired_);
    } else if (*key.expires <= now_ + kHorizon) {
      if (expiring_.size() < kMaxRemembered) {
        expiring_.push_back({*key.expires, key.database, key.digest});
      } else {
        forgot_ = true;
      }
    }
  }
  return true;
}

bool RedisTally::on_function(ByteSpan library) {
  ++functions_.count;
  const auto hash = crypto::sha256(library);
  RdbDigest digest;
  for (std::size_t i = 0; i < digest.lanes.size(); ++i) {
    digest.lanes[i] = load<std::uint64_t>(ByteSpan(hash).subspan(8 * i));
  }
  functions_.digest.add(digest);
  return true;
}

std::optional<RedisTally::Sums> RedisTally::expired_until(std::int64_t time) const {
  if (forgot_ || time > now_ + kHorizon) return std::nullopt;
  Sums sums = expired_;
  for (const auto& key : expiring_) {
    if (key.expires > time) continue;
    Sum& sum = sums[key.database];
    ++sum.count;
    sum.digest.add(key.digest);
  }
  return sums;
}

void RedisTally::add(const Sums& more) {
  for (const auto& [database, sum] : more) {
    databases_[database].count += sum.count;
    databases_[database].digest.add(sum.digest);
  }
}

Fingerprint RedisTally::fingerprint() const {
  std::vector<Fingerprint::Item> items;
  for (const auto& [database, sum] : databases_) {
    items.push_back({"db" + std::to_string(database), sum.count, sum.digest.hex()});
  }
  if (functions_.count > 0) {
    items.push_back({"(functions)", functions_.count, functions_.digest.hex()});
  }
  return make_fingerprint("redis", FingerprintLevel::kContent, std::move(items));
}

Result<std::unique_ptr<DumpStream>, Error> open_redis_dump(const RedisConnection& connection,
                                                           RedisTally& tally,
                                                           flow::Cancellation& cancel) {
  ToolCommand command = connection.command({"--rdb", "-"});
  command.pipe_output = true;
  SEALANE_TRY(auto tool, Tool::start(command, &cancel));
  return std::unique_ptr<DumpStream>(
      std::make_unique<RedisDump>(std::move(tool), connection.description(), tally));
}

Result<std::optional<Fingerprint>, Error> redis_fingerprint(const RedisConnection& connection,
                                                            const RedisTally* restored,
                                                            FingerprintLevel level,
                                                            DriverContext& context) {
  // What expires before the server takes its moment may or may not be there. On both sides of that
  // time it is counted as it was restored.
  const std::int64_t time = unix_milliseconds(context.clock) + kDumpDelay;
  RedisTally found =
      restored != nullptr ? RedisTally::of_those_expiring_after(time) : RedisTally(time);
  SEALANE_TRY(auto dump, open_redis_dump(connection, found, context.cancel));
  Bytes buffer(kChunkSize);
  for (;;) {
    SEALANE_TRY(const std::size_t got, dump->read(buffer));
    if (got == 0) break;
  }
  if (restored != nullptr) {
    const auto expired = restored->expired_until(time);
    if (!expired) return std::optional<Fingerprint>();
    found.add(*expired);
  }
  return std::optional(at_level(found.fingerprint(), level));
}

Result<std::unique_ptr<SourceSnapshot>, Error> open_redis_source(const std::string& url,
                                                                 DriverContext& context) {
  SEALANE_TRY(auto connection, RedisConnection::from_url(url));
  auto snapshot = std::make_unique<RedisSnapshot>(std::move(connection), context);
  SEALANE_TRY(snapshot->open());
  return std::unique_ptr<SourceSnapshot>(std::move(snapshot));
}

Result<std::unique_ptr<Target>, Error> open_redis_target(const std::string& url,
                                                         DriverContext& context) {
  SEALANE_TRY(auto connection, RedisConnection::from_url(url));
  SEALANE_TRY(connection.wait_until_loaded(context));
  SEALANE_TRY(connection.ask({"PING"}, "PONG", context.cancel));
  return std::unique_ptr<Target>(std::make_unique<RedisTarget>(std::move(connection), context));
}

Result<std::unique_ptr<ThrowAway>, Error> make_redis_throw_away(
    const std::map<std::string, std::string>&, const std::string& directory,
    DriverContext& context) {
  auto server = std::make_unique<RedisServer>(context);
  SEALANE_TRY(server->prepare(directory));
  return std::unique_ptr<ThrowAway>(std::move(server));
}

}  // namespace sealane::backup
