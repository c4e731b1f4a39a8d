#include "warm/metrics.h"

#include <prometheus/text_serializer.h>

#include <functional>
#include <string_view>
#include <utility>
#include <vector>

namespace sealane::warm {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

void add(MetricFamily& family, std::vector<ClientMetric::Label> labels, double value) {
  ClientMetric metric;
  metric.label = std::move(labels);
  (family.type == MetricType::Counter ? metric.counter.value : metric.gauge.value) = value;
  family.metric.push_back(std::move(metric));
}

double number(std::uint64_t value) { return static_cast<double>(value); }
double seconds_of(std::chrono::nanoseconds time) {
  return std::chrono::duration<double>(time).count();
}

class Families {
 public:
  MetricFamily& begin(const std::string& name, MetricType type, std::string_view help) {
    return all_.emplace_back(MetricFamily{"sealane_warm_" + name, std::string(help), type, {}});
  }
  void count(const std::string& name, std::string_view help, std::uint64_t value) {
    add(begin(name, MetricType::Counter, help), {}, number(value));
  }
  void of_peers(const Rounds& rounds, const std::string& name, MetricType type,
                std::string_view help, const std::function<double(const PeerCounters&)>& value) {
    MetricFamily& family = begin(name, type, help);
    for (std::size_t i = 0; i < rounds.size(); ++i) {
      add(family, {{"peer", rounds.name(i)}}, value(rounds.counters(i)));
    }
  }
  std::string text() const { return prometheus::TextSerializer().Serialize(all_); }

 private:
  std::vector<MetricFamily> all_;
};

}  // namespace

std::string format_metrics(const IntakeTotals& intake, const Rounds* rounds, SteadyTime now,
                           WallTime wall) {
  Families out;
  out.count("intake_parts_total", "Parts that were applied.", intake.parts);
  out.count("intake_refused_total", "Connections and parts that were refused.", intake.refused);
  out.count("intake_bytes_total", "Bytes of the parts.", intake.bytes);
  MetricFamily& commands = out.begin("intake_commands_total", MetricType::Counter,
                                     "Commands of the parts, by what became of them.");
  add(commands, {{"result", "applied"}}, number(intake.counts.applied));
  add(commands, {{"result", "skipped"}}, number(intake.counts.skipped));
  add(commands, {{"result", "failed"}}, number(intake.counts.failed));
  if (rounds == nullptr) return out.text();
  out.of_peers(*rounds, "rounds_total", MetricType::Counter, "Rounds to the peer that ended.",
               [](const PeerCounters& peer) { return number(peer.rounds); });
  out.of_peers(*rounds, "round_failures_total", MetricType::Counter, "Rounds of these that failed.",
               [](const PeerCounters& peer) { return number(peer.failures); });
  out.of_peers(*rounds, "round_failures_in_a_row", MetricType::Gauge,
               "Rounds that failed since the last good one.",
               [](const PeerCounters& peer) { return number(peer.failures_in_a_row); });
  out.of_peers(*rounds, "round_keys_total", MetricType::Counter, "Keys that were pushed.",
               [](const PeerCounters& peer) { return number(peer.keys); });
  out.of_peers(*rounds, "round_bytes_total", MetricType::Counter,
               "Bytes of commands that were pushed.",
               [](const PeerCounters& peer) { return number(peer.bytes); });
  out.of_peers(*rounds, "last_round_seconds", MetricType::Gauge, "How long the last round took.",
               [](const PeerCounters& peer) { return seconds_of(peer.last_duration); });
  out.of_peers(*rounds, "last_good_round_timestamp_seconds", MetricType::Gauge,
               "When the last good round ended, since 1970; 0 before the first.",
               [&](const PeerCounters& peer) {
                 if (!peer.last_good) return 0.0;
                 return seconds_of(wall.time_since_epoch() - (now - *peer.last_good));
               });
  return out.text();
}

}  // namespace sealane::warm
