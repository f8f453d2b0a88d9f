//! The process that has the objects.
//!
//! See `README.md` beside this file: two threads, one that does what clients ask, and one that lets them in and notices when
//! they are gone.

use std::{
    collections::HashMap,
    mem,
    os::fd::OwnedFd,
    path::PathBuf,
    process,
    sync::{Arc, mpsc},
};

use super::{
    desk::{Answered, Attendant, Client, Desk, Event, Office, Ticket},
    hall::{Door, Hall, Named},
    object::{Home, Object, Reader, Wire},
    protocol::{self, ROOT, Request},
    proxy::Proxy,
    service,
    store::Store,
};
use crate::{
    Error, Result,
    channel::pipe::{Connection, Fd},
    os::{interrupts::Interrupts, meeting, packet, threads},
};

/// The stack of the thread that lets clients in.
const STACK: usize = 256 * 1024;

/// How many descriptors the visit of a client to a service takes: its socket and its line.
const OF_A_VISIT: usize = 2;

/// The most objects that are kept for others under names.
const MOST_PARCELS: usize = 1 << 16;

/// The server, as a process: until its owner is gone.
pub(super) fn serve(gate: Fd, owner: Connection<()>, path: Option<PathBuf>, key: u64) -> Result<()> {
    // Ctrl-C ends those who use this, and this with them.
    let _interrupts = Interrupts::hold_back().map_err(|error| Error::os("blocking interrupts", error))?;
    let most_each = meeting::allow_many_descriptors() / 2;
    let (desk, events) = Desk::new()?;
    let hall = Arc::new(Hall::new(desk)?);
    let named = path.as_deref().map(|path| Named::new(path, &hall)).transpose()?;
    hall.open(Door::Gate { socket: gate.into(), holds: None })?;
    hall.open(Door::Owner(owner))?;
    let keeper = Arc::clone(&hall);
    threads::spawn_parked(c"shmkit-manager", STACK, move || {
        let _abort = AbortOnUnwind;
        keeper.keep();
        mem::forget(_abort);
    })
    .map_err(|error| Error::os("starting a thread", error))?;
    let desk = Arc::clone(&hall.desk);
    let mut worker = Worker::new(hall, events, key, most_each);
    desk.attend(&mut worker);
    // Before the listening socket is closed with all others: whoever finds it closed takes the path for a dead server's, and what
    // it puts there is not this one's to remove.
    drop(named);
    // The end of the process may take a while: it waits for children that services have.
    worker.hall.close_all();
    worker.office.wake_all();
    // Nothing is dropped: else services would be, half way, until the process has ended.
    mem::forget(worker);
    Ok(())
}

/// Half a server is none.
pub(super) struct AbortOnUnwind;

impl Drop for AbortOnUnwind {
    fn drop(&mut self) {
        process::abort();
    }
}

impl Client {
    /// Not more than `most` in all, so that there are some for others.
    ///
    /// # Errors
    ///
    /// `InvalidArgument`.
    fn check_descriptors(&self, count: usize, most: usize) -> Result<()> {
        if self.descriptors + count > most {
            return Err(Error::invalid_argument(format!(
                "the manager has {} descriptors of this process, under names, with lists and dicts that are on their way to \
                 others, and for its calls of services; {most} are possible",
                self.descriptors
            )));
        }
        Ok(())
    }

    fn give_up(&mut self, id: u64, store: &mut Store) {
        // Only what it holds.
        if let Some(count) = self.counts.get_mut(&id) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&id);
            }
            store.release(id, 1);
        }
    }
}

/// A value that is kept under a name: its type, its bytes, and its descriptors.
struct Parcel {
    tag: String,
    value: Object,
    descriptors: Option<Arc<[OwnedFd]>>,
    /// The objects among it. Whoever finds it has its descriptors too, so those hold nothing that others rely on.
    held: Vec<u64>,
    /// The client that has put it here.
    from: u64,
}

