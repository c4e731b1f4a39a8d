#include "tests/identity/tools.h"
#include "tests/support/data_path.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>

namespace sealane::testing {

std::string read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file.good()) << path;
  return {std::istreambuf_iterator<char>(file), {}};
}

void write_text(const std::string& path, std::string_view text, unsigned mode) {
  std::ofstream(path, std::ios::binary) << text;
  ASSERT_EQ(::chmod(path.c_str(), mode), 0) << path;
}

std::string identity_data(std::string_view name) {
  return read_text(testing::data_path("identity/").append(name));
}

TempDirectory::TempDirectory() {
  std::string name = std::filesystem::temp_directory_path() / "sealane-identity-XXXXXX";
  path_ = ::mkdtemp(name.data());
}
TempDirectory::~TempDirectory() { std::filesystem::remove_all(path_); }

bool tool_exists(const std::string& name) {
  const char* path = std::getenv("PATH");
  std::istringstream folders(path == nullptr ? "" : path);
  for (std::string folder; std::getline(folders, folder, ':');) {
    if (::access((folder + "/" + name).c_str(), X_OK) == 0) return true;
  }
  return false;
}

ToolResult run_tool(const std::vector<std::string>& arguments, std::string_view input,
                    const std::vector<std::string>& environment) {
  const TempDirectory scratch;
  write_text(scratch / "in", input);
  std::vector<char*> argv;
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);

  const pid_t child = ::fork();
  if (child == 0) {
    ::setenv("TZ", "UTC", 1);
    for (const std::string& entry : environment) ::putenv(const_cast<char*>(entry.c_str()));
    constexpr int kCreate = O_WRONLY | O_CREAT | O_TRUNC;
    ::dup2(::open((scratch / "in").c_str(), O_RDONLY), STDIN_FILENO);
    ::dup2(::open((scratch / "out").c_str(), kCreate, 0600), STDOUT_FILENO);
    ::dup2(::open((scratch / "err").c_str(), kCreate, 0600), STDERR_FILENO);
    ::setsid();  // no terminal to ask for passphrases
    ::execvp(argv[0], argv.data());
    ::_exit(127);
  }
  ToolResult result;
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  if (WIFEXITED(status)) result.status = WEXITSTATUS(status);
  result.stdout_text = read_text(scratch / "out");
  result.output = result.stdout_text + read_text(scratch / "err");
  return result;
}

}  // namespace sealane::testing
