//! What a lock promises, and a lock that may be taken again: to threads and to processes alike.
//!
//! Releasing is the guard's drop. A second release, or one by who never acquired, cannot be written: `drop` takes the
//! guard away, nothing else makes one, and it cannot go to another thread (`tests/ui/guard_to_another_thread.rs`).
//! Deaths of holders are the subject of `tests/death_locks.rs`.

mod support;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    process::id,
    sync::atomic::{AtomicU64, Ordering::SeqCst},
    thread,
    time::{Duration, Instant},
};

use shmkit::{
    Array, Lock, Process, RLock, Result, Value,
    process::{Builder, Message, Outcome, Target},
};
use support::{Board, Child, Deadline, End, Flag, eventually, is_raised, raise, stop_and_go, storm_of_signals};

shmkit::init_in_tests!();

/// Longer than any wait that succeeds.
const LONG: Duration = Duration::from_secs(50);

/// A child that does not outlive the test, whatever becomes of it.
fn start<F, A>(target: F, args: A) -> Process<<F::Outcome as Outcome>::Output>
where
    F: Target<A>,
    A: Message,
{
    let child: Builder<F, A> = Process::builder(target).args(args).daemon(true);
    child.start().unwrap()
}

/// What another thread of this process makes of the lock.
fn elsewhere<T: Send>(look: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| scope.spawn(look).join().unwrap())
}

/// Whether another process gets the lock at once.
fn other_process_gets(lock: &Lock) -> bool {
    start(|lock: Lock| lock.try_lock().is_ok(), (lock.clone(),)).join().unwrap()
}

fn other_process_gets_again(lock: &RLock) -> bool {
    start(|lock: RLock| lock.try_lock().is_ok(), (lock.clone(),)).join().unwrap()
}

#[test]
fn lock_acquire_and_release() {
    let _deadline = Deadline::seconds(60, "lock_acquire_and_release");
    let lock = Lock::new().unwrap();
    for _ in 0..3 {
        let held = lock.lock().unwrap();
        assert!(lock.try_lock().unwrap_err().is_would_block(), "held, by its holder too");
        assert!(elsewhere(|| lock.try_lock().unwrap_err().is_would_block()));
        assert!(!other_process_gets(&lock));
        drop(held);
        assert!(elsewhere(|| lock.try_lock().is_ok()));
        assert!(other_process_gets(&lock));
    }
}

#[test]
fn lock_twice_by_one_thread_is_an_error_and_no_hang() {
    let _deadline = Deadline::seconds(60, "lock_twice");
    let lock = Lock::new().unwrap();
    let held = lock.lock().unwrap();
    assert!(matches!(lock.lock(), Err(shmkit::Error::WouldDeadlock)));
    assert!(matches!(lock.recover(), Err(shmkit::Error::WouldDeadlock)));
    drop(held);
    assert!(lock.lock().is_ok(), "the refusal took nothing");
}

#[test]
fn rlock_three_times() {
    let _deadline = Deadline::seconds(60, "rlock_three_times");
    let lock = RLock::new().unwrap();
    let mut held = vec![lock.lock().unwrap(), lock.try_lock().unwrap(), lock.lock_timeout(LONG).unwrap()];
    while let Some(guard) = held.pop() {
        assert!(elsewhere(|| lock.try_lock().unwrap_err().is_would_block()));
        assert!(!other_process_gets_again(&lock));
        drop(guard);
    }
    assert!(elsewhere(|| lock.try_lock().is_ok()));
    assert!(other_process_gets_again(&lock));
}

#[test]
fn rlock_guards_in_any_order() {
    let lock = RLock::new().unwrap();
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let mut held: Vec<_> = (0..3).map(|_| Some(lock.lock().unwrap())).collect();
        for one in order {
            assert!(elsewhere(|| lock.try_lock().is_err()));
            held[one] = None;
        }
        assert!(elsewhere(|| lock.try_lock().is_ok()));
    }
}

