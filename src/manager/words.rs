//! What the server and its clients tell each other by words of shared memory.
//!
//! Each client has a *line*: a number that grows with each request, one that follows it with each answer, and room for the bytes
//! of one of each. All have one *bell*, where the server sleeps when there is nothing to do; a client sleeps at its own gate.
//!
//! | dies | after | costs |
//! | --- | --- | --- |
//! | the client | bytes of a request | nothing: it was not made |
//! | | `asked` | the server an answer that nobody reads |
//! | | the new turn of the bell, before the wake-up | others who ask the rest of their slice: each rings again after that |
//! | the server | anything | the clients see its lifeline broken at once, and are told so |

#![expect(unsafe_code, reason = "declares words that may be looked at in foreign bytes, and copies bytes beside them")]

use std::{
    mem,
    sync::atomic::{
        AtomicBool, AtomicU32,
        Ordering::{Acquire, Relaxed, Release, SeqCst},
    },
    time::{Duration, Instant},
};

use crate::{
    Error, Result,
    os::{affinity, copy},
    raw::{
        gate::Gate,
        lives::MemberId,
        points::point,
        waiting::{Patience, Spin},
    },
    region::{Dims, Handle, Kind, Resident, Shared},
};

/// The most bytes of a request or answer that go through the line; more go through the socket.
pub(super) const ROOM: usize = 16 * 1024;

/// Stands for the length of what goes through the socket.
const BY_SOCKET: u32 = u32::MAX;

#[derive(Debug, Default)]
#[repr(C, align(128))]
struct Apart<T>(T);

/// Where the server sleeps, and by what its death is seen.
#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct BellWords {
    gate: Apart<Gate>,
    server: Apart<AtomicU32>,
}

#[derive(Debug, Default)]
#[repr(C)]
struct Message {
    number: AtomicU32,
    length: AtomicU32,
    /// Where whoever put it in was running, counted from 1.
    processor: AtomicU32,
    spare: AtomicU32,
    /// Where the client waits for the answer.
    gate: Gate,
}

/// The words of one client.
#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct LineWords {
    asked: Apart<Message>,
    answered: Apart<Message>,
}

const _: () = assert!(size_of::<BellWords>() == 256 && size_of::<LineWords>() == 256);

// SAFETY: `repr(C)`, of atomics only.
unsafe impl Shared for BellWords {}

// SAFETY: as above.
unsafe impl Shared for LineWords {}

pub(super) struct BellCell;

// SAFETY: the body is the words; zeroed ones are a bell where nobody sleeps.
unsafe impl Resident for BellCell {
    const KIND: Kind = Kind::Bell;
    type Head = BellWords;
    type Element = ();
    type Stored = ();
}

pub(super) struct LineCell;

// SAFETY: the body is the words and twice `ROOM` bytes; zeroed ones are a line where nobody has asked anything.
unsafe impl Resident for LineCell {
    const KIND: Kind = Kind::Line;
    type Head = LineWords;
    type Element = u8;
    type Stored = u8;

    fn check(dims: Dims) -> Result<()> {
        match dims.as_slice() {
            [length] if *length == 2 * ROOM => Ok(()),
            other => Err(Error::invalid_argument(format!("a line of {other:?} bytes"))),
        }
    }
}

pub(super) type Bell = Handle<BellCell>;
pub(super) type Line = Handle<LineCell>;

pub(super) fn new_bell() -> Result<Bell> {
    let bell = Bell::new(Dims::NONE, &|_| {})?;
    bell.head().server.0.store(bell.member()?.to_bits(), Release);
    Ok(bell)
}

pub(super) fn new_line() -> Result<Line> {
    Line::new(Dims::new(&[2 * ROOM])?, &|_| {})
}

impl BellWords {
    pub(super) fn gate(&self) -> &Gate {
        &self.gate.0
    }

    /// There are no answers from now on.
    pub(super) fn close(&self) {
        self.server.0.store(0, SeqCst);
    }

