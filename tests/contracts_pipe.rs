//! What pipes promise between processes that are fresh starts of the executable. `contracts/pipe.rs` says it.

#![allow(unsafe_code, reason = "descriptors by number, and signals")]

#[path = "contracts/pipe.rs"]
mod contracts;
mod support;

use support::Deadline;

shmkit::init_in_tests!();

macro_rules! tests {
    ($($name:ident),* $(,)?) => {$(
        #[test]
        fn $name() {
            let _deadline = Deadline::seconds(100, stringify!($name));
            contracts::$name();
        }
    )*};
}

contracts::for_each_contract!(tests);
