//! Claims on parts of an array: ranges that one may change, or several may read, at a time.
//!
//! A claim is a robust lock of its own, in a slot of a table, with the range beside it. So the kernel marks it when its
//! thread dies, the next one confirms that the whole process is gone before it goes on, and nobody needs to ask who lives.
//!
//! # The array's own lock
//!
//! Whoever holds it for the data has the whole array, and so nobody can claim meanwhile. Claimants hold it too, for the
//! moment in which they look at the table and enter their claim. `busy` tells the holder of the whole array whether
//! there may be claims: it is the number of slots that were ever used since nobody used any, and `POISON`.
//!
//! | step of a claim | dead after it |
//! | --- | --- |
//! | the array's lock is taken | it is free again; nothing has changed |
//! | `busy` covers the slot | one more slot is looked at |
//! | range and mode stand in a free slot | the slot is free |
//! | the slot's lock is taken | it is marked; a claim to change poisons the range, though it was not touched yet |
//! | the array's lock is released | the same |
//!
//! A claim ends with the release of its slot's lock, and nothing else. Who finds slots unused at the end lowers `busy`.
//!
//! # Waiting
//!
//! Who meets a claim that excludes its own releases the array's lock and waits for the lock of that slot, as for any
//! lock. When it has that it releases it, and looks again. For that moment the slot looks like a claim of its old range:
//! others wait for it in turn, and nothing is lost if it dies. Nobody who holds the array's lock waits for a slot, so
//! there is no circle.
//!
//! # Poison
//!
//! A slot whose claimant died changing things is poisoned and keeps its range until somebody who holds the array's lock
//! moves it to the list of poisoned ranges, which touching ones share. When the list is full the whole array is poisoned.
//! The slot is cleared after the list is complete, so a death on the way does it again.

#[cfg(not(loom))]
use std::sync::atomic::Ordering::Relaxed;
use std::ops::Range;

#[cfg(loom)]
use loom::sync::atomic::Ordering::Relaxed;

use super::{
    mutex::{RawMutex, Use},
    points::point,
    sys::{AtomicU32, AtomicU64, Stamp},
};
use crate::{Error, Poison, Result, os::clock::Wait};

/// The words at the start of an array. Zeroed memory is one without claims.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct ClaimWords {
    pub(crate) mutex: RawMutex,
    busy: AtomicU32,
    spare: AtomicU32,
    /// Where the table of claims begins in the region; 0 as long as nobody has claimed.
    pub(crate) table: AtomicU64,
}

/// Set in `busy` while there are poisoned ranges.
const POISON: u32 = 1 << 31;

/// Poisoned ranges that are told apart.
#[cfg(not(loom))]
const RANGES: usize = 8;
#[cfg(loom)]
const RANGES: usize = 1;

/// A part of the array that a dead claimant may have left half changed; empty if it is none.
#[derive(Debug, Default)]
#[repr(C)]
struct PoisonedRange {
    start: AtomicU64,
    end: AtomicU64,
    /// The stamp of who died.
    culprit: AtomicU64,
}

/// The head of a table of claims.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub(crate) struct PoisonList([PoisonedRange; RANGES]);

/// One claim. A cache line, so that claimants of different ranges do not disturb each other.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct ClaimSlot {
    pub(crate) mutex: RawMutex,
    start: AtomicU64,
    end: AtomicU64,
    mode: AtomicU32,
    spare: AtomicU32,
}

#[cfg(not(loom))]
const _: () = {
    assert!(size_of::<ClaimWords>() == 56);
    assert!(size_of::<ClaimSlot>() == 64 && size_of::<PoisonList>() == 192 + 0);
};

/// What a claim is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Mode {
    /// Several may, together.
    Read = 1,
    /// One alone.
    Change = 2,
}

impl Mode {
    fn purpose(self) -> Use {
        match self {
            // A reader's death leaves everything as it was.
            Self::Read => Use::Table,
            Self::Change => Use::Data,
        }
    }
}

/// The claims on one array.
#[derive(Clone, Copy)]
pub(crate) struct Claims<'a> {
    pub(crate) words: &'a ClaimWords,
    pub(crate) poison: &'a PoisonList,
    pub(crate) slots: &'a [ClaimSlot],
}

/// What stands in the way of a claim.
enum Obstacle {
    /// The claim in this slot.
    Claim(usize),
    /// A claim of the calling thread.
    Own,
}

fn overlap(one: &Range<u64>, other: &Range<u64>) -> bool {
    one.start < other.end && other.start < one.end
}

