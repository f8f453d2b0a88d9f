//! What the objects of `sync` promise, among forked processes. Not under libtest, whose threads a fork cannot copy: `main`
//! runs the tests one after the other. What does not depend on how a process was started stands in `contracts_*.rs`.

mod alone;

use std::{
    sync::atomic::{AtomicU32, Ordering::SeqCst},
    thread,
    time::{Duration, Instant},
};

use shmkit::{
    Array, AtomicValue, Barrier, BarrierWaitResult, BoundedSemaphore, Condvar, Error, Event, Lock, Process, RLock,
    Result, RwLock, Semaphore, Value, process::StartMethod,
};

const SOON: Duration = Duration::from_secs(20);

fn joined<T>(process: &Process<T>) -> T {
    match process.join_timeout(2 * SOON).unwrap() {
        Some(value) => value,
        None => {
            process.kill().unwrap();
            panic!("{process:?} has not ended");
        }
    }
}

fn main() {
    shmkit::init();
    let tests: &[(&str, fn())] = &[
        ("locks_let_one_in_at_a_time", locks_let_one_in_at_a_time),
        ("locks_are_not_held_by_copies", locks_are_not_held_by_copies),
        ("locks_show_who_holds_them", locks_show_who_holds_them),
        ("semaphore_counts", semaphore_counts),
        ("semaphore_wakes_processes_and_threads", semaphore_wakes_processes_and_threads),
        ("semaphore_oversubscribed", semaphore_oversubscribed),
        ("event_is_set_by_a_child", event_is_set_by_a_child),
        ("event_lets_all_through", event_lets_all_through),
        ("event_lets_one_through", event_lets_one_through),
        ("start_methods_mix", start_methods_mix),
        ("permits_have_owners", permits_have_owners),
        ("permits_are_counted", permits_are_counted),
        ("claims_are_disjoint", claims_are_disjoint),
        ("barrier_passes_in_lockstep", barrier_passes_in_lockstep),
        ("barrier_has_one_leader_and_one_action", barrier_has_one_leader_and_one_action),
        ("barrier_is_aborted_and_reset", barrier_is_aborted_and_reset),
        ("barrier_time_outs_break_it_for_all", barrier_time_outs_break_it_for_all),
        ("barrier_breaks_with_a_child_that_never_comes", barrier_breaks_with_a_child_that_never_comes),
        ("readers_and_writers", readers_and_writers),
        ("condition_wakes_processes_and_threads", condition_wakes_processes_and_threads),
        ("condition_is_met_across_a_fork", condition_is_met_across_a_fork),
        ("condition_does_not_wait_with_a_copy", condition_does_not_wait_with_a_copy),
        ("condition_starts_mix", condition_starts_mix),
    ];
    alone::run(tests);
}

fn locks_let_one_in_at_a_time() {
    const TIMES: u32 = 300;
    let (lock, again) = (Lock::new().unwrap(), RLock::new().unwrap());
    // Plain data, which only the locks keep right; copied and written back, so that a second one inside would be seen.
    let halves = Array::<u32>::zeros(2).unwrap();
    let count = || -> Result<()> {
        for _ in 0..TIMES {
            let _held = lock.lock_timeout(SOON)?;
            let _outer = again.lock_timeout(SOON)?;
            let _inner = again.try_lock()?;
            let before = halves.get(0)?;
            assert_eq!(before, halves.get(1)?, "somebody else is inside");
            halves.set(0, before + 1)?;
            thread::yield_now();
            halves.set(1, before + 1)?;
        }
        Ok(())
    };
    let processes = [(); 3].map(|()| Process::fork(count).unwrap());
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| count().unwrap());
        }
        count().unwrap();
    });
    processes.iter().for_each(joined);
    assert_eq!(halves.to_vec().unwrap(), [6 * TIMES; 2]);
}

