#![deny(unused_must_use)]

fn main() -> shmkit::Result<()> {
    shmkit::Process::spawn(|| (), ())?;
    Ok(())
}
