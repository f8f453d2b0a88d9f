//! Rings of two: every value in order, roles that only one has, and successors of the dead.

#![allow(unsafe_code, reason = "the children's module forks")]

mod support;

use std::{
    sync::atomic::{AtomicU64, Ordering::SeqCst},
    thread,
    time::{Duration, Instant},
};

use shmkit::{Consumer, Error, Process, Producer, Result, Ring, SpscRing, StartMethod};
use support::{Board, Child, Deadline, End, Random, stop_and_go, storm_of_signals};

shmkit::init_in_tests!();

const SOON: Duration = Duration::from_secs(20);
const VALUES: u64 = 100_000;
/// Deaths in a test.
const ROUNDS: usize = 200;
/// Where each wait takes long.
const FEW: u64 = 5_000;

/// Two words, so that half a value can be told from a whole one.
type Message = [u64; 2];

/// Puts in the numbers up to `until`, one by one and in slices.
fn produce(producer: &mut Producer<Message>, until: u64, pause: impl Fn(u64)) {
    let mut next = 0;
    while next < until {
        pause(next);
        if next % 100 < 50 {
            producer.push([next; 2]).unwrap();
            next += 1;
        } else {
            let some: Vec<_> = (next..until.min(next + 7)).map(|number| [number; 2]).collect();
            next += producer.push_slice(&some).unwrap() as u64;
        }
    }
}

/// Takes all until the end, and checks that each is one more than the one before. Returns how many.
fn consume(consumer: &mut Consumer<Message>) -> u64 {
    let (mut next, mut some) = (0, [[0; 2]; 5]);
    loop {
        let taken = if next % 100 < 50 {
            consumer.pop().map(|one| some[0] = one).map(|()| 1)
        } else {
            consumer.pop_slice(&mut some)
        };
        match taken {
            Ok(count) => {
                for message in &some[..count] {
                    assert_eq!(*message, [next; 2]);
                    next += 1;
                }
            }
            Err(Error::Closed) => return next,
            Err(error) => panic!("{error}"),
        }
    }
}

fn send(mut producer: Producer<Message>) -> Result<()> {
    produce(&mut producer, VALUES, |_| ());
    producer.close()
}

#[test]
fn all_arrives_in_order() {
    let _deadline = Deadline::seconds(120, "all_arrives_in_order");
    for capacity in [1, 3, 1024] {
        let (producer, mut consumer) = Ring::spsc(capacity).unwrap();
        let child = Process::builder(send).args((producer,)).start_method(StartMethod::Spawn).start().unwrap();
        assert_eq!(consume(&mut consumer), VALUES);
        child.join().unwrap();
        assert!(consumer.ring().is_empty());
    }
}

#[test]
fn threads_and_forks() {
    let _deadline = Deadline::seconds(120, "threads_and_forks");
    let (mut producer, mut consumer) = Ring::spsc(7).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            produce(&mut producer, VALUES, |_| ());
            producer.close().unwrap();
        });
        assert_eq!(consume(&mut consumer), VALUES);
    });
    let ring = SpscRing::with_capacity(7).unwrap();
    let mut child = Child::start(|| i32::from(consume(&mut ring.consumer()) != VALUES));
    let mut producer = ring.producer();
    produce(&mut producer, VALUES, |_| ());
    producer.close().unwrap();
    assert_eq!(child.wait(), End::Code(0));
}