/// A thread's first lock lends it an identity, which a fork must not go on with: the child is another holder.
fn locks_are_not_held_by_copies() {
    let (lock, again) = (Lock::new().unwrap(), RLock::new().unwrap());
    drop((lock.lock().unwrap(), again.lock().unwrap()));
    let (asks, asked) = (Event::new().unwrap(), Event::new().unwrap());
    let child = Process::fork(|| -> Result<(bool, bool)> {
        assert!(asks.wait_timeout(SOON)?);
        let seen = (lock.try_lock().is_err(), again.try_lock().is_err());
        asked.set();
        drop((lock.lock_timeout(SOON)?, again.lock_timeout(SOON)?));
        Ok(seen)
    })
    .unwrap();
    let held = (lock.lock().unwrap(), again.lock().unwrap());
    asks.set();
    assert!(asked.wait_timeout(SOON).unwrap());
    drop(held);
    assert_eq!(joined(&child), (true, true));
}

/// `repr`, from the other side of a fork.
fn locks_show_who_holds_them() {
    let (lock, again) = (Lock::new().unwrap(), RLock::new().unwrap());
    let (taken, seen) = (Event::new().unwrap(), Event::new().unwrap());
    let show = || (format!("{lock:?}"), format!("{again:?}"));
    let held_by = |owner: &str, depth: u32| {
        let (plain, deep) = show();
        plain.contains(&format!("owner: {owner},")) && deep.contains(&format!("owner: {owner}, depth: {depth},"))
    };
    let child = Process::fork(|| -> Result<bool> {
        let _held = (lock.lock()?, again.lock()?, again.lock()?);
        let mine =
            held_by("this thread", 2) && thread::scope(|s| s.spawn(|| held_by("another thread", 2)).join().unwrap());
        taken.set();
        seen.wait_timeout(SOON)?;
        Ok(mine)
    })
    .unwrap();
    assert!(taken.wait_timeout(SOON).unwrap());
    assert!(held_by(&format!("process {}", child.pid()), 2), "{:?}", show());
    seen.set();
    assert!(joined(&child));
    assert!(held_by("none", 0), "{:?}", show());
}

/// `test_semaphore`.
fn semaphore_counts() {
    let semaphore = Semaphore::new(2).unwrap();
    let counts = || -> Result<()> {
        for value in [1, 0] {
            semaphore.acquire()?;
            assert_eq!(semaphore.value(), value);
        }
        assert!(semaphore.try_acquire().unwrap_err().is_would_block());
        for value in [1, 2, 3] {
            semaphore.release()?;
            assert_eq!(semaphore.value(), value);
        }
        Ok(())
    };
    joined(&Process::fork(counts).unwrap());
    assert_eq!(semaphore.value(), 3);
    semaphore.acquire().unwrap();
    counts().unwrap();
}

fn semaphore_wakes_processes_and_threads() {
    let semaphore = Semaphore::new(0).unwrap();
    let through = AtomicValue::new(0_u32).unwrap();
    let wait = || -> Result<()> {
        semaphore.acquire_timeout(SOON)?;
        through.fetch_add(1, SeqCst);
        Ok(())
    };
    let processes = [(); 4].map(|()| Process::fork(wait).unwrap());
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| wait().unwrap());
        }
        for _ in 0..3 {
            semaphore.release().unwrap();
        }
        semaphore.release_many(6).unwrap();
        processes.iter().for_each(joined);
    });
    assert_eq!((through.load(SeqCst), semaphore.value()), (8, 1));
}

fn semaphore_oversubscribed() {
    let (semaphore, inside) = (Semaphore::new(2).unwrap(), AtomicValue::new(0_u32).unwrap());
    let work = || -> Result<u32> {
        let mut most = 0;
        for _ in 0..3000 {
            semaphore.acquire_timeout(SOON)?;
            most = most.max(inside.fetch_add(1, SeqCst) + 1);
            inside.fetch_sub(1, SeqCst);
            semaphore.release()?;
        }
        Ok(most)
    };
    let processes = [(); 8].map(|()| Process::fork(work).unwrap());
    assert!(processes.iter().map(joined).all(|most| most <= 2));
    assert_eq!(semaphore.value(), 2);
}

