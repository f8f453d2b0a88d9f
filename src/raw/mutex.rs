//! A lock whose holder may die: a futex word on the kernel's robust list, and a record of who held it for what.
//!
//! # The word
//!
//! | bits | name | meaning | if the owner dies here, the next locker |
//! | --- | --- | --- | --- |
//! | 0–29 | `TID` | thread id of the owner, 0: free | finds `OWNER_DIED` and no id: inherits |
//! | 30 | `OWNER_DIED` | with no id: the kernel's mark. With an id: that thread inherits right now | finds the mark again: inherits again |
//! | 31 | `WAITERS` | somebody may sleep on the word; kept while the word is free, so that a barger keeps it too | is woken by the kernel |
//!
//! # The record (`owner`)
//!
//! A [`Stamp`] of the owner's process, and in its spare bits the [`Use`]. Zero while the lock is free and while it
//! changes hands. It tells the heir what the death means:
//!
//! | found with `OWNER_DIED` | meaning | heir |
//! | --- | --- | --- |
//! | `0` | died before it could touch the data, or after it had finished | goes on in silence |
//! | a stamp, `Use::Table` | the owner's own bookkeeping, which its users repair | goes on in silence, see [`Found::Inherited`] |
//! | a stamp, `Use::Data` | the data may be half changed, and other threads of the dead process may still be writing | waits until that whole process is gone, then poisons |
//! | a stamp, `Use::View` | other threads of the dead process may still be reading | waits until that whole process is gone, then goes on in silence |
//!
//! # Order of the steps, and a death after each
//!
//! Lock: *pending*, word := id, *link*, owner := stamp. Until the link stands, `pending` lets the kernel find the word.
//! Until the record stands, the data is untouched.
//!
//! Unlock: owner := 0, *pending*, *unlink*, word -= id, *clear pending*. From the first step on the data is whole.
//!
//! Inherit: *pending*, word := id + `OWNER_DIED`, poison, owner := 0, word := id. The old record stands until the poison
//! does, so an heir that dies on the way leaves the same inheritance.
//!
//! # Wake-ups
//!
//! An unlock leaves `WAITERS` in the word, not 0, and who slept keeps the bit when it takes the word. Otherwise a barger that
//! comes between the unlock and a woken waiter which is then killed would unlock without a wake, and the others would
//! sleep on a free lock. `list_op_pending` is set before a sleep, so that the kernel (5.5 and later) passes a wake-up
//! on that it gave to a dying waiter. The bit is dropped again by an unlock that woke nobody. On every expiry of a
//! slice a waiter also asks whether the owner still exists: a thread that called `exec` in the middle of a locked
//! section loses its id before the kernel walks its list (its process lives on as another program, which has let go of
//! the memory, or comes back to it and then [buries](RawMutex::bury) what it was), and a truncated file cuts the walk
//! short.
//!
//! Sources: U. Drepper, *Futexes Are Tricky* (2011); `Documentation/locking/robust-futexes.rst` of the kernel.

#[cfg(not(loom))]
use std::sync::atomic::{
    Ordering::{Acquire, Relaxed, Release, SeqCst},
    compiler_fence, fence,
};

#[cfg(loom)]
use loom::sync::atomic::{
    Ordering::{Acquire, Relaxed, Release, SeqCst},
    fence,
};

use super::{
    points::point,
    sys::{AtomicU32, AtomicU64, First, LIMIT, Links, Stamp, Thread, futex, known_thread, this_thread, thread_is_gone},
    waiting::{Patience, SLICE, Spin, wait_a_slice},
};
use crate::{
    Error, Result,
    os::{clock::Wait, futex::Woken},
};

#[cfg(not(loom))]
use super::sys::has_no_thread;

#[cfg(loom)]
fn compiler_fence(_: loom::sync::atomic::Ordering) {}

const WAITERS: u32 = 1 << 31;
const OWNER_DIED: u32 = 1 << 30;
const TID: u32 = OWNER_DIED - 1;

