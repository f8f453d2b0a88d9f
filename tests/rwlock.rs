//! The lock for many readers or one writer, between processes and threads: who gets in, who waits, who is refused.

mod support;

use std::{
    cell::RefCell,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    thread,
    time::{Duration, Instant},
};

use shmkit::{AtomicValue, Error, Process, Result, RwLock, RwLockReadGuard};
use support::{Board, Child, Deadline, End, Flag, eventually, is_raised, joined, raise, stop_and_go, storm_of_signals};

shmkit::init_in_tests!();

const DEADLINE: Duration = Duration::from_secs(60);
const WHILE: Duration = Duration::from_millis(120);

fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        thread::yield_now();
    }
}

/// Reads and holds the read until it is told to end.
fn hold(lock: RwLock<u64>, readers: AtomicValue<u64>, end: AtomicValue<bool>) -> Result<u64> {
    let guard = lock.read_timeout(DEADLINE)?;
    readers.fetch_add(1, SeqCst);
    until("the end of the read", || end.load(SeqCst));
    Ok(*guard)
}

#[test]
fn readers_of_all_processes_share_it_and_keep_writers_out() {
    let lock = RwLock::new(5_u64).unwrap();
    let (readers, end) = (AtomicValue::new(0_u64).unwrap(), AtomicValue::new(false).unwrap());
    let processes = [(); 3].map(|()| Process::spawn(hold, (lock.clone(), readers.clone(), end.clone())).unwrap());
    thread::scope(|scope| {
        let here = scope.spawn(|| hold(lock.clone(), readers.clone(), end.clone()));
        until("all four read", || readers.load(SeqCst) == 4);
        assert!(lock.try_write().unwrap_err().is_would_block());
        let start = Instant::now();
        assert!(lock.write_timeout(WHILE).unwrap_err().is_timed_out());
        assert!(lock.write_deadline(start + 2 * WHILE).unwrap_err().is_timed_out());
        assert!(start.elapsed() >= 2 * WHILE);
        // Who gave up is in nobody's way.
        assert_eq!(*lock.try_read().unwrap(), 5);
        end.store(true, SeqCst);
        assert_eq!(here.join().unwrap().unwrap(), 5);
    });
    for process in &processes {
        assert_eq!(joined(process), 5);
    }
    *lock.try_write().unwrap() = 6;
    assert_eq!(*lock.read().unwrap(), 6);
}

/// Eight processes and threads, two of which write.
#[test]
fn nothing_is_torn_or_lost() {
    fn work(lock: RwLock<[u64; 8]>, writes: u64) -> Result<()> {
        for turn in 0..2000 {
            if writes > 0 && turn % 4 == 0 {
                let mut guard = lock.write_timeout(DEADLINE)?;
                let next = guard[0] + 1;
                guard.fill(next);
            } else {
                let guard = lock.read_timeout(DEADLINE)?;
                assert!(guard.iter().all(|one| *one == guard[0]));
            }
        }
        Ok(())
    }
    let lock = RwLock::new([0_u64; 8]).unwrap();
    let processes: Vec<_> = (0..4).map(|at| Process::spawn(work, (lock.clone(), at % 2)).unwrap()).collect();
    thread::scope(|scope| {
        for at in 0..4 {
            let lock = lock.clone();
            scope.spawn(move || work(lock, at % 2).unwrap());
        }
    });
    processes.iter().for_each(joined);
    assert_eq!(lock.read().unwrap()[7], 4 * 500);
}

/// While readers come and go so that there is always one, a writer gets in.
#[test]
fn a_writer_is_not_starved() {
    let lock = RwLock::new(0_u32).unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !done.load(SeqCst) {
                    let guard = lock.read_timeout(DEADLINE).unwrap();
                    thread::sleep(Duration::from_micros(300));
                    drop(guard);
                }
            });
        }
        for _ in 0..20 {
            *lock.write_timeout(DEADLINE).unwrap() += 1;
        }
        done.store(true, SeqCst);
    });
    assert_eq!(*lock.read().unwrap(), 20);
}

