"""Goal: a hub on the real program: enrolment, messages in the clear and sealed end to end, files that go on where
they were cut, a killed hub that loses nothing accepted, silent strangers, wrong keys and settings. Method: hub and
clients as processes on loopback, with ports that the hub chose."""
import base64
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time

from support import PROGRAM, Stage, main

PATIENCE = 120  # seconds; a slow machine is no failure


class Running:
    """The program in the background; its JSON messages as they come."""

    def __init__(self, test, *args, env=None):
        self.process = subprocess.Popen([PROGRAM, *args, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        env={**test.env, **(env or {})})
        self.messages = []
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

    def stop(self, how=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(how)
        code = self.process.wait(PATIENCE)
        for thread in self.threads:
            thread.join(PATIENCE)
        self.process.stdout.close()
        self.process.stderr.close()
        return code


class Hub(Stage):
    def start_hub(self, *args, listen="tcp:127.0.0.1:0"):
        hub = Running(self, "hub", "serve", "--state", self.path("hub"), "--listen", listen, *args)
        self.address = hub.wait_for("hub_listening")[0]["address"]
        return hub

    def home(self, name):
        return {"SEALANE_HOME": self.path(name)}

    def enrol(self, *names, legacy=False):
        """Clients with an identity each, who pin each other."""
        lines = []
        for name in names:
            os.makedirs(self.path(name), mode=0o700)
            self.ok("keygen", "--comment", name, env=self.home(name))
            with open(self.path(name, "identity.pub"), encoding="utf-8") as file:
                lines.append(name + " " + " ".join(file.read().split()[:2]))
            self.ok("hub", "enrol", name, "--state", self.path("hub"), "--identity", self.path(name, "identity.pub"),
                    "--address", self.address, "--out", self.path(name, "hub"), *(["--legacy"] if legacy else []))
        for name in names:
            with open(self.path(name, "trusted_keys"), "w", encoding="utf-8") as file:
                file.write("\n".join(lines) + "\n")

    def listen(self, name, *args):
        listener = Running(self, "listen", *args, env=self.home(name))
        listener.wait_for("hub_online")
        return listener

    def send(self, name, *args, code=0, **kwargs):
        return self.expect(code, "send", *args, "--timeout", str(PATIENCE), env=self.home(name), **kwargs)

    def status(self):
        return self.json_lines("hub", "status", "--state", self.path("hub"))[0]

    def test_sealed_messages_arrive_and_the_hub_sees_none_of_them(self):
        hub = self.start_hub()
        self.enrol("shop", "prover")
        listener = self.listen("prover")
        secret = b"the backup of tonight is done"
        _, err = self.send("shop", "prover", stdin=secret)
        self.assertIn("sealed end to end", err)
        message = listener.wait_for("message")[0]
        self.assertEqual((message["name"], message["sealed"]), ("shop", True))
        self.assertEqual(base64.b64decode(message["data_base64"]), secret)
        clients = {m["name"]: m for m in self.json_lines("hub", "clients", "--state", self.path("hub"))}
        self.assertTrue(clients["prover"]["online"] and clients["prover"]["upgraded"])
        self.assertEqual(listener.stop(), 0)
        self.assertEqual(hub.stop(), 0)
        for folder, _, names in os.walk(self.path("hub")):
            for name in names:
                path = os.path.join(folder, name)
                if not os.path.isfile(path):
                    continue
                self.assertEqual(os.stat(path).st_mode & 0o077, 0, path)
                with open(path, "rb") as file:
                    self.assertNotIn(secret, file.read(), path)

    def test_the_hub_keeps_messages_in_the_clear_for_who_is_away(self):
        self.start_hub()
        self.enrol("shop", "prover")
        for i in range(3):
            self.send("shop", "prover", "--plain", "--text", f"note {i}")
        self.assertEqual(self.status()["queued_messages"], 3)
        listener = self.listen("prover", "--count", "3")
        listener.wait_for("message", count=3, sealed=False, name="shop")
        self.assertEqual(listener.stop(), 0)
        deadline = time.monotonic() + PATIENCE
        while self.status()["queued_messages"] and time.monotonic() < deadline:
            time.sleep(0.1)
        self.assertEqual(self.status()["queued_messages"], 0)

    def test_a_killed_hub_loses_nothing_that_it_accepted(self):
        hub = self.start_hub()
        self.enrol("shop", "prover")
        for i in range(5):
            self.send("shop", "prover", "--plain", "--text", f"note {i}")
        hub.stop(signal.SIGKILL)
        self.start_hub(listen=self.address)
        listener = self.listen("prover", "--count", "5")
        notes = [m["data_base64"] for m in listener.wait_for("message", count=5)]
        self.assertEqual(len(set(notes)), 5)

    def test_clients_dial_again(self):
        hub = self.start_hub()
        self.enrol("shop", "prover")
        listener = self.listen("prover")
        self.assertEqual(hub.stop(), 0)
        self.start_hub(listen=self.address)
        listener.wait_for("hub_online", count=2)
        self.send("shop", "prover", stdin=b"again")
        listener.wait_for("message")

    def test_a_file_appears_whole_and_goes_on_where_it_was_cut(self):
        self.start_hub()
        self.enrol("shop", "prover")
        os.mkdir(self.path("inbox"))
        data = os.urandom(3_000_000)
        with open(self.path("dump.age"), "wb") as file:
            file.write(data)
        digest = hashlib.sha256(data).digest()
        number = int.from_bytes(digest[:8], "big")
        clients = {m["name"]: m for m in self.json_lines("hub", "clients", "--state", self.path("hub"))}
        sender = clients["shop"]["id"].replace("-", "")
        part = self.path("inbox", f".dump.age.{sender}.{number}.part")
        with open(part, "wb") as file:
            file.write(data[:1_000_000])  # what an earlier try left
        listener = self.listen("prover", "--files", self.path("inbox"))
        _, err = self.send("shop", "prover", self.path("dump.age"))
        self.assertIn("going on at", err)
        listener.wait_for("file_received", name="shop")
        with open(self.path("inbox", "dump.age"), "rb") as file:
            self.assertEqual(file.read(), data)
        self.assertEqual(os.listdir(self.path("inbox")), ["dump.age"])

    def test_a_program_is_run_for_each_message(self):
        self.start_hub()
        self.enrol("shop", "prover")
        got = self.path("got")
        listener = self.listen("prover", "--exec", f"sh -c 'cat > {got}; echo $MESSAGE_NAME >> {got}'", "--count", "1")
        self.send("shop", "prover", "--text", "hello ")
        self.assertEqual(listener.process.wait(PATIENCE), 0)
        with open(self.path("got"), encoding="utf-8") as file:
            self.assertEqual(file.read(), "hello shop\n")

    def test_silent_strangers_delay_no_login(self):
        self.start_hub()
        self.enrol("shop", "prover")
        host, port = self.address.split(":")[1:]
        strangers = []
        for _ in range(500):
            strangers.append(socket.create_connection((host, int(port)), timeout=PATIENCE))
        try:
            self.send("shop", "prover", "--plain", "--text", "in spite of them")
            self.assertGreaterEqual(self.status()["pushed_out"], 200)
        finally:
            for stranger in strangers:
                stranger.close()

    def test_users_are_managed_while_it_runs(self):
        self.start_hub()
        self.enrol("shop", "prover")
        listener = self.listen("prover")
        self.ok("hub", "remove", "prover", "--state", self.path("hub"))
        self.assertNotEqual(listener.process.wait(PATIENCE), 0)
        _, err = self.send("shop", "prover", "--plain", "--text", "x", code=20)
        self.assertIn("nobody has that address", err)
        _, err = self.expect(2, "hub", "enrol", "shop", "--state", self.path("hub"), "--address", self.address, "--out",
                             self.path("again"))
        self.assertIn("is known already", err)
        self.assertFalse(os.path.exists(self.path("again")))

    def test_wrong_keys_are_refused(self):
        hub = self.start_hub()
        self.enrol("shop", "prover")
        hub.stop()
        shutil.move(self.path("hub"), self.path("old"))
        self.start_hub(listen=self.address)  # another key
        self.send("shop", "prover", "--plain", "--text", "x", code=21)
        # And a hub that does not know the client.
        with open(self.path("shop", "hub"), encoding="utf-8") as file:
            text = "".join(line for line in file if not line.startswith("fingerprint"))
        os.remove(self.path("shop", "hub"))
        with os.fdopen(os.open(self.path("shop", "hub"), os.O_CREAT | os.O_WRONLY, 0o600), "w") as file:
            file.write(text)
        self.send("shop", "prover", "--plain", "--text", "x", code=21)  # not pinned
        self.send("shop", "prover", "--plain", "--text", "x", "--trust-hub", "accept-new", code=20)
        with open(self.path("shop", "hub_pins"), encoding="utf-8") as file:
            self.assertIn(self.address + " SHA256:", file.read())

    def test_settings_name_their_mistake_and_act_at_once(self):
        with open(self.path("hub.toml"), "w", encoding="utf-8") as file:
            file.write("port = 0\n[hub]\nqueue = \"memory\"\ncolour = 1\n")
        _, err = self.expect(2, "hub", "serve", "--state", self.path("hub"), "--config", self.path("hub.toml"))
        self.assertIn("line 4: unknown key colour", err)
        with open(self.path("hub.toml"), "w", encoding="utf-8") as file:
            file.write("[client]\nheartbeat_intervall = 20\nheartbeat_timout = 60\nmotto = \"hi\"\n")
        hub = self.start_hub("--config", self.path("hub.toml"))
        with open(self.path("hub.toml"), "a", encoding="utf-8") as file:
            file.write("[hub]\nmessages_per_second = 1000\n")
        hub.wait_for("hub_settings")
        with open(self.path("hub.toml"), "a", encoding="utf-8") as file:
            file.write("nonsense = 1\n")
        hub.wait_for("warning")

    def test_a_second_hub_and_the_python_directory(self):
        hub = self.start_hub()
        self.enrol("shop")
        self.expect(11, "hub", "serve", "--state", self.path("hub"), "--listen", "tcp:127.0.0.1:0")
        hub.stop()
        self.ok("hub", "export", self.path("python"), "--state", self.path("hub"))
        self.ok("hub", "enrol", "--import", self.path("python"), "--state", self.path("copy"))
        clients = self.json_lines("hub", "clients", "--state", self.path("copy"))
        self.assertEqual([c["kind"] for c in clients], ["legacy"])
        self.expect(1, "hub", "status", "--state", self.path("copy"))


if __name__ == "__main__":
    main()
