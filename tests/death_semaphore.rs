//! Semaphores and events whose waiters and signallers are killed: the others go on, and what is there is what was given
//! less what the dead took.

#![allow(unsafe_code, reason = "the children's module forks")]

mod support;

use std::{
    sync::atomic::{
        AtomicU32, AtomicU64,
        Ordering::{Relaxed, SeqCst},
    },
    time::{Duration, Instant},
};

use shmkit::{Event, Semaphore};
use support::{Board, Child, Deadline, End, Random, eventually, sleep_for_ever};

const SOON: Duration = Duration::from_secs(10);
const WORKERS: usize = 8;
const ROUNDS: usize = 250;

/// Waiters are killed while permits are given, some before, some after they have got one. The survivors get theirs, and
/// the sum is exact but for victims that did not live to tell.
#[test]
fn waiters_are_killed() {
    const VICTIMS: usize = 2;
    const SURVIVORS: usize = 3;
    let _deadline = Deadline::seconds(120, "waiters_are_killed");
    let mut random = Random::new();
    let semaphore = Semaphore::new(0).unwrap();
    let took = Board::<[AtomicU32; VICTIMS]>::new();
    for round in 0..ROUNDS {
        let before = semaphore.value();
        (0..before).for_each(|_| semaphore.try_acquire().unwrap());
        took.iter().for_each(|one| one.store(0, SeqCst));
        let victim = |at: usize| {
            Child::start(|| {
                semaphore.acquire().unwrap();
                took[at].store(1, SeqCst);
                sleep_for_ever()
            })
        };
        let mut victims: Vec<Child> = (0..VICTIMS).map(victim).collect();
        let survivor = || Child::start(|| semaphore.acquire_timeout(SOON).map_or(1, |()| 0));
        let mut survivors = [(); SURVIVORS].map(|()| survivor());
        random.pause(Duration::from_micros(500));
        let mut given = 0;
        for victim in &mut victims {
            if random.below(2) == 0 {
                semaphore.release().unwrap();
                given += 1;
            } else {
                semaphore.release_many(2).unwrap();
                given += 2;
            }
            random.pause(Duration::from_micros(60));
            victim.kill();
        }
        for victim in &mut victims {
            victim.wait();
        }
        let told: usize = took.iter().map(|one| one.load(SeqCst) as usize).sum();
        // Enough for the survivors, whatever the victims took.
        let more = SURVIVORS + VICTIMS - given.min(SURVIVORS);
        semaphore.release_many(more).unwrap();
        given += more;
        let since = Instant::now();
        for survivor in &mut survivors {
            assert_eq!(survivor.wait(), End::Code(0), "round {round}");
        }
        assert!(since.elapsed() < Duration::from_secs(5), "round {round}");
        let taken = given - SURVIVORS - semaphore.value();
        assert!((told..=VICTIMS).contains(&taken), "round {round}: {taken} taken, {told} told");
    }
}

/// Waiters that never get anything are killed in their sleep: not a permit is lost or made.
#[test]
fn sleepers_are_killed() {
    let _deadline = Deadline::seconds(120, "sleepers_are_killed");
    let semaphore = Semaphore::new(0).unwrap();
    for n in 0..50 {
        let mut victims = [(); 3].map(|()| Child::start(|| semaphore.acquire().map_or(1, |()| 0)));
        victims.iter().for_each(Child::wait_until_asleep);
        let mut survivor = Child::start(|| semaphore.acquire().map_or(1, |()| 0));
        survivor.wait_until_asleep();
        for victim in &mut victims {
            victim.kill();
            victim.wait();
        }
        semaphore.release_many(1 + n).unwrap();
        assert_eq!(survivor.wait(), End::Code(0));
        assert_eq!(semaphore.value(), n);
        (0..n).for_each(|_| semaphore.try_acquire().unwrap());
    }
}

/// One that gives is killed: each permit that it told of is there, and at most one more.
#[test]
fn releasers_are_killed() {
    let _deadline = Deadline::seconds(120, "releasers_are_killed");
    let mut random = Random::new();
    let semaphore = Semaphore::new(0).unwrap();
    let given = Board::<AtomicU64>::new();
    let taken = Board::<AtomicU64>::new();
    let waiters = [(); 3].map(|()| {
        Child::start(|| {
            loop {
                semaphore.acquire().unwrap();
                taken.fetch_add(1, SeqCst);
            }
        })
    });
    let mut least = 0;
    for round in 0..ROUNDS as u64 {
        let mut victim = Child::start(|| {
            loop {
                semaphore.release().unwrap();
                given.fetch_add(1, SeqCst);
            }
        });
        eventually(|| given.load(SeqCst) > least);
        random.pause(Duration::from_micros(100));
        victim.kill();
        victim.wait();
        least = given.load(SeqCst);
        // All that was given is taken, also what was given without a wake-up.
        eventually(|| semaphore.value() == 0 && taken.load(SeqCst) >= least);
        assert!(taken.load(SeqCst) <= least + round + 1);
    }
    assert!(waiters.into_iter().all(|mut waiter| !waiter.has_ended()));
}

