//! Python's `multiprocessing.Queue`, by way of `python_queue.py`.

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use crate::{
    compare::Run,
    flow::{ROOM, messages},
};

/// Whether there is a Python that has what it takes.
pub(crate) fn is_there() -> bool {
    let command = &mut Command::new("python3");
    command.args(["-c", "import multiprocessing"]).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// One in `part` of the messages, from one process to another, neither of them this one.
pub(crate) fn queue(part: u64) -> Run {
    let operations = messages().div_ceil(part);
    let output = Command::new("python3")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/python_queue.py"))
        .args([operations.to_string(), ROOM.to_string()])
        .stderr(Stdio::inherit())
        .output()
        .expect("python3");
    assert!(output.status.success(), "python_queue.py: {}", output.status);
    let nanoseconds = String::from_utf8_lossy(&output.stdout).trim().parse().expect("nanoseconds");
    Run { operations, time: Duration::from_nanos(nanoseconds), note: 0.0 }
}
