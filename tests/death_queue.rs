//! Who waits for a queue that nobody else has any more, and for tasks that dead processes had taken.
//!
//! One test at a time: a child of another test has the memory of this one's queues, and counts as somebody who has
//! them.

#![allow(unsafe_code, reason = "the children's module forks")]

mod scratch;
mod support;

use std::{
    fs,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI32, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use serde::{Deserialize, Deserializer, Serialize};
use shmkit::{Error, Event, Process, Queue, Region, Result};
use support::{Board, Child, Deadline, End, Flag, eventually, is_raised, raise, sleep_for_ever};

shmkit::init_in_tests!();

const SOON: Duration = Duration::from_secs(20);
/// Longer than a slice, after which whoever waits looks again.
const A_WHILE: Duration = Duration::from_millis(250);

fn alone(what: &'static str) -> (MutexGuard<'static, ()>, Deadline) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    (ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner), Deadline::seconds(120, what))
}

fn queue() -> Queue<u32> {
    Queue::options().max_items(2).create().unwrap()
}

fn wait(event: &Event) {
    assert!(event.wait_timeout(SOON).unwrap());
}

fn is_disconnected<T>(said: &Result<T>) -> bool {
    matches!(said, Err(Error::Disconnected))
}

/// Something that is done to a queue.
type Act = fn(&Queue<u32>) -> Result<()>;

/// How a process leaves.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
enum Leaving {
    Killed,
    Exits,
    Returns,
    /// The handle, and lives on.
    Drops,
    /// Becomes another program.
    Execs,
}

const WAYS: [Leaving; 5] = [Leaving::Killed, Leaving::Exits, Leaving::Returns, Leaving::Drops, Leaving::Execs];

/// A child that has the queue until it is to leave.
struct Peer {
    process: Process<()>,
    go: Event,
    leaving: Leaving,
}

impl Peer {
    /// It has done something to the queue, first.
    fn start(queue: &Queue<u32>, first: Act, leaving: Leaving) -> Self {
        fn run(queue: Queue<u32>, first: usize, there: Event, go: Event, leaving: Leaving) -> Result<()> {
            FIRST[first](&queue)?;
            there.set();
            wait(&go);
            match leaving {
                Leaving::Killed => sleep_for_ever(),
                Leaving::Exits => std::process::exit(0),
                Leaving::Returns => {}
                Leaving::Drops => {
                    drop(queue);
                    sleep_for_ever()
                }
                Leaving::Execs => {
                    let mut command = std::process::Command::new("sleep");
                    panic!("{}", std::os::unix::process::CommandExt::exec(command.arg("1000")));
                }
            }
            Ok(())
        }
        let (there, go) = (Event::new().unwrap(), Event::new().unwrap());
        let first = FIRST.iter().position(|known| std::ptr::fn_addr_eq(*known, first)).expect("one of these");
        let args = (queue.clone(), first, there.clone(), go.clone(), leaving);
        let process = Process::builder(run).args(args).daemon(true).start().unwrap();
        wait(&there);
        Self { process, go, leaving }
    }

    fn leaves(&self) {
        self.go.set();
        if let Leaving::Killed = self.leaving {
            self.process.kill().unwrap();
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.join_timeout(SOON);
    }
}

/// What a child can do first.
const FIRST: [Act; 4] = [nothing, puts_two, takes_one, takes_one_and_does_it];

fn nothing(_: &Queue<u32>) -> Result<()> {
    Ok(())
}

fn puts_two(queue: &Queue<u32>) -> Result<()> {
    queue.put(&1)?;
    queue.put(&2)
}

fn takes_one(queue: &Queue<u32>) -> Result<()> {
    queue.get_timeout(SOON).map(drop)
}

fn takes_one_and_does_it(queue: &Queue<u32>) -> Result<()> {
    takes_one(queue)?;
    queue.task_done()
}

/// What `operation` says, where `then` happens as soon as it sleeps.
fn while_waiting<T: Send>(operation: impl FnOnce() -> T + Send, then: impl FnOnce()) -> T {
    let thread = AtomicI32::new(0);
    thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            thread.store(rustix::thread::gettid().as_raw_nonzero().get(), SeqCst);
            operation()
        });
        eventually(|| {
            let stat = fs::read_to_string(format!("/proc/self/task/{}/stat", thread.load(SeqCst)));
            waiter.is_finished() || stat.is_ok_and(|stat| stat.contains(") S "))
        });
        then();
        waiter.join().unwrap()
    })
}

