//! A barrier that knows who its parties are: the death of one breaks it, and nobody waits for the dead.
//!
//! # The word
//!
//! | bits | name | meaning |
//! | --- | --- | --- |
//! | 0–11 | `COUNT` | parties that have arrived in this round; all of them: the last one runs the action |
//! | 12 | `SLEEPERS` | somebody may sleep on the word |
//! | 13 | `BROKEN` | nobody passes any more until a reset |
//! | 14 | `RESETTING` | a reset is under way; whoever sees it helps to finish it |
//! | 15–31 | round | one more with every passage and every reset |
//!
//! Everything that decides is a compare-and-swap of this word: an arrival, the passage, the break, the reset. So a round
//! ends in one way for everybody. Who waits looks at the round first: if that has gone on, all had arrived, whatever came
//! after. Only a reset goes on with the round too; it breaks the barrier first and then puts the round on record
//! (`resets`), so that those who slept through the break know it from a passage.
//!
//! # The parties
//!
//! Two records for each party, for there may be holders that never arrive: 0, or a member that has arrived once or was
//! given the barrier by its parent, or a process that was given it and has not begun to take part. Who arrives is on
//! record before it counts; those that never have make room for it.
//!
//! | dies | the others |
//! | --- | --- |
//! | before it is on record | wait for a party that has not come yet, as before |
//! | on record, before it arrives, or arrived | see it by its lifeline, and break the barrier |
//! | last, in the action | the same |
//! | last, between the passage and the wake-up | are woken by its lifeline, and find the round gone on |
//! | having broken it, before the wake-up | the same, or at the end of their slice; find it broken |
//! | in a reset | finish it |
//! | before the round began, having left in good order | do not wait for it: the first to arrive takes it off the record |
//!
//! How a party waits depends on whether all that share its processor have arrived: see [`Crowd`]. That, and `patience`, are
//! hints, for which any value will do.
//!
//! Sources: D. Hensgen, R. Finkel, U. Manber, *Two Algorithms for Barrier Synchronization* (1988), for the rounds; Python's
//! `threading.Barrier` for what breaks it.

#[cfg(not(loom))]
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

#[cfg(loom)]
use loom::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use super::{
    crowd::Crowd,
    lives::{Life, Lives, MemberId},
    points::point,
    sys::{AtomicU16, AtomicU32, AtomicU64, Stamp, futex},
    waiting::{Patience, Spin},
};
use crate::{
    Error, Result,
    os::{clock::Wait, futex::MOST_WORDS},
};

const COUNT: u32 = (1 << 12) - 1;
const SLEEPERS: u32 = 1 << 12;
const BROKEN: u32 = 1 << 13;
const RESETTING: u32 = 1 << 14;
const ROUND_SHIFT: u32 = 15;
const ROUND: u32 = u32::MAX << ROUND_SHIFT;
const ONE_ROUND: u32 = 1 << ROUND_SHIFT;

/// The most parties: what `COUNT` can hold.
pub(crate) const MOST_PARTIES: usize = COUNT as usize;

/// Places for the last resets.
const RESETS: usize = 8;

/// Passages for which the record of a reset is kept at least: whoever was turned out by it has looked by then, for it is
/// one of the parties.
const KEPT: u32 = RESETS as u32 / 2;

/// What the parties share besides the records. Zeroed memory is a barrier that nobody has come to.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct BarrierWords {
    state: AtomicU32,
    patience: Patience,
    spare: AtomicU16,
    /// The round that a death broke in the upper half, the process that died in the lower one.
    culprit: AtomicU64,
    /// Nanoseconds; 0 for none.
    pub(crate) timeout: AtomicU64,
    /// For each of the last resets the round that it ended, and a mark: see [`reset_mark`].
    resets: [AtomicU32; RESETS],
    crowd: Crowd,
}

