"""Goal: a warm copy that is cut again and again loses no key, brings no expired one back, changes nothing newer, and
repairs a small difference at a small price. Method: a private Redis with a million keys of all types (fewer in
instrumented builds) is pushed through `warm serve`; pusher or server are killed at 100 random moments; one printed
seed."""
import json
import os
import random
import subprocess
import time

from support import PROGRAM, RELEASE, main, need
from warm_stage import WarmStage

KEYS = 1_000_000 if RELEASE else 100_000
CUTS = 100 if RELEASE else 12
# Each of seven keys is of another type, every third expires some day, and one in a thousand soon.
FILL = """
local from, to = tonumber(ARGV[1]), tonumber(ARGV[2])
for i = from, to do
  local kind, key = i % 7, 'key:' .. i
  if kind == 0 then redis.call('SET', key, 'value ' .. i)
  elseif kind == 1 then redis.call('SET', key, i)
  elseif kind == 2 then redis.call('RPUSH', key, 'a', i, 'c')
  elseif kind == 3 then redis.call('HSET', key, 'field', i, 'other', 'x')
  elseif kind == 4 then redis.call('SADD', key, i, 'member')
  elseif kind == 5 then redis.call('ZADD', key, i, 'one', 2.5, 'two')
  else redis.call('XADD', key, '1-' .. (i + 1), 'field', i) end
  if i % 3 == 0 then redis.call('PEXPIRE', key, 86400000 + i) end
  if i % 1000 == 999 then redis.call('PEXPIRE', key, 2000) end
end
"""


@need("redis-server", "redis-cli")
class Cuts(WarmStage):
    def fill_all(self):
        step = 50_000
        for start in range(0, KEYS, step):
            self.cli(self.shop, "EVAL", FILL, "0", str(start), str(min(start + step, KEYS) - 1))

    def journal(self):
        """How far the copy came: what is in the files that say it."""
        out = []
        folder = self.path("home", "warm")
        for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
            if not name.endswith(".lock") and not name.startswith(".tmp"):
                try:
                    with open(os.path.join(folder, name), "rb") as file:
                        out.append(file.read())
                except FileNotFoundError:  # a complete run has just removed it
                    pass
        return out

    def test_cut_at_random_moments(self):
        seed = int(os.environ.get("SEALANE_TEST_SEED", time.time_ns() % 1000000))
        print(f"seed {seed} (set SEALANE_TEST_SEED to repeat), {KEYS} keys, {CUTS} cuts")
        chance = random.Random(seed)
        self.fill_all()
        newer = [f"key:{i}" for i in chance.sample(range(0, KEYS, 7), 50) if i % 1000 != 999]
        for key in newer:
            self.cli(self.vault, "SET", key, "written on the other side")
        server, address = self.serve(*self.keys, into=self.vault)
        push = [PROGRAM, "warm", "push", "--from", self.shop, "--to", address, *self.keys, "--part-size", "1", "--json"]
        cuts = resumed = 0
        while cuts < CUTS:
            with subprocess.Popen([*push, "--rate", "12000000"], env=self.env, stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL) as pusher:
                # So many more parts are confirmed, and then some moment of the next.
                for _ in range(chance.randrange(3)):
                    before = self.journal()
                    while pusher.poll() is None and self.journal() == before:
                        time.sleep(0.002)
                time.sleep(chance.uniform(0, 0.1))
                if pusher.poll() is not None:
                    continue
                cuts += 1
                resumed += self.journal() != []
                if chance.randrange(10) == 0:
                    server.kill()
                    server.communicate()
                    server, address = self.serve(*self.keys, into=self.vault)
                pusher.kill()
        goes_on = self.journal() != []
        report = json.loads(subprocess.run(push, env=self.env, capture_output=True, check=True).stdout.splitlines()[-1])
        self.assertEqual((report["verdict"], report["failed"]), ("complete", 0))
        print(f"{cuts} cuts, {report['keys']} keys in the last run")
        self.assertGreater(resumed, CUTS // 3)
        self.assertEqual(report["resumed"], goes_on)
        self.stop(server)

        # What expired meanwhile is on neither side; counting makes Redis look at each.
        soon = self.cli(self.vault, "EVAL", "local n = 0 for i = 999, tonumber(ARGV[1]), 1000 do "
                        "n = n + redis.call('EXISTS', 'key:' .. i) end return n", "0", str(KEYS))
        self.assertEqual(soon, "0", "an expired key came back")
        self.assertEqual(self.cli(self.vault, "DBSIZE"), str(KEYS - KEYS // 1000))
        for key in newer:
            self.assertEqual(self.cli(self.vault, "GET", key), "written on the other side")
            self.cli(self.vault, "SET", key, self.cli(self.shop, "GET", key))
            if self.cli(self.shop, "PTTL", key) != "-1":
                self.cli(self.vault, "PEXPIREAT", key, self.cli(self.shop, "PEXPIRETIME", key))
        self.ok("warm", "compare", self.shop, self.vault)

        # One key in a hundred changes: the repair costs no more than two hundredths of a copy.
        self.cli(self.shop, "EVAL", "for i = 1, tonumber(ARGV[1]), 100 do redis.call('DEL', 'key:' .. i) "
                 "redis.call('SET', 'key:' .. i, 'new') end", "0", str(KEYS - 1))
        fixed = self.json_lines("warm", "compare", self.shop, self.vault, "--repair")[-1]
        self.assertTrue(fixed["equal"])
        # What both looks took, the one that found it and the one that proves it.
        price = fixed["bytes_sent"] + fixed["before"]["reconcile_bytes"] + fixed["reconcile_bytes"]
        print(f"repair of {fixed['keys_sent']} keys: {price} bytes, a full copy {fixed['full_copy_bytes']}")
        self.assertEqual(fixed["keys_sent"], KEYS // 100)
        self.assertLessEqual(price, fixed["full_copy_bytes"] * 2 // 100)


if __name__ == "__main__":
    main()
