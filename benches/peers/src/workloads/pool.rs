//! Tasks for workers that run already, one for each core.

use std::time::{Duration, Instant};

use crate::{
    peers::{ours, procspawn, python, rayon},
    plan::{Case, Unit, ours as subject, peer},
    sample::{Measured, Outcome, Setup, calibrated},
    team::cores,
};

/// Workers that run functions.
pub(crate) trait Tasks: Sized {
    /// So many; or why there are none.
    fn new(workers: usize) -> Result<Self, String>;

    /// [`plus_one`], by one task.
    fn one(&self, number: u64) -> Result<u64, String>;

    /// [`digits`] of all numbers below `upto`, in order.
    fn digits(&self, upto: u64) -> Result<Vec<u64>, String>;

    /// [`busy_for`], by so many tasks.
    fn busy(&self, tasks: usize, micros: u64) -> Result<Vec<u64>, String>;
}

pub(crate) fn plus_one(number: u64) -> u64 {
    number + 1
}

/// The decimal digits, added up: some nanoseconds.
pub(crate) fn digits(mut number: u64) -> u64 {
    let mut sum = 0;
    while number > 0 {
        sum += number % 10;
        number /= 10;
    }
    sum
}

/// Keeps a core busy for so many microseconds, and returns them.
pub(crate) fn busy_for(micros: u64) -> u64 {
    let until = Instant::now() + Duration::from_micros(micros);
    while Instant::now() < until {
        std::hint::spin_loop();
    }
    micros
}

fn one<T: Tasks>(setup: &Setup) -> Measured {
    let pool = T::new(cores())?;
    let mut wrong = None;
    let outcome = calibrated(setup, 1, |count| {
        let begin = Instant::now();
        for number in 0..count {
            match pool.one(number) {
                Ok(got) if got == number + 1 => {}
                other => wrong = Some(format!("{other:?} came out of {number} + 1")),
            }
        }
        begin.elapsed()
    });
    Ok(wrong.map_or(outcome, Outcome::Broken))
}

fn map<T: Tasks>(setup: &Setup) -> Measured {
    let pool = T::new(cores())?;
    let mut wrong = None;
    let outcome = calibrated(setup, 1000, |count| {
        let begin = Instant::now();
        let got = pool.digits(count);
        let time = begin.elapsed();
        match got {
            Ok(got) if got.len() as u64 == count && (0..).zip(&got).all(|(x, sum)| *sum == digits(x)) => {}
            Ok(_) => wrong = Some("other results came out".to_owned()),
            Err(error) => wrong = Some(error),
        }
        time
    });
    Ok(wrong.map_or(outcome, Outcome::Broken))
}

fn busy<T: Tasks>(setup: &Setup) -> Measured {
    const MICROS: u64 = 10;
    let pool = T::new(cores())?;
    let mut wrong = None;
    let outcome = calibrated(setup, 100, |count| {
        let begin = Instant::now();
        let got = pool.busy(count as usize, MICROS);
        let time = begin.elapsed();
        if got != Ok(vec![MICROS; count as usize]) {
            wrong = Some("other results came out".to_owned());
        }
        time
    });
    Ok(wrong.map_or(outcome, Outcome::Broken))
}

pub(crate) fn cases() -> Vec<Case> {
    let case = |id: &str, about: &str, unit, subjects| Case::new(id.into(), about.into(), unit, Setup::ONE, subjects);
    vec![
        case(
            "pool/one task",
            "a task that adds 1, there and back",
            Unit::Microseconds,
            vec![
                subject("shmkit Pool", one::<ours::Pool>),
                peer("rayon (threads)", one::<rayon::Pool>),
                peer("procspawn Pool", one::<procspawn::Pool>),
                peer("Python Pool", |setup| python::time("pool one", setup)).rounds(3),
            ],
        ),
        case(
            "pool/map",
            "the sum of the digits of many numbers: each",
            Unit::Nanoseconds,
            vec![
                subject("shmkit Pool", map::<ours::Pool>),
                peer("rayon (threads)", map::<rayon::Pool>),
                peer("procspawn Pool", map::<procspawn::Pool>).rounds(3),
                peer("Python Pool", |setup| python::time("pool map", setup)).rounds(3),
            ],
        ),
        case(
            "pool/10 us",
            "tasks that take 10 us: each",
            Unit::Microseconds,
            vec![
                subject("shmkit Pool", busy::<ours::Pool>),
                peer("rayon (threads)", busy::<rayon::Pool>),
                peer("procspawn Pool", busy::<procspawn::Pool>).rounds(3),
                peer("Python Pool", |setup| python::time("pool busy", setup)).rounds(3),
            ],
        ),
    ]
}
