"""Encrypted sessions beside the bare socket, and beside the Go library where its benchmark is there.

Ours comes from bench_lane (Google Benchmark): two ends in one process over real sockets, handshake and
close inside the clock, counted at the receiver. The bare socket (raw_*) does the same with the same
bytes and system calls and no session; one-way time is that from the write until the reader has it.

SEALANE_PEER_SECUREIO names a program that prints `go test -bench` lines of the library's session
benchmarks (BenchmarkSessionWriteRead1, …WriteMessageAsyncRead1, …); without it those rows are
skipped by name. SEALANE_BENCH_PAIRS: how often each side is measured (10)."""
import json
import os
import pathlib
import re
import shlex
import statistics
import subprocess
import sys

from _compare import PAIRS, interleaved, print_rows, row_of, skipped

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PROGRAM = ROOT / "build" / "bench" / "bench" / "bench_lane"
PEER = os.environ.get("SEALANE_PEER_SECUREIO")
SHORT = os.environ.get("SEALANE_BENCH_SECONDS", "0.3")

# work, ours, the peer's (of bench_lane), how many times the bare socket's time is the goal.
AGAINST_RAW = [
    ("sync 1 B, SEQPACKET", "sync/seqpacket/1", "raw_sync/1", "ours <= 1.5 x the socket"),
    ("sync 64 kB, SEQPACKET", "sync/seqpacket/64000", "raw_sync/64000", "-"),
    ("async 64 kB, SEQPACKET", "async/seqpacket/64000", "raw_async/64000", ">= 3 GB/s"),
    ("async 1300 B, UDP", "async/udp_limit_1347/1300", "raw_udp/1300", "-"),
]
# work, ours, of the Go library, goal of the ratio.
AGAINST_GO = [
    ("async 1 B", "async/seqpacket/1", "BenchmarkSessionWriteMessageAsyncRead1", ">= 8"),
    ("sync 1 B", "sync/seqpacket/1", "BenchmarkSessionWriteRead1", "-"),
    ("async 64 kB", "async/seqpacket/64000", "BenchmarkSessionWriteMessageAsyncRead64000", ">= 2.5"),
    ("async 1300 B, limit 1400, UDP", "async/udp_limit_1347/1300",
     "BenchmarkSessionWriteMessageAsyncRead1300_max1400_udp", ">= 5"),
]
ALONE = [
    ("async 1 B, delivered", "async/seqpacket/1", "<= 25 ns"),
    ("async 1 B, four producers", "async/seqpacket_four_producers/1", "<= 60 ns"),
    ("memory of one idle session", "idle_sessions", "<= 64 MiB for 1,000"),
]


def ours(name):
    """Nanoseconds for one message at the receiver, and all counters."""
    done = subprocess.run(
        [PROGRAM, f"--benchmark_filter=^{name}(/iterations:1)?(/real_time)?$", f"--benchmark_min_time={SHORT}",
         "--benchmark_format=json"], capture_output=True, text=True)
    rows = json.loads(done.stdout)["benchmarks"] if done.returncode == 0 and done.stdout else []
    if len(rows) != 1:
        sys.exit(f"{PROGRAM}: {name} gave {len(rows)} rows: {done.stderr[-300:]}")
    row = rows[0]
    return 1e9 / row["items_per_second"] if row.get("items_per_second") else 0.0, row


def go(name):
    done = subprocess.run([*shlex.split(PEER), name], capture_output=True, text=True)
    found = re.search(rf"^{name}\S*\s+\d+\s+([0-9.]+) ns/op", done.stdout, re.M)
    if not found:
        sys.exit(f"{PEER} {name}: no such line: {(done.stdout + done.stderr)[-300:]}")
    return float(found[1])


def pairs(work, own, peer, peer_name, goal):
    return row_of(work, interleaved(own, peer), peer_name, "ns", goal)


def alone(work, name, goal):
    values = sorted(ours(name)[0] if name != "idle_sessions"
                    else ours(name)[1]["bytes_per_session"] for _ in range(max(3, PAIRS // 2)))
    unit = "bytes" if name == "idle_sessions" else "ns"
    row = {"work": work, "ours": round(statistics.median(values), 1), "peer": "-", "unit": unit,
           "ratio": "-", "spread": [round(values[0], 1), round(values[-1], 1)], "goal": goal}
    print(f"{work}: {row['ours']} {unit}, {row['spread']}; goal {goal}", file=sys.stderr)
    return row


def main():
    if not PROGRAM.exists():
        print_rows([skipped("sessions", f"{PROGRAM} is not built; ./dev bench builds it")])
        return
    rows = [alone(*one) for one in ALONE]
    for work, own, raw, goal in AGAINST_RAW:
        rows.append(pairs(f"session, {work}", lambda own=own: ours(own)[0],
                          lambda raw=raw: ours(raw)[0], "the bare socket", goal))
    for work, own, peer, goal in AGAINST_GO:
        work = f"session, {work}, against secureio (Go)"
        if PEER:
            rows.append(pairs(work, lambda own=own: ours(own)[0], lambda peer=peer: go(peer),
                              "secureio (Go)", goal))
        else:
            rows.append(skipped(work, "secureio is not here: its module cannot be fetched; "
                                "SEALANE_PEER_SECUREIO may name its benchmark"))
    print_rows(rows)


if __name__ == "__main__":
    main()
