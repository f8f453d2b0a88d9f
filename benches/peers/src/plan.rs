//! All that can be measured: cases, and the subjects of each.

use crate::{
    sample::{Measured, Setup},
    workloads::{array, barrier, channel, death, lock, manager, pool, process, rwlock, semaphore},
};

/// In what a time is told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Unit {
    Nanoseconds,
    Microseconds,
    Milliseconds,
}

impl Unit {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nanoseconds => "ns",
            Self::Microseconds => "us",
            Self::Milliseconds => "ms",
        }
    }

    pub(crate) fn of(self, seconds: f64) -> f64 {
        match self {
            Self::Nanoseconds => seconds * 1e9,
            Self::Microseconds => seconds * 1e6,
            Self::Milliseconds => seconds * 1e3,
        }
    }
}

/// What a subject is in a comparison.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Role {
    /// shmkit. The first of these is what the others are compared with.
    Ours,
    Peer,
    /// What nobody can exceed who does more than spin, or who has a process to start: no peer.
    Limit,
}

pub(crate) struct Subject {
    pub(crate) name: &'static str,
    pub(crate) role: Role,
    pub(crate) measure: fn(&Setup) -> Measured,
    /// Fewer rounds than the others, for what takes long.
    pub(crate) rounds: Option<usize>,
}

impl Subject {
    pub(crate) fn rounds(mut self, rounds: usize) -> Self {
        self.rounds = Some(rounds);
        self
    }
}

fn subject(role: Role, name: &'static str, measure: fn(&Setup) -> Measured) -> Subject {
    Subject { name, role, measure, rounds: None }
}

pub(crate) fn ours(name: &'static str, measure: fn(&Setup) -> Measured) -> Subject {
    subject(Role::Ours, name, measure)
}

pub(crate) fn peer(name: &'static str, measure: fn(&Setup) -> Measured) -> Subject {
    subject(Role::Peer, name, measure)
}

pub(crate) fn limit(name: &'static str, measure: fn(&Setup) -> Measured) -> Subject {
    subject(Role::Limit, name, measure)
}

/// A comparison.
pub(crate) struct Case {
    /// The workload, a slash, and the rest.
    pub(crate) id: String,
    pub(crate) about: String,
    pub(crate) unit: Unit,
    pub(crate) setup: Setup,
    pub(crate) subjects: Vec<Subject>,
    /// The plot over the number of processes that this is a part of, and that number.
    pub(crate) scaling: Option<(&'static str, usize)>,
}

impl Case {
    pub(crate) fn new(id: String, about: String, unit: Unit, setup: Setup, subjects: Vec<Subject>) -> Self {
        Self { id, about, unit, setup, subjects, scaling: None }
    }

    pub(crate) fn scaling(self, family: Option<&'static str>) -> Self {
        let processes = self.setup.processes;
        self.scaling_by(family, processes)
    }

    pub(crate) fn scaling_by(mut self, family: Option<&'static str>, processes: usize) -> Self {
        self.scaling = family.map(|family| (family, processes));
        self
    }

    /// What comes before the slash.
    pub(crate) fn workload(&self) -> &str {
        self.id.split('/').next().unwrap_or(&self.id)
    }

    /// Whether it is a matter of deaths, not of speed.
    pub(crate) fn is_death(&self) -> bool {
        matches!(self.workload(), "death" | "recovery")
    }

    /// How often each subject is measured.
    pub(crate) fn rounds(&self) -> usize {
        match self.workload() {
            "death" => 3,
            "recovery" => 5,
            _ => 9,
        }
    }

    /// The subject that the others are compared with.
    pub(crate) fn reference(&self) -> &Subject {
        &self.subjects[0]
    }
}

pub(crate) fn cases() -> Vec<Case> {
    [
        lock::cases,
        semaphore::cases,
        barrier::cases,
        rwlock::cases,
        channel::cases,
        array::cases,
        process::cases,
        pool::cases,
        manager::cases,
        death::cases,
    ]
    .into_iter()
    .flat_map(|cases| cases())
    .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique_and_the_first_subject_is_ours() {
        let cases = cases();
        let ids: HashSet<_> = cases.iter().map(|case| &case.id).collect();
        assert_eq!(ids.len(), cases.len());
        for case in &cases {
            let names: HashSet<_> = case.subjects.iter().map(|subject| subject.name).collect();
            assert_eq!(names.len(), case.subjects.len(), "{}", case.id);
            assert_eq!(case.reference().role, Role::Ours, "{}", case.id);
            assert!(case.id.contains('/'), "{}", case.id);
        }
    }
}
