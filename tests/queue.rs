//! Queues among threads and processes: every object once and in order, whoever is stopped or interrupted. Deaths stand
//! in `death_channels.rs`, who is told that nobody else is left in `death_queue.rs`, and handles as objects in
//! `queue_tickets.rs`.
//!
//! One test at a time: each has more processes than there are cores.

#![allow(unsafe_code, reason = "the children's module forks")]

mod support;

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicU64,
            Ordering::{Relaxed, SeqCst},
        },
    },
    thread,
    time::{Duration, Instant},
};

use shmkit::{Error, Queue, Region};
use support::{Board, Child, Deadline, End, Flag, is_raised, raise, stop_and_go, storm_of_signals, wake_seldom};

const SOON: Duration = Duration::from_secs(20);
const PRODUCERS: usize = 4;
const VALUES: usize = 5000;
const CAPACITY: usize = 256;

fn alone(what: &'static str) -> (MutexGuard<'static, ()>, Deadline) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    (ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner), Deadline::seconds(120, what))
}

/// Who made an object, its number, and bytes that follow from these.
type Object = (u8, u32, Vec<u8>);

/// Most are small, some fill the queue nearly.
fn object(who: usize, number: usize) -> Object {
    let most = if number % 16 == 7 { CAPACITY - 9 } else { 40 };
    let length = (number * 31 + who * 7) % most;
    (who as u8, number as u32, (0..length).map(|at| (number + who * 50 + at) as u8).collect())
}

/// What each producer has put in, and how often each of its objects was taken.
struct Account {
    published: [AtomicU64; PRODUCERS],
    taken: [[AtomicU64; VALUES]; PRODUCERS],
    signals: AtomicU64,
}

