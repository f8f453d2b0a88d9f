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
//! Who meets a claim that excludes its own releases the array's lock and waits for the lock of that slot, a slice at a
//! time, and then looks again: the slot may have another claim by then, of another part, and a new claim takes a slot
//! that nobody waits for where there is one. When it gets the slot's lock it releases it at once. It has that as its own
//! bookkeeping, by which others tell it from a claim: nobody enters one without the array's lock. Nothing is lost if it
//! dies. Nobody who holds the array's lock waits for a slot, so there is no circle.
//!
//! # Poison
//!
//! A slot whose claimant died changing things is poisoned and keeps its range until somebody who holds the array's lock
//! moves it to the list of poisoned ranges, which touching ones share. When the list is full the whole array is poisoned.
//! The slot is cleared after the list is complete, so a death on the way does it again.
//!
//! # An array that grows
//!
//! Invariant: the length changes under the array's lock alone, and never shrinks. Whoever waits gives that lock up, so a
//! length from before is none for what is found afterwards: somebody may have appended, claimed what was appended, and
//! died. So what needs the length asks for it ([`Length`]) while it holds the lock, and keeps it no longer than that. A
//! range that was checked stays inside of the array, and needs no second look.

#[cfg(not(loom))]
use std::sync::atomic::Ordering::Relaxed;
use std::{ops::Range, time::Duration};

#[cfg(loom)]
use loom::sync::atomic::Ordering::Relaxed;

use super::{
    mutex::{RawMutex, Use},
    points::point,
    sys::{AtomicU32, AtomicU64, LIMIT, Stamp},
    waiting::wait_a_slice,
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

/// The head of a table of claims. Zeroed memory is an empty one.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct PoisonList([PoisonedRange; RANGES]);

/// One claim. A cache line, so that claimants of different ranges do not disturb each other.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct ClaimSlot {
    pub(crate) mutex: RawMutex,
    start: AtomicU64,
    end: AtomicU64,
    mode: AtomicU32,
    /// Which one of this slot's claims it is, for who keeps it where others can change it.
    turn: AtomicU32,
}

#[cfg(not(loom))]
const _: () = {
    use std::mem::offset_of;
    assert!(size_of::<ClaimWords>() == 56 && offset_of!(ClaimWords, mutex) == 0);
    assert!(size_of::<ClaimSlot>() == 64 && offset_of!(ClaimSlot, mutex) == 0);
    assert!(size_of::<PoisonList>() == 192);
};

#[cfg(feature = "capi")]
impl ClaimSlot {
    /// Which one of the slot's claims it is. For who has it.
    #[inline(always)]
    pub(crate) fn turn(&self) -> u32 {
        // Relaxed: written by who has the slot, before it had.
        self.turn.load(Relaxed)
    }
}

/// How long a `try_` form waits at most for who is entering a claim of another part: longer than that process can be
/// kept from running by others, if it was not stopped.
const MOMENT: Duration = Duration::from_secs(1);
/// How long it waits at a time: somebody else may have taken the whole array meanwhile.
const GLANCE: Duration = Duration::from_millis(1);

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
    #[inline]
    fn purpose(self) -> Use {
        match self {
            Self::Read => Use::View,
            Self::Change => Use::Data,
        }
    }
}

/// The claims on one array.
pub(crate) struct Claims<'a, L> {
    pub(crate) words: &'a ClaimWords,
    pub(crate) poison: &'a PoisonList,
    pub(crate) slots: &'a [ClaimSlot],
    /// What has the array's length. Not the length itself: see [the module](self).
    pub(crate) len: &'a L,
}

/// An array that knows how long it is.
pub(crate) trait Length {
    /// The number of elements. It holds as long as the caller keeps the array's lock.
    fn now(&self) -> u64;
}