#[test]
fn the_same_thread_is_refused_and_does_not_wait_for_itself() {
    let lock = RwLock::new(0_u32).unwrap();
    let reading = lock.read().unwrap();
    assert!(matches!(lock.write(), Err(Error::WouldDeadlock)));
    assert!(lock.try_write().unwrap_err().is_would_block());
    thread::scope(|scope| {
        let writer = scope.spawn(|| drop(lock.write_timeout(DEADLINE).unwrap()));
        until("a writer waits", || {
            lock.try_read().is_ok() && thread::scope(|s| s.spawn(|| lock.try_read().is_err()).join().unwrap())
        });
        // Another thread is kept out by the writer that waits, this one is not.
        assert_eq!(*lock.read().unwrap(), 0);
        drop(reading);
        writer.join().unwrap();
    });
    let writing = lock.write().unwrap();
    assert!(matches!(lock.write(), Err(Error::WouldDeadlock)));
    assert!(matches!(lock.read(), Err(Error::WouldDeadlock)));
    assert!(lock.try_read().unwrap_err().is_would_block());
    drop(writing);
    drop(lock.write().unwrap());
}

#[test]
fn a_downgrade_lets_readers_in_and_keeps_writers_out() {
    let lock = RwLock::new(1_u32).unwrap();
    let mut guard = lock.write().unwrap();
    *guard = 2;
    let guard = guard.downgrade();
    thread::scope(|scope| {
        scope.spawn(|| {
            assert_eq!(*lock.try_read().unwrap(), 2);
            assert!(lock.try_write().unwrap_err().is_would_block());
        });
    });
    drop(guard);
    drop(lock.try_write().unwrap());
}

#[test]
fn a_panicking_writer_poisons_and_a_panicking_reader_does_not() {
    let lock = RwLock::new(1_u32).unwrap();
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let _guard = lock.read().unwrap();
            panic!("while it reads");
        });
        assert!(reader.join().is_err());
        assert!(lock.read().is_ok());
        let writer = scope.spawn(|| {
            let _guard = lock.write().unwrap();
            panic!("while it writes");
        });
        assert!(writer.join().is_err());
    });
    assert!(lock.read().unwrap_err().is_poisoned());
    assert!(lock.write().unwrap_err().is_poisoned());
    assert!(lock.try_read().unwrap_err().is_poisoned());
    let mut guard = lock.recover().unwrap();
    assert_eq!(guard.poison().unwrap().pid, Some(std::process::id()));
    guard.clear_poison();
    drop(guard);
    assert_eq!(*lock.read().unwrap(), 1);
}

/// The copy of a guard that a fork made is not the child's: its drop ends nothing, and it cannot be used to go on.
#[test]
fn a_forked_guard_is_a_copy() {
    let _deadline = Deadline::seconds(60, "a_forked_guard_is_a_copy");
    let (read, written) = (RwLock::new(0_u8).unwrap(), RwLock::new(0_u8).unwrap());
    let (mut reading, mut writing) = (Some(read.read().unwrap()), Some(written.write().unwrap()));
    let mut child = Child::start(|| {
        drop((reading.take(), writing.take()));
        let would_block = |error: Error| error.is_would_block();
        let kept = read.try_write().is_err_and(would_block) && written.try_read().is_err_and(would_block);
        i32::from(!kept || *read.try_read().unwrap() != 0)
    });
    assert_eq!(child.wait(), End::Code(0));
    let mut child = Child::start(|| {
        drop(writing.take().map(|writing| writing.downgrade()));
        0
    });
    assert_eq!(child.wait(), End::Code(support::PANICKED), "a copy holds nothing that could be had to read");
    let elsewhere = |look: &(dyn Fn() -> bool + Sync)| thread::scope(|scope| scope.spawn(look).join().unwrap());
    assert!(elsewhere(&|| read.try_write().is_err() && written.try_read().is_err()));
    drop((reading, writing));
    assert!(elsewhere(&|| read.try_write().is_ok() && written.try_read().is_ok()));
}

