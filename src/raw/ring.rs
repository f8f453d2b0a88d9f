//! A bounded queue of slots for many producers and consumers, without locks, of which any may die.
//!
//! # Positions and slots
//!
//! A position is a lap and an index. `tail` is where the next value goes in, `head` where the next one comes out. Each
//! slot has a state: the lap that it is in, a phase, and who has it.
//!
//! | phase | meaning | who changes it | if that dies |
//! | --- | --- | --- | --- |
//! | `EMPTY` | no value of this lap yet | a producer, to `BUSY` | |
//! | `BUSY` of a member | it writes | that one, to `FULL`; or, if it gives up, to void | whoever comes there: to void |
//! | `FULL` | a value | a consumer, to `TAKEN` | |
//! | `FULL` of a member: void | no value after all | whoever finds it at `head`, to `EMPTY` of the next lap | |
//! | `TAKEN` of a member | it reads | that one, to `EMPTY` of the next lap | whoever needs the slot: `EMPTY` of the next lap. The value was the dead one's |
//!
//! Every change of a phase that others compete for is one compare-and-swap, so there is nothing between, and a death
//! leaves one of the above. A value is published by one store, and delivered by one compare-and-swap: none is lost that
//! was published, but with the consumer that had it already, and none is delivered twice.
//!
//! `tail` and `head` follow: whoever finds that the slot at a position has been claimed moves the position on, for
//! itself or for another that died or sleeps. Both only ever move on, and neither is behind by more than one slot, since
//! nobody claims a slot but at the position. A slot comes into its next lap only by who found it at `head`, so no slot is
//! more than one lap ahead of either end. Void ones are passed over by consumers, by who gives one up, and by producers
//! that have no other room; those behind values, when their turn has come.
//!
//! Who claims a slot hands it over first, published or freed, and then moves the position on. The other side watches the
//! slot, and takes its line away again in the time between the claim and the hand-over, the more often the longer that is.
//! The exchange that moves the position on is also the barrier between the hand-over and the look at the gate, so the
//! hand-over is a plain store.
//!
//! | a death after | leaves |
//! | --- | --- |
//! | the claim | the slot to whoever comes there, and the position to whoever finds the slot claimed |
//! | the hand-over | a value, or room, that arrives; the position as before, and sleepers the rest of their slice |
//! | the new position | sleepers the rest of their slice |
//!
//! A lap has 30 bits in a slot. A thread that stops between its look at a slot and its compare-and-swap, while the ring
//! goes round 2³⁰ times, could take one lap for another.
//!
//! # Waiting
//!
//! Producers wait at one [`Gate`] and consumers at another; whoever makes room or publishes notifies the others. A slot
//! that is claimed and not published holds up the consumers, as order wants; one that is being read holds up the
//! producers that come to it a lap later. Those who wait for a member so watch its lifeline. Slots do not get ready in
//! order, so a notification may wake one for whom nothing is ready; when it is, one that has waited wakes the next.
//! `waiters`, and the `patience` of the gates, are hints, for which any value will do: nothing follows from a death after
//! a store to them.
//!
//! # Closing
//!
//! A producer claims a slot and then looks whether the ring is closed; who closes it does so before it looks at slots.
//! Both in one order, so a consumer that finds the ring closed and empty has not overlooked anything.
//!
//! Source: D. Vyukov, *Bounded MPMC queue* (1024cores.net), for slots that count laps; the phases, the members and the helping are
//! what deaths ask for.

use std::mem;
#[cfg(not(loom))]
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};

#[cfg(loom)]
use loom::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};

use super::{
    gate::Gate,
    lives::{Life, Lives, MemberId},
    points::point,
    sys::{AtomicU32, AtomicU64, barrier_after_exchange, one_order_for_all},
    waiting::{Spin, Waiters, wait_a_slice},
};
use crate::{Error, Result, os::clock::Wait};

/// The most slots: an index must leave room for the sum of two.
pub(crate) const MOST_SLOTS: usize = 1 << 30;

/// The slots' common words. Zeroed memory is a ring that nothing was ever put into.
///
/// A pair of cache lines for each side, since processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(C, align(128))]
pub(crate) struct RingWords {
    tail: Line<AtomicU64>,
    head: Line<AtomicU64>,
    gates: Line<Gates>,
    /// Consumers and producers. Not beside the gates, which everybody reads all the time.
    waiters: Line<[Waiters; 2]>,
}