impl BarrierWords {
    /// What they take in shared memory.
    pub(crate) const SIZE: u64 = 56 + Crowd::SIZE;
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<BarrierWords>() as u64 == BarrierWords::SIZE);

/// The record of a party: a member.
///
/// | bits | |
/// | --- | --- |
/// | 0 | 0: a member. 1: a process that has not taken part yet, or its parent, which is about to start it; the rest is a stamp |
/// | 1 | of a member: it has arrived once |
/// | 2–33 | of a member: its id |
const ARRIVED: u64 = 0b10;
const IS_STAMP: u64 = 0b01;

fn record_of(id: MemberId) -> u64 {
    u64::from(id.to_bits()) << 2
}

/// The record of a process that has not taken part yet.
fn expected(stamp: u64) -> u64 {
    stamp & !(IS_STAMP | ARRIVED) | IS_STAMP
}

fn member_of(record: u64) -> Option<MemberId> {
    MemberId::from_bits((record >> 2) as u32).filter(|_| record & IS_STAMP == 0)
}

/// Marks a round as one that a reset ended; 0 is none.
fn reset_mark(round: u32) -> u32 {
    round & ROUND | 1
}

fn reset_place(round: u32) -> usize {
    (round >> ROUND_SHIFT) as usize % RESETS
}

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Passed,
    Broken,
}

/// The barrier with its parties.
pub(crate) struct Barrier<'a> {
    pub(crate) words: &'a BarrierWords,
    /// Two records for each party.
    pub(crate) parties: &'a [[AtomicU64; 2]],
}

