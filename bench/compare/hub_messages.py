#!/usr/bin/env python3
"""Messages from one client of a hub to another, counted where they arrive.

Sealed end to end through `sealane hub serve`, beside nats-server with TLS, which is not end to end: both clients are
load_hub's (bench/load_hub.cc), both servers keep messages in memory only and are processes of their own. Latency is
from the call that sends to the code that receives, one message at a time at a fixed rate. Then the legacy wire: our hub
and two clients of ours, beside the Python stand-in's hub and two clients of its; and the hubs alone, under the same two
Python clients. On AMD's Zen 3 our hub and clients have OpenSSL compute RSA-2048 there with its AVX2 code, as the
program does for every user (src/crypto/rsa_code.h); Python's OpenSSL chooses for itself, and the rows say so. Then what
a durable queue takes from 64 clients: accepted is synced. CPU is that of the server and both clients.
SEALANE_BENCH_PAIRS: how often each side runs (10)."""
import contextlib
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import _compare
import _hubs

# Bytes of a message, messages of one run, messages a second where each is timed, goal.
SIZES = ((128, 400_000, 2_000, ">= 0.5, then >= 1"), (16_384, 25_000, 1_000, ">= 0.5, then >= 1"))
TIMED_SECONDS = 2  # of each run where each message is timed
LEGACY_SIZE, LEGACY_COUNT = 128, 1_500
LEGACY_UNDER_WAY = 32  # the legacy peers lose frames that come in pieces, so neither side may fill a socket
SENDERS, DURABLE_COUNT = 64, 64 * 1_000
TICK = os.sysconf("SC_CLK_TCK")


def load(process, *words):
    done = subprocess.run([_hubs.LOAD, words[0], "--server", str(process.pid), *map(str, words[1:])],
                          capture_output=True, text=True, timeout=300)
    if done.returncode != 0:
        sys.exit(f"load_hub {words[0]}: {done.stderr[-500:]}")
    return json.loads(done.stdout)


def per_second(run):
    return run["messages"] / run["seconds"]


def cpu_us(run):
    return 1e6 * (run["client_cpu_s"] + run["server_cpu_s"]) / run["messages"]


def sealane(*words):
    done = subprocess.run([_compare.PROGRAM, *words], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"sealane {' '.join(words[:2])}: {done.stderr[-500:]}")
    return done.stdout


def sealed_clients(folder, address):
    """Two clients with identities of their own, known to the hub that runs: the words of `load_hub sealed`."""
    trust, words = folder / "trusted_keys", []
    for name in "ab":
        key = folder / f"{name}.key"
        sealane("keygen", "-o", str(key))
        public = pathlib.Path(f"{key}.pub")
        sealane("hub", "enrol", name, "--state", str(folder / "hub"), "--identity", str(public), "--address",
                f"tcp:127.0.0.1:{address[1]}", "--out", str(folder / f"{name}.hub"))
        with open(trust, "a", encoding="ascii") as file:
            file.write(f"{name} {public.read_text()}")
        words += [str(folder / f"{name}.hub"), str(key)]
    return [*words, str(trust)]


def against_nats(folder):
    name = _compare.version("nats-server", "--version") + " with TLS"
    rows = []
    with contextlib.ExitStack() as stack:
        hub, address = stack.enter_context(_hubs.sealane(folder, '[hub]\nqueue = "memory"\n'))
        clients = sealed_clients(folder, address)
        # So that its slower reader is never cut off.
        nats, at = stack.enter_context(_hubs.nats(folder, "max_pending: 1GB\n"))
        peer_words = [f"nats://127.0.0.1:{at[1]}", str(folder / "cert.pem")]

        def pairs(size, *how):
            return _compare.interleaved(lambda: load(hub, "sealed", "--size", size, *how, *clients),
                                        lambda: load(nats, "nats", "--size", size, *how, *peer_words))

        for size, count, rate, goal in SIZES:
            work = f"hub: {size} B, sealed end to end"
            runs = pairs(size, "--count", count)
            rows.append(_compare.row_of(f"{work}, delivered", [(per_second(a), per_second(b)) for a, b in runs], name,
                                        "1/s", goal, more_is_better=True))
            rows.append(_compare.row_of(f"{work}, CPU of all three", [(cpu_us(a), cpu_us(b)) for a, b in runs], name,
                                        "us", "-"))
            runs = pairs(size, "--rate", rate, "--count", rate * TIMED_SECONDS)
            for part in ("p50", "p99"):
                rows.append(_compare.row_of(f"{work}, {part} at {rate} a second",
                                            [(a["latency_us"][part], b["latency_us"][part]) for a, b in runs], name,
                                            "us", "-"))
    return rows


