#!/usr/bin/env python3
"""Runs the benchmarks and the comparisons, prints the table, writes build/bench/compare.json.

    bench/run.py [NAME]        those whose name contains NAME

bench_NAME (Google Benchmark, built by the bench preset) measures one part alone.
bench/compare/NAME.py measures our program beside another one, on the same input in the same run. It
finds our program in $SEALANE, talks on stderr, and prints on stdout a JSON array of rows:

    {"work": "seal 1 GiB, age format",   what was done
     "ours": 0.19, "peer": 0.48,         medians, in `unit`
     "peer_name": "age 1.1.1",           optional
     "unit": "s",
     "ratio": 2.5,                       how many times better ours is: above 1 is better
     "spread": [2.4, 2.7],               of the ratio over the interleaved pairs: quartiles
     "goal": ">= 2.5"}

A comparison whose peer is not installed prints a row with "skipped": "reason" and no numbers.
"""
import json
import os
import pathlib
import platform
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUT = ROOT / "build" / "bench"
KEYS = ("work", "ours", "peer", "unit", "ratio", "spread", "goal")


def machine():
    model = "unknown"
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, text=True,
                            capture_output=True).stdout.strip()
    return {"cpu": model, "cores": os.cpu_count(), "kernel": platform.release(),
            "commit": commit or "unknown"}


def row_problem(row):
    if not isinstance(row, dict) or not isinstance(row.get("work"), str):
        return "a row has no work"
    if "skipped" in row:
        return None
    missing = [key for key in KEYS if key not in row]
    return f"row {row['work']!r} lacks {', '.join(missing)}" if missing else None


def number(value):
    return f"{value:.4g}" if isinstance(value, (int, float)) else str(value)


def print_table(rows):
    lines = [("work", "ours", "peer", "unit", "ratio", "spread", "goal")]
    for row in rows:
        if "skipped" in row:
            lines.append((row["work"], "-", "-", "", "", f"skipped: {row['skipped']}", ""))
            continue
        spread = row["spread"]
        if isinstance(spread, list):
            spread = "..".join(number(part) for part in spread)
        lines.append((row["work"], number(row["ours"]), number(row["peer"]), row["unit"],
                      number(row["ratio"]), number(spread), str(row["goal"])))
    widths = [max(len(line[i]) for line in lines) for i in range(len(KEYS))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())


def main():
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    programs = [path for path in sorted((OUT / "bench").glob("bench_*"))
                if path.is_file() and os.access(path, os.X_OK) and name in path.name]
    scripts = [path for path in sorted((ROOT / "bench" / "compare").glob("*.py"))
               if name in path.stem and not path.stem.startswith("_")]
    if not programs and not scripts:
        sys.exit(f"bench/run.py: no benchmark or comparison has '{name}' in its name")
    failed = []
    for path in programs:
        print(f"\n== {path.name}", flush=True)
        if subprocess.run([path, f"--benchmark_out={OUT / path.name}.json",
                           "--benchmark_out_format=json"], cwd=ROOT).returncode != 0:
            failed.append(path.name)
    rows = []
    environment = dict(os.environ, SEALANE=str(ROOT / "build" / "release" / "sealane"))
    for path in scripts:
        print(f"\n== compare/{path.name}", flush=True)
        done = subprocess.run([sys.executable, path], cwd=ROOT, env=environment, text=True,
                              stdout=subprocess.PIPE)
        try:
            found = json.loads(done.stdout) if done.returncode == 0 else None
        except json.JSONDecodeError:
            found = None
        problem = "it failed" if not isinstance(found, list) else next(
            filter(None, map(row_problem, found)), None)
        if problem:
            failed.append(f"compare/{path.name} ({problem})")
        else:
            rows += found
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "compare.json").write_text(
        json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n")
    if rows:
        print()
        print_table(rows)
    print(f"\n{OUT / 'compare.json'}: {len(rows)} rows")
    if failed:
        sys.exit("bench/run.py: failed: " + ", ".join(failed))


if __name__ == "__main__":
    main()
