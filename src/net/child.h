#pragma once
// A program whose standard input and output are a connection; its standard error is ours.
#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "flow/descriptor.h"
#include "sealane/base/result.h"

namespace sealane::net {

// Words as a shell cuts them, and nothing else of a shell: blanks separate, '…' is literal, in "…"
// a backslash keeps the next " or \, elsewhere any next character. Nothing: an open quote.
std::optional<std::vector<std::string>> split_words(std::string_view text);

class Child {
 public:
  // The first word is a path, or a name looked up in PATH. REQUIRES: at least one word.
  static Result<Child, Error> start(const std::vector<std::string>& words);
  Child(Child&& other) noexcept;
  Child& operator=(Child&&) = delete;
  ~Child();  // closes the pipes; TERM after a second, KILL after another
  int output() const { return output_.get(); }  // we read it
  int input() const { return input_.get(); }    // we write it
  // Others hold copies of both: the program sees their end alone.
  void release_pipes();

 private:
  Child(pid_t pid, flow::OwnedDescriptor output, flow::OwnedDescriptor input)
      : pid_(pid), output_(std::move(output)), input_(std::move(input)) {}
  bool reap_within(int milliseconds) const;
  pid_t pid_ = -1;
  flow::OwnedDescriptor output_;
  flow::OwnedDescriptor input_;
};

}  // namespace sealane::net
