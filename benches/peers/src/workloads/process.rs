//! Starting a process that adds 1 to a number, and getting the result.

use crate::{
    peers::{ours, procspawn, python, std as std_peer},
    plan::{Case, Unit, limit, ours as subject, peer},
    sample::{Measured, Outcome, Setup, calibrated},
    team,
};

/// Functions run by other processes.
pub(crate) trait Starter {
    /// `number + 1`, computed by a process that is started for that.
    fn call(number: u64) -> Result<u64, String>;

    /// Takes so many microseconds, and returns them.
    fn slow_call(_micros: u64) -> Result<u64, String> {
        Err("not tried".into())
    }
}

/// `fork`, `_exit` and `waitpid` alone, which bring back a byte.
struct BareFork;

impl Starter for BareFork {
    fn call(number: u64) -> Result<u64, String> {
        if team::wait_for(team::fork(|| ())) == 0 { Ok(number + 1) } else { Err("it failed".into()) }
    }
}

fn measure<S: Starter>(setup: &Setup) -> Measured {
    // Warm: what is started once (a server) has been started.
    S::call(1)?;
    let mut wrong = None;
    let outcome = calibrated(setup, 1, |count| {
        let begin = std::time::Instant::now();
        for number in 0..count {
            // What is brought back by an exit code is a small number.
            let number = number % 100;
            match S::call(number) {
                Ok(got) if got == number + 1 => {}
                other => wrong = Some(format!("{other:?} came out of {number} + 1")),
            }
        }
        begin.elapsed()
    });
    Ok(wrong.map_or(outcome, Outcome::Broken))
}

pub(crate) fn cases() -> Vec<Case> {
    let case =
        |id: &str, about: &str, subjects| Case::new(id.into(), about.into(), Unit::Microseconds, Setup::ONE, subjects);
    vec![
        case(
            "process/fresh start",
            "a fresh start of the program runs a function: there and back",
            vec![
                subject("shmkit Spawn", measure::<ours::Spawn>),
                peer("procspawn", measure::<procspawn::Spawn>),
                limit("limit: std Command, this program", measure::<std_peer::RunProgram>),
                peer("Python spawn", |setup| python::time("process spawn", setup)).rounds(3),
            ],
        ),
        case(
            "process/fork",
            "a copy of this process, or of a server, runs a function: there and back",
            vec![
                subject("shmkit Fork", measure::<ours::Fork>),
                subject("shmkit ForkServer", measure::<ours::ForkServer>),
                limit("limit: fork, _exit, waitpid", measure::<BareFork>),
                peer("Python fork", |setup| python::time("process fork", setup)).rounds(3),
                peer("Python forkserver", |setup| python::time("process forkserver", setup)).rounds(3),
            ],
        ),
    ]
}
