//! What a process promises that the fork server makes. `contracts/process.rs` says it for every start method.

#![expect(unsafe_code, reason = "signals, and descriptors by number")]

mod scratch;
#[path = "contracts/sent.rs"]
mod sent;
mod support;

use shmkit::process::StartMethod;

const METHOD: StartMethod = StartMethod::ForkServer;

shmkit::init_in_tests!();
