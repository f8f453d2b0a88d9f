//! Ten processes take turns with one lock: at the standard output, and with a number that each of them reads and writes.
//!
//! ```text
//! cargo run --example lock
//! ```
//!
//! prints a line for each process, none of them torn, in the order in which they got the lock (here sorted), and then
//! the sum:
//!
//! ```text
//! hello from process 0
//! ...
//! hello from process 9
//! while the lock is held: would block, and after 50 ms: timed out
//! counted: 10000
//! ```

use std::{
    io::{self, Write},
    sync::atomic::Ordering::Relaxed,
    time::Duration,
};

use shmkit::{AtomicValue, Lock, Process, Result};

fn hello(lock: Lock, count: AtomicValue<u64>, number: u32) -> io::Result<()> {
    {
        let _held = lock.lock().map_err(io::Error::other)?;
        let mut out = io::stdout();
        // In pieces, between which the others could write, if they were not waiting for the lock.
        for piece in ["hello ", "from ", "process ", &number.to_string(), "\n"] {
            out.write_all(piece.as_bytes())?;
            out.flush()?;
        }
    }
    for _ in 0..1000 {
        let _held = lock.lock().map_err(io::Error::other)?;
        // Two steps, which only the lock makes one.
        count.store(count.load(Relaxed) + 1, Relaxed);
    }
    Ok(())
}

/// What somebody sees who wants the lock while another process holds it.
fn knock(lock: Lock) -> String {
    let at_once = lock.try_lock().map(drop).unwrap_err();
    let later = lock.lock_timeout(Duration::from_millis(50)).map(drop).unwrap_err();
    format!("{at_once}, and after 50 ms: {later}")
}

fn main() -> Result<()> {
    shmkit::init();
    let lock = Lock::new()?;
    let count = AtomicValue::new(0)?;

    let greeters = (0..10)
        .map(|number| Process::spawn(hello, (lock.clone(), count.clone(), number)))
        .collect::<Result<Vec<_>>>()?;
    for greeter in greeters {
        greeter.join()?;
    }

    let held = lock.lock()?;
    let seen = Process::spawn(knock, (lock.clone(),))?.join()?;
    drop(held);
    println!("while the lock is held: {seen}");
    println!("counted: {}", count.load(Relaxed));
    Ok(())
}
