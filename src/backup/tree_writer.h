#pragma once
// TreeWriter: a pax archive into a folder on disk. The archive may be hostile: nothing outside of
// the folder is ever touched. Each entry must lie in a folder that is still open, as in archives in
// folder order, so no path is ever looked up through what the archive itself made.
#include <string>
#include <vector>

#include "backup/pax.h"
#include "backup/tree_reader.h"

namespace sealane::backup {

class TreeWriter {
 public:
  // `root`: an empty folder that nobody else can enter. `shown`: how errors call it.
  TreeWriter(flow::OwnedDescriptor root, std::string shown, flow::Cancellation& cancel);
  Result<void, Error> write(ByteSpan archive);
  // The archive is complete; metadata of the last folders is set.
  Result<void, Error> finish();

  bool has_root() const { return root_entry_.has_value(); }
  // Entries in order, when this user may not set owners; else empty.
  const OwnerList& owners() const { return owners_; }

 private:
  struct Folder {
    flow::OwnedDescriptor fd;
    PaxEntry entry;
  };
  Result<void, Error> on_entry(PaxEntry entry);
  Result<void, Error> on_content(const PaxReader::Content& content);
  Result<void, Error> on_file_end();
  Result<void, Error> leave_folder();
  Result<void, Error> make_hard_link(const PaxEntry& entry, int parent, const std::string& name);
  Result<void, Error> apply(const PaxEntry& entry, int fd);  // of a file or folder
  void note_owner(const PaxEntry& entry);
  Error failed(std::string_view what, const std::string& path, int code) const;
  Error refused(PaxError error) const;

  std::string shown_;
  flow::Cancellation& cancel_;
  bool privileged_;
  PaxReader reader_;
  flow::OwnedDescriptor root_;
  std::optional<PaxEntry> root_entry_;
  std::vector<Folder> folders_;  // open, each inside of the one before; the root is not among them
  flow::OwnedDescriptor file_;
  PaxEntry file_entry_;
  OwnerList owners_;
};

// Removes `name` in `parent` and all below it; follows no link, crosses no folder replaced
// meanwhile. A name that is not there is no error.
Result<void, Error> remove_tree(int parent, const std::string& name);

}  // namespace sealane::backup
