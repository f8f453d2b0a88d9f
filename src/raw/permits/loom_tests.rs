//! Permits under the model checker: exclusion, wake-ups, and owners that die at every point.
//!
//! No time passes in the model, so a wake-up that is lost shows as a deadlock.

#![expect(unsafe_code, reason = "the checker's cell hands out pointers")]

use loom::{cell::UnsafeCell, sync::Arc};

use super::{Gate, Permits, owned_by};
use crate::{
    Error,
    os::clock::Wait,
    raw::{
        lives::model::Members,
        sys::{AtomicU32, AtomicU64, at_every_point, enter, explore, mortal, start},
    },
};

#[derive(Default)]
struct Shared {
    gate: Gate,
    records: [AtomicU64; 1],
    members: Members,
    /// What whoever has the permit may touch.
    data: UnsafeCell<u32>,
    /// Of no lock: nobody holds one here.
    none: AtomicU32,
}

impl Shared {
    fn permits(&self) -> Permits<'_> {
        Permits { gate: &self.gate, records: &self.records }
    }

    fn go(&self, slot: usize) {
        let me = Members::id(slot);
        let at = self.permits().acquire(me, || Ok(&self.members), Wait::Forever).unwrap();
        self.data.with_mut(|data| {
            // SAFETY: the only permit is this thread's; the checker fails the test if that did not exclude the others.
            unsafe { *data += 1 };
        });
        assert!(self.permits().release(me, at));
    }
}

#[test]
fn one_permit_excludes_and_wakes() {
    explore(4, || {
        enter(1);
        let shared = Arc::new(Shared::default());
        let other = start(2, &shared, |shared| shared.go(1));
        shared.go(0);
        shared.go(0);
        other.join().unwrap();
    });
}

#[test]
fn three_lose_no_wake_up() {
    explore(2, || {
        enter(1);
        let shared = Arc::new(Shared::default());
        let others = [1, 2].map(|slot| start(slot as u32 + 1, &shared, move |shared| shared.go(slot)));
        shared.go(0);
        for other in others {
            other.join().unwrap();
        }
    });
}

/// The other one waits for the owner, or takes the permit over, at every moment of its death.
#[test]
fn an_owner_dies_at_every_point() {
    at_every_point(3, |points| {
        enter(1);
        let shared = Arc::new(Shared::default());
        let victim = start(2, &shared, move |shared| {
            if !mortal(points, &shared.none, || shared.go(1)) {
                shared.members.die(1, &shared.gate.word);
            }
        });
        shared.go(0);
        victim.join().unwrap();
        shared.go(0);
    });
}

/// Two give back what one has detached: one of them does.
#[test]
fn no_more_is_given_back_than_was_taken() {
    explore(4, || {
        enter(1);
        let shared = Arc::new(Shared::default());
        let me = Members::id(0);
        let at = shared.permits().acquire(me, || Ok(&shared.members), Wait::No).unwrap();
        assert!(shared.permits().detach(me, at));
        assert!(!shared.permits().release(me, at), "it has no guard");
        let (sender, receiver) = std::sync::mpsc::channel();
        let other = start(2, &shared, move |shared| {
            let released = shared.permits().release_detached(Members::id(1), &&shared.members);
            sender.send(released).unwrap();
        });
        let here = shared.permits().release_detached(me, &&shared.members);
        other.join().unwrap();
        assert!(here != receiver.recv().unwrap());
        let full = shared.permits().acquire(me, || Ok(&shared.members), Wait::No);
        assert_eq!(full.unwrap(), 0);
        let none = shared.permits().acquire(Members::id(1), || Ok(&shared.members), Wait::No);
        assert!(matches!(none, Err(Error::WouldBlock)));
        assert_ne!(owned_by(me), 0);
    });
}