/// What stands in the way of a claim.
enum Obstacle<'a> {
    /// The claim that has this lock.
    Claim(&'a RawMutex),
    /// A claim of the calling thread.
    Own,
    /// The calling thread holds so many locks that it cannot put in order what the dead left.
    Locks,
}

/// What became of a slot that is not free.
#[derive(PartialEq, Eq)]
enum Tidied {
    Free,
    InUse,
    /// The calling thread holds too many locks to look.
    Unknown,
}

#[inline]
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

impl<'a, L: Length> Claims<'a, L> {
    /// Claims `wanted`, which is not empty, if that takes no waiting, no repair and no error: [`claim`](Self::claim) for
    /// the common case, as [`RawMutex::lock_uncontended`] is for a lock. Returns the claim's slot.
    #[inline]
    pub(crate) fn claim_uncontended(&self, wanted: &Range<u64>, mode: Mode) -> Option<&'a ClaimSlot> {
        if !self.words.mutex.lock_uncontended(Use::Table) {
            return None;
        }
        let is_clear = self.find_inline(wanted, mode).is_none() && !self.is_poisoned();
        let slot = if is_clear { self.enter_inline(wanted, mode).ok().flatten() } else { None };
        self.words.mutex.unlock();
        slot
    }

    /// Claims `wanted`, which is not empty, and returns the claim's slot. If `recover`, also parts that a dead claimant
    /// left half changed.
    ///
    /// # Errors
    ///
    /// `Poisoned`, `TooManyClaims`, `TooManyLocks`, `WouldBlock`, `TimedOut`, and `WouldDeadlock` when this thread has
    /// the array or a claim that excludes this one.
    #[cold]
    pub(crate) fn claim(&self, wanted: &Range<u64>, mode: Mode, recover: bool, wait: Wait) -> Result<&'a ClaimSlot> {
        loop {
            self.lock_table(wait)?;
            let entered = self.attempt(wanted, mode, recover);
            self.words.mutex.unlock();
            match entered? {
                Ok(slot) => return Ok(slot),
                Err(obstacle) => obstacle.await_end(wait)?,
            }
        }
    }

    /// One attempt. For the holder of the array's lock.
    fn attempt(&self, wanted: &Range<u64>, mode: Mode, recover: bool) -> Result<Result<&'a ClaimSlot, Obstacle<'a>>> {
        if let Some(obstacle) = self.find(wanted, mode) {
            return Ok(Err(obstacle));
        }
        if recover {
            self.divide_poison();
        } else if let Some(poison) = self.poison_in(wanted) {
            return Err(poison.into());
        }
        match self.enter(wanted, mode)? {
            Some(slot) => Ok(Ok(slot)),
            None => self.soon_free().map(Err).ok_or(Error::TooManyClaims { limit: self.slots.len() }),
        }
    }

    /// A slot that somebody has for a moment, when there is none that is free.
    fn soon_free(&self) -> Option<Obstacle<'a>> {
        self.slots.iter().find(|slot| !slot.mutex.is_lent()).map(|slot| Obstacle::Claim(&slot.mutex))
    }

    /// Takes the array's lock for a moment.
    fn lock_table(&self, wait: Wait) -> Result<()> {
        let mutex = &self.words.mutex;
        let moment = Wait::timeout(MOMENT);
        let mut outcome = mutex.lock(Use::Table, wait);
        // Not by somebody who has the whole array, but by one who enters a claim, of another part perhaps.
        while wait == Wait::No
            && matches!(outcome, Err(Error::WouldBlock | Error::TimedOut))
            && !mutex.is_mine()
            && !mutex.is_held_for(Use::Data)
            && !moment.is_over()
        {
            outcome = mutex.lock(Use::Table, Wait::timeout(GLANCE));
        }
        match outcome {
            Err(Error::TimedOut) if wait == Wait::No => Err(Error::WouldBlock),
            outcome => outcome.map(drop),
        }
    }

    /// [`enter_inline`](Self::enter_inline), for where a call more counts for nothing.
    fn enter(&self, wanted: &Range<u64>, mode: Mode) -> Result<Option<&'a ClaimSlot>> {
        self.enter_inline(wanted, mode)
    }

    /// Enters a claim of what nobody has, and that is whole. `None` when no slot is free. For the holder of the array's
    /// lock.
    #[inline(always)]
    fn enter_inline(&self, wanted: &Range<u64>, mode: Mode) -> Result<Option<&'a ClaimSlot>> {
        // Those first that nobody waits for: whoever waits for the last claim of a slot would wait for this one.
        let quiet = self.slots.iter().enumerate().filter(|(_, slot)| !slot.mutex.is_awaited());
        let others = self.slots.iter().enumerate().filter(|(_, slot)| slot.mutex.is_awaited());
        for (at, slot) in quiet.chain(others) {
            let mutex = &slot.mutex;
            // One that the dead left beyond those in use is put in order here.
            let is_ready = mutex.is_free() || !mutex.is_held_alive() && self.tidy(slot) == Tidied::Free;
            if !is_ready || mutex.is_poisoned() {
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
            slot.turn.store(slot.turn.load(Relaxed).wrapping_add(1), Relaxed);
            match slot.mutex.lock(mode.purpose(), Wait::No) {
                Ok(_) => return Ok(Some(slot)),
                // Somebody has waited for the last claim of this slot, and has it for a moment.
                Err(Error::WouldBlock) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// [`find_inline`](Self::find_inline), for where a call more counts for nothing.
    fn find(&self, wanted: &Range<u64>, mode: Mode) -> Option<Obstacle<'a>> {
        self.find_inline(wanted, mode)
    }

    /// A claim that excludes one of `wanted`, the calling thread's own first. Puts what the dead left in order on the
    /// way. For the holder of the array's lock.
    #[inline(always)]
    fn find_inline(&self, wanted: &Range<u64>, mode: Mode) -> Option<Obstacle<'a>> {
        let mut used = 0;
        let mut obstacle = None;
        for (at, slot) in self.slots.iter().enumerate().take(self.used()) {
            let mutex = &slot.mutex;
            if mutex.is_free() && !mutex.is_poisoned() {
                continue;
            }
            let found = match mutex.is_held_alive() {
                true if mutex.is_lent() => Tidied::InUse,
                // Somebody has it for a moment: who has waited for the claim that was here, or whose claim ends now.
                true => Tidied::Free,
                false => self.tidy(slot),
            };
            if found == Tidied::Free {
                continue;
            }
            used = at + 1;
            let shared = mode == Mode::Read && slot.mode.load(Relaxed) == Mode::Read as u32;
            if shared || !overlap(&slot.range(), wanted) {
                continue;
            }
            if mutex.is_mine() {
                obstacle = Some(Obstacle::Own);
            } else if found == Tidied::Unknown {
                obstacle = obstacle.or(Some(Obstacle::Locks));
            } else if obstacle.is_none() {
                obstacle = Some(Obstacle::Claim(mutex));
            }
        }
        // Not each time: it would be stored anew by the next claim.
        if used + 8 < self.used() / 2 {
            self.set_used(used);
        }
        obstacle
    }

    #[inline]
    fn used(&self) -> usize {
        ((self.words.busy.load(Relaxed) & !POISON) as usize).min(self.slots.len())
    }

    #[inline]
    fn set_used(&self, used: usize) {
        self.set_busy(self.words.busy.load(Relaxed) & POISON | used as u32);
    }

    /// Takes the mark of poisoned ranges away when there are none.
    fn unmark_poison(&self) {
        if self.poison.0.iter().all(|range| range.get().is_empty()) {
            self.set_busy(self.words.busy.load(Relaxed) & !POISON);
        }
    }

    #[inline]
    fn set_busy(&self, busy: u32) {
        if self.words.busy.load(Relaxed) != busy {
            point();
            self.words.busy.store(busy, Relaxed);
        }
    }

    /// Frees a slot whose claimant is gone, and records what it may have left half changed.
    #[cold]
    fn tidy(&self, slot: &ClaimSlot) -> Tidied {
        match slot.mutex.lock(Use::Table, Wait::No) {
            Ok(_) => {}
            Err(Error::WouldBlock) => return Tidied::InUse,
            Err(_) => return Tidied::Unknown,
        }
        if slot.mutex.is_poisoned() {
            self.add_poison(slot.range(), slot.mutex.culprit_stamp());
            slot.mutex.clear_poison();
        }
        slot.mutex.unlock();
        Tidied::Free
    }

    /// Makes sure that nobody else has a part of the array. For the holder of its lock for the data, who may lose and
    /// retake it on the way.
    ///
    /// # Errors
    ///
    /// Those of [`claim`](Self::claim); the lock is then released.
    #[cold]
    pub(crate) fn exclude_all(&self, wait: Wait) -> Result<()> {
        let mutex = &self.words.mutex;
        // A death in here leaves the data as it was.
        mutex.use_for(Use::Table);
        while let Some(obstacle) = self.find(&(0..u64::MAX), Mode::Change) {
            mutex.unlock();
            obstacle.await_end(wait)?;
            self.lock_table(wait)?;
        }
        // Every claim overlaps all of it, so there is none.
        self.set_used(0);
        mutex.use_for(Use::Data);
        Ok(())
    }

    /// Whether the dead may have left anything half changed.
    #[inline]
    fn is_poisoned(&self) -> bool {
        self.words.mutex.is_poisoned() || self.words.busy.load(Relaxed) & POISON != 0
    }

    /// [`poison_in`](Self::poison_in) for who has not the array's lock: others change the list.
    pub(crate) fn poison_now(&self, wanted: &Range<u64>) -> Option<Poison> {
        let is_locked = self.is_poisoned() && self.lock_table(Wait::Forever).is_ok();
        let poison = self.poison_in(wanted);
        if is_locked {
            self.words.mutex.unlock();
        }
        poison
    }

    /// What the dead may have left half changed in `wanted`. For the holder of the array's lock.
    pub(crate) fn poison_in(&self, wanted: &Range<u64>) -> Option<Poison> {
        if self.words.mutex.is_poisoned() {
            return Some(Poison { pid: self.words.mutex.culprit(), range: None });
        }
        // The mark is set before the list is, and so before whoever had this part gave it up.
        if self.words.busy.load(Relaxed) & POISON == 0 {
            return None;
        }
        let found = self.poison.0.iter().find(|one| overlap(&one.get(), wanted))?;
        let range = found.get();
        let pid = Stamp::from_bits(found.culprit.load(Relaxed)).pid();
        Some(Poison { pid, range: Some(range.start as usize..range.end as usize) })
    }

    /// Records that `range` may be half changed. For the holder of the array's lock.
    pub(crate) fn add_poison(&self, range: Range<u64>, culprit: u64) {
        let range = range.start..range.end.min(self.len.now());
        if range.is_empty() {
            return;
        }
        // Before the list: who sees `busy` as 0 does not look at that.
        let busy = self.words.busy.load(Relaxed);
        if busy & POISON == 0 {
            point();
            self.words.busy.store(busy | POISON, Relaxed);
        }
        let list = &self.poison.0;
        let touching = list.iter().position(|one| {
            let one = one.get();
            !one.is_empty() && one.start <= range.end && range.start <= one.end
        });
        if let Some(at) = touching {
            let one = &list[at];
            let known = one.get();
            point();
            one.start.store(known.start.min(range.start), Relaxed);
            point();
            one.end.store(known.end.max(range.end), Relaxed);
            // It may reach others now.
            let merged = one.get();
            for (_, other) in list.iter().enumerate().filter(|(other, _)| *other != at) {
                let inner = other.get();
                if !inner.is_empty() && inner.start <= merged.end && merged.start <= inner.end {
                    one.start.store(one.get().start.min(inner.start), Relaxed);
                    point();
                    one.end.store(one.get().end.max(inner.end), Relaxed);
                    other.set_end(0);
                }
            }
        } else if let Some(free) = list.iter().find(|one| one.get().is_empty()) {
            free.set(range, culprit);
        } else {
            self.words.mutex.poison(culprit);
        }
    }

    /// Makes the poison of the whole array one of all its elements, so that a part can be declared whole. For the holder
    /// of the array's lock.
    fn divide_poison(&self) {
        if self.words.mutex.is_poisoned() {
            let culprit = self.words.mutex.culprit_stamp();
            for range in &self.poison.0 {
                range.set_end(0);
            }
            // A death on the way leaves the array poisoned still.
            self.add_poison(0..self.len.now(), culprit);
            self.words.mutex.clear_poison();
        }
    }

    /// Declares `range` whole again, for who has it.
    ///
    /// # Errors
    ///
    /// Those of the array's lock.
    pub(crate) fn clear_poison(&self, range: &Range<u64>) -> Result<()> {
        self.lock_table(Wait::Forever)?;
        self.divide_poison();
        for one in &self.poison.0 {
            let poisoned = one.get();
            if !overlap(&poisoned, range) {
                continue;
            }
            let before = poisoned.start..range.start;
            let after = range.end..poisoned.end;
            match (before.is_empty(), after.is_empty()) {
                (true, true) => one.set_end(0),
                (false, true) => one.set_end(before.end),
                (true, false) => {
                    point();
                    one.start.store(after.start, Relaxed);
                }
                // Without a place for the second part all of it stays.
                (false, false) => {
                    if let Some(free) = self.poison.0.iter().find(|free| free.get().is_empty()) {
                        free.set(after, one.culprit.load(Relaxed));
                        one.set_end(before.end);
                    }
                }
            }
        }
        self.unmark_poison();
        self.words.mutex.unlock();
        Ok(())
    }

    /// Declares the whole array whole again. For the holder of its lock, who has excluded all others.
    pub(crate) fn clear_all_poison(&self) {
        self.words.mutex.clear_poison();
        for one in &self.poison.0 {
            one.set_end(0);
        }
        self.unmark_poison();
    }
}

