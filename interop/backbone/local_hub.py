"""Hubs and other servers on this machine's loopback, for checks and benchmarks: free ports, processes that never
outlive their block, the files of clients, and frames whole as the legacy peer does not read them."""
import contextlib
import socket
import subprocess
import time

from cryptography.hazmat.primitives import hashes, serialization

import legacy_peer

START_PATIENCE = 60  # seconds until a server listens
END_PATIENCE = 60  # seconds until it has ended by itself


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(port, process):
    """Until `process` listens there; RuntimeError where it ends instead."""
    deadline = time.monotonic() + START_PATIENCE
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args[0]} ended: {process.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"{process.args[0]} does not listen")


@contextlib.contextmanager
def serving(argv, port, **options):
    """A server that listens on `port`; ended with the block, whatever happens there."""
    process = subprocess.Popen(argv, **options)
    try:
        wait_for(port, process)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(END_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def frame(payload):
    return len(payload).to_bytes(2, "big") + payload


def read_exactly(sock, size):
    data = b""
    while len(data) < size:
        chunk = sock.recv(size - len(data))
        if not chunk:
            raise EOFError
        data += chunk
    return data


def read_whole_frame(sock):
    return read_exactly(sock, int.from_bytes(read_exactly(sock, 2), "big"))


def read_challenge(sock, client_id, key):
    """(the hub's key, the frame that answers its challenge)"""
    payload = read_whole_frame(sock)
    size = int.from_bytes(payload[:2], "big")
    hub_key = serialization.load_pem_public_key(payload[2:2 + size])
    answer = client_id + key.sign(payload[2 + size:], legacy_peer.pss(), hashes.SHA256())
    return hub_key, frame(legacy_peer.encrypt(hub_key, answer))


def profile(path, hub, client_id, private_key, fingerprint=None):
    """The file that `sealane hub enrol` makes, for a key that is here already."""
    path.touch(mode=0o600)
    path.write_text(f"hub: tcp:127.0.0.1:{hub[1]}\n" + (f"fingerprint: {fingerprint}\n" if fingerprint else "")
                    + f"id: {client_id.hex()}\nname: {path.stem}\n" + private_key)
    return path


def list_client(state, client_id, key, kind):
    """What `sealane hub enrol` writes in the folder `state` of a hub that does not run. `kind`: legacy or sealane."""
    clients = state / "clients"
    clients.mkdir(mode=0o700, parents=True, exist_ok=True)
    (clients / client_id.hex()).write_bytes(f"kind: {kind}\n".encode() + legacy_peer.public_pem(key))
