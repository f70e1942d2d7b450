"""Kills: servers die under traffic, again and again, and the client's account must be true.

    run.py FOLDER [WORDS]

FOLDER holds the built programs `client` and `server`, and npm's modules. Of the combinations below
those are run whose line "CLIENT, SERVER, FRONT" contains WORDS. From the environment: KILLS, how
often each server is killed (100); SEED, of the schedule (else drawn, and printed: the same seed
gives the same faults and the same bursts, at moments that the machine makes its own).

A combination is a server, what stands in front of it, and a client. In each round the client is
given bursts of messages until the server is killed with SIGKILL, most times with a large burst on
its way; another starts on the same port, which appends to the same ledger. Before it, in some
rounds, the server or the proxy is stopped and continued, or the proxy is reloaded, or killed, or
ended, and started again. In the end all messages must be in the ledger. Of mtws.h is asserted, too:

  - every message that is DELIVERED is in the ledger at that moment (client.c looks),
  - every message ends in one event, DELIVERED,
  - first arrivals are in order, and their content is what was sent.

What others do under the same schedule is measured, and so is a server that confirms ahead of its
program. The last line is "N passed, N failed"; the table before it is for the README.
"""
import collections
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

from messages import RECORD_SIZE, message, record

HERE = os.path.dirname(os.path.abspath(__file__))
PORTS = range(20000, 32000)  # below those that outgoing connections take
END_LIMIT_S = 5              # for a proxy to end itself
WAIT_LIMIT_S = 60            # for a client to be connected again, on a machine that is busy
QUIET_S = 1.0                # a ledger that has not grown for so long is complete
NEVER = float("inf")

# measured: nothing is asserted but that it runs to its end.
Combination = collections.namedtuple("Combination", "server front client measured")
MTWS, PROGRAM = "mtws.h", "mtws.h, program confirms"
FRONTS = ["alone", "nginx", "haproxy"]
COMBINATIONS = [
    *[Combination("ws", front, MTWS, False) for front in FRONTS],
    *[Combination("libwebsockets", front, MTWS, False) for front in FRONTS],
    *[Combination("python3-websockets", front, PROGRAM, False) for front in FRONTS],
    Combination("python3-websockets", "alone", MTWS, True),
    Combination("ws", "alone", "reconnecting-websocket", True),
    Combination("ws", "alone", "python3-websockets loop", True),
]


def name_of(combination):
    return "%s, %s, %s" % (combination.client, combination.server, combination.front)


class Failure(Exception):
    pass


# ---- processes -----------------------------------------------------------------------------------

def free_port():
    for _ in range(1000):
        port = random.choice(PORTS)
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise Failure("no port is free")


class Process:
    """A program in a group of its own, its output in a file; it dies with this one."""

    def __init__(self, command, output, death="KILL", **more):
        self.output = open(output, "ab+")
        self.read = self.output.seek(0, os.SEEK_END)
        self.rest = b""
        self.counts = collections.Counter()
        self.ended = False
        self.child = subprocess.Popen(["setpriv", "--pdeathsig", death, *command],
                                      stdout=self.output, stderr=self.output,
                                      start_new_session=True, cwd=HERE, bufsize=0, **more)

    def lines(self):
        """Counts the first words of the lines that are new."""
        text = self.rest + os.pread(self.output.fileno(), 1 << 24, self.read)
        self.read += len(text) - len(self.rest)
        *lines, self.rest = text.split(b"\n")
        for line in lines:
            self.counts[line.split(b" ")[0].decode("latin-1")] += 1
        return self.counts

    def alive(self):
        """It is not reaped here, so that its id stays its own until end()."""
        how = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return not self.ended and os.waitid(os.P_PID, self.child.pid, how) is None

    def send_signal(self, number):
        """To the group: a proxy's workers too."""
        os.killpg(self.child.pid, number)

    def end(self, number=signal.SIGKILL):
        """Nothing of it is left when this returns."""
        if self.ended:
            return
        self.send_signal(number)
        limit = time.monotonic() + (0 if number == signal.SIGKILL else END_LIMIT_S)
        while self.alive() and time.monotonic() < limit:
            time.sleep(0.01)
        self.send_signal(signal.SIGKILL)
        self.child.wait()
        self.ended = True
        if self.child.stdin:
            self.child.stdin.close()
        self.output.close()


# ---- proxies -------------------------------------------------------------------------------------

