// Goal: a repository keeps what it acknowledged, gives it back unchanged, and notices every change
// by others. Method: a disk in memory, tampered with file by file.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <unistd.h>

#include "repo/commit.h"
#include "repo/proof.h"
#include "store/heads.h"
#include "store/place.h"
#include "tests/store/repository_support.h"

namespace sealane::store {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using namespace std::chrono_literals;

class Repository : public ::testing::Test {
 protected:
  Repository() {
    trust_.add(trusted(host_, "shop"));
    trust_.add(trusted(prover_, "prover", {}, {"sealane-proof@v1"}));
    trust_.add(trusted(keeper_, "keeper", {{"repo:forget", {"plan:shop"}}}));
  }

  SnapshotInfo write(const std::string& plan = "shop") {
    ++count_;
    world_.clock.advance(24h);
    auto info = write_snapshot(repository_, host_, plan, some_objects(std::to_string(count_)));
    EXPECT_TRUE(info.has_value()) << info.error().message;
    return info.value();
  }
  void prove(const SnapshotInfo& snapshot, const identity::SigningKey& prover,
             repo::ProofOutcome outcome = repo::ProofOutcome::kEqual) {
    const auto file = repository_.write_proof(prover, {.snapshot = snapshot.id,
                                                       .prover = {},
                                                       .prover_name = "prover",
                                                       .time = world_.clock.wall_now(),
                                                       .level = repo::FingerprintLevel::kContent,
                                                       .outcome = outcome,
                                                       .target = "SQLite 3.40 in memory",
                                                       .fingerprint = std::string(64, 'a')});
    ASSERT_TRUE(file.has_value()) << file.error().message;
    EXPECT_THAT(world_.files.all_paths(), ::testing::Contains("/vault/r/" + file.value()));
  }
  VerifyReport verify(std::vector<SeenHead> seen = {}) {
    auto report = repository_.verify({.trust = &trust_,
                                      .seen = std::move(seen),
                                      .plan = {},
                                      .host = {},
                                      .progress = {},
                                      .open = {}});
    EXPECT_TRUE(report.has_value()) << report.error().message;
    return report.value();
  }
  std::string path(const SnapshotInfo& snapshot, const std::string& file) {
    return "/vault/r/" + snapshot.directory + "/" + file;
  }
  void flip(const std::string& path, std::uint64_t offset = 10) {
    auto file = world_.files.open(path, OpenMode::kReadWrite);
    ASSERT_TRUE(file.has_value()) << path;
    Bytes byte(1);
    ASSERT_EQ(file.value()->read_at(offset, byte).value(), 1u);
    byte[0] ^= std::byte{1};
    ASSERT_TRUE(file.value()->write_at(offset, byte).has_value());
  }
  void remove_snapshot(const SnapshotInfo& snapshot) {
    ASSERT_TRUE(remove_entry(world_.files, "/vault/r/" + snapshot.directory, FileType::kDirectory)
                    .has_value());
  }
  static std::vector<std::string> messages(const std::vector<Problem>& problems) {
    std::vector<std::string> out;
    for (const Problem& problem : problems) out.push_back(problem.error.message);
    return out;
  }

