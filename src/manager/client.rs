//! A server as its clients see it.

use std::{
    collections::HashMap,
    os::fd::{AsFd, OwnedFd},
    process,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use super::{
    desk,
    object::{Home, Object, Reader, Wire},
    protocol::{self, Request},
    service,
    words::{self, Bell, Bytes, Line, Pace, ROOM},
};
use crate::{
    Error, Result,
    os::{clock::Wait, ends::End, futex, packet, pidfd, pipe, poll, robust::Generation},
    raw::{
        lives::{Life, Lives, MemberId},
        waiting::SLICE,
    },
    region::ticket::{self, Arrived, Route},
};

/// For what the server, which is awake, does at once.
const SOON: Duration = Duration::from_secs(10);

/// For so long the answer to what needs none is awaited, where the next such thing waits for that: nearly always it is there after
/// tens of microseconds.
const A_MOMENT: Duration = Duration::from_millis(10);

/// The most objects that are given up by one request, which the line has room for.
const MOST_RELEASED: usize = 1000;

/// For so long it may take the kernel to close all that a server had which has ended.
const A_WHILE: Duration = Duration::from_secs(1);

/// What is sent through a gate, with one end of a socket pair and a descriptor of this process beside it.
pub(super) const HELLO: &[u8] = b"shmkit manager 1";

/// The kinds of what a client is told then: a welcome, or an error.
pub(super) const WELCOME: u8 = 0;
pub(super) const REFUSED: u8 = 1;

/// What a client is told when it is let in: the server's number, and what both have in common.
pub(super) type Welcome = (u64, Bell, Line);

/// One for each server that this process knows.
pub(super) struct Server {
    instance: u64,
    /// Where one can ask to be let in: for forks of this process.
    gate: OwnedFd,
    link: Mutex<Arc<Link>>,
    /// Those to services, by their numbers.
    desks: Mutex<HashMap<u64, Weak<Link>>>,
}

/// A connection of one process.
pub(super) struct Link {
    number: u64,
    generation: Generation,
    socket: End,
    bell: Bell,
    server: MemberId,
    line: Line,
    lane: Mutex<Lane>,
    /// Objects that are not held any more, of which the server was not told.
    released: Mutex<Vec<u64>>,
    pace: Pace,
}

/// What is between requests: there is one at a time.
#[derive(Default)]
struct Lane {
    /// The number of the last request.
    last: u32,
    /// One whose answer took too long for somebody who is only letting go of something.
    late: u32,
    /// Whether its answer was not taken, and may lie in the socket.
    is_unread: bool,
    buffer: Vec<u8>,
}

static SERVERS: Mutex<Vec<(u64, Weak<Server>)>> = Mutex::new(Vec::new());
static LINKS: AtomicU64 = AtomicU64::new(1);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that is locked here is ever half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What an answer is made of: a value, and descriptors beside it.
type Answer = (Object, Vec<OwnedFd>);

impl Server {
    /// The server with this number, which this process may know; else by the gate.
    pub(super) fn find(instance: u64, gate: &OwnedFd) -> Result<Arc<Self>> {
        match Self::known(instance) {
            Some(server) => Ok(server),
            None => Self::enter(gate),
        }
    }

    fn known(instance: u64) -> Option<Arc<Self>> {
        lock(&SERVERS).iter().find(|(number, _)| *number == instance).and_then(|(_, server)| server.upgrade())
    }

    /// The server behind a gate.
    pub(super) fn enter(gate: &OwnedFd) -> Result<Arc<Self>> {
        let (instance, link, gate) = Link::new(gate)?;
        let mut servers = lock(&SERVERS);
        servers.retain(|(_, server)| server.strong_count() > 0);
        // Another thread may have been faster.
        if let Some(server) =
            servers.iter().find(|(number, _)| *number == instance).and_then(|(_, server)| server.upgrade())
        {
            return Ok(server);
        }
        let server = Arc::new(Self { instance, gate, link: Mutex::new(link.into()), desks: Mutex::default() });
        servers.push((instance, Arc::downgrade(&server)));
        Ok(server)
    }

    pub(super) fn instance(&self) -> u64 {
        self.instance
    }

    /// The connection of this process.
    pub(super) fn link(&self) -> Result<Arc<Link>> {
        let mut link = lock(&self.link);
        if !link.generation.is_this() {
            let (_, new, _) = Link::new(&self.gate)?;
            // The one before is a copy of the parent's, which counts as the parent's.
            *link = new.into();
        }
        Ok(Arc::clone(&link))
    }

    pub(super) fn link_number(&self) -> u64 {
        lock(&self.link).number
    }

    /// A request, and the answer.
    pub(super) fn call(self: &Arc<Self>, request: &Request) -> Result<Object> {
        self.call_with(request, &[]).map(|(answer, _)| answer)
    }

    /// The same with descriptors beside them.
    pub(super) fn call_with(self: &Arc<Self>, request: &Request, descriptors: &[OwnedFd]) -> Result<Answer> {
        let link = self.link()?;
        let answer = link.call(request, descriptors, Home::Client(self));
        link.tell_released();
        answer
    }

    /// This process's connection to a service of this kind.
    ///
    /// # Errors
    ///
    /// `TypeMismatch`.
    pub(super) fn visit(self: &Arc<Self>, id: u64, kind: String) -> Result<Arc<Link>> {
        let known = lock(&self.desks).get(&id).and_then(Weak::upgrade);
        if let Some(link) = known.filter(|link| link.is_this_process()) {
            self.call(&Request::Visit(id, kind))?;
            return Ok(link);
        }
        let (ours, theirs) = packet::pair().map_err(|error| Error::os("socketpair", error))?;
        let (told, descriptors) = self.call_with(&Request::Visit(id, kind), &[theirs])?;
        let Object::Bytes(bytes) = told else { return Err(Error::corrupt("a service without a desk")) };
        let arrived = Arrived::new(descriptors).map_err(|error| Error::os("copying descriptors", error))?;
        let (bell, line) = ticket::decode_from(&bytes, Some(arrived), Route::default())?;
        let link = Arc::new(Link::with(desk::end_of(ours), bell, line)?);
        let mut desks = lock(&self.desks);
        desks.retain(|_, link| link.strong_count() > 0);
        desks.insert(id, Arc::downgrade(&link));
        Ok(link)
    }

    /// Gives up one count of an object, if it was counted under the present connection. Does not wait.
    pub(super) fn release(self: &Arc<Self>, link: u64, id: u64) {
        let current = Arc::clone(&lock(&self.link));
        if current.number == link && current.generation.is_this() {
            lock(&current.released).push(id);
            current.tell_released();
        }
    }

    /// A socket whose other end the server has: while anybody has it, the object lives. It is a gate too.
    pub(super) fn hold(self: &Arc<Self>, id: u64) -> Result<OwnedFd> {
        let (ours, theirs) = packet::pair().map_err(|error| Error::os("socketpair", error))?;
        self.call_with(&Request::Hold(id), &[theirs])?;
        Ok(ours)
    }
}

impl Link {
    fn new(gate_asked: &OwnedFd) -> Result<(u64, Self, OwnedFd)> {
        let os = |operation: &'static str| move |error| Error::os(operation, error);
        let (ours, theirs) = packet::pair().map_err(os("socketpair"))?;
        let me = pidfd::open(process::id()).map_err(os("pidfd_open"))?;
        let me = me.ok_or_else(|| Error::unsupported("this process has no descriptor of its own"))?;
        let is_open = packet::send_if_open(gate_asked, HELLO, &[theirs.as_fd(), me.as_fd()]);
        if !is_open.map_err(os("asking a manager to be let in"))? {
            return Err(Error::ManagerGone);
        }
        drop(theirs);
        let socket = desk::end_of(ours);
        let received = pipe::receive(&socket, Wait::Forever, |kind, bytes, mut descriptors| {
            if kind == REFUSED {
                return Err(protocol::read_error(bytes));
            }
            let gate = descriptors.pop().ok_or_else(|| Error::corrupt("a welcome without a gate"))?;
            let arrived = Arrived::new(descriptors).map_err(os("copying the descriptors of a manager"))?;
            let welcome: Welcome = ticket::decode_from(bytes, Some(arrived), Route::default())?;
            Ok((welcome, gate))
        });
        // A server that has not even room for this process's word lives on, and with it its end of the gate.
        let is_there = || !poll::is_closed(gate_asked, Wait::timeout(A_WHILE)).unwrap_or(true);
        let ((instance, bell, line), gate) = received.map_err(|error| match error {
            Error::Closed if is_there() => Error::os("being let in by a manager", packet::no_descriptors()),
            other => gone_if_closed(other),
        })?;
        Ok((instance, Self::with(socket, bell, line)?, gate))
    }

    fn with(socket: End, bell: Bell, line: Line) -> Result<Self> {
        let server = bell.head().server().ok_or(Error::ManagerGone)?;
        bell.members()?;
        Ok(Self {
            number: LINKS.fetch_add(1, Relaxed),
            generation: Generation::this()?,
            socket,
            bell,
            server,
            line,
            lane: Mutex::default(),
            released: Mutex::default(),
            pace: Pace::default(),
        })
    }

    /// Whether it is not a fork's copy of its parent's.
    pub(super) fn is_this_process(&self) -> bool {
        self.generation.is_this()
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    fn call(&self, request: &Request, descriptors: &[OwnedFd], home: Home<'_>) -> Result<Answer> {
        let mut lane = lock(&self.lane);
        self.wait(lane.last, Wait::Forever)?;
        self.ask(&mut lane, request, descriptors)?;
        self.answer(&mut lane, |bytes, descriptors| {
            Ok((protocol::read_answer(Reader::of_answer(bytes, home))?, descriptors))
        })
    }

    /// A request and an answer of other forms, at the desk of a service.
    pub(super) fn exchange<T>(
        &self,
        write: impl FnOnce(&mut Vec<u8>) -> Result<Vec<OwnedFd>>,
        read: impl FnOnce(&[u8], Vec<OwnedFd>) -> Result<T>,
    ) -> Result<T> {
        let _waiting = service::begin_to_wait(&self.bell)?;
        let mut lane = lock(&self.lane);
        self.wait(lane.last, Wait::Forever)?;
        lane.buffer.clear();
        let descriptors = write(&mut lane.buffer)?;
        self.put(&mut lane, &descriptors)?;
        self.answer(&mut lane, read)
    }

    /// Waits for the answer to the last request, for `read` to make something of it.
    fn answer<T>(&self, lane: &mut Lane, read: impl FnOnce(&[u8], Vec<OwnedFd>) -> Result<T>) -> Result<T> {
        self.wait(lane.last, Wait::Forever)?;
        match words::answers(&self.line).get(&mut lane.buffer)? {
            Bytes::InLine => {
                lane.is_unread = false;
                read(&lane.buffer, Vec::new())
            }
            Bytes::InSocket => {
                let is_unread = &mut lane.is_unread;
                pipe::receive(&self.socket, Wait::timeout(SOON), |_, bytes, descriptors| {
                    *is_unread = false;
                    read(bytes, descriptors)
                })
                .map_err(gone_if_closed)
            }
        }
    }

    /// Puts a request in.
    fn ask(&self, lane: &mut Lane, request: &Request, descriptors: &[OwnedFd]) -> Result<()> {
        lane.buffer.clear();
        request.write(&mut lane.buffer)?;
        self.put(lane, descriptors)
    }

    /// Puts in what is in the buffer.
    fn put(&self, lane: &mut Lane, descriptors: &[OwnedFd]) -> Result<()> {
        if lane.is_unread && words::answers(&self.line).is_in_socket() {
            // It could not be received, for want of descriptors or memory. It would be taken for the next one, and the server
            // answers nobody who has not taken what there is.
            packet::discard(self.socket.socket()).map_err(|error| Error::os("discarding an answer", error))?;
        }
        let is_short = lane.buffer.len() <= ROOM && descriptors.is_empty();
        if !is_short {
            // There is nothing else in the socket.
            pipe::send(&self.socket, 0, &lane.buffer, descriptors, Wait::timeout(SOON)).map_err(gone_if_closed)?;
        }
        lane.last = lane.last.wrapping_add(1);
        lane.is_unread = true;
        words::requests(&self.line).put(lane.last, is_short.then_some(&lane.buffer));
        if lane.buffer.capacity() > 4 * ROOM {
            lane.buffer = Vec::new();
        }
        self.bell.head().gate().notify(1);
        Ok(())
    }

    /// Waits for the answer to the request `number`.
    fn wait(&self, number: u32, limit: Wait) -> Result<()> {
        let answers = words::answers(&self.line);
        if answers.number() == number {
            return Ok(());
        }
        let mut spin = self.pace.spin(answers.is_from_here());
        while spin.turn() {
            if answers.number() == number {
                spin.succeeded();
                return Ok(());
            }
        }
        let members = self.bell.members()?;
        let start = Instant::now();
        loop {
            let turn = answers.gate().announce();
            // Before the answer: what a server has answered before it died was done.
            let life = members.life(self.server);
            let is_closed = self.bell.head().server().is_none();
            if answers.number() == number {
                self.pace.slept(start);
                return Ok(());
            }
            if life != Life::Lives || is_closed {
                return Err(Error::ManagerGone);
            }
            if limit.is_over() {
                return Err(Error::TimedOut);
            }
            let slice = Wait::Until(limit.slice(SLICE));
            let woken = members.sleep(&answers.gate().word, turn, &[self.server], slice);
            if woken == futex::Woken::TimedOut {
                // Whoever else rang may have died before the bell was heard.
                futex::wake(&self.bell.head().gate().word, 1);
            }
        }
    }

    /// Tells the server what is not held any more, unless somebody else is asking it something, who comes here after that. Waits
    /// for the answer to what was told before, not to this. If that takes longer than a moment, the rest stays for the next request.
    fn tell_released(&self) {
        while !lock(&self.released).is_empty() {
            let mut lane = match self.lane.try_lock() {
                Ok(lane) => lane,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => return,
            };
            let wait = if lane.late == lane.last { Wait::No } else { Wait::timeout(A_MOMENT) };
            if self.wait(lane.last, wait).is_err() {
                lane.late = lane.last;
                return;
            }
            let ids = {
                let mut released = lock(&self.released);
                let rest = released.len().saturating_sub(MOST_RELEASED);
                released.split_off(rest)
            };
            // It is short, so it goes through the line, and does not fail.
            if !ids.is_empty() && self.ask(&mut lane, &Request::Release(ids), &[]).is_err() {
                return;
            }
        }
    }
}

fn gone_if_closed(error: Error) -> Error {
    match error {
        Error::Closed => Error::ManagerGone,
        other => other,
    }
}
