"""Goal: the command line as a whole keeps its promises: help, JSON, exit codes, no output lost."""
import json
import subprocess
import sys
import unittest

PROGRAM = sys.argv.pop(1)


def run(*args):
    return subprocess.run([PROGRAM, *args], capture_output=True, text=True, timeout=60)


class CommandLine(unittest.TestCase):
    def test_no_arguments_shows_help_and_fails(self):
        result = run()
        self.assertEqual(result.returncode, 2)
        self.assertIn("Subcommands:", result.stderr)

    def test_unknown_command_and_flag_are_usage_errors(self):
        for args in (["nope"], ["version", "--nope"], ["version", "extra"], ["repo"], ["repo", "nope"]):
            result = run(*args)
            self.assertEqual(result.returncode, 2, args)
            self.assertEqual(result.stdout, "")
            self.assertTrue(result.stderr.startswith("sealane: "), result.stderr)
            self.assertIn("--help", result.stderr)

    def test_a_slip_of_the_finger_is_named_and_mended(self):
        self.assertEqual(run("bakcup").stderr,
                         "sealane: there is no command 'bakcup'; did you mean 'backup'?; see 'sealane --help'\n")
        self.assertEqual(run("nonsense").stderr, "sealane: there is no command 'nonsense'; see 'sealane --help'\n")
        self.assertEqual(run("repo").stderr, "sealane: which command? init, copy; see 'sealane repo --help'\n")
        self.assertIn("did you mean 'init'", run("repo", "inti").stderr)

    def test_help_lists_each_command_in_one_line(self):
        listed = run("--help").stdout.split("Subcommands:\n")[1].split("\n\n")[0].splitlines()
        self.assertIn("  backup ", "\n".join(listed))
        for line in listed:
            self.assertRegex(line, "^  [a-z]+ +[a-z].*$")

    def test_numbers_that_are_none_are_usage_errors(self):
        for value in ("-1", "1e3", "x", "", "18446744073709551616", "1000000001"):
            result = run("forget", "--repo", "none", "--keep-last", value)
            self.assertEqual(result.returncode, 2, value)
            self.assertIn("--keep-last", result.stderr)
        for command in ("verify", "backup", "restore", "drill"):
            for value in ("-1", "257"):
                result = run(command, "--threads", value)
                self.assertEqual(result.returncode, 2, value)
                self.assertIn("--threads", result.stderr)

    def test_usage_error_as_json(self):
        result = run("version", "--nope", "--json")
        message = json.loads(result.stdout)
        self.assertEqual(message["message_type"], "error")
        self.assertEqual(message["kind"], "usage")
        self.assertEqual(message["exit_code"], 2)

    def test_help_that_nobody_could_read_is_no_success(self):
        for words in (["--help"], ["--version"], ["backup", "--help"], ["version"]):
            with open("/dev/full", "wb") as full:
                lost = subprocess.run([PROGRAM, *words], stdout=full, stderr=subprocess.PIPE, timeout=60, check=False)
            self.assertEqual(lost.returncode, 1, words)
            self.assertIn(b"could not be written", lost.stderr)

    def test_version(self):
        self.assertRegex(run("version").stdout, r"^sealane \d+\.\d+\.\d+\n$")
        message = json.loads(run("version", "--json").stdout)
        self.assertEqual(message["message_type"], "version")
        self.assertEqual(message["schema"], 1)


if __name__ == "__main__":
    unittest.main()