struct Worker {
    office: Office,
    hall: Arc<Hall>,
    /// Who knows it may have functions called.
    key: u64,
    store: Store,
    parcels: HashMap<String, Parcel>,
    /// The most descriptors that one client may have here.
    most_each: usize,
}

impl Attendant for Worker {
    fn office(&mut self) -> &mut Office {
        &mut self.office
    }

    fn hear(&mut self, event: Event) {
        match event {
            Event::Enter(peer, line) => self.office.clients.push(Client::new(peer, line)),
            Event::Leave(number) => self.remove(|client| client.peer.number == number),
            Event::Unhold(Ticket { id, client }) => {
                self.store.release(id, 1);
                self.has_given_back(client, 1);
            }
            Event::Return(client) => self.has_given_back(client, OF_A_VISIT),
            Event::End => {}
        }
    }

    fn heard_all(&mut self) {
        self.store.tidy();
    }

    fn serve(&mut self, at: usize, asked: u32) {
        let (answer, descriptors) = match self.answer_to(at) {
            Ok((answer, descriptors)) => (Ok(answer), descriptors),
            Err(error) => (Err(error), None),
        };
        let (store, client) = (&mut self.store, &mut self.office.clients[at]);
        let mut held = Vec::new();
        if let Ok(answer) = &answer {
            // What the client is told of it holds.
            answer.for_each_proxy(&mut |proxy| {
                if store.hold(proxy.id()).is_ok() {
                    *client.counts.entry(proxy.id()).or_default() += 1;
                    held.push(proxy.id());
                }
            });
        }
        self.office.answer.clear();
        let is_value = protocol::write_answer(answer, &mut self.office.answer);
        let answered = self.office.give(at, asked, descriptors, |error, bytes| {
            protocol::write_answer(Err(error), bytes);
        });
        if !is_value || answered == Answered::ByError {
            held.into_iter().for_each(|id| self.office.clients[at].give_up(id, &mut self.store));
        }
        self.store.tidy();
    }

    fn at_leisure(&mut self) {
        self.store.tidy_at_leisure();
    }
}

impl Worker {
    fn new(hall: Arc<Hall>, events: mpsc::Receiver<Event>, key: u64, most_each: usize) -> Self {
        Self {
            office: Office::new(Arc::clone(&hall.desk), events),
            hall,
            key,
            store: Store::new(),
            parcels: HashMap::new(),
            most_each,
        }
    }

    fn has_given_back(&mut self, client: u64, descriptors: usize) {
        if let Some(client) = self.office.clients.iter_mut().find(|known| known.peer.number == client) {
            client.descriptors = client.descriptors.saturating_sub(descriptors);
        }
    }

    fn remove(&mut self, is_gone: impl Fn(&Client) -> bool) {
        let store = &mut self.store;
        self.office.clients.retain(|client| {
            if is_gone(client) {
                client.counts.iter().for_each(|(id, count)| store.release(*id, *count));
            }
            !is_gone(client)
        });
        self.store.tidy();
    }