  World world_;
  identity::SigningKey host_ = test_key(1);
  identity::SigningKey prover_ = test_key(2);
  identity::SigningKey keeper_ = test_key(3);
  identity::TrustStore trust_;
  DirectoryRepository repository_ = DirectoryRepository::init(world_.seams, "/vault/r").value();
  int count_ = 0;
};

TEST_F(Repository, GivesBackWhatWasWritten) {
  const SnapshotInfo first = write();
  const SnapshotInfo second = write();
  EXPECT_EQ(first.seq, 1u);
  EXPECT_EQ(first.previous, "");
  EXPECT_EQ(second.seq, 2u);
  EXPECT_EQ(second.previous, first.id);
  EXPECT_EQ(second.received, world_.clock.wall_now());
  EXPECT_EQ(to_rfc3339(second.host_time), "2026-11-20T13:00:00Z");
  EXPECT_EQ(second.host, identity::fingerprint(host_.public_key()));

  auto again = DirectoryRepository::open(world_.seams, "/vault/r");
  ASSERT_TRUE(again.has_value()) << again.error().message;
  EXPECT_EQ(again.value().id(), repository_.id());
  const auto listing = again.value().list(&trust_);
  ASSERT_TRUE(listing.has_value());
  EXPECT_THAT(messages(listing.value().problems), IsEmpty());
  ASSERT_THAT(listing.value().snapshots, SizeIs(2));
  const SnapshotInfo& read = listing.value().snapshots[1];
  EXPECT_EQ(read.id, second.id);
  EXPECT_EQ(read.directory, second.directory);
  EXPECT_EQ(read.received, second.received);
  EXPECT_EQ(read.host_name, "shop.example");
  EXPECT_EQ(read.objects, second.objects);
  for (const auto& [file, content] : some_objects("2")) {
    EXPECT_EQ(content_of(repository_, second, file), content);
    EXPECT_TRUE(repository_.verify_object(second, file).has_value());
  }
  EXPECT_EQ(repository_.open_object(second, "other").error().kind, ErrorKind::kUsage);
  const VerifyReport report = verify();
  EXPECT_THAT(messages(report.problems), IsEmpty());
  EXPECT_EQ(report.snapshots, 2u);
  EXPECT_EQ(report.objects, 6u);
}

TEST_F(Repository, StartsOnlyWhereNothingIs) {
  EXPECT_EQ(DirectoryRepository::init(world_.seams, "/vault/r").error().kind, ErrorKind::kUsage);
  EXPECT_EQ(DirectoryRepository::init(world_.seams, "/vault").error().kind, ErrorKind::kUsage);
  ASSERT_TRUE(world_.files.create_directory("/vault/empty").has_value());
  EXPECT_TRUE(DirectoryRepository::init(world_.seams, "/vault/empty").has_value());
  EXPECT_NE(DirectoryRepository::open(world_.seams, "/vault/empty").value().id(), repository_.id());
  EXPECT_EQ(DirectoryRepository::init(world_.seams, "/no/such").error().kind, ErrorKind::kFailed);
  for (const char* path : {"/nothing", "/vault", "/vault/r/repo.json"}) {
    const auto opened = DirectoryRepository::open(world_.seams, path);
    ASSERT_FALSE(opened.has_value()) << path;
    EXPECT_EQ(opened.error().kind, ErrorKind::kRepositoryMissing) << path;
    EXPECT_THAT(opened.error().message, HasSubstr("repo init"));
  }
}

TEST_F(Repository, TellsANewerFormatFromDamage) {
  const auto replace = [&](std::string_view text) {
    ASSERT_TRUE(replace_file(world_.files, world_.random, "/vault/r/repo.json", as_bytes(text))
                    .has_value());
  };
  replace("{\"format\": 2, \"new\": true}\n");
  EXPECT_EQ(DirectoryRepository::open(world_.seams, "/vault/r").error(),
            (Error{ErrorKind::kFailed,
                   "the repository at /vault/r was made by a newer Sealane; use "
                   "that or a later one"}));
  replace("{\"format\": 1}\n");
  EXPECT_EQ(DirectoryRepository::open(world_.seams, "/vault/r").error().kind,
            ErrorKind::kVerificationFailed);
  replace(std::string(10'000, ' '));
  EXPECT_EQ(DirectoryRepository::open(world_.seams, "/vault/r").error().kind,
            ErrorKind::kVerificationFailed);
}

TEST_F(Repository, HasOneWriterPerChain) {
  auto writer = repository_.begin(host_.public_key(), "shop");
  ASSERT_TRUE(writer.has_value());
  const auto other = repository_.begin(host_.public_key(), "shop");
  ASSERT_FALSE(other.has_value());
  EXPECT_EQ(other.error().kind, ErrorKind::kLocked);
  EXPECT_THAT(other.error().message, HasSubstr("process " + std::to_string(::getpid())));
  EXPECT_TRUE(repository_.begin(host_.public_key(), "web").has_value()) << "another chain is free";
  EXPECT_TRUE(repository_.begin(prover_.public_key(), "shop").has_value());
  writer.value().reset();
  EXPECT_TRUE(repository_.begin(host_.public_key(), "shop").has_value());
}

TEST_F(Repository, ShowsNothingThatIsNotCommitted) {
  {
    auto writer = repository_.begin(host_.public_key(), "shop");
    ASSERT_TRUE(writer.has_value());
    ASSERT_TRUE(writer.value()->begin_object("0-database.zst.age").has_value());
    ASSERT_TRUE(writer.value()->append(as_bytes("half")).has_value());
    EXPECT_THAT(repository_.list(&trust_).value().snapshots, IsEmpty());
  }
  for (const std::string& path : world_.files.all_paths()) {
    EXPECT_THAT(path, ::testing::Not(HasSubstr(".tmp-"))) << "the writer cleans up behind itself";
  }
}

TEST_F(Repository, TakesObjectsInOrderOnly) {
  auto writer = repository_.begin(host_.public_key(), "shop").value();
  for (const char* bad : {"1-x.zst.age", "0-X.zst.age", "../x", "0-a/b.zst.age", "commit", ""}) {
    EXPECT_EQ(writer->begin_object(bad).error().kind, ErrorKind::kUsage) << bad;
  }
  ASSERT_TRUE(writer->begin_object("details.age").has_value());
  ASSERT_TRUE(writer->finish_object(crypto::sha256({})).has_value());
  EXPECT_EQ(writer->begin_object("0-x.zst.age").error().kind, ErrorKind::kUsage);
  EXPECT_EQ(writer->commit(host_, "", {}).error().kind, ErrorKind::kUsage) << "no host name";
  for (const char* bad : {"", "../x", "Shop", "a/b", ".tmp-x"}) {
    EXPECT_EQ(repository_.begin(host_.public_key(), bad).error().kind, ErrorKind::kUsage) << bad;
  }
}

TEST_F(Repository, FindsByPrefixAndLatest) {
  EXPECT_EQ(repository_.find("latest", &trust_).error().kind, ErrorKind::kUsage);
  const SnapshotInfo first = write("shop");
  const SnapshotInfo second = write("web");
  EXPECT_EQ(repository_.find(first.id, &trust_).value().id, first.id);
  EXPECT_EQ(repository_.find(first.id.substr(0, 8), &trust_).value().id, first.id);
  EXPECT_EQ(repository_.find("latest", &trust_).value().id, second.id);
  EXPECT_EQ(repository_.find("latest:shop", &trust_).value().id, first.id);
  EXPECT_EQ(repository_.find("latest:shop.example/shop", &trust_).value().id, first.id);
  EXPECT_EQ(repository_.find("latest:" + first.host + "/shop", &trust_).value().id, first.id);
  for (const std::string bad :
       {"", "x", "abc", "latest:", "latest:mail", "latest:other/shop", "../../etc", "ABCDEF"}) {
    const auto found = repository_.find(bad, &trust_);
    if (bad == "latest:") continue;  // of any plan
    ASSERT_FALSE(found.has_value()) << bad;
    EXPECT_EQ(found.error().kind, ErrorKind::kUsage) << bad;
  }
  ASSERT_TRUE(write_snapshot(repository_, prover_, "shop", some_objects("x")).has_value());
  const auto ambiguous = repository_.find("latest:shop", nullptr);
  ASSERT_FALSE(ambiguous.has_value());
  EXPECT_THAT(ambiguous.error().message, HasSubstr("several hosts"));
}

TEST_F(Repository, NamesTheObjectThatIsDamaged) {
  const SnapshotInfo first = write();
  const SnapshotInfo second = write();
  flip(path(second, "0-database.zst.age"), 1000);
  VerifyReport report = verify();
  ASSERT_THAT(report.problems, SizeIs(1));
  EXPECT_EQ(report.problems[0].where, second.directory + "/0-database.zst.age");
  EXPECT_EQ(report.problems[0].error.kind, ErrorKind::kVerificationFailed);
  EXPECT_THAT(report.problems[0].error.message, HasSubstr("0-database.zst.age is damaged"));
  flip(path(second, "0-database.zst.age"), 1000);
  EXPECT_THAT(verify().problems, IsEmpty());

  ASSERT_TRUE(world_.files.remove(path(first, "details.age")).has_value());
  report = verify();
  ASSERT_THAT(report.problems, SizeIs(1));
  EXPECT_THAT(report.problems[0].error.message, HasSubstr("details.age is missing"));
  EXPECT_EQ(repository_.open_object(first, "details.age").error().kind,
            ErrorKind::kVerificationFailed);

  auto file = world_.files.open(path(second, "1-roles.zst.age"), OpenMode::kAppendOrCreate).value();
  ASSERT_TRUE(file->write(as_bytes("x")).has_value());
  EXPECT_THAT(repository_.open_object(second, "1-roles.zst.age").error().message,
              HasSubstr("bytes, not the"));

  ASSERT_TRUE(
      write_new_file(world_.files, path(second, "2-evil.zst.age"), as_bytes("x")).has_value());
  report = verify();
  EXPECT_THAT(messages(report.problems), ::testing::Contains(HasSubstr("does not belong")));
}

TEST_F(Repository, NoticesEveryFlippedByteOfACommit) {
  const SnapshotInfo snapshot = write();
  const std::string commit = path(snapshot, "commit");
  const std::uint64_t size = world_.files.status(commit).value().size;
  for (std::uint64_t offset = 0; offset < size; ++offset) {
    flip(commit, offset);
    const auto listing = repository_.list(&trust_).value();
    // The frame of the armour has lines that mean nothing to the signature.
    if (listing.problems.empty()) {
      ASSERT_THAT(listing.snapshots, SizeIs(1)) << offset;
      EXPECT_EQ(listing.snapshots[0].id, snapshot.id) << offset;
    } else {
      EXPECT_THAT(listing.snapshots, IsEmpty()) << offset;
      EXPECT_EQ(listing.problems[0].error.kind, ErrorKind::kVerificationFailed) << offset;
      EXPECT_EQ(listing.problems[0].where, snapshot.directory + "/commit");
    }
    flip(commit, offset);
  }
  EXPECT_THAT(repository_.list(&trust_).value().problems, IsEmpty());
  flip(commit, 20);
  EXPECT_EQ(repository_.begin(host_.public_key(), "shop").error().kind,
            ErrorKind::kVerificationFailed)
      << "the chain cannot go on from a commit that cannot be read";
}

TEST_F(Repository, NoticesSnapshotsThatWereMoved) {
  const SnapshotInfo first = write();
  const SnapshotInfo second = write();
  const std::string base = "/vault/r/hosts/" + first.key_id;
  ASSERT_TRUE(
      world_.files
          .rename(base + "/shop/0000000002", base + "/shop/0000000003", RenameMode::kNoReplace)
          .has_value());
  EXPECT_THAT(messages(verify().problems),
              ::testing::Contains(HasSubstr("another place in its chain")));
  ASSERT_TRUE(
      world_.files
          .rename(base + "/shop/0000000003", base + "/shop/0000000002", RenameMode::kNoReplace)
          .has_value());
  ASSERT_TRUE(
      world_.files.rename(base + "/shop", base + "/web", RenameMode::kNoReplace).has_value());
  EXPECT_THAT(messages(verify().problems), ::testing::Each(HasSubstr("another plan")));
  ASSERT_TRUE(
      world_.files.rename(base + "/web", base + "/shop", RenameMode::kNoReplace).has_value());
  const std::string other = "/vault/r/hosts/" + repo::key_id(prover_.public_key());
  ASSERT_TRUE(world_.files.rename(base, other, RenameMode::kNoReplace).has_value());
  EXPECT_THAT(messages(verify().problems), ::testing::Each(HasSubstr("another host")));
  EXPECT_EQ(second.seq, 2u);
}

TEST_F(Repository, LatestOfTwoPlansInOneSecondIsAQuestion) {
  write();
  const auto other = write_snapshot(repository_, host_, "web", some_objects("web"));
  ASSERT_TRUE(other.has_value());
  const auto both = repository_.find("latest", &trust_);
  ASSERT_FALSE(both.has_value());
  EXPECT_EQ(both.error().kind, ErrorKind::kUsage);
  EXPECT_THAT(both.error().message,
              ::testing::AllOf(HasSubstr("shop"), HasSubstr("web"), HasSubstr("latest:PLAN")));
  EXPECT_EQ(repository_.find("latest:web", &trust_).value().id, other.value().id);
  // What is newer than both is the latest again.
  world_.clock.advance(std::chrono::seconds(1));
  const auto newest = write_snapshot(repository_, host_, "shop", some_objects("later"));
  ASSERT_TRUE(newest.has_value());
  EXPECT_EQ(repository_.find("latest", &trust_).value().id, newest.value().id);
}

TEST_F(Repository, BelievesPinnedKeysOnly) {
  write();
  const identity::SigningKey stranger = test_key(9);
  const auto foreign = write_snapshot(repository_, stranger, "shop", some_objects("evil"));
  ASSERT_TRUE(foreign.has_value());
  const auto listing = repository_.list(&trust_).value();
  EXPECT_THAT(listing.snapshots, SizeIs(1));
  ASSERT_THAT(listing.problems, SizeIs(1));
  EXPECT_EQ(listing.problems[0].error.kind, ErrorKind::kPinMismatch);
  EXPECT_THAT(listing.problems[0].error.message, HasSubstr(foreign.value().host));
  EXPECT_THAT(repository_.list(nullptr).value().snapshots, SizeIs(2));
  EXPECT_EQ(repository_.find("latest", &trust_).value().host,
            identity::fingerprint(host_.public_key()));

  // A key that may sign other things only, or not at that time.
  ASSERT_TRUE(write_snapshot(repository_, prover_, "shop", some_objects("prover")).has_value());
  EXPECT_THAT(messages(verify().problems), ::testing::Contains(HasSubstr("not allowed to")));
  identity::TrustStore expired;
  identity::TrustedKey key = trusted(host_, "shop");
  key.valid_before = world_.clock.wall_now() - 24h;
  expired.add(key);
  EXPECT_THAT(repository_.list(&expired).value().snapshots, IsEmpty());
}

TEST_F(Repository, NoticesAGapARollbackAndARewrite) {
  write();
  const SnapshotInfo second = write();
  const SnapshotInfo third = write();
  HeadMemory memory(world_.files, world_.random, "/state/heads");
  EXPECT_THAT(memory.load().value(), IsEmpty());
  ASSERT_TRUE(
      memory.remember(heads_of(repository_.id(), repository_.list(&trust_).value())).has_value());
  const auto seen = memory.load().value();
  EXPECT_THAT(seen, ElementsAre(head_of(repository_.id(), third)));
  EXPECT_THAT(verify(seen).problems, IsEmpty());

  remove_snapshot(third);
  EXPECT_THAT(verify().problems, IsEmpty()) << "without memory it looks whole";
  auto problems = verify(seen).problems;
  ASSERT_THAT(problems, SizeIs(1));
  EXPECT_EQ(problems[0].error.kind, ErrorKind::kVerificationFailed);
  EXPECT_THAT(problems[0].error.message, HasSubstr("rolled back"));
  const auto refused = repository_.begin(host_.public_key(), "shop", seen);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().kind, ErrorKind::kVerificationFailed);

  const SnapshotInfo other = write();  // a third one, of another history
  EXPECT_EQ(other.seq, 3u);
  EXPECT_THAT(messages(verify(seen).problems), ElementsAre(HasSubstr("rewritten")));
  EXPECT_EQ(repository_.begin(host_.public_key(), "shop", seen).error().kind,
            ErrorKind::kVerificationFailed);
  EXPECT_EQ(memory.remember({head_of(repository_.id(), other)}).error().kind,
            ErrorKind::kVerificationFailed);
  write();
  EXPECT_EQ(repository_.begin(host_.public_key(), "shop", seen).error().kind,
            ErrorKind::kVerificationFailed)
      << "also when it has gone on since";
  EXPECT_TRUE(repository_.begin(host_.public_key(), "web", seen).has_value());

  remove_snapshot(second);
  EXPECT_THAT(messages(verify().problems), ElementsAre(HasSubstr("snapshot 2 of plan shop")));
  EXPECT_THAT(repository_.find("latest", &trust_).error().message, HasSubstr("name it by its id"));
  EXPECT_TRUE(repository_.find(other.id, &trust_).has_value());
}

TEST_F(Repository, NoticesAWholeHostThatIsGone) {
  const SnapshotInfo snapshot = write();
  const std::vector<SeenHead> seen{head_of(repository_.id(), snapshot)};
  ASSERT_TRUE(
      world_.files
          .rename("/vault/r/hosts/" + snapshot.key_id, "/vault/gone", RenameMode::kNoReplace)
          .has_value());
  EXPECT_THAT(messages(verify(seen).problems), ElementsAre(HasSubstr("rolled back")));
}

TEST_F(Repository, KeepsProofsAndBelievesTrustedProvers) {
  const SnapshotInfo snapshot = write();
  EXPECT_FALSE(repository_.find("latest", &trust_).value().proven);
  prove(snapshot, test_key(9));
  const SnapshotInfo unknown = repository_.find("latest", &trust_).value();
  EXPECT_FALSE(unknown.proven) << "an unknown prover";
  const std::string stranger = identity::fingerprint(test_key(9).public_key());
  EXPECT_THAT(unknown.unpinned_provers, ::testing::ElementsAre(stranger));
  EXPECT_TRUE(repository_.find("latest", nullptr).value().proven);
  EXPECT_THAT(repository_.find("latest", nullptr).value().unpinned_provers, IsEmpty());
  prove(snapshot, prover_, repo::ProofOutcome::kDifferent);
  EXPECT_FALSE(repository_.find("latest", &trust_).value().proven);
  world_.clock.advance(1h);
  prove(snapshot, prover_);
  prove(snapshot, prover_);  // the same again is no failure
  const SnapshotInfo found = repository_.find("latest", &trust_).value();
  EXPECT_TRUE(found.proven);
  EXPECT_THAT(found.unpinned_provers, ::testing::ElementsAre(stranger)) << "it still says so";
  EXPECT_EQ(found.proven_at, world_.clock.wall_now());
  EXPECT_EQ(found.proven_level, repo::FingerprintLevel::kContent);

  auto listing = repository_.proofs(snapshot.id, &trust_).value();
  ASSERT_THAT(listing.proofs, SizeIs(3));
  EXPECT_THAT(listing.problems, IsEmpty());
  EXPECT_TRUE(listing.proofs[2].trusted);
  EXPECT_EQ(listing.proofs[2].proof.target, "SQLite 3.40 in memory");
  EXPECT_EQ(repository_.proofs("../x", &trust_).error().kind, ErrorKind::kUsage);

  flip("/vault/r/" + listing.proofs[2].file, 200);
  listing = repository_.proofs(snapshot.id, &trust_).value();
  EXPECT_THAT(listing.proofs, SizeIs(2));
  EXPECT_THAT(listing.problems, SizeIs(1));
  EXPECT_FALSE(repository_.list(&trust_).value().snapshots[0].proven);
  EXPECT_THAT(verify().problems, SizeIs(1));
}

TEST_F(Repository, ForgetsByTheRulesAndSaysSo) {
  std::vector<SnapshotInfo> snapshots;
  for (int i = 0; i < 6; ++i) snapshots.push_back(write());
  prove(snapshots[1], prover_);
  const ForgetOptions options{.rules = {.last = 2}, .plan = "shop", .host = {}, .dry_run = false};
  ForgetOptions dry = options;
  dry.dry_run = true;

  const auto before = world_.files.all_paths();
  const auto planned = repository_.forget(keeper_, &trust_, dry);
  ASSERT_TRUE(planned.has_value()) << planned.error().message;
  EXPECT_EQ(world_.files.all_paths(), before) << "a dry run changes nothing";
  const auto report = repository_.forget(keeper_, &trust_, options);
  ASSERT_TRUE(report.has_value()) << report.error().message;
  EXPECT_EQ(report.value().freed_bytes, planned.value().freed_bytes);
  EXPECT_GT(report.value().freed_bytes, 9000u);
  std::vector<bool> kept;
  for (const auto& decision : report.value().decisions) kept.push_back(!decision.keep.empty());
  EXPECT_THAT(kept, ElementsAre(false, true, false, false, true, true));
  EXPECT_THAT(report.value().decisions[1].keep, ElementsAre(repo::KeepReason::kLastProven));

  const auto listing = repository_.list(&trust_).value();
  EXPECT_THAT(listing.problems, IsEmpty());
  ASSERT_THAT(listing.snapshots, SizeIs(6)) << "commits stay";
  EXPECT_TRUE(listing.snapshots[0].forgotten);
  EXPECT_EQ(listing.snapshots[0].forgotten_at, world_.clock.wall_now());
  EXPECT_FALSE(listing.snapshots[1].forgotten);
  EXPECT_THAT(messages(verify().problems), IsEmpty());
  const auto gone = repository_.open_object(listing.snapshots[0], "details.age");
  EXPECT_THAT(gone.error().message, HasSubstr("was forgotten on"));
  EXPECT_EQ(content_of(repository_, snapshots[1], "details.age"), "details of 2");
  const auto again = repository_.forget(keeper_, &trust_, options).value();
  EXPECT_THAT(again.decisions, SizeIs(3));
  EXPECT_EQ(again.freed_bytes, 0u);
  EXPECT_EQ(write().seq, 7u) << "the chain goes on";
}

TEST_F(Repository, ForgetsOnlyWithTheRightAndARule) {
  write();
  write();
  const ForgetOptions options{.rules = {.last = 1}, .plan = {}, .host = {}, .dry_run = false};
  EXPECT_EQ(repository_.forget(keeper_, &trust_, {}).error().kind, ErrorKind::kUsage);
  for (const auto* key : {&host_, &prover_}) {
    const auto refused = repository_.forget(*key, &trust_, options);
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().kind, ErrorKind::kRefused);
    EXPECT_THAT(refused.error().message, HasSubstr("repo:forget(plan:shop)"));
  }
  write("web");
  EXPECT_EQ(repository_.forget(keeper_, &trust_, options).error().kind, ErrorKind::kRefused)
      << "no right for plan web, so nothing at all is forgotten";
  EXPECT_FALSE(repository_.list(&trust_).value().snapshots[0].forgotten);

  auto writer = repository_.begin(host_.public_key(), "shop");
  ForgetOptions shop = options;
  shop.plan = "shop";
  EXPECT_EQ(repository_.forget(keeper_, &trust_, shop).error().kind, ErrorKind::kLocked);
  // Another chain does not wait for it.
  const identity::SigningKey other = test_key(4);
  for (const char* salt : {"1", "2"}) {
    ASSERT_TRUE(write_snapshot(repository_, other, "shop", some_objects(salt)).has_value());
  }
  identity::TrustStore with_other = trust_;
  with_other.add(trusted(other, "other"));
  const auto partly = repository_.forget(keeper_, &with_other, shop);
  ASSERT_TRUE(partly.has_value()) << partly.error().message;
  EXPECT_THAT(partly.value().decisions, SizeIs(2));
  ASSERT_THAT(partly.value().problems, SizeIs(1));
  EXPECT_EQ(partly.value().problems[0].error.kind, ErrorKind::kLocked);
  writer.value().reset();

  // A record by a key without the right counts for nothing.
  ASSERT_TRUE(repository_.forget(host_, nullptr, shop).has_value());
  const auto listing = repository_.list(&with_other).value();
  for (const SnapshotInfo& snapshot : listing.snapshots) {
    EXPECT_EQ(snapshot.forgotten,
              snapshot.key_id == repo::key_id(other.public_key()) && snapshot.seq == 1);
  }
  ASSERT_THAT(listing.problems, SizeIs(1));
  EXPECT_EQ(listing.problems[0].error.kind, ErrorKind::kPinMismatch);
}

TEST_F(Repository, LeavesADamagedChainAlone) {
  const SnapshotInfo first = write();
  write();
  const SnapshotInfo third = write();
  flip(path(third, "received"), 4);
  const ForgetOptions options{.rules = {.last = 1}, .plan = {}, .host = {}, .dry_run = false};
  const auto report = repository_.forget(keeper_, &trust_, options);
  ASSERT_TRUE(report.has_value()) << report.error().message;
  EXPECT_THAT(report.value().decisions, IsEmpty());
  EXPECT_THAT(report.value().problems, SizeIs(1));
  EXPECT_EQ(content_of(repository_, first, "details.age"), "details of 1");
}

TEST_F(Repository, IsCopiedAsItIs) {
  const SnapshotInfo first = write();
  const SnapshotInfo second = write();
  const SnapshotInfo third = write("web");
  prove(second, prover_);
  ASSERT_TRUE(repository_
                  .forget(keeper_, nullptr,
                          {.rules = {.last = 1}, .plan = {}, .host = {}, .dry_run = false})
                  .has_value());
  world_.clock.advance(1000h);
  auto report = repository_.copy_to("/vault/copy", &trust_);
  ASSERT_TRUE(report.has_value()) << report.error().message;
  // Forgotten by a key of ours: for the trust file here it has the right for plan shop.
  EXPECT_THAT(messages(report.value().problems), IsEmpty());
  EXPECT_EQ(report.value().copied, 3u);
  EXPECT_EQ(report.value().proofs, 1u);
  auto copy = DirectoryRepository::open(world_.seams, "/vault/copy");
  ASSERT_TRUE(copy.has_value());
  const auto original = repository_.list(&trust_).value();
  const auto copied = copy.value().list(&trust_).value();
  ASSERT_THAT(copied.snapshots, SizeIs(3));
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(copied.snapshots[i].id, original.snapshots[i].id);
    EXPECT_EQ(copied.snapshots[i].received, original.snapshots[i].received);
    EXPECT_EQ(copied.snapshots[i].forgotten, original.snapshots[i].forgotten);
    EXPECT_EQ(copied.snapshots[i].proven, original.snapshots[i].proven);
  }
  EXPECT_TRUE(copied.snapshots[0].forgotten);
  EXPECT_EQ(content_of(copy.value(), third, "details.age"), "details of 3");
  EXPECT_THAT(
      copy.value()
          .verify(
              {.trust = &trust_, .seen = {}, .plan = {}, .host = {}, .progress = {}, .open = {}})
          .value()
          .problems,
      IsEmpty());
  report = repository_.copy_to("/vault/copy", &trust_);
  EXPECT_EQ(report.value().copied, 0u);
  EXPECT_EQ(report.value().skipped, 3u);
  EXPECT_EQ(report.value().bytes, 0u);
  EXPECT_EQ(first.seq, 1u);
}