    /// By what the server's death is seen; none when there are no answers any more.
    pub(super) fn server(&self) -> Option<MemberId> {
        MemberId::from_bits(self.server.0.load(Acquire))
    }
}

/// The processor that this thread runs on, counted from 1.
fn here() -> u32 {
    // Where there is no telling, that is 0.
    (affinity::current_cpu() as u32).wrapping_add(1)
}

/// One direction of a line.
#[derive(Clone, Copy)]
pub(super) struct Way<'a> {
    message: &'a Message,
    room: *mut u8,
}

/// Where the bytes of a message are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bytes {
    InLine,
    InSocket,
}

/// From the client to the server.
pub(super) fn requests(line: &Line) -> Way<'_> {
    Way { message: &line.head().asked.0, room: line.data().as_ptr() }
}

/// From the server to the client.
pub(super) fn answers(line: &Line) -> Way<'_> {
    Way { message: &line.head().answered.0, room: line.data().as_ptr().wrapping_add(ROOM) }
}

impl Way<'_> {
    /// The number of the last message.
    #[inline]
    pub(super) fn number(&self) -> u32 {
        // SeqCst: with its bytes; and who has announced at a gate that it will sleep looks here after that.
        self.message.number.load(SeqCst)
    }

    pub(super) fn gate(&self) -> &Gate {
        &self.message.gate
    }

    /// Whether whoever put the last message in was running on this processor: then it needs it, to do anything.
    pub(super) fn is_from_here(&self) -> bool {
        self.message.processor.load(Relaxed) == here()
    }

    /// Puts a message in, at most [`ROOM`] bytes if they are in the line. Who waits has to be notified after that.
    pub(super) fn put(&self, number: u32, bytes: Option<&[u8]>) {
        let length = match bytes {
            Some(bytes) => {
                let count = bytes.len().min(ROOM);
                point();
                // SAFETY: a line was checked to have room for two times `ROOM` bytes. They are written by this side alone, and
                // only while the other one waits for the message; one that does not keep to that reads nonsense.
                unsafe { copy::store(bytes.as_ptr(), self.room, count) };
                count as u32
            }
            None => BY_SOCKET,
        };
        self.message.length.store(length, Relaxed);
        self.message.processor.store(here(), Relaxed);
        point();
        // SeqCst: publishes the bytes, and comes before the look at the gate.
        self.message.number.store(number, SeqCst);
    }

    /// Whether the last message went through the socket.
    #[inline]
    pub(super) fn is_in_socket(&self) -> bool {
        self.message.length.load(Relaxed) == BY_SOCKET
    }

    /// Copies the bytes of the last message, if they are in the line.
    ///
    /// # Errors
    ///
    /// `Corrupt`.
    pub(super) fn get(&self, into: &mut Vec<u8>) -> Result<Bytes> {
        into.clear();
        let length = match self.message.length.load(Relaxed) {
            BY_SOCKET => return Ok(Bytes::InSocket),
            length if length as usize <= ROOM => length as usize,
            length => return Err(Error::corrupt(format!("a message of {length} bytes in a line"))),
        };
        into.reserve(length);
        // SAFETY: as in `put`; there is room for so many in `into`.
        unsafe { copy::load(self.room, into.as_mut_ptr(), length) };
        // SAFETY: so many were written just now.
        unsafe { into.set_len(length) };
        Ok(Bytes::InLine)
    }
}

/// A sleep that is shorter, with the wake-ups of both sides in it, was not worth it: had both spun, it would have ended before.
const BRIEF: Duration = Duration::from_micros(120);

/// Of so many waits one outlasts a wake-up in any case: at least, and at most, if it was in vain the last times.
const LOOK_OFTEN: u32 = 16;
const LOOK_SELDOM: u32 = 256;

