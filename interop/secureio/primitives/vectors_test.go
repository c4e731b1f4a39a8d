// The session vectors, recomputed with the primitive packages that the Go library is built on, at
// the revisions its go.mod pins.
//
// Goal: the choices a specification cannot prove by itself are those of the packages: which ChaCha20
// an 8-byte or a 24-byte nonce selects, where the counter starts, how keys are clamped, which SHA-3.
// Method: every value is derived again from the seeds, keys, ids and messages of the vectors, and
// compared. The library itself takes no part: this says nothing about how it behaves.
package primitives

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"os"
	"strconv"
	"testing"

	"github.com/aead/chacha20"
	"github.com/aead/ecdh"
	"golang.org/x/crypto/poly1305"
	"golang.org/x/crypto/sha3"
	"lukechampine.com/blake3"
)

// A byte string in hexadecimal; null stays nil, "" is empty.
type octets []byte

func (o *octets) UnmarshalJSON(text []byte) error {
	var s *string
	if err := json.Unmarshal(text, &s); err != nil || s == nil {
		return err
	}
	decoded, err := hex.DecodeString(*s)
	*o = append([]byte{}, decoded...)
	return err
}

type side struct {
	Name      string
	Seed      octets `json:"ed25519_seed"`
	Public    octets `json:"ed25519_public"`
	GoForm    octets `json:"ed25519_private_go_form"`
	SessionID struct {
		CreatedAt uint64 `json:"created_at"`
		Random    string
		Bytes     octets
	} `json:"session_id"`
	X25519 []struct {
		Which   string
		Private octets `json:"private_clamped"`
		Public  octets
	}
}

type message struct {
	Type    string
	Flags   byte
	Length  int
	Payload octets
	SHA256  octets `json:"payload_sha256"`
}

type packet struct {
	Name             string
	Sender           string
	Mode             string
	PSKPresent       bool   `json:"psk_present"`
	PacketID         uint64 `json:"packet_id"`
	CipherKey        octets `json:"cipher_key"`
	MACKey           octets `json:"mac_key"`
	Messages         []message
	MessagesSHA256   octets `json:"messages_bytes_sha256"`
	HeaderChecksum   octets `json:"header_checksum"`
	MessagesChecksum octets `json:"messages_checksum"`
	WireSize         int    `json:"wire_size"`
	WireSHA256       octets `json:"wire_sha256"`
	Plain, Wire      octets
}

type vectors struct {
	Sides    []side
	KeyFiles []struct {
		Side    string
		Private string `json:"id_ed25519"`
		Public  string `json:"id_ed25519.pub"`
	} `json:"key_files"`
	PSK []struct {
		Name               string
		PSK                octets
		CipherKeyXor       octets `json:"cipher_key_xor"`
		CipherKeyXorBlake3 octets `json:"cipher_key_xor_blake3_step"`
		AuxCipherKey       octets `json:"aux_cipher_key"`
		AuxCipherKeyBlake3 octets `json:"aux_cipher_key_blake3_step"`
		PacketIDMask       octets `json:"packet_id_mask"`
	}
	CipherKeys []map[string]json.RawMessage `json:"cipher_keys"`
	MACKeys    []struct {
		PacketID  uint64 `json:"packet_id"`
		CipherKey octets `json:"cipher_key"`
		MACKey    octets `json:"mac_key"`
	} `json:"mac_keys"`
	Stream []struct {
		What      string
		CipherKey octets `json:"cipher_key"`
		Nonce     octets
		Keystream octets `json:"keystream_first_96"`
	}
	Obfuscation []struct {
		PSK      octets
		PacketID uint64 `json:"packet_id"`
		Wire     octets
	} `json:"packet_id_obfuscation"`
	KeyExchange []struct {
		Sender      string
		AnswersMode byte `json:"answers_mode"`
		Flags       byte
		Message     octets
	} `json:"key_exchange_messages"`
	Packets   []packet
	Fragments struct {
		Message octets
		Cuts    []struct {
			ChainID   uint64 `json:"chain_id"`
			Fragments []struct {
				Start, Length int
				GoSender      packet `json:"go_sender"`
				GoSenderPSK   packet `json:"go_sender_psk"`
				SafeSender    packet `json:"safe_sender"`
			}
		}
	}
	Negotiation []struct {
		What      string
		Iteration uint32
		Size      int
		Largest   uint32
		End       bool
		Packet    packet
	}
	Handshake struct {
		CipherKey octets `json:"cipher_key"`
		Steps     []packet
	}
	MustReject struct {
		CipherKey octets `json:"cipher_key"`
		SessionID octets `json:"session_id_of_sender"`
		Original  octets `json:"accepted_original"`
		Bad       []struct {
			Name string
			Wire octets
		} `json:"undecryptable"`
		Injection struct{ Wire octets } `json:"plain_data_injection"`
	} `json:"must_reject"`
}

