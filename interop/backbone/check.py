"""The legacy peer (legacy_peer.py) against build/release/sealane: it as the client, as the hub, mixed with
ours, hostile, and with a relay between. Prints one line a check; exit 1 on the first that fails. SEALANE names the
program; SEALANE_INTEROP_LONG=1 keeps clients idle for two minutes instead of some seconds."""
import base64
import json
import os
import pathlib
import queue
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid

from cryptography.hazmat.primitives import hashes, serialization

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import legacy_peer  # noqa: E402
from local_hub import free_port, frame, profile, read_challenge, read_whole_frame, wait_for  # noqa: E402

SEALANE = os.environ.get("SEALANE", "build/release/sealane")
LONG = bool(os.environ.get("SEALANE_INTEROP_LONG"))
IDLE = 120 if LONG else 6  # at our hub, which announces 2 s
QUIET = 120 if LONG else 33  # at a legacy hub: above its limit of 30 s, whatever it announces
CAPTURE = pathlib.Path(__file__).resolve().parent.parent.parent / "tests/data/backbone/capture.json"
KEYS = CAPTURE.parent


def passed(what):
    print(f"backbone: {what}", flush=True)


def expect(condition, what):
    if not condition:
        print(f"backbone: FAILED: {what}", flush=True)
        sys.exit(1)


def sealane(*command, code=0, **options):
    done = subprocess.run([SEALANE, *command], capture_output=True, timeout=120, **options)
    expect(done.returncode == code, f"sealane {' '.join(command)}: {done.returncode}, {done.stderr.decode()}")
    return done.stdout.decode() if code == 0 else done.stderr.decode()


class Listener:
    """`sealane listen`, and what it printed so far."""

    def __init__(self, environment, *options):
        self.process = subprocess.Popen([SEALANE, "listen", *options, "--json"], stdout=subprocess.PIPE,
                                        env=environment)
        self.told = queue.Queue()
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            self.told.put(json.loads(line))

    def next(self, kind):
        while True:
            try:
                told = self.told.get(timeout=60)
            except queue.Empty:
                expect(False, f"sealane listen printed no {kind}")
            if told["message_type"] == kind:
                return told

    def end(self):
        self.process.terminate()
        expect(self.process.wait(60) == 0, "sealane listen ends well")


