//! Where clients come and go: the doors of the server, and the thread that watches them.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    io::{self, IoSliceMut},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use super::{
    client::{HELLO, REFUSED, WELCOME, Welcome},
    desk::{self, Desk, Event, Peer, Ticket},
    object::Object,
    protocol, words,
};
use crate::{
    Error, Result,
    channel::pipe::Connection,
    os::{clock::Wait, ends::End, meeting, packet, pidfd, pipe, watch::Watch},
    region::ticket::{self, Route},
};

/// What passes between two attempts to let somebody in when there are no descriptors.
const PAUSE: Duration = Duration::from_millis(10);

/// A descriptor that is watched.
pub(super) enum Door {
    Listener(OwnedFd),
    Owner(Connection<()>),
    /// Where clients ask to be let in. It may hold an object for as long as its other end is open.
    Gate {
        socket: OwnedFd,
        holds: Option<Ticket>,
    },
    /// A client's own socket, of which only the end is told.
    Client {
        peer: Arc<Peer>,
        desk: Arc<Desk>,
    },
    /// The client's process.
    Process {
        pidfd: OwnedFd,
        peer: Arc<Peer>,
    },
}

pub(super) struct Hall {
    pub(super) instance: u64,
    /// Of the objects.
    pub(super) desk: Arc<Desk>,
    watch: Watch,
    doors: Mutex<HashMap<u64, Arc<Door>>>,
    numbers: AtomicU64,
}

impl Hall {
    pub(super) fn new(desk: Arc<Desk>) -> Result<Self> {
        Ok(Self {
            instance: RandomState::new().hash_one(process::id()),
            desk,
            watch: Watch::new().map_err(|error| Error::os("epoll", error))?,
            doors: Mutex::default(),
            numbers: AtomicU64::new(1),
        })
    }

    pub(super) fn doors(&self) -> MutexGuard<'_, HashMap<u64, Arc<Door>>> {
        self.doors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn open(&self, door: Door) -> Result<u64> {
        let number = self.numbers.fetch_add(1, Relaxed);
        let door = Arc::new(door);
        // Before it can be told of.
        self.doors().insert(number, Arc::clone(&door));
        let watched = match &*door {
            Door::Listener(socket) | Door::Gate { socket, .. } => self.watch.add(socket, number),
            Door::Owner(owner) => self.watch.add(owner, number),
            Door::Client { peer, .. } => match peer.socket() {
                Ok(socket) => self.watch.add_for_its_end(socket.socket(), number),
                Err(_) => Err(io::ErrorKind::NotConnected.into()),
            },
            Door::Process { pidfd, .. } => self.watch.add(pidfd, number),
        };
        if let Err(error) = watched {
            self.doors().remove(&number);
            return Err(Error::os("epoll", error));
        }
        Ok(number)
    }

    fn close(&self, number: u64) {
        let Some(door) = self.doors().remove(&number) else { return };
        match &*door {
            Door::Listener(socket) | Door::Gate { socket, .. } => self.watch.remove(socket),
            Door::Owner(owner) => self.watch.remove(owner),
            Door::Client { peer, .. } => {
                // Not closed before: see `leave`.
                let _ = peer.socket().map(|socket| self.watch.remove(socket.socket()));
            }
            Door::Process { pidfd, .. } => self.watch.remove(pidfd),
        }
    }

    /// No desk has answers from now on, and who is about to be let in sees the end of its socket.
    pub(super) fn close_all(&self) {
        self.desk.close();
        for (_, door) in self.doors().drain() {
            if let Door::Client { desk, .. } = &*door {
                desk.close();
            }
        }
    }

