"""What users of python3-websockets have today, under the same kills: its reconnecting loop.

    python3 peer.py URL

Commands and output are client.c's, as far as this library can tell: "connected" and "end SENT". The
message in hand when a connection dies is sent again on the next.
"""
import asyncio
import os
import sys

from websockets import ConnectionClosed, connect

from messages import message


class Connect(connect):
    BACKOFF_INITIAL = 0.25
    BACKOFF_MIN = 0.25
    BACKOFF_MAX = 0.4


async def read_commands(queue):
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    sent = 0
    async for line in reader:
        words = line.split()
        if words[0] == b"finish":
            queue.put_nowait(None)
            continue
        for _ in range(int(words[1])):
            sent += 1
            queue.put_nowait(sent)
    os._exit(0)


async def main():
    queue = asyncio.Queue()
    commands = asyncio.create_task(read_commands(queue))
    number, sent = 0, 0
    async for connection in Connect(sys.argv[1], open_timeout=2):
        print("connected", flush=True)
        try:
            while True:
                if number == sent:
                    number = await queue.get()
                if number is None:
                    break
                await connection.send(message(number).decode())
                sent = number
        except ConnectionClosed:
            continue
        print("end", sent, flush=True)
        await commands


asyncio.run(main())
