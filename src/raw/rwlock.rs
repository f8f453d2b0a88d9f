//! A lock for one writer or many readers, each of whom may die: the writer holds a robust lock, readers are counted by
//! member.
//!
//! # The records of the readers
//!
//! One `u64` each: the [`MemberId`] in the lower half, the number of reads that the member's threads have in the upper
//! one. A member takes a record at its first read and keeps it; one without reads may be taken by another member. So
//! readers of different processes change different words. When all records are in use, a reader holds the writers'
//! lock instead, as the only reader of its kind: for the data, which it only looks at.
//!
//! # Readers against writers
//!
//! A reader counts itself, and then looks whether a writer has the lock. A writer takes the lock, and then waits until
//! no record has reads. Both steps are in one order for all, so one of the two sees the other. A reader that finds a
//! writer takes itself back and queues for the lock, in which it counts itself again: so a writer that waits lets no new
//! readers in, and readers get their turn among the writers. A thread that reads already may read again at once, for its
//! first read keeps every writer out: were it to queue, a writer that waits for that read would wait for ever.
//!
//! # The gate
//!
//! Bit 0 tells that the writer sleeps until the readers are gone, the others change with every wake-up. The writer also
//! sleeps on the lifelines of the readers.
//!
//! | dies | the others |
//! | --- | --- |
//! | a reader, counted | the writer finds it gone, and strikes its record out |
//! | a reader with the writers' lock | the next one gets it when the whole process has ended; nothing was changed |
//! | a reader, between its end and the wake-up | as above: its lifeline is watched |
//! | a writer that waits for readers, a reader in the queue | the next one gets the lock; nothing was changed |
//! | a writer that has the data | the next one finds the lock poisoned |
//!
//! Source: the counts and their check are those of J. Corbet, *Big reader locks* (2010), with members for processors.

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
    lives::{Life, Lives, MemberId},
    mutex::{RawMutex, Use},
    points::point,
    sys::{AtomicU16, AtomicU32, AtomicU64, futex, one_order_for_all},
    waiting::{Patience, SLICE, Spin},
};
use crate::{
    Error, Result,
    os::{clock::Wait, futex::MOST_WORDS},
};

/// Members that can read at the same time without holding the writers' lock.
#[cfg(not(loom))]
pub(crate) const RECORDS: usize = 64;
#[cfg(loom)]
pub(crate) const RECORDS: usize = 2;

const DRAINING: u32 = 1;
const TURN: u32 = 2;

const ONE_READ: u64 = 1 << 32;

/// The lock. Zeroed memory is a free, healthy one.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct RwWords {
    pub(crate) mutex: RawMutex,
    gate: AtomicU32,
    patience: Patience,
    /// How often the thread that has the lock to read reads. Its own; who takes the lock from a dead one sets it.
    guest_reads: AtomicU16,
    records: [AtomicU64; RECORDS],
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<RwWords>() == 48 + 8 * RECORDS);

/// What keeps the writers out for one read: the [`MemberId`] in the lower half, in the upper one the record in which it
/// is counted, or [`ALONE`](Self::ALONE).
///
/// A word, so that a guard has no padding and is moved as whole words: of one that was written in parts, the processor
/// waits for each part before it reads the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct Reading(u64);

impl Reading {
    /// In place of a record: the writers' lock.
    const ALONE: u32 = u32::MAX;

    #[inline(always)]
    fn counted(me: MemberId, at: usize) -> Self {
        Self((at as u64) << 32 | u64::from(me.to_bits()))
    }

    #[inline(always)]
    fn alone(me: MemberId) -> Self {
        Self(u64::from(Self::ALONE) << 32 | u64::from(me.to_bits()))
    }

    /// Who reads.
    #[inline(always)]
    pub(crate) fn member(self) -> Option<MemberId> {
        MemberId::from_bits(self.0 as u32)
    }

    /// The record, if it is not the writers' lock.
    #[inline(always)]
    fn record(self) -> Option<usize> {
        let at = (self.0 >> 32) as u32;
        (at != Self::ALONE).then_some(at as usize)
    }
}

fn reads_of(record: u64) -> u32 {
    (record >> 32) as u32
}

fn reader_of(record: u64) -> Option<MemberId> {
    MemberId::from_bits(record as u32)
}

