//! What every condition variable promises: who is woken, how many, that nothing is kept for later, and how the lock comes
//! back.

#![allow(unsafe_code, reason = "signals in a child")]

mod scratch;
mod support;

use std::{
    sync::atomic::{
        AtomicU32, AtomicU64,
        Ordering::{Relaxed, SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use shmkit::{
    Array, AtomicValue, Condvar, CondvarGuard, Error, Event, Lock, Process, RLock, Region, Result, RwLock, Value,
};
use support::{Board, Child, Deadline, End, eventually, joined, stop_and_go, storm_of_signals};

shmkit::init_in_tests!();

const SOON: Duration = Duration::from_secs(20);

fn waiting(condition: &Condvar, n: usize) {
    eventually(|| condition.n_waiting().unwrap() == n);
}

/// What sleepers share.
type Bed = (Lock, Condvar, AtomicValue<u32>);

fn bed() -> Bed {
    (Lock::new().unwrap(), Condvar::new().unwrap(), AtomicValue::new(0).unwrap())
}

fn sleep(lock: Lock, condition: Condvar, woken: AtomicValue<u32>) -> Result<()> {
    let mut guard = lock.lock()?;
    condition.wait_timeout(&mut guard, SOON)?;
    woken.fetch_add(1, SeqCst);
    Ok(())
}

/// Half of them processes, half of them threads: all wait when `body` begins, and have ended when this returns.
fn with_sleepers(n: u32, (lock, condition, woken): &Bed, body: impl FnOnce()) {
    let processes: Vec<_> =
        (0..n / 2).map(|_| Process::spawn(sleep, (lock.clone(), condition.clone(), woken.clone())).unwrap()).collect();
    thread::scope(|scope| {
        for _ in n / 2..n {
            scope.spawn(|| sleep(lock.clone(), condition.clone(), woken.clone()).unwrap());
        }
        waiting(condition, n as usize);
        assert_eq!(woken.swap(0, SeqCst), 0, "nobody wakes unprompted");
        body();
        processes.iter().for_each(joined);
    });
    check_invariant(condition);
}

/// Nobody waits, and no notification is kept.
fn check_invariant(condition: &Condvar) {
    assert_eq!(condition.n_waiting().unwrap(), 0);
    let lock = Lock::new().unwrap();
    let mut guard = lock.lock().unwrap();
    for time in [Duration::ZERO, Duration::from_millis(20)] {
        assert!(condition.wait_timeout(&mut guard, time).unwrap_err().is_timed_out());
    }
}

/// `test_notify`.
#[test]
fn smoke() {
    let bed = bed();
    let (lock, condition, woken) = &bed;
    with_sleepers(2, &bed, || {
        let guard = lock.lock().unwrap();
        assert_eq!(condition.notify_one().unwrap(), 1);
        assert_eq!(woken.load(SeqCst), 0, "the lock is held here");
        drop(guard);
        eventually(|| woken.load(SeqCst) == 1);
        thread::sleep(Duration::from_millis(50)); // nobody else wakes
        assert_eq!((woken.load(SeqCst), condition.n_waiting().unwrap()), (1, 1));
        assert_eq!(condition.notify_one().unwrap(), 1);
        eventually(|| woken.load(SeqCst) == 2);
    });
}

/// `test_notify_all`: also of those whose time is over.
#[test]
fn notify_all() {
    let bed = bed();
    let (lock, condition, woken) = &bed;
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let mut guard = lock.lock().unwrap();
                let time = Duration::from_millis(20);
                assert!(condition.wait_timeout(&mut guard, time).unwrap_err().is_timed_out());
            });
        }
    });
    check_invariant(condition);
    with_sleepers(6, &bed, || {
        assert_eq!(condition.notify_all().unwrap(), 6);
        eventually(|| woken.load(SeqCst) == 6);
    });
}

