#!/usr/bin/env python3
"""The servers that the examples medtranslate and login are for; the standard library is enough.

    python3 server.py translate|login --port 0 --token FILE --ledger FILE [--lifetime SECONDS]

FILE holds the one token that is good at the moment: it is read at each upgrade, and any other is
answered with 401. The ledger gets a line for each utterance or reading before it is answered, and
one that begins with VIOLATION for whatever a client may not do. The first line of output is
"listening on ADDR:PORT".
"""

import argparse
import asyncio
import base64
import hashlib
import json
import struct
import sys
import time
import urllib.parse

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TEXT, CLOSE, PING, PONG = 1, 8, 9, 10


class Connection:
    """RFC 6455, as far as a server of whole text messages needs it."""

    def __init__(self, server, reader, writer):
        self.server, self.reader, self.writer = server, reader, writer
        self.logged_in = False
        self.task = None  # a reference, without which Python may drop the task

    def send(self, opcode, payload):
        size = len(payload)
        head = bytes([0x80 | opcode, size]) if size < 126 else struct.pack("!BBH", 0x80 | opcode,
                                                                           126, size)
        self.writer.write(head + payload)

    def send_json(self, **members):
        self.send(TEXT, json.dumps(members).encode())

    async def read_frame(self):
        first, second = await self.reader.readexactly(2)
        if not first & 0x80 or first & 0x70 or not second & 0x80:
            raise ValueError("a fragment, a reserved bit, or no mask")
        size = second & 0x7F
        if size == 126:
            size, = struct.unpack("!H", await self.reader.readexactly(2))
        elif size == 127:
            size, = struct.unpack("!Q", await self.reader.readexactly(8))
        mask = await self.reader.readexactly(4)
        payload = await self.reader.readexactly(size)
        return first & 0x0F, bytes(b ^ mask[i % 4] for i, b in enumerate(payload))

    async def upgrade(self):
        """True: the token was good, and the connection is a WebSocket now."""
        request = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in request if ": " in line)
        plain = dict(line.split(": ", 1) for line in request if ": " in line)
        url = urllib.parse.urlsplit(request[0].split(" ")[1])
        query = dict(urllib.parse.parse_qsl(url.query))
        with open(self.server.token, encoding="utf-8") as file:
            token = file.read().strip()
        if self.server.kind == "translate":
            good = query.get("token") == token and bool(query.get("sessionId"))
        else:
            good = plain.get("Authorization") == "Bearer " + token
        if not good or headers.get("upgrade") != "websocket":
            self.server.say("refused")
            self.writer.write(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n"
                              b"Connection: close\r\n\r\n")
            return False
        digest = hashlib.sha1(plain["Sec-WebSocket-Key"].encode() + GUID).digest()
        self.writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                          b"Connection: Upgrade\r\nSec-WebSocket-Accept: "
                          + base64.b64encode(digest) + b"\r\n\r\n")
        self.server.say("opened")
        if self.server.kind == "translate":
            self.send_json(type="session_status", status="ready", session=query["sessionId"])
            self.send_json(type="motd", text="of a type that the client does not name")
        return True

    async def on_translate(self, message):
        if message["type"] == "heartbeat":
            self.server.say("heartbeat")
            self.send_json(type="heartbeat_response", timestamp=int(time.time() * 1000),
                           originalTimestamp=message["timestamp"])
        elif message["type"] != "utterance":
            self.server.note("VIOLATION: type " + message["type"])
        elif message["text"] == "untranslatable":
            self.server.note(f"{message['id']} {message['text']}")
            self.send_json(type="error", id=message["id"], text="no translation for this")
        else:
            self.server.note(f"{message['id']} {message['text']}")
            self.send_json(type="translation", id=message["id"], text=message["text"].upper())

    async def log_in(self, device):
        await asyncio.sleep(0.2)  # meanwhile a message would be a violation
        self.logged_in = device == "pump-7"
        self.send_json(type="login_ok" if self.logged_in else "login_failed")

    async def on_login(self, message):
        if message["type"] == "login":
            self.task = asyncio.create_task(self.log_in(message["device"]))
        elif not self.logged_in:
            self.server.note("VIOLATION: before the login")
        else:
            self.server.note(f"{message['number']}")

    async def serve(self):
        while True:
            opcode, payload = await self.read_frame()
            if opcode == PING:
                self.send(PONG, payload)
            elif opcode == CLOSE:
                self.send(CLOSE, payload)
                await self.writer.drain()
                return
            elif opcode == TEXT:
                handler = self.on_translate if self.server.kind == "translate" else self.on_login
                await handler(json.loads(payload))
            await self.writer.drain()


class Server:
    def __init__(self, options):
        self.kind, self.token = options.kind, options.token
        self.ledger = open(options.ledger, "a", encoding="utf-8")

    def say(self, text):
        print(text, flush=True)

    def note(self, text):
        print(text.encode("unicode_escape").decode(), file=self.ledger, flush=True)

    async def accept(self, reader, writer):
        connection = Connection(self, reader, writer)
        try:
            if await connection.upgrade():
                await connection.serve()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client is gone, as clients may be
        except Exception as error:
            self.note(f"VIOLATION: {error!r}")
        finally:
            writer.close()

    async def run(self, port, lifetime):
        server = await asyncio.start_server(self.accept, "127.0.0.1", port)
        self.say("listening on 127.0.0.1:%d" % server.sockets[0].getsockname()[1])
        await asyncio.sleep(lifetime)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=("translate", "login"))
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--token", required=True)
    parser.add_argument("--ledger", required=True)
    parser.add_argument("--lifetime", type=float, default=60)
    options = parser.parse_args()
    asyncio.run(Server(options).run(options.port, options.lifetime))


if __name__ == "__main__":
    sys.exit(main())