class SealaneHub:
    def __init__(self, folder):
        self.folder, self.state, self.port = folder, folder / "hub", free_port()
        self.address = ("127.0.0.1", self.port)
        self.config = folder / "hub.toml"
        self.config.write_text("[client]\nheartbeat_interval = 2\nheartbeat_timeout = 60\n")
        self.people = {}
        self.process = None

    def enrol_legacy(self, name):
        key, client_id = legacy_peer.generate(), legacy_peer.new_id()
        self.enrol(name, client_id, key, "--legacy")
        self.people[name] = (client_id, key)

    def enrol(self, name, client_id, public_key, *kind):
        public = self.folder / f"{name}.pub"
        public.write_bytes(legacy_peer.public_pem(public_key))
        sealane("hub", "enrol", name, "--state", str(self.state), "--id", client_id.hex(), "--public-key", str(public),
                *kind)

    def status(self):
        return json.loads(sealane("hub", "status", "--state", str(self.state), "--json"))

    def fingerprint(self):
        return self.status()["fingerprint"]

    def start(self):
        self.process = subprocess.Popen([SEALANE, "hub", "serve", "--state", str(self.state), "--config",
                                         str(self.config), "--listen", f"tcp:127.0.0.1:{self.port}"],
                                        stdout=subprocess.DEVNULL, stderr=open(self.folder / "hub.log", "ab"))
        try:
            wait_for(self.port, self.process)
        except RuntimeError as error:
            expect(False, f"{error}: " + (self.folder / "hub.log").read_text())

    def client(self, name):
        client = legacy_peer.Client(self.address, *self.people[name])
        expect(client.ready.wait(60), f"login of {name}: {client.why}")
        return client

    def end(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        self.process.wait(60)


def arrives(client, data, what):
    try:
        got = client.inbox.get(timeout=60)
    except queue.Empty:
        expect(False, f"{what}: nothing came ({client.why})")
    expect(got == (client.client_id, data), f"{what}: something else came")


def legacy_clients_at_our_hub(folder):
    hub = SealaneHub(folder)
    hub.enrol_legacy("a")
    hub.enrol_legacy("b")
    hub.start()
    try:
        a, b = hub.client("a"), hub.client("b")
        passed(f"legacy clients log in; challenge of {a.challenge_size} bytes, {len(a.settings)} settings")
        for size in (2, 933, 8000):
            data = os.urandom(size)
            a.send(b.client_id, data)
            arrives(b, data, f"A to B, {size} bytes")
            b.send(a.client_id, data)
            arrives(a, data, f"B to A, {size} bytes")
            a.send(a.client_id, data)
            arrives(a, data, f"loopback, {size} bytes")
        passed("A to B, B to A, loopback; 2, 933 and 8000 bytes")

        for number in range(300):
            a.send(b.client_id, b"%d:" % number + bytes(1021))
        for number in range(300):
            arrives(b, b"%d:" % number + bytes(1021), "a burst")
        passed("300 messages of 1 KiB at once, to a client that reads a frame with one call")

        a.send(legacy_peer.new_id(), b"to nobody")
        a.send(b.client_id, b"and to b")
        arrives(b, b"and to b", "after a message to nobody")
        a.send(b.client_id, b"")
        arrives(b, None, "a message without data")
        expect(not a.ended.is_set() and not b.ended.is_set(), "both live")
        passed("a message to nobody harms not its sender, one without data not its recipient")

        before = a.heartbeats
        time.sleep(IDLE)
        expect(a.heartbeats > before and not a.ended.is_set() and not b.ended.is_set(), f"idle: {a.why}, {b.why}")
        passed(f"{IDLE} s idle, {a.heartbeats - before} heartbeats")

        hub.config.write_text("[client]\nheartbeat_interval = 1\nheartbeat_timeout = 60\n")
        configs = a.configs
        for _ in range(600):
            if a.configs > configs or a.ended.is_set():
                break
            time.sleep(0.1)
        expect(a.configs > configs and a.settings["heartbeat_interval"] == 1, f"CONFIG update: {a.settings} {a.why}")
        passed("a new heartbeat interval while connected")

        expect(a.stop() and a.why.startswith("STOP"), f"STOP is answered: {a.why}")
        a = hub.client("a")
        passed("STOP is answered; the id logs in again at once")
        again = hub.client("a")
        expect(a.ended.wait(60) and a.why.startswith("STOP"), f"takeover: {a.why}")
        passed(f"a second login takes over; the first is told: {a.why}")

        silent = [socket.create_connection(hub.address) for _ in range(500)]
        third = hub.client("b")
        expect(third.ready.is_set(), "login beside silent connections")
        for one in silent:
            one.close()
        passed("500 silent connections delay no login")

        third.sock.shutdown(socket.SHUT_WR)  # FIN without STOP
        b = hub.client("b")
        again.send(b.client_id, b"after FIN")
        arrives(b, b"after FIN", "after FIN without STOP")
        passed("FIN without STOP frees the id")

        ours_among_legacy_clients(folder, hub, again)
        hostile_clients(hub, again)
        relays(folder, hub)

        hub.end()
        expect(again.ended.wait(60) and again.why.startswith("STOP"), f"hub stop: {again.why}")
        passed(f"the hub stops with a word: {again.why}")
        hub.start()
        a = hub.client("a")
        hub.end(signal.SIGKILL)
        expect(a.ended.wait(60) and "Reset" in a.why, f"hub kill -9: {a.why}")
        passed("a killed hub resets its connections, so that legacy clients end")
    finally:
        if hub.process.poll() is None:
            hub.end()


def ours_among_legacy_clients(folder, hub, a):
    """Python client A, our hub, our clients; with keys of 3072 and 4096 bits, and back."""
    environment = {**os.environ, "SEALANE_HOME": str(folder / "ours")}
    for size in (3072, 4096):
        pem = (KEYS / f"rsa_{size}.pem").read_bytes()
        key = serialization.load_pem_private_key(pem, None)
        client_id = legacy_peer.new_id()
        hub.enrol(f"ours{size}", client_id, key)
        path = profile(folder / f"ours{size}.hub", hub.address, client_id, pem.decode(), hub.fingerprint())
        listener = Listener(environment, "--hub", str(path))
        expect(listener.next("hub_online")["upgraded"], "our client upgrades")
        for data in (b"from Python", os.urandom(933), os.urandom(8000)):
            a.send(client_id, data)
            told = listener.next("message")
            expect(base64.b64decode(told["data_base64"]) == data and told["from"] == str(uuid.UUID(bytes=a.client_id)),
                   f"A to ours, {len(data)} bytes")
        listener.end()
        for data in (b"to Python", os.urandom(933), os.urandom(8000)):
            sealane("send", "--hub", str(path), "--plain", a.client_id.hex(), "-", input=data, env=environment)
            arrives(a, data, f"ours to A, {len(data)} bytes")
    passed("a legacy client and ours through our hub, both ways; our keys of 3072 and 4096 bits")


def hostile_clients(hub, witness):
    """Whatever one client does, the others do not notice; and what is no message is dropped."""
    rows = json.loads(CAPTURE.read_text())["codec"]["decode"]
    name = "b"

    def raw():
        sock = socket.create_connection(hub.address, timeout=60)
        return (sock, *read_challenge(sock, *hub.people[name]))

    sock, hub_key, response = raw()
    for at in range(len(response)):  # byte by byte
        sock.sendall(response[at:at + 1])
    read_whole_frame(sock)  # CONFIG
    sent = 0
    for row in rows:
        plain = bytes.fromhex(row["hex"] if "hex" in row else row["input"])
        if plain[:1] == b"\x1f" or not plain:  # STOP ends it, as it should
            continue
        sock.sendall(frame(legacy_peer.encrypt(hub_key, plain)) + b"\0\0")
        sent += 1
    for block in (1, 7, 190):  # any cut of the plaintext into blocks
        plain = b"\0" + witness.client_id + b"cut by %d" % block
        sock.sendall(frame(b"".join(hub_key.encrypt(plain[at:at + block], legacy_peer.oaep())
                                    for at in range(0, len(plain), block))))
        arrives(witness, b"cut by %d" % block, "blocks of any size")
    by = hub.status()["discarded_frames_by"]  # of a connection that is still open
    expect(by["undecodable"] > 0 and by["out_of_scope"] > 0 and by["clear"] == 0, f"discarded, and counted: {by}")
    passed(f"byte by byte, {sent} kinds of plaintext, zero frames, blocks of 1, 7 and 190 bytes: it lives")
    for bad in (os.urandom(255), os.urandom(256), os.urandom(65535)):
        sock.sendall(frame(bad))
        stop = legacy_peer.decrypt(hub.people[name][1], read_whole_frame(sock))
        expect(stop[0] == 0x1f and b"bad frame" in stop, "STOP for what does not open")
        expect(sock.recv(1) == b"", "and the end")
        sock, hub_key, response = raw()
        sock.sendall(response)
        read_whole_frame(sock)
    sock.close()
    signature = os.urandom(256)
    for wrong in (b"", b"x" * 15, b"x" * 16, legacy_peer.new_id() + signature, hub.people[name][0] + signature):
        sock, hub_key, _ = raw()
        sock.sendall(frame(legacy_peer.encrypt(hub_key, wrong)) if wrong else b"\0\2ab")
        expect(sock.recv(1) == b"", "a failed login is closed without a frame")
        sock.close()
    expect(not witness.ended.is_set(), "the others do not notice")
    passed("sizes that cannot be, damaged blocks, wrong ids and signatures: each ends its own connection alone")


class Relay:
    """Between a client and a hub, with a key of its own in the challenge."""

    def __init__(self, hub, changes_hash):
        self.hub, self.changes_hash, self.key = hub, changes_hash, legacy_peer.generate()
        self.read, self.reached = [], 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = self.listener.getsockname()
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        try:
            hub = socket.create_connection(self.hub)
            payload = read_whole_frame(hub)
            size = int.from_bytes(payload[:2], "big")
            hub_key, data = serialization.load_pem_public_key(payload[2:2 + size]), payload[2 + size:]
            own = legacy_peer.public_pem(self.key)
            if self.changes_hash and data[:8] == bytes.fromhex("42424348414c310a"):
                digest = hashes.Hash(hashes.SHA256())
                digest.update(own)
                data = data[:10] + digest.finalize() + data[42:]
            client.sendall(frame(len(own).to_bytes(2, "big") + own + data))
            while True:
                plain = legacy_peer.decrypt(self.key, read_whole_frame(client))
                self.reached += 1
                self.read.append(plain)
                hub.sendall(frame(legacy_peer.encrypt(hub_key, plain)))
                if self.reached == 1:  # what the hub says from now on goes through as it is
                    threading.Thread(target=self.back, args=(hub, client), daemon=True).start()
        except (OSError, ValueError, EOFError):
            client.close()

    @staticmethod
    def back(hub, client):
        try:
            while chunk := hub.recv(65536):
                client.sendall(chunk)
            client.shutdown(socket.SHUT_WR)
        except OSError:
            pass


def relays(folder, hub):
    """The active man in the middle: he reads a legacy client, and never gets past ours."""
    relay = Relay(hub.address, False)
    fooled = legacy_peer.Client(relay.address, *hub.people["b"])
    expect(fooled.ready.wait(60), f"a legacy client cannot tell: {fooled.why}")
    fooled.send(fooled.client_id, b"read on the way")
    arrives(fooled, b"read on the way", "through the relay")
    expect(any(b"read on the way" in plain for plain in relay.read), "the relay reads a legacy client")
    fooled.stop()
    key, client_id = legacy_peer.generate(), legacy_peer.new_id()
    hub.enrol("careful", client_id, key)
    pem = legacy_peer.private_pem(key).decode()
    for changes_hash, pinned in ((False, False), (True, True), (False, True), (True, False)):
        relay = Relay(hub.address, changes_hash)
        # A home of its own each time: accept-new must not have seen the hub.
        environment = {**os.environ, "SEALANE_HOME": str(folder / f"careful-{changes_hash}-{pinned}")}
        path = profile(folder / f"careful-{changes_hash}-{pinned}.hub", relay.address, client_id, pem,
                       hub.fingerprint() if pinned else None)
        why = sealane("send", "--hub", str(path), "--plain", "--trust-hub", "accept-new", client_id.hex(), "-",
                      input=b"secret", env=environment, code=20 if changes_hash and not pinned else 21)
        expect(not any(b"secret" in plain for plain in relay.read), "the relay read it")
        # With a hash of his own he gets a signature that the hub does not take, and that is all.
        expect(relay.reached == (1 if changes_hash and not pinned else 0), f"what the relay got: {why}")
    passed("a relay reads a legacy client; ours tell it by the pin, and without one by the bound challenge")


def our_clients_at_a_legacy_hub(folder, meanwhile):
    people = {name: (legacy_peer.new_id(), legacy_peer.generate()) for name in ("a", "b", "quiet")}
    # It announces ten times what it stands itself.
    hub = legacy_peer.Hub(0, {person: legacy_peer.public_pem(key) for person, key in people.values()},
                          {"heartbeat_timeout": 600, "heartbeat_interval": 300})

    def ours(name):
        path = profile(folder / f"{name}.hub", hub.address, people[name][0],
                       legacy_peer.private_pem(people[name][1]).decode())
        environment = {**os.environ, "SEALANE_HOME": str(folder / f"home-{name}")}
        return environment, ["--hub", str(path), "--legacy-hub", "--trust-hub", "accept-new"]

    quiet_environment, quiet_options = ours("quiet")
    quiet = Listener(quiet_environment, *quiet_options)
    quiet.next("hub_online")
    quiet_since = time.monotonic()
    meanwhile()

    environment, common = ours("a")
    a, b = people["a"][0], legacy_peer.Client(hub.address, *people["b"])
    expect(b.ready.wait(60), "legacy login")
    for size in (2, 933, 8000):
        data = os.urandom(size)
        sealane("send", *common, b.client_id.hex(), "-", input=data, env=environment)
        arrives(b, data, f"sealane send, {size} bytes")
    passed("A to B through a legacy hub; 2, 933 and 8000 bytes; STOP, and a login at once each time")
    sealane("send", *common, a.hex(), "-", input=b"to myself", env=environment)
    expect((a, b"to myself") in hub.routed, "loopback reaches the hub")
    why = sealane("send", *common, b.client_id.hex(), "-", input=bytes(60_000), env=environment, code=20)
    expect("too large" in why, f"oversize is refused here: {why}")
    why = sealane("send", *common, b.client_id.hex(), "-", input=b"", env=environment, code=20)
    expect("without data" in why and not b.ended.is_set(), f"a message without data is not sent: {why}")
    passed("loopback; what is too large, and what would end its recipient, is refused before it is sent")

    listener = Listener(environment, *common)
    listener.next("hub_online")
    for size in (2, 933, 8000):
        data = os.urandom(size)
        b.send(a, data)
        expect(base64.b64decode(listener.next("message")["data_base64"]) == data, f"B to A, {size} bytes")
    listener.end()
    passed("B to A; 2, 933 and 8000 bytes")

    time.sleep(max(0.0, quiet_since + QUIET - time.monotonic()))
    b.send(people["quiet"][0], b"still there?")
    expect(base64.b64decode(quiet.next("message")["data_base64"]) == b"still there?", "quiet for long")
    quiet.end()
    passed(f"heartbeats keep a client for {time.monotonic() - quiet_since:.0f} s at a hub that gives up after 30")
    expect(b.stop(), "STOP")
    hub.close()
    expect(not [entry for entry in hub.log if entry.startswith(("deliver", "login", "idle"))], f"legacy hub: {hub.log}")


def main():
    with tempfile.TemporaryDirectory(prefix="sealane-backbone-") as name:
        folder = pathlib.Path(name)
        our_clients_at_a_legacy_hub(folder, lambda: legacy_clients_at_our_hub(folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
