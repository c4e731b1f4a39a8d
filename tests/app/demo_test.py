"""Goal: the demo that the README promises works and leaves nothing behind. Method: the whole story on small data."""
import glob
import os
import subprocess
import unittest

from support import PROGRAM, main, need

DEMO = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "demo", "demo.sh")


class Demo(unittest.TestCase):
    @need("redis-server", "redis-cli", "sqlite3", "age", "zstd", "psql", "pg_restore")
    @unittest.skipUnless(glob.glob("/usr/lib/postgresql/*/bin/initdb"), "not installed: postgresql")
    def test_the_night_the_disk_dies(self):
        before = set(glob.glob("/tmp/sealane-demo.*"))
        result = subprocess.run(["bash", DEMO, PROGRAM], capture_output=True, text=True, timeout=500,
                                stdin=subprocess.DEVNULL, env={**os.environ, "SEALANE_DEMO_SCALE": "0.02"})
        self.assertEqual(result.returncode, 0, result.stdout[-3000:] + result.stderr[-3000:])
        for wanted in ("(exit code 12)", "(exit code 30)", "Proven: shop.postgresql #1", "Proven: shop.sqlite #1",
                       "Proven: shop.redis #1", "equal to its fingerprint", "orders restored by hand"):
            self.assertIn(wanted, result.stdout)
        self.assertEqual(result.stdout.count("equal to its fingerprint"), 3)
        self.assertEqual(set(glob.glob("/tmp/sealane-demo.*")) - before, set(), "left behind")


if __name__ == "__main__":
    main()
