//! Rings of two: every value in order, and roles that only one has. Successors of the dead stand in `death_channels.rs`.

#![allow(unsafe_code, reason = "the children's module forks")]

mod support;

use std::{
    sync::atomic::{AtomicU64, Ordering::SeqCst},
    thread,
    time::{Duration, Instant},
};

use shmkit::{Consumer, Error, Process, Producer, Result, Ring, SpscRing, StartMethod};
use support::{
    Board, Child, Deadline, End, Flag, eventually, is_raised, raise, refuse_membarrier, stop_and_go, storm_of_signals,
    wake_seldom,
};

shmkit::init_in_tests!();

const VALUES: u64 = 100_000;
/// Where each wait takes long.
const FEW: u64 = 5_000;
/// Waits that do not end by themselves end after this.
const SOON: Duration = Duration::from_secs(20);

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

/// Who hands its end over may be later than who gets it.
#[test]
fn a_role_on_its_way_is_waited_for() {
    let _deadline = Deadline::seconds(60, "a_role_on_its_way_is_waited_for");
    let ring = SpscRing::with_capacity(4).unwrap();
    let (mut old, mut new) = (ring.producer(), ring.producer());
    old.push(1_u8).unwrap();
    assert!(matches!(new.try_push(2), Err(Error::RoleTaken { .. })));
    thread::scope(|scope| {
        scope.spawn(move || {
            thread::sleep(Duration::from_millis(50));
            drop(old);
        });
        new.push(2).unwrap();
    });
    let mut consumer = ring.consumer();
    assert_eq!((consumer.pop().unwrap(), consumer.pop().unwrap()), (1, 2));
    assert!(matches!(ring.consumer().pop_timeout(Duration::from_millis(1)), Err(Error::RoleTaken { .. })));
}

/// MECHANISMS 1: a role is free only when all of the process that had it has ended, and not with the first of its threads.
#[test]
fn a_role_of_one_that_dies_slowly() {
    let _deadline = Deadline::seconds(60, "a_role_of_one_that_dies_slowly");
    let (ring, busy) = (SpscRing::with_capacity(4).unwrap(), Board::<Flag>::new());
    let mut victim = Child::start(|| {
        let (mut producer, mut buffer) = (ring.producer(), vec![0; 4 << 20]);
        producer.push(1).unwrap();
        // SAFETY: the buffer is there as long as this process sleeps.
        unsafe { support::write_from_the_kernel(buffer.as_mut_ptr(), buffer.len()) };
        raise(&busy);
        support::sleep_for_ever()
    });
    eventually(|| is_raised(&busy));
    let mut next = ring.producer();
    assert!(matches!(next.push(2), Err(Error::RoleTaken { .. })));
    victim.kill();
    let mut times = 0;
    while let Err(error) = next.push(2) {
        assert!(matches!(error, Error::RoleTaken { pid: Some(pid) } if pid == victim.pid()), "{error}");
        times += 1;
    }
    assert!(victim.has_ended(), "after {times} attempts");
    let mut consumer = ring.consumer();
    assert_eq!((consumer.pop().unwrap(), consumer.pop().unwrap()), (1, 2));
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

/// Who waits is woken ten times a second at most.
#[test]
fn a_waiter_sleeps() {
    let _deadline = Deadline::seconds(60, "a_waiter_sleeps");
    let [empty, full] = [(); 2].map(|()| SpscRing::<u8>::with_capacity(1).unwrap());
    full.producer().push(1).unwrap();
    let mut waiters = [
        Child::start(|| i32::from(empty.consumer().pop().unwrap())),
        Child::start(|| full.producer().push(2).map_or(1, |()| 0)),
    ];
    wake_seldom(&waiters);
    empty.producer().push(0).unwrap();
    assert_eq!(full.consumer().pop().unwrap(), 1);
    assert!(waiters.iter_mut().all(|waiter| waiter.wait() == End::Code(0)));
}

/// Where the kernel refuses its barriers to one end or to both, whichever came first: all arrives, and who waits is woken
/// ten times a second at most there too.
#[test]
fn barriers_are_refused() {
    let _deadline = Deadline::seconds(120, "barriers_are_refused");
    if Child::start(|| i32::from(!refuse_membarrier())).wait() != End::Code(0) {
        eprintln!("skipped: this system has no filters for system calls");
        return;
    }
    for refused in [[true, false], [false, true], [true, true]] {
        let ring = SpscRing::<Message>::with_capacity(4).unwrap();
        let producer = Child::start(|| {
            let mut producer = ring.producer();
            // It has its role, and what the kernel said to it, in every other round.
            let comes_first = refused[1] && producer.push([0; 2]).is_ok();
            assert!(!refused[0] || refuse_membarrier());
            let start = u64::from(comes_first);
            (start..FEW).for_each(|number| producer.push([number; 2]).unwrap());
            i32::from(producer.close().is_err())
        });
        let consumer = Child::start(|| {
            assert!(!refused[1] || refuse_membarrier());
            i32::from(consume(&mut ring.consumer()) != FEW)
        });
        assert!([producer, consumer].iter_mut().all(|child| child.wait() == End::Code(0)), "{refused:?}");
    }
    let [empty, full] = [(); 2].map(|()| SpscRing::<u8>::with_capacity(1).unwrap());
    let (mut producer, mut consumer) = (empty.producer(), full.consumer());
    full.producer().push(1).unwrap();
    producer.push(1).unwrap();
    assert_eq!((empty.consumer().pop().unwrap(), consumer.pop().unwrap()), (1, 1));
    full.producer().push(1).unwrap();
    let mut waiters = [
        Child::start(|| i32::from(!refuse_membarrier()) + i32::from(empty.consumer().pop().unwrap())),
        Child::start(|| i32::from(!refuse_membarrier()) + full.producer().push(2).map_or(1, |()| 0)),
    ];
    wake_seldom(&waiters);
    producer.push(0).unwrap();
    assert_eq!(consumer.pop().unwrap(), 1);
    assert!(waiters.iter_mut().all(|waiter| waiter.wait() == End::Code(0)));
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

/// An end that has its role comes to a thread that has used nothing of the crate yet.
#[test]
fn places_in_a_new_thread() {
    let (mut producer, _consumer) = Ring::<Message>::spsc(3).unwrap();
    drop(producer.reserve().unwrap());
    thread::spawn(move || {
        let place = producer.reserve().unwrap();
        assert!(matches!(Process::fork(|| ()), Err(Error::ForkRefused { reason }) if reason.contains("holds 1 locks")));
        drop(shmkit::Lock::new().unwrap().lock().unwrap());
        place.publish();
        // The other threads of the tests are in the way now, and nothing else.
        assert!(matches!(Process::fork(|| ()), Err(Error::ForkRefused { reason }) if reason.contains("other threads")));
    })
    .join()
    .unwrap();
}
