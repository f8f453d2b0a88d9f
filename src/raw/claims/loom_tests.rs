//! Claims under the model checker: exclusion of what overlaps, and claimants that die at every point.
//!
//! No time passes in the model, so a wake-up that is lost shows as a deadlock.

#![expect(unsafe_code, reason = "the checker's cell hands out pointers")]

use std::ops::Range;

use loom::{
    cell::UnsafeCell,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

use super::{ClaimSlot, ClaimWords, Claims, Length, Mode, PoisonList, Use};
use crate::{
    Error, Result,
    os::clock::Wait,
    raw::points::point,
    raw::sys::{at_every_point, die_here, enter, explore, mortal_with, start},
};

/// An array of two elements, with room for two claims.
#[derive(Default)]
struct Shared {
    words: ClaimWords,
    poison: PoisonList,
    slots: [ClaimSlot; 2],
    elements: [UnsafeCell<u32>; 2],
    /// How many elements are yet to come: it grows to both.
    missing: AtomicU32,
}

impl Length for AtomicU32 {
    fn now(&self) -> u64 {
        2 - u64::from(self.load(Relaxed))
    }
}

impl Shared {
    fn claims(&self) -> Claims<'_, AtomicU32> {
        Claims { words: &self.words, poison: &self.poison, slots: &self.slots, len: &self.missing }
    }

    /// Appends the second element.
    fn grow(&self) {
        self.words.mutex.lock(Use::Table, Wait::Forever).unwrap();
        self.missing.store(0, Relaxed);
        self.words.mutex.unlock();
    }

    fn words(&self) -> [&AtomicU32; 3] {
        [self.words.mutex.word(), self.slots[0].mutex.word(), self.slots[1].mutex.word()]
    }

    fn look(&self, range: Range<u64>) -> u32 {
        // SAFETY: the caller reads; the checker fails the test if somebody writes.
        self.elements[range.start as usize..range.end as usize].iter().map(|one| one.with(|one| unsafe { *one })).sum()
    }

    /// Adds 1 twice: who finds an odd number finds what somebody left half changed.
    fn add(&self, range: Range<u64>) {
        for _ in 0..2 {
            for element in &self.elements[range.start as usize..range.end as usize] {
                // SAFETY: the caller writes; the checker fails the test if that did not exclude the others.
                element.with_mut(|element| unsafe { *element += 1 });
            }
            point();
        }
    }

    /// Makes odd numbers even.
    fn mend(&self, range: Range<u64>) {
        for element in &self.elements[range.start as usize..range.end as usize] {
            // SAFETY: as in `add`.
            element.with_mut(|element| unsafe { *element += *element % 2 });
        }
    }

    /// As the array does it: the common case, else the careful one.
    fn claim(&self, range: &Range<u64>, mode: Mode, wait: Wait) -> Result<&ClaimSlot> {
        match self.claims().claim_uncontended(range, mode) {
            Some(slot) => Ok(slot),
            None => self.claims().claim(range, mode, false, wait),
        }
    }

    fn change(&self, range: Range<u64>) -> Result<()> {
        let slot = self.claim(&range, Mode::Change, Wait::Forever)?;
        assert!(range.clone().all(|at| self.look(at..at + 1) % 2 == 0), "half changed, and nobody said so");
        self.add(range);
        slot.mutex.unlock();
        Ok(())
    }

    fn read(&self, range: Range<u64>) -> Result<u32> {
        let slot = self.claim(&range, Mode::Read, Wait::Forever)?;
        let seen = self.look(range);
        assert_eq!(seen % 2, 0, "half changed, and nobody said so");
        slot.mutex.unlock();
        Ok(seen)
    }

    /// Takes the whole array.
    fn change_all(&self) -> Result<()> {
        self.words.mutex.lock(Use::Data, Wait::Forever)?;
        if self.words.is_busy() {
            self.claims().exclude_all(Wait::Forever)?;
        }
        let poison = self.claims().poison_in(&(0..2));
        if poison.is_none() {
            assert!((0..2).all(|at| self.look(at..at + 1) % 2 == 0), "half changed, and nobody said so");
            self.add(0..2);
        }
        self.words.mutex.unlock();
        poison.map_or(Ok(()), |poison| Err(poison.into()))
    }

    /// Claims, poisoned or not, and declares it whole.
    fn repair(&self, range: Range<u64>) {
        let slot = self.claims().claim(&range, Mode::Change, true, Wait::Forever).unwrap();
        self.mend(range.clone());
        self.claims().clear_poison(&range).unwrap();
        slot.mutex.unlock();
    }
}

