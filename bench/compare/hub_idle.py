#!/usr/bin/env python3
"""What idle clients cost: memory and CPU of `sealane hub serve` and of nats-server with TLS, with the same number of
connected clients that say nothing but heartbeats. SEALANE_BENCH_CLIENTS: how many; 5000 when missing."""
import importlib.util
import os
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

CLIENTS = int(os.environ.get("SEALANE_BENCH_CLIENTS", "5000"))
SECONDS = 10  # of idling that are measured
HEARTBEAT = 20  # seconds; both
HERE = os.path.dirname(os.path.abspath(__file__))
MIB = 1 << 20
TICK = os.sysconf("SC_CLK_TCK")


def legacy_peer():
    spec = importlib.util.spec_from_file_location(
        "legacy_peer", os.path.join(HERE, "..", "..", "interop", "backbone", "legacy_peer.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def memory_of(process):
    with open(f"/proc/{process.pid}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmRSS"))


def cpu_of(process):
    with open(f"/proc/{process.pid}/stat", encoding="ascii") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(port, process):
    while process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            time.sleep(0.05)
    sys.exit(f"{process.args[0]} ended: {process.returncode}")


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
    process.terminate()
    process.wait(60)
    return memory, share


def read(sock, size):
    data = b""
    while len(data) < size:
        chunk = sock.recv(size - len(data))
        if not chunk:
            raise EOFError
        data += chunk
    return data


def ours(folder):
    from cryptography.hazmat.primitives import hashes, serialization
    peer = legacy_peer()
    key = peer.generate()
    ids = [uuid.uuid4() for _ in range(CLIENTS)]
    state, port = os.path.join(folder, "hub"), free_port()
    os.makedirs(os.path.join(state, "clients"), mode=0o700)
    for one in ids:  # one key for all: only the ids must differ
        with open(os.path.join(state, "clients", one.hex), "wb") as file:
            file.write(b"kind: legacy\n" + peer.public_pem(key))
    settings = os.path.join(folder, "hub.toml")
    with open(settings, "w", encoding="ascii") as file:
        file.write(f"challenge_size = 82\n[client]\nheartbeat_interval = {HEARTBEAT}\n")
    process = subprocess.Popen([_compare.PROGRAM, "hub", "serve", "--state", state, "--config", settings, "--listen",
                                f"tcp:127.0.0.1:{port}"], stderr=subprocess.DEVNULL)
    wait_for(port, process)

    def connect(number):
        sock = socket.create_connection(("127.0.0.1", port))
        payload = read(sock, int.from_bytes(read(sock, 2), "big"))
        size = int.from_bytes(payload[:2], "big")
        hub_key = serialization.load_pem_public_key(payload[2:2 + size])
        signature = key.sign(payload[2 + size:], peer.pss(), hashes.SHA256())
        peer.write_frame(sock, peer.encrypt(hub_key, ids[number].bytes + signature))
        read(sock, int.from_bytes(read(sock, 2), "big"))  # CONFIG
        return sock, peer.encrypt(hub_key, peer.timed(peer.HEARTBEAT))

    return measure(process, connect, lambda client: peer.write_frame(*client))


def nats(folder):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                    "-keyout", f"{folder}/key.pem", "-out", f"{folder}/cert.pem"], check=True, capture_output=True)
    port = free_port()
    config = os.path.join(folder, "nats.conf")
    with open(config, "w", encoding="ascii") as file:
        file.write(f"listen: 127.0.0.1:{port}\nmax_connections: {CLIENTS + 10}\nping_interval: \"1h\"\n"
                   f"tls {{ cert_file: \"{folder}/cert.pem\"\n key_file: \"{folder}/key.pem\"\n timeout: 30 }}\n")
    process = subprocess.Popen(["nats-server", "-c", config], stderr=subprocess.DEVNULL)
    wait_for(port, process)
    context = ssl.create_default_context(cafile=f"{folder}/cert.pem")
    context.check_hostname = False

    def connect(_):
        plain = socket.create_connection(("127.0.0.1", port))
        while plain.recv(1) != b"\n":  # INFO, in the clear
            pass
        sock = context.wrap_socket(plain)
        sock.sendall(b'CONNECT {"verbose":false,"tls_required":true}\r\nPING\r\n')
        read(sock, len(b"PONG\r\n"))
        return sock, None

    def beat(client):
        client[0].sendall(b"PING\r\n")
        read(client[0], len(b"PONG\r\n"))

    return measure(process, connect, beat)


def main():
    work = f"hub: {CLIENTS} idle clients"
    if importlib.util.find_spec("cryptography") is None:
        _compare.print_rows([_compare.skipped(work, "python3-cryptography is not installed")])
        return
    if _compare.missing("nats-server", "openssl"):
        _compare.print_rows([_compare.skipped(work, _compare.missing("nats-server", "openssl") + " is not installed")])
        return
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if most < CLIENTS + 100:
        _compare.print_rows([_compare.skipped(work, f"only {most} descriptors are allowed")])
        return
    with tempfile.TemporaryDirectory() as folder:
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
