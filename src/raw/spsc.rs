//! A ring with one producer and one consumer, who need no compare-and-swap for each other.
//!
//! # The counters
//!
//! `tail` counts what was ever put in, and is the producer's; `head` what was ever taken out, and is the consumer's; both
//! modulo twice the capacity, so that a full ring is not taken for an empty one, and that a place is found without a
//! division. Each side stores its own and loads the other's. What lies between the two is the consumer's to read, the rest
//! is the producer's to write. One store of a counter publishes, or frees, any number of places at once.
//!
//! A side keeps no copy of its own counter: stores wait in line behind those to the places, which wait for the other
//! core, and the shorter the line the more messages are on their way at a time. The exception is a producer whose consumer
//! has all that was put in: see `End::learn`.
//!
//! # Roles
//!
//! A role is a word: the member that has it, and a number that tells apart those who had it in that process. It is
//! taken by a compare-and-swap from nobody, or from a member that is gone, with all threads of its process. From one that
//! lives it is not taken, but whoever hands its end to a child still has the role for a moment, in which the child may have
//! begun: so who may wait asks again for a second.
//!
//! | dies | after | costs |
//! | --- | --- | --- |
//! | the producer | any store into a place | nothing: it was not published |
//! | | `tail` | the consumer the rest of its slice |
//! | the consumer | any read of a place | nothing: the next consumer reads it again |
//! | | `head` | the producer the rest of its slice; the values are the dead one's |
//! | either | the end of all that | its role, until somebody takes it |
//!
//! # Waiting
//!
//! As at every [`Gate`], but that the side that goes on makes no barrier for the one that waits: that has the kernel
//! make it, see [`Light`]. If the kernel refuses, as in some sandboxes, the one that waits says so at its gate, once and
//! for all, and from then on the other one makes barriers. What that one did at the very moment may be seen late, so the
//! first sleep is a short one.
//!
//! What an end has learnt of its waits is not shared: the `patience` of the gates lies idle here.
//!
//! # Closing
//!
//! One store to `closed`. If who closes dies after it, those who wait find it at the end of their slice.

#[cfg(not(loom))]
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::time::Duration;

#[cfg(loom)]
use loom::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use super::{
    gate::Gate,
    lives::{Life, Lives, MemberId},
    points::point,
    sys::{AtomicU32, AtomicU64, Light, futex, heavy},
    waiting::{Linger, Patience, SLICE, Spin, wait_a_slice},
};
#[cfg(not(loom))]
use crate::os::clock::Deadline;
use crate::{Error, Result, os::clock::Wait};

/// The common words. Zeroed memory is an empty ring that nobody has a role at.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct SpscWords {
    tail: Line<AtomicU64>,
    head: Line<AtomicU64>,
    rest: Line<Rest>,
}

/// A pair of cache lines, since processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(C, align(128))]
struct Line<T>(T);

#[derive(Debug, Default)]
#[repr(C)]
struct Rest {
    /// Where the consumer waits for values, and the producer for room.
    gates: [Gate; 2],
    roles: [AtomicU64; 2],
    closed: AtomicU32,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<SpscWords>() == 384);

/// Which of the two somebody is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Producer,
    Consumer,
}

/// Places that are one side's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Places {
    /// The side's counter, by which it found them.
    mine: u64,
    /// The index of the first one; it goes on at 0 after the last one of the ring.
    pub(crate) at: usize,
    pub(crate) count: usize,
}

/// Places that are so few that it may be better to wait for more.
const FEW: usize = 64;

/// How long a waiter sleeps when it has just asked for barriers: any store has come to light by then.
const NAP: Duration = Duration::from_millis(1);

/// How long somebody may take to hand its end over, which it has sent to another process already: the time that a parent is
/// behind its child on a busy machine.
#[cfg(not(loom))]
const HAND_OVER: Duration = Duration::from_secs(1);

/// A wait for a role that somebody has who lives. No time passes in the model.
struct HandOver {
    #[cfg(not(loom))]
    until: Option<Deadline>,
}

impl HandOver {
    #[cfg_attr(loom, expect(unused_variables))]
    fn by(wait: Wait) -> Self {
        Self {
            #[cfg(not(loom))]
            until: (wait != Wait::No).then(|| wait.slice(HAND_OVER)),
        }
    }

    /// Passes a little time. `false` if none is left.
    fn passes(&mut self) -> bool {
        #[cfg(not(loom))]
        if self.until.is_some_and(|until| until > Deadline::now()) {
            std::thread::sleep(NAP);
            return true;
        }
        false
    }
}

