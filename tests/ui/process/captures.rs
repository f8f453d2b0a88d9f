fn main() {
    let n = 7;
    let _child = shmkit::Process::spawn(move || n, ());
}
