//! A queue of messages of any length in a circle of units of 8 bytes, for any number of producers and consumers.
//!
//! # Ends
//!
//! `tail` is where the next message goes in, `head` where the next one comes out. Each is one word: the number of
//! messages that have passed it in the upper half, and in the lower one where it stands, in units, modulo twice the
//! size of the circle: so a full circle can be told from an empty one. What lies between the two ends is whole
//! messages, and nobody changes it.
//!
//! Each end has a lock. A producer that has the one of `tail` writes its message behind it, and publishes it by the one
//! store that moves `tail` on; a consumer that has the one of `head` copies the message there, and takes it by the one
//! store that moves `head` on. Nobody waits with a lock in hand, so none is held longer than a copy takes.
//!
//! | a death | leaves |
//! | --- | --- |
//! | of a producer, before `tail` moves | nothing: the next one writes over it |
//! | of a producer, after that | the message; who waits for it may sleep for the rest of a slice |
//! | of a consumer, before `head` moves | the message, for the next one |
//! | of a consumer, after that | nothing: the message was the dead one's |
//!
//! The locks need no poison: what a dead holder left half done is behind `tail`, or a count that is the dead one's own.
//!
//! Which messages are done is told in [`tasks`].
//!
//! # Waiting
//!
//! Producers, consumers and those who wait for all to be done each have a [`Gate`], and so have producers for whom
//! there is room, but too much under way of what is sent beside messages. Who waits may be alone in the world: it asks
//! before each sleep, and sleeps on the lifeline of one of the others, whichever that is. One that was taken makes room
//! for several, and room that is not enough for the producer that was woken may be for another. So a producer that has
//! slept wakes the next one: after it has got room, if some is left, and else once for each message that was taken.
//!
//! # Closing
//!
//! Producers look whether the queue is closed when they have the lock of `tail`. Who closes it takes that lock if it can,
//! so that nothing is published after it; one who was stopped with the lock may publish later all the same. So a consumer
//! that finds the queue closed and empty takes the lock once, and looks again: from then on nothing comes.

mod tasks;

#[cfg(not(loom))]
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};

#[cfg(loom)]
use loom::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};

use super::{
    gate::Gate,
    lives::{Lives, MemberId},
    mutex::{Hold, RawMutex, Use},
    points::point,
    sys::{AtomicU32, AtomicU64, barrier_after_exchange, one_order_for_all},
    waiting::{SLICE, Spin, Waiters},
};
use crate::{Error, Result, os::clock::Wait};

/// The bytes of a unit.
pub(crate) const UNIT: usize = 8;

/// The most units: twice as many must fit a position.
pub(crate) const MOST_UNITS: usize = 1 << 30;

/// Members whose unfinished tasks are on record: those with the first slots.
const RECORDS: usize = if cfg!(loom) { 3 } else { 256 };

/// The words of a queue. Zeroed memory is one that nothing was ever put into.
///
/// Who waits at one end looks at the other one all the time: so the ends are not beside the locks. A pair of cache
/// lines for each, since processors fetch them in pairs.
#[repr(C)]
pub(crate) struct QueueWords {
    put: PutSide,
    tail: Line<AtomicU64>,
    get: GetSide,
    head: Line<AtomicU64>,
    gates: Gates,
    more: More,
    records: [AtomicU64; RECORDS],
}

#[derive(Debug, Default)]
#[repr(C, align(128))]
struct Line<T>(T);

#[derive(Debug, Default)]
#[repr(C, align(128))]
struct PutSide {
    lock: RawMutex,
    /// Where `head` was when a producer last looked.
    head_seen: AtomicU64,
    /// The number of the last message that something was sent beside.
    tickets: AtomicU64,
}

#[derive(Debug, Default)]
#[repr(C, align(128))]
struct GetSide {
    lock: RawMutex,
    tail_seen: AtomicU64,
    done: AtomicU32,
    /// Whether a member took a message that has no record.
    untracked: AtomicU32,
    /// How often something was received that had been sent beside a message.
    receipts: AtomicU32,
}