/// Something that waits, and what it needs to be in before.
type Operation = (&'static str, u32, Act);

const OPERATIONS: [Operation; 3] =
    [("get", 0, |queue| queue.get().map(drop)), ("put", 2, |queue| queue.put(&3)), ("join", 1, |queue| queue.join())];

#[test]
fn the_last_other_leaves() {
    let _alone = alone("the_last_other_leaves");
    for leaving in WAYS {
        for (name, before, operation) in OPERATIONS {
            let queue = queue();
            (0..before).for_each(|object| queue.put(&object).unwrap());
            let peer = Peer::start(&queue, nothing, leaving);
            let said = while_waiting(|| operation(&queue), || peer.leaves());
            assert!(is_disconnected(&said), "{name}, {leaving:?}: {said:?}");
            // And who begins to wait only now.
            assert!(is_disconnected(&operation(&queue)), "{name}, {leaving:?}");
            let said = [queue.get_timeout(SOON).map(drop), queue.get_timeout(SOON).map(drop)];
            assert!(before == 2 || is_disconnected(&said[1]));
            assert!(queue.try_get().unwrap_err().is_would_block());
        }
    }
}

/// What there is room for goes in, and what is in comes out: only who would wait is told.
#[test]
fn what_is_left_is_not_lost() {
    let _alone = alone("what_is_left_is_not_lost");
    for leaving in WAYS {
        let queue = queue();
        let peer = Peer::start(&queue, puts_two, leaving);
        let said = while_waiting(|| queue.put_timeout(&3, SOON), || peer.leaves());
        assert!(is_disconnected(&said), "{leaving:?}: {said:?}");
        assert_eq!((queue.get().unwrap(), queue.get_timeout(SOON).unwrap()), (1, 2));
        assert!(is_disconnected(&queue.get()));
        queue.put(&3).unwrap();
        assert_eq!(queue.get().unwrap(), 3);
        // All are this process's own.
        assert!(queue.join_timeout(A_WHILE).unwrap_err().is_timed_out());
        (0..3).for_each(|_| queue.task_done().unwrap());
        queue.join().unwrap();
        queue.close();
        assert!(matches!(queue.get(), Err(Error::Closed)));
    }
}

#[test]
fn one_of_two_leaves() {
    let _alone = alone("one_of_two_leaves");
    for leaving in [Leaving::Killed, Leaving::Drops] {
        let queue = queue();
        let (first, second) = (Peer::start(&queue, nothing, leaving), Peer::start(&queue, nothing, leaving));
        first.leaves();
        assert!(queue.get_timeout(A_WHILE).unwrap_err().is_timed_out());
        let said = while_waiting(|| queue.get_timeout(SOON), || second.leaves());
        assert!(is_disconnected(&said), "{leaving:?}: {said:?}");
        // Somebody new is somebody, too.
        let third = Peer::start(&queue, nothing, leaving);
        assert!(queue.get_timeout(A_WHILE).unwrap_err().is_timed_out());
        third.leaves();
        assert!(is_disconnected(&queue.get_timeout(SOON)));
    }
}

/// Two children wait for the parent, which drops its handle; and then for each other, until one dies.
#[test]
fn the_maker_leaves() {
    fn get(queue: Queue<u32>, waits: Event) -> Result<()> {
        waits.set();
        assert!(is_disconnected(&queue.get_timeout(SOON)));
        Ok(())
    }
    let _alone = alone("the_maker_leaves");
    let (queue, waits) = (queue(), Event::new().unwrap());
    let child = Process::spawn(get, (queue.clone(), waits.clone())).unwrap();
    let peer = Peer::start(&queue, nothing, Leaving::Killed);
    drop(queue);
    wait(&waits);
    assert!(child.join_timeout(A_WHILE).unwrap().is_none());
    peer.leaves();
    child.join_timeout(SOON).unwrap().expect("it has been told");
}

#[test]
fn nobody_else_has_been() {
    let _alone = alone("nobody_else_has_been");
    for (name, before, operation) in OPERATIONS {
        let queue = queue();
        (0..before).for_each(|object| queue.put(&object).unwrap());
        // Until another thread helps.
        let said = thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(A_WHILE);
                match name {
                    "get" => queue.put(&1).unwrap(),
                    "put" => queue.get().map(drop).unwrap(),
                    _ => queue.get().and_then(|_| queue.task_done()).unwrap(),
                }
            });
            operation(&queue)
        });
        said.unwrap();
    }
}