/// `test_event`.
fn event_is_set_by_a_child() {
    let event = Event::new().unwrap();
    assert!(!event.wait_timeout(Duration::ZERO).unwrap());
    let child = Process::fork(|| event.set()).unwrap();
    assert!(event.wait_timeout(SOON).unwrap());
    joined(&child);
    assert!(event.is_set());
    joined(&Process::fork(|| event.clear()).unwrap());
    assert!(!event.try_wait().unwrap());
}

fn event_lets_all_through() {
    let event = Event::new().unwrap();
    let processes = [(); 4].map(|()| Process::fork(|| event.wait_timeout(SOON)).unwrap());
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert!(event.wait_timeout(SOON).unwrap()));
        }
        event.set();
        assert!(processes.iter().all(joined));
    });
}

fn event_lets_one_through() {
    let event = Event::auto_reset().unwrap();
    let through = AtomicU32::new(0);
    let count = AtomicValue::new(0_u32).unwrap();
    let processes = [(); 3].map(|()| {
        Process::fork(|| -> Result<()> {
            assert!(event.wait_timeout(SOON)?);
            count.fetch_add(1, SeqCst);
            Ok(())
        })
        .unwrap()
    });
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                assert!(event.wait_timeout(SOON).unwrap());
                through.fetch_add(1, SeqCst);
            });
        }
        for n in 1..=6 {
            event.set();
            until(|| count.load(SeqCst) + through.load(SeqCst) >= n);
            assert!(!event.is_set());
        }
        processes.iter().for_each(joined);
    });
    assert_eq!(count.load(SeqCst) + through.load(SeqCst), 6);
}

/// A fork, a fresh start, and the parent share the same ones.
fn start_methods_mix() {
    fn pass(mine: Semaphore, next: Semaphore, done: Event) -> Result<()> {
        while !done.is_set() {
            if mine.acquire_timeout(Duration::from_millis(20)).is_ok() {
                next.release()?;
            }
        }
        Ok(())
    }
    let ring = [(); 3].map(|()| Semaphore::new(0).unwrap());
    let done = Event::new().unwrap();
    let start = |method, at: usize| {
        let args = (ring[at].clone(), ring[at + 1].clone(), done.clone());
        Process::builder(pass).args(args).start_method(method).start().unwrap()
    };
    let processes = [start(StartMethod::Fork, 0), start(StartMethod::Spawn, 1)];
    for _ in 0..500 {
        ring[0].release().unwrap();
        ring[2].acquire_timeout(SOON).unwrap();
    }
    done.set();
    processes.iter().for_each(joined);
}

/// A copy of a permit that a fork made is not the child's, and a child's own permits come back with its end.
fn permits_have_owners() {
    let semaphore = BoundedSemaphore::new(2).unwrap();
    let mine = semaphore.acquire().unwrap();
    let child = Process::fork(|| {
        let copied = &mine;
        assert!(format!("{copied:?}").contains("Permit"));
        semaphore.acquire_timeout(SOON).unwrap().detach();
        assert!(semaphore.try_acquire().unwrap_err().is_would_block());
    })
    .unwrap();
    joined(&child);
    assert_eq!(semaphore.available().unwrap(), 1);
    drop(mine);
    assert_eq!(semaphore.available().unwrap(), 2);
    assert!(semaphore.release().is_err(), "the child's is back already");
}

/// `test_barrier`, `test_barrier_10`, `test_thousand`: four forked processes and this one.
fn barrier_passes_in_lockstep() {
    let (barrier, ended) = (Barrier::new(5).unwrap(), AtomicValue::new(0_u32).unwrap());
    let party = || {
        for phase in 1..=1000 {
            ended.fetch_add(1, SeqCst);
            barrier.wait_timeout(SOON).unwrap();
            assert_eq!(ended.load(SeqCst), 5 * phase);
            barrier.wait_timeout(SOON).unwrap();
        }
    };
    let children: Vec<_> = (0..4).map(|_| Process::fork(party).unwrap()).collect();
    party();
    children.iter().for_each(joined);
    assert_eq!((barrier.n_waiting(), barrier.is_broken()), (0, false));
}