impl Obstacle<'_> {
    /// Waits until the claim has ended.
    fn await_end(self, wait: Wait) -> Result<()> {
        match self {
            _ if wait == Wait::No => Err(Error::WouldBlock),
            Self::Own => Err(Error::WouldDeadlock),
            Self::Locks => Err(Error::TooManyLocks { limit: LIMIT }),
            Self::Claim(mutex) => match mutex.lock(Use::Table, wait_a_slice(wait)) {
                Ok(_) => {
                    // If its claimant died the slot is poisoned now, and whoever looks at the table finds that.
                    mutex.unlock();
                    Ok(())
                }
                // The slot may have another claim by now, of another part.
                Err(Error::TimedOut) if !wait.is_over() => Ok(()),
                Err(error) => Err(error),
            },
        }
    }
}

impl ClaimSlot {
    #[inline]
    pub(crate) fn range(&self) -> Range<u64> {
        self.start.load(Relaxed)..self.end.load(Relaxed)
    }
}

impl PoisonedRange {
    fn get(&self) -> Range<u64> {
        self.start.load(Relaxed)..self.end.load(Relaxed)
    }

    /// Makes an empty one this.
    fn set(&self, range: Range<u64>, culprit: u64) {
        self.set_end(0);
        point();
        self.culprit.store(culprit, Relaxed);
        self.start.store(range.start, Relaxed);
        self.set_end(range.end);
    }

    fn set_end(&self, end: u64) {
        if self.end.load(Relaxed) != end {
            point();
            self.end.store(end, Relaxed);
        }
    }
}

#[cfg(all(test, loom))]
mod loom_tests;