impl Barrier<'_> {
    fn all(&self) -> u32 {
        (self.parties.len() as u32).min(COUNT)
    }

    /// Waits until all parties have arrived. The last one runs `action` before anybody passes. Returns the number of
    /// parties that arrived after this one: 0 for the last.
    ///
    /// # Errors
    ///
    /// `BarrierBroken`; `TimedOut`, which breaks it for the others; `WouldBlock` when this is not the last party, which
    /// then has not arrived; what `action` returns, which breaks it too; `InvalidArgument` when too many processes take
    /// part.
    #[inline]
    pub(crate) fn wait<L: Lives>(
        &self,
        me: MemberId,
        lives: impl Fn() -> Result<L>,
        wait: Wait,
        action: Option<impl FnOnce() -> Result<()>>,
    ) -> Result<usize> {
        let mut state = self.words.state.load(Acquire);
        // The round in which the crowd has counted this party.
        let mut counted = None;
        loop {
            if state & RESETTING != 0 {
                self.finish_reset(state & ROUND, &lives()?);
                state = self.words.state.load(Acquire);
                continue;
            }
            if state & COUNT == 0 {
                // First of a round, as far as anybody can tell: there is time to see who has left since.
                self.strike_off_the_departed(&lives()?);
            }
            if !self.is_on_record(me) {
                self.enlist(me, &lives()?)?;
            }
            if state & BROKEN != 0 {
                return Err(self.broken(state));
            }
            let before = state & COUNT;
            if before >= self.all() {
                // The last party of this round is in its action: this is a party of the next one.
                if wait == Wait::No {
                    return Err(Error::WouldBlock);
                }
                self.wait_for_the_end(me, state & ROUND, &lives, wait)?;
                state = self.words.state.load(Acquire);
                continue;
            }
            let is_last = before + 1 == self.all();
            if !is_last && wait == Wait::No {
                return Err(Error::WouldBlock);
            }
            let round = state & ROUND;
            let next = match is_last && action.is_none() {
                true => round.wrapping_add(ONE_ROUND),
                false => state + 1,
            };
            if counted.replace(round) != Some(round) {
                self.words.crowd.arrive(round >> ROUND_SHIFT);
            }
            point();
            // Release: what this party did before is seen by all that pass. Acquire: the last one sees what all did.
            if let Err(now) = self.words.state.compare_exchange(state, next, AcqRel, Acquire) {
                state = now;
                continue;
            }
            if !is_last {
                self.wait_for_the_end(me, round, &lives, wait)?;
            } else if let Some(action) = action {
                self.act_and_pass(next, action)?;
            } else {
                self.passed(state);
            }
            return Ok((self.all() - before - 1) as usize);
        }
    }

    /// Runs the action of the last party, and lets everybody pass.
    fn act_and_pass(&self, state: u32, action: impl FnOnce() -> Result<()>) -> Result<()> {
        let round = state & ROUND;
        let breaker = BreakOnDrop(self, round);
        action()?;
        std::mem::forget(breaker);
        let mut state = self.words.state.load(Relaxed);
        loop {
            if state & ROUND != round || state & (BROKEN | RESETTING) != 0 {
                // Somebody ran out of time.
                return Err(self.broken(state));
            }
            point();
            match self.words.state.compare_exchange(state, round.wrapping_add(ONE_ROUND), AcqRel, Acquire) {
                Ok(_) => {
                    self.passed(state);
                    return Ok(());
                }
                Err(now) => state = now,
            }
        }
    }

    /// What the last party does when it has let everybody pass: `state` was the word before.
    #[inline]
    fn passed(&self, state: u32) {
        // The record there is of a reset `RESETS - KEPT` rounds ago, or earlier.
        let old = &self.words.resets[reset_place((state & ROUND).wrapping_add(KEPT << ROUND_SHIFT))];
        if old.load(Relaxed) != 0 {
            point();
            old.store(0, Relaxed);
        }
        if state & SLEEPERS != 0 {
            self.wake();
        }
    }

    /// Waits until `round` has ended, as one whose arrival in it, if it was one, has been counted.
    #[inline]
    fn wait_for_the_end<L: Lives>(
        &self,
        me: MemberId,
        round: u32,
        lives: impl Fn() -> Result<L>,
        wait: Wait,
    ) -> Result<()> {
        let mut spin = Spin::for_many(&self.words.patience);
        loop {
            // Acquire: pairs with the last party's Release, and through it with all others'.
            let state = self.words.state.load(Acquire);
            match self.outcome(round, state) {
                Some(Outcome::Passed) => {
                    spin.succeeded();
                    return Ok(());
                }
                Some(Outcome::Broken) => return Err(self.broken(round)),
                None if state & RESETTING != 0 => self.finish_reset(round, &lives()?),
                None if spin.turn_among(|| self.words.crowd.is_complete(round >> ROUND_SHIFT)) => {}
                None => return self.sleep(me, round, &lives()?, wait),
            }
        }
    }

    #[cold]
    fn sleep(&self, me: MemberId, round: u32, lives: &impl Lives, wait: Wait) -> Result<()> {
        loop {
            let state = self.words.state.load(Acquire);
            match self.outcome(round, state) {
                Some(Outcome::Passed) => return Ok(()),
                Some(Outcome::Broken) => return Err(self.broken(round)),
                None if state & RESETTING != 0 => {
                    self.finish_reset(round, lives);
                    continue;
                }
                None => {}
            }
            match self.who_is_missing(me, lives) {
                Err(pid) => {
                    self.break_round(round, pid);
                }
                Ok(_) if wait.is_over() => {
                    self.break_round(round, None);
                    return self.verdict_of_the_late(round);
                }
                Ok(watched) => {
                    let sleeping = state | SLEEPERS;
                    if state != sleeping {
                        point();
                        if self.words.state.compare_exchange(state, sleeping, Relaxed, Relaxed).is_err() {
                            continue;
                        }
                    }
                    lives.sleep(&self.words.state, sleeping, &watched, wait);
                }
            }
        }
    }

    /// What one is told whose time is over: it may have been let through at the last moment.
    fn verdict_of_the_late(&self, round: u32) -> Result<()> {
        match self.outcome(round, self.words.state.load(Acquire)) {
            Some(Outcome::Passed) => Ok(()),
            _ => Err(Error::TimedOut),
        }
    }

    /// How `round` has ended, if it has.
    #[inline]
    fn outcome(&self, round: u32, state: u32) -> Option<Outcome> {
        if state & ROUND == round {
            return (state & (BROKEN | RESETTING) == BROKEN).then_some(Outcome::Broken);
        }
        // Acquire above: a reset puts itself on record before it goes on with the round.
        let last = self.words.resets[reset_place(round)].load(Relaxed);
        // A later one in the same place means so many resets that this round's own end is forgotten.
        let is_later = (last & ROUND).wrapping_sub(round) < ROUND / 2;
        Some(if last & 1 != 0 && is_later { Outcome::Broken } else { Outcome::Passed })
    }

    /// The other members to watch, or the process of one that will not come.
    fn who_is_missing(&self, me: MemberId, lives: &impl Lives) -> Result<Vec<MemberId>, Option<u32>> {
        let mut watched = Vec::new();
        for party in self.records() {
            let record = party.load(Acquire);
            let Some(id) = member_of(record) else {
                let expected = Stamp::from_bits(record);
                if record != 0 && expected.is_dead(Wait::No) {
                    return Err(expected.pid());
                }
                continue;
            };
            match lives.life(id) {
                Life::Lives if id != me && watched.len() < MOST_WORDS => watched.push(id),
                Life::Lives => {}
                Life::Died => return Err(lives.pid(id)),
                Life::Left if record & ARRIVED != 0 => return Err(lives.pid(id)),
                Life::Left => {}
            }
        }
        Ok(watched)
    }

    /// Breaks the barrier, unless `round` is over. Says whether it is broken.
    fn break_round(&self, round: u32, culprit: Option<u32>) -> bool {
        let mut state = self.words.state.load(Relaxed);
        // Not if it is broken: then the culprit may be a party that has found it so, and has left.
        if let Some(pid) = culprit
            && state & (ROUND | BROKEN | RESETTING) == round
        {
            point();
            // Before the word: whoever sees it broken finds out by whom.
            self.words.culprit.store(u64::from(round | 1) << 32 | u64::from(pid), Release);
        }
        while state & ROUND == round {
            if state & (BROKEN | RESETTING) != 0 {
                return true;
            }
            point();
            match self.words.state.compare_exchange(state, (state | BROKEN) & !SLEEPERS, AcqRel, Relaxed) {
                Ok(_) => {
                    self.wake();
                    return true;
                }
                Err(now) => state = now,
            }
        }
        false
    }

    /// Breaks the barrier for all who wait or come.
    pub(crate) fn abort(&self) {
        while !self.break_round(self.words.state.load(Relaxed) & ROUND, None) {
            std::hint::spin_loop();
        }
    }

    /// Makes the barrier whole, with nobody waiting, and forgets the dead; those who wait find it broken.
    pub(crate) fn reset(&self, lives: &impl Lives) {
        let mut state = self.words.state.load(Relaxed);
        while state & RESETTING == 0 {
            point();
            match self.words.state.compare_exchange(state, state | RESETTING, AcqRel, Relaxed) {
                Ok(_) => break,
                Err(now) => state = now,
            }
        }
        self.finish_reset(state & ROUND, lives);
    }

    /// Ends the reset in `round`, if nobody has yet.
    #[cold]
    fn finish_reset(&self, round: u32, lives: &impl Lives) {
        let place = &self.words.resets[reset_place(round)];
        let before = place.load(Relaxed);
        // At any time, and by however many: the dead and the departed are missed by nobody.
        for party in self.records() {
            let record = party.load(Relaxed);
            let is_gone = match member_of(record) {
                Some(id) => lives.life(id) != Life::Lives,
                None => record != 0 && Stamp::from_bits(record).is_dead(Wait::No),
            };
            let _ = is_gone && self.change(party, record, 0);
        }
        let mut state = self.words.state.load(Relaxed);
        if state & ROUND != round {
            return;
        }
        point();
        // Fails only when another has put this same round there.
        let _ = place.compare_exchange(before, reset_mark(round), Relaxed, Relaxed);
        while state & ROUND == round {
            point();
            // Release: the record of the reset comes before the next round.
            match self.words.state.compare_exchange(state, round.wrapping_add(ONE_ROUND), AcqRel, Relaxed) {
                Ok(_) => return self.wake(),
                Err(now) => state = now,
            }
        }
    }

    /// Keeps a record for a process that is to be given the barrier, in the name of `stamp`, which gives it. Returns
    /// which, unless all are taken: then that process is on record when it arrives.
    pub(crate) fn reserve(&self, stamp: u64) -> Option<usize> {
        self.records().position(|party| self.change(party, 0, expected(stamp)))
    }

    /// Replaces the process of a record that was kept; 0 gives the record up. Without effect when the process that it
    /// was kept for has taken it.
    pub(crate) fn expect(&self, at: usize, from: u64, to: u64) {
        if let Some(party) = self.records().nth(at) {
            self.change(party, expected(from), if to == 0 { 0 } else { expected(to) });
        }
    }

    /// Puts `me` in the place of whoever a record was kept for.
    pub(crate) fn attend(&self, me: MemberId, at: usize) {
        let kept = self.records().nth(at).is_some_and(|party| {
            // Twice, for the parent may put the child's name there meanwhile.
            (0..2).any(|_| {
                let record = party.load(Relaxed);
                record & IS_STAMP != 0 && self.change(party, record, record_of(me))
            })
        });
        // One that has arrived first needed the room.
        let _ = kept || self.records().any(|party| self.change(party, 0, record_of(me)));
    }

    pub(crate) fn waiting(&self) -> usize {
        let state = self.words.state.load(Relaxed);
        if state & (BROKEN | RESETTING) != 0 { 0 } else { (state & COUNT) as usize }
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.words.state.load(Relaxed) & (BROKEN | RESETTING) == BROKEN
    }

    /// The error of whoever finds the barrier broken in the round of `state`.
    #[cold]
    fn broken(&self, state: u32) -> Error {
        let culprit = self.words.culprit.load(Acquire);
        let is_of_round = (culprit >> 32) as u32 == state & ROUND | 1;
        Error::BarrierBroken { pid: is_of_round.then_some(culprit as u32).filter(|pid| *pid != 0) }
    }

    /// Whether `me` is on record as one that has arrived.
    #[inline]
    fn is_on_record(&self, me: MemberId) -> bool {
        let wanted = record_of(me) | ARRIVED;
        let start = me.slot() % self.parties.len();
        let (before, from) = self.parties.split_at(start);
        from.iter().chain(before).flatten().any(|party| party.load(Relaxed) == wanted)
    }

    /// Puts `me` on record as one that arrives.
    #[cold]
    fn enlist(&self, me: MemberId, lives: &impl Lives) -> Result<()> {
        let arriving = record_of(me) | ARRIVED;
        let start = me.slot() % self.parties.len();
        // Anybody but one that has arrived makes room.
        let gives_way = |record| record & ARRIVED == 0 || record & IS_STAMP != 0;
        loop {
            let places = || self.parties[start..].iter().chain(&self.parties[..start]).flatten();
            if places().any(|party| self.change(party, record_of(me), arriving))
                || places().any(|party| self.change(party, 0, arriving))
                || places().any(|party| {
                    let record = party.load(Relaxed);
                    gives_way(record) && self.change(party, record, arriving)
                })
            {
                // The others watch this one from now on.
                if self.words.state.load(Relaxed) & SLEEPERS != 0 {
                    self.wake();
                }
                return Ok(());
            }
            self.strike_off_the_departed(lives);
            if let Err(pid) = self.who_is_missing(me, lives) {
                let round = self.words.state.load(Relaxed) & ROUND;
                self.break_round(round, pid);
                return Err(self.broken(round));
            }
            // Nobody is missing: but perhaps because a reset has just made room.
            let has_room = self.records().any(|party| {
                let record = party.load(Relaxed);
                gives_way(record) || member_of(record).is_some_and(|id| lives.life(id) != Life::Lives)
            });
            if !has_room {
                let most = self.records().count();
                return Err(Error::invalid_argument(format!("{most} other processes take part in this barrier")));
            }
        }
    }

    /// Replaces a record, if it is `from`.
    fn change(&self, party: &AtomicU64, from: u64, to: u64) -> bool {
        if party.load(Relaxed) != from {
            return false;
        }
        point();
        // Release, here and in the arrival that follows: who sees the arrival sees the record.
        party.compare_exchange(from, to, AcqRel, Relaxed).is_ok()
    }

    fn records(&self) -> impl Iterator<Item = &AtomicU64> {
        self.parties.iter().flatten()
    }

    /// Takes those off the record that have left in good order.
    fn strike_off_the_departed(&self, lives: &impl Lives) {
        for party in self.records() {
            let record = party.load(Relaxed);
            if member_of(record).is_some_and(|id| lives.life(id) == Life::Left) {
                self.change(party, record, 0);
            }
        }
    }

    #[cold]
    fn wake(&self) {
        point();
        futex::wake(&self.words.state, u32::MAX);
    }
}

