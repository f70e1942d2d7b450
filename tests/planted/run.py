"""Plants bugs into copies of mtws.h, one at a time, and asks which test sees each.

    run.py FOLDER [WORDS]

plants.txt beside this holds them. FOLDER takes the copies of the header and its tests. Each bug is
built into the test that its block names, and where that sees nothing into all others: unit/,
session/ and inject/, of tls/ what needs no server of others', the simulator with 10,000 seeds, and
the fuzzers' corpora. A test sees it when it fails, crashes or does not end. Of the plants those are
run whose title contains WORDS. From the environment: CC, and JOBS, how many at a time (2). It needs
BearSSL and openssl.

A bug that no test sees is a failure; so are a plant that no longer applies, or does not compile,
and a test that fails without one. The last line is "N passed, N failed".
"""
import collections
import concurrent.futures
import glob
import os
import queue
import re
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
TESTS = os.path.dirname(HERE)
TOP = os.path.dirname(TESTS)
LIMIT_S = 300  # for one program, on a machine that is busy
SEEDS, SEEDS_AT_ONCE = 10000, 1000
LAYERS = ["unit", "session", "inject", "tls", "sim", "fuzz"]
TARGETS = ["utf8", "json", "url", "http", "message", "queue", "dns", "cert", "proxy", "client"]
TLS = ["tls/cert", "tls/session"]

Plant = collections.namedtuple("Plant", "title program before after")


def read_plants():
    with open(os.path.join(HERE, "plants.txt")) as f:
        blocks = f.read().split("\n== ")[1:]
    for block in blocks:
        title, program, *lines = block.strip().split("\n")
        before = [line[1:].strip() for line in lines if line[0] in " -"]
        after = [line[1:].strip() for line in lines if line[0] in " +"]
        yield Plant(title, program[len("try "):], before, after)


def plant_into(header, plant):
    """The header with the bug in it; None where its place is not there, or there twice."""
    lines = header.split("\n")
    stripped = [line.strip() for line in lines]
    size = len(plant.before)
    places = [i for i in range(len(lines)) if stripped[i:i + size] == plant.before]
    if len(places) != 1:
        return None
    return "\n".join(lines[:places[0]] + plant.after + lines[places[0] + size:])


