//! A process is killed while it holds a lock, with the data half changed. The next one to lock is told who died, repairs
//! the data, and everybody goes on.
//!
//! ```text
//! cargo run --example kill_recovery
//! ```
//!
//! prints
//!
//! ```text
//! before: 100 + 0
//! killed in the middle: the accounts are poisoned by the killed process
//! found: 60 + 0, which is 40 too few
//! repaired: 100 + 0
//! a transfer by a new process: 60 + 40
//! ```

use std::{
    sync::atomic::Ordering::{Acquire, Release},
    thread,
    time::{Duration, Instant},
};

use shmkit::{Array, AtomicValue, Error, Process, Result};

/// There is always this much money in the two accounts together, but for the middle of a transfer.
const TOTAL: i64 = 100;

/// Moves money from the first account to the second; stops half-way if told to.
fn transfer(accounts: Array<i64>, amount: i64, half_way: Option<AtomicValue<bool>>) -> Result<()> {
    let mut accounts = accounts.lock()?;
    accounts[0] -= amount;
    if let Some(half_way) = half_way {
        half_way.store(true, Release);
        loop {
            thread::park();
        }
    }
    accounts[1] += amount;
    Ok(())
}

fn main() -> Result<()> {
    shmkit::init();
    let accounts = Array::from_slice(&[TOTAL, 0])?;
    println!("before: {}", show(&accounts.to_vec()?));

    let half_way = AtomicValue::new(false)?;
    let victim = Process::spawn(transfer, (accounts.clone(), 40, Some(half_way.clone())))?;
    let deadline = Instant::now() + Duration::from_secs(30);
    while !half_way.load(Acquire) {
        if Instant::now() > deadline {
            return Err(Error::TimedOut);
        }
        thread::sleep(Duration::from_millis(1));
    }
    victim.kill()?;

    // Waits while the victim lives, and no longer. The lock is not held afterwards.
    match accounts.lock() {
        Err(Error::Poisoned { pid, .. }) if pid == Some(victim.pid()) => {
            println!("killed in the middle: the accounts are poisoned by the killed process");
        }
        other => panic!("expected poison by process {}, got {other:?}", victim.pid()),
    }

    // Takes the lock all the same. Of two who do, the second finds no poison any more, and leaves the data alone.
    let mut guard = accounts.recover()?;
    if guard.poison().is_some() {
        let missing = TOTAL - guard.iter().sum::<i64>();
        println!("found: {}, which is {missing} too few", show(&guard));
        guard[0] += missing;
        guard.clear_poison();
    }
    println!("repaired: {}", show(&guard));
    drop(guard);

    Process::spawn(transfer, (accounts.clone(), 40, None::<AtomicValue<bool>>))?.join()?;
    println!("a transfer by a new process: {}", show(&accounts.to_vec()?));
    Ok(())
}

fn show(accounts: &[i64]) -> String {
    format!("{} + {}", accounts[0], accounts[1])
}
