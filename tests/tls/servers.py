"""wss:// against real servers: nginx, stunnel, haproxy, openssl, and scripts on python's ssl.

    servers.py FOLDER PKI [WORD]

runs every test whose name contains WORD with the programs in FOLDER (client, and openssl, which is
the same over examples/openssl_transport.c; mtwscat) and the certificates in PKI (pki.sh). RELOADS
(from the environment, default 5) is how often nginx is reloaded and started anew under traffic. The
last line is "N passed, N failed". WORD "figures" measures instead how long mtws_poll takes, at
most, of the processor's time while a connection is made.
"""

import base64
import contextlib
import fcntl
import hashlib
import os
import random
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import termios
import threading
import time
import warnings

HERE = os.path.dirname(os.path.abspath(__file__))
PROGRAMS, PKI = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
WORD = sys.argv[3] if len(sys.argv) > 3 else ""
RELOADS = int(os.environ.get("RELOADS") or 5)
TLS, TRUST, NAME, TIME, TIMEOUT, HTTP_STATUS, RESET = -11, -12, -13, -14, -19, -16, -22
SIZES = [16, 200, 16400, 70000]
PORTS = range(20000, 32000)  # below those that the system gives to whoever asks for any

folder = tempfile.mkdtemp(prefix="mtws-tls-")


def pki(name):
    return os.path.join(PKI, name)


def text_of(path):
    with open(path, encoding="utf-8", errors="replace", newline="") as file:
        return file.read()


# ---- servers -------------------------------------------------------------------------------------

def free_port():
    """One that nobody takes meanwhile, before its server listens and while it is away."""
    while True:
        port = random.choice(PORTS)
        with socket.socket() as s, contextlib.suppress(OSError):
            s.bind(("127.0.0.1", port))
            return port


def wait_until(condition, what, seconds=15):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise RuntimeError(what)
        time.sleep(0.02)


