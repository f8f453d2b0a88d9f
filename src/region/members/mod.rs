//! The processes that take part in a region, and how the others see that one has died.
//!
//! The protocol and its windows are in the `README.md` beside this file.

#![expect(unsafe_code, reason = "declares the slots a type that may be looked at in foreign bytes")]

use std::{
    sync::atomic::{
        AtomicU32, AtomicU64,
        Ordering::{Acquire, Relaxed, Release},
        fence,
    },
    time::Duration,
};

mod keeper;

use super::{
    header::Header,
    memory::{Memory, Shared},
};
use crate::{
    Error, Result,
    os::{
        clock::Wait,
        futex::{self, MOST_WORDS, Woken},
    },
    raw::{
        lives::{Life, Lives, MemberId},
        mutex::{RawMutex, Use},
        points::point,
        waiting::SLICE,
    },
};
pub(super) use keeper::{Membership, join};

/// How long who sleeps on the lifeline of a process that is dying waits for its end before it looks around again.
const DYING: Duration = Duration::from_millis(1);

/// One member's place. A cache line, so that a death is seen where nothing else is going on.
#[derive(Default)]
#[repr(C)]
pub(super) struct Slot {
    /// Held by a parked thread of the member: the kernel marks it when that thread dies.
    lifeline: RawMutex,
    /// Odd from the moment that a member has entered, even from the moment that it has left.
    generation: AtomicU32,
    /// The process that entered last.
    pid: AtomicU32,
    /// The last generation that died here, and its process. 0: none.
    died: AtomicU32,
    died_pid: AtomicU32,
    /// The last generation that left in good order, and its process in the lower half. 0: none.
    left: AtomicU64,
}

const _: () = assert!(size_of::<Slot>() == 64);

// SAFETY: `repr(C)`, of atomics only.
unsafe impl Shared for Slot {}

/// The bytes of a slot.
pub(super) const SLOT: u32 = size_of::<Slot>() as u32;

/// The slots of a region that was made for one object.
pub(super) const SINGLE: u64 = 256;

/// The slots of a region of `size` bytes for many objects, unless it was made with another number.
pub(super) fn slots_for(size: u64) -> u64 {
    (size / 4096).clamp(16, 1024)
}

impl Slot {
    /// Whether the calling thread holds the slot now.
    fn enter(&self, at: usize) -> Result<Option<MemberId>> {
        match self.lifeline.lock(Use::Data, Wait::No) {
            Ok(_) => {}
            // Held, or its process is not yet gone as a whole.
            Err(Error::WouldBlock) => return Ok(None),
            Err(error) => return Err(error),
        }
        let generation = self.generation.load(Relaxed);
        let has_died = self.lifeline.is_poisoned();
        // Who died here half way through this has recorded the death, or has not yet overwritten `pid`.
        if has_died && generation & 1 == 1 && self.died.load(Relaxed) != generation {
            point();
            self.died_pid.store(self.pid.load(Relaxed), Relaxed);
            point();
            self.died.store(generation, Relaxed);
        }
        point();
        // Release: who finds this one finds the record of the last one too.
        self.pid.store(std::process::id(), Release);
        let entered = generation.wrapping_add(1) | 1;
        point();
        // Release: whoever sees the new member sees what is known of the last one.
        self.generation.store(entered, Release);
        if has_died {
            // Only now: until here the poison has told that the last member died. Whoever misses the poison sees the new
            // generation: pairs with the fence of `life`.
            fence(Release);
            self.lifeline.clear_poison();
        }
        Ok(Some(MemberId::new(at, entered)))
    }

    /// Tells everybody at once that `id` has left; the slot is free after [`vacate`](Self::vacate).
    fn leave(&self, id: MemberId) {
        let generation = self.generation.load(Relaxed);
        if id.is_of(generation) {
            point();
            self.left.store(u64::from(generation) << 32 | u64::from(self.pid.load(Relaxed)), Relaxed);
            point();
            self.generation.store(generation.wrapping_add(1), Release);
            self.lifeline.wake_all();
        }
    }

    /// Frees the slot. For the thread that has entered.
    fn vacate(&self) {
        self.lifeline.unlock();
        // Who went to sleep on the word after `leave` had woken the others.
        self.lifeline.wake_all();
    }

    /// What to sleep on to be woken when the member `id` dies or leaves. `None` when it has.
    fn watch(&self, id: MemberId) -> Option<(&AtomicU32, u32)> {
        let lifeline = self.lifeline.watch()?;
        // Read after the word, which so is this member's.
        id.is_of(self.generation.load(Acquire)).then_some(lifeline)
    }

