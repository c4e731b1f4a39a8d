"""Goal: a full disk gets one clear sentence, exit code 1, and costs nothing that was there or was acknowledged. Method:
every command that writes, on a real file system of a few MiB, which nobody but the test's mount namespace sees."""
import base64
import os
import signal
import subprocess

from hub_stage import PATIENCE, HubStage, Running
from support import PROGRAM, main, need
from warm_stage import WarmStage

SIZE = 4 << 20
ADVICE = "free some space"


class SmallDisk:
    """A file system of SIZE bytes at self.disk, in a mount namespace that one sleeping process keeps."""

    def make_disk(self):
        self.disk = self.path("disk")
        os.mkdir(self.disk, 0o700)
        own = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        script = f'mount -t tmpfs -o size={SIZE},mode=0700 tmpfs "$1" && echo made && exec sleep 100000'
        holder = subprocess.Popen(["unshare", "--mount", *own, "sh", "-c", script, "sh", self.disk],
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(holder.communicate)
        self.addCleanup(holder.kill)
        if holder.stdout.readline() != b"made\n":
            self.skipTest("no mount namespace can be made here: " + holder.stderr.read().decode().strip())
        self.outside = f"/proc/{holder.pid}/root{self.disk}"  # the same folder, seen from here
        self.inside = ["nsenter", "--target", str(holder.pid), "--mount"]
        if own:
            self.inside += ["--user", "--preserve-credentials"]

    def run_inside(self, *words, check=True):
        return subprocess.run([*self.inside, *words], capture_output=True, check=check, timeout=300, env=self.env)

    def on_disk(self):
        """Everything there, by its path below the disk."""
        found = self.run_inside("find", self.disk, "-mindepth", "1", "-type", "f", "-printf", "%P\n").stdout
        return sorted(found.decode().splitlines())

    def fill_but(self, left):
        """Leaves so many bytes free."""
        free = int(self.run_inside("stat", "-f", "-c", "%a", self.disk).stdout) * 4096
        self.run_inside("dd", "if=/dev/zero", f"of={self.disk}/ballast", "bs=4096", f"count={(free - left) // 4096}")

    def refused(self, *words):
        done = self.run_inside(PROGRAM, *words, check=False)
        error = done.stderr.decode()
        self.assertEqual(done.returncode, 1, f"{words}: {done.stdout} {error}")
        self.assertIn(ADVICE, error)
        return error

    def fine(self, *words):
        return self.run_inside(PROGRAM, *words)


@need("unshare", "nsenter", "find", "dd")
class FullDisk(SmallDisk, WarmStage):
    def setUp(self):
        super().setUp()
        self.make_disk()

    def redis(self, name, *more):  # one test alone wants them
        return None if name in ("shop", "vault") else super().redis(name, *more)

    def large_file(self):
        with open(self.path("large"), "wb") as file:
            file.write(os.urandom(2 * SIZE))
        return self.path("large")

    def test_sealing_and_opening_leave_nothing_behind(self):
        self.make_keys()
        plain, sealed = self.large_file(), self.path("large.age")
        self.ok("seal", "-r", self.recipient, "-o", sealed, plain)
        out = os.path.join(self.disk, "out")
        self.refused("seal", "-r", self.recipient, "-o", out, plain)
        self.assertEqual(self.on_disk(), [])
        self.refused("open", "-i", self.path("recovery.key"), "-o", out, sealed)
        self.assertEqual(self.on_disk(), [])
        self.run_inside("sh", "-c", 'echo old > "$1"', "sh", out)
        self.refused("open", "-i", self.path("recovery.key"), "--force", "-o", out, sealed)
        self.assertEqual(self.run_inside("cat", out).stdout, b"old\n", "what was there stays")

    def test_a_repository_keeps_what_it_has(self):
        self.make_keys()
        repo = os.path.join(self.disk, "repo")
        self.fine("repo", "init", repo)
        os.mkdir(self.path("small"))
        with open(self.path("small", "note"), "w", encoding="ascii") as file:
            file.write("kept\n")
        backup = ["backup", "--repo", repo, "--plan", "files", "-r", self.recipient, "--source"]
        self.fine(*backup, "file:" + self.path("small"))
        before = self.on_disk()
        os.mkdir(self.path("big"))
        os.rename(self.large_file(), self.path("big", "large"))
        self.refused(*backup, "file:" + self.path("big"))
        self.assertEqual(self.on_disk(), before, "the cut snapshot is gone")
        verify = ["verify", "--repo", repo, "--open", "-i", self.path("recovery.key")]
        self.fine(*verify)
        self.fine(*backup, "file:" + self.path("small"))
        self.assertIn(b"Verified 2 snapshots", self.fine(*verify).stdout)
        # A restore that does not fit leaves no half of a file.
        elsewhere = self.path("elsewhere")
        self.ok("repo", "init", elsewhere)
        self.ok("backup", "--repo", elsewhere, "--plan", "big", "-r", self.recipient, "--source",
                "file:" + self.path("big"))
        kept = self.on_disk()
        out = os.path.join(self.disk, "restored.tar")
        self.refused("restore", "latest", "--repo", elsewhere, "-i", self.path("recovery.key"), "-o", out)
        self.assertEqual(self.on_disk(), kept)
        # A copy that does not fit goes on where it was once there is room.
        copy = os.path.join(self.disk, "copy")
        self.refused("repo", "copy", elsewhere, copy)
        self.fine(*verify)

    @need("redis-server", "redis-cli")
    def test_a_warm_copy_in_a_file_is_whole_or_absent(self):
        shop = self.redis("third")
        value = base64.b64encode(os.urandom(60_000)).decode()
        self.cli(shop, stdin="".join(f"SET key:{i} {value}\n" for i in range(100)).encode())
        out = os.path.join(self.disk, "copy")
        self.refused("warm", "push", "--from", shop, "--to", out)
        self.assertEqual(self.on_disk(), [])
        # The same through a peer, which has the file: the pusher learns of it.
        address = "unix:" + self.path("channel")
        server = subprocess.Popen([*self.inside, PROGRAM, "warm", "serve", "--json", *self.keys, "--listen",
                                   address, "--into", out], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                  env=self.env)
        self.addCleanup(server.communicate)
        self.addCleanup(server.kill)
        self.assertIn(b"warm_serving", server.stdout.readline())
        _, error = self.expect(1, "warm", "push", "--from", shop, "--to", address, *self.keys)
        self.assertIn("could not apply a part: its disk is full", error)
        # What fits is taken all the same, and kept; that something failed is said at the end again.
        self.cli(shop, stdin="".join(f"DEL key:{i}\n" for i in range(2, 100)).encode())
        self.ok("warm", "push", "--from", shop, "--to", address, *self.keys, "--start-over")
        server.send_signal(signal.SIGTERM)
        told, _ = server.communicate(timeout=120)
        self.assertEqual(server.returncode, 0, told)
        self.assertIn("if they did not come again, ", told.decode())
        self.assertEqual(self.on_disk(), ["copy"])
        self.run_inside(PROGRAM, "warm", "compare", shop, out)
        # Where nothing fits there is no file.
        self.run_inside("rm", out)
        self.cli(shop, stdin="".join(f"SET key:{i} {value}\n" for i in range(100)).encode())
        server = subprocess.Popen([*self.inside, PROGRAM, "warm", "serve", "--json", *self.keys, "--listen",
                                   address, "--into", out], stdout=subprocess.PIPE, env=self.env)
        self.addCleanup(server.kill)
        self.assertIn(b"warm_serving", server.stdout.readline())
        self.expect(1, "warm", "push", "--from", shop, "--to", address, *self.keys, "--start-over")
        server.send_signal(signal.SIGTERM)
        told, _ = server.communicate(timeout=120)
        self.assertEqual(server.returncode, 1, told)
        self.assertIn(ADVICE, told.decode())
        self.assertEqual(self.on_disk(), [])


@need("unshare", "nsenter", "find", "dd")
class FullQueue(SmallDisk, HubStage):
    def test_a_hub_refuses_what_it_cannot_keep(self):
        self.make_disk()
        # Named by one path that serves inside and out.
        self.state = os.path.join(self.outside, "hub")
        hub = self.start_hub(prefix=self.inside)
        self.enrol("shop", "prover")
        self.fill_but(1 << 20)
        text = base64.b64encode(os.urandom(15_000)).decode()
        lines = "".join(f"{number} {text}\n" for number in range(200)).encode()
        with open(self.path("lines"), "wb") as file:
            file.write(lines)
        with open(self.path("lines"), "rb") as file:
            sender = Running(self, "send", "prover", "--plain", "--lines", env=self.home("shop"), stdin=file)
            code = sender.process.wait(PATIENCE)
        sender.stop()
        self.assertEqual(code, 20)
        self.assertIn("the hub cannot store it", sender.wait_for("error")[0]["message"])
        self.assertIn(ADVICE, hub.wait_for("warning")[0]["message"])
        accepted = {m["line"] for m in sender.messages if m["message_type"] == "message_sent"}
        self.assertGreater(len(accepted), 5)
        self.assertLess(len(accepted), 150)
        # With room again it goes on; all that was accepted is there, once.
        self.run_inside("rm", os.path.join(self.disk, "ballast"))
        hub.stop(signal.SIGKILL)
        self.start_hub(prefix=self.inside, listen=self.address)
        listener = self.listen("prover", "--count", str(len(accepted)))
        listener.wait_for_count("message", len(accepted))
        self.assertEqual(listener.process.wait(PATIENCE), 0)
        arrived = [int(base64.b64decode(m["data_base64"]).split()[0]) + 1 for m in listener.messages
                   if m["message_type"] == "message"]
        self.assertEqual(len(arrived), len(set(arrived)))
        self.assertLessEqual(accepted - set(arrived), set(), "accepted, and lost")


if __name__ == "__main__":
    main()
