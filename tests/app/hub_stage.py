"""What the tests of a hub share: the program in the background, and a stage with a hub and its clients. Their RSA keys
are those of tests/data/backbone, known to everybody: making one costs seconds in an instrumented build."""
import collections
import json
import os
import signal
import subprocess
import threading

from support import PROGRAM, Stage

PATIENCE = 120  # seconds; a slow machine is no failure
DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data", "backbone")


def known_keys():
    with open(os.path.join(DATA, "capture.json"), encoding="utf-8") as file:
        return json.load(file)["keys"]


def write_private(path, text):
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
        file.write(text)


class Running:
    """The program in the background; its JSON messages as they come."""

    def __init__(self, test, *args, env=None, stdin=None, prefix=()):
        self.process = subprocess.Popen([*prefix, PROGRAM, *args, "--json"], stdin=stdin, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, env={**test.env, **(env or {})})
        self.messages = []
        self.counts = collections.Counter()  # of each kind
        self.changed = threading.Condition()
        self.ended = False
        self.errors = b""
        self.threads = [threading.Thread(target=self.read), threading.Thread(target=self.read_errors)]
        for thread in self.threads:
            thread.start()
        test.addCleanup(self.stop)

    def read(self):
        for line in self.process.stdout:
            with self.changed:
                self.messages.append(json.loads(line))
                self.counts[self.messages[-1]["message_type"]] += 1
                self.changed.notify_all()
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    def read_errors(self):
        self.errors = self.process.stderr.read()

    def wait_for(self, kind, count=1, **fields):
        def found():
            return [m for m in self.messages if m["message_type"] == kind
                    and all(m.get(key) == value for key, value in fields.items())]
        with self.changed:
            done = self.changed.wait_for(lambda: len(found()) >= count or self.ended, PATIENCE)
            if len(found()) < count:
                raise AssertionError(f"no {kind} {fields}; ended {done and self.ended}: {self.messages[-5:]} "
                                     f"{self.errors.decode(errors='replace')}")
            return found()

    def wait_for_count(self, kind, count):
        """As wait_for(), and quick when there are many."""
        with self.changed:
            self.changed.wait_for(lambda: self.counts[kind] >= count or self.ended, PATIENCE)
            if self.counts[kind] < count:
                raise AssertionError(f"{self.counts[kind]} of {count} {kind}; ended {self.ended}")

    def stop(self, how=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(how)
        code = self.process.wait(PATIENCE)
        for thread in self.threads:
            thread.join(PATIENCE)
        self.process.stdout.close()
        self.process.stderr.close()
        return code


class HubStage(Stage):
    def setUp(self):
        super().setUp()
        self.state = self.path("hub")

    def start_hub(self, *args, listen="tcp:127.0.0.1:0", known_key=True, prefix=()):
        if known_key and not os.path.exists(self.state):
            os.mkdir(self.state, 0o700)
            write_private(os.path.join(self.state, "key.pem"), known_keys()["server"]["private_pem"])
        hub = Running(self, "hub", "serve", "--state", self.state, "--listen", listen, *args, prefix=prefix)
        told = hub.wait_for("hub_listening")[0]
        self.address, self.fingerprint = told["address"], told["fingerprint"]
        return hub

    def home(self, name):
        return {"SEALANE_HOME": self.path(name)}

    def enrol(self, *names, legacy=False):
        """Clients with an identity each, who pin each other. The first two have known keys."""
        lines = []
        for name, key in zip(names, ["A", "B"] + [None] * len(names)):
            os.makedirs(self.path(name), mode=0o700)
            self.ok("keygen", "--comment", name, env=self.home(name))
            with open(self.path(name, "identity.pub"), encoding="utf-8") as file:
                lines.append(name + " " + " ".join(file.read().split()[:2]))
            self.enrol_one(name, key, legacy)
        for name in names:
            with open(self.path(name, "trusted_keys"), "w", encoding="utf-8") as file:
                file.write("\n".join(lines) + "\n")

    def enrol_one(self, name, key, legacy=False):
        args = ["hub", "enrol", name, "--state", self.state, "--identity", self.path(name, "identity.pub"),
                *(["--legacy"] if legacy else [])]
        if key is None:
            self.ok(*args, "--address", self.address, "--out", self.path(name, "hub"))
            return
        key = known_keys()[key]
        with open(self.path(name, "public.pem"), "w", encoding="utf-8") as file:
            file.write(key["public_pem"])
        client = self.json_lines(*args, "--public-key", self.path(name, "public.pem"))[-1]["id"]
        write_private(self.path(name, "hub"), f"hub: {self.address}\nfingerprint: {self.fingerprint}\nid: {client}\n"
                                              f"name: {name}\n{key['private_pem']}")

    def listen(self, name, *args):
        listener = Running(self, "listen", *args, env=self.home(name))
        listener.wait_for("hub_online")
        return listener

    def send(self, name, *args, code=0, **kwargs):
        return self.expect(code, "send", *args, "--timeout", str(PATIENCE), env=self.home(name), **kwargs)

    def status(self):
        return self.json_lines("hub", "status", "--state", self.state)[0]
