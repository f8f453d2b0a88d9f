struct Mine;

fn make() -> Mine {
    Mine
}

fn main() {
    let _ = shmkit::Process::spawn(make, ());
}