NGINX = """
daemon off;
pid %(place)s/nginx.pid;
error_log %(place)s/nginx.log crit;
worker_processes 1;
worker_shutdown_timeout 200ms;
events { worker_connections 256; }
http {
    access_log off;
    client_body_temp_path %(place)s/nginx-body;
    proxy_temp_path %(place)s/nginx-proxy;
    fastcgi_temp_path %(place)s/nginx-fastcgi;
    uwsgi_temp_path %(place)s/nginx-uwsgi;
    scgi_temp_path %(place)s/nginx-scgi;
    server {
        listen 127.0.0.1:%(port)d;
        location / {
            proxy_pass http://127.0.0.1:%(behind)d;
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection "upgrade";
        }
    }
}
"""

HAPROXY = """
global
    maxconn 256
    hard-stop-after 200ms
defaults
    mode http
    retries 0
    timeout connect 1s
    timeout client 30s
    timeout server 30s
    timeout tunnel 30s
frontend front
    bind 127.0.0.1:%(port)d
    default_backend behind
backend behind
    server one 127.0.0.1:%(behind)d
"""


class Front:
    """A proxy that passes the WebSocket through as bytes; its master reloads at a signal."""

    def __init__(self, kind, place, behind):
        self.kind, self.place, self.port = kind, place, free_port()
        self.config = os.path.join(place, kind + ".conf")
        with open(self.config, "w") as f:
            f.write({"nginx": NGINX, "haproxy": HAPROXY}[kind]
                    % {"place": place, "port": self.port, "behind": behind})
        self.start()

    def start(self):
        command = {"nginx": ["nginx", "-c", self.config],
                   "haproxy": ["haproxy", "-W", "-f", self.config]}[self.kind]
        self.process = Process(command, os.path.join(self.place, self.kind + ".out"), "TERM")

    def listening(self):
        """Before that it knows no signals."""
        if not self.process.alive():
            raise Failure("%s ended by itself" % self.kind)
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", self.port)) == 0

    def reload(self):
        number = {"nginx": signal.SIGHUP, "haproxy": signal.SIGUSR2}[self.kind]
        os.kill(self.process.child.pid, number)


# ---- one combination -----------------------------------------------------------------------------

