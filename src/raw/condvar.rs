//! A condition variable: a slot for each waiter, which says for whom a notification is, so that one that a death has
//! left unused is passed on.
//!
//! # The slots
//!
//! | `state` | meaning | if the waiter dies here |
//! | --- | --- | --- |
//! | `FREE` | nobody's, like any value that is not in this table | |
//! | `WAITING` | its member waits, and looks at the word | is passed over, and struck out by the next who waits or wakes |
//! | `SLEEPING` | the same, asleep or about to be: who notifies it wakes it | the same |
//! | `NOTIFIED` | one notification is this waiter's | the notification goes to the oldest who was waiting when it was given |
//!
//! Slots are taken, notified and struck out under the lock of the table, so that each notification finds its waiter by
//! the order of arrival. Their owners alone go back: a waiter whose time is over from `WAITING` to `FREE`, by a
//! compare-and-swap that a notification makes fail; one that was notified from `NOTIFIED` to `FREE`, by a store, once it
//! holds the user's lock again and not before. Nobody else touches the slot of a member until all its process has ended.
//!
//! # Order of the steps, and a death after each
//!
//! | step | store | the others |
//! | --- | --- | --- |
//! | wait 1 | `used` covers the slot | the slot is free |
//! | wait 2 | order, member, the count of arrivals | the slot is free; a number is left out |
//! | wait 3 | `WAITING`; then the user's lock is released | see the table above |
//! | wait 4 | `SLEEPING` | the same |
//! | wait 5 | the user's lock is taken again | are told of its death by the lock, and the notification is passed on |
//! | wait 6 | `FREE` | the notification has been used |
//! | notify 1 | `notified_at` of a waiter | it has not been notified |
//! | notify 2 | `NOTIFIED` | the heir of the table wakes it, or it looks at the end of its slice |
//! | notify 3 | the wake-up | all is done |
//! | pass on 1 | `notified_at`, `NOTIFIED` of the heir | pass the same one on once more: a spurious wake-up, and none is lost |
//! | pass on 2 | `FREE` of the dead one's slot | all is done |
//!
//! # Who passes on
//!
//! Those who sleep watch the lifelines of all who came before them: only these are notified before they are. At a death,
//! and at the end of each slice, a sleeper looks at the members of all slots. So does everybody who waits or notifies.
//! A notification that is given while another one's receiver is dying, but not yet gone, goes to the next in order; what
//! the dying one leaves is then passed to those who waited when it was given, not to those who came later.
//!
//! Source: A. D. Birrell, *Implementing Condition Variables with Semaphores* (2003), for what goes wrong without slots.

#[cfg(not(loom))]
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

#[cfg(loom)]
use loom::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use std::time::Duration;

use super::{
    lives::{Life, Lives, MemberId},
    mutex::{Found, Hold, RawMutex, Use},
    points::point,
    sys::{AtomicU16, AtomicU32, AtomicU64, futex},
    waiting::{Patience, Spin},
};
use crate::{
    Error, Result,
    os::{clock::Wait, futex::MOST_WORDS},
};

const FREE: u32 = 0;
const WAITING: u32 = 1;
const SLEEPING: u32 = 2;
const NOTIFIED: u32 = 3;

/// How long a waiter waits for the end of a process that is dying before it looks at its own slot again.
const DYING: Duration = Duration::from_millis(1);

/// What the waiters share besides the slots. Zeroed memory is a condition that nobody waits for.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct CondvarWords {
    /// Of the table; held for a few loads and stores.
    table: RawMutex,
    /// Slots from here on are free.
    used: AtomicU32,
    patience: Patience,
    spare: AtomicU16,
    /// The number of the next waiter.
    arrivals: AtomicU64,
    /// The lock that all who wait now have released, see [`LockId`].
    lock: [AtomicU64; 3],
}