/// The ring, as one side sees it.
#[derive(Clone, Copy)]
pub(crate) struct Spsc<'a> {
    pub(crate) words: &'a SpscWords,
    pub(crate) side: Side,
    pub(crate) capacity: u64,
}

impl<'a> Spsc<'a> {
    #[inline]
    fn mine(self) -> &'a AtomicU64 {
        match self.side {
            Side::Producer => &self.words.tail.0,
            Side::Consumer => &self.words.head.0,
        }
    }

    #[inline]
    fn theirs(self) -> &'a AtomicU64 {
        match self.side {
            Side::Producer => &self.words.head.0,
            Side::Consumer => &self.words.tail.0,
        }
    }

    /// Where this side waits.
    #[inline]
    fn gate(self) -> &'a Gate {
        &self.words.rest.0.gates[usize::from(self.side == Side::Producer)]
    }

    /// Where the other side waits.
    #[inline]
    fn their_gate(self) -> &'a Gate {
        &self.words.rest.0.gates[usize::from(self.side == Side::Consumer)]
    }

    fn role(self) -> &'a AtomicU64 {
        &self.words.rest.0.roles[usize::from(self.side == Side::Producer)]
    }

    /// Takes the role of this side for `me`, `number` telling it from others of its process. Who has it goes on where the
    /// one before was.
    ///
    /// # Errors
    ///
    /// `RoleTaken`, by one that lives, or that is dying and has not ended. By `wait`, either is waited for, for a while.
    pub(crate) fn take_role(self, me: MemberId, number: u32, lives: &impl Lives, wait: Wait) -> Result<()> {
        let mine = role_of(me, number);
        let mut patience = HandOver::by(wait);
        loop {
            let role = self.role().load(Acquire);
            if let Some(owner) = MemberId::from_bits(role as u32) {
                let lives_on = lives.life(owner) == Life::Lives;
                if lives_on && patience.passes() {
                    continue;
                }
                if lives_on || !lives.is_gone(owner, wait_a_slice(wait)) {
                    return Err(Error::RoleTaken { pid: lives.pid(owner) });
                }
            }
            point();
            // Acquire: what the one before has done comes first, its counter too.
            if self.role().compare_exchange(role, mine, AcqRel, Relaxed).is_ok() {
                return Ok(());
            }
        }
    }

    /// Gives the role back, if this one has it.
    pub(crate) fn leave_role(self, me: MemberId, number: u32) {
        point();
        // Release: pairs with the Acquire of the next one.
        let _ = self.role().compare_exchange(role_of(me, number), 0, Release, Relaxed);
    }

    /// The places that are this side's when the other one's counter is `theirs`; `None` if it cannot be.
    #[inline(always)]
    pub(crate) fn places(self, theirs: u64) -> Option<Places> {
        self.places_from(self.position(), theirs)
    }

    /// This side's counter.
    #[inline(always)]
    pub(crate) fn position(self) -> u64 {
        // Relaxed: whoever had the role before has stored it before it was given up or confirmed dead.
        self.mine().load(Relaxed)
    }

    /// [`places`](Self::places) for who knows its own counter.
    #[inline(always)]
    pub(crate) fn places_from(self, mine: u64, theirs: u64) -> Option<Places> {
        let (tail, head) = match self.side {
            Side::Producer => (mine, theirs),
            Side::Consumer => (theirs, mine),
        };
        let used = if tail >= head { tail - head } else { tail.wrapping_add(2 * self.capacity).wrapping_sub(head) };
        let at = if mine >= self.capacity { mine - self.capacity } else { mine };
        if used > self.capacity || at >= self.capacity {
            return None;
        }
        let count = if self.side == Side::Producer { self.capacity - used } else { used };
        Some(Places { mine, at: at as usize, count: count as usize })
    }

    /// The same for a counter that was just read.
    ///
    /// # Errors
    ///
    /// `Corrupt`.
    pub(crate) fn checked_places(self, theirs: u64) -> Result<Places> {
        self.places(theirs).filter(|_| theirs < 2 * self.capacity).ok_or_else(|| {
            let mine = self.mine().load(Relaxed);
            Error::corrupt(format!("a ring's ends are {mine} and {theirs}"))
        })
    }

    /// What the other side's counter is when no place is this one's.
    pub(crate) fn nothing_known(self) -> u64 {
        let mine = self.mine().load(Relaxed);
        match self.side {
            Side::Producer => (mine.wrapping_add(self.capacity)) % (2 * self.capacity),
            Side::Consumer => mine,
        }
    }

    /// The other side's counter.
    #[inline]
    pub(crate) fn look(self) -> u64 {
        // Acquire: with what it has done with the places.
        self.theirs().load(Acquire)
    }

    /// What spinning brings, at once: the other side's counter. `None` is for [`wait`](Self::wait) to
    /// explain. Whoever closes the ring meanwhile is noticed some microseconds later.
    #[inline]
    pub(crate) fn catch(self, patience: &Patience, linger: &Linger) -> Option<u64> {
        let nothing = self.nothing_known();
        let mut theirs = nothing;
        let mut spin = Spin::for_a_message(patience);
        spin.until(|| {
            theirs = self.look();
            theirs != nothing
        });
        let places = self.places(theirs).filter(|places| theirs < 2 * self.capacity && places.count > 0)?;
        if self.side == Side::Producer && self.is_closed() || self.are_few(places) && linger.is_due() {
            return None;
        }
        spin.succeeded();
        Some(theirs)
    }

    /// Whether it may be better to wait for more places.
    fn are_few(self, places: Places) -> bool {
        places.count < FEW.min(self.capacity as usize / 2)
    }

    /// Waits until there is a place, or the ring is closed; returns the other side's counter. `patience` and `linger` are
    /// this end's own: the other side reads the gates all the time.
    ///
    /// # Errors
    ///
    /// `WouldBlock`, `TimedOut`, `Closed`, `Corrupt`.
    #[cold]
    pub(crate) fn wait(self, patience: &Patience, linger: &Linger, wait: Wait) -> Result<u64> {
        let gate = self.gate();
        let mut spin = Spin::for_a_message(patience);
        let (mut is_spinning, mut announced) = (!wait.is_over(), None);
        // The counter before a lingering.
        let mut few = None;
        loop {
            // Before the counter: a producer that closes has counted first.
            let is_closed = self.is_closed();
            let theirs = self.look();
            match self.checked_places(theirs)? {
                places @ Places { count: 1.., .. } if !(is_closed && self.side == Side::Producer) => {
                    if let Some(before) = few {
                        linger.helped(theirs != before);
                    } else if is_spinning {
                        spin.succeeded();
                        if self.are_few(places) && !wait.is_over() && linger.linger() {
                            few = Some(theirs);
                            continue;
                        }
                    }
                    return Ok(theirs);
                }
                _ if is_closed => return Err(Error::Closed),
                _ if wait == Wait::No => return Err(Error::WouldBlock),
                _ if is_spinning && spin.turn() => {}
                _ if wait.is_over() => return Err(Error::TimedOut),
                _ => {
                    is_spinning = false;
                    announced = match announced {
                        // To look again, and then to sleep.
                        None => {
                            let turn = gate.announce();
                            Some(if heavy() { (turn, true) } else { gate.ask_for_fences(turn) })
                        }
                        Some((turn, is_sure)) => {
                            futex::wait(&gate.word, turn, wait.slice(if is_sure { SLICE } else { NAP }));
                            None
                        }
                    };
                }
            }
        }
    }

    /// Hands the first `count` of `places` over to the other side. Returns this side's counter from now on.
    #[inline(always)]
    pub(crate) fn advance(self, places: Places, count: usize, light: Light) -> u64 {
        let next = places.mine + count as u64;
        let next = if next >= 2 * self.capacity { next - 2 * self.capacity } else { next };
        point();
        // Release: with what was done with the places.
        self.mine().store(next, Release);
        light.barrier();
        self.their_gate().notify_relaxed();
        next
    }

    /// Lets nothing more in, but what a producer is putting in while the consumer closes.
    pub(crate) fn close(self, light: Light) {
        point();
        self.words.rest.0.closed.store(1, Release);
        light.barrier();
        self.words.rest.0.gates.iter().for_each(Gate::notify_relaxed);
    }

    #[inline]
    pub(crate) fn is_closed(self) -> bool {
        self.words.rest.0.closed.load(Acquire) != 0
    }

    /// What is in the ring.
    pub(crate) fn len(self) -> u64 {
        loop {
            let head = self.words.head.0.load(Acquire);
            let tail = self.words.tail.0.load(Acquire);
            if self.words.head.0.load(Relaxed) == head {
                let used =
                    if tail >= head { tail - head } else { (tail.wrapping_add(2 * self.capacity)).wrapping_sub(head) };
                return used.min(self.capacity);
            }
        }
    }
}

fn role_of(me: MemberId, number: u32) -> u64 {
    u64::from(number) << 32 | u64::from(me.to_bits())
}

#[cfg(all(test, loom))]
mod loom_tests;
