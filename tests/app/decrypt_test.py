"""Goal: `sealane decrypt` stands in for backupy-decrypt: flags, exit codes, words; and never leaves
half a file, never replaces one unasked. Method: all 32 vector tokens, all 41 vector streams and every
way to give key, input and output, through the built program."""
import base64
import hashlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest

PROGRAM = os.path.abspath(sys.argv.pop(1))
VECTORS = pathlib.Path(__file__).resolve().parent.parent / "data" / "chunkstream"
MANIFEST = {v["name"]: v for v in json.loads((VECTORS / "manifest.json").read_text())["vectors"]}
TOKENS = {t["name"]: t for t in json.loads((VECTORS / "tokens.json").read_text())["tokens"]}
KEY = MANIFEST["zstd_raw_block"]["key_hex"]
OK_TOKEN = TOKENS["ok"]["jwt"]


def pattern(segments):
    return b"".join(bytes((i * 31 + 7) % 251 for i in range(start, start + size))
                    for start, size in segments)


def sealed(name):
    return VECTORS / (name + ".enc")


class Decrypt(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory(prefix="sealane-decrypt-")
        self.addCleanup(directory.cleanup)
        self.dir = pathlib.Path(directory.name)
        self.out = self.dir / "out"

    def run_program(self, *args, program=(PROGRAM, "decrypt"), env=None, **options):
        environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", **(env or {})}
        for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS"):
            if name in os.environ:
                environment[name] = os.environ[name]
        return subprocess.run([*program, *map(str, args)], capture_output=True, timeout=60,
                              env=environment, **options)

    def decrypt(self, vector, *args, **options):
        return self.run_program("--key-hex", MANIFEST[vector]["key_hex"], "--in", sealed(vector),
                                "--out", self.out, *args, **options)

    def assert_failed(self, result, *words, code=1):
        self.assertEqual(result.returncode, code, result.stderr)
        last = result.stderr.decode().strip().splitlines()[-1]
        self.assertTrue(last.startswith("error: "), result.stderr)
        for word in words:
            self.assertIn(word, last)
        self.assertEqual(result.stdout, b"")

    def assert_nothing_left(self):
        self.assertEqual(list(self.dir.iterdir()), [])

    def test_every_vector_token(self):
        words = {"sha256_mismatch": "sha256 mismatch", "token_expired": "token expired",
                 "invalid_token": "invalid token", "unsupported_algorithm": "unsupported algorithm",
                 "unsupported_format": "unsupported format version", "auth_failed": ""}
        self.assertEqual(len(TOKENS), 32)
        for name, token in TOKENS.items():
            with self.subTest(name):
                raw = token["vector"] == "trailing_bytes"
                result = self.run_program("--token", token["jwt"], "--in", sealed(token["vector"]),
                                          "--out", self.out, f"--skip-decompress={str(raw).lower()}")
                if token["expect"] != "ok":
                    self.assert_failed(result, words[token["expect"]])
                    self.assert_nothing_left()
                    continue
                self.assertEqual(result.returncode, 0, result.stderr)
                self.assertEqual(result.stdout, b"")
                self.assertRegex(result.stderr.decode(), rf"(?m)^OK.*{self.out}")
                if raw:
                    self.assertIn(b"data after its end", result.stderr)
                vector = MANIFEST[token["vector"]]
                expected = vector["plaintext" if raw else "decompressed"]["sha256"]
                self.assertEqual(hashlib.sha256(self.out.read_bytes()).hexdigest(), expected)
                self.assertEqual(self.out.stat().st_mode & 0o777, 0o600)
                self.out.unlink()

    def test_every_vector_stream(self):
        self.assertEqual(len(MANIFEST), 41)
        for name, vector in MANIFEST.items():
            for strict in (False, True):
                with self.subTest(name, strict=strict):
                    result = self.decrypt(name, "--skip-decompress", f"--strict={int(strict)}")
                    if vector["expect_strict" if strict else "expect"] == "ok":
                        self.assertEqual(result.returncode, 0, result.stderr)
                        plain = self.out.read_bytes()
                        self.assertEqual(len(plain), vector["plaintext"]["length"])
                        self.assertEqual(hashlib.sha256(plain).hexdigest(),
                                         vector["plaintext"]["sha256"])
                        self.out.unlink()
                    else:
                        self.assert_failed(result)
                    self.assert_nothing_left()

    def test_decompression(self):
        for name, vector in MANIFEST.items():
            if "decompressed" not in vector:
                continue
            with self.subTest(name):
                result = self.decrypt(name)
                if vector["decompressed"].get("expect", "ok") == "ok":
                    self.assertEqual(result.returncode, 0, result.stderr)
                    self.assertEqual(hashlib.sha256(self.out.read_bytes()).hexdigest(),
                                     vector["decompressed"]["sha256"])
                    self.out.unlink()
                else:
                    self.assert_failed(result)
                self.assert_nothing_left()

    def test_flag_forms(self):
        base = {"token": OK_TOKEN, "in": sealed("zstd_raw_block"), "out": self.out}
        forms = [lambda k, v: [f"--{k}", v], lambda k, v: [f"-{k}", v],
                 lambda k, v: [f"--{k}={v}"], lambda k, v: [f"-{k}={v}"]]
        for form in forms:
            words = [word for item in base.items() for word in form(*item)]
            for extra in ([], ["ignored"], ["-quiet=F"], ["--verify-sha256=TRUE"], ["--", "--nope"]):
                result = self.run_program(*words, *extra)
                self.assertEqual(result.returncode, 0, result.stderr)
                self.out.unlink()
        self.assertEqual(self.run_program("positional", *words).returncode, 0)

    def test_usage(self):
        good = ["--token", OK_TOKEN, "--in", sealed("zstd_raw_block"), "--out", self.out]
        for words in ([], good[2:], good[:2] + good[4:], good[:4], [*good, "--nope"],
                      [*good, "--quiet=maybe"], [*good, "-token"], [*good, "--key-hex", KEY],
                      [*good, "--sha256", "12"], [*good, "--sha256", "x" * 64],
                      ["--token-file", "-", "--in", "-", "--out", self.out]):
            result = self.run_program(*words)
            self.assert_failed(result, code=2)
            self.assert_nothing_left()
        self.assertIn(b"usage:", self.run_program().stderr)

    def test_help_and_version(self):
        for words in (["--help"], ["-h"], ["-help"], ["--in", "x", "-h"]):
            result = self.run_program(*words)
            self.assertEqual(result.returncode, 0)
            for flag in ("--token-file", "--skip-decompress", "--allow-expired", "--json"):
                self.assertIn(flag, result.stdout.decode())
        result = self.run_program("-version")
        self.assertEqual(result.returncode, 0)
        self.assertRegex(result.stdout, rb"^backupy-decrypt \d+\.\d+\.\d+\n$")

    def test_answers_to_its_other_name(self):
        link = self.dir / "my-backupy-decrypt"
        link.symlink_to(PROGRAM)
        result = self.run_program("--version", program=(link,))
        self.assertRegex(result.stdout, rb"^backupy-decrypt ")
        result = self.run_program("--key-hex", KEY, "--in", sealed("zstd_raw_block"), "--out",
                                  self.out, program=(link,))
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn(b"--token-file", self.run_program("-h", program=(link,)).stdout)
        self.assertEqual(self.run_program(program=(link,)).returncode, 2)

    def test_token_sources(self):
        token = self.dir / "token"
        token.write_text(OK_TOKEN + " \t\r\n")
        token.chmod(0o600)
        common = ["--in", sealed("zstd_raw_block"), "--force", "--out", self.out]
        expired = TOKENS["expired"]["jwt"]
        for words, stdin in ((["--token-file", token], None),
                             (["--token", expired, "--token-file", token], None),
                             (["--token-file", "-"], OK_TOKEN.encode() + b"\n"),
                             (["--token", expired, "--allow-expired"], None)):
            result = self.run_program(*words, *common, input=stdin)
            self.assertEqual(result.returncode, 0, result.stderr)
        token.write_text(" " + OK_TOKEN)  # only what follows is trimmed
        result = self.run_program("--token-file", token, *common)
        self.assertEqual(result.returncode, 0, "the header segment is not looked at")
        self.assert_failed(self.run_program("--token-file", self.dir / "none", *common), "none")
        token.write_text("x" * 70000)
        self.assert_failed(self.run_program("--token-file", token, *common), "too large")
        token.chmod(0o640)
        self.assert_failed(self.run_program("--token-file", token, *common),
                           f"chmod 600 {token}")

    def test_key_sources(self):
        raw = bytes.fromhex(KEY)
        key = self.dir / "key"
        common = ["--in", sealed("zstd_raw_block"), "--force", "--out", self.out]
        encoded = base64.b64encode(raw).decode()
        for content in (raw, KEY.encode(), KEY.upper().encode() + b"\n", encoded.encode() + b"\r\n"):
            key.write_bytes(content)
            key.chmod(0o600)
            result = self.run_program("--key-file", key, *common)
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assertIn(b"no SHA-256", result.stderr)
        key.chmod(0o644)
        self.assert_failed(self.run_program("--key-file", key, *common), str(key))
        key.chmod(0o600)
        key.write_bytes(raw[:31])
        self.assert_failed(self.run_program("--key-file", key, *common), "32-byte key")
        for words, env in ((["--key-base64", encoded], {}), ([], {"BACKUPY_DEK": KEY}),
                           ([], {"BACKUPY_DEK": encoded}),
                           (["--key-hex", KEY], {"BACKUPY_DEK": "not looked at"})):
            result = self.run_program(*words, *common, env=env)
            self.assertEqual(result.returncode, 0, result.stderr)
        self.assert_failed(self.run_program(*common, env={"BACKUPY_DEK": "x"}), "BACKUPY_DEK")
        self.assertNotIn(KEY[:60].encode(), self.run_program("--key-hex", KEY[:60], *common).stderr)

    def test_sha256(self):
        vector = MANIFEST["zstd_raw_block"]
        good = vector["ciphertext"]["sha256"]
        result = self.decrypt("zstd_raw_block", "--sha256", good.upper())
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertNotIn(b"warning", result.stderr)
        self.out.unlink()
        wrong = "0" * 64
        self.assert_failed(self.decrypt("zstd_raw_block", "--sha256", wrong), "sha256 mismatch", good)
        self.assert_nothing_left()
        result = self.decrypt("zstd_raw_block", "--sha256", wrong, "--verify-sha256=false")
        self.assertEqual(result.returncode, 0, result.stderr)
        result = self.run_program("--token", TOKENS["ok_no_sha"]["jwt"], "--in",
                                  sealed("zstd_raw_block"), "--out", "-")
        self.assertIn(b"no SHA-256", result.stderr)

    def test_standard_streams(self):
        expected = MANIFEST["three_frames"]["plaintext"]["sha256"]
        result = self.run_program("--key-hex", MANIFEST["three_frames"]["key_hex"], "--in", "-",
                                  "--out", "-", "--skip-decompress",
                                  input=sealed("three_frames").read_bytes())
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(hashlib.sha256(result.stdout).hexdigest(), expected)
        self.assertIn(b"\rprocessed 1.00 MiB", result.stderr)
        self.assertIn(b"\nOK", result.stderr)
        result = self.run_program("--key-hex", MANIFEST["three_frames"]["key_hex"], "--in",
                                  sealed("late_failure"), "--out", "-", "--skip-decompress")
        self.assertEqual(result.returncode, 1)
        self.assertEqual(result.stdout, pattern(MANIFEST["late_failure"]["plaintext"]["segments"]))
        result = self.decrypt("three_frames", "--skip-decompress", "--quiet", "--verify-sha256=0")
        self.assertEqual((result.returncode, result.stderr, result.stdout), (0, b"", b""))

    def test_pipes_and_devices(self):
        fifo = self.dir / "fifo"
        os.mkfifo(fifo)
        writer = threading.Thread(target=lambda: fifo.write_bytes(
            sealed("three_frames").read_bytes()))
        writer.start()
        result = self.run_program("--key-hex", MANIFEST["three_frames"]["key_hex"], "--in", fifo,
                                  "--out", "/dev/null", "--skip-decompress")
        writer.join()
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertFalse(pathlib.Path("/dev/null").is_file())

    def test_existing_files_are_safe(self):
        self.out.write_text("mine")
        self.assert_failed(self.decrypt("zstd_raw_block"), "--force", str(self.out))
        self.assertEqual(self.out.read_text(), "mine")
        self.assert_failed(self.decrypt("zstd_truncated", "--force"))
        self.assertEqual(self.out.read_text(), "mine")
        self.assertEqual(self.decrypt("zstd_raw_block", "--force").returncode, 0)
        link = self.dir / "link"
        link.symlink_to(self.out)
        self.out.write_text("mine")
        result = self.run_program("--key-hex", KEY, "--in", sealed("zstd_raw_block"), "--out", link,
                                  "--force")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertTrue(link.is_symlink())
        self.assertNotEqual(self.out.read_bytes(), b"mine")

    def test_input_is_never_the_output(self):
        content = sealed("zstd_raw_block").read_bytes()
        self.out.write_bytes(content)
        hard = self.dir / "hard"
        os.link(self.out, hard)
        soft = self.dir / "soft"
        soft.symlink_to(self.out)
        for name in (self.out, hard, soft):
            result = self.run_program("--key-hex", KEY, "--in", self.out, "--out", name, "--force")
            self.assert_failed(result, "same file")
        with open(self.out, "rb") as stdin:
            result = self.run_program("--key-hex", KEY, "--in", "-", "--out", self.out, "--force",
                                      stdin=stdin)
        self.assert_failed(result, "same file")
        self.assertEqual(self.out.read_bytes(), content)

    def test_a_key_is_never_the_output(self):
        key = self.dir / "key"
        key.write_text(KEY)
        key.chmod(0o600)
        result = self.run_program("--key-file", key, "--in", sealed("zstd_raw_block"), "--out", key,
                                  "--force")
        self.assert_failed(result, "is not replaced")
        self.assertEqual(key.read_text(), KEY)

    def test_unusable_paths(self):
        for words in (["--in", self.dir / "none", "--out", self.out],
                      ["--in", self.dir, "--out", self.out],
                      ["--in", sealed("zstd_raw_block"), "--out", self.dir],
                      ["--in", sealed("zstd_raw_block"), "--out", self.dir / "no" / "out"]):
            self.assert_failed(self.run_program("--key-hex", KEY, *words))
            self.assert_nothing_left()
        with open("/dev/full", "wb") as full:
            result = subprocess.run([PROGRAM, "decrypt", "--key-hex", KEY, "--in",
                                     sealed("zstd_raw_block"), "--out", "-"], stdout=full,
                                    stderr=subprocess.PIPE, timeout=60, check=False)
        self.assertEqual(result.returncode, 1)
        self.assertIn(b"No space left", result.stderr)

    def test_signals_end_it_and_leave_nothing(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            with subprocess.Popen([PROGRAM, "decrypt", "--key-hex", KEY, "--in", "-", "--out",
                                   self.out], stdin=subprocess.PIPE, stderr=subprocess.PIPE) as child:
                child.stdin.write(sealed("zstd_raw_block").read_bytes()[:100])
                child.stdin.flush()
                deadline = time.monotonic() + 30
                while not list(self.dir.iterdir()) and time.monotonic() < deadline:
                    time.sleep(0.02)
                child.send_signal(number)
                self.assertEqual(child.wait(timeout=30), 1)
                self.assertIn(b"error: interrupted", child.stderr.read())
                child.stdin.close()
            self.assert_nothing_left()

    def test_json(self):
        result = self.decrypt("zstd_raw_block", "--json")
        messages = [json.loads(line) for line in result.stdout.splitlines()]
        self.assertEqual([m["message_type"] for m in messages], ["warning", "decrypted"])
        self.assertEqual(messages[-1]["sealed_bytes"], 245)
        self.assertEqual(result.stderr, b"")
        result = self.decrypt("bitflip_tag", "--json", "--force")
        message = json.loads(result.stdout.splitlines()[-1])
        self.assertEqual((message["message_type"], message["exit_code"]), ("error", 1))


if __name__ == "__main__":
    unittest.main()
