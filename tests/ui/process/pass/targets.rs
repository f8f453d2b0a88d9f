//! What can be a target, in all forms; that this compiles and runs makes the others' errors mean something.

use shmkit::{Process, Result};

fn plain(a: u32, b: String) -> String {
    format!("{b}{a}")
}

fn never() -> ! {
    std::process::exit(3)
}

fn foreign(text: String) -> std::result::Result<i32, Box<dyn std::error::Error + Send + Sync>> {
    Ok(text.parse()?)
}

fn generic<T: Default>() -> Result<()> {
    drop(T::default());
    Ok(())
}

fn main() -> Result<()> {
    shmkit::init();
    assert_eq!(Process::spawn(plain, (7, "w".to_owned()))?.join()?, "w7");
    assert_eq!(Process::spawn(|a: u64, b: u64| a + b, (1, 2))?.join()?, 3);
    assert_eq!(Process::spawn(foreign, ("12".to_owned(),))?.join()?, 12);
    assert!(Process::spawn(never, ())?.join().is_err());
    Process::spawn(generic::<String>, ())?.join()?;
    Process::builder(generic::<u8>).start()?.join()
}