/// What a party saw of a barrier: its index; -1 when it was broken, -2 when its time was over.
fn verdict(result: Result<BarrierWaitResult>) -> i64 {
    match result {
        Ok(passed) => passed.index() as i64,
        Err(Error::BarrierBroken { pid: None }) => -1,
        Err(Error::TimedOut) => -2,
        Err(error) => panic!("{error}"),
    }
}

/// What three forked processes and two threads say, sorted. The processes end with their handles, so that they are parties
/// that died: a reset forgets them.
fn five(party: impl Fn() -> i64 + Sync) -> Vec<i64> {
    let processes = [(); 3].map(|()| Process::fork(&party).unwrap());
    let mut said: Vec<i64> = thread::scope(|scope| {
        let threads = [(); 2].map(|()| scope.spawn(&party));
        threads.map(|thread| thread.join().unwrap()).into()
    });
    said.extend(processes.iter().map(joined));
    said.sort_unstable();
    said
}

fn five_parties() -> Barrier {
    let barrier = Barrier::new(5).unwrap();
    barrier.set_timeout(Some(SOON));
    barrier
}

/// `test_wait_return`, `test_action`.
fn barrier_has_one_leader_and_one_action() {
    let (barrier, acted) = (five_parties(), AtomicValue::new(0_i64).unwrap());
    for round in 1..=5 {
        let said = five(|| {
            let passed = barrier.wait_with(|| {
                acted.fetch_add(1, SeqCst);
                Ok(())
            });
            assert_eq!(acted.load(SeqCst), round);
            verdict(passed)
        });
        assert_eq!(said, [0, 1, 2, 3, 4]);
        barrier.reset().unwrap();
    }
    let said = five(|| match barrier.wait_with(|| Err(Error::ReadOnly)) {
        Err(Error::ReadOnly) => 1,
        other => verdict(other),
    });
    assert_eq!(said, [-1, -1, -1, -1, 1]);
    assert!(barrier.is_broken());
}

/// `test_abort`, `test_reset`, `test_abort_and_reset`.
fn barrier_is_aborted_and_reset() {
    let (barrier, chosen) = (five_parties(), AtomicValue::new(0_u32).unwrap());
    let said = five(|| {
        if chosen.fetch_add(1, SeqCst) == 2 {
            barrier.abort();
            return 7;
        }
        verdict(barrier.wait())
    });
    assert_eq!(said, [-1, -1, -1, -1, 7]);
    assert!(barrier.is_broken());
    barrier.reset().unwrap();
    assert_eq!(five(|| verdict(barrier.wait())), [0, 1, 2, 3, 4]);
    barrier.reset().unwrap();
    chosen.store(0, SeqCst);
    let said = five(|| {
        let first = if chosen.fetch_add(1, SeqCst) == 2 {
            until(|| barrier.n_waiting() == 4);
            barrier.reset().unwrap();
            7
        } else {
            verdict(barrier.wait())
        };
        assert!(barrier.wait().is_ok());
        first
    });
    assert_eq!(said, [-1, -1, -1, -1, 7]);
    assert_eq!((barrier.n_waiting(), barrier.is_broken()), (0, false));
}

/// `test_timeout`, `test_default_timeout`.
fn barrier_time_outs_break_it_for_all() {
    const TIME: Duration = Duration::from_millis(150);
    for by_default in [false, true] {
        let (barrier, chosen) = (five_parties(), AtomicValue::new(0_u32).unwrap());
        if by_default {
            barrier.set_timeout(Some(TIME));
        }
        let said = five(|| {
            if chosen.fetch_add(1, SeqCst) == 4 {
                until(|| barrier.is_broken());
                return verdict(barrier.wait());
            }
            verdict(if by_default { barrier.wait() } else { barrier.wait_timeout(TIME) })
        });
        assert!(said.iter().all(|one| *one < 0) && said.contains(&-2), "{said:?}");
    }
}

