//! How far a run is, on standard error: a bar on a terminal, a line for each quarter elsewhere.

use std::{
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

const WIDTH: usize = 30;
const PAUSE: Duration = Duration::from_millis(50);

pub(crate) struct Progress {
    title: String,
    terminal: bool,
    drawn: Option<Instant>,
    quarters: usize,
}

impl Progress {
    pub(crate) fn new(title: String) -> Self {
        Self { title, terminal: io::stderr().is_terminal(), drawn: None, quarters: 0 }
    }

    /// Shows the share that is done, from 0 to 1. An error is nobody's concern: the work goes on unseen.
    pub(crate) fn show(&mut self, done: f64) {
        let done = done.clamp(0.0, 1.0);
        let percent = 100.0 * done;
        if self.terminal {
            if self.drawn.is_some_and(|d| d.elapsed() < PAUSE) {
                return;
            }
            let full = (done * WIDTH as f64) as usize;
            let _ = write!(io::stderr(), "\r{} [{:WIDTH$}] {percent:3.0} %", self.title, "#".repeat(full));
            self.drawn = Some(Instant::now());
        } else if (done * 4.0) as usize > self.quarters {
            self.quarters = (done * 4.0) as usize;
            let _ = writeln!(io::stderr(), "{}: {percent:.0} %", self.title);
        }
    }
}

impl Drop for Progress {
    /// Clears the bar: the result takes its place.
    fn drop(&mut self) {
        if self.drawn.is_some() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