class Run:
    def __init__(self, combination, tools, folder, place, seed):
        self.combination, self.tools, self.folder, self.place = combination, tools, folder, place
        # Two generators, so that the faults do not depend on how much was sent in between.
        self.faults = random.Random("%s faults" % seed)
        self.bursts = random.Random("%s bursts" % seed)
        self.next_burst, self.sent, self.connects = NEVER, 0, 0
        self.count = collections.Counter()
        self.server = self.front = self.client = None
        self.ledger = os.path.join(place, "ledger")
        open(self.ledger, "w").close()
        self.port = free_port()

    # -- what runs

    def start_server(self):
        program = self.combination.client == PROGRAM
        command = {"ws": [self.tools["node"], "server.js"],
                   "libwebsockets": [os.path.join(self.folder, "server")],
                   "python3-websockets": [self.tools["python"], "server.py"]}
        self.server = Process([*command[self.combination.server], str(self.port), self.ledger,
                               *["program"] * program], os.path.join(self.place, "server.out"))

    def start_client(self):
        url = "ws://127.0.0.1:%d/" % (self.front.port if self.front else self.port)
        confirm = "program" if self.combination.client == PROGRAM else "pong"
        mtws = [os.path.join(self.folder, "client"), url, self.ledger, confirm]
        command = {MTWS: mtws, PROGRAM: mtws,
                   "reconnecting-websocket": [self.tools["node"], "peer.js", url],
                   "python3-websockets loop": [self.tools["python"], "peer.py", url]}
        self.client = Process(command[self.combination.client],
                              os.path.join(self.place, "client.out"), stdin=subprocess.PIPE)

    def end(self):
        for process in (self.client, self.front and self.front.process, self.server):
            if process:
                process.end()

    # -- traffic

    def tell(self, text):
        try:
            self.client.child.stdin.write(text.encode() + b"\n")
        except BrokenPipeError:
            raise Failure("the client is gone") from None

    def send(self, count):
        self.sent += count
        self.tell("send %d" % count)

    def traffic(self, seconds, until=lambda: False):
        """Bursts for so long, or until it holds; true: it does."""
        end = time.monotonic() + seconds
        while not until():
            now = time.monotonic()
            if now >= end:
                return False
            if now >= self.next_burst:
                self.send(self.bursts.randint(1, 40))
                self.next_burst = max(now, self.next_burst) + self.bursts.uniform(0.002, 0.03)
            time.sleep(max(0.0, min(end, self.next_burst, now + 0.005) - time.monotonic()))
        return True

    def wait_until(self, holds):
        if not self.traffic(WAIT_LIMIT_S, holds):
            raise Failure("%s: not within %d s" % (holds.__name__, WAIT_LIMIT_S))

    def ready(self):
        if not self.server.alive():
            raise Failure("the server ended by itself")
        return self.server.lines()["ready"] > 0

    def connected(self):
        """Once more than at the last kill."""
        if not self.client.alive():
            raise Failure("the client ended by itself")
        return self.client.lines()["connected"] > self.connects

    def finished(self):
        alive = self.client.alive()  # asked first: what it printed last is read below
        if self.client.lines()["end"] == 0 and not alive:
            raise Failure("the client ended by itself")
        return self.client.lines()["end"] > 0

    # -- faults

    def stop_and_continue(self, process, seconds):
        self.count["stop"] += 1
        process.send_signal(signal.SIGSTOP)
        self.traffic(seconds)
        process.send_signal(signal.SIGCONT)

    def disturb(self, kind, seconds, number):
        """Something that is no kill of the server."""
        if kind == "stop":
            self.stop_and_continue(self.server, seconds)
        elif not self.front:
            return
        elif kind == "stop front":
            self.stop_and_continue(self.front.process, seconds)
        elif kind == "reload front":
            self.count["reload"] += 1
            self.front.reload()
        elif kind == "restart front":
            self.count["restart"] += 1
            self.front.process.end(number)
            self.front.start()
            self.wait_until(self.front.listening)
        self.traffic(seconds)

    def round(self):
        """Everything that chance decides is drawn first: so a round's draws are its own."""
        f = self.faults
        in_handshake = f.random() < 0.15
        calm, down = f.uniform(0, 0.25), f.choice([0, 0, f.uniform(0, 0.3)])
        kind = f.choice(["", "", "", "", "stop", "stop front", "reload front", "restart front"])
        disturbance, number = f.uniform(0.02, 0.7), f.choice([signal.SIGKILL, signal.SIGTERM])
        burst, flight = f.choice([0, f.randint(20, 400)]), f.choice([0, f.uniform(0, 0.006)])
        while_stopped = f.random() < 0.1

        self.wait_until(self.ready)
        if not in_handshake:
            self.wait_until(self.connected)
        self.traffic(calm)
        self.disturb(kind, disturbance, number)
        if while_stopped:
            self.server.send_signal(signal.SIGSTOP)
        if burst:
            self.send(burst)
        time.sleep(flight)
        self.server.end()
        self.count["kill"] += 1
        self.connects = self.client.lines()["connected"]
        self.traffic(down)
        self.start_server()

    # -- the whole

    def go(self, kills):
        self.next_burst = NEVER
        self.start_server()
        self.wait_until(self.ready)
        if self.combination.front != "alone":
            self.front = Front(self.combination.front, self.place, self.port)
            self.wait_until(self.front.listening)
        self.start_client()
        self.next_burst = time.monotonic()
        for _ in range(kills):
            self.round()
        self.next_burst = NEVER
        self.tell("finish")
        self.wait_until(self.finished)
        self.wait_for_quiet()

    def wait_for_quiet(self):
        size, since = -1, time.monotonic()
        while time.monotonic() - since < QUIET_S:
            now = os.path.getsize(self.ledger)
            if now != size:
                size, since = now, time.monotonic()
            time.sleep(0.05)

    # -- the account

    def read_ledger(self):
        """Counts what is lost, out of order among first arrivals, sent twice, and altered."""
        with open(self.ledger, "rb") as f:
            ledger = f.read()
        seen, last = set(), 0
        for at in range(0, len(ledger), RECORD_SIZE):
            entry = ledger[at:at + RECORD_SIZE]
            number = int(entry[:8])
            if number in seen:
                self.count["twice"] += 1
                continue
            seen.add(number)
            self.count["altered"] += entry != record(number, message(number))
            self.count["disordered"] += number < last
            last = max(last, number)
        self.count["lost"] = self.sent - len(seen)
        self.count["unknown"] = sum(number > self.sent for number in seen)

    def read_account(self):
        """What client.c says of itself, at its end."""
        with open(os.path.join(self.place, "client.out")) as f:
            end = re.search(r"^end (.*)$", f.read(), re.MULTILINE).group(1)
        if self.combination.client not in (MTWS, PROGRAM):
            return
        names = ["sent", "delivered", "dropped", "early", "resent", "connects"]
        self.count.update(dict(zip(names, map(int, end.split()))))

    def verdict(self, kills):  # FAULTS row 43
        """What is wrong: nothing, if all is well."""
        c, wrong = self.count, []
        if not self.combination.measured:
            wrong += ["%s %d" % (name, c[name])
                      for name in ("lost", "early", "disordered", "dropped") if c[name]]
            if c["delivered"] != self.sent:
                wrong.append("delivered %d of %d" % (c["delivered"], self.sent))
            if c["connects"] < kills // 2 or (kills >= 20 and c["resent"] == 0):
                wrong.append("the kills met no traffic")
        wrong += ["%s %d" % (name, c[name]) for name in ("altered", "unknown") if c[name]]
        return wrong