/// `test_notify_n`.
#[test]
fn notify_n() {
    let bed = bed();
    let (_, condition, woken) = &bed;
    with_sleepers(6, &bed, || {
        assert_eq!(condition.notify_n(0).unwrap(), 0);
        assert_eq!(condition.notify_n(2).unwrap(), 2);
        eventually(|| woken.load(SeqCst) == 2);
        assert_eq!(condition.n_waiting().unwrap(), 4);
        assert_eq!(condition.notify_n(4).unwrap(), 4);
        eventually(|| woken.load(SeqCst) == 6);
        assert_eq!(condition.notify_n(3).unwrap(), 0);
    });
}

/// `test_timeout`, and the forms of a wait: the lock is held after each.
#[test]
fn times() {
    let (lock, condition) = (Lock::new().unwrap(), Condvar::new().unwrap());
    let time = Duration::from_millis(150);
    let mut guard = lock.lock().unwrap();
    let held = || thread::scope(|scope| scope.spawn(|| lock.try_lock().is_err()).join().unwrap());
    let start = Instant::now();
    assert!(condition.wait_timeout(&mut guard, time).unwrap_err().is_timed_out());
    assert!(start.elapsed() >= time && held());
    let start = Instant::now();
    assert!(condition.wait_deadline(&mut guard, start + time).unwrap_err().is_timed_out());
    assert!(start.elapsed() >= time && held());
    assert!(condition.wait_deadline(&mut guard, Instant::now()).unwrap_err().is_timed_out());
    let start = Instant::now();
    let outcome = condition.wait_while_deadline(&mut guard, |_| true, start + time);
    assert!(outcome.unwrap_err().is_timed_out());
    assert!(start.elapsed() >= time && held());
    // Not asked to wait.
    condition.wait_while(&mut guard, |_| false).unwrap();
    condition.wait_while_timeout(&mut guard, |_| false, Duration::ZERO).unwrap();
    drop(guard);
    assert!(!held());
}

/// `test_waitfor`: the condition is true when the wait returns.
#[test]
fn wait_while() {
    fn work(state: Value<u32>, condition: Condvar) -> Result<()> {
        let mut guard = state.lock()?;
        condition.wait_while(&mut guard, |state| **state < 4)?;
        assert_eq!(*guard, 4);
        Ok(())
    }
    let (state, condition) = (Value::new(0).unwrap(), Condvar::new().unwrap());
    let child = Process::spawn(work, (state.clone(), condition.clone())).unwrap();
    for _ in 0..4 {
        waiting(&condition, 1);
        let mut guard = state.lock().unwrap();
        *guard += 1;
        assert_eq!(condition.notify_one().unwrap(), 1);
    }
    joined(&child);
}

/// `test_waitfor_timeout`: notifications do not start the time anew; and one who comes late has the answer all the same.
#[test]
fn wait_while_timeout() {
    const TIME: Duration = Duration::from_millis(400);
    fn work(state: Value<u32>, condition: Condvar) -> Result<Duration> {
        let mut guard = state.lock()?;
        let start = Instant::now();
        let outcome = condition.wait_while_timeout(&mut guard, |state| **state < 100, TIME);
        assert!(outcome.unwrap_err().is_timed_out());
        Ok(start.elapsed())
    }
    let (state, condition) = (Value::new(0).unwrap(), Condvar::new().unwrap());
    let child = Process::spawn(work, (state.clone(), condition.clone())).unwrap();
    let mut notified = 0;
    while child.is_alive() {
        *state.lock().unwrap() = 1;
        notified += condition.notify_all().unwrap();
        thread::sleep(Duration::from_millis(10));
    }
    let took = joined(&child);
    assert!(notified > 3 && took >= TIME && took < 10 * TIME, "{notified} notifications, {took:?}");

    // True when the time is over, without a notification.
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut guard = state.lock().unwrap();
            condition.wait_while_timeout(&mut guard, |state| **state < 100, TIME).unwrap();
        });
        waiting(&condition, 1);
        *state.lock().unwrap() = 100;
    });
}

