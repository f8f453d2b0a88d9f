//! A server as its clients see it.

use std::{
    hash::{BuildHasher, RandomState},
    os::fd::{AsFd, OwnedFd},
    process,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use super::{
    object::{Home, Object, Reader, Wire},
    protocol::{self, Request},
    words::{self, Bell, Bytes, Line, Pace, ROOM},
};
use crate::{
    Error, Result,
    os::{
        clock::Wait,
        ends::{End, Which},
        futex, packet, pidfd, pipe,
        robust::Generation,
    },
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

/// What is sent through a gate, with one end of a socket pair and a descriptor of this process beside it.
pub(super) const HELLO: &[u8] = b"shmkit manager 1";

/// What a client is told when it is let in: the server's number, and what both have in common.
pub(super) type Welcome = (u64, Bell, Line);

/// One for each server that this process knows.
pub(super) struct Server {
    instance: u64,
    /// Where one can ask to be let in: for forks of this process.
    gate: OwnedFd,
    link: Mutex<Arc<Link>>,
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
        let server = Arc::new(Self { instance, gate, link: Mutex::new(link.into()) });
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
    fn new(gate: &OwnedFd) -> Result<(u64, Self, OwnedFd)> {
        let os = |operation: &'static str| move |error| Error::os(operation, error);
        let (ours, theirs) = packet::pair().map_err(os("socketpair"))?;
        let me = pidfd::open(process::id()).map_err(os("pidfd_open"))?;
        let me = me.ok_or_else(|| Error::unsupported("this process has no descriptor of its own"))?;
        let is_open = packet::send_if_open(gate, HELLO, &[theirs.as_fd(), me.as_fd()]);
        if !is_open.map_err(os("asking a manager to be let in"))? {
            return Err(Error::ManagerGone);
        }
        drop(theirs);
        let number = LINKS.fetch_add(1, Relaxed);
        let which = Which::from_bits(RandomState::new().hash_one((process::id(), number)));
        let socket = End::received(ours, which);
        let received = pipe::receive(&socket, Wait::Forever, |_, bytes, mut descriptors| {
            let gate = descriptors.pop().ok_or_else(|| Error::corrupt("a welcome without a gate"))?;
            let arrived = Arrived::new(descriptors).map_err(os("copying the descriptors of a manager"))?;
            let welcome: Welcome = ticket::decode_from(bytes, Some(arrived), Route::default())?;
            Ok((welcome, gate))
        });
        let ((instance, bell, line), gate) = received.map_err(gone_if_closed)?;
        let server = bell.head().server().ok_or_else(|| Error::corrupt("a manager without a server"))?;
        let link = Self {
            number,
            generation: Generation::this()?,
            socket,
            bell,
            server,
            line,
            lane: Mutex::default(),
            released: Mutex::default(),
            pace: Pace::default(),
        };
        Ok((instance, link, gate))
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    fn call(&self, request: &Request, descriptors: &[OwnedFd], home: Home<'_>) -> Result<Answer> {
        let mut lane = lock(&self.lane);
        self.wait(lane.last, Wait::Forever)?;
        self.ask(&mut lane, request, descriptors)?;
        self.wait(lane.last, Wait::Forever)?;
        let lane = &mut *lane;
        match words::answers(&self.line).get(&mut lane.buffer)? {
            Bytes::InLine => Ok((protocol::read_answer(Reader::of_answer(&lane.buffer, home))?, Vec::new())),
            Bytes::InSocket => pipe::receive(&self.socket, Wait::timeout(SOON), |_, bytes, descriptors| {
                Ok((protocol::read_answer(Reader::of_answer(bytes, home))?, descriptors))
            })
            .map_err(gone_if_closed),
        }
    }

    /// Puts a request in.
    fn ask(&self, lane: &mut Lane, request: &Request, descriptors: &[OwnedFd]) -> Result<()> {
        lane.buffer.clear();
        request.write(&mut lane.buffer)?;
        let is_short = lane.buffer.len() <= ROOM && descriptors.is_empty();
        if !is_short {
            // There is nothing else in the socket.
            pipe::send(&self.socket, 0, &lane.buffer, descriptors, Wait::timeout(SOON)).map_err(gone_if_closed)?;
        }
        lane.last = lane.last.wrapping_add(1);
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
            if answers.number() == number {
                self.pace.slept(start);
                return Ok(());
            }
            if life != Life::Lives {
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

    /// Tells the server what is not held any more, if nobody else is asking it something. Does not wait for the answer.
    ///
    /// Whoever is asking comes here after that, and finds what was put there before. If the answer to the last such message
    /// takes longer than a moment, the next one stays for the next request.
    fn tell_released(&self) {
        while !lock(&self.released).is_empty() {
            let mut lane = match self.lane.try_lock() {
                Ok(lane) => lane,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => return,
            };
            if self.wait(lane.last, Wait::timeout(A_MOMENT)).is_err() {
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
