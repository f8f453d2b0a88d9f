//! The barrier under the model checker: passages, breaks, resets, and parties that die at every point.
//!
//! No time passes in the model, so a party that nobody wakes shows as a deadlock.

#![expect(unsafe_code, reason = "the checker's cell hands out pointers")]

use loom::{cell::UnsafeCell, sync::Arc};

use super::{Barrier, BarrierWords};
use crate::{
    Error, Result,
    os::clock::Wait,
    raw::{
        lives::model::Members,
        sys::{AtomicU32, AtomicU64, at_every_point, enter, explore, mortal, start},
    },
};

#[derive(Default)]
struct Shared {
    words: BarrierWords,
    parties: [[AtomicU64; 2]; 2],
    members: Members,
    /// Each party writes its own before it arrives, and reads the other's when it has passed.
    data: [UnsafeCell<u32>; 2],
    /// Of no lock: nobody holds one here.
    none: AtomicU32,
}

impl Shared {
    fn barrier(&self) -> Barrier<'_> {
        Barrier { words: &self.words, parties: &self.parties }
    }

    fn wait(&self, slot: usize) -> Result<usize> {
        let action = None::<fn() -> Result<()>>;
        self.barrier().wait(Members::id(slot), || Ok(&self.members), Wait::Forever, action)
    }

    /// One step of a computation in two halves.
    fn step(&self, slot: usize) -> Result<usize> {
        self.data[slot].with_mut(|data| {
            // SAFETY: before the barrier this is the party's own; the checker fails the test if it is not.
            unsafe { *data += 1 };
        });
        let index = self.wait(slot)?;
        self.data[1 - slot].with(|data| {
            // SAFETY: between the barriers nobody writes.
            assert_ne!(unsafe { *data }, 0);
        });
        Ok(index)
    }
}

#[test]
fn two_pass_together_twice() {
    explore(3, || {
        enter(1);
        let shared = Arc::new(Shared::default());
        let other = start(2, &shared, |shared| {
            let first = shared.step(1).unwrap();
            (first, shared.wait(1).unwrap())
        });
        let here = (shared.step(0).unwrap(), shared.wait(0).unwrap());
        let there = other.join().unwrap();
        assert_eq!((here.0 + there.0, here.1 + there.1), (1, 1), "one leader a round");
    });
}

/// The action runs once, with both there and before either has passed.
#[test]
fn an_action_runs_before_anybody_passes() {
    explore(3, || {
        enter(1);
        let shared = Arc::new(Shared::default());
        let go = |shared: &Shared, slot| {
            let action = || {
                shared.data[0].with_mut(|data| {
                    // SAFETY: of all parties one runs this, while the others wait; the checker fails the test else.
                    unsafe { *data += 1 };
                });
                Ok(())
            };
            let index = shared.barrier().wait(Members::id(slot), || Ok(&shared.members), Wait::Forever, Some(action));
            shared.data[0].with(|data| {
                // SAFETY: all have passed, and nobody writes any more.
                assert_eq!(unsafe { *data }, 1);
            });
            index.unwrap()
        };
        let other = start(2, &shared, move |shared| go(shared, 1));
        let here = go(&shared, 0);
        assert_eq!(here + other.join().unwrap(), 1);
    });
}

#[test]
fn an_abort_ends_every_wait() {
    explore(3, || {
        enter(1);
        let shared = Arc::new(Shared::default());
        let other = start(2, &shared, |shared| shared.wait(1));
        shared.barrier().abort();
        assert!(matches!(other.join().unwrap(), Err(Error::BarrierBroken { .. })));
        assert!(matches!(shared.wait(0), Err(Error::BarrierBroken { pid: None })));
    });
}

/// Both parties wait while a third thread resets: either both pass, or each that was in before the reset is told, and
/// one that came after it waits for the next; nobody takes a reset for a passage.
#[test]
fn a_reset_is_no_passage() {
    explore(3, || {
        enter(1);
        let shared = Arc::new(Shared::default());
        let other = start(2, &shared, |shared| shared.wait(1));
        shared.barrier().reset(&&shared.members);
        // The other one came before the reset, and has been told, or comes after it, and passes with this one.
        if shared.barrier().waiting() == 1 {
            assert_eq!(shared.wait(0).unwrap(), 0);
            assert_eq!(other.join().unwrap().unwrap(), 1);
        } else {
            shared.barrier().abort();
            assert!(matches!(other.join().unwrap(), Err(Error::BarrierBroken { .. })));
        }
    });
}

/// One that resets dies at each point, and the next one resets again: who waited is told, and all pass after that.
#[test]
fn one_that_resets_dies_at_every_point() {
    at_every_point(2, |points| {
        enter(1);
        let shared = Arc::new(Shared::default());
        let waiter = start(2, &shared, |shared| {
            // By none, one or both of the two.
            let told = std::iter::repeat_with(|| shared.wait(1)).take_while(|said| match said {
                Ok(_) => false,
                Err(error) => matches!(error, Error::BarrierBroken { pid: None }) || panic!("{error}"),
            });
            assert!(told.count() <= 2);
        });
        let victim = start(3, &shared, move |shared| {
            mortal(points, &shared.none, || shared.barrier().reset(&&shared.members));
        });
        victim.join().unwrap();
        shared.barrier().reset(&&shared.members);
        assert!(!shared.barrier().is_broken());
        shared.wait(0).unwrap();
        waiter.join().unwrap();
    });
}

/// One dies at each point of its wait; the other one passes with it or is told who died.
#[test]
fn a_party_dies_at_every_point() {
    at_every_point(3, |points| {
        enter(1);
        let shared = Arc::new(Shared::default());
        for slot in 0..2 {
            let at = shared.barrier().reserve(4).unwrap();
            shared.barrier().attend(Members::id(slot), at);
        }
        let victim = start(2, &shared, move |shared| {
            let survived = mortal(points, &shared.none, || _ = shared.wait(1));
            if !survived {
                shared.members.die(1, &shared.words.state);
            }
        });
        match shared.wait(0) {
            Ok(_) => {}
            Err(Error::BarrierBroken { pid }) => assert_eq!(pid, Some(2)),
            Err(error) => panic!("{error}"),
        }
        victim.join().unwrap();
    });
}
