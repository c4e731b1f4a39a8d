"""Goal: a hub on the real program: enrolment, messages in the clear and sealed end to end, files that go on where
they were cut, a killed hub that loses nothing accepted, silent strangers, wrong keys and settings. Method: hub and
clients as processes on loopback, with ports that the hub chose."""
import base64
import hashlib
import os
import pty
import shutil
import signal
import socket
import stat
import subprocess
import time

from hub_stage import HubStage, PATIENCE, Running, write_private
from support import PROGRAM, RELEASE, main


class Hub(HubStage):
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
        self.wait_for_queued(0)

    def wait_for_queued(self, count):
        """The hub may still read what a client said that has ended."""
        deadline = time.monotonic() + PATIENCE
        while self.status()["queued_messages"] != count and time.monotonic() < deadline:
            time.sleep(0.1)
        self.assertEqual(self.status()["queued_messages"], count)

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

    def test_who_sends_does_not_wait_for_a_listener_that_ended(self):
        self.start_hub()
        self.enrol("shop", "prover")
        with open(self.path("note"), "wb") as file:
            file.write(b"text")
        inbox = self.path("inbox")
        listener = self.listen("prover", "--files", inbox, "--count", "1")  # which makes its directory
        self.assertEqual(stat.S_IMODE(os.stat(inbox).st_mode), 0o700)
        sender = Running(self, "send", "prover", self.path("note"), env=self.home("shop"))
        sender.wait_for("message_sent")
        start = time.monotonic()
        self.assertEqual(sender.process.wait(PATIENCE), 0)
        took = time.monotonic() - start
        self.assertEqual(listener.process.wait(PATIENCE), 0)
        self.assertEqual(os.listdir(inbox), ["note"])
        if RELEASE:  # an instrumented program may be as slow
            self.assertLess(took, 2.5, "it waited for somebody who is gone")

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
        status = self.status()
        self.assertEqual((status["messages_refused"], status["messages_refused_by"]["unknown"]), (1, 1))
        _, err = self.expect(2, "hub", "enrol", "shop", "--state", self.path("hub"), "--address", self.address, "--out",
                             self.path("again"))
        self.assertIn("is known already", err)
        self.assertFalse(os.path.exists(self.path("again")))

    def test_wrong_keys_are_refused(self):
        hub = self.start_hub()
        self.enrol("shop", "prover")
        hub.stop()
        shutil.move(self.path("hub"), self.path("old"))
        self.start_hub(listen=self.address, known_key=False)  # another key
        self.send("shop", "prover", "--plain", "--text", "x", code=21)
        # And a hub that does not know the client.
        with open(self.path("shop", "hub"), encoding="utf-8") as file:
            text = "".join(line for line in file if not line.startswith("fingerprint"))
        os.remove(self.path("shop", "hub"))
        write_private(self.path("shop", "hub"), text)
        for _ in range(2):  # not pinned, and not by having been seen
            _, err = self.send("shop", "prover", "--plain", "--text", "x", code=21)
            self.assertIn(f"the hub's key is not pinned: {self.fingerprint}; compare it", err)
            self.assertFalse(os.path.exists(self.path("shop", "hub_pins")))
        self.send("shop", "prover", "--plain", "--text", "x", "--trust-hub", "accept-new", code=20)
        with open(self.path("shop", "hub_pins"), encoding="utf-8") as file:
            self.assertIn(self.address + " SHA256:", file.read())

    def test_accepting_what_is_new_is_not_accepting_what_changes(self):
        hub = self.start_hub()
        self.enrol("shop")
        with open(self.path("shop", "hub"), encoding="utf-8") as file:
            text = "".join(line for line in file if not line.startswith("fingerprint"))
        os.remove(self.path("shop", "hub"))
        write_private(self.path("shop", "hub"), text)
        listener = self.listen("shop", "--trust-hub", "accept-new")
        hub.stop()
        os.remove(self.path("hub", "key.pem"))  # another one comes in its place, which knows the client
        self.start_hub(listen=self.address)
        self.assertEqual(listener.process.wait(PATIENCE), 21)
        with open(self.path("shop", "hub_pins"), encoding="utf-8") as file:
            self.assertEqual(len(file.readlines()), 1)

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

    def test_a_hub_has_a_name(self):
        self.start_hub()
        self.enrol("shop", "prover")

        def dial(address):
            with open(self.path("shop", "hub"), encoding="utf-8") as file:
                text = "".join(f"hub: {address}\n" if line.startswith("hub:") else line for line in file)
            os.remove(self.path("shop", "hub"))
            write_private(self.path("shop", "hub"), text)
        # In capitals, so that it is looked up.
        dial("tcp:LOCALHOST:" + self.address.rsplit(":", 1)[1])
        self.send("shop", "prover", "--plain", "--text", "x")
        dial("tcp:nobody.invalid:4000")
        _, err = self.send("shop", "prover", "--plain", "--text", "x", code=1)
        self.assertRegex(err, "nobody.invalid (cannot be looked up now|.*check its spelling)|name nobody.invalid")
        dial("tcp:192.0.2:4000")
        _, err = self.send("shop", "prover", "--plain", "--text", "x", code=2)
        self.assertIn("its hub tcp:192.0.2:4000 is no address; write tcp:HOST:PORT", err)

    def test_settings_that_are_refused_change_nothing(self):
        group = "11111111-1111-4111-8111-111111111111"
        self.start_hub().stop()
        self.enrol("shop", "prover")
        clients = {m["name"]: m["id"] for m in self.json_lines("hub", "clients", "--state", self.path("hub"))}

        def write(members, more=""):
            with open(self.path("new.toml"), "w", encoding="utf-8") as file:
                file.write(f"[group.ops]\nid = \"{group}\"\nmembers = {members}\nmembers_only = false\n{more}")
            os.rename(self.path("new.toml"), self.path("hub.toml"))
        write([clients["prover"]])
        hub = self.start_hub("--config", self.path("hub.toml"), listen=self.address)
        write([], f"[group.zoo]\nid = \"{clients['shop']}\"\nmembers = []\n")
        warning = hub.wait_for("warning")[0]["message"]
        self.assertIn("the group zoo has the id of the client shop", warning)
        self.send("shop", group, "--plain", "--text", "to all")
        self.assertEqual(self.status()["queued_messages"], 1)  # for the member that was there
        write([])
        hub.wait_for("hub_settings")
        self.send("shop", group, "--plain", "--text", "to nobody")
        self.assertEqual(self.status()["queued_messages"], 1)
        _, err = self.expect(2, "hub", "enrol", "zoo", "--state", self.path("hub"), "--id", group, "--address",
                             self.address, "--out", self.path("zoo.hub"))
        self.assertIn("a group of the settings has this id", err)

    def test_what_cannot_be_meant_is_refused(self):
        missing = self.path("missing")
        for words in (["status"], ["clients"], ["remove", "shop"], ["export", self.path("python")]):
            _, err = self.expect(2, "hub", *words, "--state", missing)
            self.assertIn("holds no hub; name its directory with --state", err)
            self.assertFalse(os.path.exists(missing))  # asking made none
        for address in ("udp:127.0.0.1:4000", "tcp:hub:70000", "tcp:1.2.3:4000", "hub"):
            _, err = self.expect(2, "hub", "enrol", "shop", "--state", missing, "--address", address, "--out",
                                 self.path("shop.hub"))
            self.assertIn("write tcp:HOST:PORT", err)
            _, err = self.expect(2, "hub", "serve", "--state", missing, "--listen", address)
            self.assertIn("where a hub listens is tcp:HOST:PORT", err)
        os.makedirs(self.path("python", ".server", ".clients"))
        for more in (["--id", "1" * 32], ["--address", "tcp:a:1"], ["--identity", "x"], ["--public-key", "x"],
                     ["--legacy"], ["--out", "x"]):
            _, err = self.expect(2, "hub", "enrol", "--import", self.path("python"), "--state", missing, *more)
            self.assertIn("with --state alone", err)
        _, err = self.expect(2, "hub", "enrol", "shop", "--state", missing, "--public-key", "x", "--address", "tcp:a:1")
        self.assertIn("no --address", err)
        self.assertFalse(os.path.exists(missing))

    def test_an_import_that_was_cut_is_made_again(self):
        self.start_hub().stop()
        self.enrol("shop", "prover")
        self.ok("hub", "export", self.path("python"), "--state", self.path("hub"))
        bad = self.path("python", ".server", ".clients", "f" * 32)
        with open(bad, "w", encoding="utf-8") as file:
            file.write("no key")
        self.expect(2, "hub", "enrol", "--import", self.path("python"), "--state", self.path("copy"))
        os.remove(bad)
        out, _ = self.ok("hub", "enrol", "--import", self.path("python"), "--state", self.path("copy"))
        self.assertRegex(out, r"Imported \d legacy clients, \d were here already")
        self.assertEqual(len(self.json_lines("hub", "clients", "--state", self.path("copy"))), 2)

    def test_send_and_listen_say_what_they_cannot_do(self):
        missing = self.path("missing")
        self.start_hub()
        self.enrol("shop", "prover")
        with open(self.path("file"), "wb") as file:
            file.write(bytes((8 << 20) + 1))
        _, err = self.send("shop", "prover", self.path("file"), "--text", "x", code=2)
        self.assertIn("--text goes instead of a FILE", err)
        _, err = self.send("shop", "prover", self.path("file"), "--plain", code=20)
        self.assertIn("which is 8.00 MiB at most here; a file goes sealed, in any size", err)
        _, err = self.send("shop", "shop", "--text", "x", code=2)
        self.assertIn("nothing is sealed to oneself", err)
        self.send("shop", "shop", "--text", "x", "--plain")
        _, err = self.expect(2, "listen", "--files", os.path.join(missing, "inbox"), env=self.home("prover"))
        self.assertIn(f"the directory it would lie in, {missing}, is missing", err)
        self.assertFalse(os.path.exists(missing))
        _, err = self.expect(2, "listen", "--files", self.path("file"), env=self.home("prover"))
        self.assertIn("is no directory for files", err)
        self.listen("prover")
        _, err = self.send("shop", "prover", self.path("file"), code=20)
        self.assertIn("needs --files DIR", err)

    def test_keys_are_made(self):
        self.start_hub(known_key=False)
        os.makedirs(self.path("shop"), mode=0o700)
        self.ok("keygen", env=self.home("shop"))
        identity, profile = self.path("shop", "identity.pub"), self.path("shop", "hub")
        _, err = self.ok("hub", "enrol", "shop", "--state", self.path("hub"), "--identity", identity,
                         "--address", self.address, "--out", profile)
        self.assertIn("keep no copy", err)
        listener = self.listen("shop")
        self.assertEqual(listener.stop(), 0)

    def test_what_was_dealt_with_does_not_come_again(self):
        hub = self.start_hub()
        self.enrol("shop", "prover")
        self.send("shop", "prover", "--plain", "--lines", stdin=b"".join(b"%d\n" % i for i in range(20)))
        hub.stop()
        shutil.copy(self.path("hub", "queue.db"), self.path("queue.db"))
        hub = self.start_hub(listen=self.address)
        # It stops at a message that it cannot deal with: that one and those behind it come again.
        _, err = self.expect(1, "listen", "--exec", "sh -c 'read line; echo $line; test $line != 7'",
                             env=self.home("prover"))
        self.assertIn("it comes again at the next start", err)
        self.wait_for_queued(13)
        # As if the hub had lost what it was told: it gives all of them again.
        hub.stop()
        shutil.copy(self.path("queue.db"), self.path("hub", "queue.db"))
        self.start_hub(listen=self.address)
        self.assertEqual(self.status()["queued_messages"], 20)
        listener = self.listen("prover", "--count", "13")
        self.assertEqual(listener.process.wait(PATIENCE), 0)
        listener.stop()
        notes = [int(base64.b64decode(m["data_base64"])) for m in listener.wait_for("message", count=13)]
        self.assertEqual(notes, list(range(7, 20)))

    def test_a_message_in_the_clear_may_be_larger_than_a_frame(self):
        hub = self.start_hub()
        self.enrol("shop", "prover", "third")
        large = os.urandom(1 << 20)
        with open(self.path("large"), "wb") as file:
            file.write(large)
        # For one who is away, and over a crash of the hub.
        _, err = self.send("shop", "prover", "--plain", self.path("large"))
        self.assertIn("accepted by the hub: 1.00 MiB, in the clear", err)
        self.assertGreater(self.status()["queued_messages"], 10)
        hub.stop(signal.SIGKILL)
        self.start_hub(listen=self.address)
        # The command fails: it comes again, whole.
        _, err = self.expect(1, "listen", "--exec", "false", env=self.home("prover"))
        self.assertIn("it comes again at the next start", err)
        listener = self.listen("prover")
        listener.wait_for("message", count=1)
        self.send("third", "prover", "--plain", self.path("large"))
        self.send("shop", "prover", "--plain", "--text", "short")
        messages = listener.wait_for("message", count=3)
        self.assertEqual([(m["name"], m["size"]) for m in messages], [("shop", 1 << 20), ("third", 1 << 20),
                                                                      ("shop", 5)])
        for message in messages[:2]:
            self.assertEqual(base64.b64decode(message["data_base64"]), large)
        self.assertEqual(listener.stop(), 0)
        self.assertEqual(self.status()["queued_messages"], 0)
        kept = [name for name in os.listdir(self.path("prover")) if name.startswith("hub_parts")]
        self.assertEqual([os.listdir(self.path("prover", name)) for name in kept], [[]])

    def test_a_command_need_not_read_the_message(self):
        self.start_hub()
        self.enrol("shop", "prover")
        listener = self.listen("prover", "--exec", "true", "--count", "6")
        for _ in range(5):
            self.send("shop", "prover", "--text", "go")
        # More than a pipe holds.
        with open(self.path("large"), "wb") as file:
            file.write(bytes(1 << 20))
        self.send("shop", "prover", "--plain", self.path("large"))
        self.assertEqual(listener.process.wait(60), 0)

    def test_a_killed_listener_loses_no_part(self):
        self.start_hub()
        self.enrol("shop", "prover")
        large = os.urandom(3 << 20)
        with open(self.path("large"), "wb") as file:
            file.write(large)
        # A command whose input was cut by a kill has another sum.
        command = f"sh -c 'sha256sum >>{self.path('sums')}'"
        right = hashlib.sha256(large).hexdigest()
        sender = subprocess.Popen([PROGRAM, "send", "prover", "--plain", self.path("large")],
                                  env={**self.env, **self.home("shop")}, stderr=subprocess.PIPE)
        self.addCleanup(sender.communicate)
        self.addCleanup(sender.kill)
        kills, there = 0, False
        deadline = time.monotonic() + PATIENCE
        while not there and time.monotonic() < deadline:
            listener = self.listen("prover", "--exec", command)
            time.sleep(0.01 + 0.01 * kills)
            listener.stop(signal.SIGKILL)
            kills += 1
            if os.path.exists(self.path("sums")):
                with open(self.path("sums"), encoding="ascii") as file:
                    there = right in file.read()
        self.assertTrue(there)
        self.assertEqual(sender.wait(PATIENCE), 0, sender.stderr.read())

    def test_two_people_talk(self):
        self.start_hub()
        self.enrol("shop", "prover")
        # One at a terminal, one through pipes.
        keyboard, terminal = pty.openpty()
        shop = Running(self, "chat", "prover", env=self.home("shop"), stdin=terminal)
        os.close(terminal)
        shop.wait_for("presence", online=False)
        prover = Running(self, "chat", "shop", env=self.home("prover"), stdin=subprocess.PIPE)
        prover.wait_for("presence", online=True)
        shop.wait_for("presence", online=True)
        os.write(keyboard, b"is it proven?\n")
        self.assertEqual(base64.b64decode(prover.wait_for("message", name="shop", sealed=True)[0]["data_base64"]),
                         b"is it proven?")
        prover.process.stdin.write(b"it is\nsince tonight")  # the last one without its line feed
        prover.process.stdin.close()
        said = [base64.b64decode(m["data_base64"]) for m in shop.wait_for("message", count=2, name="prover")]
        self.assertEqual(said, [b"it is", b"since tonight"])
        self.assertEqual(prover.process.wait(PATIENCE), 0)  # the end of the input is the end
        shop.wait_for("presence", count=2, online=False)
        os.write(keyboard, b"still there?\n")
        os.write(keyboard, b"\x04")  # Ctrl-D
        self.assertEqual(shop.process.wait(PATIENCE), 1)  # that line went to nobody
        os.close(keyboard)
        shop.stop()
        self.assertTrue(any("is offline: not sent" in m["message"] for m in shop.wait_for("warning")))

    def test_who_comes_and_goes_is_told(self):
        self.start_hub()
        self.enrol("shop", "prover")
        watcher = self.listen("prover", "--presence")
        state = watcher.wait_for("hub_state")[0]
        self.assertEqual((state["clients"], state["online"], state["queued_messages"]), (2, 1, 0))
        watcher.wait_for("presence", name="shop", online=False)
        shop = self.listen("shop")
        watcher.wait_for("presence", name="shop", online=True)
        shop.stop()
        watcher.wait_for("presence", name="shop", online=False, count=2)

    def test_rights_say_who_may_send_where_and_see_whom(self):
        with open(self.path("hub.toml"), "w", encoding="utf-8") as file:
            file.write("[rights.shop]\nsend_to = [\"prover\"]\n"
                       "[rights.prover]\nsend_to = []\nsees_presence = false\n")
        hub = self.start_hub("--config", self.path("hub.toml"))
        self.enrol("shop", "prover")
        self.send("shop", "prover", "--plain", "--text", "x")
        _, err = self.send("prover", "shop", "--plain", "--text", "x", code=20)
        self.assertIn("may not send there", err)
        _, err = self.send("prover", "shop", "--text", "x", code=20)  # sealed: it asks who is there
        self.assertIn("may not send there", err)
        with open(self.path("hub.toml"), "a", encoding="utf-8") as file:
            file.write("[rights.nobody]\nsend_to = []\n")
        hub.wait_for("hub_settings")
        with open(self.path("hub.toml"), "w", encoding="utf-8") as file:
            file.write("[client]\nmotto = \"all may\"\n")
        hub.wait_for("hub_settings", count=2)
        self.send("prover", "shop", "--plain", "--text", "x")


if __name__ == "__main__":
    main()
