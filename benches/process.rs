//! Starting a process and waiting for its end. See `benches/README.md`.

#![expect(unsafe_code, reason = "forks, as the peer")]

#[path = "support/compare.rs"]
mod compare;

use std::{
    env,
    hint::black_box,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use compare::{Comparison, Run, Unit, criterion, in_earnest};
use criterion::Criterion;
use serde::{Deserialize, Serialize};
use shmkit::{Error, Process, Queue, StartMethod, Value};

/// Set for the peer of `Process::spawn`: this program, when it does nothing.
const IDLE: &str = "SHMKIT_BENCH_IDLE";

fn main() {
    if env::var_os(IDLE).is_some() {
        return;
    }
    shmkit::init();
    let mut criterion = criterion();
    spawn(&mut criterion);
    fork(&mut criterion);
    forkserver(&mut criterion);
    criterion.final_summary();
}

fn nothing() {}

fn add(total: Value<u64>, by: u64) -> shmkit::Result<u64> {
    total.update(|x| x + by)
}

fn spawn(criterion: &mut Criterion) {
    let total = Value::new(0_u64).expect("a value");
    Comparison::new("spawn and join", Unit::Microseconds)
        .rounds(21)
        .time("Process::spawn", || Process::spawn(nothing, ()).expect("a child").join().expect("its end"))
        .time("Process::spawn, with a value", || {
            Process::spawn(add, (total.clone(), 1)).expect("a child").join().expect("its end");
        })
        .time("Command, this program, idle", || {
            let program = env::current_exe().expect("a program");
            assert!(Command::new(program).env(IDLE, "1").status().expect("a child").success());
        })
        .time("Command, /bin/true", || {
            assert!(Command::new("/bin/true").status().expect("a child").success());
        })
        .time("Command, /bin/true, with pipes", || {
            let mut command = Command::new("/bin/true");
            assert!(command.stdin(Stdio::null()).output().expect("a child").status.success());
        })
        .goal("Process::spawn", 1.5, &["Command, this program, idle"])
        .criterion(criterion)
        .table();
}

fn fork(criterion: &mut Criterion) {
    Comparison::new("fork and join", Unit::Microseconds)
        .rounds(21)
        .time("Process::fork", || Process::fork(|| ()).expect("a child").join().expect("its end"))
        .time("fork, _exit, waitpid", bare_fork)
        .goal("Process::fork", 2.0, &["fork, _exit, waitpid"])
        .criterion(criterion)
        .table();
}

fn start_and_join() {
    let builder = Process::builder(nothing).start_method(StartMethod::ForkServer);
    builder.start().expect("a child").join().expect("its end");
}

fn forkserver(criterion: &mut Criterion) {
    Comparison::new("fork server, start and join", Unit::Microseconds)
        .rounds(21)
        .time("ForkServer", start_and_join)
        .time("Process::spawn", || Process::spawn(nothing, ()).expect("a child").join().expect("its end"))
        .time("fork, _exit, waitpid", bare_fork)
        .goal("ForkServer", 2.5, &["fork, _exit, waitpid"])
        .criterion(criterion)
        .table();

    let large = if in_earnest() { 1 << 30 } else { 1 << 20 };
    let [little, much] = [0, large].map(Parent::new);
    Comparison::new("fork server, start and join, by the memory of the parent", Unit::Microseconds)
        .rounds(21)
        .custom("ForkServer", |n| little.run(Work::Server, n))
        .custom("ForkServer, 1 GiB resident", |n| much.run(Work::Server, n))
        .custom("fork, _exit, waitpid", |n| little.run(Work::Fork, n))
        .custom("fork, _exit, waitpid, 1 GiB", |n| much.run(Work::Fork, n))
        .goal("ForkServer, 1 GiB resident", 1.2, &["ForkServer"])
        .table();
}

#[derive(Serialize, Deserialize)]
enum Work {
    Server,
    Fork,
}

/// A process that has some memory, and starts others.
struct Parent {
    process: Process<()>,
    orders: Queue<(Work, u64)>,
    times: Queue<Duration>,
}

impl Parent {
    fn new(resident: usize) -> Self {
        let (orders, times) = (Queue::new().expect("a queue"), Queue::new().expect("a queue"));
        let process = Process::spawn(Self::live, (resident, orders.clone(), times.clone())).expect("a child");
        Self { process, orders, times }
    }

    fn live(resident: usize, orders: Queue<(Work, u64)>, times: Queue<Duration>) -> shmkit::Result<()> {
        let memory = black_box(vec![1_u8; resident]);
        loop {
            let (work, operations) = match orders.get() {
                Err(Error::Closed) => break,
                other => other?,
            };
            let start = Instant::now();
            for _ in 0..operations {
                match work {
                    Work::Server => start_and_join(),
                    Work::Fork => bare_fork(),
                }
            }
            times.put(&start.elapsed())?;
        }
        drop(memory);
        Ok(())
    }

    fn run(&self, work: Work, operations: u64) -> Run {
        self.orders.put(&(work, operations)).expect("a parent");
        Run { operations, time: self.times.get().expect("a time"), note: 0.0 }
    }
}

impl Drop for Parent {
    fn drop(&mut self) {
        self.orders.close();
        self.process.join().expect("its end");
    }
}

fn bare_fork() {
    // SAFETY: there is one thread, and the child only leaves.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        // SAFETY: ends the child.
        unsafe { libc::_exit(0) };
    }
    let mut status = 0;
    // SAFETY: a child of this process, waited for once.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    assert_eq!(status, 0);
}
