"""Python's multiprocessing, measured and killed as the other peers are.

    python3 peers.py time WORKLOAD SETUP
    python3 peers.py death TRIAL {}

SETUP is that of the runner, as JSON. The last line printed is an outcome as the runner knows it. A worker dies with the
process group, which the runner ends when it is late.
"""

import json
import multiprocessing as mp
import os
import signal
import sys
import threading
import time

FORK = mp.get_context("fork")
FOR_EVER = 2.0
ASLEEP = 0.02


def cores():
    return sorted(os.sched_getaffinity(0))


def pin(index, size):
    if size <= len(cores()):
        os.sched_setaffinity(0, {cores()[index]})


def team(size, work):
    """Runs work(index, start) in so many processes. `start()` waits for all of them, and returns the time."""
    barrier = FORK.Barrier(size)
    times = FORK.Array("d", 2 * size, lock=False)

    def sit(index):
        pin(index, size)

        def start():
            barrier.wait()
            times[2 * index] = time.monotonic()

        work(index, start)
        times[2 * index + 1] = time.monotonic()

    workers = [FORK.Process(target=sit, args=(i,), daemon=True) for i in range(size)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        if worker.exitcode != 0:
            sys.exit(f"a worker ended with {worker.exitcode}")
    return max(times[1::2]) - min(times[0::2])


def expect(is_right, otherwise):
    if not is_right:
        sys.exit(otherwise)


# Workloads: each returns seconds for an operation.


def busy_loop(turns):
    # A turn of the compiled loop takes a fraction of a nanosecond, so this many are 100 ns: Python has no such short work.
    end = time.perf_counter_ns() + (100 if turns else 0)
    while time.perf_counter_ns() < end:
        pass


def lock(setup):
    size, count = setup["processes"], 200 if setup["quick"] else 20_000
    count = max(count // size, 10)
    the_lock, counter = FORK.Lock(), FORK.Value("q", 0, lock=False)

    def work(_, start):
        start()
        for _ in range(count):
            with the_lock:
                counter.value += 1
                if setup["works"]:
                    busy_loop(setup["turns"])

    taken = team(size, work)
    expect(counter.value == size * count, "increments were lost")
    return taken / (size * count)


def semaphore(setup):
    count = 200 if setup["quick"] else 50_000
    the_semaphore = FORK.Semaphore(1)
    begin = time.monotonic()
    for _ in range(count):
        the_semaphore.acquire()
        the_semaphore.release()
    return (time.monotonic() - begin) / count


def turns(setup):
    size, count = setup["processes"], 100 if setup["quick"] else 4_000
    rounds = max(count // size, 10)
    ring = [FORK.Semaphore(int(i == 0)) for i in range(size)]
    turn = FORK.Value("q", 0, lock=False)

    def work(index, start):
        start()
        for number in range(rounds):
            ring[index].acquire()
            expect(turn.value == number * size + index, "out of turn")
            turn.value += 1
            ring[(index + 1) % size].release()

    return team(size, work) / (rounds * size)


def barrier(setup):
    size, rounds = setup["processes"], 20 if setup["quick"] else 1000 // setup["processes"]
    meeting = FORK.Barrier(size)

    def work(_, start):
        start()
        for _ in range(rounds):
            meeting.wait()

    return team(size, work) / rounds


def message(size, producer, number):
    key = (producer << 48 | number).to_bytes(8, "little")
    return key[:size] if size < 16 else key + bytes(size - 16) + key


def queue(setup):
    pairs, size = setup["processes"], setup["size"]
    count = 40 if setup["quick"] else (10_000 if size < 4096 else 1_000)
    each = max(count // pairs, 10)
    room = min(max((1 << 20) // size, 16), 1024)
    the_queue, got = FORK.Queue(room), FORK.Array("q", 2 * pairs * pairs)

    def work(index, start):
        if index < pairs:
            messages = [message(size, index, n) for n in range(each)]
            start()
            for one in messages:
                the_queue.put(one)
            return
        start()
        order = [-1] * pairs
        for n in range(each):
            one = the_queue.get()
            expect(len(one) == size and one[-8:] == one[:8], "another message")
            key = int.from_bytes(one[:8], "little")
            producer, number = key >> 48, key & ((1 << 48) - 1)
            if size >= 8:
                expect(number > order[producer], "out of order")
                order[producer] = number
            elif pairs == 1:
                expect(number == n & 0xFF, "out of order")
            with got:
                got[2 * producer] += 1
                got[2 * producer + 1] += number

    taken = team(2 * pairs, work)
    expect(sum(got[0::2]) == each * pairs, "messages were lost")
    if size >= 8:
        expect(all(got[2 * p + 1] == each * (each - 1) // 2 for p in range(pairs)), "other messages arrived")
    return taken / (each * pairs)


def there_and_back(setup):
    size, count = setup["size"], 20 if setup["quick"] else 2_000
    there, back = FORK.Queue(), FORK.Queue()

    def work(index, start):
        start()
        for n in range(count):
            if index == 0:
                there.put(message(size, 0, n))
                expect(back.get() == message(size, 0, n), "another message")
            else:
                back.put(there.get())

    return team(2, work) / count


def numbers(setup):
    # A part of it: a pass takes long, and the time is for each.
    size = max(setup["size"] // 8, 8)
    array = FORK.Array("q", size)
    with array:
        elements = array.get_obj()
        elements[:] = [n & 7 for n in range(size)]
    return array, size


def sum_(setup):
    array, size = numbers(setup)
    with array:
        begin = time.monotonic()
        got = sum(array.get_obj())
        taken = time.monotonic() - begin
    expect(got == size // 8 * 28, "another sum")
    return taken / size


def negate(setup):
    array, size = numbers(setup)
    with array:
        elements = array.get_obj()
        begin = time.monotonic()
        elements[:] = [-x for x in elements]
        taken = time.monotonic() - begin
        expect(elements[size - 1] == -7, "not negated")
    return taken / size


def plus_one(number, connection=None):
    if connection is None:
        return number + 1
    connection.send(number + 1)
    return None


def start_with(method, setup):
    context = mp.get_context(method)

    def call(number):
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=plus_one, args=(number, theirs))
        process.start()
        expect(ours.recv() == number + 1, "another result")
        process.join()

    call(0)
    count = 1 if setup["quick"] else 5
    begin = time.monotonic()
    for number in range(count):
        call(number)
    return (time.monotonic() - begin) / count


def digits(number):
    return sum(map(int, str(number))) if number else 0


def busy(micros):
    end = time.perf_counter_ns() + micros * 1000
    while time.perf_counter_ns() < end:
        pass
    return micros


def pool(which, setup):
    with FORK.Pool(len(cores())) as workers:
        expect(workers.apply(plus_one, (1,)) == 2, "another result")
        if which == "one":
            count = 20 if setup["quick"] else 500
            begin = time.monotonic()
            for number in range(count):
                expect(workers.apply(plus_one, (number,)) == number + 1, "another result")
        elif which == "map":
            count = 500 if setup["quick"] else 100_000
            begin = time.monotonic()
            got = workers.map(digits, range(count))
            taken = time.monotonic() - begin
            expect(got == [digits(n) for n in range(count)], "other results")
            return taken / count
        else:
            count = 50 if setup["quick"] else 5_000
            begin = time.monotonic()
            expect(workers.map(busy, [10] * count) == [10] * count, "other results")
        return (time.monotonic() - begin) / count


def manager(which, setup):
    items, count = 1000, 100 if setup["quick"] else 2_000
    keys = [f"key {i}" for i in range(items)]
    with mp.managers.SyncManager(ctx=FORK) as server:
        shared = server.dict(zip(keys, range(items)))
        begin = time.monotonic()
        for i in range(count):
            if which == "get":
                expect(shared[keys[i % items]] == i % items, "another value")
            else:
                shared[keys[i % items]] = i
        taken = time.monotonic() - begin
        if which == "set":
            expect(all(shared[keys[i % items]] == i for i in range(max(count - items, 0), count)), "other values")
    return taken / count


# Deaths: each returns a verdict and the seconds until it, or None.


class Board:
    """Where a survivor says that he has gone on."""

    def __init__(self):
        self.at, self.step = FORK.RawValue("d", 0.0), FORK.RawValue("q", 0)
        self.text = FORK.RawArray("c", 200)

    def goes_on(self, verdict="goes on"):
        self.text.value = verdict.encode()[:199]
        self.at.value = time.monotonic()

    def verdict(self, since):
        while self.at.value == 0:
            if time.monotonic() > since + FOR_EVER:
                return "hangs for ever", None
            time.sleep(0.00005)
        return self.text.value.decode(), self.at.value - since

    def wait(self, step):
        end = time.monotonic() + FOR_EVER
        while self.step.value < step:
            expect(time.monotonic() < end, "somebody did not come as far as the trial needs")
            time.sleep(0.0005)


def process(work, *args):
    started = FORK.Process(target=work, args=args, daemon=True)
    started.start()
    return started


def kill(victim, board, survivors):
    time.sleep(ASLEEP)
    since = time.monotonic()
    os.kill(victim.pid, signal.SIGKILL)
    outcome = board.verdict(since)
    for survivor in survivors:
        survivor.kill()
    return outcome


def stay():
    while True:
        time.sleep(60)


def holder(lock_, board):
    lock_.acquire()
    board.step.value = 1
    stay()


def taker(lock_, board):
    lock_.acquire()
    board.goes_on()


def held(lock_):
    board = Board()
    victim = process(holder, lock_, board)
    board.wait(1)
    return kill(victim, board, [process(taker, lock_, board)])


def waiter(lock_):
    board = Board()
    lock_.acquire()
    victim = process(holder, lock_, board)
    time.sleep(ASLEEP)
    survivor = process(taker, lock_, board)
    time.sleep(ASLEEP)
    victim.kill()
    victim.join()
    since = time.monotonic()
    lock_.release()
    outcome = board.verdict(since)
    survivor.kill()
    return outcome


def party(is_waiting):
    board, meeting, met = Board(), FORK.Barrier(3), FORK.Semaphore(0)

    def victim_():
        meeting.wait()
        met.release()
        if is_waiting:
            meeting.wait()
        stay()

    def survivor_():
        meeting.wait()
        met.release()
        try:
            meeting.wait()
            meeting.wait()
            board.goes_on()
        except threading.BrokenBarrierError as error:
            board.goes_on(f"goes on, and is told: {error!r}")

    def other_():
        meeting.wait()
        met.release()
        if is_waiting:
            board.wait(1)
        meeting.wait()
        meeting.wait()

    victim, survivors = process(victim_), [process(survivor_), process(other_)]
    for _ in range(3):
        met.acquire()
    time.sleep(ASLEEP)
    since = time.monotonic()
    victim.kill()
    victim.join()
    board.step.value = 1
    outcome = board.verdict(since)
    for survivor in survivors:
        survivor.kill()
    return outcome


KILLS = 20


def queue_producer():
    slowest = 0.0
    for turn in range(KILLS):
        board, the_queue = Board(), FORK.Queue()

        def send(producer, count):
            for n in range(count):
                the_queue.put(message(64, producer, n))

        def take():
            board.step.value = 1
            arrived = 0
            while arrived < 100:
                if int.from_bytes(the_queue.get()[:8], "little") >> 48 == 1:
                    arrived += 1
            board.goes_on()

        consumer, victim = process(take), process(send, 0, 1 << 40)
        board.wait(1)
        time.sleep(0.005 + 0.0007 * turn)
        since = time.monotonic()
        victim.kill()
        victim.join()
        survivor = process(send, 1, 100)
        verdict, seconds = board.verdict(since)
        survivor.kill()
        consumer.kill()
        if seconds is None:
            return f"hangs for ever (kill {turn + 1} of {KILLS})", None
        slowest = max(slowest, seconds)
    return f"goes on ({KILLS} kills)", slowest


def queue_consumer():
    slowest = 0.0
    for turn in range(KILLS):
        board, the_queue = Board(), FORK.Queue(1024)

        def send():
            n = 0
            while True:
                the_queue.put(message(64, 0, n))
                n += 1

        def take(survives):
            after = 0
            while True:
                the_queue.get()
                if not survives:
                    board.step.value = 1
                elif board.step.value == 2:
                    after += 1
                    if after == 100:
                        board.goes_on()

        others = [process(send), process(take, True)]
        victim = process(take, False)
        board.wait(1)
        time.sleep(0.005 + 0.0007 * turn)
        since = time.monotonic()
        victim.kill()
        victim.join()
        board.step.value = 2
        _, seconds = board.verdict(since)
        for other in others:
            other.kill()
        if seconds is None:
            return f"hangs for ever (kill {turn + 1} of {KILLS})", None
        slowest = max(slowest, seconds)
    return f"goes on ({KILLS} kills)", slowest


def queue_last():
    board, the_queue = Board(), FORK.Queue()

    def send():
        the_queue.put(b"first")
        stay()

    def take():
        the_queue.get()
        board.step.value = 1
        try:
            the_queue.get()
            board.goes_on("error: gets a message that nobody sent")
        except (EOFError, OSError) as error:
            board.goes_on(f"goes on, and is told: {error!r}")

    victim, survivor = process(send), process(take)
    board.wait(1)
    return kill(victim, board, [survivor])


def pool_worker():
    workers = FORK.Pool(2)
    expect(workers.apply(plus_one, (1,)) == 2, "another result")
    results = [workers.apply_async(busy, (100_000,)) for _ in range(2)]
    time.sleep(0.03)
    since = time.monotonic()
    os.kill(mp.active_children()[0].pid, signal.SIGKILL)
    told, seconds = "its task is waited for in vain", None
    try:
        for result in results:
            result.get(FOR_EVER)
        seconds = time.monotonic() - since
        told = "no task was lost"
    except mp.TimeoutError:
        pass
    try:
        after = workers.apply_async(plus_one, (1,)).get(FOR_EVER) == 2
    except mp.TimeoutError:
        after = False
    return ("goes on; " if after else "hangs for ever; ") + told, seconds if after else None


def child():
    ours, theirs = FORK.Pipe(duplex=False)
    started = FORK.Process(target=lambda: (time.sleep(60), theirs.send(1)))
    started.start()
    theirs.close()
    time.sleep(0.03)
    since = time.monotonic()
    os.kill(started.pid, signal.SIGKILL)
    started.join()
    return f"error: exitcode {started.exitcode}", time.monotonic() - since


def server():
    manager_ = mp.managers.SyncManager(ctx=FORK)
    manager_.start()
    shared = manager_.dict({"key": 0})
    since = time.monotonic()
    os.kill(manager_._process.pid, signal.SIGKILL)
    while True:
        try:
            shared["key"]
        except (EOFError, OSError) as error:
            return f"error: {error!r}", time.monotonic() - since


TIMES = {
    "lock": lock,
    "semaphore": semaphore,
    "turns": turns,
    "barrier": barrier,
    "queue": queue,
    "there_and_back": there_and_back,
    "sum": sum_,
    "negate": negate,
    "process spawn": lambda setup: start_with("spawn", setup),
    "process fork": lambda setup: start_with("fork", setup),
    "process forkserver": lambda setup: start_with("forkserver", setup),
    "pool one": lambda setup: pool("one", setup),
    "pool map": lambda setup: pool("map", setup),
    "pool busy": lambda setup: pool("busy", setup),
    "manager get": lambda setup: manager("get", setup),
    "manager set": lambda setup: manager("set", setup),
}

DEATHS = {
    "lock holder": lambda: held(FORK.Lock()),
    "lock waiter": lambda: waiter(FORK.Lock()),
    "semaphore owner": lambda: held(FORK.Semaphore(1)),
    "semaphore waiter": lambda: waiter(FORK.Semaphore(1)),
    "barrier waiting": lambda: party(True),
    "barrier missing": lambda: party(False),
    "queue producer": queue_producer,
    "queue consumer": queue_consumer,
    "queue last": queue_last,
    "pool worker": pool_worker,
    "process child": child,
    "manager server": server,
}


def main():
    kind, which, setup = sys.argv[1:]
    if kind == "time":
        outcome = {"Time": TIMES[which](json.loads(setup))}
    else:
        verdict, seconds = DEATHS[which]()
        outcome = {"Death": {"verdict": verdict, "seconds": seconds}}
    print(json.dumps(outcome), flush=True)
    # A pool or a queue that hangs must not keep the program.
    os._exit(0)


if __name__ == "__main__":
    import multiprocessing.managers

    main()