/// One waiter's place.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Slot {
    state: AtomicU32,
    member: AtomicU32,
    /// The number of the waiter: those with lower ones came before it.
    order: AtomicU64,
    /// The number of arrivals when the notification was given.
    notified_at: AtomicU64,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<CondvarWords>() == 80 && size_of::<Slot>() == 24);

/// Which lock a waiter has released, the same in every process: device and inode of the region, and the offset in it.
/// Zeros where that could not be found out: then it passes for any.
pub(crate) type LockId = [u64; 3];

const UNKNOWN: LockId = [0; 3];

/// The slot that a waiter has taken.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ticket {
    at: usize,
    order: u64,
}

/// The condition variable with its slots.
pub(crate) struct Condvar<'a> {
    pub(crate) words: &'a CondvarWords,
    pub(crate) slots: &'a [Slot],
}

impl Slot {
    fn member(&self) -> Option<MemberId> {
        MemberId::from_bits(self.member.load(Relaxed))
    }

    /// Whether its member can do nothing any more.
    fn is_orphan(&self, lives: &impl Lives) -> bool {
        self.member().is_none_or(|id| lives.life(id) != Life::Lives && lives.is_gone(id, Wait::No))
    }

    fn wake(&self) {
        point();
        futex::wake(&self.state, u32::MAX);
    }
}

fn is_taken(state: u32) -> bool {
    matches!(state, WAITING | SLEEPING | NOTIFIED)
}

fn is_waiting(state: u32) -> bool {
    matches!(state, WAITING | SLEEPING)
}