impl RwWords {
    /// Waits until nobody writes, and keeps writers out. `again` tells whether the calling thread has a read already.
    ///
    /// # Errors
    ///
    /// `Poisoned`, and then nothing is held; `WouldBlock`, `TimedOut`, `WouldDeadlock` for a thread that writes;
    /// `TooManyLocks`.
    #[inline(always)]
    pub(crate) fn read<L: Lives>(
        &self,
        me: MemberId,
        again: impl FnOnce() -> bool,
        lives: impl Fn() -> Result<L>,
        wait: Wait,
    ) -> Result<Reading> {
        let counted = self.count_in_its_place(me);
        if counted.is_some() {
            // After the count: see the module.
            one_order_for_all();
            if self.mutex.is_free() && !self.mutex.is_poisoned() {
                return Ok(Reading::counted(me, place_of(me)));
            }
        }
        self.read_contended(me, counted, again, lives, wait)
    }

    /// The same, for who may have been [counted](Self::count_in_its_place) already.
    #[cold]
    fn read_contended<L: Lives>(
        &self,
        me: MemberId,
        counted: Option<u32>,
        again: impl FnOnce() -> bool,
        lives: impl Fn() -> Result<L>,
        wait: Wait,
    ) -> Result<Reading> {
        let counted = counted.map(|before| (place_of(me), before));
        if let Some((at, before)) = counted.or_else(|| self.count(me, None::<&L>)) {
            // After the count: see the module.
            one_order_for_all();
            let is_free = self.mutex.is_free();
            // With a read that goes on there is no writer, and has been none since it began.
            if is_free && !self.mutex.is_poisoned() || before > 0 && again() {
                return Ok(Reading::counted(me, at));
            }
            self.uncount(me, at);
            if is_free {
                return Err(Error::Poisoned { pid: self.mutex.culprit(), range: None });
            }
        }
        self.read_in_turn(me, &lives()?, wait)
    }

    #[cold]
    fn read_in_turn(&self, me: MemberId, lives: &impl Lives, wait: Wait) -> Result<Reading> {
        if self.mutex.is_mine() && self.mutex.is_held_for(Use::View) {
            // Relaxed, here and below: of this thread alone.
            let more = self.guest_reads.load(Relaxed).checked_add(1);
            let more = more.ok_or_else(|| Error::invalid_argument("the lock is read 2^16 times by one thread"))?;
            point();
            self.guest_reads.store(more, Relaxed);
            return Ok(Reading::alone(me));
        }
        // A death in here changes nothing of the data.
        self.mutex.lock(Use::Table, wait)?;
        if self.mutex.is_poisoned() {
            let pid = self.mutex.culprit();
            self.mutex.unlock();
            return Err(Error::Poisoned { pid, range: None });
        }
        match self.count(me, Some(lives)) {
            Some((at, _)) => {
                self.mutex.unlock();
                Ok(Reading::counted(me, at))
            }
            None => Ok(self.be_a_guest(me)),
        }
    }

    /// Makes the writers' lock, which the calling thread has, its only read.
    fn be_a_guest(&self, me: MemberId) -> Reading {
        point();
        self.guest_reads.store(1, Relaxed);
        self.mutex.use_for(Use::View);
        Reading::alone(me)
    }

    /// Ends a read.
    #[inline(always)]
    pub(crate) fn end_read(&self, reading: Reading) {
        match (reading.record(), reading.member()) {
            (Some(at), Some(me)) => self.uncount(me, at),
            _ => self.end_guest_read(),
        }
    }

    #[cold]
    fn end_guest_read(&self) {
        match self.guest_reads.load(Relaxed) {
            0 | 1 => self.mutex.unlock(),
            reads => {
                point();
                self.guest_reads.store(reads - 1, Relaxed);
            }
        }
    }

    /// Waits until nobody else reads or writes, and keeps everybody out, poisoned or not. The lock is then held for the
    /// data. `reads`: the calling thread has a read.
    ///
    /// # Errors
    ///
    /// `WouldBlock`, `TimedOut`, `WouldDeadlock`, `TooManyLocks`.
    #[inline]
    pub(crate) fn write<L: Lives>(&self, reads: bool, lives: impl Fn() -> Result<L>, wait: Wait) -> Result<()> {
        if reads {
            return Err(if wait == Wait::No { Error::WouldBlock } else { Error::WouldDeadlock });
        }
        self.mutex.lock(Use::Table, wait)?;
        // Between the lock and the look at the readers: see the module.
        fence(SeqCst);
        if self.gate.load(Relaxed) & DRAINING != 0 {
            // Of a writer that died asleep: readers need not wake anybody.
            self.stop_draining();
        }
        if self.has_readers() {
            let drained = lives().and_then(|lives| self.drain(&lives, wait));
            drained.inspect_err(|_| self.mutex.unlock())?;
        }
        self.mutex.use_for(Use::Data);
        Ok(())
    }

