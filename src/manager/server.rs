//! The process that has the objects.
//!
//! See `README.md` beside this file: two threads, one that does what clients ask, and one that lets them in and notices when
//! they are gone.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    io::IoSliceMut,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
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

use super::{
    client::{HELLO, Welcome},
    object::{Home, Object, Reader, Wire},
    protocol::{self, ROOT, Request},
    proxy::Proxy,
    store::Store,
    words::{self, Bell, Bytes, Line, Moves, Pace, ROOM},
};
use crate::{
    Error, Result,
    channel::pipe::{Connection, Fd},
    os::{
        clock::Wait,
        ends::{End, Which},
        futex,
        interrupts::Interrupts,
        meeting, packet, pipe, threads,
        watch::Watch,
    },
    region::ticket::{self, Route},
};

/// How long the server sleeps at most.
const SLICE: Duration = Duration::from_secs(1);

/// The stack of the thread that lets clients in.
const STACK: usize = 256 * 1024;

/// The most objects that are kept for others under names.
const MOST_PARCELS: usize = 1 << 16;

/// What passes between two attempts to let somebody in when there are no descriptors.
const PAUSE: Duration = Duration::from_millis(10);

/// The server, as a process: until its owner is gone.
pub(super) fn serve(gate: Fd, owner: Connection<()>, path: Option<PathBuf>) -> Result<()> {
    // Ctrl-C ends those who use this, and this with them.
    let _interrupts = Interrupts::hold_back().map_err(|error| Error::os("blocking interrupts", error))?;
    meeting::allow_many_descriptors();
    let bell = words::new_bell()?;
    let (tell, events) = mpsc::channel();
    let instance = RandomState::new().hash_one((process::id(), &raw const bell as usize));
    let hall = Arc::new(Hall {
        instance,
        watch: Watch::new().map_err(|error| Error::os("epoll", error))?,
        doors: Mutex::default(),
        numbers: AtomicU64::new(1),
        bell: bell.clone(),
        has_events: AtomicBool::new(false),
    });
    let _removed = path.as_deref().map(|path| Named::new(path, &hall)).transpose()?;
    hall.open(Door::Gate { socket: gate.into(), holds: None })?;
    hall.open(Door::Owner(owner))?;
    let keeper = Arc::clone(&hall);
    threads::spawn_parked("shmkit-manager", STACK, move || {
        let _abort = AbortOnUnwind;
        keeper.keep(&tell);
        std::mem::forget(_abort);
    })
    .map_err(|error| Error::os("starting a thread", error))?;
    Worker {
        hall,
        events,
        store: Store::new(),
        parcels: HashMap::new(),
        clients: Vec::new(),
        served: 0,
        request: Vec::new(),
        answer: Vec::new(),
    }
    .work();
    Ok(())
}

/// Half a server is none.
struct AbortOnUnwind;

impl Drop for AbortOnUnwind {
    fn drop(&mut self) {
        process::abort();
    }
}

/// The socket with a path, which is removed in the end.
struct Named(PathBuf);

