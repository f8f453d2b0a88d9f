//! What every queue promises, among forked processes, fresh ones and threads. Not under libtest, whose threads a fork
//! cannot copy: `main` runs the tests one after the other, those with threads last.
//!
//! Not here: objects that a feeder thread has not yet sent, for there is none; an object is in when `put` returns.

mod alone;

use std::{
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _, ser::Error as _};
use shmkit::{
    Error, Event, Process, Queue, Result,
    process::{Message, Outcome, StartMethod, Target},
};

const SOON: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(120);

/// Who is on the other side of a queue.
#[derive(Debug, Clone, Copy)]
enum Peer {
    Process(StartMethod),
    Thread,
}

enum Running<T> {
    Process(Process<T>),
    Thread(JoinHandle<Result<T>>),
}

type Output<F, A> = <<F as Target<A>>::Outcome as Outcome>::Output;

impl Peer {
    fn start<F, A>(self, target: F, args: A) -> Running<Output<F, A>>
    where
        F: Target<A>,
        A: Message + Send,
        Output<F, A>: Send,
    {
        match self {
            Self::Process(method) => {
                let builder = Process::builder(target).args(args).daemon(true).start_method(method);
                Running::Process(builder.start().unwrap())
            }
            Self::Thread => Running::Thread(thread::spawn(move || target.call(args).into_result())),
        }
    }
}

impl<T: Message> Running<T> {
    /// What it returned. A thread that hangs is ended by the alarm of `alone`.
    fn joined(self) -> T {
        match self {
            Self::Process(process) => process.join_timeout(SOON).unwrap().unwrap_or_else(|| {
                process.kill().unwrap();
                panic!("{process:?} has not ended")
            }),
            Self::Thread(thread) => thread.join().unwrap().unwrap(),
        }
    }
}

/// The tests by one kind of peer, under names that tell it.
macro_rules! tests_with {
    ($peer:expr, $suffix:literal: $($name:ident),* $(,)?) => {
        [$((concat!(stringify!($name), $suffix), (|| $name($peer)) as fn())),*]
    };
}

macro_rules! tests {
    ($peer:expr, $suffix:literal) => {
        tests_with! { $peer, $suffix:
            put,
            get,
            before_and_after_a_start,
            len,
            timeouts,
            task_done,
            task_done_too_often,
            objects_that_cannot_be_serialised,
            objects_that_cannot_be_deserialised,
            closed,
            closing_wakes_all,
            iterators_end,
        }
    };
}

fn main() {
    shmkit::init();
    let tests = [
        tests!(Peer::Process(StartMethod::Fork), "_by_fork"),
        tests!(Peer::Process(StartMethod::Spawn), "_by_spawn"),
        tests!(Peer::Thread, "_by_thread"),
    ];
    alone::run(tests.as_flattened());
}

fn queue<T: Message>(max_items: usize) -> Queue<T> {
    Queue::options().max_items(max_items).create().unwrap()
}

fn event() -> Event {
    Event::new().unwrap()
}

fn wait(event: &Event) {
    assert!(event.wait_timeout(SOON).unwrap());
}

/// What it says, and how long that took.
fn timed<T>(run: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let said = run();
    (said, start.elapsed())
}

/// All forms of an operation that cannot go on: those that wait do so for their time, and no others.
fn refused<T: std::fmt::Debug>(
    at_once: impl Fn() -> Result<T>,
    timeout: impl Fn(Duration) -> Result<T>,
    deadline: impl Fn(Instant) -> Result<T>,
) {
    assert!(at_once().unwrap_err().is_would_block());
    assert!(timeout(Duration::ZERO).unwrap_err().is_timed_out());
    assert!(deadline(Instant::now()).unwrap_err().is_timed_out());
    for (said, time) in [timed(|| timeout(SHORT)), timed(|| deadline(Instant::now() + SHORT))] {
        assert!(said.unwrap_err().is_timed_out());
        assert!(time >= SHORT && time < SOON, "{time:?}");
    }
}

