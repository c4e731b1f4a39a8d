// Goal: what was acknowledged survives every failure and every power loss; what was not leaves the
// repository readable and clean; a second try succeeds. Method: each durable operation is run again
// and again, and call 0, 1, 2 … of the file-system seam fails, or is the last one before the
// process dies or the power goes, until the operation no longer reaches that call. After a power
// loss several seeds decide what of the un-synced survives.
#include <gtest/gtest.h>

#include <cerrno>
#include <set>

#include "store/heads.h"
#include "tests/store/repository_support.h"

namespace sealane::store {
namespace {

using namespace std::chrono_literals;

// One operation in a world of its own; the same each time it is made.
class Scenario {
 public:
  Scenario() {
    trust_.add(trusted(host_, "shop"));
    trust_.add(trusted(keeper_, "keeper", {{"repo:forget", {"*"}}}));
  }
  virtual ~Scenario() = default;
  virtual Result<void, Error> act() = 0;
  // Everything acknowledged so far is there, and nothing is damaged. `done`: act() has succeeded
  // and tidied up behind earlier tries.
  virtual void check(bool done) = 0;
  testing::SimulatedFiles& files() { return world_.files; }

 protected:
  DirectoryRepository repository(const std::string& path = "/vault/r") {
    auto opened = DirectoryRepository::open(world_.seams, path);
    EXPECT_TRUE(opened.has_value()) << opened.error().message;
    return opened.value();
  }
  void init() {
    auto made = DirectoryRepository::init(world_.seams, "/vault/r");
    ASSERT_TRUE(made.has_value()) << made.error().message;
  }
  Result<void, Error> write(const std::string& plan = "shop") {
    world_.clock.advance(24h);
    auto opened = DirectoryRepository::open(world_.seams, "/vault/r");
    if (!opened.has_value()) return opened.error();
    const Objects objects = some_objects(std::to_string(++count_), 5000);
    SEALANE_TRY(const auto info, write_snapshot(opened.value(), host_, plan, objects));
    acknowledged_.emplace_back(info, objects);
    return success();
  }
  // Every acknowledged snapshot is in `repository` with its content, if it is not forgotten.
  void check_repository(DirectoryRepository& repository, bool all_acknowledged = true) {
    const auto report = repository.verify(
        {.trust = &trust_, .seen = {}, .plan = {}, .host = {}, .progress = {}, .open = {}});
    ASSERT_TRUE(report.has_value()) << report.error().message;
    for (const Problem& problem : report.value().problems) {
      // A copy goes on around what it could not read, and says so; the next one fills the gap.
      const bool gap = problem.error.message.ends_with("is missing, though later ones are there");
      if (gap && !all_acknowledged) continue;
      ADD_FAILURE() << problem.where << ": " << problem.error.message;
    }
    const auto listing = repository.list(&trust_);
    ASSERT_TRUE(listing.has_value()) << listing.error().message;
    for (const auto& [info, objects] : acknowledged_) {
      const auto found = std::ranges::find(listing.value().snapshots, info.id, &SnapshotInfo::id);
      if (found == listing.value().snapshots.end()) {
        EXPECT_FALSE(all_acknowledged) << "snapshot " << info.seq << " is lost";
        continue;
      }
      EXPECT_EQ(found->received, info.received);
      if (found->forgotten) continue;
      for (const auto& [file, content] : objects) {
        EXPECT_EQ(content_of(repository, *found, file), content);
      }
    }
  }
  void check_no_left_overs() {
    for (const std::string& path : files().all_paths()) {
      EXPECT_EQ(path.find("/.tmp-"), std::string::npos) << path;
      EXPECT_EQ(path.find("/.copy-"), std::string::npos) << path;
    }
  }

