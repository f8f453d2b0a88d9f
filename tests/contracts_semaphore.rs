//! What every semaphore promises: counts, times, and that nothing is lost among processes and threads.

#![allow(unsafe_code, reason = "signals in a child")]

mod scratch;
mod support;

use std::{
    sync::atomic::{
        AtomicU64,
        Ordering::{Relaxed, SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use shmkit::{AtomicArray, AtomicValue, Error, Event, Lock, Process, Region, Result, Semaphore};
use support::{Board, Child, Deadline, End, Flag, eventually, is_raised, joined, raise, stop_and_go, storm_of_signals};

shmkit::init_in_tests!();

const SOON: Duration = Duration::from_secs(20);

fn counts(semaphore: &Semaphore) -> Result<()> {
    assert_eq!(semaphore.value(), 2);
    semaphore.acquire()?;
    assert_eq!(semaphore.value(), 1);
    semaphore.acquire()?;
    assert_eq!(semaphore.value(), 0);
    assert!(semaphore.try_acquire().unwrap_err().is_would_block());
    assert_eq!(semaphore.value(), 0);
    for value in 1..=4 {
        semaphore.release()?;
        assert_eq!(semaphore.value(), value);
    }
    semaphore.acquire()?;
    semaphore.acquire()
}

/// `test_semaphore`, here, in a child, and here again.
#[test]
fn smoke() {
    let semaphore = Semaphore::new(2).unwrap();
    counts(&semaphore).unwrap();
    joined(&Process::spawn(|semaphore: Semaphore| counts(&semaphore), (semaphore.clone(),)).unwrap());
    counts(&semaphore).unwrap();
    assert_eq!(format!("{semaphore:?}"), "Semaphore { value: 2 }");
}

/// `test_timeout`.
#[test]
fn timeouts() {
    let semaphore = Semaphore::new(0).unwrap();
    let time = Duration::from_millis(150);
    let start = Instant::now();
    assert!(semaphore.try_acquire().unwrap_err().is_would_block());
    assert!(semaphore.acquire_timeout(Duration::ZERO).unwrap_err().is_timed_out());
    assert!(semaphore.acquire_deadline(start).unwrap_err().is_timed_out());
    let start = Instant::now();
    assert!(semaphore.acquire_timeout(time).unwrap_err().is_timed_out());
    assert!(start.elapsed() >= time);
    let start = Instant::now();
    assert!(semaphore.acquire_deadline(start + time).unwrap_err().is_timed_out());
    assert!(start.elapsed() >= time);
    semaphore.release_many(3).unwrap();
    semaphore.acquire_timeout(Duration::MAX).unwrap();
    semaphore.acquire_timeout(Duration::ZERO).unwrap();
    semaphore.acquire_deadline(Instant::now()).unwrap();
}

/// Who acquires may be gone when another releases: what a `Lock` does not allow.
#[test]
fn another_process_releases() {
    let semaphore = Semaphore::new(1).unwrap();
    joined(&Process::spawn(|semaphore: Semaphore| semaphore.acquire(), (semaphore.clone(),)).unwrap());
    assert!(semaphore.try_acquire().is_err());
    semaphore.release().unwrap();
    semaphore.try_acquire().unwrap();
}

#[test]
fn processes_and_threads_wait_together() {
    fn wait(semaphore: Semaphore, through: AtomicValue<u32>) -> Result<()> {
        semaphore.acquire_timeout(SOON)?;
        through.fetch_add(1, SeqCst);
        Ok(())
    }
    let (semaphore, through) = (Semaphore::new(0).unwrap(), AtomicValue::new(0_u32).unwrap());
    let processes = [(); 3].map(|()| Process::spawn(wait, (semaphore.clone(), through.clone())).unwrap());
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| wait(semaphore.clone(), through.clone()).unwrap());
        }
        semaphore.release().unwrap();
        eventually(|| through.load(SeqCst) == 1);
        assert_eq!(semaphore.value(), 0);
        semaphore.release_many(2).unwrap();
        eventually(|| through.load(SeqCst) == 3);
        assert_eq!(semaphore.value(), 0);
        semaphore.release_many(4).unwrap();
        processes.iter().for_each(joined);
    });
    assert_eq!((through.load(SeqCst), semaphore.value()), (6, 1));
}

