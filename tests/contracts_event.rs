//! What every event promises: who is let through, how often, and that nobody is missed.

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

use shmkit::{AtomicValue, Error, Event, Lock, Process, Region, Result, Semaphore};
use support::{Board, Child, Deadline, End, eventually, joined, stop_and_go, storm_of_signals};

shmkit::init_in_tests!();

const SOON: Duration = Duration::from_secs(20);

/// `test_event`.
#[test]
fn smoke() {
    let event = Event::new().unwrap();
    let time = Duration::from_millis(150);
    assert!(!event.is_set() && !event.is_auto_reset());
    assert!(!event.try_wait().unwrap());
    assert!(!event.wait_timeout(Duration::ZERO).unwrap());
    let start = Instant::now();
    assert!(!event.wait_timeout(time).unwrap());
    assert!(start.elapsed() >= time);
    let start = Instant::now();
    assert!(!event.wait_deadline(start + time).unwrap());
    assert!(start.elapsed() >= time);

    event.set();
    assert!(event.is_set());
    event.wait().unwrap();
    assert!(event.try_wait().unwrap());
    assert!(event.wait_timeout(time).unwrap());
    assert!(event.wait_timeout(Duration::MAX).unwrap());
    assert!(event.wait_deadline(Instant::now()).unwrap());
    assert!(event.is_set());

    event.clear();
    let child = Process::spawn(|event: Event| event.set(), (event.clone(),)).unwrap();
    assert!(event.wait_timeout(SOON).unwrap());
    joined(&child);
    event.wait().unwrap();
}

/// `test_repr`.
#[test]
fn debug() {
    let event = Event::new().unwrap();
    assert_eq!(format!("{event:?}"), "Event { state: unset, auto_reset: false }");
    event.set();
    assert_eq!(format!("{event:?}"), "Event { state: set, auto_reset: false }");
    assert_eq!(format!("{:?}", Event::auto_reset().unwrap()), "Event { state: unset, auto_reset: true }");
}

fn wait(event: Event, through: AtomicValue<u32>) -> Result<()> {
    assert!(event.wait_timeout(SOON)?);
    through.fetch_add(1, SeqCst);
    Ok(())
}

/// One set lets all through, processes and threads, also if it is cleared at once: they slept when it came.
#[test]
fn one_set_lets_all_through() {
    let _deadline = Deadline::seconds(60, "one_set_lets_all_through");
    for clear in [false, true] {
        let event = Event::new().unwrap();
        let mut children = [(); 4].map(|()| Child::start(|| event.wait().map_or(1, |()| 0)));
        children.iter().for_each(Child::wait_until_asleep);
        event.set();
        if clear {
            event.clear();
        }
        assert!(children.iter_mut().all(|child| child.wait() == End::Code(0)));
        assert_eq!(event.is_set(), !clear);
    }
    let (event, through) = (Event::new().unwrap(), AtomicValue::new(0_u32).unwrap());
    let processes = [(); 3].map(|()| Process::spawn(wait, (event.clone(), through.clone())).unwrap());
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| wait(event.clone(), through.clone()).unwrap());
        }
        assert_eq!(through.load(SeqCst), 0);
        event.set();
        processes.iter().for_each(joined);
    });
    assert_eq!(through.load(SeqCst), 6);
}

/// With auto reset each set lets one through, process or thread, and is used up by that.
#[test]
fn one_set_lets_one_through() {
    let (event, through) = (Event::auto_reset().unwrap(), AtomicValue::new(0_u32).unwrap());
    assert!(event.is_auto_reset());
    let processes = [(); 3].map(|()| Process::spawn(wait, (event.clone(), through.clone())).unwrap());
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| wait(event.clone(), through.clone()).unwrap());
        }
        for n in 1..=6 {
            assert_eq!(through.load(SeqCst), n - 1);
            event.set();
            eventually(|| through.load(SeqCst) == n);
            assert!(!event.is_set());
        }
        processes.iter().for_each(joined);
    });
    event.set();
    event.set();
    assert!(event.try_wait().unwrap());
    assert!(!event.try_wait().unwrap(), "two sets of what is set are one");
    event.set();
    event.clear();
    assert!(!event.try_wait().unwrap());
}