#[test]
fn two_who_change_exclude_each_other() {
    explore(3, || {
        enter(1);
        let shared = Arc::new(Shared::default());
        let other = start(2, &shared, |shared| shared.change(0..2).unwrap());
        shared.change(1..2).unwrap();
        other.join().unwrap();
        assert_eq!(shared.look(0..2), 6);
    });
}

#[test]
fn neighbours_do_not_wait() {
    explore(3, || {
        enter(1);
        let shared = Arc::new(Shared::default());
        let mine = shared.claim(&(0..1), Mode::Change, Wait::Forever).unwrap();
        let other = start(2, &shared, |shared| {
            shared.change(1..2).unwrap();
            assert!(matches!(shared.claim(&(0..2), Mode::Read, Wait::No), Err(Error::WouldBlock)));
        });
        shared.add(0..1);
        // Before this claim ends.
        other.join().unwrap();
        mine.mutex.unlock();
        assert_eq!(shared.look(0..2), 4);
    });
}

#[test]
fn readers_share_and_exclude_who_changes() {
    explore(2, || {
        enter(1);
        let shared = Arc::new(Shared::default());
        let reader = start(2, &shared, |shared| assert!(shared.read(0..2).unwrap() <= 2));
        let mine = shared.claim(&(0..1), Mode::Read, Wait::Forever).unwrap();
        shared.look(0..1);
        mine.mutex.unlock();
        shared.change(0..1).unwrap();
        reader.join().unwrap();
    });
}

#[test]
fn the_whole_array_excludes_its_parts() {
    explore(3, || {
        enter(1);
        let shared = Arc::new(Shared::default());
        let other = start(2, &shared, |shared| {
            shared.change(1..2).unwrap();
            shared.change(1..2).unwrap();
        });
        shared.change_all().unwrap();
        other.join().unwrap();
        assert_eq!(shared.look(0..2), 8);
    });
}

/// A slot is looked at, waited for and used again by three.
#[test]
fn three_claim_one_element() {
    explore(1, || {
        enter(1);
        let shared = Arc::new(Shared::default());
        let others = [2, 3].map(|tid| start(tid, &shared, |shared| shared.change(0..1).unwrap()));
        shared.change(0..1).unwrap();
        for other in others {
            other.join().unwrap();
        }
        assert_eq!(shared.look(0..1), 6);
    });
}

/// One waits for a claim of both elements to end, to have one of them: the other one is nobody's from then on, also while
/// the one who has waited has the slot.
#[test]
fn who_has_waited_is_in_the_way_of_its_own_part_alone() {
    explore(3, || {
        enter(1);
        let shared = Arc::new(Shared::default());
        let both = shared.claim(&(0..2), Mode::Change, Wait::Forever).unwrap();
        let other = start(2, &shared, |shared| shared.change(1..2).unwrap());
        shared.add(0..2);
        both.mutex.unlock();
        // As a claim does that does not wait, but for the clock.
        shared.claims().lock_table(Wait::Forever).unwrap();
        let Ok(Ok(mine)) = shared.claims().attempt(&(0..1), Mode::Change, false) else { panic!("nobody has it") };
        shared.words.mutex.unlock();
        shared.add(0..1);
        mine.mutex.unlock();
        other.join().unwrap();
        assert_eq!(shared.look(0..2), 8);
    });
}

/// Whoever wants the same element finds it whole, or is told of the death; the neighbour never is.
#[test]
fn a_claimant_dies_at_every_point() {
    at_every_point(2, |points| {
        enter(1);
        let shared = Arc::new(Shared::default());
        let victim = start(2, &shared, move |shared| {
            mortal_with(points, &shared.words(), || shared.change(0..1).unwrap());
        });
        match shared.read(0..2) {
            Ok(seen) => assert!(seen <= 2),
            Err(Error::Poisoned { pid, range }) => assert_eq!((pid, range), (Some(2), Some(0..1))),
            Err(error) => panic!("{error}"),
        }
        victim.join().unwrap();
        shared.change(1..2).unwrap();
        shared.repair(0..1);
        shared.change_all().unwrap();
    });
}

