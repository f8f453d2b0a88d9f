//! The ring of two that one writes by hand when nobody dies and nobody sleeps: counters, a copy of the other's, spinning.

#![expect(unsafe_code, reason = "reaches the slots")]

use std::{
    cell::UnsafeCell,
    hint::spin_loop,
    sync::atomic::{
        AtomicUsize,
        Ordering::{Acquire, Relaxed, Release},
    },
};

use crate::shared::{Shareable, Shared};

const ROOM: usize = 1024;

#[repr(align(128))]
struct Apart<T>(T);

/// One producer and one consumer, of a message of 64 bytes.
#[repr(C)]
pub(crate) struct SpinningRing {
    tail: Apart<AtomicUsize>,
    head: Apart<AtomicUsize>,
    slots: [UnsafeCell<[u64; 8]>; ROOM],
}

// SAFETY: atomics and plain data, for which zero is valid; the counters say whose each slot is.
unsafe impl Shareable for SpinningRing {}
// SAFETY: as above.
unsafe impl Sync for SpinningRing {}

impl SpinningRing {
    pub(crate) fn shared() -> Shared<Self> {
        Shared::zeroed()
    }

    /// What a producer and a consumer that begin anew have seen of each other's counter.
    #[allow(dead_code, reason = "for rings that are used in several runs")]
    pub(crate) fn counters(&self) -> (usize, usize) {
        (self.head.0.load(Acquire), self.tail.0.load(Acquire))
    }

    /// `head` is what the producer last saw of the other's counter.
    pub(crate) fn push(&self, message: [u64; 8], head: &mut usize) {
        let tail = self.tail.0.load(Relaxed);
        while tail - *head == ROOM {
            *head = self.head.0.load(Acquire);
            spin_loop();
        }
        // SAFETY: the slot is the producer's until the counter says otherwise.
        unsafe { *self.slots[tail % ROOM].get() = message };
        self.tail.0.store(tail + 1, Release);
    }

    pub(crate) fn pop(&self, tail: &mut usize) -> [u64; 8] {
        let head = self.head.0.load(Relaxed);
        while *tail == head {
            *tail = self.tail.0.load(Acquire);
            spin_loop();
        }
        // SAFETY: the slot is the consumer's until the counter says otherwise.
        let message = unsafe { *self.slots[head % ROOM].get() };
        self.head.0.store(head + 1, Release);
        message
    }
}
