"""The layout of mtws_event as python_ctypes.py mirrors it, in the words of layout.c."""

import ctypes
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, sys.argv[1])
from python_ctypes import Event  # noqa: E402

for name, _ in Event._fields_:
    print(name, getattr(Event, name).offset)
print("whole", ctypes.sizeof(Event))
