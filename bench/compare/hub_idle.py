#!/usr/bin/env python3
"""What idle clients cost: memory and CPU of `sealane hub serve` and of nats-server with TLS, with the same number of
connected clients that say nothing but heartbeats. SEALANE_BENCH_CLIENTS: how many; 5000 when missing."""
import os
import pathlib
import resource
import socket
import ssl
import sys
import tempfile
import threading
import time
import uuid

import _compare
import _hubs

CLIENTS = int(os.environ.get("SEALANE_BENCH_CLIENTS", "5000"))
SECONDS = 10  # of idling that are measured
HEARTBEAT = 20  # seconds; both
MIB = 1 << 20
TICK = os.sysconf("SC_CLK_TCK")


def memory_of(process):
    with open(f"/proc/{process.pid}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmRSS"))


def cpu_of(process):
    with open(f"/proc/{process.pid}/stat", encoding="ascii") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def measure(process, connect, beat):
    """(bytes of memory that the clients added, share of one core while they idle)"""
    before = memory_of(process)
    clients = [connect(number) for number in range(CLIENTS)]
    done = threading.Event()

    def heartbeats():
        while not done.is_set():
            for client in clients:  # spread over the interval, as they would be
                beat(client)
                if done.wait(HEARTBEAT / len(clients)):
                    return

    thread = threading.Thread(target=heartbeats)
    thread.start()
    time.sleep(2)
    cpu, start = cpu_of(process), time.monotonic()
    time.sleep(SECONDS)
    share = (cpu_of(process) - cpu) / (time.monotonic() - start)
    memory = memory_of(process) - before
    done.set()
    thread.join()
    for client in clients:
        client[0].close()
    return memory, share


def ours(folder):
    local_hub, peer = _hubs.local_hub(), _hubs.legacy_peer()
    key = peer.generate()
    ids = [uuid.uuid4() for _ in range(CLIENTS)]
    state = folder / "hub"
    for one in ids:  # one key for all: only the ids must differ
        local_hub.list_client(state, one.bytes, key, "legacy")

    def connect(number):
        sock = socket.create_connection(address)
        hub_key, response = local_hub.read_challenge(sock, ids[number].bytes, key)
        sock.sendall(response)
        local_hub.read_whole_frame(sock)  # CONFIG
        return sock, peer.encrypt(hub_key, peer.timed(peer.HEARTBEAT))

    settings = f"challenge_size = 82\n[client]\nheartbeat_interval = {HEARTBEAT}\n"
    with _hubs.sealane(folder, settings) as (process, address):
        return measure(process, connect, lambda client: peer.write_frame(*client))


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
        return measure(process, connect, beat)


def main():
    work = f"hub: {CLIENTS} idle clients"
    lacking = _hubs.missing("nats-server", "openssl")
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
        memory, share = ours(folder)
        peer_memory, peer_share = nats(folder)
    name = _compare.version("nats-server", "--version") + " with TLS"
    rows = []
    for what, unit, mine, other, goal in (
            ("memory", "MiB", memory / MIB, peer_memory / MIB, "<= 256 MiB at 5000"),
            ("share of a core", "%", 100 * share, 100 * peer_share, "<= 5 % at 5000")):
        ratio = round(other / mine, 3) if mine > 0 else None
        rows.append({"work": f"{work}, {what}", "ours": round(mine, 2), "peer": round(other, 2), "peer_name": name,
                     "unit": unit, "ratio": ratio, "spread": [ratio, ratio], "goal": goal})
        print(f"{work}, {what}: {mine:.2f} {unit} against {other:.2f} {unit} ({name}); goal {goal}", file=sys.stderr)
    _compare.print_rows(rows)


if __name__ == "__main__":
    main()
