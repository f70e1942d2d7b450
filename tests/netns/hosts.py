"""Two hosts made of network namespaces, a server in one, a client in the other.

    client's host                              server's host
    net0 10.88.0.2/24 ------------ veth ------ net0 10.88.0.1/24
         fd00:88::2/64                              fd00:88::1/64
    default route by the server's net0         lo   10.99.0.1, fd00:99::1: where the server listens

A pair of hosts has addresses of one family alone, unless Pair.add_family gives it the other, too. Everything that is made here has a name with this
process's id in it, and Pair.close removes it.
"""

import os
import select
import shutil
import signal
import subprocess
import sys
import threading
import time

PORT = 9001
LIFE_S = 150  # of a server that nobody ends

CLIENT_IP = {4: "10.88.0.2", 6: "fd00:88::2"}
OTHER_IP = {4: "10.88.0.3", 6: "fd00:88::3"}
ABSENT_IP = {4: "10.88.0.77", 6: "fd00:88::77"}
GATEWAY_IP = {4: "10.88.0.1", 6: "fd00:88::1"}
SERVER_IP = {4: "10.99.0.1", 6: "fd00:99::1"}
LOOPBACK_IP = {4: "127.0.0.1", 6: "::1"}
PREFIX = {4: 24, 6: 64}
HOST_PREFIX = {4: 32, 6: 128}
NODAD = {4: "", 6: " nodad"}  # duplicate address detection would take a second

stopping = threading.Event()  # the run is being ended


class Stopped(Exception):
    """The run is being ended."""


def now_ms():
    return time.monotonic_ns() // 1000000


class Stalls:
    """When the machine stood still: a thread that only sleeps wakes so much too late. Less than
    LEAST_MS is what threads beside others always are, and does not count."""

    STEP_MS, LEAST_MS = 10, 30

    def __init__(self):
        self.late = []  # (ms of waking, ms too late)
        self.due = now_ms()  # the next waking
        threading.Thread(target=self.watch, daemon=True).start()

    def watch(self):
        while True:
            self.due = now_ms() + self.STEP_MS
            time.sleep(self.STEP_MS / 1000)
            now = now_ms()
            if now >= self.due + self.LEAST_MS:
                self.late.append((now, now - self.due))

    def since(self, ms):
        """Its sum from then on. A bound of time is one of time in which the machine runs."""
        total, overdue = 0, now_ms() - self.due  # it may not have run yet since the latest
        if overdue >= self.LEAST_MS:
            total = min(overdue, now_ms() - ms)
        for at, late in reversed(self.late):
            if at <= ms:
                break
            total += min(late, at - ms)
        return total


stalls = Stalls()