  World world_;
  identity::SigningKey host_ = test_key(1);
  identity::SigningKey keeper_ = test_key(3);
  identity::TrustStore trust_;
  std::vector<std::pair<SnapshotInfo, Objects>> acknowledged_;
  int count_ = 0;
};

enum class Fault { kCallFails, kProcessDies, kPowerLoss };

// How many calls the operation makes, so that a test can say that there was something to break.
template <class S>
std::uint64_t break_every_call(std::uint64_t power_seeds = 6) {
  std::vector<std::pair<Fault, std::uint64_t>> modes{{Fault::kCallFails, 0},
                                                     {Fault::kProcessDies, 0}};
  for (std::uint64_t seed = 0; seed < power_seeds; ++seed) {
    modes.emplace_back(Fault::kPowerLoss, seed);
  }
  S undisturbed;
  undisturbed.files().reset_count();
  EXPECT_TRUE(undisturbed.act().has_value());
  const std::uint64_t calls = undisturbed.files().call_count();
  const std::set<std::uint64_t> changing = undisturbed.files().changing_calls();
  for (const auto& [fault, seed] : modes) {
    for (std::uint64_t number = 0; number <= calls; ++number) {
      // To stop at a call that only reads leaves the same disk as to stop at the next that does
      // not; `calls` itself stops behind the last.
      if (fault != Fault::kCallFails && number < calls && !changing.contains(number)) continue;
      SCOPED_TRACE("fault " + std::to_string(static_cast<int>(fault)) + ", seed " +
                   std::to_string(seed) + ", call " + std::to_string(number));
      S scenario;
      testing::SimulatedFiles& files = scenario.files();
      files.reset_count();
      if (fault == Fault::kCallFails) {
        files.fail_call(number, number % 2 == 0 ? EIO : ENOSPC);
      } else {
        files.stop_at_call(number);
      }
      const auto first = scenario.act();
      EXPECT_TRUE(first.has_value() || number < calls) << first.error().message;
      EXPECT_TRUE(first.has_value() || first.error().message.size() > 10);
      files.clear_faults();
      if (fault == Fault::kProcessDies) files.restart_process();
      if (fault == Fault::kPowerLoss)
        files.restart_after_power_loss(seed * 1000 + number * 4 + seed);
      scenario.check(false);

      const auto second = scenario.act();
      EXPECT_TRUE(second.has_value()) << second.error().message;
      scenario.check(true);
      // What the second try acknowledged must not lean on what the first left un-synced.
      files.restart_after_power_loss(number % 3 == 0 ? 0 : seed * 77 + number);
      scenario.check(true);
      if (::testing::Test::HasFailure()) return number;
    }
  }
  return calls;
}

// An init that was cut short is either begun again, or was far enough to go on with.
class Initialising : public Scenario {
 public:
  Result<void, Error> act() override {
    auto made = DirectoryRepository::init(world_.seams, "/vault/r");
    if (!made.has_value() && !DirectoryRepository::open(world_.seams, "/vault/r").has_value()) {
      return made.error();
    }
    return write();
  }
  void check(bool done) override {
    const auto opened = DirectoryRepository::open(world_.seams, "/vault/r");
    if (opened.has_value()) {
      auto there = opened.value();
      check_repository(there);
    } else {
      EXPECT_FALSE(done) << opened.error().message;
      EXPECT_EQ(opened.error().kind, ErrorKind::kRepositoryMissing) << opened.error().message;
    }
    if (done) check_no_left_overs();
  }
};
TEST(Durability, OfInit) { EXPECT_GT(break_every_call<Initialising>(), 10u); }

class WritingTheFirst : public Scenario {
 public:
  WritingTheFirst() { init(); }
  Result<void, Error> act() override { return write(); }
  void check(bool done) override {
    auto there = repository();
    check_repository(there);
    if (done) check_no_left_overs();
  }
};
TEST(Durability, OfAFirstSnapshot) { EXPECT_GT(break_every_call<WritingTheFirst>(), 30u); }

class WritingAnother : public WritingTheFirst {
 public:
  WritingAnother() {
    EXPECT_TRUE(write().has_value());
    EXPECT_TRUE(write().has_value());
  }
};
TEST(Durability, OfAnotherSnapshot) { EXPECT_GT(break_every_call<WritingAnother>(), 30u); }

class Proving : public Scenario {
 public:
  Proving() {
    init();
    EXPECT_TRUE(write().has_value());
  }
  Result<void, Error> act() override {
    auto opened = DirectoryRepository::open(world_.seams, "/vault/r");
    if (!opened.has_value()) return opened.error();
    SEALANE_TRY(opened.value().write_proof(host_, {.snapshot = acknowledged_[0].first.id,
                                                   .prover = {},
                                                   .prover_name = "shop",
                                                   .time = world_.clock.wall_now(),
                                                   .level = repo::FingerprintLevel::kContent,
                                                   .outcome = repo::ProofOutcome::kEqual,
                                                   .target = "SQLite",
                                                   .fingerprint = {}}));
    proven_ = true;
    return success();
  }
  void check(bool done) override {
    auto there = repository();
    check_repository(there);
    const auto found = there.find("latest", &trust_);
    ASSERT_TRUE(found.has_value());
    EXPECT_TRUE(found.value().proven || !proven_);
    if (done) check_no_left_overs();
  }

