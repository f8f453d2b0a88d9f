//! What the algorithms ask about the processes that take part: who lives, and how to sleep until one does not.

use std::num::NonZeroU32;

use super::sys::AtomicU32;
use crate::os::{clock::Wait, futex::Woken};

/// A process as a member of a region: the slot it has, and a number that tells it from others who had that slot.
///
/// | bits | |
/// | --- | --- |
/// | 0–11 | slot |
/// | 12–31 | the slot's generation, an odd number |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct MemberId(NonZeroU32);

impl MemberId {
    const SLOT_BITS: u32 = 12;

    /// The most slots that ids can tell apart.
    pub(crate) const MOST: u64 = 1 << Self::SLOT_BITS;

    /// The part of a slot's generation that an id holds.
    const MASK: u32 = u32::MAX >> Self::SLOT_BITS;

    pub(crate) const fn new(slot: usize, generation: u32) -> Self {
        let slot = slot as u32 & ((1 << Self::SLOT_BITS) - 1);
        let bits = (generation | 1) << Self::SLOT_BITS | slot;
        match NonZeroU32::new(bits) {
            Some(bits) => Self(bits),
            None => Self(NonZeroU32::MIN),
        }
    }

    /// Reads a word of shared memory: 0 is nobody, and any other value is an id, if perhaps of nobody.
    pub(crate) fn from_bits(bits: u32) -> Option<Self> {
        NonZeroU32::new(bits).map(Self)
    }

    pub(crate) fn to_bits(self) -> u32 {
        self.0.get()
    }

    pub(crate) fn slot(self) -> usize {
        (self.0.get() & ((1 << Self::SLOT_BITS) - 1)) as usize
    }

    /// How many changes of the slot's generation lie between this id and `generation`: 0 for the member itself, 1 once
    /// it has left, more once another has the slot.
    pub(crate) fn age(self, generation: u32) -> u32 {
        generation.wrapping_sub(self.0.get() >> Self::SLOT_BITS) & Self::MASK
    }

    /// Whether `generation` is the one of this member.
    pub(crate) fn is_of(self, generation: u32) -> bool {
        self.age(generation) == 0
    }
}

/// What is known of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    Lives,
    /// It has detached, and can do nothing any more.
    Left,
    /// The kernel has marked it, so at least one of its threads has ended: see [`Lives::is_gone`].
    Died,
}

/// The members of a region, as the algorithms see them.
pub(crate) trait Lives {
    /// By loads alone.
    fn life(&self, id: MemberId) -> Life;

    /// Whether the member can do nothing any more: it has left, or every thread of its process has ended. Waits for
    /// the end of a process that is dying.
    fn is_gone(&self, id: MemberId, wait: Wait) -> bool;

    /// The member's process, where it is still known.
    fn pid(&self, id: MemberId) -> Option<u32>;

    /// Sleeps while `word` holds `expected` and all of `watched` live, for a slice of the wait at most.
    fn sleep(&self, word: &AtomicU32, expected: u32, watched: &[MemberId], wait: Wait) -> Woken;
}

/// Members for the model checker: one for each slot, which lives until it is told to die.
#[cfg(all(test, loom))]
pub(crate) mod model {
    use loom::sync::atomic::Ordering::{Acquire, Release};

    use super::{Life, Lives, MemberId, Wait, Woken};
    use crate::raw::sys::{AtomicU32, futex};

    #[derive(Default)]
    pub(crate) struct Members([AtomicU32; 3]);

    impl Members {
        pub(crate) fn id(slot: usize) -> MemberId {
            MemberId::new(slot, 1)
        }

        /// The kernel's mark, and the wake-up of those who watch: all the sleepers of `word`.
        pub(crate) fn die(&self, slot: usize, word: &AtomicU32) {
            self.0[slot].store(1, Release);
            futex::wake(word, u32::MAX);
        }
    }

    impl Lives for &Members {
        fn life(&self, id: MemberId) -> Life {
            if self.0[id.slot()].load(Acquire) == 0 { Life::Lives } else { Life::Died }
        }

        fn is_gone(&self, id: MemberId, _: Wait) -> bool {
            self.life(id) != Life::Lives
        }

        fn pid(&self, id: MemberId) -> Option<u32> {
            Some(id.slot() as u32 + 1)
        }

        fn sleep(&self, word: &AtomicU32, expected: u32, watched: &[MemberId], _: Wait) -> Woken {
            futex::wait_while(word, expected, || watched.iter().all(|id| self.life(*id) == Life::Lives))
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn ids_tell_generations_apart() {
        let id = MemberId::new(4095, 1);
        assert_eq!((id.slot(), id.age(1), id.age(2), id.age(3)), (4095, 0, 1, 2));
        assert_eq!(MemberId::from_bits(id.to_bits()), Some(id));
        // The number is cut to what the id holds.
        let late = MemberId::new(0, 0xfff0_0003);
        assert!(late.is_of(0xfff0_0003) && late.age(0xfff0_0004) == 1 && late.is_of(3));
        assert_eq!(MemberId::from_bits(0), None);
    }
}

/// Members for unit tests: those with an even slot live, the others are gone.
#[cfg(all(test, not(loom)))]
pub(crate) struct Half;

#[cfg(all(test, not(loom)))]
impl Lives for Half {
    fn life(&self, id: MemberId) -> Life {
        if id.slot().is_multiple_of(2) { Life::Lives } else { Life::Died }
    }

    fn is_gone(&self, id: MemberId, _: Wait) -> bool {
        self.life(id) != Life::Lives
    }

    fn pid(&self, _: MemberId) -> Option<u32> {
        None
    }

    fn sleep(&self, word: &AtomicU32, expected: u32, _: &[MemberId], wait: Wait) -> Woken {
        super::sys::futex::wait(word, expected, wait.slice(std::time::Duration::from_millis(1)))
    }
}
