//! The contracts of `_TestBarrier` in the field's most used suite, in our terms: five parties, processes and threads
//! mixed; and what a barrier says of those who die before they arrive.

mod support;

use std::{
    sync::atomic::{AtomicU64, Ordering::SeqCst},
    thread,
    time::{Duration, Instant},
};

use shmkit::{
    AtomicArray, AtomicValue, Barrier, BarrierWaitResult, Error, Process, Result,
    process::{ExitStatus, Message, Target},
};
use support::{Board, Child, Deadline, End, joined, stop_and_go, storm_of_signals};

shmkit::init_in_tests!();

const N: usize = 5;

/// No test of this file waits longer for anything.
const DEADLINE: Duration = Duration::from_secs(60);

/// How a child saw the barrier end.
fn verdict(result: Result<BarrierWaitResult>) -> i64 {
    match result {
        Ok(passed) => passed.index() as i64,
        Err(Error::BarrierBroken { .. }) => -1,
        Err(Error::TimedOut) => -2,
        Err(error) => panic!("{error}"),
    }
}

/// Runs `target` in three processes and two threads, and returns what they said.
fn five<F: Target<A, Outcome = i64>, A: Message + Clone + Sync>(target: F, args: &A) -> Vec<i64> {
    let processes: Vec<_> = (0..3).map(|_| Process::spawn(target, args.clone()).unwrap()).collect();
    let mut answers: Vec<i64> = thread::scope(|scope| {
        let threads: Vec<_> = (0..2).map(|_| scope.spawn(|| target.call(args.clone()))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    answers.extend(processes.iter().map(joined));
    answers
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// A barrier whose waits end before a test would hang.
fn barrier() -> Barrier {
    let barrier = Barrier::new(N).unwrap();
    barrier.set_timeout(Some(DEADLINE));
    barrier
}

/// `passes` times: nobody begins with one phase before all have ended the last.
fn in_lockstep(barrier: Barrier, ended: AtomicArray<u64>) -> i64 {
    for phase in ended.iter() {
        phase.fetch_add(1, SeqCst);
        barrier.wait().unwrap();
        assert_eq!(phase.load(SeqCst), N as u64);
    }
    0
}

/// `test_barrier`, `test_barrier_10`, `test_thousand`.
#[test]
fn parties_pass_in_lockstep() {
    for passes in [1, 10, 1000] {
        let (barrier, ended) = (barrier(), AtomicArray::<u64>::zeros(passes).unwrap());
        five(in_lockstep, &(barrier.clone(), ended));
        assert_eq!((barrier.n_waiting(), barrier.is_broken()), (0, false));
    }
}

/// `test_wait_return`: one leader, and an index for each.
#[test]
fn indices_are_distinct() {
    let mut indices = five(|barrier: Barrier| verdict(barrier.wait()), &(barrier(),));
    indices.sort_unstable();
    assert_eq!(indices, [0, 1, 2, 3, 4]);
}

/// `test_action`.
#[test]
fn an_action_runs_once_before_anybody_passes() {
    let count = AtomicValue::new(0_u64).unwrap();
    let acted = five(
        |barrier: Barrier, count: AtomicValue<u64>| {
            let leads = barrier.wait_with(|| {
                count.fetch_add(1, SeqCst);
                Ok(())
            });
            assert_eq!(count.load(SeqCst), 1);
            i64::from(leads.unwrap().is_leader())
        },
        &(barrier(), count),
    );
    assert_eq!(acted.iter().sum::<i64>(), 1);
}

/// By every form of the wait: with an action or without, the party that comes last runs its own, and no other does.
#[test]
fn every_form_passes() {
    let _deadline = Deadline::seconds(60, "every_form_passes");
    let barrier = Barrier::new(2).unwrap();
    let soon = || Instant::now() + DEADLINE;
    let never = || -> Result<()> { panic!("not the last") };
    type Pass<'a> = &'a (dyn Fn() -> Result<BarrierWaitResult> + Sync);
    let first: [Pass<'_>; 6] = [
        &|| barrier.wait(),
        &|| barrier.wait_timeout(DEADLINE),
        &|| barrier.wait_deadline(soon()),
        &|| barrier.wait_with(never),
        &|| barrier.wait_with_timeout(never, DEADLINE),
        &|| barrier.wait_with_deadline(never, soon()),
    ];
    let acted = AtomicU64::new(0);
    let act = || -> Result<()> {
        acted.fetch_add(1, SeqCst);
        Ok(())
    };
    let last: [(bool, Pass<'_>); 8] = [
        (false, &|| barrier.wait()),
        (false, &|| barrier.try_wait()),
        (false, &|| barrier.wait_timeout(Duration::ZERO)),
        (false, &|| barrier.wait_deadline(Instant::now())),
        (true, &|| barrier.wait_with(act)),
        (true, &|| barrier.try_wait_with(act)),
        (true, &|| barrier.wait_with_timeout(act, Duration::ZERO)),
        (true, &|| barrier.wait_with_deadline(act, Instant::now())),
    ];
    for first in first {
        for (acts, last) in last {
            acted.store(0, SeqCst);
            thread::scope(|scope| {
                let other = scope.spawn(first);
                until("the other waits", || barrier.n_waiting() == 1);
                assert_eq!(last().unwrap().index(), 0);
                assert_eq!(other.join().unwrap().unwrap().index(), 1);
            });
            assert_eq!(acted.load(SeqCst), u64::from(acts));
        }
    }
    // In vain, by those that end: no action is run, and all but a mere attempt break it.
    for (breaks, pass) in [
        (false, &|| barrier.try_wait() as Result<_>),
        (false, &|| barrier.try_wait_with(never)),
        (true, &|| barrier.wait_timeout(Duration::from_millis(1))),
        (true, &|| barrier.wait_deadline(Instant::now())),
        (true, &|| barrier.wait_with_timeout(never, Duration::from_millis(1))),
        (true, &|| barrier.wait_with_deadline(never, Instant::now())),
    ] as [(bool, Pass<'_>); 6]
    {
        let error = pass().unwrap_err();
        assert_eq!((error.is_timed_out(), error.is_would_block()), (breaks, !breaks));
        assert_eq!((barrier.is_broken(), barrier.n_waiting()), (breaks, 0));
        barrier.reset().unwrap();
    }
}

#[test]
fn a_failing_action_breaks_it_for_the_others() {
    let barrier = barrier();
    let mut said = five(
        |barrier: Barrier| match barrier.wait_with(|| Err(Error::ReadOnly)) {
            Err(Error::ReadOnly) => 1,
            other => verdict(other),
        },
        &(barrier.clone(),),
    );
    said.sort_unstable();
    assert_eq!(said, [-1, -1, -1, -1, 1]);
    assert!(barrier.is_broken());
}

/// The time of the others goes on while an action runs, and who ran it is told that it was too long.
#[test]
fn an_action_that_lasts_too_long() {
    let _deadline = Deadline::seconds(60, "an_action_that_lasts_too_long");
    let barrier = Barrier::new(2).unwrap();
    thread::scope(|scope| {
        let other = scope.spawn(|| barrier.wait_timeout(Duration::from_millis(100)));
        until("the other waits", || barrier.n_waiting() == 1);
        let said = barrier.wait_with(|| {
            until("the other gave up", || barrier.is_broken());
            Ok(())
        });
        assert!(matches!(said, Err(Error::BarrierBroken { pid: None })));
        assert!(other.join().unwrap().unwrap_err().is_timed_out());
    });
}

#[test]
fn a_panicking_action_breaks_it_for_the_others() {
    let barrier = Barrier::new(2).unwrap();
    thread::scope(|scope| {
        let other = scope.spawn(|| barrier.wait_timeout(DEADLINE));
        until("the other waits", || barrier.n_waiting() == 1);
        let caught = std::panic::catch_unwind(|| barrier.wait_with(|| panic!("of the action")));
        assert!(caught.is_err());
        assert!(matches!(other.join().unwrap(), Err(Error::BarrierBroken { pid: None })));
    });
}

/// `test_abort`: by one of five.
#[test]
fn an_abort_is_seen_by_all_who_wait() {
    let (barrier, chosen) = (barrier(), AtomicValue::new(0_u64).unwrap());
    let mut said = five(
        |barrier: Barrier, chosen: AtomicValue<u64>| {
            if chosen.fetch_add(1, SeqCst) == 2 {
                barrier.abort();
                return 7;
            }
            verdict(barrier.wait())
        },
        &(barrier.clone(), chosen),
    );
    said.sort_unstable();
    assert_eq!(said, [-1, -1, -1, -1, 7]);
    assert!(barrier.is_broken(), "and stays so");
}

/// `test_reset`: with four inside; then all five pass.
#[test]
fn a_reset_turns_out_who_waits() {
    let (barrier, chosen) = (barrier(), AtomicValue::new(0_u64).unwrap());
    let mut said = five(
        |barrier: Barrier, chosen: AtomicValue<u64>| {
            let first = if chosen.fetch_add(1, SeqCst) == 2 {
                until("four are inside", || barrier.n_waiting() == 4);
                barrier.reset().unwrap();
                7
            } else {
                verdict(barrier.wait())
            };
            assert!(barrier.wait().is_ok());
            first
        },
        &(barrier.clone(), chosen),
    );
    said.sort_unstable();
    assert_eq!(said, [-1, -1, -1, -1, 7]);
    assert!(!barrier.is_broken());
}

/// `test_abort_and_reset`.
#[test]
fn a_reset_mends_what_was_aborted() {
    let barrier = barrier();
    barrier.abort();
    assert_eq!(verdict(barrier.wait()), -1);
    barrier.reset().unwrap();
    let mut indices = five(|barrier: Barrier| verdict(barrier.wait()), &(barrier.clone(),));
    indices.sort_unstable();
    assert_eq!(indices, [0, 1, 2, 3, 4]);
}

/// `test_timeout`, `test_default_timeout`: four run out of time or are told so, and so is the fifth, which is late.
#[test]
fn a_time_out_breaks_it_for_all() {
    for by_default in [false, true] {
        let (barrier, chosen) = (barrier(), AtomicValue::new(0_u64).unwrap());
        if by_default {
            barrier.set_timeout(Some(Duration::from_millis(200)));
        }
        let said = five(
            |barrier: Barrier, chosen: AtomicValue<u64>, by_default: bool| {
                if chosen.fetch_add(1, SeqCst) == 4 {
                    until("the others gave up", || barrier.is_broken());
                    return verdict(barrier.wait());
                }
                verdict(if by_default { barrier.wait() } else { barrier.wait_timeout(Duration::from_millis(200)) })
            },
            &(barrier.clone(), chosen, by_default),
        );
        assert!(said.iter().all(|one| *one < 0) && said.contains(&-2), "{said:?}");
        assert!(barrier.is_broken());
    }
}

/// `test_single_thread`.
#[test]
fn one_party_never_waits() {
    let barrier = Barrier::new(1).unwrap();
    for _ in 0..3 {
        assert!(barrier.wait().unwrap().is_leader());
        assert!(barrier.try_wait().unwrap().is_leader());
    }
}

#[test]
fn impossible_numbers_are_errors() {
    for parties in [0, Barrier::MAX + 1, usize::MAX] {
        assert!(matches!(Barrier::new(parties), Err(Error::InvalidArgument { .. })), "{parties}");
    }
    assert!(Barrier::new(Barrier::MAX).is_ok());
}

#[test]
fn time_outs_take_their_time() {
    let barrier = Barrier::new(2).unwrap();
    let time = Duration::from_millis(120);
    for deadline in [false, true] {
        barrier.reset().unwrap();
        let start = Instant::now();
        let said = if deadline { barrier.wait_deadline(start + time) } else { barrier.wait_timeout(time) };
        assert_eq!(verdict(said), -2);
        assert!(start.elapsed() >= time);
    }
}

/// A child that was given the barrier, and is killed before it has arrived, or before it has begun at all.
#[test]
fn a_child_that_never_comes_breaks_it() {
    fn child(_barrier: Barrier, started: AtomicValue<u64>) {
        started.store(1, SeqCst);
        loop {
            thread::sleep(DEADLINE);
        }
    }
    for round in 0..20 {
        let (barrier, started) = (Barrier::new(2).unwrap(), AtomicValue::new(0_u64).unwrap());
        let process = Process::spawn(child, (barrier.clone(), started.clone())).unwrap();
        if round % 2 == 0 {
            until("the child has begun", || started.load(SeqCst) == 1);
        }
        process.kill().unwrap();
        let error = barrier.wait_timeout(DEADLINE).unwrap_err();
        assert!(
            matches!(error, Error::BarrierBroken { pid } if pid == Some(process.pid())),
            "{error} in round {round}"
        );
        assert!(process.join().is_err());
        assert_eq!(process.exit_status().unwrap(), ExitStatus::Signal(9));
    }
}

/// A child that was given the barrier and ends in good order is no party that died.
#[test]
fn a_child_that_only_looks_breaks_nothing() {
    for _ in 0..20 {
        let barrier = Barrier::new(2).unwrap();
        joined(&Process::spawn(|barrier: Barrier| assert_eq!(barrier.n_waiting(), 0), (barrier.clone(),)).unwrap());
        assert!(barrier.wait_timeout(Duration::from_millis(20)).unwrap_err().is_timed_out());
    }
}

/// A child that could not be started is not waited for, and one that brings its barrier back is not expected.
#[test]
fn a_place_that_is_not_taken_is_given_up() {
    let barrier = Barrier::new(1).unwrap();
    for _ in 0..5 {
        let nowhere = Process::builder(|_: Barrier| ()).args((barrier.clone(),)).current_dir("/nowhere/at/all");
        assert!(nowhere.start().is_err());
        let back = Process::spawn(|barrier: Barrier| -> Result<_> { Ok(barrier) }, (barrier.clone(),)).unwrap();
        assert!(joined(&back).is_same(&barrier));
    }
    // Both records are free, so that two other processes could be parties.
    let waits = |barrier: Barrier| barrier.wait().is_ok();
    let processes = [(); 2].map(|()| Process::spawn(waits, (barrier.clone(),)).unwrap());
    assert!(processes.iter().all(joined));
    assert!(!barrier.is_broken());
}

/// Two children of two threads each, and this thread: as often as there are phases, in lockstep.
struct Parties {
    barrier: Barrier,
    ended: Board<[AtomicU64; PHASES]>,
}

const PHASES: usize = 200;

impl Parties {
    fn new() -> Self {
        Self { barrier: barrier(), ended: Board::new() }
    }

    /// What each does, `late` in every phase.
    fn pass(&self, late: Duration) {
        for phase in self.ended.iter() {
            if !late.is_zero() {
                thread::sleep(late);
            }
            phase.fetch_add(1, SeqCst);
            self.barrier.wait().unwrap();
            assert_eq!(phase.load(SeqCst), N as u64);
        }
    }

    /// The children, of which every thread does `first` before it takes part.
    fn children(&self, first: impl Fn() + Sync) -> [Child; 2] {
        let party = || {
            first();
            self.pass(Duration::ZERO);
        };
        [(); 2].map(|()| {
            Child::start(|| {
                thread::scope(|scope| {
                    scope.spawn(party);
                    party();
                });
                0
            })
        })
    }

    fn check(&self) {
        assert!(self.ended.iter().all(|phase| phase.load(SeqCst) == N as u64));
        assert_eq!((self.barrier.n_waiting(), self.barrier.is_broken()), (0, false));
    }
}

/// A signal every millisecond: a wait keeps its length, and nothing breaks.
#[test]
fn signals() {
    let _deadline = Deadline::seconds(60, "signals");
    let (parties, alone, signals) = (Parties::new(), Barrier::new(N).unwrap(), Board::<AtomicU64>::new());
    let mut children = parties.children(|| {
        storm_of_signals(signals.get());
        let (start, time) = (Instant::now(), Duration::from_millis(250));
        // The first whose time is over breaks it for the others.
        if verdict(alone.wait_timeout(time)) == -2 {
            assert!(start.elapsed() >= time);
        }
    });
    parties.pass(Duration::from_millis(1)); // late, so that the others are interrupted in their sleep
    assert!(children.iter_mut().all(|child| child.wait() == End::Code(0)));
    assert!(signals.load(SeqCst) > 400, "{} signals", signals.load(SeqCst));
    assert!(alone.is_broken());
    parties.check();
}

/// Parties that are stopped at any moment are waited for.
#[test]
fn stopped_parties() {
    let _deadline = Deadline::seconds(120, "stopped_parties");
    let parties = Parties::new();
    let mut children = parties.children(|| ());
    thread::scope(|scope| {
        scope.spawn(|| parties.pass(Duration::from_micros(500)));
        stop_and_go(&mut children);
    });
    parties.check();
}

/// What the parties of [`a_new_process_takes_the_place_of_a_dead_one`] share: how often they have passed, how many
/// have told of a death, who has died, how often it was repaired; that they are to end, and that they do.
#[derive(Clone, Copy)]
enum Word {
    Passes,
    Told,
    Dead,
    Repairs,
    End,
    Ends,
}

/// Passes again and again. After a death it tells, waits for the repair and goes on.
fn enduring_party(barrier: Barrier, words: AtomicArray<u64>, mut repairs: u64) {
    let word = |word: Word| &words[word as usize];
    while word(Word::Ends).load(SeqCst) == 0 {
        let decide = || {
            word(Word::Passes).fetch_add(1, SeqCst);
            // Once for all: each looks at `End` at another time.
            word(Word::Ends).store(word(Word::End).load(SeqCst), SeqCst);
            Ok(())
        };
        match barrier.wait_with(decide) {
            Ok(_) => {}
            Err(Error::BarrierBroken { pid: Some(pid) }) => {
                assert_eq!(u64::from(pid), word(Word::Dead).load(SeqCst), "the wrong one is named");
                word(Word::Told).fetch_add(1, SeqCst);
                until("the repair", || word(Word::Repairs).load(SeqCst) > repairs);
                repairs += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// Those who are left stay, and meet a new process at the same barrier; the new one may die before it has begun.
#[test]
fn a_new_process_takes_the_place_of_a_dead_one() {
    let (barrier, words) = (barrier(), AtomicArray::<u64>::zeros(6).unwrap());
    let word = |word: Word| &words[word as usize];
    let start = |repairs| Process::spawn(enduring_party, (barrier.clone(), words.clone(), repairs)).unwrap();
    let mut parties = [(); N].map(|()| start(0));
    for round in 0..40_u64 {
        // Each twice: the second time it is the one who came last.
        let at = round as usize / 2 % N;
        if round % 4 != 1 {
            let aim = word(Word::Passes).load(SeqCst) + round % 5 + 1;
            until("they pass", || word(Word::Passes).load(SeqCst) >= aim);
        }
        word(Word::Dead).store(parties[at].pid().into(), SeqCst);
        parties[at].kill().unwrap();
        assert!(matches!(parties[at].join(), Err(Error::ChildDied { .. })));
        until("all are told", || word(Word::Told).load(SeqCst) == (round + 1) * (N as u64 - 1));
        barrier.reset().unwrap();
        parties[at] = start(round + 1);
        word(Word::Repairs).store(round + 1, SeqCst);
    }
    word(Word::End).store(1, SeqCst);
    parties.iter().for_each(joined);
}