impl Named {
    fn new(path: &Path, hall: &Hall) -> Result<Self> {
        let name = || path.display().to_string();
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let flaw = meeting::check_directory(directory)
            .map_err(|error| Error::os(format!("looking at the directory of {path:?}"), error))?;
        if let Some(reason) = flaw {
            return Err(Error::WrongOwner { name: name(), reason });
        }
        let socket = meeting::listen(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::AddrInUse => Error::AlreadyExists { name: name() },
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

/// A descriptor that is watched.
enum Door {
    Listener(OwnedFd),
    Owner(Connection<()>),
    /// Where clients ask to be let in. It may hold an object for as long as its other end is open.
    Gate {
        socket: OwnedFd,
        holds: Option<u64>,
    },
    /// A client's own socket, of which only the end is told.
    Client(Arc<Peer>),
    /// The client's process.
    Process {
        pidfd: OwnedFd,
        client: u64,
    },
}

/// A client, as both threads know it.
struct Peer {
    number: u64,
    socket: End,
    /// The door of its process.
    process: AtomicU64,
}

/// What the thread that does the work is told.
enum Event {
    Enter(Arc<Peer>, Line),
    Leave(u64),
    Unhold(u64),
    End,
}

struct Hall {
    instance: u64,
    watch: Watch,
    doors: Mutex<HashMap<u64, Arc<Door>>>,
    numbers: AtomicU64,
    bell: Bell,
    has_events: AtomicBool,
}

impl Hall {
    fn doors(&self) -> MutexGuard<'_, HashMap<u64, Arc<Door>>> {
        self.doors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self, door: Door) -> Result<u64> {
        let number = self.numbers.fetch_add(1, Relaxed);
        let door = Arc::new(door);
        // Before it can be told of.
        self.doors().insert(number, Arc::clone(&door));
        let watched = match &*door {
            Door::Listener(socket) | Door::Gate { socket, .. } => self.watch.add(socket, number),
            Door::Owner(owner) => self.watch.add(owner, number),
            Door::Client(peer) => self.watch.add_for_its_end(peer.socket.socket(), number),
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
            Door::Client(peer) => self.watch.remove(peer.socket.socket()),
            Door::Process { pidfd, .. } => self.watch.remove(pidfd),
        }
    }

    fn tell(&self, tell: &mpsc::Sender<Event>, event: Event) {
        // The other thread is there for as long as the process.
        let _ = tell.send(event);
        self.has_events.store(true, SeqCst);
        self.bell.head().gate().notify(1);
    }

    /// Lets clients in, and tells of those that are gone, until the owner is.
    fn keep(&self, tell: &mpsc::Sender<Event>) {
        loop {
            for number in self.watch.wait() {
                let Some(door) = self.doors().get(&number).map(Arc::clone) else { continue };
                match &*door {
                    Door::Owner(_) => return self.tell(tell, Event::End),
                    Door::Listener(socket) => {
                        // Another user gets no answer, and sees the socket closed.
                        match meeting::accept(socket) {
                            Ok(socket) if meeting::is_of_this_user(&socket) => {
                                let _ = self.open(Door::Gate { socket, holds: None });
                            }
                            Ok(_) => {}
                            // No descriptors are left, and it waits on.
                            Err(_) => std::thread::sleep(PAUSE),
                        }
                    }
                    Door::Gate { socket, holds } => match hello(socket) {
                        Hello::Client(socket, pidfd) => {
                            // One that cannot be let in sees its socket closed.
                            let _ = self.let_in(socket, pidfd, tell);
                        }
                        Hello::Nothing => {}
                        Hello::Closed => {
                            self.close(number);
                            if let Some(id) = holds {
                                self.tell(tell, Event::Unhold(*id));
                            }
                        }
                    },
                    Door::Client(peer) => self.leave(number, peer.process.load(Relaxed), peer.number, tell),
                    Door::Process { client, .. } => {
                        let client = *client;
                        let socket = self.client(client);
                        self.leave(number, socket, client, tell);
                    }
                }
            }
        }
    }

    /// The door of a client's socket.
    fn client(&self, client: u64) -> u64 {
        let is_it = |door: &Door| matches!(door, Door::Client(peer) if peer.number == client);
        self.doors().iter().find(|(_, door)| is_it(door)).map_or(0, |(number, _)| *number)
    }

    fn leave(&self, one: u64, other: u64, client: u64, tell: &mpsc::Sender<Event>) {
        self.close(one);
        self.close(other);
        self.tell(tell, Event::Leave(client));
    }

    fn let_in(&self, socket: OwnedFd, pidfd: OwnedFd, tell: &mpsc::Sender<Event>) -> Result<()> {
        let number = self.numbers.fetch_add(1, Relaxed);
        let socket = End::received(socket, Which::from_bits(RandomState::new().hash_one(number)));
        let peer = Arc::new(Peer { number, socket, process: AtomicU64::new(0) });
        let line = words::new_line()?;
        let (gate, theirs) = packet::pair().map_err(|error| Error::os("socketpair", error))?;
        let welcome: Welcome = (self.instance, self.bell.clone(), line.clone());
        let mut bytes = Vec::new();
        let mut descriptors = ticket::encode_into(&welcome, Route::default(), &mut bytes)?;
        descriptors.push(theirs);
        self.open(Door::Gate { socket: gate, holds: None })?;
        peer.process.store(self.open(Door::Process { pidfd, client: number })?, Relaxed);
        self.tell(tell, Event::Enter(Arc::clone(&peer), line));
        self.open(Door::Client(Arc::clone(&peer)))?;
        pipe::send(&peer.socket, 0, &bytes, &descriptors, Wait::No)
    }
}

enum Hello {
    Client(OwnedFd, OwnedFd),
    Nothing,
    Closed,
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
        Ok(_) => Hello::Nothing,
        Err(_) => Hello::Closed,
    }
}

/// A client, as the thread that does the work sees it.
struct Client {
    peer: Arc<Peer>,
    line: Line,
    answered: u32,
    /// How often it holds what.
    counts: HashMap<u64, u64>,
}

/// A value that is kept under a name: its type, its bytes, and its descriptors.
struct Parcel {
    tag: String,
    value: Object,
    descriptors: Arc<[OwnedFd]>,
}

struct Worker {
    hall: Arc<Hall>,
    events: mpsc::Receiver<Event>,
    store: Store,
    parcels: HashMap<String, Parcel>,
    clients: Vec<Client>,
    /// Who was answered last.
    served: usize,
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl Worker {
    fn work(&mut self) {
        let pace = Pace::default();
        let mut moves = Moves::default();
        loop {
            let is_here = self.clients.get(self.served).is_some_and(|last| words::requests(&last.line).is_from_here());
            let mut spin = pace.spin(is_here);
            let mut is_spinning = true;
            let (mut announced, mut start) = (None, None);
            loop {
                match self.turn() {
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
                        let gate = self.hall.bell.head().gate();
                        match announced.take() {
                            None => {
                                self.store.tidy_at_leisure();
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

    /// Looks once at everything that may have happened.
    fn turn(&mut self) -> Turn {
        let mut has_done = false;
        if self.hall.has_events.swap(false, SeqCst) {
            has_done = true;
            while let Ok(event) = self.events.try_recv() {
                match event {
                    Event::Enter(peer, line) => {
                        self.clients.push(Client { peer, line, answered: 0, counts: HashMap::new() });
                    }
                    Event::Leave(number) => self.remove(|client| client.peer.number == number),
                    Event::Unhold(id) => self.store.release(id, 1),
                    Event::End => return Turn::End,
                }
            }
            self.store.tidy();
        }
        for at in 0..self.clients.len() {
            let asked = words::requests(&self.clients[at].line).number();
            if asked != self.clients[at].answered {
                has_done = true;
                self.serve(at, asked);
            }
        }
        if has_done { Turn::Done } else { Turn::Idle }
    }

    fn remove(&mut self, is_gone: impl Fn(&Client) -> bool) {
        let store = &mut self.store;
        self.clients.retain(|client| {
            if is_gone(client) {
                client.counts.iter().for_each(|(id, count)| store.release(*id, *count));
            }
            !is_gone(client)
        });
        self.store.tidy();
    }

    fn serve(&mut self, at: usize, asked: u32) {
        let mut request = std::mem::take(&mut self.request);
        let result = self.answer_to(at, &mut request);
        self.request = request;
        let (answer, descriptors) = match result {
            Ok((answer, descriptors)) => (Ok(answer), descriptors),
            Err(error) => (Err(error), None),
        };
        self.answer.clear();
        if let Ok(answer) = &answer {
            // What the client is told of it holds.
            let (store, counts) = (&mut self.store, &mut self.clients[at].counts);
            answer.for_each_proxy(&mut |proxy| {
                if store.hold(proxy.id()).is_ok() {
                    *counts.entry(proxy.id()).or_default() += 1;
                }
            });
        }
        protocol::write_answer(answer, &mut self.answer);
        self.store.tidy();
        let client = &mut self.clients[at];
        client.answered = asked;
        self.served = at;
        let descriptors = descriptors.as_deref().unwrap_or_default();
        let is_short = self.answer.len() <= ROOM && descriptors.is_empty();
        let mut is_in_socket = false;
        if !is_short {
            // There is room for it, unless the client has not taken what it was sent, or too many descriptors are under way.
            match pipe::send(&client.peer.socket, 0, &self.answer, descriptors, Wait::No) {
                Ok(()) => is_in_socket = true,
                Err(error) => {
                    self.answer.clear();
                    protocol::write_answer(Err(error), &mut self.answer);
                }
            }
        }
        let way = words::answers(&client.line);
        way.put(asked, (!is_in_socket).then_some(&self.answer));
        way.gate().notify(1);
        for buffer in [&mut self.request, &mut self.answer] {
            if buffer.capacity() > 4 * ROOM {
                *buffer = Vec::new();
            }
        }
    }

    fn answer_to(&mut self, at: usize, bytes: &mut Vec<u8>) -> Result<(Object, Option<Arc<[OwnedFd]>>)> {
        let client = &self.clients[at];
        let home = Home::Server(self.hall.instance);
        let read = |bytes: &[u8]| -> Result<Request> {
            let mut reader = Reader::new(bytes, home);
            let request = Request::read(&mut reader)?;
            reader.finish()?;
            Ok(request)
        };
        let (request, descriptors) = match words::requests(&client.line).get(bytes)? {
            Bytes::InLine => (read(bytes)?, Vec::new()),
            Bytes::InSocket => pipe::receive(&client.peer.socket, Wait::No, |_, bytes, fds| Ok((read(bytes)?, fds)))?,
        };
        self.execute(at, request, descriptors)
    }

    fn execute(
        &mut self,
        at: usize,
        request: Request,
        mut descriptors: Vec<OwnedFd>,
    ) -> Result<(Object, Option<Arc<[OwnedFd]>>)> {
        let answer = match request {
            Request::Attach(ROOT) => Object::None,
            Request::Attach(id) => {
                self.store.hold(id)?;
                *self.clients[at].counts.entry(id).or_default() += 1;
                Object::None
            }
            Request::Release(ids) => {
                let counts = &mut self.clients[at].counts;
                for id in ids {
                    // Only what it holds.
                    if let Some(count) = counts.get_mut(&id) {
                        *count -= 1;
                        if *count == 0 {
                            counts.remove(&id);
                        }
                        self.store.release(id, 1);
                    }
                }
                Object::None
            }
            Request::Hold(id) => {
                let socket = descriptors.pop().filter(|socket| packet::is_end(socket));
                let socket = socket.ok_or_else(|| Error::corrupt("a hold without a socket"))?;
                self.store.hold(id)?;
                let opened = self.hall.open(Door::Gate { socket, holds: Some(id) });
                if opened.is_err() {
                    self.store.release(id, 1);
                }
                opened?;
                Object::None
            }
            Request::New(kind, contents) => {
                let id = self.store.create(kind, contents)?;
                Object::Proxy(Proxy::of_server(kind, self.hall.instance, id))
            }
            Request::One(id, op) => self.store.one(id, op)?,
            Request::All(ops) => self.store.all(ops)?,
            Request::Publish(name, tag, value) => {
                if self.parcels.len() >= MOST_PARCELS {
                    return Err(Error::invalid_argument(format!("{MOST_PARCELS} names are in use, the most that can")));
                }
                if self.parcels.contains_key(&name) {
                    return Err(Error::AlreadyExists { name });
                }
                if !matches!(value, Object::Bytes(_)) {
                    return Err(value.mismatch("an encoded value"));
                }
                self.parcels.insert(name, Parcel { tag, value, descriptors: descriptors.into() });
                Object::None
            }
            Request::Find(name, tag) => match self.parcels.get(&name) {
                None => Object::None,
                Some(parcel) if parcel.tag != tag => {
                    return Err(Error::TypeMismatch { expected: tag, found: parcel.tag.clone() });
                }
                Some(parcel) => return Ok((parcel.value.clone(), Some(Arc::clone(&parcel.descriptors)))),
            },
            Request::Count() => Object::from([self.store.len(), self.clients.len()]),
        };
        Ok((answer, None))
    }
}

enum Turn {
    Done,
    Idle,
    End,
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, test_runner::Config};

    use super::*;
    use crate::manager::protocol::{Kind, Op};

    /// A server without its other thread, and without processes: with one client, whose end of the socket this is.
    fn worker() -> (Worker, End) {
        let bell = words::new_bell().unwrap();
        let hall = Arc::new(Hall {
            instance: 7,
            watch: Watch::new().unwrap(),
            doors: Mutex::default(),
            numbers: AtomicU64::new(1),
            bell,
            has_events: AtomicBool::new(false),
        });
        let (tell, events) = mpsc::channel();
        let (ours, theirs) = End::pair().unwrap();
        let peer = Arc::new(Peer { number: 1, socket: theirs, process: AtomicU64::new(0) });
        hall.tell(&tell, Event::Enter(peer, words::new_line().unwrap()));
        let mut worker = Worker {
            hall,
            events,
            store: Store::new(),
            parcels: HashMap::new(),
            clients: Vec::new(),
            served: 0,
            request: Vec::new(),
            answer: Vec::new(),
        };
        assert!(matches!(worker.turn(), Turn::Done));
        assert_eq!(worker.clients.len(), 1);
        (worker, ours)
    }

    /// Puts bytes in as a request, and reads the answer.
    fn ask(worker: &mut Worker, number: u32, bytes: &[u8]) -> Result<Object> {
        let line = worker.clients[0].line.clone();
        words::requests(&line).put(number, Some(bytes));
        worker.turn();
        let mut answer = Vec::new();
        assert_eq!(words::answers(&line).number(), number);
        assert_eq!(words::answers(&line).get(&mut answer).unwrap(), Bytes::InLine);
        protocol::read_answer(Reader::new(&answer, Home::Server(7)))
    }

    fn written(request: &Request) -> Vec<u8> {
        let mut bytes = Vec::new();
        request.write(&mut bytes).unwrap();
        bytes
    }

    fn requests() -> impl Strategy<Value = Vec<u8>> {
        let value = prop_oneof![
            Just(Object::None),
            (-3_i64..12).prop_map(Object::from),
            "[ab]".prop_map(Object::from),
            (0_u64..4).prop_map(|id| Object::Proxy(Proxy::of_server(Kind::List, 7, id))),
        ];
        let op = (0_u8..40, vec(value, 3)).prop_map(|(kind, mut values)| {
            let mut next = || values.pop().unwrap_or_default();
            let index = |object: &Object| object.get_as().unwrap_or(0);
            match kind {
                0 => Op::Clear(),
                1 | 2 => Op::Push(next()),
                3..=5 => Op::Set(next(), next()),
                6 => Op::Pop(None),
                7 => Op::InsertAt(index(&next()), next()),
                8 => Op::Extend(vec![next(), next(), next()]),
                9 => Op::Update(vec![(next(), next()), ("a".into(), 1.into())]),
                10 => Op::Take(next()),
                11 => Op::PopItem(),
                12 => Op::Reverse(),
                13 => Op::Sort(),
                14 => Op::FetchAdd(next(), next()),
                15 => Op::CompareExchange(next(), Some(next()), Some(next())),
                16 => Op::CompareExchange(next(), None, None),
                17 => Op::SetDefault(next(), next()),
                18 => Op::Chunk(index(&next()).unsigned_abs(), None),
                19 => Op::Slice(Some(index(&next())), None),
                20 => Op::Remove(next()),
                _ => Op::Get(next()),
            }
        });
        let step = (0_u64..4, op);
        prop_oneof![
            6 => vec(step, 1..8).prop_map(|steps| written(&Request::All(steps))),
            1 => Just(written(&Request::New(Kind::List, Object::List(vec![1.into()])))),
            1 => Just(written(&Request::New(Kind::Dict, Object::Dict(Default::default())))),
            1 => (0_u64..4).prop_map(|id| written(&Request::Attach(id))),
            1 => vec(0_u64..4, 0..3).prop_map(|ids| written(&Request::Release(ids))),
            1 => (0_u64..4).prop_map(|id| written(&Request::Hold(id))),
            1 => Just(written(&Request::Publish("a".into(), "b".into(), Object::None))),
            2 => vec(any::<u8>(), 0..64),
        ]
    }

    fn contents(worker: &mut Worker) -> String {
        (0..8).map(|id| format!("{:?}\n", worker.store.one(id, Op::ToObject()))).collect()
    }

    proptest! {
        #![proptest_config(Config { cases: 300, failure_persistence: None, ..Config::default() })]

        /// Right and damaged requests in any order: each has an answer, what fails has changed nothing, and nothing is left
        /// when the client is gone.
        #[test]
        fn any_requests(
            requests in vec((requests(), proptest::option::weighted(0.2, (any::<prop::sample::Index>(), any::<u8>()))), 1..60)
        ) {
            let (mut worker, _socket) = worker();
            for (number, (mut bytes, damage)) in (1..).zip(requests) {
                if let Some((at, byte)) = damage.filter(|_| !bytes.is_empty()) {
                    let at = at.index(bytes.len());
                    bytes[at] = byte;
                }
                let before = contents(&mut worker);
                if ask(&mut worker, number, &bytes).is_err() {
                    prop_assert_eq!(contents(&mut worker), before);
                }
            }
            worker.remove(|_| true);
            worker.store.tidy_at_leisure();
            worker.store.one(ROOT, Op::Clear()).unwrap();
            worker.store.tidy();
            worker.store.tidy_at_leisure();
            prop_assert_eq!(worker.store.len(), 1);
        }
    }

    /// A length that is none, a packet that never came, a socket that is no socket: the client's loss, and nobody else's.
    #[test]
    fn broken_lines() {
        let (mut worker, socket) = worker();
        let line = worker.clients[0].line.clone();
        words::requests(&line).put(1, None);
        worker.turn();
        assert_eq!(words::answers(&line).number(), 1);
        pipe::send(&socket, 0, &written(&Request::Hold(ROOT)), &[], Wait::No).unwrap();
        words::requests(&line).put(2, None);
        worker.turn();
        let file = crate::os::files::anonymous().unwrap();
        pipe::send(&socket, 0, &written(&Request::Hold(ROOT)), &[file], Wait::No).unwrap();
        words::requests(&line).put(3, None);
        worker.turn();
        assert_eq!(ask(&mut worker, 4, &written(&Request::Count())).unwrap(), Object::from([1, 1]));
        // Answers that nobody takes.
        let large = Request::New(Kind::List, Object::bytes(vec![0; 100]));
        assert!(ask(&mut worker, 5, &written(&large)).is_err());
        let bytes = Object::bytes(vec![1; ROOM - 100]);
        ask(&mut worker, 6, &written(&Request::One(ROOT, Op::Set(1.into(), bytes)))).unwrap();
        for (number, key) in (7..11).zip(2..) {
            let bytes = Object::bytes(vec![1; ROOM - 100]);
            ask(&mut worker, number, &written(&Request::One(ROOT, Op::Set(key.into(), bytes)))).unwrap();
        }
        for number in 11..1000 {
            words::requests(&line).put(number, Some(&written(&Request::One(ROOT, Op::ToObject()))));
            worker.turn();
            let mut answer = Vec::new();
            if words::answers(&line).get(&mut answer).unwrap() == Bytes::InLine {
                let error = protocol::read_answer(Reader::new(&answer, Home::Nowhere)).unwrap_err();
                assert!(error.is_would_block(), "{error}");
                return;
            }
        }
        panic!("it would take answers for ever");
    }
}