/// `test_put`.
fn put(peer: Peer) {
    fn drain(queue: Queue<u32>, go: Event, done: Event) -> Result<Vec<u32>> {
        wait(&go);
        let taken = (0..6).map(|_| queue.get_timeout(SOON)).collect::<Result<_>>()?;
        done.set();
        Ok(taken)
    }
    let (queue, go, done) = (queue(6), event(), event());
    let child = peer.start(drain, (queue.clone(), go.clone(), done.clone()));
    assert!(queue.is_empty() && !queue.is_full());
    queue.put(&1).unwrap();
    queue.try_put(&2).unwrap();
    queue.put_timeout(&3, SOON).unwrap();
    queue.put_timeout(&4, Duration::ZERO).unwrap();
    queue.put_deadline(&5, Instant::now() + SOON).unwrap();
    assert!(!queue.is_empty() && !queue.is_full());
    queue.put_deadline(&6, Instant::now()).unwrap();
    assert!(!queue.is_empty() && queue.is_full());
    refused(|| queue.try_put(&7), |time| queue.put_timeout(&7, time), |end| queue.put_deadline(&7, end));
    assert_eq!((queue.len(), queue.max_items()), (6, Some(6)));
    go.set();
    wait(&done);
    assert!(queue.is_empty() && !queue.is_full());
    assert_eq!(child.joined(), [1, 2, 3, 4, 5, 6]);
}

/// `test_get`.
fn get(peer: Peer) {
    fn fill(queue: Queue<u32>, go: Event, done: Event) -> Result<()> {
        wait(&go);
        (2..=7).try_for_each(|object| queue.put(&object))?;
        done.set();
        Ok(())
    }
    let (queue, go, done) = (queue(0), event(), event());
    let child = peer.start(fill, (queue.clone(), go.clone(), done.clone()));
    assert!(queue.is_empty() && !queue.is_full());
    go.set();
    wait(&done);
    assert!(!queue.is_empty() && !queue.is_full());
    assert_eq!(queue.get().unwrap(), 2);
    assert_eq!(queue.try_get().unwrap(), 3);
    assert_eq!(queue.get_timeout(SOON).unwrap(), 4);
    assert_eq!(queue.get_timeout(Duration::ZERO).unwrap(), 5);
    assert_eq!(queue.get_deadline(Instant::now() + SOON).unwrap(), 6);
    assert!(!queue.is_empty());
    assert_eq!(queue.get_deadline(Instant::now()).unwrap(), 7);
    child.joined();
    // Alone with it now, where a child had it: who waits would wait for nobody.
    let alone = queue.get_timeout(SHORT).unwrap_err();
    assert!(matches!((peer, alone), (Peer::Process(_), Error::Disconnected) | (Peer::Thread, Error::TimedOut)));
    let queue = self::queue::<u32>(0);
    assert!(queue.is_empty() && !queue.is_full());
    refused(|| queue.try_get(), |time| queue.get_timeout(time), |end| queue.get_deadline(end));
}

/// `test_fork`.
fn before_and_after_a_start(peer: Peer) {
    fn put(queue: Queue<u32>) -> Result<()> {
        (10..20).try_for_each(|object| queue.put(&object))
    }
    let queue = queue(0);
    (0..10).for_each(|object| queue.put(&object).unwrap());
    peer.start(put, (queue.clone(),)).joined();
    // It has ended, and all that it put in is there.
    (0..20).for_each(|object| assert_eq!(queue.try_get().unwrap(), object));
    assert!(queue.try_get().unwrap_err().is_would_block());
}

/// `test_qsize`.
fn len(peer: Peer) {
    fn sizes(queue: Queue<String>) -> Result<Vec<usize>> {
        let mut sizes = vec![queue.len()];
        for _ in 0..2 {
            queue.put(&"x".into())?;
            sizes.push(queue.len());
        }
        for _ in 0..2 {
            queue.get()?;
            sizes.push(queue.len());
        }
        Ok(sizes)
    }
    let queue = queue(0);
    assert_eq!(sizes(queue.clone()).unwrap(), [0, 1, 2, 1, 0]);
    queue.put(&"here".into()).unwrap();
    assert_eq!(peer.start(sizes, (queue.clone(),)).joined(), [1, 2, 3, 2, 1]);
    assert_eq!((queue.len(), queue.get().unwrap().as_str()), (1, "x"));
}

