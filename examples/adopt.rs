//! A program that has its shared memory from the `shared_memory` crate, and puts typed objects with locks in it.
//!
//! ```text
//! cargo run --example adopt
//! ```

use std::error::Error;

use shared_memory::ShmemConf;
use shmkit::{Array, Process, Region, Value};

/// Runs in another process, which gets the memory with its handles.
fn count(hits: Value<u64>, samples: Array<f64>) -> shmkit::Result<()> {
    for sample in samples.lock()?.iter_mut() {
        *sample = sample.sqrt();
        hits.update(|hits| hits + 1)?;
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    shmkit::init();

    // Theirs makes the segment ...
    let theirs = ShmemConf::new().size(1 << 16).create()?;
    let name = theirs.get_os_id().trim_start_matches('/').to_owned();
    println!("a segment of {} bytes", theirs.len());

    // ... ours puts objects in it.
    let region = Region::adopt(theirs)?;
    let hits = Value::new_in(&region, "hits", 0_u64)?;
    let samples = Array::from_slice_in(&region, "samples", &[1.0, 4.0, 9.0, 16.0])?;
    Process::spawn(count, (hits.clone(), samples.clone()))?.join()?;

    // Another program would open the segment by its name and find them by theirs.
    let again = Region::open(&name)?;
    println!("hits: {}", Value::<u64>::open_in(&again, "hits")?.get()?);
    println!("samples: {:?}", Array::<f64>::open_in(&again, "samples")?.to_vec()?);

    // The segment had an owner, so it goes with the last handle.
    drop((region, hits, samples, again));
    assert!(Region::open(&name).is_err());
    println!("the segment is gone");
    Ok(())
}