def listens(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


class Process:
    """A server in the foreground, whose output goes to a file; ended by its process id."""

    def __init__(self, name, command, port=None, stdin=None):
        self.path = os.path.join(folder, f"{name}-{port or 0}.out")
        self.output = open(self.path, "wb")
        self.process = subprocess.Popen(command, stdin=stdin or subprocess.DEVNULL,
                                        stdout=self.output, stderr=subprocess.STDOUT, cwd=folder)
        if port:
            wait_until(lambda: listens(port) or self.process.poll() is not None,
                       f"{name} does not start")
            if self.process.poll() is not None:
                raise RuntimeError(f"{name}: {text_of(self.path)[-500:]}")

    def text(self):
        return text_of(self.path)

    def stop(self, number=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(number)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.output.close()

    def __enter__(self):
        return self

    def __exit__(self, *what):
        self.stop()


class Backend(Process):
    """The WebSocket server behind the TLS ones, with its ledger."""

    def __init__(self):
        self.ledger = os.path.join(folder, "ledger")
        self.port = free_port()
        python = os.environ.get("PYTHON") or "/usr/bin/python3"
        super().__init__("backend", [python, os.path.join(HERE, "../interop/server.py"),
                                     str(self.port), self.ledger], self.port)


def write(name, text):
    path = os.path.join(folder, name)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return path


class Nginx(Process):
    def __init__(self, backend, certificate="rsa", lines="", port=None, ssl_lines=""):
        self.port = port or free_port()
        self.access = os.path.join(folder, f"access-{self.port}")
        self.config = write(f"nginx-{self.port}.conf", f"""
            {"user root;" if os.getuid() == 0 else ""}
            daemon off; worker_processes 1; pid {folder}/nginx-{self.port}.pid;
            error_log {folder}/nginx-{self.port}.error info; worker_shutdown_timeout 200ms;
            events {{ worker_connections 256; }}
            http {{
                log_format tls '$ssl_protocol $ssl_cipher $ssl_session_reused $ssl_client_verify';
                access_log {self.access} tls;
                client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2;
                fastcgi_temp_path {folder}/t3; uwsgi_temp_path {folder}/t4;
                scgi_temp_path {folder}/t5;
                server {{
                    listen 127.0.0.1:{self.port} ssl;
                    ssl_certificate {pki(certificate + ".pem")};
                    ssl_certificate_key {pki(certificate + ".key")};
                    {ssl_lines or "ssl_protocols TLSv1.2; ssl_session_cache shared:tls:1m;"}
                    ssl_session_tickets off; ssl_session_timeout 1h;
                    {lines}
                    location / {{
                        proxy_pass http://127.0.0.1:{backend.port}; proxy_http_version 1.1;
                        proxy_set_header Upgrade $http_upgrade;
                        proxy_set_header Connection upgrade;
                        proxy_read_timeout 1h; proxy_buffering off;
                    }}
                }}
            }}""")
        self.start()

    def start(self):
        super().__init__("nginx", ["nginx", "-p", folder, "-c", self.config], self.port)

    def reload(self):
        """Old workers end, and with them their connections."""
        before = self.text_of_errors().count("start worker process ")
        self.process.send_signal(signal.SIGHUP)
        wait_until(lambda: self.text_of_errors().count("start worker process ") > before,
                   "nginx does not reload")

    def text_of_errors(self):
        return text_of(os.path.join(folder, f"nginx-{self.port}.error"))

    def log(self):
        return text_of(self.access)


class Stunnel(Process):
    def __init__(self, backend, certificate="ec"):
        self.port = free_port()
        config = write("stunnel.conf", f"""foreground = yes
pid =
debug = info
[ws]
accept = 127.0.0.1:{self.port}
connect = 127.0.0.1:{backend.port}
cert = {pki(certificate + ".pem")}
key = {pki(certificate + ".key")}
sessionCacheTimeout = 3600
options = NO_TICKET
""")
        super().__init__("stunnel", ["stunnel4" if shutil.which("stunnel4") else "stunnel", config],
                         self.port)


class Haproxy(Process):
    def __init__(self, backend, certificate="rsa"):
        self.port = free_port()
        crt = write("haproxy.pem", text_of(pki(certificate + ".pem")) +
                    text_of(pki(certificate + ".key")))
        config = write("haproxy.cfg", f"""
global
    tune.ssl.default-dh-param 2048
defaults
    mode http
    timeout connect 5s
    timeout client 1m
    timeout server 1m
    timeout tunnel 1h
frontend f
    bind 127.0.0.1:{self.port} ssl crt {crt} ssl-min-ver TLSv1.2 no-tls-tickets alpn h2,http/1.1
    default_backend b
backend b
    server s 127.0.0.1:{backend.port}
""")
        super().__init__("haproxy", ["haproxy", "-db", "-f", config], self.port)


class Listener:
    """Accepts connections and hands each to a function, in a thread of its own."""

    def __init__(self, serve):
        self.serve = serve
        self.connections = 0
        self.wrong = []
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.threads = []
        self.closing = False
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self.run, args=(connection,), daemon=True).start()

    def run(self, connection):
        connection.settimeout(20)
        try:
            with connection:
                self.serve(connection)
        except OSError as error:
            self.wrong.append(str(error))

    def __enter__(self):
        return self

    def __exit__(self, *what):
        self.socket.close()


warnings.filterwarnings("ignore", category=DeprecationWarning)  # of old versions, which are meant


def context(certificate, **settings):
    """A server's SSLContext."""
    c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if settings.pop("weak", False):
        c.set_ciphers("ALL:@SECLEVEL=0")
    c.load_cert_chain(pki(certificate + ".pem"), pki(certificate + ".key"))
    for name, value in settings.items():
        setattr(c, name, value)
    return c


def upgrade(stream):
    """Reads the request and answers it."""
    request = b""
    while b"\r\n\r\n" not in request:
        part = stream.recv(4096)
        if not part or len(request) > 65536:
            raise OSError("no request")
        request += part
    key = re.search(rb"(?i)sec-websocket-key: *(\S+)", request).group(1)
    accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    return (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n")


def scripted(certificate, script, **settings):
    """A Listener that speaks TLS, and then does what script(stream) does."""
    tls = context(certificate, **settings)

    def serve(connection):
        with tls.wrap_socket(connection, server_side=True) as stream:
            script(stream)

    return Listener(serve)


def relay(port, down):
    """Passes on to the port; down(data, connection, state) sends what comes back."""
    def serve(connection):
        with socket.create_connection(("127.0.0.1", port)) as server:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

            def up():
                with contextlib.suppress(OSError):
                    while data := connection.recv(65536):
                        server.sendall(data)
                    server.shutdown(socket.SHUT_WR)

            threading.Thread(target=up, daemon=True).start()
            state = {"total": 0}
            while data := server.recv(65536):
                if not down(data, connection, state):
                    time.sleep(state.get("pause", 0))
                    return

    return Listener(serve)


# ---- the client ----------------------------------------------------------------------------------

class Run:
    """The client's life, from its output."""

    def __init__(self, url, env=None, program="client", **settings):
        self.command = [os.path.join(PROGRAMS, program), url]
        self.command += [f"{name}={value}" for name, value in settings.items()]
        self.env = dict(os.environ, **(env or {}))
        self.started = time.monotonic()
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, env=self.env,
                                        stdin=subprocess.PIPE if "endless" in settings else None,
                                        stderr=subprocess.STDOUT, text=True, errors="replace")
        self.lines = []
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def end(self, seconds=120):
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.reader.join()
        self.took = time.monotonic() - self.started
        self.status = self.process.returncode
        return self

    def finish(self, seconds=120):
        """Ends the messages of an endless one."""
        self.process.stdin.close()
        return self.end(seconds)

    def find(self, start):
        return [line for line in list(self.lines) if line.startswith(start)]

    def states(self):
        return [line.split(" ", 2)[1] for line in self.find("state ")]

    def error(self):
        """Result and reason of the first error."""
        for line in self.find("state error"):
            words = line.split(" ", 5)
            return int(words[2]), words[5] if len(words) > 5 else ""
        return 0, ""

    def figures(self):
        line = (self.find("figures ") or ["figures"])[0]
        return {name: int(value) for name, value in re.findall(r"(\w+)=(\d+)", line)}

    def handshakes(self):
        return [line.rsplit(", ", 1)[1] for line in self.find("log tls_open")]


def run(port, host="localhost", path="/echo", seconds=120, env=None, **settings):
    settings.setdefault("ca", pki("root.pem"))
    if settings["ca"] is None:
        del settings["ca"]
    return Run(f"wss://{host}:{port}{path}", env, **settings).end(seconds)


# ---- tests ---------------------------------------------------------------------------------------

tests = []
wrong = []


def test(function):
    tests.append(function)
    return function


def check(holds, text, *values):
    if not holds:
        wrong.append(text % values if values else text)
    return holds


def check_works(r):
    check(r.status == 0, "%s: ended with %s: %s", " ".join(r.command[1:]), r.status, r.lines[-6:])


def check_fails(r, result, text, final):
    """The first attempt failed so; with final, no other was to follow."""
    got = r.error()
    check(got[0] == result, "%s gave %s, not %s", " ".join(r.command[1:]), got, result)
    check(text in got[1], "the reason is %r, without %r", got[1], text)
    check("connected" not in r.states(), "it was connected")
    follows = r.states()[r.states().index("error") + 1] if "error" in r.states() else "nothing"
    check(follows == ("failed" if final else "reconnecting"), "after error came %s", follows)


@test
def each_server_echoes(backend):
    """Small messages and large ones, fragmented ones, by name and by address."""
    for make in (Nginx, Stunnel, Haproxy):
        for certificate in ("rsa", "ec"):
            with make(backend, certificate) as server:
                for size in SIZES:
                    check_works(run(server.port, count=60, size=size, echo=1))
                check_works(run(server.port, host="127.0.0.1", count=10, echo=1))
                check_works(run(server.port, host="LocalHost", count=10, echo=1))
                check_works(run(server.port, host="127.0.0.1", name="server.test", echo=1))


@test
def much_at_once(backend):
    with Nginx(backend) as server:
        check_works(run(server.port, count=40, size=1000000, echo=1, limit=60000))


@test
def trust_is_checked(backend):  # FAULTS rows 60 and 62
    """Certificates, hosts, anchors and times; what is final on the first attempt is."""
    rows = [
        ("ec", "localhost", {}, 0, "", False),
        ("ec", "localhost", {"ca": None, "ca_pem": pki("root.pem")}, 0, "", False),
        ("ec", "localhost", {"trust": 1}, 0, "", False),
        ("untrusted", "localhost", {}, TRUST, "trusted root", True),
        ("selfsigned", "localhost", {}, TRUST, "trusted root", True),
        ("selfsigned", "localhost", {"ca": pki("selfsigned.pem")}, 0, "", False),
        ("other", "localhost", {}, NAME, "another host", True),
        ("other", "127.0.0.1", {}, NAME, "another host", True),
        ("other", "localhost", {"name": "other.test"}, 0, "", False),
        ("subject-name", "localhost", {}, NAME, "another host", True),
        ("subject-address", "127.0.0.1", {}, NAME, "another host", True),
        ("name-address", "127.0.0.1", {}, NAME, "another host", True),
        ("expired", "localhost", {}, TIME, "2021-06-01", False),
        ("future", "localhost", {}, TIME, "2090-01-01", False),
        ("ec", "localhost", {"clock": -10**10}, TIME, "clock says 1970-01-01", False),
        ("clientonly", "localhost", {}, TRUST, "not for servers", True),
        ("critical", "localhost", {}, TRUST, "critical extension", True),
        ("weak", "localhost", {}, TRUST, "2048", True),
        ("many", "localhost", {"name": "host-0500.many.test"}, 0, "", False),
        ("untrusted", "localhost", {"insecure": 1, "ca": None}, 0, "", False),
        ("expired", "localhost", {"insecure": 1, "ca": None}, 0, "", False),
        ("other", "localhost", {"insecure": 1, "ca": None}, 0, "", False),
    ]
    pin, other = text_of(pki("ec.pin")).strip(), text_of(pki("rsa.pin")).strip()
    inter, root = text_of(pki("inter.pin")).strip(), text_of(pki("root.pin")).strip()
    rows += [
        ("ec", "localhost", {"pin": pin}, 0, "", False),
        ("ec", "localhost", {"pin": f"{other}, {pin}"}, 0, "", False),
        ("ec", "localhost", {"pin": inter}, 0, "", False),
        ("ec", "localhost", {"pin": root}, TRUST, "pin_sha256", True),
        ("ec", "localhost", {"pin": other}, TRUST, "pin_sha256", True),
        ("untrusted", "localhost", {"pin": text_of(pki("untrusted.pin")).strip()}, TRUST, "", True),
        ("untrusted", "localhost", {"insecure": 1, "ca": None,
                                    "pin": text_of(pki("untrusted.pin")).strip()}, 0, "", False),
        ("ec", "localhost", {"insecure": 1, "ca": None, "pin": other}, TRUST, "pin_sha256", True),
        ("ec", "localhost", {"insecure": 1, "ca": None, "pin": inter}, TRUST, "pin_sha256", True),
    ]

    def close(stream):
        stream.sendall(upgrade(stream))
        stream.recv(4096)
        stream.sendall(b"\x88\x02\x03\xe8")

    for certificate, host, settings, result, text, final in rows:
        weak = certificate == "weak"
        with scripted(certificate, close, weak=weak, maximum_version=ssl.TLSVersion.TLSv1_2) as s:
            if result == 0:
                r = run(s.port, host, **settings)
                check("connected" in r.states(), "%s %s: %s", certificate, settings, r.lines)
                insecure = [line for line in r.lines if line.startswith("log tls_insecure")]
                check(len(insecure) == (2 if "insecure" in settings else 0), "%s", r.lines)
            else:
                r = run(s.port, host, attempts=1, max=250, **settings)
                check_fails(r, result, text, final)
                if final:
                    check(s.connections == 1, "%s attempts", s.connections)


@test
def roots_are_found_or_nothing_is_trusted(backend):  # FAULTS row 63
    with Nginx(backend) as server:
        r = run(server.port, ca=None, env={"SSL_CERT_FILE": pki("root.pem")}, count=5, echo=1)
        check_works(r)
        check(any("1 roots from" in line for line in r.find("log trust")), "%s", r.lines)
        for settings, env in (({"ca": None}, {"SSL_CERT_FILE": "/nowhere"}),
                              ({"ca": "/nowhere"}, {}), ({"ca": ""}, {}),
                              ({"ca": pki("root.key")}, {})):
            r = run(server.port, env=env, **settings)
            check(r.find(f"refused {TRUST}"), "%s %s: %s", settings, env, r.lines)
        check_fails(run(server.port, ca=None, env={"SSL_CERT_FILE": ""}, attempts=1, max=250),
                    TRUST, "trusted root", True)


@test
def later_failures_are_retried(backend):
    """A certificate that goes bad under a program that was connected before."""
    port = free_port()
    with Nginx(backend, port=port):
        r = Run(f"wss://localhost:{port}/echo", ca=pki("root.pem"), attempts=-2, count=5, echo=1,
                hold=90000, limit=90000, max=300)
        wait_until(lambda: r.find("delivered"), "nothing is delivered")
    with Nginx(backend, "other", port=port):
        wait_until(lambda: any(f"error {NAME}" in line for line in r.find("state")), "no error")
    with Nginx(backend, "ec", port=port):
        wait_until(lambda: len(r.find("state connected")) == 2, "not back: %s" % r.lines)
    r.process.kill()
    r.end()
    check("failed" not in r.states(), "%s", r.states())


@test
def old_versions_are_refused(backend):
    old = {"TLSv1": ssl.TLSVersion.TLSv1, "TLSv1.1": ssl.TLSVersion.TLSv1_1}
    for name, version in old.items():
        with scripted("rsa", lambda stream: stream.recv(1), weak=True,
                      minimum_version=version, maximum_version=version) as s:
            check_fails(run(s.port, attempts=1, max=250), TLS, "TLS 1.2", False)
            check(any("no protocols" in text.lower() or "shared cipher" in text.lower() or
                      "unsupported" in text.lower() for text in s.wrong), "%s: %s", name, s.wrong)


@test
def a_server_of_tls_1_3_alone(backend):  # FAULTS row 65
    with scripted("rsa", lambda stream: stream.recv(1),
                  minimum_version=ssl.TLSVersion.TLSv1_3) as s:
        check_fails(run(s.port, attempts=1, max=250), TLS, "it speaks TLS 1.3 only", False)
    with Nginx(backend, ssl_lines="ssl_protocols TLSv1.3;") as server:
        check_fails(run(server.port, attempts=1, max=250), TLS, "it speaks TLS 1.3 only", False)
    with Nginx(backend, ssl_lines="ssl_protocols TLSv1.2 TLSv1.3;") as server:
        check_works(run(server.port, count=5, echo=1))


@test
def what_the_client_offers(backend):
    """TLS 1.2 and no other, http/1.1, no name for an address, forward secrecy, and fresh randomness
    for each attempt (FAULTS rows 57 and 58)."""
    hellos = []

    def serve(connection):
        hellos.append(connection.recv(4096))

    with Listener(serve) as s:
        run(s.port, attempts=-1)
        run(s.port, host="127.0.0.1", attempts=-1)
        wait_until(lambda: len(hellos) == 2, "no hello")
        run(s.port, attempts=2, max=250)
        wait_until(lambda: len(hellos) == 5, "no hello of a second attempt")
    check(len({hello[11:43] for hello in hellos}) == 5, "two attempts with the same randomness")
    check(all(hello[9:11] == b"\x03\x03" for hello in hellos), "the version is another")
    check(all(b"\x08http/1.1" in hello for hello in hellos), "no ALPN")
    check(b"localhost" in hellos[0], "no name")
    check(b"127.0.0.1" not in hellos[1], "an address as a name")
    suites = set()
    for hello in hellos:
        at = 44 + hello[43]
        size = int.from_bytes(hello[at:at + 2], "big")
        suites |= {hello[i:i + 2].hex() for i in range(at + 2, at + 2 + size, 2)}
    known = {"c02b", "c02f", "c02c", "c030", "cca9", "cca8", "c0ac", "c0ad", "c023", "c027", "c024",
             "c028"}
    check(suites == known, "%s", suites ^ known)


@test
def a_server_without_tls(backend):
    check_fails(run(backend.port, attempts=1, max=250), TLS, "not TLS", False)
    with Nginx(backend) as server:
        r = Run(f"ws://localhost:{server.port}/echo", attempts=1, max=250).end()
        check(r.error()[0] == HTTP_STATUS, "%s", r.lines)


@test
def another_protocol_of_alpn(backend):
    with openssl_server("-alpn", "h2") as (server, _):
        check_fails(run(server.port, attempts=1, max=250), TLS, "ALPN", False)


def unread(pipe):
    """How many bytes written to a pipe nobody has read yet."""
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)


