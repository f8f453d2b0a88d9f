"""Dies by SIGKILL in the middle of a change of a named array: whoever locks it next is told."""

import os
import signal
import sys

import shmkit

array = shmkit.Array(sys.argv[1])
with array.lock(timeout=60) as elements:
    elements[0] = -1
    os.kill(os.getpid(), signal.SIGKILL)
