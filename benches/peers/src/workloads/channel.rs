//! Messages on their way from producers to consumers: a stream, or there and back. Each is checked.

use std::time::Duration;

use crate::{
    peers::{boost, by_hand, crossbeam, iceoryx, ipc_channel, ours, pipes, posix, python, std as std_peer},
    plan::{Case, Subject, Unit, limit, ours as subject, peer},
    sample::{Measured, Outcome, Setup, calibrated},
    team::{self, Kind, Seat},
};

/// Messages that there is room for at most, where that is counted in messages.
const ROOM: usize = 1024;

/// What a channel is to be like.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    /// Bytes of each message.
    pub(crate) size: usize,
    /// Producers, and as many consumers.
    pub(crate) pairs: usize,
}

impl Shape {
    /// Messages that there is to be room for: 1 MiB of them, as in a `Queue` that is not asked for another size.
    pub(crate) fn room(self) -> usize {
        ((1 << 20) / self.size).clamp(16, ROOM)
    }
}

/// Messages of one size, which arrive once and in each producer's order.
pub(crate) trait Channel: Sync + Sized {
    /// Whether it is for the threads of one process only.
    const THREADS: bool = false;

    type Sender<'a>
    where
        Self: 'a;
    type Receiver<'a>
    where
        Self: 'a;

    /// A channel with room for [`Shape::room`] messages, or for what is usual; or why there is none.
    fn new(shape: Shape) -> Result<Self, String>;

    /// A producer's end, in the process that has it.
    fn sender(&self) -> Self::Sender<'_>;

    /// A consumer's end.
    fn receiver(&self) -> Self::Receiver<'_>;

    /// Closes the producer's end that this process has without using it, where that is something.
    fn let_go(&self) {}

