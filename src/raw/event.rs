//! A flag that others wait for.
//!
//! # The word
//!
//! | bits | name | meaning |
//! | --- | --- | --- |
//! | 0 | `SET` | who waits may go on |
//! | 1–30 | `EPOCH` | changes whenever the event becomes set |
//! | 31 | `WAITERS` | somebody may sleep on the word, which then is not `SET` |
//!
//! A second, constant word says how the event is reset:
//!
//! - *By hand*: set lets all through, and all later ones until it is cleared. A waiter goes on when it finds `SET`, or
//!   another epoch than at its start, so that a set followed at once by a clear lets through all who waited. (One that
//!   was stopped while the event was set 2³⁰ times, or a multiple of it, and then cleared, waits on.)
//! - *By itself*: set lets exactly one through, who clears it.
//!
//! # Order of the steps, and a death after each
//!
//! | step | a death after it costs |
//! | --- | --- |
//! | wait: take `SET` (resets by itself) | the set: it was used |
//! | sleep: set `WAITERS` | the next set a wake-up of nobody |
//! | sleep, and be woken, before `SET` is taken (resets by itself) | the others the rest of their slice |
//! | set: `SET` and epoch; by hand also `WAITERS` off | the sleepers the rest of their slice |
//! | set: wake all, or one | nothing |
//! | set: `WAITERS` off, if nobody slept (resets by itself) | nothing |
//! | clear: `SET` off | nothing |
//!
//! # Who clears `WAITERS`
//!
//! By hand: set does, and wakes all. By itself: a set that woke nobody, if the word is still as set left it. Then the
//! event has been set all the time since, for another set would show in the epoch; and nobody goes to sleep on a word
//! that is set. So nobody sleeps.
//!
//! # Set on what is set
//!
//! changes nothing, but still writes the word. Who clears the event and then looks for work must find what was written
//! before a set that came before the clear; a set that only looked could see an old `SET` before its own work shows.

#[cfg(not(loom))]
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

#[cfg(loom)]
use loom::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use super::{
    points::point,
    sys::{AtomicU16, AtomicU32, futex},
    waiting::{Patience, SLICE, Spin},
};
use crate::{Error, Result, os::clock::Wait};

const WAITERS: u32 = 1 << 31;
const SET: u32 = 1;
const EPOCH: u32 = !(WAITERS | SET);
const NEXT_EPOCH: u32 = 2;

/// The event. Zeroed memory is one that is not set and is reset by hand.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct RawEvent {
    word: AtomicU32,
    patience: Patience,
    /// Not 0: it resets by itself. Never changes.
    auto_reset: AtomicU16,
}

#[cfg(not(loom))]
const _: () = {
    use std::mem::offset_of;
    assert!(size_of::<RawEvent>() == 8 && align_of::<RawEvent>() == 4);
    assert!(offset_of!(RawEvent, word) == 0 && offset_of!(RawEvent, auto_reset) == 6);
};

/// The word of an event that is set now and was not before, from its word before.
fn set_from(state: u32) -> u32 {
    state & WAITERS | state.wrapping_add(NEXT_EPOCH) & EPOCH | SET
}

impl RawEvent {
    pub(crate) fn with(auto_reset: bool) -> Self {
        Self { auto_reset: AtomicU16::new(u16::from(auto_reset)), ..Self::default() }
    }

    /// Whether it resets by itself.
    #[inline]
    pub(crate) fn is_auto_reset(&self) -> bool {
        // Relaxed: written before anybody saw the object.
        self.auto_reset.load(Relaxed) != 0
    }

    #[inline]
    pub(crate) fn is_set(&self) -> bool {
        // Acquire: pairs with the Release of `set`.
        self.word.load(Acquire) & SET != 0
    }

    /// Makes the event unset.
    #[inline]
    pub(crate) fn clear(&self) {
        point();
        // Acquire, for what a set before wrote, see the module. Release: who finds it unset sees what came before.
        self.word.fetch_and(!SET, AcqRel);
    }

    /// Makes the event set, and wakes who waits for it.
    pub(crate) fn set(&self) {
        let is_auto_reset = self.is_auto_reset();
        let mut state = self.word.load(Relaxed);
        loop {
            let new = match state & SET {
                0 if is_auto_reset => set_from(state),
                0 => set_from(state) & !WAITERS,
                _ => state,
            };
            point();
            // Release: pairs with the Acquire of those whom it lets through. Also where nothing changes, see the module.
            match self.word.compare_exchange(state, new, Release, Relaxed) {
                Ok(_) if state & (SET | WAITERS) == WAITERS => return self.wake(new, is_auto_reset),
                Ok(_) => return,
                Err(now) => state = now,
            }
        }
    }

    /// Wakes who sleeps, after the word was made `state`.
    #[cold]
    fn wake(&self, state: u32, is_auto_reset: bool) {
        point();
        if !is_auto_reset {
            futex::wake(&self.word, u32::MAX);
        } else if futex::wake(&self.word, 1) == 0 {
            point();
            // Nobody sleeps, see the module.
            let _ = self.word.compare_exchange(state, state & !WAITERS, Relaxed, Relaxed);
        }
    }