impl ClaimWords {
    /// Whether there may be claims or poisoned ranges. For the holder of the array's lock.
    #[inline]
    pub(crate) fn is_busy(&self) -> bool {
        // Relaxed: changed under the lock alone.
        self.busy.load(Relaxed) != 0
    }
}

impl Claims<'_> {
    /// Claims `wanted`, which is not empty; returns the slot. With `poisoned`, parts that a dead claimant left too.
    ///
    /// # Errors
    ///
    /// `Poisoned`, `TooManyClaims`, `TooManyLocks`, `WouldBlock`, `TimedOut`, and `WouldDeadlock` when this thread has
    /// the array or a claim that excludes this one.
    pub(crate) fn claim(&self, wanted: &Range<u64>, mode: Mode, poisoned: bool, wait: Wait) -> Result<usize> {
        loop {
            self.words.mutex.lock(Use::Table, wait)?;
            let entered = self.enter(wanted, mode, poisoned);
            self.words.mutex.unlock();
            match entered? {
                Ok(at) => return Ok(at),
                Err(Obstacle::Own) if wait == Wait::No => return Err(Error::WouldBlock),
                Err(Obstacle::Own) => return Err(Error::WouldDeadlock),
                Err(Obstacle::Claim(at)) => self.wait_for(at, wait)?,
            }
        }
    }

    /// One attempt. For the holder of the array's lock.
    fn enter(&self, wanted: &Range<u64>, mode: Mode, poisoned: bool) -> Result<Result<usize, Obstacle>> {
        if self.words.mutex.is_poisoned() {
            return Err(Error::Poisoned { pid: self.words.mutex.culprit(), range: None });
        }
        if let Some(obstacle) = self.find(wanted, mode) {
            return Ok(Err(obstacle));
        }
        // The search may have found the dead.
        if self.words.mutex.is_poisoned() {
            return Err(Error::Poisoned { pid: self.words.mutex.culprit(), range: None });
        }
        if !poisoned && let Some(poison) = self.poison_in(wanted) {
            return Err(poison.into());
        }
        for (at, slot) in self.slots.iter().enumerate() {
            if !slot.mutex.is_free() || slot.mutex.is_poisoned() {
                continue;
            }
            let busy = self.words.busy.load(Relaxed);
            if busy & !POISON <= at as u32 {
                point();
                self.words.busy.store(busy & POISON | (at as u32 + 1), Relaxed);
            }
            point();
            slot.start.store(wanted.start, Relaxed);
            slot.end.store(wanted.end, Relaxed);
            slot.mode.store(mode as u32, Relaxed);
            match slot.mutex.lock(mode.purpose(), Wait::No) {
                Ok(_) => return Ok(Ok(at)),
                // Somebody has waited for the last claim of this slot, and has it for a moment.
                Err(Error::WouldBlock) => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::TooManyClaims { limit: self.slots.len() })
    }

    /// The first claim that excludes one of `wanted`. Puts what the dead left in order on the way. For the holder of the
    /// array's lock.
    fn find(&self, wanted: &Range<u64>, mode: Mode) -> Option<Obstacle> {
        let mut used = 0;
        let mut obstacle = None;
        for (at, slot) in self.slots.iter().enumerate().take(self.used()) {
            if !slot.mutex.is_free() || slot.mutex.is_poisoned() {
                self.tidy(slot);
            }
            if slot.mutex.is_free() && !slot.mutex.is_poisoned() {
                continue;
            }
            used = at + 1;
            let claimed = slot.start.load(Relaxed)..slot.end.load(Relaxed);
            let shared = mode == Mode::Read && slot.mode.load(Relaxed) == Mode::Read as u32;
            if obstacle.is_none() && !shared && overlap(&claimed, wanted) {
                obstacle = Some(if slot.mutex.is_mine() { Obstacle::Own } else { Obstacle::Claim(at) });
            }
        }
        self.set_busy(used);
        obstacle
    }

    fn used(&self) -> usize {
        ((self.words.busy.load(Relaxed) & !POISON) as usize).min(self.slots.len())
    }

    fn set_busy(&self, used: usize) {
        let poison = if self.poison.0.iter().any(|range| !range.is_empty()) { POISON } else { 0 };
        if self.words.busy.load(Relaxed) != used as u32 | poison {
            point();
            self.words.busy.store(used as u32 | poison, Relaxed);
        }
    }

    /// Frees a slot whose claimant is gone, and records what it may have left half changed.
    #[cold]
    fn tidy(&self, slot: &ClaimSlot) {
        // Held by a living claimant: it is not free.
        if slot.mutex.lock(Use::Table, Wait::No).is_err() {
            return;
        }
        if slot.mutex.is_poisoned() {
            self.add_poison(slot.start.load(Relaxed)..slot.end.load(Relaxed), slot.mutex.culprit_stamp());
            slot.mutex.clear_poison();
        }
        slot.mutex.unlock();
    }

    /// Waits until the claim in slot `at` has ended.
    fn wait_for(&self, at: usize, wait: Wait) -> Result<()> {
        let mutex = &self.slots[at].mutex;
        mutex.lock(Use::Table, wait)?;
        // If its claimant died the slot is poisoned now, and whoever looks at the table finds that.
        mutex.unlock();
        Ok(())
    }

    /// Ends a claim of the calling thread.
    #[inline]
    pub(crate) fn release(&self, at: usize) {
        self.slots[at].mutex.unlock();
    }

    /// Makes sure that nobody else has a part of the array. For the holder of its lock, who gets it back; `None` when
    /// the whole of it is its own now.
    ///
    /// # Errors
    ///
    /// Those of [`claim`](Self::claim), and then the lock is released.
    #[cold]
    pub(crate) fn exclude_all(&self, purpose: Use, wait: Wait) -> Result<()> {
        loop {
            let obstacle = self.find(&(0..u64::MAX), Mode::Change);
            let Some(obstacle) = obstacle else { return Ok(()) };
            self.words.mutex.unlock();
            match obstacle {
                Obstacle::Own if wait == Wait::No => return Err(Error::WouldBlock),
                Obstacle::Own => return Err(Error::WouldDeadlock),
                Obstacle::Claim(at) => self.wait_for(at, wait)?,
            }
            self.words.mutex.lock(purpose, wait)?;
        }
    }

    /// What a dead claimant may have left half changed in `wanted`. For the holder of the array's lock, or of a claim
    /// of that part.
    pub(crate) fn poison_in(&self, wanted: &Range<u64>) -> Option<Poison> {
        let found = self.poison.0.iter().find(|range| overlap(&range.get(), wanted))?;
        let range = found.get();
        let pid = Stamp::from_bits(found.culprit.load(Relaxed)).pid();
        Some(Poison { pid, range: Some(range.start as usize..range.end as usize) })
    }

    /// Records that `range` may be half changed. For the holder of the array's lock.
    pub(crate) fn add_poison(&self, range: Range<u64>, culprit: u64) {
        if range.is_empty() {
            return;
        }
        let list = &self.poison.0;
        let touches = |one: &&PoisonedRange| {
            let one = one.get();
            !one.is_empty() && one.start <= range.end && range.start <= one.end
        };
        // Before the list: whoever sees `busy` as 0 does not look at it.
        let busy = self.words.busy.load(Relaxed);
        if busy & POISON == 0 {
            point();
            self.words.busy.store(busy | POISON, Relaxed);
        }
        if let Some(one) = list.iter().find(touches) {
            let known = one.get();
            point();
            one.start.store(known.start.min(range.start), Relaxed);
            point();
            one.end.store(known.end.max(range.end), Relaxed);
        } else if let Some(free) = list.iter().find(|one| one.is_empty()) {
            point();
            free.culprit.store(culprit, Relaxed);
            // Empty until the end stands.
            free.end.store(0, Relaxed);
            free.start.store(range.start, Relaxed);
            point();
            free.end.store(range.end, Relaxed);
        } else {
            self.words.mutex.poison(culprit);
        }
    }

    /// Declares `range` whole again. For the holder of the array's lock, or of a claim to change it, who has taken that
    /// lock too.
    pub(crate) fn clear_poison(&self, range: &Range<u64>) {
        for one in &self.poison.0 {
            let poisoned = one.get();
            if !overlap(&poisoned, range) {
                continue;
            }
            let before = poisoned.start..range.start.max(poisoned.start);
            let after = range.end.min(poisoned.end)..poisoned.end;
            match (before.is_empty(), after.is_empty()) {
                (true, true) => one.set_end(0),
                (false, true) => one.set_end(before.end),
                (true, false) => {
                    point();
                    one.start.store(after.start, Relaxed);
                }
                // Without a place for the second part all of it stays.
                (false, false) if self.poison.0.iter().any(|free| free.is_empty()) => {
                    self.add_poison(after.clone(), one.culprit.load(Relaxed));
                    one.set_end(before.end);
                }
                (false, false) => {}
            }
        }
        self.set_busy(self.used());
    }
}

impl PoisonedRange {
    fn get(&self) -> Range<u64> {
        self.start.load(Relaxed)..self.end.load(Relaxed)
    }

    fn is_empty(&self) -> bool {
        self.get().is_empty()
    }

    fn set_end(&self, end: u64) {
        point();
        self.end.store(end, Relaxed);
    }
}
