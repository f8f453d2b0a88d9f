//! The one policy for every wait: spin by loads for a bounded time, then yield, then sleep in the kernel.
//!
//! A wake-up through the kernel costs tens of microseconds, a cache line from another core a tenth of one: who waits
//! for a running thread should spin, and who waits for one that is not running should get out of its way. Nobody knows
//! which it is beforehand, so each object remembers how long its last waits were ([`Patience`]): a wait that spinning
//! ended moves the memory towards what it took, one that had to sleep halves it.

use std::time::Duration;

use super::sys::AtomicU16;
use crate::os::clock::Wait;

#[cfg(not(loom))]
use std::sync::atomic::Ordering::Relaxed;

/// The longest sleep before a waiter looks at its condition again.
///
/// A wake-up that was lost with a killed process costs at most this much.
pub(crate) const SLICE: Duration = Duration::from_millis(100);

/// For the end of a process that is dying, which is awaited by slices too: what changes hands meanwhile is seen.
pub(crate) fn wait_a_slice(wait: Wait) -> Wait {
    match wait {
        Wait::No => Wait::No,
        _ => Wait::Until(wait.slice(SLICE)),
    }
}

/// How long the waits for one object have lately been, in turns of the spin loop. Zeroed memory is a valid start.
///
/// Read from shared memory, so any value may be found: the limits below bound what it can do.
#[derive(Debug, Default)]
#[repr(transparent)]
pub(crate) struct Patience(AtomicU16);

/// Turns that every wait spins.
#[cfg(not(loom))]
const LEAST: u32 = 40;
/// Turns that no wait exceeds: about as long as a sleep and its wake-up would take.
#[cfg(not(loom))]
const MOST: u32 = 2000;
/// Times that a wait offers its core to others before it sleeps.
#[cfg(not(loom))]
const YIELDS: u32 = 4;

/// The same for a wait for a message or for room for one: if both ends sleep, each message costs two wake-ups, and each
/// end is late for the other's next one.
#[cfg(not(loom))]
const YIELDS_FOR_A_MESSAGE: u32 = 32;

/// The same for a wait for several others, while none of them needs this processor: they are at work elsewhere.
#[cfg(not(loom))]
const LEAST_FOR_MANY: u32 = 500;
/// Each of them needs its turn, and a round of sleeps and wake-ups costs more.
#[cfg(not(loom))]
const YIELDS_FOR_MANY: u32 = 64;

/// The same for a wait for the answer of somebody who has to do something first, or for the next question of somebody who
/// has got an answer.
#[cfg(not(loom))]
const LEAST_FOR_AN_ANSWER: u32 = 300;

/// One wait's way through the policy.
pub(crate) struct Spin<'a> {
    #[cfg_attr(loom, expect(dead_code))]
    patience: &'a Patience,
    #[cfg(not(loom))]
    turns: u32,
    #[cfg(not(loom))]
    limit: u32,
    #[cfg(not(loom))]
    yields: u32,
}

#[cfg(not(loom))]
impl<'a> Spin<'a> {
    pub(crate) fn new(patience: &'a Patience) -> Self {
        // Relaxed, here and below: the memory is a hint.
        let limit = (2 * u32::from(patience.0.load(Relaxed)) + LEAST).min(MOST);
        Self { patience, turns: 0, limit, yields: YIELDS }
    }

    /// For a wait at an end of a channel.
    pub(crate) fn for_a_message(patience: &'a Patience) -> Self {
        Self { yields: YIELDS_FOR_A_MESSAGE, ..Self::new(patience) }
    }

    /// For a wait that ends only when several others have run: see [`turn_among`](Self::turn_among).
    pub(crate) fn for_many(patience: &'a Patience) -> Self {
        let limit = (2 * u32::from(patience.0.load(Relaxed)) + LEAST_FOR_MANY).min(MOST);
        Self { patience, turns: 0, limit, yields: YIELDS_FOR_MANY }
    }

    /// For a wait for an answer, which takes microseconds if the other one is awake, and tens of them if it has to be woken. Two
    /// who each sleep before the other is awake stay so for ever: some waits, those that `look`, outlast a wake-up.
    pub(crate) fn for_an_answer(patience: &'a Patience, look: bool) -> Self {
        let known = 2 * u32::from(patience.0.load(Relaxed));
        let limit = if look { MOST } else { (known + LEAST_FOR_AN_ANSWER).min(MOST) };
        Self { patience, turns: 0, limit, yields: YIELDS }
    }

    /// The same for who knows better than to offer its core: one who takes it that is not waited for keeps it for milliseconds.
    pub(crate) fn without_yields(self) -> Self {
        Self { yields: 0, ..self }
    }

    /// Spins until the condition holds, and no longer than is worth while; says whether it came to hold. What is done for
    /// each turn is what the end of the wait is late by: the condition should be one load.
    #[inline(always)]
    pub(crate) fn until(&mut self, mut holds: impl FnMut() -> bool) -> bool {
        while self.turns < self.limit {
            if holds() {
                return true;
            }
            self.turns += 1;
            std::hint::spin_loop();
        }
        false
    }

    /// Passes a little time. `false` when it is time to sleep.
    #[inline]
    pub(crate) fn turn(&mut self) -> bool {
        self.turns += 1;
        if self.turns <= self.limit {
            std::hint::spin_loop();
            true
        } else if self.turns <= self.limit + self.yields {
            std::thread::yield_now();
            true
        } else {
            let last = self.patience.0.load(Relaxed);
            self.patience.0.store(last / 2, Relaxed);
            false
        }
    }