/// One who waits for a claim, or has just waited, dies: the next one gets it.
#[test]
fn one_who_waits_dies_at_every_point() {
    at_every_point(2, |points| {
        enter(1);
        let shared = Arc::new(Shared::default());
        let mine = shared.claim(&(0..1), Mode::Change, Wait::Forever).unwrap();
        let victim = start(2, &shared, move |shared| {
            mortal_with(points, &shared.words(), || shared.change(0..2).unwrap());
        });
        shared.add(0..1);
        mine.mutex.unlock();
        shared.repair(0..1);
        victim.join().unwrap();
        shared.repair(0..2);
        shared.change_all().unwrap();
    });
}

/// Who would have the whole array dies waiting for its parts: they are claimed on, and nothing is poisoned in vain.
#[test]
fn who_takes_all_dies_at_every_point() {
    at_every_point(2, |points| {
        enter(1);
        let shared = Arc::new(Shared::default());
        let mine = shared.claim(&(0..1), Mode::Change, Wait::Forever).unwrap();
        let victim = start(2, &shared, move |shared| {
            mortal_with(points, &shared.words(), || shared.change_all().unwrap());
        });
        shared.add(0..1);
        mine.mutex.unlock();
        match shared.change(1..2) {
            Ok(()) => {}
            Err(Error::Poisoned { pid, range }) => assert_eq!((pid, range), (Some(2), None)),
            Err(error) => panic!("{error}"),
        }
        victim.join().unwrap();
        shared.repair(0..2);
        shared.change_all().unwrap();
    });
}

/// Who repairs dies at every point: what it had not declared whole is poisoned still.
#[test]
fn who_repairs_dies_at_every_point() {
    at_every_point(2, |points| {
        enter(1);
        let shared = Arc::new(Shared::default());
        shared.claims().add_poison(0..2, 7 << 2);
        let victim = start(2, &shared, move |shared| {
            mortal_with(points, &shared.words(), || shared.repair(0..1));
        });
        assert!(matches!(shared.read(1..2), Err(Error::Poisoned { .. })), "nobody has repaired it");
        victim.join().unwrap();
        shared.repair(0..2);
        shared.change_all().unwrap();
    });
}

/// Who finds what a dead one left dies too: no poison is lost.
#[test]
fn who_tidies_dies_at_every_point() {
    at_every_point(2, |points| {
        enter(1);
        let shared = Arc::new(Shared::default());
        let first = start(3, &shared, |shared| {
            mortal_with(0, &shared.words(), || {
                shared.claim(&(0..1), Mode::Change, Wait::Forever).unwrap();
                die_here();
            });
        });
        first.join().unwrap();
        let victim = start(2, &shared, move |shared| {
            mortal_with(points, &shared.words(), || _ = shared.read(0..2));
        });
        assert!(shared.change(1..2).is_ok());
        victim.join().unwrap();
        let Err(Error::Poisoned { pid, range }) = shared.read(0..2) else { panic!("the poison is lost") };
        assert_eq!((pid, range), (Some(3), Some(0..1)));
        shared.repair(0..1);
        shared.change_all().unwrap();
    });
}

/// One dies changing what was appended while others waited for the first element: nobody loses its poison.
#[test]
fn who_has_appended_dies() {
    explore(2, || {
        enter(1);
        let shared = Arc::new(Shared::default());
        shared.missing.store(1, Relaxed);
        let mine = shared.claim(&(0..1), Mode::Change, Wait::Forever).unwrap();
        let waiter = start(2, &shared, |shared| shared.change(0..1).unwrap());
        let victim = start(3, &shared, |shared| {
            mortal_with(0, &shared.words(), || {
                shared.grow();
                shared.claim(&(1..2), Mode::Change, Wait::Forever).unwrap();
                die_here();
            });
        });
        victim.join().unwrap();
        mine.mutex.unlock();
        waiter.join().unwrap();
        let Err(Error::Poisoned { pid, range }) = shared.read(0..2) else { panic!("the poison is lost") };
        assert_eq!((pid, range), (Some(3), Some(1..2)));
    });
}
