//! Locks: taken and released alone, and by several processes or threads at once. See `benches/README.md`.

#![expect(unsafe_code, reason = "a peer's constructor is unsafe")]

#[path = "support/compare.rs"]
mod compare;
#[path = "support/pthread.rs"]
mod pthread;
#[path = "support/shared.rs"]
mod shared;
#[path = "support/workers.rs"]
mod workers;

use std::{
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use compare::{Comparison, Run, Unit, criterion, in_earnest};
use criterion::Criterion;
use pthread::{Guarded, Pthread};
use raw_sync::locks::{LockImpl, LockInit};
use shared::Shared;
use shared_memory::{Shmem, ShmemConf};
use shmkit::{Lock, RLock, Value};
use workers::{PrivateWork, Tally, processes, threads};

fn main() {
    shmkit::init();
    let mut criterion = criterion();
    uncontended(&mut criterion);
    let work = PrivateWork::lasting(Duration::from_nanos(100));
    contended_locks("two, 100 ns between", 2, work);
    contended_locks("eight, 100 ns between", 8, work);
    contended_values("two, 100 ns between, with the data", 2, work);
    contended_values("eight, 100 ns between, with the data", 8, work);
    contended_locks("two, bare loop", 2, PrivateWork::NONE);
    contended_locks("eight, bare loop", 8, PrivateWork::NONE);
    criterion.final_summary();
}

fn uncontended(criterion: &mut Criterion) {
    let lock = Lock::new().expect("a lock");
    let rlock = RLock::new().expect("a lock");
    let value = Value::new(0_u64).expect("a value");
    let std = Mutex::new(0_u64);
    let parking_lot = parking_lot::Mutex::new(0_u64);
    let (glibc, robust) = (Pthread::shared(false), Pthread::shared(true));
    let (raw_memory, raw_sync) = raw_sync_mutex();
    Comparison::new("uncontended", Unit::Nanoseconds)
        .time("Lock", || drop(lock.lock().expect("lock")))
        .time("RLock", || drop(rlock.lock().expect("lock")))
        .time("Value::update", || {
            value.update(|x| x + 1).expect("update");
        })
        .time("std::sync::Mutex", || drop(std.lock().expect("lock")))
        .time("std::sync::Mutex += 1", || *std.lock().expect("lock") += 1)
        .time("parking_lot::Mutex", || drop(parking_lot.lock()))
        .time("glibc pshared", || {
            glibc.lock();
            glibc.unlock();
        })
        .time("glibc robust", || {
            robust.lock();
            robust.unlock();
        })
        .time("raw_sync::Mutex", || drop(raw_sync.lock().expect("lock")))
        .goal("Lock", 1.25, &["std::sync::Mutex"])
        .goal("Lock", 0.9, &["glibc robust"])
        .criterion(criterion)
        .table();
    drop((raw_sync, raw_memory));
}

/// A lock of raw_sync in a segment of shared_memory, as their users do it.
fn raw_sync_mutex() -> (Shmem, Box<dyn LockImpl>) {
    let memory = ShmemConf::new().size(4096).create().expect("a segment");
    // SAFETY: the segment is large enough for a lock, and is kept as long as that.
    let (mutex, _) = unsafe { raw_sync::locks::Mutex::new(memory.as_ptr(), memory.as_ptr()) }.expect("a lock");
    (memory, mutex)
}

fn window() -> Duration {
    Duration::from_millis(if in_earnest() { 80 } else { 3 })
}

/// One run's counter, checked.
struct Counted<'a> {
    counter: &'a dyn Fn() -> u64,
}

impl Counted<'_> {
    fn run(&self, workers: impl FnOnce() -> Tally) -> Run {
        let before = (self.counter)();
        let Tally { total, least, time } = workers();
        assert_eq!((self.counter)() - before, total, "increments were lost");
        Run { operations: total, time, note: least }
    }
}