/// `test_wait_result`.
#[test]
fn results() {
    fn work(lock: Lock, condition: Condvar, ready: Event) -> Result<()> {
        let mut guard = lock.lock()?;
        for time in [Duration::ZERO, Duration::from_millis(100)] {
            assert!(condition.wait_timeout(&mut guard, time).unwrap_err().is_timed_out());
        }
        ready.set();
        condition.wait_timeout(&mut guard, SOON)?;
        condition.wait_timeout(&mut guard, Duration::MAX)
    }
    let (lock, condition, ready) = (Lock::new().unwrap(), Condvar::new().unwrap(), Event::new().unwrap());
    let child = Process::spawn(work, (lock.clone(), condition.clone(), ready.clone())).unwrap();
    assert!(ready.wait_timeout(SOON).unwrap());
    for _ in 0..2 {
        waiting(&condition, 1);
        assert_eq!(condition.notify_one().unwrap(), 1);
    }
    joined(&child);
    check_invariant(&condition);
}

/// Those who came first are woken first.
#[test]
fn first_come_first_served() {
    let (condition, order) = (Condvar::new().unwrap(), Array::<u32>::zeros(8).unwrap());
    thread::scope(|scope| {
        for n in 0..8 {
            let (condition, order) = (&condition, &order);
            scope.spawn(move || {
                let mut guard = order.lock().unwrap();
                condition.wait_timeout(&mut guard, SOON).unwrap();
                let first = guard.iter().position(|one| *one == 0).unwrap();
                guard[first] = n + 1;
            });
            waiting(condition, n as usize + 1);
        }
        for n in 1..=8 {
            assert_eq!(condition.notify_one().unwrap(), 1);
            eventually(|| order.get(n - 1).unwrap() == n as u32);
        }
    });
}

/// Every kind of guard, waiting in a process.
#[test]
fn guards() {
    fn wait(condition: &Condvar, guard: &mut impl CondvarGuard) {
        condition.wait_timeout(guard, SOON).unwrap();
    }
    fn work(condition: Condvar, value: Value<u32>, array: Array<u32>, pair: RwLock<u32>, lock: RLock) -> Result<()> {
        let mut guard = value.lock()?;
        wait(&condition, &mut guard);
        *guard += 1;
        drop(guard);
        let mut guard = array.lock()?;
        wait(&condition, &mut guard);
        guard[2] += 1;
        drop(guard);
        let mut guard = pair.write()?;
        wait(&condition, &mut guard);
        *guard += 1;
        drop(guard);
        let mut guard = lock.lock()?;
        wait(&condition, &mut guard);
        Ok(())
    }
    let condition = Condvar::new().unwrap();
    let (value, array) = (Value::new(1_u32).unwrap(), Array::<u32>::zeros(3).unwrap());
    let (pair, lock) = (RwLock::new(5_u32).unwrap(), RLock::new().unwrap());
    let args = (condition.clone(), value.clone(), array.clone(), pair.clone(), lock.clone());
    let child = Process::spawn(work, args).unwrap();
    let notify = || {
        waiting(&condition, 1);
        assert_eq!(condition.notify_one().unwrap(), 1);
    };
    notify();
    eventually(|| value.get().unwrap() == 2);
    notify();
    eventually(|| array.get(2).unwrap() == 1);
    waiting(&condition, 1);
    let reading = pair.read().unwrap();
    notify();
    thread::sleep(Duration::from_millis(20)); // it must wait for the reader now
    assert_eq!(*reading, 5);
    drop(reading);
    eventually(|| *pair.read().unwrap() == 6);
    notify();
    joined(&child);
    drop(lock.try_lock().unwrap());
}

/// An `RLock` is released however deep, and held as deep again.
#[test]
fn depth() {
    let (lock, condition) = (RLock::new().unwrap(), Condvar::new().unwrap());
    thread::scope(|scope| {
        let outer = lock.lock().unwrap();
        let middle = lock.lock().unwrap();
        let mut inner = lock.lock().unwrap();
        scope.spawn(|| {
            waiting(&condition, 1);
            let one = lock.lock_timeout(SOON).unwrap();
            let two = lock.lock().unwrap();
            condition.notify_one().unwrap();
            drop((one, two));
        });
        condition.wait_timeout(&mut inner, SOON).unwrap();
        let is_held = || thread::scope(|scope| scope.spawn(|| lock.try_lock().is_err()).join().unwrap());
        drop(inner);
        assert!(is_held());
        drop(outer);
        assert!(is_held());
        drop(middle);
        assert!(!is_held());
    });
}