class Printed:
    """What openssl's server has printed, as a stream."""

    def __init__(self, server):
        self.server = server

    def recv(self, size):
        return self.server.text().encode()


@contextlib.contextmanager
def openssl_server(*arguments, version="-tls1_2"):
    port = free_port()
    reading, writing = os.pipe()
    command = ["openssl", "s_server", "-accept", str(port), "-cert", pki("rsa.leaf"), "-key",
               pki("rsa.key"), "-cert_chain", pki("inter.leaf"), *arguments]
    command += [version] if version else []
    server = Process("s_server", command, port, stdin=reading)
    server.port = port
    os.close(reading)
    try:
        yield server, writing
    finally:
        os.close(writing)
        server.stop()


@test
def renegotiation_is_refused(backend):
    """openssl's server asks for it in the middle of a WebSocket: "r" on its standard input."""
    with openssl_server("-legacy_renegotiation") as (server, writing):
        r = Run(f"wss://localhost:{server.port}/", ca=pki("root.pem"), limit=90000)
        wait_until(lambda: "Sec-WebSocket-Key" in server.text(), "no request: %s" % r.lines)
        os.write(writing, upgrade(Printed(server)))
        wait_until(lambda: r.find("state connected"), "not connected: %s" % r.lines)
        os.write(writing, b"r\n")
        wait_until(lambda: "no renegotiation" in server.text(), "it was not refused")
        time.sleep(0.5)  # for what must not follow
        check("DONE" not in server.text(), "the server ended")
        r.process.kill()
        r.end()
        check(server.text().count("CIPHER is") == 1, "there was another handshake")