/// What workers tell.
struct Progress {
    steps: [AtomicU64; WORKERS],
    /// 1 while a worker has a permit and lives to tell.
    holds: [AtomicU32; WORKERS],
}

/// Eight workers take and give; random ones are killed at random moments and replaced. What is lost with them is given
/// anew, when all that are left wait for a permit and there is none.
#[test]
fn random_kills() {
    let _deadline = Deadline::seconds(120, "random_kills");
    let mut random = Random::new();
    let semaphore = Semaphore::new(2).unwrap();
    let progress = Board::<Progress>::new();
    let start = |at: usize| {
        Child::start(|| {
            loop {
                semaphore.acquire().unwrap();
                progress.holds[at].store(1, SeqCst);
                progress.steps[at].fetch_add(1, SeqCst);
                progress.holds[at].store(0, SeqCst);
                semaphore.release().unwrap();
            }
        })
    };
    let mut workers: Vec<Child> = (0..WORKERS).map(start).collect();
    let replenish = || {
        if semaphore.value() == 0 && progress.holds.iter().all(|holds| holds.load(SeqCst) == 0) {
            semaphore.release().unwrap();
        } else if semaphore.value() > 2 {
            let _ = semaphore.try_acquire();
        }
    };
    for round in 0..ROUNDS {
        random.pause(Duration::from_micros(500));
        let at = random.below(WORKERS as u64) as usize;
        workers[at].kill();
        assert_eq!(workers[at].wait(), End::Signal(libc::SIGKILL), "round {round}: a worker failed");
        if progress.holds[at].swap(0, SeqCst) == 1 {
            semaphore.release().unwrap();
        }
        let total = || progress.steps.iter().map(|steps| steps.load(SeqCst)).sum::<u64>();
        let before = total();
        eventually(|| {
            replenish();
            total() > before + 3
        });
        for worker in workers.iter_mut().enumerate().filter(|(other, _)| *other != at).map(|(_, worker)| worker) {
            assert!(!worker.has_ended(), "round {round}: a worker failed");
        }
        workers[at] = start(at);
    }
    // Every one that is left goes on.
    let before: Vec<u64> = progress.steps.iter().map(|steps| steps.load(SeqCst)).collect();
    eventually(|| {
        replenish();
        progress.steps.iter().zip(&before).all(|(now, before)| now.load(SeqCst) > *before)
    });
}

/// Waiters of an event with auto reset are killed around the moment of a set: the set is used by the dead, or another
/// gets it.
#[test]
fn event_waiters_are_killed() {
    let _deadline = Deadline::seconds(120, "event_waiters_are_killed");
    let mut random = Random::new();
    let event = Event::auto_reset().unwrap();
    for round in 0..150 {
        let mut victim = Child::start(|| event.wait().map_or(1, |()| 0));
        victim.wait_until_asleep();
        let mut other = Child::start(|| i32::from(!event.wait_timeout(SOON).unwrap()));
        other.wait_until_asleep();
        event.set();
        random.pause(Duration::from_micros(60));
        victim.kill();
        victim.wait();
        // Either the other has it, or finds it, or the victim took it: then one more is for the other.
        eventually(|| !event.is_set());
        if !other.has_ended() {
            event.set();
        }
        let since = Instant::now();
        assert_eq!(other.wait(), End::Code(0));
        assert!(since.elapsed() < Duration::from_secs(5), "round {round}");
        event.clear();
    }
}

/// One that sets and clears an event is killed, again and again: who waits is let through all the time.
#[test]
fn event_setters_are_killed() {
    let _deadline = Deadline::seconds(120, "event_setters_are_killed");
    let mut random = Random::new();
    for event in [Event::new().unwrap(), Event::auto_reset().unwrap()] {
        let passed = Board::<[AtomicU64; 3]>::new();
        let waiters: Vec<Child> = (0..3)
            .map(|at: usize| {
                let (event, passed) = (&event, &passed);
                Child::start(move || {
                    loop {
                        event.wait().unwrap();
                        passed[at].fetch_add(1, Relaxed);
                    }
                })
            })
            .collect();
        for _ in 0..ROUNDS / 2 {
            let before = passed.each_ref().map(|one| one.load(Relaxed));
            let mut victim = Child::start(|| {
                loop {
                    event.set();
                    if !event.is_auto_reset() {
                        event.clear();
                    }
                }
            });
            eventually(|| passed.iter().zip(before).any(|(now, before)| now.load(Relaxed) > before));
            random.pause(Duration::from_micros(100));
            victim.kill();
            victim.wait();
        }
        let before = passed.each_ref().map(|one| one.load(Relaxed));
        eventually(|| {
            event.set();
            passed.iter().zip(before).all(|(now, before)| now.load(Relaxed) > before)
        });
        assert!(waiters.into_iter().all(|mut waiter| !waiter.has_ended()));
    }
}
