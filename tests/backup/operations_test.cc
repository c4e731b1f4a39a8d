// Goal: backup and drill, whole, keep their promise on a disk that fails or loses its power at any
// call: nothing acknowledged is lost, the repository stays readable, and the second try works.
// Method: a real SQLite source, a simulated disk under the repository, N = 0, 1, … until the
// operation runs through.
#include <gtest/gtest.h>
#include <sqlite3.h>

#include <cerrno>
#include <filesystem>

#include "backup/operations.h"
#include "sealane/store/system.h"
#include "tests/support/doubles.h"
#include "tests/support/simulated_files.h"

namespace sealane::backup {
namespace {

using store::DirectoryRepository;
using testing::SimulatedFiles;

class Folder {
 public:
  Folder() {
    std::string pattern = ::testing::TempDir() + "sealane-operations-XXXXXX";
    path_ = ::mkdtemp(pattern.data());
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

class Operations : public ::testing::Test {
 protected:
  Operations() {
    sqlite3* database = nullptr;
    EXPECT_EQ(sqlite3_open((folder_ / "shop.db").c_str(), &database), SQLITE_OK);
    EXPECT_EQ(sqlite3_exec(
                  database,
                  "CREATE TABLE t (a, b); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 "
                  "FROM n WHERE i < 500) INSERT INTO t SELECT i, 'row ' || i FROM n",
                  nullptr, nullptr, nullptr),
              SQLITE_OK);
    sqlite3_close(database);
    auto recovery = identity::AgeIdentity::generate(random_);
    recipients_.push_back(identity::AgeRecipient{recovery.public_key()});
    keys_.push_back(std::move(recovery));
    trust_.add({.names = {"host"},
                .key = host_.public_key(),
                .rights = {},
                .namespaces = {},
                .valid_after = {},
                .valid_before = {},
                .comment = ""});
  }

  store::Seams seams(SimulatedFiles& files) { return {files, clock_, random_}; }

  Result<BackupResult, Error> back_up(SimulatedFiles& files) {
    SEALANE_TRY(auto repository, DirectoryRepository::open(seams(files), "/repo"));
    const BackupRequest request{.source = "sqlite:" + (folder_ / "shop.db"),
                                .plan = "shop",
                                .recipients = recipients_,
                                .host = &host_,
                                .host_name = "host",
                                .seen = {},
                                .threads = 1};
    return run_backup(repository, request, drivers_, {});
  }

  Result<DrillResult, Error> drill(SimulatedFiles& files, const std::string& name) {
    SEALANE_TRY(auto repository, DirectoryRepository::open(seams(files), "/repo"));
    SEALANE_TRY(const auto snapshot, repository.find(name, &trust_));
    const std::string work = folder_ / "work";
    std::filesystem::create_directory(work);
    return run_drill(repository, snapshot, {.identities = keys_, .kept = nullptr}, host_, work, 1,
                     drivers_, {});
  }

  // Everything is readable and right, and holds `acknowledged`.
  void expect_sound(SimulatedFiles& files, const std::vector<std::string>& acknowledged) {
    auto repository = DirectoryRepository::open(seams(files), "/repo");
    ASSERT_TRUE(repository.has_value()) << repository.error().message;
    const auto listing = repository.value().list(&trust_);
    ASSERT_TRUE(listing.has_value()) << listing.error().message;
    for (const auto& problem : listing.value().problems) ADD_FAILURE() << problem.error.message;
    for (const std::string& id : acknowledged) {
      EXPECT_TRUE(
          std::ranges::any_of(listing.value().snapshots, [&](const auto& s) { return s.id == id; }))
          << "lost " << id;
    }
    store::VerifyOptions options;
    options.trust = &trust_;
    const auto report = repository.value().verify(options);
    ASSERT_TRUE(report.has_value()) << report.error().message;
    for (const auto& problem : report.value().problems) ADD_FAILURE() << problem.error.message;
  }

  std::unique_ptr<SimulatedFiles> fresh(std::string& first) {
    auto files = std::make_unique<SimulatedFiles>();
    EXPECT_TRUE(DirectoryRepository::init(seams(*files), "/repo").has_value());
    auto done = back_up(*files);
    EXPECT_TRUE(done.has_value()) << done.error().message;
    if (done.has_value()) first = done.value().snapshot.id;
    files->reset_count();
    return files;
  }

  Folder folder_;
  testing::SeededRandom random_{7};
  testing::ManualClock clock_{*from_rfc3339("2026-03-01T12:00:00Z")};
  flow::Cancellation cancel_;
  DriverContext drivers_{system_files(), clock_, random_, cancel_};
  identity::SigningKey host_ = identity::SigningKey::generate(random_, "host");
  std::vector<identity::Recipient> recipients_;
  std::vector<identity::OpeningKey> keys_;
  identity::TrustStore trust_;
};

TEST_F(Operations, BackupSurvivesAFailureOfAnyCall) {
  for (const int code : {EIO, ENOSPC}) {
    std::uint64_t n = 0;
    for (;; ++n) {
      SCOPED_TRACE("call " + std::to_string(n) + ", errno " + std::to_string(code));
      std::string first;
      const auto files = fresh(first);
      files->fail_call(n, code);
      const auto result = back_up(*files);
      if (files->call_count() <= n) break;
      files->clear_faults();
      std::vector<std::string> acknowledged{first};
      if (result.has_value()) acknowledged.push_back(result.value().snapshot.id);
      expect_sound(*files, acknowledged);
      const auto again = back_up(*files);
      ASSERT_TRUE(again.has_value()) << again.error().message;
      if (HasFailure()) return;
    }
    EXPECT_GT(n, 20u) << "the fault was never reached";
  }
}

TEST_F(Operations, BackupSurvivesAPowerLossAtAnyCall) {
  for (std::uint64_t seed = 1; seed <= 3; ++seed) {
    std::uint64_t n = 0;
    for (;; ++n) {
      SCOPED_TRACE("call " + std::to_string(n) + ", seed " + std::to_string(seed));
      std::string first;
      const auto files = fresh(first);
      files->stop_at_call(n);
      const auto result = back_up(*files);
      if (!files->stopped()) break;
      files->restart_after_power_loss(seed * 1000 + n);
      std::vector<std::string> acknowledged{first};
      if (result.has_value()) acknowledged.push_back(result.value().snapshot.id);
      expect_sound(*files, acknowledged);
      const auto again = back_up(*files);
      ASSERT_TRUE(again.has_value()) << again.error().message;
      acknowledged.push_back(again.value().snapshot.id);
      expect_sound(*files, acknowledged);
      if (HasFailure()) return;
    }
    EXPECT_GT(n, 20u) << "the power loss was never reached";
  }
}

TEST_F(Operations, DrillSurvivesAPowerLossAtAnyCall) {
  std::uint64_t n = 0;
  for (;; ++n) {
    SCOPED_TRACE("call " + std::to_string(n));
    std::string first;
    const auto files = fresh(first);
    files->stop_at_call(n);
    const auto result = drill(*files, first);
    if (!files->stopped()) {
      ASSERT_TRUE(result.has_value()) << result.error().message;
      EXPECT_EQ(result.value().proof.outcome, repo::ProofOutcome::kEqual)
          << result.value().difference;
      break;
    }
    files->restart_after_power_loss(n + 1);
    expect_sound(*files, {first});
    if (result.has_value()) {
      auto repository = DirectoryRepository::open(seams(*files), "/repo");
      ASSERT_TRUE(repository.has_value());
      const auto snapshot = repository.value().find(first, &trust_);
      ASSERT_TRUE(snapshot.has_value());
      EXPECT_TRUE(snapshot.value().proven) << "an acknowledged proof was lost";
    }
    const auto again = drill(*files, first);
    ASSERT_TRUE(again.has_value()) << again.error().message;
    if (HasFailure()) return;
  }
  EXPECT_GT(n, 10u);
}

TEST_F(Operations, KeptKeysOpenUntilTheyExpire) {
  std::string first;
  const auto files = fresh(first);
  auto repository = DirectoryRepository::open(seams(*files), "/repo");
  ASSERT_TRUE(repository.has_value());
  BackupRequest request{.source = "sqlite:" + (folder_ / "shop.db"),
                        .plan = "shop",
                        .recipients = recipients_,
                        .host = &host_,
                        .host_name = "host",
                        .keep_keys = true,
                        .seen = {},
                        .threads = 1};
  const auto done = run_backup(repository.value(), request, drivers_, {});
  ASSERT_TRUE(done.has_value()) << done.error().message;
  const OpeningKeys kept{.identities = {}, .kept = &*done.value().keys};
  EXPECT_TRUE(
      check_contents(repository.value(), done.value().snapshot, kept, 1, drivers_, {}).has_value());
  clock_.advance(std::chrono::hours(1));
  const auto late =
      check_contents(repository.value(), done.value().snapshot, kept, 1, drivers_, {});
  ASSERT_FALSE(late.has_value());
  EXPECT_EQ(late.error().kind, ErrorKind::kWrongKey);
}

TEST_F(Operations, AHostCannotSealToItselfUnasked) {
  std::string first;
  const auto files = fresh(first);
  recipients_.push_back(identity::SshRecipient{host_.public_key()});
  const auto refused = back_up(*files);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().kind, ErrorKind::kUsage);
}

}  // namespace
}  // namespace sealane::backup