#[derive(Debug, Default)]
#[repr(C, align(128))]
struct Gates {
    /// Where consumers wait for messages.
    messages: Gate,
    /// Where producers wait for room.
    room: Gate,
    /// Where those wait that want all to be done.
    done: Gate,
    closed: AtomicU32,
    /// 0: as many as fit.
    most_messages: AtomicU32,
    /// Whether who waits need not be told that it is alone.
    waits_alone: AtomicU32,
    /// Whether another process was ever given it.
    was_given: AtomicU32,
    /// Where producers wait for whom too much is under way that was sent beside messages.
    receipts: Gate,
}

#[derive(Debug, Default)]
#[repr(C, align(128))]
struct More {
    /// Not beside the gates, which everybody reads all the time.
    consumers: Waiters,
    producers: Waiters,
}

#[cfg(not(loom))]
const _: () = {
    use std::mem::offset_of;
    assert!(size_of::<QueueWords>() == QueueWords::SIZE as usize && align_of::<QueueWords>() == 128);
    assert!(
        offset_of!(QueueWords, put.lock) == 0 && offset_of!(QueueWords, get.lock) as u64 == QueueWords::SECOND_LOCK
    );
};

impl QueueWords {
    pub(crate) const SIZE: u64 = 6 * 128 + 8 * RECORDS as u64;

    /// Where the other lock is, from the start.
    pub(crate) const SECOND_LOCK: u64 = 256;

    /// Says how many messages there may be at a time, and whether who is alone may wait. For a new queue.
    pub(crate) fn limit(&self, most_messages: u32, waits_alone: bool) {
        self.gates.most_messages.store(most_messages, Relaxed);
        self.gates.waits_alone.store(waits_alone.into(), Relaxed);
    }
}

/// The queue: its words, and the size of its circle in units, 1 to [`MOST_UNITS`].
#[derive(Clone, Copy)]
pub(crate) struct Queue<'a> {
    pub(crate) words: &'a QueueWords,
    pub(crate) units: u32,
}

/// How many messages have passed an end, and where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct End(u64);

impl End {
    fn count(self) -> u32 {
        (self.0 >> 32) as u32
    }

    fn at(self) -> u32 {
        self.0 as u32
    }

    /// One message further on, of so many units.
    fn after(self, length: u32, units: u32) -> Self {
        let at = match self.at() + length {
            at if at < 2 * units => at,
            at => at - 2 * units,
        };
        Self(u64::from(self.count().wrapping_add(1)) << 32 | u64::from(at))
    }

    /// The unit that it stands before.
    fn index(self, units: u32) -> u32 {
        if self.at() < units { self.at() } else { self.at() - units }
    }
}

/// Room for a message, and the lock of the end that it is behind.
pub(crate) struct Room<'a> {
    _held: Hold<'a>,
    next: End,
    /// The first unit.
    pub(crate) at: u32,
}

/// The message at the head, if there is one, and the lock of that end.
pub(crate) struct First<'a> {
    _held: Hold<'a>,
    head: End,
    /// Its first unit.
    pub(crate) at: u32,
    /// The units that lie between the ends: no message is longer.
    pub(crate) most: u32,
}

/// Who else can do something to the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Company {
    /// Nobody any more.
    None,
    /// This one, and perhaps others.
    Member(MemberId),
    /// Somebody who cannot be watched, or whoever may come.
    Somebody,
}

/// What those who wait ask.
pub(crate) struct World<L, C> {
    pub(crate) lives: L,
    pub(crate) company: C,
}

