#!/usr/bin/env python3
"""The shape of the tree, as a test. Prints every violation as FILE:LINE: [rule] what; exit 1 if any.

    tests/layering.py [ROOT]       check a tree (default: the one this file is in)
    tests/layering.py --self-test  prove on small trees that each rule catches what it is for

The rules stand in RULES below, each with its reason. A file that needs an exception gets it here, by
name, with the reason beside it.
"""
import pathlib
import re
import sys
import tempfile

# Bottom to top. A folder includes itself and what stands before it; folders in one tuple do not see
# each other. include/sealane/X counts as folder X.
LAYERS = [
    ("base",), ("crypto",), ("identity",), ("seal",), ("repo",), ("oplog",), ("mailbox",),
    ("session", "hub", "entropy", "sync", "agent"),
    ("flow",), ("net",), ("store",), ("backup",),
    ("warm",),  # warm copies: Redis by backup's URLs and RDB reader, peers by net and entropy
    ("node",),
    ("app",),
]
RANK = {folder: rank for rank, group in enumerate(LAYERS) for folder in group}
# No I/O, no clock, no threads: everything below flow.
CORE = {folder for group in LAYERS for folder in group if RANK[folder] < RANK["flow"]}

CRYPTO_HEADERS = re.compile(r"^(openssl/|sodium(\.h|/)|intel-ipsec-mb|ipsec-mb)")
# The private doors through which src/crypto/*.cc see them; no header may include a door.
CRYPTO_DOORS = {"src/crypto/openssl.h", "src/crypto/sodium.h"}
ASIO_HEADERS = re.compile(r"^boost/(asio|beast)\b")
IO_HEADERS = re.compile(r"^(fstream|iostream|filesystem|thread|future|sys/socket\.h|sys/stat\.h|"
                        r"fcntl\.h|dirent\.h|poll\.h|spawn\.h|sqlite3\.h)$")
ONCE_HEADERS = {"CLI11": re.compile(r"^CLI/"), "toml++": re.compile(r"^toml(\+\+/|\.hpp)")}
THREAD_START = re.compile(r"\bstd::(thread\b(?!::hardware_concurrency|::id)|jthread\b|async\b)|"
                          r"\bpthread_create\b")
CLOCK_NOW = re.compile(r"\b(steady|system|high_resolution|utc)_clock::now\b|\b(clock_gettime|"
                       r"gettimeofday)\b|\bstd::time\s*\(")
RANDOM_NOW = re.compile(r"\b(std::random_device|getrandom|RAND_bytes|randombytes_buf)\b")
PRINTING = re.compile(r"\bstd::(cout|cerr|clog)\b|(?<!\w)(printf|fprintf|puts|fputs|perror)\s*\(")
DEBUG = re.compile(r"#\s*if\s+0\b|\bDO NOT (SUBMIT|LAND)\b|\b__builtin_(dump_struct|debugtrap)\b|"
                   r"\braise\s*\(\s*SIGTRAP|\bDISABLED_\w+|^(<{7}|>{7}|={7})( |$)")
