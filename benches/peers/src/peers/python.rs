//! Python's `multiprocessing`, by way of `peers.py`; not there if there is no `python3`.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use crate::{
    peers::words,
    sample::{Measured, Outcome, Setup},
};

/// The time of a workload, by its name in `peers.py`.
pub(crate) fn time(workload: &str, setup: &Setup) -> Measured {
    run(&["time", workload, &serde_json::to_string(setup).map_err(words)?])
}

/// What a death leads to, by the name of the trial in `peers.py`.
pub(crate) fn death(trial: &str) -> Measured {
    run(&["death", trial, "{}"])
}

fn run(args: &[&str]) -> Measured {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/peers/peers.py");
    let output = Command::new("python3")
        .arg(script)
        .args(args)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("no python3: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let outcome = said.lines().last().and_then(|line| serde_json::from_str(line).ok());
    Ok(outcome.unwrap_or_else(|| Outcome::Broken(format!("{}", output.status))))
}
