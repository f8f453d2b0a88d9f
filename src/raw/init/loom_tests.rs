//! Making something once, under the model checker: two makers, and the death of one at every point.

#![expect(unsafe_code, reason = "the checker's cell hands out pointers")]

use loom::{cell::UnsafeCell, sync::Arc, thread};

use super::RawInit;
use crate::{
    Error,
    os::clock::Wait,
    raw::sys::{at_every_point, enter, explore, mortal, point},
};

#[derive(Default)]
struct Shared {
    init: RawInit,
    thing: UnsafeCell<[u32; 2]>,
}

impl Shared {
    /// Makes the thing in two steps, of which either may be the last, and says whether this was its maker.
    fn make(&self) -> bool {
        let made = self.init.make(Wait::Forever, || {
            self.write(0);
            point();
            self.write(1);
            Ok(())
        });
        made.unwrap()
    }

    fn write(&self, at: usize) {
        // SAFETY: one maker at a time; the checker fails the test if there are two.
        self.thing.with_mut(|thing| unsafe { (*thing)[at] = 7 });
    }

    fn check(&self) {
        assert!(self.init.is_ready());
        // SAFETY: the thing is made, and nobody writes it any more; the checker fails the test if that is not so.
        assert_eq!(self.thing.with(|thing| unsafe { *thing }), [7, 7]);
    }
}

#[test]
fn one_of_two_makes() {
    explore(3, || {
        enter(1);
        let shared = Arc::new(Shared::default());
        let other = thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                enter(2);
                let made = shared.make();
                shared.check();
                made
            }
        });
        let here = shared.make();
        shared.check();
        assert!(here ^ other.join().unwrap());
    });
}

#[test]
fn who_only_looks_sees_all_or_nothing() {
    explore(3, || {
        enter(1);
        let shared = Arc::new(Shared::default());
        let maker = thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                enter(2);
                shared.make();
            }
        });
        if shared.init.is_ready() {
            shared.check();
        }
        maker.join().unwrap();
        shared.check();
    });
}

#[test]
fn the_second_makes_what_the_first_left() {
    at_every_point(3, |points| {
        enter(1);
        let shared = Arc::new(Shared::default());
        let victim = thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                enter(2);
                mortal(points, shared.init.lock.word(), || _ = shared.make());
            }
        });
        shared.make();
        shared.check();
        victim.join().unwrap();
        assert!(!shared.make(), "made twice");
    });
}

#[test]
fn a_failure_leaves_it_to_the_next() {
    explore(2, || {
        enter(1);
        let shared = Arc::new(Shared::default());
        let failed = shared.init.make(Wait::Forever, || Err(Error::WouldBlock));
        assert!(matches!(failed, Err(Error::WouldBlock)) && !shared.init.is_ready());
        assert!(shared.make());
        shared.check();
    });
}
