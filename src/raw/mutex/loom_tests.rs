//! The lock under the model checker: every order of steps of two or three threads, and deaths at every point.
//!
//! No time passes in the model, so whoever would sleep until the end of a slice shows as a deadlock.

#![expect(unsafe_code, reason = "the checker's cell hands out pointers")]

use loom::{cell::UnsafeCell, sync::Arc};

use super::{Found, OWNER_DIED, RawMutex, Relaxed, TID, Use, WAITERS};
use crate::{
    Error,
    os::clock::Wait,
    raw::sys::{at_every_point, die_here, enter, explore, kill, mortal, start},
};

/// The lock and what it guards: loom fails the model when two threads touch the cell without an order between them.
#[derive(Default)]
struct Shared {
    mutex: RawMutex,
    data: UnsafeCell<[u32; 2]>,
}

impl Shared {
    fn add(&self) {
        self.data.with_mut(|data| {
            // SAFETY: the caller holds the lock; the checker fails the test if that did not exclude the others.
            let [a, b] = unsafe { &mut *data };
            *a += 1;
            *b += 1;
        });
    }

    /// Locks, adds, unlocks; repairs what a dead holder left.
    fn go(&self) -> Found {
        let found = self.mutex.lock(Use::Data, Wait::Forever).unwrap();
        if self.mutex.is_poisoned() {
            assert!(self.mutex.culprit().is_some());
            self.mutex.clear_poison();
        }
        self.add();
        self.mutex.unlock();
        found
    }

    fn sum(&self) -> u32 {
        // SAFETY: all other threads have been joined.
        self.data.with(|data| unsafe { *data })[0]
    }
}

#[test]
fn two_exclude_each_other() {
    explore(4, || {
        enter(1);
        let shared = Arc::new(Shared::default());
        let other = start(2, &shared, |shared| {
            shared.go();
            shared.go();
        });
        shared.go();
        other.join().unwrap();
        assert_eq!(shared.sum(), 3);
    });
}

/// Two sleep while one unlocks and takes the lock again: a barger between an unlock and the woken.
#[test]
fn three_and_a_barger_lose_no_wake_up() {
    explore(3, || {
        enter(1);
        let shared = Arc::new(Shared::default());
        let others = [2, 3].map(|tid| start(tid, &shared, |shared| _ = shared.go()));
        shared.go();
        shared.go();
        for other in others {
            other.join().unwrap();
        }
        assert_eq!(shared.sum(), 4);
    });
}

#[test]
fn a_try_never_waits() {
    explore(4, || {
        enter(1);
        let shared = Arc::new(Shared::default());
        let other = start(2, &shared, |shared| match shared.mutex.lock(Use::Data, Wait::No) {
            Ok(_) => {
                shared.add();
                shared.mutex.unlock();
            }
            Err(error) => assert!(matches!(error, Error::WouldBlock)),
        });
        shared.go();
        other.join().unwrap();
        assert!((1..=2).contains(&shared.sum()));
        assert!(matches!(shared.mutex.lock(Use::Data, Wait::No), Ok(Found::Free)));
        assert!(matches!(shared.mutex.lock(Use::Data, Wait::No), Err(Error::WouldBlock)));
        assert!(matches!(shared.mutex.lock(Use::Data, Wait::Forever), Err(Error::WouldDeadlock)));
    });
}

/// A holder dies with the data half changed; whoever comes next finds the poison, and the data as it was left.
#[test]
fn an_owner_dies_holding() {
    explore(4, || {
        enter(1);
        let shared = Arc::new(Shared::default());
        let victim = start(2, &shared, |shared| {
            let died = !mortal(0, &shared.mutex.word, || {
                shared.mutex.lock(Use::Data, Wait::Forever).unwrap();
                if shared.mutex.is_poisoned() {
                    unreachable!("nobody else dies");
                }
                shared.add();
                // Killed here, with the lock.
                die_here();
            });
            assert!(died);
        });
        let found = shared.mutex.lock(Use::Data, Wait::Forever).unwrap();
        assert_eq!(found == Found::Inherited, shared.mutex.is_poisoned());
        if shared.mutex.is_poisoned() {
            assert_eq!(shared.mutex.culprit(), Some(2));
        }
        shared.add();
        shared.mutex.unlock();
        victim.join().unwrap();
        shared.mutex.lock(Use::Data, Wait::Forever).unwrap();
        // Poison stays until somebody clears it.
        assert!(shared.mutex.is_poisoned());
        assert_eq!(shared.sum(), 2);
        assert_eq!(shared.mutex.word.load(Relaxed) & (TID | OWNER_DIED), 1);
    });
}