/// What the lock is held for: decides what the holder's death means. The value goes into the record's spare bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum Use {
    /// The crate's own bookkeeping, whose half-done changes the next holder recognises and finishes.
    Table = 1,
    /// The user's data: a death poisons.
    Data = 2,
    /// The user's data, which is only read: a death leaves it whole, but other threads of the dead process may read on.
    View = 3,
}

/// The lock. Zeroed memory is a free, healthy one.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct RawMutex {
    word: AtomicU32,
    poisoned: PoisonFlag,
    patience: Patience,
    owner: AtomicU64,
    /// The record of the holder that poisoned the lock. Valid while `poisoned` is set.
    culprit: AtomicU64,
    links: Links,
}

type PoisonFlag = super::sys::AtomicU16;

#[cfg(not(loom))]
const _: () = {
    use std::mem::offset_of;
    assert!(size_of::<RawMutex>() == 40 && align_of::<RawMutex>() == 8);
    assert!(offset_of!(RawMutex, word) == 0, "the first word of every lock, in every layout version");
    assert!(offset_of!(RawMutex, links) + 8 == crate::os::robust::WORD_TO_LINK);
};

/// What a locker found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    Free,
    /// The last holder died; whether that poisoned depends on its [`Use`].
    Inherited,
}

/// A lock that the calling thread has taken for its own bookkeeping, until this is dropped.
pub(crate) struct Hold<'a>(pub(crate) &'a RawMutex);

impl Drop for Hold<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.unlock();
    }
}

impl RawMutex {
    /// Takes the lock.
    ///
    /// # Errors
    ///
    /// `WouldBlock`, `TimedOut`, `WouldDeadlock`, `TooManyLocks`, and `Unsupported` from the robust list.
    #[inline]
    pub(crate) fn lock(&self, use_: Use, wait: Wait) -> Result<Found> {
        if self.lock_uncontended(use_) { Ok(Found::Free) } else { self.lock_contended(use_, wait) }
    }

    /// Releases the lock, if the calling thread holds it. With a guard that a fork copied it does not: nothing happens.
    #[inline]
    pub(crate) fn unlock(&self) {
        self.unlock_if_mine();
    }

    /// As [`unlock`](Self::unlock). `false` if the calling thread does not hold it.
    #[inline]
    pub(crate) fn unlock_if_mine(&self) -> bool {
        let Some(me) = known_thread().filter(|me| self.is_held_by_thread(*me)) else { return false };
        point();
        // Release: whoever inherits from here on must see the data whole.
        self.owner.store(0, Release);
        point();
        me.begin(&self.links);
        me.unlink(&self.links);
        point();
        // Release: pairs with the Acquire of the next locker. A subtraction, which is faster than an exchange: it leaves
        // 0, or the mark that others have set.
        if self.word.fetch_sub(me.tid(), Release) != me.tid() {
            self.wake_one();
        }
        point();
        me.end();
        true
    }

    /// Takes a lock that is free and of which nobody knows anything else. No errors here: they make the caller's code
    /// for the common case slower.
    #[inline(always)]
    pub(crate) fn lock_uncontended(&self, use_: Use) -> bool {
        let Some(me) = known_thread() else { return false };
        if !me.has_room() {
            return false;
        }
        me.begin(&self.links);
        let first = me.first();
        point();
        // Acquire: pairs with the Release of `unlock`, so that the holder sees what its predecessor wrote.
        if self.word.compare_exchange(0, me.tid(), Acquire, Relaxed).is_err() {
            me.end();
            return false;
        }
        self.settle(me, first, use_);
        true
    }

    /// [`lock`](Self::lock) after [`lock_uncontended`](Self::lock_uncontended) has failed.
    #[cold]
    pub(crate) fn lock_contended(&self, use_: Use, wait: Wait) -> Result<Found> {
        let me = this_thread()?;
        if !me.has_room() {
            return Err(Error::TooManyLocks { limit: LIMIT });
        }
        me.begin(&self.links);
        let found = self.take(me, wait).inspect_err(|_| me.end())?;
        self.settle(me, me.first(), use_);
        Ok(found)
    }

