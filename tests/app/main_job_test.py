"""Goal: the main job as a user runs it, with every failure named in the documents: back up, list, verify,
restore, drill, forget, copy. Method: the built program on small real data; SQLite and files only, so that no
server is needed (servers_test.py has those)."""
import fcntl
import os
import shutil
import signal
import sqlite3
import subprocess
import threading
import time

from support import PROGRAM, Stage, flip, main, need


class MainJob(Stage):
    def setUp(self):
        super().setUp()
        self.make_repository()
        self.database = self.make_database()

    def back_up(self, *more, code=0, source=None, **kwargs):
        return self.expect(code, "backup", "--source", source or "sqlite:" + self.database, "--plan", "shop",
                           "-r", self.recipient, *more, **kwargs)

    def snapshots(self, *more):
        return [m for m in self.json_lines("snapshots", *more) if m["message_type"] == "snapshot"]

    def temporaries(self):
        return [n for _, folders, names in os.walk(self.path("repo")) for n in folders + names if ".tmp" in n]

    def test_backup_restore_round_trip(self):
        out, _ = self.back_up()
        self.assertIn("Backed up sqlite:", out)
        out, _ = self.ok("verify")
        self.assertIn("Verified 1 snapshot, 2 objects, ", out)
        self.back_up()
        listed = self.snapshots()
        self.assertEqual([(s["plan"], s["seq"], s["state"]) for s in listed],
                         [("shop", 1, "stored"), ("shop", 2, "stored")])
        self.assertEqual(listed[1]["previous"], listed[0]["id"])
        out, _ = self.ok("verify")
        self.assertIn("Verified 2 snapshots", out)
        self.ok("verify", "--open", "-i", self.path("recovery.key"))
        out, _ = self.ok("restore", listed[0]["id"][:8], "-i", self.path("recovery.key"),
                         "--to", "sqlite:" + self.path("back.db"))
        self.assertIn("equal to its fingerprint", out)
        rows = [sqlite3.connect(p).execute("SELECT * FROM orders ORDER BY id").fetchall()
                for p in (self.database, self.path("back.db"))]
        self.assertEqual(rows[0], rows[1])

    def test_nothing_of_the_plaintext_is_on_the_disk(self):
        self.back_up()
        marker = "order 1999 ä".encode()
        for folder, _, names in os.walk(self.path("repo")):
            for name in names:
                with open(os.path.join(folder, name), "rb") as file:
                    self.assertNotIn(marker, file.read())
        self.assertEqual(os.listdir(self.path("tmp")), [])

    def test_drill_proves_and_forget_keeps_the_proof(self):
        self.back_up()
        out, _ = self.ok("drill", "-i", self.path("recovery.key"))
        self.assertIn("Proven: shop #1", out)
        self.assertEqual(os.listdir(self.path("tmp")), [])
        for _ in range(3):
            self.back_up()
        self.assertEqual([s["state"] for s in self.snapshots()], ["proven", "stored", "stored", "stored"])
        dry, _ = self.ok("forget", "--keep-last", "1", "--dry-run")
        self.assertIn("last proven", dry)
        self.assertEqual(len(self.snapshots()), 4)
        self.ok("forget", "--keep-last", "1")
        self.assertEqual([s["seq"] for s in self.snapshots()], [1, 4])
        self.assertEqual(len(self.snapshots("--all")), 4)
        self.ok("verify")
        self.expect(1, "restore", self.snapshots("--all")[1]["id"], "-i", self.path("recovery.key"),
                    "-o", self.path("x"))

    def test_backup_with_drill_needs_no_recovery_key(self):
        out, _ = self.back_up("--drill")
        self.assertIn("Proven: shop #1", out)
        self.assertEqual(self.snapshots()[0]["state"], "proven")

    def test_what_a_killed_drill_left_is_removed_by_the_next(self):
        self.back_up()
        for name in ("left", "busy", "other"):
            os.makedirs(self.path("tmp", "sealane-drill-" + name, "restored"))
            with open(self.path("tmp", "sealane-drill-" + name, "restored", "plain"), "w", encoding="utf-8") as file:
                file.write("what the drill had restored")
        with open(self.path("tmp", "sealane-drill-busy", "lock"), "w", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            expected = ["sealane-drill-busy"]
            if os.geteuid() == 0:  # another user's is his
                os.chown(self.path("tmp", "sealane-drill-other"), 65534, 65534)
                expected.append("sealane-drill-other")
            self.ok("drill", "-i", self.path("recovery.key"))
            self.assertEqual(sorted(os.listdir(self.path("tmp"))), expected)
            self.assertTrue(os.path.exists(self.path("tmp", "sealane-drill-busy", "restored", "plain")))

    def test_restore_to_file_and_stdout(self):
        self.back_up()
        self.ok("restore", "latest:shop", "-i", self.path("recovery.key"), "-o", self.path("dump.db"))
        self.assertEqual(sqlite3.connect(self.path("dump.db")).execute("PRAGMA integrity_check").fetchone(), ("ok",))
        result = self.run_program("restore", "latest", "-i", self.path("recovery.key"), "-o", "-")
        with open(self.path("dump.db"), "rb") as file:
            self.assertEqual(result.stdout, file.read())
        self.expect(2, "restore", "latest", "-i", self.path("recovery.key"), "-o", self.path("dump.db"))
        # What is no regular file is not replaced by one, whatever was said: think of /dev/null.
        os.mkfifo(self.path("pipe"))
        os.symlink("dump.db", self.path("link"))
        for name in ("pipe", "link"):
            before = os.lstat(self.path(name))
            for to in (("-o", self.path(name)), ("--to", "sqlite:" + self.path(name))):
                self.expect(2, "restore", "latest", "-i", self.path("recovery.key"), *to, "--overwrite")
            self.assertEqual(os.lstat(self.path(name)).st_ino, before.st_ino)

    def test_restore_never_replaces_a_key(self):
        self.back_up()
        for name in (self.path("recovery.key"), self.path("home", "identity")):
            with open(name, "rb") as file:
                before = file.read()
            _, err = self.expect(2, "restore", "latest", "-i", self.path("recovery.key"), "-o", name, "--overwrite")
            self.assertIn("is not replaced", err)
            _, err = self.expect(2, "restore", "latest", "-i", self.path("recovery.key"), "--to", "sqlite:" + name,
                                 "--overwrite")
            self.assertIn("is not replaced", err)
            with open(name, "rb") as file:
                self.assertEqual(file.read(), before)

    @need("age", "zstd")
    def test_stock_tools_open_it(self):
        self.back_up()
        self.ok("restore", "latest", "-i", self.path("recovery.key"), "-o", self.path("ours"))
        plain = subprocess.run(f"age -d -i {self.path('recovery.key')} {self.objects()[0]} | zstd -dq",
                               shell=True, capture_output=True, check=True).stdout
        with open(self.path("ours"), "rb") as file:
            self.assertEqual(file.read(), plain)

    @need("ssh-keygen")
    def test_stock_tools_check_the_signature(self):
        self.back_up()
        commit = self.objects(suffix="commit")[0]
        with open(commit, encoding="utf-8") as file:
            text, signature = file.read().split("-----BEGIN", 1)
        with open(self.path("sig"), "w", encoding="utf-8") as file:
            file.write("-----BEGIN" + signature)
        with open(self.path("home", "identity.pub"), encoding="utf-8") as file:
            key = file.read()
        with open(self.path("signers"), "w", encoding="utf-8") as file:
            file.write("shop " + key)
        subprocess.run(["ssh-keygen", "-Y", "verify", "-f", self.path("signers"), "-I", "shop", "-n",
                        "sealane-commit@v1", "-s", self.path("sig")], input=text.encode(), check=True,
                       capture_output=True)

    def test_wrong_key(self):
        self.back_up()
        for key in ("other.key", "home/identity"):
            _, err = self.expect(12, "restore", "latest", "-i", self.path(key), "-o", self.path("x"))
            self.assertIn("key", err)
            self.assertFalse(os.path.exists(self.path("x")))
        self.expect(12, "drill", "-i", self.path("other.key"))
        self.expect(12, "verify", "--open", "-i", self.path("other.key"))

    def test_every_object_that_is_damaged_is_named(self):
        self.back_up()
        files = self.objects() + self.objects(suffix="details.age")
        for name in files:
            for damage in ("flip", "cut", "longer", "gone", "pipe", "link"):
                copy = self.path("copy")
                shutil.rmtree(copy, ignore_errors=True)
                shutil.copytree(self.path("repo"), copy)
                victim = name.replace(self.path("repo"), copy)
                if damage == "flip":
                    flip(victim)
                elif damage == "cut":
                    os.truncate(victim, os.path.getsize(victim) - 1)
                elif damage == "longer":
                    with open(victim, "ab") as file:
                        file.write(b"x")
                else:
                    os.remove(victim)
                if damage == "pipe":
                    os.mkfifo(victim)  # who waits for its other end waits for ever
                elif damage == "link":
                    os.symlink(name, victim)
                _, err = self.expect(30, "verify", "--repo", copy)
                self.assertIn(os.path.basename(name), err, damage)
                self.expect(30, "restore", "--repo", copy, "latest", "-i", self.path("recovery.key"),
                            "--to", "sqlite:" + self.path("never.db"))
                self.assertFalse(os.path.exists(self.path("never.db")))
                _, err = self.expect(30, "restore", "--repo", copy, "--stream", "latest", "-i",
                                     self.path("recovery.key"), "--to", "sqlite:" + self.path("never.db"))
                self.assertFalse(os.path.exists(self.path("never.db")))

    def test_an_object_that_was_sealed_again(self):
        """Nobody but a holder of the key can do it, and what is in it is what was signed: it is restored. But it is
        not what was stored, so it is not proven."""
        self.back_up()
        name = self.objects()[0]
        self.ok("open", "-i", self.path("recovery.key"), "-o", self.path("within"), name)
        self.ok("seal", "-r", self.recipient, "-o", self.path("again"), self.path("within"))
        self.assertEqual(os.path.getsize(self.path("again")), os.path.getsize(name))
        os.replace(self.path("again"), name)
        _, err = self.expect(30, "verify")
        self.assertIn(os.path.basename(name), err)
        for more in ("-o", self.path("plain")), ("--to", "sqlite:" + self.path("back.db")):
            self.ok("restore", "latest", "-i", self.path("recovery.key"), *more)
        rows = [sqlite3.connect(p).execute("SELECT * FROM orders ORDER BY id").fetchall()
                for p in (self.database, self.path("back.db"))]
        self.assertEqual(rows[0], rows[1])
        out, err = self.expect(30, "drill", "-i", self.path("recovery.key"))
        self.assertIn(os.path.basename(name), out + err)
        # What is in it decides.
        with open(self.path("within"), "ab") as file:
            file.write(b"x")
        self.ok("seal", "-r", self.recipient, "-o", self.path("again"), self.path("within"))
        os.replace(self.path("again"), name)
        self.expect(30, "restore", "latest", "-i", self.path("recovery.key"), "-o", self.path("other"))
        self.assertFalse(os.path.exists(self.path("other")))

    def test_a_database_that_is_damaged_is_backed_up_with_a_warning(self):
        with sqlite3.connect(self.database) as database:
            database.execute("CREATE INDEX by_name ON orders (name)")
        root, = database.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'by_name'").fetchone()
        size, = database.execute("PRAGMA page_size").fetchone()
        database.close()
        with open(self.database, "r+b") as file:
            file.seek((root - 1) * size)
            file.write(b"\x7f" * size)
        _, err = self.back_up(code=3)
        self.assertIn("damaged", err)
        self.assertIn("REINDEX", err)
        key = ("-i", self.path("recovery.key"))
        self.assertEqual([s["exit_status"] for s in self.snapshots(*key)], [3])
        _, err = self.expect(30, "restore", "latest", *key, "--to", "sqlite:" + self.path("back.db"))
        self.assertIn("--no-compare", err)
        self.assertFalse(os.path.exists(self.path("back.db")))
        self.ok("restore", "latest", *key, "--to", "sqlite:" + self.path("back.db"), "--no-compare")
        with open(self.database, "rb") as ours, open(self.path("back.db"), "rb") as back:
            self.assertEqual(ours.read(), back.read())
        self.expect(30, "drill", *key)
        # Its rows are there, and mending it ends the warning.
        with sqlite3.connect(self.database) as database:
            database.execute("PRAGMA writable_schema = ON")
            database.execute("DELETE FROM sqlite_schema WHERE name = 'by_name'")
        database.close()
        with sqlite3.connect(self.database) as database:
            database.execute("VACUUM")
        database.close()
        self.back_up()
        out, _ = self.ok("drill", *key)
        self.assertIn("Proven", out)

    def test_a_changed_commit_is_found(self):
        self.back_up()
        commit = self.objects(suffix="commit")[0]
        with open(commit, encoding="utf-8") as file:
            text = file.read()
        with open(commit, "w", encoding="utf-8") as file:
            file.write(text.replace('"plan": "shop"', '"plan": "shoq"').replace('"plan":"shop"', '"plan":"shoq"'))
        self.expect(30, "verify")

    def test_unknown_signer(self):
        self.back_up()
        stranger = {"SEALANE_HOME": self.path("stranger")}
        os.mkdir(self.path("stranger"), 0o700)
        _, err = self.expect(21, "restore", "latest", "-i", self.path("recovery.key"), "-o", self.path("x"),
                             env=stranger)
        self.assertIn("--host-key", err)
        self.ok("restore", "latest", "-i", self.path("recovery.key"), "-o", self.path("x"),
                "--host-key", self.path("home", "identity.pub"), env=stranger)

    def test_rolled_back_repository(self):
        self.back_up()
        shutil.copytree(self.path("repo"), self.path("old"))
        self.back_up()
        shutil.rmtree(self.path("repo"))
        shutil.copytree(self.path("old"), self.path("repo"))
        _, err = self.expect(30, "verify")
        self.assertIn("rolled back", err.lower().replace("-", " "))
        self.back_up(code=30)
        # What the message advises if there is no newer state.
        self.assertIn("heads", err)
        os.remove(self.path("home", "heads"))
        self.back_up()
        self.ok("verify")

    def test_forked_chain(self):
        self.back_up()
        shutil.copytree(self.path("repo"), self.path("other"))
        self.back_up()
        os.remove(self.path("home", "heads"))
        self.back_up("--repo", self.path("other"))
        _, err = self.expect(30, "repo", "copy", self.path("other"), self.path("repo"))
        self.assertIn("exists twice", err)

    def test_copy_resumes_and_is_complete(self):
        for _ in range(3):
            self.back_up()
        self.ok("drill", "-i", self.path("recovery.key"))
        self.ok("repo", "copy", self.path("repo"), self.path("usb"))
        out, _ = self.ok("repo", "copy", self.path("repo"), self.path("usb"))
        self.assertIn("Copied 0 snapshots", out)
        self.ok("verify", "--repo", self.path("usb"))
        self.assertEqual([s["state"] for s in self.snapshots("--repo", self.path("usb"))],
                         ["stored", "stored", "proven"])

    def test_a_misspelt_name_is_no_success(self):
        """"Verified 0 snapshots" and "every snapshot is proven" would be green lies."""
        self.back_up()
        key = ("-i", self.path("recovery.key"))
        for words in (("verify",), ("verify", "--open", *key), ("snapshots",), ("drill", "--all", *key),
                      ("drill", *key), ("forget", "--keep-last", "1"), ("forget", "--keep-last", "1", "--dry-run")):
            for more in (("--plan", "shpo"), *((("--host", "nobody"),) if "drill" not in words else ())):
                _, err = self.expect(2, *words, *more)
                self.assertIn("there is no snapshot of a " + more[0][2:], err)
                self.assertIn("`sealane snapshots`", err)
        for words in (("verify",), ("forget", "--keep-last", "1"), ("drill", "--all", *key)):
            self.ok(*words, "--plan", "shop")
        # A fault of the repository is said before a fault of the name.
        shutil.copytree(self.path("repo"), self.path("bad"))
        flip(self.objects("bad", "commit")[0])
        for words in (("verify",), ("drill", "--all", *key)):
            self.expect(30, *words, "--repo", self.path("bad"), "--plan", "shpo")

    def test_nothing_to_prove_is_said(self):
        _, err = self.ok("drill", "--all", "-i", self.path("recovery.key"))
        self.assertIn("there is no snapshot yet", err)

    def test_flags_that_would_do_nothing_are_refused(self):
        self.back_up()
        key = ("-i", self.path("recovery.key"))
        for words, wanted in (
                (("restore", "latest", *key, "--to", "sqlite:" + self.path("x"), "--only", "database"), "--only"),
                (("restore", "latest", *key, "-o", self.path("x"), "--no-compare"), "--no-compare"),
                (("drill", "latest", *key, "--plan", "shop"), "--plan"),
                (("backup", "--source", "sqlite:" + self.database, "-r", self.recipient, "--work-dir",
                  self.path("tmp")), "--work-dir")):
            _, err = self.expect(2, *words)
            self.assertIn(wanted, err)
        self.assertFalse(os.path.exists(self.path("x")))
        self.assertEqual(len(self.snapshots()), 1)

    def test_a_drill_that_cannot_be_is_known_before_the_work(self):
        _, err = self.back_up("--drill", "--work-dir", self.path("nowhere"), code=1)
        self.assertIn("its folder is missing", err)
        self.assertEqual(self.snapshots(), [])

    def test_a_snapshot_of_another_kind_costs_nothing(self):
        os.mkdir(self.path("tree"))
        self.back_up()
        self.expect(0, "backup", "--source", "file:" + self.path("tree"), "--plan", "tree", "-r", self.recipient)
        with open(self.database, "rb") as file:
            before = file.read()
        for plan, to in (("tree", "sqlite:" + self.database), ("shop", "file:" + self.path("home"))):
            _, err = self.expect(2, "restore", "latest:" + plan, "-i", self.path("recovery.key"), "--to", to,
                                 "--overwrite")
            self.assertIn("name a target of its kind", err)
        with open(self.database, "rb") as file:
            self.assertEqual(file.read(), before)
        self.assertTrue(os.path.exists(self.path("home", "identity")))

    def test_a_dump_says_what_opens_it(self):
        os.mkdir(self.path("tree"))
        with open(self.path("tree", "file"), "wb") as file:
            file.write(b"content")
        self.back_up(source="file:" + self.path("tree"))
        tar = self.path("tree.tar")
        _, err = self.ok("restore", "latest", "-i", self.path("recovery.key"), "-o", tar)
        hint = err.split("next: ", 1)[1].strip()
        self.assertTrue(hint.endswith("-C FOLDER < " + tar), hint)
        os.mkdir(self.path("FOLDER"))
        subprocess.run(["sh", "-c", hint], cwd=self.folder, check=True)
        with open(self.path("FOLDER", "file"), "rb") as file:
            self.assertEqual(file.read(), b"content")

    def test_a_repository_is_no_copy_of_itself(self):
        self.back_up()
        os.symlink("repo", self.path("link"))
        for to in ("repo", "link"):
            _, err = self.expect(2, "repo", "copy", self.path("repo"), self.path(to))
            self.assertIn("no copy of it", err)

    def test_repository_errors(self):
        self.expect(10, "snapshots", "--repo", self.path("nowhere"))
        self.expect(2, "repo", "init", self.path("home"))
        self.expect(2, "backup", "--source", "sqlite:" + self.database)
        with open(self.path("repo", "repo.json"), encoding="utf-8") as file:
            text = file.read()
        with open(self.path("repo", "repo.json"), "w", encoding="utf-8") as file:
            file.write(text.replace('"format": 1', '"format": 2').replace('"format":1', '"format":2'))
        _, err = self.expect(1, "snapshots")
        self.assertIn("newer", err)

    def test_source_errors(self):
        for source, wanted in (("sqlite:" + self.path("missing.db"), "missing.db"),
                               ("ftp://x", "ftp"), ("nonsense", "nonsense")):
            result = self.run_program("backup", "--source", source, "--plan", "p", "-r", self.recipient)
            self.assertNotEqual(result.returncode, 0, source)
            self.assertIn(wanted, result.stderr.decode())
        self.assertEqual(self.snapshots(), [])
        with open(self.path("junk.db"), "wb") as file:
            file.write(b"not a database at all" * 100)
        self.back_up(code=1, source="sqlite:" + self.path("junk.db"))
        self.assertEqual(self.snapshots(), [])

    def test_refuses_to_seal_to_itself(self):
        with open(self.path("home", "identity.pub"), encoding="utf-8") as file:
            own = file.read().strip()
        args = ["backup", "--source", "sqlite:" + self.database, "--plan", "shop", "-r", own]
        _, err = self.expect(2, *args)
        self.assertIn("--self-readable", err)
        self.ok(*args, "--self-readable")

    def test_locked(self):
        with subprocess.Popen([PROGRAM, "backup", "--source", "stdin:x", "--plan", "shop", "-r", self.recipient],
                              stdin=subprocess.PIPE, env=self.env, stderr=subprocess.PIPE) as slow:
            slow.stdin.write(b"x" * (8 << 20))
            slow.stdin.flush()
            deadline = time.monotonic() + 60
            while not self.temporaries():
                self.assertLess(time.monotonic(), deadline, "the slow backup never started")
                time.sleep(0.01)
            self.back_up(code=11)
            slow.stdin.close()
            self.assertEqual(slow.wait(timeout=60), 0)
        self.back_up()

    def test_interrupt_leaves_nothing(self):
        with subprocess.Popen([PROGRAM, "backup", "--source", "stdin:x", "--plan", "big", "-r", self.recipient],
                              stdin=subprocess.PIPE, env=self.env, stderr=subprocess.PIPE) as process:
            process.stdin.write(b"x" * (8 << 20))
            process.stdin.flush()
            deadline = time.monotonic() + 60
            while not self.temporaries():
                self.assertLess(time.monotonic(), deadline, "the backup never started")
                time.sleep(0.01)
            # Twice, as timeout(1) and the impatient do: the second must not stop the cleaning up.
            process.send_signal(signal.SIGINT)
            time.sleep(0.001)
            process.send_signal(signal.SIGINT)
            self.assertEqual(process.wait(timeout=60), 130)
            process.stdin = None
        self.assertEqual(self.temporaries(), [])
        self.assertEqual(self.snapshots(), [])
        self.ok("verify")

    def test_consistent_under_a_writer(self):
        stop = threading.Event()

        def write():
            connection = sqlite3.connect(self.database, timeout=30)
            connection.execute("PRAGMA journal_mode=WAL")
            n = 0
            while not stop.is_set():
                n += 1
                with connection:
                    connection.execute("INSERT INTO orders (name, total) VALUES ('a', 1)")
                    connection.execute("INSERT INTO orders (name, total) VALUES ('b', -1)")
            connection.close()

        writer = threading.Thread(target=write)
        writer.start()
        try:
            for _ in range(3):
                self.back_up("--drill")
        finally:
            stop.set()
            writer.join()
        self.ok("restore", "latest", "-i", self.path("recovery.key"), "--to", "sqlite:" + self.path("back.db"))
        pairs = sqlite3.connect(self.path("back.db")).execute(
            "SELECT sum(name = 'a'), sum(name = 'b') FROM orders").fetchone()
        self.assertEqual(pairs[0], pairs[1])

    def test_files(self):
        tree = self.path("tree")
        os.makedirs(os.path.join(tree, "a", "b"))
        for i in range(50):
            with open(os.path.join(tree, "a", f"file {i}"), "wb") as file:
                file.write(os.urandom(i * 100))
        os.symlink("file 1", os.path.join(tree, "a", "link"))
        os.link(os.path.join(tree, "a", "file 2"), os.path.join(tree, "a", "b", "hard"))
        with open(os.path.join(tree, "sparse"), "wb") as file:
            file.seek(50 << 20)
            file.write(b"end")
        self.back_up("--drill", source="file:" + tree)
        self.ok("restore", "latest", "-i", self.path("recovery.key"), "--to", "file:" + self.path("out"))
        self.assertEqual(subprocess.run(["diff", "-r", "--no-dereference", tree, self.path("out")],
                                        capture_output=True).stdout, b"")
        self.assertLess(os.stat(self.path("out", "sparse")).st_blocks, 1000)
        self.expect(2, "restore", "latest", "-i", self.path("recovery.key"), "--to", "file:" + self.path("out"))

    def test_unreadable_files_are_named(self):
        tree = self.path("tree")
        os.mkdir(tree)
        for name in ("open", "secret"):
            with open(os.path.join(tree, name), "w", encoding="utf-8") as file:
                file.write(name)
        os.chmod(os.path.join(tree, "secret"), 0)
        user = self.plain_user()
        _, err = self.back_up(code=3, source="file:" + tree, user=user)
        self.assertIn("secret", err)
        self.assertEqual(len(self.snapshots()), 1)
        # Who restores it hears of it too: an exact restore lacks what the snapshot never had.
        for to in (("--to", "file:" + self.path("tmp", "out")), ("-o", self.path("tmp", "out.tar"))):
            _, err = self.ok("restore", "latest", "-i", self.path("recovery.key"), *to, user=user)
            self.assertRegex(err, "lacks.*secret")
        _, err = self.expect(2, "restore", "latest", "-i", self.path("recovery.key"), "-o", self.path("tmp", "out.tar"),
                             user=user)
        self.assertIn("--overwrite", err)

    def test_stdin(self):
        data = os.urandom(5 << 20)
        self.ok("backup", "--source", "stdin:dump", "--plan", "pipe", "-r", self.recipient, stdin=data)
        result = self.run_program("restore", "latest:pipe", "-i", self.path("recovery.key"), "-o", "-")
        self.assertEqual(result.stdout, data)
        self.expect(2, "drill", "latest:pipe", "-i", self.path("recovery.key"))
        # A nightly drill of all is not spoilt by what nobody can prove, and does not hide it.
        for _ in range(2):
            _, err = self.ok("drill", "--all", "-i", self.path("recovery.key"))
            self.assertIn("has no fingerprint to compare with", err)
            self.back_up()
        out, _ = self.ok("drill", "--all", "-i", self.path("recovery.key"))
        self.assertIn("Proven: shop #2", out)
        self.expect(12, "drill", "--all", "-i", self.path("other.key"))

    def test_several_sources_get_a_chain_each(self):
        other = self.make_database("other.db", 10)
        os.mkdir(self.path("tree"))
        messages = self.json_lines("backup", "--source", "sqlite:" + self.database, "--source", "sqlite:" + other,
                                   "--source", "file:" + self.path("tree"), "--plan", "night", "-r", self.recipient)
        plans = [m["snapshot"]["plan"] for m in messages if m["message_type"] == "backup"]
        self.assertEqual(plans, ["night.sqlite-shop", "night.sqlite-other", "night.file"])
        # One that fails does not keep the others from being saved.
        self.expect(1, "backup", "--source", "sqlite:" + self.path("missing"), "--source", "sqlite:" + other,
                    "--plan", "two", "-r", self.recipient)
        self.assertIn("two.sqlite-other", [s["plan"] for s in self.snapshots()])

    def test_sources_without_a_plan_do_not_share_a_chain(self):
        plans = set()
        for folder in ("a", "b"):
            os.mkdir(self.path(folder))
            for url in ("sqlite:" + self.make_database(folder + "/app.db", 10), "file:" + self.path(folder)):
                for _ in range(2):
                    messages = self.json_lines("backup", "--source", url, "-r", self.recipient)
                plans.add(messages[-1]["snapshot"]["plan"])
                self.assertEqual(messages[-1]["snapshot"]["seq"], 2)
        self.assertEqual(len(plans), 4)


if __name__ == "__main__":
    main()
