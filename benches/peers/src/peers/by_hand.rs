//! What one writes by hand when nobody dies and nobody sleeps: the limits, which are no peers.

use std::sync::atomic::{
    AtomicU32,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};

use crate::{
    peers::{crossbeam::spin, std::Item},
    shared::{Shareable, Shared},
    spinning_ring::SpinningRing,
    workloads::{
        barrier::Meeting,
        channel::{Channel, Shape},
        semaphore::Signal,
    },
};

/// A word that one sets and another waits for.
pub(crate) struct Flag(Shared<Word>);

#[repr(C, align(64))]
struct Word(AtomicU32);

#[expect(unsafe_code, reason = "says what zeroed memory may be")]
// SAFETY: an atomic, for which zero is valid.
unsafe impl Shareable for Word {}

impl Signal for Flag {
    fn new(permits: u32) -> Result<Self, String> {
        let word = Shared::<Word>::zeroed();
        word.0.store(permits, Relaxed);
        Ok(Self(word))
    }

    #[inline]
    fn acquire(&self) {
        spin(|| (self.0.0.load(Acquire) > 0).then_some(()));
        self.0.0.store(0, Relaxed);
    }

    #[inline]
    fn release(&self) {
        self.0.0.store(1, Release);
    }
}

/// A count, and a round that all look at.
pub(crate) struct Barrier {
    words: Shared<Rounds>,
    parties: u32,
}

#[repr(C)]
struct Rounds {
    count: AtomicU32,
    round: AtomicU32,
}

#[expect(unsafe_code, reason = "says what zeroed memory may be")]
// SAFETY: atomics, for which zero is valid.
unsafe impl Shareable for Rounds {}

impl Meeting for Barrier {
    fn new(parties: u32) -> Result<Self, String> {
        Ok(Self { words: Shared::zeroed(), parties })
    }

    #[inline]
    fn wait(&self) -> Result<(), String> {
        let round = self.words.round.load(Relaxed);
        if self.words.count.fetch_add(1, AcqRel) + 1 == self.parties {
            self.words.count.store(0, Relaxed);
            self.words.round.store(round.wrapping_add(1), Release);
        } else {
            spin(|| (self.words.round.load(Acquire) != round).then_some(()));
        }
        Ok(())
    }
}

/// A ring of one producer and one consumer.
pub(crate) struct Ring(Shared<SpinningRing>);

impl Channel for Ring {
    type Sender<'a> = (&'a SpinningRing, usize);
    type Receiver<'a> = (&'a SpinningRing, usize);

    fn new(_: Shape) -> Result<Self, String> {
        Ok(Self(SpinningRing::shared()))
    }

    fn sender(&self) -> Self::Sender<'_> {
        // What was seen of the other one's counter: nothing is in it between two runs.
        (&self.0, self.0.counters().0)
    }

    fn receiver(&self) -> Self::Receiver<'_> {
        (&self.0, self.0.counters().1)
    }

    #[inline]
    fn send((ring, head): &mut Self::Sender<'_>, message: &[u8]) -> Result<(), String> {
        ring.push(<[u64; 8]>::of(message), head);
        Ok(())
    }

    #[inline]
    fn receive((ring, tail): &mut Self::Receiver<'_>, into: &mut [u8]) -> Result<(), String> {
        ring.pop(tail).put(into);
        Ok(())
    }
}
