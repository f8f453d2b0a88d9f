//! Where a thread of the server is asked: the clients of that thread, and what it is told of their coming and going.
//!
//! The objects have one desk together, each service has its own.

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasher, RandomState},
    os::fd::OwnedFd,
    process,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{Relaxed, SeqCst},
        },
        mpsc,
    },
    time::{Duration, Instant},
};

use super::words::{self, Bell, Bytes, Line, Moves, Pace, ROOM};
use crate::{
    Error, Result,
    os::{
        clock::Wait,
        ends::{End, Which},
        futex, pipe,
    },
};

/// How long a thread sleeps at its bell at most.
const SLICE: Duration = Duration::from_secs(1);

/// What others need to tell the thread something.
pub(super) struct Desk {
    pub(super) bell: Bell,
    has_events: AtomicBool,
    events: mpsc::Sender<Event>,
}

/// What the thread is told.
pub(super) enum Event {
    Enter(Arc<Peer>, Line),
    Leave(u64),
    Unhold(Ticket),
    End,
}

/// What holds an object, and which client has made it.
#[derive(Clone, Copy)]
pub(super) struct Ticket {
    pub(super) id: u64,
    pub(super) client: u64,
}

/// A client, as all threads know it.
pub(super) struct Peer {
    pub(super) number: u64,
    pub(super) socket: End,
    /// The door of its socket.
    pub(super) door: AtomicU64,
    /// The door of its process.
    pub(super) process: AtomicU64,
    /// The same client at the desk of the objects, if this is not that one; and the doors of those that this one is elsewhere, until
    /// it leaves.
    pub(super) host: Option<Arc<Peer>>,
    pub(super) guests: Mutex<Option<HashSet<u64>>>,
}

impl Peer {
    pub(super) fn new(number: u64, socket: End, host: Option<Arc<Self>>) -> Arc<Self> {
        Arc::new(Self {
            number,
            socket,
            door: AtomicU64::new(0),
            process: AtomicU64::new(0),
            host,
            guests: Mutex::new(Some(HashSet::new())),
        })
    }

    pub(super) fn guests(&self) -> MutexGuard<'_, Option<HashSet<u64>>> {
        self.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client, as the thread sees it that answers it.
pub(super) struct Client {
    pub(super) peer: Arc<Peer>,
    pub(super) line: Line,
    answered: u32,
    /// How often it holds what.
    pub(super) counts: HashMap<u64, u64>,
    /// How many descriptors the server has for it: of what it keeps under names, and of its tickets that are under way.
    pub(super) descriptors: usize,
}

/// What came of a look at everything.
pub(super) enum Turn {
    Done,
    Idle,
    End,
}

/// The thread.
pub(super) trait Attendant {
    /// Looks once at everything that may have happened.
    fn turn(&mut self) -> Turn;

    /// Whoever was answered last.
    fn last(&self) -> Option<&Client>;

    /// What is done before a sleep.
    fn at_leisure(&mut self) {}
}

impl Desk {
    pub(super) fn new() -> Result<(Arc<Self>, mpsc::Receiver<Event>)> {
        let (events, receiver) = mpsc::channel();
        let desk = Self { bell: words::new_bell()?, has_events: AtomicBool::new(false), events };
        Ok((Arc::new(desk), receiver))
    }

    /// Tells the thread something. If it has ended, there is nobody to be told.
    pub(super) fn tell(&self, event: Event) {
        let _ = self.events.send(event);
        self.has_events.store(true, SeqCst);
        self.bell.head().gate().notify(1);
    }

    /// Whether there may be an event that was not taken.
    pub(super) fn take_news(&self) -> bool {
        self.has_events.swap(false, SeqCst)
    }

    /// The life of the thread.
    pub(super) fn attend(&self, attendant: &mut impl Attendant) {
        let pace = Pace::default();
        let mut moves = Moves::default();
        loop {
            let is_here = attendant.last().is_some_and(|last| words::requests(&last.line).is_from_here());
            let mut spin = pace.spin(is_here);
            let mut is_spinning = true;
            let (mut announced, mut start) = (None, None);
            loop {
                match attendant.turn() {
                    Turn::End => return,
                    Turn::Done => {
                        match start {
                            Some(start) => pace.slept(start),
                            None => spin.succeeded(),
                        }
                        break;
                    }
                    Turn::Idle if is_spinning && (spin.turn() || spin.moves(&mut moves)) => {}
                    Turn::Idle => {
                        is_spinning = false;
                        start.get_or_insert_with(Instant::now);
                        let gate = self.bell.head().gate();
                        match announced.take() {
                            None => {
                                attendant.at_leisure();
                                announced = Some(gate.announce());
                            }
                            Some(turn) => {
                                futex::wait(&gate.word, turn, Wait::Forever.slice(SLICE));
                            }
                        }
                    }
                }
            }
        }
    }
}

impl Client {
    pub(super) fn new(peer: Arc<Peer>, line: Line) -> Self {
        Self { peer, line, answered: 0, counts: HashMap::new(), descriptors: 0 }
    }

    /// The number of its request, if it was not answered.
    #[inline]
    pub(super) fn asked(&self) -> Option<u32> {
        Some(words::requests(&self.line).number()).filter(|asked| *asked != self.answered)
    }

    /// Its request, for `read` to make something of.
    pub(super) fn request<T>(
        &self,
        buffer: &mut Vec<u8>,
        read: impl FnOnce(&[u8], Vec<OwnedFd>) -> Result<T>,
    ) -> Result<T> {
        match words::requests(&self.line).get(buffer)? {
            Bytes::InLine => read(buffer, Vec::new()),
            Bytes::InSocket => pipe::receive(&self.peer.socket, Wait::No, |_, bytes, fds| read(bytes, fds)),
        }
    }

    /// Gives it an answer, or what `failed` makes of it if that cannot be. Whether it was the answer.
    pub(super) fn answer(
        &mut self,
        number: u32,
        bytes: &mut Vec<u8>,
        descriptors: &[OwnedFd],
        failed: impl FnOnce(Error, &mut Vec<u8>),
    ) -> bool {
        self.answered = number;
        let is_short = bytes.len() <= ROOM && descriptors.is_empty();
        let mut is_in_socket = false;
        if !is_short {
            // There is room for it, unless the client has not taken what it was sent, or too many descriptors are under way.
            match pipe::send(&self.peer.socket, 0, bytes, descriptors, Wait::No) {
                Ok(()) => is_in_socket = true,
                Err(error) => {
                    bytes.clear();
                    failed(error, bytes);
                }
            }
        }
        let way = words::answers(&self.line);
        way.put(number, (!is_in_socket).then_some(bytes));
        way.gate().notify(1);
        is_short || is_in_socket
    }
}

/// A socket that was made just now, as the end of a pipe.
pub(super) fn end_of(socket: OwnedFd) -> End {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let number = COUNT.fetch_add(1, Relaxed);
    End::received(socket, Which::from_bits(RandomState::new().hash_one((process::id(), number))))
}

/// Gives memory back that a long message took.
pub(super) fn trim(buffer: &mut Vec<u8>) {
    if buffer.capacity() > 4 * ROOM {
        *buffer = Vec::new();
    }
}
