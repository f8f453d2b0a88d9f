//! A worker that counts primes, and beside it a monitor, a daemon, that tells how far it has come. Their parent ends in the
//! middle of the work, once normally and once because it is killed.
//!
//! ```text
//! cargo run --example daemon
//! ```
//!
//! prints, with the monitor's lines between these (to the standard error),
//!
//! ```text
//! the parent returns
//! the monitor has ended, the parent waits for the worker
//! the parent has ended: 1229 primes below 10000
//! the parent is killed
//! the monitor has died with it, the worker goes on
//! the worker has ended, and nobody has waited: 1229 primes below 10000
//! ```

use std::{
    sync::atomic::Ordering::{Acquire, Relaxed, Release},
    thread,
    time::Duration,
};

use shmkit::{
    AtomicValue, Error, Process, Result,
    pipe::{self, Receiver, Sender},
};

const BELOW: u32 = 10_000;

/// What the worker has looked at and found, so far.
#[derive(Clone, serde::Serialize, serde::Deserialize)]
struct Work {
    seen: AtomicValue<u32>,
    primes: AtomicValue<u32>,
}

/// Its end of a connection, which a process keeps for as long as it lives: so the other end tells when it is gone.
type Alive = Sender<()>;

fn worker(work: Work, _alive: Alive) {
    for n in 0..BELOW {
        if n > 1 && (2..).take_while(|d| d * d <= n).all(|d| n % d != 0) {
            work.primes.fetch_add(1, Relaxed);
        }
        work.seen.store(n + 1, Release);
        if n % 50 == 0 {
            // Slowly, to be watched.
            thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Never returns: it ends when it is asked to, or when its parent is gone.
fn monitor(work: Work, _alive: Alive) {
    loop {
        eprintln!("monitor: {} of {BELOW}", work.seen.load(Acquire));
        thread::sleep(Duration::from_millis(50));
    }
}

/// Starts both, and returns when half of the work is done, or waits to be killed.
fn parent(returns: bool, work: Work, of_worker: Alive, of_monitor: Alive) -> Result<()> {
    let _worker = Process::spawn(worker, (work.clone(), of_worker))?;
    let _monitor = Process::builder(monitor).args((work.clone(), of_monitor)).daemon(true).start()?;
    while work.seen.load(Acquire) < BELOW / 2 || !returns {
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Waits until the process that has the other end is gone.
fn wait_for_end(alive: &Receiver<()>) {
    assert!(matches!(alive.recv(), Err(Error::Closed)));
}

fn main() -> Result<()> {
    shmkit::init();
    for returns in [true, false] {
        let work = Work { seen: AtomicValue::new(0)?, primes: AtomicValue::new(0)? };
        let (of_worker, worker) = pipe::simplex()?;
        let (of_monitor, monitor) = pipe::simplex()?;
        let parent = Process::spawn(parent, (returns, work.clone(), of_worker, of_monitor))?;
        let found = || format!("{} primes below {BELOW}", work.primes.load(Relaxed));
        if returns {
            println!("the parent returns");
            wait_for_end(&monitor);
            println!("the monitor has ended, the parent waits for the worker");
            parent.join()?;
            println!("the parent has ended: {}", found());
        } else {
            while work.seen.load(Acquire) < BELOW / 2 {
                thread::sleep(Duration::from_millis(1));
            }
            println!("the parent is killed");
            parent.kill()?;
            wait_for_end(&monitor);
            println!("the monitor has died with it, the worker goes on");
            wait_for_end(&worker);
            println!("the worker has ended, and nobody has waited: {}", found());
        }
    }
    Ok(())
}
