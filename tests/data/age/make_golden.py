#!/usr/bin/python3
"""Files sealed by Debian's age binary, for the tests of our reader.

    make_golden.py     writes keys and *.age beside itself; needs age, age-keygen, ssh-keygen

Run once and committed: age draws fresh randomness, so every run gives other bytes.
Plaintext is P[i] = (i*31 + 7) mod 251; its size is in the file name. The passphrase of the scrypt
files is "correct horse battery staple".
"""
import os
import pty
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
PASSPHRASE = b"correct horse battery staple"


def pattern(size):
    return bytes((i * 31 + 7) % 251 for i in range(size))


def run(arguments, data=b""):
    return subprocess.run(arguments, input=data, stdout=subprocess.PIPE, check=True).stdout


def seal_with_passphrase(size, path):
    """age asks for a passphrase on its terminal only, so it gets one; its input is a file."""
    plain = path + ".plain"
    with open(plain, "wb") as out:
        out.write(pattern(size))
    child, terminal = pty.fork()
    if child == 0:
        os.execvp("age", ["age", "-p", "-o", path, plain])
    seen = b""
    for prompt in (b"secure one): ", b"passphrase: "):
        while prompt not in seen:
            seen += os.read(terminal, 100)
        seen = b""
        os.write(terminal, PASSPHRASE + b"\n")
    try:
        while os.read(terminal, 100):
            pass
    except OSError:
        pass
    os.waitpid(child, 0)
    os.remove(plain)


def main():
    os.chdir(HERE)
    for name in os.listdir("."):
        if name != os.path.basename(__file__):
            os.remove(name)
    for name in ("one", "two"):
        run(["age-keygen", "-o", "x25519_%s.key" % name])
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test key", "-f", "ssh_" + name])
    one = run(["age-keygen", "-y", "x25519_one.key"]).decode().strip()
    two = run(["age-keygen", "-y", "x25519_two.key"]).decode().strip()
    for size in (0, 1, 65535, 65536, 65537):
        run(["age", "-r", one, "-o", "x25519_%d.age" % size], pattern(size))
    for size in (0, 1000):
        run(["age", "-R", "ssh_one.pub", "-o", "ssh_%d.age" % size], pattern(size))
        run(["age", "-a", "-r", one, "-o", "armor_%d.age" % size], pattern(size))
    run(["age", "-r", two, "-R", "ssh_two.pub", "-r", one, "-R", "ssh_one.pub", "-o",
         "several_1000.age"], pattern(1000))
    seal_with_passphrase(1000, "scrypt_1000.age")


main()
