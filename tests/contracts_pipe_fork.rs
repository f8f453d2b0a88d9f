//! What pipes promise between processes that are forks. `contracts/pipe.rs` says it. Not under libtest, as
//! `tests/process_fork.rs`, which see.

#![allow(unsafe_code, reason = "descriptors by number, and signals")]

mod alone;
#[path = "contracts/pipe.rs"]
mod contracts;
mod support;

use std::{mem, thread, time::Duration};

use shmkit::{
    Error, Process,
    pipe::{self, Connection, Receiver, Sender},
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
    ("a_closure_gives_up_what_came_from_elsewhere", a_closure_gives_up_what_came_from_elsewhere),
    ("a_closure_keeps_all_copies_of_one_end", a_closure_keeps_all_copies_of_one_end),
    ("a_closure_in_a_closure", a_closure_in_a_closure),
    ("an_end_that_was_given_up_is_closed", an_end_that_was_given_up_is_closed),
    ("ends_that_were_forgotten_keep_nobody_waiting", ends_that_were_forgotten_keep_nobody_waiting),
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

/// Both ends arrived in a message: they are those of one pipe all the same.
fn a_closure_gives_up_what_came_from_elsewhere() {
    let (sender, receiver) = pipe::simplex::<(Connection<u32>, Connection<u32>)>().unwrap();
    sender.send(&pipe::duplex().unwrap()).unwrap();
    let (here, there) = receiver.recv().unwrap();
    let child = Process::fork(|| {
        there.send(&1)?;
        there.recv_timeout(LONG)
    })
    .unwrap();
    drop(there);
    assert_eq!(here.recv_timeout(LONG).unwrap(), 1);
    drop(here);
    assert!(matches!(child.join(), Err(Error::Closed)));
}

/// One end that was sent away and came back: it is the end that is used, and not the other one.
fn a_closure_keeps_all_copies_of_one_end() {
    let (here, there) = pipe::duplex::<u32>().unwrap();
    let (sender, receiver) = pipe::simplex::<Connection<u32>>().unwrap();
    sender.send(&there).unwrap();
    sender.send(&here).unwrap();
    let (again, its_again) = (receiver.recv().unwrap(), receiver.recv().unwrap());
    let child = Process::fork(|| {
        there.send(&1)?;
        again.send(&2)?;
        // Both copies of the other one are closed, with nobody else there.
        match there.recv_timeout(LONG) {
            Err(Error::Closed) => again.recv_timeout(LONG),
            other => panic!("{other:?}"),
        }
    })
    .unwrap();
    drop((there, again, its_again));
    assert_eq!([here.recv_timeout(LONG).unwrap(), here.recv_timeout(LONG).unwrap()], [1, 2]);
    drop(here);
    assert!(matches!(child.join(), Err(Error::Closed)));
}

/// Ends this process as a death does.
fn die() -> ! {
    // SAFETY: takes a number.
    unsafe { libc::raise(libc::SIGKILL) };
    unreachable!()
}

/// The inner one is told of the death of the outer one.
fn a_closure_in_a_closure() {
    let (told, tells) = pipe::simplex::<()>().unwrap();
    let child: Process<()> = Process::fork(|| {
        let (here, there) = pipe::duplex::<u32>().unwrap();
        let _inner = Process::fork(|| {
            there.send(&1)?;
            assert!(matches!(there.recv_timeout(LONG), Err(Error::Closed)));
            told.send(&())
        });
        here.recv().unwrap();
        die()
    })
    .unwrap();
    drop(told);
    tells.recv_timeout(LONG).unwrap();
    assert!(matches!(child.join(), Err(Error::ChildDied { .. })));
}

/// Their process keeps them open as long as it lives; those that it has started do not.
fn ends_that_were_forgotten_keep_nobody_waiting() {
    let (told, tells) = pipe::simplex::<u32>().unwrap();
    let (stop, stopped) = pipe::simplex::<()>().unwrap();
    let child: Process<()> = Process::fork(|| {
        let (here, there) = pipe::duplex::<u32>().unwrap();
        mem::forget((here.clone(), there.clone()));
        let waits = |end: Connection<u32>, told: Sender<u32>| match end.recv_timeout(LONG) {
            Err(Error::Closed) => told.send(&2),
            other => panic!("{other:?}"),
        };
        let lives_on = |told: Sender<u32>, stopped: Receiver<()>| {
            told.send(&1)?;
            drop(told);
            stopped.recv_timeout(LONG)
        };
        let _first = Process::builder(waits).args((there, told.clone())).start();
        let _second = Process::builder(lives_on).args((told.clone(), stopped.clone())).start();
        loop {
            thread::park();
        }
    })
    .unwrap();
    drop((told, stopped));
    assert_eq!(tells.recv_timeout(LONG).unwrap(), 1);
    child.kill().unwrap();
    assert_eq!(tells.recv_timeout(LONG).unwrap(), 2);
    assert!(matches!(child.join(), Err(Error::ChildDied { .. })));
    // The one that lives on until now.
    drop(stop);
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
    let child = Process::builder(|end: Connection<u32>| end.recv_timeout(LONG)).args((other,)).start().unwrap();
    drop(_unused);
    assert!(matches!(child.join(), Err(Error::Closed)));
}
