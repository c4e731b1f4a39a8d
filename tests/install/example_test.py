"""Goal: the library installs: an example outside the tree is built against the installed copy, by
find_package and by pkg-config, and its result satisfies a stock tool; each public header stands
alone. Method: cmake --install into a temporary prefix, then nothing of this tree but examples/."""
import argparse
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

parser = argparse.ArgumentParser()
parser.add_argument("--source", type=pathlib.Path, required=True)
parser.add_argument("--build", required=True)
parser.add_argument("--compiler", required=True)
parser.add_argument("--flags", default="", help="what the library was built with: sanitizers")
OPTIONS = parser.parse_args()


def run(*command, **keywords):
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True,
                            timeout=240, **keywords)
    assert result.returncode == 0, f"{command}: {result.returncode}\n{result.stdout}{result.stderr}"
    return result.stdout


class Installed(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        directory = tempfile.TemporaryDirectory(prefix="sealane-install-")
        cls.addClassCleanup(directory.cleanup)
        cls.root = pathlib.Path(directory.name)
        # Installed in one place and used in another: nothing may remember the first.
        run("cmake", "--install", OPTIONS.build, "--prefix", cls.root / "first")
        cls.prefix = cls.root / "moved"
        (cls.root / "first").rename(cls.prefix)

    def check_example(self, program):
        work = pathlib.Path(tempfile.mkdtemp(dir=self.root))
        (work / "letter").write_text("hello\n")
        said = run(program, work / "key", work / "letter")
        fingerprint = run("ssh-keygen", "-l", "-f", work / "key").split()[1]
        self.assertEqual(said, f"{work}/letter.sig by {fingerprint}\n")
        with open(work / "letter", "rb") as letter:
            run("ssh-keygen", "-Y", "check-novalidate", "-n", "example", "-s",
                work / "letter.sig", stdin=letter)
        self.assertEqual(subprocess.run([program, work / "key"], capture_output=True).returncode, 1)

    def test_by_find_package(self):
        build = self.root / "by-cmake"
        run("cmake", "-G", "Ninja", "-S", OPTIONS.source / "examples/sign_file", "-B", build,
            f"-DCMAKE_PREFIX_PATH={self.prefix}", f"-DCMAKE_CXX_COMPILER={OPTIONS.compiler}",
            f"-DCMAKE_CXX_FLAGS={OPTIONS.flags}")
        run("cmake", "--build", build)
        self.check_example(build / "sign_file")

    def test_by_pkg_config(self):
        found = list(self.prefix.rglob("sealane.pc"))
        self.assertEqual(len(found), 1)
        environment = dict(os.environ, PKG_CONFIG_PATH=str(found[0].parent))
        flags = run("pkg-config", "--cflags", "--libs", "sealane", env=environment).split()
        program = self.root / "by-pkg-config"
        run(OPTIONS.compiler, "-std=c++20", *OPTIONS.flags.split(),
            OPTIONS.source / "examples/sign_file/sign_file.cc", *flags, "-o", program)
        self.check_example(program)

    def test_two_examples_talk_over_a_lane(self):
        # One with callbacks, one with coroutines; their keys are made by the stock tool.
        programs = {}
        for name in ("lane_server", "lane_client"):
            build = self.root / name
            run("cmake", "-G", "Ninja", "-S", OPTIONS.source / "examples" / name, "-B", build,
                f"-DCMAKE_PREFIX_PATH={self.prefix}", f"-DCMAKE_CXX_COMPILER={OPTIONS.compiler}",
                f"-DCMAKE_CXX_FLAGS={OPTIONS.flags}")
            run("cmake", "--build", build)
            programs[name] = build / name
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.root / f"{name}.key")
        address = f"unix:{self.root}/lane"
        server = subprocess.Popen(
            [programs["lane_server"], address, self.root / "lane_server.key",
             self.root / "lane_client.key.pub"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(lambda: server.poll() is None and server.kill())
        self.assertEqual(server.stdout.readline(), address + "\n")
        client = [programs["lane_client"], address, self.root / "lane_client.key"]
        answered = subprocess.run([*client, self.root / "lane_server.key.pub"],
                                  input="hello\n\nworld\n", capture_output=True, text=True,
                                  timeout=100)
        self.assertEqual((answered.returncode, answered.stdout), (0, "HELLO\nWORLD\n"),
                         answered.stderr)
        self.assertEqual(server.wait(timeout=100), 0)
        said = server.stderr.read()
        server.stdout.close()
        server.stderr.close()
        self.assertRegex(answered.stderr, "^shared [0-9a-f]{32}\n$")
        self.assertIn(answered.stderr, said)

    def test_each_public_header_stands_alone(self):
        include = self.prefix / "include"
        headers = sorted(path.relative_to(include) for path in include.rglob("*.h"))
        self.assertGreaterEqual(len(headers), 12)
        source = self.root / "alone.cc"
        for header in headers:
            source.write_text(f'#include "{header}"\n#include "{header}"\n')
            run(OPTIONS.compiler, "-std=c++20", "-Wall", "-Wextra", "-Werror", "-fsyntax-only",
                f"-I{include}", source)

    def test_the_program_comes_with_its_pages_and_completions(self):
        said = run(self.prefix / "bin/sealane", "version")
        self.assertTrue(said.startswith("sealane "))
        link = self.prefix / "bin/backupy-decrypt"
        self.assertIn("backupy-decrypt", run(link, "-h"))
        for name in ("man/man1/sealane.1", "man/man1/sealane-version.1",
                     "bash-completion/completions/sealane", "zsh/site-functions/_sealane",
                     "fish/vendor_completions.d/sealane.fish"):
            self.assertGreater((self.prefix / "share" / name).stat().st_size, 200, name)
        if shutil.which("man"):
            shown = run("man", "-M", self.prefix / "share/man", "sealane")
            self.assertIn("proven by restoring", " ".join(shown.split()))


if __name__ == "__main__":
    unittest.main(argv=["example_test"])
