//! The contracts of `process.rs` under libtest, for the start methods by which a function and its arguments are sent: fresh
//! starts and the children of the fork server. The root says which: `METHOD`.

use std::fs;

use shmkit::{Process, process::set_start_method};

use crate::{METHOD, support::Deadline};

#[path = "process.rs"]
mod contracts;

macro_rules! tests {
    ($($name:ident),* $(,)?) => {$(
        #[test]
        fn $name() {
            let _deadline = Deadline::seconds(100, stringify!($name));
            set_start_method(METHOD).unwrap();
            contracts::$name();
        }
    )*};
}

contracts::for_each_contract!(tests);
contracts::for_each_stream_contract!(tests);

#[test]
fn a_high_descriptor_is_not_inherited() {
    let _deadline = Deadline::seconds(100, "a_high_descriptor_is_not_inherited");
    set_start_method(METHOD).unwrap();
    assert!(!contracts::inherits_a_high_descriptor());
}

#[test]
fn each_child_has_as_many_descriptors_as_the_first() {
    let _deadline = Deadline::seconds(100, "each_child_has_as_many_descriptors_as_the_first");
    set_start_method(METHOD).unwrap();
    let count = || fs::read_dir("/proc/self/fd").unwrap().count() as u64;
    let mut kept = Vec::new();
    for _ in 0..5 {
        // No daemon, whose watch over its parent opens a descriptor at a moment of its own.
        let child = Process::spawn(count, ()).unwrap();
        let open = contracts::joined(&child).unwrap();
        // The parent's are more with each of its handles.
        kept.push((child, open));
    }
    assert!(kept.iter().all(|(_, open)| *open == kept[0].1), "{kept:?}");
}