#[test]
fn a_guard_releases_at_the_end_of_its_scope() {
    let lock = Lock::new().unwrap();
    let again = RLock::new().unwrap();
    {
        let _held = lock.lock().unwrap();
        let _also = again.lock().unwrap();
        assert!(elsewhere(|| lock.try_lock().is_err() && again.try_lock().is_err()));
    }
    assert!(elsewhere(|| lock.try_lock().is_ok() && again.try_lock().is_ok()));

    // By `?` as well.
    fn leaves_early(lock: &Lock) -> Result<()> {
        let _held = lock.lock()?;
        Err(shmkit::Error::TimedOut)
    }
    assert!(leaves_early(&lock).is_err());
    assert!(elsewhere(|| lock.try_lock().is_ok()));

    // And by a panic, which poisons.
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _held = (lock.lock().unwrap(), again.lock().unwrap());
        panic!("on purpose");
    }));
    assert!(panicked.is_err());
    assert!(elsewhere(|| lock.try_lock().unwrap_err().is_poisoned() && again.try_lock().unwrap_err().is_poisoned()));
    lock.try_recover().unwrap().clear_poison();
    again.try_recover().unwrap().clear_poison();
    assert!(elsewhere(|| lock.try_lock().is_ok() && again.try_lock().is_ok()));
}

#[test]
fn a_wait_has_its_limit() {
    let _deadline = Deadline::seconds(60, "a_wait_has_its_limit");
    const SHORT: Duration = Duration::from_millis(100);
    let (lock, again) = (Lock::new().unwrap(), RLock::new().unwrap());
    let (_held, _also) = (lock.lock().unwrap(), again.lock().unwrap());
    elsewhere(|| {
        for wait in [
            &|| lock.lock_timeout(SHORT).map(drop) as Result<()>,
            &|| lock.lock_deadline(Instant::now() + SHORT).map(drop),
            &|| lock.recover_timeout(SHORT).map(drop),
            &|| lock.recover_deadline(Instant::now() + SHORT).map(drop),
            &|| again.lock_timeout(SHORT).map(drop),
            &|| again.lock_deadline(Instant::now() + SHORT).map(drop),
            &|| again.recover_timeout(SHORT).map(drop),
            &|| again.recover_deadline(Instant::now() + SHORT).map(drop) as Result<()>,
        ] as [&dyn Fn() -> Result<()>; 8]
        {
            let before = Instant::now();
            assert!(wait().unwrap_err().is_timed_out());
            assert!(before.elapsed() >= SHORT);
        }
        assert!(lock.lock_timeout(Duration::ZERO).unwrap_err().is_timed_out());
        assert!(lock.lock_deadline(Instant::now()).unwrap_err().is_timed_out());
    });
}

/// One of those who count, together, what only a lock keeps right: two halves that are equal whenever it is free.
fn count(lock: Lock, again: RLock, halves: Array<u64>, times: u64) -> Result<()> {
    for _ in 0..times {
        let _held = lock.lock()?;
        let _outer = again.lock()?;
        let _inner = again.lock()?;
        let before = halves.get(0)?;
        assert_eq!(before, halves.get(1)?, "somebody else is inside");
        halves.set(0, before + 1)?;
        thread::yield_now();
        halves.set(1, before + 1)?;
    }
    Ok(())
}

#[test]
fn one_at_a_time_among_threads_and_processes() {
    let _deadline = Deadline::seconds(60, "one_at_a_time");
    const TIMES: u64 = 300;
    let (lock, again, halves) = (Lock::new().unwrap(), RLock::new().unwrap(), Array::zeros(2).unwrap());
    let args = || (lock.clone(), again.clone(), halves.clone(), TIMES);
    let children: Vec<_> = (0..3).map(|_| start(count, args())).collect();
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let (lock, again, halves, times) = args();
            thread::spawn(move || count(lock, again, halves, times))
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap().unwrap());
    children.iter().for_each(|child| child.join().unwrap());
    assert_eq!(halves.to_vec().unwrap(), [6 * TIMES; 2]);
}

#[test]
fn a_waiter_gets_the_lock_when_it_is_released() {
    let _deadline = Deadline::seconds(60, "a_waiter_gets_the_lock");
    let (lock, waits) = (Lock::new().unwrap(), Value::new(false as u8).unwrap());
    let held = lock.lock().unwrap();
    let child = start(
        |lock: Lock, waits: Value<u8>| -> Result<()> {
            waits.set(1)?;
            lock.lock_timeout(LONG).map(drop)
        },
        (lock.clone(), waits.clone()),
    );
    eventually(|| waits.get().unwrap() == 1 && child.state() == shmkit::process::State::Blocked);
    drop(held);
    child.join().unwrap();
}