def run(command, text=None):
    """Runs a command that has to succeed."""
    done = subprocess.run(command, input=text, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    if done.returncode != 0:
        raise RuntimeError("%s: %s" % (" ".join(command), done.stdout.strip()))


class Client:
    """The program under test, and the events that it has printed."""

    def __init__(self, pair, program, url, options, log):
        self.loop = options.get("loop", 0)
        words = ["%s=%d" % item for item in sorted(options.items())]
        self.process = subprocess.Popen(pair.inside("c") + [program, url] + words,
                                        bufsize=0, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=log)
        os.set_blocking(self.process.stdout.fileno(), False)
        self.rest = b""
        self.lines = []  # (ms, kind, [words])
        self.states = []  # (ms, new, previous, result, reason)
        self.sent = 0
        self.settled = 0  # ids up to this one
        self.wrong = []  # what must not be, whatever the scenario
        self.commands = []  # (ms, text), for the report of a failure

    def command(self, text):
        self.commands.append((now_ms(), text))
        try:
            self.process.stdin.write((text + "\n").encode())
        except BrokenPipeError:
            self.wrong.append("the client has ended before \"%s\"" % text)
            return
        if not self.loop:
            self.process.send_signal(signal.SIGUSR1)

    def take(self, line):
        words = line.split(" ", 6)
        at, kind = int(words[0]), words[1]
        self.lines.append((at, kind, line))
        if kind == "state":
            self.states.append((at, words[2], words[3], int(words[4]), words[6]))
        elif kind == "sent":
            self.sent = int(words[3])
        elif kind == "delivered":
            first, last = int(words[2]), int(words[3])
            if first != self.settled + 1 or last < first or last > self.sent:
                self.wrong.append("settled out of turn: " + line)
            self.settled = max(self.settled, last)
        elif kind in ("dropped", "refused"):
            self.wrong.append(line)

    def read(self, timeout_ms):
        """Takes what comes within the time; returns early after any."""
        if stopping.is_set():
            raise Stopped()
        fd = self.process.stdout.fileno()
        ready, _, _ = select.select([fd], [], [], max(0, min(timeout_ms, 200)) / 1000)
        if not ready:
            return
        data = os.read(fd, 65536)
        if not data:
            time.sleep(0.02)  # it has ended: the caller's deadline runs out
        lines = (self.rest + data).split(b"\n")
        self.rest = lines.pop()
        for line in lines:
            self.take(line.decode("utf-8", "replace"))

    def wait(self, condition, limit_ms):
        """Reads until condition() is true or the monotonic time is limit_ms, and later by what the
        machine stood still meanwhile; what it then is."""
        since = now_ms()
        while True:
            self.read(0)
            value = condition()
            left = limit_ms + stalls.since(since) - now_ms()
            if value or left <= 0:
                return value
            self.read(left)

    def pause(self, ms):
        self.wait(lambda: False, now_ms() + ms)

    def find(self, state, since):
        """The first time that the state was entered at or after `since`, or None."""
        for event in self.states:
            if event[0] >= since and event[1] == state:
                return event[0]
        return None

    def wait_state(self, state, since, limit_ms):
        self.wait(lambda: self.find(state, since) is not None, limit_ms)
        return self.find(state, since)

    @property
    def state(self):
        return self.states[-1][1] if self.states else "disconnected"

    def cpu_ms(self):
        with open("/proc/%d/stat" % self.process.pid) as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) * 1000 // os.sysconf("SC_CLK_TCK")

    def descriptors(self):
        return len(os.listdir("/proc/%d/fd" % self.process.pid))

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