    /// Finds the other ends, when all of them are there.
    fn connect_sender(_: &mut Self::Sender<'_>) {}

    /// As [`connect_sender`](Self::connect_sender).
    fn connect_receiver(_: &mut Self::Receiver<'_>) {}

    /// Sends a message, and waits for room.
    fn send(sender: &mut Self::Sender<'_>, message: &[u8]) -> Result<(), String>;

    /// Takes the next message, and waits for one.
    fn receive(receiver: &mut Self::Receiver<'_>, into: &mut [u8]) -> Result<(), String>;
}

/// Writes who it is from and its number into a message, as far as there is room: at its beginning and at its end.
#[inline]
pub(crate) fn number(message: &mut [u8], producer: usize, number: u64) {
    let key = ((producer as u64) << 48 | number).to_le_bytes();
    match message.len() {
        size @ 0..16 => message[..size.min(8)].copy_from_slice(&key[..size.min(8)]),
        size => {
            message[..8].copy_from_slice(&key);
            message[size - 8..].copy_from_slice(&key);
        }
    }
}

/// The producer and the number that a message tells, of which a short one tells only the end.
#[inline]
pub(crate) fn read(message: &[u8]) -> (usize, u64) {
    let word = |bytes: &[u8]| {
        let mut word = [0; 8];
        word[..bytes.len()].copy_from_slice(bytes);
        u64::from_le_bytes(word)
    };
    let key = word(&message[..message.len().min(8)]);
    if message.len() >= 16 {
        assert_eq!(key, word(&message[message.len() - 8..]), "beginning and end of a message do not belong together");
    }
    ((key >> 48) as usize, key & ((1 << 48) - 1))
}

/// What a consumer got.
#[derive(Default)]
struct Got {
    count: u64,
    sum: u64,
    squares: u64,
    /// One after the last number of each producer.
    next: [u64; 16],
}

impl Got {
    #[inline]
    fn add(&mut self, message: &[u8], pairs: usize) {
        let (producer, number) = read(message);
        self.count += 1;
        if message.len() >= 8 {
            assert!(number >= self.next[producer], "number {number} after {}", self.next[producer]);
            self.next[producer] = number + 1;
        } else if pairs == 1 {
            // A byte of the number is all that there is.
            assert_eq!(number, (self.count - 1) & 0xff, "out of order");
        }
        let key = (producer as u64) << 48 | number;
        self.sum = self.sum.wrapping_add(key);
        self.squares = self.squares.wrapping_add(key.wrapping_mul(key));
    }
}

/// As if one consumer had got everything.
fn all(shape: Shape, each: u64) -> Got {
    let mut all = Got::default();
    let mut message = vec![0; shape.size.min(16)];
    for producer in 0..shape.pairs {
        for count in 0..each {
            number(&mut message, producer, count);
            let (producer, number) = read(&message);
            let key = (producer as u64) << 48 | number;
            all.count += 1;
            all.sum = all.sum.wrapping_add(key);
            all.squares = all.squares.wrapping_add(key.wrapping_mul(key));
        }
    }
    all
}

fn stream<C: Channel>(setup: &Setup) -> Measured {
    let shape = Shape { size: setup.size, pairs: setup.processes };
    let channel = C::new(shape)?;
    let mut wrong = None;
    let outcome = calibrated(setup, 64, |messages| {
        let each = messages.div_ceil(shape.pairs as u64).max(16);
        let notes = team::run(2 * shape.pairs, Kind::of(C::THREADS), |seat| {
            if seat.index < shape.pairs {
                produce(&channel, shape, each, seat)
            } else {
                consume(&channel, shape, each, seat)
            }
        });
        let got = |note: usize| notes[shape.pairs..].iter().fold(0_u64, |sum, notes| sum.wrapping_add(notes[note]));
        let all = all(shape, each);
        if [got(2), got(3), got(4)] != [all.count, all.sum, all.squares] {
            wrong = Some(format!("{} messages arrived of {}, or others", got(2), all.count));
        }
        let consumers = || notes[shape.pairs..].iter();
        let begin = consumers().map(|notes| notes[0]).min().unwrap_or(0);
        let end = consumers().map(|notes| notes[1]).max().unwrap_or(0);
        // The first eighth was to warm up; and messages are rounded up.
        let timed = (each - each / 8) * shape.pairs as u64;
        Duration::from_nanos(end - begin).mul_f64(messages as f64 / timed as f64)
    });
    Ok(wrong.map_or(outcome, Outcome::Broken))
}

fn produce<C: Channel>(channel: &C, shape: Shape, count: u64, seat: &Seat<'_>) {
    let mut sender = channel.sender();
    seat.meet();
    C::connect_sender(&mut sender);
    seat.meet();
    let mut message = vec![0; shape.size];
    for n in 0..count {
        number(&mut message, seat.index, n);
        C::send(&mut sender, &message).expect("a way");
    }
    // What was sent last may go with the sender.
    seat.meet();
}

fn consume<C: Channel>(channel: &C, shape: Shape, count: u64, seat: &Seat<'_>) {
    let mut receiver = channel.receiver();
    seat.meet();
    C::connect_receiver(&mut receiver);
    seat.meet();
    let mut message = vec![0; shape.size];
    let mut got = Got::default();
    let mut take = |count| {
        for _ in 0..count {
            C::receive(&mut receiver, &mut message).expect("a message");
            got.add(&message, shape.pairs);
        }
    };
    take(count / 8);
    let begin = team::now();
    take(count - count / 8);
    let end = team::now();
    seat.meet();
    for (which, note) in [begin, end, got.count, got.sum, got.squares].into_iter().enumerate() {
        seat.note(which, note);
    }
}

/// A message goes through one channel, and comes back through another one of the same kind.
fn there_and_back<C: Channel>(setup: &Setup) -> Measured {
    let shape = Shape { size: setup.size, pairs: 1 };
    let channels = [C::new(shape)?, C::new(shape)?];
    Ok(calibrated(setup, 64, |count| {
        let notes = team::run(2, Kind::of(C::THREADS), |seat| {
            let asks = seat.index == 0;
            let (out, into) = if asks { (&channels[0], &channels[1]) } else { (&channels[1], &channels[0]) };
            let (mut sender, mut receiver) = (out.sender(), into.receiver());
            seat.meet();
            C::connect_sender(&mut sender);
            C::connect_receiver(&mut receiver);
            seat.meet();
            let (mut sent, mut got) = (vec![0; shape.size], vec![0; shape.size]);
            let mut exchange = |n| {
                if asks {
                    number(&mut sent, 0, n);
                    C::send(&mut sender, &sent).expect("a way");
                }
                C::receive(&mut receiver, &mut got).expect("a message");
                assert_eq!(read(&got).1, n);
                if !asks {
                    C::send(&mut sender, &got).expect("a way");
                }
            };
            (0..count / 8).for_each(&mut exchange);
            seat.note(0, team::now());
            (count / 8..count).for_each(&mut exchange);
            seat.note(1, team::now());
            seat.meet();
        });
        Duration::from_nanos(notes[0][1] - notes[0][0]).mul_f64(count as f64 / (count - count / 8) as f64)
    }))
}

fn queues() -> Vec<Subject> {
    vec![
        subject("shmkit Queue", stream::<ours::Queue>),
        peer("std sync_channel (threads)", stream::<std_peer::Channel<Vec<u8>>>),
        peer("crossbeam channel (threads)", stream::<crossbeam::Channel<Vec<u8>>>),
        peer("pipe", stream::<pipes::Pipe>),
        peer("Unix socket", stream::<pipes::Socket>),
        peer("POSIX message queue", stream::<posix::MessageQueue>),
        peer("ipc-channel", stream::<ipc_channel::Bytes>),
        peer("iceoryx2", stream::<iceoryx::Slices>),
        peer("Boost message_queue", stream::<boost::MessageQueue>),
        peer("Python Queue", |setup| python::time("queue", setup)).rounds(3),
    ]
}

fn rings() -> Vec<Subject> {
    vec![
        subject("shmkit SpscRing", stream::<ours::SpscRing>),
        subject("shmkit Ring", stream::<ours::Ring>),
        limit("limit: by hand, spinning", stream::<by_hand::Ring>),
        peer("crossbeam ArrayQueue (threads)", stream::<crossbeam::Array>),
        peer("crossbeam channel (threads)", stream::<crossbeam::Channel<[u64; 8]>>),
        peer("std sync_channel (threads)", stream::<std_peer::Channel<[u64; 8]>>),
        peer("iceoryx2", stream::<iceoryx::Slices>),
        peer("Boost spsc_queue", stream::<boost::Spsc>),
    ]
}

fn round_trips() -> Vec<Subject> {
    vec![
        subject("shmkit SpscRing", there_and_back::<ours::SpscRing>),
        subject("shmkit Ring", there_and_back::<ours::Ring>),
        subject("shmkit Queue", there_and_back::<ours::Queue>),
        subject("shmkit pipe", there_and_back::<ours::Pipe>),
        limit("limit: by hand, spinning", there_and_back::<by_hand::Ring>),
        peer("crossbeam ArrayQueue (threads)", there_and_back::<crossbeam::Array>),
        peer("crossbeam channel (threads)", there_and_back::<crossbeam::Channel<[u64; 8]>>),
        peer("std sync_channel (threads)", there_and_back::<std_peer::Channel<[u64; 8]>>),
        peer("pipe", there_and_back::<pipes::Pipe>),
        peer("Unix socket", there_and_back::<pipes::Socket>),
        peer("POSIX message queue", there_and_back::<posix::MessageQueue>),
        peer("ipc-channel", there_and_back::<ipc_channel::Bytes>),
        peer("iceoryx2", there_and_back::<iceoryx::Slices>),
        peer("Boost message_queue", there_and_back::<boost::MessageQueue>),
        peer("Boost spsc_queue", there_and_back::<boost::Spsc>),
        peer("Python Queue", |setup| python::time("there_and_back", setup)).rounds(3),
    ]
}

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (size, name) in [(1, "1 B"), (64, "64 B"), (1 << 10, "1 KiB"), (64 << 10, "64 KiB")] {
        for pairs in [1, 2, 4, 8] {
            // Scaling is shown by messages of 64 bytes.
            if pairs > 2 && size != 64 {
                continue;
            }
            let about = format!("{pairs} producer(s), {pairs} consumer(s), messages of {name}: each");
            let setup = Setup { processes: pairs, size, ..Setup::ONE };
            let id = format!("queue/{name}, {pairs}p{pairs}c");
            let scaling = (size == 64).then_some("queue, 64 B");
            cases.push(Case::new(id, about, Unit::Nanoseconds, setup, queues()).scaling_by(scaling, 2 * pairs));
        }
    }
    for pairs in [1, 2, 4, 8] {
        let about = format!("{pairs} producer(s), {pairs} consumer(s), 64 bytes of plain data: each");
        let setup = Setup { processes: pairs, size: 64, ..Setup::ONE };
        let mut subjects = rings();
        // One producer, one consumer: as it says.
        if pairs > 1 {
            subjects.retain(|subject| {
                !["shmkit SpscRing", "limit: by hand, spinning", "Boost spsc_queue"].contains(&subject.name)
            });
        }
        let id = format!("ring/{pairs}p{pairs}c");
        cases.push(Case::new(id, about, Unit::Nanoseconds, setup, subjects).scaling_by(Some("ring, 64 B"), 2 * pairs));
    }
    cases.push(Case::new(
        "channel/there and back, 64 B".into(),
        "a message there, and back through another channel of the kind".into(),
        Unit::Nanoseconds,
        Setup { processes: 2, size: 64, ..Setup::ONE },
        round_trips(),
    ));
    cases
}