class Tree:
    """A copy of the header and all that includes it; one plant at a time."""

    def __init__(self, folder, number):
        self.top = os.path.join(folder, "tree%d" % number)
        shutil.rmtree(self.top, ignore_errors=True)
        ignored = shutil.ignore_patterns("build", "node_modules", "corpus", "__pycache__")
        for name in ("tests", "fuzz"):
            shutil.copytree(os.path.join(TOP, name), os.path.join(self.top, name), ignore=ignored)
        self.tests = os.path.join(self.top, "tests")

    def use(self, header):
        with open(os.path.join(self.top, "mtws.h"), "w") as f:
            f.write(header)

    def compile(self, program):
        """What the compiler says against it; "" where it agrees."""
        program = program.split()[0]
        layer, _, name = program.partition("/")
        source = {"sim": "tests/sim/sim.c", "fuzz": "fuzz/%s.c" % name}
        more = {"sim": ["-O1"], "fuzz": ["-fsanitize=address,undefined",
                                         "-fno-sanitize-recover=all", "../fuzz/replay.c"]}
        command = [os.environ.get("CC") or "cc", "-std=c99", "-w", "-O0", "-o", "program",
                   os.path.join("..", source.get(layer, "tests/%s.c" % program)),
                   *more.get(layer, []),
                   *(["-lbearssl"] if program in TLS + ["fuzz/cert"] else [])]
        done = subprocess.run(command, cwd=self.tests, stderr=subprocess.PIPE, text=True)
        return done.stderr if done.returncode else ""

    def call(self, *arguments):
        """What the test sees; "" where it passes."""
        try:
            done = subprocess.run(["./program", *arguments], cwd=self.tests, timeout=LIMIT_S,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        except subprocess.TimeoutExpired:
            return "does not end"
        if done.returncode == 0:
            return ""
        if done.returncode < 0:
            return "killed by signal %d" % -done.returncode
        text = done.stdout.decode("utf-8", "replace")
        failed = re.search(r"^(?:FAILED +(.*?)(?: \(\d+ checks?\))?|SEED=(.*))$", text, re.M)
        if not failed:
            return "ended with status %d" % done.returncode
        return failed.group(1) or "seed " + failed.group(2)[:90]

    def run(self, program):
        program, *words = program.split()
        layer, _, name = program.partition("/")
        if layer == "fuzz":
            corpus = os.path.join(TOP, "fuzz", "corpus", name)
            return self.call(*sorted(glob.glob(os.path.join(corpus, "*"))))
        if layer != "sim":
            return self.call(*words)
        for first in range(1, SEEDS, SEEDS_AT_ONCE):
            seen = self.call("jobs=1", "shrink=0", "first=%d" % first, "seeds=%d" % SEEDS_AT_ONCE)
            if seen:
                return seen
        return ""


def all_programs():
    """In the order in which they are tried."""
    found = [os.path.relpath(path, TESTS)[:-2] for layer in ("unit", "session", "inject")
             for path in sorted(glob.glob(os.path.join(TESTS, layer, "*.c")))]
    return found + TLS + ["sim"] + ["fuzz/" + target for target in TARGETS]


def seek(tree, header, plant, sound):
    """(the test that sees it, what it sees); (None, why not)."""
    planted = plant_into(header, plant)
    if planted is None:
        return None, "does not apply"
    tree.use(planted)
    for program in [plant.program] + [p for p in all_programs() if p != plant.program]:
        wrong = tree.compile(program)
        if wrong:
            return None, "does not compile: " + wrong.strip().split("\n")[0]
        seen = tree.run(program)
        if seen and not sound(program):
            return None, program + " fails without it, too"
        if seen:
            return program, seen
    return None, "no test sees it"


class Sound:
    """Which tests pass with the header as it is: asked once each, in a tree of its own."""

    def __init__(self, folder, header):
        self.trees = queue.Queue()
        self.trees.put(Tree(folder, 0))
        self.header, self.known = header, {}

    def __call__(self, program):
        tree = self.trees.get()
        try:
            if program not in self.known:
                tree.use(self.header)
                self.known[program] = not tree.compile(program) and not tree.run(program)
            return self.known[program]
        finally:
            self.trees.put(tree)


def prepare_tls(folder):
    """The certificates of the TLS tests; ends where they, or BearSSL, can't be had."""
    missing = [] if shutil.which("openssl") else ["openssl"]
    asked = subprocess.run([os.environ.get("CC") or "cc", "-E", "-o", os.devnull, "-"],
                           input=b"#include <bearssl.h>\n", stderr=subprocess.DEVNULL)
    if asked.returncode:
        missing.append("libbearssl-dev")
    if missing:
        sys.exit("on Debian: apt-get install %s\n0 passed, 1 failed" % " ".join(missing))
    os.environ["PKI"] = os.path.join(folder, "pki")
    if subprocess.run([os.path.join(TESTS, "tls", "pki.sh"), os.environ["PKI"]]).returncode:
        sys.exit("the certificates could not be made\n0 passed, 1 failed")


def main():
    folder, words = os.path.abspath(sys.argv[1]), " ".join(sys.argv[2:])
    jobs = int(os.environ.get("JOBS") or 2)
    with open(os.path.join(TOP, "mtws.h")) as f:
        header = f.read()
    plants = [plant for plant in read_plants() if words in plant.title]
    prepare_tls(folder)
    sound = Sound(folder, header)
    trees = queue.Queue()
    for number in range(1, jobs + 1):
        trees.put(Tree(folder, number))

    def perform(plant):
        tree = trees.get()
        try:
            return seek(tree, header, plant, sound)
        finally:
            trees.put(tree)

    layers, failed = collections.Counter(), 0
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        for plant, (program, seen) in zip(plants, pool.map(perform, plants)):
            if program:
                layers[program.partition("/")[0]] += 1
                first = "" if program == plant.program else ", not by %s" % plant.program
                print("%-18s %s\n%18s     (%s%s)" % (program, plant.title, "", seen, first))
            else:
                failed += 1
                print("FAILED             %s\n%18s     (%s)" % (plant.title, "", seen))
            sys.stdout.flush()
    shutil.rmtree(folder)
    print("seen by: " + ", ".join("%s %d" % (layer, layers[layer]) for layer in LAYERS))
    print("%d passed, %d failed" % (len(plants) - failed, failed))
    sys.exit(1 if failed or not plants else 0)


main()
