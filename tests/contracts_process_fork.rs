//! What a process promises that is a fork. `contracts/process.rs` says it for every start method. Not under libtest, as
//! `tests/process_fork.rs`, which see.

#![expect(unsafe_code, reason = "signals, and descriptors by number")]

mod alone;
#[path = "contracts/process.rs"]
mod contracts;
mod scratch;

use serde::{Deserialize, Serialize, Serializer, ser::Error as _};
use shmkit::{
    Process,
    process::{StartMethod, set_start_method},
};

macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        [$((stringify!($name), contracts::$name as fn())),*]
    };
}

const CONTRACTS: &[(&str, fn())] = &contracts::for_each_contract!(tests);
const STREAMS: &[(&str, fn())] = &contracts::for_each_stream_contract!(tests);

const FORKS_ONLY: &[(&str, fn())] = &[
    ("a_high_descriptor_is_inherited", || assert!(contracts::inherits_a_high_descriptor())),
    ("arguments_are_moved_and_not_encoded", arguments_are_moved_and_not_encoded),
];

fn main() {
    shmkit::init();
    set_start_method(StartMethod::Fork).unwrap();
    alone::run(&[CONTRACTS, STREAMS, FORKS_ONLY].concat());
}

fn arguments_are_moved_and_not_encoded() {
    #[derive(Deserialize)]
    struct Unsendable(u32);
    impl Serialize for Unsendable {
        fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(S::Error::custom("never"))
        }
    }
    let builder =
        |method| Process::builder(|x: Unsendable| x.0).args((Unsendable(7),)).start_method(method).daemon(true);
    assert_eq!(contracts::joined(&builder(StartMethod::Fork).start().unwrap()).unwrap(), 7);
    assert!(matches!(builder(StartMethod::Spawn).start(), Err(shmkit::Error::NotSendable { .. })));
}
