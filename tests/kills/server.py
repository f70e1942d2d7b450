"""A server on python3-websockets whose handler writes each message into a ledger.

    python3 server.py PORT LEDGER [program]

The library reads and parses ahead of the handler, and answers Pings meanwhile: a Pong says that the
library has what came before, not that the ledger has it. With "program" the handler answers each
message that it has written down with its number. Records are of 16 bytes, so that none crosses a
page of the file, where a kill could tear it.
"""
import asyncio
import os
import sys

from websockets import serve

from messages import record


async def handle(connection, path=None):
    async for message in connection:
        number = int(message[:20].split(" ")[0])
        os.write(ledger, record(number, message.encode()))
        if program:
            await connection.send(str(number))


async def main():
    async with serve(handle, "127.0.0.1", int(sys.argv[1]), ping_interval=None):
        os.write(1, b"ready\n")
        await asyncio.get_running_loop().create_future()


ledger = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND)
program = sys.argv[3:] == ["program"]
asyncio.run(main())