 private:
  bool proven_ = false;
};
TEST(Durability, OfAProof) { EXPECT_GT(break_every_call<Proving>(), 10u); }

class Forgetting : public Scenario {
 public:
  Forgetting() {
    init();
    for (int i = 0; i < 4; ++i) EXPECT_TRUE(write().has_value());
    EXPECT_TRUE(repository()
                    .write_proof(host_, {.snapshot = acknowledged_[1].first.id,
                                         .prover = {},
                                         .prover_name = "shop",
                                         .time = world_.clock.wall_now(),
                                         .level = repo::FingerprintLevel::kContent,
                                         .outcome = repo::ProofOutcome::kEqual,
                                         .target = "SQLite",
                                         .fingerprint = {}})
                    .has_value());
  }
  Result<void, Error> act() override {
    auto opened = DirectoryRepository::open(world_.seams, "/vault/r");
    if (!opened.has_value()) return opened.error();
    SEALANE_TRY(
        const auto report,
        opened.value().forget(keeper_, &trust_,
                              {.rules = {.last = 1}, .plan = {}, .host = {}, .dry_run = false}));
    // A document that could not be read is no reason to fail, but to leave its chain alone.
    if (!report.problems.empty()) return report.problems[0].error;
    return success();
  }
  void check(bool done) override {
    auto there = repository();
    check_repository(there);
    const auto snapshots = there.list(&trust_).value().snapshots;
    ASSERT_EQ(snapshots.size(), 4u) << "commits stay";
    EXPECT_FALSE(snapshots[1].forgotten) << "the last proven";
    EXPECT_FALSE(snapshots[3].forgotten) << "the newest";
    if (!done) return;
    EXPECT_TRUE(snapshots[0].forgotten && snapshots[2].forgotten);
    // A deletion may be undone by a power loss; the next run does it again.
    EXPECT_TRUE(act().has_value());
    for (const std::string& path : files().all_paths()) {
      for (const char* folder : {"/0000000001/", "/0000000003/"}) {
        if (path.find(folder) != std::string::npos) {
          EXPECT_FALSE(path.ends_with(".age")) << path << " should be deleted";
        }
      }
    }
    check_no_left_overs();
  }
};
TEST(Durability, OfForget) { EXPECT_GT(break_every_call<Forgetting>(4), 80u); }

class Copying : public Scenario {
 public:
  Copying() {
    init();
    EXPECT_TRUE(write().has_value());
    EXPECT_TRUE(write().has_value());
    auto there = repository();
    EXPECT_TRUE(there
                    .write_proof(host_, {.snapshot = acknowledged_[1].first.id,
                                         .prover = {},
                                         .prover_name = "shop",
                                         .time = world_.clock.wall_now(),
                                         .level = repo::FingerprintLevel::kContent,
                                         .outcome = repo::ProofOutcome::kEqual,
                                         .target = "SQLite",
                                         .fingerprint = {}})
                    .has_value());
    EXPECT_TRUE(there
                    .forget(keeper_, nullptr,
                            {.rules = {.last = 1}, .plan = {}, .host = {}, .dry_run = false})
                    .has_value());
    // Two come as objects, one as a commit without them.
    EXPECT_TRUE(write().has_value());
  }
  Result<void, Error> act() override {
    auto opened = DirectoryRepository::open(world_.seams, "/vault/r");
    if (!opened.has_value()) return opened.error();
    SEALANE_TRY(const auto report, opened.value().copy_to("/vault/copy", &trust_));
    if (!report.problems.empty()) return report.problems[0].error;
    return success();
  }
  void check(bool done) override {
    auto source = repository();
    check_repository(source);
    auto copy = DirectoryRepository::open(world_.seams, "/vault/copy");
    if (!copy.has_value()) {
      EXPECT_FALSE(done) << copy.error().message;
      EXPECT_EQ(copy.error().kind, ErrorKind::kRepositoryMissing) << copy.error().message;
      return;
    }
    EXPECT_EQ(copy.value().id(), source.id());
    check_repository(copy.value(), done);
    if (!done) return;
    const auto copied = copy.value().list(&trust_).value().snapshots;
    const auto original = source.list(&trust_).value().snapshots;
    ASSERT_EQ(copied.size(), original.size());
    for (std::size_t i = 0; i < copied.size(); ++i) {
      EXPECT_EQ(copied[i].proven, original[i].proven);
      EXPECT_EQ(copied[i].forgotten, original[i].forgotten);
    }
    check_no_left_overs();
  }
};
TEST(Durability, OfCopy) { EXPECT_GT(break_every_call<Copying>(4), 100u); }

class Remembering : public Scenario {
 public:
  Remembering() { EXPECT_TRUE(memory_.remember({head(1), head(2, "web")}).has_value()); }
  Result<void, Error> act() override { return memory_.remember({head(2)}); }
  void check(bool done) override {
    const auto heads = memory_.load();
    ASSERT_TRUE(heads.has_value()) << heads.error().message;
    ASSERT_EQ(heads.value().size(), 2u);
    EXPECT_EQ(heads.value()[1], head(2, "web"));
    EXPECT_TRUE(heads.value()[0] == head(2) || (!done && heads.value()[0] == head(1)));
  }

