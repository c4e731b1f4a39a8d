// Speed of the primitives. The figure to compare with is `openssl speed -bytes N -evp NAME`.
#include <benchmark/benchmark.h>

#include "crypto/aead.h"
#include "crypto/cipher.h"
#include "crypto/hash.h"

namespace sealane::crypto {
namespace {

void sizes(benchmark::internal::Benchmark* benchmark) {
  for (const int size : {64, 1024, 64 * 1024, 1024 * 1024}) benchmark->Arg(size);
}

void count_bytes(benchmark::State& state) {
  state.SetBytesProcessed(state.iterations() * state.range(0));
}

void aead_seal(benchmark::State& state, AeadAlgorithm algorithm, AeadEngine engine) {
  if (!aead_engine_available(algorithm, engine)) {
    state.SkipWithError("engine not available here");
    return;
  }
  const auto aead = make_aead(algorithm, AeadKey(ByteArray<32>{}), engine);
  const auto size = static_cast<std::size_t>(state.range(0));
  Bytes buffer(size + kAeadTagSize);
  AeadNonce nonce{};
  for (auto _ : state) {
    aead->seal(nonce, {}, ByteSpan(buffer).first(size), buffer);
    nonce[0] ^= std::byte{1};
    benchmark::DoNotOptimize(buffer.data());
  }
  count_bytes(state);
}

void aead_open(benchmark::State& state, AeadAlgorithm algorithm, AeadEngine engine) {
  if (!aead_engine_available(algorithm, engine)) {
    state.SkipWithError("engine not available here");
    return;
  }
  const auto aead = make_aead(algorithm, AeadKey(ByteArray<32>{}), engine);
  const auto size = static_cast<std::size_t>(state.range(0));
  const Bytes plaintext(size);
  Bytes sealed(size + kAeadTagSize);
  aead->seal(AeadNonce{}, {}, plaintext, sealed);
  Bytes out(size);
  for (auto _ : state) {
    if (!aead->open(AeadNonce{}, {}, sealed, out).has_value()) state.SkipWithError("not authentic");
    benchmark::DoNotOptimize(out.data());
  }
  count_bytes(state);
}

constexpr auto kGcm = AeadAlgorithm::kAes256Gcm;
constexpr auto kChaCha = AeadAlgorithm::kChaCha20Poly1305;
BENCHMARK_CAPTURE(aead_seal, aes_256_gcm_openssl, kGcm, AeadEngine::kOpenSsl)->Apply(sizes);
BENCHMARK_CAPTURE(aead_seal, aes_256_gcm_vaes, kGcm, AeadEngine::kVaes)->Apply(sizes);
BENCHMARK_CAPTURE(aead_seal, aes_256_gcm_ipsec_mb, kGcm, AeadEngine::kIpsecMb)->Apply(sizes);
BENCHMARK_CAPTURE(aead_seal, chacha20_poly1305_openssl, kChaCha, AeadEngine::kOpenSsl)
    ->Apply(sizes);
BENCHMARK_CAPTURE(aead_seal, chacha20_poly1305_ipsec_mb, kChaCha, AeadEngine::kIpsecMb)
    ->Apply(sizes);
BENCHMARK_CAPTURE(aead_open, aes_256_gcm_openssl, kGcm, AeadEngine::kOpenSsl)->Apply(sizes);
BENCHMARK_CAPTURE(aead_open, aes_256_gcm_vaes, kGcm, AeadEngine::kVaes)->Apply(sizes);
BENCHMARK_CAPTURE(aead_open, aes_256_gcm_ipsec_mb, kGcm, AeadEngine::kIpsecMb)->Apply(sizes);
BENCHMARK_CAPTURE(aead_open, chacha20_poly1305_openssl, kChaCha, AeadEngine::kOpenSsl)
    ->Apply(sizes);
BENCHMARK_CAPTURE(aead_open, chacha20_poly1305_ipsec_mb, kChaCha, AeadEngine::kIpsecMb)
    ->Apply(sizes);

template <auto kHash>
void hash(benchmark::State& state) {
  const Bytes message(static_cast<std::size_t>(state.range(0)));
  for (auto _ : state) benchmark::DoNotOptimize(kHash(message));
  count_bytes(state);
}
BENCHMARK_TEMPLATE(hash, &sha256)->Name("sha256")->Apply(sizes);
BENCHMARK_TEMPLATE(hash, &sha512)->Name("sha512")->Apply(sizes);
BENCHMARK_TEMPLATE(hash, &blake3)->Name("blake3")->Apply(sizes);

void hchacha20_subkey(benchmark::State& state) {
  const ByteArray<32> key{};
  const ByteArray<16> input{};
  ByteArray<32> out{};
  for (auto _ : state) {
    hchacha20(key, input, out);
    benchmark::DoNotOptimize(out);
  }
}
BENCHMARK(hchacha20_subkey)->Name("hchacha20");

void chacha20(benchmark::State& state) {
  Bytes buffer(static_cast<std::size_t>(state.range(0)));
  for (auto _ : state) {
    chacha20_xor(ByteArray<32>{}, ByteArray<12>{}, 0, buffer, buffer);
    benchmark::DoNotOptimize(buffer.data());
  }
  count_bytes(state);
}
BENCHMARK(chacha20)->Apply(sizes);

}  // namespace
}  // namespace sealane::crypto
