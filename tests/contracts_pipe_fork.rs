//! What pipes promise between processes that are forks. `contracts/pipe.rs` says it. Not under libtest, as
//! `tests/process_fork.rs`, which see.

#![allow(unsafe_code, reason = "descriptors by number, and signals")]

mod alone;
#[path = "contracts/pipe.rs"]
mod contracts;
mod support;

use std::time::Duration;

use shmkit::{
    Error, Process, pipe,
    process::{StartMethod, set_start_method},
};

macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        [$((stringify!($name), contracts::$name as fn())),*]
    };
}

const CONTRACTS: &[(&str, fn())] = &contracts::for_each_contract!(tests);

const FORKS_ONLY: &[(&str, fn())] = &[
    ("nothing_is_left_open", contracts::nothing_is_left_open),
    ("a_closure_gives_up_the_other_end", a_closure_gives_up_the_other_end),
    ("a_closure_may_use_both_ends_of_its_own", a_closure_may_use_both_ends_of_its_own),
    ("an_end_that_was_given_up_is_closed", an_end_that_was_given_up_is_closed),
];

/// Longer than any wait that succeeds.
const LONG: Duration = Duration::from_secs(50);

fn main() {
    shmkit::init();
    set_start_method(StartMethod::Fork).unwrap();
    alone::run(&[CONTRACTS, FORKS_ONLY].concat());
}

/// It has copies of both, and yet sees that the parent's is closed.
fn a_closure_gives_up_the_other_end() {
    let (here, there) = pipe::duplex::<u32>().unwrap();
    let child = Process::fork(|| {
        let first = there.recv_timeout(LONG)?;
        there.send(&(first + 1))?;
        match there.recv_timeout(LONG) {
            Err(Error::Closed) => Ok::<_, Error>(()),
            other => panic!("{other:?}"),
        }
    })
    .unwrap();
    drop(there);
    here.send(&1).unwrap();
    assert_eq!(here.recv_timeout(LONG).unwrap(), 2);
    drop(here);
    child.join().unwrap();
}

/// Those that it makes itself.
fn a_closure_may_use_both_ends_of_its_own() {
    let child = Process::fork(|| {
        let (a, b) = pipe::duplex::<u32>()?;
        a.send(&1)?;
        b.send(&b.recv()?)?;
        a.recv()
    });
    assert_eq!(child.unwrap().join().unwrap(), 1);
}

/// And its number is nobody else's.
fn an_end_that_was_given_up_is_closed() {
    let (here, there) = pipe::duplex::<u32>().unwrap();
    let (_unused, other) = pipe::duplex::<u32>().unwrap();
    let child = Process::fork(|| {
        there.send(&1)?;
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(matches!(here.recv(), Err(Error::Closed)) && matches!(here.send(&1), Err(Error::Closed)));
        drop(file);
        // Of another pipe nothing was used: it still has both.
        assert!(other.try_recv().unwrap_err().is_would_block());
        Ok::<_, Error>(())
    });
    child.unwrap().join().unwrap();
    assert_eq!(here.recv_timeout(LONG).unwrap(), 1);
    // A function that is given others has none of these.
    let child = Process::builder(|end: pipe::Connection<u32>| end.recv_timeout(LONG)).args((other,)).start().unwrap();
    drop(_unused);
    assert!(matches!(child.join(), Err(Error::Closed)));
}
