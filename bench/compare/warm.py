#!/usr/bin/env python3
"""Redis → Redis, beside Redis's own full sync (REPLICAOF), for values of 100 bytes and of 1 MiB: both on this machine,
into an empty server, until the last key is there. Ours reads every answer. One run holds both sides."""
import os
import shutil
import subprocess
import sys
import tempfile
import time

import _compare
from _compare import PROGRAM, Side, compare

SIZE = int(os.environ.get("SEALANE_BENCH_SIZE", str(1 << 30)))
FULL_SYNC = """
import subprocess, sys, time
target, host, port, keys = sys.argv[1:5]
def cli(*words):
    done = subprocess.run(["redis-cli", "-s", target, *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()
cli("replicaof", host, port)
while "master_link_status:up" not in cli("info", "replication") or cli("dbsize") != keys:
    time.sleep(0.02)
cli("replicaof", "no", "one")
"""


class Server:
    def __init__(self, folder, name, port):
        self.socket = os.path.join(folder, name)
        self.port = port
        self.process = subprocess.Popen(
            ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--unixsocket", self.socket, "--dir", folder,
             "--save", "", "--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "0",
             "--repl-diskless-load", "swapdb", "--repl-backlog-ttl", "1", "--logfile", self.socket + ".log"])
        while not self.cli("ping", check=False):
            time.sleep(0.02)

    def cli(self, *words, check=True):
        done = subprocess.run(["redis-cli", "-s", self.socket, *words], capture_output=True, text=True, check=check)
        return done.stdout.strip()

    def empty(self):
        """Without keys, and without the backlog of one that was a replica: all that ours writes would go there too."""
        self.cli("flushall")
        for _ in range(200):
            if "repl_backlog_active:0" in self.cli("info", "replication"):
                return
            time.sleep(0.05)
        raise RuntimeError("the server keeps its replication backlog")

    def fill(self, count, size):
        feed = subprocess.Popen(["redis-cli", "-s", self.socket, "--pipe"], stdin=subprocess.PIPE,
                                stdout=subprocess.DEVNULL)
        block = os.urandom(1 << 20)
        for i in range(count):
            start = (i * 37) % (len(block) - size) if size < len(block) else 0
            value = block[start:start + size]
            key = b"key:%d" % i
            feed.stdin.write(b"*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n" % (len(key), key, len(value), value))
        feed.stdin.close()
        feed.wait()


def main():
    lacking = _compare.missing("redis-server", "redis-cli")
    if lacking:
        _compare.print_rows([_compare.skipped("warm copy", f"{lacking} is not installed")])
        return
    folder = tempfile.mkdtemp(prefix="sealane-bench-", dir=os.environ.get("TMPDIR", "/tmp"))
    servers = []
    try:
        base = 20000 + os.getpid() % 20000
        servers = [Server(folder, "from", base), Server(folder, "to", base + 1)]
        rows = []
        for size in (100, 1 << 20):
            fill(servers[0], size)
            rows += [row(folder, *servers, size), row(folder, *servers, size, "--as-replica")]
        _compare.print_rows(rows)
    finally:
        for server in servers:
            server.process.kill()
            server.process.wait()
        shutil.rmtree(folder)


def fill(source, size):
    source.cli("flushall")
    source.fill(SIZE // size, size)


def row(folder, source, target, size, *flags):
    count = SIZE // size
    script = os.path.join(folder, "full_sync.py")
    with open(script, "w", encoding="ascii") as file:
        file.write(FULL_SYNC)
    url = "redis+unix://"
    ours = Side([PROGRAM, "warm", "push", "-q", "--from", url + source.socket, "--to", url + target.socket,
                 "--journal", os.path.join(folder, "journal"), *flags], before=target.empty)
    theirs = Side([sys.executable, script, target.socket, "127.0.0.1", str(source.port), str(count)],
                  before=target.empty)
    name = "100 byte" if size == 100 else "1 MiB"
    how = ", ".join(["", *flags])
    return compare(f"Redis to Redis, {SIZE >> 20} MiB of {name} values{how}", ours, theirs,
                   "redis-server REPLICAOF " + _compare.version("redis-server", "--version").split()[1], ">= 0.8")


if __name__ == "__main__":
    main()
