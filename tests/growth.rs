//! Regions and arrays that grow while others have them: in this process, in others, and under processes that are
//! killed.

#![expect(unsafe_code, reason = "sets a limit of the process")]

mod support;

use std::{
    ops::Range,
    sync::atomic::{AtomicU64, Ordering::SeqCst},
    time::Duration,
};

use shmkit::{Array, Error, Process, Region, Result, Value, process::StartMethod, region::Place};
use support::{Board, Child, Deadline, End, Flag, Random, eventually, is_raised, raise, sleep_for_ever};

shmkit::init_in_tests!();

fn name(what: &str) -> String {
    format!("shmkit-test-growth-{what}-{}", std::process::id())
}

/// Removes the name with the test.
struct Named(String);

impl Drop for Named {
    fn drop(&mut self) {
        let _ = Region::unlink(&self.0);
    }
}

#[test]
fn smoke() {
    let region = Region::options().size(1 << 14).max_size(1 << 24).create().unwrap();
    assert_eq!((region.size(), region.max_size()), (1 << 14, 1 << 24));
    let value = Value::new_in(&region, "value", 7_u64).unwrap();
    let guard = value.lock().unwrap();
    let place: *const u64 = &*guard;
    assert!(matches!(Array::<u8>::zeros_in(&region, "array", 1 << 15), Err(Error::RegionFull { .. })));
    region.grow(1 << 20).unwrap();
    region.grow(1 << 16).unwrap();
    let array = Array::<u8>::zeros_in(&region, "array", 1 << 15).unwrap();
    array.lock().unwrap().fill(3);
    assert_eq!((*guard, std::ptr::from_ref(&*guard), region.size()), (7, place, 1 << 20));
    assert!(matches!(region.grow((1 << 24) + 1), Err(Error::InvalidSize { .. })));
    assert!(matches!(region.grow(0), Err(Error::InvalidSize { .. })));
    let fixed = Region::anonymous(4096).unwrap();
    assert!(fixed.grow(4096).is_ok() && fixed.grow(8192).is_err());
}

#[test]
fn what_is_there_at_first_takes_no_more_memory() {
    let before = Region::options().size(1 << 16).max_size(1 << 45).create().unwrap();
    assert!(before.left().unwrap() < 1 << 16);
    let error = before.grow(1 << 45).unwrap_err();
    assert!(matches!(error, Error::OutOfMemory { .. }), "{error}");
    assert_eq!(before.size(), 1 << 16);
    let sparse = Region::options().size(1 << 16).max_size(1 << 45).sparse(true).create().unwrap();
    sparse.grow(1 << 45).unwrap();
    assert_eq!(sparse.size(), 1 << 45);
}

#[test]
fn other_processes_see_a_region_grow() {
    let _deadline = Deadline::seconds(60, "other_processes_see_a_region_grow");
    let name = Named(name("region"));
    let region = Region::options().name(&name.0).size(4096).max_size(1 << 24).create().unwrap();
    let step = Value::new_in(&region, "step", 0_u64).unwrap();
    let mut child = Child::start(|| {
        // Inherited, with the mapping that it had before.
        eventually(|| step.get().unwrap() == 1);
        let array = Array::<u64>::open_in(&region, "array").unwrap();
        array.set(99_999, 5).unwrap();
        region.grow(8 << 20).unwrap();
        step.set(2).unwrap();
        0
    });
    region.grow(1 << 20).unwrap();
    let array = Array::<u64>::zeros_in(&region, "array", 100_000).unwrap();
    step.set(1).unwrap();
    assert_eq!(child.wait(), End::Code(0));
    assert_eq!((array.get(99_999).unwrap(), region.size()), (5, 8 << 20));
    let view = Region::options().name(&name.0).read_only(true).open().unwrap();
    assert_eq!((view.size(), view.max_size()), (8 << 20, 1 << 24));
    assert!(matches!(view.grow(9 << 20), Err(Error::ReadOnly)));
}

