"""Branch coverage of mtws.h by all tests together, with clang and llvm's tools.

    run.py FOLDER [SEEDS]

Builds and runs what is in unit/, session/ and inject/, the simulator with SEEDS seeds (5000) and the
fuzzers' corpora, each with clang's source-based coverage, in FOLDER, and `make tls`, where what that
needs is installed; else the code of TLS does not count. A branch is one outcome, true or false, of
one condition in mtws.h; each && and || has two conditions. Assertions do not count.

What no test takes is printed, each with the reason that uncovered.txt gives: blocks of

    = reason
    function: condition [T]       never true; [F] never false; `case X` or `default` never met
    ~ function: condition [F]     the same, but in some runs, or on other machines, it is

Four tests: all programs pass; at least 95 % of the branches are taken; each of the others has a
reason; and none that has one is taken, or is not there any more. The last two need TLS's programs.
The last line is "N passed, N failed".
"""
import collections
import concurrent.futures
import glob
import json
import os
import re
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
TESTS = os.path.dirname(HERE)
TOP = os.path.dirname(TESTS)
HEADER = os.path.join(TOP, "mtws.h")
WANTED = 95.0  # percent
FLAGS = ["-std=c99", "-w", "-O0", "-DNDEBUG", "-fprofile-instr-generate", "-fcoverage-mapping"]


class Program:
    def __init__(self, folder, name, sources, arguments):
        self.name, self.arguments = name, arguments
        self.sources = [os.path.join(TOP, source) for source in sources]
        self.path = os.path.join(folder, name.replace("/", "-"))
        self.binaries = [self.path]

    def build(self):
        command = [os.environ.get("CLANG") or "clang", *FLAGS, "-o", self.path, *self.sources,
                   *(["-lbearssl"] if self.name == "fuzz/cert" else [])]
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
        return done.stderr if done.returncode else ""

    def command(self):
        return [self.path, *self.arguments]

    def run(self):
        """Whether it passes. Each process that it starts leaves a file of its own."""
        environment = dict(os.environ, LLVM_PROFILE_FILE=self.path + "-%m-%p.profraw")
        with open(self.path + ".log", "w") as log:
            try:
                return subprocess.run(self.command(), cwd=TESTS, env=environment,
                                      stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                      timeout=1200).returncode == 0
            except subprocess.TimeoutExpired:
                return False

    def branches(self):
        """(function, (line, column, line, column), times true, times false), in mtws.h."""
        raw = glob.glob(glob.escape(self.path) + "-*.profraw")
        merged = self.path + ".profdata"
        subprocess.check_call(["llvm-profdata", "merge", "-sparse", "-o", merged, *raw])
        for binary in self.binaries:
            text = subprocess.check_output(["llvm-cov", "export", "-instr-profile", merged, binary],
                                           stderr=subprocess.DEVNULL)
            for function in json.loads(text)["data"][0]["functions"]:
                for branch in function["branches"]:
                    place, true, false, file = branch[:4], branch[4], branch[5], branch[6]
                    if os.path.samefile(function["filenames"][file], HEADER):
                        yield function["name"].split(":")[-1], tuple(place), true, false


class Tls(Program):
    """`make tls`, of which all that includes the header is built for coverage."""

    def __init__(self, folder):
        super().__init__(folder, "tls", [], [])
        self.arguments = ["tls", "BUILD=" + os.path.relpath(self.path, TESTS), "CC=clang", "CFLAGS=" + " ".join(FLAGS),
                          "RELOADS=3"]
        self.binaries = [os.path.join(self.path, "tls", name)
                         for name in ("cert", "session", "client", "openssl", "mtwscat")]

    @staticmethod
    def is_possible():
        path = os.environ["PATH"] + ":/usr/sbin:/sbin"
        tools = [shutil.which(tool, path=path) for tool in ("nginx", "stunnel4", "haproxy")]
        headers = subprocess.run(["clang", "-E", "-o", os.devnull, "-"], stderr=subprocess.DEVNULL,
                                 input=b"#include <bearssl.h>\n#include <openssl/ssl.h>\n")
        return headers.returncode == 0 and None not in tools

    def build(self):
        return ""

    def command(self):
        return ["make", "--no-print-directory", *self.arguments]


