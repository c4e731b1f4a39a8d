"""Goal: warm copies as a user makes them: pushed to a peer, cut, resumed, compared, repaired; one clear sentence with
the documented exit code for each thing that is wrong. Method: private Redis servers and `sealane warm serve` on UNIX
sockets in the stage, started and ended here."""
import json
import os
import signal
import socket
import subprocess
import time

from support import PROGRAM, main, need
from warm_stage import WarmStage


@need("redis-server", "redis-cli")
class Warm(WarmStage):
    def fill(self, url, count=2000):
        lines = []
        for i in range(count):
            lines.append(f"SET text:{i} value{i}" + (" EX 100000" if i % 3 == 0 else ""))
            if i % 10 == 0:
                lines += [f"RPUSH list:{i} a b {i}", f"HSET hash:{i} f {i}", f"SADD set:{i} x {i}"]
        self.cli(url, stdin="\n".join(lines).encode() + b"\n")

    def test_a_copy_through_a_peer_is_confirmed_and_equal(self):
        self.fill(self.shop)
        server, address = self.serve(*self.keys, into=self.vault)
        push = ["warm", "push", "--from", self.shop, "--to", address, *self.keys]
        report = self.json_lines(*push)[-1]
        self.assertEqual(report["message_type"], "warm_push")
        self.assertEqual((report["verdict"], report["keys"], report["failed"]), ("complete", 2600, 0))
        self.assertEqual(report["applied"], 2600)
        # Again: nothing is written twice.
        again = self.json_lines(*push)[-1]
        self.assertEqual((again["verdict"], again["applied"], again["skipped"]), ("complete", 0, 2600))
        out, _ = self.ok("warm", "compare", self.shop, self.vault)
        self.assertIn("equal", out)
        self.assertIn(" in 1 round; ", out)
        last = self.stop(server)[-1]
        self.assertEqual((last["message_type"], last["applied"], last["skipped"]), ("warm_serve", 2600, 2600))

    def test_parts_are_smaller_to_a_peer_on_this_host(self):
        for i in range(10):
            self.cli(self.shop, "SETRANGE", f"large:{i}", str((2 << 20) - 1), "x")
        _, address = self.serve(*self.keys, "--accept-plaintext", into=self.vault)
        push = ["warm", "push", "--from", self.shop, "--start-over", "--to"]
        parts = {}
        for name, where in [("redis", [self.vault]), ("unix", [address, *self.keys]),
                            ("plain", [address, "--plain", *self.keys[:2]]),
                            ("asked", [address, *self.keys, "--part-size", "32"])]:
            report = self.json_lines(*push, *where)[-1]
            self.assertEqual((report["verdict"], report["keys"]), ("complete", 10))
            parts[name] = report["parts"]
        self.assertEqual(parts, {"redis": 1, "unix": 4, "plain": 4, "asked": 1})

    def test_straight_into_another_redis_and_repair(self):
        self.fill(self.shop)
        self.ok("warm", "push", "--from", self.shop, "--to", self.vault)
        self.cli(self.shop, "SET", "text:5", "newer")
        self.cli(self.shop, "SET", "only here", "1")
        self.cli(self.vault, "SET", "only there", "1")
        compare = ["warm", "compare", self.shop, self.vault]
        found = self.json_lines(*compare, code=30)
        named = {m["key"]: m["difference"] for m in found if m["message_type"] == "warm_difference"}
        self.assertEqual(named, {"text:5": "value", "only here": "only_here", "only there": "only_there"})
        _, err = self.expect(30, *compare, "--repair", "--dry-run")
        self.assertIn("would send 2 keys", err)
        self.assertEqual(self.cli(self.vault, "GET", "text:5"), "value5")
        repaired = self.json_lines(*compare, "--repair", code=30)
        self.assertIn("keys that only B has are never deleted", repaired[-1]["message"])
        told = next(m for m in repaired if m["message_type"] == "warm_compare")
        self.assertEqual((told["keys_sent"], told["only_here"], told["only_there"], told["value"]), (2, 0, 1, 0))
        self.assertEqual([told["before"][name] for name in ("only_here", "only_there", "value")], [1, 1, 1])
        self.assertEqual(self.cli(self.vault, "GET", "text:5"), "newer")
        self.cli(self.vault, "DEL", "only there")
        self.ok(*compare)

    def test_the_image_of_a_replica_is_a_copy_too(self):
        for url in (self.shop, self.vault):
            self.cli(url, "CONFIG", "SET", "repl-diskless-sync-delay", "0")
        self.fill(self.shop)
        self.cli(self.shop, "CONFIG", "SET", "rdbcompression", "no")
        self.cli(self.shop, "SETRANGE", "large", "3000000", "x")
        push = ["warm", "push", "--from", self.shop, "--as-replica", "--to"]
        report = self.json_lines(*push, self.vault)[-1]
        self.assertEqual((report["verdict"], report["keys"], report["applied"]), ("complete", 2601, 2601))
        self.ok("warm", "compare", self.shop, self.vault)
        # To a peer, and with a key that is not held.
        server, address = self.serve(*self.keys, into=self.vault)
        self.cli(self.vault, "FLUSHALL")
        report = self.json_lines(*push, address, *self.keys, "--big-key", "1", "--part-size", "1")[-1]
        self.assertEqual((report["verdict"], report["keys"], report["failed"]), ("complete", 2601, 0))
        self.ok("warm", "compare", self.shop, self.vault)
        self.stop(server)
        # Into a file.
        self.ok(*push, self.path("copy"))
        self.ok("warm", "compare", self.shop, self.path("copy"))
        # A server that goes away in the middle: said, and the next run starts over.
        self.cli(self.vault, "FLUSHALL")
        self.cli(self.shop, "CONFIG", "SET", "rdb-key-save-delay", "2000")
        cut = subprocess.Popen([PROGRAM, *push, self.vault], env=self.env, stderr=subprocess.PIPE)
        # It sends the first 16 KiB at once, after about 600 of 2,601 keys.
        mark = "current_save_keys_processed:"
        while int(self.cli(self.shop, "INFO", "persistence").split(mark)[1].split()[0]) < 1000:
            self.assertIsNone(cut.poll(), "it ended before it was cut")
            time.sleep(0.02)
        time.sleep(0.2)
        self.cli(self.shop, "CLIENT", "KILL", "TYPE", "replica")
        err = cut.communicate()[1]
        self.assertEqual(cut.returncode, 1, err)
        self.assertIn(b"pushing again is harmless", err)
        self.cli(self.shop, "CONFIG", "SET", "rdb-key-save-delay", "0")
        report = self.json_lines(*push, self.vault)[-1]
        self.assertEqual((report["verdict"], report["keys"], report["resumed"]), ("complete", 2601, False))
        self.ok("warm", "compare", self.shop, self.vault)

    def test_nobody_writes_to_what_is_read(self):
        for url in (self.shop, self.vault):
            self.cli(url, "CONFIG", "SET", "repl-diskless-sync-delay", "0")
        self.fill(self.shop, 100)
        server, address = self.serve("--flush", *self.keys, into=self.shop)
        kept = lambda: self.assertEqual(self.cli(self.shop, "DBSIZE"), "130")
        for how in ([], ["--as-replica"]):
            report = self.json_lines("warm", "push", *how, "--from", self.shop, "--to", address, *self.keys, code=20)
            self.assertIn("it writes to the database that is read here", report[-1]["message"])
            kept()
        # From its replica: emptied there, it would be emptied here.
        self.cli(self.vault, "REPLICAOF", "127.0.0.1", self.open_port(self.shop))
        self.wait_until(lambda: "master_link_status:up" in self.cli(self.vault, "INFO", "replication"))
        _, err = self.expect(20, "warm", "push", "--from", self.vault, "--to", address, *self.keys)
        self.assertIn("or to its replica", err)
        _, err = self.expect(2, "warm", "push", "--flush", "--from", self.vault, "--to", self.shop)
        self.assertIn("are the same database", err)
        kept()
        # Another database of the same server is another one, and so is what was a replica.
        self.cli(self.vault, "REPLICAOF", "NO", "ONE")
        self.ok("warm", "push", "--from", self.shop + "?db=1", "--to", self.vault)
        self.ok("warm", "push", "--from", self.vault, "--to", self.shop)
        kept()
        for line in self.stop(server):
            self.assertNotEqual(line.get("applied"), 130)

    def test_what_is_flushed_is_not_lost_to_a_mistake(self):
        self.fill(self.shop, 100)
        self.fill(self.vault, 50)
        push = ["warm", "push", "--flush", "--to", self.vault, "--from"]
        kept = lambda: self.assertEqual(self.cli(self.vault, "DBSIZE"), "65")
        self.expect(1, *push, "redis+unix:///nowhere")
        self.expect(1, *push, self.path("no", "file"))
        _, err = self.expect(2, *push, self.vault)
        self.assertIn("are the same database", err)
        kept()
        # Nobody can listen there; and as long as no part came.
        serve = ["--into", self.vault, "--flush", *self.keys]
        _, err = self.expect(1, "warm", "serve", "--listen", "unix:" + self.path("no", "folder"), *serve)
        _, err = self.expect(1, "warm", "serve", "--listen", "unix:" + self.path("c"), "--spool", "/nowhere", *serve)
        self.assertIn("/nowhere", err)
        server, address = self.serve("--flush", *self.keys, into=self.vault)
        kept()
        self.ok("warm", "push", "--from", self.shop, "--to", address, *self.keys)
        self.ok("warm", "compare", self.shop, self.vault)
        self.cli(self.vault, "SET", "more", "1")
        self.ok("warm", "push", "--from", self.shop, "--to", address, *self.keys)
        self.assertEqual(self.cli(self.vault, "GET", "more"), "1", "it is flushed once")
        self.stop(server)
        self.ok(*push, self.shop)
        self.ok("warm", "compare", self.shop, self.vault)

    def test_an_interrupted_push_says_how_far_it_came(self):
        self.fill(self.shop, 20000)
        push = [PROGRAM, "warm", "push", "--from", self.shop, "--to", self.vault, "--part-size", "1", "--parallel", "1",
                "--json", "--rate", "400000"]
        first = subprocess.Popen(push, env=self.env, stdout=subprocess.PIPE)
        self.wait_until(lambda: self.cli(self.vault, "DBSIZE") != "0")
        time.sleep(0.5)
        first.send_signal(signal.SIGINT)
        out = [json.loads(line) for line in first.communicate(timeout=120)[0].splitlines()]
        self.assertEqual(first.returncode, 130)
        report, error = out[-2:]
        self.assertEqual((report["message_type"], report["verdict"]), ("warm_push", "cut"))
        self.assertGreater(report["applied"], 0)
        parts = "1 part" if report["parts"] == 1 else f"{report['parts']} parts"
        self.assertIn(f"until then {report['keys']} keys in {parts} had arrived", error["message"])
        self.assertIn("goes on behind", error["message"])

    def test_a_cut_push_goes_on_where_it_was(self):
        self.fill(self.shop, 20000)
        push = [PROGRAM, "warm", "push", "--from", self.shop, "--to", self.vault, "--part-size", "1", "--parallel", "1",
                "--json"]
        first = subprocess.Popen([*push, "--rate", "400000"], env=self.env, stdout=subprocess.PIPE)
        while not any(not name.endswith(".lock") for name in
                      (os.listdir(self.path("home", "warm")) if os.path.isdir(self.path("home", "warm")) else [])):
            self.assertIsNone(first.poll(), "it ended before it was cut")
            time.sleep(0.02)
        locked = subprocess.run(push, env=self.env, capture_output=True, check=False)
        self.assertEqual(locked.returncode, 11, locked.stdout)
        first.kill()
        first.communicate()
        report = json.loads(subprocess.run(push, env=self.env, capture_output=True, check=True).stdout.splitlines()[-1])
        self.assertTrue(report["resumed"])
        self.assertLess(report["keys"], 26000)
        self.ok("warm", "compare", self.shop, self.vault)

    def test_the_rate_changes_while_it_runs(self):
        self.fill(self.shop, 20000)
        push = ["warm", "push", "--from", self.shop, "--to", self.vault, "--part-size", "1", "--rate-file",
                self.path("rate")]
        _, err = self.expect(2, *push)
        self.assertIn("cannot read the rate", err)
        for wrong in ("", "fast\n", "1 2\n", "-1\n", "99999999999999999999\n"):
            self.write("rate", wrong)
            _, err = self.expect(2, *push)
            self.assertIn("holds no rate", err)
        self.write("rate", "1000\n")
        _, err = self.expect(2, *push, "--rate", "5")
        self.assertIn("leave out --rate", err)
        # At 1000 bytes a second it would take half an hour.
        slow = subprocess.Popen([PROGRAM, *push], env=self.env, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE)
        self.addCleanup(slow.communicate)
        self.addCleanup(slow.kill)
        time.sleep(1)
        self.assertIsNone(slow.poll(), "nothing slowed it")
        self.write("rate", "what\n")
        time.sleep(1.5)
        self.assertIsNone(slow.poll(), "it lost its rate")
        self.write("rate", "0\n")
        out, err = slow.communicate(timeout=120)
        self.assertEqual(slow.returncode, 0, err)
        self.assertIn(b"pushed 26000 keys", out)
        self.assertIn(b"holds no rate", err)
        self.assertIn(b"reading without a limit", err)

    def metrics(self):
        with open(self.path("metrics.prom"), encoding="utf-8") as file:
            return dict(line.rsplit(" ", 1) for line in file.read().splitlines() if not line.startswith("#"))

    def test_what_it_counts_can_be_monitored(self):
        self.fill(self.shop, 300)
        server, address = self.serve(*self.keys, "--metrics", self.path("metrics.prom"), into=self.vault)
        self.assertEqual(self.metrics()["sealane_warm_intake_parts_total"], "0")
        self.ok("warm", "push", "--from", self.shop, "--to", address, *self.keys)
        self.wait_until(lambda: self.metrics()["sealane_warm_intake_parts_total"] == "1")
        self.assertEqual(self.metrics()['sealane_warm_intake_commands_total{result="applied"}'], "390")
        self.stop(server)
        peer = "unix:" + self.path("nobody")
        server, _ = self.serve(*self.keys, "--from", self.shop, "--peer", peer, "--metrics", self.path("metrics.prom"))
        self.wait_until(lambda: os.path.exists(self.path("metrics.prom")) and
                        self.metrics().get(f'sealane_warm_round_failures_total{{peer="{peer}"}}', "0") != "0")
        self.assertEqual(self.metrics()[f'sealane_warm_last_good_round_timestamp_seconds{{peer="{peer}"}}'], "0")
        self.stop(server)
        _, err = self.expect(1, "warm", "serve", *self.keys, "--from", self.shop, "--peer", peer, "--metrics",
                             self.path("no", "such", "folder"))
        self.assertIn("its folder is missing", err)

    def test_a_file_holds_a_copy(self):
        self.fill(self.shop, 300)
        self.ok("warm", "push", "--from", self.shop, "--to", self.path("copy"))
        self.expect(2, "warm", "push", "--from", self.shop, "--to", self.path("copy"))
        self.write("rate", "1000\n")
        for slowly in (["--rate", "1000"], ["--rate-file", self.path("rate")]):
            _, err = self.expect(2, "warm", "push", "--from", self.path("copy"), "--to", self.vault, *slowly)
            self.assertIn("a file needs none", err)
        _, err = self.expect(2, "warm", "push", "--from", self.path("copy"), "--to", self.vault, "--big-key", "8")
        self.assertIn("--big-key says how a Redis is read", err)
        self.ok("warm", "compare", self.shop, self.path("copy"))
        self.ok("warm", "push", "--from", self.path("copy"), "--to", self.vault)
        self.ok("warm", "compare", self.shop, self.vault)
        self.expect(30, "warm", "compare", self.shop, self.redis("third"))

    def test_rounds_reach_every_peer_that_is_there(self):
        self.fill(self.shop, 100)
        server, address = self.serve(*self.keys, into=self.vault)
        pusher, _ = self.serve("--from", self.shop, "--peer", address, "--peer", "unix:" + self.path("nobody"),
                               "--interval", "1", *self.keys)
        good = bad = 0
        while good < 2 or bad < 1:
            line = pusher.stdout.readline()
            self.assertTrue(line, "it ended")
            message = json.loads(line)
            if message["message_type"] != "warm_round":
                continue
            if message["peer"] == address:
                self.assertTrue(message["good"], message)
                self.assertEqual(message["keys"], 130)
                good += 1
            else:
                self.assertFalse(message["good"])
                bad += 1
        self.stop(pusher)
        self.stop(server)
        self.ok("warm", "compare", self.shop, self.vault)

    def test_who_has_another_secret_or_key_changes_nothing(self):
        self.fill(self.shop, 50)
        server, address = self.serve(*self.keys, into=self.vault)
        with open(self.path("other"), "w", encoding="ascii") as file:
            file.write("hex:" + os.urandom(32).hex())
        os.chmod(self.path("other"), 0o600)
        push = ["warm", "push", "--from", self.shop, "--to", address]
        keys = ["--key-file", self.path("key"), "--iv-file", self.path("iv")]
        result = self.run_program(*push, "--secret-file", self.path("other"), *keys)
        self.assertIn(result.returncode, (1, 20, 30), result.stderr)
        wrong = ["--key-file", self.path("iv"), "--iv-file", self.path("key")]
        result = self.run_program(*push, "--secret-file", self.path("secret"), *wrong)
        self.assertIn(result.returncode, (1, 20, 30), result.stderr)
        self.assertEqual(self.cli(self.vault, "DBSIZE"), "0")
        # Who knows nothing, too; and whoever says nothing delays nobody.
        silent = socket.socket(socket.AF_UNIX)
        silent.connect(address.removeprefix("unix:"))
        self.ok(*push, *self.keys)
        silent.close()
        refused = [m for m in self.stop(server) if m.get("refused")]
        self.assertGreaterEqual(len(refused), 2)

    def test_a_redis_that_loads_its_file_is_waited_for(self):
        self.fill(self.shop, 1000)
        self.ok("warm", "push", "--from", self.shop, "--to", self.vault)

        def begin(*words):
            process = subprocess.Popen([PROGRAM, "warm", *words, "--json"], env=self.env, stdout=subprocess.PIPE,
                                       stderr=subprocess.PIPE)
            self.addCleanup(process.communicate)
            self.addCleanup(process.kill)
            return process

        def says_loading(process, url):
            message = json.loads(process.stdout.readline())
            self.assertEqual((message["message_type"], message["server"]), ("redis_loading", url))
            self.assertGreaterEqual(message["percent"], 0)
            self.cli(url, "CONFIG", "SET", "key-load-delay", "0")  # and on it goes

        def goes_on(process):
            out = [json.loads(line) for line in process.communicate(timeout=120)[0].splitlines()]
            self.assertEqual(process.returncode, 0)
            self.assertNotIn("redis_loading", [m["message_type"] for m in out], "it is said once")
            return out[-1]

        push = ["push", "--from", self.shop, "--to"]
        where = self.path("channel")
        take = ["serve", *self.keys, "--listen", "unix:" + where, "--into", self.vault]
        for name, url, words in (("shop", self.shop, [*push, self.vault]), ("vault", self.vault, [*push, self.vault]),
                                 ("shop", self.shop, [*push, self.path("copy"), "--as-replica"]),
                                 ("vault", self.vault, ["compare", self.shop, self.vault])):
            with self.subTest(words, slow=name):
                self.load_slowly(url, name)
                process = begin(*words)
                says_loading(process, url)
                goes_on(process)
        self.load_slowly(self.vault, "vault")
        serve = begin(*take)
        says_loading(serve, self.vault)
        self.assertEqual(json.loads(serve.stdout.readline())["message_type"], "warm_serving")
        # Started again in the middle: the part waits with it, and does not fail.
        self.load_slowly(self.vault, "vault")
        pushing = begin(*push, "unix:" + where, *self.keys)
        says_loading(serve, self.vault)
        report = goes_on(pushing)
        self.assertEqual((report["verdict"], report["failed"], report["retries"]), ("complete", 0, 0))
        self.stop(serve)
        # It can be stopped while it waits.
        self.load_slowly(self.vault, "vault")
        serve = begin(*take)
        self.assertIn(b"redis_loading", serve.stdout.readline())
        serve.send_signal(signal.SIGTERM)
        serve.communicate(timeout=120)
        self.assertEqual(serve.returncode, 130)

    def test_why_a_part_failed_is_said_at_the_sender(self):
        self.fill(self.shop, 100)
        server, address = self.serve(*self.keys, into=self.vault)
        push = ["warm", "push", "--from", self.shop, "--to", address, *self.keys]
        def fails(cause, sentence):
            out = self.json_lines(*push, code=1)
            self.assertIn(sentence, out[-1]["message"])
            self.assertEqual([m["cause"] for m in out if m["message_type"] == "warm_push"], [cause])
        self.cli(self.vault, "CONFIG", "SET", "maxmemory", "1")
        fails("out_of_memory", "its Redis is out of memory; raise maxmemory there")
        self.cli(self.vault, "CONFIG", "SET", "maxmemory", "0")
        self.cli(self.vault, "REPLICAOF", "127.0.0.1", "1")
        fails("read_only", "its Redis is a replica")
        self.cli(self.vault, "REPLICAOF", "NO", "ONE")
        self.assertEqual(self.json_lines(*push)[-1]["cause"], "")
        self.vault_process.kill()
        self.vault_process.wait()
        fails("connection_lost", "its Redis is gone")
        self.stop(server)

    def test_a_redis_that_dies_is_said_and_the_copy_resumes(self):
        self.fill(self.shop, 100)
        server, address = self.serve(*self.keys, into=self.vault)
        self.vault_process.kill()
        self.vault_process.wait()
        push = ["warm", "push", "--from", self.shop, "--to", address, *self.keys]
        _, err = self.expect(1, *push)
        self.assertIn("could not apply a part", err)
        self.shop_process.kill()
        self.shop_process.wait()
        _, err = self.expect(1, *push)
        self.assertIn("is a Redis server running there?", err)
        self.stop(server)

    def test_what_is_wrong_is_said_in_a_sentence(self):
        push = ["warm", "push", "--from", self.shop, "--to"]
        pull = ["warm", "serve", "--from", self.shop, "--peer", "unix:x"]
        take = ["warm", "serve", "--listen", "unix:" + self.path("x"), "--into"]
        cases = [
            (2, [*push, "nonsense"], "is no place to push to"),
            (2, [*push, self.vault, "--parallel", "0"], "--parallel is 1 to 16"),
            # What would do nothing is not passed over in silence.
            (2, [*push, self.vault, *self.keys], "--secret-file belongs to the channel"),
            (2, [*push, self.vault, "--plain"], "--plain belongs to the channel"),
            (2, [*push, self.path("new"), "--idle-timeout", "7"], "--idle-timeout belongs to the channel"),
            (2, [*push, self.path("new"), "--start-over"], "always written from its start"),
            (2, [*push, "unix:x", "--peer", "dynomite", *self.keys], "a dynomite knows nothing of it"),
            (2, [*push, "unix:x", "--plain", *self.keys], "--key-file encrypts, and --plain does not"),
            (2, [*push, "unix:x", "--plain", "--allow-sample-key"], "no key file is named"),
            (2, [*pull, "--spool", "/"], "--spool is about what comes in"),
            (2, [*pull, "--mode", "overwrite"], "--mode is about what comes in"),
            (2, [*pull, "--plain", *self.keys], "--key-file encrypts"),
            (2, ["warm", "serve", "--from", self.path("x"), "--peer", "unix:x", "--big-key", "9"],
             "says how a Redis is read"),
            (2, [*take, self.vault, "--interval", "9"], "--interval is about what is pushed"),
            (2, [*take, self.vault, "--as-replica"], "about what is pushed"),
            (2, [*take, self.path("new"), "--mode", "overwrite"], "--mode belongs to a Redis"),
            (2, ["warm", "compare", self.path("x"), self.path("y"), "--rate", "9"], "files need none"),
            (2, [*push, self.vault, "--range", "5-5"], "is no range of tokens"),
            (2, [*push, self.vault, "--part-size", "0"], "--part-size is 1 to 1024 MiB"),
            (2, [*push, self.vault, "--as-replica", "--portable"], "does not go with --portable"),
            (2, ["warm", "push", "--from", self.path("x"), "--to", self.vault, "--as-replica"], "not from a file"),
            (2, ["warm", "push", "--from", "redis://u@h", "--to", self.vault], "names a user of Redis but no password"),
            (1, ["warm", "push", "--from", "redis+unix:///nowhere", "--to", self.vault], "is a Redis server running"),
            (1, ["warm", "push", "--from", self.path("no file"), "--to", self.vault], "No such file"),
            (2, ["warm", "serve"], "nothing to do"),
            (2, ["warm", "serve", "--listen", "unix:" + self.path("x")], "belong together"),
            (2, ["warm", "compare", self.shop, self.vault, "--dry-run"], "without --repair"),
            (2, ["warm", "compare", self.shop, self.vault, "--ttl-tolerance", "0"], "at least 1 millisecond"),
        ]
        for code, words, sentence in cases:
            with self.subTest(words):
                _, err = self.expect(code, *words)
                self.assertIn(sentence, err)
        with open(self.path("broken"), "wb") as file:
            file.write(b"*2\r\n$3\r\nDEL\r\n$100\r\nx")
        _, err = self.expect(1, "warm", "push", "--from", self.path("broken"), "--to", self.vault)
        self.assertIn("ends inside a command", err)
        closed = self.redis("closed", "--requirepass", "hidden")
        _, err = self.expect(1, *push, closed)
        self.assertIn("REDISCLI_AUTH", err)
        self.ok(*push, closed, env={"REDISCLI_AUTH": "hidden"})


if __name__ == "__main__":
    main()