impl Condvar<'_> {
    /// Begins a wait, for a thread that holds the lock `lock` and releases it after this.
    ///
    /// # Errors
    ///
    /// `TooManyWaiters`; `InvalidArgument` when others wait with another lock; `TooManyLocks`.
    pub(crate) fn enter(&self, me: MemberId, lock: LockId, lives: &impl Lives) -> Result<Ticket> {
        let table = self.lock()?;
        let heirs = self.tidy(lives);
        let ticket = self.take_slot(me, lock);
        drop(table);
        self.wake(&heirs);
        ticket
    }

    /// Waits for the notification of `ticket`. The user's lock is free meanwhile.
    ///
    /// When this returns without an error, the notification is the caller's, but is not used before [`leave`](Self::leave).
    /// With an error the slot is free.
    ///
    /// # Errors
    ///
    /// `TimedOut`; `Corrupt` when somebody else has changed the slot.
    #[inline]
    pub(crate) fn wait(&self, me: MemberId, ticket: Ticket, lives: &impl Lives, wait: Wait) -> Result<()> {
        let slot = &self.slots[ticket.at];
        let mut spin = Spin::new(&self.words.patience);
        // Acquire, here and below: a notification comes after the arrival that it answers, and what went before it.
        while slot.state.load(Acquire) == WAITING {
            if !spin.turn() {
                return self.sleep(me, ticket, lives, wait);
            }
        }
        spin.succeeded();
        self.sleep(me, ticket, lives, wait)
    }

    fn sleep(&self, me: MemberId, ticket: Ticket, lives: &impl Lives, wait: Wait) -> Result<()> {
        let slot = &self.slots[ticket.at];
        loop {
            let state = slot.state.load(Acquire);
            if state == NOTIFIED {
                return Ok(());
            }
            if !is_waiting(state) {
                return Err(Error::corrupt(format!("the slot of somebody who waits is in the state {state}")));
            }
            let is_over = wait.is_over();
            // No error is possible: this thread has just released a lock, so there is room for the table's.
            if self.pass_on_what_the_dead_have(me, lives, wait).unwrap_or(false) {
                // Perhaps to this one.
                continue;
            }
            let next = if is_over { FREE } else { SLEEPING };
            if state == next {
                let watched = self.older(me, ticket);
                lives.sleep(&slot.state, SLEEPING, &watched, wait);
                continue;
            }
            point();
            // Fails when it has just been notified: that counts. Release: who takes the slot comes after.
            if slot.state.compare_exchange(state, next, Release, Relaxed).is_ok() && is_over {
                return Err(Error::TimedOut);
            }
        }
    }

    /// Ends the wait of one that was notified and holds the user's lock again: the notification has been used.
    #[inline]
    pub(crate) fn leave(&self, ticket: Ticket) {
        point();
        // Release: who takes the slot comes after.
        self.slots[ticket.at].state.store(FREE, Release);
    }

    /// Notifies the first `most` of those who wait. Returns how many it notified.
    ///
    /// # Errors
    ///
    /// `TooManyLocks`; those of `lives`.
    #[inline]
    pub(crate) fn notify<L: Lives>(&self, lives: impl FnOnce() -> Result<L>, most: usize) -> Result<usize> {
        // Relaxed: who waits has stored this before it released the user's lock. Whoever has held that since, to change
        // what is waited for, sees it; anybody else cannot tell whether the wait has begun.
        if self.words.used.load(Relaxed) == 0 || most == 0 {
            return Ok(0);
        }
        self.notify_some(&lives()?, most)
    }

    fn notify_some(&self, lives: &impl Lives, most: usize) -> Result<usize> {
        let table = self.lock()?;
        let mut to_wake = self.tidy(lives);
        let now = self.words.arrivals.load(Relaxed);
        let mut count = 0;
        for (_, at) in self.waiting(lives) {
            if count == most {
                break;
            }
            if let Some(sleeps) = self.give(at, now) {
                count += 1;
                to_wake.extend(sleeps.then_some(at));
            }
        }
        drop(table);
        self.wake(&to_wake);
        Ok(count)
    }

    /// The number of those who live and wait, and have not been notified.
    pub(crate) fn n_waiting(&self, lives: &impl Lives) -> usize {
        let lives = |slot: &Slot| slot.member().is_some_and(|id| lives.life(id) == Life::Lives);
        self.used().iter().filter(|slot| is_waiting(slot.state.load(Acquire)) && lives(slot)).count()
    }

    /// Takes the table.
    fn lock(&self) -> Result<Hold<'_>> {
        let found = self.words.table.lock(Use::Table, Wait::Forever)?;
        if found == Found::Inherited {
            // The dead one may have notified some that it has not woken.
            for slot in self.used().iter().filter(|slot| slot.state.load(Relaxed) == NOTIFIED) {
                slot.wake();
            }
        }
        Ok(Hold(&self.words.table))
    }

    /// The slots of which some may not be free.
    fn used(&self) -> &[Slot] {
        &self.slots[..self.slots.len().min(self.words.used.load(Relaxed) as usize)]
    }

    fn wake(&self, slots: &[usize]) {
        for at in slots {
            self.slots[*at].wake();
        }
    }

    /// Frees the slots of the dead, and passes on what they had. Returns who is to be woken. Under the table's lock.
    fn tidy(&self, lives: &impl Lives) -> Vec<usize> {
        let mut heirs = Vec::new();
        for slot in self.used() {
            let state = slot.state.load(Acquire);
            if !is_taken(state) || !slot.is_orphan(lives) {
                continue;
            }
            if state == NOTIFIED {
                heirs.extend(self.pass_on(slot.notified_at.load(Relaxed), lives));
            }
            point();
            // After the heir has it: who dies in between leaves it twice, and not nowhere.
            slot.state.store(FREE, Release);
        }
        let used = self.used();
        let free = used.iter().rev().take_while(|slot| !is_taken(slot.state.load(Acquire))).count();
        if free > 0 {
            point();
            self.words.used.store((used.len() - free) as u32, Relaxed);
        }
        heirs
    }

    /// Gives a notification of `notified_at` to the oldest who waited then. Returns who is to be woken.
    fn pass_on(&self, notified_at: u64, lives: &impl Lives) -> Option<usize> {
        let waited = self.waiting(lives).into_iter().take_while(|(order, _)| *order < notified_at);
        let mut given = waited.filter_map(|(_, at)| self.give(at, notified_at).map(|sleeps| (at, sleeps)));
        given.next().filter(|(_, sleeps)| *sleeps).map(|(at, _)| at)
    }

    /// Notifies the waiter at `at`, and says whether it is to be woken. `None` when it does not wait any more.
    fn give(&self, at: usize, notified_at: u64) -> Option<bool> {
        let slot = &self.slots[at];
        let mut state = slot.state.load(Relaxed);
        while is_waiting(state) {
            point();
            slot.notified_at.store(notified_at, Relaxed);
            point();
            // Release: whoever passes it on sees when it was given.
            match slot.state.compare_exchange(state, NOTIFIED, Release, Relaxed) {
                Ok(_) => return Some(state == SLEEPING),
                // It is about to sleep, or its time is over.
                Err(now) => state = now,
            }
        }
        None
    }

    /// Those who live and wait, with their numbers, the oldest first.
    fn waiting(&self, lives: &impl Lives) -> Vec<(u64, usize)> {
        let lives = |slot: &Slot| slot.member().is_some_and(|id| lives.life(id) == Life::Lives);
        let slots = self.used().iter().enumerate();
        let mut waiting: Vec<_> = slots
            .filter(|(_, slot)| is_waiting(slot.state.load(Acquire)) && lives(slot))
            .map(|(at, slot)| (slot.order.load(Relaxed), at))
            .collect();
        waiting.sort_unstable();
        waiting
    }

    /// Takes the first free slot. Under the table's lock.
    fn take_slot(&self, me: MemberId, lock: LockId) -> Result<Ticket> {
        let used = self.used();
        let anybody_waits = used.iter().any(|slot| is_taken(slot.state.load(Relaxed)));
        let at = used.iter().position(|slot| !is_taken(slot.state.load(Acquire))).unwrap_or(used.len());
        let slot = self.slots.get(at).ok_or(Error::TooManyWaiters { limit: self.slots.len() })?;
        self.agree_on(lock, anybody_waits)?;
        if at == used.len() {
            point();
            self.words.used.store(at as u32 + 1, Relaxed);
        }
        let order = self.words.arrivals.load(Relaxed);
        point();
        slot.order.store(order, Relaxed);
        point();
        slot.member.store(me.to_bits(), Relaxed);
        point();
        self.words.arrivals.store(order.wrapping_add(1), Relaxed);
        point();
        // Release: who sees somebody here sees who it is.
        slot.state.store(WAITING, Release);
        Ok(Ticket { at, order })
    }

    /// Makes `lock` the one that all use, unless they use another.
    fn agree_on(&self, lock: LockId, anybody_waits: bool) -> Result<()> {
        let known = self.words.lock.each_ref().map(|part| part.load(Relaxed));
        if known == lock || anybody_waits && lock == UNKNOWN {
            return Ok(());
        }
        if anybody_waits && known != UNKNOWN {
            return Err(Error::invalid_argument("others wait for this condition with the guard of another lock"));
        }
        for (place, part) in self.words.lock.iter().zip(lock) {
            point();
            place.store(part, Relaxed);
        }
        Ok(())
    }

    /// Looks whether anybody in the table is dead, and passes on what it had. Says whether anything was done.
    fn pass_on_what_the_dead_have(&self, me: MemberId, lives: &impl Lives, wait: Wait) -> Result<bool> {
        let is_dead = |id: &MemberId| *id != me && lives.life(*id) != Life::Lives;
        let taken = self.used().iter().filter(|slot| is_taken(slot.state.load(Acquire)));
        // Not under the lock, for processes take their time to end; and not for long, for this one may be notified.
        let dying = match wait.is_over() {
            true => Wait::No,
            false => Wait::Until(wait.slice(DYING)),
        };
        let mut dead = taken.filter_map(Slot::member).filter(is_dead);
        if !dead.any(|id| lives.is_gone(id, dying)) {
            return Ok(false);
        }
        let table = self.lock()?;
        let heirs = self.tidy(lives);
        drop(table);
        self.wake(&heirs);
        Ok(true)
    }

    /// The other members that began to wait before `ticket`, each once, as far as they can be watched.
    fn older(&self, me: MemberId, ticket: Ticket) -> Vec<MemberId> {
        let mut older = Vec::new();
        for slot in self.used() {
            if is_taken(slot.state.load(Acquire))
                && slot.order.load(Relaxed) < ticket.order
                && let Some(id) = slot.member().filter(|id| *id != me && !older.contains(id))
            {
                older.push(id);
                if older.len() == MOST_WORDS - 1 {
                    break;
                }
            }
        }
        older
    }
}