impl<'a> Queue<'a> {
    /// Room for a message of `length` units, at most as many as there are.
    ///
    /// # Errors
    ///
    /// `WouldBlock`, `TimedOut`, `Closed`, `Disconnected`; `Corrupt`; those of `world`.
    #[inline]
    pub(crate) fn room<L: Lives, C: Fn() -> Company>(
        self,
        length: u32,
        world: impl FnOnce() -> Result<World<L, C>>,
        wait: Wait,
    ) -> Result<Room<'a>> {
        match self.room_at_once(length) {
            Some(room) => Ok(room),
            None => self.room_or_wait(length, world, wait),
        }
    }

    #[cold]
    fn room_or_wait<L: Lives, C: Fn() -> Company>(
        self,
        length: u32,
        world: impl FnOnce() -> Result<World<L, C>>,
        wait: Wait,
    ) -> Result<Room<'a>> {
        match self.try_room(length, wait)? {
            Some(room) => Ok(room),
            None if wait == Wait::No => Err(Error::WouldBlock),
            None => self.wait_for_room(length, &world()?, wait),
        }
    }

    fn wait_for_room<L: Lives, C: Fn() -> Company>(
        self,
        length: u32,
        world: &World<L, C>,
        wait: Wait,
    ) -> Result<Room<'a>> {
        let gates = &self.words.gates;
        let mut passed_on = None;
        let looks_ready = |messages| self.has_room(messages * length) || self.is_closed();
        self.wait(&gates.room, &self.words.more.producers, world, wait, looks_ready, |has_slept| {
            let room = self.try_room(length, wait)?;
            if has_slept {
                let head = End(self.words.head.0.load(Relaxed));
                let is_for_another = match &room {
                    Some(room) => self.between(room.next, head).is_some_and(|used| self.fits(room.next, head, used, 1)),
                    None => passed_on.replace(head) != Some(head),
                };
                if is_for_another {
                    gates.room.notify(1);
                }
            }
            Ok(room)
        })
    }

    /// The next message.
    ///
    /// # Errors
    ///
    /// As [`room`](Self::room); `Closed` when nothing is left besides.
    #[inline]
    pub(crate) fn first<L: Lives, C: Fn() -> Company>(
        self,
        world: impl FnOnce() -> Result<World<L, C>>,
        wait: Wait,
    ) -> Result<First<'a>> {
        match self.first_at_once() {
            Some(first) => Ok(first),
            None => self.first_or_wait(world, wait),
        }
    }

    #[cold]
    fn first_or_wait<L: Lives, C: Fn() -> Company>(
        self,
        world: impl FnOnce() -> Result<World<L, C>>,
        wait: Wait,
    ) -> Result<First<'a>> {
        match self.try_first(wait)? {
            Some(first) => Ok(first),
            None if wait == Wait::No => Err(Error::WouldBlock),
            None => self.wait_for_first(&world()?, wait),
        }
    }

    fn wait_for_first<L: Lives, C: Fn() -> Company>(self, world: &World<L, C>, wait: Wait) -> Result<First<'a>> {
        let gate = &self.words.gates.messages;
        let looks_ready = |messages| self.len() >= messages || self.is_closed();
        self.wait(gate, &self.words.more.consumers, world, wait, looks_ready, |_| self.try_first(wait))
    }

    /// Publishes the message that was written into `room`.
    #[inline]
    pub(crate) fn publish(self, room: Room<'a>) {
        point();
        // Release: carries the message.
        self.words.tail.0.store(room.next.0, Release);
        drop(room);
        barrier_after_exchange();
        self.words.gates.messages.notify_relaxed();
    }

    /// A number for what is sent beside the message that `room` is for; no other message had or gets it. Never 0.
    pub(crate) fn next_ticket(self, _: &Room<'a>) -> u64 {
        let number = self.words.put.tickets.load(Relaxed).wrapping_add(1).max(1);
        point();
        self.words.put.tickets.store(number, Relaxed);
        number
    }

    /// How often something that was sent beside a message has been received, modulo 2^32: for
    /// [`wait_for_a_receipt`](Self::wait_for_a_receipt).
    pub(crate) fn receipts(self) -> u32 {
        self.words.get.receipts.load(SeqCst)
    }

    /// Waits until there are other than these `receipts`, or for a slice: for whom too much is under way.
    ///
    /// # Errors
    ///
    /// `WouldBlock`, `TimedOut`, `Closed`, `Disconnected`.
    pub(crate) fn wait_for_a_receipt<L: Lives, C: Fn() -> Company>(
        self,
        receipts: u32,
        world: impl FnOnce() -> Result<World<L, C>>,
        wait: Wait,
    ) -> Result<()> {
        if wait == Wait::No {
            return Err(Error::WouldBlock);
        }
        let gate = &self.words.gates.receipts;
        let has_changed = |_| self.receipts() != receipts || self.is_closed();
        self.wait(gate, &self.words.more.producers, &world()?, wait, has_changed, |has_slept| {
            Ok((has_slept || has_changed(1)).then_some(()))
        })
    }

    /// What was sent beside the message, which was taken, has been received.
    pub(crate) fn receive(self, _: &First<'a>) {
        point();
        self.words.get.receipts.fetch_add(1, SeqCst);
        // All: nobody knows for how many of them there is enough now.
        self.words.gates.receipts.notify(u32::MAX);
    }

    /// All that is in, for who looks at it: to the tail, and not as far as consumers know of, while nothing is published
    /// since the caller has `room`.
    ///
    /// # Errors
    ///
    /// `WouldBlock`, those of the lock; `Corrupt`.
    pub(crate) fn look(self, _room: &Room<'_>) -> Result<First<'a>> {
        let held = self.hold(&self.words.get.lock, Wait::No)?;
        let (tail, head) = self.ends()?;
        let most = self.between(tail, head).unwrap_or(0);
        Ok(First { _held: held, head, at: head.index(self.units), most })
    }

    /// Takes the message of so many units, at most as many as there are, that the member `me` has copied. It is to call
    /// [`notify_room`](Self::notify_room) when it has given `first` back.
    ///
    /// # Errors
    ///
    /// `Corrupt`.
    #[inline]
    pub(crate) fn take(self, first: &First<'a>, length: u32, me: MemberId) -> Result<()> {
        if length > first.most {
            return Err(Error::corrupt(format!("a message of {length} units where {} are", first.most)));
        }
        if self.taken(first.head) >= 0 {
            self.count(me, 1);
        }
        point();
        // Release: the message has been copied.
        self.words.head.0.store(first.head.after(length, self.units).0, Release);
        Ok(())
    }

    #[inline]
    pub(crate) fn notify_room(self) {
        barrier_after_exchange();
        self.words.gates.room.notify_relaxed();
    }

    /// Lets nobody put anything in from now on, and consumers know when they have had all.
    pub(crate) fn close(self) {
        // Without the lock, if its holder was stopped: consumers wait for that one.
        let held = self.hold(&self.words.put.lock, Wait::No);
        point();
        self.words.gates.closed.swap(1, SeqCst);
        drop(held);
        for gate in [&self.words.gates.messages, &self.words.gates.room, &self.words.gates.receipts] {
            gate.notify(u32::MAX);
        }
    }

    #[inline]
    pub(crate) fn is_closed(self) -> bool {
        self.words.gates.closed.load(SeqCst) != 0
    }

    pub(crate) fn waits_alone(self) -> bool {
        self.words.gates.waits_alone.load(Relaxed) != 0
    }

    pub(crate) fn most_messages(self) -> u32 {
        self.words.gates.most_messages.load(Relaxed)
    }

    /// Tail and head as they were at one moment.
    fn ends_now(self) -> (End, End) {
        loop {
            let head = self.words.head.0.load(SeqCst);
            let tail = self.words.tail.0.load(SeqCst);
            // It was the head at the moment of the load in the middle too.
            if self.words.head.0.load(SeqCst) == head {
                return (End(tail), End(head));
            }
        }
    }

    /// The number of messages.
    pub(crate) fn len(self) -> u32 {
        let (tail, head) = self.ends_now();
        tail.count().wrapping_sub(head.count())
    }

    /// Whether a message of so many units fits now.
    pub(crate) fn has_room(self, length: u32) -> bool {
        let (tail, head) = self.ends_now();
        // Ends that cannot be are for who has the lock to tell of.
        self.between(tail, head).is_none_or(|used| self.fits(tail, head, used, length))
    }

    #[inline]
    fn fits(self, tail: End, head: End, used: u32, length: u32) -> bool {
        let most = self.most_messages();
        length <= self.units - used && (most == 0 || tail.count().wrapping_sub(head.count()) < most)
    }

    /// The units between the ends; `None` if there can be no such ends.
    #[inline]
    fn between(self, tail: End, head: End) -> Option<u32> {
        let twice = 2 * self.units;
        if tail.at() >= twice || head.at() >= twice {
            return None;
        }
        let used = if tail.at() >= head.at() { tail.at() - head.at() } else { tail.at() + twice - head.at() };
        // A message has a unit at least.
        let messages = tail.count().wrapping_sub(head.count());
        (used <= self.units && messages <= used && (messages == 0) == (used == 0)).then_some(used)
    }

    fn ends(self) -> Result<(End, End)> {
        let head = End(self.words.head.0.load(Acquire));
        let tail = End(self.words.tail.0.load(Acquire));
        match self.between(tail, head) {
            Some(_) => Ok((tail, head)),
            None => Err(no_such_ends(tail, head)),
        }
    }

    /// Takes one of the two locks. Its holder copies a message at most, or was stopped while it did: who does not want
    /// to wait at all does so for a slice.
    #[inline]
    fn hold(self, lock: &'a RawMutex, wait: Wait) -> Result<Hold<'a>> {
        if lock.lock_uncontended(Use::Table) {
            return Ok(Hold(lock));
        }
        self.hold_contended(lock, wait)
    }

    #[cold]
    fn hold_contended(self, lock: &'a RawMutex, wait: Wait) -> Result<Hold<'a>> {
        let or_a_slice = if wait == Wait::No { Wait::timeout(SLICE) } else { wait };
        match lock.lock(Use::Table, or_a_slice) {
            Ok(_) => Ok(Hold(lock)),
            Err(Error::TimedOut) if wait == Wait::No => Err(Error::WouldBlock),
            Err(error) => Err(error),
        }
    }

    /// Room, if it is there as far as this end knows, and nobody has the lock. No errors: they would make the caller's
    /// code for the common case slower.
    #[inline(always)]
    fn room_at_once(self, length: u32) -> Option<Room<'a>> {
        let lock = &self.words.put.lock;
        if !lock.lock_uncontended(Use::Table) {
            return None;
        }
        let held = Hold(lock);
        // Relaxed: changed by holders of this lock alone. What one of them has seen has happened before.
        let tail = End(self.words.tail.0.load(Relaxed));
        let head = End(self.words.put.head_seen.load(Relaxed));
        let used = self.between(tail, head)?;
        let is_there = !self.is_closed() && self.fits(tail, head, used, length);
        is_there.then(|| Room { _held: held, next: tail.after(length, self.units), at: tail.index(self.units) })
    }

    /// The same for the next message.
    #[inline(always)]
    fn first_at_once(self) -> Option<First<'a>> {
        let lock = &self.words.get.lock;
        if !lock.lock_uncontended(Use::Table) {
            return None;
        }
        let held = Hold(lock);
        let head = End(self.words.head.0.load(Relaxed));
        let most = self.between(End(self.words.get.tail_seen.load(Relaxed)), head)?;
        (most > 0).then(|| First { _held: held, head, at: head.index(self.units), most })
    }

    fn try_room(self, length: u32, wait: Wait) -> Result<Option<Room<'a>>> {
        let held = self.hold(&self.words.put.lock, wait)?;
        if self.is_closed() {
            return Err(Error::Closed);
        }
        let tail = End(self.words.tail.0.load(Relaxed));
        let mut head = End(self.words.put.head_seen.load(Relaxed));
        let mut used = self.between(tail, head);
        if !used.is_some_and(|used| self.fits(tail, head, used, length)) {
            // Acquire: what lay there has been copied.
            head = End(self.words.head.0.load(Acquire));
            used = self.between(tail, head);
            point();
            self.words.put.head_seen.store(head.0, Relaxed);
        }
        match used {
            None => Err(no_such_ends(tail, head)),
            Some(used) if self.fits(tail, head, used, length) => {
                Ok(Some(Room { _held: held, next: tail.after(length, self.units), at: tail.index(self.units) }))
            }
            Some(_) => Ok(None),
        }
    }

    fn try_first(self, wait: Wait) -> Result<Option<First<'a>>> {
        match self.first_or_end(false, wait) {
            Err(Error::Closed) => {
                // Not with the other lock in hand, since producers take them in this order.
                drop(self.hold(&self.words.put.lock, wait)?);
                self.first_or_end(true, wait)
            }
            result => result,
        }
    }

    /// The next message, or `Closed` if there is none and the queue is closed. `is_closed` if that is known.
    fn first_or_end(self, is_closed: bool, wait: Wait) -> Result<Option<First<'a>>> {
        // Before the look at the tail, see the module.
        let is_closed = is_closed || self.is_closed();
        let held = self.hold(&self.words.get.lock, wait)?;
        let head = End(self.words.head.0.load(Relaxed));
        let mut tail = End(self.words.get.tail_seen.load(Relaxed));
        if self.between(tail, head).unwrap_or(0) == 0 {
            // Acquire: brings the message.
            tail = End(self.words.tail.0.load(Acquire));
            point();
            self.words.get.tail_seen.store(tail.0, Relaxed);
        }
        match self.between(tail, head) {
            None => Err(no_such_ends(tail, head)),
            Some(0) if is_closed => Err(Error::Closed),
            Some(0) => Ok(None),
            Some(most) => Ok(Some(First { _held: held, head, at: head.index(self.units), most })),
        }
    }

    /// Waits until `attempt`, which is told whether this thread has slept, has a result. `looks_ready` tells whether it
    /// may have one, or even as many as it is asked for.
    fn wait<R, L: Lives, C: Fn() -> Company>(
        self,
        gate: &Gate,
        waiters: &Waiters,
        world: &World<L, C>,
        wait: Wait,
        looks_ready: impl Fn(u32) -> bool,
        mut attempt: impl FnMut(bool) -> Result<Option<R>>,
    ) -> Result<R> {
        let mut spin = Spin::for_a_message(&waiters.patience);
        while spin.turn() {
            if !looks_ready(1) {
                continue;
            }
            let lingered = waiters.linger.linger();
            if let Some(result) = attempt(false)? {
                if lingered {
                    waiters.linger.helped(looks_ready(2));
                }
                spin.succeeded();
                return Ok(result);
            }
        }
        loop {
            if wait.is_over() {
                return Err(Error::TimedOut);
            }
            let turn = gate.announce();
            one_order_for_all();
            if !looks_ready(1) {
                let watched = match (world.company)() {
                    Company::Member(id) => Some(id),
                    Company::Somebody => None,
                    // What the last of the others did is there by now.
                    Company::None if looks_ready(1) => continue,
                    Company::None => return Err(Error::Disconnected),
                };
                world.lives.sleep(&gate.word, turn, watched.as_slice(), wait);
            }
            if let Some(result) = attempt(true)? {
                return Ok(result);
            }
        }
    }

    /// Takes note that another process is given the queue.
    pub(crate) fn give(self) {
        if !self.was_given() {
            point();
            self.words.gates.was_given.store(1, Relaxed);
        }
    }

    /// Whether another process was ever given the queue, though it may have died before it had it.
    pub(crate) fn was_given(self) -> bool {
        self.words.gates.was_given.load(Relaxed) != 0
    }
}

fn no_such_ends(tail: End, head: End) -> Error {
    Error::corrupt(format!("a queue whose ends are at {} and {}", tail.at(), head.at()))
}

#[cfg(test)]
impl Default for QueueWords {
    fn default() -> Self {
        Self {
            put: PutSide::default(),
            tail: Line::default(),
            get: GetSide::default(),
            head: Line::default(),
            gates: Gates::default(),
            more: More::default(),
            records: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }
}

#[cfg(all(test, loom))]
mod loom_tests;
