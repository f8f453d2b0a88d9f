//! Starting a process and waiting for its end. See `benches/README.md`.

#![expect(unsafe_code, reason = "forks, as the peer")]

#[path = "support/compare.rs"]
mod compare;

use std::{
    env,
    process::{Command, Stdio},
};

use compare::{Comparison, Unit, criterion};
use criterion::Criterion;
use shmkit::{Process, Value};

/// Set for the peer of `Process::spawn`: this program, when it does nothing.
const IDLE: &str = "SHMKIT_BENCH_IDLE";

fn main() {
    if env::var_os(IDLE).is_some() {
        return;
    }
    shmkit::init();
    let mut criterion = criterion();
    spawn(&mut criterion);
    fork(&mut criterion);
    criterion.final_summary();
}

fn nothing() {}

fn add(total: Value<u64>, by: u64) -> shmkit::Result<u64> {
    total.update(|x| x + by)
}

fn spawn(criterion: &mut Criterion) {
    let total = Value::new(0_u64).expect("a value");
    Comparison::new("spawn and join", Unit::Microseconds)
        .rounds(21)
        .time("Process::spawn", || Process::spawn(nothing, ()).expect("a child").join().expect("its end"))
        .time("Process::spawn, with a value", || {
            Process::spawn(add, (total.clone(), 1)).expect("a child").join().expect("its end");
        })
        .time("Command, this program, idle", || {
            let program = env::current_exe().expect("a program");
            assert!(Command::new(program).env(IDLE, "1").status().expect("a child").success());
        })
        .time("Command, /bin/true", || {
            assert!(Command::new("/bin/true").status().expect("a child").success());
        })
        .time("Command, /bin/true, with pipes", || {
            let mut command = Command::new("/bin/true");
            assert!(command.stdin(Stdio::null()).output().expect("a child").status.success());
        })
        .goal("Process::spawn", 1.5, &["Command, this program, idle"])
        .criterion(criterion)
        .table();
}

fn fork(criterion: &mut Criterion) {
    Comparison::new("fork and join", Unit::Microseconds)
        .rounds(21)
        .time("Process::fork", || Process::fork(|| ()).expect("a child").join().expect("its end"))
        .time("fork, _exit, waitpid", bare_fork)
        .goal("Process::fork", 2.0, &["fork, _exit, waitpid"])
        .criterion(criterion)
        .table();
}

fn bare_fork() {
    // SAFETY: there is one thread, and the child only leaves.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        // SAFETY: ends the child.
        unsafe { libc::_exit(0) };
    }
    let mut status = 0;
    // SAFETY: a child of this process, waited for once.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    assert_eq!(status, 0);
}
