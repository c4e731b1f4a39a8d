"""The legacy peer (legacy_peer.py) against build/release/sealane, both roles. Prints one line a check;
exit 1 on the first that fails, 77 when the program lacks a command, with its name. SEALANE names the
program; SEALANE_INTEROP_LONG=1 keeps clients idle for two minutes instead of ten seconds."""
import os
import pathlib
import queue
import signal
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import legacy_peer  # noqa: E402

SEALANE = os.environ.get("SEALANE", "build/release/sealane")
IDLE = 120 if os.environ.get("SEALANE_INTEROP_LONG") else 10
skipped = []


def passed(what):
    print(f"backbone: {what}", flush=True)


def expect(condition, what):
    if not condition:
        print(f"backbone: FAILED: {what}", flush=True)
        sys.exit(1)


def has(*command):
    return subprocess.run([SEALANE, *command, "--help"], capture_output=True, timeout=60).returncode == 0


def sealane(*command, **options):
    done = subprocess.run([SEALANE, *command], capture_output=True, timeout=120, **options)
    expect(done.returncode == 0, f"sealane {' '.join(command)}: {done.stderr.decode()}")
    return done.stdout.decode()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


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
        public = self.folder / f"{name}.pub"
        public.write_bytes(legacy_peer.public_pem(key))
        sealane("hub", "enrol", name, "--state", str(self.state), "--legacy", "--id", client_id.hex(),
                "--public-key", str(public))
        self.people[name] = (client_id, key)

    def start(self):
        self.process = subprocess.Popen([SEALANE, "hub", "serve", "--state", str(self.state), "--config",
                                         str(self.config), "--listen", f"tcp:127.0.0.1:{self.port}"],
                                        stdout=subprocess.DEVNULL, stderr=open(self.folder / "hub.log", "ab"))
        for _ in range(600):
            try:
                socket.create_connection(self.address, timeout=1).close()
                return
            except OSError:
                expect(self.process.poll() is None, "the hub ended: " + (self.folder / "hub.log").read_text())
                time.sleep(0.1)
        expect(False, "the hub does not listen")

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

        silent = [socket.create_connection(hub.address) for _ in range(200)]
        third = hub.client("b")
        expect(third.ready.is_set(), "login beside silent connections")
        for one in silent:
            one.close()
        passed("200 silent connections delay no login")

        third.sock.shutdown(socket.SHUT_WR)  # FIN without STOP
        b = hub.client("b")
        again.send(b.client_id, b"after FIN")
        arrives(b, b"after FIN", "after FIN without STOP")
        passed("FIN without STOP frees the id")

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


def our_clients_at_a_legacy_hub(folder):
    if not has("send") or not has("listen"):
        skipped.append("sealane send and listen at a legacy hub: no such command in this program")
        return
    people = {name: (legacy_peer.new_id(), legacy_peer.generate()) for name in ("a", "b")}
    hub = legacy_peer.Hub(0, {person: legacy_peer.public_pem(key) for person, key in people.values()},
                          {"heartbeat_timeout": 600, "heartbeat_interval": 300})
    client_id, key = people["a"]
    profile = folder / "a.hub"
    profile.touch(mode=0o600)
    profile.write_text(f"hub: tcp:127.0.0.1:{hub.address[1]}\nid: {client_id.hex()}\nname: a\n"
                       + legacy_peer.private_pem(key).decode())
    environment = {**os.environ, "SEALANE_HOME": str(folder / "home")}
    common = ["--hub", str(profile), "--legacy", "--trust-hub", "accept-new"]
    b = legacy_peer.Client(hub.address, *people["b"])
    expect(b.ready.wait(60), "legacy login")
    for size in (2, 933, 8000):
        data = os.urandom(size)
        sealane("send", *common, people["b"][0].hex(), "-", input=data, env=environment)
        arrives_from = b.inbox.get(timeout=60)
        expect(arrives_from == (people["b"][0], data), f"sealane send, {size} bytes")
    passed("sealane send to a legacy client through a legacy hub; logs in again at once")
    listener = subprocess.Popen([SEALANE, "listen", *common, "--json"], stdout=subprocess.PIPE, env=environment)
    try:
        for _ in range(600):
            if client_id in hub.queues:
                break
            time.sleep(0.1)
        time.sleep(IDLE if IDLE > 30 else 0)  # its heartbeats keep it, whatever the hub announced
        b.send(client_id, b"hello from Python")
        line = listener.stdout.readline()
        while line and b'"message_type"' in line and b"hello" not in line and b"aGVsbG8" not in line:
            line = listener.stdout.readline()
        expect(line, "sealane listen says what came")
        passed("sealane listen at a legacy hub")
    finally:
        listener.terminate()
        listener.wait(60)
        b.stop()
        hub.close()
    expect(not [entry for entry in hub.log if entry.startswith(("deliver", "login"))], f"legacy hub: {hub.log}")


def main():
    if not has("hub", "serve"):
        print("backbone: skipped: this program has no command hub serve")
        return 77
    with tempfile.TemporaryDirectory(prefix="sealane-backbone-") as folder:
        legacy_clients_at_our_hub(pathlib.Path(folder))
        our_clients_at_a_legacy_hub(pathlib.Path(folder))
    for what in skipped:
        print(f"backbone: skipped: {what}")
    return 77 if skipped else 0


if __name__ == "__main__":
    sys.exit(main())