#[test]
fn who_may_wait_alone() {
    let _alone = alone("who_may_wait_alone");
    let (name, other) = (scratch::Name::new(), scratch::Name::new());
    let region = Region::create(&*other, 1 << 16).unwrap();
    let options = Queue::options().capacity(4096).max_items(2);
    for queue in [
        options.clone().waits_alone(true).create().unwrap(),
        options.create_at(&*name).unwrap(),
        options.create_in(&region, "queue").unwrap(),
    ] {
        let peer = Peer::start(&queue, nothing, Leaving::Killed);
        let said = while_waiting(|| queue.get_timeout(2 * A_WHILE), || peer.leaves());
        assert!(said.unwrap_err().is_timed_out());
        (0..2).for_each(|n| queue.put(&n).unwrap());
        assert!(queue.put_timeout(&3, A_WHILE).unwrap_err().is_timed_out());
        assert!(queue.join_timeout(A_WHILE).unwrap_err().is_timed_out());
    }
    // A name that leads to it only for those who have the region.
    let region = Region::anonymous(1 << 16).unwrap();
    let queue = options.create_in(&region, "queue").unwrap();
    let peer = Peer::start(&queue, nothing, Leaving::Killed);
    assert!(is_disconnected(&while_waiting(|| queue.get_timeout(SOON), || peer.leaves())));
}

/// Takes its time to arrive, or never does.
#[derive(Serialize)]
struct Late {
    arrives: bool,
}

impl<'de> Deserialize<'de> for Late {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let arrives = bool::deserialize(deserializer)?;
        thread::sleep(2 * A_WHILE);
        if !arrives {
            std::process::abort();
        }
        Ok(Self { arrives })
    }
}

/// A child that is being started is somebody, until it is dead.
#[test]
fn a_child_under_way() {
    fn put(late: Late, queue: Queue<u32>) -> Result<()> {
        queue.put(&u32::from(late.arrives))
    }
    let _alone = alone("a_child_under_way");
    for had_another in [true, false] {
        let queue = queue();
        if had_another {
            Peer::start(&queue, nothing, Leaving::Returns).leaves();
            assert!(is_disconnected(&queue.get_timeout(SOON)));
        }
        let child = Process::spawn(put, (Late { arrives: true }, queue.clone())).unwrap();
        assert_eq!(queue.get_timeout(SOON).unwrap(), 1);
        child.join_timeout(SOON).unwrap().unwrap();
    }
    for had_another in [true, false] {
        let queue = queue();
        if had_another {
            Peer::start(&queue, nothing, Leaving::Returns).leaves();
        }
        let child = Process::spawn(put, (Late { arrives: false }, queue.clone())).unwrap();
        let said = queue.get_timeout(SOON);
        assert!(is_disconnected(&said), "{said:?}, although there was one: {had_another}");
        assert!(child.join().is_err());
    }
}

/// A fork has the queue, although nobody sees it in the table of its users.
#[test]
fn a_fork_that_has_not_used_it() {
    let _alone = alone("a_fork_that_has_not_used_it");
    let queue = queue();
    drop(Peer::start(&queue, nothing, Leaving::Returns));
    let mut child = Child::start(|| {
        thread::sleep(2 * A_WHILE);
        queue.put(&1).map_or(1, |()| 0)
    });
    assert_eq!(queue.get_timeout(SOON).unwrap(), 1);
    assert_eq!(child.wait(), End::Code(0));
    assert!(is_disconnected(&queue.get_timeout(SOON)));
}