/// Breaks the barrier when an action does not return in good order.
struct BreakOnDrop<'a>(&'a Barrier<'a>, u32);

impl Drop for BreakOnDrop<'_> {
    fn drop(&mut self) {
        self.0.break_round(self.1, None);
    }
}

#[cfg(all(test, loom))]
mod loom_tests;

#[cfg(all(test, not(loom)))]
mod tests {
    use std::{cell::Cell, thread, time::Duration};

    use super::*;
    use crate::os::futex::Woken;

    /// Everybody lives for ever.
    struct Immortals;

    impl Lives for Immortals {
        fn life(&self, _: MemberId) -> Life {
            Life::Lives
        }

        fn is_gone(&self, _: MemberId, _: Wait) -> bool {
            false
        }

        fn pid(&self, _: MemberId) -> Option<u32> {
            None
        }

        fn sleep(&self, word: &AtomicU32, expected: u32, _: &[MemberId], wait: Wait) -> Woken {
            futex::wait(word, expected, wait.slice(Duration::from_millis(100)))
        }
    }

    /// Two threads meet `rounds` times at a barrier that stands at round `start`, after a reset in round `reset`.
    fn meet(start: u32, reset: u32, rounds: u32) {
        let words = BarrierWords::default();
        words.state.store(start << ROUND_SHIFT, Relaxed);
        words.resets[reset_place(reset << ROUND_SHIFT)].store(reset_mark(reset << ROUND_SHIFT), Relaxed);
        let parties: [[AtomicU64; 2]; 2] = Default::default();
        let party = |slot| {
            for round in 0..rounds {
                let barrier = Barrier { words: &words, parties: &parties };
                let limit = Wait::timeout(Duration::from_secs(20));
                let done = barrier.wait(MemberId::new(slot, 1), || Ok(Immortals), limit, None::<fn() -> Result<()>>);
                done.unwrap_or_else(|error| panic!("in round {start} + {round}, reset in {reset}: {error}"));
            }
        };
        thread::scope(|scope| {
            scope.spawn(|| party(1));
            party(0);
        });
        // Else it would be found again when the rounds have come round.
        assert!(words.resets.iter().all(|place| place.load(Relaxed) == 0), "the reset in {reset} is still on record");
    }

