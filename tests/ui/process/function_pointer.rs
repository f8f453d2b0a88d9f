fn f() {}

fn main() {
    let pointer: fn() = f;
    let _child = shmkit::Process::spawn(pointer, ());
}
