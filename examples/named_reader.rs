//! One of two programs that share an array and did not start each other: this one reads what `named_writer` writes.
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
//! read 1000 temperatures, from 4 to 13.99, mean 8.995
//! ```

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
    let deadline = Instant::now() + Duration::from_secs(30);

    let region = wait_until(deadline, || found(Region::open(&name)))?;
    let flag = wait_until(deadline, || found(AtomicValue::<u32>::open_in(&region, "flag")))?;
    wait_until(deadline, || Ok((flag.load(Acquire) == READY).then_some(())))?;

    let temperatures = Array::<f64>::open_in(&region, "temperatures")?.to_vec()?;
    flag.store(READ, Release);
    let (least, most) = (temperatures[0], temperatures[temperatures.len() - 1]);
    let mean = temperatures.iter().sum::<f64>() / temperatures.len() as f64;
    println!("read {} temperatures, from {least} to {most}, mean {mean:.3}", temperatures.len());
    Ok(())
}

/// What is not there yet may come; any other error will not go away.
fn found<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(Error::NotFound { .. } | Error::NotReady { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Looks again and again until `look` finds something.
fn wait_until<T>(deadline: Instant, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if Instant::now() > deadline {
            return Err(Error::TimedOut);
        }
        thread::sleep(Duration::from_millis(1));
    }
}
