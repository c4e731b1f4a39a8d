"""What the tests of the program share: a stage in a temporary folder, and running the program on it."""
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import unittest

PROGRAM = os.path.abspath(sys.argv[1]) if len(sys.argv) > 1 else ""
RELEASE = os.environ.get("SEALANE_BUILD_TYPE") == "Release"


class Stage(unittest.TestCase):
    """A folder of its own, a home for the node, keys, a repository."""

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="sealane-test-")
        os.chmod(self.folder, 0o711)
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("SEALANE_")}
        self.env["SEALANE_HOME"] = self.path("home")
        self.env["TMPDIR"] = self.path("tmp")
        os.mkdir(self.path("tmp"), 0o711)
        os.mkdir(self.path("home"), 0o700)

    def path(self, *parts):
        return os.path.join(self.folder, *parts)

    def run_program(self, *args, stdin=None, env=None, timeout=300, user=None):
        program = PROGRAM
        if user is not None:
            # The build may lie where only we can go.
            program = shutil.copy(PROGRAM, self.path("program"))
        return subprocess.run([program, *args], input=stdin, capture_output=True, timeout=timeout, user=user,
                              env={**self.env, **(env or {})})

    def plain_user(self):
        """A user whom permissions bind, and to whom the stage belongs from now on: root reads everything."""
        if os.geteuid() != 0:
            return None
        nobody = 65534
        os.chmod(self.folder, 0o755)
        for folder, names, files in os.walk(self.folder):
            for name in names + files:
                os.chown(os.path.join(folder, name), nobody, nobody, follow_symlinks=False)
        return nobody

    def expect(self, code, *args, **kwargs):
        """Runs the program, insists on its exit code, returns (stdout, stderr) as text."""
        result = self.run_program(*args, **kwargs)
        out = result.stdout.decode(errors="replace")
        err = result.stderr.decode(errors="replace")
        self.assertEqual(result.returncode, code, f"{args}\n{out}\n{err}")
        for forbidden in ("Sanitizer", "runtime error", "internal error"):
            self.assertNotIn(forbidden, err)
        return out, err

    def ok(self, *args, **kwargs):
        return self.expect(0, *args, **kwargs)

    def json_lines(self, *args, code=0, **kwargs):
        out, _ = self.expect(code, *args, "--json", **kwargs)
        return [json.loads(line) for line in out.splitlines()]

    def make_keys(self):
        self.ok("keygen", "--comment", "shop")
        self.ok("keygen", "--recovery", "-o", self.path("recovery.key"))
        self.ok("keygen", "--recovery", "-o", self.path("other.key"))
        with open(self.path("recovery.key"), encoding="utf-8") as file:
            text = file.read()
        self.recipient = "age1" + text.split("age1", 1)[1].split()[0]

    def make_repository(self):
        self.make_keys()
        self.env["SEALANE_REPO"] = self.path("repo")
        self.ok("repo", "init", self.path("repo"))

    def make_database(self, name="shop.db", rows=2000):
        path = self.path(name)
        with sqlite3.connect(path) as database:
            database.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, name TEXT, total REAL, raw BLOB)")
            database.executemany("INSERT INTO orders VALUES (?, ?, ?, ?)",
                                 [(i, f"order {i} ä", i / 7, bytes([i % 251]) * (i % 50)) for i in range(rows)])
        database.close()
        return path

    def objects(self, repo="repo", suffix=".zst.age"):
        found = []
        for folder, _, names in os.walk(self.path(repo)):
            found += [os.path.join(folder, name) for name in names if name.endswith(suffix)]
        return sorted(found)


def need(*tools):
    """Skips by name what is not installed."""
    missing = [tool for tool in tools if shutil.which(tool) is None]
    return unittest.skipIf(missing, "not installed: " + ", ".join(missing))


def flip(path, position=None):
    size = os.path.getsize(path)
    at = size // 2 if position is None else position
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 1]))


def main():
    del sys.argv[1]
    program = unittest.main(exit=False, verbosity=2)
    result = program.result
    if result.wasSuccessful() and result.testsRun > 0 and len(result.skipped) == result.testsRun:
        sys.exit(77)
    sys.exit(0 if result.wasSuccessful() else 1)