TEST_F(Repository, CopyRefusesAnotherRepositoryAForkAndDamage) {
  ASSERT_TRUE(DirectoryRepository::init(world_.seams, "/vault/other").has_value());
  EXPECT_EQ(repository_.copy_to("/vault/other", &trust_).error().kind, ErrorKind::kUsage);

  const SnapshotInfo first = write();
  ASSERT_TRUE(repository_.copy_to("/vault/copy", &trust_).has_value());
  auto copy = DirectoryRepository::open(world_.seams, "/vault/copy").value();
  ASSERT_TRUE(write_snapshot(copy, host_, "shop", some_objects("clone")).has_value());
  auto report = repository_.copy_to("/vault/copy", &trust_);
  ASSERT_TRUE(report.has_value());
  EXPECT_THAT(messages(report.value().problems), ElementsAre(HasSubstr("rolled back")))
      << "the copy knows a snapshot that its source has lost";
  const SnapshotInfo second = write();
  const auto forked = repository_.copy_to("/vault/copy", &trust_);
  ASSERT_FALSE(forked.has_value());
  EXPECT_EQ(forked.error().kind, ErrorKind::kVerificationFailed);
  EXPECT_THAT(forked.error().message, HasSubstr("in use on two machines"));

  flip(path(second, "0-database.zst.age"));
  report = repository_.copy_to("/vault/third", &trust_);
  ASSERT_TRUE(report.has_value()) << report.error().message;
  EXPECT_EQ(report.value().copied, 1u);
  EXPECT_THAT(messages(report.value().problems), ElementsAre(HasSubstr("is damaged")));
  flip(path(second, "0-database.zst.age"));
  report = repository_.copy_to("/vault/third", &trust_);
  EXPECT_EQ(report.value().copied, 1u);
  EXPECT_EQ(report.value().skipped, 1u);
  EXPECT_EQ(first.seq, 1u);
}

