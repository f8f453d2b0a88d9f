"""A dict of Python's multiprocessing.Manager, measured as the others are: prints how many nanoseconds so many operations took.

    python3 python_manager.py OPERATIONS get|set

One client, this process; the server is a process beside it. Every value is checked.
"""

import multiprocessing.managers
import signal
import sys
import time

# Seconds after which a process that still runs is ended.
LIMIT = 60

ITEMS = 1000


def get(shared, keys, count):
    begin = time.perf_counter_ns()
    for i in range(count):
        got = shared[keys[i % ITEMS]]
        if got != i % ITEMS:
            sys.exit(f"got {got}, not {i % ITEMS}")
    return time.perf_counter_ns() - begin


def set_(shared, keys, count):
    begin = time.perf_counter_ns()
    for i in range(count):
        shared[keys[i % ITEMS]] = i
    time_taken = time.perf_counter_ns() - begin
    expected = dict(zip(keys, range(ITEMS)))
    expected.update((keys[i % ITEMS], i) for i in range(count))
    if shared.copy() != expected:
        sys.exit("the dict is not what was set")
    return time_taken


def main():
    # By an exception, so that the server ends too, and the folder of its socket goes.
    signal.signal(signal.SIGALRM, lambda *_: sys.exit("took too long"))
    signal.alarm(LIMIT)
    count, operation = int(sys.argv[1]), {"get": get, "set": set_}[sys.argv[2]]
    keys = [f"key {i}" for i in range(ITEMS)]
    manager = multiprocessing.managers.SyncManager(ctx=multiprocessing.get_context("fork"))
    manager.start(signal.alarm, (LIMIT,))
    with manager:
        print(operation(manager.dict(zip(keys, range(ITEMS))), keys, count))


if __name__ == "__main__":
    main()