/// All who wait at a time wait with one lock, wherever it lies.
#[test]
fn one_lock_for_all() {
    let region = Region::anonymous(1 << 18).unwrap();
    let condition = Condvar::new_in(&region, "c").unwrap();
    let locks = [Lock::new_in(&region, "a").unwrap(), Lock::new_in(&region, "b").unwrap(), Lock::new().unwrap()];
    for right in &locks {
        let mut child = Child::start(|| {
            let mut guard = right.lock().unwrap();
            i32::from(condition.wait_timeout(&mut guard, SOON).is_err())
        });
        waiting(&condition, 1);
        for wrong in locks.iter().filter(|lock| !lock.is_same(right)) {
            let mut guard = wrong.lock().unwrap();
            let error = condition.wait_timeout(&mut guard, SOON).unwrap_err();
            let text = "invalid argument: others wait for this condition with the guard of another lock";
            assert_eq!(error.to_string(), text);
            assert!(matches!(error, Error::InvalidArgument { .. }));
            drop(guard);
            drop(wrong.try_lock().unwrap());
        }
        // Another handle of the same lock is the right one.
        let again = right.clone();
        let mut guard = again.lock().unwrap();
        assert!(condition.wait_timeout(&mut guard, Duration::ZERO).unwrap_err().is_timed_out());
        drop(guard);
        condition.notify_one().unwrap();
        assert_eq!(child.wait(), End::Code(0));
    }
}

/// One more than there are places is told so, and comes in when one has gone.
#[test]
fn full() {
    let _deadline = Deadline::seconds(120, "full");
    let (lock, condition, woken) = bed();
    thread::scope(|scope| {
        for _ in 0..Condvar::MAX {
            scope.spawn(|| sleep(lock.clone(), condition.clone(), woken.clone()).unwrap());
        }
        waiting(&condition, Condvar::MAX);
        let mut guard = lock.lock().unwrap();
        let error = condition.wait(&mut guard).unwrap_err();
        assert!(matches!(error, Error::TooManyWaiters { limit: Condvar::MAX }), "{error}");
        drop(guard);
        assert_eq!(condition.notify_one().unwrap(), 1);
        eventually(|| woken.load(SeqCst) == 1);
        let mut guard = lock.lock().unwrap();
        assert!(condition.wait_timeout(&mut guard, Duration::ZERO).unwrap_err().is_timed_out());
        drop(guard);
        assert_eq!(condition.notify_all().unwrap(), Condvar::MAX - 1);
    });
    assert_eq!(woken.load(SeqCst), Condvar::MAX as u32);
    check_invariant(&condition);
}

/// A holder dies while others wait: they are told when they have the lock again, which they hold.
#[test]
fn poisoned() {
    let (value, condition) = (Value::new(0_u32).unwrap(), Condvar::new().unwrap());
    thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            let mut guard = value.lock().unwrap();
            let error = condition.wait_timeout(&mut guard, SOON).unwrap_err();
            let Error::Poisoned { pid: Some(pid), range: None } = error else { panic!("{error}") };
            assert_eq!(guard.poison().unwrap().pid, Some(pid));
            assert_eq!(*guard, 1, "it is held");
            *guard = 2;
            guard.clear_poison();
            assert!(condition.wait_timeout(&mut guard, Duration::ZERO).unwrap_err().is_timed_out());
            pid
        });
        waiting(&condition, 1);
        let mut victim = Child::start(|| {
            let mut guard = value.lock().unwrap();
            *guard = 1;
            condition.notify_one().unwrap();
            std::mem::forget(guard);
            0
        });
        assert_eq!(victim.wait(), End::Code(0));
        assert_eq!(waiter.join().unwrap(), victim.pid());
    });
    assert_eq!(value.get().unwrap(), 2);
    check_invariant(&condition);
}

