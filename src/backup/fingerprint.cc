#include "backup/fingerprint.h"

#include <algorithm>
#include <map>
#include <utility>

#include "base/byte_reader.h"

namespace sealane::backup {
namespace {

constexpr std::string_view kDomain = "sealane-fingerprint-v1";

void encode(ByteWriter& out, const Fingerprint::Item& item) {
  out.u32_prefixed(item.name).u64(item.count).u32_prefixed(item.digest);
}

// How the kind calls its items and what it counts, for sentences that people read.
struct Nouns {
  std::string_view item;
  std::string_view counted;
};
Nouns nouns(std::string_view kind) {
  if (kind == "postgresql" || kind == "sqlite" || kind == "mysql") return {"table", "rows"};
  if (kind == "mongodb") return {"collection", "documents"};
  if (kind == "redis") return {"database", "keys"};
  if (kind == "file") return {"entry", "bytes"};
  return {"item", "entries"};
}

std::string level_name(FingerprintLevel level) {
  return level == FingerprintLevel::kContent ? "content" : "structure";
}

}  // namespace

std::string item_name(std::string_view raw) {
  std::string out;
  // printable() leaves backslashes alone, so they are escaped here: one name, one spelling.
  while (!raw.empty()) {
    const auto stop = std::min(raw.find('\\'), raw.size());
    out += printable(raw.substr(0, stop), SIZE_MAX);
    raw.remove_prefix(stop);
    if (raw.empty()) break;
    out += "\\x5c";
    raw.remove_prefix(1);
  }
  if (out.size() <= kMaxFingerprintNameSize) return out;
  constexpr std::size_t kKept = kMaxFingerprintNameSize - 2 * 32 - 12;
  return printable(out, kKept) + "~" + to_hex(crypto::sha256(as_bytes(out)));
}

std::string fingerprint_digest(const Fingerprint& fingerprint) {
  ByteWriter out;
  out.u32_prefixed(kDomain).u32_prefixed(fingerprint.kind);
  out.u8(static_cast<std::uint8_t>(fingerprint.level)).u64(fingerprint.items.size());
  for (const auto& item : fingerprint.items) encode(out, item);
  return to_hex(crypto::sha256(out.view()));
}

FingerprintBuilder::FingerprintBuilder(std::string kind, FingerprintLevel level) {
  result_.kind = std::move(kind);
  result_.level = level;
}

void FingerprintBuilder::add(std::string_view name, std::uint64_t count, std::string digest) {
  Fingerprint::Item item{item_name(name), count, std::move(digest)};
  if (result_.items.size() < kMaxFingerprintItems - 1) {
    result_.items.push_back(std::move(item));
    return;
  }
  ByteWriter encoded;
  encode(encoded, item);
  folded_.update(encoded.view());
  ++folded_items_;
  folded_count_ += item.count;
}

Fingerprint FingerprintBuilder::finish() {
  if (folded_items_ > 0) {
    result_.items.push_back({"(and " + std::to_string(folded_items_) + " more)", folded_count_,
                             to_hex(folded_.finish())});
  }
  std::ranges::sort(result_.items, {}, &Fingerprint::Item::name);
  result_.digest = fingerprint_digest(result_);
  return std::move(result_);
}

Fingerprint make_fingerprint(std::string kind, FingerprintLevel level,
                             std::vector<Fingerprint::Item> items) {
  std::ranges::sort(items, {}, &Fingerprint::Item::name);
  FingerprintBuilder builder(std::move(kind), level);
  for (auto& item : items) builder.add(item.name, item.count, std::move(item.digest));
  return builder.finish();
}

Fingerprint at_level(Fingerprint fingerprint, FingerprintLevel level) {
  if (fingerprint.level <= level) return fingerprint;
  fingerprint.level = level;
  for (auto& item : fingerprint.items) item.digest.clear();
  fingerprint.digest = fingerprint_digest(fingerprint);
  return fingerprint;
}

std::optional<std::string> difference(const Fingerprint& expected, const Fingerprint& found) {
  if (expected.kind != found.kind) {
    return "it is " + printable(found.kind) + ", not " + printable(expected.kind);
  }
  if (expected.level != found.level) {
    return "it was compared by " + level_name(found.level) + ", not by " +
           level_name(expected.level);
  }
  const Nouns words = nouns(expected.kind);
  const auto named = [&](const Fingerprint::Item& item) {
    return std::string(words.item) + ' ' + printable(item.name);
  };
  std::map<std::string_view, const Fingerprint::Item*> rest;
  for (const auto& item : found.items) rest.emplace(item.name, &item);
  for (const auto& item : expected.items) {
    const auto it = rest.find(item.name);
    if (it == rest.end()) return named(item) + " is missing";
    const Fingerprint::Item& other = *it->second;
    rest.erase(it);
    if (other.count != item.count) {
      return named(item) + " has " + std::to_string(other.count) + ' ' +
             std::string(words.counted) + ", not " + std::to_string(item.count);
    }
    if (other.digest != item.digest) {
      return named(item) + " has other content in its " + std::to_string(item.count) + ' ' +
             std::string(words.counted);
    }
  }
  if (!rest.empty()) return named(*rest.begin()->second) + " was not there before";
  // Hand-made or damaged fingerprints: a name twice, or a digest that does not belong to its items.
  if (expected != found) return "the digest over all items differs";
  return std::nullopt;
}

}  // namespace sealane::backup