#[test]
fn an_array_grows_under_all_who_have_it() {
    let array = Array::<u32>::growable([1, 3], 100_000).unwrap();
    let other = array.clone();
    let guard_of_one = array.claim_mut(..).unwrap();
    let place = guard_of_one.as_ptr();
    array.extend_from_slice(&[1, 2, 3]).unwrap();
    array.grow(10).unwrap();
    array.grow(5).unwrap();
    assert_eq!((guard_of_one.len(), guard_of_one.as_ptr()), (3, place));
    drop(guard_of_one);
    assert_eq!((other.shape(), other.len()), (&[10, 3][..], 30));
    assert_eq!(other.claim_rows(1..3).unwrap()[..], [1, 2, 3, 0, 0, 0]);
    assert_eq!(other.rows_for(1, 2).unwrap(), 5..10);
    let mut guard = other.lock().unwrap();
    guard.extend_from_slice(&[7; 6]).unwrap();
    assert_eq!((guard.shape(), guard.len(), guard[[11, 2]], guard.row(10)), (&[12, 3][..], 36, 7, &[7; 3][..]));
    assert!(matches!(array.try_lock(), Err(Error::WouldBlock)));
    assert!(guard.get(36).is_none());
    let outside = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| guard[[12, 0]]));
    assert!(outside.is_err());
    drop(guard);
    let error = array.get([12, 0]).unwrap_err();
    assert!(matches!(&error, Error::OutOfRange { shape, .. } if shape == "[12, 3]"), "{error}");
    for _ in 0..1000 {
        array.extend_from_slice(&[9; 30]).unwrap();
    }
    assert_eq!((array.len(), other.get([10_011, 2]).unwrap()), (30_036, 9));
    assert_eq!(array.lock().unwrap().as_ptr(), place);
}

#[test]
fn limits() {
    let array = Array::<u64>::growable(0, 3).unwrap();
    array.extend_from_slice(&[]).unwrap();
    array.extend_from_slice(&[1, 2]).unwrap();
    let error = array.extend_from_slice(&[3, 4]).unwrap_err();
    assert!(matches!(error, Error::RegionFull { needed: 16, left: 8 }), "{error}");
    array.push(3).unwrap();
    assert!(array.push(4).is_err() && array.grow(4).is_err());
    // More than there are addresses.
    assert!(matches!(array.grow(usize::MAX), Err(Error::RegionFull { .. })));
    assert_eq!((array.to_vec().unwrap(), array.capacity()), (vec![1, 2, 3], 3));
    assert!(matches!(Array::<u8>::growable([2, 2], 1), Err(Error::InvalidSize { .. })));
    assert!(matches!(Array::<u8>::growable(0, 0), Err(Error::InvalidSize { .. })));
    assert!(matches!(Array::<u8>::growable([1, 0], 10), Err(Error::InvalidSize { .. })));
    assert!(matches!(Array::<u64>::growable(0, usize::MAX), Err(Error::InvalidSize { .. })));
    let rows = Array::<u8>::growable([0, 4], 10).unwrap();
    assert!(matches!(rows.push(1), Err(Error::InvalidArgument { .. })));
    let fixed = Array::<u8>::zeros(3).unwrap();
    assert!(matches!(fixed.push(1), Err(Error::InvalidArgument { .. })));
    assert_eq!(fixed.capacity(), 3);
}

/// The claims of an array of its own lie behind the room that it has, far from what has memory.
#[test]
fn claims_and_poison_with_little_memory() {
    let array = Array::<u8>::growable(100, 1 << 38).unwrap();
    let claim = array.claim(10..20).unwrap();
    array.grow(1 << 20).unwrap();
    let far = array.claim_mut((1 << 20) - 1..).unwrap();
    drop((claim, far));
    assert!(array.region().size() < 1 << 22);
    assert_eq!(array.lock().unwrap().len(), 1 << 20);
}

#[test]
fn objects_after_an_array_wait_for_the_region() {
    let region = Region::options().size(1 << 16).max_size(1 << 22).create().unwrap();
    let array = Array::<u8>::growable_in(&region, "array", 0, 1 << 20).unwrap();
    assert_eq!(region.left().unwrap(), 0);
    assert!(matches!(Value::new_in(&region, "value", 1_u8), Err(Error::RegionFull { .. })));
    region.grow(2 << 20).unwrap();
    Value::new_in(&region, "value", 1_u8).unwrap();
    array.grow(1 << 20).unwrap();
    array.lock().unwrap().fill(9);
    assert_eq!(Value::<u8>::open_in(&region, "value").unwrap().get().unwrap(), 1);
    assert!(matches!(Array::<u8>::growable_in(&region, None, 0, 1 << 22), Err(Error::RegionFull { .. })));
}

