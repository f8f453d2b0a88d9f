//! What must not compile, and what the compiler says then.

/// The texts are those of one compiler; others say the same in other words.
const RUSTC: &str = "rustc 1.95.";

#[test]
fn misuse_does_not_compile() {
    let output = std::process::Command::new("rustc").arg("--version").output().unwrap();
    let version = String::from_utf8_lossy(&output.stdout).into_owned();
    if !version.starts_with(RUSTC) {
        eprintln!("skipped: the expected texts are of {RUSTC}x, this is {version}");
        return;
    }
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
