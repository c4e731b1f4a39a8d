// Goal: what a monitoring system reads of a server of warm copies is exact and well-formed,
// whatever a peer is called. Method: counters made by hand, compared with the whole text.
#include "warm/metrics.h"

#include <gtest/gtest.h>

#include "tests/support/doubles.h"

namespace sealane::warm {
namespace {

using std::chrono::seconds;

TEST(WarmMetrics, IntakesAloneHaveNoPeers) {
  IntakeTotals intake{.parts = 3, .refused = 1, .bytes = 12345678901, .counts = {}};
  intake.counts.applied = 20;
  intake.counts.skipped = 4;
  EXPECT_EQ(format_metrics(intake, nullptr, SteadyTime(), WallTime()),
            "# HELP sealane_warm_intake_parts_total Parts that were applied.\n"
            "# TYPE sealane_warm_intake_parts_total counter\n"
            "sealane_warm_intake_parts_total 3\n"
            "# HELP sealane_warm_intake_refused_total Connections and parts that were refused.\n"
            "# TYPE sealane_warm_intake_refused_total counter\n"
            "sealane_warm_intake_refused_total 1\n"
            "# HELP sealane_warm_intake_bytes_total Bytes of the parts.\n"
            "# TYPE sealane_warm_intake_bytes_total counter\n"
            "sealane_warm_intake_bytes_total 12345678901\n"
            "# HELP sealane_warm_intake_commands_total Commands of the parts, by what became of "
            "them.\n"
            "# TYPE sealane_warm_intake_commands_total counter\n"
            "sealane_warm_intake_commands_total{result=\"applied\"} 20\n"
            "sealane_warm_intake_commands_total{result=\"skipped\"} 4\n"
            "sealane_warm_intake_commands_total{result=\"failed\"} 0\n");
}

TEST(WarmMetrics, EachPeerIsALabel) {
  testing::SeededRandom random(3);
  const SteadyTime start{};
  Rounds rounds({"vault", "odd\"\\\nname"}, {}, random, start);
  for (int i = 0; i < 2; ++i) {
    const auto peer = rounds.take_due(start);
    ASSERT_TRUE(peer);
    const bool good = rounds.name(*peer) == "vault";
    rounds.finished(*peer, {.good = good, .keys = 7, .bytes = 1000},
                    start + std::chrono::milliseconds(1500));
  }
  const std::string text =
      format_metrics({}, &rounds, start + seconds(100), WallTime(seconds(1'700'000'000)));
  for (const char* line :
       {"sealane_warm_rounds_total{peer=\"vault\"} 1\n",
        "sealane_warm_round_failures_total{peer=\"vault\"} 0\n",
        "sealane_warm_round_failures_total{peer=\"odd\\\"\\\\\\nname\"} 1\n",
        "sealane_warm_round_failures_in_a_row{peer=\"odd\\\"\\\\\\nname\"} 1\n",
        "sealane_warm_round_keys_total{peer=\"vault\"} 7\n",
        "sealane_warm_round_bytes_total{peer=\"vault\"} 1000\n",
        "sealane_warm_last_round_seconds{peer=\"vault\"} 1.5\n",
        "sealane_warm_last_good_round_timestamp_seconds{peer=\"odd\\\"\\\\\\nname\"} 0\n"}) {
    EXPECT_NE(text.find(line), text.npos) << line << "is not in\n" << text;
  }
  // 98.5 seconds before that moment.
  EXPECT_NE(text.find("sealane_warm_last_good_round_timestamp_seconds{peer=\"vault\"} "
                      "1699999901.5\n"),
            text.npos)
      << text;
}

}  // namespace
}  // namespace sealane::warm