// The program is told where the vectors are; without them there is nothing to compare.
func load(t *testing.T) (v vectors) {
	t.Helper()
	path := os.Getenv("SEALANE_SECUREIO_VECTORS")
	if path == "" {
		t.Skip("SEALANE_SECUREIO_VECTORS names no file")
	}
	text, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(text, &v)
	}
	if err != nil {
		t.Fatal(err)
	}
	if len(v.Sides) != 2 || len(v.PSK) == 0 || len(v.Packets) == 0 || len(v.Handshake.Steps) == 0 {
		t.Fatal("the file is not the session vectors")
	}
	return v
}

func (v *vectors) side(t *testing.T, name string) *side {
	t.Helper()
	for i := range v.Sides {
		if v.Sides[i].Name == name {
			return &v.Sides[i]
		}
	}
	t.Fatalf("no side %q", name)
	return nil
}

func equal(t *testing.T, what string, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Errorf("%s: got %x, the vectors have %x", what, got, want)
	}
}

func le64(n uint64) []byte { return binary.LittleEndian.AppendUint64(nil, n) }
func le32(n uint32) []byte { return binary.LittleEndian.AppendUint32(nil, n) }

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func xor(a, b []byte) []byte {
	out := make([]byte, len(a))
	for i := range a {
		out[i] = a[i] ^ b[i]
	}
	return out
}

var (
	salt   = []byte("xaionaro-go/secureio.KeyExchanger")
	macXor = []byte("github.com/xaionaro-go/secureio ")
)

func blakeStep(psk []byte, label string) []byte {
	sum := blake3.Sum256(join(psk, salt, []byte(label)))
	return sum[:]
}

func pskHash(psk []byte, label string) []byte {
	sum := sha3.Sum256(join(blakeStep(psk, label), salt, []byte(label)))
	return sum[:]
}

func cipherKey(private, public, psk []byte) []byte {
	var own, peer [32]byte
	copy(own[:], private)
	copy(peer[:], public)
	secret := ecdh.X25519().ComputeSecret(&own, &peer)
	if psk == nil {
		return secret
	}
	return xor(secret, pskHash(psk, "cipherKey"))
}

func macKey(id uint64, key []byte) *[32]byte {
	raw := make([]byte, 32)
	copy(raw, le64(id))
	if key != nil {
		copy(raw[8:], key[:24])
	}
	sum := blake3.Sum256(xor(raw, macXor))
	return &sum
}

func tag(key *[32]byte, data []byte) []byte {
	var out [16]byte
	poly1305.Sum(&out, data, key)
	return out[:]
}

func stream(key, nonce, data []byte) []byte {
	out := make([]byte, len(data))
	chacha20.XORKeyStream(out, data, nonce, key)
	return out
}

func maskID(aux []byte, id uint64) []byte { return stream(aux, make([]byte, 24), le64(id)) }