/// Clear, look for work, wait: no work is missed, also if it came with a set of what was set.
#[test]
fn clear_then_look() {
    const WORK: u32 = 30_000;
    fn produce(event: Event, work: AtomicValue<u32>) {
        for _ in 0..WORK {
            work.fetch_add(1, Relaxed);
            event.set();
        }
    }
    for make in [Event::new, Event::auto_reset] {
        let (event, work) = (make().unwrap(), AtomicValue::new(0_u32).unwrap());
        let producers = [(); 2].map(|()| Process::spawn(produce, (event.clone(), work.clone())).unwrap());
        let mut done = 0;
        while done < 2 * WORK {
            event.clear();
            match work.swap(0, Relaxed) {
                0 => assert!(event.wait_timeout(SOON).unwrap(), "{done} done, the rest missed"),
                n => done += n,
            }
        }
        producers.iter().for_each(joined);
    }
}

/// Two processes take turns.
#[test]
fn ping_pong() {
    const ROUNDS: u32 = 20_000;
    fn answer(ping: Event, pong: Event) -> Result<()> {
        for _ in 0..ROUNDS {
            assert!(ping.wait_timeout(SOON)?);
            pong.set();
        }
        Ok(())
    }
    let (ping, pong) = (Event::auto_reset().unwrap(), Event::auto_reset().unwrap());
    let child = Process::spawn(answer, (ping.clone(), pong.clone())).unwrap();
    for _ in 0..ROUNDS {
        ping.set();
        assert!(pong.wait_timeout(SOON).unwrap());
    }
    joined(&child);
    assert!(!ping.is_set() && !pong.is_set());
}

/// Eight processes where there may be two cores hand round one set event: one is inside at a time.
#[test]
fn oversubscribed() {
    const ROUNDS: u32 = 2000;
    fn work(event: Event, inside: AtomicValue<u32>) -> Result<()> {
        for round in 0..ROUNDS {
            match round % 3 {
                0 => event.wait()?,
                1 => assert!(event.wait_timeout(SOON)?),
                _ => while !event.wait_timeout(Duration::from_micros(20))? {},
            }
            assert_eq!(inside.fetch_add(1, SeqCst), 0);
            inside.fetch_sub(1, SeqCst);
            event.set();
        }
        Ok(())
    }
    let _deadline = Deadline::seconds(120, "oversubscribed");
    let (event, inside) = (Event::auto_reset().unwrap(), AtomicValue::new(0_u32).unwrap());
    let processes = [(); 8].map(|()| Process::spawn(work, (event.clone(), inside.clone())).unwrap());
    event.set();
    processes.iter().for_each(joined);
    assert!(event.is_set());
}

/// A signal every millisecond: a wait keeps its length, and no set is lost.
#[test]
fn signals() {
    let _deadline = Deadline::seconds(60, "signals");
    let (event, answer) = (Event::auto_reset().unwrap(), Event::auto_reset().unwrap());
    let by_hand = Event::new().unwrap();
    let signals = Board::<AtomicU64>::new();
    let mut child = Child::start(|| {
        storm_of_signals(signals.get());
        let time = Duration::from_millis(250);
        for event in [&event, &by_hand] {
            let start = Instant::now();
            assert!(!event.wait_timeout(time).unwrap());
            assert!(start.elapsed() >= time);
        }
        for _ in 0..200 {
            answer.set();
            event.wait().unwrap();
        }
        0
    });
    for _ in 0..200 {
        assert!(answer.wait_timeout(SOON).unwrap());
        thread::sleep(Duration::from_millis(1)); // so that it is interrupted in its sleep
        event.set();
    }
    assert_eq!(child.wait(), End::Code(0));
    assert!(signals.load(SeqCst) > 200, "{} signals", signals.load(SeqCst));
}