#[derive(Debug, Default)]
#[repr(C, align(128))]
struct Line<T>(T);

#[derive(Debug, Default)]
#[repr(C)]
struct Gates {
    /// Where consumers wait for values.
    values: Gate,
    /// Where producers wait for room.
    room: Gate,
    closed: AtomicU32,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<RingWords>() == 512);

/// A place for a value, of whatever kind.
pub(crate) trait Slot {
    /// Its state. Zero is an empty slot of the first lap.
    fn state(&self) -> &AtomicU64;
}

/// The places of a ring, one after the other.
pub(crate) trait Slots {
    /// How many there are.
    fn count(&self) -> usize;

    /// The state of the place at `at`, if there is one.
    fn state(&self, at: usize) -> Option<&AtomicU64>;
}

impl<S: Slot> Slots for &[S] {
    #[inline]
    fn count(&self) -> usize {
        self.len()
    }

    #[inline]
    fn state(&self, at: usize) -> Option<&AtomicU64> {
        self.get(at).map(S::state)
    }
}

/// The ring with its slots, at least one.
pub(crate) struct Ring<'a, S> {
    pub(crate) words: &'a RingWords,
    pub(crate) slots: S,
}

/// A slot that the caller has: to write, or to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Claimed {
    pub(crate) at: usize,
    lap: u32,
}

impl Claimed {
    #[inline]
    fn position(self) -> Position {
        Position(u64::from(self.lap) << 32 | self.at as u64)
    }
}

#[cfg(feature = "capi")]
impl Claimed {
    /// For who keeps it where others can change it: see [`Ring::hand_over_if_mine`].
    pub(crate) fn from_parts(at: usize, lap: u32) -> Self {
        Self { at, lap }
    }

    pub(crate) fn lap(self) -> u32 {
        self.lap
    }
}

/// What becomes of a claimed slot.
#[cfg(feature = "capi")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Onward {
    /// Written: a value.
    Published,
    /// To be written, and given up.
    Void,
    /// Read: room.
    Freed,
}

/// What stands in the way of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Obstacle {
    /// Nothing is there, or no room.
    Nothing,
    /// The member that has this slot.
    Member {
        at: usize,
        state: State,
    },
    Closed,
}

/// A place in the order of all values: the lap in the upper half, the index in the lower.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Position(u64);

impl Position {
    fn index(self) -> usize {
        self.0 as u32 as usize
    }

    fn lap(self) -> u32 {
        (self.0 >> 32) as u32
    }

