"""A server for the interop tests, on python3-websockets. server.js beside it does the same on ws.

    python3 server.py [PORT [LEDGER]]

PORT 0 takes a free one. Lines on standard output, which the tests read:

    port NUMBER
    open CONNECTION PATH SUBPROTOCOL EXTENSIONS     "-" for none
    closed CONNECTION CODE REASON                   what the client's Close said

Paths, with the parameters of their query:

    /echo                   every message comes back
    /fragments?size=        the same, in fragments of so many bytes with a Ping before each
    /headers                sends the request as text, a line each, names in lower case
    /greet                  a text in the same packet as the answer to the upgrade, then echoes
    /close/CODE/REASON      closes as soon as it is open
    /ping                   a Ping with each message's payload; when its Pong comes, "pong PAYLOAD"
    /drop?count=            ends TCP at once on the first so many connections, then echoes
    /ledger                 a line of LEDGER for each message, before the next frame is looked at
    /program                the same in the program, which answers each message with its text
    /status?code=&retry=    refuses the upgrade, with Retry-After where retry is given
    /busy?count=&retry=     503 for the first so many requests, then echoes
    /private                401 unless it is asked with user:p@ss as Basic authorization
    /hang                   never answers the upgrade

The subprotocols superchat and chat are spoken, superchat rather than chat. permessage-deflate would
be agreed on if a client offered it. SIGTERM closes the connections with 1001 and ends.
"""
import asyncio
import base64
import http
import os
import signal
import sys
from urllib.parse import parse_qs, urlsplit

from websockets.exceptions import ConnectionClosed
from websockets.legacy.server import WebSocketServerProtocol, serve

SUBPROTOCOLS = ["superchat", "chat"]
PRIVATE = "Basic " + base64.b64encode(b"user:p@ss").decode()
GREETING = b"welcome"

ledger = None
opened = 0
counts = {}


def say(text):
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def write_down(message):
    """One call that leaves the line with the kernel, so that a kill can't take it back."""
    os.write(ledger, message.encode() + b"\n")


def parts(path):
    url = urlsplit(path)
    return url.path, {name: values[0] for name, values in parse_qs(url.query).items()}


class Collector:
    """Stands in for the transport while the answer to the upgrade is written."""

    def __init__(self):
        self.data = b""

    def write(self, data):
        self.data += data


class Connection(WebSocketServerProtocol):
    async def process_request(self, path, headers):
        name, query = parts(path)
        if name == "/hang":
            await asyncio.sleep(3600)
        if name == "/status":
            return refusal(int(query["code"]), query)
        if name == "/busy":
            counts[path] = counts.get(path, 0) + 1
            if counts[path] <= int(query["count"]):
                return refusal(503, query)
        if name == "/private" and headers.get("Authorization") != PRIVATE:
            return refusal(401, query)
        return None

    def write_http_response(self, status, headers, body=None):
        if status != 101 or parts(self.path)[0] != "/greet":
            super().write_http_response(status, headers, body)
            return
        transport, self.transport = self.transport, Collector()
        super().write_http_response(status, headers, body)
        answer, self.transport = self.transport.data, transport
        transport.write(answer + bytes([0x81, len(GREETING)]) + GREETING)

    async def read_message(self):
        """The endpoint has a message here: no later frame has been looked at, Pings among them."""
        message = await super().read_message()
        if message is not None and parts(self.path)[0] == "/ledger":
            write_down(message)
        return message


def refusal(code, query):
    headers = [("Location", "/echo")] if 300 <= code < 400 else []
    if "retry" in query:
        headers.append(("Retry-After", query["retry"]))
    return http.HTTPStatus(code), headers, b"refused\n"


def choose_subprotocol(offered, spoken):
    return next((name for name in spoken if name in offered), None)


async def fragments(connection, message, size):
    for start in range(0, len(message), size) or [0]:
        await connection.ping()
        yield message[start:start + size]


async def ping(connection, message):
    await (await connection.ping(message))
    await connection.send("pong " + message)


async def talk(connection, name, query):
    if name == "/headers":
        fields = connection.request_headers.raw_items()
        lines = [key.lower() + ": " + value for key, value in fields]
        await connection.send("\n".join([connection.path] + lines))
    async for message in connection:
        if name == "/fragments":
            await connection.send(fragments(connection, message, int(query["size"])))
        elif name == "/ping":
            await ping(connection, message)
        elif name == "/program":
            write_down(message)
            await connection.send(message)
        elif name != "/ledger":
            await connection.send(message)


async def handle(connection, path):
    global opened
    opened += 1
    number = opened
    name, query = parts(path)
    extensions = ",".join(extension.name for extension in connection.extensions) or "-"
    say(f"open {number} {path} {connection.subprotocol or '-'} {extensions}")
    counts[path] = counts.get(path, 0) + 1
    try:
        if name.startswith("/close/"):
            code, reason = name.split("/")[2:]
            await connection.close(int(code), reason)
        elif name == "/drop" and counts[path] <= int(query["count"]):
            connection.transport.abort()
        else:
            await talk(connection, name, query)
    except ConnectionClosed:
        pass
    await connection.wait_closed()
    say(f"closed {number} {connection.close_code} {connection.close_reason}")


async def main():
    stop = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set_result, None)
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    async with serve(handle, "127.0.0.1", port, create_protocol=Connection, max_size=None,
                     ping_interval=None, subprotocols=SUBPROTOCOLS,
                     select_subprotocol=choose_subprotocol) as server:
        say(f"port {server.sockets[0].getsockname()[1]}")
        await stop


if len(sys.argv) > 2:
    ledger = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
asyncio.run(main())
