//! Programs in C: those in `tests/c`, which fail by their own checks and deadlines, and the examples.

mod support;

use std::process::Command;

use support::{compile_c, files, has, libraries, run, scratch};

#[test]
fn programs() {
    let (libraries, scratch) = (libraries(), scratch("c"));
    for source in files("tests/c", "c") {
        run(&mut Command::new(compile_c(&source, &scratch, &libraries)));
    }
}

/// No invalid access, in the programs and their children; and nothing lost where no fork leaves things of other threads.
#[test]
fn under_valgrind() {
    if !has("valgrind") {
        return;
    }
    let (libraries, scratch) = (libraries(), scratch("valgrind"));
    let sources = [files("tests/c", "c"), files("../examples/c", "c")].concat();
    for source in sources {
        let program = compile_c(&source, &scratch, &libraries);
        let mut valgrind = Command::new("valgrind");
        valgrind.args(["-q", "--error-exitcode=99"]);
        if source.ends_with("smoke.c") {
            valgrind.args(["--leak-check=full", "--show-leak-kinds=definite", "--errors-for-leak-kinds=definite"]);
        }
        run(valgrind.arg(program));
    }
}

#[test]
fn examples() {
    let (libraries, scratch) = (libraries(), scratch("examples"));
    let mut printed = String::new();
    for source in files("../examples/c", "c") {
        printed += &run(&mut Command::new(compile_c(&source, &scratch, &libraries)));
    }
    assert!(printed.contains("repaired: 100 + 0 = 100\n"), "{printed}");
    assert!(printed.contains("sum of 1000000 numbers by 4 processes: 499999500000\n"), "{printed}");
}

/// A C++ compiler takes the header too.
#[test]
fn header_in_cpp() {
    if !has("c++") {
        return;
    }
    let source = scratch("cpp").join("header.cpp");
    std::fs::write(&source, "#include <shmkit.h>\nint main() { return SHMKIT_TRY.until < 0 ? 0 : 1; }\n").unwrap();
    let include = support::package().join("../include");
    run(Command::new("c++")
        .args(["-std=c++17", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-I"])
        .arg(include)
        .arg(source));
}