    fn next(self, slots: usize) -> Self {
        match self.index() + 1 {
            index if index < slots => Self(self.0 + 1),
            _ => Self(u64::from(self.lap().wrapping_add(1)) << 32),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
enum Phase {
    Empty = 0,
    Busy = 1,
    Full = 2,
    Taken = 3,
}

/// | bits | |
/// | --- | --- |
/// | 0–31 | the member that has the slot, 0 if none |
/// | 32–33 | phase |
/// | 34–63 | lap |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State(u64);

impl State {
    const LAPS: u32 = (1 << 30) - 1;

    #[inline]
    fn new(lap: u32, phase: Phase, member: Option<MemberId>) -> Self {
        let member = member.map_or(0, MemberId::to_bits);
        Self(u64::from(lap & Self::LAPS) << 34 | (phase as u64) << 32 | u64::from(member))
    }

    #[inline]
    fn phase(self) -> Phase {
        match (self.0 >> 32) & 3 {
            0 => Phase::Empty,
            1 => Phase::Busy,
            2 => Phase::Full,
            _ => Phase::Taken,
        }
    }

    fn member(self) -> Option<MemberId> {
        MemberId::from_bits(self.0 as u32)
    }

    fn lap(self) -> u32 {
        (self.0 >> 34) as u32
    }

    /// How many laps the slot is ahead of `lap`: -1 if it is in the one before.
    #[inline]
    fn ahead(self, lap: u32) -> i32 {
        let difference = self.lap().wrapping_sub(lap) & Self::LAPS;
        // The sign of 30 bits.
        ((difference << 2) as i32) >> 2
    }
}

impl<S: Slots> Ring<'_, S> {
    /// Claims the next slot to put a value in.
    ///
    /// # Errors
    ///
    /// `WouldBlock`, `TimedOut`, `Closed`; `Corrupt`.
    #[inline]
    pub(crate) fn claim_room<L: Lives>(
        &self,
        me: MemberId,
        lives: impl FnOnce() -> Result<L>,
        wait: Wait,
    ) -> Result<Claimed> {
        match self.try_room(me)? {
            Ok(claimed) => Ok(claimed),
            Err(obstacle) => {
                let gate = &self.words.gates.0.room;
                let waiters = &self.words.waiters.0[1];
                let next = (&self.words.tail.0, Phase::Empty);
                self.wait(gate, waiters, next, obstacle, &lives()?, wait, || self.try_room(me))
            }
        }
    }

    /// [`claim_room`](Self::claim_room), if nothing is in the way. No errors here: they make the caller's code for the common
    /// case slower.
    #[cfg(feature = "capi")]
    #[inline(always)]
    pub(crate) fn claim_room_at_once(&self, me: MemberId) -> Option<Claimed> {
        self.try_room(me).ok()?.ok()
    }

    /// [`claim_value`](Self::claim_value), likewise.
    #[cfg(feature = "capi")]
    #[inline(always)]
    pub(crate) fn claim_value_at_once(&self, me: MemberId) -> Option<Claimed> {
        self.try_value(me).ok()?.ok()
    }

    /// Claims the next value.
    ///
    /// # Errors
    ///
    /// As [`claim_room`](Self::claim_room); `Closed` when nothing is left besides.
    #[inline]
    pub(crate) fn claim_value<L: Lives>(
        &self,
        me: MemberId,
        lives: impl FnOnce() -> Result<L>,
        wait: Wait,
    ) -> Result<Claimed> {
        match self.try_value(me)? {
            Ok(claimed) => Ok(claimed),
            Err(obstacle) => {
                let gate = &self.words.gates.0.values;
                let waiters = &self.words.waiters.0[0];
                let next = (&self.words.head.0, Phase::Full);
                self.wait(gate, waiters, next, obstacle, &lives()?, wait, || self.try_value(me))
            }
        }
    }

    /// [`publish`](Self::publish), [`free`](Self::free) or [`give_up`](Self::give_up), if `me` has the slot; of several
    /// threads at that one does it. `false` if not. What is to follow those is to follow this.
    #[cfg(feature = "capi")]
    pub(crate) fn hand_over_if_mine(&self, me: MemberId, claimed: Claimed, to: Onward) -> bool {
        let (phase, end, next) = match to {
            Onward::Published => (Phase::Busy, &self.words.tail.0, State::new(claimed.lap, Phase::Full, None)),
            Onward::Void => (Phase::Busy, &self.words.tail.0, State::new(claimed.lap, Phase::Full, Some(me))),
            Onward::Freed => {
                (Phase::Taken, &self.words.head.0, State::new(claimed.lap.wrapping_add(1), Phase::Empty, None))
            }
        };
        let mine = State::new(claimed.lap, phase, Some(me));
        let Some(state) = self.slots.state(claimed.at) else { return false };
        point();
        // Sequentially consistent: as the exchange of `give_up`, and more than the store of `hand_over`.
        if state.compare_exchange(mine.0, next.0, SeqCst, Relaxed).is_err() {
            return false;
        }
        if to == Onward::Void {
            self.make_room_of_voids();
        } else {
            self.advance(end, claimed.position());
            barrier_after_exchange();
        }
        true
    }

    /// Publishes what the caller has written into the slot that it has claimed. [`notify_values`](Self::notify_values)
    /// is to follow.
    #[inline]
    pub(crate) fn publish(&self, claimed: Claimed) {
        self.hand_over(&self.words.tail.0, claimed, State::new(claimed.lap, Phase::Full, None));
    }

    /// Gives up the slot that `me` has claimed to write.
    #[cold]
    pub(crate) fn give_up(&self, me: MemberId, claimed: Claimed) {
        point();
        self.state(claimed).swap(State::new(claimed.lap, Phase::Full, Some(me)).0, SeqCst);
        self.make_room_of_voids();
    }

    fn make_room_of_voids(&self) {
        // It is room again, if nothing is before it. Ends that cannot be are for who waits to tell of.
        let _ = self.pass_over_voids();
        // Some may wait for this slot, with values behind it.
        self.notify_values(u32::MAX);
    }

    /// Frees the slot whose value the caller has read. [`notify_room`](Self::notify_room) is to follow.
    #[inline]
    pub(crate) fn free(&self, claimed: Claimed) {
        let next = State::new(claimed.lap.wrapping_add(1), Phase::Empty, None);
        self.hand_over(&self.words.head.0, claimed, next);
    }

    /// Gives the claimed slot to the other side, and moves the end on: in this order, see the module.
    #[inline(always)]
    fn hand_over(&self, end: &AtomicU64, claimed: Claimed, state: State) {
        point();
        // Release: with the value, or with the end of its reading.
        self.state(claimed).store(state.0, Release);
        self.advance(end, claimed.position());
        // Between the store and the look at the gate, against the announcement of who waits.
        barrier_after_exchange();
    }

    /// Wakes consumers for `count` values.
    #[inline]
    pub(crate) fn notify_values(&self, count: u32) {
        self.words.gates.0.values.notify(count);
    }

    /// Wakes producers for `count` free slots.
    #[inline]
    pub(crate) fn notify_room(&self, count: u32) {
        self.words.gates.0.room.notify(count);
    }

    /// Lets nobody put anything in from now on, and consumers know when they have had all.
    pub(crate) fn close(&self) {
        point();
        self.words.gates.0.closed.swap(1, SeqCst);
        self.notify_values(u32::MAX);
        self.notify_room(u32::MAX);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.words.gates.0.closed.load(SeqCst) != 0
    }

    /// Values, claimed slots, and void ones behind them, between the two ends.
    pub(crate) fn len(&self) -> usize {
        let head = self.end_of_claims(&self.words.head.0, |phase| phase == Phase::Taken);
        let tail = self.end_of_claims(&self.words.tail.0, |phase| phase != Phase::Empty);
        let laps = i64::from(tail.lap().wrapping_sub(head.lap()) as i32);
        let slots = self.slots.count() as i64;
        // Others go on meanwhile.
        (laps * slots + tail.index() as i64 - head.index() as i64).clamp(0, slots) as usize
    }

    /// The position in `end`, or the next one if the slot there has been claimed already.
    fn end_of_claims(&self, end: &AtomicU64, is_claimed: impl Fn(Phase) -> bool) -> Position {
        match self.look(end) {
            Ok((at, _, state)) => match state.ahead(at.lap()) {
                0 if !is_claimed(state.phase()) => at,
                0 | 1 => at.next(self.slots.count()),
                _ => at,
            },
            // For others to tell of.
            Err(_) => Position(end.load(Relaxed)),
        }
    }

    #[inline]
    fn state(&self, claimed: Claimed) -> &AtomicU64 {
        self.state_at(claimed.at)
    }

    /// The state of a slot that is known to be there.
    #[inline]
    fn state_at(&self, at: usize) -> &AtomicU64 {
        self.slots.state(at).expect("a claimed slot is one of the ring's")
    }

    /// The position in `end`, and the slot there.
    ///
    /// # Errors
    ///
    /// `Corrupt` if there is no such slot.
    #[inline]
    fn look(&self, end: &AtomicU64) -> Result<(Position, &AtomicU64, State)> {
        let position = Position(end.load(Acquire));
        let slot = self.slots.state(position.index()).ok_or_else(|| no_slot(position))?;
        // Sequentially consistent: after an announcement, and after a look at `closed`. It also brings the value.
        Ok((position, slot, State(slot.load(SeqCst))))
    }

    /// Moves an end on, unless somebody else has.
    #[inline]
    fn advance(&self, end: &AtomicU64, from: Position) {
        point();
        // Release: who sees the end there sees the slot claimed.
        let _ = end.compare_exchange(from.0, from.next(self.slots.count()).0, Release, Relaxed);
    }

    #[inline(always)]
    fn try_room(&self, me: MemberId) -> Result<Result<Claimed, Obstacle>> {
        loop {
            let (tail, slot, state) = self.look(&self.words.tail.0)?;
            match (state.ahead(tail.lap()), state.phase()) {
                (0, Phase::Empty) => {
                    point();
                    let busy = State::new(tail.lap(), Phase::Busy, Some(me));
                    if slot.compare_exchange(state.0, busy.0, SeqCst, Relaxed).is_err() {
                        continue;
                    }
                    let claimed = Claimed { at: tail.index(), lap: tail.lap() };
                    one_order_for_all();
                    if self.is_closed() {
                        self.give_up(me, claimed);
                        return Ok(Err(Obstacle::Closed));
                    }
                    return Ok(Ok(claimed));
                }
                // Claimed by somebody who has not moved the tail yet, and perhaps done with.
                (0 | 1, _) => self.advance(&self.words.tail.0, tail),
                _ if self.words.tail.0.load(Relaxed) != tail.0 => {}
                (-1, Phase::Empty) => return Err(out_of_step(tail)),
                (-1, _) if self.is_closed() => return Ok(Err(Obstacle::Closed)),
                (-1, Phase::Full) if state.member().is_some() => {
                    // Somebody else may have done it meanwhile.
                    if !self.pass_over_voids()? && slot.load(Relaxed) == state.0 {
                        return Ok(Err(Obstacle::Nothing));
                    }
                }
                (-1, Phase::Full) => return Ok(Err(Obstacle::Nothing)),
                (-1, _) => return Ok(Err(Obstacle::Member { at: tail.index(), state })),
                _ => return Err(out_of_step(tail)),
            }
        }
    }

    #[inline(always)]
    fn try_value(&self, me: MemberId) -> Result<Result<Claimed, Obstacle>> {
        loop {
            // Before the slot, see the module.
            let is_closed = self.is_closed();
            one_order_for_all();
            let (head, slot, state) = self.look(&self.words.head.0)?;
            match (state.ahead(head.lap()), state.phase()) {
                (0, Phase::Full) if state.member().is_some() => _ = self.pass_over_voids()?,
                (0, Phase::Full) => {
                    point();
                    let taken = State::new(head.lap(), Phase::Taken, Some(me));
                    // Acquire: brings the value.
                    if slot.compare_exchange(state.0, taken.0, Acquire, Relaxed).is_err() {
                        continue;
                    }
                    return Ok(Ok(Claimed { at: head.index(), lap: head.lap() }));
                }
                // Claimed by somebody who has not moved the head yet, or passed over.
                (0, Phase::Taken) | (1, _) => self.advance(&self.words.head.0, head),
                _ if self.words.head.0.load(Relaxed) != head.0 => {}
                (0, Phase::Busy) => return Ok(Err(Obstacle::Member { at: head.index(), state })),
                // In the lap before, too, somebody may read still: then no producer has come here since.
                (0, Phase::Empty) | (-1, Phase::Taken) => {
                    return Ok(Err(if is_closed { Obstacle::Closed } else { Obstacle::Nothing }));
                }
                _ => return Err(out_of_step(head)),
            }
        }
    }

    /// Makes room of the void slots at the head. `false` if there were none.
    #[cold]
    fn pass_over_voids(&self) -> Result<bool> {
        let mut were_any = false;
        loop {
            let (head, slot, state) = self.look(&self.words.head.0)?;
            match (state.ahead(head.lap()), state.phase()) {
                (0, Phase::Full) if state.member().is_some() => {
                    let next = State::new(head.lap().wrapping_add(1), Phase::Empty, None);
                    point();
                    if slot.compare_exchange(state.0, next.0, SeqCst, Relaxed).is_ok() {
                        were_any = true;
                        self.notify_room(1);
                    }
                }
                // As in `try_value`.
                (0, Phase::Taken) | (1, _) => self.advance(&self.words.head.0, head),
                _ if self.words.head.0.load(Relaxed) != head.0 => {}
                _ => return Ok(were_any),
            }
        }
    }

    /// Waits until `attempt` succeeds, which it may when the slot at the end is in the phase, which are `next`. Who has slept
    /// wakes another one then if the slot after that is ready, too: whoever made it so may have woken this one, who found the
    /// slot before it not ready yet.
    #[cold]
    #[expect(clippy::too_many_arguments, reason = "what waits at either end, said once")]
    fn wait(
        &self,
        gate: &Gate,
        waiters: &Waiters,
        (end, phase): (&AtomicU64, Phase),
        first: Obstacle,
        lives: &impl Lives,
        wait: Wait,
        attempt: impl Fn() -> Result<Result<Claimed, Obstacle>>,
    ) -> Result<Claimed> {
        let is_ready = || self.is_ready(end, phase);
        // The end moves on before the hand-over here: the look is to be at the slot after the claimed one.
        let is_one_more_ready = |claimed: Claimed| {
            self.advance(end, claimed.position());
            is_ready()
        };
        let mut obstacle = first;
        let mut spin = Spin::for_a_message(&waiters.patience);
        let mut is_spinning = !wait.is_over();
        // Who has slept may have been woken. Who has not leaves the slot after it to the one that is about to write it.
        let succeed = |claimed: Claimed, has_slept: bool| {
            if has_slept && is_one_more_ready(claimed) {
                gate.notify(1);
            }
            Ok(claimed)
        };
        let mut is_there = is_spinning && obstacle == Obstacle::Nothing && spin.until(is_ready);
        loop {
            match obstacle {
                // At once: a turn more is as long as a cache line takes.
                _ if mem::take(&mut is_there) => {}
                Obstacle::Closed => return Err(Error::Closed),
                Obstacle::Member { at, state } if self.pass_over(at, state, lives, wait) => {}
                _ if wait == Wait::No => return Err(Error::WouldBlock),
                _ if is_spinning && spin.turn() => {}
                _ if wait.is_over() => return Err(Error::TimedOut),
                _ => {
                    is_spinning = false;
                    let turn = gate.announce();
                    match attempt()? {
                        Ok(claimed) => return succeed(claimed, true),
                        Err(Obstacle::Closed) => return Err(Error::Closed),
                        Err(now) => {
                            let watched = match now {
                                Obstacle::Member { state, .. } => state.member(),
                                _ => None,
                            };
                            lives.sleep(&gate.word, turn, watched.as_slice(), wait);
                        }
                    }
                }
            }
            let has_lingered = is_spinning && is_ready() && !wait.is_over() && waiters.linger.linger();
            match attempt()? {
                Ok(claimed) => {
                    if has_lingered {
                        waiters.linger.helped(is_one_more_ready(claimed));
                    }
                    if is_spinning {
                        spin.succeeded();
                    }
                    return succeed(claimed, !is_spinning);
                }
                Err(now) => obstacle = now,
            }
        }
    }

    /// Whether the slot at `end` is ready to be claimed.
    fn is_ready(&self, end: &AtomicU64, phase: Phase) -> bool {
        self.look(end).is_ok_and(|(at, _, state)| state.ahead(at.lap()) == 0 && state.phase() == phase)
    }

    /// Ends what a member did with a slot that is gone. `false` if it is not.
    fn pass_over(&self, at: usize, state: State, lives: &impl Lives, wait: Wait) -> bool {
        let is_gone = |id| lives.life(id) != Life::Lives && lives.is_gone(id, wait_a_slice(wait));
        // A state that names nobody is nobody's.
        if !state.member().is_none_or(is_gone) {
            return false;
        }
        let next = match state.phase() {
            // Void even if the state named nobody.
            Phase::Busy => State::new(state.lap(), Phase::Full, state.member().or(Some(MemberId::new(0, 1)))),
            _ => State::new(state.lap().wrapping_add(1), Phase::Empty, None),
        };
        point();
        if self.state_at(at).compare_exchange(state.0, next.0, SeqCst, Relaxed).is_ok() {
            self.notify_values(u32::MAX);
            self.notify_room(u32::MAX);
        }
        true
    }
}

#[cold]
fn no_slot(position: Position) -> Error {
    Error::corrupt(format!("a ring has no slot {}", position.index()))
}

#[cold]
fn out_of_step(position: Position) -> Error {
    Error::corrupt(format!("slot {} of a ring is in another lap than its ends", position.index()))
}

#[cfg(all(test, loom))]
mod loom_tests;

#[cfg(all(test, not(loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::raw::lives::Half;

    #[derive(Default)]
    struct Place(AtomicU64, AtomicU64);

    impl Slot for Place {
        fn state(&self) -> &AtomicU64 {
            &self.0
        }
    }

    struct Whole {
        words: RingWords,
        slots: Vec<Place>,
    }

    impl Whole {
        /// An empty ring that has gone round so often.
        fn after(laps: u32, slots: usize) -> Self {
            let whole = Self { words: RingWords::default(), slots: (0..slots).map(|_| Place::default()).collect() };
            for end in [&whole.words.tail.0, &whole.words.head.0] {
                end.store(u64::from(laps) << 32, Relaxed);
            }
            for slot in &whole.slots {
                slot.0.store(State::new(laps, Phase::Empty, None).0, Relaxed);
            }
            whole
        }

        fn ring(&self) -> Ring<'_, &[Place]> {
            Ring { words: &self.words, slots: &self.slots[..] }
        }

        fn push(&self, value: u64) -> Result<()> {
            let ring = self.ring();
            let claimed = ring.claim_room(ME, || Ok(Half), Wait::No)?;
            self.slots[claimed.at].1.store(value, Relaxed);
            ring.publish(claimed);
            ring.notify_values(1);
            Ok(())
        }

        fn pop(&self) -> Result<u64> {
            let ring = self.ring();
            let claimed = ring.claim_value(ME, || Ok(Half), Wait::No)?;
            let value = self.slots[claimed.at].1.load(Relaxed);
            ring.free(claimed);
            ring.notify_room(1);
            Ok(value)
        }
    }

