#include "tests/support/redis_server.h"

#include <csignal>

#include "base/check.h"

namespace sealane::testing {

using backup::ToolCommand;

bool RedisServer::installed() {
  return backup::find_program("redis-server").has_value() &&
         backup::find_program("redis-cli").has_value();
}

RedisServer::RedisServer(std::vector<std::string> options)
    : folder_(backup::TemporaryFolder::create("sealane-redis-", "/tmp").value()),
      socket_(folder_.path() + "/s"),
      options_(std::move(options)) {
  start();
}

RedisServer::~RedisServer() { kill(); }

backup::RedisAddress RedisServer::address() const { return backup::parse_redis_url(url()).value(); }

void RedisServer::kill() {
  if (server_ == nullptr) return;
  ::kill(server_->pid(), SIGKILL);
  server_.reset();
}

void RedisServer::start() {
  kill();
  ToolCommand command;
  command.program = "redis-server";
  command.package = "redis-server";
  command.arguments = {
      "--port", "0", "--unixsocket", socket_, "--dir",     folder_.path(),
      "--save", "",  "--appendonly", "no",    "--logfile", folder_.path() + "/log"};
  command.arguments.insert(command.arguments.end(), options_.begin(), options_.end());
  command.error_file = folder_.path() + "/errors";
  server_ = backup::Tool::start(command, nullptr).value();
  flow::Cancellation never;
  for (int i = 0; i < 6000; ++i) {
    ToolCommand ping;
    ping.program = "redis-cli";
    ping.arguments = {"-s", socket_, "PING"};
    const auto answer = backup::run_tool(std::move(ping), nullptr);
    const bool there = answer.has_value() &&
                       (answer.value().starts_with("PONG") || answer.value().starts_with("NOAUTH"));
    if (there) return;
    SEALANE_CHECK(!server_->ended());
    SEALANE_CHECK(backup::pause(never, 20).has_value());
  }
  SEALANE_CHECK(false && "redis-server does not answer");
}

}  // namespace sealane::testing