    /// What every new holder does, from the word on.
    #[inline(always)]
    fn settle(&self, me: Thread, first: First, use_: Use) {
        point();
        // The entry stays pending: linked and pending it is looked at once, and a store is saved.
        me.link(&self.links, first);
        point();
        // Release: pairs with the Acquire of `is_lent`, for what the holder before did. The record must stand before the
        // data is touched: the same thread dies in program order.
        self.owner.store(me.stamp() | use_ as u64, Release);
        compiler_fence(Acquire);
    }

    /// Whether the calling thread holds the lock.
    #[inline]
    pub(crate) fn is_mine(&self) -> bool {
        this_thread().is_ok_and(|me| self.is_held_by_thread(me))
    }

    /// Whether `thread` holds the lock.
    #[inline]
    pub(crate) fn is_held_by_thread(&self, thread: Thread) -> bool {
        self.word.load(Relaxed) & TID == thread.tid()
    }

    /// The thread that holds the lock, 0 for none, and its process where that is on record.
    pub(crate) fn holder(&self) -> (u32, Option<u32>) {
        let tid = self.word.load(Relaxed) & TID;
        let pid = Stamp::from_bits(self.owner.load(Relaxed)).pid();
        (tid, pid.filter(|_| tid != 0))
    }

    /// Whether the word, or the record, names a thread of the process `stamp`: its robust list may lead here.
    #[cfg(not(loom))]
    pub(crate) fn is_held_by(&self, stamp: u64) -> bool {
        self.word.load(Relaxed) & TID != 0 && self.owner.load(Relaxed) & !Stamp::SPARE == stamp
    }

    /// Whether the lock is, or a moment ago was, held for `use_`.
    #[inline]
    pub(crate) fn is_held_for(&self, use_: Use) -> bool {
        self.owner.load(Relaxed) & Stamp::SPARE == use_ as u64
    }

    /// Whether nobody holds the lock, nor has died holding it. In one order with the exchanges of those who ask.
    #[inline]
    pub(crate) fn is_free(&self) -> bool {
        self.word.load(SeqCst) & (TID | OWNER_DIED) == 0
    }

    /// Whether somebody may sleep until the lock is free.
    #[inline]
    pub(crate) fn is_awaited(&self) -> bool {
        self.word.load(Relaxed) & WAITERS != 0
    }

    /// Changes what the calling thread holds the lock for.
    pub(crate) fn use_for(&self, use_: Use) {
        if let Some(me) = known_thread().filter(|me| self.is_held_by_thread(*me)) {
            point();
            // Release and the fence: what a death means changes after what came before, and before what comes after.
            self.owner.store(me.stamp() | use_ as u64, Release);
            compiler_fence(Acquire);
        }
    }

    /// Whether a living thread holds the lock, as far as the word tells: the kernel has not marked it, and nobody
    /// has found out that its last holder died.
    #[inline]
    pub(crate) fn is_held_alive(&self) -> bool {
        // Acquire: what the holder stored before it took the lock is not older than the lock.
        let word = self.word.load(Acquire);
        word & OWNER_DIED == 0 && word & TID != 0 && !self.is_poisoned()
    }

    /// Whether the living holder has the user's data, or has left it half changed: not if it is about to let go, nor if it
    /// has the lock for the crate's own bookkeeping.
    #[inline]
    pub(crate) fn is_lent(&self) -> bool {
        // Acquire: pairs with the Release of `unlock` and `settle`: who goes on sees what holders before have done.
        let use_ = self.owner.load(Acquire) & Stamp::SPARE;
        use_ == Use::Data as u64 || use_ == Use::View as u64 || self.is_poisoned()
    }

    /// Whether the holder of a lock that the kernel has marked can do nothing any more, none of its threads.
    pub(crate) fn testator_is_gone(&self, wait: Wait) -> bool {
        fence(Acquire);
        let testator = Stamp::from_bits(self.owner.load(Relaxed));
        testator.is_dead(wait) || testator.has_let_go(std::ptr::from_ref(self).addr())
    }

