//! Parties that meet again and again.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use crate::{
    peers::{by_hand, glibc, ours, python, std as std_peer},
    plan::{Case, Unit, limit, ours as subject, peer},
    sample::{Measured, Setup, calibrated},
    shared::Shared,
    team::{self, Kind},
    workloads::SCALE,
};

/// Where parties wait for each other.
pub(crate) trait Meeting: Sync + Sized {
    /// Whether it is for the threads of one process only.
    const THREADS: bool = false;

    /// For so many parties; or why there is none.
    fn new(parties: u32) -> Result<Self, String>;

    /// Waits for the others. An error says that they will not come.
    fn wait(&self) -> Result<(), String>;
}

/// Rounds of which one is checked.
const ONE_IN: u64 = 16;

fn measure<M: Meeting>(setup: &Setup) -> Measured {
    M::new(1)?;
    let parties = setup.processes;
    // Not anew for each run: more processes than cores need some tenths of a second until the kernel has divided them.
    let setup = &Setup { quick: setup.quick, ..*setup };
    Ok(calibrated(setup, 16, |rounds| {
        let meeting = M::new(parties as u32).expect("one more");
        let arrived = Shared::<AtomicU64>::zeroed();
        let notes = team::run(parties, Kind::of(M::THREADS), |seat| {
            let begin = team::now();
            for round in 0..rounds {
                let is_checked = round.is_multiple_of(ONE_IN);
                if is_checked {
                    arrived.fetch_add(1, Relaxed);
                }
                meeting.wait().expect("all live");
                let all = (round / ONE_IN + 1) * parties as u64;
                // Some may be at the next check already.
                assert!(!is_checked || arrived.load(Relaxed) >= all, "let go before all had come");
            }
            seat.note(0, begin);
            seat.note(1, team::now());
        });
        let begin = notes.iter().map(|notes| notes[0]).max().unwrap_or(0);
        let end = notes.iter().map(|notes| notes[1]).max().unwrap_or(0);
        Duration::from_nanos(end.saturating_sub(begin))
    }))
}

pub(crate) fn cases() -> Vec<Case> {
    let case = |processes: &usize| {
        let mut subjects = vec![
            subject("shmkit Barrier", measure::<ours::Barrier>),
            peer("std Barrier (threads)", measure::<std_peer::Barrier>),
            peer("glibc barrier, pshared", measure::<glibc::Barrier>),
            peer("Python Barrier", |setup| python::time("barrier", setup)).rounds(3),
        ];
        if *processes == 2 {
            subjects.push(limit("limit: by hand, spinning", measure::<by_hand::Barrier>));
        }
        let about = format!("{processes} processes meet: each round");
        let setup = Setup { processes: *processes, ..Setup::ONE };
        Case::new(format!("barrier/{processes}"), about, Unit::Nanoseconds, setup, subjects).scaling(Some("barrier"))
    };
    SCALE[1..].iter().map(case).collect()
}