    fn life(&self, id: MemberId) -> Life {
        loop {
            // Acquire: pairs with the Release of `enter`.
            let generation = self.generation.load(Acquire);
            let life = match id.age(generation) {
                0 if self.lifeline.is_held_alive() => Life::Lives,
                0 => Life::Died,
                _ if id.is_of(self.died.load(Relaxed)) => Life::Died,
                _ => Life::Left,
            };
            // What was read in between was of this generation if it still is the one.
            fence(Acquire);
            if self.generation.load(Relaxed) == generation {
                return life;
            }
        }
    }
}

/// The members besides one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Others {
    /// One that is not gone.
    pub(crate) present: Option<MemberId>,
    /// Grows whenever one comes or goes; 0 if there has never been one.
    pub(crate) ever: u64,
}

/// The table of a region's members.
#[derive(Clone, Copy)]
pub(crate) struct Members<'a>(&'a [Slot]);

impl<'a> Members<'a> {
    /// The table that the header tells of, checked.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] when there is none, or none that can be one.
    pub(super) fn of(memory: Memory<'a>) -> Result<Self> {
        let (at, count) = Header::of(memory)?.members();
        if at == 0 || count == 0 || count > MemberId::MOST {
            return Err(Error::corrupt(format!("a table of {count} members at {at}")));
        }
        memory.slice::<Slot>(at, count).map(Self)
    }

    pub(super) fn is_in(memory: Memory<'_>) -> bool {
        Header::of(memory).is_ok_and(|header| header.members().0 != 0)
    }

    /// Makes the calling thread the lifeline of a new member.
    fn enter(self) -> Result<MemberId> {
        // Processes that start one after the other do not all try the same slots, and a slot is not used again at once.
        let start = std::process::id() as usize % self.0.len();
        let (before, after) = self.0.split_at(start);
        for (at, slot) in (start..).zip(after).chain((0..).zip(before)) {
            if let Some(id) = slot.enter(at)? {
                return Ok(id);
            }
        }
        Err(Error::TooManyMembers { limit: self.0.len() })
    }

    /// Who is a member besides `me`.
    pub(crate) fn others(self, me: MemberId) -> Others {
        let mut others = Others { present: None, ever: 0 };
        for (at, slot) in self.0.iter().enumerate().filter(|(at, _)| *at != me.slot()) {
            let generation = slot.generation.load(Acquire);
            let id = MemberId::new(at, generation);
            if generation & 1 == 1 && !self.is_gone(id, Wait::No) {
                others.present = Some(id);
            }
            others.ever += u64::from(generation);
        }
        others
    }

    fn slot(self, id: MemberId) -> Option<&'a Slot> {
        self.0.get(id.slot())
    }

    /// Makes what the process `stamp` was before it called `exec` one that is gone: see [`RawMutex::bury`].
    pub(super) fn bury(self, stamp: u64) {
        for slot in self.0 {
            slot.lifeline.bury(stamp);
        }
    }

    /// Makes every member one that has died: for whoever knows that none lives, and keeps others out.
    pub(super) fn reset(self) {
        for slot in self.0 {
            slot.lifeline.reset(Use::Data);
        }
    }
}

impl Lives for Members<'_> {
    fn life(&self, id: MemberId) -> Life {
        self.slot(id).map_or(Life::Left, |slot| slot.life(id))
    }

    fn is_gone(&self, id: MemberId, wait: Wait) -> bool {
        // A slot is given to another only when all of the last one's process is gone.
        self.slot(id).is_none_or(|slot| match slot.life(id) {
            Life::Lives => false,
            Life::Left => true,
            Life::Died => !id.is_of(slot.generation.load(Acquire)) || slot.lifeline.testator_is_gone(wait),
        })
    }

    fn pid(&self, id: MemberId) -> Option<u32> {
        let slot = self.slot(id)?;
        // Acquire: whoever is seen to have the slot now has put the last one on record before.
        let pid = slot.pid.load(Acquire);
        let left = slot.left.load(Relaxed);
        let pid = if id.is_of(slot.died.load(Relaxed)) {
            slot.died_pid.load(Relaxed)
        } else if id.is_of((left >> 32) as u32) {
            left as u32
        } else if id.is_of(slot.generation.load(Relaxed)) {
            pid
        } else {
            0
        };
        (pid != 0).then_some(pid)
    }

    fn sleep(&self, word: &AtomicU32, expected: u32, watched: &[MemberId], wait: Wait) -> Woken {
        let mut words = Vec::with_capacity(1 + watched.len().min(MOST_WORDS));
        words.push((word, expected));
        for id in watched.iter().take(MOST_WORDS - 1) {
            match self.slot(*id).and_then(|slot| slot.watch(*id)) {
                Some(lifeline) => words.push(lifeline),
                None => {
                    // Who cannot go on before all of its process has ended is not to look all the time.
                    self.is_gone(*id, Wait::Until(wait.slice(DYING)));
                    return Woken::Changed;
                }
            }
        }
        let woken = futex::wait_any(&words, wait.slice(SLICE));
        for id in watched.iter().take(MOST_WORDS - 1) {
            let Some(slot) = self.slot(*id) else { continue };
            if woken == Woken::TimedOut {
                slot.lifeline.mark_if_no_thread();
            }
            if slot.life(*id) != Life::Lives {
                // The kernel wakes one sleeper for a death.
                slot.lifeline.wake_all();
            }
        }
        woken
    }
}

