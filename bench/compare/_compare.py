"""What the comparisons share: interleaved pairs, medians of ratios, rows for bench/run.py.

A side is a command as argv, with files for its standard input and output. Both sides of a pair run one
right after the other, on the same input, to the same sink; the first pair warms up and is dropped."""
import json
import os
import shutil
import statistics
import subprocess
import sys
import time

PROGRAM = os.environ.get("SEALANE") or os.path.join(
    os.path.dirname(os.path.abspath(__file__)), "..", "..", "build", "release", "sealane")
PAIRS = int(os.environ.get("SEALANE_BENCH_PAIRS", "10"))


class Side:
    """One way to do the work. `before` runs untimed ahead of each run (to remove an old output)."""

    def __init__(self, argv, stdin=None, stdout=os.devnull, before=None):
        self.argv, self.stdin, self.stdout, self.before = argv, stdin, stdout, before

    def run(self):
        """(wall seconds, CPU seconds, peak memory in MiB) of one run."""
        if self.before:
            self.before()
        with open(self.stdin or os.devnull, "rb") as source, open(self.stdout, "wb") as sink:
            start = time.monotonic()
            process = subprocess.Popen(self.argv, stdin=source, stdout=sink,
                                       stderr=subprocess.PIPE)
            error = process.stderr.read()
            _, status, usage = os.wait4(process.pid, 0)
            wall = time.monotonic() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        process.stderr.close()
        if process.returncode != 0:
            sys.exit(f"{self.argv[0]} failed ({process.returncode}): {error.decode()[-500:]}")
        return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def interleaved(ours, peer, pairs=None):
    """What both gave, as pairs of runs right after each other; the first pair is dropped."""
    runs = []
    for i in range((pairs or PAIRS) + 1):
        # Each side goes first in every other pair.
        if i % 2 == 0:
            a, b = ours(), peer()
        else:
            b, a = peer(), ours()
        runs.append((a, b))
    return runs[1:]


def row_of(work, values, peer_name, unit, goal, more_is_better=False):
    """One row of pairs of numbers: medians, and the median and quartiles of how many times better ours is."""
    ratios = [a / b if more_is_better else b / a for a, b in values]
    low, _, high = statistics.quantiles(ratios, n=4)
    row = {"work": work, "ours": round(statistics.median(a for a, _ in values), 4),
           "peer": round(statistics.median(b for _, b in values), 4), "peer_name": peer_name,
           "unit": unit, "ratio": round(statistics.median(ratios), 3),
           "spread": [round(low, 3), round(high, 3)], "goal": goal}
    print(f"{work}: {row['ours']} {unit} against {row['peer']} {unit} ({peer_name}), ratio {row['ratio']} "
          f"{row['spread']}; goal {goal}", file=sys.stderr)
    return row


def compare(work, ours, peer, peer_name, goal, pairs=None):
    """One row: the median ratio peer/ours of wall time over interleaved pairs, and its quartiles."""
    runs = interleaved(ours.run, peer.run, pairs)
    ratios = sorted(b[0] / a[0] for a, b in runs)
    middle = [statistics.median(run[side][what] for run in runs)
              for side in (0, 1) for what in (0, 1, 2)]
    low, _, high = statistics.quantiles(ratios, n=4)
    row = {"work": work, "ours": round(middle[0], 4), "peer": round(middle[3], 4),
           "peer_name": peer_name, "unit": "s", "ratio": round(statistics.median(ratios), 3),
           "spread": [round(low, 3), round(high, 3)], "goal": goal,
           "ours_cpu_s": round(middle[1], 4), "peer_cpu_s": round(middle[4], 4),
           "ours_mib": round(middle[2], 1), "peer_mib": round(middle[5], 1)}
    print(f"{work}: {row['ours']} s against {row['peer']} s ({peer_name}), ratio {row['ratio']} "
          f"{row['spread']}, CPU {row['ours_cpu_s']} s against {row['peer_cpu_s']} s, "
          f"memory {row['ours_mib']} MiB against {row['peer_mib']} MiB; goal {goal}",
          file=sys.stderr)
    return row


def skipped(work, reason):
    return {"work": work, "skipped": reason}


def version(*argv):
    done = subprocess.run(argv, capture_output=True, text=True)
    return (done.stdout or done.stderr).strip().splitlines()[0]


def missing(*programs):
    """The first that is not installed."""
    return next((name for name in programs if shutil.which(name) is None), None)


def random_file(path, size):
    with open("/dev/urandom", "rb") as source, open(path, "wb") as file:
        left = size
        while left > 0:
            left -= file.write(source.read(min(left, 1 << 22)))


def back_free_memory(folder, size):
    """Makes the machine touch free memory. A virtual machine pays for a page's first use, here five times what a copy
    costs; without this it is paid by whichever side happens to come first."""
    path = os.path.join(folder, "free-memory")
    block = bytes(1 << 20)
    with open(path, "wb", buffering=0) as file:
        for _ in range(size >> 20):
            file.write(block)
    os.remove(path)


def print_rows(rows):
    json.dump(rows, sys.stdout, indent=1)
    print()