/// A handle that was sent is as good as the one it was made from.
#[test]
fn a_handle_that_was_sent_grows_it() {
    fn work(array: Array<u64>) -> Result<usize> {
        array.extend_from_slice(&vec![5; 100_000])?;
        array.claim_mut(..1)?.fill(4);
        Ok(array.len())
    }
    for method in [StartMethod::Spawn, StartMethod::ForkServer] {
        let array = Array::<u64>::growable(1, 1 << 30).unwrap();
        let child = Process::builder(work).args((array.clone(),)).start_method(method).start().unwrap();
        assert_eq!(child.join().unwrap(), 100_001);
        let guard = array.lock().unwrap();
        assert_eq!((guard.len(), guard[0], guard[100_000]), (100_001, 4, 5));
    }
}

/// Each appends its own numbers in order; readers find them whole at any moment, in handles of their own.
#[test]
fn processes_append_and_read() {
    const EACH: u64 = 2000;
    let _deadline = Deadline::seconds(120, "processes_append_and_read");
    let name = Named(name("append"));
    let place = Place::from(&name.0);
    let array = Array::<u64>::create_growable(place, 0, 1 << 20).unwrap();
    let mut writers: Vec<_> = (1..=3_u64)
        .map(|who| {
            let array = &array;
            Child::start(move || {
                for n in 0..EACH {
                    array.extend_from_slice(&[who << 32 | n; 5]).unwrap();
                }
                0
            })
        })
        .collect();
    let reader = Array::<u64>::open(&name.0).unwrap();
    let mut seen = 0;
    while seen < 3 * 5 * EACH as usize {
        let len = reader.len();
        assert!(len >= seen && len.is_multiple_of(5));
        let part = reader.claim(seen..len).unwrap();
        assert!(part.chunks(5).all(|five| five[0] != 0 && five.iter().all(|n| *n == five[0])));
        seen = len;
    }
    assert!(writers.iter_mut().all(|writer| writer.wait() == End::Code(0)));
    for who in 1..=3 {
        let all = reader.to_vec().unwrap();
        let mine: Vec<_> = all.iter().step_by(5).filter(|n| *n >> 32 == who).map(|n| n & 0xFFFF_FFFF).collect();
        assert!(mine.iter().copied().eq(0..EACH), "writer {who}");
    }
    assert_eq!(Array::<u64>::open_read_only(&name.0).unwrap().to_vec().len(), seen);
}

/// Appenders are killed at random moments: all that is there is whole, and nothing is poisoned.
#[test]
fn appenders_are_killed() {
    let _deadline = Deadline::seconds(120, "appenders_are_killed");
    let mut random = Random::new();
    let array = Array::<u64>::growable(0, 1 << 26).unwrap();
    let done = Board::<AtomicU64>::new();
    for round in 1..=60_u64 {
        let mut victim = Child::start(|| {
            loop {
                array.extend_from_slice(&[round; 7]).unwrap();
                done.fetch_add(1, SeqCst);
            }
        });
        let before = done.load(SeqCst);
        eventually(|| done.load(SeqCst) > before);
        random.pause(Duration::from_millis(2));
        victim.kill();
        victim.wait();
        array.push(0).unwrap();
        array.extend_from_slice(&[0; 6]).unwrap();
    }
    let elements = array.lock().unwrap();
    assert!(elements.len() as u64 >= 7 * done.load(SeqCst));
    assert!(elements.chunks(7).all(|seven| seven.iter().all(|n| *n == seven[0])));
}