    /// Turns the write of the calling thread into a read.
    pub(crate) fn downgrade<L: Lives>(&self, me: MemberId, lives: Option<&L>) -> Reading {
        self.mutex.use_for(Use::View);
        match self.count(me, lives) {
            Some((at, _)) => {
                self.mutex.unlock();
                Reading::counted(me, at)
            }
            None => self.be_a_guest(me),
        }
    }

    /// Whether `me` is on record with a read.
    pub(crate) fn is_read_by(&self, me: MemberId) -> bool {
        let mut records = self.records.iter().map(|record| record.load(Relaxed));
        records.any(|record| reader_of(record) == Some(me) && reads_of(record) > 0)
    }

    /// The number of reads that are on record.
    pub(crate) fn readers(&self) -> usize {
        self.records.iter().map(|record| reads_of(record.load(Relaxed)) as usize).sum()
    }

    /// Counts one more read of `me`; returns the record and the reads that it had before. `None` when all records are
    /// in use, by members that live, if `lives` is asked.
    fn count<L: Lives>(&self, me: MemberId, lives: Option<&L>) -> Option<(usize, u32)> {
        let counted = self.count_in_its_place(me).map(|before| (place_of(me), before));
        counted.or_else(|| self.count_anywhere(me, lives))
    }

    /// Counts one more read of `me`, if it has the record where it looks first, and nobody changes that meanwhile. Returns
    /// the reads that it had before.
    #[inline(always)]
    fn count_in_its_place(&self, me: MemberId) -> Option<u32> {
        let start = place_of(me);
        let own = self.records[start].load(Relaxed);
        let is_counted = reader_of(own) == Some(me) && self.change(start, own, own.checked_add(ONE_READ)?);
        is_counted.then_some(reads_of(own))
    }

    #[cold]
    fn count_anywhere<L: Lives>(&self, me: MemberId, lives: Option<&L>) -> Option<(usize, u32)> {
        let start = place_of(me);
        let first = u64::from(me.to_bits()) | ONE_READ;
        let places = || (start..RECORDS).chain(0..start);
        loop {
            if let Some(at) = places().find(|at| reader_of(self.records[*at].load(Relaxed)) == Some(me)) {
                let own = self.records[at].load(Relaxed);
                if reader_of(own) == Some(me) && self.change(at, own, own.checked_add(ONE_READ)?) {
                    return Some((at, reads_of(own)));
                }
                continue;
            }
            let free = places().find(|at| {
                let record = self.records[*at].load(Relaxed);
                reads_of(record) == 0 || lives.is_some_and(|lives| is_gone(record, lives, Wait::No))
            })?;
            let record = self.records[free].load(Relaxed);
            let is_free = reads_of(record) == 0 || lives.is_some_and(|lives| is_gone(record, lives, Wait::No));
            if is_free && self.change(free, record, first) {
                return Some((free, 0));
            }
        }
    }

    /// Takes one read of `me` back.
    #[inline(always)]
    fn uncount(&self, me: MemberId, at: usize) {
        let record = self.records[at].load(Relaxed);
        // Anything else is no record of this read, whoever has written there.
        if reader_of(record) == Some(me) && reads_of(record) > 0 {
            point();
            // As in `change`. A subtraction, since nobody takes a record with reads from one who lives: others of this
            // process may count there meanwhile.
            self.records[at].fetch_sub(ONE_READ, SeqCst);
            // After the record, against the writer that announces its sleep and then looks at the records.
            one_order_for_all();
            if self.gate.load(SeqCst) & DRAINING != 0 {
                self.wake();
            }
        }
    }

    #[inline(always)]
    fn change(&self, at: usize, from: u64, to: u64) -> bool {
        point();
        // Sequentially consistent: see the module. It also orders the read itself before the next write.
        self.records[at].compare_exchange(from, to, SeqCst, Relaxed).is_ok()
    }

    #[inline]
    fn has_readers(&self) -> bool {
        // Acquire comes with it: what is written from here on comes after those reads.
        self.records.iter().any(|record| reads_of(record.load(SeqCst)) > 0)
    }

    /// Waits until nobody reads. For the holder of the lock.
    #[cold]
    fn drain(&self, lives: &impl Lives, wait: Wait) -> Result<()> {
        if wait == Wait::No {
            self.strike_out_the_gone(lives, wait);
            return if self.has_readers() { Err(Error::WouldBlock) } else { Ok(()) };
        }
        let mut spin = Spin::new(&self.patience);
        while spin.turn() {
            if !self.has_readers() {
                spin.succeeded();
                return Ok(());
            }
        }
        loop {
            self.strike_out_the_gone(lives, Wait::Until(wait.slice(SLICE)));
            point();
            let turn = self.gate.fetch_or(DRAINING, SeqCst) | DRAINING;
            let readers = self.living_readers();
            one_order_for_all();
            if !self.has_readers() {
                break;
            }
            if wait.is_over() {
                self.stop_draining();
                return Err(Error::TimedOut);
            }
            lives.sleep(&self.gate, turn, &readers, wait);
            if !self.has_readers() {
                break;
            }
        }
        self.stop_draining();
        Ok(())
    }

