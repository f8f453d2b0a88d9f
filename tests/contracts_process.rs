//! What a process promises that is a fresh start of the executable. `contracts/process.rs` says it for every start
//! method; a program without `init` is the subject of `tests/no_init.rs`.

#![expect(unsafe_code, reason = "signals, and descriptors by number")]

mod scratch;
#[path = "contracts/sent.rs"]
mod sent;
mod support;

use shmkit::process::StartMethod;

const METHOD: StartMethod = StartMethod::Spawn;

shmkit::init_in_tests!();