/// `test_bounded_semaphore`.
fn permits_are_counted() {
    let semaphore = BoundedSemaphore::new(2).unwrap();
    let counts = || -> Result<()> {
        let first = semaphore.acquire_timeout(SOON)?;
        assert_eq!(semaphore.available()?, 1);
        semaphore.acquire_deadline(Instant::now() + SOON)?.detach();
        assert_eq!(semaphore.available()?, 0);
        assert!(semaphore.try_acquire().unwrap_err().is_would_block());
        assert!(semaphore.acquire_timeout(Duration::from_millis(20)).unwrap_err().is_timed_out());
        semaphore.release()?;
        assert!(matches!(semaphore.release(), Err(Error::InvalidArgument { .. })));
        drop(first);
        assert!(matches!(semaphore.release(), Err(Error::InvalidArgument { .. })));
        assert_eq!(semaphore.available()?, 2);
        Ok(())
    };
    joined(&Process::fork(counts).unwrap());
    counts().unwrap();
    joined(&Process::fork(counts).unwrap());
}

/// Parts of an array, by claims, among forked processes and threads.
fn claims_are_disjoint() {
    const TIMES: u32 = 300;
    let grid = Array::<u32>::zeros([6, 4]).unwrap();
    let next = AtomicValue::new(0_usize).unwrap();
    let work = || -> Result<()> {
        let at = next.fetch_add(1, SeqCst);
        for _ in 0..TIMES {
            let mut rows = grid.claim_rows_mut_timeout(at..at + 2, SOON)?;
            assert!(rows.chunks(4).all(|row| row.iter().all(|one| *one == row[0])));
            for row in rows.chunks_mut(4) {
                row.iter_mut().for_each(|one| *one += 1);
            }
            drop(rows);
            let all = grid.claim_rows_timeout(.., SOON)?;
            assert!(all.chunks(4).all(|row| row.iter().all(|one| *one == row[0])));
        }
        Ok(())
    };
    let processes = [(); 3].map(|()| Process::fork(work).unwrap());
    thread::scope(|scope| {
        scope.spawn(|| work().unwrap());
        work().unwrap();
    });
    processes.iter().for_each(joined);
    let sums: Vec<u32> = grid.to_vec().unwrap().chunks(4).map(|row| row[0] / TIMES).collect();
    assert_eq!(sums, [1, 2, 2, 2, 2, 1]);
    assert!(matches!(grid.claim(..).and_then(|_held| Process::fork(|| ()).map(drop)), Err(Error::ForkRefused { .. })));
}

/// Its arguments are moved and not sent, and it counts all the same.
fn barrier_breaks_with_a_child_that_never_comes() {
    fn never(_: Barrier) {
        thread::park();
    }
    let barrier = Barrier::new(2).unwrap();
    let child = Process::builder(never).args((barrier.clone(),)).start_method(StartMethod::Fork).start().unwrap();
    child.kill().unwrap();
    let error = barrier.wait_timeout(SOON).unwrap_err();
    assert!(matches!(error, Error::BarrierBroken { pid } if pid == Some(child.pid())), "{error}");
}

fn readers_and_writers() {
    let pair = RwLock::new([0_u64; 2]).unwrap();
    let work = || {
        for turn in 0..1000 {
            if turn % 3 == 0 {
                let mut guard = pair.write_timeout(SOON).unwrap();
                guard[0] += 1;
                guard[1] += 1;
            } else {
                let guard = pair.read_timeout(SOON).unwrap();
                assert_eq!(guard[0], guard[1]);
            }
        }
    };
    let children: Vec<_> = (0..3).map(|_| Process::fork(work).unwrap()).collect();
    work();
    children.iter().for_each(joined);
    assert_eq!(*pair.read().unwrap(), [4 * 334; 2]);
}

fn until(condition: impl Fn() -> bool) {
    let end = Instant::now() + SOON;
    while !condition() {
        assert!(Instant::now() < end, "not in time");
        thread::yield_now();
    }
}

fn waiting(condition: &Condvar, n: usize) {
    until(|| condition.n_waiting().unwrap() == n);
}