#[cfg(test)]
mod tests {
    use std::{thread, time::Duration};

    use super::*;
    use crate::os::clock::Deadline;

    fn table(count: usize) -> Vec<Slot> {
        std::iter::repeat_with(Slot::default).take(count).collect()
    }

    #[test]
    fn a_member_lives_until_it_leaves_and_its_slot_is_used_again() {
        let slots = table(1);
        let members = Members(&slots);
        let id = members.enter().unwrap();
        assert_eq!((members.life(id), members.pid(id)), (Life::Lives, Some(std::process::id())));
        assert!(!members.is_gone(id, Wait::No));
        thread::scope(|scope| {
            scope.spawn(|| {
                let error = members.enter().unwrap_err();
                assert!(matches!(error, Error::TooManyMembers { limit: 1 }), "{error}");
            });
        });
        slots[0].leave(id);
        assert_eq!((members.life(id), members.pid(id)), (Life::Left, Some(std::process::id())));
        assert!(members.is_gone(id, Wait::No));
        thread::scope(|scope| {
            scope.spawn(|| assert!(members.enter().is_err(), "the slot is free after vacate"));
        });
        slots[0].vacate();
        let next = members.enter().unwrap();
        assert_eq!((members.life(id), members.life(next)), (Life::Left, Life::Lives));
        slots[0].leave(next);
        slots[0].vacate();
    }

    #[test]
    fn the_end_of_the_thread_that_keeps_a_lifeline_is_a_death() {
        let slots = table(1);
        let members = Members(&slots);
        let id = thread::scope(|scope| scope.spawn(|| members.enter().unwrap()).join().unwrap());
        assert_eq!(members.life(id), Life::Died);
        // Its process, this one, can still do what it likes.
        assert!(!members.is_gone(id, Wait::No));
        assert!(members.enter().is_err());
        // As after a restart of the machine.
        members.reset();
        assert!(members.is_gone(id, Wait::No));
        let next = members.enter().unwrap();
        assert_eq!((members.life(id), members.pid(id)), (Life::Died, Some(std::process::id())));
        assert_eq!(members.life(next), Life::Lives);
        slots[0].leave(next);
        slots[0].vacate();
    }

    #[test]
    fn an_end_wakes_every_sleeper() {
        for without_waitv in [false, true] {
            futex::without_waitv(without_waitv);
            let slots = table(1);
            let members = Members(&slots);
            let word = AtomicU32::new(0);
            let limit = Wait::Until(Deadline::now().after(Duration::from_secs(20)).unwrap());
            thread::scope(|scope| {
                let keeper = scope.spawn(|| {
                    let id = members.enter().unwrap();
                    word.store(id.to_bits(), Relaxed);
                    while word.load(Relaxed) != 0 {
                        thread::yield_now();
                    }
                });
                while word.load(Relaxed) == 0 {
                    thread::yield_now();
                }
                let id = MemberId::from_bits(word.load(Relaxed)).unwrap();
                for _ in 0..3 {
                    scope.spawn(move || {
                        let other = AtomicU32::new(7);
                        while members.life(id) == Life::Lives {
                            assert!(!limit.is_over(), "nobody told the sleeper");
                            members.sleep(&other, 7, &[id], limit);
                        }
                    });
                }
                word.store(0, Relaxed);
                keeper.join().unwrap();
            });
        }
        futex::without_waitv(false);
    }

    #[test]
    fn ids_from_anywhere_are_of_nobody() {
        let slots = table(2);
        let members = Members(&slots);
        for bits in [1, u32::MAX, 0x1001, 0xfff] {
            let id = MemberId::from_bits(bits).unwrap();
            assert_ne!(members.life(id), Life::Lives, "{bits:#x}");
            assert!(members.is_gone(id, Wait::No), "{bits:#x}");
            assert_eq!(members.pid(id), None, "{bits:#x}");
        }
    }
}
