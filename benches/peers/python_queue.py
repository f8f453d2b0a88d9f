"""Python's multiprocessing.Queue, measured as the others are: prints how many nanoseconds so many messages took.

    python3 python_queue.py MESSAGES ROOM

One process puts numbered messages of 64 bytes, another one gets and checks them, on a core each if there are two.
"""

import multiprocessing
import os
import signal
import sys
import time

# Seconds after which a process that still runs is ended.
LIMIT = 60


def pin(i):
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) > 1:
        os.sched_setaffinity(0, {cores[i]})


def produce(queue, start, messages):
    signal.alarm(LIMIT)
    pin(0)
    start.wait()
    for message in messages:
        queue.put(message)


def consume(queue, start, messages, nanoseconds):
    signal.alarm(LIMIT)
    pin(1)
    start.wait()
    begin = time.perf_counter_ns()
    for message in messages:
        got = queue.get()
        if got != message:
            sys.exit(f"got {got}, not {message}")
    nanoseconds.value = time.perf_counter_ns() - begin


def main():
    signal.alarm(LIMIT)
    count, room = map(int, sys.argv[1:])
    # Made before, so that making them does not count.
    messages = [number.to_bytes(8, "little") * 8 for number in range(count)]
    fork = multiprocessing.get_context("fork")
    queue, start, nanoseconds = fork.Queue(room), fork.Barrier(2), fork.Value("q", 0)
    both = [
        fork.Process(target=produce, args=(queue, start, messages), daemon=True),
        fork.Process(target=consume, args=(queue, start, messages, nanoseconds), daemon=True),
    ]
    for process in both:
        process.start()
    # The consumer first: if it fails, the producer may wait for room that will not come.
    for process in reversed(both):
        process.join()
        if process.exitcode != 0:
            sys.exit(f"a process ended with {process.exitcode}")
    print(nanoseconds.value)


if __name__ == "__main__":
    main()
