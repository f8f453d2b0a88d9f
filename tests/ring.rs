//! Rings among threads and processes: every value once and in order, whoever is stopped or interrupted, and places of
//! the dead. Random deaths stand in `death_channels.rs`.

#![allow(unsafe_code, reason = "the children's module forks")]

mod support;

use std::{
    sync::atomic::{
        AtomicU64,
        Ordering::{Relaxed, SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use shmkit::{Error, Process, Region, Result, Ring, StartMethod};
use support::{
    Board, Child, Deadline, End, Flag, eventually, is_raised, raise, stop_and_go, storm_of_signals, wake_seldom,
};

shmkit::init_in_tests!();

const SOON: Duration = Duration::from_secs(20);
const PRODUCERS: usize = 4;
const VALUES: usize = 5000;

/// Who made a value, and its number.
type Message = [u64; 2];

/// What each producer has put in, and how often each of its values was taken.
struct Account {
    published: [AtomicU64; PRODUCERS],
    taken: [[AtomicU64; VALUES]; PRODUCERS],
    signals: AtomicU64,
}

impl Account {
    fn produce(&self, ring: &Ring<Message>, who: usize, pause: impl Fn(usize)) {
        for number in 0..VALUES as u64 {
            pause(number as usize);
            match number % 3 {
                0 => ring.push([who as u64, number]).unwrap(),
                1 => {
                    let mut slot = ring.reserve().unwrap();
                    slot[0] = who as u64;
                    slot[1] = number;
                    slot.publish();
                }
                _ => assert_eq!(ring.push_slice(&[[who as u64, number]]).unwrap(), 1),
            }
            self.published[who].store(number + 1, SeqCst);
        }
    }

    /// Takes values until the ring is closed and empty.
    fn consume(&self, ring: &Ring<Message>) {
        let mut last = [None; PRODUCERS];
        let mut some = [[0; 2]; 5];
        for turn in 0_u64.. {
            let taken = match turn % 3 {
                0 => ring.pop().map(|message| {
                    some[0] = message;
                    1
                }),
                1 => ring.pop_ref().map(|message| {
                    some[0] = *message;
                    1
                }),
                _ => ring.pop_slice(&mut some),
            };
            let count = match taken {
                Ok(count) => count,
                Err(Error::Closed) => return,
                Err(error) => panic!("{error}"),
            };
            for &[who, number] in &some[..count] {
                self.taken[who as usize][number as usize].fetch_add(1, SeqCst);
                assert!(last[who as usize].replace(number) < Some(number), "out of order");
            }
        }
    }

    fn times_taken(&self, who: usize) -> impl Iterator<Item = u64> + '_ {
        self.taken[who].iter().map(|count| count.load(SeqCst))
    }

    fn check_all(&self) {
        assert!((0..PRODUCERS).all(|who| self.times_taken(who).all(|count| count == 1)));
    }
}

/// Producers that do `pause` before each value, and consumers; all do `first` before they begin.
fn children(
    account: &Account,
    ring: &Ring<Message>,
    first: impl Fn() + Copy,
    pause: impl Fn(usize) + Copy,
) -> (Vec<Child>, Vec<Child>) {
    let producer = |who| {
        Child::start(|| {
            first();
            account.produce(ring, who, pause);
            0
        })
    };
    let consumer = || {
        Child::start(|| {
            first();
            thread::scope(|scope| {
                scope.spawn(|| account.consume(ring));
                account.consume(ring);
            });
            0
        })
    };
    // The last producer and one consumer are threads of this process.
    ((0..PRODUCERS - 1).map(producer).collect(), (0..3).map(|_| consumer()).collect())
}

/// So that there is time for many stops, or deaths.
fn slowly(number: usize) {
    if number.is_multiple_of(5) {
        thread::sleep(Duration::from_micros(100));
    }
}

fn all_end_well(children: &mut [Child]) {
    assert!(children.iter_mut().all(|child| child.wait() == End::Code(0)));
}

#[test]
fn every_value_arrives_once() {
    let _deadline = Deadline::seconds(120, "every_value_arrives_once");
    for capacity in [1, 3, 1024] {
        let (ring, account) = (Ring::with_capacity(capacity).unwrap(), Board::<Account>::new());
        let (mut producers, mut consumers) = children(account.get(), &ring, || (), |_| ());
        thread::scope(|scope| {
            scope.spawn(|| account.consume(&ring));
            account.produce(&ring, PRODUCERS - 1, |_| ());
            all_end_well(&mut producers);
            ring.close();
        });
        all_end_well(&mut consumers);
        account.check_all();
        assert!(ring.is_empty() && ring.is_closed());
    }
}

/// A signal every millisecond to everybody.
#[test]
fn signals() {
    let _deadline = Deadline::seconds(120, "signals");
    let (ring, account) = (Ring::with_capacity(3).unwrap(), Board::<Account>::new());
    let signals = &account.get().signals;
    let (mut producers, mut consumers) = children(account.get(), &ring, || storm_of_signals(signals), |_| ());
    // Late, so that the others are interrupted in their sleep.
    account.produce(&ring, PRODUCERS - 1, |number| {
        if number % 25 == 0 {
            thread::sleep(Duration::from_millis(1));
        }
    });
    all_end_well(&mut producers);
    ring.close();
    all_end_well(&mut consumers);
    account.check_all();
    assert!(signals.load(Relaxed) > 100, "{} signals", signals.load(Relaxed));
}

/// Who is stopped is waited for.
#[test]
fn stopped_processes() {
    let _deadline = Deadline::seconds(120, "stopped_processes");
    let (ring, account) = (Ring::with_capacity(3).unwrap(), Board::<Account>::new());
    let (producers, consumers) = children(account.get(), &ring, || (), slowly);
    let mut all: Vec<Child> = producers.into_iter().chain(consumers).collect();
    thread::scope(|scope| {
        scope.spawn(|| {
            account.produce(&ring, PRODUCERS - 1, slowly);
            let has_all = |published: &AtomicU64| published.load(SeqCst) == VALUES as u64;
            while !account.published.iter().all(has_all) {
                thread::sleep(Duration::from_millis(1));
            }
            ring.close();
        });
        stop_and_go(&mut all);
    });
    account.check_all();
}

/// One dies with a place, of either kind: whoever waits for it goes on.
#[test]
fn places_of_the_dead() {
    let _deadline = Deadline::seconds(60, "places_of_the_dead");
    for round in 0..50 {
        let ring = Ring::with_capacity(2).unwrap();
        let mut victim = Child::start(|| {
            std::mem::forget(ring.reserve().unwrap());
            ring.push(1).unwrap();
            support::sleep_for_ever()
        });
        eventually(|| ring.len() == 2);
        assert!(ring.try_pop().unwrap_err().is_would_block(), "the reserved place comes first");
        let mut consumer = Child::start(|| i32::from(ring.pop_timeout(SOON).unwrap() != 1));
        if round % 2 == 0 {
            consumer.wait_until_asleep();
        }
        victim.kill();
        assert_eq!((victim.wait(), consumer.wait()), (End::Signal(libc::SIGKILL), End::Code(0)));

        (2..4).for_each(|value| ring.try_push(value).unwrap());
        let mut victim = Child::start(|| {
            std::mem::forget(ring.pop_ref().unwrap());
            support::sleep_for_ever()
        });
        eventually(|| ring.len() == 1);
        let mut producer = Child::start(|| ring.push_timeout(4, SOON).map_or(1, |()| 0));
        if round % 2 == 0 {
            producer.wait_until_asleep();
        }
        victim.kill();
        assert_eq!((victim.wait(), producer.wait()), (End::Signal(libc::SIGKILL), End::Code(0)));
        assert_eq!((ring.try_pop().unwrap(), ring.try_pop().unwrap()), (3, 4));
    }
}

/// MECHANISMS 1: another thread of the victim writes into its place, from inside the kernel, while it dies. Its place
/// is not given to anybody before it has wholly ended.
#[test]
fn nothing_changes_in_a_place_of_the_dead() {
    type Data = [[u8; 4096]; 1024];
    let _deadline = Deadline::seconds(60, "nothing_changes_in_a_place_of_the_dead");
    let ring = Ring::<Data>::with_capacity(1).unwrap();
    let busy = Board::<Flag>::new();
    let mut victim = Child::start(|| {
        let mut slot = ring.reserve().unwrap();
        // SAFETY: the place is mapped for the life of this process.
        unsafe { support::write_from_the_kernel(slot.as_mut_ptr().cast(), size_of::<Data>()) };
        raise(&busy);
        support::sleep_for_ever()
    });
    eventually(|| is_raised(&busy));
    victim.kill();
    thread::scope(|scope| {
        // Passes over the place, which is then this one's.
        let consumer = scope.spawn(|| ring.pop_ref_timeout(SOON).map(|value| value[7][7]));
        let mut slot = ring.reserve_timeout(SOON).unwrap();
        slot.fill([1; 4096]);
        victim.wait();
        assert!(slot.iter().flatten().all(|byte| *byte == 1), "the dead wrote on");
        slot.publish();
        assert_eq!(consumer.join().unwrap().unwrap(), 1);
    });
}

fn echo(questions: Ring<u64>, answers: Ring<u64>) -> Result<u64> {
    let mut count = 0;
    loop {
        match questions.pop() {
            Ok(question) => answers.push(question + 1)?,
            Err(Error::Closed) => return Ok(count),
            Err(error) => return Err(error),
        }
        count += 1;
    }
}

#[test]
fn rings_travel() {
    let _deadline = Deadline::seconds(60, "rings_travel");
    let region = Region::anonymous(1 << 16).unwrap();
    let questions = Ring::with_capacity_in(&region, "questions", 4).unwrap();
    let answers = Ring::open_or_create_in(&region, "answers", 4).unwrap();
    let args = (questions.clone(), answers.clone());
    let child = Process::builder(echo).args(args).start_method(StartMethod::Spawn).start().unwrap();
    for i in 0..1000 {
        questions.push(i).unwrap();
        assert_eq!(answers.pop().unwrap(), i + 1);
    }
    questions.close();
    assert_eq!(child.join().unwrap(), 1000);
}

mod small {
    #[derive(Debug, Clone, Copy, shmkit::bytemuck::Pod, shmkit::bytemuck::Zeroable)]
    #[bytemuck(crate = "shmkit::bytemuck")]
    #[repr(C)]
    pub(crate) struct Step(u32);
}

mod large {
    #[derive(Debug, Clone, Copy, shmkit::bytemuck::Pod, shmkit::bytemuck::Zeroable)]
    #[bytemuck(crate = "shmkit::bytemuck")]
    #[repr(C)]
    pub(crate) struct Step(u64);
}

#[test]
fn misuse_is_an_error() {
    for capacity in [0, Ring::<u8>::MAX + 1, usize::MAX] {
        assert!(Ring::<u8>::with_capacity(capacity).is_err(), "{capacity}");
    }
    assert!(matches!(Ring::<u8>::with_capacity(0), Err(Error::InvalidArgument { .. })));
    let ring = Ring::<u64>::with_capacity(2).unwrap();
    assert_eq!((ring.push_slice(&[]).unwrap(), ring.pop_slice(&mut []).unwrap()), (0, 0));
    let region = Region::anonymous(1 << 16).unwrap();
    Ring::<u64>::with_capacity_in(&region, "ring", 2).unwrap();
    assert!(matches!(Ring::<i64>::open_in(&region, "ring"), Err(Error::TypeMismatch { .. })));
    assert!(matches!(Ring::<u64>::open_or_create_in(&region, "ring", 3), Err(Error::TypeMismatch { .. })));
    // Types of one name, whose slots have one size.
    Ring::<small::Step>::with_capacity_in(&region, "steps", 2).unwrap();
    assert!(matches!(Ring::<large::Step>::open_in(&region, "steps"), Err(Error::TypeMismatch { .. })));
    // A copy of the place would be the child's.
    let slot = ring.reserve().unwrap();
    assert!(matches!(Process::fork(|| ()), Err(Error::ForkRefused { .. })));
    drop(slot);
    for wide in [[0_u8; 0].len(), 1] {
        assert_eq!(Ring::<u128>::with_capacity(wide + 1).unwrap().capacity(), wide + 1);
    }
}

/// Places that a fork copied are not the child's: what it does with them is nothing to the parent.
#[test]
fn copies_of_a_fork() {
    let _deadline = Deadline::seconds(60, "copies_of_a_fork");
    let ring = Ring::with_capacity(2).unwrap();
    ring.push(1).unwrap();
    let (value, mut slot) = (ring.pop_ref().unwrap(), ring.reserve().unwrap());
    for publishes in [false, true] {
        let mut child = Child::start(|| {
            // It is a member of its own.
            assert!(ring.try_pop().is_err());
            // SAFETY: the child ends without dropping `value` itself.
            drop(unsafe { std::ptr::read(&raw const value) });
            // SAFETY: nor `slot`.
            let slot = unsafe { std::ptr::read(&raw const slot) };
            if publishes {
                slot.publish()
            } else {
                drop(slot)
            }
            0
        });
        assert_eq!(child.wait(), End::Code(0));
        assert!(ring.try_pop().is_err() && ring.try_push(3).is_err() && *value == 1);
    }
    *slot = 2;
    slot.publish();
    drop(value);
    ring.try_push(3).unwrap();
    assert_eq!((ring.pop().unwrap(), ring.pop().unwrap()), (2, 3));
}

/// Those who wait at both ends are told when it is closed.
#[test]
fn closing_wakes_all() {
    let _deadline = Deadline::seconds(60, "closing_wakes_all");
    let (empty, full) = (Ring::<u8>::with_capacity(1).unwrap(), Ring::with_capacity(1).unwrap());
    full.push(1_u8).unwrap();
    let mut children: Vec<_> = (0..4)
        .map(|i| {
            Child::start(|| {
                let said = if i < 2 { empty.pop().map(drop) } else { full.push(2) };
                i32::from(!matches!(said, Err(Error::Closed)))
            })
        })
        .collect();
    children.iter().for_each(Child::wait_until_asleep);
    empty.close();
    full.close();
    all_end_well(&mut children);
    assert_eq!(full.pop().unwrap(), 1);
}

/// A place that was given up is room as soon as nothing is before it, and then nobody sees it.
#[test]
fn places_that_are_given_up() {
    let ring = Ring::<u8>::with_capacity(2).unwrap();
    for round in 0..5 {
        drop(ring.try_reserve().unwrap());
        assert!(ring.is_empty());
        let [first, second] = [(); 2].map(|()| ring.try_reserve().unwrap());
        drop(second);
        assert_eq!(ring.len(), 2);
        assert!(ring.try_push(1).unwrap_err().is_would_block());
        drop(first);
        assert!(ring.is_empty());
        assert_eq!(ring.push_slice(&[round, round + 1, 0]).unwrap(), 2);
        assert_eq!([(); 2].map(|()| ring.try_pop().unwrap()), [round, round + 1]);
        // Behind a value.
        ring.try_push(round).unwrap();
        drop(ring.try_reserve().unwrap());
        assert!(ring.is_full() && ring.try_push(1).unwrap_err().is_would_block());
        assert_eq!(ring.try_pop().unwrap(), round);
        assert_eq!(ring.try_push_slice(&[round; 3]).unwrap(), 2);
        assert!(ring.try_pop().is_ok() && ring.try_pop().is_ok());
        // Reserved by one that dies.
        let mut dead = Child::start(|| {
            (0..2).for_each(|_| std::mem::forget(ring.try_reserve().unwrap()));
            0
        });
        assert_eq!(dead.wait(), End::Code(0));
        assert_eq!(ring.try_push_slice(&[round; 2]).unwrap(), 2);
        assert!(ring.try_pop().is_ok() && ring.try_pop().is_ok());
    }
}

#[test]
fn waits_end_in_time() {
    let _deadline = Deadline::seconds(60, "waits_end_in_time");
    let ring = Ring::<u8>::with_capacity(1).unwrap();
    let time = Duration::from_millis(120);
    let start = Instant::now();
    assert!(ring.pop_timeout(time).unwrap_err().is_timed_out());
    ring.push_deadline(1, Instant::now() + SOON).unwrap();
    assert!(ring.push_timeout(2, time).unwrap_err().is_timed_out());
    assert!(ring.reserve_timeout(Duration::ZERO).unwrap_err().is_timed_out());
    assert!(start.elapsed() >= 2 * time);
    assert_eq!(ring.pop_timeout(Duration::MAX).unwrap(), 1);
}

/// Who waits is woken ten times a second at most: for a value, for room, and for one that was stopped with a place.
#[test]
fn a_waiter_sleeps() {
    let _deadline = Deadline::seconds(60, "a_waiter_sleeps");
    let [empty, full, reserved] = [(); 3].map(|()| Ring::<u8>::with_capacity(1).unwrap());
    full.push(1).unwrap();
    let stopped = Child::start(|| {
        let slot = reserved.reserve().unwrap();
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::STOP).unwrap();
        slot.publish();
        0
    });
    stopped.wait_until_stopped();
    let mut waiters = [
        Child::start(|| i32::from(empty.pop().unwrap())),
        Child::start(|| full.push(2).map_or(1, |()| 0)),
        Child::start(|| i32::from(reserved.pop().unwrap())),
    ];
    wake_seldom(&waiters);
    stopped.signal(libc::SIGCONT);
    empty.push(0).unwrap();
    assert_eq!(full.pop().unwrap(), 1);
    all_end_well(&mut waiters);
}