#[test]
fn a_role_is_one_ends_alone() {
    let _deadline = Deadline::seconds(60, "a_role_is_one_ends_alone");
    let ring = SpscRing::with_capacity(4).unwrap();
    let (mut first, mut second) = (ring.producer(), ring.producer());
    first.push(1_u8).unwrap();
    let me = Some(std::process::id());
    assert!(matches!(second.push(2), Err(Error::RoleTaken { pid }) if pid == me));
    let mut child = Child::start(|| {
        let parent = std::os::unix::process::parent_id();
        let is_refused = |said: Result<()>| matches!(said, Err(Error::RoleTaken { pid: Some(pid) }) if pid == parent);
        // A copy that a fork made has not the role either, and what it does not have it does not give back.
        let code = i32::from(!is_refused(first.push(3)) || !is_refused(second.try_push(3)));
        // SAFETY: the child ends without dropping `first` itself.
        drop(unsafe { std::ptr::read(&first) });
        code
    });
    assert_eq!(child.wait(), End::Code(0));
    first.push(4).unwrap();
    assert!(second.push(5).is_err());
    drop(first);
    second.push(5).unwrap();
    let (mut one, mut other) = (ring.consumer(), ring.consumer());
    assert_eq!(one.pop().unwrap(), 1);
    assert!(matches!(other.try_pop(), Err(Error::RoleTaken { .. })));
    drop(one);
    assert_eq!((other.pop().unwrap(), other.pop().unwrap()), (4, 5));
}

#[test]
fn waits_and_misuse() {
    let _deadline = Deadline::seconds(60, "waits_and_misuse");
    let (mut producer, mut consumer) = Ring::spsc(2).unwrap();
    let (start, time) = (Instant::now(), Duration::from_millis(120));
    assert!(consumer.try_pop().unwrap_err().is_would_block());
    assert!(consumer.pop_timeout(time).unwrap_err().is_timed_out());
    assert_eq!(producer.push_slice(&[1, 2, 3]).unwrap(), 2);
    assert!(producer.push_timeout(3, time).unwrap_err().is_timed_out());
    assert!(producer.push_deadline(3, Instant::now()).unwrap_err().is_timed_out());
    assert!(start.elapsed() >= 2 * time);
    assert_eq!((producer.push_slice(&[]).unwrap(), consumer.pop_slice(&mut []).unwrap()), (0, 0));
    let mut some = [0; 3];
    assert_eq!((consumer.pop_slice(&mut some).unwrap(), some), (2, [1, 2, 0]));
    for capacity in [0, SpscRing::<u8>::MAX + 1] {
        assert!(matches!(Ring::<u8>::spsc(capacity), Err(Error::InvalidArgument { .. } | Error::InvalidSize { .. })));
    }
}

#[test]
fn signals_and_stops() {
    let _deadline = Deadline::seconds(120, "signals_and_stops");
    let signals = Board::<AtomicU64>::new();
    let ring = SpscRing::with_capacity(3).unwrap();
    let producer = Child::start(|| {
        storm_of_signals(signals.get());
        let mut producer = ring.producer();
        produce(&mut producer, FEW, |number| {
            if number % 25 == 0 {
                thread::sleep(Duration::from_millis(1));
            }
        });
        producer.close().unwrap();
        0
    });
    let consumer = Child::start(|| {
        storm_of_signals(signals.get());
        i32::from(consume(&mut ring.consumer()) != FEW)
    });
    stop_and_go(&mut [producer, consumer]);
    assert!(signals.load(SeqCst) > 50);
}

/// Producers are killed at random, and successors go on with the number that the dead one had come to.
#[test]
fn producers_are_killed() {
    let _deadline = Deadline::seconds(120, "producers_are_killed");
    let (mut random, published) = (Random::new(), Board::<AtomicU64>::new());
    let ring = SpscRing::<Message>::with_capacity(64).unwrap();
    let mut consumer = Child::start(|| {
        let (mut consumer, mut last) = (ring.consumer(), None);
        loop {
            match consumer.pop() {
                Ok([number, again]) => {
                    assert_eq!(number, again);
                    // The last one of a dead producer may come again, for that did not live to count it.
                    assert!(last.is_none_or(|last| number == last || number == last + 1), "{number} after {last:?}");
                    last = Some(number);
                }
                Err(Error::Closed) => return i32::from(last != Some(VALUES - 1)),
                Err(error) => panic!("{error}"),
            }
        }
    });
    let producer = || {
        Child::start(|| {
            let mut producer = ring.producer();
            for number in published.load(SeqCst)..VALUES {
                producer.push_timeout([number; 2], SOON).unwrap();
                published.store(number + 1, SeqCst);
            }
            producer.close().unwrap();
            0
        })
    };
    let mut kills = 0;
    for _ in 0..ROUNDS {
        let mut child = producer();
        random.pause(Duration::from_millis(1));
        child.kill();
        kills += u64::from(child.wait() == End::Signal(libc::SIGKILL));
    }
    assert_eq!(producer().wait(), End::Code(0));
    assert_eq!(consumer.wait(), End::Code(0));
    assert!(kills > 5, "{kills} kills");
}

