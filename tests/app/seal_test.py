"""Goal: `sealane seal` and `sealane open` keep their promises to a user, and to stock age.

Method: the built program and the age program as peers in both directions; wrong keys, damage, full
disks, terminals and signals; in a release build also 1 GiB, with memory measured."""
import hashlib
import json
import os
import pty
import random
import select
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
import unittest

PROGRAM = sys.argv.pop(1)
RELEASE = os.environ.get("SEALANE_BUILD_TYPE") == "Release"
SIZES = (0, 1, 65535, 65536, 65537)
MEMORY_LIMIT = 64 * 1024  # KiB


def data(size, seed=1):
    return random.Random(seed).randbytes(size)


def on_terminal(argv, answers, stdout=None):
    """Runs argv with a terminal of its own, types the answers; (exit code, what it showed)."""
    pid, terminal = pty.fork()
    if pid == 0:
        if stdout is not None:
            os.dup2(os.open(stdout, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), 1)
        try:
            os.execvp(argv[0], argv)
        finally:
            os._exit(127)
    shown = b""
    waiting = list(answers)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        ready, _, _ = select.select([terminal], [], [], 0.2)
        if not ready:
            continue
        try:
            part = os.read(terminal, 65536)
        except OSError:  # the other side closed it
            break
        if not part:
            break
        shown += part
        if waiting and b"assphrase" in part and part.rstrip(b" ").endswith(b":"):
            os.write(terminal, waiting.pop(0).encode() + b"\n")
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    return os.waitstatus_to_exitcode(status), shown


class Base(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="sealane-seal-")
        self.addCleanup(shutil.rmtree, self.dir)

    def path(self, name):
        return os.path.join(self.dir, name)

    def write(self, name, content, mode=0o600):
        with open(self.path(name), "wb") as file:
            file.write(content)
        os.chmod(self.path(name), mode)
        return self.path(name)

    def read(self, name):
        with open(self.path(name), "rb") as file:
            return file.read()

    def run_program(self, *args, stdin=b"", expect=0, **options):
        result = subprocess.run([PROGRAM, *args], input=stdin, capture_output=True, timeout=300,
                                **options)
        self.assertEqual(result.returncode, expect, (args, result.stderr))
        if expect != 0 and "--json" not in args:
            lines = result.stderr.decode().splitlines()
            self.assertEqual(len(lines), 1, f"one clear sentence: {lines}")
            self.assertTrue(lines[0].startswith("sealane: "), lines)
        return result

    def age_keys(self):
        if not hasattr(self, "keys"):
            subprocess.run(["age-keygen", "-o", self.path("key")], check=True, capture_output=True)
            os.chmod(self.path("key"), 0o600)
            out = subprocess.run(["age-keygen", "-y", self.path("key")], check=True,
                                 capture_output=True, text=True)
            self.keys = (out.stdout.strip(), self.path("key"))
        return self.keys

    def ssh_keys(self):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.path("ssh")],
                       check=True)
        return self.read("ssh.pub").decode().strip(), self.path("ssh")


