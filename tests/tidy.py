#!/usr/bin/env python3
"""clang-tidy over the named files, one process per core; what was clean before is not read again.

    tests/tidy.py BUILD_FOLDER FILE...       BUILD_FOLDER has compile_commands.json, of clang 14

A file counts as clean only while clang-tidy would see the same: its preprocessed text with comments and
macros, its command, .clang-tidy and clang-tidy itself. Kept below $XDG_CACHE_HOME (~/.cache)/sealane/tidy:
an empty file per clean result, dropped when unused for a month. Findings are printed; exit 1 if there are any."""
import concurrent.futures
import hashlib
import json
import os
import pathlib
import shlex
import subprocess
import sys
import time

TIDY = "clang-tidy-14"
KEPT_FOR = 30 * 24 * 3600  # seconds
ROOT = pathlib.Path(__file__).resolve().parent.parent


def cache_folder():
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return pathlib.Path(base) / "sealane" / "tidy"


def preprocess_command(entry):
    """The compile command of a file, but only preprocessing: macros and comments (NOLINT) stay."""
    words = shlex.split(entry["command"])
    if os.path.basename(words[0]) == "ccache":
        words = words[1:]
    kept = []
    skip = False
    for word in words:
        if skip:
            skip = False
        elif word in ("-o", "-MF", "-MT"):
            skip = True
        elif word not in ("-c", "-MD"):
            kept.append(word)
    return kept + ["-E", "-C", "-dD"]


def key(entry, common):
    done = subprocess.run(preprocess_command(entry), cwd=entry["directory"], capture_output=True)
    if done.returncode != 0:
        return None  # clang-tidy will say what is wrong with it
    digest = hashlib.sha256(common)
    for part in (str(ROOT), entry["file"], entry["command"]):
        # Another checkout of the same text gives the same result.
        digest.update(part.replace(str(ROOT), ".").encode() + b"\0")
    digest.update(done.stdout.replace(str(ROOT).encode(), b"."))
    return digest.hexdigest()


def check(entry, build, common, cache):
    """What clang-tidy found in one file; empty if nothing."""
    mark = None
    name = key(entry, common)
    if name:
        mark = cache / name
        if mark.exists():
            mark.touch()
            return ""
    done = subprocess.run([TIDY, "-p", build, "--quiet", "--warnings-as-errors=*", entry["file"]],
                          cwd=ROOT, text=True, capture_output=True)
    if done.returncode == 0:
        if mark:
            mark.touch()
        return ""
    errors = [line for line in done.stderr.splitlines() if "warnings generated" not in line
              and "warning generated" not in line and "warnings treated" not in line]
    return done.stdout + "\n".join(errors) + "\n"


def main():
    build, files = sys.argv[1], {str((ROOT / name).resolve()) for name in sys.argv[2:]}
    entries = [entry for entry in json.loads((ROOT / build / "compile_commands.json").read_text())
               if entry["file"] in files]
    unknown = files - {entry["file"] for entry in entries}
    if unknown:
        sys.exit(f"tests/tidy.py: {build} does not build {', '.join(sorted(unknown))}")
    common = (ROOT / ".clang-tidy").read_bytes()
    common += subprocess.run([TIDY, "--version"], capture_output=True, check=True).stdout
    cache = cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    for old in cache.iterdir():
        if time.time() - old.stat().st_mtime > KEPT_FOR:
            old.unlink(missing_ok=True)
    print(f"{len(entries)} files", flush=True)
    found = 0
    with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for output in pool.map(lambda entry: check(entry, build, common, cache), entries):
            if output:
                print(output, flush=True)
                found += 1
    if found:
        sys.exit(f"clang-tidy: findings in {found} of {len(entries)} files")


if __name__ == "__main__":
    main()