/// Consumers are killed at random: what one had not counted as taken, its successor gets.
#[test]
fn consumers_are_killed() {
    let _deadline = Deadline::seconds(120, "consumers_are_killed");
    let (mut random, taken, lost) = (Random::new(), Board::<AtomicU64>::new(), Board::<AtomicU64>::new());
    let ring = SpscRing::with_capacity(64).unwrap();
    let mut producer = Child::start(|| {
        let mut producer = ring.producer();
        produce(&mut producer, VALUES, |_| ());
        producer.close().unwrap();
        0
    });
    let consumer = || {
        Child::start(|| {
            let mut consumer = ring.consumer();
            loop {
                match consumer.pop_timeout(SOON) {
                    Ok([number, again]) => {
                        assert_eq!(number, again);
                        // More only if it was taken by a dead one, which did not live to count it.
                        let skipped = number.checked_sub(taken.load(SeqCst)).expect("what was counted came again");
                        lost.fetch_add(skipped, SeqCst);
                        taken.store(number + 1, SeqCst);
                    }
                    Err(Error::Closed) => return 0,
                    Err(error) => panic!("{error}"),
                }
            }
        })
    };
    let mut kills = 0;
    for _ in 0..ROUNDS {
        let mut child = consumer();
        random.pause(Duration::from_millis(1));
        child.kill();
        kills += u64::from(child.wait() == End::Signal(libc::SIGKILL));
    }
    assert_eq!(consumer().wait(), End::Code(0));
    assert_eq!((producer.wait(), taken.load(SeqCst)), (End::Code(0), VALUES));
    assert!(lost.load(SeqCst) <= kills, "{} lost in {kills} deaths", lost.load(SeqCst));
    assert!(kills > 5, "{kills} kills");
}

#[test]
fn in_place() {
    let (mut producer, mut consumer) = Ring::<Message>::spsc(3).unwrap();
    for number in 0..100 {
        // Given up, which is not to be seen.
        producer.reserve().unwrap().fill(u64::MAX);
        let mut place = producer.reserve_timeout(SOON).unwrap();
        place[0] = number;
        place[1] = number;
        assert!(consumer.try_pop_ref().is_err_and(|error| error.is_would_block()));
        place.publish();
        // Forgotten, so that it is still the next one.
        std::mem::forget(consumer.pop_ref().unwrap());
        assert_eq!(*consumer.pop_ref_deadline(Instant::now() + SOON).unwrap(), [number; 2]);
    }
    assert!(consumer.pop_ref_timeout(Duration::ZERO).is_err_and(|error| error.is_timed_out()));
    assert!(producer.ring().is_empty());
    for number in 0..3 {
        producer.push([number; 2]).unwrap();
    }
    let first = consumer.pop_ref().unwrap();
    assert!(producer.try_reserve().is_err_and(|error| error.is_would_block()), "its place is not free yet");
    drop(first);
    producer.try_reserve().unwrap().publish();
}

/// What is lent out of a ring is not copied.
#[test]
fn no_fork_with_places() {
    let (mut producer, mut consumer) = Ring::<Message>::spsc(3).unwrap();
    let is_refused = || match Process::fork(|| ()) {
        Err(Error::ForkRefused { reason }) => reason.contains("holds 1 locks or places"),
        // Other tests run in other threads.
        _ => false,
    };
    let mut place = producer.reserve().unwrap();
    place[0] = 1;
    assert!(is_refused());
    place.publish();
    assert!(!is_refused());
    let value = consumer.pop_ref().unwrap();
    assert!(is_refused());
    drop(value);
    assert!(!is_refused());
}