    fn stop_draining(&self) {
        point();
        self.gate.fetch_and(!DRAINING, Relaxed);
    }

    fn living_readers(&self) -> Vec<MemberId> {
        let reading = self.records.iter().map(|record| record.load(Relaxed)).filter(|record| reads_of(*record) > 0);
        reading.filter_map(reader_of).take(MOST_WORDS).collect()
    }

    fn strike_out_the_gone(&self, lives: &impl Lives, wait: Wait) {
        for at in 0..RECORDS {
            let record = self.records[at].load(Relaxed);
            if reads_of(record) > 0 && is_gone(record, lives, wait) {
                self.change(at, record, 0);
            }
        }
    }

    #[cold]
    fn wake(&self) {
        point();
        self.gate.fetch_add(TURN, SeqCst);
        point();
        futex::wake(&self.gate, 1);
    }
}

/// Where a member looks for its record first: neighbours among the members are not neighbours there, so that they do
/// not share a cache line.
#[inline(always)]
fn place_of(me: MemberId) -> usize {
    const LINE: usize = if RECORDS > 8 { 8 } else { 1 };
    let slot = me.slot() % RECORDS;
    slot % (RECORDS / LINE) * LINE + slot / (RECORDS / LINE)
}

/// Whether the reads of a record are of nobody who can still read. One that names nobody is.
fn is_gone(record: u64, lives: &impl Lives, wait: Wait) -> bool {
    reader_of(record).is_none_or(|id| lives.life(id) != Life::Lives && lives.is_gone(id, wait))
}

#[cfg(all(test, loom))]
mod loom_tests;

#[cfg(all(test, not(loom)))]
mod tests {
    use std::{thread, time::Duration};

    use super::*;
    use crate::raw::lives::Half;

    fn lives() -> Result<Half> {
        Ok(Half)
    }

    /// A lock of which all records are in use, by others that live.
    fn full() -> RwWords {
        let read = |at: usize| AtomicU64::new(u64::from(MemberId::new(2 * at, 1).to_bits()) | ONE_READ);
        RwWords {
            mutex: RawMutex::default(),
            gate: AtomicU32::new(0),
            patience: Patience::default(),
            guest_reads: AtomicU16::new(0),
            records: std::array::from_fn(read),
        }
    }

    /// The end of all reads that are on record.
    fn end_all(words: &RwWords) {
        words.records.iter().for_each(|record| record.store(0, Relaxed));
    }

    /// Its first read does not keep it from reading again, and keeps others out as long as any.
    #[test]
    fn a_guest_reads_again() {
        let (words, me) = (full(), MemberId::new(2 * RECORDS, 1));
        let read = || words.read(me, || true, lives, Wait::No);
        let can_write = || {
            let write = || words.write(false, lives, Wait::No).map(|()| words.mutex.unlock()).is_ok();
            thread::scope(|scope| scope.spawn(write).join().unwrap())
        };
        let reads = [read().unwrap(), read().unwrap(), read().unwrap()];
        assert_eq!(reads, [Reading::alone(me); 3]);
        end_all(&words);
        // A record is free now, for those who do not have the lock.
        assert_eq!(read().unwrap(), Reading::alone(me));
        for left in (0..4).rev() {
            assert!(!can_write());
            words.end_read(Reading::alone(me));
            assert_eq!(can_write(), left == 0);
        }
    }

    /// What a guest of the writers' lock reads may be lent to other threads, and live on when its own has ended.
    #[test]
    fn a_guest_that_was_forgotten_reads_on() {
        let me = MemberId::new(2 * RECORDS, 1);
        for by_downgrade in [false, true] {
            let words = full();
            thread::scope(|scope| {
                let guest = scope.spawn(|| match by_downgrade {
                    false => words.read(me, || false, lives, Wait::No).unwrap(),
                    true => {
                        words.mutex.lock(Use::Data, Wait::No).unwrap();
                        words.downgrade(me, Some(&Half))
                    }
                });
                assert_eq!(guest.join().unwrap(), Reading::alone(me));
            });
            end_all(&words);
            assert!(words.write(false, lives, Wait::No).unwrap_err().is_would_block());
            let soon = Wait::timeout(Duration::from_secs(20));
            assert!(matches!(words.write(false, lives, soon), Err(Error::WouldDeadlock)));
            assert!(words.read(me, || false, lives, Wait::No).unwrap_err().is_would_block());
        }
    }
}
