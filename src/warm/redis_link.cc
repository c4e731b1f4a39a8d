#include "warm/redis_link.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <system_error>

#include "base/check.h"
#include "base/copy_bytes.h"
#include "crypto/hash.h"

namespace sealane::warm {
namespace {

using std::chrono::milliseconds;

constexpr std::size_t kReadSize = 16 * 1024;      // hiredis moves what is left behind each answer
constexpr std::size_t kBigRead = 1024 * 1024;     // while a large text arrives
constexpr milliseconds kAnswersMayWait{10};       // while commands are sent
constexpr std::size_t kKeepOutput = 1024 * 1024;  // memory that stays for the next commands

Error failed(std::string message) { return {ErrorKind::kFailed, std::move(message)}; }
std::string reason(int code) { return std::generic_category().message(code); }
SteadyTime now() { return std::chrono::steady_clock::now(); }

// ---- How hiredis makes answers: trees of RedisReply, children inside their parents. ----

// The root is one that the link owns: there are millions of short answers.
RedisReply* place(const redisReadTask* task, RedisReply reply) {
  auto& slot =
      task->parent == nullptr
          ? *static_cast<RedisReply*>(task->privdata)
          : static_cast<RedisReply*>(task->parent->obj)->items[static_cast<std::size_t>(task->idx)];
  slot = std::move(reply);
  return &slot;
}
RedisReply::Kind kind_of(int type) {
  switch (type) {
    case REDIS_REPLY_STATUS:
      return RedisReply::Kind::kStatus;
    case REDIS_REPLY_ERROR:
      return RedisReply::Kind::kError;
    default:
      return RedisReply::Kind::kText;
  }
}
void* make_text(const redisReadTask* task, char* text, std::size_t size) {
  return place(task, {.kind = kind_of(task->type), .text = std::string(text, size), .items = {}});
}
void* make_array(const redisReadTask* task, int count) {
  if (count < 0 || static_cast<std::size_t>(count) > kMaxReplyItems) return nullptr;
  RedisReply reply{.kind = RedisReply::Kind::kArray, .text = {}, .items = {}};
  reply.items.resize(static_cast<std::size_t>(count));
  return place(task, std::move(reply));
}
void* make_integer(const redisReadTask* task, long long value) {
  return place(task,
               {.kind = RedisReply::Kind::kInteger, .integer = value, .text = {}, .items = {}});
}
void* make_nil(const redisReadTask* task) {
  return place(task, {.kind = RedisReply::Kind::kNil, .text = {}, .items = {}});
}
void free_reply(void* reply) { *static_cast<RedisReply*>(reply) = {}; }

redisReplyObjectFunctions reply_functions{make_text, make_array, make_integer, make_nil,
                                          free_reply};

}  // namespace

void RedisLink::ReaderDeleter::operator()(redisReader* reader) const { redisReaderFree(reader); }

RedisLink::~RedisLink() = default;

Error RedisLink::lost(std::string_view why) const {
  return failed("the connection to " + description_ + " was lost: " + std::string(why));
}

Result<short, Error> RedisLink::wait(short events, SteadyTime deadline) const {
  SEALANE_TRY(const short ready, wait_until(deadline, events));
  if (ready == 0) {
    return failed(description_ + " does not answer; look whether it is busy or hangs");
  }
  return ready;
}

Result<short, Error> RedisLink::wait_until(SteadyTime end, short events) const {
  pollfd ready[3] = {{socket_.get(), events, 0},
                     {interrupted_.descriptor(), POLLIN, 0},
                     {cancel_ != nullptr ? cancel_->descriptor() : -1, POLLIN, 0}};
  for (;;) {
    const auto left = std::chrono::ceil<milliseconds>(end - now());
    if (left.count() <= 0) return short{0};
    const int count = ::poll(ready, 3, static_cast<int>(left.count()));
    if (ready[1].revents != 0 || ready[2].revents != 0) return flow::interrupted();
    if (count > 0) return ready[0].revents;
    if (count < 0 && errno != EINTR) return lost(reason(errno));
  }
}

Result<void, Error> RedisLink::connect_to(int family, const void* to, std::size_t size) {
  socket_ = flow::OwnedDescriptor(::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket_.valid()) return failed("cannot make a socket: " + reason(errno));
  int code = 0;
  if (::connect(socket_.get(), static_cast<const sockaddr*>(to), static_cast<socklen_t>(size)) !=
      0) {
    code = errno;
    if (code == EINPROGRESS) {
      SEALANE_TRY(wait(POLLOUT, now() + kConnectTimeout));
      socklen_t length = sizeof code;
      ::getsockopt(socket_.get(), SOL_SOCKET, SO_ERROR, &code, &length);
    }
  }
  if (code != 0) {
    return failed("cannot connect to " + description_ + ": " + reason(code) +
                  "; is a Redis server running there?");
  }
  if (family != AF_UNIX) {
    const int on = 1;
    ::setsockopt(socket_.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  }
  return success();
}

Result<void, Error> RedisLink::connect(const backup::RedisAddress& address) {
  if (!address.socket.empty()) {
    sockaddr_un to{};
    to.sun_family = AF_UNIX;
    SEALANE_CHECK(address.socket.size() < sizeof to.sun_path);
    std::ranges::copy(address.socket, to.sun_path);
    return connect_to(AF_UNIX, &to, sizeof to);
  }
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int code =
      ::getaddrinfo(address.host.c_str(), std::to_string(address.port).c_str(), &hints, &found);
  if (code != 0) {
    return failed("cannot find the host of " + description_ + ": " + ::gai_strerror(code));
  }
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owned(found, &::freeaddrinfo);
  Result<void, Error> last = failed("the host of " + description_ + " has no address");
  for (const addrinfo* one = found; one != nullptr; one = one->ai_next) {
    last = connect_to(one->ai_family, one->ai_addr, one->ai_addrlen);
    if (last.has_value() || last.error().kind == ErrorKind::kInterrupted) return last;
  }
  return last;
}

Error RedisLink::refusal(const RedisReply& reply) const {
  std::string advice;
  if (reply.is_error("NOAUTH") || reply.is_error("WRONGPASS")) {
    advice = has_password_
                 ? " The user or the password was refused."
                 : " It wants a password: in the URL (redis://:PASSWORD@HOST) or in REDISCLI_AUTH.";
  }
  if (reply.is_error("LOADING")) advice = "; wait until it has, and try again";
  return failed(description_ + " answers: " + printable(reply.text) + advice);
}

Result<void, Error> RedisLink::log_in(const backup::RedisAddress& address) {
  const char* const ambient = std::getenv("REDISCLI_AUTH");
  std::string_view password;
  if (address.password != nullptr) {
    password = address.password->expose_text();
  } else if (ambient != nullptr) {
    password = ambient;
  }
  has_password_ = !password.empty();
  if (has_password_) {
    SEALANE_TRY(const RedisReply reply, address.user.empty()
                                            ? ask({"AUTH", password})
                                            : ask({"AUTH", address.user, password}));
    cleanse(output_);
    // A server without a password says so; then none is needed.
    const bool needless =
        address.password == nullptr && reply.is_error("ERR AUTH <password> called");
    if (reply.is_error() && !needless) {
      return failed(description_ + " refuses the user or the password: " + printable(reply.text));
    }
  }
  if (address.database != 0) {
    SEALANE_TRY(demand({"SELECT", std::to_string(address.database)}));
  }
  SEALANE_TRY(const RedisReply pong, ask({"PING"}));
  loading_ = pong.is_error("LOADING");
  if (pong.is_error() && !loading_) return refusal(pong);
  return success();
}

Result<void, Error> RedisLink::wait_until_loaded(const backup::OnLoading& on_loading,
                                                 std::chrono::nanoseconds patience) {
  const SteadyTime end = now() + patience;
  if (loading_ && on_loading) {
    SEALANE_TRY(const RedisReply info, ask({"INFO", "persistence"}));
    on_loading(backup::loading_of(description_, info.text));
  }
  milliseconds pause = backup::kFirstLoadingPause;
  while (loading_) {
    if (now() >= end) return backup::still_loading(description_);
    // A server that gives up on its file closes the connection, which the next question finds.
    SEALANE_TRY(wait_until(now() + pause, POLLIN));
    pause = std::min(2 * pause, backup::kLongestLoadingPause);
    const auto pong = ask({"PING"});
    loading_ = pong.has_value() && pong.value().is_error("LOADING");
    if (!pong.has_value()) return pong.error();
    if (pong.value().is_error() && !loading_) return refusal(pong.value());
  }
  return success();
}

Result<std::unique_ptr<RedisLink>, Error> RedisLink::open(const backup::RedisAddress& address,
                                                          const flow::Cancellation* cancel) {
  std::unique_ptr<RedisLink> link(new RedisLink(cancel));
  link->description_ = address.description;
  link->reader_.reset(redisReaderCreateWithFunctions(&reply_functions));
  SEALANE_CHECK(link->reader_ != nullptr);
  link->reader_->privdata = &link->root_;
  link->read_size_ = kReadSize;
  SEALANE_TRY(link->connect(address));
  SEALANE_TRY(link->log_in(address));
  return link;
}

Result<std::unique_ptr<RedisLink>, Error> RedisLink::open_loaded(
    const backup::RedisAddress& address, const flow::Cancellation* cancel,
    const backup::OnLoading& on_loading) {
  SEALANE_TRY(auto link, open(address, cancel));
  SEALANE_TRY(link->wait_until_loaded(on_loading));
  return link;
}

Result<void, Error> RedisLink::send_some() {
  const ByteSpan rest = ByteSpan(output_).subspan(sent_);
  const ssize_t put = ::send(socket_.get(), rest.data(), rest.size(), MSG_NOSIGNAL);
  if (put < 0) {
    if (errno == EAGAIN || errno == EINTR) return success();
    return lost(reason(errno));
  }
  sent_ += static_cast<std::size_t>(put);
  if (sent_ == output_.size()) {
    output_.clear();
    sent_ = 0;
    if (output_.capacity() > kKeepOutput) output_.shrink_to_fit();
  }
  return success();
}

Result<void, Error> RedisLink::receive() {
  if (input_.size() < read_size_) input_.resize(read_size_);
  const ssize_t got = ::recv(socket_.get(), input_.data(), read_size_, 0);
  if (got == 0) return lost("the server closed it; look at its log");
  if (got < 0) {
    if (errno == EAGAIN || errno == EINTR) return success();
    return lost(reason(errno));
  }
  const auto size = static_cast<std::size_t>(got);
  if (redisReaderFeed(reader_.get(), reinterpret_cast<const char*>(input_.data()), size) !=
      REDIS_OK) {
    return lost(reader_->errstr);
  }
  read_size_ = size == read_size_ && reader_->len > kReadSize ? kBigRead : kReadSize;
  return success();
}

Result<void, Error> RedisLink::flush() {
  SteadyTime deadline = now() + kAnswerTimeout;
  while (queued() > 0) {
    const std::size_t before = sent_;
    SEALANE_TRY(send_some());
    if (queued() == 0) break;
    const SteadyTime time = now();
    if (sent_ != before) deadline = time + kAnswerTimeout;
    // Each of its short answers would wake us up; but a server may wait until they are read.
    SEALANE_TRY(short ready, wait_until(time + kAnswersMayWait, POLLOUT));
    if (ready == 0) {
      SEALANE_TRY(ready, wait(POLLOUT | POLLIN, deadline));
      if ((ready & POLLIN) != 0) {
        SEALANE_TRY(receive());
      }
    }
  }
  return success();
}

Result<RedisReply, Error> RedisLink::reply() {
  std::optional<SteadyTime> deadline;
  for (;;) {
    void* found = nullptr;
    if (redisReaderGetReply(reader_.get(), &found) != REDIS_OK) {
      return failed(description_ + " sends what is no answer of Redis: " + reader_->errstr);
    }
    if (found != nullptr) return std::move(root_);
    if (queued() > 0) {
      SEALANE_TRY(flush());
    }
    if (!deadline || read_size_ == kBigRead) deadline = now() + kAnswerTimeout;  // it is coming
    SEALANE_TRY(wait(POLLIN, *deadline));
    SEALANE_TRY(receive());
  }
}

Result<std::size_t, Error> RedisLink::read_raw(MutableByteSpan out) {
  SEALANE_CHECK(!out.empty());
  SEALANE_TRY(flush());
  if (reader_->pos < reader_->len) {  // came while the command was on its way
    const std::size_t size = std::min(out.size(), reader_->len - reader_->pos);
    std::copy_n(reinterpret_cast<const std::byte*>(reader_->buf + reader_->pos), size, out.begin());
    reader_->pos += size;
    return size;
  }
  const SteadyTime deadline = now() + kAnswerTimeout;
  for (;;) {
    // A stream that never pauses must not keep us from noticing.
    if (interrupted_.cancelled() || (cancel_ != nullptr && cancel_->cancelled())) {
      return flow::interrupted();
    }
    const ssize_t got = ::recv(socket_.get(), out.data(), out.size(), 0);
    if (got > 0) return static_cast<std::size_t>(got);
    if (got == 0) return lost("the server closed it; look at its log");
    if (errno != EAGAIN && errno != EINTR) return lost(reason(errno));
    SEALANE_TRY(wait(POLLIN, deadline));
  }
}

Result<RedisReply, Error> RedisLink::ask(std::initializer_list<std::string_view> words) {
  commands().command(words);
  return reply();
}

Result<RedisReply, Error> RedisLink::demand(std::initializer_list<std::string_view> words) {
  SEALANE_TRY(RedisReply answer, ask(words));
  if (answer.is_error()) return refusal(answer);
  return answer;
}

Result<std::optional<StoreId>, Error> store_of(RedisLink& link, std::uint64_t database) {
  StoreId out{};
  std::size_t at = 0;
  bool known = false;
  // The history alone is not enough: a server begins a new one with its first replica.
  for (const auto& [section, field] :
       {std::pair{"server", "run_id"}, std::pair{"replication", "master_replid"}}) {
    SEALANE_TRY(const RedisReply info, link.ask({"INFO", section}));
    const std::string id = info.is_error() ? std::string() : info_field(info.text, field);
    if (!id.empty()) {
      const auto digest =
          crypto::sha256(as_bytes("sealane store:" + id + ":" + std::to_string(database)));
      copy_bytes(ByteSpan(digest).first(out.size() / 2), MutableByteSpan(out).subspan(at).begin());
      known = true;
    }
    at += out.size() / 2;
  }
  return known ? std::optional(out) : std::nullopt;
}

}  // namespace sealane::warm
