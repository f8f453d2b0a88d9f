//! A dict and a list of mixed types in a manager's server, which another process fills.
//!
//! ```text
//! cargo run --example manager
//! ```

use shmkit::{
    Manager, Process, Result,
    manager::{Dict, List, Object},
};

fn f(d: Dict, l: List) -> Result<()> {
    d.insert(1, "1")?;
    d.insert("2", 2)?;
    d.insert(0.25, Object::None)?;
    l.reverse()
}

fn main() -> Result<()> {
    shmkit::init();
    let manager = Manager::start()?;
    let d = manager.dict()?;
    let l = manager.list_from(0..10)?;
    Process::spawn(f, (d.clone(), l.clone()))?.join()?;
    println!("{}", d.to_object()?);
    println!("{}", l.to_object()?);
    Ok(())
}
