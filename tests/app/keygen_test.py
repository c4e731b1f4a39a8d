"""Goal: keys made by `sealane keygen` are good for ssh-keygen and age, `sealane id` tells the same
of them, and neither harms a file. Method: the built program and the stock tools, in a throw-away
home."""
import json
import os
import pty
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import unittest

PROGRAM = sys.argv.pop(1)


class Keys(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.home = folder.name
        self.environment = {"PATH": os.environ["PATH"], "HOME": self.home, "TZ": "UTC"}

    def run_program(self, *args, **more_environment):
        return subprocess.run([PROGRAM, *args], capture_output=True, text=True, timeout=60,
                              stdin=subprocess.DEVNULL, start_new_session=True,
                              env={**self.environment, **more_environment})

    def path(self, name):
        return os.path.join(self.home, name)

    def write(self, name, text, mode=0o600):
        with open(self.path(name), "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(self.path(name), mode)
        return self.path(name)

    def read(self, path):
        with open(path, encoding="utf-8") as file:
            return file.read()

    def succeed(self, *args, **more_environment):
        result = self.run_program(*args, **more_environment)
        self.assertEqual(result.returncode, 0, result.stderr)
        return result.stdout

    def fail(self, code, *args, **more_environment):
        result = self.run_program(*args, **more_environment)
        self.assertEqual(result.returncode, code, result.stdout + result.stderr)
        self.assertEqual(result.stdout, "")
        self.assertTrue(result.stderr.startswith("sealane: "), result.stderr)
        self.assertEqual(result.stderr.count("\n"), 1, result.stderr)
        return result.stderr

    def tool(self, *args):
        if shutil.which(args[0]) is None:
            self.skipTest(args[0] + " is not installed")
        return subprocess.run(args, capture_output=True, text=True, timeout=60,
                              stdin=subprocess.DEVNULL, check=True).stdout

    def test_identity_in_its_default_places(self):
        for environment, folder in (({}, ".config/sealane"),
                                    ({"XDG_CONFIG_HOME": self.path("xdg")}, "xdg/sealane"),
                                    ({"SEALANE_HOME": self.path("own")}, "own")):
            path = os.path.join(self.home, folder, "identity")
            self.assertIn("sealane keygen", self.fail(2, "id", **environment))
            out = self.succeed("keygen", "--comment", "shop", **environment)
            self.assertIn(path, out)
            self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)
            self.assertEqual(stat.S_IMODE(os.stat(path + ".pub").st_mode), 0o644)
            self.assertEqual(stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode), 0o700)
            fingerprint = re.search(r"SHA256:\S{43}", out).group()
            self.assertIn(fingerprint, self.tool("ssh-keygen", "-l", "-f", path))
            self.assertEqual(self.tool("ssh-keygen", "-y", "-f", path), self.read(path + ".pub"))
            shown = self.succeed("id", **environment)
            self.assertIn(fingerprint, shown)
            self.assertIn(self.read(path + ".pub"), shown)
            self.assertEqual(shown, self.succeed("id", path + ".pub", **environment))

    def test_nothing_is_overwritten(self):
        self.succeed("keygen", "-o", self.path("key"))
        before = self.read(self.path("key"))
        self.assertIn("exists already", self.fail(2, "keygen", "-o", self.path("key")))
        said = self.fail(2, "keygen", "--recovery", "-o", self.path("key"))
        self.assertIn("exists already", said)
        self.assertEqual(self.read(self.path("key")), before)
        # A public key without its private one: nothing is left half done.
        self.write("other.pub", "mine")
        self.fail(2, "keygen", "-o", self.path("other"))
        self.assertFalse(os.path.exists(self.path("other")))
        self.assertEqual(self.read(self.path("other.pub")), "mine")

    def test_passphrase_file(self):
        secret = self.write("passphrase", "correct horse\n")
        self.succeed("keygen", "-o", self.path("key"), "--passphrase-file", secret,
                     "--comment", "shop")
        public = self.tool("ssh-keygen", "-y", "-P", "correct horse", "-f", self.path("key"))
        self.assertEqual(public, self.read(self.path("key.pub")))
        kind, blob = public.split()[:2]
        self.assertIn(f"{kind} {blob}\n", self.succeed("id", self.path("key")))
        self.assertIn(public, self.succeed("id", self.path("key"), "--passphrase-file", secret))
        wrong = self.write("wrong", "incorrect horse\n")
        self.assertIn("passphrase is wrong",
                      self.fail(12, "id", self.path("key"), "--passphrase-file", wrong))
        self.write("empty", "\n")
        self.fail(2, "keygen", "-o", self.path("k2"), "--passphrase-file", self.path("empty"))
        self.assertFalse(os.path.exists(self.path("k2")))
        self.assertIn("no terminal", self.fail(2, "keygen", "-p", "-o", self.path("k2")))

    def test_passphrase_asked_twice_without_echo(self):
        def talk(first, second):
            child, terminal = pty.fork()
            if child == 0:
                os.execve(PROGRAM, [PROGRAM, "keygen", "-p", "-o", self.path("asked")],
                          self.environment)
            seen = b""
            for answer, wanted in ((first, b"new key: "), (second, b"(again): ")):
                while wanted not in seen:
                    seen += os.read(terminal, 1000)
                os.write(terminal, answer + b"\n")
            try:
                while more := os.read(terminal, 1000):
                    seen += more
            except OSError:
                pass  # how Linux tells that the other end is closed
            os.close(terminal)
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), seen

        code, seen = talk(b"one secret", b"another secret")
        self.assertEqual(code, 2, seen)
        self.assertNotIn(b"secret", seen)
        self.assertFalse(os.path.exists(self.path("asked")))
        code, seen = talk(b"one secret", b"one secret")
        self.assertEqual(code, 0, seen)
        self.assertNotIn(b"secret", seen)
        public = self.tool("ssh-keygen", "-y", "-P", "one secret", "-f", self.path("asked"))
        self.assertEqual(public, self.read(self.path("asked.pub")))

    def test_recovery_identity(self):
        out = self.succeed("keygen", "--recovery", "-o", self.path("key"), "--comment", "safe")
        recipient = re.search(r"age1\S+", out).group()
        self.assertNotIn("AGE-SECRET-KEY", out)
        self.assertEqual(stat.S_IMODE(os.stat(self.path("key")).st_mode), 0o600)
        text = self.read(self.path("key"))
        self.assertRegex(text, r"\A# created: \S+Z\n# public key: " + recipient + "\n# safe\n")
        self.assertEqual(self.succeed("id", self.path("key")), f"recipient    {recipient}\n")
        self.assertEqual(self.tool("age-keygen", "-y", self.path("key")), recipient + "\n")
        self.write("recipients", "# two\n" + recipient + "\n" + recipient + "\n", 0o644)
        self.assertEqual(self.succeed("id", self.path("recipients")).count(recipient), 2)

    def test_recovery_identity_on_stdout(self):
        result = self.run_program("keygen", "--recovery")
        self.assertEqual(result.returncode, 0)
        self.assertRegex(result.stdout, r"\nAGE-SECRET-KEY-1[0-9A-Z]{58}\n\Z")
        self.assertIn(re.search(r"age1\S+", result.stdout).group(), result.stderr)
        self.assertNotIn("AGE-SECRET-KEY", result.stderr)
        self.assertIn("-o FILE", json.loads(self.run_program("keygen", "--recovery",
                                                             "--json").stdout)["message"])
        with open("/dev/full", "wb") as full:
            lost = subprocess.run([PROGRAM, "keygen", "--recovery"], stdout=full, timeout=60,
                                  stderr=subprocess.PIPE, check=False)
        self.assertEqual(lost.returncode, 1, "a key that was not written is not a success")

    def test_json(self):
        created = json.loads(self.succeed("keygen", "-o", self.path("key"), "--json"))
        shown = json.loads(self.succeed("id", self.path("key"), "--json"))
        self.assertEqual(created["message_type"], "key_created")
        self.assertEqual(shown["message_type"], "key")
        for name in ("schema", "kind", "path", "public_key", "fingerprint"):
            self.assertEqual(created[name], shown[name])
        self.assertEqual(created["encrypted"], False)
        recovery = json.loads(self.succeed("keygen", "--recovery", "-o", self.path("r"), "--json"))
        shown = json.loads(self.succeed("id", self.path("r"), "--json"))
        self.assertEqual(recovery["recipient"], shown["recipient"])
        self.assertEqual(recovery["kind"], "recovery")

    def test_bad_input_gets_one_sentence(self):
        self.assertIn("No such file", self.fail(1, "id", self.path("missing")))
        self.assertIn("holds no key", self.fail(2, "id", self.write("empty", "", 0o644)))
        self.assertIn("line 2", self.fail(2, "id", self.write("text", "# hello\nworld\n", 0o644)))
        self.succeed("keygen", "-o", self.path("key"))
        os.chmod(self.path("key"), 0o640)
        self.assertIn("chmod 600 " + self.path("key"), self.fail(1, "id", self.path("key")))
        self.assertIn("control", self.fail(2, "keygen", "--comment", "a\nb"))
        self.assertIn("no passphrase",
                      self.fail(2, "keygen", "--recovery", "--passphrase-file", "/dev/null"))
        self.assertIn("No such file", self.fail(1, "keygen", "-o", self.path("no/such/folder")))

    def test_keys_of_other_kinds_are_refused_by_name(self):
        self.tool("ssh-keygen", "-q", "-t", "rsa", "-N", "", "-f", self.path("rsa"))
        self.assertIn("Ed25519", self.fail(2, "id", self.path("rsa")))
        self.assertIn("Ed25519", self.fail(2, "id", self.path("rsa.pub")))
        self.tool("ssh-keygen", "-q", "-t", "ed25519", "-Z", "aes256-gcm@openssh.com",
                  "-N", "12345", "-f", self.path("gcm"))
        secret = self.write("passphrase", "12345\n")
        self.assertIn("aes256-gcm@openssh.com",
                      self.fail(2, "id", self.path("gcm"), "--passphrase-file", secret))
        self.assertIn("SHA256:", self.succeed("id", self.path("gcm")))


if __name__ == "__main__":
    unittest.main()
