//! What a semaphore promises whose permits have owners, to threads and processes, also if they are interrupted and stopped.
//!
//! Deaths of owners are the subject of `tests/death_members.rs`.

mod support;

use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst},
    thread,
    time::{Duration, Instant},
};

use shmkit::{AtomicValue, BoundedSemaphore, Error, Event, Process, Result};
use support::{
    Board, Child, Deadline, End, Flag, eventually, is_raised, joined, raise, sleep_for_ever, stop_and_go,
    storm_of_signals,
};

shmkit::init_in_tests!();

const SOON: Duration = Duration::from_secs(20);

fn is_over_release(result: Result<()>) -> bool {
    matches!(result, Err(Error::InvalidArgument { .. }))
}

/// `test_bounded_semaphore`: with guards, and without.
fn counts(semaphore: &BoundedSemaphore) -> Result<()> {
    let available = || semaphore.available().unwrap();
    assert_eq!((available(), semaphore.permits()), (2, 2));
    let first = semaphore.acquire()?;
    assert_eq!(available(), 1);
    let second = semaphore.try_acquire()?;
    assert_eq!(available(), 0);
    assert!(semaphore.try_acquire().unwrap_err().is_would_block());
    assert_eq!(available(), 0);
    assert!(is_over_release(semaphore.release()), "both have guards");
    drop(first);
    assert_eq!(available(), 1);
    drop(second);
    assert_eq!(available(), 2);
    assert!(is_over_release(semaphore.release()));
    semaphore.acquire_timeout(SOON)?.detach();
    semaphore.acquire_deadline(Instant::now() + SOON)?.detach();
    assert_eq!(available(), 0);
    semaphore.release()?;
    semaphore.release()?;
    assert!(is_over_release(semaphore.release()));
    assert_eq!(available(), 2);
    Ok(())
}

/// Here, in a child, and here again.
#[test]
fn smoke() {
    let semaphore = BoundedSemaphore::new(2).unwrap();
    counts(&semaphore).unwrap();
    joined(&Process::spawn(|semaphore: BoundedSemaphore| counts(&semaphore), (semaphore.clone(),)).unwrap());
    counts(&semaphore).unwrap();
    assert_eq!(format!("{semaphore:?}"), "BoundedSemaphore { available: Some(2), permits: 2 }");
}

/// `test_timeout`.
#[test]
fn timeouts() {
    let semaphore = BoundedSemaphore::new(1).unwrap();
    let held = semaphore.acquire().unwrap();
    let time = Duration::from_millis(150);
    let start = Instant::now();
    assert!(semaphore.acquire_timeout(Duration::ZERO).unwrap_err().is_timed_out());
    assert!(semaphore.acquire_deadline(start).unwrap_err().is_timed_out());
    let start = Instant::now();
    assert!(semaphore.acquire_timeout(time).unwrap_err().is_timed_out());
    assert!(start.elapsed() >= time);
    let start = Instant::now();
    assert!(semaphore.acquire_deadline(start + time).unwrap_err().is_timed_out());
    assert!(start.elapsed() >= time);
    drop(held);
    drop(semaphore.acquire_timeout(Duration::MAX).unwrap());
    drop(semaphore.acquire_timeout(Duration::ZERO).unwrap());
    drop(semaphore.acquire_deadline(Instant::now()).unwrap());
}

#[test]
fn processes_and_threads_wait_together() {
    fn wait(semaphore: BoundedSemaphore, through: AtomicValue<u32>, end: Event) -> Result<()> {
        let permit = semaphore.acquire_timeout(SOON)?;
        through.fetch_add(1, SeqCst);
        assert!(end.wait_timeout(SOON)?);
        drop(permit);
        Ok(())
    }
    let (semaphore, through) = (BoundedSemaphore::new(3).unwrap(), AtomicValue::new(0_u32).unwrap());
    let end = Event::auto_reset().unwrap();
    let processes = [(); 3].map(|()| Process::spawn(wait, (semaphore.clone(), through.clone(), end.clone())).unwrap());
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| wait(semaphore.clone(), through.clone(), end.clone()).unwrap());
        }
        for n in 3..=6 {
            eventually(|| through.load(SeqCst) == n);
            assert_eq!(semaphore.available().unwrap(), 0);
            end.set();
            eventually(|| !end.is_set());
        }
        for _ in 0..2 {
            end.set();
            eventually(|| !end.is_set());
        }
        processes.iter().for_each(joined);
    });
    assert_eq!(semaphore.available().unwrap(), 3);
}

/// However many race to give back what was taken three times: three do.
#[test]
fn releases_in_a_race() {
    fn race(semaphore: BoundedSemaphore, go: Event) -> Result<u32> {
        go.wait()?;
        let released = [(); 3].map(|()| semaphore.release());
        assert!(released.iter().all(|one| matches!(one, Ok(()) | Err(Error::InvalidArgument { .. }))));
        Ok(released.iter().filter(|one| one.is_ok()).count() as u32)
    }
    for _ in 0..10 {
        let (semaphore, go) = (BoundedSemaphore::new(4).unwrap(), Event::new().unwrap());
        let _guarded = semaphore.acquire().unwrap();
        (0..3).for_each(|_| semaphore.acquire().unwrap().detach());
        let processes = [(); 3].map(|()| Process::spawn(race, (semaphore.clone(), go.clone())).unwrap());
        let here = thread::scope(|scope| {
            let threads = [(); 3].map(|()| scope.spawn(|| race(semaphore.clone(), go.clone()).unwrap()));
            go.set();
            threads.map(|thread| thread.join().unwrap()).iter().sum::<u32>()
        });
        assert_eq!(here + processes.iter().map(joined).sum::<u32>(), 3);
        assert_eq!(semaphore.available().unwrap(), 3, "the one with a guard is not given back");
    }
}

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
