//! What must not compile, and what the compiler says then.

/// The texts are those of one compiler; others say the same in other words.
const RUSTC: &str = "rustc 1.95.";

fn compiler_is_known() -> bool {
    let output = std::process::Command::new("rustc").arg("--version").output().unwrap();
    let version = String::from_utf8_lossy(&output.stdout).into_owned();
    let known = version.starts_with(RUSTC);
    if !known {
        eprintln!("skipped: the expected texts are of {RUSTC}x, this is {version}");
    }
    known
}

#[test]
fn misuse_does_not_compile() {
    if compiler_is_known() {
        trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
    }
}

#[test]
fn misused_processes_do_not_compile() {
    if compiler_is_known() {
        let cases = trybuild::TestCases::new();
        // One that passes makes trybuild build, not only check: the assertion on the size of a target comes that late.
        cases.pass("tests/ui/process/pass/*.rs");
        cases.compile_fail("tests/ui/process/*.rs");
    }
}
