"""Goal: where it helps, and only there, OpenSSL gets the setting that makes RSA-2048 faster, and nothing else of the
process changes. Method: a library that is loaded with the program says what OpenSSL was told, and what arguments and
environment are when the program ends."""
import json
import os
import re
import subprocess
import sys
import tempfile
import unittest

PROGRAM, PROBE = os.path.abspath(sys.argv.pop(1)), os.path.abspath(sys.argv.pop(1))
SERVE = ("hub", "serve", "--help")
ADX = 1 << 19  # in the second word


class RsaCode(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="sealane-rsa-")
        self.addCleanup(folder.cleanup)
        self.file = os.path.join(folder.name, "probe.json")

    def probe(self, *args, **env):
        """What the program was; `env` is all of its environment that is not the probe's."""
        # A sanitizer wants to be the first library.
        self.given = {**env, "LD_PRELOAD": PROBE, "PROBE_FILE": self.file, "ASAN_OPTIONS": "verify_asan_link_order=0"}
        subprocess.run([PROGRAM, *args], env=self.given, capture_output=True, timeout=60)
        with open(self.file, encoding="utf-8") as file:
            seen = json.load(file)
        os.remove(self.file)
        self.assertEqual(seen["words"], "".join(word + "\0" for word in (PROGRAM, *args)))
        seen["adx"] = bool(int(re.search(r"=0x[0-9a-f]+:0x([0-9a-f]+)", seen["openssl"])[1], 16) & ADX)
        return seen

    def expect(self, changed, *args, **env):
        seen = self.probe(*args, **env)
        # OpenSSL has ADX unless someone takes it away, so this shows that nothing did.
        self.assertEqual(seen["adx"], self.has_adx and not changed, seen["openssl"])
        self.assertEqual(sorted(seen["environment"]), sorted(f"{k}={v}" for k, v in self.given.items()))

    @classmethod
    def setUpClass(cls):
        case = cls()
        case.setUp()
        seen = case.probe("version", PWD="/")
        case.doCleanups()
        cls.has_adx, cls.helps = seen["adx"], seen["zen3"] and seen["adx"]

    def test_long_lived_commands_of_the_hub_have_it(self):
        for args in (SERVE, ("listen", "--help"), ("chat", "--help")):
            with self.subTest(args):
                self.expect(self.helps, *args, HOME="/", PWD="/", LANG="C")

    def test_others_do_not(self):
        for args in ((), ("version",), ("hub",), ("hub", "status", "--help"), ("serve", "hub"), ("warm", "serve")):
            with self.subTest(args):
                self.expect(False, *args, PWD="/")

    def test_odd_arguments_stay_as_they_are(self):
        self.expect(self.helps, "listen", "", " ", "a b", "--", "-x=\n", "'\"\\$()`", "ü€", "--help", PWD="/")
        self.expect(self.helps, "hub", "serve", "--state", "", "x" * 100_000, PWD="/")
        self.expect(False, "")

    def test_what_the_user_set_stays(self):
        for value in ("", ":0", ":~0x80000", "~0x200000200000000"):
            with self.subTest(value):
                seen = self.probe(*SERVE, PWD="/", OPENSSL_ia32cap=value)
                alone = self.probe("version", PWD="/", OPENSSL_ia32cap=value)
                self.assertEqual(seen["openssl"], alone["openssl"])
                self.assertIn("OPENSSL_ia32cap=" + value, seen["environment"])

    def test_generic_code_is_left_to_openssl(self):
        self.expect(False, *SERVE, PWD="/", SEALANE_CPU="generic")
        self.expect(self.helps, *SERVE, PWD="/", SEALANE_CPU="")

    def test_any_stand_in_does_and_without_one_nothing_happens(self):
        for name in ("_", "PWD", "SHLVL", "LOGNAME", "INVOCATION_ID", "HOSTNAME"):
            with self.subTest(name):
                self.expect(self.helps, *SERVE, **{name: "x" * 100})
        self.expect(False, *SERVE)
        self.expect(False, *SERVE, PWDX="1", XPWD="1")

    def test_a_library_may_move_the_environment(self):
        seen = self.probe(*SERVE, PWD="/", PROBE_MOVES="1")
        self.assertEqual(seen["adx"], self.has_adx and not self.helps)
        self.assertEqual(sorted(seen["environment"]), sorted([*(f"{k}={v}" for k, v in self.given.items()), "MOVED=1"]))

    def test_it_reaches_no_child(self):
        with tempfile.TemporaryDirectory() as home:
            # What --exec runs, and any other child, gets what getenv() sees; /proc shows what the kernel was given.
            serve = [PROGRAM, "hub", "serve", "--state", home + "/hub", "--listen", "tcp:127.0.0.1:0"]
            process = subprocess.Popen(serve, env={"PWD": "/", "SEALANE_HOME": home}, stderr=subprocess.PIPE,
                                       stdout=subprocess.DEVNULL)
            try:
                self.assertTrue(process.stderr.readline())  # it runs
                with open(f"/proc/{process.pid}/environ", encoding="ascii") as file:
                    self.assertEqual(file.read(), f"PWD=/\0SEALANE_HOME={home}\0")
                with open(f"/proc/{process.pid}/comm", encoding="ascii") as file:
                    self.assertEqual(file.read(), "sealane\n")
            finally:
                process.terminate()
                process.stderr.close()
                process.wait(60)


if __name__ == "__main__":
    unittest.main()
