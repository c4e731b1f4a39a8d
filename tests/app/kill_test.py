"""Goal: kill -9 at any moment loses nothing that was acknowledged and leaves a readable repository. Method: 200
processes (40 in instrumented builds) of backup, forget, drill and copy, each killed after a random time below
what it would take; one printed seed."""
import os
import random
import subprocess
import time

from support import PROGRAM, RELEASE, Stage, main

KILLS = 200 if RELEASE else 40


class Kill(Stage):
    def test_killed_at_random_moments(self):
        self.make_repository()
        database = self.make_database(rows=20000)
        seed = int(os.environ.get("SEALANE_TEST_SEED", time.time_ns() % 1000000))
        print(f"seed {seed} (set SEALANE_TEST_SEED to repeat), {KILLS} kills")
        chance = random.Random(seed)
        key = self.path("recovery.key")
        backup = ["backup", "--source", "sqlite:" + database, "--plan", "shop", "-r", self.recipient]
        work = {
            "backup": backup,
            "backup --drill": backup + ["--drill"],
            "forget": ["forget", "--keep-last", "4"],
            "drill": ["drill", "-i", key],
            "copy": ["repo", "copy", self.path("repo"), self.path("usb")],
        }
        took = {}
        for name, args in work.items():
            start = time.monotonic()
            self.ok(*args)
            took[name] = time.monotonic() - start
        acknowledged = self.ids()
        killed = 0
        for turn in range(KILLS):
            name = chance.choice(list(work))
            with subprocess.Popen([PROGRAM, *work[name]], env=self.env, stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL) as process:
                try:
                    process.wait(timeout=chance.uniform(0, took[name] * 1.1))
                except subprocess.TimeoutExpired:
                    process.kill()
                killed += process.wait() == -9
                if process.returncode >= 0:
                    self.assertEqual(process.returncode, 0, f"turn {turn}: {name}")
            now = self.ids()  # a repository that cannot be read fails here
            self.assertLessEqual(acknowledged, now, f"turn {turn}: {name} lost a snapshot")
            acknowledged = now
            if turn % 20 == 19:
                self.ok("verify")
        self.ok("verify", "--open", "-i", key)
        self.ok(*work["copy"])
        self.ok("verify", "--repo", self.path("usb"))
        self.ok(*backup)
        # A prover holds no lock, so nobody may clean up after one that died; readers pass over it.
        left = [os.path.join(f, n) for f, folders, names in os.walk(self.path("repo")) for n in folders + names
                if ".tmp" in n and "/proofs/" not in f]
        self.assertEqual(left, [], "the next writer cleans up after a crashed one")
        print(f"{killed} of {KILLS} were killed in the middle; {len(acknowledged)} snapshots, none lost")
        self.assertGreater(killed, KILLS // 4, "too few kills hit: the test proves little")

    def ids(self):
        return {m["id"] for m in self.json_lines("snapshots", "--all") if m["message_type"] == "snapshot"}


if __name__ == "__main__":
    main()