def all_programs(folder, seeds):
    for layer in ("unit", "session", "inject"):
        for path in sorted(glob.glob(os.path.join(TESTS, layer, "*.c"))):
            with open(path) as f:
                if re.search(r"^int main", f.read(), re.M):
                    name = "%s/%s" % (layer, os.path.basename(path)[:-2])
                    yield Program(folder, name, ["tests/%s.c" % name], [])
    with_tls = Tls.is_possible()
    if with_tls:
        yield Tls(folder)
    else:
        print("without TLS: make tls says what it needs")
    yield Program(folder, "sim", ["tests/sim/sim.c"], ["jobs=1", "shrink=0", "seeds=%d" % seeds])
    for corpus in sorted(glob.glob(os.path.join(TOP, "fuzz", "corpus", "*"))):
        name = os.path.basename(corpus)
        if name == "cert" and not with_tls:
            continue
        yield Program(folder, "fuzz/" + name, ["fuzz/%s.c" % name, "fuzz/replay.c"],
                      sorted(glob.glob(os.path.join(corpus, "*"))))


def assertion_lines(lines):
    """The numbers of the lines that belong to an MTWS_ASSERT."""
    inside, found = False, set()
    for number, line in enumerate(lines, 1):
        inside = inside or "MTWS_ASSERT(" in line
        if inside:
            found.add(number)
        inside = inside and not line.rstrip().endswith(";")
    return found


def condition(lines, place):
    first, start, last, end = place
    if first == last:
        return lines[first - 1][start - 1:end - 1]
    parts = [lines[first - 1][start - 1:], *lines[first:last - 1], lines[last - 1][:end - 1]]
    return " ".join(part.strip() for part in parts)


def read_reasons():
    """The reason of each entry of uncovered.txt, and the entries that are taken now and then."""
    reasons, flickers, reason = {}, set(), ""
    with open(os.path.join(HERE, "uncovered.txt")) as f:
        for line in f.read().split("\n"):
            words = line.strip()
            if line.startswith("= "):
                reason = line[2:]
            elif reason and words:
                if words.startswith("~ "):
                    words = words[2:]
                    flickers.add(words)
                reasons[words] = reason
    return reasons, flickers


def report(programs):
    """How many branches there are, are not taken, and are so without a reason; and how many entries
    of uncovered.txt are wrong."""
    with open(HEADER) as f:
        lines = f.read().split("\n")
    true, false, functions = collections.Counter(), collections.Counter(), {}
    for program in programs:
        for function, place, when_true, when_false in program.branches():
            functions[place] = function
            true[place] += when_true
            false[place] += when_false
    for place in [p for p in functions if p[0] in assertion_lines(lines)]:
        del functions[place]
    outcomes = [("%s: %s [%s]" % (functions[place], condition(lines, place), which), place[0],
                 counts[place] > 0)
                for place in sorted(functions) for which, counts in (("T", true), ("F", false))]
    reasons, flickers = read_reasons()
    groups, missed = collections.defaultdict(list), set()
    for words, line, taken in outcomes:
        if not taken:
            missed.add(words)
            groups[reasons.get(words, "")].append("%5d  %s" % (line, words))
    for reason in sorted(groups, key=lambda reason: (reason == "", reason)):
        print("\n" + (reason or "No reason is given for these:"))
        print("\n".join(groups[reason]))
    there = {words for words, line, taken in outcomes}
    wrong = sorted(set(reasons) - missed - (flickers & there))
    for words in wrong:
        print("\nuncovered.txt lists what is taken, or is not there: " + words)
    return len(outcomes), sum(map(len, groups.values())), len(groups[""]), len(wrong)


def main():
    folder = os.path.abspath(sys.argv[1])
    seeds = int(sys.argv[2]) if len(sys.argv) > 2 else 5000
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    programs, bad = list(all_programs(folder, seeds)), []
    with concurrent.futures.ThreadPoolExecutor(int(os.environ.get("JOBS") or 2)) as pool:
        for program, wrong in zip(programs, pool.map(lambda program: program.build(), programs)):
            if wrong:
                sys.exit("%s does not compile:\n%s\n0 passed, 1 failed" % (program.name, wrong))
        for program, good in zip(programs, pool.map(lambda program: program.run(), programs)):
            if not good:
                bad.append(program.name)
                print("FAILED  %s, see %s.log" % (program.name, program.path))
    branches, missed, unknown, wrong = report(programs)
    percent = 100.0 * (branches - missed) / branches
    print("\n%d of %d branches are taken: %.2f %%; %d of the others have no reason in "
          "coverage/uncovered.txt" % (branches - missed, branches, percent, unknown))
    results = [not bad, percent >= WANTED]
    if any(isinstance(program, Tls) for program in programs):
        results += [unknown == 0, wrong == 0]
    failed = results.count(False)
    print("%d passed, %d failed" % (len(results) - failed, failed))
    sys.exit(1 if failed else 0)


main()