    fn answer_to(&mut self, at: usize) -> Result<(Object, Option<Arc<[OwnedFd]>>)> {
        let home = Home::Server(self.hall.instance);
        let (request, descriptors) = self.office.request(at, |bytes, descriptors| {
            let mut reader = Reader::new(bytes, home);
            let request = Request::read(&mut reader)?;
            reader.finish()?;
            Ok((request, descriptors))
        })?;
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
                *self.office.clients[at].counts.entry(id).or_default() += 1;
                Object::None
            }
            Request::Release(ids) => {
                ids.into_iter().for_each(|id| self.office.clients[at].give_up(id, &mut self.store));
                Object::None
            }
            Request::Hold(id) => {
                let socket = descriptors.pop().filter(|socket| packet::is_end(socket));
                let socket = socket.ok_or_else(|| Error::corrupt("a hold without a socket"))?;
                self.store.hold(id)?;
                let client = &mut self.office.clients[at];
                let ticket = Ticket { id, client: client.peer.number };
                let opened = client
                    .check_descriptors(1, self.most_each)
                    .and_then(|()| self.hall.open(Door::Gate { socket, holds: Some(ticket) }).map(drop));
                if opened.is_err() {
                    self.store.release(id, 1);
                }
                opened?;
                client.descriptors += 1;
                Object::None
            }
            Request::New(kind, contents) => {
                let id = self.store.create(kind, contents)?;
                Object::Proxy(Proxy::of_server(kind, self.hall.instance, id))
            }
            Request::One(id, op) => self.store.one(id, op)?,
            Request::All(steps) => self.store.all(&mut steps.reader(Home::Server(self.hall.instance)))?,
            Request::Publish(name, tag, value, held) => {
                if self.parcels.len() >= MOST_PARCELS {
                    return Err(Error::invalid_argument(format!("{MOST_PARCELS} names are in use, the most that can")));
                }
                if self.parcels.contains_key(&name) {
                    return Err(Error::AlreadyExists { name });
                }
                if !matches!(value, Object::Bytes(_)) {
                    return Err(value.mismatch("an encoded value"));
                }
                let client = &mut self.office.clients[at];
                client.check_descriptors(descriptors.len(), self.most_each)?;
                for (count, id) in held.iter().enumerate() {
                    if let Err(error) = self.store.hold(*id) {
                        held[..count].iter().for_each(|id| self.store.release(*id, 1));
                        return Err(error);
                    }
                }
                client.descriptors += descriptors.len();
                let from = client.peer.number;
                let descriptors = (!descriptors.is_empty()).then(|| descriptors.into());
                self.parcels.insert(name, Parcel { tag, value, descriptors, held, from });
                Object::None
            }
            Request::Find(name, tag) => match self.parcels.get(&name) {
                None => Object::None,
                Some(parcel) if parcel.tag != tag => {
                    return Err(Error::TypeMismatch { expected: tag, found: parcel.tag.clone() });
                }
                Some(parcel) => return Ok((parcel.value.clone(), parcel.descriptors.clone())),
            },
            Request::Unpublish(name) => {
                let parcel = self.parcels.remove(&name);
                if let Some(Parcel { descriptors, held, from, .. }) = &parcel {
                    held.iter().for_each(|id| self.store.release(*id, 1));
                    self.has_given_back(*from, descriptors.as_ref().map_or(0, |descriptors| descriptors.len()));
                }
                Object::from(parcel.is_some())
            }
            Request::Serve(key, build, place, tag, args) => {
                let (Object::Bytes(build), Object::Bytes(args)) = (build, args) else {
                    return Err(Error::corrupt("a service without arguments"));
                };
                if key != self.key {
                    return Err(Error::invalid_argument("a service for somebody who does not know this server's key"));
                }
                let id = self.store.host(service::open((&build, place), tag, (args, descriptors))?);
                self.store.hold(id)?;
                *self.office.clients[at].counts.entry(id).or_default() += 1;
                Object::from(id)
            }
            Request::Visit(id, tag) => {
                let desk = self.store.service(id)?.desk(tag)?;
                match descriptors.pop().filter(|socket| packet::is_end(socket)) {
                    None => Object::None,
                    Some(socket) => {
                        let client = &mut self.office.clients[at];
                        client.check_descriptors(OF_A_VISIT, self.most_each)?;
                        let (told, descriptors) = self.hall.let_in_to(desk, socket, &client.peer)?;
                        client.descriptors += OF_A_VISIT;
                        return Ok((told, Some(descriptors.into())));
                    }
                }
            }
            Request::Count() => Object::from([self.store.len(), self.office.clients.len()]),
        };
        Ok((answer, None))
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, test_runner::Config};

    use super::*;
    use crate::{
        manager::{
            desk::{Peer, Turn},
            protocol::{Kind, Op, Step, Steps},
            words::{self, Bytes, ROOM},
        },
        os::{clock::Wait, ends::End, executable::Executable, pidfd, pipe},
    };

    const KEY: u64 = 11;

    /// A server without its other thread, and without processes: with one client, whose end of the socket this is.
    fn worker() -> (Worker, End) {
        let (desk, events) = Desk::new().unwrap();
        let mut hall = Hall::new(desk).unwrap();
        hall.instance = 7;
        let hall = Arc::new(hall);
        let (ours, theirs) = End::pair().unwrap();
        hall.desk.tell(Event::Enter(Peer::new(u64::MAX, theirs, None), words::new_line().unwrap()));
        let mut worker = Worker::new(hall, events, KEY, 8);
        assert!(matches!(worker.turn(), Turn::Done));
        assert_eq!(worker.office.clients.len(), 1);
        (worker, ours)
    }

    /// One whose welcome cannot be sent: nothing of it stays, or it would wait for a word on a socket that is open.
    #[test]
    fn nobody_is_half_let_in() {
        let (mut worker, _ours) = worker();
        let doors = worker.hall.doors().len();
        let (ours, theirs) = packet::pair().unwrap();
        drop(theirs);
        let me = pidfd::open(process::id()).unwrap().unwrap();
        assert!(!worker.hall.let_in(ours, me));
        // The gate of its forks is all that is left, until the keeper sees that nobody has its other end.
        assert_eq!(worker.hall.doors().len(), doors + 1);
        while matches!(worker.turn(), Turn::Done) {}
        assert_eq!(worker.office.clients.len(), 1);
    }

    /// Puts bytes in as a request, and reads the answer.
    fn ask(worker: &mut Worker, number: u32, bytes: &[u8]) -> Result<Object> {
        let line = worker.office.clients[0].line.clone();
        words::requests(&line).put(number, Some(bytes));
        worker.turn();
        let mut answer = Vec::new();
        assert_eq!(words::answers(&line).number(), number);
        assert_eq!(words::answers(&line).get(&mut answer).unwrap(), Bytes::InLine);
        protocol::read_answer(Reader::of_answer(&answer, Home::Server(7)))
    }

    fn all(steps: Vec<(u64, Step)>) -> Vec<u8> {
        let mut all = Steps::default();
        for (id, step) in steps {
            all.add(id, &step).unwrap();
        }
        all.end_run().unwrap();
        written(&Request::All(all))
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
        let step = (0_u8..40, vec(value, 3)).prop_map(|(kind, mut values)| {
            let mut next = || values.pop().unwrap_or_default();
            let index = |object: &Object| object.get_as().unwrap_or(0);
            Step::Other(match kind {
                0 => Op::Clear(),
                1 => return Step::Push(next()),
                2 => Op::Push(next()),
                3..=4 => return Step::Insert(next(), next()),
                5 => Op::Set(next(), next()),
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
            })
        });
        let step = (0_u64..4, step);
        prop_oneof![
            6 => vec(step, 1..8).prop_map(all),
            1 => Just(written(&Request::New(Kind::List, Object::List(vec![1.into()])))),
            1 => Just(written(&Request::New(Kind::Dict, Object::Dict(Default::default())))),
            1 => (0_u64..4).prop_map(|id| written(&Request::Attach(id))),
            1 => vec(0_u64..4, 0..3).prop_map(|ids| written(&Request::Release(ids))),
            1 => (0_u64..4).prop_map(|id| written(&Request::Hold(id))),
            1 => Just(written(&Request::Publish("a".into(), "b".into(), Object::None, vec![9]))),
            1 => Just(written(&Request::Unpublish("a".into()))),
            1 => (0_u64..4).prop_map(|id| written(&Request::Visit(id, "tag".into()))),
            1 => any::<(u64, u64)>().prop_map(|(key, place)| {
                written(&Request::Serve(key, Object::bytes([]), place, "tag".into(), Object::bytes([])))
            }),
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
            worker.store.one(ROOT, Op::Clear()).unwrap();
            worker.store.tidy();
            worker.store.collect();
            prop_assert_eq!(worker.store.len(), 1);
        }
    }

    /// Only those have functions called who know the key, and only of this program.
    #[test]
    fn functions_of_strangers() {
        let (mut worker, _socket) = worker();
        let build = Object::bytes(Executable::this().identity());
        let serve = |key, build: &Object, place| {
            written(&Request::Serve(key, build.clone(), place, "tag".into(), Object::bytes([])))
        };
        assert!(matches!(ask(&mut worker, 1, &serve(KEY + 1, &build, 0)), Err(Error::InvalidArgument { .. })));
        let other = ask(&mut worker, 2, &serve(KEY, &Object::bytes(*b"another"), 0));
        assert!(matches!(other, Err(Error::OtherExecutable { .. })));
        assert!(matches!(ask(&mut worker, 3, &serve(KEY, &build, u64::MAX)), Err(Error::Corrupt { .. })));
        assert!(matches!(ask(&mut worker, 4, &serve(KEY, &Object::None, 0)), Err(Error::Corrupt { .. })));
        assert_eq!(ask(&mut worker, 5, &written(&Request::Count())).unwrap(), Object::from([1, 1]));
    }

    /// A length that is none, a packet that never came, a socket that is no socket: the client's loss, and nobody else's.
    #[test]
    fn broken_lines() {
        let (mut worker, socket) = worker();
        let line = worker.office.clients[0].line.clone();
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
        // A long one, of which there is nothing but the length.
        let file = std::fs::File::from(crate::os::files::anonymous().unwrap());
        file.set_len(1 << 40).unwrap();
        pipe::send(&socket, 1 << 7, &written(&Request::Hold(ROOT)), &[file.into()], Wait::No).unwrap();
        words::requests(&line).put(1000, None);
        worker.turn();
        assert_eq!(words::answers(&line).number(), 1000);
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

    /// Who asks for more before it has taken a long answer gets nothing, and nothing is done.
    #[test]
    fn who_does_not_listen_is_not_served() {
        let (mut worker, socket) = worker();
        let line = worker.office.clients[0].line.clone();
        let push = |key: i64, length| Request::One(ROOT, Op::Set(key.into(), Object::bytes(vec![1; length])));
        ask(&mut worker, 1, &written(&push(1, ROOM - 100))).unwrap();
        ask(&mut worker, 2, &written(&push(2, ROOM - 100))).unwrap();
        words::requests(&line).put(3, Some(&written(&Request::One(ROOT, Op::ToObject()))));
        worker.turn();
        assert!(words::answers(&line).is_in_socket());
        assert!(ask(&mut worker, 4, &written(&push(3, 1))).unwrap_err().is_would_block());
        // Nor is a request that waits in the socket taken for the next one.
        pipe::send(&socket, 0, &written(&push(4, ROOM)), &[], Wait::No).unwrap();
        words::requests(&line).put(5, None);
        worker.turn();
        assert!(!words::answers(&line).is_in_socket());
        pipe::receive(&socket, Wait::No, |_, _, _| Ok(())).unwrap();
        assert_eq!(ask(&mut worker, 6, &written(&Request::One(ROOT, Op::Len()))).unwrap(), 2.into());
        pipe::send(&socket, 0, &written(&push(5, ROOM)), &[], Wait::No).unwrap();
        words::requests(&line).put(7, None);
        worker.turn();
        assert_eq!(ask(&mut worker, 8, &written(&Request::One(ROOT, Op::Keys()))).unwrap(), Object::from([1, 2, 5]));
    }

    /// What was done is not lost because there is no room for its answer now.
    #[test]
    fn answers_wait_for_room() {
        let (mut worker, socket) = worker();
        let line = worker.office.clients[0].line.clone();
        let value = Object::bytes(vec![3; ROOM]);
        pipe::send(&socket, 0, &written(&Request::One(ROOT, Op::Set(1.into(), value.clone()))), &[], Wait::No).unwrap();
        words::requests(&line).put(1, None);
        worker.turn();
        let ours = worker.office.clients[0].peer.socket().unwrap();
        let mut in_the_way = 0;
        while pipe::send(&ours, 9, &[0; ROOM], &[], Wait::No).is_ok() {
            in_the_way += 1;
        }
        words::requests(&line).put(2, Some(&written(&Request::One(ROOT, Op::Take(1.into())))));
        worker.turn();
        // It hears no more of this client until then, and goes on looking.
        words::requests(&line).put(3, Some(&written(&Request::Count())));
        for _ in 0..3 {
            worker.turn();
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        assert_eq!(words::answers(&line).number(), 1);
        for _ in 0..in_the_way {
            pipe::receive(&socket, Wait::No, |kind, _, _| Ok(kind)).map(|kind| assert_eq!(kind, 9)).unwrap();
        }
        while words::answers(&line).number() == 1 {
            worker.turn();
        }
        assert!(words::answers(&line).is_in_socket());
        let taken = pipe::receive(&socket, Wait::No, |_, bytes, _| {
            protocol::read_answer(Reader::of_answer(bytes, Home::Nowhere))
        });
        assert_eq!(taken.unwrap(), value);
        worker.turn();
        assert_eq!(words::answers(&line).number(), 3);
        assert!(worker.office.clients[0].descriptors == 0 && matches!(worker.turn(), Turn::Idle));
    }

    /// A name holds what is among its value, whatever becomes of the descriptors that go with it; and takes part in its
    /// client's share no longer than it is there.
    #[test]
    fn names_hold_by_themselves() {
        let (mut worker, socket) = worker();
        let list = ask(&mut worker, 1, &written(&Request::New(Kind::List, Object::List(Vec::new())))).unwrap();
        assert_eq!(list, Object::Proxy(Proxy::of_server(Kind::List, 7, 1)));
        let publish = |name: &str, held| Request::Publish(name.into(), "".into(), Object::bytes([]), held);
        assert!(ask(&mut worker, 2, &written(&publish("none", vec![1, 5]))).is_err());
        for round in 0..20 {
            let files = [(); 3].map(|()| crate::os::files::anonymous().unwrap());
            pipe::send(&socket, 0, &written(&publish("list", vec![1])), &files, Wait::No).unwrap();
            words::requests(&worker.office.clients[0].line).put(3 + 3 * round, None);
            worker.turn();
            ask(&mut worker, 4 + 3 * round, &written(&Request::Release(vec![1]))).unwrap();
            assert_eq!(ask(&mut worker, 5 + 3 * round, &written(&Request::Count())).unwrap(), Object::from([2, 1]));
            if round < 19 {
                ask(&mut worker, 1000 + round, &written(&Request::Attach(1))).unwrap();
            }
            let taken = ask(&mut worker, 2000 + round, &written(&Request::Unpublish("list".into())));
            assert_eq!(taken.unwrap(), true.into());
        }
        assert_eq!(ask(&mut worker, 9999, &written(&Request::Count())).unwrap(), Object::from([1, 1]));
    }

    /// What was done is not an error because its answer is nested deeper than what was asked.
    #[test]
    fn answers_are_deeper_than_requests() {
        let (mut worker, _socket) = worker();
        let deep = (0..128).fold(Object::None, |inner, _| Object::from([inner]));
        ask(&mut worker, 1, &written(&Request::One(ROOT, Op::Set(1.into(), deep.clone())))).unwrap();
        assert_eq!(
            ask(&mut worker, 2, &all(vec![(ROOT, Step::Other(Op::Get(1.into())))])).unwrap(),
            Object::from([&deep])
        );
        let items = Object::from([Object::from([Object::from(1), deep.clone()])]);
        let chunk = ask(&mut worker, 3, &all(vec![(ROOT, Step::Other(Op::Chunk(0, None)))])).unwrap();
        assert_eq!(chunk, Object::from([Object::from([1.into(), Object::None, items.clone()])]));
        assert_eq!(ask(&mut worker, 4, &all(vec![(ROOT, Step::Other(Op::PopItem()))])).unwrap(), items);
    }

    /// Whoever was not told of an object does not hold it.
    #[test]
    fn answers_that_nobody_took_hold_nothing() {
        let (mut worker, socket) = worker();
        let list = ask(&mut worker, 1, &written(&Request::New(Kind::List, Object::List(Vec::new())))).unwrap();
        let contents = Object::from([list, Object::bytes(vec![0; ROOM])]);
        let request = written(&Request::One(ROOT, Op::Set(1.into(), contents)));
        let line = worker.office.clients[0].line.clone();
        pipe::send(&socket, 0, &request, &[], Wait::No).unwrap();
        words::requests(&line).put(2, None);
        worker.turn();
        let mut is_refused = false;
        for number in 3..1000 {
            let before = worker.office.clients[0].counts[&1];
            words::requests(&line).put(number, Some(&written(&Request::One(ROOT, Op::Get(1.into())))));
            worker.turn();
            is_refused = words::answers(&line).get(&mut Vec::new()).unwrap() == Bytes::InLine;
            assert_eq!(worker.office.clients[0].counts[&1], before + u64::from(!is_refused));
            if is_refused {
                break;
            }
        }
        assert!(is_refused);
    }

    /// Its share, so that there are some for others.
    #[test]
    fn one_client_cannot_have_all_descriptors() {
        let (mut worker, socket) = worker();
        let line = worker.office.clients[0].line.clone();
        let ask_with = |worker: &mut Worker, number, request: &Request, descriptors: &[OwnedFd]| {
            pipe::send(&socket, 0, &written(request), descriptors, Wait::No).unwrap();
            words::requests(&line).put(number, None);
            worker.turn();
            let mut answer = Vec::new();
            assert_eq!(words::answers(&line).get(&mut answer).unwrap(), Bytes::InLine);
            protocol::read_answer(Reader::of_answer(&answer, Home::Nowhere))
        };
        let publish = |name: &str| Request::Publish(name.into(), String::new(), Object::bytes([]), Vec::new());
        let files = || [(); 3].map(|()| crate::os::files::anonymous().unwrap());
        ask_with(&mut worker, 1, &publish("a"), &files()).unwrap();
        ask_with(&mut worker, 2, &publish("b"), &files()).unwrap();
        let error = ask_with(&mut worker, 3, &publish("c"), &files()).unwrap_err();
        assert!(matches!(error, Error::InvalidArgument { .. }), "{error}");
        let mut gates = Vec::new();
        for number in 4..6 {
            let (ours, theirs) = packet::pair().unwrap();
            ask_with(&mut worker, number, &Request::Hold(ROOT), &[theirs]).unwrap();
            gates.push(ours);
        }
        let (_ours, theirs) = packet::pair().unwrap();
        let error = ask_with(&mut worker, 6, &Request::Hold(ROOT), &[theirs]).unwrap_err();
        assert!(matches!(error, Error::InvalidArgument { .. }), "{error}");
        // As the other thread tells when a ticket has arrived.
        let client = worker.office.clients[0].peer.number;
        worker.hall.desk.tell(Event::Unhold(Ticket { id: ROOT, client }));
        worker.turn();
        let (_ours, theirs) = packet::pair().unwrap();
        ask_with(&mut worker, 7, &Request::Hold(ROOT), &[theirs]).unwrap();
    }
}
