//! A program that forgot `init`: starting a process is refused, with the mend in the message.

use shmkit::{Error, Process};

#[test]
fn starting_without_init_is_refused() {
    let error = Process::spawn(|| (), ()).unwrap_err();
    assert!(matches!(error, Error::NotInitialised));
    let message = error.to_string();
    assert!(message.contains("shmkit::init();") && message.contains("init_in_tests!"), "{message}");
}
