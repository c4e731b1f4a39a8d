"""What the tests of warm copies share: two private Redis servers, the secrets of a cluster, and `sealane warm serve`,
on UNIX sockets in the stage, started and ended here."""
import json
import os
import signal
import socket
import subprocess
import time

from support import PROGRAM, Stage


class WarmStage(Stage):
    def setUp(self):
        super().setUp()
        self.first_line_of = {}
        self.shop = self.redis("shop")
        self.vault = self.redis("vault")
        with open(self.path("secret"), "w", encoding="ascii") as file:
            file.write("hex:" + os.urandom(32).hex())
        os.chmod(self.path("secret"), 0o600)
        for name, text in (("key", "0f1e2d3c4b5a6978"), ("iv", "a7b6c5d4e3f20192")):
            with open(self.path(name), "w", encoding="ascii") as file:
                file.write("hex:" + (text * 2))
            os.chmod(self.path(name), 0o600)
        self.keys = ["--secret-file", self.path("secret"), "--key-file", self.path("key"), "--iv-file", self.path("iv")]

    def redis(self, name, *more):
        os.mkdir(self.path(name), 0o700)
        where = self.path(name, "s")
        server = subprocess.Popen(["redis-server", "--port", "0", "--unixsocket", where, "--dir", self.path(name),
                                   "--save", "", "--logfile", self.path(name, "log"), *more])
        self.addCleanup(server.wait)
        self.addCleanup(server.kill)
        for _ in range(3000):
            if subprocess.run(["redis-cli", "-s", where, "ping"], capture_output=True, check=False).stdout:
                break
            time.sleep(0.02)
        setattr(self, name + "_process", server)
        return "redis+unix://" + where

    def load_slowly(self, url, name):
        """Starts a server of redis() again, with what it has, which it then loads until CONFIG SET key-load-delay 0."""
        self.wait_until(lambda: self.cli(url, "SAVE") == "OK")  # refused beside a fork
        process = getattr(self, name + "_process")
        process.kill()
        process.wait()
        where = url.removeprefix("redis+unix://")
        server = subprocess.Popen(["redis-server", "--port", "0", "--unixsocket", where, "--dir", self.path(name),
                                   "--save", "", "--logfile", self.path(name, "log"), "--key-load-delay", "20000",
                                   "--loading-process-events-interval-bytes", "1024", "--repl-diskless-sync-delay",
                                   "0"])
        self.addCleanup(server.wait)
        self.addCleanup(server.kill)
        setattr(self, name + "_process", server)
        self.wait_until(lambda: b"LOADING" in subprocess.run(["redis-cli", "-s", where, "ping"], capture_output=True,
                                                             check=False).stdout)

    def open_port(self, url):
        """Has the server listen on a port of loopback too, and returns that."""
        for _ in range(20):
            with socket.create_server(("127.0.0.1", 0)) as free:
                port = str(free.getsockname()[1])
            if self.cli(url, "CONFIG", "SET", "port", port) == "OK":
                return port
        self.fail("no port was free")

    def write(self, name, text):
        with open(self.path(name), "w", encoding="ascii") as file:
            file.write(text)

    def wait_until(self, so):
        deadline = time.monotonic() + 120
        while not so():
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.05)

    def cli(self, url, *words, stdin=None):
        done = subprocess.run(["redis-cli", "-s", url.removeprefix("redis+unix://"), *words], input=stdin,
                              capture_output=True, check=True)
        return done.stdout.decode().strip()

    def serve(self, *args, into=None):
        """Starts `warm serve` on a UNIX socket; returns (process, address)."""
        where = self.path("channel")
        words = ["warm", "serve", "--json", *args]
        if into:
            words += ["--listen", "unix:" + where, "--into", into]
        process = subprocess.Popen([PROGRAM, *words], env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        if into:
            line = self.first_line_of[process] = process.stdout.readline()
            self.assertIn(b"warm_serving", line, line + process.stderr.read() if not line else line)
        return process, "unix:" + where

    def stop(self, process):
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=120)
        self.assertEqual(process.returncode, 0, err)
        for forbidden in (b"Sanitizer", b"runtime error", b"internal error"):
            self.assertNotIn(forbidden, err)
        return [json.loads(line) for line in out.splitlines()]