@test
def cut_without_close_notify(backend):  # FAULTS row 64
    """A message that is cut is not handed over; the connection counts as broken."""
    def serve(tail):
        def script(stream):
            stream.sendall(upgrade(stream))
            stream.sendall(b"\x81\x05whole" + tail)
            time.sleep(0.2)
            raw = socket.socket(fileno=stream.detach())
            raw.shutdown(socket.SHUT_RDWR)
            raw.close()
        return script

    for tail in (b"", b"\x81\x08half", b"\x01\x04half"):
        with scripted("ec", serve(tail), maximum_version=ssl.TLSVersion.TLSv1_2) as s:
            r = run(s.port, attempts=-1, hold=9000)
            check(r.find("message ") == ["message whole"], "%s", r.find("message"))
            check(r.error()[0] == RESET, "%s", r.lines)
            check("1006" in r.find("state error")[0], "%s", r.find("state error"))
            check("close_notify" in r.error()[1], "%s", r.error())


@test
def both_sides_say_close_notify(backend):
    heard = []

    def script(stream):
        stream.sendall(upgrade(stream))
        stream.sendall(b"\x88\x02\x03\xe8")
        while stream.recv(4096):
            pass  # b"" is the client's close_notify; without it python raises
        heard.append(True)

    with scripted("ec", script, maximum_version=ssl.TLSVersion.TLSv1_2,
                  options=ssl.OP_ALL & ~ssl.OP_IGNORE_UNEXPECTED_EOF) as s:
        r = run(s.port, attempts=-1, close=500)
        check("connected" in r.states(), "%s", r.lines)
        wait_until(lambda: heard or s.wrong, "the server still waits")
        check(heard, "%s", s.wrong)


