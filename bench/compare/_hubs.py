"""What the comparisons of hubs share: both servers on loopback, each ended with its block."""
import contextlib
import importlib.util
import pathlib
import subprocess
import sys

import _compare

_TREE = pathlib.Path(__file__).resolve().parent.parent.parent
BACKBONE = _TREE / "interop" / "backbone"
LOAD = _TREE / "build" / "bench" / "bench" / "load_hub"


def missing(*programs):
    """What a comparison lacks, as a reason to skip it; nothing if all is there."""
    if importlib.util.find_spec("cryptography") is None:
        return "python3-cryptography is not installed"
    lacking = _compare.missing(*programs)
    return f"{lacking} is not installed" if lacking else None


# Both need python3-cryptography, so only what runs may import them.
def _backbone(name):
    if str(BACKBONE) not in sys.path:
        sys.path.insert(0, str(BACKBONE))
    return importlib.import_module(name)


def legacy_peer():
    return _backbone("legacy_peer")


def local_hub():
    return _backbone("local_hub")


@contextlib.contextmanager
def sealane(folder, settings, state=None):
    """`sealane hub serve` on `state`, folder/hub when missing: (process, address)"""
    config = folder / "hub.toml"
    config.write_text(settings)
    port = local_hub().free_port()
    argv = [_compare.PROGRAM, "hub", "serve", "--state", str(state or folder / "hub"), "--config", str(config),
            "--listen", f"tcp:127.0.0.1:{port}"]
    with local_hub().serving(argv, port, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        yield process, ("127.0.0.1", port)


@contextlib.contextmanager
def python(clients):
    """The Python stand-in for the legacy hub, with the clients that are listed in a folder: (process, address)"""
    port = local_hub().free_port()
    argv = [sys.executable, str(BACKBONE / "legacy_peer.py"), str(port), str(clients)]
    with local_hub().serving(argv, port, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        yield process, ("127.0.0.1", port)


@contextlib.contextmanager
def nats(folder, settings):
    """nats-server with TLS, its certificate in folder/cert.pem: (process, address)"""
    certificate, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                    "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate], check=True,
                   capture_output=True)
    port = local_hub().free_port()
    config = folder / "nats.conf"
    config.write_text(f"listen: 127.0.0.1:{port}\n{settings}"
                      f"tls {{ cert_file: \"{certificate}\"\n key_file: \"{key}\"\n timeout: 30 }}\n")
    with local_hub().serving(["nats-server", "-c", config], port, stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL) as process:
        yield process, ("127.0.0.1", port)
