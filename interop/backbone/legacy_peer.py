"""The Backbone peer as the Python project behaves (spec 0.1.9, code 0.1.28), both roles, written from
docs/protocol/hub.md and what was observed of it. Its limits are kept on purpose: a frame's length and
body are read with one call each, an unknown message ends a client, an absent recipient ends the sender,
a message without data ends its recipient, the end of a stream is taken for nothing.
"""
import json
import os
import pathlib
import queue
import signal
import socket
import struct
import sys
import threading
import time
import uuid

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

C2C, C2S, S2S = 0, 1, 2
HEARTBEAT, CONFIG, STOP = 0, 1, 15
BLOCK = 190
IDLE_LIMIT = 30


def oaep():
    return padding.OAEP(mgf=padding.MGF1(algorithm=hashes.SHA256()), algorithm=hashes.SHA256(), label=None)


def pss():
    return padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=padding.PSS.MAX_LENGTH)


def generate():
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def private_pem(key):
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL,
                             serialization.NoEncryption())


def public_pem(key):
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.PKCS1)


def encrypt(public_key, plain):
    return b"".join(public_key.encrypt(plain[at:at + BLOCK], oaep()) for at in range(0, len(plain), BLOCK))


def decrypt(key, cipher):
    """Blocks of 256 bytes: this peer's own key always has 2048 bits."""
    return b"".join(key.decrypt(cipher[at:at + 256], oaep()) for at in range(0, len(cipher), 256))


def write_frame(sock, payload):
    sock.send(struct.pack(">H", len(payload)))  # two calls, as it does
    if payload:
        sock.send(payload)


def read_frame(sock):
    """Nothing for a zero frame, and for the end of the stream too: it does not tell them apart."""
    head = sock.recv(2)
    if len(head) < 2:
        return None
    size = struct.unpack(">H", head)[0]
    if size == 0:
        return None
    return sock.recv(size)  # once


def timed(kind, data=b""):
    return bytes([C2S << 4 | kind]) + struct.pack(">I", int(time.time())) + data


class Rejected(Exception):
    pass


def decode(plain):
    """(format, type, recipient or time, data); data is None where there is none."""
    form, kind = plain[0] >> 4, plain[0] & 15
    if form == C2C and kind == 0 and len(plain) >= 17:
        return form, kind, plain[1:17], plain[17:] or None
    if (form == C2S and kind in (HEARTBEAT, CONFIG, STOP)) or (form == S2S and kind in (14, 15)):
        return form, kind, int.from_bytes(plain[1:5], "big"), plain[5:] or None
    raise Rejected(plain[:1].hex())


class Client:
    """One connection. `inbox` gets the data of messages; `ended` is set with `why` when it is over."""

    def __init__(self, address, client_id, key):
        self.client_id, self.key = client_id, key
        self.inbox, self.ended, self.ready = queue.Queue(), threading.Event(), threading.Event()
        self.why, self.settings, self.configs = None, {}, 0
        self.lock = threading.Lock()
        self.heartbeats = self.quiet = 0
        self.sock = socket.create_connection(address, timeout=30)
        self.sock.settimeout(None)
        self.last_sent = time.monotonic()
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        try:
            self.login()
            threading.Thread(target=self.beat, daemon=True).start()
            while not self.ended.is_set():
                self.receive()
        except Exception as error:  # whatever it is ends this client, as it does there
            self.end(f"{type(error).__name__}: {error}")

    def end(self, why):
        if not self.ended.is_set():
            self.why = why
            self.ended.set()
            self.sock.close()

    def login(self):
        payload = read_frame(self.sock)
        if payload is None:
            raise Rejected("no challenge")
        size = struct.unpack(">H", payload[:2])[0]
        self.hub_key = serialization.load_pem_public_key(payload[2:2 + size])
        self.challenge_size = len(payload) - 2 - size
        signature = self.key.sign(payload[2 + size:], pss(), hashes.SHA256())
        self.write(self.client_id + signature)
        answer = read_frame(self.sock)
        if answer is None:
            raise Rejected("login failed")
        form, kind, _, data = decode(decrypt(self.key, answer))
        if (form, kind) != (C2S, CONFIG):
            raise Rejected("login refused: " + (data or b"").decode())
        self.configure(data)
        self.ready.set()

    def configure(self, data):
        settings = json.loads(data)
        if not isinstance(settings, dict):
            raise Rejected("CONFIG is no object")
        if self.configs and any(isinstance(value, dict) for value in settings.values()):
            raise Rejected("a nested CONFIG update")
        self.settings.update(settings)
        self.configs += 1
        if isinstance(self.settings.get("heartbeat_interval", 30), str):
            raise Rejected("an interval that is text")

    def receive(self):
        payload = read_frame(self.sock)
        if payload is None:
            time.sleep(0.01)  # it spins here; we are kinder to the machine
            self.quiet += 1
            if self.quiet > 100:
                raise Rejected("the hub ended the stream without STOP: this client would spin for ever")
            return
        self.quiet = 0
        form, kind, head, data = decode(decrypt(self.key, payload))
        if form == C2C:
            self.inbox.put((head, data))
        elif (form, kind) == (C2S, CONFIG):
            self.configure(data)
        elif (form, kind) == (C2S, STOP):
            self.end("STOP " + (data or b"").decode())

    def beat(self):
        while not self.ended.wait(1):
            if time.monotonic() - self.last_sent > self.settings.get("heartbeat_interval", 30):
                try:
                    self.write(timed(HEARTBEAT))
                    self.heartbeats += 1
                except OSError:
                    return  # only this thread ends

    def write(self, plain):
        with self.lock:
            write_frame(self.sock, encrypt(self.hub_key, plain))
            self.last_sent = time.monotonic()

    def send(self, recipient, data):
        self.write(bytes([C2C << 4]) + recipient + data)

    def stop(self):
        self.write(timed(STOP))
        return self.ended.wait(10)


