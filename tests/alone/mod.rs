//! The `main` of test programs that fork, or count what this process has: libtest's threads would be in the way.
//!
//! The tests run one after the other, in the thread of `main`, and answer to the arguments that cargo and nextest give.
#![expect(unsafe_code, reason = "sets an alarm")]

use std::io::Write;

/// No test takes longer, on the slowest machine: then the program is ended by `SIGALRM`, under the name of the test.
const DEADLINE: u32 = 240;

/// Runs those tests that were asked for.
pub(crate) fn run(tests: &[(&str, fn())]) {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|arg| arg == "--list") {
        if !args.iter().any(|arg| arg == "--ignored") {
            for (name, _) in tests {
                println!("{name}: test");
            }
        }
        return;
    }
    let wanted: Vec<_> = args.iter().filter(|arg| !arg.starts_with("--")).collect();
    let exact = args.iter().any(|arg| arg == "--exact");
    let chosen = |name: &str| {
        wanted.is_empty() || wanted.iter().any(|want| if exact { name == *want } else { name.contains(want.as_str()) })
    };
    let mut passed = 0;
    for (name, test) in tests.iter().filter(|(name, _)| chosen(name)) {
        print!("test {name} ... ");
        std::io::stdout().flush().unwrap();
        // SAFETY: takes a number. A thread that watches would be one too many for a fork.
        unsafe { libc::alarm(DEADLINE) };
        test();
        println!("ok");
        passed += 1;
    }
    println!(
        "\ntest result: ok. {passed} passed; 0 failed; 0 ignored; 0 measured; {} filtered out",
        tests.len() - passed
    );
}
