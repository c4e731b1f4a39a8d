"""Goal: the main job on PostgreSQL and Redis as a user runs it: the round trip at both levels, and one clear sentence
with the documented exit code for each thing that is wrong with a server. Method: private servers on UNIX sockets in the
stage, started and ended here."""
import glob
import json
import os
import shutil
import subprocess
import time
import unittest

from support import PROGRAM, Stage, main, need

INITDB = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"))


class Servers(Stage):
    def setUp(self):
        super().setUp()
        self.make_repository()

    def back_up(self, source, *more, code=0, **kwargs):
        return self.expect(code, "backup", "--source", source, "--plan", "shop", "-r", self.recipient, *more, **kwargs)

    def restore(self, target, *more, code=0, **kwargs):
        return self.expect(code, "restore", "latest:shop", "-i", self.path("recovery.key"), "--to", target, *more,
                           **kwargs)

    def assert_nothing_was_committed(self):
        self.assertEqual(self.json_lines("snapshots"), [])
        left = [name for _, folders, names in os.walk(self.path("repo")) for name in folders + names if ".tmp" in name]
        self.assertEqual(left, [])


@need("psql", "pg_dump", "pg_restore")
@unittest.skipUnless(INITDB, "not installed: postgresql")
class PostgreSql(Servers):
    def setUp(self):
        super().setUp()
        self.sockets = self.path("pg")
        os.mkdir(self.sockets, 0o755)
        self.prefix = []
        if os.geteuid() == 0:
            self.prefix = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]
            shutil.chown(self.sockets, "postgres")
        folder = os.path.dirname(INITDB[-1])
        self.control = [*self.prefix, os.path.join(folder, "pg_ctl"), "-D", self.sockets + "/data", "-s", "-w"]
        self.tool([*self.prefix, INITDB[-1], "-D", self.sockets + "/data", "-U", "shop", "-A", "trust", "-E", "UTF8",
                   "--locale=C.UTF-8", "-N"])
        self.start()
        self.addCleanup(subprocess.run, [*self.control, "-m", "immediate", "stop"], cwd=self.sockets,
                        capture_output=True)
        self.sql("CREATE DATABASE shop")
        self.sql("CREATE DATABASE other")
        self.sql("CREATE TABLE orders AS SELECT g AS id, 'order ' || g AS name FROM generate_series(1, 2000) g", "shop")

    def start(self):
        self.tool([*self.control, "-l", self.sockets + "/log", "-o",
                   f"-c listen_addresses= -c unix_socket_directories={self.sockets} -c fsync=off", "start"])

    def tool(self, argv):
        done = subprocess.run(argv, cwd=self.sockets, capture_output=True, text=True, timeout=120)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.strip()

    def sql(self, statement, database="postgres"):
        return self.tool(["psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-h", self.sockets, "-U", "shop", "-d", database,
                          "-c", statement])

    def url(self, database="shop", user="shop"):
        return f"postgresql://{user}@/{database}?host={self.sockets}"

    def test_round_trip(self):
        self.back_up(self.url())
        out, _ = self.restore(self.url("other"))
        self.assertIn("equal to its fingerprint", out)
        self.assertEqual(self.sql("SELECT count(*), min(name) FROM orders", "other"), "2000|order 1")
        _, err = self.restore(self.url("other"), code=2)
        self.assertIn("--overwrite", err)
        self.restore(self.url("other"), "--overwrite")
        out, _ = self.ok("drill", "-i", self.path("recovery.key"))
        self.assertIn("content equal", out)

    def test_one_stream_goes_to_the_own_tools(self):
        self.back_up(self.url())
        archive = self.path("archive")
        key = ("-i", self.path("recovery.key"))
        for wrong in ((), ("--only", "tables")):
            _, err = self.expect(2, "restore", "latest:shop", *key, "-o", archive, *wrong)
            self.assertIn("--only: globals, database", err)
        self.assertFalse(os.path.exists(archive))
        out, _ = self.ok("restore", "latest:shop", *key, "-o", "-", "--only", "globals")
        self.assertIn("CREATE ROLE shop", out)
        self.ok("restore", "latest:shop", *key, "-o", archive, "--only", "database")
        self.tool(["pg_restore", "-h", self.sockets, "-U", "shop", "-d", "other", archive])
        self.assertEqual(self.sql("SELECT count(*), min(name) FROM orders", "other"), "2000|order 1")

    def test_a_restore_ends_with_a_commit_that_waits_for_the_disk(self):
        # A crash of the server alone loses nothing that the kernel has, so its log must tell.
        self.back_up(self.url())
        self.sql("ALTER SYSTEM SET log_statement = 'all'")
        self.sql("SELECT pg_reload_conf()")
        self.restore(self.url("other"))
        with open(self.sockets + "/log", encoding="utf-8") as file:
            log = file.read()
        waits = log.index("lo_unlink")
        self.assertLess(log.rindex("ALTER TABLE public.orders"), waits)
        self.assertNotIn("synchronous_commit", log, "that session has what the server is set up for")
        self.assertEqual(self.sql("SELECT count(*) FROM pg_largeobject_metadata", "other"), "0")

    def test_a_snapshot_of_another_kind_costs_nothing(self):
        """--overwrite clears a database; not for data that it cannot take."""
        self.back_up("sqlite:" + self.make_database())
        _, err = self.restore(self.url(), "--overwrite", code=2)
        self.assertIn("name a target of its kind", err)
        self.assertEqual(self.sql("SELECT count(*) FROM orders", "shop"), "2000")

    def test_an_older_server_is_not_cleared(self):
        self.back_up(self.url())
        os.mkdir(self.path("older"))
        with open(self.path("older", "psql"), "w", encoding="ascii") as file:
            file.write(f"#!/bin/sh\n{os.path.dirname(INITDB[-1])}/psql \"$@\" | sed -u 's/^1[0-9]\\{{5\\}}$/130004/'\n")
        os.chmod(self.path("older", "psql"), 0o755)
        _, err = self.restore(self.url(), "--overwrite", code=2,
                              env={"PATH": self.path("older") + ":" + os.environ["PATH"]})
        self.assertIn("the target is PostgreSQL 13, older than the", err)
        self.assertEqual(self.sql("SELECT count(*) FROM orders", "shop"), "2000")

    def test_a_restore_that_broke_off_says_how_to_go_on(self):
        self.back_up(self.url())
        self.sql("CREATE ROLE clerk LOGIN")
        _, err = self.restore(self.url("other", "clerk"), code=1)
        self.assertIn("permission denied", err)
        self.assertIn("restore again with --overwrite", err)

    def test_structure_compares_counts_only(self):
        self.back_up(self.url(), "--fingerprint", "structure")
        # Its server runs somewhere else, so what is named from here must be understood there.
        for work in (self.path("tmp"), os.path.relpath(self.path("tmp"))):
            out, _ = self.ok("drill", "-i", self.path("recovery.key"), "--work-dir", work)
            self.assertIn("structure equal", out)
        if os.geteuid() == 0:  # the server is somebody else then
            os.mkdir(self.path("closed"), 0o700)
            _, err = self.expect(1, "drill", "-i", self.path("recovery.key"), env={"TMPDIR": self.path("closed")})
            self.assertIn("name a folder with --work-dir that every user may pass through", err)
            self.assertEqual(os.listdir(self.path("closed")), [])
        listed = self.json_lines("snapshots", "-i", self.path("recovery.key"))
        self.assertEqual(listed[0]["proven_level"], "structure")
        self.assertEqual(listed[0]["fingerprint"]["level"], "structure")

    def test_what_is_wrong_is_said(self):
        with self.subTest("no such database"):
            _, err = self.back_up(self.url("nowhere"), code=1)
            self.assertIn('"nowhere" does not exist', err)
        with self.subTest("no such user"):
            _, err = self.back_up(self.url(user="stranger"), code=1)
            self.assertIn("stranger", err)
        with self.subTest("missing tool"):
            empty = self.path("empty")
            os.mkdir(empty)
            _, err = self.back_up(self.url(), code=1, env={"PATH": empty})
            self.assertIn("postgresql-client", err)
        with self.subTest("wrong password"):
            self.sql("CREATE ROLE clerk LOGIN SUPERUSER PASSWORD 'right'")
            rules = self.sockets + "/data/pg_hba.conf"
            with open(rules, encoding="utf-8") as file:
                text = file.read()
            with open(rules, "w", encoding="utf-8") as file:
                file.write("local all clerk scram-sha-256\n" + text)
            self.tool([*self.control, "reload"])
            source = f"postgresql://clerk:wrong@/shop?host={self.sockets}"
            _, err = self.back_up(source, code=1)
            self.assertIn("password authentication failed", err)
            self.assertNotIn("wrong", err.replace("wrong password", ""))
        self.assert_nothing_was_committed()
        self.back_up(f"postgresql://clerk:right@/shop?host={self.sockets}")
        listed = self.json_lines("snapshots", "-i", self.path("recovery.key"))
        self.assertNotIn("right", listed[0]["source"])
        with self.subTest("server down"):
            self.tool([*self.control, "-m", "immediate", "stop"])
            _, err = self.back_up(self.url(), code=1)
            self.assertIn("Is the server running", err)
            self.restore(self.url("other"), code=1)