/// What the dead had taken is missed by who waits for all to be done, whenever it begins; others can do it in their
/// stead.
#[test]
fn tasks_are_lost() {
    let _alone = alone("tasks_are_lost");
    for leaving in WAYS {
        for begins_late in [false, true] {
            let queue = queue();
            queue.put(&1).unwrap();
            let peer = Peer::start(&queue, takes_one, leaving);
            let lost = |said| matches!(said, Err(Error::TasksLost { tasks: 1 }));
            if begins_late {
                peer.leaves();
                assert!(lost(queue.join_timeout(SOON)), "{leaving:?}");
            }
            let said = while_waiting(|| queue.join_timeout(SOON), || peer.leaves());
            assert!(lost(said), "{leaving:?}");
            assert!(lost(queue.try_join()), "{leaving:?}");
            queue.put(&1).unwrap();
            assert_eq!(queue.get().unwrap(), 1);
            queue.task_done().unwrap();
            assert!(lost(queue.join()), "{leaving:?}");
            queue.task_done().unwrap();
            queue.join().unwrap();
        }
    }
}

/// As long as others have tasks, or can take them, it is too early to say so.
#[test]
fn tasks_are_lost_last() {
    let _alone = alone("tasks_are_lost_last");
    let queue = Queue::new().unwrap();
    (0..3).for_each(|task| queue.put(&task).unwrap());
    let dies = Peer::start(&queue, takes_one, Leaving::Killed);
    let does = Peer::start(&queue, takes_one_and_does_it, Leaving::Killed);
    dies.leaves();
    assert!(queue.join_timeout(A_WHILE).unwrap_err().is_timed_out(), "one is in still");
    let mut worker = Child::start(|| {
        queue.get_timeout(SOON).unwrap();
        thread::sleep(2 * A_WHILE);
        queue.task_done().map_or(1, |()| 0)
    });
    assert!(matches!(queue.join_timeout(SOON), Err(Error::TasksLost { tasks: 1 })));
    assert_eq!((worker.wait(), queue.unfinished_tasks()), (End::Code(0), 1));
    does.leaves();
    queue.put(&4).unwrap();
    drop((dies, does));
    assert!(is_disconnected(&queue.join_timeout(SOON)), "nobody is left to take it");
}

/// A task that was declared done before it was taken is not expected of whoever takes it then.
#[test]
fn a_task_is_done_before_it_is_taken() {
    let _alone = alone("a_task_is_done_before_it_is_taken");
    let queue = queue();
    (1..3).for_each(|task| queue.put(&task).unwrap());
    queue.task_done().unwrap();
    let _lives = Peer::start(&queue, takes_one, Leaving::Killed);
    let dies = Peer::start(&queue, takes_one, Leaving::Killed);
    dies.leaves();
    let said = queue.join_timeout(SOON);
    assert!(matches!(said, Err(Error::TasksLost { tasks: 1 })), "{said:?}");
    queue.task_done().unwrap();
    queue.join().unwrap();
}

/// Those who are dead did what they declared, and no more than one task of each may be miscounted.
#[test]
fn a_worker_is_killed_at_any_moment() {
    let _alone = alone("a_worker_is_killed_at_any_moment");
    let mut random = support::Random::new();
    for _ in 0..100 {
        let queue = Queue::new().unwrap();
        let begun = Board::<Flag>::new();
        (0..1000).for_each(|task| queue.put(&task).unwrap());
        let mut worker = Child::start(|| {
            loop {
                raise(&begun);
                queue.get().unwrap();
                queue.task_done().unwrap();
            }
        });
        eventually(|| is_raised(&begun));
        random.pause(Duration::from_micros(500));
        worker.kill();
        assert_eq!(worker.wait(), End::Signal(libc::SIGKILL));
        let left = (0..).take_while(|_| queue.try_get().is_ok()).count();
        (0..left).for_each(|_| queue.task_done().unwrap());
        match queue.join_timeout(SOON) {
            Ok(()) | Err(Error::TasksLost { tasks: 1 }) => assert!(queue.unfinished_tasks() <= 1),
            said => panic!("{said:?}"),
        }
    }
}
