//! Permits with owners: a record for each, which names the member that has it, so that a death gives it back.
//!
//! # The records
//!
//! One `u64` a permit: 0 is free, else the lower half is the [`MemberId`] of the owner and bit 32 tells that no guard
//! stands for it (*detached*). Every change is one compare-and-swap, so there is no state between: a process that dies
//! before it has the permit or has not, and after it is the owner of a permit that anybody may take who has made sure
//! that the owner is gone.
//!
//! Who finds no permit announces itself at the [`Gate`], looks at all records once more, and sleeps there and on the
//! lifelines of all owners. Who releases frees the record, and then notifies.
//!
//! | dies | costs |
//! | --- | --- |
//! | a sleeper | nothing |
//! | a sleeper that was woken for a free permit, before it takes it | the other sleepers find it at the end of their slice |
//! | a releaser between the record and the wake-up | the same, or at once where its own lifeline is watched |
//! | an owner | its lifeline wakes the sleepers, which take over its permits |

#[cfg(not(loom))]
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

#[cfg(loom)]
use loom::sync::atomic::Ordering::{Relaxed, SeqCst};

use super::{
    gate::Gate,
    lives::{Life, Lives, MemberId},
    points::point,
    sys::AtomicU64,
    waiting::{Spin, wait_a_slice},
};
use crate::{
    Error, Result,
    os::{clock::Wait, futex::MOST_WORDS},
};

const DETACHED: u64 = 1 << 32;

/// Records that one turn of the spin looks at.
const WINDOW: usize = 32;

/// The permits of one semaphore.
pub(crate) struct Permits<'a> {
    pub(crate) gate: &'a Gate,
    pub(crate) records: &'a [AtomicU64],
}

/// The record of a permit that `id` has.
fn owned_by(id: MemberId) -> u64 {
    u64::from(id.to_bits())
}

fn owner_of(record: u64) -> Option<MemberId> {
    MemberId::from_bits(record as u32)
}

impl Permits<'_> {
    /// Takes a permit for `me`; returns which.
    ///
    /// # Errors
    ///
    /// `WouldBlock`, `TimedOut`; those of `lives`.
    #[inline]
    pub(crate) fn acquire<L: Lives>(
        &self,
        me: MemberId,
        lives: impl FnOnce() -> Result<L>,
        wait: Wait,
    ) -> Result<usize> {
        // Members begin at places of their own, so that they do not all try the same one.
        let start = me.slot() % self.records.len();
        match self.take(me, start, 0) {
            true => Ok(start),
            false => self.acquire_contended(me, start, &lives()?, wait),
        }
    }

    #[cold]
    fn acquire_contended(&self, me: MemberId, start: usize, lives: &impl Lives, wait: Wait) -> Result<usize> {
        if let Some(at) = self.take_free(me, start, self.records.len()) {
            return Ok(at);
        }
        if wait == Wait::No {
            return self.take_from_the_gone(me, lives, wait).ok_or(Error::WouldBlock);
        }
        let mut spin = Spin::new(&self.gate.patience);
        while spin.turn() {
            if let Some(at) = self.take_free(me, start, WINDOW) {
                spin.succeeded();
                return Ok(at);
            }
        }
        loop {
            if let Some(at) = self.take_from_the_gone(me, lives, wait_a_slice(wait)) {
                return Ok(at);
            }
            if wait.is_over() {
                return Err(Error::TimedOut);
            }
            let turn = self.gate.announce();
            // Before the last look: an owner that has released since then is found there, or is watched.
            let owners = self.owners();
            if let Some(at) = self.take_free(me, start, self.records.len()) {
                return Ok(at);
            }
            lives.sleep(&self.gate.word, turn, &owners, wait);
            if let Some(at) = self.take_free(me, start, self.records.len()) {
                return Ok(at);
            }
        }
    }

    /// Gives back the permit at `at` that `me` has. `false` when it has it no more.
    #[inline]
    pub(crate) fn release(&self, me: MemberId, at: usize) -> bool {
        self.free(at, owned_by(me))
    }

    /// Leaves the permit at `at` without a guard. `false` when `me` has it no more.
    pub(crate) fn detach(&self, me: MemberId, at: usize) -> bool {
        point();
        let record = owned_by(me);
        self.records[at].compare_exchange(record, record | DETACHED, Relaxed, Relaxed).is_ok()
    }

    /// Gives back a permit without a guard: one of `me`, else anybody's who lives. `false` when there is none.
    pub(crate) fn release_detached(&self, me: MemberId, lives: &impl Lives) -> bool {
        let mine = owned_by(me) | DETACHED;
        let has_living_owner = |record| owner_of(record).is_some_and(|owner| lives.life(owner) == Life::Lives);
        self.find_and_free(|record| record == mine)
            || self.find_and_free(|record| record & DETACHED != 0 && has_living_owner(record))
    }

    /// The number of permits that nobody has who lives.
    pub(crate) fn available(&self, lives: &impl Lives) -> usize {
        self.records.iter().filter(|record| is_free(record.load(Relaxed), lives, Wait::No)).count()
    }

    fn find_and_free(&self, wanted: impl Fn(u64) -> bool) -> bool {
        (0..self.records.len()).any(|at| {
            let record = self.records[at].load(Relaxed);
            wanted(record) && self.free(at, record)
        })
    }

    #[inline]
    fn take(&self, me: MemberId, at: usize, expected: u64) -> bool {
        point();
        // Sequentially consistent, against a release's look at the gate; it also orders what the permits stand for.
        self.records[at].compare_exchange(expected, owned_by(me), SeqCst, Relaxed).is_ok()
    }

    /// Takes one of the `count` permits from `start` on that is free.
    fn take_free(&self, me: MemberId, start: usize, count: usize) -> Option<usize> {
        let places = (start..self.records.len()).chain(0..start).take(count);
        // Sequentially consistent: after `announce`, see there.
        places.into_iter().find(|at| self.records[*at].load(SeqCst) == 0 && self.take(me, *at, 0))
    }

    /// Takes a permit whose owner is gone.
    fn take_from_the_gone(&self, me: MemberId, lives: &impl Lives, wait: Wait) -> Option<usize> {
        (0..self.records.len()).find(|at| {
            let record = self.records[*at].load(Relaxed);
            is_free(record, lives, wait) && self.take(me, *at, record)
        })
    }

    #[inline]
    fn free(&self, at: usize, record: u64) -> bool {
        point();
        let freed = self.records[at].compare_exchange(record, 0, SeqCst, Relaxed).is_ok();
        if freed {
            self.gate.notify(1);
        }
        freed
    }

    /// The members that have permits, each once, as far as they can be watched.
    fn owners(&self) -> Vec<MemberId> {
        let mut owners = Vec::new();
        for owner in self.records.iter().filter_map(|record| owner_of(record.load(Relaxed))) {
            if owners.len() == MOST_WORDS {
                break;
            }
            if !owners.contains(&owner) {
                owners.push(owner);
            }
        }
        owners
    }
}

/// Whether nobody has the permit, or nobody who can still do anything. A record that names nobody is free too.
fn is_free(record: u64, lives: &impl Lives, wait: Wait) -> bool {
    owner_of(record).is_none_or(|owner| lives.life(owner) != Life::Lives && lives.is_gone(owner, wait))
}

#[cfg(all(test, loom))]
mod loom_tests;
