#include "store/heads.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <map>
#include <tuple>

#include "repo/names.h"
#include "store/view.h"

namespace sealane::store {
namespace {

constexpr std::string_view kFirstLine = "sealane-heads 1\n";

auto chain_of(const SeenHead& head) { return std::tie(head.repository, head.key_id, head.plan); }

std::string format_heads(std::vector<SeenHead> heads) {
  std::ranges::sort(heads,
                    [](const SeenHead& a, const SeenHead& b) { return chain_of(a) < chain_of(b); });
  std::string text(kFirstLine);
  for (const SeenHead& head : heads) {
    text += head.repository + " " + head.key_id + " " + head.plan + " " + std::to_string(head.seq) +
            " " + head.id + "\n";
  }
  return text;
}

std::optional<SeenHead> parse_line(std::string_view line) {
  std::array<std::string_view, 5> parts;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const std::size_t space = line.find(' ');
    if ((space == std::string_view::npos) != (i + 1 == parts.size())) return std::nullopt;
    parts[i] = line.substr(0, space);
    line.remove_prefix(space == std::string_view::npos ? line.size() : space + 1);
  }
  SeenHead head{.repository = std::string(parts[0]),
                .key_id = std::string(parts[1]),
                .plan = std::string(parts[2]),
                .seq = 0,
                .id = std::string(parts[4])};
  const auto [end, error] =
      std::from_chars(parts[3].data(), parts[3].data() + parts[3].size(), head.seq);
  if (error != std::errc{} || end != parts[3].data() + parts[3].size()) return std::nullopt;
  if (!repo::is_repository_id(head.repository) || !repo::is_hex_digest(head.key_id) ||
      !repo::valid_name(head.plan) || head.seq < 1 || head.seq > repo::kMaxSeq ||
      !repo::is_hex_digest(head.id)) {
    return std::nullopt;
  }
  return head;
}

std::optional<std::vector<SeenHead>> parse_heads(std::string_view text) {
  if (!text.starts_with(kFirstLine)) return std::nullopt;
  std::string_view rest = text.substr(kFirstLine.size());
  std::vector<SeenHead> heads;
  while (!rest.empty()) {
    const std::size_t end = rest.find('\n');
    if (end == std::string_view::npos) return std::nullopt;
    auto head = parse_line(rest.substr(0, end));
    if (!head) return std::nullopt;
    heads.push_back(std::move(*head));
    rest.remove_prefix(end + 1);
  }
  // Sorted and each chain once: anything else was not written by us.
  const bool sorted = std::ranges::adjacent_find(heads, [](const auto& a, const auto& b) {
                        return !(chain_of(a) < chain_of(b));
                      }) == heads.end();
  if (!sorted) return std::nullopt;
  return heads;
}

}  // namespace

HeadMemory::HeadMemory(FileSystem& files, RandomSource& random, std::string path)
    : files_(files), random_(random), path_(std::move(path)) {}

Result<std::vector<SeenHead>, Error> HeadMemory::load() const {
  const auto text = read_file(files_, path_, kMaxFileSize);
  if (!text.has_value()) {
    if (text.error().code == ENOENT) return std::vector<SeenHead>{};
    return to_error(text.error());
  }
  auto heads = parse_heads(as_text(text.value()));
  if (!heads) {
    return verification_failed(printable(path_) +
                               " is damaged, so a rolled-back repository could not be noticed; "
                               "move it away to start anew");
  }
  return std::move(*heads);
}

Result<void, Error> HeadMemory::remember(const std::vector<SeenHead>& heads) {
  SEALANE_TRY(const auto lock, lock_shortly(files_, path_ + ".lock"));
  SEALANE_TRY(auto known, load());
  bool changed = false;
  for (const SeenHead& head : heads) {
    const auto same = std::ranges::find_if(
        known, [&](const SeenHead& other) { return chain_of(other) == chain_of(head); });
    if (same == known.end()) {
      known.push_back(head);
      changed = true;
    } else if (same->seq == head.seq && same->id != head.id) {
      return chain_problem(head.key_id, head.plan, {repo::ChainFault::kRewritten, head.seq}).error;
    } else if (same->seq < head.seq) {
      *same = head;
      changed = true;
    }
  }
  if (!changed) {
    // An earlier process may have died between its rename and its sync.
    const auto synced = files_.sync_directory(parent_path(path_));
    if (!synced.has_value()) return to_error(synced.error());
    return success();
  }
  const std::string text = format_heads(std::move(known));
  if (text.size() > kMaxFileSize) {
    return Error{ErrorKind::kFailed, printable(path_) + " would grow beyond what is read back"};
  }
  const auto replaced = replace_file(files_, random_, path_, as_bytes(text));
  if (!replaced.has_value()) return to_error(replaced.error());
  return success();
}

SeenHead head_of(const std::string& repository_id, const SnapshotInfo& snapshot) {
  return {.repository = repository_id,
          .key_id = snapshot.key_id,
          .plan = snapshot.plan,
          .seq = snapshot.seq,
          .id = snapshot.id};
}

std::vector<SeenHead> heads_of(const std::string& repository_id,
                               const DirectoryRepository::Listing& listing) {
  std::map<std::string, SeenHead> newest;  // by chain directory
  for (const SnapshotInfo& snapshot : listing.snapshots) {
    const std::string chain = chain_directory(snapshot.key_id, snapshot.plan);
    const bool doubtful = std::ranges::any_of(listing.problems, [&](const Problem& problem) {
      return problem.where.starts_with(chain + "/");
    });
    if (doubtful) continue;
    SeenHead head = head_of(repository_id, snapshot);
    const auto [at, added] = newest.try_emplace(chain, head);
    if (!added && at->second.seq < head.seq) at->second = std::move(head);
  }
  std::vector<SeenHead> heads;
  heads.reserve(newest.size());
  for (auto& [chain, head] : newest) heads.push_back(std::move(head));
  return heads;
}

std::vector<Problem> check_heads(const std::string& repository_id,
                                 const DirectoryRepository::Listing& listing,
                                 const std::vector<SeenHead>& seen) {
  std::vector<Problem> problems;
  for (const SeenHead& head : seen) {
    if (head.repository != repository_id) continue;
    // A host that the trust file does not name (any more) is left out of the listing on purpose.
    const auto unpinned = [&](const Problem& problem) {
      return problem.where == "hosts/" + head.key_id;
    };
    if (std::ranges::any_of(listing.problems, unpinned)) continue;
    std::vector<repo::ChainLink> links;
    for (const SnapshotInfo& snapshot : listing.snapshots) {
      if (snapshot.key_id != head.key_id || snapshot.plan != head.plan) continue;
      links.push_back({snapshot.seq, snapshot.id, snapshot.previous});
    }
    for (const repo::ChainProblem& problem :
         repo::check_chain(links, repo::ChainHead{head.seq, head.id})) {
      // The chain itself is checked by the listing.
      if (problem.fault == repo::ChainFault::kRolledBack ||
          problem.fault == repo::ChainFault::kRewritten) {
        problems.push_back(chain_problem(head.key_id, head.plan, problem));
      }
    }
  }
  return problems;
}

}  // namespace sealane::store
