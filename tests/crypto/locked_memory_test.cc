// Goal: a locked secret stays out of swap, core dumps and child processes, and faults beyond its
// end. Method: what the kernel says about the page; a child that looks; a read one byte too far.
#include "crypto/locked_memory.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <sstream>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SEALANE_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SEALANE_SANITIZED 1
#endif
#endif

namespace sealane::crypto {
namespace {

// The flags of the mapping that holds `address`, as in proc(5): " rd mr … ".
std::string mapping_flags(const void* address) {
  const auto wanted = reinterpret_cast<std::uintptr_t>(address);
  std::ifstream maps("/proc/self/smaps");
  std::string line;
  bool inside = false;
  while (std::getline(maps, line)) {
    std::istringstream range(line);
    std::uintptr_t begin = 0;
    std::uintptr_t end = 0;
    char dash = 0;
    if (range >> std::hex >> begin >> dash >> end && dash == '-') {
      inside = begin <= wanted && wanted < end;
    } else if (inside && line.starts_with("VmFlags:")) {
      return line.substr(8) + " ";
    }
  }
  return {};
}

TEST(LockedSecret, HoldsItsBytesAndMoves) {
  for (const std::size_t size : {1u, 16u, 32u, 4096u}) {
    Bytes bytes(size);
    for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(i * 3 + 1);
    LockedSecret secret(bytes);
    EXPECT_TRUE(std::ranges::equal(secret.expose(), bytes)) << size;
    const bool locked = secret.locked();
    const LockedSecret moved = std::move(secret);
    EXPECT_TRUE(std::ranges::equal(moved.expose(), bytes)) << size;
    EXPECT_EQ(moved.locked(), locked);
  }
}

TEST(LockedSecret, IsKeptOutOfDumpsAndChildren) {
  const LockedSecret secret(as_bytes("0123456789abcdef"));
  const std::string flags = mapping_flags(secret.expose().data());
  EXPECT_NE(flags.find(" dd "), std::string::npos) << flags;  // not in a core dump
  EXPECT_NE(flags.find(" wf "), std::string::npos) << flags;  // wiped on fork
  EXPECT_EQ(flags.find(" wr "), std::string::npos) << flags;  // read-only
#ifndef SEALANE_SANITIZED                                     // the sanitizers swallow mlock
  EXPECT_EQ(flags.find(" lo ") != std::string::npos, secret.locked()) << flags;
#endif
}

TEST(LockedSecret, IsZeroInAChildProcess) {
  const LockedSecret secret(as_bytes("0123456789abcdef"));
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    bool zero = true;
    for (const std::byte b : secret.expose()) zero = zero && b == std::byte{0};
    _exit(zero ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST(LockedSecretDeathTest, FaultsBeyondItsEnd) {
  const LockedSecret secret(as_bytes("0123456789abcdef"));
  const volatile std::byte* end = secret.expose().data() + secret.expose().size();
  EXPECT_DEATH({ [[maybe_unused]] const std::byte beyond = *end; }, "");
}

}  // namespace
}  // namespace sealane::crypto