/// Locks that guard a counter in a cache line of its own.
fn contended_locks(title: &'static str, n: usize, work: PrivateWork) {
    let counter = Shared::<AtomicU64>::zeroed();
    // Not an atomic addition: the lock is to keep the others out.
    let increment = || counter.store(counter.load(Relaxed) + 1, Relaxed);
    let counted = Counted { counter: &|| counter.load(Relaxed) };
    let counted = &counted;
    let lock = Lock::new().expect("a lock");
    let rlock = RLock::new().expect("a lock");
    let std = Mutex::new(());
    let parking_lot = parking_lot::Mutex::new(());
    let (glibc, robust) = (Pthread::shared(false), Pthread::shared(true));
    let (raw_memory, raw_sync) = raw_sync_mutex();
    let window = window();
    let comparison = Comparison::new(title, Unit::PerMicrosecond)
        .rounds(11)
        .note("least/fair")
        .custom("Lock", |_| {
            counted.run(|| {
                processes(n, window, || {
                    let held = lock.lock().expect("lock");
                    increment();
                    drop(held);
                    work.run();
                })
            })
        })
        .custom("RLock", |_| {
            counted.run(|| {
                processes(n, window, || {
                    let held = rlock.lock().expect("lock");
                    increment();
                    drop(held);
                    work.run();
                })
            })
        })
        .custom("std::sync::Mutex", |_| {
            counted.run(|| {
                threads(n, window, || {
                    let held = std.lock().expect("lock");
                    increment();
                    drop(held);
                    work.run();
                })
            })
        })
        .custom("parking_lot::Mutex", |_| {
            counted.run(|| {
                threads(n, window, || {
                    let held = parking_lot.lock();
                    increment();
                    drop(held);
                    work.run();
                })
            })
        })
        .custom("glibc pshared", |_| {
            counted.run(|| {
                processes(n, window, || {
                    glibc.lock();
                    increment();
                    glibc.unlock();
                    work.run();
                })
            })
        })
        .custom("glibc robust", |_| {
            counted.run(|| {
                processes(n, window, || {
                    robust.lock();
                    increment();
                    robust.unlock();
                    work.run();
                })
            })
        })
        .custom("raw_sync::Mutex", |_| {
            counted.run(|| {
                processes(n, window, || {
                    let held = raw_sync.lock().expect("lock");
                    increment();
                    drop(held);
                    work.run();
                })
            })
        });
    // What no lock can exceed.
    let comparison = comparison.custom("no lock, fetch_add", |_| {
        counted.run(|| {
            processes(n, window, || {
                counter.fetch_add(1, Relaxed);
                work.run();
            })
        })
    });
    let comparison = if work.is_none() { comparison } else { aims(comparison, "Lock") };
    comparison.table();
    drop((raw_sync, raw_memory));
}

/// Locks that lie beside the counter they guard.
fn contended_values(title: &'static str, n: usize, work: PrivateWork) {
    let value = Value::new(0_u64).expect("a value");
    let (std, parking_lot) = (Mutex::new(0_u64), parking_lot::Mutex::new(0_u64));
    let (glibc, robust) = (Guarded::shared(false), Guarded::shared(true));
    let window = window();
    let comparison = Comparison::new(title, Unit::PerMicrosecond)
        .rounds(11)
        .note("least/fair")
        .custom("Value::update", |_| {
            Counted { counter: &|| value.get().expect("get") }.run(|| {
                processes(n, window, || {
                    value.update(|x| x + 1).expect("update");
                    work.run();
                })
            })
        })
        .custom("std::sync::Mutex", |_| {
            Counted { counter: &|| *std.lock().expect("lock") }.run(|| {
                threads(n, window, || {
                    *std.lock().expect("lock") += 1;
                    work.run();
                })
            })
        })
        .custom("parking_lot::Mutex", |_| {
            Counted { counter: &|| *parking_lot.lock() }.run(|| {
                threads(n, window, || {
                    *parking_lot.lock() += 1;
                    work.run();
                })
            })
        })
        .custom("glibc pshared", |_| {
            Counted { counter: &|| glibc.count() }.run(|| {
                processes(n, window, || {
                    glibc.increment();
                    work.run();
                })
            })
        })
        .custom("glibc robust", |_| {
            Counted { counter: &|| robust.count() }.run(|| {
                processes(n, window, || {
                    robust.increment();
                    work.run();
                })
            })
        });
    aims(comparison, "Value::update").table();
}

fn aims<'a>(comparison: Comparison<'a>, of: &'static str) -> Comparison<'a> {
    comparison.goal(of, 0.9, &["std::sync::Mutex", "parking_lot::Mutex", "glibc pshared"]).goal(
        of,
        1.3,
        &["glibc robust"],
    )
}
