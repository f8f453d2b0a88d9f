//! One of two programs that share an array and did not start each other: this one writes it, `named_reader` reads it.
//!
//! Run both at the same time, in two terminals, in either order:
//!
//! ```text
//! cargo run --example named_writer
//! cargo run --example named_reader
//! ```
//!
//! This one prints
//!
//! ```text
//! wrote 1000 temperatures
//! the reader has them
//! ```
//!
//! Both take another name as an argument. Each waits for the other for 30 seconds, and then says that nobody came.

use std::{
    env,
    sync::atomic::Ordering::{Acquire, Release},
    thread,
    time::{Duration, Instant},
};

use shmkit::{Array, AtomicValue, Error, Region, Result};

/// What the flag says: the array is complete.
const READY: u32 = 1;
/// What the flag says: the reader has copied it.
const READ: u32 = 2;

fn main() -> Result<()> {
    let name = env::args().nth(1).unwrap_or_else(|| "shmkit-example-ocean".into());
    // An error if the name is taken: by another writer, or by one that was killed and so could not unlink it
    // (`rm /dev/shm/shmkit-example-ocean`).
    let region = Region::create(&name, 1 << 20)?;
    let outcome = write(&region);
    // Whoever has it open keeps it.
    Region::unlink(&name)?;
    outcome
}

fn write(region: &Region) -> Result<()> {
    let temperatures = Array::<f64>::zeros_in(region, "temperatures", 1000)?;
    for (i, temperature) in temperatures.lock()?.iter_mut().enumerate() {
        *temperature = 4.0 + i as f64 / 100.0;
    }
    // Last, since the reader takes its being there for a sign that the array is, too.
    let flag = AtomicValue::new_in(region, "flag", 0_u32)?;
    flag.store(READY, Release);
    println!("wrote {} temperatures", temperatures.len());

    let deadline = Instant::now() + Duration::from_secs(30);
    while flag.load(Acquire) != READ {
        if Instant::now() > deadline {
            return Err(Error::TimedOut);
        }
        thread::sleep(Duration::from_millis(1));
    }
    println!("the reader has them");
    Ok(())
}