@need("redis-server", "redis-cli")
class Redis(Servers):
    def setUp(self):
        super().setUp()
        self.servers = {}

    def start(self, name, *options):
        folder = self.path(name)
        os.mkdir(folder)
        server = subprocess.Popen(["redis-server", "--port", "0", "--unixsocket", folder + "/redis.sock", "--save", "",
                                   "--dir", folder, "--repl-diskless-sync-delay", "0", *options],
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(server.wait)
        self.addCleanup(server.kill)
        self.servers[name] = server
        for _ in range(200):
            done = subprocess.run(["redis-cli", "-s", folder + "/redis.sock", "ping"], capture_output=True, text=True)
            if done.returncode == 0 and ("PONG" in done.stdout or "NOAUTH" in done.stdout):
                return f"redis+unix://{folder}/redis.sock"
            time.sleep(0.05)
        self.fail("redis-server did not start")

    def cli(self, name, *command):
        done = subprocess.run(["redis-cli", "-s", self.path(name, "redis.sock"), *command], capture_output=True,
                              text=True, timeout=60)
        return done.stdout.strip()

    def test_round_trip(self):
        source, target = self.start("a"), self.start("b")
        for i in range(200):
            self.cli("a", "hset", f"user:{i}", "name", f"user {i}", "n", str(i)) if i % 50 == 0 else None
        self.cli("a", "eval", "for i = 1, 2000 do redis.call('set', 'key:' .. i, 'value ' .. i) end", "0")
        self.cli("a", "expire", "key:1", "5000")
        self.back_up(source)
        out, _ = self.restore(target)
        self.assertIn("equal to its fingerprint", out)
        self.assertEqual(self.cli("b", "dbsize"), self.cli("a", "dbsize"))
        self.assertGreater(int(self.cli("b", "ttl", "key:1")), 4000)
        _, err = self.restore(target, code=2)
        self.assertIn("--overwrite", err)
        self.back_up(source, "--fingerprint", "structure")
        out, _ = self.ok("drill", "-i", self.path("recovery.key"))
        self.assertIn("structure equal", out)

    def test_a_server_that_loads_its_file_is_waited_for(self):
        source = self.start("a")
        self.cli("a", "eval", "for i = 1, 1500 do redis.call('set', 'key:' .. i, 'value ' .. i) end", "0")
        self.back_up(source)

        def load_slowly():
            # Refused as long as the fork of the backup before is there.
            deadline = time.monotonic() + 60
            while self.cli("a", "save") != "OK":
                self.assertLess(time.monotonic(), deadline)
                time.sleep(0.05)
            self.servers["a"].kill()
            self.servers["a"].wait()
            self.servers["a"] = subprocess.Popen(
                ["redis-server", "--port", "0", "--unixsocket", self.path("a", "redis.sock"), "--save", "", "--dir",
                 self.path("a"), "--repl-diskless-sync-delay", "0", "--key-load-delay", "20000",
                 "--loading-process-events-interval-bytes", "1024"], stdout=subprocess.DEVNULL)
            self.addCleanup(self.servers["a"].wait)
            self.addCleanup(self.servers["a"].kill)
            while "LOADING" not in self.cli("a", "ping"):
                self.assertLess(time.monotonic(), deadline)
                time.sleep(0.05)

        for words in (["backup", "--source", source, "--plan", "shop", "-r", self.recipient],
                      ["restore", "latest:shop", "-i", self.path("recovery.key"), "--to", source, "--overwrite"]):
            load_slowly()
            process = subprocess.Popen([PROGRAM, *words, "--json"], env=self.env, stdout=subprocess.PIPE)
            self.addCleanup(process.communicate)
            self.addCleanup(process.kill)
            kinds = []
            for line in process.stdout:
                message = json.loads(line)
                kinds.append(message["message_type"])
                if kinds[-1] == "redis_loading":
                    self.assertEqual(message["server"], source)
                    self.cli("a", "config", "set", "key-load-delay", "0")
            self.assertEqual(process.wait(), 0, kinds)
            self.assertEqual(kinds.count("redis_loading"), 1, kinds)
        self.assertEqual(self.cli("a", "dbsize"), "1500")

    def test_a_snapshot_of_another_kind_costs_nothing(self):
        target = self.start("a")
        self.cli("a", "set", "precious", "1")
        self.back_up("sqlite:" + self.make_database())
        _, err = self.restore(target, "--overwrite", code=2)
        self.assertIn("name a target of its kind", err)
        self.assertEqual(self.cli("a", "get", "precious"), "1")

    def test_what_is_wrong_is_said(self):
        source = self.start("locked", "--requirepass", "right")
        _, err = self.back_up(source, code=1)
        self.assertIn("password", err.lower())
        wrong = source.replace("redis+unix://", "redis+unix://:wrong@")
        _, err = self.back_up(wrong, code=1)
        self.assertIn("password", err.lower())
        self.assertNotIn(":wrong@", err)
        empty = self.path("empty")
        os.mkdir(empty)
        _, err = self.back_up(source, code=1, env={"PATH": empty})
        self.assertIn("redis-tools", err)
        self.servers["locked"].kill()
        self.servers["locked"].wait()
        _, err = self.back_up(source, code=1)
        self.assertIn("redis.sock", err)
        self.assertIn("is a Redis server running there?", err)
        self.assert_nothing_was_committed()


if __name__ == "__main__":
    main()
