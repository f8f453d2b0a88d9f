//! Messages of 64 bytes from one process to another, on a core each. See `benches/README.md`.

#[path = "support/compare.rs"]
mod compare;
#[path = "support/flow.rs"]
mod flow;
#[path = "support/shared.rs"]
mod shared;
#[path = "support/spinning_ring.rs"]
mod spinning_ring;
#[path = "support/workers.rs"]
mod workers;

use std::{
    hint::spin_loop,
    io::{Read, Write, pipe},
    sync::atomic::{
        AtomicU64,
        Ordering::{Acquire, Release},
    },
};

use compare::{Comparison, Unit, in_earnest};
use crossbeam_queue::ArrayQueue;
use flow::{
    Bytes, Message, ROOM, Role, between_processes, between_threads, check, each, each_object, message, out_and_in,
    there_and_back,
};
use shared::Shared;
use shmkit::{Consumer, Producer, Queue, Ring, SpscRing};
use spinning_ring::SpinningRing;

/// Messages that go in and out at a time, where many may.
const BATCH: usize = 32;

fn main() {
    shmkit::init();
    one_to_one();
    for pairs in [1, 4] {
        round_trip(pairs);
    }
}

fn one_to_one() {
    Comparison::new("one producer, one consumer", Unit::PerMicrosecond)
        .rounds(9)
        .custom("SpscRing", |_| {
            let ring = SpscRing::with_capacity(ROOM).expect("a ring");
            between_processes(|role, count| {
                let (mut producer, mut consumer) = (ring.producer(), ring.consumer());
                let put = |message| producer.push(message).expect("push");
                each(count, put, || consumer.pop().expect("pop"), role);
            })
        })
        .custom("SpscRing, batches of 32", |_| {
            let ring = SpscRing::with_capacity(ROOM).expect("a ring");
            between_processes(|role, count| {
                let (mut producer, mut consumer) = (ring.producer(), ring.consumer());
                in_batches(
                    &mut |some| put_some(&mut producer, some),
                    &mut |some| take_some(&mut consumer, some),
                    role,
                    count,
                );
            })
        })
        .custom("spinning ring by hand", |_| {
            let ring = SpinningRing::shared();
            between_processes(|role, count| {
                let (mut head, mut tail) = (0, 0);
                each(count, |message| ring.push(message, &mut head), || ring.pop(&mut tail), role);
            })
        })
        .custom("Ring", |_| {
            let ring = Ring::with_capacity(ROOM).expect("a ring");
            between_processes(|role, count| {
                each(count, |message| ring.push(message).expect("push"), || ring.pop().expect("pop"), role);
            })
        })
        .custom("Ring, batches of 32", |_| {
            let ring = Ring::with_capacity(ROOM).expect("a ring");
            between_processes(|role, count| {
                let put = &mut |some: &[Message]| ring.push_slice(some).expect("push");
                in_batches(put, &mut |some| ring.pop_slice(some).expect("pop"), role, count);
            })
        })
        .custom("Queue", |_| {
            let queue = Queue::<Bytes>::new().expect("a queue");
            between_processes(|role, count| {
                each_object(count, |bytes| queue.put(bytes).expect("put"), || queue.get().expect("get"), role);
            })
        })
        .custom("crossbeam ArrayQueue, threads", |_| {
            let queue = ArrayQueue::new(ROOM);
            between_threads(|role, count| {
                let put = |message| {
                    while queue.push(message).is_err() {
                        spin_loop();
                    }
                };
                let take = || {
                    loop {
                        match queue.pop() {
                            Some(message) => return message,
                            None => spin_loop(),
                        }
                    }
                };
                each(count, put, take, role);
            })
        })
        .custom("crossbeam channel, threads", |_| {
            let (sender, receiver) = crossbeam_channel::bounded(ROOM);
            between_threads(|role, count| {
                let put = |message| sender.send(message).expect("send");
                each(count, put, || receiver.recv().expect("receive"), role);
            })
        })
        .custom("pipe", |_| {
            let (reader, writer) = pipe().expect("a pipe");
            between_processes(|role, count| {
                let (mut reader, mut writer) = (&reader, &writer);
                let put = |message: Message| writer.write_all(bytemuck::bytes_of(&message)).expect("write");
                let take = || {
                    let mut message = message(0);
                    reader.read_exact(bytemuck::bytes_of_mut(&mut message)).expect("read");
                    message
                };
                each(count, put, take, role);
            })
        })
        .goal("SpscRing", 0.9, &["spinning ring by hand"])
        .goal("SpscRing", 1.0, &["crossbeam channel, threads"])
        .goal("SpscRing, batches of 32", 3.0, &["crossbeam channel, threads"])
        .goal("Queue", 4.0, &["pipe"])
        .goal("Ring", 1.0, &["crossbeam ArrayQueue, threads"])
        .table();
}

