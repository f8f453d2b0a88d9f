//! What a semaphore promises whose permits have owners, to threads and processes that are interrupted and stopped.
//!
//! Deaths of owners are the subject of `tests/death_members.rs`.

mod support;

use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst},
    thread,
    time::{Duration, Instant},
};

use shmkit::BoundedSemaphore;
use support::{
    Board, Child, Deadline, End, Flag, eventually, is_raised, raise, sleep_for_ever, stop_and_go, storm_of_signals,
};

const SOON: Duration = Duration::from_secs(20);

/// Three children of two threads each for two permits.
struct Users {
    semaphore: BoundedSemaphore,
    inside: Board<AtomicU32>,
    times: Board<AtomicU64>,
}

const ROUNDS: u64 = 300;

impl Users {
    fn new() -> Self {
        Self { semaphore: BoundedSemaphore::new(2).unwrap(), inside: Board::new(), times: Board::new() }
    }

    fn use_permits(&self) {
        for round in 0..ROUNDS {
            let permit = match round % 3 {
                0 => self.semaphore.acquire().unwrap(),
                1 => self.semaphore.acquire_timeout(SOON).unwrap(),
                _ => loop {
                    match self.semaphore.acquire_timeout(Duration::from_micros(50)) {
                        Ok(permit) => break permit,
                        Err(error) => assert!(error.is_timed_out(), "{error}"),
                    }
                },
            };
            assert!(self.inside.fetch_add(1, SeqCst) < 2);
            // So that others sleep meanwhile.
            thread::sleep(Duration::from_micros(300));
            self.inside.fetch_sub(1, SeqCst);
            self.times.fetch_add(1, SeqCst);
            match round % 4 {
                0 => {
                    permit.detach();
                    self.semaphore.release().unwrap();
                }
                _ => drop(permit),
            }
        }
    }

    /// The children, of which every thread does `first` before it begins.
    fn children(&self, first: impl Fn() + Sync) -> [Child; 3] {
        let work = || {
            first();
            self.use_permits();
        };
        [(); 3].map(|()| {
            Child::start(|| {
                thread::scope(|scope| {
                    scope.spawn(work);
                    work();
                });
                0
            })
        })
    }

    fn check(&self, threads: u64) {
        assert_eq!((self.inside.load(SeqCst), self.times.load(SeqCst)), (0, threads * ROUNDS));
        assert_eq!(self.semaphore.available().unwrap(), 2);
    }
}

/// A signal every millisecond: a wait keeps its length, and permits are neither lost nor had twice.
#[test]
fn signals() {
    let _deadline = Deadline::seconds(60, "signals");
    let (users, none, signals) = (Users::new(), BoundedSemaphore::new(1).unwrap(), Board::<AtomicU64>::new());
    let held = none.acquire().unwrap();
    let mut children = users.children(|| {
        storm_of_signals(signals.get());
        let (start, time) = (Instant::now(), Duration::from_millis(250));
        assert!(none.acquire_timeout(time).unwrap_err().is_timed_out());
        assert!(start.elapsed() >= time);
    });
    users.use_permits();
    assert!(children.iter_mut().all(|child| child.wait() == End::Code(0)));
    assert!(signals.load(SeqCst) > 600, "{} signals", signals.load(SeqCst));
    drop(held);
    assert!(none.try_acquire().is_ok());
    users.check(7);
}

/// Owners and waiters that are stopped at any moment: no permit is lost or had twice.
#[test]
fn stopped_users() {
    let _deadline = Deadline::seconds(120, "stopped_users");
    let users = Users::new();
    let mut children = users.children(|| ());
    thread::scope(|scope| {
        scope.spawn(|| users.use_permits());
        stop_and_go(&mut children);
    });
    users.check(7);
}

/// A stopped waiter may eat a wake-up, never a permit.
#[test]
fn a_stopped_waiter() {
    let _deadline = Deadline::seconds(60, "a_stopped_waiter");
    for _ in 0..5 {
        let semaphore = BoundedSemaphore::new(1).unwrap();
        let held = semaphore.acquire().unwrap();
        let through = Board::<Flag>::new();
        let stopped = Child::start(|| {
            std::mem::forget(semaphore.acquire().unwrap());
            raise(&through);
            sleep_for_ever()
        });
        stopped.wait_until_asleep();
        stopped.signal(libc::SIGSTOP);
        stopped.wait_until_stopped();
        let mut other = Child::start(|| semaphore.acquire_timeout(SOON).map_or(1, |_| 0));
        other.wait_until_asleep();
        drop(held);
        assert_eq!(other.wait(), End::Code(0));
        assert!(!is_raised(&through));
        assert_eq!(semaphore.available().unwrap(), 1);
        stopped.signal(libc::SIGCONT);
        eventually(|| is_raised(&through));
        assert!(semaphore.try_acquire().unwrap_err().is_would_block());
    }
}
