//! Whole passes over arrays that no cache holds.

use std::{hint::black_box, time::Instant};

use crate::{
    peers::{ours, python, shared_memory},
    plan::{Case, Unit, ours as subject, peer},
    sample::{Measured, Outcome, Setup, calibrated},
    team::pin,
};

/// Numbers, zeros at first.
pub(crate) trait Elements: Sized {
    /// So many; or why there are none.
    fn new(size: usize) -> Result<Self, String>;

    /// Does something with them, as their users would.
    fn with<R>(&mut self, work: impl FnOnce(&mut [i64]) -> R) -> R;
}

/// 64 MiB.
const LARGE: usize = 8 << 20;

/// Passes over all, warm; a time is for one element.
fn passes<E: Elements>(setup: &Setup, pass: impl Fn(&mut [i64]) -> i64, expected: impl Fn(u64) -> i64) -> Measured {
    pin(0);
    let mut elements = E::new(setup.size)?;
    elements.with(|slice| slice.iter_mut().zip(0..).for_each(|(x, n)| *x = n & 7));
    let (mut done, mut wrong) = (0, None);
    let outcome = calibrated(setup, 1, |count| {
        let begin = Instant::now();
        for _ in 0..count {
            done += 1;
            let got = elements.with(|slice| pass(black_box(slice)));
            if got != expected(done) {
                wrong = Some(format!("{got} came out in place of {}", expected(done)));
            }
        }
        begin.elapsed()
    });
    Ok(match (wrong, outcome) {
        (Some(wrong), _) => Outcome::Broken(wrong),
        (None, Outcome::Time(seconds)) => Outcome::Time(seconds / setup.size as f64),
        (None, other) => other,
    })
}

fn sum<E: Elements>(setup: &Setup) -> Measured {
    let all = (setup.size as i64 / 8) * 28;
    passes::<E>(setup, |slice| slice.iter().fold(0, |sum, x| sum.wrapping_add(*x)), |_| all)
}

fn negate<E: Elements>(setup: &Setup) -> Measured {
    let pass = |slice: &mut [i64]| {
        slice.iter_mut().for_each(|x| *x = x.wrapping_neg());
        slice[slice.len() - 1]
    };
    passes::<E>(setup, pass, |done| if done % 2 == 1 { -7 } else { 7 })
}

/// Making them, and the first pass; both count, for some do early what others do late.
fn first_touch<E: Elements>(setup: &Setup) -> Measured {
    pin(0);
    // To warm up what is not measured: the allocator, the crate.
    drop(E::new(8)?);
    let begin = Instant::now();
    let mut elements = E::new(setup.size)?;
    elements.with(|slice| black_box(slice).fill(black_box(3)));
    let time = begin.elapsed();
    let is_right = elements.with(|slice| slice.iter().all(|x| *x == 3));
    Ok(if is_right {
        Outcome::Time(time.as_secs_f64() / setup.size as f64)
    } else {
        Outcome::Broken("not all were written".into())
    })
}

pub(crate) fn cases() -> Vec<Case> {
    let setup = Setup { size: LARGE, ..Setup::ONE };
    let case = |id: &str, about: &str, subjects| Case::new(id.into(), about.into(), Unit::Nanoseconds, setup, subjects);
    vec![
        case(
            "array/sum",
            "the sum of 64 MiB of numbers: each",
            vec![
                subject("shmkit Array", sum::<ours::Locked>),
                subject("shmkit RawArray", sum::<ours::Raw>),
                peer("std Vec", sum::<Vec<i64>>),
                peer("shared_memory", sum::<shared_memory::Segment>),
                peer("Python Array", |setup| python::time("sum", setup)).rounds(2),
            ],
        ),
        case(
            "array/negate",
            "64 MiB of numbers, negated in place: each",
            vec![
                subject("shmkit Array", negate::<ours::Locked>),
                subject("shmkit RawArray", negate::<ours::Raw>),
                peer("std Vec", negate::<Vec<i64>>),
                peer("shared_memory", negate::<shared_memory::Segment>),
                peer("Python Array", |setup| python::time("negate", setup)).rounds(2),
            ],
        ),
        case(
            "array/first touch",
            "making 64 MiB of zeros, and the first write to each number",
            vec![
                subject("shmkit Array", first_touch::<ours::Locked>),
                subject("shmkit RawArray", first_touch::<ours::Raw>),
                peer("std Vec", first_touch::<Vec<i64>>),
                peer("shared_memory", first_touch::<shared_memory::Segment>),
            ],
        ),
    ]
}
