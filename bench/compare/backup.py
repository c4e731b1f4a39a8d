#!/usr/bin/env python3
"""The main job beside the same made of stock tools, on the same servers in the same run:

    backup    pg_dump -Fc -Z0 | zstd -3 | age           (SQLite: sqlite3 .backup, then zstd | age)
    restore   age -d | zstd -d | pg_restore
    verify    age -d | zstd -d >/dev/null               (ours: verify --open)

zstd runs with as many threads as we take. Ours does more: the backup hashes every row for the fingerprint (SQLite's
are read a second time for it, and its pages checked), signs, hashes and syncs; the restore compares hashes, makes
PostgreSQL's statistics and then compares every row. So each row comes twice where there is a flag for it: as users
run it, and "like for like", without that (--fingerprint structure, --no-compare); there the stock restore of PostgreSQL
ends with ANALYZE too. CPU seconds count the program and its children, not the server; memory is the most of any one
process.
The database is pgbench's, scale $SEALANE_BENCH_PGBENCH_SCALE (50); the SQLite file has
$SEALANE_BENCH_SQLITE_MIB (1024) MiB of rows."""
import os
import pathlib
import shutil
import signal
import sqlite3
import subprocess
import tempfile

import _compare
from _compare import PROGRAM, Side, compare

SCALE = int(os.environ.get("SEALANE_BENCH_PGBENCH_SCALE", "50"))
SQLITE_MIB = int(os.environ.get("SEALANE_BENCH_SQLITE_MIB", "1024"))


def run(*argv, **keywords):
    return subprocess.run([str(part) for part in argv], check=True, capture_output=True, text=True,
                          **keywords).stdout


class Postgres:
    """A private server on a UNIX socket in `folder`; as its own user where we are root."""

    def __init__(self, folder):
        self.folder = folder
        programs = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"))
        self.bin = programs[-1] if programs else None
        self.prefix = []
        if os.getuid() == 0:
            self.prefix = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]

    def start(self):
        self.folder.mkdir()
        if os.getuid() == 0:
            shutil.chown(self.folder, "postgres")
        run(*self.prefix, self.bin / "initdb", "-D", self.folder / "data", "-U", "shop", "-A", "trust",
            "-E", "UTF8", "--locale=C.UTF-8", "-N", cwd=self.folder)
        # Durable, as a real one; only checkpoints are kept from falling into one side's run.
        options = (f"-c listen_addresses='' -c unix_socket_directories='{self.folder}' "
                   "-c max_wal_size=8GB -c checkpoint_timeout=1h -c shared_buffers=512MB "
                   "-c autovacuum=off")
        run(*self.prefix, self.bin / "pg_ctl", "-D", self.folder / "data", "-l", self.folder / "log",
            "-w", "-s", "-o", options, "start", cwd=self.folder)

    def stop(self):
        if (self.folder / "data" / "postmaster.pid").exists():
            run(*self.prefix, self.bin / "pg_ctl", "-D", self.folder / "data", "-m", "immediate", "-s",
                "stop", cwd=self.folder)

    def sql(self, *statements):
        arguments = [part for statement in statements for part in ("-c", statement)]
        run("psql", "-q", "-h", self.folder, "-U", "shop", "-d", "postgres", *arguments)

    def fresh(self, name):
        self.sql(f"DROP DATABASE IF EXISTS {name}", f"CREATE DATABASE {name}", "CHECKPOINT")

    def url(self, name):
        return f"postgresql://shop@/{name}?host={self.folder}"


def make_sqlite(path):
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE event (id INTEGER PRIMARY KEY, at TEXT, kind TEXT, body BLOB, note TEXT)")
    rows = SQLITE_MIB * 1024 * 1024 // 560
    connection.execute(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) "
        "INSERT INTO event SELECT i, datetime(1700000000 + i, 'unixepoch'), "
        "CASE i % 3 WHEN 0 THEN 'order' WHEN 1 THEN 'refund' ELSE 'visit' END, randomblob(128), "
        "printf('customer %d asked for article %d; %s', i % 40000, i % 997, hex(randomblob(160))) FROM n",
        (rows,))
    connection.commit()
    connection.close()


def main():
    lacking = _compare.missing("age", "age-keygen", "zstd", "pg_dump", "pgbench", "sqlite3", "ssh-keygen")
    work = "backup, restore, verify"
    if lacking:
        _compare.print_rows([_compare.skipped(work, f"{lacking} is not installed")])
        return
    folder = pathlib.Path(tempfile.mkdtemp(prefix="sealane-bench-", dir=os.environ.get("TMPDIR", "/tmp")))
    folder.chmod(0o755)
    server = Postgres(folder / "pg")
    if server.bin is None:
        _compare.print_rows([_compare.skipped(work, "no PostgreSQL server is installed")])
        return
    signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    try:
        server.start()
        _compare.print_rows(rows(folder, server))
    finally:
        server.stop()
        shutil.rmtree(folder)