/// Guards are forgotten: writers are kept out for as long as this process is there, and nothing worse.
#[test]
fn forgotten_guards() {
    let lock = RwLock::new(1_u32).unwrap();
    std::mem::forget(lock.read().unwrap());
    assert_eq!(*lock.read().unwrap(), 1);
    thread::scope(|scope| {
        scope.spawn(|| assert!(lock.write_timeout(WHILE).unwrap_err().is_timed_out()));
    });
    let other = RwLock::new(1_u32).unwrap();
    std::mem::forget(other.write().unwrap());
    drop(other);
    drop(lock);
}

/// A forgotten read is of its own lock, and of no other that comes to lie at the same address.
#[test]
fn what_was_forgotten_is_held_against_no_other_lock() {
    let _deadline = Deadline::seconds(60, "what_was_forgotten_is_held_against_no_other_lock");
    for _ in 0..200 {
        std::mem::forget(RwLock::new(1_u32).unwrap().read().unwrap());
        *RwLock::new(1_u32).unwrap().write().unwrap() += 1;
    }
}

/// A guard that a thread keeps until its very end is given back then, in whatever order its thread-locals go.
#[test]
fn a_guard_in_a_thread_local() {
    thread_local! {
        static KEPT: RefCell<Option<RwLockReadGuard<'static, u32>>> = const { RefCell::new(None) };
    }
    let lock: &'static RwLock<u32> = Box::leak(Box::new(RwLock::new(1_u32).unwrap()));
    let mut child = Child::start(|| {
        thread::spawn(|| KEPT.with(|kept| *kept.borrow_mut() = Some(lock.read().unwrap()))).join().unwrap();
        i32::from(lock.write_timeout(DEADLINE).is_err())
    });
    assert_eq!(child.wait(), End::Code(0));
}

/// More processes than there are records read at the same time, some of them as the writers' guests.
#[test]
fn more_readers_than_records() {
    fn look(lock: RwLock<u64>) -> Result<u64> {
        let mut sum = 0;
        for _ in 0..50 {
            sum += *lock.read_timeout(DEADLINE)?;
        }
        Ok(sum)
    }
    let lock = RwLock::new(1_u64).unwrap();
    let readers: Vec<_> = (0..80).map(|_| Process::spawn(look, (lock.clone(),)).unwrap()).collect();
    for _ in 0..20 {
        drop(lock.write_timeout(DEADLINE).unwrap());
    }
    for reader in &readers {
        assert_eq!(joined(reader), 50);
    }
}

/// Three children of two threads each: one reads and one writes a pair that is equal whenever nobody writes.
struct Pair(RwLock<[u64; 2]>);

const ROUNDS: u64 = 200;

impl Pair {
    fn new() -> Self {
        Self(RwLock::new([0; 2]).unwrap())
    }

    fn read(&self) {
        for round in 0..ROUNDS {
            let guard = match round % 2 {
                0 => self.0.read().unwrap(),
                _ => self.0.read_timeout(DEADLINE).unwrap(),
            };
            let first = guard[0];
            // So that writers sleep meanwhile.
            thread::sleep(Duration::from_micros(200));
            assert_eq!([first; 2], *guard);
        }
    }

    fn write(&self) {
        for round in 0..ROUNDS {
            let mut guard = match round % 3 {
                0 => self.0.write().unwrap(),
                1 => self.0.write_timeout(DEADLINE).unwrap(),
                _ => loop {
                    match self.0.write_timeout(Duration::from_micros(50)) {
                        Ok(guard) => break guard,
                        Err(error) => assert!(error.is_timed_out(), "{error}"),
                    }
                },
            };
            guard[0] += 1;
            thread::sleep(Duration::from_micros(200));
            guard[1] += 1;
            if round % 4 == 0 {
                let guard = guard.downgrade();
                assert_eq!(guard[0], guard[1]);
            }
        }
    }

    /// The children, of which every thread does `first` before it begins.
    fn children(&self, first: impl Fn() + Sync) -> [Child; 3] {
        [(); 3].map(|()| {
            Child::start(|| {
                thread::scope(|scope| {
                    scope.spawn(|| {
                        first();
                        self.read();
                    });
                    first();
                    self.write();
                });
                0
            })
        })
    }
}