/// Messages there and back between two processes, in one pair with a core for each, or in four pairs on all cores.
fn round_trip(pairs: usize) {
    let count = match (in_earnest(), pairs) {
        (false, _) => 20,
        (true, 1) => 100_000,
        (true, _) => 10_000,
    };
    let title = if pairs == 1 { "there and back, two" } else { "there and back, eight in four pairs" };
    let mut table = Comparison::new(title, Unit::Microseconds).rounds(9);
    if pairs == 1 {
        table = table.custom("a cache line", move |_| {
            let line = Shared::<AtomicU64>::zeroed();
            flow::round_trips(pairs, count, |_, role, count| {
                for turn in (u64::from(role == Role::Producer)..2 * count).step_by(2) {
                    while line.load(Acquire) != turn {
                        spin_loop();
                    }
                    line.store(turn + 1, Release);
                }
            })
        });
        table = table.custom("spinning ring by hand", move |_| {
            let rings = [(); 2].map(|()| SpinningRing::shared());
            flow::round_trips(pairs, count, |_, role, count| {
                let (to, from) = out_and_in(&rings, role);
                let (mut head, mut tail) = (0, 0);
                there_and_back(count, |message| to.push(message, &mut head), || from.pop(&mut tail), role);
            })
        });
    }
    let table = table
        .custom("SpscRing", move |_| {
            let rings: Vec<_> =
                (0..pairs).map(|_| [(); 2].map(|()| SpscRing::with_capacity(16).expect("a ring"))).collect();
            flow::round_trips(pairs, count, |pair, role, count| {
                let (to, from) = out_and_in(&rings[pair], role);
                let (mut producer, mut consumer) = (to.producer(), from.consumer());
                let put = |message| producer.push(message).expect("push");
                there_and_back(count, put, || consumer.pop().expect("pop"), role);
            })
        })
        .custom("Ring", move |_| {
            let rings: Vec<_> =
                (0..pairs).map(|_| [(); 2].map(|()| Ring::with_capacity(16).expect("a ring"))).collect();
            flow::round_trips(pairs, count, |pair, role, count| {
                let (to, from) = out_and_in(&rings[pair], role);
                there_and_back(count, |message| to.push(message).expect("push"), || from.pop().expect("pop"), role);
            })
        })
        .custom("Queue", move |_| {
            let queues: Vec<_> = (0..pairs).map(|_| [(); 2].map(|()| Queue::new().expect("a queue"))).collect();
            flow::round_trips(pairs, count, |pair, role, count| {
                let (to, from) = out_and_in(&queues[pair], role);
                there_and_back(count, |message| to.put(&message).expect("put"), || from.get().expect("get"), role);
            })
        })
        .custom("pipe", move |_| {
            let pipes: Vec<_> = (0..pairs).map(|_| [(); 2].map(|()| pipe().expect("a pipe"))).collect();
            flow::round_trips(pairs, count, |pair, role, count| {
                let (out, back) = out_and_in(&pipes[pair], role);
                let (mut to, mut from) = (&out.1, &back.0);
                let put = |message: Message| to.write_all(bytemuck::bytes_of(&message)).expect("write");
                let take = || {
                    let mut message = message(0);
                    from.read_exact(bytemuck::bytes_of_mut(&mut message)).expect("read");
                    message
                };
                there_and_back(count, put, take, role);
            })
        });
    let (bound, peer) = if pairs == 1 { (4.0, "a cache line") } else { (1.0, "pipe") };
    table.goal("Ring", bound, &[peer]).goal("SpscRing", bound, &[peer]).goal("Queue", 1.0, &["pipe"]).table();
}

fn put_some(producer: &mut Producer<Message>, some: &[Message]) -> usize {
    producer.push_slice(some).expect("push")
}

fn take_some(consumer: &mut Consumer<Message>, some: &mut [Message]) -> usize {
    consumer.pop_slice(some).expect("pop")
}

/// Many at a time: `put` and `take` say how many it were.
fn in_batches(
    put: &mut dyn FnMut(&[Message]) -> usize,
    take: &mut dyn FnMut(&mut [Message]) -> usize,
    role: Role,
    count: u64,
) {
    let mut batch = [message(0); BATCH];
    let mut done = 0;
    while done < count {
        let left = BATCH.min((count - done) as usize);
        match role {
            Role::Producer => {
                (done..).zip(&mut batch[..left]).for_each(|(number, place)| *place = message(number));
                let mut rest = &batch[..left];
                while !rest.is_empty() {
                    rest = &rest[put(rest)..];
                }
                done += left as u64;
            }
            Role::Consumer => {
                let taken = take(&mut batch[..left]);
                (done..).zip(&batch[..taken]).for_each(|(number, message)| check(message, number));
                done += taken as u64;
            }
        }
    }
}
