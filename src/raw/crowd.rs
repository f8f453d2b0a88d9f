//! Whether all that share this processor have arrived: who waits for several others should spin if those that are missing
//! run elsewhere, and get out of their way if one of them needs this processor.
//!
//! Nobody knows where the others will run; but it is mostly where they ran in the last round. So each processor counts
//! who arrives on it. As many as in the round before are all that it has.
//!
//! # The words
//!
//! One for each processor, or for several, of which the last one to arrive has it:
//!
//! | bits | meaning |
//! | --- | --- |
//! | 0–15 | how many have arrived on this processor in the round |
//! | 16–31 | how many did in the last round that it saw |
//! | 32–47 | the round |
//! | 48–63 | the processor |
//!
//! All of it is a hint: any value may be found, a count can be lost between a load and its store, and a death anywhere
//! costs nothing. A wrong one makes a wait spin that had better yield, or the other way round, within the limits of
//! [`Spin`](super::waiting::Spin), until the next round counts anew.

use super::sys::AtomicU64;

/// The processors that have words of their own, if their numbers follow each other.
const WORDS: usize = 16;

/// On a cache line of its own, which then stays with the processor that writes it.
#[derive(Debug, Default)]
#[repr(C)]
struct Counter {
    word: AtomicU64,
    apart: [AtomicU64; 7],
}

/// Zeroed memory is a crowd that nobody has come to.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Crowd {
    apart: [AtomicU64; 7],
    counters: [Counter; WORDS],
}

impl Crowd {
    /// What it takes in shared memory.
    pub(crate) const SIZE: u64 = 56 + 64 * WORDS as u64;
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Crowd>() as u64 == Crowd::SIZE);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Count {
    arrived: u16,
    before: u16,
    round: u16,
    processor: u16,
}

impl Count {
    fn from_bits(bits: u64) -> Self {
        let part = |at: u32| (bits >> (16 * at)) as u16;
        Self { arrived: part(0), before: part(1), round: part(2), processor: part(3) }
    }

    fn to_bits(self) -> u64 {
        [self.processor, self.round, self.before, self.arrived]
            .into_iter()
            .fold(0, |bits, part| bits << 16 | u64::from(part))
    }

    /// With one more that has arrived.
    fn with_one(self, round: u16, processor: u16) -> Self {
        if processor != self.processor {
            Self { arrived: 1, before: 0, round, processor }
        } else if round != self.round {
            Self { arrived: 1, before: self.arrived, round, processor }
        } else {
            Self { arrived: self.arrived.saturating_add(1), ..self }
        }
    }

    /// Whether nobody is missing that came to this processor last time. Where others have the word there is no telling.
    fn is_complete(self, round: u16, processor: u16) -> bool {
        processor != self.processor || round == self.round && self.arrived >= self.before
    }
}

#[cfg(not(loom))]
mod counting {
    use std::sync::atomic::Ordering::Relaxed;

    use super::{Count, Crowd, WORDS};
    use crate::os::affinity;

    impl Crowd {
        /// One has arrived here in this round.
        #[inline]
        pub(crate) fn arrive(&self, round: u32) {
            let processor = affinity::current_cpu();
            let word = &self.counters[processor % WORDS].word;
            // Relaxed, here and below, and not one step: a hint, and others of the same processor run before or after.
            let count = Count::from_bits(word.load(Relaxed)).with_one(round as u16, processor as u16);
            word.store(count.to_bits(), Relaxed);
        }

        /// Whether all that share this processor have arrived in this round, as far as anybody can tell.
        #[inline]
        pub(crate) fn is_complete(&self, round: u32) -> bool {
            let processor = affinity::current_cpu();
            let word = &self.counters[processor % WORDS].word;
            Count::from_bits(word.load(Relaxed)).is_complete(round as u16, processor as u16)
        }
    }
}

/// The models know no processors.
#[cfg(loom)]
impl Crowd {
    pub(crate) fn arrive(&self, _: u32) {}

    pub(crate) fn is_complete(&self, _: u32) -> bool {
        true
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_processor_is_complete_when_as_many_have_come_as_before() {
        let mut count = Count::from_bits(0);
        for round in 0..5 {
            for arrived in 1..=4 {
                count = count.with_one(round, 3);
                assert_eq!(count.is_complete(round, 3), round == 0 || arrived == 4, "{arrived} in round {round}");
            }
            assert!(!count.is_complete(round + 1, 3), "nobody has come yet");
        }
        // One has gone elsewhere: the others are missing nobody a round later.
        for (round, complete) in [(5, false), (6, true)] {
            count = (0..3).fold(count, |count, _| count.with_one(round, 3));
            assert_eq!(count.is_complete(round, 3), complete);
        }
    }

    #[test]
    fn processors_with_one_word_leave_it_to_each_other() {
        let count = Count::from_bits(0).with_one(7, 1).with_one(7, 1).with_one(7, 17);
        assert_eq!(count, Count { arrived: 1, before: 0, round: 7, processor: 17 });
        assert!(count.is_complete(7, 17) && count.is_complete(7, 1) && count.is_complete(8, 1));
    }

    #[test]
    fn any_value_may_be_found() {
        for bits in [0, 1, u64::MAX, 0x0003_ffff_ffff_ffff] {
            let count = Count::from_bits(bits);
            assert_eq!(count.to_bits(), bits);
            let _ = count.with_one(u16::MAX, 3).is_complete(u16::MAX, 3);
        }
        let crowd = Crowd::default();
        crowd.counters.iter().for_each(|counter| counter.word.store(u64::MAX, std::sync::atomic::Ordering::Relaxed));
        for round in [0, 1 << 16, u32::MAX] {
            crowd.arrive(round);
        }
    }
}
