#pragma once
// Parcels: what two Sealane clients say inside a sealed session: messages, and files of any size.
//
//   offset  size  field
//        0     1  kind
//        1     8  number   of the message or file; big-endian
//        9     8  offset   below
//       17  rest  data     at most kMaxData
//
//   TEXT  1  a message; offset 0
//   FILE  2  an offer: offset is its size, data its SHA-256 and then its name
//   DATA  3  bytes of it at offset
//   AT    4  the receiver has it up to offset: where to go on, and room for more
//   DONE  5  offset 1: dealt with, and on the disk; 0: refused
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "crypto/hash.h"
#include "sealane/base/result.h"
#include "sealane/base/seams.h"

namespace sealane::node {

enum class ParcelKind : std::uint8_t { kText = 1, kFile, kData, kAt, kDone };
struct Parcel {
  static constexpr std::size_t kHeaderSize = 17;
  static constexpr std::size_t kMaxData = 30'000;        // fits a sealed message
  static constexpr std::uint64_t kWindow = 1024 * 1024;  // bytes under way of one file
  ParcelKind kind = ParcelKind::kText;
  std::uint64_t number = 0;
  std::uint64_t offset = 0;
  Bytes data = {};
  friend bool operator==(const Parcel&, const Parcel&) = default;
};
Bytes encode(const Parcel& parcel);
std::optional<Parcel> decode_parcel(ByteSpan bytes);  // exactly what encode() writes
std::uint64_t parcel_number(RandomSource& random);

// Takes files into a directory: `.NAME.SENDER.NUMBER.part` while they come, and NAME once whole, of
// the right hash and synced. Never replaces a file: another one of that name becomes NAME.2 …
// Not thread-safe.
class ParcelBox {
 public:
  static constexpr std::size_t kMaxNameSize = 120;  // room for what is added to it
  static constexpr std::size_t kMaxOpen = 64;       // files that come at the same time
  static constexpr std::uint64_t kAckSize = 256 * 1024;

  ParcelBox(FileSystem& files, std::string directory)
      : files_(files), directory_(std::move(directory)) {}

  struct Outcome {
    std::optional<Parcel> answer = {};
    std::optional<std::string> finished = {};  // its path
  };
  // REQUIRES: kFile or kData. `sender` is fit for a file's name. After an error the file is closed;
  // its part stays, so that it can go on, unless its hash is wrong.
  Result<Outcome, Error> take(const std::string& sender, const Parcel& parcel);

 private:
  struct Open {
    std::unique_ptr<File> file;
    std::string part;
    std::string name;
    std::uint64_t size = 0;
    std::uint64_t at = 0;
    std::uint64_t told = 0;
    crypto::Sha256Digest expected{};
    crypto::Sha256 hash;
  };
  using Key = std::pair<std::string, std::uint64_t>;
  Result<Outcome, Error> start(const Key& key, const Parcel& parcel);
  Result<Outcome, Error> finish(const Key& key);

  FileSystem& files_;
  std::string directory_;
  std::map<Key, Open> open_;
  std::map<Key, std::string> finished_;  // of this run; bounded by kMaxOpen
};

}  // namespace sealane::node