/// A stopped waiter may eat a wake-up, never a set; and one that was stopped while the event was set and cleared has
/// not missed it.
#[test]
fn a_stopped_waiter() {
    let _deadline = Deadline::seconds(60, "a_stopped_waiter");
    for auto_reset in [false, true] {
        let event = if auto_reset { Event::auto_reset().unwrap() } else { Event::new().unwrap() };
        let through = Board::<AtomicU32>::new();
        let wait = || {
            assert!(event.wait_timeout(SOON).unwrap());
            through.fetch_add(1, SeqCst);
            0
        };
        let mut stopped = Child::start(wait);
        stopped.wait_until_asleep();
        stopped.signal(libc::SIGSTOP);
        stopped.wait_until_stopped();
        let mut other = Child::start(wait);
        other.wait_until_asleep();
        event.set();
        assert_eq!(other.wait(), End::Code(0));
        assert_eq!(through.load(SeqCst), 1);
        if auto_reset {
            event.set();
        } else {
            event.clear();
        }
        stopped.signal(libc::SIGCONT);
        assert_eq!(stopped.wait(), End::Code(0));
        assert!(!event.is_set());
    }
}

/// Those who hand round one set event are stopped at any moment: it is neither lost nor had twice.
#[test]
fn stopped_at_any_moment() {
    let _deadline = Deadline::seconds(120, "stopped_at_any_moment");
    let (event, inside) = (Event::auto_reset().unwrap(), Board::<AtomicU32>::new());
    let work = || {
        for _ in 0..200 {
            assert!(event.wait_timeout(SOON).unwrap());
            assert_eq!(inside.fetch_add(1, SeqCst), 0);
            // So that others sleep meanwhile.
            thread::sleep(Duration::from_micros(200));
            inside.fetch_sub(1, SeqCst);
            event.set();
        }
        0
    };
    let mut children = [(); 3].map(|()| Child::start(work));
    event.set();
    thread::scope(|scope| {
        scope.spawn(work);
        stop_and_go(&mut children);
    });
    assert!(event.is_set());
}

#[test]
fn names_regions_and_kinds() {
    let name = scratch::Name::new();
    let event = Event::create(&*name).unwrap();
    assert!(matches!(Event::create(&*name), Err(Error::AlreadyExists { .. })));
    event.set();
    drop(event);
    assert!(Event::open(&*name).unwrap().is_set(), "it is kept when nobody has it open");
    assert!(Event::open_or_create(&*name).unwrap().is_set());
    let error = Event::open_or_create_auto_reset(&*name).unwrap_err().to_string();
    assert_eq!(error, "type mismatch: expected Event with auto reset, found Event with manual reset");
    assert!(matches!(Semaphore::open(&*name), Err(Error::TypeMismatch { .. })));
    Event::unlink(&*name).unwrap();
    let event = Event::open_or_create_auto_reset(&*name).unwrap();
    assert!(event.is_auto_reset() && Event::open(&*name).unwrap().is_auto_reset());
    assert!(matches!(Event::open_or_create(&*name), Err(Error::TypeMismatch { .. })));
    Event::unlink(&*name).unwrap();
    assert!(Event::create_auto_reset(&*name).unwrap().is_auto_reset());

    let region = Region::anonymous(1 << 16).unwrap();
    let by_hand = Event::new_in(&region, "by hand").unwrap();
    let auto = Event::auto_reset_in(&region, "auto").unwrap();
    assert!(Event::open_in(&region, "by hand").unwrap().is_same(&by_hand));
    assert!(Event::open_or_create_auto_reset_in(&region, "auto").unwrap().is_same(&auto));
    assert!(Event::open_in(&region, "auto").unwrap().is_auto_reset());
    assert!(matches!(Event::open_or_create_in(&region, "auto"), Err(Error::TypeMismatch { .. })));
    assert!(!Event::open_or_create_in(&region, "another").unwrap().is_auto_reset());
    Lock::new_in(&region, "lock").unwrap();
    assert!(matches!(Event::open_in(&region, "lock"), Err(Error::TypeMismatch { .. })));
}