    /// Lets clients in, and tells of those that are gone, until the owner is.
    pub(super) fn keep(&self) {
        loop {
            for number in self.watch.wait() {
                let Some(door) = self.doors().get(&number).map(Arc::clone) else { continue };
                match &*door {
                    Door::Owner(_) => return self.desk.tell(Event::End),
                    Door::Listener(socket) => {
                        // Another user gets no answer, and sees the socket closed.
                        match meeting::accept(socket) {
                            Ok(socket) if meeting::is_of_this_user(&socket) => {
                                let _ = self.open(Door::Gate { socket, holds: None });
                            }
                            Ok(_) => {}
                            // No descriptors are left, and it waits on.
                            Err(_) => thread::sleep(PAUSE),
                        }
                    }
                    Door::Gate { socket, holds } => match hello(socket) {
                        Hello::Client(socket, pidfd) => {
                            self.let_in(socket, pidfd);
                        }
                        Hello::Lacking(socket) => {
                            refuse(&desk::end_of(socket), Error::os("receiving", packet::no_descriptors()));
                        }
                        Hello::Nothing => {}
                        Hello::Closed => {
                            self.close(number);
                            if let Some(ticket) = holds {
                                self.desk.tell(Event::Unhold(*ticket));
                            }
                        }
                    },
                    Door::Client { peer, desk } => self.leave(number, peer, desk),
                    Door::Process { peer, .. } => self.leave(number, peer, &self.desk),
                }
            }
        }
    }

    /// A client is gone, which was seen at the door with this number; and wherever else it was.
    fn leave(&self, seen: u64, peer: &Peer, desk: &Desk) {
        [seen, peer.door.load(Relaxed), peer.process.load(Relaxed)].into_iter().for_each(|door| self.close(door));
        peer.close();
        desk.tell(Event::Leave(peer.number));
        if let Some(host) = &peer.host {
            host.guests().as_mut().map(|guests| guests.remove(&seen));
            self.desk.tell(Event::Return(host.number));
        }
        // Those have none in their turn.
        let guests = peer.guests().take();
        for number in guests.into_iter().flatten() {
            let door = self.doors().get(&number).map(Arc::clone);
            if let Some(Door::Client { peer, desk }) = door.as_deref() {
                self.leave(number, peer, desk);
            }
        }
    }

    /// One that cannot be let in is told why, and sees its socket closed.
    pub(super) fn let_in(&self, socket: OwnedFd, pidfd: OwnedFd) -> bool {
        let peer = Peer::new(self.numbers.fetch_add(1, Relaxed), desk::end_of(socket), None);
        let socket = peer.socket();
        let welcome = self.welcome(&peer, pidfd);
        let is_welcome = welcome.is_ok();
        if let (Err(error), Ok(socket)) = (welcome, socket) {
            refuse(&socket, error);
        }
        is_welcome
    }

    fn welcome(&self, peer: &Arc<Peer>, pidfd: OwnedFd) -> Result<()> {
        // Whose it is, is the client's concern: by another one's it would only be seen to go sooner, or later.
        if !pidfd::is_one(&pidfd) {
            return Err(Error::corrupt("a hello without a process"));
        }
        let line = words::new_line()?;
        let (gate, theirs) = packet::pair().map_err(|error| Error::os("socketpair", error))?;
        let welcome: Welcome = (self.instance, self.desk.bell.clone(), line.clone());
        let mut bytes = Vec::new();
        let mut descriptors = ticket::encode_into(&welcome, Route::default(), &mut bytes)?;
        descriptors.push(theirs);
        self.open(Door::Gate { socket: gate, holds: None })?;
        peer.process.store(self.open(Door::Process { pidfd, peer: Arc::clone(peer) })?, Relaxed);
        self.desk.tell(Event::Enter(Arc::clone(peer), line));
        let door = Door::Client { peer: Arc::clone(peer), desk: Arc::clone(&self.desk) };
        let told = self.open(door).and_then(|door| {
            peer.door.store(door, Relaxed);
            pipe::send(&*peer.socket()?, WELCOME, &bytes, &descriptors, Wait::No)
        });
        if told.is_err() {
            // It waits for a word or for the end of its socket, which all of these have.
            self.leave(peer.process.load(Relaxed), peer, &self.desk);
        }
        told
    }

