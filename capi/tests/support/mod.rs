//! Builds the libraries, and runs compilers and programs.

#![allow(dead_code, reason = "each test uses a part")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// The package's folder.
pub fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The folder with the libraries. Cargo builds none of these kinds for tests.
pub fn libraries() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let manifest = package().join("Cargo.toml");
    let build = Command::new(env!("CARGO"))
        .args(["build", "--lib", "--manifest-path"])
        .arg(manifest)
        .arg("--target-dir")
        .arg(target)
        .output()
        .unwrap();
    succeeded("cargo build", &build);
    let libraries = target.join("debug");
    // The name by which programs look for it, as the installed one has it. Tests make it at a time.
    let name = format!("libshmkit.so.{}", number("SHMKIT_ABI"));
    let _ = std::os::unix::fs::symlink("libshmkit.so", libraries.join(&name));
    assert!(libraries.join(&name).exists(), "{name}");
    libraries
}

/// A number of the header.
pub fn number(name: &str) -> u32 {
    let header = fs::read_to_string(package().join("../include/shmkit.h")).unwrap();
    let (_, rest) = header.split_once(&format!("#define {name} ")).unwrap();
    rest.lines().next().unwrap().parse().unwrap()
}

/// Whether there is such a program here. A test that needs it says that it is skipped.
pub fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        eprintln!("skipped: there is no {program}");
    }
    found
}

/// A folder for what one test compiles, empty.
pub fn scratch(test: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// Compiles a program in C, linked to the shared library.
pub fn compile_c(source: &Path, into: &Path, libraries: &Path) -> PathBuf {
    let program = into.join(source.file_stem().unwrap());
    let output = Command::new("cc")
        .args(["-std=c11", "-D_DEFAULT_SOURCE", "-Wall", "-Wextra", "-Werror", "-O1", "-g", "-pthread", "-I"])
        .arg(package().join("../include"))
        .arg(source)
        .arg("-o")
        .arg(&program)
        .arg(format!("-L{}", libraries.display()))
        .arg("-lshmkit")
        .arg(format!("-Wl,-rpath,{}", libraries.display()))
        .output()
        .unwrap();
    succeeded(&source.display().to_string(), &output);
    program
}

/// All files of a folder with this extension, in order.
pub fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(package().join(folder)).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|found| found == extension));
    files.sort();
    assert!(!files.is_empty(), "{folder} has no .{extension}");
    files
}

/// Runs a program to its end; what it prints, if it succeeds.
pub fn run(command: &mut Command) -> String {
    run_both(command).0
}

/// What it prints, and what it says on its standard error.
pub fn run_both(command: &mut Command) -> (String, String) {
    let output = command.output().unwrap();
    succeeded(&format!("{command:?}"), &output);
    (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn succeeded(what: &str, output: &Output) {
    assert!(output.status.success(), "{what}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
}
