//! Forks that a program makes by itself, whatever its other threads are at.
//!
//! Alone in its process: what the children here may not wait for, those of other tests do.

mod support;

use std::{
    sync::mpsc::{TryRecvError, channel},
    thread,
    time::Duration,
};

use shmkit::BoundedSemaphore;
use support::{Child, Deadline, End, eventually};

const SOON: Duration = Duration::from_secs(10);

/// What other threads hold at a fork is held in the child for ever: std's table of stacks, say, which threads enter as they
/// begin. A member's thread must not wait for it.
#[test]
fn threads_that_come_and_go() {
    let _deadline = Deadline::seconds(100, "threads_that_come_and_go");
    let semaphore = BoundedSemaphore::new(1).unwrap();
    thread::scope(|scope| {
        let _until_the_end = [(); 3].map(|()| {
            let (until, ends) = channel::<()>();
            scope.spawn(move || {
                while ends.try_recv() == Err(TryRecvError::Empty) {
                    thread::spawn(|| {}).join().unwrap();
                }
            });
            until
        });
        for _ in 0..2000 {
            let mut child = Child::start(|| {
                drop(semaphore.acquire_timeout(SOON).unwrap());
                0
            });
            eventually(|| child.has_ended());
            assert_eq!(child.wait(), End::Code(0));
        }
    });
}
