//! Pools whose workers the fork server makes: `contracts/pool.rs` says what they promise.

#![allow(unsafe_code, reason = "kills workers, and the deadline's module forks")]

#[path = "contracts/pool_sent.rs"]
mod sent;
mod support;

use shmkit::StartMethod;

shmkit::init_in_tests!();

const METHOD: StartMethod = StartMethod::ForkServer;