/// A signal every millisecond: a wait keeps its length, and a lock is neither lost nor had too early.
#[test]
fn a_wait_is_not_disturbed_by_signals() {
    let _deadline = Deadline::seconds(60, "a_wait_is_not_disturbed_by_signals");
    const TIME: Duration = Duration::from_millis(250);
    let (lock, again) = (Lock::new().unwrap(), RLock::new().unwrap());
    let (signals, turn) = (Board::<AtomicU64>::new(), Board::<AtomicU64>::new());
    let (held, also) = (lock.lock().unwrap(), again.lock().unwrap());
    let mut child = Child::start(|| {
        storm_of_signals(signals.get());
        for wait in [&|| lock.lock_timeout(TIME).map(drop) as Result<()>, &|| again.lock_timeout(TIME).map(drop)]
            as [&dyn Fn() -> Result<()>; 2]
        {
            let before = Instant::now();
            assert!(wait().unwrap_err().is_timed_out());
            assert!(before.elapsed() >= TIME);
        }
        turn.store(1, SeqCst);
        let _held = (lock.lock().unwrap(), again.lock().unwrap());
        assert_eq!(turn.load(SeqCst), 2, "released by nobody");
        0
    });
    eventually(|| turn.load(SeqCst) == 1);
    let before = signals.load(SeqCst);
    eventually(|| signals.load(SeqCst) > before + 50);
    assert!(!child.has_ended());
    turn.store(2, SeqCst);
    drop((held, also));
    assert_eq!(child.wait(), End::Code(0));
}

/// One that is stopped is not dead: it keeps what it holds. And it keeps nobody from what it waits for.
#[test]
fn stopped_holders_and_waiters() {
    let _deadline = Deadline::seconds(60, "stopped_holders_and_waiters");
    let lock = Lock::new().unwrap();
    let go = Board::<Flag>::new();
    let mut holder = Child::start(|| {
        let _held = lock.lock().unwrap();
        eventually(|| is_raised(&go));
        0
    });
    eventually(|| lock.try_lock().is_err());
    holder.signal(libc::SIGSTOP);
    holder.wait_until_stopped();
    // Longer than the slices of a wait, after each of which a waiter looks after the holder.
    assert!(lock.lock_timeout(Duration::from_millis(350)).unwrap_err().is_timed_out());
    assert!(format!("{lock:?}").contains(&format!("owner: process {},", holder.pid())), "{lock:?}");
    raise(&go);
    holder.signal(libc::SIGCONT);
    assert_eq!(holder.wait(), End::Code(0));

    let held = lock.lock().unwrap();
    let mut stopped = Child::start(|| lock.lock().map_or(1, |_| 0));
    stopped.wait_until_asleep();
    stopped.signal(libc::SIGSTOP);
    stopped.wait_until_stopped();
    let mut other = Child::start(|| lock.lock().map_or(1, |_| 0));
    other.wait_until_asleep();
    drop(held);
    assert_eq!(other.wait(), End::Code(0), "though the wake-up was for the stopped one");
    assert!(!stopped.has_ended());
    stopped.signal(libc::SIGCONT);
    assert_eq!(stopped.wait(), End::Code(0));
    assert!(lock.try_lock().is_ok());
}

/// Holders and waiters that are stopped at any moment: one is inside at a time.
#[test]
fn stopped_at_any_moment() {
    let _deadline = Deadline::seconds(120, "stopped_at_any_moment");
    const TIMES: u64 = 300;
    let (lock, again, halves) = (Lock::new().unwrap(), RLock::new().unwrap(), Array::zeros(2).unwrap());
    let mut children = [(); 3].map(|()| {
        Child::start(|| {
            for _ in 0..TIMES {
                count(lock.clone(), again.clone(), halves.clone(), 1).unwrap();
                thread::sleep(Duration::from_micros(200));
            }
            0
        })
    });
    thread::scope(|scope| {
        scope.spawn(|| count(lock.clone(), again.clone(), halves.clone(), TIMES).unwrap());
        stop_and_go(&mut children);
    });
    assert_eq!(halves.to_vec().unwrap(), [4 * TIMES; 2]);
}