@test
def handshake_in_single_bytes(backend):
    def down(data, connection, state):
        for i in range(len(data)):
            connection.sendall(data[i:i + 1])
        return True

    for certificate in ("rsa", "ec"):
        with Nginx(backend, certificate) as server, relay(server.port, down) as s:
            check_works(run(s.port, count=10, size=50, echo=1))


@test
def stalled_at_each_message(backend):
    """Behind each record of the handshake, and within each, nothing more comes."""
    seen = []

    def measure(data, connection, state):
        seen.append(data)
        connection.sendall(data)
        return True

    with Nginx(backend, "ec") as server:
        with relay(server.port, measure) as s:
            check_works(run(s.port))
        stream, places, at = b"".join(seen), [1], 0
        while at + 5 <= len(stream) and len(places) < 14:
            size = 5 + int.from_bytes(stream[at + 3:at + 5], "big")
            places += [at + 3, at + size // 2, at + size]
            at += size

        for place in places:
            def down(data, connection, state, place=place):
                part = data[:max(0, place - state["total"])]
                state["total"] += len(part)
                connection.sendall(part)
                state["pause"] = 2
                return state["total"] < place

            with relay(server.port, down) as s:
                r = run(s.port, attempts=-1, connect=700)
                check(r.error()[0] == TIMEOUT, "at %s: %s", place, r.lines)
                check(r.figures()["polls"] < 60, "at %s: %s", place, r.figures())


@test
def sessions_are_resumed(backend):
    """By the session's id, on each server, and not where the server has forgotten it."""
    for make in (Nginx, Stunnel, Haproxy):
        with make(backend) as server:
            r = run(server.port, path=f"/drop?count=3&by={make.__name__}", attempts=-2, count=5,
                    echo=1, max=250)
            check_works(r)
            check(r.handshakes() == ["full handshake"] + ["resumed"] * 3, "%s: %s",
                  make.__name__, r.handshakes())
    # Cut without a word, nginx keeps it; and a program that begins anew has none.
    with Nginx(backend) as server, relay(server.port, cutting(3)) as s:
        r = Run(f"wss://localhost:{s.port}/ledger", ca=pki("root.pem"), attempts=-2, gap=20,
                max=250, endless=1, limit=90000)
        wait_until(lambda: len(r.find("state connected")) == 4, "not cut: %s" % r.lines)
        r.finish()
        check_works(r)
        r = run(s.port, attempts=-2, count=500, gap=20, path="/ledger", max=250)
        check_works(r)
        check(r.handshakes() == ["full handshake"], "%s", r.handshakes())
        check(server.log().count(" r ") == 3, "%s", server.log())


def cutting(times):
    """Ends so many connections when they have lived for a while."""
    left = [times]

    def down(data, connection, state):
        born = state.setdefault("born", time.monotonic())
        connection.sendall(data)
        if left[0] == 0 or time.monotonic() < born + 0.2:
            return True
        left[0] -= 1
        return False

    return down


def connect_proxy(seen):
    """A proxy that obeys CONNECT, and passes bytes on."""
    def serve(connection):
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += connection.recv(1)
        seen.append(head)
        target = head.split(b" ")[1].decode()
        with socket.create_connection(("127.0.0.1", int(target.rsplit(":", 1)[1]))) as server:
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")

            def up():
                with contextlib.suppress(OSError):
                    while data := connection.recv(65536):
                        server.sendall(data)
                    server.shutdown(socket.SHUT_WR)

            threading.Thread(target=up, daemon=True).start()
            while data := server.recv(65536):
                connection.sendall(data)

    return Listener(serve)


@test
def through_a_proxy(backend):
    """TLS goes through, and the proxy sees nothing but the target."""
    seen = []
    with Nginx(backend, "ec") as server, connect_proxy(seen) as proxy:
        url = f"http://127.0.0.1:{proxy.port}"
        for size in SIZES:
            check_works(run(server.port, proxy=url, count=60, size=size, echo=1))
        r = run(server.port, proxy=url, path=f"/drop?count=3&x={time.monotonic_ns()}", attempts=-2,
                count=5, echo=1, max=250)
        check_works(r)
        check(r.handshakes() == ["full handshake"] + ["resumed"] * 3, "%s", r.handshakes())
        check(len(seen) == len(SIZES) + 4, "%s", seen)
        start = b"CONNECT localhost:%d " % server.port
        check(all(head.startswith(start) for head in seen), "%s", seen)
        check(not any(b"WebSocket" in head for head in seen), "%s", seen)
        check_fails(run(server.port, proxy=url, ca=pki("stranger.pem"), attempts=1, max=250),
                    TRUST, "trusted root", True)


@test
def redirects_are_followed_over_tls(backend):
    """To another server of TLS, whose certificate is looked at; from ws to wss; never back."""
    with Nginx(backend, "ec") as last, Nginx(backend, "untrusted") as bad:
        for target, result in ((f"wss://localhost:{last.port}/echo", 0),
                               (f"wss://localhost:{bad.port}/echo", TRUST),
                               (f"ws://localhost:{backend.port}/echo", HTTP_STATUS)):
            lines = f"location = /go {{ return 302 {target}; }}"
            with Nginx(backend, lines=lines) as first:
                r = run(first.port, path="/go", redirects=3, count=5, echo=1)
                check(r.error()[0] == result, "%s: %s", target, r.lines)
                if result == 0:
                    check_works(r)

        def answer(connection):
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: "
                               b"wss://localhost:%d/echo\r\n\r\n" % last.port)

        with Listener(answer) as plain:
            check_works(Run(f"ws://localhost:{plain.port}/", ca=pki("root.pem"), redirects=1,
                            count=5, echo=1).end())
            check_works(Run(f"ws://localhost:{plain.port}/", redirects=1, count=5, echo=1,
                            env={"SSL_CERT_FILE": pki("root.pem")}).end())