/// The poison of what was appended and half changed while somebody waited for something else: whoever waits finds the
/// dead one's claim, and has to know how long the array is by then.
#[test]
fn poison_behind_the_end_that_a_waiter_knew() {
    let _deadline = Deadline::seconds(60, "poison_behind_the_end_that_a_waiter_knew");
    let wait_for_part = |array: &Array<u8>| array.claim_mut(..10).map(drop);
    let repair_part = |array: &Array<u8>| array.recover_claim_mut(..10).map(drop);
    let wait_for_all = |array: &Array<u8>| array.lock().map(drop);
    let recover_all = |array: &Array<u8>| {
        let poison = array.recover()?.poison();
        assert!(poison.is_some_and(|poison| poison.range == Some(150..200)));
        Ok(())
    };
    type Way = fn(&Array<u8>) -> Result<()>;
    let ways: [(Way, bool); 4] =
        [(wait_for_part, true), (repair_part, true), (wait_for_all, false), (recover_all, true)];
    for (wait, is_let_in) in ways {
        let array = Array::<u8>::growable(100, 1000).unwrap();
        let mine = array.claim_mut(..10).unwrap();
        let mut waiter = Child::start(|| match wait(&array) {
            Ok(()) => 0,
            Err(Error::Poisoned { range: Some(Range { start: 150, end: 200 }), .. }) => 1,
            Err(_) => 2,
        });
        waiter.wait_until_asleep();
        let is_changing = Board::<Flag>::new();
        let mut victim = Child::start(|| {
            array.grow(200).unwrap();
            let mut claim = array.claim_mut(150..200).unwrap();
            claim[..25].fill(1);
            raise(&is_changing);
            sleep_for_ever()
        });
        victim.brings_about(|| is_raised(&is_changing));
        victim.kill();
        victim.wait();
        drop(mine);
        assert_eq!(waiter.wait(), End::Code(i32::from(!is_let_in)));
        assert_eq!(array.claim(..150).unwrap().len(), 150);
        let error = array.claim(160..161).unwrap_err();
        assert!(matches!(&error, Error::Poisoned { range: Some(range), .. } if *range == (150..200)), "{error}");
        assert!(matches!(array.lock(), Err(Error::Poisoned { .. })));
    }
}

/// The same of one who had it all, and had made it longer.
#[test]
fn poison_of_a_guard_that_has_grown() {
    let _deadline = Deadline::seconds(60, "poison_of_a_guard_that_has_grown");
    let array = Array::<u8>::growable(100, 1000).unwrap();
    drop(array.claim(..1).unwrap());
    let steps = Board::<[Flag; 2]>::new();
    let mut victim = Child::start(|| {
        let mut guard = array.lock().unwrap();
        raise(&steps[0]);
        eventually(|| is_raised(&steps[1]));
        guard.extend_from_slice(&[1; 100]).unwrap();
        sleep_for_ever()
    });
    victim.brings_about(|| is_raised(&steps[0]));
    let mut waiter = Child::start(|| {
        let Ok(claim) = array.recover_claim_mut(..10) else { return 1 };
        i32::from(claim.poison().is_none())
    });
    waiter.wait_until_asleep();
    raise(&steps[1]);
    victim.brings_about(|| array.len() == 200);
    victim.kill();
    victim.wait();
    assert_eq!(waiter.wait(), End::Code(0));
    let error = array.claim(150..).unwrap_err();
    assert!(matches!(&error, Error::Poisoned { range: Some(range), .. } if *range == (0..200)), "{error}");
    // It is no poison of what comes later.
    array.grow(300).unwrap();
    assert_eq!(array.claim(200..).unwrap().len(), 100);
}

/// Two who grow a region, and arrays in it, at once: nobody loses what another one has.
#[test]
fn two_growers_at_once() {
    const EACH: u64 = 20_000;
    let _deadline = Deadline::seconds(120, "two_growers_at_once");
    let region = Region::options().size(1 << 14).max_size(1 << 24).create().unwrap();
    let arrays = ["one", "other"].map(|name| Array::<u64>::growable_in(&region, name, 0, 1 << 18).unwrap());
    let mut growers: Vec<_> = (0..4)
        .map(|who| {
            let (array, region) = (&arrays[who % 2], &region);
            Child::start(move || {
                for n in 0..EACH / 8 {
                    array.extend_from_slice(&[(who as u64) << 32 | n; 8]).unwrap();
                    if n % 64 == 0 {
                        region.grow(region.size() + 4096).unwrap();
                    }
                }
                0
            })
        })
        .collect();
    assert!(growers.iter_mut().all(|grower| grower.wait() == End::Code(0)));
    for (which, array) in arrays.iter().enumerate() {
        let all = array.to_vec().unwrap();
        assert_eq!(all.len() as u64, 2 * EACH);
        assert!(all.chunks(8).all(|eight| eight.iter().all(|n| *n == eight[0])));
        for who in [which, which + 2] {
            let mine = all.iter().step_by(8).filter(|n| **n >> 32 == who as u64).map(|n| n & 0xFFFF_FFFF);
            assert!(mine.eq(0..EACH / 8), "grower {who}");
        }
    }
}

