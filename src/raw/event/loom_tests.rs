//! The event under the model checker: every order of steps of up to four threads, and deaths at every point.
//!
//! No time passes in the model. Where a death costs others a slice, the test ends that slice by hand ([`end_slices`]), once
//! the dead one is gone; everywhere else a lost wake-up shows as a deadlock.

#![expect(unsafe_code, reason = "the checker's cell hands out pointers")]

use loom::{cell::UnsafeCell, sync::Arc};

use super::{RawEvent, Relaxed, SET, WAITERS};
use crate::{
    os::clock::{Deadline, Wait},
    raw::sys::{AtomicU32, at_every_point, die_here, enter, explore, futex, kill, mortal, start},
};

/// An event and what it is about.
struct Shared {
    event: RawEvent,
    work: AtomicU32,
    data: UnsafeCell<u32>,
}

impl Shared {
    /// With the word as others have left it.
    fn with(auto_reset: bool, word: u32) -> Arc<Self> {
        enter(1);
        let event = RawEvent::with(auto_reset);
        event.word.store(word, Relaxed);
        Arc::new(Self { event, work: AtomicU32::new(0), data: UnsafeCell::new(0) })
    }

    fn wait(&self) {
        self.event.wait(Wait::Forever).unwrap();
    }

    fn add(&self) {
        // SAFETY: the caller is the only one let through; the checker fails the test if that did not exclude others.
        self.data.with_mut(|data| unsafe { *data += 1 });
    }

    fn sum(&self) -> u32 {
        // SAFETY: all that is there has been written before; the checker fails the test if not.
        self.data.with(|data| unsafe { *data })
    }

    /// 100 ms pass: all who sleep look at the word.
    fn end_slices(&self) {
        futex::wake(&self.event.word, u32::MAX);
    }
}

/// A set lets all through, who then see what came before it.
#[test]
fn a_set_lets_all_through() {
    explore(2, || {
        let shared = Shared::with(false, 0);
        let others = [2, 3].map(|tid| {
            start(tid, &shared, |shared| {
                shared.wait();
                assert_eq!(shared.sum(), 1);
            })
        });
        shared.add();
        shared.event.set();
        for other in others {
            other.join().unwrap();
        }
        assert!(shared.event.is_set());
    });
}

/// Two began to wait before a set that is cleared at once; they go on, and see what came before the set.
#[test]
fn a_set_that_is_cleared_misses_nobody() {
    explore(2, || {
        let shared = Shared::with(false, 0);
        let others = [2, 3].map(|tid| {
            start(tid, &shared, |shared| {
                shared.event.wait_contended(0, Wait::Forever).unwrap();
                assert_eq!(shared.sum(), 1);
            })
        });
        shared.add();
        shared.event.set();
        shared.event.clear();
        for other in others {
            other.join().unwrap();
        }
        assert!(!shared.event.is_set());
    });
}

/// Clear, look for work, wait: the work of a set that came to a set event is not missed.
#[test]
fn clear_then_look() {
    for auto_reset in [false, true] {
        explore(4, move || {
            let shared = Shared::with(auto_reset, SET);
            let producer = start(2, &shared, |shared| {
                shared.work.store(1, Relaxed);
                shared.event.set();
            });
            shared.event.clear();
            if shared.work.load(Relaxed) == 0 {
                shared.wait();
                assert_eq!(shared.work.load(Relaxed), 1);
            }
            producer.join().unwrap();
        });
    }
}

/// Three hand round one set event: one is let through at a time. Also where somebody gave up and left its mark.
#[test]
fn auto_reset_lets_one_through() {
    for word in [0, WAITERS] {
        explore(2, move || {
            let shared = Shared::with(true, word);
            let others = [2, 3].map(|tid| {
                start(tid, &shared, |shared| {
                    shared.wait();
                    shared.add();
                    shared.event.set();
                })
            });
            shared.event.set();
            shared.wait();
            shared.add();
            shared.event.set();
            for other in others {
                other.join().unwrap();
            }
            assert_eq!(shared.sum(), 3);
            assert!(shared.event.is_set());
        });
    }
}

/// One has slept and gives up; what it was woken for, if it was, is not lost to the other.
#[test]
fn one_gives_up() {
    explore(2, || {
        let shared = Shared::with(true, 0);
        let other = start(2, &shared, Shared::wait);
        let gives_up = start(3, &shared, |shared| {
            shared.event.sleep(0, Wait::Forever).unwrap();
            if shared.event.wait(Wait::Until(Deadline::now())).is_ok() {
                shared.event.set();
            }
        });
        shared.event.set();
        other.join().unwrap();
        shared.event.set();
        gives_up.join().unwrap();
    });
}

/// A waiter dies at each point, with another beside it; who is let through lets the next one through. The dead one may
/// have used a set up.
#[test]
fn a_waiter_dies_at_every_point() {
    for auto_reset in [false, true] {
        at_every_point(2, move |points| {
            let shared = Shared::with(auto_reset, 0);
            let victim = start(2, &shared, move |shared| {
                mortal(points, &shared.event.word, || {
                    shared.wait();
                    shared.event.set();
                });
            });
            let other = start(3, &shared, |shared| {
                shared.wait();
                shared.event.set();
            });
            shared.event.set();
            victim.join().unwrap();
            shared.end_slices();
            shared.event.set();
            other.join().unwrap();
            assert!(shared.event.is_set());
        });
    }
}

/// A waiter is killed in its sleep, before or after a wake-up reached it: the set is there for the other.
#[test]
fn a_waiter_is_killed_asleep() {
    explore(2, || {
        let shared = Shared::with(true, 0);
        let victim = start(2, &shared, |shared| {
            assert!(!mortal(0, &shared.event.word, || {
                shared.event.sleep(0, Wait::Forever).unwrap();
                die_here();
            }));
        });
        let other = start(3, &shared, Shared::wait);
        shared.event.set();
        kill(2);
        victim.join().unwrap();
        shared.end_slices();
        other.join().unwrap();
        assert!(!shared.event.is_set());
    });
}

/// One that sets dies at each point, with two that wait.
#[test]
fn a_setter_dies_at_every_point() {
    for auto_reset in [false, true] {
        at_every_point(1, move |points| {
            let shared = Shared::with(auto_reset, 0);
            let victim = start(2, &shared, move |shared| {
                mortal(points, &shared.event.word, || shared.event.set());
            });
            let others = [3, 4].map(|tid| {
                start(tid, &shared, move |shared| {
                    shared.wait();
                    // For the other one.
                    shared.event.set();
                })
            });
            victim.join().unwrap();
            shared.end_slices();
            shared.event.set();
            for other in others {
                other.join().unwrap();
            }
            assert!(shared.event.is_set());
        });
    }
}
