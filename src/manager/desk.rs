//! Where a thread of the server is asked: the clients of that thread, and what it is told of their coming and going.
//!
//! The objects have one desk together, each service has its own.

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasher, RandomState},
    mem,
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
        futex, packet, pipe,
    },
};

/// How long a thread sleeps at its bell at most.
const SLICE: Duration = Duration::from_secs(1);

/// What passes between two attempts to give answers for which there was no room, from the first time to the longest.
const PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

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
    /// A visit of a client elsewhere is over.
    Return(u64),
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
    /// Until it is gone: a thread that is busy does not keep it open.
    socket: Mutex<Option<Arc<End>>>,
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
            socket: Mutex::new(Some(Arc::new(socket))),
            door: AtomicU64::new(0),
            process: AtomicU64::new(0),
            host,
            guests: Mutex::new(Some(HashSet::new())),
        })
    }

    pub(super) fn guests(&self) -> MutexGuard<'_, Option<HashSet<u64>>> {
        lock(&self.guests)
    }

    /// # Errors
    ///
    /// `Closed` when it is gone.
    pub(super) fn socket(&self) -> Result<Arc<End>> {
        lock(&self.socket).clone().ok_or(Error::Closed)
    }

    /// It is gone.
    pub(super) fn close(&self) {
        lock(&self.socket).take();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A client, as the thread sees it that answers it.
pub(super) struct Client {
    pub(super) peer: Arc<Peer>,
    pub(super) line: Line,
    answered: u32,
    /// Whether an answer went through the socket, and may still be there.
    may_be_unread: bool,
    /// An answer for which there was no room.
    owed: Option<Box<Owed>>,
    /// How often it holds what.
    pub(super) counts: HashMap<u64, u64>,
    /// How many descriptors the server has for it: of what it keeps under names, of its tickets that are under way, and of its
    /// visits to services.
    pub(super) descriptors: usize,
}

/// What was done already, so it waits for room instead of becoming an error.
struct Owed {
    bytes: Vec<u8>,
    descriptors: Option<Arc<[OwnedFd]>>,
}

/// What has become of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answered {
    /// It was given, or will be as soon as there is room for it.
    Surely,
    /// It cannot be, and an error was given instead.
    ByError,
}

/// What came of a look at everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    Done,
    Idle,
    End,
}

/// What each thread has that clients ask.
pub(super) struct Office {
    pub(super) desk: Arc<Desk>,
    events: mpsc::Receiver<Event>,
    pub(super) clients: Vec<Client>,
    /// Who was answered last.
    served: usize,
    /// When answers are tried again for which there was no room, and what passes until then.
    again: Option<(Instant, Duration)>,
    pub(super) request: Vec<u8>,
    pub(super) answer: Vec<u8>,
}

/// The thread.
pub(super) trait Attendant {
    fn office(&mut self) -> &mut Office;

    /// What it does besides, when a client comes or goes, and what else is told.
    fn hear(&mut self, event: Event);

    /// What is done when all was heard.
    fn heard_all(&mut self) {}

    /// Answers the request of the client at this place.
    fn serve(&mut self, at: usize, asked: u32);

    /// What is done before a sleep.
    fn at_leisure(&mut self) {}

    /// Looks once at everything that may have happened.
    fn turn(&mut self) -> Turn {
        let mut turn = Turn::Idle;
        if self.office().desk.has_events.swap(false, SeqCst) {
            turn = Turn::Done;
            while let Ok(event) = self.office().events.try_recv() {
                if matches!(event, Event::End) {
                    return Turn::End;
                }
                self.hear(event);
            }
            self.heard_all();
        }
        for at in 0..self.office().clients.len() {
            if let Some(asked) = self.office().clients[at].asked() {
                turn = Turn::Done;
                self.serve(at, asked);
            }
        }
        let office = self.office();
        if office.again.is_some() {
            office.try_again();
        }
        turn
    }
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

    /// Whoever asks here has no answer from now on, and is told so.
    pub(super) fn close(&self) {
        self.bell.head().close();
    }

    /// The life of the thread.
    pub(super) fn attend(&self, attendant: &mut impl Attendant) {
        let pace = Pace::default();
        let mut moves = Moves::default();
        loop {
            let office = attendant.office();
            let last = office.clients.get(office.served);
            let is_here = last.is_some_and(|last| words::requests(&last.line).is_from_here());
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
                                let slice = attendant.office().again.map_or(SLICE, |(_, pause)| pause);
                                futex::wait(&gate.word, turn, Wait::Forever.slice(slice));
                            }
                        }
                    }
                }
            }
        }
    }
}

impl Office {
    pub(super) fn new(desk: Arc<Desk>, events: mpsc::Receiver<Event>) -> Self {
        Self { desk, events, clients: Vec::new(), served: 0, again: None, request: Vec::new(), answer: Vec::new() }
    }

    /// Has all clients look whether this desk is closed.
    pub(super) fn wake_all(&self) {
        self.clients.iter().for_each(|client| words::answers(&client.line).gate().notify(1));
    }