// One packet: key and sid of a session packet, or aux alone, or neither for a plain one.
func seal(id uint64, body, key, sid, aux []byte) (plain, wire []byte) {
	nonce := le64(id)
	if key != nil {
		nonce = join(sid, nonce)
	} else {
		key = aux
	}
	mac, length := macKey(id, key), le32(uint32(len(body)))
	plain = join(le64(id), tag(mac, length), tag(mac, body), length, body)
	sealed, shown := plain[8:], le64(id)
	if key != nil {
		sealed = stream(key, nonce, sealed)
	}
	if aux != nil {
		shown = maskID(aux, id)
	}
	return plain, join(shown, sealed)
}

// True if wire opens as a session packet.
func opens(wire, key, sid []byte) bool {
	if len(wire) < 44 {
		return false
	}
	id := binary.LittleEndian.Uint64(wire)
	inner, mac := stream(key, join(sid, wire[:8]), wire[8:]), macKey(id, key)
	return bytes.Equal(inner[:16], tag(mac, inner[32:36])) &&
		bytes.Equal(inner[16:32], tag(mac, inner[36:]))
}

func encode(t *testing.T, m message, payload []byte) []byte {
	t.Helper()
	kind, err := strconv.ParseUint(m.Type, 0, 32)
	if err != nil {
		t.Fatal(err)
	}
	if len(payload) != m.Length {
		t.Fatalf("payload of %d bytes, the vectors have %d", len(payload), m.Length)
	}
	sum := sha256.Sum256(payload)
	equal(t, "payload", sum[:], m.SHA256)
	return join(le32(uint32(kind)), le32(uint32(m.Length)), []byte{m.Flags}, payload)
}

// Seals p again from its messages (payload stands in for those the vectors only hash) under keys
// derived here, and compares all of it.
func check(t *testing.T, v *vectors, p packet, sessionKey, aux, payload []byte) {
	t.Helper()
	var body []byte
	for _, m := range p.Messages {
		if m.Payload != nil {
			payload = m.Payload
		}
		body = append(body, encode(t, m, payload)...)
	}
	sum := sha256.Sum256(body)
	equal(t, p.Name+": messages", sum[:], p.MessagesSHA256)
	if !p.PSKPresent {
		aux = nil
	}
	if p.Mode != "session" {
		sessionKey = nil
	}
	used := sessionKey
	if used == nil {
		used = aux
	}
	equal(t, p.Name+": key", used, p.CipherKey)
	equal(t, p.Name+": MAC key", macKey(p.PacketID, used)[:], p.MACKey)
	plain, wire := seal(p.PacketID, body, sessionKey, v.side(t, p.Sender).SessionID.Bytes, aux)
	equal(t, p.Name+": header checksum", plain[8:24], p.HeaderChecksum)
	equal(t, p.Name+": messages checksum", plain[24:40], p.MessagesChecksum)
	if len(wire) != p.WireSize {
		t.Errorf("%s: %d bytes, the vectors have %d", p.Name, len(wire), p.WireSize)
	}
	sum = sha256.Sum256(wire)
	equal(t, p.Name+": wire", sum[:], p.WireSHA256)
	if p.Wire != nil {
		equal(t, p.Name+": plain", plain, p.Plain)
		equal(t, p.Name+": wire", wire, p.Wire)
	}
}

// The keys of the packets: next with next; with the PSK 010203; the aux key of that PSK.
func (v *vectors) keys(t *testing.T) (plain, mixed, aux []byte) {
	t.Helper()
	a, b, psk := v.side(t, "A").X25519, v.side(t, "B").X25519, []byte{1, 2, 3}
	return cipherKey(a[1].Private, b[1].Public, nil), cipherKey(a[1].Private, b[1].Public, psk),
		pskHash(psk, "auxCipherKey")
}

