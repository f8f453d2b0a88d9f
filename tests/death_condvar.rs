//! Condition variables whose waiters and notifiers are killed: every notification that a survivor gives while others
//! wait is received by one that lives to use it.

mod support;

use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst},
    time::{Duration, Instant},
};

use shmkit::{Condvar, Error, Lock, LockGuard, Value};
use support::{Board, Child, Deadline, End, Flag, Random, eventually, is_raised, kills::random_kills, raise};

const SOON: Duration = Duration::from_secs(10);
const ROUNDS: usize = 250;

fn waiting(condition: &Condvar, n: usize) {
    eventually(|| condition.n_waiting().unwrap() == n);
}

/// Takes the lock, and waits for a notification; whether a dead holder poisoned the lock does not matter.
fn receive(lock: &Lock, condition: &Condvar) {
    let mut guard = lock.recover_timeout(SOON).unwrap();
    match condition.wait_timeout(&mut guard, SOON) {
        Ok(()) | Err(Error::Poisoned { .. }) => {}
        Err(error) => panic!("{error}"),
    }
}

/// Two of five waiters are killed, at random moments before and after they are notified. Nobody can use a notification
/// before all of that is over, for the lock is held meanwhile: so the survivors must receive every one of them, and not
/// one more.
#[test]
fn waiters_are_killed() {
    const VICTIMS: usize = 2;
    const SURVIVORS: usize = 3;
    let _deadline = Deadline::seconds(240, "waiters_are_killed");
    let mut random = Random::new();
    let (lock, condition) = (Lock::new().unwrap(), Condvar::new().unwrap());
    let mut twice = 0;
    for round in 0..ROUNDS {
        let received = Board::<AtomicU32>::new();
        let start = || {
            Child::start(|| {
                receive(&lock, &condition);
                received.fetch_add(1, SeqCst);
                0
            })
        };
        let (mut victims, mut survivors) = (Vec::new(), Vec::new());
        while victims.len() + survivors.len() < VICTIMS + SURVIVORS {
            let is_victim = survivors.len() == SURVIVORS || victims.len() < VICTIMS && random.below(2) == 0;
            if is_victim { &mut victims } else { &mut survivors }.push(start());
            // In this order.
            waiting(&condition, victims.len() + survivors.len());
        }
        let guard: LockGuard<'_> = lock.lock().unwrap();
        let mut given = 0;
        for victim in &victims {
            let many = random.below(3) as usize;
            given += condition.notify_n(many).unwrap();
            random.pause(Duration::from_micros(100));
            victim.kill();
            if random.below(2) == 0 {
                random.pause(Duration::from_micros(300));
            }
        }
        given += condition.notify_n(random.below(2) as usize).unwrap();
        for victim in &mut victims {
            assert_eq!(victim.wait(), End::Signal(libc::SIGKILL), "round {round}");
        }
        drop(guard);
        let wanted = given.min(SURVIVORS);
        eventually(|| received.load(SeqCst) as usize >= wanted);
        // Those who have not received any wait on, unless a victim died while it passed one on, which then is passed on
        // once more.
        let left = condition.notify_all().unwrap();
        let spurious = (SURVIVORS - wanted).checked_sub(left).expect("more are left than have received none");
        assert!(spurious < VICTIMS, "round {round}: {given} given, {left} left");
        twice += spurious;
        assert!(survivors.iter_mut().all(|survivor| survivor.wait() == End::Code(0)), "round {round}");
    }
    assert!(twice <= ROUNDS / 20, "{twice} were passed on twice");
    assert_eq!(condition.notify_all().unwrap(), 0);
}

/// The oldest waiter is notified and killed before it can run: the next one has the notification, without waiting until
/// its slice is over.
#[test]
fn the_dead_pass_on() {
    let _deadline = Deadline::seconds(60, "the_dead_pass_on");
    let (lock, condition) = (Lock::new().unwrap(), Condvar::new().unwrap());
    let mut fastest = SOON;
    for _ in 0..20 {
        let mut victims = [(); 2].map(|()| {
            let before = condition.n_waiting().unwrap();
            let victim = Child::start(|| {
                receive(&lock, &condition);
                0
            });
            waiting(&condition, before + 1);
            victim.wait_until_asleep();
            victim.signal(libc::SIGSTOP);
            victim.wait_until_stopped();
            victim
        });
        let mut heir = Child::start(|| {
            receive(&lock, &condition);
            0
        });
        waiting(&condition, 3);
        heir.wait_until_asleep();
        assert_eq!(condition.notify_one().unwrap(), 1);
        // From the first to the second, and from that to the heir.
        for victim in &mut victims {
            victim.kill();
            victim.wait();
        }
        let since = Instant::now();
        assert_eq!(heir.wait(), End::Code(0));
        fastest = fastest.min(since.elapsed());
        assert_eq!(condition.n_waiting().unwrap(), 0);
    }
    assert!(fastest < Duration::from_millis(50), "{fastest:?}");
}

/// A notification is passed on to those who waited when it was given, and to nobody who came later.
#[test]
fn latecomers_inherit_nothing() {
    let _deadline = Deadline::seconds(60, "latecomers_inherit_nothing");
    let (lock, condition) = (Lock::new().unwrap(), Condvar::new().unwrap());
    let waiter = || {
        let before = condition.n_waiting().unwrap();
        let child = Child::start(|| {
            receive(&lock, &condition);
            0
        });
        waiting(&condition, before + 1);
        child
    };
    let mut victim = waiter();
    victim.wait_until_asleep();
    victim.signal(libc::SIGSTOP);
    victim.wait_until_stopped();
    assert_eq!(condition.notify_one().unwrap(), 1);
    let mut late = waiter();
    victim.kill();
    victim.wait();
    // Time enough for many looks at the dead one.
    std::thread::sleep(Duration::from_millis(300));
    assert!(!late.has_ended());
    assert_eq!((condition.n_waiting().unwrap(), condition.notify_one().unwrap()), (1, 1));
    assert_eq!(late.wait(), End::Code(0));
}