@test
def client_certificates(backend):
    lines = f"ssl_client_certificate {pki('root.pem')}; ssl_verify_client on; ssl_verify_depth 3;"
    with Nginx(backend, lines=lines) as server:
        for name, key in (("client-rsa", "client-rsa.key"), ("client-ec", "client-ec.key"),
                          ("client-rsa", "client-rsa.pkcs1"), ("client-ec", "client-ec.sec1"),
                          ("client-384", "ec384.key"), ("client-4096", "rsa4096.key")):
            check_works(run(server.port, cert=pki(name + ".pem"), key=pki(key), count=5, echo=1))
        check("SUCCESS" in server.log() and "FAILED" not in server.log(), "%s", server.log())
        r = run(server.port, attempts=-1)
        check(r.error()[0] == HTTP_STATUS, "%s", r.lines)
        r = run(server.port, cert=pki("untrusted.pem"), key=pki("untrusted.key"), attempts=-1)
        check(r.error()[0] == HTTP_STATUS, "%s", r.lines)
    arguments = ("-Verify", "3", "-CAfile", pki("root.pem"), "-verify_return_error")
    with openssl_server(*arguments) as (s, _):
        r = run(s.port, attempts=-1)
        check(r.error()[0] == TLS and "client certificate" in r.error()[1], "%s", r.lines)


