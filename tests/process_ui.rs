//! What must not compile, and what the compiler says of it.

#[test]
fn misuse_is_a_compile_error() {
    let cases = trybuild::TestCases::new();
    // One that passes makes trybuild build, not only check: the assertion on the size of a target comes that late.
    cases.pass("tests/ui/process/runs.rs");
    for case in [
        "argument_without_serde",
        "borrowed_argument",
        "captures",
        "function_pointer",
        "no_tuple",
        "own_type_without_ok",
        "unused_handle",
        "wrong_arguments",
    ] {
        cases.compile_fail(format!("tests/ui/process/{case}.rs"));
    }
}