def cpu_of(process):
    with open(f"/proc/{process.pid}/stat", encoding="ascii") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def legacy_run(process, a, b, count):
    """From one legacy client to the other, with a few under way."""
    room = threading.Semaphore(LEGACY_UNDER_WAY)
    data = bytes(LEGACY_SIZE)

    def send():
        for _ in range(count):
            if not room.acquire(timeout=60):
                return
            a.send(b.client_id, data)

    wall, own, its = time.monotonic(), time.process_time(), cpu_of(process)
    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    for _ in range(count):
        if b.inbox.get(timeout=60) != (b.client_id, data):
            sys.exit("a legacy message came changed")
        room.release()
    thread.join()
    return {"messages": count, "seconds": time.monotonic() - wall, "client_cpu_s": time.process_time() - own,
            "server_cpu_s": cpu_of(process) - its}


def against_python(folder):
    peer, local_hub = _hubs.legacy_peer(), _hubs.local_hub()
    people = [(peer.new_id(), peer.generate()) for _ in "ab"]
    state = folder / "hub"
    for client_id, key in people:
        local_hub.list_client(state, client_id, key, "legacy")
    with contextlib.ExitStack() as stack:
        hub, address = stack.enter_context(_hubs.sealane(folder, '[hub]\nqueue = "memory"\n'))
        python, its_address = stack.enter_context(_hubs.python(state / "clients"))
        fingerprint = json.loads(sealane("hub", "status", "--state", str(state), "--json"))["fingerprint"]
        profiles = [str(local_hub.profile(folder / f"{name}.hub", address, client_id, peer.private_pem(key).decode(),
                                          fingerprint)) for name, (client_id, key) in zip("ab", people)]

        def side(process, at):
            clients = [peer.Client(at, *person) for person in people]
            for client in clients:
                if not client.ready.wait(60):
                    sys.exit(f"a legacy client did not get in: {client.why}")
            return lambda: legacy_run(process, *clients, LEGACY_COUNT)

        theirs = side(python, its_address)
        whole = _compare.interleaved(
            lambda: load(hub, "legacy", "--size", LEGACY_SIZE, "--count", LEGACY_COUNT, *profiles), theirs)
        alone = _compare.interleaved(side(hub, address), theirs)
    work = f"hub: {LEGACY_SIZE} B, legacy wire"
    rows = []
    own = "their OpenSSL as it is"
    for runs, what, name, goal in ((whole, "hub and clients", f"the Python hub and clients, {own}", ">= 1.5"),
                                   (alone, "the hub alone, two Python clients", f"the Python hub, {own}", "-")):
        rows.append(_compare.row_of(f"{work}, {what}, delivered", [(per_second(a), per_second(b)) for a, b in runs],
                                    name, "1/s", goal, more_is_better=True))
        rows.append(_compare.row_of(f"{work}, {what}, CPU of all three", [(cpu_us(a), cpu_us(b)) for a, b in runs],
                                    name, "us", "-"))
    return rows


def durable(folder):
    peer, local_hub = _hubs.legacy_peer(), _hubs.local_hub()
    key = peer.generate()  # one for all: only the ids must differ
    ids = [peer.new_id() for _ in range(SENDERS)]
    for client_id in ids:
        local_hub.list_client(folder / "hub", client_id, key, "sealane")
    with _hubs.sealane(folder, '[hub]\nqueue = "durable"\n') as (process, address):
        fingerprint = json.loads(sealane("hub", "status", "--state", str(folder / "hub"), "--json"))["fingerprint"]
        clients = [str(local_hub.profile(folder / f"{number}.hub", address, client_id, peer.private_pem(key).decode(),
                                         fingerprint)) for number, client_id in enumerate(ids)]
        runs = [load(process, "accepted", "--size", 128, "--count", DURABLE_COUNT, *clients)
                for _ in range(_compare.PAIRS + 1)][1:]
    rates = [per_second(run) for run in runs]
    low, _, high = statistics.quantiles(rates, n=4)
    row = {"work": f"hub: 128 B, durable, {SENDERS} clients, accepted", "ours": round(statistics.median(rates)),
           "peer": "-", "unit": "1/s", "ratio": "-", "spread": [round(low), round(high)], "goal": ">= 20,000",
           "ours_cpu_us": round(statistics.median(cpu_us(run) for run in runs), 2)}
    print(f"{row['work']}: {row['ours']} a second, {row['spread']}, {row['ours_cpu_us']} us of CPU each; goal "
          f"{row['goal']}", file=sys.stderr)
    return [row]


def main():
    work = "hub: messages"
    lacking = _hubs.missing("nats-server", "openssl")
    if not _hubs.LOAD.exists():
        lacking = f"{_hubs.LOAD} is not built; ./dev bench builds it"
    if lacking:
        _compare.print_rows([_compare.skipped(work, lacking)])
        return
    rows = []
    with contextlib.ExitStack() as stack:
        def folder():
            return pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/var/tmp")))
        os.environ["SEALANE_HOME"] = str(folder())  # what this user has there is none of a benchmark's business
        if subprocess.run([_hubs.LOAD, "has-nats"], check=False).returncode == 0:
            rows += against_nats(folder())
        else:
            rows.append(_compare.skipped("hub: sealed end to end", "libnats-dev was not there when load_hub was built"))
        rows += against_python(folder())
        rows += durable(folder())
    _compare.print_rows(rows)


if __name__ == "__main__":
    main()