/// `test_timeout`, here and there.
fn timeouts(peer: Peer) {
    fn wait_in_vain(queue: Queue<u32>) -> Duration {
        let (said, time) = timed(|| queue.get_timeout(Duration::from_millis(200)));
        assert!(said.unwrap_err().is_timed_out());
        time
    }
    let queue = queue(0);
    assert!(wait_in_vain(queue.clone()) >= Duration::from_millis(200));
    assert!(peer.start(wait_in_vain, (queue.clone(),)).joined() >= Duration::from_millis(200));
}

/// `test_task_done`: nobody is through a join while one task is not done.
fn task_done(peer: Peer) {
    fn work(tasks: Queue<Option<u32>>, done: Event) -> Result<u32> {
        let mut sum = 0;
        while let Some(task) = tasks.get_timeout(SOON)? {
            sum += task;
            // The last one waits for the word.
            if task == 10 {
                wait(&done);
            }
            tasks.task_done()?;
        }
        tasks.task_done()?;
        Ok(sum)
    }
    let (tasks, done) = (queue(0), event());
    let workers = [(); 4].map(|()| peer.start(work, (tasks.clone(), done.clone())));
    tasks.join().unwrap();
    (1..=10).for_each(|task| tasks.put(&Some(task)).unwrap());
    refused(|| tasks.try_join(), |time| tasks.join_timeout(time), |end| tasks.join_deadline(end));
    assert!(tasks.unfinished_tasks() >= 1);
    done.set();
    tasks.join_timeout(SOON).unwrap();
    assert_eq!((tasks.len(), tasks.unfinished_tasks()), (0, 0));
    // A second round of the same.
    (0..4).for_each(|_| tasks.put(&None).unwrap());
    tasks.join_deadline(Instant::now() + SOON).unwrap();
    assert_eq!(workers.into_iter().map(Running::joined).sum::<u32>(), 55);
    tasks.try_join().unwrap();
}

fn task_done_too_often(peer: Peer) {
    fn declare(tasks: Queue<u32>) -> Result<()> {
        // Whoever took it.
        tasks.task_done()?;
        assert!(matches!(tasks.task_done(), Err(Error::InvalidArgument { .. })));
        Ok(())
    }
    let tasks = queue(0);
    assert!(matches!(tasks.task_done(), Err(Error::InvalidArgument { .. })));
    tasks.put(&1).unwrap();
    assert_eq!(tasks.get().unwrap(), 1);
    peer.start(declare, (tasks.clone(),)).joined();
    assert!(matches!(tasks.task_done(), Err(Error::InvalidArgument { .. })));
    assert_eq!(tasks.unfinished_tasks(), 0);
    tasks.join().unwrap();
}

/// Refuses to be serialised (1) or deserialised (2).
#[derive(Debug, PartialEq)]
struct Picky(u8);

impl Serialize for Picky {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            1 => Err(S::Error::custom("not this one")),
            other => serializer.serialize_u8(other),
        }
    }
}

impl<'de> Deserialize<'de> for Picky {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u8::deserialize(deserializer)? {
            2 => Err(D::Error::custom("not this one")),
            other => Ok(Self(other)),
        }
    }
}

fn is_refused<T>(result: Result<T>) -> bool {
    matches!(result, Err(Error::NotSendable { .. }))
}

/// `test_queue_feeder_donot_stop_onexc`: the error is that of `put`, and the queue is as it was.
fn objects_that_cannot_be_serialised(peer: Peer) {
    fn try_it(queue: Queue<(u64, Picky)>) -> Result<bool> {
        let is_refused = is_refused(queue.put(&(7, Picky(1))));
        queue.try_put(&(8, Picky(8)))?;
        Ok(is_refused)
    }
    let queue = queue(1);
    for _ in 0..3 {
        assert!(is_refused(queue.put(&(1, Picky(1)))) && is_refused(queue.put_timeout(&(1, Picky(1)), SHORT)));
    }
    assert_eq!((queue.len(), queue.unfinished_tasks()), (0, 0));
    assert!(peer.start(try_it, (queue.clone(),)).joined());
    assert!(queue.is_full());
    // Told at once, and not that there is no room.
    assert!(is_refused(queue.try_put(&(1, Picky(1)))));
    assert_eq!(queue.get().unwrap(), (8, Picky(8)));
}

