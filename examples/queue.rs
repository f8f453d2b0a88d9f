//! Ten processes put a line each into one queue, one at a time.

use shmkit::{Lock, Process, Queue, Result};

fn foo(l: Lock, q: Queue<String>, i: usize) -> Result<()> {
    let _held = l.lock()?;
    q.put(&format!("hello from process {i}"))
}

fn main() -> Result<()> {
    shmkit::init();
    let (lock, q) = (Lock::new()?, Queue::new()?);
    let procs = (0..10).map(|i| Process::spawn(foo, (lock.clone(), q.clone(), i))).collect::<Result<Vec<_>>>()?;
    for _ in 0..10 {
        println!("{}", q.get()?);
    }
    for p in procs {
        p.join()?;
    }
    Ok(())
}