    /// The client at this place and its request, for `read` to make something of.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when it has not taken its last answer; `Closed`, `Corrupt`.
    pub(super) fn request<T>(&mut self, at: usize, read: impl FnOnce(&[u8], Vec<OwnedFd>) -> Result<T>) -> Result<T> {
        let client = &mut self.clients[at];
        client.check_that_it_listens()?;
        match words::requests(&client.line).get(&mut self.request)? {
            Bytes::InLine => read(&self.request, Vec::new()),
            Bytes::InSocket => pipe::receive(&*client.peer.socket()?, Wait::No, |_, bytes, fds| read(bytes, fds)),
        }
    }

    /// Gives the client at this place what is in `answer`, or what `failed` makes of it if that cannot be.
    pub(super) fn give(
        &mut self,
        at: usize,
        number: u32,
        descriptors: Option<Arc<[OwnedFd]>>,
        failed: impl FnOnce(Error, &mut Vec<u8>),
    ) -> Answered {
        self.served = at;
        let (client, bytes) = (&mut self.clients[at], &mut self.answer);
        client.answered = number;
        let (mut is_in_socket, mut answered) = (false, Answered::Surely);
        if bytes.len() > ROOM || descriptors.is_some() {
            match client.send(bytes, descriptors.as_deref().unwrap_or_default()) {
                Ok(()) => is_in_socket = true,
                Err(error) if is_shortage(&error) => {
                    client.owed = Some(Box::new(Owed { bytes: mem::take(bytes), descriptors }));
                    self.again = Some((Instant::now() + PAUSE, PAUSE));
                    return answered;
                }
                Err(error) => {
                    bytes.clear();
                    failed(error, bytes);
                    answered = Answered::ByError;
                }
            }
        }
        client.tell((!is_in_socket).then_some(bytes));
        trim(&mut self.request);
        trim(&mut self.answer);
        answered
    }

    /// Tries to give the answers for which there was no room.
    #[cold]
    fn try_again(&mut self) {
        let Some((_, pause)) = self.again.filter(|(next, _)| Instant::now() >= *next) else { return };
        let mut are_all_given = true;
        for client in &mut self.clients {
            let Some(owed) = client.owed.take() else { continue };
            match client.send(&owed.bytes, owed.descriptors.as_deref().unwrap_or_default()) {
                Err(error) if is_shortage(&error) => {
                    client.owed = Some(owed);
                    are_all_given = false;
                }
                // Else nobody is there any more, which the other thread will tell.
                _ => client.tell(None),
            }
        }
        let pause = (2 * pause).min(LONGEST_PAUSE);
        self.again = (!are_all_given).then(|| (Instant::now() + pause, pause));
    }
}

impl Client {
    pub(super) fn new(peer: Arc<Peer>, line: Line) -> Self {
        Self { peer, line, answered: 0, may_be_unread: false, owed: None, counts: HashMap::new(), descriptors: 0 }
    }

    /// The number of its request, if it was not answered.
    #[inline]
    fn asked(&self) -> Option<u32> {
        Some(words::requests(&self.line).number()).filter(|asked| *asked != self.answered && self.owed.is_none())
    }

    /// Else its answers would gather here. One that takes them is done with the last one before it asks again.
    #[inline]
    fn check_that_it_listens(&mut self) -> Result<()> {
        if !self.may_be_unread {
            return Ok(());
        }
        let socket = self.peer.socket()?;
        self.may_be_unread = packet::is_unread(socket.socket());
        if !self.may_be_unread {
            return Ok(());
        }
        if words::requests(&self.line).is_in_socket() {
            // Or it would be taken for the next one.
            let _ = packet::discard(socket.socket());
        }
        Err(Error::WouldBlock)
    }

    fn send(&mut self, bytes: &[u8], descriptors: &[OwnedFd]) -> Result<()> {
        pipe::send(&*self.peer.socket()?, 0, bytes, descriptors, Wait::No)?;
        self.may_be_unread = true;
        Ok(())
    }

    /// Says that there is an answer: these bytes, or what is in the socket.
    fn tell(&self, bytes: Option<&[u8]>) {
        let way = words::answers(&self.line);
        way.put(self.answered, bytes);
        way.gate().notify(1);
    }
}

/// Whether what could not be sent now can be later: the system or this process has too little of something, or this user has too
/// many descriptors under way.
fn is_shortage(error: &Error) -> bool {
    match error {
        Error::WouldBlock | Error::OutOfMemory { .. } => true,
        Error::Os { source, .. } => packet::is_shortage(source),
        _ => false,
    }
}

/// A socket that was made just now, as the end of a pipe.
pub(super) fn end_of(socket: OwnedFd) -> End {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let number = COUNT.fetch_add(1, Relaxed);
    End::received(socket, Which::from_bits(RandomState::new().hash_one((process::id(), number))))
}

/// Gives memory back that a long message took.
fn trim(buffer: &mut Vec<u8>) {
    if buffer.capacity() > 4 * ROOM {
        *buffer = Vec::new();
    }
}