/// A guard that a fork copied holds nothing.
#[test]
fn a_copied_guard() {
    let (lock, condition) = (Lock::new().unwrap(), Condvar::new().unwrap());
    let mut guard = lock.lock().unwrap();
    let mut child = Child::start(|| match condition.wait(&mut guard) {
        Err(Error::InvalidArgument { .. }) => 0,
        _ => 1,
    });
    assert_eq!(child.wait(), End::Code(0));
    assert!(condition.wait_timeout(&mut guard, Duration::ZERO).unwrap_err().is_timed_out());
}

/// Two processes take turns.
#[test]
fn ping_pong() {
    const ROUNDS: u32 = 5000;
    fn turns(turn: Value<u32>, condition: Condvar, mine: u32) -> Result<()> {
        let mut guard = turn.lock()?;
        while *guard < 2 * ROUNDS {
            condition.wait_while_timeout(&mut guard, |turn| **turn % 2 != mine, SOON)?;
            *guard += 1;
            condition.notify_one()?;
        }
        Ok(())
    }
    let (turn, condition) = (Value::new(0).unwrap(), Condvar::new().unwrap());
    let child = Process::spawn(turns, (turn.clone(), condition.clone(), 1)).unwrap();
    turns(turn.clone(), condition.clone(), 0).unwrap();
    joined(&child);
    assert_eq!(turn.get().unwrap(), 2 * ROUNDS + 1);
}

/// Eight processes where there may be two cores: producers and consumers with room for two, and nobody is forgotten.
#[test]
fn oversubscribed() {
    const ROUNDS: u32 = 500;
    fn work(store: Value<u32>, condition: Condvar, produces: u32) -> Result<()> {
        for _ in 0..ROUNDS {
            let mut guard = store.lock()?;
            if produces == 1 {
                condition.wait_while_timeout(&mut guard, |store| **store == 2, SOON)?;
                *guard += 1;
            } else {
                condition.wait_while_timeout(&mut guard, |store| **store == 0, SOON)?;
                *guard -= 1;
            }
            // Producers and consumers wait together.
            condition.notify_all()?;
        }
        Ok(())
    }
    let _deadline = Deadline::seconds(120, "oversubscribed");
    let (store, condition) = (Value::new(0).unwrap(), Condvar::new().unwrap());
    let start = |n: u32| Process::spawn(work, (store.clone(), condition.clone(), n % 2)).unwrap();
    let processes: Vec<_> = (0..8).map(start).collect();
    processes.iter().for_each(joined);
    assert_eq!((store.get().unwrap(), condition.n_waiting().unwrap()), (0, 0));
}

/// A signal every millisecond: a wait keeps its length, and no notification is lost.
#[test]
fn signals() {
    const ROUNDS: u32 = 200;
    let _deadline = Deadline::seconds(60, "signals");
    let (turn, condition) = (Value::new(0_u32).unwrap(), Condvar::new().unwrap());
    let signals = Board::<AtomicU64>::new();
    let mut child = Child::start(|| {
        storm_of_signals(signals.get());
        let time = Duration::from_millis(250);
        let mut guard = turn.lock().unwrap();
        let start = Instant::now();
        assert!(condition.wait_timeout(&mut guard, time).unwrap_err().is_timed_out());
        assert!(start.elapsed() >= time);
        for _ in 0..ROUNDS {
            *guard += 1;
            condition.wait(&mut guard).unwrap();
        }
        0
    });
    for round in 1..=ROUNDS {
        // When the lock is free it waits.
        eventually(|| turn.get().unwrap() == round);
        thread::sleep(Duration::from_millis(1)); // so that it is interrupted in its sleep
        assert_eq!(condition.notify_one().unwrap(), 1);
    }
    assert_eq!(child.wait(), End::Code(0));
    assert!(signals.load(SeqCst) > 200, "{} signals", signals.load(SeqCst));
}

