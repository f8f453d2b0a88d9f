//! A program that forgot `init`: starting a process is refused, with the mend in the message.

use shmkit::{
    Error, Pool, Process,
    process::{StartMethod, forkserver},
};

/// By every way that runs the program's `main` again, in the child or in the server.
#[test]
fn starting_without_init_is_refused() {
    let mut errors = vec![Process::spawn(|| (), ()).unwrap_err(), forkserver::preload(|| ()).unwrap_err()];
    for method in [StartMethod::Spawn, StartMethod::ForkServer] {
        errors.push(Process::builder(|| ()).start_method(method).start().unwrap_err());
        errors.push(Pool::builder().workers(1).start_method(method).start().unwrap_err());
    }
    for error in errors {
        assert!(matches!(error, Error::NotInitialised));
        let message = error.to_string();
        assert!(message.contains("shmkit::init();") && message.contains("init_in_tests!"), "{message}");
    }
}
