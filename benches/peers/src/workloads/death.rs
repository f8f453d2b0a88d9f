//! What becomes of the others when one is killed, by SIGKILL: tried, not claimed.
//!
//! A trial forks a victim, brings it to where it is to die, and survivors to where they depend on it; then it kills, and
//! waits until a survivor has gone on, or for two seconds, which are for ever.

use std::{
    sync::atomic::{
        AtomicU8, AtomicU64,
        Ordering::{AcqRel, Acquire, Relaxed, Release},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    peers::{boost, glibc, iceoryx, ipc_channel, ours, pipes, posix, procspawn, python, raw_sync},
    plan::{Case, Subject, Unit, ours as subject, peer},
    sample::{Measured, Outcome, Setup},
    shared::{Shareable, Shared},
    team::{self, Children},
    workloads::{
        barrier::Meeting,
        channel::{self, Channel, Shape},
        lock::Locker,
        manager::Store,
        pool::Tasks,
        process::Starter,
        rwlock::ReadWrite,
        semaphore::Signal,
    },
};

/// Who has not gone on by then never will.
const FOR_EVER: Duration = Duration::from_secs(2);
/// Until those who are about to wait do sleep.
const ASLEEP: Duration = Duration::from_millis(10);

const GOES_ON: &str = "goes on";
const TOLD: &str = "goes on, and is told";
const HANGS: &str = "hangs for ever";
const WRONG: &str = "goes wrong: a survivor fails";

/// Where processes of a trial tell how far they are.
#[repr(C)]
struct Board {
    /// How far the victim is.
    victim: AtomicU64,
    /// How far the survivors are.
    survivors: AtomicU64,
    /// How many messages arrived.
    count: AtomicU64,
    /// When a survivor went on, by [`team::now`].
    at: AtomicU64,
    length: AtomicU64,
    text: [AtomicU8; 200],
}

#[expect(unsafe_code, reason = "says what zeroed memory may be")]
// SAFETY: atomics, for which zero is valid.
unsafe impl Shareable for Board {}

impl Board {
    /// A survivor goes on, with this to say.
    fn goes_on(&self, verdict: &str) {
        let now = team::now();
        for (place, byte) in self.text.iter().zip(verdict.bytes()) {
            place.store(byte, Relaxed);
        }
        self.length.store(verdict.len().min(self.text.len()) as u64, Relaxed);
        self.at.store(now, Release);
    }

    /// What a survivor says by a result: whether it was told, or an error.
    fn says(&self, result: Result<bool, String>) {
        match result {
            Ok(false) => self.goes_on(GOES_ON),
            Ok(true) => self.goes_on(TOLD),
            Err(error) => self.goes_on(&format!("error: {error}")),
        }
    }

    /// Waits for a survivor, from `since` on, and ends them all.
    fn verdict(&self, since: u64, mut survivors: Children) -> Outcome {
        let deadline = Instant::now() + FOR_EVER;
        while self.at.load(Acquire) == 0 {
            if survivors.has_failed() && self.at.load(Acquire) == 0 {
                return Outcome::Death { verdict: WRONG.into(), seconds: None };
            }
            if Instant::now() >= deadline {
                return Outcome::Death { verdict: HANGS.into(), seconds: None };
            }
            thread::sleep(Duration::from_micros(20));
        }
        let text = &self.text[..self.length.load(Relaxed) as usize];
        let bytes: Vec<_> = text.iter().map(|byte| byte.load(Relaxed)).collect();
        let verdict = String::from_utf8_lossy(&bytes).into_owned();
        let seconds = Some(self.at.load(Acquire).saturating_sub(since) as f64 * 1e-9);
        Outcome::Death { verdict, seconds }
    }
}

fn wait_for(word: &AtomicU64, value: u64) {
    let deadline = Instant::now() + FOR_EVER;
    while word.load(Acquire) < value {
        assert!(Instant::now() < deadline, "somebody did not come as far as the trial needs");
        thread::sleep(Duration::from_micros(50));
    }
}

/// Stays where it is until it is killed.
fn stay() {
    loop {
        thread::park();
    }
}

/// Kills the victim, and says what becomes of the survivors, who are ended then.
fn kill(board: &Board, victim: libc::pid_t, survivors: Children) -> Outcome {
    thread::sleep(ASLEEP);
    let since = team::now();
    team::kill(victim);
    board.verdict(since, survivors)
}

fn lock_holder<L: Locker>(_: &Setup) -> Measured {
    let (lock, board) = (L::new()?, Shared::<Board>::zeroed());
    let victim = team::fork(|| {
        lock.locked(|| {
            board.victim.store(1, Release);
            stay();
        });
    });
    wait_for(&board.victim, 1);
    let survivor = team::fork(|| board.says(lock.after_death()));
    Ok(kill(&board, victim, Children(vec![survivor])))
}

/// Two wait for a lock; one of them is killed, then the lock is released.
fn lock_waiter<L: Locker>(_: &Setup) -> Measured {
    let (lock, board) = (L::new()?, Shared::<Board>::zeroed());
    let holder = team::fork(|| {
        lock.locked(|| {
            board.survivors.store(1, Release);
            while board.survivors.load(Acquire) < 2 {
                thread::sleep(Duration::from_micros(50));
            }
        });
        board.victim.store(2, Release);
    });
    wait_for(&board.survivors, 1);
    let victim = team::fork(|| {
        board.victim.store(1, Release);
        lock.locked(stay);
    });
    wait_for(&board.victim, 1);
    thread::sleep(ASLEEP);
    let survivor = team::fork(|| board.says(lock.after_death()));
    let others = Children(vec![holder, survivor]);
    thread::sleep(ASLEEP);
    team::kill(victim);
    let since = team::now();
    board.survivors.store(2, Release);
    Ok(board.verdict(since, others))
}

fn writer<L: ReadWrite>(_: &Setup) -> Measured {
    let (lock, board) = (L::new()?, Shared::<Board>::zeroed());
    let victim = team::fork(|| {
        lock.write(|| {
            board.victim.store(1, Release);
            stay();
        });
    });
    wait_for(&board.victim, 1);
    let survivor = team::fork(|| board.says(lock.after_death()));
    Ok(kill(&board, victim, Children(vec![survivor])))
}

fn reader<L: ReadWrite>(_: &Setup) -> Measured {
    let (lock, board) = (L::new()?, Shared::<Board>::zeroed());
    let victim = team::fork(|| {
        lock.read(|| {
            board.victim.store(1, Release);
            stay();
        });
    });
    wait_for(&board.victim, 1);
    let survivor = team::fork(|| board.says(lock.after_death()));
    Ok(kill(&board, victim, Children(vec![survivor])))
}

/// The owner of the only permit.
fn permit_owner<S: Signal>(_: &Setup) -> Measured {
    let (signal, board) = (S::new(1)?, Shared::<Board>::zeroed());
    let victim = team::fork(|| {
        signal.acquire();
        board.victim.store(1, Release);
        stay();
    });
    wait_for(&board.victim, 1);
    let survivor = team::fork(|| {
        signal.acquire();
        board.goes_on(GOES_ON);
    });
    Ok(kill(&board, victim, Children(vec![survivor])))
}

/// Two wait for a permit; one of them is killed, then a permit is given.
fn permit_waiter<S: Signal>(_: &Setup) -> Measured {
    let (signal, board) = (S::new(1)?, Shared::<Board>::zeroed());
    // Whoever has it lives, where permits have owners.
    signal.acquire();
    let victim = team::fork(|| {
        signal.acquire();
        stay();
    });
    thread::sleep(ASLEEP);
    let survivor = team::fork(|| {
        signal.acquire();
        board.goes_on(GOES_ON);
    });
    let survivors = Children(vec![survivor]);
    thread::sleep(ASLEEP);
    team::kill(victim);
    let since = team::now();
    signal.release();
    Ok(board.verdict(since, survivors))
}

/// Three parties have met once; then two wait for the third, and it is one of these two that is killed, or the third.
fn party<M: Meeting>(is_waiting: bool) -> Measured {
    let (meeting, board) = (M::new(3)?, Shared::<Board>::zeroed());
    let come = || {
        meeting.wait()?;
        board.survivors.fetch_add(1, AcqRel);
        Ok::<_, String>(())
    };
    let victim = team::fork(|| {
        come().expect("all live");
        board.victim.store(1, Release);
        if is_waiting {
            _ = meeting.wait();
        }
        stay();
    });
    let survivor = team::fork(|| {
        come().expect("all live");
        // Twice: a dead one that is counted as if it had come is missed the next time.
        let result = meeting.wait().and_then(|()| meeting.wait());
        match result {
            Ok(()) => board.goes_on(GOES_ON),
            Err(error) => board.goes_on(&format!("goes on, and is told: {error}")),
        }
    });
    let other = team::fork(|| {
        come().expect("all live");
        if is_waiting {
            // Comes after the death.
            while board.victim.load(Acquire) < 2 {
                thread::sleep(Duration::from_micros(50));
            }
        }
        _ = meeting.wait().and_then(|()| meeting.wait());
    });
    let survivors = Children(vec![survivor, other]);
    wait_for(&board.survivors, 3);
    wait_for(&board.victim, 1);
    thread::sleep(ASLEEP);
    let since = team::now();
    team::kill(victim);
    board.victim.store(2, Release);
    Ok(board.verdict(since, survivors))
}

/// Bytes of a message in a trial.
const SIZE: usize = 64;
/// Kills at random moments.
const KILLS: u64 = 60;

/// A moment of a stream: a few hundred microseconds on, never the same.
fn moment(turn: u64) -> Duration {
    // Knuth's multiplier: all moments are equally likely, and the same in each run.
    Duration::from_nanos(100_000 + turn.wrapping_mul(0x9e37_79b9_7f4a_7c15) % 400_000)
}

/// Two send, one takes; one of the two is killed in the middle of its stream, again and again at random moments.
fn producer<C: Channel>(setup: &Setup) -> Measured {
    let mut slowest = 0.0_f64;
    let kills = if setup.quick { 3 } else { KILLS };
    for turn in 0..kills {
        let channel = C::new(Shape { size: SIZE, pairs: 2 })?;
        let board = Shared::<Board>::zeroed();
        let send = |producer, upto: u64| {
            let mut sender = channel.sender();
            let mut message = [0; SIZE];
            for n in 0..upto {
                channel::number(&mut message, producer, n);
                C::send(&mut sender, &message).expect("a way");
            }
        };
        let victim = team::fork(|| {
            board.victim.store(1, Release);
            send(0, u64::MAX >> 16);
        });
        // All that the survivor sends must come, in order, and then its last word.
        let consumer = team::fork(|| {
            let mut receiver = channel.receiver();
            let mut message = [0; SIZE];
            let mut next = [0; 2];
            while board.count.load(Acquire) == 0 || next[1] < board.count.load(Acquire) {
                C::receive(&mut receiver, &mut message).expect("a message");
                let (producer, number) = channel::read(&message);
                assert_eq!(number, next[producer], "out of order, twice or lost");
                next[producer] += 1;
            }
            board.goes_on(GOES_ON);
        });
        wait_for(&board.victim, 1);
        thread::sleep(moment(turn));
        let since = team::now();
        team::kill(victim);
        // Before the first of them: the consumer must know the last one when it comes.
        board.count.store(100, Release);
        let survivor = team::fork(|| {
            send(1, 100);
        });
        let survivors = Children(vec![consumer, survivor]);
        match board.verdict(since, survivors) {
            Outcome::Death { seconds: Some(seconds), verdict } if verdict == GOES_ON => slowest = slowest.max(seconds),
            Outcome::Death { verdict, .. } => {
                return Ok(Outcome::Death {
                    verdict: format!("{verdict} (kill {} of {kills})", turn + 1),
                    seconds: None,
                });
            }
            other => return Ok(other),
        }
    }
    Ok(Outcome::Death { verdict: format!("{GOES_ON} ({kills} kills)"), seconds: Some(slowest) })
}

/// One sends, two take; one of the two is killed in the middle, again and again at random moments. The other one gets what
/// follows; how much was lost with the dead one shows in the numbers.
fn consumer<C: Channel>(setup: &Setup) -> Measured {
    let kills = if setup.quick { 3 } else { KILLS };
    let (mut slowest, mut most_lost) = (0.0_f64, 0);
    for turn in 0..kills {
        // For two at each end, though there is one producer.
        let channel = C::new(Shape { size: SIZE, pairs: 2 })?;
        let board = Shared::<Board>::zeroed();
        let producer = team::fork(|| {
            let mut sender = channel.sender();
            let mut message = [0; SIZE];
            for n in 0..u64::MAX >> 16 {
                channel::number(&mut message, 0, n);
                C::send(&mut sender, &message).expect("a way");
            }
        });
        let victim = team::fork(|| {
            let mut receiver = channel.receiver();
            let mut message = [0; SIZE];
            loop {
                C::receive(&mut receiver, &mut message).expect("a message");
                // Told after it was taken: what was taken and not told is lost.
                board.victim.fetch_add(1, AcqRel);
            }
        });
        let survivor = team::fork(|| {
            let mut receiver = channel.receiver();
            let mut message = [0; SIZE];
            let mut last = None;
            loop {
                C::receive(&mut receiver, &mut message).expect("a message");
                let number = channel::read(&message).1;
                assert!(last < Some(number), "out of order");
                last = Some(number);
                let taken = board.survivors.fetch_add(1, AcqRel) + 1;
                // After the death: a hundred more, and how many of all there were did not come.
                if board.count.load(Acquire) == 1 {
                    board.count.store(taken + 100, Release);
                } else if board.count.load(Acquire) > 1 && taken >= board.count.load(Acquire) {
                    let lost = number + 1 - taken.min(number + 1);
                    board.goes_on(&lost.saturating_sub(board.victim.load(Acquire)).to_string());
                    stay();
                }
            }
        });
        let survivors = Children(vec![producer, survivor]);
        wait_for(&board.victim, 1);
        thread::sleep(moment(turn));
        let since = team::now();
        team::kill(victim);
        board.count.store(1, Release);
        match board.verdict(since, survivors) {
            Outcome::Death { seconds: Some(seconds), verdict } => match verdict.parse::<u64>() {
                Ok(lost) => {
                    slowest = slowest.max(seconds);
                    most_lost = most_lost.max(lost);
                }
                Err(_) => return Ok(Outcome::Death { verdict, seconds: None }),
            },
            Outcome::Death { verdict, .. } => {
                return Ok(Outcome::Death {
                    verdict: format!("{verdict} (kill {} of {kills})", turn + 1),
                    seconds: None,
                });
            }
            other => return Ok(other),
        }
    }
    let verdict = format!("{GOES_ON}, at most {most_lost} message(s) lost with it ({kills} kills)");
    Ok(Outcome::Death { verdict, seconds: Some(slowest) })
}

/// A consumer waits for the only producer, which is killed.
fn last_producer<C: Channel>(_: &Setup) -> Measured {
    let channel = C::new(Shape { size: SIZE, pairs: 1 })?;
    let board = Shared::<Board>::zeroed();
    let until = |word: &AtomicU64, step| {
        while word.load(Acquire) < step {
            thread::sleep(Duration::from_micros(50));
        }
    };
    let victim = team::fork(|| {
        let mut sender = channel.sender();
        board.victim.store(1, Release);
        until(&board.survivors, 1);
        C::connect_sender(&mut sender);
        board.victim.store(2, Release);
        until(&board.survivors, 2);
        let mut message = [0; SIZE];
        channel::number(&mut message, 0, 0);
        C::send(&mut sender, &message).expect("a way");
        board.victim.store(3, Release);
        stay();
    });
    let survivor = team::fork(|| {
        // Where ends belong to whoever has them, nobody else has the producer's.
        channel.let_go();
        let mut receiver = channel.receiver();
        board.survivors.store(1, Release);
        until(&board.victim, 2);
        C::connect_receiver(&mut receiver);
        board.survivors.store(2, Release);
        let mut message = [0; SIZE];
        C::receive(&mut receiver, &mut message).expect("the first message");
        match C::receive(&mut receiver, &mut message) {
            Ok(()) => board.goes_on("error: gets a message that nobody sent"),
            Err(error) => board.goes_on(&format!("{TOLD}: {error}")),
        }
    });
    let survivors = Children(vec![survivor]);
    // Both have what they need, and this process has ends too.
    wait_for(&board.victim, 3);
    drop(channel);
    Ok(kill(&board, victim, survivors))
}

/// Two workers have a task each; one is killed. `task` takes so many microseconds, and gives an error if it is lost.
fn worker(task: impl Fn(u64) -> Result<u64, String> + Sync, victim: libc::pid_t) -> Measured {
    let (since, results) = thread::scope(|scope| {
        let tasks = [(); 2].map(|()| scope.spawn(|| (task(300_000), team::now())));
        thread::sleep(Duration::from_millis(30));
        let since = team::now();
        team::signal(victim);
        (since, tasks.map(|task| task.join().map_err(|_| "a panic".to_owned())))
    });
    let mut lost = None;
    for result in results {
        if let (Err(error), at) = result? {
            lost = Some((error, at));
        }
    }
    let (error, at) = lost.ok_or("the victim had no task")?;
    let seconds = Some(at.saturating_sub(since) as f64 * 1e-9);
    match task(1) {
        Ok(_) => Ok(Outcome::Death { verdict: format!("{GOES_ON}; the lost task is an error: {error}"), seconds }),
        Err(after) => Ok(Outcome::Death { verdict: format!("does not go on: {after}"), seconds: None }),
    }
}

fn pool_worker(_: &Setup) -> Measured {
    let pool = <ours::Pool as Tasks>::new(2)?;
    pool.one(1)?;
    let victim = *pool.pids().first().ok_or("no worker")?;
    worker(|micros| pool.task(micros), victim.cast_signed())
}

fn procspawn_worker(_: &Setup) -> Measured {
    let before = team::children();
    let pool = <procspawn::Pool as Tasks>::new(2)?;
    pool.one(1)?;
    let victim = team::children().into_iter().find(|pid| !before.contains(pid)).ok_or("no worker")?;
    worker(|micros| pool.task(micros, FOR_EVER), victim)
}

fn manager_server(_: &Setup) -> Measured {
    let keys = ["key".to_owned()];
    let store = <ours::Managed as Store>::new(&keys)?;
    let server = store.manager.process().ok_or("no server of this process")?.pid();
    store.get("key")?;
    let since = team::now();
    team::signal(server.cast_signed());
    // A request may have been answered in the meantime.
    let deadline = Instant::now() + FOR_EVER;
    loop {
        match store.get("key") {
            Err(error) => {
                let seconds = Some((team::now() - since) as f64 * 1e-9);
                return Ok(Outcome::Death { verdict: format!("error: {error}"), seconds });
            }
            Ok(_) if Instant::now() > deadline => return Ok(Outcome::Broken("it answers though it is dead".into())),
            Ok(_) => {}
        }
    }
}

/// A child that is killed while its parent waits for its result.
fn child<S: Starter>(_: &Setup) -> Measured {
    S::call(1)?;
    let before = team::children();
    let killer = thread::spawn(move || {
        let deadline = Instant::now() + FOR_EVER;
        while Instant::now() < deadline {
            if let Some(child) = team::children().into_iter().find(|pid| !before.contains(pid)) {
                thread::sleep(Duration::from_millis(30));
                let since = team::now();
                team::signal(child);
                return since;
            }
            thread::sleep(Duration::from_micros(200));
        }
        0
    });
    let result = S::slow_call(1_000_000);
    let at = team::now();
    let since = killer.join().map_err(|_| "a panic".to_owned())?;
    if since == 0 {
        return Err("no child was seen".into());
    }
    let seconds = Some(at.saturating_sub(since) as f64 * 1e-9);
    let verdict = match result {
        Ok(number) => format!("error: {number} came out"),
        Err(error) => format!("error: {error}"),
    };
    Ok(Outcome::Death { verdict, seconds })
}

/// A trial for each kind of lock.
macro_rules! locks {
    ($trial:ident, $python:literal) => {
        vec![
            subject("shmkit Lock", $trial::<ours::Lock>),
            subject("shmkit RLock", $trial::<ours::RLock>),
            peer("glibc mutex, pshared", $trial::<glibc::Mutex<false>>),
            peer("glibc mutex, robust", $trial::<glibc::Mutex<true>>),
            peer("POSIX semaphore as a lock", $trial::<posix::Sem>),
            peer("raw_sync Mutex", $trial::<raw_sync::Mutex>),
            peer("Boost interprocess_mutex", $trial::<boost::Mutex>),
            peer("Python Lock", |_| python::death($python)),
        ]
    };
}

/// A trial for each kind of reader-writer lock.
macro_rules! rwlocks {
    ($trial:ident) => {
        vec![
            subject("shmkit RwLock", $trial::<ours::RwLock>),
            peer("glibc rwlock, pshared", $trial::<glibc::RwLock>),
            peer("raw_sync RwLock", $trial::<raw_sync::RwLock>),
            peer("Boost interprocess_sharable_mutex", $trial::<boost::SharableMutex>),
        ]
    };
}

pub(crate) fn cases() -> Vec<Case> {
    let case = |id: &str, about: &str, subjects: Vec<Subject>| {
        Case::new(id.into(), about.into(), Unit::Milliseconds, Setup::ONE, subjects)
    };
    vec![
        case(
            "recovery/lock, holder",
            "the holder of a lock is killed; another one waits for it",
            locks!(lock_holder, "lock holder"),
        ),
        case(
            "death/lock, waiter",
            "of two that wait for a lock one is killed; then it is released",
            locks!(lock_waiter, "lock waiter"),
        ),
        case("recovery/rwlock, writer", "a writer is killed in the middle; another one waits", rwlocks!(writer)),
        case("recovery/rwlock, reader", "a reader is killed; a writer waits for it", rwlocks!(reader)),
        case(
            "recovery/semaphore, owner",
            "who has taken the only permit is killed; another one waits for it",
            vec![
                subject("shmkit BoundedSemaphore", permit_owner::<ours::Bounded>),
                subject("shmkit Semaphore (no owners)", permit_owner::<ours::Semaphore>),
                peer("POSIX semaphore", permit_owner::<posix::Sem>),
                peer("Boost interprocess_semaphore", permit_owner::<boost::Semaphore>),
                peer("Python Semaphore", |_| python::death("semaphore owner")),
            ],
        ),
        case(
            "death/semaphore, waiter",
            "of two that wait for a permit one is killed; then one is given",
            vec![
                subject("shmkit BoundedSemaphore", permit_waiter::<ours::Bounded>),
                subject("shmkit Semaphore", permit_waiter::<ours::Semaphore>),
                subject("shmkit Condvar", permit_waiter::<ours::Condition>),
                subject("shmkit Event, auto reset", permit_waiter::<ours::Event>),
                peer("POSIX semaphore", permit_waiter::<posix::Sem>),
                peer("glibc condition and mutex", permit_waiter::<glibc::Condition>),
                peer("raw_sync Event", permit_waiter::<raw_sync::Event>),
                peer("Boost interprocess_semaphore", permit_waiter::<boost::Semaphore>),
                peer("Python Semaphore", |_| python::death("semaphore waiter")),
            ],
        ),
        case(
            "recovery/barrier, waiting party",
            "of three parties one is killed while it waits; then the last one comes, and they meet once more",
            vec![
                subject("shmkit Barrier", |_| party::<ours::Barrier>(true)),
                peer("glibc barrier, pshared", |_| party::<glibc::Barrier>(true)),
                peer("Python Barrier", |_| python::death("barrier waiting")),
            ],
        ),
        case(
            "recovery/barrier, missing party",
            "two of three parties wait; the third one is killed before it comes",
            vec![
                subject("shmkit Barrier", |_| party::<ours::Barrier>(false)),
                peer("glibc barrier, pshared", |_| party::<glibc::Barrier>(false)),
                peer("Python Barrier", |_| python::death("barrier missing")),
            ],
        ),
        case(
            "recovery/channel, producer",
            "of two producers one is killed in the middle of a stream, at random moments",
            vec![
                subject("shmkit Queue", producer::<ours::Queue>),
                subject("shmkit Ring", producer::<ours::Ring>),
                peer("pipe", producer::<pipes::Pipe>),
                peer("Unix socket", producer::<pipes::Socket>),
                peer("POSIX message queue", producer::<posix::MessageQueue>),
                peer("Boost message_queue", producer::<boost::MessageQueue>),
                peer("Python Queue", |_| python::death("queue producer")),
            ],
        ),
        case(
            "recovery/channel, consumer",
            "of two consumers one is killed in the middle of a stream, at random moments",
            vec![
                subject("shmkit Queue", consumer::<ours::Queue>),
                subject("shmkit Ring", consumer::<ours::Ring>),
                peer("pipe", consumer::<pipes::Pipe>),
                peer("Unix socket", consumer::<pipes::Socket>),
                peer("POSIX message queue", consumer::<posix::MessageQueue>),
                peer("Boost message_queue", consumer::<boost::MessageQueue>),
                peer("Python Queue", |_| python::death("queue consumer")),
            ],
        ),
        case(
            "recovery/channel, last producer",
            "the only producer is killed; a consumer waits for it",
            vec![
                subject("shmkit Queue", last_producer::<ours::Queue>),
                subject("shmkit Ring", last_producer::<ours::Ring>),
                subject("shmkit SpscRing", last_producer::<ours::SpscRing>),
                subject("shmkit pipe", last_producer::<ours::Pipe>),
                peer("pipe", last_producer::<pipes::Pipe>),
                peer("Unix socket", last_producer::<pipes::Socket>),
                peer("POSIX message queue", last_producer::<posix::MessageQueue>),
                peer("ipc-channel", last_producer::<ipc_channel::Bytes>),
                peer("iceoryx2", last_producer::<iceoryx::Slices>),
                peer("Boost message_queue", last_producer::<boost::MessageQueue>),
                peer("Boost spsc_queue", last_producer::<boost::Spsc>),
                peer("Python Queue", |_| python::death("queue last")),
            ],
        ),
        case(
            "recovery/pool, worker",
            "a worker is killed in the middle of a task; the next task is given",
            vec![
                subject("shmkit Pool", pool_worker),
                peer("procspawn Pool", procspawn_worker),
                peer("Python Pool", |_| python::death("pool worker")),
            ],
        ),
        case(
            "death/process, child",
            "a child is killed; its parent waits for its result",
            vec![
                subject("shmkit Process", child::<ours::Spawn>),
                peer("procspawn", child::<procspawn::Spawn>),
                peer("Python Process", |_| python::death("process child")),
            ],
        ),
        case(
            "death/manager, server",
            "the server is killed; a client asks it",
            vec![
                subject("shmkit Manager", manager_server),
                peer("Python Manager", |_| python::death("manager server")),
            ],
        ),
    ]
}