/// One that was notified becomes another program, by its other thread: the notification is passed on.
#[test]
fn exec_passes_on() {
    let _deadline = Deadline::seconds(60, "exec_passes_on");
    let (lock, condition) = (Lock::new().unwrap(), Condvar::new().unwrap());
    for _ in 0..5 {
        let go = Board::<Flag>::new();
        let mut victim = Child::start(|| {
            std::thread::scope(|scope| {
                scope.spawn(|| receive(&lock, &condition));
                eventually(|| is_raised(&go));
                let error = std::os::unix::process::CommandExt::exec(std::process::Command::new("sleep").arg("1000"));
                error.raw_os_error().unwrap_or(1)
            })
        });
        waiting(&condition, 1);
        let mut heir = Child::start(|| {
            receive(&lock, &condition);
            0
        });
        waiting(&condition, 2);
        let guard = lock.lock().unwrap();
        assert_eq!(condition.notify_one().unwrap(), 1);
        raise(&go);
        // The thread that was notified is gone when the program is another one.
        let name = format!("/proc/{}/comm", victim.pid());
        eventually(|| std::fs::read_to_string(&name).is_ok_and(|name| name.trim() == "sleep"));
        drop(guard);
        assert_eq!(heir.wait(), End::Code(0));
        assert!(!victim.has_ended(), "it sleeps as another program");
        assert_eq!(condition.notify_all().unwrap(), 0);
    }
}

/// As many as there are places wait and are killed: their places are free.
#[test]
fn places_come_back() {
    let _deadline = Deadline::seconds(120, "places_come_back");
    let (lock, condition) = (Lock::new().unwrap(), Condvar::new().unwrap());
    for notified in [0, 3, 128] {
        // Threads, for so many processes take their time.
        let mut victim = Child::start(|| {
            std::thread::scope(|scope| {
                for _ in 0..128 {
                    scope.spawn(|| receive(&lock, &condition));
                }
            });
            0
        });
        waiting(&condition, 128);
        let guard = lock.lock().unwrap();
        assert_eq!(condition.notify_n(notified).unwrap(), notified);
        victim.kill();
        victim.wait();
        drop(guard);
        eventually(|| condition.n_waiting().unwrap() == 0);
        assert_eq!(condition.notify_all().unwrap(), 0);
    }
}

/// One that notifies is killed, again and again: what it has told everybody finds out, with one more notification for
/// what it could not tell any more.
#[test]
fn notifiers_are_killed() {
    let _deadline = Deadline::seconds(120, "notifiers_are_killed");
    let mut random = Random::new();
    let (number, condition) = (Value::new(0_u64).unwrap(), Condvar::new().unwrap());
    let seen = Board::<[AtomicU64; 3]>::new();
    let waiters: Vec<Child> = (0..3)
        .map(|at: usize| {
            let (number, condition, seen) = (&number, &condition, &seen);
            Child::start(move || {
                let mut guard = number.recover().unwrap();
                loop {
                    guard.clear_poison();
                    seen[at].store(*guard, SeqCst);
                    let last = *guard;
                    match condition.wait_while(&mut guard, |number| **number == last) {
                        Ok(()) | Err(Error::Poisoned { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            })
        })
        .collect();
    for round in 0..ROUNDS {
        let start = *number.recover().unwrap();
        let mut victim = Child::start(|| {
            loop {
                let mut guard = number.recover().unwrap();
                guard.clear_poison();
                *guard += 1;
                if *guard % 2 == 0 {
                    drop(guard);
                }
                condition.notify_n(2).unwrap();
            }
        });
        eventually(|| seen.iter().any(|one| one.load(SeqCst) > start));
        random.pause(Duration::from_micros(200));
        victim.kill();
        victim.wait();
        let last = {
            let mut guard = number.recover_timeout(SOON).unwrap();
            guard.clear_poison();
            *guard
        };
        condition.notify_all().unwrap();
        eventually(|| seen.iter().all(|one| one.load(SeqCst) >= last));
        let since = Instant::now();
        waiting(&condition, 3);
        assert!(since.elapsed() < Duration::from_secs(5), "round {round}");
    }
    assert!(waiters.into_iter().all(|mut waiter| !waiter.has_ended()));
}

/// Eight workers, each of which notifies one and waits to be notified; random ones are killed at random moments.
#[test]
fn random_kills_around_a_condition() {
    let (lock, condition) = (Lock::new().unwrap(), Condvar::new().unwrap());
    random_kills("random_kills_around_a_condition", |progress| {
        let mut guard = lock.recover_timeout(SOON).unwrap();
        if let Some(poison) = guard.poison() {
            assert!(poison.pid.is_none_or(|pid| progress.was_killed(pid)));
            progress.mend_pair();
            guard.clear_poison();
        }
        progress.check_pair();
        progress.change_pair();
        if condition.notify_one().unwrap() == 1 {
            // Who was notified may be killed with the notification used, and nobody else be awake: hence not for ever.
            match condition.wait_timeout(&mut guard, Duration::from_millis(20)) {
                Ok(()) | Err(Error::TimedOut | Error::Poisoned { .. }) => {}
                Err(error) => panic!("{error}"),
            }
            if guard.poison().is_some() {
                progress.mend_pair();
                guard.clear_poison();
            }
            progress.check_pair();
        }
    });
    assert_eq!(condition.n_waiting().unwrap(), 0);
    assert_eq!(condition.notify_all().unwrap(), 0);
}