 private:
  static SeenHead head(std::uint64_t seq, const std::string& plan = "shop") {
    return {std::string(32, 'a'), std::string(64, 'b'), plan, seq,
            std::string(64, static_cast<char>('0' + seq))};
  }
  HeadMemory memory_{world_.files, world_.random, "/state/heads"};
};
TEST(Durability, OfRememberedHeads) { EXPECT_GT(break_every_call<Remembering>(), 5u); }

// Copying again after every stop, as a user on a bad line would: it gets there.
TEST(Durability, OfACopyThatDiesOverAndOver) {
  for (std::uint64_t seed = 0; seed < 8; ++seed) {
    Copying scenario;
    int tries = 0;
    for (;; ++tries) {
      ASSERT_LT(tries, 100);
      scenario.files().reset_count();
      scenario.files().stop_at_call(20 + 7 * static_cast<std::uint64_t>(tries));
      const auto copied = scenario.act();
      const bool stopped = scenario.files().stopped();
      scenario.files().restart_after_power_loss(seed + static_cast<std::uint64_t>(tries) * 8);
      if (!stopped) {
        ASSERT_TRUE(copied.has_value()) << copied.error().message;
        break;
      }
      scenario.check(false);
    }
    EXPECT_GT(tries, 5);
    scenario.check(true);
  }
}

}  // namespace
}  // namespace sealane::store