    const ME: MemberId = MemberId::new(2, 1);
    const DEAD: MemberId = MemberId::new(3, 1);

    #[derive(Debug, Clone)]
    enum Step {
        Push,
        Pop,
        /// Claimed to write or to read by one that dies then.
        DieWriting,
        DieReading,
        /// Published, and then dead before the end has moved.
        DiePublished,
        GiveUp,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            6 => Just(Step::Push),
            5 => Just(Step::Pop),
            1 => Just(Step::DieWriting),
            1 => Just(Step::DieReading),
            1 => Just(Step::DiePublished),
            1 => Just(Step::GiveUp)
        ];
        proptest::collection::vec(step, 1..200)
    }

    proptest! {
        /// Whatever is pushed comes out, in order, but what a dead one had taken; across the end of the laps too.
        #[test]
        fn a_ring_is_a_queue(steps in steps(), slots in 1_usize..5, lap in prop_oneof![Just(0), (1_u32 << 30) - 3..1 << 30, u32::MAX - 3..=u32::MAX]) {
            let whole = Whole::after(lap, slots);
            let ring = whole.ring();
            let mut model = std::collections::VecDeque::new();
            for (value, step) in (0..).zip(steps) {
                match step {
                    Step::Push => match whole.push(value) {
                        Ok(()) => model.push_back(value),
                        // Slots of those who died writing are free when their turn to be read has come.
                        Err(error) => prop_assert!(error.is_would_block() && ring.len() == slots, "{error}"),
                    },
                    Step::Pop => match whole.pop() {
                        Ok(value) => prop_assert_eq!(model.pop_front(), Some(value)),
                        Err(error) => prop_assert!(error.is_would_block() && model.is_empty(), "{error}"),
                    },
                    Step::DieWriting => _ = ring.claim_room(DEAD, || Ok(Half), Wait::No),
                    Step::DieReading => {
                        if ring.claim_value(DEAD, || Ok(Half), Wait::No).is_ok() {
                            model.pop_front();
                        }
                    }
                    Step::DiePublished => {
                        if let Ok(claimed) = ring.claim_room(DEAD, || Ok(Half), Wait::No) {
                            let Place(state, place) = &whole.slots[claimed.at];
                            place.store(value, Relaxed);
                            state.store(State::new(claimed.lap, Phase::Full, None).0, Release);
                            model.push_back(value);
                        }
                    }
                    Step::GiveUp => {
                        if let Ok(claimed) = ring.claim_room(ME, || Ok(Half), Wait::No) {
                            ring.give_up(ME, claimed);
                        }
                    }
                }
                prop_assert!(ring.len() >= model.len() && ring.len() <= slots);
            }
            ring.close();
            prop_assert!(matches!(whole.push(0), Err(Error::Closed)));
            for value in model {
                prop_assert_eq!(whole.pop().unwrap(), value);
            }
            prop_assert!(matches!(whole.pop(), Err(Error::Closed)));
        }

        /// Whatever lies there: an error, a value or nothing, and never for ever.
        #[test]
        fn anything_may_lie_there(
            ends in any::<[u64; 2]>(),
            laps in any::<[u32; 4]>(),
            phases in any::<[u8; 4]>(),
            members in any::<[u32; 4]>(),
            near in any::<bool>(),
        ) {
            let whole = Whole::after(0, 4);
            let near = |word: u64| if near { word & (3 << 32 | 7) } else { word };
            whole.words.tail.0.store(near(ends[0]), Relaxed);
            whole.words.head.0.store(near(ends[1]), Relaxed);
            for (i, slot) in whole.slots.iter().enumerate() {
                let state = u64::from(laps[i]) << 34 | u64::from(phases[i] & 3) << 32 | u64::from(members[i] & !1);
                slot.0.store(if near(u64::MAX) == u64::MAX { state } else { state & ((1 << 36) - 1) }, Relaxed);
            }
            for _ in 0..10 {
                let _ = (whole.push(1), whole.pop(), whole.ring().len());
            }
        }
    }
}
