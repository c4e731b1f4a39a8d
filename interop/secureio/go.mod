module sealane/interop/secureio

go 1.21

require (
	github.com/aead/chacha20 v0.0.0-20180709150244-8b13a72661da
	github.com/aead/ecdh v0.2.0
	golang.org/x/crypto v0.0.0-20200510223506-06a226fb4e37
	lukechampine.com/blake3 v1.0.0
)

require golang.org/x/sys v0.0.0-20190412213103-97732733099d // indirect
