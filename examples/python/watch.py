"""Prints what a named array of shmkit holds, which others may be changing, and which this program cannot change.

    SHMKIT_LIBRARY=capi/target/release/libshmkit.so python3 examples/python/watch.py NAME
"""

import sys

import shmkit

seen = shmkit.View(sys.argv[1]).numpy
print(f"{seen.dtype} {seen.shape}, from {seen.min()} to {seen.max()}, writable: {seen.flags.writeable}")
