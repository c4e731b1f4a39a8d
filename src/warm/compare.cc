#include "warm/compare.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "base/byte_reader.h"
#include "base/copy_bytes.h"
#include "crypto/hash.h"
#include "oplog/reconcile.h"

namespace sealane::warm {
namespace {

using oplog::Item;

constexpr int kLooks = 3;                 // at a key that differs, before it counts
constexpr std::size_t kLookBatch = 4096;  // keys whose digests of both sides are in memory
constexpr int kSeeds = 3;                 // a wrong guess has a chance of 1 in 10^5

using KeyTag = ByteArray<16>;

KeyTag tag_of_key(ByteSpan key) {
  const auto hash = crypto::blake3(key);
  KeyTag tag{};
  std::copy_n(hash.begin(), tag.size(), tag.begin());
  return tag;
}
KeyTag tag_of_item(const Item& item) {
  KeyTag tag{};
  std::copy_n(item.begin(), tag.size(), tag.begin());
  return tag;
}

// Half for the key, half for its value: two values of one key lie side by side.
Item item_of(const KeyDigest& key, std::chrono::milliseconds tolerance) {
  ByteWriter value;
  for (const std::uint64_t lane : key.value.lanes) value.u64(lane);
  value.u64(static_cast<std::uint64_t>(key.expires / tolerance.count()));
  const KeyTag tag = tag_of_key(key.key);
  const auto hash = crypto::blake3(value.view());
  Item item{};
  copy_bytes(tag, item.begin());
  std::copy_n(hash.begin(), item.size() - tag.size(), item.begin() + tag.size());
  return item;
}

class Comparer {
 public:
  Comparer(KeyStore& here, KeyStore& there, const CompareOptions& options, RandomSource& random)
      : here_(here), there_(there), options_(options), random_(random) {}

  Result<Comparison, Error> run() {
    const std::uint64_t seen_before = here_.bytes_seen();
    SEALANE_TRY(const std::uint64_t here, here_.key_count());
    SEALANE_TRY(const std::uint64_t there, there_.key_count());
    const std::uint64_t passes =
        1 + (std::max<std::uint64_t>(1, std::max(here, there)) - 1) / options_.keys_per_pass;
    for (std::uint64_t i = 0; i < passes; ++i) {
      SEALANE_TRY(pass(share(i, passes)));
    }
    out_.report.passes = passes;
    out_.report.full_copy_bytes = here_.bytes_seen() - seen_before;
    return std::move(out_);
  }

 private:
  // The i-th of `count` parts of the wanted range.
  TokenRange share(std::uint64_t index, std::uint64_t count) const {
    if (count == 1) return options_.range;
    const std::uint64_t ring = std::uint64_t{1} << 32;
    const std::uint64_t start = options_.range.start;
    const std::uint64_t width =
        options_.range.whole() ? ring : (options_.range.end - options_.range.start) & (ring - 1);
    const auto at = [&](std::uint64_t i) {
      return static_cast<std::uint32_t>(start + width * i / count);
    };
    return {at(index), at(index + 1)};
  }

  Result<std::vector<Item>, Error> items(KeyStore& store, TokenRange range) const {
    std::vector<Item> out;
    SEALANE_TRY(store.each(range, [&](const KeyDigest& key) -> Result<void, Error> {
      out.push_back(item_of(key, options_.ttl_tolerance));
      return success();
    }));
    std::ranges::sort(out);
    out.erase(std::unique(out.begin(), out.end()), out.end());
    return out;
  }

  Result<void, Error> pass(TokenRange range) {
    SEALANE_TRY(auto here, items(here_, range));
    SEALANE_TRY(auto there, items(there_, range));
    out_.report.keys_here += here.size();
    out_.report.keys_there += there.size();
    std::set<KeyTag> only_here;
    std::set<KeyTag> only_there;
    SEALANE_TRY(reconcile(here, there, only_here, only_there));
    if (only_here.empty() && only_there.empty()) return success();
    // The names behind the tags; whoever has a key can tell.
    std::vector<Bytes> names;
    const auto collect = [&names](std::set<KeyTag>& tags) {
      return [&names, &tags](ByteSpan name) -> Result<void, Error> {
        if (tags.erase(tag_of_key(name)) > 0) names.push_back(to_bytes(name));
        return success();
      };
    };
    std::set<KeyTag> all = only_here;
    all.insert(only_there.begin(), only_there.end());
    SEALANE_TRY(here_.each_name(range, collect(all)));
    if (!all.empty()) {
      SEALANE_TRY(there_.each_name(range, collect(all)));
    }
    out_.report.unconfirmed += all.size();  // gone on both sides
    for (std::size_t at = 0; at < names.size(); at += kLookBatch) {
      const auto end = std::min(names.size(), at + kLookBatch);
      SEALANE_TRY(
          confirm({std::make_move_iterator(names.begin() + static_cast<std::ptrdiff_t>(at)),
                   std::make_move_iterator(names.begin() + static_cast<std::ptrdiff_t>(end))}));
    }
    return success();
  }

