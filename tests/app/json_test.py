"""Goal: --json keeps its promise (docs/json.md): every line is one object with message_type and schema, and no
field disappears. Method: a golden file of message types and field names; a field may be added there, never
removed."""
import json
import os

from hub_stage import HubStage, known_keys
from support import main, need
from warm_stage import WarmStage

GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "json_golden.json")


def shape(value, prefix=""):
    """All field names of a message, nested ones with a dot, those of list items with []."""
    if isinstance(value, dict):
        return {name for key, item in value.items() for name in {prefix + key} | shape(item, prefix + key + ".")}
    if isinstance(value, list):
        return {name for item in value for name in shape(item, prefix[:-1] + "[].")}
    return set()


class Golden:
    """What was seen in one test, compared with what the golden file says of its message types."""

    def __init__(self, test, belongs):
        self.test, self.belongs, self.seen = test, belongs, {}

    def note(self, messages):
        for message in messages:
            kind = message["message_type"]
            self.test.assertEqual(message["schema"], 1, message)
            if kind not in ("error", "warning") or self.belongs(kind):  # which every command may say
                self.seen.setdefault(kind, set()).update(shape(message))

    def run(self, *args, code=0, **kwargs):
        self.note(self.test.json_lines(*args, code=code, **kwargs))

    def compare(self):
        with open(GOLDEN, encoding="utf-8") as file:
            golden = {kind: set(fields) for kind, fields in json.load(file).items()}
        if os.environ.get("SEALANE_UPDATE_GOLDEN"):
            kept = {kind: fields for kind, fields in golden.items() if not self.belongs(kind)}
            with open(GOLDEN, "w", encoding="utf-8") as file:
                json.dump({k: sorted(v) for k, v in sorted({**kept, **self.seen}.items())}, file, indent=1)
                file.write("\n")
            return
        golden = {kind: fields for kind, fields in golden.items() if self.belongs(kind)}
        for kind, fields in golden.items():
            self.test.assertIn(kind, self.seen, f"message type {kind} is gone")
            self.test.assertEqual(fields - self.seen[kind], set(), f"{kind} lost fields")
        for kind, fields in self.seen.items():
            self.test.assertIn(kind, golden, f"message type {kind} is not in the golden file")
            self.test.assertEqual(fields - golden[kind], set(), f"{kind} has fields that are not in the golden file")


def is_warm(kind):
    return kind.startswith("warm_")


class Json(HubStage):
    def test_messages_have_their_fields(self):
        golden = Golden(self, lambda kind: not is_warm(kind))
        run = golden.run
        self.make_keys()
        run("keygen", "-o", self.path("second"))
        run("keygen", "--recovery", "-o", self.path("third.key"))
        run("id")
        run("repo", "init", self.path("repo"))
        self.env["SEALANE_REPO"] = self.path("repo")
        database = self.make_database()
        run("backup", "--source", "sqlite:" + database, "--plan", "shop", "-r", self.recipient, "--drill")
        run("backup", "--source", "sqlite:" + database, "--plan", "shop", "-r", self.recipient)
        run("snapshots")
        run("snapshots", "-i", self.path("recovery.key"))
        run("verify")
        run("drill", "-i", self.path("recovery.key"))
        run("drill", "-i", self.path("recovery.key"), "--identity", self.path("second"), "--host-key",
            self.path("home", "identity.pub"))
        run("snapshots")
        run("restore", "latest", "-i", self.path("recovery.key"), "--to", "sqlite:" + self.path("back.db"))
        run("restore", "latest", "-i", self.path("recovery.key"), "-o", self.path("back"))
        run("forget", "--keep-last", "1", "--dry-run")
        run("repo", "copy", self.path("repo"), self.path("copy"))
        with open(self.path("plain"), "wb") as file:
            file.write(b"x" * 100000)
        run("seal", "-r", self.recipient, "-o", self.path("sealed"), self.path("plain"))
        run("open", "-i", self.path("recovery.key"), "-o", self.path("opened"), self.path("sealed"))
        run("version")
        run("snapshots", "--repo", self.path("nowhere"), code=10)
        self.run_hub(run, golden.note)
        golden.compare()

    def run_hub(self, run, note):
        config = self.path("hub.toml")
        with open(config, "w", encoding="utf-8") as file:
            file.write("[hub]\n")
        hub = self.start_hub("--config", config)
        self.enrol("shop", "prover")
        state = ["--state", self.path("hub")]
        with open(self.path("third.pem"), "w", encoding="utf-8") as file:
            file.write(known_keys()["stranger"]["public_pem"])
        run("hub", "enrol", "third", "--public-key", self.path("third.pem"), *state)
        run("hub", "remove", "third", *state)
        os.mkdir(self.path("inbox"))
        listener = self.listen("prover", "--presence", "--files", self.path("inbox"))
        run("hub", "clients", *state)
        run("hub", "status", *state)
        shop = self.home("shop")
        run("send", "prover", "--text", "hello", env=shop)
        run("send", "prover", "--plain", "--lines", stdin=b"one\ntwo\n", env=shop)
        self.ok("send", "prover", self.path("plain"), env=shop)
        run("chat", "prover", stdin=b"hello\n", env=shop)
        listener.wait_for("message", count=4)
        listener.wait_for("file_received")
        listener.wait_for("hub_state")
        with open(config, "a", encoding="utf-8") as file:
            file.write("log_messages = true\n")
        hub.wait_for("hub_settings")
        listener.stop()
        hub.stop()
        note(listener.messages)
        note(hub.messages)
        run("hub", "export", self.path("python"), *state)
        run("hub", "enrol", "--import", self.path("python"), "--state", self.path("imported"))


@need("redis-server", "redis-cli")
class WarmJson(WarmStage):
    def test_messages_have_their_fields(self):
        golden = Golden(self, is_warm)
        self.cli(self.shop, "MSET", "a", "1", "b", "2", "only here", "3")
        self.cli(self.vault, "MSET", "a", "other", "only there", "4")
        server, address = self.serve(*self.keys, into=self.vault)
        push = ["warm", "push", "--from", self.shop, "--to", address]
        self.expect(30, *push, "--plain")  # it is not signed, so it gets no answer
        golden.run(*push, *self.keys)
        golden.run("warm", "compare", self.shop, self.vault, code=30)
        golden.run("warm", "compare", self.shop, self.vault, "--repair", "--dry-run", code=30)
        self.shop_process.kill()
        self.shop_process.wait()
        rounds, _ = self.serve("--from", self.shop, "--peer", address, "--interval", "1", *self.keys)
        failed = json.loads(rounds.stdout.readline())
        golden.note([json.loads(self.first_line_of[server]), failed, *self.stop(server), *self.stop(rounds)])
        golden.compare()


if __name__ == "__main__":
    main()
