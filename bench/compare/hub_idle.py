#!/usr/bin/env python3
"""What idle clients cost: memory and CPU of `sealane hub serve` and of nats-server with TLS, with the same number of
connected clients that say nothing but heartbeats. Our own clients, with all settings as they are; then legacy clients,
whose heartbeats are RSA, at the same interval and at that which nats-server has by default. SEALANE_BENCH_CLIENTS: how
many; 5000 when missing."""
import contextlib
import json
import os
import pathlib
import resource
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import uuid

import _compare
import _hubs

CLIENTS = int(os.environ.get("SEALANE_BENCH_CLIENTS", "5000"))
SECONDS = 20  # of idling that are measured: an interval of ours
HEARTBEAT = 20  # seconds; our default
PER_PROCESS = 1000  # of our clients: each needs several descriptors
SELDOM = 120  # seconds; that of nats-server
MIB = 1 << 20
TICK = os.sysconf("SC_CLK_TCK")


def memory_of(process):
    with open(f"/proc/{process.pid}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmRSS"))


def cpu_of(process):
    with open(f"/proc/{process.pid}/stat", encoding="ascii") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def watch(process):
    """share of one core while all idle"""
    time.sleep(2)
    cpu, start = cpu_of(process), time.monotonic()
    time.sleep(SECONDS)
    return (cpu_of(process) - cpu) / (time.monotonic() - start)


def measure(process, connect, beat, interval):
    """(bytes of memory that the clients added, share of one core while they idle)"""
    before = memory_of(process)
    clients = [connect(number) for number in range(CLIENTS)]
    done = threading.Event()

    def heartbeats():
        while not done.is_set():
            for client in clients:  # spread over the interval, as they would be
                beat(client)
                if done.wait(interval / len(clients)):
                    return

    thread = threading.Thread(target=heartbeats)
    thread.start()
    share = watch(process)
    memory = memory_of(process) - before
    done.set()
    thread.join()
    for client in clients:
        client[0].close()
    return memory, share


def upgraded(folder):
    """Our own clients, each with threads and timers of its own, in a few processes of load_hub."""
    local_hub, peer = _hubs.local_hub(), _hubs.legacy_peer()
    key = peer.generate()  # one for all: only the ids must differ
    private = peer.private_pem(key).decode()
    state = folder / "upgraded"
    with _hubs.sealane(folder, "", state) as (process, address):
        pass  # makes the hub's key
    ids = [uuid.uuid4() for _ in range(CLIENTS)]
    for one in ids:
        local_hub.list_client(state, one.bytes, key, "sealane")
    with _hubs.sealane(folder, "", state) as (process, address):
        told = subprocess.run([_compare.PROGRAM, "hub", "status", "--state", str(state), "--json"], check=True,
                              capture_output=True).stdout
        fingerprint = json.loads(told)["fingerprint"]
        profiles = [str(local_hub.profile(folder / f"{number}.hub", address, one.bytes, private, fingerprint))
                    for number, one in enumerate(ids)]
        before = memory_of(process)
        with contextlib.ExitStack() as stack:
            idle = [_hubs.LOAD, "idle", "--server", str(process.pid), "--count", "1"]
            groups = [stack.enter_context(subprocess.Popen([*idle, *profiles[first:first + PER_PROCESS]], text=True,
                                                           stdin=subprocess.PIPE, stdout=subprocess.PIPE))
                      for first in range(0, CLIENTS, PER_PROCESS)]
            for group in groups:
                if group.stdout.readline() != "online\n":
                    sys.exit("load_hub idle: not all clients came online")
            share = watch(process)
            memory = memory_of(process) - before
            for group in groups:
                group.communicate()
                if group.returncode != 0:
                    sys.exit("load_hub idle: a client was lost")
    return memory, share


def legacy(folder, interval):
    local_hub, peer = _hubs.local_hub(), _hubs.legacy_peer()
    key = peer.generate()
    ids = [uuid.uuid4() for _ in range(CLIENTS)]
    state = folder / f"legacy-{interval}"
    for one in ids:
        local_hub.list_client(state, one.bytes, key, "legacy")

    def connect(number):
        sock = socket.create_connection(address)
        hub_key, response = local_hub.read_challenge(sock, ids[number].bytes, key)
        sock.sendall(response)
        local_hub.read_whole_frame(sock)  # CONFIG
        return sock, peer.encrypt(hub_key, peer.timed(peer.HEARTBEAT))

    settings = f"challenge_size = 82\n[client]\nheartbeat_interval = {interval}\n"
    with _hubs.sealane(folder, settings, state) as (process, address):
        return measure(process, connect, lambda client: peer.write_frame(*client), interval)


def nats(folder):
    local_hub = _hubs.local_hub()

    def connect(_):
        plain = socket.create_connection(address)
        while plain.recv(1) != b"\n":  # INFO, in the clear
            pass
        sock = context.wrap_socket(plain)
        sock.sendall(b'CONNECT {"verbose":false,"tls_required":true}\r\nPING\r\n')
        local_hub.read_exactly(sock, len(b"PONG\r\n"))
        return sock, None

    def beat(client):
        client[0].sendall(b"PING\r\n")
        local_hub.read_exactly(client[0], len(b"PONG\r\n"))

    with _hubs.nats(folder, f"max_connections: {CLIENTS + 10}\nping_interval: \"1h\"\n") as (process, address):
        context = ssl.create_default_context(cafile=folder / "cert.pem")
        context.check_hostname = False
        return measure(process, connect, beat, SELDOM)


def main():
    work = f"hub: {CLIENTS} idle clients"
    lacking = _hubs.missing("nats-server", "openssl")
    if not _hubs.LOAD.exists():
        lacking = f"{_hubs.LOAD} is not built; ./dev bench builds it"
    if lacking:
        _compare.print_rows([_compare.skipped(work, lacking)])
        return
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if most < CLIENTS + 100:
        _compare.print_rows([_compare.skipped(work, f"only {most} descriptors are allowed")])
        return
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        kinds = (("ours", upgraded(folder)), (f"legacy, a heartbeat in {HEARTBEAT} s", legacy(folder, HEARTBEAT)),
                 (f"legacy, a heartbeat in {SELDOM} s", legacy(folder, SELDOM)))
        peer_memory, peer_share = nats(folder)
    name = _compare.version("nats-server", "--version") + f" with TLS, a heartbeat in {SELDOM} s"
    rows = []
    for kind, (memory, share) in kinds:
        for what, unit, mine, other, goal in (
                ("memory", "MiB", memory / MIB, peer_memory / MIB, "<= 256 MiB at 5000"),
                ("share of a core", "%", 100 * share, 100 * peer_share, "<= 5 % at 5000")):
            ratio = round(other / mine, 3) if mine > 0 else None
            rows.append({"work": f"{work} ({kind}), {what}", "ours": round(mine, 2), "peer": round(other, 2),
                         "peer_name": name, "unit": unit, "ratio": ratio, "spread": [ratio, ratio], "goal": goal})
            print(f"{work} ({kind}), {what}: {mine:.2f} {unit} against {other:.2f} {unit} ({name}); goal {goal}",
                  file=sys.stderr)
    _compare.print_rows(rows)


if __name__ == "__main__":
    main()