    /// Gives the word a mark that makes the kernel wake a sleeper when the holder dies, and returns it for the sleep.
    /// `None` if no living thread holds the lock.
    pub(crate) fn watch(&self) -> Option<(&AtomicU32, u32)> {
        let mut word = self.word.load(Relaxed);
        loop {
            if word & OWNER_DIED != 0 || word & TID == 0 {
                return None;
            }
            if word & WAITERS != 0 {
                return Some((&self.word, word));
            }
            match self.word.compare_exchange(word, word | WAITERS, Relaxed, Relaxed) {
                Ok(_) => return Some((&self.word, word | WAITERS)),
                Err(now) => word = now,
            }
        }
    }

    /// Marks the lock if the kernel knows no thread of the holder's id: its walk was cut short.
    #[cfg(not(loom))]
    pub(crate) fn mark_if_no_thread(&self) {
        let word = self.word.load(Relaxed);
        if word & OWNER_DIED == 0 && word & TID != 0 && has_no_thread(word & TID) {
            point();
            let _ = self.word.compare_exchange(word, OWNER_DIED | word & WAITERS, Relaxed, Relaxed);
        }
    }

    /// Wakes all who sleep on the word.
    pub(crate) fn wake_all(&self) {
        futex::wake(&self.word, u32::MAX);
    }

    /// The word, for the model of the kernel.
    #[cfg(loom)]
    pub(crate) fn word(&self) -> &AtomicU32 {
        &self.word
    }

    #[inline]
    pub(crate) fn is_poisoned(&self) -> bool {
        // Relaxed, here and below: only the holder writes the poison, and the word orders the holders.
        self.poisoned.load(Relaxed) != 0
    }

    /// Who poisoned the lock, where that is known. For the holder.
    pub(crate) fn culprit(&self) -> Option<u32> {
        Stamp::from_bits(self.culprit.load(Relaxed)).pid()
    }

    /// The same, to be kept. For the holder.
    pub(crate) fn culprit_stamp(&self) -> u64 {
        self.culprit.load(Relaxed)
    }

    /// Poisons the lock in the name of the process `stamp`. For the holder.
    pub(crate) fn poison(&self, stamp: u64) {
        point();
        self.culprit.store(stamp & !Stamp::SPARE, Relaxed);
        point();
        // Release, so that a set flag never comes with an older culprit.
        self.poisoned.store(1, Release);
    }

    /// Declares the data whole again. For the holder.
    pub(crate) fn clear_poison(&self) {
        point();
        self.poisoned.store(0, Relaxed);
    }

    /// Has the lock be held by the past of the process `stamp` if that is on record: see [`Stamp::of_the_past`].
    #[cfg(not(loom))]
    pub(crate) fn bury(&self, stamp: u64) {
        let record = self.owner.load(Relaxed);
        if record & !Stamp::SPARE == stamp {
            let past = Stamp::from_bits(stamp).of_the_past().to_bits() | record & Stamp::SPARE;
            point();
            // Fails for the record of an heir, which is none of that process.
            let _ = self.owner.compare_exchange(record, past, Relaxed, Relaxed);
        }
    }

    /// Frees the lock of whoever held it, poisoned if it was held for `use_` of data. Returns whether it was held.
    ///
    /// For whoever knows that no holder can be alive (the machine has restarted, the file is a copy) and keeps others
    /// out meanwhile.
    #[cfg(not(loom))]
    pub(crate) fn reset(&self, use_: Use) -> bool {
        let record = self.owner.load(Relaxed);
        let was_held = self.word.load(Relaxed) & (TID | OWNER_DIED) != 0;
        if was_held && use_ == Use::Data && record & Stamp::SPARE == Use::Data as u64 {
            self.poison(record);
        }
        point();
        self.owner.store(0, Relaxed);
        point();
        self.word.store(0, Release);
        was_held
    }