func TestIdentities(t *testing.T) {
	v := load(t)
	for i, s := range v.Sides {
		private := ed25519.NewKeyFromSeed(s.Seed)
		equal(t, s.Name+": public key", private.Public().(ed25519.PublicKey), s.Public)
		equal(t, s.Name+": private key", private, s.GoForm)
		random, err := strconv.ParseUint(s.SessionID.Random, 0, 64)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, s.Name+": session id", join(le64(s.SessionID.CreatedAt), le64(random)),
			s.SessionID.Bytes)
		for _, pair := range s.X25519 {
			var own [32]byte
			copy(own[:], pair.Private)
			public := ecdh.X25519().PublicKey(&own).([32]byte)
			equal(t, s.Name+": X25519 "+pair.Which, public[:], pair.Public)
		}
		files := v.KeyFiles[i]
		for _, f := range []struct {
			text, label string
			content     []byte
		}{
			{files.Private, "ED25519 PRIVATE KEY", private}, {files.Public, "ED25519 PUBLIC KEY", s.Public},
		} {
			block := pem.Block{Type: f.label, Bytes: f.content}
			equal(t, s.Name+": "+f.label, pem.EncodeToMemory(&block), []byte(f.text))
		}
	}
}

func TestPSK(t *testing.T) {
	v := load(t)
	for _, p := range v.PSK {
		equal(t, p.Name+": xor, first step", blakeStep(p.PSK, "cipherKey"), p.CipherKeyXorBlake3)
		equal(t, p.Name+": xor", pskHash(p.PSK, "cipherKey"), p.CipherKeyXor)
		equal(t, p.Name+": aux, first step", blakeStep(p.PSK, "auxCipherKey"), p.AuxCipherKeyBlake3)
		aux := pskHash(p.PSK, "auxCipherKey")
		equal(t, p.Name+": aux", aux, p.AuxCipherKey)
		equal(t, p.Name+": mask", maskID(aux, 0), p.PacketIDMask)
	}
	for _, o := range v.Obfuscation {
		equal(t, "masked packet id", maskID(pskHash(o.PSK, "auxCipherKey"), o.PacketID), o.Wire)
	}
}

func TestCipherKeys(t *testing.T) {
	v := load(t)
	psks := map[string][]byte{"none": nil}
	for _, p := range v.PSK {
		psks[p.Name] = p.PSK
	}
	if len(v.CipherKeys) != len(psks) {
		t.Errorf("%d rows for %d PSKs", len(v.CipherKeys), len(psks))
	}
	for _, row := range v.CipherKeys {
		var name string
		if err := json.Unmarshal(row["psk"], &name); err != nil {
			t.Fatal(err)
		}
		psk, known := psks[name]
		if !known {
			t.Fatalf("no PSK %q", name)
		}
		for _, pair := range [][2]string{{"A", "B"}, {"B", "A"}} {
			var want struct {
				RecentBoth   octets `json:"recent_both"`
				RecentLocal  octets `json:"recent_local"`
				RecentRemote octets `json:"recent_remote"`
				Previous     octets
			}
			if err := json.Unmarshal(row[pair[0]], &want); err != nil {
				t.Fatal(err)
			}
			own, peer := v.side(t, pair[0]).X25519, v.side(t, pair[1]).X25519
			what := name + ", side " + pair[0]
			equal(t, what, cipherKey(own[1].Private, peer[1].Public, psk), want.RecentBoth)
			equal(t, what, cipherKey(own[1].Private, peer[0].Public, psk), want.RecentLocal)
			equal(t, what, cipherKey(own[0].Private, peer[1].Public, psk), want.RecentRemote)
			equal(t, what, cipherKey(own[0].Private, peer[0].Public, psk), want.Previous)
		}
	}
}

func TestStreamsAndMACKeys(t *testing.T) {
	v := load(t)
	for _, s := range v.Stream {
		equal(t, s.What, stream(s.CipherKey, s.Nonce, make([]byte, 96)), s.Keystream)
	}
	for _, m := range v.MACKeys {
		equal(t, "MAC key", macKey(m.PacketID, m.CipherKey)[:], m.MACKey)
	}
}