@unittest.skipUnless(shutil.which("age"), "the age program is not installed")
class WithAge(Base):
    def both_ways(self, recipient, identity, *flags):
        for size in SIZES:
            plain = data(size)
            ours = self.run_program("seal", "-r", recipient, *flags, stdin=plain).stdout
            theirs = subprocess.run(["age", "-d", "-i", identity], input=ours,
                                    capture_output=True)
            self.assertEqual(theirs.returncode, 0, theirs.stderr)
            self.assertEqual(theirs.stdout, plain, size)
            sealed = subprocess.run(["age", "-r", recipient, *flags], input=plain, check=True,
                                    capture_output=True).stdout
            opened = self.run_program("open", "-i", identity, stdin=sealed).stdout
            self.assertEqual(opened, plain, size)

    def test_x25519(self):
        self.both_ways(*self.age_keys())

    def test_ssh_ed25519(self):
        self.both_ways(*self.ssh_keys())

    def test_armor(self):
        self.both_ways(*self.age_keys(), "-a")

    def test_recipient_file_with_comments(self):
        age, age_identity = self.age_keys()
        ssh, ssh_identity = self.ssh_keys()
        recipients = self.write("recipients", f"# people\n\n{age}\n{ssh}\n".encode())
        sealed = self.write("sealed", self.run_program("seal", "-R", recipients,
                                                       stdin=b"both").stdout)
        for identity in (age_identity, ssh_identity):
            self.assertEqual(self.run_program("open", "-i", identity, sealed).stdout, b"both")
            theirs = subprocess.run(["age", "-d", "-i", identity, sealed], check=True,
                                    capture_output=True)
            self.assertEqual(theirs.stdout, b"both")

    def test_passphrase_sealed_here_opens_there(self):
        secret = self.write("secret", b"correct horse\n")
        for size in SIZES if RELEASE else (0, 65537):  # each costs a second of scrypt
            self.run_program("seal", "--passphrase-file", secret, "-f", "-o", self.path("sealed"),
                             stdin=data(size))
            code, shown = on_terminal(["age", "-d", "-o", self.path("out"), self.path("sealed")],
                                      ["correct horse"])
            self.assertEqual(code, 0, shown)
            # age 1.1 makes its output file with the first byte, so none for an empty one.
            opened = self.read("out") if os.path.exists(self.path("out")) else b""
            self.assertEqual(opened, data(size))

    def test_passphrase_sealed_there_opens_here(self):
        secret = self.write("secret", b"correct horse\n")
        plain = self.write("plain", data(65537))
        code, shown = on_terminal(["age", "-p", "-o", self.path("sealed"), plain],
                                  ["correct horse", "correct horse"])
        self.assertEqual(code, 0, shown)
        opened = self.run_program("open", "--passphrase-file", secret, self.path("sealed"))
        self.assertEqual(opened.stdout, data(65537))
        code, shown = on_terminal([PROGRAM, "open", "-p", "-o", self.path("out"),
                                   self.path("sealed")], ["correct horse"])
        self.assertEqual(code, 0, shown)
        self.assertNotIn(b"correct", shown)
        self.assertEqual(self.read("out"), data(65537))

    @unittest.skipUnless(RELEASE, "1 GiB is for release builds")
    def test_one_gibibyte_in_flat_memory(self):
        recipient, identity = self.age_keys()
        key = self.write("datakey", bytes(range(32)))
        plain, sealed, out = self.path("plain"), self.path("sealed"), self.path("out")
        block = data(1 << 20)
        expected = hashlib.sha256()
        with open(plain, "wb") as file:
            for i in range(1024):
                part = i.to_bytes(8, "big") + block[8:]
                file.write(part)
                expected.update(part)

        def measured(argv, stdin=None, stdout=None):
            process = subprocess.Popen(argv, stdin=stdin, stdout=stdout)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            self.assertEqual(process.returncode, 0, argv)
            self.assertLessEqual(usage.ru_maxrss, MEMORY_LIMIT, argv)

        def check(path):
            found = hashlib.sha256()
            with open(path, "rb") as file:
                while part := file.read(1 << 20):
                    found.update(part)
            self.assertEqual(found.hexdigest(), expected.hexdigest())
            os.remove(path)

        for seal, open_ in ((["-r", recipient], ["-i", identity]),
                            (["--format", "backupy", "--key-file", key], ["--key-file", key])):
            # From file to file, and through pipes.
            measured([PROGRAM, "seal", "-q", *seal, "-o", sealed, plain])
            measured([PROGRAM, "open", "-q", *open_, "-o", out, sealed])
            check(out)
            with subprocess.Popen(["cat", sealed], stdout=subprocess.PIPE) as cat:
                with open(out, "wb") as file:
                    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=file) as tee:
                        measured([PROGRAM, "open", "-q", *open_], cat.stdout, tee.stdin)
                        tee.stdin.close()
            check(out)
            os.remove(sealed)
        with subprocess.Popen(["cat", plain], stdout=subprocess.PIPE) as cat:
            with open(sealed, "wb") as file:
                measured([PROGRAM, "seal", "-q", "-r", recipient], cat.stdout, file)
        subprocess.run(["age", "-d", "-i", identity, "-o", out, sealed], check=True)
        check(out)
        subprocess.run(["age", "-r", recipient, "-o", sealed + "2", plain], check=True)
        measured([PROGRAM, "open", "-q", "-i", identity, "-o", out, sealed + "2"])
        check(out)


