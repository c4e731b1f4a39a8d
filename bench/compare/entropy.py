#!/usr/bin/env python3
"""The entropy channel into memory, beside AES-128-CBC by OpenSSL on one core (bench_entropy, whose repetitions are
interleaved at random), and beside the copying of memory for what is not encrypted."""
import json
import os
import statistics
import subprocess
import sys
import tempfile

import _compare

PROGRAM = os.environ.get("SEALANE_BENCH_ENTROPY") or os.path.join(
    os.path.dirname(os.path.abspath(__file__)), "..", "..", "build", "bench", "bench", "bench_entropy")
GB = 1e9


def speeds():
    """Bytes a second of each benchmark, one value a repetition; the first warms up."""
    with tempfile.NamedTemporaryFile(suffix=".json") as out:
        subprocess.run([PROGRAM, f"--benchmark_repetitions={_compare.PAIRS + 1}",
                        "--benchmark_enable_random_interleaving=true", "--benchmark_min_time=1",
                        f"--benchmark_out={out.name}", "--benchmark_out_format=json"],
                       check=True, stdout=subprocess.DEVNULL)
        found = {}
        for run in json.load(out)["benchmarks"]:
            if run["run_type"] != "iteration":
                continue
            if run.get("error_occurred"):
                sys.exit(f"{run['name']}: {run['error_message']}")
            name = run["name"].removesuffix("/real_time").split("/repeats:")[0]
            found.setdefault(name, []).append(run["bytes_per_second"])
    return {name: values[1:] for name, values in found.items()}


def row(work, ours, peer, peer_name, goal):
    ratios = sorted(a / b for a, b in zip(ours, peer))
    low, _, high = statistics.quantiles(ratios, n=4)
    out = {"work": work, "ours": round(statistics.median(ours) / GB, 3),
           "peer": round(statistics.median(peer) / GB, 3), "peer_name": peer_name, "unit": "GB/s",
           "ratio": round(statistics.median(ratios), 3), "spread": [round(low, 3), round(high, 3)],
           "goal": goal}
    print(f"{work}: {out['ours']} GB/s against {out['peer']} GB/s ({peer_name}), ratio {out['ratio']} "
          f"{out['spread']}; goal {goal}", file=sys.stderr)
    return out


def main():
    if not os.access(PROGRAM, os.X_OK):
        _compare.print_rows([_compare.skipped("entropy channel", "bench_entropy is not built")])
        return
    found = speeds()
    cbc, cbc_name = found["one_core"], "AES-128-CBC on one core, OpenSSL"
    # What is not encrypted has an absolute goal; the ratio is to it.
    four = [4 * GB] * len(cbc)
    _compare.print_rows([
        row("entropy channel, AES, UNIX socket, into memory", found["channel/aes_foreign_local"], cbc, cbc_name,
            ">= 1.5"),
        row("the same, parts of 32 MiB", found["channel/aes_foreign"], cbc, cbc_name, ">= 1.5"),
        row("entropy channel, AES, signed and answered", found["channel/aes_signed"], cbc, cbc_name, ""),
        row("entropy cores, AES, one thread, into memory", found["cores/aes"], cbc, cbc_name, ">= 1.5"),
        row("entropy channel, plain, UNIX socket, into memory", found["channel/plain_foreign_local"], four, "4 GB/s",
            ">= 1"),
        row("the same, parts of 32 MiB", found["channel/plain_foreign"], four, "4 GB/s", ">= 1"),
        row("entropy channel, plain, beside the bare socket", found["channel/plain_foreign_local"],
            found["bare_socket/local_parts"], "bare socket", ""),
        row("the same, parts of 32 MiB", found["channel/plain_foreign"], found["bare_socket/parts"],
            "bare socket", ""),
        row("entropy channel, plain, signed and answered", found["channel/plain_signed"], four, "4 GB/s", ""),
        row("entropy cores, plain, one thread, into memory", found["cores/plain"], four, "4 GB/s", ">= 1"),
    ])


if __name__ == "__main__":
    main()