func TestKeyExchangeMessages(t *testing.T) {
	v := load(t)
	for _, k := range v.KeyExchange {
		s := v.side(t, k.Sender)
		// The vectors hold messages of either generation; the key in the message says which.
		for _, pair := range s.X25519 {
			if !bytes.Equal(k.Message[112:144], pair.Public) {
				continue
			}
			body := join(s.SessionID.Bytes, s.Public, pair.Public, []byte{k.AnswersMode, k.Flags})
			signature := ed25519.Sign(ed25519.NewKeyFromSeed(s.Seed), body)
			equal(t, "key exchange of "+k.Sender, join(signature, body), k.Message)
			s = nil
			break
		}
		if s != nil {
			t.Errorf("a key exchange message of %s carries a key that is not its own", k.Sender)
		}
	}
}

func TestPackets(t *testing.T) {
	v := load(t)
	key, mixed, aux := v.keys(t)
	for _, p := range v.Packets {
		var payload []byte
		for _, m := range p.Messages {
			if m.Payload == nil {
				payload = pattern(m.Length)
			}
		}
		if p.PSKPresent {
			check(t, &v, p, mixed, aux, payload)
		} else {
			check(t, &v, p, key, nil, payload)
		}
	}
	a, b := v.side(t, "A").X25519, v.side(t, "B").X25519
	first := cipherKey(a[0].Private, b[0].Public, nil)
	equal(t, "key of the handshake", first, v.Handshake.CipherKey)
	for _, p := range v.Handshake.Steps {
		check(t, &v, p, first, nil, nil)
	}
}

func TestFragments(t *testing.T) {
	v := load(t)
	key, _, aux := v.keys(t)
	total := v.Fragments.Message
	for _, cut := range v.Fragments.Cuts {
		covered := 0
		for _, f := range cut.Fragments {
			payload := join(le64(cut.ChainID), le64(uint64(f.Start)), le64(uint64(len(total))),
				total[f.Start:f.Start+f.Length])
			check(t, &v, f.GoSender, nil, nil, payload)
			check(t, &v, f.GoSenderPSK, nil, aux, payload)
			check(t, &v, f.SafeSender, key, nil, payload)
			covered += f.Length
		}
		if covered != len(total) {
			t.Errorf("the pieces hold %d bytes of %d", covered, len(total))
		}
	}
}

func TestNegotiation(t *testing.T) {
	v := load(t)
	key, _, _ := v.keys(t)
	for _, n := range v.Negotiation {
		var payload []byte
		switch n.What {
		case "ping", "pong":
			tail := le32(n.Iteration)
			for i := 0; i < n.Size-69; i++ {
				tail = append(tail, byte(i))
			}
			sum := sha512.Sum512(tail)
			payload = join([]byte{map[string]byte{"ping": 1, "pong": 2}[n.What]}, sum[:], tail)
		case "control":
			payload = join([]byte{0}, le32(n.Largest), []byte{map[bool]byte{true: 1}[n.End]})
		default:
			t.Fatalf("unknown kind %q", n.What)
		}
		if given := n.Packet.Messages[0].Payload; given != nil {
			equal(t, n.What, payload, given)
		}
		check(t, &v, n.Packet, key, nil, payload)
	}
}

func TestRefused(t *testing.T) {
	v := load(t)
	r := v.MustReject
	if !opens(r.Original, r.CipherKey, r.SessionID) {
		t.Error("the undamaged packet does not open")
	}
	for _, bad := range r.Bad {
		if opens(bad.Wire, r.CipherKey, r.SessionID) {
			t.Errorf("%s: opens", bad.Name)
		}
	}
	body := join(le32(0xFFFFFFFC), le32(8), []byte{1}, []byte("injected"))
	_, wire := seal(41, body, nil, nil, nil)
	equal(t, "injected packet", wire, r.Injection.Wire)
}

// The payload of the two largest packets, which the vectors give by hash only.
func pattern(size int) []byte {
	out := make([]byte, size)
	for i := range out {
		out[i] = byte(i * 31)
	}
	return out
}
