//! What producers have put in and consumers taken, to the last message, whoever was killed meanwhile.
//!
//! A successor tries again what a dead producer did not live to count. So each message tells at which attempt it was
//! put in, and none is like another: one that is delivered twice is told from one that was put in twice.

#![allow(dead_code, reason = "each test file uses a part")]

use std::{
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst},
    thread,
    time::Duration,
};

use super::{Child, End, Random};

/// The most producers, and consumers.
pub(crate) const MOST: usize = 4;
/// Messages of each producer.
const NUMBERS: usize = 5000;
/// The most attempts at one of them.
const ATTEMPTS: u32 = u64::BITS;
/// The most messages that are taken at a time.
pub(crate) const FEW: usize = 3;

/// The producer, the number, and the attempt.
pub(crate) type Message = u64;

fn message(who: usize, number: usize, attempt: u32) -> Message {
    (who as u64) << 48 | (number as u64) << 16 | u64::from(attempt)
}

/// For children that share it.
pub(crate) struct Ledger {
    /// How many of its messages each producer has put in.
    published: [AtomicU64; MOST],
    attempts: [[AtomicU32; NUMBERS]; MOST],
    /// The attempts that were taken, a bit for each.
    taken: [[AtomicU64; NUMBERS]; MOST],
    /// Whether each consumer may have taken something that is not written down yet.
    takes: [AtomicBool; MOST],
}

impl Ledger {
    /// Puts in what the producer `who` and its predecessors have not.
    pub(crate) fn produce(&self, who: usize, mut put: impl FnMut(Message)) {
        for number in self.published[who].load(SeqCst) as usize..NUMBERS {
            if number.is_multiple_of(2) {
                thread::sleep(Duration::from_micros(100));
            }
            let attempt = self.attempts[who][number].fetch_add(1, SeqCst);
            assert!(attempt < ATTEMPTS);
            put(message(who, number, attempt));
            self.published[who].store(number as u64 + 1, SeqCst);
        }
    }

    /// Takes messages, as the consumer `me`, until `take` finds 0 of them.
    pub(crate) fn consume(&self, me: usize, mut take: impl FnMut(&mut [Message; FEW]) -> usize) {
        let (mut last, mut some) = ([None; MOST], [0; FEW]);
        loop {
            self.takes[me].store(true, SeqCst);
            let count = take(&mut some);
            for &message in &some[..count] {
                let (who, number, attempt) =
                    ((message >> 48) as usize, (message >> 16) as u32 as usize, message & 0xffff);
                assert!(last[who].replace(message) < Some(message), "out of order");
                let before = self.taken[who][number].fetch_or(1 << attempt, SeqCst);
                assert!(before & 1 << attempt == 0, "delivered twice");
            }
            self.takes[me].store(false, SeqCst);
            if count == 0 {
                return;
            }
        }
    }

    /// All is there that a `put` had returned for, but for `lost` messages at most.
    fn check(&self, lost: u64) {
        let mut missing = 0;
        for who in 0..MOST {
            for number in 0..self.published[who].load(SeqCst) as usize {
                let attempts = self.attempts[who][number].load(SeqCst);
                let taken = self.taken[who][number].load(SeqCst);
                assert_eq!(taken.checked_shr(attempts).unwrap_or(0), 0, "taken, and never put in");
                // Only the last attempt is known to have been put in.
                missing += u64::from(taken & 1 << (attempts - 1) == 0);
            }
        }
        assert!(missing <= lost, "{missing} are missing, {lost} were on their way to dead consumers");
    }

    /// Producers and consumers, `count` of each, are killed at random and others take their places, `rounds` times; in
    /// the end all is accounted for. A consumer takes `with_it` messages with it at most.
    pub(crate) fn everybody_is_killed(
        &self,
        (count, rounds, with_it): (usize, usize, u64),
        produce: impl Fn(usize),
        consume: impl Fn(usize),
        close: impl FnOnce(),
    ) {
        let mut random = Random::new();
        let start = |at: usize| {
            Child::start(|| {
                if at < count {
                    produce(at)
                } else {
                    consume(at - count)
                }
                0
            })
        };
        let mut children: Vec<Child> = (0..2 * count).map(start).collect();
        let (mut kills, mut lost) = ([0; 2], 0);
        for _ in 0..rounds {
            // So that each lives long enough to do something.
            random.pause(Duration::from_micros(3200) / count as u32);
            let at = random.below(2 * count as u64) as usize;
            children[at].kill();
            match children[at].wait() {
                End::Signal(libc::SIGKILL) => kills[usize::from(at >= count)] += 1,
                // It had put in all.
                end => assert!(at < count && end == End::Code(0), "{end:?}"),
            }
            if at >= count && self.takes[at - count].load(SeqCst) {
                lost += with_it;
            }
            children[at] = start(at);
        }
        let (producers, consumers) = children.split_at_mut(count);
        assert!(producers.iter_mut().all(|child| child.wait() == End::Code(0)));
        close();
        assert!(consumers.iter_mut().all(|child| child.wait() == End::Code(0)));
        assert!(self.published[..count].iter().all(|published| published.load(SeqCst) == NUMBERS as u64));
        self.check(lost);
        assert!(kills.iter().all(|kills| *kills > rounds / 20), "{kills:?} kills");
    }
}