impl Account {
    fn produce(&self, queue: &Queue<Object>, who: usize, pause: impl Fn(usize)) {
        for number in 0..VALUES {
            pause(number);
            let object = object(who, number);
            loop {
                let said = match number % 4 {
                    0 => queue.put(&object),
                    1 => queue.try_put(&object),
                    2 => queue.put_timeout(&object, Duration::from_micros(50)),
                    _ => queue.put_deadline(&object, Instant::now() + SOON),
                };
                match said {
                    Ok(()) => break,
                    Err(error) if error.is_would_block() || number % 4 == 2 && error.is_timed_out() => {
                        thread::yield_now();
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            self.published[who].store(number as u64 + 1, SeqCst);
        }
    }

    /// Takes objects until the queue is closed and empty.
    fn consume(&self, queue: &Queue<Object>) {
        let mut last = [None; PRODUCERS];
        for turn in 0_u64.. {
            let taken = match turn % 4 {
                0 => queue.get(),
                1 => queue.try_get(),
                2 => queue.get_timeout(Duration::from_micros(50)),
                _ => queue.get_deadline(Instant::now() + SOON),
            };
            let taken = match taken {
                Ok(taken) => taken,
                Err(Error::Closed) => return,
                Err(error) if error.is_would_block() || turn % 4 == 2 && error.is_timed_out() => continue,
                Err(error) => panic!("{error}"),
            };
            let (who, number) = (usize::from(taken.0), taken.1 as usize);
            assert_eq!(taken, object(who, number));
            self.taken[who][number].fetch_add(1, SeqCst);
            assert!(last[who].replace(number) < Some(number), "out of order");
        }
    }

    fn check_all(&self) {
        assert!(self.taken.iter().flatten().all(|count| count.load(SeqCst) == 1));
    }
}

/// Producers that do `pause` before each object, and consumers of two threads; all do `first` before they begin. The
/// last producer is left for this process.
fn children(
    account: &Account,
    queue: &Queue<Object>,
    first: impl Fn() + Copy,
    pause: impl Fn(usize) + Copy,
) -> (Vec<Child>, Vec<Child>) {
    let producer = |who| {
        Child::start(|| {
            first();
            account.produce(queue, who, pause);
            0
        })
    };
    let consumer = || {
        Child::start(|| {
            first();
            thread::scope(|scope| {
                scope.spawn(|| account.consume(queue));
                account.consume(queue);
            });
            0
        })
    };
    ((0..PRODUCERS - 1).map(producer).collect(), (0..4).map(|_| consumer()).collect())
}

/// So that there is time for many stops.
fn slowly(number: usize) {
    if number.is_multiple_of(2) {
        thread::sleep(Duration::from_micros(100));
    }
}

fn all_end_well(children: &mut [Child]) {
    assert!(children.iter_mut().all(|child| child.wait() == End::Code(0)));
}

#[test]
fn every_object_arrives_once() {
    let _alone = alone("every_object_arrives_once");
    for (capacity, max_items) in [(CAPACITY, 0), (CAPACITY, 2), (CAPACITY * 20, 0)] {
        let queue = Queue::options().capacity(capacity).max_items(max_items).create().unwrap();
        let account = Board::<Account>::new();
        let (mut producers, mut consumers) = children(account.get(), &queue, || (), |_| ());
        thread::scope(|scope| {
            scope.spawn(|| account.consume(&queue));
            account.produce(&queue, PRODUCERS - 1, |_| ());
            all_end_well(&mut producers);
            queue.close();
        });
        all_end_well(&mut consumers);
        account.check_all();
        assert_eq!((queue.len(), queue.unfinished_tasks()), (0, PRODUCERS * VALUES));
    }
}

/// A signal every millisecond to everybody.
#[test]
fn signals() {
    let _alone = alone("signals");
    let (queue, account) = (Queue::with_capacity(CAPACITY).unwrap(), Board::<Account>::new());
    let signals = &account.get().signals;
    let (mut producers, mut consumers) = children(account.get(), &queue, || storm_of_signals(signals), |_| ());
    // Late, so that the others are interrupted in their sleep.
    account.produce(&queue, PRODUCERS - 1, |number| {
        if number % 25 == 0 {
            thread::sleep(Duration::from_millis(1));
        }
    });
    all_end_well(&mut producers);
    queue.close();
    all_end_well(&mut consumers);
    account.check_all();
    assert!(signals.load(Relaxed) > 100, "{} signals", signals.load(Relaxed));
}

/// Who is stopped with a lock is waited for; who does not wait is told so.
#[test]
fn stopped_processes() {
    let _alone = alone("stopped_processes");
    let (queue, account) = (Queue::with_capacity(CAPACITY).unwrap(), Board::<Account>::new());
    let (producers, consumers) = children(account.get(), &queue, || (), slowly);
    let mut all: Vec<Child> = producers.into_iter().chain(consumers).collect();
    thread::scope(|scope| {
        scope.spawn(|| {
            account.produce(&queue, PRODUCERS - 1, slowly);
            let has_all = |published: &AtomicU64| published.load(SeqCst) == VALUES as u64;
            while !account.published.iter().all(has_all) {
                thread::sleep(Duration::from_millis(1));
            }
            queue.close();
        });
        stop_and_go(&mut all);
    });
    account.check_all();
}

/// The bytes that postcard writes for a vector of so many.
fn encoded(length: usize) -> usize {
    length + if length < 128 { 1 } else { 2 }
}

/// From nothing to what is too much, on either side of the place where the circle begins again.
#[test]
fn sizes() {
    for capacity in [1, 8, 9, 63, 100, 1000] {
        let queue = Queue::<Vec<u8>>::with_capacity(capacity).unwrap();
        assert_eq!(queue.capacity(), capacity.next_multiple_of(8));
        for round in 0..3 {
            for length in 0..queue.capacity() + 20 {
                let object: Vec<u8> = (0..length).map(|at| (at * 7 + length + round) as u8).collect();
                let size = encoded(length);
                if size <= queue.capacity() {
                    queue.try_put(&object).unwrap();
                    assert_eq!(queue.try_get().unwrap(), object);
                } else {
                    let (is, most) = (size as u64, queue.capacity() as u64);
                    let said = queue.put(&object);
                    assert!(matches!(said, Err(Error::TooLarge { size, limit }) if (size, limit) == (is, most)));
                    assert!(queue.is_empty());
                }
            }
        }
    }
    // Of two of a size, at every place, the second one comes after the first.
    let queue = Queue::<Vec<u8>>::with_capacity(104).unwrap();
    for length in (0..47).cycle().take(500) {
        (0..2).for_each(|n| queue.try_put(&vec![n; length]).unwrap());
        (0..2).for_each(|n| assert_eq!(queue.try_get().unwrap(), vec![n; length]));
    }
}

/// Objects of no bytes take a unit each.
#[test]
fn objects_of_no_size() {
    let queue = Queue::<()>::with_capacity(80).unwrap();
    for _ in 0..5 {
        let count = (0..).take_while(|_| queue.try_put(&()).is_ok()).count();
        assert_eq!((count, queue.len(), queue.is_full()), (11, 11, true));
        (0..count).for_each(|_| queue.try_get().unwrap());
        assert!(queue.is_empty());
    }
}

#[test]
fn impossible_queues() {
    for capacity in [0, usize::MAX, 1 << 40] {
        assert!(matches!(Queue::<u8>::with_capacity(capacity), Err(Error::InvalidArgument { .. })), "{capacity}");
    }
    let region = Region::anonymous(1 << 16).unwrap();
    let options = Queue::<u32>::options().capacity(1000);
    options.create_in(&region, "queue").unwrap();
    assert!(matches!(Queue::<i32>::open_in(&region, "queue"), Err(Error::TypeMismatch { .. })));
    assert!(matches!(
        options.clone().capacity(2000).open_or_create_in(&region, "queue"),
        Err(Error::TypeMismatch { .. })
    ));
    assert!(options.open_or_create_in(&region, "queue").is_ok());
    assert!(matches!(options.capacity(1 << 20).create_in(&region, None), Err(Error::RegionFull { .. })));
}

/// What a queue tells of itself was so at one moment, whatever others do meanwhile.
#[test]
fn counts_are_of_one_moment() {
    let _alone = alone("counts_are_of_one_moment");
    let queue = Queue::options().max_items(7).create().unwrap();
    (0..5).for_each(|n| queue.put(&n).unwrap());
    let stop = Board::<Flag>::new();
    let mut worker = Child::start(|| {
        while !is_raised(&stop) {
            queue.put(&5).unwrap();
            queue.get().unwrap();
            queue.task_done().unwrap();
        }
        0
    });
    let end = Instant::now() + Duration::from_secs(1);
    while Instant::now() < end {
        let len = queue.len();
        assert!((5..=6).contains(&len), "{len} are in");
        assert!(!queue.is_full() && !queue.is_empty());
        let unfinished = queue.unfinished_tasks();
        assert!((5..=6).contains(&unfinished), "{unfinished} are not done");
    }
    raise(&stop);
    all_end_well(std::slice::from_mut(&mut worker));
}

/// One whose objects fill the queue among many of small ones: all arrive.
#[test]
fn small_and_large() {
    let _alone = alone("small_and_large");
    let queue = Queue::<Vec<u8>>::with_capacity(128).unwrap();
    let put = |length: usize, times: usize| {
        let queue = &queue;
        Child::start(move || {
            (0..times).for_each(|_| queue.put(&vec![length as u8; length]).unwrap());
            0
        })
    };
    let consumers = [(); 2].map(|()| {
        Child::start(|| {
            let mut large = 0;
            for object in &queue {
                let object = object.unwrap();
                assert!(object.iter().all(|byte| usize::from(*byte) == object.len()));
                large += i32::from(object.len() == 126);
            }
            large
        })
    });
    let mut producers = [put(126, 40), put(1, 2000), put(3, 2000), put(30, 1000)];
    all_end_well(&mut producers);
    queue.close();
    let codes = consumers.map(|mut consumer| match consumer.wait() {
        End::Code(code) => code,
        End::Signal(signal) => panic!("signal {signal}"),
    });
    assert_eq!(codes.iter().sum::<i32>(), 40);
}

/// The first producer that waits needs more room than comes: the one behind it, for whom it is enough, goes on.
#[test]
fn room_for_another() {
    let _alone = alone("room_for_another");
    for _ in 0..20 {
        let queue = Queue::<Vec<u8>>::with_capacity(56).unwrap();
        (0..4).for_each(|n| queue.try_put(&vec![n]).unwrap());
        let waits = |object: Vec<u8>| {
            let queue = &queue;
            let child = Child::start(move || queue.put_timeout(&object, SOON).map_or(1, |()| 0));
            child.wait_until_asleep();
            child
        };
        let (mut large, mut small) = (waits(vec![9; 55]), waits(vec![8]));
        assert_eq!(queue.get().unwrap(), [0]);
        assert_eq!(small.wait(), End::Code(0));
        assert!(!large.has_ended());
        [1, 2, 3, 8].iter().for_each(|n| assert_eq!(queue.get().unwrap(), [*n]));
        assert_eq!(large.wait(), End::Code(0));
        assert_eq!(queue.get().unwrap(), [9; 55]);
    }
}

/// Who waits is woken ten times a second at most.
#[test]
fn a_waiter_sleeps() {
    let _alone = alone("a_waiter_sleeps");
    let (empty, full) = (Queue::<u8>::new().unwrap(), Queue::options().max_items(1).create().unwrap());
    full.put(&1_u8).unwrap();
    let mut sleepers = [0, 1, 2].map(|what| {
        let child = Child::start(|| match what {
            0 => i32::from(empty.get().unwrap()),
            1 => full.put(&2).map_or(1, |()| 0),
            _ => full.join().map_or(1, |()| 0),
        });
        child.wait_until_asleep();
        child
    });
    wake_seldom(&sleepers);
    empty.put(&0).unwrap();
    assert_eq!([full.get().unwrap(), full.get().unwrap()], [1, 2]);
    (0..2).for_each(|_| full.task_done().unwrap());
    all_end_well(&mut sleepers);
}
