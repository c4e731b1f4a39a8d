"""Goal: man pages and completions say what the program does, in every format that reads them.
Method: compared with --help; pages formatted with all warnings; scripts run in their shells."""
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

PROGRAM = sys.argv.pop(1)


def run(*args):
    return subprocess.run([PROGRAM, *args], capture_output=True, text=True, timeout=60)


def flags_of_help(text):
    """The flags in the option lines of --help."""
    flags = set()
    for line in text.splitlines():
        if re.match(r"\s+-", line):
            flags.update(re.findall(r"(?<![\w-])-(?:\w|-[a-z][a-z0-9-]*)(?=[, ]|$)", line[:30]))
    return flags


def commands_of_help(*group):
    text = run(*group, "--help").stdout
    if "Subcommands:" not in text:
        return [" ".join(group)]
    found = []
    for line in text.split("Subcommands:")[1].splitlines()[1:]:
        match = re.match(r"  ([a-z][a-z-]*)\s", line + " ")
        if match:
            found += commands_of_help(*group, match.group(1))
    return found


class Generated(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.TemporaryDirectory(prefix="sealane-man-")
        cls.addClassCleanup(cls.directory.cleanup)
        result = run("generate-man", cls.directory.name)
        assert result.returncode == 0, result.stderr
        cls.pages = {path.name: path.read_text(encoding="utf-8")
                     for path in pathlib.Path(cls.directory.name).iterdir()}
        cls.commands = commands_of_help()

    def test_every_command_has_a_page_and_hidden_ones_have_none(self):
        self.assertIn("version", self.commands)
        names = {f"sealane-{name.replace(' ', '-')}.1" for name in self.commands}
        self.assertEqual(set(self.pages), names | {"sealane.1"})
        self.assertNotIn("sealane-completion.1", self.pages)

    def test_pages_name_the_flags_that_help_names(self):
        for name in self.commands:
            expected = flags_of_help(run(*name.split(), "--help").stdout)
            page = self.pages[f"sealane-{name.replace(' ', '-')}.1"].replace("\\-", "-")
            items = re.findall(r"^\.TP\n(\\fB-.*)$", page, re.MULTILINE)
            found = {flag for item in items for flag in re.findall(r"\\fB(--?[a-z0-9-]+)\\fR", item,
                                                                   re.IGNORECASE)}
            self.assertEqual(found, expected, name)
            self.assertIn("--json", found)

    def test_pages_format_without_a_warning(self):
        if not shutil.which("man"):
            self.skipTest("man is not installed (package man-db)")
        for name in self.pages:
            result = subprocess.run(
                ["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z",
                 f"{self.directory.name}/{name}"],
                env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "MANROFFSEQ": "",
                     "MANWIDTH": "80"},
                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=60)
            self.assertEqual((result.returncode, result.stderr), (0, ""), name)

    def test_pages_are_written_again_over_old_ones(self):
        self.assertEqual(run("generate-man", self.directory.name).returncode, 0)
        self.assertEqual(run("generate-man", self.directory.name + "/none").returncode, 1)

    def complete(self, *words, cwd=None):
        script = ('source /dev/stdin <<<"$1"; COMP_WORDS=("${@:2}"); COMP_CWORD=$(($# - 2)); '
                  '_sealane && printf "%s\\n" "${COMPREPLY[@]}"')
        result = subprocess.run(
            ["bash", "--norc", "--noprofile", "-euc", script, "bash",
             run("completion", "bash").stdout, *words],
            capture_output=True, text=True, timeout=60, cwd=cwd)
        self.assertEqual((result.returncode, result.stderr), (0, ""), words)
        return [line for line in result.stdout.splitlines() if line]

    def test_bash_completes_commands_and_flags(self):
        self.assertEqual(self.complete("sealane", "vers"), ["version"])
        first = {name.split()[0] for name in self.commands}
        self.assertEqual(set(self.complete("sealane", "")), first | {"--help", "--version"})
        self.assertEqual(self.complete("sealane", "version", "--js"), ["--json"])
        for name in self.commands:
            flags = flags_of_help(run(*name.split(), "--help").stdout)
            self.assertEqual(set(self.complete("sealane", *name.split(), "-")), flags, name)

    def test_bash_completes_files_where_a_file_is_meant(self):
        with tempfile.TemporaryDirectory(prefix="sealane-files-") as place:
            (pathlib.Path(place) / "a key").touch()
            (pathlib.Path(place) / "a folder").mkdir()
            for words in (["keygen", "-o"], ["keygen", "--output"], ["id"]):
                self.assertEqual(set(self.complete("sealane", *words, "a", cwd=place)),
                                 {"a key", "a folder"}, words)
            self.assertEqual(self.complete("sealane", "keygen", "--comment", "a", cwd=place), [])

    def test_bash_completes_groups_choices_and_directories(self):
        self.assertEqual(set(self.complete("sealane", "repo", "")), {"init", "copy", "--help"})
        self.assertEqual(self.complete("sealane", "backup", "--level", "18"), ["18"])
        with tempfile.TemporaryDirectory(prefix="sealane-files-") as place:
            (pathlib.Path(place) / "file").touch()
            (pathlib.Path(place) / "folder").mkdir()
            self.assertEqual(self.complete("sealane", "repo", "init", "f", cwd=place), ["folder"])

    def test_fish_completes(self):
        if not shutil.which("fish"):
            self.skipTest("fish is not installed")
        for line, expected in (("sealane vers", "version"), ("sealane version --js", "--json"),
                               ("sealane repo in", "init")):
            result = subprocess.run(
                ["fish", "--no-config", "-c", f"source -; complete -C '{line}'"],
                input=run("completion", "fish").stdout, text=True, capture_output=True, timeout=60,
                env={"PATH": "/usr/bin:/bin", "HOME": self.directory.name, "LC_ALL": "C.UTF-8"})
            self.assertEqual([word.split("\t")[0] for word in result.stdout.splitlines()],
                             [expected], result.stderr)

    def test_zsh_and_fish_accept_their_scripts(self):
        for shell, check in (("zsh", "-n"), ("fish", "--no-execute")):
            with self.subTest(shell):
                if not shutil.which(shell):
                    self.skipTest(f"{shell} is not installed")
                script = run("completion", shell).stdout
                self.assertIn("version", script)
                result = subprocess.run([shell, check, "/dev/stdin"], input=script, text=True,
                                        capture_output=True, timeout=60)
                self.assertEqual((result.returncode, result.stderr), (0, ""), shell)

    def test_an_unknown_shell_is_a_usage_error(self):
        result = run("completion", "tcsh")
        self.assertEqual(result.returncode, 2)
        self.assertIn("bash, zsh and fish", result.stderr)


if __name__ == "__main__":
    unittest.main()