/// Upstream a child acquires and exits, and its parent releases. Here the lock is its holder's: one that ends in good
/// order has released it, and one that does not leaves it to the next, who is told.
#[test]
fn a_child_takes_the_lock_and_exits() {
    let _deadline = Deadline::seconds(60, "a_child_takes_the_lock_and_exits");
    let (lock, again) = (Lock::new().unwrap(), RLock::new().unwrap());
    let in_order = |lock: Lock, again: RLock| lock.lock().is_ok() && again.lock().is_ok();
    assert!(start(in_order, (lock.clone(), again.clone())).join().unwrap());
    assert!(lock.try_lock().is_ok() && again.try_lock().is_ok());

    let child = start(
        |lock: Lock, again: RLock| -> Result<()> {
            let _held = (lock.lock()?, again.lock()?, again.lock()?);
            std::process::exit(0);
        },
        (lock.clone(), again.clone()),
    );
    assert!(child.join().is_err());
    let culprit = Some(child.pid());
    assert!(matches!(lock.lock(), Err(shmkit::Error::Poisoned { pid, .. }) if pid == culprit));
    assert!(matches!(again.lock(), Err(shmkit::Error::Poisoned { pid, .. }) if pid == culprit));
    lock.recover().unwrap().clear_poison();
    again.recover().unwrap().clear_poison();
    assert!(other_process_gets(&lock) && other_process_gets_again(&again), "not held at any depth");
}

#[test]
fn debug_tells_who_holds_it() {
    let _deadline = Deadline::seconds(60, "debug_tells_who_holds_it");
    let (lock, again) = (Lock::new().unwrap(), RLock::new().unwrap());
    let shown = || (format!("{lock:?}"), format!("{again:?}"));
    let of = |owner: &str, depth: u32| {
        (
            format!("Lock {{ owner: {owner}, poisoned: false }}"),
            format!("RLock {{ owner: {owner}, depth: {depth}, poisoned: false }}"),
        )
    };
    assert_eq!(shown(), of("none", 0));

    let held = (lock.lock().unwrap(), again.lock().unwrap(), again.lock().unwrap());
    assert_eq!(shown(), of("this thread", 2));
    assert_eq!(elsewhere(shown), of("another thread", 2));
    let show = |lock: Lock, again: RLock| (format!("{lock:?}"), format!("{again:?}"));
    let seen = start(show, (lock.clone(), again.clone())).join().unwrap();
    assert_eq!(seen, of(&format!("process {}", id()), 2));
    drop(held);
    assert_eq!(shown(), of("none", 0));

    let (ready, done) = (Value::new(0_u8).unwrap(), Lock::new().unwrap());
    let until_done = done.lock().unwrap();
    let child = start(
        |lock: Lock, again: RLock, ready: Value<u8>, done: Lock| -> Result<()> {
            let _held = (lock.lock()?, again.lock()?);
            ready.set(1)?;
            done.lock_timeout(LONG).map(drop)
        },
        (lock.clone(), again.clone(), ready.clone(), done.clone()),
    );
    eventually(|| ready.get().unwrap() == 1);
    assert_eq!(shown(), of(&format!("process {}", child.pid()), 1));
    drop(until_done);
    child.join().unwrap();
    assert_eq!(shown(), of("none", 0));
}

#[test]
fn debug_of_a_lock_whose_holder_died() {
    let _deadline = Deadline::seconds(60, "debug_of_a_lock_whose_holder_died");
    let (lock, again) = (Lock::new().unwrap(), RLock::new().unwrap());
    let child = start(
        |lock: Lock, again: RLock| -> Result<()> {
            let _held = (lock.lock()?, again.lock()?);
            std::process::exit(0);
        },
        (lock.clone(), again.clone()),
    );
    assert!(child.join().is_err());
    assert!(format!("{lock:?}").contains("owner: none"), "{lock:?}");
    assert!(format!("{again:?}").contains("owner: none, depth: 0"), "{again:?}");
    assert!(lock.lock().is_err() && again.lock().is_err());
    assert!(format!("{lock:?}").contains("poisoned: true"), "{lock:?}");
    assert!(format!("{again:?}").contains("poisoned: true"), "{again:?}");
}