class Bench:
    def __init__(self, folder):
        self.folder = folder
        home = folder / "home"
        home.mkdir(mode=0o700)
        os.environ["SEALANE_HOME"] = str(home)
        run(PROGRAM, "keygen")
        run(PROGRAM, "keygen", "--recovery", "-o", folder / "recovery.key")
        self.identity = folder / "recovery.key"
        self.recipient = run("age-keygen", "-y", self.identity).strip()
        self.threads = os.cpu_count()
        self.trust = folder / "trusted"
        self.trust.write_text("shop " + " ".join((home / "identity.pub").read_text().split()[:2]) + "\n")

    def shell(self, script, before=None):
        return Side(["bash", "-c", "set -euo pipefail; " + script], before=before)

    def seal_pipe(self, out):
        # As durable as ours: synced before it counts.
        return f"zstd -q -3 -T{self.threads} | age -r {self.recipient} >{out} && sync {out}"

    def open_pipe(self, sealed):
        return f"age -d -i {self.identity} {sealed} | zstd -q -d"

    def back_free_memory(self):
        _compare.back_free_memory(self.folder, (SQLITE_MIB + 512) << 20)

    def fresh_repository(self, path):
        def make():
            self.back_free_memory()
            shutil.rmtree(path, ignore_errors=True)
            run(PROGRAM, "repo", "init", path)
        return make

    def ours(self, *arguments, before=None):
        return Side([PROGRAM, *map(str, arguments), "-q", "--trust", str(self.trust)], before=before)

    def with_keys(self, *arguments, before=None):
        return self.ours(*arguments, "-i", str(self.identity), before=before)


def rows(folder, server):
    bench = Bench(folder)
    stock = "stock tools"
    found = []

    server.fresh("bench")
    run("pgbench", "-i", "-q", "-s", SCALE, "-h", server.folder, "-U", "shop", "bench")
    name = f"PostgreSQL, pgbench scale {SCALE}"
    repo, by_hand = folder / "repo", folder / "dump.zst.age"
    dump = f"pg_dump -h {server.folder} -U shop -Fc -Z0 bench"
    backup = ("backup", "--repo", repo, "--plan", "bench", "-r", bench.recipient, "--source")
    stock_backup = bench.shell(f"{dump} | {bench.seal_pipe(by_hand)}", before=bench.back_free_memory)
    for more, extra in (", like for like", ["--fingerprint", "structure"]), ("", []):
        found.append(compare(
            f"backup {name}{more}",
            bench.ours(*backup, server.url("bench"), *extra, before=bench.fresh_repository(repo)),
            stock_backup, stock, ">= 1, CPU <= 1.2 x"))
    found.append(compare(
        f"verify {name}, every chunk",
        bench.with_keys("verify", "--open", "--repo", repo),
        bench.shell(f"{bench.open_pipe(by_hand)} >/dev/null"), stock, ">= 1"))

    def refresh():
        server.fresh("other")
        bench.back_free_memory()

    restore = ("restore", "latest:bench", "--repo", repo, "--to", server.url("other"))
    stock_restore = f"{bench.open_pipe(by_hand)} | pg_restore -h {server.folder} -U shop -d other"
    analyze = f" && psql -q -h {server.folder} -U shop -d other -c ANALYZE"
    for more, extra, last in (", like for like", ["--no-compare"], analyze), ("", [], ""):
        found.append(compare(f"restore {name}{more}", bench.with_keys(*restore, *extra, before=refresh),
                             bench.shell(stock_restore + last, before=refresh), stock, ">= 1"))
    server.sql("DROP DATABASE bench", "DROP DATABASE other")

    database, copy = folder / "events.db", folder / "copy.db"
    make_sqlite(database)
    name = f"SQLite, {SQLITE_MIB} MiB"

    def remove():
        copy.unlink(missing_ok=True)
        bench.back_free_memory()

    stock_backup = bench.shell(f"sqlite3 {database} '.backup {copy}' && <{copy} {bench.seal_pipe(by_hand)}; "
                               f"rm {copy}", before=bench.back_free_memory)
    for more, extra in (", like for like", ["--fingerprint", "structure"]), ("", []):
        found.append(compare(
            f"backup {name}{more}",
            bench.ours(*backup, f"sqlite:{database}", *extra, before=bench.fresh_repository(repo)),
            stock_backup, stock, ">= 1, CPU <= 1.2 x"))
    found.append(compare(
        f"verify {name}, every chunk",
        bench.with_keys("verify", "--open", "--repo", repo),
        bench.shell(f"{bench.open_pipe(by_hand)} >/dev/null"), stock, ">= 1"))
    for more, extra in (", like for like", ["--no-compare"]), ("", []):
        found.append(compare(
            f"restore {name}{more}",
            bench.with_keys("restore", "latest:bench", "--repo", repo, "--to", f"sqlite:{copy}", *extra,
                            before=remove),
            bench.shell(f"{bench.open_pipe(by_hand)} >{copy} && sync {copy}", before=remove), stock,
            ">= 1"))

    public = folder / "home" / "identity.pub"
    found.append(compare("start: sealane id", Side([PROGRAM, "id"]),
                         Side(["ssh-keygen", "-l", "-f", str(public)]), "ssh-keygen -l", "<= 0.020 s",
                         pairs=30))
    most = max(row["ours_mib"] for row in found)
    peer = max(row["peer_mib"] for row in found)
    found.append({"work": "backup, restore, verify: memory", "ours": most, "peer": peer,
                  "peer_name": "the most of any stock tool", "unit": "MiB",
                  "ratio": round(peer / most, 3), "spread": "-", "goal": "<= 96 MiB"})
    return found


if __name__ == "__main__":
    main()
