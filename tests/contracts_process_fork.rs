//! What a process promises that is a fork. `contracts/process.rs` says it for every start method. Not under libtest, as
//! `tests/process_fork.rs`, which see.

#![expect(unsafe_code, reason = "signals, and descriptors by number")]

#[path = "contracts/process.rs"]
mod contracts;

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

const FORKS_ONLY: &[(&str, fn())] = &[
    ("a_high_descriptor_is_inherited", || assert!(contracts::inherits_a_high_descriptor())),
    ("arguments_are_moved_and_not_encoded", arguments_are_moved_and_not_encoded),
];

fn main() {
    shmkit::init();
    set_start_method(StartMethod::Fork).unwrap();
    let tests: Vec<_> = CONTRACTS.iter().chain(FORKS_ONLY).collect();
    // As nextest asks for them: one line each, and each alone.
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|arg| arg == "--list") {
        if !args.iter().any(|arg| arg == "--ignored") {
            tests.iter().for_each(|(name, _)| println!("{name}: test"));
        }
        return;
    }
    let wanted: Vec<_> = args.iter().filter(|arg| !arg.starts_with("--")).collect();
    let exact = args.iter().any(|arg| arg == "--exact");
    let chosen = |name: &str| {
        wanted.is_empty() || wanted.iter().any(|want| if exact { name == *want } else { name.contains(want.as_str()) })
    };
    let mut passed = 0;
    for (name, test) in tests.iter().filter(|(name, _)| chosen(name)) {
        // Instead of a thread that watches, which no fork would survive: the signal ends this process, and its children
        // are daemons.
        // SAFETY: takes a number.
        unsafe { libc::alarm(100) };
        test();
        println!("test {name} ... ok");
        passed += 1;
    }
    println!(
        "\ntest result: ok. {passed} passed; 0 failed; 0 ignored; 0 measured; {} filtered out",
        tests.len() - passed
    );
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