DEBUG_PYTHON = re.compile(r"\bbreakpoint\s*\(\s*\)|\bimport\s+i?pdb\b|^(<{7}|>{7}|={7})( |$)")
MARKER = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b(\(([\w./-]+\.md)#([\w-]+)\))?")
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
LINE_LIMITS = {".h": 100, ".cc": 100, ".py": 120}

RULES = {
    "layer": "a folder includes only folders below it, protocol folders not each other",
    "unknown-folder": "a folder of src/ has a place in LAYERS",
    "cmake-order": "CMakeLists.txt lists the folders in the order of LAYERS",
    "public-header": "an installed header includes only installed headers, the standard library, "
                     "and Outcome in base/result.h",
    "crypto-library": "OpenSSL, libsodium, ipsec-mb only in src/crypto/*.cc and its doors",
    "asio": "Asio and Beast only in src/net/*.cc",
    "once": "CLI11 and toml++ in one file each: they take seconds to compile",
    "core-io": "the core includes no I/O and no threads",
    "core-clock": "the core asks no clock",
    "core-random": "the core draws no randomness: it is handed a RandomSource",
    "threads": "threads start in src/flow only",
    "printing": "the library prints nothing; printing is app's",
    "line-length": "at most 100 columns, 120 in Python",
    "marker": "an open point is TODO(FILE.md#section) and that section exists",
    "debug": "nothing forgotten: #if 0, disabled tests, merge marks, break points",
    "whitespace": "no tabs, no trailing blanks, a line feed at the end",
    "header": "a header starts with #pragma once and has no using namespace",
    "dead-header": "a header is included by something",
    "missing-include": "an include of ours names a file that exists",
    "corpus": "a fuzz target has a corpus with an input, a corpus has a target",
}


def strip(text):
    """Comments, string and character literals blanked, line feeds kept."""
    pattern = re.compile(
        r'//[^\n]*|/\*.*?\*/|R"(?P<d>[^(\s]*)\(.*?\)(?P=d)"|"(?:\\.|[^"\\\n])*"|'
        r"(?<![0-9a-fA-F])'(?:\\.|[^'\\\n])*'", re.DOTALL)

    def blank(match):
        found = match.group(0)
        return re.sub(r"[^\n]", " ", found)

    return pattern.sub(blank, text)


def raw_string_lines(text):
    """Numbers of the lines that lie inside a raw string: data, kept as it is."""
    inside = set()
    for match in re.finditer(r'R"(?P<d>[^(\s"]*)\(.*?\)(?P=d)"', text, re.DOTALL):
        first = text.count("\n", 0, match.start()) + 1
        inside.update(range(first + 1, first + match.group(0).count("\n") + 1))
    return inside


def slug(heading):
    text = re.sub(r"[^\w\s-]", "", heading.strip().lower())
    return re.sub(r"\s+", "-", text)


class Checker:
    def __init__(self, root):
        self.root = pathlib.Path(root)
        self.found = []
        self.once = {name: [] for name in ONCE_HEADERS}
        self.included = set()

    def report(self, rule, path, line, what):
        assert rule in RULES
        self.found.append((str(path), line, rule, what))

    def files(self, *suffixes):
        skip = {"build", ".git", "__pycache__"}
        for path in sorted(self.root.rglob("*")):
            relative = path.relative_to(self.root)
            if skip & set(relative.parts) or relative.parts[:2] == ("tests", "data"):
                continue
            if path.is_file() and path.suffix in suffixes:
                yield relative

    @staticmethod
    def place(path):
        """(area, folder): ("src", "seal"), ("include", "base"), ("app", "app"), ("tests", …)."""
        parts = path.parts
        if parts[0] == "src" and len(parts) > 2:
            return "src", parts[1]
        if parts[:2] == ("include", "sealane") and len(parts) > 3:
            return "include", parts[2]
        if parts[0] == "app":
            return "app", "app"
        return parts[0], None

    @staticmethod
    def target_folder(include):
        """The folder that an include of ours reaches, or None."""
        parts = include.split("/")
        if parts[0] == "sealane" and len(parts) > 2:
            return parts[1]
        return parts[0] if len(parts) > 1 and (parts[0] in RANK or parts[0] == "tests") else None

    def check_include(self, path, line, kind, include):
        area, folder = self.place(path)
        product = area in ("src", "include", "app")
        is_header = path.suffix == ".h"
        if kind == '"':
            candidates = [self.root / base / include for base in ("include", "src", ".")]
            candidates.append((self.root / path).parent / include)
            resolved = [c for c in candidates if c.is_file()]
            if not resolved:
                self.report("missing-include", path, line, include)
            for candidate in resolved:
                self.included.add(candidate.resolve())
            reached = self.target_folder(include)
            if product and reached == "tests":
                self.report("layer", path, line, f"{folder} includes {include}")
            elif product and folder in RANK and reached in RANK and reached != folder:
                if RANK[reached] >= RANK[folder]:
                    self.report("layer", path, line, f"{folder} includes {include}")
            if area == "include" and not include.startswith("sealane/"):
                self.report("public-header", path, line, include)
        elif area == "include" and "/" in include and not (
                include.startswith("boost/outcome/")
                and path.as_posix() == "include/sealane/base/result.h"):
            self.report("public-header", path, line, include)
        if CRYPTO_HEADERS.match(include) or f"src/{include}" in CRYPTO_DOORS:
            inside = area == "src" and folder == "crypto" and not is_header
            door = path.as_posix() in CRYPTO_DOORS
            if not inside and not door and path.parts[:2] != ("tests", "crypto"):
                self.report("crypto-library", path, line, include)
        if ASIO_HEADERS.match(include) and not (area == "src" and folder == "net"
                                                and not is_header):
            self.report("asio", path, line, include)
        for name, pattern in ONCE_HEADERS.items():
            if pattern.match(include):
                self.once[name].append((path, line))
        if product and folder in CORE and IO_HEADERS.match(include):
            self.report("core-io", path, line, include)

    def check_code(self, path, text):
        area, folder = self.place(path)
        product = area in ("src", "include", "app")
        code = strip(text)
        raw_lines = text.split("\n")
        for number, line in enumerate(code.split("\n"), 1):
            include = INCLUDE.match(raw_lines[number - 1])
            if include and line.strip():
                self.check_include(path, number, include.group(1), include.group(2))
            if product and folder != "flow" and THREAD_START.search(line):
                self.report("threads", path, number, line.strip())
            if product and folder in CORE and CLOCK_NOW.search(line):
                self.report("core-clock", path, number, line.strip())
            if product and folder in CORE and RANDOM_NOW.search(line):
                self.report("core-random", path, number, line.strip())
            # check.cc prints the broken invariant just before it aborts.
            if (area in ("src", "include") and PRINTING.search(line)
                    and path.as_posix() != "src/base/check.cc"):
                self.report("printing", path, number, line.strip())
        if path.suffix == ".h":
            first = next((line for line in raw_lines if line.strip()), "")
            if first.strip() != "#pragma once":
                self.report("header", path, 1, "the first line is not #pragma once")
            for number, line in enumerate(code.split("\n"), 1):
                if re.match(r"\s*using\s+namespace\b", line):
                    self.report("header", path, number, line.strip())

    def check_text(self, path, text):
        python = path.suffix == ".py"
        data = set() if python else raw_string_lines(text)
        for number, line in enumerate(text.split("\n"), 1):
            if len(line) > LINE_LIMITS[path.suffix] and number not in data:
                self.report("line-length", path, number, f"{len(line)} columns")
            if "\t" in line or line != line.rstrip():
                self.report("whitespace", path, number, "tab or trailing blank")
            if (DEBUG_PYTHON if python else DEBUG).search(line):
                self.report("debug", path, number, line.strip())
            for marker in MARKER.finditer(line):
                document, section = marker.group(3), marker.group(4)
                if not document or not self.section_exists(document, section):
                    self.report("marker", path, number, line.strip())
        if text and not text.endswith("\n"):
            self.report("whitespace", path, text.count("\n") + 1, "no line feed at the end")

    def section_exists(self, document, section):
        path = self.root / document
        if not path.is_file():
            return False
        headings = re.findall(r"^#+\s+(.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
        return section in map(slug, headings)

    def check_tree(self):
        source = self.root / "src"
        for folder in sorted(source.iterdir()) if source.is_dir() else []:
            if folder.is_dir() and folder.name not in RANK:
                self.report("unknown-folder", f"src/{folder.name}", 0, "add it to LAYERS")
        cmake = self.root / "CMakeLists.txt"
        if cmake.is_file():
            text = cmake.read_text(encoding="utf-8")
            listed = []
            for name in ("SEALANE_CORE_FOLDERS", "SEALANE_IO_FOLDERS"):
                match = re.search(rf"set\({name}\s+([^)]*)\)", text)
                folders = match.group(1).split() if match else []
                if name == "SEALANE_CORE_FOLDERS" and any(f not in CORE for f in folders):
                    self.report("cmake-order", "CMakeLists.txt", 0, f"{name} holds a folder with I/O")
                listed += folders
            ranks = [RANK.get(folder, -1) for folder in listed]
            if -1 in ranks or ranks != sorted(ranks):
                self.report("cmake-order", "CMakeLists.txt", 0, " ".join(listed))
        for name, places in self.once.items():
            if len({path for path, _ in places}) > 1:
                for path, line in places:
                    self.report("once", path, line, name)
        for path in self.files(".h"):
            if (self.root / path).resolve() not in self.included and path.parts[0] != "examples":
                self.report("dead-header", path, 1, "nothing includes it")
        targets = {path.stem[len("fuzz_"):] for path in (self.root / "fuzz").glob("fuzz_*.cc")}
        corpora = {path.name for path in (self.root / "fuzz" / "corpus").glob("*")
                   if any(path.iterdir())}
        for name in sorted(targets - corpora):
            self.report("corpus", f"fuzz/fuzz_{name}.cc", 0, f"no input in fuzz/corpus/{name}")
        for name in sorted(corpora - targets):
            self.report("corpus", f"fuzz/corpus/{name}", 0, f"no target fuzz/fuzz_{name}.cc")

    def run(self):
        for path in self.files(".h", ".cc"):
            text = (self.root / path).read_text(encoding="utf-8")
            self.check_code(path, text)
            self.check_text(path, text)
        for path in self.files(".py"):
            if path.as_posix() != "tests/layering.py":  # it names what it forbids
                self.check_text(path, (self.root / path).read_text(encoding="utf-8"))
        self.check_tree()
        return sorted(self.found)


# ---- Self-test: a clean tree passes; each sample adds one thing that its rule must catch. ----------

CLEAN = {
    "CMakeLists.txt": "set(SEALANE_CORE_FOLDERS base crypto seal)\nset(SEALANE_IO_FOLDERS flow)\n",
    "NOTES.md": "# Notes\n\n## Open points\n",
    "include/sealane/base/bytes.h": "#pragma once\n#include <span>\n",
    "include/sealane/base/result.h": "#pragma once\n#include <boost/outcome/try.hpp>\n",
    "src/base/bytes.cc": '#include "sealane/base/bytes.h"\n#include "sealane/base/result.h"\n'
                         "// std::thread, OpenSSL and printf(x) may be talked about.\n"
                         'const char* kText = "std::cout << #include <openssl/evp.h>";\n'
                         'const char* kData = R"(\n' + "x" * 150 + '\n)";\n'
                         "// TODO(NOTES.md#open-points): may be named with its section.\n",
    "src/crypto/hash.h": '#pragma once\n#include "sealane/base/bytes.h"\n',
    "src/crypto/openssl.h": "#pragma once\n#include <openssl/evp.h>\n",
    "src/crypto/hash.cc": '#include "crypto/hash.h"\n#include "crypto/openssl.h"\n'
                          "#include <openssl/evp.h>\n",
    "src/net/socket.cc": "#include <boost/asio.hpp>\n",
    "src/flow/pool.cc": "#include <thread>\nstd::jthread worker;\n",
    "src/session/frame.h": "#pragma once\n",
    "src/session/frame.cc": '#include "session/frame.h"\n#include "crypto/hash.h"\n',
    "src/store/clock.cc": "auto a = std::thread::hardware_concurrency();\n"
                          "auto b = std::chrono::steady_clock::now();\n",
    "app/main.cc": '#include "crypto/hash.h"\n#include <CLI/CLI.hpp>\nint main() { printf(""); }\n',
    "tests/flow/pool_test.cc": "#include <thread>\nstd::thread starts;\n",
    "fuzz/fuzz_frame.cc": '#include "session/frame.h"\n',
    "fuzz/corpus/frame/one": "1",
}
SAMPLES = [
    ("layer", "src/base/up.cc", '#include "crypto/hash.h"\n'),
    ("layer", "src/crypto/up.cc", '#include "session/frame.h"\n'),
    ("layer", "include/sealane/base/up.h", '#pragma once\n#include "sealane/identity/keys.h"\n'),
    ("layer", "src/hub/peer.cc", '#include "session/frame.h"\n'),
    ("layer", "src/store/up.cc", '#include "app/command.h"\n'),
    ("layer", "src/store/fake.cc", '#include "tests/support/doubles.h"\n'),
    ("unknown-folder", "src/misc/a.cc", "int a;\n"),
    ("cmake-order", "CMakeLists.txt", "set(SEALANE_CORE_FOLDERS crypto base)\n"),
    ("cmake-order", "CMakeLists.txt", "set(SEALANE_CORE_FOLDERS base flow)\n"),
    ("public-header", "include/sealane/seal/a.h", '#pragma once\n#include "crypto/hash.h"\n'),
    ("public-header", "include/sealane/seal/a.h", "#pragma once\n#include <nlohmann/json.hpp>\n"),
    ("public-header", "include/sealane/seal/a.h", "#pragma once\n#include <boost/outcome.hpp>\n"),
    ("crypto-library", "src/seal/a.cc", "#include <openssl/evp.h>\n"),
    ("crypto-library", "app/a.cc", "# include <sodium.h>\n"),
    ("crypto-library", "src/net/a.cc", "#include <intel-ipsec-mb.h>\n"),
    ("crypto-library", "src/crypto/a.h", "#pragma once\n#include <sodium/utils.h>\n"),
    ("crypto-library", "src/crypto/a.h", '#pragma once\n#include "crypto/openssl.h"\n'),
    ("crypto-library", "src/seal/a.cc", '#include "crypto/openssl.h"\n'),
    ("crypto-library", "tests/seal/a.cc", "#include <openssl/sha.h>\n"),
    ("asio", "src/backup/a.cc", "#include <boost/asio/io_context.hpp>\n"),
    ("asio", "src/net/a.h", "#pragma once\n#include <boost/beast/http.hpp>\n"),
    ("once", "app/second.cc", "#include <CLI/App.hpp>\n"),
    ("core-io", "src/seal/a.cc", "#include <fstream>\n"),
    ("core-io", "src/repo/a.cc", "#include <fcntl.h>\n"),
    ("core-clock", "src/seal/a.cc", "auto t = std::chrono::system_clock::now();\n"),
    ("core-random", "src/identity/a.cc", "auto r = std::random_device{}();\n"),
    ("threads", "src/store/a.cc", "std::thread worker([] {});\n"),
    ("threads", "app/a.cc", "auto f = std::async([] {});\n"),
    ("threads", "src/backup/a.cc", "std::vector<std::jthread> workers;\n"),
    ("printing", "src/store/a.cc", 'void f() { std::cerr << "here"; }\n'),
    ("printing", "src/seal/a.cc", 'void f() { printf("here"); }\n'),
    ("line-length", "src/seal/a.cc", "//" + "x" * 99 + "\n"),
    ("line-length", "src/seal/a.cc", 'auto a = R"(\n)"; // ' + "x" * 100 + '\nint b; // '
     + "x" * 100 + "\n"),
    ("line-length", "bench/a.py", "#" + "x" * 120 + "\n"),
    ("marker", "src/seal/a.cc", "// TODO: later\n"),
    ("marker", "src/seal/a.cc", "// FIXME(somebody): later\n"),
    ("marker", "src/seal/a.cc", "// TODO(NOTES.md#closed-points): later\n"),
    ("marker", "tests/a.py", "# XXX later\n"),
    ("debug", "src/seal/a.cc", "#if 0\n#endif\n"),
    ("debug", "tests/seal/a_test.cc", "TEST(A, DISABLED_Works) {}\n"),
    ("debug", "src/seal/a.cc", "<<<<<<< HEAD\n"),
    ("debug", "bench/a.py", "breakpoint()\n"),
    ("whitespace", "src/seal/a.cc", "int a; \n"),
    ("whitespace", "src/seal/a.cc", "\tint a;\n"),
    ("whitespace", "src/seal/a.cc", "int a;"),
    ("header", "src/crypto/hash.h", "#include <span>\n"),
    ("header", "src/crypto/hash.h", "#pragma once\nusing namespace std;\n"),
    ("dead-header", "src/seal/alone.h", "#pragma once\n"),
    ("missing-include", "src/seal/a.cc", '#include "seal/nowhere.h"\n'),
    ("corpus", "fuzz/fuzz_other.cc", "int a;\n"),
    ("corpus", "fuzz/corpus/other/one", "1"),
]


def rules_broken(extra):
    with tempfile.TemporaryDirectory(prefix="layering-") as root:
        for name, text in {**CLEAN, **extra}.items():
            path = pathlib.Path(root) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return {(rule, path) for path, _, rule, _ in Checker(root).run()}


def self_test():
    problems = [f"the clean tree breaks {rule} in {path}" for rule, path in rules_broken({})]
    for rule, name, text in SAMPLES:
        broken = rules_broken({name: text})
        if not any(rule == r and (path == name or name.startswith(path + "/"))
                   for r, path in broken):
            problems.append(f"{rule} does not catch {name}: {text!r}; found {sorted(broken)}")
    problems += [f"{rule} has no sample" for rule in RULES if rule not in {s[0] for s in SAMPLES}]
    for problem in problems:
        print(problem)
    print(f"{len(SAMPLES)} samples, {len(RULES)} rules, {len(problems)} problems")
    return 1 if problems else 0


def main():
    if sys.argv[1:] == ["--self-test"]:
        return self_test()
    root = sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parent.parent
    found = Checker(root).run()
    for path, line, rule, what in found:
        print(f"{path}:{line}: [{rule}] {what}  ({RULES[rule]})")
    if not found:
        print("layering: clean")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
