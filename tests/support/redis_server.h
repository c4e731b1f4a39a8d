#pragma once
// RedisServer: a real redis-server of a test, private, on a UNIX socket below a folder of its own.
#include <memory>
#include <string>
#include <vector>

#include "backup/process.h"
#include "backup/redis_address.h"

namespace sealane::testing {

class RedisServer {
 public:
  static bool installed();
  // Started and answering, or the test cannot go on: then it says why and ends the program.
  explicit RedisServer(std::vector<std::string> options = {});
  ~RedisServer();

  std::string url() const { return "redis+unix://" + socket_; }
  backup::RedisAddress address() const;
  const std::string& folder() const { return folder_.path(); }
  void kill();   // like a crash
  void start();  // again, with what it saved
  pid_t pid() const { return server_->pid(); }

 private:
  backup::TemporaryFolder folder_;
  std::string socket_;
  std::vector<std::string> options_;
  std::unique_ptr<backup::Tool> server_;
};

}  // namespace sealane::testing