#[cfg(all(test, loom))]
mod loom_tests;

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::raw::lives::Half;

    /// Whatever lies there: nobody fails but by an error, or loses its place.
    #[test]
    fn anything_may_lie_there() {
        let me = MemberId::new(0, 1);
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random
        };
        for round in 0..2000 {
            let words = CondvarWords::default();
            let slots: [Slot; 4] = Default::default();
            words.used.store([0, 3, 4, 5, u32::MAX][round % 5], Relaxed);
            words.arrivals.store([0, 7, u64::MAX][round % 3], Relaxed);
            for slot in &slots {
                slot.state.store([FREE, WAITING, SLEEPING, NOTIFIED, 4, u32::MAX][(next() % 6) as usize], Relaxed);
                slot.member.store([0, 1, next() as u32, me.to_bits()][(next() % 4) as usize], Relaxed);
                slot.order.store(next() % 9, Relaxed);
                slot.notified_at.store(next() % 9, Relaxed);
            }
            let condvar = Condvar { words: &words, slots: &slots };
            let _ = condvar.n_waiting(&Half);
            if round % 2 == 0 {
                assert!(condvar.notify(|| Ok(Half), round % 4).unwrap() <= round % 4);
            }
            match condvar.enter(me, UNKNOWN, &Half) {
                Ok(ticket) => match condvar.wait(me, ticket, &Half, Wait::timeout(Duration::from_micros(1))) {
                    Ok(()) => condvar.leave(ticket),
                    Err(error) => assert!(matches!(error, Error::TimedOut), "{error}"),
                },
                Err(error) => assert!(matches!(error, Error::TooManyWaiters { limit: 4 }), "{error}"),
            }
            condvar.notify(|| Ok(Half), usize::MAX).unwrap();
        }
    }

    /// Places are used again, and when nobody has one, a notification looks at nothing.
    #[test]
    fn places_are_used_again() {
        let words = CondvarWords::default();
        let slots: [Slot; 2] = Default::default();
        let condvar = Condvar { words: &words, slots: &slots };
        let [one, dead, two] = [0, 1, 2].map(|slot| MemberId::new(slot, 1));
        for _ in 0..3 {
            let first = condvar.enter(dead, [1; 3], &Half).unwrap();
            // The dead one's place is free, and so is its lock.
            let second = condvar.enter(one, [2; 3], &Half).unwrap();
            assert_eq!((first.at, second.at), (0, 0));
            assert!(matches!(condvar.enter(two, [1; 3], &Half), Err(Error::InvalidArgument { .. })));
            let third = condvar.enter(two, [2; 3], &Half).unwrap();
            assert!(matches!(condvar.enter(one, [2; 3], &Half), Err(Error::TooManyWaiters { limit: 2 })));
            assert_eq!(condvar.notify(|| Ok(Half), 1).unwrap(), 1);
            condvar.wait(one, second, &Half, Wait::No).unwrap();
            condvar.leave(second);
            let late = condvar.wait(two, third, &Half, Wait::timeout(Duration::ZERO));
            assert!(matches!(late, Err(Error::TimedOut)));
            assert_eq!(condvar.notify(|| Ok(Half), 1).unwrap(), 0);
            assert_eq!(words.used.load(Relaxed), 0);
        }
    }
}