def perform(combination, tools, folder, kills, seed):
    place = tempfile.mkdtemp(prefix="mtws-kills-")
    run = Run(combination, tools, folder, place, seed)
    start = time.monotonic()
    try:
        run.go(kills)
        run.end()
        run.read_ledger()
        run.read_account()
        wrong = run.verdict(kills)
    except Failure as failure:
        wrong = [str(failure)]
    finally:
        run.end()
    run.count["seconds"] = int(time.monotonic() - start)
    if wrong:
        print("FAILED  %s: %s; see %s" % (name_of(combination), ", ".join(wrong), place))
    else:
        shutil.rmtree(place)
    return run, not wrong


# ---- what is there -------------------------------------------------------------------------------

def output_of(*command):
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def find_tools():
    """The interpreters and the versions of all that takes part; None, and what is missing."""
    version = "import websockets.version as v; print(v.version)"
    python = next((p for p in (sys.executable, "/usr/bin/python3")
                   if output_of(p, "-c", version)), None)
    tools = {"python": python, "node": shutil.which("node")}
    of_package = 'console.log(require("%s/package.json").version)'
    versions = {
        "python3-websockets": python and output_of(python, "-c", version),
        "ws": output_of("node", "-e", of_package % "ws"),
        "reconnecting-websocket": output_of("node", "-e", of_package % "reconnecting-websocket"),
        "nginx": output_of("nginx", "-v"),
        "haproxy": output_of("haproxy", "-v"),
        "setpriv": output_of("setpriv", "--version"),
    }
    for name, text in versions.items():
        found = re.search(r"\d+\.\d[\w.]*", text or "")
        print("%s %s" % (name, found.group(0) if found else "is missing"))
    return tools if all(versions.values()) else None


def print_table(runs):
    print("\n| client | server | front | kills | other faults | messages | lost | out of order "
          "| sent twice |\n|" + "---|" * 9)
    for run in runs:
        c, of = run.count, run.combination
        print("| %s | %s | %s | %d | %d | %d | %d | %d | %d |"
              % (of.client, of.server, of.front, c["kill"], c["stop"] + c["reload"] + c["restart"],
                 run.sent, c["lost"], c["disordered"], c["twice"]))
    print()


def main():
    folder, words = os.path.abspath(sys.argv[1]), " ".join(sys.argv[2:])
    kills = int(os.environ.get("KILLS") or 100)
    seed = os.environ.get("SEED") or str(random.SystemRandom().randrange(1 << 32))
    os.environ["NODE_PATH"] = os.path.join(folder, "node_modules")
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    tools = find_tools()
    if tools is None:
        print("on Debian: apt-get install python3-websockets nginx-light haproxy nodejs npm\n"
              "0 passed, 1 failed")
        sys.exit(1)
    print("seed %s, %d kills each" % (seed, kills), flush=True)
    good_runs, failed = [], 0
    for combination in COMBINATIONS:
        if words not in name_of(combination):
            continue
        run, good = perform(combination, tools, folder, kills, seed)
        print("%s: %s" % (name_of(combination),
                          ", ".join("%s %d" % item for item in run.count.items())), flush=True)
        good_runs += [run] * good
        failed += not good
    print_table(good_runs)
    print("%d passed, %d failed" % (len(good_runs), failed))
    sys.exit(1 if failed or not good_runs else 0)


main()
