//! Operations on objects of a manager's server, beside a bare round trip over a Unix socket. See `benches/README.md`.

#[path = "support/compare.rs"]
mod compare;

use std::{
    io::{Read, Write},
    os::{fd::OwnedFd, unix::net::UnixStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::Instant,
};

use compare::{Comparison, Run, Unit, criterion};
use shmkit::{
    Manager, Process,
    manager::{Dict, Object},
    pipe::Fd,
};

shmkit::service! {
    trait Counter as CounterProxy {
        fn add(&mut self, by: u64) -> u64;
    }
}

impl Counter for u64 {
    fn add(&mut self, by: u64) -> u64 {
        *self += by;
        *self
    }
}

/// As long as a request to get a value, and its answer.
const BYTES: usize = 16;
const BATCH: u64 = 100;
/// So many make a run that is as long as those of single operations.
const ROUNDS: u64 = 1000;

fn main() {
    shmkit::init();
    let mut criterion = criterion();
    let manager = Manager::start().expect("a manager");
    let dict = manager.dict_from((0..1000).map(|n| (format!("key {n}"), n))).expect("a dict");
    let counter: CounterProxy = manager.serve(|| 0, ()).expect("a service");
    let keys: Vec<_> = (0..BATCH).map(|n| format!("key {n}")).collect();
    let mut socket = echo();

    Comparison::new("a manager, one client", Unit::Microseconds)
        .time("Dict::get", || dict.get("key 7").expect("a value"))
        .time("Dict::insert", || dict.insert("key 7", 8).expect("an insertion"))
        .time("Dict::fetch_add", || dict.fetch_add("key 9", 1).expect("a number"))
        .time("a service's method", || counter.add(1).expect("a number"))
        .custom("batch of 100 insertions, each", |operations| batches(&manager, &dict, operations, |n| n))
        .custom("batch of 100 insertions by text, each", |operations| {
            batches(&manager, &dict, operations, |n| keys[n as usize].as_str())
        })
        .custom("update of 100 items, each", |operations| updates(&dict, operations))
        .time("Unix socket, there and back", || there_and_back(&mut socket))
        .goal("Dict::get", 1.0, &["Unix socket, there and back"])
        .goal("a service's method", 1.0, &["Unix socket, there and back"])
        // 30 times Python's 15,000 a second.
        .goal_alone("Dict::get", 1e6 / 450_000.0)
        .goal_alone("Dict::insert", 1e6 / 450_000.0)
        .goal("batch of 100 insertions, each", 0.1, &["Dict::insert"])
        .criterion(&mut criterion)
        .table();

    let busy = Busy::on_all_cores();
    Comparison::new("a manager, one client, all cores busy", Unit::Microseconds)
        .time("Dict::get", || dict.get("key 7").expect("a value"))
        .time("Dict::insert", || dict.insert("key 7", 8).expect("an insertion"))
        .time("a service's method", || counter.add(1).expect("a number"))
        .time("Unix socket, there and back", || there_and_back(&mut socket))
        .goal("Dict::get", 1.0, &["Unix socket, there and back"])
        .goal("Dict::insert", 1.0, &["Unix socket, there and back"])
        .goal("a service's method", 1.0, &["Unix socket, there and back"])
        .table();
    drop(busy);
    criterion.final_summary();
}

fn batches<K: Into<Object>>(manager: &Manager, dict: &Dict, operations: u64, key: impl Fn(u64) -> K) -> Run {
    let start = Instant::now();
    let rounds = operations.div_ceil(BATCH).max(ROUNDS);
    for _ in 0..rounds {
        let batch = (0..BATCH).fold(manager.batch(), |batch, n| batch.insert(dict, key(n), n));
        batch.run().expect("a batch");
    }
    Run { operations: rounds * BATCH, time: start.elapsed(), note: 0.0 }
}

fn updates(dict: &Dict, operations: u64) -> Run {
    let start = Instant::now();
    let rounds = operations.div_ceil(BATCH).max(ROUNDS);
    for _ in 0..rounds {
        dict.update((0..BATCH).map(|n| (n, n))).expect("an update");
    }
    Run { operations: rounds * BATCH, time: start.elapsed(), note: 0.0 }
}

/// Threads that never sleep, one for each core.
struct Busy(Arc<AtomicBool>, Vec<thread::JoinHandle<()>>);

impl Busy {
    fn on_all_cores() -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let spin = |is_over: Arc<AtomicBool>| move || while !is_over.load(Relaxed) {};
        let threads = (0..shmkit::process::cpu_count()).map(|_| thread::spawn(spin(Arc::clone(&is_over)))).collect();
        Self(is_over, threads)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
        self.1.drain(..).for_each(|thread| thread.join().expect("a thread"));
    }
}

fn answer(socket: Fd) {
    let mut socket = UnixStream::from(OwnedFd::from(socket));
    let mut bytes = [0; BYTES];
    while socket.read_exact(&mut bytes).is_ok() && socket.write_all(&bytes).is_ok() {}
}

/// A process that sends back what it gets, until this one is gone.
fn echo() -> UnixStream {
    let (ours, theirs) = UnixStream::pair().expect("a socket");
    let args = (Fd::from(OwnedFd::from(theirs)),);
    drop(Process::builder(answer).args(args).daemon(true).start().expect("a process"));
    ours
}

fn there_and_back(socket: &mut UnixStream) -> u8 {
    let mut bytes = [7; BYTES];
    socket.write_all(&bytes).expect("write");
    socket.read_exact(&mut bytes).expect("read");
    bytes[0]
}