    /// Waits until the event is set.
    ///
    /// # Errors
    ///
    /// `WouldBlock`, `TimedOut`.
    #[inline]
    pub(crate) fn wait(&self, wait: Wait) -> Result<()> {
        let start = self.word.load(Acquire);
        if self.is_through(start, start) { Ok(()) } else { self.wait_contended(start, wait) }
    }

    /// Whether a waiter that began at `start` may go on now, having read `state` with Acquire. If so it is counted.
    #[inline]
    fn is_through(&self, start: u32, state: u32) -> bool {
        if !self.is_auto_reset() {
            return state & SET != 0 || (state ^ start) & EPOCH != 0;
        }
        if state & SET == 0 {
            return false;
        }
        point();
        // Acquire: pairs with the Release of `set`.
        self.word.compare_exchange(state, state & !SET, Acquire, Relaxed).is_ok()
    }

    #[cold]
    fn wait_contended(&self, start: u32, wait: Wait) -> Result<()> {
        let mut spin = Spin::new(&self.patience);
        loop {
            let state = self.word.load(Acquire);
            if self.is_through(start, state) {
                spin.succeeded();
                return Ok(());
            }
            if state & SET != 0 {
                // It was somebody else's, or the word has changed meanwhile: look again.
                continue;
            }
            if wait == Wait::No {
                return Err(Error::WouldBlock);
            }
            if !spin.turn() {
                self.sleep(state, wait)?;
            }
        }
    }

    /// Sleeps once on a word that was not set when it was read as `state`.
    fn sleep(&self, state: u32, wait: Wait) -> Result<()> {
        if wait.is_over() {
            return Err(Error::TimedOut);
        }
        let sleeping = state | WAITERS;
        if state != sleeping {
            point();
            if self.word.compare_exchange(state, sleeping, Relaxed, Relaxed).is_err() {
                return Ok(());
            }
        }
        futex::wait(&self.word, sleeping, wait.slice(SLICE));
        Ok(())
    }
}

#[cfg(all(test, loom))]
mod loom_tests;

#[cfg(all(test, not(loom)))]
mod tests {
    use std::{
        thread,
        time::{Duration, Instant},
    };

    use super::*;

    fn asleep(event: &RawEvent) -> bool {
        event.word.load(Relaxed) & WAITERS != 0
    }

    #[test]
    fn by_hand_it_stays_set() {
        let event = RawEvent::with(false);
        assert!(!event.is_set() && !event.is_auto_reset());
        assert!(event.wait(Wait::No).unwrap_err().is_would_block());
        event.set();
        event.set();
        for wait in [Wait::No, Wait::Forever, Wait::timeout(Duration::ZERO)] {
            event.wait(wait).unwrap();
        }
        event.clear();
        event.clear();
        assert!(event.wait(Wait::No).is_err());
    }

    #[test]
    fn by_itself_it_lets_one_through() {
        let event = RawEvent::with(true);
        assert!(event.is_auto_reset());
        event.set();
        event.set();
        assert!(event.is_set());
        event.wait(Wait::Forever).unwrap();
        assert!(!event.is_set());
        assert!(event.wait(Wait::No).unwrap_err().is_would_block());
        event.set();
        event.clear();
        assert!(event.wait(Wait::timeout(Duration::from_millis(1))).unwrap_err().is_timed_out());
    }

    #[test]
    fn epochs_wrap_inside_their_bits() {
        for auto_reset in [false, true] {
            let event = RawEvent::with(auto_reset);
            event.word.store(EPOCH, Relaxed);
            event.set();
            assert_eq!(event.word.load(Relaxed), SET);
            event.clear();
            event.word.store(EPOCH | WAITERS, Relaxed);
            event.set();
            assert_eq!(event.word.load(Relaxed), SET, "nobody slept");
        }
    }

    #[test]
    fn a_wait_ends_in_time() {
        for auto_reset in [false, true] {
            let event = RawEvent::with(auto_reset);
            for time in [Duration::ZERO, Duration::from_millis(5), Duration::from_millis(150)] {
                let start = Instant::now();
                assert!(event.wait(Wait::timeout(time)).unwrap_err().is_timed_out());
                assert!(start.elapsed() >= time);
            }
        }
    }

    #[test]
    fn a_set_that_is_cleared_at_once_misses_nobody() {
        let event = RawEvent::with(false);
        let soon = Wait::timeout(Duration::from_secs(20));
        for _ in 0..20 {
            thread::scope(|scope| {
                let waiter = scope.spawn(|| event.wait(soon));
                while !asleep(&event) {
                    assert!(!soon.is_over());
                    thread::yield_now();
                }
                event.set();
                event.clear();
                waiter.join().unwrap().unwrap();
            });
        }
    }

    #[test]
    fn each_set_lets_one_sleeper_through() {
        let event = RawEvent::with(true);
        let soon = Wait::timeout(Duration::from_secs(20));
        thread::scope(|scope| {
            let waiters = [(); 4].map(|()| scope.spawn(|| event.wait(soon)));
            for _ in 0..4 {
                event.set();
                while event.is_set() {
                    assert!(!soon.is_over());
                    thread::yield_now();
                }
            }
            for waiter in waiters {
                waiter.join().unwrap().unwrap();
            }
        });
    }
}
