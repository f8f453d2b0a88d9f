fn f(text: &str) -> usize {
    text.len()
}

fn main() {
    let _child = shmkit::Process::spawn(f, ("text",));
}