class Hub:
    """The server. Logins one at a time, in the accepting thread."""

    def __init__(self, port, keys, settings, challenge_size=2048):
        self.key, self.keys, self.settings, self.challenge_size = generate(), keys, settings, challenge_size
        self.queues, self.running, self.log, self.routed = {}, True, [], []
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("127.0.0.1", port))
        self.listener.listen()
        self.address = self.listener.getsockname()
        self.listener.settimeout(0.1)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while self.running:
            try:
                sock, _ = self.listener.accept()
            except socket.timeout:
                continue
            except OSError:
                return
            sock.settimeout(None)
            try:
                client_id = self.login(sock)
            except Exception as error:
                self.log.append(f"login: {type(error).__name__}")
                sock.close()
                continue
            if client_id in self.queues:
                self.log.append("duplicate")
                sock.close()  # after CONFIG, without STOP
                continue
            self.queues[client_id] = queue.Queue()
            threading.Thread(target=self.serve, args=(sock, client_id), daemon=True).start()

    def login(self, sock):
        challenge = os.urandom(self.challenge_size)
        pem = public_pem(self.key)
        write_frame(sock, struct.pack(">H", len(pem)) + pem + challenge)
        plain = decrypt(self.key, read_frame(sock))
        client_id, signature = plain[:16], plain[16:]
        public_key = serialization.load_pem_public_key(self.keys[client_id])
        public_key.verify(signature, challenge, pss(), hashes.SHA256())
        write_frame(sock, encrypt(public_key, timed(CONFIG, json.dumps(self.settings).encode())))
        return client_id

    def serve(self, sock, client_id):
        public_key = serialization.load_pem_public_key(self.keys[client_id])
        own, stop = self.queues[client_id], threading.Event()
        lock = threading.Lock()

        def deliver():
            try:
                while not stop.is_set():
                    try:
                        recipient, data = own.get(timeout=0.2)
                    except queue.Empty:
                        continue
                    with lock:
                        # No data: encoding it fails, and takes this client's connection along.
                        write_frame(sock, encrypt(public_key, bytes([C2C << 4]) + recipient + bytes(data)))
            except Exception as error:
                self.log.append(f"deliver: {type(error).__name__}")
            stop.set()

        threading.Thread(target=deliver, daemon=True).start()
        sock.settimeout(1.0)
        last = time.monotonic()
        try:
            while self.running and not stop.is_set():
                try:
                    payload = read_frame(sock)
                except socket.timeout:
                    if time.monotonic() - last > IDLE_LIMIT:
                        self.log.append("idle")
                        break
                    continue
                last = time.monotonic()
                if payload is None:
                    time.sleep(0.01)
                    continue
                try:
                    form, kind, head, data = decode(decrypt(self.key, payload))
                except Rejected as error:
                    self.log.append(f"rejected {error}")
                    continue
                if form == C2C:
                    self.queues[head].put((head, data))  # fails for who is not there
                    self.routed.append((head, data))
                elif (form, kind) == (C2S, STOP):
                    break
                else:
                    self.log.append(f"{form}.{kind}")
        except Exception as error:
            self.log.append(f"serve: {type(error).__name__}")
        stop.set()
        try:
            write_frame(sock, encrypt(public_key, timed(STOP, b"handler stopping")))
            time.sleep(0.01)
        except OSError:
            pass
        sock.close()
        del self.queues[client_id]

    def close(self):
        self.running = False
        self.listener.close()
        time.sleep(1.5)


def new_id():
    return uuid.uuid4().bytes


def main():
    """legacy_peer.py PORT DIR: a hub as a process, with the clients of a folder as `sealane hub enrol` lists them."""
    keys = {}
    for path in pathlib.Path(sys.argv[2]).iterdir():
        text = path.read_bytes()
        keys[bytes.fromhex(path.name)] = text[text.index(b"-----BEGIN"):]
    Hub(int(sys.argv[1]), keys, {"heartbeat_interval": 5, "heartbeat_timeout": 20})
    signal.pause()


if __name__ == "__main__":
    main()