class ByItself(Base):
    def setUp(self):
        super().setUp()
        self.run_program("keygen", "--recovery", "-o", self.path("key"))
        for line in self.read("key").decode().splitlines():
            if line.startswith("#") and "age1" in line:
                self.recipient = line[line.index("age1"):].strip()
        self.identity = self.path("key")
        self.datakey = self.write("datakey", bytes(range(32)))

    def seal(self, plain, *flags):
        return self.run_program("seal", "-r", self.recipient, *flags, stdin=plain).stdout

    def assert_clean(self, *names):
        self.assertEqual(sorted(os.listdir(self.dir)), sorted(["key", "datakey", *names]))

    def test_files_and_pipes_agree(self):
        for size in (*SIZES, 3_000_000):
            plain = data(size)
            self.write("plain", plain)
            self.run_program("seal", "-r", self.recipient, "-o", self.path("sealed"),
                             self.path("plain"))
            self.run_program("open", "-i", self.identity, "-o", self.path("out"),
                             self.path("sealed"))
            self.assertEqual(self.read("out"), plain)
            piped = self.run_program("open", "-i", self.identity, stdin=self.read("sealed"))
            self.assertEqual(piped.stdout, plain)
            with open(self.path("sealed"), "rb") as file:
                redirected = subprocess.run([PROGRAM, "open", "-i", self.identity], stdin=file,
                                            capture_output=True, check=True)
            self.assertEqual(redirected.stdout, plain)
            self.assertEqual(stat.S_IMODE(os.stat(self.path("out")).st_mode), 0o600)
            for name in ("plain", "sealed", "out"):
                os.remove(self.path(name))
            self.assert_clean()

    def test_chunk_streams_with_every_form_of_key(self):
        hex_key = self.write("hex", bytes(range(32)).hex().encode() + b"\n")
        base64_key = self.write("base64", b"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n")
        for size in (*SIZES, 1 << 20, (1 << 20) + 1, 5_000_000):
            plain = data(size)
            sealed = self.run_program("seal", "--format", "backupy", "--key-file", hex_key,
                                      stdin=plain).stdout
            self.write("sealed", sealed)
            for key in (self.datakey, hex_key, base64_key):
                opened = self.run_program("open", "--key-file", key, "--strict",
                                          self.path("sealed"))
                self.assertEqual(opened.stdout, plain)

    def test_chunk_stream_failures(self):
        sealed = self.run_program("seal", "--format", "backupy", "--key-file", self.datakey,
                                  stdin=data(3_000_000)).stdout
        wrong = self.write("wrong", bytes(32))
        self.run_program("open", "--key-file", wrong, stdin=sealed, expect=12)
        flipped = bytearray(sealed)
        flipped[-100] ^= 1
        self.run_program("open", "--key-file", self.datakey, stdin=bytes(flipped), expect=30)
        self.run_program("open", "--key-file", self.datakey, stdin=sealed[:-4], expect=30)
        lax = self.run_program("open", "--key-file", self.datakey, stdin=sealed + b"more")
        self.assertEqual(lax.stdout, data(3_000_000))
        self.assertIn(b"data after its end", lax.stderr)
        self.run_program("open", "--key-file", self.datakey, "--strict", stdin=sealed + b"more",
                         expect=30)
        self.run_program("open", "-i", self.identity, stdin=sealed, expect=2)
        short = self.write("short", bytes(31))
        self.run_program("open", "--key-file", short, stdin=sealed, expect=2)
        public = self.write("public", bytes(32), 0o644)
        self.run_program("open", "--key-file", public, stdin=sealed, expect=1)

    def test_wrong_key_and_damage(self):
        sealed = self.seal(data(300_000))
        self.run_program("keygen", "--recovery", "-o", self.path("other"))
        self.run_program("open", "-i", self.path("other"), stdin=sealed, expect=12)
        for cut in (0, 10, 100, len(sealed) - 1, len(sealed) - 70_000):
            self.run_program("open", "-i", self.identity, stdin=sealed[:cut], expect=30)
        for place in (150, len(sealed) - 70_000, len(sealed) - 1):
            flipped = bytearray(sealed)
            flipped[place] ^= 1
            result = self.run_program("open", "-i", self.identity, "-o", self.path("out"),
                                      stdin=bytes(flipped), expect=30)
        self.run_program("open", "-i", self.identity, stdin=sealed + b"x", expect=30)
        self.run_program("open", "-i", self.identity, stdin=b"just text, not sealed" * 100,
                         expect=30)
        self.assert_clean("other")

    def test_stdout_gets_whole_chunks_only(self):
        plain = data(1_000_000)
        sealed = bytearray(self.seal(plain))
        sealed[len(sealed) - 1] ^= 1
        result = self.run_program("open", "-i", self.identity, stdin=bytes(sealed), expect=30)
        self.assertEqual(result.stdout, plain[: len(plain) // 65536 * 65536])

    def test_truncated(self):
        plain = data(200_000)
        sealed = self.seal(plain)
        payload = len(sealed) - 200_000 - 4 * 16

        def at(chunk):
            return payload + chunk * (65536 + 16)

        for cut, words in ((at(1), "ends too early (truncated)"), (at(2) + 15, "ends too early (truncated)"),
                           (at(1) - 1, "cut short (truncated)"), (at(3) + 16, "cut short (truncated)"),
                           (len(sealed) - 1, "cut short (truncated)"), (payload - 1, "ends too early (truncated)")):
            result = self.run_program("open", "-i", self.identity, stdin=sealed[:cut], expect=30)
            self.assertIn(words, result.stderr.decode())
            self.assertEqual(result.stderr.count(b"\n"), 1)
        flipped = bytearray(sealed)
        flipped[at(1) - 1] ^= 1
        result = self.run_program("open", "-i", self.identity, stdin=bytes(flipped), expect=30)
        self.assertNotIn(b"truncated", result.stderr)

    def test_wrong_passphrase(self):
        right = self.write("right", b"one\n")
        wrong = self.write("wrong", b"two\n")
        sealed = self.run_program("seal", "--passphrase-file", right, stdin=b"x").stdout
        self.run_program("open", "--passphrase-file", wrong, stdin=sealed, expect=12)
        self.run_program("open", "-i", self.identity, stdin=sealed, expect=12)
        self.run_program("open", stdin=sealed, expect=2)
        self.run_program("open", "--passphrase-file", self.path("none"), stdin=sealed, expect=1)

    def test_secrets_that_others_can_read(self):
        secret = self.write("secret", b"one\n")
        token = self.write("token", b"no token")
        sealed = self.run_program("seal", "--passphrase-file", secret, stdin=b"x").stdout
        chunks = self.run_program("seal", "--format", "backupy", "--key-file", self.datakey,
                                  stdin=b"x").stdout
        for path in (secret, token, self.datakey):
            os.chmod(path, 0o644)
        for args, stdin, path in (
                (["seal", "--passphrase-file", secret], b"x", secret),
                (["open", "--passphrase-file", secret], sealed, secret),
                (["seal", "--format", "backupy", "--key-file", self.datakey], b"x", self.datakey),
                (["open", "--key-file", self.datakey], chunks, self.datakey),
                (["open", "--token-file", token], chunks, token)):
            result = self.run_program(*args, stdin=stdin, expect=1)
            self.assertIn(b"`chmod 600 " + os.fsencode(path) + b"`", result.stderr)
            self.assertEqual(result.stderr.count(b"\n"), 1)
            self.assertEqual(result.stdout, b"")
        # What a pipe brings, nobody else can read.
        with open(self.path("sealed"), "wb") as file:
            file.write(sealed)
        with open(self.path("chunks"), "wb") as file:
            file.write(chunks)
        for words in ('--passphrase-file /dev/stdin sealed <<<one',
                      '--passphrase-file <(echo one) sealed', '--key-file <(cat "$1") chunks'):
            done = subprocess.run(["bash", "-c", f'"$0" open {words}', PROGRAM, self.datakey],
                                  cwd=self.dir, capture_output=True, check=False)
            self.assertEqual((done.stdout, done.returncode), (b"x", 0), done.stderr)

    def test_usage(self):
        for args in (["seal"], ["seal", "-r", "age1nonsense"],
                     ["seal", "-r", self.recipient, "--passphrase-file", self.datakey],
                     ["seal", "-r", self.recipient, "--key-file", self.datakey],
                     ["seal", "--format", "backupy"],
                     ["seal", "--format", "backupy", "--key-file", self.datakey, "-a"],
                     ["seal", "--format", "zip", "-r", self.recipient],
                     ["seal", "-r", self.recipient, self.dir]):
            self.run_program(*args, expect=2)
        self.run_program("seal", "-r", self.recipient, self.path("none"), expect=1)
        self.run_program("seal", "-r", self.recipient, "-o", self.path("no/such/dir"), expect=1)
        self.assert_clean()

    def test_output_is_never_the_input_nor_an_existing_file(self):
        plain = self.write("plain", b"precious")
        os.symlink(plain, self.path("link"))
        os.link(plain, self.path("hard"))
        for out in (plain, self.path("link"), self.path("hard")):
            self.run_program("seal", "-r", self.recipient, "-f", "-o", out, plain, expect=2)
        with open(plain, "rb") as file, open(plain, "ab") as out:
            result = subprocess.run([PROGRAM, "seal", "-r", self.recipient], stdin=file,
                                    stdout=out, stderr=subprocess.PIPE)
        self.assertEqual(result.returncode, 2, result.stderr)
        other = self.write("other", b"also precious")
        self.run_program("seal", "-r", self.recipient, "-o", other, plain, expect=2)
        self.assertEqual(self.read("plain"), b"precious")
        self.assertEqual(self.read("other"), b"also precious")
        self.run_program("seal", "-r", self.recipient, "-f", "-o", other, plain)
        self.assertEqual(self.run_program("open", "-i", self.identity, other).stdout, b"precious")

    def test_a_key_is_never_the_output(self):
        """The one file that --force must not cost: without it nothing opens any more."""
        sealed = self.write("sealed", self.seal(b"x"))
        recipients = self.write("recipients", self.recipient.encode())
        os.link(self.identity, self.path("hard"))
        os.symlink(recipients, self.path("soft"))
        before = self.read(self.identity)
        for out in (self.identity, self.path("hard")):
            result = self.run_program("open", "-i", self.identity, "-f", "-o", out, sealed, expect=2)
            self.assertIn(b"is not replaced", result.stderr)
        self.run_program("seal", "-R", recipients, "-f", "-o", self.path("soft"), sealed, expect=2)
        self.assertEqual(self.read(self.identity), before)
        self.assertEqual(self.read("recipients"), self.recipient.encode())

    def test_a_failed_replacement_leaves_the_old_file(self):
        old = self.write("old", b"old")
        sealed = self.seal(data(200_000))
        self.run_program("open", "-i", self.identity, "-f", "-o", old, stdin=sealed[:-1],
                         expect=30)
        self.assertEqual(self.read("old"), b"old")
        self.assert_clean("old")

    def test_full_disk(self):
        plain = self.write("plain", data(1_000_000))
        with open("/dev/full", "wb") as full:
            result = subprocess.run([PROGRAM, "seal", "-r", self.recipient, plain], stdout=full,
                                    stderr=subprocess.PIPE)
        self.assertEqual(result.returncode, 1)
        self.assertIn(b"free some space", result.stderr)
        self.run_program("seal", "-r", self.recipient, "-o", "/dev/full", plain, expect=1)

    def test_reader_that_went_away(self):
        plain = self.write("plain", data(5_000_000))
        process = subprocess.Popen([PROGRAM, "seal", "-r", self.recipient, plain],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        process.stdout.read(10)
        process.stdout.close()
        error = process.stderr.read()
        self.assertEqual(process.wait(60), 1, error)
        self.assertIn(b"the reader ended", error)
        process.stderr.close()

    def test_ctrl_c_leaves_nothing(self):
        sealed = self.seal(data(1_000_000))
        for args, start in ((["seal", "-r", self.recipient], data(500_000)),
                            (["open", "-i", self.identity], sealed[:500_000])):
            for number in (signal.SIGINT, signal.SIGTERM):
                process = subprocess.Popen([PROGRAM, *args, "-o", self.path("out")],
                                           stdin=subprocess.PIPE, stderr=subprocess.PIPE)
                process.stdin.write(start)
                process.stdin.flush()
                deadline = time.monotonic() + 30
                while len(os.listdir(self.dir)) < 3 and time.monotonic() < deadline:
                    time.sleep(0.01)
                self.assertEqual(len(os.listdir(self.dir)), 3, "a temporary lies there")
                asked = time.monotonic()
                process.send_signal(number)
                error = process.stderr.read()
                self.assertEqual(process.wait(60), 130, error)
                self.assertLess(time.monotonic() - asked, 20)
                process.stdin.close()
                process.stderr.close()
                self.assert_clean()

    def test_terminals(self):
        code, shown = on_terminal([PROGRAM, "seal", "-r", self.recipient, self.datakey], [])
        self.assertEqual(code, 2, shown)
        self.assertIn(b"terminal", shown)
        binary = self.write("binary", self.seal(b"\x1b[2J"))
        code, shown = on_terminal([PROGRAM, "open", "-i", self.identity, binary], [])
        self.assertEqual(code, 2, shown)
        self.assertNotIn(b"\x1b[2J", shown)
        text = self.write("text", self.seal("grüße\n".encode()))
        code, shown = on_terminal([PROGRAM, "open", "-q", "-i", self.identity, text], [])
        self.assertEqual((code, shown), (0, "grüße\r\n".encode()))

    def test_passphrase_prompt(self):
        plain = self.write("plain", b"x")
        seal = [PROGRAM, "seal", "-p", "-o", self.path("sealed"), plain]
        self.run_program(*seal[1:], expect=2, start_new_session=True)
        code, shown = on_terminal(seal, ["one", "two"])
        self.assertEqual(code, 2, shown)
        self.assert_clean("plain")
        code, shown = on_terminal(seal, ["one", "one"])
        self.assertEqual(code, 0, shown)
        self.assertNotIn(b"one", shown)
        secret = self.write("secret", b"one\n")
        opened = self.run_program("open", "--passphrase-file", secret, self.path("sealed"))
        self.assertEqual(opened.stdout, b"x")

    def test_armor_is_found_by_content(self):
        armored = self.seal(data(100_000), "-a")
        self.assertTrue(armored.startswith(b"-----BEGIN AGE ENCRYPTED FILE-----\n"))
        for text in (armored, b"\r\n  \n" + armored + b"\n\n", armored.replace(b"\n", b"\r\n")):
            opened = self.run_program("open", "-i", self.identity, stdin=text)
            self.assertEqual(opened.stdout, data(100_000))
        for bad in (armored[:-20], armored + b"x", armored.replace(b"\n", b"\n\n")):
            self.run_program("open", "-i", self.identity, stdin=bad, expect=30)

    def test_json_and_the_unknown_sender(self):
        plain = self.write("plain", data(100_000))
        result = self.run_program("seal", "--json", "-r", self.recipient, "-o",
                                  self.path("sealed"), plain)
        message = json.loads(result.stdout.splitlines()[-1])
        self.assertEqual(message["message_type"], "sealed")
        self.assertEqual(message["plain_bytes"], 100_000)
        self.assertEqual(message["sealed_bytes"], os.path.getsize(self.path("sealed")))
        result = self.run_program("open", "--json", "-i", self.identity, self.path("sealed"))
        self.assertEqual(result.stdout, data(100_000))
        message = json.loads(result.stderr.splitlines()[-1])
        self.assertEqual(message["message_type"], "opened")
        self.assertEqual(message["sender"], "unknown")
        result = self.run_program("open", "-v", "-i", self.identity, self.path("sealed"))
        self.assertIn(b"sender is unknown", result.stderr)
        self.assertIn(b"sender of a lone file is unknown",
                      self.run_program("open", "--help").stdout)
        result = self.run_program("open", "--json", "-i", self.identity, stdin=b"", expect=30)
        self.assertEqual(json.loads(result.stderr.splitlines()[-1])["exit_code"], 30)


if __name__ == "__main__":
    unittest.main()