class Pair:
    """Two hosts, and what runs on them."""

    def __init__(self, number, family, directory, programs):
        self.family = family
        self.directory = os.path.join(directory, str(number))
        self.name = {host: "mtws-%d-%d-%s" % (os.getpid(), number, host) for host in "cs"}
        self.programs = programs
        self.made = []
        self.server = None
        self.stopped = False
        self.client = None
        self.names = "/etc/netns/" + self.name["c"]
        self.name_server = None
        self.ledger = os.path.join(self.directory, "ledger")
        self.log_path = os.path.join(self.directory, "log")
        os.mkdir(self.directory)
        self.log = open(self.log_path, "wb")

    # ---- hosts

    def inside(self, host):
        return ["ip", "netns", "exec", self.name[host]]

    def ip(self, host, *lines):
        """Lines of ip(8), each with its family."""
        run(["ip", "-%d" % self.family, "-netns", self.name[host], "-batch", "-"],
            "".join(line + "\n" for line in lines))

    def nft(self, host, rules):
        run(self.inside(host) + ["nft", "-f", "-"], rules)

    def open(self):
        for host in "cs":
            run(["ip", "netns", "add", self.name[host]])
            self.made.append(self.name[host])
        run(["ip", "link", "add", "net0", "netns", self.name["c"], "type", "veth",
             "peer", "name", "net0", "netns", self.name["s"]])
        f = self.family
        if f == 6:
            # A link-local address would come later, and stand for a network of its own.
            self.ip("c", "link set net0 addrgenmode none")
        self.ip("s", "link set lo up", "link set net0 up")
        self.ip("c", "link set lo up", "link set net0 up")
        self.add_family(f)

    def add_family(self, f):
        """Gives both hosts their addresses of a family, and the client's host its route."""
        own, self.family = self.family, f
        self.ip("s", "address add %s/%d dev net0%s" % (GATEWAY_IP[f], PREFIX[f], NODAD[f]),
                "address add %s/%d dev lo%s" % (SERVER_IP[f], HOST_PREFIX[f], NODAD[f]))
        self.ip("c", "address add %s/%d dev net0%s" % (CLIENT_IP[f], PREFIX[f], NODAD[f]),
                "route add default via %s" % GATEWAY_IP[f])
        self.family = own

    # ---- the server

    def start_server(self, host="s", address=None):
        """Starts it, and waits until it listens."""
        self.stopped = False
        path = os.path.join(self.directory, "server")
        with open(path, "wb") as out:
            self.server = subprocess.Popen(
                self.inside(host) + [self.programs["server"], "--quiet", "--port", str(PORT),
                                     "--bind", address or SERVER_IP[self.family], "--lifetime",
                                     str(LIFE_S), "--ledger", self.ledger],
                stdin=subprocess.DEVNULL, stdout=out, stderr=self.log)
        limit = now_ms() + 5000
        while b"listening" not in open(path, "rb").read():
            if now_ms() > limit or self.server.poll() is not None:
                raise RuntimeError("the server does not listen")
            time.sleep(0.01)

    def signal_server(self, number):
        self.server.send_signal(number)
        self.stopped = number == signal.SIGSTOP

    def kill_server(self):
        self.server.kill()
        self.server.wait()
        self.server = None

    # ---- the client

    def url(self, host=None):
        host = host or SERVER_IP[self.family]
        return "ws://%s:%d/" % ("[%s]" % host if ":" in host else host, PORT)

    def start_client(self, options, url=None):
        self.client = Client(self, self.programs["client"], url or self.url(), options, self.log)
        # Its first event says that it takes signals now.
        if not self.client.wait(lambda: self.client.states, now_ms() + 5000):
            raise RuntimeError("the client does not start")
        return self.client

    def set_names(self, text, file="hosts"):
        """What /etc/hosts, or another file there, says on the client's host. A file that is there
        before a program starts can be changed meanwhile."""
        os.makedirs(self.names, exist_ok=True)
        with open(os.path.join(self.names, file), "w") as out:
            out.write(text)

    def start_names(self, *addresses):
        """A name server at these addresses of the server's host: see names.py."""
        program = os.path.join(os.path.dirname(os.path.abspath(__file__)), "names.py")
        self.name_server = subprocess.Popen(
            self.inside("s") + [sys.executable, program] + list(addresses), text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log)
        if self.name_server.stdout.readline() != "listening\n":
            raise RuntimeError("the name server does not listen")

    def names_say(self, *lines):
        """Commands for it; the last one's answer."""
        said = ""
        for line in lines:
            self.name_server.stdin.write(line + "\n")
            self.name_server.stdin.flush()
            word = self.name_server.stdout.readline().strip()
            while word != "done":
                if not word:
                    raise RuntimeError("the name server has ended")
                said = word
                word = self.name_server.stdout.readline().strip()
        return said

    def questions(self):
        return int(self.names_say("count").split()[1])

    # ---- judging

    def received(self):
        """The numbers in the ledger, in order, each as often as it came."""
        if not os.path.exists(self.ledger):
            return []
        with open(self.ledger) as file:
            text = file.read()
        whole = text[:text.rfind("\n") + 1]  # a line may be on its way
        return [int(line.split(" ", 4)[3]) for line in whole.splitlines()]

    def close(self):
        if self.client:
            self.client.close()
        if self.server:
            self.kill_server()
        if self.name_server:
            self.name_server.kill()
            self.name_server.wait()
            self.name_server.stdin.close()
            self.name_server.stdout.close()
        self.log.close()
        for name in self.made:
            subprocess.run(["ip", "netns", "delete", name], stderr=subprocess.DEVNULL)
        self.made = []
        shutil.rmtree(self.names, ignore_errors=True)
        shutil.rmtree(self.directory, ignore_errors=True)