def expected(number, size=100):
    """What client.c sends."""
    size = 16 if size < 16 else size - number % (size // 8 + 1)
    text = f"{number} "
    return text + "".join(chr(97 + (number + i) % 26) for i in range(len(text), size))


def check_ledger(backend, count):
    """Every message is in it, first appearances in order, unchanged."""
    last = 0
    for line in text_of(backend.ledger).splitlines():
        number = int(line.split(" ", 1)[0])
        check(line == expected(number), "%s is changed", number)
        check(number <= last + 1, "%s follows %s", number, last)
        last = max(last, number)
    check(last == count, "%s of %s arrived", last, count)


def under_traffic(backend, disturb, program="client", ssl_lines=""):
    """Messages flow until nginx was disturbed often enough; returns the client's life."""
    with contextlib.suppress(FileNotFoundError):
        os.truncate(backend.ledger, 0)
    with Nginx(backend, "ec", ssl_lines=ssl_lines) as server:
        r = Run(f"wss://localhost:{server.port}/ledger", program=program, ca=pki("root.pem"),
                attempts=-2, max=300, gap=20, endless=1, limit=RELOADS * 20000 + 60000)
        for i in range(RELOADS + 1):
            wait_until(lambda: len(r.find("state connected")) > i, "not back: %s" % r.lines[-5:])
            time.sleep(0.15)
            if i < RELOADS:
                disturb(server)
        r.finish(RELOADS * 20 + 60)
    count = r.figures()["sent"]
    check_works(r)
    check_ledger(backend, count)
    settled = sum(int(line.split()[2]) - int(line.split()[1]) + 1 for line in r.find("delivered"))
    check(settled == count, "%s of %s are delivered", settled, count)
    return r


@test
def nothing_is_lost_over_reloads(backend):
    r = under_traffic(backend, lambda server: server.reload())
    full = r.handshakes().count("full handshake")
    check(full == 1, "%s of %s handshakes were full", full, len(r.handshakes()))
    print(f"        {RELOADS} reloads: {len(r.handshakes())} connections, {full} full handshake, "
          f"longest mtws_poll {r.figures()['longest_us']} us")


@test
def nothing_is_lost_over_restarts(backend):
    def restart(server):
        server.stop()
        server.start()

    r = under_traffic(backend, restart)
    full = r.handshakes().count("full handshake")
    check(full == len(r.handshakes()), "%s of %s handshakes were full", full, len(r.handshakes()))
    print(f"        {RELOADS} restarts: {len(r.handshakes())} connections, all full handshakes, "
          f"longest mtws_poll {r.figures()['longest_us']} us")


BOTH = "ssl_protocols TLSv1.2 TLSv1.3; ssl_session_cache shared:tls:1m;"
NEW = "ssl_protocols TLSv1.3; ssl_session_cache shared:tls:1m;"


@test
def openssl_transport_echoes(backend):
    """Over the same interface: TLS 1.3 and 1.2, small and large, what was refused and what not."""
    for lines in (NEW, BOTH, ""):
        with Nginx(backend, ssl_lines=lines) as server:
            for size in SIZES:
                check_works(run(server.port, program="openssl", count=60, size=size, echo=1))
            check_works(run(server.port, program="openssl", host="127.0.0.1", count=10, echo=1))
            check_works(run(server.port, program="openssl", count=40, size=1000000, echo=1,
                            limit=60000))
            check(("TLSv1.2" if not lines else "TLSv1.3") in server.log(), "%s", server.log())
    r = run(backend.port, program="openssl", attempts=-1)
    check(r.error()[0] == TLS, "%s", r.lines)
    for certificate, result in (("untrusted", TRUST), ("other", NAME), ("expired", TIME),
                                ("subject-address", NAME)):
        with Nginx(backend, certificate, ssl_lines=BOTH) as server:
            for host in ("localhost", "127.0.0.1"):
                r = run(server.port, program="openssl", host=host, attempts=-1)
                check(r.error()[0] == result, "%s: %s", certificate, r.lines)


@test
def openssl_transport_in_pieces(backend):
    def down(data, connection, state):
        for i in range(0, len(data), 1 + len(data) // 400):
            connection.sendall(data[i:i + 1 + len(data) // 400])
        return True

    with Nginx(backend, ssl_lines=NEW) as server, relay(server.port, down) as s:
        check_works(run(s.port, program="openssl", count=10, size=50, echo=1))
        check_works(run(s.port, program="openssl", count=20, size=70000, echo=1))


@test
def openssl_transport_renews_its_keys(backend):
    """A server that asks for new keys of TLS 1.3 while messages flow both ways: reading writes."""
    with openssl_server("-no_ticket", version=None) as (server, writing):
        r = Run(f"wss://localhost:{server.port}/", program="openssl", ca=pki("root.pem"), hold=90000,
                attempts=-1, limit=90000)
        wait_until(lambda: "Sec-WebSocket-Key" in server.text(), "no request: %s" % r.lines)
        os.write(writing, upgrade(Printed(server)))
        wait_until(lambda: r.find("state connected"), "not connected: %s" % r.lines)
        os.write(writing, b"K\n")  # a KeyUpdate that asks for ours, where it is read by itself
        wait_until(lambda: unread(writing) == 0, "the server does not read")
        os.write(writing, b"\x81\x05after")
        wait_until(lambda: r.find("message after"), "nothing came behind it: %s" % r.lines)
        check("state error" not in "\n".join(r.lines), "%s", r.lines)
        r.process.kill()
        r.end()


@test
def openssl_transport_resumes(backend):
    for lines in (NEW, BOTH, ""):
        with Nginx(backend, ssl_lines=lines) as server:
            r = run(server.port, program="openssl", path=f"/drop?count=3&x={time.monotonic_ns()}",
                    attempts=-2, count=5, echo=1, max=250)
            check_works(r)
            reused = [line.split(" ")[2] for line in server.log().splitlines()]
            check(reused.count("r") == 3, "%r: %s", lines, server.log())


@test
def openssl_transport_loses_nothing(backend):
    under_traffic(backend, lambda server: server.reload(), "openssl", BOTH)


@test
def mtwscat_over_tls(backend):
    def cat(*arguments, url="wss://localhost:%s/echo"):
        return subprocess.run([os.path.join(PROGRAMS, "mtwscat"), "-q", "-n", "2", "-t", "5",
                               "--no-reconnect", *arguments, url % server.port], input="one\ntwo\n",
                              capture_output=True, text=True, timeout=20, check=False)

    pin, other = text_of(pki("ec.pin")).strip(), text_of(pki("rsa.pin")).strip()
    ca = ("--ca", pki("root.pem"))
    with Nginx(backend, "ec") as server:
        for arguments in (ca, (*ca, "--pin", f"{other},{pin}"), ("--insecure",),
                          ("--insecure", "--pin", pin)):
            done = cat(*arguments)
            check(done.stdout == "one\ntwo\n" and done.returncode == 0, "%s: %s", arguments, done)
        for arguments, text in (((), "not trusted"), ((*ca, "--pin", other), "pin_sha256"),
                                (("--insecure", "--pin", other), "pin_sha256"),
                                (("--ca", "/nowhere"), "the file of --ca"),
                                ((*ca, "--pin", "x"), "pin"),
                                ((*ca, "--key", pki("ec.key")), "certificate")):
            done = cat(*arguments)
            check(done.returncode != 0 and done.stdout == "", "%s: %s", arguments, done)
            check(text in done.stderr or "trusted root" in done.stderr, "%s: %s", arguments, done)
    lines = f"ssl_client_certificate {pki('root.pem')}; ssl_verify_client on; ssl_verify_depth 3;"
    with Nginx(backend, "ec", lines=lines) as server:
        both = write("both.pem", text_of(pki("client-ec.pem")) + text_of(pki("client-ec.key")))
        for arguments in (("--cert", pki("client-rsa.pem"), "--key", pki("client-rsa.key")),
                          ("--cert", both)):
            done = cat(*ca, *arguments)
            check(done.stdout == "one\ntwo\n" and done.returncode == 0, "%s: %s", arguments, done)
        check(cat(*ca).returncode != 0, "it was let in without a certificate")


def measure(what, server, times=20, **settings):
    """The longest mtws_poll of a first connection, and of one that is resumed: the best of some."""
    full, resumed = [], []
    for _ in range(times):
        r = run(server.port, attempts=-1, **settings)
        check_works(r)
        full.append(r.figures()["longest_us"])
        r = run(server.port, path=f"/drop?count=1&x={time.monotonic_ns()}", attempts=-2, count=1,
                echo=1, max=250, **settings)
        check_works(r)
        resumed.append(r.figures()["resumed_us"])
    print(f"        {what}: {min(full)} us, resumed {min(resumed)} us")


def figures(backend):
    """Not a test: the machine's own."""
    everything = write("everything.pem", text_of(pki("root.pem")) +
                       text_of("/etc/ssl/certs/ca-certificates.crt"))
    for certificate, name in (("rsaonly", "RSA-2048 alone"), ("ec", "P-256, below P-256 and RSA"),
                              ("rsa4096", "RSA-4096, below RSA-2048")):
        with Nginx(backend, certificate) as server:
            measure(name, server)
            measure(name + ", 150 roots", server, ca=everything)
    lines = f"ssl_client_certificate {pki('root.pem')}; ssl_verify_client on; ssl_verify_depth 3;"
    with Nginx(backend, "ec", lines=lines) as server:
        for name in ("client-rsa", "client-ec", "client-4096"):
            measure(name, server, cert=pki(name + ".pem"), key=pki(name + ".key"))


def main():
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))  # ends the servers too
    passed = failed = 0
    backend = Backend()
    try:
        for function in tests if WORD != "figures" else [figures]:
            name = function.__name__.replace("_", " ")
            if WORD not in name:
                continue
            wrong.clear()
            start = time.monotonic()
            try:
                function(backend)
            except Exception as error:  # pylint: disable=broad-except
                wrong.append(f"{type(error).__name__}: {error}")
            if wrong:
                failed += 1
                print(f"FAILED  {name}")
                for text in wrong[:6]:
                    print("        " + text)
            else:
                passed += 1
                print(f"        {name}, {time.monotonic() - start:.1f} s")
            sys.stdout.flush()
    finally:
        backend.stop()
        shutil.rmtree(folder, ignore_errors=True)
    print(f"{passed} passed, {failed} failed")
    return failed > 0 or passed == 0


sys.exit(main())
