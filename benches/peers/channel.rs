//! Messages of 64 bytes between two processes, on a core each, against what others use for that. See `README.md`.

#[cfg(boost)]
mod boost;
#[path = "../support/compare.rs"]
mod compare;
#[path = "../support/flow.rs"]
mod flow;
mod iceoryx;
mod python;
#[path = "../support/shared.rs"]
mod shared;
#[path = "../support/spinning_ring.rs"]
mod spinning_ring;
#[path = "../support/workers.rs"]
mod workers;

use std::{
    hint::spin_loop,
    io::{PipeReader, PipeWriter, Read, Write, pipe},
    sync::atomic::{
        AtomicU64,
        Ordering::{Acquire, Release},
    },
};

use compare::{Comparison, Unit};
use flow::{
    Bytes, Message, ROOM, between_processes, each, each_object, few_between_processes, message, messages,
    object_there_and_back, out_and_in, there_and_back,
};
use iceoryx::Iceoryx;
use ipc_channel::ipc;
use shared::Shared;
use shmkit::{Queue, Ring, SpscRing};
use spinning_ring::SpinningRing;

fn main() {
    shmkit::init();
    one_way();
    two_ways();
}

fn one_way() {
    let iceoryx = Iceoryx::new();
    let mut comparison = Comparison::new("one producer, one consumer", Unit::PerMicrosecond)
        .rounds(9)
        .custom("SpscRing", |_| {
            let ring = SpscRing::with_capacity(ROOM).expect("a ring");
            between_processes(|role, count| {
                let (mut producer, mut consumer) = (ring.producer(), ring.consumer());
                let put = |message| producer.push(message).expect("push");
                each(count, put, || consumer.pop().expect("pop"), role);
            })
        })
        .custom("Ring", |_| {
            let ring = Ring::with_capacity(ROOM).expect("a ring");
            between_processes(|role, count| {
                each(count, |message| ring.push(message).expect("push"), || ring.pop().expect("pop"), role);
            })
        })
        .custom("Queue", |_| {
            let queue = Queue::<Bytes>::new().expect("a queue");
            between_processes(|role, count| {
                each_object(count, |bytes| queue.put(bytes).expect("put"), || queue.get().expect("get"), role);
            })
        })
        .custom("iceoryx2", |_| {
            iceoryx.few_between_processes(5, |ports, role, count| {
                each(count, |message| ports.send(message), || ports.receive(), role);
            })
        })
        .custom("ipc-channel", |_| {
            let (sender, receiver) = ipc::channel::<Bytes>().expect("a channel");
            few_between_processes(20, |role, count| {
                let put = |bytes: &Bytes| sender.send(*bytes).expect("send");
                each_object(count, put, || receiver.recv().expect("receive"), role);
            })
        })
        .goal("Queue", 8.0, &["ipc-channel"]);
    #[cfg(boost)]
    {
        comparison = comparison
            .custom("Boost message_queue", |_| {
                let queue = boost::MessageQueue::new();
                few_between_processes(5, |role, count| {
                    each(count, |message| queue.send(&message), || queue.receive(), role);
                })
            })
            .goal("Queue", 3.0, &["Boost message_queue"]);
    }
    if cfg!(not(boost)) {
        println!("left out: Boost, whose headers were not there when this was built");
    }
    if python::is_there() {
        let queue = |_| python::run("python_queue.py", messages().div_ceil(100), &ROOM.to_string());
        comparison = comparison.custom("Python multiprocessing.Queue", queue).goal(
            "Queue",
            20.0,
            &["Python multiprocessing.Queue"],
        );
    }
    comparison.table();
}

fn two_ways() {
    let iceoryx = Iceoryx::new();
    let comparison = Comparison::new("there and back", Unit::Nanoseconds)
        .rounds(9)
        .custom("bare cache line, no message", |_| {
            let numbers = [(); 2].map(|()| Shared::<AtomicU64>::zeroed());
            few_between_processes(10, |role, count| {
                let (out, into) = out_and_in(&numbers, role);
                // From 1 on, for there is a 0 at first. What goes there has to come back: nobody asks ahead.
                let put = |message: Message| out.store(message[0] + 1, Release);
                let mut next = 1;
                let take = || {
                    while into.load(Acquire) != next {
                        spin_loop();
                    }
                    next += 1;
                    message(next - 2)
                };
                there_and_back(count, put, take, role);
            })
        })
        .custom("spinning ring by hand", |_| {
            let rings = [(); 2].map(|()| SpinningRing::shared());
            few_between_processes(20, |role, count| {
                let (out, into) = out_and_in(&rings, role);
                let (mut head, mut tail) = (0, 0);
                there_and_back(count, |message| out.push(message, &mut head), || into.pop(&mut tail), role);
            })
        })
        .custom("SpscRing", |_| {
            let rings = [(); 2].map(|()| SpscRing::with_capacity(ROOM).expect("a ring"));
            few_between_processes(20, |role, count| {
                let (out, into) = out_and_in(&rings, role);
                let (mut producer, mut consumer) = (out.producer(), into.consumer());
                let put = |message| producer.push(message).expect("push");
                there_and_back(count, put, || consumer.pop().expect("pop"), role);
            })
        })
        .custom("Ring", |_| {
            let rings = [(); 2].map(|()| Ring::with_capacity(ROOM).expect("a ring"));
            few_between_processes(20, |role, count| {
                let (out, into) = out_and_in(&rings, role);
                there_and_back(count, |message| out.push(message).expect("push"), || into.pop().expect("pop"), role);
            })
        })
        .custom("Queue", |_| {
            let queues = [(); 2].map(|()| Queue::<Bytes>::new().expect("a queue"));
            few_between_processes(20, |role, count| {
                let (out, into) = out_and_in(&queues, role);
                let put = |bytes: &Bytes| out.put(bytes).expect("put");
                object_there_and_back(count, put, || into.get().expect("get"), role);
            })
        })
        .custom("iceoryx2", |_| {
            iceoryx.few_between_processes(20, |ports, role, count| {
                there_and_back(count, |message| ports.send(message), || ports.receive(), role);
            })
        })
        .custom("pipes", |_| {
            let pipes = [(); 2].map(|()| pipe().expect("a pipe"));
            few_between_processes(400, |role, count| {
                let ((_, out), (into, _)) = out_and_in(&pipes, role);
                there_and_back(count, |message| write(out, message), || read(into), role);
            })
        })
        .custom("ipc-channel", |_| {
            let channels = [(); 2].map(|()| ipc::channel::<Bytes>().expect("a channel"));
            few_between_processes(400, |role, count| {
                let ((out, _), (_, into)) = out_and_in(&channels, role);
                let put = |bytes: &Bytes| out.send(*bytes).expect("send");
                object_there_and_back(count, put, || into.recv().expect("receive"), role);
            })
        })
        .goal("SpscRing", 4.0, &["bare cache line, no message"])
        .goal("Ring", 4.0, &["bare cache line, no message"]);
    #[cfg(boost)]
    let comparison = comparison.custom("Boost message_queue", |_| {
        let queues = [(); 2].map(|()| boost::MessageQueue::new());
        few_between_processes(400, |role, count| {
            let (out, into) = out_and_in(&queues, role);
            there_and_back(count, |message| out.send(&message), || into.receive(), role);
        })
    });
    comparison.table();
}

fn write(mut into: &PipeWriter, message: Message) {
    into.write_all(bytemuck::bytes_of(&message)).expect("write");
}

fn read(mut from: &PipeReader) -> Message {
    let mut place = message(0);
    from.read_exact(bytemuck::bytes_of_mut(&mut place)).expect("read");
    place
}
