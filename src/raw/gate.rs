//! Where sleepers wait for a change that others make elsewhere: to slots, records or positions.
//!
//! | bits | name | meaning |
//! | --- | --- | --- |
//! | 0 | `WAITERS` | somebody may sleep on the word |
//! | 1 | `FENCES` | some who wait here cannot have the kernel make barriers for others: who makes none makes one from now on |
//! | 2–31 | turn | changes whenever somebody is about to sleep, or is woken |
//!
//! Who waits announces itself, then looks, then sleeps as long as the word is as announced. Who changes something does
//! that and then looks at the word. Both steps of both are sequentially consistent, so one of the two sees the other. A
//! notification wakes as many as it is for; one that is killed on its way costs the others the rest of their slice, since
//! the change is there and every sleeper looks at it after that.
//!
//! | a death after | costs the others |
//! | --- | --- |
//! | the announcement | a wake-up of nobody, which clears the mark |
//! | the change, the new turn | the sleepers the rest of their slice |
//! | the wake-up | nothing: the mark costs the next change a wake-up of nobody |
//! | the demand for fences | those who notify a barrier each time, for as long as the gate is there |

#[cfg(not(loom))]
use std::sync::atomic::{
    Ordering::{Relaxed, SeqCst},
    fence,
};

#[cfg(loom)]
use loom::sync::atomic::{
    Ordering::{Relaxed, SeqCst},
    fence,
};

use super::{
    points::point,
    sys::{AtomicU16, AtomicU32, futex, one_order_for_all},
    waiting::Patience,
};

const WAITERS: u32 = 1;
const FENCES: u32 = 2;
const TURN: u32 = 4;

/// The gate. Zeroed memory is one where nobody waits.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Gate {
    pub(crate) word: AtomicU32,
    pub(crate) patience: Patience,
    spare: AtomicU16,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Gate>() == 8);

impl Gate {
    /// Wakes up to `count` of those who wait here, for whoever has just changed what they wait for, in a sequentially
    /// consistent step or with a barrier after it.
    #[inline]
    pub(crate) fn notify(&self, count: u32) {
        one_order_for_all();
        if self.word.load(SeqCst) & WAITERS != 0 {
            self.wake(count);
        }
    }

    /// The same for whoever has made a barrier after the change, or has others make it who wait, and wakes one.
    #[inline]
    pub(crate) fn notify_relaxed(&self) {
        let word = self.word.load(Relaxed);
        if word & (WAITERS | FENCES) != 0 {
            self.look_and_wake(word);
        }
    }

    #[cold]
    fn look_and_wake(&self, word: u32) {
        if word & FENCES != 0 && word & WAITERS == 0 {
            // Between the change and the look, against the announcement: one of the two sees the other.
            fence(SeqCst);
            if self.word.load(SeqCst) & WAITERS == 0 {
                return;
            }
        }
        self.wake(1);
    }

    /// Has those who make no barrier before they look here make one from now on: for who has announced itself, which
    /// returned `turn`, and cannot have it made. Returns the word as it is then, and whether that had been asked for before
    /// the announcement. If not, somebody may have looked here already, and what it had changed before that may come to
    /// light a moment later.
    #[cold]
    pub(crate) fn ask_for_fences(&self, turn: u32) -> (u32, bool) {
        if turn & FENCES != 0 {
            return (turn, true);
        }
        point();
        self.word.fetch_or(FENCES, SeqCst);
        (turn | FENCES, false)
    }

    #[cold]
    fn wake(&self, count: u32) {
        point();
        let turn = self.word.fetch_add(TURN, SeqCst).wrapping_add(TURN);
        point();
        if futex::wake(&self.word, count) == 0 {
            point();
            // Nobody slept, and whoever is about to has changed the word.
            let _ = self.word.compare_exchange(turn, turn & !WAITERS, Relaxed, Relaxed);
        }
    }

    /// Tells those who change things that somebody is about to look, and then to sleep; returns the word as it is then.
    pub(crate) fn announce(&self) -> u32 {
        let mut turn = self.word.load(Relaxed);
        loop {
            let next = turn.wrapping_add(TURN) | WAITERS;
            point();
            match self.word.compare_exchange(turn, next, SeqCst, Relaxed) {
                Ok(_) => break,
                Err(now) => turn = now,
            }
        }
        one_order_for_all();
        turn.wrapping_add(TURN) | WAITERS
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// The demand for fences outlives all turns, and the mark all but a wake-up of nobody.
    #[test]
    fn turns_wrap_around() {
        let gate = Gate::default();
        gate.word.store(0_u32.wrapping_sub(2 * TURN), Relaxed);
        assert_eq!(gate.ask_for_fences(gate.announce()), (TURN.wrapping_neg() | WAITERS | FENCES, false));
        assert_eq!(gate.ask_for_fences(gate.announce()), (WAITERS | FENCES, true));
        gate.notify_relaxed();
        assert_eq!(gate.word.load(Relaxed), TURN | FENCES);
        gate.notify_relaxed();
        assert_eq!(gate.word.load(Relaxed), TURN | FENCES);
    }
}