/// However many race for the last free numbers, the maximum is not passed and each success counted.
#[test]
fn the_maximum_under_a_race() {
    fn race(semaphore: Semaphore, go: Event) -> Result<u64> {
        go.wait()?;
        let mut successes = 0;
        for n in [1, 1, 3, 1, 2, 1, 1, 5] {
            let released = if n == 1 { semaphore.release() } else { semaphore.release_many(n) };
            match released {
                Ok(()) => successes += n as u64,
                Err(Error::InvalidArgument { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(successes)
    }
    for _ in 0..10 {
        let (semaphore, go) = (Semaphore::new(Semaphore::MAX - 7).unwrap(), Event::new().unwrap());
        let processes = [(); 3].map(|()| Process::spawn(race, (semaphore.clone(), go.clone())).unwrap());
        let here = thread::scope(|scope| {
            let threads = [(); 3].map(|()| scope.spawn(|| race(semaphore.clone(), go.clone()).unwrap()));
            go.set();
            threads.map(|thread| thread.join().unwrap()).iter().sum::<u64>()
        });
        assert_eq!(here + processes.iter().map(joined).sum::<u64>(), 7);
        assert_eq!(semaphore.value(), Semaphore::MAX);
        assert!(semaphore.release().is_err());
    }
    assert!(Semaphore::new(Semaphore::MAX + 1).is_err());
    assert!(Semaphore::new(usize::MAX).is_err());
}

/// What was written before a release is seen after the acquire that it allowed.
#[test]
fn permits_carry_data() {
    const ITEMS: u64 = 20_000;
    const ROOM: usize = 4;
    fn produce(full: Semaphore, free: Semaphore, ring: AtomicArray<u64>) -> Result<()> {
        for item in 0..ITEMS {
            free.acquire_timeout(SOON)?;
            ring[item as usize % ROOM].store(item, Relaxed);
            full.release()?;
        }
        Ok(())
    }
    let (full, free) = (Semaphore::new(0).unwrap(), Semaphore::new(ROOM).unwrap());
    let ring = AtomicArray::zeros(ROOM).unwrap();
    let producer = Process::spawn(produce, (full.clone(), free.clone(), ring.clone())).unwrap();
    for item in 0..ITEMS {
        full.acquire_timeout(SOON).unwrap();
        assert_eq!(ring[item as usize % ROOM].load(Relaxed), item);
        free.release().unwrap();
    }
    joined(&producer);
    assert_eq!((full.value(), free.value()), (0, ROOM));
}

/// Eight processes where there may be two cores, three permits: never more than three inside, and none is lost.
#[test]
fn oversubscribed() {
    const ROUNDS: u32 = 3000;
    fn work(semaphore: Semaphore, inside: AtomicValue<u32>) -> Result<u32> {
        let mut most = 0;
        for round in 0..ROUNDS {
            match round % 4 {
                0 => semaphore.acquire()?,
                1 => semaphore.acquire_timeout(SOON)?,
                2 => semaphore.acquire_deadline(Instant::now() + SOON)?,
                _ => while semaphore.acquire_timeout(Duration::from_micros(20)).is_err() {},
            }
            most = most.max(inside.fetch_add(1, SeqCst) + 1);
            if round % 64 == 0 {
                thread::yield_now();
            }
            inside.fetch_sub(1, SeqCst);
            semaphore.release()?;
        }
        Ok(most)
    }
    let _deadline = Deadline::seconds(120, "oversubscribed");
    let (semaphore, inside) = (Semaphore::new(3).unwrap(), AtomicValue::new(0_u32).unwrap());
    let processes = [(); 8].map(|()| Process::spawn(work, (semaphore.clone(), inside.clone())).unwrap());
    assert!(processes.iter().map(joined).all(|most| (1..=3).contains(&most)));
    assert_eq!((semaphore.value(), inside.load(SeqCst)), (3, 0));
}

/// A signal every millisecond: a wait keeps its length, and no permit is lost.
#[test]
fn signals() {
    let _deadline = Deadline::seconds(60, "signals");
    let (semaphore, answer) = (Semaphore::new(0).unwrap(), Semaphore::new(0).unwrap());
    let signals = Board::<AtomicU64>::new();
    let mut child = Child::start(|| {
        storm_of_signals(signals.get());
        let time = Duration::from_millis(250);
        let start = Instant::now();
        assert!(semaphore.acquire_timeout(time).unwrap_err().is_timed_out());
        assert!(start.elapsed() >= time);
        for _ in 0..200 {
            answer.release().unwrap();
            semaphore.acquire().unwrap();
        }
        0
    });
    for _ in 0..200 {
        answer.acquire_timeout(SOON).unwrap();
        thread::sleep(Duration::from_millis(1)); // so that it is interrupted in its sleep
        semaphore.release().unwrap();
    }
    assert_eq!(child.wait(), End::Code(0));
    assert!(signals.load(SeqCst) > 200, "{} signals", signals.load(SeqCst));
    assert_eq!((semaphore.value(), answer.value()), (0, 0));
}

/// A stopped waiter may eat a wake-up, never a permit.
#[test]
fn a_stopped_waiter() {
    let _deadline = Deadline::seconds(60, "a_stopped_waiter");
    for _ in 0..5 {
        let semaphore = Semaphore::new(0).unwrap();
        let through = Board::<Flag>::new();
        let mut stopped = Child::start(|| {
            semaphore.acquire().unwrap();
            raise(&through);
            0
        });
        stopped.wait_until_asleep();
        stopped.signal(libc::SIGSTOP);
        stopped.wait_until_stopped();
        let mut other = Child::start(|| semaphore.acquire_timeout(SOON).map_or(1, |()| 0));
        other.wait_until_asleep();
        semaphore.release().unwrap();
        assert_eq!(other.wait(), End::Code(0));
        assert!(!is_raised(&through));
        stopped.signal(libc::SIGCONT);
        semaphore.release().unwrap();
        assert_eq!(stopped.wait(), End::Code(0));
        assert_eq!(semaphore.value(), 0);
    }
}

/// Those who pass permits round are stopped at any moment: none is lost, and none had twice.
#[test]
fn stopped_at_any_moment() {
    let _deadline = Deadline::seconds(120, "stopped_at_any_moment");
    let (semaphore, inside) = (Semaphore::new(2).unwrap(), Board::<AtomicU64>::new());
    let work = || {
        for _ in 0..300 {
            semaphore.acquire_timeout(SOON).unwrap();
            assert!(inside.fetch_add(1, SeqCst) < 2);
            // So that others sleep meanwhile.
            thread::sleep(Duration::from_micros(200));
            inside.fetch_sub(1, SeqCst);
            semaphore.release().unwrap();
        }
        0
    };
    let mut children = [(); 3].map(|()| Child::start(work));
    thread::scope(|scope| {
        scope.spawn(work);
        stop_and_go(&mut children);
    });
    assert_eq!((semaphore.value(), inside.load(SeqCst)), (2, 0));
}

#[test]
fn names_regions_and_other_types() {
    let name = scratch::Name::new();
    let semaphore = Semaphore::create(&*name, 5).unwrap();
    assert!(matches!(Semaphore::create(&*name, 5), Err(Error::AlreadyExists { .. })));
    semaphore.acquire().unwrap();
    assert_eq!(Semaphore::open(&*name).unwrap().value(), 4);
    assert_eq!(Semaphore::open_or_create(&*name, 9).unwrap().value(), 4);
    assert!(matches!(Lock::open(&*name), Err(Error::TypeMismatch { .. })));
    assert!(matches!(Event::open(&*name), Err(Error::TypeMismatch { .. })));
    drop(semaphore);
    assert_eq!(Semaphore::open(&*name).unwrap().value(), 4, "the count is kept when nobody has it open");
    Semaphore::unlink(&*name).unwrap();
    assert!(matches!(Semaphore::open(&*name), Err(Error::NotFound { .. })));

    let region = Region::anonymous(1 << 16).unwrap();
    let inner = Semaphore::new_in(&region, "s", 1).unwrap();
    assert!(Semaphore::open_in(&region, "s").unwrap().is_same(&inner));
    assert!(Semaphore::open_or_create_in(&region, "s", 7).unwrap().is_same(&inner));
    assert_eq!(Semaphore::new_in(&region, None, 7).unwrap().value(), 7);
    assert_eq!(Semaphore::open_or_create_in(&region, "t", 7).unwrap().value(), 7);
    assert!(Semaphore::new_in(&region, "u", usize::MAX).is_err());
    assert!(matches!(Semaphore::open_in(&region, "u"), Err(Error::NotFound { .. })));
    Lock::new_in(&region, "lock").unwrap();
    assert!(matches!(Semaphore::open_in(&region, "lock"), Err(Error::TypeMismatch { .. })));
}
