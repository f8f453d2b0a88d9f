//! Locks that guard a counter in a cache line of its own.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::{
    peers::{boost, glibc, ours, parking_lot, posix, python, raw_sync, std as std_peer},
    plan::{Case, Subject, Unit, limit, ours as subject, peer},
    sample::{Measured, Outcome, Setup, looped},
    shared::Shared,
    team::{self, Kind},
    workloads::{SCALE, busy},
};

/// A lock.
pub(crate) trait Locker: Sync + Sized {
    /// Whether it is for the threads of one process only.
    const THREADS: bool = false;

    /// A lock that nobody holds; or why there is none.
    fn new() -> Result<Self, String>;

    /// Does something while holding it.
    fn locked<R>(&self, work: impl FnOnce() -> R) -> R;

    /// Takes it when its holder may have died, and makes it usable if that is asked for. Says whether the lock told.
    fn after_death(&self) -> Result<bool, String> {
        self.locked(|| ());
        Ok(false)
    }
}

/// Counts without a lock, which is the most that the work between two turns allows.
struct Nothing;

impl Locker for Nothing {
    fn new() -> Result<Self, String> {
        Ok(Self)
    }

    #[inline]
    fn locked<R>(&self, work: impl FnOnce() -> R) -> R {
        work()
    }
}

fn measure<L: Locker>(setup: &Setup) -> Measured {
    count::<L>(setup, |counter| counter.store(counter.load(Relaxed) + 1, Relaxed))
}

fn measure_atomic(setup: &Setup) -> Measured {
    count::<Nothing>(setup, |counter| _ = counter.fetch_add(1, Relaxed))
}

/// `increment` is not an atomic addition where a lock is to keep the others out.
fn count<L: Locker>(setup: &Setup, increment: impl Fn(&AtomicU64) + Sync) -> Measured {
    let lock = L::new()?;
    let counter = Shared::<AtomicU64>::zeroed();
    let inside = if setup.works { setup.turns } else { 0 };
    let one = || {
        lock.locked(|| {
            increment(&counter);
            busy(inside);
        });
    };
    if setup.processes == 1 {
        let mut done = 0;
        let outcome = looped(setup, || {
            one();
            done += 1;
        });
        return Ok(checked(outcome, counter.load(Relaxed), done));
    }
    let rate = team::rate(setup.processes, Kind::of(L::THREADS), setup.window(), |_| {
        || {
            one();
            busy(setup.turns);
        }
    });
    let time = Outcome::Fair { seconds: rate.time.as_secs_f64() / rate.operations as f64, least: rate.least };
    Ok(checked(time, counter.load(Relaxed), rate.with_warm_up))
}

fn checked(outcome: Outcome, counted: u64, done: u64) -> Outcome {
    if counted == done { outcome } else { Outcome::Broken(format!("{counted} increments were counted of {done}")) }
}

fn subjects() -> Vec<Subject> {
    vec![
        subject("shmkit Lock", measure::<ours::Lock>),
        subject("shmkit RLock", measure::<ours::RLock>),
        peer("std Mutex (threads)", measure::<std_peer::Mutex>),
        peer("parking_lot Mutex (threads)", measure::<parking_lot::Mutex>),
        peer("glibc mutex, pshared", measure::<glibc::Mutex<false>>),
        peer("glibc mutex, robust", measure::<glibc::Mutex<true>>),
        peer("POSIX semaphore as a lock", measure::<posix::Sem>),
        peer("raw_sync Mutex", measure::<raw_sync::Mutex>),
        peer("Boost interprocess_mutex", measure::<boost::Mutex>),
        peer("Python Lock", |setup| python::time("lock", setup)).rounds(3),
    ]
}

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for processes in SCALE {
        for works in [false, true] {
            // Scaling is shown without work; where there is work, the three cases that matter.
            if works && !matches!(processes, 1 | 2 | 8) {
                continue;
            }
            let kind = match processes {
                1 => "uncontended",
                2 => "contended",
                _ => "oversubscribed",
            };
            let work = if works { ", 100 ns inside" } else { "" };
            let between = if processes == 1 { "" } else { ", 100 ns between two turns" };
            let mut subjects = subjects();
            if !works && processes > 1 {
                subjects.push(limit("limit: fetch_add, no lock", measure_atomic));
            }
            cases.push(
                Case::new(
                    format!("lock/{kind}{}{}", plural(processes), if works { ", working" } else { "" }),
                    format!("lock, count, unlock, in {processes} process(es){work}{between}"),
                    Unit::Nanoseconds,
                    Setup { processes, works, ..Setup::ONE },
                    subjects,
                )
                .scaling((!works).then_some("lock")),
            );
        }
    }
    cases
}

/// How a number of processes is written in the name of a case.
pub(crate) fn plural(processes: usize) -> String {
    if processes == 1 { String::new() } else { format!(" {processes}") }
}