    /// Lets a client in at the desk of a service, for as long as it has the other end of this socket. What it is to be told.
    pub(super) fn let_in_to(
        &self,
        desk: &Arc<Desk>,
        socket: OwnedFd,
        host: &Arc<Peer>,
    ) -> Result<(Object, Vec<OwnedFd>)> {
        let peer = Peer::new(self.numbers.fetch_add(1, Relaxed), desk::end_of(socket), Some(Arc::clone(host)));
        let line = words::new_line()?;
        let mut bytes = Vec::new();
        let descriptors = ticket::encode_into(&(desk.bell.clone(), line.clone()), Route::default(), &mut bytes)?;
        desk.tell(Event::Enter(Arc::clone(&peer), line));
        let opened = self.open(Door::Client { peer: Arc::clone(&peer), desk: Arc::clone(desk) });
        let Ok(door) = opened else {
            desk.tell(Event::Leave(peer.number));
            return opened.map(|_| unreachable!("it is an error"));
        };
        peer.door.store(door, Relaxed);
        if let Some(guests) = host.guests().as_mut() {
            guests.insert(door);
            return Ok((Object::Bytes(bytes), descriptors));
        }
        // It has left meanwhile.
        self.leave(door, &peer, desk);
        Err(Error::Closed)
    }
}

enum Hello {
    Client(OwnedFd, OwnedFd),
    /// Of whose descriptors there was room for the first only.
    Lacking(OwnedFd),
    Nothing,
    Closed,
}

/// Says why somebody is not let in.
fn refuse(socket: &End, error: Error) {
    let error = match error {
        Error::Os { operation, source } => Error::os(format!("being let in by a manager ({operation})"), source),
        other => other,
    };
    // One who cannot be told sees the end of the socket.
    let _ = pipe::send(socket, REFUSED, &protocol::error_bytes(&error), &[], Wait::No);
}

/// What comes through a gate.
fn hello(gate: &OwnedFd) -> Hello {
    let (mut bytes, mut descriptors) = ([0; HELLO.len() + 1], Vec::new());
    match packet::receive_now(gate, &mut [IoSliceMut::new(&mut bytes)], &mut descriptors) {
        Ok(Some(received)) if received.bytes == 0 => Hello::Closed,
        Ok(Some(received)) if &bytes[..received.bytes] == HELLO && descriptors.len() == 2 => {
            match (descriptors.pop(), descriptors.pop()) {
                (Some(pidfd), Some(socket)) if packet::is_end(&socket) => Hello::Client(socket, pidfd),
                _ => Hello::Nothing,
            }
        }
        Ok(Some(received)) if received.lacks_descriptors => match descriptors.pop() {
            Some(socket) if packet::is_end(&socket) => Hello::Lacking(socket),
            _ => Hello::Nothing,
        },
        Ok(_) => Hello::Nothing,
        Err(_) => Hello::Closed,
    }
}

/// The socket with a path, which is removed in the end.
pub(super) struct Named(PathBuf);

impl Named {
    pub(super) fn new(path: &Path, hall: &Hall) -> Result<Self> {
        let name = || path.display().to_string();
        let flaw = meeting::check_directory(meeting::directory_of(path))
            .map_err(|error| Error::os(format!("looking at the directory of {path:?}"), error))?;
        if let Some(reason) = flaw {
            return Err(Error::WrongOwner { name: name(), reason });
        }
        let socket = meeting::listen(path).map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => Error::AlreadyExists { name: name() },
            _ => Error::os(format!("listening at {path:?}"), error),
        })?;
        let named = Self(path.into());
        hall.open(Door::Listener(socket))?;
        Ok(named)
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        // Somebody may have removed it already.
        let _ = crate::os::files::remove(&self.0);
    }
}
