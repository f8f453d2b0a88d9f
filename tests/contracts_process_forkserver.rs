//! What a process promises that the fork server makes. `contracts/process.rs` says it for every start method.

#![expect(unsafe_code, reason = "signals, and descriptors by number")]

#[path = "contracts/process.rs"]
mod contracts;
mod scratch;
mod support;

use std::fs;

use shmkit::{
    Process,
    process::{StartMethod, set_start_method},
};
use support::Deadline;

shmkit::init_in_tests!();

macro_rules! tests {
    ($($name:ident),* $(,)?) => {$(
        #[test]
        fn $name() {
            let _deadline = Deadline::seconds(100, stringify!($name));
            set_start_method(StartMethod::ForkServer).unwrap();
            contracts::$name();
        }
    )*};
}

contracts::for_each_contract!(tests);
contracts::for_each_stream_contract!(tests);

#[test]
fn a_high_descriptor_is_not_inherited() {
    let _deadline = Deadline::seconds(100, "a_high_descriptor_is_not_inherited");
    set_start_method(StartMethod::ForkServer).unwrap();
    assert!(!contracts::inherits_a_high_descriptor());
}

#[test]
fn each_child_has_as_many_descriptors_as_the_first() {
    let _deadline = Deadline::seconds(100, "each_child_has_as_many_descriptors_as_the_first");
    set_start_method(StartMethod::ForkServer).unwrap();
    let count = || fs::read_dir("/proc/self/fd").unwrap().count() as u64;
    let mut kept = Vec::new();
    for _ in 0..5 {
        let child = Process::spawn(count, ()).unwrap();
        let open = contracts::joined(&child).unwrap();
        kept.push((child, open));
    }
    assert!(kept.iter().all(|(_, open)| *open == kept[0].1), "{kept:?}");
}