/// A signal every millisecond: a wait keeps its length, and nobody gets in who may not.
#[test]
fn signals() {
    let _deadline = Deadline::seconds(60, "signals");
    let (pair, signals) = (Pair::new(), Board::<AtomicU64>::new());
    let (read, written) = (RwLock::new(0_u8).unwrap(), RwLock::new(0_u8).unwrap());
    let (reading, writing) = (read.read().unwrap(), written.write().unwrap());
    let mut children = pair.children(|| {
        storm_of_signals(signals.get());
        let time = Duration::from_millis(250);
        for wait in
            [&|| read.write_timeout(time).map(drop) as Result<()>, &|| written.write_timeout(time).map(drop), &|| {
                written.read_timeout(time).map(drop)
            }] as [&dyn Fn() -> Result<()>; 3]
        {
            let start = Instant::now();
            assert!(wait().unwrap_err().is_timed_out());
            assert!(start.elapsed() >= time);
        }
    });
    thread::scope(|scope| {
        scope.spawn(|| pair.read());
        pair.write();
    });
    assert!(children.iter_mut().all(|child| child.wait() == End::Code(0)));
    assert!(signals.load(SeqCst) > 1000, "{} signals", signals.load(SeqCst));
    assert_eq!(*pair.0.read().unwrap(), [4 * ROUNDS; 2]);
    drop((reading, writing));
    assert!(read.try_write().is_ok() && written.try_write().is_ok());
}

/// Readers and writers that are stopped at any moment keep what they have.
#[test]
fn stopped_at_any_moment() {
    let _deadline = Deadline::seconds(120, "stopped_at_any_moment");
    let pair = Pair::new();
    let mut children = pair.children(|| ());
    thread::scope(|scope| {
        scope.spawn(|| pair.read());
        scope.spawn(|| pair.write());
        stop_and_go(&mut children);
    });
    assert_eq!(*pair.0.read().unwrap(), [4 * ROUNDS; 2]);
}

#[test]
fn a_stopped_writer() {
    let _deadline = Deadline::seconds(60, "a_stopped_writer");
    let lock = RwLock::new(0_u32).unwrap();
    let (writes, go) = (Board::<Flag>::new(), Board::<Flag>::new());
    let mut writer = Child::start(|| {
        let mut guard = lock.write().unwrap();
        raise(&writes);
        eventually(|| is_raised(&go));
        *guard = 1;
        0
    });
    eventually(|| is_raised(&writes));
    writer.signal(libc::SIGSTOP);
    writer.wait_until_stopped();
    // Longer than the slices of a wait, after each of which a waiter looks after the holder.
    assert!(lock.read_timeout(2 * WHILE).unwrap_err().is_timed_out());
    assert!(lock.write_timeout(2 * WHILE).unwrap_err().is_timed_out());
    raise(&go);
    writer.signal(libc::SIGCONT);
    assert_eq!(*lock.read_timeout(DEADLINE).unwrap(), 1);
    assert_eq!(writer.wait(), End::Code(0));
}

/// One that is stopped while it waits behind a writer does not hold up those that wait with it.
#[test]
fn stopped_in_the_queue() {
    let _deadline = Deadline::seconds(60, "stopped_in_the_queue");
    let lock = RwLock::new(0_u32).unwrap();
    let wait = |writes: bool| match writes {
        true => lock.write().map_or(1, |_| 0),
        false => lock.read().map_or(1, |_| 0),
    };
    for (stopped_writes, other_writes) in [(false, false), (false, true), (true, false), (true, true)] {
        let held = lock.write().unwrap();
        let mut stopped = Child::start(|| wait(stopped_writes));
        stopped.wait_until_asleep();
        stopped.signal(libc::SIGSTOP);
        stopped.wait_until_stopped();
        let mut other = Child::start(|| wait(other_writes));
        other.wait_until_asleep();
        drop(held);
        assert_eq!(other.wait(), End::Code(0), "though the wake-up was for the stopped one");
        assert!(!stopped.has_ended());
        stopped.signal(libc::SIGCONT);
        assert_eq!(stopped.wait(), End::Code(0));
    }
    assert!(lock.try_write().is_ok());
}