  Result<void, Error> reconcile(const std::vector<Item>& here, const std::vector<Item>& there,
                                std::set<KeyTag>& only_here, std::set<KeyTag>& only_there) {
    for (int attempt = 1;; ++attempt) {
      ByteArray<32> seed{};
      random_.fill(seed);
      const bool last = attempt == kSeeds;
      const oplog::ReconcileSet ours(here, seed);
      const oplog::ReconcileSet theirs(there, seed);
      oplog::Reconciler reconciler(ours);
      Result<void, oplog::ReconcileError> result = success();
      while (auto request = reconciler.next_request()) {
        const auto answer = theirs.answer(*request);
        if (!answer.has_value()) {
          result = answer.error();
          break;
        }
        result = reconciler.on_answer(answer.value());
        if (!result.has_value()) break;
      }
      out_.report.rounds += reconciler.rounds();
      out_.report.reconcile_bytes += reconciler.bytes() + seed.size();
      if (result.has_value()) {
        for (const Item& item : reconciler.only_here()) only_here.insert(tag_of_item(item));
        for (const Item& item : reconciler.only_there()) only_there.insert(tag_of_item(item));
        return success();
      }
      if (result.error() != oplog::ReconcileError::kMismatch || last) {
        return Error{ErrorKind::kFailed,
                     "the comparison failed: " + std::string(describe(result.error()))};
      }
    }
  }

  using Value = std::pair<backup::RdbDigest, std::int64_t>;  // and when it expires
  using Found = std::map<Bytes, Value>;
  static Result<Found, Error> look(KeyStore& store, const std::vector<Bytes>& names) {
    Found found;
    SEALANE_TRY(store.look_up(names, [&](KeyDigest key) -> Result<void, Error> {
      found[std::move(key.key)] = {key.value, key.expires};
      return success();
    }));
    return found;
  }

  // Counts those of the keys that still differ.
  Result<void, Error> confirm(std::vector<Bytes> names) {
    std::vector<std::pair<Bytes, Difference>> differing;
    for (int i = 0; i < kLooks && !names.empty(); ++i) {
      SEALANE_TRY(const Found here, look(here_, names));
      SEALANE_TRY(const Found there, look(there_, names));
      differing.clear();
      for (Bytes& name : names) {
        const auto a = here.find(name);
        const auto b = there.find(name);
        const bool gone = a == here.end() && b == there.end();
        if (gone || (a != here.end() && b != there.end() && same(a->second, b->second))) {
          ++out_.report.unconfirmed;
        } else if (b == there.end()) {
          differing.emplace_back(std::move(name), Difference::kOnlyHere);
        } else if (a == here.end()) {
          differing.emplace_back(std::move(name), Difference::kOnlyThere);
        } else if (a->second.first != b->second.first) {
          differing.emplace_back(std::move(name), Difference::kValue);
        } else {
          differing.emplace_back(std::move(name), Difference::kExpiry);
        }
      }
      names.clear();
      if (i + 1 < kLooks) {
        for (const auto& [name, difference] : differing) names.push_back(name);
      }
    }
    for (auto& [name, difference] : differing) {
      ++out_.report.differences[static_cast<std::size_t>(difference)];
      options_.on_difference(difference, name);
      if (difference != Difference::kOnlyThere) out_.to_send.push_back(std::move(name));
    }
    return success();
  }

  bool same(const Value& a, const Value& b) const {
    return a.first == b.first && !expiry_differs(a.second, b.second);
  }

  bool expiry_differs(std::int64_t a, std::int64_t b) const {
    if ((a == 0) != (b == 0)) return true;
    return std::max(a, b) - std::min(a, b) > options_.ttl_tolerance.count();
  }

  KeyStore& here_;
  KeyStore& there_;
  const CompareOptions& options_;
  RandomSource& random_;
  Comparison out_;
};

}  // namespace

std::string_view difference_name(Difference difference) {
  switch (difference) {
    case Difference::kOnlyHere:
      return "only_here";
    case Difference::kOnlyThere:
      return "only_there";
    case Difference::kValue:
      return "value";
    case Difference::kExpiry:
      return "expiry";
  }
  return "value";
}

Result<Comparison, Error> compare(KeyStore& here, KeyStore& there, const CompareOptions& options,
                                  RandomSource& random) {
  if (options.ttl_tolerance.count() < 1) {
    return Error{ErrorKind::kUsage, "the tolerance of expiries is at least one millisecond"};
  }
  return Comparer(here, there, options, random).run();
}

}  // namespace sealane::warm