/// One dies at each point of lock, change and unlock, with another that wants the lock, or waits for it, at every
/// moment of that.
#[test]
fn a_death_at_every_point_with_one_other() {
    at_every_point(3, |points| {
        enter(1);
        let shared = Arc::new(Shared::default());
        let victim = start(2, &shared, move |shared| {
            mortal(points, &shared.mutex.word, || _ = shared.go());
        });
        shared.go();
        victim.join().unwrap();
        let _ = shared.go();
        assert!((2..=3).contains(&shared.sum()));
    });
}

/// The same with two others, so that a wake-up that the victim took, or owed, is missed by somebody.
#[test]
fn a_death_at_every_point_with_two_others() {
    at_every_point(2, |points| {
        enter(1);
        let shared = Arc::new(Shared::default());
        let victim = start(2, &shared, move |shared| {
            mortal(points, &shared.mutex.word, || _ = shared.go());
        });
        let other = start(3, &shared, |shared| _ = shared.go());
        shared.go();
        victim.join().unwrap();
        other.join().unwrap();
        assert!((2..=3).contains(&shared.sum()));
    });
}

/// A waiter is killed in its sleep, before or after a wake-up reached it; the wake-up must not die with it.
#[test]
fn a_waiter_is_killed_asleep() {
    explore(3, || {
        enter(1);
        let shared = Arc::new(Shared::default());
        shared.mutex.lock(Use::Data, Wait::Forever).unwrap();
        let victim = start(2, &shared, |shared| {
            mortal(0, &shared.mutex.word, || _ = shared.go());
        });
        let other = start(3, &shared, |shared| _ = shared.go());
        shared.add();
        shared.mutex.unlock();
        kill(2);
        shared.go();
        victim.join().unwrap();
        other.join().unwrap();
        assert!((3..=4).contains(&shared.sum()));
    });
}

/// The heir dies while it inherits: the next one finds the same inheritance, and the first victim's name.
#[test]
fn an_heir_dies_too() {
    at_every_point(3, |points| {
        enter(1);
        let shared = Arc::new(Shared::default());
        // The testator, done before the others begin.
        start(4, &shared, |shared| {
            mortal(0, &shared.mutex.word, || {
                shared.mutex.lock(Use::Data, Wait::Forever).unwrap();
                die_here();
            });
        })
        .join()
        .unwrap();
        let heir = start(2, &shared, move |shared| {
            mortal(points, &shared.mutex.word, || {
                shared.mutex.lock(Use::Data, Wait::Forever).unwrap();
                assert!(shared.mutex.is_poisoned());
                shared.mutex.unlock();
            });
        });
        shared.mutex.lock(Use::Data, Wait::Forever).unwrap();
        assert!(shared.mutex.is_poisoned(), "the poison died with the heir");
        assert!(matches!(shared.mutex.culprit(), Some(4 | 2)));
        shared.mutex.unlock();
        heir.join().unwrap();
        shared.go();
    });
}

/// While one looks at what a silent death left, another inherits it, takes the data, and dies with it. The word is then
/// the same again, and the record is not.
#[test]
fn two_deaths_look_alike() {
    explore(4, || {
        enter(1);
        let shared = Arc::new(Shared::default());
        // Two who die between the word and the record; the second inherits, so that the word has all its marks.
        for (tid, points) in [(5, 2), (4, 5)] {
            start(tid, &shared, move |shared| {
                assert!(!mortal(points, &shared.mutex.word, || _ = shared.go()));
            })
            .join()
            .unwrap();
        }
        assert_eq!(shared.mutex.word.load(Relaxed), OWNER_DIED | WAITERS);
        let victim = start(2, &shared, |shared| {
            mortal(0, &shared.mutex.word, || {
                shared.mutex.lock(Use::Data, Wait::Forever).unwrap();
                die_here();
            });
        });
        shared.mutex.lock(Use::Data, Wait::Forever).unwrap();
        let poisoned = shared.mutex.is_poisoned();
        shared.mutex.unlock();
        victim.join().unwrap();
        shared.mutex.lock(Use::Data, Wait::Forever).unwrap();
        assert!(shared.mutex.is_poisoned(), "a death with the data left no poison (the first look: {poisoned})");
    });
}
