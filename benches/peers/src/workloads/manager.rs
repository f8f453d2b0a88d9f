//! A dict of 1,000 numbers in a server, and one client.

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    time::Instant,
};

use crate::{
    peers::{ours, python, words},
    plan::{Case, Unit, limit, ours as subject, peer},
    sample::{Measured, Outcome, Setup, calibrated},
    team,
};

pub(crate) const ITEMS: u64 = 1000;

/// Numbers by keys, in another process.
pub(crate) trait Store: Sized {
    /// The keys, with the numbers from 0 on; or why there is none.
    fn new(keys: &[String]) -> Result<Self, String>;

    fn get(&self, key: &str) -> Result<u64, String>;

    fn set(&self, key: &str, number: u64) -> Result<(), String>;
}

fn keys() -> Vec<String> {
    (0..ITEMS).map(|n| format!("key {n}")).collect()
}

fn get<S: Store>(setup: &Setup) -> Measured {
    let keys = keys();
    let store = S::new(&keys)?;
    let mut wrong = None;
    let outcome = calibrated(setup, 100, |count| {
        let begin = Instant::now();
        for (n, key) in (0..ITEMS).zip(&keys).cycle().take(count as usize) {
            match store.get(key) {
                Ok(got) if got == n => {}
                other => wrong = Some(format!("{other:?} in place of {n}")),
            }
        }
        begin.elapsed()
    });
    Ok(wrong.map_or(outcome, Outcome::Broken))
}

fn set<S: Store>(setup: &Setup) -> Measured {
    let keys = keys();
    let store = S::new(&keys)?;
    let mut wrong = None;
    let outcome = calibrated(setup, 100, |count| {
        let begin = Instant::now();
        for (n, key) in (0..count).zip(keys.iter().cycle()) {
            if let Err(error) = store.set(key, n) {
                wrong = Some(error);
            }
        }
        let time = begin.elapsed();
        // What each key got last.
        for (n, key) in (0..count).zip(keys.iter().cycle()).skip(count.saturating_sub(ITEMS) as usize) {
            if store.get(key) != Ok(n) {
                wrong = Some(format!("{key} is not {n}"));
            }
        }
        time
    });
    Ok(wrong.map_or(outcome, Outcome::Broken))
}

/// 16 bytes there and back over a Unix socket, which is the least that a manager without shared memory takes.
fn socket(setup: &Setup) -> Measured {
    let (mut ours, mut theirs) = UnixStream::pair().map_err(words)?;
    let server = team::fork(|| {
        let mut bytes = [0; 16];
        while theirs.read_exact(&mut bytes).is_ok() && theirs.write_all(&bytes).is_ok() {}
    });
    let _server = team::Children(vec![server]);
    Ok(calibrated(setup, 100, |count| {
        let begin = Instant::now();
        for n in 0..count {
            let mut bytes = u128::from(n).to_le_bytes();
            ours.write_all(&bytes).expect("write");
            bytes.fill(0);
            ours.read_exact(&mut bytes).expect("read");
            assert_eq!(u128::from_le_bytes(bytes), u128::from(n));
        }
        begin.elapsed()
    }))
}

pub(crate) fn cases() -> Vec<Case> {
    let case =
        |id: &str, about: &str, subjects| Case::new(id.into(), about.into(), Unit::Microseconds, Setup::ONE, subjects);
    vec![
        case(
            "manager/get",
            "a number is got by its key, from a dict in a server",
            vec![
                subject("shmkit Manager", get::<ours::Managed>),
                peer("Python Manager", |setup| python::time("manager get", setup)).rounds(3),
                limit("limit: Unix socket, 16 bytes there and back", socket),
            ],
        ),
        case(
            "manager/set",
            "a number is set by its key, in a dict in a server",
            vec![
                subject("shmkit Manager", set::<ours::Managed>),
                peer("Python Manager", |setup| python::time("manager set", setup)).rounds(3),
                limit("limit: Unix socket, 16 bytes there and back", socket),
            ],
        ),
    ]
}