TEST_F(Repository, CopyGoesOnWhereItWasStopped) {
  ++count_;
  const auto big = write_snapshot(repository_, host_, "shop", some_objects("big", 1'000'000));
  ASSERT_TRUE(big.has_value());
  std::uint64_t taken = 0;
  const auto stopped = repository_.copy_to("/vault/copy", &trust_, [&](std::uint64_t bytes) {
    taken += bytes;
    return taken < 700'000;
  });
  ASSERT_FALSE(stopped.has_value());
  EXPECT_EQ(stopped.error().kind, ErrorKind::kInterrupted);
  const auto report = repository_.copy_to("/vault/copy", &trust_);
  ASSERT_TRUE(report.has_value()) << report.error().message;
  EXPECT_EQ(report.value().copied, 1u);
  EXPECT_LT(report.value().bytes, 400'000u) << "what was there was not written again";
  auto copy = DirectoryRepository::open(world_.seams, "/vault/copy").value();
  EXPECT_EQ(content_of(copy, big.value(), "0-database.zst.age"),
            some_objects("big", 1'000'000)[0].second);
}

TEST_F(Repository, SaysWhenTheDiskIsFull) {
  world_.files.limit_space(1000);
  const auto full = write_snapshot(repository_, host_, "shop", some_objects("x"));
  ASSERT_FALSE(full.has_value());
  EXPECT_THAT(full.error().message, HasSubstr("free some space"));
  world_.files.clear_faults();
  EXPECT_EQ(write().seq, 1u);
  EXPECT_THAT(messages(verify().problems), IsEmpty());
}

TEST(Heads, TakeExactlyWhatTheyWrite) {
  World world;
  HeadMemory memory(world.files, world.random, "/state/heads");
  const std::string repository(32, 'a');
  const std::string key(64, 'b');
  const SeenHead shop{repository, key, "shop", 7, std::string(64, 'c')};
  const SeenHead web{repository, key, "web", 1, std::string(64, 'd')};
  ASSERT_TRUE(memory.remember({web, shop}).has_value());
  EXPECT_THAT(memory.load().value(), ElementsAre(shop, web));
  SeenHead older = shop;
  older.seq = 6;
  ASSERT_TRUE(memory.remember({older}).has_value());
  EXPECT_THAT(memory.load().value(), ElementsAre(shop, web)) << "never back";

  const auto text = to_text(read_file(world.files, "/state/heads", 10'000).value());
  for (const std::string& bad :
       {std::string(), std::string("sealane-heads 2\n"), text.substr(0, text.size() - 1),
        text + text.substr(16), text + "\n", text + "x y\n"}) {
    ASSERT_TRUE(replace_file(world.files, world.random, "/state/heads", as_bytes(bad)).has_value());
    EXPECT_EQ(memory.load().error().kind, ErrorKind::kVerificationFailed) << bad;
    EXPECT_EQ(memory.remember({shop}).error().kind, ErrorKind::kVerificationFailed) << bad;
  }
  for (std::size_t size = 0; size < text.size(); ++size) {
    ASSERT_TRUE(replace_file(world.files, world.random, "/state/heads",
                             as_bytes(std::string_view(text).substr(0, size)))
                    .has_value());
    const auto loaded = memory.load();
    EXPECT_TRUE(!loaded.has_value() || loaded.value().size() < 2) << "a whole line less";
  }
}

}  // namespace
}  // namespace sealane::store