    /// Waits for the word and takes it. The entry is pending.
    fn take(&self, me: Thread, wait: Wait) -> Result<Found> {
        let mut spin = Spin::new(&self.patience);
        // What a thread that has slept leaves in the word: others may sleep still.
        let mut keep = 0;
        let mut state = self.word.load(Relaxed);
        loop {
            match state & (TID | OWNER_DIED) {
                0 => match self.word.compare_exchange(state, me.tid() | state | keep, Acquire, Relaxed) {
                    Ok(_) => {
                        spin.succeeded();
                        return Ok(Found::Free);
                    }
                    Err(now) => state = now,
                },
                OWNER_DIED => {
                    if self.inherit(me, state, wait)? {
                        return Ok(Found::Inherited);
                    }
                    state = self.word.load(Relaxed);
                }
                _ if state & TID == me.tid() => {
                    return Err(if wait == Wait::No { Error::WouldBlock } else { Error::WouldDeadlock });
                }
                _ if wait == Wait::No => return Err(Error::WouldBlock),
                _ if spin.turn() => state = self.word.load(Relaxed),
                _ => {
                    state = self.sleep(state, wait)?;
                    keep = WAITERS;
                }
            }
        }
    }

    /// Sleeps once on a word that was held when it was read as `state`; returns the word after that.
    fn sleep(&self, state: u32, wait: Wait) -> Result<u32> {
        if wait.is_over() {
            return Err(Error::TimedOut);
        }
        let sleeping = state | WAITERS;
        if state != sleeping {
            point();
            if let Err(now) = self.word.compare_exchange(state, sleeping, Relaxed, Relaxed) {
                return Ok(now);
            }
        }
        if futex::wait(&self.word, sleeping, wait.slice(SLICE)) == Woken::TimedOut {
            self.mark_if_gone(sleeping);
        }
        Ok(self.word.load(Relaxed))
    }

    /// Does the kernel's work for an owner that vanished without it.
    fn mark_if_gone(&self, state: u32) {
        if thread_is_gone(state & TID, std::ptr::from_ref(&self.word).addr()) {
            point();
            let _ = self.word.compare_exchange(state, OWNER_DIED | WAITERS, Relaxed, Relaxed);
        }
    }

    /// Takes a word that carries the kernel's mark. `false` when another was faster.
    #[cold]
    fn inherit(&self, me: Thread, state: u32, wait: Wait) -> Result<bool> {
        // Acquire, for the mark that was read: the record must not be older. Pairs with the kernel's exchange.
        fence(Acquire);
        let record = self.owner.load(Relaxed);
        let testator = Stamp::from_bits(record);
        let use_ = record & Stamp::SPARE;
        let lent_out = use_ == Use::Data as u64 || use_ == Use::View as u64;
        if lent_out && record & !Stamp::SPARE == me.stamp() {
            // A thread of this process forgot its guard and ended. What it borrowed may live on in another thread.
            return Err(if wait == Wait::No { Error::WouldBlock } else { Error::WouldDeadlock });
        }
        if lent_out && !testator.is_dead(wait_a_slice(wait)) && !testator.has_let_go(std::ptr::from_ref(self).addr()) {
            // The mark is that of one thread: its process lives on, or is still dying.
            return match wait {
                Wait::No => Err(Error::WouldBlock),
                _ if wait.is_over() => Err(Error::TimedOut),
                _ => Ok(false),
            };
        }
        point();
        // Acquire: the kernel's mark is ordered after all that the dead thread wrote.
        if self.word.compare_exchange(state, me.tid() | OWNER_DIED | WAITERS, Acquire, Relaxed).is_err() {
            return Ok(false);
        }
        if self.owner.load(Relaxed) != record {
            // The same mark, but of another death: somebody has inherited and died since. Look again.
            point();
            self.word.store(OWNER_DIED | WAITERS, Release);
            return Ok(false);
        }
        if use_ == Use::Data as u64 {
            self.poison(record);
        }
        point();
        self.owner.store(0, Release);
        point();
        // A plain store: sleepers only ever add WAITERS, which is set. Release: an owner of 0 comes before.
        self.word.store(me.tid() | WAITERS, Release);
        Ok(true)
    }

    /// After an unlock that left the mark.
    #[cold]
    fn wake_one(&self) {
        point();
        if futex::wake(&self.word, 1) == 0 {
            point();
            // Nobody slept. Who goes to sleep from now on does so on a word that has an owner, and marks it again.
            let _ = self.word.compare_exchange(WAITERS, 0, Relaxed, Relaxed);
        }
    }
}

#[cfg(all(test, loom))]
mod loom_tests;
