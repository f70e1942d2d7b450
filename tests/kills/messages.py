"""The numbered messages that all clients here send, and what the servers write down of them."""

RECORD_SIZE = 16
CYCLE = b"abcdefghijklmnopqrstuvwxyz" * 4000


def message(number):
    """Most are small; some fill several packets. The same in client.c and peer.js."""
    size = 8 + number * 37 % 400
    if number % 64 == 0:
        size = 20000
    if number % 512 == 0:
        size = 100000
    return b"%d " % number + CYCLE[number % 26:number % 26 + size]


def record(number, content):
    return b"%8d %6d\n" % (number, sum(content) % 1000000)
