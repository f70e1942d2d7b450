"""A name server that does as it is told, for tests of names between two hosts.

    names.py ADDRESS...

listens on port 53 of each address, by UDP and TCP, and prints "listening". Commands come by standard
input, one a line, and are answered with "done":

    a NAME IP...           the name's addresses of IPv4; none: it has none
    aaaa NAME IP...        and of IPv6
    cname NAME TARGET
    ttl SECONDS            of all that follows
    habit ADDRESS WORD...  what the server at an address does besides: silent, servfail, refused,
                           truncate (by UDP), slow=MS, forge (wrong ids first, then the answer),
                           deaf6 (no answer for IPv6), plain (FORMERR for EDNS0), small (names in
                           small letters); none: answers
    count                  answered with "count N" before "done": questions so far, by UDP and TCP

A name that nothing was said of does not exist. Aliases are followed and told link by link, up to
twenty of them, so that a circle is a long chain.
"""

import ipaddress
import selectors
import socket
import struct
import sys
import time

A, CNAME, SOA, AAAA = 1, 5, 6, 28


def labels(name):
    return b"".join(bytes([len(part)]) + part.encode() for part in name.split(".") if part) + b"\0"


class Zone:
    def __init__(self):
        self.records = {}  # name -> {type: [data]}
        self.ttl = 60

    def set(self, name, kind, data):
        self.records.setdefault(name.lower(), {})[kind] = data

    def record(self, name, kind, data):
        return labels(name) + struct.pack("!HHIH", kind, 1, self.ttl, len(data)) + data

    def answer(self, name, kind):
        """(code, answer records, authority records)"""
        answers, at = [], name.lower()
        for _ in range(20):
            if at not in self.records or CNAME not in self.records[at]:
                break
            target = self.records[at][CNAME][0]
            answers.append(self.record(at, CNAME, labels(target)))
            at = target.lower()
        known = self.records.get(at)
        data = known.get(kind, []) if known else []
        answers += [self.record(at, kind, one) for one in data]
        if data:
            return 0, answers, []
        soa = labels("") * 2 + struct.pack("!IIIII", 1, 1, 1, 1, self.ttl)
        return (3 if known is None else 0), answers, [self.record("", SOA, soa)]


class Server:
    """What listens at one address."""

    def __init__(self, address, zone):
        self.zone, self.habits, self.count = zone, {}, 0
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        where = socket.getaddrinfo(address, 53, family, socket.SOCK_DGRAM)[0][4]
        self.udp = socket.socket(family, socket.SOCK_DGRAM)
        self.tcp = socket.socket(family, socket.SOCK_STREAM)
        for one in (self.udp, self.tcp):
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.bind(where)
        self.tcp.listen(5)

    def reply(self, query, by_tcp):
        """Messages to send, or None."""
        self.count += 1
        parts, at = [], 12
        while query[at]:
            parts.append(query[at + 1:at + 1 + query[at]].decode())
            at += query[at] + 1
        kind, = struct.unpack("!H", query[at + 1:at + 3])
        question = query[12:at + 5]
        if "silent" in self.habits or ("deaf6" in self.habits and kind == AAAA):
            return []
        if "small" in self.habits:
            question = question.lower()
        code, answers, authority = self.zone.answer(".".join(parts), kind)
        if "servfail" in self.habits or "refused" in self.habits:
            code, answers, authority = (2 if "servfail" in self.habits else 5), [], []
        if "plain" in self.habits and query[11]:
            code, answers, authority = 1, [], []
        body = b"".join(answers + authority)
        limit = 1232 if query[11] else 512
        cut = not by_tcp and ("truncate" in self.habits or len(question) + 12 + len(body) > limit)
        if cut:
            answers, authority, body = [], [], b""
        head = query[:2] + struct.pack("!BBHHHH", 0x81 | (2 if cut else 0), 0x80 | code, 1,
                                       len(answers), len(authority), 0)
        good = head + question + body
        if "forge" not in self.habits:
            return [good]
        number, = struct.unpack("!H", query[:2])
        nowhere = b"\x0a\x58\0\x4d" if kind == A else b"\0" * 15 + b"\1"
        false = self.zone.record(".".join(parts), kind, nowhere)
        head = struct.pack("!BBHHHH", 0x81, 0x80, 1, 1, 0, 0)
        return [struct.pack("!H", number ^ (i + 1)) + head + question + false
                for i in range(30)] + [good]

    def delay_s(self):
        return int(self.habits.get("slow", 0)) / 1000

    def on_udp(self, later):
        query, sender = self.udp.recvfrom(4096)
        for message in self.reply(query, False):
            later(self.delay_s(), lambda message=message: self.udp.sendto(message, sender))

    def on_tcp(self, connection, later):
        try:
            data = connection.recv(4096)
        except OSError:
            data = b""
        if not data:
            return False
        while len(data) > 2:
            size, = struct.unpack("!H", data[:2])
            for message in self.reply(data[2:2 + size], True):
                message = struct.pack("!H", len(message)) + message
                later(self.delay_s(), lambda message=message: connection.sendall(message))
            data = data[2 + size:]
        return True


def obey(line, zone, servers):
    word, *rest = line.split()
    if word in ("a", "aaaa"):
        kind = A if word == "a" else AAAA
        zone.set(rest[0], kind, [ipaddress.ip_address(ip).packed for ip in rest[1:]])
    elif word == "cname":
        zone.set(rest[0], CNAME, [rest[1]])
    elif word == "ttl":
        zone.ttl = int(rest[0])
    elif word == "habit":
        servers[rest[0]].habits = dict((one + "=").split("=")[:2] for one in rest[1:])
    elif word == "count":
        print("count %d" % sum(server.count for server in servers.values()))
    else:
        raise ValueError(line)
    print("done", flush=True)


def main():
    zone, waiting, order = Zone(), [], [0]
    servers = {address: Server(address, zone) for address in sys.argv[1:]}
    selector = selectors.DefaultSelector()

    def later(delay, act):
        order[0] += 1
        waiting.append((time.monotonic() + delay, order[0], act))

    for server in servers.values():
        selector.register(server.udp, selectors.EVENT_READ, (server, "udp"))
        selector.register(server.tcp, selectors.EVENT_READ, (server, "tcp"))
    selector.register(sys.stdin, selectors.EVENT_READ, None)
    print("listening", flush=True)
    while True:
        waiting.sort(key=lambda entry: entry[:2])
        wait = max(0, waiting[0][0] - time.monotonic()) if waiting else None
        for key, _ in selector.select(wait):
            if key.data is None:
                line = sys.stdin.readline()
                if not line:
                    return
                obey(line, zone, servers)
            elif key.data[1] == "udp":
                key.data[0].on_udp(later)
            elif key.data[1] == "tcp":
                connection, _ = key.data[0].tcp.accept()
                selector.register(connection, selectors.EVENT_READ, (key.data[0], "stream"))
            elif not key.data[0].on_tcp(key.fileobj, later):
                selector.unregister(key.fileobj)
                key.fileobj.close()
        while waiting and waiting[0][0] <= time.monotonic():
            try:
                waiting.pop(0)[2]()
            except OSError:
                pass  # who asked is gone


if __name__ == "__main__":
    main()
