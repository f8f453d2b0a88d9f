//! Python's `multiprocessing`, by way of programs beside this file.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use crate::compare::Run;

/// Whether there is a Python that has what it takes.
pub(crate) fn is_there() -> bool {
    let command = &mut Command::new("python3");
    command.args(["-c", "import multiprocessing"]).stderr(Stdio::null());
    let is_there = command.status().is_ok_and(|status| status.success());
    if !is_there {
        println!("left out: Python, for there is no python3");
    }
    is_there
}

/// So many operations of a program, none of them in this process. It says how many nanoseconds they took.
pub(crate) fn run(program: &str, operations: u64, argument: &str) -> Run {
    let output = Command::new("python3")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(program))
        .args([&operations.to_string(), argument])
        .stderr(Stdio::inherit())
        .output()
        .expect("python3");
    assert!(output.status.success(), "{program}: {}", output.status);
    let nanoseconds = String::from_utf8_lossy(&output.stdout).trim().parse().expect("nanoseconds");
    Run { operations, time: Duration::from_nanos(nanoseconds), note: 0.0 }
}
