"""Goal: `sealane pipe` moves files, bytes and ports between two programs over each kind of connection, tells both
sides how it ended, and refuses strangers with a sentence that helps. Method: the built program at both ends."""
import hashlib
import json
import os
import random
import signal
import socket
import subprocess
import threading
import time
import unittest

import support
from support import Stage, main

WAIT = 120


def free_port(kind=socket.SOCK_STREAM):
    with socket.socket(socket.AF_INET, kind) as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class HalfCloseServer(threading.Thread):
    """Answers each request with its hash and size, but only after the end of the request was seen."""

    def __init__(self):
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.listen(64)
        self.port = self.listener.getsockname()[1]
        self.start()

    def run(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.answer, args=(connection,), daemon=True).start()

    @staticmethod
    def answer(connection):
        with connection:
            request = b""
            while part := connection.recv(65536):
                request += part
            body = hashlib.sha256(request).hexdigest().encode() + b" " + request[::-1]
            connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


def request(address, body):
    """Sends body, ends its direction, returns what came behind the header."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as connection:
        connection.settimeout(WAIT)
        connection.connect(address)
        connection.sendall(body)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while part := connection.recv(65536):
            answer += part
    return answer.partition(b"\r\n\r\n")[2]


class Pipe(Stage):
    def setUp(self):
        super().setUp()
        self.homes = {}
        for name in ("here", "there", "stranger"):
            self.homes[name] = {"SEALANE_HOME": self.path(name)}
            self.ok("keygen", "--comment", name, env=self.homes[name])

    def key(self, name):
        return self.path(name, "identity.pub")

    def fingerprint(self, name):
        out, _ = self.ok("id", self.key(name))
        return [line.split()[1] for line in out.splitlines() if line.startswith("fingerprint")][0]

    def start(self, who, *args, stdin=subprocess.DEVNULL):
        # Pipes that nobody reads would stop it: all it says goes to files.
        number = len(os.listdir(self.folder))
        out = open(self.path(f"out-{number}"), "w+b")  # pylint: disable=consider-using-with
        err = open(self.path(f"err-{number}"), "w+b")  # pylint: disable=consider-using-with
        process = subprocess.Popen([support.PROGRAM, "pipe", *args], stdin=stdin, stdout=out, stderr=err,
                                   env={**self.env, **self.homes[who]})
        process.out, process.err = out, err
        self.addCleanup(self.stop, process)
        return process

    @staticmethod
    def stop(process):
        if process.poll() is None:
            process.kill()
        process.wait()
        process.out.close()
        process.err.close()
        if process.stdin:
            process.stdin.close()

    @staticmethod
    def said(process):
        process.out.seek(0)
        process.err.seek(0)
        return process.out.read(), process.err.read().decode()

    def wait_for(self, process, text):
        deadline = time.monotonic() + WAIT
        while time.monotonic() < deadline:
            out, err = self.said(process)
            if text in err or text.encode() in out:
                return
            if process.poll() is not None:
                break
            time.sleep(0.02)
        self.fail(f"never said {text!r}: {self.said(process)}")

    def end(self, process, code=0):
        process.wait(WAIT)
        out, err = self.said(process)
        self.assertEqual(process.returncode, code, err)
        for forbidden in ("Sanitizer", "runtime error", "internal error"):
            self.assertNotIn(forbidden, err)
        return out, err

    def listen(self, url, *args, pin="there", who="here", **kwargs):
        process = self.start(who, "listen", url, "--pin", self.key(pin), *args, **kwargs)
        self.wait_for(process, "listening at" if "--json" not in args else "pipe_listening")
        return process

    def dial(self, url, *args, pin="here", who="there", **kwargs):
        return self.start(who, "dial", url, "--pin", self.key(pin), *args, **kwargs)

    def file(self, name, size):
        with open(self.path(name), "wb") as file:
            file.write(random.Random(name).randbytes(size))
        return self.path(name)

    @staticmethod
    def digest(path):
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else \
                hashlib.sha256(file.read()).hexdigest()

    def addresses(self):
        return [f"tcp:127.0.0.1:{free_port()}", "unix:" + self.path("u"), "seqpacket:" + self.path("s")]

    # ---- the plain pipe ----

    def test_files_both_ways(self):
        size = 64 << 20
        one, two = self.file("one", size), self.file("two", size)
        for number, url in enumerate(self.addresses()):
            with self.subTest(url=url):
                first, second = self.path(f"first{number}"), self.path(f"second{number}")
                listener = self.listen(url, "--in", one, "--out", first)
                dialer = self.dial(url, "--in", two, "--out", second)
                self.end(listener)
                self.end(dialer)
                self.assertEqual((self.digest(second), self.digest(first)), (self.digest(one), self.digest(two)))
                os.remove(first)
                os.remove(second)

    def test_exec_and_standard_streams(self):
        one, two = self.file("one", 3 << 20), self.file("two", 5 << 20)
        quoted = f"'{self.path('a b')}'"
        os.mkdir(self.path("a b"))
        command = (f"exec:env SEALANE_HOME={self.path('here')} {support.PROGRAM} pipe listen - "
                   f"--pin {self.key('there')} --in {one} --out {quoted}/got")
        dialer = self.dial(command, "--in", two, "--out", self.path("second"))
        self.end(dialer)
        self.assertEqual(self.digest(self.path("second")), self.digest(one))
        self.assertEqual(self.digest(self.path("a b", "got")), self.digest(two))
        for bad, text in (("exec:", "needs a command"), ("exec:cat 'x", "quotes closed"),
                          ("exec:/no/such/program", "cannot run")):
            _, err = self.end(self.dial(bad), 2 if "cannot" not in text else 1)
            self.assertIn(text, err)
        # A program that is no peer: it ends at once, or talks back what we said.
        for program in ("true", "cat"):
            _, err = self.end(self.dial("exec:" + program, "--timeout", "2"), 1)
            self.assertIn("no session with exec:" + program, err)

    def test_half_close(self):
        url = self.addresses()[0]
        listener = self.listen(url, stdin=subprocess.PIPE)
        dialer = self.dial(url, stdin=subprocess.PIPE)
        dialer.stdin.write(b"question")
        dialer.stdin.close()
        self.wait_for(listener, "question")
        time.sleep(0.3)
        self.assertIsNone(dialer.poll(), "the other direction is still open")
        listener.stdin.write(b"answer")
        listener.stdin.close()
        self.assertEqual(self.end(dialer)[0], b"answer")
        self.assertEqual(self.end(listener)[0], b"question")
        dialer.stdin = listener.stdin = None

    def test_an_output_file_is_whole_or_not_there(self):
        url = self.addresses()[0]
        listener = self.listen(url, "--out", self.path("got"))
        dialer = self.dial(url, stdin=subprocess.PIPE)
        dialer.stdin.write(b"x" * 100000)
        dialer.stdin.flush()
        self.wait_for(dialer, "session with")
        time.sleep(0.3)
        dialer.kill()
        _, err = self.end(listener, 1)
        self.assertIn("the session with the peer ended", err)
        left = [name for name in os.listdir(self.folder) if "got" in name]
        self.assertEqual(left, [])
        with open(self.path("got"), "w", encoding="utf-8") as file:
            file.write("keep")
        _, err = self.end(self.dial(url, "--out", self.path("got")), 2)
        self.assertIn("exists", err)
        for key in (self.path("got"), self.key("here")):
            _, err = self.end(self.dial(url, "--psk-file", self.path("got"), "--force", "--out", key), 2)
            self.assertIn("is not replaced", err)

    def test_an_output_that_fails_is_told_to_the_sender(self):
        url = self.addresses()[1]
        listener = self.listen(url, "--out", "/dev/full")
        dialer = self.dial(url, "--in", self.file("one", 1 << 20))
        _, err = self.end(listener, 1)
        self.assertIn("/dev/full", err)
        _, err = self.end(dialer, 1)
        self.assertIn("the other side", err)

    def test_interrupted(self):
        url = self.addresses()[0]
        listener = self.listen(url)
        listener.send_signal(signal.SIGINT)
        self.end(listener, 130)
        listener = self.listen(url, stdin=subprocess.PIPE)
        dialer = self.dial(url, stdin=subprocess.PIPE)
        self.wait_for(dialer, "session with")
        dialer.send_signal(signal.SIGINT)
        self.end(dialer, 130)
        _, err = self.end(listener, 1)
        self.assertIn("the other side was stopped", err)

    # ---- datagrams ----

    def test_udp_datagrams(self):
        url = f"udp:127.0.0.1:{free_port(socket.SOCK_DGRAM)}"
        _, err = self.end(self.dial(url), 2)
        self.assertIn("--datagrams", err)
        _, err = self.end(self.dial(url, "--allow", "tcp:127.0.0.1:1"), 2)
        self.assertIn("must not lose", err)
        lines = b"".join(b"line %d\n" % i for i in range(20))
        for name in ("one", "two"):
            with open(self.path(name), "wb") as file:
                file.write(lines)
        listener = self.listen(url, "--datagrams", "--in", self.path("one"))
        dialer = self.dial(url, "--datagrams", "--in", self.path("two"))
        # Nothing is lost on loopback with so little.
        self.assertEqual(self.end(dialer)[0], lines)
        self.assertEqual(self.end(listener)[0], lines)

    def test_a_line_too_long_for_a_message(self):
        url = f"udp:127.0.0.1:{free_port(socket.SOCK_DGRAM)}"
        with open(self.path("long"), "wb") as file:
            file.write(b"x" * 3000 + b"\n")
        self.listen(url, "--datagrams")
        _, err = self.end(self.dial(url, "--datagrams", "--in", self.path("long")), 2)
        self.assertIn("3000 bytes long", err)

    # ---- who it is ----

    def test_nobody_pinned(self):
        for side in ("listen", "dial"):
            _, err = self.end(self.start("here", side, "unix:" + self.path("u")), 2)
            self.assertIn("--pin", err)

    def test_wrong_pin(self):
        for url in self.addresses():
            with self.subTest(url=url):
                listener = self.listen(url, "--timeout", "30")
                _, err = self.end(self.dial(url, pin="stranger"), 21)
                self.assertIn(self.fingerprint("here"), err)
                self.assertIn(self.fingerprint("stranger"), err)
                self.stop(listener)
        url = self.addresses()[0]
        listener = self.listen(url, "--timeout", "5")
        _, err = self.end(self.dial(url, who="stranger"), 20)
        self.assertIn("not have pinned", err)
        _, err = self.end(listener, 21)
        self.assertIn(self.fingerprint("stranger"), err)
        self.assertIn(self.fingerprint("there"), err)

    def test_wrong_pin_over_udp(self):
        url = f"udp:127.0.0.1:{free_port(socket.SOCK_DGRAM)}"
        self.listen(url, "--datagrams")
        _, err = self.end(self.dial(url, "--datagrams", "--timeout", "3", pin="stranger"), 21)
        self.assertIn(self.fingerprint("stranger"), err)

    def test_a_refused_peer_does_not_end_the_listener(self):
        url = self.addresses()[0]
        listener = self.listen(url, "--in", self.file("one", 1000))
        self.end(self.dial(url, who="stranger"), 20)
        self.assertEqual(len(self.end(self.dial(url))[0]), 1000)
        self.end(listener)

    def test_pins_as_line_pem_fingerprint_and_trust_file(self):
        with open(self.key("here"), encoding="utf-8") as file:
            line = file.read().strip()
        with open(self.path("trust"), "w", encoding="utf-8") as file:
            file.write("home " + line + "\n")
        for pin in (["--pin", line], ["--trust", self.path("trust")],
                    ["--trust", self.path("trust"), "--pin", self.fingerprint("here")]):
            url = self.addresses()[0]
            listener = self.listen(url)
            _, err = self.end(self.start("there", "dial", url, *pin))
            self.end(listener)
            if "--trust" in pin:
                self.assertIn("session with home, SHA256:", err)
        _, err = self.end(self.start("there", "dial", "unix:/x", "--pin", "SHA256:" + "A" * 43), 2)
        self.assertIn("no key in", err)

    def test_accept_new_and_save(self):
        url = self.addresses()[0]
        listener = self.listen(url)
        _, err = self.end(self.start("there", "dial", url, "--accept-new", "--save-as", "nas"))
        self.assertIn(self.fingerprint("here"), err)
        self.end(listener)
        url = self.addresses()[0]
        listener = self.listen(url)
        _, err = self.end(self.start("there", "dial", url))
        self.assertIn("session with nas", err)
        self.end(listener)
        _, err = self.end(self.start("there", "dial", url, "--save-as", "x"), 2)
        self.assertIn("--accept-new", err)

    def test_identity_made_on_first_use(self):
        self.homes["new"] = {"SEALANE_HOME": self.path("new")}
        url = self.addresses()[0]
        _, err = self.end(self.start("new", "dial", url, "--pin", self.key("here")), 1)
        self.assertIn("made a new identity", err)
        self.assertIn("nobody listens at " + url, err)
        self.assertEqual(os.stat(self.path("new", "identity")).st_mode & 0o777, 0o600)
        self.assertTrue(os.path.exists(self.path("new", "identity.pub")))

    def secret(self, name):
        with open(self.path(name), "w", encoding="utf-8") as file:
            file.write(name * 10)
        os.chmod(self.path(name), 0o600)
        return self.path(name)

    def test_pre_shared_keys(self):
        right, wrong = self.secret("right"), self.secret("wrong")
        url = self.addresses()[0]
        listener = self.listen(url, "--psk-file", right, "--in", self.file("one", 1000))
        for args in (["--psk-file", wrong], []):
            process = self.dial(url, "--timeout", "3", *args)
            process.wait(WAIT)
            self.assertIn(process.returncode, (1, 12))
            self.assertIn("pre-shared key", self.said(process)[1])
        out, err = self.end(self.dial(url, "--psk-file", right))
        self.assertEqual(len(out), 1000)
        self.assertIn("with a pre-shared key", err)
        self.end(listener)
        os.chmod(right, 0o644)
        _, err = self.end(self.dial(url, "--psk-file", right), 1)
        self.assertIn("chmod 600", err)

    # ---- nobody there, somebody else there ----

    def test_no_peer(self):
        url = self.addresses()[0]
        _, err = self.end(self.dial(url), 1)
        self.assertIn("nobody listens at " + url, err)
        silent = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(silent.close)
        began = time.monotonic()
        _, err = self.end(self.dial(f"tcp:127.0.0.1:{silent.getsockname()[1]}", "--timeout", "1"), 1)
        self.assertLess(time.monotonic() - began, 30)
        self.assertIn("check that", err)
        _, err = self.end(self.listen(url, "--timeout", "1"), 1)
        self.assertIn("no peer came", err)

    def test_address_in_use(self):
        for url in self.addresses():
            with self.subTest(url=url):
                self.listen(url)
                _, err = self.end(self.start("here", "listen", url, "--pin", self.key("there")), 1)
                self.assertIn(url + " is in use", err)

    def test_usage(self):
        for args, text in ((["http://x"], "is no address"), (["-"], "--in and --out"),
                           (["tcp:127.0.0.1:1", "--datagrams", "--allow", "tcp:127.0.0.1:1"], "not forwarded"),
                           (["tcp:127.0.0.1:1", "-L", "tcp:1"], "LOCAL=REMOTE"),
                           (["tcp:127.0.0.1:1", "--allow", "udp:127.0.0.1:1"], "cannot be allowed"),
                           (["tcp:127.0.0.1:1", "--peer", "legacy", "--allow", "tcp:127.0.0.1:1"], "legacy"),
                           (["tcp:127.0.0.1:1", "--stats-every", "0"], "--stats-every")):
            _, err = self.end(self.dial(*args), 2)
            self.assertIn(text, err, args)

    def test_legacy_peers_are_shown_as_weaker(self):
        url = self.addresses()[0]
        listener = self.listen(url, "--peer", "legacy")
        dialer = self.dial(url, "--peer", "legacy", "--in", self.file("one", 1 << 20))
        out, err = self.end(listener)
        self.assertEqual(len(out), 1 << 20)
        self.assertIn("legacy: weaker", err)
        self.end(dialer)

    # ---- forwarding ----

    def forward(self, url, target, *more):
        port = free_port()
        rules = ["-L", f"tcp:127.0.0.1:{port}={target}"]
        listener = self.listen(url, "--allow", target, *more)
        dialer = self.dial(url, *rules, *more)
        self.wait_for(dialer, "session with")
        return listener, dialer, port

    def test_forward_20_streams_with_half_close(self):
        server = HalfCloseServer()
        for url in self.addresses():
            with self.subTest(url=url):
                listener, dialer, port = self.forward(url, f"tcp:127.0.0.1:{server.port}")
                answers = {}

                def ask(number, port=port, answers=answers):
                    body = random.Random(number).randbytes(1 + number * 40000)
                    answers[number] = request(("127.0.0.1", port), body) == \
                        hashlib.sha256(body).hexdigest().encode() + b" " + body[::-1]

                threads = [threading.Thread(target=ask, args=(i,)) for i in range(20)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join(WAIT)
                self.assertEqual(answers, {i: True for i in range(20)})
                dialer.send_signal(signal.SIGINT)
                self.end(dialer, 130)
                _, err = self.end(listener)
                self.assertIn("the other side has ended", err)

    def test_forward_the_other_way_and_unix(self):
        server = HalfCloseServer()
        url = self.addresses()[1]
        target = f"tcp:127.0.0.1:{server.port}"
        self.listen(url, "-L", f"unix:{self.path('local')}={target}")
        self.wait_for(self.dial(url, "--allow", target), "session with")
        self.assertTrue(request(self.path("local"), b"abc").endswith(b" cba"))

    def test_nothing_is_allowed_that_was_not_named(self):
        server = HalfCloseServer()
        url, port = self.addresses()[0], free_port()
        listener = self.listen(url, "--allow", f"tcp:127.0.0.1:{free_port()}")
        dialer = self.dial(url, "-L", f"tcp:127.0.0.1:{port}=tcp:127.0.0.1:{server.port}")
        self.wait_for(dialer, "session with")
        try:
            self.assertEqual(request(("127.0.0.1", port), b"x"), b"")
        except OSError:
            pass  # the cut came while we were still asking
        self.wait_for(dialer, "does not allow")
        self.wait_for(listener, "not allowed here")

    def test_one_side_forwards_alone(self):
        url = self.addresses()[0]
        listener = self.listen(url)
        _, err = self.end(self.dial(url, "--allow", "tcp:127.0.0.1:1"), 1)
        self.assertIn("--forward or --allow on both", err)
        listener.wait(WAIT)
        self.assertEqual(listener.returncode, 1)

    def test_reconnect(self):
        server = HalfCloseServer()
        url = self.addresses()[0]
        listener, dialer, port = self.forward(url, f"tcp:127.0.0.1:{server.port}", "--reconnect")
        self.assertTrue(request(("127.0.0.1", port), b"abc").endswith(b" cba"))
        listener.kill()
        listener.wait()
        self.wait_for(dialer, "trying again")
        self.listen(url, "--allow", f"tcp:127.0.0.1:{server.port}")
        # It waits in the kernel's queue until there is a session again.
        self.assertTrue(request(("127.0.0.1", port), b"abc").endswith(b" cba"))

    # ---- JSON ----

    def test_json(self):
        golden = {
            "pipe_listening": {"address", "fingerprint"},
            "pipe_forwarding": {"address", "target"},
            "pipe_established": {"address", "fingerprint", "name", "protocol", "psk"},
            "pipe_stream": {"target", "opened_here", "bytes_sent", "bytes_received", "problem"},
            "pipe_stats": {"packets_sent", "packets_received", "packets_dropped", "wire_bytes_sent",
                           "wire_bytes_received", "key_renewals", "drops", "sent_per_second",
                           "received_per_second"},
            "pipe": {"packets_sent", "packets_received", "packets_dropped", "wire_bytes_sent",
                     "wire_bytes_received", "key_renewals", "drops", "complete", "fingerprint", "protocol",
                     "bytes_sent", "bytes_received", "messages_sent", "messages_received", "streams",
                     "reconnects", "seconds"},
        }
        sometimes = {"round_trip_seconds", "key_age_seconds", "black_holes", "message_type", "schema"}
        seen = {}

        def collect(text):
            for line in text.splitlines():
                message = json.loads(line)
                self.assertEqual(message["schema"], 1)
                seen.setdefault(message["message_type"], []).append(message)

        server = HalfCloseServer()
        url, port = self.addresses()[0], free_port()
        target = f"tcp:127.0.0.1:{server.port}"
        listener = self.listen(url, "--allow", target, "--json", "--stats", "--stats-every", "1")
        dialer = self.dial(url, "-L", f"tcp:127.0.0.1:{port}={target}", "--json")
        self.wait_for(dialer, "pipe_established")
        request(("127.0.0.1", port), b"abc")
        self.wait_for(listener, "pipe_stats")
        dialer.send_signal(signal.SIGINT)
        collect(self.end(dialer, 130)[0].decode())
        collect(self.end(listener)[0].decode())
        # With data on standard output messages go to standard error.
        url = self.addresses()[1]
        listener = self.listen(url, "--json", "--in", self.file("one", 1000))
        dialer = self.dial(url, "--json")
        out, err = self.end(dialer)
        self.assertEqual(len(out), 1000)
        collect(err)
        self.end(listener)
        self.assertEqual(seen["pipe"][-1]["bytes_received"], 1000)
        self.assertTrue(seen["pipe"][-1]["complete"])
        self.assertEqual(seen["error"][-1]["exit_code"], 130)
        for kind, fields in golden.items():
            self.assertIn(kind, seen)
            for message in seen[kind]:
                self.assertEqual(fields - set(message), set(), kind)
                self.assertEqual(set(message) - fields - sometimes, set(), kind)


if __name__ == "__main__":
    unittest.TestCase.maxDiff = None
    main()