/// A limit on the size of files (`ulimit -f`), which kills whoever meets it.
#[test]
fn a_limit_on_files_is_an_error() {
    let mut child = Child::start(|| {
        let limit = libc::rlimit { rlim_cur: 1 << 20, rlim_max: 1 << 20 };
        // SAFETY: reads a live struct.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) }, 0);
        let too_large = [
            Array::<u8>::growable(0, 1 << 30).map(drop),
            Region::options().size(4096).max_size(2 << 20).create().map(drop),
            Region::anonymous(2 << 20).map(drop),
        ];
        let are_told = too_large
            .iter()
            .all(|made| matches!(made, Err(Error::InvalidSize { reason }) if reason.contains("RLIMIT_FSIZE")));
        i32::from(!(are_told && Region::anonymous(1 << 20).is_ok()))
    });
    assert_eq!(child.wait(), End::Code(0));
}

/// `/dev/shm` with no room left, of the child's own. `false` where a child may not have that.
fn small_shm(bytes: &std::ffi::CStr) -> bool {
    let mount = |source: &std::ffi::CStr, target: &std::ffi::CStr, flags, data: *const libc::c_char| {
        // SAFETY: texts that live as long as the call.
        unsafe { libc::mount(source.as_ptr(), target.as_ptr(), c"tmpfs".as_ptr(), flags, data.cast()) == 0 }
    };
    // SAFETY: takes nothing.
    let is_root = unsafe { libc::geteuid() } == 0;
    let parts = libc::CLONE_NEWNS | if is_root { 0 } else { libc::CLONE_NEWUSER };
    // SAFETY: takes a number.
    let is_apart = unsafe { libc::unshare(parts) } == 0;
    is_apart
        && mount(c"none", c"/", libc::MS_REC | libc::MS_PRIVATE, std::ptr::null())
        && mount(c"none", c"/dev/shm", 0, bytes.as_ptr())
}

#[test]
fn a_full_file_system() {
    let _deadline = Deadline::seconds(60, "a_full_file_system");
    let mut child = Child::start(|| {
        if !small_shm(c"size=256k") {
            return 0;
        }
        let is_full = |result: Result<()>| assert!(matches!(result, Err(Error::OutOfMemory { .. })));
        let sparse = Region::options().name("sparse").size(1 << 20).sparse(true).create().unwrap();
        is_full(sparse.prefault(2));
        is_full(Region::options().name("touched").size(1 << 20).sparse(true).prefault(1).create().map(drop));
        drop(sparse);
        Region::unlink("sparse").unwrap();

        let region = Region::options().name("region").size(4096).max_size(1 << 24).create().unwrap();
        is_full(region.grow(1 << 20));
        assert_eq!(region.size(), 4096);
        region.grow(1 << 14).unwrap();
        let array = Array::<u64>::growable_in(&region, "array", 0, 1 << 16).unwrap();
        let mut count = 0;
        is_full(loop {
            match array.extend_from_slice(&[count; 512]) {
                Ok(()) => count += 1,
                error => break error,
            }
        });
        assert!(count >= 16 && array.len() as u64 == 512 * count);
        let elements = array.lock().unwrap();
        assert!(elements.chunks(512).enumerate().all(|(at, part)| part.iter().all(|n| *n == at as u64)));
        // Nothing at all is left.
        let rest = std::fs::File::create("/dev/shm/rest").unwrap();
        while std::io::Write::write_all(&mut &rest, &[1; 512]).is_ok() {}
        is_full(Region::options().name("no-room").size(1 << 20).sparse(true).create().map(drop));
        0
    });
    assert_eq!(child.wait(), End::Code(0));
}