/// `test_notify`, `test_notify_n`, `test_notify_all`: three forked processes and three threads.
fn condition_wakes_processes_and_threads() {
    let (lock, condition) = (Lock::new().unwrap(), Condvar::new().unwrap());
    let woken = AtomicValue::new(0_u32).unwrap();
    let sleep = || {
        let mut guard = lock.lock().unwrap();
        condition.wait_timeout(&mut guard, SOON).unwrap();
        woken.fetch_add(1, SeqCst);
    };
    let processes = [(); 3].map(|()| Process::fork(sleep).unwrap());
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(sleep);
        }
        waiting(&condition, 6);
        assert_eq!(woken.load(SeqCst), 0);
        for (many, sum) in [(1, 1), (2, 3), (usize::MAX, 6)] {
            let expected = if many > 6 { 3 } else { many };
            assert_eq!(condition.notify_n(many).unwrap(), expected);
            until(|| woken.load(SeqCst) >= sum);
            assert_eq!(condition.n_waiting().unwrap(), 6 - sum as usize);
        }
        processes.iter().for_each(joined);
    });
    assert_eq!(condition.notify_all().unwrap(), 0);
    let mut guard = lock.lock().unwrap();
    assert!(condition.wait_timeout(&mut guard, Duration::ZERO).unwrap_err().is_timed_out());
}

/// `test_waitfor`, `test_waitfor_timeout`, `test_wait_result`.
fn condition_is_met_across_a_fork() {
    let (state, condition) = (Value::new(0_u32).unwrap(), Condvar::new().unwrap());
    let ready = Event::new().unwrap();
    let child = Process::fork(|| -> Result<u32> {
        let mut guard = state.lock()?;
        for time in [Duration::ZERO, Duration::from_millis(20)] {
            assert!(condition.wait_timeout(&mut guard, time).unwrap_err().is_timed_out());
            let never = condition.wait_while_timeout(&mut guard, |_| true, time);
            assert!(never.unwrap_err().is_timed_out());
        }
        ready.set();
        condition.wait_while_timeout(&mut guard, |state| **state < 4, SOON)?;
        Ok(*guard)
    })
    .unwrap();
    assert!(ready.wait_timeout(SOON).unwrap());
    while child.is_alive() {
        let mut guard = state.lock().unwrap();
        *guard = (*guard + 1).min(4);
        condition.notify_all().unwrap();
        drop(guard);
        thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(joined(&child), 4);
}

/// A fork may not happen while a guard is held; one that was forgotten is a copy there all the same.
fn condition_does_not_wait_with_a_copy() {
    let (lock, condition) = (RLock::new().unwrap(), Condvar::new().unwrap());
    let mut guard = lock.lock().unwrap();
    assert!(matches!(Process::fork(|| ()), Err(Error::ForkRefused { .. })));
    assert!(condition.wait_timeout(&mut guard, Duration::ZERO).unwrap_err().is_timed_out());
    drop(guard);
    // A member before the fork, and another one after it: the child waits in its own name.
    let child = Process::fork(|| {
        let mut outer = lock.lock().unwrap();
        let inner = lock.lock().unwrap();
        condition.wait_timeout(&mut outer, SOON).unwrap();
        drop((outer, inner));
    })
    .unwrap();
    waiting(&condition, 1);
    drop(lock.lock().unwrap());
    assert_eq!(condition.notify_one().unwrap(), 1);
    joined(&child);
    drop(lock.try_lock().unwrap());
}

/// A fork, a fresh start and the parent take turns.
fn condition_starts_mix() {
    const ROUNDS: u32 = 300;
    fn turns(turn: Value<u32>, condition: Condvar, mine: u32) -> Result<()> {
        for _ in 0..ROUNDS {
            let mut guard = turn.lock()?;
            condition.wait_while_timeout(&mut guard, |turn| **turn % 3 != mine, SOON)?;
            *guard += 1;
            condition.notify_all()?;
        }
        Ok(())
    }
    let (turn, condition) = (Value::new(0).unwrap(), Condvar::new().unwrap());
    let start = |method, mine: u32| {
        let args = (turn.clone(), condition.clone(), mine);
        Process::builder(turns).args(args).start_method(method).start().unwrap()
    };
    let processes = [start(StartMethod::Fork, 1), start(StartMethod::Spawn, 2)];
    turns(turn.clone(), condition.clone(), 0).unwrap();
    processes.iter().for_each(joined);
    assert_eq!(turn.get().unwrap(), 3 * ROUNDS);
}