/// A stopped waiter keeps the notification that it was given, and does not hold up others.
#[test]
fn a_stopped_waiter() {
    let _deadline = Deadline::seconds(60, "a_stopped_waiter");
    let (lock, condition) = (Lock::new().unwrap(), Condvar::new().unwrap());
    let through = Board::<AtomicU32>::new();
    let wait = || {
        let mut guard = lock.lock().unwrap();
        condition.wait_timeout(&mut guard, SOON).unwrap();
        through.fetch_add(1, SeqCst);
        0
    };
    let mut stopped = Child::start(wait);
    waiting(&condition, 1);
    stopped.wait_until_asleep();
    stopped.signal(libc::SIGSTOP);
    stopped.wait_until_stopped();
    let mut other = Child::start(wait);
    waiting(&condition, 2);
    assert_eq!(condition.notify_one().unwrap(), 1);
    assert_eq!(condition.notify_one().unwrap(), 1);
    assert_eq!(other.wait(), End::Code(0));
    assert_eq!(through.load(SeqCst), 1);
    stopped.signal(libc::SIGCONT);
    assert_eq!(stopped.wait(), End::Code(0));
    check_invariant(&condition);
}

/// Producers and consumers that are stopped at any moment, also half-way into a wait or a notification: nobody is forgotten.
#[test]
fn stopped_at_any_moment() {
    const ROUNDS: u32 = 200;
    let _deadline = Deadline::seconds(120, "stopped_at_any_moment");
    let (store, condition) = (Value::new(0_u32).unwrap(), Condvar::new().unwrap());
    let work = |produces: bool| {
        for round in 0..ROUNDS {
            let mut guard = store.lock_timeout(SOON).unwrap();
            if produces {
                condition.wait_while_timeout(&mut guard, |store| **store == 2, SOON).unwrap();
                *guard += 1;
            } else {
                condition.wait_while_timeout(&mut guard, |store| **store == 0, SOON).unwrap();
                *guard -= 1;
            }
            if round % 2 == 0 {
                drop(guard);
            }
            condition.notify_all().unwrap();
            thread::sleep(Duration::from_micros(200));
        }
    };
    let mut children = [true, false, true].map(|produces| {
        Child::start(move || {
            work(produces);
            0
        })
    });
    thread::scope(|scope| {
        scope.spawn(|| work(false));
        stop_and_go(&mut children);
    });
    assert_eq!(store.get().unwrap(), 0);
    check_invariant(&condition);
}

#[test]
fn names_regions_and_kinds() {
    let name = scratch::Name::new();
    let condition = Condvar::create(&*name).unwrap();
    assert!(matches!(Condvar::create(&*name), Err(Error::AlreadyExists { .. })));
    assert!(Condvar::open(&*name).unwrap().is_same(&condition));
    assert!(Condvar::open_or_create(&*name).unwrap().is_same(&condition));
    assert!(matches!(Event::open(&*name), Err(Error::TypeMismatch { .. })));
    Condvar::unlink(&*name).unwrap();

    let region = Region::anonymous(1 << 17).unwrap();
    let condition = Condvar::new_in(&region, "c").unwrap();
    assert!(Condvar::open_in(&region, "c").unwrap().is_same(&condition));
    assert!(Condvar::open_or_create_in(&region, "c").unwrap().is_same(&condition));
    assert!(condition.region().is_same(&region));
    Lock::new_in(&region, "lock").unwrap();
    assert!(matches!(Condvar::open_in(&region, "lock"), Err(Error::TypeMismatch { .. })));
    assert_eq!(format!("{condition:?}"), "Condvar { waiting: 0 }");
    // Threads of one process, in a region with many others.
    let lock = Lock::open_in(&region, "lock").unwrap();
    let go = AtomicU32::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut guard = lock.lock().unwrap();
            condition.wait_timeout(&mut guard, SOON).unwrap();
            go.store(1, Relaxed);
        });
        waiting(&condition, 1);
        assert_eq!(format!("{condition:?}"), "Condvar { waiting: 1 }");
        condition.notify_all().unwrap();
        eventually(|| go.load(Relaxed) == 1);
    });
}
