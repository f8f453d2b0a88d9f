//! The runner as a whole: a few cases, once, and what it leaves behind.

#![cfg(target_os = "linux")]

use std::{env, fs, path::PathBuf, process::Command};

fn folder(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    _ = fs::remove_dir_all(&folder);
    folder
}

fn runner(folder: &PathBuf, args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_shmkit-peers")).args(args).arg("--output").arg(folder).output();
    let output = output.expect("the runner");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

#[test]
fn a_case_leaves_a_report_and_nothing_else() {
    let folder = folder("one-case");
    runner(&folder, &["--quick", "--only", "ring/1p1c,recovery/lock"]);
    let files = ["report.md", "samples.json", "ratios-ring.svg", "ratios-ring.png", "ratios-recovery.svg"];
    assert!(files.iter().all(|file| folder.join(file).exists()));
    let report = fs::read_to_string(folder.join("report.md")).expect("a report");
    assert!(
        report.contains("| **shmkit SpscRing** |") && report.contains("| **shmkit Lock** | goes on, and is told |")
    );
    assert!(!report.contains("**broken**"), "{report}");
    // What others do is not this run's.
    let ours = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().contains("shmkit_peers_");
    let of_the_dead = |entry: &fs::DirEntry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        let pid = name.split("shmkit_peers_").nth(1).and_then(|rest| rest.split('_').next().map(str::to_owned));
        pid.is_some_and(|pid| !PathBuf::from("/proc").join(pid).exists())
    };
    for place in [PathBuf::from("/dev/shm"), env::temp_dir()] {
        let left = fs::read_dir(place).expect("a folder").flatten().filter(ours).filter(of_the_dead);
        assert_eq!(left.map(|entry| entry.path()).collect::<Vec<_>>(), Vec::<PathBuf>::new());
    }
}

#[test]
fn pieces_are_merged() {
    let folder = folder("pieces");
    runner(&folder, &["--quick", "--only", "barrier/2"]);
    runner(&folder, &["--quick", "--only", "rwlock/1", "--merge"]);
    let report = || fs::read_to_string(folder.join("report.md")).expect("a report");
    assert!(report().contains("### barrier/2") && report().contains("### rwlock/1"));
    runner(&folder, &["--report"]);
    assert!(report().contains("### barrier/2"));
}

#[test]
fn all_cases_are_listed() {
    let listed = runner(&folder("list"), &["--list"]);
    for workload in [
        "lock",
        "semaphore",
        "barrier",
        "rwlock",
        "queue",
        "ring",
        "channel",
        "array",
        "process",
        "pool",
        "manager",
        "recovery",
        "death",
    ] {
        assert!(listed.lines().any(|line| line.starts_with(&format!("{workload}/"))), "{workload}");
    }
}