    /// As [`turn`](Self::turn), but does not spin unless those that are missing run elsewhere, as far as anybody can tell:
    /// one of them may need this processor.
    #[inline]
    pub(crate) fn turn_among(&mut self, are_elsewhere: impl Fn() -> bool) -> bool {
        if self.turns < self.limit && !are_elsewhere() {
            if self.yields > 0 {
                self.yields -= 1;
                std::thread::yield_now();
                return true;
            }
            self.turns = self.limit;
        }
        self.turn()
    }

    /// The condition came true while spinning or yielding.
    pub(crate) fn succeeded(&self) {
        let last = i32::from(self.patience.0.load(Relaxed).min(MOST as u16));
        if self.turns <= self.limit {
            self.patience.0.store((last + (self.turns as i32 - last) / 8) as u16, Relaxed);
        }
    }
}

/// Whether one end of a stream does well to fall behind the other a little. Zeroed memory is a valid start.
///
/// Two that follow each other at the heels exchange the same cache lines for each message. Who has found few messages,
/// and lingers for a moment, finds many at once, and leaves the other in peace meanwhile. But if the
/// other waits for an answer, lingering is a loss: that shows in that there is still only one message. Then it is tried
/// again later, and later each time.
#[derive(Debug, Default)]
#[repr(transparent)]
pub(crate) struct Linger(AtomicU16);

/// What those who wait at one end of a stream have learnt.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Waiters {
    pub(crate) patience: Patience,
    pub(crate) linger: Linger,
}

#[cfg(not(loom))]
impl Linger {
    /// Turns of the spin loop: two microseconds, tens of messages.
    const TURNS: u32 = 128;

    /// | bits | |
    /// | --- | --- |
    /// | 0–11 | waits to come without lingering |
    /// | 12–15 | how often it was in vain since it last helped |
    const WAITS: u16 = (1 << 12) - 1;

    /// Whether it is time to [linger](Self::linger) again.
    #[inline]
    pub(crate) fn is_due(&self) -> bool {
        // Relaxed, here and below: the memory is a hint, and any value will do.
        let known = self.0.load(Relaxed);
        if known & Self::WAITS > 0 {
            self.0.store(known - 1, Relaxed);
        }
        known & Self::WAITS == 0
    }

    /// Passes a little time, if that has helped. What follows tells whether it [did](Self::helped).
    pub(crate) fn linger(&self) -> bool {
        if !self.is_due() {
            return false;
        }
        (0..Self::TURNS).for_each(|_| std::hint::spin_loop());
        true
    }

    /// Says whether there was more than one message after the moment.
    pub(crate) fn helped(&self, did: bool) {
        let in_vain = self.0.load(Relaxed) >> 12;
        let next = match did {
            true => 0,
            // Twice as many waits each time, from 64 on.
            false => (in_vain + 1).min(7) << 12 | (64 << in_vain.min(6)).min(Self::WAITS),
        };
        self.0.store(next, Relaxed);
    }
}

#[cfg(loom)]
impl Linger {
    pub(crate) fn is_due(&self) -> bool {
        true
    }

    /// Always: so that the models look a second time, too.
    pub(crate) fn linger(&self) -> bool {
        true
    }

    pub(crate) fn helped(&self, _: bool) {}
}

#[cfg(loom)]
impl<'a> Spin<'a> {
    pub(crate) fn new(patience: &'a Patience) -> Self {
        Self { patience }
    }

    pub(crate) fn for_a_message(patience: &'a Patience) -> Self {
        Self::new(patience)
    }

    pub(crate) fn for_many(patience: &'a Patience) -> Self {
        Self::new(patience)
    }

    pub(crate) fn for_an_answer(patience: &'a Patience, _look: bool) -> Self {
        Self::new(patience)
    }

    pub(crate) fn until(&mut self, _: impl FnMut() -> bool) -> bool {
        false
    }

    pub(crate) fn turn(&mut self) -> bool {
        false
    }

    pub(crate) fn turn_among(&mut self, _: impl Fn() -> bool) -> bool {
        false
    }

    pub(crate) fn succeeded(&self) {}
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn every_wait_ends_its_spin() {
        for start in [0, 1, 2000, u16::MAX] {
            let patience = Patience(AtomicU16::new(start));
            let mut spin = Spin::new(&patience);
            let turns = std::iter::from_fn(|| spin.turn().then_some(())).count() as u32;
            assert!((LEAST..=MOST + YIELDS).contains(&turns), "{turns} turns from {start}");
            assert!(patience.0.load(Relaxed) <= start / 2);
        }
    }

    #[test]
    fn every_wait_for_many_ends_too() {
        for start in [0, 2000, u16::MAX] {
            let patience = Patience(AtomicU16::new(start));
            let yields = |are_elsewhere: &dyn Fn(u32) -> bool| {
                let mut spin = Spin::for_many(&patience);
                (0..).find(|turn| !spin.turn_among(|| are_elsewhere(*turn))).expect("an end")
            };
            assert_eq!(yields(&|_| false), YIELDS_FOR_MANY, "no spinning");
            let turns = LEAST_FOR_MANY + YIELDS_FOR_MANY..=MOST + YIELDS_FOR_MANY;
            assert!(turns.contains(&yields(&|_| true)) && turns.contains(&yields(&|turn| turn % 50 > 0)));
        }
    }

    #[test]
    fn success_draws_the_memory_near() {
        let patience = Patience(AtomicU16::new(u16::MAX));
        for _ in 0..100 {
            let mut spin = Spin::new(&patience);
            spin.turn();
            spin.succeeded();
        }
        assert!(patience.0.load(Relaxed) < 10);
    }
}
