#!/usr/bin/env python3
"""python_ctypes: mtws.h from Python, with nothing but the standard library.

    printf '#define MTWS_IMPLEMENTATION\\n#include "mtws.h"\\n' > libmtws.c
    cc -O2 -shared -fPIC -I.. -o libmtws.so libmtws.c          (or: make python)
    python3 python_ctypes.py ws://127.0.0.1:9001/ 10

sends 10 numbered messages, prints what comes back and what is delivered, and ends.
"""

import ctypes
import os
import sys

# Of mtws.h: enumerators are ints, and the fields of a struct stand in its order.
MTWS_TEXT = 1
STATE, MESSAGE, DELIVERED, DROPPED, WRITABLE = 1, 2, 3, 4, 5
MTWS_STATE_FAILED = 6


class Event(ctypes.Structure):
    """mtws_event. The pointers are valid until the next poll, so take copies."""

    _fields_ = [
        ("type", ctypes.c_int),
        ("state", ctypes.c_int),
        ("previous", ctypes.c_int),
        ("result", ctypes.c_int),
        ("reason", ctypes.c_char_p),
        ("close_code", ctypes.c_uint16),
        ("http_status", ctypes.c_uint16),
        ("attempt", ctypes.c_int32),
        ("retry_ms", ctypes.c_int32),
        ("kind", ctypes.c_int),
        ("data", ctypes.c_void_p),
        ("size", ctypes.c_size_t),
        ("first", ctypes.c_bool),
        ("last", ctypes.c_bool),
        ("written", ctypes.c_bool),
        ("first_id", ctypes.c_uint64),
        ("id", ctypes.c_uint64),
    ]


def load(path):
    """The library. Pointers must be declared: ctypes would cut them to 32 bits."""
    library = ctypes.CDLL(path)
    client = ctypes.c_void_p
    functions = {
        "mtws_create": (ctypes.c_int, ctypes.POINTER(client), ctypes.c_void_p),
        "mtws_connect": (ctypes.c_int, client, ctypes.c_char_p, ctypes.c_void_p),
        "mtws_poll": (ctypes.c_int, client, ctypes.POINTER(Event), ctypes.c_int32),
        "mtws_send": (ctypes.c_int, client, ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t,
                      ctypes.c_uint, ctypes.POINTER(ctypes.c_uint64)),
        "mtws_disconnect": (ctypes.c_int, client, ctypes.c_uint16, ctypes.c_char_p),
        "mtws_destroy": (None, client),
        "mtws_get_state": (ctypes.c_int, client),
        "mtws_state_name": (ctypes.c_char_p, ctypes.c_int),
        "mtws_result_text": (ctypes.c_char_p, ctypes.c_int),
    }
    for name, (result, *arguments) in functions.items():
        function = getattr(library, name)
        function.restype = result
        function.argtypes = arguments
    return library


class Client:
    """A client with the defaults: mtws_create takes NULL for its options."""

    def __init__(self, library):
        self.library = library
        self.handle = ctypes.c_void_p()
        self.check(library.mtws_create(ctypes.byref(self.handle), None))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.library.mtws_destroy(self.handle)
        self.handle = None

    def check(self, result):
        if result != 0:
            raise OSError(self.library.mtws_result_text(result).decode())

    def connect(self, url):
        self.check(self.library.mtws_connect(self.handle, url.encode(), None))

    def send(self, text):
        """The message's id, which DELIVERED or DROPPED will name."""
        data, number = text.encode(), ctypes.c_uint64()
        self.check(self.library.mtws_send(self.handle, MTWS_TEXT, data, len(data), 0,
                                          ctypes.byref(number)))
        return number.value

    def disconnect(self, code=1000):
        self.check(self.library.mtws_disconnect(self.handle, code, None))

    def events(self):
        """Until disconnected or failed. The pause of a second lets Python hear Ctrl-C."""
        event = Event()
        while (got := self.library.mtws_poll(self.handle, ctypes.byref(event), 1000)) >= 0:
            if got == 1:
                yield event


def main(url, count):
    directory = os.path.dirname(os.path.abspath(__file__))
    delivered = received = 0
    with Client(load(os.path.join(directory, "libmtws.so"))) as client:
        client.connect(url)
        for number in range(1, count + 1):
            client.send(f"message {number}")
        for event in client.events():
            if event.type == STATE:
                name = client.library.mtws_state_name(event.state)
                print(name.decode(), event.reason.decode(errors="replace"), flush=True)
            elif event.type == MESSAGE:
                print("received", ctypes.string_at(event.data, event.size).decode(), flush=True)
                received += 1
            elif event.type == DELIVERED:
                print(f"delivered {event.first_id} to {event.id}", flush=True)
                delivered += event.id - event.first_id + 1
            elif event.type == DROPPED:
                print("dropped:", client.library.mtws_result_text(event.result).decode())
            if event.type in (MESSAGE, DELIVERED) and min(delivered, received) >= count:
                client.disconnect()
        state = client.library.mtws_get_state(client.handle)
    print(f"{count} sent, {delivered} delivered, {received} received")
    return 0 if delivered == count and state != MTWS_STATE_FAILED else 1


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: python_ctypes.py URL [COUNT]")
    sys.exit(main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 10))
