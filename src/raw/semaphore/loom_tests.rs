//! The semaphore under the model checker: every order of steps of up to four threads, and deaths at every point.
//!
//! No time passes in the model. Where a death costs others a slice, the test ends that slice by hand ([`end_slices`]), once
//! the dead one is gone; everywhere else a lost wake-up shows as a deadlock.

#![expect(unsafe_code, reason = "the checker's cell hands out pointers")]

use loom::{cell::UnsafeCell, sync::Arc, thread};

use super::{MAX, RawSemaphore, Relaxed, WAITERS};
use crate::{
    os::clock::{Deadline, Wait},
    raw::sys::{at_every_point, enter, explore, futex, kill, mortal, start},
};

fn with(count: u32) -> Arc<RawSemaphore> {
    enter(1);
    Arc::new(RawSemaphore::with(count))
}

/// 100 ms pass: all who sleep look at the word.
fn end_slices(semaphore: &RawSemaphore) {
    futex::wake(&semaphore.word, u32::MAX);
}

fn take(semaphore: &RawSemaphore) {
    semaphore.acquire(Wait::Forever).unwrap();
}

fn give(semaphore: &RawSemaphore) {
    semaphore.release().unwrap();
}

/// One permit excludes, and carries what was written under it. Two preemptions suffice to be anywhere in another's turn;
/// three take ten times as long.
#[test]
fn one_permit_is_a_lock() {
    struct Shared {
        semaphore: RawSemaphore,
        data: UnsafeCell<u32>,
    }
    fn add(shared: &Shared) {
        take(&shared.semaphore);
        // SAFETY: under the permit; the checker fails the test if that did not exclude the others.
        shared.data.with_mut(|data| unsafe { *data += 1 });
        give(&shared.semaphore);
    }
    explore(2, || {
        enter(1);
        let shared = Arc::new(Shared { semaphore: RawSemaphore::with(1), data: UnsafeCell::new(0) });
        let others = [2, 3].map(|tid| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                enter(tid);
                add(&shared);
            })
        });
        add(&shared);
        for other in others {
            other.join().unwrap();
        }
        // SAFETY: all other threads have been joined.
        assert_eq!(shared.data.with(|data| unsafe { *data }), 3);
        assert_eq!(shared.semaphore.count(), 1);
    });
}

/// Two sleep; two are given one by one, or both at once, with a barger that takes one and gives it back.
#[test]
fn every_permit_finds_its_sleeper() {
    for at_once in [false, true] {
        explore(2, move || {
            let semaphore = with(0);
            let others = [2, 3].map(|tid| start(tid, &semaphore, take));
            if at_once {
                semaphore.release_many(2).unwrap();
            } else {
                give(&semaphore);
                give(&semaphore);
            }
            if semaphore.acquire(Wait::No).is_ok() {
                give(&semaphore);
            }
            for other in others {
                other.join().unwrap();
            }
            assert_eq!(semaphore.count(), 0);
        });
    }
}

/// A release that woke nobody clears the mark late: when others have gone to sleep, one of them has been woken, and the
/// word is the same again.
///
/// The model begins when that release has woken nobody and its permit has been taken again: by whom and when is left out.
fn the_mark_is_cleared_late(second: impl Fn(&RawSemaphore) + Clone + Send + Sync + 'static) {
    explore(2, move || {
        let semaphore = with(WAITERS);
        let giver = start(2, &semaphore, |semaphore| {
            give(semaphore);
            give(semaphore);
        });
        let second = second.clone();
        let others = [start(3, &semaphore, second), start(4, &semaphore, take)];
        // What is left of the release: the end of `wake`.
        let _ = semaphore.word.compare_exchange(1 | WAITERS, 1, Relaxed, Relaxed);
        giver.join().unwrap();
        for other in others {
            other.join().unwrap();
        }
    });
}

#[test]
fn the_mark_is_cleared_late_and_one_takes() {
    the_mark_is_cleared_late(take);
}

/// One that has slept gives up, at the very moment.
#[test]
fn the_mark_is_cleared_late_and_one_gives_up() {
    the_mark_is_cleared_late(|semaphore| {
        semaphore.sleep(Wait::Forever).unwrap();
        let _ = semaphore.acquire_contended(Wait::Until(Deadline::now()), WAITERS);
    });
}

/// A waiter dies at each point, with another that waits beside it: at most one permit is gone.
#[test]
fn a_waiter_dies_at_every_point() {
    at_every_point(2, |points| {
        let semaphore = with(0);
        let victim = start(2, &semaphore, move |semaphore| {
            mortal(points, &semaphore.word, || take(semaphore));
        });
        let other = start(3, &semaphore, take);
        give(&semaphore);
        give(&semaphore);
        victim.join().unwrap();
        end_slices(&semaphore);
        other.join().unwrap();
        assert!(semaphore.count() <= 1);
    });
}

/// A waiter is killed in its sleep, before or after a wake-up reached it.
#[test]
fn a_waiter_is_killed_asleep() {
    explore(3, || {
        let semaphore = with(0);
        let victim = start(2, &semaphore, |semaphore| {
            mortal(0, &semaphore.word, || take(semaphore));
        });
        let other = start(3, &semaphore, take);
        give(&semaphore);
        kill(2);
        give(&semaphore);
        victim.join().unwrap();
        end_slices(&semaphore);
        other.join().unwrap();
        assert!(semaphore.count() <= 1);
    });
}

/// One that gives dies at each point, with two that wait.
#[test]
fn a_giver_dies_at_every_point() {
    for many in [1, 2] {
        at_every_point(1, move |points| {
            let semaphore = with(0);
            let victim = start(2, &semaphore, move |semaphore| {
                mortal(points, &semaphore.word, || {
                    if many == 1 { give(semaphore) } else { semaphore.release_many(many).unwrap() }
                });
            });
            let others = [3, 4].map(|tid| start(tid, &semaphore, take));
            victim.join().unwrap();
            end_slices(&semaphore);
            give(&semaphore);
            give(&semaphore);
            for other in others {
                other.join().unwrap();
            }
            assert!(semaphore.count() as usize <= many);
        });
    }
}

/// Two who give the last permit that there may be: one does.
#[test]
fn the_maximum_is_exact() {
    explore(4, || {
        let semaphore = with(MAX - 1);
        let shared = Arc::clone(&semaphore);
        let other = thread::spawn(move || shared.release().is_ok());
        let here = semaphore.release().is_ok();
        assert!(here != other.join().unwrap());
        assert_eq!(semaphore.count(), MAX);
    });
}
