#pragma once
// Which of its codes OpenSSL computes RSA-2048 with.

namespace sealane::crypto {

// A CPU with MULX and ADX makes OpenSSL compute with these what RSA-2048 does with its private key.
// On AMD's Zen 3 its AVX2 code is faster: 0.60 ms against 0.69 for a signature. This makes OpenSSL
// take the latter there, as OPENSSL_ia32cap(3) says. The price: public steps (19 us) take 7 us
// more, larger private keys 30 to 40 % longer. So it is for programs that compute much with
// RSA-2048 keys: hubs, and clients on the legacy wire. Not affected: AEADs, hashes, and what
// libsodium computes.
//
// OpenSSL reads that setting in its library's constructor. So call this once, from .preinit_array,
// which runs before the constructors of all libraries, with the environment that stands there: the
// third argument. The setting is in it for these constructors only, in the place of a variable that
// no library reads at its start; before those of the program both are as they were. Nobody who
// looks later sees a change: neither getenv(), nor children, nor /proc/PID/environ.
//
// Does nothing on any other CPU, where the user has set OPENSSL_ia32cap, with SEALANE_CPU=generic,
// where the environment has no variable to stand in for, and without glibc. Uses no allocation and
// no state of the C library, which is not initialized yet.
void prefer_avx2_rsa(char** environment);

}  // namespace sealane::crypto
