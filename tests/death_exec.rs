//! Processes that become other programs: to all others that is a death, also if the new program, which has the same process
//! id, comes to the same memory.

mod scratch;
mod support;

use std::{
    env,
    os::unix::process::CommandExt,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use shmkit::{Array, Barrier, BoundedSemaphore, Error, Lock, RLock, Region, Result, RwLock};
use support::{Board, Child, Deadline, End, Flag, eventually, is_raised, raise, sleep_for_ever};

const SOON: Duration = Duration::from_secs(20);

/// Tells a new start of this program which region to come to; [`reborn`] does.
const REGION: &str = "SHMKIT_TEST_REGION";
/// What it is to do there.
const PART: &str = "SHMKIT_TEST_PART";

/// All that can be had of a region.
struct All {
    lock: Lock,
    again: RLock,
    array: Array<u8>,
    read: RwLock<u8>,
    written: RwLock<u8>,
    permits: BoundedSemaphore,
    barrier: Barrier,
}

impl All {
    fn make(name: &str) -> Result<Self> {
        let region = Region::create(name, 1 << 20)?;
        Ok(Self {
            lock: Lock::new_in(&region, "lock")?,
            again: RLock::new_in(&region, "again")?,
            array: Array::zeros_in(&region, "array", 10)?,
            read: RwLock::new_in(&region, "read", 1)?,
            written: RwLock::new_in(&region, "written", 1)?,
            permits: BoundedSemaphore::new_in(&region, "permits", 2)?,
            barrier: Barrier::new_in(&region, "barrier", 2)?,
        })
    }

    fn open(name: &str) -> Result<Self> {
        let region = Region::open(name)?;
        Ok(Self {
            lock: Lock::open_in(&region, "lock")?,
            again: RLock::open_in(&region, "again")?,
            array: Array::open_in(&region, "array")?,
            read: RwLock::open_in(&region, "read")?,
            written: RwLock::open_in(&region, "written")?,
            permits: BoundedSemaphore::open_in(&region, "permits")?,
            barrier: Barrier::open_in(&region, "barrier")?,
        })
    }

    /// Takes part in everything, and has something of everything when `run` is called.
    fn with_all_held(&self, run: impl FnOnce()) {
        assert!(self.barrier.wait_timeout(Duration::ZERO).unwrap_err().is_timed_out());
        self.barrier.reset().unwrap();
        let _locks = (self.lock.lock().unwrap(), self.again.lock().unwrap(), self.again.lock().unwrap());
        let _claims = (self.array.claim_mut(2..5).unwrap(), self.array.claim(7..).unwrap());
        let _guards = (self.read.read().unwrap(), self.written.write().unwrap());
        let _permit = self.permits.acquire().unwrap();
        self.permits.acquire().unwrap().detach();
        run();
    }

    /// What whoever comes next finds, when the process `pid` is no more what it was.
    fn check(&self, pid: u32) {
        let is_poisoned = |error: Error| matches!(error, Error::Poisoned { pid: by, .. } if by == Some(pid));
        assert!(is_poisoned(self.lock.lock_timeout(SOON).unwrap_err()));
        assert!(is_poisoned(self.again.lock_timeout(SOON).unwrap_err()));
        let Error::Poisoned { range, .. } = self.array.lock_timeout(SOON).unwrap_err() else { panic!("not poisoned") };
        assert_eq!(range, Some(2..5));
        assert!(self.array.claim_mut_timeout(5.., SOON).is_ok());
        assert!(self.read.write_timeout(SOON).is_ok());
        assert!(is_poisoned(self.written.read_timeout(SOON).unwrap_err()));
        drop((self.permits.acquire_timeout(SOON).unwrap(), self.permits.acquire_timeout(SOON).unwrap()));
        let broken = self.barrier.wait_timeout(SOON).unwrap_err();
        assert!(matches!(broken, Error::BarrierBroken { pid: by } if by == Some(pid)), "{broken}");
    }
}

/// Not a test, but what a new start of this program runs: see [`REGION`].
#[test]
fn reborn() {
    let (Ok(name), Ok(part)) = (env::var(REGION), env::var(PART)) else { return };
    let _deadline = Deadline::seconds(100, "reborn");
    let all = All::open(&name).unwrap();
    match &*part {
        "checks" => all.check(std::process::id()),
        _ => sleep_for_ever(),
    }
}

/// A child that takes part in the region, and then starts this program anew, in itself.
fn is_reborn(name: &str, part: &str) -> Child {
    let (program, has_all) = (env::current_exe().unwrap(), Board::<Flag>::new());
    let child = Child::start(|| {
        All::open(name).unwrap().with_all_held(|| {
            raise(&has_all);
            let mut command = Command::new(program);
            command.args(["--exact", "reborn"]).env(REGION, name).env(PART, part);
            panic!("{}", command.stdout(Stdio::null()).stderr(Stdio::null()).exec());
        });
        1
    });
    eventually(|| is_raised(&has_all));
    child
}

/// The program starts itself anew, and comes back to its region: what it had is not its own any more.
#[test]
fn a_program_that_starts_itself_anew_finds_what_it_left() {
    let _deadline = Deadline::seconds(100, "a_program_that_starts_itself_anew_finds_what_it_left");
    let name = scratch::Name::new();
    let all = All::make(&name).unwrap();
    assert_eq!(is_reborn(&name, "checks").wait(), End::Code(0));
    drop(all);
}

/// The same for others, who see the same process at the same memory all the time.
#[test]
fn others_find_what_a_program_left_that_started_itself_anew() {
    let _deadline = Deadline::seconds(100, "others_find_what_a_program_left_that_started_itself_anew");
    let name = scratch::Name::new();
    let all = All::make(&name).unwrap();
    let mut child = is_reborn(&name, "stays");
    let maps = format!("/proc/{}/maps", child.pid());
    let comm = format!("/proc/{}/cmdline", child.pid());
    eventually(|| std::fs::read_to_string(&comm).is_ok_and(|line| line.contains("reborn")));
    eventually(|| std::fs::read_to_string(&maps).is_ok_and(|maps| maps.contains(&*name)));
    all.check(child.pid());
    assert!(!child.has_ended());
}

/// The thread that has everything becomes another program, while another one of the process does something else: the
/// kernel gives it another id before it looks at its locks.
#[test]
fn a_second_thread_becomes_another_program() {
    let _deadline = Deadline::seconds(100, "a_second_thread_becomes_another_program");
    let name = scratch::Name::new();
    let all = All::make(&name).unwrap();
    let has_all = Board::<Flag>::new();
    let mut child = Child::start(|| {
        thread::scope(|scope| {
            scope.spawn(|| {
                all.with_all_held(|| {
                    raise(&has_all);
                    panic!("{}", Command::new("sleep").arg("1000").exec());
                });
            });
        });
        1
    });
    eventually(|| is_raised(&has_all));
    all.check(child.pid());
    assert!(!child.has_ended(), "it sleeps as another program");
}