/// Such an object is taken, and done.
fn objects_that_cannot_be_deserialised(peer: Peer) {
    fn put(queue: Queue<(Picky, String)>) -> Result<()> {
        for n in [2, 3, 2, 4] {
            queue.put_timeout(&(Picky(n), n.to_string()), SOON)?;
        }
        Ok(())
    }
    let queue = queue(1);
    let child = peer.start(put, (queue.clone(),));
    for n in [3, 4] {
        assert!(is_refused(queue.get_timeout(SOON)));
        assert_eq!(queue.get_timeout(SOON).unwrap(), (Picky(n), n.to_string()));
    }
    child.joined();
    assert_eq!((queue.len(), queue.unfinished_tasks()), (0, 2));
    (0..2).for_each(|_| queue.task_done().unwrap());
    queue.join().unwrap();
    assert!(queue.task_done().is_err());
}

fn is_closed<T>(result: Result<T>) -> bool {
    matches!(result, Err(Error::Closed))
}

/// `test_closed_queue_put_get_exceptions`, and of the simple queue `test_empty`, `test_close` and `test_closed`.
fn closed(peer: Peer) {
    fn all_is_closed(queue: Queue<u32>) -> bool {
        let puts = [queue.put(&1), queue.try_put(&1), queue.put_timeout(&1, SOON)];
        let gets = [queue.get(), queue.try_get(), queue.get_deadline(Instant::now() + SOON)];
        queue.is_closed() && puts.into_iter().all(is_closed) && gets.into_iter().all(is_closed)
    }
    fn close(queue: Queue<u32>) -> Result<()> {
        queue.put(&2)?;
        queue.close();
        queue.close();
        Ok(())
    }
    let queue = queue(2);
    assert!(queue.is_empty());
    queue.put(&1).unwrap();
    assert!(!queue.is_empty() && !queue.is_closed());
    peer.start(close, (queue.clone(),)).joined();
    queue.close();
    assert!(queue.is_closed() && is_closed(queue.put(&3)) && is_closed(queue.put_timeout(&3, SOON)));
    // What is in can be taken, and done.
    assert_eq!((queue.get().unwrap(), queue.try_get().unwrap()), (1, 2));
    assert!(queue.is_empty() && all_is_closed(queue.clone()));
    assert!(peer.start(all_is_closed, (queue.clone(),)).joined());
    (0..2).for_each(|_| queue.task_done().unwrap());
    queue.join().unwrap();
}

fn closing_wakes_all(peer: Peer) {
    fn get(queue: Queue<u32>, waits: Queue<u8>) -> Result<bool> {
        waits.put(&0)?;
        Ok(is_closed(queue.get_timeout(SOON)))
    }
    fn put(queue: Queue<u32>, waits: Queue<u8>) -> Result<bool> {
        waits.put(&0)?;
        Ok(is_closed(queue.put_timeout(&2, SOON)))
    }
    let (empty, full, waits) = (queue(1), queue(1), queue(0));
    full.put(&1).unwrap();
    let getters = [(); 2].map(|()| peer.start(get, (empty.clone(), waits.clone())));
    let putters = [(); 2].map(|()| peer.start(put, (full.clone(), waits.clone())));
    (0..4).for_each(|_| assert_eq!(waits.get_timeout(SOON).unwrap(), 0));
    // Most of them sleep by then.
    thread::sleep(Duration::from_millis(20));
    empty.close();
    full.close();
    assert!(getters.into_iter().chain(putters).all(Running::joined));
    assert_eq!(full.get().unwrap(), 1);
}

/// `Closed` ends it without an error, an object that cannot be had does not end it.
fn iterators_end(peer: Peer) {
    fn take(queue: Queue<Picky>) -> (Vec<u8>, u32) {
        let (mut taken, mut refused) = (Vec::new(), 0);
        for object in &queue {
            match object {
                Ok(object) => taken.push(object.0),
                Err(error) => {
                    assert!(is_refused::<()>(Err(error)));
                    refused += 1;
                }
            }
        }
        let mut all = queue.iter();
        assert!(all.next().is_none() && all.next().is_none());
        (taken, refused)
    }
    let queue = queue(2);
    let child = peer.start(take, (queue.clone(),));
    [3, 2, 4, 2, 5].iter().for_each(|n| queue.put_timeout(&Picky(*n), SOON).unwrap());
    queue.close();
    assert_eq!(child.joined(), (vec![3, 4, 5], 2));
}