    /// Members of whom one has died, whose record is taken off when somebody asks for the `left`th time: as by a reset.
    struct OneDied<'a> {
        dead: MemberId,
        record: &'a AtomicU64,
        left: Cell<u32>,
    }

    impl Lives for &OneDied<'_> {
        fn life(&self, id: MemberId) -> Life {
            self.left.set(self.left.get().wrapping_sub(1));
            if self.left.get() == 0 {
                self.record.store(0, Relaxed);
            }
            if id == self.dead { Life::Died } else { Life::Lives }
        }

        fn is_gone(&self, id: MemberId, _: Wait) -> bool {
            id == self.dead
        }

        fn pid(&self, _: MemberId) -> Option<u32> {
            Some(7)
        }

        fn sleep(&self, _: &AtomicU32, _: u32, _: &[MemberId], _: Wait) -> Woken {
            unreachable!("one party alone never waits")
        }
    }

    /// All records are taken, one of them by the dead. It is broken for who comes, or there is room: never refused, at
    /// whatever moment another one resets it.
    #[test]
    fn the_dead_make_room_at_any_moment() {
        let [dead, other, me] = [1, 2, 3].map(|slot| MemberId::new(slot, 1));
        let mut verdicts = [0, 0];
        for left in 1..20 {
            let words = BarrierWords::default();
            let parties = [[dead, other].map(|id| AtomicU64::new(record_of(id) | ARRIVED))];
            let barrier = Barrier { words: &words, parties: &parties };
            let lives = OneDied { dead, record: &parties[0][0], left: Cell::new(left) };
            match barrier.wait(me, || Ok(&lives), Wait::Forever, None::<fn() -> Result<()>>) {
                Ok(_) => verdicts[0] += 1,
                Err(Error::BarrierBroken { pid }) => {
                    assert_eq!(pid, Some(7));
                    verdicts[1] += 1;
                }
                Err(error) => panic!("reset at the look {left}: {error}"),
            }
        }
        assert!(verdicts.iter().all(|count| *count > 0), "{verdicts:?}");
    }

    /// A party that has found the barrier broken by a death has left, before this one has looked for the cause.
    struct BrokenMeanwhile<'a>(&'a Barrier<'a>);

    impl Lives for BrokenMeanwhile<'_> {
        fn life(&self, _: MemberId) -> Life {
            if self.0.waiting() == 0 {
                return Life::Lives;
            }
            self.0.break_round(0, Some(DEAD));
            Life::Left
        }

        fn is_gone(&self, _: MemberId, _: Wait) -> bool {
            true
        }

        fn pid(&self, _: MemberId) -> Option<u32> {
            Some(SURVIVOR)
        }

        fn sleep(&self, word: &AtomicU32, expected: u32, _: &[MemberId], wait: Wait) -> Woken {
            futex::wait(word, expected, wait.slice(Duration::from_millis(100)))
        }
    }

    const DEAD: u32 = 1000;
    const SURVIVOR: u32 = 2000;

    #[test]
    fn who_leaves_a_broken_barrier_has_not_broken_it() {
        let words = BarrierWords::default();
        let parties: [[AtomicU64; 2]; 3] = Default::default();
        parties[2][0].store(record_of(MemberId::new(2, 1)) | ARRIVED, Relaxed);
        let barrier = Barrier { words: &words, parties: &parties };
        let lives = || Ok(BrokenMeanwhile(&barrier));
        let limit = Wait::timeout(Duration::from_secs(20));
        let error = barrier.wait(MemberId::new(1, 1), lives, limit, None::<fn() -> Result<()>>).unwrap_err();
        assert!(matches!(error, Error::BarrierBroken { pid: Some(DEAD) }), "{error}");
    }

    /// The number of rounds wraps, and an old reset is not taken for one of now.
    #[test]
    fn rounds_begin_anew() {
        const ALL: u32 = 1 << (32 - ROUND_SHIFT);
        meet(ALL - 5, ALL - 6, 20);
        for (start, reset) in [(1, 0), (9, 8), (0, ALL - 1), (3, ALL - 5)] {
            meet(start, reset, 20);
        }
    }
}
