fn length(text: &'static str) -> usize {
    text.len()
}

fn main() {
    let _ = shmkit::Process::spawn(length, ("text",));
}
