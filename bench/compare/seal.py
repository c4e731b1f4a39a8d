#!/usr/bin/env python3
"""Seal and open 1 GiB: beside age (both formats) and beside `openssl enc` (AES-256-CTR).

The input is a file in the page cache. The sink is /dev/null, so that the sealing counts and not the
disk; two rows more go from file to file, where ours also syncs before it renames."""
import os
import shutil
import subprocess
import tempfile

import _compare
from _compare import PROGRAM, Side, compare

SIZE = int(os.environ.get("SEALANE_BENCH_SIZE", str(1 << 30)))


def main():
    name = f"{SIZE >> 30} GiB" if SIZE >= 1 << 30 else f"{SIZE >> 20} MiB"
    lacking = _compare.missing("age", "age-keygen", "openssl")
    if lacking:
        _compare.print_rows([_compare.skipped(f"seal, open {name}", f"{lacking} is not installed")])
        return
    folder = tempfile.mkdtemp(prefix="sealane-bench-", dir=os.environ.get("TMPDIR", "/tmp"))
    try:
        _compare.print_rows(rows(folder, name))
    finally:
        shutil.rmtree(folder)


def rows(folder, name):
    def path(file):
        return os.path.join(folder, file)

    identity, plain, key = path("identity"), path("plain"), path("key")
    subprocess.run(["age-keygen", "-o", identity], check=True, capture_output=True)
    recipient = subprocess.run(["age-keygen", "-y", identity], check=True, capture_output=True,
                               text=True).stdout.strip()
    os.chmod(identity, 0o600)
    _compare.random_file(plain, SIZE)
    with open(os.open(key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(os.urandom(32))
    age = "age " + _compare.version("age", "--version")
    openssl = _compare.version("openssl", "version")
    seal = [PROGRAM, "seal", "-q"]
    open_ = [PROGRAM, "open", "-q"]
    chunks = ["--format", "backupy", "--key-file", key]
    ctr = ["openssl", "enc", "-aes-256-ctr", "-K", "11" * 32, "-iv", "22" * 16]

    sealed_age, sealed_chunks, sealed_ctr = path("age"), path("chunks"), path("ctr")
    subprocess.run([*seal, "-r", recipient, "-o", sealed_age, plain], check=True)
    subprocess.run([*seal, *chunks, "-o", sealed_chunks, plain], check=True)
    subprocess.run([*ctr, "-in", plain, "-out", sealed_ctr], check=True)

    age_seal = Side(["age", "-r", recipient, plain])
    age_open = Side(["age", "-d", "-i", identity, sealed_age])
    chunk_seal = Side([*seal, *chunks, plain])
    chunk_open = Side([*open_, "--key-file", key, sealed_chunks])
    found = [
        compare(f"seal {name}, age format", Side([*seal, "-r", recipient, plain]), age_seal, age,
                ">= 2.5"),
        compare(f"open {name}, age format", Side([*open_, "-i", identity, sealed_age]), age_open,
                age, ">= 2.5"),
        compare(f"seal {name}, chunk stream v1", chunk_seal, age_seal, age, ">= 5"),
        compare(f"open {name}, chunk stream v1", chunk_open, age_open, age, ">= 5"),
        compare(f"seal {name}, chunk stream v1", chunk_seal, Side([*ctr, "-in", plain]), openssl,
                ">= 2"),
        compare(f"open {name}, chunk stream v1", chunk_open, Side([*ctr, "-d", "-in", sealed_ctr]),
                openssl, ">= 2"),
    ]
    out = path("out")

    def remove():
        if os.path.exists(out):
            os.remove(out)

    found += [
        compare(f"seal {name} to a file, age format",
                Side([*seal, "-r", recipient, "-o", out, plain], before=remove),
                Side(["age", "-r", recipient, "-o", out, plain], before=remove), age, "none: disk"),
        compare(f"open {name} to a file, age format",
                Side([*open_, "-i", identity, "-o", out, sealed_age], before=remove),
                Side(["age", "-d", "-i", identity, "-o", out, sealed_age], before=remove), age,
                "none: disk"),
    ]
    # The most that any of ours took; less is better.
    most = max(row["ours_mib"] for row in found)
    peer = max(row["peer_mib"] for row in found)
    found.append({"work": f"seal, open {name}: memory", "ours": most, "peer": peer,
                  "peer_name": "the most of age and openssl", "unit": "MiB",
                  "ratio": round(peer / most, 3), "spread": "-", "goal": "<= 64 MiB"})
    return found


if __name__ == "__main__":
    main()
