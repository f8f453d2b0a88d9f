//! procspawn: functions run by fresh starts of the program, and a pool of them.

use std::time::Duration;

use crate::{
    peers::words,
    workloads::{
        pool::{Tasks, busy_for, digits, plus_one},
        process::Starter,
    },
};

pub(crate) struct Spawn;

impl Starter for Spawn {
    fn call(number: u64) -> Result<u64, String> {
        procspawn::spawn(number, plus_one).join().map_err(words)
    }

    fn slow_call(micros: u64) -> Result<u64, String> {
        procspawn::spawn(micros, busy_for).join().map_err(words)
    }
}

pub(crate) struct Pool(procspawn::Pool);

impl Pool {
    /// What a task that is at work has come to, after a while.
    pub(crate) fn task(&self, micros: u64, limit: Duration) -> Result<u64, String> {
        self.0.spawn(micros, busy_for).join_timeout(limit).map_err(words)
    }
}

impl Tasks for Pool {
    fn new(workers: usize) -> Result<Self, String> {
        procspawn::Pool::new(workers).map(Self).map_err(words)
    }

    fn one(&self, number: u64) -> Result<u64, String> {
        self.0.spawn(number, plus_one).join().map_err(words)
    }

    /// It has no `map`: a task for each item.
    fn digits(&self, upto: u64) -> Result<Vec<u64>, String> {
        let tasks: Vec<_> = (0..upto).map(|x| self.0.spawn(x, digits)).collect();
        tasks.into_iter().map(|task| task.join().map_err(words)).collect()
    }

    fn busy(&self, tasks: usize, micros: u64) -> Result<Vec<u64>, String> {
        let tasks: Vec<_> = (0..tasks).map(|_| self.0.spawn(micros, busy_for)).collect();
        tasks.into_iter().map(|task| task.join().map_err(words)).collect()
    }
}
