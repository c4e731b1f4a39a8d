"""Goal: a hub that is killed with a full queue keeps its word: each message that it accepted arrives, exactly once.
Method: the release program; 10,000 messages are sent while the hub is killed again and again, it is killed once more
with all of them in its queue, and while they are fetched; every acceptance is compared with every arrival."""
import base64
import collections
import signal
import sys
import tempfile
import time

from hub_stage import HubStage, PATIENCE, Running
from support import RELEASE, main

COUNT = 10_000


class HubKill(HubStage):
    def kill(self, hub):
        hub.stop(signal.SIGKILL)
        return self.start_hub(listen=self.address)

    def kill_at(self, hub, running, kind, marks):
        """Kills the hub each time when so many messages of that kind were printed."""
        for mark in marks:
            running.wait_for_count(kind, mark)
            hub = self.kill(hub)
        return hub

    def test_what_was_accepted_arrives_exactly_once(self):
        hub = self.start_hub()
        self.enrol("shop", "prover")
        with tempfile.TemporaryFile() as lines:
            lines.write(b"".join(b"%d\n" % number for number in range(COUNT)))
            lines.seek(0)
            sender = Running(self, "send", "prover", "--plain", "--lines", "--timeout", str(PATIENCE),
                             env=self.home("shop"), stdin=lines)
            hub = self.kill_at(hub, sender, "message_sent", [1, 1000, 4000])
            sender.wait_for_count("message_sent", COUNT)
            self.assertEqual(sender.process.wait(PATIENCE), 0)
        accepted = sender.wait_for("message_sent", count=COUNT, receipt="accepted")
        self.assertEqual(sorted(m["line"] for m in accepted), list(range(1, COUNT + 1)))
        self.assertEqual(self.status()["queued_messages"], COUNT)
        hub = self.kill(hub)
        self.assertEqual(self.status()["queued_messages"], COUNT)
        listener = self.listen("prover", "--count", str(COUNT))
        hub = self.kill_at(hub, listener, "message", [1, 2000, 7000])
        listener.wait_for_count("message", COUNT)
        self.assertEqual(listener.process.wait(PATIENCE), 0)
        arrived = collections.Counter(int(base64.b64decode(m["data_base64"])) for m in
                                      listener.wait_for("message", count=COUNT))
        self.assertEqual(len(arrived), COUNT)
        self.assertEqual(set(arrived.values()), {1})
        # Nothing is left, and nothing comes again at the next start.
        deadline = time.monotonic() + PATIENCE
        while self.status()["queued_messages"] and time.monotonic() < deadline:
            time.sleep(0.1)
        self.assertEqual(self.status()["queued_messages"], 0)


if __name__ == "__main__":
    if not RELEASE:
        print("hub_kill: the release build does this")
        sys.exit(77)
    main()