/// What one side has learnt of its waits for the other one.
///
/// A batch takes either side longer than those waits that [`Patience`] learns from, and less than a wake-up. So a sleep
/// that was brief has the next wait outlast a wake-up. But who runs on the same processor as the other one must not spin at all:
/// it makes room, and looks now and then whether there is another processor to be had by now, where the kernel wakes the
/// other one while this one spins. If it does not, the server [moves](Moves). Nobody yields: a third one who has work to do would
/// keep the core.
pub(super) struct Pace {
    patience: Patience,
    /// Waits until the next that spins whatever is known, and how many there are between two.
    until_look: AtomicU32,
    between: AtomicU32,
    was_brief: AtomicBool,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            patience: Patience::default(),
            until_look: AtomicU32::new(0),
            between: AtomicU32::new(LOOK_OFTEN),
            was_brief: AtomicBool::new(false),
        }
    }
}

impl Pace {
    /// A wait for somebody who ran on this processor last, or did not.
    pub(super) fn spin(&self, is_here: bool) -> Turns<'_> {
        // Relaxed, here and below: hints.
        let left = self.until_look.load(Relaxed);
        let looks = left == 0;
        if looks {
            let between = self.between.load(Relaxed);
            self.until_look.store(between, Relaxed);
            self.between.store((2 * between).min(LOOK_SELDOM), Relaxed);
        } else {
            self.until_look.store(left - 1, Relaxed);
        }
        let is_long = looks || self.was_brief.load(Relaxed);
        let spin = Spin::for_an_answer(&self.patience, is_long).without_yields();
        Turns { spin, pace: self, makes_room: is_here && !looks, is_in_the_way: is_here && looks }
    }

    /// A wait has come to its end that slept from then on.
    pub(super) fn slept(&self, since: Instant) {
        self.was_brief.store(since.elapsed() < BRIEF, Relaxed);
    }
}

/// The turns before a sleep.
pub(super) struct Turns<'a> {
    spin: Spin<'a>,
    pace: &'a Pace,
    makes_room: bool,
    /// It looks, on the processor of the other one.
    is_in_the_way: bool,
}

impl Turns<'_> {
    #[inline]
    pub(super) fn turn(&mut self) -> bool {
        !self.makes_room && self.spin.turn()
    }

    /// What was waited for came before it was time to sleep.
    pub(super) fn succeeded(&self) {
        if !self.makes_room {
            self.pace.between.store(LOOK_OFTEN, Relaxed);
            self.spin.succeeded();
        }
    }

    /// After the last turn: whether the server has moved to another processor, and there are more turns to come.
    pub(super) fn moves(&mut self, moves: &mut Moves) -> bool {
        let moves = mem::take(&mut self.is_in_the_way) && moves.try_one();
        if moves {
            self.spin = Spin::for_an_answer(&self.pace.patience, true).without_yields();
        }
        moves
    }
}

/// After a move there is none for so many times as long as it took,
const PAUSE: u32 = 20;

/// and at most for so long.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The server's moves to another processor, when it has looked in vain on the client's.
///
/// The kernel leaves both where they are, for half a second to more than one as measured, though another processor has nothing to
/// do; supposedly because of two who sleep in turns there are never two for long that could run, which is what its balancer looks
/// for. The server moves, as a client's thread is not ours.
///
/// Whether the other processor is free shows in how long the move takes: 50 microseconds, or milliseconds for the turn of
/// whoever is at work there. The pauses bound what moves cost to a twentieth of the time, either way: to stay costs more, even
/// when all processors are busy, as two who are apart have answers without the kernel whenever both have their turn.
#[derive(Default)]
pub(super) struct Moves {
    next: Option<Instant>,
}

impl Moves {
    fn try_one(&mut self) -> bool {
        let start = Instant::now();
        if self.next.is_some_and(|next| start < next) {
            return false;
        }
        // Where it is not allowed, all stays as it is.
        let has_moved = affinity::leave_processor().unwrap_or(false);
        self.next = Some(Instant::now() + (PAUSE * start.elapsed()).min(LONGEST_PAUSE));
        has_moved
    }
}
