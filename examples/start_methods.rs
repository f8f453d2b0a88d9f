//! What a process costs, by each start method: the first one and those after it, with little memory and with much.
//!
//! ```text
//! cargo run --release --example start_methods              # with 512 MiB
//! cargo run --release --example start_methods -- 64        # with 64 MiB
//! ```
//!
//! prints a table of microseconds from the start of a process that does nothing to its end. A fresh start (`Spawn`) costs the
//! same whatever the parent has. A fork copies the tables of the parent's memory, and a copy of the fork server only those of
//! the server, which the first start has to start.

use std::{
    env,
    hint::black_box,
    time::{Duration, Instant},
};

use shmkit::{
    Process, Result,
    process::{StartMethod, all_start_methods},
};

/// Starts whose median is told.
const STARTS: usize = 50;

fn start_and_join(method: StartMethod) -> Result<Duration> {
    let start = Instant::now();
    Process::builder(|| ()).start_method(method).start()?.join()?;
    Ok(start.elapsed())
}

/// The first start of a process, and the median of those after it. Of a process with this many MiB, which has no server yet.
fn measure(method: StartMethod, memory: usize) -> Result<(Duration, Duration)> {
    let memory = black_box(vec![1_u8; memory << 20]);
    let first = start_and_join(method)?;
    let mut others = (0..STARTS).map(|_| start_and_join(method)).collect::<Result<Vec<_>>>()?;
    others.sort_unstable();
    drop(memory);
    Ok((first, others[STARTS / 2]))
}

fn main() -> Result<()> {
    shmkit::init();
    let much = env::args().nth(1).and_then(|word| word.parse().ok()).unwrap_or(512);

    println!("{:12} {:>9} {:>9} {:>9}", "microseconds", "memory", "first", "others");
    for method in all_start_methods() {
        for memory in [1, much] {
            // In a process of its own, by a fork of this one, which has little memory and no other threads.
            let (first, others) = Process::fork(|| measure(method, memory))?.join()?;
            let (first, others) = (first.as_micros(), others.as_micros());
            println!("{:12} {memory:5} MiB {first:9} {others:9}", format!("{method:?}"));
        }
    }
    println!("{} processes have started and ended", all_start_methods().len() * 2 * (STARTS + 2));
    Ok(())
}
