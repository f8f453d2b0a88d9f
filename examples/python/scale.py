"""Multiplies a named array of shmkit, which a Rust or C program has made, by a number, under its lock.

    SHMKIT_LIBRARY=capi/target/release/libshmkit.so python3 examples/python/scale.py NAME FACTOR
"""

import sys

import shmkit

array = shmkit.Array(sys.argv[1])
with array.lock(timeout=60) as elements:
    elements *= elements.dtype.type(sys.argv[2])
    print(f"{elements.dtype} {elements.shape}, sum {elements.sum()}")
